# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The five sections of a recipe: what the engine, or every task, needs. Tasks and families add options of their own.

The dataclasses are the schema: names, types, defaults, bounds and help. Checks between the values of a section go into
`problems`. An option that says where, how fast or how often, and not what is learnt, is `is_changeable`: a resumed run
may have another value.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from clipbert.support.options import changeable, option
from clipbert.train_scripts.engine.groups import split_group


DURATION = re.compile(r"(\d+(?:\.\d+)?) ?(s|min|h)")


def goal_of_metric(name: str) -> Literal["max", "min"]:
    """What is better, in a group as of all: `"min"` of losses, errors and ranks, `"max"` of everything else."""
    return "min" if split_group(name)[0].rpartition("_")[2] in ("loss", "error", "rank") else "max"


@dataclass(kw_only=True)
class Section:
    """One block of a recipe."""

    def problems(self) -> Iterator[str]:
        """Yield what is wrong between this section's values, as `key: reason`."""
        yield from ()

    def pinned(self) -> set[str]:
        """Changeable options that with the present values belong to what is learnt, so that resuming keeps them."""
        return set()


@dataclass(kw_only=True)
class ModelSection(Section):
    family: str | None = option(
        None, "Model family, e.g. clipbert; null: the one of the checkpoint folder in `from_pretrained`."
    )
    from_pretrained: str | None = option(None, "Start from this folder or Hub name.")
    parts: dict[str, str] | None = option(
        None, "Start from pretrained parts: for each part of the family (see its README) a folder or Hub name."
    )
    config: dict[str, Any] | None = option(None, "Start from random weights with these config values.")
    overrides: dict[str, Any] = option({}, "Config values that replace those of the starting point.")
    tokenizer: str | None = changeable(
        None,
        "Hub name, folder or vocab.txt. Default: the tokenizer of what the model starts from.",  # resuming compares the tokenizers themselves
    )
    gradient_checkpointing: bool = changeable(
        False, "Recompute activations in the backward pass to save memory.", saves="memory"
    )

    def problems(self):
        starts = {"from_pretrained": self.from_pretrained, "parts": self.parts, "config": self.config}
        given = [name for name, value in starts.items() if value is not None]
        if len(given) != 1:
            yield (
                "from_pretrained: a model has one start; give exactly one of from_pretrained, parts and config, got "
                f"{given or 'none'}"
                + "".join(
                    f"; --set model.{name}=null drops that of a recipe" for name in given if name != "from_pretrained"
                )
            )
        if self.family is None:
            yield "family: missing; only a checkpoint folder in from_pretrained says it by itself"


@dataclass(kw_only=True)
class DataSection(Section):
    dataset: str = option("", "Name of a dataset of `datasets_scripts` (required).")
    config: str | None = option(None, "Configuration of the dataset, e.g. its split protocol.")
    data_dir: str | None = changeable(None, "Folder of annotations and videos; relative to the working folder.")
    options: dict[str, Any] = option({}, "Further fields of the dataset.")
    train_split: str | None = option("train", "Split to train on; null: none, where run.total_steps is 0.")
    group_by_length: bool = option(
        False, "Put items of similar length, in words or in frames, into a micro-batch: less padding."
    )
    num_workers: int = changeable(2, "Processes that decode, for each training process; 0: none.", at_least=0)
    prefetch_factor: int | None = changeable(
        None, "Micro-batches that each worker decodes ahead; null: two.", at_least=1, saves="memory"
    )
    on_decode_error: Literal["raise", "skip"] = changeable(
        "raise", "`skip` leaves videos out, counts and reports them."
    )
    max_decode_error_rate: float = changeable(0.01, "Share of an epoch that may be skipped.", at_least=0, at_most=1)
    skip_list: str | list[str] = changeable(
        [],
        "Ids of videos or images to leave out, or a file of them, as `python -m datasets_scripts check` writes it.",  # resuming compares the training items themselves
    )

    def problems(self):
        if not self.dataset:
            yield "dataset: missing; name one of `datasets_scripts`"
        if self.prefetch_factor is not None and not self.num_workers:
            yield f"prefetch_factor: {self.prefetch_factor} micro-batches ahead need num_workers, which is 0"


@dataclass(kw_only=True)
class GroupSection(Section):
    """What differs for some modules; null: as in the rest of the model."""

    lr: float | None = option(None, "Peak learning rate.", at_least=0)
    weight_decay: float | None = option(None, "Weight decay.", at_least=0)
    decay_all: bool = option(False, "Whether biases and norms are decayed, too.")


