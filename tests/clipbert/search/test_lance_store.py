# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What a store in a folder promises beyond the contract: killed writers, damaged files, full disks, its index of vectors."""

import contextlib
import multiprocessing
import os
import random
import resource
import shutil
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import lancedb
import numpy as np
import pyarrow as pa
import pytest
from search_stores import SCHEMA, build_rows, change_all, change_once, digests_by_video, read_until, unit_vectors

from benchmarks.measure import peak_bytes
from clipbert.search.filters import field
from clipbert.search.lance_store import LanceStore
from clipbert.search.protocols import IndexDamagedError, SearchIndexError
from clipbert.search.rows import FACTS
from clipbert.search.stores import create_store, open_store


WIDE = pa.schema([*FACTS, pa.field("clip_0", pa.list_(pa.float32(), 10**5))])
PROCESSES = multiprocessing.get_context("forkserver")  # not "fork": LanceDB has threads
PROCESSES.set_forkserver_preload(["lancedb", "search_stores"])
VIDEOS = [f"video_{number}" for number in range(120)]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """An index with every kind of file: rows that were replaced and deleted, an index of vectors, rows outside of it."""
    folder = tmp_path_factory.mktemp("original") / "index"
    store = create_store(folder, SCHEMA)
    store.replace(build_rows(VIDEOS), VIDEOS)
    store.delete(VIDEOS[40:45])
    store.write_setting("index", b"{}" * 100)
    store.compact(min_indexed=100)
    store.replace(build_rows(VIDEOS[:3], 1, "second"), VIDEOS[:3])
    store.delete(VIDEOS[60:62])
    return folder


@pytest.fixture
def folder(original, tmp_path):
    return Path(shutil.copytree(original, tmp_path / "index"))


def files_of(folder):
    """Files of tables, by kind."""
    kinds = {}
    for path in sorted(folder.glob("*.lance/**/*")):
        if path.is_file() and path.name != "latest_version_hint.json":
            kinds.setdefault(path.relative_to(folder).parts[:2], []).append(path)
    return kinds


def everything(store):
    near = store.nearest(unit_vectors(1, seed=3)[0], 10, ["id"]).to_pylist()
    return digests_by_video(store), near, store.count(), store.read_setting("index"), store.schema


# ---------------------------------------------------------------------------------------------------------------------
# Damage
# ---------------------------------------------------------------------------------------------------------------------


def check_damage(folder, path, content):
    """A damaged file is named."""
    intact = path.read_bytes()
    path.write_bytes(content)
    try:
        try:
            found = open_store(folder).verify()
        except IndexDamagedError as error:  # too damaged to be opened
            found = str(error).splitlines()
        assert any(str(path) in line for line in found), (path, found)
        with contextlib.suppress(
            IndexDamagedError, AssertionError
        ):  # no other error, such as a panic; or a wrong checksum
            everything(open_store(folder))
    finally:
        path.write_bytes(intact)


