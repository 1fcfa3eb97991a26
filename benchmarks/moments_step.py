# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A training step of moments: with frames, of which a few segments keep a gradient, and with features at the published sizes.

The baselines keep the gradients of all segments; and give each sentence a video of its own, as public code does, also where several
ask of one.

Run:     python -m benchmarks.moments_step                 (ten minutes on two cores; --num-pairs 20: four)
GPU:     python -m benchmarks.moments_step --device cuda
"""

import argparse
import statistics
from collections.abc import Callable, Sequence

import torch

from benchmarks.measure import Benchmark, Row, Section, alternate, measure_peak_bytes
from benchmarks.measure import build_parser as build_common_parser
from clipbert.modeling_ci_mha import CIMHAConfig, CIMHAForMomentRetrieval


MODULE = "benchmarks.moments_step"
SPARSE, PUBLISHED = range(2)  # cases
TOLERANCE = 1e-5  # of the largest gradient
MEMORY = 1 / 4  # of that of all segments, with 8 of 64
TRAIN_PAIRS, TRAIN_VIDEOS = 12_408, 5_338  # of Charades-STA
VOCABULARY = 1000


class Sides:
    """One step of either side, with the same weights and inputs."""

    def __init__(self, options: argparse.Namespace, case: int):
        self.options, self.case = options, case
        config = {"hidden_size": options.hidden_size, "vocab_size": VOCABULARY, "dropout": 0.0}
        if case == SPARSE:  # little but the frame encoder
            config["hidden_size"] = min(options.hidden_size, 128)
            tower = {"model_type": "resnet", "layer_type": "basic", "depths": [2, 2], "hidden_sizes": [64, 128]}
            config |= {"frame_encoder_config": tower, "frame_encoder_trainable": True, "frame_chunk_size": 16}
        torch.manual_seed(0)
        self.model = CIMHAForMomentRetrieval(CIMHAConfig(**config)).to(options.device).train()
        num_texts, num_segments = (1, options.num_segments) if case == SPARSE else (options.num_pairs, 128)
        shape = (num_texts, 25)
        self.inputs = {"input_ids": torch.randint(2, VOCABULARY, shape)}
        if case == SPARSE:
            self.inputs["pixel_values"] = torch.randn(1, num_segments, 1, 3, options.image_size, options.image_size)
        else:
            num_videos = -(-num_texts * TRAIN_VIDEOS // TRAIN_PAIRS)
            self.inputs["video_features"] = torch.randn(num_videos, num_segments, 1024)
            self.inputs["video_indices"] = torch.arange(num_texts) % num_videos
        starts = torch.randint(0, num_segments // 2, (num_texts,))
        self.inputs |= {"start_positions": starts, "end_positions": starts + num_segments // 4}
        self.inputs = {name: values.to(options.device) for name, values in self.inputs.items()}

    def step(self, **changes: torch.Tensor) -> torch.Tensor:
        self.model.zero_grad()
        loss = self.model(**{**self.inputs, **changes}).loss
        loss.backward()
        return loss.detach()

    def baseline(self) -> torch.Tensor:
        """All segments with a gradient; or each sentence with a video of its own."""
        if self.case == SPARSE:
            self.model.base_model.keep_gradients(None)
            return self.step()
        features = self.inputs["video_features"][self.inputs["video_indices"]]
        return self.step(video_features=features, video_indices=None)

    def ours(self) -> torch.Tensor:
        """Some segments with a gradient; or one video for all that ask of it."""
        if self.case == SPARSE:
            self.model.base_model.keep_gradients(self.options.num_grad_segments)
        return self.step()


def check(options: argparse.Namespace, case: int) -> float:
    """
    Difference of the gradients of both sides, as a share of the largest, of five pairs at most; where some segments keep a
    gradient, with all of them.

    Raises:
        AssertionError: If it is above the tolerance, or the losses differ.
    """
    options = argparse.Namespace(**{**vars(options), "num_pairs": min(options.num_pairs, 5)})
    every = argparse.Namespace(**{**vars(options), "num_grad_segments": options.num_segments})
    sides, gradients = Sides(every, case), []
    losses = []
    for run in (sides.baseline, sides.ours):
        losses.append(run())
        gradients.append([p.grad.clone() for p in sides.model.parameters() if p.grad is not None])
    largest = max(gradient.abs().max().item() for gradient in gradients[0])
    difference = max((one - other).abs().max().item() for one, other in zip(*gradients, strict=True)) / largest
    few = Sides(options, case)
    losses.append(few.ours())
    if not difference <= TOLERANCE or not torch.allclose(torch.stack(losses), losses[0].expand(3)):
        raise AssertionError(f"Gradients differ by {difference:.1e}, losses are {losses}; nothing was timed.")
    return difference


def measure(options: argparse.Namespace, arguments: Sequence[str] = ()) -> Section:
    """Check, then time and weigh."""
    shown, every = options.num_grad_segments, options.num_segments
    names = {
        SPARSE: (f"a step with frames, {shown} of {every} segments with a gradient", every, "segments/s"),
        PUBLISHED: (
            f"a step of {options.num_pairs} pairs, 128 x 1024, sentences share videos",
            options.num_pairs,
            "pairs/s",
        ),
    }
    rows, differences = [], []
    for case, (name, amount, unit) in names.items():
        differences.append(check(options, case))
        sides = Sides(options, case)
        works = {"baseline": sides.baseline, "ours": sides.ours}
        seconds = alternate(works, options.repetitions, options.warm_up, options.device)
        peaks = {} if options.no_memory else measure_peak_bytes(MODULE, arguments, case, "bytes_above_start")
        rows.append(Row(name, unit, amount, seconds, peak_bytes=peaks))
    notes = [
        f"Checked before timing: gradients differ by at most {max(differences):.1e} of the largest, with all segments.",
        f"An epoch of {TRAIN_PAIRS:,} pairs takes {describe_epoch(options, rows[PUBLISHED])}, without reading features.",
    ]
    if peaks := rows[SPARSE].peak_bytes:
        notes.append(
            f"{shown} of {every} segments take {peaks['ours'] / peaks['baseline']:.2f} of the memory (expected: at most {MEMORY})."
        )
    return Section(
        title=f"A step of moments: {options.image_size} px, width {options.hidden_size}, memory above the start, {options.device}",
        rows=rows,
        notes=notes,
    )


def describe_epoch(options: argparse.Namespace, row: Row) -> str:
    return f"{statistics.median(row.seconds['ours']) * TRAIN_PAIRS / options.num_pairs:.0f} s of forward and backward"


def build_lonely_work(options: argparse.Namespace) -> Callable[[], object]:
    """The call of the one side and case that the options name."""
    return getattr(Sides(options, options.case), options.alone)


def build_parser() -> argparse.ArgumentParser:
    parser = build_common_parser(__doc__.splitlines()[0])
    parser.add_argument("--num-segments", type=int, default=64, help="of the video with frames")
    parser.add_argument("--num-grad-segments", type=int, default=8, help="of them with a gradient")
    parser.add_argument("--image-size", type=int, default=192, help="side of a frame in pixels")
    parser.add_argument("--num-pairs", type=int, default=100, help="pairs of a step with features")
    parser.add_argument("--hidden-size", type=int, default=512, help="width D of the model")
    return parser


BENCHMARK = Benchmark(MODULE, build_parser, measure, build_lonely_work)


if __name__ == "__main__":
    BENCHMARK.main()
