# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Changes of the pictures of a clip in training, drawn from a key such as (seed, epoch, sample).

By default a change is drawn once for a clip: a box that is erased stays where it is. Drawn for each frame, it would jump and
flicker through the clip, which is what the course report (VNU, 2024, section 3.3) has; `consistent=False` does that.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch
from torchvision.transforms.v2 import functional

from .option_checks import refuse_unknown_options
from .sampling import build_rng


Range = Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Blur:
    """Gaussian blur. `sigma` is drawn from its range; `kernel_size` is odd."""

    p: float = 1.0
    kernel_size: int = 11
    sigma: Range = (1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Erase:
    """A box of `scale` (share of the area) and `ratio` (height to width) that becomes `value`, after normalisation."""

    p: float = 0.5
    scale: Range = (0.01, 0.1)
    ratio: Range = (1.0, 1.0)
    value: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Flip:
    """Left becomes right: not where classes differ in their side."""

    p: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Color:
    """Brightness, contrast and saturation times 1 - x to 1 + x, hue turned by -x to x (of a full circle)."""

    p: float = 1.0
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Crop:
    """A part of the square, of `scale` (share of the area) and `ratio` (height to width), for the whole."""

    p: float = 1.0
    scale: Range = (0.5, 1.0)
    ratio: Range = (0.75, 4 / 3)


def _one(kind: type, given: Any) -> Any:
    """`True` for the defaults, a number for the probability, a mapping for all."""
    name = kind.__name__.lower()
    if given is None or given is False:
        return None
    if given is True:
        given = {}
    if isinstance(given, (int, float)):
        given = {"p": given}
    if not isinstance(given, Mapping):
        raise ValueError(f"augmentation: expected {name} to be true, a probability or a mapping, got {given!r}.")
    refuse_unknown_options(given, [each.name for each in fields(kind)], f"augmentation.{name}")
    change = kind(**given)
    for each in fields(kind):
        value = getattr(change, each.name)
        if each.type is Range:
            is_range = isinstance(value, Sequence) and len(value) == 2 and all(map(_is_number, value))
            if not is_range or not 0 < value[0] <= value[1] or (each.name == "scale" and value[1] > 1):
                raise ValueError(f"augmentation.{name}: {each.name} must be [low, high] above 0, got {value!r}.")
        elif not _is_number(value) or (each.name == "p" and not 0 <= value <= 1):
            raise ValueError(f"augmentation.{name}: {each.name} must be a number (p in [0, 1]), got {value!r}.")
    if isinstance(change, Blur) and (change.kernel_size % 2 != 1 or change.kernel_size < 1):
        raise ValueError(f"augmentation.blur: kernel_size must be odd, got {change.kernel_size!r}.")
    if isinstance(change, Color) and not (
        0 <= change.hue <= 0.5 and min(change.brightness, change.contrast, change.saturation) >= 0
    ):
        raise ValueError("augmentation.color: expected hue in [0, 0.5] and the others from 0.")
    return change


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


class Augmentation:
    """
    What may happen to the clips of a training set.

    Args:
        blur, erase, flip, color, crop: Each `True` (with its defaults), a probability, or a mapping of what [`Blur`],
            [`Erase`], [`Flip`], [`Color`] and [`Crop`] have.
        consistent (`bool`, defaults to `True`): Draw once for a clip, not for each frame.

    Raises:
        TypeError: If a change has another name.
        ValueError: If a number is out of range.

    Example:
        >>> change = Augmentation(flip=1.0).draw((0, 1, 2))
        >>> change.before(torch.arange(3.0).expand(1, 3, 3, 3), 0)[0, 0, 0]
        tensor([2., 1., 0.])
    """

    def __init__(self, consistent: bool = True, **changes: Any):
        kinds = {kind.__name__.lower(): kind for kind in (Blur, Erase, Flip, Color, Crop)}
        refuse_unknown_options(changes, [*kinds, "consistent"], "augmentation")
        if not isinstance(consistent, bool):
            raise ValueError(f"augmentation: consistent must be true or false, got {consistent!r}.")
        self.consistent = consistent
        self.changes = {name: _one(kind, changes.get(name)) for name, kind in kinds.items()}

    def draw(self, key: Any) -> "ClipChange":
        """The changes of one clip; equal keys give equal ones."""
        return ClipChange(self, key if isinstance(key, tuple) else (key,))


def refuse_flips_of_sides(augmentation: Mapping[str, Any] | None, class_names: Iterable[str]) -> None:
    """Raise `ValueError` if videos would be flipped whose classes say left or right.

    Example:
        >>> refuse_flips_of_sides({"flip": 0.5}, ["run", "jump"])
        >>> refuse_flips_of_sides({"flip": 0.5}, ["TurnLeft", "TurnRight"])
        Traceback (most recent call last):
        ...
        ValueError: augmentation.flip makes left of right, which the class 'TurnLeft' tells apart: leave it out.
    """
    if not augmentation or not (flip := Augmentation(**augmentation).changes["flip"]) or flip.p == 0:
        return
    for name in class_names:
        apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)  # TurnLeft
        if {"left", "right"} & set(re.split(r"[\W\d_]+", apart.casefold())):
            raise ValueError(
                f"augmentation.flip makes left of right, which the class {name!r:.80} tells apart: leave it out."
            )


