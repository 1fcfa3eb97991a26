# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""WebVid and HowTo100M: csv and json of millions of rows, tar archives, and how workers and processes share them."""

import csv
import gzip
import io
import json
import tarfile
import tracemalloc
from itertools import islice
from pathlib import Path

import pytest
from datasets.distributed import split_dataset_by_node
from small_files import touch
from torch.utils.data import DataLoader

from clipbert.datasets_scripts import find_loader, load_benchmark, prepare
from clipbert.datasets_scripts.building.json_entries import read_entries
from clipbert.datasets_scripts.building.records import AnnotationError
from clipbert.datasets_scripts.building.webdataset import find_shards, read_samples


WEBVID_COLUMNS = ["videoid", "contentUrl", "duration", "page_dir", "name"]
WEBVID_ROWS = [
    ["1001", "https://host/1001.mp4", "PT00H01M12S", "000001_000050", 'A dog, "brown", runs.'],
    ["1002", "https://host/1002.mp4", "PT00H00M09S", "000051_000100", "Sea\nat night."],
]
NARRATIONS = {
    "abcdefghij-": {"start": [1.5, 3, 5.0], "end": [4.0, 6, 7.25], "text": ["cut the onion", "", "then fry it"]},
    "_bcdefghijk": {"start": [0], "end": [2], "text": ["hello"]},
}


@pytest.fixture
def load(tmp_path):
    def load(name, config=None, folder=tmp_path, **arguments):
        return load_benchmark(name, config, data_dir=folder, cache_dir=str(tmp_path.parent / "cache"), **arguments)

    return load


def write_csv(path: Path, rows, columns=WEBVID_COLUMNS) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def write_shards(folder: Path, num_shards: int = 4, samples_each: int = 3) -> list[str]:
    """Shards as video2dataset writes them; the ids of their samples."""
    ids = []
    for shard in range(num_shards):
        members = {}
        for sample in range(samples_each):
            key = f"{shard:05}{sample:04}"
            members[f"{key}.mp4"] = f"video {key}".encode()
            members[f"{key}.txt"] = f"caption {key}".encode()
            members[f"{key}.json"] = json.dumps({"caption": "not this", "videoid": 7}).encode()
            ids.append(f"{shard:05}/{key}")
        write_tar(folder / f"{shard:05}.tar", members)
    return ids


def gather_ids(stream, column: str = "caption_id", num_workers: int = 0) -> list[str]:
    return [row[column] for row in DataLoader(stream, batch_size=None, num_workers=num_workers)]


# --------------------------------------------------------------------------------------------------------------------
# WebVid: csv
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["{page}/", "videos/{page}/", ""])
def test_webvid_csv(layout, load, tmp_path):
    write_csv(tmp_path / "results_2M_train.csv", WEBVID_ROWS)
    write_csv(tmp_path / "results_10M_val.csv", WEBVID_ROWS[:1])
    paths = [f"{layout.format(page=row[3])}{row[0]}.mp4" for row in WEBVID_ROWS]
    touch(tmp_path / "store", *paths)
    rows = load("webvid", "csv_2m", split="train", video_dir=tmp_path / "store")
    assert rows.to_list() == [
        {
            "video_id": "1001",
            "video": f"{tmp_path}/store/{paths[0]}",
            "caption": WEBVID_ROWS[0][4],
            "caption_id": "1001",
        },
        {
            "video_id": "1002",
            "video": f"{tmp_path}/store/{paths[1]}",
            "caption": "Sea\nat night.",
            "caption_id": "1002",
        },
    ]
    assert (
        list(load("webvid", "csv_2m", split="train", video_dir=tmp_path / "store", streaming=True)) == rows.to_list()
    )
    assert load("webvid", "csv_10m", video_dir=tmp_path / "store")["validation"].num_rows == 1
    facts = find_loader("webvid")(str(tmp_path / "cache"), "csv_2m", tmp_path).video_facts()
    assert [facts[name].duration_s for name in ("1001", "1002")] == [72.0, 9.0]


