# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Packet indexes kept beside a collection: the same frames, errors and notes as without, whatever happens to videos and table."""

import json
import os
import shutil

import numpy as np
import pytest
from numbered_videos import KINDS, plain_decode, read_number, write_numbered
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from torch.utils.data import DataLoader

from clipbert.datasets_scripts.building.packet_tables import keep_packet_indexes
from clipbert.processing import VideoDecodeError, decode_video, packet_tables, read_video_metadata, video_reader
from clipbert.processing.kept_indexes import KeptIndexes
from clipbert.processing.packet_tables import TABLE, PacketTable
from clipbert.processing.streaming import stream_video
from clipbert.processing.video_reader import VideoReader


NAMES = ("a.mp4", "b.mp4", "deep/c.mp4")
# Reordered or not: MP4 alone says where all pictures are, and shows every one.
PLAIN_KINDS = ("mp4_h264", "mp4_h264_pyramid", "mp4_hevc_open_gop")
OTHER_KINDS = ("mkv_h264", "webm_vp8", "avi_mpeg4_b_frames", "flv_h264")


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    """Forget what this process knows: as in a new one."""

    def forget():
        monkeypatch.setattr(video_reader, "KEPT_INDEXES", KeptIndexes())
        packet_tables.open_table.cache_clear()

    forget()
    return forget


@pytest.fixture
def listed(monkeypatch):
    """The names of the files whose packets are listed, in order."""
    names, original = [], video_reader.index_packets

    def index_packets(container, stream, readable, *others):
        names.append(os.path.basename(readable) if isinstance(readable, str) else "no path")
        return original(container, stream, readable, *others)

    monkeypatch.setattr(video_reader, "index_packets", index_packets)
    return names


@pytest.fixture
def collection(tmp_path, forget):
    root = tmp_path / "videos"
    (root / "deep").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        write_numbered(root / name, 60 + number)
    assert keep_packet_indexes(root, NAMES) == 3
    forget()
    return root


def same(one, other):
    """Whether two readings gave the same, all that is said of the video included."""
    np.testing.assert_array_equal(one.frames, other.frames)
    told = [{**vars(each.metadata), "timing": None, "key_frames": None} for each in (one, other)]
    timings = [{**vars(each.metadata.timing), "frame_pts": None} for each in (one, other)]
    np.testing.assert_array_equal(one.metadata.timing.frame_pts, other.metadata.timing.frame_pts)
    np.testing.assert_array_equal(one.metadata.key_frames, other.metadata.key_frames)
    return told[0] == told[1] and timings[0] == timings[1]


@pytest.mark.parametrize("kind", [*PLAIN_KINDS, *OTHER_KINDS])
def test_frames_and_notes_are_those_of_a_list(kind, tmp_path, listed, forget):
    path = write_numbered(tmp_path / f"a{KINDS[kind].suffix}", 60, KINDS[kind])
    requests = ([3], [40, 41, 59], list(range(60)))
    before = [(forget(), decode_video(path, request))[1] for request in requests]
    metadata = read_video_metadata(path)
    keep_packet_indexes(tmp_path, [path.name])
    assert (tmp_path / TABLE).exists() == (kind in PLAIN_KINDS)
    listed.clear()
    for request, expected in zip(requests, before, strict=True):
        forget()
        assert same(decode_video(path, request), expected)
    forget()
    assert read_video_metadata(path).total_num_frames == metadata.total_num_frames == 60
    assert (listed == []) == (kind in PLAIN_KINDS)
    forget()
    streamed = np.concatenate([chunk.frames for chunk in stream_video(path, frame_indices=np.arange(40, 60))])
    np.testing.assert_array_equal(streamed, plain_decode(path)[0][40:])


def test_nothing_is_listed_of_a_collection(collection, listed):
    for number, name in enumerate(NAMES):
        assert [read_number(picture) for picture in decode_video(collection / name, [0, 59]).frames] == [0, 59]
        assert read_video_metadata(str(collection / name)).total_num_frames == 60 + number
    assert listed == []
    assert list(collection.rglob("*.safetensors")) == [collection / TABLE]


