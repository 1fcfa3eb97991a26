# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""search.py: a folder of videos ranked for sentences by a saved checkpoint."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from tiny_models import tiny_model

from clipbert.modeling_clipbert import ClipBERTForVideoQA, ClipBERTForVideoTextRetrieval
from clipbert.processing import ClipBERTVideoProcessor, VideoTextProcessor, load_tokenizer
from clipbert.train_scripts import search
from clipbert.train_scripts.tasks.retrieval.trained import find_checkpoint


WORDS = ["a", "dog", "runs", "cat", "sleeps"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    video_processor = ClipBERTVideoProcessor(size=64, num_clips=2, num_frames=2, short_video="mask")
    VideoTextProcessor(video_processor, load_tokenizer(vocabulary)).save_pretrained(folder)
    tiny_model(ClipBERTForVideoTextRetrieval).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def videos(tmp_path_factory, write_video):
    folder = tmp_path_factory.mktemp("videos")
    (elsewhere := tmp_path_factory.mktemp("elsewhere") / "deep").mkdir()
    (folder / "linked").symlink_to(elsewhere)
    for number, path in enumerate([folder / "a.mp4", elsewhere / "b.MP4", folder / "c.mp4"]):
        write_video(path, num_frames=4 + 6 * number)
    (folder / "broken.mp4").write_bytes(b"")
    (folder / "notes.txt").write_text("not a video")
    (folder / "captions.jsonl").write_text(json.dumps({"video": "a.mp4", "caption": "the first one"}))
    return folder


def test_ranking_equals_scoring_every_pair(checkpoint, videos):
    model = ClipBERTForVideoTextRetrieval.from_pretrained(checkpoint)
    processor = VideoTextProcessor.from_pretrained(checkpoint)
    paths = search.find_videos(videos)
    assert [path.name for path in paths] == ["a.mp4", "broken.mp4", "c.mp4", "b.MP4"]  # links are followed

    found = search.VideoSearch(model, processor, paths)
    assert list(found.unreadable) == [videos / "broken.mp4"]
    ranked = found.rank("a dog runs", block=2)
    assert [video.score for video in ranked] == sorted((video.score for video in ranked), reverse=True)
    for video in ranked:
        with torch.no_grad():
            outputs = model(**processor(text=["a dog runs"], videos=[video.path]))
        assert video.score == pytest.approx(outputs.match_odds.item(), abs=1e-5)
        assert 0 <= video.start_s <= video.end_s


def test_what_other_systems_hide_is_no_video(videos):
    found = search.find_videos(videos)
    (videos / "._a.mp4").touch()  # macOS, beside every file on foreign disks
    (videos / ".trash").mkdir()
    (videos / ".trash/d.mp4").touch()
    (videos / "back").symlink_to(videos)
    assert search.find_videos(videos) == found


def test_command_line(checkpoint, videos, capsys):
    search.main(
        ["--checkpoint", str(checkpoint), "--videos", str(videos), "--top", "2", "--num_clips", "1", "a cat sleeps"]
    )
    output, bars = capsys.readouterr()
    assert bars == ""  # nothing to watch in a file
    assert "broken.mp4" in output and '"a cat sleeps"' in output
    assert output.count(" s  ") == 2
    assert "not a probability" in output and "%" not in output.partition('"a cat sleeps"')[2]


def said(checkpoint, videos):
    """What a search ends with that never gets to encode a video."""
    with pytest.raises(SystemExit) as caught:
        search.main(["--checkpoint", str(checkpoint), "--videos", str(videos), "a dog"])
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def test_what_is_not_there_or_does_not_match_is_told_in_a_line(checkpoint, videos, tmp_path, monkeypatch):
    monkeypatch.setattr(search, "VideoSearch", None)
    assert "no such folder or file" in said(checkpoint, videos / "nothing")
    assert "no file there ends in" in said(checkpoint, checkpoint)
    assert "neither a checkpoint (it has no config.json) nor a run" in said(videos, videos)
    assert f"no such folder in {Path.cwd()}" in said(tmp_path / "nothing", videos)
    questions = tmp_path / "questions"
    shutil.copytree(checkpoint, questions)
    tiny_model(ClipBERTForVideoQA).save_pretrained(questions)
    assert "ClipBERTForVideoQA does not match texts with videos" in said(questions, videos)


def test_a_run_stands_for_its_best_checkpoint(checkpoint, videos, tmp_path, capsys):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last").symlink_to(checkpoint)
    assert find_checkpoint(str(tmp_path)) == str(tmp_path / "checkpoints" / "last")
    (tmp_path / "checkpoints" / "best").symlink_to(checkpoint)
    assert find_checkpoint(str(tmp_path)) == str(tmp_path / "checkpoints" / "best")
    # and one file for a folder
    search.main(["--checkpoint", str(tmp_path), "--videos", str(videos / "a.mp4"), "a dog"])
    output = capsys.readouterr().out
    assert "a.mp4   (the first one)" in output and output.count(" s  ") == 1


def test_captions_are_read_as_the_loader_reads_them(checkpoint, tmp_path, monkeypatch):
    (tmp_path / "videos").mkdir()
    assert search.read_pairs(tmp_path) == []
    lines = [{"video": "a.mp4", "caption": ["a dog\u2028runs", "another"]}, {"video": "b.mp4", "caption": "a cat"}]
    text = "\n\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    (tmp_path / "captions.jsonl").write_text(text, encoding="utf-8-sig")
    monkeypatch.chdir(tmp_path.parent)
    folder = Path(tmp_path.name)
    captions = {folder / "videos/a.mp4": "a dog\u2028runs", folder / "videos/b.mp4": "a cat"}
    assert dict(reversed(search.read_pairs(folder))) == captions  # the first of each
    (tmp_path / "captions.jsonl").rename(tmp_path / "captions.csv")
    (tmp_path / "captions.csv").write_text("video,caption\na.mp4,a dog\n")
    for place in (folder, folder / "videos"):  # the folder of the captions, or the one of the videos
        assert search.read_pairs(place) == [(folder / "videos/a.mp4", "a dog")]
    (tmp_path / "captions.csv").write_text("video,caption\na.mp4,\n")
    (tmp_path / "videos/a.mp4").touch()
    # before anything is loaded
    assert "captions.csv, line 2: expected 'caption'" in said(tmp_path / "none", tmp_path)
