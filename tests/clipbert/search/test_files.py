"""Files of a collection: what is found, what became of them, and that no id leads out."""

import os
import random
import sys
import tarfile
import time
import unicodedata
from datetime import UTC, datetime

import fsspec
import pytest

from clipbert.processing.video_sources import Deadline, open_readable
from clipbert.search import files as files_module
from clipbert.search.files import BLOCK, FileState, KnownFile, absence, compare, digest_file, resolve, scan
from clipbert.search.protocols import SearchIndexError
from clipbert.search.roots import read_version


posix = pytest.mark.skipif(os.name == "nt", reason="names and links of POSIX")
takes_any_name = pytest.mark.skipif(sys.platform != "linux", reason="other systems normalise names, or refuse some")


def write(root, names) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"content of {name}".encode("utf-8", "surrogateescape"))


def ids(found) -> list[str]:
    return [file.video_id for file in found]


def state_of(root) -> dict[str, KnownFile]:
    """What an index would know after it has encoded all."""
    return {
        file.video_id: KnownFile(file.size, file.mtime_ns, digest_file(file.path, file.size))
        for file in scan([root], root)
    }


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    return folder


@pytest.fixture
def opened(monkeypatch):
    """The files whose content was read."""
    seen = []

    def watched(path, size):
        seen.append(str(path))
        return digest_file(path, size)

    monkeypatch.setattr(files_module, "digest_file", watched)
    return seen


# ---------------------------------------------------------------------------------------------------------------------
# What is found
# ---------------------------------------------------------------------------------------------------------------------


def test_videos_of_a_folder(root, monkeypatch):
    write(root, ["a.mp4", "b/c.MKV", "b/d/e.webm", "b/notes.txt", ".hidden.mp4", ".cache/f.mp4", "folder.mp4/g.mov"])
    found = scan([root], root)
    assert ids(found) == ["a.mp4", "b/c.MKV", "b/d/e.webm", "folder.mp4/g.mov"]
    state = (root / "a.mp4").stat()
    assert found[0] == FileState("a.mp4", root / "a.mp4", state.st_size, state.st_mtime_ns)
    assert ids(scan([root / "b", root / "b" / "d", root / "b" / "notes.txt"], root)) == [
        "b/c.MKV",
        "b/d/e.webm",
        "b/notes.txt",
    ]
    monkeypatch.chdir(root.parent)
    assert scan(["videos/b"], "videos") == [file for file in found if file.video_id.startswith("b/")]
    assert scan([root.as_uri()], root.as_uri()) == found


@takes_any_name
def test_odd_names(root):
    names = [
        "\U0001f600.mp4",
        'it\'s "q".mp4',
        "new\nline.mp4",
        "a b/%20#?*[1].mp4",
        "e\u0301/o\u0308.mp4",
        "back\\slash.mp4",
    ]
    write(root, names)
    write(root, [os.fsdecode(b"bad\xff.mp4"), "out\\..\\x.mp4"])
    ignored = {}
    found = scan([root], root, ignored=ignored)
    assert ids(found) == sorted(unicodedata.normalize("NFC", name) for name in names)
    assert set(ignored) == {"bad\\udcff.mp4", "out\\..\\x.mp4"}
    assert "UTF-8" in ignored["bad\\udcff.mp4"]
    for file in found:
        assert file.path.is_file()
        assert resolve(root, file.video_id) == file.path
        file.video_id.encode()


@takes_any_name
def test_names_that_differ_in_their_normal_form_alone(root):
    write(root, ["é.mp4", "e\u0301.mp4"])
    with pytest.raises(SearchIndexError, match=r"'e\\u0301.mp4' and '\\xe9.mp4'|'\\xe9.mp4' and 'e\\u0301.mp4'"):
        scan([root], root)


@posix
def test_links(root, tmp_path):
    write(root, ["in/a.mp4"])
    write(tmp_path, ["outside/secret.mp4", "videos_too/b.mp4"])
    (root / "0_same").symlink_to(root / "in")  # sorts first, yet the folder keeps its own name
    (root / "up").symlink_to(root)
    (root / "again.mp4").symlink_to(root / "in" / "a.mp4")
    (root / "out").symlink_to(tmp_path / "outside")
    (root / "beside").symlink_to(tmp_path / "videos_too")  # its path begins as the root's does
    (root / "out.mp4").symlink_to(tmp_path / "outside" / "secret.mp4")
    (root / "loop.mp4").symlink_to(root / "loop.mp4")
    (root / "nothing.mp4").symlink_to(root / "nowhere.mp4")
    ignored = {}
    assert ids(scan([root], root, ignored=ignored)) == ["again.mp4", "in/a.mp4"]
    assert set(ignored) == {"out", "beside", "out.mp4", "loop.mp4", "nothing.mp4"}
    assert "leads out" in ignored["out"]
    followed = ids(scan([root], root, follow_links=True))
    assert followed == ["again.mp4", "beside/b.mp4", "in/a.mp4", "out.mp4", "out/secret.mp4"]
    for name in ("out/secret.mp4", "out.mp4"):
        with pytest.raises(SearchIndexError, match=f"{name}.*leads out"):
            resolve(root, name)
        assert resolve(root, name, follow_links=True).is_file()
    assert resolve(root, "0_same/a.mp4").is_file()
    with pytest.raises(SearchIndexError, match="follow_links=True"):
        scan([root / "out"], root)


