# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Where a run begins: at its first step, or at a checkpoint of the same recipe, tokenizer and items."""

import json
import logging
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import nn
from transformers import PreTrainedTokenizerBase, ProcessorMixin

from clipbert.support.manifest import CheckpointError, verify_checkpoint, verify_if_recorded
from clipbert.train_scripts.engine.checkpoint import (
    find_last_checkpoint,
    list_checkpoints,
    load_tensors,
    load_weights,
    read_state,
)
from clipbert.train_scripts.engine.ema import AveragedWeights
from clipbert.train_scripts.engine.recipe import Recipe, RecipeError
from clipbert.train_scripts.engine.sharding import load_optimizer


logger = logging.getLogger("clipbert.train_scripts")


class Beginning:
    """
    What a run goes on from. Without a checkpoint, all of this does nothing.

    Args:
        root (`Path`): Folder of the run's checkpoints.
        recipe (`Recipe`): `run.resume` says which checkpoint; it has to come from the same recipe.
        accelerator (`Accelerator`): The processes: the main one looks, all of them know.

    Raises:
        CheckpointError: If there is none to go on from, or one that the model starts from is damaged.
    """

    def __init__(self, root: Path, recipe: Recipe, accelerator: Accelerator):
        found, problem = None, None
        if accelerator.is_main_process:
            try:
                check_starts(recipe)
                found = find_checkpoint(root, recipe)
            except ValueError as error:
                problem = str(error)
        self.folder: Path | None
        self.folder, problem = broadcast_object_list([found, problem])
        if problem is not None:
            raise CheckpointError(problem)
        self.state: dict[str, Any] = {} if self.folder is None else read_state(self.folder)
        self.step: int = self.state.get("step", 0)
        self.is_own = self.folder is not None and self.folder.resolve().parent == root.resolve()

    def load_weights(self, model: nn.Module, processor: ProcessorMixin | None, items: str | None) -> None:
        """
        Give a new model, not divided yet, the weights of the checkpoint.
        The words of the processor's tokenizer and the training items, by their digest, have to be the same.
        """
        if self.folder is None:
            return
        check_tokenizer(self.folder, processor)
        if self.state.get("items", items) != items:
            raise CheckpointError(
                f"{self.folder} was trained on other items than data.data_dir and data.skip_list give now. Bring them back, "
                "choose another run.output_dir, or start from its weights with model.from_pretrained."
            )
        load_weights(model, self.folder)

    def load_trainer(self, optimizer: Any, scaler: Any, ema: AveragedWeights | None) -> None:
        """Restore optimizer and gradient scaler and, where the published weights are averages, the model's own."""
        if self.folder is None:
            return
        tensors = load_tensors(self.folder, "optimizer")
        there = [len(group["params"]) for group in tensors["optimizer"]["param_groups"]]
        if there != (here := [len(group["params"]) for group in optimizer.param_groups]):
            raise CheckpointError(
                f"{self.folder} was trained with other frozen parameters: its optimizer has groups of {there} parameters, "
                f"this one of {here}. Start from its weights with model.from_pretrained, in another run.output_dir."
            )
        load_optimizer(optimizer, tensors["optimizer"])
        if scaler is not None and tensors["scaler"] is not None:
            scaler.load_state_dict(tensors["scaler"])
        if ema is not None:
            ema.set_own_weights(load_tensors(self.folder, "own_weights"))
        logger.info(f"Resumed from {self.folder}.")


def find_checkpoint(root: Path, recipe: Recipe) -> Path | None:
    """The whole checkpoint that `run.resume` means; it has to come from the same recipe."""
    resume = recipe.run.resume
    if resume == "never":
        if there := list_checkpoints(root):
            raise CheckpointError(
                f"run.resume=never, but {root} holds {there[-1].name}. Choose another run.output_dir, or go on with "
                "run.resume=auto."
            )
        return None
    folder = find_last_checkpoint(root) if resume == "auto" else find_later(root, Path(resume))
    if folder is None:
        return None
    try:
        saved = type(recipe).load(folder / "recipe.yaml")
    except RecipeError as error:
        raise CheckpointError(
            f"{error} An earlier version of this package may have written it: start from the weights of {folder} with "
            "model.from_pretrained, in another run.output_dir."
        ) from error
    if different := recipe.differences(saved):
        raise CheckpointError(
            f"{folder} was trained by another recipe ({'; '.join(different)}; here != there). Choose another "
            "run.output_dir, or start from its weights with model.from_pretrained."
        )
    return folder


def find_later(root: Path, folder: Path) -> Path:
    """A checkpoint, or where it is of another run that this one has begun with, the later one of this run."""
    verify_checkpoint(folder)
    if folder.resolve().parent != root.resolve():
        own = find_last_checkpoint(root)
        if own is not None and read_state(own)["step"] > read_state(folder)["step"]:
            logger.info(f"{own} is later than run.resume={folder}.")
            return own
    return folder


def check_starts(recipe: Recipe) -> None:
    """Raise if a checkpoint of a run that the model starts from is damaged."""
    model = recipe.model
    for key, start in {"from_pretrained": model.from_pretrained, **(model.parts or {})}.items():
        try:
            if start is not None:
                verify_if_recorded(start)
        except CheckpointError as error:
            raise CheckpointError(f"model.{key if key == 'from_pretrained' else f'parts.{key}'}: {error}") from error


def check_tokenizer(folder: Path, processor: ProcessorMixin | None) -> None:
    """Raise if a checkpoint was trained on other words."""
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is None:
        return
    saved = type(processor).from_pretrained(folder).tokenizer
    if what_it_reads(saved) != what_it_reads(tokenizer):
        raise CheckpointError(
            f"{folder} was trained with another tokenizer: words, merges or special tokens differ from those of "
            f"{tokenizer.name_or_path}. Name the tokenizer that it was trained with in model.tokenizer."
        )


def what_it_reads(tokenizer: PreTrainedTokenizerBase) -> tuple:
    """Words, special tokens and, of byte-pair encodings, merges: equal words may be put together in other ways."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    is_bpe = backend is not None and type(backend.model).__name__ == "BPE"
    merges = json.loads(backend.to_str())["model"]["merges"] if is_bpe else None
    return tokenizer.get_vocab(), tokenizer.special_tokens_map, merges


__all__ = ["Beginning"]
