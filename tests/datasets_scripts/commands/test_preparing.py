# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""`python -m datasets_scripts prepare`: small videos that show the same pictures at the same times."""

import errno
import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import frame_brightness

from clipbert.datasets_scripts import load_benchmark
from clipbert.datasets_scripts.__main__ import main
from clipbert.datasets_scripts.building.skip_lists import read_skip_list
from clipbert.datasets_scripts.commands import prepare as preparing
from clipbert.datasets_scripts.commands import reencoding
from clipbert.datasets_scripts.commands.prepare import read_manifest
from clipbert.datasets_scripts.commands.reencoding import PrepareError, PrepareSettings, choose_frames, prepare_video
from clipbert.processing.decoding import decode_video
from clipbert.processing.sampling import sample_clips


def write_lines(path: Path, *lines: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def decode_all(path):
    return decode_video(str(path), lambda metadata: range(metadata.total_num_frames))


def shown_frames(video) -> list[int]:
    """The numbers that pictures of `write_video` show, as long as there are at most 30."""
    brightness = video.frames.mean(axis=(1, 2, 3))
    return np.round((brightness - frame_brightness(0)) / 8).astype(int).tolist()


def shape_shown(path) -> float:
    """Height to width as players show a video, without its rotation."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.height / (stream.width * (stream.sample_aspect_ratio or 1))


def write_at(path: Path, ticks, time_base=Fraction(1, 1000), size=(48, 64)) -> Path:
    """A video of variable frame rate: picture `i` of `write_video` at each of `ticks`."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = time_base
        for index, tick in enumerate(ticks):
            picture = np.full((*size, 3), frame_brightness(index), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = tick, time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


# ----------------------------------------------------------------------------------------------------------------------
# One video
# ----------------------------------------------------------------------------------------------------------------------


def test_kept_pictures_keep_their_time(write_video, tmp_path):
    source = write_video(tmp_path / "source.mp4", num_frames=25, fps=10)
    assert prepare_video(str(source), str(tmp_path / "made.mp4"), PrepareSettings(fps=3)) == 8
    made = decode_all(tmp_path / "made.mp4")
    # the first picture of each third of a second: 0, 1/3, 2/3, 1, ...
    assert shown_frames(made) == [0, 4, 7, 10, 14, 17, 20, 24]
    assert made.metadata.timestamps == pytest.approx([0.0, 0.4, 0.7, 1.0, 1.4, 1.7, 2.0, 2.4])
    assert made.metadata.duration == pytest.approx(2.5)
    with av.open(str(tmp_path / "made.mp4")) as container:
        assert container.duration == pytest.approx(2_500_000, abs=1000)  # microseconds, for whoever reads the header


@pytest.mark.parametrize("rate", [Fraction(30000, 1001), Fraction(24000, 1001), 25, 7])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_all_rates_and_containers(write_video, tmp_path, rate, suffix):
    codec, options = ("mpeg4", {"qmax": "2"}) if suffix == ".avi" else ("libx264", None)
    source = write_video(tmp_path / f"source{suffix}", num_frames=29, fps=rate, codec=codec, options=options)
    for fps, expected in ((None, range(29)), (5.0, None)):
        prepare_video(str(source), str(tmp_path / "made.mp4"), PrepareSettings(fps=fps))
        before, made = decode_all(source), decode_all(tmp_path / "made.mp4")
        numbers = shown_frames(made)
        if expected is not None:
            assert numbers == list(expected)
        times = [before.metadata.timestamps[number] for number in numbers]
        assert made.metadata.timestamps == pytest.approx(times, abs=1e-4)
        assert made.metadata.duration == pytest.approx(before.metadata.duration, abs=2e-3)
        if fps:
            assert np.unique(np.floor(np.array(times) * fps + 0.01)).size == len(times)  # one in each part


def test_variable_frame_rates(tmp_path):
    ticks = [0, 33, 66, 500, 533, 566, 1000, 2400, 2433, 3000]
    source = write_at(tmp_path / "source.mp4", ticks)
    prepare_video(str(source), str(tmp_path / "made.mp4"), PrepareSettings(fps=2))
    made = decode_all(tmp_path / "made.mp4")
    assert shown_frames(made) == [0, 3, 6, 7, 9]
    assert made.metadata.timestamps == pytest.approx([0.0, 0.5, 1.0, 2.4, 3.0], abs=1e-3)
    prepare_video(str(source), str(tmp_path / "all.mp4"), PrepareSettings(fps=None))
    assert decode_all(tmp_path / "all.mp4").metadata.timestamps == pytest.approx([t / 1000 for t in ticks], abs=1e-3)


def test_clips_of_a_prepared_video_show_what_the_original_shows_then(write_video, tmp_path):
    source = write_video(tmp_path / "source.mp4", num_frames=30, fps=10)
    prepare_video(str(source), str(tmp_path / "made.mp4"), PrepareSettings(fps=None))

    def decode(path):
        return decode_video(
            str(path),
            lambda metadata: (
                sample_clips(metadata.total_num_frames, metadata.fps, num_clips=3, num_frames=2, fps=2.0).frame_indices
            ),
        )

    before, made = decode(source), decode(tmp_path / "made.mp4")
    assert shown_frames(made) == shown_frames(before) == made.metadata.frames_indices
    assert made.metadata.timestamps == pytest.approx(before.metadata.timestamps)


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(480, 640, (256, 340)), (640, 480, (340, 256)), (225, 301, (224, 300)), (256, 256, (256, 256)), (2, 3, (2, 2))],
)
def test_sizes_are_even_and_never_larger(height, width, expected):
    assert PrepareSettings(short_side=256).size_of(height, width) == expected


