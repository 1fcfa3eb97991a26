# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Which frames of a video make its clips. Numbers in, frame numbers out: no video is opened here.

A *clip* is a stretch of the video that lasts `num_frames / fps` seconds and is shown to the model as `num_frames`
frames. Two questions are answered one after the other: where do the clips lie (*strategy* and *placement*), and which
frames inside each clip are taken.

    |<------------------------- video ------------------------->|
    |[  clip 0  ]      [  clip 1  ]      [  clip 2  ]      [  clip 3  ]|      uniform, even placement
    |  .  .  .  .                                                 |      frames: the middles of equal parts

`placement="even"` covers the whole video. `placement="official"` makes exactly the choices of the original ClipBERT
code, whose released numbers depend on them: its clips stop short of the end of the video, its "middle" starts at a
third, and a clip's frames are its first and last ones rather than the middles of its parts.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple, Protocol

import numpy as np


STRATEGIES = ("uniform", "random", "start", "middle", "end", "whole_video")
PLACEMENTS = ("even", "official")
SHORT_VIDEO_RULES = ("repeat", "mask", "error")

# The original "start", "middle" and "end" are clips 0, 1 and 2 of 3, laid out like the clips of an evaluation.
OFFICIAL_THIRDS = {"start": 0, "middle": 1, "end": 2}
# The original multi-clip evaluation distrusts a header whose duration exceeds the last time stamp by more than this.
OFFICIAL_TRUSTED_SHARE = 0.8


class RandomSource(Protocol):
    """Anything with `random()` in [0, 1): `numpy.random.Generator`, Python's `random.Random` or the module itself."""

    def random(self) -> float: ...


class ClipSample(NamedTuple):
    """Frame numbers of the clips of one video.

    Attributes:
        frame_indices (`np.ndarray` of shape `(num_clips, num_frames)`): Frame numbers in output order, int64.
        clip_mask (`np.ndarray` of shape `(num_clips,)`): True where the clip exists. A clip that does not exist
            repeats the frames of an existing one, so that it can be decoded and stacked like the others.
    """

    frame_indices: np.ndarray
    clip_mask: np.ndarray


@dataclass(frozen=True, eq=False)
class VideoTiming:
    """Time stamps of a video, as its header states them and as its frames carry them.

    Args:
        frame_pts (`np.ndarray` of shape `(frames,)`, *optional*): Time stamp of each frame that the file holds, in
            ticks of `time_base` and in output order. `None` if the file has no time stamps.
        header_num_frames (`int`): Frames according to the header; 0 where it does not say.
        header_duration (`int`, *optional*): Duration of the video stream in ticks; `None` where the header does not
            say.
        header_fps (`float`, *optional*): Average frame rate according to the header.
        time_base (`Fraction`): Seconds in a tick.
        start_pts (`int`): Time stamp of the first frame.
        is_complete (`bool`): False if the file holds fewer frames than its header promises.
    """

    frame_pts: np.ndarray | None = field(repr=False)
    header_num_frames: int = 0
    header_duration: int | None = None
    header_fps: float | None = None
    time_base: Fraction = Fraction(1)
    start_pts: int = 0
    is_complete: bool = True

    @classmethod
    def constant_rate(cls, num_frames: int, fps: float | None = None) -> "VideoTiming":
        """Timing of frames that come without a file: one tick a frame, starting at 0."""
        time_base = Fraction(1) if fps is None else 1 / Fraction(fps).limit_denominator(1_000_000)
        return cls(np.arange(num_frames), num_frames, num_frames, fps, time_base)


