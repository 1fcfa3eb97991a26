# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Splits by name: their files in words, shares of their rows, and videos that are held out of training."""

import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from itertools import groupby


def describe_choices(choices: list[tuple[str, ...]]) -> str:
    """`train.json, or annotations.zip`; `a.csv or a.txt with b.json or b.zip` where all combinations are there."""
    described = []
    for length, alike in groupby(choices, key=len):
        alike = list(alike)
        parts = [list(dict.fromkeys(names)) for names in zip(*alike, strict=True)]
        if length > 1 and math.prod(map(len, parts)) == len(alike):
            described.append(" with ".join(" or ".join(names) for names in parts))
        else:
            described += [" with ".join(names) for names in alike]
    return ", or ".join(described)


def in_rows(split: str, sizes: Mapping[str, int]) -> str:
    """`train[:95%]` as `train[:19]`, rounded as `datasets` does, but with a row on either side of every cut."""

    def place(share: str | None, size: int) -> str:
        if share is None:
            return ""
        percent = int(share) if int(share) >= 0 else 100 + int(share)
        cut = round(percent * size / 100)
        return str(min(max(cut, 1), size - 1) if 0 < percent < 100 else cut)

    def replace(match: re.Match) -> str:
        name, first, last = match.groups()
        size = sizes.get(name, 0)
        return f"{name}[{place(first, size)}:{place(last, size)}]" if size > 1 else match.group()

    return re.sub(r"(\w+)\[(?:(-?\d+)%)?:(?:(-?\d+)%)?\]", replace, split)


def held_out_up_to(groups: Iterable[str], fraction: float) -> float:
    """Groups with a `hash_fraction` up to this are held out: `fraction`, moved so far that one group is on either side.

    A group is what has to stay together: a video with its captions, or all that was cut from one recording.
    """
    seen: set[float] = set()
    for group in groups:
        seen.add(hash_fraction(group))
        if len(seen) > 1 and min(seen) <= fraction < max(seen):
            return fraction
    ordered = sorted(seen) or [fraction]
    return ordered[0] if fraction < ordered[0] else ordered[max(len(ordered) - 2, 0)]


def hash_fraction(text: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
