# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The command `plot`: pictures of what is sampled, of how runs have learnt, and of what they predict."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from clipbert.command_line.arguments import (
    Command,
    CommandParser,
    UsageError,
    add_checkpoint,
    add_json,
    add_processor,
    picture,
    read_settings,
)
from clipbert.command_line.opening import check_checkpoint, naming_options, open_video_processor
from clipbert.command_line.output import Output


def add_plot(parser: CommandParser) -> None:
    parser.add_argument("kind", choices=KINDS, metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("places", nargs="+", metavar="PLACE", help="a video; folders of runs; a folder of predictions")
    parser.add_argument("--output", type=picture, required=True, metavar="FILE", help="the picture, .png or .svg")
    of_sampling = parser.add_argument_group("of sampling")
    add_checkpoint(of_sampling, otherwise="four clips of two frames, evenly spread")
    add_processor(of_sampling)
    add_json(parser)


def run_plot(given: argparse.Namespace) -> int:
    """Draw one picture."""
    if given.kind != "runs" and len(given.places) > 1:
        raise UsageError(f"{given.kind}: expected one PLACE, got {len(given.places)}.")
    if given.kind != "sampling" and (given.checkpoint is not None or given.num_clips is not None or given.set):
        raise UsageError(f"--checkpoint, --num_clips and --set are of sampling, not of {given.kind}.")
    from clipbert.processing import VideoDecodeError
    from clipbert.train_scripts.engine.pictures import PicturesError

    with Output(given.json, unit=None) as output:
        try:
            with naming_options():
                path = KINDS[given.kind](given)
        except UsageError as error:
            if isinstance(error.__cause__, VideoDecodeError):
                output.fail(str(error))
                return output.exit_code
            raise
        except (FileNotFoundError, PicturesError) as error:
            raise UsageError(str(error)) from error
        output.write({"picture": str(path)}, lambda columns: [str(path)])
        return output.exit_code


def plot_sampling(given: argparse.Namespace) -> Path:
    """The frames that are taken of a video."""
    from clipbert.explanations.sampling import draw_sampling, sampling_of

    settings = read_settings(given)
    if given.checkpoint is not None:
        check_checkpoint(given.checkpoint)
    found = sampling_of(given.places[0], open_video_processor(given, settings))
    return draw_sampling(found, given.output, given.places[0])


def plot_runs(given: argparse.Namespace) -> Path:
    """The curves of one run or several."""
    from clipbert.train_scripts.engine.pictures import draw_runs
    from clipbert.train_scripts.engine.run_files import read_run

    return draw_runs({place: read_run(place) for place in dict.fromkeys(given.places)}, given.output)


def plot_matrix(given: argparse.Namespace) -> Path:
    """The scores of texts and videos."""
    from clipbert.train_scripts.tasks.retrieval.measures import compute_match_odds
    from clipbert.train_scripts.tasks.retrieval.pictures import draw_matrix

    found = read_predictions_of(given, "retrieval")
    is_pooled = "clip_logits" not in found.tensors
    odds = found.tensors.get("log_odds") if is_pooled else compute_match_odds(found).numpy()
    if odds is None:
        raise ValueError(f"{given.places[0]}: it keeps ranks, and no score of every text with every video.")
    columns = {video_id: number for number, video_id in enumerate(found.info["video_ids"])}
    owners = [columns.get(row["video_id"], -1) for row in found.rows]
    return draw_matrix(odds, owners, given.output, given.places[0])


def plot_moments(given: argparse.Namespace) -> Path:
    """Answers beside the right moments."""
    from clipbert.train_scripts.tasks.moment_retrieval.pictures import draw_sheet

    path = draw_sheet(read_predictions_of(given, "moment_retrieval").rows, given.output, given.places[0])
    if path is None:
        raise ValueError(f"{given.places[0]}: the videos of its answers are not where they were.")
    return path


def read_predictions_of(given: argparse.Namespace, task: str):
    """The predictions of a split."""
    from clipbert.train_scripts.engine.predictions import RECORDS, read_predictions

    folder = Path(given.places[0])
    if not (folder / RECORDS).is_file():
        raise FileNotFoundError(
            f"{folder}: expected a folder of predictions (outputs/RUN/predictions/SPLIT): it has no {RECORDS}."
        )
    name = json.loads((folder / RECORDS).read_text(encoding="utf-8")).get("task")
    if name != task:
        raise ValueError(f"{folder}: expected predictions of {task}, got those of {name}.")
    return read_predictions(folder)


KINDS: dict[str, Callable[[argparse.Namespace], Path]] = {
    "sampling": plot_sampling,
    "runs": plot_runs,
    "matrix": plot_matrix,
    "moments": plot_moments,
}
PLOT = Command(
    "pictures of what is sampled, how runs have learnt, and what they predict",
    """  clipbert plot sampling film.mp4 --checkpoint outputs/quickstart --output sampling.png
  clipbert plot runs outputs/one outputs/other --output curves.png
  clipbert plot matrix outputs/quickstart/predictions/test --output matrix.png
  clipbert plot moments outputs/moments/predictions/test --output moments.png""",
    add_plot,
    run_plot,
)

__all__ = ["PLOT"]
