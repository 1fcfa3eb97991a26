# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The frames that CNN-RNN classifiers see: which ones, the square in the middle, padding, what training changes."""

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from numbered_videos import KINDS, plain_decode, read_number, write_numbered

from clipbert.processing import CNNRNNVideoProcessor, VideoDecodeError
from clipbert.processing.augmentation import Augmentation
from clipbert.processing.streaming import stream_video
from clipbert.processing.transforms import centre_square, resize_as_cv2
from clipbert.processing.video_processing_cnn_rnn import PRESETS
from clipbert.processing.video_reader import VideoReader
from clipbert.processing.video_sources import IndexMismatchError
from clipbert.processing.window_sampling import SAMPLINGS, sample_windows


def frames_of(total, **options):
    return [row[row >= 0].tolist() for row in sample_windows(total, 25.0, **options).frame_indices]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    return {
        name: write_numbered(folder / (name + KINDS[name].suffix), length, KINDS[name])
        for name, length in (("mp4_h264", 40), ("avi_mpeg4_b_frames", 30), ("mkv_h264", 5))
    }


# --- which frames


@pytest.mark.parametrize("total", [1, 2, 15, 16, 17, 1000])
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_frames_rise_and_none_comes_twice(sampling, total):
    options = {"num_frames": 16, "num_clips": 3, "stride": 2, "rate": 7.0}
    for window in frames_of(total, sampling=sampling, rng=np.random.default_rng(0), **options):
        assert window and window == sorted(set(window)) and window[0] >= 0 and window[-1] < total
        if sampling in ("uniform", "segment_random"):
            assert len(window) == min(16, total)


