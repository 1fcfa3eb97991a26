# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Videos encoded once, to be ranked for any number of sentences: all of them, or a shortlist by one vector for each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from clipbert.metrics.retrieval.retrieval import summarise
from clipbert.processing import VideoDecodeError
from clipbert.train_scripts.tasks.scoring import Texts, VideoBlock, build_text_blocks, match_texts, repeat_texts


VIDEOS_PER_BLOCK = 2**12  # whose vectors are computed, or that are compared with texts, at a time
TEXTS_PER_BLOCK = 64


class NoVectorsError(ValueError):
    """A model has no vectors of texts and videos, by which a shortlist could be taken."""


class ShortlistError(ValueError):
    """A shortlist that is longer than the list."""


def check_vectors(model: PreTrainedModel) -> None:
    if not hasattr(model, "vectors"):
        raise NoVectorsError(
            f"{type(model).__name__} reads text and video together: it has no vectors for a shortlist, or by which videos "
            "could be compared."
        )


def check_shortlist(size: int, num_videos: int) -> None:
    if not 1 <= size <= num_videos:
        raise ShortlistError(f"A shortlist of {size} cannot be taken: there are {num_videos} videos.")


@dataclass
class RankedVideo:
    """
    Args:
        path (`Path`): The video.
        score (`float`): How well sentence and video fit, as log-odds pooled over its clips: larger is better. It orders
            the videos for one sentence; it is no probability, and a video that fits less may have a high one, too. Of
            videos that are like another one: the cosine of their vectors.
        start_s, end_s (`float`): First and last frame, in seconds, of the clip that agrees best.
    """

    path: Path
    score: float
    start_s: float
    end_s: float


