# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Shortlists for ClipBERT alone, against scoring every video: processor time of a query, and what is lost.

Generates a collection, encodes it once, and distils from the captions of another one. Then sentences of three kinds are ranked by all
videos and by shortlists: captions, the same in other words (which the model has never read), and pieces of captions. Several clips a video
add the order that a single clip gives.

Run:     python -m benchmarks.index_cascade --checkpoint outputs/quickstart                (after `make quickstart`; some 15 minutes of a core)
Clips:   python -m benchmarks.index_cascade --checkpoint outputs/quickstart --num-clips 4  (twice as long)
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from benchmarks.measure import describe_machine
from clipbert.datasets_scripts.synthetic.generation import generate_synthetic
from clipbert.search.distillation import distil
from clipbert.search.distilled import DistilledEncoder
from clipbert.search.models import load_reranker
from clipbert.search.protocols import Reranker
from clipbert.search.shortlists import Estimate, ShortlistReport, TextRanking, measure_losses


SEEDS = {"collection": 1, "sentences": 2}
SIZES = (10, 20, 50, 80, 100)
WORDINGS = 3
Order = Callable[[str], np.ndarray]  # of a sentence: numbers of all videos, best first


def read_captions(folder: Path) -> list[str]:
    lines = (folder / "captions.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["caption"] for line in lines]


def build_sentences(captions: Sequence[str], count: int) -> dict[str, tuple[list[str], list[int] | None]]:
    """Sentences of each kind, none twice, with the number of a video that each belongs to where it is a whole caption."""
    rng = np.random.default_rng(0)
    first: dict[str, int] = {}  # sentence -> a video, of all wordings
    for row, caption in enumerate(captions):
        first.setdefault(caption, row // WORDINGS)

    def draw(pool: Sequence[str]) -> list[str]:
        pool = sorted(set(pool))
        return [pool[place] for place in rng.permutation(len(pool))[:count]]

    pieces = set()
    for caption in draw(captions[::WORDINGS]):
        words = caption.split()
        start = rng.integers(len(words) - 2)
        pieces.add(" ".join(words[start : rng.integers(start + 2, len(words) + 1)]))
    told = draw(captions[::WORDINGS])
    others = draw([caption for row, caption in enumerate(captions) if row % WORDINGS])
    return {
        "captions": (told, [first[text] for text in told]),
        "other words": (others, [first[text] for text in others]),
        "pieces": (sorted(pieces), None),
    }


def encode_all(reranker: Reranker, folder: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """What the model makes of each video of a folder, and which clips exist."""
    paths = sorted((folder / "videos").glob("*.mp4"))
    found = [reranker.encode([reranker.read(path)])[0] for path in tqdm(paths, desc="encoding", unit="video")]
    masks = None if found[0].mask is None else np.stack([one.mask for one in found])
    return np.stack([one.parts for one in found]), masks


def build_orders(
    reranker: Reranker, encoder: DistilledEncoder, parts: np.ndarray, mask: np.ndarray | None
) -> dict[str, Order]:
    """The cheap stages by name."""
    vectors = encoder.vector(parts, mask)
    orders: dict[str, Order] = {"distilled": lambda text: np.argsort(-(encoder.encode_query([text]) @ vectors.T)[0])}
    if parts.shape[1] > 1:
        for name, clip in (("first clip", 0), ("middle clip", parts.shape[1] // 2)):
            alone = np.ascontiguousarray(parts[:, clip : clip + 1])
            orders[name] = lambda text, alone=alone: np.argsort(
                -reranker.score(reranker.encode_texts([text]), alone)[0][0]
            )
    return orders


def compare(
    reranker: Reranker,
    orders: dict[str, Order],
    parts: np.ndarray,
    mask: np.ndarray | None,
    texts: Sequence[str],
    owners: Sequence[int] | None,
) -> dict[str, ShortlistReport]:
    """What the shortlists of each cheap stage lose; seconds of the processor, not of the clock."""

    def score(text: str, numbers: np.ndarray) -> np.ndarray:
        some = None if mask is None else mask[numbers]
        return reranker.score(reranker.encode_texts([text]), parts[numbers], some)[0][0]

    everything = np.arange(len(parts))
    spent = {name: dict.fromkeys((*SIZES, None), 0.0) for name in orders}
    rankings: dict[str, list[TextRanking]] = {name: [] for name in orders}
    for row, text in enumerate(tqdm(texts, desc="ranking", unit="sentence")):
        started = time.process_time()
        scores = score(text, everything)
        exhaustive_s = time.process_time() - started
        for name, order in orders.items():
            started = time.process_time()
            nearest = order(text)
            cheap_s = time.process_time() - started
            for size in SIZES:
                started = time.process_time()
                score(text, np.sort(nearest[:size]))
                spent[name][size] += (time.process_time() - started + cheap_s) / len(texts)
            spent[name][None] += exhaustive_s / len(texts)
            owner = None if owners is None else owners[row]
            rankings[name].append(TextRanking(everything.tolist(), scores, nearest.tolist(), owner))
    return {name: measure_losses(rankings[name], SIZES, spent[name]) for name in orders}


def format_rows(kind: str, reports: dict[str, ShortlistReport]) -> Iterator[str]:
    """Lines of the table."""
    for name, report in reports.items():
        for loss in report.losses:
            lost = f"{100 * loss.recall_lost[10].mean:.1f}" if loss.recall_lost else ""
            cells = [kind, report.num_texts, name, loss.size, f"{1000 * loss.seconds:.1f}"]
            cells += [f"1 / {report.seconds / loss.seconds:.1f}", format_share(loss.first_kept)]
            yield f"| {' | '.join(map(str, [*cells, format_share(loss.top_kept), lost]))} |"


def format_share(estimate: Estimate) -> str:
    return f"{estimate.mean:.1%} ({100 * estimate.low:.1f}–{100 * estimate.high:.1f})"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="outputs/quickstart", help="a ClipBERT for retrieval")
    parser.add_argument("--num-videos", type=int, default=2000, help="of the collection")
    parser.add_argument("--num-clips", type=int, help="of each video (default: as many as the model saw)")
    parser.add_argument("--num-sentences", type=int, default=100, help="of each kind")
    parser.add_argument("--num-captions", type=int, default=200, help="videos whose captions are distilled from")
    parser.add_argument("--max-pairs", type=int, default=400_000, help="that are scored to distil")
    parser.add_argument("--folder", type=Path, help="where to keep generated videos (default: nowhere)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    sampling = {} if options.num_clips is None else {"num_clips": options.num_clips}
    reranker = load_reranker(options.checkpoint, device="cpu", **sampling)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        counts = {"num_train": 0, "num_validation": 0, "num_test": options.num_videos}
        settings = {"preset": "easy", "captions_per_video": WORDINGS, "seed": SEEDS["collection"]}
        collection = generate_synthetic(folder / "collection", **counts, **settings) / "test"
        counts = {"num_train": options.num_captions, "num_validation": 0, "num_test": 0}
        settings = {"preset": "easy", "search_phrases": True, "seed": SEEDS["sentences"]}
        learnt = read_captions(generate_synthetic(folder / "sentences", **counts, **settings) / "train")
        parts, mask = encode_all(reranker, collection)
        captions = read_captions(collection)
    started = time.process_time()
    heads, report = distil(reranker, learnt, parts, mask, max_pairs=options.max_pairs, progress=True)
    spent = time.process_time() - started
    encoder = DistilledEncoder(heads, reranker, min_first_kept=0.0)
    orders = build_orders(reranker, encoder, parts, mask)
    lines, seconds = [], []
    for kind, (texts, owners) in build_sentences(captions, options.num_sentences).items():
        reports = compare(reranker, orders, parts, mask, texts, owners)
        lines += format_rows(kind, reports)
        seconds.append(reports["distilled"].seconds)
    print(*(f"- {line}" for line in describe_machine("cpu")), sep="\n")
    print(
        f"- {len(parts):,} videos, clips {parts.shape[1:]}; distilled in {spent:.0f} s of a core from {report.num_texts} texts and "
        f"{report.num_videos} videos; of first places held out {report.first_kept:.1%} in a shortlist of {report.reference}"
    )
    print(f"- all videos: {1000 * np.mean(seconds):.0f} ms of a core for a query\n")
    print(
        "| sentences | number | order | shortlist | ms | of all | first place kept | top 10 kept | R@10 lost, points |"
    )
    print(f"|{' --- |' * 9}", *lines, sep="\n")


if __name__ == "__main__":
    main()