@dataclass(kw_only=True)
class OptimSection(Section):
    optimizer: Literal["adamw", "adam", "adamw_official"] = option(
        "adamw", "`adamw`, `adam`: torch's; `adamw_official`: decay after the update, as ClipBERT was trained."
    )
    lr: float = option(5e-5, "Peak learning rate.", at_least=0)
    weight_decay: float = option(
        1e-3,
        "Decoupled weight decay (with `adam` added to the gradient); biases and norms are never decayed.",
        at_least=0,
    )
    groups: dict[str, GroupSection] = option(
        {},
        "{MODULE: {lr: ..., weight_decay: ..., decay_all: true}}: other values for modules of this name (`grid_encoder`, "
        "`encoder.layer.*`); of several that fit the first counts.",
    )
    betas: list[float] = option([0.9, 0.98], "Decay rates of the two moments.")
    eps: float = option(1e-6, "Added to the root of the second moment.", at_least=0)
    schedule: Literal["linear", "cosine", "invsqrt", "constant", "multi_step", "multi_step_official", "plateau"] = (
        option("linear", "Learning rate after the warm-up.")
    )
    warmup_ratio: float = option(0.1, "Share of the steps over which the rate rises.", at_least=0, at_most=1)
    warmup_start: float = option(0.0, "Share of the peak rate with which the warm-up begins.", at_least=0, at_most=1)
    cosine_start_ratio: float | None = option(
        None,
        "Share of the steps before `cosine` falls, at the peak rate after the warm-up; null: none.",
        at_least=0,
        at_most=1,
    )
    cosine_fall_ratio: float | None = option(
        None,
        "Steps in which `cosine` falls to 0, as a share of all; it rises again if some are left; null: all that are left.",
        at_least=0,
    )
    milestones: list[int] = option([], "Steps after which `multi_step` halves the rate.")
    plateau_factor: float = option(0.5, "What `plateau` multiplies the rate by.", at_least=0, at_most=1)
    plateau_patience: int = option(
        2, "Evaluations on the tuning split without a better metric after which `plateau` reduces.", at_least=1
    )
    plateau_threshold: float = option(
        0.0, "Relative gain below which `plateau` takes a metric for no better, e.g. 1e-4.", at_least=0, at_most=1
    )
    max_grad_norm: float | None = option(5.0, "Clip gradients to this global L2 norm; null: never.")
    accumulation: Literal["mean", "sum"] = option(
        "mean", "`sum` adds the gradients of micro-batches, as the released code does."
    )
    ema_decay: float | None = option(
        None, "Evaluate and publish a moving average of the weights with this decay, e.g. 0.999; null: the weights."
    )

    def problems(self):
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            yield f"ema_decay: must be above 0 and below 1 (null: no average), got {self.ema_decay}"
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            yield f"betas: expected two numbers in [0, 1), got {self.betas}"
        if self.max_grad_norm is not None and self.max_grad_norm <= 0:
            yield f"max_grad_norm: must be above 0 (null switches clipping off), got {self.max_grad_norm}"
        is_cosine = self.schedule == "cosine"
        for name in ("cosine_start_ratio", "cosine_fall_ratio"):
            if getattr(self, name) is not None and not is_cosine:
                yield f"{name}: for the schedule `cosine`; got schedule={self.schedule}"
        if self.cosine_fall_ratio == 0:
            yield "cosine_fall_ratio: must be above 0"
        if (self.cosine_start_ratio or 1.0) < self.warmup_ratio:
            yield f"cosine_start_ratio: {self.cosine_start_ratio} is before the end of the warm-up ({self.warmup_ratio})"
        stepped = self.schedule.startswith("multi_step")
        if stepped != bool(self.milestones) or self.milestones != sorted(set(self.milestones)):
            yield f"milestones: `multi_step` needs increasing steps, others none; got {self.milestones} with {self.schedule}"


