# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Frames decoded: as many as decoders report, in files of every kind, and none where nothing is decoded."""

import contextlib
import io
import threading
from pathlib import Path

import av
import numpy as np
import pytest
from numbered_videos import KINDS, Kind, write_numbered
from PIL import Image

from clipbert.processing import CNNRNNVideoProcessor, decode_video, read_video_metadata
from clipbert.processing.decoding_count import counting_decoding
from clipbert.processing.streaming import stream_video
from clipbert.processing.video_reader import VideoReader
from clipbert.processing.video_sources import VideoDecodeError
from clipbert.processing.visual_inputs import load_image


FIXTURES = Path(__file__).parents[1] / "fixtures" / "videos"
FILES = sorted(
    path for path in FIXTURES.rglob("*") if path.suffix in (".mp4", ".mkv", ".avi", ".flv", ".webm", ".gif")
)


class WatchedDecoder:
    """A decoder of PyAV, and how many pictures it has given."""

    def __init__(self, codec, reports):
        vars(self).update(codec=codec, reports=reports)

    def decode(self, packet):
        frames = self.codec.decode(packet)
        self.reports.append(len(frames))
        return frames

    def __getattr__(self, name):
        return getattr(self.codec, name)

    def __setattr__(self, name, value):
        setattr(self.codec, name, value)


@pytest.fixture
def reports(monkeypatch):
    """How many pictures each call of a decoder gives."""
    found, set_decoder = [], VideoReader._set_decoder

    def watch(self, codec):
        set_decoder(self, codec)
        self.codec = WatchedDecoder(codec, found)

    monkeypatch.setattr(VideoReader, "_set_decoder", watch)
    return found


@pytest.mark.parametrize(
    "name", ["mp4_h264", "mp4_h264_open_gop", "mp4_hevc", "webm_vp9", "avi_h264_b_frames", "ts_mpeg2"]
)
@pytest.mark.parametrize("wanted", [[0], [7, 8, 41], [59]])
def test_as_many_as_the_decoder_reports(name, wanted, tmp_path, reports):
    path = write_numbered(tmp_path / f"video{KINDS[name].suffix}", kind=KINDS[name])
    with counting_decoding() as count:
        metadata = decode_video(path, wanted).metadata
    assert metadata.num_decoded_frames == count.num_frames == sum(reports) >= len(wanted)
    if not KINDS[name].is_sound:  # counted by decoding it whole; short ones are kept
        assert count.num_frames == 60


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_edit_lists_damage_and_lying_headers(path, reports):
    with counting_decoding() as count, contextlib.suppress(VideoDecodeError):  # what was decoded before that counts
        total = read_video_metadata(path).total_num_frames
        decode_video(path, [total // 2, total - 1])
    assert count.num_frames == sum(reports) > 0 or path.name == "chunk_size.avi"  # which cannot be opened


def count_by_pyav(path, wanted, key_frames, skips):
    """Pictures that a decoder gives from the key frame in front of wanted frames to the last of their packets, and held back."""
    given = 0
    for key, end in zip(key_frames, [*key_frames[1:], np.inf], strict=True):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            codec, ticks = stream.codec_context, round(1 / (25 * stream.time_base))
            codec.thread_count = 1
            missing = {frame * ticks for frame in wanted if key <= frame < end}  # packets
            waiting = set(missing)  # pictures
            container.seek(key * ticks, stream=stream)
            packets = (packet for packet in container.demux(stream) if packet.size and packet.pts >= key * ticks)
            while missing:
                packet = next(packets)
                is_needed = not skips or packet.pts in waiting or packet.is_keyframe
                codec.skip_frame = "DEFAULT" if is_needed else "NONREF"
                pictures = codec.decode(packet)
                given, missing = given + len(pictures), missing - {packet.pts}
                waiting -= {picture.pts for picture in pictures}
            given += len(codec.decode(None)) if waiting else 0
    return given


@pytest.mark.parametrize(("bf", "skips"), [("0", False), ("2", True)])
def test_sparse_key_frames_against_a_count_by_pyav(bf, skips, tmp_path):
    path = write_numbered(
        tmp_path / "sparse.mp4", 120, Kind(".mp4", "libx264", {"g": "40", "bf": bf, "sc_threshold": "0"})
    )
    key_frames = read_video_metadata(path).key_frames.tolist()
    assert key_frames == [0, 40, 80]
    for wanted in ([39], [40], [3, 20, 99], [0, 119]):
        found = decode_video(path, wanted, num_threads=1).metadata.num_decoded_frames
        assert found == count_by_pyav(path, wanted, key_frames, skips), wanted
        if not skips:  # from the key frame of each group on
            last = {frame // 40: frame for frame in wanted}
            assert found == sum(frame % 40 + 1 for frame in last.values())


def test_streams_and_metadata_count_too(tmp_path):
    path = write_numbered(tmp_path / "video.mp4")
    with counting_decoding() as whole:
        with counting_decoding() as first:
            assert read_video_metadata(path).num_decoded_frames == first.num_frames > 0
        list(stream_video(path, stride=10))
        CNNRNNVideoProcessor(size=32)([path], sampling="all")
    assert whole.num_frames == first.num_frames + 60 + 60


def test_what_came_decoded_counts_nothing_and_an_image_one(tmp_path):
    frames = np.zeros((4, 8, 8, 3), np.uint8)
    Image.fromarray(frames[0]).save(tmp_path / "image.png")
    with counting_decoding() as count:
        assert decode_video(frames, [1, 2]).metadata.num_decoded_frames == 0
        load_image(frames[0])
        assert count.num_frames == 0
        load_image(tmp_path / "image.png")
    assert count.num_frames == 1
    pictures = [Image.new("RGB", (8, 8), (100 * number, 0, 0)) for number in range(3)]
    file = io.BytesIO()
    pictures[0].save(file, "WEBP", save_all=True, append_images=pictures[1:], duration=40, lossless=True)
    with counting_decoding() as count:
        assert decode_video(file.getvalue(), [1]).metadata.num_decoded_frames is None
    assert count.num_frames is None  # nobody knows, which is not 0


def test_threads_have_counts_of_their_own(tmp_path):
    path, counts = write_numbered(tmp_path / "video.mp4", kind=KINDS["mp4_h264_intra"]), {}

    def work(number):
        with counting_decoding() as count:
            decode_video(path, list(range(number)))
        counts[number] = count.num_frames

    with counting_decoding() as outer:
        threads = [threading.Thread(target=work, args=[number]) for number in (1, 2, 3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert counts == {1: 1, 2: 2, 3: 3} and outer.num_frames is None


def test_nobody_knows_what_others_decode(tmp_path):
    path = write_numbered(tmp_path / "video.mp4", 4)
    with counting_decoding() as count, av.open(str(path)) as container:
        assert len(list(container.decode(video=0))) == 4
    assert count.num_frames is None
    with counting_decoding() as count, pytest.raises(VideoDecodeError):
        decode_video(tmp_path / "absent.mp4", [0])
    assert count.num_frames == 0
