# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""`python -m datasets_scripts prepare NAME --data_dir DIR --output_dir OUT`: videos re-encoded for sparse sampling.

Fetching a few frames of a long, large video costs the decoding of many others. The copies in OUT are H.264 in MP4 with

- a short side of at most 256 pixels (never enlarged, both sides even), upright, with square pixels, without sound,
- at most 3 frames a second: the first picture of every third of a second is kept and keeps its time, all others are
  dropped. What was shown at 4.0 s is shown at 4.0 s, and the video is as long as it was; seconds count from the first
  picture. `--fps keep` keeps them all,
- a key frame every 0.3 seconds (`--keyframe_interval`), which at three pictures a second is every picture, and no picture that
  refers to a later one: any picture is decoded alone.

`video_dir=OUT` then works with the loader: names are those that it looks for. Where it looks for exact names, they keep
their suffix, whatever it is; players and FFmpeg look at the content. `--videos FOLDER` prepares any folder of videos.

A file appears when it is whole. `prepared.jsonl` in OUT records what was made of what, so another run, also after an
interruption, makes only what is missing, changed, or was made with other settings. Videos that fail are listed in
`failed.txt`, which works as a skip list; the exit status is then 1. `packet_indexes.safetensors` in OUT says where their
pictures lie, so that nobody who reads one has to look for them first; it may be copied, published or deleted.
"""

import argparse
import errno
import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from tqdm import tqdm

from clipbert.datasets_scripts.building.base import VideoTextBuilder
from clipbert.datasets_scripts.building.file_memory import file_state
from clipbert.datasets_scripts.building.media import MediaIndex
from clipbert.datasets_scripts.building.packet_tables import keep_packet_indexes
from clipbert.datasets_scripts.building.readable import plain_reason
from clipbert.datasets_scripts.building.skip_lists import write_skip_list
from clipbert.datasets_scripts.building.usable_videos import media_column
from clipbert.datasets_scripts.building.workers import run_in_processes
from clipbert.datasets_scripts.commands.benchmark_arguments import (
    add_benchmark_arguments,
    build_benchmark,
    default_num_workers,
    load_splits,
)
from clipbert.datasets_scripts.commands.reencoding import PrepareSettings, prepare_video
from clipbert.datasets_scripts.loaders import find_loader
from clipbert.support.files import remove_leftovers
from clipbert.support.terminal import printable


MANIFEST, FAILED = "prepared.jsonl", "failed.txt"
SHOWN = 10  # failures on the screen
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)  # which no other video will change
CRASHED = ({}, "reading it ends the process (a crash inside the decoder, or no memory left)")


@dataclass(frozen=True)
class Job:
    """One video: its file, its name below the output folder, and the ids that it goes by."""

    source: str
    name: str
    ids: tuple[str, ...]


def list_benchmark_jobs(builders: Sequence[VideoTextBuilder], output_dir: Path, split: str | None = None) -> list[Job]:
    """The videos of a benchmark's configs, each with the name under which its loader will look in `output_dir`."""
    triples = []  # id, source, name
    for builder in builders:
        refuse_overlap(output_dir, Path(builder.media_root))
        output_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as cache_dir:  # a table of a folder that is about to change
            fields = {"video_dir": output_dir, "cache_dir": cache_dir}
            there = build_benchmark(builder.name, builder.config.name, builder.config.data_dir, **fields)
            expected = load_splits(there, split)
            for name, table in load_splits(builder, split).items():
                if media_column(table) != "video" or table.features["video"].dtype != "string":
                    raise ValueError(f"{builder.name}/{builder.config.name} has no video files to prepare.")
                columns = table["video_id"][:], table["video"][:], expected[name]["video"][:]
                by_stem = builder.MEDIA_SUFFIXES is not None  # the loader takes any container
                triples += [
                    (video_id, source, relative_name(target, there.media_root, by_stem))
                    for video_id, source, target in dict.fromkeys(zip(*columns, strict=True))
                ]
    return merge_jobs(triples)


