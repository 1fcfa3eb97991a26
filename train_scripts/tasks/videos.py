# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What a recipe says about the clips of videos, and how a processor takes it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from clipbert.support.options import changeable, option
from clipbert.train_scripts.engine.recipe import DataSection, EvalSection, Recipe


@dataclass(kw_only=True)
class VideoSection(DataSection):
    """Data of a task that samples videos."""

    num_clips: int = option(1, "Clips drawn from a video.", at_least=1, saves="memory, time")
    num_frames: int = option(2, "Frames of a clip.", at_least=1, saves="memory, time")
    fps: float | None = option(None, "Frames a second inside a clip; null: a clip is an equal part of the video.")
    sampling: Literal["random", "uniform", "start", "middle", "end", "whole_video"] = option(
        "random", "Where clips are taken while training; `random` depends on (seed, epoch, sample) only."
    )
    placement: Literal["even", "official"] = option("even", "`official` repeats the released code's positions.")
    short_video: Literal["repeat", "mask", "error"] = option("repeat", "Rule for videos that are too short.")
    image_size: int | None = option(
        None, "Size of a frame in pixels; null: the processor's own.", at_least=33, saves="memory, time"
    )
    max_text_length: int | None = option(
        None,
        "Longest text in tokens; batches are padded to their own longest; null: what processor and model allow.",
        at_least=3,
        saves="memory",
    )

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if self.fps is not None and self.fps <= 0:
            yield f"fps: must be above 0, got {self.fps}"


@dataclass(kw_only=True)
class ClipEvalSection(EvalSection):
    """Evaluation of a task that samples videos."""

    num_clips: int | None = changeable(None, "Clips of a video; null: as in training.", at_least=1)
    num_frames: int | None = changeable(None, "Frames of a clip; null: as in training.", at_least=1)
    sampling: Literal["uniform", "random", "start", "middle", "end", "whole_video"] = changeable(
        "uniform", "Where clips are taken."
    )
    score_pooling: Literal["mean", "max", "lse"] | None = changeable(None, "Pooling over clips; null: the model's.")
    video_block: int = changeable(1, "Videos scored together; more pay on a GPU.", at_least=1, saves="memory")
    pairs_per_forward: int = changeable(
        64, "Pairs of a text and a clip in one forward pass; a GPU likes a thousand.", at_least=1, saves="memory"
    )

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if self.num_draws > 1 and self.sampling != "random":
            yield f"num_draws: {self.num_draws} draws of the same clips say nothing; set sampling to random"


def video_options(recipe: Recipe, processor: Any, is_training: bool) -> dict[str, Any]:
    """
    How the clips of a video are chosen, as a call of the processor takes it.

    Args:
        recipe (`Recipe`): With a `VideoSection` and a `ClipEvalSection`.
        processor: A processor, a video processor, or the class of one.
        is_training (`bool`): Whether clips are chosen to train on, or for an evaluation.

    Raises:
        ValueError: If the recipe asks for something that the processor has no option for.
    """
    data, evaluation = recipe.data, recipe.eval
    options = {"fps": data.fps, "placement": data.placement, "short_video": data.short_video}
    if is_training:
        options |= {"num_clips": data.num_clips, "num_frames": data.num_frames, "sampling": data.sampling}
    else:
        options |= {
            "num_clips": evaluation.num_clips or data.num_clips,
            "num_frames": evaluation.num_frames or data.num_frames,
            "sampling": evaluation.sampling,
        }
    video_processor = getattr(processor, "video_processor", processor)
    known = video_processor.valid_kwargs.__annotations__
    defaults = {part.name: part.default for part in (*fields(ClipEvalSection), *fields(VideoSection))}
    for name in options.keys() - known.keys():
        value = options.pop(name)
        if value not in (defaults[name], ClipEvalSection.sampling):
            owner = video_processor if isinstance(video_processor, type) else type(video_processor)
            raise ValueError(f"data.{name}={value}: {owner.__name__} has no such option; leave it out.")
    return options


def seed_options(options: Mapping[str, Any], *key: int | str) -> dict[str, Any]:
    """The key of random clips of one video, as an option of the processor; none where clips are not random."""
    return {"seeds": [key]} if options.get("sampling", "random") == "random" else {}


__all__ = ["ClipEvalSection", "VideoSection", "seed_options", "video_options"]
