# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Pipelines that rank, answer and classify: `video-text-retrieval`, `video-question-answering`, `video-classification`."""

import functools
import json

import numpy as np
import pytest
import torch
from numbered_videos import write_numbered
from PIL import Image
from tiny_pipelines import CASES, TEXTS, answers_by_every_way, assert_same, make_pipeline
from transformers import pipeline

from clipbert import load_pipeline
from clipbert.pipelines import TASKS, VideoTextRetrievalPipeline
from clipbert.processing import VideoDecodeError


OF_CLIPS = [name for name in CASES if name != "moments"]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    return [str(write_numbered(folder / f"{count} frames, 'it' é.mp4", count)) for count in (30, 7, 12, 1)]


@pytest.fixture(scope="module")
def pipelines():
    """Of every case by its name, each made once."""
    return functools.cache(make_pipeline)


@pytest.fixture
def retrieval(pipelines):
    return pipelines("retrieval")


@pytest.fixture
def open_answers(pipelines):
    return pipelines("open_answers")


@pytest.fixture
def choices(pipelines):
    return pipelines("choices")


@pytest.fixture
def classes(pipelines):
    return pipelines("classes")


# What they say


def test_texts_are_ranked_by_the_scores_of_the_model(retrieval, videos):
    found = retrieval(videos[0], candidate_texts=TEXTS)
    inputs = retrieval.processor(text=[TEXTS], videos=videos[:1], return_metadata=True)
    with torch.no_grad():
        outputs = retrieval.model(**inputs)
    by_text = {answer["label"]: answer for answer in found}
    assert [answer["score"] for answer in found] == sorted((answer["score"] for answer in found), reverse=True)
    for row, text in enumerate(TEXTS):
        assert by_text[text]["score"] == pytest.approx(outputs.match_odds[row].item(), abs=1e-6)
        clips = by_text[text]["clips"]
        assert [clip["score"] for clip in clips] == pytest.approx(outputs.clip_odds[row].tolist(), abs=1e-6)
        assert [clip["start_s"] for clip in clips] == inputs["frame_seconds"][0, :, 0].tolist()
        assert [clip["end_s"] for clip in clips] == inputs["frame_seconds"][0, :, -1].tolist()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    plain = retrieval(videos[0], candidate_texts=TEXTS, return_clips=False, top_k=1)
    assert plain == [{"label": found[0]["label"], "score": pytest.approx(found[0]["score"], abs=1e-5)}]


@pytest.mark.parametrize("name", ["retrieval", "dual_encoder"])
def test_videos_are_ranked_for_texts(pipelines, videos, name):
    pipe, videos = pipelines(name), videos[:3]
    found = pipe({"text": "the cat", "videos": videos})
    one_by_one = {video: pipe(video, candidate_texts=["the cat"])[0] for video in videos}
    assert [answer["score"] for answer in found] == sorted((answer["score"] for answer in found), reverse=True)
    for answer in found:
        assert_same({**answer, "label": "the cat"}, {**one_by_one[answer["video"]], "video": answer["video"]})
    several = pipe({"text": TEXTS, "videos": iter(videos)}, batch_size=2, top_k=2)
    assert_same(several[1], found[:2])
    assert_same(pipe(text=TEXTS, videos=videos, top_k=2), several)
    assert_same(pipe([{"text": "the cat", "videos": videos}, {"text": "a dog", "videos": videos}])[0], found)
    frames = [np.full((6, 32, 32, 3), grey, np.uint8) for grey in (0, 200)]
    assert {answer["video"] for answer in pipe({"text": "a dog", "videos": frames})} == {0, 1}


def test_answers_are_probabilities_of_all_that_a_model_knows(open_answers, videos):
    found = open_answers(videos[0], question="the cat", top_k=None)
    inputs = open_answers.processor(text=["the cat"], videos=videos[:1])
    with torch.no_grad():
        outputs = open_answers.model(**inputs)
    assert sum(answer["score"] for answer in found) == pytest.approx(1)
    expected = outputs.logits.softmax(-1)[0]
    names = open_answers.model.config.label2id
    assert [names[answer["answer"]] for answer in found] == expected.argsort(descending=True).tolist()
    for answer in found:
        assert answer["score"] == pytest.approx(expected[names[answer["answer"]]].item(), abs=1e-6)
        of_clips = outputs.clip_logits.softmax(-1)[0, :, names[answer["answer"]]]
        assert [clip["score"] for clip in answer["clips"]] == pytest.approx(of_clips.tolist(), abs=1e-6)