def test_webvid_leaves_out_what_was_never_downloaded(load, tmp_path, caplog):
    write_csv(tmp_path / "results_2M_train.csv", [WEBVID_ROWS[0], ["1003", "https://host/1003.mp4", "", "", "A cat."]])
    touch(tmp_path, "000001_000050/1001.mp4")
    for streaming in (False, True):
        rows = load("webvid", "csv_2m", split="train", streaming=streaming)
        assert [row["video_id"] for row in rows] == ["1001"]
    assert caplog.text.count("left out 1 videos without page_dir") == 2


def test_videos_that_are_gone(load, tmp_path):
    write_csv(tmp_path / "results_2M_train.csv", WEBVID_ROWS)
    touch(tmp_path, "000001_000050/1001.mp4")
    for streaming in (False, True):
        with pytest.raises(FileNotFoundError, match="000051_000100/1002.mp4"):
            list(load("webvid", "csv_2m", split="train", streaming=streaming))
        assert len(list(load("webvid", "csv_2m", split="train", streaming=streaming, on_missing="skip"))) == 1
    touch(tmp_path, "000051_000100/1002.mp4")  # the table is made anew with its path
    assert load("webvid", "csv_2m", split="train").num_rows == 2


@pytest.mark.parametrize("num_workers", [0, 2])
def test_parts_of_a_csv_are_shared(num_workers, load, tmp_path):
    """A large csv goes to workers in the parts that the authors' script cuts it into."""
    numbers = [str(number) for number in range(24)]
    for part in range(12):
        rows = [[number, "", "", "page", f"caption {number}"] for number in numbers[2 * part : 2 * part + 2]]
        write_csv(tmp_path / "results_10M_train_12" / f"{part}.csv", rows)
    touch(tmp_path, *(f"page/{number}.mp4" for number in numbers))
    stream = load("webvid", "csv_10m", split="train", streaming=True)
    assert stream.num_shards == 12
    assert [row["video_id"] for row in stream] == numbers  # part 2 before part 10
    shares = [gather_ids(split_dataset_by_node(stream, rank, 2), num_workers=num_workers) for rank in range(2)]
    assert all(len(share) == 12 for share in shares) and sorted(sum(shares, [])) == sorted(numbers)


@pytest.mark.parametrize(
    ("columns", "rows", "message"),
    [
        (WEBVID_COLUMNS[:4], [WEBVID_ROWS[0][:4]], "line 2: expected a column 'name'"),
        ([*WEBVID_COLUMNS[:3], "page", "name"], WEBVID_ROWS, "line 2: expected a column 'page_dir'"),
        (WEBVID_COLUMNS, [WEBVID_ROWS[0][:4]], "line 2: expected the 5 columns"),
        (WEBVID_COLUMNS, [["1003", "", "", "page", " "]], "line 2: expected 'name' to be a non-empty str"),
        (WEBVID_COLUMNS, [["", "", "", "page", "A cat."]], "line 2: expected 'videoid' to be a non-empty str"),
        (
            WEBVID_COLUMNS,
            [["1003", "", "", "../page", "A cat."]],
            "line 2: expected a page_dir and videoid within the",
        ),
        (
            WEBVID_COLUMNS,
            [["/etc/1003", "", "", "page", "A cat."]],
            "line 2: expected a page_dir and videoid within the",
        ),
    ],
)
def test_malformed_rows_of_webvid(columns, rows, message, load, tmp_path):
    write_csv(tmp_path / "results_2M_train.csv", rows, columns)
    for streaming in (False, True):
        with pytest.raises(AnnotationError, match=r"results_2M_train\.csv, " + message):
            list(load("webvid", "csv_2m", split="train", streaming=streaming))


