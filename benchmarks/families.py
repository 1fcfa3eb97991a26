# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Which model of a family is measured, and the files it is read from."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedConfig

from clipbert.processing import load_tokenizer
from clipbert.support.families import config_class, find_head, processor_classes, registered_models


SPECIAL_WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SPECIAL_IDS = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
# CLIP ViT as published, but for the numbers of the special tokens
CLIP_SIZES = {
    "B/32": {"vision_config": {"patch_size": 32, "image_size": 224}, "text_config": SPECIAL_IDS},
    "B/16": {"vision_config": {"patch_size": 16, "image_size": 224}, "text_config": SPECIAL_IDS},
    "L/14": {
        "vision_config": {
            "patch_size": 14,
            "image_size": 224,
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
        },
        "text_config": {
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_attention_heads": 12,
            **SPECIAL_IDS,
        },
        "projection_dim": 768,
    },
    "tiny": {  # only shows that everything runs
        "vision_config": {
            "patch_size": 16,
            "image_size": 32,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 4,
            "num_attention_heads": 2,
        },
        "text_config": {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "vocab_size": 99,
            **SPECIAL_IDS,
        },
        "projection_dim": 16,
    },
}


class MeasuredModel(NamedTuple):
    """
    The model that stands for a family.

    Args:
        full (`Mapping[str, Any]`): Config values of the published size, as far as they are not the defaults.
        tiny (`Mapping[str, Any]`): Those of a model that only shows that everything runs.
        model_type (`str`, *optional*): Its family; the name in `MODELS` if not given.
        recipe (`Mapping[str, Any]`): Settings of retrieval.py, as far as they are not the defaults.
        image_sizes (`tuple[int, int]`, *optional*): Side of the frames of either, where a model has a size of its own.
    """

    full: Mapping[str, Any]
    tiny: Mapping[str, Any]
    model_type: str | None = None
    recipe: Mapping[str, Any] = {}
    image_sizes: tuple[int, int] | None = None

    def image_size(self, is_tiny: bool) -> int | None:
        return None if self.image_sizes is None else self.image_sizes[is_tiny]


def measured_mug_stan(clip: str) -> MeasuredModel:
    """The settings of the paper for retrieval (section IV-B)."""
    full, tiny = ({"model_type": "clip", **CLIP_SIZES[size]} for size in (clip, "tiny"))
    return MeasuredModel(
        full={"clip_config": full},
        tiny={"clip_config": tiny},
        model_type="mug_stan",
        recipe={"model.objective": "contrastive", "data.negatives": "in_batch", "data.num_frames": 12},
        image_sizes=tuple(config["vision_config"]["image_size"] for config in (full, tiny)),
    )


MODELS = {
    "clipbert": MeasuredModel(  # ResNet-50 and 12 layers of width 768
        full={},
        tiny={
            "backbone_config": {
                "model_type": "resnet",
                "embedding_size": 8,
                "hidden_sizes": [8, 16, 32],
                "depths": [1, 1, 1],
                "out_features": ["stage3"],
            },
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 128,
            "vocab_size": 999,
        },
    ),
    "cnn_rnn": MeasuredModel(  # ResNet-50 and an LSTM of 256 units
        full={},
        tiny={
            "backbone_config": {
                "model_type": "resnet",
                "layer_type": "basic",
                "embedding_size": 8,
                "hidden_sizes": [8, 16, 32],
                "depths": [1, 1, 1],
            },
        },
    ),
    "ci_mha": MeasuredModel(full={}, tiny={"hidden_size": 16, "num_attention_heads": 2}),  # I3D's vectors, width 512
    "mug_stan": measured_mug_stan("B/32"),
    "mug_stan_b16": measured_mug_stan("B/16"),
    "mug_stan_l14": measured_mug_stan("L/14"),
}


def find_config(name: str) -> type[PreTrainedConfig]:
    """The class of the settings of one of `MODELS`."""
    return config_class(MODELS[name].model_type or name)


def families_with_head(head: str) -> list[str]:
    """Those of `MODELS` that have a class `...For{head}`."""
    classes = {name: registered_models(find_config(name)).values() for name in MODELS}
    return [
        name
        for name, groups in classes.items()
        if any(cls.__name__.endswith(f"For{head}") for group in groups for cls in group)
    ]


def write_model(family: str, is_tiny: bool, words: Iterable[str], folder: Path) -> Path:
    """
    Save a model for retrieval with random weights, and its processor.

    What is measured is read from there: loading may change which parameters are trained, and in which precision.
    """
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    config = find_config(family)
    model = find_head(config, "VideoTextRetrieval")(
        config(**(MODELS[family].tiny if is_tiny else MODELS[family].full))
    )
    model.save_pretrained(folder)
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join([*SPECIAL_WORDS, *words]) + "\n", encoding="utf-8")
    processor, video_processor = processor_classes(config)
    side = MODELS[family].image_size(is_tiny)
    frames = video_processor() if side is None else video_processor(size=side)
    processor(video_processor=frames, tokenizer=load_tokenizer(vocabulary)).save_pretrained(folder)
    return folder
