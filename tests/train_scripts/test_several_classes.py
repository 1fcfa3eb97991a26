# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Videos in any number of classes: trained, measured, asked and published."""

import json

import pytest
import torch
from safetensors.torch import load_file
from tiny_classifiers import cnn_rnn_run
from tiny_runs import one_thread  # noqa: F401

from clipbert.metrics.classification.classification import compute_multilabel_metrics
from clipbert.train_scripts import plots, predict, publish
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.rescore import rescore
from clipbert.train_scripts.tasks.classification.items import mark_labels
from clipbert.train_scripts.video_classification import ClassificationTask


CLASSES = ["dark", "grows", "light"]
SHOWN = {
    2: ["dark"],
    10: [],
    20: ["grows", "light"],
    30: ["light"],
}  # by the number of frames, of which each is lighter
SETTINGS = (
    "data.dataset=video_folder",
    "data.config=classification",
    "data.num_frames=2",
    "eval.splits={validation: tuning, test: final}",
    "eval.metric=mAP",
)


@pytest.fixture(scope="module")
def videos(write_video, tmp_path_factory):
    """Three videos of each kind for training, one for validation and one for the test."""
    folder = tmp_path_factory.mktemp("videos")
    lines = ["video,labels,split"]
    for length, names in SHOWN.items():
        for number, split in enumerate(["train", "train", "train", "validation", "test"]):
            path = write_video(folder / f"{length}_{number}.mp4", num_frames=length + number % 2)
            lines.append(f"{path.name},{'|'.join(names)},{split}")
    (folder / "labels.csv").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def trained(videos, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "run"
    learning = ["run.total_steps=60", "run.eval_every=30", "run.save_every=30", "optim.lr=2e-2"]
    learning += ["run.global_batch_size=12", "run.micro_batch_size=12"]
    config = {"rnn_hidden_size": 16, "head_dropout": 0.0, "initializer_range": 1.0}
    return out, main(ClassificationTask(), cnn_rnn_run(videos, out, *SETTINGS, *learning, config=config))


def test_each_class_is_a_question_of_its_own(trained):
    out, result = trained
    metrics = result["results"]["test"]["metrics"]
    assert metrics["mAP"] == 1 and metrics["num_examples"] == 4 and "accuracy" not in metrics
    assert metrics["chance_mAP"] == pytest.approx((1 / 4 + 1 / 4 + 2 / 4) / 3)
    logits = load_file(out / "predictions/test/tensors.safetensors")["logits"]
    records = json.loads((out / "predictions/test/records.json").read_text())
    assert records["class_names"] == CLASSES
    gold = mark_labels([row["gold"] for row in records["rows"]], 3)
    by_name = {row["video_id"]: marks for row, marks in zip(records["rows"], gold.tolist(), strict=True)}
    assert by_name["20_4.mp4"] == [0, 1, 1] and by_name["10_4.mp4"] == [0, 0, 0]
    expected = compute_multilabel_metrics(logits, gold)
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(gold).float())
    assert metrics["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert rescore(out / "predictions/test") == metrics


def test_it_is_asked_drawn_and_published(trained, videos, tmp_path):
    out, _ = trained
    (found,) = predict.main(["--checkpoint", str(out), str(videos / "20_4.mp4")])
    shares = found["probabilities"]  # each by itself: their sum is not 1
    assert shares["grows"] > 0.5 and shares["light"] > 0.5 > shares["dark"]
    pytest.importorskip("matplotlib", reason='pictures need matplotlib: pip install "clipbert[plots]"')
    assert [path.name for path in plots.main([str(out)])] == ["curves.png"]
    published = publish.main(["--checkpoint", str(out / "checkpoints/best"), "--output_dir", str(tmp_path / "out")])
    assert json.loads((published / "config.json").read_text())["problem_type"] == "multi_label_classification"
    assert "whether a video shows it" in (published / "README.md").read_text()


def test_a_model_for_one_class_a_video_is_refused(videos, tmp_path):
    config = {"problem_type": "single_label_classification"}
    with pytest.raises(ValueError, match=r"problem_type='single_label_classification' is for one class a video"):
        main(ClassificationTask(), cnn_rnn_run(videos, tmp_path / "run", *SETTINGS, config=config))
