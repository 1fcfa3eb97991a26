# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""search.py: a folder of videos ranked for sentences by a saved checkpoint."""

import json

import pytest
import torch
from tiny_models import tiny_model

from clipbert.modeling_clipbert import ClipBERTForVideoTextRetrieval
from clipbert.processing import ClipBERTVideoProcessor, VideoTextProcessor, load_tokenizer
from clipbert.train_scripts import search


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
        assert video.score == pytest.approx(model.match_scores(outputs.logits).item(), abs=1e-5)
        assert 0 <= video.start_s <= video.end_s


def test_command_line(checkpoint, videos, capsys):
    search.main(
        ["--checkpoint", str(checkpoint), "--videos", str(videos), "--top", "2", "--num_clips", "1", "a cat sleeps"]
    )
    output = capsys.readouterr().out
    assert "broken.mp4" in output and '"a cat sleeps"' in output
    assert output.count(" s  ") == 2
    with pytest.raises(SystemExit, match="no such folder"):
        search.main(["--checkpoint", str(checkpoint), "--videos", str(videos / "nothing"), "a dog"])
