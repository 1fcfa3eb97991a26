# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""`video_classification.py` with CNN-RNN, from a folder of clips to labels: trained, resumed, compared, asked, published."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from clean_process import run_without_package
from fakehub import FakeHub
from numbered_videos import write_numbered
from safetensors.torch import load_file
from tiny_classifiers import cnn_rnn_run
from tiny_runs import one_thread, steps_of  # noqa: F401

from clipbert.datasets_scripts.synthetic import generate_synthetic
from clipbert.datasets_scripts.synthetic.action_clips import generate_action_clips
from clipbert.datasets_scripts.synthetic.random_backbones import write_random_backbones
from clipbert.train_scripts import compare, extract, predict
from clipbert.train_scripts.engine.recipe import RecipeError
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.rescore import rescore
from clipbert.train_scripts.tasks.classification import items
from clipbert.train_scripts.tasks.classification.items import (
    LabelledCollator,
    LabelledItem,
    LabelledVideos,
    join_videos,
)
from clipbert.train_scripts.tasks.classification.prediction import VideoClassifier
from clipbert.train_scripts.video_classification import ClassificationRecipe, ClassificationTask


ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "train_scripts" / "recipes"
OWN = sorted(
    path.relative_to(RECIPES).as_posix() for path in RECIPES.glob("cnn_rnn/*.yaml") if "grid" not in path.name
)
QUICK = ["cnn_rnn/deep_bilstm.yaml", "cnn_rnn/lstm_resnet50_b16_lr1e-4_plateau.yaml", "cnn_rnn/report_literal.yaml"]
FEW_FRAMES = ("data.num_frames=3", "eval.splits={validation: tuning, test: final}", "eval.metric=loss")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips") / "top5"
    return generate_action_clips(folder, num_train=20, num_test=5, height=36, progress=False)


@pytest.fixture(scope="module")
def trained(clips, tmp_path_factory):
    """A run of two steps."""
    output_dir = tmp_path_factory.mktemp("trained") / "run"
    settings = ["data.options={validation_fraction: 0.5}", "run.eval_every=1", *FEW_FRAMES]
    return output_dir, main(ClassificationTask(), cnn_rnn_run(clips, output_dir, *settings))


def test_every_evaluation_has_interval_loss_and_baselines(trained):
    output_dir, result = trained
    metrics = result["results"]["test"]["metrics"]
    assert metrics["num_examples"] == 5 and metrics["chance_accuracy"] == metrics["blind_accuracy"] == 0.2
    assert metrics["accuracy_ci_low"] <= metrics["accuracy"] <= metrics["accuracy_ci_high"]
    assert metrics["loss"] == pytest.approx(np.log(5), rel=0.3) and 0 <= metrics["macro_f1"] <= 1
    assert rescore(output_dir / "predictions" / "test") == metrics
    found = json.loads((output_dir / "predictions" / "test" / "classes.json").read_text())
    assert np.array(found["confusions"]).sum() == 5 and [c["num_examples"] for c in found["classes"]] == [1] * 5
    assert np.trace(found["confusions"]) == 5 * metrics["accuracy"]