def test_a_folder_of_a_collection_moved_out_of_it_has_none(collection, tmp_path, listed):
    os.rename(collection / "deep", tmp_path / "deep")
    assert [read_number(picture) for picture in decode_video(tmp_path / "deep/c.mp4", [30]).frames] == [30]
    assert listed == ["c.mp4"]


def test_too_deep_a_video_has_no_row(tmp_path, listed, forget):
    names = ["1/2/3/4/a.mp4", "1/2/3/4/5/a.mp4"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True)
        write_numbered(tmp_path / name, 60)
    keep_packet_indexes(tmp_path, names)
    forget()
    listed.clear()
    assert list(PacketTable(str(tmp_path / TABLE)).rows) == names[:1]
    assert [read_number(decode_video(tmp_path / name, [30]).frames[0]) for name in names] == [30, 30]
    assert listed == ["a.mp4"]


def test_copies_have_it_too(collection, tmp_path, listed):
    """Their time is another one."""
    copy = shutil.copytree(collection, tmp_path / "copy", copy_function=shutil.copyfile)
    for name in NAMES:
        decode_video(copy / name, [30])
    os.rename(copy, tmp_path / "moved")
    decode_video(tmp_path / "moved" / NAMES[0], [30])
    assert listed == []


def test_a_video_that_was_written_anew(collection, tmp_path, listed, forget):
    """Of the same size, too."""
    path, other = collection / "a.mp4", write_numbered(tmp_path / "other.mp4", 40)
    size, content = path.stat().st_size, other.read_bytes()
    path.write_bytes(content + (size - len(content)).to_bytes(4, "big") + b"free" + bytes(size - len(content) - 8))
    assert path.stat().st_size == size
    assert read_video_metadata(path).total_num_frames == 40
    write_numbered(path, 75)
    assert [read_number(picture) for picture in decode_video(path, [3, 74]).frames] == [3, 74]
    os.truncate(path, path.stat().st_size - 1)
    decode_video(path, [3])
    assert listed == ["a.mp4"] * 3
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(VideoDecodeError):
        decode_video(path, [74])
    (collection / "b.mp4").unlink()
    with pytest.raises(VideoDecodeError, match="No such file"):
        decode_video(collection / "b.mp4", [0])


@pytest.mark.parametrize("kind", ["mp4_h264_pyramid", "mp4_hevc_open_gop"])
def test_an_index_of_another_video_gives_no_wrong_frame(kind, collection, tmp_path, listed, monkeypatch):
    """As of a file that changed in the middle alone: the packets that come are compared with the row."""
    with VideoReader(write_numbered(tmp_path / "other.mp4", 90, KINDS[kind]), "other") as reader:
        index = reader.index
    monkeypatch.setattr(PacketTable, "find", lambda *_: index)
    listed.clear()
    video = decode_video(collection / "a.mp4", [3, 50])
    assert [read_number(picture) for picture in video.frames] == [3, 50] and listed == ["a.mp4"]
    assert video.metadata.total_num_frames == 60


