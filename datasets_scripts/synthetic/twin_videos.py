# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Videos in pairs that have the same frames in another order, and other captions: who is blind to order finds half of them.

One is rendered, its twin are its frames backwards; where these would show the same ("right and then left"), its halves
exchanged. Pictures are encoded one by one, so that twins have the same ones as decoded, too.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from clipbert.datasets_scripts.synthetic.rendering import animate, extent, render_objects, render_scene
from clipbert.datasets_scripts.synthetic.scenes import (
    Preset,
    Scene,
    action_plans,
    pick,
    sample_scene,
    twin_kinds,
    twin_of,
    twin_order,
)
from clipbert.datasets_scripts.synthetic.texts import captions, moments


# What other shots show: motions that no caption of the preset tells, without a twin that differs.
OTHER_MOTIONS = ("bounce", "shake", "pulse", "blink")
LONGEST_OTHER_SHOT = 24  # frames
CELL = 0.5  # side of the part of the picture in which one of two objects moves, in widths of the picture


@dataclass(frozen=True)
class Shot:
    """Some frames of a video: one scene, or several objects at once."""

    objects: tuple[Scene, ...]
    num_frames: int


@dataclass(frozen=True)
class TwinVideo:
    """What one video shows.

    Attributes:
        shots (`tuple[Shot, ...]`): In order.
        told (`int`): The shot that the caption is about.
        is_second (`bool`): Whether its frames are those of the video before it, re-ordered.
    """

    shots: tuple[Shot, ...]
    told: int = 0
    is_second: bool = False

    @property
    def scenes(self) -> tuple[Scene, ...]:
        """What the caption is about."""
        return self.shots[self.told].objects

    @property
    def first_frame(self) -> int:
        """Of the shot that is told."""
        return sum(shot.num_frames for shot in self.shots[: self.told])

    @property
    def aligned_share(self) -> float:
        """Share of the frames that the caption is about."""
        return self.shots[self.told].num_frames / sum(shot.num_frames for shot in self.shots)

    def order(self) -> np.ndarray:
        """In which order its twin shows the frames `(num_frames,)`: those of the told shot are re-ordered."""
        shot, first = self.shots[self.told], self.first_frame
        order = np.arange(sum(shot.num_frames for shot in self.shots))
        order[first : first + shot.num_frames] = first + twin_order(shot.objects[0].kinds, shot.num_frames)
        return order

    def twin(self) -> "TwinVideo":
        shot = self.shots[self.told]
        objects = tuple(twin_of(scene, shot.num_frames) for scene in shot.objects)
        shots = (*self.shots[: self.told], replace(shot, objects=objects), *self.shots[self.told + 1 :])
        return replace(self, shots=shots, is_second=True)

    def captions(self) -> list[str]:
        """The same facts in three wordings."""
        return [" and ".join(told) for told in zip(*map(captions, self.scenes), strict=True)]

    def moments(self, fps: float) -> Iterator[dict]:
        """One sentence per act of the told shot, with the seconds it lasts."""
        for moment in (moment for scene in self.scenes for moment in moments(scene, fps)):
            yield moment | {name: round(moment[name] + self.first_frame / fps, 3) for name in ("start_s", "end_s")}


def draw_twin_videos(rng: np.random.Generator, preset: Preset, num_frames: int, count: int) -> list[TwinVideo]:
    """Draw `count` videos, twins one after the other; each run of as many as there are captions has every caption once."""
    plans = list(action_plans(preset, num_frames))
    firsts = [kinds for kinds in plans if plans.index(kinds) < plans.index(twin_kinds(kinds))]
    videos, order = [], []
    for number in range(count // 2):
        run, place = divmod(number, len(firsts))
        order = rng.permutation(len(firsts)) if place == 0 else order
        parts = preset.told_parts[(run + place) % len(preset.told_parts)] if preset.told_parts else 1
        told_frames = num_frames // parts
        told = [sample_scene(rng, preset, told_frames, firsts[order[place]])]
        for _ in range(1, preset.objects):  # each moves in a way of its own
            others = [kinds for kinds in plans if kinds not in [scene.kinds for scene in told]]
            drawn = sample_scene(rng, preset, told_frames, pick(rng, others))
            told.insert(int(rng.integers(len(told) + 1)), replace(drawn, background=told[0].background))
        lengths = other_lengths(num_frames - told_frames)
        shots = [Shot((other_scene(rng, preset, length),), length) for length in lengths]
        position = int(rng.integers(len(shots) + 1))
        shots.insert(position, Shot(tuple(told), told_frames))
        video = TwinVideo(tuple(shots), position)
        videos += [video, video.twin()]
    return videos


def other_lengths(num_frames: int) -> list[int]:
    """Frames of the shots besides the one that is told."""
    if num_frames > LONGEST_OTHER_SHOT:
        return [12, num_frames - 12]
    return [num_frames] if num_frames else []


def other_scene(rng: np.random.Generator, preset: Preset, num_frames: int) -> Scene:
    kinds = replace(preset, motions=OTHER_MOTIONS, two_act_share=0.0, max_times=2, has_twins=False)
    return sample_scene(rng, kinds, num_frames)


def render_video(video: TwinVideo, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The frames of the first of two twins `(num_frames, size, size, 3)`, and the boxes of the objects that move beside each
    other `(objects, num_frames, 4)`: left, top, right, bottom in [0, 1]."""
    if len(video.scenes) == 1:
        shots = [render_scene(*shot.objects, shot.num_frames, size, rng) for shot in video.shots]
        return np.concatenate(shots), np.zeros((0, 0, 4))
    objects, (shot,) = [], video.shots
    for place, scene in enumerate(shot.objects):
        state = animate(scene, shot.num_frames, rng)
        corner = {"x": place * CELL, "y": rng.uniform(0, 1 - CELL), "radius": 0.0}
        objects.append((scene, state | {name: start + CELL * state[name] for name, start in corner.items()}))
    return render_objects(objects, size, rng), np.stack([boxes_of(*each) for each in objects])


def boxes_of(scene: Scene, state: dict[str, np.ndarray]) -> np.ndarray:
    left, top, right, bottom = extent(scene.shape)
    sides = [
        state[name] + end * state["radius"] for name, end in (("x", left), ("y", top), ("x", right), ("y", bottom))
    ]
    return np.stack(sides, axis=1).clip(0, 1)


__all__ = ["TwinVideo", "draw_twin_videos", "render_video"]
