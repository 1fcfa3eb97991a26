# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Checkpoints: folders that `from_pretrained` reads, written whole or not at all.

OUTPUT_DIR/checkpoints/step_000500/    model and processor as `save_pretrained` writes them
                                       recipe.yaml, the resolved recipe
                                       trainer/: optimizer.pt, state.json, manifest.json (sizes and digests);
                                       own_weights.pt, if the published weights are averages of them
OUTPUT_DIR/checkpoints/last, best      links to two of them
"""

import fnmatch
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

from clipbert.processing.processing_clipbert import load_tokenizer
from clipbert.train_scripts.engine.recipe import Recipe
from clipbert.train_scripts.engine.sharding import load_optimizer


logger = logging.getLogger(__name__)

# What may differ between a checkpoint's recipe and the one that resumes it: where, how fast and how often, not what.
CHANGEABLE = (
    "eval",
    "model.tokenizer",  # `check_inputs` compares the tokenizers and
    "data.skip_list",  # the training items themselves
    "model.gradient_checkpointing",
    "model.clips_per_chunk",
    "data.data_dir",
    "data.num_workers",
    "data.on_decode_error",
    "data.max_decode_error_rate",
    "run.output_dir",
    "run.eval_every",
    "run.save_every",
    "run.save_total_limit",
    "run.resume",
    "run.log_every",
    "run.log_with",
    "run.patience",
    "run.push_to_hub",
    "run.hub_private",
)
# With the schedule `plateau` the evaluations decide the learning rate.
FIXED_BY_PLATEAU = ("eval", "run.eval_every")
# Nobody knows the items of a stream beforehand.
FIXED_BY_STREAMING = ("data.skip_list",)
MANIFEST = Path("trainer", "manifest.json")


class CheckpointError(ValueError):
    """A checkpoint that is not whole, or does not belong to this run."""


class RunCheckpoints:
    """
    The checkpoints of one run: the main process writes, all processes call.

    Args:
        root (`Path`): Folder of the checkpoints.
        recipe (`Recipe`): Saved with each of them; decides how many are kept and where to resume.
        accelerator (`Accelerator`): The processes.
    """

    def __init__(self, root: Path, recipe: Recipe, accelerator: Accelerator):
        self.root, self.recipe, self.accelerator = root, recipe, accelerator

    def folder(self, step: int) -> Path:
        return self.root / f"step_{step:08d}"

    def find(self) -> Path | None:
        """
        The whole checkpoint that `run.resume` means; it has to come from the same recipe.

        Raises:
            CheckpointError: If there is none to go on from, or `model.from_pretrained` is a broken one.
        """
        found, problem = None, None
        if self.accelerator.is_main_process:
            try:
                found = self._find()
            except ValueError as error:
                problem = str(error)
        found, problem = broadcast_object_list([found, problem])
        if problem is not None:
            raise CheckpointError(problem)
        return found

    def _find(self) -> Path | None:
        resume, start = self.recipe.run.resume, self.recipe.model.from_pretrained
        if start is not None and (Path(start) / MANIFEST).is_file():
            try:
                verify_checkpoint(Path(start), "*.safetensors")  # a config may have been edited since
            except CheckpointError as error:
                raise CheckpointError(
                    f"model.from_pretrained: {error} Name another checkpoint, or run the command that wrote it again in a "
                    "new run.output_dir."
                ) from error
        if resume == "never":
            if there := list_checkpoints(self.root):
                raise CheckpointError(
                    f"run.resume=never, but {self.root} holds {there[-1].name}. Choose another run.output_dir, or go on "
                    "with run.resume=auto."
                )
            return None
        if resume == "auto":
            folder = find_last_checkpoint(self.root)
        else:
            folder = Path(resume)
            verify_checkpoint(folder)
            if folder.resolve().parent != self.root.resolve():
                own = find_last_checkpoint(self.root)  # this run has begun there, and gone further
                if own is not None and read_state(own)["step"] > read_state(folder)["step"]:
                    logger.info(f"{own} is later than run.resume={folder}.")
                    folder = own
        if folder is not None:
            saved = type(self.recipe).load(folder / "recipe.yaml")
            fixed = FIXED_BY_PLATEAU if self.recipe.optim.schedule == "plateau" else ()
            if getattr(self.recipe.data, "streaming", False):
                fixed += FIXED_BY_STREAMING
            ignore = [key for key in CHANGEABLE if key not in fixed]
            if different := self.recipe.differences(saved, ignore=ignore):
                raise CheckpointError(
                    f"{folder} was trained by another recipe ({'; '.join(different)}; here != there). Choose another "
                    "run.output_dir, or start from its weights with model.from_pretrained."
                )
        return folder

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

        Args:
            step (`int`): The step.
            model (`PreTrainedModel`): What `from_pretrained` is to read.
            processor (`ProcessorMixin`, *optional*): Goes with it.
            tensors (`dict[str, Any]`): What the trainer needs to go on; each entry becomes a file of that name.
            state (`dict[str, Any]`): The same, as JSON.
        """
        if self.accelerator.is_main_process:

            def write(folder: Path) -> None:
                model.save_pretrained(folder)
                if processor is not None:
                    processor.save_pretrained(folder)
                self.recipe.save(folder / "recipe.yaml")
                for name, values in tensors.items():
                    torch.save(values, folder / "trainer" / f"{name}.pt")
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
        link = self.root / f".{name}.partial"
        link.unlink(missing_ok=True)
        link.symlink_to(self.folder(step).name, target_is_directory=True)
        os.replace(link, self.root / name)

    def _prune(self) -> None:
        limit, best = self.recipe.run.save_total_limit, (self.root / "best").resolve()
        for folder in list_checkpoints(self.root)[: -limit if limit else 0]:
            if folder.resolve() != best:
                (folder / MANIFEST).unlink(missing_ok=True)  # first: half of a deleted checkpoint must not look whole
                shutil.rmtree(folder)


