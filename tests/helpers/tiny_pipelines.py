# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A tiny model with its processor for every task and family that has a pipeline, and what to ask it."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import pytest
import tiny_cnn_rnn
import tiny_models
import tiny_moments
import tiny_mug_stan
import torch
from text_ends import clip_tokenizer, wordpiece_tokenizer
from transformers.pipelines.pt_utils import KeyDataset

from clipbert.modeling_clipbert import (
    ClipBERTForMultipleChoice,
    ClipBERTForRegression,
    ClipBERTForVideoQA,
    ClipBERTForVideoTextRetrieval,
)
from clipbert.modeling_mug_stan import MugSTANForVideoClassification, MugSTANForVideoTextRetrieval
from clipbert.pipelines import TASKS
from clipbert.processing import (
    ClipBERTVideoProcessor,
    CNNRNNVideoProcessor,
    MugSTANProcessor,
    MugSTANVideoProcessor,
    VideoTextProcessor,
)


TEXTS = ["a dog runs", "the cat", "jumps and moves left"]


class Case(NamedTuple):
    """A task, what makes a model and a processor for it, and what is asked of every video."""

    task: str
    build: Callable[[], tuple[Any, Any]]
    asked: dict[str, Any]


def clipbert_parts(model_class, **fields):
    tokenizer = wordpiece_tokenizer()
    fields = {"score_pooling": "mean", **fields}
    model = tiny_models.tiny_model(model_class, vocab_size=len(tokenizer), **fields)
    return model, VideoTextProcessor(ClipBERTVideoProcessor(size=64, num_clips=2, num_frames=2), tokenizer)


def mug_stan_parts(model_class, **fields):
    tokenizer = clip_tokenizer(20)
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": 0}
    clip = tiny_mug_stan.tiny_clip(text_config={"vocab_size": len(tokenizer), **ends})
    model = tiny_mug_stan.tiny_model(model_class, clip=clip, **fields)
    processor = MugSTANProcessor(MugSTANVideoProcessor(size=tiny_mug_stan.IMAGE_SIZE, num_frames=3), tokenizer)
    if model_class is MugSTANForVideoClassification:
        model.set_classes(TEXTS, processor)
    return model.eval(), processor


def cnn_rnn_parts():
    processor = CNNRNNVideoProcessor(size=tiny_cnn_rnn.IMAGE_SIZE, num_frames=4)
    return tiny_cnn_rnn.tiny_model(), processor


def moment_parts():
    return tiny_moments.tiny_frame_model(), tiny_moments.tiny_processor()


ANSWERING = "video-question-answering"
CASES = {
    "retrieval": Case(
        "video-text-retrieval",
        lambda: clipbert_parts(ClipBERTForVideoTextRetrieval),
        {"candidate_texts": TEXTS},
    ),
    "dual_encoder": Case(
        "video-text-retrieval",
        lambda: mug_stan_parts(MugSTANForVideoTextRetrieval),
        {"candidate_texts": TEXTS},
    ),
    "open_answers": Case(ANSWERING, lambda: clipbert_parts(ClipBERTForVideoQA), {"question": "the dog"}),
    "choices": Case(
        ANSWERING,
        lambda: clipbert_parts(ClipBERTForMultipleChoice),
        {"question": "the dog", "options": ["a dog", "a cat", "an"]},
    ),
    "counts": Case(ANSWERING, lambda: clipbert_parts(ClipBERTForRegression), {"question": ["the dog", "a cat"]}),
    "classes": Case("video-classification", cnn_rnn_parts, {}),
    "named_classes": Case(
        "video-classification", lambda: mug_stan_parts(MugSTANForVideoClassification, head_scale=10.0), {}
    ),
    "moments": Case("moment-retrieval", moment_parts, {"query": ["a man opens the door", "a man"]}),
}


def make_pipeline(name, **options):
    """The pipeline of a case, on the CPU."""
    task, build, _ = CASES[name]
    model, processor = build()
    return TASKS[task].pipeline_class(model=model, processor=processor, task=task, device="cpu", **options)


def lay_weights_anew(model):
    """Weights in memory of their own: those of a file lie where they lie in it, and sums depend on that in their last bit."""
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            tensor.data = tensor.data.clone()
    return model


def answers_by_every_way(pipe, videos, asked):
    """The answers about files, by what they were handed in as."""
    rows = [{"video": video, **asked} for video in videos]
    table = datasets.Dataset.from_list(rows)
    contents = [Path(video).read_bytes() for video in videos]
    return {
        "list": pipe(videos, **asked),
        "tuple": pipe(tuple(map(Path, videos)), **asked),
        "batches of 2": pipe(rows, batch_size=2),
        "a batch of 8, read ahead": pipe(rows, batch_size=8, num_workers=2),
        "read ahead": pipe(rows, num_workers=1),
        "bytes": pipe(contents, batch_size=3, **asked),
        "open files": pipe(list(map(io.BytesIO, contents)), **asked),
        "undecoded": pipe([{"path": video, "bytes": None} for video in videos], **asked),
        "generator": list(pipe((row for row in rows), batch_size=2)),
        "data set": list(pipe(table, batch_size=2)),
        "stream": list(pipe(table.to_iterable_dataset(), batch_size=2)),
        "column": list(pipe(KeyDataset(table, "video"), **asked)),
    }


def assert_same(found, expected, place=""):
    """Answers equal to 1e-5, in all that they have."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), place
        for key in expected:
            assert_same(found[key], expected[key], f"{place}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), place
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_same(one, other, f"{place}[{number}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=1e-5, rel=1e-6), place
    else:
        assert found == expected, place