@dataclass(kw_only=True)
class RunSection(Section):
    output_dir: str = changeable("", "Folder of logs, checkpoints and predictions (required).")
    total_steps: int | None = option(None, "Optimizer steps; 0 only evaluates.", at_least=0)
    num_epochs: float | None = option(None, "Instead of total_steps: passes over the training items.", at_least=0)
    global_batch_size: int = option(32, "Training items of one optimizer step, over all processes.", at_least=1)
    micro_batch_size: int = option(8, "Training items of one forward pass of one process.", at_least=1, saves="memory")
    eval_every: int | Literal["epoch"] | None = changeable(
        None, "Steps between evaluations, or `epoch`; null: only at the end.", at_least=1
    )
    save_every: int | str | None = changeable(
        "10min",
        "Steps between checkpoints, or the time (`90s`, `10min`, `2h`); null: only with evaluations and at the end.",
        at_least=1,
    )
    patience: int | None = changeable(
        None, "Stop after so many evaluations on the tuning split without a better metric; null: never.", at_least=1
    )
    save_total_limit: int | None = changeable(2, "Checkpoints kept besides the best one; null: all.", at_least=1)
    resume: str = changeable("auto", "`auto`: go on from the last whole checkpoint, `never`, or a checkpoint folder.")
    seed: int = option(42, "Seed of weights, order, sampling and dropout.", at_least=0)
    mixed_precision: Literal["no", "fp16", "bf16"] = option("no", "Arithmetic of the forward pass.", saves="memory")
    compile: Literal["default", "reduce-overhead", "max-autotune"] | None = option(
        None,
        "Mode of torch.compile for training steps; null: as written. It takes minutes at the start and after new lengths of texts, and pays "
        "on a GPU; on a CPU it hardly does.",
    )
    channels_last: bool = option(
        False, "Lay out convolutions with their channels last: faster with bf16 on a GPU. It rounds otherwise."
    )
    log_every: int = changeable(10, "Steps between messages; log.jsonl has every step.", at_least=1)
    count_cost: bool = changeable(
        False,
        "Count frames decoded and encoded, multiply-adds (in steps of new shapes: the first ten, and then a few), processor "
        "seconds and memory of each step.",
    )
    log_with: list[str] = changeable([], "Trackers of accelerate, e.g. [tensorboard].")
    push_to_hub: str | None = changeable(
        None, "USER/NAME: upload the measured checkpoint with code and model card when the run is finished."
    )
    hub_private: bool = changeable(False, "Whether a repository made by `push_to_hub` is private.")

    @property
    def save_steps(self) -> int | None:
        return self.save_every if isinstance(self.save_every, int) else None

    @property
    def save_seconds(self) -> float:
        """Seconds between checkpoints; infinite where steps are counted, or nothing."""
        found = DURATION.fullmatch(self.save_every) if isinstance(self.save_every, str) else None
        return float(found[1]) * {"s": 1, "min": 60, "h": 3600}[found[2]] if found else math.inf

    def problems(self):
        if isinstance(self.save_every, str) and self.save_seconds == math.inf:
            yield f"save_every: expected steps or a time such as 90s, 10min or 2h, got {self.save_every!r}"
        if not self.output_dir:
            yield "output_dir: missing"
        elif Path(self.output_dir).exists() and not Path(self.output_dir).is_dir():
            yield f"output_dir: {self.output_dir} is a file; name a folder"
        if (self.total_steps is None) == (self.num_epochs is None):
            yield f"total_steps: give either total_steps or num_epochs; got {self.total_steps} and {self.num_epochs}"
        if self.push_to_hub and 0 in (self.total_steps, self.num_epochs):
            yield (
                "push_to_hub: without training there is no checkpoint of this run; upload the one it evaluates with "
                "train_scripts/publish.py"
            )
        if self.compile is not None and self.count_cost:
            yield "count_cost: the operations of a compiled model are not counted; leave out one of the two"
        if self.global_batch_size % self.micro_batch_size:
            yield (
                f"global_batch_size: {self.global_batch_size} is not a multiple of micro_batch_size="
                f"{self.micro_batch_size}"
            )


@dataclass(kw_only=True)
class EvalSection(Section):
    splits: dict[str, Literal["tuning", "monitor", "final"]] = changeable(
        {},
        "Purpose of each split. tuning: chooses the best checkpoint; monitor: only watched; final: once, at the end.",
    )
    metric: str | None = changeable(
        None, "Metric of the tuning split that chooses the best checkpoint; may be a loss."
    )
    metric_goal: Literal["max", "min"] | None = changeable(
        None, "Whether a larger or a smaller metric is better; null: as its name says."
    )
    final_checkpoint: Literal["best", "last"] = changeable(
        "best", "The weights that the final splits see: those that the tuning split has chosen, or the last ones."
    )
    allow_test_selection: bool = changeable(
        False, "Let a split called test choose the checkpoint; recorded with the scores."
    )
    num_draws: int = changeable(
        1, "Evaluations with other random clips; scores are their mean, `NAME_std` their spread.", at_least=1
    )
    batch_size: int = changeable(
        8, "Items of one forward pass in tasks that evaluate item by item.", at_least=1, saves="memory"
    )
    count_cost: bool = changeable(
        False,
        "Count frames decoded and encoded, multiply-adds and milliseconds of a video, and the multiply-adds of a view of it, "
        "of a text, of a pair; calls of new shapes are made a second time for that.",
    )

    def problems(self):
        tuning = [name for name, purpose in self.splits.items() if purpose == "tuning"]
        if len(tuning) > 1:
            yield f"splits: only one split can have the purpose tuning, got {tuning}"
        if bool(tuning) != bool(self.metric):
            yield "metric: needed with a tuning split, and only then"
        chosen_on_test = [name for name in tuning if "test" in re.findall("[a-z]+", name.lower())]  # also test[:50%]
        if chosen_on_test and not self.allow_test_selection:
            yield (
                f"splits: choosing a checkpoint on {chosen_on_test[0]} makes its score no test score; set "
                "eval.allow_test_selection"
            )

    @property
    def goal(self) -> Literal["max", "min"]:
        """Whether a larger or a smaller `metric` is better."""
        return self.metric_goal or goal_of_metric(self.metric or "")


__all__ = [
    "DataSection",
    "EvalSection",
    "GroupSection",
    "ModelSection",
    "OptimSection",
    "RunSection",
    "Section",
    "goal_of_metric",
]
