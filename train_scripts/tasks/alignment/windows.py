# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Which sentences meet which seconds of a long video: windows that move along it, each with the sentences said about then.

The rules are those of TAN's evaluation on HTM-Align. When a sentence is seen is what is asked, so nothing here knows it:
only of sentences that are not seen at all is it known when they are said, and they tell about when their neighbours are.
"""

from collections.abc import Sequence

import numpy as np


def place_windows(num_seconds: int, window_s: int, step_s: int) -> list[range]:
    """
    Windows that move along a video, as long as half of one lies in it at least.

    Example:
        >>> place_windows(100, 64, 16)
        [range(0, 64), range(16, 80), range(32, 96), range(48, 100), range(64, 100)]
    """
    starts = range(0, max(num_seconds - window_s // 2, 1), step_s)
    return [range(start, min(start + window_s, num_seconds)) for start in starts]


def choose_sentences(
    said_s: Sequence[float | None], windows: Sequence[range], window_s: int, step_s: int
) -> np.ndarray:
    """
    The sentences that each window is compared with: those that stand between the first and the last that is known to be said
    within a window's length of it. The windows next to the beginning and the end also take all before, and all behind.

    Args:
        said_s (`Sequence[float | None]`): For the sentences of a video, in order, the second in which they are said, or `None`
            where that would tell when they are seen.
        windows (`Sequence[range]`): What `place_windows` returned.
        window_s, step_s (`int`): Length of a window, and by how much it moves.

    Returns:
        `np.ndarray` of shape `(windows, sentences)`: Booleans. Sentences that no window takes are compared with all of them:
        nothing is known of when they are said.

    Example:
        >>> windows = place_windows(400, 64, 16)
        >>> chosen = choose_sentences([10.0, None, 200.0, None, 390.0], windows, 64, 16)
        >>> chosen[0].tolist(), chosen[12].tolist()  # the seconds from 0, from 192; two sentences that no window takes
        ([True, True, False, True, False], [False, True, True, True, False])
    """
    chosen = np.zeros((len(windows), len(said_s)), dtype=bool)
    known = [(place, second) for place, second in enumerate(said_s) if second is not None]
    near_an_end = window_s // step_s  # windows
    for number, window in enumerate(windows):
        first_s, last_s = window.start - window_s, window.start + 2 * window_s
        places = [place for place, second in known if first_s <= second <= last_s]
        if places:
            first = 0 if number < near_an_end else places[0]
            last = len(said_s) - 1 if number >= len(windows) - near_an_end else places[-1]
            chosen[number, first : last + 1] = True
    chosen[:, ~chosen.any(axis=0)] = True
    return chosen


__all__ = ["choose_sentences", "place_windows"]
