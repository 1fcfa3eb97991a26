# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Vectors of videos by any model of transformers with a tower for texts and one for images, or videos: CLIP, SigLIP, X-CLIP, ...

    video --our reader--> T frames --the checkpoint's image processor--> tower --> T vectors of length 1 --> their mean, of length 1
    text  --its tokenizer, truncated and padded as in training--------> tower --> a vector of length 1
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F  # noqa: N812
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from clipbert.processing import VideoDecodeError, decode_video, sample_clips
from clipbert.processing.decoding import DecodedVideoMetadata
from clipbert.processing.processing_mug_stan import FIXED_LENGTH
from clipbert.processing.video_processing import cut_out
from clipbert.processing.video_sources import describe_source
from clipbert.search.fingerprints import compute_fingerprint
from clipbert.search.protocols import EncodedSegment, SearchIndexError, Span


NUM_FRAMES = 12
BLANK = "a"  # a text, for the sake of its shape


@dataclass(frozen=True)
class FrameReading:
    """
    `read` of a tower, without weights: frames that lie evenly over a video, each as the checkpoint's image processor makes it.

    Args:
        image_processor (`BaseImageProcessor`): The checkpoint's own.
        num_frames (`int`): Frames of a video; short ones show some several times.
    """

    image_processor: Any
    num_frames: int

    def __call__(self, video: str | Path | np.ndarray, span: Span | None = None) -> dict[str, torch.Tensor]:
        """
        The inputs of one video, `(num_frames, ...)`, and `frame_seconds` `(num_frames,)`.

        Args:
            video (`str`, `Path` or `np.ndarray` of shape `(frames, height, width, 3)`): A file, or frames in uint8.
            span (`Span`, *optional*): The part to look at; nothing else is decoded.

        Raises:
            VideoDecodeError: If it cannot be read, or ends before its span.
        """
        numbers = np.zeros(0)

        def choose_frames(metadata: DecodedVideoMetadata) -> np.ndarray:
            nonlocal numbers
            try:
                first, part = (0, metadata) if span is None else cut_out(metadata, tuple(span))
            except ValueError as error:
                raise VideoDecodeError(describe_source(video), str(error)) from error
            sample = sample_clips(part.total_num_frames, num_clips=1, num_frames=self.num_frames)
            numbers = sample.frame_indices[0] + first
            return numbers

        decoded = decode_video(video, choose_frames, transform=self.prepare)
        places = np.searchsorted(decoded.metadata.frames_indices, numbers)
        seconds = decoded.metadata.frames_seconds
        seconds = np.full(len(numbers), np.nan) if seconds is None else np.array(seconds, np.float64)[places]
        frames = [decoded.frames[place] for place in places]
        together = {name: torch.cat([frame[name] for frame in frames]) for name in frames[0]}
        return together | {"frame_seconds": torch.from_numpy(seconds)}

    def prepare(self, picture: np.ndarray) -> dict[str, torch.Tensor]:
        """A picture `(height, width, 3)` in uint8 as the inputs of the tower, `(1, ...)`."""
        inputs = self.image_processor(PIL.Image.fromarray(picture), return_tensors="pt")
        if inputs["pixel_values"].ndim == 5:  # of an image processor that takes it for a video
            inputs["pixel_values"] = inputs["pixel_values"].flatten(0, 1)
        return dict(inputs)


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


__all__ = ["NUM_FRAMES", "FrameReading", "TowerEncoder", "longest_text"]
