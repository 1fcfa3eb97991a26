# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What can happen in a generated video, and drawing one such scene.

A scene is a few identical shapes on a plain background that act once or twice. Shape, colour, number, size, place
and background show in one frame; the acts need several frames in order: right or left, up or down, growing or
shrinking, which colour comes first, how many bounces.

    Preset  ->  sample_scene  ->  Scene  ->  sentences (`synthetic_texts.py`) and pictures (`synthetic_rendering.py`)
"""

from dataclasses import dataclass, replace
from itertools import permutations, product
from math import perm

import numpy as np


MIN_FRAMES_PER_REPEAT = 4  # fewer and a bounce or a blink may fall between two frames
NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five")
PLACES = ("left", "right", "top", "bottom", "middle")
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
COLORS = ("red", "green", "blue", "yellow", "purple", "cyan", "orange", "pink")
BACKGROUNDS = ("black", "white", "gray", "brown", "navy")


@dataclass(frozen=True)
class Motion:
    """One thing a shape can do. Two on the same channel would disturb each other, unless one undoes the other."""

    channel: str  # what changes: "x", "y", "scale", "color" or "visibility"
    verb: str
    gerund: str
    rest: str = ""
    opposite: str = ""
    repeats: bool = False


MOTIONS = {
    "right": Motion("x", "move", "moving", "right", opposite="left"),
    "left": Motion("x", "move", "moving", "left", opposite="right"),
    "up": Motion("y", "move", "moving", "up", opposite="down"),
    "down": Motion("y", "move", "moving", "down", opposite="up"),
    "grow": Motion("scale", "grow", "growing", opposite="shrink"),
    "shrink": Motion("scale", "shrink", "shrinking", opposite="grow"),
    "turn": Motion("color", "turn", "turning", opposite="turn"),
    "bounce": Motion("y", "bounce", "bouncing", repeats=True),
    "shake": Motion("x", "shake", "shaking", repeats=True),
    "pulse": Motion("scale", "pulse", "pulsing", repeats=True),
    "blink": Motion("visibility", "blink", "blinking", repeats=True),
}


@dataclass(frozen=True)
class Preset:
    """From what scenes are drawn. `two_act_share` of them do one thing and then another."""

    shapes: tuple[str, ...] = SHAPES
    colors: tuple[str, ...] = COLORS
    backgrounds: tuple[str, ...] = BACKGROUNDS
    sizes: tuple[str, ...] = ("small", "large")
    numbers: tuple[int, ...] = (1, 2, 3)
    motions: tuple[str, ...] = tuple(MOTIONS)
    max_times: int = 5
    two_act_share: float = 0.5
    pauses: bool = True  # stillness before, between and after the acts
    frames_per_repeat: int | None = None  # how long each repetition lasts; None: acts are stretched at random
    num_frames: int | None = 24  # None: drawn for each video
    classes: str = ""  # videos have one, each as often as the others: "motion", or "order" of the colours
    even_steps: bool = False  # colours change at once, never back, and each stays as long as the others
    has_twins: bool = False  # acts last equally long, and each video has one with the same frames in another order
    is_told: bool = True  # whether captions say how objects look
    objects: int = 1  # that act by themselves, at the same time
    told_parts: tuple[
        int, ...
    ] = ()  # the caption is about the whole video, about a half of it (2), ...: shots between others
    num_events: tuple[int, int] = (0, 0)  # the fewest and the most scenes of a video, among pauses; 0: it is one scene
    event_s: tuple[float, float] = (0.0, 0.0)  # seconds of the shortest and the longest one
    duration_s: tuple[float, float] = (0.0, 0.0)  # seconds of the shortest and the longest video
    # videos are about one thing, seen for a known share; events are what nothing is told of
    has_evidence: bool = False


# Few and large attributes that a small model learns on a CPU.
ONE_LARGE_OBJECT = {
    "shapes": ("circle", "square", "triangle"),
    "colors": ("red", "green", "blue", "yellow", "purple", "cyan"),
    "backgrounds": ("black", "white", "gray", "brown"),
    "sizes": (),
    "numbers": (1,),
}
# How it differs from the background need not be learnt first: it is always brighter.
ONE_BRIGHT_OBJECT = ONE_LARGE_OBJECT | {
    "colors": ("yellow", "cyan", "orange", "pink"),
    "backgrounds": ("black", "brown", "navy"),
}

TWINS = {
    "motions": ("right", "left", "up", "down", "grow", "shrink"),
    "pauses": False,
    "num_frames": 18,
    "has_twins": True,
    "is_told": False,
}

# Colour, shape and movement of an event. Few of each, on black: some hundred steps learn them, even from 8 x 8 pixels a frame.
EVENTS = {
    "shapes": ("square", "cross", "ring"),
    "colors": ("red", "green", "blue", "yellow"),
    "backgrounds": ("black",),
    "sizes": (),
    "numbers": (1,),
    "motions": ("right", "left", "grow", "shrink"),
    "two_act_share": 0.0,
    "pauses": False,
    "num_frames": None,
}

PRESETS = {
    "standard": Preset(),
    # 288 different captions.
    "easy": Preset(
        **ONE_LARGE_OBJECT, motions=("right", "left", "up", "down"), two_act_share=0.0, pauses=False, num_frames=16
    ),
    # One question that counts for every video. All repetitions last equally long: the time in which the object is not
    # at rest shows their number, also to a model that averages its frames. A shake is left out, which looks like rest
    # in every other frame.
    "counting": Preset(
        **ONE_BRIGHT_OBJECT, motions=("bounce", "pulse", "blink"), two_act_share=0.0, frames_per_repeat=4
    ),
    # Two questions about what comes before or after for every video.
    "sequences": Preset(**ONE_BRIGHT_OBJECT, two_act_share=1.0),
    # Three pairs, each the other one backwards: the mean of the frames shows the pair alone. (A number of chosen frames that
    # divides 24 into odd parts, such as 8, chooses the same places of both.)
    "motions": Preset(
        **ONE_BRIGHT_OBJECT,
        motions=("right", "left", "up", "down", "grow", "shrink"),
        two_act_share=0.0,
        pauses=False,
        classes="motion",
    ),
    # Six classes with the same pictures: an object is red, green and blue for six frames each, in one of six orders. Choose
    # a multiple of three frames: of 8 the middle colour has fewer, and the mean of the frames knows which one it is.
    "orders": Preset(
        **ONE_LARGE_OBJECT
        | {"colors": ("red", "green", "blue"), "backgrounds": ("black", "white", "gray", "brown", "navy")},
        motions=("turn",),
        two_act_share=1.0,
        num_frames=18,
        classes="order",
        even_steps=True,
    ),
    # 36 captions of one or two movements; who is blind to order cannot tell a video from its twin. (Choose frames that divide
    # 18 into odd parts, such as 6, or 12: of both twins they are the same ones then.)
    "motion": Preset(**ONE_BRIGHT_OBJECT, **TWINS, two_act_share=0.5, classes="motion"),
    # Two objects side by side, each with one movement of its own, and boxes around them.
    "motion_boxes": Preset(**ONE_BRIGHT_OBJECT, **TWINS, two_act_share=0.0, objects=2),
    # The caption is about the whole video, a half, or a sixth of it; other shots show what no caption tells.
    "motion_shots": Preset(**ONE_BRIGHT_OBJECT, **TWINS | {"num_frames": 36}, two_act_share=0.5, told_parts=(1, 2, 6)),
    # Moments of 2 to 15 seconds anywhere in a video: no span that is the same for all of them hits a quarter (IoU 0.5).
    "events": Preset(**EVENTS, num_events=(2, 6), event_s=(2.0, 15.0), duration_s=(16.0, 60.0)),
    # What is told is there always, for a half, for an eighth of the video, or it is the order of two eighths.
    "evidence": Preset(
        shapes=("square", "triangle", "cross", "ring"),
        colors=("red", "green", "blue", "yellow"),
        backgrounds=("black",),
        num_frames=None,
        num_events=(2, 4),
        event_s=(1.0, 4.0),
        duration_s=(16.0, 40.0),
        has_evidence=True,
    ),
}


@dataclass(frozen=True)
class Act:
    """One act: frames `[first_frame, end_frame)`; `color` is the colour of the shapes when it begins."""

    kind: str
    color: str
    times: int = 1
    new_color: str = ""
    first_frame: int = 0
    end_frame: int = 0

    @property
    def meaning(self) -> tuple:
        return self.kind, self.color, self.times, self.new_color

    @property
    def rest(self) -> str:
        return self.new_color or MOTIONS[self.kind].rest

    @property
    def infinitive(self) -> str:
        return f"{MOTIONS[self.kind].verb} {self.rest}".rstrip()

    @property
    def gerund(self) -> str:
        return f"{MOTIONS[self.kind].gerund} {self.rest}".rstrip()

    @property
    def how_often(self) -> str:
        return f"{NUMBER_WORDS[self.times]} times" if self.times > 1 else ""

    @property
    def progressive(self) -> str:
        """`bouncing three times`."""
        return f"{self.gerund} {self.how_often}".rstrip()

    def predicate(self, number: int) -> str:
        """`bounces three times` (one shape), `bounce three times` (several)."""
        verb = MOTIONS[self.kind].verb + ("s" if number == 1 else "")
        return " ".join(part for part in (verb, self.rest, self.how_often) if part)


def with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def plural(noun: str, number: int) -> str:
    return noun if number == 1 else f"{noun}{'es' if noun == 'cross' else 's'}"


@dataclass(frozen=True)
class Scene:
    """`size` is empty where it changes or makes no difference, `place` where the shapes travel or are several."""

    shape: str
    number: int
    size: str
    background: str
    place: str
    acts: tuple[Act, ...]
    is_told: bool = True  # whether sentences say how it looks

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(act.kind for act in self.acts)

    @property
    def meaning(self) -> tuple:
        """Everything the captions say; two scenes with one meaning have the same captions."""
        if not self.is_told:
            return self.kinds
        return self.shape, self.number, self.size, self.background, tuple(act.meaning for act in self.acts)

    @property
    def noun(self) -> str:
        if not self.is_told:
            return plural("object", self.number)
        return plural(self.shape, self.number)

    def label(self, preset: Preset) -> str:
        """Its class: "move right", "move right and then grow", or "red, green, blue"."""
        if preset.classes == "motion":
            return class_of_motions(self.kinds)
        return ", ".join((self.acts[0].color, *(act.new_color for act in self.acts)))

    def subject(self, act: Act) -> str:
        """`a red circle`, `two small blue stars`, as they look when `act` begins; `an object` where that is not told."""
        if not self.is_told:
            return with_article(self.noun) if self.number == 1 else f"{NUMBER_WORDS[self.number]} {self.noun}"
        described = " ".join(part for part in (self.size, act.color, self.noun) if part)
        if self.number > 1:
            return f"{NUMBER_WORDS[self.number]} {described}"
        return with_article(described)


def class_of_motions(kinds: tuple[str, ...]) -> str:
    return " and then ".join(Act(kind, "").infinitive for kind in kinds)


def twin_kinds(kinds: tuple[str, ...]) -> tuple[str, ...]:
    """What the frames show backwards. Where that is the same ("right and then left"), halves exchanged: the other way round."""
    backwards = tuple(MOTIONS[kind].opposite for kind in reversed(kinds))
    return backwards if backwards != kinds else kinds[::-1]


def twin_order(kinds: tuple[str, ...], num_frames: int) -> np.ndarray:
    """In which order the frames of a scene without pauses show its twin `(num_frames,)`."""
    if twin_kinds(kinds) == kinds[::-1]:
        return np.roll(np.arange(num_frames), num_frames // 2)
    return np.arange(num_frames)[::-1]


def twin_of(scene: Scene, num_frames: int) -> Scene:
    """What is seen when the frames of a scene come in `twin_order`: acts of a preset with twins last equally long."""
    spans = [(act.first_frame, act.end_frame) for act in scene.acts]
    acts = [
        replace(act, kind=kind, first_frame=first, end_frame=end)
        for act, kind, (first, end) in zip(scene.acts, twin_kinds(scene.kinds), spans, strict=True)
    ]
    return replace(scene, acts=tuple(acts))


def channels(kinds: tuple[str, ...]) -> set[str]:
    return {MOTIONS[kind].channel for kind in kinds}


def action_plans(preset: Preset, num_frames: int) -> dict[tuple[str, ...], list[tuple[int, ...]]]:
    """Every sequence of one or two motions that can be distinguished, with the possible repetition counts of each.

    A second motion acts on another channel or undoes the first, and all repetitions fit into the frames.
    """
    sequences = [(kind,) for kind in preset.motions] if preset.two_act_share < 1 else []
    if preset.two_act_share > 0:
        sequences += [
            pair
            for pair in product(preset.motions, repeat=2)
            if len(channels(pair)) == 2 or MOTIONS[pair[0]].opposite == pair[1]
        ]
    plans = {}
    for kinds in sequences:
        most = min(preset.max_times, num_frames // (len(kinds) * (preset.frames_per_repeat or MIN_FRAMES_PER_REPEAT)))
        options = [range(2, most + 1) if MOTIONS[kind].repeats else (1,) for kind in kinds]
        if times := list(product(*options)):
            plans[kinds] = times
    return plans


def allowed_numbers(preset: Preset, kinds: tuple[str, ...]) -> tuple[int, ...]:
    """Several shapes stand in lanes across the direction of travel, so they cannot travel both ways."""
    return preset.numbers if not {"x", "y"} <= channels(kinds) else tuple(n for n in preset.numbers if n == 1)


def allowed_sizes(preset: Preset, kinds: tuple[str, ...]) -> tuple[str, ...]:
    return ("",) if "scale" in channels(kinds) or not preset.sizes else preset.sizes


def count_combinations(preset: Preset, num_frames: int | None) -> int:
    """Number of different scenes, that is of different captions, that the preset has; or of different events."""
    if not preset.is_told:
        return len(action_plans(preset, num_frames))
    if preset.has_evidence:
        return len(preset.colors) * len(preset.shapes)
    if preset.num_events[0]:
        return len(preset.colors) * len(preset.shapes) * len(preset.motions)
    total = 0
    for kinds, times in action_plans(preset, num_frames).items():
        turns = kinds.count("turn")
        colorings = len(preset.colors) * (len(preset.colors) - 1) ** turns
        if preset.even_steps:
            colorings = perm(len(preset.colors), turns + 1)
        total += len(times) * colorings * len(allowed_numbers(preset, kinds)) * len(allowed_sizes(preset, kinds))
    return total * len(preset.shapes) * len(preset.backgrounds)


def class_names(preset: Preset) -> list[str]:
    """The classes of a preset that has some, in the order in which they are dealt out."""
    if preset.classes == "motion":
        return [class_of_motions(kinds) for kinds in action_plans(preset, preset.num_frames)]
    return [", ".join(order) for order in permutations(preset.colors)]


def pick(rng: np.random.Generator, options):
    """One of `options`, each equally likely (unlike `rng.choice`, it keeps Python types)."""
    return options[int(rng.integers(len(options)))]


def sample_spans(rng: np.random.Generator, times: tuple[int, ...], num_frames: int, preset: Preset) -> list[tuple]:
    """Give every act its frames; without pauses the acts fill the video."""
    if preset.even_steps:
        states = len(times) + 1
        starts = [num_frames * number // states for number in range(1, states)]
        return [(start - 1, start + 1) for start in starts]  # as it was, then as it is from now on
    if preset.has_twins:
        edges = [num_frames * number // len(times) for number in range(len(times) + 1)]
        return list(zip(edges[:-1], edges[1:], strict=True))
    pace = preset.frames_per_repeat
    needed = [
        pace * count if pace else max(MIN_FRAMES_PER_REPEAT * count, num_frames // (2 * len(times))) for count in times
    ]
    gaps = len(times) + 1
    # acts take most of what is left, so that few sparsely chosen frames still see them
    shares = [0.4 if preset.pauses else 0.0] * gaps + [0.0 if pace else 2.0] * len(times)
    weights = np.array(shares) * rng.uniform(0.2, 1.0, 2 * gaps - 1)
    extra = np.floor(weights / weights.sum() * (num_frames - sum(needed))).astype(int)
    if not preset.pauses:
        extra[-1] += num_frames - sum(needed) - extra.sum()
    spans, frame = [], 0
    for gap, length, count in zip(extra[: len(times)], extra[gaps:] + needed, times, strict=True):
        whole = length - length % count  # every bounce takes as many frames and touches the ground in one of them
        spans.append((int(frame + gap), int(frame + gap + whole)))
        frame += gap + length
    return spans


def sample_scene(
    rng: np.random.Generator, preset: Preset, num_frames: int, kinds: tuple[str, ...] | None = None
) -> Scene:
    """Draw one scene, of given kinds of motion if they are stated; else they are equally likely, however many colours or
    counts they come in."""
    plans = action_plans(preset, num_frames)
    if kinds is None:
        wanted = 2 if rng.random() < preset.two_act_share else 1
        kinds = pick(rng, [kinds for kinds in plans if len(kinds) == wanted] or list(plans))
    times = pick(rng, plans[kinds])
    spans = sample_spans(rng, times, num_frames, preset)
    color = pick(rng, preset.colors)
    acts, left = [], set(preset.colors)
    for kind, count, (first_frame, end_frame) in zip(kinds, times, spans, strict=True):
        left.discard(color)
        others = [other for other in preset.colors if other in left or (other != color and not preset.even_steps)]
        new_color = pick(rng, others) if kind == "turn" else ""
        acts.append(Act(kind, color, count, new_color, first_frame, end_frame))
        color = new_color or color
    number = pick(rng, allowed_numbers(preset, kinds))
    stays = number == 1 and not channels(kinds) & {"x", "y"}
    return Scene(
        shape=pick(rng, preset.shapes),
        number=number,
        size=pick(rng, allowed_sizes(preset, kinds)),
        background=pick(rng, preset.backgrounds),
        place=pick(rng, PLACES) if stays else "",
        acts=tuple(acts),
        is_told=preset.is_told,
    )


def describes(scene: Scene, other: Scene) -> bool:
    """Whether the captions of `scene` are also true of `other` (which may do more than they say)."""
    if (scene.shape, scene.number, scene.background) != (other.shape, other.number, other.background):
        return False
    if scene.size and other.size and scene.size != other.size:
        return False
    remaining = iter(act.meaning for act in other.acts)
    return all(act.meaning in remaining for act in scene.acts)
