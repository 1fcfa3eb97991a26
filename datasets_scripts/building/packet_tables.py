# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Writing the packet indexes of a collection into its folder; see `processing/packet_tables.py`."""

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
from safetensors.numpy import save
from tqdm import tqdm

from clipbert.support.files import whole_file


def keep_packet_indexes(root: str | Path, names: Iterable[str], progress: bool = False) -> int:
    """
    Bring the table of a collection up to date: a row for each of its videos, as it is now.

    Args:
        root (`str` or `Path`): The folder of the collection.
        names (`Iterable[str]`): Its videos, by their paths below `root`. What the table has of other ones is dropped.
        progress (`bool`, defaults to `False`): Show a progress bar.

    Returns:
        `int`: Of how many videos the packets were listed.
    """
    from clipbert.processing import packet_tables as tables
    from clipbert.processing.video_reader import VideoReader
    from clipbert.processing.video_sources import VideoDecodeError

    path, before, rows, num_listed = os.path.join(root, tables.TABLE), None, {}, 0
    with suppress(OSError, ValueError):  # there is none, or none that can be read
        before = tables.PacketTable(path)
    names = sorted({Path(name).as_posix() for name in names})
    names = [name for name in names if name.count("/") < tables.MOST_FOLDERS]  # others are not found
    for name in tqdm(names, desc="listing packets", disable=None if progress else True):
        file = os.path.join(root, name)
        try:
            size, mark = os.stat(file).st_size, tables.mark_of(file)
            index = before and before.find(name, size, mark)
            if index is None:
                num_listed += 1
                with VideoReader(file, file) as reader:
                    index = reader.index
        except (OSError, VideoDecodeError):  # told to whoever reads it
            continue
        if tables.is_plain(index) and tables.mark_of(file) == mark:
            digests = {"marks": list(mark), "checks": list(tables.check_of(index))}
            rows[name] = (index, {"last_durations": index.last_duration, "sizes": size, **digests})
    if before is not None and not num_listed and list(rows) == list(before.rows):
        return 0
    if not rows:
        with suppress(FileNotFoundError):
            os.unlink(path)
        return num_listed
    tensors = {
        part: np.concatenate([getattr(index, part) for index, _ in rows.values()]).astype(kind)
        for part, (kind, _) in tables.OF_PACKETS.items()
    }
    tensors |= {
        part: np.array([own[part] for _, own in rows.values()], kind) for part, (kind, _) in tables.OF_VIDEOS.items()
    }
    tensors["starts"] = np.cumsum([0, *(len(index.pts) for index, _ in rows.values())])
    with whole_file(path) as partial:
        told = {tables.ENTRY: json.dumps({"version": tables.VERSION, "names": list(rows)})}
        Path(partial).write_bytes(save(tensors, told))  # not by `save_file`, whose files nobody else may read
    return num_listed


__all__ = ["keep_packet_indexes"]
