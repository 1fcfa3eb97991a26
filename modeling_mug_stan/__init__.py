# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Mug-STAN for transformers. Importing this package registers its classes with the Auto classes."""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForVideoClassification,
    AutoProcessor,
    AutoVideoProcessor,
)

import clipbert  # noqa: F401  one name for a package, also where it is imported by its bare one
from clipbert.processing import MugSTANProcessor, MugSTANVideoProcessor

from .configuration_mug_stan import MugSTANConfig
from .configuration_mug_stan_llava import MugSTANLlavaConfig
from .modeling_mug_stan import (
    MugSTANForActionDetection,
    MugSTANForVideoClassification,
    MugSTANForVideoTextRetrieval,
    MugSTANModel,
    MugSTANPreTrainedModel,
    pool_boxes,
)
from .modeling_mug_stan_llava import MugSTANLlavaForConditionalGeneration, merge_into_llava
from .parts_mug_stan import PARTS, from_parts, knows_part, processor_from_parts
from .recipe_mug_stan import RECIPE_OPTIONS


AutoConfig.register("mug_stan", MugSTANConfig)
AutoModel.register(MugSTANConfig, MugSTANModel)
AutoModelForVideoClassification.register(MugSTANConfig, MugSTANForVideoClassification)
# transformers has no class for retrieval or for actions in boxes; `config.architectures` decides between the two
AutoModelForSequenceClassification.register(MugSTANConfig, (MugSTANForVideoTextRetrieval, MugSTANForActionDetection))
AutoVideoProcessor.register(MugSTANConfig, MugSTANVideoProcessor)
AutoProcessor.register(MugSTANConfig, MugSTANProcessor)

__all__ = [
    "PARTS",
    "RECIPE_OPTIONS",
    "MugSTANConfig",
    "MugSTANForActionDetection",
    "MugSTANForVideoClassification",
    "MugSTANForVideoTextRetrieval",
    "MugSTANLlavaConfig",
    "MugSTANLlavaForConditionalGeneration",
    "MugSTANModel",
    "MugSTANPreTrainedModel",
    "from_parts",
    "knows_part",
    "merge_into_llava",
    "pool_boxes",
    "processor_from_parts",
]
