# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""From a file and sentences to seconds: processors and models of CI-MHA together."""

import pytest
import torch
from numbered_videos import write_numbered
from text_ends import wordpiece_tokenizer
from tiny_ci_mha import IMAGE_SIZE, tiny_frame_model, tiny_model
from transformers import AutoConfig, AutoModelForQuestionAnswering, AutoProcessor, AutoVideoProcessor

from clipbert.modeling_ci_mha import CIMHAVideoProcessor, MomentRetrievalProcessor


TEXT = [["a dog runs", "the cat"], ["an up"]]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    return [str(write_numbered(folder / f"{count}.mp4", count)) for count in (100, 50)]


@pytest.fixture
def processor():
    return MomentRetrievalProcessor(CIMHAVideoProcessor(size=IMAGE_SIZE, max_segments=16), wordpiece_tokenizer())


def test_sentences_and_files_to_seconds(videos, processor):
    model = tiny_frame_model()
    batch = processor(text=TEXT, videos=videos, return_metadata=True, spans=[[(0, 1), (1, 2)], [None]])
    with torch.no_grad():
        moments = processor.post_process_moments(
            model(**batch), batch["durations"], video_indices=batch["video_indices"], top_k=3
        )
    assert [len(of_query) for of_query in moments] == [3, 3, 3]
    for of_query, length in zip(moments, (4.0, 4.0, 2.0), strict=True):
        for moment in of_query:
            assert 0 <= moment["start_s"] < moment["end_s"] <= length and -1 <= moment["segment_score"] <= 1


def test_a_window_answers_as_the_video_that_is_cut_out_of_it(videos, processor, tmp_path):
    """Seconds of windows count from the start of the video."""
    model, span = tiny_frame_model(), (1.0, 3.0)
    batch = processor(text=["a dog"], videos=[videos[0]], spans_se=[span])
    with torch.no_grad():
        output = model(**batch)
    inside = processor.post_process_moments(output, batch["durations"])[0]
    moved = processor.post_process_moments(output, batch["durations"], starts_s=batch["starts_s"])[0]
    assert [each["start_s"] + 1.0 for each in inside] == [each["start_s"] for each in moved]
    assert all(span[0] <= each["start_s"] < each["end_s"] <= span[1] for each in moved)


def test_features_of_frames_give_the_scores_of_frames(videos, processor):
    model, (text, *_) = tiny_frame_model(), TEXT
    batch = processor(text=[text], videos=videos[:1])
    with torch.no_grad():
        rows = model.encode_frames(batch["pixel_values"][0].flatten(0, 1)).unflatten(0, (-1, 2)).mean(dim=1)
        cached = processor(text=[text], video_features=[rows.numpy()], durations=batch["durations"].tolist())
        expected, found = model(**batch), model(**cached)
    torch.testing.assert_close(found.start_logits, expected.start_logits, atol=1e-5, rtol=0)


def test_frames_of_a_few_segments_beside_the_features_of_all(videos, processor):
    """Where features are fresh, it does not matter which segments are encoded again."""
    model, text = tiny_frame_model(frame_encoder_trainable=True), ["a dog", "a cat"]
    batch = processor(text=text, videos=videos)
    with torch.no_grad():
        vectors = model.base_model.segment_features(batch["pixel_values"], batch["video_mask"].bool())
    features = [rows[mask.bool()].numpy() for rows, mask in zip(vectors, batch["video_mask"], strict=True)]
    given = {"text": text, "video_features": features, "durations": batch["durations"].tolist(), "videos": videos}
    some = processor(**given, segments=[[0, 7, 3], [5]], spans=[(0.0, 2.0), (1.0, 2.0)])
    assert some["pixel_values"].shape[:3] == (2, 3, 2)
    outputs = model(**some)
    torch.testing.assert_close(outputs.start_logits, model(**batch).start_logits, atol=1e-5, rtol=0)
    outputs.loss.backward()
    assert any(value.grad.abs().sum() > 0 for value in model.frame_encoder.parameters())
    with pytest.raises(ValueError, match=r"cut into \[8, 8\] segments, and there are features of \[3, 8\]"):
        processor(**{**given, "video_features": [features[0][:3], features[1]]}, segments=[[0], [0]])
    with pytest.raises(ValueError, match="`segments` to look at"):
        processor(**given)


def test_auto_classes_know_them(videos, processor, tmp_path):
    model = tiny_model()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    assert isinstance(AutoProcessor.from_pretrained(tmp_path), MomentRetrievalProcessor)
    assert isinstance(AutoVideoProcessor.from_pretrained(tmp_path), CIMHAVideoProcessor)
    assert AutoConfig.from_pretrained(tmp_path).model_type == "ci_mha"
    assert type(AutoModelForQuestionAnswering.from_pretrained(tmp_path)) is type(model)