@posix
def test_a_root_that_is_a_link(root, tmp_path):
    write(root, ["b/a.mp4"])
    link = tmp_path / "link"
    link.symlink_to(root)
    assert ids(scan([link], link)) == ids(scan([root / "b"], link)) == ids(scan([link / "b"], root)) == ["b/a.mp4"]


@posix
def test_what_is_no_file(root):
    os.mkfifo(root / "pipe.mp4")
    (root / "empty.mp4").touch()
    ignored = {}
    assert [(file.video_id, file.size) for file in scan([root], root, ignored=ignored)] == [("empty.mp4", 0)]
    assert ignored == {"pipe.mp4": "a pipe, a socket or a device"}


@posix
def test_a_folder_that_cannot_be_listed_keeps_its_videos(root, monkeypatch):
    write(root, ["a.mp4", "deep/b.mp4"])
    known, name = state_of(root), "deep"
    monkeypatch.chdir(root / "deep")
    for _ in range(20):  # a path that is too long for the system
        os.mkdir("x" * 250)
        os.chdir("x" * 250)
        name += "/" + "x" * 250
    ignored = {}
    changes = compare(scan([root], root, ignored=ignored), known | {f"{name}/c.mp4": KnownFile(1, 1, "")})
    assert set(changes.missing) == {f"{name}/c.mp4"} and len(ignored) == 1
    has_vanished = absence([root], root, ignored=ignored)
    assert not has_vanished(f"{name}/c.mp4") and has_vanished("deep/c.mp4")


def test_places_outside_the_root(root, tmp_path):
    write(tmp_path, ["outside/a.mp4", "videos_too/b.mp4"])
    for place in (tmp_path, tmp_path / "outside", root / ".." / "outside", tmp_path / "videos_too"):
        with pytest.raises(SearchIndexError, match="below the root"):
            scan([place], root)
    with pytest.raises(SearchIndexError, match="no such folder or file"):
        scan([root / "nothing"], root)
    with pytest.raises(SearchIndexError, match="below the root"):
        scan(["s3://bucket/videos"], root)


def test_five_thousand_files_are_listed_quickly(root):
    for folder in range(50):
        (root / str(folder)).mkdir()
        for number in range(100):
            open(f"{root}/{folder}/{number}.mp4", "wb").close()
    started = time.process_time()
    assert len(scan([root], root)) == 5000
    assert time.process_time() - started < 1


# ---------------------------------------------------------------------------------------------------------------------
# Ids of an index that may be a stranger's
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../a.mp4", "a/../../b.mp4", "..", ".", "", "a//b.mp4", "./a.mp4", "a/", "..\\..\\a.mp4"]
    + ["a\\..\\..\\b.mp4", "\\\\server\\share\\a.mp4", "\\a.mp4", "a\0.mp4", "\ud800.mp4"],
)
@pytest.mark.parametrize("place", ["local", "memory://videos"])
def test_ids_that_lead_out_are_refused(name, place, root):
    with pytest.raises(SearchIndexError, match="expected a (path below|name in UTF-8)") as caught:
        resolve(root if place == "local" else place, name)
    str(caught.value).encode()


@pytest.mark.skipif(os.name != "nt", reason="drives are Windows'")
@pytest.mark.parametrize("name", ["C:/a.mp4", "C:a.mp4", "C:\\a.mp4"])
def test_drives_are_refused(name, root):
    with pytest.raises(SearchIndexError):
        resolve(root, name)


@takes_any_name
def test_an_id_finds_its_file_however_it_is_spelt(root):
    write(root, ["e\u0301/o\u0308 é.mp4"])
    assert resolve(root, "é/ö é.mp4") == root / "e\u0301/o\u0308 é.mp4"
    assert resolve(root, "é/u.mp4") == root / "e\u0301/u.mp4"
    assert resolve(root, "ü/ü.mp4") == root / "ü/ü.mp4"


