# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""CI-MHA moment retrieval for transformers. Importing this package registers its classes with the Auto classes."""

from transformers import AutoConfig, AutoModel, AutoModelForQuestionAnswering

import clipbert  # noqa: F401  one name for a package, also where it is imported by its bare one

from .configuration_ci_mha import CIMHAConfig
from .modeling_ci_mha import (
    CIMHAForMomentRetrieval,
    CIMHAModel,
    CIMHAModelOutput,
    CIMHAMomentRetrievalOutput,
    CIMHAPreTrainedModel,
)
from .recipe_ci_mha import RECIPE_OPTIONS
from .spans_ci_mha import decode_moments, joint_scores, segment_scores, span_targets, temporal_nms


AutoConfig.register("ci_mha", CIMHAConfig)
AutoModel.register(CIMHAConfig, CIMHAModel)
# what answers with a start and an end
AutoModelForQuestionAnswering.register(CIMHAConfig, CIMHAForMomentRetrieval)

__all__ = [
    "RECIPE_OPTIONS",
    "CIMHAConfig",
    "CIMHAForMomentRetrieval",
    "CIMHAModel",
    "CIMHAModelOutput",
    "CIMHAMomentRetrievalOutput",
    "CIMHAPreTrainedModel",
    "decode_moments",
    "joint_scores",
    "segment_scores",
    "span_targets",
    "temporal_nms",
]
