# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""`train_scripts/retrieval.py`: pairs, losses, scoring of all pairs, and the script from recipe to reloaded checkpoint."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from accelerate import Accelerator
from datasets import Dataset
from safetensors.torch import load_file
from tiny_runs import MODEL, one_thread, start_from, steps_of, tiny_run  # noqa: F401
from transformers import (
    AutoModelForSequenceClassification,
    AutoProcessor,
    BertConfig,
    BertForPreTraining,
    ResNetBackbone,
    ResNetConfig,
)

from clipbert.datasets_scripts import list_benchmarks
from clipbert.datasets_scripts.synthetic import generate_synthetic
from clipbert.metrics.retrieval.retrieval import compute_retrieval_metrics
from clipbert.modeling_clipbert import ClipBERTForVideoTextRetrieval, pool_clip_scores
from clipbert.processing import ClipBERTVideoProcessor, VideoTextProcessor, load_tokenizer
from clipbert.train_scripts.engine.data import UndecodableVideosError
from clipbert.train_scripts.engine.recipe import RecipeError
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.rescore import main as rescore
from clipbert.train_scripts.retrieval import RetrievalRecipe, RetrievalTask
from clipbert.train_scripts.tasks.pooling import NonFiniteScoreError, log_odds, mark_absent_clips, pool_clips
from clipbert.train_scripts.tasks.retrieval.cascade import Cascade, leave_out_unread, measure_loss
from clipbert.train_scripts.tasks.retrieval.items import CaptionedVideos, PairCollator, PairSection
from clipbert.train_scripts.tasks.retrieval.losses import contrastive_loss
from clipbert.train_scripts.tasks.rows import RowsByVideo
from clipbert.train_scripts.tasks.scoring import VisualReader, score_all_pairs


ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "train_scripts" / "recipes").glob("*/retrieval*.yaml"))
OF_CLIPBERT = [path for path in RECIPES if path.parent.name != "mug_stan"]  # for which see test_train_mug_stan.py


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("retrieval") / "shapes"
    counts = {"num_train": 10, "num_validation": 5, "num_test": 5}
    return generate_synthetic(folder, progress=False, preset="easy", captions_per_video=2, **counts)


def settings_of(shapes, output_dir, *more):
    return tiny_run("synthetic", "retrieval", shapes, output_dir, *more)


def run(shapes, output_dir, *more):
    return main(RetrievalTask(), settings_of(shapes, output_dir, *more))


@pytest.fixture(scope="module")
def processor(shapes):
    return VideoTextProcessor(ClipBERTVideoProcessor(size=48), load_tokenizer(shapes / "vocab.txt"), max_length=20)


# ----------------------------------------------------------------------------------------------------------------------
# Pairs
# ----------------------------------------------------------------------------------------------------------------------


def rows_of(captions):
    """Rows from `{video: [caption, ...]}`; the videos do not exist."""
    return Dataset.from_list(
        [
            {"video_id": video_id, "video": f"{video_id}.mp4", "caption": caption}
            for video_id, texts in captions.items()
            for caption in texts
        ]
    )


class NoVideos:
    """A processor whose videos are numbers."""

    def __init__(self, processor):
        self.processor = processor

    def __call__(self, text=None, videos=None, seeds=None):
        if videos is not None:
            return {"pixel_values": torch.zeros(1, 1, 1, 3, 4, 4), "seed": torch.tensor(seeds)}
        return self.processor(text=text)


def pairs_of(captions, processor=None, seed=3, **settings):
    return CaptionedVideos(rows_of(captions), NoVideos(processor), {}, PairSection(**settings), seed)


CAPTIONS = {"a": ["a1", "a2", "a3", "a4", "a5"], "b": ["b1"], "c": ["c1", "c2"]}


def test_grouping_equals_the_recorded_one(small_parity_dir):
    cases = json.loads((small_parity_dir / "text" / "negatives_and_groups.json").read_text())["grouping"]
    for case in cases:
        pairs = pairs_of(CAPTIONS, captions_per_video=case["group_size"])
        if case["group_size"] == 1 or not case["train"]:
            # the record numbers the captions from 1
            groups = [[video, [row + 1 for row in pairs.own_rows(item)]] for item, video in enumerate(pairs.ids)]
            assert groups == case["groups"]
        else:  # while training the last group of a video is filled with more of its own captions
            items = [pairs[0, index] for index in range(len(pairs))]
            for item, (video_id, examples) in zip(items, case["groups"], strict=True):
                assert (item.video_id, len(item.captions)) == (video_id, len(examples))
                assert set(item.captions) <= set(CAPTIONS[video_id])


def test_negatives_are_captions_of_other_videos_and_differ_from_all_own_ones():
    captions = {"a": ["A dog  runs", "a cat"], "b": ["a dog runs", "a horse"], "c": ["a bird", "a CAT"]}
    pairs = pairs_of(captions, num_negatives=2)
    for epoch in range(30):
        for index in range(len(pairs)):
            item = pairs[epoch, index]
            allowed = {
                "a": {"a horse", "a bird"},
                "b": {"a cat", "a bird", "a CAT"},
                "c": {"A dog  runs", "a dog runs", "a horse"},
            }
            assert set(item.negatives) <= allowed[item.video_id]
            assert len(set(item.negatives)) == 2


