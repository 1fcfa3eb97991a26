# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What an index remembers of how it was made: data, no code, read with care."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from clipbert.search.protocols import SearchIndexError


FORMAT_VERSION = 1
SETTING = "index"  # its name in the store


@dataclass
class ModelSettings:
    """
    A model that an index was made with.

    Args:
        name (`str`): Folder of a run or of a checkpoint, or a name on the Hub.
        fingerprint (`str`): Of weights, config and processor.
        options (`dict`): Options that it was loaded with, such as `num_clips`.
    """

    name: str
    fingerprint: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class IndexSettings:
    """
    Args:
        root (`str`): The folder, or address, below which the videos lie.
        segment_s (`float`, *optional*): Longest segment; `None`: one for each video.
        dtype (`str`): Of what is kept for exact scores.
        follow_links (`bool`): Whether links that leave the root are followed.
        keep_clips (`bool`): Whether the encoded clips of the reranker are in the index.
        encoder, reranker, locator ([`ModelSettings`], *optional*): The models.
        thresholds (`dict[str, float]`): By the stage that orders last: what sentences that belong to nothing seldom reach.
        min_first_kept (`float`): Share of first places that distilled heads have to keep to be used.
        format_version (`int`): Of the layout.
    """

    root: str
    segment_s: float | None = 60.0
    dtype: str = "float32"
    follow_links: bool = False
    keep_clips: bool = True
    encoder: ModelSettings | None = None
    reranker: ModelSettings | None = None
    locator: ModelSettings | None = None
    thresholds: dict[str, float] = field(default_factory=dict)
    min_first_kept: float = 0.9
    format_version: int = FORMAT_VERSION

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self), ensure_ascii=False, indent=1).encode()

    @classmethod
    def from_bytes(cls, value: bytes | None, uri: str) -> "IndexSettings":
        """
        Raises:
            SearchIndexError: If there are none, they cannot be read, or a newer version wrote them.
        """
        if value is None:
            raise SearchIndexError(
                f"{uri} is no finished index: it has no settings. Make it again: `clipbert index create --overwrite`."
            )
        try:
            found = json.loads(value)
            version = found["format_version"]
            if version > FORMAT_VERSION:
                raise SearchIndexError(
                    f"{uri} was written in format {version}, this version reads {FORMAT_VERSION}: "
                    "`pip install --upgrade clipbert`."
                )
            models = {name: _read_model(found.pop(name, None)) for name in ("encoder", "reranker", "locator")}
            known = {one.name for one in fields(cls)}
            settings = cls(**{name: value for name, value in found.items() if name in known}, **models)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, SearchIndexError):
                raise
            raise SearchIndexError(f"{uri}: the settings of the index cannot be read ({error!r}).") from error
        _check(settings, uri)
        return settings


def _read_model(found: Mapping[str, Any] | None) -> ModelSettings | None:
    return None if found is None else ModelSettings(**found)


def _check(settings: IndexSettings, uri: str) -> None:
    """Types of what came from a file."""
    expected = {
        "root": str,
        "segment_s": (int, float, type(None)),
        "dtype": str,
        "follow_links": bool,
        "keep_clips": bool,
        "thresholds": dict,
        "min_first_kept": float,
    }
    for name, kind in expected.items():
        if not isinstance(value := getattr(settings, name), kind):
            raise SearchIndexError(f"{uri}: the setting {name} of the index is {value!r}.")


__all__ = ["FORMAT_VERSION", "SETTING", "IndexSettings", "ModelSettings"]
