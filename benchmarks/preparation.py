# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What `python -m datasets_scripts prepare` is for: clips from prepared videos, against a baseline that works on the files as they were.

Short videos, high-definition ones and ten minutes in one file, generated; your own with `--videos`. Ours reads the original files, and
copies of them with key frames at several distances. On the originals both sides are checked to give the same pixels. Copies are not
compared: their pictures are encoded anew, and of three a second the nearest one is up to a third of a second away. Besides, one clip of each video
by a process that knows none of them, with the packet indexes that `prepare` leaves in their folder and without.

Run:     python -m benchmarks.preparation                                     (a quarter of an hour on two cores, half of it to write videos)
Yours:   python -m benchmarks.preparation --videos FOLDER --kinds own
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from benchmarks import baseline_loading
from benchmarks.loading import choose_comparable, find_videos, run_through, write_video
from benchmarks.measure import Benchmark, Row, Section, alternate
from benchmarks.measure import build_parser as build_common_parser
from clipbert.datasets_scripts.building.packet_tables import keep_packet_indexes
from clipbert.datasets_scripts.commands.reencoding import PrepareSettings, prepare_video
from clipbert.processing.kept_indexes import KEPT_INDEXES
from clipbert.processing.sampling import build_rng
from clipbert.processing.video_processing_clipbert import ClipBERTVideoProcessor


MODULE = "benchmarks.preparation"
# name: number of videos, seconds, (height, width)
KINDS = {"short": (4, 15, (240, 320)), "HD": (2, 10, (1080, 1920)), "ten minutes": (1, 600, (240, 320))}
FPS = 30
WANTED = 10.0  # the ratio that preparing has to reach


def gather(kind: str, options: argparse.Namespace, folder: Path) -> list[Path]:
    """The videos of a kind, newly written below a folder if they are not the user's."""
    if kind == "own":
        return find_videos(options.videos)
    number, seconds, size = KINDS[kind]
    for index in range(min(number, options.most_videos)):
        num_frames = min(seconds * FPS, options.most_frames)
        write_video(folder / f"{index}.mp4", num_frames, FPS, size, seed=index)
    return find_videos(folder)


def build_loaders(
    sampling: str,
    originals: Sequence[Path],
    copies: dict[str, Sequence[Path]],
    options: argparse.Namespace,
    num_clips: int,
    before: Callable[[], None] = lambda: None,
) -> dict[str, Callable[[], Iterator[torch.Tensor]]]:
    """One call for each way: the baseline and ours on the files as they were, and ours on the copies, after what is done `before` each time."""
    shared = {"num_clips": num_clips, "num_frames": options.num_frames, "fps": options.fps}
    size = {"longest_edge": options.image_size}
    processor = ClipBERTVideoProcessor(**shared, sampling=sampling, placement="official", size=size)

    def load_with_baseline():
        for index, video in enumerate(originals):
            draws = None
            if sampling == "random":
                rng = build_rng(index)
                draws = [rng.random() for _ in range(num_clips)]
            yield baseline_loading.load_clips(video, **shared, longest_edge=options.image_size, draws=draws)

    def load_with_ours(videos):
        before()
        for index, video in enumerate(videos):
            seeds = {"seeds": [index]} if sampling == "random" else {}
            yield processor(videos=video, **seeds)["pixel_values"][0]

    ours = {"as they were": originals, **copies}
    return {
        "baseline": load_with_baseline,
        **{name: lambda videos=videos: load_with_ours(videos) for name, videos in ours.items()},
    }


