# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Grids of runs: what is told before anything runs, what is run, skipped, killed and resumed, and the table of it all."""

import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from filelock import FileLock
from safetensors.torch import load_file
from stranger_families import write_framewise
from tiny_clips import write_clips

from clipbert.metrics.classification.classification import wilson_interval
from clipbert.modeling_mug_stan import MugSTANConfig, MugSTANForVideoTextRetrieval
from clipbert.train_scripts import grid as grid_script
from clipbert.train_scripts.engine.cell_table import (
    RowsOfSplit,
    _show_difference,
    _show_operations,
    compare_rows,
    is_best_beyond_spread,
    rank_cells,
    summarise_scores,
)
from clipbert.train_scripts.engine.cells import build_cells, load_task, plan_runs, read_grid
from clipbert.train_scripts.engine.forking import ForkedScript, can_fork, import_ahead
from clipbert.train_scripts.engine.optim import build_parameter_groups
from clipbert.train_scripts.engine.recipe import RecipeError
from clipbert.train_scripts.engine.run_files import read_run
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.engine.values import RECIPES
from clipbert.train_scripts.grid import CONSOLE, GRID_LOCK, LOCK, TAKEN, WAITING, GridRunner


ROOT = Path(__file__).parents[2]
STEPS = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A family on the path, clips, and the settings of all cells."""
    folder = tmp_path_factory.mktemp("grid")
    write_framewise(folder)
    write_clips(folder / "clips")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(folder)]))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield folder


def write_grid(folder, name="grid", **changes):
    """A grid file of one cell for each of two rates; the settings of all cells and the keys of the grid can be changed."""
    settings = {
        "model.family": "framewise",
        "model.config": {},
        "data.dataset": "ucf101",
        "data.config": "top5",
        "data.options": {"validation_fraction": 0.3},
        "data.data_dir": str(folder / "clips"),
        "data.num_frames": 3,
        "data.num_workers": 0,
        "run.total_steps": STEPS,
        "run.global_batch_size": 4,
        "run.micro_batch_size": 4,
        "run.eval_every": 2,
        "eval.splits": {"validation": "tuning", "test": "final"},
        "eval.metric": "accuracy",
        "eval.count_cost": True,
        "run.count_cost": True,
    }
    values = {
        "script": "train_scripts/video_classification.py",
        "output_dir": str(folder / name),
        "axes": {"optim.lr": [1e-9, 0.05]},
        **changes,
        "set": {**settings, **changes.get("set", {})},
    }
    path = folder / f"{name}.yaml"
    path.write_text(
        yaml.safe_dump({key: value for key, value in values.items() if value is not None}, sort_keys=False)
    )
    return path


def plan(path, *more):
    grid = read_grid(path)
    return grid, plan_runs(grid, load_task(ROOT / grid.script).recipe_class, more)


# ---------------------------------------------------------------------------------------------------------------------
# Cells
# ---------------------------------------------------------------------------------------------------------------------


def test_cells_are_the_product_of_the_axes_and_the_rows(folder):
    axes = {
        "optim.lr": [0.1, 2e-5],
        "read": {"short": {"data.num_frames": 1, "optim.lr": 0.3}, "as_it_is": None},
    }
    path = write_grid(folder, "product", axes=axes, rows={"alone": {"model.overrides.width": 4}}, seeds=[3, 1])
    grid, runs = plan(path)
    names = ["lr=0.1_short", "lr=0.1_as_it_is", "lr=2.0e-05_short", "lr=2.0e-05_as_it_is", "alone"]
    assert [cell.name for cell in build_cells(grid)] == names
    assert [(run.cell.name, run.seed) for run in runs] == [(name, seed) for name in names for seed in (3, 1)]
    assert runs[0].folder == folder / "product" / "lr=0.1_short" / "seed_3"
    assert [run.recipe.optim.lr for run in runs[::2]] == [0.3, 0.1, 0.3, 2e-5, 5e-5]  # what comes later counts
    assert [run.recipe.data.num_frames for run in runs[::2]] == [1, 3, 1, 3, 3]
    assert runs[-1].recipe.model.overrides == {"width": 4} and runs[-1].recipe.run.seed == 1
    assert runs[-1].recipe.run.output_dir == str(folder / "product" / "alone" / "seed_1")
    assert grid.metric == "accuracy" == grid.report[0]  # as the recipes have it


def test_a_cell_may_have_a_recipe_of_its_own_and_a_grid_no_seeds(folder):
    (folder / "base.yaml").write_text("run: {seed: 7}\n")
    (folder / "other.yaml").write_text("run: {seed: 8}\n")
    rows = {"first": {}, "second": {"recipe": str(folder / "other.yaml")}}
    _, runs = plan(write_grid(folder, "own", axes=None, rows=rows, recipe=str(folder / "base.yaml")))
    assert [(run.cell.name, run.seed, run.folder.name) for run in runs] == [
        ("first", 7, "seed_7"),
        ("second", 8, "seed_8"),
    ]


def test_settings_of_the_command_line_hold_for_all_cells(folder):
    _, runs = plan(write_grid(folder, "more"), "optim.lr=0.5", "optim.weight_decay=0")
    assert {run.recipe.optim.lr for run in runs} == {0.5}


def test_cells_can_start_from_another_recipe(folder, capsys):
    settings = yaml.safe_load(write_grid(folder, "based").read_text())["set"]
    sections = {}
    for key, value in settings.items():
        sections.setdefault(key.partition(".")[0], {})[key.partition(".")[2]] = value
    (folder / "another.yaml").write_text(yaml.safe_dump(sections))
    path = write_grid(folder, "based", set={"optim.weight_decay": 0.5}, recipe=str(folder / "nowhere.yaml"))
    assert grid_script.main(["--grid", str(path), "--recipe", str(folder / "another.yaml"), "--list"]) == {}
    listed = capsys.readouterr().out
    assert listed.count("another.yaml") == 2 and "optim.lr=0.05" in listed and "weight_decay" not in listed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"axis": {}}, "there is no section 'axis'. Did you mean 'axes'?"),
        ({"script": None}, "script: missing"),
        ({"axes": None}, "axes: there is no cell"),
        ({"seeds": [1, 1]}, "seeds: each counts once"),
        ({"keep": "bets"}, "keep: expected one of best, all, none"),
        ({"script": "train_scripts/retrieve.py"}, "retrieve.py: no such script"),
        ({"script": "train_scripts/search.py"}, "expected one Task in .*search.py, got none"),
        ({"axes": {"optim.lrr": [1, 2]}}, "lrr=1: --set optim.lrr=1: optim has no key 'lrr'. Did you mean 'lr'?"),
        ({"axes": {"lr": [1, 2]}}, "Did you mean optim.lr"),
        ({"axes": {"optim.lr": [-1]}}, "optim.lr: expected at least 0, got -1"),
        ({"axes": {"optim.lr": 3}}, "axes: optim.lr: expected values in a list"),
        ({"axes": {"optim.lr": []}}, "axes: optim.lr: expected values in a list"),
        ({"axes": {"optim.lr": [0.1, 0.1]}}, "each of another name.* got lr=0.1"),
        ({"rows": {"a/b": {}}}, "got a/b"),
        ({"rows": {"..": {}}}, "got \\.\\."),
        ({"rows": {"row": [1]}}, "rows: row: expected section.key: value"),
        ({"rows": {"row": {"recipe": "nowhere.yaml"}}}, "row: nowhere.yaml: no such recipe file"),
        ({"rows": {"row": {"run.seed": 3}}}, "run.seed is not for a cell: `seeds` of the grid decides it"),
        ({"set": {"model.family": "clipbert", "model.config": {"hidden_size": "wide"}}}, "expected int, got str"),
        (
            {"set": {"model.family": "clipbert", "model.overrides": {"hidden": 8}}},
            "ClipBERTConfig has no field 'hidden'",
        ),
        ({"set": {"eval.metric": "acuracy"}}, "eval.metric: 'acuracy' chooses no checkpoint"),
        ({"metric": "acuracy"}, "metric: there is no metric 'acuracy'. Did you mean 'accuracy'?"),
        ({"report": ["recall"]}, "report: there is no metric 'recall'"),
        ({"published": {"R@1": {"lr=0.5": 4}}}, "published: R@1: there is no cell 'lr=0.5'. Did you mean 'lr=0.05'?"),
        ({"published": {"R@1": 4}}, "published: R@1: expected CELL: value, got 4"),
        ({"reference": "lr=0.5"}, "reference: there is no cell 'lr=0.5'. Did you mean 'lr=0.05'?"),
        ({"for_each": {"predictions": "note.py"}}, "for_each: 'predictions' is a folder of a run"),
        ({"for_each": {"a/b": "note.py"}}, "for_each: 'a/b' is a folder of a run"),
        ({"once_for": {"data.feature": "note.py"}}, "once_for: the recipe of lr=1.0e-09, seed 42 has no key"),
        ({"set": {"eval.metric": None, "eval.splits": {"test": "final"}}}, "keep: without a tuning split"),
        (
            {"set": {"eval.splits": {"test": "tuning"}, "eval.allow_test_selection": True}},
            "keep: the best cell is not chosen on a test split",
        ),
        ({"rows": {"row": {"eval.metric": "mean_class_accuracy"}}}, "metric: the cells have eval.metric accuracy and"),
    ],
)
def test_what_cannot_be_is_told_before_anything_runs(folder, changes, message):
    path = write_grid(folder, "wrong", **changes)
    with pytest.raises(RecipeError, match=message):
        grid_script.main(["--grid", str(path)])
    assert not (folder / "wrong").exists()


def test_everything_that_is_wrong_is_told_at_once(folder):
    axes = {"optim.lrr": [1], "width": {name: {"model.overrides.width": 4} for name in "abcde"}}
    path = write_grid(folder, "wrong", axes=axes, rows={"row": {"run.total_stepps": 3}})
    with pytest.raises(RecipeError) as caught:
        plan(path)
    first, second = str(caught.value).splitlines()
    assert first.startswith("lrr=1_a, lrr=1_b, lrr=1_c and 2 more: --set optim.lrr=1:") and second.startswith("row: ")


def test_parts_divide_the_cells(folder):
    grid, runs = plan(write_grid(folder, "parts", axes={"optim.lr": [1, 2, 3, 4, 5]}, seeds=[1, 2]))
    parts = [GridRunner("parts", grid, runs, (number, 3)).ours for number in (1, 2, 3)]
    assert sorted(run.name for part in parts for run in part) == sorted(run.name for run in runs)
    assert [len(part) for part in parts] == [4, 4, 2]
    assert all({run.seed for run in part} == {1, 2} for part in parts)  # a cell is in one part
    for wrong in ("0/3", "4/3", "1", "1/x"):
        with pytest.raises(SystemExit):
            grid_script.main(["--grid", "any", "--part", wrong])


def test_some_cells_can_be_run_by_their_names(folder, capsys):
    path = write_grid(folder, "named", axes={"optim.lr": [1, 2], "data.num_frames": [1, 2]})
    assert grid_script.main(["--grid", str(path), "--list", "--cells", "lr=1_*", "*frames=2"]) == {}
    lines = capsys.readouterr().out.splitlines()
    assert [f"lr={lr}_num_frames={n}/" in line for line, (lr, n) in zip(lines, [(1, 1), (1, 2), (2, 2)], strict=True)]
    with pytest.raises(RecipeError, match="--cells: there is no cell 'lr=3_num_frames=1'. Did you mean 'lr="):
        grid_script.main(["--grid", str(path), "--cells", "lr=3_num_frames=1"])


def test_scores_are_means_with_a_pooled_interval():
    rows = [{"accuracy": 0.5, "loss": 1.0, "num_examples": 4}, {"accuracy": 0.75, "loss": 2.0, "num_examples": 4}]
    found = summarise_scores("accuracy", rows)
    assert found["mean"] == 0.625 and found["std"] == pytest.approx(statistics.stdev([0.5, 0.75]))
    assert found["interval"] == list(wilson_interval(5, 8))
    assert summarise_scores("loss", rows)["mean"] == 1.5 and "interval" not in summarise_scores("loss", rows)
    assert "std" not in summarise_scores("loss", rows[:1])


def test_the_ranking_asks_the_tuning_split_and_complete_cells_alone():
    def cell(name, metric, tuning, test, *runs):
        scores = {"val": {"purpose": "tuning", metric: {"mean": tuning}}, "test": {"purpose": "final"}}
        scores["test"][metric] = {"mean": test}
        return {"name": name, "runs": [*({"scores": {}} for _ in range(2)), *runs], "summary": {"scores": scores}}

    unfinished = cell("c", "accuracy", 0.9, 0.9, {"state": "failed"})
    cells = [cell("a", "accuracy", 0.6, 0.9), cell("b", "accuracy", 0.8, 0.1), unfinished]
    assert rank_cells(cells, "accuracy") == ["b", "a"]
    assert rank_cells([cell("a", "loss", 0.6, 0.1), cell("b", "loss", 0.8, 0.9)], "loss") == ["a", "b"]
    assert rank_cells([cell("a", "accuracy", float("nan"), 0.9)], "accuracy") == []


GRIDS = {  # cells, of which two are baselines of the report's rows, and seeds
    "grid_standin": (17, 2),
    "grid_report": (17, 3),
    "grid_full": (254, 3),
    "grid_orders_motions": (12, 3),
}


@pytest.mark.parametrize(
    "name", [name if name != "grid_full" else pytest.param(name, marks=pytest.mark.slow) for name in GRIDS]
)
def test_the_grids_of_the_package(name):
    path = RECIPES / "cnn_rnn" / f"{name}.yaml"
    grid, runs = plan(path)
    cells, seeds = GRIDS[name]
    assert len({run.cell.name for run in runs}) == cells and len(runs) == cells * seeds
    assert "python train_scripts/grid.py --grid train_scripts/recipes/cnn_rnn/" + path.name in path.read_text()
    settings = {}  # one folder of vectors holds those of one backbone, which saw the same frames
    for run in runs:
        data = run.recipe.data
        if data.features is not None:
            seen = (run.recipe.model.parts["backbone"], data.sampling, data.num_frames, data.stride, data.data_dir)
            assert settings.setdefault(data.features, seen) == seen
    assert len(set(settings.values())) == len(settings)
    if name == "grid_full":
        assert {seen[1:3] for seen in settings.values()} == {
            ("first", 100),
            ("uniform", 16),
            ("all", None),
            ("uniform", 1),
        }
    elif name != "grid_orders_motions":  # the rows are named by their recipes
        named = [run for run in runs if run.cell.recipe == f"cnn_rnn/{run.cell.name}.yaml"]
        assert len({run.cell.name for run in named}) == 15
        seen = {(run.recipe.data.sampling, run.recipe.data.num_frames) for run in named}
        assert seen == {("first", 100) if name == "grid_report" else ("all", None)}


LESS_IS_MORE = {"clips": 7, "clips_qa": 4, "frames": 12, "end_to_end": 4, "pretraining": 4, "pixels": 4}


@pytest.mark.parametrize("name", LESS_IS_MORE)
def test_the_grids_of_less_is_more(name):
    path = RECIPES / "clipbert" / f"grid_{name}.yaml"
    grid, runs = plan(path)
    assert len({run.cell.name for run in runs}) == LESS_IS_MORE[name] and grid.seeds == [1, 2, 3] and grid.reference
    assert f"grid.py --grid train_scripts/recipes/clipbert/{path.name}" in path.read_text()
    for run in runs:
        assert run.recipe.run.count_cost and run.recipe.eval.count_cost and run.recipe.eval.group_by == ["evidence"]
        assert run.recipe.data.options["generate"] == runs[0].recipe.data.options["generate"]
        assert run.recipe.data.data_dir == "outputs/evidence/data"


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("clips", "retrieval_msrvtt"),
        ("clips", "retrieval_video_folder"),
        ("clips_qa", "video_qa_msrvtt"),
        ("clips_qa", "video_qa_video_folder"),
        ("frames", "retrieval_msrvtt"),
        ("frames", "retrieval_video_folder"),
        ("pixels", "retrieval_msrvtt"),
    ],
)
def test_the_grids_of_less_is_more_on_other_data(name, recipe):
    path = RECIPES / "clipbert" / f"grid_{name}.yaml"
    grid = read_grid(path)
    grid.start_from(f"clipbert/{recipe}.yaml")
    runs = plan_runs(grid, load_task(ROOT / grid.script).recipe_class)
    assert len(runs) == 3 * LESS_IS_MORE[name] and {run.recipe.data.dataset for run in runs} != {"synthetic"}
    assert grid.report == ["accuracy" if name == "clips_qa" else "text_to_video_R@1"]


def layers_of(run):
    """The layers that a run's branches read, of B/32 where the recipe has no sizes."""
    return MugSTANConfig(**{**(run.recipe.model.config or {}), **run.recipe.model.overrides}).layers_read