def test_negatives_are_uniform_over_captions():
    pairs = pairs_of({"a": ["a1"], "b": ["b1", "b2", "b3"], "c": ["c1"]})
    counts = Counter(pairs[epoch, 0].negatives[0] for epoch in range(2000))
    assert set(counts) == {"b1", "b2", "b3", "c1"}
    assert all(abs(count - 500) < 100 for count in counts.values())  # 5 standard deviations


def test_recorded_negatives_are_possible_draws(small_parity_dir):
    recorded = json.loads((small_parity_dir / "text" / "negatives_and_groups.json").read_text())
    captions = {video: [example["txt"] for example in examples] for video, examples in recorded["datalist"]}
    pairs = pairs_of(captions, num_negatives=2)
    drawn = {
        index: {text for epoch in range(200) for text in pairs[epoch, index].negatives} for index in range(len(pairs))
    }
    for case in recorded["retrieval_negatives"]:
        positive, *negatives = case["examples"]
        index = list(pairs.captions["caption"]).index(positive["text_str"])
        assert {negative["text_str"] for negative in negatives} <= drawn[index]


def test_an_item_depends_on_seed_epoch_and_index_alone():
    first, second = pairs_of(CAPTIONS, num_negatives=3), pairs_of(CAPTIONS, num_negatives=3)
    _ = [first[0, index] for index in range(5)]
    assert first[2, 6].negatives == second[2, 6].negatives
    assert first[2, 6].video["seed"].tolist() == [[3, 2, 6]]
    draws = {tuple(first[epoch, 6].negatives) for epoch in range(10)}
    assert len(draws) > 5
    assert pairs_of(CAPTIONS, num_negatives=3, seed=4)[2, 6].negatives != first[2, 6].negatives


def test_more_negatives_than_there_are_repeat():
    assert pairs_of({"a": ["a1"], "b": ["b1"]}, num_negatives=3)[0, 0].negatives == ["b1"] * 3


@pytest.mark.parametrize("captions", [{"a": ["a1", "a2"]}, {"a": ["same"], "b": ["Same "]}])
def test_videos_without_a_wrong_caption_are_refused(captions):
    with pytest.raises(ValueError, match="Video a .* has no wrong caption"):
        pairs_of(captions)
    assert len(pairs_of(captions, negatives="in_batch")) == len(rows_of(captions))


def table_of(batch, processor):
    texts = processor.tokenizer.batch_decode(batch.inputs["input_ids"], skip_special_tokens=True)
    return list(zip(batch.inputs["video_indices"].tolist(), texts, batch.targets["labels"].tolist(), strict=True))


def test_rows_of_random_negatives(processor):
    pairs = pairs_of({"a": ["red", "blue"], "b": ["circle", "square"]}, processor, captions_per_video=2)
    batch = PairCollator(pairs.processor, "random")([pairs[0, 0], pairs[0, 1]])
    rows = table_of(batch, processor)
    assert rows[:2] == [(0, "red", 1), (0, "blue", 1)]
    assert sorted(rows[2:4]) == [(0, "circle", 0), (0, "square", 0)]
    assert [(video, label) for video, _, label in rows[4:]] == [(1, 1), (1, 1), (1, 0), (1, 0)]
    assert batch.targets["text_indices"].tolist() == list(range(8))
    assert "labels" not in batch.inputs  # what the model gets is what `inputs` holds, and nothing else


def test_in_batch_rows_leave_out_what_may_match(processor):
    captions = {"a": ["red", "blue"], "b": ["circle"], "c": ["Blue"]}
    pairs = pairs_of(captions, processor, negatives="in_batch")
    items = [pairs[0, index] for index in range(len(pairs))]  # a: red; a: blue; b; c: also blue
    rows = table_of(PairCollator(pairs.processor, "in_batch")(items), processor)
    assert rows == [
        *[(0, "red", 1), (0, "circle", 0)],  # not blue: the same video has it, and c's blue is the same text
        *[(1, "blue", 1), (1, "circle", 0)],
        *[(2, "red", 0), (2, "blue", 0), (2, "circle", 1), (2, "blue", 0)],
        *[(3, "red", 0), (3, "circle", 0), (3, "blue", 1)],
    ]


# ----------------------------------------------------------------------------------------------------------------------
# The contrastive loss
# ----------------------------------------------------------------------------------------------------------------------


def all_pairs(num_videos, num_texts):
    videos = torch.arange(num_videos).repeat_interleave(num_texts)
    return videos, torch.arange(num_texts).repeat(num_videos)


def test_contrastive_loss_is_the_mean_cross_entropy_of_both_directions():
    scores = torch.randn(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = (
        torch.nn.functional.cross_entropy(scores, torch.arange(4))
        + torch.nn.functional.cross_entropy(scores.T, torch.arange(4))
    ) / 2
    loss = contrastive_loss(scores.flatten(), torch.eye(4).flatten().long(), *all_pairs(4, 4), 4, 4)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)


def test_contrastive_loss_over_the_texts_of_one_video_each():
    scores = torch.tensor([2.0, 1.0, 0.0, 5.0], dtype=torch.float64)  # two videos, one right and one wrong text each
    loss = contrastive_loss(scores, torch.tensor([1, 0, 1, 0]), torch.tensor([0, 0, 1, 1]), torch.arange(4), 2, 4)
    assert loss.item() == pytest.approx((np.log1p(np.exp(-1)) + np.log1p(np.exp(5))) / 2)


