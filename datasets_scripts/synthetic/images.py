# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""`python -m datasets_scripts.synthetic.images --output_dir DIR`: generate pictures of coloured shapes."""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from clipbert.datasets_scripts.synthetic.generation import SPLITS, generate_once
from clipbert.datasets_scripts.synthetic.rendering import render_scene
from clipbert.datasets_scripts.synthetic.scenes import NUMBER_WORDS, PLACES, PRESETS, Act, Scene, pick, plural
from clipbert.datasets_scripts.synthetic.texts import vocabulary


MANIFEST = "manifest.json"
FORMAT = {"format": "synthetic_images", "version": 1}  # a higher version draws others from the same settings
FILES = {"image_qa": "questions.jsonl", "image_text": "captions.jsonl"}
ATTRIBUTES, NUMBERS = PRESETS["easy"], (1, 2, 3)
OTHER_WORDS = {
    "purple": "violet",
    "cyan": "light blue",
    "gray": "grey",
    "brown": "dark brown",
    "circle": "ball",
    "square": "box",
    "middle": "center",
}


@dataclass(frozen=True)
class ImageSettings:
    """What decides the content of a generated folder."""

    num_train: int = 800
    num_validation: int = 100
    num_test: int = 100
    size: int = 64
    seed: int = 0

    def __post_init__(self):
        counts = [getattr(self, f"num_{split}") for split in SPLITS]
        if min(counts) < 0 or not sum(counts):
            raise ValueError(f"Synthetic images: expected numbers of images of at least 0, not all 0, got {counts}")
        if self.size < 32 or self.seed < 0:
            raise ValueError(
                f"Synthetic images: expected a `size` of at least 32 and a `seed` of at least 0, got {self.size} and "
                f"{self.seed}"
            )


def generate_synthetic_images(output_dir, **settings) -> Path:
    """Write a benchmark of generated pictures into a folder, which appears only when it is complete.

    Args:
        output_dir (`str` or `Path`): The folder: new, empty, or finished earlier with the same settings.
        settings: Fields of `ImageSettings`: `num_train`, `num_validation`, `num_test`, `size` (pixels), `seed`.

    Returns:
        `Path`: The folder, with `train/`, `validation/` and `test/` (each `images/`, `captions.jsonl`,
        `questions.jsonl`), `vocab.txt` (WordPiece) and `manifest.json`.

    Raises:
        ValueError: If a setting is out of range.
        FileExistsError: If the folder holds something else, or a benchmark with other settings.

    Example:
        >>> from clipbert.datasets_scripts import load_benchmark
        >>> folder = generate_synthetic_images("pictures", num_train=4, num_validation=0, num_test=2)
        >>> row = load_benchmark("synthetic_images", config="image_qa", split="train", data_dir=folder)[0]
        >>> row["question"], row["soft_answers"], row["soft_scores"]
        ('what color are the squares?', ['green'], [1.0])
    """
    settings, output_dir = ImageSettings(**settings), Path(output_dir).expanduser().absolute()
    return generate_once(
        output_dir,
        is_finished=lambda: is_finished(output_dir, settings),
        write=lambda folder: write_benchmark(folder, settings),
    )


def write_benchmark(folder: Path, settings: ImageSettings) -> None:
    for split in SPLITS:
        if getattr(settings, f"num_{split}"):
            write_split(folder / split, settings, split)
    (folder / "vocab.txt").write_text("\n".join(vocabulary()) + "\n")
    (folder / MANIFEST).write_text(json.dumps({**FORMAT, "settings": asdict(settings)}, indent=2) + "\n")


