# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What happens to the pixels of a frame: resize the longer side, pad to a square, normalise. Pure torch.

The order is the official one, and it matters: padding comes before the mean is subtracted, so that the border holds
`-mean / std` and not zero, and checkpoints were trained with such borders.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def longer_side_size(height: int, width: int, longest_edge: int) -> tuple[int, int]:
    """Size of a picture whose longer side is scaled, up or down, to `longest_edge`; the shorter side is cut to int.

    Raises:
        ValueError: If the picture is so elongated that its shorter side would vanish.

    Example:
        >>> longer_side_size(360, 640, 448)
        (252, 448)
    """
    if height >= width:
        size = longest_edge, int(longest_edge * width / height)
    else:
        size = int(longest_edge * height / width), longest_edge
    if min(size) < 1:
        raise ValueError(
            f"A picture of {height}x{width} (height x width) has no pixels left on its shorter side when the longer "
            f'one becomes {longest_edge}: use a larger size["longest_edge"], or crop the picture first.'
        )
    return size


def resize_longer_side(frames: Tensor, longest_edge: int) -> Tensor:
    """Scale frames so that their longer side is `longest_edge`: bilinear, no antialiasing, nothing rounded.

    Args:
        frames (`torch.Tensor` of shape `(frames, channels, height, width)`): Floating point frames. Fastest in
            channels-last memory format.
        longest_edge (`int`): Length of the longer side afterwards, in pixels.

    Returns:
        `torch.Tensor` of shape `(frames, channels, new_height, new_width)`: `frames` itself where it has that size already.
    """
    size = longer_side_size(*frames.shape[-2:], longest_edge)
    if size == tuple(frames.shape[-2:]):  # each new pixel is an old one
        return frames
    return F.interpolate(frames, size=size, mode="bilinear", align_corners=False, antialias=False)


def shrink_large_picture(picture: Tensor, longest_edge: int) -> Tensor:
    """What `resize_longer_side` makes of a picture, without a copy of all its pixels in floating point.

    Bilinear interpolation without antialiasing reads four pixels for each new one.

    Args:
        picture (`torch.Tensor` of shape `(height, width, channels)`): The picture, of any type.
        longest_edge (`int`): Length of the longer side afterwards, in pixels.

    Returns:
        `torch.Tensor` of shape `(1, channels, new_height, new_width)`, in float32.
    """
    size = longer_side_size(*picture.shape[:2], longest_edge)
    (rows, y), (columns, x) = (
        _neighbours(old, new, picture.device) for old, new in zip(picture.shape[:2], size, strict=True)
    )
    # (2, new_height, 2, new_width, channels)
    read = picture[rows.flatten()][:, columns.flatten()].float().unflatten(1, (2, -1)).unflatten(0, (2, -1))
    of_rows = read[:, :, 0] * (1 - x)[:, None] + read[:, :, 1] * x[:, None]
    return (of_rows[0] * (1 - y)[:, None, None] + of_rows[1] * y[:, None, None]).permute(2, 0, 1)[None]


