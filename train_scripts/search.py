# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Rank a folder of videos for a sentence, with any checkpoint of a retrieval model.

Run:     python train_scripts/search.py --checkpoint outputs/quickstart --videos outputs/quickstart/data/test "a yellow square"

`--checkpoint` is the folder of a run, whose best checkpoint is taken, a folder with a checkpoint, or a name on the Hub.
Several sentences are answered one after the other; without any, they are asked for. Each video is encoded once. Captions,
where the folder has them as `video_folder` reads them, are shown beside the results.

A model that compares texts and videos after it has encoded them (Mug-STAN) has a vector for each. By it, `--shortlist 100`
takes the nearest videos first and scores those alone; `--reranker CHECKPOINT` orders them by another model, such as a ClipBERT;
`--evaluate_shortlist 10,50,100` says what that loses, for the captions of the folder, or of a benchmark
(`--benchmark msrvtt/retrieval_1ka/test --videos data/msrvtt`); `--like FILE` looks for videos like one.
`--beside CHECKPOINT` shows the hits of a second model, `--picture FILE.png` draws them. `--locate CHECKPOINT`, a model for moments,
tells the seconds in each of these videos at which the sentence happens, instead of those of the clip that agrees best.
"""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
from transformers.utils.logging import disable_progress_bar

from clipbert.datasets_scripts import load_benchmark
from clipbert.datasets_scripts.building.media import find_videos
from clipbert.pipelines import encode_video
from clipbert.processing import VideoDecodeError
from clipbert.support.terminal import printable
from clipbert.train_scripts.engine.pictures import PicturesError
from clipbert.train_scripts.tasks.moment_retrieval.showing import load_locator
from clipbert.train_scripts.tasks.retrieval.collection import (
    NoVectorsError,
    RankedVideo,
    ShortlistError,
    VideoSearch,
    check_vectors,
    evaluate_shortlist,
    rerank,
)
from clipbert.train_scripts.tasks.retrieval.measures import RECALLS
from clipbert.train_scripts.tasks.retrieval.pictures import draw_hits
from clipbert.train_scripts.tasks.retrieval.trained import load_model
from clipbert.train_scripts.tasks.texts import describe_losses


DEFAULT_SHORTLIST = 50  # for a reranker
SCORE = "score: larger fits better; not a probability"
COSINE = "cosine of the vectors"


def read_pairs(folder: Path) -> list[tuple[Path, str]]:
    """Videos with their captions as the loader `video_folder` reads them; none in a folder without captions."""
    pairs = []
    # captions lie beside the videos, or beside a folder `videos/` of them
    for root in (folder, folder.parent) if folder.name == "videos" else (folder,):
        with suppress(FileNotFoundError):  # a folder without captions
            splits = load_benchmark("video_folder", "retrieval", data_dir=root, on_missing="keep", streaming=True)
            for row in (row for rows in splits.values() for row in rows):
                pairs.append((root / Path(row["video"]).relative_to(root.resolve()), row["caption"]))
    return pairs


def read_benchmark(name: str, folder: Path) -> list[tuple[Path, str]]:
    """Videos with their captions, of a split of a benchmark whose data lie in a folder."""
    dataset, _, place = name.partition("/")
    config, _, split = place.partition("/")
    if not split:
        raise ValueError(f"--benchmark: expected NAME/CONFIG/SPLIT, got {name}")
    rows = load_benchmark(dataset, config, split=split, data_dir=folder)
    if "caption" not in rows.column_names or "start_s" in rows.column_names:
        raise ValueError(f"--benchmark {name}: expected captions of whole videos, got {', '.join(rows.column_names)}")
    return [(Path(video), caption) for video, caption in zip(rows["video"], rows["caption"], strict=True)]


def print_ranking(
    title: str, ranked: Sequence[RankedVideo], root: Path, captions: Mapping[Path, str], meaning: str = SCORE
) -> None:
    print(f"\n{printable(title)}   ({meaning})")
    for place, video in enumerate(ranked, start=1):
        caption = f"   ({printable(captions[video.path])})" if video.path in captions else ""
        seconds = f"{video.start_s:.1f}-{video.end_s:.1f} s"
        name = printable(os.path.relpath(video.path, root))
        print(f"{place:4d}.  {video.score:7.2f}  {seconds:>13s}  {name}{caption}")


def print_shortlists(found: Mapping[str, Mapping[str, float]], num_texts: int, num_videos: int) -> None:
    """Recall by the length of the shortlist, and what is lost against scoring every pair."""
    print(f"\n{num_texts} captions, {num_videos} videos (what is lost against all pairs, in points)")
    print(f"{'shortlist':>12}" + "".join(f"{name:>18}" for name in RECALLS))
    for size, metrics in found.items():
        values = [100 * metrics[f"text_to_video_{name}"] for name in RECALLS]
        lost = [
            100 * found["all"][f"text_to_video_{name}"] - value for name, value in zip(RECALLS, values, strict=True)
        ]
        cells = [
            f"{value:.1f}" + ("" if size == "all" else f" ({gap:+.1f})")
            for value, gap in zip(values, lost, strict=True)
        ]
        print(f"{size if size != 'all' else 'all pairs':>12}" + "".join(f"{cell:>18}" for cell in cells))


def asked_sentences():
    """Sentences typed at a prompt, until an empty one."""
    while sys.stdin.isatty() and (sentence := input("\nsearch for (empty: stop): ").strip()):
        yield sentence


def find_device() -> torch.device | str:
    return torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"


def build_locator(name: str) -> Callable[[str, RankedVideo], RankedVideo]:
    """What puts the seconds of a sentence into a hit, by a model for moments; each video is encoded once."""
    model, processor = load_locator(name, "--locate")
    model.to(find_device())
    encoded = {}

    def locate(sentence: str, hit: RankedVideo) -> RankedVideo:
        if hit.path not in encoded:
            encoded[hit.path] = encode_video(model, processor, str(hit.path))
        ((best,),) = encoded[hit.path].locate(sentence, top_k=1)
        return replace(hit, start_s=best["start_s"], end_s=best["end_s"])

    return locate


def build_search(name: str, paths: Sequence[Path], num_clips: int | None) -> VideoSearch:
    """The videos, encoded by a checkpoint; those that cannot be decoded are told."""
    model, processor = load_model(name)
    search = VideoSearch(model.to(find_device()), processor, paths, **({"num_clips": num_clips} if num_clips else {}))
    for reason in search.unreadable.values():
        print(f"left out: {reason}")
    return search


def answer(
    search: VideoSearch, sentence: str, given: argparse.Namespace, reranker: VideoSearch | None
) -> list[RankedVideo]:
    """The first hits for a sentence, of the shortlist if there is one."""
    if losses := describe_losses(search.processor, [sentence]):
        print(f"\nnote: {losses}")
    shortlist = given.shortlist
    if reranker is None:
        return search.rank(sentence, shortlist=shortlist, top=given.top)
    shortlist = shortlist or min(DEFAULT_SHORTLIST, len(search.paths))
    return rerank(reranker, sentence, search.rank(sentence, shortlist=shortlist))[: given.top]


def comma_separated(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sentences", nargs="*", metavar="SENTENCE")
    parser.add_argument("--checkpoint", required=True, help="a run, a checkpoint or a Hub name: a retrieval model")
    parser.add_argument("--videos", required=True, type=Path, help="folder of videos, with its sub-folders; or a file")
    parser.add_argument("--num_clips", type=int, help="clips read of each video (default: the checkpoint's own)")
    parser.add_argument("--top", type=int, default=5, help="videos to show (default: 5)")
    parser.add_argument(
        "--shortlist", type=int, metavar="K", help="score the K videos whose vectors are nearest alone"
    )
    parser.add_argument(
        "--reranker",
        metavar="CHECKPOINT",
        help=f"order the shortlist (default: {DEFAULT_SHORTLIST} videos) by this model",
    )
    parser.add_argument("--like", type=Path, metavar="FILE", help="find videos like this one, by their vectors")
    parser.add_argument(
        "--evaluate_shortlist",
        type=comma_separated,
        metavar="K,K,...",
        help="the recall that shortlists lose, for the captions of the folder",
    )
    parser.add_argument(
        "--benchmark",
        metavar="NAME/CONFIG/SPLIT",
        help="videos and captions of a benchmark, whose data are in --videos",
    )
    parser.add_argument("--beside", metavar="CHECKPOINT", help="show the hits of this model, too")
    parser.add_argument("--locate", metavar="CHECKPOINT", help="show when it happens, by this model for moments")
    parser.add_argument(
        "--picture", type=Path, metavar="FILE.png", help="draw the hits (of several sentences: numbered files)"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    given = build_parser().parse_args(arguments)
    if not all(map(str.strip, given.sentences)):
        raise SystemExit("SENTENCE: expected words, got none.")
    root = given.videos if given.videos.is_dir() else given.videos.parent
    try:  # a broken line is told before anything is encoded
        if given.benchmark is None:
            paths, pairs = find_videos(given.videos), read_pairs(root)
        else:
            pairs = read_benchmark(given.benchmark, given.videos)
            paths = list(dict.fromkeys(path for path, _ in pairs))
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(f"--videos {error}") from error
    disable_progress_bar()  # of transformers: a second of loading
    search = build_search(given.checkpoint, paths, given.num_clips)
    try:
        run(search, given, root, pairs)
    except (NoVectorsError, ShortlistError) as error:
        raise SystemExit(str(error)) from error


def run(search: VideoSearch, given: argparse.Namespace, root: Path, pairs: Sequence[tuple[Path, str]]) -> None:
    """What the command line asks of the encoded videos."""
    captions = dict(reversed(pairs))  # the first of each video
    if given.evaluate_shortlist is not None:
        places = {path: place for place, path in enumerate(search.paths)}
        asked = [(text, places[path]) for path, text in pairs if path in places]
        if not asked:
            raise SystemExit(f"--evaluate_shortlist: {root} has no captions of these videos (captions.jsonl).")
        check_vectors(search.model)
        texts, owners = zip(*asked, strict=True)
        found = evaluate_shortlist(search.encoded, search.processor, texts, owners, given.evaluate_shortlist)
        print_shortlists(found, len(asked), len(places))
    if given.like is not None:
        print_ranking(f"videos like {given.like}", search.like(given.like, given.top), root, captions, COSINE)
    other = build_search(given.beside, search.paths, given.num_clips) if given.beside else None
    reranker = build_search(given.reranker, [], given.num_clips) if given.reranker else None
    locate = build_locator(given.locate) if given.locate else None
    is_asked = given.evaluate_shortlist is None and given.like is None
    for number, sentence in enumerate(given.sentences or (asked_sentences() if is_asked else ())):
        hits = {given.checkpoint: answer(search, sentence, given, reranker)}
        if other is not None:
            hits[given.beside] = other.rank(sentence, top=given.top)
        if locate is not None:
            hits = {name: [locate(sentence, hit) for hit in ranked] for name, ranked in hits.items()}
        for name, ranked in hits.items():
            title = f'"{sentence}"' + (f" by {name}" if other is not None else "")
            print_ranking(title, ranked, root, captions)
        if given.picture is not None:
            picture = given.picture
            picture = picture.with_stem(f"{picture.stem}_{number + 1}") if len(given.sentences) > 1 else picture
            print(printable(str(draw_hits(sentence, hits, picture, captions))))


if __name__ == "__main__":
    try:
        main()
    except (PicturesError, VideoDecodeError) as error:
        sys.exit(printable(str(error)))
