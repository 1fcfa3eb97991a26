# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What a recipe says about the frames of videos, and how a processor takes it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from clipbert.support.options import changeable, option
from clipbert.train_scripts.engine.recipe import DataSection, EvalSection, Recipe


RANDOM_SAMPLING = ("random", "segment_random")
TRAINING_ONLY = ("augmentation",)


@dataclass(kw_only=True)
class FrameSection(DataSection):
    """Data of a task that shows videos to a model, whatever its family wants to see of them."""

    image_size: int | None = option(
        None, "Size of a frame in pixels; null: the processor's own.", at_least=33, saves="memory, time"
    )


@dataclass(kw_only=True)
class ClipOptions:
    """Keys of the section `data` for families that see the same number of frames of a few clips."""

    num_clips: int = option(1, "Clips drawn from a video.", at_least=1, saves="memory, time")
    num_frames: int = option(2, "Frames of a clip.", at_least=1, saves="memory, time")
    fps: float | None = option(None, "Frames a second inside a clip; null: a clip is an equal part of the video.")
    sampling: Literal["random", "uniform", "start", "middle", "end", "whole_video"] = option(
        "random", "Where clips are taken while training; `random` depends on (seed, epoch, sample) only."
    )
    placement: Literal["even", "official"] = option("even", "`official` repeats the released code's positions.")
    short_video: Literal["repeat", "mask", "error"] = option("repeat", "Rule for videos that are too short.")

    def problems(self) -> Iterator[str]:
        if self.fps is not None and self.fps <= 0:
            yield f"fps: must be above 0, got {self.fps}"


@dataclass(kw_only=True)
class ClipEvalOptions:
    """Keys of the section `eval` for the same families."""

    num_clips: int | None = changeable(None, "Clips of a video; null: as in training.", at_least=1)
    num_frames: int | None = changeable(None, "Frames of a clip; null: as in training.", at_least=1)
    sampling: Literal["uniform", "random", "start", "middle", "end", "whole_video"] = changeable(
        "uniform", "Where clips are taken."
    )

    def problems(self) -> Iterator[str]:
        if self.num_draws > 1 and self.sampling != "random":
            yield f"num_draws: {self.num_draws} draws of the same clips say nothing; set sampling to random"


@dataclass(kw_only=True)
class VideoSection(ClipOptions, FrameSection):
    """Data of a task that samples clips of videos, and reads texts."""

    max_text_length: int | None = option(
        None,
        "Longest text in tokens; batches are padded to their own longest; null: what processor and model allow.",
        at_least=3,
        saves="memory",
    )

    def problems(self) -> Iterator[str]:
        yield from FrameSection.problems(self)
        yield from ClipOptions.problems(self)


@dataclass(kw_only=True)
class ClipEvalSection(ClipEvalOptions, EvalSection):
    """Evaluation of a task that samples clips of videos."""

    score_pooling: Literal["mean", "max", "lse"] | None = changeable(None, "Pooling over clips; null: the model's.")
    video_block: int = changeable(1, "Videos scored together; more pay on a GPU.", at_least=1, saves="memory")
    pairs_per_forward: int = changeable(
        32, "Pairs of a text and a clip in one forward pass; a GPU likes a thousand.", at_least=1, saves="memory"
    )

    def problems(self) -> Iterator[str]:
        yield from EvalSection.problems(self)
        yield from ClipEvalOptions.problems(self)


def video_options(recipe: Recipe, processor: Any, is_training: bool) -> dict[str, Any]:
    """
    Which frames of a video are seen, and how, as a call of the processor takes it: what `data` has of its options, for
    an evaluation replaced by what `eval` has of them.

    Args:
        recipe (`Recipe`): With options that say so: `ClipOptions` and `ClipEvalOptions`, or those of the family. Of the
            latter, null leaves an option to the processor.
        processor: A processor, a video processor, or the class of one.
        is_training (`bool`): Whether frames are chosen to train on, or for an evaluation, which alters none.

    Raises:
        ValueError: If the recipe asks for something that the processor has no option for.
    """
    data, evaluation = recipe.data, recipe.eval
    video_processor = getattr(processor, "video_processor", processor)
    known = video_processor.valid_kwargs.__annotations__.keys()
    of_clips = {part.name: part.default for part in fields(ClipOptions)} if hasattr(data, "placement") else {}
    options = {}
    for name in (part.name for part in fields(data)):
        if name not in known | of_clips.keys() or (name in TRAINING_ONLY and not is_training):
            continue
        value = getattr(data, name)
        if not is_training and (own := getattr(evaluation, name, None)) is not None:
            value = own
        elif not is_training and value in RANDOM_SAMPLING:
            value = "uniform"
        if name not in known and value not in (of_clips[name], ClipEvalOptions.sampling):
            owner = video_processor if isinstance(video_processor, type) else type(video_processor)
            raise ValueError(f"data.{name}={value}: {owner.__name__} has no such option; leave it out.")
        if name in known and (value is not None or name in of_clips):
            options[name] = value
    return options


def seed_options(options: Mapping[str, Any], *key: int | str) -> dict[str, Any]:
    """The key of what is drawn for one video, as an option of the processor; none where nothing is."""
    is_random = options.get("sampling", "random") in RANDOM_SAMPLING or options.get("augmentation")
    return {"seeds": [key]} if is_random else {}


__all__ = [
    "ClipEvalOptions",
    "ClipEvalSection",
    "ClipOptions",
    "FrameSection",
    "VideoSection",
    "seed_options",
    "video_options",
]
