# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Checkpoints: folders that `from_pretrained` reads, written whole or not at all.

OUTPUT_DIR/checkpoints/step_000500/    model and processor as `save_pretrained` writes them
                                       recipe.yaml, the resolved recipe
                                       trainer/: optimizer.pt, state.json, manifest.json (sizes and digests);
                                       own_weights.pt, if the published weights are averages of them
OUTPUT_DIR/checkpoints/last, best      links to two of them
"""

import errno
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedModel, ProcessorMixin

from clipbert.support.files import PARTIAL, whole_folder
from clipbert.support.manifest import MANIFEST, CheckpointError, verify_checkpoint, write_manifest
from clipbert.train_scripts.engine.data import find_dead_worker
from clipbert.train_scripts.engine.recipe import Recipe


ADVICE = dict.fromkeys((errno.ENOSPC, errno.EDQUOT), " (run.save_total_limit says how many checkpoints are kept)")
logger = logging.getLogger("clipbert.train_scripts")


class RunCheckpoints:
    """
    The checkpoints of one run: the main process writes, all processes call.
    The recipe is saved with each of them, and decides how many are kept.
    """

    def __init__(self, root: Path, recipe: Recipe, accelerator: Accelerator):
        self.root, self.recipe, self.accelerator = root, recipe, accelerator

    def folder(self, step: int) -> Path:
        return self.root / f"step_{step:08d}"

    def save(
        self,
        step: int,
        model: PreTrainedModel,
        processor: ProcessorMixin | None,
        tensors: dict[str, Any],
        state: dict[str, Any],
    ) -> None:
        """
        Write the checkpoint of a step, and delete those beyond `run.save_total_limit`.
        Besides model and processor the trainer has `tensors` to go on with, each entry a file, and a `state` in JSON.
        """
        if self.accelerator.is_main_process:

            def write(folder: Path) -> None:
                model.save_pretrained(folder)
                if processor is not None:
                    processor.save_pretrained(folder)
                self.recipe.save(folder / "recipe.yaml")
                for name, values in tensors.items():
                    with open(folder / "trainer" / f"{name}.pt", "wb") as file:  # python's files say why they fail
                        torch.save(values, file)
                (folder / "trainer" / "state.json").write_text(json.dumps(state, indent=1))

            write_checkpoint(self.folder(step), write)
            self._link("last", step)
            self._prune()
        self.accelerator.wait_for_everyone()

    def mark_best(self, step: int | None) -> None:
        """Let `best` point to the checkpoint of `step`, and delete the one it pointed to if it is old."""
        if self.accelerator.is_main_process and step is not None and self.folder(step).is_dir():
            self._link("best", step)
            self._prune()
        self.accelerator.wait_for_everyone()

    def _link(self, name: str, step: int) -> None:
        link = self.root / f".{name}{PARTIAL}"
        link.unlink(missing_ok=True)
        link.symlink_to(self.folder(step).name, target_is_directory=True)
        os.replace(link, self.root / name)

    def _prune(self) -> None:
        limit, best = self.recipe.run.save_total_limit, (self.root / "best").resolve()
        for folder in list_checkpoints(self.root)[: -limit if limit else 0]:
            if folder.resolve() != best:
                (folder / MANIFEST).unlink(missing_ok=True)  # first: half of a deleted checkpoint must not look whole
                shutil.rmtree(folder)


def load_weights(model: nn.Module, folder: Path) -> None:
    """Copy the weights of a verified checkpoint into a model of the same class; none may be missing."""
    # else transformers raises for another shape, and says where in a table far above
    loaded, info = type(model).from_pretrained(folder, output_loading_info=True, ignore_mismatched_sizes=True)
    if info["missing_keys"] or info["mismatched_keys"]:
        names = {"missing": info["missing_keys"], "of another shape": {key for key, *_ in info["mismatched_keys"]}}
        wrong = "; ".join(f"{what}: {', '.join(sorted(keys))}" for what, keys in names.items() if keys)
        raise CheckpointError(
            f"{folder} does not fit the model ({wrong}). Bring back the data that it was trained on, or choose another "
            "run.output_dir."
        )
    if loaded.config.id2label != model.config.id2label:
        raise CheckpointError(
            f"{folder} has classes of other names, or in another order, than the data give now. Bring back the data that it "
            "was trained on, or choose another run.output_dir."
        )
    model.load_state_dict(loaded.state_dict())


def read_state(folder: Path) -> dict[str, Any]:
    """What `RunCheckpoints.save` wrote as JSON."""
    return json.loads((folder / "trainer" / "state.json").read_text())


def load_tensors(folder: Path, name: str) -> dict[str, Any]:
    """One of the files of tensors that `RunCheckpoints.save` wrote."""
    return torch.load(folder / "trainer" / f"{name}.pt", map_location="cpu", weights_only=True)


def write_checkpoint(folder: Path, write: Callable[[Path], None]) -> None:
    """
    Let `write` fill a folder under a temporary name, record what is in it, and give it its name last.

    What is already in the checkpoint's place is replaced.
    """
    for leftover in folder.parent.glob(f".step_*{PARTIAL}"):  # of a run that was killed while writing
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        with whole_folder(folder) as partial:
            (partial / MANIFEST.parent).mkdir()
            write(partial)
            write_manifest(partial)
    except Exception as error:  # a full disk has another exception in each library
        if find_dead_worker(error):
            raise
        reason, _ = find_cause(error)
        raise CheckpointError(
            f"Could not write {folder}: {reason}. Earlier checkpoints are untouched; run the same command again when "
            "the cause is removed."
        ) from None


def find_last_checkpoint(root: Path) -> Path | None:
    """
    The newest whole checkpoint below `root`; broken ones are named in a warning and passed over.

    Raises:
        CheckpointError: If there are checkpoints and none of them is whole: beginning again would overwrite the run.
    """
    problems = []
    for folder in reversed(list_checkpoints(root)):
        try:
            verify_checkpoint(folder)
        except CheckpointError as error:
            logger.warning(f"{error} Looking for an earlier one.")
            problems.append(str(error))
        else:
            return folder
    if problems:
        raise CheckpointError(
            f"No checkpoint below {root} is whole. {' '.join(problems)} To begin again, choose another run.output_dir or "
            "move these folders away."
        )
    return None


def list_checkpoints(root: Path) -> list[Path]:
    """Checkpoint folders below `root` in the order of their steps."""
    numbered = {int(path.name[5:]): path for path in root.glob("step_*") if path.name[5:].isdigit() and path.is_dir()}
    return [numbered[step] for step in sorted(numbered)]


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Around the writing of anything but a checkpoint: say what could not be written, and that the run can go on."""
    try:
        yield
    except (OSError, SafetensorError) as error:  # a full disk, mostly
        reason, number = find_cause(error)
        message = (
            f"Could not write {path}: {reason}. The checkpoints are untouched; run the same command again when the cause is "
            "removed"
        )
        raise (OSError(message) if number is None else OSError(number, message)) from None


def find_cause(error: BaseException) -> tuple[str, int | None]:
    """
    What the system said when something could not be written, and its number of that, behind the error of a library.
    Where it said nothing, what the library says.
    """
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, OSError) and link.errno:
            return f"{link.strerror}{ADVICE.get(link.errno, '')}", link.errno
        if found := re.search(r"\(os error (\d+)\)", str(link)):  # safetensors, written in Rust
            return find_cause(OSError(int(found[1]), os.strerror(int(found[1]))))
        link = link.__cause__ or link.__context__
    return str(error) or type(error).__name__, None


__all__ = [
    "RunCheckpoints",
    "find_last_checkpoint",
    "list_checkpoints",
    "load_tensors",
    "load_weights",
    "read_state",
    "write_checkpoint",
    "writing",
]
