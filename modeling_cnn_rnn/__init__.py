# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""CNN-RNN video classification for transformers. Importing this package registers its classes with the Auto classes."""

from transformers import AutoConfig, AutoModel, AutoModelForVideoClassification, AutoVideoProcessor

import clipbert  # noqa: F401  one name for a package, also where it is imported by its bare one
from clipbert.processing import CNNRNNVideoProcessor  # this file does not travel to the Hub

from .configuration_cnn_rnn import CNNRNNConfig
from .modeling_cnn_rnn import (
    CNNRNNForVideoClassification,
    CNNRNNModel,
    CNNRNNPreTrainedModel,
    load_backbone,
    pool_window_scores,
)
from .parts_cnn_rnn import PARTS, from_parts, processor_from_parts
from .recipe_cnn_rnn import RECIPE_OPTIONS


AutoConfig.register("cnn_rnn", CNNRNNConfig)
AutoVideoProcessor.register(CNNRNNConfig, CNNRNNVideoProcessor)
AutoModel.register(CNNRNNConfig, CNNRNNModel)
AutoModelForVideoClassification.register(CNNRNNConfig, CNNRNNForVideoClassification)

__all__ = [
    "PARTS",
    "RECIPE_OPTIONS",
    "CNNRNNConfig",
    "CNNRNNForVideoClassification",
    "CNNRNNModel",
    "CNNRNNPreTrainedModel",
    "CNNRNNVideoProcessor",
    "from_parts",
    "load_backbone",
    "pool_window_scores",
    "processor_from_parts",
]
