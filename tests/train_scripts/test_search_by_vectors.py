# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""search.py and explain.py with a model of vectors: shortlists, what they lose, another model's order, videos like one, pictures."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from text_ends import clip_tokenizer
from tiny_models import tiny_model as tiny_clipbert
from tiny_mug_stan import IMAGE_SIZE, tiny_clip, tiny_model

from clipbert.datasets_scripts import load_benchmark
from clipbert.metrics.retrieval import compute_retrieval_metrics
from clipbert.modeling_clipbert import ClipBERTForVideoTextRetrieval
from clipbert.processing import (
    ClipBERTVideoProcessor,
    MugSTANProcessor,
    MugSTANVideoProcessor,
    VideoTextProcessor,
    load_tokenizer,
)
from clipbert.train_scripts import explain, search
from clipbert.train_scripts.tasks.retrieval.collection import EncodedCollection, ShortlistError, evaluate_shortlist


CAPTIONS = [
    "a dog runs",
    "the cat",
    "a dog moves left and then right",
    "a cat jumps up",
    "down",
    "a dog",
    "the dog jumps",
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder, tokenizer = tmp_path_factory.mktemp("mug_stan"), clip_tokenizer(20)
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    clip = tiny_clip(text_config={"vocab_size": len(tokenizer), **ends})
    tiny_model(clip=clip, similarity="mug").save_pretrained(folder)
    video_processor = MugSTANVideoProcessor(size=IMAGE_SIZE, num_frames=4)
    MugSTANProcessor(video_processor, tokenizer, max_length=20).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clipbert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clipbert")
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "runs"]))
    video_processor = ClipBERTVideoProcessor(size=64, num_clips=2, num_frames=2)
    VideoTextProcessor(video_processor, load_tokenizer(folder / "vocab.txt")).save_pretrained(folder)
    tiny_clipbert(ClipBERTForVideoTextRetrieval).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def videos(tmp_path_factory, write_video):
    folder = tmp_path_factory.mktemp("videos")
    for number in range(len(CAPTIONS)):
        write_video(folder / f"{number}.mp4", num_frames=6 + 7 * number)
    shutil.copy(folder / "2.mp4", folder / "copy.mp4")
    lines = [json.dumps({"video": f"{number}.mp4", "caption": text}) for number, text in enumerate(CAPTIONS)]
    (folder / "captions.jsonl").write_text("\n".join(lines))
    return folder


def ask(checkpoint, videos, *more):
    search.main(["--checkpoint", str(checkpoint), "--videos", str(videos), *map(str, more)])


def refused(checkpoint, videos, *more):
    with pytest.raises(SystemExit) as caught:
        ask(checkpoint, videos, *more)
    return str(caught.value)


def test_a_shortlist_is_a_part_of_the_ranking(checkpoint, videos):
    found = search.build_search(str(checkpoint), search.find_videos(videos), None)
    ranked = found.rank("a dog runs")
    with torch.no_grad():
        inputs = found.processor(text=["a dog runs"] * len(found.paths), videos=found.paths)
        outputs = found.model(**inputs)
    by_path = dict(zip(found.paths, outputs.logits_per_text[0].tolist(), strict=True))
    assert [video.score for video in ranked] == pytest.approx(sorted(by_path.values(), reverse=True), abs=1e-3)
    assert found.rank("a dog runs", top=2) == ranked[:2]
    cosines = torch.nn.functional.cosine_similarity(outputs.text_embeds[:1], outputs.video_embeds)
    nearest = {found.paths[number] for number in cosines.topk(3).indices.tolist()}
    short = found.rank("a dog runs", shortlist=3)
    assert {video.path for video in short} == nearest
    assert short == [video for video in ranked if video.path in nearest]
    assert found.rank("a dog runs", shortlist=len(ranked)) == ranked
    with pytest.raises(ShortlistError, match="A shortlist of 9 cannot be taken: there are 8 videos"):
        found.rank("a dog runs", shortlist=9)