def damages(intact, chosen, flips):
    yield intact[: len(intact) // 2]
    yield intact[:-1]
    yield b""
    for _ in range(flips):
        place, bit = chosen.randrange(len(intact)), 1 << chosen.randrange(8)
        yield intact[:place] + bytes([intact[place] ^ bit]) + intact[place + 1 :]


def test_damaged_files_are_named(folder):
    expected, chosen = everything(open_store(folder)), random.Random(0)
    kinds = files_of(folder)
    assert {kind for table, kind in kinds if table == "segments.lance"} == {
        "_deletions",
        "_indices",
        "_transactions",
        "_versions",
        "data",
    }
    for paths in kinds.values():
        *_, flipped = damages(paths[0].read_bytes(), chosen, 1)
        check_damage(folder, paths[0], flipped)
        check_damage(folder, paths[-1], paths[-1].read_bytes()[:-1])
    assert open_store(folder).verify() == [] and everything(open_store(folder)) == expected


@pytest.mark.slow
def test_every_damaged_file_is_named(folder):
    chosen = random.Random(1)
    for paths in files_of(folder).values():
        for path in paths:
            for content in damages(path.read_bytes(), chosen, 3):
                check_damage(folder, path, content)


def test_missing_files_are_named(folder):
    gone = files_of(folder)["segments.lance", "data"][0]
    gone.unlink()
    assert open_store(folder).verify()[0].startswith(f"{gone} is missing")


def test_a_damaged_hint_does_no_harm(folder):
    """The one file without a checksum: it is a guess of the newest version."""
    expected = everything(open_store(folder))
    hint = folder / "segments.lance/_versions/latest_version_hint.json"
    for content in (b"", b"{", b'{"version":1}', b'{"version":999}'):
        hint.write_bytes(content)
        assert everything(open_store(folder)) == expected


def test_compaction_hides_no_damage(folder):
    path = files_of(folder)["segments.lance", "_indices"][0]
    *_, flipped = damages(path.read_bytes(), random.Random(0), 1)
    path.write_bytes(flipped)
    with pytest.raises(IndexDamagedError, match=path.name):
        open_store(folder).compact()


def test_damaged_records_are_named(folder):
    page = next((folder / "digests").glob("*.json"))
    page.write_text(page.read_text()[:-10])
    with pytest.raises(IndexDamagedError, match=page.name):
        open_store(folder).verify()
    page.unlink()
    store = open_store(folder)
    assert store.describe()["unrecorded_files"] > 0
    store.delete(VIDEOS[:1])
    assert store.describe()["unrecorded_files"] == 0 and store.verify() == []


def test_files_of_a_killed_writer_are_recorded_by_the_next(folder):
    lancedb.connect(folder).open_table("segments").delete("video_id = 'video_7'")  # a commit without a record
    store = open_store(folder)
    assert store.verify() == [] and store.describe()["unrecorded_files"] == 3  # deletions, transaction, version
    store.write_setting("index", b"{}")
    assert store.verify() == [] and store.describe()["unrecorded_files"] == 0


# ---------------------------------------------------------------------------------------------------------------------
# Several at once
# ---------------------------------------------------------------------------------------------------------------------


def test_compaction_waits_for_writers(folder):
    store, done = open_store(folder), []
    waiting = threading.Thread(target=lambda: (open_store(folder).compact(), done.append("compacted")))
    with store.locked():
        waiting.start()
        store.delete(VIDEOS[:1])  # the one who holds it goes on
        time.sleep(0.3)
        done.append("written")
    waiting.join()
    assert done == ["written", "compacted"]


def test_a_writer_killed_within_replace(folder, monkeypatch):
    """Rows that a shorter video leaves over go in the step that writes it, and their places in another."""

    class KilledError(BaseException):
        pass

    def commit_once(self, change):
        monkeypatch.setattr(LanceStore, "_commit", lambda self, change: (_ for _ in ()).throw(KilledError))
        return commit(self, change)

    store, commit = open_store(folder), LanceStore._commit
    expected = digests_by_video(store) | dict.fromkeys(VIDEOS[10:12], "third")
    monkeypatch.setattr(LanceStore, "_commit", commit_once)
    with pytest.raises(KilledError):
        store.replace(build_rows(VIDEOS[10:12], 1, "third"), VIDEOS[10:12])
    monkeypatch.undo()
    gone = f"{VIDEOS[10]}#00001"
    for _ in range(2):  # after that, and after a compaction, which removes what was left
        assert digests_by_video(store) == expected
        assert store.take([gone], []).num_rows == store.count(field("id") == gone) == 0
        assert gone not in store.nearest(unit_vectors(1)[0], 999, ["id"]).column("id").to_pylist()
        assert store.count() == store.describe()["rows"] == store.count(~field("id").is_null())
        store.compact()
    assert lancedb.connect(folder).open_table("segments").count_rows() == store.count()


def measure_change(uri, answer):
    store, rows = open_store(uri), build_rows(["video_1"], 1, "second", schema=WIDE)
    start = peak_bytes("cpu")
    store.replace(rows, ["video_1"])
    store.update(rows.select(["id", "folder"]))
    answer.send(peak_bytes("cpu") - start)


@pytest.mark.slow
def test_changes_do_not_read_the_table(tmp_path):
    """Prevents: an upsert that deletes rows in the same step, or has a part of the columns, reads all columns of all rows."""
    store = create_store(tmp_path / "index", WIDE)
    for start in range(0, 400, 50):
        rows = build_rows([f"video_{number}" for number in range(start, start + 50)], 2, schema=WIDE)
        numbers = pa.FixedSizeListArray.from_arrays(np.random.default_rng(start).random(10**7, np.float32), 10**5)
        place = WIDE.get_field_index("clip_0")
        store.replace(rows.set_column(place, WIDE.field(place), numbers), [])
    here, there = PROCESSES.Pipe()
    writer = PROCESSES.Process(target=measure_change, args=(store.uri, there))
    writer.start()
    assert here.recv() < 100 * 2**20 < 320 * 10**6 < store.describe()["bytes"]
    writer.join()


@pytest.mark.slow
def test_killed_writers(tmp_path):
    """50 kills at random moments of replacing, deleting and compacting; a reader all along; each is followed by a rerun."""
    uri, chosen = str(tmp_path / "index"), random.Random(0)
    store = create_store(uri, SCHEMA)
    change_once(store, "first")
    stop = PROCESSES.Event()
    reader = PROCESSES.Process(target=read_until, args=(uri, stop))
    reader.start()
    here, there = PROCESSES.Pipe()
    for round_ in range(50):
        writer = PROCESSES.Process(target=change_all, args=(uri, f"killed-{round_}", there))
        writer.start()
        assert here.recv()
        time.sleep(chosen.uniform(0, 1))
        writer.kill()
        writer.join()
        assert set(digests_by_video(store).values()) <= {f"killed-{round_}", "first", f"rerun-{round_ - 1}"}
        assert store.verify() == []
        change_once(store, f"rerun-{round_}")
        assert digests_by_video(store) == {
            f"video_{number}": f"rerun-{round_}" for number in range(20) if number not in (3, 17)
        }
        assert store.verify() == [] and store.describe()["unrecorded_files"] == 0
    stop.set()
    reader.join()
    assert reader.exitcode == 0


# ---------------------------------------------------------------------------------------------------------------------
# Full disks
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """4 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", place], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.mark.slow
def test_full_disk(small_disk):
    store = create_store(small_disk / "index", SCHEMA)
    store.replace(build_rows(VIDEOS), VIDEOS)
    (small_disk / "filler").write_bytes(bytes(2**21))
    written = set(VIDEOS)
    with pytest.raises(SearchIndexError, match="No space left on"):
        for number in range(1000):
            more = [f"more_{number}_{part}" for part in range(100)]
            store.replace(build_rows(more), more)
            written.update(more)
    assert set(digests_by_video(open_store(small_disk / "index"))) == written
    assert len(store.nearest(unit_vectors(1)[0], 10, ["id"])) == 10
    (small_disk / "filler").unlink()
    store.replace(build_rows(more), more)
    assert set(digests_by_video(store)) == written | set(more)
    assert store.verify() == []


def sizes_of(folder):
    return {path: path.stat().st_size for path in folder.rglob("*.idx")}


@pytest.mark.slow
def test_full_disk_while_vectors_are_indexed(small_disk):
    """Prevents: a half written index that fills the disk for a week, until LanceDB believes that nobody is writing it."""
    folder, videos = small_disk / "index", [f"video_{number}" for number in range(4000)]
    store = create_store(folder, pa.schema([*FACTS, SCHEMA.field("vector")]))
    store.replace(build_rows(videos, 1, schema=store.schema), [])
    filler = small_disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - 250_000))
    with pytest.raises(SearchIndexError, match="No space left on .* in .*, where an index of vectors is prepared"):
        store.ensure_index(min_indexed=100)
    assert sizes_of(folder)
    assert open_store(folder).describe()["index"] is None and store.verify() == []
    assert len(store.nearest(unit_vectors(1)[0], 10, ["id"])) == 10 and store.count() == len(videos)
    filler.unlink()
    store.compact(min_indexed=10_000)
    assert not sizes_of(folder)
    store.ensure_index(min_indexed=100)
    assert store.describe()["index"] and store.verify() == []


def replace_with_small_files(uri, answer):
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    store, more = open_store(uri), [f"more_{number}" for number in range(1000)]
    try:
        store.replace(build_rows(more), more)
    except SearchIndexError as error:
        answer.send(str(error))


@pytest.mark.slow
def test_files_that_may_not_grow(folder):
    here, there = PROCESSES.Pipe()
    writer = PROCESSES.Process(target=replace_with_small_files, args=(str(folder), there))
    writer.start()
    assert "No space left on" in here.recv()
    writer.join()
    assert len(digests_by_video(open_store(folder))) == 113


# ---------------------------------------------------------------------------------------------------------------------
# The index of vectors
# ---------------------------------------------------------------------------------------------------------------------


def test_index_of_vectors(tmp_path):
    store, videos = create_store(tmp_path / "index", SCHEMA), [f"video_{number:04d}" for number in range(600)]
    rows = build_rows(videos[:500], 1)
    for start in range(0, 500, 100):
        store.replace(rows.slice(start, 100), [])
    store.ensure_index(min_indexed=501)
    assert store.describe()["index"] is None and count_files(store) == 5
    store.ensure_index(min_indexed=500)
    assert store.describe()["index"] == "IVF_HNSW_SQ" and store.describe()["unindexed_rows"] == 0
    assert count_files(store) == 1  # of which a filter opens each
    store.delete(videos[:50])
    store.replace(build_rows(videos[500:], 1, seed=1), [])
    assert store.describe()["unindexed_rows"] == 100
    vectors = np.concatenate([unit_vectors(500)[50:], unit_vectors(100, seed=1)])
    compare_with_numpy(store, videos[50:], vectors)
    store.ensure_index(max_unindexed=100)
    assert store.describe()["unindexed_rows"] == 100
    store.ensure_index(max_unindexed=99)
    assert store.describe()["unindexed_rows"] == 0
    compare_with_numpy(store, videos[50:], vectors)
    store.compact()
    compare_with_numpy(open_store(store.uri), videos[50:], vectors)
    assert store.verify() == []


def count_files(store):
    return lancedb.connect(store.folder).open_table("segments").stats()["fragment_stats"]["num_fragments"]


def compare_with_numpy(store, videos, vectors):
    for query in unit_vectors(5, seed=7):
        similarity = vectors @ query
        for last in (9999, 300, 60):
            fits = np.array([int(video[-4:]) < last for video in videos])
            best = np.argsort(-np.where(fits, similarity, -np.inf))[: min(10, fits.sum())]
            found = store.nearest(query, 10, ["video_id"], field("video_id") < f"video_{last:04d}")
            assert found.column("video_id").to_pylist() == [videos[place] for place in best]
            np.testing.assert_allclose(found.column("similarity").to_numpy(), similarity[best], atol=1e-6)


def test_old_versions_are_kept_for_an_hour(folder):
    store = open_store(folder)
    before = store.describe()["bytes"]
    store.compact()
    assert store.describe()["bytes"] > 0.9 * before
    store.compact(keep=timedelta(0))
    assert store.describe()["bytes"] < 0.7 * before
    assert store.verify() == [] and len(everything(store)[0]) == 113


# ---------------------------------------------------------------------------------------------------------------------
# Folders
# ---------------------------------------------------------------------------------------------------------------------


def test_a_folder_with_other_things_is_refused(tmp_path):
    (tmp_path / "clip.mp4").touch()
    for overwrite in (False, True):
        with pytest.raises(SearchIndexError, match=r"is no index, and not empty \(clip.mp4"):
            create_store(tmp_path, SCHEMA, overwrite)
    assert os.listdir(tmp_path) == ["clip.mp4"]
    with pytest.raises(SearchIndexError, match="is no index"):
        open_store(tmp_path)


def test_what_a_killed_creation_left_is_replaced(folder):
    shutil.rmtree(folder / "segments.lance")
    with pytest.raises(SearchIndexError, match="is no index"):
        open_store(folder)
    store = create_store(folder, SCHEMA)
    assert store.count() == 0 and store.setting_names() == [] and store.verify() == []


def test_a_client_that_a_folder_does_not_use_is_put_off(tmp_path):
    """And is there for whoever asks for it afterwards, or asks first."""
    code = f"""
import sys
from clipbert.search.lance_store import HTTP_CLIENT, LanceStore
LanceStore({str(tmp_path / "index")!r})
assert f"{{HTTP_CLIENT}}.api" not in sys.modules
import lance_namespace, lance_namespace_urllib3_client
assert not hasattr(lance_namespace_urllib3_client, "__no_such_name__")
from lance_namespace_urllib3_client import ApiClient, models
from lance_namespace_urllib3_client.api.table_api import TableApi
assert lance_namespace_urllib3_client.TableApi is TableApi and lance_namespace_urllib3_client.models is models
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    first = "import lance_namespace_urllib3_client as client; client.ApiClient\n" + code.split("assert f")[0]
    subprocess.run([sys.executable, "-c", first], check=True)
