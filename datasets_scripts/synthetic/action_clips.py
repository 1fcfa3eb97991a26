# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""`python -m datasets_scripts.synthetic.action_clips --output_dir DIR`: generated clips in the layout of `ucf101_top5`.

    load_benchmark("action_clips", data_dir="DIR", validation_fraction=0.2)

They stand in for the five classes of UCF101 where these cannot be had: the same names, folders, lists and containers, the
same shares of the classes, clips of 60 to 320 frames (150 on average), several of each recording that look alike. With
`--num_train 594 --num_test 224` there are as many of every class as in the original.

What they show is made up. A white disc wanders; somewhere after the first half it becomes the shape and colour of the class,
which moves in the manner of the class until the end. Who sees the first frames alone cannot know long clips, and neither
does who forgets the end of a clip over the padding behind it.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import numpy as np
from tqdm import tqdm

from clipbert.datasets_scripts.synthetic.generation import generate_once
from clipbert.datasets_scripts.synthetic.rendering import outline_distance


MANIFEST = "manifest.json"
FORMAT = {"format": "action_clips", "version": 1}  # a higher version draws others from the same settings
FPS = 25
SHORTEST, LONGEST, MEAN = 60, 320, 150  # frames
LOOKS_ALIKE = 5  # clips of a recording, on average, as long as there are few; UCF101 has 3 to 7
MPEG4_OPTIONS = {"qmin": "2", "qmax": "6", "flags": "+bitexact"}


@dataclass(frozen=True)
class Action:
    """What a class looks like: clips in the original, shape, colour, and how it moves in widths of the picture."""

    clips: dict[str, int]
    shape: str
    color: tuple[int, int, int]
    swing: tuple[float, float]  # to the right and down
    swings_per_s: float


ACTIONS = {
    "CricketShot": Action({"train": 118, "test": 49}, "star", (50, 80, 235), (0.25, 0.0), 0.7),
    "PlayingCello": Action({"train": 120, "test": 44}, "ring", (40, 170, 60), (0.12, 0.0), 1.2),
    "Punch": Action({"train": 121, "test": 39}, "square", (220, 40, 40), (0.15, 0.05), 2.5),
    "ShavingBeard": Action({"train": 118, "test": 43}, "cross", (240, 215, 50), (0.0, 0.10), 1.5),
    "TennisSwing": Action({"train": 117, "test": 49}, "triangle", (165, 60, 200), (0.25, 0.12), 0.7),
}
RECORDINGS = {"train": range(8, 26), "test": range(1, 8)}  # numbers of the groups of UCF101


@dataclass(frozen=True)
class ActionClipSettings:
    """What decides the content of a generated folder."""

    num_train: int = 150
    num_test: int = 60
    height: int = 60
    seed: int = 0

    def __post_init__(self):
        def expect(condition: bool, what: str, got) -> None:
            if not condition:
                raise ValueError(f"Action clips: expected {what}, got {got}")

        expect(self.num_train >= 20, "`num_train` of at least 20, two recordings of every class", self.num_train)
        expect(self.num_test >= 5, "`num_test` of at least 5, a clip of every class", self.num_test)
        expect(self.height >= 24 and self.height % 6 == 0, "a `height` of at least 24, divisible by 6", self.height)
        expect(self.seed >= 0, "a `seed` of at least 0", self.seed)


def generate_action_clips(output_dir, progress: bool = True, **settings) -> Path:
    """Write clips in the layout of `ucf101_top5` into a folder, which appears only when it is complete.

    Args:
        output_dir (`str` or `Path`): The folder: new, empty, or finished earlier with the same settings.
        progress (`bool`, defaults to `True`): Show a progress bar.
        settings: Fields of `ActionClipSettings`: `num_train` and `num_test` (594 and 224 are those of the original),
            `height` (pixels; the width is 4/3 of it), `seed`.

    Returns:
        `Path`: The folder, with `train.csv`, `test.csv` (`video_name`, `tag`), `train/`, `test/` and `manifest.json`.

    Raises:
        ValueError: If a setting is out of range.
        FileExistsError: If the folder holds something else, or clips with other settings.

    Example:
        >>> from clipbert.datasets_scripts import load_benchmark
        >>> folder = generate_action_clips("clips", num_train=20, num_test=5, height=24, progress=False)
        >>> rows = load_benchmark("action_clips", split="test", data_dir=folder)
        >>> rows[0]["video_id"], rows[0]["recording"]
        ('v_CricketShot_g01_c01', 'CricketShot_g01')
    """
    settings, output_dir = ActionClipSettings(**settings), Path(output_dir).expanduser().absolute()
    return generate_once(
        output_dir,
        is_finished=lambda: is_finished(output_dir, settings),
        write=lambda folder: write_clips(folder, settings, progress),
    )


