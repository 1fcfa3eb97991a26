# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The training loop: accelerate, accumulation, clipping, schedule, logs, evaluation, checkpoints, resume.

A step depends on the weights, the optimizer and its own number, and on nothing else: the order of the items and the
learning rate are computed from the number, and the random generators are seeded with it before each micro-batch. So a
checkpoint needs no generator states, evaluating more often changes nothing, and two processes draw the same dropout
masks as one.
"""

import json
import logging
import math
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import (
    DistributedDataParallelKwargs,
    DistributedType,
    GradientAccumulationPlugin,
    gather_object,
    send_to_device,
    set_seed,
)
from tqdm.auto import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm
from transformers.utils.logging import disable_progress_bar

from train_scripts.engine.checkpoint import RunCheckpoints, load_trainer_state, load_weights, write_atomically
from train_scripts.engine.data import BatchPlan, MicroBatch, PlannedBatches, Skipped, build_train_loader, check_skipped
from train_scripts.engine.log import RunLog, check_trackers, write_predictions
from train_scripts.engine.optim import build_optimizer, set_lr
from train_scripts.engine.recipe import Recipe
from train_scripts.engine.task import Task


logger = logging.getLogger(__name__)


class NonFiniteLossError(ArithmeticError):
    """A loss or a gradient that is infinite or not a number."""


class Trainer:
    """
    Trains a task as its recipe says.

    Args:
        task (`Task`): Model, data and losses.
        recipe (`Recipe`): Everything else.
    """

    def __init__(self, task: Task, recipe: Recipe):
        run = recipe.run
        self.task, self.recipe, self.output_dir = task, recipe, Path(run.output_dir)
        self.accelerator = build_accelerator(task, recipe)
        self.checkpoints = RunCheckpoints(self.output_dir / "checkpoints", recipe, self.accelerator)
        resumed_from = self.checkpoints.find()

        seed_everything(run.seed)  # new weights
        self.parts = task.build(recipe)
        if missing := recipe.eval.splits.keys() - self.parts.eval_sets.keys():
            raise ValueError(f"eval.splits names {sorted(missing)}; the task offers {sorted(self.parts.eval_sets)}.")
        self.plan = BatchPlan(
            num_items=len(self.parts.train_set),
            global_batch_size=run.global_batch_size,
            micro_batch_size=run.micro_batch_size,
            num_processes=self.accelerator.num_processes,
            seed=run.seed,
        )
        self.accelerator.gradient_accumulation_steps = self.plan.accumulation_steps
        self.total_steps = run.total_steps
        if self.total_steps is None:  # an epoch is one pass over the task's items
            self.total_steps = math.ceil(run.num_epochs * self.plan.num_items / run.global_batch_size)
        optimizer = build_optimizer(self.parts.model, recipe.optim, task.backbone_names)
        self.model, self.optimizer = self.accelerator.prepare(self.parts.model, optimizer)
        self.step = self.saved_step = 0
        self.skipped: list[Skipped] = []  # of the epochs not yet reported, on this process
        self.signalled = self.stop = False  # SIGTERM came to this process; all processes have agreed to stop
        if resumed_from is not None:
            self.resume(resumed_from)
        self.log = RunLog(self.output_dir / "log.jsonl", self.step, self.accelerator, recipe)
        self.describe()

    # -----------------------------------------------------------------------------------------------------------------
    # The run
    # -----------------------------------------------------------------------------------------------------------------

    def run(self) -> dict[str, Any]:
        """Train from where the run stands to its end, then evaluate. Returns `step`, `finished` and `results`."""
        quiet = None if self.accelerator.is_main_process else True  # None: a bar only where there is a terminal
        previous = signal.signal(signal.SIGTERM, self.note_signal)
        try:
            with (
                logging_redirect_tqdm(),
                tqdm(total=self.total_steps, initial=self.step, desc="training", unit="step", disable=quiet) as bar,
            ):
                batches = self.micro_batches()
                self.save_and_evaluate()
                while self.step < self.total_steps and not self.stop:
                    values = self.train_step(batches)
                    bar.set_postfix(loss=f"{values['loss']:.4f}", refresh=False)
                    bar.update()
                    self.save_and_evaluate()
        finally:
            signal.signal(signal.SIGTERM, previous)
        if self.step == self.total_steps:
            self.evaluate_final()
        else:
            self.save()
            logger.info(f"Stopped by SIGTERM after step {self.step}. The same command goes on from here.")
        self.accelerator.end_training()
        return {"step": self.step, "finished": self.step == self.total_steps, "results": self.log.results()}

    def train_step(self, batches: Iterator[MicroBatch]) -> dict[str, float]:
        """One optimizer step. Returns what is logged: means over the step's items on all processes."""
        started, wait_s = time.perf_counter(), 0.0
        accelerator, optim = self.accelerator, self.recipe.optim
        sums, weight, losses_of_items = {}, 0.0, []
        self.model.train()

        # 1. gradients of every micro-batch
        for micro_step in range(self.plan.accumulation_steps):
            waiting = time.perf_counter()
            batch = next(batches)
            wait_s += time.perf_counter() - waiting
            inputs = send_to_device(batch.inputs, accelerator.device, non_blocking=True)
            micro_batch = micro_step * accelerator.num_processes + accelerator.process_index
            seed_everything(self.recipe.run.seed, self.step, micro_batch)
            with accelerator.accumulate(self.model):
                losses, report = self.task.training_step(self.model, inputs)
                # `backward` divides by the micro-steps and processes are averaged; the original sums the micro-steps
                scale = self.plan.accumulation_steps if optim.accumulation == "sum" else 1
                accelerator.backward(losses["loss"] * (batch.weight * scale))
            for name, value in {**losses, **report}.items():
                value = torch.as_tensor(value, device=accelerator.device).detach().float()
                sums[name] = sums.get(name, 0.0) + value * batch.weight
            weight += batch.weight
            losses_of_items.append((losses["loss"].detach(), batch.ids))
            self.skipped += batch.skipped

        # 2. the update, unless something is not finite
        grad_norm = accelerator.clip_grad_norm_(self.model.parameters(), optim.max_grad_norm or math.inf)
        values = {**self.average(sums, weight), "grad_norm": float(grad_norm)}
        self.check_finite(values, losses_of_items)
        lr = set_lr(self.optimizer, self.step + 1, self.total_steps, optim)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1

        # 3. the books
        values |= {"lr": lr, "wait_s": wait_s, "step_s": time.perf_counter() - started}
        self.log.add_step(self.step, self.step * self.plan.global_batch_size / self.plan.num_items, values)
        self.report_skipped()
        return values

    def micro_batches(self) -> Iterator[MicroBatch]:
        """This process's micro-batches from the present step to the end."""
        batches = PlannedBatches(self.plan, self.step, self.total_steps, self.accelerator.process_index)
        pin_memory = self.accelerator.device.type == "cuda"
        return iter(
            build_train_loader(self.parts.train_set, self.parts.collate, batches, self.recipe.data, pin_memory)
        )

    def average(self, sums: dict[str, torch.Tensor], weight: float) -> dict[str, float]:
        """Means over all processes; the same message tells whether one of them was asked to stop."""
        device = self.accelerator.device
        parts = [torch.as_tensor(value, dtype=torch.float32, device=device) for value in [*sums.values(), weight]]
        parts.append(torch.tensor(float(self.signalled), device=device))
        *totals, weight, stop = self.accelerator.reduce(torch.stack(parts), reduction="sum").tolist()
        self.stop = stop > 0
        return {name: total / max(weight, 1e-9) for name, total in zip(sums, totals, strict=True)}

    def check_finite(self, values: dict[str, float], losses_of_items: list[tuple[torch.Tensor, list[str]]]) -> None:
        # With fp16 gradients overflow now and then while the scale is sought; the scaler skips those steps.
        checked = ("loss",) if self.recipe.run.mixed_precision == "fp16" else ("loss", "grad_norm")
        if all(math.isfinite(values[name]) for name in checked):
            return
        own = [id for loss, ids in losses_of_items for id in ids if not math.isfinite(loss)]
        suspects = gather_object(own) or gather_object([id for _, ids in losses_of_items for id in ids])
        raise NonFiniteLossError(
            f"Step {self.step + 1}: loss {values['loss']}, gradient norm {values['grad_norm']}, items {suspects}. The "
            f"weights of step {self.step} are kept. Look at these items, lower optim.lr, or lower optim.max_grad_norm."
        )

    def report_skipped(self) -> None:
        """At the end of an epoch, and of the run, count the videos that could not be decoded."""
        is_last, epoch = self.step == self.total_steps, self.plan.epoch_at(self.step)
        first_open = self.plan.epoch_at(self.step - 1) * self.plan.num_items  # where the last report ended
        if self.plan.epoch_at(self.step - 1) < epoch or is_last:
            end = self.step * self.plan.global_batch_size if is_last else epoch * self.plan.num_items
            is_over = [item for item in self.skipped if is_last or item.epoch < epoch]
            self.skipped = [item for item in self.skipped if item not in is_over]
            check_skipped(gather_object(is_over), end - first_open, self.recipe.data.max_decode_error_rate)

    def note_signal(self, signal_number: int, frame: Any) -> None:
        self.signalled = True

    # -----------------------------------------------------------------------------------------------------------------
    # Evaluation and checkpoints
    # -----------------------------------------------------------------------------------------------------------------

    def save_and_evaluate(self) -> None:
        """What is due after the present step. The checkpoint comes first: nothing is lost if the evaluation fails."""
        is_last = self.step == self.total_steps
        is_eval = is_last or (self.step > 0 and self.step % (self.recipe.run.eval_every or math.inf) == 0)
        if is_eval or (self.step > 0 and self.step % (self.recipe.run.save_every or math.inf) == 0):
            self.save()
        if is_eval:
            self.evaluate(self.step, "tuning", "monitor")
            self.checkpoints.mark_best(self.log.best_step(self.recipe.eval))

    def evaluate(self, step: int, *purposes: str) -> None:
        """Evaluate the splits that serve one of these purposes."""
        for split, purpose in self.recipe.eval.splits.items():
            if purpose not in purposes:
                continue
            model = self.accelerator.unwrap_model(self.model).eval()
            with torch.no_grad(), self.accelerator.autocast():
                result = self.task.evaluate(model, self.parts.eval_sets[split], self.accelerator, self.recipe)
            if purpose == "tuning" and self.recipe.eval.metric not in result.metrics:
                raise ValueError(f"eval.metric={self.recipe.eval.metric!r} is not among {', '.join(result.metrics)}.")
            self.log.add_evaluation(step, split, purpose, result.metrics)
            if self.accelerator.is_main_process:
                folder = self.output_dir / "predictions" / split
                write_predictions(folder, step, result.metrics, result.tensors, result.records)

    def evaluate_final(self) -> None:
        """Evaluate the final splits: with the best checkpoint if a tuning split chose one, else with the last weights."""
        step, best_step = self.step, self.log.best_step(self.recipe.eval)
        if "final" in self.recipe.eval.splits.values() and best_step not in (None, step):
            folder = self.checkpoints.folder(best_step)
            if folder.is_dir():
                load_weights(self.accelerator.unwrap_model(self.model), folder)
                logger.info(f"The final splits are evaluated with the best checkpoint, that of step {best_step}.")
                step = best_step
            else:
                logger.warning(
                    f"{folder}, the best checkpoint, is gone: the final splits see the weights of step {step}."
                )
        self.evaluate(step, "final")
        if self.accelerator.is_main_process:
            results = {"allow_test_selection": self.recipe.eval.allow_test_selection, "splits": self.log.results()}
            write_atomically(self.output_dir / "results.json", json.dumps(results, indent=1))

    def save(self) -> None:
        """Write a checkpoint, unless this step has one."""
        if self.step == self.saved_step:
            return
        state = {"step": self.step, "skipped": gather_object(self.skipped)}
        model = self.accelerator.unwrap_model(self.model)
        self.checkpoints.save(self.step, model, self.parts.processor, self.optimizer, state)
        self.saved_step = self.step

    def resume(self, folder: Path) -> None:
        """Take weights, optimizer and position from a checkpoint."""
        load_weights(self.accelerator.unwrap_model(self.model), folder)
        state = load_trainer_state(folder, self.optimizer, self.accelerator.scaler)
        self.step = self.saved_step = state["step"]
        if self.accelerator.is_main_process:
            self.skipped = [Skipped(*item) for item in state["skipped"]]
        logger.info(f"Resumed from {folder}.")

    def describe(self) -> None:
        """Say what is about to run."""
        plan, run = self.plan, self.recipe.run
        logger.info(
            f"{type(self.task).__name__}: {plan.num_items} items, {self.total_steps} steps of {plan.global_batch_size} = "
            f"{plan.micro_batch_size} items x {plan.accumulation_steps} micro-steps x {plan.num_processes} processes "
            f"({self.total_steps * plan.global_batch_size / plan.num_items:.2f} epochs), on {self.accelerator.device}, "
            f"mixed precision {run.mixed_precision}, output in {self.output_dir}"
        )
        for group in self.optimizer.param_groups:
            size = sum(parameter.numel() for parameter in group["params"])
            logger.info(
                f"{group['name']}: {size:,} parameters, lr {group['base_lr']}, weight decay {group['weight_decay']}"
            )


