# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What a family has is found by convention, and what it lacks is said."""

import pytest
from transformers import PreTrainedConfig

from clipbert import ClipBERTConfig, ClipBERTForVideoQA, ClipBERTVideoProcessor, VideoTextProcessor
from clipbert.support.families import config_class, find_head, processor_classes, registered_models


def test_heads_and_processors_are_found_by_convention():
    assert config_class("clipbert") is ClipBERTConfig
    assert find_head(ClipBERTConfig, "VideoQA") is ClipBERTForVideoQA
    assert processor_classes(ClipBERTConfig) == (VideoTextProcessor, ClipBERTVideoProcessor)
    assert ClipBERTForVideoQA in {cls for group in registered_models(ClipBERTConfig).values() for cls in group}


def test_a_missing_head_is_answered_with_those_there_are():
    with pytest.raises(ValueError, match=r"'clipbert' has no head \.\.\.ForSinging; .*ClipBERTForVideoQA"):
        find_head(ClipBERTConfig, "Singing")


def test_a_family_without_a_video_processor_is_told_what_to_call():
    class LonelyConfig(PreTrainedConfig):
        model_type = "lonely"

    with pytest.raises(
        ValueError, match=r"'lonely' has no video processor: .*AutoVideoProcessor.register\(LonelyConfig"
    ):
        processor_classes(LonelyConfig)


def test_an_unknown_family_is_answered_with_those_there_are():
    with pytest.raises(
        ModuleNotFoundError, match=r"no family 'lonely': expected a package modeling_lonely .* clipbert"
    ):
        config_class("lonely")
