# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Compare two classifiers on the same videos: their accuracies with intervals, and McNemar's exact test.

Run:     python train_scripts/compare.py outputs/RUN/predictions/test outputs/OTHER/predictions/test

Intervals of two models that overlap say little, since both saw the same videos: the test looks at those videos alone that
one of them knows and the other does not. With several seeds, compare the runs seed by seed.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from clipbert.support.terminal import printable, printable_lines
from clipbert.train_scripts.tasks.classification.comparison import compare_predictions


LEVEL = 0.05  # of the p-value below which a difference is called one


def describe(found: dict[str, Any], names: Sequence[str]) -> str:
    """The comparison in words."""
    lines = []
    for name, model in zip(names, (found["first"], found["second"]), strict=True):
        low, high = model["interval"]
        lines.append(
            f"{100 * model['accuracy']:5.1f} % [{100 * low:.1f} to {100 * high:.1f}]   {printable(str(name))}"
        )
    left_out = f" ({found['num_left_out']} left out)" if found["num_left_out"] else ""
    verdict = "a difference" if found["p_value"] < LEVEL else "no clear difference"
    return "\n".join(
        [
            f"{found['num_examples']} videos{left_out}",
            *lines,
            f"{found['num_only_first']} are known to the first alone, {found['num_only_second']} to the second alone: "
            f"p = {found['p_value']:.3g} (McNemar, exact), {verdict}.",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("predictions", nargs=2, metavar="PREDICTIONS", help="folder with records.json, of each model")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    given = parser.parse_args(arguments)
    found = compare_predictions(*given.predictions)
    print(json.dumps(found, indent=1) if given.json else describe(found, given.predictions))
    return found


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(printable_lines(str(error)))
