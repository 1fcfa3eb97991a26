# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Packet indexes that are kept between readings of a file: the same frames, errors and notes as without, whatever happens to the file."""

import os
import threading
from dataclasses import fields

import numpy as np
import pytest
from numbered_videos import KINDS, plain_decode, read_number, write_numbered
from torch.utils.data import DataLoader

from clipbert.processing import VideoDecodeError, decode_video, kept_indexes, read_video_metadata, video_reader
from clipbert.processing.kept_indexes import IndexKey, KeptIndexes, file_state
from clipbert.processing.streaming import stream_video
from clipbert.processing.video_reader import VideoReader


QUICK = ("mp4_h264", "mp4_hevc_open_gop", "mkv_h264", "webm_vp8", "avi_mpeg4_b_frames")
# Decoding cannot start at all of their key frames: a kept index is made anew, then doubted.
MISLEADING = {"mp4_h264_open_gop", "mp4_h264_intra_refresh"}
REQUESTS = ([3], [40, 41, 59], [0, 17, 30], list(range(60)))
LONG_AGO = 1_700_000_000
MOST_FILES, MOST_IN_EARNEST = 4, kept_indexes.MOST_FILES  # few in these tests


@pytest.fixture(autouse=True)
def kept(monkeypatch):
    """No indexes, to begin with, and few at most."""
    kept = KeptIndexes()
    monkeypatch.setattr(kept_indexes, "MOST_FILES", MOST_FILES)
    monkeypatch.setattr(video_reader, "KEPT_INDEXES", kept)
    return kept


@pytest.fixture
def listed(monkeypatch):
    """The files whose packets are read, in order."""
    names, original = [], video_reader.index_packets

    def index_packets(container, stream, readable, *others):
        names.append(readable if isinstance(readable, str) else "no path")
        return original(container, stream, readable, *others)

    monkeypatch.setattr(video_reader, "index_packets", index_packets)
    return names


def age(path, seconds=LONG_AGO):
    os.utime(path, (seconds, seconds))
    return path


def write_old(path, num_frames=60, kind="mp4_h264", **options):
    return age(write_numbered(path, num_frames, KINDS[kind], **options))


def facts(metadata):
    """All that is said of a video, to be compared."""
    values = {one.name: getattr(metadata, one.name) for one in fields(metadata)}
    timing = vars(values.pop("timing"))
    return {name: np.asarray(value).tolist() for name, value in {**values, **timing}.items()}


def read(path, request):
    video = decode_video(path, request)
    return video.frames, facts(video.metadata)


def said_of(path, request):
    with pytest.raises(VideoDecodeError) as error:
        decode_video(path, request)
    return str(error.value)


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in KINDS])
def test_parts_of_a_file(name, tmp_path, kept, listed):
    """Frames and metadata are those of readings that list the packets, and the packets are listed once."""
    path = write_old(tmp_path / f"a{KINDS[name].suffix}", kind=name)
    apart = []
    for request in REQUESTS:
        apart.append(read(path, request))
        kept.__init__()
    metadata = facts(read_video_metadata(path))
    assert len(listed) == len(REQUESTS) + 1
    listed.clear()
    for request, (frames, said) in zip(REQUESTS, apart, strict=True):
        again, said_again = read(path, request)
        np.testing.assert_array_equal(again, frames)
        np.testing.assert_array_equal(again, plain_decode(path)[0][request])
        assert said_again == said
    assert facts(read_video_metadata(path)) == metadata
    assert (listed == []) == (name not in MISLEADING)


def test_a_file_that_is_replaced_or_written(tmp_path, listed):
    """Also by one of the same size and time."""
    path, other = write_old(tmp_path / "a.mp4"), write_old(tmp_path / "other.mp4", 40)
    size = path.stat().st_size

    def contents_of(number):
        content = other.read_bytes() if number % 2 else original
        return content + (size - len(content)).to_bytes(4, "big") + b"free" + bytes(size - len(content) - 8)

    original = path.read_bytes()
    size += 100
    path.write_bytes(contents_of(0))
    for number in range(1, 5):
        age(path)
        frames, _ = read(path, [5])
        expected = write_old(tmp_path / f"{number}.mp4", 60 if number % 2 else 40)
        assert read_video_metadata(path).total_num_frames == (60 if number % 2 else 40)
        np.testing.assert_array_equal(frames, plain_decode(expected)[0][[5]])
        if number < 3:  # another file
            (tmp_path / "new").write_bytes(contents_of(number))
            os.replace(age(tmp_path / "new"), path)
        else:  # the same one, written anew
            path.write_bytes(contents_of(number))
        assert path.stat().st_size == size
    assert len(listed) == 4


