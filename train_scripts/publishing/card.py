# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The model card of a published checkpoint: what it is, how to use it, what it sees, scores, training, licence."""

import functools
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path, PurePath
from typing import Any, Self

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, ModelCard, ModelCardData
from huggingface_hub.utils import HFValidationError, validate_repo_id
from transformers import PreTrainedModel

from clipbert.support.families import load_family
from clipbert.support.names import did_you_mean
from clipbert.support.terminal import printable, printable_lines
from clipbert.train_scripts.engine.report import results_of, show_interval, show_score
from clipbert.train_scripts.publishing.neighbours import REQUIREMENT, find_neighbour


logger = logging.getLogger(__name__)
TEMPLATE = Path(__file__).with_name("card.jinja")
HEADS = Path(__file__).with_name("heads.yaml")
MOST_CLASSES = 101  # that a card lists
INSTALL = 'pip install torch torchvision "transformers>=5.23" av'


# ---------------------------------------------------------------------------------------------------------------------
# What the author says
# ---------------------------------------------------------------------------------------------------------------------


class _StrictDict:
    """Dataclasses made of dictionaries, such as a YAML file holds, without unknown keys."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        known = [item.name for item in fields(cls)]
        for key in values:
            if key not in known:
                raise ValueError(
                    f"{cls.__name__} has no key {key!r} (value {values[key]!r}). {did_you_mean(key, known)}"
                )
        return cls(**values)


@dataclass(kw_only=True)
class Scores(_StrictDict):
    """
    What was measured on one split of one dataset.

    Args:
        dataset (`str`): Name as people write it, such as `"MSR-VTT"`.
        metrics (`dict[str, float]`): Fractions stay fractions; those named `num_...` count examples.
        split (`str`, *optional*, defaults to `"test"`): The split; name its protocol where there are several.
        dataset_id (`str`, *optional*): Name of the dataset on the Hub.
        task_ids (`dict[str, str]`, *optional*): Where that dataset is a benchmark of the Hub, metrics with the tasks
            of its `eval.yaml` whose score they are, such as `{"accuracy": "default"}`.
        note (`str`, *optional*): How it was measured, where that differs from the defaults of the processor.
    """

    dataset: str
    metrics: dict[str, float]
    split: str = "test"
    dataset_id: str | None = None
    task_ids: dict[str, str] = field(default_factory=dict)
    note: str | None = None

    def __post_init__(self):
        self.dataset, self.split = printable(self.dataset), printable(self.split)
        self.note = self.note and printable(self.note)
        self.metrics = {printable(str(name)): value for name, value in self.metrics.items()}
        wrong = {key: value for key, value in self.metrics.items() if not isinstance(value, int | float)}
        if wrong or not self.metrics:
            raise ValueError(
                f"Scores of {self.dataset}: metrics must be numbers by name, got {wrong or self.metrics}."
            )
        unknown = sorted(self.task_ids.keys() - self.metrics.keys())
        if unknown or (self.task_ids and self.dataset_id is None):
            raise ValueError(
                f"Scores of {self.dataset}: task_ids name the tasks of dataset_id by metrics; got "
                f"dataset_id={self.dataset_id!r} and {unknown or self.task_ids}, with the metrics {', '.join(self.metrics)}."
            )

    def results(self) -> dict[str, float]:
        """The metrics that say how good the model is."""
        return results_of(self.metrics)

    def context(self) -> dict[str, float]:
        """The others, to compare with: counts, chance, blind baselines, spreads. Intervals stand beside their metrics."""
        others = self.metrics.keys() - self.results().keys()
        return {name: value for name, value in self.metrics.items() if name in others and "ci" not in name.split("_")}


@dataclass(kw_only=True)
class ModelCardInfo(_StrictDict):
    """
    What a model card says beyond what model and processor tell by themselves.

    Args:
        title (`str`, *optional*): Headline. By default family and task.
        description (`str`, *optional*): A paragraph under the headline.
        training_data (`list[str]`, *optional*): Datasets by name, as people write them.
        dataset_ids (`list[str]`, *optional*): Those of them that are on the Hub, by their names there.
        base_models (`list[str]`, *optional*): Names on the Hub of the models the weights come from.
        scores (`list[Scores]`, *optional*): Results; dictionaries are taken too.
        recipe (`str`, *optional*): The training recipe, YAML. Absolute paths in it lose all but their last part.
        license (`str`, *optional*): Licence of the weights, by its identifier on the Hub; `"other"` needs the next
            two.
        license_name, license_link (`str`, *optional*): Name and text of another licence.
        language (`str` or `list[str]`, *optional*): Languages of the texts, as codes of two letters. By default what the
            data sets of the recipe say; own videos say it with `data.options: {language: vi}`.
    """

    title: str | None = None
    description: str | None = None
    training_data: list[str] = field(default_factory=list)
    dataset_ids: list[str] = field(default_factory=list)
    base_models: list[str] = field(default_factory=list)
    scores: list[Scores] = field(default_factory=list)
    recipe: str | None = None
    license: str | None = None
    license_name: str | None = None
    license_link: str | None = None
    language: str | list[str] | None = None

    def __post_init__(self):
        for name in ("title", "license_name", "license_link"):
            setattr(self, name, getattr(self, name) and printable(getattr(self, name)))
        self.description = self.description and printable_lines(self.description)
        self.training_data = [printable(name) for name in self.training_data]
        self.scores = [item if isinstance(item, Scores) else Scores.from_dict(item) for item in self.scores]
        for name in [
            *self.base_models,
            *self.dataset_ids,
            *(item.dataset_id for item in self.scores if item.dataset_id),
        ]:
            try:
                validate_repo_id(name)
            except HFValidationError as error:
                raise ValueError(f"Expected a name on the Hub such as 'user/name', got {name!r}: {error}") from error
        if (self.license == "other") != bool(self.license_name and self.license_link):
            raise ValueError(
                f"license='other' and only that goes with license_name and license_link; got license={self.license!r}, "
                f"license_name={self.license_name!r}, license_link={self.license_link!r}."
            )


# ---------------------------------------------------------------------------------------------------------------------
# The card
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Head(_StrictDict):
    """How a card speaks of a head; `heads.yaml` says it. `example` goes on after the lines that load model and processor."""

    title: str
    task_type: str  # of the results in the metadata
    says: str
    example: str
    pipeline_tag: str | None = None


@dataclass(kw_only=True)
class Family(_StrictDict):
    """How a card speaks of a kind of model; `card.yaml` in the package of the family says it."""

    name: str
    about: str = ""
    citation: str = ""
    # settings of "processor" and "config": what they mean
    sees: dict[str, dict[str, str]] = field(default_factory=dict)
    # those that matter for some values of the processor's `sampling` alone: for which
    samplings: dict[str, list[str]] = field(default_factory=dict)
    # what it says otherwise than `heads.yaml`, by the same names
    heads: dict[str, dict[str, str]] = field(default_factory=dict)


def build_model_card(
    model: PreTrainedModel,
    processor: Any,
    info: ModelCardInfo,
    auto_class: str,
    repo_id: str | None = None,
) -> ModelCard:
    """
    Write the model card: metadata for the Hub, then what it is, how to use it, what it sees, scores, training,
    licence.

    Args:
        model (`PreTrainedModel`): The model.
        processor: Its processor or video processor, whose defaults are the sampling the card names.
        info (`ModelCardInfo`): What the author says.
        auto_class (`str`): Name of the Auto class that loads the model.
        repo_id (`str`, *optional*): Name on the Hub, for the example.

    Returns:
        `huggingface_hub.ModelCard`: The card, not saved yet.

    Raises:
        ValueError: If there is nothing to say about the class.
    """
    family = describe_family(model)
    head = describe_head(model, family)
    title, neighbour = info.title or f"{family.name} for {head.title}", find_neighbour(model)
    data = ModelCardData(
        language=info.language,
        license=info.license,
        license_name=info.license_name,
        license_link=info.license_link,
        library_name="transformers",
        pipeline_tag=head.pipeline_tag,
        tags=["video", model.config.model_type, head.task_type, *(["sentence-transformers"] if neighbour else [])],
        datasets=info.dataset_ids or None,
        base_model=info.base_models or None,
        model_name=repo_id or title if info.scores else None,
        eval_results=_eval_results(head, info.scores) or None,
    )
    is_classifier = head.task_type == "video-classification"
    has_classes = is_classifier or head.task_type == "action-detection"
    auto_processor = "AutoProcessor" if hasattr(processor, "video_processor") else "AutoVideoProcessor"
    return ModelCard.from_template(
        data,
        template_path=TEMPLATE,
        title=title,
        description=info.description,
        head=head,
        family=family,
        install=INSTALL,
        classes=_describe_classes(list(model.config.id2label.values())) if has_classes else "",
        imports=", ".join(
            [*sorted([auto_class, auto_processor]), *(["pipeline"] if "pipeline(" in head.example else [])]
        ),
        place=f'name = "{repo_id}"' if repo_id else 'name = "."  # this folder',
        auto_processor=auto_processor,
        auto_model=auto_class,
        neighbour=neighbour,
        requirement=REQUIREMENT,
        settings=list(_settings(model, processor, family)),
        scores=_scores_table(info.scores),
        training="\n\n".join(_training(info)),
        licence=_licence(info),
    )


def describe_head(model: PreTrainedModel, family: Family) -> Head:
    """What cards say about a class, by the end of its name; some of it as its family has it."""
    name, known = type(model).__name__, _read_heads()
    if name.endswith("ForVideoQA") and model.config.num_labels == 1:
        name = "ForRegression"  # one label is a number
    if name.endswith("ForVideoClassification") and model.config.problem_type == "multi_label_classification":
        name = "SeveralClasses"
    for suffix, head in known.items():
        if name.endswith(suffix):
            return replace(head, **family.heads.get(suffix, {}))
    raise ValueError(f"No model card for {name}: known are classes that end in {', '.join(known)}.")


@functools.cache
def _read_heads() -> dict[str, Head]:
    values = yaml.safe_load(HEADS.read_text(encoding="utf-8"))
    return {
        suffix: Head.from_dict({name: text.rstrip() for name, text in head.items()}) for suffix, head in values.items()
    }


def describe_family(model: PreTrainedModel) -> Family:
    """What cards say about a family: its `card.yaml`, or its model type alone where it has none."""
    model_type = model.config.model_type
    try:
        path = Path(load_family(model_type).__file__).with_name("card.yaml")
    except ModuleNotFoundError as error:
        raise ValueError(f"No model card for {type(model).__name__} of the family {model_type!r}: {error}") from error
    if not path.is_file():
        logger.warning(f"{path} does not exist: the model card says nothing about the family {model_type!r}.")
        return Family(name=model_type)
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected keys of a family with values, got {type(values).__name__}.")
    try:
        return Family.from_dict(
            {key: text.rstrip() if isinstance(text, str) else text for key, text in values.items()}
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def _describe_classes(names: list[str]) -> str:
    shown = ", ".join(f"`{printable(str(name)).replace('`', ' ')}`" for name in names[:MOST_CLASSES])
    more = f" and {len(names) - MOST_CLASSES:,} more, all of them in `config.json`" if names[MOST_CLASSES:] else ""
    return f"{len(names):,} classes: {shown}{more}."


def _settings(model: PreTrainedModel, processor: Any, family: Family) -> Iterator[tuple[str, str]]:
    """What decides what the model sees, with what the family says of it."""
    sources = {"processor": getattr(processor, "video_processor", processor), "config": model.config}
    sampling = getattr(sources["processor"], "sampling", None)
    for kind, names in family.sees.items():
        for name, meaning in names.items():
            if hasattr(sources[kind], name) and sampling in family.samplings.get(name, [sampling]):
                yield meaning, f"{name}={_show_setting(getattr(sources[kind], name))}"


def _eval_results(head: Head, scores: list[Scores]) -> list[EvalResult]:
    return [
        EvalResult(
            task_type=head.task_type,
            dataset_type=item.dataset_id or item.dataset.lower().replace(" ", "-"),
            dataset_name=item.dataset,
            dataset_split=item.split,
            metric_type=name,
            metric_name=name.replace("_", " "),
            metric_value=value,
        )
        for item in scores
        for name, value in item.results().items()
    ]


def eval_result_entries(scores: list[Scores]) -> list[EvalResultEntry]:
    """What the leaderboards of the Hub's benchmarks take: the scores that name a task of one."""
    return [
        EvalResultEntry(dataset_id=item.dataset_id, task_id=task_id, value=item.metrics[name], notes=item.note)
        for item in scores
        for name, task_id in item.task_ids.items()
    ]


