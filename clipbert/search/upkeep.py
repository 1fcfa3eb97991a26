# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Keeping an index true to its collection: what is new is encoded, what moved keeps its rows, what is damaged is named.

Every step leaves an index that answers, and can be done again: whoever is killed loses what was not committed, and no more. `index` is a
[`VideoIndex`] everywhere.
"""

import hashlib
import json
import logging
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from clipbert.processing import VideoDecodeError
from clipbert.search.files import FileState
from clipbert.search.filters import field
from clipbert.search.metadata import Metadata, read_metadata
from clipbert.search.protocols import IndexDamagedError, SearchIndexError
from clipbert.search.reports import IndexReport
from clipbert.search.rows import (
    CLIP,
    CLIP_MASK,
    VECTOR,
    array_of,
    compute_checksums,
    metadata_field,
    metadata_names,
    segment_id,
    with_checksums,
)
from clipbert.support.terminal import show_bytes


logger = logging.getLogger(__name__)

FAILED = "failed/"  # settings about videos that cannot be read
VIDEOS_PER_REWRITE = 64
VIDEOS_PER_FILTER = 10_000
SHARE_OF_DISK = 0.5  # of what is free, that rows may fill


# ---------------------------------------------------------------------------------------------------------------------
# Videos that come, change, move and go
# ---------------------------------------------------------------------------------------------------------------------


def bring_up_to_date(
    index: Any,
    places: Iterable[Any] | None,
    *,
    metadata: Any,
    on_error: str,
    retry_failed: bool,
    prune: bool,
    shard: tuple[int, int],
    ray_encoders: int | None,
    **encoding: Any,
) -> IndexReport:
    """See [`VideoIndex.add`] and [`VideoIndex.update`]."""
    if on_error not in ("skip", "raise"):
        raise SearchIndexError(f"on_error: expected 'skip' or 'raise', got {on_error!r}.")
    started = time.monotonic()
    changes, ignored = index.plan(places)
    given = Metadata({}, {}) if metadata is None else read_metadata(metadata, index.settings.root)
    _add_columns(index, given.types)
    is_own = _own_share(shard)
    report = IndexReport(
        unchanged=[one.video_id for one in changes.unchanged if is_own(one.video_id)],
        missing=[video for video in changes.missing if is_own(video)],
        ignored=ignored if shard[0] == 0 else {},
    )
    moved = {old: new for old, new in changes.moved.items() if is_own(new.video_id)}
    report.moved = [new.video_id for new in moved.values()]
    move(index, moved)
    touched = [one for one in changes.touched if is_own(one.video_id)]
    report.unchanged += [one.video_id for one in touched]
    touch(index, touched)
    changed = [one for one in changes.changed if is_own(one.video_id)]
    new = [one for one in changes.added if is_own(one.video_id)]
    failed_before = read_failures(index)
    if not retry_failed:
        new = [one for one in new if not _is_known_failure(one, failed_before, report)]
    _check_disk(index, len(new) + len(changed))
    _encode(index, new, changed, given, failed_before, on_error, report, encoding, ray_encoders)
    write_metadata(index, report.unchanged + report.moved, given)
    found = (*changes.added, *changes.unchanged, *changes.touched, *changes.changed, *changes.moved.values())
    there = {one.video_id for one in found}
    if prune:
        index.store.delete(report.missing)
        index.store.delete_settings(
            [FAILED + video for video in failed_before if is_own(video) and video not in there]
        )
        report.removed, report.missing = report.missing, []
    if shard[0] == 0:
        report.without_video = sorted(set(given.rows) - there - set(changes.missing))
        index.store.ensure_index()
    report.seconds = time.monotonic() - started
    return report


def _own_share(shard: tuple[int, int]) -> Callable[[str], bool]:
    """Which videos a process takes, of several: by a hash of their ids."""
    number, count = shard
    if not 0 <= number < count:
        raise SearchIndexError(f"shard: expected the number of a process and how many there are, got {shard}.")
    return lambda video: int.from_bytes(hashlib.sha256(video.encode()).digest()[:8], "big") % count == number


def _encode(
    index: Any,
    new: Sequence[FileState],
    changed: Sequence[FileState],
    given: Metadata,
    failed_before: Mapping[str, dict[str, Any]],
    on_error: str,
    report: IndexReport,
    encoding: Mapping[str, Any],
    ray_encoders: int | None,
) -> None:
    """Encode and commit videos; those that cannot be read are noted, and what the index had of them goes."""
    files = [*new, *changed]
    if not files:
        return
    from clipbert.search.adding import SegmentStream, encode_files, encode_segments  # with torch

    by_id = {one.video_id: one for one in files}
    old = read_metadata_of(index, [one.video_id for one in changed])
    store, schema = index.store, index.store.schema
    is_changed = {one.video_id for one in changed}

    def values_of(file: FileState) -> dict[str, Any]:
        own = {**old.get(file.video_id, {}), **given.rows.get(file.video_id, {})}
        return {**own, **facts_of(file)}

    def commit(table: pa.Table, videos: list[str]) -> None:
        store.replace(table, videos)
        store.delete_settings([FAILED + video for video in videos if video in failed_before])
        report.added += [video for video in videos if video not in is_changed]
        report.changed += [video for video in videos if video in is_changed]

    def fail(video: str, cause: str, reason: str) -> bool:
        if on_error == "raise":
            raise VideoDecodeError(str(by_id[video].path), reason)
        file, count = by_id[video], failed_before.get(video, {}).get("count", 0) + 1
        about = {"cause": cause, "count": count, "size": file.size, "mtime_ns": file.mtime_ns}
        store.write_setting(FAILED + video, json.dumps(about).encode())
        if video in is_changed:  # its rows are those of another content
            store.delete([video])
        report.failed[video] = cause
        return video not in failed_before

    readers = [index.encoder, index.reranker if index.settings.keep_clips else None]
    fingerprints = [None if one is None else one.fingerprint for one in (index.encoder, index.reranker)]
    heads = index.heads if readers[0] is None else None
    items = None
    if ray_encoders is not None:
        from clipbert.search.ray_encoding import encode_with_ray

        models = {
            role: None if reader is None else replace(getattr(index.settings, role), name=str(reader.name))
            for role, reader in zip(("encoder", "reranker"), readers, strict=True)
        }
        stream = SegmentStream(files, readers, index.settings.segment_s)
        left = None if heads is None else heads.to_bytes()
        items = encode_with_ray(stream, models, left, ray_encoders, encoding["batch_size"])
    report.num_segments = encode_files(
        files,
        readers,
        lambda inputs: encode_segments(readers, heads, inputs),
        schema,
        commit,
        fail,
        values_of=values_of,
        common=dict(zip(("encoder", "reranker"), fingerprints, strict=True)),
        segment_s=index.settings.segment_s,
        items=items,
        **encoding,
    )


def facts_of(file: FileState) -> dict[str, Any]:
    """Columns that tell of a file."""
    return {
        "video_id": file.video_id,
        "folder": file.video_id.rpartition("/")[0],
        "size": file.size,
        "mtime_ns": file.mtime_ns,
    }


def describe_size(index: Any, num_videos: int) -> str:
    """What so many videos need, at least: long ones have several segments."""
    size, plural = index.bytes_per_segment(), "" if num_videos == 1 else "s"
    return (
        f"{num_videos:,} video{plural}, at least {num_videos:,} segment{plural} of {show_bytes(size)}: "
        f"{show_bytes(num_videos * size)}"
    )


def _check_disk(index: Any, num_videos: int) -> None:
    """Tell what is to be encoded, and refuse what would fill the disk."""
    if num_videos:
        logger.info("to encode: %s", describe_size(index, num_videos))
    folder = Path(index.store.uri)
    if not folder.is_dir():  # object storage
        return
    needed, free = num_videos * index.bytes_per_segment(), shutil.disk_usage(folder).free
    if needed > SHARE_OF_DISK * free:
        raise SearchIndexError(
            f"{num_videos} videos would need at least {show_bytes(needed)} in {folder}, which has {show_bytes(free)} free, of which "
            "half may be filled. Make the index with dtype='float16', or with keep_clips=False, on another disk, or of fewer videos."
        )


# Failures --------------------------------------------------------------------------------------------------------------


def read_failures(index: Any) -> dict[str, dict[str, Any]]:
    """Videos that could not be read: `cause`, `count` of tries, `size` and `mtime_ns` of the file then."""
    names = index.store.setting_names(FAILED)
    found = ((name, index.store.read_setting(name)) for name in names)
    return {name.removeprefix(FAILED): json.loads(value) for name, value in found if value is not None}


def _is_known_failure(file: FileState, failures: Mapping[str, dict[str, Any]], report: IndexReport) -> bool:
    """Whether the same file could not be read before; then that is reported again."""
    before = failures.get(file.video_id)
    if before is None or (before["size"], before["mtime_ns"]) != (file.size, file.mtime_ns):
        return False
    report.failed[file.video_id] = before["cause"]
    return True


# Rows that are written again -------------------------------------------------------------------------------------------


def rewrite(index: Any, videos: Sequence[str], change: Callable[[pa.Table], pa.Table]) -> None:
    """Change rows of videos, some videos at a time, each with all its rows."""
    store = index.store
    for first in range(0, len(videos), VIDEOS_PER_REWRITE):
        some = list(videos[first : first + VIDEOS_PER_REWRITE])
        batches = list(store.scan(store.schema.names, field("video_id").is_in(some)))
        if not batches:
            continue
        table = with_checksums(change(pa.Table.from_batches(batches).select(store.schema.names)))
        store.replace(table, sorted({*some, *table["video_id"].to_pylist()}))


def _set(table: pa.Table, name: str, values: Sequence[Any]) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.set_column(place, table.schema.field(name), pa.array(values, table.schema.field(name).type))


def _with_files(files: Mapping[str, FileState]) -> Callable[[pa.Table], pa.Table]:
    """Rows tell of these files, by the ids that they had."""

    def change(table: pa.Table) -> pa.Table:
        of_rows = [facts_of(files[video]) for video in table["video_id"].to_pylist()]
        ids = [
            segment_id(facts["video_id"], segment)
            for facts, segment in zip(of_rows, table["segment"].to_pylist(), strict=True)
        ]
        for name in of_rows[0]:
            table = _set(table, name, [facts[name] for facts in of_rows])
        return _set(table, "id", ids)

    return change


def move(index: Any, moved: Mapping[str, FileState]) -> None:
    """Videos that have another name now, by the old one. Chains and swaps are one step each: a new id may be an old one."""
    if set(moved) & {new.video_id for new in moved.values()}:
        raise AssertionError("a file that is found cannot be a missing one")
    rewrite(index, list(moved), _with_files(moved))


def touch(index: Any, files: Sequence[FileState]) -> None:
    """Files whose size and content are as before, and whose time is not."""
    rewrite(index, [one.video_id for one in files], _with_files({one.video_id: one for one in files}))


# Metadata ----------------------------------------------------------------------------------------------------------------


def _add_columns(index: Any, types: Mapping[str, type]) -> None:
    """Columns of metadata that are not there yet."""
    schema, new = index.store.schema, []
    for name, kind in types.items():
        wanted = metadata_field(name, kind)
        if name not in schema.names:
            new.append(wanted)
        elif schema.field(name).type != wanted.type and not (
            pa.types.is_floating(schema.field(name).type) and kind is int
        ):
            raise SearchIndexError(
                f"The column {name!r} of metadata has values of type {kind.__name__}; in the index it has {schema.field(name).type}."
            )
    if new:
        index.store.add_columns(new)
        index.__dict__.pop("cascade", None)  # whose hits tell the columns


def read_metadata_of(index: Any, videos: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Your own columns, by video."""
    names = metadata_names(index.store.schema)
    found: dict[str, dict[str, Any]] = {}
    for first in range(0, len(videos) if names else 0, VIDEOS_PER_FILTER):
        some = field("video_id").is_in(videos[first : first + VIDEOS_PER_FILTER]) & (field("segment") == 0)
        for row in (row for batch in index.store.scan(["video_id", *names], some) for row in batch.to_pylist()):
            found[row.pop("video_id")] = row
    return found


