# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""How much of a split is left, so that a metric says what it stands on."""

from dataclasses import dataclass

from datasets import Dataset


@dataclass(frozen=True)
class Coverage:
    """How many rows of a split a metric stands on; `str()` is `950 of 1,000 rows (95.0 %)`."""

    rows: int
    total: int

    @property
    def is_complete(self) -> bool:
        return self.rows == self.total

    @property
    def share(self) -> float:
        return self.rows / max(self.total, 1)

    def __str__(self) -> str:
        return f"{self.rows:,} of {self.total:,} rows ({100 * self.share:.1f} %)"


def compute_coverage(*parts: Dataset) -> Coverage:
    """
    What is left of the splits that datasets of `load_benchmark` come from, after skipped and missing videos and
    whatever `select` and `filter` took away.
    """
    total = 0
    for dataset in parts:
        split = str(dataset.split or "").partition("[")[0]
        whole = (dataset.info.splits or {}).get(split)
        total += whole.num_examples if whole else len(dataset)
    return Coverage(rows=sum(map(len, parts)), total=total)