def _show_setting(value: Any) -> str:
    is_size = not isinstance(value, str | int | float | list | tuple | type(None))
    return repr({key: size for key, size in dict(value).items() if size is not None} if is_size else value)


def _scores_table(scores: list[Scores]) -> str:
    if not scores:
        return "None were given."
    has_intervals = any(show_interval(name, item.metrics) for item in scores for name in item.results())
    value = "value [95 % interval]" if has_intervals else "value"
    rows, notes = [f"| dataset | split | metric | {value} |", "|---|---|---|---|"], []
    for item in scores:
        where = f"{item.dataset}, {item.split}"
        rows += [
            f"| {item.dataset} | {item.split} | {name} | {show_score(name, value)}{show_interval(name, item.metrics)} |"
            for name, value in item.results().items()
        ]
        if context := [f"{name} {show_score(name, value)}" for name, value in item.context().items()]:
            notes.append(f"To compare with ({where}): {'; '.join(context)}.")
        if item.note:
            notes.append(f"{where}: {item.note}")
    return "\n".join(rows) + "".join(f"\n\n{note}" for note in notes)


def _training(info: ModelCardInfo) -> list[str]:
    parts = []
    if info.training_data or info.dataset_ids:
        parts.append(f"Data: {', '.join(info.training_data or info.dataset_ids)}.")
    if info.base_models:
        names = ", ".join(f"[{name}](https://huggingface.co/{name})" for name in info.base_models)
        parts.append(f"Weights come from: {names}.")
    if info.recipe:
        parts.append(f"Recipe:\n\n```yaml\n{_without_local_paths(info.recipe)}\n```")
    return parts or ["Nothing was said about it."]


def _without_local_paths(recipe: str) -> str:
    """The recipe with absolute paths cut to their last part, which may hold names of users and machines."""

    def clean(value):
        if isinstance(value, dict):
            return {key: clean(item) for key, item in value.items()}
        if isinstance(value, list):
            return [clean(item) for item in value]
        if isinstance(value, str) and (PurePath(value).is_absolute() or value.startswith("~")):
            return PurePath(value).name
        return value

    return yaml.safe_dump(clean(yaml.safe_load(recipe)), sort_keys=False, width=120).rstrip()


def _licence(info: ModelCardInfo) -> str:
    if info.license is None:
        weights = "The author of the weights has not stated their licence."
    elif info.license == "other":
        weights = f"Weights: [{info.license_name}]({info.license_link})."
    else:
        weights = f"Weights: {info.license}."
    return f"{weights} The Python files are under the Apache License 2.0."
