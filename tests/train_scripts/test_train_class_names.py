# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Classes by their names, through the doors: the recipes of Mug-STAN trained, resumed, asked for other classes, and read by others."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from class_sets import CLASSES, write_class_sets, write_tiny_clip
from clean_process import run_without_package
from safetensors.torch import load_file
from tiny_runs import one_thread, steps_of  # noqa: F401

from clipbert.train_scripts import predict
from clipbert.train_scripts.engine.predictions import read_predictions
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.publish import main as publish
from clipbert.train_scripts.rescore import main as rescore
from clipbert.train_scripts.tasks.classification.items import BalancedOrder
from clipbert.train_scripts.tasks.classification.prediction import VideoClassifier
from clipbert.train_scripts.video_classification import ClassificationTask


RECIPES = Path(__file__).parents[2] / "train_scripts" / "recipes" / "mug_stan"
NAMES = sorted(path.stem.removeprefix("video_classification_") for path in RECIPES.glob("video_classification_*.yaml"))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, write_video):
    folder = tmp_path_factory.mktemp("classes")
    write_class_sets(folder, write_video)
    write_tiny_clip(folder / "clip")
    return folder


def run(name, *more):
    """Two steps of a recipe in the present folder, from a tiny CLIP."""
    values = [
        "model.parts.clip=clip",
        "model.overrides.stan_num_layers=2",
        "data.num_frames=3",
        "data.num_workers=0",
        "run.mixed_precision=no",
        "run.global_batch_size=4",
        "run.micro_batch_size=2",
        "run.num_epochs=null",
        "run.total_steps=2",
        "run.eval_every=1",
        "run.save_every=1",
        "run.save_total_limit=null",
        *more,
    ]
    settings = [part for value in values for part in ("--set", value)]
    return main(ClassificationTask(), ["--recipe", str(RECIPES / f"video_classification_{name}.yaml"), *settings])


@pytest.fixture(scope="module")
def trained(workspace, tmp_path_factory):
    """The recipe of HMDB51, run; its folder and what it returned."""
    output_dir = tmp_path_factory.mktemp("trained") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workspace)
        return output_dir, run("hmdb51", f"run.output_dir={output_dir}")


@pytest.mark.parametrize("name", [n if n == "kinetics400" else pytest.param(n, marks=pytest.mark.slow) for n in NAMES])
def test_recipes_train_evaluate_save_and_resume(name, workspace, tmp_path, monkeypatch):
    monkeypatch.chdir(workspace)
    result = run(name, f"run.output_dir={tmp_path / 'run'}")
    steps = steps_of(tmp_path / "run")
    assert result["finished"] and len(steps) == 2 and all(step["grad_norm"] > 0 for step in steps)
    (final,) = [
        row["metrics"]
        for split, row in result["results"].items()
        if split != "validation" or len(result["results"]) == 1
    ]
    assert final["num_examples"] > 0 and final["chance_accuracy"] == pytest.approx(1 / len(CLASSES.get(name, "ab")))
    checkpoint = tmp_path / "run" / "checkpoints" / "last"
    config = json.loads((checkpoint / "config.json").read_text())
    assert list(config["id2label"].values()) == CLASSES.get(name, ["jump", "run"])
    assert config["similarity"] == "mug_exact" and config["head_scale"] == config["loss_scale"] == 100  # equation 20
    before, after = load_file(Path("clip") / "model.safetensors"), load_file(checkpoint / "model.safetensors")
    moved = {name for name, value in before.items() if not after[f"mug_stan.clip.{name}"].equal(value)}
    assert moved and all(name.startswith(("vision_model.", "visual_projection.")) for name in moved)
    shutil.copytree(tmp_path / "run", tmp_path / "resumed", symlinks=True)
    shutil.rmtree(tmp_path / "resumed" / "checkpoints" / "step_00000002")
    resumed = run(name, f"run.output_dir={tmp_path / 'resumed'}")
    assert resumed["results"] == result["results"] and steps_of(tmp_path / "resumed") == steps
    again = load_file(tmp_path / "resumed" / "checkpoints" / "last" / "model.safetensors")
    assert all(torch.equal(value, again[name]) for name, value in after.items())


