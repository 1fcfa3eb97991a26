# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Pictures of runs: what they are drawn from, and that they can be read whatever the data are."""

import json
import shutil
import sys

import numpy as np
import pytest

from clipbert.train_scripts import plots
from clipbert.train_scripts.engine.pictures import PicturesError, draw_curves, shorten
from clipbert.train_scripts.engine.predictions import Evaluation, Predictions, write_predictions
from clipbert.train_scripts.engine.run_files import RunFiles, read_run
from clipbert.train_scripts.tasks.classification import pictures
from clipbert.train_scripts.tasks.classification.measures import CLASSES, describe_classes


NAMES = ["Archery", "Punch $100$", "cello\x1b[31m"]


def write_run(folder, num_steps=6):
    """The files of a run that has been evaluated after every second step, and was stopped in a line."""
    rows, costs = [], []
    for step in range(1, num_steps + 1):
        rows.append({"step": step, "epoch": step / 2, "loss": 1 / step, "accuracy": 0.1 * step, "grad_norm": 1.0})
        rows[-1] |= {"wait_s": 0.1, "lr": 0.1 / step, "step_s": 2.0}
        if step % 2 == 0:
            metrics = {"accuracy": 0.9 - 0.1 * abs(step - 4), "chance_accuracy": 0.5, "loss": 0.5, "num_examples": 4}
            rows.append({"step": step, "split": "validation", "purpose": "tuning", "metrics": metrics})
            costs += [
                {"step": step, "split": "validation", "seconds": seconds, "peak_memory": 100 * step}
                for seconds in (9, 3)
            ]
    final = {"step": 4, "split": "test", "purpose": "final", "metrics": {"accuracy": 0.5, "num_examples": 10}}
    rows, costs = [*rows, final], [*costs, {"step": 4, "split": "test", "seconds": 1.5, "peak_memory": 50}]
    costs[-1]["operations"] = {"view": None}
    folder.mkdir(exist_ok=True)
    for name, lines in (("log.jsonl", rows), ("costs.jsonl", costs)):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in lines) + '{"step": 7, "ep')
    splits = {row["split"]: row for row in rows if "split" in row and row["step"] == 4}
    (folder / "results.json").write_text(json.dumps({"splits": splits}))
    return folder


def write_classes(folder):
    logits = np.eye(3, dtype=np.float32)[[0, 1, 1, 2, 0]]
    gold = [0, 1, 2, None, 1]
    rows = [{"video_id": str(n), "gold": g, "skipped": "no frames" if n == 4 else ""} for n, g in enumerate(gold)]
    found = Predictions("classification", rows, {"logits": logits}, {"class_names": NAMES})
    found = Evaluation({"accuracy": 0.5}, found, {CLASSES: describe_classes(found)})
    write_predictions(folder / "predictions" / "test", 4, found)


def test_a_run_is_known_by_its_files(tmp_path):
    run = read_run(write_run(tmp_path / "run"))
    assert len(run.steps) == 6 and run.best_step == 4  # the line that was cut short is none
    first, second, third = run.curve()
    assert (first["step"], first["epoch"], first["lr"]) == (2, 1.0, 0.05)
    assert second["training"] == {"loss": pytest.approx((1 / 3 + 1 / 4) / 2), "accuracy": pytest.approx(0.35)}
    assert [point["validation"]["accuracy"] for point in (first, second, third)] == pytest.approx([0.7, 0.9, 0.7])
    cost = run.cost()
    assert cost["minutes"] == pytest.approx((6 * 2 + 3 * 3 + 1.5) / 60) and cost["peak_memory"] == 600
    assert cost["ms_per_example"] == pytest.approx(150)  # of the test split
    assert cost["ms_per_step"] == pytest.approx(1900) and cost["operations"] == {"view": None}
    with pytest.raises(FileNotFoundError, match="it has no log.jsonl"):
        read_run(tmp_path)


def test_without_matplotlib_a_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(PicturesError, match=r'pip install "clipbert\[plots\]"'):
        plots.main([str(write_run(tmp_path / "run"))])


