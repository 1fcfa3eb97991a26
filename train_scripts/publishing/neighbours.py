# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Files by which sentence-transformers, and with it MTEB, load a published model that matches texts with videos.

    OUT/modules.json, sentence_modules.py      the module that it is loaded as (`clipbert.pipelines.sentence_modules`)
        config_sentence_transformers.json      whether it is a `SentenceTransformer` or a `CrossEncoder`
        sentence_bert_config.json              its modalities, which MTEB reads from the Hub

A model that has vectors is the former, one that reads a text and a video together the latter. Others have no such files.
"""

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from transformers import PreTrainedModel

import clipbert.pipelines
from clipbert.pipelines import find_task


REQUIREMENT = "sentence-transformers>=6.0"
# imports what is an extra: never imported here
MODULES = Path(clipbert.pipelines.__file__).with_name("sentence_modules.py")
FILES = ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json")


class Neighbour(NamedTuple):
    """
    How sentence-transformers loads a model.

    Args:
        name (`str`): Its class there.
        module (`str`): The class of `sentence_modules.py`.
        settings (`dict`): Of `config_sentence_transformers.json`.
        about (`str`): What a model card says.
        example (`str`): Goes on after the line that loads `model`.
    """

    name: str
    module: str
    settings: dict[str, Any]
    about: str
    example: str


ENCODER = Neighbour(
    "SentenceTransformer",
    "VideoTextEncoder",
    {"similarity_fn_name": "cosine"},
    "one vector for each text and each video. A model that compares words with frames takes a first shortlist by these; its scores are "
    "those above",
    'videos, texts = model.encode(["video.mp4"]), model.encode(["a dog runs", "a man is cooking"])\n'
    "print(model.similarity(texts, videos))",
)
SCORER = Neighbour(
    "CrossEncoder",
    "VideoTextScorer",
    {"activation_fn": "torch.nn.modules.linear.Identity"},
    "the scores above, for pairs of a text and a video",
    'print(model.predict([("a dog runs", "video.mp4"), ("a man is cooking", "video.mp4")]))\n'
    'print(model.rank("a dog runs", ["video.mp4"]))',
)


def find_neighbour(model: PreTrainedModel) -> Neighbour | None:
    """What sentence-transformers loads a model as, if it can."""
    if find_task(type(model)) != "video-text-retrieval":
        return None
    return ENCODER if hasattr(model, "vectors") else SCORER


def write_neighbour_files(folder: Path, neighbour: Neighbour | None) -> None:
    """Write the files into the folder of a checkpoint; without a neighbour, those of an earlier call go."""
    if neighbour is None:
        for name in (*FILES, MODULES.name):
            (folder / name).unlink(missing_ok=True)
        return
    module = {"idx": 0, "name": "0", "path": "", "type": f"{MODULES.stem}.{neighbour.module}"}
    contents = [
        [module],
        {"model_type": neighbour.name, **neighbour.settings},
        {"modality_config": {"text": {}, "video": {}}},
    ]
    for name, content in zip(FILES, contents, strict=True):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    shutil.copy(MODULES, folder)


__all__ = ["REQUIREMENT", "Neighbour", "find_neighbour", "write_neighbour_files"]