def check_inputs(folder: Path, tokenizer: PreTrainedTokenizerBase | None, items: str | None) -> None:
    """
    Raise a `CheckpointError` if a checkpoint was trained on other words or items than the run that goes on from it.

    Args:
        folder (`Path`): The checkpoint.
        tokenizer (`PreTrainedTokenizerBase`, *optional*): The run's.
        items (`str`, *optional*): Digest of the run's training items.
    """
    if tokenizer is not None:
        saved = load_tokenizer(folder)
        if (saved.get_vocab(), saved.special_tokens_map) != (tokenizer.get_vocab(), tokenizer.special_tokens_map):
            raise CheckpointError(
                f"{folder} was trained with another tokenizer: words or special tokens differ from those of "
                f"{tokenizer.name_or_path}. Name the tokenizer that it was trained with in model.tokenizer."
            )
    if read_state(folder).get("items", items) != items:
        raise CheckpointError(
            f"{folder} was trained on other items than data.data_dir and data.skip_list give now. Bring them back, choose "
            "another run.output_dir, or start from its weights with model.from_pretrained."
        )


def load_weights(model: nn.Module, folder: Path) -> None:
    """Copy the weights of a checkpoint into a model of the same class; none may be missing."""
    verify_checkpoint(folder)
    loaded, info = type(model).from_pretrained(folder, output_loading_info=True)
    if info["missing_keys"] or info["mismatched_keys"]:
        raise CheckpointError(
            f"{folder} does not fit the model: missing {sorted(info['missing_keys'])}, of another shape "
            f"{sorted(info['mismatched_keys'])}."
        )
    if loaded.config.id2label != model.config.id2label:
        raise CheckpointError(
            f"{folder} has classes of other names, or in another order, than the data give now. Bring back the data that it "
            "was trained on, or choose another run.output_dir."
        )
    model.load_state_dict(loaded.state_dict())


