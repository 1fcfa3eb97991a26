# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Mug-STAN for transformers. Importing this package registers its classes with the Auto classes."""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForVideoClassification,
)

import clipbert  # noqa: F401  one name for a package, also where it is imported by its bare one

from .configuration_mug_stan import MugSTANConfig
from .modeling_mug_stan import (
    MugSTANForActionDetection,
    MugSTANForVideoClassification,
    MugSTANForVideoTextRetrieval,
    MugSTANModel,
    MugSTANPreTrainedModel,
    pool_boxes,
)
from .recipe_mug_stan import RECIPE_OPTIONS


AutoConfig.register("mug_stan", MugSTANConfig)
AutoModel.register(MugSTANConfig, MugSTANModel)
AutoModelForVideoClassification.register(MugSTANConfig, MugSTANForVideoClassification)
# transformers has no class for retrieval or for actions in boxes; `config.architectures` decides between the two
AutoModelForSequenceClassification.register(MugSTANConfig, (MugSTANForVideoTextRetrieval, MugSTANForActionDetection))

__all__ = [
    "RECIPE_OPTIONS",
    "MugSTANConfig",
    "MugSTANForActionDetection",
    "MugSTANForVideoClassification",
    "MugSTANForVideoTextRetrieval",
    "MugSTANModel",
    "MugSTANPreTrainedModel",
    "pool_boxes",
]