def test_contrastive_loss_with_several_right_texts_and_absent_pairs():
    # video 0: texts 0 and 1 are right, 2 is wrong; video 1: text 2 is right, text 0 is absent
    videos, texts = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([0, 1, 2, 1, 2])
    scores, labels = torch.zeros(5, dtype=torch.float64), torch.tensor([1, 1, 0, 0, 1])
    over_texts = (np.log(3 / 2) + np.log(2 / 1)) / 2
    over_videos = (np.log(2) + np.log(2)) / 2  # text 0 has met one video only
    loss = contrastive_loss(scores, labels, videos, texts, 2, 3)
    assert loss.item() == pytest.approx((over_texts + over_videos) / 2)


def test_contrastive_loss_has_finite_gradients_for_every_pair():
    scores = torch.randn(9, generator=torch.Generator().manual_seed(0), requires_grad=True)
    contrastive_loss(scores, torch.eye(3).flatten().long(), *all_pairs(3, 3), 3, 3).backward()
    assert scores.grad.isfinite().all()
    assert (scores.grad != 0).all()
    assert scores.grad.view(3, 3).diag().max() < 0  # right pairs are pulled up


def test_contrastive_loss_without_a_choice_is_zero_and_differentiable():
    scores = torch.ones(2, requires_grad=True)
    loss = contrastive_loss(scores, torch.tensor([1, 1]), torch.tensor([0, 1]), torch.tensor([0, 1]), 2, 2)
    loss.backward()
    assert loss == 0
    assert scores.grad.tolist() == [0, 0]


# ----------------------------------------------------------------------------------------------------------------------
# Scores of all pairs
# ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scored(shapes, processor):
    """A model, texts of different lengths, and the videos of the test split."""
    torch.manual_seed(0)
    config = ClipBERTForVideoTextRetrieval.config_class(
        vocab_size=len(processor.tokenizer), initializer_range=0.3, score_pooling="lse", **MODEL
    )
    model = ClipBERTForVideoTextRetrieval(config).eval()
    videos = sorted(str(path) for path in (shapes / "test" / "videos").iterdir())
    return model, ["red", "a blue circle moves left", "a square", "green on black", "it grows", "a", "red"], videos


def recipe_with(**eval_settings):
    recipe = RetrievalRecipe()
    recipe.data.num_workers = 0
    for name, value in eval_settings.items():
        setattr(recipe.eval, name, value)
    return recipe


OPTIONS = {"num_clips": 3, "num_frames": 2, "fps": 4.0, "short_video": "mask"}


def score(model, processor, texts, videos, recipe):
    """Scores of all pairs, and the reader that has seen the videos."""
    reader = VisualReader(videos, "video", processor, OPTIONS, recipe, Accelerator())
    return score_all_pairs(model, reader, texts, recipe.eval.pairs_per_forward), reader


@pytest.mark.parametrize(("video_block", "pairs_per_forward"), [(1, 1), (2, 18), (50, 9999)])
def test_scores_equal_those_of_one_pair_at_a_time(scored, processor, video_block, pairs_per_forward):
    model, texts, videos = scored
    recipe = recipe_with(video_block=video_block, pairs_per_forward=pairs_per_forward)
    with torch.no_grad():
        clip_logits, reader = score(model, processor, texts, videos, recipe)
        scores = log_odds(pool_clips(clip_logits, "lse")).sigmoid()
        for text_index, text in enumerate(texts):
            for video_index, video in enumerate(videos):
                outputs = model(**processor(text=[text], videos=[video], **OPTIONS))
                expected = model.match_scores(outputs.logits)[0]
                torch.testing.assert_close(scores[text_index, video_index], expected, rtol=1e-4, atol=1e-6)
    assert reader.skipped == {}
    assert scores.std() > 0.01


def test_each_video_is_encoded_once_and_texts_are_padded_to_their_block(scored, processor, monkeypatch):
    model, texts, videos = scored
    frames, lengths = [], []
    encode, forward = model.encode_videos, model.forward
    monkeypatch.setattr(
        model,
        "encode_videos",
        lambda pixels, clip_mask: frames.append(pixels.shape[:3]) or encode(pixels, clip_mask),
    )
    monkeypatch.setattr(
        model, "forward", lambda **inputs: lengths.append(inputs["input_ids"].shape) or forward(**inputs)
    )
    with torch.no_grad():
        recipe = recipe_with(video_block=2, pairs_per_forward=18)
        score(model, processor, texts, videos, recipe)
    assert [shape[0] for shape in frames] == [2, 2, 1]
    longest = [
        len(processor.tokenizer(text)["input_ids"]) for text in dict.fromkeys(texts)
    ]  # a repeated one is read once
    blocks = [max(sorted(longest, reverse=True)[start : start + 3]) for start in (0, 3)]
    assert [shape[1] for shape in lengths] == blocks * 3
    assert [shape[0] for shape in lengths] == [6, 6, 6, 6, 3, 3]


def cascade(scored, processor, num_clips=3, **settings):
    """What two stages find of all pairs in one gallery."""
    model, texts, videos = scored
    recipe = recipe_with(pairs_per_forward=7, video_block=2, **settings)
    reader = VisualReader(videos, "video", processor, {**OPTIONS, "num_clips": num_clips}, recipe, Accelerator())
    galleries = [(range(len(videos)), range(len(texts)))]
    with torch.no_grad():
        return Cascade(model, reader, texts, galleries, recipe.eval, "lse").run()


