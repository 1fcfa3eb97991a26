# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The pictures of a generated video, and the H.264 file they are written to.

Two renderings of one scene never agree: place, path, size, colours and grain are drawn anew from `rng`.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import av
import numpy as np

from clipbert.datasets_scripts.synthetic.scenes import Scene


RGB = {
    "red": (215, 30, 30),
    "green": (30, 165, 50),
    "blue": (45, 85, 235),
    "yellow": (245, 225, 45),
    "purple": (145, 45, 190),
    "cyan": (55, 215, 225),
    "orange": (245, 135, 20),
    "pink": (250, 130, 190),
    "black": (12, 12, 12),
    "white": (238, 238, 238),
    "gray": (128, 128, 128),
    "brown": (105, 62, 30),
    "navy": (18, 24, 78),
}
RADIUS = {"small": 0.10, "large": 0.148}  # in widths of the picture; three large shapes still fit side by side
# mbtree=0: on pictures this small the macroblock tree makes the bytes differ from run to run
X264_OPTIONS = {"preset": "veryfast", "crf": "18", "g": "12", "x264-params": "mbtree=0"}
INTRA_OPTIONS = {"g": "1", "qp": "16"}
PULSE = 1.8  # how many times larger a pulsing shape becomes
PLACE_CENTRES = {"left": (0.25, 0.5), "right": (0.75, 0.5), "top": (0.5, 0.25), "bottom": (0.5, 0.75)}


