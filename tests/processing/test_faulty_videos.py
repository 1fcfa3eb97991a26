# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Never a wrong picture in silence: files that lie about themselves, damaged ones, and healthy ones that look damaged.

`tests/fixtures/videos` holds one small file of each kind. `expected.json` gives for each frame what FFmpeg shows when it
decodes the file in order, as the mean grey of a 4 x 4 grid, or its time stamp.
"""

import io
import json
import logging
import subprocess
import sys
import tarfile
import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.numbered_videos import H264, KINDS, Kind, plain_decode, read_number, write_numbered
from PIL import Image

from clipbert.processing import ClipBERTVideoProcessor, VideoDecodeError
from clipbert.processing.complaints import Complaints
from clipbert.processing.decoding import decode_video, read_video_metadata
from clipbert.processing.sampling import VideoTiming, build_rng, sample_clips
from clipbert.processing.visual_inputs import load_image


FIXTURES = Path(__file__).parents[1] / "fixtures" / "videos"
PICTURES_KNOWN = [
    (folder.name, name)
    for folder in sorted(FIXTURES.iterdir())
    if folder.name != "clip_seconds" and (folder / "expected.json").exists()
    for name in json.loads((folder / "expected.json").read_text())
]


def grid(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    grey = picture.astype(float).mean(-1)[: height // 4 * 4, : width // 4 * 4]
    return grey.reshape(4, height // 4, 4, width // 4).mean(axis=(1, 3)).ravel()


@pytest.mark.parametrize("folder, name", PICTURES_KNOWN)
def test_pictures_are_those_of_decoding_in_order(folder, name):
    path = FIXTURES / folder / name
    expected = json.loads((path.parent / "expected.json").read_text())[name]
    metadata = read_video_metadata(path)
    assert metadata.total_num_frames == len(expected) and metadata.timing.is_complete
    together = decode_video(path, range(len(expected))).frames
    for number in {*range(0, len(expected), 7), len(expected) // 2, len(expected) - 1}:
        alone = decode_video(path, [number]).frames[0]
        np.testing.assert_array_equal(alone, together[number])
        assert np.abs(grid(alone) - expected[number]).max() <= 8


@pytest.mark.parametrize("name", KINDS)
def test_every_frame_is_the_same_alone_in_pairs_and_in_order(name, tmp_path):
    path = write_numbered(tmp_path / f"few{KINDS[name].suffix}", 30, KINDS[name], size=(48, 64))
    pictures = plain_decode(path)[0]
    np.testing.assert_array_equal(decode_video(path, range(30)).frames, pictures)
    for number in range(30):
        np.testing.assert_array_equal(decode_video(path, [number]).frames, pictures[[number]])
        pair = sorted({number, number * 7 % 30})
        np.testing.assert_array_equal(decode_video(path, pair).frames, pictures[pair])


def test_seek_that_lands_elsewhere():
    path = FIXTURES / "seek_lands_elsewhere" / "chunk_size.avi"
    pictures = plain_decode(path)[0].astype(int)
    for number in range(0, len(pictures), 5):
        try:
            picture = decode_video(path, [number]).frames[0]
        except VideoDecodeError as error:
            assert error.frame_index is not None and path.name in str(error)
        else:
            assert np.abs(picture - pictures[number]).mean() < 4
    allowed = decode_video(path, range(len(pictures)), allow_damaged=True)
    np.testing.assert_array_equal(allowed.frames, pictures)
    assert "damaged at packet 0" in allowed.metadata.damage


@pytest.mark.parametrize("name", ["hole.mkv", "one_bit.mp4"])
def test_damage_is_told(name, caplog):
    """Each frame is that of the whole file or refused; allow_damaged takes the rest, with a warning and a mark."""
    path = FIXTURES / "damage_passes_as_good" / name
    truth = plain_decode(path.with_name(name.replace(".", ".whole.")))[0].astype(int)
    total, refused = read_video_metadata(path).total_num_frames, []
    for number in range(total):
        try:
            picture = decode_video(path, [number]).frames[0]
        except VideoDecodeError as error:
            refused.append(number)
            assert error.frame_index == number and "allow_damaged=True" in str(error) and name in str(error)
        else:
            assert np.abs(picture - truth[number]).mean() < 1, number
    assert 0 < len(refused) < total
    with caplog.at_level(logging.WARNING):
        video = decode_video(path, [refused[0]], allow_damaged=True)
    assert video.metadata.damage.startswith("it is damaged at packet ")
    assert name in caplog.text and video.metadata.damage in caplog.text


def test_damage_is_told_for_each_file_alone():
    """FFmpeg's words about one file are not kept back because it said the same about the file before."""
    data = bytearray((Path(FIXTURES / "clip_seconds" / "gen_uneven.gif")).read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40] = bytes([255]) * 40
    for _ in range(2):
        with pytest.raises(VideoDecodeError, match="damaged at packet"):
            decode_video(bytes(data), lambda metadata: range(metadata.total_num_frames))


