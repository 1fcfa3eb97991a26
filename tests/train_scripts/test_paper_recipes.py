# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Every recipe, of the paper and our own, runs as it stands, on a few records in the real formats: the folders, splits, metrics and
starting points it names, with a model, pictures and batches that are shrunken.

A folder is laid out as the recipes expect it, and they are run in it: pre-training from tiny parts in place of
ResNet-50 and BERT, fine-tuning from the checkpoint that this leaves behind.
"""

import shutil
from pathlib import Path

import pytest
import yaml
from benchmark_files import write_benchmarks
from tiny_parts import write_parts
from tiny_runs import one_thread, steps_of  # noqa: F401

from clipbert.train_scripts.engine.recipe import RecipeError
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.image_qa import ImageQATask
from clipbert.train_scripts.pretrain import PretrainTask
from clipbert.train_scripts.retrieval import RetrievalTask
from clipbert.train_scripts.video_qa import VideoQATask


ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "train_scripts" / "recipes" / "clipbert"
TASKS = {"pretrain": PretrainTask, "retrieval": RetrievalTask, "video_qa": VideoQATask, "image_qa": ImageQATask}
TASKS |= {
    "evidence_qa": VideoQATask,
    "evidence_pretrain": PretrainTask,
    "evidence": RetrievalTask,
}  # the first that fits counts
RECIPES = sorted(path.stem for path in FOLDER.glob("*.yaml") if not path.stem.startswith("grid_"))
OF_THE_PAPER = {
    "pretrain",
    *(f"retrieval_{name}" for name in ("msrvtt", "didemo", "activitynet")),
    *(f"video_qa_tgif_{name}" for name in ("action", "transition", "frameqa", "count")),
    *(f"video_qa_{name}" for name in ("msrvtt", "msvd", "msrvtt_mc")),
    "image_qa_vqa2",
}
OWN_VIDEOS = {"retrieval_video_folder", "video_qa_video_folder"}
GENERATED = {"evidence", "evidence_qa", "evidence_pretrain"}
SHRUNKEN = [
    "data.image_size=48",
    "data.num_workers=0",
    "run.mixed_precision=no",
    "run.global_batch_size=4",
    "run.micro_batch_size=2",
]


def task_of(name):
    return next(task for prefix, task in TASKS.items() if name.startswith(prefix))()


def run(name, *more):
    """Two steps of a recipe, in the present folder."""
    steps = [] if name == "video_qa_msrvtt_mc" else ["run.num_epochs=null", "run.total_steps=2", "run.eval_every=1"]
    settings = [part for value in (*SHRUNKEN, *steps, *more) for part in ("--set", value)]
    return main(task_of(name), ["--recipe", str(FOLDER / f"{name}.yaml"), *settings])


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, write_video):
    """The benchmarks, tiny parts, and what the recipes start from: a pre-trained and a retrieval checkpoint."""
    folder = tmp_path_factory.mktemp("recipes")
    write_benchmarks(folder, write_video)
    parts = write_parts(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run("pretrain", *parts)
        run("retrieval_msrvtt")
    return folder


def settings_of(name, workspace):
    """What a recipe is given beside its own values."""
    if name == "pretrain_webvid":
        return [*settings_of("pretrain", workspace), "data.stream_lanes=2", "data.stream_window=6"]
    if name == "pretrain" or name in OWN_VIDEOS:
        return [f"model.parts={{vision: {workspace / 'resnet'}, text: {workspace / 'bert'}}}"]
    if name == "evidence_pretrain":
        return ["data.options={generate: {num_train: 16, num_validation: 0, num_test: 8, size: 48}}"]
    if name in GENERATED:
        counts = "num_train: 16, num_validation: 16, num_test: 16"
        return [f"data.options={{generate: {{preset: evidence, size: 48, fps: 4, {counts}}}}}"]
    if name == "image_qa_vqa2":
        return ["data.min_answer_count=1"]  # nine questions for an answer are more than there are
    return []


def test_there_is_a_recipe_for_every_row_of_the_paper():
    assert set(RECIPES) == OF_THE_PAPER | OWN_VIDEOS | GENERATED | {"pretrain_webvid"}


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_trains_evaluates_saves_and_resumes(name, workspace, tmp_path, monkeypatch):
    monkeypatch.chdir(workspace)
    more = [*settings_of(name, workspace), f"run.output_dir={tmp_path / 'run'}"]
    result = run(name, *more)
    recipe = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    assert result["finished"]
    assert set(result["results"]) == set(recipe["eval"]["splits"])
    for row in result["results"].values():
        assert row["metrics"]["num_examples"] > 0
    if "metric" in recipe["eval"]:
        (tuning,) = [split for split, purpose in recipe["eval"]["splits"].items() if purpose == "tuning"]
        assert recipe["eval"]["metric"] in result["results"][tuning]["metrics"]
        assert (tmp_path / "run" / "checkpoints" / "best" / "model.safetensors").is_file()
    if name == "video_qa_msrvtt_mc":
        assert result["step"] == 0
        return
    steps = steps_of(tmp_path / "run")
    assert [row["step"] for row in steps] == [1, 2]
    # the weights of the second step are lost, as if the process had died in it
    shutil.copytree(tmp_path / "run", tmp_path / "resumed", symlinks=True)
    shutil.rmtree(tmp_path / "resumed" / "checkpoints" / "step_00000002")
    resumed = run(name, *more[:-1], f"run.output_dir={tmp_path / 'resumed'}")
    assert steps_of(tmp_path / "resumed") == steps
    assert resumed["results"] == result["results"]


@pytest.mark.parametrize("name", sorted(OF_THE_PAPER))
def test_recipe_says_what_is_published_and_how_to_run_it(name):
    lines = (FOLDER / f"{name}.yaml").read_text().splitlines()
    head = "\n".join(line for line in lines if line.startswith("#"))
    recipe = task_of(name).recipe_class.load(FOLDER / f"{name}.yaml")
    assert f"train_scripts/recipes/clipbert/{name}.yaml" in head
    assert "# Data:" in head
    (expect,) = [line for line in lines if line.startswith("# Expect:")]
    assert "publish" in expect
    sources = getattr(recipe.data, "datasets", None) or [recipe.data]
    assert all(source.data_dir.startswith("data/") and source.data_dir in head for source in sources)
    assert recipe.run.output_dir == f"outputs/clipbert_{name}"
    assert not recipe.eval.allow_test_selection
    assert recipe.eval.splits.get("test") in (None, "final")


@pytest.mark.parametrize("name", sorted(OF_THE_PAPER - {"pretrain", "video_qa_msrvtt_mc"}))
def test_fine_tuning_sees_every_cell_of_the_picture(name):
    """The config of the pre-trained checkpoint samples 100 cells, which fine-tuning would inherit."""
    recipe = task_of(name).recipe_class.load(FOLDER / f"{name}.yaml")
    assert recipe.model.overrides["pixel_random_sampling_size"] == 0
    assert recipe.model.from_pretrained == "outputs/clipbert_pretrain/checkpoints/best"


@pytest.mark.parametrize(
    ("setting", "error", "message"),
    [
        ("data.negativs=random", RecipeError, "Did you mean 'negatives'"),
        ("data.dataset=msrvt", ValueError, "did you mean 'msrvtt'"),
        ("data.config=retrieval_1kc", ValueError, "retrieval_1ka"),
        ("data.data_dir=data/msrvtt_videos", FileNotFoundError, "msrvtt_videos"),
        ("eval.metric=R1", ValueError, "text_to_video_R@1"),
    ],
)
def test_a_wrong_recipe_does_not_pass(setting, error, message, workspace, tmp_path, monkeypatch):
    """What this file is for: a key, dataset, config, folder or metric that does not exist is found."""
    monkeypatch.chdir(workspace)
    with pytest.raises(error, match=message):
        run("retrieval_msrvtt", f"run.output_dir={tmp_path}", setting)
