# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What is searched for, as a vector: a text, a video, an image, or a vector itself."""

from pathlib import Path

import numpy as np
import PIL.Image

from clipbert.datasets_scripts.building.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from clipbert.search.protocols import Encoder, SearchIndexError


KINDS = "a str is a text; a Path, a video or an image by its suffix; a PIL image; a vector is a NumPy array"


def query_vector(encoder: Encoder, query: str | Path | PIL.Image.Image | np.ndarray) -> np.ndarray:
    """
    The vector of a query `(width,)`, float32, of length 1.

    Args:
        encoder ([`Encoder`]): The model of the index.
        query (`str`, `Path`, `PIL.Image.Image` or `np.ndarray` of shape `(width,)`): What is meant is decided by its type: a `str` is a
            text, always. A `Path` is an image if it ends as images do (`.gif` is a video), else a video. An image is a video
            of one frame. A vector has any length but 0 and is brought to 1.

    Raises:
        SearchIndexError: If it is nothing of these, a text of no words, or a vector of another width or with numbers that are none.
        VideoDecodeError: If a video, or an image, cannot be read.
    """
    if isinstance(query, str):
        if not query.strip():
            raise SearchIndexError("Expected words to search for, got none.")
        return encoder.encode_query([query])[0]
    if isinstance(query, np.ndarray):
        return _check_vector(query, encoder.width)
    if isinstance(query, PIL.Image.Image) or (isinstance(query, Path) and is_image(query)):
        from clipbert.processing.visual_inputs import load_image  # with torch, of which other queries may need nothing

        inputs = encoder.read(load_image(query)[None])
    elif isinstance(query, Path):
        inputs = encoder.read(query)
    else:
        raise SearchIndexError(f"Cannot search for {type(query).__name__} {query!r:.80}: {KINDS}.")
    return encoder.encode([inputs])[0].vector


def is_image(path: Path) -> bool:
    """Whether a file is an image, by its suffix."""
    return path.suffix.lower() in IMAGE_SUFFIXES - VIDEO_SUFFIXES


def _check_vector(vector: np.ndarray, width: int) -> np.ndarray:
    if vector.shape != (width,) or vector.dtype.kind not in "fiu":
        raise SearchIndexError(
            f"Expected a vector of {width} numbers, as the encoder of the index makes them, got the shape {vector.shape} of "
            f"{vector.dtype}."
        )
    length = np.linalg.norm(vector.astype(np.float64))
    if not 0 < length < np.inf:
        raise SearchIndexError(f"Expected a vector of finite numbers, not all 0, got one of length {length}.")
    return (vector / length).astype(np.float32)


__all__ = ["is_image", "query_vector"]
