# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What commands share: a benchmark named on the command line, and its rows."""

import argparse
import os

from datasets import Dataset

from clipbert.datasets_scripts import build_loader, list_benchmarks, prepare
from clipbert.datasets_scripts.building.base import VideoTextBuilder
from clipbert.support.names import unknown_name


def add_benchmark_arguments(parser: argparse.ArgumentParser, name: bool = True) -> None:
    if name:
        parser.add_argument("name", metavar="NAME", help=f"one of {', '.join(list_benchmarks())}")
    parser.add_argument("--data_dir", help="folder with the original annotation files (default: fetch what is public)")
    parser.add_argument("--video_dir", help="folder of the videos or images, if they do not lie in data_dir")
    parser.add_argument("--cache_dir", help="where tables are kept (default: the cache of datasets)")


def build_benchmark(
    name: str, config: str | None = None, data_dir=None, video_dir=None, cache_dir=None
) -> VideoTextBuilder:
    """The prepared builder of a benchmark, with the rows of all videos, there or not."""
    fields = {} if video_dir is None else {"video_dir": video_dir}
    builder = build_loader(name, config, data_dir, cache_dir, **fields)
    prepare(builder)
    return builder


def load_splits(builder: VideoTextBuilder, split: str | None = None) -> dict[str, Dataset]:
    """The table of each split, or of the one that is named."""
    if split is None:
        return dict(builder.as_dataset())
    if split not in builder.annotations:
        raise ValueError(unknown_name(f"split of {builder.config.name}", split, builder.annotations))
    return {split: builder.as_dataset(split=split)}


def default_num_workers() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
