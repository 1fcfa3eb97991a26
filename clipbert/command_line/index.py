# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The commands `index ...`: make an index over a collection of videos, keep it true to it, and ask what it loses."""

import argparse
import logging
import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipbert.command_line.arguments import Command, CommandParser, UsageError, add_json, not_negative, positive
from clipbert.command_line.opening import check_checkpoint, check_device, quietly
from clipbert.command_line.output import Output
from clipbert.support.names import did_you_mean
from clipbert.support.terminal import printable, show_bytes


if TYPE_CHECKING:  # what is heavy waits for a command to need it
    from clipbert.search import VideoIndex
    from clipbert.search.filters import Filter

COMPARISONS = {"=": "__eq__", "!=": "__ne__", "<": "__lt__", "<=": "__le__", ">": "__gt__", ">=": "__ge__"}
TEXT_TESTS = ("startswith", "endswith", "contains")
NULL = "null"
MODELS = ("encoder", "reranker", "locator")


# ---------------------------------------------------------------------------------------------------------------------
# Arguments
# ---------------------------------------------------------------------------------------------------------------------


def add_where(parser: CommandParser) -> None:
    parser.add_argument(
        "--where",
        nargs=3,
        action="append",
        default=[],
        metavar=("COLUMN", "TEST", "VALUE"),
        help=f"only what fits, such as --where duration_s '<' 600; tests: {' '.join((*COMPARISONS, *TEXT_TESTS))}; several must all fit; the value null stands for none",
    )


def add_models(parser: CommandParser, meaning: str) -> None:
    for role in MODELS:
        parser.add_argument(f"--{role}", metavar="C", help=f"checkpoint of the {role}{meaning}")


def add_device(parser: CommandParser) -> None:
    parser.add_argument("--device", help="such as cpu or cuda:1 (default: an accelerator, if there is one)")


def add_reading(parser: CommandParser) -> None:
    parser.add_argument("--metadata", type=Path, metavar="FILE", help="columns of your own: captions.jsonl, or CSV")
    parser.add_argument("--retry_failed", action="store_true", help="try again what could not be read")
    parser.add_argument("--batch_size", type=positive, default=1, metavar="N", help="segments encoded at once (1)")
    parser.add_argument("--num_workers", type=not_negative, default=0, metavar="N", help="processes that read videos")
    parser.add_argument("--ray_encoders", type=positive, metavar="N", help="read and encode on Ray, by N encoders")
    parser.add_argument(
        "--max_decode_error_rate", type=share, default=0.5, metavar="SHARE", help="stop if more cannot be read (0.5)"
    )


def share(text: str) -> float:
    """A number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {text!r}")
    return value


def seconds_or_none(text: str) -> float | None:
    """Seconds, or `none`."""
    if text.lower() == "none":
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise argparse.ArgumentTypeError(f"expected seconds above 0, or none, got {text!r}")
    return value


def sizes(text: str) -> list[int]:
    """Whole numbers with commas between them."""
    return [positive(part) for part in text.split(",")]


def read_where(given: argparse.Namespace, index: "VideoIndex") -> "Filter | None":
    """
    The filter of `--where`; values are read as the column's type.

    Raises:
        UsageError: If a column, test or value is none.
    """
    import pyarrow as pa

    from clipbert.search import field

    found, schema = None, index.store.schema
    for name, test, value in given.where:
        if name not in schema.names:
            known = [one.name for one in schema if not pa.types.is_nested(one.type)]
            raise UsageError(f"--where {name}: there is no such column. {did_you_mean(name, known)}")
        if test not in COMPARISONS and test not in TEXT_TESTS:
            raise UsageError(f"--where {name} {test}: expected one of {', '.join((*COMPARISONS, *TEXT_TESTS))}.")
        column, kind = field(name), schema.field(name).type
        if value.lower() == NULL and test in ("=", "!="):
            one = column.is_null() if test == "=" else ~column.is_null()
        else:
            typed = value if pa.types.is_string(kind) or test in TEXT_TESTS else _typed(name, value, kind)
            one = getattr(column, COMPARISONS.get(test, test))(typed)
        found = one if found is None else found & one
    return found


def _typed(name: str, value: str, kind: Any) -> Any:
    import pyarrow as pa

    try:
        if pa.types.is_boolean(kind):
            return {"true": True, "false": False}[value.lower()]
        return float(value) if pa.types.is_floating(kind) else int(value)
    except (KeyError, ValueError):
        raise UsageError(f"--where {name}: expected a value of type {kind}, got {value!r}.") from None


def read_texts(path: Path) -> list[str]:
    """Sentences of a file, one a line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: the sentences cannot be read ({error}).") from error
    if not (found := [line.strip() for line in lines if line.strip()]):
        raise UsageError(f"{path}: expected sentences, one a line, got none.")
    return found


