# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Vectors of videos by any model of transformers with a tower for texts and one for images, or videos: CLIP, SigLIP, X-CLIP, ...

    video --our reader--> T frames --the checkpoint's image processor--> tower --> T vectors of length 1 --> their mean, of length 1
    text  --its tokenizer, truncated and padded as in training--------> tower --> a vector of length 1
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from clipbert.processing.processing_mug_stan import FIXED_LENGTH
from clipbert.search.protocols import EncodedSegment, SearchIndexError
from clipbert.search.reading import FrameReading
from clipbert.support.fingerprints import compute_fingerprint


NUM_FRAMES = 12
BLANK = "a"  # a text, for the sake of its shape


class TowerEncoder:
    """
    A vector for each video and each text. Keeps the protocol [`Encoder`].

    Args:
        model (`PreTrainedModel`): Has `get_text_features`, and `get_image_features` or else `get_video_features`.
        image_processor (`BaseImageProcessor`), tokenizer (`PreTrainedTokenizerBase`): Of its checkpoint.
        name (`str`): Of the checkpoint.
        device (`torch.device` or `str`, *optional*): Where to put the model; by default it stays where it is.
        num_frames (`int`, *optional*): Frames of a video, evenly spread; 12, or what a model of videos was trained with.

    Raises:
        SearchIndexError: If a model of videos takes another number of frames.
    """

    parts_shape = None
    stage = "vector"  # the only one that it is for

    def __init__(
        self,
        model: PreTrainedModel,
        image_processor: Any,
        tokenizer: PreTrainedTokenizerBase,
        name: str,
        device: torch.device | str | None = None,
        num_frames: int | None = None,
    ):
        self.model, self.image_processor, self.tokenizer, self.name = model.eval(), image_processor, tokenizer, name
        if device is not None:
            model.to(device)
        self.is_of_videos = not hasattr(model, "get_image_features")
        trained = getattr(model.config.vision_config, "num_frames", None) if self.is_of_videos else None
        if num_frames is None:
            num_frames = NUM_FRAMES if trained is None else trained
        if num_frames < 1 or trained not in (None, num_frames):
            raise SearchIndexError(f"{name}: expected num_frames={trained or 'at least 1'}, got {num_frames}.")
        self.read = FrameReading(image_processor, num_frames)

    @cached_property
    def fingerprint(self) -> str:
        """32 hexadecimal digits: see `compute_fingerprint`."""
        return compute_fingerprint(self.model, self.image_processor, self.tokenizer, num_frames=self.read.num_frames)

    @property
    def seconds_shape(self) -> tuple[int, int]:
        return 1, self.read.num_frames

    @cached_property
    def width(self) -> int:
        """Numbers in a vector."""
        return self.encode_query([BLANK]).shape[1]

    @torch.inference_mode()
    def encode(self, inputs: Sequence[Mapping[str, torch.Tensor]]) -> list[EncodedSegment]:
        """What `read` returned of some segments, encoded in one batch: a vector for each."""
        names = [name for name in inputs[0] if name != "frame_seconds"]
        if self.is_of_videos:
            frames = torch.stack([one["pixel_values"] for one in inputs]).to(self.model.device)
            vectors = F.normalize(self._pooled(self.model.get_video_features(frames)), dim=-1)
        else:
            together = {name: torch.cat([one[name] for one in inputs]).to(self.model.device) for name in names}
            frames = F.normalize(self._pooled(self.model.get_image_features(**together)), dim=-1)
            counts = [len(one["frame_seconds"]) for one in inputs]
            vectors = F.normalize(torch.stack([some.mean(dim=0) for some in frames.split(counts)]), dim=-1)
        return [
            EncodedSegment(parts=None, seconds=one["frame_seconds"][None].numpy(), vector=vector)
            for one, vector in zip(inputs, vectors.cpu().numpy(), strict=True)
        ]

    @torch.inference_mode()
    def encode_query(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors `(texts, width)`, float32, of length 1: each text by itself. One that is too long loses its end."""
        if not len(texts):
            return np.zeros((0, self.width), np.float32)
        is_fixed = self.model.config.model_type in FIXED_LENGTH  # padded to the full length, and read without a mask
        vectors = []
        for text in texts:
            words = self.tokenizer(
                text,
                padding="max_length" if is_fixed else False,
                truncation=True,
                max_length=longest_text(self.model.config, self.tokenizer),
                return_tensors="pt",
            ).to(self.model.device)
            names = ("input_ids",) if is_fixed else ("input_ids", "attention_mask")
            features = self.model.get_text_features(**{name: words[name] for name in names})
            vectors.append(F.normalize(self._pooled(features), dim=-1))
        return torch.cat(vectors).cpu().numpy()

    def _pooled(self, features: Any) -> torch.Tensor:
        """One vector for each row `(rows, width)`, float32: some models wrap it into an output."""
        vectors = features if isinstance(features, torch.Tensor) else features.pooler_output
        if vectors is None or vectors.ndim != 2:
            raise SearchIndexError(f"{self.name}: {type(self.model).__name__} has no single vector for an input.")
        return vectors.float()


def longest_text(config: Any, tokenizer: PreTrainedTokenizerBase) -> int:
    """Most tokens of a text, special ones included: what the model has positions for, and the tokenizer allows."""
    text_config = config.get_text_config()
    positions = getattr(text_config, "max_position_embeddings", tokenizer.model_max_length)
    if config.model_type == "altclip":  # whose text tower, an XLM-R, counts positions from behind its padding token
        positions -= text_config.pad_token_id + 1
    return min(positions, tokenizer.model_max_length)


__all__ = ["NUM_FRAMES", "TowerEncoder", "longest_text"]