# ---------------------------------------------------------------------------------------------------------------------
# Drawn
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved, with what is in them."""
    pytest.importorskip("matplotlib", reason='pictures need matplotlib: pip install "clipbert[plots]"')
    from matplotlib.figure import Figure

    figures, save = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, path: (figures.append(self), save(self, path))[1])
    return figures


def texts_of(axes):
    return [text.get_text() for text in axes.texts]


def overlaps(figure, texts):
    """Pairs of texts of which one covers a part of the other."""
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    return sum(one.overlaps(other) for one, other in zip(boxes, boxes[1:], strict=False))


def test_one_command_draws_a_run(drawn, tmp_path, capsys):
    write_classes(write_run(tmp_path / "run"))
    written = plots.main([str(tmp_path / "run")])
    assert [path.name for path in written] == ["curves.png", "test_confusions.png", "test_classes.png"]
    assert all(path.stat().st_size > 5000 and path.parent == tmp_path / "run" / "pictures" for path in written)
    assert capsys.readouterr().out.count(".png") == 3
    losses, scores, rates = drawn[0].axes
    chosen = [line for line in scores.lines if line.get_label() == "chosen checkpoint"]
    assert chosen[0].get_xdata() == [2.0, 2.0]  # step 4
    labels = [line.get_label() for line in scores.lines]
    assert labels == ["training accuracy", "validation accuracy", "chosen checkpoint"]
    assert rates.lines[0].get_ydata()[-1] == pytest.approx(0.1 / 6)
    assert [text.get_text() for text in drawn[1].axes[0].get_yticklabels()] == [NAMES[0], NAMES[1], r"cello\x1b[31m"]
    assert texts_of(drawn[1].axes[0]) == ["1", "1", "1"]  # without what has no class, and what could not be decoded


def test_a_run_that_only_evaluated_has_no_curves(drawn, tmp_path, capsys):
    write_classes(write_run(tmp_path, num_steps=0))
    assert [path.name for path in plots.main([str(tmp_path)])] == ["test_confusions.png", "test_classes.png"]
    shutil.rmtree(tmp_path / "predictions")
    capsys.readouterr()
    assert plots.main([str(tmp_path)]) == [] and "no training step to draw" in capsys.readouterr().out


def test_a_rate_that_falls_to_nothing_leaves_its_axis_legible(drawn, tmp_path):
    run = read_run(write_run(tmp_path / "run"))
    run.steps[-1]["lr"] = 1e-12
    draw_curves(run, tmp_path / "curves.png")
    assert drawn[0].axes[2].get_ylim()[0] == pytest.approx(0.1 / 1e4)


def test_no_two_scores_of_a_split_look_alike(drawn, tmp_path):
    run = read_run(write_run(tmp_path / "run"))
    names = ["accuracy", "top5_accuracy", "mean_class_accuracy", "macro_f1"]
    for row in run.evaluations:
        row["metrics"] = dict.fromkeys(names, 0.5)
    draw_curves(run, tmp_path / "curves.png")
    lines = [line for line in drawn[0].axes[1].lines if line.get_label().startswith("validation")]
    assert len({(line.get_linestyle(), line.get_marker()) for line in lines}) == len(names)


def test_a_run_that_is_not_finished_can_be_drawn(drawn, tmp_path):
    draw_curves(RunFiles(tmp_path), tmp_path / "nothing.png")
    run = read_run(write_run(tmp_path / "run"))
    run.results = {}
    draw_curves(run, tmp_path / "curves.png")
    assert "chosen checkpoint" not in [line.get_label() for line in drawn[1].axes[1].lines]


@pytest.mark.parametrize("num_classes", [1, 5, pytest.param(101, marks=pytest.mark.slow)])
def test_classes_can_be_read_however_many_there_are(drawn, tmp_path, num_classes):
    names = [f"Class{number:03}WithALongName{'x' * (number % 40)}" for number in range(num_classes)]
    counts = np.random.default_rng(0).poisson(0.1, (num_classes, num_classes)) + 30 * np.eye(num_classes, dtype=int)
    counts[0] = 0  # a class that does not occur
    pictures.draw_confusions(counts, names, tmp_path / "confusions.png")
    pictures.draw_class_accuracy(counts, names, tmp_path / "classes.png")
    confusions, classes = (figure.axes[0] for figure in drawn)
    assert sorted(map(int, texts_of(confusions))) == sorted(counts[counts > 0].tolist())
    assert [text.get_text() for text in confusions.get_yticklabels()] == list(map(shorten, names))
    assert not overlaps(drawn[0], confusions.get_yticklabels()) and not overlaps(
        drawn[0], confusions.get_xticklabels()
    )
    shown = [text.get_text() for text in classes.get_yticklabels()]
    assert len(shown) == num_classes - 1 and not overlaps(drawn[1], classes.get_yticklabels())
    assert len(texts_of(classes)) == num_classes - 1


def test_confusions_of_very_many_classes_are_colours_alone(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "MOST_COUNTED", 2)
    pictures.draw_confusions(np.eye(3, dtype=int), ["a", "b", "c"], tmp_path / "confusions.png")
    (axes,) = drawn[0].axes
    assert not texts_of(axes) and len(axes.images) == 1 and len(axes.get_yticklabels()) == 3


def test_labels_along_time(drawn, tmp_path):
    windows = [
        {"start_s": 0.0, "end_s": 2.0, "label": "Punch", "score": 0.9},
        {"start_s": 2.0, "end_s": 4.0, "label": "Archery", "score": 0.4},
        {"start_s": 4.0, "end_s": 125.0, "label": "Punch", "score": 1.0},
    ]
    pictures.draw_timeline(windows, tmp_path / "time.png", "a video.mp4")
    axes = drawn[0].axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["Punch", "Archery"]  # as they appear
    punch, archery = axes.collections
    assert [path.get_extents().bounds[::2] for path in punch.get_paths()] == [(0.0, 2.0), (4.0, 121.0)]
    assert [text.get_text() for text in axes.get_xticklabels()][:3] == ["0:00", "0:15", "0:30"]
    assert axes.get_xlim() == (0.0, 125.0)


def test_a_grid_is_drawn_with_what_is_finished_of_it(drawn, tmp_path):
    curve = [{"epoch": epoch, "validation": {"accuracy": epoch / 4}} for epoch in (1, 2)]
    score = {"mean": 0.5, "values": [0.4, 0.6], "interval": [0.3, 0.7]}
    scores = {"validation": {"purpose": "tuning", "accuracy": score}, "test": {"purpose": "final", "accuracy": score}}
    runs = [{"seed": seed, "scores": scores, "curve": curve} for seed in (1, 2)]
    failed = {"name": "failed", "runs": [{"seed": 1, "state": "ValueError"}], "summary": {}}
    found = {
        "metric": "accuracy",
        "report": ["accuracy"],
        "cells": [{"name": "first", "runs": runs, "summary": {"scores": scores}}, failed],
        "baselines": {"chance": {"test": {"accuracy": [0.2, 0.2]}}},
    }
    (tmp_path / "table.json").write_text(json.dumps(found))
    assert [path.name for path in plots.main([str(tmp_path)])] == ["cells.png", "cell_curves.png"]
    cells, panel = drawn[0].axes[0], drawn[1].axes[0]
    assert [text.get_text() for text in cells.get_yticklabels()] == ["first", "failed"]
    assert cells.get_xlabel() == "test accuracy" and len(panel.lines) == 2
