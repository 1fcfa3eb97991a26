# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Sentences with videos, or with features of them: shapes, seconds to segments and back, and what is refused."""

import doctest
import json
import pickle
import unicodedata
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from clean_process import run_without_package
from numbered_videos import write_numbered
from text_ends import wordpiece_tokenizer
from transformers import AutoVideoProcessor, PreTrainedConfig

import clipbert.processing.feature_files
import clipbert.processing.feature_rows
import clipbert.processing.moment_spans
import clipbert.processing.processing_moment_retrieval
import clipbert.processing.segment_plan
import clipbert.processing.video_processing_ci_mha
from clipbert.processing import (
    CIMHAVideoProcessor,
    FeatureFileError,
    FeatureFiles,
    MomentRetrievalProcessor,
    VideoDecodeError,
)


class StandInConfig(PreTrainedConfig):
    """Saved processors are found through the config of a family, which lies a floor above."""

    model_type = "stand_in_for_ci_mha"


@pytest.fixture(scope="module", autouse=True)
def registered():
    AutoVideoProcessor.register(StandInConfig, CIMHAVideoProcessor, exist_ok=True)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_numbered(tmp_path_factory.mktemp("videos") / "numbered.mp4", 100)  # 4 s


@pytest.fixture
def processor():
    return MomentRetrievalProcessor(CIMHAVideoProcessor(size=16, max_segments=16), wordpiece_tokenizer())


def features_of(rows, size=4, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, size)).astype(np.float32)


@pytest.mark.parametrize(
    "module",
    [
        "feature_files",
        "feature_rows",
        "moment_spans",
        "processing_moment_retrieval",
        "segment_plan",
        "video_processing_ci_mha",
    ],
)
def test_examples(module):
    found = doctest.testmod(getattr(clipbert.processing, module), extraglobs={"np": np, "torch": torch})
    assert found.attempted and not found.failed


def test_several_sentences_of_several_videos(processor, video):
    text = [["a dog runs", "the cat jumps"], ["a dog"]]
    batch = processor(text=text, videos=[video, video], spans=[[(0.0, 1.0), (3.4, 9.9)], [None]])
    assert batch["pixel_values"].shape == (2, 8, 2, 3, 16, 16) and "video_metadata" not in batch
    assert batch["video_indices"].tolist() == [0, 0, 1] and batch["durations"].tolist() == [4.0, 4.0]
    assert batch["start_positions"].tolist() == [0, 7, -100] and batch["end_positions"].tolist() == [1, 7, -100]
    flat = processor(text=text, videos=[video, video], spans=[(0.0, 1.0), (3.4, 9.9), None])
    assert torch.equal(flat["start_positions"], batch["start_positions"])
    assert set(batch) <= set(processor.model_input_names) | {"durations", "start_positions", "end_positions"}


@pytest.mark.parametrize("tensors, kind", [("pt", torch.Tensor), ("np", np.ndarray)])
def test_features_in_the_place_of_videos(processor, tensors, kind):
    features = [features_of(5), features_of(40, seed=1)]
    bfloat16 = processor(video_features=[torch.from_numpy(features[0]).bfloat16()], durations=[5.0])
    np.testing.assert_allclose(bfloat16["video_features"][0], features[0], atol=0.02)
    batch = processor(
        text=["a dog", "a cat"], video_features=features, durations=[5.0, 20.0], spans=[(1, 3), (19, 20)],
        return_tensors=tensors,
    )  # fmt: skip
    assert all(isinstance(values, kind) for values in batch.values())
    assert batch["video_features"].shape == (2, 16, 4) and batch["video_mask"].sum(-1).tolist() == [5, 16]
    np.testing.assert_array_equal(batch["video_features"][0, :5], features[0])
    assert not batch["video_features"][0, 5:].any()
    # 40 rows to 16 bins, by the rule of section 2.1
    borders = [min(round(i * 40 / 16), 39) for i in range(16)] + [40]
    expected = [features[1][borders[i] : borders[i + 1]].mean(axis=0) for i in range(16)]
    np.testing.assert_allclose(batch["video_features"][1], expected, atol=1e-6)
    assert batch["start_positions"].tolist() == [1, 15] and batch["end_positions"].tolist() == [2, 15]


