# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Do explanations tell what a model looks at? Pictures with two objects and a sentence about each, and captions of unseen videos.

Run:     python -m benchmarks.explanations --checkpoint outputs/quickstart     (after `make quickstart`; minutes on one core)

That the strongest place lies on the only object of a plain picture says nothing: attributions against the median colour lie nowhere else. With
two objects, one of which a sentence names, the place has to follow the sentence. And the strongest places and words, taken away first, have to
lower the score faster than random ones do. Both are asked of the checkpoint, and of the same model with random weights.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.measure import describe_machine
from clipbert.datasets_scripts.synthetic.evidence import at_rest
from clipbert.datasets_scripts.synthetic.rendering import Canvas
from clipbert.datasets_scripts.synthetic.scenes import ONE_LARGE_OBJECT, Act, Scene
from clipbert.explanations import explain, picture_of, subject_of
from clipbert.explanations.attribution import NUM_CELLS, delete_places, median_colour
from clipbert.loading import load_pipeline
from clipbert.train_scripts.engine.resampling import interval, resample_means


RADIUS = 0.2  # of an object, in widths of the picture
CENTRES = (0.27, 0.73)


def draw_pairs(number: int, size: int, seed: int) -> list[tuple[Image.Image, list[tuple[str, tuple[float, float]]]]]:
    """Pictures of two objects of different colours and shapes, with a sentence about each, and where it is."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(number):
        colors, shapes = (
            rng.choice(ONE_LARGE_OBJECT[name], 2, replace=False).tolist() for name in ("colors", "shapes")
        )
        background = str(rng.choice(ONE_LARGE_OBJECT["backgrounds"]))
        scenes = [
            Scene(shape, 1, "", background, "", (Act("", color),)) for color, shape in zip(colors, shapes, strict=True)
        ]
        centres = [(x, float(rng.uniform(0.3, 0.7))) for x in rng.permutation(CENTRES).tolist()]
        objects = [(scene, at_rest(*centre, RADIUS)) for scene, centre in zip(scenes, centres, strict=True)]
        (picture,) = Canvas(background, size, rng).paint(objects, 1)
        sentences = [f"a {color} {shape}" for color, shape in zip(colors, shapes, strict=True)]
        found.append((Image.fromarray(picture), list(zip(sentences, centres, strict=True))))
    return found


def follows(pipe: Any, picture: Image.Image, named: Sequence[tuple[str, tuple[float, float]]], seed: int) -> bool:
    """Whether the strongest place lies on the object that a sentence names, for each of the two."""
    for sentence, (x, y) in named:
        subject = subject_of(pipe, {"image": picture}, candidate_texts=[sentence])
        places = explain(subject, picture_of(pipe.video_processor), seed=seed).places.sum(0)
        row, column = np.unravel_index(int(places.argmax()), places.shape)
        if np.hypot((column + 0.5) / places.shape[1] - x, (row + 0.5) / places.shape[0] - y) > RADIUS:
            return False
    return True


def measure_deletion(pipe: Any, pairs: Sequence[Any]) -> dict[str, list[tuple[float, float, float]]]:
    """
    The area under deletions of both sentences of each picture: mean and interval (bootstrap over pictures) of the strongest first, in random
    orders, and of places in random orders of what differs from the median colour.
    """
    areas: dict[str, list[list[float]]] = {"places": [], "words": []}
    for number, (picture, named) in enumerate(pairs):
        of_picture: dict[str, list[list[float]]] = {name: [] for name in areas}
        for sentence, _ in named:
            subject = subject_of(pipe, {"image": picture}, candidate_texts=[f"there is {sentence}"])
            found, rng = explain(subject, picture_of(pipe.video_processor), seed=number), np.random.default_rng(number)
            with torch.no_grad():
                plain = delete_places(subject, median_colour(subject.pixels), found.places, rng, is_weighed=False)
            places, words = found.deletion["places"], found.deletion["words"]
            of_picture["places"].append([plain.area, plain.random_areas.mean(), places.random_areas.mean()])
            of_picture["words"].append([words.area, words.random_areas.mean()])
        for name, rows in of_picture.items():
            areas[name].append(np.mean(rows, axis=0).tolist())
    found = {}
    for name, rows in areas.items():
        values = np.array(rows)
        means = resample_means(values, np.arange(len(values)))
        found[name] = [(float(values[:, n].mean()), *interval(means[:, n])) for n in range(values.shape[1])]
    return found


def with_random_weights(pipe: Any, seed: int) -> Any:
    """The same pipeline, whose model has learnt nothing."""
    torch.manual_seed(seed)
    pipe.model = type(pipe.model)(pipe.model.config).eval()
    return pipe


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="outputs/quickstart", help="of retrieval, trained on generated videos")
    parser.add_argument("--number", type=int, default=56, help="pictures")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    pairs = draw_pairs(given.number, 96, given.seed)
    print(*(f"- {line}" for line in describe_machine("cpu")), sep="\n", end="\n\n")
    print(
        "| weights | both objects followed | places: strongest first | at random | at random, of what is shown | words: strongest first | at random |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in ("trained", "random"):
        pipe = load_pipeline(given.checkpoint, device="cpu")
        pipe = pipe if name == "trained" else with_random_weights(pipe, given.seed)
        share = np.mean([follows(pipe, picture, named, n) for n, (picture, named) in enumerate(pairs)])
        found = measure_deletion(pipe, pairs)
        cells = ["{:.2f} ({:.2f} to {:.2f})".format(*area) for areas in found.values() for area in areas]
        print(f"| {name} | {share:.0%} of {len(pairs)} | {' | '.join(cells)} |", flush=True)
    print(
        f"\nFollowed: the strongest of {NUM_CELLS} x {NUM_CELLS} cells lies on the object that the sentence names, for both sentences of a picture. The others: "
        "the mean score while parts are taken away, the lower, the faster it falls; of what is shown: cells come the earlier the more they differ "
        f"from the median colour. Means of {len(pairs)} pictures with two sentences each, 95 % intervals."
    )


if __name__ == "__main__":
    main()