def test_choices_of_webvid(load, tmp_path):
    with pytest.raises(ValueError, match="got config 'csv'; choose one of\n  csv_2m: .*\n  csv_10m: [^\n]*$"):
        load("webvid", "csv")
    with pytest.raises(FileNotFoundError, match=r"train: results_2M_train\.csv\n  validation: results_2M_val\.csv"):
        load("webvid", "csv_2m")
    with pytest.raises(FileNotFoundError, match=r"No \.tar in .* or in its folders train/, validation/"):
        load("webvid", "webdataset")
    write_csv(tmp_path / "results_2M_train.csv", [])
    with pytest.raises(AnnotationError, match=r"results_2M_train\.csv holds no row"):
        load("webvid", "csv_2m")
    with pytest.raises(FileNotFoundError, match=r"No file of the split 'validation' of .*results_2M_val\.csv"):
        load("webvid", "csv_2m", split="validation")
    for parts in (4, 8):
        write_csv(tmp_path / f"results_10M_train_{parts}" / "0.csv", WEBVID_ROWS)
    with pytest.raises(ValueError, match="Expected one folder of parts of results_10M_train.csv, got .*_4, .*_8"):
        load("webvid", "csv_10m")


def test_a_stream_of_many_rows_holds_few_of_them(load, tmp_path):
    """A dictionary of the ids that were seen would grow with a set of ten million rows."""
    write_csv(tmp_path / "results_2M_train.csv", ([str(number), "", "", "page", "A cat."] for number in range(30_000)))
    stream = load("webvid", "csv_2m", split="train", streaming=True)
    touch(tmp_path, *(f"page/{number}.mp4" for number in range(3)))
    assert len(list(islice(stream, 3))) == 3
    examples = find_loader("webvid")(str(tmp_path / "cache"), "csv_2m", tmp_path)._generate_examples(
        split="train", files=[tmp_path / "results_2M_train.csv"], several=False
    )
    next(examples)
    tracemalloc.start()
    assert sum(1 for _ in examples) == 29_999
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


# --------------------------------------------------------------------------------------------------------------------
# Tar archives
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["webvid", "howto100m"])
def test_shards(name, load, tmp_path):
    ids = write_shards(tmp_path)
    rows = load(name, "webdataset", split="train")
    assert rows["caption_id"][:] == ids and rows.features["video"].dtype == "large_binary"
    expected = {"video_id": ids[0], "video": b"video 000000000", "caption": "caption 000000000", "caption_id": ids[0]}
    assert rows[0] == expected
    stream = load(name, "webdataset", split="train", streaming=True)
    assert list(stream) == rows.to_list() and stream.num_shards == 4


def test_split_folders_of_shards(load, tmp_path):
    write_shards(tmp_path / "train", num_shards=2)
    write_shards(tmp_path / "val", num_shards=1)
    assert {split: len(rows) for split, rows in load("webvid", "webdataset").items()} == {"train": 6, "validation": 3}
    with pytest.raises(ValueError, match="Unknown split of webvid/webdataset 'test'. Known: train, validation"):
        load("webvid", "webdataset", split="test")


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_every_row_comes_once(world_size, num_workers, load, tmp_path):
    """Three processes cannot divide four shards: they take every third row of all of them."""
    ids = write_shards(tmp_path)
    stream = load("webvid", "webdataset", split="train", streaming=True)
    shares = [
        gather_ids(split_dataset_by_node(stream, rank, world_size), num_workers=num_workers)
        for rank in range(world_size)
    ]
    assert sorted(sum(shares, [])) == ids and all(shares)


def test_processes_share_the_shards_of_a_table(load, tmp_path):
    ids = write_shards(tmp_path)
    builder = find_loader("webvid")(cache_dir=str(tmp_path / "cache"), config_name="webdataset", data_dir=tmp_path)
    builder.download_and_prepare(num_proc=2)
    assert sorted(builder.as_dataset(split="train")["caption_id"]) == ids


