# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What a process sets up before anything is built: accelerate, logging, random generators."""

import logging
import os

import numpy as np
from accelerate import Accelerator
from accelerate.utils import (
    DistributedDataParallelKwargs,
    DistributedType,
    GradientAccumulationPlugin,
    set_seed,
)
from transformers.utils.logging import disable_progress_bar

from clipbert.train_scripts.engine.log import check_trackers
from clipbert.train_scripts.engine.recipe import Recipe


def build_accelerator(recipe: Recipe, find_unused_parameters: bool = False) -> Accelerator:
    """
    The accelerator of a run, and the logging that goes with it.

    Args:
        recipe (`Recipe`): Precision, trackers and output folder.
        find_unused_parameters (`bool`, *optional*): Whether a step may leave parameters without gradient.

    Raises:
        ValueError: If the processes were launched in a way that this engine does not train in.
    """
    check_trackers(recipe.run.log_with)
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true":
        raise ValueError(
            "The launch configuration asks for DeepSpeed. FSDP2 comes with torch and divides the same: "
            "train_scripts/recipes/accelerate/fsdp2.yaml (weights too, as ZeRO stage 3) or fsdp2_zero2.yaml."
        )
    # with FSDP only one process would read the weights; resuming is simpler, and no slower, where all of them do
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    accelerator = Accelerator(
        mixed_precision=recipe.run.mixed_precision,
        log_with=recipe.run.log_with or None,
        project_dir=recipe.run.output_dir,
        # the loader is not accelerate's, so its end says nothing about accumulation; the loop sets the number of steps
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1, sync_with_dataloader=False),
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=find_unused_parameters)],
    )
    disable_progress_bar()  # of transformers: two bars for every checkpoint
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("clipbert.train_scripts").setLevel(
        logging.INFO if accelerator.is_main_process else logging.ERROR
    )
    if recipe.run.mixed_precision == "fp16" and accelerator.scaler is None:
        raise ValueError(f"run.mixed_precision=fp16 has no gradient scaler on {accelerator.device}; use bf16 or no.")
    launched = int(os.environ.get("WORLD_SIZE", 1))
    if launched != accelerator.num_processes:
        raise ValueError(
            f"{launched} processes were launched, but each of them would train alone (accelerate counts "
            f"{accelerator.num_processes}). On CPUs set ACCELERATE_USE_CPU=true before `accelerate launch --multi_gpu`."
        )
    if accelerator.distributed_type == DistributedType.FSDP and not accelerator.is_fsdp2:
        raise ValueError(
            "The launch configuration asks for FSDP 1, whose flat parameters hide which ones are decayed. Set "
            "`fsdp_version: 2`, as train_scripts/recipes/accelerate/fsdp2.yaml does."
        )
    return accelerator


def seed_everything(*numbers: int) -> None:
    """Seed the generators of python, numpy and torch, on all devices, with a mixture of the numbers."""
    set_seed(int(np.random.SeedSequence(numbers).generate_state(1)[0]))


__all__ = ["build_accelerator", "seed_everything"]