def test_the_loss_is_that_of_the_model(trained, clips):
    output_dir, result = trained
    classifier = VideoClassifier.from_checkpoint(output_dir, device="cpu")
    row = result["results"]["test"]
    inputs = [classifier.processor(videos=[str(path)]) for path in sorted((clips / "test").glob("*.avi"))]
    names = classifier.model.config.label2id
    labels = [names[path.name.split("_")[1]] for path in sorted((clips / "test").glob("*.avi"))]
    with torch.no_grad():
        losses = [
            classifier.model(**i, labels=torch.tensor([label])).loss for i, label in zip(inputs, labels, strict=True)
        ]
    assert torch.stack(losses).mean().item() == pytest.approx(row["metrics"]["loss"], rel=1e-4)


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in OWN])
def test_every_recipe_builds_trains_saves_and_resumes(clips, tmp_path, name):
    settings = ["data.train_split=train", "eval.batch_size=2"]
    settings += ["data.num_frames=3"] if "bilstm" not in name else ["data.stride=40"]
    settings += ["data.options={validation_fraction: 0.5}"] if "literal" not in name else []
    if "kinetics" in name:
        settings += ["eval.splits={test: final}"]
    whole = main(ClassificationTask(), cnn_rnn_run(clips, tmp_path / "whole", *settings, recipe=RECIPES / name))
    assert whole["finished"] and whole["step"] == 2
    parts = tmp_path / "parts"
    shutil.copytree(tmp_path / "whole", parts, symlinks=True)
    shutil.rmtree(parts / "checkpoints" / "step_00000002")
    for link in ("last", "best"):
        (parts / "checkpoints" / link).unlink(missing_ok=True)
    resumed = main(ClassificationTask(), cnn_rnn_run(clips, parts, *settings, recipe=RECIPES / name))
    assert resumed["results"] == whole["results"] and steps_of(parts) == steps_of(tmp_path / "whole")
    first, second = (load_file(path / "checkpoints/last/model.safetensors") for path in (tmp_path / "whole", parts))
    assert all(first[key].equal(second[key]) for key in first)
    recipe, checkpoint = ClassificationRecipe.load(RECIPES / name), parts / "checkpoints" / "last"
    config = json.loads((checkpoint / "config.json").read_text())
    processor = json.loads((checkpoint / "video_preprocessor_config.json").read_text())
    assert recipe.model.overrides == {key: config[key] for key in recipe.model.overrides}
    assert processor["sampling"] == (recipe.eval.sampling or recipe.data.sampling)  # it is saved as it evaluates
    for key in ("interpolation", "do_rescale", "do_normalize"):
        assert getattr(recipe.data, key) in (None, processor[key])


def test_there_is_a_recipe_for_each_row_of_the_report():
    rows = {}
    for name in OWN:
        recipe = ClassificationRecipe.load(RECIPES / name)
        if "_resnet" in name:
            assert (recipe.data.sampling, recipe.data.num_frames) == ("first", 100), name  # as the report
            batch, lr = recipe.run.global_batch_size, recipe.optim.lr
            key = (
                recipe.model.overrides["rnn_type"],
                recipe.model.parts["backbone"],
                batch,
                lr,
                recipe.optim.schedule,
            )
            assert key not in rows, name
            rows[key] = name
            assert recipe.optim.plateau_patience == 2 and (
                recipe.optim.schedule == "constant" or recipe.eval.metric == "loss"
            )
    assert len(rows) == 15
    assert sum(key[0] == "rnn" for key in rows) == 6 and sum(key[-1] == "plateau" for key in rows) == 4


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data.samplng=all", "data has no key 'samplng'. Did you mean 'sampling'"),
        (
            "data.sampling=random",
            "data.sampling: expected one of uniform, first, segment_random, all, fps, multi_clip",
        ),
        ("data.placement=even", "data has no key 'placement'"),
        ("data.max_text_length=20", "data has no key 'max_text_length'"),
        ("eval.score_pooling=max", "eval has no key 'score_pooling'"),
        ("data.sampling=fps", "data.fps: missing"),
        ("data.augment_mode=offline_copy", "augment_mode: offline_copy needs an augmentation"),
        ("eval.num_draws=2", "num_draws: 2 draws of the same frames"),
        ("eval.metric=f1", "eval.metric: 'f1' chooses no checkpoint here. Use .*macro_f1"),
        ("eval.final_checkpoint=first", "eval.final_checkpoint: expected one of best, last"),
    ],
)
def test_mistakes_in_a_recipe_are_named(setting, message):
    with pytest.raises(RecipeError, match=message):
        ClassificationRecipe.load("cnn_rnn/video_folder.yaml", [setting])


