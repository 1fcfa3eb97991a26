# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What tests of the training scripts share: a model of one layer, the settings of a two-step run, and its log."""

import json
from pathlib import Path

import pytest
import torch


MODEL = {
    "backbone_config": {
        "model_type": "resnet",
        "layer_type": "basic",
        "embedding_size": 8,
        "hidden_sizes": [8, 16],
        "depths": [1, 1],
        "out_features": ["stage2"],
    },
    "freeze_backbone_stages": 0,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Models this small lose more by handing work around than they gain."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tiny_run(dataset, config, data_dir, output_dir, *more):
    """Command line of a run of two steps on generated data; later settings replace earlier ones."""
    values = [
        "model.family=clipbert",
        f"model.config={json.dumps(MODEL)}",
        f"model.tokenizer={data_dir}/vocab.txt",
        f"data.dataset={dataset}",
        f"data.config={config}",
        f"data.data_dir={data_dir}",
        "data.image_size=48",
        "data.max_text_length=40",
        "data.num_workers=0",
        "optim.lr=1e-3",
        "optim.optimizer=adamw_official",
        "run.total_steps=2",
        "run.global_batch_size=4",
        "run.micro_batch_size=2",
        f"run.output_dir={output_dir}",
        "eval.splits={test: final}",
        *more,
    ]
    return [part for value in values for part in ("--set", value)]


def start_from(checkpoint):
    """Settings by which a `tiny_run` goes out from a checkpoint, not from random weights."""
    return [f"model.from_pretrained={checkpoint}", "model.config=null", "model.tokenizer=null"]


def steps_of(output_dir):
    """The logged steps of a run, without what differs from run to run: times."""
    rows = [json.loads(line) for line in (Path(output_dir) / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("wait_s", "step_s")} for row in rows if "loss" in row]