def is_finished(folder: Path, settings: ActionClipSettings) -> bool:
    """Whether the folder already holds exactly these clips; anything else in it is an error."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    there = json.loads((folder / MANIFEST).read_text()) if (folder / MANIFEST).is_file() else {}
    if there != {**FORMAT, "settings": asdict(settings)}:
        held = f"generated clips with the settings {there['settings']}" if "settings" in there else "something else"
        raise FileExistsError(f"{folder} holds {held}, asked were {asdict(settings)}; choose another folder")
    return True


def write_clips(folder: Path, settings: ActionClipSettings, progress: bool) -> None:
    total = settings.num_train + settings.num_test
    with tqdm(total=total, desc="action clips", unit="video", disable=None if progress else True) as bar:
        for number, (split, count) in enumerate((("train", settings.num_train), ("test", settings.num_test))):
            (folder / split).mkdir()
            rng = np.random.default_rng([settings.seed, number])
            lengths = rng.permutation(clip_lengths(count)).tolist()
            lines = ["video_name,tag"]
            for (label, group, clip), num_frames in zip(name_clips(split, count), lengths, strict=True):
                name = f"v_{label}_g{group:02d}_c{clip:02d}.avi"
                # what clips of a recording have in common is drawn from a generator of its own
                recording = np.random.default_rng([settings.seed, list(ACTIONS).index(label), group])
                frames = render_clip(ACTIONS[label], num_frames, settings.height, recording, rng)
                write_mpeg4(folder / split / name, frames)
                lines.append(f"{name},{label}")
                bar.update()
            (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")
    manifest = {**FORMAT, "settings": asdict(settings)}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")


def name_clips(split: str, count: int) -> Iterator[tuple[str, int, int]]:
    """Class, group and number of each clip; the classes have the shares of the original."""
    shares = np.array([action.clips[split] for action in ACTIONS.values()])
    ends = np.rint(shares.cumsum() * count / shares.sum()).astype(int)
    for label, number in zip(ACTIONS, np.diff(ends, prepend=0).tolist(), strict=True):
        fewest = 2 if split == "train" else 1
        groups = RECORDINGS[split][: max(fewest, round(number / LOOKS_ALIKE))]
        for group, clips in zip(groups, np.array_split(np.arange(number), len(groups)), strict=True):
            yield from ((label, group, clip) for clip in range(1, len(clips) + 1))


def clip_lengths(count: int) -> np.ndarray:
    """Frames of each clip, evenly over a distribution with few long ones."""
    power = (LONGEST - SHORTEST) / (MEAN - SHORTEST) - 1  # the mean of u^p for u in [0, 1] is 1 / (p + 1)
    places = (np.arange(count) + 0.5) / count
    return np.rint(SHORTEST + (LONGEST - SHORTEST) * places**power).astype(int)


def render_clip(
    action: Action, num_frames: int, height: int, recording: np.random.Generator, rng: np.random.Generator
) -> np.ndarray:
    """The pictures of a clip: uint8 `(num_frames, height, height * 4 / 3, 3)`."""
    width = height * 4 // 3
    # 1. what the clips of a recording share: a background of 16 grey patches, size, place and pace
    patches = recording.uniform(-25, 25, (4, 4, 1)) + recording.uniform(-6, 6, 3)
    background = recording.uniform(50, 170) + np.kron(patches, np.ones((-(-height // 4), -(-width // 4), 1)))
    background = background[:height, :width]
    radius, x, y = recording.uniform(0.17, 0.23), recording.uniform(0.4, 0.6), recording.uniform(0.32, 0.43)
    pace = recording.uniform(0.8, 1.25)
    # 2. when the action begins, and where the object is in every frame, in widths of the picture
    begin, phase = round(num_frames * rng.uniform(0.5, 0.65)), rng.uniform(0, 2 * np.pi)
    seconds = np.arange(num_frames) / FPS
    acts = np.arange(num_frames) >= begin
    swing = np.sin(2 * np.pi * action.swings_per_s * pace * seconds + phase)
    drift = 0.1 * np.sin(2 * np.pi * 0.15 * pace * seconds + phase)
    centre_x = x + np.where(acts, action.swing[0] * swing, drift)
    centre_y = y + np.where(acts, action.swing[1] * swing, 0.0)
    # 3. the pictures
    grid_x, grid_y = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / width
    far_x = (grid_x[None, None, :] - centre_x[:, None, None]) / radius  # (frames, 1, width)
    far_y = (grid_y[None, :, None] - centre_y[:, None, None]) / radius  # (frames, height, 1)
    far_x, far_y = np.broadcast_arrays(far_x.astype(np.float32), far_y.astype(np.float32))
    outside = np.concatenate(
        [
            outline_distance("circle", far_x[:begin], far_y[:begin]),
            outline_distance(action.shape, far_x[begin:], far_y[begin:]),
        ]
    )
    coverage = np.clip(0.5 - outside * radius * width, 0, 1)[..., None]  # one pixel of soft edge
    color = np.where(acts[:, None], np.array(action.color) + rng.uniform(-15, 15, 3), 225)[:, None, None]
    grain = rng.normal(0, 3, (height, width, 1)) + rng.uniform(-8, 8)
    frames = background + grain + (color - background) * coverage
    return np.clip(np.rint(frames), 0, 255).astype(np.uint8)


def write_mpeg4(path: Path, frames: np.ndarray) -> None:
    """Encode uint8 `(frames, height, width, 3)` pictures with even sides as AVI; the same bytes every time."""
    with av.open(str(path), "w", format="avi", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("mpeg4", rate=FPS, options=MPEG4_OPTIONS)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        stream.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m datasets_scripts.synthetic.action_clips",
        description="Generate clips of made-up actions in the layout of ucf101_top5.",
    )
    parser.add_argument(
        "--output_dir", required=True, help="new or empty folder, or one finished with the same settings"
    )
    for name, default in asdict(ActionClipSettings()).items():
        parser.add_argument(f"--{name}", type=int, default=default, help="default: %(default)s")
    try:
        folder = generate_action_clips(**vars(parser.parse_args(arguments)))
    except (ValueError, FileExistsError) as error:
        parser.error(str(error))
    for split in RECORDINGS:
        print(f"{folder / split}: {len((folder / f'{split}.csv').read_text().splitlines()) - 1} clips")


__all__ = ["ActionClipSettings", "generate_action_clips"]


if __name__ == "__main__":
    main()
