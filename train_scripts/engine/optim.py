# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Optimizers, parameter groups and learning-rate schedules."""

import functools
import math
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

import torch
from torch import nn

from clipbert.support.names import did_you_mean
from clipbert.train_scripts.engine.sections import GroupSection, OptimSection


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


OPTIMIZERS = {
    "adamw": functools.partial(torch.optim.AdamW, fused=True),
    "adam": functools.partial(torch.optim.Adam, fused=True),
    "adamw_official": DecayAfterAdamW,
}


def build_parameter_groups(model: nn.Module, settings: OptimSection) -> list[dict]:
    """
    Divide the trainable parameters by the modules of `settings.groups` and by whether they are decayed.

    Biases and the parameters of norms are not decayed (but where `decay_all` says so), embeddings are. Frozen parameters and empty groups are left out.
    Each group has `name`, `size` (over all processes) and `base_lr`, its peak rate; those of no pattern come first.
    """
    check_patterns(model, settings.groups)
    in_norm = {id(p) for module in model.modules() if isinstance(module, NORMS) for p in module.parameters(False)}
    members: dict[tuple[str | None, bool], list[nn.Parameter]] = {
        (pattern, is_decayed): [] for pattern in (None, *settings.groups) for is_decayed in (True, False)
    }
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            pattern = next((pattern for pattern in settings.groups if lies_in(name, pattern)), None)
            is_decayed = id(parameter) not in in_norm and not name.endswith("bias")
            is_decayed |= pattern is not None and settings.groups[pattern].decay_all
            members[pattern, is_decayed].append(parameter)
    groups = []
    for (pattern, is_decayed), parameters in members.items():
        own = settings.groups.get(pattern, GroupSection())
        lr = settings.lr if own.lr is None else own.lr
        weight_decay = settings.weight_decay if own.weight_decay is None else own.weight_decay
        name = pattern or ("the rest" if settings.groups else "all")
        group = {"name": name if is_decayed else f"{name}, not decayed", "size": sum(p.numel() for p in parameters)}
        group |= {"lr": lr, "base_lr": lr, "weight_decay": weight_decay if is_decayed else 0.0}
        if parameters:
            groups.append({"params": parameters, **group})
    return groups


def lies_in(name: str, pattern: str) -> bool:
    """
    Whether a parameter or a module that it belongs to has a name, or a name's end, like `pattern`.

    Example:
        >>> lies_in("clipbert.encoder.layer.11.output.weight", "encoder.layer.1?")
        True
        >>> lies_in("clipbert.encoder.layer.11.output.weight", "layer"), lies_in("clipbert.player.weight", "layer")
        (True, False)
    """
    parts = name.split(".")
    wholes = (".".join(parts[:end]) for end in range(1, len(parts) + 1))
    return any(fnmatchcase(f".{whole}", f"*.{pattern}") for whole in wholes)


def check_patterns(model: nn.Module, patterns: Iterable[str]) -> None:
    """Raise a `ValueError` that lists the modules of a model if nothing is like one of the patterns."""
    names = [name for name, _ in model.named_parameters()]
    modules = list(dict.fromkeys(".".join(name.split(".")[:-1][:depth]) for depth in (1, 2, 3) for name in names))
    # lists of layers that are empty with the settings at hand, such as branches of which there is none
    empty = [name for name, module in model.named_modules() if isinstance(module, nn.ModuleList) and not len(module)]
    for pattern in patterns:
        if not any(lies_in(name, pattern) for name in [*names, *empty]):
            raise ValueError(
                f"optim.groups: no module is called {pattern!r}. {did_you_mean(pattern, {m.split('.')[-1] for m in modules})} "
                f"Modules: {', '.join(modules)}."
            )


def build_optimizer(model: nn.Module, settings: OptimSection) -> torch.optim.Optimizer:
    """The recipe's optimizer over `build_parameter_groups(model, ...)`."""
    make = OPTIMIZERS[settings.optimizer]
    groups = build_parameter_groups(model, settings)
    return make(groups, lr=settings.lr, betas=tuple(settings.betas), eps=settings.eps)


def compute_lr(step: int, total_steps: int, base_lr: float, settings: OptimSection, num_reductions: int = 0) -> float:
    """
    Learning rate of update `step`, counted from 1; 1e-8 where the schedule gives 0, as in the original of ClipBERT, but 0
    where a cosine with a period of its own does, as in that of Mug-STAN.

    It depends on the number of the update (and with `plateau` on the evaluations so far) alone, so nothing ticks and
    nothing is saved.
    """
    warmup_steps = int(settings.warmup_ratio * total_steps)
    if step < warmup_steps and settings.warmup_start:
        # as in the released configs of Mug-STAN: from the first step, not from the one before it
        factor = settings.warmup_start + (1 - settings.warmup_start) * (step - 1) / (warmup_steps - 1)
    elif step < warmup_steps:
        factor = step / warmup_steps
    elif settings.schedule == "constant":
        factor = 1.0
    elif settings.schedule == "plateau":
        return reduce_rate(base_lr, settings.plateau_factor, num_reductions)
    elif settings.schedule == "invsqrt":
        factor = math.sqrt(max(warmup_steps, 1) / step)
    elif settings.schedule.startswith("multi_step"):
        passed = sum(step > milestone for milestone in settings.milestones)
        # The original skips a power after the last of n milestones: 1/2^(n+1) instead of 1/2^n.
        factor = 0.5 ** (passed + (settings.schedule == "multi_step_official" and passed == len(settings.milestones)))
    elif settings.cosine_start_ratio is not None or settings.cosine_fall_ratio is not None:
        start = round((settings.cosine_start_ratio or settings.warmup_ratio) * total_steps)
        fall = round((settings.cosine_fall_ratio or 0.0) * total_steps) or max(total_steps - start, 1)
        # as released, too: where it touches 0 the rate is 0
        return base_lr * 0.5 * (1 + math.cos(math.pi * max(step - 1 - start, 0) / fall))
    else:
        left = max(0.0, (total_steps - step) / max(total_steps - warmup_steps, 1))
        factor = left if settings.schedule == "linear" else 0.5 * (1 - math.cos(math.pi * left))
    return base_lr * factor if base_lr * factor > 0 else min(SMALLEST_LR, base_lr)


def reduce_rate(lr: float, factor: float, num_reductions: int) -> float:
    """A rate reduced so often; like torch's `ReduceLROnPlateau` not by less than 1e-8."""
    for _ in range(num_reductions):
        lr = lr * factor if lr - lr * factor > SMALLEST_LR else lr
    return lr


def set_lr(
    optimizer: torch.optim.Optimizer, step: int, total_steps: int, settings: OptimSection, num_reductions: int = 0
) -> float:
    """Give each parameter group its rate for update `step`; returns the rate of the first group."""
    for group in optimizer.param_groups:
        group["lr"] = compute_lr(step, total_steps, group["base_lr"], settings, num_reductions)
    return optimizer.param_groups[0]["lr"]


__all__ = ["DecayAfterAdamW", "build_optimizer", "build_parameter_groups", "compute_lr", "set_lr"]
