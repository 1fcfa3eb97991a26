# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""`action_detection.py`: on records of AVA in their real format and on generated boxes, trained, resumed, scored, published."""

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from clean_process import run_without_package
from PIL import Image
from safetensors.torch import load_file
from tiny_mug_stan import tiny_clip, write_clip
from tiny_runs import one_thread, steps_of  # noqa: F401
from transformers import AutoModelForSequenceClassification, AutoProcessor

from clipbert import MugSTANForVideoClassification, MugSTANProcessor
from clipbert.datasets_scripts import load_benchmark
from clipbert.datasets_scripts.synthetic import generate_synthetic
from clipbert.support.families import load_trained
from clipbert.train_scripts.action_detection import DetectionRecipe, DetectionTask
from clipbert.train_scripts.engine.predictions import Predictions, read_predictions
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.publish import main as publish
from clipbert.train_scripts.publishing import save_for_hub
from clipbert.train_scripts.rescore import rescore
from clipbert.train_scripts.tasks.action_detection.items import (
    BoxCollator,
    BoxedItem,
    EvaluatedKeyframes,
    Keyframes,
    boxes_to_train_on,
)
from clipbert.train_scripts.tasks.action_detection.measures import describe_classes, measure
from clipbert.train_scripts.tasks.action_detection.pictures import draw_detections


ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "train_scripts" / "recipes"
KINETICS = "outputs/mug_stan_video_classification_kinetics400/checkpoints/best"  # where the recipe starts from
AVA = {
    "ava_train_v2.2.csv": (
        "film_a,0902,0.1,0.1,0.5,0.9,12,0\nfilm_a,0902,0.1,0.1,0.5,0.9,80,0\nfilm_a,0902,0.6,0.2,0.9,0.9,14,1\n"
        "film_a,0903,0.1,0.1,0.5,0.9,12,0\nfilm_b,0902,0.2,0.1,0.7,0.9,2,0\nfilm_b,0903,0.2,0.1,0.7,0.9,11,0\n"
    ),
    "ava_train_excluded_timestamps_v2.2.csv": "film_b,0903\n",
    "ava_val_v2.2.csv": (
        "film_c,0902,0.1,0.1,0.5,0.9,12,0\nfilm_c,0902,0.1,0.1,0.5,0.9,2,0\nfilm_c,0903,0.5,0.1,0.9,0.9,14,0\n"
        "film_c,0904,0.5,0.1,0.9,0.9,12,0\nfilm_d,0902,0.0,0.0,1.0,1.0,14,0\n"
    ),
    "ava_val_excluded_timestamps_v2.2.csv": "film_c,0904\n",
    "person_proposals.csv": (
        "film_a,0902,0.1,0.1,0.5,0.9,0.99\nfilm_a,0902,0.1,0.1,0.5,0.6,0.99\nfilm_c,0902,0.1,0.1,0.5,0.88,0.95\n"
        "film_c,0902,0.6,0.1,0.8,0.8,0.92\nfilm_c,0902,0.0,0.0,0.2,0.2,0.5\nfilm_c,0904,0.5,0.1,0.9,0.9,0.99\n"
        "film_c,0905,0.5,0.1,0.9,0.9,0.97\nfilm_d,0902,0.0,0.0,1.0,0.98,1.0\n"
    ),
    "ava_action_list_v2.2_for_activitynet_2019.pbtxt": "".join(
        f'item {{\n  name: "{name}"\n  id: {number}\n}}\n'
        for number, name in ((11, "sit"), (12, "stand"), (14, "walk"))
    ),
}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, write_video):
    """AVA with films of eight seconds, and a classifier of videos that training starts from."""
    folder = tmp_path_factory.mktemp("workspace")
    (folder / "data" / "ava").mkdir(parents=True)
    for name, text in AVA.items():
        (folder / "data" / "ava" / name).write_text(text)
    for name in "abcd":
        write_video(folder / "data" / "ava" / f"film_{name}.mp4", num_frames=80)
    clip = write_clip(folder / "clip")
    model = MugSTANForVideoClassification.from_clip_pretrained(clip, stan_num_layers=2)
    processor = MugSTANProcessor.from_clip_pretrained(clip)
    model.set_classes(["run", "sit down"], processor)
    kinetics = folder / KINETICS
    model.save_pretrained(kinetics)
    processor.save_pretrained(kinetics)
    return folder


