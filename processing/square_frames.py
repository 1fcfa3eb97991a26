# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Pictures into squares, as image models take them: the square in the middle, resized, and what training changes about it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from transformers.image_utils import SizeDict

from .augmentation import Augmentation
from .transforms import centre_square, normalize_channels, resize_as_cv2
from .video_processing import Seed, SparseVideoProcessor, read_square


INTERPOLATIONS = ("bilinear", "bicubic", "cv2_bilinear")


class SquareVideoProcessor(SparseVideoProcessor):
    """
    What processors share whose frames are squares. Which frames, and how they lie in a batch, is for those to say; their
    options have `interpolation` and `augmentation`.

    Args:
        size (`int` or `dict`, defaults to `{"height": 224, "width": 224}`): Side of the square that the model sees.
        interpolation (`str`, defaults to `"bilinear"`): `"bilinear"` or `"bicubic"`, with antialiasing, or
            `"cv2_bilinear"`, which is OpenCV's `INTER_LINEAR` on bytes (without).
        augmentation (`dict`, *optional*): How clips are changed in training; see [`Augmentation`]. It draws from `seeds`;
            without them nothing is changed.
    """

    size = {"height": 224, "width": 224}
    interpolation = "bilinear"
    image_mean = [0.485, 0.456, 0.406]
    image_std = [0.229, 0.224, 0.225]
    augmentation = None

    def draws(self, options: dict[str, Any]) -> bool:
        return True  # with seeds; without them nothing is drawn

    def _seed_for_each(self, options: dict[str, Any], num_videos: int) -> list[Seed | None]:
        return [None] * num_videos if options["seeds"] is None else super()._seed_for_each(options, num_videos)

    def transform(self, picture: np.ndarray, options: dict[str, Any]) -> torch.Tensor:
        """A frame `(height, width, 3)` in uint8 to `(3, side, side)` in float32."""
        return self._normalize(self._resize(centre_square(picture), options), options)

    def _transform_of(
        self, source: Any, max_aspect_ratio: float | None, options: dict[str, Any], seed: Seed | None = None
    ) -> Callable[[np.ndarray], torch.Tensor]:
        change = None
        if options["augmentation"] is not None and seed is not None:
            change = Augmentation(**options["augmentation"]).draw(seed)
        transform = super()._transform_of(source, max_aspect_ratio, options, seed)
        if change is None:
            return transform
        number = 0

        def augmented(picture: np.ndarray) -> torch.Tensor:
            nonlocal number
            square = change.crop(centre_square(picture), number)
            frame = change.before(self._resize(square, options), number)
            frame, number = change.after(self._normalize(frame, options), number), number + 1
            return frame

        return augmented

    def _resize(self, square: np.ndarray, options: dict[str, Any]) -> torch.Tensor:
        """`(1, 3, side, side)` in float32, values from 0 to 255."""
        side, device = options["size"]["height"], options["device"]
        if options["do_resize"] and options["interpolation"] == "cv2_bilinear":
            square = resize_as_cv2(square, side, side)
        pixels = torch.from_numpy(np.ascontiguousarray(square)).to(device).permute(2, 0, 1)[None].float()
        if not options["do_resize"] or options["interpolation"] == "cv2_bilinear":
            return pixels
        resized = F.interpolate(pixels, size=(side, side), mode=options["interpolation"], antialias=True)
        return resized.clamp(0, 255) if options["interpolation"] == "bicubic" else resized

    def _normalize(self, frames: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
        if options["do_rescale"]:
            frames = frames.mul_(options["rescale_factor"])
        if options["do_normalize"]:
            frames = normalize_channels(frames, options["image_mean"], options["image_std"])
        return frames[0]

    def _resolve_options(self, given: dict[str, Any]) -> dict[str, Any]:
        options = super()._resolve_options(given)
        if options["interpolation"] not in INTERPOLATIONS:
            raise ValueError(
                f"Expected interpolation to be one of {', '.join(INTERPOLATIONS)}, got {options['interpolation']!r}."
            )
        if options["augmentation"] is not None:
            Augmentation(**options["augmentation"])
        return options

    def _standardize_kwargs(
        self, size: int | dict[str, int] | SizeDict | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """`size=224` means a square."""
        return super()._standardize_kwargs(size=read_square(size), **kwargs)


__all__ = ["INTERPOLATIONS", "SquareVideoProcessor"]