def test_pictures_shrink(write_video, tmp_path):
    source = write_video(tmp_path / "source.mp4", size=(96, 160), num_frames=5)
    prepare_video(str(source), str(tmp_path / "made.mp4"), PrepareSettings(short_side=48, fps=None))
    made = decode_all(tmp_path / "made.mp4")
    assert made.frames.shape == (5, 48, 80, 3) and shown_frames(made) == [0, 1, 2, 3, 4]


def test_colours_stay(tmp_path):
    """Red, green, blue and grey, for players who read the colour tags and for those who guess."""
    colours = np.array([[200, 30, 30], [30, 200, 30], [30, 30, 200], [128, 128, 128]], dtype=np.uint8)
    with av.open(str(tmp_path / "source.mp4"), "w") as container:
        stream = container.add_stream("libx264rgb", rate=5, options={"crf": "0"})
        stream.height, stream.width, stream.pix_fmt = 64, 64, "rgb24"
        for colour in colours:
            frame = av.VideoFrame.from_ndarray(np.tile(colour, (64, 64, 1)), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    prepare_video(str(tmp_path / "source.mp4"), str(tmp_path / "made.mp4"), PrepareSettings(fps=None))
    made = decode_all(tmp_path / "made.mp4")
    assert np.abs(made.frames.astype(int) - colours[:, None, None]).max() <= 4
    with av.open(str(tmp_path / "made.mp4")) as container:
        codec = container.streams.video[0].codec_context
        assert (int(codec.colorspace), int(codec.color_range)) == (6, 1)


def test_key_frames_come_every_interval_and_no_picture_is_moved(write_video, tmp_path):
    source = write_video(tmp_path / "source.mp4", num_frames=30, fps=10)
    settings = PrepareSettings(fps=None, keyframe_interval_s=0.5)
    prepare_video(str(source), str(tmp_path / "made.mp4"), settings)
    with av.open(str(tmp_path / "made.mp4")) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        assert [packet.pts for packet in packets] == [packet.dts for packet in packets]
        keys = [float(packet.pts * packet.time_base) for packet in packets if packet.is_keyframe]
        assert {0.0, 0.5, 1.0, 1.5, 2.0, 2.5} <= {round(time, 3) for time in keys}
        assert len(container.streams) == 1 and container.streams[0].codec_context.name == "h264"


def test_at_three_pictures_a_second_each_is_decoded_alone(write_video, tmp_path):
    source = write_video(tmp_path / "source.mp4", num_frames=90, fps=30)
    assert prepare_video(str(source), str(tmp_path / "made.mp4"), PrepareSettings()) == 9
    made = decode_video(tmp_path / "made.mp4", [2, 7])
    assert made.metadata.num_decoded_frames == 2


def test_the_first_frame_of_each_part_is_kept():
    assert choose_frames([0.0, 0.1, 0.2, 0.3], None) == {0, 1, 2, 3}
    assert choose_frames([0.0, 0.3, 0.333, 0.5, 0.667, 5.0], 3) == {0, 2, 4, 5}  # 0.333 is 1/3 rounded
    assert choose_frames([number / 3 for number in range(300)], 3) == set(range(300))
    assert choose_frames([0.0], 3) == {0}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"short_side": 8}, "short_side of at least 16"),
        ({"crf": 52}, "crf from 0 to 51"),
        ({"fps": 0.0}, "above 0"),
        ({"fps": float("inf")}, "above 0"),
        ({"keyframe_interval_s": -1}, "above 0"),
    ],
)
def test_settings_out_of_bounds(values, words):
    with pytest.raises(ValueError, match=words):
        PrepareSettings(**values)


