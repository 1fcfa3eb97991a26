# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Video loading: from file to normalised clips, ours against a baseline that works as the official code does.

Both sides take the same frames (the official placement) with pixels as they are stored, and do everything from opening
the file to subtracting the mean, in one process.

Run:     python -m benchmarks.loading                                         (generated videos; about two minutes)
Yours:   python -m benchmarks.loading --videos FOLDER
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import torch

from benchmarks import baseline_loading
from benchmarks.measure import Benchmark, Row, Section, alternate, measure_peak_bytes
from benchmarks.measure import build_parser as build_common_parser
from clipbert.processing.sampling import build_rng
from clipbert.processing.video_processing_clipbert import ClipBERTVideoProcessor


MODULE = "benchmarks.loading"
SUFFIXES = {".avi", ".flv", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"}
TOLERANCE = 1e-2  # of 255; rounding alone


class Case(NamedTuple):
    sampling: str  # random (training) or uniform (evaluation)
    image_size: int


def build_cases(options: argparse.Namespace) -> list[Case]:
    return [Case(sampling, size) for size in options.image_sizes for sampling in options.samplings]


def write_video(path: Path, num_frames: int, fps: int, size: tuple[int, int], seed: int = 0) -> None:
    """Write an H.264 video of a textured scene that a camera pans over, with a brighter square that moves."""
    height, width = size
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 200, (height // 8 + 2, (width + num_frames) // 8 + 2, 3))
    scene = coarse.repeat(8, axis=0).repeat(8, axis=1) + rng.integers(0, 30, 3)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1  # else each picture is cut into slices, as no video on the web is
        for index in range(num_frames):
            picture = scene[:height, index : index + width] + rng.integers(0, 24, (height, width, 1))  # sensor noise
            top, left = index % (height - 40), (3 * index) % (width - 40)
            picture[top : top + 40, left : left + 40] += 20
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(picture.clip(max=255).astype(np.uint8), format="rgb24"))
            )
        container.mux(stream.encode())


def find_videos(folder: Path) -> list[Path]:
    """All video files below a folder, sorted."""
    videos = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not videos:
        raise FileNotFoundError(f"Found no video in {folder}: looked for {', '.join(sorted(SUFFIXES))}.")
    return videos


def build_work(
    case: Case, videos: Sequence[Path], options: argparse.Namespace
) -> dict[str, Callable[[], Iterator[torch.Tensor]]]:
    """One call for each side; both go through the videos and yield the clips of each."""
    shared = {"num_clips": options.num_clips, "num_frames": options.num_frames, "fps": options.fps}
    processor = ClipBERTVideoProcessor(
        **shared,
        sampling=case.sampling,
        placement="official",
        square_pixels=False,  # as they are stored: the official code asks nobody
        size={"longest_edge": case.image_size},
    )

    def load_with_baseline():
        for index, video in enumerate(videos):
            rng = build_rng(index)
            draws = [rng.random() for _ in range(options.num_clips)] if case.sampling == "random" else None
            yield baseline_loading.load_clips(video, **shared, longest_edge=case.image_size, draws=draws)

    def load_with_ours():
        for index, video in enumerate(videos):
            seeds = {"seeds": [index]} if case.sampling == "random" else {}
            yield processor(videos=video, **seeds)["pixel_values"][0]

    return {"baseline": load_with_baseline, "ours": load_with_ours}


def run_through(load: Callable[[], Iterator[torch.Tensor]]) -> int:
    """Load all videos, keep none."""
    return sum(len(clips) for clips in load())