def load_trainer_state(folder: Path, optimizer: torch.optim.Optimizer, scaler: Any) -> dict[str, Any]:
    """Restore optimizer and gradient scaler; returns the rest of the trainer's state."""
    tensors = load_tensors(folder, "optimizer")
    load_optimizer(optimizer, tensors["optimizer"])
    if scaler is not None and tensors["scaler"] is not None:
        scaler.load_state_dict(tensors["scaler"])
    return read_state(folder)


def read_state(folder: Path) -> dict[str, Any]:
    """What `RunCheckpoints.save` wrote as JSON."""
    return json.loads((folder / "trainer" / "state.json").read_text())


def load_tensors(folder: Path, name: str) -> dict[str, Any]:
    """One of the files of tensors that `RunCheckpoints.save` wrote."""
    return torch.load(folder / "trainer" / f"{name}.pt", map_location="cpu", weights_only=True)


def write_checkpoint(folder: Path, write: Callable[[Path], None]) -> None:
    """
    Write a checkpoint under a temporary name, record what is in it, and give it its name last.

    Args:
        folder (`Path`): The checkpoint's final place. What is already there is replaced.
        write (`Callable[[Path], None]`): Writes the content into the folder it is given.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # left by a run that was killed while writing
    (partial / MANIFEST.parent).mkdir(parents=True)
    try:
        write(partial)
        files = {str(path.relative_to(partial)): _fingerprint(path) for path in _files(partial)}
        write_atomically(partial / MANIFEST, json.dumps({"files": files}, indent=1))
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(partial, folder)
    except Exception as error:  # a full disk has another exception in each library
        shutil.rmtree(partial, ignore_errors=True)
        raise CheckpointError(
            f"Could not write {folder}: {error}. Earlier checkpoints are untouched; run the same command again when "
            "the cause is removed."
        ) from error


def verify_checkpoint(folder: Path, pattern: str = "*") -> None:
    """Raise a `CheckpointError` that names the first file like `pattern` that is missing or not what was written."""
    try:
        files = json.loads((folder / MANIFEST).read_text())["files"]
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{folder} is not a whole checkpoint: {folder / MANIFEST} cannot be read ({error})."
        ) from error
    for name in fnmatch.filter(files, pattern):
        path, expected = folder / name, files[name]
        if not path.is_file():
            raise CheckpointError(f"{folder} is not a whole checkpoint: {name} is missing.")
        if path.stat().st_size != expected["size"]:
            raise CheckpointError(
                f"{folder} is not a whole checkpoint: {name} has {path.stat().st_size} bytes, written were "
                f"{expected['size']}."
            )
        if _digest(path) != expected["sha256"]:
            raise CheckpointError(f"{folder} is not a whole checkpoint: the content of {name} has changed.")


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


def write_atomically(path: Path, text: str) -> None:
    """Replace a small file in one step, so that a reader sees the old or the new content."""
    partial = path.with_name(f".{path.name}.partial")
    with open(partial, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Around the writing of anything but a checkpoint: say what could not be written, and that the run can go on."""
    try:
        yield
    except (OSError, SafetensorError) as error:  # a full disk, mostly
        message = (
            f"Could not write {path}: {getattr(error, 'strerror', None) or error}. The checkpoints are untouched; run the "
            "same command again when the cause is removed"
        )
        number = getattr(error, "errno", None)
        raise (OSError(message) if number is None else OSError(number, message)) from error


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _fingerprint(path: Path) -> dict[str, int | str]:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())  # the rename must not reach the disk before the content
    return {"size": path.stat().st_size, "sha256": _digest(path)}


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


__all__ = [
    "CheckpointError",
    "RunCheckpoints",
    "check_inputs",
    "find_last_checkpoint",
    "list_checkpoints",
    "load_tensors",
    "load_trainer_state",
    "load_weights",
    "verify_checkpoint",
    "write_atomically",
    "write_checkpoint",
    "writing",
]
