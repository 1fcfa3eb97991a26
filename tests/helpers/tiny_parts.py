# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The smallest vision and text checkpoints that a model can start from."""

import json

import torch
from transformers import BertConfig, BertForPreTraining, ResNetBackbone, ResNetConfig

from clipbert.datasets_scripts.synthetic.texts import vocabulary


def write_parts(folder):
    """A ResNet and a BERT of the smallest sizes, in place of microsoft/resnet-50 and bert-base-uncased."""
    torch.manual_seed(0)
    resnet = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", out_features=["stage2"]
    )
    ResNetBackbone(resnet).save_pretrained(folder / "resnet")
    pixels = {"image_mean": [0.5] * 3, "image_std": [0.2] * 3, "do_rescale": True, "rescale_factor": 1 / 255}
    pixels |= {"image_processor_type": "ConvNextImageProcessor", "do_normalize": True}
    (folder / "resnet" / "preprocessor_config.json").write_text(json.dumps(pixels))
    words = vocabulary()
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    bert = BertConfig(vocab_size=len(words), max_position_embeddings=128, **sizes)
    BertForPreTraining(bert).save_pretrained(folder / "bert")
    (folder / "bert" / "vocab.txt").write_text("\n".join(words) + "\n")
    return [f"model.parts={{vision: {folder / 'resnet'}, text: {folder / 'bert'}}}"]
