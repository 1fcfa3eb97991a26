# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Search by Mug-STAN: a shortlist by vectors before mutual guidance, against mutual guidance with every video; both ours.

Sentences are asked one at a time, as in `train_scripts/search.py`, whose code this is; all that was encoded lies in memory. A
note has what the shortlist loses, and the time for one sentence among a hundred times as many videos.

Run:     python -m benchmarks.shortlist                                         (a minute on two cores, 6 GB)
"""

import argparse
import statistics
from collections.abc import Callable, Sequence

import torch

from benchmarks.families import CLIP_SIZES
from benchmarks.guidance import Collection, build_collection
from benchmarks.guidance import build_parser as build_guidance_parser
from benchmarks.measure import Benchmark, Row, Section, alternate
from clipbert.modeling_mug_stan import MugSTANConfig, MugSTANForVideoTextRetrieval
from clipbert.train_scripts.tasks.retrieval.collection import EncodedCollection


MODULE = "benchmarks.shortlist"
EXPECTED = 3.0
LIMIT_S = 1.0  # of a sentence among many videos


def build_model(options: argparse.Namespace) -> MugSTANForVideoTextRetrieval:
    """Of the towers only the width of their features matters here."""
    clip = {"model_type": "clip", **CLIP_SIZES["tiny"], "projection_dim": options.width}
    return MugSTANForVideoTextRetrieval(MugSTANConfig(clip_config=clip, similarity="mug_exact")).eval()


def split_sentences(collection: Collection) -> list[dict[str, torch.Tensor]]:
    """What `encode_texts` gives for each sentence by itself; its vector is the mean of its words."""
    sentences = []
    for tokens, mask in zip(collection.tokens, collection.mask, strict=True):
        words = tokens[mask][None]
        mask = torch.ones(words.shape[:2], dtype=torch.long, device=words.device)
        sentences.append({"token_features": words, "attention_mask": mask, "pooler_output": words.mean(dim=1)})
    return sentences


def search(
    videos: EncodedCollection, sentence: dict[str, torch.Tensor], shortlist: int | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of the videos that are scored, best first, and their numbers."""
    numbers = None
    if shortlist is not None:
        numbers = videos.nearest(videos.model.vectors(sentence), shortlist)[1][0]
    scores, order = videos.score(sentence, numbers)[0].sort(descending=True)
    return scores, order if numbers is None else numbers[order]


@torch.inference_mode()
def build_work(options: argparse.Namespace) -> dict[str, Callable[[], list[int]]]:
    """For each side a call that gives the best video of every sentence."""
    collection, model = build_collection(options), build_model(options).to(options.device)
    videos, sentences = EncodedCollection(model, collection.frames[:, None]), split_sentences(collection)

    def find_best(shortlist):
        return [search(videos, sentence, shortlist)[1][0].item() for sentence in sentences]

    calls = {"baseline": lambda: find_best(None), "ours": lambda: find_best(options.shortlist)}
    return {side: call for side, call in calls.items() if options.alone in (None, side)}


def check(work: dict[str, Callable[[], list[int]]]) -> tuple[float, float]:
    """R@1 with every video and with the shortlist; refused where most of what is found is chance."""
    recalls = []
    for side in ("baseline", "ours"):
        found = work[side]()
        recalls.append(sum(number == video for number, video in enumerate(found)) / len(found))
    if recalls[0] < 0.2:
        raise AssertionError(
            f"R@1 is {recalls[0]:.1%} with every video: the comparison says nothing; nothing was timed."
        )
    return recalls[0], recalls[1]


@torch.inference_mode()
def ask_many(options: argparse.Namespace) -> str:
    """The time for a sentence among very many videos."""
    videos = EncodedCollection(
        build_model(options), torch.randn(options.many_videos, 1, options.num_frames, options.width)
    )
    sentence = split_sentences(build_collection(options))[0]
    seconds = alternate({"": lambda: search(videos, sentence, options.shortlist)}, 5, 1)[""]
    size = sum(part.numel() * part.element_size() for part in (videos.videos, videos.vectors))
    return (
        f"A sentence among {options.many_videos:,} videos ({size / 2**30:.1f} GiB): {statistics.median(seconds):.3f} s "
        f"(expected below {LIMIT_S:g})."
    )


def measure(options: argparse.Namespace, arguments: Sequence[str] = ()) -> Section:
    work = build_work(options)
    every, shortlisted = check(work)
    seconds = alternate(work, options.repetitions, options.warm_up, options.device)
    name = f"the {options.shortlist} nearest against all {options.num_videos:,} videos"
    return Section(
        title=f"Shortlists: {options.num_texts} sentences, {options.num_frames} frames a video, width {options.width}, "
        f"{options.device}",
        rows=[Row(name, "sentences/s", options.num_texts, seconds, EXPECTED)],
        notes=[
            f"R@1 on these random features: {every:.1%} with every video, {shortlisted:.1%} with the shortlist.",
            ask_many(options),
        ],
    )


def build_lonely_work(options: argparse.Namespace) -> Callable[[], object]:
    return build_work(options)[options.alone]


def build_parser() -> argparse.ArgumentParser:
    parser = build_guidance_parser()
    parser.description = __doc__.splitlines()[0]
    parser.add_argument("--shortlist", type=int, default=50, help="videos that are scored")
    parser.add_argument("--many-videos", type=int, default=100_000, help="for the time of one sentence")
    return parser


BENCHMARK = Benchmark(MODULE, build_parser, measure, build_lonely_work)

if __name__ == "__main__":
    BENCHMARK.main()