def outline_distance(shape: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How far outside the outline of a shape of radius about 1 the points lie; negative inside (y points down)."""
    if shape == "circle":
        return np.hypot(x, y) - 0.95
    if shape == "square":
        return np.maximum(abs(x), abs(y)) - 0.82
    if shape == "triangle":
        return np.maximum(y - 0.75, 0.894 * abs(x) - 0.447 * y - 0.447)
    if shape == "cross":
        wide, tall = np.maximum(abs(x) - 0.95, abs(y) - 0.32), np.maximum(abs(x) - 0.32, abs(y) - 0.95)
        return np.minimum(wide, tall)
    if shape == "ring":
        return abs(np.hypot(x, y) - 0.72) - 0.28
    if shape == "star":
        # fold the plane onto one half of one of five points, whose edge is then a straight line
        angle = np.arctan2(x, -y)
        folded = abs((angle + np.pi / 5) % (2 * np.pi / 5) - np.pi / 5)
        radius = np.hypot(x, y)
        tip, notch = np.array([1.1, 0.0]), 0.5 * np.array([np.cos(np.pi / 5), np.sin(np.pi / 5)])
        normal = np.array([notch[1] - tip[1], tip[0] - notch[0]]) / np.hypot(*(tip - notch))
        return normal[0] * (radius * np.cos(folded) - tip[0]) + normal[1] * radius * np.sin(folded)
    raise ValueError(f"Expected a known shape, got {shape!r}")


def animate(scene: Scene, num_frames: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Centre, radius, visibility and colour wipes of the shapes in every frame, each of shape `(num_frames,)`."""
    kinds = [act.kind for act in scene.acts]
    radius = RADIUS.get(scene.size, 0.20 if scene.number == 1 else 0.13) * rng.uniform(0.95, 1.05)
    smallest, largest = (0.08, 0.24) if scene.number == 1 else (0.07, 0.15)
    if "pulse" in kinds:
        radius = smallest * 1.15
    if {"grow", "shrink"} & set(kinds):
        radius = smallest if next(kind for kind in kinds if kind in ("grow", "shrink")) == "grow" else largest
    reach = radius * PULSE if "pulse" in kinds else largest if {"grow", "shrink"} & set(kinds) else radius
    near, far = reach + rng.uniform(0.01, 0.06), 1 - reach - rng.uniform(0.01, 0.06)
    x, y = np.array(PLACE_CENTRES.get(scene.place, (0.5, 0.5))) + rng.uniform(-0.05, 0.05, 2) / scene.number
    starts = {"right": near, "left": far, "down": near, "up": far, "bounce": far}
    x = next((starts[kind] for kind in kinds if kind in ("right", "left")), x)
    y = next((starts[kind] for kind in kinds if kind in ("up", "down", "bounce")), y)

    frames = np.arange(num_frames)
    state = {"x": np.full(num_frames, x), "y": np.full(num_frames, y), "radius": np.full(num_frames, radius)}
    state["visible"] = np.ones(num_frames)
    state["wipes"] = np.zeros((len(kinds), num_frames))
    for index, act in enumerate(scene.acts):
        length = act.end_frame - act.first_frame
        progress = np.clip((frames - act.first_frame) / (length - 1), 0, 1)
        phase = np.clip((frames - act.first_frame) / length, 0, 1) * act.times  # whole numbers: at rest
        if act.kind in ("right", "left", "up", "down"):
            axis = "x" if act.kind in ("right", "left") else "y"
            target = far if act.kind in ("right", "down") else near
            state[axis] = state[axis] + (target - state[axis][act.first_frame]) * progress
        elif act.kind in ("grow", "shrink"):
            target = largest if act.kind == "grow" else smallest
            state["radius"] = state["radius"] + (target - state["radius"][act.first_frame]) * progress
        elif act.kind == "turn":
            state["wipes"][index] = progress
        elif act.kind == "bounce":
            state["y"] = state["y"] - (far - near) * 0.8 * abs(np.sin(np.pi * phase))
        elif act.kind == "shake":
            state["x"] = state["x"] + 0.16 * np.sin(2 * np.pi * phase)
        elif act.kind == "pulse":
            state["radius"] = state["radius"] * (1 + (PULSE - 1) * np.sin(np.pi * phase) ** 2)
        elif act.kind == "blink":
            state["visible"] = np.where((phase % 1 >= 0.25) & (phase % 1 < 0.75), 0.0, state["visible"])
    return state


def lane_offsets(scene: Scene) -> np.ndarray:
    """Where several shapes stand: in lanes across the direction of travel, `(number, 2)` in picture widths."""
    travels_sideways = any(act.kind in ("right", "left", "shake") for act in scene.acts)
    steps = (np.arange(scene.number) - (scene.number - 1) / 2) * (0.32 if scene.number > 2 else 0.42)
    return np.stack([np.zeros_like(steps), steps] if travels_sideways else [steps, np.zeros_like(steps)], axis=1)


def render_scene(scene: Scene, num_frames: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the scene: uint8 `(num_frames, size, size, 3)`."""
    return render_objects([(scene, animate(scene, num_frames, rng))], size, rng)


def render_objects(
    objects: Sequence[tuple[Scene, dict[str, np.ndarray]]], size: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw scenes, each in its own state, on the background of the first: uint8 `(num_frames, size, size, 3)`."""
    return Canvas(objects[0][0].background, size, rng).paint(objects, len(objects[0][1]["x"]))


class Canvas:
    """What all pictures of a video share: how its colours look, its background, and the grain.

    Args:
        background (`str`): Name of its colour.
        size (`int`): Pixels of a side.
        rng (`np.random.Generator`): Draws what no caption tells.
    """

    def __init__(self, background: str, size: int, rng: np.random.Generator):
        self.colors = {name: np.array(RGB[name]) + rng.uniform(-8, 8) + rng.uniform(-5, 5, 3) for name in RGB}
        self.grid = (np.arange(size) + 0.5) / size
        self.grain = rng.normal(0, 2, (size, size, 1)) + 8 * rng.uniform(-1, 1) * (self.grid[:, None, None] - 0.5)
        self.background = background

    def paint(self, objects: Sequence[tuple[Scene, dict[str, np.ndarray]]], num_frames: int) -> np.ndarray:
        """Scenes, each in its own state, or nothing: uint8 `(num_frames, size, size, 3)`."""
        size = len(self.grid)
        frames = np.broadcast_to(self.colors[self.background], (num_frames, size, size, 3)).astype(np.float32)
        for scene, state in objects:
            frames = _draw(frames, scene, state, self.colors, self.grid)
        return np.clip(np.rint(frames + self.grain), 0, 255).astype(np.uint8)


def _draw(frames: np.ndarray, scene: Scene, state: dict[str, np.ndarray], vary: dict, grid: np.ndarray) -> np.ndarray:
    size = len(grid)
    for offset_x, offset_y in lane_offsets(scene):
        radius = state["radius"][:, None, None]
        x = (grid[None, None, :] - offset_x - state["x"][:, None, None]) / radius  # (frames, 1, size)
        y = (grid[None, :, None] - offset_y - state["y"][:, None, None]) / radius  # (frames, size, 1)
        x, y = np.broadcast_arrays(x.astype(np.float32), y.astype(np.float32))
        coverage = np.clip(0.5 - outline_distance(scene.shape, x, y) * radius * size, 0, 1)  # one pixel of soft edge
        coverage = (coverage * state["visible"][:, None, None])[..., None].astype(np.float32)
        color = vary[scene.acts[0].color].astype(np.float32)
        for act, wiped in zip(scene.acts, state["wipes"], strict=True):
            if act.new_color:  # the new colour sweeps over the shape: a blend would pass through colours nobody named
                swept = (x < (2.2 * wiped[:, None, None] - 1.1)) & (wiped[:, None, None] > 0)
                color = np.where(swept[..., None], vary[act.new_color].astype(np.float32), color)
        frames = frames + (color - frames) * coverage
    return frames


def extent(shape: str) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a shape of radius about 1 around its centre."""
    grid = np.linspace(-1.2, 1.2, 481)
    inside = outline_distance(shape, *np.meshgrid(grid, grid)) <= 0
    columns, rows = grid[inside.any(axis=0)], grid[inside.any(axis=1)]
    return columns[0], rows[0], columns[-1], rows[-1]


def write_h264(path: Path, frames: Iterable[np.ndarray], fps: int, each_by_itself: bool = False) -> None:
    """Encode uint8 `(height, width, 3)` pictures with even sides as MP4, one after the other; the same bytes every time.

    `each_by_itself` makes of equal pictures equal ones, wherever they stand.
    """
    options = X264_OPTIONS | (INTRA_OPTIONS if each_by_itself else {})
    if each_by_itself:
        del options["crf"]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.pix_fmt, stream.thread_count = "yuv420p", 1
        for number, frame in enumerate(frames):
            if number == 0:
                stream.height, stream.width = frame.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
