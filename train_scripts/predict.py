# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Name what videos show, with any classifier that video_classification.py has trained.

Run:     python train_scripts/predict.py --checkpoint outputs/RUN my_videos clip.mp4
         python train_scripts/predict.py --checkpoint outputs/RUN --windows 10 --picture labels.png long.mp4
         python train_scripts/predict.py --checkpoint outputs/RUN --classes "a dog runs,a cat sleeps" my_videos

`--checkpoint` is the folder of a run, whose best checkpoint is taken, a folder with a checkpoint, or a name on the Hub.
Videos are files, or folders with all that lies below them; those that cannot be decoded are named at the end. With
`--windows` a video is cut into parts of so many seconds, one after the other, so its length does not matter. A model that
reads the names of classes (Mug-STAN, also one trained by retrieval.py) takes any others by `--classes`, untrained.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clipbert.datasets_scripts.building.media import find_videos
from clipbert.processing import VideoDecodeError
from clipbert.support.terminal import printable
from clipbert.train_scripts.tasks.classification.prediction import VideoClassifier, read_class_names


def predict(classifier: VideoClassifier, paths: Sequence[Path], seconds: float | None) -> Iterator[dict[str, Any]]:
    """
    What videos show, one by one.

    Returns (one for each video):
        `dict`: `video`, and `probabilities` of the classes, the most probable first; with `seconds` `windows`, each with
        `start_s`, `end_s` and `probabilities`; `error` if it cannot be decoded.
    """
    for path in paths:
        found: dict[str, Any] = {"video": str(path)}
        try:
            if seconds is None:
                found["probabilities"] = classifier.classify(str(path))
            else:
                found["windows"] = [asdict(span) for span in classifier.classify_windows(str(path), seconds)]
        except VideoDecodeError as error:
            found["error"] = str(error)
        yield found


def describe(found: dict[str, Any], top: int) -> str:
    """The labels of a video in words, those of windows as a table."""
    if "error" in found:
        return f"left out: {printable(found['error'])}"
    if "windows" not in found:
        return f"{printable(found['video'])}: {show_labels(found['probabilities'], top)}"
    lines = [
        f"  {span['start_s']:9.1f} to {span['end_s']:9.1f} s   {show_labels(span['probabilities'], top)}"
        for span in found["windows"]
    ]
    return "\n".join([printable(found["video"]), *lines])


def show_labels(probabilities: dict[str, float], top: int) -> str:
    best = list(probabilities.items())[:top]
    return ", ".join(f"{printable(str(name))} {share:.1%}" for name, share in best)


def draw(found: dict[str, Any], picture: Path) -> None:
    """The labels along a video as a picture, for which matplotlib is needed."""
    from clipbert.train_scripts.tasks.classification.pictures import draw_timeline

    best = [next(iter(span["probabilities"].items())) for span in found["windows"]]
    windows = [
        {**span, "label": name, "score": share} for span, (name, share) in zip(found["windows"], best, strict=True)
    ]
    draw_timeline(windows, picture, found["video"])


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", type=Path, metavar="VIDEO", help="files, or folders of videos")
    parser.add_argument(
        "--checkpoint", required=True, help="a run, a checkpoint or a Hub name: a classifier of videos"
    )
    parser.add_argument(
        "--classes", metavar="NAMES", help="names with commas between them, or a file with one a line, to choose from"
    )
    parser.add_argument("--template", metavar="TEXT", help='with --classes: the text around a name, "a video of {}"')
    parser.add_argument("--top", type=int, default=3, metavar="N", help="classes to show (default: 3)")
    parser.add_argument("--windows", type=float, metavar="SECONDS", help="label parts of so many seconds")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="with --windows, of one video: draw the labels")
    parser.add_argument("--json", action="store_true", help="print one line of JSON a video, with all classes")
    given = parser.parse_args(arguments)
    if given.windows is not None and not given.windows > 0:
        parser.error(f"--windows: expected more than 0 seconds, got {given.windows:g}")
    if given.top < 1:
        parser.error(f"--top: expected at least 1, got {given.top}")
    if given.template is not None and given.classes is None:
        parser.error("--template: is the text around the names of --classes; give --classes NAMES, too")
    if given.picture and given.windows is None:
        parser.error("--picture: draws the labels of windows; give --windows SECONDS, too")
    return given


def main(arguments: Sequence[str] | None = None) -> list[dict[str, Any]]:
    given = parse_arguments(arguments)
    try:
        paths = [path for place in given.videos for path in find_videos(place)]
    except FileNotFoundError as error:
        raise SystemExit(printable(str(error))) from error
    if given.picture and len(paths) > 1:
        raise SystemExit(f"--picture: draws one video, got {len(paths)}.")
    try:
        classifier = VideoClassifier.from_checkpoint(given.checkpoint, reads_names=given.classes is not None)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise SystemExit(f"--checkpoint {printable(given.checkpoint)}: {printable(reason)}") from error
    if given.classes is not None:
        try:
            classifier.set_classes(read_class_names(given.classes), given.template)
        except (OSError, ValueError) as error:
            raise SystemExit(f"--classes: {printable(str(error))}") from error
    results = []
    for found in predict(classifier, paths, given.windows):
        print(json.dumps(found) if given.json else describe(found, given.top), flush=True)
        results.append(found)
    if given.picture and "windows" in results[0]:
        try:
            draw(results[0], given.picture)
        except ImportError as error:  # the extra `plots`
            raise SystemExit(f"--picture: {error}") from error
        print(printable(str(given.picture)), file=sys.stderr)
    return results


if __name__ == "__main__":
    sys.exit(any("error" in found for found in main()))