def build_accelerator(task: Task, recipe: Recipe) -> Accelerator:
    """The accelerator of a run, and the logging that goes with it."""
    check_trackers(recipe.run.log_with)
    accelerator = Accelerator(
        mixed_precision=recipe.run.mixed_precision,
        log_with=recipe.run.log_with or None,
        project_dir=recipe.run.output_dir,
        # the loader is not accelerate's, so its end says nothing about accumulation; the loop sets the number of steps
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1, sync_with_dataloader=False),
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=task.find_unused_parameters)],
    )
    disable_progress_bar()  # of transformers: two bars for every checkpoint
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("train_scripts").setLevel(logging.INFO if accelerator.is_main_process else logging.ERROR)
    if recipe.run.mixed_precision == "fp16" and accelerator.scaler is None:
        raise ValueError(f"run.mixed_precision=fp16 has no gradient scaler on {accelerator.device}; use bf16 or no.")
    launched = int(os.environ.get("WORLD_SIZE", 1))
    if launched != accelerator.num_processes:
        raise ValueError(
            f"{launched} processes were launched, but each of them would train alone (accelerate counts "
            f"{accelerator.num_processes}). On CPUs set ACCELERATE_USE_CPU=true before `accelerate launch --multi_gpu`."
        )
    if accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        raise ValueError(
            f"The launch configuration asks for {accelerator.distributed_type.value}, but checkpoints of divided weights "
            "are not supported. Use one of train_scripts/recipes/accelerate."
        )
    return accelerator


def seed_everything(*numbers: int) -> None:
    """Seed the generators of python, numpy and torch, on all devices, with a mixture of the numbers."""
    set_seed(int(np.random.SeedSequence(numbers).generate_state(1)[0]))


__all__ = ["NonFiniteLossError", "Trainer", "build_accelerator", "seed_everything"]