def measure_kind(kind: str, options: argparse.Namespace, folder: Path) -> tuple[list[Row], list[str]]:
    """Prepare the videos of a kind, and time every way of loading them."""
    (folder / "originals").mkdir(parents=True)
    options.samplings, options.image_sizes = (
        ["random", "uniform"],
        [options.image_size],
    )  # what `choose_comparable` reads
    originals, left_out = choose_comparable(gather(kind, options, folder / "originals"), options)
    if not originals:
        raise ValueError(f"The baseline can read none of the videos: {'; '.join(left_out)}.")
    copies, notes = {}, [f"{kind}: left out, because the baseline fails or takes other frames: {'; '.join(left_out)}."]
    notes = notes if left_out else []
    size = sum(video.stat().st_size for video in originals)
    for interval_s in options.keyframe_intervals:
        settings, started = PrepareSettings(keyframe_interval_s=interval_s), time.perf_counter()
        name, made = f"prepared, key frames every {interval_s:g} s", []
        for index, video in enumerate(originals):
            made.append(made_folder(folder / f"{interval_s:g}") / f"{index}.mp4")
            prepare_video(str(video), str(made[-1]), settings)
        copies[name] = made
        share = sum(video.stat().st_size for video in made) / size
        notes.append(f"{kind}, {name}: {share:.0%} of the size, {time.perf_counter() - started:.1f} s to prepare.")
    rows = []
    for sampling in options.samplings:
        loaders = build_loaders(sampling, originals, copies, options, options.num_clips)
        rows += time_loaders(f"{kind}, {sampling}", loaders, copies, options.num_clips * len(originals), options)
    made = next(iter(copies.values()))
    without = [shutil.copy(video, made_folder(folder / "without") / video.name) for video in made]
    keep_packet_indexes(made[0].parent, [video.name for video in made])
    ways = {"prepared, packets listed": list(map(Path, without)), "prepared, packet indexes beside": made}
    loaders = build_loaders("random", originals, ways, options, 1, KEPT_INDEXES.forget_all)
    del loaders["as they were"]
    rows += time_loaders(f"{kind}, one clip, nothing known", loaders, {}, len(originals), options)
    return rows, notes


def time_loaders(
    title: str,
    loaders: dict[str, Callable],
    copies: dict[str, Sequence[Path]],
    num_clips: int,
    options: argparse.Namespace,
) -> list[Row]:
    """A row for each way but the baseline's."""
    calls = {name: lambda load=load: run_through(load) for name, load in loaders.items()}
    seconds = alternate(calls, options.repetitions, options.warm_up)
    return [
        Row(
            f"{title}, {name}",
            "clips/s",
            num_clips,
            {"baseline": seconds["baseline"], "ours": seconds[name]},
            WANTED if name in copies else None,
        )
        for name in loaders
        if name != "baseline"
    ]


def made_folder(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def measure(options: argparse.Namespace, arguments: Sequence[str] = ()) -> Section:
    """Every kind of video."""
    rows, notes = [], []
    with tempfile.TemporaryDirectory() as folder:
        for kind in options.kinds:
            found = measure_kind(kind, options, Path(folder) / kind.replace(" ", "_"))
            rows, notes = rows + found[0], notes + found[1]
    return Section(
        title=f"Prepared videos: {options.num_clips} clips x {options.num_frames} frames at {options.fps:g} fps, {options.image_size} px; "
        "baseline on the files as they were",
        rows=rows,
        notes=notes,
    )


def build_parser() -> argparse.ArgumentParser:
    parser = build_common_parser(__doc__.splitlines()[0])
    parser.add_argument("--kinds", nargs="+", choices=[*KINDS, "own"], default=list(KINDS), help="of videos")
    parser.add_argument("--videos", type=Path, help="folder of videos, for the kind `own`")
    parser.add_argument("--keyframe-intervals", type=float, nargs="+", default=[0.3, 1.0, 2.0, 5.0], help="seconds")
    parser.add_argument("--num-clips", type=int, default=8, help="clips of a video")
    parser.add_argument("--num-frames", type=int, default=2, help="frames of a clip")
    parser.add_argument("--fps", type=float, default=2.0, help="frames a second inside a clip")
    parser.add_argument("--image-size", type=int, default=224, help="longer side in pixels")
    parser.add_argument("--most-videos", type=int, default=4, help="of a kind, to try out")
    parser.add_argument("--most-frames", type=int, default=10**6, help="of a video, to try out")
    return parser


BENCHMARK = Benchmark(MODULE, build_parser, measure)

if __name__ == "__main__":
    BENCHMARK.main()
