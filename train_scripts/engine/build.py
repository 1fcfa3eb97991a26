# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Model, processor and rows of a dataset from what a recipe says; shared by all scripts."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import torch
from accelerate import PartialState
from huggingface_hub.errors import HFValidationError, StrictDataclassError
from huggingface_hub.utils import validate_repo_id
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

import clipbert.modeling_clipbert as modeling_clipbert
from clipbert.datasets_scripts import find_loader, load_benchmark
from clipbert.datasets_scripts.checks import compute_coverage
from clipbert.datasets_scripts.tasks import TASKS
from clipbert.processing.processing_clipbert import VideoTextProcessor, load_tokenizer
from clipbert.processing.video_processing_clipbert import ClipBERTVideoProcessor
from clipbert.train_scripts.engine.recipe import DataSection, Recipe


logger = logging.getLogger(__name__)
FAMILIES = {"clipbert": (modeling_clipbert, "ClipBERT")}  # package and first part of its class names
SCRIPTS = {  # who trains on the rows of a task of `datasets_scripts`
    "retrieval": "retrieval.py, pretrain.py or, as multiple choice, video_qa.py",
    "video_text": "retrieval.py or pretrain.py",
    "image_text": "pretrain.py",
    "qa": "video_qa.py",
    "image_qa": "image_qa.py",
}


def find_data(settings: DataSection) -> None:
    """
    Look for a data set's files, without reading them; a data set that makes its own (`generate`) makes them here.

    It comes first in every script: a wrong folder is told before anything is loaded, and the tokenizer of generated data
    lies among them.
    """
    if settings.data_dir is None:  # fetched when the rows are loaded
        return
    loader = find_loader(settings.dataset)
    fields = {name: value for name, value in settings.options.items() if name not in ("on_missing", "on_broken")}
    with PartialState().local_main_process_first():
        loader.annotation_files(loader.complete_config(settings.config, settings.data_dir, fields))


def load_rows(settings: DataSection, split: str, tasks: Sequence[str]) -> datasets.Dataset:
    """
    The rows of a split, without the videos or images of `data.skip_list`.

    Args:
        settings (`DataSection`): Which data set, and where it lies.
        split (`str`): Its split.
        tasks (`Sequence[str]`): Keys of `datasets_scripts.tasks.TASKS`: rows of one of them are needed.

    Raises:
        ValueError: If the rows are those of another task.
    """
    with PartialState().local_main_process_first():  # one process writes the tables, the others find them
        only = {"only_split": split} if getattr(settings, "streaming", False) else {}
        rows = _load(settings, split, tasks, **only)
    coverage = compute_coverage(rows)
    if not coverage.is_complete:
        logger.info(f"{split}: {coverage} of {settings.dataset} are used.")
    return rows


def load_stream(settings: DataSection, split: str, tasks: Sequence[str]) -> datasets.IterableDataset:
    """The same rows as a stream, each of which is looked at when it is reached."""
    return _load(settings, split, tasks, streaming=True)


def _load(
    settings: DataSection, split: str, tasks: Sequence[str], **more: Any
) -> datasets.Dataset | datasets.IterableDataset:
    rows = load_benchmark(
        settings.dataset,
        config=settings.config,
        split=split,
        data_dir=settings.data_dir,
        skip_list=settings.skip_list,
        **{"on_missing": "error", **settings.options, **more},
    )
    columns = set(rows.column_names)
    if not any(columns >= set(TASKS[task].features) for task in tasks):
        fitting = [config.name for config in find_loader(settings.dataset).BUILDER_CONFIGS if config.task in tasks]
        script = next((name for task, name in SCRIPTS.items() if columns >= set(TASKS[task].features)), "none")
        expected = dict.fromkeys(", ".join(TASKS[task].features) for task in tasks)
        raise ValueError(
            f"data.dataset={settings.dataset}, data.config={settings.config}, split {split}: expected the columns "
            f"{' or '.join(expected)}; got {', '.join(rows.column_names)}. Configs of {settings.dataset} that have the "
            f"former: {', '.join(fitting) or 'none'}. Script for the latter: {script}."
        )
    return rows


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


def evaluation_problems(recipe: Recipe) -> Iterator[str]:
    """What is missing in a recipe, be it to train or to evaluate alone."""
    if recipe.data.train_split is None and recipe.run.total_steps != 0:
        yield "data.train_split: needed to train; null goes with run.total_steps=0"
    if recipe.model.config is not None and recipe.model.tokenizer is None:
        yield "model.tokenizer: missing; a model from random weights has none of its own"
    if recipe.run.total_steps == 0 and recipe.model.from_pretrained is None:
        yield "model.from_pretrained: missing; without training (run.total_steps=0) a trained model is evaluated"


