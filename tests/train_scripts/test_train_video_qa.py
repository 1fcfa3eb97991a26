# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""`train_scripts/video_qa.py`: items, batches, scores, blind baselines, and the script from recipe to checkpoint."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import yaml
from accelerate import Accelerator
from datasets import Dataset
from official_records import load_head
from safetensors.torch import load_file, save_file
from tiny_runs import MODEL, one_thread, start_from, steps_of, tiny_run  # noqa: F401
from transformers import AutoModelForMultipleChoice, AutoModelForVisualQuestionAnswering, AutoProcessor

from clipbert.datasets_scripts import list_benchmarks, load_benchmark
from clipbert.datasets_scripts.building.answer_vocabulary import AnswerVocabulary
from clipbert.datasets_scripts.building.rows import ROW_SCHEMAS
from clipbert.datasets_scripts.synthetic import generate_synthetic
from clipbert.modeling_clipbert import (
    ClipBERTConfig,
    ClipBERTForRegression,
    ClipBERTForVideoQA,
    ClipBERTForVideoTextRetrieval,
)
from clipbert.modeling_clipbert.convert_clipbert_checkpoint import convert_clipbert_checkpoint
from clipbert.processing import ClipBERTVideoProcessor, VideoTextProcessor, load_tokenizer
from clipbert.support.manifest import CheckpointError
from clipbert.train_scripts.engine.data import UndecodableVideosError
from clipbert.train_scripts.engine.recipe import RecipeError
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.rescore import main as rescore
from clipbert.train_scripts.tasks.pooling import NonFiniteScoreError, pool_clips
from clipbert.train_scripts.tasks.question_answering.blind import OptionReader, TextOnlyReader
from clipbert.train_scripts.tasks.question_answering.items import (
    Question,
    QuestionCollator,
    QuestionedVideos,
    make_caption_choices,
)
from clipbert.train_scripts.tasks.question_answering.modes import OpenAnswers
from clipbert.train_scripts.tasks.scoring import VisualReader, score_own_texts
from clipbert.train_scripts.video_qa import VideoQARecipe, VideoQATask


ROOT = Path(__file__).parents[2]
RECIPES = sorted(
    path
    for pattern in ("video_qa", "multiple_choice")
    for path in (ROOT / "train_scripts" / "recipes").glob(f"*/{pattern}*.yaml")
)
QUICKSTART = [path for path in RECIPES if path.parent.name == "quickstart"]
SHOWN = ("frame_fusion", "use_temporal_position_embeddings")  # of a model's config, kept when it is shrunken


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("video_qa") / "shapes"
    return generate_synthetic(folder, progress=False, num_train=14, num_validation=6, num_test=6)


@pytest.fixture(scope="module")
def processor(shapes):
    return VideoTextProcessor(ClipBERTVideoProcessor(size=48), load_tokenizer(shapes / "vocab.txt"), max_length=30)


def settings_of(shapes, output_dir, *more):
    return tiny_run("synthetic", "open_qa", shapes, output_dir, *more)


def run(shapes, output_dir, *more):
    return main(VideoQATask(), settings_of(shapes, output_dir, *more))


def predictions_of(output_dir, split="test"):
    folder = Path(output_dir) / "predictions" / split
    records = json.loads((folder / "records.json").read_text())
    rows = records["rows"]  # also column by column, and each video by its number
    columns = {"question_id": "question_ids", "question": "questions", "prediction": "predictions"}
    records |= {columns.get(name, name): [row[name] for row in rows] for name in rows[0]}
    records["video_indices"] = [records["video_ids"].index(row["video_id"]) for row in rows]
    return load_file(folder / "tensors.safetensors"), records


def write_questions(folder, rows, videos):
    """A folder of the user's own: `rows` are (split, video, question, answer, further columns)."""
    (folder / "videos").mkdir(parents=True)
    for name, source in videos.items():
        shutil.copy(source, folder / "videos" / name)
    lines = [
        json.dumps({"split": split, "video": video, "question": question, "answer": answer, **more})
        for split, video, question, answer, more in rows
    ]
    (folder / "questions.jsonl").write_text("\n".join(lines))
    return folder


# ----------------------------------------------------------------------------------------------------------------------
# Items and batches
# ----------------------------------------------------------------------------------------------------------------------


class NoVideos:
    """A processor whose videos are numbers."""

    def __init__(self, processor=None):
        self.processor, self.decoded = processor, []

    def __call__(self, text=None, videos=None, seeds=None, options=None):
        if videos is not None:
            self.decoded += videos
            return {"pixel_values": torch.zeros(1, 1, 1, 3, 4, 4), "seed": torch.tensor(seeds)}
        return self.processor(text=text, **({} if options is None else {"options": options}))


def items_of(counts, questions_per_video, processor=None, seed=3):
    """`counts` questions about each of some videos, numbered from 0 through all of them."""
    owners = [video for video, count in counts.items() for _ in range(count)]
    asked = [(video, Question(f"q{place}", (), place)) for place, video in enumerate(owners)]
    return questioned(asked, NoVideos(processor), questions_per_video, seed)


def questioned(asked, processor, questions_per_video, seed):
    """Training items of questions, which stand in the rows as they are."""
    rows = [
        {"video_id": video, "video": f"{video}.mp4", **question._asdict(), "question": question.text}
        for video, question in asked
    ]
    return QuestionedVideos(Dataset.from_list(rows), as_question, processor, {}, questions_per_video, seed)


