# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Sparse-sampling video-and-language models for the Hugging Face ecosystem: `import clipbert`.

The import makes every family known to the Auto classes of transformers, so that `AutoModel.from_pretrained(...)` and
`AutoProcessor.from_pretrained(...)` read their checkpoints. It takes a moment only: what is heavy (torch, transformers,
datasets) is loaded when a name is asked for.

    clipbert.load_benchmark, clipbert.list_benchmarks           tables of the benchmarks
    clipbert.VideoTextProcessor, clipbert.decode_video, ...     videos and words to model inputs
    clipbert.load_pipeline                                      a checkpoint, a video and a sentence to an answer
    clipbert.encode_video, clipbert.locate_moments              when in a video something happens
    clipbert.metric_path                                        a metric for `evaluate.load`
    clipbert.ClipBERTConfig, clipbert.ClipBERTForVideoQA, ...   all public classes of all families

Every folder of the repository is a package below this one (`clipbert.processing`, `clipbert.train_scripts`, ...).
"""

import importlib
import importlib.util
from pathlib import Path


_PLACES = {  # public names and where they live; those of the families are found by looking
    "ClipVideoClassificationPipeline": "pipelines",
    "MomentRetrievalPipeline": "pipelines",
    "VideoDecodeError": "processing",
    "VideoQuestionAnsweringPipeline": "pipelines",
    "VideoTextProcessor": "processing",
    "VideoTextRetrievalPipeline": "pipelines",
    "__version__": "support.version",
    "decode_video": "processing",
    "encode_video": "pipelines",
    "list_benchmarks": "datasets_scripts",
    "load_benchmark": "datasets_scripts",
    "load_pipeline": "loading",
    "load_tokenizer": "processing",
    "locate_moments": "pipelines",
    "metric_path": "metrics",
    "read_video_metadata": "processing",
    "sample_clips": "processing",
}

_clone = Path(__file__).resolve().parent.parent
if (_clone / "pyproject.toml").is_file() and (_clone / "support" / "families.py").is_file():
    # In a clone the other packages lie beside this one; in an installation they lie inside it.
    __path__.append(str(_clone))
    from clipbert.one_name import use_one_name

    use_one_name(_clone)

from clipbert.auto_classes import register_when_asked  # noqa: E402  needs the path above


register_when_asked()


def __getattr__(name):
    if name in _PLACES:
        return getattr(importlib.import_module(f"clipbert.{_PLACES[name]}"), name)
    if not name.startswith("_"):
        if importlib.util.find_spec(f"clipbert.{name}") is not None:  # a folder: `clipbert.processing`
            return importlib.import_module(f"clipbert.{name}")
        from clipbert.support.families import list_families, load_family

        # processors of a family lie in `processing`
        for module in (importlib.import_module("clipbert.processing"), *map(load_family, list_families())):
            if name in getattr(module, "__all__", ()):
                return getattr(module, name)
    raise AttributeError(f"module 'clipbert' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_PLACES})
