# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Retrieval: score many texts against one video, ours against a baseline that works as the official code does.

Ours is what `train_scripts/tasks/scoring.py` does when a split is evaluated.

Run:     python -m benchmarks.scoring                                         (about five minutes on two cores)
GPU:     python -m benchmarks.scoring --device cuda --dtype bfloat16 --image-size 448 --num-texts 1000
"""

import argparse
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F

from benchmarks import baseline_model
from benchmarks.measure import (
    DTYPES,
    Benchmark,
    Row,
    Section,
    add_model_arguments,
    alternate,
    count_flops,
    measure_matmul_flops,
    weigh_sides,
)
from benchmarks.measure import build_parser as build_common_parser
from benchmarks.models import autocast, build_clips, build_sides, build_texts, compile_ours
from clipbert.train_scripts.tasks.pooling import log_odds, pool_clips
from clipbert.train_scripts.tasks.scoring import VideoBlock, score_blocks


MODULE = "benchmarks.scoring"
OFFICIAL_TEXTS_PER_BLOCK = 64
TOLERANCE = 1e-4  # of a probability, in float32


class Case(NamedTuple):
    num_clips: int
    shortest: int  # the captions have this many tokens ...
    longest: int  # ... to this many
    max_length: int  # what the official code pads them to
    expected: float | None

    def __str__(self):
        length = f"{self.shortest} to {self.longest}" if self.shortest < self.longest else self.longest
        clips = f"{self.num_clips} clip{'s' if self.num_clips > 1 else ''}"
        return f"captions of {length} tokens, official maximum {self.max_length}, {clips}"


def build_cases(options: argparse.Namespace) -> list[Case]:
    """Captions of one length with every official maximum, and captions of mixed lengths with the smallest."""
    length = options.caption_length
    cases = [
        Case(num_clips, length, length, max_length, 1.2 if max_length == length else 2.0)
        for max_length in options.max_lengths
        for num_clips in options.num_clips
    ]
    if options.shortest_caption < length:
        smallest = min(options.max_lengths)
        cases += [Case(num_clips, options.shortest_caption, length, smallest, None) for num_clips in options.num_clips]
    return cases


def build_work(case: Case, options: argparse.Namespace, sides) -> dict[str, Callable[[], torch.Tensor]]:
    """One call for each side, on the same frames and words."""
    clips = build_clips(1, case.num_clips, options)
    input_ids, attention_mask = build_texts(options.num_texts, case.longest, options)
    lengths = torch.linspace(case.shortest, case.longest, options.num_texts, device=input_ids.device).round().long()
    attention_mask = (torch.arange(case.longest, device=input_ids.device) < lengths[:, None]).long()
    # ours: longest first, as `build_text_blocks` sorts them
    pairs_per_block = options.pairs_per_block or (32 if torch.device(options.device).type == "cpu" else 256)
    texts_per_block = max(pairs_per_block // case.num_clips, 1)
    blocks = [
        (input_ids.flip(0)[part, :longest], attention_mask.flip(0)[part, :longest])
        for part in torch.arange(options.num_texts).split(texts_per_block)
        for longest in [int(lengths.flip(0)[part].max())]
    ]
    padding = (0, case.max_length - case.longest)
    padded_ids, padded_mask = F.pad(input_ids * attention_mask, padding), F.pad(attention_mask, padding)

    def score_with_baseline():
        return baseline_model.score_texts(
            sides["baseline"], clips[0], padded_ids, padded_mask, "lse", OFFICIAL_TEXTS_PER_BLOCK
        )

    @torch.inference_mode()
    def score_with_ours():
        model = sides["ours"]
        video = VideoBlock([0], model.encode_videos(clips), None)
        clip_logits = score_blocks(model, video, [model.encode_texts(*block) for block in blocks])
        return log_odds(pool_clips(clip_logits[0], "lse")).sigmoid().flip(0)  # (texts,)

    calls = {"baseline": score_with_baseline, "ours": score_with_ours}
    return {side: calls[side] for side in calls if side in sides}


def check(case: Case, work: dict[str, Callable[[], torch.Tensor]]) -> float:
    """Largest difference between the scores of both sides, in float32; refused above the tolerance."""
    baseline, ours = work["baseline"](), work["ours"]()
    difference = (baseline - ours).abs().max().item()
    if not difference <= TOLERANCE:
        raise AssertionError(f"{case}: scores differ by {difference:.1e}, more than {TOLERANCE:g}; nothing was timed.")
    if baseline.max() - baseline.min() < 100 * TOLERANCE:
        raise AssertionError(f"{case}: all texts score alike, {baseline.tolist()}; comparing them says nothing.")
    return difference


def measure(options: argparse.Namespace, arguments: Sequence[str] = ()) -> Section:
    """Check every case, then time it and weigh it."""
    sides = build_sides(options)
    cases = build_cases(options)
    works = [build_work(case, options, sides) for case in cases]
    worst = max(check(case, work) for case, work in zip(cases, works, strict=True))
    flops = [{side: count_flops(run) for side, run in work.items()} for work in works]
    if options.compile:
        compile_ours(sides["ours"])
    rows = []
    for index, (case, work) in enumerate(zip(cases, works, strict=True)):
        with autocast(options):
            seconds = alternate(work, options.repetitions, options.warm_up, options.device)
        memory = {} if options.no_memory else weigh_sides(MODULE, arguments, index)
        rows.append(Row(str(case), "pairs/s", options.num_texts, seconds, case.expected, flops=flops[index], **memory))
    return Section(
        title=f"Retrieval scoring: 1 video x {options.num_texts} texts, {options.num_frames} frames a clip, "
        f"{options.image_size} px, {options.dtype}{', ours compiled' if options.compile else ''}, {options.device}",
        rows=rows,
        notes=[f"Checked before timing: the scores of both sides differ by at most {worst:.1e} (float32)."],
        matmul_flops=measure_matmul_flops(options.device, DTYPES[options.dtype]),
    )


def build_lonely_work(options: argparse.Namespace) -> Callable[[], object]:
    """The call of the one side and case that the options name."""
    sides = build_sides(options)
    if options.compile and "ours" in sides:
        compile_ours(sides["ours"])
    work = build_work(build_cases(options)[options.case], options, sides)[options.alone]

    def run():
        with autocast(options):
            return work()

    return run


def build_parser() -> argparse.ArgumentParser:
    parser = build_common_parser(__doc__.splitlines()[0])
    add_model_arguments(parser)
    parser.add_argument("--num-texts", type=int, default=64)
    parser.add_argument("--num-clips", type=int, nargs="+", default=[1, 4], help="clips of the video")
    parser.add_argument("--caption-length", type=int, default=20, help="tokens of each caption")
    parser.add_argument("--shortest-caption", type=int, default=6, help="tokens, for the cases of mixed lengths")
    parser.add_argument(
        "--pairs-per-block",
        type=int,
        help="pairs of text and clip in one forward of ours; default 32 on a CPU, else 256",
    )
    parser.add_argument("--max-lengths", type=int, nargs="+", default=[20, 100], help="what the baseline pads to")
    return parser


BENCHMARK = Benchmark(MODULE, build_parser, measure, build_lonely_work)

if __name__ == "__main__":
    BENCHMARK.main()
