# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What tests of CNN-RNN's training share: a model of a few hundred parameters, and the settings of a short run."""

import json


CNN_RNN = {
    "backbone_config": {
        "model_type": "resnet",
        "layer_type": "basic",
        "embedding_size": 4,
        "hidden_sizes": [4, 8, 8],
        "depths": [1, 1, 1],
        "out_features": ["stage3"],
    },
    "rnn_hidden_size": 8,
}


def cnn_rnn_run(data_dir, output_dir, *more, recipe=None, config=None):
    """Command line of a run of two steps on clips in the layout of ucf101_top5; later settings replace earlier ones."""
    values = [
        "model.family=cnn_rnn",
        "model.parts=null",
        f"model.config={json.dumps({**CNN_RNN, **(config or {})})}",
        "data.dataset=ucf101",
        "data.config=top5",
        f"data.data_dir={data_dir}",
        "data.image_size=33",
        "data.num_workers=0",
        "run.num_epochs=null",
        "run.total_steps=2",
        "run.global_batch_size=4",
        "run.micro_batch_size=2",
        "run.save_every=1",
        "run.save_total_limit=null",
        f"run.output_dir={output_dir}",
        *more,
    ]
    return [*(["--recipe", str(recipe)] if recipe else []), *(part for value in values for part in ("--set", value))]