def as_question(row):
    return Question(row["text"], tuple(row["options"]), row["label"])


def test_grouping_equals_the_recorded_one(small_parity_dir):
    cases = json.loads((small_parity_dir / "text" / "negatives_and_groups.json").read_text())["grouping"]
    for case in cases:
        items = items_of({"a": 5, "b": 1, "c": 2}, case["group_size"])
        if case["group_size"] == 1 or not case["train"]:  # the record numbers the questions from 1
            groups = [[video, [row + 1 for row in items.own_rows(item)]] for item, video in enumerate(items.ids)]
            assert groups == case["groups"]
        else:  # while training the last group of a video is filled with more of its own questions
            for index, (video_id, examples) in enumerate(case["groups"]):
                item = items[0, index]
                assert (items.ids[index], len(item.questions)) == (video_id, len(examples))
                members = items.grouped.members(items.owners[index])
                assert {question.label for question in item.questions} <= set(members.tolist())


def test_an_epoch_asks_every_question_and_decodes_each_video_once_for_a_group():
    items = items_of({"a": 5, "b": 1, "c": 2}, questions_per_video=5)
    asked = [question.label for index in range(len(items)) for question in items[0, index].questions]
    assert set(asked) == set(range(8))
    assert items.processor.decoded == ["a.mp4", "b.mp4", "c.mp4"]
    assert len(items) == 3 and len(items_of({"a": 5, "b": 1, "c": 2}, questions_per_video=2)) == 5


def test_an_item_depends_on_seed_epoch_and_index_alone():
    first, second = items_of({"a": 3, "b": 2}, 2), items_of({"a": 3, "b": 2}, 2)
    _ = [first[0, index] for index in range(3)]
    assert first[4, 1].questions == second[4, 1].questions
    assert first[4, 1].visual["seed"].tolist() == [[3, 4, 1]]
    assert {first[epoch, 1].questions[1].label for epoch in range(20)} == {0, 1, 2}


def batch_of(processor, *questions_of_videos):
    asked = [(f"v{video}", question) for video, questions in enumerate(questions_of_videos) for question in questions]
    items = questioned(asked, NoVideos(processor), 2, 0)
    collate = QuestionCollator(items.processor, torch.tensor)
    batch = collate([items[0, index] for index in range(len(items))])
    assert not batch.inputs.keys() & batch.targets.keys()
    return {**batch.inputs, **batch.targets}


def test_a_batch_of_open_questions(processor):
    batch = batch_of(
        processor, [Question("what is red?", (), 3), Question("who?", (), 1)], [Question("where?", (), 0)]
    )
    words = processor.tokenizer.batch_decode(batch["input_ids"], skip_special_tokens=True)
    assert words == ["what is red?", "who?", "where?", "where?"]
    assert batch["video_indices"].tolist() == [0, 0, 1, 1]
    assert batch["labels"].tolist() == [3, 1, 0, 0]
    assert batch["pixel_values"].shape[0] == 2
    assert "option_mask" not in batch


def test_a_batch_of_questions_with_options(processor):
    pair = [Question("what?", ("red", "blue"), 1), Question("who?", ("circle", "star"), 0)]
    batch = batch_of(processor, pair)
    assert batch["input_ids"].shape[:2] == (2, 2)
    assert "option_mask" not in batch
    words = processor.tokenizer.batch_decode(batch["input_ids"].flatten(0, 1), skip_special_tokens=True)
    assert words == ["what? red", "what? blue", "who? circle", "who? star"]
    batch = batch_of(processor, pair, [Question("where?", ("left", "top", "right"), 2)])
    assert batch["input_ids"].shape[:2] == (4, 3)
    assert batch["option_mask"].tolist() == [[True, True, False]] * 2 + [[True] * 3] * 2


def captions_of(texts):
    columns = [
        {"video_id": video, "video": f"{video}.mp4", "caption": text, "caption_id": f"{video}-{number}"}
        for video, of_video in texts.items()
        for number, text in enumerate(of_video)
    ]
    return Dataset.from_list(columns)


def test_captions_become_questions_of_multiple_choice():
    texts = {"a": ["red", "blue"], "b": ["Red", "green"], "c": ["ring"], "d": ["ring ", "star"], "e": ["cross"]}
    rows = make_caption_choices(captions_of(texts), num_options=3, seed=1)
    assert list(rows["answer"]) == [text for of_video in texts.values() for text in of_video]
    assert rows["question_id"][3] == "b-1" and rows["video"][3] == "b.mp4"
    for row in rows:
        ROW_SCHEMAS["qa"].check(row)
        own = {text.strip().casefold() for text in texts[row["video_id"]]}
        others = [option.strip().casefold() for option in row["options"] if option != row["answer"]]
        assert len(row["options"]) == 3 and len(set(others)) == 2 and not own & set(others)
    again = make_caption_choices(captions_of(texts), num_options=3, seed=1)
    assert again["options"] == rows["options"]
    assert make_caption_choices(captions_of(texts), num_options=3, seed=2)["options"] != rows["options"]
    seeds = [make_caption_choices(captions_of(texts), num_options=3, seed=seed) for seed in range(5)]
    assert {row["answer_index"] for rows in seeds for row in rows} == {0, 1, 2}
    with pytest.raises(
        ValueError, match=r"Caption a-0: expected 5 other captions.*got 4 that are not its video's own"
    ):
        make_caption_choices(captions_of(texts), num_options=6, seed=1)


