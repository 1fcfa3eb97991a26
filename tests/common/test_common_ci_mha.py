# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""transformers' own common tests, on both classes of CI-MHA; see `tests/helpers/common_tests.py`."""

import unittest

import torch
from common_tests import import_common
from tiny_ci_mha import RESNET, tiny_config, tiny_frames, tiny_texts

from clipbert.modeling_ci_mha import CIMHAConfig, CIMHAForMomentRetrieval, CIMHAModel


modeling = import_common("test_modeling_common")
modeling.MODEL_MAPPING_NAMES["ci_mha"] = "CIMHAModel"  # which has no loss
# sets the epsilon of norms in sub-configs, for one of which it takes the word `text_encoder`
modeling.set_config_for_less_flaky_test = lambda config: None
configuration = import_common("test_configuration_common")


class ModelTester:
    """What the common tests want to know about the models and their inputs."""

    batch_size, seq_length, hidden_size = 3, 8, 16
    num_hidden_layers, num_attention_heads = 1, 2  # states: before the cross interaction, and behind it
    is_training = True

    def get_config(self):
        return tiny_config(video_feature_size=None, frame_encoder_config=dict(RESNET), frame_encoder_trainable=True)

    def prepare_config_and_inputs_for_common(self):
        return self.get_config(), {**tiny_texts([4, 2, 3]), **tiny_frames([8, 5, 2])}


class CommonTests(modeling.ModelTesterMixin):
    _is_composite = True
    test_resize_embeddings = False  # words beyond the vocabulary are refused
    additional_model_inputs = ["pixel_values"]

    def setUp(self):
        self.model_tester = ModelTester()

    def test_config(self):
        tester = configuration.ConfigTester(
            self, config_class=CIMHAConfig, has_text_modality=False, common_properties=["max_segments"], max_segments=5
        )
        tester.run_common_tests()

    def test_attention_outputs(self):
        self.model_tester.num_hidden_layers = 4  # attentions; it looks at the shape of the first
        super().test_attention_outputs()

    @unittest.skip("subtracts outputs, of which masks are boolean; see `test_tuples_hold_what_has_names`")
    def test_model_outputs_equivalence(self):
        pass

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs = dict(inputs_dict)
        if return_labels and model_class is CIMHAForMomentRetrieval:
            inputs |= {"start_positions": torch.tensor([2, 0, 1]), "end_positions": torch.tensor([4, 0, 1])}
        return inputs


for model_class in (CIMHAModel, CIMHAForMomentRetrieval):
    name = f"Test{model_class.__name__}"
    globals()[name] = type(name, (CommonTests, unittest.TestCase), {"all_model_classes": (model_class,)})
del model_class
