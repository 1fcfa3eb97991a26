# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What an evaluation and a training step cost: frames decoded and encoded, multiply-adds, time.

Reading is counted where it is done, mostly in another process: the counts come back with the items, as a [`Reading`].
Multiply-adds follow from the shapes of what a model is given, and from how many frames and words of them exist: they are
counted once for each, and remembered. An evaluation makes such a call a second time for that, under the counter, so its
scores and its time are those of a model that nobody counts.
"""

import functools
import inspect
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn
from torch.utils.data import DataLoader, Dataset, get_worker_info

from clipbert.processing.decoding_count import counting_decoding
from clipbert.train_scripts.engine.operations import (
    OperationCounter,
    Operations,
    count_operations,
    is_in_backward,
    show_giga,
)


# ---------------------------------------------------------------------------------------------------------------------
# Reading
# ---------------------------------------------------------------------------------------------------------------------


class Reading(NamedTuple):
    """
    What it took to read some items, decode and transform them.

    Args:
        num_items (`int`): How many.
        num_decoded (`int`, *optional*): Pictures that decoders have given; `None` if that cannot be counted.
        seconds (`float`): How long it took the process that did it.
        worker_cpu_s (`float`): Processor seconds of workers; 0 where the main process reads, whose own they are.
    """

    num_items: int
    num_decoded: int | None
    seconds: float
    worker_cpu_s: float


def read_item(read: Callable[[], Any]) -> tuple[Any, Reading]:
    """What `read` returns of one item, and what that took."""
    started, cpu_started = time.perf_counter(), time.process_time()
    with counting_decoding() as count:
        item = read()
    cpu_s = 0.0 if get_worker_info() is None else time.process_time() - cpu_started
    return item, Reading(1, count.num_frames, time.perf_counter() - started, cpu_s)


def add_readings(readings: Iterable[Reading]) -> Reading:
    items, decoded, seconds, cpu_s = zip(*readings, strict=True)
    return Reading(sum(items), None if None in decoded else sum(decoded), math.fsum(seconds), math.fsum(cpu_s))


class ReadItems(Dataset):
    """
    The items of a data set, each with its [`Reading`].

    Args:
        dataset (`Dataset`): With numbered items.
        collate (`Callable`): Makes a batch of a list of its items.
    """

    def __init__(self, dataset: Dataset, collate: Callable[[list], Any]):
        self.dataset, self.collate_items = dataset, collate

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Any, Reading]:
        return read_item(lambda: self.dataset[index])

    def collate(self, items: Sequence[tuple[Any, Reading]]) -> tuple[Any, Reading]:
        contents, readings = zip(*items, strict=True)
        return self.collate_items(list(contents)), add_readings(readings)


def batches_of(loader: DataLoader) -> Iterator[Any]:
    """The batches of a loader of [`ReadItems`]; what they took is added to the evaluation that is being counted, if one is."""
    for batch, reading in loader:
        if (meter := _present.get()) is not None:
            meter.readings.append(reading)
        yield batch


# ---------------------------------------------------------------------------------------------------------------------
# Encoding
# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class EncodedFrames:
    """
    Args:
        num_frames (`int`, *optional*): Frames that went through the tower or CNN; `None` for a model without one.
        is_paused (`bool`): Whether those that now do are left out.
    """

    num_frames: int | None
    is_paused: bool = False


@contextmanager
def counting_encoded(model: nn.Module) -> Iterator[EncodedFrames]:
    """
    Count the frames that go through a model's convolutions of three colours, with which every tower and every CNN begins; but
    not what a backward pass computes anew.
    """
    kinds = (nn.Conv2d, nn.Conv3d)
    stems = [module for module in model.modules() if isinstance(module, kinds) and module.in_channels == 3]
    found = EncodedFrames(0 if stems else None)

    def note(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if not found.is_paused and not is_in_backward():
            shape = inputs[0].shape
            found.num_frames += shape[0] * (shape[2] if isinstance(module, nn.Conv3d) else 1)

    hooks = [stem.register_forward_pre_hook(note) for stem in stems]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


class Signature:
    """
    What the multiply-adds of a call follow from: the shapes of tensors, and of masks and lengths how much exists.

    Args:
        model (`nn.Module`): Of any family.
    """

    def __init__(self, model: nn.Module):
        # attention reads padding, too; recurrent layers may leave it out
        words = "" if any(isinstance(module, nn.RNNBase) for module in model.modules()) else r"(?<!attention_)"
        self.counted = re.compile(rf"{words}mask|lengths|segments|inside")

    def __call__(self, value: Any, name: str = "") -> Any:
        """Of anything that a model is called with; `name` is that of an argument."""
        if torch.is_tensor(value):
            is_counted = not value.is_floating_point() and value.device.type != "meta" and self.counted.search(name)
            return tuple(value.shape), value.requires_grad, self._existing(value) if is_counted else None
        if isinstance(value, Mapping):
            return tuple((key, self(part, str(key))) for key, part in value.items())
        if isinstance(value, tuple | list):
            names = getattr(value, "_fields", [name] * len(value))
            return tuple(self(part, key) for key, part in zip(names, value, strict=True))
        return value if isinstance(value, str | int | float | None) else type(value)

    @staticmethod
    def _existing(value: torch.Tensor) -> tuple[int, int]:
        return int(value.clamp(min=0).sum() if value.dtype != torch.bool else value.sum()), int((value >= 0).sum())


# ---------------------------------------------------------------------------------------------------------------------
# An evaluation
# ---------------------------------------------------------------------------------------------------------------------


METHODS = (
    "forward",
    "encode_videos",
    "encode_texts",
    "segment_features",
    "match",
    "match_all",
    "match_frames",
    "match_moments",
)


@dataclass
class EvaluationMeter:
    """
    What the calls of a model cost in an evaluation.

    Args:
        known (`dict`): Multiply-adds of calls by their signature, shared by the evaluations of a run.

    Attributes:
        units (`dict[str, dict | None]`): For each `"view"`, `"text"`, `"pair"` or other `"example"` (`"video"` of features), of
            the first call: the fields of [`Operations`], or `None` where they cannot be counted; of a view also how many a video
            has (`per_video`).
        multiply_adds (`dict[str, float | None]`): For each of them those of all calls.
        encoded (`EncodedFrames`): Frames that went through the tower or CNN.
        model_s (`float`): Seconds of all calls. On a GPU each is waited for.
        counting_s (`float`): Seconds of what was called once more, to count.
        readings (`list[Reading]`): Of all batches that were read.
    """

    known: dict[Any, Operations | None] = field(default_factory=dict)
    units: dict[str, dict[str, float] | None] = field(default_factory=dict)
    multiply_adds: dict[str, float | None] = field(default_factory=dict)
    encoded: EncodedFrames = field(default_factory=lambda: EncodedFrames(None))
    model_s: float = 0.0
    counting_s: float = 0.0
    readings: list[Reading] = field(default_factory=list)

    def call(self, method: Callable[[], Any], given: Mapping[str, Any], key: Any, model: nn.Module) -> Any:
        """What a method of the model returns for the arguments `given`, of the signature `key`; it is called twice if that is new."""
        started, self.encoded.is_paused = read_clock(model), False
        result = method()
        ended, self.encoded.is_paused = read_clock(model), True
        self.model_s += ended - started
        if key not in self.known:
            self.known[key] = _count_once_more(method, model)
            self.counting_s += read_clock(model) - ended
        self._add(*rows_of_call(given), self.known[key])
        return result

    def _add(self, unit: str, rows: int, more: Mapping[str, int], operations: Operations | None) -> None:
        total = self.multiply_adds.get(unit, 0.0)
        is_known = operations is not None and total is not None
        self.multiply_adds[unit] = total + operations.whole if is_known else None
        values = operations and {key: value / max(rows, 1) for key, value in asdict(operations).items()}
        self.units.setdefault(unit, values and {**values, **more})

    def summarise(self, accelerator: Accelerator) -> dict[str, Any]:
        """
        What the evaluation cost, on all processes; what cannot be counted is left out.

        Returns:
            `dict`: `operations`, the `units`, and where items were read by a loader, `videos`, their number, and `per_video`, the
            mean of each: `frames_decoded`, `frames_encoded`, `multiply_adds`, `multiply_adds_of` each unit, `read_ms`, `model_ms`.
        """
        own = (
            self.multiply_adds,
            self.encoded.num_frames,
            self.model_s,
            add_readings([Reading(0, 0, 0.0, 0.0), *self.readings]),
        )
        of_units, encoded, model_s, readings = zip(*gather_object([own]), strict=True)
        found: dict[str, Any] = {"operations": self.units}
        reading = add_readings(readings)
        if not reading.num_items:
            return found
        totals: dict[str, Any] = {"frames_decoded": reading.num_decoded}
        totals["frames_encoded"] = None if None in encoded else sum(encoded)
        names = dict.fromkeys(name for units in of_units for name in units)
        parts = {name: [units[name] for units in of_units if name in units] for name in names}
        sums = {name: None if None in values else math.fsum(values) for name, values in parts.items()}
        totals["multiply_adds"] = None if None in sums.values() or not sums else math.fsum(sums.values())
        totals |= {"read_ms": 1000 * reading.seconds, "model_ms": 1000 * math.fsum(model_s)}
        videos = reading.num_items
        per_video = {name: value / videos for name, value in totals.items() if value is not None}
        per_video["multiply_adds_of"] = {name: value / videos for name, value in sums.items() if value is not None}
        return {**found, "videos": videos, "per_video": per_video}


_present: ContextVar[EvaluationMeter | None] = ContextVar("present_meter", default=None)


@contextmanager
def counting_evaluation(
    model: nn.Module, known: dict[Any, Operations | None] | None = None
) -> Iterator[EvaluationMeter]:
    """
    Count what is read and what a model is called for: `forward`, and the methods of the contracts of matching and of moments.

    Args:
        model (`nn.Module`): Of any family, in evaluation mode.
        known (`dict`, *optional*): See [`EvaluationMeter`].

    Yields:
        [`EvaluationMeter`], which is filled while the model is called.
    """
    meter, sign, is_inside = EvaluationMeter({} if known is None else known), Signature(model), []

    def counted(owner: nn.Module, name: str, method: Callable) -> Callable:
        parameters = inspect.signature(getattr(type(owner), name))  # what wraps it for mixed precision has none

        def call(*args, **kwargs):
            if is_inside or _present.get() is not meter:
                return method(*args, **kwargs)
            is_inside.append(name)
            try:
                given = dict(islice(parameters.bind(owner, *args, **kwargs).arguments.items(), 1, None))
                return meter.call(functools.partial(method, *args, **kwargs), given, (name, sign(given)), model)
            finally:
                is_inside.clear()

        return call

    owners = [model, *([base] if (base := getattr(model, "base_model", model)) is not model else [])]
    methods = [(owner, name, getattr(owner, name)) for owner in owners for name in METHODS if hasattr(owner, name)]
    own = [vars(owner).get(name) for owner, name, _ in methods]  # wrapped for mixed precision
    token = _present.set(meter)
    try:
        with counting_encoded(model) as meter.encoded:
            meter.encoded.is_paused = True
            for owner, name, method in methods:
                setattr(owner, name, counted(owner, name, method))
            yield meter
    finally:
        _present.reset(token)
        for (owner, name, _), method in zip(methods, own, strict=True):
            delattr(owner, name)
            if method is not None:
                setattr(owner, name, method)


@contextmanager
def uncounted() -> Iterator[None]:
    """Around what an evaluation does besides showing videos to a model, such as a blind baseline: it is no cost of the model."""
    token = _present.set(None)
    try:
        yield
    finally:
        _present.reset(token)


def _count_once_more(call: Callable[[], Any], model: nn.Module) -> Operations | None:
    """The multiply-adds of a call whose result is not needed; whatever it draws has not been drawn."""
    device = _device_of(model)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        return count_operations(call)[1]


def read_clock(model: nn.Module) -> float:
    """Seconds, when what a GPU was asked for is done."""
    if _device_of(model).type == "cuda":
        torch.cuda.synchronize(_device_of(model))
    return time.perf_counter()


def _device_of(model: nn.Module) -> torch.device:
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def rows_of_call(given: Mapping[str, Any]) -> tuple[str, int, dict[str, int]]:
    """What the rows of a call are, how many there are, and how many views a video has; from its arguments by name."""
    for name, ndim in (("pixel_values", 4), ("frame_features", 2)):  # of one view
        if given.get(name) is not None:
            shape = given[name].shape[:-ndim] or given[name].shape[:1]  # images are views
            return "view", math.prod(shape), {"per_video": math.prod(shape[1:])}
    if given.get("video_indices") is not None:
        return "pair", len(given["video_indices"]), {}
    if "texts" in given:
        return "pair", _count_rows(given["texts"]) * _count_rows(given["videos"]), {}
    if given.get("video_features") is not None:
        return "video", len(given["video_features"]), {}
    if given.get("input_ids") is not None:
        return "text", len(given["input_ids"]), {}
    return "example", _count_rows(given), {}


def _count_rows(tensors: torch.Tensor | Mapping[str, Any] | tuple) -> int:
    values = tensors.values() if isinstance(tensors, Mapping) else tensors
    return len(tensors if torch.is_tensor(tensors) else next(filter(torch.is_tensor, values)))


def describe_cost(found: Mapping[str, Any]) -> str:
    """
    What [`EvaluationMeter.summarise`] returns, in words.

    Example:
        >>> units = {"view": {"whole": 205.5e9, "without_attention": 197.8e9, "per_video": 3}, "pair": None}
        >>> print(describe_cost({"operations": units, "videos": 4, "per_video": {"frames_decoded": 40.5, "read_ms": 3.25}}))
        G multiply-adds: 205.5 a view, 197.8 without attention products (a video has 3); a pair: not counted
        A video, the mean of 4: frames decoded 40.5, ms to read 3.25
    """
    parts = []
    for unit, counts in found["operations"].items():
        if counts is None:
            parts.append(f"a {unit}: not counted")
            continue
        whole, part = (show_giga(counts[name]) for name in ("whole", "without_attention"))
        views = f" (a video has {counts['per_video']})" if counts.get("per_video", 1) > 1 else ""
        parts.append(f"{whole} a {unit}, {part} without attention products{views}")
    lines = [f"G multiply-adds: {'; '.join(parts) or 'not counted'}"]
    if per_video := found.get("per_video"):
        shown = [
            f"{word} {show_giga(per_video[name]) if name == 'multiply_adds' else format(per_video[name], '.4g')}"
            for name, word in WORDS.items()
            if name in per_video
        ]
        lines.append(f"A video, the mean of {found['videos']}: {', '.join(shown)}")
    return "\n".join(lines)


WORDS = {
    "frames_decoded": "frames decoded",
    "frames_encoded": "frames encoded",
    "multiply_adds": "G multiply-adds",
    "read_ms": "ms to read",
    "model_ms": "ms in the model",
}


# ---------------------------------------------------------------------------------------------------------------------
# Training steps
# ---------------------------------------------------------------------------------------------------------------------


FIRST_STEPS, SHARE_OF_STEPS = (
    10,
    0.05,
)  # that may run under the counter, which makes small models several times as slow


class StepMeter:
    """
    What training steps cost.

    Multiply-adds are counted as the step is made, if its shapes are new: in the first steps, and then in so few that they
    take no time that matters. A step with new shapes that is not counted has none.

    Args:
        model (`nn.Module`): As `accelerator` has prepared it.
        accelerator (`Accelerator`): The processes.
    """

    def __init__(self, model: nn.Module, accelerator: Accelerator):
        self.model, self.accelerator, self.sign = model, accelerator, Signature(model)
        self.known: dict[Any, tuple[Operations, Operations]] = {}
        self.num_steps = self.num_counted = 0

    @contextmanager
    def step(self) -> Iterator["StepCost"]:
        """Around the passes of a step."""
        self.num_steps += 1
        self.found = StepCost()
        with counting_encoded(self.model) as encoded:
            yield self.found
            self.found.num_encoded = encoded.num_frames

    @contextmanager
    def counting(self, batches: Sequence[Any]) -> Iterator[None]:
        """Around the forward and backward passes of some batches."""
        trained = tuple(parameter.requires_grad for parameter in self.model.parameters())
        key, found = (hash(trained), tuple(map(self.sign, batches))), self.found
        if key in self.known:
            yield
        elif found.is_counted or self.num_counted < max(FIRST_STEPS, SHARE_OF_STEPS * self.num_steps):
            self.num_counted += not found.is_counted
            found.is_counted = True
            with OperationCounter() as counter:
                yield
            self.known[key] = counter.forward, counter.backward
        else:
            found.is_known = False
            yield
            return
        forward, backward = self.known[key]
        found.forward, found.backward = found.forward + forward.whole, found.backward + backward.whole


@dataclass
class StepCost:
    """What one process did in a step."""

    num_encoded: int | None = None
    forward: float = 0.0  # multiply-adds
    backward: float = 0.0
    is_known: bool = True  # whether they are those of the whole step
    is_counted: bool = False  # whether the step ran under the counter, and took longer for it
    started: float = field(default_factory=time.process_time)

    def summarise(self, readings: Sequence[Reading], accelerator: Accelerator) -> dict[str, float | bool]:
        """
        Sums over all processes; what is not known of all of them is left out.

        Args:
            readings (`Sequence[Reading]`): Of the micro-batches of this process.
            accelerator (`Accelerator`): The processes.

        Returns:
            `dict`: `frames_decoded`, `frames_encoded`, `multiply_adds_forward`, `multiply_adds_backward`, `read_s`, `cpu_s`
            (processor seconds of the step so far, those of workers included), and `is_counted`, if the step took longer because it was counted.
        """
        reading = add_readings([Reading(0, 0, 0.0, 0.0), *readings])
        own = {"frames_decoded": reading.num_decoded, "frames_encoded": self.num_encoded}
        own |= {
            f"multiply_adds_{name}": getattr(self, name) if self.is_known else None for name in ("forward", "backward")
        }
        cpu_s = time.process_time() - self.started + reading.worker_cpu_s
        own |= {"read_s": round(reading.seconds, 6), "cpu_s": round(cpu_s, 6)}
        parts = gather_object([(own, self.is_counted)]) if accelerator.num_processes > 1 else [(own, self.is_counted)]
        found: dict[str, float | bool] = {}
        for name in own:
            values = [values[name] for values, _ in parts]
            if None not in values:
                found[name] = sum(values)
        return {**found, **({"is_counted": True} if any(is_counted for _, is_counted in parts) else {})}


__all__ = [
    "METHODS",
    "EncodedFrames",
    "EvaluationMeter",
    "ReadItems",
    "Reading",
    "Signature",
    "StepCost",
    "StepMeter",
    "add_readings",
    "batches_of",
    "counting_encoded",
    "counting_evaluation",
    "describe_cost",
    "read_item",
    "rows_of_call",
    "uncounted",
]