# ----------------------------------------------------------------------------------------------------------------------
# Blind baselines
# ----------------------------------------------------------------------------------------------------------------------


def test_text_only_reader_backs_off_from_the_question_to_its_type_to_all():
    examples = [
        *[("What is it?", "what", {"dog": 1.0})] * 3,
        *[("what is  IT?", "what", {"cat": 1.0})] * 2,
        *[("what runs?", "what", {"horse": 1.0})] * 9,
        *[("who is it?", "who", {"man": 1.0})] * 20,
    ]
    reader = TextOnlyReader(examples)
    assert reader.answer("what is it?", "what") == "dog"  # the same question, whatever its case and spaces
    assert reader.answer("what barks?", "what") == "horse"  # the most frequent answer to such questions
    assert reader.answer("how is it?", "how") == "man"  # the most frequent answer of all
    overall, of_what = 3 / 34, (3 + 2 * 3 / 34) / 16
    assert reader.overall[reader.answers.index("dog")] == pytest.approx(overall)
    dog = reader.probabilities("what is it?", "what")[reader.answers.index("dog")]
    assert dog == pytest.approx((3 + 2 * of_what) / 7)
    assert reader.probabilities("what is it?", "what").sum() == pytest.approx(1)


def test_text_only_reader_weighs_soft_answers_and_breaks_ties_alphabetically():
    reader = TextOnlyReader([("q", "", {"red": 1.0, "dark red": 0.6}), ("q", "", {"dark red": 0.6}), ("r", "", {})])
    assert reader.answer("q", "") == "dark red"
    assert TextOnlyReader([("q", "", {"b": 1.0}), ("q", "", {"a": 1.0})]).answer("q", "") == "a"


def test_option_reader_prefers_options_that_used_to_be_right():
    examples = [("what?", ("jump", "sit"), 0), ("what?", ("run", "jump"), 1), ("why?", ("jump", "sit"), 1)]
    reader = OptionReader(examples)
    jump = (2 + 2 * 0.5) / (3 + 2)
    assert reader.scores("when?", ("jump", "fly")) == pytest.approx([jump, 0.5])  # never offered: chance
    assert reader.scores("Why?", ("jump", "sit"))[0] == pytest.approx((0 + 2 * jump) / (1 + 2))
    chosen = reader.scores("why?", ("jump", "sit"))
    assert chosen[1] > chosen[0]


# ----------------------------------------------------------------------------------------------------------------------
# Scores
# ----------------------------------------------------------------------------------------------------------------------


OPTIONS = {"num_clips": 3, "num_frames": 2, "fps": 4.0, "short_video": "mask"}


@pytest.mark.parametrize(("video_block", "pairs_per_forward"), [(1, 1), (2, 7), (50, 999)])
def test_scores_equal_those_of_one_text_at_a_time(shapes, processor, video_block, pairs_per_forward):
    torch.manual_seed(0)
    config = ClipBERTConfig(
        vocab_size=len(processor.tokenizer), initializer_range=0.3, score_pooling="max", num_labels=5, **MODEL
    )
    model = ClipBERTForVideoQA(config).eval()
    videos = sorted(str(path) for path in (shapes / "test" / "videos").iterdir())[:4]
    texts = ["what?", "where does the red circle stop?", "who is it?", "how many?", "why", "when is it red?"]
    owners = [2, 0, 2, 1, 0, 2]  # nobody asks about the last video
    recipe = VideoQARecipe()
    recipe.data.num_workers = 0
    recipe.eval.video_block, recipe.eval.pairs_per_forward = video_block, pairs_per_forward
    with torch.no_grad():
        reader = VisualReader(videos, "video", processor, OPTIONS, recipe, Accelerator())
        read = OpenAnswers(AnswerVocabulary(("yes", "no"))).read
        clip_logits = score_own_texts(model, reader, texts, owners, read, pairs_per_forward)
        pooled = pool_clips(clip_logits, "max")
        for text, owner, scores in zip(texts, owners, pooled, strict=True):
            expected = model(**processor(text=[text], videos=[videos[owner]], **OPTIONS)).logits[0]
            torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)
    assert clip_logits.shape == (6, 3, 5) and reader.frame_seconds.shape == (4, 3, 2)
    assert pooled.std(dim=0).min() > 1e-3


def test_pooling_leaves_absent_clips_out():
    logits = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0))
    logits[1, 2:] = torch.nan
    logits[2] = torch.nan
    for pooling in ("mean", "max", "lse"):
        pooled = pool_clips(logits, pooling)
        torch.testing.assert_close(pooled[1], pool_clips(logits[1:2, :2], pooling)[0])
        assert not pooled[:2].isnan().any() and pooled[2].isnan().all()


# ----------------------------------------------------------------------------------------------------------------------
# The script
# ----------------------------------------------------------------------------------------------------------------------


MODES = {"open_qa": "open", "frameqa": "open", "action": "multiple_choice", "transition": "multiple_choice"}