def arguments_of(output_dir, *more):
    """Two steps of the recipe, in the present folder."""
    values = [
        "data.options.starts_at_s=900",
        "data.num_workers=0",
        "data.frame_span=40",
        "run.mixed_precision=no",
        "run.num_epochs=null",
        "run.total_steps=2",
        "run.global_batch_size=2",
        "run.micro_batch_size=1",
        "run.save_every=1",
        "run.save_total_limit=null",
        f"run.output_dir={output_dir}",
        "eval.batch_size=2",
        *more,
    ]
    settings = [part for value in values for part in ("--set", value)]
    return ["--recipe", str(RECIPES / "mug_stan" / "action_detection_ava.yaml"), *settings]


def run_ava(output_dir, *more):
    return main(DetectionTask(), arguments_of(output_dir, *more))


@pytest.fixture(scope="module")
def trained(workspace, tmp_path_factory):
    output_dir = tmp_path_factory.mktemp("trained") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workspace)
        return output_dir, run_ava(output_dir)


def test_the_recipe_has_the_values_of_the_paper():
    recipe = DetectionRecipe.load(RECIPES / "mug_stan" / "action_detection_ava.yaml")
    rates = recipe.optim.lr, recipe.optim.groups["branches"].lr, recipe.optim.weight_decay
    assert rates == (8e-6, 8e-5, 0.02) and recipe.run.global_batch_size == 128
    assert (recipe.data.num_frames, recipe.data.frame_span) == (8, 300)


def test_ava_is_trained_scored_and_scored_again(trained, workspace):
    output_dir, result = trained
    metrics = result["results"]["validation"]["metrics"]
    # excluded: film_c,0904; of the detector's boxes 0905 has nobody, and one of 0902 scores too low
    assert (metrics["num_examples"], metrics["num_boxes"], metrics["num_detections"]) == (4, 3, 4)
    assert metrics["num_classes"] == 2  # stand and walk; 2 is not evaluated, nobody sits
    assert 0 <= metrics["mAP"] <= 1 and metrics["mAP_ci_low"] <= metrics["mAP_ci_high"]
    # stand: 1 of 4 boxes is right; walk: the whole picture alone, one of two is found
    assert metrics["blind_mAP"] == pytest.approx((1 / 4 + 1 / 4 * 1 / 2) / 2)
    assert rescore(output_dir / "predictions" / "validation") == metrics
    assert all(step["grad_norm"] > 0 for step in steps_of(output_dir))
    found = json.loads((output_dir / "predictions" / "validation" / "records.json").read_text())
    assert [row["keyframe_id"] for row in found["rows"]] == [
        f"film_{k}" for k in ("c,0902", "c,0903", "d,0902", "c,0905")
    ]
    assert found["rows"][0]["boxes"] == [[0.1, 0.1, 0.5, 0.88, 0.95], [0.6, 0.1, 0.8, 0.8, 0.92]]
    classes = json.loads((output_dir / "predictions" / "validation" / "classes.json").read_text())["classes"]
    assert len(classes) == 80 and [row["name"] for row in classes if row["is_evaluated"]] == ["sit", "stand", "walk"]
    assert classes[1]["num_boxes"] == 1 and classes[10]["average_precision"] is None
    means = np.mean([row["average_precision"] for row in classes if row["is_evaluated"] and row["num_boxes"]])
    assert metrics["mAP"] == pytest.approx(means)


def test_the_start_is_the_classifier(trained, workspace):
    output_dir, _ = trained
    start = load_file(workspace / KINETICS / "model.safetensors")
    end = load_file(output_dir / "checkpoints" / "last" / "model.safetensors")
    shared = start.keys() & end.keys()
    assert {name for name in end if name not in shared} == {"classifier.weight", "classifier.bias"}
    assert {name.split("_")[0] for name in start if name not in shared} == {"class"}  # its texts
    for name in shared:
        assert (start[name] - end[name]).abs().max() < 2e-3, name  # two steps away
    assert end["classifier.weight"].shape == (80, 16)
    trainable = [name for name in shared if "text_model" not in name and "post_layernorm.weight" in name]
    assert trainable and all(not start[name].equal(end[name]) for name in trainable)


