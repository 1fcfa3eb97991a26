# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""CI-MHA moment retrieval for transformers. Importing this package registers its classes with the Auto classes."""

from transformers import AutoConfig, AutoModel, AutoModelForQuestionAnswering, AutoProcessor, AutoVideoProcessor

import clipbert  # noqa: F401  one name for a package, also where it is imported by its bare one
from clipbert.processing import CIMHAVideoProcessor, MomentRetrievalProcessor  # this file does not travel to the Hub

from .configuration_ci_mha import CIMHAConfig
from .modeling_ci_mha import (
    CIMHAForMomentRetrieval,
    CIMHAModel,
    CIMHAModelOutput,
    CIMHAMomentRetrievalOutput,
    CIMHAPreTrainedModel,
)
from .parts_ci_mha import OPTIONAL_PARTS, PARTS, from_parts, knows_part, needs_words, processor_from_parts
from .recipe_ci_mha import RECIPE_OPTIONS


AutoConfig.register("ci_mha", CIMHAConfig)
AutoVideoProcessor.register(CIMHAConfig, CIMHAVideoProcessor)
AutoProcessor.register(CIMHAConfig, MomentRetrievalProcessor)
AutoModel.register(CIMHAConfig, CIMHAModel)
# what answers with a start and an end
AutoModelForQuestionAnswering.register(CIMHAConfig, CIMHAForMomentRetrieval)

__all__ = [
    "OPTIONAL_PARTS",
    "PARTS",
    "RECIPE_OPTIONS",
    "CIMHAConfig",
    "CIMHAForMomentRetrieval",
    "CIMHAModel",
    "CIMHAModelOutput",
    "CIMHAMomentRetrievalOutput",
    "CIMHAPreTrainedModel",
    "CIMHAVideoProcessor",
    "MomentRetrievalProcessor",
    "from_parts",
    "knows_part",
    "needs_words",
    "processor_from_parts",
]
