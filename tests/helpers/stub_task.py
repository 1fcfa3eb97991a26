# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A task with a ten-line model for tests of the engine, and what they do with its runs.

`python tests/helpers/stub_task.py --recipe FILE` runs the task itself, so that tests can launch and kill it.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

from clipbert.processing.decoding import VideoDecodeError
from clipbert.train_scripts.engine.recipe import Recipe
from clipbert.train_scripts.engine.task import Batch, Parts, Task, TrainItems, main
from clipbert.train_scripts.tasks.videos import VideoSection


ROOT = Path(__file__).parents[2]
TWO_PROCESSES = (sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2")


class StubConfig(PreTrainedConfig):
    model_type = "stub"
    width: int = 6


class StubModel(PreTrainedModel):
    config: StubConfig
    _no_split_modules = ["Linear"]

    def __init__(self, config):
        super().__init__(config)
        self.grid_encoder = nn.Linear(3, config.width)
        self.head = nn.Linear(config.width, 1)
        self.post_init()

    def forward(self, x, y):
        prediction = self.head(nn.functional.dropout(self.grid_encoder(x).tanh(), 0.3, self.training))[:, 0]
        return ModelOutput(loss=(prediction - y).square().mean(), logits=prediction)


class StubSet(TrainItems):
    """Points whose noise depends on (epoch, index); the items named in `broken` cannot be decoded."""

    def __init__(self, num_items, broken=(), pause_s=0.0):
        self.ids = [f"item{index}" for index in range(num_items)]
        self.lengths = [(7 * index) % 5 for index in range(num_items)]
        self.broken, self.pause_s = set(broken), pause_s

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, key):
        epoch, index = key
        if index in self.broken:
            raise VideoDecodeError(f"item{index}.mp4", "it is broken")
        time.sleep(self.pause_s)
        noise = torch.Generator().manual_seed(1000 * epoch + index)
        x = torch.tensor([index % 5, index % 3, 1.0]) + 0.1 * torch.randn(3, generator=noise)
        return {"x": x, "y": x.sum() / 4}


class StubExamples(StubSet):
    def __getitem__(self, index):
        return {**super().__getitem__((0, index)), "id": self.ids[index]}

    @staticmethod
    def collate(items):
        return Batch(collate(items).inputs, {"id": [item["id"] for item in items]})


def collate(items):
    return Batch({name: torch.stack([item[name] for item in items]) for name in ("x", "y")}, {})


@dataclass(kw_only=True)
class StubRecipe(Recipe):
    data: VideoSection = field(default_factory=VideoSection)


class StubTask(Task):
    name, recipe_class = "stub", StubRecipe

    def build(self, recipe):
        options = recipe.data.options
        train_set = StubSet(options.get("num_items", 11), options.get("broken", ()), options.get("pause_s", 0.0))
        model = StubModel.from_pretrained(recipe.model.from_pretrained) if recipe.model.from_pretrained else None
        eval_sets = {name: StubExamples(7) for name in ("validation", "test")}
        return Parts(model or StubModel(StubConfig()), None, train_set, collate, eval_sets)

    def training_step(self, model, batch):
        loss = model(**batch.inputs).loss
        return {"loss": loss}, {"mean_x": batch.inputs["x"].mean()}

    def eval_step(self, model, batch):
        error = (model(**batch.inputs).logits - batch.inputs["y"]).abs()
        return {"error": error, "id": batch.targets["id"]}

    def measure(self, predictions):
        error, ids = predictions.tensors["error"], [row["id"] for row in predictions.rows]
        assert len(error) == len(ids) == len(set(ids))
        return {"error": float(error.mean()), "num_examples": len(ids)}


class NoDropout(StubTask):
    """Dropout masks differ between one batch of 8 and eight of 1."""

    def training_step(self, model, batch):
        return super().training_step(model.eval(), batch)