def test_one_video_is_read_and_encoded_once_for_its_questions(open_answers, videos, monkeypatch):
    alone = [open_answers(videos[0], question=question) for question in TEXTS]
    calls = {"decoded": 0, "encoded": 0}
    read, encode = type(open_answers).preprocess, open_answers.model.encode_videos

    def counted_read(*args, **options):
        calls["decoded"] += 1
        return read(*args, **options)

    def counted_encode(pixel_values, **mask):
        calls["encoded"] += len(pixel_values)
        return encode(pixel_values, **mask)

    monkeypatch.setattr(type(open_answers), "preprocess", counted_read)
    monkeypatch.setattr(open_answers.model, "encode_videos", counted_encode)
    assert_same(open_answers({"video": videos[0], "question": TEXTS}), alone)
    assert calls == {"decoded": 1, "encoded": 1}
    rows = [{"video": videos[0], "question": question} for question in TEXTS]
    assert_same(open_answers(rows, batch_size=3), alone)
    assert calls == {"decoded": 2, "encoded": 2}


def test_questions_may_have_different_numbers_of_options(choices, videos):
    rows = [
        {"video": videos[0], "question": "the cat", "options": ["a dog", "the cat"]},
        {"video": videos[1], "question": ["a dog", "the cat"], "options": [["a", "the", "dog"], ["dog", "cat"]]},
        {"image": Image.new("RGB", (40, 40), "red"), "question": "a dog", "options": ["cat", "the", "a", "dog"]},
    ]
    one_by_one = [choices(row) for row in rows]
    assert [len(answers) for answers in one_by_one] == [2, 2, 4]
    assert [len(answers) for answers in one_by_one[1]] == [3, 2]
    assert_same(choices(rows, batch_size=3), one_by_one)
    assert_same(choices(video=videos[0], question="the cat", options=["a dog", "the cat"]), one_by_one[0])
    assert len(one_by_one[2][0]["clips"]) == 1 and one_by_one[2][0]["clips"][0]["start_s"] == 0


def test_counts_are_rounded_and_kept_within_those_that_were_learnt(videos):
    pipe = make_pipeline("counts")
    for bias, count_range, expected in ((2.6, None, 3), (40.0, [1, 10], 10), (-7.0, [1, 10], 1), (2.5, [0, 9], 3)):
        with torch.no_grad():
            pipe.model.regressor.out_proj.weight.zero_()
            pipe.model.regressor.out_proj.bias.fill_(bias)
        pipe.model.config.count_range = count_range
        ((answer),) = pipe(videos[0], question="the cat")
        assert answer["answer"] == expected and answer["value"] == pytest.approx(bias)
        assert [clip["score"] for clip in answer["clips"]] == pytest.approx([bias, bias])


def test_classes_and_their_windows(classes, videos):
    found = classes(videos[0], sampling="multi_clip", num_clips=3, top_k=None)
    inputs = classes.video_processor(videos=videos[:1], sampling="multi_clip", num_clips=3, return_metadata=True)
    with torch.no_grad():
        outputs = classes.model(**inputs)
    expected, names = outputs.logits.softmax(-1)[0], classes.model.config.label2id
    for answer in found:
        number = names[answer["label"]]
        assert answer["score"] == pytest.approx(expected[number].item(), abs=1e-6)
        assert len(answer["clips"]) == inputs["pixel_values"].shape[1] == 3
        of_windows = outputs.window_logits.softmax(-1)[0, :, number]
        assert [clip["score"] for clip in answer["clips"]] == pytest.approx(of_windows.tolist(), abs=1e-6)


def test_a_number_of_frames_that_the_model_fixes_is_kept_to(videos):
    pipe = make_pipeline("classes")
    asked = [pipe(videos[0], num_frames=number) for number in (3, 5)]
    assert asked[0] != asked[1]
    pipe.model.config.num_frames = 3
    assert pipe(videos[0]) == asked[0] and pipe(videos[0], num_frames=5) == asked[1]


# The same by every way


