# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
What Inference Endpoints of Hugging Face run: requests in JSON to the pipeline of the checkpoint beside this file.

    {"inputs": "<base64 of a file, or https://...>", "parameters": {"candidate_texts": ["a dog runs", "a cat sleeps"]}}
    {"inputs": {"video": "https://...", "question": "what is the man doing?"}, "parameters": {"top_k": 3}}

`inputs` and `parameters` are those of the pipeline. A video or an image is the base64 of its file or an address; files of the
server are never read. What is wrong with a request is raised, and the server answers 400 with `{"error": message}`.
"""

import base64
import binascii
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from transformers import pipeline


FILES = ("video", "videos", "image")  # keys of what is looked at
ADDRESSES = ("https://", "http://")


class RequestFile(io.BytesIO):
    """A file of a request; messages call it by its place there."""

    def __init__(self, content: bytes, name: str):
        super().__init__(content)
        self.name = name


class EndpointHandler:
    """
    Answers requests.

    Args:
        path (`str`): Folder of the checkpoint. Its pipeline runs on the accelerator, if there is one.
    """

    def __init__(self, path: str = ""):
        self.pipe = pipeline(model=str(path) or ".", trust_remote_code=True)

    def __call__(self, data: Mapping[str, Any]) -> Any:
        """
        Answer a request.

        Args:
            data (`dict`): `inputs`, and `parameters` as they are given to the pipeline by name.

        Returns:
            What the pipeline answers, as JSON has it.

        Raises:
            TypeError, ValueError: If the request is wrong, or its video cannot be read; the message says what and where.
        """
        parameters = data.get("parameters") or {}
        if not isinstance(parameters, Mapping):
            raise TypeError(f"Expected parameters to be an object, got {type(parameters).__name__}.")
        inputs = take_files(data.get("inputs"), "inputs")
        return as_json(self.pipe(inputs, **take_files(parameters, "parameters")))


def take_files(value: Any, place: str) -> Any:
    """
    What the pipeline takes, with the files that the request brings, or their addresses.

    Raises:
        ValueError: If a text is neither an address nor base64, or something names a file of the server.
    """
    if isinstance(value, list):
        return [take_files(each, f"{place}[{number}]") for number, each in enumerate(value)]
    if isinstance(value, Mapping):
        if "path" in value:
            raise ValueError(f"{place} names a file of the server: send the base64 of a file, or its address.")
        takers = {**dict.fromkeys(FILES, take_files), "video_features": take_numbers}
        return {
            name: takers[name](each, f"{place}.{name}") if name in takers else each for name, each in value.items()
        }
    if isinstance(value, bytes):  # the body of a request that is no JSON
        return RequestFile(value, place)
    if not isinstance(value, str):
        return value
    if value.lower().startswith(ADDRESSES) and "::" not in value:  # "::" would lead on to another source
        return value
    encoded = value.partition(",")[2] if value.startswith("data:") else value
    try:
        return RequestFile(base64.b64decode(encoded, validate=True), place)
    except (binascii.Error, ValueError) as error:
        raise ValueError(
            f"{place}: expected the base64 of a file or its address (https://...), got {value[:40]!r}. Files of the server "
            "are not read."
        ) from error


def take_numbers(value: Any, place: str) -> np.ndarray:
    """Rows of numbers: a text is none, so that no file is read."""
    try:
        return np.asarray(value, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{place}: expected rows of equally many numbers, got {value!r:.40}.") from error


def as_json(answer: Any) -> Any:
    """An answer, in which files that could not be read are called by their places."""
    if isinstance(answer, list):
        return [as_json(each) for each in answer]
    if isinstance(answer, Mapping):
        return {name: as_json(each) for name, each in answer.items()}
    return answer.name if isinstance(answer, RequestFile) else answer