def test_what_is_new_and_unused_is_reported(workspace, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(workspace)
    run_ava(tmp_path / "run", "run.total_steps=1")
    (said,) = [record.message for record in caplog.records if "new weights, to be trained" in record.message]
    assert "['classifier.bias', 'classifier.weight']" in said and "'class_tokens'" in said
    start = load_file(workspace / KINETICS / "model.safetensors")
    assert f"{sum(not name.startswith('class_') for name in start)} tensors loaded" in said
    with pytest.raises(ValueError, match="was trained as MugSTANForVideoClassification, not for ActionDetection"):
        run_ava(tmp_path / "other", "run.total_steps=0")


def test_micro_batches_change_nothing(workspace, tmp_path, monkeypatch):
    """Though one holds two boxes and the other one; dropout and stochastic depth, whose draws differ, are off."""
    monkeypatch.chdir(workspace)
    still = ["model.overrides={drop_path_rate: 0.0, classifier_dropout: 0.0}", "data.box_source=ground_truth"]
    for size in (1, 3):
        run_ava(tmp_path / str(size), *still, "run.global_batch_size=3", f"run.micro_batch_size={size}")
    for ours, theirs in zip(steps_of(tmp_path / "1"), steps_of(tmp_path / "3"), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)
    weights = [load_file(tmp_path / size / "checkpoints" / "last" / "model.safetensors") for size in ("1", "3")]
    torch.testing.assert_close(*weights, rtol=1e-4, atol=1e-6)


def test_a_run_goes_on_where_it_was_cut_off(trained, workspace, tmp_path, monkeypatch):
    monkeypatch.chdir(workspace)
    output_dir, result = trained
    shutil.copytree(output_dir, tmp_path / "run", symlinks=True)
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step_00000002")
    resumed = run_ava(tmp_path / "run")
    assert steps_of(tmp_path / "run") == steps_of(output_dir) and resumed["results"] == result["results"]
    again = run_ava(
        tmp_path / "eval", "run.total_steps=0", f"model.from_pretrained={output_dir / 'checkpoints' / 'last'}"
    )
    assert again["results"]["validation"]["metrics"] == result["results"]["validation"]["metrics"]


def test_annotated_boxes_and_a_detectors_scores(trained, workspace, tmp_path, monkeypatch):
    monkeypatch.chdir(workspace)
    output_dir, result = trained
    start = ("run.total_steps=0", f"model.from_pretrained={output_dir / 'checkpoints' / 'last'}")
    annotated = run_ava(tmp_path / "gt", *start, "eval.box_source=ground_truth")["results"]["validation"]["metrics"]
    assert (annotated["num_detections"], annotated["num_boxes"]) == (3, 3)
    assert annotated["blind_mAP"] == pytest.approx((1 / 3 + 2 / 3) / 2)
    with pytest.raises(ValueError, match=r"eval.box_source \(validation\): expected `proposals`"):
        run_ava(tmp_path / "none", *start, "data.options.proposals=null")
    weighed = run_ava(tmp_path / "weighed", *start, "eval.use_proposal_scores=true")["results"]["validation"][
        "metrics"
    ]
    folder = ["--rescore", str(output_dir / "predictions" / "validation")]
    assert main(DetectionTask(), [*folder, "--set", "eval.use_proposal_scores=true"]) == weighed


def test_published_with_a_card_that_runs(trained, workspace, tmp_path, monkeypatch):
    output_dir, _ = trained
    checkpoint = str(output_dir / "checkpoints" / "last")
    publish(
        [
            "--checkpoint",
            checkpoint,
            "--results",
            str(output_dir / "results.json"),
            "--output_dir",
            str(tmp_path / "out"),
        ]
    )
    card = (tmp_path / "out" / "README.md").read_text()
    assert "# Mug-STAN for action detection" in card and "80 classes: `action 1`" in card and "| mAP |" in card
    assert "`frame_span=40`" in card and "similarity" not in card.split("## Training")[0]
    shutil.copy(workspace / "data" / "ava" / "film_a.mp4", tmp_path / "out" / "video.mp4")
    monkeypatch.chdir(tmp_path / "out")
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code.replace(", trust_remote_code=True", ""), {})
    assert printed.getvalue().strip()
    model, processor = AutoModelForSequenceClassification.from_pretrained("."), AutoProcessor.from_pretrained(".")
    assert type(model).__name__ == "MugSTANForActionDetection" and processor.video_processor.sampling == "key_frame"
    assert processor.video_processor.do_center_crop is False and processor.video_processor.frame_span == 40


