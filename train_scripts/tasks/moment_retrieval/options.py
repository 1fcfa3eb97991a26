# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What a recipe says about moments: how sentences and videos come together, and how answers are ranked."""

from dataclasses import dataclass
from typing import Literal, get_args

from clipbert.support.options import changeable, option
from clipbert.train_scripts.engine.recipe import EvalSection
from clipbert.train_scripts.tasks.videos import FrameSection


Ranking = Literal["joint", "joint_with_segmentation", "unnormalised"]
RANKINGS = get_args(Ranking)


@dataclass(kw_only=True)
class MomentSection(FrameSection):
    max_text_length: int | None = option(
        None, "Longest sentence in tokens; longer ones lose their end; null: the processor's own.", at_least=3
    )
    sampling: Literal["uniform", "random"] = option(
        "uniform", "Frames of a segment while training: in the middles of its parts, or anywhere in them."
    )
    queries_per_video: int | None = option(
        8,
        "Most sentences of a training item, which is a video that is read once for them; 1: pairs, as published batches are "
        "counted; null: all.",
        at_least=1,
        saves="memory",
    )
    other_windows: int = option(
        0,
        "Other videos of the micro-batch that a sentence is asked of in the same soft-max, so that what does not have its moment "
        "learns to score low: for windows of long videos.",
        at_least=0,
        saves="memory, time",
    )


@dataclass(kw_only=True)
class MomentEvalSection(EvalSection):
    top_k: int = changeable(5, "Answers of a question.", at_least=1)
    nms_iou: float = changeable(0.5, "Answers that overlap a better one by more are left out.", at_least=0, at_most=1)
    ranking: Ranking = changeable("joint", "By what answers are ranked: see `decode_moments`.")
    rescore_with_segmentation: float = changeable(0.0, "Weight of the scores of the third head in that.", at_least=0)
    strict_iou: bool = changeable(False, "Whether a hit needs an IoU above the threshold, not just the threshold.")
    queries_per_forward: int = changeable(
        256, "Most sentences that meet their videos in one forward pass.", at_least=1, saves="memory"
    )


__all__ = ["RANKINGS", "MomentEvalSection", "MomentSection"]
