# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""An index made again by other models: beside the old one, which answers until the new one takes its place."""

import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clipbert.search import upkeep
from clipbert.search.index import ROLES, VideoIndex
from clipbert.search.protocols import SearchIndexError


logger = logging.getLogger(__name__)


def reencode(
    uri: str | os.PathLike, models: Mapping[str, Any], device: str | None = None, **options: Any
) -> VideoIndex:
    """
    Encode all videos of an index again; if interrupted, the old one is as it was.

    Metadata, filters and names stay. Videos whose files have vanished are not in the new one. Thresholds and what was distilled do not: they belong to the old models.

    Args:
        uri (`str` or `os.PathLike`): An index in a folder.
        models (`dict`): By `"encoder"`, `"reranker"`, `"locator"`; those that are `None` stay.
        device (`str`, *optional*): Where models run.
        options: Of [`VideoIndex.add`].

    Raises:
        SearchIndexError: If it lies elsewhere than in a folder.
    """
    folder = Path(uri).absolute()
    if not folder.is_dir():
        raise SearchIndexError(f"{uri}: only an index in a folder can be encoded again; make a new one with `create`.")
    old = VideoIndex.open(folder)
    settings = old.settings
    beside = folder.with_name(f".{folder.name}.reencoded")
    names = {
        role: models.get(role) or (None if getattr(settings, role) is None else getattr(settings, role).name)
        for role in ROLES
    }
    new = VideoIndex.create(
        beside,
        settings.root,
        **names,
        segment_s=settings.segment_s,
        dtype=settings.dtype,
        keep_clips=settings.keep_clips,
        follow_links=settings.follow_links,
        overwrite=True,
        device=device,
        **{
            f"{role}_options": getattr(settings, role).options
            for role in ("encoder", "reranker")
            if models.get(role) is None and getattr(settings, role) is not None
        },
    )
    videos = upkeep.all_videos(old)
    report = new.add(metadata=upkeep.read_metadata_of(old, videos) or None, **options)
    logger.info("encoded again: %s", report)
    if lost := sorted(set(videos) - set(report.added)):
        logger.info(
            "%d videos are no longer in the index, such as %s: no file, or none that can be read", len(lost), lost[0]
        )
    replaced = folder.with_name(f".{folder.name}.replaced")
    shutil.rmtree(replaced, ignore_errors=True)
    with old.store.locked():
        folder.rename(replaced)
        beside.rename(folder)
    shutil.rmtree(replaced)
    return VideoIndex.open(folder, device=device)


__all__ = ["reencode"]
