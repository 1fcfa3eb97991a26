# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
r"""
Convert official ClipBERT checkpoints to folders that `from_pretrained` reads.

    python -m clipbert.modeling_clipbert.convert_clipbert_checkpoint --checkpoint_path ckpt/model_step_6000.pt \
        --model_config log/model_config.json --task retrieval --score_pooling lse \
        --tokenizer google-bert/bert-base-uncased --output_dir clipbert-msrvtt-retrieval

Widths and depths are read from the tensors, everything else (attention heads, dropout, activation, loss, ...) from the
JSON file, and where both speak they have to agree. Every tensor of the file is either used or known to be of no use;
anything else stops the conversion, which then writes nothing.

What happens to the peculiarities of the official model:

- The detector around the CNN (region proposals, box and attribute heads) and the visual `position_embeddings` table
  are in every file and read by nothing: left out.
- The model flips RGB to BGR after the mean is subtracted. The flip is folded into the first convolution, so that the
  converted model takes RGB.
- Pixels in 0..255, borders padded before the mean is subtracted, frozen batch norms, strides in the first 1x1
  convolutions, convolution before max-pool before ReLU: kept, results depend on them.
- An evaluation with one clip looks at the first third of a video (retrieval) or at its start (question answering), and
  clips stop short of the end. The saved processor does the same, `placement="official"`; with `placement="even"` clips
  cover the whole video.
- The word loss of pre-training is averaged over all positions and counts mismatched pairs. Models made here mend both
  by default; a converted pre-training model gets `mlm_loss_reduction="all"` and `mlm_on_mismatched_pairs=True`, so
  that its losses are the official ones.

`--task backbone` converts the CNN alone from a detectron2 checkpoint (grid features), for
`from_parts(model_class, {"vision": ..., "text": ...})`. A BERT folder needs no conversion for that.
"""

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import ConvNextImageProcessor, ResNetBackbone, ResNetConfig
from transformers.activations import ACT2FN

from clipbert.processing import ClipBERTVideoProcessor, VideoTextProcessor, load_tokenizer
from clipbert.support.names import closest
from clipbert.support.weights import ConversionError, listed, new_folder, read_checkpoint, read_json_object

from .configuration_clipbert import ClipBERTConfig
from .modeling_clipbert import (
    ClipBERTForMultipleChoice,
    ClipBERTForPreTraining,
    ClipBERTForRegression,
    ClipBERTForVideoQA,
    ClipBERTForVideoTextRetrieval,
    ClipBERTPreTrainedModel,
)
from .official_layout import (
    HEAD_PREFIXES,
    OUTPUT_LAYERS,
    SIZES,
    STAGES,
    TIED_TENSORS,
    backbone_layout,
    count_depths,
    count_layers,
    find_head,
    is_known_unused,
    official_layout,
)


# ---------------------------------------------------------------------------------------------------------------------
# What the official code has for each task
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OfficialTask:
    """
    What the official code has for a task.

    Args:
        model_class (`type`): Our class.
        head (`str`): Key of `HEADS`.
        losses (`Mapping[int | None, str]`): Loss by the number of outputs of the head, `None` for any other number.
        max_img_size, max_txt_len, fps, num_frames: Inputs of the published recipe (of MSR-VTT for retrieval and
            video_qa, of TGIF-QA for multiple_choice, of VQA for image_qa). Images have no `fps`.
        sampling (`str`): Where the official evaluation with one clip looks.
    """

    model_class: type[ClipBERTPreTrainedModel]
    head: str
    losses: Mapping[int | None, str]
    max_img_size: int
    max_txt_len: int
    num_frames: int = 1
    fps: float | None = None
    sampling: str = "uniform"


_RESUME = "it is a resume file, whose weights are rounded to float16. Convert ckpt/model_step_N.pt of the same run."
RESUME_FILES = {"optimizer": _RESUME, "global_step": _RESUME}  # entries of what the official code resumes from

