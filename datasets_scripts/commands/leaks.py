# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What splits of a benchmark share although they should not: ids, recordings, files of the same content."""

from contextlib import suppress
from dataclasses import dataclass

import pyarrow as pa
from tqdm import tqdm

from clipbert.datasets_scripts.building.base import VideoFacts
from clipbert.datasets_scripts.building.file_memory import FileMemory, file_state
from clipbert.support.files import hash_file


@dataclass
class Leak:
    """Something that two splits share: `kind` is "id", "recording" or "content"; `videos` are the ids by split."""

    kind: str
    value: str
    videos: dict[str, list[str]]

    def __str__(self) -> str:
        places = "; ".join(
            f"{split}: {', '.join(ids[:3])}{' ...' * (len(ids) > 3)}" for split, ids in self.videos.items()
        )
        return f"same {self.kind} {self.value} in {places}"


def find_leaks(listed: dict[str, pa.Table], facts: dict[str, VideoFacts]) -> list[Leak]:
    """Videos, and recordings of different videos, that occur in several splits."""
    by_file, by_recording = {}, {}
    for split, part in listed.items():
        for video_id, path in zip(part["id"].to_pylist(), part["path"].to_pylist(), strict=True):
            # one id for two files, as in a user's own folders of splits, is no leak
            by_file.setdefault((video_id, path), {})[split] = [video_id]
            recording = facts.get(video_id, VideoFacts()).recording
            if recording is not None:
                by_recording.setdefault(recording, {}).setdefault(split, {})[video_id] = path
    shared = {file: videos for file, videos in by_file.items() if len(videos) > 1}
    leaks = [Leak("id", video_id, videos) for (video_id, _), videos in shared.items()]
    for recording, videos in by_recording.items():
        own = {split: [each for each in ids.items() if each not in shared] for split, ids in videos.items()}
        ids = {split: [video_id for video_id, _ in files] for split, files in own.items() if files}
        if len(ids) > 1:
            leaks.append(Leak("recording", recording, ids))
    return leaks


def find_same_content(
    listed: dict[str, pa.Table], missing: set[str], memory: FileMemory, progress: bool
) -> list[Leak]:
    """Files with the same bytes under two names in two splits. Only files of equal size are read."""
    by_size: dict[int, dict[str, dict[str, str]]] = {}  # size -> split -> path -> id
    states = {}
    for split, part in listed.items():
        for video_id, path in zip(part["id"].to_pylist(), part["path"].to_pylist(), strict=True):
            with suppress(OSError):  # gone since it was looked at
                if path in missing:
                    continue
                states[path] = states.get(path) or file_state(path)
                by_size.setdefault(states[path][0], {}).setdefault(split, {})[path] = video_id
    candidates = [
        places
        for size, places in by_size.items()
        if size and len(places) > 1 and len(set().union(*places.values())) > 1
    ]
    paths = dict.fromkeys(path for places in candidates for files in places.values() for path in files)
    digests = {}
    for path in tqdm(paths, desc="comparing files", disable=None if progress and paths else True):
        with suppress(OSError):  # it cannot be read: the check says so
            digests[path] = remembered_hash(path, states[path], memory)
    by_content: dict[str, dict[str, dict[str, str]]] = {}
    for places in candidates:
        for split, files in places.items():
            for path in digests.keys() & files.keys():
                by_content.setdefault(digests[path], {}).setdefault(split, {})[path] = files[path]
    return [
        Leak(
            "content", f"sha256 {digest[:12]}", {split: sorted(set(files.values())) for split, files in places.items()}
        )
        for digest, places in by_content.items()
        if len(places) > 1 and len(set().union(*places.values())) > 1
    ]


def remembered_hash(path: str, state: list[int], memory: FileMemory) -> str:
    digest = memory.recall(path, state, "sha256")
    if digest is None:
        digest = hash_file(path)
        memory.remember(path, state, "sha256", digest)
    return digest
