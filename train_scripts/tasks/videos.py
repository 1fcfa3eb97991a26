# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The part of a recipe that every task on videos has: how clips are chosen, to train and to evaluate."""

from dataclasses import dataclass
from typing import Literal

from clipbert.support.options import changeable, option
from clipbert.train_scripts.engine.recipe import DataSection, EvalSection


@dataclass(kw_only=True)
class VideoSection(DataSection):
    num_clips: int = option(1, "Clips drawn from a video.", at_least=1, saves="memory, time")
    num_frames: int = option(2, "Frames of a clip.", at_least=1, saves="memory, time")
    fps: float | None = option(None, "Frames a second inside a clip; null: a clip is an equal part of the video.")
    sampling: Literal["random", "uniform", "start", "middle", "end", "whole_video"] = option(
        "random", "Where clips are taken while training; `random` depends on (seed, epoch, sample) only."
    )
    placement: Literal["even", "official"] = option("even", "`official` repeats the released code's positions.")
    short_video: Literal["repeat", "mask", "error"] = option("repeat", "Rule for videos that are too short.")
    image_size: int | None = option(
        None,
        "Side of a frame in pixels, as the model sees it; null: the processor's own.",
        at_least=33,
        saves="memory, time",
    )
    max_text_length: int | None = option(
        None,
        "Longest text in tokens; batches are padded to their own longest. Null: the processor's own.",
        at_least=3,
        saves="memory",
    )

    def problems(self):
        yield from super().problems()
        if self.fps is not None and self.fps <= 0:
            yield f"fps: must be above 0, got {self.fps}"


@dataclass(kw_only=True)
class ClipEvalSection(EvalSection):
    num_clips: int | None = changeable(None, "Clips of a video; null: as in training.", at_least=1)
    num_frames: int | None = changeable(None, "Frames of a clip; null: as in training.", at_least=1)
    sampling: Literal["uniform", "random", "start", "middle", "end", "whole_video"] = changeable(
        "uniform", "Where clips are taken."
    )
    score_pooling: Literal["mean", "max", "lse"] | None = changeable(None, "Pooling over clips; null: the model's.")
    video_block: int = changeable(
        1, "Videos scored together when every pair is scored; more pay on a GPU.", at_least=1, saves="memory"
    )
    pairs_per_forward: int = changeable(
        64, "Pairs of a text and a clip in one forward pass; a GPU likes a thousand.", at_least=1, saves="memory"
    )

    def problems(self):
        yield from super().problems()
        if self.num_draws > 1 and self.sampling != "random":
            yield f"num_draws: {self.num_draws} draws of the same clips say nothing; set sampling to random"


__all__ = ["ClipEvalSection", "VideoSection"]
