# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The segments that moment retrieval sees: which frames, by time stamps; padding; windows that share frames."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from numbered_videos import KINDS, read_number, write_numbered

from clipbert.processing import CIMHAVideoProcessor, VideoDecodeError


SIZE = 96  # of the numbered videos, so that their numbers can be read again
READABLE = {"size": SIZE, "do_normalize": False, "do_rescale": False}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    names = (("mp4_h264", 100), ("avi_mpeg4_b_frames", 50), ("mkv_h264", 3))
    return {name: write_numbered(folder / (name + KINDS[name].suffix), count, KINDS[name]) for name, count in names}


def wide_numbers(folder, count, **options):
    """Squares, of which nothing is cut off."""
    return write_numbered(folder / "numbered.mp4", count, size=(SIZE, SIZE), **options)


def test_frames_are_those_shown_at_the_middles_of_parts(tmp_path):
    path = wide_numbers(tmp_path, 100)  # 25 a second: 4 s, 8 segments of 12.5 frames, looked at after 3.125 and 9.375
    batch = CIMHAVideoProcessor(**READABLE)(path, return_metadata=True)
    expected = [[int(12.5 * n + 3.125), int(12.5 * n + 9.375)] for n in range(8)]
    assert batch["frame_indices"][0].tolist() == expected and batch["durations"].tolist() == [4.0]
    shown = [[read_number(frame.permute(1, 2, 0).numpy()) for frame in frames] for frames in batch["pixel_values"][0]]
    assert shown == expected
    np.testing.assert_allclose(batch["frame_seconds"][0], np.array(expected) / 25, atol=1e-6)


def test_time_stamps_decide_and_not_the_number_of_frames(tmp_path):
    times = [0, 1, 2, 3, 4, 20, 21, 22, 23, 24]
    path = write_numbered(tmp_path / "uneven.mkv", 10, KINDS["mkv_h264"], fps=10, times=times)
    batch = CIMHAVideoProcessor(size=16, min_segments=1, frames_per_segment=1)(path, return_metadata=True)
    duration = float(batch["durations"])
    middles = (np.arange(6) + 0.5) * duration / 6  # the frame of 0.4 s is shown until 2 s
    assert 2.5 <= duration < 2.75
    assert (
        batch["frame_indices"][0, :, 0].tolist()
        == [2, 4, 4, 4, 4, 9]
        == [int(np.flatnonzero(np.array(times) / 10 <= middle)[-1]) for middle in middles]
    )


def test_short_videos_repeat_frames_and_batches_pad(videos):
    processor = CIMHAVideoProcessor(size=16, segments_per_second=3)
    batch = processor([videos["mp4_h264"], videos["mkv_h264"]], return_metadata=True)
    assert batch["video_mask"].sum(dim=1).tolist() == [12, 8] and batch["pixel_values"].shape == (2, 12, 2, 3, 16, 16)
    assert batch["frame_mask"].sum(dim=(1, 2)).tolist() == [24, 16] and not batch["pixel_values"][1, 8:].any()
    short = batch["frame_indices"][1, :8].flatten().tolist()
    assert short == sorted(short) and set(short) == {0, 1, 2}
    for name, path in enumerate(("mp4_h264", "mkv_h264")):  # alone as in the batch
        alone = processor(videos[path])["pixel_values"][0]
        torch.testing.assert_close(batch["pixel_values"][name, : len(alone)], alone, atol=0, rtol=0)


@pytest.mark.parametrize("name", ["mp4_h264", "avi_mpeg4_b_frames"])
def test_a_part_is_as_if_it_were_the_video_and_windows_share_frames(videos, name):
    processor = CIMHAVideoProcessor(size=16, min_segments=2, frames_per_segment=1)
    whole = processor.plan(videos[name])[0]
    windows = processor.plan(videos[name], window_seconds=1.0)
    assert windows[0].span_se == (0.0, 1.0) and windows[-1].span_se[1] == whole.span_se[1]
    batch = processor([videos[name]] * len(windows), spans_se=[w.span_se for w in windows], return_metadata=True)
    assert batch["frame_indices"].tolist() == [w.frame_indices.tolist() for w in windows]
    chunks = list(processor.stream(videos[name], windows, chunk_size=3))
    numbers = np.concatenate([chunk.frame_indices for chunk in chunks])
    assert len(numbers) == len(set(numbers.tolist())) < batch["frame_indices"].numel()  # each once
    frames = torch.stack([frame for chunk in chunks for frame in chunk.frames])
    assert max(len(chunk.frames) for chunk in chunks) == 3
    for place, window in enumerate(windows):
        taken = frames[np.searchsorted(numbers, window.frame_indices)]
        torch.testing.assert_close(taken, batch["pixel_values"][place], atol=0, rtol=0)


