# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A training step: forward, backward, clipping and optimizer, ours against a baseline that works as the official code.

Run:     python -m benchmarks.training_step                                   (about five minutes on two cores)
GPU:     python -m benchmarks.training_step --full --device cuda --dtype bfloat16 --compile
"""

import argparse
import copy
import time
from collections.abc import Callable, Sequence
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks import baseline_model
from benchmarks.baseline_model import UNUSED_PARAMETERS, baseline_name
from benchmarks.baseline_optim import BaselineAdamW, clip_gradients, parameter_groups
from benchmarks.measure import (
    DTYPES,
    Benchmark,
    Row,
    Section,
    add_model_arguments,
    alternate,
    count_flops,
    measure_matmul_flops,
    synchronize,
    weigh_sides,
)
from benchmarks.measure import build_parser as build_common_parser
from benchmarks.models import autocast, build_clips, build_sides, build_texts, compile_ours
from clipbert.modeling_clipbert import KeptMaps
from clipbert.train_scripts.engine.optim import build_optimizer
from clipbert.train_scripts.engine.recipe import OptimSection


MODULE = "benchmarks.training_step"
FULL_SIZE = {"image_size": 448, "num_videos": 16, "num_clips": 8}
OPTIM = OptimSection(optimizer="adamw_official")  # the published values
LOSS_TOLERANCE = 1e-4
UPDATE_TOLERANCE = (
    1e-2  # of the norm of all updates: Adam's first step turns the rounding of tiny gradients into signs
)


class Step:
    """Training steps on one batch; remembers the seconds of their two halves."""

    def __init__(self, model: nn.Module, batch: dict[str, torch.Tensor], options: argparse.Namespace):
        self.model, self.batch, self.options = model, batch, options
        self.halves: list[tuple[float, float]] = []

    def compute_gradients(self) -> torch.Tensor:
        """Forward and backward. Returns the loss."""
        with autocast(self.options):
            loss = self.compute_loss()
        loss.backward()
        return loss.detach()

    def run(self) -> None:
        """One whole step."""
        started = time.perf_counter()
        self.compute_gradients()
        synchronize(self.options.device)
        between = time.perf_counter()
        self.update()
        synchronize(self.options.device)
        self.halves.append((between - started, time.perf_counter() - between))


class BaselineStep(Step):
    """What the official loop does."""

    def __init__(self, model, batch, options):
        super().__init__(model, batch, options)
        self.optimizer = BaselineAdamW(parameter_groups(model, OPTIM.weight_decay), OPTIM.lr, OPTIM.betas, OPTIM.eps)
        padding = (0, options.max_length - options.caption_length)
        self.input_ids, self.attention_mask = (F.pad(batch[name], padding) for name in ("input_ids", "attention_mask"))
        self.num_texts_per_video = batch["video_indices"].bincount().tolist()

    def compute_loss(self):
        pixel_values, labels = self.batch["pixel_values"], self.batch["labels"]
        return baseline_model.training_loss(
            self.model, pixel_values, self.input_ids, self.attention_mask, self.num_texts_per_video, labels
        )

    def update(self):
        baseline_model.set_missing_gradients(self.model)
        clip_gradients(self.model, OPTIM.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=False)


class OurStep(Step):
    """What `train_scripts/engine/loop.py` does."""

    def __init__(self, model, batch, options):
        super().__init__(model, batch, options)
        self.optimizer = build_optimizer(model, OPTIM)
        if options.kept_maps:
            self.folder = TemporaryDirectory()  # lives as long as this
            model.keep_feature_maps(KeptMaps(self.folder.name))
            with torch.no_grad():
                model.encode_videos(batch["pixel_values"])

    def compute_loss(self):
        return self.model(**self.batch, pooled_only=True).loss

    def update(self):
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), OPTIM.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()


STEPS = {"baseline": BaselineStep, "ours": OurStep}


def build_batch(options: argparse.Namespace) -> dict[str, torch.Tensor]:
    """Videos with a matching and another text each, of one length."""
    num_videos = options.num_videos
    input_ids, attention_mask = build_texts(2 * num_videos, options.caption_length, options)
    return {
        "pixel_values": build_clips(num_videos, options.num_clips, options),
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "video_indices": torch.arange(num_videos, device=options.device).repeat_interleave(2),
        "labels": torch.tensor([1, 0], device=options.device).repeat(num_videos),
    }


def check(options: argparse.Namespace, sides: dict[str, nn.Module]) -> tuple[float, float]:
    """
    Differences of the losses, and of the updates relative to their size, for one step without dropout in float32.

    At most two videos of two clips are looked at.

    Raises:
        AssertionError: If they are above the tolerances.
    """
    small = copy.copy(options)
    small.dtype, small.num_videos, small.num_clips = "float32", min(options.num_videos, 2), min(options.num_clips, 2)
    batch = build_batch(small)
    trained = {name: value for name, value in sides["ours"].named_parameters() if value.requires_grad}
    before = {name: value.detach().clone() for name, value in trained.items()}
    steps = {side: STEPS[side](model, batch, small) for side, model in sides.items()}
    losses = {}
    for side, step in steps.items():
        losses[side] = step.compute_gradients().item()
        step.update()
    loss_difference = abs(losses["baseline"] - losses["ours"])

    theirs, difference, size = dict(sides["baseline"].named_parameters()), 0.0, 0.0
    for name, value in trained.items():
        difference += (value - theirs[baseline_name(name)]).double().square().sum().item()
        size += (value - before[name]).double().square().sum().item()
    update_difference = (difference / size) ** 0.5
    if not loss_difference <= LOSS_TOLERANCE or not update_difference <= UPDATE_TOLERANCE:
        raise AssertionError(
            f"The sides do not compute the same: losses {losses}, updates differ by {update_difference:.1e} of their "
            "size; nothing was timed."
        )
    return loss_difference, update_difference


def build_steps(options: argparse.Namespace, sides: dict[str, nn.Module]) -> dict[str, Step]:
    """Steps of each side on the same batch, with dropout."""
    batch = build_batch(options)
    return {side: STEPS[side](model.train(), batch, options) for side, model in sides.items()}


def measure(options: argparse.Namespace, arguments: Sequence[str] = ()) -> Section:
    """Check that both sides compute the same update, then time and weigh whole steps and their halves."""
    sides = build_sides(options, options.unused_parameters)
    loss_difference, update_difference = check(options, sides)
    steps = build_steps(options, sides)
    flops = {side: count_flops(step.compute_gradients) for side, step in steps.items()}
    if options.compile:
        compile_ours(sides["ours"])
    works = {side: step.run for side, step in steps.items()}
    seconds = alternate(works, options.repetitions, options.warm_up, options.device, options.settle)
    timed = {side: step.halves[:: -1 - options.settle][: options.repetitions] for side, step in steps.items()}
    halves = [{side: [half[index] for half in own] for side, own in timed.items()} for index in range(2)]
    memory = {} if options.no_memory else weigh_sides(MODULE, arguments)
    size = f"{options.num_videos} videos x {options.num_clips} clips x {options.num_frames} frames"
    return Section(
        title=f"Training step: {size}, 2 texts of {options.caption_length} tokens a video (official maximum "
        f"{options.max_length}), {options.image_size} px, {options.num_layers} layers, {options.frozen_stages} of 5 parts of the CNN "
        f"frozen{', frames seen before' if options.kept_maps else ''}, {options.dtype}"
        f"{', ours compiled' if options.compile else ''}, {options.device}",
        rows=[
            Row("whole step", "s", 1, seconds, expected=1.5, flops=flops, **memory),
            Row("of which forward and backward", "s", 1, halves[0], flops=flops),
            Row("of which clipping and optimizer", "s", 1, halves[1]),
        ],
        notes=[
            f"Checked before timing, in float32 without dropout: losses differ by {loss_difference:.1e}, the updates of "
            f"all parameters by {update_difference:.1e} of their norm.",
            f"The baseline updates {options.unused_parameters:,} parameters that nothing uses; the official model has "
            f"{UNUSED_PARAMETERS:,} of them (`--unused-parameters`).",
            f"Before each timed step of a side it makes {options.settle} more (`--settle`): in a training one follows the other.",
            *(
                ["Ours looks up on disk what the CNN made of these frames earlier (`model.kept_maps`)."]
                * options.kept_maps
            ),
        ],
        matmul_flops=measure_matmul_flops(options.device, DTYPES[options.dtype]),
    )


def build_lonely_work(options: argparse.Namespace) -> Callable[[], object]:
    """Steps of the one side that the options name."""
    sides = build_sides(options, options.unused_parameters)
    if options.compile and "ours" in sides:
        compile_ours(sides["ours"])
    return build_steps(options, sides)[options.alone].run


class FullSize(argparse.Action):
    """Sets the sizes of the published fine-tuning; options after it may change them again."""

    def __call__(self, parser, namespace, values, option_string=None):
        for name, value in FULL_SIZE.items():
            setattr(namespace, name, value)


def build_parser() -> argparse.ArgumentParser:
    parser = build_common_parser(__doc__.splitlines()[0])
    add_model_arguments(parser)
    parser.add_argument("--num-videos", type=int, default=2, help="videos of a step")
    parser.add_argument("--num-clips", type=int, default=2, help="clips of a video")
    parser.add_argument("--caption-length", type=int, default=20, help="tokens of each caption")
    parser.add_argument("--max-length", type=int, default=20, help="what the baseline pads to")
    parser.add_argument(
        "--unused-parameters", type=int, default=UNUSED_PARAMETERS, help="of the baseline, see baseline_model.py"
    )
    parser.add_argument(
        "--kept-maps",
        action="store_true",
        help="the frames were seen before, and ours has kept what the frozen CNN made of them",
    )
    parser.add_argument("--settle", type=int, default=1, help="steps of a side right before each timed one")
    parser.add_argument("--full", action=FullSize, nargs=0, help=f"the published sizes: {FULL_SIZE}")
    return parser


BENCHMARK = Benchmark(MODULE, build_parser, measure, build_lonely_work)

if __name__ == "__main__":
    BENCHMARK.main()
