# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Which store an address means."""

from collections.abc import Collection

import pyarrow as pa

from clipbert.search.lance_store import LanceStore
from clipbert.search.protocols import SearchIndexError, VideoStore


SCHEMES = ("s3", "gs", "az", "db")  # of LanceDB, besides folders


def create_store(uri: str, schema: pa.Schema, overwrite: bool = False, **storage_options: str) -> VideoStore:
    """
    A new store without rows.

    Args:
        uri (`str`): A folder, or an address: `s3://`, `gs://`, `az://` (object storage) or `db://` (a LanceDB server); `qdrant:FOLDER`,
            `qdrant+http://` or `qdrant+https://` (Qdrant).
        schema (`pa.Schema`): Columns; those of `rows.FACTS` come first.
        overwrite (`bool`, *optional*, defaults to `False`): Delete the index that is there.
        storage_options: Keys and the like, as the engine calls them.

    Raises:
        SearchIndexError: If there is something already, nothing is known of such an address, or options are given for a folder.
        ImportError: If an extra is missing; it says which.
    """
    return _store_class(uri, storage_options).create(str(uri), schema, overwrite, **storage_options)


def open_store(uri: str, **storage_options: str) -> VideoStore:
    """
    The store at an address; see [`create_store`].

    Raises:
        SearchIndexError: If there is none.
        IndexDamagedError: If it cannot be read.
        ImportError: If an extra is missing; it says which.
    """
    return _store_class(uri, storage_options).open(str(uri), **storage_options)


def _store_class(uri: str, options: Collection[str]):
    uri = str(uri)
    if uri.startswith(("qdrant:", "qdrant+http://", "qdrant+https://")):
        from clipbert.search.qdrant_store import QdrantStore

        return QdrantStore
    scheme, found, _ = uri.partition("://")
    if found and scheme not in SCHEMES:
        raise SearchIndexError(
            f"{uri}: expected a folder, {', '.join(f'{each}://' for each in SCHEMES)}, qdrant:FOLDER or qdrant+https://."
        )
    if options and not found:
        raise SearchIndexError(
            f"{uri} is a folder, which takes no option {min(options)!r}: expected the address of a server."
        )
    return LanceStore


__all__ = ["create_store", "open_store"]
