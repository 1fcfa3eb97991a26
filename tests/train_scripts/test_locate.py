# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""locate.py and search.py --locate: seconds from the command line, as a table, as JSON, as a film, as a picture."""

import io
import json
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from numbered_videos import read_number, write_numbered
from tiny_models import tiny_model as tiny_clipbert
from tiny_moments import tiny_frame_model, tiny_model, tiny_processor

from clipbert.modeling_clipbert import ClipBERTForVideoTextRetrieval
from clipbert.pipelines import locate_moments
from clipbert.processing import ClipBERTVideoProcessor, VideoDecodeError, VideoTextProcessor, decode_video
from clipbert.train_scripts import locate, search
from clipbert.train_scripts.tasks.moment_retrieval.pictures import draw_sheet
from clipbert.train_scripts.tasks.moment_retrieval.showing import cut_film, describe_moments, read_thumbnails


SENTENCES = ["a man opens the door", "the door"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    model, processor = tiny_frame_model(), tiny_processor()
    model.save_pretrained(folder / "checkpoints" / "best")
    processor.save_pretrained(folder / "checkpoints" / "best")
    return folder


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_numbered(tmp_path_factory.mktemp("videos") / "numbered.mp4", 100)


def test_lines_of_json_hold_what_the_model_says(checkpoint, video, capsys):
    found = locate.main(["--checkpoint", str(checkpoint), str(video), *SENTENCES, "--top", "2", "--window", "2"])
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == found
    expected = locate_moments(tiny_frame_model(), tiny_processor(), str(video), SENTENCES, top_k=2, window_seconds=2.0)
    for row, query, moments in zip(found, SENTENCES, expected, strict=True):
        assert row["video"] == str(video) and row["query"] == query
        for moment, other in zip(row["moments"], moments, strict=True):
            assert moment == pytest.approx({name: other[name] for name in ("start_s", "end_s", "score")}, abs=1e-5)


def test_without_sentences_it_asks_on(checkpoint, video, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("a man\n\nthe door\n"))
    locate.main(["--checkpoint", str(checkpoint), str(video)])
    assert [json.loads(line)["query"] for line in capsys.readouterr().out.splitlines()] == ["a man", "the door"]
    typed = iter(["a man", ""])
    monkeypatch.setattr("builtins.input", lambda prompt: next(typed))
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    assert list(locate.asked_sentences()) == ["a man"]


def test_a_part_of_a_video(checkpoint, video):
    part = ["--from_s", "1", "--to_s", "3", "--long_video", "pool"]
    (found,) = locate.main(["--checkpoint", str(checkpoint), str(video), "the door", *part])
    assert all(1 <= moment["start_s"] < moment["end_s"] <= 3 for moment in found["moments"])


def test_features_of_a_video_take_its_own_seconds(video, tmp_path):
    tiny_model(max_segments=16).save_pretrained(tmp_path)
    tiny_processor().save_pretrained(tmp_path)
    np.save(tmp_path / "numbered.npy", np.random.default_rng(0).normal(size=(8, 6)))
    options = ["--features", str(tmp_path / "numbered.npy")]
    (found,) = locate.main(["--checkpoint", str(tmp_path), str(video), "the door", *options])
    assert found["moments"][0]["end_s"] in (0.5 * np.arange(9)).tolist()


def test_the_table_is_for_people():
    moments = [{"start_s": 2.44, "end_s": 75.0, "score": 0.6104}, {"start_s": 0.0, "end_s": 3675.0, "score": -3.0}]
    assert describe_moments("a \x1bdoor", moments).splitlines() == [
        "a \\x1bdoor",
        "   1.        2.4 s to      1:15.0   score 0.610",
        "   2.        0.0 s to   1:01:15.0   score -3.000",
    ]


def test_a_film_has_the_frames_of_the_moment_and_lasts_as_long(video, tmp_path):
    assert cut_film(video, (1.0, 2.0), tmp_path / "one.mp4") == 25
    film = decode_video(tmp_path / "one.mp4", np.arange(25))
    assert [read_number(frame) for frame in film.frames] == list(range(25, 50))
    with av.open(str(tmp_path / "one.mp4")) as container:
        assert container.duration / 1e6 == pytest.approx(1.0, abs=0.001)
    # from the middle of a frame to that of another: both are shown in part
    assert cut_film(video, (1.02, 1.10), tmp_path / "part.mp4") == 3
    with av.open(str(tmp_path / "part.mp4")) as container:
        assert container.duration / 1e6 == pytest.approx(0.08, abs=0.001)
    for span in ((3.0, 3.0), (9.0, 10.0)):
        with pytest.raises(ValueError, match="There is nothing from"):
            cut_film(video, span, tmp_path / "none.mp4")


@pytest.mark.slow
def test_films_and_pictures_of_several_sentences_are_numbered(checkpoint, video, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    files = ["--clip", str(tmp_path / "film.mp4"), "--picture", str(tmp_path / "pictures" / "seen.png")]
    found = locate.main(["--checkpoint", str(checkpoint), str(video), *SENTENCES, *files])
    for number, row in enumerate(found, start=1):
        best = row["moments"][0]
        with av.open(str(tmp_path / f"film_{number}.mp4")) as container:
            assert container.duration / 1e6 == pytest.approx(best["end_s"] - best["start_s"], abs=0.001)
        assert (tmp_path / "pictures" / f"seen_{number}.png").stat().st_size > 10_000


def test_thumbnails_are_those_of_their_seconds(video):
    found = read_thumbnails(video, (1.0, 3.0), 4)
    assert [second for second, _ in found] == [1.25, 1.75, 2.25, 2.75]
    assert len(read_thumbnails(video, (1.0, 1.04), 5)) == 5  # more than there are frames
    assert {picture.shape for _, picture in found} == {(48, 64, 3)}


@pytest.mark.slow
def test_a_sheet_shows_questions_whose_videos_are_there(video, tmp_path):
    pytest.importorskip("matplotlib")
    row = {"caption": "the door", "windows": [(0, 1)], "duration_s": 4.0, "video": str(video)}
    rows = [{**row, "moments": [{"start_s": start, "end_s": start + 1, "score": 0.5}]} for start in (0.0, 0.5, 3.0)]
    path = tmp_path / "sheet.png"
    assert draw_sheet([*rows, {**rows[0], "video": "gone.mp4"}, {**row, "moments": []}], path, most=2) == path
    assert path.stat().st_size > 10_000
    assert draw_sheet([{**rows[0], "video": "gone.mp4"}], tmp_path / "none.png") is None


def test_what_does_not_fit_is_said(checkpoint, video, tmp_path):
    wrong = tmp_path / "wrong"
    tiny_clipbert(ClipBERTForVideoTextRetrieval).save_pretrained(wrong)
    processor = VideoTextProcessor(ClipBERTVideoProcessor(size=64), tiny_processor().tokenizer)
    processor.save_pretrained(wrong)
    with pytest.raises(SystemExit, match="finds no moments"):
        locate.main(["--checkpoint", str(wrong), str(video), "the door"])
    with pytest.raises(SystemExit, match="nowhere"):
        locate.main(["--checkpoint", str(tmp_path / "nowhere"), str(video), "the door"])
    for arguments in (["the door", "--top", "0"], [" "], ["the door", "--from_s", "1"]):
        with pytest.raises(SystemExit, match="2"):
            locate.main(["--checkpoint", str(checkpoint), str(video), *arguments])
    with pytest.raises(VideoDecodeError, match="gone.mp4"):
        locate.main(["--checkpoint", str(checkpoint), str(tmp_path / "gone.mp4"), "the door"])


def test_search_says_when_it_happens_in_what_it_has_found(checkpoint, video, tmp_path, capsys):
    tiny_clipbert(ClipBERTForVideoTextRetrieval).save_pretrained(tmp_path)
    options = {"size": 64, "num_clips": 2, "num_frames": 2}
    VideoTextProcessor(ClipBERTVideoProcessor(**options), tiny_processor().tokenizer).save_pretrained(tmp_path)
    search.main(["--checkpoint", str(tmp_path), "--videos", str(video), "--locate", str(checkpoint), "the door"])
    best = locate_moments(tiny_frame_model(), tiny_processor(), str(video), "the door", top_k=1)[0][0]
    assert f"{best['start_s']:.1f}-{best['end_s']:.1f} s" in capsys.readouterr().out
    assert Path(video).is_file()
