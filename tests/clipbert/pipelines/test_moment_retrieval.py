# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The task `moment-retrieval` of `transformers.pipeline`."""

import io
import json
import unicodedata
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from numbered_videos import write_numbered
from PIL import Image
from tiny_moments import VIETNAMESE, tiny_frame_model, tiny_processor
from transformers import pipeline
from transformers.pipelines.pt_utils import KeyDataset

import clipbert
from clipbert.pipelines import locate_moments
from clipbert.processing import VideoDecodeError


PLAIN = {"start_s", "end_s", "score"}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    return [str(write_numbered(folder / f"{count} frames.mp4", count)) for count in (60, 30)]


@pytest.fixture(scope="module")
def pipe():
    return pipeline("moment-retrieval", model=tiny_frame_model(), processor=tiny_processor(), window_seconds=1.5)


def scores_of(moments):
    return [moment["score"] for moment in moments]


def test_it_answers_with_plain_python(pipe, videos):
    assert isinstance(pipe, clipbert.MomentRetrievalPipeline)
    one = pipe(videos[0], "a man opens the door", top_k=2)
    assert len(one) == 2 and all(set(moment) == PLAIN for moment in one)
    assert json.loads(json.dumps(one)) == one
    several = pipe(videos[0], ["a man opens the door", "the door"])
    assert len(several) == 2 and scores_of(one) == pytest.approx(scores_of(several[0])[:2])
    expected = locate_moments(pipe.model, pipe.processor, videos[0], "the door", window_seconds=1.5)[0]
    assert scores_of(several[1]) == pytest.approx(scores_of(expected))


def test_every_way_to_hand_in_videos_gives_the_same(pipe, videos):
    expected = [pipe(video, "the door") for video in videos]
    rows = [{"video": video, "query": "the door"} for video in videos]
    table = datasets.Dataset.from_list(rows)
    ways = {
        "list": pipe(videos, "the door"),
        "tuple": pipe(tuple(videos), query="the door"),
        "paths": pipe([Path(video) for video in videos], "the door"),
        "dictionaries": pipe(rows),
        "batches": pipe(rows, batch_size=2, num_workers=1),
        "bytes": pipe([Path(video).read_bytes() for video in videos], "the door"),
        "open files": pipe([io.BytesIO(Path(video).read_bytes()) for video in videos], "the door"),
        "undecoded": pipe([{"path": video, "bytes": None} for video in videos], "the door"),
        "generator": list(pipe(row for row in rows)),
        "data set": list(pipe(table)),
        "stream": list(pipe(table.to_iterable_dataset())),
        "column": list(pipe(KeyDataset(table, "video"), "the door")),
    }
    for name, found in ways.items():
        assert found == expected, name
    assert pipe([], "the door") == [] and pipe([]) == []
    frames = np.stack([np.full((32, 32, 3), 8 * number, np.uint8) for number in range(20)])
    options = {"video_metadata": {"fps": 10.0}}
    of_array = pipe(frames, "the door", **options)
    assert of_array == pipe(torch.from_numpy(frames), "the door", **options)
    assert of_array == pipe([Image.fromarray(frame) for frame in frames], "the door", **options)


def test_a_generator_is_read_as_far_as_answers_are_asked_for(pipe, videos):
    read = []

    def stream():
        for video in videos * 3:
            read.append(video)
            yield {"video": video, "query": "the door"}

    answers = pipe(stream())
    assert read == []
    next(answers)
    assert len(read) == 1


def test_questions_of_a_batch_about_one_file_encode_it_once(pipe, videos, monkeypatch):
    rows = [{"video": video, "query": query} for video in videos for query in ("the door", "a man")]
    expected, calls, encode = [pipe(row) for row in rows], [], pipe.model.encode_frames
    monkeypatch.setattr(pipe.model, "encode_frames", lambda frames: (calls.append(len(frames)), encode(frames))[1])
    pipe(rows[:1]), pipe(rows[2:3])
    alone = sum(calls)
    assert pipe(rows, batch_size=4) == expected and sum(calls) == 2 * alone
    bad = [{"video": "nowhere.mp4", "query": query} for query in ("the door", "a man")]
    assert pipe([*bad, rows[0]], batch_size=4, on_error="skip") == expected[:1] and len(pipe.failed) == 2