_MSRVTT = {"max_img_size": 448, "num_frames": 2, "fps": 2}
_TGIF = {"max_img_size": 768, "max_txt_len": 25, "fps": 1}
TASKS = {
    "pretraining": OfficialTask(ClipBERTForPreTraining, "pretraining", {}, max_img_size=768, max_txt_len=30),
    "retrieval": OfficialTask(
        ClipBERTForVideoTextRetrieval, "classifier", {2: "ce", 1: "rank"}, max_txt_len=20, sampling="middle", **_MSRVTT
    ),
    "video_qa": OfficialTask(ClipBERTForVideoQA, "classifier", {1: "mse", None: "ce"}, max_txt_len=100, **_MSRVTT),
    "multiple_choice": OfficialTask(ClipBERTForMultipleChoice, "classifier", {1: "ce"}, **_TGIF),
    "image_qa": OfficialTask(
        ClipBERTForVideoQA, "classifier", {1: "mse", None: "bce"}, max_img_size=768, max_txt_len=20
    ),
    "regression": OfficialTask(ClipBERTForRegression, "regressor", {1: "mse"}, **_TGIF),
}


# ---------------------------------------------------------------------------------------------------------------------
# Names and tensors
# ---------------------------------------------------------------------------------------------------------------------


def _check_names(official, layout, unused, what):
    """Refuse missing and unknown names, each with its likely counterpart."""
    missing = sorted(layout.keys() - official.keys())
    unknown = sorted(official.keys() - layout.keys() - set(unused))
    if not missing and not unknown:
        return
    parts = [f"This is not the layout of {what}; nothing was converted."]
    if missing:
        parts.append(f"Missing ({len(missing)}):{listed(missing)}")
    if unknown:
        renamed = {name: closest(name, missing, cutoff=0.8) for name in unknown}
        lines = [f"{name}  (renamed from {near[0]}?)" if near else name for name, near in renamed.items()]
        parts.append(f"Unknown ({len(unknown)}):{listed(lines)}")
    raise ConversionError("\n".join(parts))


