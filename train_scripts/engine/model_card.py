# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The model card of a published checkpoint: what it is, how to use it, what it sees, scores, training, licence."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import PurePath
from typing import Any, Self

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, ModelCard, ModelCardData
from huggingface_hub.utils import HFValidationError, validate_repo_id
from transformers import PreTrainedModel, ProcessorMixin


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
                nearest = difflib.get_close_matches(str(key), known, n=1)
                hint = f"Did you mean {nearest[0]!r}?" if nearest else f"Known keys: {', '.join(known)}."
                raise ValueError(f"{cls.__name__} has no key {key!r} (value {values[key]!r}). {hint}")
        return cls(**values)


# Words in the names of metrics that are no results of the model.
BESIDE = {"num", "chance", "blind", "majority", "coverage", "std"}
FRACTIONS = ("R@", "accuracy", "vqa_score", "coverage")


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
        return {name: value for name, value in self.metrics.items() if not set(name.split("_")) & BESIDE}

    def beside(self) -> dict[str, float]:
        """The others, to compare with: counts, chance, blind baselines, spreads."""
        return {name: value for name, value in self.metrics.items() if name not in self.results()}


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
        language (`str`, *optional*, defaults to `"en"`): Language of the texts.
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
    language: str = "en"

    def __post_init__(self):
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


@dataclass(frozen=True)
class Task:
    """How a card speaks of a head. `example` goes on after the lines that load model and processor."""

    title: str
    task_type: str  # of the results in the metadata
    says: str
    example: str
    pipeline_tag: str | None = None


_FORWARD = """
with torch.no_grad():
    outputs = model(**inputs)
"""

# By the end of the class name.
TASKS = {
    "ForVideoTextRetrieval": Task(
        title="video-text retrieval",
        task_type="video-text-retrieval",
        says="scores how well a text and a video belong together, to rank videos for a sentence or sentences for a video",
        example='inputs = processor(text=[["a dog runs", "a man is cooking"]], videos=["video.mp4"])'
        + _FORWARD
        + "print(model.match_scores(outputs.logits))  # for each text, the probability that it belongs to the video",
    ),
    "ForVideoQA": Task(
        title="video question answering",
        task_type="visual-question-answering",
        pipeline_tag="visual-question-answering",
        says="answers a question about a video with one of the answers it was trained on",
        example='inputs = processor(text=["what is the man doing?"], videos=["video.mp4"])'
        + _FORWARD
        + "print(model.config.id2label[outputs.logits.argmax(-1).item()])",
    ),
    "ForMultipleChoice": Task(
        title="multiple-choice video question answering",
        task_type="visual-question-answering",
        pipeline_tag="visual-question-answering",
        says="picks one of several answers to a question about a video",
        example='options = ["run", "sleep", "eat"]\n'
        'inputs = processor(text=["what does the dog do?"], options=[options], videos=["video.mp4"])'
        + _FORWARD
        + "print(options[outputs.logits.argmax(-1).item()])",
    ),
    "ForRegression": Task(
        title="counting in videos",
        task_type="visual-question-answering",
        pipeline_tag="visual-question-answering",
        says="answers a question about a video with a number, such as how often something happens",
        example='inputs = processor(text=["how many times does the man jump?"], videos=["video.mp4"])'
        + _FORWARD
        + "print(outputs.logits.item())",
    ),
    "ForPreTraining": Task(
        title="image-text and video-text pre-training",
        task_type="fill-mask",
        says="predicts masked words of a text that is read together with an image or a video, and whether the two belong "
        "together; it is a starting point for fine-tuning",
        example='inputs = processor(text=[f"a {processor.tokenizer.mask_token} runs"], videos=["video.mp4"])'
        + _FORWARD
        + "masked = inputs.input_ids == processor.tokenizer.mask_token_id\n"
        "print(processor.tokenizer.decode(outputs.prediction_logits.mean(dim=1)[masked].argmax(-1)))  # mean over clips",
    ),
    "Model": Task(
        title="video-text features",
        task_type="feature-extraction",
        pipeline_tag="feature-extraction",
        says="reads a text together with every clip of a video and returns its hidden states; it has no task head",
        example='inputs = processor(text=["a dog runs"], videos=["video.mp4"])'
        + _FORWARD
        + "print(outputs.pooler_output.shape)  # (texts, clips, hidden size)",
    ),
}


@dataclass(frozen=True)
class Family:
    """How a card speaks of a kind of model. By `config.model_type`."""

    name: str
    about: str
    citation: str


FAMILIES = {
    "clipbert": Family(
        name="ClipBERT",
        about="[ClipBERT](https://arxiv.org/abs/2102.06183) samples a few short clips of a video, turns their frames into "
        "visual tokens with a 2D CNN, reads them together with the text in one BERT-like transformer, and pools the scores "
        'of the clips. It is **not based on CLIP**: "clip" means a short piece of a video.',
        citation="""@inproceedings{lei2021less,
  title     = {Less Is More: ClipBERT for Video-and-Language Learning via Sparse Sampling},
  author    = {Lei, Jie and Li, Linjie and Zhou, Luowei and Gan, Zhe and Berg, Tamara L. and Bansal, Mohit and
               Liu, Jingjing},
  booktitle = {CVPR},
  year      = {2021}
}""",
    ),
}