@pytest.mark.parametrize("name", OF_CLIPS)
def test_every_way_to_hand_in_videos_gives_the_same(pipelines, videos, name):
    pipe, asked = pipelines(name), CASES[name].asked
    expected = [pipe(video, **asked) for video in videos]
    for way, found in answers_by_every_way(pipe, videos, asked).items():
        assert_same(found, expected, way)
    assert pipe([]) == [] and pipe((), **asked) == [] and list(pipe(iter([]), **asked)) == []
    assert_same(pipe(videos, **asked, batch_size=None, num_workers=None), expected)
    frames = np.stack([np.full((32, 48, 3), 20 * number, np.uint8) for number in range(9)])
    of_array = pipe(frames, **asked)
    assert_same(pipe(torch.from_numpy(frames), **asked), of_array)
    assert_same(pipe([Image.fromarray(frame) for frame in frames], **asked), of_array)
    assert_same(pipe(np.stack([frames, frames]), **asked), [of_array, of_array])
    json.dumps(of_array, allow_nan=False)


def test_seconds_of_frames_without_a_rate_are_not_known(retrieval):
    frames = np.zeros((9, 32, 48, 3), np.uint8)
    assert retrieval(frames, candidate_texts=TEXTS)[0]["clips"][0]["start_s"] is None
    found = retrieval(frames, candidate_texts=TEXTS, video_metadata={"fps": 3.0})
    assert found[0]["clips"][-1]["end_s"] == pytest.approx(8 / 3, abs=0.8)


@pytest.mark.parametrize("name", OF_CLIPS)
def test_a_batch_may_hold_clips_of_every_kind(pipelines, videos, name):
    pipe, asked = pipelines(name), CASES[name].asked
    still = np.full((1, 32, 48, 3), 90, np.uint8)
    given = [
        {"video": videos[0]},
        {"video": still},
        {"video": videos[3]},
        {"video": videos[0], "start_s": 0.2, "end_s": 0.9},
    ]
    if "image" in pipe.visuals:
        pictures = [Image.new("RGB", size, "red") for size in ((40, 40), (50, 30))]
        given[1:1] = [{"image": pictures[0]}, pictures[1]]
    one_by_one = [pipe(one, **asked) for one in given]
    assert_same(pipe(given, **asked, batch_size=8), one_by_one)
    assert_same(pipe(given, **asked, batch_size=3, num_workers=2), one_by_one)


@pytest.mark.parametrize("name", ["retrieval", "open_answers", "choices", "counts"])
def test_clips_that_do_not_exist_are_absent(pipelines, videos, name):
    pipe, options = pipelines(name), {"short_video": "mask", "num_clips": 4, "fps": 2, **CASES[name].asked}
    found = pipe(videos, **options, batch_size=4)
    numbers = [
        len(answer["clips"]) for answer in (of_one[0][0] if name == "counts" else of_one[0] for of_one in found)
    ]
    assert numbers[0] > numbers[1] >= 1 and numbers[3] == 1
    assert_same(found, [pipe(video, **options) for video in videos])


def test_a_part_of_a_file_is_told_in_its_seconds(retrieval, videos):
    found = retrieval({"video": videos[0], "start_s": 0.5, "end_s": 1.0}, candidate_texts=TEXTS)
    assert all(0.4 <= clip["start_s"] <= clip["end_s"] <= 1.1 for clip in found[0]["clips"])


# Errors


@pytest.fixture
def broken(tmp_path, videos):
    bad = tmp_path / "broken.mp4"
    bad.write_bytes(b"no video")
    return [videos[0], str(bad), videos[1]]


@pytest.mark.parametrize("batch_size", [1, 2, 4])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_broken_video_is_raised_skipped_or_told(retrieval, broken, videos, batch_size, num_workers):
    options = {"candidate_texts": TEXTS, "batch_size": batch_size, "num_workers": num_workers}
    expected = [retrieval(video, candidate_texts=TEXTS) for video in videos[:2]]
    answers = retrieval(iter(broken), **options)
    assert_same(next(answers), expected[0])
    with pytest.raises(VideoDecodeError, match="broken.mp4"):
        next(answers)
    assert_same(retrieval(broken, **options, on_error="skip"), expected)
    assert [failure["input"] for failure in retrieval.failed] == [broken[1]]
    first, told, last = retrieval(broken, **options, on_error="yield")
    assert told["input"] == broken[1] and "broken.mp4" in told["error"]
    assert_same([first, last], expected)
    assert retrieval(broken[1], candidate_texts=TEXTS, on_error="skip") == [] and len(retrieval.failed) == 1
    ranked = retrieval({"text": "the cat", "videos": broken}, on_error="skip")
    assert len(ranked) == 2 and len(retrieval.failed) == 1
    assert "error" in retrieval({"text": "the cat", "videos": broken}, on_error="yield")[-1]


