# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
A start from pretrained parts: what sees frames, what reads words, or vectors of words; everything between is new.

    parts = {"frame_encoder": "openai/clip-vit-base-patch32", "text_encoder": "openai/clip-vit-base-patch32"}
    model = from_parts(CIMHAForMomentRetrieval, parts)
    processor = processor_from_parts(parts)

Each may be left out: without `frame_encoder` a model reads feature files, without the other two it learns its words.

Stays at home: a published checkpoint starts from itself, and holds its words.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoVideoProcessor, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from clipbert.processing import CIMHAVideoProcessor, MomentRetrievalProcessor, load_tokenizer
from clipbert.processing.pixel_settings import PIXEL_SETTINGS, read_pixel_settings
from clipbert.processing.word_tokenizer import build_word_tokenizer
from clipbert.processing.word_vectors import read_word_vectors
from clipbert.support.names import did_you_mean

from .frames_ci_mha import pooling_options, tower_class
from .text_ci_mha import text_model_class


PARTS = {
    "frame_encoder": "an image model such as openai/clip-vit-base-patch32, or a ClipBERT",
    "text_encoder": "a text model such as openai/clip-vit-base-patch32 or FacebookAI/xlm-roberta-base",
    "glove": "a file of word vectors such as glove.6B.300d.txt",
}
OPTIONAL_PARTS = tuple(PARTS)


def from_parts(
    model_class: type[PreTrainedModel],
    parts: Mapping[str, str | os.PathLike],
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    output_loading_info: bool = False,
    **config_overrides: Any,
) -> PreTrainedModel | tuple[PreTrainedModel, dict[str, list[str]]]:
    """
    A model around pretrained parts, which stay as they are unless `frame_encoder_trainable` or `text_trainable` says otherwise.

    Args:
        model_class (`type`): A CI-MHA class.
        parts (`Mapping[str, str]`): Any of `PARTS`: names on the Hub or folders; `glove` is a file, see `word_vectors.py`.
        tokenizer (`PreTrainedTokenizerBase`, *optional*): What says which word has which vector, of `build_word_tokenizer(sentences,
            glove=...)`; by default the most frequent words have theirs, as in [`processor_from_parts`].
        output_loading_info (`bool`, *optional*, defaults to `False`): Also return the report: `"loaded"` and `"new"` names.
        **config_overrides: Fields of [`CIMHAConfig`].

    Raises:
        ValueError: If a part is unknown, contradicts another one, is no such model, or lacks tensors.
    """
    _check_parts(parts)
    given, loaded, vectors = {}, {}, None
    if "frame_encoder" in parts:
        tower, given["frame_encoder_config"] = _load_tower(parts["frame_encoder"])
        loaded["frame_encoder.tower"] = tower.state_dict()
    if "text_encoder" in parts:
        text = _load_text_model(parts["text_encoder"])
        given |= {"text_encoder": "hf", "text_config": text.config}
        loaded["text_encoder.encoder.model"] = text.state_dict()
    if "glove" in parts:
        tokenizer = build_word_tokenizer((), glove=parts["glove"]) if tokenizer is None else tokenizer
        words = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
        vectors = torch.from_numpy(read_word_vectors(parts["glove"], words[2:]))
        given |= {"text_encoder": "glove_bilstm", "vocab_size": len(words), "word_size": vectors.shape[1]}
    elif tokenizer is not None and "text_encoder" not in parts:
        given["vocab_size"] = len(tokenizer)
    model = model_class(model_class.config_class(**{**given, **config_overrides}))
    state = {f"{place}.{name}": value for place, part in loaded.items() for name, value in part.items()}
    _, unknown = model.base_model.load_state_dict(state, strict=False)
    assert not unknown, unknown
    if vectors is not None:
        model.get_input_embeddings().fill(nn.functional.pad(vectors, (0, 0, 2, 0)))
    model.eval()  # as `from_pretrained` leaves it
    prefix = "" if model.base_model is model else f"{model.base_model_prefix}."
    own, known = model.state_dict().keys(), {prefix + name for name in state}
    if vectors is not None:
        known |= {name for name in own if name.endswith("word_embeddings.bits")}
    return (model, {"loaded": sorted(known), "new": sorted(own - known)}) if output_loading_info else model