def build_rng(*keys: int | str) -> np.random.Generator:
    """Build a random generator that depends on `keys` alone, e.g. `(seed, epoch, sample_id)`.

    The same keys give the same numbers in every process, with any number of loader workers and in any order of
    samples. Neighbouring keys give unrelated numbers.

    Args:
        keys (`int` or `str`): At least one. The order counts.

    Example:
        >>> build_rng(42, 0, "video7500").random() == build_rng(42, 0, "video7500").random()
        True
        >>> build_rng(42, 0, "video7500").random() == build_rng(42, 1, "video7500").random()
        False
    """
    if not keys:
        raise ValueError("build_rng needs at least one key, e.g. build_rng(seed, epoch, sample_id); got none.")
    if bad := [key for key in keys if not isinstance(key, (int, str, np.integer))]:
        raise TypeError(
            f"Keys of build_rng must be integers or strings, got {bad[0]!r} of type {type(bad[0]).__name__}."
        )
    text = repr(tuple(key if isinstance(key, str) else int(key) for key in keys))
    return np.random.default_rng(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "big"))


def sample_clips(
    total_num_frames: int,
    video_fps: float | None = None,
    *,
    num_clips: int = 1,
    num_frames: int = 1,
    fps: float | None = None,
    strategy: str = "uniform",
    placement: str = "even",
    short_video: str = "repeat",
    rng: RandomSource | None = None,
    timing: VideoTiming | None = None,
) -> ClipSample:
    """Choose the frames of `num_clips` clips of `num_frames` frames each.

    **Length of a clip.** `num_frames / fps` seconds; where frames come unevenly, by their time stamps if `timing` has
    them. Without `fps` the clips are the `num_clips` equal parts of the video.

    **Strategies**, in even placement:

    - `uniform`: evenly spaced; the first clip starts with the video, the last one ends with it. A single clip lies in
      the centre.
    - `random`: each clip starts anywhere it fits, independently of the others, returned in order of time. Without
      `fps` the clips stay the equal parts and one random frame is drawn from each of the `num_frames` equal parts of
      a clip.
    - `start`, `middle`, `end`: one clip at the very start, in the centre, at the very end. Needs `fps`.
    - `whole_video`: the clips together cover the whole video; `fps` is ignored.

    In even placement the frames of a clip are the middles of its `num_frames` equal parts.

    **Official placement** repeats the choices of the original code, to be compared with numbers measured with it:
    `uniform` is clip k of n as its evaluation places them, `start`/`middle`/`end` are clips 0, 1, 2 of 3,
    `whole_video` is the strategy that the original calls "uniform", `random` draws one number per clip. It
    compares raw time stamps and header values, so it needs `timing`, and it fails on videos on which the original
    returned nothing.

    **Short videos.** A video is short if it lasts less than one clip, or has fewer places for a clip than `num_clips`
    (places that differ by a whole frame).

    - `repeat`: a clip that is longer than the video becomes the whole video, frames and clips repeat. (In official
      placement a clip keeps its length and its last frame repeats.)
    - `mask`: as many clips as the video has places for, at least one; the others are marked False in `clip_mask`. In
      official placement the clips without a single frame are the ones marked.
    - `error`: `ValueError`, also if a clip has fewer frames than `num_frames`.

    Inside a clip frames may repeat under `repeat` and `mask`: 4 frames at 8 fps of a video with 2 fps are 1 frame four
    times.

    Args:
        total_num_frames (`int`): Frames in the video, at least 1.
        video_fps (`float`, *optional*): Frames a second of the video. Needed if `fps` is given.
        num_clips (`int`): Clips to place; 1 for `start`, `middle` and `end`.
        num_frames (`int`): Frames of a clip.
        fps (`float`, *optional*): Frames a second inside a clip.
        strategy (`str`): One of `STRATEGIES`.
        placement (`str`): `"even"` or `"official"`.
        short_video (`str`): `"repeat"`, `"mask"` or `"error"`.
        rng (*optional*): Source of random numbers for `random`; only its method `random()` is used. See [`build_rng`].
        timing ([`VideoTiming`], *optional*): Time stamps, for clips of so many seconds; with the header's values, for
            official placement.

    Returns:
        [`ClipSample`]: `frame_indices` of shape `(num_clips, num_frames)` and `clip_mask` of shape `(num_clips,)`.

    Raises:
        ValueError: If an argument is out of range or unknown, if something needed is missing, or if the video is short
            and `short_video="error"`.

    Example:
        >>> sample_clips(100, 25.0, num_clips=3, num_frames=2, fps=2).frame_indices.tolist()
        [[6, 18], [43, 56], [81, 93]]
        >>> sample_clips(100, num_clips=1, num_frames=4).frame_indices.tolist()
        [[12, 37, 62, 87]]
        >>> sample_clips(3, num_clips=4, short_video="mask").clip_mask.tolist()
        [True, True, True, False]
    """
    _check_choice("strategy", strategy, STRATEGIES)
    _check_choice("placement", placement, PLACEMENTS)
    _check_choice("short_video", short_video, SHORT_VIDEO_RULES)
    for name, value in (("total_num_frames", total_num_frames), ("num_clips", num_clips), ("num_frames", num_frames)):
        if value != int(value) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}.")
    for name, rate in (("fps", fps), ("video_fps", video_fps)):
        if rate is not None and not 0 < rate < np.inf:
            raise ValueError(f"{name} must be a positive number of frames a second or None, got {rate!r}.")
    if strategy in OFFICIAL_THIRDS and num_clips != 1:
        raise ValueError(
            f"strategy={strategy!r} names one clip, got num_clips={num_clips}: use 'uniform' for several."
        )
    if strategy == "random" and rng is None:
        raise ValueError("strategy='random' needs rng, e.g. rng=build_rng(seed, epoch, sample_id).")

    if placement == "official":
        if timing is None:
            raise ValueError("placement='official' needs timing (a VideoTiming): it compares raw time stamps.")
        return _sample_official(timing, num_clips, num_frames, fps, strategy, short_video, rng)
    if strategy in OFFICIAL_THIRDS and fps is None:
        raise ValueError(f"strategy={strategy!r} needs fps: without it, the one clip is the whole video.")
    clip_length = None  # in frames of the video
    if fps is not None and strategy != "whole_video":
        if video_fps is None and total_num_frames > 1:
            raise ValueError(
                f"fps={fps} needs the frame rate of the video: pass video_fps, or fps=None for equal parts."
            )
        clip_length = num_frames / fps * (video_fps or fps)
    frame_at = None if clip_length is None else _frames_by_time(total_num_frames, video_fps, timing)
    return _sample_even(total_num_frames, clip_length, num_clips, num_frames, strategy, short_video, rng, frame_at)