@pytest.mark.parametrize("num_clips", [3, 40])  # of 40, many do not exist
def test_a_shortlist_of_everything_is_exact(scored, processor, num_clips):
    model, texts, videos = scored
    options = {**OPTIONS, "num_clips": num_clips}
    reader = VisualReader(videos, "video", processor, options, recipe_with(), Accelerator())
    with torch.no_grad():
        exact = score_all_pairs(model, reader, texts, 64)
    found = cascade(scored, processor, num_clips, shortlist=50)
    assert found["is_shortlisted"].all() and exact.isnan().any() == (num_clips == 40)
    torch.testing.assert_close(torch.from_numpy(found["clip_logits"]), exact, equal_nan=True, rtol=1e-4, atol=1e-5)


def test_pairs_beyond_the_shortlist_have_the_scores_of_few_clips(scored, processor):
    model, texts, videos = scored
    with torch.no_grad():
        exact, _ = score(model, processor, texts, videos, recipe_with())
    found = cascade(scored, processor, shortlist=1, shortlist_check=2)
    chosen, first = torch.from_numpy(found["is_shortlisted"]), torch.from_numpy(found["is_first_clip"])
    assert first.sum(dim=1).tolist() == [1] * len(videos)
    assert chosen.any(dim=0).all() and chosen.any(dim=1).all() and not chosen.all()
    best = log_odds(exact[:, first]).reshape(len(texts), len(videos))  # the one clip of each video
    assert (chosen[torch.arange(len(texts)), best.argmax(dim=1)]).all()
    assert (chosen[best.argmax(dim=0), torch.arange(len(videos))]).all()
    is_checked = torch.from_numpy(found["is_checked"])
    assert is_checked.nonzero().flatten().tolist() == [0, 3]
    read = (chosen | is_checked[:, None])[:, :, None] | first
    expected = exact.where(read[..., None], torch.nan)
    torch.testing.assert_close(torch.from_numpy(found["clip_logits"]), expected, equal_nan=True, rtol=1e-4, atol=1e-5)
    ranked = leave_out_unread(torch.from_numpy(found["clip_logits"]), found)  # a checked text has no advantage
    expected = exact.where((chosen[:, :, None] | first)[..., None], torch.nan)
    torch.testing.assert_close(ranked, expected, equal_nan=True, rtol=1e-4, atol=1e-5)


def test_what_a_shortlist_loses_is_what_it_ranks_worse():
    """Three texts of three videos, two clips: text 0 is found by all clips alone, text 1 by both, text 2 is not checked."""
    logits = torch.zeros(3, 3, 2, 1)
    logits[0, 0], logits[0, 1], logits[1, 1] = torch.tensor([[0.0], [9.0]]), torch.tensor([[2.0], [2.0]]), 5.0
    tensors = {
        "clip_logits": logits.numpy(),
        "is_first_clip": np.array([[True, False]] * 3),
        "is_shortlisted": np.array([[False, True, False], [False, True, False], [False, False, True]]),
        "is_checked": np.array([True, True, False]),
    }
    odds = log_odds(pool_clips(leave_out_unread(logits, tensors), "mean")).numpy()
    found = measure_loss(tensors, odds, "mean", np.arange(3), [range(3)])
    assert (found["R@1_lost_by_shortlist"], found["R@5_lost_by_shortlist"]) == (0.5, 0.0)
    assert (found["R@1_lost_by_shortlist_ci_low"], found["R@1_lost_by_shortlist_ci_high"]) == (0.0, 1.0)
    assert found["num_checked_texts"] == 2


def test_a_run_with_a_shortlist_tells_what_it_loses(shapes, tmp_path, caplog):
    settings = ["eval.shortlist=1", "eval.num_clips=3", "eval.shortlist_check=4", "run.total_steps=1"]
    metrics = main(RetrievalTask(), tiny_run("synthetic", "retrieval", shapes, tmp_path, *settings))["results"][
        "test"
    ]["metrics"]
    assert metrics["num_checked_texts"] == 4 and 0 <= metrics["R@1_lost_by_shortlist_ci_high"] <= 1
    assert "are read with all 3 clips, all of them with 1" in caplog.text
    again = rescore([str(tmp_path / "predictions" / "test")])
    assert {name: again[name] for name in metrics if name in again} == {
        name: metrics[name] for name in metrics if name in again
    }
    assert "R@1_lost_by_shortlist" in again


@pytest.mark.parametrize("num_labels", [1, 2])
def test_match_scores_equal_the_models(num_labels):
    config = {"loss_type": "rank"} if num_labels == 1 else {}
    model = ClipBERTForVideoTextRetrieval(
        ClipBERTForVideoTextRetrieval.config_class(vocab_size=9, num_labels=num_labels, **config, **MODEL)
    )
    clip_logits = torch.randn(2, 3, 4, num_labels)
    scores = log_odds(pool_clips(clip_logits, "mean")).sigmoid()
    torch.testing.assert_close(scores[1, 2], model.match_scores(clip_logits[1, 2].mean(0)[None])[0])


def test_match_scores_leave_absent_clips_out():
    clip_logits = torch.randn(1, 2, 3, 2)
    clip_logits[0, 0, 1] = torch.nan
    clip_logits[0, 1] = torch.nan
    odds = log_odds(pool_clips(clip_logits, "mean"))
    torch.testing.assert_close(odds[0, 0].sigmoid(), clip_logits[0, 0, [0, 2]].mean(0).softmax(-1)[1])
    assert odds[0, 1].isnan()


