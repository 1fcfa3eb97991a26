# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""`clipbert look`: what a file holds, which frames would be taken, and whether all of it decodes."""

import json
import sys

import pytest
from numbered_videos import KINDS, write_numbered

from clipbert.command_line import main
from clipbert.processing import ClipBERTVideoProcessor, CNNRNNVideoProcessor, read_video_metadata


def look(capsys, *words):
    capsys.readouterr()
    code = main(["look", *map(str, words)])
    output, errors = capsys.readouterr()
    return code, [json.loads(line) for line in output.splitlines()], errors


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_numbered(tmp_path_factory.mktemp("videos") / "whole.mp4", 30, KINDS["mp4_h264_intra_refresh"])


def test_facts_and_frames_of_a_video(capsys, video):
    code, (found,), errors = look(capsys, video)
    assert code == 0 and errors == ""
    assert (found["codec"], found["width"], found["height"], found["rotation"]) == ("h264", 128, 96, 0)
    assert (found["num_frames"], found["fps"], found["duration_s"]) == (30, 25, pytest.approx(1.2))
    assert found["decodes"] and "error" not in found
    chosen = ClipBERTVideoProcessor().sample_frames(read_video_metadata(video))
    assert [clip["frame_indices"] for clip in found["sampled"]] == chosen.frame_indices.tolist()
    assert found["sampled"][0]["frame_seconds"] == pytest.approx(
        [number / 25 for number in found["sampled"][0]["frame_indices"]]
    )


def test_key_frames_are_counted(capsys, tmp_path):
    kind = KINDS["mp4_h264"]._replace(options={"g": "12", "keyint_min": "12", "sc_threshold": "0", "bf": "0"})
    _, (found,), _ = look(capsys, write_numbered(tmp_path / "keys.mp4", 30, kind))
    assert (found["num_key_frames"], found["longest_key_distance"]) == (3, 12)


def test_the_frames_of_a_checkpoint_with_other_options(capsys, video, tmp_path):
    CNNRNNVideoProcessor(num_frames=3).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "cnn_rnn"}')
    _, (found,), _ = look(capsys, video, "--checkpoint", tmp_path)
    assert len(found["sampled"]) == 1 and len(found["sampled"][0]["frame_indices"]) == 3
    options = ("--checkpoint", tmp_path, "--num_clips", "2", "--set", "sampling=multi_clip")
    _, (found,), _ = look(capsys, video, *options)
    assert [len(clip["frame_indices"]) for clip in found["sampled"]] == [3, 3]
    _, (found,), _ = look(capsys, video, "--set", "fps=0.5", "short_video=error")
    assert "too short" in found["sampling_error"] and found["decodes"]


def test_damage_is_found_wherever_it_is(capsys, video, tmp_path, monkeypatch):
    whole = video.read_bytes()
    cut, empty = tmp_path / "cut.mp4", tmp_path / "empty.mp4"
    cut.write_bytes(whole[: len(whole) * 3 // 4])
    empty.touch()
    damaged = write_numbered(tmp_path / "damaged.mp4", 60)
    content = bytearray(damaged.read_bytes())
    place = len(content) // 2
    content[place : place + 400] = bytes(400)
    damaged.write_bytes(content)
    code, found, errors = look(capsys, video, cut, damaged, empty)
    assert code == 1 and [one["decodes"] for one in found] == [True, False, False, False]
    assert found[2]["num_frames"] == 60 and found[2]["sampled"]  # what the header says is told all the same
    assert len(errors.splitlines()) == 3 and 0 < found[2]["missing_frame"] < 60
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "50")
    assert main(["look", str(damaged), str(video)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 50
    assert any(line.startswith("  decodes     NO, frame ") for line in lines)
    assert lines[-1] == "  decodes     as a whole"
