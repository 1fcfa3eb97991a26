# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Which model of a family is measured, and the files it is read from."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from clipbert.processing import load_tokenizer
from clipbert.support.families import config_class, find_head, processor_classes, registered_models


class MeasuredModel(NamedTuple):
    """
    The model that stands for a family.

    Args:
        full (`Mapping[str, Any]`): Config values of the published size, as far as they are not the defaults.
        tiny (`Mapping[str, Any]`): Those of a model that only shows that everything runs.
    """

    full: Mapping[str, Any]
    tiny: Mapping[str, Any]


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
}


def families_with_head(head: str) -> list[str]:
    """Those of `MODELS` that have a class `...For{head}`."""
    classes = {family: registered_models(config_class(family)).values() for family in MODELS}
    return [
        family
        for family, groups in classes.items()
        if any(cls.__name__.endswith(f"For{head}") for group in groups for cls in group)
    ]


def write_model(family: str, is_tiny: bool, words: Iterable[str], folder: Path) -> Path:
    """
    Save a model for retrieval with random weights, and its processor.

    What is measured is read from there: loading may change which parameters are trained, and in which precision.
    """
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    config = config_class(family)
    model = find_head(config, "VideoTextRetrieval")(
        config(**(MODELS[family].tiny if is_tiny else MODELS[family].full))
    )
    model.save_pretrained(folder)
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]) + "\n", encoding="utf-8")
    processor, video_processor = processor_classes(config)
    processor(video_processor=video_processor(), tokenizer=load_tokenizer(vocabulary)).save_pretrained(folder)
    return folder
