# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What a search finds."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple


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


__all__ = ["SearchHits", "Stage", "VideoHit"]
