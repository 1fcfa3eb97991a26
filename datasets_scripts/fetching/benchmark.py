# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The public files of a benchmark in one folder, fetched once; for what is not public, where to place it."""

from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path

from clipbert.datasets_scripts.fetching.downloading import FetchError, download_file, host_of, open_client
from clipbert.datasets_scripts.fetching.sources import Source
from clipbert.datasets_scripts.fetching.unpacking import ArchiveError, is_unpacked, unpack_archive
from clipbert.datasets_scripts.loaders import find_loader, list_benchmarks
from clipbert.support.names import unknown_name


def default_folder(name: str, cache_dir=None) -> Path:
    """Where a benchmark is fetched to when no folder is named: `clipbert/<name>` in the cache of `datasets`."""
    import datasets  # slow to import; only needed for the place of its cache

    return Path(cache_dir or datasets.config.HF_DATASETS_CACHE).expanduser() / "clipbert" / name


def fetch_benchmark(
    name: str,
    data_dir=None,
    cache_dir=None,
    kinds: Iterable[str] = ("annotations",),
    files: Iterable[str] | None = None,
    sources: Iterable[Source] | None = None,
    progress: bool = True,
    **download_options,
) -> Path:
    """Fetch what is public of a benchmark, and unpack its archives.

    Files that are there already are verified and kept, so that a second call costs nothing and an interrupted one goes
    on where it stopped. A file that cannot be had does not keep the others from coming.

    Args:
        name (`str`): A benchmark whose loader has `SOURCES`.
        data_dir (`str` or `Path`, *optional*): The folder; default: one in the cache.
        cache_dir (`str`, *optional*): Cache to use in place of that of `datasets`.
        kinds (iterable of `str`, defaults to `("annotations",)`): `"annotations"`, `"videos"` or both.
        files (iterable of `str`, *optional*): Names or patterns of files; only these, of any kind.
        sources (iterable of `Source`, *optional*): Files to fetch in place of the registered ones, such as mirrors of
            your own.
        progress (`bool`, defaults to `True`): Show a progress bar for each file.
        download_options: Passed on to `download_file`: `attempts`, `backoff_s`, `timeout_s`, `client`.

    Returns:
        `Path`: The folder; it can be given to `load_benchmark` as `data_dir`.

    Raises:
        ValueError: If the benchmark, a kind or a file is unknown.
        FetchError: If a public file could not be fetched or unpacked, or nothing of it is public. The message names
            each address and what came, or what to place by hand.
    """
    kinds = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    if not kinds or set(kinds) - {"annotations", "videos"}:
        raise ValueError(f'Expected `kinds` to be of "annotations" and "videos", got {kinds!r}')
    sources = tuple(sources if sources is not None else find_sources(name))
    folder = Path(data_dir).expanduser() if data_dir else default_folder(name, cache_dir)
    wanted = choose(sources, kinds, files)
    if not wanted:
        if folder.is_dir() and any(folder.iterdir()):
            return folder  # with what was placed by hand
        to_do = by_hand(sources, folder, kinds)
        raise FetchError(
            f"Nothing of {name} ({', '.join(kinds)}) can be fetched. Place it in a folder yourself:\n{to_do}"
        )
    failures, untried, unreachable = [], [], set()
    with open_client(download_options.pop("client", None), download_options.get("timeout_s", 30.0)) as client:
        for source in wanted:
            if unreachable.issuperset(map(host_of, source.urls)) and not is_complete(source, folder):
                untried.append(source.file)
                continue
            try:
                fetch_source(source, folder, client=client, progress=progress, **download_options)
            except (OSError, ArchiveError) as error:  # the other files may come
                failures.append(str(error))
                unreachable |= getattr(error, "unreachable", set())
    if untried:
        others = f" and {len(untried) - 3} more" if len(untried) > 3 else ""
        failures.append(f"Not tried, as the same hosts are out of reach: {', '.join(untried[:3])}{others}")
    if failures:
        listed, num_failures = "\n".join(failures), len(failures) - bool(untried) + len(untried)
        raise FetchError(
            f"{num_failures} of {len(wanted)} files of {name} could not be fetched into {folder}:\n{listed}\n"
            "Where you have the files already, name their folder with data_dir: then nothing is fetched.",
            unreachable,
        )
    return folder


def choose(sources: Iterable[Source], kinds: Iterable[str], files: Iterable[str] | None = None) -> list[Source]:
    """Those of the sources that can be fetched, of the given kinds or names."""
    fetched = [source for source in sources if source.urls]
    if files is None:
        return [source for source in fetched if source.kind in kinds]
    files = (files,) if isinstance(files, str) else tuple(files)
    chosen = [source for source in fetched if any(fnmatch(source.file, pattern) for pattern in files)]
    for pattern in files:
        if not any(fnmatch(source.file, pattern) for source in chosen):
            known = ", ".join(source.file for source in fetched) or "none"
            raise ValueError(f"Expected names of files that can be fetched, got {pattern!r}. Known: {known}")
    return chosen


def is_complete(source: Source, folder: Path) -> bool:
    path = folder / source.file
    return path.exists() or bool(source.unpack and is_unpacked(path, folder / source.unpack))


def fetch_source(source: Source, folder: Path, **download_options) -> None:
    """Fetch and unpack one file; an archive that was deleted after unpacking, to save space, is not fetched again."""
    path = folder / source.file
    if path.exists() or not is_complete(source, folder):
        download_file(source.urls, path, source.sha256, source.size, **download_options)
        if source.unpack:
            unpack_archive(path, folder / source.unpack)


def find_sources(name: str) -> tuple[Source, ...]:
    """The sources of a benchmark, from its loader."""
    if sources := find_loader(name).SOURCES:
        return sources
    known = [each for each in list_benchmarks() if find_loader(each).SOURCES]
    raise ValueError(unknown_name("benchmark with sources", name, known))


def by_hand(sources: Iterable[Source], folder: Path, kinds: Iterable[str] = ("annotations", "videos")) -> str:
    """What the user has to place or to do, one paragraph for each thing; empty if nothing is left."""
    reasons = {"public": "", "gated": " (access is restricted)", "dead": " (no longer at its official address)"}
    return "\n".join(
        f"By hand{reasons[source.status]}: {folder}/{source.file}\n  {source.instructions}"
        for source in sources
        if source.instructions and source.kind in kinds
    )


__all__ = ["FetchError", "default_folder", "download_file", "fetch_benchmark"]
