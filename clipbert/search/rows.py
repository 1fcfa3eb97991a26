# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Rows of an index: one for each segment of a video.

    facts       where it is, when, of which file, in which state            `FACTS`
    models      vector, frames and clips, as far as there are such models   `model_fields`
    metadata    columns of the user's own, of four types, and captions      `metadata_field`

NULL stands for what is not known. A row carries a checksum of all that is in it, NULLs left out, so that further columns do not change it.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from clipbert.search.protocols import EncodedSegment, SearchIndexError, SegmentReader


PRIMARY_KEY = {"lance-schema:unenforced-primary-key": "true"}  # without it two writers leave the same row twice
FACTS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False, metadata=PRIMARY_KEY),
        pa.field("video_id", pa.string()),  # path below the root, with /, NFC
        pa.field("folder", pa.string()),  # what of it is in front of the last /
        pa.field("segment", pa.int32()),
        pa.field("num_segments", pa.int32()),
        pa.field("start_s", pa.float64()),
        pa.field("end_s", pa.float64()),
        pa.field("duration_s", pa.float64()),  # of the whole video
        pa.field("fps", pa.float64()),
        pa.field("size", pa.int64()),  # bytes of the file
        pa.field("mtime_ns", pa.int64()),
        pa.field("digest", pa.string()),  # see `files.digest_file`
        pa.field("encoder", pa.string()),  # fingerprint
        pa.field("reranker", pa.string()),
        pa.field("checksum", pa.string()),
    ]
)
VECTOR, FRAMES, FRAME_SECONDS, CLIP_SECONDS, CLIP_MASK = (
    "vector",
    "frames",
    "frame_seconds",
    "clip_seconds",
    "clip_mask",
)
CLIP = "clip_{}"  # of a cross-encoder: a column for each clip, so that one of all can be read alone
METADATA_TYPES = {
    str: pa.string(),
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    list: pa.list_(pa.string()),
}
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")
_OWN = re.compile(r"clip_\d+|vector|frames|frame_seconds|clip_seconds|clip_mask|similarity")


def segment_id(video_id: str, segment: int) -> str:
    """The key of a row."""
    return f"{video_id}#{segment:05d}"


def model_fields(
    encoder: SegmentReader | None, reranker: SegmentReader | None, dtype: str = "float32", width: int | None = None
) -> list[pa.Field]:
    """
    The columns of models.

    Args:
        encoder, reranker (*optional*): What the index was made with; a reranker only if its clips are kept.
        dtype (`str`, *optional*, defaults to `"float32"`): Of `frames` and clips: `"float32"` or `"float16"`.
        width (`int`, *optional*): Of the vectors, where another than the encoder makes them.
    """
    numbers, fields = {"float32": pa.float32(), "float16": pa.float16()}[dtype], []
    width = width or getattr(encoder, "width", None)
    if width is not None:
        fields.append(pa.field(VECTOR, pa.list_(pa.float32(), width)))
    if encoder is not None:
        fields.append(pa.field(FRAME_SECONDS, pa.list_(pa.float64(), int(np.prod(encoder.seconds_shape)))))
        if encoder.parts_shape is not None:
            fields.append(pa.field(FRAMES, pa.list_(numbers, int(np.prod(encoder.parts_shape)))))
    if reranker is not None:
        num_clips, *shape = reranker.parts_shape
        fields.append(pa.field(CLIP_SECONDS, pa.list_(pa.float64(), int(np.prod(reranker.seconds_shape)))))
        fields.append(pa.field(CLIP_MASK, pa.list_(pa.bool_(), num_clips)))
        fields += [pa.field(CLIP.format(clip), pa.list_(numbers, int(np.prod(shape)))) for clip in range(num_clips)]
    return fields


def metadata_field(name: str, value: type) -> pa.Field:
    """
    A column of the user's own.

    Raises:
        SearchIndexError: If it cannot be called so, or have such values.
    """
    if not _NAME.fullmatch(name) or name in FACTS.names or _OWN.fullmatch(name):
        why = "the index has a column of this name" if _NAME.fullmatch(name) else "expected letters, digits and _"
        raise SearchIndexError(f"A column of metadata cannot be called {name!r}: {why}.")
    if value not in METADATA_TYPES:
        raise SearchIndexError(
            f"The column {name!r} of metadata has {value.__name__}: expected texts, whole numbers, numbers, or true and false."
        )
    return pa.field(name, METADATA_TYPES[value])