def test_a_part_of_a_video_and_of_its_features(processor, video):
    options = {"text": ["a dog"], "spans_se": [(1.0, 3.0)], "spans": [(1.5, 2.0)]}
    features = features_of(40)
    for batch in (
        processor(videos=[video], **options),
        processor(video_features=[features], durations=[4.0], **options),
    ):
        count = int(batch["video_mask"].sum())
        assert batch["durations"].tolist() == [2.0] and batch["starts_s"].tolist() == [1.0]
        unit = 2.0 / count
        assert batch["start_positions"] * unit + 1.0 == pytest.approx(1.5, abs=unit / 2)
        assert (batch["end_positions"] + 1) * unit + 1.0 == pytest.approx(2.0, abs=unit / 2)
    np.testing.assert_allclose(batch["video_features"][0, 0], features[10:11].mean(axis=0), atol=1e-6)
    outside = processor(videos=[video], text=["a dog"], spans_se=[(1.0, 3.0)], spans=[(0.0, 0.9)])
    assert outside["start_positions"].tolist() == [-100]


def peak_at(start, end, size=8):
    logits = torch.zeros(2, size, 1)
    logits[0, start], logits[1, end] = 9.0, 9.0
    mask = torch.ones(1, size, dtype=torch.bool)
    return SimpleNamespace(start_logits=logits[0].T, end_logits=logits[1].T, segment_logits=None, segment_mask=mask)


def test_scores_become_seconds_of_the_whole_video(processor):
    output = peak_at(2, 3)
    best = processor.post_process_moments(output, [4.0], top_k=1)[0][0]
    assert (best["start_s"], best["end_s"], best["segment_score"]) == (1.0, 2.0, None) and 0.9 < best["score"] <= 1
    part = processor.post_process_moments(output, torch.tensor([9.0, 4.0]), video_indices=[1], starts_s=[0.0, 60.0])
    assert (part[0][0]["start_s"], part[0][0]["end_s"]) == (61.0, 62.0)
    assert all(first["score"] >= second["score"] for first, second in zip(part[0], part[0][1:], strict=False))
    assert processor.post_process_moments(output, [4.0], ranking="unnormalised", top_k=1)[0][0]["score"] == 18.0
    assert processor.post_process_moments(output, [4.0], max_seconds=0.5, top_k=1)[0][0]["end_s"] in (1.5, 2.0)
    assert processor.post_process_moments(peak_at(0, 7), [31.4], top_k=1)[0][0]["end_s"] == 31.4  # in double precision
    with pytest.raises(ValueError, match="2 durations .* for 1 queries"):
        processor.post_process_moments(output, [4.0, 4.0])


def test_both_forms_of_a_letter_are_one(processor):
    word = "tiếng"
    forms = [unicodedata.normalize(form, word) for form in ("NFC", "NFD")]
    assert forms[0] != forms[1]
    ids = processor(text=forms)["input_ids"]
    assert torch.equal(ids[0], ids[1])
    nested = processor(text=[forms], video_features=[features_of(3)], durations=[3.0])
    assert torch.equal(nested["input_ids"][0], nested["input_ids"][1])


def test_saved_loaded_and_sent_to_workers(processor, video, tmp_path):
    processor.save_pretrained(tmp_path)
    for again in (MomentRetrievalProcessor.from_pretrained(tmp_path), pickle.loads(pickle.dumps(processor))):
        assert again.max_length == 25
        batch, expected = (each(text=["a dog runs"], videos=[video]) for each in (again, processor))
        assert all(torch.equal(batch[name], expected[name]) for name in expected)


def test_files_of_features_with_their_cards(processor, tmp_path):
    card = {"encoder": "I3D", "dimension": 4}
    for name, rows in (("v_1", 5), ("v_2", 9)):
        np.save(tmp_path / f"{name}.npy", features_of(rows))
    (tmp_path / "features.card.json").write_text(json.dumps({**card, "durations": {"v_1": 7.5}}))
    processor.feature_card = card
    processor.save_pretrained(tmp_path / "processor")
    processor, files = MomentRetrievalProcessor.from_pretrained(tmp_path / "processor"), FeatureFiles(tmp_path)
    assert processor.feature_card == card
    for given in (tmp_path / "v_1.npy", [str(tmp_path / "v_1.npy")], files["v_1"], [files["v_1"]]):
        batch = processor(video_features=given, text=["a dog"])
        np.testing.assert_array_equal(batch["video_features"][0], features_of(5))
        assert batch["durations"].tolist() == [7.5]
    both = processor(video_features=[files["v_1"], files["v_2"]], durations=[None, 3.0])
    assert both["durations"].tolist() == [7.5, 3.0]
    with pytest.raises(ValueError, match="seconds of .*v_2.npy"):
        processor(video_features=[files["v_2"]])
    processor.feature_card = {**card, "encoder": "C3D"}
    with pytest.raises(FeatureFileError, match="v_1.npy.*encoder: C3D -> I3D"):
        processor(video_features=[files["v_1"]])


