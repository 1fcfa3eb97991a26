# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Real files, odd and broken ones among them: an answer within the video, or an error that names the file."""

import re

import pytest
from tiny_moments import tiny_frame_model, tiny_processor
from tiny_pipelines import CASES, answers_by_every_way, assert_same, make_pipeline

from clipbert.pipelines import encode_video
from clipbert.processing import VideoDecodeError
from clipbert.train_scripts.tasks.moment_retrieval.showing import cut_film


BROKEN = {"audio_only.mp3", "corrupted.mp4", "zero_byte.webm"}


@pytest.mark.slow
def test_every_file_ends_in_an_answer_or_an_error_that_names_it(data_dir, tmp_path):
    model, processor = tiny_frame_model(max_segments=64), tiny_processor(max_segments=64)
    paths = [path for path in sorted((data_dir / "videos").rglob("*.*")) if path.is_file()]
    assert len(paths) > 20
    refused = set()
    for path in paths:
        try:
            encoded = encode_video(model, processor, str(path), window_seconds=20.0)
        except VideoDecodeError as error:
            assert re.search(re.escape(path.name), str(error))
            refused.add(path.name)
            continue
        moments = encoded.locate("a man")[0]
        end_s = encoded.spans_se[-1][1]
        assert moments and all(0 <= each["start_s"] < each["end_s"] <= end_s + 1e-6 for each in moments), path
        best = moments[0]
        assert cut_film(path, (best["start_s"], min(best["end_s"], best["start_s"] + 0.5)), tmp_path / "film.mp4") > 0
    assert refused == BROKEN & {path.name for path in paths}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_every_way_to_hand_in_real_files_gives_the_same(data_dir, name):
    paths = [path for path in sorted((data_dir / "videos").rglob("*.*")) if path.is_file() and path.name not in BROKEN]
    videos = [str(path) for path in sorted(paths, key=lambda path: path.stat().st_size)[:12]]
    pipe, asked = make_pipeline(name), CASES[name].asked
    expected = [pipe(video, **asked) for video in videos]
    for way, found in answers_by_every_way(pipe, videos, asked).items():
        assert_same(found, expected, way)
