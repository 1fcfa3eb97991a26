# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Vectors of segments, kept and read back: what a model of moments makes of them is what it makes of the frames."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numbered_videos import write_numbered
from text_ends import wordpiece_tokenizer
from tiny_ci_mha import IMAGE_SIZE, tiny_frame_model

from clipbert.processing import (
    CIMHAVideoProcessor,
    FeatureCache,
    FeatureFileError,
    FeatureFiles,
    FeatureFingerprint,
    MomentRetrievalProcessor,
)
from clipbert.processing.feature_cache import VideoContent
from clipbert.train_scripts import extract
from clipbert.train_scripts.engine.recipe import RecipeError
from clipbert.train_scripts.tasks.cached import CachedSegments
from clipbert.train_scripts.tasks.extraction import ExtractionJob, extract_features


SPAN = (1.0, 2.5)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    return [str(write_numbered(folder / f"{count}.mp4", count)) for count in (100, 60)]


@pytest.fixture
def kept(videos, tmp_path):
    """A model, its processor, what was extracted, and what reads it."""
    model = tiny_frame_model()
    processor = MomentRetrievalProcessor(CIMHAVideoProcessor(size=IMAGE_SIZE, max_segments=16), wordpiece_tokenizer())
    cache, fingerprint = FeatureCache(tmp_path / "kept"), FeatureFingerprint.of(model, processor.video_processor)
    contents = [*map(VideoContent.of, videos), VideoContent.of(videos[0], SPAN)]
    jobs = [
        ExtractionJob(video, content, fingerprint, {})
        for video, content in zip([*videos, videos[0]], contents, strict=True)
    ]
    report = extract_features(model, processor.video_processor, jobs, cache, num_workers=0)
    assert report.num_written == 3 and [job.find_fault(cache) for job in jobs] == [None] * 3
    paths = {video: [cache.path_of(content)] for video, content in zip([*videos, "part"], contents, strict=True)}
    return SimpleNamespace(
        model=model, processor=processor, cache=cache, jobs=jobs, reader=CachedSegments(paths, "float16")
    )


def test_losses_are_those_of_the_frames(videos, kept):
    text, spans = [["a dog", "the cat runs"], ["an up"]], [[(0.0, 1.2), (2.0, 3.9)], [(1.0, 2.0)]]
    raw = kept.processor(text=text, videos=videos, spans=spans)
    read = [kept.reader([video]) for video in videos]
    assert [float(each["durations"]) for each in read] == raw["durations"].tolist() == [4.0, 2.4]
    features = [each["video_features"][0].numpy() for each in read]
    cached = kept.processor(text=text, video_features=features, durations=[4.0, 2.4], spans=spans)
    with torch.no_grad():
        expected, found = (kept.model(**batch) for batch in (raw, cached))
    for name in ("loss", "start_loss", "end_loss", "segment_loss"):
        assert found[name].item() == pytest.approx(expected[name].item(), abs=1e-3), name


def test_a_part_of_a_video_has_a_file_of_its_own(videos, kept):
    raw = kept.processor(videos=[videos[0]], spans_se=[SPAN])
    read = kept.reader(["part"])
    assert read["durations"].tolist() == raw["durations"].tolist() == [1.5]
    with torch.no_grad():
        expected = kept.model.encode_frames(raw["pixel_values"][0].flatten(0, 1)).unflatten(0, (-1, 2)).mean(dim=1)
    torch.testing.assert_close(read["video_features"][0], expected, atol=1e-2, rtol=0)
    names = sorted(path.name[64:] for path in kept.cache.folder.iterdir())
    assert names == [".1.000-2.500s.safetensors", ".safetensors", ".safetensors"]
    other = VideoContent.of(videos[0], (1.0, 2.0))
    assert kept.cache.find_fault(other, kept.jobs[0].fingerprint).kind == "missing"
    kept.cache.path_of(kept.jobs[2].content).rename(kept.cache.path_of(other))
    fault = kept.cache.find_fault(other, kept.jobs[0].fingerprint)
    assert fault.kind == "changed" and fault.reason == "span_se: [1.0, 2.5] -> [1.0, 2.0]"


def test_the_folder_is_one_of_features_with_a_card(videos, kept):
    files = FeatureFiles(kept.cache.folder)
    assert sorted(files.ids()) == ["100", "60"]
    torch.testing.assert_close(torch.from_numpy(files.read("60")), kept.reader([videos[1]])["video_features"][0])
    card = kept.jobs[0].fingerprint.card(files.read("60").shape[1])
    assert files.card("60") == {**card, "duration_s": 2.4} and files.common_card(files.ids()) == card
    assert card["encoder"] == "resnet" and card["sampling"]["frames_per_segment"] == 2
    kept.processor.feature_card = card
    assert kept.processor(video_features=[files["60"]])["durations"].tolist() == [2.4]
    kept.processor.feature_card = FeatureFingerprint.of(tiny_frame_model(seed=1), kept.processor.video_processor).card(
        6
    )
    with pytest.raises(FeatureFileError, match="not what the model was trained on: weights: "):
        kept.processor(video_features=[files["60"]])


def test_a_card_for_features_of_others(tmp_path, capsys):
    folder = tmp_path / "i3d"
    folder.mkdir()
    for name, count in (("v_1", 5), ("v_2", 9)):
        np.save(folder / f"{name}.npy", np.zeros((count, 4)))
    (tmp_path / "durations.json").write_text('{"v_1": 7.5}')
    command = ["card", str(folder), "--encoder", "I3D", "--durations", str(tmp_path / "durations.json")]
    path = extract.main(command)
    assert "2 videos, 5 to 9 rows of 4 numbers" in capsys.readouterr().out
    card = {"encoder": "I3D", "durations": {"v_1": 7.5}, "dimension": 4, "num_videos": 2, "num_rows": [5, 9]}
    assert json.loads(path.read_text()) == card
    assert FeatureFiles(folder).card("v_1") == {"encoder": "I3D", "dimension": 4, "duration_s": 7.5}
    with pytest.raises(RecipeError, match="--replace"):
        extract.main(command)
    np.save(folder / "v_3.npy", np.zeros((2, 3)))
    with pytest.raises(FeatureFileError, match="v_3.npy: they have 3 numbers a row, those before 4"):
        extract.main([*command, "--replace"])
