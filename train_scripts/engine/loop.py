# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The training loop: accelerate, accumulation, clipping, schedule, logs, evaluation, checkpoints, resume.

A step depends on the weights, the optimizer and its own number, and on nothing else: the order of the items and the
learning rate are computed from the number, and the random generators are seeded with it before each micro-batch. So a
checkpoint needs no generator states, evaluating more often changes nothing, and two processes draw the same dropout
masks as one.
"""

import functools
import json
import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, send_to_device
from torch import nn
from tqdm.auto import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from clipbert.support.files import write_whole
from clipbert.support.manifest import CheckpointError, verify_checkpoint
from clipbert.train_scripts.engine.arrangement import arrange, as_written
from clipbert.train_scripts.engine.checkpoint import RunCheckpoints, load_weights, writing
from clipbert.train_scripts.engine.cost import StepMeter, counting_evaluation
from clipbert.train_scripts.engine.data import MicroBatch, Skipped, check_skipped
from clipbert.train_scripts.engine.draws import evaluate_draws
from clipbert.train_scripts.engine.ema import AveragedWeights
from clipbert.train_scripts.engine.finite import explain, has_finite_weights, is_finite
from clipbert.train_scripts.engine.global_batch import add_global_gradients
from clipbert.train_scripts.engine.last_word import say_below_launcher
from clipbert.train_scripts.engine.launch import seed_everything
from clipbert.train_scripts.engine.log import RunLog
from clipbert.train_scripts.engine.memory import naming_what_saves_memory
from clipbert.train_scripts.engine.optim import build_optimizer, set_lr
from clipbert.train_scripts.engine.order import PlannedBatches, build_plan
from clipbert.train_scripts.engine.pace import Pace
from clipbert.train_scripts.engine.predictions import write_predictions
from clipbert.train_scripts.engine.recipe import Recipe
from clipbert.train_scripts.engine.report import describe_end, measured_checkpoint, this_command
from clipbert.train_scripts.engine.resume import Beginning
from clipbert.train_scripts.engine.run_files import read_run
from clipbert.train_scripts.engine.sharding import gather, gather_optimizer, prepare
from clipbert.train_scripts.engine.statistics import keep_statistics, restore_statistics, shared_statistics
from clipbert.train_scripts.engine.step import StepSums, weigh_by_rows
from clipbert.train_scripts.engine.task import Task
from clipbert.train_scripts.engine.termination import EvaluationStopped, Termination


logger = logging.getLogger("clipbert.train_scripts")


class Trainer:
    """
    Trains a task as its recipe says.

    Args:
        task (`Task`): Model, data and losses.
        recipe (`Recipe`): Everything else.
        accelerator (`Accelerator`): The processes of the run, as `build_accelerator` makes it.
    """

    def __init__(self, task: Task, recipe: Recipe, accelerator: Accelerator):
        self.task, self.recipe, self.accelerator = task, recipe, accelerator
        self.output_dir = Path(recipe.run.output_dir)
        self.checkpoints = RunCheckpoints(self.output_dir / "checkpoints", recipe, self.accelerator)
        beginning = Beginning(self.checkpoints.root, recipe, self.accelerator)
        seed_everything(recipe.run.seed)  # new weights
        self.parts = task.build(recipe)
        self.plan_steps()
        self.saved_at, self.is_time_to_save = time.monotonic(), False
        self.items = self.parts.train_set.digest()
        arrange(self.parts.model, recipe.run)
        optimizer = build_optimizer(self.parts.model, recipe.optim)
        beginning.load_weights(self.parts.model, self.parts.processor, self.items)
        self.model, self.optimizer, self.replica = prepare(self.accelerator, self.parts.model, optimizer)
        model, decay = self.accelerator.unwrap_model(self.model), recipe.optim.ema_decay
        self.ema = AveragedWeights(model, decay) if decay else None
        beginning.load_trainer(self.optimizer, self.accelerator.scaler, self.ema)
        self.take_position(beginning)
        self.termination = Termination(accelerator.num_processes == 1, accelerator.is_main_process)
        self.pace = Pace(self.plan.global_batch_size)
        self.meter = StepMeter(self.model, accelerator) if recipe.run.count_cost else None
        self.known_operations: dict[Any, Any] = {}  # of the calls of evaluations
        self.log.describe(type(task).__name__, self.plan, self.total_steps, self.optimizer)

    def plan_steps(self) -> None:
        """Which items a step has, and how many steps there are."""
        run, data, num_processes = self.recipe.run, self.recipe.data, self.accelerator.num_processes
        if missing := self.recipe.eval.splits.keys() - self.parts.eval_sets.keys():
            raise ValueError(f"eval.splits names {sorted(missing)}; the task offers {sorted(self.parts.eval_sets)}.")
        self.plan = build_plan(self.parts.train_set, run, data, num_processes)
        self.accelerator.gradient_accumulation_steps = self.plan.accumulation_steps
        self.parts.train_set.check_division(num_processes, data.num_workers)
        self.total_steps = run.total_steps
        if self.total_steps is None:  # an epoch is one pass over the task's items
            self.total_steps = math.ceil(run.num_epochs * self.plan.num_items / run.global_batch_size)

    def take_position(self, beginning: Beginning) -> None:
        """Step, items not reported yet, place in a stream, and the log up to there."""
        accelerator, state = self.accelerator, beginning.state
        self.step = self.saved_step = beginning.step
        self.skipped = [Skipped(*item) for item in state.get("skipped", ()) if accelerator.is_main_process]
        if beginning.folder is not None:
            self.parts.train_set.restore(state["train_set"], accelerator.process_index, accelerator.num_processes)
        path, earlier = self.output_dir / "log.jsonl", state.get("tuning", [])
        self.log = RunLog(path, self.step, accelerator, self.recipe, earlier, beginning.is_own)

    # -----------------------------------------------------------------------------------------------------------------
    # The run
    # -----------------------------------------------------------------------------------------------------------------

    def run(self) -> dict[str, Any]:
        """Train from where the run stands to its end, then evaluate. Returns `step`, `finished` and `results`."""
        finished = False
        with self.termination.listening():
            try:
                self.train()
                if finished := self.is_finished() and not self.termination.is_agreed:
                    if self.step < self.total_steps:
                        self.log.explain_stop(self.step, self.total_steps)
                    self.report_skipped(at_the_end=True)
                    self.evaluate_final()
                    checkpoint = measured_checkpoint(self.output_dir, self.recipe.eval)
                    commands = self.task.next_commands(self.recipe, checkpoint)
                    logger.info(describe_end(self.output_dir, checkpoint, self.step, self.log.results(), commands))
            except EvaluationStopped:
                finished = False
        if not finished:
            self.save()
            reason = self.termination.reason
            arguments = [
                *self.recipe.arguments,
                *(["--set", "run.resume=auto"] if self.recipe.run.resume != "auto" else []),
            ]
            message = f"Stopped by {reason} after step {self.step}, which is saved. The same command goes on from here:\n  {this_command(arguments)}"
            logger.info(message)
            if reason == "Ctrl-C":
                say_below_launcher(message)
        self.accelerator.end_training()
        return {"step": self.step, "finished": finished, "results": self.log.results()}

    def train(self) -> None:
        """All steps that are left, with their evaluations and checkpoints, unless a signal comes."""
        quiet = None if self.accelerator.is_main_process else True  # None: a bar only where there is a terminal
        with (
            logging_redirect_tqdm(),
            tqdm(total=self.total_steps, initial=self.step, desc="training", unit="step", disable=quiet) as bar,
        ):
            batches = self.micro_batches()
            self.save_and_evaluate()
            while not self.is_finished() and not self.termination.is_agreed:
                with naming_what_saves_memory(self.recipe, f"step {self.step + 1}", "model", "data", "run"):
                    values = self.train_step(batches)
                bar.set_postfix(loss=f"{values['loss']:.4f}", refresh=False)
                bar.update()
                self.save_and_evaluate()

    def is_finished(self) -> bool:
        """Whether all steps are done, or `run.patience` is over."""
        return self.step == self.total_steps or self.log.is_out_of_patience()

    def micro_batches(self) -> Iterator[MicroBatch]:
        """This process's micro-batches from the present step to the end."""
        batches = PlannedBatches(self.plan, self.step, self.total_steps, self.accelerator.process_index)
        pin_memory = self.accelerator.device.type == "cuda"
        return iter(self.parts.train_set.loader(self.parts.collate, batches, self.recipe.data, pin_memory))

    def train_step(self, batches: Iterator[MicroBatch]) -> dict[str, float]:
        """One optimizer step. Returns what is logged: means over the step's items on all processes."""
        started, optim = time.perf_counter(), self.recipe.optim
        self.model.train()
        if hasattr(self.recipe.model, "advance"):  # options of the family
            self.recipe.model.advance(self.accelerator.unwrap_model(self.model), self.step / self.total_steps)
        statistics = keep_statistics(self.model)
        lr = set_lr(self.optimizer, self.step + 1, self.total_steps, optim, self.log.num_reductions())
        with nullcontext() if self.meter is None else self.meter.step() as cost:
            found = self.add_gradients(batches)
        grad_norm = self.accelerator.clip_grad_norm_(self.model.parameters(), optim.max_grad_norm or math.inf)
        is_time = self.accelerator.is_main_process and time.monotonic() - self.saved_at >= self.recipe.run.save_seconds
        values, self.termination.is_agreed, self.is_time_to_save = found.average(
            self.accelerator, grad_norm, self.termination.is_asked, is_time
        )
        if not is_finite(values, self.recipe.run):
            restore_statistics(statistics)
            raise explain(values, found.losses, self.step, self.save_finite())
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        if self.ema is not None:
            self.ema.update(self.step)
        for micro in found.micro_batches:
            self.skipped += micro.skipped
            self.parts.train_set.advance(micro.cursor)
        values |= {"lr": lr, "wait_s": values.pop("wait_s"), "step_s": time.perf_counter() - started}
        readings = [micro.reading for micro in found.micro_batches if micro.reading is not None]
        self.log_step(values, None if cost is None else cost.summarise(readings, self.accelerator))
        self.report_skipped()
        return values

    def add_gradients(self, batches: Iterator[MicroBatch]) -> StepSums:
        """The gradients of all micro-batches of a step."""
        counting = (lambda batches: nullcontext()) if self.meter is None else self.meter.counting
        if self.task.has_global_loss:
            steps, seed = self.plan.accumulation_steps, (self.recipe.run.seed, self.step)
            return add_global_gradients(self.task, self.model, self.accelerator, batches, steps, seed, counting)
        accelerator, found = self.accelerator, StepSums()
        # `backward` divides by the micro-steps and processes are averaged; the original sums the micro-steps
        scale = self.plan.accumulation_steps if self.recipe.optim.accumulation == "sum" else 1
        own = self.weighed(batches)
        for micro_step in range(self.plan.accumulation_steps):
            waiting = time.perf_counter()
            micro = next(own)
            found.wait_s += time.perf_counter() - waiting
            batch = send_to_device(micro.batch, accelerator.device, non_blocking=True)
            number = micro_step * accelerator.num_processes + accelerator.process_index
            seed_everything(self.recipe.run.seed, self.step, number)
            with accelerator.accumulate(self.model), shared_statistics(self.model, accelerator), counting([batch]):
                losses, report = self.task.training_step(self.model, batch)
                accelerator.backward(losses["loss"] * (micro.weight * scale))
            found.add(losses, report, micro)
        return found

    def weighed(self, batches: Iterator[MicroBatch]) -> Iterator[MicroBatch]:
        """The micro-batches of a step. What they count for is known when all are there, if it is not the number of items."""
        own = islice(batches, self.plan.accumulation_steps)
        target = self.task.averaged_target
        yield from own if target is None else weigh_by_rows(list(own), target, self.accelerator)

    def log_step(self, values: dict[str, float], cost: dict[str, float] | None = None) -> None:
        self.pace.add_step(values["step_s"], values["wait_s"])
        left_s = (self.total_steps - self.step) * self.pace.seconds_per_step
        self.log.add_step(
            self.step, self.step * self.plan.global_batch_size / self.plan.num_items, values, left_s, cost
        )
        if self.pace.is_due():
            self.log.add_pace(self.step, self.pace, self.total_steps - self.step, self.plan)

    def report_skipped(self, at_the_end: bool = False) -> None:
        """After an epoch, and after the run, count the items that could not be decoded, epoch by epoch."""
        epoch = self.plan.epoch_at(self.step)
        if at_the_end or self.plan.epoch_at(self.step - 1) < epoch:
            is_over = [item for item in self.skipped if at_the_end or item.epoch < epoch]
            self.skipped = [item for item in self.skipped if item not in is_over]
            is_over = gather_object(is_over)
            for number in sorted({item.epoch for item in is_over}):
                skipped = [item for item in is_over if item.epoch == number]
                check_skipped(skipped, self.plan.num_items, self.recipe.data.max_decode_error_rate)

    # -----------------------------------------------------------------------------------------------------------------
    # Evaluation and checkpoints
    # -----------------------------------------------------------------------------------------------------------------

    def save_and_evaluate(self) -> None:
        """What is due after the present step. The checkpoint comes first: nothing is lost if the evaluation fails."""
        run = self.recipe.run
        is_eval = self.step == self.total_steps or self.is_due(run.eval_every)
        if is_eval or self.is_time_to_save or self.is_due(run.save_steps):
            self.save()
        if is_eval:
            with self.published_model() as model:
                self.evaluate(model, self.step, "tuning", "monitor")
            self.checkpoints.mark_best(self.log.best_step())

    def is_due(self, every: int | str | None) -> bool:
        """Whether what comes every so many steps, or once an epoch, comes after the present step."""
        if every is None or self.step == 0:
            return False
        if every == "epoch":
            return self.plan.epoch_at(self.step) > self.plan.epoch_at(self.step - 1)
        return self.step % every == 0

    @contextmanager
    def published_model(self) -> Iterator[nn.Module]:
        """The model as it is evaluated and saved: whole, and with the averaged weights if there are any."""
        with nullcontext() if self.ema is None else self.ema.lent_to_model():
            if self.replica is None:
                yield self.accelerator.unwrap_model(self.model)
            else:
                yield self.replica.build(self.model, self.accelerator.device)

    def evaluate(self, model: nn.Module, step: int, *purposes: str) -> None:
        """Evaluate the splits that serve one of these purposes."""
        settings = self.recipe.eval
        for split, purpose in settings.splits.items():
            if purpose not in purposes:
                continue
            examples, saving = self.parts.eval_sets[split], naming_what_saves_memory(self.recipe, split, "eval")
            counting = counting_evaluation(model, self.known_operations) if settings.count_cost else nullcontext()
            started = time.perf_counter()
            with (
                self.termination.breaking_off(),
                saving,
                counting as meter,
                torch.no_grad(),
                as_written(self.recipe.run),
                self.accelerator.autocast(),
            ):
                arguments = (model.eval(), examples, self.accelerator, self.recipe)
                result = evaluate_draws(functools.partial(self.task.evaluate, *arguments), settings.num_draws)
            seconds = time.perf_counter() - started
            if purpose == "tuning" and settings.metric not in result.metrics:
                raise ValueError(f"eval.metric={settings.metric!r} is not among {', '.join(result.metrics)}.")
            self.log.add_evaluation(step, split, purpose, result.metrics)
            counted = None if meter is None else meter.summarise(self.accelerator)
            self.log.add_cost(step, split, seconds - (0 if meter is None else meter.counting_s), counted)
            if purpose == "final":
                self.log.add_examples(split, self.task.describe_row, result.predictions)
            # those of a tuning split belong to the best checkpoint, as its row in results.json does
            if self.accelerator.is_main_process and (purpose != "tuning" or step == self.log.best_step()):
                write_predictions(self.output_dir / "predictions" / split, step, result)

    def evaluate_final(self) -> None:
        """Evaluate the final splits: with the best checkpoint if a tuning split chose one, and `final_checkpoint` wants it."""
        with self.published_model() as model:
            self.evaluate(model, self.load_best(model), "final")
        if self.accelerator.is_main_process:
            results = {"allow_test_selection": self.recipe.eval.allow_test_selection, "splits": self.log.results()}
            sizes = [(part.numel(), part.requires_grad) for part in self.model.parameters()]
            results["num_parameters"] = sum(size for size, _ in sizes)
            results["num_trainable_parameters"] = sum(size for size, is_trained in sizes if is_trained)
            if counted := read_run(self.output_dir).counted():
                results["costs"] = counted
            results["recipe"] = asdict(self.recipe)
            with writing(self.output_dir / "results.json"):
                write_whole(self.output_dir / "results.json", json.dumps(results, indent=1))

    def load_best(self, model: nn.Module) -> int:
        """Give the model what the final splits are to be evaluated with; returns the step it is from."""
        best_step, settings = self.log.best_step(), self.recipe.eval
        is_wanted = "final" in settings.splits.values() and settings.final_checkpoint == "best"
        if not is_wanted or best_step in (None, self.step):
            return self.step
        folder = self.checkpoints.folder(best_step)
        try:
            verify_checkpoint(folder)
        except CheckpointError as error:
            logger.warning(
                f"The best checkpoint is that of step {best_step}, but {error} The final splits see the weights of step "
                f"{self.step}."
            )
            return self.step
        load_weights(model, folder)
        logger.info(f"The final splits are evaluated with the best checkpoint, that of step {best_step}.")
        return best_step

    def save(self) -> None:
        """Write a checkpoint, unless this step has one."""
        if self.step == self.saved_step:
            return
        state = {"step": self.step, "skipped": gather_object(self.skipped), "tuning": self.log.tuning_rows()}
        state |= {"items": self.items, "train_set": self.parts.train_set.state()}
        optimizer, scaler = gather_optimizer(self.optimizer), self.accelerator.scaler
        tensors = {"optimizer": {"optimizer": optimizer, "scaler": scaler and scaler.state_dict()}}
        with self.published_model() as model:
            if self.ema is not None:  # lent to the model; in exchange it holds the model's own weights
                tensors["own_weights"] = gather(self.ema.named_tensors())
            self.checkpoints.save(self.step, model, self.parts.processor, tensors, state)
        self.saved_step, self.saved_at, self.is_time_to_save = self.step, time.monotonic(), False

    def save_finite(self) -> Path | None:
        """Write a checkpoint of a step that failed if the weights are finite; returns the newest one of the run."""
        finite = torch.tensor(float(has_finite_weights(self.model)), device=self.accelerator.device)
        if self.accelerator.reduce(finite, reduction="sum") == self.accelerator.num_processes:
            self.save()
        return self.checkpoints.folder(self.saved_step) if self.saved_step else None


__all__ = ["Trainer"]
