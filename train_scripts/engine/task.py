# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What a training script has to say: a `Task`. Everything else is the loop's."""

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.data_loader import prepare_data_loader
from torch import nn
from tqdm.auto import tqdm
from transformers import PreTrainedModel, ProcessorMixin

from clipbert.datasets_scripts.building.records import AnnotationError
from clipbert.datasets_scripts.building.usable_videos import UnusableVideosError
from clipbert.support.manifest import CheckpointError
from clipbert.train_scripts.engine.command_line import load_recipe, parse_command_line, read_rescore_options
from clipbert.train_scripts.engine.cost import ReadItems, batches_of
from clipbert.train_scripts.engine.data import Batch, DeadWorkerError, build_loader, naming_dead_workers
from clipbert.train_scripts.engine.items import NoTrainSet, TrainItems
from clipbert.train_scripts.engine.last_word import ending_with_the_reason
from clipbert.train_scripts.engine.launch import LaunchError, build_accelerator
from clipbert.train_scripts.engine.output import OutputError, own_output
from clipbert.train_scripts.engine.predictions import Evaluation, Predictions, rescore
from clipbert.train_scripts.engine.recipe import Recipe, RecipeError
from clipbert.train_scripts.engine.report import print_scores


logger = logging.getLogger("clipbert.train_scripts")
# errors that say all there is to know, to whoever runs a script
PLAIN = (RecipeError, CheckpointError, LaunchError, OutputError, DeadWorkerError, AnnotationError, UnusableVideosError)
Losses = dict[str, torch.Tensor]
Report = dict[str, torch.Tensor | float]
Features = dict[str, torch.Tensor]


@dataclass
class Parts:
    """
    What a task builds for a run.

    Args:
        model (`PreTrainedModel`): The model to train, on the CPU.
        processor (`ProcessorMixin`): Saved with every checkpoint.
        train_set (`TrainItems`): See `train_scripts.engine.items`.
        collate (`Callable`): A list of decoded training items to the `Batch` that `training_step` gets.
        eval_sets (`Mapping[str, Any]`): For each split of `eval.splits` what `evaluate` needs.
    """

    model: PreTrainedModel
    processor: ProcessorMixin | None
    train_set: TrainItems
    collate: Callable[[list], Batch]
    eval_sets: Mapping[str, Any] = field(default_factory=dict)