def test_formulas():
    assert frames_of(1000, num_frames=16) == [[int((k + 0.5) * 1000 / 16) for k in range(16)]]
    assert frames_of(15, num_frames=16) == [list(range(15))]
    assert frames_of(250, sampling="first", num_frames=100) == [list(range(100))]
    assert frames_of(7, sampling="all", stride=3) == [[0, 3, 6]]
    assert frames_of(20, sampling="multi_clip", num_clips=2, num_frames=2) == [[2, 7], [12, 17]]
    assert frames_of(3, sampling="multi_clip", num_clips=5, num_frames=4) == [[0], [1], [2]]
    # 50 frames last 2 s: the middles of its 4 halves of a second, at 25 frames a second
    assert frames_of(50, sampling="fps", rate=2.0) == [[6, 19, 31, 44]]
    drawn = frames_of(160, sampling="segment_random", num_frames=16, rng=np.random.default_rng(1))[0]
    assert [number // 10 for number in drawn] == list(range(16)) and drawn != frames_of(160, num_frames=16)[0]
    assert frames_of(160, sampling="segment_random") == frames_of(160)


def test_seconds_are_those_of_time_stamps(tmp_path):
    times = [0, 1, 2, 3, 4, 20, 21, 22, 23, 24]
    path = write_numbered(tmp_path / "uneven.mkv", 10, KINDS["mkv_h264"], fps=10, times=times)
    batch = CNNRNNVideoProcessor(size=16, sampling="fps", fps=2.0)(path, return_metadata=True)
    # the middles of five halves of a second, 0.25, 0.75, ... 2.25: no frame twice
    assert batch["frame_indices"].tolist() == [[2, 4, 5, 7]]
    np.testing.assert_allclose(batch["frame_seconds"][0], np.array(times)[batch["frame_indices"][0]] / 10, atol=1e-6)


@pytest.mark.parametrize("name", ["mp4_h264", "ts_h264", "avi_mpeg4", "avi_h264_b_frames"])
def test_containers_agree_on_the_nearest_frames(name, tmp_path):
    """Times half-way between two frames, which clocks round in their own ways; time stamps of AVI that run backwards."""
    path = write_numbered(tmp_path / f"numbered{KINDS[name].suffix}", 30, KINDS[name])
    batch = CNNRNNVideoProcessor(size=16, sampling="fps", fps=5.0)(path, return_metadata=True)
    assert batch["frame_indices"].tolist() == [[2, 7, 12, 17, 22, 27]]


def test_frames_in_memory_have_no_seconds_of_their_own():
    processor, frames = CNNRNNVideoProcessor(size=16, sampling="fps", fps=5.0), np.zeros((30, 16, 16, 3), np.uint8)
    with pytest.raises(VideoDecodeError, match="nothing tells them.*video_metadata"):
        processor(frames)
    batch = processor(frames, video_metadata={"fps": 25}, return_metadata=True)
    assert batch["frame_indices"].tolist() == [[2, 7, 12, 17, 22, 27]]
    assert processor(frames[:1])["frame_mask"].tolist() == [[1]]


@pytest.mark.parametrize("options", [{"num_frames": 0}, {"stride": 0}, {"sampling": "unifrom"}, {"sampling": "fps"}])
def test_options_that_cannot_be(options):
    with pytest.raises(ValueError, match="must be at least 1|one of|needs `fps`"):
        CNNRNNVideoProcessor(**options)


def test_a_misspelt_option_is_named():
    with pytest.raises(TypeError, match="did you mean"):
        CNNRNNVideoProcessor(num_frame=3)


# --- the batch


def test_clips_keep_their_length(videos):
    processor = CNNRNNVideoProcessor(size=32, num_frames=8)
    batch = processor([videos["mp4_h264"], videos["mkv_h264"]], return_metadata=True)
    assert batch["pixel_values"].shape == (2, 8, 3, 32, 32)
    assert batch["frame_mask"].tolist() == [[1] * 8, [1] * 5 + [0] * 3]
    assert batch["frame_indices"].tolist() == [[2, 7, 12, 17, 22, 27, 32, 37], [0, 1, 2, 3, 4, -1, -1, -1]]
    assert batch["frame_seconds"].isnan().tolist()[1] == [False] * 5 + [True] * 3
    assert not batch["pixel_values"][1, 5:].any()
    for number, path in enumerate(("mp4_h264", "mkv_h264")):  # alone as in the batch
        alone = processor(videos[path])["pixel_values"][0]
        torch.testing.assert_close(batch["pixel_values"][number, : len(alone)], alone, atol=0, rtol=0)
    windows = processor([videos["mp4_h264"], videos["mkv_h264"]], sampling="multi_clip", num_clips=7, num_frames=2)
    assert windows["pixel_values"].shape == (2, 7, 2, 3, 32, 32)
    assert windows["frame_mask"].sum(dim=-1).tolist() == [[2] * 7, [1] * 5 + [0] * 2]


def test_none_is_what_was_saved(videos, tmp_path):
    """`pipeline("video-classification")` always states a number of frames, and `None` where a config has none."""
    CNNRNNVideoProcessor(size=32, sampling="all", stride=2).save_pretrained(tmp_path)
    assert (tmp_path / "video_preprocessor_config.json").exists() or (tmp_path / "preprocessor_config.json").exists()
    processor = CNNRNNVideoProcessor.from_pretrained(tmp_path)
    batch = processor(videos["mp4_h264"], num_frames=None, do_sample_frames=True, return_tensors="pt")
    assert batch["pixel_values"].shape[1] == 20
    batch = processor(str(videos["mp4_h264"]), num_frames=4, do_sample_frames=True, return_tensors="pt")
    assert batch["pixel_values"].shape[1] == 20


def test_pixels(videos):
    truth = plain_decode(videos["mp4_h264"])[0]
    processor = CNNRNNVideoProcessor(size=96, num_frames=2)
    batch = processor(videos["mp4_h264"])["pixel_values"][0]
    square = torch.from_numpy(truth[[10, 30], :, 16:112]).permute(0, 3, 1, 2) / 255
    expected = (square - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[
        :, None, None
    ]
    torch.testing.assert_close(batch, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "shape, box", [((4, 6), (0, 1)), ((5, 8), (0, 2)), ((7, 4), (1, 0)), ((7, 7), (0, 0)), ((4, 7), (0, 1))]
)
def test_the_square_in_the_middle(shape, box):
    picture = np.arange(shape[0] * shape[1]).reshape(*shape, 1)
    side = min(shape)
    np.testing.assert_array_equal(centre_square(picture), picture[box[0] : box[0] + side, box[1] : box[1] + side])


def test_resizing_as_opencv_does():
    """Recorded with opencv-python-headless 5.0: `cv2.resize` of the square in the middle."""
    stored = np.load(Path(__file__).parents[1] / "fixtures" / "cv2" / "squares.npz")
    names = [name for name in stored if name.startswith("picture")]
    assert len(names) == 6
    for name in names:
        expected = stored[name.replace("picture", "resized")]
        np.testing.assert_array_equal(resize_as_cv2(centre_square(stored[name]), *expected.shape[:2]), expected)


def test_presets_of_the_report(videos):
    batch = CNNRNNVideoProcessor(**PRESETS["report_120"])(videos["mp4_h264"])
    assert batch["pixel_values"].shape == (1, 40, 3, 120, 120)
    expected = resize_as_cv2(centre_square(plain_decode(videos["mp4_h264"])[0][7]), 120, 120)
    np.testing.assert_array_equal(batch["pixel_values"][0, 7].permute(1, 2, 0), expected)
    assert CNNRNNVideoProcessor(**PRESETS["report_480"]).size["height"] == 480


# --- what training changes


def test_changes_are_drawn_once_a_clip_and_anew_each_epoch(videos):
    processor = CNNRNNVideoProcessor(size=32, num_frames=4, augmentation={"erase": {"p": 1.0, "value": 9.0}})
    plain = CNNRNNVideoProcessor(size=32, num_frames=4)(videos["mp4_h264"])["pixel_values"]

    def erased(seed, **options):
        return (processor(videos["mp4_h264"], seeds=[seed], **options)["pixel_values"] == 9.0).all(dim=2)[0]

    first = erased((0, 1, 2))
    assert first.any() and (first == first[:1]).all()  # the same box in all frames
    assert 0.005 < first[0].float().mean() < 0.12
    assert torch.equal(first, erased((0, 1, 2))) and not torch.equal(first, erased((0, 2, 2)))
    each = erased((0, 1, 2), augmentation={"erase": {"p": 1.0, "value": 9.0}, "consistent": False})
    assert not (each == each[:1]).all()
    torch.testing.assert_close(
        processor(videos["mp4_h264"])["pixel_values"], plain, atol=0, rtol=0
    )  # none without seeds


def test_changes_of_each_frame_are_the_same_where_decoding_starts_anew(videos, monkeypatch):
    """A video whose packets turn out to miscount is decoded from its start, after some frames had been changed."""
    augmentation = {"erase": {"p": 1.0, "value": 9.0}, "consistent": False}
    processor = CNNRNNVideoProcessor(size=32, num_frames=6, augmentation=augmentation)
    expected, whole = processor(videos["mp4_h264"], seeds=[5])["pixel_values"], VideoReader.sparse_frames

    def break_off(reader, wanted):
        yield from itertools.islice(whole(reader, wanted), 3)
        raise IndexMismatchError("a frame did not come out")

    monkeypatch.setattr(VideoReader, "sparse_frames", break_off)
    again = processor(videos["mp4_h264"], seeds=[5])["pixel_values"]
    torch.testing.assert_close(again, expected, atol=0, rtol=0)


@pytest.mark.parametrize("name", ["blur", "flip", "color", "crop", "erase"])
def test_every_change_changes_something(name, videos):
    options = {"size": 32, "num_frames": 2}
    plain = CNNRNNVideoProcessor(**options)(videos["mp4_h264"])["pixel_values"]
    changed = CNNRNNVideoProcessor(**options, augmentation={name: {"p": 1.0}})(videos["mp4_h264"], seeds=3)[
        "pixel_values"
    ]
    assert changed.shape == plain.shape and changed.isfinite().all() and not torch.allclose(changed, plain)
    if name == "flip":
        torch.testing.assert_close(changed, plain.flip(-1))


@pytest.mark.parametrize(
    "given, error", [({"blurr": True}, TypeError), ({"erase": {"scale": [0.5, 0.1]}}, ValueError), ({"flip": 2}, ValueError),
                     ({"blur": {"kernel_size": 4}}, ValueError), ({"color": {"hue": 3}}, ValueError)]
)  # fmt: skip
def test_changes_that_cannot_be(given, error):
    with pytest.raises(error, match="augmentation"):
        Augmentation(**given)
    with pytest.raises(error, match="augmentation"):
        CNNRNNVideoProcessor(augmentation=given)


# --- a few frames at a time


@pytest.mark.parametrize("name", ["mp4_h264", "gif", "avi_mpeg4_b_frames", "ts_h264", "raw_h264"])
def test_a_stream_is_what_plain_decoding_gives(name, tmp_path):
    path = write_numbered(tmp_path / f"whole{KINDS[name].suffix}", 30, KINDS[name])
    truth, _ = plain_decode(path)
    chunks = list(stream_video(path, chunk_size=4))
    assert [len(chunk.frames) for chunk in chunks] == [4] * 7 + [2]
    np.testing.assert_array_equal(np.concatenate([chunk.frames for chunk in chunks]), truth)
    some = list(stream_video(path, chunk_size=4, stride=7, stop=20, transform=read_number))
    assert [chunk.frame_indices.tolist() for chunk in some] == [[0, 7, 14]]
    assert [number for chunk in some for number in chunk.frames] == [0, 7, 14]
    if name != "raw_h264":
        np.testing.assert_allclose(
            np.concatenate([chunk.frame_seconds for chunk in chunks]), np.arange(30) / 25, atol=0.02
        )


def test_a_stream_of_given_frames(videos):
    wanted = np.array([0, 3, 4, 19, 39])
    for source in (videos["mp4_h264"], plain_decode(videos["mp4_h264"])[0]):
        chunks = list(stream_video(source, chunk_size=2, frame_indices=wanted, fps=25.0))
        assert [chunk.frame_indices.tolist() for chunk in chunks] == [[0, 3], [4, 19], [39]]
        assert [read_number(frame) for chunk in chunks for frame in chunk.frames] == wanted.tolist()
        assert np.concatenate([chunk.frame_seconds for chunk in chunks]) == pytest.approx(wanted / 25, abs=0.001)
    for wrong in ([], [3, 3], [-1, 2]):
        with pytest.raises(ValueError, match="must rise from 0 on"):
            next(stream_video(videos["mp4_h264"], frame_indices=np.array(wrong, dtype=int)))


@pytest.mark.parametrize("name", ["mp4_h264", "avi_mpeg4_b_frames", "gif", "raw_h264", "ts_h264"])
@pytest.mark.parametrize("options", [{}, {"stride": 4}, {"sampling": "first", "num_frames": 7, "stride": 2}])
def test_frames_that_need_no_count_come_in_one_pass(name, options, tmp_path, monkeypatch):
    """The frames of a call, with metadata, for which a video may have to be counted first, and without."""
    monkeypatch.setattr("clipbert.processing.video_reader.KEPT_BYTES", 0)  # as for a long video
    path = write_numbered(tmp_path / f"whole{KINDS[name].suffix}", 30, KINDS[name])
    processor = CNNRNNVideoProcessor(**{"size": 32, "sampling": "all", **options})
    expected = processor(path, return_metadata=True)
    passes, all_frames = [], VideoReader.all_frames
    monkeypatch.setattr(
        VideoReader, "all_frames", lambda *given, **more: passes.append(1) or all_frames(*given, **more)
    )
    found = processor(path)
    assert len(passes) == 1
    torch.testing.assert_close(found["pixel_values"], expected["pixel_values"], atol=0, rtol=0)
    assert torch.equal(found["frame_mask"], expected["frame_mask"])


def test_a_part_of_a_video_does_not_stream(videos):
    processor, span = CNNRNNVideoProcessor(size=32, sampling="all"), [(0.4, 0.8)]
    whole, part = processor(videos["mp4_h264"]), processor(videos["mp4_h264"], spans_se=span)
    torch.testing.assert_close(part["pixel_values"], whole["pixel_values"][:, 10:20], atol=0, rtol=0)
    with pytest.raises(ValueError, match="of a whole video stream"):
        next(processor.stream(videos["mp4_h264"], spans_se=span))


@pytest.mark.parametrize("name", ["mkv_h264", "ts_h264"])
def test_a_cut_file_is_refused_with_and_without_a_count(name, tmp_path):
    data = write_numbered(tmp_path / f"whole{KINDS[name].suffix}", 60, KINDS[name]).read_bytes()
    processor = CNNRNNVideoProcessor(size=16, sampling="all")
    for return_metadata in (False, True):
        with pytest.raises(VideoDecodeError, match="cut off|damaged"):
            processor(data[: len(data) // 2], return_metadata=return_metadata)
    some = [processor(data[: len(data) // 2], allow_truncated=True, return_metadata=given) for given in (False, True)]
    torch.testing.assert_close(some[0]["pixel_values"], some[1]["pixel_values"], atol=0, rtol=0)


def test_a_stream_that_is_cut_off(tmp_path):
    data = write_numbered(tmp_path / "whole.mkv", 60, KINDS["mkv_h264"]).read_bytes()
    seen = []
    with pytest.raises(VideoDecodeError, match="cut off|damaged"):
        for chunk in stream_video(data[: len(data) // 2], chunk_size=4):
            seen += map(read_number, chunk.frames)
    assert seen == list(range(len(seen))) and 10 < len(seen) < 60
    lenient = list(stream_video(data[: len(data) // 2], allow_truncated=True))
    assert sum(len(chunk.frames) for chunk in lenient) >= len(seen)


@pytest.mark.slow
@pytest.mark.skipif("CLIPBERT_DATA" not in os.environ, reason="set CLIPBERT_DATA to a folder of real videos")
def test_odd_real_files_are_right_or_named():
    folder = Path(os.environ["CLIPBERT_DATA"]) / "videos" / "technical"
    processor = CNNRNNVideoProcessor(size=32, num_frames=4)
    for path in sorted(folder.iterdir()):
        try:
            batch = processor(path)
            assert batch["frame_mask"].sum() == min(4, len(plain_decode(path)[0])), path.name
        except VideoDecodeError as error:
            assert path.name in str(error)


@pytest.mark.parametrize("suffix", ["avi", "mp4"])
@pytest.mark.parametrize("options", [{"sampling": "all"}, {"sampling": "all", "stride": 3}, {"sampling": "first"}])
def test_a_stream_gives_the_frames_of_a_call(write_video, tmp_path, suffix, options):
    video = write_video(tmp_path / f"v.{suffix}", num_frames=23, fps=10)
    processor = CNNRNNVideoProcessor(size=16, num_frames=9, **options)
    whole = processor([video], return_metadata=True)
    chunks = list(processor.stream(video, chunk_size=4))
    assert all(len(chunk.frames) <= 4 for chunk in chunks)
    frames = torch.stack([frame for chunk in chunks for frame in chunk.frames])
    assert frames.equal(whole["pixel_values"][0])
    assert [number for chunk in chunks for number in chunk.frame_indices] == whole["frame_indices"][0].tolist()
    seconds = np.concatenate([chunk.frame_seconds for chunk in chunks])
    np.testing.assert_allclose(seconds, whole["frame_seconds"][0], rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="sampling='uniform' has to know how long a video is"):
        next(processor.stream(video, sampling="uniform"))
