# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""How many multiply-adds a model takes for a view of a video, a text, a pair: counted by torch while it is evaluated."""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count


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


def count_operations(call: Callable[[], Any]) -> tuple[Any, Operations | None]:
    """
    Make a call, and count.

    Args:
        call (`Callable`): Runs a model, on any device, the one without data (`meta`) included.

    Returns:
        What the call returned, and [`Operations`], or `None` where torch cannot count them.

    Example:
        >>> count_operations(lambda: torch.ones(4, 3) @ torch.ones(3, 2))[1]
        Operations(whole=24.0, without_attention=24.0)
    """
    counter, shared = FlopCounterMode(display=False, custom_mapping=UNKNOWN_TO_TORCH), _SharedWeights()
    counter.mod_tracker = _EverythingAtOnce()
    try:
        with shared, counter:
            result = call()
    except (NotImplementedError, TypeError):  # of the counter; if it is one of the call, that raises it again
        return call(), None
    counts = counter.get_flop_counts().get("Global", {})
    attention = sum(count for kernel, count in counts.items() if kernel is aten.bmm or "attention" in str(kernel))
    attention, whole = attention - shared.count, counter.get_total_flops()
    return result, Operations(whole / 2, (whole - attention) / 2)


class _EverythingAtOnce:
    """In place of the counter's tracker of modules, which fails at those that return a slice of a parameter without a graph."""

    parents = ("Global",)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class _SharedWeights(TorchDispatchMode):
    """Counts the batched products in which one side is the same for the whole batch: a weight, and no attention."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is aten.bmm.default and 0 in (args[0].stride(0), args[1].stride(0)):
            self.count += 2 * args[0].numel() * args[1].shape[-1]
        return func(*args, **(kwargs or {}))


def _count_attention(query, key, value, *_, out_shape=None, **__):
    return sdpa_flop_count(query, key, value)


def _count_layer_on_cpu(inputs, input_weight, hidden_weight, *_, out_shape=None, **__):
    return 2 * math.prod(inputs[:-1]) * (math.prod(input_weight) + math.prod(hidden_weight))


def _count_layers_on_gpu(inputs, weights, *_, out_shape=None, **__):
    return 2 * math.prod(inputs[:-1]) * sum(math.prod(weight) for weight in weights if len(weight) == 2)


UNKNOWN_TO_TORCH = {
    aten._scaled_dot_product_flash_attention_for_cpu: _count_attention,  # to torch 2.11
    aten.mkldnn_rnn_layer: _count_layer_on_cpu,
    aten._cudnn_rnn: _count_layers_on_gpu,
}


# ---------------------------------------------------------------------------------------------------------------------
# The calls of an evaluation
# ---------------------------------------------------------------------------------------------------------------------


@contextmanager
def counting_calls(model: nn.Module) -> Iterator[dict[str, dict[str, float] | None]]:
    """
    Count the first call of each method that an evaluation has: `forward`, and those of the contract of matching.

    Args:
        model (`nn.Module`): Of any family.

    Yields:
        `dict`: Filled while the model is called: for each `"view"`, `"text"`, `"pair"` or other `"example"` the fields of [`Operations`],
        or `None` where they cannot be counted; of a view also how many a video has (`per_video`).
    """
    found, is_inside = {}, []

    def counted(name: str, method: Callable) -> Callable:
        signature, is_done = inspect.signature(getattr(type(model), name)), []

        def call(*args, **kwargs):
            if is_done or is_inside:
                return method(*args, **kwargs)
            is_inside.append(name)
            try:
                result, operations = count_operations(lambda: method(*args, **kwargs))
            finally:
                is_inside.clear()
            is_done.append(name)
            unit, rows, more = rows_of_call(signature.bind(model, *args, **kwargs).arguments)
            values = operations and {key: value / rows for key, value in asdict(operations).items()}
            found.setdefault(unit, values and {**values, **more})
            return result

        return call

    methods = {name: getattr(model, name) for name in METHODS if hasattr(model, name)}
    own = {name: vars(model)[name] for name in methods if name in vars(model)}  # wrapped for mixed precision
    try:
        for name, method in methods.items():
            setattr(model, name, counted(name, method))
        yield found
    finally:
        for name in methods:
            delattr(model, name)
        for name, method in own.items():
            setattr(model, name, method)


METHODS = ("forward", "encode_videos", "encode_texts", "match", "match_all")


def rows_of_call(given: Mapping[str, Any]) -> tuple[str, int, dict[str, int]]:
    """What the rows of a call are, how many there are, and how many views a video has; from its arguments by name."""
    for name, ndim in (("pixel_values", 4), ("frame_features", 2)):  # of one view
        if given.get(name) is not None:
            shape = given[name].shape[:-ndim] or given[name].shape[:1]  # images are views
            return "view", math.prod(shape), {"per_video": math.prod(shape[1:])}
    if given.get("video_indices") is not None:
        return "pair", len(given["video_indices"]), {}
    if "texts" in given:
        return "pair", _count_rows(given["texts"]) * len(given["videos"]), {}
    if given.get("input_ids") is not None:
        return "text", len(given["input_ids"]), {}
    return "example", _count_rows(given), {}


def _count_rows(tensors: torch.Tensor | Mapping[str, Any]) -> int:
    return len(tensors if torch.is_tensor(tensors) else next(filter(torch.is_tensor, tensors.values())))


def describe_operations(found: Mapping[str, Mapping[str, float] | None]) -> str:
    """
    In words.

    Example:
        >>> describe_operations({"view": {"whole": 205.5e9, "without_attention": 197.8e9, "per_video": 3}, "pair": None})
        'G multiply-adds: 205.5 a view, 197.8 without attention products (a video has 3); a pair: not counted'
    """
    parts = []
    for unit, counts in found.items():
        if counts is None:
            parts.append(f"a {unit}: not counted")
            continue
        whole, part = (show_giga(counts[name]) for name in ("whole", "without_attention"))
        views = f" (a video has {counts['per_video']})" if counts.get("per_video", 1) > 1 else ""
        parts.append(f"{whole} a {unit}, {part} without attention products{views}")
    return f"G multiply-adds: {'; '.join(parts) or 'not counted'}"


def show_giga(value: float) -> str:
    """Billions, with one place after the point or four digits of what is small."""
    return f"{value / 1e9:.1f}" if value >= 1e10 else f"{value / 1e9:.4g}"


__all__ = ["Operations", "count_operations", "counting_calls", "describe_operations", "show_giga"]