# ---------------------------------------------------------------------------------------------------------------------
# Opening
# ---------------------------------------------------------------------------------------------------------------------


@contextmanager
def naming_index(place: str) -> Iterator[None]:
    """Turn what is wrong with an index into a [`UsageError`]."""
    from clipbert.search import SearchIndexError

    try:
        yield
    except UsageError:
        raise
    except (SearchIndexError, ImportError, OSError, TypeError, ValueError) as error:
        reason = str(error).strip() or type(error).__name__
        raise UsageError(reason if place in reason else f"{place}: {reason}") from error


def open_index(given: argparse.Namespace) -> "VideoIndex":
    """
    The index that a command line names.

    Raises:
        UsageError: If it is none.
    """
    from clipbert.search import VideoIndex

    check_device(getattr(given, "device", None))
    quietly()
    models = {role: getattr(given, role, None) for role in MODELS}
    with naming_index(given.index):
        return VideoIndex.open(given.index, root=getattr(given, "root", None), device=device_of(given), **models)


def process_of() -> tuple[int, int]:
    """The number of this process and how many there are, under `accelerate launch`."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def device_of(given: argparse.Namespace) -> str | None:
    """The device of `--device`, else, of several processes, that of this one."""
    device = getattr(given, "device", None)
    if device is None and process_of()[1] > 1:
        from accelerate import PartialState

        return str(PartialState().device)
    return device


# ---------------------------------------------------------------------------------------------------------------------
# Commands
# ---------------------------------------------------------------------------------------------------------------------


def add_create(parser: CommandParser) -> None:
    parser.add_argument("--videos", required=True, metavar="FOLDER", help="the folder of the videos, or its address")
    add_models(parser, "")
    add_device(parser)
    parser.add_argument(
        "--segment_s", type=seconds_or_none, default=60.0, metavar="S", help="longest segment, or none (default: 60)"
    )
    parser.add_argument("--float16", action="store_true", help="half the disk; scores differ in the third digit")
    parser.add_argument("--no_clips", action="store_true", help="the reranker reads files again for each search")
    parser.add_argument("--follow_links", action="store_true", help="links that leave the folder, too")
    parser.add_argument(
        "--num_clips", type=positive, metavar="N", help="clips of a segment (default: as the model has it)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an index of this name")


def run_create(given: argparse.Namespace, output: Output) -> dict[str, Any]:
    for role in MODELS:
        if (name := getattr(given, role)) is not None:
            check_checkpoint(name, f"--{role}")

    from clipbert.search import VideoIndex
    from clipbert.search.upkeep import describe_size

    check_device(given.device)
    quietly()
    has_clips = "encoder_options" if given.reranker is None else "reranker_options"
    options = {} if given.num_clips is None else {has_clips: {"num_clips": given.num_clips}}
    with naming_index(given.index):
        index = VideoIndex.create(
            given.index,
            given.videos,
            given.encoder,
            given.reranker,
            given.locator,
            segment_s=given.segment_s,
            dtype="float16" if given.float16 else "float32",
            keep_clips=not given.no_clips,
            follow_links=given.follow_links,
            overwrite=given.overwrite,
            device=given.device,
            **options,
        )
        changes, ignored = index.plan()
        count = len(changes.added)
        for video, reason in ignored.items():
            output.note(f"{video}: {reason}")
    output.note(f"to encode: {describe_size(index, count)}")
    output.note(f"the index is empty; next: clipbert index add {shlex.quote(given.index)}")
    return {"index": given.index, "videos": count, "bytes_per_segment": index.bytes_per_segment()}


def add_add(parser: CommandParser) -> None:
    parser.add_argument("places", nargs="*", metavar="PLACE", help="files and folders below the root (default: all)")
    add_models(parser, ", where it lies now")
    add_device(parser)
    add_reading(parser)


def run_add(given: argparse.Namespace, output: Output) -> dict[str, Any]:
    return report(open_index(given), given, output, "add", places=given.places or None)


def add_update(parser: CommandParser) -> None:
    parser.add_argument("--prune", action="store_true", help="delete what is no longer there from the index")
    parser.add_argument("--reencode", action="store_true", help="encode all again, also by other models")
    add_models(parser, ", where it lies now, or with --reencode another one")
    add_device(parser)
    add_reading(parser)


def run_update(given: argparse.Namespace, output: Output) -> dict[str, Any]:
    if given.reencode:
        if process_of()[1] > 1:
            raise UsageError("--reencode: expected one process; several can add to a new index.")

        from clipbert.search.reencoding import reencode

        check_device(given.device)
        quietly()
        with naming_index(given.index), telling(output):
            models = {role: getattr(given, role) for role in MODELS}
            reencode(given.index, models, device=given.device, **reading_of(given))
            given = argparse.Namespace(**{**vars(given), **dict.fromkeys(MODELS)})
    return report(open_index(given), given, output, "update", prune=given.prune)


def report(
    index: "VideoIndex", given: argparse.Namespace, output: Output, method: str, **options: Any
) -> dict[str, Any]:
    """Add or update, and tell what became of each video."""
    number, count = shard = process_of()
    with naming_index(given.index), telling(output):
        found = getattr(index, method)(
            metadata=given.metadata, retry_failed=given.retry_failed, shard=shard, **reading_of(given), **options
        )
    # of several processes one that ends with a code would have the launcher end the others
    tell = output.fail if count == 1 else output.note
    for reason in found.failed.values():
        tell(reason)
    for video, reason in found.ignored.items():
        output.note(f"{video}: {reason}")
    if found.missing:
        output.note(
            f"{len(found.missing)} no longer there, such as {found.missing[0]}: `clipbert index update "
            f"{shlex.quote(given.index)} --prune` deletes them from the index"
        )
    if found.without_video:
        output.note(
            f"metadata names {len(found.without_video)} videos that are not there, such as {found.without_video[0]}"
        )
    output.note(str(found) if count == 1 else f"process {number} of {count}: {found}")
    return {"index": given.index, **({} if count == 1 else {"process": number}), **asdict(found)}


def reading_of(given: argparse.Namespace) -> dict[str, Any]:
    """How videos are read and encoded."""
    return {
        name: getattr(given, name) for name in ("batch_size", "num_workers", "ray_encoders", "max_decode_error_rate")
    }


@contextmanager
def telling(output: Output) -> Iterator[None]:
    """What `clipbert.search` says meanwhile becomes notes."""

    class Notes(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            output.note(record.getMessage())

    logger, notes = logging.getLogger("clipbert.search"), Notes(logging.INFO)
    level, propagate = logger.level, logger.propagate
    logger.addHandler(notes)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(notes)
        logger.setLevel(level)
        logger.propagate = propagate


def add_remove(parser: CommandParser) -> None:
    parser.add_argument("videos", nargs="*", metavar="VIDEO_ID", help="as search names them")
    add_where(parser)


def run_remove(given: argparse.Namespace, output: Output) -> dict[str, Any]:
    if bool(given.videos) == bool(given.where):
        raise UsageError("expected ids of videos, or --where: one of the two.")
    index = open_index(given)
    with naming_index(given.index):
        removed = index.remove(given.videos or None, where=read_where(given, index))
    output.note(f"{len(removed)} removed from the index")
    return {"index": given.index, "removed": removed}


def add_nothing(parser: CommandParser) -> None:
    """No arguments but the index."""


def run_verify(given: argparse.Namespace, output: Output) -> dict[str, Any]:
    index = open_index(given)
    with naming_index(given.index):
        problems = index.verify()
    for problem in problems:
        output.fail(problem)
    output.note(f"{len(problems)} problems" if problems else "everything is as it was written")
    return {"index": given.index, "problems": problems}


def run_compact(given: argparse.Namespace, output: Output) -> dict[str, Any]:
    index = open_index(given)
    with naming_index(given.index):
        index.compact()
        return {"uri": given.index, **index.store.describe()}


def add_stats(parser: CommandParser) -> None:
    parser.add_argument("--failed", action="store_true", help="videos that could not be read, and why")


def run_stats(given: argparse.Namespace, output: Output) -> dict[str, Any]:
    index = open_index(given)
    with naming_index(given.index):
        found = index.stats()
        return {**found, "failures": index.failed} if given.failed else found


def add_texts(parser: CommandParser, meaning: str, is_required: bool = False) -> None:
    parser.add_argument("--texts", type=Path, metavar="FILE", required=is_required, help=f"{meaning}, one a line")
    add_models(parser, ", where it lies now")
    add_device(parser)


def add_evaluate(parser: CommandParser) -> None:
    add_texts(parser, "sentences (default: the first caption of each video)")
    parser.add_argument(
        "--shortlists", type=sizes, default=[10, 50, 100, 200], metavar="K,K,...", help="(default: 10,50,100,200)"
    )


def run_evaluate(given: argparse.Namespace, output: Output) -> dict[str, Any]:
    index = open_index(given)
    with naming_index(given.index):
        texts = None if given.texts is None else read_texts(given.texts)
        found = index.evaluate_shortlist(texts, shortlists=given.shortlists)
    if not output.is_json:
        output.write_lines(lambda columns: found.table().splitlines())
    return {"index": given.index, **found.to_dict()}


def add_distill(parser: CommandParser) -> None:
    add_texts(parser, "sentences to learn from (default: all captions of the videos)")
    parser.add_argument(
        "--min_first_kept",
        type=share,
        metavar="SHARE",
        help="of first places that it has to keep among held-out sentences and videos, or it is not used (0.9)",
    )


def run_distill(given: argparse.Namespace, output: Output) -> dict[str, Any]:
    index = open_index(given)
    with naming_index(given.index):
        texts = None if given.texts is None else read_texts(given.texts)
        found = index.distill(texts, min_first_kept=given.min_first_kept)
    output.note(
        f"learnt from {found.num_texts} texts and {found.num_videos} videos in {found.scoring_s + found.training_s:.0f} s; "
        f"among others a shortlist of {found.reference} keeps {found.first_kept:.0%} of the first places"
    )
    return {"index": given.index, **asdict(found)}


def add_calibrate(parser: CommandParser) -> None:
    add_texts(parser, "sentences that belong to nothing in the collection", is_required=True)
    parser.add_argument(
        "--quantile", type=share, default=0.95, metavar="SHARE", help="of them below the threshold (default: 0.95)"
    )


def run_calibrate(given: argparse.Namespace, output: Output) -> dict[str, Any]:
    index = open_index(given)
    with naming_index(given.index):
        threshold = index.calibrate(read_texts(given.texts), given.quantile)
    output.note(f"scores below {threshold:.2f} do not fit well")
    return {"index": given.index, "threshold": threshold}


ACTIONS: dict[str, tuple[str, Callable, Callable]] = {
    "create": ("make an empty index", add_create, run_create),
    "add": ("encode videos that are new or have changed", add_add, run_add),
    "update": ("bring it up to the state of the collection", add_update, run_update),
    "remove": ("delete videos from it", add_remove, run_remove),
    "verify": ("read all of it and name what is damaged", add_nothing, run_verify),
    "compact": ("join small files, bring the index of vectors up to date", add_nothing, run_compact),
    "stats": ("figures", add_stats, run_stats),
    "evaluate": ("what shortlists lose", add_evaluate, run_evaluate),
    "distill": ("give a ClipBERT vectors for its shortlist", add_distill, run_distill),
    "calibrate": ("learn when nothing fits", add_calibrate, run_calibrate),
}
SHOWN = ("compact", "stats")  # on a terminal with all that JSON has; of the others notes say it


def add_index(parser: CommandParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    for name, (summary, add_arguments, run) in ACTIONS.items():
        own = actions.add_parser(name, help=summary, description=f"{summary.capitalize()}.")
        own.add_argument("index", metavar="INDEX", help="a folder, s3://..., gs://..., az://..., or qdrant:FOLDER")
        add_arguments(own)
        add_json(own)
        own.set_defaults(action=run, shows=name in SHOWN, parser=own)


def run_index(given: argparse.Namespace) -> int:
    """Carry out an action, and write what it found: a line of JSON, or names and values."""
    with Output(given.json, unit=None) as output:  # who encodes has a bar of its own
        found = given.action(given, output)
        if output.is_json:
            output.write_json(found)
        elif given.shows:
            output.write_lines(lambda columns: describe(found))
        return output.exit_code


def describe(found: Mapping[str, Any]) -> Iterator[str]:
    """Names and values, one a line."""
    for name, value in found.items():
        name = name.replace("_", " ")
        if isinstance(value, Mapping):
            yield f"{name}:" if value else f"{name}: none"
            yield from (f"  {printable(str(one))}: {printable(str(about))}" for one, about in value.items())
        elif isinstance(value, bool) or value is None:
            yield f"{name}: {'yes' if value else 'no' if value is False else 'none'}"
        elif isinstance(value, int) and name.startswith("bytes"):
            yield f"{name}: {show_bytes(value)}"
        elif not isinstance(value, Sequence) or isinstance(value, str):
            yield f"{name}: {printable(str(value))}"


INDEX = Command(
    "a search index over a collection of videos",
    """  clipbert index create my_index --videos my_videos --encoder outputs/mug_stan --reranker outputs/quickstart
  clipbert index add my_index --metadata my_videos/captions.jsonl
  clipbert search my_index "a dog runs along the beach" --where duration_s '<' 600""",
    add_index,
    run_index,
)

__all__ = ["INDEX", "add_models", "add_where", "naming_index", "open_index", "read_where"]