def _check_choice(name: str, value: str, known: Iterable[str]):
    if value not in known:
        raise ValueError(f"Unknown {name} {value!r}: choose one of {', '.join(known)}.")


# ----------------------------------------------------------------------------------------------------------- even


def _frames_by_time(
    total_num_frames: int, video_fps: float | None, timing: VideoTiming | None
) -> Callable[[np.ndarray], np.ndarray] | None:
    """What is shown at a time, which is counted in frames of `video_fps`; `None` if that is simply the frame so far on.

    A frame is shown from its time stamp to the next one. Time stamps that never leave the even rate by a whole frame
    say nothing more than the rate.
    """
    pts = None if timing is None else timing.frame_pts
    if pts is None or video_fps is None or len(pts) < 2 or np.any(np.diff(pts) <= 0):
        return None
    begins = (np.asarray(pts) - pts[0]).astype(np.float64) * float(timing.time_base) * video_fps
    if np.abs(begins - np.arange(len(begins))).max() <= 1:
        return None
    missing = np.arange(1, total_num_frames - len(begins) + 1)  # of a file that is cut off
    begins = np.concatenate([begins, begins[-1] + missing])
    return lambda times: np.searchsorted(begins, times + 1e-6, side="right") - 1


def _sample_even(
    total_num_frames, clip_length, num_clips, num_frames, strategy, short_video, rng, frame_at=None
) -> ClipSample:
    num_places = _count_places(total_num_frames, clip_length, num_clips)
    if short_video == "error":
        _refuse_short(total_num_frames, clip_length, num_clips, num_frames, num_places)
    num_placed = min(num_clips, num_places) if short_video == "mask" else num_clips

    length = min(clip_length or total_num_frames / num_placed, total_num_frames)
    in_parts = clip_length is None
    starts = _even_starts(total_num_frames - length, num_placed, "uniform" if in_parts else strategy, rng)
    if in_parts and strategy == "random":
        offsets = np.array([[rng.random() for _ in range(num_frames)] for _ in range(num_placed)])
    else:
        offsets = np.full((num_placed, num_frames), 0.5)
    parts = (np.arange(num_frames) + offsets) / num_frames  # (placed, frames), in [0, 1)
    times = starts[:, None] + parts * length  # (placed, frames), in frames of the video
    indices = np.floor(times).astype(np.int64) if frame_at is None else frame_at(times)
    indices = np.clip(indices, 0, total_num_frames - 1)  # float rounding at the very end

    rows = np.minimum(np.arange(num_clips), num_placed - 1)  # clips that do not exist repeat the last one
    return ClipSample(indices[rows], np.arange(num_clips) < num_placed)