def test_what_a_shortlist_loses(checkpoint, videos, capsys):
    ask(checkpoint, videos, "--evaluate_shortlist", "1,3,8")
    lines = capsys.readouterr().out.splitlines()
    assert lines[-6].startswith("7 captions, 8 videos") and [line.split()[0] for line in lines[-4:]] == [
        "all",
        "1",
        "3",
        "8",
    ]
    found = search.build_search(str(checkpoint), search.find_videos(videos), None)
    owners = [found.paths.index(videos / f"{number}.mp4") for number in range(len(CAPTIONS))]
    measured = evaluate_shortlist(found.encoded, found.processor, CAPTIONS, owners, [1, 3, 8])
    with torch.no_grad():
        words = found.processor(text=CAPTIONS)
        texts = found.model.encode_texts(words["input_ids"], words["attention_mask"])
        scores = found.model.match_all(texts, found.encoded.videos).numpy()
        cosines = (found.model.vectors(texts) @ found.encoded.vectors.T).numpy()
    assert measured["all"] == measured["8"]
    expected = compute_retrieval_metrics(scores, owners)
    for name in ("text_to_video_R@1", "text_to_video_R@5", "text_to_video_mean_rank"):
        assert measured["all"][name] == pytest.approx(expected[name])
    outside = np.argsort(np.argsort(-cosines, axis=1), axis=1) >= 3
    ranks = (
        np.where(outside, np.inf, 0)[range(7), owners]
        + 1
        + ((scores > scores[range(7), owners][:, None]) & ~outside).sum(axis=1)
    )
    assert measured["3"]["text_to_video_R@1"] <= measured["all"]["text_to_video_R@1"] + 1
    assert measured["3"]["text_to_video_R@5"] == pytest.approx(np.mean(ranks <= 5), abs=1 / 7)  # the copy is a tie
    assert "A shortlist of 99 cannot be taken: there are 8 videos" in refused(
        checkpoint, videos, "--evaluate_shortlist", 99
    )
    assert "has no captions" in refused(checkpoint, videos / "copy.mp4", "--evaluate_shortlist", "1")


def test_what_a_shortlist_loses_of_a_benchmark(checkpoint, videos, capsys):
    """Its videos and captions, whatever else lies in the folder."""
    rows = load_benchmark("video_folder", "retrieval", split="train", data_dir=videos)
    named = ["--benchmark", "video_folder/retrieval/train"]
    ask(checkpoint, videos, *named, "--evaluate_shortlist", "1")
    assert "7 captions, 7 videos" in capsys.readouterr().out
    ask(checkpoint, videos, *named, "--top", "99", rows["caption"][0])
    output = capsys.readouterr().out
    assert all(f"  {Path(video).name} " in output for video in rows["video"][:]) and "copy.mp4" not in output
    refusals = {
        "video_folder": "expected NAME/CONFIG/SPLIT, got video_folder",
        "video_folders/retrieval/test": "did you mean 'video_folder'",
        "video_folder/moments/train": "No moments.jsonl",
    }
    for name, message in refusals.items():
        assert re.search(message, refused(checkpoint, videos, "--benchmark", name, "a dog"))
    for more in ([" "], ["a dog", ""]):
        assert "SENTENCE: expected words, got none" in refused(checkpoint, videos, *more)


def test_another_model_orders_the_shortlist(checkpoint, clipbert, videos, capsys):
    ask(checkpoint, videos, "--reranker", clipbert, "--shortlist", "3", "a dog runs")
    names = [line.split()[4] for line in capsys.readouterr().out.splitlines() if line.strip()[:1].isdigit()]
    found = search.build_search(str(checkpoint), search.find_videos(videos), None)
    shortlist = {video.path.name for video in found.rank("a dog runs", shortlist=3)}
    ordered = search.build_search(str(clipbert), search.find_videos(videos), None).rank("a dog runs")
    assert names == [video.path.name for video in ordered if video.path.name in shortlist]
    for more in (["--shortlist", "3", "a dog"], ["--like", videos / "2.mp4"], ["--evaluate_shortlist", "3"]):
        assert "reads text and video together: it has no vectors" in refused(clipbert, videos, *more)