GENERATED = {  # of a CLIP of four layers
    "table5_none": [],
    "table5_stan": [[1, 2, 3, 4]],
    "figure6_layers_3": [[2, 3, 4]],
    "figure6_position_1-2": [[1, 2]],
    "figure6_position_2-3": [[2, 3]],
    "figure6_interval_2": [[2, 4]],
    "figure6_interval_3": [[1, 4]],
    "figure6_branches_3": [[1, 2, 3, 4]] * 3,
}
PAPER = {  # of B/32
    "layers_0": [],
    "layers_4": [[9, 10, 11, 12]],
    "layers_12": [list(range(1, 13))],
    "position_1-4": [[1, 2, 3, 4]],
    "position_5-8": [[5, 6, 7, 8]],
    "interval_2": [[6, 8, 10, 12]],
    "interval_3": [[3, 6, 9, 12]],
    "branches_3": [[9, 10, 11, 12]] * 3,
}
MSRVTT = {"table5_none": [], "table5_stan": [[9, 10, 11, 12]]}


@pytest.mark.parametrize(
    ("name", "recipe", "pattern", "count", "expected"),
    [
        ("grid_ablations", None, "*", 24, GENERATED),
        ("grid_ablations", "mug_stan/retrieval_msrvtt.yaml", "table*", 15, MSRVTT),
        ("grid_figure6", None, "*", 13, PAPER),
    ],
)
def test_the_ablations_of_mug_stan(name, recipe, pattern, count, expected):
    grid = read_grid(RECIPES / "mug_stan" / f"{name}.yaml")
    assert grid.seeds == [1, 2, 3]
    grid.seeds = [1]
    if recipe:
        grid.recipe, grid.set = recipe, {}
    runs = plan_runs(grid, load_task(ROOT / grid.script).recipe_class)
    cells = {run.cell.name: run for run in GridRunner(name, grid, runs, patterns=[pattern]).ours}
    assert len(cells) == count and grid.metric == "text_to_video_R@1"
    assert len({repr(run.recipe.model.overrides) for run in cells.values()}) == count
    assert {cell: layers_of(cells[cell]) for cell in expected} == expected
    for cell, run in cells.items():  # structure and figure 6 are compared without Mug
        has_mug = cell in ("table5_mug", "table5_stan_and_mug") or cell.startswith("table8")
        assert (run.recipe.model.overrides["similarity"] == "mean_pool") != has_mug
    for cell, layers in list(expected.items())[:2]:  # the rate of the branch is that of nothing where there is none
        recipe = cells[cell].recipe
        with torch.device("meta"):
            model = MugSTANForVideoTextRetrieval(
                MugSTANConfig(**{**(recipe.model.config or {}), **recipe.model.overrides})
            )
        found = {group["name"].split(",")[0] for group in build_parameter_groups(model, recipe.optim)}
        assert ("branches" in found) == bool(recipe.optim.groups and layers)


