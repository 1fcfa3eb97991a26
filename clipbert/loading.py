# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""One call from a checkpoint to its pipeline, with the code that is installed."""

import os
from typing import Any

import transformers
from transformers import AutoConfig, Pipeline, PreTrainedConfig

from clipbert.pipelines import TASKS, find_task
from clipbert.support.families import find_checkpoint, has_family, load_trained
from clipbert.support.names import did_you_mean


HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "revision", "subfolder", "token")
OF_LOADING = ("attn_implementation", "device_map", "dtype", "model_kwargs", "quantization_config")


def load_pipeline(
    checkpoint: str | os.PathLike, task: str | None = None, *, trust_remote_code: bool = False, **options: Any
) -> Pipeline:
    """
    The pipeline of a checkpoint.

    It runs the code of this package alone, also where the checkpoint brings its own: `pipeline(task, model=...)` of transformers
    refuses such a checkpoint without `trust_remote_code=True`.

    Args:
        checkpoint (`str` or `os.PathLike`): The folder of a run, of which the best checkpoint is taken, the folder of a checkpoint, or
            a name on the Hub.
        task (`str`, *optional*): What it has to answer: `"video-text-retrieval"`, `"video-question-answering"`,
            `"video-classification"` or `"moment-retrieval"`; by default the one that it was trained for.
        trust_remote_code (`bool`, *optional*, defaults to `False`): Whether to run the code that the checkpoint brings, if its family
            is not one of this package.
        options: `device`, `dtype`, `device_map`, `revision`, `token` and the like, and those of the pipeline.

    Returns:
        [`~transformers.Pipeline`].

    Raises:
        FileNotFoundError: If it is a folder without a checkpoint.
        ValueError: If its family is unknown here, its model has no pipeline, or is one of another task.
        TypeError: If an option is unknown; the message has the nearest one.

    Example:
        >>> import clipbert

        >>> pipe = clipbert.load_pipeline("outputs/quickstart")  # doctest: +SKIP
        >>> pipe("film.mp4", candidate_texts=["a dog runs", "a cat sleeps"])  # doctest: +SKIP
    """
    if task is not None and task not in TASKS:
        raise ValueError(f"There is no task {task!r}. {did_you_mean(task, list(TASKS))}")
    name = find_checkpoint(checkpoint)
    hub_options = {option: options.pop(option) for option in HUB_OPTIONS if option in options}
    model_type = PreTrainedConfig.get_config_dict(name, **hub_options)[0].get("model_type")
    if not has_family(model_type or ""):
        if trust_remote_code:
            return transformers.pipeline(task, model=name, trust_remote_code=True, **hub_options, **options)
        raise ValueError(
            f"{checkpoint}: its family {model_type!r} is not installed here. Pass trust_remote_code=True to run the code that it "
            "brings, if you trust it."
        )
    AutoConfig.for_model(model_type)  # its family is registered
    of_loading = {option: options.pop(option) for option in OF_LOADING if option in options}
    of_loading |= of_loading.pop("model_kwargs", None) or {}
    model, processor = load_trained(name, hub_options=hub_options, **of_loading)
    found = find_task(type(model))
    if found is None or task not in (None, found):
        what = f"answers {found!r}" if found else "has no pipeline"
        raise ValueError(f"{checkpoint}: {type(model).__name__} {what}; expected {task or ' or '.join(TASKS)}.")
    is_placed = getattr(model, "hf_device_map", None) is not None
    if not is_placed and options.get("device") is None:
        options["device"] = model.device if of_loading.get("device_map") is not None else None
    return TASKS[found].pipeline_class(model=model.eval(), processor=processor, task=found, **options)


__all__ = ["load_pipeline"]
