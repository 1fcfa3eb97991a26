# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What a container says twice: lost packets that FFmpeg passes over, and pictures that its decoders do not finish."""

import io
import re
import struct
from pathlib import Path

import av
import numpy as np
import pytest
from numbered_videos import KINDS, Kind, plain_decode, read_number, write_numbered

from clipbert.processing import VideoDecodeError
from clipbert.processing.decoding import decode_video, read_video_metadata


def numbers(source, frames) -> list[int]:
    return [read_number(picture) for picture in decode_video(source, frames).frames]


def all_frames(metadata) -> range:
    return range(metadata.total_num_frames)


def chunks(data: bytes) -> list[tuple[int, int]]:
    """Begin and end of the packets of an AVI file with their heads."""
    with av.open(io.BytesIO(data)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    return [(packet.pos - 8, packet.pos + packet.size + packet.size % 2) for packet in packets]


# --- AVI


@pytest.mark.parametrize("name", ["avi_mpeg4", "avi_mjpeg"])
@pytest.mark.parametrize("first", [0, 20])
def test_chunks_that_an_avi_file_lost(name, first, tmp_path):
    """All that follows would count two less. The list at the end knows their sizes, though it is no longer in its place."""
    data = write_numbered(tmp_path / "whole.avi", 60, KINDS[name]).read_bytes()
    begin, end = chunks(data)[first][0], chunks(data)[first + 1][1]
    lost = data[:begin] + data[end:]
    with pytest.raises(VideoDecodeError, match=f"damaged at packet {first}"):
        decode_video(lost, [30])
    if first:
        assert numbers(lost, [0, 10, first - 1]) == [0, 10, first - 1]


def test_a_chunk_that_an_avi_file_has_twice(tmp_path):
    data = write_numbered(tmp_path / "whole.avi", 60, KINDS["avi_mpeg4"]).read_bytes()
    begin, end = chunks(data)[30]
    with pytest.raises(VideoDecodeError, match="damaged at packet 31"):
        decode_video(data[:end] + data[begin:end] + data[end:], [40])


def test_an_avi_header_that_miscounts_is_no_damage(tmp_path):
    data = bytearray(write_numbered(tmp_path / "whole.avi", 60, KINDS["avi_mpeg4"]).read_bytes())
    place = data.find(b"strh") + 8 + 32  # dwLength
    assert struct.unpack_from("<I", data, place) == (60,)
    for count in (57, 63):
        struct.pack_into("<I", data, place, count)
        assert numbers(bytes(data), [0, 31, 59]) == [0, 31, 59]


@pytest.mark.parametrize("name", ["avi_h264_b_frames", "avi_mpeg4_b_frames"])
def test_packets_that_give_no_picture(name, tmp_path):
    """The pictures behind them would be shown too early."""
    data = bytearray(write_numbered(tmp_path / "whole.avi", 60, KINDS[name]).read_bytes())
    begin, end = chunks(bytes(data))[24]
    data[begin + 8 : end] = bytes(end - begin - 8)
    with pytest.raises(VideoDecodeError, match="damaged"):
        decode_video(bytes(data), all_frames)
    with pytest.raises(VideoDecodeError, match="damaged"):
        decode_video(bytes(data), lambda metadata: [metadata.total_num_frames - 1])


# --- MP4


def test_an_edit_list_that_hides_too_much(tmp_path):
    """Without its table of delays, an edit that begins where the first picture was to be shown cuts off two."""
    kind = Kind(".mp4", "libx264", {"g": "12", "bf": "2"})
    path = write_numbered(tmp_path / "whole.mp4", 60, kind)
    data = bytearray(path.read_bytes())
    place = data.find(b"ctts")
    data[place + 8 : place + 12] = bytes(4)  # no entries
    with pytest.raises(VideoDecodeError, match="edit list hides"):
        decode_video(bytes(data), [30])
    assert numbers(path, [0, 30, 59]) == [0, 30, 59]


def test_an_edit_list_that_cuts(tmp_path):
    """Seconds 0.8 to 1.6 of a video: its duration is theirs."""
    path = write_numbered(tmp_path / "whole.mp4", 60, Kind(".mp4", "libx264", {"g": "12", "bf": "0"}))
    data = bytearray(path.read_bytes())
    edit = data.find(b"elst") + 12
    duration, _ = struct.unpack_from(">Ii", data, edit)
    struct.pack_into(">Ii", data, edit, duration // 3, 20 * 512)
    assert numbers(bytes(data), [0, 10, 19]) == [20, 30, 39]


def test_a_packet_without_the_head_of_a_picture(tmp_path):
    """A decoder that skips pictures nobody needs would pass over it, and the next ones would refer to another picture."""

    def spoil(packet, number):
        if number != 15:
            return None
        data = bytearray(bytes(packet))
        data[4] = 0  # the kind of unit
        changed = av.Packet(bytes(data))
        changed.pts, changed.dts, changed.time_base = packet.pts, packet.dts, packet.time_base
        changed.stream = packet.stream
        return changed

    kind = Kind(".mp4", "libx264", {"g": "12", "bf": "0"})
    path = write_numbered(tmp_path / "spoiled.mp4", 60, kind, change_packet=spoil)
    assert numbers(path, [0, 14, 24, 59]) == [0, 14, 24, 59]
    for number in (15, 16, 20, 23):
        with pytest.raises(VideoDecodeError, match="damaged at packet 15"):
            decode_video(path, [number])


# --- Matroska, FLV


@pytest.mark.parametrize("name", ["mkv_h264", "webm_vp8"])
def test_a_file_that_is_cut_off_between_packets(name, tmp_path):
    """What is behind the cut may belong in front of the last pictures. Cut off behind them, all are there."""
    path = write_numbered(tmp_path / f"whole{KINDS[name].suffix}", 60, KINDS[name])
    data = path.read_bytes()
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    heads = places[1][0] - places[0][0] - places[0][1]
    for number in (57, 58, 59):  # fewer are less than the duration promises
        cut = data[: places[number][0]]
        assert read_video_metadata(cut).total_num_frames >= number
        assert numbers(cut, [0, 20, number - 5]) == [0, 20, number - 5]
        with pytest.raises(VideoDecodeError, match="cut off|shorter than it says"):
            decode_video(cut, all_frames)
    behind = data[: places[-1][0] + places[-1][1] + heads + 40]
    assert numbers(behind, [0, 30, 59]) == [0, 30, 59]


def test_blocks_that_a_matroska_file_lost(tmp_path):
    path = write_numbered(tmp_path / "whole.webm", 60, KINDS["webm_vp9"])
    data = path.read_bytes()
    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    lost = data[: places[17]] + data[places[20] :]
    with pytest.raises(VideoDecodeError, match="shorter than it says|cut off"):
        decode_video(lost, [40])
    assert numbers(lost, [0, 16]) == [0, 16]


def test_a_flash_file_that_is_not_read_to_its_end(tmp_path):
    data = bytearray(write_numbered(tmp_path / "whole.flv", 60, KINDS["flv_h264"]).read_bytes())
    with av.open(io.BytesIO(bytes(data))) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    data[places[40] + 1 : places[40] + 20] = bytes(range(200, 219))
    with pytest.raises(VideoDecodeError, match="damaged|cut off"):
        decode_video(bytes(data), lambda metadata: [metadata.total_num_frames - 1])


def test_a_picture_with_the_time_of_another(tmp_path):
    """A reference that is said to be shown after others that refer to it."""

    def delay(packet, number):
        if number == 40:
            packet.pts += 6

    kind = Kind(".mkv", "libx264", {"g": "60", "bf": "0"})
    path = write_numbered(tmp_path / "delayed.mkv", 60, kind, change_packet=delay)
    pictures = plain_decode(path)[0]
    for number in range(36, 60):
        np.testing.assert_array_equal(decode_video(path, [number]).frames[0], pictures[number])


# --- WMV


def test_a_picture_that_lacks_a_piece(tmp_path):
    """A picture that is said to be larger than its pieces: FFmpeg drops it, and says so as information only."""
    data = bytearray(write_numbered(tmp_path / "whole.wmv", 60, KINDS["wmv_wmv2"]).read_bytes())
    heads = [head.end() for head in re.finditer(rb"[\x01\x81].\x00\x00\x00\x00\x08", bytes(data), re.DOTALL)]
    data[heads[30] + 1] ^= 0x10  # of its size
    with pytest.raises(VideoDecodeError, match="lacks a piece"):
        decode_video(bytes(data), [50])
    assert numbers(bytes(data), [0, 20]) == [0, 20]


# --- pictures that are not finished


@pytest.mark.parametrize("number", [0, 20, 47])
def test_a_vp8_picture_that_breaks_off(number, tmp_path):
    """FFmpeg's decoder leaves the rest as it was in memory, and says nothing."""
    path = write_numbered(tmp_path / "whole.webm", 60, KINDS["webm_vp8"])
    data = bytearray(Path(path).read_bytes())
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][number]
        begin, end = packet.pos + packet.size * 7 // 10, packet.pos + packet.size
    data[begin:end] = bytes([255]) * (end - begin)
    assert num_plain_frames(data) == 60
    for asked in ([number], range(60)):
        with pytest.raises(VideoDecodeError, match=f"packet {number}: .*gave up before the end"):
            decode_video(bytes(data), asked)
    kept = decode_video(bytes(data), all_frames, allow_damaged=True)
    assert len(kept.frames) == 60 and "gave up" in kept.metadata.damage
    later = number // 16 * 16 + 16
    if later < 60:
        assert numbers(bytes(data), [later]) == [later]


def num_plain_frames(data: bytearray) -> int:
    with av.open(io.BytesIO(bytes(data))) as container:
        return len(list(container.decode(video=0)))