def is_finished(folder: Path, settings: ImageSettings) -> bool:
    """Whether the folder already holds exactly this benchmark; anything else in it is an error."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    wanted = {**FORMAT, "settings": asdict(settings)}
    there = json.loads((folder / MANIFEST).read_text()) if (folder / MANIFEST).is_file() else None
    if there != wanted:
        held = f"generated images with the settings {there.get('settings')}" if there else "something else"
        raise FileExistsError(f"{folder} holds {held}, asked were {wanted['settings']}; choose another folder")
    return True


def write_split(folder: Path, settings: ImageSettings, split: str) -> None:
    (folder / "images").mkdir(parents=True)
    lines = {name: [] for name in FILES}
    for index in range(getattr(settings, f"num_{split}")):
        rng = np.random.default_rng([settings.seed, SPLITS.index(split), index])
        scene = sample_still(rng)
        image_id = f"{split}_{index:05d}"
        where = {"image": f"images/{image_id}.png", "image_id": image_id}
        Image.fromarray(render_scene(scene, 1, settings.size, rng)[0]).save(folder / where["image"])
        lines["image_text"].append({**where, "caption": caption(scene)})
        lines["image_qa"] += [{**where, **asked} for asked in image_questions(scene, rng)]
    for name, rows in lines.items():
        (folder / FILES[name]).write_text("".join(json.dumps(row) + "\n" for row in rows))


def sample_still(rng: np.random.Generator) -> Scene:
    """A scene in which nothing happens."""
    number = pick(rng, NUMBERS)
    return Scene(
        shape=pick(rng, ATTRIBUTES.shapes),
        number=number,
        size="",
        background=pick(rng, ATTRIBUTES.backgrounds),
        place=pick(rng, PLACES) if number == 1 else "",
        acts=(Act("", pick(rng, ATTRIBUTES.colors), end_frame=2),),
    )


def caption(scene: Scene) -> str:
    """`a red circle on the left of a white background`, `two red circles on a white background`."""
    where = f"in the {scene.place}" if scene.place == "middle" else f"on the {scene.place}"
    return f"{scene.subject(scene.acts[0])} {where + ' of' if scene.place else 'on'} a {scene.background} background"


def image_questions(scene: Scene, rng: np.random.Generator) -> Iterator[dict]:
    """Questions of the three VQA types; every second yes/no question is answered with no."""
    color, be = scene.acts[0].color, "is" if scene.number == 1 else "are"
    yield soft_question(rng, f"what color {be} the {scene.noun}?", color, "other")
    yield soft_question(rng, "what color is the background?", scene.background, "other")
    yield soft_question(rng, f"what {be} the {color} {plural('object', scene.number)}?", scene.shape, "other")
    if scene.place:
        yield soft_question(rng, f"where is the {scene.noun}?", scene.place, "other")
    yield soft_question(rng, f"how many {plural(scene.shape, 2)} are there?", str(scene.number), "number")
    for true_value, choices, question in (
        (color, ATTRIBUTES.colors, lambda value: f"{be} the {scene.noun} {value}?"),
        (scene.background, ATTRIBUTES.backgrounds, lambda value: f"is the background {value}?"),
        (scene.number, NUMBERS, number_question),
    ):
        is_true = bool(rng.integers(2))
        value = true_value if is_true else pick(rng, [choice for choice in choices if choice != true_value])
        yield soft_question(rng, question(value), "yes" if is_true else "no", "yes/no")


def number_question(number: int) -> str:
    return f"{'is' if number == 1 else 'are'} there {NUMBER_WORDS[number]} {plural('object', number)}?"


def soft_question(rng: np.random.Generator, question: str, answer: str, answer_type: str) -> dict:
    """The question with what ten annotators answer; an answer scores 0.3 for each of them, at most 1."""
    scores = {answer: 1.0}
    if (other := OTHER_WORDS.get(answer)) and (votes := int(rng.integers(4))):
        scores[other] = round(0.3 * votes, 1)
    return {
        "question": question,
        "answer": answer,
        "answer_type": answer_type,
        "soft_answers": list(scores),
        "soft_scores": list(scores.values()),
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m datasets_scripts.synthetic.images", description="Generate pictures of shapes with annotations."
    )
    parser.add_argument(
        "--output_dir", required=True, help="new or empty folder, or one finished with the same settings"
    )
    for name, default in asdict(ImageSettings()).items():
        parser.add_argument(f"--{name}", type=int, default=default, help="default: %(default)s")
    try:
        folder = generate_synthetic_images(**vars(parser.parse_args(arguments)))
    except (ValueError, FileExistsError) as error:
        parser.error(str(error))
    for split in SPLITS:
        if (folder / split).is_dir():
            counts = [len((folder / split / name).read_text().splitlines()) for name in FILES.values()]
            print(f"{folder / split}: {counts[1]} captions, {counts[0]} questions")


__all__ = ["ImageSettings", "generate_synthetic_images"]


if __name__ == "__main__":
    main()
