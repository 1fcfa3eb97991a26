# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Which places, frames, clips and words a score rests on, and whether that is so.

Places: integrated gradients over pixels ("Axiomatic Attribution for Deep Networks", https://arxiv.org/abs/1703.01365), on the way from the
median colour of each clip to what it shows. Where a picture already has that colour nothing changes on the way, and nothing is attributed
to it: of a plain background that is so by construction, and says nothing of the model. Words, clips: what the score loses without them.

Whether a model rests on what is said to be strongest is asked by deletion: the strongest places are painted over first, or the strongest words
left out, and the score has to fall faster than in random order ("RISE", https://arxiv.org/abs/1806.07421). In random orders, too, a place
comes the earlier the more it differs from the median colour: to know where something is, is not yet to know what the model looks at.

Letters: F frames of all clips, G x G cells of a frame, W words.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from clipbert.explanations.subjects import Subject


NUM_STEPS, FRAMES_PER_FORWARD = 32, 64
NUM_CELLS = 12  # of a side
FRACTIONS = (0.0, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
NUM_RANDOM = 10  # orders that a deletion is compared with


@dataclass
class Deletion:
    """
    Scores while parts are taken away, strongest first, beside random orders.

    Args:
        fractions (`np.ndarray` of shape `(points,)`): How much is gone.
        scores (`np.ndarray` of shape `(points,)`): Strongest first.
        random (`np.ndarray` of shape `(orders, points)`): In random orders; of places weighed by how much they differ from the
            baseline.
    """

    fractions: np.ndarray
    scores: np.ndarray
    random: np.ndarray

    @property
    def area(self) -> float:
        """Mean of the curve over the part that is gone: the lower, the faster it falls."""
        return area_under(self.fractions, self.scores)

    @property
    def random_areas(self) -> np.ndarray:
        """The same of each random order."""
        return np.array([area_under(self.fractions, scores) for scores in self.random])

    @property
    def is_faster(self) -> bool:
        """Whether the score falls faster than in all but a fortieth of random orders, and by more than nothing."""
        return bool(self.area < np.quantile(self.random_areas, 0.025))


@dataclass
class Explanation:
    """
    What a score rests on.

    Args:
        label (`str`): What is scored.
        kind (`str`): What the score is, such as `"log-odds"`.
        score (`float`): Of the video as it is.
        baseline_score (`float`): Of a video in which each clip has its median colour everywhere.
        frames (`np.ndarray` of shape `(F, height, width, 3)`): As the model sees them, from 0 to 1.
        seconds (`np.ndarray` of shape `(F,)`): When they are shown; NaN where nothing tells.
        places (`np.ndarray` of shape `(F, G, G)`): What each cell adds to the score; their sum is `score - baseline_score`, but for the
            error of so many steps.
        words (`list[str]`): Of the text or the question.
        word_scores (`np.ndarray` of shape `(W,)`): What the score loses without each of them.
        clips (`list[dict]`): Of each clip `start_s`, `end_s` and `adds`, what the score loses without it; empty of a video that is one.
        deletion (`dict[str, Deletion]`): Of `"places"`, and of three words or more of `"words"`.
    """

    label: str
    kind: str
    score: float
    baseline_score: float
    frames: np.ndarray
    seconds: np.ndarray
    places: np.ndarray
    words: list[str]
    word_scores: np.ndarray
    clips: list[dict[str, Any]] = field(default_factory=list)
    deletion: dict[str, Deletion] = field(default_factory=dict)

    @property
    def frame_scores(self) -> np.ndarray:
        """What each frame adds `(F,)`."""
        return self.places.sum(axis=(1, 2))


def explain(
    subject: Subject,
    picture: Callable[[torch.Tensor], torch.Tensor],
    num_steps: int = NUM_STEPS,
    num_cells: int = NUM_CELLS,
    seed: int = 0,
) -> Explanation:
    """
    What a score rests on.

    Args:
        subject ([`Subject`]): The score.
        picture (`Callable`): From frames `(F, 3, height, width)` as the model takes them to colours from 0 to 1; see
            [`picture_of`].
        num_steps (`int`, *optional*, defaults to 32): Of the integral.
        num_cells (`int`, *optional*, defaults to 12): Cells of a side, over which pixels are summed.
        seed (`int`, *optional*, defaults to 0): Of random orders.
    """
    pixels, baseline = subject.pixels, median_colour(subject.pixels)
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        score, baseline_score = subject(torch.cat([pixels, baseline])).tolist()
    gradients = integrated_gradients(subject, pixels, baseline, num_steps, variants_at_once(pixels))
    places = sum_cells(gradients.flatten(0, -4).sum(-3), num_cells).numpy()  # (F, G, G)
    with torch.no_grad():
        found = Explanation(
            label=subject.label,
            kind=subject.kind,
            score=score,
            baseline_score=baseline_score,
            frames=picture(pixels.flatten(0, -4)).movedim(1, -1).cpu().numpy(),
            seconds=seconds_of(subject, places),
            places=places,
            words=subject.words,
            word_scores=leave_out_words(subject, score),
            clips=leave_out_clips(subject, score),
        )
        found.deletion["places"] = delete_places(subject, baseline, places, rng)
        if len(subject.words) > 2:
            found.deletion["words"] = delete_words(subject, found.word_scores, rng)
    return found


def variants_at_once(pixels: torch.Tensor) -> int:
    """Variants of a video that go through a model together: of a long one few."""
    return max(1, FRAMES_PER_FORWARD // pixels.flatten(0, -4).shape[0])


def median_colour(pixels: torch.Tensor) -> torch.Tensor:
    """Each clip painted in its own median colour: `(..., frames, 3, height, width)` to the same shape."""
    by_colour = pixels.movedim(-3, -4).flatten(-3)  # (..., 3, frames * height * width)
    return by_colour.median(-1).values[..., None, :, None, None].expand_as(pixels)


def integrated_gradients(
    score: Callable[[torch.Tensor], torch.Tensor],
    pixels: torch.Tensor,
    baseline: torch.Tensor,
    num_steps: int = NUM_STEPS,
    per_forward: int = 8,
) -> torch.Tensor:
    """
    What each number of the input adds to a score (equation 1), by the middles of so many steps.

    Args:
        score (`Callable`): From `(variants, ...)` to `(variants,)`.
        pixels, baseline (`torch.Tensor` of shape `(1, ...)`): Where the way ends, and where it begins.
        num_steps (`int`, *optional*, defaults to 32): Of the way.
        per_forward (`int`, *optional*, defaults to 8): Steps in a pass of the model.

    Returns:
        `torch.Tensor` of shape `(1, ...)`, on the CPU. Its sum is the difference of the two scores, but for the error of the steps.

    Example:
        >>> end, start = torch.tensor([[3.0, 1.0]]), torch.zeros(1, 2)
        >>> integrated_gradients(lambda x: x[:, 0] ** 2 + 2 * x[:, 1], end, start).tolist()
        [[9.0, 2.0]]
    """
    total = torch.zeros_like(pixels)
    places = (torch.arange(num_steps) + 0.5) / num_steps
    for some in places.split(per_forward):
        share = some.to(pixels).view(-1, *[1] * (pixels.ndim - 1))
        variants = (baseline + share * (pixels - baseline)).detach().requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(score(variants).sum(), variants)
        total += gradient.sum(0, keepdim=True)
    return ((pixels - baseline) * total / num_steps).detach().cpu()


def sum_cells(values: torch.Tensor, num_cells: int) -> torch.Tensor:
    """Pixels `(F, height, width)` to sums of cells `(F, G, G)`; no cell is smaller than a pixel."""
    for dim in (1, 2):
        parts = cells_of(values.shape[dim], num_cells)
        values = torch.stack([values.narrow(dim, first, end - first).sum(dim) for first, end in parts], dim)
    return values


def cells_of(size: int, num_cells: int) -> list[tuple[int, int]]:
    """First pixel and end of each cell of a side."""
    ends = [round(number * size / min(num_cells, size)) for number in range(min(num_cells, size) + 1)]
    return list(itertools.pairwise(ends))


def seconds_of(subject: Subject, places: np.ndarray) -> np.ndarray:
    """When each frame is shown `(F,)`: spread between the first and the last of its clip."""
    seconds = np.full(len(places), np.nan)
    clips = subject.pixels.shape[1] if subject.pixels.ndim >= 6 else 1
    per_clip = len(places) // clips
    for number, start_s, end_s in subject.video.spans_se:
        if start_s is not None and number < clips:
            seconds[number * per_clip : (number + 1) * per_clip] = np.linspace(start_s, end_s, per_clip)
    return seconds


def leave_out_words(subject: Subject, score: float) -> np.ndarray:
    """What the score loses without each word; of a single one, whose absence asks nothing, NaN."""
    words = subject.words
    if len(words) < 2:
        return np.full(len(words), np.nan)
    return np.array([score - subject(words=words[:n] + words[n + 1 :])[0].item() for n in range(len(words))])


def leave_out_clips(subject: Subject, score: float) -> list[dict[str, Any]]:
    """What the score loses without each clip."""
    found = []
    for number, start_s, end_s in subject.video.spans_se:
        without = subject.without_clip(number)
        if without is None:
            return []
        found.append({"start_s": start_s, "end_s": end_s, "adds": score - without})
    return found


# ---------------------------------------------------------------------------------------------------------------------
# Deletion
# ---------------------------------------------------------------------------------------------------------------------


def delete_places(
    subject: Subject,
    baseline: torch.Tensor,
    places: np.ndarray,
    rng: np.random.Generator,
    is_weighed: bool = True,
) -> Deletion:
    """
    Cells of all frames are painted over with the baseline.

    Args:
        subject ([`Subject`]): The score.
        baseline (`torch.Tensor`): What they are painted with, of the shape of the pixels.
        places (`np.ndarray` of shape `(F, G, G)`): What is strongest.
        rng (`np.random.Generator`): Of random orders.
        is_weighed (`bool`, *optional*, defaults to `True`): Whether in random orders a cell comes the earlier the more it differs from the
            baseline; else all are alike, and to know where anything is is to be faster than at random.
    """
    height, width = subject.pixels.shape[-2:]
    rows, columns = (cells_of(size, places.shape[axis]) for size, axis in ((height, 1), (width, 2)))
    row, column = (
        torch.repeat_interleave(torch.arange(len(parts)), torch.tensor([end - first for first, end in parts]))
        for parts in (rows, columns)
    )

    contrast = sum_cells((subject.pixels - baseline).abs().flatten(0, -4).sum(-3).cpu(), places.shape[1]).numpy()
    contrast = contrast if is_weighed else np.ones_like(contrast)

    def scores(order: np.ndarray) -> np.ndarray:
        rank = torch.empty(len(order), dtype=torch.long)
        rank[torch.from_numpy(order.copy())] = torch.arange(len(order))
        rank = rank.view(places.shape)[:, row][:, :, column]  # (F, height, width)
        rank = rank.view(*subject.pixels.shape[:-3], 1, height, width).to(subject.pixels.device)
        found = []
        for some in np.array_split(np.array(FRACTIONS), -(-len(FRACTIONS) // variants_at_once(subject.pixels))):
            gone = [rank < round(fraction * len(order)) for fraction in some]
            found += subject(torch.cat([torch.where(one, baseline, subject.pixels) for one in gone])).tolist()
        return np.array(found)

    return compare_orders(scores, places.ravel(), np.array(FRACTIONS), rng, contrast.ravel())


def delete_words(subject: Subject, word_scores: np.ndarray, rng: np.random.Generator) -> Deletion:
    """Words are left out, until one is left."""
    words = subject.words

    def scores(order: np.ndarray) -> np.ndarray:
        found = []
        for gone in range(len(words)):
            kept = sorted(order[gone:].tolist())
            found.append(subject(words=[words[place] for place in kept])[0].item())
        return np.array(found)

    return compare_orders(scores, word_scores, np.arange(len(words)) / len(words), rng, np.ones(len(words)))


def compare_orders(
    scores: Callable[[np.ndarray], np.ndarray],
    strength: np.ndarray,
    fractions: np.ndarray,
    rng: np.random.Generator,
    weights: np.ndarray,
) -> Deletion:
    """Strongest first, and random orders, in which a part comes next with a chance in proportion to its weight."""
    strongest = np.argsort(-strength, kind="stable")
    logarithms = np.log(np.maximum(weights, 1e-12 * max(float(weights.max()), 1e-12)))
    random = [scores(np.argsort(-(logarithms + rng.gumbel(size=len(strength))))) for _ in range(NUM_RANDOM)]
    return Deletion(fractions, scores(strongest), np.stack(random))


def area_under(fractions: Sequence[float], scores: Sequence[float]) -> float:
    """Mean of a curve over its fractions, by trapezes."""
    return float(np.trapezoid(scores, fractions) / (fractions[-1] - fractions[0]))


def picture_of(video_processor: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """The way back from what a model takes `(F, 3, height, width)` to colours from 0 to 1, for a processor's means and scales."""
    statistics = (video_processor.image_mean, video_processor.image_std)
    is_normalised = video_processor.do_normalize and None not in statistics
    mean, std = (torch.tensor(values)[:, None, None] if is_normalised else None for values in statistics)
    scale = video_processor.rescale_factor if video_processor.do_rescale else 1.0

    def picture(frames: torch.Tensor) -> torch.Tensor:
        frames = frames.float().cpu()
        if mean is not None:
            frames = frames * std + mean
        return (frames / scale / 255).clamp(0, 1)

    return picture


__all__ = [
    "Deletion",
    "Explanation",
    "delete_places",
    "delete_words",
    "explain",
    "integrated_gradients",
    "median_colour",
    "picture_of",
]
