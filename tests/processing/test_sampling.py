# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Choice of frames: coverage and edges of even placement, and the recorded choices of the original code."""

import doctest
import itertools
import json
import random
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from clipbert.processing import sampling
from clipbert.processing.sampling import (
    STRATEGIES,
    VideoTiming,
    build_rng,
    official_positions,
    official_window,
    sample_clips,
)


FRAME_COUNTS = [1, 2, 7, 8, 16, 300]
# The recorded names of strategies, and ours.
STRATEGY_OF_RECORD = {
    "uniform": "whole_video",
    "start": "start",
    "middle": "middle",
    "end": "end",
    "rand": "random",
}


def test_examples_of_the_docstrings():
    results = doctest.testmod(sampling)
    assert results.attempted >= 5 and results.failed == 0


# --- even placement


@pytest.mark.parametrize("total", FRAME_COUNTS)
@pytest.mark.parametrize("num_clips", [1, 2, 3, 8, 16])
@pytest.mark.parametrize("num_frames", [1, 2, 7, 16])
def test_every_choice_is_in_range_and_in_order(total, num_clips, num_frames):
    for strategy, fps, rule in itertools.product(STRATEGIES, [None, 0.5, 2, 7.3, 100], ["repeat", "mask"]):
        if strategy in ("start", "middle", "end") and (num_clips > 1 or fps is None):
            continue
        options = {"num_clips": num_clips, "num_frames": num_frames, "fps": fps, "strategy": strategy}
        sample = sample_clips(total, 29.97, **options, short_video=rule, rng=build_rng(0))
        indices, clip_mask = sample

        assert indices.shape == (num_clips, num_frames) and indices.dtype == np.int64
        assert clip_mask.shape == (num_clips,) and clip_mask.dtype == bool
        assert indices.min() >= 0 and indices.max() < total
        assert (np.diff(indices, axis=1) >= 0).all(), "frames of a clip go back in time"
        assert (np.diff(indices, axis=0) >= 0).all(), "clips go back in time"
        assert clip_mask[0] and (rule == "mask" or clip_mask.all())
        again = sample_clips(total, 29.97, **options, short_video=rule, rng=build_rng(0))
        np.testing.assert_array_equal(again.frame_indices, indices)


@pytest.mark.parametrize("num_clips, num_frames", itertools.product([1, 2, 5, 16], [1, 2, 7, 8, 16, 300]))
@pytest.mark.parametrize("strategy", ["uniform", "whole_video"])
def test_equal_parts_are_covered_each_once(num_clips, num_frames, strategy):
    """As many frames as the video has, in any number of clips, are all its frames."""
    total = num_clips * num_frames
    sample = sample_clips(total, num_clips=num_clips, num_frames=num_frames, strategy=strategy)
    assert sample.frame_indices.ravel().tolist() == list(range(total))


def test_uniform_clips_reach_both_ends():
    # 2 frames at 2 fps of a video with 30 fps: a clip is 30 frames, its frames are numbers 7 and 22 of it
    indices = sample_clips(300, 30.0, num_clips=4, num_frames=2, fps=2).frame_indices
    assert indices.tolist() == [[7, 22], [97, 112], [187, 202], [277, 292]]
    dense = sample_clips(300, 30.0, num_clips=4, num_frames=30, fps=30).frame_indices
    assert dense[0].tolist() == list(range(30)) and dense[-1].tolist() == list(range(270, 300))


def test_start_middle_and_end_are_what_they_say():
    options = {"num_frames": 4, "fps": 10}
    assert sample_clips(100, 10.0, strategy="start", **options).frame_indices.tolist() == [[0, 1, 2, 3]]
    assert sample_clips(100, 10.0, strategy="middle", **options).frame_indices.tolist() == [[48, 49, 50, 51]]
    assert sample_clips(100, 10.0, strategy="end", **options).frame_indices.tolist() == [[96, 97, 98, 99]]
    single = sample_clips(100, 10.0, strategy="uniform", **options).frame_indices
    np.testing.assert_array_equal(single, sample_clips(100, 10.0, strategy="middle", **options).frame_indices)


def test_whole_video_ignores_the_rate():
    with_fps = sample_clips(90, 30.0, num_frames=3, fps=2, strategy="whole_video")
    assert with_fps.frame_indices.tolist() == [[15, 45, 75]]
    assert sample_clips(90, num_frames=3, strategy="whole_video").frame_indices.tolist() == [[15, 45, 75]]


def test_random_clips_can_lie_anywhere():
    starts = np.concatenate(
        [
            sample_clips(40, 10.0, num_clips=3, num_frames=10, fps=10, strategy="random", rng=build_rng(seed))
            .frame_indices[:, 0]
            for seed in range(200)
        ]
    )  # fmt: skip
    assert set(starts.tolist()) == set(range(31)), "a clip of 10 frames has 31 places in 40 frames"