@pytest.mark.slow
def test_every_cell_of_the_ablations_trains_and_is_counted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    grid = read_grid(RECIPES / "mug_stan" / "grid_ablations.yaml")
    grid.seeds = [1]
    task = load_task(ROOT / grid.script)
    few = ["data.options.generate.num_train=36", "data.num_workers=0", "run.total_steps=2", "run.eval_every=2"]
    counted = {}
    for run in plan_runs(grid, task.recipe_class, few):
        assert main(task(), run.recipe.arguments)["finished"]
        files = read_run(run.folder)
        assert all(row["grad_norm"] > 0 for row in files.steps)
        assert files.evaluations[-1]["metrics"]["num_examples"] == 180
        counted[run.cell.name] = files.cost()["operations"]["view"]["whole"]
    layers = [counted[cell] for cell in ("table5_none", *(f"figure6_layers_{n}" for n in (1, 2, 3)), "table5_stan")]
    assert layers == sorted(set(layers))
    assert counted["table5_stan"] == counted["table8_wti"] and counted["figure6_interval_2"] == layers[2]
    branch = counted["table5_stan"] - counted["table5_none"]
    assert counted["figure6_branches_3"] - counted["table5_none"] == 3 * branch


# ---------------------------------------------------------------------------------------------------------------------
# Runs
# ---------------------------------------------------------------------------------------------------------------------


