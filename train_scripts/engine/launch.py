# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What a process sets up before anything is built: accelerate, logging, random generators."""

import logging
import os

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import (
    DistributedDataParallelKwargs,
    DistributedType,
    GradientAccumulationPlugin,
    parse_flag_from_env,
    set_seed,
)
from huggingface_hub.utils.logging import disable_propagation
from transformers.utils.logging import disable_progress_bar

from clipbert.support.terminal import PlainFormatter
from clipbert.train_scripts.engine.log import check_trackers
from clipbert.train_scripts.engine.recipe import Recipe


logger = logging.getLogger("clipbert.train_scripts")


class LaunchError(ValueError):
    """The processes were launched in a way that this engine does not train in."""


def build_accelerator(recipe: Recipe, find_unused_parameters: bool = False) -> Accelerator:
    """
    The accelerator of a run, and the logging that goes with it.

    Args:
        recipe (`Recipe`): Precision, trackers and output folder.
        find_unused_parameters (`bool`, *optional*): Whether a step may leave parameters without gradient.

    Raises:
        LaunchError: If the processes were launched in a way that this engine does not train in.
    """
    check_trackers(recipe.run.log_with)
    handler = logging.StreamHandler()
    handler.setFormatter(PlainFormatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(handlers=[handler])
    check_devices()
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true":
        raise LaunchError(
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
    if (
        accelerator.device.type == "cpu"
        and not parse_flag_from_env("ACCELERATE_USE_CPU")
        and accelerator.is_main_process
    ):
        logger.warning(
            "No GPU was found: this run is on the CPU. If the machine has one, `nvidia-smi` and `python -m "
            "torch.utils.collect_env` tell what is missing. `accelerate launch --cpu` says that the CPU is meant."
        )
    disable_progress_bar()  # of transformers: two bars for every checkpoint
    disable_propagation()  # of huggingface_hub, which prints its own lines: here they came a second time
    logging.getLogger("clipbert.train_scripts").setLevel(
        logging.INFO if accelerator.is_main_process else logging.ERROR
    )
    if recipe.run.mixed_precision == "fp16" and accelerator.scaler is None:
        raise LaunchError(f"run.mixed_precision=fp16 has no gradient scaler on {accelerator.device}; use bf16 or no.")
    launched = int(os.environ.get("WORLD_SIZE", 1))
    if launched != accelerator.num_processes:
        raise LaunchError(
            f"{launched} processes were launched, but each of them would train alone (accelerate counts "
            f"{accelerator.num_processes}). On CPUs set ACCELERATE_USE_CPU=true before `accelerate launch --multi_gpu`."
        )
    if accelerator.distributed_type == DistributedType.FSDP and not accelerator.is_fsdp2:
        raise LaunchError(
            "The launch configuration asks for FSDP 1, whose flat parameters hide which ones are decayed. Set "
            "`fsdp_version: 2`, as train_scripts/recipes/accelerate/fsdp2.yaml does."
        )
    return accelerator


def check_devices() -> None:
    """Raise if there are fewer GPUs than processes of this machine that would each take one."""
    wanted, found = int(os.environ.get("LOCAL_WORLD_SIZE", 1)), torch.accelerator.device_count()
    if wanted > max(found, 1) and not parse_flag_from_env("ACCELERATE_USE_CPU"):
        advice = (
            f"pass --num_processes {found} to `accelerate launch`"
            if found
            else (
                "use train_scripts/recipes/accelerate/one_cpu.yaml; two_cpu_processes.yaml says how to try out several"
            )
        )
        raise LaunchError(f"{wanted} processes were launched, and {found or 'no'} GPU was found: {advice}.")


def seed_everything(*numbers: int) -> None:
    """Seed the generators of python, numpy and torch, on all devices, with a mixture of the numbers."""
    set_seed(int(np.random.SeedSequence(numbers).generate_state(1)[0]))


__all__ = ["LaunchError", "build_accelerator", "seed_everything"]
