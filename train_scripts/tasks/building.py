# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
The model and the processor of a run, of whatever family.

A family brings its classes into the Auto registries; `model_type` names its package (`clipbert.support.families`). What
is known of a head is the end of its class name: `...ForVideoTextRetrieval`, `...ForVideoQA`, and so on.
"""

import importlib.util
import inspect
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import HFValidationError, StrictDataclassError
from huggingface_hub.utils import validate_repo_id
from transformers import AutoConfig, AutoProcessor, AutoVideoProcessor, PreTrainedConfig, PreTrainedModel

from clipbert.processing import load_tokenizer
from clipbert.support.families import config_class, find_head, load_family, processor_classes, registered_models
from clipbert.support.names import did_you_mean
from clipbert.train_scripts.engine.recipe import ModelSection, Recipe, RecipeError
from clipbert.train_scripts.tasks.videos import video_options


logger = logging.getLogger(__name__)
RECIPES = Path(__file__).parents[1] / "recipes"


# ---------------------------------------------------------------------------------------------------------------------
# Where a model starts
# ---------------------------------------------------------------------------------------------------------------------


class StartError(RecipeError, FileNotFoundError):
    """A recipe lets a model start from what is not there."""


def model_type_of(settings: ModelSection) -> str:
    """The family that a recipe names, or that its starting point belongs to."""
    return settings.family or AutoConfig.from_pretrained(settings.from_pretrained).model_type


def check_start(key: str, start: str, advice: str) -> None:
    """Raise if what a model starts from is neither a folder with a checkpoint nor one that the Hub gives."""
    if (Path(start) / "config.json").is_file():
        return
    if Path(start).exists():
        raise StartError(f"model.{key}={start} is no checkpoint: it has no config.json. {advice}")
    try:
        validate_repo_id(start)
        AutoConfig.from_pretrained(start)
    except HFValidationError:
        raise StartError(f"model.{key}={start}: there is no such folder in {Path.cwd()}. {advice}") from None
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise StartError(
            f"model.{key}={start}: no such folder in {Path.cwd()}. As for the Hub: {reason} {advice}"
        ) from error


def advise_start(model_type: str | None) -> str:
    """Where a starting point can come from: another run, the converter of the family, its parts, or nothing."""
    family = load_family(model_type) if model_type else None
    recipes, converter, parts = RECIPES / (model_type or ""), f"convert_{model_type}_checkpoint", "model.config={...}"
    earlier = [f"train_scripts/recipes/{model_type}/{path.name}" for path in recipes.glob("pretrain.yaml")]
    lines = [f"If another run is to write it, run that one first{' (' + earlier[0] + ')' if earlier else ''}"]
    if family is not None and importlib.util.find_spec(f"{family.__name__}.{converter}"):
        lines.append(f"a released checkpoint becomes such a folder with `python -m {family.__name__}.{converter}`")
    if names := getattr(family, "PARTS", None):
        parts = f"model.parts={{{', '.join(f'{name}: {meaning}' for name, meaning in names.items())}}}"
    return "; ".join([*lines, f"without any, set model.from_pretrained=null and {parts}."])


def check_starts(settings: ModelSection) -> None:
    """Look at everything that a model starts from, before data are read."""
    if settings.from_pretrained is not None:
        check_start("from_pretrained", settings.from_pretrained, advise_start(settings.family))
    family = load_family(settings.family) if settings.family else None
    known = getattr(family, "PARTS", {})
    for name, start in (settings.parts or {}).items():
        if name not in known:
            raise ValueError(
                f"model.parts: {settings.family} cannot start from a part {name!r}. {did_you_mean(name, known)}"
            )
        try:
            if hasattr(family, "knows_part") and family.knows_part(name, start):
                continue
        except (ImportError, ValueError) as error:
            raise StartError(f"model.parts.{name}={start}: {error}") from error
        check_start(
            f"parts.{name}", start, "Name a folder with a checkpoint, or one of the Hub while it can be reached."
        )
    optional = getattr(family, "OPTIONAL_PARTS", ())
    if missing := [name for name in known if settings.parts and name not in (*settings.parts, *optional)]:
        raise ValueError(f"model.parts: {', '.join(missing)} missing; {', '.join(known)} go together.")


def has_head(config: PreTrainedConfig | None, head: str) -> bool:
    """Whether a checkpoint was trained for a task, such as `"VideoQA"`."""
    return config is not None and (config.architectures or [""])[0].endswith(f"For{head}")


def reads_class_names(config: PreTrainedConfig, head: str) -> bool:
    """Whether a family has this head, and its classes are set by their names (`set_classes`): any of its models will do."""
    heads = (cls for group in registered_models(type(config)).values() for cls in group)
    return any(cls.__name__.endswith(f"For{head}") and hasattr(cls, "set_classes") for cls in heads)


def check_head(recipe: Recipe, head: str) -> None:
    """Raise if a model is to be evaluated that was trained for something else."""
    start = recipe.model.from_pretrained
    if start is None or recipe.run.total_steps != 0 or has_head(config := AutoConfig.from_pretrained(start), head):
        return  # parts are looked at when they have become a model
    if not reads_class_names(config, head):
        raise ValueError(
            f"model.from_pretrained={start} was trained as {(config.architectures or ['a model without a head'])[0]}, "
            f"not for {head}: without training (run.total_steps=0) there is no score of it. Train it for this task, or "
            "choose another model."
        )


# ---------------------------------------------------------------------------------------------------------------------
# The processor
# ---------------------------------------------------------------------------------------------------------------------


def build_processor(recipe: Recipe) -> Any:
    """
    The processor of a run. It is saved with the model, so its defaults are those of the evaluation.

    Tokenizer and treatment of pixels come from where the model comes from; `model.tokenizer` replaces the tokenizer.

    Returns:
        What the family has registered: a `ProcessorMixin`, or, where it reads no words, a video processor.

    Raises:
        StartError: If there is nothing in the place that the model comes from.
        ValueError: If the recipe says something that the processor does not take.
    """
    model = recipe.model
    check_starts(model)
    model_type = model_type_of(model)
    processor_class, video_processor_class = processor_classes(config_class(model_type))
    # refuses contradictions, before any video is read
    video_processor_class(**video_options(recipe, video_processor_class, is_training=True))
    settings = video_options(recipe, video_processor_class, is_training=False)
    if recipe.data.image_size is not None:
        settings["size"] = video_processor_class(size=recipe.data.image_size).size
    if model.from_pretrained is not None:
        auto_class = AutoVideoProcessor if processor_class is None else AutoProcessor
        processor = auto_class.from_pretrained(model.from_pretrained)
        video_processor = getattr(processor, "video_processor", processor)
        for name, value in settings.items():
            setattr(video_processor, name, value)
    elif model.parts:
        make = load_family(model_type).processor_from_parts
        if model.tokenizer is not None and "tokenizer" in inspect.signature(make).parameters:
            settings["tokenizer"] = load_tokenizer(model.tokenizer)
        processor = make(model.parts, **settings)
    elif processor_class is None:
        processor = video_processor_class(**settings)
    elif model.tokenizer is None:
        raise ValueError("model.tokenizer: missing; a model from random weights has none of its own.")
    else:
        processor = processor_class(
            video_processor=video_processor_class(**settings), tokenizer=load_tokenizer(model.tokenizer)
        )
    return _with_words(processor, recipe)


def _with_words(processor: Any, recipe: Recipe) -> Any:
    """The processor with the tokenizer and the longest text that the recipe names."""
    tokenizer, max_length = recipe.model.tokenizer, getattr(recipe.data, "max_text_length", None)
    if not hasattr(processor, "tokenizer"):
        for key, value in (("model.tokenizer", tokenizer), ("data.max_text_length", max_length)):
            if value is not None:
                raise ValueError(f"{key}={value}: {type(processor).__name__} reads no words; leave it out.")
        return processor
    known = list(inspect.signature(type(processor).__init__).parameters)[1:]  # without `self`
    parts = {name: getattr(processor, name) for name in known if hasattr(processor, name)}
    if tokenizer is not None:
        parts["tokenizer"] = load_tokenizer(tokenizer)
    if "max_length" in known:
        parts["max_length"] = processor.max_length if max_length is None else max_length
    elif max_length is not None:
        raise ValueError(f"data.max_text_length={max_length}: {type(processor).__name__} takes no max_length.")
    return type(processor)(**parts)


# ---------------------------------------------------------------------------------------------------------------------
# The model
# ---------------------------------------------------------------------------------------------------------------------


@contextmanager
def naming_settings() -> Iterator[None]:
    """Around the making of a model: say where a recipe has the values that its config refuses."""
    try:
        yield
    except StrictDataclassError as error:
        raise ValueError(f"model.config, model.overrides: {error}") from error


@naming_settings()
def build_model(recipe: Recipe, head: str, processor: Any, **defaults: Any) -> PreTrainedModel:
    """
    The model of a run.

    Args:
        recipe (`Recipe`): Where it starts from, and whether it will be trained.
        head (`str`): Last part of the class name, such as `"VideoTextRetrieval"`.
        processor: Its tokenizer decides the size of a new vocabulary.
        defaults: Config values of the task, as far as the family has them; `model.config` and `model.overrides` are
            stronger.

    Raises:
        ValueError: If sizes do not fit, or a model is to be evaluated whose head has not been trained.
    """
    settings = recipe.model
    check_head(recipe, head)
    model_type = model_type_of(settings)
    model_class = find_head(config_class(model_type), head)
    defaults = _known_values(model_class.config_class, defaults)
    overrides = {**defaults, **settings.overrides}
    if settings.config is not None:
        words = {"vocab_size": len(processor.tokenizer)} if hasattr(processor, "tokenizer") else {}
        words = _known_values(model_class.config_class, words)
        model = model_class(model_class.config_class(**{**words, **defaults, **settings.config, **settings.overrides}))
    elif settings.parts:
        model = _join_parts(model_class, recipe, processor, overrides)
    else:
        model = _load_model(model_class, recipe, overrides)
    _check_words(model, processor)
    if settings.gradient_checkpointing:
        model.activation_checkpointing_enable()
    if hasattr(settings, "apply"):  # options of the family
        settings.apply(model)
    return model


def _join_parts(
    model_class: type[PreTrainedModel], recipe: Recipe, processor: Any, overrides: Mapping[str, Any]
) -> PreTrainedModel:
    from_parts, parts = load_family(model_type_of(recipe.model)).from_parts, recipe.model.parts
    known = inspect.signature(from_parts).parameters
    if "tokenizer" in known:  # of a family whose words need not be those of a part
        overrides = {**overrides, "tokenizer": processor.tokenizer}
    if recipe.run.total_steps != 0:
        return from_parts(model_class, parts, **overrides)
    new = ["the head"]  # of a family that does not tell
    if "output_loading_info" in known:
        model, info = from_parts(model_class, parts, output_loading_info=True, **overrides)
        new = info["new"]
    if new:
        raise ValueError(
            f"model.parts: a {model_class.__name__} of them has {len(new)} weights that are new: {', '.join(new[:3])}"
            f"{', ...' if len(new) > 3 else ''}. Without training (run.total_steps=0) there is no score of it: name a trained "
            "model (model.from_pretrained), or leave out what is new by model.overrides, as far as the family does without."
        )
    return model


def _load_model(model_class: type[PreTrainedModel], recipe: Recipe, overrides: Mapping[str, Any]) -> PreTrainedModel:
    start = recipe.model.from_pretrained
    model, info = model_class.from_pretrained(
        start,
        dtype=torch.float32,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # only of the head, which another task has left behind
        **overrides,
    )
    freeze_as_built(model)
    mismatched = [key for key, *_ in info["mismatched_keys"]]
    if wrong := [key for key in mismatched if key.startswith(f"{model.base_model_prefix}.")]:
        raise ValueError(
            f"{start} has other sizes than the model of model.overrides: {wrong}. Only the head of a task can be replaced."
        )
    new = sorted({*info["missing_keys"], *mismatched})
    if new and recipe.run.total_steps == 0:
        raise ValueError(
            f"{start} has no fitting weights of {new}: without training (run.total_steps=0) there is no score of it."
        )
    if new or info["unexpected_keys"]:
        loaded = len(model.state_dict().keys() - set(new))
        logger.warning(
            f"{start}: {loaded} tensors loaded; new weights, to be trained: {new}; not used: "
            f"{sorted(info['unexpected_keys'])}."
        )
    return model


def freeze_as_built(model: PreTrainedModel) -> None:
    """
    Freeze what the constructor of a model freezes, whatever its family does about it.

    `from_pretrained` of transformers replaces parameters by new ones, and all of them are trained.
    """
    with torch.device("meta"):
        built = type(model)(model.config)
    for name, parameter in built.named_parameters():
        if not parameter.requires_grad:
            model.get_parameter(name).requires_grad_(False)


def _known_values(config: type[PreTrainedConfig], values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a task's values that the configs of a family have."""
    always = {"num_labels", "id2label", "label2id"}
    declared = {part.name for part in fields(config)} if is_dataclass(config) else set(vars(config()))
    return {name: value for name, value in values.items() if name in declared | always}


