# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
What a model has made of videos, kept on disk: `eval.kept_videos`.

Later evaluations of the same weights on the same clips read it: they neither decode nor encode. There is a folder for each model and each
way to look at videos, and in it a file for each video, named by a digest of all that it depends on. A file holds

    videos          what `encode_videos` returned of one video, in its type
    clip_mask       (1, clips), only where the processor has made one
    frame_seconds   (clips, frames), float64
    frame_key       (), int64

of which the last two are as [`VisualReader`] notes them. Files appear whole or not at all.
"""

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel

from clipbert.processing.feature_cache import VideoContent
from clipbert.support.fingerprints import compute_fingerprint
from clipbert.support.options import changeable
from clipbert.support.tensor_files import read_tensors, write_tensors


logger = logging.getLogger("clipbert.train_scripts")


@dataclass(kw_only=True)
class KeptVideoOptions:
    """Keys of the section `eval` of tasks that score texts with videos that have been encoded."""

    kept_videos: str | None = changeable(
        None,
        "Folder of what the model makes of videos: later evaluations of the same weights on the same clips read it, and neither decode "
        "nor encode. It grows with each model and each choice of clips. null: nothing is kept.",
        saves="time",
    )


class KeptVideo(NamedTuple):
    """What a file holds; see above."""

    videos: torch.Tensor
    clip_mask: torch.Tensor | None
    frame_seconds: torch.Tensor
    frame_key: torch.Tensor


class KeptVideos:
    """
    The videos that one model has encoded, seen in one way.

    Args:
        folder (`str` or `Path`): Of all models.
        model (`PreTrainedModel`): All of its weights count, and its config.
        processor: Makes its inputs; its settings count.
        options: What else decides what is made of a video.
    """

    def __init__(self, folder: str | Path, model: PreTrainedModel, processor: Any, **options: Any):
        self.folder = Path(folder, compute_fingerprint(model, processor, **options))

    def path_of(self, video: str | bytes, **how: Any) -> Path | None:
        """
        The file of a video; `None` if it cannot be read.

        Args:
            video (`str` or `bytes`): Its path or its content, which is what it is known by.
            how: The part of it that is looked at, and what clips are drawn by.
        """
        try:
            content = VideoContent.of(video)
        except OSError:
            return None  # whoever decodes it will say why
        key = json.dumps([content.sha256, how], sort_keys=True)
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"

    @staticmethod
    def read(path: Path) -> KeptVideo | None:
        """What a file holds; `None` if there is none, or, with a warning, if it is not as it was written."""
        if not path.is_file():
            return None
        try:
            return KeptVideo(**{"clip_mask": None, **read_tensors(path)})
        except (OSError, TypeError, ValueError) as error:
            logger.warning(f"eval.kept_videos: {path} is no whole file ({error}); the video is encoded again.")
            return None

    @staticmethod
    def write(path: Path, kept: KeptVideo) -> None:
        """Write a file, or replace it."""
        write_tensors(path, {name: value for name, value in kept._asdict().items() if value is not None})


__all__ = ["KeptVideo", "KeptVideoOptions", "KeptVideos"]