def test_a_lost_packet_shifts_no_number(tmp_path):
    """A hole in a file that lists no packets: the frames behind it would count one less."""
    for suffix, codec in ((".mkv", "mjpeg"), (".flv", "flv"), (".avi", "mjpeg")):
        kind = Kind(suffix, codec, {"g": "12"} if codec == "flv" else {}, "yuv420p" if codec == "flv" else "yuvj420p")
        path = write_numbered(tmp_path / f"whole{suffix}", 40, kind)
        with av.open(str(path)) as container:
            places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
        data = bytearray(path.read_bytes())
        begin, end = places[20][0] - 8, places[20][0] + places[20][1]
        data[begin:end] = bytes(end - begin)
        path.write_bytes(data)
        assert [read_number(picture) for picture in decode_video(path, range(19)).frames] == list(range(19))
        for late in (0.7, 1):
            with pytest.raises(VideoDecodeError, match="damaged|cut off"):
                decode_video(path, lambda metadata, late=late: [int((metadata.total_num_frames - 1) * late)])


def test_uneven_times_are_no_damage(tmp_path):
    times = [*range(20), *range(50, 70), *range(71, 91)]
    for suffix in (".mkv", ".mp4", ".flv"):
        path = write_numbered(tmp_path / f"pause{suffix}", 60, Kind(suffix, "libx264", H264), times=times)
        video = decode_video(path, [5, 19, 20, 40, 59])
        assert [read_number(picture) for picture in video.frames] == [5, 19, 20, 40, 59]
        assert video.metadata.timing.is_complete


def test_repeated_packets_of_a_transport_stream(tmp_path):
    path = write_numbered(tmp_path / "a.ts", 40, Kind(".ts", "mpeg2video", {"g": "12", "bf": "0"}))
    data = path.read_bytes()
    middle = len(data) // 2 // 188 * 188
    twice = tmp_path / "twice.ts"
    twice.write_bytes(data[:middle] + data[middle - 188 * 20 : middle] + data[middle:])
    with pytest.raises(VideoDecodeError, match="damaged"):
        decode_video(twice, lambda metadata: range(metadata.total_num_frames))
    cut = tmp_path / "cut.ts"
    cut.write_bytes(data[: middle + 100])
    with pytest.raises(VideoDecodeError, match="cut off"):
        decode_video(cut, lambda metadata: range(metadata.total_num_frames))


# --- seconds


@pytest.mark.parametrize("name", sorted(json.loads((FIXTURES / "clip_seconds" / "expected.json").read_text())))
@pytest.mark.parametrize("sampling", ["uniform", "random"])
def test_clips_last_seconds_by_time_stamps(name, sampling):
    path = FIXTURES / "clip_seconds" / name
    seconds = np.array(json.loads((path.parent / "expected.json").read_text())[name])
    processor = ClipBERTVideoProcessor(size=32, num_clips=5, num_frames=4, fps=2, sampling=sampling)
    batch = processor(path, return_metadata=True, seeds=[7] if sampling == "random" else None)
    for row in batch["frame_indices"][0].numpy():
        chosen = seconds[row]
        near = (seconds >= chosen[0] - 2) & (seconds <= chosen[-1] + 2)
        assert abs(chosen[-1] - chosen[0] - 1.5) <= np.diff(seconds[near]).max() + 1e-3
    assert batch["video_metadata"][0].fps == pytest.approx((len(seconds) - 1) / seconds[-1], rel=0.15)


def test_even_times_change_nothing():
    """Time stamps that are a little off the rate give the frames that the rate gives."""
    pts = np.round(np.arange(200) * 1000 / 29.97).astype(np.int64)
    timing = VideoTiming(pts, time_base=Fraction(1, 1000))
    for strategy in ("uniform", "random", "middle"):
        options = {"num_clips": 1 if strategy == "middle" else 4, "num_frames": 3, "fps": 2, "strategy": strategy}
        with_times = sample_clips(200, 29.97, timing=timing, rng=build_rng(1), **options)
        without = sample_clips(200, 29.97, rng=build_rng(1), **options)
        np.testing.assert_array_equal(with_times.frame_indices, without.frame_indices)