def test_help_lists_the_keys_of_the_family(capsys):
    with pytest.raises(SystemExit):
        main(ClassificationTask(), ["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for key in ("data.sampling", "data.stride", "data.augment_mode", "eval.num_clips"):
        assert key in text
    assert "data.placement (one of even, official, default even) [families without others]" in text
    assert "data.augment_mode (one of online, offline_copy, default online) [cnn_rnn]" in text
    assert "cnn_rnn/report_literal.yaml" in text and "data.features" in text


# ----------------------------------------------------------------------------------------------------------------------
# Processes, all frames
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("train_batchnorm", [False, True])
def test_two_processes_give_the_weights_and_scores_of_one(clips, tmp_path, train_batchnorm):
    settings = ["data.options={validation_fraction: 0.5}", "data.sampling=all", "data.stride=12", "run.total_steps=4"]
    settings += ["run.global_batch_size=8", "data.augmentation={flip: 0.5}", "model.overrides={head_dropout: 0.0}"]
    settings += ["run.eval_every=2", "eval.splits={validation: tuning, test: final}", "eval.metric=loss"]
    settings += ["eval.batch_size=3", "optim.lr=1e-2", "model.overrides.backbone_trainable=last_stage"]
    settings += [f"model.overrides.train_batchnorm={train_batchnorm}", "model.overrides.frame_chunk_size=null"]
    one = main(ClassificationTask(), cnn_rnn_run(clips, tmp_path / "one", *settings))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--main_process_port", "0"]
    launcher += ["--config_file", str(RECIPES / "accelerate" / "two_cpu_processes.yaml")]
    script = str(ROOT / "train_scripts" / "video_classification.py")
    command = [*launcher, script, *cnn_rnn_run(clips, tmp_path / "two", *settings)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "x 2 processes" in done.stderr
    for ours, theirs in zip(steps_of(tmp_path / "one"), steps_of(tmp_path / "two"), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    weights, logits = (
        [load_file(tmp_path / name / place) for name in ("one", "two")]
        for place in ("checkpoints/last/model.safetensors", "predictions/test/tensors.safetensors")
    )
    torch.testing.assert_close(*weights, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-5)
    scores = json.loads((tmp_path / "two" / "results.json").read_text())["splits"]
    for split, row in one["results"].items():
        assert row["metrics"] == pytest.approx(scores[split]["metrics"], rel=1e-4)


@pytest.mark.slow
def test_all_frames_are_not_worse_unless_padding_is_read(tmp_path, monkeypatch):
    """The report's failure: with all frames, most clips end in zeros, after which it read the network's state."""
    clips = generate_action_clips(tmp_path / "clips", progress=False)
    backbone, *_ = write_random_backbones(tmp_path)

    def accuracy(name, *frames):
        """Of an LSTM on vectors of these frames: as it is, and the lower end of its interval."""
        settings = [
            f"model.parts.backbone={backbone}",
            "model.overrides.rnn_hidden_size=64",
            "data.dataset=action_clips",
        ]
        settings += ["model.overrides.frame_projection_size=64", "data.config=null", f"data.data_dir={clips}", *frames]
        settings += ["data.image_size=48", "data.num_workers=0", "optim.lr=3e-3", "optim.max_grad_norm=1.0"]
        settings += ["optim.schedule=linear", "optim.warmup_ratio=0.1", "run.num_epochs=null", "run.total_steps=200"]
        settings += [
            "run.eval_every=200",
            "run.patience=null",
            f"run.output_dir={tmp_path / name}",
            "eval.batch_size=60",
        ]
        recipe = ["--recipe", "cnn_rnn/lstm_resnet50_b16_lr1e-4_plateau.yaml"]
        arguments = [*recipe, *(part for setting in settings for part in ("--set", setting))]
        extract.main(arguments)
        metrics = main(ClassificationTask(), arguments)["results"]["test"]["metrics"]
        return metrics["accuracy"], metrics["accuracy_ci_low"]

    all_frames = (f"data.features={tmp_path / 'all_frames'}", "data.sampling=all", "data.num_frames=null")
    sixteen = (f"data.features={tmp_path / 'sixteen'}", "data.sampling=uniform", "data.num_frames=16")
    (uniform, uniform_low), (whole, whole_low) = accuracy("uniform", *sixteen), accuracy("all", *all_frames)
    assert whole >= uniform_low and uniform >= whole_low

    def join_naively(visuals):
        joined = join_videos(visuals)
        return {**joined, "frame_mask": torch.ones_like(joined["frame_mask"])}

    monkeypatch.setattr(items, "join_videos", join_naively)
    assert accuracy("naive", *all_frames)[0] <= whole - 0.3


# ----------------------------------------------------------------------------------------------------------------------
# Items and batches
# ----------------------------------------------------------------------------------------------------------------------


class Recorder:
    """In the place of a processor: as many frames as the video's name says, and what it was called with."""

    def __init__(self):
        self.calls = []

    def __call__(self, videos, **options):
        self.calls.append((videos[0], options))
        frames = torch.full((1, int(videos[0]), 2), float(videos[0]))
        return {"frame_features": frames, "frame_mask": torch.ones(1, int(videos[0]), dtype=torch.long)}

    def num_frames(self, video):
        return int(video)


class Rows(dict):
    def __len__(self):
        return len(self["video_id"])

    def __getitem__(self, key):
        return dict.__getitem__(self, key) if isinstance(key, str) else {name: self[name][key] for name in self}


ROWS = Rows(video_id=["a", "b", "c"], video=["5", "2", "3"], label=[0, 1, 1])


def test_batches_of_clips_of_any_length_are_padded_on_the_right():
    items = LabelledVideos(ROWS, Recorder(), {}, seed=0)
    assert items.lengths == [5, 2, 3]
    batch = LabelledCollator()([items[0, index] for index in range(3)])
    assert batch.inputs["frame_mask"].tolist() == [[1] * n + [0] * (5 - n) for n in (5, 2, 3)]
    assert batch.inputs["frame_features"].shape == (3, 5, 2) and batch.inputs["frame_features"][1, 2:].eq(0).all()
    assert batch.targets["labels"].tolist() == [0, 1, 1]
    windows = [{"pixel_values": torch.ones(1, 2, n, 3, 4, 4), "frame_mask": torch.ones(1, 2, n)} for n in (3, 1)]
    joined = join_videos(windows)
    assert joined["pixel_values"].shape == (2, 2, 3, 3, 4, 4)
    assert joined["pixel_values"][:, 0, :, 0, 0, 0].tolist() == [[1, 1, 1], [1, 0, 0]]
    with pytest.raises(RuntimeError):  # without a mask nobody could tell padding from frames
        join_videos([{"pixel_values": torch.ones(1, n, 3)} for n in (3, 1)])


def test_several_labels_become_marks():
    item = LabelledItem({"pixel_values": torch.zeros(1, 2)}, [0, 2])
    batch = LabelledCollator(3)([item, item._replace(label=1)])
    assert batch.targets["labels"].tolist() == [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]


def test_what_is_drawn_follows_from_seed_epoch_and_item():
    def calls_of(options, with_copies=False):
        recorder = Recorder()
        items = LabelledVideos(ROWS, recorder, options, 7, with_copies)
        for epoch in (0, 1):
            [items[epoch, index] for index in range(len(items))]
        return items, recorder.calls

    assert all("seeds" not in options for _, options in calls_of({"sampling": "uniform"})[1])
    for options in ({"sampling": "segment_random"}, {"augmentation": {"flip": 0.5}}):
        _, calls = calls_of(options)
        assert [c["seeds"] for _, c in calls] == [[(7, epoch, index)] for epoch in (0, 1) for index in range(3)]
    items, calls = calls_of({"augmentation": {"flip": 0.5}}, with_copies=True)
    assert len(items) == 6 and items.lengths == [5, 2, 3] * 2 and len(set(items.ids)) == 6
    plain, copies = calls[:3], calls[3:6]
    assert all(c["augmentation"] is None and "seeds" not in c for _, c in plain)
    assert all(c["augmentation"] and c["seeds"] == [(7, 0, index)] for index, (_, c) in enumerate(copies, start=3))
    assert calls[9:] == copies  # the same in the next epoch


# ----------------------------------------------------------------------------------------------------------------------
# Predicting and comparing
# ----------------------------------------------------------------------------------------------------------------------


def test_predict_names_files_and_folders(trained, clips, tmp_path, capsys):
    output_dir, _ = trained
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    videos = sorted(map(str, (clips / "test").glob("*.avi")))
    found = predict.main(
        ["--checkpoint", str(output_dir), "--json", str(clips / "test"), str(tmp_path / "broken.mp4")]
    )
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == found and [row["video"] for row in found[:5]] == videos and "broken.mp4" in found[5]["error"]
    logits = load_file(output_dir / "predictions" / "test" / "tensors.safetensors")["logits"]
    records = json.loads((output_dir / "predictions" / "test" / "records.json").read_text())
    number = [row["video_id"] for row in records["rows"]].index(Path(videos[0]).stem)
    expected = logits[number].softmax(0)
    ours = [found[0]["probabilities"][name] for name in records["class_names"]]
    assert ours == pytest.approx(expected.tolist(), abs=1e-5)
    assert list(found[0]["probabilities"].values()) == sorted(ours, reverse=True)
    predict.main(["--checkpoint", str(output_dir), "--top", "1", videos[0]])
    assert capsys.readouterr().out.count("%") == 1


def test_windows_cover_a_video_once(trained, clips):
    output_dir, _ = trained
    video = max((clips / "test").glob("*.avi"), key=lambda path: path.stat().st_size)
    (found,) = predict.main(["--checkpoint", str(output_dir), "--windows", "1.5", str(video)])
    spans = found["windows"]
    assert spans[0]["start_s"] == 0 and all(a["end_s"] == b["start_s"] for a, b in zip(spans, spans[1:], strict=False))
    assert len(spans) > 2 and all(abs(sum(span["probabilities"].values()) - 1) < 1e-5 for span in spans)
    classifier = VideoClassifier.from_checkpoint(output_dir, device="cpu")
    (whole,) = classifier.classify_windows(str(video), 1000)
    assert whole.probabilities == pytest.approx(classifier.classify(str(video)), abs=1e-5)
    assert whole.label in classifier.model.config.label2id and whole.end_s == pytest.approx(spans[-1]["end_s"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such folder or file"),
        (["--checkpoint", "{folder}", "{video}"], "--checkpoint .*test: .*config.json"),
        (["--windows", "0", "{video}"], "2"),  # the exit code of argparse
        (["--picture", "x.png", "{video}"], "2"),
        (["--windows", "1", "--picture", "x.png", "{folder}"], "draws one video, got 5"),
    ],
)
def test_predict_says_what_is_wrong(trained, clips, arguments, message):
    places = {"video": next((clips / "test").glob("*.avi")), "folder": clips / "test"}
    arguments = ["--checkpoint", str(trained[0]), *(part.format(**places) for part in arguments)]
    with pytest.raises(SystemExit, match=message):
        predict.main(arguments)


def test_labels_are_drawn_along_a_video(trained, clips, tmp_path):
    video, picture = next((clips / "test").glob("*.avi")), tmp_path / "labels.png"
    arguments = ["--checkpoint", str(trained[0]), "--windows", "2", "--picture", str(picture), str(video)]
    if importlib.util.find_spec("matplotlib"):
        predict.main(arguments)
        assert picture.read_bytes().startswith(b"\x89PNG")
    else:
        with pytest.raises(SystemExit, match=r"--picture: .*pip install .clipbert\[plots\]"):
            predict.main(arguments)


def test_two_models_are_compared_on_the_same_videos(trained, clips, tmp_path, capsys):
    first = trained[0] / "predictions" / "test"
    same = compare.main([str(first), str(first), "--json"])
    assert same["num_only_first"] == same["num_only_second"] == 0 and same["p_value"] == 1
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(same))
    assert same["first"]["accuracy"] == trained[1]["results"]["test"]["metrics"]["accuracy"]
    other = shutil.copytree(first, tmp_path / "other")
    records = json.loads((other / "records.json").read_text())
    records["rows"][0]["skipped"] = "damaged"
    (other / "records.json").write_text(json.dumps(records))
    assert compare.main([str(first), str(other)])["num_left_out"] == 1
    assert "no clear difference" in capsys.readouterr().out
    records["rows"][1]["gold"] = (records["rows"][1]["gold"] + 1) % 5
    (other / "records.json").write_text(json.dumps(records))
    with pytest.raises(ValueError, match=f"not of the same videos .*\n *{records['rows'][1]['video_id']}"):
        compare.main([str(first), str(other)])


# ----------------------------------------------------------------------------------------------------------------------
# The Hub
# ----------------------------------------------------------------------------------------------------------------------

READ = """
import json
from transformers import AutoModelForVideoClassification, AutoVideoProcessor, pipeline

name, *videos = sys.argv[1:]
pipe = pipeline("video-classification", model=name, trust_remote_code=True)
one, several = pipe(videos[0]), pipe(videos)
model = AutoModelForVideoClassification.from_pretrained(name, trust_remote_code=True)
processor = AutoVideoProcessor.from_pretrained(name, trust_remote_code=True)
logits = model(**processor(videos=videos)).logits
print(json.dumps({"one": one, "several": several, "labels": [model.config.id2label[i] for i in logits.argmax(1).tolist()]}))
"""


@pytest.mark.slow
def test_it_is_published_and_read_where_this_package_is_not_installed(trained, clips, tmp_path):
    output_dir, result = trained
    short = tmp_path / "short.mp4"  # fewer frames than the processor would take
    write_numbered(short, 2)
    videos = [*sorted(map(str, (clips / "test").glob("*.avi")))[:2], str(short)]
    checkpoint, results = output_dir / "checkpoints" / "best", output_dir / "results.json"
    command = [sys.executable, "train_scripts/publish.py", "--checkpoint", str(checkpoint), "--results", str(results)]
    command += ["--output_dir", str(tmp_path / "out"), "--push_to_hub", "me/clips", "--license", "apache-2.0"]
    with FakeHub() as hub:
        environment = {**os.environ, **hub.environment(tmp_path / "home")}
        run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        environment = hub.environment(tmp_path / "elsewhere" / "hf_home")
        found = json.loads(run_without_package(READ, tmp_path / "elsewhere", "me/clips", *videos, **environment))
        names, card = set(hub.files("me/clips")), hub.files("me/clips")["README.md"].decode()
    assert {
        "config.json",
        "model.safetensors",
        "video_preprocessor_config.json",
        "modeling_cnn_rnn.py",
        "recurrent_cnn_rnn.py",
    } <= names
    assert not any("tokenizer" in name or "clipbert" in name for name in names)
    metrics = result["results"]["test"]["metrics"]
    low, high = 100 * metrics["accuracy_ci_low"], 100 * metrics["accuracy_ci_high"]
    assert f"| {100 * metrics['accuracy']:.1f} % [{low:.1f} to {high:.1f}] |" in card
    assert "chance_accuracy 20.0 %" in card and "blind_accuracy" in card and "accuracy_ci_low" not in card
    assert "50% held out, whole recordings" in card and "sampling='uniform'" in card and "num_frames=3" in card

    classifier = VideoClassifier.from_checkpoint(output_dir, device="cpu")
    for video, predicted, label in zip(videos, found["several"], found["labels"], strict=True):
        expected = classifier.classify(video)
        assert [entry["label"] for entry in predicted] == list(expected) and label == next(iter(expected))
        assert [entry["score"] for entry in predicted] == pytest.approx(list(expected.values()), abs=1e-5)
    assert found["one"] == found["several"][0]


def test_flips_are_refused_where_classes_have_sides(tmp_path):
    folder = generate_synthetic(
        tmp_path / "motions", progress=False, preset="motions", num_train=6, num_validation=0, num_test=6, size=32
    )
    options = (
        "data.dataset=synthetic",
        "data.config=classification",
        "data.augmentation={flip: 0.5}",
        "data.num_frames=3",
    )
    with pytest.raises(
        ValueError, match="augmentation.flip makes left of right, which the class 'move left' tells apart"
    ):
        main(ClassificationTask(), cnn_rnn_run(folder, tmp_path / "run", *options))
