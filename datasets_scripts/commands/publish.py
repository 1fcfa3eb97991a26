# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""`python -m datasets_scripts publish NAME --data_dir DIR --output_dir OUT`: a benchmark as Parquet with a dataset card.

OUT holds `<config>/<split>-00000-of-0000N.parquet` and `README.md`, which `load_dataset("OUT", "<config>")` reads, from
the Hub as from disk. The rows are those of `load_benchmark`, but that `video` (or `image`) is the name of the file
alone: nothing in OUT says where it lay. `--push_to_hub USER/NAME` uploads the folder.

The videos themselves are left out, because the licences of most benchmarks forbid to pass them on. With
`--include_videos` they come along, each once, in a config `videos` of its own: `video_id` and the bytes of the file.
"""

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets import Dataset, Features, Image, Value, Video
from huggingface_hub import DatasetCard, DatasetCardData
from tqdm import tqdm

from clipbert.datasets_scripts.building.base import VideoTextBuilder
from clipbert.datasets_scripts.building.coverage import compute_coverage
from clipbert.datasets_scripts.building.docstrings import read_docstring
from clipbert.datasets_scripts.building.skip_lists import read_skip_list
from clipbert.datasets_scripts.building.usable_videos import (
    UnusableVideosError,
    VideoReport,
    drop_skipped,
    find_missing,
    media_column,
)
from clipbert.datasets_scripts.commands.benchmark_arguments import (
    add_benchmark_arguments,
    build_benchmark,
    load_splits,
)
from clipbert.support.hub import push_folder


SHARD_BYTES = 500 << 20
ROW_GROUP_BYTES = 64 << 20
VIDEOS_CONFIG = "videos"  # also the name of its one split
TASK_CATEGORIES = {  # as the Hub calls them
    "retrieval": ["text-retrieval", "video-text-to-text"],
    "video_text": ["text-retrieval", "video-text-to-text"],
    "qa": ["visual-question-answering", "video-text-to-text"],
    "moments": ["video-text-to-text"],
    "alignment": ["video-text-to-text"],
    "classification": ["video-classification"],
    "detection": ["object-detection"],
    "image_text": ["image-to-text"],
    "image_qa": ["visual-question-answering"],
}
SIZES = ("1K", "10K", "100K", "1M", "10M", "100M")
PROTOCOL_PARTS = ("Splits", "Odd cases", "Leaks")  # of a loader's docstring, in the card's words


@dataclass
class Publication:
    """What was written: for each config its description and, by split, the counts of rows and videos; what is missing."""

    name: str
    counts: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict)
    incomplete: list[str] = field(default_factory=list)
    descriptions: dict[str, str] = field(default_factory=dict)
    tasks: list[str] = field(default_factory=list)
    media: str = "video"
    languages: list[str] = field(default_factory=list)


def publish_benchmark(
    builders: Sequence[VideoTextBuilder],
    output_dir: str | Path,
    include_videos: bool = False,
    skip_list=None,
    license_id: str | None = None,
    repo_id: str | None = None,
    languages: Sequence[str] | None = None,
) -> Path:
    """Write a benchmark as Parquet with a dataset card.

    Args:
        builders (`Sequence[VideoTextBuilder]`): The prepared builders of its configs, see `build_benchmark`.
        output_dir (`str` or `Path`): A new folder.
        include_videos (`bool`, defaults to `False`): Write the files, too, in a config `videos`.
        skip_list (`str`, `Path` or iterable of `str`, *optional*): Ids of videos to leave out.
        license_id (`str`, *optional*): Identifier on the Hub; by default "other" with the terms in the card.
        repo_id (`str`, *optional*): Name on the Hub, for the example of the card.
        languages (`Sequence[str]`, *optional*): Of the texts, as codes; by default what the loader says (`language` of
            its config), else English, as benchmarks are.

    Returns:
        `Path`: The folder.

    Raises:
        FileExistsError: If the folder is not empty.
        UnusableVideosError: If videos are to be included and are missing.
        ValueError: If a video to be included lies elsewhere than in the folders of the benchmark, by a link.
        ValueError: If the benchmark streams archives, which hold the bytes of the videos already.
    """
    output_dir, skipped = Path(output_dir), read_skip_list(skip_list)
    if output_dir.exists() and any(output_dir.iterdir()):
        raise FileExistsError(f"{output_dir} is not empty, and all of it would be published. Name a new folder.")
    tables: dict[str, dict[str, Dataset]] = {}
    for builder in builders:
        config = builder.config.name
        tables[config] = load_splits(builder)
        if skipped:
            where = f"{builder.name}/{config}"
            tables[config] = {
                split: drop_skipped(table, skipped, f"{where} {split}") for split, table in tables[config].items()
            }
    media = media_column(next(iter(tables[builders[0].config.name].values())))
    files = collect_files(tables, media)  # before anything is written: it may be that some are missing
    if include_videos:
        refuse_outside(files.values(), {root for each in builders for root in (each.media_root, each.config.data_dir)})
    if include_videos and (missing := find_missing(files.values())):
        report = VideoReport(total=len(files), missing=missing)
        raise UnusableVideosError(
            f"Videos that were to be included are not there. {report}\nBring them back, or leave them out with "
            "--skip_list, as `python -m datasets_scripts check` writes it.",
            report,
        )
    publication = Publication(builders[0].name, media=media)
    for builder in builders:
        config = builder.config.name
        publication.descriptions[config] = builder.config.description
        publication.tasks.append(builder.config.task)
        publication.counts[config] = {}
        for split, table in tables[config].items():
            write_rows(table, output_dir / config, split)
            num_media = len(pc.unique(table.with_format("arrow")[:][f"{media}_id"]))
            publication.counts[config][split] = (len(table), num_media)
            if not (coverage := compute_coverage(table)).is_complete:
                publication.incomplete.append(f"{config}/{split} has {coverage}")
    if include_videos:
        write_files(files, output_dir / VIDEOS_CONFIG, media)
        publication.counts[VIDEOS_CONFIG] = {VIDEOS_CONFIG: (len(files), len(files))}
        publication.descriptions[VIDEOS_CONFIG] = f"the {media} files, each once; join by `{media}_id`"
    publication.languages = list(languages or languages_of(builders))
    build_card(publication, type(builders[0]), license_id, repo_id).save(output_dir / "README.md")
    return output_dir


# --------------------------------------------------------------------------------------------------------------------
# Parquet
# --------------------------------------------------------------------------------------------------------------------


def collect_files(tables: dict[str, dict[str, Dataset]], media: str) -> dict[str, str]:
    """The file of each id in all configs."""
    files: dict[str, str] = {}
    for splits in tables.values():
        for table in splits.values():
            if table.features[media].dtype != "string":
                raise ValueError(
                    f"The {media}s of {table.info.builder_name} are bytes inside of archives. Publish these archives, or a "
                    "config with files."
                )
            columns = table.with_format("arrow")[:]
            for video_id, path in zip(columns[f"{media}_id"].to_pylist(), columns[media].to_pylist(), strict=True):
                files.setdefault(video_id, path)
    return files


def refuse_outside(paths: Iterable[str], folders: Iterable[str]) -> None:
    """Links lead anywhere: what is passed on has to lie, after all of them, in a folder that the user named."""
    roots = [Path(folder).resolve() for folder in folders]
    for path in paths:
        if not any(Path(path).resolve().is_relative_to(root) for root in roots):
            raise ValueError(
                f"{path} is a link to {Path(path).resolve()}, outside of {', '.join(map(str, roots))}: it is not published. "
                "Name the folder where the files lie with --video_dir, or leave it out with --skip_list."
            )


def write_rows(table: Dataset, folder: Path, split: str) -> None:
    """The rows of a split, with names of files in place of paths."""
    media = media_column(table)
    columns = table.with_format("arrow")[:]
    place = columns.column_names.index(media)
    names = pc.replace_substring_regex(columns[media], r"(?s)^.*[/\\]", "")
    # the schema of `features` alone: what `datasets` knows apart from it includes paths of this machine
    columns = columns.set_column(place, media, names).cast(table.features.arrow_schema)
    num_shards = max(1, -(-columns.nbytes // SHARD_BYTES))
    size = -(-len(columns) // num_shards)
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(num_shards):
        pq.write_table(columns.slice(shard * size, size), folder / shard_name(split, shard, num_shards))


def write_files(files: dict[str, str], folder: Path, media: str) -> None:
    """`video_id` and the bytes of each file."""
    kind = Video(decode=False) if media == "video" else Image(decode=False)
    schema = Features({f"{media}_id": Value("string"), media: kind}).arrow_schema
    shards = list(batches_by_size(files, SHARD_BYTES))
    folder.mkdir(parents=True, exist_ok=True)
    with tqdm(total=len(files), desc=f"writing {media}s", disable=None) as bar:
        for number, shard in enumerate(shards):
            path = folder / shard_name(VIDEOS_CONFIG, number, len(shards))
            with pq.ParquetWriter(path, schema, compression="none") as writer:  # videos are compressed
                for group in batches_by_size(shard, ROW_GROUP_BYTES):
                    contents = [
                        {"bytes": Path(file).read_bytes(), "path": os.path.basename(file)} for file in group.values()
                    ]
                    writer.write_table(pa.table({f"{media}_id": list(group), media: contents}, schema=schema))
                    bar.update(len(group))


def batches_by_size(files: dict[str, str], limit: int) -> Iterator[dict[str, str]]:
    """Parts of `files`, each up to `limit` bytes, or a single larger file."""
    part, size = {}, 0
    for video_id, path in files.items():
        num_bytes = os.path.getsize(path)
        if part and size + num_bytes > limit:
            yield part
            part, size = {}, 0
        part[video_id] = path
        size += num_bytes
    yield part


def shard_name(split: str, number: int, total: int) -> str:
    return f"{split}-{number:05d}-of-{total:05d}.parquet"


# --------------------------------------------------------------------------------------------------------------------
# The card
# --------------------------------------------------------------------------------------------------------------------


def build_card(
    publication: Publication, loader: type[VideoTextBuilder], license_id: str | None, repo_id: str | None
) -> DatasetCard:
    """What the dataset is, in the words of its loader."""
    parts, counts = read_docstring(loader), publication.counts
    num_rows = sum(rows for config in publication.descriptions for rows, _ in counts[config].values())
    configs = [
        {
            "config_name": config,
            "data_files": [{"split": split, "path": f"{config}/{split}-*.parquet"} for split in counts[config]],
            **({"default": True} if number == 0 else {}),
        }
        for number, config in enumerate(counts)
    ]
    terms = (
        {"license": license_id} if license_id else {"license": "other", "license_name": f"terms-of-{publication.name}"}
    )
    data = DatasetCardData(
        **terms,
        language=publication.languages or None,
        pretty_name=parts["title"].split(":")[0],
        task_categories=list(dict.fromkeys(name for task in publication.tasks for name in TASK_CATEGORIES[task])),
        size_categories=size_category(num_rows),
        configs=configs,
    )
    return DatasetCard(f"---\n{data.to_yaml()}\n---\n\n{card_text(publication, parts, repo_id)}")


def languages_of(builders: Iterable[VideoTextBuilder]) -> list[str]:
    """Languages of the texts: what a config says of itself, and nothing where it does not know, as of own videos."""
    found = (getattr(builder.config, "language", "en") for builder in builders)
    return list(dict.fromkeys(filter(None, found)))


def card_text(publication: Publication, parts: dict[str, str], repo_id: str | None) -> str:
    media, counts = publication.media, publication.counts
    config, split = next((config, split) for config, splits in counts.items() for split in splits)
    lines = [f"# {parts['title']}", "", parts["summary"], ""] if parts["summary"] else [f"# {parts['title']}", ""]
    lines += ["```python", "from datasets import load_dataset", ""]
    lines += [f'rows = load_dataset("{repo_id or "."}", "{config}", split="{split}")', "```", ""]
    if VIDEOS_CONFIG in counts:
        lines += [
            f"The {media}s are in the config `{VIDEOS_CONFIG}`, each once; `{media}_id` joins them with the rows."
        ]
    else:
        lines += [f"The {media}s are not included; `{media}` is the name of the file in the original collection."]
    lines += ["", "## Configs", "", f"| config | split | rows | {media}s | what it is |", "|---|---|---|---|---|"]
    for config, splits in counts.items():
        for split, (rows, num_media) in splits.items():
            lines += [f"| `{config}` | {split} | {rows:,} | {num_media:,} | {publication.descriptions[config]} |"]
    if publication.incomplete:
        lines += ["", f"Incomplete, because {media}s were left out: {'; '.join(publication.incomplete)}."]
    for title in PROTOCOL_PARTS:
        if title in parts:
            lines += ["", f"## {title}", "", "```text", parts[title], "```"]
    source = parts.get("Source", "stated nowhere")
    licence = parts.get("Licence", "Not stated.")
    lines += ["", "## Source and licence", "", f"Source: {source}", "", f"Licence: {licence}", ""]
    lines += [
        "## How it was made",
        "",
        f"From the original annotation files by `python -m datasets_scripts publish {publication.name}` of the package "
        f"clipbert, with datasets {datasets.__version__}. Every row passed its checks: nothing was decoded, re-worded or "
        "left out unless it is said above.",
        "",
    ]
    return "\n".join(lines)


def size_category(num_rows: int) -> str:
    """`10K<n<100K`, as the Hub writes it."""
    below = None
    for power, name in enumerate(SIZES, start=3):
        if num_rows < 10**power:
            return f"{below}<n<{name}" if below else f"n<{name}"
        below = name
    return f"n>{below}"


# --------------------------------------------------------------------------------------------------------------------
# The command
# --------------------------------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_benchmark_arguments(parser)
    parser.add_argument("--config", nargs="+", default=[None], help="one or more, where the benchmark has several")
    parser.add_argument("--output_dir", type=Path, required=True, help="new folder of the published form")
    parser.add_argument("--push_to_hub", metavar="USER/NAME", help="upload the folder to this repository")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument(
        "--include_videos", action="store_true", help="publish the files, too: most licences forbid it"
    )
    parser.add_argument("--skip_list", type=Path, metavar="FILE", help="ids to leave out, as `check` writes them")
    parser.add_argument("--license", metavar="ID", help="licence by its identifier on the Hub (default: other)")
    parser.add_argument(
        "--language", nargs="+", metavar="CODE", help="of the texts, such as vi (default: what the loader knows)"
    )


def run(options: argparse.Namespace) -> int:
    """Publish; 0 when all is written."""
    builders = [
        build_benchmark(options.name, config, options.data_dir, options.video_dir, options.cache_dir)
        for config in options.config
    ]
    if options.include_videos:
        terms = read_docstring(type(builders[0])).get("Licence", "Not stated.")
        print(
            f"WARNING: you are about to publish the videos of {options.name}. Its terms, as far as they are known here: "
            f"{terms} Whoever publishes them answers for having the right to.",
            file=sys.stderr,
        )
    folder = publish_benchmark(
        builders,
        options.output_dir,
        include_videos=options.include_videos,
        skip_list=options.skip_list,
        license_id=options.license,
        repo_id=options.push_to_hub,
        languages=options.language,
    )
    print(f"{options.name} as Parquet with its card: {folder}")
    if options.push_to_hub:
        address = push_folder(folder, options.push_to_hub, private=options.private, repo_type="dataset")
        print(f"Uploaded: {address}")
    return 0
