# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
ClipBERT for transformers. Importing this package registers its classes with the Auto classes, and the processors too:
`AutoProcessor` answers a processor it does not know with a bare tokenizer.
"""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMultipleChoice,
    AutoModelForPreTraining,
    AutoModelForSequenceClassification,
    AutoModelForVisualQuestionAnswering,
    AutoProcessor,
    AutoVideoProcessor,
)

import clipbert  # noqa: F401  one name for a package, also where it is imported by its bare one
from clipbert.processing import ClipBERTVideoProcessor, VideoTextProcessor  # this file does not travel to the Hub
from clipbert.support.kept_maps import KeptMaps

from .configuration_clipbert import ClipBERTConfig
from .modeling_clipbert import (
    ClipBERTForMultipleChoice,
    ClipBERTForPreTraining,
    ClipBERTForRegression,
    ClipBERTForVideoQA,
    ClipBERTForVideoTextRetrieval,
    ClipBERTModel,
    ClipBERTPreTrainedModel,
    pool_clip_scores,
)
from .parts_clipbert import PARTS, from_parts, processor_from_parts
from .recipe_clipbert import RECIPE_OPTIONS


AutoConfig.register("clipbert", ClipBERTConfig)
AutoVideoProcessor.register(ClipBERTConfig, ClipBERTVideoProcessor)
AutoProcessor.register(ClipBERTConfig, VideoTextProcessor)
AutoModel.register(ClipBERTConfig, ClipBERTModel)
AutoModelForPreTraining.register(ClipBERTConfig, ClipBERTForPreTraining)
# of several classes transformers takes the one that the checkpoint names
AutoModelForVisualQuestionAnswering.register(
    ClipBERTConfig, (ClipBERTForVideoQA, ClipBERTForMultipleChoice, ClipBERTForRegression)
)
AutoModelForMultipleChoice.register(ClipBERTConfig, ClipBERTForMultipleChoice)
# transformers has no class for retrieval or regression over pairs; `config.architectures` decides between the two
AutoModelForSequenceClassification.register(ClipBERTConfig, (ClipBERTForVideoTextRetrieval, ClipBERTForRegression))

__all__ = [
    "PARTS",
    "RECIPE_OPTIONS",
    "ClipBERTConfig",
    "ClipBERTForMultipleChoice",
    "ClipBERTForPreTraining",
    "ClipBERTForRegression",
    "ClipBERTForVideoQA",
    "ClipBERTForVideoTextRetrieval",
    "ClipBERTModel",
    "ClipBERTPreTrainedModel",
    "ClipBERTVideoProcessor",
    "KeptMaps",
    "from_parts",
    "pool_clip_scores",
    "processor_from_parts",
]