READ = """
import contextlib, io, re
from pathlib import Path

(code,) = re.findall(r"```python\\n(.*?)```", Path("README.md").read_text(), re.DOTALL)
exec(code, {})
"""


@pytest.mark.slow
def test_the_card_runs_where_this_package_is_not_installed(trained, workspace, tmp_path):
    model, processor = load_trained(trained[0] / "checkpoints" / "last")
    folder = save_for_hub(model, processor, tmp_path / "out")
    shutil.copy(workspace / "data" / "ava" / "film_a.mp4", folder / "video.mp4")
    with torch.no_grad():
        inputs = processor(videos=[folder / "video.mp4"], key_times_s=[1.0], boxes=[[[0.2, 0.1, 0.6, 0.9]]])
        scores = model(**inputs).logits[0].sigmoid()
    best = scores.argsort(descending=True)[:3].tolist()
    said = run_without_package(READ, folder).splitlines()
    assert said == [f"{model.config.id2label[label]}: {scores[label]:.2f}" for label in best]


def launch(workspace, output_dir, *more, processes=1):
    """The recipe by `accelerate launch`, in processes of their own."""
    several = ["--multi_gpu", "--num_processes", "2", "--main_process_port", "0"] if processes == 2 else ["--cpu"]
    script = str(ROOT / "train_scripts" / "action_detection.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    command = [sys.executable, "-m", "accelerate.commands.launch", *several, script, *arguments_of(output_dir, *more)]
    return subprocess.Popen(
        command, cwd=workspace, env=environment, stderr=subprocess.PIPE, text=True, process_group=0
    )


@pytest.mark.slow
def test_two_processes_count_every_box_once(trained, workspace, tmp_path):
    output_dir, result = trained
    process = launch(workspace, tmp_path / "run", "eval.batch_size=3", processes=2)
    assert process.wait(300) == 0, process.stderr.read()
    found, expected = (
        json.loads((folder / "predictions" / "validation" / "records.json").read_text())
        for folder in (tmp_path / "run", output_dir)
    )
    assert [row["keyframe_id"] for row in found["rows"]] == [row["keyframe_id"] for row in expected["rows"]]
    assert found["rows"] == expected["rows"]
    assert found["metrics"] == pytest.approx(expected["metrics"], abs=1e-6)
    for ours, theirs in zip(steps_of(tmp_path / "run"), steps_of(output_dir), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    logits = [
        load_file(folder / "predictions" / "validation" / "tensors.safetensors")["logits"]
        for folder in (tmp_path / "run", output_dir)
    ]
    torch.testing.assert_close(*logits, rtol=0, atol=1e-3)


@pytest.mark.slow
def test_a_killed_run_goes_on(trained, workspace, tmp_path):
    more = ("run.total_steps=40", "run.save_every=2")
    assert launch(workspace, tmp_path / "whole", *more).wait(300) == 0
    process = launch(workspace, tmp_path / "killed", *more)
    checkpoints, deadline = tmp_path / "killed" / "checkpoints", time.monotonic() + 200
    while not (checkpoints / "last").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert len(steps_of(tmp_path / "killed")) < 40
    assert launch(workspace, tmp_path / "killed", *more).wait(300) == 0
    assert steps_of(tmp_path / "killed") == steps_of(tmp_path / "whole")
    weights = [
        load_file(tmp_path / name / "checkpoints" / "last" / "model.safetensors") for name in ("killed", "whole")
    ]
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])


