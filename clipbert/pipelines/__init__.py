# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
From a video file to an answer in plain Python: pipelines of transformers, one for each task.

Importing this package registers them. Its files are copied flat to the Hub with a checkpoint.
"""

from typing import NamedTuple

import transformers
from transformers.pipelines import PIPELINE_REGISTRY

import clipbert  # noqa: F401  one name for a package, also where it is imported by its bare one

from .encoded_video import EncodedVideo, encode_video, locate_moments
from .moment_retrieval import MomentRetrievalPipeline
from .video_classification import ClipVideoClassificationPipeline
from .video_pipeline import VideoPipeline
from .video_question_answering import VideoQuestionAnsweringPipeline
from .video_text_retrieval import VideoTextRetrievalPipeline


class PipelineTask(NamedTuple):
    """
    A task of `transformers.pipeline`.

    Args:
        pipeline_class (`type`): What answers it.
        heads (`tuple[str]`): What the names of models for it end in, after `For`.
        auto_class (`str`): What loads such models.
        is_registered (`bool`): Whether the name is a new one for transformers, which keeps its own pipelines.
    """

    pipeline_class: type
    heads: tuple[str, ...]
    auto_class: str
    is_registered: bool = True


TASKS = {
    "moment-retrieval": PipelineTask(MomentRetrievalPipeline, ("MomentRetrieval",), "AutoModelForQuestionAnswering"),
    "video-classification": PipelineTask(
        ClipVideoClassificationPipeline,
        ("VideoClassification",),
        "AutoModelForVideoClassification",
        is_registered=False,
    ),
    "video-question-answering": PipelineTask(
        VideoQuestionAnsweringPipeline,
        ("VideoQA", "MultipleChoice", "Regression"),
        "AutoModelForVisualQuestionAnswering",
    ),
    "video-text-retrieval": PipelineTask(
        VideoTextRetrievalPipeline, ("VideoTextRetrieval",), "AutoModelForSequenceClassification"
    ),
}


def find_task(model_class: type) -> str | None:
    """The task whose pipeline answers with a model of this class, if there is one."""
    for name, task in TASKS.items():
        if any(model_class.__name__.endswith(f"For{head}") for head in task.heads):
            return name
    return None


for _name, _task in TASKS.items():
    if _task.is_registered:
        PIPELINE_REGISTRY.register_pipeline(
            _name,
            pipeline_class=_task.pipeline_class,
            pt_model=getattr(transformers, _task.auto_class),
            type="multimodal",
        )

__all__ = [
    "TASKS",
    "ClipVideoClassificationPipeline",
    "EncodedVideo",
    "MomentRetrievalPipeline",
    "PipelineTask",
    "VideoPipeline",
    "VideoQuestionAnsweringPipeline",
    "VideoTextRetrievalPipeline",
    "encode_video",
    "find_task",
    "locate_moments",
]
