# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""How much memory a run has taken; one that does not fit into it, and the keys of its recipe that make it smaller."""

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from clipbert.train_scripts.engine.recipe import Recipe


@contextmanager
def naming_what_saves_memory(recipe: Recipe, doing: str, *sections: str) -> Iterator[None]:
    """
    Around work that may not fit: say in an out-of-memory error which options help, those of task and family included.

    Args:
        recipe (`Recipe`): The run.
        doing (`str`): What is being done, such as `"step 3"`.
        sections (`str`): Where such options are.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # `torch.OutOfMemoryError` is a RuntimeError
        is_plain = not isinstance(error, torch.OutOfMemoryError | MemoryError)
        if is_plain and not any(words in str(error) for words in ("can't allocate memory", "ALLOC_FAILED")):
            raise
        keys = ", ".join(recipe.keys_that_save("memory", *sections))
        raise torch.OutOfMemoryError(
            f"Out of memory in {doing}: {str(error).splitlines()[0] if str(error) else type(error).__name__} Change what "
            f"fits the task: {keys}."
        ) from error


def peak_memory(device: torch.device) -> int:
    """Bytes that this process has held at most: of the GPU's memory if it has one, else of the machine's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024  # where Linux counts kibibytes, macOS counts bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


__all__ = ["naming_what_saves_memory", "peak_memory"]