def test_keyframes_are_drawn(trained, tmp_path):
    pytest.importorskip("matplotlib")
    shutil.copytree(trained[0] / "predictions", tmp_path / "predictions")
    predictions = read_predictions(tmp_path / "predictions" / "validation")
    drawn = [path.name for path in draw_detections(predictions, tmp_path / "pictures", "validation")]
    assert drawn == [
        f"validation_keyframe_{number}.png" for number in (0, 2, 3)
    ]  # in 1 there is no box of the detector
    picture = np.asarray(Image.open(tmp_path / "pictures" / drawn[0]))
    assert len(np.unique(picture[..., :3].reshape(-1, 3), axis=0)) > 20  # lines and letters on a grey film
    predictions.rows[0]["video"] = str(tmp_path / "gone.mp4")
    assert len(list(draw_detections(predictions, tmp_path / "pictures", "validation"))) == 2


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data.box_sources=proposals", "Did you mean 'box_source'"),
        ("eval.box_source=guess", "expected one of ground_truth, proposals"),
        ("data.options.proposals=null", "box_source.*: expected `proposals` in the split .* of ava, which has none"),
        ("data.num_clips=2", "one view of a video"),
        ("data.proposal_iou=1.5", "proposal_iou"),
        ("data.sampling=start", "data.sampling: the frames around key frames are seen, whatever it says"),
        ("eval.sampling=middle", "eval.sampling: the frames around key frames are seen"),
        ("eval.num_draws=2", "eval.num_draws: 2 draws of the same frames"),
    ],
)
def test_mistakes_in_a_recipe_are_named(setting, message, workspace, tmp_path, monkeypatch):
    monkeypatch.chdir(workspace)
    with pytest.raises(ValueError, match=message):
        run_ava(tmp_path / "run", setting)


# --- items


ROW = {
    "boxes": [[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]],
    "labels": [[1, 2], [0]],
    "proposals": [
        [0.0, 0.0, 0.5, 0.95, 0.9],
        [0.5, 0.0, 1.0, 0.5, 0.99],
        [0.5, 0.0, 0.99, 1.0, 0.3],
        [0.52, 0, 1, 1, 0.9],
    ],
}


def test_proposals_take_the_classes_of_the_person_they_overlap():
    boxes, labels = boxes_to_train_on(ROW, 0.9, 0.9)
    assert boxes.tolist() == [*ROW["boxes"], [0.0, 0.0, 0.5, 0.95], [0.52, 0.0, 1.0, 1.0]]
    assert labels == [[1, 2], [0], [1, 2], [0]]
    assert boxes_to_train_on(ROW, None, 0.9).labels == ROW["labels"]
    assert len(boxes_to_train_on(ROW, 0.2, 0.4).boxes) == 6
    assert len(boxes_to_train_on({**ROW, "proposals": []}, 0.9, 0.9).boxes) == 2


def test_batches_say_which_video_a_box_belongs_to():
    def item(*labels):
        shown = {"pixel_values": torch.zeros(1, 2, 3, 8, 8), "boxes": torch.ones(len(labels), 4)}
        return BoxedItem({**shown, "video_indices": torch.zeros(len(labels), dtype=torch.int64)}, list(labels))

    batch = BoxCollator(3)([item([0], [1, 2]), item([2])])
    assert batch.inputs["video_indices"].tolist() == [0, 0, 1] and batch.inputs["pixel_values"].shape[0] == 2
    assert batch.targets["labels"].tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 1]]


def test_a_box_that_a_crop_hides_is_left_out(workspace):
    processor = AutoProcessor.from_pretrained(workspace / KINETICS)
    options = {"num_frames": 2, "augmentation": {"crop": {"scale": [0.1, 0.2]}}}
    rows = load_benchmark("ava", "v2.2", split="validation", data_dir=workspace / "data" / "ava", starts_at_s=900)
    keyframes, boxes = Keyframes(processor, options, seed=0), np.array([[0.1, 0.1, 0.3, 0.3], [0.7, 0.7, 0.9, 0.9]])
    seen = [tuple(keyframes.show(rows[0], boxes, epoch, 0)["box_indices"].tolist()) for epoch in range(30)]
    assert set(seen) > {(0,), (1,)} and (0, 1) in seen and () not in seen  # where none is seen, nothing is cropped
    # the middle of a wide picture, with nothing drawn
    narrow = Keyframes(processor, {"num_frames": 2}, seed=0)
    edge = rows.map(lambda row: {"boxes": [[0.0, 0.0, 0.05, 1.0]] * len(row["boxes"])})
    row, visual = EvaluatedKeyframes(edge, narrow, None, skip=False)[0]
    assert row["boxes"] == [] and not len(visual["boxes"])