@pytest.mark.parametrize("config", ["open_qa", "frameqa", "action", "transition", "count"])
def test_two_steps_save_resume_and_reload(shapes, tmp_path, config):
    more = [f"data.config={config}", "run.save_every=1", "data.questions_per_video=2", "data.num_clips=2"]
    if config == "count":
        more.append("model.answer=count")
    result = run(shapes, tmp_path / "whole", *more)
    assert result["finished"]
    # back to the first step, as if the process had died in the second
    shutil.copytree(tmp_path / "whole", tmp_path / "resumed", symlinks=True)
    shutil.rmtree(tmp_path / "resumed" / "checkpoints" / "step_00000002")
    resumed = run(shapes, tmp_path / "resumed", *more, "data.num_workers=1")
    assert steps_of(tmp_path / "resumed") == steps_of(tmp_path / "whole")
    assert resumed["results"] == result["results"]
    tensors, records = predictions_of(tmp_path / "whole")
    assert records["answer"] == MODES.get(config, config)
    assert len(records["predictions"]) == len(records["question_ids"]) == len(records["gold"])
    assert tensors["frame_seconds"].shape == (len(records["video_ids"]), 2, 2)
    metrics = result["results"]["test"]["metrics"]
    assert 0 <= metrics["blind_accuracy"] <= 1 and metrics["num_examples"] == len(records["gold"])
    # the checkpoint is all that is needed to evaluate again
    again = run(
        shapes, tmp_path / "again", *more, *start_from(tmp_path / "whole/checkpoints/last"), "run.total_steps=0"
    )
    assert again["results"]["test"]["metrics"] == metrics


def test_a_checkpoint_knows_its_answers(shapes, tmp_path):
    run(shapes, tmp_path, "data.num_answers=12")
    folder = tmp_path / "checkpoints" / "last"
    model = AutoModelForVisualQuestionAnswering.from_pretrained(folder).eval()
    processor = AutoProcessor.from_pretrained(folder)
    _, records = predictions_of(tmp_path)
    assert isinstance(model, ClipBERTForVideoQA)
    assert model.config.id2label == dict(enumerate(records["answers"])) and len(records["answers"]) == 12
    assert model.config.label2id["circle"] == records["answers"].index("circle")
    video_id = records["video_ids"][records["video_indices"][5]]
    with torch.no_grad():
        inputs = processor(text=[records["questions"][5]], videos=[f"{shapes}/test/videos/{video_id}.mp4"])
        label = model(**inputs).logits.argmax().item()
    assert model.config.id2label[label] == records["predictions"][5]


def test_unknown_answers_are_left_out_of_training_and_wrong_in_evaluation(shapes, tmp_path, caplog):
    metrics = run(shapes, tmp_path, "data.num_answers=2", "run.total_steps=1")["results"]["test"]["metrics"]
    _, records = predictions_of(tmp_path)
    known = [answer in records["answers"] for answer in records["gold"]]
    assert metrics["answer_coverage"] == pytest.approx(sum(known) / len(known)) and 0 < metrics["answer_coverage"] < 1
    assert metrics["num_examples"] == len(known)
    assert metrics["accuracy"] <= metrics["answer_coverage"]
    assert "training questions are left out: their answers are not among those" in caplog.text


def test_predictions_are_scored_again_without_the_model(shapes, tmp_path, capsys):
    for config, answer in (("open_qa", "open"), ("transition", "multiple_choice"), ("count", "count")):
        more = [f"data.config={config}", f"model.answer={answer}", "data.num_clips=3", "run.total_steps=1"]
        result = run(shapes, tmp_path / config, *more)["results"]["test"]["metrics"]
        folder = str(tmp_path / config / "predictions" / "test")
        capsys.readouterr()
        assert rescore([folder]) == result
        assert json.loads(capsys.readouterr().out) == result
        pooled = run(
            shapes,
            tmp_path / f"{config}_max",
            *more,
            *start_from(tmp_path / config / "checkpoints/last"),
            "run.total_steps=0",
            "eval.score_pooling=max",
        )
        assert rescore([folder, "--score_pooling", "max"]) == pytest.approx(pooled["results"]["test"]["metrics"])
    with pytest.raises(ValueError, match="counts are no classes"):
        rescore([folder, "--score_pooling", "lse"])


def test_more_micro_steps_are_the_same_batch(shapes, tmp_path):
    no_dropout = "model.overrides={hidden_dropout_prob: 0.0, attention_probs_dropout_prob: 0.0}"
    for size in (1, 4):
        more = [no_dropout, f"run.micro_batch_size={size}", "eval.splits={}", "data.questions_per_video=3"]
        run(shapes, tmp_path / str(size), *more)
    for ours, theirs in zip(steps_of(tmp_path / "1"), steps_of(tmp_path / "4"), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)


def test_a_new_counter_begins_with_the_mean_count(shapes, tmp_path):
    run(shapes, tmp_path, "data.config=count", "model.answer=count", "optim.lr=0.0", "run.total_steps=1")
    model = ClipBERTForRegression.from_pretrained(tmp_path / "checkpoints/last")
    counts = [
        int(row["answer"]) for row in load_benchmark("synthetic", config="count", split="train", data_dir=shapes)
    ]
    assert model.regressor.out_proj.bias.item() == pytest.approx(sum(counts) / len(counts))
    _, records = predictions_of(tmp_path)
    assert records["count_range"] == [min(counts), max(counts)]


def test_counting_goes_on_when_one_clip_is_left_of_a_batch(shapes, tmp_path):
    more = ["data.config=count", "model.answer=count", "run.micro_batch_size=1", "run.global_batch_size=2"]
    assert run(shapes, tmp_path / "out", *more)["finished"]
    assert all(row["grad_norm"] > 0 for row in steps_of(tmp_path / "out"))