def write_metadata(index: Any, videos: Sequence[str], given: Metadata) -> None:
    """Metadata of videos that are in the index already, where it is another one."""
    named = [video for video in videos if video in given.rows]
    known = read_metadata_of(index, named)
    differing = [
        video
        for video in named
        if any(known.get(video, {}).get(name) != value for name, value in given.rows[video].items())
    ]

    names = {name for video in differing for name in given.rows[video]}  # also of values that are to be none

    def change(table: pa.Table) -> pa.Table:
        ids = table["video_id"].to_pylist()
        for name in names.intersection(table.schema.names):
            old = table[name].to_pylist()
            values = [given.rows[video].get(name, before) for video, before in zip(ids, old, strict=True)]
            table = _set(table, name, values)
        return table

    rewrite(index, differing, change)


# ---------------------------------------------------------------------------------------------------------------------
# Whether all is as it was written
# ---------------------------------------------------------------------------------------------------------------------


def find_damage(index: Any) -> list[str]:
    """What is wrong with the files and rows of an index, a line each."""
    store = index.store
    problems = store.verify()
    expected = {
        role: made_with.fingerprint
        for role in ("encoder", "reranker")
        if (made_with := getattr(index.settings, role)) is not None
    }
    segments: dict[str, list[int]] = {}
    counts: dict[str, int] = {}
    seen: Counter[str] = Counter()
    try:
        for batch in store.scan(store.schema.names, batch_size=256):
            facts = batch.select(["id", "video_id", "segment", "num_segments", "checksum", "encoder", "reranker"])
            for row, checksum in zip(facts.to_pylist(), compute_checksums(batch), strict=True):
                seen[row["id"]] += 1
                if checksum != row["checksum"]:
                    problems.append(f"{row['id']}: the row is not what was written.")
                for role, fingerprint in expected.items():
                    if row[role] != fingerprint:
                        problems.append(f"{row['id']}: another {role} made it ({row[role]}).")
                segments.setdefault(row["video_id"], []).append(row["segment"])
                counts[row["video_id"]] = row["num_segments"]
    except IndexDamagedError as error:
        problems.append(str(error))
        return problems
    problems += [f"{one}: {count} rows." for one, count in seen.items() if count > 1]
    for video, numbers in segments.items():
        if sorted(set(numbers)) != list(range(counts[video] or 0)):
            problems.append(f"{video}: segments {sorted(numbers)} of {counts[video]}.")
    return problems


