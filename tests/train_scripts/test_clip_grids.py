# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The table and the picture of a grid whose runs have been asked how many clips they need."""

import json
import statistics

import pytest

from clipbert.train_scripts import clips_needed
from clipbert.train_scripts.tasks.clip_grids import describe_clips, summarise_clips
from clipbert.train_scripts.tasks.clip_pictures import draw_clips


METRIC = "text_to_video_R@1"
GROUPS = (f"{METRIC}_evidence=always", f"{METRIC}_evidence=eighth")


def write_run(folder, score, counts=(1, 2, 16), metric=METRIC, is_counted=True, draws=True):
    """What `clips_needed.py` leaves in the folder of a run; with more clips the score grows."""
    rows = []
    for count in counts:
        metrics = {metric: score + count / 100, GROUPS[0]: score + 0.01, GROUPS[1]: score, "text_to_video_R@5": 1.0}
        operations = {
            "video_operations": 1e9 * count if is_counted else None,
            "pair_operations": 5e8 * count if is_counted else None,
        }
        row = {"num_clips": count, "metrics": metrics, "score": metrics[metric]}
        row["draws"] = (
            {"mean": score, "std": 0.1, "count": 3, "metrics": {**metrics, metric: score}} if draws else None
        )
        rows.append({**row, "cost": {"frames": count, "views": count, "model_s": 0.1 * count, **operations}})
    curves = [{"pooling": pooling, "metric": metric, "rows": rows} for pooling in ("mean", "max")]
    (folder / "asked").mkdir(parents=True)
    (folder / "asked/clips_needed.json").write_text(json.dumps({"curves": curves}))
    return {"seed": 1, "folder": str(folder)}


def write_table(folder, cells):
    """`table.json` of a grid; a cell is a name and its runs."""
    found = [
        {"name": name, "runs": runs, "summary": {"training": {"total_multiply_adds": 2e12}} if runs else {}}
        for name, runs in cells.items()
    ]
    (folder / "table.json").write_text(json.dumps({"cells": found}))
    return folder


def test_scores_are_means_over_seeds_for_each_number_of_clips(tmp_path, capsys):
    runs = [write_run(tmp_path / f"a/{seed}", score) for seed, score in enumerate((0.2, 0.5))]
    missing = {"seed": 3, "folder": str(tmp_path / "a/3"), "state": "killed by SIGKILL"}
    folder = write_table(tmp_path, {"a": [*runs, missing], "failed": [missing]})
    found = clips_needed.main(["--grid", str(folder)])
    assert found == json.loads((folder / "clips.json").read_text())
    assert found["metrics"] == [METRIC, *GROUPS] and [cell["name"] for cell in found["cells"]] == ["a"]
    (cell,) = found["cells"]
    assert cell["seeds"] == 2 and [curve["pooling"] for curve in cell["curves"]] == ["mean", "max"]
    row = cell["curves"][0]["rows"][2]
    assert row["num_clips"] == 16 and row["cost"]["video_operations"] == 1.6e10
    assert row["uniform"][METRIC]["mean"] == pytest.approx(0.51) and row["random"][METRIC]["mean"] == pytest.approx(
        0.35
    )
    assert row["uniform"][METRIC]["std"] == pytest.approx(statistics.stdev([0.36, 0.66]))
    text = (folder / "clips.md").read_text()
    assert text.strip() in capsys.readouterr().out
    assert "| a | 2 | mean | 16 | 51.0 ± 21.2 / 35.0 ± 21.2 | 36.0 ± 21.2 / 36.0 ± 21.2 | 35.0" in text
    assert "| 16 | 24 | 2 |" in text  # frames, G of a video, T of training


def test_what_was_not_counted_or_drawn_is_left_out(tmp_path):
    runs = [write_run(tmp_path / "a", 0.2, is_counted=False, draws=False)]
    found = summarise_clips(json.loads((write_table(tmp_path, {"a": runs}) / "table.json").read_text()))
    row = found["cells"][0]["curves"][0]["rows"][0]
    assert "random" not in row and "video_operations" not in row["cost"] and "std" not in row["uniform"][METRIC]
    assert "| a | 1 | mean | 1 | 21.0 | 21.0 | 20.0 | 1 | not counted | 2 |" in describe_clips(found, "grid")


def test_a_grid_that_was_not_asked_or_asked_by_two_metrics_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected the folder of a grid"):
        clips_needed.main(["--grid", str(tmp_path)])
    write_table(tmp_path, {"a": [{"seed": 1, "folder": str(tmp_path / "a")}]})
    with pytest.raises(ValueError, match="No run of this grid has a clips_needed.json"):
        clips_needed.main(["--grid", str(tmp_path)])
    write_table(
        tmp_path, {"a": [write_run(tmp_path / "a", 0.2)], "b": [write_run(tmp_path / "b", 0.2, metric="accuracy")]}
    )
    with pytest.raises(ValueError, match=f"different metrics: {METRIC}, accuracy"):
        clips_needed.main(["--grid", str(tmp_path)])
    with pytest.raises(SystemExit):
        clips_needed.main(["--grid", str(tmp_path), "--checkpoint", "one"])


@pytest.mark.parametrize("number", [1, 40])
def test_the_picture_survives_one_way_of_training_and_forty(number, tmp_path):
    pytest.importorskip("matplotlib")
    cells = {
        f"way_{n}$x_": [write_run(tmp_path / f"{n}", n / 50, counts=(1, 16) if n else (4,))] for n in range(number)
    }
    found = summarise_clips(json.loads((write_table(tmp_path, cells) / "table.json").read_text()))
    first, second = (draw_clips(found, tmp_path / f"{name}.png").read_bytes() for name in ("first", "second"))
    assert first == second and first.startswith(b"\x89PNG")