ROWS = {"broken": {"data.config": "top6"}}


@pytest.fixture(scope="module")
def finished(folder):
    """A grid that has been run: two cells that are finished, and one that fails; and what was returned of it."""
    published = {"accuracy of the paper": {"lr=0.05": 87.1, "broken": "none"}}
    path = write_grid(folder, "finished", rows=ROWS, report=["accuracy", "loss"], published=published)
    return path, grid_script.main(["--grid", str(path)])


def test_a_cell_that_fails_is_named_and_the_others_run(finished, folder):
    path, unfinished = finished
    assert list(unfinished) == ["broken, seed 42"] and "'top6'" in unfinished["broken, seed 42"]
    table = (folder / "finished" / "table.md").read_text()
    assert "- broken, seed 42: ValueError: " in table and "| broken | 0 of 1 |" in table


def test_the_table_has_scores_intervals_baselines_and_costs(finished, folder):
    found = json.loads((folder / "finished" / "table.json").read_text())
    assert [cell["name"] for cell in found["cells"]] == ["lr=1.0e-09", "lr=0.05", "broken"]
    for cell in found["cells"][:2]:
        run = Path(cell["runs"][0]["folder"])
        results = json.loads((run / "results.json").read_text())
        metrics, summary = results["splits"]["test"]["metrics"], cell["summary"]
        score = summary["scores"]["test"]["accuracy"]
        assert score["mean"] == metrics["accuracy"] and metrics["num_examples"] == 6
        assert score["interval"] == list(wilson_interval(round(6 * metrics["accuracy"]), 6))
        tuning = results["splits"]["validation"]["metrics"]
        interval = list(wilson_interval(round(tuning["num_examples"] * tuning["accuracy"]), tuning["num_examples"]))
        assert summary["scores"]["validation"] == {
            "purpose": "tuning",
            "accuracy": {"values": [tuning["accuracy"]], "mean": tuning["accuracy"], "interval": interval},
            "loss": {"values": [tuning["loss"]], "mean": tuning["loss"]},
        }
        assert summary["minutes"] > 0 and summary["ms_per_example"] > 0 and 1e8 < summary["peak_memory"] < 1e11
        assert [point["step"] for point in cell["runs"][0]["curve"]] == [2, 4, 6]
        assert all(point["training"]["loss"] > 0 for point in cell["runs"][0]["curve"])
    (best,) = found["ranking"][:1]
    weights = load_file(folder / "finished" / best / "seed_42" / "checkpoints" / "best" / "model.safetensors")
    assert found["cells"][0]["summary"]["parameters"] == sum(value.numel() for value in weights.values())
    assert found["baselines"]["chance"]["test"]["accuracy"] == [0.5, 0.5]
    assert "| *chance* |  | 50.0 % |" in (folder / "finished" / "table.md").read_text()