@pytest.mark.parametrize("as_inputs", [list, iter])
def test_failures_of_all_inputs_are_listed(retrieval, videos, as_inputs):
    gone = [f"nowhere/{number}.mp4" for number in range(3)]
    inputs = [
        {"text": "the cat", "videos": [gone[0], videos[0], gone[1]]},
        {"video": gone[2], "candidate_texts": TEXTS},
        {"text": TEXTS[:2], "videos": iter([videos[1], {"video": gone[1], "start_s": 0, "end_s": 1}])},
    ]
    found = list(retrieval(as_inputs(inputs), on_error="skip"))
    assert [failure["input"] for failure in retrieval.failed] == [
        *gone[:2],
        inputs[1],
        {"video": gone[1], "start_s": 0, "end_s": 1},
    ]
    assert [[answer["video"] for answer in found[0]], [len(ranking) for ranking in found[1]]] == [[videos[0]], [1, 1]]
    assert all(name in failure["error"] for name, failure in zip(gone, retrieval.failed, strict=False))
    retrieval(videos[0], candidate_texts=TEXTS)
    assert retrieval.failed == []


def test_streams_that_are_read_in_turns_list_their_own_failures(classes, videos):
    first = classes(iter(["nowhere/1.mp4", videos[0]]), on_error="skip")
    of_first = classes.failed
    second = classes(iter(["nowhere/2.mp4", videos[0]]), on_error="skip")
    assert next(first) and next(second)
    assert [[failure["input"] for failure in failed] for failed in (of_first, classes.failed)] == [
        ["nowhere/1.mp4"],
        ["nowhere/2.mp4"],
    ]


def test_texts_are_encoded_anew_when_weights_have_changed(videos):
    pipe = make_pipeline("retrieval")
    before = pipe(videos[0], candidate_texts=TEXTS)
    with torch.no_grad():
        for name, parameter in pipe.model.named_parameters():
            if "embeddings" in name:
                parameter.mul_(1.5)
    fresh = VideoTextRetrievalPipeline(model=pipe.model, processor=pipe.processor, device="cpu")
    after = pipe(videos[0], candidate_texts=TEXTS)
    assert_same(after, fresh(videos[0], candidate_texts=TEXTS))
    assert after != before


def test_a_stream_is_read_as_far_as_answers_need(retrieval, videos):
    read = []

    def stream():
        for number in range(20):
            read.append(number)
            yield {"video": videos[number % 3], "candidate_texts": TEXTS}

    answers = retrieval(stream(), batch_size=2)
    assert read == []
    next(answers)
    assert len(read) == 2
    read.clear()
    answers = retrieval(stream(), batch_size=2, num_workers=2)
    next(answers)
    assert len(read) <= 2 * (2 + 1)


