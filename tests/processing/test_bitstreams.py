# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What coded data tell besides their pictures: lost pictures of raw streams, broken ones of a GIF."""

import logging
import os
from pathlib import Path

import av
import numpy as np
import pytest
from numbered_videos import KINDS, Kind, plain_decode, read_number, write_numbered

from clipbert.processing import VideoDecodeError
from clipbert.processing.bitstreams import GifPictures, PictureOrder
from clipbert.processing.complaints import Complaints
from clipbert.processing.decoding import decode_video


RAW = {
    "B frames": Kind(".h264", "libx264", {"g": "12", "bf": "2"}),
    "pyramid": Kind(".h264", "libx264", {"g": "30", "bf": "7", "x264-params": "b-pyramid=normal:b-adapt=0"}),
    "no B frames": Kind(".h264", "libx264", {"g": "12", "bf": "0"}),  # which number no order
    "several slices": Kind(".h264", "libx264", {"g": "12", "bf": "2", "x264-params": "slices=3"}),
    "interlaced": Kind(".h264", "libx264", {"g": "12", "bf": "2", "x264-params": "interlaced=1"}),
    "open groups": Kind(".h264", "libx264", {"x264-params": "open-gop=1:keyint=10:min-keyint=10:bframes=3:b-adapt=0"}),
    "intra": Kind(".h264", "libx264", {"g": "1"}),
    "HEVC": Kind(".hevc", "libx265", {"x265-params": "keyint=12:bframes=3:log-level=none"}),
    "HEVC, open groups": Kind(
        ".hevc", "libx265", {"x265-params": "keyint=10:min-keyint=10:open-gop=1:bframes=4:b-adapt=0:log-level=none"}
    ),
}


def packets_of(path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def first_lost(path) -> int | None:
    with Complaints() as complaints, av.open(str(path)) as container:
        order = PictureOrder(container.streams.video[0], complaints)
        with order.listening():
            packets = (packet for packet in container.demux(video=0) if packet.size)
            for number, packet in enumerate(packets):
                order.add(number, packet)
    return order.first_lost()


@pytest.mark.parametrize("name", RAW)
def test_a_raw_stream_is_whole(name, tmp_path):
    path = write_numbered(tmp_path / f"whole{RAW[name].suffix}", 50, RAW[name])
    assert first_lost(path) is None
    assert [read_number(picture) for picture in decode_video(path, [0, 17, 49]).frames] == [0, 17, 49]


@pytest.mark.parametrize("name", sorted(set(RAW) - {"intra"}))  # in which no number is missed
def test_a_picture_that_a_raw_stream_lost(name, tmp_path):
    """FFmpeg shows the pictures behind it as they are, one too early, and says nothing."""
    packets = packets_of(write_numbered(tmp_path / f"whole{RAW[name].suffix}", 50, RAW[name]))
    assert len(packets) == 50
    path = tmp_path / f"holed{RAW[name].suffix}"
    for lost in (2, 15):
        path.write_bytes(b"".join(packets[:lost] + packets[lost + 1 :]))
        assert 0 < first_lost(path) <= lost + 8  # some that are sent behind it are shown before it
        # HEVC decoders miss a picture that others refer to, too
        with pytest.raises(
            VideoDecodeError, match=r"packet \d+: (pictures are missing in front of it|decoding breaks off)"
        ):
            decode_video(path, [0, 48])
    video = decode_video(path, [0, 40], allow_damaged=True)
    assert read_number(video.frames[0]) == 0 and "damaged at packet" in video.metadata.damage


def test_a_picture_that_a_raw_stream_repeats(tmp_path):
    packets = packets_of(write_numbered(tmp_path / "whole.h264", 50, RAW["B frames"]))
    path = tmp_path / "twice.h264"
    path.write_bytes(b"".join(packets[:7] + packets[5:]))
    with pytest.raises(VideoDecodeError, match="are there twice"):
        decode_video(path, [0, 50])


def test_the_log_level_is_as_before(tmp_path, caplog):
    """Headers of raw streams are read from FFmpeg's log: nobody else hears it, whatever level they chose."""
    path = write_numbered(tmp_path / "whole.h264", 12, RAW["B frames"])
    before = av.logging.get_level()
    try:
        for level in (None, av.logging.ERROR, av.logging.WARNING):
            av.logging.set_level(level)
            caplog.clear()
            with caplog.at_level(logging.DEBUG):
                decode_video(path, [3])
            assert av.logging.get_level() == level
            assert not [record for record in caplog.records if "trace_headers" in record.name]
    finally:
        av.logging.set_level(before)


def test_gif_pictures_that_break_off(tmp_path):
    """FFmpeg shows what it has of a picture; Pillow says that its data end too early."""
    path = write_numbered(tmp_path / "whole.gif", 60, KINDS["gif"])
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        gif = GifPictures()
        assert [gif.add(number, packet) for number, packet in enumerate(packets)] == [None] * len(packets)
        picture, place = bytes(packets[30]), packets[30].pos
    flags = picture[
        17
    ]  # behind 8 bytes of delay: a mark, four numbers of two bytes, flags, a palette, a size of codes
    block = 18 + (3 << (flags & 7) + 1 if flags & 0x80 else 0) + 1
    assert picture[:3] == b"\x21\xf9\x04" and picture[8] == 0x2C and picture[block] > 100
    data[place + block + 1 : place + block + 100] = b"\xff" * 99  # within the first block
    with pytest.raises(VideoDecodeError, match=r"damaged at packet 30: .*(broken|truncated)"):
        decode_video(bytes(data), [0, 29, 59])
    np.testing.assert_array_equal(decode_video(bytes(data), [29]).frames, plain_decode(path)[0][[29]])


@pytest.mark.skipif("CLIPBERT_DATA" not in os.environ, reason="set CLIPBERT_DATA to a folder of real videos")
def test_real_gifs_are_whole():
    paths = sorted(Path(os.environ["CLIPBERT_DATA"]).rglob("*.gif"))
    assert paths
    for path in paths:
        gif = GifPictures()
        with av.open(str(path)) as container:
            problems = {gif.add(0, packet) for packet in container.demux(video=0) if packet.size}
            assert problems == {None}, path.name