def test_the_table_has_step_times_multiply_adds_and_what_is_published(finished, folder):
    text, found = ((folder / "finished" / f"table.{kind}").read_text() for kind in ("md", "json"))
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    head, cells = lines[0], {line[0].strip("*"): dict(zip(lines[0], line, strict=True)) for line in lines[2:]}
    assert head[-3:] == ["G multiply-adds", "without attention products", "published: accuracy of the paper"]
    summary = json.loads(found)["cells"][1]["summary"]
    # a clip of 3 frames is one view: its pixels, and the head on what is made of them
    view = summary["operations"]["view"]
    assert view["whole"] == view["without_attention"] > 0 and view["per_video"] == 1
    assert cells["lr=0.05"]["G multiply-adds"] == f"{view['whole'] / 1e9:.4g}"
    per_video, training = summary["per_video"], summary["training"]
    assert cells["lr=0.05"]["a video: frames encoded"] == f"{per_video['frames_encoded']:.4g}" == "3"
    assert per_video["multiply_adds"] == view["whole"]
    total = STEPS * (training["multiply_adds_forward"] + training["multiply_adds_backward"])
    assert cells["lr=0.05"]["training: G multiply-adds"] == f"{total / 1e9:,.4g}" and total > STEPS * 4 * view["whole"]
    assert float(cells["lr=0.05"]["training: CPU s"]) > 0 and cells["broken"]["training: CPU s"] == ""
    assert cells["lr=0.05"]["ms a step"] == f"{summary['ms_per_step']:.2f}" and summary["ms_per_step"] > 0
    assert [cells[name][head[-1]] for name in ("lr=1.0e-09", "lr=0.05", "broken", "chance")] == [
        "",
        "87.1",
        "none",
        "",
    ]
    assert cells["broken"]["G multiply-adds"] == ""
    assert "a video: frames decoded" not in head  # this family decodes by itself
    assert (
        _show_operations({"operations": {"view": None}}) == ["not counted"] * 2 == _show_operations({"minutes": 1.0})
    )
    three = {"whole": 205.5e9, "without_attention": 197.8e9, "per_video": 3}
    assert _show_operations({"operations": {"view": three}}) == ["3 x 205.5", "3 x 197.8"]


def test_only_the_best_cell_keeps_its_checkpoint(finished, folder):
    ranking = json.loads((folder / "finished" / "table.json").read_text())["ranking"]
    assert ranking == ["lr=0.05", "lr=1.0e-09"]
    kept = [name for name in ranking if (folder / "finished" / name / "seed_42" / "checkpoints").exists()]
    assert kept == ranking[:1]


def test_what_is_finished_is_not_run_again(finished, folder):
    path = write_grid(folder, "finished")  # without the broken one
    consoles = sorted((folder / "finished").glob(f"*/*/{CONSOLE}"))
    before = [console.stat().st_mtime_ns for console in consoles]
    assert grid_script.main(["--grid", str(path)]) == {}
    assert [console.stat().st_mtime_ns for console in consoles] == before and len(consoles) == 3


def test_a_cell_with_other_settings_is_named(finished, folder):
    grid, runs = plan(write_grid(folder, "finished", set={"run.total_steps": 5}))
    unfinished = GridRunner("changed", grid, runs).run()
    assert len(unfinished) == 2
    for reason in unfinished.values():
        assert "run.total_steps: 5 != 6; here != there" in reason and "Rename the cell, or delete" in reason


def test_a_finished_cell_knows_the_data_that_it_has_learnt_from(finished, folder):
    elsewhere = shutil.copytree(folder / "clips", folder / "elsewhere")
    (folder / "same").symlink_to(folder / "clips")
    for data_dir, is_other in ((elsewhere, True), (folder / "nowhere", True), (folder / "same", False)):
        _, (run, _) = plan(write_grid(folder, "finished", set={"data.data_dir": str(data_dir)}))
        assert ["data.data_dir: " in difference for difference in run.differences()] == [True] * is_other
    _, (run, _) = plan(write_grid(folder, "finished", set={"data.skip_list": ["v_Punch_g08_c01"]}))
    assert run.differences() == ["data.skip_list: ['v_Punch_g08_c01'] != []"]
    moved = json.loads((run.folder / "results.json").read_text())
    moved["recipe"]["data"]["data_dir"] = str(folder / "before_it_was_moved")
    write_grid(folder, "moved")
    _, (run, _) = plan(folder / "moved.yaml")
    run.folder.mkdir(parents=True)
    (run.folder / "results.json").write_text(json.dumps(moved))
    assert run.differences() == []