@dataclass
class ClipChange:
    """The changes of one clip. `number` of a frame says which one it is, where each is changed in its own way."""

    augmentation: Augmentation
    key: tuple
    _draws: dict[tuple, dict[str, float]] = field(default_factory=dict)

    def _drawn(self, name: str, number: int) -> dict[str, float] | None:
        """Numbers in [0, 1) for a change of a frame, or `None` if it does not happen to it."""
        change = self.augmentation.changes[name]
        if change is None:
            return None
        frame = 0 if self.augmentation.consistent else number
        if (name, frame) not in self._draws:
            names = ("p", "scale", "ratio", "top", "left", "sigma", "brightness", "contrast", "saturation", "hue")
            values = build_rng(*self.key, f"augmentation/{name}", frame).random(len(names))
            self._draws[name, frame] = dict(zip(names, values.tolist(), strict=True))
        drawn = self._draws[name, frame]
        return drawn if drawn["p"] < change.p else None

    def crop_box(self, height: int, width: int, number: int) -> tuple[int, int, int, int] | None:
        """Top, left, height and width of the part that is taken of a picture; `None` for all of it."""
        drawn = self._drawn("crop", number)
        return None if drawn is None else self._box("crop", drawn, height, width)

    def crop(self, square: np.ndarray, number: int) -> np.ndarray:
        """A picture `(height, width, 3)` in uint8, or a part of it."""
        if (box := self.crop_box(*square.shape[:2], number)) is None:
            return square
        top, left, height, width = box
        return square[top : top + height, left : left + width]

    def flips(self, number: int) -> bool:
        """Whether left becomes right."""
        return self._drawn("flip", number) is not None

    def before(self, frames: torch.Tensor, number: int) -> torch.Tensor:
        """What happens to a frame `(1, 3, side, side)` of values from 0 to 255, before normalisation."""
        if self.flips(number):
            frames = frames.flip(-1)
        if (drawn := self._drawn("color", number)) is not None:
            color, frames = self.augmentation.changes["color"], frames / 255
            for name in ("brightness", "contrast", "saturation"):
                factor = 1 + getattr(color, name) * (2 * drawn[name] - 1)
                frames = getattr(functional, f"adjust_{name}")(frames, max(factor, 0.0))
            frames = functional.adjust_hue(frames, color.hue * (2 * drawn["hue"] - 1)) * 255
        if (drawn := self._drawn("blur", number)) is not None:
            blur = self.augmentation.changes["blur"]
            sigma = blur.sigma[0] + drawn["sigma"] * (blur.sigma[1] - blur.sigma[0])
            frames = functional.gaussian_blur(frames, [blur.kernel_size] * 2, [sigma] * 2)
        return frames

    def after(self, frame: torch.Tensor, number: int) -> torch.Tensor:
        """What happens to a frame `(3, side, side)` after normalisation."""
        if (drawn := self._drawn("erase", number)) is not None:
            top, left, height, width = self._box("erase", drawn, *frame.shape[-2:])
            frame[:, top : top + height, left : left + width] = self.augmentation.changes["erase"].value
        return frame

    def _box(self, name: str, drawn: Mapping[str, float], height: int, width: int) -> tuple[int, int, int, int]:
        """Top, left, height and width of a part of the area."""
        change = self.augmentation.changes[name]
        area = height * width * (change.scale[0] + drawn["scale"] * (change.scale[1] - change.scale[0]))
        low, high = map(math.log, change.ratio)
        ratio = math.exp(low + drawn["ratio"] * (high - low))
        box_height = min(max(1, round(math.sqrt(area * ratio))), height)
        box_width = min(max(1, round(math.sqrt(area / ratio))), width)
        top, left = int(drawn["top"] * (height - box_height + 1)), int(drawn["left"] * (width - box_width + 1))
        return top, left, box_height, box_width


__all__ = ["Augmentation", "ClipChange", "refuse_flips_of_sides"]