class Task:
    """
    One thing to train for. Subclasses write `build`, `training_step` (or `features` and `global_loss`) and `measure`, and either `eval_step`, or
    `evaluate` where examples are not scored one by one.
    """

    name: str = ""  # which task it is, in the predictions that it writes
    recipe_class: type[Recipe] = Recipe
    find_unused_parameters = False  # for several processes: whether a step may leave parameters without gradient
    has_global_loss = False  # whether the loss is one over all items of a step, not one of each micro-batch
    averaged_target: str | None = None  # whose rows the loss is the mean of, where those are not the items of a batch
    rescore_options: tuple[str, ...] = ()  # keys of `eval` that `--rescore` can replace in `Predictions.info`

    def build(self, recipe: Recipe) -> Parts:
        """Load data, processor and model. Mistakes in the recipe should surface here, before anything is trained."""
        raise NotImplementedError

    def training_step(self, model: nn.Module, batch: Batch) -> tuple[Losses, Report]:
        """
        Losses of one micro-batch, of which `loss` is differentiated, and values that are only logged.

        Every value is a mean over the micro-batch, and all processes give the same names.
        """
        return {"loss": model(**batch.inputs).loss}, {}

    def features(self, model: nn.Module, batch: Batch) -> Features:
        """What the loss of the whole batch reads of one micro-batch: tensors with a row for each of its items."""
        raise NotImplementedError

    def global_loss(self, model: nn.Module, features: Features) -> tuple[Losses, Report]:
        """
        As `training_step`, from the `features` of all micro-batches of a step.

        `model` is the bare one. Floating-point features are in float32; behind the first dimension they are filled up
        with zeros to the largest size of a step.
        """
        raise NotImplementedError

    def eval_step(self, model: nn.Module, batch: Any) -> dict[str, Any]:
        """Predictions and gold answers of one batch: tensors and lists with one row per example."""
        raise NotImplementedError

    def measure(self, predictions: Predictions) -> dict[str, float]:
        """Scores from the predictions of a split, with `num_examples`; from written ones too, without a model."""
        raise NotImplementedError

    def describe_row(self, predictions: Predictions, number: int) -> str | None:
        """What the model says of one example, in words; shown of a few after the last evaluation."""
        return None

    def next_commands(self, recipe: Recipe, checkpoint: Path) -> dict[str, str]:
        """Command lines for what can be done with a trained model of this task, by what they do."""
        return {}

    def evaluate(
        self, model: nn.Module, examples: Any, accelerator: Accelerator, recipe: Recipe, draw: int = 0
    ) -> Evaluation:
        """
        Evaluate one split on all processes; all of them return the result.

        By default example by example: see `predict`.

        Args:
            model (`nn.Module`): The unwrapped model in evaluation mode.
            examples (`Any`): `Parts.eval_sets[split]`.
            accelerator (`Accelerator`): Divides the work.
            recipe (`Recipe`): The run.
            draw (`int`, *optional*, defaults to 0): Which random choice of clips, of `eval.num_draws`.
        """
        predictions = self.predict(model, examples, accelerator, recipe)
        return Evaluation(self.measure(predictions), predictions)

    def predict(self, model: nn.Module, examples: Any, accelerator: Accelerator, recipe: Recipe) -> Predictions:
        """
        What `eval_step` returns for the examples of a split: tensors, and the entries of lists as rows.

        Args:
            model, accelerator, recipe: See `evaluate`.
            examples (`Any`): A map-style dataset with a `collate` method.
        """
        found: dict[str, list] = {}
        items = ReadItems(examples, examples.collate)
        pinned, batch_size = accelerator.device.type == "cuda", recipe.eval.batch_size
        loader = build_loader(items, recipe.data, pinned, batch_size=batch_size, collate_fn=items.collate)
        processes = (accelerator.num_processes, accelerator.process_index)
        loader = prepare_data_loader(loader, accelerator.device, *processes, put_on_device=True, non_blocking=pinned)
        quiet = None if accelerator.is_main_process else True
        for batch in tqdm(batches_of(loader), total=len(loader), desc="evaluating", disable=quiet):
            for name, values in self.eval_step(model, batch).items():
                # `gather_for_metrics`, because plain `gather` repeats examples of an uneven last batch
                values = accelerator.gather_for_metrics(values, use_gather_object=not torch.is_tensor(values))
                found.setdefault(name, []).append(values)
        tensors = {name: torch.cat(parts).cpu().numpy() for name, parts in found.items() if torch.is_tensor(parts[0])}
        lists = {name: sum(parts, []) for name, parts in found.items() if name not in tensors}
        rows = [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]
        return Predictions(self.name, rows, tensors)


def main(task: Task, arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """
    Run a script: read the recipe from the command line, train, evaluate; or, with `--rescore`, print the metrics of
    written predictions and return them.

    Returns:
        `dict`: `step` (the last one), `finished`, `results`: the newest evaluation of each split (of the tuning split the
        best), and `published`: the address of the upload, on the main process if `run.push_to_hub` asked for one.
    """
    if arguments is None:
        with ending_with_the_reason(PLAIN):
            return run_script(task, None)
    return run_script(task, arguments)


def run_script(task: Task, arguments: Sequence[str] | None) -> dict[str, Any]:
    """What `main` does, with errors as they are."""
    from clipbert.train_scripts.engine.loop import Trainer  # here, because the loop needs the classes above
    from clipbert.train_scripts.publishing import check_repository, publish_run

    schema = task.recipe_class
    script = sys.modules[type(task).__module__]
    given = parse_command_line(schema, arguments, Path(script.__file__).stem, script.__doc__, task.rescore_options)
    if given.rescore:
        options = read_rescore_options(schema, given, task.rescore_options)
        metrics = rescore(given.rescore, task.measure, options, task.name)
        print_scores(metrics, given.rescore)
        return metrics
    recipe = load_recipe(schema, given)
    run, accelerator = recipe.run, build_accelerator(recipe, task.find_unused_parameters)
    if run.push_to_hub and accelerator.is_main_process:
        check_repository(run.push_to_hub, run.hub_private)
    with own_output(recipe, accelerator), naming_dead_workers(recipe):
        result = Trainer(task, recipe, accelerator).run()
        if run.push_to_hub and result["finished"] and accelerator.is_main_process:
            result["published"] = publish_run(run.output_dir, run.push_to_hub, run.hub_private)
            logger.info(f"Published as {result['published']}.")
    return result


__all__ = ["Batch", "Evaluation", "NoTrainSet", "Parts", "Predictions", "Task", "TrainItems", "main"]
