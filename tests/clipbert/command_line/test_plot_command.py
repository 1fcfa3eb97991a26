# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""`clipbert plot`: pictures have the values of the files that they are made of, and the same input gives the same bytes."""

import json

import numpy as np
import pytest
from numbered_videos import write_numbered
from safetensors.numpy import save_file

from clipbert.explanations.sampling import sampling_of
from clipbert.processing import ClipBERTVideoProcessor
from clipbert.train_scripts.engine.pictures import curves_of
from clipbert.train_scripts.engine.run_files import read_run


pytest.importorskip("matplotlib")


def write_run(folder, losses):
    """The log of a run with an evaluation in the middle and one at the end."""
    folder.mkdir()
    rows = [{"step": n, "epoch": n / 4, "lr": 0.1 * n, "loss": loss} for n, loss in enumerate(losses, start=1)]
    rows.insert(
        2, {"step": 2, "split": "validation", "purpose": "tuning", "metrics": {"accuracy": 0.25, "num_examples": 4}}
    )
    rows.append(
        {
            "step": len(losses),
            "split": "validation",
            "purpose": "tuning",
            "metrics": {"accuracy": 0.5, "num_examples": 4},
        }
    )
    rows.append(
        {"step": len(losses), "split": "test", "purpose": "final", "metrics": {"accuracy": 0.75, "num_examples": 4}}
    )
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def write_predictions(folder, odds, task="retrieval"):
    videos = [f"v{n}" for n in range(odds.shape[1])]
    rows = [{"caption": f"text {n}", "video_id": video} for n, video in enumerate(videos)]
    folder.mkdir(parents=True)
    info = {"video_ids": videos, "score_pooling": "mean"}
    (folder / "records.json").write_text(json.dumps({"task": task, "step": 1, "metrics": {}, **info, "rows": rows}))
    save_file({"log_odds": odds}, folder / "tensors.safetensors")
    return folder


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_numbered(tmp_path_factory.mktemp("video") / "film <b>$x.mp4", 40)


def test_the_frames_that_are_drawn_are_those_that_a_processor_takes(video):
    processor = ClipBERTVideoProcessor(size=32, num_clips=3, num_frames=2)
    found = sampling_of(str(video), processor, num_clips=4)
    taken = processor([str(video)], num_clips=4, return_metadata=True)
    assert [row.tolist() for row in found.frame_indices] == taken["frame_indices"][0].tolist()
    assert len(found.pictures) == len(np.unique(np.concatenate(found.frame_indices))) and found.key_frames_s[0] == 0
    assert all(np.all(np.diff(seconds) > 0) and seconds[-1] < found.duration_s for seconds in found.clips)


def test_curves_have_the_values_of_the_log(tmp_path):
    runs = {
        "a": read_run(write_run(tmp_path / "a", [3.0, 2.0, 1.0])),
        "b": read_run(write_run(tmp_path / "b", [5.0, 4.0])),
    }
    assert curves_of(runs) == {
        "loss": {"a": ([1, 2, 3], [3.0, 2.0, 1.0]), "b": ([1, 2], [5.0, 4.0])},
        "lr": {"a": ([1, 2, 3], [0.1, 0.2, 0.1 * 3]), "b": ([1, 2], [0.1, 0.2])},
        "validation accuracy": {"a": ([2, 3], [0.25, 0.5]), "b": ([2, 2], [0.25, 0.5])},
    }


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_each_kind_is_drawn_and_the_same_input_gives_the_same_bytes(clipbert, video, tmp_path, suffix):
    odds = np.random.default_rng(0).normal(size=(5, 5)).astype(np.float32)
    odds[3] = np.nan  # could not be decoded
    places = {
        "sampling": (video, "--num_clips", "9"),
        "runs": (write_run(tmp_path / "<b>$x", [3.0, 2.0, 1.0]), write_run(tmp_path / "other", [1.0])),
        "matrix": (write_predictions(tmp_path / "run/predictions/test", odds),),
    }
    for kind, words in places.items():
        drawn = []
        for turn in ("first", "second"):
            path = tmp_path / turn / f"{kind}{suffix}"
            code, rows, errors = clipbert("plot", kind, *words, "--output", path)
            assert (code, rows, errors) == (0, [{"picture": str(path)}], "")
            drawn.append(path.read_bytes())
        assert drawn[0] == drawn[1] and len(drawn[0]) > 2000 and (suffix == ".png" or b"<b>" not in drawn[0])


def test_what_cannot_be_drawn_is_said(clipbert, video, tmp_path):
    run = write_run(tmp_path / "run", [1.0])
    answers = write_predictions(tmp_path / "answers", np.zeros((2, 2), np.float32), "question_answering")
    for expected, words in {
        "ends in .png or .svg": ("runs", run, "--output", tmp_path / "a.gif"),
        "expected one PLACE, got 2": ("sampling", video, video, "--output", tmp_path / "a.png"),
        "are of sampling, not of runs": ("runs", run, "--num_clips", "2", "--output", tmp_path / "a.png"),
        "is no folder of a run": ("runs", tmp_path, "--output", tmp_path / "a.png"),
        "expected a folder of predictions": ("matrix", run, "--output", tmp_path / "a.png"),
        "expected predictions of retrieval, got those of question_answering": (
            "matrix",
            answers,
            "--output",
            tmp_path / "a.png",
        ),
        "num_clipz": ("sampling", video, "--set", "num_clipz=2", "--output", tmp_path / "a.png"),
    }.items():
        code, rows, errors = clipbert("plot", *words)
        assert (code, rows) == (2, []) and expected in errors, errors
    code, rows, errors = clipbert("plot", "sampling", tmp_path / "none.mp4", "--output", tmp_path / "a.png")
    assert (code, rows) == (1, []) and "none.mp4" in errors
    assert not (tmp_path / "a.png").exists()