@pytest.mark.parametrize(
    ("name", "inputs", "options", "error", "message"),
    [
        ("retrieval", "nowhere.mp4", {}, ValueError, "candidate_texts="),
        ("retrieval", "nowhere.mp4", {"candidate_texts": TEXTS}, VideoDecodeError, "nowhere.mp4"),
        ("retrieval", "nowhere.mp4", {"candidate_textz": TEXTS}, TypeError, "did you mean candidate_texts"),
        ("retrieval", "nowhere.mp4", {"candidate_texts": TEXTS, "num_clip": 2}, TypeError, "did you mean num_clips"),
        ("retrieval", "nowhere.mp4", {"candidate_texts": [" "]}, ValueError, "Expected candidate_texts with words"),
        ("retrieval", "nowhere.mp4", {"candidate_texts": [3]}, TypeError, "candidate_texts to be a str"),
        ("retrieval", "nowhere.mp4", {"candidate_texts": TEXTS, "top_k": 0}, ValueError, "top_k must be"),
        ("retrieval", "nowhere.mp4", {"candidate_texts": TEXTS, "on_error": "ignore"}, ValueError, "on_error must be"),
        ("retrieval", "nowhere.mp4", {"candidate_texts": TEXTS, "batch_size": 0}, ValueError, "batch_size must be"),
        ("retrieval", {"text": "a", "video": "x.mp4"}, {}, ValueError, "Expected the keys text and videos"),
        ("retrieval", {"text": "a", "videos": "x.mp4"}, {}, TypeError, "a list of videos"),
        ("retrieval", {"video": "x.mp4", "question": "a"}, {}, TypeError, "no option 'question'"),
        ("retrieval", {"video": "x.mp4", "start_s": 1.0}, {"candidate_texts": TEXTS}, ValueError, "go together"),
        ("retrieval", None, {"candidate_texts": TEXTS}, ValueError, "Expected a video or image"),
        ("retrieval", ["nowhere.mp4", None], {"candidate_texts": TEXTS}, ValueError, "Input 1 of 2: Expected a video"),
        (
            "retrieval",
            ["nowhere.mp4", {"question": "a"}],
            {"candidate_texts": TEXTS},
            TypeError,
            "Input 1 .*'question'",
        ),
        ("retrieval", {"text": "a", "videos": ["nowhere.mp4", 5]}, {}, TypeError, "Video 1 of 2: Got <int>"),
        ("retrieval", {"text": "a", "videos": np.zeros((3, 8, 8, 3), np.uint8)}, {}, TypeError, "a list of videos"),
        (
            "retrieval",
            {"text": "a", "videos": [{"video": "x.mp4", "candidate_texts": TEXTS}]},
            {},
            ValueError,
            "leave",
        ),
        ("retrieval", {"text": "a", "videos": ["x.mp4"]}, {"candidate_texts": TEXTS}, ValueError, "got both"),
        ("retrieval", "nowhere.mp4", {"text": "a", "videos": ["x.mp4"]}, ValueError, "got both"),
        ("retrieval", "nowhere.mp4", {"candidate_texts": TEXTS, "video": "x.mp4"}, ValueError, "one by name"),
        ("retrieval", {"video": ["x.mp4", "y.mp4"]}, {"candidate_texts": TEXTS}, ValueError, "got several"),
        (
            "retrieval",
            {"video": "x.mp4", "start_s": "a", "end_s": 2},
            {"candidate_texts": TEXTS},
            TypeError,
            "numbers",
        ),
        ("open_answers", "nowhere.mp4", {}, ValueError, "question="),
        ("open_answers", {"text": "a", "videos": ["x.mp4"]}, {"question": "a"}, TypeError, "no option 'text'"),
        ("open_answers", {"video": "x.mp4", "query": "a"}, {}, TypeError, "no option 'query'"),
        ("open_answers", "nowhere.mp4", {"question": "a", "options": ["b"]}, ValueError, "takes no options"),
        ("choices", "nowhere.mp4", {"question": "a"}, ValueError, "chooses among options"),
        ("choices", "nowhere.mp4", {"question": ["a", "b"], "options": [["c"]]}, ValueError, "each of 2 questions"),
        ("classes", "nowhere.mp4", {"question": "a"}, TypeError, "no option 'question'"),
        ("classes", {"image": "x.png"}, {}, TypeError, "no option 'image'"),
        ("classes", np.zeros((8, 8, 3), np.uint8), {}, TypeError, "shape .8, 8, 3."),
        ("classes", "nowhere.mp4", {"return_clips": "no"}, ValueError, "return_clips must be"),
        ("classes", "nowhere.mp4", {"num_workers": -1}, ValueError, "num_workers must be"),
        ("classes", None, {}, ValueError, "Expected a video"),
    ],
)
def test_bad_input_is_told_before_a_video_is_opened(request, name, inputs, options, error, message):
    with pytest.raises(error, match=message):
        request.getfixturevalue(name)(inputs, **options)


# Loading and saving


@pytest.mark.parametrize("name", CASES)
def test_what_is_saved_is_loaded(pipelines, tmp_path, videos, name):
    (task, _, asked), pipe = CASES[name], pipelines(name)
    expected = pipe(videos[0], **asked)
    pipe.save_pretrained(tmp_path / "once")
    again = load_pipeline(tmp_path / "once", device="cpu")
    assert type(again) is type(pipe)
    assert_same(again(videos[0], **asked), expected)
    again.save_pretrained(tmp_path / "checkpoints" / "best")
    assert_same(load_pipeline(tmp_path, device="cpu", **asked, batch_size=2)(videos[0]), expected)
    if task != "video-classification":
        assert_same(pipeline(task, model=str(tmp_path / "once"), device="cpu")(videos[0], **asked), expected)
    other = next(each for each in TASKS if each != task)
    with pytest.raises(ValueError, match=f"expected {other}"):
        load_pipeline(tmp_path / "once", task=other)
    with pytest.raises(ValueError, match="did you mean|no task"):
        load_pipeline(tmp_path / "once", task="retrieval")


def test_a_family_that_is_unknown_is_not_run_unasked(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "stranger", "auto_map": {"AutoConfig": "evil.Config"}}')
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        load_pipeline(tmp_path)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(FileNotFoundError, match="neither a checkpoint"):
        (tmp_path / "empty").mkdir()
        load_pipeline(tmp_path / "empty")