def test_only_absent_clips_may_be_nan():
    clip_logits = torch.randn(2, 3, 2, 2)
    marked = mark_absent_clips(clip_logits, torch.tensor([[1, 1], [1, 0]])[:, None], None)
    assert marked[1, :, 1].isnan().all() and marked.isnan().sum() == 3 * 2
    assert mark_absent_clips(clip_logits, None, None).equal(clip_logits)
    clip_logits[1, 2, 1, 0] = torch.nan  # of a clip that does not exist
    assert mark_absent_clips(clip_logits, torch.tensor([[1, 1], [1, 0]])[:, None], None).isnan().sum() == 3 * 2
    clip_logits[1, 2, 0, 1] = torch.inf
    with pytest.raises(NonFiniteScoreError, match=r", inf\] for video 1, text 2, clip 0; 1 of 9"):
        mark_absent_clips(
            clip_logits, torch.tensor([[1, 1], [1, 0]])[:, None], lambda video, text: f"video {video}, text {text}"
        )


@pytest.mark.parametrize("block", [1, 2])
def test_a_score_that_is_not_finite_names_text_and_video(scored, processor, monkeypatch, block):
    model, texts, videos = scored
    bad, forward = processor(text=[texts[3]])["input_ids"][0], model.forward

    def sometimes_nan(**inputs):
        outputs = forward(**inputs)
        fits = inputs["input_ids"].shape[1] >= len(bad)
        if fits:
            outputs.clip_logits[(inputs["input_ids"][:, : len(bad)] == bad).all(1)] = torch.nan
        return outputs

    monkeypatch.setattr(model, "forward", sometimes_nan)
    recipe = recipe_with(video_block=block, pairs_per_forward=18)
    with torch.no_grad(), pytest.raises(NonFiniteScoreError) as caught:
        score(model, processor, texts, videos, recipe)
    assert f"for the text {texts[3]!r} and the video {videos[0]}, clip 0" in str(caught.value)


def test_certain_matches_stay_apart():
    """In float32 both probabilities are 1, and a ranking by probability would be a draw."""
    odds = log_odds(pool_clips(torch.tensor([[[[0.0, 30.0]], [[0.0, 31.0]]]]), "mean"))
    assert odds.sigmoid()[0, 0] == odds.sigmoid()[0, 1] == 1
    assert odds[0, 0] < odds[0, 1]


# ----------------------------------------------------------------------------------------------------------------------
# The script
# ----------------------------------------------------------------------------------------------------------------------


def test_two_steps_save_resume_and_reload(shapes, tmp_path):
    more = ["data.num_clips=2", "run.save_every=1"]
    result = run(shapes, tmp_path / "whole", *more)
    assert result["finished"]
    # back to the first step, as if the process had died in the second
    shutil.copytree(tmp_path / "whole", tmp_path / "resumed", symlinks=True)
    shutil.rmtree(tmp_path / "resumed" / "checkpoints" / "step_00000002")
    resumed = run(shapes, tmp_path / "resumed", *more, "data.num_workers=1")
    assert steps_of(tmp_path / "resumed") == steps_of(tmp_path / "whole")
    assert resumed["results"] == result["results"]
    assert (tmp_path / "resumed" / "log.jsonl").read_text().count(
        '"step": 2'
    ) == 2  # a training step and an evaluation

    # the folder is all that is needed to score a sentence
    folder = tmp_path / "whole" / "checkpoints" / "last"
    model, processor = (
        AutoModelForSequenceClassification.from_pretrained(folder),
        AutoProcessor.from_pretrained(folder),
    )
    assert isinstance(model, ClipBERTForVideoTextRetrieval)
    records = json.loads((tmp_path / "whole/predictions/test/records.json").read_text())
    video = shapes / "test" / "videos" / f"{records['video_ids'][3]}.mp4"
    with torch.no_grad():
        outputs = model.eval()(**processor(text=[records["rows"][1]["caption"]], videos=[str(video)]))
    written = load_file(tmp_path / "whole/predictions/test/tensors.safetensors")
    assert written["clip_logits"].shape == (10, 5, 2, 2)
    torch.testing.assert_close(
        model.match_scores(outputs.logits)[0], written["log_odds"][1, 3].sigmoid(), rtol=1e-4, atol=1e-6
    )


def test_predictions_are_scored_again_without_the_model(shapes, tmp_path, capsys):
    result = run(shapes, tmp_path, "run.total_steps=1", "data.num_clips=3")["results"]["test"]["metrics"]
    folder = str(tmp_path / "predictions" / "test")
    assert rescore([folder]) == result
    assert json.loads(capsys.readouterr().out) == result
    assert list(result)[:4] == ["text_to_video_R@1", "chance_R@1", "chance_R@5", "chance_R@10"]  # beside the score
    assert (result["chance_R@1"], result["chance_R@5"], result["chance_R@10"]) == (1 / 5, 1, 1)
    written, records = load_file(f"{folder}/tensors.safetensors"), json.loads(Path(folder, "records.json").read_text())
    logits = written["clip_logits"].max(dim=2).values
    gold = [records["video_ids"].index(row["video_id"]) for row in records["rows"]]
    expected = compute_retrieval_metrics((logits[..., 1] - logits[..., 0]).numpy(), np.array(gold))
    pooled = rescore([folder, "--score_pooling", "max"])
    assert {name: pooled[name] for name in expected} == pytest.approx(expected)
    with pytest.raises(FileNotFoundError, match="holds no predictions"):
        rescore([str(tmp_path)])


