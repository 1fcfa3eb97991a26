# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What every training script checks of where it starts: the checkpoint, the columns of the data, the head."""

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import one_thread, start_from, tiny_run  # noqa: F401

from clipbert.datasets_scripts.synthetic import generate_synthetic
from clipbert.datasets_scripts.synthetic.images import generate_synthetic_images
from clipbert.modeling_clipbert import ClipBERTForVideoTextRetrieval, ClipBERTPreTrainedModel
from clipbert.train_scripts.engine.checkpoint import CheckpointError, list_checkpoints
from clipbert.train_scripts.engine.recipe import RecipeError
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.image_qa import ImageQATask
from clipbert.train_scripts.pretrain import PretrainTask
from clipbert.train_scripts.retrieval import RetrievalTask
from clipbert.train_scripts.tasks import building, rows
from clipbert.train_scripts.video_qa import VideoQATask


TASKS = {"retrieval": RetrievalTask, "pretrain": PretrainTask, "video_qa": VideoQATask, "image_qa": ImageQATask}
OWN_CONFIG = {"retrieval": "retrieval", "pretrain": "retrieval", "video_qa": "open_qa", "image_qa": "image_qa"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Folders of generated videos and pictures, by the name of the data set."""
    folder = tmp_path_factory.mktemp("starts")
    counts = {"num_train": 4, "num_validation": 2, "num_test": 2}
    return {
        "synthetic": generate_synthetic(folder / "shapes", progress=False, preset="easy", **counts),
        "synthetic_images": generate_synthetic_images(folder / "pictures", **counts),
    }


def run(task, data, output_dir, *more, config=None, dataset=None):
    dataset = dataset or ("synthetic_images" if task == "image_qa" else "synthetic")
    settings = tiny_run(dataset, config or OWN_CONFIG[task], data[dataset], output_dir, *more)
    return main(TASKS[task](), settings)


@pytest.fixture(scope="module")
def checkpoints(data, tmp_path_factory):
    """A trained checkpoint of each script."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for task in TASKS:
        run(task, data, folder / task, "eval.splits={}")
    return {task: folder / task / "checkpoints" / "last" for task in TASKS}


# ----------------------------------------------------------------------------------------------------------------------
# Columns
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "dataset", "config", "missing", "fitting", "script"),
    [
        ("retrieval", "synthetic", "open_qa", "caption_id", "retrieval, moments", "video_qa.py"),
        ("pretrain", "synthetic", "open_qa", "caption_id", "retrieval", "video_qa.py"),
        ("retrieval", "synthetic_images", "image_text", "video_id", "none", "pretrain.py"),
        ("image_qa", "synthetic", "open_qa", "soft_answers", "none", "video_qa.py"),
        ("video_qa", "synthetic_images", "image_qa", "options", "none", "image_qa.py"),
        (
            "video_qa",
            "synthetic",
            "moments",
            "options",
            "retrieval, open_qa, action, transition, frameqa, count",
            "moment_retrieval.py, or retrieval.py",
        ),
    ],
)
def test_data_of_another_task_are_answered_with_what_fits(
    data, tmp_path, task, dataset, config, missing, fitting, script
):
    with pytest.raises(ValueError) as caught:
        run(task, data, tmp_path / "out", dataset=dataset, config=config)
    message = str(caught.value)
    assert f"data.dataset={dataset}, data.config={config}" in message
    expected, got = message.split("; got ")
    assert missing in expected and missing not in got.split(".")[0]
    assert f"that have the former: {fitting}. Script for the latter: {script}." in message


# ----------------------------------------------------------------------------------------------------------------------
# Starting points
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("start", ["outputs/clipbert_pretrain/checkpoints/best", "/nowhere/x"])
def test_a_start_that_is_not_there_is_named_before_data_are_read(data, tmp_path, monkeypatch, task, start):
    monkeypatch.setattr(rows, "load_benchmark", None)
    with pytest.raises(RecipeError) as caught:  # which ends a script without a traceback
        run(task, data, tmp_path / "out", *start_from(start))
    for part in (f"model.from_pretrained={start}: there is no such folder in {Path.cwd()}", "pretrain.yaml"):
        assert part in str(caught.value)
    assert "convert_clipbert_checkpoint" in str(caught.value) and "model.parts={vision: " in str(caught.value)


