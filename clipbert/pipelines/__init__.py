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


class PipelineTask(NamedTuple):
    """
    A task of `transformers.pipeline`.

    Args:
        pipeline_class (`type`): What answers it.
        head (`str`): What the name of a model for it ends in, after `For`.
        auto_classes (`tuple[str]`): What loads such models.
    """

    pipeline_class: type
    head: str
    auto_classes: tuple[str, ...]


TASKS = {
    "moment-retrieval": PipelineTask(MomentRetrievalPipeline, "MomentRetrieval", ("AutoModelForQuestionAnswering",)),
}


def find_task(model_class: type) -> str | None:
    """The task whose pipeline answers with a model of this class, if there is one."""
    return next((name for name, task in TASKS.items() if model_class.__name__.endswith(f"For{task.head}")), None)


for _name, _task in TASKS.items():
    _models = tuple(getattr(transformers, auto_class) for auto_class in _task.auto_classes)
    PIPELINE_REGISTRY.register_pipeline(
        _name, pipeline_class=_task.pipeline_class, pt_model=_models, type="multimodal"
    )

__all__ = [
    "TASKS",
    "EncodedVideo",
    "MomentRetrievalPipeline",
    "PipelineTask",
    "encode_video",
    "find_task",
    "locate_moments",
]