def test_a_clip_without_branch_recognizes_untrained(workspace, tmp_path, monkeypatch):
    monkeypatch.chdir(workspace)
    more = ["run.total_steps=0", "model.overrides={stan_num_layers: 0, similarity: mean_pool}"]
    result = run("hmdb51", f"run.output_dir={tmp_path / 'run'}", *more)
    assert result["step"] == 0 and result["results"]["test"]["metrics"]["num_examples"] > 0


def test_classes_take_turns():
    labels = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2])
    order, epochs = BalancedOrder(labels, (3,)), []
    for epoch in range(3):
        keys = [order.key_at(9 * epoch + place) for place in range(9)]
        assert all(key.epoch == epoch for key in keys)
        epochs.append([key.index for key in keys])
        found = labels[epochs[-1]].tolist()
        assert sorted(epochs[-1]) == list(range(9))
        assert [sorted(part) for part in (found[:3], found[3:6], found[6:8], found[8:])] == [[0, 1, 2]] * 2 + [
            [0, 2],
            [0],
        ]
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert BalancedOrder(labels, (3,)).key_at(13) == order.key_at(13)  # whatever was asked before


@pytest.mark.slow
def test_the_mean_of_three_splits(trained, workspace, tmp_path, monkeypatch, capsys):
    output_dir, result = trained
    monkeypatch.chdir(workspace)
    other = run(
        "hmdb51", f"run.output_dir={tmp_path / 'run'}", "data.config=split2", "model.overrides.similarity=mean_pool"
    )
    folders = [str(folder / "predictions" / "test") for folder in (output_dir, tmp_path / "run")]
    metrics = [found["results"]["test"]["metrics"] for found in (result, other)]
    capsys.readouterr()
    mean = rescore(folders)
    for name in ("accuracy", "loss"):
        values = [found[name] for found in metrics]
        assert mean[name] == pytest.approx(np.mean(values)) and mean[f"{name}_std"] == pytest.approx(np.std(values))
    printed = capsys.readouterr()
    assert json.loads(printed.out) == mean and "accuracy_ci_low" not in mean
    assert all(folder in printed.err for folder in folders) and "mean of 2" in printed.err


def test_scores_are_averaged_over_views(trained, workspace):
    """1 clip x 3 crops: the evaluation says of each video what its crops say on average."""
    output_dir, _ = trained
    found = read_predictions(output_dir / "predictions" / "test")
    classifier = VideoClassifier.from_checkpoint(output_dir, device="cpu")
    clips = {path.stem: path for path in (workspace / "data" / "hmdb51" / "videos").rglob("*.avi")}
    assert classifier.processor.video_processor.num_crops == 3
    for row, logits in zip(found.rows, found.tensors["logits"], strict=True):
        views = classifier.processor(videos=[str(clips[row["video_id"]])])["pixel_values"]  # (1, views, T, 3, S, S)
        assert views.shape[:3] == (1, 3, 3) and not views[:, 0].equal(views[:, 2])
        with torch.no_grad():
            alone = [classifier.model(views[:, view : view + 1]).logits[0] for view in range(3)]
        np.testing.assert_allclose(logits, torch.stack(alone).mean(dim=0), rtol=0, atol=1e-4)


