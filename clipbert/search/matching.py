# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Models that keep the contract of matching (`train_scripts.tasks.scoring`), as an index asks them: ClipBERT, Mug-STAN, and any other.

Every one is a [`Reranker`]; one that has vectors is an [`Encoder`], too. Videos are read, texts are encoded one by one and pairs are
scored in blocks of 16 videos as `train_scripts/search.py` does all of that, so that its scores come out, bit for bit.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from clipbert.search.protocols import EncodedSegment, SearchIndexError
from clipbert.search.reading import ProcessorReading
from clipbert.support.fingerprints import compute_fingerprint
from clipbert.train_scripts.tasks.retrieval.collection import VIDEOS_PER_BLOCK
from clipbert.train_scripts.tasks.scoring import Texts, VideoBlock, match_texts, repeat_texts


BLANK_SIDE = 64  # pixels


class MatchingReader:
    """
    A model that says how well a text fits a video. Keeps the protocol [`Reranker`].

    Args:
        model (`PreTrainedModel`): Keeps the contract of matching.
        processor (`ProcessorMixin`): Saved with it.
        name (`str`): Of the checkpoint.
        device (`torch.device` or `str`, *optional*): Where to put the model; by default it stays where it is.
        block_size (`int`, *optional*, defaults to 16): Videos that are scored together with a text. Another number changes scores in
            their last bits.
        sampling: Options of the processor, such as `num_clips`, that differ from its own.

    Raises:
        SearchIndexError: If frames are drawn at random.

    Example:
        >>> reader = MatchingReader(model, processor, "my-clipbert", num_clips=4)  # doctest: +SKIP
        >>> (encoded,) = reader.encode([reader.read("film.mp4")])  # doctest: +SKIP
        >>> odds, clip_odds = reader.score(reader.encode_texts(["a dog runs"]), encoded.parts[None])  # doctest: +SKIP
    """

    def __init__(
        self,
        model: PreTrainedModel,
        processor: Any,
        name: str,
        device: torch.device | str | None = None,
        block_size: int = 16,
        **sampling: Any,
    ):
        self.model, self.processor, self.name = model.eval(), processor, name
        if device is not None:
            model.to(device)
        self.block_size = block_size
        self.stage = model.config.model_type.split("_")[0]
        self.read = ProcessorReading(processor, **sampling)
        if self.read.option("sampling") == "random":
            raise SearchIndexError(
                f"{name}: its processor draws frames at random, so that a video would have other vectors each time. "
                'Set sampling="uniform".'
            )

    @cached_property
    def fingerprint(self) -> str:
        """32 hexadecimal digits: see `compute_fingerprint`. Options that are the processor's own anyway do not count."""
        own = self.read.video_processor
        changed = {key: value for key, value in self.read.sampling.items() if getattr(own, key, None) != value}
        return compute_fingerprint(self.model, self.processor, **changed)

    @cached_property
    def _blank(self) -> tuple[torch.Tensor, torch.Tensor]:
        """What the model makes of a video that shows nothing, and its seconds: shapes and types alone matter."""
        num_frames = self.read.option("num_clips", 1) * self.read.option("num_frames", 1)
        inputs = self.read(np.zeros((num_frames, BLANK_SIDE, BLANK_SIDE, 3), dtype=np.uint8))
        return self._encode([inputs]), inputs["frame_seconds"]

    @property
    def parts_shape(self) -> tuple[int, ...]:
        return tuple(self._blank[0].shape[1:])

    @property
    def seconds_shape(self) -> tuple[int, int]:
        return tuple(self._blank[1].shape[1:])

    @torch.inference_mode()
    def _encode(self, inputs: Sequence[Mapping[str, torch.Tensor]]) -> torch.Tensor:
        shapes = {tuple(one["pixel_values"].shape[1:]) for one in inputs}
        if len(shapes) > 1:
            raise SearchIndexError(
                f"Videos come out in the shapes {', '.join(map(str, sorted(shapes)))}, and an index needs one: keep do_resize, "
                "do_pad and do_sample_frames on."
            )
        names = [name for name in ("pixel_values", "clip_mask") if name in inputs[0]]
        return self.model.encode_videos(
            **{name: torch.cat([one[name] for one in inputs]).to(self.model.device) for name in names}
        )

    def encode(self, inputs: Sequence[Mapping[str, torch.Tensor]]) -> list[EncodedSegment]:
        """
        What `read` returned of some segments, encoded in one batch.

        Raises:
            SearchIndexError: If their shapes differ, or are others than `parts_shape`.
        """
        videos = self._encode(inputs)
        if tuple(videos.shape[1:]) != self.parts_shape:
            raise SearchIndexError(
                f"{self.name} makes {tuple(videos.shape[1:])} of a video, expected {self.parts_shape} as of any other: keep "
                "do_resize, do_pad and do_sample_frames on."
            )
        encoded, vectors = videos.float().cpu().numpy(), self._vectors(videos)
        return [
            EncodedSegment(
                parts=parts,
                seconds=one["frame_seconds"][0].double().numpy(),
                mask=one["clip_mask"][0].bool().numpy() if "clip_mask" in one else None,
                vector=vector,
            )
            for parts, one, vector in zip(encoded, inputs, vectors, strict=True)
        ]

    def _vectors(self, videos: torch.Tensor) -> Sequence[np.ndarray | None]:
        return [None] * len(videos)

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> list[Texts]:
        """Each text by itself, so that its scores do not depend on its neighbours."""
        encoded = []
        for text in texts:
            words = self.processor(text=[text]).to(self.model.device)
            encoded.append(self.model.encode_texts(words["input_ids"], words["attention_mask"]))
        return encoded

    @torch.inference_mode()
    def score(
        self, texts: Sequence[Texts], parts: np.ndarray, mask: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """
        Every text with every segment, as the contract's `match` says: these are the scores that search.py prints.

        Args:
            texts: What `encode_texts` returned.
            parts (`np.ndarray` of shape `(segments, parts, ...)`): Of some segments; of fewer parts than the model makes, too.
            mask (`np.ndarray` of shape `(segments, parts)`, *optional*): Which parts exist.

        Returns:
            Log-odds `(texts, segments)`, and those of each clip, or frame, by itself, `(texts, segments, n)`, -inf where there is none.
        """
        if not len(texts) or not len(parts):
            return np.zeros((len(texts), len(parts)), np.float32), np.zeros((len(texts), len(parts), 0), np.float32)
        found = []
        for first in range(0, len(parts), self.block_size):
            block = self._block(parts, mask, slice(first, first + self.block_size))
            found.append([self._match(text, block) for text in texts])
        odds, clip_odds = (
            np.concatenate([np.stack([pair[which] for pair in block]) for block in found], axis=1) for which in (0, 1)
        )
        return odds, clip_odds

    def _match(self, text: Texts, block: VideoBlock) -> tuple[np.ndarray, np.ndarray]:
        """Log-odds of one text with the videos of a block."""
        video_indices = torch.arange(len(block.videos), device=block.videos.device)
        outputs = match_texts(self.model, repeat_texts(text, len(block.videos)), block, video_indices)
        clip_odds, mask = outputs.clip_odds, block.clip_mask
        if mask is not None and mask.shape == clip_odds.shape:
            clip_odds = clip_odds.masked_fill(~mask.bool(), -torch.inf)
        return outputs.match_odds.float().cpu().numpy(), clip_odds.float().cpu().numpy()

    @torch.inference_mode()
    def score_all(self, texts: Sequence[Texts], parts: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        """
        Log-odds `(texts, segments)` alone, for many segments: by `match_all`, in larger blocks, where the model has it.

        They may differ from those of `score` in their last bits. Where search.py scores everything, it puts videos into the order
        of these, then scores them as `score` does.
        """
        if not hasattr(self.model, "match_all"):
            return self.score(texts, parts, mask)[0]
        odds = np.zeros((len(texts), len(parts)), np.float32)
        for first in range(0, len(parts), VIDEOS_PER_BLOCK):
            some = slice(first, first + VIDEOS_PER_BLOCK)
            block = self._block(parts, mask, some)
            masks = {} if block.clip_mask is None else {"clip_mask": block.clip_mask}
            for row, text in enumerate(texts):
                odds[row, some] = self.model.match_all(text, block.videos, **masks)[0].float().cpu().numpy()
        return odds

    def _block(self, parts: np.ndarray, mask: np.ndarray | None, some: slice) -> VideoBlock:
        device = self.model.device
        videos = torch.tensor(parts[some]).to(device, self._dtype)  # a copy: arrays of tables are read-only
        clip_mask = None if mask is None else torch.tensor(mask[some], device=device).long()
        return VideoBlock(list(range(len(videos))), videos, clip_mask)

    @cached_property
    def _dtype(self) -> torch.dtype:
        """The type in which the model compares videos: that of its own output, to which float32 and float16 return."""
        return torch.float32 if self.model.dtype == torch.float32 else self._blank[0].dtype


class MatchingEncoder(MatchingReader):
    """A [`MatchingReader`] whose model has vectors: keeps the protocols [`Encoder`] and [`Reranker`]."""

    @property
    def width(self) -> int:
        """Numbers in a vector."""
        return self._vectors(self._blank[0]).shape[1]

    @torch.inference_mode()
    def _vectors(self, videos: torch.Tensor) -> np.ndarray:
        return self.model.vectors(videos).float().cpu().numpy()

    @torch.inference_mode()
    def encode_query(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors `(texts, width)`, float32, of length 1."""
        vectors = [self.model.vectors(encoded).float().cpu() for encoded in self.encode_texts(texts)]
        return torch.cat(vectors).numpy() if vectors else np.zeros((0, self.width), np.float32)


def build_matching(model: PreTrainedModel, processor: Any, name: str, **options: Any) -> MatchingReader:
    """A [`MatchingEncoder`] where the model has vectors, else a [`MatchingReader`]; see there."""
    reader: Callable[..., MatchingReader] = MatchingEncoder if hasattr(model, "vectors") else MatchingReader
    return reader(model, processor, name, **options)


__all__ = ["MatchingEncoder", "MatchingReader", "build_matching"]
