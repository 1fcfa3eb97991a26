# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A video is encoded once, whatever its length and however many sentences are asked of it."""

import json

import numpy as np
import pytest
import torch
from numbered_videos import write_numbered
from tiny_moments import MOST_SEGMENTS, tiny_frame_model, tiny_model, tiny_processor

from clipbert.pipelines import encode_video, locate_moments
from clipbert.processing import FeatureFileError, VideoDecodeError


SENTENCES = ["a man opens the door", "the door", "man"]


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """25 frames a second, for 8 seconds."""
    path = tmp_path_factory.mktemp("videos") / "numbered.mp4"
    write_numbered(path, 200)
    return str(path)


@pytest.fixture(scope="module")
def model():
    return tiny_frame_model()


def count_frames(model, monkeypatch):
    """A list that grows by the number of frames of each call of the tower."""
    seen, encode = [], model.encode_frames

    def counted(pixel_values):
        seen.append(len(pixel_values))
        return encode(pixel_values)

    monkeypatch.setattr(model, "encode_frames", counted)
    return seen


def close(found, expected):
    assert [len(moments) for moments in found] == [len(moments) for moments in expected]
    for moments, others in zip(found, expected, strict=True):
        for moment, other in zip(moments, others, strict=True):
            assert moment == pytest.approx(other, abs=1e-5)


def test_one_window_is_model_and_processor_in_one_call(model, video):
    processor = tiny_processor()
    batch = processor(text=[SENTENCES], videos=[video])
    with torch.no_grad():
        outputs = model(**batch)
    expected = processor.post_process_moments(outputs, batch["durations"], video_indices=batch["video_indices"])
    for long_video in ("pool", "slide"):
        close(locate_moments(model, processor, video, SENTENCES, long_video=long_video), expected)


def test_sentences_alone_together_and_among_a_hundred_get_the_same_answers(model, video):
    encoded = encode_video(model, tiny_processor(), video, window_seconds=2.0)
    together = encoded.locate(SENTENCES)
    close([encoded.locate(sentence)[0] for sentence in SENTENCES], together)
    close(encoded.locate([*SENTENCES, *["door the man a"] * 97])[:3], together)


def test_a_window_is_as_if_it_were_the_video(model, video):
    processor = tiny_processor()
    encoded = encode_video(model, processor, video, window_seconds=2.0, segments_per_second=4)
    assert encoded.spans_se == [(float(start), float(start) + 2) for start in range(7)] and encoded.duration_s == 8
    for number, span in enumerate(encoded.spans_se):
        alone = encode_video(model, processor, video, span_se=span, segments_per_second=4)
        torch.testing.assert_close(encoded.videos.states[number], alone.videos.states[0], rtol=1e-5, atol=1e-5)
        answers = alone.locate("the door", ranking="unnormalised")[0]
        assert all(span[0] <= moment["start_s"] < moment["end_s"] <= span[1] for moment in answers)


def test_a_part_of_a_video_and_windows_of_it(model, video):
    encoded = encode_video(model, tiny_processor(), video, span_se=(1.0, 7.0), window_seconds=4.0)
    assert encoded.spans_se == [(1.0, 5.0), (3.0, 7.0)]
    with pytest.raises(VideoDecodeError, match="does not lie in the video"):
        encode_video(model, tiny_processor(), video, span_se=(7.0, 20.0))


def test_each_frame_is_encoded_once_for_all_windows_and_sentences(model, video, monkeypatch):
    seen = count_frames(model, monkeypatch)
    encoded = encode_video(model, tiny_processor(), video, window_seconds=2.0, segments_per_second=4)
    # 8 seconds, 4 segments a second, 2 frames of each; windows that overlap share them
    assert sum(seen) == 8 * 4 * 2 and len(encoded.spans_se) == 7
    encoded.locate([f"{'a ' * number}man" for number in range(1, 101)])
    assert sum(seen) == 64


def test_windows_are_ranked_by_scores_that_can_be_compared(model, video):
    encoded = encode_video(model, tiny_processor(), video, window_seconds=2.0)
    moments = encoded.locate("the door", top_k=3)[0]
    assert moments == encoded.locate("the door", top_k=3, ranking="unnormalised")[0]
    assert moments != encoded.locate("the door", top_k=3, ranking="joint")[0]
    best = [
        (outputs.start_logits[:, :, None] + outputs.end_logits[:, None]).triu().max().item()
        for outputs, _ in encoded._match(["the door"])
    ]
    assert moments[0]["score"] == pytest.approx(max(best), abs=1e-5)
    scores = [moment["score"] for moment in moments]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("ranking", ["unnormalised", "joint"])