class EncodedCollection:
    """
    Encoded videos of a model that compares what it has encoded.

    Args:
        model (`PreTrainedModel`): With `match_all` and `vectors`; see `tasks.scoring`.
        videos (`torch.Tensor`), clip_mask (`torch.Tensor`, *optional*): What `encode_videos` returned of all of them, and
            which of their clips exist.
    """

    def __init__(self, model: PreTrainedModel, videos: torch.Tensor, clip_mask: torch.Tensor | None = None):
        self.model, self.videos, self.clip_mask = model, videos, clip_mask
        self.vectors = torch.cat([model.vectors(block) for block in videos.split(VIDEOS_PER_BLOCK)])

    def __len__(self) -> int:
        return len(self.videos)

    @torch.inference_mode()
    def nearest(self, vectors: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and numbers, each `(rows, size)`, of the videos whose vectors are nearest to some `(rows, width)`."""
        return (vectors @ self.vectors.T).topk(size, dim=1)

    @torch.inference_mode()
    def score(self, texts: Texts, numbers: torch.Tensor | None = None) -> torch.Tensor:
        """Log-odds `(texts, videos)` of all videos, or of those with these numbers."""
        parts = []
        for first in range(0, len(self) if numbers is None else len(numbers), VIDEOS_PER_BLOCK):
            some = slice(first, first + VIDEOS_PER_BLOCK)
            some = some if numbers is None else numbers[some]
            mask = {} if self.clip_mask is None else {"clip_mask": self.clip_mask[some]}
            parts.append(self.model.match_all(texts, self.videos[some], **mask))
        return torch.cat(parts, dim=1)


class VideoSearch:
    """
    Videos encoded once, to be ranked for any number of sentences.

    Args:
        model (`PreTrainedModel`): A model that keeps the contract of matching (`train_scripts.tasks.scoring`).
        processor (`ProcessorMixin`): Saved with it; its options decide how many clips are read.
        paths (`Iterable[Path]`): Videos. Those that cannot be decoded are listed in `unreadable`.
        sampling: Options of the processor, such as `num_clips`, that differ from its own.
    """

    def __init__(self, model, processor, paths: Iterable[Path], **sampling):
        self.model, self.processor, self.sampling = model.eval(), processor, sampling
        self.paths, self.unreadable = [], {}
        self.videos, self.clip_masks, self.seconds = [], [], []
        for path in tqdm(list(paths), desc="encoding", unit="video", disable=None):
            self.add(path)
        self.encoded = None
        if hasattr(model, "match_all") and self.videos:
            self._join()

    @torch.inference_mode()
    def encode(self, path: Path) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """One video, which of its clips exist, and the seconds of its frames `(clips, frames)`."""
        inputs = self.processor(videos=[path], return_metadata=True, **self.sampling)
        mask = {name: inputs[name].to(self.model.device) for name in ("clip_mask",) if name in inputs}
        video = self.model.encode_videos(inputs["pixel_values"].to(self.model.device), **mask)
        return video, mask.get("clip_mask"), inputs["frame_seconds"][0]

    def add(self, path: Path) -> None:
        try:
            video, mask, seconds = self.encode(path)
        except VideoDecodeError as error:
            self.unreadable[path] = str(error)
            return
        self.paths.append(path)
        self.videos.append(video)
        self.clip_masks.append(mask)
        self.seconds.append(seconds)

    @torch.inference_mode()
    def _join(self) -> None:
        """All videos in one tensor, of which the list has views: they lie in memory once."""
        whole = self.videos[0].new_empty(len(self.videos), *self.videos[0].shape[1:])
        for number, video in enumerate(self.videos):
            whole[number : number + 1] = video
            self.videos[number] = whole[number : number + 1]
        masks = None if self.clip_masks[0] is None else torch.cat(self.clip_masks)
        self.encoded = EncodedCollection(self.model, whole, masks)

    @torch.inference_mode()
    def encode_text(self, sentence: str) -> Texts:
        words = self.processor(text=[sentence]).to(self.model.device)
        return self.model.encode_texts(words["input_ids"], words["attention_mask"])

    @torch.inference_mode()
    def rank(
        self, sentence: str, block: int = 16, shortlist: int | None = None, top: int | None = None
    ) -> list[RankedVideo]:
        """
        Readable videos, best first.

        Args:
            sentence (`str`): What to look for.
            block (`int`, *optional*, defaults to 16): Videos that are scored together.
            shortlist (`int`, *optional*): Score those alone whose vectors are nearest to that of the sentence.
            top (`int`, *optional*): How many to return; all that are scored.

        Raises:
            NoVectorsError: If the model has no vectors for a shortlist.
            ShortlistError: If the shortlist is longer than there are videos.
        """
        text, numbers = self.encode_text(sentence), range(len(self.paths))
        if shortlist is not None:
            numbers = self.shortlist(text, shortlist)[1]
        if self.encoded is not None:
            places = None if shortlist is None else torch.tensor(numbers, device=self.model.device)
            scores = self.encoded.score(text, places)[0]
            numbers = [numbers[place] for place in scores.argsort(descending=True, stable=True)[:top].tolist()]
        ranked = []
        for start in range(0, len(numbers), block):
            ranked += self.match(text, list(numbers[start : start + block]))
        return sorted(ranked, key=lambda video: -video.score)[:top]

    def shortlist(self, encoded: Texts | torch.Tensor, size: int) -> tuple[list[float], list[int]]:
        """Cosines and numbers of the videos whose vectors are nearest to that of one text, or one video."""
        check_vectors(self.model)
        check_shortlist(size, len(self.paths))
        values, numbers = self.encoded.nearest(self.model.vectors(encoded), size)
        return values[0].tolist(), numbers[0].tolist()

    def match(self, text: Texts, numbers: Sequence[int]) -> list[RankedVideo]:
        """Some videos with their scores, and the seconds of the clip that agrees best."""
        videos = torch.cat([self.videos[number] for number in numbers])
        masks = [self.clip_masks[number] for number in numbers]
        mask = None if masks[0] is None else torch.cat(masks)
        video_indices = torch.arange(len(videos), device=videos.device)
        outputs = match_texts(
            self.model, repeat_texts(text, len(numbers)), VideoBlock(list(numbers), videos, mask), video_indices
        )
        clip_odds = outputs.clip_odds
        if mask is not None and mask.shape == clip_odds.shape:
            clip_odds = clip_odds.masked_fill(~mask.bool(), -torch.inf)
        found = zip(numbers, outputs.match_odds.tolist(), clip_odds.argmax(dim=1).tolist(), strict=True)
        return [
            RankedVideo(self.paths[number], score, *self.seconds_of(number, clip, clip_odds.shape[1]))
            for number, score, clip in found
        ]

    def seconds_of(self, number: int, place: int, num_places: int) -> tuple[float, float]:
        """First and last second of a clip, or of a frame where the model scores frames."""
        seconds = self.seconds[number]  # (clips, frames)
        if num_places == seconds.numel() != len(seconds):
            seconds = seconds.flatten()[:, None]
        shown = seconds[place] if num_places == len(seconds) else seconds.flatten()
        return shown[0].item(), shown[-1].item()

    @torch.inference_mode()
    def like(self, path: Path, top: int) -> list[RankedVideo]:
        """The videos whose vectors are nearest to that of a video, which need not be one of them."""
        check_vectors(self.model)
        values, numbers = self.shortlist(self.encode(path)[0], min(top, len(self.paths)))
        return [
            RankedVideo(self.paths[number], value, *self.seconds_of(number, 0, 0))
            for value, number in zip(values, numbers, strict=True)
        ]


@torch.inference_mode()
def evaluate_shortlist(
    encoded: EncodedCollection, processor: Any, texts: Sequence[str], owners: Sequence[int], sizes: Sequence[int]
) -> dict[str, dict[str, float]]:
    """
    What a shortlist loses of the recall that scoring every pair has.

    Args:
        encoded ([`EncodedCollection`]): The videos.
        processor (`ProcessorMixin`): Makes tokens.
        texts (`Sequence[str]`): Sentences.
        owners (`Sequence[int]`): For each of them the number of the right video.
        sizes (`Sequence[int]`): Lengths of the shortlist.

    Returns:
        `dict`: For `"all"` and each size R@1, R@5, R@10, median and mean rank of text-to-video retrieval. A right video that
        is not in the shortlist counts as the last of all.

    Raises:
        ShortlistError: If a shortlist is longer than there are videos.
    """
    for size in sizes:
        check_shortlist(size, len(encoded))
    counts = {size: ([], []) for size in ("all", *sizes)}  # better and tied videos of each text
    device, owners = encoded.videos.device, torch.as_tensor(owners)
    for block in build_text_blocks(texts, processor, TEXTS_PER_BLOCK, device):
        encoded_texts = encoded.model.encode_texts(block.input_ids, block.attention_mask)
        own = owners[block.numbers].to(device)[:, None]
        scores, order = (
            encoded.score(encoded_texts),
            encoded.nearest(encoded.model.vectors(encoded_texts), max((*sizes, 1)))[1],
        )
        right, shortlisted = scores.gather(1, own), scores.gather(1, order)
        for size, (better, tied) in counts.items():
            some = scores if size == "all" else shortlisted[:, :size]
            is_found = torch.ones_like(own[:, 0], dtype=torch.bool)
            if size != "all":
                is_found = (order[:, :size] == own).any(dim=1)
            better += torch.where(is_found, (some > right).sum(dim=1), len(encoded)).tolist()
            tied += torch.where(is_found, (some == right).sum(dim=1) - 1, 0).tolist()
    ones = np.ones(len(texts), dtype=int)
    return {
        str(size): summarise("text_to_video", np.array(better), np.array(tied), ones, "average")
        for size, (better, tied) in counts.items()
    }


def rerank(search: VideoSearch, sentence: str, ranked: Sequence[RankedVideo]) -> list[RankedVideo]:
    """The same videos in the order of another model, which encodes each of them once, when it is first asked for."""
    for path in (video.path for video in ranked):
        if path not in search.paths and path not in search.unreadable:
            search.add(path)
    numbers = {path: number for number, path in enumerate(search.paths)}
    text = search.encode_text(sentence)
    with torch.inference_mode():
        found = [
            match for video in ranked if video.path in numbers for match in search.match(text, [numbers[video.path]])
        ]
    return sorted(found, key=lambda video: -video.score)


__all__ = [
    "EncodedCollection",
    "NoVectorsError",
    "RankedVideo",
    "ShortlistError",
    "VideoSearch",
    "check_vectors",
    "evaluate_shortlist",
    "rerank",
]
