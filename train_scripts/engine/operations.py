# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""How many multiply-adds torch does, forward and backward: counted while it does them, by its own `FlopCounterMode`."""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count


aten = torch.ops.aten


@dataclass(frozen=True)
class Operations:
    """
    Multiply-adds, which papers call GFLOPs; torch counts each as two operations.

    Args:
        whole (`float`): In products of matrices, convolutions, attention and recurrent layers.
        without_attention (`float`): Without the products inside attention, as many papers count.
    """

    whole: float
    without_attention: float


class OperationCounter:
    """
    Counts what torch does inside a `with` block, which may train: what runs in a backward pass, activations that are computed
    anew for it included, is told from the rest.

    Attention by one fused kernel is counted as its products. Layers that torch has in one kernel for evaluation alone, such as
    `nn.MultiheadAttention`, run step by step inside the block.

    Raises:
        NotImplementedError, TypeError: Where torch cannot count an operation.

    Example:
        >>> weight = torch.ones(3, 2, requires_grad=True)
        >>> with OperationCounter() as counter:
        ...     (torch.ones(4, 3) @ weight).sum().backward()
        >>> counter.forward.whole, counter.backward.whole  # the gradient of the weight; the other one is not needed
        (24.0, 24.0)
    """

    def __enter__(self) -> "OperationCounter":
        self._counter = FlopCounterMode(display=False, custom_mapping=UNKNOWN_TO_TORCH)
        self._counter.mod_tracker = _Phases()
        self._shared = _SharedWeights()
        self._had_fastpath = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        self._shared.__enter__()
        self._counter.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._counter.__exit__(*error)
        self._shared.__exit__(*error)
        torch.backends.mha.set_fastpath_enabled(self._had_fastpath)

    @property
    def forward(self) -> Operations:
        return self._read("forward")

    @property
    def backward(self) -> Operations:
        return self._read("backward")

    def _read(self, phase: str) -> Operations:
        counts = self._counter.get_flop_counts().get(phase, {})
        attention = sum(count for kernel, count in counts.items() if kernel is aten.bmm or "attention" in str(kernel))
        attention, whole = attention - self._shared.counts[phase], sum(counts.values())
        return Operations(whole / 2, (whole - attention) / 2)


def count_operations(call: Callable[[], Any]) -> tuple[Any, Operations | None]:
    """
    Make a call, and count.

    Args:
        call (`Callable`): Runs a model, forward or backward too, on any device, the one without data (`meta`) included.

    Returns:
        What the call returned, and [`Operations`], or `None` where torch cannot count them.

    Example:
        >>> count_operations(lambda: torch.ones(4, 3) @ torch.ones(3, 2))[1]
        Operations(whole=24.0, without_attention=24.0)
    """
    try:
        with OperationCounter() as counter:
            result = call()
    except (NotImplementedError, TypeError):  # of the counter; if it is one of the call, that raises it again
        return call(), None
    return result, add_operations([counter.forward, counter.backward])


def add_operations(parts: Iterable[Operations]) -> Operations:
    parts = list(parts)
    return Operations(sum(part.whole for part in parts), sum(part.without_attention for part in parts))


def is_in_backward() -> bool:
    """Whether the present operation is one of a backward pass."""
    return torch._C._current_graph_task_id() != -1


class _Phases:
    """
    In place of the counter's tracker of modules, which fails at those that return a slice of a parameter without a graph:
    the passes stand in the place of modules.
    """

    @property
    def parents(self) -> tuple[str, ...]:
        return ("backward" if is_in_backward() else "forward",)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class _SharedWeights(TorchDispatchMode):
    """Counts the batched products in which one side is the same for the whole batch: a weight, and no attention."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is aten.bmm.default and 0 in (args[0].stride(0), args[1].stride(0)):
            phase = "backward" if is_in_backward() else "forward"
            self.counts[phase] += 2 * args[0].numel() * args[1].shape[-1]
        return func(*args, **(kwargs or {}))


def _count_attention(query, key, value, *_, out_shape=None, **__):
    return sdpa_flop_count(query, key, value)


def _count_attention_backward(gradient, query, key, value, *_, out_shape=None, **__):
    return sdpa_backward_flop_count(gradient, query, key, value)


def _count_layer_on_cpu(inputs, input_weight, hidden_weight, *_, out_shape=None, **__):
    return 2 * math.prod(inputs[:-1]) * (math.prod(input_weight) + math.prod(hidden_weight))


def _count_layers_on_gpu(inputs, weights, *_, out_shape=None, **__):
    return 2 * math.prod(inputs[:-1]) * sum(math.prod(weight) for weight in weights if len(weight) == 2)


def _twice(count: Callable[..., int]) -> Callable[..., int]:
    """The gradient of a product is two products: by one side, and by the other."""
    return lambda *args, **kwargs: 2 * count(*args, **kwargs)


UNKNOWN_TO_TORCH = {  # to torch 2.14
    aten._scaled_dot_product_flash_attention_for_cpu: _count_attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: _count_attention_backward,
    aten.mkldnn_rnn_layer: _count_layer_on_cpu,
    aten.mkldnn_rnn_layer_backward: _twice(_count_layer_on_cpu),
    aten._cudnn_rnn: _count_layers_on_gpu,
    aten._cudnn_rnn_backward: _twice(_count_layers_on_gpu),
}


def show_giga(value: float) -> str:
    """Billions, with one place after the point or four digits of what is small."""
    return f"{value / 1e9:.1f}" if value >= 1e10 else f"{value / 1e9:.4g}"


__all__ = ["OperationCounter", "Operations", "add_operations", "count_operations", "is_in_backward", "show_giga"]
