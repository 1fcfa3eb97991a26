# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Optimizer, parameter groups and learning-rate schedules of the ClipBERT recipe."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from clipbert.train_scripts.engine.recipe import OptimSection


# Modules whose scale and shift are not decayed. The original names LayerNorm only, because its batch norms are frozen.
NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)
SMALLEST_LR = 1e-8  # what the original uses where a schedule reaches 0


class DecayAfterAdamW(torch.optim.AdamW):
    r"""
    AdamW as ClipBERT was trained with it: the Adam update first, then the decay of the updated weights.

        p <- p - lr * sqrt(1 - beta2^t) / (1 - beta1^t) * m / (sqrt(v) + eps)
        p <- p - lr * weight_decay * p

    `torch.optim.AdamW` decays first and adds `eps` to the bias-corrected root. Its fused kernel gives the rule above
    when `eps` is divided by `sqrt(1 - beta2^t)` and the decay is left to a second pass.

    Args:
        params: Parameters or parameter groups.
        lr (`float`): Learning rate.
        betas (`Sequence[float]`, *optional*, defaults to `(0.9, 0.98)`): Decay rates of the moments.
        eps (`float`, *optional*, defaults to 1e-6): Added to the root of the uncorrected second moment.
        weight_decay (`float`, *optional*, defaults to 0): Decoupled decay, times the learning rate.
    """

    def __init__(self, params, lr: float, betas: Sequence[float] = (0.9, 0.98), eps: float = 1e-6, weight_decay=0.0):
        super().__init__(params, lr=lr, betas=tuple(betas), eps=eps, weight_decay=weight_decay, fused=True)
        # A fused optimizer is normally stepped on infinite gradients too and skips by itself; the decay would not.
        self._step_supports_amp_scaling = False
        for group in self.param_groups:
            group["num_updates"] = 0

    @torch.no_grad()
    def step(self, closure=None):
        given = [(group["eps"], group["weight_decay"]) for group in self.param_groups]
        for group in self.param_groups:
            group["num_updates"] += 1
            group["eps"] /= math.sqrt(1 - group["betas"][1] ** group["num_updates"])
            group["weight_decay"] = 0.0
        try:
            loss = super().step(closure)
        finally:
            for group, (eps, weight_decay) in zip(self.param_groups, given, strict=True):
                group["eps"], group["weight_decay"] = eps, weight_decay
        for group in self.param_groups:
            updated = [parameter for parameter in group["params"] if parameter.grad is not None]
            if group["weight_decay"] and updated:
                torch._foreach_mul_(updated, 1 - group["lr"] * group["weight_decay"])
        return loss


def build_parameter_groups(model: nn.Module, settings: OptimSection, backbone: Iterable[str] = ()) -> list[dict]:
    """
    Divide the trainable parameters by part (CNN or the rest) and by whether they are decayed.

    Biases and the parameters of norms are not decayed, embeddings are. Frozen parameters are left out.

    Args:
        model (`nn.Module`): The model, with `requires_grad` already set.
        settings (`OptimSection`): Learning rates and weight decays.
        backbone (`Iterable[str]`): Names of the modules that take `backbone_lr` and `backbone_weight_decay`, as they
            occur in parameter names, e.g. `"backbone"`.

    Returns:
        `list[dict]`: Groups with `params`, `name`, `size` (their numbers, all processes together), `lr`, `base_lr` and
        `weight_decay`; empty ones are left out.
    """
    backbone = set(backbone)
    in_norm = {id(p) for module in model.modules() if isinstance(module, NORMS) for p in module.parameters(False)}
    members: dict[tuple[bool, bool], list[nn.Parameter]] = {(b, d): [] for b in (False, True) for d in (True, False)}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_decayed = id(parameter) not in in_norm and not name.endswith("bias")
            members[not backbone.isdisjoint(name.split(".")), is_decayed].append(parameter)
    rates = {False: settings.lr, True: settings.lr if settings.backbone_lr is None else settings.backbone_lr}
    decays = {False: settings.weight_decay, True: settings.backbone_weight_decay}
    decays[True] = decays[False] if decays[True] is None else decays[True]
    return [
        {
            "params": parameters,
            "name": f"{'backbone' if is_backbone else 'transformer'}{'' if is_decayed else ', not decayed'}",
            "size": sum(parameter.numel() for parameter in parameters),
            "lr": rates[is_backbone],
            "base_lr": rates[is_backbone],
            "weight_decay": decays[is_backbone] if is_decayed else 0.0,
        }
        for (is_backbone, is_decayed), parameters in members.items()
        if parameters
    ]


def build_optimizer(model: nn.Module, settings: OptimSection, backbone: Iterable[str] = ()) -> DecayAfterAdamW:
    """The recipe's optimizer over `build_parameter_groups(model, ...)`."""
    groups = build_parameter_groups(model, settings, backbone)
    return DecayAfterAdamW(groups, lr=settings.lr, betas=settings.betas, eps=settings.eps)


def compute_lr(step: int, total_steps: int, base_lr: float, settings: OptimSection, num_reductions: int = 0) -> float:
    """
    Learning rate of one update. It depends on the number of the update (and with `plateau` on the evaluations so far)
    alone, so nothing ticks and nothing is saved.

    Args:
        step (`int`): The update, counted from 1.
        total_steps (`int`): Updates of the whole run.
        base_lr (`float`): Peak rate.
        settings (`OptimSection`): `schedule`, `warmup_ratio`, `milestones` and `plateau_factor`.
        num_reductions (`int`, *optional*, defaults to 0): How often `plateau` has reduced the rate.

    Returns:
        `float`: The rate, above 0 (1e-8 where the schedule gives 0, as in the original).
    """
    warmup_steps = int(settings.warmup_ratio * total_steps)
    if step < warmup_steps:
        factor = step / warmup_steps
    elif settings.schedule == "constant":
        factor = 1.0
    elif settings.schedule == "plateau":
        factor = settings.plateau_factor**num_reductions
    elif settings.schedule == "invsqrt":
        factor = math.sqrt(max(warmup_steps, 1) / step)
    elif settings.schedule.startswith("multi_step"):
        passed = sum(step > milestone for milestone in settings.milestones)
        # The original skips a power after the last of n milestones: 1/2^(n+1) instead of 1/2^n.
        factor = 0.5 ** (passed + (settings.schedule == "multi_step_official" and passed == len(settings.milestones)))
    else:
        left = max(0.0, (total_steps - step) / max(total_steps - warmup_steps, 1))
        factor = left if settings.schedule == "linear" else 0.5 * (1 - math.cos(math.pi * left))
    return base_lr * factor if base_lr * factor > 0 else min(SMALLEST_LR, base_lr)


def set_lr(
    optimizer: torch.optim.Optimizer, step: int, total_steps: int, settings: OptimSection, num_reductions: int = 0
) -> float:
    """Give each parameter group its rate for update `step`; returns the rate of the first group."""
    for group in optimizer.param_groups:
        group["lr"] = compute_lr(step, total_steps, group["base_lr"], settings, num_reductions)
    return optimizer.param_groups[0]["lr"]


__all__ = ["DecayAfterAdamW", "build_optimizer", "build_parameter_groups", "compute_lr", "set_lr"]
