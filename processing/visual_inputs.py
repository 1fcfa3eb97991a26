# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What people pass as videos and images: one or many, in any of their forms; and images into RGB arrays."""

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch

from .decoding_count import note_decoded
from .pictures import image_array, upright_rgb
from .video_sources import Deadline, VideoDecodeError, check_kind, describe_source, open_readable


KINDS_OF_VIDEO = (
    "A video is a path, a URL, bytes, an open file, an array or tensor of shape (frames, height, width, 3), or a list "
    "of PIL images; several videos are a list of these."
)
KINDS_OF_IMAGE = (
    "An image is a PIL image, a path, a URL, bytes, an open file, or an array or tensor of shape (height, width, 3); "
    "several images are a list of these."
)


class CheckedBatch(list):
    """Videos or images that have been looked at: who gets them need not look again."""


def make_video_batch(videos: Any) -> CheckedBatch:
    """Put one video or several into a list of videos, without opening any.

    A list of pictures (PIL images, or arrays of three dimensions) is one video, any other list is several. An array of
    four dimensions is one video, of five dimensions several. `{"path": ..., "bytes": ...}`, which data sets give for
    an undecoded video, counts as a file.

    Raises:
        ValueError: If there is none.
        TypeError: If something is no video at all.
    """
    if isinstance(videos, CheckedBatch):
        return videos
    if _is_array(videos) and videos.ndim == 5:
        videos = list(videos)
    elif not isinstance(videos, (list, tuple)) or _is_picture_list(videos):
        videos = [videos]
    if len(videos) == 0:
        raise ValueError(f"Expected at least one video, got an empty {type(videos).__name__}.")
    for position, video in enumerate(videos):
        if not (_is_file(video) or _is_picture_list(video) or (_is_array(video) and video.ndim == 4)):
            raise TypeError(f"Got {_describe(video)} as video {position}. {KINDS_OF_VIDEO}")
    return CheckedBatch(map(_unpack, videos))


def make_image_batch(images: Any) -> CheckedBatch:
    """Put one image or several into a list of images, without opening any. An array of four dimensions is several.

    Raises:
        ValueError: If there is none.
        TypeError: If something is no image at all.
    """
    if isinstance(images, CheckedBatch):
        return images
    if _is_array(images) and images.ndim == 4:
        images = list(images)
    elif not isinstance(images, (list, tuple)):
        images = [images]
    if len(images) == 0:
        raise ValueError(f"Expected at least one image, got an empty {type(images).__name__}.")
    for position, image in enumerate(images):
        if not (_is_file(image) or isinstance(image, PIL.Image.Image) or (_is_array(image) and image.ndim in (2, 3))):
            raise TypeError(f"Got {_describe(image)} as image {position}. {KINDS_OF_IMAGE}")
    return CheckedBatch(map(_unpack, images))


def load_image(image: Any, timeout_s: float | None = None, max_pixels: int | None = None) -> np.ndarray:
    """Read an image as RGB, the way up it is meant to be seen.

    Grey, palette and CMYK images are converted, the rotation of the EXIF header is applied, transparent parts show a
    white background.

    Args:
        image: PIL image, path, URL, bytes, open file, or an array or tensor of integers in [0, 255] with 1, 3 or 4
            channels, last or first, or none.
        timeout_s (`float`, *optional*): Seconds after which to give up reading.
        max_pixels (`int`, *optional*): Largest image to decode, width times height.

    Returns:
        `np.ndarray` of shape `(height, width, 3)`, uint8.

    Raises:
        VideoDecodeError: If the image cannot be read; names file and cause.
    """
    name = _describe(image)
    note_decoded(0)
    try:
        if _is_array(image):
            image = PIL.Image.fromarray(image_array(image))
        if isinstance(image, PIL.Image.Image):
            return upright_rgb(image, max_pixels)
        check_kind(image)
        with open_readable(image, name, Deadline(timeout_s)) as file:
            opened = PIL.Image.open(file.removeprefix("file:") if isinstance(file, str) else file)
            with opened:
                note_decoded(1)
                return upright_rgb(opened, max_pixels)
    except VideoDecodeError:
        raise
    except TimeoutError as error:
        raise VideoDecodeError(name, f"not read within timeout_s={timeout_s}. Raise the limit.") from error
    except TypeError:  # no image at all
        raise
    except Exception as error:  # whatever a library raises over one file: one file never ends a run
        raise VideoDecodeError(name, f"as an image: {error}.") from error


def _is_file(value: Any) -> bool:
    """Whether something names or holds a file: path, URL, bytes, open file, or a dictionary of path and bytes."""
    if isinstance(value, dict):
        return set(value) == {"path", "bytes"}
    return isinstance(value, (str, Path, bytes, bytearray, memoryview)) or hasattr(value, "read")


def _is_array(value: Any) -> bool:
    return isinstance(value, (np.ndarray, torch.Tensor))


def _is_picture_list(value: Any) -> bool:
    if not isinstance(value, (list, tuple)) or len(value) == 0:
        return False
    return all(isinstance(entry, PIL.Image.Image) or (_is_array(entry) and entry.ndim == 3) for entry in value)


def _unpack(source: Any) -> Any:
    if not isinstance(source, dict):
        return source
    return source["path"] if source["bytes"] is None else source["bytes"]


def _describe(value: Any) -> str:
    if isinstance(value, PIL.Image.Image):
        return getattr(value, "filename", "") or f"<PIL image of {value.height}x{value.width}>"
    return describe_source(value)