def test_forms_of_samples(tmp_path):
    members = {
        "./a/01.webm": b"video",
        "./a/01.json": b'{"caption": " from json "}',
        "./a/01.wav": b"sound",
        "b/01.video.MKV": b"other",
        "b/01.txt": "Katze läuft\n".encode(),
    }
    write_tar(tmp_path / "shard.tar", members)
    samples = [record.values for record in read_samples(tmp_path / "shard.tar")]
    assert samples == [
        {"key": "a/01", "video": b"video", "caption": "from json"},
        {"key": "b/01", "video": b"other", "caption": "Katze läuft"},
    ]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"1.mp4": b"v"}, "expected a caption in .txt, or as 'caption' in .json, got 1.mp4"),
        ({"1.mp4": b"v", "1.txt": b" "}, "expected a caption in .txt"),
        ({"1.mp4": b"v", "1.json": b'{"name": "x"}'}, "expected a caption in .txt"),
        ({"1.mp4": b"v", "1.json": b'{"caption": null}'}, "expected a caption in .txt"),
        ({"1.mp4": b"v", "1.json": b'["x"]'}, "expected a caption in UTF-8, or a JSON object with 'caption'"),
        ({"1.mp4": b"v", "1.json": b'{"caption"'}, "expected a caption in UTF-8, or a JSON object with 'caption'"),
        ({"1.mp4": b"v", "1.txt": b"\xff"}, "expected a caption in UTF-8"),
        ({"1.txt": b"x"}, "expected one video that is not empty, got 1.txt"),
        ({"1.mp4": b"", "1.txt": b"x"}, "expected one video that is not empty, got 1.mp4, 1.txt"),
        (
            {"1.mp4": b"v", "1.mkv": b"v", "1.txt": b"x"},
            "expected one video that is not empty, got 1.mp4, 1.mkv, 1.txt",
        ),
    ],
)
def test_samples_without_caption_or_video(members, message, load, tmp_path):
    write_tar(tmp_path / "good.tar", {"0.mp4": b"v", "0.txt": b"x"})
    write_tar(tmp_path / "odd.tar", {"0.mp4": b"v", "0.txt": b"x", **members})
    for streaming in (False, True):
        with pytest.raises(AnnotationError, match=rf"odd\.tar, 1: {message}"):
            list(load("webvid", "webdataset", split="train", streaming=streaming))


def test_shards_of_other_systems(tmp_path):
    """Suffixes in upper case, a byte order mark, and what macOS adds to folders and archives."""
    members = {"./d/0.MP4": b"v", "d/._0.MP4": b"\0", "d/0.TXT": b"\xef\xbb\xbfa dog\r\n", "__MACOSX/d/._0.TXT": b"\0"}
    members |= {"d/.DS_Store": b"\0", "d/1.mp4": b"w", "d/1.JSON": b'\xef\xbb\xbf{"caption": "a cat"}'}
    write_tar(tmp_path / "a.TAR", members)
    write_tar(tmp_path / "._a.tar", {"x": b""})
    assert find_shards(tmp_path) == {"train": [tmp_path / "a.TAR"]}
    samples = [tuple(record.values.values()) for record in read_samples(tmp_path / "a.TAR")]
    assert samples == [("d/0", b"v", "a dog"), ("d/1", b"w", "a cat")]


@pytest.mark.parametrize(
    "caption", [b"\xff\xfea\0", b"[" * 10**5, b'{"caption": "\\ud83d"}', b'{"caption": "\\u0000a"}']
)
def test_captions_that_are_no_text(caption, load, tmp_path):
    write_tar(tmp_path / "a.tar", {"0.mp4": b"v", "0.txt" if caption[0] == 255 else "0.json": caption})
    with pytest.raises(AnnotationError, match=r"a\.tar, 0: expected (a caption in UTF-8|'caption' to be text)"):
        load("webvid", "webdataset", split="train")


def claimed(size: int, sparse: bool) -> bytes:
    """An archive of 2.5 kB with a video that claims to be of another size."""
    if sparse:
        member = tarfile.TarInfo("0.mp4")
        member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(size)}
        member.size, data = 512, b"0\n".ljust(512, b"\0")
        return member.tobuf(tarfile.PAX_FORMAT) + data + bytes(1024)
    member = tarfile.TarInfo("0.mp4")
    member.size = size
    return member.tobuf(tarfile.GNU_FORMAT) + bytes(1536)


@pytest.mark.parametrize(
    "size, sparse, message",
    [
        (4 << 30, True, r"'0\.mp4' of 4,294,967,296 bytes is sparse"),
        (1 << 62, False, r"'0\.mp4' of 4,611,686,018,427,387,904 bytes has more than"),
        (1 << 29, False, r"it breaks off at its beginning \('0\.mp4' goes on beyond its end\)"),
    ],
)
def test_videos_that_claim_gigabytes(size, sparse, message, tmp_path):
    (tmp_path / "a.tar").write_bytes(claimed(size, sparse))
    tracemalloc.start()
    with pytest.raises(AnnotationError, match=rf"a\.tar: .*{message}"):
        list(read_samples(tmp_path / "a.tar"))
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()