def metadata_names(schema: pa.Schema) -> list[str]:
    """The columns of the user's own."""
    return [name for name in schema.names if name not in FACTS.names and not _OWN.fullmatch(name)]


def model_values(
    encoded: EncodedSegment | None, clips: EncodedSegment | None, schema: pa.Schema
) -> dict[str, np.ndarray | None]:
    """What models made of a segment, as values of columns."""
    values: dict[str, np.ndarray | None] = {}
    if encoded is not None:
        values[VECTOR] = encoded.vector
        values[FRAME_SECONDS] = encoded.seconds.ravel()
        values[FRAMES] = None if encoded.parts is None else encoded.parts.ravel()
    if clips is not None:
        values[CLIP_SECONDS], values[CLIP_MASK] = clips.seconds.ravel(), clips.mask
        values |= {CLIP.format(number): part.ravel() for number, part in enumerate(clips.parts)}
    return {name: value for name, value in values.items() if name in schema.names}


def build_table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as a table with all columns of a schema and their checksums; arrays of numbers are flat."""
    columns = {}
    for field in schema:
        values = [row.get(field.name) for row in rows]
        columns[field.name] = build_column(values, field.type)
    return with_checksums(pa.table(columns, schema=schema))


def build_column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Values as a column; those of one with lists of one length are flat arrays, or `None`."""
    if not pa.types.is_fixed_size_list(kind):
        return pa.array(values, kind)
    dtype, size = kind.value_type.to_pandas_dtype(), kind.list_size
    flat = np.zeros((len(values), size), dtype)
    for place, value in enumerate(values):
        if value is not None:
            flat[place] = value
    numbers = pa.array(flat.ravel(), kind.value_type)
    missing = np.array([value is None for value in values], bool)  # of no row, too
    return pa.FixedSizeListArray.from_arrays(numbers, type=kind, mask=pa.array(missing))


def with_checksums(table: pa.Table) -> pa.Table:
    """The same rows, `checksum` computed anew."""
    place = table.schema.get_field_index("checksum")
    return table.set_column(place, FACTS.field("checksum"), pa.array(compute_checksums(table), pa.string()))


def compute_checksums(table: pa.Table | pa.RecordBatch) -> list[str]:
    """Of each row: BLAKE2b of 16 bytes over names and values of all other columns, in the order of names."""
    digests = [hashlib.blake2b(digest_size=16) for _ in range(table.num_rows)]
    for name in sorted(set(table.schema.names) - {"checksum"}):
        column = table.column(name)
        label = f"\0{name}\0".encode()
        for digest, value in zip(digests, _bytes_of(column), strict=True):
            if value is not None:
                digest.update(label)
                digest.update(value)
    return [digest.hexdigest() for digest in digests]


def _bytes_of(column: pa.Array | pa.ChunkedArray) -> Iterable[bytes | None]:
    kind = column.type
    if pa.types.is_fixed_size_list(kind):
        numbers = array_of(column)
        return (
            None if missing else row.tobytes()
            for row, missing in zip(numbers, column.is_null().to_pylist(), strict=True)
        )
    return (None if value is None else json.dumps(value).encode() for value in column.to_pylist())


def array_of(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """A column of lists of one length as `(rows, length)`; rows that are NULL are undefined."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
        if isinstance(column, pa.ChunkedArray):  # of no chunk, or of several that are too long for one
            column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    size = column.type.list_size
    values = column.values.slice(column.offset * size, len(column) * size)  # `flatten` leaves those of NULL out
    if pa.types.is_boolean(values.type):
        values = values.fill_null(False)  # in rows that are NULL; with any, numpy would get objects
    return values.to_numpy(zero_copy_only=False).reshape(len(column), size)


__all__ = [
    "CLIP",
    "CLIP_MASK",
    "CLIP_SECONDS",
    "FACTS",
    "FRAMES",
    "FRAME_SECONDS",
    "VECTOR",
    "array_of",
    "build_column",
    "build_table",
    "compute_checksums",
    "metadata_field",
    "metadata_names",
    "model_fields",
    "model_values",
    "segment_id",
    "with_checksums",
]
