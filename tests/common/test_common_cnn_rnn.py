# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""transformers' own common tests, on both classes of CNN-RNN; see `tests/helpers/common_tests.py`."""

import unittest

import torch
from common_tests import import_common
from tiny_cnn_rnn import FEATURES, tiny_clips, tiny_config

from clipbert.modeling_cnn_rnn import CNNRNNConfig, CNNRNNForVideoClassification, CNNRNNModel


modeling = import_common("test_modeling_common")
modeling.MODEL_MAPPING_NAMES["cnn_rnn"] = "CNNRNNModel"  # which has no loss
configuration = import_common("test_configuration_common")


class ModelTester:
    """What the common tests want to know about the models and their inputs."""

    batch_size, seq_length, hidden_size = 3, 4, FEATURES
    num_hidden_layers = 1  # states: what the recurrent part reads, and what it writes
    is_training = True

    def get_config(self):
        return tiny_config(initializer_range=0.02, backbone_trainable="all")

    def prepare_config_and_inputs_for_common(self):
        frames, mask = tiny_clips([4, 2, 3], padding=0.0)
        return self.get_config(), {"pixel_values": frames, "frame_mask": mask}


class CommonTests(modeling.ModelTesterMixin):
    _is_composite = True
    has_attentions = test_resize_embeddings = False

    def setUp(self):
        self.model_tester = ModelTester()

    def test_config(self):
        tester = configuration.ConfigTester(
            self,
            config_class=CNNRNNConfig,
            has_text_modality=False,
            common_properties=["rnn_hidden_size"],
            rnn_hidden_size=8,
        )
        tester.run_common_tests()

    @unittest.skip("reads no tokens")
    def test_model_get_set_embeddings(self):
        pass

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs = dict(inputs_dict)
        if return_labels and model_class is CNNRNNForVideoClassification:
            inputs["labels"] = torch.zeros(self.model_tester.batch_size, dtype=torch.int64)
        return inputs


for model_class in (CNNRNNModel, CNNRNNForVideoClassification):
    name = f"Test{model_class.__name__}"
    globals()[name] = type(name, (CommonTests, unittest.TestCase), {"all_model_classes": (model_class,)})
del model_class
