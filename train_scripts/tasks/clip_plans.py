# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Evaluations with several numbers of clips from one pass over the videos.

A *plan* is what one evaluation looks at: the n clips that it would take of each video. Plans of different n look at different places,
so that the first n of 16 clips are not what an evaluation with n clips sees. Here a video is opened once, for the clips of all plans;
clips that consist of the same frames are one. Each is encoded and scored once, by itself; the scores of a plan are then those of its
clips, and equal an evaluation of its own.

    video --decoded once--> clips of all plans --encoded once--> scores (texts, videos, clips, labels) --plan n--> pooled over n clips

Letters: V videos, P plans, M views of a video at most (clips, or crops of clips), N of them in a plan, K views that exist.
"""

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from transformers import PreTrainedModel

from clipbert.processing.sampling import ClipSample
from clipbert.train_scripts.engine.operations import count_operations
from clipbert.train_scripts.engine.predictions import Predictions
from clipbert.train_scripts.tasks.building import forward_options
from clipbert.train_scripts.tasks.question_answering.modes import texts_of_questions
from clipbert.train_scripts.tasks.scoring import (
    Texts,
    VideoBlock,
    VisualInputs,
    VisualReader,
    add_tables,
    as_floats,
    match_texts,
    matches_of_clips,
)


NO_CLIP = -1  # in the place of a clip that a video is too short for


@dataclass(frozen=True)
class ClipPlans:
    """
    The evaluations that a pass is for.

    Args:
        counts (`tuple[int, ...]`): Numbers of clips, rising.
        num_draws (`int`, *optional*, defaults to 1): Draws of each of them, where clips are drawn (`eval.sampling: random`).
        is_fixed_length (`bool`, *optional*, defaults to `True`): Whether clips last as long in all plans, and are not equal parts of
            the video.
    """

    counts: tuple[int, ...]
    num_draws: int = 1
    is_fixed_length: bool = True

    def __len__(self) -> int:
        return len(self.counts) * self.num_draws

    def of_count(self, count: int) -> range:
        """The plans with so many clips, one for each draw."""
        first = self.counts.index(count) * self.num_draws
        return range(first, first + self.num_draws)

    def join(
        self, sample: Callable[..., ClipSample], metadata: Any, seed: Any, options: Mapping[str, Any]
    ) -> tuple[ClipSample, np.ndarray]:
        """
        The clips of all plans, each once.

        Args:
            sample (`Callable`): `sample_frames` of a video processor.
            metadata, seed, options: What it is called with; the seed of a draw is one more than that of the draw before.

        Returns:
            [`ClipSample`], and the places of each plan's clips in it `(P, largest count)`, [`NO_CLIP`] where there is none.
        """
        known: dict[tuple[int, ...], int] = {}
        places = np.full((len(self), self.counts[-1]), NO_CLIP)
        for count in self.counts:
            for draw, plan in enumerate(self.of_count(count)):
                own_seed = (seed[0] + draw, *seed[1:]) if isinstance(seed, tuple) else seed
                found = sample(metadata, own_seed, **{**options, "num_clips": count})
                for place, (frames, exists) in enumerate(zip(found.frame_indices, found.clip_mask, strict=True)):
                    if exists:
                        places[plan, place] = known.setdefault(tuple(frames.tolist()), len(known))
        return ClipSample(np.array(list(known)), np.ones(len(known), dtype=bool)), places


class PlannedVideos(VisualInputs):
    """
    Videos with the clips of all plans: `pixel_values` `(1, views, frames, 3, height, width)`, `frame_seconds` `(1, clips, frames)`,
    `places` `(1, P, N)` of the views of each plan, `num_frames` `(1, P)`, different frames of each plan, and `read_s`.
    """

    def __init__(self, *args: Any, plans: ClipPlans, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.plans = plans

    def prepare(self, number: int) -> dict[str, torch.Tensor]:
        started, places = time.perf_counter(), np.zeros(0)
        video_processor = copy.copy(getattr(self.processor, "video_processor", self.processor))
        sample = video_processor.sample_frames

        def sample_all(metadata: Any, seed: Any = None, **options: Any) -> ClipSample:
            nonlocal places
            joined, places = self.plans.join(sample, metadata, seed, options)
            return joined

        video_processor.sample_frames = sample_all
        inputs = video_processor(**self.arguments(number))
        pixels = inputs["pixel_values"].flatten(0, -5)  # (views, frames, 3, height, width)
        frames = inputs["frame_indices"].reshape(
            -1, pixels.shape[1]
        )  # (clips, frames); a single clip may have no dimension
        num_crops = len(pixels) // len(frames)
        views = np.where(places[..., None] == NO_CLIP, NO_CLIP, places[..., None] * num_crops + np.arange(num_crops))
        seen = [np.unique(frames[own[own != NO_CLIP]]).size for own in places]
        return {
            "pixel_values": pixels[None],
            "frame_seconds": inputs["frame_seconds"].reshape(1, *frames.shape),
            "places": torch.from_numpy(views).flatten(1)[None],
            "num_frames": torch.tensor([seen]),
            "read_s": torch.tensor([time.perf_counter() - started]),
        }


@dataclass
class PlannedReader(VisualReader):
    """
    Reads videos with the clips of all plans.

    Args:
        plans ([`ClipPlans`]): Of them.

    After all blocks, for all processes: `places` `(V, P, N)`, of the views of each plan among those of a video, `num_frames` `(V, P)`,
    how many different frames these are, `read_s` `(V,)`, and `blocks_read`, of each block of videos `(views, seconds)`, where the
    seconds are those of encoding and scoring.
    """

    keeps_videos = False  # what is encoded are the views of all plans
    plans: ClipPlans = ClipPlans((1,))
    blocks_read: list[tuple[int, float]] = field(default_factory=list)

    def __post_init__(self):
        video_processor = getattr(self.processor, "video_processor", self.processor)
        num_crops = self.options.get("num_crops") or getattr(video_processor, "num_crops", 1)
        counts = self.plans.counts
        self.options = {**self.options, "num_clips": counts[-1]}  # of a plan; the processor checks it
        super().__post_init__()
        self.num_clips = sum(counts) * self.plans.num_draws * num_crops  # views of a video at most
        shape = (len(self.visuals), len(self.plans))
        self.places = torch.zeros(*shape, counts[-1] * num_crops, dtype=torch.int64)
        self.num_frames, self.read_s = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape[0])
        self.frame_seconds = torch.zeros(shape[0], self.num_clips, self.frame_seconds.shape[-1], dtype=torch.float64)

    def inputs(self) -> VisualInputs:
        return super().inputs(partial(PlannedVideos, plans=self.plans))

    def note(self, number: int, item: dict[str, torch.Tensor]) -> None:
        seconds = item.pop("frame_seconds")[0]
        self.frame_seconds[number] = torch.nan
        self.frame_seconds[number, : len(seconds)] = seconds
        for name in ("places", "num_frames", "read_s"):
            getattr(self, name)[number] = item.pop(name)[0]

    def blocks(self, model: PreTrainedModel) -> Iterator[VideoBlock]:
        for block in super().blocks(model):
            yield block
            self.blocks_read.append((int(block.clip_mask.sum()), self.now() - self.started))

    def encode(
        self, model: PreTrainedModel, numbers: list[int], inputs: Sequence[Mapping[str, torch.Tensor]]
    ) -> VideoBlock:
        self.started = self.now()
        sizes = torch.tensor([item["pixel_values"].shape[1] for item in inputs])
        mask = (torch.arange(self.num_clips) < sizes[:, None]).long().to(self.accelerator.device)  # (videos, M)
        pixels = torch.cat([item["pixel_values"][0] for item in inputs]).to(
            self.accelerator.device
        )  # (K, frames, ...)
        return VideoBlock(numbers, model.encode_views(pixels, mask), mask)

    def now(self) -> float:
        """Seconds, when what a GPU was asked for is done."""
        if self.accelerator.device.type == "cuda":
            torch.cuda.synchronize(self.accelerator.device)
        return time.perf_counter()

    def gather(self) -> None:
        super().gather()
        for name in ("places", "num_frames", "read_s"):
            setattr(self, name, add_tables(getattr(self, name), self.accelerator))
        self.places[list(self.skipped)] = NO_CLIP
        self.blocks_read = gather_object(self.blocks_read)


class SingleViews:
    """
    A head for retrieval or questions that scores each view of a video by itself, whatever it pools them to otherwise.

    It has the methods that an evaluation calls; [`PlannedReader`] makes its videos. `operations` are the multiply-adds of a `"view"`
    to be encoded, and of a `"pair"` of a text and a view; `None` where they cannot be counted.

    Args:
        model (`PreTrainedModel`): Whose scores of a video are pooled from those of its views, by `config.score_pooling`.
    """

    def __init__(self, model: PreTrainedModel):
        self.model, self.config = model, model.config
        self.operations: dict[str, float | None] = {}
        # such a head is evaluated in float32, whatever the precision of its features
        self.is_exact = hasattr(model, "match_all")

    def encode_views(self, pixel_values: torch.Tensor, clip_mask: torch.Tensor) -> torch.Tensor:
        """Views `(K, frames, 3, height, width)` to what `encode_videos` makes of each, `(V, M, ...)`; 0 for those that do not exist."""
        call = partial(self.model.encode_videos, pixel_values[:, None])
        encoded = self.counted("view", len(pixel_values), call)[:, 0]
        videos = encoded.new_zeros(*clip_mask.shape, *encoded.shape[1:])
        videos[clip_mask.bool()] = encoded
        return videos

    def encode_texts(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Texts:
        return self.model.encode_texts(input_ids, attention_mask)

    def match(
        self, texts: Texts, videos: torch.Tensor, video_indices: torch.Tensor, clip_mask: torch.Tensor
    ) -> SimpleNamespace:
        """As the contract of matching has it, with `clip_logits` `(pairs, M, labels)`."""
        exists, rows, views = self.pairs(video_indices, clip_mask)
        texts, block = select_texts(texts, rows), VideoBlock([], videos.flatten(0, 1)[:, None], None)
        with ExitStack() as stack:
            if self.is_exact:
                stack.enter_context(torch.autocast(videos.device.type, enabled=False))
                texts, block = as_floats(texts), block._replace(videos=block.videos.float())
            call = partial(match_texts, self.model, texts, block, views)
            scores = matches_of_clips(self.counted("pair", len(rows), call))  # (pairs of views, 1, labels)
        return SimpleNamespace(clip_logits=spread(scores[:, 0], exists))

    def forward(
        self,
        *,
        video_indices: torch.Tensor,
        visual_embeds: torch.Tensor,
        clip_mask: torch.Tensor,
        **texts: torch.Tensor,
    ) -> SimpleNamespace:
        """Questions `(texts, ...)` with their videos."""
        exists, rows, views = self.pairs(video_indices, clip_mask)
        inputs = {**select_texts(texts, rows), "video_indices": views}
        videos, options = visual_embeds.flatten(0, 1)[:, None], forward_options(self.model)
        call = partial(self.model, **inputs, visual_embeds=videos, **options)
        outputs = self.counted("pair", len(rows), call)
        return SimpleNamespace(clip_logits=spread(outputs.clip_logits[:, 0].float(), exists))

    __call__ = forward

    def counted(self, unit: str, number: int, call: Callable[[], Any]) -> Any:
        """What a call returns; the first of each kind is counted."""
        if unit in self.operations:
            return call()
        result, found = count_operations(call)
        self.operations[unit] = found and found.whole / number
        return result

    @staticmethod
    def pairs(video_indices: torch.Tensor, clip_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Which views exist `(texts, M)`; of those the text, and the number of the view among all of the block `(pairs of views,)`."""
        exists = clip_mask[video_indices].bool()
        rows, places = exists.nonzero(as_tuple=True)
        return exists, rows, video_indices[rows] * clip_mask.shape[1] + places


