# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Long videos that are about one thing, seen for a known share of the time: how much of a video does a model have to see?

A large object, told by colour and shape, is there always, for a half or for an eighth of the video; or there are two of them, an
eighth each and far apart, and their order is told. Small white stars come and go in the corners meanwhile, of which nothing is
told. Nothing moves, so that one picture of an object shows all there is to know of it.

Videos come in galleries of 16, in which each object is told of by one video, or by a pair of twins: a caption fits exactly one. A
kind of evidence has two colours there, twice each, so that who knows colours alone finds half of it at best, also of what is
there always and prevails over the other kinds; and every shape once, so that words that are named in no order tell the two pairs of
twins apart. In four galleries each kind has had every object once: nothing but time makes one harder than another.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from clipbert.datasets_scripts.synthetic.events import draw_spans
from clipbert.datasets_scripts.synthetic.rendering import Canvas
from clipbert.datasets_scripts.synthetic.scenes import Act, Preset, Scene
from clipbert.datasets_scripts.synthetic.texts import question


EVIDENCE = {
    "always": 1,
    "half": 2,
    "eighth": 8,
    "order": 8,
}  # kinds: into how many parts a video is cut, of which one is told
ORDER = "order"
PARTS = 8  # frames of a video come in multiples of it, so that every share is exact
APART = 4  # two moments lie a fourth of the video apart, or more
GALLERY = 16  # every object once: four kinds with four videos each; four of them are balanced
CORNERS = ((0.12, 0.12), (0.88, 0.12), (0.12, 0.88), (0.88, 0.88))
NO_CORNER = -1


@dataclass(frozen=True, eq=False)
class EvidenceVideo:
    """What one video shows.

    Attributes:
        kind (`str`): A key of `EVIDENCE`.
        objects (`tuple[Scene, ...]`): What is told of, one after the other.
        first_frames (`tuple[int, ...]`): When each of them appears.
        corners (`np.ndarray` of shape `(frames,)`): In which corner of a frame a star is, if any.
        appearance (`int`): Seed of what no caption tells; twins have the same one.
    """

    kind: str
    objects: tuple[Scene, ...]
    first_frames: tuple[int, ...]
    corners: np.ndarray
    appearance: int

    @property
    def num_frames(self) -> int:
        return len(self.corners)

    @property
    def visible_share(self) -> float:
        """Share of the frames that show what is told."""
        return len(self.objects) / EVIDENCE[self.kind]

    @property
    def spans(self) -> list[tuple[int, int]]:
        """First frame and end of each object."""
        length = self.num_frames // EVIDENCE[self.kind]
        return [(first, first + length) for first in self.first_frames]

    def twin(self) -> "EvidenceVideo":
        """The same pictures with those of the two moments exchanged."""
        order = np.arange(self.num_frames)
        (first, second) = (slice(*span) for span in self.spans)
        order[first], order[second] = order[second], order[first].copy()
        return replace(self, objects=self.objects[::-1], corners=self.corners[order])

    def captions(self) -> list[str]:
        """The same facts in three wordings."""
        told = " and then ".join(scene.subject(scene.acts[0]) for scene in self.objects)
        return [told, f"there is {told}", f"the video shows {told}"]

    def moments(self, fps: float) -> Iterator[dict]:
        """When each object is there."""
        for scene, (first, end) in zip(self.objects, self.spans, strict=True):
            seconds = {"start_s": round(first / fps, 3), "end_s": round(end / fps, 3)}
            yield {"caption": scene.subject(scene.acts[0]), **seconds}

    def questions(self) -> list[dict]:
        """Colour and shape of what is told; of two objects those of the first."""
        scene, when = self.objects[0], " to start with" if self.kind == ORDER else ""
        answers = {"color": scene.acts[0].color, "shape": scene.shape}
        return [
            question("open_qa", f"what {asked} is the large object{when}?", answer, asked)
            for asked, answer in answers.items()
        ]

    def render(self, size: int) -> Iterator[np.ndarray]:
        """Its pictures, uint8 `(size, size, 3)`: each is drawn once, and shown as often as it comes."""
        rng = np.random.default_rng(self.appearance)
        canvas = Canvas(self.objects[0].background, size, rng)
        x, y = rng.uniform(0.45, 0.55, 2)
        large, small = rng.uniform(0.25, 0.28), rng.uniform(0.08, 0.10)
        star = Scene("star", 1, "", self.objects[0].background, "", (Act("", "white"),))
        told = np.full(self.num_frames, None, dtype=object)
        for scene, (first, end) in zip(self.objects, self.spans, strict=True):
            told[first:end] = scene
        drawn = {}
        for scene, corner in zip(told, self.corners.tolist(), strict=True):
            if (scene, corner) not in drawn:
                shown = [(scene, at_rest(x, y, large))] if scene else []
                shown += [(star, at_rest(*CORNERS[corner], small))] if corner != NO_CORNER else []
                (drawn[scene, corner],) = canvas.paint(shown, 1)
            yield drawn[scene, corner]


