# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Rows of an index in Qdrant: a server (`qdrant+http://HOST:PORT/NAME`), or the client's local mode (`qdrant:FOLDER`) for small sets and tests.

    NAME_segments   points: a row for each segment of a video; other lists than the vector are base64 in the payload
    NAME_settings   points without vectors: names and bytes, and the columns of the index

What it does not promise, and `LanceStore` does: `replace` is two steps, first the new rows, then those that are left over are deleted; whoever
reads in between, or after a crash, may see rows of both. Rows of two writers of one video may mix, `scan` is no snapshot, and two
processes that add columns at once may lose one. Repeat the change, and the rows are right. A folder belongs to one process at a time.
"""

import atexit
import base64
import json
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakValueDictionary

import numpy as np
import pyarrow as pa

from clipbert.search.protocols import IndexDamagedError, SearchIndexError
from clipbert.search.rows import VECTOR, array_of, build_column


if TYPE_CHECKING:
    from qdrant_client import QdrantClient, models

    from clipbert.search.filters import Filter


SCHEMA = ".schema"  # the setting that has the columns; not one of the user's
NAMESPACE = uuid.UUID("9f2d6a4e-4f0b-5e43-9c0d-2b1c4d3e5f60")  # of the ids of points, which must be UUIDs
BATCH_BYTES = 8 * 2**20  # of a request; servers refuse 32 MB
SETTINGS_BATCH = 1000
_CLIENTS: WeakValueDictionary[str, "QdrantClient"] = WeakValueDictionary()  # a folder can be opened once


class QdrantStore:
    """A [`VideoStore`] in Qdrant. Made by [`create_store`] and [`open_store`]."""

    def __init__(self, uri: str, **options: Any):
        self.uri = str(uri)
        location, _, name = _parts(self.uri)
        self._prefix = f"{name}_" if name else ""
        self._client = _connect(location, options)

    # -----------------------------------------------------------------------------------------------------------------
    # The whole
    # -----------------------------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, uri: str, schema: pa.Schema, overwrite: bool = False, **options: Any) -> "QdrantStore":
        """A store without rows; arguments and errors as of `LanceStore.create`, options those of `QdrantClient`."""
        store = cls(uri, **options)
        from qdrant_client import models

        with _named_errors(uri):
            if store._client.collection_exists(store._segments) and not overwrite:
                raise SearchIndexError(
                    f"{uri} has an index already: open it, or replace it with overwrite=True (in a shell --overwrite)."
                )
            for name in (store._segments, store._settings):  # what has no segments is no index
                store._client.delete_collection(name)
            store._client.create_collection(store._settings, vectors_config={})
            store._write_schema(schema)
            vectors = {VECTOR: _vector_params(schema.field(VECTOR))} if VECTOR in schema.names else {}
            store._client.create_collection(store._segments, vectors_config=vectors)
            if not store._is_local:
                store._client.create_payload_index(store._segments, "video_id", models.PayloadSchemaType.KEYWORD)
        return store

    @classmethod
    def open(cls, uri: str, **options: Any) -> "QdrantStore":
        """The store that is there; errors as of `LanceStore.open`."""
        address = _parts(uri)
        if not address.is_server and not Path(address.location).is_dir():  # the client would make it
            raise SearchIndexError(f"{uri} does not exist: expected an address that `create` was given.")
        store = cls(uri, **options)
        with _named_errors(uri):
            if not store._client.collection_exists(store._segments):
                raise SearchIndexError(f"{uri} is no index: expected an address that `create` was given.")
        return store

    @property
    def _segments(self) -> str:
        return f"{self._prefix}segments"

    @property
    def _settings(self) -> str:
        return f"{self._prefix}settings"

    @property
    def _is_local(self) -> bool:
        return not _parts(self.uri).is_server

    @property
    def schema(self) -> pa.Schema:
        content = self.read_setting(SCHEMA)
        if content is None:
            raise IndexDamagedError(
                f"{self.uri} has lost its columns: the collection {self._settings} has no {SCHEMA}."
            )
        return pa.ipc.read_schema(pa.BufferReader(content))

    def _write_schema(self, schema: pa.Schema) -> None:
        self.write_setting(SCHEMA, schema.serialize().to_pybytes())

    @property
    def version(self) -> None:
        return None

    def snapshot(self) -> "QdrantStore":
        return self

    def locked(self):
        return nullcontext()  # a folder is open in one process alone; a server has no lock

    # -----------------------------------------------------------------------------------------------------------------
    # Settings
    # -----------------------------------------------------------------------------------------------------------------

    def read_setting(self, name: str) -> bytes | None:
        with _named_errors(self.uri):
            found = self._client.retrieve(self._settings, [_point_id(name)], with_payload=["value"])
        return base64.b64decode(found[0].payload["value"]) if found else None

    def write_setting(self, name: str, value: bytes) -> None:
        from qdrant_client import models

        payload = {"name": name, "value": base64.b64encode(value).decode()}
        with _named_errors(self.uri):
            self._client.upsert(self._settings, [models.PointStruct(id=_point_id(name), vector={}, payload=payload)])

    def setting_names(self, prefix: str = "") -> list[str]:
        points = self._scroll(self._settings, SETTINGS_BATCH, with_payload=["name"])
        names = (point.payload["name"] for some in points for point in some)
        return sorted(name for name in names if name.startswith(prefix) and name != SCHEMA)

    def delete_settings(self, names: Collection[str]) -> None:
        if names:
            with _named_errors(self.uri):
                self._client.delete(self._settings, [_point_id(name) for name in names])

    # -----------------------------------------------------------------------------------------------------------------
    # Changes
    # -----------------------------------------------------------------------------------------------------------------

    def add_columns(self, fields: Sequence[pa.Field]) -> None:
        from qdrant_client import models

        schema = self.schema
        new = [field for field in fields if field.name not in schema.names]
        for field in fields:
            if field not in new and schema.field(field.name).type != field.type:
                raise SearchIndexError(
                    f"{self.uri} has a column {field.name!r} of {schema.field(field.name).type}, and cannot have one of {field.type}."
                )
        with _named_errors(self.uri):
            for field in new:
                if field.name == VECTOR:
                    size, product = field.type.list_size, models.Distance.DOT
                    config = models.DenseVectorNameConfig(dense=models.DenseVectorConfig(size=size, distance=product))
                    self._client.create_vector_name(self._segments, VECTOR, config)
        if new:
            self._write_schema(pa.schema([*schema, *new]))

    def replace(self, rows: pa.Table, video_ids: Collection[str]) -> None:
        from qdrant_client import models

        videos = sorted({*video_ids, *rows.column("video_id").to_pylist()})
        if not videos:
            return
        columns = self._read_columns(rows)
        size = _batch_size(rows)
        with _named_errors(self.uri):
            for start in range(0, rows.num_rows, size):
                some = range(start, min(start + size, rows.num_rows))
                self._client.upsert(self._segments, [_point(columns, row) for row in some])
            kept = models.HasIdCondition(has_id=[_point_id(id) for id in rows.column("id").to_pylist()])
            self._client.delete(self._segments, models.Filter(must=[_is_one_of(videos)], must_not=[kept]))

    def update(self, rows: pa.Table) -> None:
        from qdrant_client import models

        columns, ids = self._read_columns(rows), rows.column("id").to_pylist()
        with _named_errors(self.uri):
            for start in range(0, len(ids), size := _batch_size(rows)):
                wanted = {_point_id(id): start + place for place, id in enumerate(ids[start : start + size])}
                known = self._client.retrieve(self._segments, list(wanted), with_payload=False)
                operations = []
                for point in (_point(columns, wanted[str(record.id)]) for record in known):
                    values = models.SetPayload(payload=point.payload, points=[point.id])
                    operations.append(models.SetPayloadOperation(set_payload=values))
                    if missing := [name for name in columns if name not in point.payload and name != VECTOR]:
                        keys = models.DeletePayload(keys=missing, points=[point.id])
                        operations.append(models.DeletePayloadOperation(delete_payload=keys))
                    if point.vector:
                        vectors = [models.PointVectors(id=point.id, vector=point.vector)]
                        operations.append(
                            models.UpdateVectorsOperation(update_vectors=models.UpdateVectors(points=vectors))
                        )
                    elif VECTOR in columns:
                        vectors = models.DeleteVectors(points=[point.id], vector=[VECTOR])
                        operations.append(models.DeleteVectorsOperation(delete_vectors=vectors))
                if operations:
                    self._client.batch_update_points(self._segments, operations)

    def delete(self, video_ids: Collection[str]) -> int:
        from qdrant_client import models

        if not video_ids:
            return 0
        where = models.Filter(must=[_is_one_of(video_ids)])
        with _named_errors(self.uri):
            number = self._client.count(self._segments, where).count
            self._client.delete(self._segments, where)
        return number

    def _read_columns(self, rows: pa.Table) -> dict[str, Sequence[Any]]:
        """Values by column, as Qdrant takes them; `None` where there is none."""
        schema = self.schema
        if strange := sorted(set(rows.schema.names) - set(schema.names)):
            raise SearchIndexError(f"{self.uri} has no column {strange[0]!r}: add it first, see `add_columns`.")
        return {name: _plain_values(name, rows.column(name), schema.field(name).type) for name in rows.schema.names}

    # -----------------------------------------------------------------------------------------------------------------
    # Reading
    # -----------------------------------------------------------------------------------------------------------------

    def _where(self, where: "Filter | None") -> "models.Filter | None":
        if where is None:
            return None
        from clipbert.search.filters import to_qdrant

        return to_qdrant(where, self.schema)

    def count(self, where: "Filter | None" = None) -> int:
        condition = self._where(where)
        with _named_errors(self.uri):
            return self._client.count(self._segments, condition).count

    def scan(
        self, columns: Sequence[str], where: "Filter | None" = None, batch_size: int = 1024
    ) -> Iterator[pa.RecordBatch]:
        schema = self._part(columns)
        for points in self._scroll(self._segments, batch_size, self._where(where), **_selection(columns)):
            yield from _table(points, schema).to_batches()

    def _scroll(self, collection: str, size: int, where: "models.Filter | None" = None, **selection) -> Iterator[list]:
        offset = None
        while True:
            with _named_errors(self.uri):
                points, offset = self._client.scroll(collection, where, limit=size, offset=offset, **selection)
            if points:
                yield points
            if offset is None:
                return

    def nearest(
        self,
        vector: np.ndarray,
        limit: int,
        columns: Sequence[str],
        where: "Filter | None" = None,
        exact: bool = False,
    ) -> pa.Table:
        from qdrant_client import models

        query = np.asarray(vector, np.float32) / np.linalg.norm(vector)
        condition, schema = self._where(where), self._part(columns)
        with _named_errors(self.uri):
            points = self._client.query_points(
                self._segments,
                query.tolist(),
                using=VECTOR,
                query_filter=condition,
                limit=limit,
                search_params=None
                if self._is_local
                else models.SearchParams(exact=exact, hnsw_ef=max(2 * limit, 200)),
                **_selection(columns),
            ).points
        similarity = pa.array([point.score for point in points], pa.float32())
        return _table(points, schema).append_column("similarity", similarity)

    def take(self, ids: Sequence[str], columns: Sequence[str]) -> pa.Table:
        names = list(dict.fromkeys(["id", *columns]))
        with _named_errors(self.uri):
            found = self._client.retrieve(self._segments, [_point_id(id) for id in ids], **_selection(names))
        points = {str(point.id): point for point in found}
        there = [points[point] for point in map(_point_id, ids) if point in points]
        return _table(there, self._part(names))

    # -----------------------------------------------------------------------------------------------------------------
    # Upkeep
    # -----------------------------------------------------------------------------------------------------------------

    def _part(self, columns: Sequence[str]) -> pa.Schema:
        schema = self.schema
        if unknown := [name for name in columns if name not in schema.names]:
            raise SearchIndexError(f"{self.uri} has no column {unknown[0]!r}: it has {', '.join(schema.names)}.")
        return pa.schema([schema.field(name) for name in columns])

    def compact(self) -> None:
        """Nothing to do: a server does it by itself."""

    def ensure_index(self) -> None:
        """Nothing to do: a server does it by itself; the local mode has none."""

    def verify(self) -> list[str]:
        return []  # files are the server's own

    def describe(self) -> dict[str, Any]:
        with _named_errors(self.uri):
            collection = self._client.get_collection(self._segments)
            rows = self._client.count(self._segments).count
        indexed = collection.indexed_vectors_count or 0
        return {
            "store": "qdrant, local mode" if self._is_local else "qdrant",
            "rows": rows,
            "index": "HNSW" if indexed else None,
            "unindexed_rows": max(0, rows - indexed),
        }


# ---------------------------------------------------------------------------------------------------------------------
# Addresses
# ---------------------------------------------------------------------------------------------------------------------


class _Address(NamedTuple):
    location: str  # a folder, or the address of a server
    is_server: bool
    name: str  # of the index there


def _parts(uri: str) -> _Address:
    kind, _, location = uri.partition(":")
    if kind == "qdrant":
        return _Address(location, False, "")
    server, _, name = location.removeprefix("//").partition("/")
    if not name or "/" in name:
        raise SearchIndexError(f"{uri}: expected the name of an index at the end, such as {kind}://{server}/my_index.")
    return _Address(f"{kind.removeprefix('qdrant+')}://{server}", True, name)


@contextmanager
def _named_errors(uri: str):
    """Errors of the client as those of an index."""
    from qdrant_client.http.exceptions import ApiException

    try:
        yield
    except (ApiException, RuntimeError, OSError, json.JSONDecodeError) as error:
        raise SearchIndexError(f"{uri} does not answer, or not as expected: {error}") from error


def _connect(location: str, options: Mapping[str, Any]) -> "QdrantClient":
    try:
        from qdrant_client import QdrantClient
    except ImportError as error:
        raise ImportError("An index in Qdrant needs its client: pip install 'clipbert[qdrant]'") from error
    with _named_errors(location):
        if "://" in location:
            return QdrantClient(url=location, **options)
        client = _CLIENTS.get(location) or QdrantClient(path=location, force_disable_check_same_thread=True, **options)
        return _CLIENTS.setdefault(location, client)


@atexit.register
def _close_clients() -> None:
    """The client's own finalizer is too late: what it imports is gone."""
    for client in list(_CLIENTS.values()):
        client.close()


