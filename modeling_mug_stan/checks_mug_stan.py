# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Whether tensors are what a Mug-STAN model can read; what is not is named in a `ValueError`.

Shapes and types are looked at everywhere. Values are looked at on the CPU alone: on an accelerator every step would wait
for the answer.
"""

from collections.abc import Mapping

import torch
from torch import nn


def values_are_known(tensor):
    """Whether the values of a tensor can be looked at without waiting."""
    is_real = type(tensor) in (torch.Tensor, nn.Parameter)  # not one that stands for another, as a fake tensor
    return is_real and tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def listed(values):
    """The first five of some values, for a message."""
    return ", ".join(map(str, values[:5])) + (", ..." if len(values) > 5 else "")


def check_shape(name, tensor, shape, described="of shape"):
    """Whether it is a tensor of exactly this shape."""
    if not isinstance(tensor, torch.Tensor) or tensor.shape != shape:
        raise ValueError(f"{name} must be a tensor {described} {tuple(shape)}, got {_shape_or_type(tensor)}.")


def _shape_or_type(given):
    return tuple(given.shape) if isinstance(given, torch.Tensor) else type(given).__name__


def check_integers(name, tensor, low, high, meaning, ignored=None):
    """Whether integers lie in [low, high), or are the one that is left out."""
    if not isinstance(tensor, torch.Tensor):
        raise ValueError(f"{name} must be a torch.Tensor, got {type(tensor).__name__} (return_tensors='pt').")
    if tensor.dtype not in (torch.int32, torch.int64):  # torch takes bytes that select for a mask
        raise ValueError(f"{name} must hold integers (torch.int64), got {tensor.dtype}.")
    if not values_are_known(tensor) or not tensor.numel():
        return
    wrong = (tensor < low) | (tensor >= high)
    if ignored is not None:
        wrong &= tensor != ignored
    if wrong.any():
        besides = "" if ignored is None else f", or be {ignored} where there is nothing to learn"
        values = sorted(set(tensor[wrong].tolist()))
        raise ValueError(f"{name} must lie in [{low}, {high}), {meaning}{besides}; got {listed(values)}.")


# ---------------------------------------------------------------------------------------------------------------------
# Videos
# ---------------------------------------------------------------------------------------------------------------------


def to_six_dimensions(pixel_values):
    """Frames as `(videos, views, frames, 3, height, width)`; five dimensions are one view each, four are images."""
    if not isinstance(pixel_values, torch.Tensor):
        raise ValueError(f"pixel_values must be a torch.Tensor, got {type(pixel_values).__name__}.")
    shape = tuple(pixel_values.shape)
    if pixel_values.ndim == 4:  # images
        pixel_values = pixel_values[:, None, None]
    elif pixel_values.ndim == 5:  # one view per video
        pixel_values = pixel_values[:, None]
    if pixel_values.ndim != 6 or pixel_values.shape[3] != 3 or 0 in shape:
        turned = ""
        if len(shape) in (5, 6) and shape[-3] != 3 and shape[-1] == 3:
            turned = " The colours stand last: they come before height and width."
        elif len(shape) in (5, 6) and shape[-3] != 3 and shape[-4] == 3:
            turned = " The colours stand before the frames: frames come first."
        raise ValueError(
            "pixel_values must have the shape (videos, views, frames, 3, height, width), or (videos, frames, 3, height, "
            f"width) for one view each, or (images, 3, height, width), none of them empty; got {shape}.{turned}"
        )
    if not pixel_values.is_floating_point():
        raise ValueError(
            f"pixel_values must be the floating point output of the processor, got {pixel_values.dtype}: raw frames lack "
            "resizing and normalisation."
        )
    return pixel_values


def check_frames(pixel_values, embeddings, interpolate_pos_encoding):
    """Whether the vision tower has positions for frames of this size, and their values are numbers."""
    (height, width), side, patch = pixel_values.shape[-2:], embeddings.image_size, embeddings.patch_size
    if (height, width) != (side, side) and not interpolate_pos_encoding:
        raise ValueError(
            f"Frames have {height}x{width} pixels, but this CLIP has positions for {side}x{side}. Let the processor make that "
            "size, or pass interpolate_pos_encoding=True."
        )
    if min(height, width) < patch:
        raise ValueError(f"Frames of {height}x{width} pixels are smaller than one patch ({patch}x{patch}).")
    # the extremes carry every NaN and infinity, and are found ten times as fast as by looking at each value
    if values_are_known(pixel_values) and not all(extreme.isfinite() for extreme in pixel_values.aminmax()):
        raise ValueError(
            "pixel_values must be finite, got NaN or infinity. Look at the videos, and at image_mean and image_std of the "
            "processor."
        )


def check_boxes(boxes, height, width):
    """Whether boxes `(boxes, 4)` lie in the picture."""
    if not isinstance(boxes, torch.Tensor) or boxes.ndim != 2 or boxes.shape[1] != 4 or not len(boxes):
        raise ValueError(f"boxes must be a tensor of shape (boxes, 4), one box at least; got {_shape_or_type(boxes)}.")
    if not values_are_known(boxes):
        return
    x1, y1, x2, y2 = boxes.unbind(dim=1)
    fine = (x1 >= 0) & (x1 < x2) & (x2 <= width) & (y1 >= 0) & (y1 < y2) & (y2 <= height)  # NaN is not
    if not fine.all():
        wrong = (~fine).nonzero().flatten().tolist()
        raise ValueError(
            f"boxes must be x1 < x2 and y1 < y2 in pixels of the {width}x{height} picture; box {wrong[0]} is "
            f"{[round(value, 2) for value in boxes[wrong[0]].tolist()]} ({len(wrong)} such boxes)."
        )


# ---------------------------------------------------------------------------------------------------------------------
# Texts
# ---------------------------------------------------------------------------------------------------------------------


def check_texts(input_ids, attention_mask, vocab_size, longest):
    """Whether texts fit their mask, the vocabulary and the positions."""
    check_integers("input_ids", input_ids, 0, vocab_size, "the tokens of the vocabulary (vocab_size)")
    if input_ids.ndim != 2 or 0 in input_ids.shape:
        raise ValueError(
            f"input_ids must have the shape (texts, length), none of them 0, got {tuple(input_ids.shape)}."
        )
    if input_ids.shape[1] > longest:
        raise ValueError(
            f"Texts have {input_ids.shape[1]} tokens, but this CLIP has positions for {longest}. Let the processor cut them."
        )
    if attention_mask is None:
        return
    check_shape("attention_mask", attention_mask, input_ids.shape, "of the shape of input_ids")
    if not values_are_known(attention_mask):
        return
    if (wrong := (attention_mask != 0) & (attention_mask != 1)).any():
        raise ValueError(
            f"attention_mask must hold 1 for tokens and 0 for padding, got {listed(attention_mask[wrong].tolist())}."
        )
    if not (has_words := attention_mask.any(dim=1)).all():
        empty = (~has_words).nonzero().flatten().tolist()
        raise ValueError(
            f"attention_mask must keep a token of every text at least, but it is all 0 for {listed(empty)}."
        )


# ---------------------------------------------------------------------------------------------------------------------
# What belongs together
# ---------------------------------------------------------------------------------------------------------------------


def check_pairs(rows, num_rows, num_videos, video_indices):
    """Whether `rows` (texts, boxes) are told which video each of them belongs to."""
    if video_indices is None:
        if num_rows != num_videos:
            raise ValueError(
                f"Without video_indices there must be one of the {rows} per video, but there are {num_rows} for "
                f"{num_videos} videos. Say which video each belongs to with video_indices."
            )
        return
    check_integers("video_indices", video_indices, 0, num_videos, "the number of videos")
    if video_indices.shape != (num_rows,):
        raise ValueError(
            f"video_indices {tuple(video_indices.shape)} must name one video for each of the {num_rows} {rows}."
        )


def paired(rows, num_rows, videos, video_indices):
    """`videos`, one for each row."""
    check_pairs(rows, num_rows, len(videos), video_indices)
    return videos if video_indices is None else videos[video_indices]


def check_features(name, given, parts, dimensions, size):
    """Whether texts or videos are what a model of this feature size makes of them; the first part is looked at."""
    missing = [part for part in parts if not isinstance(given, Mapping) or given.get(part) is None]
    shape = None if missing else tuple(given[parts[0]].shape)
    if missing or len(shape) not in dimensions or shape[-1] != size:
        got = f"no {listed(missing)}" if missing else f"{parts[0]} of shape {shape}"
        raise ValueError(
            f"{name} must be what encode_{name[:-1]} or encode_{name} of this model returned, with features of {size} "
            f"numbers; got {got}."
        )


__all__ = [
    "check_boxes",
    "check_features",
    "check_frames",
    "check_integers",
    "check_pairs",
    "check_shape",
    "check_texts",
    "listed",
    "paired",
    "to_six_dimensions",
    "values_are_known",
]
