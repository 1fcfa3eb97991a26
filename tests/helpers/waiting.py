# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Where would an accelerator be waited for? Answered on a CPU, by looking at every operation."""

import traceback
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode


ROOT = Path(__file__).resolve().parents[2]
TENSOR = torch.Tensor
aten = torch.ops.aten
# What comes out of them has a size, or a place in Python, that depends on values.
OF_VALUES = {
    aten._local_scalar_dense,
    aten.nonzero,
    aten.masked_select,
    aten.equal,
    aten._unique2,
    aten.unique_dim,
    aten.unique_consecutive,
    aten.bincount,
}
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
READING = {TENSOR.tolist, TENSOR.item, TENSOR.numpy, TENSOR.cpu, TENSOR.__bool__, TENSOR.__float__, TENSOR.__int__}
WRITING = {torch.tensor, torch.as_tensor}


class Waiting:
    """
    Notes the places of this repository from which an accelerator would be waited for.

    They stand in `places`, as `file:function`, each with the line that was met first.
    """

    def __init__(self):
        self.places: dict[str, str] = {}
        self.is_paused = False

    @contextmanager
    def watching(self):
        with _Operations(self), _Calls(self):
            yield self

    @contextmanager
    def paused(self):
        before, self.is_paused = self.is_paused, True
        try:
            yield
        finally:
            self.is_paused = before

    def note(self, what):
        if self.is_paused:
            return
        own = [frame for frame in traceback.extract_stack() if self.is_ours(frame.filename)]
        if own:  # not the backward pass, which has no frame of ours
            frame = own[-1]
            place = f"{Path(frame.filename).resolve().relative_to(ROOT).as_posix()}:{frame.name}"
            self.places.setdefault(place, f"{what}, {frame.line}")

    @staticmethod
    def is_ours(name):
        path = Path(name).resolve()
        return path.is_relative_to(ROOT) and "site-packages" not in path.parts and path != Path(__file__).resolve()


class _Operations(TorchDispatchMode):
    def __init__(self, waiting):
        super().__init__()
        self.waiting = waiting

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        packet = function.overloadpacket
        indices = args[1] if packet in INDEXING else ()
        by_mask = any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices)
        repeats = packet is aten.repeat_interleave and kwargs.get("output_size") is None
        if packet in OF_VALUES or by_mask or repeats:
            self.waiting.note(str(packet))
        return function(*args, **kwargs)


class _Calls(TorchFunctionMode):
    def __init__(self, waiting):
        super().__init__()
        self.waiting = waiting

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function in READING or (function in WRITING and not isinstance(args[0], torch.Tensor)):
            self.waiting.note(getattr(function, "__name__", str(function)))
        return function(*args, **kwargs)


__all__ = ["Waiting"]