class PairsModel(PreTrainedModel):
    """A dual encoder of points with as many words as their number says, and a temperature that the loss reads."""

    config: StubConfig
    _no_split_modules = ["Linear"]

    def __init__(self, config):
        super().__init__(config)
        self.grid_encoder, self.word_encoder = nn.Linear(3, config.width), nn.Linear(1, config.width)
        self.temperature = nn.Parameter(torch.tensor(2.0))
        self.post_init()

    def forward(self, x, words, mask):
        videos = nn.functional.dropout(self.grid_encoder(x).tanh(), 0.3, self.training)
        return videos, nn.functional.dropout(self.word_encoder(words[..., None]).tanh(), 0.3, self.training)

    def contrast(self, videos, words, mask):
        """Every video with every text, whose words are averaged: the loss of the whole batch."""
        texts = (words * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        logits = self.temperature * videos @ texts.T
        labels = torch.arange(len(logits))
        return nn.functional.cross_entropy(logits, labels) + nn.functional.cross_entropy(logits.T, labels)


class PairsTask(StubTask):
    """A loss over all items of a step."""

    name, has_global_loss = "pairs", True

    def build(self, recipe):
        parts = super().build(recipe)
        return replace(parts, model=PairsModel(StubConfig()), collate=collate_pairs)

    def features(self, model, batch):
        videos, words = model(**batch.inputs)
        return {"videos": videos, "words": words, "mask": batch.inputs["mask"]}

    def global_loss(self, model, features):
        loss = model.contrast(**features)
        return {"loss": loss}, {"num_items": len(features["videos"])}

    def eval_step(self, model, batch):
        videos, words = model(batch.inputs["x"], batch.inputs["y"][:, None], None)
        return {"error": (videos - words[:, 0]).abs().sum(1), "id": batch.targets["id"]}


def collate_pairs(items):
    """As many words as the item's number says; the batch is as wide as its longest."""
    x, lengths = torch.stack([item["x"] for item in items]), [1 + int(item["x"][0].round()) for item in items]
    words = nn.utils.rnn.pad_sequence(
        [item["y"] + torch.arange(n) / 3 for item, n in zip(items, lengths, strict=True)], True
    )
    mask = torch.arange(words.shape[1]) < torch.tensor(lengths)[:, None]
    return Batch({"x": x, "words": words, "mask": mask}, {})


TASKS = {"stub": StubTask, "pairs": PairsTask}


def settings_of(output_dir, *more):
    values = [
        "model.family=clipbert",  # some family: the model is the stub
        "model.config={}",
        "model.tokenizer=none",
        "data.dataset=stub",
        "data.num_workers=0",
        "run.total_steps=12",
        "run.global_batch_size=4",
        "run.micro_batch_size=2",
        "optim.lr=0.05",
        "optim.optimizer=adamw_official",  # the one with numbers of its own to save
        f"run.output_dir={output_dir}",
        *more,
    ]
    return [part for value in values for part in ("--set", value)]


def run(output_dir, *more, task=None):
    return main(task or StubTask(), settings_of(output_dir, *more))


def steps_of(output_dir):
    """What the log says of each step, without the times."""
    rows = [json.loads(line) for line in (Path(output_dir) / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("wait_s", "step_s")} for row in rows if "loss" in row]


def weights_of(output_dir):
    return StubModel.from_pretrained(Path(output_dir) / "checkpoints" / "last").state_dict()


def assert_same_run(first, second, rtol=0.0, atol=0.0):
    first_rows, second_rows = steps_of(first), steps_of(second)
    assert [row["step"] for row in first_rows] == [row["step"] for row in second_rows]
    for a, b in zip(first_rows, second_rows, strict=True):
        assert a == (b if rtol == 0 else pytest.approx(b, rel=rtol, abs=atol))
    a, b = weights_of(first), weights_of(second)
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=rtol, atol=atol)


def launch(output_dir, *more, launcher=(sys.executable,), **environment):
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": "1",
        **environment,
    }
    command = [*launcher, str(Path(__file__)), *settings_of(output_dir, *more)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for_step(output_dir, step, process):
    log = Path(output_dir) / "log.jsonl"
    while not (log.is_file() and log.read_text().count('"loss"') >= step):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.005)


if __name__ == "__main__":
    main(TASKS[os.environ.get("STUB_TASK", "stub")]())