def test_real_videos(data_dir, tmp_path):
    """Rotated, of variable rate, without times, with transparency, with ten bits, of every container."""
    broken = {"corrupted.mp4", "zero_byte.webm", "audio_only.mp3"}
    small = [path for path in sorted((data_dir / "videos").glob("*/*")) if path.stat().st_size < 300_000]
    for source in small:
        if source.name in broken:
            continue
        prepare_video(str(source), str(tmp_path / "made.mp4"), PrepareSettings(fps=3))
        before, made = decode_all(source), decode_all(tmp_path / "made.mp4")
        assert made.metadata.duration == pytest.approx(before.metadata.duration, abs=2e-3), source
        times = np.array(before.metadata.timestamps)
        places = [int(np.abs(times - time).argmin()) for time in made.metadata.timestamps]
        assert np.allclose(times[places], made.metadata.timestamps, atol=1e-3), source
        height, width = made.frames.shape[1:3]
        shown = shape_shown(source)
        assert min(abs(height / width - ratio) for ratio in (shown, 1 / shown)) < 0.03, source  # upright or turned
        # the picture of that time, the right way up: nearer to it than to its mirror images
        thumbnails = [np.stack([shrink(frame) for frame in video]) for video in (before.frames[places], made.frames)]
        distance = np.abs(thumbnails[0] - thumbnails[1]).mean()
        assert distance < 4, source


def shrink(frame: np.ndarray) -> np.ndarray:
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
    return picture.reformat(24, 24, interpolation="AREA").to_ndarray().astype(float)


# ----------------------------------------------------------------------------------------------------------------------
# A collection
# ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, write_video) -> Path:
    """Three whole videos, of three containers, and one that is none, in two splits."""
    root = tmp_path / "data"
    for split, names in {"train": ("a.mp4", "b.mkv", "text.mp4"), "test": ("c.avi",)}.items():
        (root / split / "videos").mkdir(parents=True)
        for name in names:
            codec = "mpeg4" if name.endswith("avi") else "libx264"
            write_video(root / split / "videos" / name, num_frames=20, codec=codec)
        write_lines(root / split / "captions.jsonl", *({"video": name, "caption": f"a {name}"} for name in names))
    (root / "train/videos/text.mp4").write_text("this is no video")
    return root


@pytest.fixture
def prepare(folder, tmp_path):
    def run(*options) -> int:
        fixed = ["--data_dir", folder, "--cache_dir", tmp_path / "cache", "--output_dir", tmp_path / "out"]
        return main(list(map(str, ["prepare", "video_folder", *fixed, "--num_workers", 0, *options])))

    return run


def spy_on(monkeypatch) -> list[str]:
    made, prepare_video = [], preparing.prepare_video

    def note(source, target, settings):
        made.append(Path(source).name)
        return prepare_video(source, target, settings)

    monkeypatch.setattr(preparing, "prepare_video", note)
    return made