def test_questions_may_differ_in_their_number_of_options(shapes, tmp_path, processor):
    videos = {
        name: shapes / "train" / "videos" / f"train_0000{number}.mp4" for number, name in enumerate(("a.mp4", "b.mp4"))
    }
    rows = [
        ("train", "a.mp4", "what is red?", "star", {"options": ["star", "circle"]}),
        ("train", "b.mp4", "what is blue?", "ring", {"options": ["star", "circle", "ring"]}),
        ("test", "a.mp4", "what moves?", 1, {"options": ["star", "circle", "ring", "square"]}),
        ("test", "b.mp4", "what stops?", 0, {"options": ["star", "circle"]}),
    ]
    folder = write_questions(tmp_path / "own", rows, videos)
    more = ["data.dataset=video_folder", "data.config=qa", f"data.data_dir={folder}", "run.global_batch_size=2"]
    no_dropout = "model.overrides={hidden_dropout_prob: 0.0, attention_probs_dropout_prob: 0.0}"
    losses = []
    for size in (1, 2):  # one question a batch needs no mask
        result = run(shapes, tmp_path / str(size), *more, no_dropout, f"run.micro_batch_size={size}")
        losses.append([row["loss"] for row in steps_of(tmp_path / str(size))])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert result["results"]["test"]["metrics"]["chance_accuracy"] == pytest.approx((1 / 4 + 1 / 2) / 2)
    tensors, records = predictions_of(tmp_path / "2")
    assert tensors["clip_logits"].shape == (6, 1, 1)
    model = AutoModelForMultipleChoice.from_pretrained(tmp_path / "2/checkpoints/last").eval()
    saved = AutoProcessor.from_pretrained(tmp_path / "2/checkpoints/last")
    with torch.no_grad():
        inputs = saved(text=["what moves?"], options=[records["options"][0]], videos=[str(folder / "videos/a.mp4")])
        expected = model(**inputs).logits[0]
    torch.testing.assert_close(tensors["clip_logits"][:4, 0, 0], expected, rtol=1e-4, atol=1e-5)


def test_a_retrieval_model_answers_with_the_option_that_matches_best(shapes, tmp_path, processor):
    torch.manual_seed(0)
    config = ClipBERTConfig(
        vocab_size=len(processor.tokenizer), initializer_range=0.3, score_pooling="lse", **MODEL
    )  # fmt: skip
    model = ClipBERTForVideoTextRetrieval(config).eval()
    model.save_pretrained(tmp_path / "retrieval")
    processor.save_pretrained(tmp_path / "retrieval")
    more = [
        *start_from(tmp_path / "retrieval"),
        "data.config=transition",
        "model.answer=retrieval",
        "data.num_clips=2",
    ]
    result = run(shapes, tmp_path / "out", *more, "run.total_steps=0", "data.train_split=null")
    metrics = result["results"]["test"]["metrics"]
    assert metrics["chance_accuracy"] == pytest.approx(0.2) and "blind_accuracy" not in metrics
    _, records = predictions_of(tmp_path / "out")
    right = 0
    for number, options in enumerate(records["options"]):
        video = f"{shapes}/test/videos/{records['video_ids'][records['video_indices'][number]]}.mp4"
        with torch.no_grad():
            inputs = processor(text=[options], videos=[video], num_clips=2, num_frames=2, sampling="uniform")
            scores = model.match_scores(model(**inputs).logits)
        assert scores.argmax() == records["predictions"][number]
        right += int(scores.argmax()) == records["gold"][number]
    assert metrics["accuracy"] == pytest.approx(right / len(records["options"]))
    assert rescore([str(tmp_path / "out/predictions/test")]) == metrics


@pytest.mark.parametrize("answer", ["multiple_choice", "retrieval"])
def test_captions_are_options(shapes, tmp_path, processor, answer):
    more = ["data.config=retrieval", "data.num_options=3", f"model.answer={answer}"]
    if answer == "retrieval":
        torch.manual_seed(0)
        config = ClipBERTConfig(vocab_size=len(processor.tokenizer), **MODEL)
        ClipBERTForVideoTextRetrieval(config).save_pretrained(tmp_path / "model")
        processor.save_pretrained(tmp_path / "model")
        more += [*start_from(tmp_path / "model"), "run.total_steps=0"]
    metrics = run(shapes, tmp_path / "out", *more)["results"]["test"]["metrics"]
    assert metrics["chance_accuracy"] == pytest.approx(1 / 3) and metrics["num_examples"] == 6
    assert 0 <= metrics["blind_accuracy"] <= 1


def test_other_answers_get_a_new_classifier(shapes, tmp_path, caplog):
    run(shapes, tmp_path / "first", "data.config=frameqa", "eval.splits={}")
    start = start_from(tmp_path / "first/checkpoints/last")
    with pytest.raises(ValueError, match="was trained for other answers.*without training there is no score"):
        run(shapes, tmp_path / "no", *start, "data.answers=train", "run.total_steps=0")
    run(shapes, tmp_path / "second", *start, "data.answers=train", "eval.splits={}", "run.total_steps=1")
    assert "its classifier is replaced by a new one" in caplog.text
    configs = [
        json.loads((tmp_path / name / "checkpoints/last/config.json").read_text()) for name in ("first", "second")
    ]
    assert set(configs[0]["label2id"]) != set(configs[1]["label2id"])
    model = AutoModelForVisualQuestionAnswering.from_pretrained(tmp_path / "second/checkpoints/last")
    assert model.classifier.out_proj.out_features == len(configs[1]["label2id"]) == model.config.num_labels
    # without `data.answers` the model keeps its own
    run(shapes, tmp_path / "third", *start, "eval.splits={}", "run.total_steps=1")
    kept = json.loads((tmp_path / "third" / "checkpoints/last/config.json").read_text())
    assert kept["label2id"] == configs[0]["label2id"]