# ---------------------------------------------------------------------------------------------------------------------
# Points
# ---------------------------------------------------------------------------------------------------------------------


def _point_id(id: str) -> str:
    return str(uuid.uuid5(NAMESPACE, id))


def _vector_params(field: pa.Field) -> "models.VectorParams":
    from qdrant_client import models

    return models.VectorParams(
        size=field.type.list_size, distance=models.Distance.DOT
    )  # COSINE would change their bits


def _is_one_of(video_ids: Collection[str]) -> "models.FieldCondition":
    from qdrant_client import models

    return models.FieldCondition(key="video_id", match=models.MatchAny(any=list(video_ids)))


def _selection(columns: Sequence[str]) -> dict[str, Any]:
    return {
        "with_payload": [name for name in columns if name != VECTOR],
        "with_vectors": [VECTOR] if VECTOR in columns else False,
    }


def _batch_size(rows: pa.Table) -> int:
    """Points of a request."""
    return max(1, BATCH_BYTES * rows.num_rows // max(rows.nbytes, 1))


def _plain_values(name: str, column: pa.ChunkedArray, kind: pa.DataType) -> Sequence[Any]:
    """A column as Qdrant takes it: scalars as they are, the vector as numbers, other lists as base64."""
    if not pa.types.is_fixed_size_list(kind):
        return column.to_pylist()
    numbers, missing = array_of(column.cast(kind)), column.is_null().to_pylist()
    if name != VECTOR:
        return [None if gone else base64.b64encode(row).decode() for row, gone in zip(numbers, missing, strict=True)]
    present = numbers[~np.array(missing, bool)]
    if not np.allclose(np.linalg.norm(present, axis=1), 1, atol=1e-3):
        raise SearchIndexError("Expected vectors of length 1, which Qdrant compares by their products.")
    return [None if gone else row.tolist() for row, gone in zip(numbers, missing, strict=True)]


def _point(columns: Mapping[str, Sequence[Any]], row: int) -> "models.PointStruct":
    from qdrant_client import models

    values = {name: column[row] for name, column in columns.items() if column[row] is not None}
    vector = values.pop(VECTOR, None)
    return models.PointStruct(
        id=_point_id(values["id"]), vector={} if vector is None else {VECTOR: vector}, payload=values
    )


def _table(points: Sequence[Any], schema: pa.Schema) -> pa.Table:
    """The other way."""
    columns = [_column([_value(point, field.name) for point in points], field.type) for field in schema]
    return pa.table(columns, schema=schema)


def _value(point: Any, name: str) -> Any:
    return (point.vector or {}).get(VECTOR) if name == VECTOR else (point.payload or {}).get(name)


def _column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if not pa.types.is_fixed_size_list(kind):
        return pa.array(values, kind)
    dtype = np.dtype(kind.value_type.to_pandas_dtype())
    lists = [np.frombuffer(base64.b64decode(each), dtype) if isinstance(each, str) else each for each in values]
    return build_column(lists, kind)


__all__ = ["QdrantStore"]
