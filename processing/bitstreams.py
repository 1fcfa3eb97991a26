# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What coded data tell besides their pictures: facts that FFmpeg keeps to itself, found without decoding."""

import contextlib
import io
from contextlib import AbstractContextManager

import av
import numpy as np
from av.bitstream import BitStreamFilterContext, bitstream_filters_available
from PIL import Image, UnidentifiedImageError

from .complaints import Complaints
from .video_index import REGULAR_SHARE


GIF_HEAD = 13  # bytes in front of the palette


def is_hidden_vp8(packet: "av.Packet") -> bool:
    """A VP8 picture that others refer to and that is never shown: bit 4 of the first byte is 0."""
    return not memoryview(packet)[0] >> 4 & 1


def is_vp9_key(packet: "av.Packet") -> bool:
    """Whether the header of a VP9 picture says that it is a key frame: after marker and profile, two bits are 0."""
    head = memoryview(packet)[0]
    is_profile_3 = head >> 4 & 3 == 3  # followed by one more bit
    return not head >> (1 if is_profile_3 else 2) & 3


class PacketCheck:
    """Looks at the packets of a stream as they are indexed. This one, for most formats, leaves all to the decoder."""

    listens_to_reading = False  # whether it hears what FFmpeg says as it reads packets

    def listening(self) -> AbstractContextManager:
        """The block in which packets are added."""
        return contextlib.nullcontext()

    def add(self, packet_number: int, packet: "av.Packet") -> str | None:
        """What is wrong with a packet, which follows the one added before."""

    def first_lost(self) -> int | None:
        """The first packet in front of which a picture was lost, or is there twice; `None` if all seem there."""


def build_packet_check(
    container: "av.container.InputContainer", stream: "av.VideoStream", complaints: Complaints
) -> PacketCheck:
    """The check for the format of `container`."""
    if container.format.name == "gif":
        return GifPictures()
    if container.format.name == "asf":
        return AsfPieces(complaints)
    if container.format.name in PictureOrder.FORMATS:
        return PictureOrder(stream, complaints)
    return PacketCheck()


class GifPictures(PacketCheck):
    """A second opinion on the pictures of a GIF, which FFmpeg shows as far as it can read them: Pillow refuses."""

    def __init__(self):
        self._head = b""  # of the file, up to its palette

    def add(self, packet_number: int, packet: "av.Packet") -> str | None:
        data = bytes(packet)
        if data.startswith(b"GIF8") and len(data) >= GIF_HEAD:
            flags = data[10]
            end = GIF_HEAD + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
            self._head, data = data[:end], data[end:]
        try:
            with Image.open(io.BytesIO(self._head + data + b";"), formats=["GIF"]) as image:
                image.load()
        except Image.DecompressionBombError:
            return None  # `max_pixels` decides that
        except UnidentifiedImageError:
            return "there is no picture in it"
        except Exception as error:  # whatever Pillow raises
            return str(error) or type(error).__name__
        return None


class AsfPieces(PacketCheck):
    """Pictures of an ASF file (WMV) lie in it in pieces. FFmpeg drops one that lacks some, and says so as information."""

    listens_to_reading = True

    def __init__(self, complaints: Complaints):
        self._complaints = complaints

    def listening(self) -> AbstractContextManager:
        return self._complaints.in_detail()

    def add(self, packet_number: int, packet: "av.Packet") -> str | None:
        lines = [what for _, who, what in self._complaints.heard if who == "asf"]
        return "a picture in front of it lacks a piece" if any("incomplete packet" in line for line in lines) else None