def test_a_run_is_not_resumed_with_other_answers(shapes, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(shapes, data)
    run(data, tmp_path / "out", "eval.splits={}")
    questions = data / "train" / "questions.jsonl"
    questions.write_text(questions.read_text().replace('"answer": "circle"', '"answer": "disc"'))
    with pytest.raises(CheckpointError, match="classes of other names.*run.output_dir"):
        run(data, tmp_path / "out", "eval.splits={}")


def test_answers_without_names_need_a_file(shapes, tmp_path, caplog):
    run(shapes, tmp_path / "first", "data.num_answers=3", "eval.splits={}")
    folder = tmp_path / "first" / "checkpoints" / "last"
    config = json.loads((folder / "config.json").read_text())
    names = [config["id2label"][str(label)] for label in range(3)]
    for name in ("id2label", "label2id"):
        del config[name]
    unnamed = tmp_path / "unnamed"
    shutil.copytree(folder.resolve(), unnamed)
    spare = {"id2label": {str(label): f"LABEL_{label}" for label in range(3)}}
    (unnamed / "config.json").write_text(json.dumps(config | spare))
    (unnamed / "trainer" / "manifest.json").unlink()  # edited on purpose
    with pytest.raises(ValueError, match="some that have no names.*Name its answers in data.answers"):
        run(shapes, tmp_path / "no", *start_from(unnamed), "data.num_answers=3", "run.total_steps=0")
    (tmp_path / "answers.json").write_text(json.dumps(names[:2]))
    more = [*start_from(unnamed), f"data.answers={tmp_path}/answers.json", "run.total_steps=0"]
    run(shapes, tmp_path / "named", *more)
    _, records = predictions_of(tmp_path / "named")
    assert records["answers"] == [*names[:2], "LABEL_2"]  # a class more than there are answers
    run(shapes, tmp_path / "new", *start_from(unnamed), "data.num_answers=3", "run.total_steps=1", "eval.splits={}")
    assert "its classifier is replaced by a new one" in caplog.text


def test_answers_come_from_a_file(shapes, tmp_path):
    (tmp_path / "ans2label.json").write_text(json.dumps({"star": 1, "circle": 0, "unheard-of": 2}))
    metrics = run(shapes, tmp_path / "out", f"data.answers={tmp_path}/ans2label.json")["results"]["test"]["metrics"]
    _, records = predictions_of(tmp_path / "out")
    assert records["answers"] == ["circle", "star", "unheard-of"]
    assert set(records["predictions"]) <= set(records["answers"])
    assert metrics["answer_coverage"] == pytest.approx(
        sum(answer in ("circle", "star") for answer in records["gold"]) / len(records["gold"])
    )


def test_a_broken_video(shapes, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(shapes, data)
    video = data / "test" / "videos" / "test_00001.mp4"
    video.write_bytes(video.read_bytes()[:200])
    with pytest.raises(UndecodableVideosError, match="test_00001.mp4.*data.on_decode_error=skip"):
        run(data, tmp_path / "raised", "run.total_steps=1")
    skip = ["data.on_decode_error=skip", "data.max_decode_error_rate=0.5"]
    metrics = run(data, tmp_path / "skipped", *skip)["results"]["test"]["metrics"]
    _, records = predictions_of(tmp_path / "skipped")
    lost = sum(records["video_ids"][video] == "test_00001" for video in records["video_indices"])
    assert lost and metrics["num_skipped_videos"] == 1
    assert metrics["num_examples"] == len(records["gold"]) - lost == sum(p is not None for p in records["predictions"])
    assert rescore([str(tmp_path / "skipped/predictions/test")]) == metrics


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (
            ["data.config=open_qa", "model.answer=multiple_choice"],
            ValueError,
            "expected options.*Set model.answer to open",
        ),
        (
            ["data.config=open_qa", "model.answer=count"],
            ValueError,
            "expected a whole number to count with.*model.answer",
        ),
        (["data.config=opn_qa"], ValueError, "open_qa"),
        (["data.answers=nowhere.json"], FileNotFoundError, "nowhere.json"),
        (["model.answer=many"], RecipeError, "multiple_choice"),
        (["data.question_per_video=2"], RecipeError, "Did you mean 'questions_per_video'"),
        (["model.answer=retrieval"], RecipeError, "set run.total_steps to 0"),
        (["data.train_split=null"], RecipeError, "data.train_split: needed to train"),
        (["run.total_steps=0"], RecipeError, "model.from_pretrained: missing"),
        (["model.answer=count", "eval.score_pooling=lse"], RecipeError, "lse collects evidence for classes"),
    ],
)
def test_mistakes_surface_before_training(shapes, tmp_path, settings, error, message):
    with pytest.raises(error, match=message):
        run(shapes, tmp_path / "out", *settings)
    assert not (tmp_path / "out" / "log.jsonl").exists()


