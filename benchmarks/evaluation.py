# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Evaluation of retrieval on captions as long as those of MSR-VTT: all pairs, and a shortlist, against a baseline that works as the
official code does.

The baseline pads every caption to 20 tokens and lets the CNN see a video again for each block of 64 captions. Ours reads
captions of similar length together. With a shortlist (`eval.shortlist`) one clip of a video meets all captions, and all of its
clips a share of them; a video that is kept (`eval.kept_videos`) is read instead of encoded. A video of one clip is measured with all
thousand captions, one of more clips with fewer, a tenth at least: its blocks hold fewer, which are nearly of one length then, too.
What a thousand videos would take is said below.

Run:     python -m benchmarks.evaluation                                      (half an hour on two cores)
GPU:     python -m benchmarks.evaluation --device cuda --dtype bfloat16 --image-size 448 --num-texts 1000
"""

import argparse
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks import baseline_model
from benchmarks.measure import Benchmark, Row, Section, add_model_arguments, alternate, weigh_sides
from benchmarks.measure import build_parser as build_common_parser
from benchmarks.models import autocast, build_clips, build_sides, build_texts
from clipbert.train_scripts.tasks.kept_videos import KeptVideo, KeptVideos
from clipbert.train_scripts.tasks.pooling import log_odds, pool_clips
from clipbert.train_scripts.tasks.retrieval.cascade import spread
from clipbert.train_scripts.tasks.scoring import VideoBlock, match_texts, matches_of_clips, score_blocks


MODULE = "benchmarks.evaluation"
# Tokens of the 1,000 captions of MSR-VTT's 1k-A test split, with BERT's uncased words; longer ones are cut to 20.
MSRVTT_LENGTHS = {5: 1, 6: 52, 7: 66, 8: 121, 9: 106, 10: 109, 11: 106, 12: 91, 13: 75, 14: 63, 15: 52, 16: 33, 17: 26}
MSRVTT_LENGTHS |= {18: 23, 19: 18, 20: 58}
MAX_LENGTH, OFFICIAL_TEXTS_PER_BLOCK = 20, 64
WHOLE = 1000  # texts, and videos
TOLERANCE = 1e-4


def choose_lengths(num_texts: int) -> list[int]:
    """So many of the lengths, evenly chosen, longest first."""
    lengths = sorted((n for n, count in MSRVTT_LENGTHS.items() for _ in range(count)), reverse=True)
    return [lengths[(2 * index + 1) * len(lengths) // (2 * num_texts)] for index in range(num_texts)]


class Video:
    """
    One video and the captions, to be scored by each way.

    Args:
        num_clips (`int`): Clips of the video.
        options (`argparse.Namespace`): Sizes.
        sides (`dict`): The models.
    """

    def __init__(self, num_clips: int, options: argparse.Namespace, sides: dict[str, torch.nn.Module]):
        self.num_clips, self.options, self.sides = num_clips, options, sides
        self.clips = build_clips(1, num_clips, options)
        self.num_texts = options.num_texts or max(WHOLE // num_clips, WHOLE // 10)
        self.lengths = choose_lengths(self.num_texts)
        self.input_ids, _ = build_texts(self.num_texts, MAX_LENGTH, options)
        places = torch.arange(MAX_LENGTH, device=self.input_ids.device)
        self.attention_mask = (places < torch.tensor(self.lengths, device=places.device)[:, None]).long()
        size = max(1, round(options.shortlist_share * self.num_texts))
        self.chosen = torch.randperm(self.num_texts, device=places.device)[:size].sort().values
        self.folder = TemporaryDirectory()
        self.kept = Path(self.folder.name, "video.safetensors")
        if options.alone != "baseline":
            seconds, key = torch.zeros(num_clips, options.num_frames, dtype=torch.float64), torch.tensor(0)
            KeptVideos.write(self.kept, KeptVideo(self.encode().videos, None, seconds, key))

    def baseline(self) -> torch.Tensor:
        """Scores `(texts,)` of all captions with all clips."""
        ids, mask = self.input_ids * self.attention_mask, self.attention_mask
        order = torch.arange(len(ids), device=ids.device).roll(len(ids) // 2)  # in no order of their lengths
        scores = baseline_model.score_texts(
            self.sides["baseline"], self.clips[0], ids[order], mask[order], "lse", OFFICIAL_TEXTS_PER_BLOCK
        )
        return scores[order.argsort().cpu()]

    @torch.inference_mode()
    def encode(self) -> VideoBlock:
        return VideoBlock([0], self.sides["ours"].encode_videos(self.clips), None)

    def read(self) -> VideoBlock:
        """What `encode` returned, from its file."""
        return VideoBlock([0], KeptVideos.read(self.kept).videos.to(self.input_ids.device), None)

    def texts(self, rows: torch.Tensor, num_clips: int) -> list[dict[str, torch.Tensor]]:
        """Some captions in blocks, no longer than the longest of a block."""
        blocks = rows.split(max(self.options.pairs_per_block // num_clips, 1))
        ends = [self.lengths[int(block[0])] for block in blocks]
        return [
            self.sides["ours"].encode_texts(self.input_ids[block, :end], self.attention_mask[block, :end])
            for block, end in zip(blocks, ends, strict=True)
        ]

    @torch.inference_mode()
    def all_pairs(self) -> torch.Tensor:
        """The same scores as `baseline`."""
        rows = torch.arange(len(self.lengths), device=self.input_ids.device)
        clip_logits = score_blocks(self.sides["ours"], self.encode(), self.texts(rows, self.num_clips))
        return pooled(clip_logits[0])

    @torch.inference_mode()
    def shortlist(self, is_kept: bool = False) -> torch.Tensor:
        """All captions with one clip, and those of the shortlist with all clips, whose scores `(chosen,)` are returned."""
        model, video = self.sides["ours"], self.read() if is_kept else self.encode()
        rows = torch.arange(len(self.lengths), device=self.input_ids.device)
        one = VideoBlock([0], video.videos[:, spread(range(self.num_clips), 1)], None)
        score_blocks(model, one, self.texts(rows, 1))
        parts = []
        for texts in self.texts(self.chosen, self.num_clips):
            video_indices = torch.zeros(len(texts["input_ids"]), dtype=torch.long, device=rows.device)
            parts.append(matches_of_clips(match_texts(model, texts, video, video_indices)))
        return pooled(torch.cat(parts).cpu())

    def work(self) -> dict[str, Callable[[], object]]:
        calls = {"baseline": self.baseline, "all pairs": self.all_pairs}
        if self.num_clips > 1:
            calls |= {"shortlist": self.shortlist, "shortlist, videos kept": partial(self.shortlist, is_kept=True)}
        return {**calls, "encoding": self.encode, "reading": self.read}

    def check(self) -> float:
        """Largest difference between the scores of the sides, in float32; refused above the tolerance."""
        expected, found = self.baseline(), {"all pairs": self.all_pairs()}
        differences = [(expected - found["all pairs"]).abs().max().item()]
        if self.num_clips > 1:
            for is_kept in (False, True):
                differences.append((expected[self.chosen.cpu()] - self.shortlist(is_kept)).abs().max().item())
        if not max(differences) <= TOLERANCE or expected.max() - expected.min() < 100 * TOLERANCE:
            raise AssertionError(
                f"{self.num_clips} clips: scores differ by {max(differences):.1e}, more than {TOLERANCE:g}, or do not differ "
                "between captions; nothing was timed."
            )
        return max(differences)


def pooled(clip_logits: torch.Tensor) -> torch.Tensor:
    return log_odds(pool_clips(clip_logits, "lse")).sigmoid()


def measure(options: argparse.Namespace, arguments: Sequence[str] = ()) -> Section:
    """Check every case, then time it and weigh it."""
    sides, rows, notes = build_sides(options), [], []
    videos = [Video(number, options, sides) for number in options.num_clips]
    worst = max(video.check() for video in videos)
    for video in videos:
        with autocast(options):
            seconds = alternate(video.work(), options.repetitions, options.warm_up, options.device)
        encoding, reading = (statistics.median(seconds.pop(name)) for name in ("encoding", "reading"))
        clips = f"{video.num_clips} clip{'s' if video.num_clips > 1 else ''}"
        case = f"{video.num_texts:,} captions, {clips}"
        for name in [side for side in seconds if side != "baseline"]:
            pair = {"baseline": seconds["baseline"], "ours": seconds[name]}
            memory = {}
            if not options.no_memory and name == "all pairs":
                memory = weigh_sides(MODULE, arguments, options.num_clips.index(video.num_clips))
            expected = 1.5 if name == "all pairs" else None
            rows.append(Row(f"{case}, {name}", "pairs/s", video.num_texts, pair, expected, **memory))
        once = {"baseline": 0.0, "shortlist, videos kept": reading}
        hours = {
            name: extrapolate(statistics.median(values), once.get(name, encoding), video.num_texts)
            for name, values in seconds.items()
        }
        whole = "; ".join(f"{name} {value:.1f} h ({hours['baseline'] / value:.1f}x)" for name, value in hours.items())
        notes.append(f"{WHOLE:,} x {WHOLE:,} pairs with {clips}, extrapolated: {whole}.")
    return Section(
        title=f"Evaluation of retrieval: 1 video and captions as long as MSR-VTT's, {options.num_frames} frames a clip, "
        f"{options.image_size} px, {options.dtype}, {options.device}",
        rows=rows,
        notes=[
            f"Checked before timing: the scores of both sides, of shortlists too, differ by at most {worst:.1e} (float32).",
            f"Captions have {min(MSRVTT_LENGTHS)} to {MAX_LENGTH} tokens, {sum(n * c for n, c in MSRVTT_LENGTHS.items()) / WHOLE:.1f} "
            f"on average; the baseline pads them to {MAX_LENGTH}. A shortlist holds {options.shortlist_share:.0%} of the captions of a video.",
            *notes,
        ],
    )


def extrapolate(seconds: float, once: float, num_texts: int) -> float:
    """Hours of all texts with all videos, of which so many seconds are needed `once` for a video, whatever the number of texts."""
    return WHOLE * (once + (seconds - once) * WHOLE / num_texts) / 3600


def build_lonely_work(options: argparse.Namespace) -> Callable[[], object]:
    """The call of the one side and case that the options name."""
    video = Video(options.num_clips[options.case], options, build_sides(options))
    work = video.baseline if options.alone == "baseline" else video.all_pairs

    def run():
        with autocast(options):
            return work()

    return run


def build_parser() -> argparse.ArgumentParser:
    parser = build_common_parser(__doc__.splitlines()[0])
    add_model_arguments(parser)
    parser.set_defaults(repetitions=3, warm_up=0)
    parser.add_argument(
        "--num-texts", type=int, help="captions that a video is scored with; default 1,000 / clips, at least 100"
    )
    parser.add_argument("--num-clips", type=int, nargs="+", default=[1, 4, 16], help="clips of the video")
    parser.add_argument(
        "--shortlist-share",
        type=float,
        default=0.03,
        help="of the captions of a video: `eval.shortlist` of 15 to 30 in 1,000",
    )
    parser.add_argument(
        "--pairs-per-block", type=int, default=32, help="pairs of text and clip in one forward of ours"
    )
    return parser


BENCHMARK = Benchmark(MODULE, build_parser, measure, build_lonely_work)

if __name__ == "__main__":
    BENCHMARK.main()