def at_rest(x: float, y: float, radius: float) -> dict[str, np.ndarray]:
    """One frame of an object, as `Canvas.paint` takes it."""
    state = {"x": x, "y": y, "radius": radius, "visible": 1.0}
    return {name: np.array([value]) for name, value in state.items()} | {"wipes": np.zeros((1, 1))}


def draw_evidence_videos(rng: np.random.Generator, preset: Preset, fps: float, count: int) -> list[EvidenceVideo]:
    """
    Draw galleries of videos.

    Args:
        rng (`np.random.Generator`): Of the split.
        preset (`Preset`): With four colours and four shapes; `duration_s` of a video, `num_events` and `event_s` of the stars.
        fps (`float`): Frames a second.
        count (`int`): Videos, a multiple of `GALLERY`.
    """
    videos: list[EvidenceVideo] = []
    for number in range(count // GALLERY):
        turn = number % len(EVIDENCE)
        if turn == 0:
            colors, shapes = (
                [each[place] for place in rng.permutation(len(each))] for each in (preset.colors, preset.shapes)
            )
            parts = [
                [(colors[c], shape) for shape in halves[0]] + [(colors[c + 1], shape) for shape in halves[1]]
                for c in (0, 2)
                for halves in ((shapes[:2], shapes[2:]), (shapes[2:], shapes[:2]))
            ]
        videos += draw_gallery(rng, preset, fps, parts[turn:] + parts[:turn])
    return videos


def draw_gallery(
    rng: np.random.Generator, preset: Preset, fps: float, parts: list[list[tuple[str, str]]]
) -> list[EvidenceVideo]:
    """Videos in random order, where each kind is about the objects of one part: two of one colour, and two of another."""
    videos = []
    for kind, part in zip(EVIDENCE, parts, strict=True):
        one, two, three, four = (
            Scene(shape, 1, "", preset.backgrounds[0], "", (Act("", color),)) for color, shape in part
        )
        if kind == ORDER:  # pairs that differ in colour and in shape
            firsts = [draw_video(rng, preset, fps, kind, pair) for pair in ((one, three), (two, four))]
            videos += [video for first in firsts for video in (first, first.twin())]
        else:
            videos += [draw_video(rng, preset, fps, kind, (scene,)) for scene in (one, two, three, four)]
    return [videos[number] for number in rng.permutation(len(videos))]


def draw_video(
    rng: np.random.Generator, preset: Preset, fps: float, kind: str, objects: tuple[Scene, ...]
) -> EvidenceVideo:
    shortest, longest = eighths(preset.duration_s, fps)
    num_frames = PARTS * int(rng.integers(shortest, longest + 1))
    length = num_frames // EVIDENCE[kind]
    apart = num_frames // APART * (len(objects) - 1)
    starts = np.sort(rng.integers(0, num_frames - len(objects) * length - apart + 1, len(objects)))
    starts += (length + apart) * np.arange(len(objects))
    corners = np.full(num_frames, NO_CORNER)
    stars = int(rng.integers(preset.num_events[0], preset.num_events[1] + 1))
    for first, end in draw_spans(rng, stars, preset.event_s, num_frames, fps):
        corners[first:end] = rng.integers(len(CORNERS))
    return EvidenceVideo(kind, objects, tuple(starts.tolist()), corners, int(rng.integers(2**32)))


def eighths(duration_s: tuple[float, float], fps: float) -> tuple[int, int]:
    """Frames of an eighth of the shortest and of the longest video."""
    least, most = (seconds * fps / PARTS for seconds in duration_s)
    return int(np.ceil(round(least, 6))), int(np.floor(round(most, 6)))


__all__ = ["EVIDENCE", "GALLERY", "EvidenceVideo", "draw_evidence_videos", "eighths"]
