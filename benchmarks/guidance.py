# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Mutual guidance of all texts and videos of a collection, ours against one piece of all pairs, words and frames.

The baseline holds `(texts, videos, words, frames)`, padded to the longest text that is allowed, as the official code does. Ours
is what retrieval's evaluation and the loss of Mug-STAN do.

Run:     python -m benchmarks.guidance                                          (three minutes on two cores, 8 GB)
GPU:     python -m benchmarks.guidance --device cuda
"""

import argparse
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from benchmarks.baseline_mug_stan import score_in_one_piece
from benchmarks.measure import Benchmark, Row, Section, alternate, measure_peak_bytes
from benchmarks.measure import build_parser as build_common_parser
from clipbert.modeling_mug_stan.guidance_mug_stan import FrameFeatures, TextFeatures, score_all_pairs


MODULE = "benchmarks.guidance"
TOLERANCE = 1e-5  # of a score between -1 and 1
SCALE = 100.0
MEMORY_SHARE = 20  # ours takes so much less
NAMES = {"mug_exact": "Mug as in the paper", "mug": "Mug as in the official code"}


class Collection(NamedTuple):
    """
    Random features of texts and videos, of which text i belongs to video i.

    Args:
        tokens (`torch.FloatTensor` of shape `(texts, words, width)`), mask (`torch.BoolTensor` of shape `(texts, words)`):
            Words, and which of them exist.
        frames (`torch.FloatTensor` of shape `(videos, frames, width)`): Frames.
    """

    tokens: torch.Tensor
    mask: torch.Tensor
    frames: torch.Tensor


def build_collection(options: argparse.Namespace) -> Collection:
    """Some words and frames of a pair point where the pair does, all with noise."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, options.width, generator=generator)

    pairs = draw(max(options.num_texts, options.num_videos), 1)
    lengths = torch.linspace(options.shortest, options.longest, options.num_texts).round()
    mask = torch.arange(options.max_words) < lengths[torch.randperm(options.num_texts, generator=generator), None]
    told = torch.rand(options.num_texts, options.max_words, 1, generator=generator)
    tokens = told * pairs[: options.num_texts] + 2 * draw(options.num_texts, options.max_words)
    seen = torch.rand(options.num_videos, options.num_frames, 1, generator=generator)
    frames = seen * pairs[: options.num_videos] + 2 * draw(options.num_videos, options.num_frames)
    return Collection(*(part.to(options.device) for part in (tokens, mask, frames)))


def build_work(mode: str, options: argparse.Namespace) -> dict[str, Callable[[], torch.Tensor]]:
    """One call for each side, on the same features."""
    tokens, mask, frames = build_collection(options)

    @torch.inference_mode()
    def score_with_baseline():
        return score_in_one_piece(tokens, mask, frames, SCALE, mode)

    @torch.inference_mode()
    def score_with_ours():
        texts = TextFeatures(tokens, mask, tokens[:, 0])
        return score_all_pairs(texts, FrameFeatures(frames), mode, SCALE)

    calls = {"baseline": score_with_baseline, "ours": score_with_ours}
    return {side: call for side, call in calls.items() if options.alone in (None, side)}


def check(mode: str, work: dict[str, Callable[[], torch.Tensor]]) -> float:
    """Largest difference between the scores of both sides; refused above the tolerance."""
    baseline, ours = work["baseline"](), work["ours"]()
    difference = (baseline - ours).abs().max().item()
    if not difference <= TOLERANCE or baseline.std() < 100 * TOLERANCE:
        raise AssertionError(f"{mode}: scores differ by {difference:.1e}, or say nothing; nothing was timed.")
    return difference


def measure(options: argparse.Namespace, arguments: Sequence[str] = ()) -> Section:
    """Check every case, then time it and weigh it."""
    rows, notes, worst = [], [], 0.0
    for index, mode in enumerate(options.modes):
        work = build_work(mode, options)
        worst = max(worst, check(mode, work))
        seconds = alternate(work, options.repetitions, options.warm_up, options.device)
        pairs = options.num_texts * options.num_videos
        rows.append(Row(NAMES[mode], "pairs/s", pairs, seconds, 4.0))
        if not options.no_memory:
            peaks = measure_peak_bytes(MODULE, arguments, index, "bytes_above_start")
            notes.append(
                f"{NAMES[mode]}, memory above the features: {peaks['baseline'] / 2**20:.0f} MiB, ours "
                f"{peaks['ours'] / 2**20:.0f} MiB, 1/{peaks['baseline'] / peaks['ours']:.0f} of it "
                f"(expected 1/{MEMORY_SHARE} or less)."
            )
    return Section(
        title=f"Mutual guidance: {options.num_texts} texts of {options.shortest} to {options.longest} words (at most "
        f"{options.max_words}) x {options.num_videos} videos of {options.num_frames} frames, width {options.width}, "
        f"{options.device}",
        rows=rows,
        notes=[f"Checked before timing: the scores of both sides differ by at most {worst:.1e}.", *notes],
    )


def build_lonely_work(options: argparse.Namespace) -> Callable[[], object]:
    """The call of the one side and mode that the options name."""
    return build_work(options.modes[options.case], options)[options.alone]


def build_parser() -> argparse.ArgumentParser:
    parser = build_common_parser(__doc__.splitlines()[0])
    parser.add_argument("--modes", nargs="+", choices=NAMES, default=["mug_exact", "mug"], help="similarities")
    parser.add_argument("--num-texts", type=int, default=1000)
    parser.add_argument("--num-videos", type=int, default=1000)
    parser.add_argument("--num-frames", type=int, default=12, help="frames of a video")
    parser.add_argument("--max-words", type=int, default=32, help="what the baseline pads to")
    parser.add_argument("--shortest", type=int, default=6, help="words of the shortest text")
    parser.add_argument("--longest", type=int, default=20, help="words of the longest text")
    parser.add_argument("--width", type=int, default=512, help="of the features")
    return parser


BENCHMARK = Benchmark(MODULE, build_parser, measure, build_lonely_work)

if __name__ == "__main__":
    BENCHMARK.main()