CLEAN_PROCESS = """
import json, numpy as np, torch
from transformers import AutoProcessor

published, video, features, result = sys.argv[1:]
processor = AutoProcessor.from_pretrained(published, trust_remote_code=True)
torch.save(dict(processor(text=["a dog"], videos=[video], spans=[(1, 2)])), result)
print(processor(text=["a dog"], video_features=[features + "/v_1.npy"])["durations"].tolist())
try:
    processor(text=["a dog"], video_features=[features + "/other/v_1.npy"])
except ValueError as error:
    print(error)
"""


@pytest.mark.slow
def test_the_code_that_travels_works_without_this_package(processor, video, tmp_path):
    for folder, encoder in ((tmp_path / "features", "I3D"), (tmp_path / "features" / "other", "C3D")):
        folder.mkdir()
        np.save(folder / "v_1.npy", features_of(5))
        card = {"encoder": encoder, "dimension": 4, "duration_s": 7.5}
        (folder / "features.card.json").write_text(json.dumps(card))
    processor.feature_card = {"encoder": "I3D", "dimension": 4}
    MomentRetrievalProcessor.register_for_auto_class()
    try:
        processor.save_pretrained(tmp_path / "published")
    finally:  # classes keep this for the rest of the process
        MomentRetrievalProcessor._auto_class = CIMHAVideoProcessor._auto_class = None
    places = [tmp_path / "published", video, tmp_path / "features", tmp_path / "batch.pt"]
    said = run_without_package(CLEAN_PROCESS, tmp_path / "elsewhere", *places)
    assert "[7.5]" in said and "other/v_1.npy: they are not what the model was trained on: encoder: I3D -> C3D" in said
    found, expected = torch.load(places[-1]), processor(text=["a dog"], videos=[video], spans=[(1, 2)])
    assert all(torch.equal(found[name], expected[name]) for name in expected)


FEATURES = {"video_features": [np.zeros((4, 2))], "durations": [4.0], "text": ["a dog"]}


@pytest.mark.parametrize(
    "inputs, message",
    [
        ({"images": np.zeros((4, 4, 3), np.uint8)}, "moments are found in videos"),
        ({**FEATURES, "videos": ["film.mp4"]}, "both videos and video_features"),
        ({**FEATURES, "durations": None}, "no card tells the seconds of video 0"),
        ({"videos": ["film.mp4"], "durations": [1.0]}, "durations without video_features"),
        ({**FEATURES, "durations": [4.0, 4.0]}, "2 durations for features of 1 videos"),
        ({**FEATURES, "durations": [0.0]}, "positive seconds for video 0"),
        ({**FEATURES, "text": ["a", "b"]}, "2 texts for 1 videos"),
        ({**FEATURES, "spans": [(0, 1), (1, 2)]}, "2 moments for 1 sentences"),
        ({"text": ["a dog"], "spans": [(0, 1)]}, "spans are moments of sentences in videos"),
        ({**FEATURES, "spans_se": [(5.0, 6.0)]}, "video 0: the span from 5 to 6 s does not lie in the video"),
        ({**FEATURES, "videos": ["film.mp4"], "videos_kwargs": {"size": 16}}, "both videos and video_features"),
        ({**FEATURES, "size": 32}, "size with video_features"),
        ({**FEATURES, "video_features": [np.zeros((4, 2, 3))]}, r"video 0: expected \(n, D\)"),
        ({**FEATURES, "video_features": [np.zeros((0, 2))]}, "video 0: there is nothing in them"),
        ({**FEATURES, "video_features": [np.full((4, 2), np.nan)]}, "4 of 4 rows hold NaN"),
        ({**FEATURES, "video_features": [np.array([["a"]])]}, r"video 0: expected \(n, D\)"),
    ],
)
def test_inputs_that_do_not_fit(processor, inputs, message):
    with pytest.raises(ValueError, match=message):
        processor(**inputs)


def test_faults_of_videos_come_through(processor, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(VideoDecodeError, match="broken.mp4"):
        processor(text=["a dog"], videos=[tmp_path / "broken.mp4"])


@pytest.mark.parametrize("shape", [(1, 5, 4), (5, 4, 1, 1), (5, 1, 1, 4), (1, 5, 1, 4)])
def test_axes_of_size_one_are_dropped(processor, shape):
    features = features_of(5)
    batch = processor(video_features=[features.reshape(shape)], durations=[5.0])
    np.testing.assert_array_equal(batch["video_features"][0], features)