# --- colour and shape


@pytest.mark.parametrize("matrix", ["bt2020c", "ictcp", "ycgco"])
def test_colour_matrices_that_ffmpeg_does_not_know(matrix):
    path = FIXTURES / "unsupported_matrix" / f"gen_matrix_{matrix}.mp4"
    alone = [decode_video(path, [number]).frames[0] for number in (0, 17, 40)]
    np.testing.assert_array_equal(np.stack(alone), decode_video(path, [0, 17, 40]).frames)
    assert all(picture.std() > 10 for picture in alone)


@pytest.mark.parametrize("name, shown", [("hdv.mp4", 16 / 9), ("pal_wide.mp4", 16 / 9)])
def test_pixels_that_are_not_square(name, shown):
    path = FIXTURES / "non_square_pixels" / name
    metadata = read_video_metadata(path)
    assert metadata.width / metadata.height == pytest.approx(shown, rel=0.05) and metadata.pixel_ratio != 1
    assert decode_video(path, [3]).frames.shape[1:3] == (metadata.height, metadata.width)
    stored = decode_video(path, [3], square_pixels=False)
    assert stored.frames.shape[2] / stored.frames.shape[1] == pytest.approx(shown / metadata.pixel_ratio, rel=0.05)
    np.testing.assert_array_equal(stored.frames, plain_decode(path)[0][[3]])
    processor = ClipBERTVideoProcessor(size=64, max_aspect_ratio=None, do_normalize=False, num_clips=1, num_frames=1)
    picture = processor(path)["pixel_values"][0, 0, 0].sum(0) > 0
    assert int(picture.any(0).sum()) / int(picture.any(1).sum()) == pytest.approx(shown, rel=0.05)


@pytest.mark.parametrize("name", ["grey16.png", "transparent.png", "turned.jpg"])
def test_one_way_into_rgb(name):
    with Image.open(FIXTURES / "frames_as_pil_list" / name) as image:
        image.load()
        expected = load_image(image)
        frames = decode_video([image, image], [0, 1]).frames
    np.testing.assert_array_equal(frames[0], expected)
    np.testing.assert_array_equal(load_image(FIXTURES / "frames_as_pil_list" / name), expected)


def test_modes_without_a_range_are_refused():
    for mode in ("I", "F"):
        with pytest.raises(VideoDecodeError, match=f"mode {mode} state no range"):
            decode_video([Image.new(mode, (8, 8))], [0])


def test_animated_webp(tmp_path):
    pictures = [Image.fromarray(np.full((24, 32, 3), grey, np.uint8)) for grey in (10, 90, 170, 250)]
    path = tmp_path / "moving.webp"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=[100, 200, 300, 400], lossless=True)
    for source in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes())):
        video = decode_video(source, [0, 2, 3])
        assert video.frames[:, 0, 0, 0].tolist() == [10, 170, 250]
        assert video.metadata.timestamps == pytest.approx([0, 0.3, 0.6]) and video.metadata.duration == 1.0
    with pytest.raises(VideoDecodeError, match="max_pixels=100"):
        decode_video(path, [0], max_pixels=100)


# --- limits and sources


def test_numbers_of_a_header_that_are_not_finite():
    for name in ("tag_inf.mkv", "tag_1e308.mkv"):
        path = FIXTURES / "header_numbers_not_finite" / name
        assert read_video_metadata(path).total_num_frames == 60
        assert decode_video(path, [0, 59]).frames.shape[0] == 2


def test_playlists_are_refused(tmp_path):
    secret = write_numbered(tmp_path / "secret.ts", 10, KINDS["ts_h264"])
    lists = {
        "list.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:2.4,\n{secret}\n#EXT-X-ENDLIST\n",
        "list.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:2.4,\n{secret}\n#EXT-X-ENDLIST\n",
        "list.ffconcat": f"ffconcat version 1.0\nfile {secret}\n",
        "list.txt": f"ffconcat version 1.0\nfile {secret}\n",
    }
    for name, text in lists.items():
        path = tmp_path / name
        path.write_text(text)
        for source in (path, text.encode(), io.BytesIO(text.encode())):
            with pytest.raises(VideoDecodeError):
                decode_video(source, [0])


