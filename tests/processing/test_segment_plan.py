# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Segments and windows cover a video, in order, whatever its length."""

import numpy as np
import pytest

from clipbert.processing import plan_segments, plan_windows


@pytest.mark.parametrize("duration", [0.04, 0.1, 3.9, 4.0, 4.01, 30.7, 64.0, 3600.0])
@pytest.mark.parametrize("frames", [1, 2, 5])
def test_segments_are_equal_and_look_at_the_middles_of_their_parts(duration, frames):
    plan = plan_segments(duration, frames_per_segment=frames)
    assert plan.num_segments == min(max(int(np.ceil(round(duration * 2, 6))), 8), 128)
    assert plan.borders_s[0] == 0 and plan.borders_s[-1] == pytest.approx(duration)
    unit = duration / plan.num_segments
    np.testing.assert_allclose(np.diff(plan.borders_s), unit)
    parts = plan.borders_s[:-1, None] + (np.arange(frames) + 0.5) * unit / frames
    np.testing.assert_allclose(plan.frames_s, parts)


@pytest.mark.parametrize("duration, rate, expected", [(0.1, 30, 3), (10.0, 0.1, 1), (10.1, 0.1, 2)])
def test_rounding_adds_no_segment(duration, rate, expected):
    assert plan_segments(duration, rate, min_segments=1).num_segments == expected


@pytest.mark.parametrize("duration, window, overlap", [(3600.0, 150.0, 0.5), (151.0, 150.0, 0.5), (40.0, 10.0, 0.0)])
def test_windows_cover_the_video(duration, window, overlap):
    windows = np.array(plan_windows(duration, window, overlap))
    assert windows[0, 0] == 0 and windows[-1, 1] == duration
    np.testing.assert_allclose(windows[:, 1] - windows[:, 0], window)
    assert (np.diff(windows[:, 0]) > 0).all() and (windows[1:, 0] <= windows[:-1, 1] + 1e-9).all()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: plan_segments(0.0), "duration_s must be"),
        (lambda: plan_segments(float("nan")), "duration_s must be"),
        (lambda: plan_segments(1.0, min_segments=9, max_segments=8), "min_segments <= max_segments"),
        (lambda: plan_segments(1.0, frames_per_segment=0), "frames_per_segment"),
        (lambda: plan_windows(10.0, 0.0), "window_seconds must be"),
        (lambda: plan_windows(10.0, 5.0, overlap=1.0), "overlap must lie"),
    ],
)
def test_numbers_that_cannot_be(call, message):
    with pytest.raises(ValueError, match=message):
        call()