# ---------------------------------------------------------------------------------------------------------------------
# What became of them
# ---------------------------------------------------------------------------------------------------------------------


def test_digests_see_size_start_middle_and_end(tmp_path):
    data = bytearray(random.Random(0).randbytes(10 * BLOCK))
    path, seen = tmp_path / "a.mp4", set()
    for place in (None, 0, BLOCK - 1, 5 * BLOCK, 9 * BLOCK, 10 * BLOCK - 1):
        changed = bytearray(data)
        if place is not None:
            changed[place] ^= 1
        path.write_bytes(changed)
        seen.add(digest_file(path, len(changed)))
    path.write_bytes(data + b"\0")
    seen.add(digest_file(path, len(data) + 1))
    assert len(seen) == 7
    assert all(len(digest) == 64 for digest in seen)
    for size in (0, 1, BLOCK, BLOCK + 1, 3 * BLOCK - 1):
        path.write_bytes(data[:size])
        other = fsspec.filesystem("memory")
        other.pipe("/digests/a.mp4", bytes(data[:size]))
        assert digest_file(path, size) == digest_file("memory://digests/a.mp4", size)


def test_unchanged_files_are_not_opened(root, opened):
    write(root, ["a.mp4", "b.mp4", "c/a.mp4"])
    known = state_of(root)
    write(root, ["another size.mp4"])
    changes = compare(scan([root], root), known)
    assert ids(changes.unchanged) == ["a.mp4", "b.mp4", "c/a.mp4"]
    assert ids(changes.added) == ["another size.mp4"]
    assert opened == [] and changes.missing == []


def test_touched_changed_moved_and_missing_files(root, opened):
    write(root, ["touched.mp4", "changed.mp4", "grown.mp4", "moved.mp4", "missing.mp4", "kept.mp4"])
    known = state_of(root)
    os.utime(root / "touched.mp4", ns=(1, 1))
    (root / "changed.mp4").write_bytes(b"CONTENT of changed.mp4")
    os.utime(root / "changed.mp4", ns=(2, 2))
    (root / "grown.mp4").write_bytes(b"content of grown.mp4, and more")
    (root / "new").mkdir()
    (root / "moved.mp4").rename(root / "new" / "name.mp4")
    (root / "missing.mp4").unlink()
    changes = compare(scan([root], root), known)
    assert ids(changes.touched) == ["touched.mp4"]
    assert ids(changes.changed) == ["changed.mp4", "grown.mp4"]
    assert {old: file.video_id for old, file in changes.moved.items()} == {"moved.mp4": "new/name.mp4"}
    assert (ids(changes.unchanged), changes.added, changes.missing) == (["kept.mp4"], [], ["missing.mp4"])
    assert sorted(map(os.path.basename, opened)) == ["changed.mp4", "name.mp4", "touched.mp4"]


def test_swapped_files_have_changed(root):
    write(root, ["a.mp4", "b.mp4"])
    known = state_of(root)
    (root / "a.mp4").rename(root / "c")
    (root / "b.mp4").rename(root / "a.mp4")
    (root / "c").rename(root / "b.mp4")
    os.utime(root / "a.mp4", ns=(1, 1))
    os.utime(root / "b.mp4", ns=(2, 2))
    assert ids(compare(scan([root], root), known).changed) == ["a.mp4", "b.mp4"]


def test_copies_take_the_place_of_a_vanished_file_once(root):
    for name in ("x/a.mp4", "x/b.mp4", "y/0.mp4", "y/b.mp4", "y/c.mp4"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"same")
    all_files = {file.video_id: file for file in scan([root], root)}
    known = {name: KnownFile(4, 0, digest_file(all_files[name].path, 4)) for name in ("x/a.mp4", "x/b.mp4")}
    for seed in range(5):  # in any order
        found = [all_files[name] for name in ("y/0.mp4", "y/b.mp4", "y/c.mp4")]
        random.Random(seed).shuffle(found)
        changes = compare(found, known)
        moved = {old: file.video_id for old, file in changes.moved.items()}
        assert moved == {"x/a.mp4": "y/0.mp4", "x/b.mp4": "y/b.mp4"}
        assert (ids(changes.added), changes.missing) == (["y/c.mp4"], [])


def test_a_copy_beside_its_original_is_new(root):
    write(root, ["a.mp4"])
    known = state_of(root)
    (root / "b.mp4").write_bytes((root / "a.mp4").read_bytes())
    changes = compare(scan([root], root), known)
    assert (ids(changes.added), changes.moved) == (["b.mp4"], {})


