# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Whether a video or an image can be read, checked at three levels, and remembered until the file changes.

header   the file opens, its packets are all there and the first picture decodes (images: the structure is sound)
frames   also a middle picture and the last one: finds files that were cut off or that break in between
full     every picture: also finds fewer frames than the header promises, and notes where the picture stands still
"""

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import partial

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from tqdm import tqdm

from clipbert.datasets_scripts.building.file_memory import FileMemory, file_state
from clipbert.datasets_scripts.building.workers import run_in_processes
from clipbert.support.terminal import printable


LEVELS = ("header", "frames", "full")  # each finds what those before it find
FULL_TIMEOUT_S = 3600.0
# A picture stands still if it changes by no more than the noise of a codec for so long, unless it is all of one colour.
# Some scenes really are that calm: this is worth a look, and no proof of a fault.
FROZEN_S, FROZEN_STEP, FROZEN_MIN_CONTRAST = 1.0, 1, 2.0


@dataclass
class Probe:
    """What is known about a file.

    Args:
        reason (`str`): Why it cannot be used; empty if it can.
        duration_s (`float`, *optional*): Length of a video.
        num_frames (`int`, *optional*): Frames of a video.
        frozen_s (`tuple[float, float]`, *optional*): The longest time for which the picture stands still, from when to
            when, if it is suspicious; only `full` looks for it.
    """

    reason: str = ""
    duration_s: float | None = None
    num_frames: int | None = None
    frozen_s: tuple[float, float] | None = None


CRASHED = Probe(reason="reading it ends the process (a crash inside the decoder, or no memory left)")


def probe_files(
    paths: Iterable[str],
    level: str = "frames",
    media: str = "video",
    num_workers: int = 0,
    memory_file: str | os.PathLike | None = None,
    progress: bool = True,
) -> dict[str, Probe]:
    """Look at files that are there; those known from before are not opened again.

    Args:
        paths (`Iterable[str]`): The files.
        level (`str`, defaults to `"frames"`): One of `LEVELS`.
        media (`str`, defaults to `"video"`): `"video"` or `"image"`.
        num_workers (`int`, defaults to 0): Processes that open files; 0: this one.
        memory_file (`str` or `Path`, *optional*): Where results are kept; default: a file in the cache of `datasets`.
        progress (`bool`, defaults to `True`): Show a progress bar.

    Returns:
        `dict[str, Probe]`: By path, in the order of `paths`.
    """
    if level not in LEVELS:
        raise ValueError(f"Expected `level` to be one of {', '.join(LEVELS)}, got {level!r}")
    if num_workers < 0:
        raise ValueError(f"Expected `num_workers` to be 0 or more, got {num_workers}")
    paths = list(paths)
    probes, states, unknown = {}, {}, []
    with FileMemory(memory_file) as memory:
        for path in paths:
            try:
                states[path] = file_state(path)
            except OSError as error:  # gone since the folder was listed
                probes[path] = Probe(reason=plain_reason(error))
                continue
            probes[path] = recall_probe(memory, path, states[path], level, media)
            if probes[path] is None:
                unknown.append(path)
        with tqdm(
            total=len(paths),
            initial=len(paths) - len(unknown),
            desc=f"checking {media}s",
            disable=None if progress else True,
        ) as bar:
            function = partial(probe_media, level=level, media=media)
            if unknown and num_workers:
                import clipbert.processing.decoding  # noqa: F401  once here, rather than in each process that is forked
            for path, probe in run_in_processes(function, unknown, min(num_workers, len(unknown)), CRASHED):
                memory.remember(path, states[path], memory_key(level, media), asdict(probe))
                probes[path] = probe
                bar.update()
    return probes


def probe_media(path: str, level: str, media: str = "video") -> Probe:
    """Open one file and say what is known about it."""
    from clipbert.processing import decoding  # torch and transformers only when a file is opened

    try:
        if media == "image":
            return probe_image(path, level)
        if level == "full":
            return probe_every_frame(path)
        if level == "frames":
            metadata = decoding.decode_video(path, first_middle_last).metadata
        else:
            metadata = decoding.read_video_metadata(path)
    except Exception as error:  # whatever a library raises for one file: the others are still to be looked at
        return Probe(reason=plain_reason(error))
    probe = Probe(duration_s=metadata.duration, num_frames=metadata.total_num_frames)
    if metadata.damage:
        probe.reason = metadata.damage.rstrip(".")
    elif not metadata.timing.is_complete:
        probe.reason = f"cut off: it ends before the last of the {metadata.total_num_frames} frames that it promises"
    return probe


def first_middle_last(metadata) -> list[int]:
    last = metadata.total_num_frames - 1
    return [0, last // 2, last]


def probe_image(path: str, level: str) -> Probe:
    from PIL import Image

    from clipbert.processing.visual_inputs import load_image

    if level != "header":
        load_image(path)
        return Probe()
    with Image.open(path) as image:
        image.verify()
    return Probe()


def probe_every_frame(path: str) -> Probe:
    from clipbert.processing.decoding import read_video_metadata
    from clipbert.processing.video_reader import VideoReader

    metadata = read_video_metadata(path)
    promised, pts = metadata.total_num_frames, metadata.timing.frame_pts
    seconds = metadata.seconds_of(range(promised if pts is None else len(pts))) or [0.0]
    stillness, counted = Stillness(), []
    with VideoReader(path, path, timeout_s=FULL_TIMEOUT_S) as reader:
        for frame in reader.all_frames():
            stillness.see(frame, seconds[min(len(counted), len(seconds) - 1)])
            counted.append(frame.pts)
        reader.look_for_lost_frames(counted)
        damage, num_frames = reader.known_damage, len(counted)
    probe = Probe(duration_s=metadata.duration, num_frames=num_frames, frozen_s=stillness.suspicious_s())
    if damage or num_frames < promised:
        shortage = f"only {num_frames} of the {promised} frames that it promises come out"
        probe.reason = f"{shortage}; {damage}" if damage else shortage
    return probe


class Stillness:
    """The longest time for which the picture of a video does not change."""

    def __init__(self):
        self.shrink = VideoReformatter()
        self.previous: np.ndarray | None = None
        self.since_s, self.longest_s = 0.0, (0.0, 0.0)

    def see(self, frame: av.VideoFrame, second: float) -> None:
        small = self.shrink.reformat(frame, width=32, height=32, format="gray8", interpolation="AREA")
        picture = small.to_ndarray().astype(np.int16)
        is_still = self.previous is not None and np.abs(picture - self.previous).max() <= FROZEN_STEP
        if not is_still or picture.std() < FROZEN_MIN_CONTRAST:
            self.since_s = second
        self.previous = picture
        self.longest_s = max(self.longest_s, (self.since_s, second), key=lambda span: span[1] - span[0])

    def suspicious_s(self) -> tuple[float, float] | None:
        start_s, end_s = self.longest_s
        return (round(start_s, 3), round(end_s, 3)) if end_s - start_s >= FROZEN_S else None


def plain_reason(error: Exception) -> str:
    """What is wrong, without the path: reports name it already."""
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None)
    reason = reason or f"{type(error).__name__}: {error}".rstrip(": ")
    frame = getattr(error, "frame_index", None)
    return printable(f"frame {frame}: {reason}" if frame else reason)


def memory_key(level: str, media: str) -> str:
    return f"{media} {level}, av {av.__version__}"  # another FFmpeg may find otherwise


def recall_probe(memory: FileMemory, path: str, state: list[int], level: str, media: str) -> Probe | None:
    """A result of this level or of a stricter one; what failed a milder one fails this one too."""
    wanted = LEVELS.index(level)
    for number, other in sorted(enumerate(LEVELS), reverse=True):
        facts = memory.recall(path, state, memory_key(other, media))
        if facts is not None and (number >= wanted or facts["reason"]):
            return Probe(**facts)
    return None