@pytest.mark.parametrize("objective", ["pair", "contrastive", "both"])
@pytest.mark.parametrize("negatives", ["random", "in_batch"])
@pytest.mark.parametrize("loss_type", ["ce", "rank"])
def test_objectives_and_negatives(shapes, tmp_path, objective, negatives, loss_type):
    more = [f"model.objective={objective}", f"data.negatives={negatives}", "data.num_negatives=2"]
    if loss_type == "rank":
        more.append("model.overrides={loss_type: rank, num_labels: 1}")
    run(shapes, tmp_path, *more, "eval.splits={}", "data.captions_per_video=2", "run.total_steps=1")
    (row,) = steps_of(tmp_path)
    parts = {"pair": ["pair_loss"], "contrastive": ["contrastive_loss"], "both": ["pair_loss", "contrastive_loss"]}
    assert [name for name in row if name.endswith("_loss")] == parts[objective]
    assert row["loss"] == pytest.approx(sum(row[name] for name in parts[objective]), rel=1e-5)
    assert 0 <= row["pair_accuracy"] <= 1
    assert row["grad_norm"] > 0


def test_a_ranking_model_is_asked_for_by_its_objective(shapes, tmp_path):
    more = ["data.num_negatives=2", "run.total_steps=1"]
    run(shapes, tmp_path / "rank", *more, "model.objective=rank", "model.overrides={margin: 0.3}")
    run(shapes, tmp_path / "long", *more, "model.overrides={loss_type: rank, num_labels: 1, margin: 0.3}")
    assert steps_of(tmp_path / "rank") == steps_of(tmp_path / "long")
    start = start_from(tmp_path / "rank/checkpoints/last")
    assert load_file(tmp_path / "rank/predictions/test/tensors.safetensors")["clip_logits"].shape[-1] == 1
    evaluated = run(shapes, tmp_path / "evaluated", *start, "run.total_steps=0")["results"]["test"]["metrics"]
    assert evaluated == json.loads((tmp_path / "rank/results.json").read_text())["splits"]["test"]["metrics"]


def test_more_micro_steps_are_the_same_batch(shapes, tmp_path):
    no_dropout = "model.overrides={hidden_dropout_prob: 0.0, attention_probs_dropout_prob: 0.0}"
    for size in (1, 4):
        run(shapes, tmp_path / str(size), no_dropout, f"run.micro_batch_size={size}", "eval.splits={}")
    for ours, theirs in zip(steps_of(tmp_path / "1"), steps_of(tmp_path / "4"), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)


def test_score_pooling_of_the_evaluation_can_differ_from_the_models(shapes, tmp_path):
    run(shapes, tmp_path, "run.total_steps=1", "eval.score_pooling=lse", "data.num_clips=2")
    assert json.loads((tmp_path / "predictions/test/records.json").read_text())["score_pooling"] == "lse"
    config = json.loads((tmp_path / "checkpoints/last/config.json").read_text())
    assert config.get("score_pooling", "mean") == "mean"


def test_gradient_checkpointing_changes_no_loss(shapes, tmp_path):
    for name in ("plain", "checkpointed"):
        run(shapes, tmp_path / name, f"model.gradient_checkpointing={name == 'checkpointed'}", "eval.splits={}")
    for ours, theirs in zip(steps_of(tmp_path / "plain"), steps_of(tmp_path / "checkpointed"), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)


def test_starts_from_a_trained_folder_and_from_parts(shapes, tmp_path):
    run(shapes, tmp_path / "first", "data.fps=8", "data.max_text_length=40", "eval.splits={}")
    start = tmp_path / "first" / "checkpoints" / "last"
    run(shapes, tmp_path / "second", *start_from(start), "run.total_steps=0")
    processor = AutoProcessor.from_pretrained(start)
    assert (processor.video_processor.fps, processor.max_length) == (8.0, 40)

    torch.manual_seed(0)
    vision, text = tmp_path / "resnet", tmp_path / "bert"
    backbone = MODEL["backbone_config"]
    ResNetBackbone(ResNetConfig(**{k: v for k, v in backbone.items() if k != "model_type"})).save_pretrained(vision)
    vocabulary = (shapes / "vocab.txt").read_text()
    sizes = {
        name: MODEL[name] for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    }
    BertForPreTraining(BertConfig(vocab_size=len(vocabulary.split()), **sizes)).save_pretrained(text)
    (text / "vocab.txt").write_text(vocabulary)
    pixels = {"image_mean": [0.5] * 3, "image_std": [0.2] * 3, "do_rescale": True, "rescale_factor": 1 / 255}
    pixels |= {"image_processor_type": "ConvNextImageProcessor", "do_normalize": True}
    (vision / "preprocessor_config.json").write_text(json.dumps(pixels))
    more = [f"model.parts={{vision: {vision}, text: {text}}}", "model.config=null", "model.tokenizer=null"]
    run(shapes, tmp_path / "parts", *more, "model.overrides.score_pooling=lse", "eval.splits={}")
    saved = AutoModelForSequenceClassification.from_pretrained(tmp_path / "parts/checkpoints/last")
    assert saved.config.score_pooling == "lse"
    assert AutoProcessor.from_pretrained(tmp_path / "parts/checkpoints/last").video_processor.do_rescale