def test_shards_that_break_off(load, tmp_path):
    """Wherever the file ends before its end mark, it is told; tarfile itself takes some of these for the end."""
    write_shards(tmp_path, num_shards=1, samples_each=2)
    shard = tmp_path / "00000.tar"
    whole, block = shard.read_bytes(), 512
    assert whole[12 * block : 13 * block] == bytes(block) != whole[11 * block : 12 * block]  # two blocks for each file
    for length in (0, 100, block, block + 5, 6 * block, 6 * block + 100, 12 * block):
        shard.write_bytes(whole[:length])
        with pytest.raises(
            AnnotationError, match=r"00000\.tar: expected a whole tar archive, it breaks off|00000.tar, 000000000: "
        ):
            list(read_samples(shard))
        with pytest.raises(AnnotationError, match=r"00000\.tar"):
            list(load("webvid", "webdataset", split="train", streaming=True))
    shard.write_bytes(whole[: 6 * block] + b"\1" * block + whole[7 * block :])
    with pytest.raises(AnnotationError, match=r"it breaks off after 000000000\.json"):
        list(read_samples(shard))
    write_tar(shard, {})
    with pytest.raises(AnnotationError, match=r"00000\.tar holds no sample"):
        list(read_samples(shard))


# --------------------------------------------------------------------------------------------------------------------
# HowTo100M
# --------------------------------------------------------------------------------------------------------------------


def moments_of(rows) -> list[tuple]:
    return [(row["moment_id"], row["start_s"], row["end_s"], row["caption"]) for row in rows]


EXPECTED = [
    ("abcdefghij--0", 1.5, 4.0, "cut the onion"),
    ("abcdefghij--2", 5.0, 7.25, "then fry it"),
    ("_bcdefghijk-0", 0.0, 2.0, "hello"),
]


@pytest.mark.parametrize("name", ["caption.json", "raw_caption.json", "raw_caption_superclean.json.gz"])
def test_howto100m(name, load, tmp_path, caplog):
    data = json.dumps(NARRATIONS).encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    touch(tmp_path, "abcdefghij-.webm", "_bcdefghijk.mp4")
    config = name.partition(".")[0]
    rows = load("howto100m", config, split="train")
    assert moments_of(rows) == EXPECTED
    assert rows["video"][:] == [f"{tmp_path}/abcdefghij-.webm"] * 2 + [f"{tmp_path}/_bcdefghijk.mp4"]
    assert set(rows["duration_s"]) == {None}
    assert "left out 1 narrations without words" in caplog.text
    assert list(load("howto100m", config, split="train", streaming=True)) == rows.to_list()


@pytest.mark.parametrize("folder", ["howto100m_captions", "captions", ""])
@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_howto100m_per_video(folder, suffix, load, tmp_path):
    for video_id, columns in NARRATIONS.items():
        path = tmp_path / folder / f"{video_id}{suffix}"
        if suffix == ".csv":
            write_csv(path, zip(*columns.values(), strict=True), columns=list(columns))
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(columns))
    touch(tmp_path, "abcdefghij-.mkv", "_bcdefghijk.mp4")
    stream = load("howto100m", "per_video", split="train", streaming=True)
    assert moments_of(stream) == EXPECTED[2:] + EXPECTED[:2]  # by name of the file
    assert sorted(gather_ids(stream, "moment_id", num_workers=2)) == sorted(moment[0] for moment in EXPECTED)
    write_csv(tmp_path / "howto100m_videos.csv", [["abcdefghij-.mp4"]], columns=["video_path"])
    assert moments_of(load("howto100m", "per_video", split="train")) == EXPECTED[:2]
    write_csv(tmp_path / "howto100m_videos.csv", [["nobody.mp4"]], columns=["video_path"])
    with pytest.raises(AnnotationError, match=r"howto100m_videos\.csv, line 2: expected captions nobody\.csv"):
        load("howto100m", "per_video")
    write_csv(tmp_path / "howto100m_videos.csv", [["nobody.mp4"]], columns=["path"])
    with pytest.raises(AnnotationError, match=r"howto100m_videos\.csv, line 2: expected a column 'video_path'"):
        load("howto100m", "per_video")


