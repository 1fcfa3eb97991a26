# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Decoding: the right frames from every kind of file, little work for few frames, named errors, nothing left open."""

import contextlib
import doctest
import functools
import io
import json
import os
import pickle
import random
import subprocess
import sys
import threading
import time
from dataclasses import replace
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from helpers.numbered_videos import KINDS, Kind, numbered_picture, plain_decode, read_number, write_numbered
from PIL import Image

from clipbert.processing import decoding, video_reader
from clipbert.processing.decoding import DecodedVideoMetadata, decode_video, read_video_metadata
from clipbert.processing.sampling import build_rng, sample_clips
from clipbert.processing.video_index import PacketIndex
from clipbert.processing.video_sources import VideoDecodeError


@pytest.fixture(scope="session")
def numbered(tmp_path_factory):
    """Path of a video of 60 numbered frames of a given kind, written once."""
    folder = tmp_path_factory.mktemp("numbered")

    @functools.cache
    def path_of(name: str) -> Path:
        return write_numbered(folder / (name + KINDS[name].suffix), kind=KINDS[name])

    return path_of


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_pictures_tell_their_number():
    assert [read_number(numbered_picture(number)) for number in range(256)] == list(range(256))


def test_examples_of_the_docstrings():
    results = doctest.testmod(decoding)
    assert results.attempted >= 3 and results.failed == 0


# --- the right frames


@pytest.mark.parametrize("name", KINDS)
def test_frames_of_every_kind_of_file(name, numbered):
    path, rng = numbered(name), np.random.default_rng(0)
    pictures, pts = plain_decode(path)
    assert [read_number(picture) for picture in pictures] == list(range(60)), "the test video itself is wrong"
    requests = [rng.integers(0, 60, size) for size in (1, 1, 1, 2, 3, 5, 16)] + [[0], [59], range(60), range(30, 42)]
    for request in requests:
        video = decode_video(path, request)
        expected = np.unique(list(request))
        assert video.metadata.frames_indices == expected.tolist()
        assert [read_number(picture) for picture in video.frames] == expected.tolist()
        np.testing.assert_array_equal(video.frames, pictures[expected])
        assert video.metadata.total_num_frames == 60
        assert video.metadata.timestamps == pytest.approx(expected / 25, abs=0.011)  # FLV counts in ms, GIF in 10 ms


@pytest.mark.parametrize("name", KINDS)
def test_only_files_that_cannot_tell_are_decoded_whole(name, numbered):
    with video_reader.VideoReader(numbered(name), name) as reader:
        assert reader.index.is_sound == KINDS[name].is_sound


@pytest.mark.parametrize(
    "name", ["mp4_h264", "mp4_h264_open_gop", "mp4_hevc", "webm_vp9", "mkv_av1", "avi_h264_b_frames"]
)
@pytest.mark.parametrize("num_threads", [1, 3])
def test_threads_change_nothing(name, num_threads, numbered):
    video = decode_video(numbered(name), [3, 21, 22, 47], num_threads=num_threads)
    np.testing.assert_array_equal(video.frames, plain_decode(numbered(name))[0][[3, 21, 22, 47]])


def test_each_frame_comes_once_and_sorted(numbered):
    request = np.array([[40, 7, 7], [59, 40, 0]])
    video = decode_video(numbered("mp4_h264"), request)
    assert video.metadata.frames_indices == [0, 7, 40, 59]
    assert video.frames.shape == (4, 96, 128, 3) and video.frames.dtype == np.uint8
    laid_out = video.take(request)
    assert laid_out.shape == (2, 3, 96, 128, 3)
    assert [[read_number(picture) for picture in clip] for clip in laid_out] == request.tolist()
    with pytest.raises(IndexError, match=r"Frames \[1, 60\] were not decoded"):
        video.take([[0, 1], [60, 7]])


def test_plan_of_packets():
    """The example of the module: two groups of pictures, the second one with pictures shown before its key frame."""
    pts = np.array([0, 3, 1, 2, 6, 4, 5, 7])
    index = PacketIndex(pts, np.arange(8) - 2, np.isin(np.arange(8), [0, 4]), np.ones(8, dtype=bool))
    assert index.is_sound and index.frame_packet.tolist() == [0, 2, 3, 1, 5, 6, 4, 7]
    assert index.plan([6]) == [(4, 6, {6: 6})]  # with what is decoded later and shown before
    assert index.plan([7]) == [(4, 7, {7: 7})]
    assert index.plan([4]) == [(0, 5, {4: 4})]  # refers to pictures of the first group
    assert index.plan([1, 7]) == [(0, 2, {1: 1}), (4, 7, {7: 7})]
    assert index.plan([5, 7]) == [(0, 7, {5: 5, 7: 7})]

    hidden = replace(index, is_shown=pts != 2)
    assert hidden.frame_pts.tolist() == [0, 1, 3, 4, 5, 6, 7] and hidden.plan([2]) == [(0, 2, {3: 2})]
    for broken in (
        {"pts": np.array([0, 3, 1, 1, 6, 4, 5, 7])},
        {"pts": np.array([1, 3, 0, 2, 6, 4, 5, 7])},
        {"pts": np.array([0, 3, 1, PacketIndex.NO_TIME, 6, 4, 5, 7])},
        {"is_key": np.arange(8) == 4},
        {"has_presentation_times": False},
    ):
        assert not replace(index, **broken).is_sound


