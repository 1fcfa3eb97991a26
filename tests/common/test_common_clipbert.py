# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""transformers' own common tests, on every class of ClipBERT; see `tests/helpers/common_tests.py`."""

import unittest

import torch
from common_tests import import_common
from tiny_models import MODELS, NUM_CELLS, VOCAB_SIZE, WIDTH, tiny_config, tiny_inputs

from clipbert.modeling_clipbert import (
    ClipBERTConfig,
    ClipBERTForMultipleChoice,
    ClipBERTForPreTraining,
    ClipBERTForRegression,
    ClipBERTModel,
)


modeling = import_common("test_modeling_common")
modeling.MODEL_MAPPING_NAMES["clipbert"] = "ClipBERTModel"  # which has no loss
configuration = import_common("test_configuration_common")


class ModelTester:
    """What the common tests want to know about the models and their inputs."""

    batch_size, num_clips, num_choices = 3, 2, 2
    text_length = 6
    seq_length = encoder_seq_length = key_length = text_length + NUM_CELLS
    hidden_size, num_hidden_layers, num_attention_heads = WIDTH, 2, 4
    vocab_size = VOCAB_SIZE
    is_training = True

    def __init__(self, model_class):
        self.model_class = model_class

    def get_config(self):
        return tiny_config(self.model_class, initializer_range=0.02)

    def prepare_config_and_inputs_for_common(self):
        return self.get_config(), tiny_inputs(ClipBERTModel, self.batch_size, self.num_clips, length=self.text_length)


class CommonTests(modeling.ModelTesterMixin):
    _is_composite = True
    has_attentions = True
    additional_model_inputs = ["pixel_values"]

    def setUp(self):
        self.model_tester = ModelTester(self.all_model_classes[0])

    def test_config(self):
        tester = configuration.ConfigTester(self, config_class=ClipBERTConfig, hidden_size=32, num_attention_heads=4)
        tester.run_common_tests()

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs = dict(inputs_dict)
        batch_size = self.model_tester.batch_size
        if model_class is ClipBERTForMultipleChoice:
            for name in ("input_ids", "attention_mask"):
                if inputs.get(name) is not None:
                    inputs[name] = inputs[name][:, None].expand(-1, self.model_tester.num_choices, -1).contiguous()
        if not return_labels or model_class is ClipBERTModel:
            return inputs
        if model_class is ClipBERTForPreTraining:
            inputs["mlm_labels"] = inputs["input_ids"].clone()
            inputs["itm_labels"] = torch.ones(batch_size, dtype=torch.int64)
        elif model_class is ClipBERTForRegression:
            inputs["labels"] = torch.ones(batch_size)
        else:
            inputs["labels"] = torch.zeros(batch_size, dtype=torch.int64)
        return inputs


for model_class in MODELS:
    name = f"Test{model_class.__name__}"
    globals()[name] = type(name, (CommonTests, unittest.TestCase), {"all_model_classes": (model_class,)})
del model_class