def _count_places(total_num_frames, clip_length, num_clips) -> int:
    """Number of clips that fit with starts a whole frame apart, at least 1 and at most `num_clips`."""
    room = total_num_frames - (clip_length or total_num_frames / num_clips)
    return int(np.clip(np.floor(room + 1e-9) + 1, 1, num_clips))


def _refuse_short(total_num_frames, clip_length, num_clips, num_frames, num_places):
    length = clip_length or total_num_frames / num_clips
    if length > total_num_frames * (1 + 1e-9):
        problem = f"a clip of {length:.2f} frames is longer than the video of {total_num_frames}"
    elif num_places < num_clips:
        problem = f"a video of {total_num_frames} frames has {num_places} places for a clip, not {num_clips}"
    elif num_frames > length * (1 + 1e-9):
        problem = f"a clip of {length:.2f} frames cannot give {num_frames} different ones"
    else:
        return
    raise ValueError(
        f"The video is too short: {problem}. Ask for less, or choose short_video='repeat' or 'mask' instead of 'error'."
    )


def _even_starts(room: float, num_clips: int, strategy: str, rng: RandomSource | None) -> np.ndarray:
    """First frame (a real number) of each clip, if the start can move by `room` frames."""
    if strategy == "random":
        return np.sort([room * rng.random() for _ in range(num_clips)])
    if num_clips == 1:
        return np.array([room * {"start": 0.0, "end": 1.0}.get(strategy, 0.5)])
    return room * np.arange(num_clips) / (num_clips - 1)


# ------------------------------------------------------------------------------------------------------- official


def _sample_official(timing, num_clips, num_frames, fps, strategy, short_video, rng) -> ClipSample:
    """The original choice of frames; each step keeps the original's arithmetic, types and truncations."""
    if timing.frame_pts is None or len(timing.frame_pts) == 0:
        raise ValueError("placement='official' needs time stamps, and this video has none: use placement='even'.")
    if strategy == "whole_video" and num_clips != 1:
        raise ValueError(f"placement='official' knows one clip that is the whole video, got num_clips={num_clips}.")
    if strategy != "whole_video" and (fps is None or timing.header_fps is None):
        missing = "fps" if fps is None else "the frame rate of the video, which its header does not state"
        raise ValueError(f"placement='official' with strategy={strategy!r} needs {missing}.")

    duration = timing.header_duration
    if strategy == "uniform" and num_clips > 1:
        duration = _guarded_duration(timing)
    if duration and timing.header_num_frames == 0:
        raise ValueError("placement='official' fails on this video: its header states a duration but zero frames.")
    size = timing.header_num_frames if duration else len(timing.frame_pts)  # frames
    clip_length = size if strategy == "whole_video" else num_frames / fps * timing.header_fps
    if short_video == "error":
        _refuse_short(size, clip_length, 1, num_frames, 1)

    clips = []
    for clip in range(num_clips):
        start, end = official_window(size, clip_length, *_official_position(strategy, clip, num_clips), rng=rng)
        window = _official_frames(timing, duration, size, start, end)
        if duration:
            start, end = 0, clip_length - 1  # counted from the first frame of the window
        if strategy == "whole_video":
            start, end = 0, len(window) - 1
        positions = official_positions(start, end, num_frames, len(window))
        clips.append(window[positions] if len(window) else None)
    return _stack_official(clips, short_video)