def test_a_name_among_classes_that_nobody_trained_for(trained, workspace, tmp_path, capsys):
    """By predict.py, from a list or a file; a model for retrieval is asked the same way."""
    output_dir, _ = trained
    video = str(next((workspace / "my_videos").rglob("*.mp4")))
    (tmp_path / "names.txt").write_text("open, then close\njump_up\n")
    ask = ["--checkpoint", str(output_dir), "--json"]
    (from_file,) = predict.main([*ask, "--classes", str(tmp_path / "names.txt"), video])
    assert set(from_file["probabilities"]) == {"open, then close", "jump_up"}
    (listed,) = predict.main([*ask, "--classes", "run, sit,stand", "--template", "a video of {}", video])
    classifier = VideoClassifier.from_checkpoint(output_dir, device="cpu")
    classifier.set_classes(["a video of run", "a video of sit", "a video of stand"])
    assert list(listed["probabilities"].values()) == pytest.approx(list(classifier.classify(video).values()), abs=1e-6)
    spans = predict.main([*ask, "--classes", "run,sit", "--windows", "1", video])[0]["windows"]
    assert len(spans) == 2 and all(set(span["probabilities"]) == {"run", "sit"} for span in spans)
    for given, message in (("run,sit,run", "there twice is run"), ("run,,sit", "number 1 is")):
        with pytest.raises(SystemExit, match=f"--classes: .*{message}"):
            predict.main([*ask, "--classes", given, video])
    with pytest.raises(SystemExit, match="class_template needs {} in the place of a name, once; got 'a video'"):
        predict.main([*ask, "--classes", "run,sit", "--template", "a video", video])


READ = """
from transformers import AutoModelForVideoClassification, AutoProcessor, pipeline

folder, video = sys.argv[1:]
pipe = pipeline("video-classification", model=folder, trust_remote_code=True)
found = {entry["label"]: entry["score"] for entry in pipe(video)}
model = AutoModelForVideoClassification.from_pretrained(folder, trust_remote_code=True)
model.set_classes(["sit", "stand"], AutoProcessor.from_pretrained(folder, trust_remote_code=True))
print(__import__("json").dumps([found, model.config.label2id]))
"""


@pytest.mark.slow
def test_the_stock_pipeline_answers_for_a_file(trained, workspace, tmp_path):
    """Without this package and without a tokenizer's help: the texts of the classes are in the checkpoint."""
    output_dir, _ = trained
    video = str(next((workspace / "my_videos").rglob("*.mp4")))
    given = ["--checkpoint", str(output_dir / "checkpoints" / "best"), "--results", str(output_dir / "results.json")]
    publish([*given, "--output_dir", str(tmp_path / "published")])
    found, others = json.loads(
        run_without_package(READ, tmp_path / "clean", tmp_path / "published", video).splitlines()[-1]
    )
    here = VideoClassifier.from_checkpoint(output_dir, device="cpu").classify(video)
    assert found == pytest.approx(here, abs=1e-5) and set(found) == set(CLASSES["hmdb51"])
    assert others == {"sit": 0, "stand": 1}
    card = (tmp_path / "published" / "README.md").read_text()
    assert "3 classes: `brush_hair`, `run`, `wave`" in card and "95 % interval" in card and "chance" in card


def test_a_checkpoint_is_evaluated_on_classes_it_was_not_trained_on(trained, workspace, tmp_path, monkeypatch):
    """Of another set, with a text around the names, without a step of training."""
    output_dir, _ = trained
    monkeypatch.chdir(workspace)
    untrained = [
        "model.parts=null",
        f"model.from_pretrained={output_dir / 'checkpoints' / 'best'}",
        "run.total_steps=0",
        "data.train_split=null",
        "eval.splits={test: final}",
        "eval.metric=null",
    ]
    around = "model.overrides.class_template='a video of {}'"
    found = [
        run("ucf101", *untrained, *more, f"run.output_dir={tmp_path / str(len(more))}")["results"]["test"]["metrics"]
        for more in ((), (around,))
    ]
    assert all(metrics["num_examples"] == 3 and "blind_accuracy" not in metrics for metrics in found)
    predictions = read_predictions(tmp_path / "1" / "predictions" / "test")
    assert predictions.info["class_names"] == CLASSES["ucf101"]
    assert found[0]["loss"] != found[1]["loss"]
    more = ["data.options={classes: [Punch, TaiChi]}", f"run.output_dir={tmp_path / 'two'}"]
    assert run("ucf101", *untrained, *more)["results"]["test"]["metrics"]["chance_accuracy"] == 0.5


