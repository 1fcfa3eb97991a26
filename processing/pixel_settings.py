# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What a pretrained image model expects of its pixels. Stays at home: a saved processor brings its settings."""

import os
from typing import Any

from transformers import AutoImageProcessor


INTERPOLATIONS = {2: "bilinear", 3: "bicubic"}  # by their numbers in PIL
PIXEL_SETTINGS = ("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std")


def read_pixel_settings(checkpoint: str | os.PathLike, with_interpolation: bool = False) -> dict[str, Any]:
    """
    Mean, standard deviation and scale of pixels, and how pictures are resized if that is asked for, by the image processor
    of a checkpoint.

    Raises:
        OSError: If it has none.
    """
    missing = (
        f"Found no preprocessing settings for {checkpoint}: expected a preprocessor_config.json with "
        f"{', '.join(PIXEL_SETTINGS)}. Without them nobody knows which pixels it expects: pass image_mean=, image_std= and "
        "do_rescale=."
    )
    try:
        image_processor = AutoImageProcessor.from_pretrained(checkpoint)
    except (OSError, ValueError) as error:
        raise OSError(missing) from error
    settings = {name: getattr(image_processor, name, None) for name in PIXEL_SETTINGS}
    if None in settings.values():
        raise OSError(missing)
    if with_interpolation and (known := INTERPOLATIONS.get(getattr(image_processor, "resample", None))):
        settings["interpolation"] = known
    return settings


__all__ = ["PIXEL_SETTINGS", "read_pixel_settings"]