def test_random_frames_stay_in_their_parts_and_depend_on_the_seed_alone(videos):
    processor = CIMHAVideoProcessor(size=16, sampling="random", frames_per_segment=2)

    def seconds(*seeds, batch=1):
        return processor([videos["mp4_h264"]] * batch, seeds=list(seeds), return_metadata=True)["frame_seconds"]

    first = seconds((0, 1, 2))
    assert torch.equal(first[0], seconds((5, 5, 5), (0, 1, 2), batch=2)[1])
    assert not torch.equal(first, seconds((0, 2, 2)))
    parts = (first.flatten() / 0.25 + 1e-6).floor()  # a frame is shown from before its part on
    assert ((parts - torch.arange(16)).abs() <= 1).all()
    middle = CIMHAVideoProcessor(size=16)(videos["mp4_h264"], return_metadata=True)["frame_seconds"]
    assert torch.equal(processor(videos["mp4_h264"], return_metadata=True)["frame_seconds"], middle)  # without seeds


def test_a_few_segments_alone(videos):
    processor, names = CIMHAVideoProcessor(size=16), ["mp4_h264", "avi_mpeg4_b_frames"]
    paths, segments = [videos[name] for name in names], [[6, 1, 3], [2]]
    whole, some = processor(paths, return_metadata=True), processor(paths, segments=segments, return_metadata=True)
    assert some["grad_segments"].tolist() == [[1, 3, 6], [2, -1, -1]]
    assert some["frame_mask"].tolist() == [[[1, 1]] * 3, [[1, 1], [0, 0], [0, 0]]]
    assert torch.equal(some["video_mask"], whole["video_mask"]) and torch.equal(some["durations"], whole["durations"])
    for place, rows in enumerate(([1, 3, 6], [2])):
        for name in ("pixel_values", "frame_indices", "frame_seconds"):
            torch.testing.assert_close(some[name][place, : len(rows)], whole[name][place, rows], atol=0, rtol=0)
    assert [len(metadata.frames_indices) for metadata in some["video_metadata"]] == [6, 2]  # no other was decoded
    for wrong in ([], [8], [-1]):
        with pytest.raises(VideoDecodeError, match="mp4_h264.mp4.*expected some from 0 to 7"):
            processor(paths[:1], segments=[wrong])
    with pytest.raises(ValueError, match="segments of 2 videos for 1"):
        processor(paths[:1], segments=segments)


def test_saved_and_loaded(videos, tmp_path):
    processor = CIMHAVideoProcessor(size=16, segments_per_second=1.5, max_segments=20, image_mean=[0.5] * 3)
    processor.save_pretrained(tmp_path)
    again = CIMHAVideoProcessor.from_pretrained(tmp_path)
    assert again.to_dict() == processor.to_dict()
    expected = processor(videos["mp4_h264"])["pixel_values"]
    torch.testing.assert_close(again(videos["mp4_h264"])["pixel_values"], expected, atol=0, rtol=0)


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"min_segments": 9, "max_segments": 8}, ValueError, "min_segments <= max_segments"),
        ({"segments_per_second": 0}, ValueError, "segments_per_second must be"),
        ({"sampling": "middle"}, ValueError, "sampling to be uniform or random"),
        ({"max_segments": 2**16, "frames_per_segment": 2}, ValueError, "more than 65536 frames"),
        ({"size": {"height": 3, "width": 4}}, ValueError, "a square"),
        ({"num_frames": 4}, TypeError, "unknown|no option"),
        ({"segment_per_second": 4}, TypeError, "did you mean"),
    ],
)
def test_options_that_cannot_be(options, error, message):
    with pytest.raises(error, match=message):
        CIMHAVideoProcessor(**options)


def test_faults_name_the_file(videos, tmp_path):
    processor, broken = CIMHAVideoProcessor(size=16), tmp_path / "broken.mp4"
    broken.write_bytes(videos["mp4_h264"].read_bytes()[:2000])
    with pytest.raises(VideoDecodeError, match="broken.mp4"):
        processor(broken)
    with pytest.raises(VideoDecodeError, match="broken.mp4"):
        processor.plan(broken)
    for call in (
        lambda span: processor(videos["mp4_h264"], spans_se=[span]),
        lambda span: processor.plan(videos["mp4_h264"], span),
    ):
        with pytest.raises(VideoDecodeError, match="mp4_h264.mp4.*lasts 4.00 s"):
            call((5.0, 6.0))
    with pytest.raises(VideoDecodeError, match="video_metadata"):
        processor(np.zeros((30, 16, 16, 3), np.uint8))


@pytest.mark.slow
@pytest.mark.skipif("CLIPBERT_DATA" not in os.environ, reason="set CLIPBERT_DATA to a folder of real videos")
def test_odd_real_files_are_seen_alike_in_one_pass_or_named():
    folder = Path(os.environ["CLIPBERT_DATA"]) / "videos" / "technical"
    processor, seen = CIMHAVideoProcessor(size=32), []
    for path in sorted(folder.iterdir()):
        try:
            batch, (whole,) = processor(path, return_metadata=True), processor.plan(path)
            assert batch["frame_indices"][0].tolist() == whole.frame_indices.tolist(), path.name
            chunks = list(processor.stream(path, [whole], chunk_size=8))
        except VideoDecodeError as error:
            assert path.name in str(error)
            continue
        frames = torch.stack([frame for chunk in chunks for frame in chunk.frames])
        places = np.searchsorted(np.concatenate([chunk.frame_indices for chunk in chunks]), whole.frame_indices)
        torch.testing.assert_close(frames[places], batch["pixel_values"][0], atol=0, rtol=0, msg=path.name)
        seen.append(path.name)
    assert len(seen) > 10