def test_a_film_that_cannot_be_decoded(workspace, tmp_path, monkeypatch):
    shutil.copytree(workspace / "data", tmp_path / "data")
    shutil.copytree(workspace / "outputs", tmp_path / "outputs")
    (tmp_path / "data" / "ava" / "film_d.mp4").write_bytes(b"nothing")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"film_d.mp4.*set data.on_decode_error=skip"):
        run_ava(tmp_path / "run", "run.total_steps=1")
    skip = ("data.on_decode_error=skip", "data.max_decode_error_rate=0.5", "run.total_steps=1")
    metrics = run_ava(tmp_path / "other", *skip)["results"]["validation"]["metrics"]
    assert metrics["num_skipped_keyframes"] == 1 and metrics["num_examples"] == 3 and metrics["num_boxes"] == 2


# --- measures


def predictions_of(rows, logits, classes=(0, 1), **info):
    info = {"class_names": ["sit", "stand"], "evaluated_classes": list(classes), "use_proposal_scores": False, **info}
    rows = [{"keyframe_id": str(n), "video_id": "film", "skipped": "", **row} for n, row in enumerate(rows)]
    return Predictions("action_detection", rows, {"logits": np.array(logits, dtype=np.float32).reshape(-1, 2)}, info)


def test_metrics_by_hand():
    left, right = [0.0, 0.0, 0.4, 1.0], [0.5, 0.0, 1.0, 1.0]
    rows = [
        {"people": [left, right], "gold": [[0], [1]], "boxes": [[*left, 0.1], [*right, 1.0]]},
        {"people": [left], "gold": [[0]], "boxes": [[*right, 1.0]]},
        {"people": [left], "gold": [[0]], "boxes": [], "skipped": "broken"},
    ]
    found = predictions_of(rows, [[2, -1], [-2, 0], [1, 1]])
    metrics = measure(found)
    # sit: found first, one of two; stand: behind a wrong one
    assert metrics["mAP"] == pytest.approx((1 / 2 + 1 / 2) / 2) and metrics["blind_mAP"] == pytest.approx(
        (1 / 6 + 1 / 3) / 2
    )
    assert metrics["num_examples"] == 2 and metrics["num_skipped_keyframes"] == 1
    assert measure(predictions_of(rows, [[2, -1], [-2, 0], [1, 1]], classes=[0]))["mAP"] == 1 / 2
    # the detector is not sure of the person who sits
    weighed = measure(predictions_of(rows, [[2, -1], [-2, 0], [1, 1]], use_proposal_scores=True))
    assert weighed["mAP"] == pytest.approx((1 / 2 * 1 / 3 + 1 / 2) / 2)
    assert [row["average_precision"] for row in describe_classes(found)["classes"]] == [0.5, 0.5]
    assert measure(predictions_of([], []))["num_examples"] == 0


# --- generated boxes


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["data.augmentation={flip: 0.5}"], "which the class 'move right' tells apart"),
        (
            ["model.family=cnn_rnn", "model.config={}", "model.tokenizer=null"],
            "CNNRNNVideoProcessor has no options key_times_s, boxes",
        ),
        (["data.config=retrieval"], "Script for the latter: retrieval.py"),
    ],
)
def test_runs_that_cannot_be(settings, message, tmp_path):
    data = generate_synthetic(
        tmp_path / "boxes", progress=False, preset="motion_boxes", num_train=2, num_validation=2, num_test=2
    )
    values = [
        "model.family=mug_stan",
        f"model.config={json.dumps({'clip_config': tiny_clip(), 'stan_num_layers': 2})}",
        f"model.tokenizer={data}/vocab.txt",
        "data.dataset=synthetic",
        "data.config=detection",
        f"data.data_dir={data}",
        "data.image_size=48",
        f"run.output_dir={tmp_path / 'run'}",
        "run.total_steps=1",
        "eval.splits={test: final}",
        *settings,
    ]
    with pytest.raises(ValueError, match=message):
        main(DetectionTask(), [part for value in values for part in ("--set", value)])
