# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What a search finds."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from clipbert.search.protocols import Span


@dataclass
class VideoHit:
    """
    A video that fits a query, by its best segment.

    Args:
        video_id (`str`): Its path below the root of the index, with `/`.
        path (`Path` or `str`): The file, or its address.
        score (`float`): By the last stage that ordered it; larger fits better. It orders the videos of one query and is no probability.
        start_s, end_s (`float`): The seconds at which to look: those of the locator, else of the clip or frame that agrees best, else the segment.
        clips (`list[dict]`): `start_s`, `end_s` and `score` of each clip, or frame, of the segment.
        stages (`dict[str, float]`): The score of each stage that saw it: `"vector"`, a cosine; models by name.
        metadata (`dict`): Your own columns.
        segment_s (`tuple[float, float]`): Start and end of the segment; of a moment, that in which it lies.
        duration_s (`float`): Seconds of the video.
    """

    video_id: str
    path: Path | str
    score: float
    start_s: float
    end_s: float
    clips: list[dict[str, float]] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    segment_s: tuple[float, float] = (0.0, 0.0)
    duration_s: float = 0.0


class Stage(NamedTuple):
    """What a stage of a search did: its name, segments and videos that it was given, and milliseconds."""

    name: str
    num_segments: int
    num_videos: int
    milliseconds: float


class SearchHits(list):
    """
    The videos that a search found, best first: a list of [`VideoHit`].

    Args:
        hits (`list[VideoHit]`): The videos.
        stages (`list[Stage]`): What was done, in this order.
        threshold (`float`, *optional*): A score that sentences which belong to nothing in the collection seldom reach.
        best (`float`, *optional*): The best score of all, also if it was too low to be among the hits.
    """

    def __init__(
        self, hits=(), stages: list[Stage] | None = None, threshold: float | None = None, best: float | None = None
    ):
        super().__init__(hits)
        self.stages, self.threshold, self.best = stages or [], threshold, best

    @property
    def nothing_fits(self) -> bool:
        """Whether the best score lies below the threshold; without one, whether there is no hit."""
        return self.best is None or (self.threshold is not None and self.best < self.threshold)


def best_span(seconds: np.ndarray, clip_odds: np.ndarray) -> Span:
    """
    First and last second of the clip, or frame, that agrees best with a text.

    Args:
        seconds (`np.ndarray` of shape `(clips, frames)`): Of the clips that were scored.
        clip_odds (`np.ndarray` of shape `(n,)`): Their log-odds, or those of their frames, as `score` returns them.

    Example:
        >>> best_span(np.array([[0.0, 1.0], [2.0, 3.0]]), np.array([0.5, 1.5]))
        Span(start_s=2.0, end_s=3.0)
    """
    return _span_of(seconds, int(np.argmax(clip_odds)), len(clip_odds))


def list_clips(seconds: np.ndarray, clip_odds: np.ndarray) -> list[dict[str, float]]:
    """
    The clips, or frames, that exist, best first: `start_s`, `end_s` and `score`, their log-odds. Arguments as of `best_span`.

    Example:
        >>> list_clips(np.array([[0.0, 1.0], [2.0, 3.0]]), np.array([0.5, -np.inf]))
        [{'start_s': 0.0, 'end_s': 1.0, 'score': 0.5}]
    """
    order = np.argsort(-clip_odds, kind="stable")
    places = [place for place in order.tolist() if clip_odds[place] > -np.inf]
    return [
        {**_span_of(seconds, place, len(clip_odds))._asdict(), "score": float(clip_odds[place])} for place in places
    ]


def _span_of(seconds: np.ndarray, place: int, num_places: int) -> Span:
    """Of a clip, of a frame where frames are scored, or of everything where neither is."""
    if num_places == seconds.size != len(seconds):
        seconds = seconds.reshape(-1, 1)
    shown = seconds[place] if num_places == len(seconds) else seconds.ravel()
    return Span(float(shown[0]), float(shown[-1]))


__all__ = ["SearchHits", "Stage", "VideoHit", "best_span", "list_clips"]
