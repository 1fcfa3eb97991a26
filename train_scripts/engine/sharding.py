# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Weights and optimizer state that FSDP2 has divided among processes, made whole and divided again.

Checkpoints hold whole tensors under the same names in every case, so a run may go on with another number of processes,
and divided or not. The functions below do nothing to tensors that are whole already; where tensors are divided, all
processes have to call them.
"""

import copy
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor


def gather(values: Any) -> Any:
    """Nested dictionaries and lists with every divided tensor made whole, on the CPU."""
    if isinstance(values, DTensor):
        return values.detach().full_tensor().cpu()
    if isinstance(values, Mapping):
        return {name: gather(value) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return type(values)(gather(value) for value in values)
    return values


@torch.no_grad()
def copy_into(target: torch.Tensor, source: torch.Tensor) -> None:
    """Overwrite a tensor, whole or divided, with a whole one."""
    target.copy_(distribute_as(source, target))


def distribute_as(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """A whole tensor divided like another one."""
    if not isinstance(target, DTensor):
        return source
    return distribute_tensor(source.to(target.device), target.device_mesh, target.placements)


def gather_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """`optimizer.state_dict()` with every divided tensor made whole."""
    return gather(optimizer.state_dict())


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """
    `optimizer.load_state_dict` of a whole state, divided like the parameters that it belongs to.

    `set_optimizer_state_dict` of torch would ask for a state of every trainable parameter, which one without gradient has not.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    divided = {
        index: {
            name: distribute_as(value, parameters[index])
            if torch.is_tensor(value) and value.shape == parameters[index].shape and value.dim()
            else value
            for name, value in values.items()
        }
        for index, values in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": divided})


def prepare(
    accelerator: Accelerator, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[nn.Module, torch.optim.Optimizer, "Replica | None"]:
    """`accelerator.prepare`; of a model that is divided also what makes whole copies of it."""
    if not accelerator.is_fsdp2:
        return (*accelerator.prepare(model, optimizer), None)
    replica, plugin = Replica(model), accelerator.state.fsdp_plugin
    if plugin.transformer_cls_names_to_wrap is None:
        plugin.transformer_cls_names_to_wrap = repeated_layers(model)
    with tied_weights_together(model), frozen_scalars_aside(model):
        return (*accelerator.prepare(model, optimizer), replica)


def repeated_layers(model: nn.Module) -> list[str]:
    """
    The classes of `_no_split_modules` of which a model has several instances, as of its layers.

    Accelerate takes all of `_no_split_modules`, embeddings among them, whose weights the decoder may share.
    """
    counts = Counter(type(module).__name__ for module in model.modules())
    return [name for name in model._no_split_modules or () if counts[name] > 1]


@contextmanager
def tied_weights_together(model: nn.Module) -> Iterator[None]:
    """
    Around `prepare`: let embeddings and decoder belong to the model's outermost group of weights.

    Accelerate makes a group of the two, but their tied bias is a parameter of the module around the decoder as well,
    and FSDP2 wants shared parameters in one group.
    """
    model.get_input_embeddings = model.get_output_embeddings = lambda: None
    try:
        yield
    finally:
        del model.get_input_embeddings, model.get_output_embeddings


@contextmanager
def frozen_scalars_aside(model: nn.Module) -> Iterator[None]:
    """
    Around `prepare`: leave out frozen parameters that are a single number, which FSDP2 does not divide, such as the scale of
    the loss that a CLIP was trained with.
    """
    places = [
        (module, name, parameter)
        for module in model.modules()
        for name, parameter in module.named_parameters("", False)
    ]
    aside = [place for place in places if not place[2].dim() and not place[2].requires_grad]
    for module, name, _ in aside:
        del module._parameters[name]
    try:
        yield
    finally:
        device = next(model.parameters()).device
        for module, name, parameter in aside:
            parameter.data = parameter.data.to(device)
            module.register_parameter(name, parameter)


@contextmanager
def outermost_weights_whole(model: nn.Module) -> Iterator[None]:
    """Around what reads parameters outside of a forward pass: those of the outermost group of a divided model are whole."""
    if not isinstance(model, FSDPModule):
        yield
        return
    model.unshard()
    try:
        yield
    finally:
        model.reshard()


class Replica:
    """
    A whole copy of a model whose weights will be divided, for what cannot be done in pieces: evaluation, where
    processes run different numbers of forward passes, and saving.
    Only the structure of the model is kept until the weights are needed.
    """

    def __init__(self, model: nn.Module):
        tensors = {id(tensor): tensor.to("meta") for tensor in (*model.parameters(), *model.buffers())}
        self.template = _copy_with(model, tensors)

    def build(self, model: nn.Module, device: torch.device) -> nn.Module:
        """The copy with the weights that the divided model has now."""
        own, whole = dict(_named_tensors(self.template)), dict(_named_tensors(model))
        tensors = {id(own[name]): gather(whole[name].detach()).to(device) for name in own}
        return _copy_with(self.template, tensors)


def _named_tensors(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def _copy_with(model: nn.Module, tensors: Mapping[int, torch.Tensor]) -> nn.Module:
    """A deep copy whose parameters and buffers are replaced by the given ones, ties included."""
    memo = {}
    for tensor in (*model.parameters(), *model.buffers()):
        new = tensors[id(tensor)]
        if isinstance(tensor, nn.Parameter):
            new = nn.Parameter(new, requires_grad=tensor.requires_grad)
        memo[id(tensor)] = new
    return copy.deepcopy(model, memo)


__all__ = [
    "Replica",
    "copy_into",
    "distribute_as",
    "gather",
    "gather_optimizer",
    "load_optimizer",
    "outermost_weights_whole",
    "prepare",
]