def build_configs(name: str, configs: Sequence[str] | None, **options) -> list[VideoTextBuilder]:
    """The named configs of a benchmark, or all of those whose annotation files are there: they share their videos."""
    if configs:
        return [build_benchmark(name, config, **options) for config in configs]
    builders, errors = [], []
    for config in find_loader(name).BUILDER_CONFIGS:
        try:
            builders.append(build_benchmark(name, config.name, **options))
        except FileNotFoundError as error:
            errors.append(error)
    if not builders:
        raise errors[0]
    return builders


def list_folder_jobs(folder: Path, output_dir: Path) -> list[Job]:
    """All videos below a folder, under their names with the suffix `.mp4`."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder.")
    refuse_overlap(output_dir, folder)
    output_dir.mkdir(parents=True, exist_ok=True)
    index = MediaIndex(folder)
    names = sorted(name for names in index.files.values() for name in names)
    if not names:
        raise FileNotFoundError(f"No video in {folder}: looked for {', '.join(sorted(index.suffixes))}.")
    return merge_jobs((name, f"{folder}/{name}", relative_name(f"{folder}/{name}", folder, True)) for name in names)


def relative_name(target: str, root: str | Path, as_mp4: bool) -> str:
    name = os.path.relpath(target, root)
    if name.startswith(os.pardir):
        raise ValueError(f"{target} does not lie in {root}: this loader does not look for videos in `video_dir`.")
    return os.path.splitext(name)[0] + ".mp4" if as_mp4 else name


def merge_jobs(triples: Iterable[tuple[str, str, str]]) -> list[Job]:
    """One job a file, of (id, source, name); two files with one name are an error."""
    ids: dict[tuple[str, str], list[str]] = {}
    source_of: dict[str, str] = {}
    for video_id, source, name in triples:
        first = source_of.setdefault(name, source)
        if first != source:
            raise ValueError(
                f"{first} and {source} would both become {name}. Rename one, or prepare them into two folders (a split "
                "each: --split)."
            )
        ids.setdefault((source, name), []).append(video_id)
    return [Job(source, name, tuple(dict.fromkeys(own))) for (source, name), own in ids.items()]


def refuse_overlap(output_dir: Path, source_dir: Path) -> None:
    """Originals and copies under one root could not be distinguished by name."""
    inner, outer = output_dir.expanduser().resolve(), source_dir.expanduser().resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise ValueError(f"Expected --output_dir and the folder of the videos side by side, got {inner} and {outer}.")


def prepare_videos(
    jobs: Sequence[Job], output_dir: Path, settings: PrepareSettings, num_workers: int = 0, progress: bool = True
) -> tuple[int, dict[Job, str]]:
    """Prepare what is not there yet.

    Args:
        jobs (`Sequence[Job]`): The videos.
        output_dir (`Path`): The folder of the copies; one run at a time.
        settings (`PrepareSettings`): How.
        num_workers (`int`, defaults to 0): Processes; 0: this one.
        progress (`bool`, defaults to `True`): Show a progress bar.

    Returns:
        `tuple[int, dict[Job, str]]`: How many were made, and those that failed with the reason.
    """
    remove_leftovers(output_dir)
    done = read_manifest(output_dir)
    wanted, failed, num_made = [], {}, 0
    for job in jobs:
        try:
            source = file_state(job.source)
        except OSError as error:
            failed[job] = f"{error.strerror}: {job.source}"
            continue
        entry = {"name": job.name, "source": source, "settings": asdict(settings)}
        target = output_dir / job.name
        entry["size"] = target.stat().st_size if target.is_file() else None
        if done.get(job.name) != entry:
            wanted.append(job)
    function = partial(run_job, output_dir=output_dir, settings=settings)
    if wanted and num_workers:
        import clipbert.processing.decoding  # noqa: F401  once here, rather than in each process that is forked
    with (
        open(output_dir / MANIFEST, "a", encoding="utf-8") as manifest,
        tqdm(
            total=len(jobs),
            initial=len(jobs) - len(wanted),
            desc="preparing videos",
            disable=None if progress else True,
        ) as bar,
    ):
        for job, (entry, reason) in run_in_processes(function, wanted, min(num_workers, len(wanted)), CRASHED):
            if reason:
                failed[job] = reason
            else:
                num_made += 1
                manifest.write(json.dumps(entry) + "\n")
                manifest.flush()
            bar.update()
    there = [name for name in read_manifest(output_dir) if (output_dir / name).is_file()]
    keep_packet_indexes(output_dir, there, progress)
    return num_made, failed


def run_job(job: Job, output_dir: Path, settings: PrepareSettings) -> tuple[dict, str]:
    """The entry of a video in the manifest, or why there is none."""
    target = output_dir / job.name
    try:
        source = file_state(job.source)
        prepare_video(job.source, str(target), settings)
        size = target.stat().st_size
    except Exception as error:  # whatever a library raises for one video: the others are still to be prepared
        if getattr(error, "errno", None) in DISK_FULL:
            raise
        return {}, f"{plain_reason(error)} ({job.source})"
    return {"name": job.name, "source": source, "settings": asdict(settings), "size": size}, ""


def read_manifest(output_dir: Path) -> dict[str, dict]:
    """The newest entry of each file."""
    path, entries = output_dir / MANIFEST, {}
    content = path.read_text(encoding="utf-8") if path.is_file() else ""
    for line in content.splitlines():
        with suppress(ValueError, TypeError, KeyError):  # a line that was cut short
            entry = json.loads(line)
            entries[entry["name"]] = entry
    if content and not content.endswith("\n"):
        with open(path, "a", encoding="utf-8") as file:
            file.write("\n")
    return entries


# --------------------------------------------------------------------------------------------------------------------
# The command
# --------------------------------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    defaults = PrepareSettings()
    parser.add_argument("name", metavar="NAME", nargs="?", help="the benchmark whose videos are prepared")
    parser.add_argument("--videos", type=Path, metavar="FOLDER", help="instead of NAME: all videos below a folder")
    add_benchmark_arguments(parser, name=False)
    parser.add_argument("--config", nargs="+", help="tasks or split protocols (default: all that are there)")
    parser.add_argument("--split", help="the only split whose videos are prepared")
    parser.add_argument("--output_dir", type=Path, required=True, help="folder of the new videos")
    parser.add_argument("--short_side", type=int, default=defaults.short_side, help="pixels (default: %(default)s)")
    parser.add_argument(
        "--fps",
        type=lambda text: None if text == "keep" else float(text),
        default=defaults.fps,
        help="most pictures a second; keep: all of them (default: %(default)g)",
    )
    parser.add_argument(
        "--keyframe_interval", type=float, default=defaults.keyframe_interval_s, help="seconds (default: %(default)g)"
    )
    parser.add_argument("--crf", type=int, default=defaults.crf, help="quality of x264 (default: %(default)s)")
    parser.add_argument(
        "--num_workers", type=int, default=default_num_workers(), help="processes (default: one a core); 0: none"
    )


def run(options: argparse.Namespace) -> int:
    """Prepare, and list what failed; 0 if nothing did, else 1."""
    settings = PrepareSettings(options.short_side, options.fps, options.keyframe_interval, options.crf)
    if (options.name is None) == (options.videos is None):
        raise ValueError("Give either the NAME of a benchmark or --videos FOLDER.")
    if options.videos is not None:
        jobs = list_folder_jobs(options.videos, options.output_dir)
    else:
        folders = {name: getattr(options, name) for name in ("data_dir", "video_dir", "cache_dir")}
        builders = build_configs(options.name, options.config, **folders)
        jobs = list_benchmark_jobs(builders, options.output_dir, options.split)
    num_made, failed = prepare_videos(jobs, options.output_dir, settings, options.num_workers)
    print(
        f"{len(jobs):,} videos: {num_made:,} prepared, {len(jobs) - num_made - len(failed):,} there before, ", end=""
    )
    print(f"{len(failed):,} failed; now in {options.output_dir}")
    reasons = {video_id: reason for job, reason in failed.items() for video_id in job.ids}
    failed_file = options.output_dir / FAILED
    failed_file.unlink(missing_ok=True)
    if not failed:
        return 0
    write_skip_list(failed_file, reasons, "Videos that could not be prepared")
    for video_id, reason in list(reasons.items())[:SHOWN]:
        print(printable(f"  {video_id}: {reason}"))
    print(f"all that failed: {failed_file}")
    return 1
