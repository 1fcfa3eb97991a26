# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Runs on videos of which a known share shows what is told: scores of each kind, by the doors themselves."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file
from tiny_runs import one_thread, tiny_run  # noqa: F401

from clipbert.datasets_scripts.synthetic import generate_synthetic
from clipbert.datasets_scripts.synthetic.evidence import EVIDENCE
from clipbert.train_scripts import grid
from clipbert.train_scripts.engine.recipe import RecipeError
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.rescore import rescore
from clipbert.train_scripts.retrieval import RetrievalTask
from clipbert.train_scripts.video_qa import VideoQATask


pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
GROUPED = [
    "eval.group_by=[evidence, visible_share]",
    "eval.gallery_size=16",
    "data.num_frames=1",
    "eval.video_block=16",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    settings = {"preset": "evidence", "num_train": 64, "num_validation": 0, "num_test": 64, "size": 48, "fps": 2}
    return generate_synthetic(tmp_path_factory.mktemp("evidence") / "data", progress=False, duration_s=20, **settings)


def settings_of(folder, output_dir, *more, config="retrieval"):
    return tiny_run("synthetic", config, folder, output_dir, *more)


def test_recall_of_each_kind_is_counted_in_the_scores_that_are_written(folder, tmp_path):
    more = [*GROUPED, "data.num_clips=1", "eval.num_clips=2", "eval.sampling=random", "eval.num_draws=2"]
    metrics = main(RetrievalTask(), settings_of(folder, tmp_path, *more))["results"]["test"]["metrics"]
    assert json.loads((tmp_path / "results.json").read_text())["splits"]["test"]["metrics"] == metrics
    first = rescore(tmp_path / "predictions/test")
    assert first.keys() - {"draw"} <= metrics.keys() | {"num_draws"} and first["num_draws"] == 2
    rows = json.loads((tmp_path / "predictions/test/records.json").read_text())["rows"]
    odds = load_file(tmp_path / "predictions/test/tensors.safetensors")["log_odds"]
    for kind in EVIDENCE:
        hits = []
        for text, row in enumerate(rows):
            if row["groups"]["evidence"] == kind:
                own = slice(text // 16 * 16, text // 16 * 16 + 16)
                best = odds[text, own].max()
                hits.append((odds[text, text] == best) / (odds[text, own] == best).sum())
        assert len(hits) == 16 == metrics[f"num_examples_evidence={kind}"]
        assert first[f"text_to_video_R@1_evidence={kind}"] == pytest.approx(np.mean(hits))
        assert metrics[f"chance_R@1_evidence={kind}"] == 1 / 16
        assert f"text_to_video_R@1_evidence={kind}_std" in metrics
    shares = {"always": "1", "half": "0.5", "order": "0.25", "eighth": "0.125"}
    for kind, share in shares.items():
        assert metrics[f"text_to_video_R@5_evidence={kind}"] == metrics[f"text_to_video_R@5_visible-share={share}"]


def test_answers_of_each_kind_stand_beside_guessing(folder, tmp_path):
    more = ["eval.group_by=[evidence]", "data.num_frames=1", "data.questions_per_video=2"]
    metrics = main(VideoQATask(), settings_of(folder, tmp_path, *more, config="open_qa"))["results"]["test"]["metrics"]
    assert [metrics[f"blind_accuracy_evidence={kind}"] for kind in EVIDENCE] == [0.25] * 4
    assert np.mean([metrics[f"accuracy_evidence={kind}"] for kind in EVIDENCE]) == pytest.approx(metrics["accuracy"])
    assert rescore(tmp_path / "predictions/test") == metrics


def test_an_unknown_column_ends_the_run_before_it_starts(folder, tmp_path):
    for task, config in ((RetrievalTask(), "retrieval"), (VideoQATask(), "open_qa")):
        with pytest.raises(RecipeError, match="test has no column 'evidenze'. Did you mean 'evidence'"):
            main(task, settings_of(folder, tmp_path, "eval.group_by=[evidenze]", config=config))
    assert not (tmp_path / "log.jsonl").exists()


def test_two_processes_find_the_same(folder, tmp_path):
    alone = main(RetrievalTask(), settings_of(folder, tmp_path / "one", *GROUPED))["results"]["test"]["metrics"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    configuration = ROOT / "train_scripts" / "recipes" / "accelerate" / "two_cpu_processes.yaml"
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(configuration)]
    command = [*launcher, "--main_process_port", "0", str(ROOT / "train_scripts" / "retrieval.py")]
    command += settings_of(folder, tmp_path / "two", *GROUPED)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    together = json.loads((tmp_path / "two/results.json").read_text())["splits"]["test"]["metrics"]
    assert together.keys() == alone.keys() and together == pytest.approx(alone, abs=1e-6)


def test_a_grid_has_columns_for_groups(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    items = [item.partition("=") for item in settings_of(folder, "x", *GROUPED)[1::2]]
    settings = {key: yaml.safe_load(value) for key, _, value in items if key != "run.output_dir"}
    names = [f"text_to_video_R@1_evidence={kind}" for kind in EVIDENCE]
    values = {
        "script": "train_scripts/retrieval.py",
        "output_dir": str(tmp_path / "grid"),
        "set": settings,
        "axes": {"eval.num_clips": [1, 2]},
        "report": names,
        "keep": "none",
    }
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump(values))
    assert grid.main(["--grid", str(path)]) == {}
    cells = json.loads((tmp_path / "grid/table.json").read_text())["cells"]
    for cell in cells:
        scores = cell["summary"]["scores"]["test"]
        written = cell["runs"][0]["scores"]["test"]["metrics"]
        assert [scores[name]["mean"] for name in names] == [written[name] for name in names]
    shown = (tmp_path / "grid/table.md").read_text()
    assert all(f"test {name.replace('_', ' ')}" in shown for name in names)
    (chance,) = [line for line in shown.splitlines() if line.startswith("| *chance*")]
    assert chance.count("6.2 %") == len(names)
    path.write_text(yaml.safe_dump({**values, "report": ["text_to_video_R@1_evidense=half"]}))
    with pytest.raises(RecipeError, match="there is no metric 'text_to_video_R@1_evidense=half'"):
        grid.main(["--grid", str(path)])


def write_clip_grid(folder, output_dir, path):
    """A grid whose runs are asked how many clips they need."""
    more = ["eval.group_by=[evidence]", "eval.gallery_size=16", "data.num_frames=1", "data.fps=2", "eval.num_clips=2"]
    more += ["run.total_steps=12", "run.save_every=4", "run.global_batch_size=8", "run.micro_batch_size=8"]
    items = [item.partition("=") for item in settings_of(folder, "x", *more, "data.negatives=in_batch")[1::2]]
    settings = {key: yaml.safe_load(value) for key, _, value in items if key != "run.output_dir"}
    values = {
        "script": "train_scripts/retrieval.py",
        "output_dir": str(output_dir),
        "seeds": [1, 2],
        "set": {**settings, "model.objective": "contrastive", "run.count_cost": True, "eval.count_cost": True},
        "rows": {"one": {"data.num_clips": 1}, "two": {"data.num_clips": 2, "data.sampling": "uniform"}},
        "report": ["text_to_video_R@1", "text_to_video_R@1_evidence=always"],
        "reference": "two",
        "keep": "none",
        "for_each": {"needed": "train_scripts/clips_needed.py --counts 1 2 --draws 2"},
        "after": ["train_scripts/clips_needed.py --grid OUTPUT_DIR"],
    }
    path.write_text(yaml.safe_dump(values))
    return path


def found_in(output_dir):
    """What a grid has found, but for times and places."""
    clips = json.loads((output_dir / "clips.json").read_text())
    for cell in clips["cells"]:
        for row in (row for curve in cell["curves"] for row in curve["rows"]):
            del row["cost"]["model_s"]
    cells = json.loads((output_dir / "table.json").read_text())["cells"]
    return clips, [(cell["summary"]["scores"], cell.get("differences")) for cell in cells]


def test_a_grid_asks_its_runs_and_compares_them_and_kills_change_nothing(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    whole = tmp_path / "whole"
    path = write_clip_grid(folder, whole, tmp_path / "whole.yaml")
    assert grid.main(["--grid", str(path)]) == {}
    clips, cells = found_in(whole)
    for cell, (scores, _) in zip(
        clips["cells"], cells, strict=True
    ):  # the row with two clips is the evaluation itself
        (row,) = [row for row in cell["curves"][0]["rows"] if row["num_clips"] == 2]
        for name in ("text_to_video_R@1", "text_to_video_R@1_evidence=always"):
            assert row["uniform"][name]["values"] == pytest.approx(scores["test"][name]["values"], abs=1e-6)
    difference = cells[0][1]["test"]["text_to_video_R@1"]
    assert difference["mean"] == pytest.approx(
        cells[0][0]["test"]["text_to_video_R@1"]["mean"] - cells[1][0]["test"]["text_to_video_R@1"]["mean"]
    )
    assert difference["interval"][0] <= difference["mean"] <= difference["interval"][1] and cells[1][1] is None
    table = (whole / "table.md").read_text()
    assert "minus two: test text to video R@1 evidence=always" in table and "| reference |" in table

    path, moments = write_clip_grid(folder, tmp_path / "killed", tmp_path / "killed.yaml"), random.Random(0)
    command = [sys.executable, str(ROOT / "train_scripts/grid.py"), "--grid", str(path), "--jobs", "2"]
    for number in range(4):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(moments.uniform(8, 30))
        process.kill()
        process.wait()
        for holder in (tmp_path / "killed").glob("*/*/.lock.json") if number % 2 else ():
            with suppress(ProcessLookupError):
                os.kill(json.loads(holder.read_text())["pid"], signal.SIGKILL)
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout
    assert found_in(tmp_path / "killed") == (clips, cells)