def test_paths_and_files_of_every_kind(tmp_path):
    path = write_numbered(tmp_path / "a.mp4", 6)
    expected = plain_decode(path)[0][[3]]
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(path, "a.mp4")
    with tarfile.open(tmp_path / "a.tar", "r|") as stream:
        sources = [
            np.str_(path),
            np.array([str(path)])[0],
            np.bytes_(path.read_bytes()),
            stream.extractfile(stream.next()),
        ]
        for source in sources:
            np.testing.assert_array_equal(decode_video(source, [3]).frames, expected)
    with open(path) as text, pytest.raises(VideoDecodeError, match="a.mp4"):
        decode_video(text, [3])
    closed = open(path, "rb")  # noqa: SIM115
    closed.close()
    with pytest.raises(VideoDecodeError, match="a.mp4.*closed file"):
        decode_video(closed, [3])


def test_whatever_a_library_raises_names_the_file(tmp_path, monkeypatch):
    path = write_numbered(tmp_path / "a.mp4", 6)
    for error in (ValueError("odd"), OverflowError("huge"), MemoryError(), IndexError("beyond"), UnicodeError("bad")):

        def fail(*args, error=error, **kwargs):
            raise error

        with monkeypatch.context() as patch, pytest.raises(VideoDecodeError, match="a.mp4"):
            patch.setattr("clipbert.processing.video_reader.index_packets", fail)
            decode_video(path, [0])


def test_faults_of_the_caller_are_his_own(tmp_path):
    path = write_numbered(tmp_path / "a.mp4", 6)
    for decode in (
        lambda fail: decode_video(path, fail),
        lambda fail: decode_video(path, [0], transform=fail),
        lambda fail: decode_video(np.zeros((2, 8, 8, 3), np.uint8), [0], transform=fail),
    ):

        def fail(_):
            raise KeyError("mine")

        with pytest.raises(KeyError, match="mine"):
            decode(fail)


def test_transform_is_kept_instead_of_the_picture(tmp_path):
    path = write_numbered(tmp_path / "a.mp4", 6)
    video = decode_video(path, [4, 1], transform=read_number)
    assert video.frames == [1, 4] and video.metadata.height == 96


def test_pixels_of_images_are_limited(tmp_path):
    Image.new("RGB", (300, 200)).save(tmp_path / "large.png")
    processor = ClipBERTVideoProcessor(size=32, max_pixels=50_000)
    with pytest.raises(VideoDecodeError, match="300x200.*max_pixels=50000"):
        processor(images=[tmp_path / "large.png"])


# --- what FFmpeg says


def test_listening_leaves_no_trace(tmp_path):
    path = write_numbered(tmp_path / "a.mp4", 6)
    before = av.logging.get_level(), av.logging.get_skip_repeated()
    threads = [threading.Thread(target=decode_video, args=(path, [2])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (av.logging.get_level(), av.logging.get_skip_repeated()) == before


def test_who_listens_to_pyav_hears_all(caplog):
    av.logging.set_level(av.logging.WARNING)
    try:
        with caplog.at_level(logging.WARNING), Complaints() as complaints:
            av.logging.log(av.logging.ERROR, "somebody", "something")
            assert complaints.take("nobody") is None
        assert "something" in caplog.text
    finally:
        av.logging.set_level(None)


@pytest.mark.slow
def test_damage_among_decoder_threads_does_not_hang(tmp_path):
    """FFmpeg's threads are ahead of the first error, and log the next ones while the decoder is closed.

    In a process of its own: who waits there for Python's lock stops everything.
    """
    path = write_numbered(
        tmp_path / "large.mp4", 24, Kind(".mp4", "libx264", {"g": "24", "bf": "0"}), size=(720, 1280)
    )
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data, rng = bytearray(path.read_bytes()), np.random.default_rng(0)
    for position, size in places[3:]:
        data[position + 12 : position + size] = rng.bytes(size - 12)  # behind length and header
    path.write_bytes(data)
    code = """if True:
        import contextlib, sys
        from clipbert import VideoDecodeError, decode_video
        for _ in range(60):
            with contextlib.suppress(VideoDecodeError):
                decode_video(sys.argv[1], [20], num_threads=4)
    """
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=120)


@pytest.mark.slow
def test_damaged_videos_by_the_dozen():
    """`make fuzz`, with fewer files."""
    tool = Path(__file__).parents[1] / "fuzz" / "decoding.py"
    command = [sys.executable, str(tool), "--mutants", "120", "--workers", "1", "--limit", "25"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "| all | 120 |" in run.stdout and "Intact files refused: none." in run.stdout