class PictureOrder(PacketCheck):
    """The order numbers of the pictures of a raw H.264 or HEVC stream, which has no time stamps that tell a lost one.

    Pictures are numbered evenly from one random access point to the next, in the order in which they are shown. FFmpeg
    reads the numbers from the headers of slices, and logs them.
    """

    # Raw streams; none if this build of FFmpeg lacks what reads their headers.
    FORMATS = ("h264", "hevc") if "trace_headers" in bitstream_filters_available else ()
    _NEW_SEQUENCE = {"h264": {5}, "hevc": {16, 17, 18, 19, 20}}  # types of NAL units: IDR, BLA
    _HEVC_IDR = {19, 20}  # whose number is 0, and not said
    _NUMBERS = {"pic_order_cnt_lsb", "slice_pic_order_cnt_lsb", "frame_num"}
    _WATCHED = _NUMBERS | {
        "nal_unit_type", "nal_ref_idc", "log2_max_pic_order_cnt_lsb_minus4", "log2_max_frame_num_minus4",
        "memory_management_control_operation",
    }  # fmt: skip

    def __init__(self, stream: "av.VideoStream", complaints: Complaints):
        self._codec, self._complaints = stream.codec_context.name, complaints
        self._filter = BitStreamFilterContext("trace_headers", stream)
        self._said: dict[str, int] = {}  # by headers, last
        self._sequences: list[list[tuple[int, int]]] = []  # (packet, number) of each picture
        self._num_packets, self._is_even = 0, True

    def listening(self) -> AbstractContextManager:
        return self._complaints.in_detail()

    def add(self, packet_number: int, packet: "av.Packet") -> None:
        # A packet of a raw stream holds one picture.
        before = len(self._complaints.heard)
        with contextlib.suppress(av.FFmpegError):  # the decoder will say so, too
            self._filter.filter(packet)
        lines = [what for _, who, what in self._complaints.heard[before:] if who == "trace_headers"]
        del self._complaints.heard[before:]
        self._num_packets += 1
        if (number := self._read_headers(lines)) is None:
            return
        if self._said["nal_unit_type"] in self._NEW_SEQUENCE[self._codec] or not self._sequences:
            self._sequences.append([])
        if sequence := self._sequences[-1]:  # what is said is the last bits
            latest, period = sequence[-1][1], 1 << 4 + self._said.get(f"log2_max_{self._kind}_minus4", 0)
            number = latest + (number - latest + period // 2) % period - period // 2
        sequence.append((packet_number, number))

    @property
    def _kind(self) -> str:
        """What numbers pictures: their order or, in H.264 streams in which all are shown as they come, a counter."""
        return "pic_order_cnt_lsb" if "log2_max_pic_order_cnt_lsb_minus4" in self._said else "frame_num"

    def _read_headers(self, lines: list[str]) -> int | None:
        """The number of the picture by its first slice; `None` if there is none."""
        number = None
        for line in lines:
            words = line.split()  # position in bits, name (with an index), bits, "=", value
            if len(words) < 4 or words[-2] != "=" or (name := words[1].partition("[")[0]) not in self._WATCHED:
                continue
            self._said[name] = value = int(words[-1])
            if number is None and name in self._NUMBERS and name.endswith(self._kind):
                number = value
            if number is None and name == "nal_unit_type" and self._codec == "hevc" and value in self._HEVC_IDR:
                number = 0
            # all begins anew within a sequence, or pictures share a number that no other one refers to
            self._is_even &= not (name == "memory_management_control_operation" and value == 5)
            self._is_even &= not (name == "frame_num" == self._kind and not self._said["nal_ref_idc"])
        return number

    def first_lost(self) -> int | None:
        orders = [sorted(number for _, number in sequence) for sequence in self._sequences]
        steps = np.concatenate([np.diff(order) for order in orders] or [[]])
        rising = steps[steps > 0]
        if (
            not self._is_even
            or len(rising) < 2 * len(steps) / 3
            or sum(map(len, orders)) < REGULAR_SHARE * self._num_packets
        ):
            return None  # pictures that share a number are halves of one, if there are many
        usual = np.median(rising) if len(rising) else 0
        if (rising != usual).sum() > max(1, (1 - REGULAR_SHARE) * len(rising)):
            return None
        for sequence, order in zip(self._sequences, orders, strict=True):
            odd = np.flatnonzero(np.diff(order) != usual)
            if len(odd):
                return min(packet for packet, number in sequence if number >= order[odd[0] + 1])
        return None
