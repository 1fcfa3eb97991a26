# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Long videos in which something happens now and then, and sentences that say what: when does it happen?

An event is one object that appears, moves and is gone. Its colour, shape and movement tell it from all others of its video, and
with one of them it has two in common: who listens to a single word, or does not look, cannot find it. Lengths and places are drawn
without regard to what happens.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from clipbert.datasets_scripts.synthetic.rendering import Canvas, animate
from clipbert.datasets_scripts.synthetic.scenes import Act, Preset, Scene, pick


PAUSE_S = 0.25  # the shortest one
MAGNIFIED = 1.4  # so that a shape can be told in a picture of a few pixels
LARGEST_SHARE = 0.8  # of a video in which something happens


@dataclass(frozen=True)
class EventVideo:
    """What one video shows.

    Attributes:
        scenes (`tuple[Scene, ...]`): One for each event, in order; their acts count frames of the video.
        num_frames (`int`): Frames of the video.
    """

    scenes: tuple[Scene, ...]
    num_frames: int

    def sentences(self) -> list[list[str]]:
        """What happens in each event, in three wordings."""
        told = [(scene.subject(act), act) for scene in self.scenes for act in scene.acts]
        return [
            [
                f"{subject} {act.predicate(1)}",
                f"{subject} is {act.gerund}",
                f"there is {subject} that {act.predicate(1)}",
            ]
            for subject, act in told
        ]

    def words(self) -> list[list[str]]:
        """For each event the words that fit it alone."""
        words = [attributes(scene) for scene in self.scenes]
        counts = Counter(word for each in words for word in each)
        return [[word for word in each if counts[word] == 1] for each in words]

    def spans(self, fps: float) -> list[tuple[float, float]]:
        """The seconds of each event."""
        acts = [scene.acts[0] for scene in self.scenes]
        return [(round(act.first_frame / fps, 3), round(act.end_frame / fps, 3)) for act in acts]

    def render(self, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """Its pictures, uint8 `(size, size, 3)`: one event is held at a time."""
        canvas = Canvas(self.scenes[0].background, size, rng)
        (pause,) = canvas.paint([], 1)
        shown = 0
        for scene in self.scenes:
            (act,) = scene.acts
            for _ in range(shown, act.first_frame):
                yield pause
            length = act.end_frame - act.first_frame
            alone = replace(scene, acts=(replace(act, first_frame=0, end_frame=length),))
            state = animate(alone, length, rng)
            yield from canvas.paint([(alone, state | {"radius": MAGNIFIED * state["radius"]})], length)
            shown = act.end_frame
        for _ in range(shown, self.num_frames):
            yield pause


def attributes(scene: Scene) -> tuple[str, str, str]:
    """The word for the colour, the shape, and the movement."""
    (act,) = scene.acts
    return act.color, scene.shape, act.predicate(1).split()[-1]


def room_for_events(count: int, shortest_s: float, fps: float) -> float:
    """Seconds of the shortest video that holds so many events, and pauses around them."""
    pauses = (count + 1) * max(PAUSE_S, 1 / fps) + count / 2 / fps  # lengths are rounded to frames
    return max(count * shortest_s / LARGEST_SHARE, pauses / (1 - LARGEST_SHARE))


def draw_event_video(rng: np.random.Generator, preset: Preset, fps: float) -> EventVideo:
    """
    Draw one video of a preset with events.

    Args:
        rng (`np.random.Generator`): Of the video.
        preset (`Preset`): With `num_events`, `event_s` and `duration_s`, each the least and the most.
        fps (`float`): Frames a second.

    Returns:
        [`EventVideo`]: Events that are all different, none longer than its share of the video.
    """
    # 1. how long, and how much
    num_frames = round(rng.uniform(*preset.duration_s) * fps)
    count = int(rng.integers(preset.num_events[0], preset.num_events[1] + 1))
    # 2. what: a step from an event that is there, in one attribute
    options = (preset.colors, preset.shapes, preset.motions)
    drawn = [tuple(pick(rng, each) for each in options)]
    while len(drawn) < count:
        attribute, known = int(rng.integers(len(options))), pick(rng, drawn)
        other = (*known[:attribute], pick(rng, options[attribute]), *known[attribute + 1 :])
        drawn += [other] if other not in drawn else []
    # 3. when
    spans = draw_spans(rng, count, preset.event_s, num_frames, fps)
    background = pick(rng, preset.backgrounds)
    scenes = [
        Scene(shape, 1, "", background, "", (Act(kind, color, 1, "", first, end),))
        for (color, shape, kind), (first, end) in zip(
            [drawn[number] for number in rng.permutation(count)], spans, strict=True
        )
    ]
    return EventVideo(tuple(scenes), num_frames)


def draw_spans(
    rng: np.random.Generator, count: int, event_s: tuple[float, float], num_frames: int, fps: float
) -> list[tuple[int, int]]:
    """First frame and end of so many events of a video: their lengths first, and what is left of it becomes pauses."""
    shortest, longest = event_s
    longest = max(shortest, min(longest, LARGEST_SHARE * num_frames / fps / count))
    lengths = np.rint(rng.uniform(shortest, longest, count) * fps).astype(int)
    pause = max(1, round(PAUSE_S * fps))
    cuts = np.sort(rng.integers(0, num_frames - lengths.sum() - (count + 1) * pause + 1, count))
    firsts = cuts + pause * np.arange(1, count + 1) + lengths.cumsum() - lengths
    return list(zip(firsts.tolist(), (firsts + lengths).tolist(), strict=True))


def event_moments(video: EventVideo, fps: float, wordings: int, rng: np.random.Generator) -> Iterator[dict]:
    """Sentences, and one-word queries where a word fits one event alone, each with the seconds of its event."""
    for told, words, (start_s, end_s) in zip(video.sentences(), video.words(), video.spans(fps), strict=True):
        for caption in [*told[:wordings], *([pick(rng, words)] if words else [])]:
            yield {"caption": caption, "start_s": start_s, "end_s": end_s}


def move_borders(moment: dict, noise: float, duration_s: float, rng: np.random.Generator) -> dict:
    """A moment whose borders lie up to `noise` times its length beside the true ones, within the video."""
    length = moment["end_s"] - moment["start_s"]
    moved = np.clip(
        np.array([moment["start_s"], moment["end_s"]]) + rng.uniform(-noise, noise, 2) * length, 0, duration_s
    )
    return moment | dict(zip(("start_s", "end_s"), moved.round(3).tolist(), strict=True))


__all__ = ["EventVideo", "draw_event_video", "draw_spans", "event_moments", "move_borders", "room_for_events"]
