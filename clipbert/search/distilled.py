# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Vectors for a model that has none: two small heads that have learnt the scores which it gives to pairs (`distillation.py`).

A cross-encoder such as ClipBERT reads each text with each video. One head over what it made of the clips and one over the words say by one
product what it says of a pair, roughly: enough for a shortlist, whose order is the cross-encoder's own.

    clips  -> VideoHead -> vector of length 1 \\
                                                scale * product + bias  ~  log-odds of the cross-encoder
    tokens -> TextHead  -> vector of length 1 /

Letters: B texts or videos, L words, P places (cells of all clips), D width inside a head.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import nn

from clipbert.search.protocols import EncodedSegment, FingerprintError, IndexDamagedError, SearchIndexError


FORMAT, VERSION = "clipbert distilled heads", 1
MIN_FIRST_KEPT = 0.9  # of first places, by a shortlist of the reference size: heads that keep fewer are refused
VIDEOS_PER_BLOCK = 256  # whose vectors are made at a time


# ---------------------------------------------------------------------------------------------------------------------
# Heads
# ---------------------------------------------------------------------------------------------------------------------


class AttentionPooling(nn.Module):
    """Several weighted means over places, by weights that each place asks for itself; `(B, P, D)` to `(B, pools * D)`."""

    def __init__(self, size: int, num_pools: int):
        super().__init__()
        self.weigh = nn.Linear(size, num_pools)

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        weights = self.weigh(hidden).masked_fill(~mask[..., None], -math.inf).softmax(dim=1)  # (B, P, pools)
        return torch.einsum("bpk,bpd->bkd", weights, hidden).flatten(1)


class PooledVector(nn.Sequential):
    """What was pooled, to a vector."""

    def __init__(self, size: int, inner_size: int, width: int):
        super().__init__(
            nn.LayerNorm(size), nn.Linear(size, 2 * inner_size), nn.GELU(), nn.Linear(2 * inner_size, width)
        )


