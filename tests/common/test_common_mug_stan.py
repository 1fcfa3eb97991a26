# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""transformers' own common tests, on every class of Mug-STAN; see `tests/helpers/common_tests.py`."""

import unittest

import torch
from common_tests import import_common
from tiny_mug_stan import tiny_clip, tiny_config, tiny_texts, tiny_videos

from clipbert.modeling_mug_stan import (
    MugSTANConfig,
    MugSTANForActionDetection,
    MugSTANForVideoClassification,
    MugSTANForVideoTextRetrieval,
    MugSTANModel,
)
from clipbert.modeling_mug_stan.outputs_mug_stan import MugSTANTextOutput


modeling = import_common("test_modeling_common")
modeling.MODEL_MAPPING_NAMES["mug_stan"] = "MugSTANModel"  # which has no loss
configuration = import_common("test_configuration_common")


class ModelTester:
    """What the common tests want to know about the models and their inputs."""

    batch_size, seq_length = 3, 7
    hidden_size, num_hidden_layers, num_attention_heads = 16, 2, 2
    is_training = True

    def get_config(self):
        return tiny_config(tiny_clip(num_layers=2), stan_num_layers=1, num_labels=2)

    def prepare_config_and_inputs_for_common(self):
        input_ids, mask = tiny_texts([7, 5, 4])
        return self.get_config(), {"input_ids": input_ids, "attention_mask": mask, "pixel_values": tiny_videos(3, 2)}


class CommonTests(modeling.ModelTesterMixin):
    _is_composite = True
    # inner states are those of the towers, which are not handed on; words beyond the vocabulary are refused
    has_attentions = test_resize_embeddings = False
    additional_model_inputs = ["pixel_values"]

    def setUp(self):
        self.model_tester = ModelTester()
        if WithClasses in self.all_model_classes and self._testMethodName == "test_torch_save_load":
            self.skipTest("compares the flags of a buffer by calling a dictionary")
        reads_text = not {WithClasses, MugSTANForActionDetection}.intersection(self.all_model_classes)
        if not reads_text and "gradient_checkpointing" in self._testMethodName:
            self.skipTest("looks at the first layer, which is one of the text tower and reads nothing here")

    def test_config(self):
        tester = configuration.ConfigTester(
            self,
            config_class=MugSTANConfig,
            has_text_modality=False,
            common_properties=["top_k"],
            top_k=5,
        )
        tester.run_common_tests()

    @unittest.skip("layers that are read are returned by name, see `encode_video`")
    def test_hidden_states_output(self):
        pass

    @unittest.skip("see `test_hidden_states_output`")
    def test_retain_grad_hidden_states_attentions(self):
        pass

    @unittest.skip("see `test_hidden_states_output`")
    def test_can_capture_specific_layers_hidden_states(self):
        pass

    @unittest.skip("see `test_hidden_states_output`")
    def test_model_outputs_equivalence(self):
        pass

    @unittest.skip("see `test_hidden_states_output`")
    def test_capture_outputs_decorator(self):
        pass

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs = dict(inputs_dict)
        if model_class in (WithClasses, MugSTANForActionDetection):
            inputs = {"pixel_values": inputs["pixel_values"]}
        if model_class is MugSTANForActionDetection:
            inputs["boxes"] = torch.tensor([[0.0, 0.0, 12.0, 12.0]] * 3)
        if return_labels and model_class is WithClasses:
            inputs["labels"] = torch.zeros(3, dtype=torch.int64)
        if return_labels and model_class is MugSTANForActionDetection:
            inputs["labels"] = torch.ones(3, 2)
        return inputs


class WithClasses(MugSTANForVideoClassification):
    """A model that the common tests make of its config alone; its classes would have no texts yet."""

    def class_texts(self):
        mask = torch.ones_like(self.class_mask)
        return MugSTANTextOutput(self.class_tokens + 1, attention_mask=mask, pooler_output=self.class_pooled + 1)


for model_class in (MugSTANModel, MugSTANForVideoTextRetrieval, WithClasses, MugSTANForActionDetection):
    name = f"Test{model_class.__name__}"
    globals()[name] = type(name, (CommonTests, unittest.TestCase), {"all_model_classes": (model_class,)})
del model_class