def test_a_trained_text_tower_reads_the_names_anew(workspace, tmp_path, monkeypatch):
    monkeypatch.chdir(workspace)
    run(
        "kinetics400",
        f"run.output_dir={tmp_path / 'run'}",
        "model.freeze=[]",
        "optim.lr=1e-3",
        "data.balance_classes=true",
    )
    checkpoint = tmp_path / "run" / "checkpoints" / "last"
    after = load_file(checkpoint / "model.safetensors")
    before = load_file(Path("clip") / "model.safetensors")
    assert not after["mug_stan.clip.text_projection.weight"].equal(before["text_projection.weight"])
    assert not after["class_tokens"].any()  # nothing that is out of date
    classifier = VideoClassifier.from_checkpoint(checkpoint, device="cpu")
    video = str(next((workspace / "my_videos").rglob("*.mp4")))
    kept = VideoClassifier.from_checkpoint(checkpoint, device="cpu")
    kept.model.set_frozen(["text"])
    assert kept.model.class_tokens.any()
    assert classifier.classify(video) == pytest.approx(kept.classify(video), abs=1e-5)


def test_what_has_no_names_to_read_is_named(workspace, tmp_path, monkeypatch):
    monkeypatch.chdir(workspace)
    with pytest.raises(ValueError, match="makes left of right, which the class 'Pushing left'"):
        run("ssv2", f"run.output_dir={tmp_path}", "data.augmentation={flip: 0.5}")
    (tmp_path / "labels.csv").write_text("video,labels\n" + "".join(f"{n}.mp4,{'ab'[n % 2]}|c\n" for n in range(8)))
    for number in range(8):
        shutil.copy(next((workspace / "my_videos").rglob("*.mp4")), tmp_path / f"{number}.mp4")
    with pytest.raises(ValueError, match="video_folder has lists of classes"):
        run("video_folder", f"data.data_dir={tmp_path}", f"run.output_dir={tmp_path / 'run'}")


# ----------------------------------------------------------------------------------------------------------------------
# Real clips
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_clips_of_ucf101_in_its_own_layout(data_dir, workspace, tmp_path, monkeypatch):
    """Two AVIs and a GIF train on the second official split, and are what the first one tests."""
    monkeypatch.chdir(workspace)
    folder = tmp_path / "UCF101"
    for path in (data_dir / "videos" / "ucf101").iterdir():
        home = folder / "UCF-101" / path.name.split("_")[1]
        home.mkdir(parents=True)
        (home / path.name).symlink_to(path)
    (folder / "ucfTrainTestlist").symlink_to(data_dir / "annotations" / "ucf101")
    names = ["ApplyEyeMakeup", "BaseballPitch", "CricketShot"]
    here = [f"data.data_dir={folder}", f"data.options={{classes: [{', '.join(names)}], on_missing: skip}}"]
    on_train = ["data.config=split2", "eval.splits={train: monitor}", "eval.metric=null"]
    trained = run("ucf101", *here, *on_train, f"run.output_dir={tmp_path / 'a'}")
    assert trained["results"]["train"]["metrics"]["num_examples"] == 3
    asked = ["model.parts=null", f"model.from_pretrained={tmp_path / 'a' / 'checkpoints' / 'last'}"]
    asked += ["run.total_steps=0", "data.train_split=null", "eval.splits={test: final}", "eval.metric=null"]
    tested = run("ucf101", *here, *asked, f"run.output_dir={tmp_path / 'b'}")
    assert tested["results"]["test"]["metrics"]["num_examples"] == 3
    found = predict.main(["--checkpoint", str(tmp_path / "a"), str(folder)])
    assert len(found) == 3 and all(set(row["probabilities"]) == set(names) for row in found)


@pytest.mark.slow
def test_clips_of_a_table(data_dir, workspace, tmp_path, monkeypatch):
    monkeypatch.chdir(workspace)
    clips = [f"data.data_dir={data_dir / 'annotations' / 'tiny_clips'}"]
    clips += [f"data.options={{file: classification.csv, video_dir: {data_dir / 'videos'}}}"]
    clips += ["eval.splits={train: monitor}", "eval.metric=null", f"run.output_dir={tmp_path / 'run'}"]
    result = run("video_folder", *clips)
    assert result["results"]["train"]["metrics"]["num_examples"] == 10