def test_random_frames_of_equal_parts_stay_in_their_part():
    drawn = np.stack(
        [
            sample_clips(64, num_clips=2, num_frames=4, strategy="random", rng=build_rng(seed)).frame_indices
            for seed in range(300)
        ]
    )  # (draws, 2, 4)
    parts = drawn.reshape(300, 8)
    for part in range(8):
        assert set(parts[:, part].tolist()) == set(range(8 * part, 8 * part + 8))


def test_short_video_rules():
    # a clip of 4 s, a video of 3 s
    short = {"num_clips": 3, "num_frames": 4, "fps": 1}
    repeated = sample_clips(30, 10.0, **short, short_video="repeat")
    assert repeated.clip_mask.tolist() == [True, True, True]
    assert repeated.frame_indices.tolist() == [[3, 11, 18, 26]] * 3  # the clip becomes the whole video
    masked = sample_clips(30, 10.0, **short, short_video="mask")
    assert masked.clip_mask.tolist() == [True, False, False]
    np.testing.assert_array_equal(masked.frame_indices, repeated.frame_indices)
    with pytest.raises(ValueError, match=r"too short: a clip of 40\.00 frames is longer than the video of 30"):
        sample_clips(30, 10.0, **short, short_video="error")


def test_mask_keeps_as_many_clips_as_have_a_place():
    masked = sample_clips(12, 10.0, num_clips=5, num_frames=5, fps=5, short_video="mask")  # clips of 10 frames
    assert masked.clip_mask.tolist() == [True, True, True, False, False]  # starting at 0, 1 and 2
    assert masked.frame_indices[:3, 0].tolist() == [1, 2, 3]
    assert (masked.frame_indices[3:] == masked.frame_indices[2]).all()
    with pytest.raises(ValueError, match="has 3 places for a clip, not 5"):
        sample_clips(12, 10.0, num_clips=5, num_frames=5, fps=5, short_video="error")

    parts = sample_clips(3, num_clips=8, short_video="mask")
    assert parts.clip_mask.sum() == 3 and parts.frame_indices[:3].ravel().tolist() == [0, 1, 2]


def test_error_refuses_repeats_within_a_clip():
    with pytest.raises(ValueError, match=r"a clip of 2\.00 frames cannot give 8 different ones"):
        sample_clips(50, 3.0, num_frames=8, fps=12, short_video="error")
    sample_clips(50, 3.0, num_frames=8, fps=12, short_video="mask")  # only `error` minds


