# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Checkpoints that a command line names."""

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipbert.command_line.arguments import UsageError
from clipbert.command_line.output import Output
from clipbert.support.families import find_checkpoint


if TYPE_CHECKING:  # what is heavy waits for a command to need it
    from clipbert.pipelines import VideoPipeline
    from clipbert.processing import SparseVideoProcessor

HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


def check_checkpoint(name: str, option: str = "--checkpoint") -> str:
    """
    Where the checkpoint that an option names lies, looked up as far as that takes no time and no network.

    Raises:
        UsageError: If there is none of this name.
    """
    try:
        found = find_checkpoint(name, is_verified=False)
    except OSError as error:
        raise UsageError(f"{option} {error}") from error
    if not Path(found).exists() and not HUB_NAME.fullmatch(name):
        raise UsageError(f"{option} {name}: no such folder in {Path.cwd()}.")
    return found


def open_pipeline(given: argparse.Namespace, task: str, options: Mapping[str, Any]) -> "VideoPipeline":
    """
    The pipeline of `--checkpoint`.

    Raises:
        UsageError: If it cannot be opened, answers another task, or has no option of a name.
    """
    from clipbert.loading import load_pipeline

    check_device(given.device)
    quietly()
    with naming_checkpoint(given.checkpoint):
        return load_pipeline(
            given.checkpoint, task, trust_remote_code=given.trust_remote_code, **hub_options(given), **options
        )


def check_device(name: str | None) -> None:
    """
    Raises:
        UsageError: If torch has no such device here.
    """
    import torch

    if name is not None:
        try:
            torch.empty(0, device=name)
        except (AssertionError, NotImplementedError, RuntimeError) as error:
            raise UsageError(f"--device {name}: {first_line(error)}") from error


def quietly() -> None:
    """No bar of transformers for the second that loading takes."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()


def open_video_processor(given: argparse.Namespace, options: Mapping[str, Any]) -> "SparseVideoProcessor":
    """
    The video processor of `--checkpoint`, else one of clips, with these options.

    Raises:
        UsageError: If it cannot be opened, or has no option of a name.
    """
    from transformers import AutoVideoProcessor

    from clipbert.processing import SparseVideoProcessor

    if given.checkpoint is None:
        with naming_options():
            return SparseVideoProcessor(**options)
    with naming_checkpoint(given.checkpoint):
        found = AutoVideoProcessor.from_pretrained(
            find_checkpoint(given.checkpoint), trust_remote_code=given.trust_remote_code, **hub_options(given)
        )
    with naming_options():
        return type(found).from_dict({**found.to_dict(), **options})


def note_losses(pipe: "VideoPipeline", texts: Sequence[str], output: Output) -> None:
    """Tell what the model does not see of texts."""
    from clipbert.train_scripts.tasks.texts import describe_losses

    if losses := describe_losses(pipe.processor, texts):
        output.note(f"note: {losses}")


def hub_options(given: argparse.Namespace) -> dict[str, str]:
    return {} if given.revision is None else {"revision": given.revision}


@contextmanager
def naming_checkpoint(name: str) -> Iterator[None]:
    """Turn what is wrong with a checkpoint, or with an option for it, into a [`UsageError`]."""
    with naming_options():
        try:
            yield
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            where = "" if Path(name).exists() else f"no such folder in {Path.cwd()}. As for the Hub: "
            reason = first_line(error)
            raise UsageError(
                f"--checkpoint {reason if reason.startswith(name) else f'{name}: {where}{reason}'}"
            ) from error


@contextmanager
def naming_options() -> Iterator[None]:
    """Turn what is wrong with an option, or with what is asked, into a [`UsageError`]."""
    try:
        yield
    except UsageError:
        raise
    except (TypeError, ValueError) as error:
        raise UsageError(first_line(error)) from error


def first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


__all__ = [
    "check_checkpoint",
    "check_device",
    "naming_options",
    "note_losses",
    "open_pipeline",
    "open_video_processor",
    "quietly",
]