def damage(path, how):
    tensors = load_file(path)
    with safe_open(path, "np") as file:
        told = json.loads(file.metadata()["videos"])
    if how == "cut":
        os.truncate(path, path.stat().st_size // 2)
        return
    if how == "empty":
        path.write_bytes(b"")
        return
    if how == "version":
        told["version"] = 99
    elif how == "name":
        told["names"] = told["names"][:1]
    elif how == "no names":
        del told["names"]
    elif how == "packets":
        tensors["pts"] = tensors["pts"][:-1]
    elif how == "starts":
        tensors["starts"][1] = tensors["starts"][2]
    elif how == "no starts":
        tensors["starts"] = tensors["starts"][:0]
    elif how == "videos":
        tensors["sizes"] = np.stack([tensors["sizes"]] * 2, axis=1)
    elif how == "part":
        del tensors["places"]
    elif how == "a list":
        told = []
    save_file(tensors, path, {} if how == "no metadata" else {"videos": json.dumps(told)})


@pytest.mark.parametrize(
    "how",
    [
        "cut",
        "empty",
        "version",
        "name",
        "no names",
        "no metadata",
        "packets",
        "starts",
        "no starts",
        "videos",
        "part",
        "a list",
    ],
)
def test_a_table_that_cannot_be_read_is_left_aside(how, collection, listed, caplog):
    damage(collection / TABLE, how)
    for _ in range(2):
        for name in NAMES:
            assert [read_number(picture) for picture in decode_video(collection / name, [3, 50]).frames] == [3, 50]
    assert set(listed) == {"a.mp4", "b.mp4", "c.mp4"}
    (record,) = caplog.records
    assert (
        str(collection / TABLE) in record.getMessage() and "Delete it, or run `prepare` again" in record.getMessage()
    )
    listed.clear()
    assert keep_packet_indexes(collection, NAMES) == 3  # it is made anew
    decode_video(collection / "a.mp4", [3])


@pytest.mark.parametrize("part", ["pts", "dts", "is_key", "places", "last_durations", "checks"])
def test_a_row_that_is_damaged_is_not_believed(part, collection, listed):
    tensors = load_file(collection / TABLE)
    with safe_open(collection / TABLE, "np") as file:
        metadata = dict(file.metadata())
    tensors[part].reshape(-1)[0] ^= 1
    save_file(tensors, collection / TABLE, metadata)
    assert read_video_metadata(collection / "a.mp4").total_num_frames == 60 and listed == ["a.mp4"]
    assert read_video_metadata(collection / "b.mp4").total_num_frames == 61 and listed == ["a.mp4"]


def test_a_table_is_brought_up_to_date(collection, listed, forget, tmp_path):
    before = (collection / TABLE).stat().st_mtime_ns, (collection / TABLE).stat().st_ino
    assert keep_packet_indexes(collection, NAMES) == 0 and listed == []
    assert ((collection / TABLE).stat().st_mtime_ns, (collection / TABLE).stat().st_ino) == before
    decode_video(collection / "a.mp4", [0])  # and what is open is noticed to have changed
    write_numbered(collection / "new.mp4", 30)
    write_numbered(collection / "b.mp4", 33)
    (collection / "a.mp4").unlink()
    (collection / "text.mp4").write_text("not a video")
    names = ["new.mp4", "b.mp4", "a.mp4", "text.mp4", *NAMES[2:]]
    assert keep_packet_indexes(collection, names) == 3
    assert sorted(listed) == ["b.mp4", "new.mp4"]
    assert list(PacketTable(str(collection / TABLE)).rows) == ["b.mp4", "deep/c.mp4", "new.mp4"]
    listed.clear()
    assert read_video_metadata(collection / "b.mp4").total_num_frames == 33
    assert read_video_metadata(collection / "new.mp4").total_num_frames == 30 and listed == []
    assert keep_packet_indexes(collection, ["b.mp4"]) == 0
    assert list(PacketTable(str(collection / TABLE)).rows) == ["b.mp4"]
    keep_packet_indexes(collection, ["text.mp4"])
    assert not (collection / TABLE).exists()


def test_what_is_damaged_is_in_no_table(tmp_path, listed, forget):
    path = write_numbered(tmp_path / "a.mp4", 60)
    os.truncate(path, path.stat().st_size - 2000)
    assert keep_packet_indexes(tmp_path, ["a.mp4"]) == 1 and not (tmp_path / TABLE).exists()


def test_another_stream_is_not_meant(collection, listed):
    with pytest.raises(VideoDecodeError, match="no video stream 1"):
        decode_video(collection / "a.mp4", [3], stream_index=1)
    with pytest.raises(VideoDecodeError, match="max_pixels=100"):
        decode_video(collection / "a.mp4", [3], max_pixels=100)
    assert decode_video((collection / "a.mp4").read_bytes(), [3]).metadata.total_num_frames == 60


class Frames:
    """A data set of single frames of a file."""

    def __init__(self, path):
        self.path = path

    def __len__(self):
        return 8

    def __getitem__(self, number):
        with VideoReader(self.path, "first") as reader:
            is_of_table = reader._kept_key is not None
        return read_number(decode_video(self.path, [5 * number]).frames[0]), is_of_table


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_of_a_loader(start, collection):
    PacketTable(str(collection / TABLE))  # one that is open in the first process
    loader = DataLoader(
        Frames(str(collection / "a.mp4")), batch_size=None, num_workers=2, multiprocessing_context=start
    )
    assert list(loader) == [[5 * number, True] for number in range(8)]
