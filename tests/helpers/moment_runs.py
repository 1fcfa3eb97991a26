# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What tests of `moment_retrieval.py` share: a model of a few thousand parameters, and the settings of a run of two steps."""

import json

from tiny_ci_mha import RESNET


MODEL = {"frame_encoder_config": RESNET, "hidden_size": 16, "num_attention_heads": 2, "word_size": 8, "dropout": 0.0}


def moment_run(data_dir, output_dir, *more, **config):
    """Command line of a run of two steps on generated moments; later settings replace earlier ones."""
    values = [
        "model.family=ci_mha",
        f"model.config={json.dumps({**MODEL, **config})}",
        f"model.tokenizer={data_dir}/vocab.txt",
        "data.dataset=synthetic",
        "data.config=moments",
        f"data.data_dir={data_dir}",
        "data.image_size=33",
        "data.max_segments=8",
        "data.frames_per_segment=1",
        "data.num_workers=0",
        "run.total_steps=2",
        "run.global_batch_size=4",
        "run.micro_batch_size=2",
        f"run.output_dir={output_dir}",
        "eval.splits={test: final}",
        *more,
    ]
    return [part for value in values for part in ("--set", value)]