def test_the_loader_finds_what_was_prepared(prepare, folder, tmp_path, capsys):
    assert prepare() == 1
    shown = capsys.readouterr().out
    assert shown.startswith("4 videos: 3 prepared, 0 there before, 1 failed")
    assert "text.mp4: " in shown and read_skip_list(tmp_path / "out/failed.txt") == {"text.mp4"}
    fields = {"data_dir": folder, "video_dir": tmp_path / "out", "cache_dir": tmp_path / "cache"}
    rows = load_benchmark("video_folder", skip_list=tmp_path / "out/failed.txt", **fields)
    videos = [path for part in rows.values() for path in part["video"]]
    assert videos == [str(tmp_path / "out" / name) for name in ("a.mp4", "b.mkv", "c.avi")]
    for path in videos:
        assert shown_frames(decode_all(path)) == [0, 4, 7, 10, 14, 17]
    (folder / "train/videos/text.mp4").write_bytes((folder / "train/videos/a.mp4").read_bytes())
    assert prepare() == 0 and not (tmp_path / "out/failed.txt").exists()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "a.mp4",
        "b.mkv",
        "c.avi",
        "text.mp4",
        "prepared.jsonl",
        "packet_indexes.safetensors",
    }


def test_a_second_run_makes_what_is_missing_or_changed(prepare, folder, tmp_path, monkeypatch, write_video):
    made = spy_on(monkeypatch)
    prepare()
    assert made == ["a.mp4", "b.mkv", "text.mp4", "c.avi"]
    made.clear()
    prepare()
    assert made == ["text.mp4"]  # what failed is tried again
    made.clear()
    write_video(folder / "train/videos/a.mp4", num_frames=9)  # another original
    (tmp_path / "out/c.avi").unlink()  # a copy that is gone
    (tmp_path / "out/b.mkv").write_bytes((tmp_path / "out/b.mkv").read_bytes()[:-1])  # a copy that was cut
    prepare()
    assert made == ["a.mp4", "b.mkv", "text.mp4", "c.avi"]
    made.clear()
    prepare("--short_side", 32)
    assert made == ["a.mp4", "b.mkv", "text.mp4", "c.avi"]  # other settings
    assert decode_all(tmp_path / "out/a.mp4").frames.shape[1:3] == (32, 42)


