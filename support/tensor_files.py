# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Files of tensors that appear whole or not at all, and that say themselves whether they are as they were written."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from clipbert.support.files import whole_file


DIGEST = "sha256"  # key of the metadata


def write_tensors(path: str | Path, tensors: Mapping[str, torch.Tensor]) -> int:
    """
    Write a file, or replace it.

    Args:
        path (`str` or `Path`): Its name; folders that are missing are made.
        tensors (`Mapping[str, torch.Tensor]`): What it holds, by name.

    Returns:
        `int`: Its bytes.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = save(tensors, {DIGEST: hash_tensors(tensors)})
    with whole_file(path) as partial:
        return Path(partial).write_bytes(content)


def read_tensors(path: str | Path) -> dict[str, torch.Tensor]:
    """
    What [`write_tensors`] wrote.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no file of tensors, or its values are not those that were written.
    """
    try:
        with safe_open(path, "pt") as file:
            names, metadata = file.keys(), file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    if hash_tensors(tensors) != metadata.get(DIGEST):
        raise ValueError("its values are not those that were written")
    return tensors


def hash_tensors(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


__all__ = ["hash_tensors", "read_tensors", "write_tensors"]