def test_a_part_of_a_file_is_asked_in_its_seconds(pipe, videos):
    moments = pipe({"video": videos[0], "query": "the door", "start_s": 1.0, "end_s": 2.0})
    assert moments and all(1 <= moment["start_s"] < moment["end_s"] <= 2 for moment in moments)
    rows = np.zeros((30, pipe.model.frame_feature_size))
    features = {"video_features": rows, "duration_s": 30.0, "query": "the door", "start_s": 10.0, "end_s": 20.0}
    assert all(10 <= moment["start_s"] < moment["end_s"] <= 20 for moment in pipe(features))


def test_curves_come_on_request(pipe, videos):
    (answer,) = pipe(videos[0], ["the door"], return_curves=True)
    assert answer["moments"] == pipe(videos[0], "the door")
    assert set(answer["curves"]) == {"start_s", "end_s", "start", "end", "inside"}
    assert len({len(values) for values in answer["curves"].values()}) == 1


def test_equal_letters_get_equal_answers(pipe, videos):
    forms = [unicodedata.normalize(form, VIETNAMESE) for form in ("NFC", "NFD")]
    assert forms[0] != forms[1]
    assert pipe(videos[0], forms[0]) == pipe(videos[0], forms[1])
    assert pipe(videos[0], forms[0]) != pipe(videos[0], "man man")  # words that it knows


@pytest.mark.parametrize(
    ("inputs", "options", "error", "message"),
    [
        ("nowhere.mp4", {"topk": 3}, TypeError, "no option 'topk': did you mean top_k"),
        ("nowhere.mp4", {"segments_per_secnd": 3}, TypeError, "did you mean segments_per_second"),
        ("nowhere.mp4", {"ranking": "best"}, ValueError, "ranking must be one of"),
        ("nowhere.mp4", {"long_video": "cut"}, ValueError, "long_video must be one of"),
        ("nowhere.mp4", {}, VideoDecodeError, "nowhere.mp4"),
        ({"video": "nowhere.mp4"}, {"query": None}, ValueError, 'or a key "query"'),
        ({"vidoe": "nowhere.mp4"}, {}, TypeError, "no option 'vidoe': did you mean video"),
        ({"video": "nowhere.mp4", "start_s": 3.0}, {}, ValueError, "start_s and end_s go together"),
        (None, {}, ValueError, "Expected a video"),
        (5, {}, TypeError, "Got <int>"),
        (["nowhere.mp4", 5], {}, TypeError, "Input 1 of 2: Got <int>"),
        (["nowhere.mp4", {"question": "a"}], {}, TypeError, "Input 1 of 2: .*no option 'question'"),
        ({"video": "x.mp4", "video_features": "x.npy"}, {}, ValueError, "got video and video_features"),
    ],
)
def test_what_cannot_be_answered_is_said(pipe, inputs, options, error, message):
    with pytest.raises(error, match=message):
        pipe(inputs, **{"query": "the door", **options})


def test_saved_and_loaded_it_answers_the_same(pipe, videos, tmp_path):
    pipe.save_pretrained(tmp_path)
    again = pipeline("moment-retrieval", model=str(tmp_path), window_seconds=1.5)
    assert again(videos[0], "the door") == pipe(videos[0], "the door")
    again.save_pretrained(tmp_path / "twice")
    assert pipeline("moment-retrieval", model=str(tmp_path / "twice"), window_seconds=1.5)(videos, "the door") == pipe(
        videos, "the door"
    )


def test_options_of_the_pipeline_are_refused_when_it_is_made():
    with pytest.raises(TypeError, match="did you mean window_seconds"):
        pipeline("moment-retrieval", model=tiny_frame_model(), processor=tiny_processor(), window_second=1.5)