@pytest.mark.parametrize("config", ["open_qa", "transition"])
def test_scores_that_are_not_finite_name_the_question(shapes, tmp_path, config):
    run(shapes, tmp_path / "first", f"data.config={config}", "eval.splits={}", "run.total_steps=1")
    start = tmp_path / "broken"
    shutil.copytree(tmp_path / "first/checkpoints/last", start, ignore=shutil.ignore_patterns("trainer"))
    state = load_file(start / "model.safetensors")
    state["classifier.out_proj.bias"].fill_(torch.nan)
    save_file(state, start / "model.safetensors", {"format": "pt"})
    with pytest.raises(NonFiniteScoreError, match=r"nan.*for the text '\w.*' and the video .*test_\d+.mp4, clip 0"):
        run(shapes, tmp_path / "out", *start_from(start), f"data.config={config}", "run.total_steps=0")


def test_a_model_of_another_task_is_not_evaluated(shapes, tmp_path):
    run(shapes, tmp_path / "first", "data.config=transition", "eval.splits={}")
    start = start_from(tmp_path / "first/checkpoints/last")
    with pytest.raises(ValueError, match="was trained as ClipBERTForMultipleChoice, not for VideoQA"):
        run(shapes, tmp_path / "out", *start, "run.total_steps=0")
    # training from its encoder is another matter
    assert run(shapes, tmp_path / "tuned", *start, "run.total_steps=1")["finished"]