def test_a_folder_that_is_no_checkpoint_is_named(data, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"model.from_pretrained=.* is no checkpoint: it has no config.json"):
        run("retrieval", data, tmp_path / "out", *start_from(tmp_path))


@pytest.mark.parametrize("task", TASKS)
def test_a_model_from_random_weights_needs_a_tokenizer(data, tmp_path, task):
    with pytest.raises(ValueError, match=r"model.tokenizer: missing; a model from random weights has none"):
        run(task, data, tmp_path / "out", "model.tokenizer=null")
    assert not (tmp_path / "out" / "checkpoints").exists()


@pytest.mark.parametrize("key", ["from_pretrained", "parts.vision", "parts.text"])
def test_a_name_that_the_hub_does_not_give_is_told_with_the_reason(data, tmp_path, monkeypatch, key):
    def out_of_reach(name, **options):
        raise OSError("We couldn't connect to 'https://huggingface.co'\nmore")

    monkeypatch.setattr(building.AutoConfig, "from_pretrained", out_of_reach)
    parts = {"vision": "user/resnet", "text": "user/bert"}
    if key == "parts.text":
        (tmp_path / "config.json").write_text("{}")
        parts["vision"] = str(tmp_path)
    starts = ["from_pretrained=user/model"] if key == "from_pretrained" else [f"parts={json.dumps(parts)}"]
    settings = ["model.config=null", "model.tokenizer=null", *[f"model.{start}" for start in starts]]
    with pytest.raises(
        building.StartError, match=f"model.{key}=user/.*As for the Hub: We couldn't connect to 'https://hugg[^\n]*$"
    ):
        run("retrieval", data, tmp_path / "out", *settings)


# ----------------------------------------------------------------------------------------------------------------------
# Evaluating without training
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_random_weights_are_not_evaluated(data, tmp_path, task):
    with pytest.raises(RecipeError, match="model.from_pretrained: missing; without training"):
        run(task, data, tmp_path / "out", "run.total_steps=0")


@pytest.mark.parametrize(
    ("task", "start"), [("retrieval", "pretrain"), ("retrieval", "video_qa"), ("pretrain", "retrieval")]
)
def test_a_head_that_was_not_trained_is_not_evaluated(data, checkpoints, tmp_path, task, start):
    with pytest.raises(ValueError, match=r"was trained as ClipBERTFor\w+, not for \w+: without training"):
        run(task, data, tmp_path / "out", *start_from(checkpoints[start]), "run.total_steps=0")


def test_a_checkpoint_without_its_head_is_not_evaluated(data, checkpoints, tmp_path):
    start = tmp_path / "start"
    model = ClipBERTForVideoTextRetrieval.from_pretrained(checkpoints["retrieval"])
    state = {name: value for name, value in model.state_dict().items() if not name.startswith("classifier")}
    model.save_pretrained(start, state_dict=state)
    for name in ("processor_config.json", "tokenizer.json", "tokenizer_config.json"):
        (start / name).write_bytes((checkpoints["retrieval"] / name).read_bytes())
    with pytest.raises(ValueError, match="no fitting weights of .*classifier.*without training"):
        run("retrieval", data, tmp_path / "out", *start_from(start), "run.total_steps=0")
    assert run("retrieval", data, tmp_path / "trained", *start_from(start))["finished"]


@pytest.mark.parametrize("more", [[], ["data.train_split=null"]])
@pytest.mark.parametrize("task", ["retrieval", "pretrain"])
def test_an_evaluation_needs_no_training_split(data, checkpoints, tmp_path, task, more):
    folder = tmp_path / "data"
    (folder / "videos").mkdir(parents=True)
    captions = [json.loads(line) for line in (data["synthetic"] / "test" / "captions.jsonl").read_text().splitlines()]
    for row in captions:
        (folder / row["video"]).symlink_to(data["synthetic"] / "test" / row["video"])
    (folder / "captions.jsonl").write_text("".join(json.dumps({**row, "split": "test"}) + "\n" for row in captions))
    more = [*start_from(checkpoints[task]), "run.total_steps=0", f"data.data_dir={folder}", *more]
    result = run(task, {"video_folder": folder}, tmp_path / "out", *more, dataset="video_folder")
    assert result["results"]["test"]["metrics"]["num_examples"] >= len(captions)


