# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Rows of an index in LanceDB: a folder, object storage (`s3://`, `gs://`, `az://`), or a managed server (`db://`).

    segments    a table: a row for each segment of a video
    settings    a table: names and bytes
    digests/    checksums of the files of both, in folders alone      `file_records.py`
    .lock       held by a writer for its commit, in folders alone

Every change is one commit; the key of the table lets one of two writers of the same rows begin anew. Readers look for a newer version at
each call.

Object storage has no lock. Where two machines write one video at once, with different numbers of segments, a reader may see rows of both
until the later one has deleted those of the other, which it does before `replace` returns; if it is killed in between, repeat the change.
"""

import importlib.util
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from copy import copy
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from filelock import FileLock

from clipbert.search.file_records import FOLDER, FileRecords
from clipbert.search.protocols import IndexDamagedError, SearchIndexError
from clipbert.search.rows import PRIMARY_KEY, VECTOR, array_of


if TYPE_CHECKING:
    from lancedb.table import Table

    from clipbert.search.filters import Filter


SEGMENTS, SETTINGS = "segments", "settings"
SETTING_COLUMNS = pa.schema(
    [pa.field("name", pa.string(), nullable=False, metadata=PRIMARY_KEY), pa.field("value", pa.large_binary())]
)
STATE = ("digest", "encoder", "reranker")  # of a row: what is in the others was made of it
GONE, THERE = "video_id IS NULL", "video_id IS NOT NULL"  # rows that `replace` is about to delete, and others
HTTP_CLIENT = "lance_namespace_urllib3_client"  # is generated, comes with lancedb, takes a second to run; a folder uses none of it
MIN_INDEXED = 20_000  # vectors; fewer are compared one by one
MAX_UNINDEXED = 10_000  # vectors that are compared one by one beside the index: some 15 ms
MAX_APPROXIMATE = 1_000  # rows of an answer; for more it is quicker to compare all
ROWS_PER_PARTITION = 250_000  # of the index: a graph of each, built in memory
KEPT_VERSIONS = timedelta(hours=1)  # for readers that began before
ATTEMPTS = 6  # of a change that others are in the way of, with pauses of up to 1, 2, 4 ... seconds
OVERTAKEN = re.compile(r"concurrent writers|commit conflict", re.IGNORECASE)  # the engine's own attempts are used up
NO_SPACE = ("(os error 27)", "(os error 28)", "(os error 122)")  # file too large, no space, quota


class LanceStore:
    """A [`VideoStore`] in LanceDB. Made by [`create_store`] and [`open_store`]."""

    def __init__(self, uri: str, **storage_options: str):
        self.uri = str(uri)
        self.folder = None if "://" in self.uri else Path(self.uri).absolute()
        self._records = None
        if self.folder:
            self._records = FileRecords(self.folder, (f"{SEGMENTS}.lance", f"{SETTINGS}.lance"))
        self._database = _connect(self.uri, storage_options)
        self._tables: dict[str, Table] = {}
        self._snapshot: LanceStore | None = None  # the last one
        self._facts: dict[str, Any] | None = None  # of a snapshot, in which they do not change

    # -----------------------------------------------------------------------------------------------------------------
    # The whole
    # -----------------------------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, uri: str, schema: pa.Schema, overwrite: bool = False, **storage_options: str) -> "LanceStore":
        """
        A store without rows.

        Args:
            uri (`str`): A folder, which may be there if it is empty; or an address.
            schema (`pa.Schema`): Columns, with those of `rows.FACTS`.
            overwrite (`bool`, *optional*, defaults to `False`): Delete the index that is there.
            storage_options: Of LanceDB, such as `aws_endpoint`.

        Raises:
            SearchIndexError: If there is something already.
        """
        store = cls(uri, **storage_options)
        with store._named_errors():
            names = store._database.list_tables().tables
        if SEGMENTS in names and not overwrite:
            raise SearchIndexError(
                f"{uri} has an index already: open it, or replace it with overwrite=True (in a shell --overwrite)."
            )
        if store.folder and store.folder.exists():
            ours = {FOLDER, *store._records.folders}
            strange = sorted(f.name for f in store.folder.iterdir() if f.name not in ours and f.name[0] != ".")
            if strange and SEGMENTS not in names:
                raise SearchIndexError(
                    f"{uri} is no index, and not empty ({', '.join(strange[:3])}, ...): expected a folder of its own."
                )
        with store.locked(), store._named_errors():
            for name in (SEGMENTS, SETTINGS):  # what has no segments is no index
                if name in names:
                    store._database.drop_table(name)
            if store.folder:
                shutil.rmtree(store.folder / FOLDER, ignore_errors=True)
            store._database.create_table(SETTINGS, schema=SETTING_COLUMNS)
            store._database.create_table(SEGMENTS, schema=schema)
            store._record()
        return store

    @classmethod
    def open(cls, uri: str, **storage_options: str) -> "LanceStore":
        """
        The store that is there.

        Raises:
            SearchIndexError: If there is none.
            IndexDamagedError: If it cannot be read.
        """
        if "://" not in str(uri) and not Path(uri, f"{SEGMENTS}.lance").is_dir():
            what = "is no index" if Path(uri).exists() else "does not exist"
            raise SearchIndexError(f"{uri} {what}: expected a folder that `create` has made.")
        store = cls(uri, **storage_options)
        with store._named_errors():
            if SEGMENTS not in store._database.list_tables().tables:
                raise SearchIndexError(f"{uri} is no index: expected an address that `create` was given.")
            store._table(SEGMENTS), store._table(SETTINGS)
        return store

    def _table(self, name: str) -> "Table":
        if name not in self._tables:
            self._tables[name] = self._database.open_table(name)
        return self._tables[name]

    @property
    def schema(self) -> pa.Schema:
        return self._fact("schema", lambda: self._table(SEGMENTS).schema)

    @property
    def version(self) -> int:
        return self._fact("version", lambda: self._table(SEGMENTS).version)

    def _fact(self, name: str, read: Callable[[], Any]) -> Any:
        """What is read of the table; of a snapshot once."""
        if self._facts is not None and name in self._facts:
            return self._facts[name]
        with self._named_errors():
            found = read()
        if self._facts is not None:
            self._facts[name] = found
        return found

    def snapshot(self) -> "LanceStore":
        with self._named_errors():
            version = self._table(SEGMENTS).version
            if self._snapshot is None or self._snapshot._table(SEGMENTS).version != version:
                frozen = copy(self)
                frozen._tables = {**self._tables, SEGMENTS: self._database.open_table(SEGMENTS)}
                frozen._tables[SEGMENTS].checkout(version)
                frozen._facts = {}
                self._snapshot = frozen
            return self._snapshot

    def locked(self):
        if self.folder is None:
            return nullcontext()
        self.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder / ".lock", is_singleton=True)  # of this path, so that it may be taken twice

    def _commit(self, change: Callable[[], Any]) -> Any:
        """Do it; again where writers on other machines are in the way. A change may be done twice."""
        with self.locked(), self._named_errors():
            for attempt in range(ATTEMPTS):
                try:
                    result = change()
                    break
                except RuntimeError as error:
                    if attempt == ATTEMPTS - 1 or not OVERTAKEN.search(str(error)):
                        raise
                    time.sleep(random.uniform(0, 2**attempt))
            self._record()
        return result

    def _record(self) -> None:
        if self._records:
            self._records.add_new()

    @contextmanager
    def _named_errors(self):
        """Errors of the engine as those of an index."""
        try:
            yield
        except (SearchIndexError, ImportError, KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:  # its panics are no `Exception`
            text = str(error)
            if isinstance(error, OSError) and error.errno is not None:
                text += f" (os error {error.errno})"
            if any(mark in text for mark in NO_SPACE):
                raise SearchIndexError(
                    f"No space left on {self.uri}, or in {tempfile.gettempdir()}, where an index of vectors is prepared. This change is in the "
                    "index as a whole or not at all, and what was there before is. Make space, and run it again; `compact` removes what the "
                    f"attempt has left.\n{text}"
                ) from error
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            known = "".join(f"\n{line}" for line in self._faults(with_rows=False))
            raise IndexDamagedError(
                f"{self.uri} cannot be read or written; `verify` compares all files with their checksums.{known}\n{text}"
            ) from error

    # -----------------------------------------------------------------------------------------------------------------
    # Settings
    # -----------------------------------------------------------------------------------------------------------------

    def read_setting(self, name: str) -> bytes | None:
        with self._named_errors():
            found = self._table(SETTINGS).search().where(f"name = {_quoted(name)}").select(["value"]).to_arrow()
        return found.column("value")[0].as_py() if found.num_rows else None

    def write_setting(self, name: str, value: bytes) -> None:
        row = pa.Table.from_pylist([{"name": name, "value": value}], schema=SETTING_COLUMNS)
        merge = self._table(SETTINGS).merge_insert("name").when_matched_update_all().when_not_matched_insert_all()
        self._commit(lambda: merge.execute(row))

    def setting_names(self, prefix: str = "") -> list[str]:
        with self._named_errors():
            where = f"starts_with(name, {_quoted(prefix)})"
            found = self._table(SETTINGS).search().where(where).select(["name"]).to_arrow()
        return sorted(found.column("name").to_pylist())

    def delete_settings(self, names: Collection[str]) -> None:
        if names:
            self._commit(lambda: self._table(SETTINGS).delete(f"name IN {_listed(names)}"))

    # -----------------------------------------------------------------------------------------------------------------
    # Changes
    # -----------------------------------------------------------------------------------------------------------------

    def add_columns(self, fields: Sequence[pa.Field]) -> None:
        def add():
            schema = self._table(SEGMENTS).schema
            for field in fields:
                if field.name in schema.names and schema.field(field.name).type != field.type:
                    kind = schema.field(field.name).type
                    raise SearchIndexError(
                        f"{self.uri} has a column {field.name!r} of {kind}, and cannot have one of {field.type}."
                    )
            if new := [field for field in fields if field.name not in schema.names]:
                self._table(SEGMENTS).add_columns(new)

        self._commit(add)

    def replace(self, rows: pa.Table, video_ids: Collection[str]) -> None:
        if not (videos := sorted({*video_ids, *rows.column("video_id").to_pylist()})):
            return
        with self.locked():
            rows = self._fitted(rows, self.schema.names)
            leftover = self._leftover(videos, rows)
            while rows.num_rows or leftover:  # again only where writers on other machines came in between
                self._write(pa.concat_tables([rows, _tombstones(leftover, rows.schema)]))
                if leftover:
                    self._commit(lambda: self._table(SEGMENTS).delete(GONE))
                if self.folder or not (leftover := self._leftover(videos, rows)):
                    return

    def _leftover(self, video_ids: Collection[str], rows: pa.Table) -> list[str]:
        """Rows of these videos that are not among those."""
        kept = set(rows.column("id").to_pylist())
        with self._named_errors():
            found = self._table(SEGMENTS).search().where(f"video_id IN {_listed(video_ids)}").select(["id"]).to_arrow()
        return [id for id in found.column("id").to_pylist() if id not in kept]

    def _write(self, rows: pa.Table, condition: str | None = None) -> None:
        """
        Insert whole rows, or with a condition only replace those that fit it.

        LanceDB reads no more than the keys of the table for it. To have it delete rows in the same step, or to give it a part of the
        columns, makes it read all columns of all rows.
        """
        merge = self._table(SEGMENTS).merge_insert("id").when_matched_update_all(where=condition)
        merge = merge.use_index(
            False
        )  # the keys are compared as they are in a table without an index, which tests try
        if condition is None:
            merge = merge.when_not_matched_insert_all()
        self._commit(lambda: merge.execute(rows, on_bad_vectors="null"))

    def update(self, rows: pa.Table) -> None:
        with self.locked():
            schema, new = self.schema, self._fitted(rows, rows.schema.names)
            present = self.take(rows.column("id").to_pylist(), schema.names)
            places = {id: place for place, id in enumerate(rows.column("id").to_pylist())}
            order = pa.array([places[id] for id in present.column("id").to_pylist()], pa.int64())
            whole, new = self._fitted(present, schema.names), new.take(order)
            for name in new.schema.names:
                whole = whole.set_column(whole.schema.get_field_index(name), new.schema.field(name), new.column(name))
            unchanged = [
                _same(name) for name in STATE if name not in rows.schema.names
            ]  # else another has replaced it
            if whole.num_rows:
                self._write(whole, " AND ".join(unchanged) or "TRUE")

    def delete(self, video_ids: Collection[str]) -> int:
        if not video_ids:
            return 0
        return self._commit(lambda: self._table(SEGMENTS).delete(f"video_id IN {_listed(video_ids)}")).num_deleted_rows

    def _fitted(self, rows: pa.Table, names: Sequence[str]) -> pa.Table:
        """Rows as LanceDB takes them unchanged: it makes NULL of every list of one length that has a NaN in it."""
        schema = self._table(SEGMENTS).schema
        if strange := sorted(set(rows.schema.names) - set(schema.names)):
            raise SearchIndexError(f"{self.uri} has no column {strange[0]!r}: add it first, see `add_columns`.")
        columns, fields = [], []
        for field in (schema.field(name) for name in names):
            column = (
                rows.column(field.name).cast(field.type)
                if field.name in rows.schema.names
                else pa.nulls(rows.num_rows, field.type)
            )
            if field.name == VECTOR:
                if not np.isfinite(array_of(column.drop_null())).all():
                    raise SearchIndexError(
                        f"A vector of {rows.column('id')[0]} or a row after it has NaN or infinity."
                    )
            elif pa.types.is_fixed_size_list(field.type):
                field = field.with_type(pa.list_(field.type.value_type))
                column = column.cast(field.type)
            columns.append(column)
            fields.append(field)
        return pa.table(columns, schema=pa.schema(fields))

    # -----------------------------------------------------------------------------------------------------------------
    # Reading
    # -----------------------------------------------------------------------------------------------------------------

    def _where(self, where: "Filter | None") -> str:
        return THERE if where is None else f"({self._sql(where)}) AND {THERE}"

    def _sql(self, where: "Filter") -> str:
        from clipbert.search.filters import to_sql

        return to_sql(where, self.schema)

    def count(self, where: "Filter | None" = None) -> int:
        condition = self._where(where)
        if where is None:
            return self._fact("count", lambda: self._table(SEGMENTS).count_rows(condition))
        with self._named_errors():
            return self._table(SEGMENTS).count_rows(condition)

    def scan(
        self, columns: Sequence[str], where: "Filter | None" = None, batch_size: int = 1024
    ) -> Iterator[pa.RecordBatch]:
        condition = self._where(where)
        self._check(columns)
        with self._named_errors():
            yield from self._table(SEGMENTS).search().where(condition).select(list(columns)).to_batches(batch_size)

    def nearest(
        self,
        vector: np.ndarray,
        limit: int,
        columns: Sequence[str],
        where: "Filter | None" = None,
        exact: bool = False,
    ) -> pa.Table:
        condition = None if where is None else self._sql(where)
        self._check([VECTOR, *columns])
        with self._named_errors():
            query = self._table(SEGMENTS).search(np.asarray(vector, np.float32), vector_column_name=VECTOR)
            query = query.distance_type("cosine").limit(limit).select([*columns, "_distance"])
            if (
                condition is not None
            ):  # rows that are gone have no vector: to ask whether they are there reads a column more
                query = query.where(condition, prefilter=True)
            if exact or limit > MAX_APPROXIMATE:
                query = query.bypass_vector_index()
            else:  # measured: benchmarks/index_engine.py
                query = query.ef(max(4 * limit, 200)).refine_factor(2)  # and exact cosines of twice as many
            found = query.to_arrow()
        similarity = pa.array(1 - found.column("_distance").to_numpy(), pa.float32())
        return found.drop_columns("_distance").append_column("similarity", similarity)

    def take(self, ids: Sequence[str], columns: Sequence[str]) -> pa.Table:
        names = list(dict.fromkeys(["id", *columns]))
        self._check(names)
        condition = f"id IN {_listed(ids)} AND {THERE}" if ids else "FALSE"
        with self._named_errors():
            found = self._table(SEGMENTS).search().where(condition).select(names).to_arrow()
        places = {id: place for place, id in enumerate(found.column("id").to_pylist())}
        return found.take(pa.array([places[id] for id in ids if id in places], pa.int64()))

    def _check(self, columns: Sequence[str]) -> None:
        known = self.schema.names
        if unknown := [name for name in columns if name not in known]:
            raise SearchIndexError(f"{self.uri} has no column {unknown[0]!r}: it has {', '.join(known)}.")

    # -----------------------------------------------------------------------------------------------------------------
    # Upkeep
    # -----------------------------------------------------------------------------------------------------------------

    def compact(self, keep: timedelta = KEPT_VERSIONS, min_indexed: int = MIN_INDEXED) -> None:
        def compact():
            self._refuse_damage()
            self._table(SEGMENTS).delete(GONE)  # of a writer that was killed
            for name in (SEGMENTS, SETTINGS):
                # brings an index up to date, too; nobody else writes in a folder that is locked
                self._table(name).optimize(cleanup_older_than=keep, delete_unverified=self.folder is not None)
            if self._index() is None and self._num_vectors() >= min_indexed:
                self._build_index()

        with self.locked():
            self._commit(compact)
            if self._records:
                self._records.join()

    def ensure_index(self, min_indexed: int = MIN_INDEXED, max_unindexed: int = MAX_UNINDEXED) -> None:
        def ensure():
            index = self._index()
            if index is None and self._num_vectors() < min_indexed:
                return
            if index is None or self._table(SEGMENTS).index_stats(index).num_unindexed_rows > max_unindexed:
                self._refuse_damage()
                self._table(SEGMENTS).optimize()  # joins the files of many commits, too: a filter opens all of them
            if index is None:
                self._build_index()

        self._commit(ensure)

    def _index(self) -> str | None:
        names = [index.name for index in self._table(SEGMENTS).list_indices() if index.columns == [VECTOR]]
        return names[0] if names else None

    def _num_vectors(self) -> int:
        table = self._table(SEGMENTS)
        return table.count_rows(f"{VECTOR} IS NOT NULL") if VECTOR in table.schema.names else 0

    def _build_index(self) -> None:
        from lancedb.index import BTree, HnswSq

        table = self._table(SEGMENTS)
        partitions = 1 + self._num_vectors() // ROWS_PER_PARTITION
        table.create_index("id", config=BTree())  # else `take` compares the ids of all rows
        table.create_index(VECTOR, config=HnswSq(distance_type="cosine", num_partitions=partitions))

    def verify(self) -> list[str]:
        return self._faults()

    def _faults(self, with_rows: bool = True) -> list[str]:
        if self._records is None:
            return []
        faults = self._records.differing(with_rows)
        if faults and os.access(self.folder, os.W_OK):  # a writer may just have deleted them
            with self.locked():
                recorded = self._records.read()
            faults = {path: fault for path, fault in faults.items() if path in recorded}
        return [f"{self.folder / path} {fault}." for path, fault in sorted(faults.items())]

    def _refuse_damage(self) -> None:
        """Before files are made of others, whose damage would no longer be seen; rows have checksums of their own."""
        if faults := self._faults(with_rows=False):
            raise IndexDamagedError(f"{self.uri} is damaged, and is left as it is:\n" + "\n".join(faults))

    def describe(self) -> dict[str, Any]:
        with self._named_errors():
            table, index = self._table(SEGMENTS), self._index()
            stats = table.index_stats(index) if index else None
            figures = {
                "store": "lancedb",
                "rows": table.count_rows(THERE),
                "version": table.version,
                "index": stats.index_type if stats else None,
                "unindexed_rows": stats.num_unindexed_rows if stats else table.count_rows(),
            }
        if self.folder:
            files = (os.path.join(place, name) for place, _, names in os.walk(self.folder) for name in names)
            figures |= {"bytes": sum(map(os.path.getsize, files)), "unrecorded_files": len(self._records.unrecorded())}
        return figures


def _connect(uri: str, storage_options: dict[str, str]):
    _put_off(HTTP_CLIENT)
    try:
        import lancedb
    except ImportError as error:
        raise ImportError("An index needs LanceDB: pip install 'clipbert[search]'") from error
    os.environ.setdefault("LANCE_INCLUDE_VECTOR_CENTROIDS", "false")  # in figures of an index; else it warns of them
    return lancedb.connect(uri, read_consistency_interval=timedelta(0), storage_options=storage_options or None)


def _put_off(package: str) -> None:
    """Run the `__init__` of a package when somebody asks for a name in it; its modules can be imported before."""
    spec = None if package in sys.modules else importlib.util.find_spec(package)
    if spec is None:
        return
    module = importlib.util.module_from_spec(spec)

    def run_and_find(name: str) -> Any:
        if name.startswith("__"):  # the machinery of imports looks for these
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        vars(module).pop("__getattr__", None)
        spec.loader.exec_module(module)
        return getattr(module, name)

    module.__getattr__ = run_and_find
    sys.modules[package] = module


def _same(column: str) -> str:
    """Whether a row and what would take its place have one value, or none, in a column."""
    return f"(target.{column} = source.{column} OR (target.{column} IS NULL AND source.{column} IS NULL))"


def _tombstones(ids: Sequence[str], schema: pa.Schema) -> pa.Table:
    """Rows of nothing but NULLs: they take the places of others in the step that writes what comes instead."""
    columns = {field.name: pa.nulls(len(ids), field.type) for field in schema}
    return pa.table(columns | {"id": pa.array(ids, pa.string())}, schema=schema)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _listed(texts: Collection[str]) -> str:
    return f"({', '.join(map(_quoted, texts))})"


__all__ = ["LanceStore"]