def test_few_frames_take_few_packets(tmp_path, monkeypatch):
    """Groups of pictures without a wanted frame are not decoded, and the file is opened once."""
    path = write_numbered(tmp_path / "long.mp4", 250, Kind(".mp4", "libx264", {"g": "25", "bf": "2"}))
    decoded, opened = [], []
    original_add, original_open = video_reader.PictureBuffer.add, av.open
    monkeypatch.setattr(
        video_reader.PictureBuffer, "add", lambda self, *a: (decoded.append(a[0]), original_add(self, *a))[1]
    )
    monkeypatch.setattr(av, "open", lambda *a, **k: (opened.append(a), original_open(*a, **k))[1])
    with video_reader.VideoReader(path, "long") as reader:
        intervals = reader.index.plan([3, 60, 61, 249])
        assert len(intervals) == 3
        assert sum(interval.stop - interval.start + 1 for interval in intervals) <= 6 + 13 + 25
        opened.clear()
    clips = [
        [read_number(p) for p in clip] for clip in decode_video(path, [[3, 60], [61, 249]]).take([[3, 60], [61, 249]])
    ]
    assert clips == [[3, 60], [61, 249]]
    assert len(opened) == 1 and sorted(decoded) == [3, 60, 61, 249]


def test_one_key_frame_in_a_long_video(tmp_path):
    path = write_numbered(tmp_path / "long.mp4", 240, Kind(".mp4", "libx264", {"g": "1000", "sc_threshold": "0"}))
    video = decode_video(path, [0, 100, 239])
    assert [read_number(picture) for picture in video.frames] == [0, 100, 239]


@pytest.mark.parametrize("name", ["mp4_h264", "mp4_hevc_open_gop", "mkv_h264", "webm_vp9", "flv_h264", "avi_mpeg4"])
def test_frames_far_apart(name, tmp_path):
    """Far enough to be sought rather than read up to."""
    path = write_numbered(tmp_path / f"long{KINDS[name].suffix}", 256, KINDS[name], size=(48, 64))
    for request in ([250], [3, 100, 101, 255], [0, 128]):
        assert [read_number(picture) for picture in decode_video(path, request).frames] == request


def test_time_stamps_that_contradict_the_pictures(tmp_path):
    """Packets copied from a container without presentation times into one that has them: only decoding tells."""

    def forget_order(packet, number):
        packet.pts = packet.dts = number

    path = write_numbered(tmp_path / "copied.mp4", 40, change_packet=forget_order)
    for request in ([0], [17], [5, 6, 7, 39], range(40)):
        video = decode_video(path, request)
        assert [read_number(picture) for picture in video.frames] == list(request)
        assert video.metadata.timestamps == pytest.approx([number / 25 for number in request])


def _write_with_hidden_pictures(path):
    """VP8 with pictures that others refer to and that are never shown, as encoders use them."""

    def hide(packet, number):
        if number not in (10, 25):
            return None
        data = bytearray(bytes(packet))
        data[0] &= ~(1 << 4)
        hidden = av.Packet(bytes(data))
        hidden.pts, hidden.dts, hidden.time_base, hidden.stream = (
            packet.pts,
            packet.dts,
            packet.time_base,
            packet.stream,
        )
        return hidden

    write_numbered(path, 40, Kind(".webm", "libvpx", {"g": "100", "deadline": "realtime"}), change_packet=hide)
    numbers = [number for number in range(40) if number not in (10, 25)]
    assert [read_number(picture) for picture in plain_decode(path)[0]] == numbers, "the test video itself is wrong"
    return numbers


def test_pictures_that_are_never_shown(tmp_path):
    path = tmp_path / "hidden.webm"
    numbers = _write_with_hidden_pictures(path)
    for request in ([10], [9, 24], range(38)):
        video = decode_video(path, request)
        assert [read_number(picture) for picture in video.frames] == [numbers[index] for index in request]
    assert video.metadata.total_num_frames == 38


def test_packets_that_miscount(tmp_path, monkeypatch):
    """If pictures do not come out where packets announce them, the video is counted and chosen from anew."""
    path = tmp_path / "hidden.webm"
    numbers = _write_with_hidden_pictures(path)
    monkeypatch.setattr("clipbert.processing.packet_reading.is_hidden_vp8", lambda packet: False)
    totals = []

    def choose(metadata):
        totals.append(metadata.total_num_frames)
        return np.arange(metadata.total_num_frames)

    video = decode_video(path, choose)
    assert totals == [40, 38]
    assert [read_number(picture) for picture in video.frames] == numbers


def test_variable_frame_rate(tmp_path):
    times = np.cumsum([0] + [1 + (number % 5) ** 2 for number in range(49)])
    path = write_numbered(tmp_path / "variable.mp4", 50, fps=50, times=times.tolist())
    video = decode_video(path, [0, 3, 11, 30, 49])
    assert [read_number(picture) for picture in video.frames] == [0, 3, 11, 30, 49]
    assert video.metadata.timestamps == pytest.approx(times[[0, 3, 11, 30, 49]] / 50)
    assert video.metadata.duration == pytest.approx(times[-1] / 50, rel=0.05)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_start_that_is_not_zero(suffix, tmp_path):
    times = [50 + number for number in range(40)]
    path = write_numbered(tmp_path / f"late{suffix}", 40, times=times, container_options={"use_editlist": "0"})
    video = decode_video(path, [0, 13, 39])
    assert [read_number(picture) for picture in video.frames] == [0, 13, 39]
    assert video.metadata.timestamps == pytest.approx([0, 13 / 25, 39 / 25], abs=1e-3)
    assert video.metadata.duration == pytest.approx(40 / 25, abs=1e-3)