def choose_comparable(videos: Sequence[Path], options: argparse.Namespace) -> tuple[list[Path], list[str]]:
    """
    Videos of which both sides deliver the same pixels, and why the others are left out.

    The baseline fails where the official code does: on files without usable headers, for one.
    """
    kept, left_out = [], []
    for video in videos:
        try:
            for sampling in options.samplings:
                work = build_work(Case(sampling, min(options.image_sizes)), [video], options)
                baseline, ours = next(work["baseline"]()), next(work["ours"]())
                difference = (baseline - ours).abs().max().item() if baseline.shape == ours.shape else float("inf")
                if not difference <= TOLERANCE:
                    raise ValueError(f"pixels differ by {difference:g}")
        except (ValueError, ZeroDivisionError, TypeError, OverflowError, IndexError, OSError) as error:
            left_out.append(f"{video.name} ({type(error).__name__}: {str(error).splitlines()[0][:80]})")
        else:
            kept.append(video)
    return kept, left_out


def gather_videos(options: argparse.Namespace, folder: Path) -> list[Path]:
    """The videos of `--videos`, or newly written ones in `folder`."""
    if options.videos is not None:
        return find_videos(options.videos)
    for index in range(options.num_generated):
        write_video(folder / f"{index}.mp4", options.generated_frames, 30, (240, 320), seed=index)
    return find_videos(folder)


def measure(options: argparse.Namespace, arguments: Sequence[str] = ()) -> Section:
    """Check that both sides deliver the same pixels, then time and weigh every case."""
    with tempfile.TemporaryDirectory() as folder:
        videos, left_out = choose_comparable(gather_videos(options, Path(folder)), options)
        if not videos:
            raise ValueError(f"Both sides agree on none of the videos: {'; '.join(left_out)}.")
        rows = []
        for index, case in enumerate(build_cases(options)):
            work = build_work(case, videos, options)
            calls = {side: lambda load=load: run_through(load) for side, load in work.items()}
            seconds = alternate(calls, options.repetitions, options.warm_up)
            peaks = {}
            if not options.no_memory:
                peaks = measure_peak_bytes(MODULE, [*arguments, "--kept", *map(str, videos)], index)
            rows.append(
                Row(
                    f"{case.sampling}, {case.image_size} px",
                    "clips/s",
                    options.num_clips * len(videos),
                    seconds,
                    expected=4.0,
                    peak_bytes=peaks,
                )
            )
        kind = f"{options.generated_frames}-frame generated" if options.videos is None else "real"
        notes = [
            f"Checked before timing: both sides deliver the same pixels (to {TOLERANCE:g} of 255) for each video."
        ]
        if options.videos is not None:
            notes.append(f"Videos: {', '.join(video.name for video in videos)}.")
        if left_out:
            notes.append(f"Left out, because the baseline fails or takes other frames: {'; '.join(left_out)}.")
        return Section(
            title=f"Video loading: {len(videos)} {kind} video{'s' if len(videos) > 1 else ''}, {options.num_clips} clips x "
            f"{options.num_frames} frames at {options.fps:g} fps",
            rows=rows,
            notes=notes,
        )


def build_lonely_work(options: argparse.Namespace) -> Callable[[], object]:
    """The call of the one side and case that the options name."""
    work = build_work(build_cases(options)[options.case], options.kept, options)[options.alone]
    return lambda: run_through(work)


def build_parser() -> argparse.ArgumentParser:
    parser = build_common_parser(__doc__.splitlines()[0])
    parser.add_argument("--videos", type=Path, help="folder of videos to use instead of generated ones")
    parser.add_argument("--num-generated", type=int, default=4, help="videos to generate")
    parser.add_argument("--generated-frames", type=int, default=450, help="frames of each, 30 a second")
    parser.add_argument("--num-clips", type=int, default=8, help="clips of a video")
    parser.add_argument("--num-frames", type=int, default=2, help="frames of a clip")
    parser.add_argument("--fps", type=float, default=2.0, help="frames a second inside a clip")
    parser.add_argument("--image-sizes", type=int, nargs="+", default=[448, 224], help="longer side in pixels")
    parser.add_argument("--samplings", nargs="+", default=["random", "uniform"], choices=["random", "uniform"])
    parser.add_argument("--kept", type=Path, nargs="+", help="with --alone: the videos")
    return parser


BENCHMARK = Benchmark(MODULE, build_parser, measure, build_lonely_work)

if __name__ == "__main__":
    BENCHMARK.main()