def convert_state_dict(official: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """
    Rename the tensors of an official checkpoint, fold the channel flip into the first convolution, and leave out what
    is known to be unused.

    Args:
        official (`Mapping[str, torch.Tensor]`): State dict in the official layout, with any of the heads.

    Returns:
        `dict[str, torch.Tensor]`: State dict of the ClipBERT class with that head. Tensors are shared with `official`
        except for the first convolution.

    Raises:
        ConversionError: If a tensor is missing or unknown; all of them are named.
    """
    head = find_head(official)
    if head is None:
        raise ConversionError(
            "Found no head: expected tensors that start with one of " + ", ".join(HEAD_PREFIXES.values()) + ", among "
            f"{len(official)} tensors such as {', '.join(list(official)[:3])}."
        )
    layout = official_layout(official, head)
    _check_names(official, layout, filter(is_known_unused, official), f"an official checkpoint with the {head} head")
    ours = {our_name: official[name] for name, our_name in layout.items()}
    return _finish_backbone(ours, "clipbert.grid_encoder.backbone.")


def _finish_backbone(state_dict, prefix):
    """The RGB to BGR flip, and the counters that a frozen batch norm lacks."""
    first_convolution = f"{prefix}embedder.embedder.convolution.weight"
    if state_dict[first_convolution].ndim == 4:  # other shapes are refused by whoever knows the sizes
        state_dict[first_convolution] = state_dict[first_convolution].flip(1)
    for name in list(state_dict):
        if name.startswith(prefix) and name.endswith("running_var"):
            state_dict[name.removesuffix("running_var") + "num_batches_tracked"] = torch.tensor(0)
    return state_dict


def _check_shapes(official, layout, expected):
    """Refuse tensors whose shape does not fit the sizes that the other tensors give."""
    wrong = [
        f"{name} is {tuple(official[name].shape)}, expected {tuple(expected[our_name].shape)}"
        for name, our_name in layout.items()
        if official[name].shape != expected[our_name].shape
    ]
    if wrong:
        raise ConversionError(f"Shapes that do not fit the sizes of the rest ({len(wrong)}):{listed(wrong)}")


def _check_values(official, layout):
    """Refuse mixed types, NaN and infinity, and copies of tied tensors that differ."""
    floating = [name for name in layout if not name.endswith("num_batches_tracked")]
    by_dtype = {official[name].dtype: name for name in floating}
    if len(by_dtype) > 1 or not all(dtype.is_floating_point for dtype in by_dtype):
        raise ConversionError(
            f"Expected all tensors to have the same floating point type, got{listed(f'{d}: {n}' for d, n in by_dtype.items())}"
        )
    broken = [name for name in floating if not official[name].isfinite().all()]
    if broken:
        raise ConversionError(f"Tensors with NaN or infinity ({len(broken)}):{listed(broken)}")
    for copy, source in TIED_TENSORS.items():
        if copy in layout and not torch.equal(official[copy], official[source]):
            raise ConversionError(
                f"{copy} differs from {source}, but the official model shares them: this file does not come from it."
            )


# ---------------------------------------------------------------------------------------------------------------------
# Configuration
# ---------------------------------------------------------------------------------------------------------------------

# Fields that only the JSON knows; the second group has a default in the official code.
SETTINGS = (
    "num_attention_heads",
    "hidden_act",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "layer_norm_eps",
    "initializer_range",
    "pad_token_id",
)
OPTIONAL_SETTINGS = ("max_temporal_position_embeddings", "margin", "pixel_random_sampling_size")


def _axis(official, name, axis):
    shape = tuple(official[name].shape)
    if axis >= len(shape):
        raise ConversionError(f"{name} has the shape {shape}, expected at least {axis + 1} axes.")
    return shape[axis]


def build_backbone_config(official, prefix="cnn.feature.backbone."):
    """
    Settings of the ResNet that the tensors belong to.

    Args:
        official (`Mapping[str, torch.Tensor]`): State dict with complete names.
        prefix (`str`): What the names of the CNN's tensors start with.

    Returns:
        [`~transformers.ResNetConfig`] with strides in the first 1x1 convolutions, as the official CNN has them.

    Raises:
        ConversionError: If the bottlenecks are wider or narrower than transformers builds them.
    """
    widths = [_axis(official, f"{prefix}{stage}.0.conv3.weight", 0) for stage in STAGES]
    for stage, width in zip(STAGES, widths, strict=True):
        name = f"{prefix}{stage}.0.conv1.weight"
        inner_width = _axis(official, name, 0)
        if inner_width != width // 4:
            raise ConversionError(
                f"{name} has {inner_width} output channels, but a stage of {width} channels needs bottlenecks of "
                f"{width // 4}: the ResNet of transformers has a quarter of the stage's width (no wide or grouped variants)."
            )
    return ResNetConfig(
        embedding_size=_axis(official, f"{prefix}stem.conv1.weight", 0),
        hidden_sizes=widths,
        depths=count_depths(official, prefix),
        layer_type="bottleneck",
        downsample_in_bottleneck=True,
        out_features=["stage4"],
    )


def build_config(official, model_config, task, score_pooling="mean", answers=None):
    """
    Our configuration for an official checkpoint.

    Args:
        official (`Mapping[str, torch.Tensor]`): State dict whose names have been checked.
        model_config (`Mapping`): Content of the official JSON.
        task (`str`): One of `TASKS`.
        score_pooling (`str`, *optional*, defaults to `"mean"`): How clips are pooled; the official option
            `score_agg_func`, which is not in the model's JSON.
        answers (`Mapping[str, int]`, *optional*): The official `ans2label`, for the names of the labels.

    Returns:
        [`ClipBERTConfig`].

    Raises:
        ConversionError: If JSON and tensors contradict each other, or settings do, or the JSON lacks one.
    """
    sizes = {field: _axis(official, name, axis) for field, (name, axis) in SIZES.items()}
    sizes["num_hidden_layers"] = count_layers(official)
    backbone_config = build_backbone_config(official)
    in_tensors = {**sizes, "backbone_channel_in_size": backbone_config.hidden_sizes[-1]}
    contradictions = [
        f"{field}: {model_config[field]} in the JSON, {value} in the tensors"
        + (f" ({SIZES[field][0]} is {tuple(official[SIZES[field][0]].shape)})" if field in SIZES else "")
        for field, value in in_tensors.items()
        if model_config.get(field, value) != value
    ]
    if contradictions:
        raise ConversionError(f"The model config is not the one of this checkpoint:{listed(contradictions)}")
    missing = [field for field in SETTINGS if field not in model_config]
    if missing:
        raise ConversionError(
            f"The model config lacks {', '.join(missing)}, which the tensors do not tell. Expected the official "
            "base_model.json, or the model_config.json in the log folder of a training run."
        )
    settings = {field: model_config[field] for field in (*SETTINGS, *OPTIONAL_SETTINGS) if field in model_config}
    if task == "pretraining":  # the official losses, see the top of this file
        settings |= {"mlm_loss_reduction": "all", "mlm_on_mismatched_pairs": True}
    if settings["hidden_act"] not in ACT2FN:
        raise ConversionError(f"hidden_act: {settings['hidden_act']!r} is no activation that transformers knows.")
    settings |= _label_settings(official, model_config, task, answers)
    try:
        return ClipBERTConfig(backbone_config=backbone_config, **sizes, **settings, score_pooling=score_pooling)
    except StrictDataclassError as error:
        raise ConversionError(f"The settings do not go together: {error}") from error


def _label_settings(official, model_config, task, answers):
    """Number of labels, their names and the loss."""
    head, losses = TASKS[task].head, TASKS[task].losses
    if answers is not None and task not in ("video_qa", "image_qa"):
        raise ConversionError(f"Answers name the labels of video_qa and image_qa; {task} has none to name.")
    if head == "pretraining":
        return {}
    num_outputs = _axis(official, OUTPUT_LAYERS[head], 0)
    shape = tuple(official[OUTPUT_LAYERS[head]].shape)
    loss_type = losses.get(num_outputs, losses.get(None))
    if loss_type is None:
        raise ConversionError(
            f"{OUTPUT_LAYERS[head]} {shape} gives {num_outputs} scores, but {task} has {' or '.join(map(str, losses))}."
        )
    # with one output the official classification head ignores `loss_type`
    given_loss = loss_type if loss_type == "mse" else model_config.get("loss_type", loss_type)
    if given_loss != loss_type:
        raise ConversionError(
            f"loss_type: {given_loss!r} in the JSON, but {task} with {num_outputs} output(s) ({OUTPUT_LAYERS[head]} {shape}) "
            f"is trained with {loss_type!r}. Is this another task ({', '.join(TASKS)})?"
        )
    if task == "multiple_choice":  # one score for each choice; the JSON counts the choices
        return {"num_labels": model_config.get("num_labels", 5), "loss_type": loss_type}
    if head == "classifier" and model_config.get("num_labels", num_outputs) != num_outputs:
        raise ConversionError(
            f"num_labels: {model_config['num_labels']} in the JSON, {num_outputs} in the tensors ({OUTPUT_LAYERS[head]} {shape})."
        )
    labels = {"num_labels": num_outputs} if answers is None else _label_names(answers, num_outputs)
    return {**labels, "loss_type": loss_type}


def _label_names(answers, num_labels):
    indices = list(answers.values())
    wrong = [index for index in indices if not isinstance(index, int) or not 0 <= index < num_labels]
    if wrong or len(set(indices)) != len(indices):
        problem = f"such as {wrong[0]!r}" if wrong else "some of them equal"
        raise ConversionError(
            f"Expected answers with different indices in [0, {num_labels}), the outputs of this checkpoint; got "
            f"{len(indices)} answers, {problem}."
        )
    # the official heads are wider than their answer lists; what is left over keeps a placeholder
    id2label = {index: f"LABEL_{index}" for index in range(num_labels)} | {
        index: name for name, index in answers.items()
    }
    return {"id2label": id2label, "label2id": {name: index for index, name in id2label.items()}}


# ---------------------------------------------------------------------------------------------------------------------
# Whole checkpoints
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ConversionReport:
    """
    What became of each tensor.

    Args:
        task (`str`): What was converted.
        used, unused (`list[str]`): Official names.
        num_parameters (`dict[str, int]`): Numbers in the used weights by part (tied ones once, batch norms of the CNN
            not counted, as they are not trained), and in the unused tensors.
    """

    task: str
    used: list[str]
    unused: list[str]
    num_parameters: dict[str, int]

    def __str__(self):
        return "\n".join(
            [
                f"{self.task}: {len(self.used)} tensors used, {len(self.unused)} known to be unused",
                *(f"    {part:<12} {count:>12,} parameters" for part, count in self.num_parameters.items()),
                *(f"    not used: {name}" for name in self.unused),
            ]
        )


def count_parameters(official, layout):
    """
    Numbers in the tensors of each part of an official checkpoint.

    Args:
        official (`Mapping[str, torch.Tensor]`): State dict.
        layout (`Mapping[str, str]`): The names that are used.

    Returns:
        `dict[str, int]`: As in [`ConversionReport`].
    """
    counts = {"backbone": 0, "grid conv": 0, "transformer": 0, "unused": 0}
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    for name, tensor in official.items():
        if name not in layout:
            counts["unused"] += tensor.numel()
        elif name in TIED_TENSORS or ".norm." in name or name.endswith(statistics):
            continue
        elif name.startswith("transformer."):
            counts["transformer"] += tensor.numel()
        else:
            counts["grid conv" if name == "cnn.grid_encoder.0.weight" else "backbone"] += tensor.numel()
    return counts


def _report(task, official, layout):
    used = [name for name in official if name in layout]
    unused = [name for name in official if name not in layout]
    return ConversionReport(task, used, unused, count_parameters(official, layout))


def build_official_model(official, model_config, task, score_pooling="mean", answers=None):
    """
    The ClipBERT model with the weights of an official checkpoint.

    Args:
        official (`Mapping[str, torch.Tensor]`): Official state dict.
        model_config, task, score_pooling, answers: See [`build_config`].

    Returns:
        `(model, report)`: A [`ClipBERTPreTrainedModel`] in evaluation mode and a [`ConversionReport`].

    Raises:
        ConversionError: If a tensor is missing, unknown, of the wrong shape or type, or not finite, if a tied copy
            differs, or if the configuration does not fit.
    """
    if task not in TASKS:
        raise ConversionError(f"There is no task {task!r}; known are {', '.join(TASKS)}.")
    head = find_head(official)
    if head not in (None, TASKS[task].head):
        fitting = [name for name, other in TASKS.items() if other.head == head]
        raise ConversionError(
            f"--task {task} needs the tensors {HEAD_PREFIXES[TASKS[task].head]}*, but this checkpoint has "
            f"{HEAD_PREFIXES[head]}*, which fits {', '.join(fitting)}. (To fine-tune from it, convert it as what it is: "
            "`from_pretrained` of another class starts with a new head.)"
        )
    state_dict = convert_state_dict(official)
    layout = official_layout(official, head)
    config = build_config(official, read_json_object(model_config), task, score_pooling, answers)
    with torch.device("meta"):
        model = TASKS[task].model_class(config)
    _check_shapes(official, layout, model.state_dict())
    _check_values(official, layout)
    model.load_state_dict({name: tensor.clone() for name, tensor in state_dict.items()}, assign=True)
    model.tie_weights()
    return model.eval(), _report(task, official, layout)


def convert_clipbert_checkpoint(
    checkpoint_path: str | os.PathLike,
    model_config: str | os.PathLike | Mapping,
    task: str,
    tokenizer: str | os.PathLike,
    output_dir: str | os.PathLike,
    score_pooling: str = "mean",
    *,
    ans2label: str | os.PathLike | Mapping[str, int] | None = None,
    max_img_size: int | None = None,
    max_txt_len: int | None = None,
    num_frames: int | None = None,
    fps: float | None = None,
    overwrite: bool = False,
) -> ConversionReport:
    """
    Convert an official checkpoint to a folder with configuration, weights and processor.

    Args:
        checkpoint_path (`str` or `os.PathLike`): `model_step_N.pt` of a training run, or the same as safetensors.
        model_config (`str`, `os.PathLike` or `Mapping`): The official model configuration (JSON file, or its content).
        task (`str`): One of `TASKS`.
        tokenizer (`str` or `os.PathLike`): Name on the Hub, folder, or `vocab.txt`.
        output_dir (`str` or `os.PathLike`): Folder to write. It appears when it is complete, or not at all.
        score_pooling (`str`, *optional*, defaults to `"mean"`): `"mean"`, `"max"` or `"lse"`; the `score_agg_func` the
            checkpoint was trained with (`log/args.json`).
        ans2label (`str`, `os.PathLike` or `Mapping`, *optional*): Answer to label, for question answering.
        max_img_size, max_txt_len, num_frames, fps (*optional*): Defaults of the processor; those of the published
            recipe where they are not given.
        overwrite (`bool`, *optional*, defaults to `False`): Replace a model folder that is already there.

    Returns:
        [`ConversionReport`].

    Raises:
        ConversionError: If something does not fit; nothing is written then.
        FileExistsError: If `output_dir` is not empty.
    """
    with new_folder(output_dir, overwrite, sources=[checkpoint_path]) as folder:
        answers = read_json_object(ans2label) if ans2label is not None else None
        official = read_checkpoint(checkpoint_path, no_weights=RESUME_FILES)
        model, report = build_official_model(official, model_config, task, score_pooling, answers)
        given = {"max_img_size": max_img_size, "max_txt_len": max_txt_len, "num_frames": num_frames, "fps": fps}
        processor = build_processor(model.config, task, tokenizer, **given)
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
    return report


def build_processor(config, task, tokenizer, max_img_size=None, max_txt_len=None, num_frames=None, fps=None):
    """
    The processor of a converted model: official pixels, the sizes of the recipe, and the one clip that the official
    evaluation looks at by default. (For several clips, call it with `num_clips=16, sampling="uniform"`.)

    Args:
        config ([`ClipBERTConfig`]): Configuration of the model, which the tokenizer has to fit.
        task, tokenizer, max_img_size, max_txt_len, num_frames, fps: See [`convert_clipbert_checkpoint`].

    Returns:
        `VideoTextProcessor`.

    Raises:
        ConversionError: If the tokenizer has another vocabulary, or a text length has no position in the model.
    """
    recipe = TASKS[task]
    tokenizer_name, tokenizer = tokenizer, load_tokenizer(tokenizer)
    # fewer tokens than embeddings are no fault: vocabularies are often rounded up
    if len(tokenizer) > config.vocab_size or tokenizer.pad_token_id != config.pad_token_id:
        raise ConversionError(
            f"The tokenizer {tokenizer_name} has {len(tokenizer)} tokens with padding {tokenizer.pad_token_id}, but the "
            f"checkpoint has {config.vocab_size} word embeddings with padding {config.pad_token_id}: this is not the "
            "tokenizer it was trained with."
        )
    if max_txt_len is not None and max_txt_len > config.max_position_embeddings:
        raise ConversionError(
            f"max_txt_len={max_txt_len} is more than the {config.max_position_embeddings} positions of the checkpoint."
        )
    tokenizer.model_max_length = min(tokenizer.model_max_length, config.max_position_embeddings)
    sampling = {
        "num_clips": 1,
        "num_frames": recipe.num_frames if num_frames is None else num_frames,
        "fps": recipe.fps if fps is None else fps,
    }
    if sampling["fps"] is not None:  # images have no clips to place
        sampling |= {"placement": "official", "sampling": recipe.sampling}
    max_img_size = recipe.max_img_size if max_img_size is None else max_img_size
    return VideoTextProcessor(
        ClipBERTVideoProcessor(size={"longest_edge": max_img_size}, **sampling),
        tokenizer,
        max_length=min(recipe.max_txt_len, config.max_position_embeddings) if max_txt_len is None else max_txt_len,
    )


# ---------------------------------------------------------------------------------------------------------------------
# The CNN alone
# ---------------------------------------------------------------------------------------------------------------------

OFFICIAL_PIXEL_MEAN = (123.675, 116.28, 103.53)  # RGB


def convert_backbone_state_dict(official: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """
    Rename the CNN's tensors of a detectron2 checkpoint to those of a transformers ResNet that takes RGB.

    Args:
        official (`Mapping[str, torch.Tensor]`): Names such as `backbone.res2.0.conv1.norm.weight`. Files that come
            from Caffe2 have folded statistics, that is, neither `running_mean` nor `running_var`: 0 and 1 stand for
            them.

    Returns:
        `dict[str, torch.Tensor]`: State dict of a [`~transformers.ResNetBackbone`].

    Raises:
        ConversionError: If a tensor is missing or unknown; all of them are named.
    """
    official = _with_folded_statistics(official)
    layout = backbone_layout(official, "backbone.", "")
    unused = [name for name in official if is_known_unused(f"cnn.feature.{name}")]
    _check_names(official, layout, unused, "a detectron2 ResNet with grid features")
    return _finish_backbone({our_name: official[name] for name, our_name in layout.items()}, "")


def _with_folded_statistics(official):
    norms = [name.removesuffix("weight") for name in official if name.endswith(".norm.weight")]
    if any(name.startswith("backbone.") and name.endswith(("running_mean", "running_var")) for name in official):
        return dict(official)  # statistics are there, so that each missing one is an error
    statistics = {}
    for norm in norms:
        scale = official[f"{norm}weight"]
        statistics |= {f"{norm}running_mean": torch.zeros_like(scale), f"{norm}running_var": torch.ones_like(scale)}
    return {**official, **statistics}


def convert_backbone_checkpoint(
    checkpoint_path: str | os.PathLike, output_dir: str | os.PathLike, *, overwrite: bool = False
) -> ConversionReport:
    """
    Convert the CNN of a detectron2 checkpoint to a folder that `ResNetBackbone` and `from_parts`
    read.

    Strides are taken to be in the first 1x1 convolutions, as tensors do not show it. The preprocessing is written
    along: the mean and standard deviation in the file, or the official mean, of RGB pixels in 0..255.

    Args:
        checkpoint_path (`str` or `os.PathLike`): `.pth` with the tensors, by themselves or as entry `"model"`.
        output_dir (`str` or `os.PathLike`): Folder to write. It appears when it is complete, or not at all.
        overwrite (`bool`, *optional*, defaults to `False`): Replace a model folder that is already there.

    Returns:
        [`ConversionReport`].

    Raises:
        ConversionError: If something does not fit; nothing is written then.
        FileExistsError: If `output_dir` is not empty.
    """
    with new_folder(output_dir, overwrite, sources=[checkpoint_path]) as folder:
        official = read_checkpoint(checkpoint_path, wrapper="model", allow_numpy=True)
        state_dict = convert_backbone_state_dict(official)
        complete = _with_folded_statistics(official)
        layout = backbone_layout(complete, "backbone.", "")
        with torch.device("meta"):
            backbone = ResNetBackbone(build_backbone_config(complete, "backbone."))
        _check_shapes(complete, layout, backbone.state_dict())
        _check_values(complete, layout)
        backbone.load_state_dict(state_dict, assign=True)
        backbone.save_pretrained(folder)
        mean, std = (_pixel_statistic(official, name) for name in ("pixel_mean", "pixel_std"))
        ConvNextImageProcessor(
            do_resize=False,
            do_rescale=False,
            image_mean=mean or list(OFFICIAL_PIXEL_MEAN),
            image_std=std or [1.0, 1.0, 1.0],
        ).save_pretrained(folder)
    return _report("backbone", official, layout)


def _pixel_statistic(official, name):
    """Three numbers in RGB order; detectron2 keeps them in the order of its inputs, BGR."""
    if name not in official:
        return None
    values = official[name].flatten().tolist()
    if len(values) != 3:
        raise ConversionError(f"Expected {name} to have 3 values, one for each channel, got {values}.")
    return values[::-1]


# ---------------------------------------------------------------------------------------------------------------------
# Command line
# ---------------------------------------------------------------------------------------------------------------------


def build_parser():
    parser = argparse.ArgumentParser(
        prog="python -m clipbert.modeling_clipbert.convert_clipbert_checkpoint",
        description="Convert an official ClipBERT checkpoint (or, with --task backbone, the CNN of a detectron2 one).",
    )
    parser.add_argument("--checkpoint_path", required=True, help="model_step_N.pt, or the same as .safetensors")
    parser.add_argument("--task", required=True, choices=[*TASKS, "backbone"])
    parser.add_argument("--output_dir", required=True, help="folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace a model folder that is already there")
    parser.add_argument("--model_config", help="official model configuration (JSON); not for backbone")
    parser.add_argument("--tokenizer", help="name on the Hub, folder, or vocab.txt; not for backbone")
    parser.add_argument(
        "--score_pooling", choices=["mean", "max", "lse"], help="official score_agg_func (default: mean)"
    )
    parser.add_argument("--ans2label", help="official JSON of answer to label, for question answering")
    recipe = parser.add_argument_group("defaults of the processor (otherwise those of the published recipe)")
    recipe.add_argument("--max_img_size", type=int, help="longer side of a frame in pixels")
    recipe.add_argument("--max_txt_len", type=int, help="longest text in tokens")
    recipe.add_argument("--num_frames", type=int, help="frames of a clip")
    recipe.add_argument("--fps", type=float, help="frames a second inside a clip")
    return parser


def main(argv: list[str] | None = None) -> None:
    parser = build_parser()
    arguments = vars(parser.parse_args(argv))
    given = {name: value for name, value in arguments.items() if value is not None}
    if given["task"] == "backbone":
        known = {"task", "checkpoint_path", "output_dir", "overwrite"}
        if given.keys() - known:
            parser.error(f"--task backbone does not take {', '.join(sorted(given.keys() - known))}")
        given.pop("task")
        report = convert_backbone_checkpoint(**given)
    else:
        missing = [f"--{name}" for name in ("model_config", "tokenizer") if name not in given]
        if missing:
            parser.error(f"--task {given['task']} needs {' and '.join(missing)}")
        report = convert_clipbert_checkpoint(**given)
    print(report)
    print(f"Written to {arguments['output_dir']}")


if __name__ == "__main__":
    main()