# ---------------------------------------------------------------------------------------------------------------------
# Vectors by distillation
# ---------------------------------------------------------------------------------------------------------------------


def fill_vectors(index: Any, heads: Any) -> None:
    """Give every row the vector that the heads make of its clips."""
    store = index.store
    if VECTOR not in store.schema.names:
        store.add_columns([pa.field(VECTOR, pa.list_(pa.float32(), heads.width))])
    num_clips, *shape = index.reranker.parts_shape

    def change(table: pa.Table) -> pa.Table:
        parts = np.stack([array_of(table[CLIP.format(clip)]) for clip in range(num_clips)], axis=1)
        mask = None if table[CLIP_MASK].null_count else array_of(table[CLIP_MASK])
        vectors = heads.vector(parts.astype(np.float32, copy=False).reshape(len(parts), num_clips, *shape), mask)
        kind = table.schema.field(VECTOR).type
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float32).ravel()), type=kind)
        return table.set_column(table.schema.get_field_index(VECTOR), table.schema.field(VECTOR), column)

    rewrite(index, all_videos(index), change)


def all_videos(index: Any) -> list[str]:
    """The ids of all videos, sorted."""
    batches = index.store.scan(["video_id"], field("segment") == 0, batch_size=2**14)
    return sorted(video for batch in batches for video in batch["video_id"].to_pylist())


__all__ = ["bring_up_to_date", "describe_size", "fill_vectors", "find_damage", "read_failures"]