def _official_position(strategy: str, clip: int, num_clips: int) -> tuple[int | None, int]:
    """(k, n) of "clip k of n"; k is None for a random clip."""
    if strategy == "random":
        return None, num_clips
    if strategy in OFFICIAL_THIRDS:
        return OFFICIAL_THIRDS[strategy], len(OFFICIAL_THIRDS)
    return clip, num_clips


def official_window(
    video_size: float, clip_size: float, clip: int | None, num_clips: int, rng: RandomSource | None = None
) -> tuple[float, float]:
    """First and last frame (real numbers) of clip `clip` of `num_clips`, as the original places it.

    The clips of an evaluation start at `k/n` of the room, so the last one never reaches the end of the video. A
    random clip (`clip=None`) draws one number from `rng`.
    """
    room = max(video_size - clip_size, 0)
    start = 0 + room * rng.random() if clip is None else room * clip / num_clips
    return start, start + clip_size - 1


def official_positions(start: float, end: float, num_frames: int, list_size: int) -> np.ndarray:
    """Positions in a list of `list_size` frames: `num_frames` from `start` to `end`, in float32, clamped, truncated."""
    start, end = np.float32(start), np.float32(end)
    if num_frames == 1:
        positions = np.array([start])
    else:
        step = np.float64((end - start) / np.float32(num_frames - 1))
        counted = np.arange(num_frames)
        # Counted from both ends; product and sum are rounded once, to float32, as a fused multiply-add does.
        first_half = np.float64(start) + step * counted
        second_half = np.float64(end) - step * (num_frames - 1 - counted)
        positions = np.where(counted < num_frames // 2, first_half, second_half).astype(np.float32)
    return np.clip(positions, 0, list_size - 1).astype(np.int64)


def _guarded_duration(timing: VideoTiming) -> int | None:
    """Duration that several clips of one video share: the last time stamp if the header's is far beyond it."""
    duration, last = timing.header_duration, int(np.max(timing.frame_pts))
    if not timing.is_complete:
        raise ValueError(
            "placement='official' reads a video to its end before it places several clips, and this file ends early: "
            f"{len(timing.frame_pts)} of {timing.header_num_frames} frames. Fetch it again, or use placement='even'."
        )
    if duration is not None and last < OFFICIAL_TRUSTED_SHARE * duration:
        return last
    return duration


def _official_frames(timing, duration, size, start, end) -> np.ndarray:
    """Frames that the original decodes for the clip from frame `start` to `end`, in order of time; maybe none."""
    pts = np.asarray(timing.frame_pts)
    if not duration:  # the original then reads the whole video
        return np.argsort(pts, kind="stable")

    ticks = duration / size  # in a frame
    first_pts, last_pts = int(start * ticks), int(end * ticks)
    beyond = np.flatnonzero((pts > last_pts) & (pts >= first_pts))
    if not len(beyond) and not timing.is_complete:
        raise ValueError(
            f"The file ends before the clip does: it holds {len(pts)} of {timing.header_num_frames} frames, the clip "
            f"goes from frame {start:.1f} to {end:.1f}. Fetch the file again."
        )
    stop = beyond[0] + 1 if len(beyond) else len(pts)  # the first frame beyond the end still belongs to the clip
    window = np.flatnonzero(pts[:stop] >= first_pts)
    return window[np.argsort(pts[window], kind="stable")]


def _stack_official(clips: list[np.ndarray | None], short_video: str) -> ClipSample:
    clip_mask = np.array([clip is not None for clip in clips])
    if not clip_mask.all() and (short_video != "mask" or not clip_mask.any()):
        empty = int(np.flatnonzero(~clip_mask)[0])
        raise ValueError(
            f"No frame lies in clip {empty} of {len(clips)}: the frames of this video end before its header says. "
            "Use placement='even', or short_video='mask' to go on with the other clips."
        )
    stand_in = clips[int(np.flatnonzero(clip_mask)[0])]
    return ClipSample(np.stack([stand_in if clip is None else clip for clip in clips]).astype(np.int64), clip_mask)