def test_an_interruption_leaves_no_half_files(prepare, folder, tmp_path, monkeypatch):
    write, written = reencoding.write_video, []

    def stop_at_the_second(*arguments):
        written.append(write(*arguments))
        if len(written) == 2:
            raise KeyboardInterrupt
        return written[-1]

    monkeypatch.setattr(reencoding, "write_video", stop_at_the_second)
    assert prepare() == 130
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.mp4", "prepared.jsonl"}
    (tmp_path / "out/.b.mkv.123.partial").write_text("half a file of a run that was killed")
    manifest = tmp_path / "out/prepared.jsonl"
    manifest.write_text(manifest.read_text() + '{"name": "b.mk')
    monkeypatch.undo()
    made = spy_on(monkeypatch)
    prepare()
    assert made == ["b.mkv", "text.mp4", "c.avi"]
    assert {path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")} == set()
    assert set(read_manifest(tmp_path / "out")) == {"a.mp4", "b.mkv", "c.avi"}


def test_a_copy_that_is_not_as_it_should_be_is_no_success(write_video, tmp_path, monkeypatch):
    source = write_video(tmp_path / "source.mp4", num_frames=20)
    monkeypatch.setattr(reencoding, "choose_frames", lambda seconds, fps: {0, 1})
    settings = PrepareSettings()
    assert prepare_video(str(source), str(tmp_path / "made.mp4"), settings) == 2
    monkeypatch.setattr(
        reencoding, "write_video", lambda *arguments, write=reencoding.write_video: write(*arguments) + 1
    )
    with pytest.raises(PrepareError, match="expected 3 pictures over 2.00 s, wrote 2"):
        prepare_video(str(source), str(tmp_path / "other.mp4"), settings)
    assert {path.name for path in tmp_path.iterdir()} == {"source.mp4", "made.mp4"}


@pytest.mark.parametrize(
    "ratio, size", [((4, 3), (48, 64)), ((8, 9), (96, 84)), ((1, 1), (48, 64)), ((1, 100), (48, 64))]
)
def test_pixels_become_square(tmp_path, ratio, size):
    """A circle on the screen is a circle in the copy; a ratio beyond all sense is none."""
    (height, width), ratio = size, Fraction(*ratio)
    across, down = np.meshgrid(np.arange(width) - width / 2, np.arange(height) - height / 2)
    circle = (across * float(ratio if ratio > 0.1 else 1)) ** 2 + down**2 < 20**2
    with av.open(str(tmp_path / "source.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.codec_context.sample_aspect_ratio = ratio
        for _ in range(5):
            picture = np.repeat(circle[..., None], 3, axis=2).astype(np.uint8) * 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    prepare_video(str(tmp_path / "source.mkv"), str(tmp_path / "made.mp4"), PrepareSettings())
    with av.open(str(tmp_path / "made.mp4")) as container:
        assert (container.streams.video[0].sample_aspect_ratio or 1) == 1
        picture = next(container.decode(video=0)).to_ndarray(format="gray") > 128
    assert picture.shape[0] == height and abs(picture.shape[1] - width * (ratio if ratio > 0.1 else 1)) <= 2
    assert abs(int(picture.any(axis=0).sum()) - int(picture.any(axis=1).sum())) <= 2


COLORS = np.array([[220, 40, 30], [30, 200, 60], [40, 60, 210], [128, 128, 128], [235, 220, 20]], dtype=np.uint8)


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", [1, 5, 6, 9])  # BT.709, BT.470BG, BT.601, BT.2020, as FFmpeg numbers them
def test_colours_of_every_matrix_and_range_stay(tmp_path, matrix, full_range):
    """Whatever matrix and range the source has, its copy has the same colours when it is decoded by its own."""
    shown = np.repeat(np.repeat(COLORS[None, :, :], 64, axis=0), 32, axis=1)
    with av.open(str(tmp_path / "source.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "5"})
        stream.height, stream.width, stream.pix_fmt = 64, shown.shape[1], "yuv444p"
        context, span = stream.codec_context, 2 if full_range else 1
        context.colorspace, context.color_range = matrix, span
        frame = av.VideoFrame.from_ndarray(shown, format="rgb24").reformat(
            format="yuv444p", dst_colorspace=matrix, dst_color_range=span
        )
        for number in range(3):
            frame.pts, frame.colorspace, frame.color_range = number, matrix, span
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    before = decode_all(tmp_path / "source.mp4").frames
    prepare_video(str(tmp_path / "source.mp4"), str(tmp_path / "made.mp4"), PrepareSettings(crf=5))
    made = decode_all(tmp_path / "made.mp4").frames
    middles = [32 * number + 16 for number in range(len(COLORS))]
    for frames in (before, made):
        assert np.abs(frames[0, 32, middles].astype(int) - COLORS).max() < 14


def test_broken_videos_are_told_apart(write_video, tmp_path):
    source = write_video(tmp_path / "cut.mkv", num_frames=60, options={"g": "10"})
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    with pytest.raises(PrepareError, match="cut off before the last of the"):
        prepare_video(str(source), str(tmp_path / "made.mp4"), PrepareSettings())
    assert not (tmp_path / "made.mp4").exists()


def test_the_same_pictures_make_the_same_bytes(write_video, tmp_path):
    """Of small pictures without texture x264 made two kinds of files, now and then."""
    source = write_video(tmp_path / "source.mp4", num_frames=20)
    jobs = [preparing.Job(str(source), f"{number}.mp4", ()) for number in range(150)]
    made, failed = preparing.prepare_videos(jobs, tmp_path, PrepareSettings(), num_workers=2, progress=False)
    assert made == 150 and not failed
    assert len({(tmp_path / job.name).read_bytes() for job in jobs}) == 1


def test_whatever_one_video_raises_the_others_are_prepared(prepare, tmp_path, monkeypatch, capsys):
    prepare_video = preparing.prepare_video

    def fail(source, target, settings):
        if source.endswith("b.mkv"):
            raise KeyError("\x1b[31mlibrary")
        return prepare_video(source, target, settings)

    monkeypatch.setattr(preparing, "prepare_video", fail)
    assert prepare() == 1
    assert r"b.mkv: KeyError: '\x1b[31mlibrary'" in capsys.readouterr().out
    assert read_skip_list(tmp_path / "out/failed.txt") == {"b.mkv", "text.mp4"}
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(preparing, "prepare_video", lambda *arguments: (_ for _ in ()).throw(full))
    (tmp_path / "out/c.avi").unlink()
    assert prepare() == 1  # no list of thousands of videos that are fine
    assert "error: [Errno 28] No space left on device" in capsys.readouterr().err


def test_processes_make_the_same_files(prepare, tmp_path):
    prepare()
    alone = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.[am]*")}
    for name in alone:
        (tmp_path / "out" / name).unlink()
    prepare("--num_workers", 2)
    assert alone == {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.[am]*")} and len(alone) == 3


def test_any_folder_of_videos(folder, tmp_path, capsys):
    out = tmp_path / "flat"
    assert main(["prepare", "--videos", str(folder), "--output_dir", str(out), "--num_workers", "0"]) == 1
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.mp4")) == [
        "test/videos/c.mp4",
        "train/videos/a.mp4",
        "train/videos/b.mp4",
    ]
    assert read_skip_list(out / "failed.txt") == {"train/videos/text.mp4"}
    (folder / "train/videos/a.mkv").write_bytes(b"")
    assert main(["prepare", "--videos", str(folder), "--output_dir", str(out)]) == 1
    assert "would both become train/videos/a.mp4" in capsys.readouterr().err


def test_names_of_media_that_are_found_by_their_stem(write_video, tmp_path):
    """Charades-STA looks for its videos in any folder and container: the copy of an AVI is an MP4 by name, too."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/charades_sta_test.txt").write_text("AAAAA 0.0 1.0##a person sits.\nBBBBB 0.0 1.0##a dog runs.\n")
    (tmp_path / "videos/deep").mkdir(parents=True)
    write_video(tmp_path / "videos/deep/AAAAA.avi", num_frames=20, codec="mpeg4")
    folders = {"data_dir": tmp_path / "data", "cache_dir": tmp_path / "cache"}
    arguments = ["prepare", "charades_sta", "--num_workers", 0, "--output_dir", tmp_path / "out"]
    arguments += [part for name, folder in folders.items() for part in (f"--{name}", folder)]
    for _ in range(2):  # all configs that are there, which have one collection
        assert main(list(map(str, [*arguments, "--video_dir", tmp_path / "videos"]))) == 1
        assert read_skip_list(tmp_path / "out/failed.txt") == {"BBBBB"}
    rows = load_benchmark(
        "charades_sta", "vslnet", split="test", video_dir=tmp_path / "out", skip_list={"BBBBB"}, **folders
    )
    assert rows["video"][:] == [str(tmp_path / "out/AAAAA.mp4")]
    assert decode_all(rows[0]["video"]).metadata.duration == pytest.approx(2.0)
    with pytest.raises(SystemExit):
        main(["prepare", "charades_sta"])  # no --output_dir
    assert main(list(map(str, [*arguments, "--config", "vslnet", "videox"]))) == 1


def test_mistakes_on_the_command_line(folder, tmp_path, capsys):
    def told(*options):
        assert main(list(map(str, ["prepare", *options]))) == 1
        return capsys.readouterr().err

    data = ["--data_dir", folder, "--cache_dir", tmp_path / "cache"]
    side_by_side = "--output_dir and the folder of the videos side by side"
    assert side_by_side in told("video_folder", *data, "--output_dir", folder / "out")
    assert side_by_side in told("video_folder", *data, "--output_dir", tmp_path)
    assert not (folder / "out").exists()
    assert "either the NAME of a benchmark or --videos" in told("--output_dir", tmp_path / "out")
    assert "either the NAME" in told("video_folder", "--videos", folder, "--output_dir", tmp_path / "out")
    assert "No video in" in told("--videos", tmp_path / "cache", "--output_dir", tmp_path / "out")
    assert "short_side of at least 16" in told(
        "video_folder", *data, "--output_dir", tmp_path / "o", "--short_side", 2
    )
    with pytest.raises(SystemExit):
        told("video_folder", *data, "--output_dir", tmp_path / "out", "--fps", "all")


def test_two_files_with_one_name_are_refused(folder, tmp_path, prepare, write_video, capsys):
    write_video(folder / "test/videos/a.mp4", num_frames=7)
    write_lines(folder / "test/captions.jsonl", {"video": "a.mp4", "caption": "another a"})
    assert prepare() == 1
    assert "would both become a.mp4" in capsys.readouterr().err
    assert prepare("--split", "test") == 0 and len(decode_all(tmp_path / "out/a.mp4").frames) == 2