@pytest.mark.parametrize(
    ("setting", "is_finished"),
    [
        ({"run.log_every": 1, "data.num_workers": 2, "eval.batch_size": 3}, True),
        ({"eval.splits": {"validation": "tuning"}}, False),
        ({"run.patience": 1}, False),
    ],
)
def test_other_evaluations_are_made_and_other_speeds_are_not(finished, folder, setting, is_finished):
    _, runs = plan(write_grid(folder, "finished", set=setting))
    assert [run.results() is not None for run in runs] == [is_finished] * 2
    assert not any(run.differences() for run in runs)


def test_results_that_are_not_those_of_a_run_are_no_evidence(folder):
    _, (run, *_) = plan(write_grid(folder, "elsewhere"))
    for text in ("", "{", "[]", '{"splits": {}}', '{"splits": {}, "recipe": {"modle": {}}}'):
        run.folder.mkdir(parents=True, exist_ok=True)
        (run.folder / "results.json").write_text(text)
        assert run.results() is None and run.differences() == []


def test_a_run_of_another_process_is_left_to_it(folder):
    grid, runs = plan(write_grid(folder, "held"))
    runner = GridRunner("held", grid, runs)
    for name in (GRID_LOCK, LOCK):  # another grid, or a run that has outlived its own
        runs[0].folder.mkdir(parents=True, exist_ok=True)
        with FileLock(runs[0].folder / name):
            runner.finish(runs[0], "head", is_patient=False)
        assert runner.states == {runs[0]: WAITING} and not (runs[0].folder / CONSOLE).exists()


@pytest.mark.slow
def test_a_run_that_finds_another_one_at_work_waits_for_it(folder):
    """That one was launched by a grid that was killed before it had taken its folder."""
    grid, runs = plan(write_grid(folder, "orphan", axes={"optim.lr": [0.01]}))
    runner = GridRunner("orphan", grid, runs)
    launch = runner.launch

    def launch_beside(command, run_folder, console):
        with FileLock(run_folder / LOCK):
            return launch(command, run_folder, console)

    runner.launch = launch_beside
    runner.finish(runs[0], "head", is_patient=False)
    assert runner.states == {runs[0]: WAITING} and TAKEN in (runs[0].folder / CONSOLE).read_text()
    runner.launch = launch
    runner.finish(runs[0], "head", is_patient=True)
    assert runner.states == {} and runs[0].results()


def test_commands_come_before_the_cells_and_their_failure_stops_the_grid(folder):
    (folder / "first.py").write_text("import sys; print(sys.argv[1]); sys.exit(3)")
    path = write_grid(folder, "before", before=[f"{folder}/first.py one"])
    with pytest.raises(subprocess.CalledProcessError, match="exit status 3"):
        grid_script.main(["--grid", str(path)])
    assert not list((folder / "before").glob(f"*/*/{CONSOLE}"))


def test_a_script_runs_once_for_each_value_of_a_key(folder, capfd):
    (folder / "note.py").write_text(
        "import sys; print([a for a in sys.argv if a.startswith(('data.num_f', 'optim.lr'))])"
    )
    axes = {"optim.lr": [0.1, 0.2], "data.num_frames": [1, 2]}
    grid, runs = plan(write_grid(folder, "once", axes=axes, once_for={"data.num_frames": str(folder / "note.py")}))
    GridRunner("once", grid, runs).prepare(runs[1:])
    lines = [line for line in capfd.readouterr().out.splitlines() if line.startswith("[")]
    assert lines == ["['data.num_frames=2', 'optim.lr=0.1']", "['data.num_frames=1', 'optim.lr=0.2']"]


FOLLOWER = """
import json, pathlib, sys
told = dict(zip(sys.argv[1::2], sys.argv[2::2]))
run, output = pathlib.Path(told["--checkpoint"]), pathlib.Path(told["--output_dir"])
count = len(list(output.glob("*.note")))
(output / f"{count}.note").write_text(json.dumps([(run / "checkpoints/last/config.json").is_file(), told.get("--number")]))
sys.exit((run / "fail").exists())
"""


@pytest.mark.slow
def test_what_follows_a_run_is_done_once_while_its_checkpoints_are_there(folder, capfd):
    (folder / "follow.py").write_text(FOLLOWER)
    (folder / "end.py").write_text("import pathlib, sys; print('the end of', pathlib.Path(sys.argv[1]).name)")
    more = {
        "axes": {"optim.lr": [0.01]},
        "keep": "none",
        "for_each": {"asked": f"{folder}/follow.py --number 1"},
        "after": [f"{folder}/end.py OUTPUT_DIR"],
    }
    path, run = write_grid(folder, "followed", **more), folder / "followed/lr=0.01/seed_42"
    run.mkdir(parents=True)
    (run / "fail").touch()
    assert grid_script.main(["--grid", str(path)]).keys() == {"lr=0.01, seed 42"}
    assert "the end of" not in capfd.readouterr().out and (run / "checkpoints/last").exists()  # it is needed still
    assert "asked: " in json.loads((folder / "followed/table.json").read_text())["cells"][0]["runs"][0]["state"]
    (run / "fail").unlink()
    results = (run / "results.json").stat().st_mtime_ns
    for _ in range(2):
        assert grid_script.main(["--grid", str(path)]) == {}
        assert "the end of followed" in capfd.readouterr().out
    assert [json.loads(file.read_text()) for file in sorted((run / "asked").glob("*.note"))] == [[True, "1"]] * 2
    assert (run / "results.json").stat().st_mtime_ns == results and not (run / "checkpoints").exists()
    more["for_each"] = {"asked": f"{folder}/follow.py --number 2"}  # asked otherwise, of a run that is there
    assert grid_script.main(["--grid", str(write_grid(folder, "followed", **more))]) == {}
    assert json.loads((run / "asked/2.note").read_text()) == [False, "2"]


