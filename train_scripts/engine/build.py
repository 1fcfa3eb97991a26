# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Model, processor and rows of a dataset from what a recipe says; shared by all scripts."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import datasets
import torch
from accelerate import PartialState
from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedModel

import modeling_clipbert
from datasets_scripts import load_benchmark
from datasets_scripts.checks import compute_coverage
from processing.processing_clipbert import VideoTextProcessor, load_tokenizer
from processing.video_processing_clipbert import ClipBERTVideoProcessor
from train_scripts.engine.recipe import DataSection, ModelSection, Recipe


logger = logging.getLogger(__name__)
FAMILIES = {"clipbert": (modeling_clipbert, "ClipBERT")}  # package and first part of its class names


def load_rows(settings: DataSection, split: str) -> datasets.Dataset:
    """The rows of a split, without the videos or images of `data.skip_list`."""
    with PartialState().local_main_process_first():  # one process writes the tables, the others find them
        only = {"only_split": split} if getattr(settings, "streaming", False) else {}
        rows = _load(settings, split, **only)
    coverage = compute_coverage(rows)
    if not coverage.is_complete:
        logger.info(f"{split}: {coverage} of {settings.dataset} are used.")
    return rows


def load_stream(settings: DataSection, split: str) -> datasets.IterableDataset:
    """The same rows as a stream, each of which is looked at when it is reached."""
    return _load(settings, split, streaming=True)


def _load(settings: DataSection, split: str, **more: Any) -> datasets.Dataset | datasets.IterableDataset:
    return load_benchmark(
        settings.dataset,
        config=settings.config,
        split=split,
        data_dir=settings.data_dir,
        skip_list=settings.skip_list,
        **{"on_missing": "error", **settings.options, **more},
    )


def video_options(recipe: Recipe, is_training: bool) -> dict[str, Any]:
    """How the clips of a video are chosen, as the processor takes it."""
    data, eval = recipe.data, recipe.eval
    options = {"fps": data.fps, "placement": data.placement, "short_video": data.short_video}
    if is_training:
        return {"num_clips": data.num_clips, "num_frames": data.num_frames, "sampling": data.sampling, **options}
    return {
        "num_clips": eval.num_clips or data.num_clips,
        "num_frames": eval.num_frames or data.num_frames,
        "sampling": eval.sampling,
        **options,
    }


def build_processor(recipe: Recipe) -> VideoTextProcessor:
    """
    The processor of a run. It is saved with the model, so its defaults are those of the evaluation.

    Tokenizer and treatment of pixels come from where the model comes from; `model.tokenizer` replaces the tokenizer.
    """
    model, data = recipe.model, recipe.data
    ClipBERTVideoProcessor(
        **video_options(recipe, is_training=True)
    )  # refuses contradictions, before any video is read
    settings = {"size": {"longest_edge": data.image_size}, **video_options(recipe, is_training=False)}
    if model.from_pretrained is not None:
        processor = VideoTextProcessor.from_pretrained(model.from_pretrained)
        video_processor, tokenizer = processor.video_processor, processor.tokenizer
        for name, value in settings.items():
            setattr(video_processor, name, value)
    elif model.vision is not None:
        processor = VideoTextProcessor.from_vision_text_pretrained(model.vision, model.text, **settings)
        video_processor, tokenizer = processor.video_processor, processor.tokenizer
    else:
        video_processor, tokenizer = ClipBERTVideoProcessor(**settings), None
    if model.tokenizer is not None:
        tokenizer = load_tokenizer(model.tokenizer)
    return VideoTextProcessor(video_processor, tokenizer, max_length=data.max_text_length)


@contextmanager
def naming_settings() -> Iterator[None]:
    """Around the making of a model: say where a recipe has the values that its config refuses."""
    try:
        yield
    except StrictDataclassError as error:
        raise ValueError(f"model.config, model.overrides: {error}") from error


@naming_settings()
def build_model(settings: ModelSection, head: str, processor: VideoTextProcessor, **defaults: Any) -> PreTrainedModel:
    """
    The model of a run.

    Args:
        settings (`ModelSection`): Where it starts from.
        head (`str`): Last part of the class name, such as `"VideoTextRetrieval"`.
        processor (`VideoTextProcessor`): Its tokenizer decides the size of a new vocabulary.
        defaults: Config values of the task; `model.config` and `model.overrides` are stronger.
    """
    package, prefix = FAMILIES[settings.family]
    model_class = getattr(package, f"{prefix}For{head}")
    overrides = {**defaults, **settings.overrides}
    if settings.config is not None:
        values = {"vocab_size": len(processor.tokenizer), **defaults, **settings.config, **settings.overrides}
        model = model_class(model_class.config_class(**values))
    elif settings.vision is not None:
        model = model_class.from_vision_text_pretrained(settings.vision, settings.text, **overrides)
    else:
        model, info = model_class.from_pretrained(
            settings.from_pretrained,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # only of the head, which another task has left behind
            **overrides,
        )
        mismatched = [key for key, *_ in info["mismatched_keys"]]
        if wrong := [key for key in mismatched if key.startswith(f"{model.base_model_prefix}.")]:
            raise ValueError(
                f"{settings.from_pretrained} has other sizes than the model of model.overrides: {wrong}. Only the head of a "
                "task can be replaced."
            )
        new = sorted({*info["missing_keys"], *mismatched})
        if new or info["unexpected_keys"]:
            logger.warning(
                f"{settings.from_pretrained}: new weights, to be trained: {new}; not used: "
                f"{sorted(info['unexpected_keys'])}."
            )
    if len(processor.tokenizer) > model.config.vocab_size:
        raise ValueError(
            f"The tokenizer has {len(processor.tokenizer)} words and the model {model.config.vocab_size}. Use the "
            "tokenizer that the model was made with (model.tokenizer)."
        )
    if processor.max_length is not None and processor.max_length > model.config.max_position_embeddings:
        raise ValueError(
            f"data.max_text_length={processor.max_length}: the model has positions for texts of "
            f"{model.config.max_position_embeddings} tokens (max_position_embeddings)."
        )
    if settings.gradient_checkpointing:
        model.activation_checkpointing_enable()
    model.chunk_clips(settings.clips_per_chunk)
    return model


__all__ = ["build_model", "build_processor", "load_rows", "load_stream", "video_options"]