def test_windows_that_cannot_hold_an_answer_are_not_decoded(model, video, ranking, monkeypatch):
    encoded = encode_video(model, tiny_processor(), video, window_seconds=0.5, segments_per_second=16)
    assert len(encoded.spans_se) == 31
    decoded, decode = [], encoded.processor.post_process_moments
    monkeypatch.setattr(
        encoded.processor,
        "post_process_moments",
        lambda outputs, *args, **options: (
            decoded.append(len(outputs.start_logits)) or decode(outputs, *args, **options)
        ),
    )
    for nms_iou in (0.0, 0.5):
        for top_k in (1, 2, 5):
            few = encoded.locate(SENTENCES, top_k, nms_iou, ranking)
            all_of_them = encoded.locate(
                SENTENCES, top_k, nms_iou, ranking, max_segments=16
            )  # which leaves nothing out
            close(few, all_of_them)
            assert decoded[-2:] == [4 * top_k * 3, 31 * 3]


def test_curves_show_every_second_once(model, video):
    encoded = encode_video(model, tiny_processor(), video, window_seconds=2.0, segments_per_second=4)
    for curve, sentence in zip(encoded.curves(SENTENCES), SENTENCES, strict=True):
        assert curve["start_s"] == pytest.approx(np.arange(32) / 4) and curve["end_s"][-1] == 8
        assert sum(curve["start"]) == pytest.approx(1) and sum(curve["end"]) == pytest.approx(1)
        assert len(curve["inside"]) == 32 and 0 < min(curve["inside"]) < max(curve["inside"]) < 1
        assert curve["words"] == ["[CLS]", *sentence.split(), "[SEP]"]
        weights = np.array(curve["word_weights"])
        assert weights.shape == (32, len(curve["words"])) and weights.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_features_take_the_place_of_frames(model, video):
    processor = tiny_processor()
    rows = np.random.default_rng(0).normal(size=(40, model.frame_feature_size))
    batch = processor(text=[SENTENCES], video_features=[rows], durations=[20.0])
    with torch.no_grad():
        outputs = model(**batch)
    expected = processor.post_process_moments(outputs, batch["durations"], video_indices=batch["video_indices"])
    close(locate_moments(model, processor, None, SENTENCES, video_features=rows, duration_s=20.0), expected)
    encoded = encode_video(model, processor, video_features=rows, duration_s=20.0, window_seconds=5.0)
    assert encoded.spans_se[1] == (2.5, 7.5) and encoded.duration_s == 20
    assert encoded.videos.mask.sum(dim=1).tolist() == [10] * 7  # none is pooled


def test_features_of_another_card_are_refused_and_a_card_tells_the_seconds(model, tmp_path):
    card, processor = {"encoder": "I3D", "dimension": model.frame_feature_size}, tiny_processor()
    processor.feature_card = card
    rows = np.random.default_rng(0).normal(size=(40, model.frame_feature_size))
    np.save(tmp_path / "v_1.npy", rows)
    told = tmp_path / "features.card.json"
    told.write_text(json.dumps({**card, "durations": {"v_1": 20.0}}))
    path = str(tmp_path / "v_1.npy")
    found = locate_moments(model, processor, None, SENTENCES, video_features=path, window_seconds=5.0)
    close(
        found, locate_moments(model, processor, None, SENTENCES, video_features=rows, duration_s=20, window_seconds=5)
    )
    told.write_text(json.dumps({**card, "encoder": "C3D"}))
    with pytest.raises(FeatureFileError, match="v_1.npy.*C3D"):
        encode_video(model, processor, video_features=path, duration_s=20.0)


def test_what_does_not_fit_is_refused_before_a_video_is_opened(model):
    processor = tiny_processor()
    for options, message in [
        ({"ranking": "sum"}, "ranking must be one of 'joint'"),
        ({"top_k": 0}, "top_k must be at least 1"),
        ({"nms_iou": 1.5}, "nms_iou must lie in"),
        ({"long_video": "slides"}, "long_video must be one of 'slide', 'pool'"),
        ({"window_seconds": 0.0}, "window_seconds must be a positive"),
    ]:
        with pytest.raises(ValueError, match=message):
            locate_moments(
                model, processor, np.zeros((9, 8, 8, 3), np.uint8), "a", video_metadata={"fps": 3}, **options
            )
    for texts, error, message in [
        ([], ValueError, "at least one sentence"),
        (["a", "\n"], ValueError, "Sentence 1 has no words"),
        ([3], TypeError, "got int as sentence 0"),
    ]:
        with pytest.raises(error, match=message):
            locate_moments(model, processor, "nowhere.mp4", texts)
    with pytest.raises(TypeError, match="did you mean segments_per_second"):
        encode_video(model, processor, "nowhere.mp4", segment_per_second=2)
    with pytest.raises(ValueError, match="one of the two"):
        encode_video(model, processor)
    with pytest.raises(ValueError, match="Expected one video, got 2"):
        encode_video(model, processor, ["a.mp4", "b.mp4"])
    with pytest.raises(ValueError, match="no card tells the seconds"):
        encode_video(model, processor, video_features=np.zeros((4, 6)))
    with pytest.raises(ValueError, match="takes no frames: pass video_features"):
        encode_video(tiny_model(max_segments=MOST_SEGMENTS), processor, "nowhere.mp4")


def test_a_video_that_cannot_be_read_is_named(model, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video at all")
    with pytest.raises(VideoDecodeError, match="broken.mp4"):
        locate_moments(model, tiny_processor(), str(tmp_path / "broken.mp4"), "a man")