def test_categories_of_howto100m(load, tmp_path):
    (tmp_path / "caption.json").write_text(json.dumps(NARRATIONS))
    touch(tmp_path, "abcdefghij-.mp4", "_bcdefghijk.mp4")
    with pytest.raises(FileNotFoundError, match=r"`category` needs HowTo100M_v1\.csv"):
        load("howto100m", "caption", category="Food and Entertaining")
    rows = [["abcdefghij-", "Food and Entertaining", "1"], ["_bcdefghijk", "Health", "1"]]
    write_csv(tmp_path / "HowTo100M_v1.csv", rows, columns=["video_id", "category_1", "rank"])
    assert moments_of(load("howto100m", "caption", split="train", category="Food and Entertaining")) == EXPECTED[:2]
    with pytest.raises(ValueError, match=r"HowTo100M_v1\.csv: Unknown category 'Helth'; did you mean 'Health'"):
        load("howto100m", "caption", category="Helth")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"start": [4], "end": [2], "text": ["hi"]},
            r"v\[0\]: expected 0 <= start_s < end_s in seconds, got 4.0 and 2.0",
        ),
        ({"start": [2], "end": [2], "text": ["hi"]}, r"v\[0\]: expected 0 <= start_s < end_s"),
        (
            {"start": [1, "x"], "end": [2, 3], "text": ["hi", "ho"]},
            r"v\[1\]: expected 'start' to be a number, got 'x'",
        ),
        ({"start": [1, 2], "end": [2], "text": ["hi"]}, "v: expected lists start, end and text of one length"),
        ({"start": [1], "end": [2]}, "v: expected lists start, end and text of one length"),
        ({"start": 1, "end": 2, "text": "hi"}, "v: expected lists start, end and text of one length"),
        ({"start": [1], "end": [2], "text": [5]}, r"v\[0\]: expected 'text' to be a non-empty str, got 5"),
        (["hi"], r"v: expected a JSON object with start, end and text, got \['hi'\]"),
    ],
)
def test_malformed_narrations(columns, message, load, tmp_path):
    (tmp_path / "caption.json").write_text(json.dumps({**NARRATIONS, "v": columns}))
    (tmp_path / "captions").mkdir()
    (tmp_path / "captions" / "v.json").write_text(json.dumps(columns))
    for file, config in (("caption.json", "caption"), ("v.json", "per_video")):
        with pytest.raises(AnnotationError, match=f"{file}, {message}"):
            prepare(find_loader("howto100m")(str(tmp_path / "cache"), config, tmp_path))


def test_malformed_rows_of_narrations(load, tmp_path):
    rows = [["1.5", "4.0", "cut the onion"]]
    for columns, extra, message in (
        (["start", "end", "words"], [], r"line 1: expected columns \['text'\] too"),
        (
            ["start", "end", "text"],
            [["7", "5", "hi"]],
            "line 3: expected 0 <= start_s < end_s in seconds, got 7.0 and 5.0",
        ),
        (["start", "end", "text"], [["7", "5"]], "line 3: expected the 3 columns"),
        (["start", "end", "text"], [["", "5", "hi"]], "line 3: expected 'start' to be a non-empty"),
    ):
        write_csv(tmp_path / "captions" / "v.csv", rows + extra, columns=columns)
        with pytest.raises(AnnotationError, match=rf"v\.csv, {message}"):
            load("howto100m", "per_video")


def test_choices_of_howto100m(load, tmp_path):
    with pytest.raises(
        ValueError, match="choose one of\n  caption: .*\n  raw_caption: .*\n  raw_caption_superclean: .*\n  per_"
    ):
        load("howto100m")
    with pytest.raises(FileNotFoundError, match=r"train: raw_caption\.json, or raw_caption\.json\.gz"):
        load("howto100m", "raw_caption")
    with pytest.raises(FileNotFoundError, match="No <video id>.csv or <video id>.json in"):
        load("howto100m", "per_video")