# Settings of processor and model that decide what the model sees of a video, with what the card says of them.
SAMPLING = {
    "sampling": "where clips are taken",
    "placement": "positions of clips and frames",
    "num_clips": "clips of a video",
    "num_frames": "frames of a clip",
    "fps": "frames a second inside a clip",
    "short_video": "videos too short for that",
    "size": "size of a frame in pixels",
}
SCORING = {"frame_fusion": "fusion of the frames of a clip", "score_pooling": "pooling of the scores of clips"}
INSTALL = 'pip install torch torchvision "transformers>=5.23" av'


def build_model_card(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    info: ModelCardInfo,
    auto_class: str,
    repo_id: str | None = None,
) -> ModelCard:
    """
    Write the model card: metadata for the Hub, then what it is, how to use it, what it sees, scores, training,
    licence.

    Args:
        model (`PreTrainedModel`): The model.
        processor (`ProcessorMixin`): Its processor, whose defaults are the sampling the card names.
        info (`ModelCardInfo`): What the author says.
        auto_class (`str`): Name of the Auto class that loads the model.
        repo_id (`str`, *optional*): Name on the Hub, for the example.

    Returns:
        `huggingface_hub.ModelCard`: The card, not saved yet.

    Raises:
        ValueError: If there is nothing to say about the class or its family.
    """
    task, family = describe(model)
    title = info.title or f"{family.name} for {task.title}"
    data = ModelCardData(
        language=info.language,
        license=info.license,
        license_name=info.license_name,
        license_link=info.license_link,
        library_name="transformers",
        pipeline_tag=task.pipeline_tag,
        tags=["video", model.config.model_type, task.task_type],
        datasets=info.dataset_ids or None,
        base_model=info.base_models or None,
        model_name=repo_id or title if info.scores else None,
        eval_results=_eval_results(task, info.scores) or None,
    )
    sections = {
        f"# {title}": [f"This model {task.says}.", info.description, family.about],
        "## How to use": [_usage(task, auto_class, repo_id)],
        "## What it sees": [_settings_table(model, processor)],
        "## Scores": [_scores_table(info.scores)],
        "## Training": _training(info),
        "## Licence": [_licence(info)],
        "## Citation": [f"```bibtex\n{family.citation}\n```"],
    }
    text = "\n\n".join(
        "\n\n".join([heading, *(part for part in parts if part)]) for heading, parts in sections.items()
    )
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}\n")


def describe(model: PreTrainedModel) -> tuple[Task, Family]:
    """What cards say about this head and its family."""
    name, model_type = type(model).__name__, model.config.model_type
    if name.endswith("ForVideoQA") and model.config.num_labels == 1:
        name = "ForRegression"  # one label is a number
    task = next((task for suffix, task in TASKS.items() if name.endswith(suffix)), None)
    if task is None or model_type not in FAMILIES:
        raise ValueError(
            f"No model card for {type(model).__name__} of the family {model_type!r}: known are classes that end in "
            f"{', '.join(TASKS)} of {', '.join(FAMILIES)}."
        )
    return task, FAMILIES[model_type]


def _eval_results(task: Task, scores: list[Scores]) -> list[EvalResult]:
    return [
        EvalResult(
            task_type=task.task_type,
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


def _usage(task: Task, auto_class: str, repo_id: str | None) -> str:
    place = f'name = "{repo_id}"' if repo_id else 'name = "."  # this folder'
    return f"""```bash
{INSTALL}
```

```python
import torch
from transformers import {", ".join(sorted([auto_class, "AutoProcessor"]))}

{place}
processor = AutoProcessor.from_pretrained(name, trust_remote_code=True)
model = {auto_class}.from_pretrained(name, trust_remote_code=True)

{task.example}
```

`trust_remote_code=True` runs the Python files of this repository: read them first, or pin a `revision`."""


def _settings_table(model: PreTrainedModel, processor: ProcessorMixin) -> str:
    rows = ["| | |", "|---|---|"]
    for source, names in ((processor.video_processor, SAMPLING), (model.config, SCORING)):
        for name, meaning in names.items():
            if hasattr(source, name):
                rows.append(f"| {meaning} | `{name}={_show_setting(getattr(source, name))}` |")
    rows.append("")
    rows.append("These are the defaults; pass others to the processor, such as `processor(..., num_clips=16)`.")
    return "\n".join(rows)


def _show_setting(value: Any) -> str:
    is_size = not isinstance(value, str | int | float | list | tuple | type(None))
    return repr({key: size for key, size in dict(value).items() if size is not None} if is_size else value)


def _scores_table(scores: list[Scores]) -> str:
    if not scores:
        return "None were given."
    rows, notes = ["| dataset | split | metric | value |", "|---|---|---|---|"], []
    for item in scores:
        where = f"{item.dataset}, {item.split}"
        rows += [
            f"| {item.dataset} | {item.split} | {name} | {_show_score(name, value)} |"
            for name, value in item.results().items()
        ]
        if beside := [f"{name} {_show_score(name, value)}" for name, value in item.beside().items()]:
            notes.append(f"To compare with ({where}): {'; '.join(beside)}.")
        if item.note:
            notes.append(f"{where}: {item.note}")
    return "\n".join(rows) + "".join(f"\n\n{note}" for note in notes)


def _show_score(name: str, value: float) -> str:
    """Fractions times 100, to one place after the point; counts, ranks, errors and losses as they are."""
    if "num" not in name.split("_") and any(part in name for part in FRACTIONS):
        return f"{100 * value:.1f} %"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


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