@pytest.mark.slow
def test_several_runs_at_a_time_end_with_the_scores_of_one_after_the_other(folder):
    path = write_grid(folder, "jobs", axes={"optim.lr": [0.01, 0.05]}, seeds=[1, 2])
    runs = {}
    for jobs in ("1", "3"):
        output_dir = str(folder / f"jobs_{jobs}")
        assert grid_script.main(["--grid", str(path), "--output_dir", output_dir, "--jobs", jobs]) == {}
        table = json.loads(Path(output_dir, "table.json").read_text())
        runs[jobs] = [run["scores"] for cell in table["cells"] for run in cell["runs"]]
    assert runs["1"] == runs["3"] and len(runs["1"]) == 4


def test_runs_at_a_time_share_the_processors_unless_told_otherwise(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert grid_script.share_processors(1) == {}
    assert [grid_script.share_processors(jobs)["OMP_NUM_THREADS"] for jobs in (2, 3, 16)] == ["4", "2", "1"]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert grid_script.share_processors(2) == {}


@pytest.fixture(scope="module")
def copies():
    """Scripts begin as copies of an interpreter that has imported a few modules only."""
    if not can_fork():
        pytest.skip("this system starts every script anew")
    import_ahead(["json.tool"], {})


def test_a_copy_of_an_interpreter_runs_a_script_as_a_new_one_would(copies, folder, monkeypatch):
    script, console = folder / "told.py", folder / "told.txt"
    script.write_text(
        "import json, os, sys\n"
        "import beside\n"
        "print(json.dumps([__name__, sys.argv, os.getcwd(), os.environ['TOLD'], os.environ.get('LOST'), os.getsid(0) == os.getpid(), beside.HERE]))\n"
        "print('to stderr', file=sys.stderr)\n"
        "sys.exit(3)"
    )
    (folder / "beside.py").write_text("HERE = 1")
    console.write_text("$ command\n")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("LOST", "x")
    monkeypatch.delenv("LOST")
    process = ForkedScript(str(script), ["one", "two words"], console, {"TOLD": "yes"})
    process.start()
    assert process.wait() == 3
    first, told, last = console.read_text().splitlines()
    assert json.loads(told) == ["__main__", [str(script), "one", "two words"], str(folder), "yes", None, True, 1]
    assert (first, last) == ("$ command", "to stderr")


def test_a_copy_that_fails_or_is_killed_says_so(copies, folder):
    console = folder / "failing.txt"
    for code, expected in (("raise ValueError('as told')", 1), ("import os; os.kill(os.getpid(), 9)", -9)):
        (folder / "failing.py").write_text(code)
        process = ForkedScript(str(folder / "failing.py"), [], console, {})
        process.start()
        assert process.wait() == expected
    assert grid_script.reason_of(console, 1) == "ValueError: as told"


def test_cells_are_compared_by_what_they_say_of_the_same_videos():
    rng, videos = np.random.default_rng(0), [f"v{number // 2}" for number in range(200)]
    worse = [rng.random(200).round() for _ in range(2)]
    better = [np.maximum(values, rng.random(200) < 0.3) for values in worse]
    pairs = [(RowsOfSplit(a, videos), RowsOfSplit(b, videos)) for a, b in zip(better, worse, strict=True)]
    found = compare_rows(pairs)
    expected = np.mean([a - b for a, b in zip(better, worse, strict=True)])
    assert found["mean"] == pytest.approx(expected) and found["seeds"] == 2
    low, high = found["interval"]
    assert 0 < low < expected < high < 2 * expected
    nothing = compare_rows([(side, side) for side, _ in pairs])
    assert nothing["mean"] == 0 and nothing["interval"] == [0, 0]
    worse[0][:4] = np.nan  # could not be decoded
    assert compare_rows(pairs)["mean"] == pytest.approx(np.nanmean(np.mean(better, 0) - np.mean(worse, 0)))
    other = RowsOfSplit(better[0], videos[::-1])
    assert compare_rows([(other, pairs[0][1])]) is None


@pytest.mark.parametrize(
    ("mean", "ends", "stds", "expected"),
    [
        (0.1, (0.05, 0.15), (0.02, 0.03), "+10.0 % [5.0 % to 15.0 %]"),
        (0.1, (-0.01, 0.15), (0.02, 0.03), "+10.0 % [-1.0 % to 15.0 %] (?)"),
        (-0.1, (-0.15, -0.05), (0.02, 0.12), "-10.0 % [-15.0 % to -5.0 %] (?)"),
    ],
)
def test_a_difference_within_the_spread_is_marked(mean, ends, stds, expected):
    cells = [
        {"name": name, "summary": {"scores": {"test": {"purpose": "final", "accuracy": {"mean": 0.5, "std": std}}}}}
        for name, std in zip(("a", "b"), stds, strict=True)
    ]
    cells[0]["differences"] = {"test": {"accuracy": {"mean": mean, "interval": list(ends), "seeds": 3}}}
    found = {"reference": "b", "cells": cells}
    assert _show_difference(cells[0], found, "test", "accuracy") == expected
    assert _show_difference(cells[1], found, "test", "accuracy") == "reference"


def test_the_best_cell_is_bold_only_beyond_the_spread_of_the_seeds():
    def found(*scores):
        cells = [
            {"name": str(n), "summary": {"scores": {"val": {"purpose": "tuning", "accuracy": score}}}}
            for n, score in enumerate(scores)
        ]
        return {"metric": "accuracy", "ranking": [cell["name"] for cell in cells], "cells": cells}

    assert is_best_beyond_spread(found({"mean": 0.9, "std": 0.01}, {"mean": 0.8, "std": 0.05}))
    assert not is_best_beyond_spread(found({"mean": 0.9, "std": 0.01}, {"mean": 0.8, "std": 0.2}))
    assert is_best_beyond_spread(found({"mean": 0.9})) and is_best_beyond_spread(found({"mean": 0.9}, {"mean": 0.8}))
    assert not is_best_beyond_spread(found({"mean": 0.9}, {"mean": 0.9}))


def test_the_commands_can_be_listed(folder, capsys):
    assert grid_script.main(["--grid", str(write_grid(folder, "listed")), "--list"]) == {}
    first, second = capsys.readouterr().out.splitlines()
    assert "video_classification.py --set" in first and "optim.lr=0.05" in second
    assert not (folder / "listed").exists()


# ---------------------------------------------------------------------------------------------------------------------
# Killed, stopped, launched
# ---------------------------------------------------------------------------------------------------------------------


def start(path, *more):
    command = [sys.executable, str(ROOT / "train_scripts" / "grid.py"), "--grid", str(path), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def scores_of(folder):
    found = json.loads((folder / "table.json").read_text())
    return [(cell["name"], run["seed"], run["scores"]) for cell in found["cells"] for run in cell["runs"]]


def finish_in_spite_of_kills(path, output_dir):
    """Run a grid, kill it at five moments, then let it end; every other time its run or extraction lives on."""
    moments = random.Random(0)
    for number in range(5):
        process = start(path)
        time.sleep(moments.uniform(4, 16))
        process.kill()
        process.communicate()
        for holder in output_dir.glob("*/*/.lock.json") if number % 2 else ():
            with suppress(ProcessLookupError):
                os.kill(json.loads(holder.read_text())["pid"], signal.SIGKILL)
    process = start(path)
    output = process.communicate()[0]
    assert process.returncode == 0, output


@pytest.mark.slow
def test_killed_at_five_moments_it_ends_with_the_same_scores(folder):
    changes = {"seeds": [1, 2], "keep": "all", "set": {"run.total_steps": 40, "run.save_every": 1}}
    assert grid_script.main(["--grid", str(write_grid(folder, "whole", **changes))]) == {}
    finish_in_spite_of_kills(write_grid(folder, "killed", **changes), folder / "killed")
    assert scores_of(folder / "killed") == scores_of(folder / "whole")


@pytest.mark.slow
def test_rows_of_the_report_end_with_the_same_scores_in_spite_of_kills(folder):
    """Three of the fifteen on few generated clips: clips, vectors and runs are made, killed and finished."""

    def shorten(name):
        """The package's grid on generated clips, in a folder of its own."""
        text = (RECIPES / "cnn_rnn" / "grid_standin.yaml").read_text()
        values = yaml.safe_load(text.replace("outputs/cnn_rnn/grid_standin", str(folder / name)))
        few = {"num_train": 30, "num_test": 10, "height": 36}
        values["set"] |= {"data.options": {"validation_fraction": 0.2, "generate": few}, "data.image_size": 36}
        values["set"] |= {"run.num_epochs": 6, "run.save_every": 1}
        kept = ("rnn_resnet101_plateau", "lstm_resnet50_b8_lr1e-4", "lstm_resnet50_b16_lr1e-4_plateau")
        values |= {"rows": {name: values["rows"][name] for name in kept}, "seeds": [1]}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(values))
        return folder / f"{name}.yaml"

    assert grid_script.main(["--grid", str(shorten("rows"))]) == {}
    finish_in_spite_of_kills(shorten("killed_rows"), folder / "killed_rows")
    assert len(scores_of(folder / "rows")) == 3 and scores_of(folder / "killed_rows") == scores_of(folder / "rows")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("launch", [None, ["--cpu"]])
def test_stopped_it_saves_and_goes_on(folder, number, launch):
    name = f"stopped_{number.name}_{'launched' if launch else 'plain'}"
    path = write_grid(folder, name, axes={"optim.lr": [0.01]}, launch=launch, set={"run.total_steps": 3000})
    process, log = start(path), folder / name / "lr=0.01" / "seed_42" / "log.jsonl"
    while not (log.is_file() and log.read_text().count('"loss"') > 3):
        time.sleep(0.01)
        assert process.poll() is None
    process.send_signal(number)
    output = process.communicate()[0]
    assert process.returncode == 130 and "Stopped. The same command goes on from here." in output
    assert (log.parent / "checkpoints" / "last").exists() and not (log.parent / "results.json").exists()


@pytest.mark.slow
def test_two_grids_at_once_share_the_work(folder):
    path = write_grid(folder, "shared", axes={"optim.lr": [0.01, 0.02, 0.03, 0.04]})
    processes = [start(path) for _ in range(2)]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    started = [output.count(": running, see") for output in outputs]
    assert sum(started) == 4 and min(started) >= 1, outputs


@pytest.mark.slow
def test_a_failure_behind_a_launcher_has_its_reason(folder):
    path = write_grid(folder, "launched", axes=None, rows=ROWS, launch=["--cpu"])
    unfinished = grid_script.main(["--grid", str(path)])
    assert "ValueError" in unfinished["broken, seed 42"] and "'top6'" in unfinished["broken, seed 42"]