def check_start(key: str, start: str) -> None:
    """Raise if what a model starts from is neither a folder with a checkpoint nor one that the Hub gives."""
    if (Path(start) / "config.json").is_file():
        return
    advice = "Name a folder with a checkpoint, or one of the Hub while it can be reached."
    if key == "from_pretrained":
        advice = (
            "If another run is to write it, run that one first (train_scripts/recipes/clipbert/pretrain.yaml for "
            "outputs/clipbert_pretrain); a released checkpoint becomes such a folder with `python -m "
            "modeling_clipbert.convert_clipbert_checkpoint`; without any, set model.from_pretrained=null, "
            "model.parts.vision=microsoft/resnet-50 and model.parts.text=google-bert/bert-base-uncased."
        )
    if Path(start).exists():
        raise FileNotFoundError(f"model.{key}={start} is no checkpoint: it has no config.json. {advice}")
    try:
        validate_repo_id(start)
        AutoConfig.from_pretrained(start)
    except HFValidationError:
        raise FileNotFoundError(f"model.{key}={start}: there is no such folder in {Path.cwd()}. {advice}") from None
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise OSError(
            f"model.{key}={start}: no such folder in {Path.cwd()}. As for the Hub: {reason} {advice}"
        ) from error


def has_head(config: PreTrainedConfig | None, head: str) -> bool:
    """Whether a checkpoint was trained for a task, such as `"VideoQA"`."""
    return config is not None and (config.architectures or [""])[0].endswith(f"For{head}")


def check_head(recipe: Recipe, head: str) -> None:
    """Raise if a model is to be evaluated that was trained for something else."""
    start = recipe.model.from_pretrained
    if recipe.run.total_steps == 0 and not has_head(config := AutoConfig.from_pretrained(start), head):
        raise ValueError(
            f"model.from_pretrained={start} was trained as {(config.architectures or ['a model without a head'])[0]}, "
            f"not for {head}: without training (run.total_steps=0) there is no score of it. Train it for this task, or "
            "choose another model."
        )


def build_processor(recipe: Recipe) -> VideoTextProcessor:
    """
    The processor of a run. It is saved with the model, so its defaults are those of the evaluation.

    Tokenizer and treatment of pixels come from where the model comes from; `model.tokenizer` replaces the tokenizer.

    Raises:
        OSError: If there is nothing in the place that the model comes from.
    """
    model, data = recipe.model, recipe.data
    for key, start in {"from_pretrained": model.from_pretrained, **(model.parts or {})}.items():
        if start is not None:
            check_start(key if key == "from_pretrained" else f"parts.{key}", start)
    ClipBERTVideoProcessor(
        **video_options(recipe, is_training=True)
    )  # refuses contradictions, before any video is read
    settings = video_options(recipe, is_training=False)
    if data.image_size is not None:
        settings["size"] = {"longest_edge": data.image_size}
    max_length = data.max_text_length
    if model.from_pretrained is not None:
        processor = VideoTextProcessor.from_pretrained(model.from_pretrained)
        max_length = max_length or processor.max_length
        video_processor, tokenizer = processor.video_processor, processor.tokenizer
        for name, value in settings.items():
            setattr(video_processor, name, value)
    elif model.parts is not None:
        processor = VideoTextProcessor.from_vision_text_pretrained(
            model.parts["vision"], model.parts["text"], **settings
        )
        video_processor, tokenizer = processor.video_processor, processor.tokenizer
    else:
        video_processor, tokenizer = ClipBERTVideoProcessor(**settings), None
    if model.tokenizer is not None:
        tokenizer = load_tokenizer(model.tokenizer)
    return VideoTextProcessor(video_processor, tokenizer, max_length=max_length)


@contextmanager
def naming_settings() -> Iterator[None]:
    """Around the making of a model: say where a recipe has the values that its config refuses."""
    try:
        yield
    except StrictDataclassError as error:
        raise ValueError(f"model.config, model.overrides: {error}") from error


@naming_settings()
def build_model(recipe: Recipe, head: str, processor: VideoTextProcessor, **defaults: Any) -> PreTrainedModel:
    """
    The model of a run.

    Args:
        recipe (`Recipe`): Where it starts from, and whether it will be trained.
        head (`str`): Last part of the class name, such as `"VideoTextRetrieval"`.
        processor (`VideoTextProcessor`): Its tokenizer decides the size of a new vocabulary.
        defaults: Config values of the task; `model.config` and `model.overrides` are stronger.

    Raises:
        ValueError: If sizes do not fit, or a model is to be evaluated whose head has not been trained.
    """
    settings = recipe.model
    check_head(recipe, head)
    package, prefix = FAMILIES[settings.family]
    model_class = getattr(package, f"{prefix}For{head}")
    overrides = {**defaults, **settings.overrides}
    if settings.config is not None:
        values = {"vocab_size": len(processor.tokenizer), **defaults, **settings.config, **settings.overrides}
        model = model_class(model_class.config_class(**values))
    elif settings.parts is not None:
        model = model_class.from_vision_text_pretrained(settings.parts["vision"], settings.parts["text"], **overrides)
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
        if new and recipe.run.total_steps == 0:
            raise ValueError(
                f"{settings.from_pretrained} has no fitting weights of {new}: without training (run.total_steps=0) there "
                "is no score of it."
            )
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
    if hasattr(settings, "apply"):
        settings.apply(model)
    return model


__all__ = [
    "build_model",
    "build_processor",
    "check_head",
    "evaluation_problems",
    "find_data",
    "has_head",
    "load_rows",
    "load_stream",
    "video_options",
]