def test_edit_list_that_cuts_the_beginning(tmp_path):
    """Pictures before the cut are decoded, as others refer to them, and are no frames."""

    def shift(packet, number):
        packet.pts, packet.dts = packet.pts - 17, packet.dts - 17

    path = write_numbered(
        tmp_path / "cut.mp4",
        60,
        Kind(".mp4", "libx264", {"g": "25", "bf": "2"}),
        change_packet=shift,
        container_options={"avoid_negative_ts": "disabled", "use_editlist": "1"},
    )
    numbers = [read_number(picture) for picture in plain_decode(path)[0]]
    assert numbers[0] > 0 and numbers[-1] == 59, "the test video has no cut"
    for request in ([0], [1, 30], [len(numbers) - 1]):
        video = decode_video(path, request)
        assert [read_number(picture) for picture in video.frames] == [numbers[index] for index in request]
    assert video.metadata.total_num_frames == len(numbers)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_rotation(degrees, tmp_path):
    turn = lambda container, stream: stream.set_display_rotation(degrees)  # noqa: E731
    path = write_numbered(tmp_path / "turned.mp4", 12, before_writing=turn)
    stored = plain_decode(path)[0]
    with av.open(str(path)) as container:
        rotation = next(container.decode(video=0)).rotation
    assert rotation % 360 in (degrees, 360 - degrees)
    video = decode_video(path, [0, 11])
    np.testing.assert_array_equal(video.frames, np.rot90(stored[[0, 11]], rotation // 90, axes=(1, 2)))
    assert (video.metadata.height, video.metadata.width) == video.frames.shape[1:3]
    assert video.metadata.rotation == rotation % 360
    metadata = read_video_metadata(path)
    assert (metadata.height, metadata.width, metadata.rotation) == (*video.frames.shape[1:3], rotation % 360)


def test_a_display_matrix_that_is_garbage_turns_nothing(tmp_path):
    skew = np.array([7 << 14, 1 << 18, 0, -(3 << 16), 1 << 16, 0, 0, 0, 1 << 30], dtype=np.int32)
    path = write_numbered(
        tmp_path / "turned.mp4", 12, before_writing=lambda _, stream: stream.set_display_rotation(90)
    )
    data = path.read_bytes()
    place = data.index(b"tkhd") + 4 + 40  # version, times, number, duration, layer, volume; then the matrix
    path.write_bytes(data[:place] + skew.astype(">i4").tobytes() + data[place + 36 :])
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).rotation != 0
    video = decode_video(path, [0, 11])
    assert video.frames.shape == (2, 96, 128, 3) and video.metadata.rotation == 0
    assert [read_number(picture) for picture in video.frames] == [0, 11]


def test_display_matrices_with_mirrors():
    picture = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    one = 1 << 16
    for matrix, expected in [
        ((one, 0, 0, one), picture),
        ((-one, 0, 0, one), picture[:, ::-1]),
        ((one, 0, 0, -one), picture[::-1]),
        ((-one, 0, 0, -one), np.rot90(picture, 2)),
        ((0, one, -one, 0), np.rot90(picture, -1)),
        ((0, -one, one, 0), np.rot90(picture, 1)),
        ((0, one, one, 0), picture.transpose(1, 0, 2)),
    ]:
        np.testing.assert_array_equal(video_reader.upright(picture, matrix), expected)


def test_choice_of_the_stream(tmp_path):
    """Covers do not count; the first video stream is the default."""
    path = tmp_path / "several.mkv"
    with av.open(str(path), "w") as container:
        streams = []
        for width in (64, 128):
            stream = container.add_stream("libx264", rate=25, options={"crf": "12"})
            stream.width, stream.height, stream.pix_fmt = width, 96, "yuv420p"
            streams.append(stream)
        for number in range(10):
            for place, stream in enumerate(streams):
                picture = numbered_picture(number + 100 * place, 96, stream.width)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        for stream in streams:
            container.mux(stream.encode())
    assert decode_video(path, [4]).frames.shape == (1, 96, 64, 3)
    second = decode_video(path, [4], stream_index=1)
    assert second.frames.shape == (1, 96, 128, 3) and read_number(second.frames[0]) == 104
    with pytest.raises(VideoDecodeError, match="no video stream 2, only 2, counted from 0"):
        decode_video(path, [0], stream_index=2)
    with pytest.raises(ValueError, match="stream_index=-1"):
        decode_video(path, [0], stream_index=-1)


def test_pictures_that_change_their_size(tmp_path):
    path = tmp_path / "grows.h264"
    parts = [
        write_numbered(tmp_path / f"{width}.h264", 5, KINDS["raw_h264"], size=(96, width)).read_bytes()
        for width in (128, 192)
    ]
    path.write_bytes(b"".join(parts))
    assert decode_video(path, [0, 4]).frames.shape == (2, 96, 128, 3)
    with pytest.raises(VideoDecodeError, match="change their size from 128x96 to 192x96") as caught:
        decode_video(path, [4, 7, 8])
    assert caught.value.frame_index == 7


# --- metadata


def test_metadata(numbered):
    path, seen = numbered("mp4_h264"), []
    video = decode_video(path, lambda metadata: seen.append(metadata) or [5])
    assert seen[0] is video.metadata and isinstance(video.metadata, DecodedVideoMetadata)
    read = read_video_metadata(path)
    for metadata in (read, video.metadata):
        assert (metadata.total_num_frames, metadata.fps, metadata.duration) == (60, 25.0, 2.4)
        assert (metadata.width, metadata.height, metadata.video_backend) == (128, 96, "pyav")
        assert metadata["codec"] == "h264" and "mp4" in metadata["container"]
        assert metadata.timing.header_num_frames == 60 and metadata.timing.is_complete
        assert metadata.timing.frame_pts.tolist() == plain_decode(path)[1]
        assert metadata.timing.header_duration * metadata.timing.time_base == Fraction("2.4")
    with pytest.raises(ValueError, match="No frames were delivered"):
        _ = read.timestamps
    assert video.metadata.timestamps == [0.2]


@pytest.mark.parametrize(
    "name", ["mkv_h264", "webm_vp9", "flv_flv1", "ts_h264", "raw_h264", "gif", "avi_mpeg4_b_frames"]
)
def test_metadata_where_the_header_says_little(name, numbered):
    metadata = read_video_metadata(numbered(name))
    assert metadata.total_num_frames == 60
    assert metadata.fps == pytest.approx(25, rel=0.01)
    assert metadata.duration == pytest.approx(2.4, abs=0.06)


def test_one_frame(tmp_path):
    for suffix, name in ((".mp4", "mp4_h264"), (".gif", "gif"), (".avi", "avi_mpeg4"), (".webm", "webm_vp9")):
        video = decode_video(write_numbered(tmp_path / f"one{suffix}", 1, KINDS[name]), [0])
        assert video.metadata.total_num_frames == 1 and video.metadata.timestamps == [0.0]


# --- sources


def test_sources_of_a_file(numbered, tmp_path):
    path = numbered("mp4_h264")
    expected = plain_decode(path)[0][[2, 33]]
    data = path.read_bytes()
    odd = tmp_path / "http:a b?%20#é.mp4"
    odd.write_bytes(data)
    moved = io.BytesIO(data)
    moved.seek(100)
    with open(path, "rb") as file, _pipe(data) as pipe:
        for source in (
            path, str(path), path.as_uri(), odd, data, bytearray(data), memoryview(data), moved, file, pipe
        ):  # fmt: skip
            np.testing.assert_array_equal(decode_video(source, [2, 33]).frames, expected)
        assert not file.closed and not moved.closed


@contextlib.contextmanager
def _pipe(data):
    """A file object that cannot seek."""
    reading, writing = os.pipe()
    with open(reading, "rb") as source, open(writing, "wb") as target:
        thread = threading.Thread(target=lambda: (target.write(data), target.close()))
        thread.start()
        yield source
        thread.join()


def test_sources_in_memory():
    pictures = np.stack([numbered_picture(number) for number in range(12)])
    channels_first = pictures.transpose(0, 3, 1, 2)
    for source in (
        pictures,
        channels_first,
        torch.from_numpy(pictures),
        torch.from_numpy(channels_first.copy()),
        [Image.fromarray(picture) for picture in pictures],
        tuple(pictures),
        [Image.fromarray(picture).convert("RGBA") for picture in pictures],
    ):
        video = decode_video(source, lambda metadata: [[3, metadata.total_num_frames - 1]], fps=4.0)
        np.testing.assert_array_equal(video.frames, pictures[[3, 11]])
        assert video.metadata.timestamps == [0.75, 2.75]
        assert (video.metadata.width, video.metadata.height, video.metadata.duration) == (128, 96, 3.0)
        metadata = read_video_metadata(source, fps=4.0)
        assert (metadata.total_num_frames, metadata.fps) == (12, 4.0)
        official = sample_clips(
            12, 4.0, num_frames=2, fps=2, strategy="middle", placement="official", timing=metadata.timing
        )
        assert official.frame_indices.tolist() == [[2, 5]]
    with pytest.raises(ValueError, match="came without a frame rate"):
        _ = decode_video(pictures, [0]).metadata.timestamps


@pytest.mark.parametrize(
    "source, message",
    [
        (np.zeros((96, 128, 3), np.uint8), r"got 3 dimensions: \(96, 128, 3\)\. One picture needs a leading axis"),
        (np.zeros((2, 4, 96, 128, 3), np.uint8), "5 dimensions.*Pass the videos of a batch one by one"),
        (np.zeros((4, 96, 128, 4), np.uint8), r"\(4, 96, 128, 4\): neither axis 1 nor axis 3 has 3 colours"),
        (np.zeros((4, 3, 96, 3), np.uint8), r"\(4, 3, 96, 3\): both could be the colours"),
        (np.zeros((4, 96, 128, 3), np.float32), r"got float32. Give integers from 0 to 255"),
        (np.zeros((0, 96, 128, 3), np.uint8), "there are no pixels"),
        (torch.zeros(4, 3, 8, 8), "got float32"),
        ([], "the list holds no frames"),
        ([Image.new("RGB", (4, 4)), Image.new("RGB", (4, 5))], "frame 1 of <list of 2 images>: it is 5x4 and frame 0 is 4x4"),
        ([np.zeros((4, 4), np.uint8)], r"got ndarray of shape \(4, 4\)"),
    ],
)  # fmt: skip
def test_diagnosis_of_frames_in_memory(source, message):
    with pytest.raises(VideoDecodeError, match=message):
        decode_video(source, lambda metadata: range(metadata.total_num_frames))


def test_unknown_sources_are_refused(numbered):
    with pytest.raises(TypeError, match="must be a path, a URL, bytes.*got int"):
        decode_video(3, [0])
    with open(numbered("mp4_h264"), encoding="latin-1") as text, pytest.raises(VideoDecodeError, match="binary mode"):
        decode_video(text, [0])


class _Server:
    """A web server on this machine with the files of one folder. `/slow/...` never finishes."""

    def __init__(self, folder, with_ranges=True):
        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_HEAD(self):  # noqa: N802
                self.respond(send_body=False)

            def do_GET(self):  # noqa: N802
                self.respond(send_body=True)

            def respond(self, send_body):
                path = folder / self.path.rsplit("/")[-1]
                if not path.is_file():
                    return self.send_error(404)
                data, status = path.read_bytes(), 200
                headers = {"Content-Type": "video/mp4"}
                if with_ranges:
                    headers["Accept-Ranges"] = "bytes"
                    if wanted := self.headers.get("Range"):
                        first, last = wanted.removeprefix("bytes=").split("-")
                        last = min(int(last or len(data)), len(data) - 1)
                        headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
                        data, status = data[int(first) : last + 1], 206
                self.send_response(status)
                for key, value in (headers | {"Content-Length": str(len(data))}).items():
                    self.send_header(key, value)
                self.end_headers()
                if send_body and "/slow/" in self.path:
                    self.wfile.write(data[:1000])
                    released.wait(20)
                elif send_body:
                    self.wfile.write(data)

        released = self.released = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.mark.parametrize("with_ranges", [True, False])
def test_http(with_ranges, numbered):
    path = numbered("mp4_h264")
    with _Server(path.parent, with_ranges) as server:
        url = f"{server.url}/{path.name}"
        np.testing.assert_array_equal(decode_video(url, [2, 33]).frames, plain_decode(path)[0][[2, 33]])
        assert read_video_metadata(url).total_num_frames == 60
        with pytest.raises(VideoDecodeError, match=r"no\.mp4: .*FileNotFoundError") as caught:
            decode_video(f"{server.url}/no.mp4", [0])
        assert caught.value.source == f"{server.url}/no.mp4"
        began = time.monotonic()
        with pytest.raises(VideoDecodeError, match="not done within timeout_s=1"):
            decode_video(f"{server.url}/slow/{path.name}", [0], timeout_s=1.0)
        assert time.monotonic() - began < 10
    with pytest.raises(VideoDecodeError, match=path.name):
        decode_video(url, [0], timeout_s=5)  # nobody answers any more


def test_any_file_system_of_fsspec(numbered):
    import fsspec

    path = numbered("mp4_h264")
    fsspec.filesystem("memory").pipe("/videos/a.mp4", path.read_bytes())
    np.testing.assert_array_equal(decode_video("memory://videos/a.mp4", [7]).frames, plain_decode(path)[0][[7]])
    with pytest.raises(VideoDecodeError, match="FileNotFoundError"):
        decode_video("memory://videos/b.mp4", [7])


HUB_SCRIPT = """
import json, sys
from clipbert.processing.decoding import decode_video
video = decode_video("hf://datasets/user/clips/folder/a.mp4", [2, 33])
print(json.dumps([int(video.frames.sum()), video.metadata.frames_indices]))
"""


class _Hub(BaseHTTPRequestHandler):
    """As much of the Hub as the client needs to read one file of one data set."""

    data = b""

    def log_message(self, *_):
        pass

    def do_GET(self):  # noqa: N802
        self.respond()

    def do_HEAD(self):  # noqa: N802
        self.respond()

    def do_POST(self):  # noqa: N802
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.respond()

    def respond(self):
        entry = {"type": "file", "path": "folder/a.mp4", "size": len(self.data), "oid": "0" * 40}
        commit = "1" * 40
        if "/paths-info/" in self.path or "/tree/" in self.path:
            body = json.dumps([entry]).encode()
        elif "/resolve/" in self.path:
            first, last = 0, len(self.data) - 1
            if wanted := self.headers.get("Range"):
                first, last = (int(side) for side in wanted.removeprefix("bytes=").split("-"))
            body = self.data[first : min(last, len(self.data) - 1) + 1]
        else:
            body = json.dumps({"id": "user/clips", "sha": commit, "siblings": [], "private": False}).encode()
        self.send_response(206 if "Range" in self.headers and "/resolve/" in self.path else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", '"0"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@pytest.mark.hub
def test_hub(numbered, tmp_path):
    path = numbered("mp4_h264")
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Hub", (_Hub,), {"data": path.read_bytes()}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        environment = os.environ | {
            "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            "HF_HOME": str(tmp_path),
            "HF_HUB_DISABLE_XET": "1",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        command = [sys.executable, "-c", HUB_SCRIPT]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == 0, done.stderr
    total, indices = json.loads(done.stdout.splitlines()[-1])
    assert indices == [2, 33] and total == int(plain_decode(path)[0][[2, 33]].sum())


# --- errors and limits


def _audio(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        for _ in range(4):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 16000
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _broken_files(folder: Path, good: Path) -> dict[str, tuple[object, str]]:
    """Sources that no frame can come from, and what the error says."""
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("no video at all\n" * 100)
    (folder / "zeros.mp4").write_bytes(bytes(5000))
    (folder / "half.mp4").write_bytes(good.read_bytes()[: good.stat().st_size // 2])  # its index is at the end
    (folder / "playlist.mp4").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{good}\n#EXT-X-ENDLIST\n")
    (folder / "playlist.ffconcat").write_text(f"ffconcat version 1.0\nfile {good.name}\n")
    os.mkfifo(folder / "pipe.mp4")
    _audio(folder / "sound.mp4")
    return {
        "missing": (folder / "missing.mp4", "No such file"),
        "folder": (folder, "expected a file, this is a folder"),
        "pipe": (folder / "pipe.mp4", "expected a file, this is a pipe"),
        "empty": (folder / "empty.mp4", r"the file is empty \(0 bytes\)"),
        "no bytes": (b"", "there are no bytes"),
        "text": (folder / "text.mp4", "Invalid data"),
        "zeros": (folder / "zeros.mp4", "Invalid data|moov|no video|Invalid"),
        "half": (folder / "half.mp4", "Invalid data"),
        "playlist": (folder / "playlist.mp4", "Invalid data"),
        "sound": (folder / "sound.mp4", "expected a video stream, the file holds audio only"),
        "sound in bytes": ((folder / "sound.mp4").read_bytes(), "<[0-9]+ bytes>: expected a video stream"),
        "text in a file": (io.BytesIO(b"no video at all\n" * 100), "<BytesIO>: Invalid data"),
    }


def test_broken_files_are_named(tmp_path, numbered):
    for what, (source, message) in _broken_files(tmp_path, numbered("mp4_h264")).items():
        for read in (lambda source: decode_video(source, [0], timeout_s=20), read_video_metadata):
            with pytest.raises(VideoDecodeError, match=message) as caught:
                read(source)
            assert isinstance(caught.value, ValueError), what
            if isinstance(source, Path):
                assert caught.value.source == str(source) and str(source) in str(caught.value)


CUT_KINDS = [
    "mp4_index_first",
    "mkv_h264",
    "webm_vp9",
    "webm_vp8",
    "flv_flv1",
    "flv_h264",
    "gif",
    "avi_mpeg4",
    "avi_mpeg4_b_frames",
    "mkv_av1",
]


@pytest.mark.parametrize("name", CUT_KINDS)
def test_files_cut_in_half(name, tmp_path):
    """What is left is right, what is lost is named, and nothing else is told as the whole video."""
    container_options = {"movflags": "faststart"} if name == "mp4_index_first" else {}
    kind = KINDS["mp4_h264" if name == "mp4_index_first" else name]
    whole = write_numbered(
        tmp_path / f"whole{kind.suffix}", kind=kind, size=(192, 256), container_options=container_options
    )
    path = tmp_path / f"half{whole.suffix}"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])

    left = read_video_metadata(path, allow_truncated=True).total_num_frames
    assert 3 < left < 55
    shown = [read_number(picture) for picture in decode_video(path, range(left), allow_truncated=True).frames]
    with pytest.raises(VideoDecodeError, match="cut off") as caught:
        decode_video(path, lambda metadata: range(metadata.total_num_frames))
    certain = caught.value.frame_index
    assert [read_number(picture) for picture in decode_video(path, range(certain)).frames] == list(range(certain))
    # What is shown late may come after a picture that was lost: it is there, but its number is not certain.
    assert shown[:certain] == list(range(certain)) and left - certain <= 3 and shown == sorted(set(shown))

    metadata = read_video_metadata(path)
    assert not metadata.timing.is_complete and metadata.total_num_frames > left
    if name != "gif":  # which does not say how long it should be
        assert metadata.total_num_frames == pytest.approx(60, abs=6)
    with pytest.raises(VideoDecodeError, match="cut off: fetch it again, or pass allow_truncated=True"):
        decode_video(path, [metadata.total_num_frames - 1])


def test_damage_in_the_middle(tmp_path):
    """Frames of whole groups of pictures come out; the error names the first one that does not."""

    path = write_numbered(
        tmp_path / "damaged.mp4", 60, Kind(".mp4", "libx264", {"g": "12", "bf": "0", "sc_threshold": "0"})
    )
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    position, size = packets[29]
    data[position : position + size] = bytes([255]) * size
    path.write_bytes(data)

    whole_groups = [*range(24), *range(36, 60)]
    assert [read_number(picture) for picture in decode_video(path, whole_groups).frames] == whole_groups
    assert [read_number(picture) for picture in decode_video(path, [28]).frames] == [28]
    for request in ([3, 28, 29, 50], [29], range(60)):
        with pytest.raises(VideoDecodeError, match="damaged at packet 29: .*InvalidDataError") as caught:
            decode_video(path, request)
        assert caught.value.frame_index == 29
        assert str(path) in str(caught.value) and "frame 29" in str(caught.value)


@pytest.mark.parametrize("name", KINDS)
def test_random_damage_never_surprises(name, numbered):
    """Frames or the named error, in good time, whatever was overwritten, cut out or cut off."""
    data, rng = numbered(name).read_bytes(), np.random.default_rng(0)
    for trial in range(12):
        damaged, place, length = bytearray(data), int(rng.integers(len(data))), int(rng.integers(1, 200))
        if trial % 3 == 0:
            damaged[place : place + length] = rng.bytes(length)
        elif trial % 3 == 1:
            del damaged[place : place + length]
        else:
            del damaged[place:]
        began = time.monotonic()
        try:
            video = decode_video(bytes(damaged), lambda metadata: [0, metadata.total_num_frames // 2], timeout_s=10)
        except VideoDecodeError as error:
            assert error.reason and error.source == f"<{len(damaged)} bytes>"
        else:
            assert video.frames.ndim == 4 and len(video.frames) == len(video.metadata.frames_indices)
        assert time.monotonic() - began < 12


def test_error_travels_between_processes():
    error = VideoDecodeError("a.mp4", "it is broken.", 7)
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.source, copy.reason, copy.frame_index, str(copy)) == ("a.mp4", "it is broken.", 7, str(error))
    assert str(error) == "Cannot decode frame 7 of a.mp4: it is broken."


@pytest.mark.parametrize(
    "choice, message",
    [
        ([], "at least one frame number, all integers; got 0"),
        ([0.5], "got 1 of type float64"),
        ([-1, 3], "from 0 to 59, got -1 to 3"),
        ([60], "from 0 to 59, got 60 to 60"),
        (lambda metadata: [metadata.total_num_frames], "from 0 to 59, got 60 to 60"),
    ],
)
def test_bad_choices_are_named(choice, message, numbered):
    with pytest.raises(ValueError, match=message) as caught:
        decode_video(numbered("mp4_h264"), choice)
    assert not isinstance(caught.value, VideoDecodeError)  # the file is not to blame


def test_errors_of_the_chooser_come_through(numbered):
    def choose(metadata):
        raise OSError("mine")

    with pytest.raises(OSError, match="mine"):
        decode_video(numbered("mp4_h264"), choose)


class _SlowFile(io.BytesIO):
    def read(self, size=-1):
        time.sleep(0.15)
        return super().read(size)


def test_time_limit(numbered, monkeypatch):
    path = numbered("mp4_h264")
    began = time.monotonic()
    with pytest.raises(VideoDecodeError, match=r"<_SlowFile>: not done within timeout_s=0\.1"):
        decode_video(_SlowFile(path.read_bytes()), [0], timeout_s=0.1)
    assert time.monotonic() - began < 5

    original = video_reader.PacketFeed.next
    monkeypatch.setattr(video_reader.PacketFeed, "next", lambda feed: (time.sleep(0.05), original(feed))[1])
    began = time.monotonic()
    with pytest.raises(VideoDecodeError, match=r"timeout_s=0\.3"):
        decode_video(path, range(60), timeout_s=0.3)
    assert time.monotonic() - began < 5
    assert len(decode_video(path, [0], timeout_s=None).frames) == 1
    with pytest.raises(ValueError, match="timeout_s must be a positive number"):
        decode_video(path, [0], timeout_s=0)


def test_picture_size_limit(numbered, tmp_path):
    path = numbered("mp4_h264")
    with pytest.raises(VideoDecodeError, match="128x96, more than max_pixels=10000"):
        decode_video(path, [0], max_pixels=10_000)
    with pytest.raises(VideoDecodeError, match="more than max_pixels"):
        read_video_metadata(path, max_pixels=10_000)
    assert len(decode_video(path, [0], max_pixels=128 * 96).frames) == 1
    assert len(decode_video(path, [0], max_pixels=None).frames) == 1

    bomb = bytearray(numbered("gif").read_bytes())
    bomb[6:10] = (65000).to_bytes(2, "little") * 2  # a few kilobytes that claim 4.2 thousand million pixels
    began = time.monotonic()
    with pytest.raises(VideoDecodeError):
        decode_video(bytes(bomb), [0])
    assert time.monotonic() - began < 5

    # the first part keeps the limit, what follows does not
    parts = [
        write_numbered(tmp_path / f"{width}.h264", 5, KINDS["raw_h264"], size=(96, width)).read_bytes()
        for width in (128, 192)
    ]
    with pytest.raises(VideoDecodeError):
        decode_video(b"".join(parts), lambda metadata: [metadata.total_num_frames - 1], max_pixels=128 * 96)


def test_nothing_stays_open(tmp_path, numbered):
    """No descriptor, no temporary file; after success as after every kind of failure."""
    sources = [(numbered(name), [0, 30]) for name in ("mp4_h264", "avi_h264_b_frames", "gif", "raw_h264")]
    sources += [(source, [0]) for source, _ in _broken_files(tmp_path, numbered("mp4_h264")).values()]
    sources += [(numbered("mp4_h264"), [99]), (numbered("mp4_h264"), lambda metadata: 1 / 0)]
    with open(numbered("mp4_h264"), "rb") as file:
        sources.append((file, [3]))

        def read_all():
            for source, frames in sources:
                with contextlib.suppress(ValueError, ZeroDivisionError):
                    decode_video(source, frames)
                with contextlib.suppress(ValueError):
                    read_video_metadata(source)

        read_all()
        before = open_descriptors()
        for _ in range(5):
            read_all()
        assert open_descriptors() == before


MEMORY_SCRIPT = """
import resource, sys
from clipbert.processing.decoding import decode_video
decode_video(sys.argv[1], [0, 1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
decode_video(sys.argv[2], [0, 1199])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mp4_h264", "avi_mpeg4_b_frames"])
def test_memory_follows_the_request(name, tmp_path):
    """Two frames of a long video take about as much as two frames of a short one; all its frames are 132 MB."""
    kind = KINDS[name]._replace(options={"g": "1200", "bf": "2", "sc_threshold": "1000000000"})
    paths = [
        write_numbered(tmp_path / f"{length}{kind.suffix}", length, kind, size=(144, 256)) for length in (10, 1200)
    ]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", MEMORY_SCRIPT, *map(str, paths)]
    grown_mb = float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert grown_mb < 25


LARGE_PICTURES_SCRIPT = """
import resource, sys
from clipbert.processing import ClipBERTVideoProcessor
processor = ClipBERTVideoProcessor(size=64, num_clips=8, num_frames=2)
processor(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
processor(sys.argv[2])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.slow
def test_large_pictures_are_held_one_by_one(tmp_path):
    """Of 16 pictures with 4 MP, few are in memory at once, as RGB (12 MB) or as FFmpeg holds them (16 MB)."""
    kind = KINDS["gif"]
    small = write_numbered(tmp_path / f"small{kind.suffix}", 16, kind)
    large = write_numbered(tmp_path / f"large{kind.suffix}", 16, kind, size=(2016, 2048))
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", LARGE_PICTURES_SCRIPT, str(small), str(large)]
    grown_mb = float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert grown_mb < 150


# --- recorded choices of the original, from file to picture


@pytest.mark.parity
def test_official_choices_end_to_end(small_parity_dir):
    """A part of what `test_sampling` compares in numbers, here read from the pictures."""
    folder = small_parity_dir / "sampling"
    names = {"uniform": "whole_video", "start": "start", "middle": "middle", "end": "end"}
    record = json.loads((folder / "sampling.json").read_text())["videos"]
    for name, entry in record.items():
        for case in entry["single"]:
            options = {
                "num_frames": case["num_frames"],
                "fps": case["target_fps"],
                "strategy": names[case["strategy"]],
            }
            frames = _official_numbers(folder / "videos" / name, **options)
            assert frames == (None if case["frames"] is None else [case["frames"]]), (name, case)
        for case in entry["multi"]:
            options = {"num_clips": case["num_clips"], "num_frames": case["num_frames"], "fps": case["target_fps"]}
            frames = _official_numbers(folder / "videos" / name, **options, strategy="uniform")
            expected = [clip["frames"] for clip in case["clips"]]
            assert frames == (None if None in expected else expected), (name, case)
        for case in entry["rand"]:
            options = {"num_frames": case["num_frames"], "fps": case["target_fps"], "strategy": "random"}
            frames = _official_numbers(folder / "videos" / name, **options, seed=case["seed"])
            if (name, case["seed"]) != ("h264_vfr_40f.mp4", 2):  # see test_sampling
                assert frames == (None if case["frames"] is None else [case["frames"]]), (name, case)


def _official_numbers(path, seed=None, **options):
    sample = None

    def choose(metadata):
        nonlocal sample
        sample = sample_clips(
            metadata.total_num_frames,
            metadata.fps,
            placement="official",
            timing=metadata.timing,
            rng=random.Random(seed),
            **options,
        )
        return sample.frame_indices

    try:
        video = decode_video(path, choose)
    except ValueError:  # also what the sampling refuses
        return None
    return [[_read_recorded_number(picture) for picture in clip] for clip in video.take(sample.frame_indices)]


def _read_recorded_number(picture):
    height, width = picture.shape[:2]
    grey = picture.mean(axis=-1)
    return sum(
        int(
            grey[2 : height // 3 - 2, bit * width // 8 + 1 : (bit + 1) * width // 8 - 1].mean()
            > grey[height // 3 + 2 : 2 * height // 3 - 2, bit * width // 8 + 1 : (bit + 1) * width // 8 - 1].mean()
        )
        << bit
        for bit in range(8)
    )


# --- real videos


UNREADABLE = {"audio_only.mp3": "holds audio only", "zero_byte.webm": "0 bytes"}
BROKEN_FROM = {"corrupted.mp4": 28}  # frames that a plain decode gives before it breaks off


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_real_videos(data_dir, every):
    """Sparse requests give what decoding from the start gives, bit for bit, on every real video (on every fourth, quickly)."""
    rng = np.random.default_rng(0)
    paths = sorted(path for path in (data_dir / "videos").rglob("*") if path.is_file())
    assert len(paths) > 40
    for path in paths[::every]:
        if path.name in UNREADABLE:
            with pytest.raises(VideoDecodeError, match=UNREADABLE[path.name]):
                decode_video(path, [0])
            continue
        metadata = read_video_metadata(path)
        held = BROKEN_FROM.get(path.name, metadata.total_num_frames)
        requests = [np.unique(rng.integers(0, held, size)) for size in (1, 1, 2, 8)] + [np.array([held - 1])]
        wanted = set(np.concatenate(requests).tolist())
        pictures, count = {}, 0
        with av.open(str(path)) as container, contextlib.suppress(av.error.InvalidDataError):
            for number, frame in enumerate(container.decode(container.streams.video[0])):
                if number in wanted:
                    picture = frame.to_ndarray(format="rgb24")
                    pictures[number] = np.rot90(picture, round(frame.rotation / 90))
                count = number + 1
        assert count == held, path
        for request in requests:
            video = decode_video(path, request, square_pixels=False)
            assert video.metadata.frames_indices == request.tolist(), path
            for number, picture in zip(request.tolist(), video.frames, strict=True):
                assert np.array_equal(picture, pictures[number]), (path, number)
            shown = decode_video(path, request[:1]).metadata
            assert (metadata.width, metadata.height) == (shown.width, shown.height), path
        if path.name in BROKEN_FROM:
            with pytest.raises(VideoDecodeError, match="decoding breaks off") as caught:
                decode_video(path, lambda metadata: range(metadata.total_num_frames))
            assert held <= caught.value.frame_index <= held + 2


def test_timecode(data_dir):
    """A clip with a clock: boxes at the bottom fill once a second, a disc on the left turns once a second."""
    path = data_dir / "videos" / "technical" / "timecode_16s.mp4"
    sample = None

    def choose(metadata):
        nonlocal sample
        sample = sample_clips(
            metadata.total_num_frames,
            metadata.fps,
            num_clips=8,
            num_frames=2,
            fps=2,
            strategy="random",
            rng=build_rng(1),
        )
        return sample.frame_indices

    video = decode_video(path, choose)
    assert [[_read_clock(picture) for picture in clip] for clip in video.take(sample.frame_indices)] == (
        sample.frame_indices.tolist()
    )
    assert video.metadata.timestamps == pytest.approx([index / 25 for index in video.metadata.frames_indices])


def _read_clock(picture: np.ndarray) -> int:
    grey = picture.mean(axis=-1)
    boxes = grey[396, [50 + int(36.3 * box) for box in range(16)]]
    second = int((boxes > 160).sum()) - 1
    y, x = np.ogrid[:480, :640]
    disc = (y - 240) ** 2 + (x - 81) ** 2 < 50**2
    black = (grey[disc] < 128).mean()
    return 25 * second + round(25 * (black if second % 2 else 1 - black))