def test_videos_like_one(checkpoint, videos, capsys):
    ask(checkpoint, videos, "--like", videos / "2.mp4", "--top", "3")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.strip()[:1].isdigit()]
    assert len(lines) == 3 and {"2.mp4", "copy.mp4"} == {line.split()[4] for line in lines[:2]}
    assert all("1.00" in line for line in lines[:2])


def test_pictures(checkpoint, clipbert, videos, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    ask(checkpoint, videos, "--beside", clipbert, "--picture", tmp_path / "hits.png", "--top", "2", "a dog runs")
    asked = ["--checkpoint", str(checkpoint), "--video", str(videos / "6.mp4"), "a dog runs"]
    found = explain.main([*asked, "--picture", str(tmp_path / "explained.png")])
    for name in ("hits.png", "explained.png"):
        assert min(Image.open(tmp_path / name).size) > 300
    output = capsys.readouterr().out
    assert f"by {clipbert}" in output and "frames\n" in output and "%" in output
    assert found.frame_weights.sum() == pytest.approx(1, abs=1e-5) and found.word_weights.sum() == pytest.approx(
        1, abs=1e-5
    )
    assert found.frames.shape == (4, IMAGE_SIZE, IMAGE_SIZE, 3) and found.attention.shape == (4, 3, 3)
    assert found.words[1:-1] == ["a", "dog", "runs"] and found.similarity.shape == (5, 4)
    with pytest.raises(SystemExit, match="SENTENCE: expected words, got none"):
        explain.main([*asked[:-1], " "])
    with pytest.raises(SystemExit, match="ClipBERTForVideoTextRetrieval does not say what its scores rest on"):
        explain.main(["--checkpoint", str(clipbert), *asked[2:]])


@pytest.mark.parametrize("space_time", ["separate", "joint"])
def test_attention_maps_are_those_of_the_layer(space_time):
    model = tiny_model(clip=tiny_clip(), space_time=space_time)
    pixel_values = torch.randn(2, 1, 5, 3, IMAGE_SIZE, IMAGE_SIZE)
    maps = model.attention_maps(pixel_values)
    assert maps.shape == (2, 1, 5, 3, 3) and (maps > 0).all()
    total = maps.sum(dim=(-2, -1))  # the rest looks at the class token itself
    assert ((total if space_time == "separate" else total.sum(dim=-1)) < 1).all()
    assert model.config._attn_implementation == "sdpa"
    before, after = (model.encode_videos(pixel_values) for _ in range(2))
    assert before.equal(after)
    assert tiny_model(clip=tiny_clip(), stan_num_layers=0).attention_maps(pixel_values) is None


def test_a_collection_scores_in_blocks(monkeypatch):
    model = tiny_model(clip=tiny_clip(), similarity="mug")
    videos = torch.randn(10, 1, 3, 12)
    whole = EncodedCollection(model, videos)
    texts = {
        "token_features": torch.randn(2, 4, 12),
        "attention_mask": torch.ones(2, 4),
        "pooler_output": torch.randn(2, 12),
    }
    expected = whole.score(texts)
    monkeypatch.setattr("clipbert.train_scripts.tasks.retrieval.collection.VIDEOS_PER_BLOCK", 3)
    blocks = EncodedCollection(model, videos)
    torch.testing.assert_close(blocks.vectors, whole.vectors)
    torch.testing.assert_close(blocks.score(texts), expected)
    torch.testing.assert_close(blocks.score(texts, torch.tensor([7, 1, 2, 9])), expected[:, [7, 1, 2, 9]])