def _neighbours(old_length: int, new_length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """For each new pixel of a line, the two old ones between whose centres it lies `(2, new)`, and the second's weight."""
    place = (torch.arange(new_length, device=device) + 0.5) * (old_length / new_length) - 0.5
    place = place.clamp(min=0)
    first = place.long()
    return torch.stack([first, (first + 1).clamp(max=old_length - 1)]), place - first


def centre_square(picture):
    """The square in the middle of a picture `(height, width, channels)`: side m = min(height, width), from
    `height // 2 - m // 2` and `width // 2 - m // 2` on, as the course report (VNU, 2024) cuts it."""
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = height // 2 - side // 2, width // 2 - side // 2
    return picture[top : top + side, left : left + side]


def resize_as_cv2(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """What `cv2.resize(picture, (width, height))` gives: bilinear without antialiasing, in whole numbers.

    Args:
        picture (`np.ndarray` of shape `(height, width, channels)`): The picture, in uint8.
        height, width (`int`): Size afterwards. A picture of exactly twice the size becomes the mean of four pixels, as there.

    Returns:
        `np.ndarray` of shape `(height, width, channels)`, in uint8.
    """
    old_height, old_width = picture.shape[:2]
    if (old_height, old_width) == (2 * height, 2 * width):
        pairs = picture.reshape(height, 2, width, 2, -1).astype(np.int32).sum(axis=(1, 3))
        return ((pairs + 2) >> 2).astype(np.uint8)
    (rows, y), (columns, x) = _cv2_weights(old_height, height), _cv2_weights(old_width, width, at_edge=0.0)
    read = picture.astype(np.int32)
    across = read[:, columns[0]] * x[0][:, None] + read[:, columns[1]] * x[1][:, None]  # (old height, width, channels)
    first, second = ((across[rows[n]] >> 4) * y[n][:, None, None] >> 16 for n in (0, 1))
    return (first + second + 2 >> 2).clip(0, 255).astype(np.uint8)


def _cv2_weights(old: int, new: int, at_edge: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The two old pixels of a line that each new one lies between `(2, new)`, and their weights, of 2048 together.

    Beyond the first and the last, both are the same one; `at_edge` is the weight that the second then has, if it is changed.
    """
    place = ((np.arange(new) + 0.5) * (old / new) - 0.5).astype(np.float32)
    first = np.floor(place).astype(np.int64)
    weight = place - first.astype(np.float32)
    if at_edge is not None:
        weight[(first < 0) | (first >= old - 1)] = at_edge
    weights = np.stack([np.float32(1) - weight, weight]) * np.float32(2048)
    return np.stack([first, first + 1]).clip(0, old - 1), np.rint(weights).astype(np.int32)


def pad_to_square(frames: Tensor, side: int) -> Tensor:
    """Add zeros at the right and at the bottom until frames are `side` x `side`; such ones are given back as they are.

    Raises:
        ValueError: If a frame is larger than that already.
    """
    height, width = frames.shape[-2:]
    if max(height, width) > side:
        raise ValueError(
            f"Frames of {height}x{width} (height x width) do not fit into {side}x{side}: resize them first "
            "(`do_resize=True`), or pad to a larger side."
        )
    if height == width == side:
        return frames
    padded = frames.new_zeros((*frames.shape[:2], side, side))
    padded[..., :height, :width] = frames
    return padded


def check_channel_statistics(
    mean: float | Sequence[float], std: float | Sequence[float], num_channels: int = 3
) -> None:
    """Raise `ValueError` for a mean that is not finite, or a standard deviation that is not finite or not above 0."""
    for name, value, low in (("image_mean", mean, -math.inf), ("image_std", std, 0)):
        numbers = value if isinstance(value, Sequence) else [value] * num_channels
        if len(numbers) != num_channels:
            raise ValueError(f"Got {name} of {len(numbers)} numbers for frames of {num_channels} channels: {value}.")
        if not all(math.isfinite(number) and number > low for number in numbers):
            raise ValueError(f"{name} must hold finite numbers{' above 0' if low == 0 else ''}, got {value}.")


def normalize_channels(frames: Tensor, mean: float | Sequence[float], std: float | Sequence[float]) -> Tensor:
    """Subtract a mean and divide by a standard deviation, both per channel. Changes `frames` in place.

    Args:
        frames (`torch.Tensor` of shape `(frames, channels, height, width)`): Floating point frames.
        mean (`float` or sequence of `float`): One number, or one per channel, in the unit of the pixels.
        std (`float` or sequence of `float`): Likewise, above 0.

    Raises:
        ValueError: If one of them has another number of channels, or cannot be a mean or a standard deviation.
    """
    mean, std = (tuple(value) if isinstance(value, Sequence) else value for value in (mean, std))
    mean, std = _channel_statistics(mean, std, frames.shape[1], frames.dtype, frames.device)
    frames.sub_(mean)
    return frames if std is None else frames.div_(std)


@lru_cache(maxsize=16)
def _channel_statistics(
    mean: float | tuple[float, ...],
    std: float | tuple[float, ...],
    num_channels: int,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[Tensor, Tensor | None]:
    """Checked, and as tensors `(channels or 1, 1, 1)`; `None` for a deviation of 1. They are the same for picture after picture."""
    check_channel_statistics(mean, std, num_channels)
    mean, std = (torch.as_tensor(value, dtype=dtype).reshape(-1, 1, 1) for value in (mean, std))
    return mean.to(device), None if bool((std == 1).all()) else std.to(device)
