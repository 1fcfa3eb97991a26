# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Pictures into the frames that ClipBERT sees.

The pixels are those of the original ClipBERT: RGB from 0 to 255 in float32, the longer side scaled to L by bilinear
interpolation without antialiasing, zeros at the right and at the bottom up to L x L, then the mean subtracted. Each
frame goes through this once, however many clips show it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from transformers.image_utils import SizeDict

from .transforms import (
    longer_side_size,
    normalize_channels,
    pad_to_square,
    resize_longer_side,
    shrink_large_picture,
)
from .video_processing import SparseVideoOptions, SparseVideoProcessor


LARGE_PIXELS = 2560 * 1440  # pictures beyond are not copied in float32, which takes 12 bytes for a pixel


class ClipBERTVideoOptions(SparseVideoOptions, total=False):
    """Options of [`ClipBERTVideoProcessor`], which documents them."""

    do_pad: bool


class ClipBERTVideoProcessor(SparseVideoProcessor):
    r"""Turns videos, or images, into the `pixel_values` of a ClipBERT model.

    Args:
        do_resize (`bool`, defaults to `True`): Whether to scale the longer side to `size["longest_edge"]`.
        size (`int` or `dict`, defaults to `{"longest_edge": 448}`): Side of the square that the model sees.
        max_aspect_ratio (`float`, *optional*, defaults to 5.0): Videos more elongated than that are refused, as in the
            original. `None` takes all. Images are never refused.
        do_pad (`bool`, defaults to `True`): Whether to pad to a square. Without it all frames of a batch must come out
            equal in size.
        do_rescale (`bool`, defaults to `False`): Whether to multiply pixels by `rescale_factor` before normalisation,
            as CNNs trained on pixels in [0, 1] need it.
        image_mean (`list[float]`, defaults to `[123.675, 116.28, 103.53]`): Mean of R, G and B.
        image_std (`list[float]`, defaults to `[1.0, 1.0, 1.0]`): Standard deviation of R, G and B.
        kwargs: What all video processors share: see [`SparseVideoProcessor`].

    Example:
        >>> processor = ClipBERTVideoProcessor(size=64)
        >>> video = np.zeros((30, 48, 36, 3), dtype=np.uint8)
        >>> processor(video, num_clips=3)["pixel_values"].shape
        torch.Size([1, 3, 2, 3, 64, 64])
        >>> batch = processor([video, video[:9]], num_clips=2, fps=1, video_metadata={"fps": 10}, return_metadata=True)
        >>> batch["frame_seconds"].tolist()
        [[[0.5, 1.5], [1.5, 2.5]], [[0.2, 0.6], [0.2, 0.6]]]
    """

    size = {"longest_edge": 448}
    max_aspect_ratio = 5.0
    do_pad = True
    do_rescale = False
    image_mean = [123.675, 116.28, 103.53]
    image_std = [1.0, 1.0, 1.0]

    valid_kwargs = ClipBERTVideoOptions

    def transform(self, picture: np.ndarray, options: dict[str, Any]) -> torch.Tensor:
        """A frame `(height, width, 3)` in uint8 to `(3, new_height, new_width)` in float32."""
        side = options["size"]["longest_edge"]
        pixels = torch.from_numpy(picture).to(options["device"])
        if options["do_resize"] and pixels.shape[0] * pixels.shape[1] > LARGE_PIXELS:
            frames = shrink_large_picture(pixels, side)
        else:
            # Still channels-last in memory, in which interpolating three channels takes a fifth of the time.
            frames = pixels.permute(2, 0, 1)[None].float()
            if options["do_resize"]:
                frames = resize_longer_side(frames, side)
        if options["do_pad"]:
            frames = pad_to_square(frames, side)
        if options["do_rescale"]:
            frames = frames.mul_(options["rescale_factor"])
        if options["do_normalize"]:
            frames = normalize_channels(frames, options["image_mean"], options["image_std"])
        return frames[0]

    def check_picture_size(self, height: int, width: int, options: dict[str, Any]) -> None:
        if options["do_resize"]:
            longer_side_size(height, width, options["size"]["longest_edge"])

    def _standardize_kwargs(
        self, size: int | dict[str, int] | SizeDict | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """`size=448` means `{"longest_edge": 448}` here, not a square that ignores the aspect ratio."""
        size = dict(size or {}) if size is None or isinstance(size, (Mapping, SizeDict)) else {"longest_edge": size}
        side = size.get("longest_edge")
        if set(size) != {"longest_edge"} or not isinstance(side, int) or isinstance(side, bool) or side < 1:
            raise ValueError(f'Expected size={{"longest_edge": L}} or size=L with L of at least 1, got size={size}.')
        return super()._standardize_kwargs(size=size, **kwargs)