def test_training_needs_a_training_split(data, tmp_path):
    for task in TASKS:
        with pytest.raises(RecipeError, match="data.train_split: needed to train"):
            run(task, data, tmp_path / "out", "data.train_split=null")


def test_a_single_video_can_be_scored(data, checkpoints, tmp_path):
    more = [
        *start_from(checkpoints["retrieval"]),
        "run.total_steps=0",
        "data.train_split=test",
        "eval.splits={'test[:1]': final}",
    ]
    metrics = run("retrieval", data, tmp_path / "out", *more)["results"]["test[:1]"]["metrics"]
    assert metrics["num_examples"] == 1 and metrics["text_to_video_R@1"] == 1


# ----------------------------------------------------------------------------------------------------------------------
# From one task to another
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["pretrain", "video_qa", "image_qa"])
def test_retrieval_starts_from_every_other_head(data, checkpoints, tmp_path, caplog, start):
    with caplog.at_level(logging.WARNING):
        run("retrieval", data, tmp_path / "out", *start_from(checkpoints[start]), "eval.splits={}")
    assert "new weights, to be trained: ['classifier." in caplog.text
    config = ClipBERTForVideoTextRetrieval.from_pretrained(tmp_path / "out/checkpoints/last").config
    assert (config.num_labels, len(config.id2label)) == (2, 2)


# ----------------------------------------------------------------------------------------------------------------------
# What the config of a checkpoint freezes
# ----------------------------------------------------------------------------------------------------------------------

FROZEN_STAGE = (
    "model.overrides={freeze_backbone_stages: 2}",
    "eval.splits={}",
    "run.save_every=1",
    "run.save_total_limit=null",
)


def frozen_weights(checkpoint):
    model = ClipBERTForVideoTextRetrieval.from_pretrained(checkpoint)
    return {name: value for name, value in model.named_parameters() if not value.requires_grad}


def test_a_run_from_a_checkpoint_leaves_alone_what_is_frozen(data, checkpoints, tmp_path):
    def train():
        run("retrieval", data, tmp_path, *start_from(checkpoints["pretrain"]), *FROZEN_STAGE)

    train()
    moved, start = (
        frozen_weights(tmp_path / "checkpoints/last"),
        load_file(checkpoints["pretrain"] / "model.safetensors"),
    )
    assert any("embedder" in name for name in moved) and any("stages.1" in name for name in moved)  # and norms
    assert all(torch.equal(value, start[name]) for name, value in moved.items())
    first = load_file(tmp_path / "checkpoints/last/model.safetensors")
    shutil.rmtree(list_checkpoints(tmp_path / "checkpoints")[-1])
    train()  # resumed
    torch.testing.assert_close(load_file(tmp_path / "checkpoints/last/model.safetensors"), first, rtol=0, atol=0)


def test_a_run_that_trained_other_parameters_is_not_resumed(data, checkpoints, tmp_path, monkeypatch):
    settings = *start_from(checkpoints["pretrain"]), *FROZEN_STAGE
    with monkeypatch.context() as patch:  # as loading once left a model
        patch.setattr(ClipBERTPreTrainedModel, "freeze", lambda model: model.requires_grad_(True))
        patch.setattr(building, "freeze_as_built", lambda model: None)
        run("retrieval", data, tmp_path, *settings)
    shutil.rmtree(list_checkpoints(tmp_path / "checkpoints")[-1])
    with pytest.raises(CheckpointError, match=r"trained with other frozen parameters: .* of \[\d+, \d+\] parameters"):
        run("retrieval", data, tmp_path, *settings)


def test_a_family_that_freezes_in_its_constructor_alone(data, checkpoints, tmp_path, monkeypatch):
    monkeypatch.setattr(ClipBERTPreTrainedModel, "freeze", lambda model: None)
    run("retrieval", data, tmp_path, *start_from(checkpoints["pretrain"]), *FROZEN_STAGE)
    monkeypatch.undo()
    moved, start = (
        frozen_weights(tmp_path / "checkpoints/last"),
        load_file(checkpoints["pretrain"] / "model.safetensors"),
    )
    assert all(torch.equal(value, start[name]) for name, value in moved.items())