@pytest.mark.slow
@pytest.mark.parametrize("config", ["open_qa", "transition"])
def test_two_processes_give_the_losses_and_scores_of_one(shapes, tmp_path, config):
    more = [f"data.config={config}", "run.total_steps=3", "run.global_batch_size=8", "data.questions_per_video=2"]
    run(shapes, tmp_path / "one", *more)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    configuration = ROOT / "train_scripts" / "recipes" / "accelerate" / "two_cpu_processes.yaml"
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(configuration)]
    command = [*launcher, "--main_process_port", "0", str(ROOT / "train_scripts" / "video_qa.py")]
    command += settings_of(shapes, tmp_path / "two", *more)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for ours, theirs in zip(steps_of(tmp_path / "one"), steps_of(tmp_path / "two"), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)
    (ours, records), (theirs, others) = predictions_of(tmp_path / "one"), predictions_of(tmp_path / "two")
    assert records["question_ids"] == others["question_ids"]
    torch.testing.assert_close(ours["clip_logits"], theirs["clip_logits"], rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(ours["frame_seconds"], theirs["frame_seconds"], rtol=0, atol=0)


# ----------------------------------------------------------------------------------------------------------------------
# Real annotations, and the official scores
# ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny_clips(data_dir, tmp_path_factory):
    """The real clips with their questions; train and test are the same, in three layouts."""
    annotations, root = data_dir / "annotations" / "tiny_clips", tmp_path_factory.mktemp("tiny_clips")
    files = {name: clip["file"] for name, clip in json.loads((annotations / "clips.json").read_text()).items()}
    videos = root / "videos"
    videos.mkdir()
    for name, file in files.items():
        (videos / f"{name}{Path(file).suffix}").symlink_to(data_dir / file)
    for kind, key, official in (
        ("qa_open", "video_id", "msrvtt_qa/{}.jsonl"),
        ("qa_multichoice", "gif_name", "tgif_qa/action_{}.jsonl"),
    ):
        lines = (annotations / f"{kind}.jsonl").read_text().splitlines()
        for split in ("train", "test"):
            target = root / official.format(split)
            target.parent.mkdir(exist_ok=True)
            target.write_text("\n".join(lines))
        records = [(split, json.loads(line)) for split in ("train", "test") for line in lines]
        own = [json.dumps({"split": split, "video": files[record.pop(key)], **record}) for split, record in records]
        (root / kind).mkdir()
        (root / kind / "questions.jsonl").write_text("\n".join(own))
    return root


@pytest.mark.parametrize(
    ("kind", "layout"),
    [
        ("qa_open", "own folder"),
        *(
            pytest.param(*names, marks=pytest.mark.slow)
            for names in (("qa_open", "official"), ("qa_multichoice", "own folder"), ("qa_multichoice", "official"))
        ),
    ],
)
def test_real_clips_train_and_evaluate(shapes, data_dir, tiny_clips, tmp_path, kind, layout):
    if layout == "own folder":
        more = ["data.dataset=video_folder", "data.config=qa", f"data.data_dir={tiny_clips / kind}"]
        more.append(f"data.options={{video_dir: {data_dir}}}")
    else:
        config = {"qa_open": "msrvtt_qa", "qa_multichoice": "tgif_qa_action"}[kind]
        more = ["data.dataset=clipbert_jsonl", f"data.config={config}", f"data.data_dir={tiny_clips}"]
        more.append(f"data.options={{video_dir: {tiny_clips}/videos}}")
    metrics = run(shapes, tmp_path / "out", *more, "data.questions_per_video=3")["results"]["test"]["metrics"]
    lines = (data_dir / "annotations" / "tiny_clips" / f"{kind}.jsonl").read_text().splitlines()
    assert metrics["num_examples"] == len(lines)
    assert metrics["num_skipped_videos"] == 0
    assert metrics["blind_accuracy"] > 0.5  # of its own training questions


OFFICIAL_FILES = {
    "msrvtt_qa": "msrvtt_qa/test.jsonl",
    "tgif_action": "tgif_qa/action_test.jsonl",
    "msrvtt_mc": "msrvtt_retrieval_mc/msrvtt_retrieval_mc_test.jsonl",
}


@pytest.fixture(scope="module")
def official(parity_dir, tmp_path_factory):
    """The official models, converted, and their annotation files where `clipbert_jsonl` looks for them."""
    folder = tmp_path_factory.mktemp("official")
    expected = json.loads((parity_dir / "end_to_end" / "expected.json").read_text())
    common = expected["common"]
    for name in ("retrieval_ce", "sequence_classification", "multiple_choice"):
        head = load_head(parity_dir, name)
        convert_clipbert_checkpoint(
            head.folder / "state_dict.safetensors",
            head.model_config,
            head.task,
            parity_dir / "text" / "vocab.txt",
            folder / name,
            max_img_size=common["max_img_size"],
            max_txt_len=common["max_txt_len"],
            fps=common["fps"],
            num_frames=common["num_frm"],
        )
    for name, place in OFFICIAL_FILES.items():
        (folder / place).parent.mkdir()
        shutil.copy(parity_dir / "end_to_end" / f"{name}.jsonl", folder / place)
    return folder, expected


@pytest.mark.parity
@pytest.mark.parametrize(
    ("name", "config", "head", "answer"),
    [
        ("msrvtt_qa", "msrvtt_qa", "sequence_classification", "open"),
        ("tgif_action", "tgif_qa_action", "multiple_choice", "multiple_choice"),
        ("msrvtt_mc", "msrvtt_retrieval_mc", "retrieval_ce", "retrieval"),
    ],
)
def test_answers_equal_the_official_ones(official, parity_dir, tmp_path, name, config, head, answer):
    folder, expected = official
    common = expected["common"]
    for number, record in enumerate(expected[name]):
        clips = record["inference_n_clips"]
        # one clip is the first of the video for questions, and the "middle" one for captions
        single = "middle" if answer == "retrieval" else "start"
        more = [
            *start_from(folder / head),
            f"model.answer={answer}",
            "data.dataset=clipbert_jsonl",
            f"data.config={config}",
            f"data.data_dir={folder}",
            f"data.options={{video_dir: {parity_dir}/sampling/videos}}",
            "data.train_split=null",
            f"data.image_size={common['max_img_size']}",
            f"data.max_text_length={common['max_txt_len']}",
            f"data.fps={common['fps']}",
            f"data.num_frames={common['num_frm']}",
            "data.placement=official",
            f"eval.num_clips={clips}",
            f"eval.sampling={'uniform' if clips > 1 else single}",
            f"eval.score_pooling={record['score_agg_func']}",
            "run.total_steps=0",
        ]
        if answer == "open":
            more.append(f"data.answers={parity_dir}/end_to_end/ans2label.json")
        metrics = run(folder, tmp_path / str(number), *more)["results"]["test"]["metrics"]
        _, ours = predictions_of(tmp_path / str(number))
        predictions = ours["predictions"]
        if answer == "open":
            predictions = [ours["answers"].index(text) for text in predictions]
        assert dict(zip(ours["question_ids"], predictions, strict=True)) == record["predictions"]
        theirs = record["scores"]
        accuracy = float(theirs["mc_accuracy"] if answer == "retrieval" else theirs["overall_acc"])
        assert 100 * metrics["accuracy"] == pytest.approx(accuracy, abs=0.005)


# ----------------------------------------------------------------------------------------------------------------------
# Recipes
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_recipe_reads_names_a_known_dataset_and_says_how_to_run_it(path):
    recipe = VideoQARecipe.load(path)
    assert recipe.data.dataset in list_benchmarks()
    assert type(recipe)(**{name: getattr(recipe, name) for name in asdict(recipe)}) == recipe
    head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert any(str(path.relative_to(ROOT)) in line for line in head)
    assert any(line.startswith("# Expect:") for line in head)


@pytest.mark.parametrize("path", QUICKSTART, ids=lambda path: path.stem)
def test_quickstart_recipe_trains_a_shrunken_model(shapes, tmp_path, path):
    values = yaml.safe_load(path.read_text())
    values["data"] |= {"data_dir": str(shapes), "options": {}, "num_workers": 0, "image_size": 48}
    values["run"] |= {"output_dir": str(tmp_path / "out")}
    if values["run"]["total_steps"]:
        config = {name: values["model"]["config"].get(name) for name in SHOWN if name in values["model"]["config"]}
        values["model"] |= {"config": MODEL | config, "tokenizer": str(shapes / "vocab.txt")}
        values["run"] |= {"global_batch_size": 4, "micro_batch_size": 2, "total_steps": 2, "eval_every": 1}
    else:
        torch.manual_seed(0)
        tokenizer = load_tokenizer(shapes / "vocab.txt")
        ClipBERTForVideoTextRetrieval(ClipBERTConfig(vocab_size=len(tokenizer), **MODEL)).save_pretrained(tmp_path)
        VideoTextProcessor(ClipBERTVideoProcessor(size=48), tokenizer).save_pretrained(tmp_path)
        values["model"]["from_pretrained"] = str(tmp_path)
    (tmp_path / "shrunken.yaml").write_text(yaml.safe_dump(values))
    result = main(VideoQATask(), ["--recipe", str(tmp_path / "shrunken.yaml")])
    assert result["finished"]
    assert set(result["results"]) == set(values["eval"]["splits"])
    for row in result["results"].values():
        assert {"accuracy", "blind_accuracy", "num_examples"} <= set(row["metrics"])
