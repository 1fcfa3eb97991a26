# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Labels along a long video: each window as if it were asked for alone, in one pass through the file."""

import numpy as np
import pytest
import torch
from numbered_videos import KINDS, write_numbered
from tiny_cnn_rnn import IMAGE_SIZE, tiny_model

from clipbert.processing import CNNRNNVideoProcessor, SparseVideoProcessor, decode_video
from clipbert.processing.video_reader import VideoReader
from clipbert.train_scripts.tasks.classification.prediction import VideoClassifier, show_clock


SAMPLINGS = {
    "uniform": {"num_frames": 4},
    "first": {"num_frames": 4, "stride": 2},
    "segment_random": {"num_frames": 4},
    "all": {"stride": 3},
    "fps": {"fps": 5.0},
    "multi_clip": {"num_frames": 2, "num_clips": 3},
}


@pytest.fixture
def decoded_frames(monkeypatch):
    """How often each pass through a file was begun, and how many pictures came out of all."""
    passes, all_frames = [], VideoReader.all_frames

    def counting(reader, **options):
        passes.append(0)
        for frame in all_frames(reader, **options):
            passes[-1] += 1
            yield frame

    monkeypatch.setattr(VideoReader, "all_frames", counting)
    return passes


@pytest.mark.parametrize("kind", ["mp4_h264", "avi_mpeg4_b_frames"])
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_windows_in_one_pass_are_those_asked_one_by_one(sampling, kind, tmp_path, decoded_frames):
    path = write_numbered(tmp_path / f"long{KINDS[kind].suffix}", 70, KINDS[kind])  # 25 frames a second
    processor = CNNRNNVideoProcessor(size=IMAGE_SIZE, sampling=sampling, **SAMPLINGS[sampling])
    classifier = VideoClassifier(tiny_model(), processor, device="cpu")
    spans = list(classifier.classify_windows(str(path), 1.0))
    assert [(span.start_s, span.end_s) for span in spans] == [(0, 1), (1, 2), (2, pytest.approx(2.8))]
    # the first picture for the metadata, or all of them where packets do not tell; then one pass
    assert decoded_frames[-1] <= 70 and decoded_frames[:-1] == ([1] if KINDS[kind].is_sound else [70, 1])
    for span, window in zip(spans, np.split(np.arange(70), [25, 50]), strict=True):
        chosen = {
            "all": window[::3],
            "fps": window[[2, 7, 12, 17, 22][: len(window) // 5]],
            "multi_clip": window[((np.arange(6) + 0.5) * len(window) / 6).astype(int)],
        }.get(sampling, window[((np.arange(4) + 0.5) * len(window) / 4).astype(int)])
        alone = classifier.classify(decode_video(path, chosen).frames, sampling="all", stride=1)
        assert span.probabilities == pytest.approx(alone, abs=1e-6)
    assert len({tuple(span.probabilities.values()) for span in spans}) == 3


class Corners(SparseVideoProcessor):
    """Clips of a fixed number of frames, as families have them that cannot stream."""

    num_clips, num_frames = 2, 3

    def transform(self, picture, options):
        return torch.from_numpy(picture[:IMAGE_SIZE, :IMAGE_SIZE]).permute(2, 0, 1).float() / 255


def test_windows_of_clips(tmp_path):
    path = write_numbered(tmp_path / "long.mp4", 60)
    classifier = VideoClassifier(tiny_model(), Corners(), device="cpu")
    spans = list(classifier.classify_windows(str(path), 1.2))
    for span, window in zip(spans, np.split(np.arange(60), 2), strict=True):
        alone = classifier.classify(decode_video(path, window[[2, 7, 12, 17, 22, 27]]).frames)
        assert span.probabilities == pytest.approx(alone, abs=1e-6)


def test_time_is_shown_as_on_a_clock():
    assert [show_clock(seconds) for seconds in (0, 61.9, 3723)] == ["0:00:00", "0:01:01", "1:02:03"]
