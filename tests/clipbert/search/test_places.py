# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A whole index elsewhere than in a folder: on S3 (a local stand-in) and in Qdrant, with all that it is asked for."""

import shutil
import uuid

import numpy as np
import pytest
from tiny_pipelines import CASES, TEXTS

from clipbert.search import SearchIndexError, VideoIndex, field
from clipbert.search.models import load_model


pytest.importorskip("lancedb")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A ClipBERT and a Mug-STAN."""
    folder, found = tmp_path_factory.mktemp("checkpoints"), {}
    for name, case in {"clipbert": "retrieval", "mug": "dual_encoder"}.items():
        model, processor = CASES[case].build()
        model.save_pretrained(folder / name)
        processor.save_pretrained(folder / name)
        found[name] = load_model(str(folder / name), device="cpu")
    return found


@pytest.fixture(scope="module")
def videos(tmp_path_factory, write_video):
    """A folder of videos; not to be changed."""
    folder = tmp_path_factory.mktemp("videos")
    (folder / "deep").mkdir()
    for number, name in enumerate(("a.mp4", "b's.mp4", "deep/c.mp4", "deep/é 😀.mp4", "long.mp4")):
        write_video(folder / name, num_frames=4 + 3 * number)
    return folder


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.slow), "qdrant"])
def address(request, tmp_path):
    """Where an index can be: address and options."""
    if request.param == "s3":
        return f"s3://bucket/{uuid.uuid4().hex}", request.getfixturevalue("s3")
    return f"{'qdrant:' if request.param == 'qdrant' else ''}{tmp_path / 'index'}", {}


def scores_of(index, **options):
    return {hit.video_id: hit.score for hit in index.search(TEXTS[0], top_k=50, **options)}


def test_an_index_from_first_to_last(address, models, videos, tmp_path):
    uri, options = address
    root = shutil.copytree(videos, tmp_path / "videos")
    index = VideoIndex.create(uri, root, models["mug"], models["clipbert"], segment_s=1.0, **options)
    with pytest.raises(SearchIndexError, match="has an index already"):
        VideoIndex.create(uri, root, models["mug"], **options)
    report = index.add(metadata={"a.mp4": {"who": "Ann's"}, "deep/c.mp4": {"who": None, "year": 1999}}, progress=False)
    assert len(report.added) == 5 == len(index) and index.store.count() == 7 and report.failed == {}
    assert index.verify() == []

    # searched by every stage, with the scores of an index in a folder
    beside = VideoIndex.create(tmp_path / "beside", root, models["mug"], models["clipbert"], segment_s=1.0)
    beside.add(progress=False)
    for how in ({}, {"exhaustive": True}, {"rerank": 2, "top_k": 2}):
        hits, expected = (one.search(TEXTS[1], **{"top_k": 50, **how}) for one in (index, beside))
        assert [hit.video_id for hit in hits] == [hit.video_id for hit in expected]
        assert [hit.score for hit in hits] == [hit.score for hit in expected]
        assert [(hit.start_s, hit.clips) for hit in hits] == [(hit.start_s, hit.clips) for hit in expected]
    assert set(scores_of(index, where=field("folder") == "deep")) == {"deep/c.mp4", "deep/é 😀.mp4"}
    assert set(scores_of(index, where=(field("who") == "Ann's") | (field("year") < 2000))) == {"a.mp4", "deep/c.mp4"}
    assert set(scores_of(index, where=field("duration_s") >= 1.0)) == {"deep/c.mp4", "deep/é 😀.mp4", "long.mp4"}
    (found,) = index.search(root / "a.mp4", top_k=1)
    assert found.video_id == "a.mp4"

    # what comes, moves, changes, breaks and goes
    before = scores_of(index)
    (root / "a.mp4").rename(root / "deep" / "moved.mp4")
    shutil.copy(root / "long.mp4", root / "deep" / "c.mp4")
    (root / "b's.mp4").unlink()
    (root / "broken.mp4").write_bytes(b"no video")
    report = index.update(prune=True, progress=False)
    assert (report.moved, report.changed, report.removed) == (["deep/moved.mp4"], ["deep/c.mp4"], ["b's.mp4"])
    assert list(report.failed) == ["broken.mp4"] == list(index.failed)
    after = scores_of(index)
    assert set(after) == {"deep/moved.mp4", "deep/c.mp4", "deep/é 😀.mp4", "long.mp4"}
    assert after["deep/moved.mp4"] == pytest.approx(before["a.mp4"], abs=1e-5)
    assert after["deep/c.mp4"] == pytest.approx(after["long.mp4"], abs=1e-5)
    rows = index.to_dataset(["video_id", "who", "year"], where=field("segment") == 0)
    assert {row["video_id"]: (row["who"], row["year"]) for row in rows if row["who"] or row["year"]} == {
        "deep/moved.mp4": ("Ann's", None),
        "deep/c.mp4": (None, 1999),
    }
    assert index.remove(where=field("video_id").is_in(["deep/é 😀.mp4", "no.mp4"])) == ["deep/é 😀.mp4"]
    index.calibrate(TEXTS)
    index.compact()
    assert index.verify() == []

    # opened again
    again = VideoIndex.open(uri, encoder=models["mug"], reranker=models["clipbert"], **options)
    assert again.settings.thresholds and again.stats()["videos"] == 3
    del after["deep/é 😀.mp4"]
    assert scores_of(again) == pytest.approx(after, abs=1e-5)
    assert again.update(progress=False).added == ["deep/é 😀.mp4"]
    (vector,) = again.to_dataset(["vector"], where=field("video_id") == "deep/moved.mp4")["vector"]
    assert again.search(np.array(vector), top_k=1)[0].video_id == "deep/moved.mp4"
    assert VideoIndex.create(uri, root, models["mug"], overwrite=True, **options).store.count() == 0


def test_a_folder_takes_no_options(models, tmp_path):
    with pytest.raises(SearchIndexError, match="no option 'segment'"):
        VideoIndex.create(tmp_path / "index", tmp_path, models["mug"], segment=5)
    with pytest.raises(SearchIndexError, match="no option 'device_'"):
        VideoIndex.open(tmp_path / "index", device_="cpu")
