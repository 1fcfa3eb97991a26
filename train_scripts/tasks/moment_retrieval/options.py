# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What a recipe says about moments: how sentences and videos come together, and how answers are ranked."""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from clipbert.processing import FeatureFiles
from clipbert.support.names import did_you_mean
from clipbert.support.options import changeable, option
from clipbert.train_scripts.engine.recipe import EvalSection
from clipbert.train_scripts.tasks.cached import FeatureSection


@dataclass(kw_only=True)
class MomentSection(FeatureSection):
    feature_files: str | list[str] | None = changeable(
        None,
        "Features to read in the place of videos, a folder or a file of any layout that `FeatureFiles` knows; several are laid side "
        "by side.",
    )
    feature_options: dict[str, Any] = option(
        {}, "How they are read: {layout: ..., key: ..., join: pool or cut, normalize: true}, see `FeatureFiles`."
    )
    hide_videos: bool = option(
        False, "Show no video, in training and evaluation, but its length alone: what a model learns from sentences."
    )
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

    def problems(self) -> Iterator[str]:
        yield from FeatureSection.problems(self)
        known = list(inspect.signature(FeatureFiles).parameters)[1:]
        if unknown := [name for name in self.feature_options if name not in known]:
            yield f"feature_options: {unknown[0]!r} is none. {did_you_mean(unknown[0], known)}"
        if self.feature_options and self.feature_files is None:
            yield "feature_options: there are no feature_files; name some, or leave it out"
        if self.features is not None and self.feature_files is not None:
            yield "feature_files: features of extract.py are read already (data.features); leave out one of them"


@dataclass(kw_only=True)
class MomentEvalSection(EvalSection):
    other_data: dict[str, Any] = changeable(
        {}, "Values of `data` that are others for the evaluated splits: {data_dir: ..., config: ..., options: {...}}."
    )
    top_k: int = changeable(5, "Answers of a question.", at_least=1)
    nms_iou: float = changeable(0.5, "Answers that overlap a better one by more are left out.", at_least=0, at_most=1)
    ranking: Literal["joint", "joint_with_segmentation", "unnormalised"] | None = changeable(
        None, "By what answers are ranked, see `decode_moments`; null: joint, and unnormalised between windows."
    )
    rescore_with_segmentation: float = changeable(0.0, "Weight of the scores of the third head in that.", at_least=0)
    max_seconds: float = changeable(0.0, "Longest answer; 0: as long as its video.", at_least=0)
    strict_iou: bool = changeable(False, "Whether a hit needs an IoU above the threshold, not just the threshold.")
    window_seconds: float | None = changeable(
        None,
        "See longer videos by windows of this length that overlap by half; null: as a whole, in longer segments.",
        at_least=1,
    )
    queries_per_forward: int = changeable(
        256, "Most sentences that meet their videos in one forward pass.", at_least=1, saves="memory"
    )


__all__ = ["MomentEvalSection", "MomentSection"]