class TextHead(nn.Module):
    """Words, each with its neighbours, because their order matters, to a vector of length 1."""

    def __init__(self, vocab_size: int, word_size: int, inner_size: int, num_pools: int, width: int):
        super().__init__()
        self.words = nn.Embedding(vocab_size, word_size)
        self.norm = nn.LayerNorm(word_size)
        self.project = nn.Linear(word_size, inner_size)
        self.neighbours = nn.Conv1d(inner_size, inner_size, kernel_size=3, padding=1)
        self.pool = AttentionPooling(inner_size, num_pools)
        self.vector = PooledVector(num_pools * inner_size, inner_size, width)

    def forward(self, input_ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        hidden = self.project(self.norm(self.words(input_ids)))  # (B, L, D)
        hidden = hidden * mask[..., None]  # padding is as what lies beyond the ends
        hidden = hidden + F.gelu(self.neighbours(hidden.transpose(1, 2)).transpose(1, 2))
        return F.normalize(self.vector(self.pool(hidden, mask)), dim=1)


class VideoHead(nn.Module):
    """What a model made of the clips, to a vector of length 1."""

    def __init__(self, hidden_size: int, inner_size: int, num_pools: int, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(hidden_size)
        self.project = nn.Linear(hidden_size, inner_size)
        self.pool = AttentionPooling(inner_size, num_pools)
        self.vector = PooledVector(num_pools * inner_size, inner_size, width)

    def forward(self, parts: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        places = parts.flatten(1, -2)  # (B, P, hidden_size)
        mask = mask.repeat_interleave(places.shape[1] // parts.shape[1], dim=1)
        hidden = F.gelu(self.project(self.norm(places)))
        return F.normalize(self.vector(self.pool(hidden, mask)), dim=1)


@dataclass
class DistillationReport:
    """
    How heads were made, and what their shortlists lose where neither text nor video was seen before.

    Args:
        num_texts, num_videos (`int`): Learnt from; each with each.
        steps, seed (`int`): Of the training.
        scoring_s, training_s (`float`): Seconds for the scores of the cross-encoder, and for the training.
        reference (`int`): Size of the shortlist that decides whether the heads are used.
        first_kept (`float`): Share of the first places that it keeps, of held-out texts and videos.
        held_out (`dict`): The whole comparison, see `ShortlistReport.to_dict`.
    """

    num_texts: int
    num_videos: int
    steps: int
    seed: int
    scoring_s: float
    training_s: float
    reference: int
    first_kept: float
    held_out: dict[str, Any]


class DistilledHeads(nn.Module):
    """
    A head for words and one for clips, whose vectors agree where a cross-encoder says that text and video do.

    Args:
        vocab_size, word_size (`int`): Tokens of the cross-encoder, and length of the vectors that they start as.
        hidden_size (`int`): Last dimension of what it makes of clips.
        width (`int`, *optional*, defaults to 128): Numbers in a vector.
        inner_size, num_pools (`int`, *optional*, defaults to 128 and 4): Width of the layers, and means that are taken.
    """

    def __init__(
        self,
        vocab_size: int,
        word_size: int,
        hidden_size: int,
        width: int = 128,
        inner_size: int = 128,
        num_pools: int = 4,
    ):
        super().__init__()
        self.settings = {"vocab_size": vocab_size, "word_size": word_size, "hidden_size": hidden_size}
        self.settings |= {"width": width, "inner_size": inner_size, "num_pools": num_pools}
        self.text = TextHead(vocab_size, word_size, inner_size, num_pools, width)
        self.video = VideoHead(hidden_size, inner_size, num_pools, width)
        self.scale = nn.Parameter(torch.tensor(20.0).log())  # its logarithm
        self.bias = nn.Parameter(torch.tensor(0.0))
        self.teacher: str | None = None  # fingerprint of the cross-encoder
        self.report: DistillationReport | None = None

    def forward(self, texts: torch.Tensor, videos: torch.Tensor) -> torch.Tensor:
        """Vectors `(texts, width)` and `(videos, width)` to log-odds `(texts, videos)`."""
        return self.scale.exp() * (texts @ videos.T) + self.bias

    @torch.inference_mode()
    def encode_texts(self, processor: Any, texts: Sequence[str]) -> np.ndarray:
        """Vectors `(texts, width)` of sentences, whose tokens the cross-encoder's processor makes."""
        return self.text(*tokenize(processor, texts)).numpy()

    @torch.inference_mode()
    def encode_videos(self, parts: np.ndarray, mask: np.ndarray | None, numbers: np.ndarray) -> np.ndarray:
        """Vectors `(numbers, width)` of some of the videos, see [`DistilledEncoder.vector`]."""
        vectors = np.zeros((len(numbers), self.settings["width"]), np.float32)
        for first in range(0, len(numbers), VIDEOS_PER_BLOCK):
            some = slice(first, first + VIDEOS_PER_BLOCK)
            vectors[some] = self.video(*take_videos(parts, mask, numbers[some], "cpu")).numpy()
        return vectors

    def to_bytes(self) -> bytes:
        """Weights, report and the cross-encoder's fingerprint, as safetensors: nothing in it can run."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        facts = {"format": FORMAT, "version": VERSION, "settings": self.settings, "teacher": self.teacher}
        facts["report"] = None if self.report is None else asdict(self.report)
        text = json.dumps(facts, sort_keys=True)
        return safetensors.torch.save(tensors, {"facts": text, "digest": _digest(text, tensors)})

    @classmethod
    def from_bytes(cls, content: bytes) -> "DistilledHeads":
        """
        What `to_bytes` returned.

        Raises:
            IndexDamagedError: If it is something else, or has changed since.
            SearchIndexError: If a newer version of this package wrote it.
        """
        try:
            tensors, facts = _read(content)
            heads = None if facts["version"] > VERSION else cls._build(tensors, facts)
        except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError, RecursionError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise IndexDamagedError(
                f"Expected distilled heads as they were written, got {len(content)} bytes of something else ({reason}): distil anew."
            ) from error
        if heads is None:
            raise SearchIndexError(
                f"The distilled heads are of version {facts['version']}, and this package knows {VERSION}: update it, or distil anew."
            )
        return heads

    @classmethod
    def _build(cls, tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> "DistilledHeads":
        with torch.device("meta"):  # settings cannot ask for more memory than the tensors have
            heads = cls(**facts["settings"])
        heads.load_state_dict(tensors, assign=True)
        heads.teacher = facts["teacher"]
        heads.report = None if facts["report"] is None else DistillationReport(**facts["report"])
        return heads.eval()

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits: two heads that are equal make the same vectors."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        return _digest(json.dumps([self.settings, self.teacher], sort_keys=True), tensors)[:32]


def tokenize(processor: Any, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens `(texts, length)` and which of them are words; empty where there is no text."""
    if not len(texts):
        return torch.zeros(0, 1, dtype=torch.long), torch.zeros(0, 1, dtype=torch.bool)
    words = processor(text=list(texts))
    return words["input_ids"], words["attention_mask"].bool()


def take_videos(
    parts: np.ndarray, mask: np.ndarray | None, numbers: np.ndarray, device: torch.device | str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Some videos in float32, and which of their clips exist."""
    seen = torch.tensor(parts[numbers]).to(device, torch.float32)
    exists = torch.ones(seen.shape[:2], dtype=torch.bool) if mask is None else torch.tensor(mask[numbers]).bool()
    return seen, exists.to(device)


def _digest(text: str, tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _read(content: bytes) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and facts of what `to_bytes` returned."""
    tensors = safetensors.torch.load(content)
    length = int.from_bytes(content[:8], "little")  # of the header; safetensors gives metadata of files alone
    metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    facts = json.loads(metadata["facts"])
    if facts["format"] != FORMAT or metadata["digest"] != _digest(metadata["facts"], tensors):
        raise ValueError("their checksum is another")
    return tensors, facts


# ---------------------------------------------------------------------------------------------------------------------
# Vectors
# ---------------------------------------------------------------------------------------------------------------------


class DistilledEncoder:
    """
    Vectors of texts and videos by distilled heads, for the shortlists of the cross-encoder that they learnt from.

    Args:
        heads ([`DistilledHeads`]): What `distil` returned, or `DistilledHeads.from_bytes`.
        reranker ([`Reranker`]): The cross-encoder; its processor makes the tokens.
        min_first_kept (`float`, *optional*, defaults to 0.9): Share of the first places that a shortlist of the reference size has to
            keep among held-out texts and videos.

    Raises:
        FingerprintError: If the heads learnt from another model.
        SearchIndexError: If they lose more first places, or it is not known how many.

    Example:
        >>> heads, report = distil(reranker, captions, parts, mask)  # doctest: +SKIP
        >>> encoder = DistilledEncoder(heads, reranker)  # doctest: +SKIP
        >>> similarities = encoder.encode_query(["a red circle"]) @ encoder.vector(parts, mask).T  # doctest: +SKIP
    """

    def __init__(self, heads: DistilledHeads, reranker: Any, min_first_kept: float = MIN_FIRST_KEPT):
        if heads.teacher != reranker.fingerprint:
            raise FingerprintError(
                f"The distilled heads learnt from the model {heads.teacher}, and {reranker.name} is {reranker.fingerprint}: distil anew."
            )
        if heads.report is None or not heads.report.first_kept >= min_first_kept:
            kept = "is not known" if heads.report is None else f"is {heads.report.first_kept:.1%}"
            size = "" if heads.report is None else f" in a shortlist of {heads.report.reference}"
            raise SearchIndexError(
                f"The share of first places that the distilled heads keep{size}, with texts and videos held out, {kept}; at least "
                f"{min_first_kept:.1%} are asked. Distil from more texts, videos or steps, lower min_first_kept, or do without."
            )
        self.heads, self.reranker, self.name = heads.eval(), reranker, reranker.name
        self.stage, self.parts_shape = "distilled", None
        self.fingerprint = heads.fingerprint
        self.width: int = heads.settings["width"]

    def to_bytes(self) -> bytes:
        """The heads, to be kept in an index: see `DistilledHeads.to_bytes`."""
        return self.heads.to_bytes()

    @classmethod
    def from_bytes(cls, content: bytes, reranker: Any, min_first_kept: float = MIN_FIRST_KEPT) -> "DistilledEncoder":
        """What `to_bytes` returned, with the same cross-encoder; raises as the constructor and `DistilledHeads.from_bytes` do."""
        return cls(DistilledHeads.from_bytes(content), reranker, min_first_kept)

    def encode_query(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors `(texts, width)`, float32, of length 1."""
        return self.heads.encode_texts(self.reranker.processor, texts)

    @property
    def read(self) -> Any:
        """That of the cross-encoder."""
        return self.reranker.read

    def encode(self, inputs: Sequence[Mapping[str, Any]]) -> list[EncodedSegment]:
        """What `read` returned of some segments, as the cross-encoder encodes it, with vectors."""
        return self.add_vectors(self.reranker.encode(inputs))

    def add_vectors(self, segments: Sequence[EncodedSegment]) -> list[EncodedSegment]:
        """What the cross-encoder made of some segments, with vectors."""
        masks = [None if one.mask is None else one.mask[None] for one in segments]
        return [
            replace(one, vector=self.vector(one.parts[None], mask)[0])
            for one, mask in zip(segments, masks, strict=True)
        ]

    def vector(self, parts: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        """
        Vectors of segments from what the cross-encoder made of them.

        Args:
            parts (`np.ndarray` of shape `(segments, clips, ..., hidden_size)`): Of float32 or float16.
            mask (`np.ndarray` of shape `(segments, clips)`, *optional*): Which clips exist, at least one of each segment.

        Returns:
            `np.ndarray` of shape `(segments, width)`, float32, of length 1.

        Raises:
            SearchIndexError: If the last dimension is another than that of the clips which the heads learnt from.
        """
        if parts.ndim < 3 or parts.shape[-1] != self.heads.settings["hidden_size"]:
            raise SearchIndexError(
                f"Expected clips of shape (segments, clips, ..., {self.heads.settings['hidden_size']}), got {parts.shape}."
            )
        return self.heads.encode_videos(parts, mask, np.arange(len(parts)))


__all__ = [
    "MIN_FIRST_KEPT",
    "DistillationReport",
    "DistilledEncoder",
    "DistilledHeads",
    "take_videos",
    "tokenize",
]
