# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What is said before a run: which GPUs there are not, and how a script is called."""

import os
import warnings

import pytest
import torch
from huggingface_hub.utils.logging import get_logger
from stub_task import run

from clipbert.train_scripts.engine.data import build_loader
from clipbert.train_scripts.engine.launch import LaunchError
from clipbert.train_scripts.engine.sections import DataSection
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.image_qa import ImageQATask
from clipbert.train_scripts.pretrain import PretrainTask
from clipbert.train_scripts.retrieval import RetrievalTask
from clipbert.train_scripts.video_qa import VideoQATask


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_first_line_says_so_unless_the_cpu_is_meant(tmp_path, caplog, monkeypatch):
    caplog.set_level("INFO", logger="clipbert.train_scripts")
    run(tmp_path / "unasked", "run.total_steps=1")
    assert caplog.messages[0].startswith("No GPU was found: this run is on the CPU.")
    caplog.clear()
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    run(tmp_path / "meant", "run.total_steps=1")
    assert not any("No GPU" in message for message in caplog.messages)


def test_what_the_hub_says_comes_once(tmp_path):
    run(tmp_path, "run.total_steps=1")
    assert get_logger("huggingface_hub").handlers  # it prints by itself
    assert not get_logger("huggingface_hub").propagate


def test_more_workers_than_cores_are_no_page_of_warnings():
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        iter(build_loader([1, 2], DataSection(dataset="none", num_workers=(os.cpu_count() or 1) + 1)))
    assert not said


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (0, r"^4 processes were launched, and no GPU was found: use .*one_cpu.yaml"),
        (2, r"and 2 GPU.*--num_processes 2"),
    ],
)
def test_more_processes_than_gpus_are_refused(tmp_path, monkeypatch, found, message):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: found)
    with pytest.raises(LaunchError, match=message):
        run(tmp_path)


@pytest.mark.parametrize(
    ("task", "example", "recipes"),
    [
        (RetrievalTask, "retrieval.py --recipe quickstart/retrieval.yaml", ["clipbert/retrieval_msrvtt.yaml"]),
        (VideoQATask, "video_qa.py --recipe quickstart/video_qa.yaml", ["clipbert/video_qa_tgif_count.yaml"]),
        (ImageQATask, "image_qa.py --recipe quickstart/image_qa.yaml", ["clipbert/image_qa_vqa2.yaml"]),
        (PretrainTask, "pretrain.py --recipe quickstart/pretrain.yaml", ["clipbert/pretrain_webvid.yaml"]),
    ],
)
def test_help_opens_with_an_example_and_lists_the_recipes_of_the_script(capsys, task, example, recipes):
    with pytest.raises(SystemExit):
        main(task(), ["--help"])
    shown = capsys.readouterr().out
    assert shown.splitlines()[0] == f"usage: accelerate launch train_scripts/{example} [--set section.key=value ...]"
    listed = shown.partition("\nrecipes:\n")[2].partition("\n\n")[0]
    assert all(recipe in listed for recipe in [*recipes, example.split()[-1]])