def test_of_some_places_the_others_have_not_vanished(root):
    write(root, ["here/a.mp4", "there/b.mp4", "there/c.mp4"])
    known = state_of(root)
    (root / "here" / "copy.mp4").write_bytes((root / "there" / "b.mp4").read_bytes())
    (root / "there" / "c.mp4").rename(root / "here" / "c.mp4")
    (root / "here" / "a.mp4").unlink()
    known["../outside.mp4"] = KnownFile(1, 1, "")
    places = [root / "here"]
    changes = compare(scan(places, root), known, absence(places, root))
    assert ids(changes.added) == ["here/copy.mp4"]
    assert {old: file.video_id for old, file in changes.moved.items()} == {"there/c.mp4": "here/c.mp4"}
    assert changes.missing == ["here/a.mp4"]


def test_a_file_that_vanishes_meanwhile_is_left_to_the_encoder(root):
    gone = FileState("a.mp4", root / "a.mp4", 5, 2)
    assert ids(compare([gone], {"a.mp4": KnownFile(5, 1, "0")}).changed) == ["a.mp4"]
    assert ids(compare([gone], {"b.mp4": KnownFile(5, 1, "0")}).added) == ["a.mp4"]


def test_without_a_time_the_content_decides(root):
    write(root, ["a.mp4"])
    file = FileState("a.mp4", root / "a.mp4", (root / "a.mp4").stat().st_size, None)
    known = KnownFile(file.size, None, digest_file(file.path, file.size))
    assert ids(compare([file], {"a.mp4": known}).touched) == ["a.mp4"]


# ---------------------------------------------------------------------------------------------------------------------
# Addresses
# ---------------------------------------------------------------------------------------------------------------------


def read(source) -> bytes:
    with open_readable(source, "a", Deadline(None)) as file:
        return file.read()


@pytest.fixture
def bucket():
    store = fsspec.filesystem("memory")
    names = ["a.mp4", "b/c d#?%20*[1].mp4", "b/o\u0308.mp4", "notes.txt", ".hidden/x.mp4", "two::colons.mp4"]
    for name in names:
        store.pipe(f"/bucket/videos/{name}", name.encode())
    yield store
    store.rm("/bucket", recursive=True)


def test_an_object_store(bucket):
    root, ignored = "memory://bucket/videos", {}
    found = scan([root], root, ignored=ignored)
    assert ids(found) == ["a.mp4", "b/c d#?%20*[1].mp4", "b/ö.mp4"]
    assert list(ignored) == ["two::colons.mp4"]
    for file in found:  # with what they open, videos are read
        assert resolve(root, file.video_id) == file.path
        assert unicodedata.normalize("NFC", read(file.path).decode()) == file.video_id
    assert found[0].path == "memory://bucket/videos/a.mp4"
    assert scan([f"{root}/b"], f"{root}/") == found[1:] and scan([f"{root}/a.mp4"], root) == found[:1]
    for place in ("memory://bucket/videos_too", "s3://bucket/videos", "/bucket/videos"):
        with pytest.raises(SearchIndexError, match="below the root"):
            scan([place], root)
    with pytest.raises(SearchIndexError, match="cannot be listed|no such"):
        scan([f"{root}/nothing"], root)


def test_changes_in_an_object_store(bucket, opened):
    root = "memory://bucket/videos"
    known = state_of(root)
    opened.clear()
    assert len(compare(scan([root], root), known).unchanged) == 3 and opened == []
    bucket.pipe("/bucket/videos/a.mp4", b"A.mp4")
    bucket.pipe("/bucket/videos/moved.mp4", bucket.cat_file("/bucket/videos/b/c d#?%20*[1].mp4"))
    bucket.rm_file("/bucket/videos/b/c d#?%20*[1].mp4")
    changes = compare(scan([root], root), known, absence([root], root))
    assert ids(changes.changed) == ["a.mp4"]
    assert {old: file.video_id for old, file in changes.moved.items()} == {"b/c d#?%20*[1].mp4": "moved.mp4"}
    some = compare(scan([f"{root}/a.mp4"], root), known, absence([f"{root}/a.mp4"], root))
    assert some.missing == [] and some.moved == {}


def test_versions_come_before_times():
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    version = read_version({"ETag": '"abc"', "LastModified": moment})
    assert version == read_version({"ETag": '"abc"'}) != read_version({"ETag": '"abd"', "LastModified": moment})
    assert -(2**63) <= version < 2**63
    assert read_version({"LastModified": moment}) == read_version({"mtime": moment.timestamp()}) == 1767225600 * 10**9
    assert read_version({"size": 5, "mtime": None}) is None


