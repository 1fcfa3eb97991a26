# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Whether tensors are what a CI-MHA model can read; what is not is named in a `ValueError`.

Shapes and types are looked at everywhere. Values are looked at on the CPU alone: on an accelerator every step would wait
for the answer.
"""

import torch
from torch import nn


def values_are_known(tensor):
    """Whether the values of a tensor can be looked at without waiting."""
    is_real = type(tensor) in (torch.Tensor, nn.Parameter)  # not one that stands for another, as a fake tensor
    return is_real and tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def listed(values):
    """The first five of some values, for a message."""
    return ", ".join(map(str, values[:5])) + (", ..." if len(values) > 5 else "")


def shape_of(given):
    return tuple(given.shape) if isinstance(given, torch.Tensor) else type(given).__name__


def check_shape(name, tensor, described, num_axes, shape=None):
    """Whether it is a tensor of so many axes, none of them empty, or of exactly this shape."""
    is_tensor = isinstance(tensor, torch.Tensor)
    if not is_tensor or tensor.ndim != num_axes or 0 in tensor.shape or (shape is not None and tensor.shape != shape):
        wanted = described if shape is None else f"{described} = {tuple(shape)}"
        raise ValueError(f"{name} must be a tensor of shape {wanted}, none of them 0; got {shape_of(tensor)}.")


def check_integers(name, tensor, low, high, meaning, ignored=None):
    """Whether integers lie in [low, high], or are the one that is left out."""
    if tensor.dtype not in (torch.int32, torch.int64):  # torch takes bytes that select for a mask
        raise ValueError(f"{name} must hold integers (torch.int64), got {tensor.dtype}.")
    if not values_are_known(tensor):
        return
    wrong = (tensor < low) | (tensor > high)
    if ignored is not None:
        wrong &= tensor != ignored
    if wrong.any():
        besides = "" if ignored is None else f", or be {ignored} where there is none"
        values = sorted(set(tensor[wrong].tolist()))
        raise ValueError(f"{name} must lie in [{low}, {high}], {meaning}{besides}; got {listed(values)}.")


def check_finite(name, tensor, advice, exists=None):
    """Whether values are numbers, those that exist alone."""
    if not values_are_known(tensor) or not tensor.numel():
        return
    # the extremes carry every NaN and infinity, and are found ten times as fast as by looking at each value
    if all(extreme.isfinite() for extreme in tensor.aminmax()):
        return
    if exists is None or not tensor[exists].isfinite().all():
        raise ValueError(f"{name} must be finite, got NaN or infinity. {advice}")


def check_mask(name, mask, shape, what, device, is_prefix=False):
    """A mask as booleans; without one everything exists. Every row needs one `what` at least."""
    if mask is None:
        return torch.ones(shape, dtype=torch.bool, device=device)
    if not isinstance(mask, torch.Tensor) or mask.shape != shape:
        raise ValueError(f"{name} must be a tensor of shape {tuple(shape)}, got {shape_of(mask)}.")
    exists = mask.to(device).bool()
    if values_are_known(mask):
        if (wrong := (mask != 0) & (mask != 1)).any():
            raise ValueError(f"{name} must hold 1 for a {what} and 0 for padding, got {listed(mask[wrong].tolist())}.")
        if not (has_any := exists.any(dim=1)).all():
            empty = (~has_any).nonzero().flatten().tolist()
            raise ValueError(f"Every row of {name} needs a {what} that exists, but it is all 0 for {listed(empty)}.")
        if is_prefix and (late := (exists[:, 1:] & ~exists[:, :-1]).any(dim=1)).any():
            raise ValueError(
                f"{name} must have its 1s first, padding behind them: a {what} has its place by its number. It has not in row "
                f"{listed(late.nonzero().flatten().tolist())}."
            )
    return exists


def check_videos(config, video_features, pixel_values, frame_mask, grad_segments):
    """Whether a video is given once, in a shape that can be read; `(videos, segments)` and its device."""
    if grad_segments is None and (video_features is None) == (pixel_values is None):
        raise ValueError(
            "One of video_features and pixel_values is needed, got both or neither. (Both go with grad_segments, which says "
            "what segments the frames are of.)"
        )
    if grad_segments is not None and (video_features is None or pixel_values is None):
        raise ValueError(
            "grad_segments says which of the segments in video_features pixel_values shows: it needs both."
        )
    for name, given, axes in (
        ("video_features", video_features, "(videos, segments, features)"),
        ("pixel_values", pixel_values, "(videos, segments, frames, 3, height, width)"),
    ):
        if given is None:
            continue
        check_shape(name, given, axes, axes.count(",") + 1)
        if not given.is_floating_point():
            raise ValueError(f"{name} must be floating point, as the processor makes them; got {given.dtype}.")
    if video_features is not None and video_features.shape[-1] != config.video_feature_size:
        raise ValueError(
            f"video_features have {video_features.shape[-1]} numbers a segment, but this model reads "
            f"{config.video_feature_size} (video_feature_size): they were made by another encoder."
        )
    if pixel_values is not None and pixel_values.shape[3] != 3:
        raise ValueError(f"pixel_values must have 3 colours before height and width, got {shape_of(pixel_values)}.")
    if frame_mask is not None:
        if pixel_values is None:
            raise ValueError("frame_mask says which frames of pixel_values exist, which are missing.")
        check_shape("frame_mask", frame_mask, "(videos, segments, frames)", 3, pixel_values.shape[:3])
    if grad_segments is not None:
        check_shape("grad_segments", grad_segments, "(videos, shown)", 2, pixel_values.shape[:2])
        check_integers("grad_segments", grad_segments, 0, video_features.shape[1] - 1, "the segments", ignored=-1)
    given = pixel_values if video_features is None else video_features
    if given.shape[1] > config.max_segments:
        raise ValueError(
            f"Videos have {given.shape[1]} segments, but this model has places for {config.max_segments} (max_segments). Pool "
            "them, or ask of windows of the video, one by one."
        )
    return given.shape[:2], given.device


def check_pairs(num_queries, num_videos, video_indices):
    """Whether each sentence has a video."""
    if video_indices is None:
        if num_queries != num_videos:
            raise ValueError(
                f"Without video_indices there must be one sentence per video, but there are {num_queries} for {num_videos} "
                "videos. Say which video each asks of with video_indices."
            )
        return
    check_shape("video_indices", video_indices, "(queries,)", 1, (num_queries,))
    check_integers("video_indices", video_indices, 0, num_videos - 1, "the videos")


def check_moments(start_positions, end_positions, mask):
    """Whether positions are segments that exist, the first not behind the last, and missing together."""
    num_queries, num_segments = mask.shape
    for name, given in (("start_positions", start_positions), ("end_positions", end_positions)):
        check_shape(name, given, "(queries,)", 1, (num_queries,))
        check_integers(name, given, 0, num_segments - 1, "the segments", ignored=-100)
    if not (values_are_known(start_positions) and values_are_known(end_positions) and values_are_known(mask)):
        return
    is_none = start_positions == -100
    wrong = (is_none != (end_positions == -100)) | (start_positions > end_positions)
    wrong |= ~is_none & (end_positions >= mask.sum(dim=1))
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise ValueError(
            f"Moment {row} goes from segment {int(start_positions[row])} to {int(end_positions[row])} of "
            f"{int(mask[row].sum())}: the first must not lie behind the last, nor the last in padding; -100 twice for none."
        )


__all__ = [
    "check_finite",
    "check_integers",
    "check_mask",
    "check_moments",
    "check_pairs",
    "check_shape",
    "check_videos",
    "listed",
    "values_are_known",
]
