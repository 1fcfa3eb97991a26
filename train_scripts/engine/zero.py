# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""DeepSpeed: optimizer state (ZeRO stage 1) and gradients (stage 2) divided among processes.

DeepSpeed steps the recipe's own optimizer on each process's share of the weights, laid out flat, so the published rule
and its rates are what they are anywhere else. What an accelerate configuration says of clipping, batch sizes and
precision is the recipe's to say and replaced by it. Checkpoints hold whole tensors, as in every other case.
"""

import importlib.util
import os
from collections.abc import Iterator
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DeepSpeedPlugin, DistributedType
from torch import nn

from clipbert.train_scripts.engine.recipe import Recipe


def build_plugin(recipe: Recipe) -> DeepSpeedPlugin | None:
    """
    DeepSpeed's settings, if the launch configuration asks for it.

    Weights stay in float32 and `run.mixed_precision` is torch's autocast, as without DeepSpeed; its own `bf16` would
    train and publish rounded weights.

    Raises:
        ImportError: If DeepSpeed is not installed.
        ValueError: If the configuration asks for what cannot be joined with the recipe.
    """
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() != "true":
        return None
    if importlib.util.find_spec("deepspeed") is None:
        raise ImportError(
            "The launch configuration asks for DeepSpeed, which is not installed: `pip install deepspeed`. FSDP2 comes "
            "with torch and divides the same: train_scripts/recipes/accelerate/fsdp2_zero2.yaml."
        )
    plugin = DeepSpeedPlugin()
    config, precision = plugin.deepspeed_config, recipe.run.mixed_precision
    stage = plugin.hf_ds_config.get_value("zero_optimization.stage", 0)
    if stage not in (1, 2):
        raise ValueError(
            f"The launch configuration asks for ZeRO stage {stage}; this engine trains with stages 1 and 2. Divide the weights "
            "as well, as stage 3 does, with train_scripts/recipes/accelerate/fsdp2.yaml; divide nothing with multi_gpu.yaml."
        )
    if plugin.hf_ds_config.is_offload():
        raise ValueError(
            "The launch configuration offloads to the CPU or a disk, where DeepSpeed replaces the optimizer by one of its "
            "own. Remove the offload_* settings."
        )
    if theirs := [name for name in ("optimizer", "scheduler") if name in config]:
        raise ValueError(
            f"The DeepSpeed configuration has its own {' and '.join(theirs)}; the recipe's section optim says both. Remove "
            "them from the configuration."
        )
    if precision == "fp16":
        raise ValueError("run.mixed_precision=fp16 is not supported with DeepSpeed; use bf16 or no.")
    config |= {
        "gradient_clipping": recipe.optim.max_grad_norm or 0.0,
        "train_micro_batch_size_per_gpu": recipe.run.micro_batch_size,
        "gradient_accumulation_steps": "auto",  # from the accelerator, once the plan is known
        "train_batch_size": "auto",
        "bf16": {"enabled": False},
        "fp16": {"enabled": False},
        # no module's gradients are summed in less than float32
        "torch_autocast": {"enabled": precision == "bf16", "dtype": "bfloat16", "lower_precision_safe_modules": []},
        "zero_allow_untested_optimizer": True,
    }
    return plugin


def is_zero(accelerator: Accelerator) -> bool:
    """Whether optimizer state is divided by DeepSpeed."""
    return accelerator.distributed_type == DistributedType.DEEPSPEED


def gather_optimizer(optimizer: Any) -> dict[str, Any]:
    """The whole `state_dict` of an optimizer whose state DeepSpeed has divided, on the CPU; all processes call."""
    from deepspeed.utils import lazy_init_hp_params_optimizer_state, safe_get_full_optimizer_state

    state, groups = {}, []
    for group, flat, parameters in _flat_groups(optimizer):
        # DeepSpeed does this once, after the step of the first group, when the others have no state yet
        lazy_init_hp_params_optimizer_state(parameters, flat, optimizer.state)
        first = len(state)
        for index, parameter in enumerate(parameters, start=first):
            state[index] = {
                name: (safe_get_full_optimizer_state(parameter, name) if value.dim() else value.clone()).cpu()
                for name, value in optimizer.state[flat].items()
            }
        members = {name: value for name, value in group.items() if name != "params"}
        groups.append({**members, "params": list(range(first, first + len(parameters)))})
    return {"state": state, "param_groups": groups}


def divide_optimizer(optimizer: Any, saved: dict[str, Any]) -> None:
    """Give each process its share of the state that `gather_optimizer`, or any other optimizer, has saved whole."""
    from deepspeed.utils import lazy_init_hp_params_optimizer_state, safe_set_full_optimizer_state

    index = 0
    for (group, flat, parameters), settings in zip(_flat_groups(optimizer), saved["param_groups"], strict=True):
        group.update({name: value for name, value in settings.items() if name != "params"})
        optimizer.state[flat] = {
            name: torch.zeros_like(flat) if value.dim() else value.clone()
            for name, value in saved["state"][index].items()
        }
        lazy_init_hp_params_optimizer_state(parameters, flat, optimizer.state)
        for parameter in parameters:
            for name, value in saved["state"][index].items():
                if value.dim():
                    safe_set_full_optimizer_state(parameter, value, name)
            index += 1


def refresh_weights(optimizer: Any) -> None:
    """Tell the optimizer, which holds a copy of its share of the weights, that the model's have been replaced."""
    optimizer.refresh_fp32_params()


def _flat_groups(optimizer: Any) -> Iterator[tuple[dict[str, Any], torch.Tensor, list[nn.Parameter]]]:
    """For each parameter group: the group, this process's flat share of its weights, and the parameters."""
    return zip(optimizer.param_groups, optimizer.single_partition_of_fp32_groups, optimizer.bit16_groups, strict=True)


__all__ = ["build_plugin", "divide_optimizer", "gather_optimizer", "is_zero", "refresh_weights"]
