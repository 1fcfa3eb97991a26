# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Video loading that spends its time the way the official code does, written from a description of its behaviour.

For every clip the container is opened again, sought, and decoded from the key frame before the clip; all frames of
the clip's window are kept, although a few are used. An evaluation with several clips first decodes the whole video to
learn its last time stamp. Each clip is resized, padded and stacked on its own; the mean is subtracted at the end.
"""

from collections.abc import Sequence

import av
import numpy as np
import torch
import torch.nn.functional as F


PIXEL_MEAN = (123.675, 116.28, 103.53)
SEEK_MARGIN = 1024  # ticks before the clip
TRUSTED_SHARE = 0.8  # of the header's duration that the last time stamp has to reach


def load_clips(path, *, num_clips, num_frames, fps, longest_edge, draws: Sequence[float] | None = None):
    """
    Clips of one video, ready for the model.

    Args:
        path (`str`): Video file.
        num_clips, num_frames (`int`): Clips, and frames of a clip.
        fps (`float`): Frames a second inside a clip.
        longest_edge (`int`): Side of the padded square.
        draws (`Sequence[float]`, *optional*): A number in [0, 1) for each clip of a training sample. Without them the
            clips are those of an evaluation: clip k of n.

    Returns:
        `torch.FloatTensor` of shape `(clips, frames, 3, longest_edge, longest_edge)`.

    Raises:
        ValueError: If a clip has no frame.
    """
    is_evaluation = draws is None and num_clips > 1
    duration = guarded_duration(path) if is_evaluation else None
    clips = []
    for index in range(num_clips):
        position = index / num_clips if draws is None else draws[index]
        frames = decode_clip(path, position, num_frames, fps, duration)
        if not frames:
            raise ValueError(f"{path}: clip {index} of {num_clips} has no frame")
        clips.append(resize_and_pad(np.stack(frames), longest_edge))
    mean = torch.tensor(PIXEL_MEAN).reshape(3, 1, 1)
    return torch.stack(clips) - mean


def guarded_duration(path):
    """Duration in ticks: that of the header, or the last time stamp where that falls far short of it."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        last = max(frame.pts for frame in container.decode(stream))
        return last if stream.duration and last < TRUSTED_SHARE * stream.duration else stream.duration


def decode_clip(path, position, num_frames, fps, duration=None):
    """Pictures `(height, width, 3)` of one clip; `position` in [0, 1] says where in the room for its start it lies."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        clip_size = num_frames / fps * float(stream.average_rate)
        duration = duration or stream.duration
        if duration:
            ticks = duration / stream.frames
            start = max(stream.frames - clip_size, 0) * position
            window = decode_window(container, stream, int(start * ticks), int((start + clip_size - 1) * ticks))
            first, last = 0.0, clip_size - 1
        else:  # no duration in the header: decode all, then count
            window = sorted(container.decode(stream), key=lambda frame: frame.pts)
            first = max(len(window) - clip_size, 0) * position
            last = first + clip_size - 1
        if not window:
            return []
        places = torch.linspace(first, last, num_frames).clamp(0, len(window) - 1).long().tolist()
        return [window[place].to_ndarray(format="rgb24") for place in places]


def decode_window(container, stream, start_pts, end_pts):
    """Frames from `start_pts` up to the first one beyond `end_pts`, by time."""
    container.seek(max(start_pts - SEEK_MARGIN, 0), stream=stream, backward=True, any_frame=False)
    window = []
    for frame in container.decode(stream):
        if frame.pts < start_pts:
            continue
        window.append(frame)
        if frame.pts > end_pts:
            break
    return sorted(window, key=lambda frame: frame.pts)


def resize_and_pad(pictures, longest_edge):
    """Pictures `(frames, height, width, 3)` to floats `(frames, 3, longest_edge, longest_edge)` in 0..255."""
    frames = torch.from_numpy(pictures).permute(0, 3, 1, 2).float()
    height, width = frames.shape[-2:]
    if height >= width:
        size = longest_edge, int(longest_edge * width / height)
    else:
        size = int(longest_edge * height / width), longest_edge
    frames = F.interpolate(frames, size=size, mode="bilinear", align_corners=False)
    return F.pad(frames, (0, longest_edge - size[1], 0, longest_edge - size[0]))