def select_texts(texts: Texts, rows: torch.Tensor) -> Texts:
    return (
        {name: select_texts(part, rows) for name, part in texts.items()} if isinstance(texts, Mapping) else texts[rows]
    )


def spread(scores: torch.Tensor, exists: torch.Tensor) -> torch.Tensor:
    """Scores `(pairs of views, labels)` in the places of the views, `(texts, M, labels)`; 0 elsewhere."""
    table = scores.new_zeros(*exists.shape, scores.shape[-1])
    table[exists] = scores
    return table


# ---------------------------------------------------------------------------------------------------------------------
# The predictions of a plan
# ---------------------------------------------------------------------------------------------------------------------


def owners_of_texts(predictions: Predictions) -> np.ndarray:
    """Of each text that has been scored the number of its video, `(texts,)`."""
    columns = {video_id: column for column, video_id in enumerate(predictions.info["video_ids"])}
    owners = [columns[row["video_id"]] for row in predictions.rows]
    return np.repeat(owners, texts_of_questions(predictions.rows))


def select_plan(predictions: Predictions, places: np.ndarray, score_pooling: str) -> Predictions:
    """
    What an evaluation would have predicted that looks at some of the views alone.

    Args:
        predictions (`Predictions`): Of all views: `clip_logits` `(texts, V, M, labels)`, or `(texts, M, labels)` where texts are scored
            with their own videos.
        places (`np.ndarray` of shape `(V, N)`): The views of each video, [`NO_CLIP`] where there is none. One may come twice.
        score_pooling (`str`): How their scores are pooled.
    """
    logits = predictions.tensors["clip_logits"]
    places = places[None] if logits.ndim == 4 else places[owners_of_texts(predictions)]
    taken = np.take_along_axis(logits, places.clip(0)[..., None], axis=-2)
    taken[np.broadcast_to(places == NO_CLIP, taken.shape[:-1])] = np.nan
    info = {**predictions.info, "score_pooling": score_pooling}
    return replace(predictions, tensors={"clip_logits": taken}, info=info)


def draw_places(places: np.ndarray, count: int, num_crops: int, rng: np.random.Generator) -> np.ndarray:
    """
    So many clips of each video, drawn independently of each other, as `random` draws where clips lie.

    Args:
        places (`np.ndarray` of shape `(V, N)`): The views to draw from, crops of a clip next to each other.
        count (`int`): Clips to draw; one may come twice.
        num_crops (`int`): Views of a clip.
        rng (`np.random.Generator`): Source of the draws.

    Returns:
        `np.ndarray` of shape `(V, count * num_crops)`.
    """
    clips = places.reshape(len(places), -1, num_crops)
    exists = clips[..., 0] != NO_CLIP
    order = np.argsort(~exists, axis=1, kind="stable")  # those that exist first
    drawn = np.floor(rng.random((len(places), count)) * exists.sum(axis=1, keepdims=True)).astype(int)
    chosen = np.take_along_axis(order, drawn, axis=1)
    return np.take_along_axis(clips, chosen[..., None], axis=1).reshape(len(places), -1)


__all__ = ["NO_CLIP", "ClipPlans", "PlannedReader", "SingleViews", "draw_places", "select_plan"]
