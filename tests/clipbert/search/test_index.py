# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""VideoIndex: the scores of search.py, what becomes of videos that come, change, move, break and go, and what a search says."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from mean_colour import MeanColour, write_colours
from tiny_pipelines import CASES, TEXTS

from clipbert.processing import VideoDecodeError
from clipbert.search import FingerprintError, SearchIndexError, VideoIndex, field
from clipbert.search import adding as adding_module
from clipbert.search.adding import TooManyFailuresError, plan_segments
from clipbert.search.hits import SearchHits
from clipbert.search.models import load_locator, load_model
from clipbert.search.protocols import Span
from clipbert.train_scripts.tasks.retrieval.collection import VideoSearch


pytest.importorskip("lancedb")
NUM_VIDEOS = 21  # more than are scored together
FAMILIES = {"clipbert": "retrieval", "mug": "dual_encoder"}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Checkpoints, and their models."""
    folder, found = tmp_path_factory.mktemp("checkpoints"), {}
    for name, case in {**FAMILIES, "moments": "moments"}.items():
        model, processor = CASES[case].build()
        model.save_pretrained(folder / name)
        processor.save_pretrained(folder / name)
        found[name] = (load_locator if name == "moments" else load_model)(str(folder / name), device="cpu")
    return found


@pytest.fixture(scope="module")
def collection(tmp_path_factory, write_video):
    """A folder of videos, with captions; not to be changed."""
    folder = tmp_path_factory.mktemp("collection")
    (folder / "deep").mkdir()
    for number in range(NUM_VIDEOS):
        write_video(folder / ("deep" if number % 3 == 0 else ".") / f"{number:02d}.mp4", num_frames=4 + 3 * number)
    lines = [
        {"video": path.relative_to(folder).as_posix(), "caption": TEXTS[place % 3], "year": 2000 + place}
        for place, path in enumerate(sorted(folder.rglob("*.mp4")))
    ]
    (folder / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


@pytest.fixture(scope="module")
def indices(tmp_path_factory, models, collection):
    """An index by each family, by both, with the captions; not to be changed."""
    folder, found = tmp_path_factory.mktemp("indices"), {}
    roles = {
        "clipbert": {"encoder": models["clipbert"]},
        "mug": {"encoder": models["mug"]},
        "both": {"encoder": models["mug"], "reranker": models["clipbert"], "locator": models["moments"]},
    }
    for name, given in roles.items():
        found[name] = VideoIndex.create(folder / name, collection, **given)
        report = found[name].add(metadata=collection / "captions.jsonl", progress=False)
        assert (len(report.added), report.failed) == (NUM_VIDEOS, {})
    return found


@pytest.fixture
def own(tmp_path, collection, models):
    """A copy of some of the videos, and an index over them that may be changed."""
    root = tmp_path / "videos"
    (root / "deep").mkdir(parents=True)
    for name in ("01.mp4", "02.mp4", "04.mp4", "deep/03.mp4"):
        shutil.copy(collection / name, root / name)
    index = VideoIndex.create(tmp_path / "index", root, models["mug"])
    index.add(progress=False)
    return index, root


def paths_of(collection):
    return sorted(collection.rglob("*.mp4"))


def contents(index):
    """All rows but the time of their files, by id."""
    columns = [name for name in index.store.schema.names if name not in ("mtime_ns", "checksum")]
    rows = [row for batch in index.store.scan(columns) for row in batch.to_pylist()]
    return {row["id"]: json.dumps(row, sort_keys=True) for row in rows}


@pytest.fixture
def opened(monkeypatch):
    """The videos that are opened from now on."""
    names = Counter()
    read = adding_module.read_video_metadata
    monkeypatch.setattr(
        adding_module, "read_video_metadata", lambda path: (names.update([Path(path).name]), read(path))[1]
    )
    return names


# ---------------------------------------------------------------------------------------------------------------------
# Search
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("how", [{"exhaustive": True}, {"shortlist": None}, {"shortlist": NUM_VIDEOS}])
def test_all_videos_have_the_scores_and_the_order_of_search_py(family, how, indices, models, collection):
    reader = models[family]
    expected = VideoSearch(reader.model, reader.processor, paths_of(collection))
    for text in TEXTS:
        ranked = expected.rank(text)
        hits = indices[family].search(text, top_k=NUM_VIDEOS, **how)
        assert [hit.path for hit in hits] == [video.path for video in ranked]
        found, wanted = [hit.score for hit in hits], [video.score for video in ranked]
        if family == "clipbert":
            assert found == wanted  # from kept clips, to the last bit
        else:
            assert found == pytest.approx(wanted, abs=1e-5)
        assert [(hit.start_s, hit.end_s) for hit in hits] == [(video.start_s, video.end_s) for video in ranked]


def test_the_stages_of_several_models(indices, models, collection):
    hits = indices["both"].search(TEXTS[0], top_k=3, shortlist=9, rerank=5)
    assert [(stage.name, stage.num_videos) for stage in hits.stages] == [
        ("vector", NUM_VIDEOS),
        ("mug", 9),
        ("clipbert", 5),
        ("moment", 3),
    ]
    assert all(stage.milliseconds > 0 for stage in hits.stages)
    by_vector = indices["both"].search(TEXTS[0], top_k=9, shortlist=9, rerank=9, locate=False)
    assert {hit.video_id for hit in hits} <= {hit.video_id for hit in by_vector}
    for hit in hits:
        assert set(hit.stages) == {"vector", "mug", "clipbert", "moment"} and hit.score == hit.stages["clipbert"]
        start_s, end_s, _ = models["moments"].locate(TEXTS[0], hit.path, None)
        assert (hit.start_s, hit.end_s) == (start_s, end_s)
    everything = indices["both"].search(TEXTS[0], top_k=NUM_VIDEOS, exhaustive=True, locate=False)
    alone = indices["clipbert"].search(TEXTS[0], top_k=NUM_VIDEOS, exhaustive=True)
    assert [(hit.video_id, hit.score) for hit in everything] == [(hit.video_id, hit.score) for hit in alone]


def test_few_clips_first(indices):
    hits = indices["clipbert"].search(TEXTS[0], top_k=2, shortlist=4)
    assert [(stage.name, stage.num_videos) for stage in hits.stages] == [("one_clip", NUM_VIDEOS), ("clipbert", 4)]
    again = indices["clipbert"].search(TEXTS[0], top_k=2, shortlist=4)
    assert [(hit.video_id, hit.score) for hit in again] == [(hit.video_id, hit.score) for hit in hits]


def test_the_single_clip_is_one_that_exists(models, collection, tmp_path, write_video):
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "short.mp4", num_frames=1)
    shutil.copy(collection / "17.mp4", tmp_path / "videos")
    options = {"short_video": "mask", "num_clips": 3, "num_frames": 2}
    index = VideoIndex.create(
        tmp_path / "index", tmp_path / "videos", models["clipbert"].name, device="cpu", encoder_options=options
    )
    index.add(progress=False)
    source = index.cascade.reranker
    ids = ["17.mp4#00000", "short.mp4#00000"]
    parts, _, mask = source.load(ids)
    assert mask.tolist() == [[True, True, True], [True, False, False]]
    assert np.array_equal(source.load_one(ids)[:, 0], np.stack([parts[0, 1], parts[1, 0]]))
    assert {hit.video_id for hit in index.search(TEXTS[0], shortlist=2)} == {"17.mp4", "short.mp4"}


def test_what_is_not_kept_is_read_again(models, collection, indices, tmp_path):
    index = VideoIndex.create(tmp_path / "index", collection, models["mug"], models["clipbert"], keep_clips=False)
    index.add(progress=False)
    assert not any(name.startswith("clip_") for name in index.store.schema.names)
    kept = indices["both"].search(TEXTS[1], top_k=4, shortlist=6, locate=False)
    found = index.search(TEXTS[1], top_k=4, shortlist=6)
    assert [(hit.video_id, hit.score) for hit in found] == [
        (hit.video_id, hit.score) for hit in kept
    ]  # to the last bit


def test_videos_pictures_and_vectors_as_queries(indices, collection):
    path = collection / "01.mp4"
    hits = indices["mug"].search(path, top_k=3)
    assert hits[0].video_id == "01.mp4" and hits[0].score == pytest.approx(1, abs=1e-5)
    assert [stage.name for stage in hits.stages] == ["vector"]
    vector = indices["mug"].encoder.encode([indices["mug"].encoder.read(path)])[0].vector
    assert [hit.video_id for hit in indices["mug"].search(vector, top_k=3)] == [hit.video_id for hit in hits]
    with pytest.raises(SearchIndexError, match="no vectors"):
        indices["clipbert"].search(path)
    with pytest.raises(SearchIndexError, match="text as the query"):
        indices["both"].search(path, locate=True)


def test_filters_and_metadata(indices, collection):
    index = indices["both"]
    hits = index.search(TEXTS[0], top_k=50, where=(field("folder") == "deep") & (field("year") < 2012), locate=False)
    assert {hit.video_id for hit in hits} == {f"deep/{number:02d}.mp4" for number in range(0, NUM_VIDEOS, 3)} & {
        row["video_id"] for row in index.to_dataset(["video_id", "year"]) if row["year"] < 2012
    }
    assert all(set(hit.metadata) == {"caption", "year"} for hit in hits)
    assert not index.search(TEXTS[0], where=field("year") > 3000)
    with pytest.raises(SearchIndexError, match="year"):
        index.search(TEXTS[0], where=field("yaer") > 3000)


@pytest.mark.parametrize("options", [{"top_k": 0}, {"shortlist": -1}, {"rerank": True}])
def test_numbers_that_are_none(indices, options):
    with pytest.raises(SearchIndexError, match=f"{next(iter(options))}: expected"):
        indices["mug"].search(TEXTS[0], **options)
    with pytest.raises(SearchIndexError, match="words"):
        indices["mug"].search(" ")


def test_nothing_fits(own):
    index, _ = own
    assert not index.search(TEXTS[0]).nothing_fits  # nobody knows better
    best = [index.search(text, top_k=1).best for text in TEXTS]
    assert index.calibrate(TEXTS, quantile=1.0) == max(best)
    again = VideoIndex.open(index.store.uri, encoder=index.encoder)
    hits = [again.search(text) for text in TEXTS]
    assert [found.nothing_fits for found in hits] == [score < max(best) for score in best]
    assert all(hits)  # they are shown, and said not to fit
    assert again.search(TEXTS[0], min_score=1e6) == []
    assert SearchHits().nothing_fits
    with pytest.raises(SearchIndexError, match="sentences"):
        index.calibrate([])


@pytest.mark.slow
def test_evaluate_shortlist_counts_as_by_hand(indices):
    index = indices["clipbert"]
    report = index.evaluate_shortlist(shortlists=(2, 5, NUM_VIDEOS))
    captions, owners = index._captions()
    assert len(captions) == NUM_VIDEOS == report.num_videos == report.num_texts
    everything = {text: index.search(text, top_k=1, exhaustive=True)[0] for text in set(captions)}
    for size, loss in zip((2, 5, NUM_VIDEOS), report.losses, strict=True):
        some = {text: index.search(text, top_k=1, shortlist=size)[0] for text in set(captions)}
        first = [some[text].score == everything[text].score for text in captions]
        found = [some[text].video_id == owner for text, owner in zip(captions, owners, strict=True)]
        assert loss.first_kept.mean == np.mean(first) and loss.recall[1].mean == np.mean(found)
        assert loss.seconds > 0
    assert report.losses[-1].first_kept.mean == 1
    with pytest.raises(SearchIndexError, match="sentences"):
        index.evaluate_shortlist([])


# ---------------------------------------------------------------------------------------------------------------------
# Segments
# ---------------------------------------------------------------------------------------------------------------------


def test_plan_segments():
    assert plan_segments(60.0, 60.0) == [None] and plan_segments(1e6, None) == [None] == plan_segments(0.0, 60.0)
    spans = plan_segments(7200.5, 60.0)
    assert len(spans) == 121 and spans[0].start_s == 0 and spans[-1].end_s == 7200.5
    assert all(before.end_s == after.start_s for before, after in zip(spans, spans[1:], strict=False))
    assert max(span.end_s - span.start_s for span in spans) <= 60


def test_moments_are_looked_for_in_several_segments_of_each_hit(models, tmp_path):
    """Also where the search itself needs no more than the nearest segment of each."""
    root = tmp_path / "videos"
    root.mkdir()
    for number in range(3):  # redder from second to second
        levels = [30 * number + 9 * second for second in range(9) for _ in range(8)]
        write_colours(root / f"{number}.mp4", [(level, 99, 160) for level in levels])
    index = VideoIndex.create(tmp_path / "index", root, MeanColour(), locator=models["moments"], segment_s=1.0)
    index.add(progress=False)
    for where, end_s in ((None, 9.0), (field("start_s") < 5.0, 5.0)):
        segments = [(end_s - back, end_s - back + 1.0) for back in (1.0, 2.0, 3.0)]
        spans = [Span(first - 0.5, min(last + 0.5, 9.0)) for first, last in segments]
        for top_k in (1, 3):
            hits = index.search("red", top_k, where=where, shortlist=1, look_into=3)
            assert len(hits) == top_k
            for hit in hits:
                moment = models["moments"].locate("red", hit.path, *spans)
                assert (hit.start_s, hit.end_s, hit.stages["moment"]) == moment
                assert hit.segment_s in segments


@pytest.mark.parametrize("family", FAMILIES)
def test_long_videos_have_a_row_for_each_segment(family, models, collection, tmp_path):
    reader = models[family]
    index = VideoIndex.create(tmp_path / "index", collection, reader, locator=models["moments"], segment_s=0.5)
    index.add([collection / "17.mp4"], progress=False)
    rows = index.to_dataset(["video_id", "segment", "num_segments", "start_s", "end_s", "duration_s"]).to_list()
    rows = sorted(rows, key=lambda row: row["segment"])
    assert len(rows) == rows[0]["num_segments"] > 2 and len(index) == 1
    (hit,) = index.search(TEXTS[0], top_k=5, look_into=1)
    scores = []
    for row in rows:
        assert row["end_s"] - row["start_s"] <= 0.5
        (encoded,) = reader.encode([reader.read(collection / "17.mp4", (row["start_s"], row["end_s"]))])
        mask = None if encoded.mask is None else encoded.mask[None]
        scores.append(reader.score(reader.encode_texts([TEXTS[0]]), encoded.parts[None], mask)[0].item())
    best = rows[int(np.argmax(scores))]
    around = 0.5 * (best["end_s"] - best["start_s"])
    assert hit.score == pytest.approx(max(scores), abs=1e-5)
    assert hit.segment_s == (best["start_s"], best["end_s"])
    assert (
        hit.segment_s[0] - 0.26 <= hit.start_s <= hit.end_s <= hit.segment_s[1] + 0.26
    )  # by the locator, somewhat around it
    first = [rows[row] for row in np.argsort(-np.array(scores), kind="stable")[:3]]
    spans = [Span(max(row["start_s"] - around, 0.0), min(row["end_s"] + around, hit.duration_s)) for row in first]
    (deeper,) = index.search(TEXTS[0], look_into=3)
    start_s, end_s, score = models["moments"].locate(TEXTS[0], hit.path, *spans)
    assert (deeper.start_s, deeper.end_s, deeper.stages["moment"]) == (start_s, end_s, score)
    assert deeper.score == hit.score and deeper.segment_s in [(row["start_s"], row["end_s"]) for row in first]
    assert score == max(models["moments"].locate(TEXTS[0], hit.path, span, span)[2] for span in spans)


# ---------------------------------------------------------------------------------------------------------------------
# What becomes of videos
# ---------------------------------------------------------------------------------------------------------------------


def test_changes(own, collection, opened):
    index, root = own
    before = contents(index)
    assert len(index.update(progress=False).unchanged) == 4 and not opened

    (root / "01.mp4").rename(root / "deep" / "moved é.mp4")
    shutil.copy(collection / "05.mp4", root / "02.mp4")  # another content
    os.utime(root / "04.mp4", ns=(1, 1))
    (root / "deep" / "03.mp4").unlink()
    shutil.copy(collection / "07.mp4", root / "new.mp4")
    report = index.update(progress=False)
    assert (report.moved, report.changed, report.added) == (["deep/moved é.mp4"], ["02.mp4"], ["new.mp4"])
    assert (report.unchanged, report.missing, report.removed) == (["04.mp4"], ["deep/03.mp4"], [])
    assert opened == {"02.mp4": 1, "new.mp4": 1}
    after = contents(index)
    moved = json.loads(after["deep/moved é.mp4#00000"])
    assert moved["vector"] == json.loads(before["01.mp4#00000"])["vector"] and moved["folder"] == "deep"
    assert after["04.mp4#00000"] == before["04.mp4#00000"] and after["02.mp4#00000"] != before["02.mp4#00000"]
    assert index.verify() == []

    opened.clear()
    report = index.update(prune=True, progress=False)
    assert (report.missing, report.removed, len(report.unchanged)) == ([], ["deep/03.mp4"], 4) and not opened
    assert len(index) == 4
    fresh = VideoIndex.create(root.parent / "fresh", root, index.encoder)
    fresh.add(progress=False)
    assert contents(fresh).keys() == contents(index).keys()
    assert {hit.video_id: hit.score for hit in fresh.search(TEXTS[0])} == pytest.approx(
        {hit.video_id: hit.score for hit in index.search(TEXTS[0])}, abs=1e-5
    )


def test_metadata_of_videos_that_are_there(own):
    index, root = own
    index.add(metadata={"01.mp4": {"who": "Ann"}, "gone.mp4": {"who": "Bob"}}, progress=False)
    report = index.add(metadata={"01.mp4": {"who": "Eve"}, "02.mp4": {"rating": 0.5}}, progress=False)
    assert report.without_video == [] and len(report.unchanged) == 4
    (root / "01.mp4").rename(root / "0 1.mp4")
    index.update(progress=False)
    rows = {row["video_id"]: (row["who"], row["rating"]) for row in index.to_dataset(["video_id", "who", "rating"])}
    assert rows == {"0 1.mp4": ("Eve", None), "02.mp4": (None, 0.5), "04.mp4": (None,) * 2, "deep/03.mp4": (None,) * 2}
    assert index.verify() == []
    with pytest.raises(SearchIndexError, match="'who'"):
        index.add(metadata={"01.mp4": {"who": 5}}, progress=False)


def test_several_captions_of_a_video(own):
    """All are kept and found with a hit; those that are given anew take the place of all that were there."""

    def captions_of(video):
        (row,) = index.to_dataset(["caption", "captions"], field("video_id") == video).to_list()
        return row["caption"], row["captions"]

    index, _ = own
    index.add(metadata={"01.mp4": {"caption": "one"}}, progress=False)
    given = {"01.mp4": {"caption": ["a", "b"]}, "02.mp4": {"caption": ["c", "d", "c"]}, "04.mp4": {"caption": "e"}}
    index.add(metadata=given, progress=False)
    assert [captions_of(video) for video in given] == [("a", ["a", "b"]), ("c", ["c", "d", "c"]), ("e", None)]
    hits = index.search(TEXTS[0], where=field("video_id") == "02.mp4")
    assert hits[0].metadata == {"caption": "c", "captions": ["c", "d", "c"]}
    assert index._captions() == (["a", "c", "e"], ["01.mp4", "02.mp4", "04.mp4"])
    assert sorted(index._captions(every=True)[0]) == ["a", "b", "c", "c", "d", "e"]
    index.add(metadata={"01.mp4": {"caption": "new"}, "02.mp4": {"caption": None}}, progress=False)
    assert [captions_of(video) for video in given] == [("new", None), (None, None), ("e", None)]
    assert index.verify() == [] and index.stats()["metadata"]["captions"].startswith("list<")


def test_videos_that_cannot_be_read(own, opened):
    index, root = own
    good = (root / "01.mp4").read_bytes()
    (root / "broken.mp4").write_bytes(good[: len(good) // 2])
    report = index.update(progress=False)
    assert list(report.failed) == ["broken.mp4"] == list(index.failed) and "broken.mp4" in report.failed["broken.mp4"]
    opened.clear()
    assert (
        list(index.update(progress=False).failed) == ["broken.mp4"] and not opened
    )  # the same file is not tried again
    index.update(retry_failed=True, progress=False)
    assert opened["broken.mp4"] == 1
    with pytest.raises(VideoDecodeError, match="broken.mp4"):
        index.update(retry_failed=True, on_error="raise", progress=False)
    (root / "broken.mp4").write_bytes(good)
    assert index.update(progress=False).added == ["broken.mp4"] and index.failed == {}
    (root / "broken.mp4").write_bytes(b"")  # its rows would be those of another content
    assert list(index.update(progress=False).failed) == ["broken.mp4"] and len(index) == 4
    (root / "broken.mp4").unlink()
    assert list(index.failed) == ["broken.mp4"]
    index.update(prune=True, progress=False)
    assert index.failed == {}
    for number in range(9):
        (root / f"bad {number}.mp4").write_bytes(b"no video")
    with pytest.raises(TooManyFailuresError, match="max_decode_error_rate=0.5.*bad 4"):
        index.update(progress=False)
    assert len(index) == 4 and index.verify() == []


def test_remove(own):
    index, root = own
    assert index.remove(where=field("folder") == "deep") == ["deep/03.mp4"]
    assert index.remove("01.mp4") == ["01.mp4"] and len(index) == 2
    assert (root / "01.mp4").exists()
    with pytest.raises(SearchIndexError, match=r"02\.mp4"):
        index.remove("2.mp4")
    with pytest.raises(SearchIndexError, match="one of the two"):
        index.remove()


def test_killed_in_the_middle(own, collection, monkeypatch, models):
    index, root = own
    for number in range(6, 16):
        source = next(collection.rglob(f"{number:02d}.mp4"))
        shutil.copy(source, root / f"new {number}.mp4")
    monkeypatch.setattr(adding_module, "SEGMENTS_PER_COMMIT", 3)
    commits, replace = [], index.store.replace

    def killed(rows, videos):
        if len(commits) == 2:
            raise KeyboardInterrupt
        commits.append(videos)
        replace(rows, videos)

    monkeypatch.setattr(index.store, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        index.update(progress=False, batch_size=1)
    monkeypatch.undo()
    assert len(index) == 4 + sum(map(len, commits)) and index.verify() == []
    report = index.update(progress=False)
    assert len(report.added) == 10 - sum(map(len, commits)) and len(index) == 14
    assert index.verify() == []


def test_processes_share_the_videos(models, collection, tmp_path):
    index = VideoIndex.create(tmp_path / "index", collection, models["mug"])
    reports = [index.add(shard=(number, 3), progress=False) for number in range(3)]
    assert sorted(video for report in reports for video in report.added) == sorted(
        path.relative_to(collection).as_posix() for path in paths_of(collection)
    )
    assert all(report.added for report in reports)
    with pytest.raises(SearchIndexError, match="shard"):
        index.add(shard=(3, 3))


@pytest.mark.slow
def test_workers_read_what_one_process_reads(own, models, tmp_path):
    index, root = own
    other = VideoIndex.create(tmp_path / "other", root, models["mug"])
    other.add(num_workers=2, progress=False)
    assert contents(other) == contents(index)


# ---------------------------------------------------------------------------------------------------------------------
# Opening
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_opening_loads_no_model(own):
    code = (
        "import sys; from clipbert.search import VideoIndex; index = VideoIndex.open(sys.argv[1]); print(len(index)); index.stats(); "
        "assert not {'torch', 'transformers', 'datasets', 'evaluate'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code, own[0].store.uri], capture_output=True, text=True, check=True)
    assert int(done.stdout) == len(own[0])


@pytest.mark.slow
def test_opened_in_another_process(own):
    index, _ = own
    code = (
        "import json, sys; from clipbert.search import VideoIndex; index = VideoIndex.open(sys.argv[1]); "
        "print(json.dumps([[hit.video_id, hit.score] for hit in index.search(sys.argv[2])]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, index.store.uri, TEXTS[0]], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    expected = {hit.video_id: hit.score for hit in index.search(TEXTS[0])}
    assert dict(found) == pytest.approx(expected, abs=1e-4)


def test_another_model_is_refused(own, models, tmp_path):
    index, root = own
    model, processor = CASES["dual_encoder"].build()
    model.config.loss_scale *= 2
    model.save_pretrained(tmp_path / "other")
    processor.save_pretrained(tmp_path / "other")
    other = VideoIndex.open(index.store.uri, encoder=str(tmp_path / "other"))
    with pytest.raises(FingerprintError, match="--reencode --encoder"):
        other.search(TEXTS[0])
    with pytest.raises(SearchIndexError, match="without reranker"):
        VideoIndex.open(index.store.uri, reranker=models["clipbert"]).search(TEXTS[0])


def test_what_is_no_index(tmp_path, models):
    with pytest.raises(SearchIndexError, match="does not exist"):
        VideoIndex.open(tmp_path / "nothing")
    (tmp_path / "folder").mkdir()
    with pytest.raises(SearchIndexError, match="is no index"):
        VideoIndex.open(tmp_path / "folder")
    with pytest.raises(SearchIndexError, match="encoder or a reranker"):
        VideoIndex.create(tmp_path / "index", tmp_path)
    with pytest.raises(SearchIndexError, match="dtype"):
        VideoIndex.create(tmp_path / "index", tmp_path, models["mug"], dtype="int8")


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"format_version": 99}, "format 99.*upgrade"),
        ({"root": 5}, "root"),
        ({"encoder": {"nme": "x"}}, "cannot be read"),
        (b"no json", "cannot be read"),
    ],
)
def test_settings_of_strangers(own, settings, message):
    index, _ = own
    value = settings
    if isinstance(settings, dict):
        value = json.dumps({**json.loads(index.store.read_setting("index")), **settings}).encode()
    index.store.write_setting("index", value)
    with pytest.raises(SearchIndexError, match=message):
        VideoIndex.open(index.store.uri)


def test_hostile_ids_are_not_opened(own):
    index, root = own
    (batch,) = index.store.scan(index.store.schema.names, field("video_id") == "01.mp4")
    row = {**batch.to_pylist()[0], "id": "../../secret#00000", "video_id": "../../secret"}
    import pyarrow as pa

    index.store.replace(pa.Table.from_pylist([row], schema=index.store.schema), ["../../secret"])
    with pytest.raises(SearchIndexError, match="secret"):
        index.search(TEXTS[0])


def test_verify_names_a_row_that_was_changed(own):
    index, _ = own
    (batch,) = index.store.scan(index.store.schema.names, field("video_id") == "01.mp4")
    row = batch.to_pylist()[0]
    row["vector"] = row["vector"][::-1]
    import pyarrow as pa

    index.store.replace(pa.Table.from_pylist([row], schema=index.store.schema), ["01.mp4"])
    (problem,) = index.verify()
    assert problem.startswith("01.mp4#00000")


# ---------------------------------------------------------------------------------------------------------------------
# Distillation
# ---------------------------------------------------------------------------------------------------------------------


def test_a_distilled_index(models, collection, tmp_path):
    index = VideoIndex.create(tmp_path / "index", collection, models["clipbert"])
    for path in paths_of(collection)[: NUM_VIDEOS - 1]:
        index.add(path, progress=False)
    texts = [f"{one} {other}" for one in TEXTS for other in ("a dog", "the cat", "left", "moves", "runs", "an", "a")]
    options = {"steps": 2, "max_pairs": 500, "width": 8, "num_held_out_texts": 10, "num_held_out_videos": 10}
    with pytest.raises(SearchIndexError, match="first places"):
        index.distill(texts, min_first_kept=1.1, **options)
    assert "vector" not in index.store.schema.names and index.stats()["distilled"] is False
    index.distill(texts, min_first_kept=0.0, **options)
    assert len(index.add(progress=False).added) == 1  # it gets a vector, too
    assert index.verify() == []
    again = VideoIndex.open(index.store.uri, encoder=None, reranker=models["clipbert"])
    hits = again.search(TEXTS[0], top_k=3, shortlist=5)
    assert [(stage.name, stage.num_videos) for stage in hits.stages] == [("vector", NUM_VIDEOS), ("clipbert", 5)]
    whole = again.search(TEXTS[0], top_k=NUM_VIDEOS, shortlist=NUM_VIDEOS)
    exact = again.search(TEXTS[0], top_k=NUM_VIDEOS, exhaustive=True)
    assert [(hit.video_id, hit.score) for hit in whole] == [(hit.video_id, hit.score) for hit in exact]
    nearest = again.search(paths_of(collection)[0], top_k=1)[0]
    assert nearest.path == paths_of(collection)[0] and nearest.score == pytest.approx(1, abs=1e-5)


def test_an_index_that_has_vectors_is_not_distilled(indices):
    with pytest.raises(SearchIndexError, match="reranker alone"):
        indices["both"].distill(TEXTS)