# --------------------------------------------------------------------------------------------------------------------
# JSON larger than the memory
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 2, 7, 1 << 20])
def test_entries_across_chunks(chunk, tmp_path, monkeypatch):
    """However the file is cut into pieces, the entries are those of `json.load`."""
    monkeypatch.setattr("clipbert.datasets_scripts.building.json_entries.CHUNK", chunk)
    document = {**NARRATIONS, 'ü\\"}': {"text": ['a "quoted" {text}, \\ é 😀'], "deep": [[[{}]]]}, "n": 12.5, "e": []}
    for text in (
        json.dumps(document),
        json.dumps(document, indent=1, ensure_ascii=False),
        f"\ufeff {json.dumps(document)} \n",
    ):
        path = tmp_path / "caption.json"
        path.write_text(text, encoding="utf-8")
        assert {record.entry: record.values for record in read_entries(path)} == document


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at its beginning: expected '{' in the JSON object, got ''"),
        ("[1]", "at its beginning: expected '{' in the JSON object, got '\\['"),
        ("{}", "at its beginning: expected one JSON object of videos and nothing else"),
        ('{"a": {"start": [1]}, "b": {"start": [1', "b: expected a JSON value"),
        ('{"a": {"start": [1]}', "a: expected ',' in the JSON object, got ''"),
        ('{"a": {"start": [1]} "b": {}}', "a: expected ',' in the JSON object, got '\"'"),
        ('{"a" {}}', "a: expected ':' in the JSON object, got '{'"),
        ('{"a": {}} {"b": {}}', "a: expected one JSON object of videos and nothing else"),
        ('{"a": {"start": [1], "start": [2]}}', "a: expected a JSON value .*the key 'start' stands twice"),
        ('{"a": 12', "a: expected a JSON value .*it breaks off in 12"),
        ('{"a": {"start": [1]}, }', "a: expected the name of an entry, got '}'"),
        ("{5: {}}", "at its beginning: expected the name of an entry, got '5'"),
    ],
)
def test_broken_json(text, message, tmp_path):
    path = tmp_path / "caption.json"
    path.write_text(text)
    with pytest.raises(AnnotationError, match=rf"caption\.json, {message}"):
        list(read_entries(path))


def test_broken_bytes_and_endless_entries(tmp_path, monkeypatch):
    path = tmp_path / "caption.json"
    path.write_bytes(b'{"a": {"text": ["\xff"]}}')
    with pytest.raises(AnnotationError, match=r"caption\.json, at its beginning: expected a whole file in UTF-8"):
        list(read_entries(path))
    (tmp_path / "caption.json.gz").write_bytes(gzip.compress(json.dumps(NARRATIONS).encode())[:-20])
    with pytest.raises(AnnotationError, match=r"caption\.json\.gz, .*: expected a whole file in UTF-8"):
        list(read_entries(tmp_path / "caption.json.gz"))
    monkeypatch.setattr("clipbert.datasets_scripts.building.json_entries.CHUNK", 16)
    monkeypatch.setattr("clipbert.datasets_scripts.building.json_entries.LONGEST_ENTRY", 100)
    path.write_text('{"a": {"text": ["' + "word " * 100 + '"]}}')
    with pytest.raises(AnnotationError, match=r"caption\.json, a: expected a JSON value"):
        list(read_entries(path))


def test_a_large_json_is_read_with_little_memory(tmp_path):
    path = tmp_path / "caption.json"
    columns = {"start": list(range(200)), "end": list(range(1, 201)), "text": ["some words here"] * 200}
    path.write_text("{" + ", ".join(f'"video{number:06}": {json.dumps(columns)}' for number in range(2500)) + "}")
    assert path.stat().st_size > 12_000_000
    tracemalloc.start()
    assert sum(len(record.values["text"]) for record in read_entries(path)) == 500_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 9_000_000  # a few pieces of the file; the whole document takes more than 30 MB
