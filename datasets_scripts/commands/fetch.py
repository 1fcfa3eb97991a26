# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""`python -m datasets_scripts fetch NAME`: the public files of a benchmark, and what is to be done by hand."""

import argparse
from pathlib import Path

from clipbert.datasets_scripts.building.docstrings import read_docstring
from clipbert.datasets_scripts.fetching.benchmark import by_hand, choose, default_folder, fetch_benchmark, find_sources
from clipbert.datasets_scripts.fetching.downloading import FetchError
from clipbert.datasets_scripts.loaders import find_loader


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="a benchmark, as `list` shows them")
    parser.add_argument("--data_dir", help="folder for the files (default: one in the cache of `datasets`)")
    parser.add_argument("--cache_dir", help="cache to use in place of that of `datasets`")
    parser.add_argument(
        "--videos", action="store_true", help="fetch the videos (or images) too, where they are public"
    )
    parser.add_argument("--files", nargs="+", metavar="FILE", help="fetch only these; patterns such as 'val*' will do")


def run(options: argparse.Namespace) -> int:
    sources = find_sources(options.name)
    kinds = ("annotations", "videos") if options.videos else ("annotations",)
    folder = (
        Path(options.data_dir).expanduser() if options.data_dir else default_folder(options.name, options.cache_dir)
    )
    print(f"Licence of {options.name}: {read_docstring(find_loader(options.name)).get('Licence', 'not stated.')}")
    wanted, failure = choose(sources, kinds, options.files), None
    if wanted:
        print(f"Fetching {len(wanted)} {'file' if len(wanted) == 1 else 'files'} into {folder}", flush=True)
        try:
            fetch_benchmark(options.name, folder, kinds=kinds, files=options.files)
        except FetchError as error:  # what is left to be done by hand is printed all the same
            failure = error
    if not failure and wanted:
        print(f"All of them are there and verified: load_benchmark({options.name!r}, data_dir={str(folder)!r})")
    if left := [source.file for source in sources if source.urls and source.kind not in kinds]:
        print(f"Public too, with --videos or --files: {', '.join(left)}")
    if remaining := by_hand(sources, folder):
        print(remaining)
    if failure:
        raise failure
    return 0 if wanted else 1