def test_a_file_that_was_just_written_may_be_written_again(tmp_path, listed):
    path = write_numbered(tmp_path / "a.mp4", 30)
    for _ in range(2):
        decode_video(path, [3])
    assert len(listed) == 2
    age(path)
    for _ in range(2):
        decode_video(path, [3])
    assert len(listed) == 3


def test_a_file_that_is_cut_off(tmp_path, kept, listed):
    """What is damaged is listed each time, and says the same each time."""
    path = write_old(tmp_path / "a.mkv", kind="mkv_h264")
    frames, _ = read(path, [3, 50])
    os.truncate(path, path.stat().st_size // 2)
    age(path)
    said = [said_of(path, [3, 50]) for _ in range(2)]
    assert said[0] == said[1] and "cut off" in said[0] and len(listed) == 3
    kept.__init__()
    assert said_of(path, [3, 50]) == said[0]
    np.testing.assert_array_equal(decode_video(path, [3]).frames, frames[:1])
    assert read_video_metadata(path).timing.is_complete is False
    path.unlink()
    assert "No such file" in said_of(path, [3])


def test_an_index_of_another_content_gives_no_wrong_frame(tmp_path, kept, listed):
    """As of a file that was changed between two looks at it: the packets that come are compared with those of the index."""
    path, other = write_old(tmp_path / "a.mp4", 250), write_old(tmp_path / "b.mp4", 240, kind="mp4_h264_pyramid")
    with VideoReader(other, "other") as reader:
        index = reader.index
    key = IndexKey(file_state(str(path)), 0, kept_key_limit(path, kept))
    kept.keep(key, index)
    assert [read_number(picture) for picture in decode_video(path, [3, 200]).frames] == [3, 200]
    assert kept.find(key).num_frames == 250 and len(listed) == 3
    kept.keep(key, index)
    (chunk,) = stream_video(path, frame_indices=np.arange(200, 210))
    assert [read_number(picture) for picture in chunk.frames] == list(range(200, 210))
    assert decode_video(path, [3]).metadata.total_num_frames == 250


def kept_key_limit(path, kept):
    """The limit of pixels by which `decode_video` keeps the index of a file."""
    decode_video(path, [0])
    (key,) = [key for key in kept._indexes if key.file.path == str(path)]
    return key.max_pixels


def test_sources_that_are_no_path(tmp_path, listed):
    path = write_old(tmp_path / "a.mp4")
    for _ in range(2):
        decode_video(path.read_bytes(), [3])
        with path.open("rb") as file:
            decode_video(file, [3])
    assert listed == ["no path"] * 4


def test_streams_of_a_file_have_an_index_each(tmp_path, listed):
    path = write_old(tmp_path / "a.mp4")
    for _ in range(2):
        decode_video(path, [3])
        with pytest.raises(VideoDecodeError, match="no video stream 1"):
            decode_video(path, [3], stream_index=1)
    assert len(listed) == 1


def test_what_a_caller_does_to_its_metadata_stays_there(tmp_path):
    path = write_old(tmp_path / "a.mp4")
    metadata = read_video_metadata(path)
    expected = facts(metadata)
    metadata.timing.frame_pts[:] = 0
    metadata.key_frames[:] = 7
    assert facts(read_video_metadata(path)) == expected


def test_few_indexes_are_kept(tmp_path, kept, monkeypatch):
    paths = [write_old(tmp_path / f"{number}.mp4", 20) for number in range(MOST_FILES + 2)]
    for path in paths:
        decode_video(path, [3])
    assert [key.file.path for key in kept._indexes] == [str(path) for path in paths[-MOST_FILES:]]
    index = next(iter(kept._indexes.values()))
    index.number_at((0, 0))
    arrays = [value for value in vars(index).values() if isinstance(value, np.ndarray)]
    assert sum(array.nbytes for array in arrays) <= 60 * len(index.pts)  # 5.4 MB of an hour at 25 frames a second
    monkeypatch.setattr(kept_indexes, "MOST_PACKETS", 50)
    decode_video(paths[0], [3])
    assert len(kept._indexes) == 2
    decode_video(write_old(tmp_path / "long.mp4", 60), [3])
    assert len(kept._indexes) == 1


def test_a_second_epoch_lists_nothing(tmp_path, kept, listed, monkeypatch):
    monkeypatch.setattr(kept_indexes, "MOST_FILES", MOST_IN_EARNEST)
    paths = [write_old(tmp_path / f"{number}.mp4", 20) for number in range(12)]
    first = [decode_video(path, [3]).frames for path in paths]
    second = [decode_video(path, [3]).frames for path in paths]
    np.testing.assert_array_equal(first, second)
    assert listed == [f"file:{path}" for path in paths]


def test_threads(tmp_path, kept):
    """Several threads read some files, more than are kept, which are replaced meanwhile."""
    paths = [write_old(tmp_path / f"{number}.mp4", 30 + number) for number in range(MOST_FILES + 1)]
    pictures = [plain_decode(path)[0].copy() for path in paths]
    errors = []

    def work(seed):
        rng = np.random.default_rng(seed)
        try:
            for _ in range(20):
                number = int(rng.integers(len(paths)))
                request = np.unique(rng.integers(0, 30, 2))
                video = decode_video(paths[number], request)
                np.testing.assert_array_equal(video.frames, pictures[number][request])
                assert video.metadata.total_num_frames == 30 + number
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for number in range(20):
        copy = tmp_path / "copy"
        copy.write_bytes(paths[number % len(paths)].read_bytes())
        os.replace(age(copy, LONG_AGO + number), paths[number % len(paths)])
    for thread in threads:
        thread.join()
    assert errors == [] and len(kept._indexes) <= MOST_FILES


class Parts:
    """A data set of single frames of a file."""

    def __init__(self, path):
        self.path = path

    def __len__(self):
        return 12

    def __getitem__(self, number):
        with VideoReader(self.path, "first") as first, VideoReader(self.path, "second") as second:
            is_kept = first.index is second.index
        return read_number(decode_video(self.path, [5 * number]).frames[0]), is_kept


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_of_a_loader(start, tmp_path):
    path = write_old(tmp_path / "a.mp4")
    decode_video(path, [3])  # forked workers find its index
    loader = DataLoader(Parts(path), batch_size=None, num_workers=2, multiprocessing_context=start)
    assert list(loader) == [[5 * number, True] for number in range(12)]


# --- a part of a video as a stream


def packets_decoded(monkeypatch):
    numbers, original = [], VideoReader._decode
    monkeypatch.setattr(
        VideoReader, "_decode", lambda self, packet: (numbers.append(packet), original(self, packet))[1]
    )
    return numbers


PASSING = {"mp4_h264": True, "mkv_h264": True, "webm_vp9": True, "flv_h264": True}
IN_ORDER = {
    "mp4_h264_open_gop": False,
    "avi_h264_b_frames": False,
}  # a key frame from which decoding cannot start; no times


@pytest.mark.parametrize(("name", "is_passing"), (PASSING | IN_ORDER).items())
def test_a_stream_begins_where_its_frames_do(name, is_passing, tmp_path, monkeypatch):
    path = write_old(tmp_path / f"a{KINDS[name].suffix}", 240, name, size=(48, 64))
    decoded = packets_decoded(monkeypatch)
    numbers = np.concatenate([np.arange(150, 180), [199, 201]])
    chunks = list(stream_video(path, frame_indices=numbers, chunk_size=7))
    assert np.concatenate([chunk.frame_indices for chunk in chunks]).tolist() == numbers.tolist()
    assert [len(chunk.frames) for chunk in chunks] == [7, 7, 7, 7, 4]
    pictures, _ = plain_decode(path)
    np.testing.assert_array_equal(np.concatenate([chunk.frames for chunk in chunks]), pictures[numbers])
    seconds = np.concatenate([chunk.frame_seconds for chunk in chunks])
    np.testing.assert_allclose(seconds, numbers / 25, atol=0.011)
    assert (len(decoded) < 100) == is_passing
    from_start = list(stream_video(path, frame_indices=np.concatenate([[0], numbers])))
    np.testing.assert_array_equal(from_start[0].frames[1:], pictures[numbers])
    np.testing.assert_array_equal(from_start[0].frame_seconds[1:], seconds)


def test_a_stream_of_frames_that_are_not_there(tmp_path):
    path = write_old(tmp_path / "a.mp4", 120)
    (chunk,) = stream_video(path, frame_indices=np.arange(110, 130))
    assert chunk.frame_indices.tolist() == list(range(110, 120))
    os.truncate(write_old(tmp_path / "cut.mkv", 240, "mkv_h264"), 3 * (tmp_path / "cut.mkv").stat().st_size // 4)
    with pytest.raises(VideoDecodeError, match="cut off"):
        list(stream_video(tmp_path / "cut.mkv", frame_indices=np.arange(100, 239)))
