# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Whole videos a second at a time, and how well every sentence fits every second."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import PreTrainedModel

from clipbert.processing.decoding import VideoDecodeError, read_video_metadata
from clipbert.train_scripts.tasks.scoring import (
    Texts,
    VideoBlock,
    as_floats,
    build_text_blocks,
    count_texts,
    decode_or_explain,
    match_texts,
)


@dataclass
class WholeVideos(Dataset):
    """
    Videos as model inputs whose second dimension are seconds; in place of one that cannot be decoded the reason.

    Args:
        sources (`Sequence`): Paths.
        processor: Decodes them.
        options (`Mapping[str, Any]`): How frames are chosen and treated, as the processor takes it.
        by_frames (`bool`): Whether a second is a frame of one clip, which is seen together with the others, not a clip.
        skip (`bool`): Whether those that cannot be decoded pass, with the reason, instead of failing.
    """

    sources: Sequence[Any]
    processor: Any
    options: Mapping[str, Any]
    by_frames: bool
    skip: bool

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor] | str:
        return decode_or_explain(lambda: self.read(self.sources[number]), self.skip)

    def read(self, source: Any) -> dict[str, torch.Tensor]:
        seconds = count_seconds(source)
        counts = {"num_clips": 1, "num_frames": seconds} if self.by_frames else {"num_clips": seconds}
        span = {"spans_se": [(0.0, float(seconds))]} if seconds > 1 else {}
        inputs = self.processor(videos=[source], **{**self.options, "sampling": "uniform", **counts}, **span)
        shape = tuple(inputs["pixel_values"].shape)
        if shape[1] != seconds or (self.by_frames and len(shape) != 5):
            raise ValueError(
                f"Expected one picture or clip for each of {seconds} seconds, got pixel_values of the shape {shape}: seconds are "
                "seen in one view alone (num_clips, num_crops)."
            )
        return {name: inputs[name] for name in ("pixel_values", "clip_mask") if name in inputs}


def count_seconds(source: Any) -> int:
    """Seconds of a video, rounded, at least 1."""
    metadata = read_video_metadata(source)
    seconds = metadata.seconds_of([metadata.total_num_frames - 1])
    if seconds is None:
        raise VideoDecodeError(str(source), "nothing tells when its frames are shown.")
    return max(1, round(seconds[0]))


def score_seconds(
    model: PreTrainedModel,
    inputs: Mapping[str, torch.Tensor],
    encoded: Texts,
    windows: Sequence[range],
    chosen: np.ndarray,
    pairs_per_forward: int,
) -> np.ndarray:
    """
    How well each sentence fits each second of a video: log-odds, averaged over the windows in which they met.

    Args:
        model (`PreTrainedModel`): Keeps the contract of matching; in evaluation mode.
        inputs (`Mapping[str, torch.Tensor]`): An item of [`WholeVideos`], on the device of the model.
        encoded (`Texts`): What `encode_texts` returned of the sentences.
        windows (`Sequence[range]`): Seconds that the model sees together.
        chosen (`np.ndarray` of shape `(windows, sentences)`): Which sentences each is compared with.
        pairs_per_forward (`int`): Pairs of a sentence and a second that `match` gets at a time.

    Returns:
        `np.ndarray` of shape `(sentences, seconds)`, float32; -inf where they never met.
    """
    num_seconds = inputs["pixel_values"].shape[1]
    total, counts = np.zeros((2, chosen.shape[1], num_seconds))
    for window, taken in zip(windows, chosen, strict=True):
        seconds = slice(window.start, window.stop)
        part = {name: values[:, seconds] for name, values in inputs.items()}
        videos = model.encode_videos(**part)
        block = VideoBlock([0], videos.float(), part.get("clip_mask"))
        rows, step = np.flatnonzero(taken), max(1, pairs_per_forward // len(window))
        for some in (rows[first : first + step] for first in range(0, len(rows), step)):
            texts = take_texts(as_floats(encoded), torch.from_numpy(some).to(videos.device))
            odds = match_seconds(model, texts, block)
            total[some, seconds] += odds.float().cpu().numpy()
            counts[some, seconds] += 1
    met = counts > 0
    return np.where(met, total / np.maximum(counts, 1), -np.inf).astype(np.float32)


def match_seconds(model: PreTrainedModel, texts: Texts, block: VideoBlock) -> torch.Tensor:
    """Log-odds `(texts, seconds)` of texts with the seconds of one video, which are its frames or its clips."""
    video_indices = torch.zeros(count_texts(texts), dtype=torch.long, device=block.videos.device)
    with torch.autocast(block.videos.device.type, enabled=False):
        if hasattr(model, "match_frames"):
            return model.match_frames(texts, block.videos, video_indices)
        return match_texts(model, texts, block, video_indices).clip_odds


def encode_sentences(model: PreTrainedModel, sentences: Sequence[str], processor: Any, device: torch.device) -> Texts:
    """What `encode_texts` returns of sentences, in their order."""
    (block,) = build_text_blocks(sentences, processor, len(sentences), device)
    order = torch.tensor(block.numbers, device=device).argsort()
    return take_texts(model.encode_texts(block.input_ids, block.attention_mask), order)


def take_texts(texts: Texts, rows: torch.Tensor) -> Texts:
    return {name: values[rows] for name, values in texts.items()} if isinstance(texts, Mapping) else texts[rows]


__all__ = ["WholeVideos", "count_seconds", "encode_sentences", "score_seconds"]
