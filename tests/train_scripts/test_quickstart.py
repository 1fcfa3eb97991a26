# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The quickstart learns: recall on unseen videos is far above chance."""

import json
from pathlib import Path

import pytest
import yaml

from clipbert.datasets_scripts.synthetic.generation import generate_synthetic
from clipbert.metrics.retrieval.retrieval import chance_recall
from clipbert.train_scripts import quickstart
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.image_qa import ImageQATask
from clipbert.train_scripts.pretrain import PretrainTask
from clipbert.train_scripts.retrieval import RetrievalTask
from clipbert.train_scripts.video_qa import VideoQATask


RECIPE = quickstart.RECIPE
TASKS = {"image_qa": ImageQATask, "pretrain": PretrainTask, "retrieval": RetrievalTask, "video_qa": VideoQATask}
RECIPES = sorted(RECIPE.parent.glob("*.yaml"))


@pytest.mark.slow  # minutes
@pytest.mark.timeout(3600)
def test_quickstart_learns(tmp_path):
    data = generate_synthetic(tmp_path / "data", preset="easy")
    settings = {
        "data.data_dir": data,
        "model.tokenizer": data / "vocab.txt",
        "run.output_dir": tmp_path / "run",
    }
    overrides = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    result = main(RetrievalTask(), ["--recipe", str(RECIPE), *overrides])
    metrics = result["results"]["test"]["metrics"]
    assert metrics["num_videos"] == 64
    assert metrics["text_to_video_R@1"] >= 10 * chance_recall(64)
    quickstart.print_results(tmp_path / "run" / "results.json")


def test_quickstart_names_files_that_exist():
    for path in (quickstart.RECIPE, quickstart.LAUNCHER):
        assert path.is_file()


def test_quickstart_works_in_the_folder_it_is_started_in(tmp_path, monkeypatch, capsys):
    # it once wrote its data beside the package, into site-packages of those who had installed it
    monkeypatch.chdir(tmp_path)
    started = []
    monkeypatch.setattr(quickstart.subprocess, "run", lambda command, **options: started.append((command, options)))
    monkeypatch.setattr(quickstart, "print_results", lambda path: started.append(path))
    quickstart.main(["a red circle"])
    folders = [options.get("cwd") for command, options in (each for each in started if isinstance(each, tuple))]
    assert folders == [None, None, None]  # the working folder
    written = started[0][0][started[0][0].index("--output_dir") + 1]
    assert not Path(written).is_absolute() and started[2] == Path("outputs/quickstart/results.json")
    monkeypatch.chdir(Path(quickstart.__file__).parents[1])
    quickstart.run("-m", "x", quickstart.RECIPE)
    assert "\n$ python -m x train_scripts/recipes/quickstart/retrieval.yaml\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    "path", [path for path in RECIPES if path.stem != "multiple_choice"], ids=lambda path: path.stem
)
def test_each_recipe_makes_its_own_data_in_an_empty_folder(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = yaml.safe_load(path.read_text())
    generate = recipe["data"]["options"]["generate"] | {"num_train": 40, "num_validation": 12, "num_test": 12}
    settings = ["run.total_steps=1", "data.num_workers=0", f"data.options.generate={json.dumps(generate)}"]
    script = next(name for name in TASKS if path.stem.startswith(name))
    result = main(TASKS[script](), ["--recipe", str(path), *(part for each in settings for part in ("--set", each))])
    assert result["finished"]
    assert result["results"]["test"]["metrics"]["num_examples"] > 0
    assert (tmp_path / recipe["data"]["data_dir"] / "manifest.json").is_file()
    assert (tmp_path / recipe["run"]["output_dir"] / "checkpoints/last/model.safetensors").is_file()