def test_unknown_addresses():
    with pytest.raises(SearchIndexError, match="nosuch://x"):
        scan(["nosuch://x"], "nosuch://x")


def pack(path, folder, names, before="") -> None:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name in names:
            member = archive.gettarinfo(folder / name, before + name)
            member.mtime = 0  # as those write them who want the same archive each time
            with open(folder / name, "rb") as file:
                archive.addfile(member, file if member.isreg() else None)


@pytest.fixture
def unpacked(tmp_path):
    """A folder with what goes into archives."""
    folder = tmp_path / "unpacked"
    write(folder, ["a.mp4", "b/it's #?%20[1].mp4", "b/c.txt", "b/.hidden.mp4", "b/two::colons.mp4"])
    (folder / "link.mp4").symlink_to("/etc/passwd")
    return folder, ["a.mp4", "b/it's #?%20[1].mp4", "b/c.txt", "b/.hidden.mp4", "b/two::colons.mp4", "link.mp4"]


@posix
@pytest.mark.parametrize("before", ["", "./"])
def test_a_tar_as_root(tmp_path, unpacked, before):
    pack(tmp_path / "a b.tar", *unpacked, before)
    root, ignored = f"tar://::file://{tmp_path / 'a b.tar'}", {}
    found = scan([root], root, ignored=ignored)
    assert ids(found) == ["a.mp4", "b/it's #?%20[1].mp4"] and sorted(ignored) == ["b/two::colons.mp4", "link.mp4"]
    assert [read(file.path).decode() for file in found] == [f"content of {file.video_id}" for file in found]
    assert [resolve(root, file.video_id) for file in found] == [file.path for file in found]
    assert ids(compare(found, state_of(root)).unchanged) == ids(found)


@posix
def test_tars_in_a_folder(root, unpacked, opened):
    write(root, ["plain.mp4", "broken.tar", "folder.tar/d.mp4"])
    pack(root / "shards" / "0.tar", *unpacked)
    pack(root / "shards" / "1.tar", *unpacked, "./")
    ignored = {}
    found = scan([root], root, ignored=ignored)
    members = ["a.mp4", "b/it's #?%20[1].mp4"]
    expected = ["folder.tar/d.mp4", "plain.mp4", *(f"shards/{shard}.tar/{name}" for shard in "01" for name in members)]
    assert ids(found) == expected
    assert "broken.tar" in ignored and "shards/0.tar/link.mp4" in ignored
    assert read(found[-1].path) == b"content of b/it's #?%20[1].mp4"
    assert [resolve(root, file.video_id) for file in found] == [file.path for file in found]
    assert scan([root / "shards" / "1.tar"], root) == found[-2:]
    with pytest.raises(SearchIndexError, match="broken.tar"):
        resolve(root, "broken.tar/a.mp4")
    with pytest.raises(SearchIndexError, match="below the root"):
        resolve(root, "shards/0.tar/../../../a.mp4")

    known = state_of(root) | {"broken.tar/a.mp4": KnownFile(1, 1, ""), "shards/0.tar/gone.mp4": KnownFile(1, 1, "")}
    opened.clear()
    (root / "shards" / "1.tar").rename(root / "shards" / "2.tar")
    changes = compare(scan([root], root, ignored=ignored), known, absence([root], root, ignored=ignored))
    assert len(changes.unchanged) == 4 and changes.missing == ["shards/0.tar/gone.mp4"]
    assert {old: file.video_id for old, file in changes.moved.items()} == {
        f"shards/1.tar/{name}": f"shards/2.tar/{name}" for name in members
    }
    assert len(opened) == 2
    place = [root / "plain.mp4"]
    assert compare(scan(place, root), known, absence(place, root)).missing == sorted(
        ["shards/0.tar/gone.mp4", *(f"shards/1.tar/{name}" for name in members)]
    )


@posix
def test_a_tar_that_is_replaced_by_one_of_the_same_sizes(root, unpacked):
    folder, names = unpacked
    pack(root / "0.tar", folder, names)
    known = state_of(root)
    (folder / "a.mp4").write_bytes(b"CONTENT of a.mp4")
    pack(root / "0.tar", folder, names)
    os.utime(root / "0.tar", ns=(5, 5))
    changes = compare(scan([root], root), known)
    assert (ids(changes.changed), ids(changes.touched)) == (["0.tar/a.mp4"], ["0.tar/b/it's #?%20[1].mp4"])
    assert read(changes.changed[0].path) == b"CONTENT of a.mp4"