def processor_from_parts(
    parts: Mapping[str, str | os.PathLike],
    tokenizer: PreTrainedTokenizerBase | str | os.PathLike | None = None,
    max_length: int | None = None,
    **video_settings: Any,
) -> MomentRetrievalProcessor:
    """
    The processor of a model that was put together by [`from_parts`]: pixels as its frame encoder expects them, and words.

    Args:
        parts (`Mapping[str, str]`): See [`from_parts`].
        tokenizer (`PreTrainedTokenizerBase` or `str`, *optional*): In the place of that of the parts; needed where these read no
            words, see `build_word_tokenizer`.
        max_length (`int`, *optional*): Longest sentence in tokens; by default 25, or what the tokenizer allows.
        video_settings: Settings of [`CIMHAVideoProcessor`], stronger than those read.

    Raises:
        OSError: If the frame encoder has no preprocessing settings and the call does not give `image_mean`, `image_std` and
            `do_rescale` either.
        ValueError: If a part is unknown, contradicts another one, or nothing says what the words are.
    """
    _check_parts(parts)
    if tokenizer is None and "text_encoder" in parts:
        tokenizer = parts["text_encoder"]
    elif tokenizer is None and "glove" in parts:
        tokenizer = build_word_tokenizer((), glove=parts["glove"])
    elif tokenizer is None:
        raise ValueError(
            f"Nothing says which words there are: name {' or '.join(list(PARTS)[1:])}, or pass a tokenizer "
            "(model.tokenizer in a recipe), such as that of build_word_tokenizer(sentences)."
        )
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        tokenizer = load_tokenizer(tokenizer)
    max_length = min(tokenizer.model_max_length, 25) if max_length is None else max_length
    settings = _picture_settings(parts["frame_encoder"], video_settings) if "frame_encoder" in parts else {}
    video_processor = CIMHAVideoProcessor(**{**settings, **video_settings})
    return MomentRetrievalProcessor(video_processor, tokenizer, max_length=max_length)


def knows_part(name: str, start: str | os.PathLike) -> bool:
    """
    Whether a part is neither a folder nor on the Hub: a file of word vectors.

    Raises:
        ValueError: If there is no such file.
    """
    if name == "glove" and not Path(start).is_file():
        raise ValueError(f"there is no such file in {Path.cwd()}. https://nlp.stanford.edu/projects/glove has them.")
    return name == "glove"


def needs_words(parts: Mapping[str, str | os.PathLike]) -> bool:
    """Whether words are those of the training sentences, `build_word_tokenizer(sentences, glove=parts.get("glove"))`."""
    return "text_encoder" not in parts


def _check_parts(parts: Mapping[str, str | os.PathLike]) -> None:
    for name in parts:
        if name not in PARTS:
            raise ValueError(f"A CI-MHA has no part {name!r}. {did_you_mean(name, PARTS)}")
    if {"text_encoder", "glove"} <= parts.keys():
        raise ValueError("text_encoder reads words by itself, and glove is read by an LSTM: name one of them.")


def _load_tower(checkpoint: str | os.PathLike) -> tuple[nn.Module, PreTrainedConfig]:
    """The part of an image model that sees, and the config that builds it."""
    config = AutoConfig.from_pretrained(checkpoint)
    if config.model_type == "clipbert":
        model = _load(tower_class(config), checkpoint, config, prefix="grid_encoder.", add_pooling_layer=False)
        return model.grid_encoder, model.config
    config = getattr(config, "vision_config", config)
    model_class = tower_class(config)
    tower = _load(model_class, checkpoint, config, **pooling_options(model_class))
    return tower, tower.config


def _load_text_model(checkpoint: str | os.PathLike) -> PreTrainedModel:
    """A text model, or the part of a model of images and texts that reads."""
    config = AutoConfig.from_pretrained(checkpoint)
    config = getattr(config, "text_config", config)
    model_class = text_model_class(config)
    return _load(model_class, checkpoint, config, **pooling_options(model_class))


def _load(
    model_class: type[PreTrainedModel], checkpoint: str | os.PathLike, config: Any, prefix: str = "", **options: Any
) -> PreTrainedModel:
    """A model of transformers in single precision, of which everything that begins with `prefix` has to be there."""
    model, info = model_class.from_pretrained(
        checkpoint, config=config, dtype=torch.float32, output_loading_info=True, **options
    )
    # counters of batch norms are absent from old checkpoints, and nothing depends on them
    missing = [name for name in info["missing_keys"] if not name.endswith("num_batches_tracked")]
    if missing := sorted(name for name in missing if name.startswith(prefix)):
        raise ValueError(
            f"{str(checkpoint)!r} lacks {len(missing)} tensors of a {model_class.__name__}: {', '.join(missing[:10])}"
            f"{', ...' if len(missing) > 10 else ''}."
        )
    model.config.name_or_path = ""  # where it lay is nothing to the model that it becomes a part of
    return model


def _picture_settings(checkpoint: str | os.PathLike, given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings for [`CIMHAVideoProcessor`] that suit an image model."""
    config, settings = AutoConfig.from_pretrained(checkpoint), {}
    if config.model_type == "clipbert":
        own = AutoVideoProcessor.from_pretrained(checkpoint)
        return {name: getattr(own, name) for name in PIXEL_SETTINGS}
    if not {"image_mean", "image_std", "do_rescale"} <= given.keys():
        settings = read_pixel_settings(checkpoint, with_interpolation=True)
    if isinstance(side := getattr(getattr(config, "vision_config", config), "image_size", None), int):
        settings["size"] = side  # its positions have no other
    return settings


__all__ = ["OPTIONAL_PARTS", "PARTS", "from_parts", "knows_part", "needs_words", "processor_from_parts"]
