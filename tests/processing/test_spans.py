# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Seconds of a video that a processor is to look at: as if cut out, decoded alone, refused where there are none."""

import doctest

import numpy as np
import pytest
import torch
from numbered_videos import KINDS, plain_decode, write_numbered

import clipbert.processing.video_processing
from clipbert.processing import ClipBERTVideoProcessor, CNNRNNVideoProcessor, MugSTANVideoProcessor, VideoDecodeError
from clipbert.processing.video_reader import VideoReader


PROCESSORS = {
    "clipbert": lambda: ClipBERTVideoProcessor(size=32, num_clips=2, num_frames=2, do_pad=True),
    "cnn_rnn": lambda: CNNRNNVideoProcessor(size=32, num_frames=4),
    "mug_stan": lambda: MugSTANVideoProcessor(size=32, num_frames=4),
}
CONTAINERS = ["mp4_h264", "mkv_h264", "avi_h264_b_frames", "ts_h264", "gif", "webm_vp9"]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    return {name: write_numbered(folder / (name + KINDS[name].suffix), 100, KINDS[name]) for name in CONTAINERS}


@pytest.mark.parametrize("family", PROCESSORS)
@pytest.mark.parametrize("name", CONTAINERS)
def test_a_part_is_seen_as_if_it_were_the_video(videos, name, family):
    """Frames 25 to 74 of 100 at 25 frames a second."""
    processor, (whole, _) = PROCESSORS[family](), plain_decode(videos[name])
    fps = {"video_metadata": {"fps": 25}}
    for span, cut in (((1.0, 3.0), whole[25:75]), (None, whole), ((3.96, 4.0), whole[99:])):
        part = processor([videos[name]], spans_se=[span], return_metadata=True)
        alone = processor([cut], return_metadata=True, **fps)
        torch.testing.assert_close(part["pixel_values"], alone["pixel_values"], rtol=0, atol=0)
        first = 0 if span is None else round(span[0] * 25)
        there = alone["frame_indices"] >= 0
        assert part["frame_indices"][there].tolist() == (alone["frame_indices"][there] + first).tolist()
        np.testing.assert_allclose(part["frame_seconds"][there] * 25, part["frame_indices"][there], atol=0.5)


@pytest.mark.parametrize("family", PROCESSORS)
def test_each_video_has_its_own_span(videos, family):
    processor, path = PROCESSORS[family](), videos["mp4_h264"]
    spans = [(0.0, 1.0), None, (2.5, 4.0)]
    batch = processor([path] * 3, spans_se=spans, return_metadata=True)
    for number, span in enumerate(spans):
        alone = processor([path], spans_se=[span], return_metadata=True)
        torch.testing.assert_close(batch["pixel_values"][number], alone["pixel_values"][0], rtol=0, atol=0)
        assert batch["frame_indices"][number].tolist() == alone["frame_indices"][0].tolist()
    assert batch["frame_indices"][0].max() < 25 and batch["frame_indices"][2].min() >= 62


def test_random_choices_and_all_frames_stay_inside(videos):
    processor, path = PROCESSORS["clipbert"](), videos["mp4_h264"]
    for seed in range(20):
        options = {"sampling": "random", "seeds": [(seed, 0, 0)], "fps": 4.0, "return_metadata": True}
        chosen = processor([path], spans_se=[(1.0, 3.0)], **options)["frame_indices"]
        assert chosen.min() >= 25 and chosen.max() < 75
    every = processor([path], spans_se=[(1.0, 1.2)], do_sample_frames=False, return_metadata=True)
    assert every["frame_indices"].tolist() == [[[25, 26, 27, 28, 29]]]
    official = processor([path], spans_se=[(1.0, 3.0)], placement="official", fps=2.0, return_metadata=True)
    assert official["frame_indices"].tolist()[0][0] == [25, 49] and official["frame_indices"].max() < 75


def test_nothing_else_is_decoded(videos, monkeypatch):
    decoded = []
    decode = VideoReader._decode
    monkeypatch.setattr(VideoReader, "_decode", lambda self, packet: [decoded.append(1), decode(self, packet)][1])
    PROCESSORS["mug_stan"]()(videos["mp4_h264"], spans_se=[(3.4, 3.9)])
    assert 0 < len(decoded) <= 30  # of 100: from the key frame before (every 12th), to the last one


def test_frames_are_those_shown_where_time_stamps_are_uneven(tmp_path):
    times = [0, 1, 2, 3, 4, 20, 21, 22, 23, 24]
    path = write_numbered(tmp_path / "uneven.mkv", 10, KINDS["mkv_h264"], fps=10, times=times)
    processor = MugSTANVideoProcessor(size=16, do_sample_frames=False, return_metadata=True)
    assert processor(path, spans_se=[(0.3, 2.15)])["frame_indices"].tolist() == [[3, 4, 5, 6]]
    assert processor(path, spans_se=[(1.0, 1.5)])["frame_indices"].tolist() == [[4]]  # shown until 2.0 s


@pytest.mark.parametrize("span", [(4.0, 5.0), (1.0, 9.0), (100.0, 101.0)])
def test_a_span_outside_the_video_is_refused_by_name(videos, span):
    for build in PROCESSORS.values():
        with pytest.raises(VideoDecodeError, match=rf"mp4_h264.mp4.*from {span[0]:g} to {span[1]:g} s.*lasts 4.00 s"):
            build()([videos["mp4_h264"]], spans_se=[span])


def test_annotators_round(videos):
    batch = PROCESSORS["mug_stan"]()([videos["mp4_h264"]], spans_se=[(3.0, 4.4)], return_metadata=True)
    assert batch["frame_indices"].min() >= 75


@pytest.mark.parametrize(
    ("spans", "error", "match"),
    [
        ([(2.0, 1.0)], ValueError, "0 <= start_s < end_s in seconds for video 0"),
        ([(-1.0, 1.0)], ValueError, "0 <= start_s"),
        ([(1.0, float("nan"))], ValueError, "0 <= start_s"),
        ([(1.0,)], ValueError, "0 <= start_s"),
        ([3.0], ValueError, "0 <= start_s"),
        ([None, None], ValueError, "spans_se of 2 videos for 1"),
        ("1-2", TypeError, "Expected spans_se to be a list"),
    ],
)
def test_what_is_no_span(videos, spans, error, match):
    with pytest.raises(error, match=match):
        PROCESSORS["clipbert"]()([videos["mp4_h264"]], spans_se=spans)


def test_frames_and_images_without_seconds(videos):
    frames = np.zeros((10, 40, 40, 3), np.uint8)
    with pytest.raises(VideoDecodeError, match="video's own fps.*video_metadata"):
        PROCESSORS["clipbert"]()([frames], spans_se=[(0.0, 1.0)])
    with pytest.raises(ValueError, match="image has no seconds"):
        PROCESSORS["clipbert"]()(images=[frames[0]], spans_se=[(0.0, 1.0)])
    with pytest.raises(TypeError, match="spans_se"):  # about a call, never saved
        ClipBERTVideoProcessor(spans_se=[(0.0, 1.0)])


def test_examples():
    assert doctest.testmod(clipbert.processing.video_processing).failed == 0
