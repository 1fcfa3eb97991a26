# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What converters of checkpoints share: weights are read without running code, folders appear complete or not at all."""

import json
import os
import pickle
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from clipbert.support.files import whole_folder


# What numpy arrays inside a pickle are made of; reading them runs no code of the file's choice.
NUMPY_PARTS = [
    (np._core.multiarray._reconstruct, "numpy.core.multiarray._reconstruct"),  # as numpy 1 wrote it
    np._core.multiarray._reconstruct,
    np.ndarray,
    np.dtype,
    *(type(np.dtype(name)) for name in ("float16", "float32", "float64", "int32", "int64")),
]


class ConversionError(ValueError):
    """A checkpoint or its configuration is not what the original code writes; the message names what differs."""


def listed(lines: Iterable[str], most: int = 40) -> str:
    """Lines of an error message, cut after `most`."""
    lines = list(lines)
    left_out = [f"... and {len(lines) - most} more"] if len(lines) > most else []
    return "".join(f"\n    {line}" for line in [*lines[:most], *left_out])


def read_checkpoint(
    checkpoint_path: str | os.PathLike,
    wrapper: str | None = None,
    allow_numpy: bool = False,
    no_weights: Mapping[str, str] | None = None,
) -> dict[str, torch.Tensor]:
    """
    Tensors of a `.pt`, `.pth`, `.bin` or `.safetensors` file, on the CPU. No code inside the file is run.

    Args:
        checkpoint_path (`str` or `os.PathLike`): The file.
        wrapper (`str`, *optional*): Entry to take where the file is a dict of several things.
        allow_numpy (`bool`, *optional*, defaults to `False`): Take numpy arrays for tensors.
        no_weights (`Mapping[str, str]`, *optional*): For files of the same tools that are no weights: entries that give
            them away, and what to say then.

    Returns:
        `dict[str, torch.Tensor]`.

    Raises:
        ConversionError: If the file cannot be read or holds something else.
    """
    path = Path(checkpoint_path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no checkpoint file {path}.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals(NUMPY_PARTS if allow_numpy else []):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ConversionError(
            f"{path} is not a file of torch.save with nothing but tensors in it. Other objects are not read, because "
            f"doing so can run code that came with the file. ({_last_line(error)})"
        ) from error
    except Exception as error:  # the readers raise all sorts of things for broken files
        raise ConversionError(
            f"{path} cannot be read as {path.suffix or 'a checkpoint'}: {_last_line(error)}"
        ) from error
    if wrapper and isinstance(content, dict) and isinstance(content.get(wrapper), dict):
        content = content[wrapper]
    return _tensors_of(content, path, no_weights or {})


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else ''}"


def _tensors_of(content: object, path: Path, no_weights: Mapping[str, str]) -> dict[str, torch.Tensor]:
    """The content as name to tensor, or a message about what it is instead."""
    if not isinstance(content, dict) or not content or not all(isinstance(name, str) for name in content):
        raise ConversionError(f"{path} holds {type(content).__name__}, expected a non-empty dict of name to tensor.")
    tensors = {
        name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value for name, value in content.items()
    }
    others = {name: type(value).__name__ for name, value in tensors.items() if not isinstance(value, torch.Tensor)}
    for name, explanation in no_weights.items():
        if name in others:
            raise ConversionError(f"{path} has {', '.join(tensors)}: {explanation}")
    if others:
        entries = listed(f"{name}: {kind}" for name, kind in others.items())
        raise ConversionError(
            f"{path} is not a plain dict of name to tensor, as the original code writes it; it has{entries}\n"
            "If the weights are one of these entries, save that entry alone with torch.save."
        )
    return tensors


@contextmanager
def new_folder(
    output_dir: str | os.PathLike, overwrite: bool = False, sources: Iterable[str | os.PathLike] = ()
) -> Iterator[Path]:
    """A hidden folder to write a model to, which takes the place of `output_dir` once everything has worked."""
    target = Path(output_dir).resolve()
    if target.exists() and not target.is_dir():
        raise FileExistsError(f"{target} is a file, expected a folder to write to.")
    if target.is_dir() and any(target.iterdir()):
        if not overwrite:
            raise FileExistsError(f"{target} is not empty: name another folder, or pass --overwrite to replace it.")
        if not (target / "config.json").is_file() or any(Path(s).resolve().is_relative_to(target) for s in sources):
            raise FileExistsError(
                f"{target} is not replaced: --overwrite is for model folders (with a config.json) that do not hold the "
                "checkpoint to convert."
            )
    with whole_folder(target) as folder:
        yield folder


def read_json_object(source: str | os.PathLike | Mapping) -> dict:
    """Content of a JSON file, or of a dict."""
    if isinstance(source, Mapping):
        return dict(source)
    try:
        content = json.loads(Path(source).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ConversionError(f"{source} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ConversionError(f"{source} holds a {type(content).__name__}, expected an object of names and values.")
    return content


__all__ = ["ConversionError", "listed", "new_folder", "read_checkpoint", "read_json_object"]