def _check_words(model: PreTrainedModel, processor: Any) -> None:
    """Every token of the processor has an embedding, and every text it allows has positions."""
    if not hasattr(processor, "tokenizer"):
        return
    config = model.config.get_text_config()
    num_words, num_positions = getattr(config, "vocab_size", None), getattr(config, "max_position_embeddings", None)
    if num_words is not None and len(processor.tokenizer) > num_words:
        raise ValueError(
            f"The tokenizer has {len(processor.tokenizer)} words and the model {num_words}. Use the tokenizer that the "
            "model was made with (model.tokenizer)."
        )
    max_length = getattr(processor, "max_length", None)
    if num_positions is not None and max_length is None and processor.tokenizer.model_max_length > num_positions:
        processor.max_length = (
            num_positions  # longer texts lose their end, as where a recipe says how long they may be
        )
    elif num_positions is not None and max_length is not None and max_length > num_positions:
        raise ValueError(
            f"data.max_text_length={max_length}: the model has positions for texts of {num_positions} tokens "
            "(max_position_embeddings)."
        )


def forward_options(model: PreTrainedModel) -> dict[str, bool]:
    """What a forward pass is asked for where only scores are needed: to leave out what they do not depend on."""
    return {"pooled_only": True} if "pooled_only" in inspect.signature(model.forward).parameters else {}


def choose_pooling(recipe: Recipe, model: PreTrainedModel) -> str | None:
    """
    How scores of clips are pooled: as the recipe says, else as the model does; `None` where it leaves no choice.

    Raises:
        ValueError: If the recipe asks for a pooling and the model pools by itself.
    """
    own = getattr(model.config, "score_pooling", None)
    if own is None and recipe.eval.score_pooling is not None:
        raise ValueError(
            f"eval.score_pooling={recipe.eval.score_pooling}: {type(model).__name__} pools over clips by itself."
        )
    return recipe.eval.score_pooling or own


__all__ = [
    "build_model",
    "build_processor",
    "check_head",
    "choose_pooling",
    "forward_options",
    "has_head",
    "model_type_of",
    "reads_class_names",
]