def break_video(shapes, folder, split, number):
    shutil.copytree(shapes, folder)
    video = folder / split / "videos" / f"{split}_{number:05d}.mp4"
    video.write_bytes(video.read_bytes()[:200])
    return folder


def test_a_broken_video_in_the_evaluation(shapes, tmp_path):
    data = break_video(shapes, tmp_path / "data", "test", 1)
    with pytest.raises(UndecodableVideosError, match="test_00001.mp4.*data.on_decode_error=skip"):
        run(data, tmp_path / "raised")
    skip = ["data.on_decode_error=skip"]
    with pytest.raises(UndecodableVideosError, match="1 of 5 items .*max_decode_error_rate=0.01"):
        run(data, tmp_path / "too_many", *skip)
    metrics = run(data, tmp_path / "skipped", *skip, "data.max_decode_error_rate=0.2")["results"]["test"]["metrics"]
    assert (metrics["num_videos"], metrics["num_skipped_videos"], metrics["num_examples"]) == (4, 1, 8)
    assert metrics["chance_R@1"] == 1 / 4  # among the videos that are left
    assert rescore([str(tmp_path / "skipped/predictions/test")]) == metrics
    listed = run(data, tmp_path / "listed", "data.skip_list=[test_00001]")
    assert listed["results"]["test"]["metrics"] == {**metrics, "num_skipped_videos": 0, "coverage": 0.8}


def test_a_broken_video_in_training(shapes, tmp_path):
    data = break_video(shapes, tmp_path / "data", "train", 2)
    with pytest.raises(UndecodableVideosError, match="Training item train_00002.*train_00002.mp4"):
        run(data, tmp_path / "raised", "run.total_steps=null", "run.num_epochs=1")
    skip = ["data.on_decode_error=skip", "data.max_decode_error_rate=0.2", "run.total_steps=null", "run.num_epochs=1"]
    assert run(data, tmp_path / "skipped", *skip)["finished"]
    # of two in-batch videos one is left, and has nothing to be compared with
    more = ["data.negatives=in_batch", "model.objective=both", "model.overrides={loss_type: rank, num_labels: 1}"]
    assert run(data, tmp_path / "in_batch", *skip, *more)["finished"]


@pytest.mark.parametrize(
    ("setting", "error", "message"),
    [
        ("data.dataset=sythetic", ValueError, "Unknown benchmark 'sythetic'; did you mean 'synthetic'"),
        ("data.train_split=trian", ValueError, "Unknown split .*'trian'"),
        ("eval.splits={dev: final}", ValueError, "Unknown split .*'dev'"),
        ("model.overrides={hiden_size: 8}", TypeError, "hiden_size.*hidden_size"),
        ("data.sampling=middle", ValueError, "needs fps"),
        ("data.data_dir=nowhere", FileNotFoundError, "nowhere"),
        ("data.max_text_length=600", ValueError, "max_length"),
        ("model.objektive=pair", RecipeError, "Did you mean 'objective'"),
    ],
)
def test_mistakes_surface_before_training(shapes, tmp_path, setting, error, message):
    with pytest.raises(error, match=message):
        run(shapes, tmp_path / "out", setting)
    assert not (tmp_path / "out" / "log.jsonl").exists()


def test_in_batch_negatives_need_a_batch(shapes, tmp_path):
    with pytest.raises(RecipeError, match="data.negatives: in_batch needs other videos"):
        run(shapes, tmp_path, "data.negatives=in_batch", "run.micro_batch_size=1")


@pytest.mark.slow
def test_two_processes_give_the_losses_and_scores_of_one(shapes, tmp_path):
    more = ["data.negatives=in_batch", "model.objective=both", "run.total_steps=4", "run.global_batch_size=8"]
    run(shapes, tmp_path / "one", *more)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    configuration = ROOT / "train_scripts" / "recipes" / "accelerate" / "two_cpu_processes.yaml"
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(configuration)]
    script = str(ROOT / "train_scripts" / "retrieval.py")
    settings = settings_of(shapes, tmp_path / "two", *more)
    command = [*launcher, "--main_process_port", "0", script, *settings]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "x 2 processes" in done.stderr
    for ours, theirs in zip(steps_of(tmp_path / "one"), steps_of(tmp_path / "two"), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)
    tables = [
        load_file(tmp_path / name / "predictions/test/tensors.safetensors")["log_odds"] for name in ("one", "two")
    ]
    torch.testing.assert_close(*tables, rtol=1e-3, atol=1e-6)


# ----------------------------------------------------------------------------------------------------------------------
# Recipes
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_recipe_reads_names_a_known_dataset_and_says_how_to_run_it(path):
    recipe = RetrievalRecipe.load(path)
    assert recipe.data.dataset in list_benchmarks()
    assert type(recipe)(**{name: getattr(recipe, name) for name in asdict(recipe)}) == recipe
    head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert any(str(path.relative_to(ROOT)) in line for line in head)
    assert any(line.startswith("# Expect:") for line in head)


