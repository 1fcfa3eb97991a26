# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Videos and words into model inputs. Importing this package makes its processors known to the Auto classes."""

from transformers import AutoProcessor, AutoVideoProcessor

import clipbert  # noqa: F401  one name for a package, also where it is imported by its bare one

from .decoding import VideoDecodeError, decode_video, read_video_metadata
from .processing_clipbert import VideoTextProcessor, load_tokenizer
from .sampling import sample_clips
from .video_processing_clipbert import ClipBERTVideoProcessor


# A saved processor names its class, and the Auto classes look for that name among the registered ones. The key, else
# the config of a model, is not consulted for that; no model is known here, so each class is its own key.
AutoVideoProcessor.register(ClipBERTVideoProcessor, ClipBERTVideoProcessor)
AutoProcessor.register(VideoTextProcessor, VideoTextProcessor)

__all__ = [
    "ClipBERTVideoProcessor",
    "VideoDecodeError",
    "VideoTextProcessor",
    "decode_video",
    "load_tokenizer",
    "read_video_metadata",
    "sample_clips",
]
