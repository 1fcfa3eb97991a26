# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What a training script has to say: a `Task`. Everything else is the loop's."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from accelerate.data_loader import prepare_data_loader
from torch import nn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import PreTrainedModel, ProcessorMixin

from clipbert.train_scripts.engine.data import TrainSet, ignore_termination
from clipbert.train_scripts.engine.recipe import Recipe
from clipbert.train_scripts.engine.stream import StreamedTrainSet


logger = logging.getLogger(__name__)
Losses = dict[str, torch.Tensor]
Report = dict[str, torch.Tensor | float]


@dataclass
class Parts:
    """
    What a task builds for a run.

    Args:
        model (`PreTrainedModel`): The model to train, on the CPU.
        processor (`ProcessorMixin`): Saved with every checkpoint.
        train_set (`TrainSet` or `StreamedTrainSet`): See `train_scripts.engine.data` and `train_scripts.engine.stream`.
        collate (`Callable`): A list of decoded training items to the batch that `training_step` gets.
        eval_sets (`Mapping[str, Any]`): For each split of `eval.splits` what `evaluate` needs.
    """

    model: PreTrainedModel
    processor: ProcessorMixin | None
    train_set: TrainSet | StreamedTrainSet
    collate: Callable[[list], dict[str, torch.Tensor]]
    eval_sets: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Evaluation:
    """
    Result of one split.

    Args:
        metrics (`dict[str, float]`): Scores as fractions, with `num_examples`.
        tensors (`dict[str, np.ndarray]`): Predictions as the model gave them, one row per example.
        records (`dict[str, Any]`): What belongs to the rows: ids, texts and gold answers. Written as JSON.
        files (`dict[str, Any]`): Further JSON files by name, such as an evaluation server takes.
    """

    metrics: dict[str, float]
    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    records: dict[str, Any] = field(default_factory=dict)
    files: dict[str, Any] = field(default_factory=dict)


class Task:
    """
    One thing to train for. Subclasses write `build` and `training_step`, and either `eval_step` and `metrics`, or
    `evaluate` where examples are not scored one by one.
    """

    recipe_class: type[Recipe] = Recipe
    backbone_names: Sequence[str] = ("grid_encoder",)  # modules that take `optim.backbone_lr`
    find_unused_parameters = False  # for several processes: whether a step may leave parameters without gradient

    def build(self, recipe: Recipe) -> Parts:
        """Load data, processor and model. Mistakes in the recipe should surface here, before anything is trained."""
        raise NotImplementedError

    def training_step(self, model: nn.Module, batch: dict[str, torch.Tensor]) -> tuple[Losses, Report]:
        """
        Losses of one micro-batch, of which `loss` is differentiated, and values that are only logged.

        Every value is a mean over the micro-batch, and all processes give the same names.
        """
        outputs = model(**batch)
        return {"loss": outputs.loss}, {}

    def eval_step(self, model: nn.Module, batch: dict[str, Any]) -> dict[str, Any]:
        """Predictions and gold answers of one batch: tensors and lists with one row per example."""
        raise NotImplementedError

    def metrics(self, rows: dict[str, Any]) -> dict[str, float]:
        """Scores from all rows of a split, with `num_examples`."""
        raise NotImplementedError

    def evaluate(self, model: nn.Module, examples: Any, accelerator: Accelerator, recipe: Recipe) -> Evaluation:
        """
        Evaluate one split on all processes; all of them return the result.

        Args:
            model (`nn.Module`): The unwrapped model in evaluation mode.
            examples (`Any`): `Parts.eval_sets[split]`; here a map-style dataset with a `collate` method.
            accelerator (`Accelerator`): Divides the work.
            recipe (`Recipe`): The run.
        """
        loader = DataLoader(
            examples,
            recipe.eval.batch_size,
            collate_fn=examples.collate,
            num_workers=recipe.data.num_workers,
            worker_init_fn=ignore_termination,
        )
        gathered: dict[str, list] = {}
        loader = prepare_data_loader(
            loader, accelerator.device, accelerator.num_processes, accelerator.process_index, put_on_device=True
        )
        for batch in tqdm(loader, desc="evaluating", disable=None if accelerator.is_main_process else True):
            for name, values in self.eval_step(model, batch).items():
                # `gather_for_metrics`, because plain `gather` repeats examples of an uneven last batch
                values = accelerator.gather_for_metrics(values, use_gather_object=not torch.is_tensor(values))
                gathered.setdefault(name, []).append(values)
        rows = {
            name: torch.cat(parts).cpu().numpy() if torch.is_tensor(parts[0]) else sum(parts, [])
            for name, parts in gathered.items()
        }
        tensors = {name: values for name, values in rows.items() if isinstance(values, np.ndarray)}
        return Evaluation(self.metrics(rows), tensors, {name: rows[name] for name in rows.keys() - tensors.keys()})


def main(task: Task, arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """
    Run a script: read the recipe from the command line, train, evaluate; or, with `--rescore`, print the metrics of
    written predictions and return them.

    Returns:
        `dict`: `step` (the last one), `finished`, `results`: the newest evaluation of each split (of the tuning split the
        best), and `published`: the address of the upload, on the main process if `run.push_to_hub` asked for one.
    """
    from clipbert.train_scripts.engine.loop import Trainer  # here, because the loop needs the classes above
    from clipbert.train_scripts.engine.publishing import check_repository, publish_run

    given = task.recipe_class.parse_arguments(arguments, description=type(task).__doc__)
    if given.rescore:
        from clipbert.train_scripts.rescore import read_pooling, rescore  # imports the scripts

        metrics = rescore(given.rescore, read_pooling(given))
        print(json.dumps(metrics, indent=1))
        return metrics
    recipe = task.recipe_class.from_command_line(arguments, description=type(task).__doc__)
    run = recipe.run
    if run.push_to_hub and PartialState().is_main_process:
        check_repository(run.push_to_hub, run.hub_private)
    result = Trainer(task, recipe).run()
    if run.push_to_hub and result["finished"] and PartialState().is_main_process:
        result["published"] = publish_run(run.output_dir, run.push_to_hub, run.hub_private)
        logger.info(f"Published as {result['published']}.")
    return result


__all__ = ["Evaluation", "Parts", "Task", "main"]