@pytest.mark.parametrize("path", OF_CLIPBERT, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_recipe_trains_a_shrunken_model(shapes, tmp_path, path):
    values = yaml.safe_load(path.read_text())
    config = {**MODEL, "max_position_embeddings": 128}  # the longest texts of a recipe have 100 tokens
    values["model"] = {"family": "clipbert", "config": config, "tokenizer": str(shapes / "vocab.txt")} | {
        name: value for name, value in values["model"].items() if name in ("objective", "overrides")
    }
    values["data"] |= {"dataset": "video_folder", "config": "retrieval", "data_dir": str(shapes), "num_workers": 0}
    values["data"] |= {"image_size": 48, "options": {}}
    values["run"] |= {"output_dir": str(tmp_path / "out"), "global_batch_size": 4, "micro_batch_size": 2}
    values["run"] = {k: v for k, v in values["run"].items() if k not in ("num_epochs", "mixed_precision")}
    values["run"] |= {"total_steps": 2, "eval_every": 1}
    (tmp_path / "shrunken.yaml").write_text(yaml.safe_dump(values))
    result = main(RetrievalTask(), ["--recipe", str(tmp_path / "shrunken.yaml")])
    assert result["finished"]
    assert set(result["results"]) == set(values["eval"]["splits"])


def test_rows_by_video_keep_the_order():
    grouped = RowsByVideo(Dataset.from_dict({"video_id": ["b", "a", "b"], "video": ["b.mp4", "a.mp4", "b.mp4"]}))
    assert {name: grouped.members(number).tolist() for number, name in enumerate(grouped.ids)} == {
        "b": [0, 2],
        "a": [1],
    }
    assert grouped.sources() == ["b.mp4", "a.mp4"] == [grouped.source(number) for number in range(2)]


@pytest.mark.parametrize("score_pooling", ["mean", "max", "lse"])
def test_pooling_equals_the_models(score_pooling):
    clip_logits, exists = (
        torch.randn(5, 4, 3),
        torch.tensor([[1, 1, 1, 1], [1, 0, 0, 1], [0, 1, 0, 0]] + [[1] * 4] * 2),
    )
    expected = pool_clip_scores(clip_logits, score_pooling, exists)
    marked = clip_logits.masked_fill(exists[..., None] == 0, torch.nan)
    assert pool_clips(marked, score_pooling).equal(expected)
    assert pool_clips(marked[None], score_pooling)[0].equal(expected)
    with pytest.raises(ValueError, match="'mean', 'max' or 'lse', got 'sum'"):
        pool_clips(marked, "sum")


@pytest.mark.parametrize("video_block", [1, 2, 50])
def test_galleries_are_scored_by_themselves(scored, processor, video_block, monkeypatch):
    """With the same scores, and no pair more."""
    (model, texts, videos), recipe = scored, recipe_with(video_block=video_block)
    galleries = [(range(0, 2), [3, 0, 6]), (range(2, 4), [1, 2, 4])]  # the last video and text are in none
    pairs, match = [], model.match

    def counted(given, *more, **options):
        pairs.append(len(given["input_ids"]))
        return match(given, *more, **options)

    monkeypatch.setattr(model, "match", counted)
    with torch.no_grad():
        every, _ = score(model, processor, texts, videos, recipe)
        pairs.clear()
        reader = VisualReader(videos, "video", processor, OPTIONS, recipe, Accelerator())
        alone = score_all_pairs(model, reader, texts, recipe.eval.pairs_per_forward, galleries)
    assert sum(pairs) == 10  # texts 0 and 6 are the same
    expected = torch.full_like(every, torch.nan)
    for rows, columns in galleries:
        place = np.ix_(columns, list(rows))
        expected[place] = every[place]
    torch.testing.assert_close(alone, expected, equal_nan=True, rtol=1e-4, atol=1e-5)


class DualEncoder(torch.nn.Module):
    """The contract of matching in ten lines: bags of words and of colours, compared by their products."""

    def encode_videos(self, pixel_values):
        return pixel_values.mean(dim=(2, 4, 5))  # (videos, clips, colours)

    def encode_texts(self, input_ids, attention_mask):
        return torch.stack([(input_ids % 3 == c).mul(attention_mask).sum(1) for c in range(3)], 1).float()

    def match(self, texts, videos, video_indices):
        clip_odds = (texts[:, None] * videos[video_indices]).sum(-1)
        return SimpleNamespace(match_odds=clip_odds.mean(1), clip_odds=clip_odds)


@pytest.mark.parametrize(("video_block", "pairs_per_forward"), [(1, 1), (2, 18), (50, 9999)])
def test_a_dual_encoder_is_scored_in_the_same_blocks(scored, processor, video_block, pairs_per_forward, monkeypatch):
    (_, texts, videos), model, options = scored, DualEncoder(), {"num_clips": 3, "num_frames": 2}
    calls, encode_texts = [], model.encode_texts
    monkeypatch.setattr(model, "encode_texts", lambda ids, mask: calls.append(len(ids)) or encode_texts(ids, mask))
    recipe = recipe_with(video_block=video_block, pairs_per_forward=pairs_per_forward)
    reader = VisualReader(videos, "video", processor, options, recipe, Accelerator())
    scores = score_all_pairs(model, reader, texts, pairs_per_forward)
    assert scores.shape == (len(texts), len(videos), 1, 1)
    assert sum(calls) == len(set(texts))  # each text is encoded once, however many blocks of videos there are
    inputs = processor(text=texts), processor(videos=videos, **options)
    vectors = encode_texts(inputs[0]["input_ids"], inputs[0]["attention_mask"])
    expected = vectors @ model.encode_videos(inputs[1]["pixel_values"]).mean(1).T
    torch.testing.assert_close(scores[..., 0, 0], expected, rtol=1e-5, atol=1e-4)
