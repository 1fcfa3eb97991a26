# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Pictures of grids and clips: what they are drawn from, and that they can be read whatever the data are."""

import doctest
import json
import math

import numpy as np
import pytest

from clipbert.train_scripts import plots
from clipbert.train_scripts.engine import grid_pictures
from clipbert.train_scripts.engine.grid_pictures import draw_groups, draw_score_against_cost, group_regimes, style_of
from clipbert.train_scripts.engine.pictures import new_figure, save_figure
from clipbert.train_scripts.engine.predictions import Predictions
from clipbert.train_scripts.tasks.clip_pictures import draw_clip_strips, draw_counts, find_strips


def test_examples_of_the_docstrings():
    found = doctest.testmod(grid_pictures)
    assert found.attempted and not found.failed


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved, with what is in them."""
    pytest.importorskip("matplotlib", reason='pictures need matplotlib: pip install "clipbert[plots]"')
    from matplotlib.figure import Figure

    figures, save = [], Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, path, **how: (figures.append(self), save(self, path, **how))[1]
    )
    return figures


def labels_of(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def overlaps(figure, texts):
    """Pairs of neighbours of which one covers a part of the other."""
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    return sum(one.overlaps(other) for one, other in zip(boxes, boxes[1:], strict=False))


def is_inside(figure, artist):
    figure.draw_without_rendering()
    box, whole = artist.get_window_extent(), figure.bbox
    return box.x0 >= 0 and box.y0 >= 0 and box.x1 <= whole.width and box.y1 <= whole.height


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_same_figure_gives_the_same_bytes(drawn, tmp_path, suffix):
    written = []
    for folder in ("one", "two"):
        figure = new_figure(2, 2)
        figure.subplots().plot([0, 1], [0, 1], label="line")
        written.append(save_figure(figure, tmp_path / folder / f"picture.{suffix}").read_bytes())
    assert written[0] == written[1]


# ---------------------------------------------------------------------------------------------------------------------
# Cells
# ---------------------------------------------------------------------------------------------------------------------


def cell_of(name, settings=None, score=0.5, multiply_adds=2e9, minutes=3.0, **more):
    row = {"mean": score, "values": [score], "std": 0.1, **more}
    summary = {"scores": {"test": {"purpose": "final", "accuracy": row}}, "minutes": minutes}
    summary["per_video"] = {"multiply_adds": multiply_adds}
    return {"name": name, "recipe": None, "settings": settings or {}, "runs": [], "summary": summary}


FAILED = {
    "name": "failed",
    "recipe": None,
    "settings": {},
    "runs": [{"seed": 1, "state": "ValueError"}],
    "summary": {},
}


def test_a_regime_is_what_was_trained_in_one_way():
    cells = [
        cell_of(f"{name}_num_clips={count}", {"data.num_clips": trained, "eval.num_clips": count})
        for name, trained in (("sparse", 1), ("dense", 16))
        for count in (1, 16)
    ]
    named = [
        cell_of(f"pooled_{label}", {"eval.score_pooling": label, "data.num_clips": 2}) for label in ("max", "lse")
    ]
    regimes = group_regimes([*cells, *named, FAILED])
    assert {name: len(group) for name, group in regimes.items()} == {"sparse": 2, "dense": 2, "pooled": 2, "failed": 1}


def test_scores_stand_at_their_costs(drawn, tmp_path):
    cells = [cell_of("a_num_clips=1", {"eval.num_clips": 1}, 0.4, 1e9), FAILED, cell_of("nan", {"x": 1}, math.nan)]
    cells.insert(1, cell_of("a_num_clips=16", {"eval.num_clips": 16}, 0.6, 16e9, std=None, interval=[0.5, 0.8]))
    cells[1]["summary"]["scores"]["test"]["accuracy"].pop("std")
    draw_score_against_cost({"report": ["accuracy"], "cells": cells}, tmp_path / "cost.png")
    training, video = drawn[0].axes
    line = video.containers[0].lines[0]
    assert line.get_xdata().tolist() == [1.0, 16.0] and line.get_ydata().tolist() == [0.4, 0.6]
    (bars,) = video.containers[0].lines[2]
    assert np.allclose([path.vertices[:, 1] for path in bars.get_paths()], [[0.3, 0.5], [0.5, 0.8]])
    assert video.get_xscale() == "log" and training.get_xlabel() == "training and evaluation, minutes"
    assert labels_of(drawn[0]) == ["a", "failed (no score)", "nan (no score)"]
    assert not overlaps(drawn[0], video.get_xticklabels())


@pytest.mark.parametrize("number", [1, pytest.param(40, marks=pytest.mark.slow)])
def test_any_number_of_cells_can_be_told_apart(drawn, tmp_path, number):
    cells = [cell_of(f"$cell${n}_{'x' * n}", {"a": n}, 0.01 * n, (1 + n) * 1e9, 1 + n) for n in range(number)]
    draw_score_against_cost({"report": ["accuracy"], "cells": cells}, tmp_path / "cost.png")
    rows = [{f"accuracy_share={share}": 0.01 * n for share in (0.125, 1.0)} for n in range(number)]
    draw_groups(
        {cell["name"]: [row] for cell, row in zip(cells, rows, strict=True)}, "accuracy", tmp_path / "groups.png"
    )
    styles = [style_of(n) for n in range(number)]
    for other in ("linestyle", "fillstyle"):  # in black and white, too; a single point has no line
        assert len({(style["marker"], style[other]) for style in styles}) == number
    for figure in drawn:
        texts = figure.legends[0].get_texts()
        assert len(texts) == number and not overlaps(figure, texts) and is_inside(figure, figure.legends[0])
        assert not overlaps(figure, figure.axes[0].get_xticklabels())


def test_without_a_score_that_has_a_cost_there_is_no_picture(tmp_path):
    for cells in ([FAILED], [cell_of("nan", score=math.nan)], []):
        assert draw_score_against_cost({"report": ["accuracy"], "cells": cells}, tmp_path / "cost.png") is None
    assert draw_groups({"a": [{"accuracy": 0.5}], "failed": []}, "accuracy", tmp_path / "groups.png") is None
    assert not list(tmp_path.iterdir())


def test_groups_are_means_over_seeds(drawn, tmp_path):
    rows = [{"accuracy": 0.5, "accuracy_share=0.125": value, "accuracy_share=1.0": 0.9} for value in (0.2, 0.4)]
    rows[1]["accuracy_share=1.0"] = math.nan
    draw_groups({"model": rows, "failed": []}, "accuracy", tmp_path / "groups.png")
    (axes,) = drawn[0].axes
    line = axes.containers[0].lines[0]
    assert line.get_xdata().tolist() == [0.125, 1.0] and line.get_ydata() == pytest.approx([0.3, 0.9])
    assert axes.get_xlabel() == "share" and [text.get_text() for text in axes.get_xticklabels()] == ["0.125", "1"]
    assert labels_of(drawn[0]) == ["model", "failed (no score)"]


def test_one_command_draws_a_grid_with_costs_and_groups(drawn, tmp_path):
    cells = [cell_of("a_num_clips=1", {"eval.num_clips": 1}), FAILED]
    scores = {"test": {"purpose": "final", "metrics": {"accuracy": 0.5, "accuracy_share=0.5": 0.25}}}
    cells[0]["runs"] = [{"seed": 1, "scores": scores, "curve": []}]
    table = {"metric": "accuracy", "report": ["accuracy"], "cells": cells, "baselines": {}}
    (tmp_path / "table.json").write_text(json.dumps(table))
    names = [path.name for path in plots.main([str(tmp_path)])]
    assert names == ["cells.png", "cell_curves.png", "cost.png", "groups.png"]


# ---------------------------------------------------------------------------------------------------------------------
# Clips
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def two_videos(write_video, tmp_path):
    """Scores of four clips for three texts; the file of the second video is gone, its last clip does not exist."""
    path = write_video(tmp_path / "first.mp4", num_frames=24, fps=8)
    logits = np.zeros((3, 2, 4, 1), dtype=np.float32)
    logits[:, 0, :, 0] = [[0, 3, -1, 0], [1, 1, 1, np.nan], [0, 0, 0, 5]]
    seconds = np.arange(16, dtype=np.float64).reshape(2, 4, 2) / 4
    rows = [{"video_id": video, "caption": f"${video}$\x1b[31m"} for video in ("a", "a", "b")]
    info = {"video_ids": ["a", "b"], "videos": [str(path), str(tmp_path / "gone.mp4")], "score_pooling": "mean"}
    return Predictions("retrieval", rows, {"clip_logits": logits, "frame_seconds": seconds}, info)


def test_strips_show_what_each_clip_says(two_videos, drawn, tmp_path):
    first, second = find_strips(two_videos, 6)  # none of the video that is gone
    assert first["scores"].tolist() == [0, 3, -1, 0] and first["pooled"] == 0.5 and first["label"] == "log-odds"
    assert first["spans"].tolist() == [[0.0, 0.25], [0.5, 0.75], [1.0, 1.25], [1.5, 1.75]]
    assert len(second["scores"]) == 3
    assert len(list(find_strips(two_videos, 1))) == 1
    draw_clip_strips(two_videos, tmp_path / "strips.png", "title")
    pictures, bars = drawn[0].axes[:2]
    assert [bar.get_height() for bar in bars.patches] == [0, 3, -1, 0]
    assert [bar.get_facecolor()[0] < 0.5 for bar in bars.patches] == [False, True, False, False]
    shown = [image.get_array()[0, 0, 0] for image in pictures.images]
    assert len(shown) == 4 and shown == sorted(shown)  # brighter from frame to frame
    assert pictures.get_title(loc="left") == r'"$a$\x1b[31m"'
    assert not overlaps(drawn[0], bars.get_xticklabels())


def test_many_clips_are_thinned_out(two_videos, drawn, tmp_path):
    tensors = two_videos.tensors
    tensors["clip_logits"] = np.repeat(tensors["clip_logits"], 10, axis=2)
    tensors["frame_seconds"] = np.linspace(0, 2.5, 160).reshape(2, 40, 2) / 2
    draw_clip_strips(two_videos, tmp_path / "strips.png")
    assert len(drawn[0].axes[1].patches) == 16 and not overlaps(drawn[0], drawn[0].axes[1].get_xticklabels())


@pytest.mark.parametrize("missing", ["several clips", "times", "files", "scores"])
def test_without_several_clips_times_and_files_there_are_no_strips(two_videos, tmp_path, missing):
    tensors = two_videos.tensors
    if missing == "several clips":
        tensors.update({name: values[:, :1] for name, values in tensors.items() if name == "frame_seconds"})
    elif missing == "times":
        tensors["frame_seconds"] = np.full((2, 4, 2), np.nan)
    elif missing == "files":
        two_videos.info["videos"] = [None, None]
    else:
        del tensors["clip_logits"]
    assert draw_clip_strips(two_videos, tmp_path / "strips.png") is None


@pytest.mark.parametrize(
    ("mode", "more", "expected", "label"),
    [
        ("open", {"gold": "yes", "prediction": "no"}, [0.5, 1 / (1 + math.e)], "probability"),
        ("open", {"gold": "not known", "prediction": "no"}, [0.5, math.e / (1 + math.e)], "probability"),
        (
            "multiple_choice",
            {"gold": 1, "prediction": 0, "options": ["a", "b"]},
            [0.5, 1 / (1 + math.e)],
            "probability",
        ),
        ("count", {"gold": 3, "prediction": 2}, [0.0, 1.0], "count"),
    ],
)
def test_strips_of_questions_show_the_right_answer(two_videos, mode, more, expected, label):
    logits = np.array([[[0, 0], [1, 0]]], dtype=np.float32)  # (texts, clips, labels)
    logits = logits.transpose(2, 1, 0) if mode == "multiple_choice" else logits[..., :1] if mode == "count" else logits
    info = {**two_videos.info, "answer": mode, "answers": ["no", "yes"]}
    rows = [{"video_id": "a", "question": "is it?", **more}]
    tensors = {
        "clip_logits": np.ascontiguousarray(logits),
        "frame_seconds": two_videos.tensors["frame_seconds"][:, :2],
    }
    (strip,) = find_strips(Predictions("question_answering", rows, tensors, info), 3)
    assert strip["scores"] == pytest.approx(expected) and strip["label"] == label


def curve_of(pooling, is_flat=False, num_videos=9):
    rows = [
        {"num_clips": count, "score": 0.1 * count, "interval": [0.05 * count, 0.2 * count], "draws": None}
        for count in (1, 2, 4)
    ]
    rows[2]["draws"] = {"mean": 0.3, "std": 0.1, "count": 3}
    more = {"knee": 2, "best": 4, "is_flat": is_flat, "num_videos": num_videos}
    return {"pooling": pooling, "metric": "accuracy", "rows": rows, **more}


def test_the_curve_shows_intervals_and_the_knee(drawn, tmp_path):
    result = {"checkpoint": "outputs/$run$", "split": "test", "curves": [curve_of("mean"), curve_of("lse")]}
    (tmp_path / "clips_needed.json").write_text(json.dumps(result))
    assert [path.name for path in plots.main([str(tmp_path)])] == ["clips_needed.png"]
    (axes,) = drawn[0].axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["pooled by mean", "pooled by lse", "random clips, mean: mean ± std", "knee: 2 clips"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "2", "4"]
    assert is_inside(drawn[0], axes.get_legend())


@pytest.mark.parametrize("curve", [curve_of("mean", is_flat=True), curve_of("mean", num_videos=1)])
def test_without_a_knee_none_is_drawn(drawn, tmp_path, curve):
    curve["rows"][0] |= {"interval": None, "score": math.nan}
    draw_counts({"checkpoint": "run", "split": "test", "curves": [curve]}, tmp_path / "needed.png")
    assert not any("knee" in text.get_text() for text in drawn[0].axes[0].get_legend().get_texts())
    assert ("flat" in drawn[0].get_suptitle()) == curve["is_flat"]