def test_long_enough_videos_are_the_same_under_every_rule():
    samples = [
        sample_clips(100, 25.0, num_clips=4, num_frames=3, fps=3, short_video=rule)
        for rule in ("repeat", "mask", "error")
    ]
    assert all(sample.clip_mask.all() for sample in samples)
    assert len({sample.frame_indices.tobytes() for sample in samples}) == 1


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"total_num_frames": 0}, "total_num_frames must be a whole number of at least 1, got 0"),
        ({"num_clips": 0}, "num_clips must be"),
        ({"num_frames": 1.5}, "num_frames must be"),
        ({"fps": 0}, "fps must be a positive number"),
        ({"fps": 2, "video_fps": float("nan")}, "video_fps must be a positive number"),
        ({"fps": 2}, "needs the frame rate of the video"),
        ({"strategy": "central"}, "Unknown strategy 'central': choose one of uniform, random, start"),
        ({"placement": "evn"}, "Unknown placement 'evn': choose one of even, official"),
        ({"short_video": "loop"}, "Unknown short_video 'loop': choose one of repeat, mask, error"),
        ({"strategy": "random"}, "needs rng"),
        ({"strategy": "middle", "num_clips": 2, "fps": 2}, "names one clip"),
        ({"strategy": "start"}, "needs fps"),
        ({"placement": "official"}, "needs timing"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        sample_clips(**{"total_num_frames": 10} | arguments)


# --- random numbers


class _Draws(Dataset):
    """Random clips of sample i in a given epoch, as a training set would choose them."""

    def __init__(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return 9

    def __getitem__(self, sample):
        rng = build_rng(42, self.epoch, sample)
        return sample_clips(500, 25.0, num_clips=4, num_frames=2, fps=2, strategy="random", rng=rng).frame_indices


def test_random_choice_depends_on_the_keys_alone():
    """Whatever the number of loader workers and the order of samples."""
    for epoch in range(2):
        draws = _Draws(epoch)
        expected = [draws[sample].tolist() for sample in range(9)]
        assert len({json.dumps(drawn) for drawn in expected}) == 9
        assert expected[0] != _Draws(epoch + 1)[0].tolist()
        for num_workers in (0, 1, 2):
            order = random.Random(num_workers).sample(range(9), 9)
            loader = DataLoader(draws, batch_size=None, sampler=order, num_workers=num_workers)
            drawn = dict(zip(order, (frames.tolist() for frames in loader), strict=True))
            assert [drawn[sample] for sample in range(9)] == expected


def test_rng_keys():
    assert build_rng(1, np.int64(2)).random() == build_rng(1, 2).random()
    assert build_rng(1, 2).random() != build_rng(12).random()
    assert build_rng("1").random() != build_rng(1).random()
    assert build_rng(-1).random() != build_rng(1).random()
    # Fixed for good: recorded runs rely on it.
    assert build_rng(42, 0, "video7500").random() == 0.5255349272919697
    with pytest.raises(ValueError, match="at least one key"):
        build_rng()
    with pytest.raises(TypeError, match="must be integers or strings, got 1.5"):
        build_rng(1.5)


# --- official placement


@pytest.fixture(scope="session")
def record(small_parity_dir):
    return json.loads((small_parity_dir / "sampling" / "sampling.json").read_text())


def _timing(path) -> VideoTiming | None:
    """Header and time stamps by a plain decode, independent of our decoder; `None` for what is no video."""
    try:
        container = av.open(str(path))
    except av.FFmpegError:
        return None
    with container:
        stream, pts, is_complete = container.streams.video[0], [], True
        try:
            pts.extend(frame.pts for frame in container.decode(stream))
        except av.error.InvalidDataError:
            is_complete = False
        return VideoTiming(
            np.array(pts),
            stream.frames,
            stream.duration,
            float(stream.average_rate),
            stream.time_base,
            pts[0],
            is_complete,
        )


@pytest.fixture(scope="session")
def timings(small_parity_dir, record):
    return {name: _timing(small_parity_dir / "sampling" / "videos" / name) for name in record["videos"]}


def _official(timing, **arguments):
    """Frames of each clip, `None` where the original returned nothing."""
    try:
        sample = sample_clips(max(len(timing.frame_pts), 1), timing=timing, placement="official", **arguments)
    except ValueError:
        return [None] * arguments.get("num_clips", 1)
    clips = zip(sample.frame_indices.tolist(), sample.clip_mask, strict=True)
    return [frames if exists else None for frames, exists in clips]


def test_record_is_whole(record):
    assert sum(len(entries["single"]) for entries in record["videos"].values()) == 16 * 28


def test_headers_are_those_of_the_record(record, timings):
    for name, entry in record["videos"].items():
        timing = timings[name]
        if entry["stream"] is None:
            assert timing is None
            continue
        assert timing.header_num_frames == entry["stream"]["frames"]
        assert timing.header_duration == entry["stream"]["duration"]
        assert timing.time_base == Fraction(entry["stream"]["time_base"])
        assert timing.header_fps == float(Fraction(entry["stream"]["average_rate"]))


def test_official_single_clips(record, timings):
    # The one seek of the record that lands behind its target, so that the first frame of the window is lost there;
    # decoding from the start gives these.
    full_decode = {1: [23], 2: [23, 37], 3: [23, 30, 37]}
    for name, entry in record["videos"].items():
        if timings[name] is None:
            assert all(case["frames"] is None for case in entry["single"] + entry["rand"])
            continue
        for case in entry["single"] + entry["rand"]:
            [frames] = _official(
                timings[name],
                num_frames=case["num_frames"],
                fps=case["target_fps"],
                strategy=STRATEGY_OF_RECORD[case["strategy"]],
                rng=random.Random(case.get("seed")),
            )
            accepted = [case["frames"]]
            if (name, case.get("seed")) == ("h264_vfr_40f.mp4", 2):
                accepted.append(full_decode.get(case["num_frames"]))
            assert frames in accepted, (name, case)


def test_official_clips_of_an_evaluation(record, timings):
    """Clip k of n, with the distrust of durations that the frames do not reach."""
    for name, entry in record["videos"].items():
        if timings[name] is None:
            continue
        for case in entry["multi"]:
            options = {key: case[key] for key in ("num_clips", "num_frames")}
            frames = _official(timings[name], **options, fps=case["target_fps"], strategy="uniform")
            assert frames == [clip["frames"] for clip in case["clips"]], (name, case)


def test_official_random_clips(record, timings):
    """One random number a clip; clips without a frame are masked, and fail without a mask."""
    for name, entry in record["videos"].items():
        if timings[name] is None:
            continue
        for case in entry["rand_multi"]:
            rng = random.Random(case["seed"])
            options = {"num_frames": case["num_frames"], "fps": case["target_fps"], "strategy": "random"}
            one_by_one = [_official(timings[name], **options, rng=rng)[0] for _ in range(case["num_clips"])]
            assert one_by_one == case["frames"], (name, case)
            if timings[name].is_complete:
                options |= {"num_clips": case["num_clips"], "rng": random.Random(case["seed"])}
                assert _official(timings[name], **options, short_video="mask") == case["frames"], (name, case)


def test_official_window_and_positions(record):
    for case in record["get_window"]:
        is_random = case["clip_idx"] < 0
        window = official_window(
            case["video_size"],
            case["clip_size"],
            None if is_random else case["clip_idx"],
            case["num_clips"] or 1,
            random.Random(case.get("seed")),
        )
        assert list(window) == case["start_end"]
    for case in record["linspace_pick"]:
        assert official_positions(case["start"], case["end"], case["n"], case["n_frames"]).tolist() == case["idx"]


def test_official_positions_round_like_the_original():
    """Truncation makes the last bit of a float32 count: the positions equal those of `torch.linspace`."""
    rng = np.random.default_rng(0)
    for _ in range(3000):
        start = rng.choice([0.0, 100 * rng.random()])
        end = start + rng.choice([float(rng.integers(400)), 300 * rng.random()])
        num_frames = int(rng.integers(1, 33))
        expected = torch.linspace(start, end, num_frames).clamp(0, 250).long().tolist()
        assert official_positions(start, end, num_frames, 251).tolist() == expected


def test_official_differences_from_even():
    """What a reader of the paper would not expect: see the docstring of the module."""
    timing = VideoTiming.constant_rate(300, 30.0)
    options = {"total_num_frames": 300, "video_fps": 30.0, "num_frames": 2, "fps": 2, "timing": timing}
    assert sample_clips(**options, strategy="middle", placement="official").frame_indices.tolist() == [[90, 119]]
    assert sample_clips(**options, strategy="middle").frame_indices.tolist() == [[142, 157]]
    last = sample_clips(**options, num_clips=4, placement="official").frame_indices[-1]
    assert last.tolist() == [202, 231]  # of 300: the last clip starts at 3/4 of the room


def test_official_reasons_for_nothing():
    held = np.arange(20) * 512
    options = {"placement": "official", "num_frames": 2, "fps": 2}
    hold = VideoTiming(held, 20, 2 * 20 * 512, 5.0)  # the last frame stays for half of the video
    with pytest.raises(ValueError, match="No frame lies in clip 2 of 3"):
        sample_clips(20, **options, strategy="random", num_clips=3, timing=hold, rng=_Fixed([0.0, 0.1, 1.0]))
    masked = sample_clips(
        20, **options, strategy="random", num_clips=3, timing=hold, rng=_Fixed([0.0, 0.1, 1.0]), short_video="mask"
    )
    assert masked.clip_mask.tolist() == [True, True, False]
    assert masked.frame_indices[2].tolist() == masked.frame_indices[0].tolist()

    cut_off = VideoTiming(held, 100, 100 * 512, 25.0, is_complete=False)
    sample_clips(100, **options, strategy="start", timing=VideoTiming(held, 100, 100 * 512, 15.0, is_complete=False))
    with pytest.raises(ValueError, match="The file ends before the clip does: it holds 20 of 100 frames"):
        sample_clips(100, **options, strategy="middle", timing=cut_off)
    with pytest.raises(ValueError, match="ends early: 20 of 100 frames"):
        sample_clips(100, **options, num_clips=2, timing=cut_off)
    with pytest.raises(ValueError, match="a duration but zero frames"):
        sample_clips(20, **options, timing=VideoTiming(held, 0, 20 * 512, 25.0))
    with pytest.raises(ValueError, match="needs time stamps"):
        sample_clips(20, **options, timing=VideoTiming(None, 20, 20 * 512, 25.0))
    with pytest.raises(ValueError, match="which its header does not state"):
        sample_clips(20, **options, timing=VideoTiming(held, 20, 20 * 512, None))
    with pytest.raises(ValueError, match=r"a clip of 25\.00 frames is longer"):
        sample_clips(20, **options, timing=VideoTiming(held, 20, 20 * 512, 25.0), short_video="error")
    with pytest.raises(ValueError, match="one clip that is the whole video, got num_clips=2"):
        sample_clips(20, **options, num_clips=2, strategy="whole_video", timing=hold)


class _Fixed:
    def __init__(self, numbers):
        self.numbers = iter(numbers)

    def random(self):
        return next(self.numbers)
