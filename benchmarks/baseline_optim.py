# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""AdamW as a Python loop over parameters, in the order of operations of the official recipe."""

import math

import torch


class BaselineAdamW(torch.optim.Optimizer):
    """
    Adam with bias correction, then decay: `p -= lr * sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + eps)`, then
    `p -= lr * weight_decay * p`. About ten small operations per parameter.
    """

    def __init__(self, params, lr, betas=(0.9, 0.98), eps=1e-6, weight_decay=1e-3):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["step"] = 0
                    state["mean"] = torch.zeros_like(parameter)
                    state["square"] = torch.zeros_like(parameter)
                state["step"] += 1
                state["mean"].mul_(beta1).add_(parameter.grad, alpha=1 - beta1)
                state["square"].mul_(beta2).addcmul_(parameter.grad, parameter.grad, value=1 - beta2)
                denominator = state["square"].sqrt().add_(group["eps"])
                correction = math.sqrt(1 - beta2 ** state["step"]) / (1 - beta1 ** state["step"])
                parameter.addcdiv_(state["mean"], denominator, value=-group["lr"] * correction)
                if group["weight_decay"]:
                    parameter.add_(parameter, alpha=-group["lr"] * group["weight_decay"])


def parameter_groups(model, weight_decay: float = 1e-3):
    """Trainable parameters in two groups: decayed, and not (biases, layer norms)."""
    decayed, plain = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (plain if name.endswith("bias") or "norm" in name.lower() else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]


def clip_gradients(model, max_norm: float):
    """Scale the gradients to a global norm of at most `max_norm`, parameter by parameter."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    total = torch.stack([gradient.norm() for gradient in gradients]).norm()
    scale = max_norm / (total + 1e-6)
    if scale < 1:
        for gradient in gradients:
            gradient.mul_(scale)
    return total
