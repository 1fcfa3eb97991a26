# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""`train_scripts/image_qa.py`: soft labels, the official loss, and the script from recipe to checkpoint."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from fakehub import FakeHub
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.torch import load_file
from tiny_runs import MODEL, one_thread, steps_of, tiny_run  # noqa: F401
from transformers import AutoModelForVisualQuestionAnswering, AutoProcessor

from clipbert.datasets_scripts import list_benchmarks, load_benchmark
from clipbert.datasets_scripts.building.answer_vocabulary import AnswerVocabulary
from clipbert.datasets_scripts.synthetic.images import generate_synthetic_images
from clipbert.metrics.vqa_score import compute_vqa_score
from clipbert.train_scripts.engine.predictions import Predictions
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.image_qa import ImageQATask, server_answers
from clipbert.train_scripts.rescore import main as rescore
from clipbert.train_scripts.tasks.question_answering.measures import answer, measure
from clipbert.train_scripts.tasks.question_answering.modes import SoftAnswers
from clipbert.train_scripts.tasks.question_answering.task import QuestionRecipe


ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "train_scripts" / "recipes").glob("*/image_qa*.yaml"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("image_qa") / "pictures"
    return generate_synthetic_images(folder, num_train=12, num_validation=5, num_test=6)


def settings_of(pictures, output_dir, *more):
    return tiny_run("synthetic_images", "image_qa", pictures, output_dir, "data.questions_per_video=2", *more)


def run(pictures, output_dir, *more):
    return main(ImageQATask(), settings_of(pictures, output_dir, *more))


# ----------------------------------------------------------------------------------------------------------------------
# Labels
# ----------------------------------------------------------------------------------------------------------------------


def row_of(soft, question="what?", answer_type="other"):
    names = {"soft_answers": list(soft), "soft_scores": list(soft.values()), "answer": next(iter(soft), None)}
    return {"question": question, "answer_type": answer_type, **names}


def test_labels_are_the_recorded_targets(small_parity_dir):
    records = json.loads((small_parity_dir / "metrics" / "qa_metrics.json").read_text())
    (record,) = (record for record in records if record["task"] == "vqa_targets")
    mode = SoftAnswers(AnswerVocabulary(tuple(record["ans2label"])))
    labels = mode.encode_labels(
        [mode.label(row_of(record["labels"])), mode.label(row_of({"red": 0.3, "unheard-of": 1.0}))]
    )
    assert labels[0].tolist() == record["target"]
    assert labels[1].tolist() == pytest.approx([0, 0, 0, 0.3, 0])
    assert mode.label(row_of({"unheard-of": 1.0})) is None  # nothing to learn


def test_answers_outside_the_vocabulary_score_nothing():
    vocabulary = AnswerVocabulary(("yes", "no"))
    mode = SoftAnswers(vocabulary, [row_of({"no": 1.0}, "is it?", "yes/no")])
    rows = [row_of({"no": 0.6, "never": 1.0}, "is it?", "yes/no"), row_of({"two": 1.0}, "how many?", "number")]
    found = Predictions(
        "question_answering",
        [{"video_id": str(number), **mode.gold(row), **mode.blind(row)} for number, row in enumerate(rows)],
        {"clip_logits": np.array([[[0.0, 1.0]], [[1.0, 0.0]]])},
        {"answer": "soft", "score_pooling": "mean", **mode.info()},
    )
    metrics = measure(found)
    assert answer(found) == ["no", "yes"] and [row["blind"] for row in found.rows] == ["no", "no"]
    assert metrics["vqa_score"] == metrics["blind_vqa_score"] == metrics["answer_coverage"] == pytest.approx(0.3)
    assert (metrics["vqa_score_yes/no"], metrics["vqa_score_number"]) == (pytest.approx(0.6), 0.0)


@pytest.mark.slow
def test_the_loss_is_summed_over_answers_and_averaged_over_questions(pictures, tmp_path):
    run(pictures, tmp_path, "run.micro_batch_size=4", "run.total_steps=1", "run.seed=5", "eval.splits={}")
    num_answers = json.loads((tmp_path / "checkpoints/last/config.json").read_text())["label2id"]
    (row,) = steps_of(tmp_path)
    # untrained logits are near 0, where each answer costs log 2
    assert row["loss"] == pytest.approx(len(num_answers) * 0.6931, rel=0.1)


# ----------------------------------------------------------------------------------------------------------------------
# The script
# ----------------------------------------------------------------------------------------------------------------------


def test_two_steps_save_resume_and_reload(pictures, tmp_path, capsys):
    result = run(pictures, tmp_path / "whole", "run.save_every=1")
    shutil.copytree(tmp_path / "whole", tmp_path / "resumed", symlinks=True)
    shutil.rmtree(tmp_path / "resumed" / "checkpoints" / "step_00000002")
    resumed = run(pictures, tmp_path / "resumed", "run.save_every=1", "data.num_workers=1")
    assert steps_of(tmp_path / "resumed") == steps_of(tmp_path / "whole")
    assert resumed["results"] == result["results"]
    metrics = result["results"]["test"]["metrics"]
    assert {"vqa_score", "blind_vqa_score", "vqa_score_yes/no", "vqa_score_number", "vqa_score_other"} <= set(metrics)
    folder = tmp_path / "whole" / "predictions" / "test"
    assert rescore([str(folder)]) == metrics

    records, tensors = json.loads((folder / "records.json").read_text()), load_file(folder / "tensors.safetensors")
    rows = load_benchmark("synthetic_images", config="image_qa", split="test", data_dir=pictures)
    gold = [dict(zip(row["soft_answers"], row["soft_scores"], strict=True)) for row in rows]
    answers = [row["prediction"] for row in records["rows"]]
    expected = compute_vqa_score(answers, gold, rows["answer_type"])
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)
    assert [row["question_id"] for row in records["rows"]] == list(rows["question_id"])
    # the folder is all that is needed to answer a question
    checkpoint = tmp_path / "whole" / "checkpoints" / "last"
    model = AutoModelForVisualQuestionAnswering.from_pretrained(checkpoint).eval()
    processor = AutoProcessor.from_pretrained(checkpoint)
    assert model.config.loss_type == "bce" and model.config.id2label == dict(enumerate(records["answers"]))
    with torch.no_grad():
        logits = model(**processor(text=[rows[3]["question"]], images=[rows[3]["image"]])).logits[0]
    torch.testing.assert_close(tensors["clip_logits"][3, 0], logits, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.hub
def test_a_run_with_a_tuning_split_alone_publishes_its_best_checkpoint(pictures, tmp_path):
    # without progress the first of equals is the best, and not the last
    more = ["run.total_steps=3", "run.eval_every=1", "optim.lr=0", "eval.splits={validation: tuning}"]
    more += ["eval.metric=vqa_score", "run.push_to_hub=user/pictures"]
    command = [sys.executable, "train_scripts/image_qa.py", *settings_of(pictures, tmp_path / "run", *more)]
    with FakeHub() as hub:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **hub.environment(tmp_path / "home")}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        card = ModelCard(hub.files("user/pictures")["README.md"].decode())
    logged = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    first = next(row for row in logged if row.get("split") == "validation")
    assert first["step"] == 1
    assert json.loads((tmp_path / "run/results.json").read_text())["splits"] == {"validation": first}
    records = json.loads((tmp_path / "run/predictions/validation/records.json").read_text())
    assert (records["step"], records["metrics"]) == (1, first["metrics"])
    published = load_file(tmp_path / "run/published/model.safetensors")
    best = load_file(tmp_path / "run/checkpoints/step_00000001/model.safetensors")
    assert all(torch.equal(published[name], best[name]) for name in best)
    scores = {item.metric_type: item for item in card.data.eval_results}
    assert scores["vqa_score"].metric_value == first["metrics"]["vqa_score"]
    assert scores["vqa_score"].dataset_split == "validation (selected on)" and "blind_vqa_score" not in scores
    assert "Data: synthetic_images (config image_qa, split train)." in card.text


def test_an_image_is_decoded_once_for_its_questions(pictures, tmp_path, monkeypatch):
    opened, whole = [], Image.open
    monkeypatch.setattr(Image, "open", lambda source, *rest: opened.append(str(source)) or whole(source, *rest))
    more = ["data.questions_per_video=8", "run.total_steps=1", "run.global_batch_size=12", "run.micro_batch_size=12"]
    run(pictures, tmp_path, *more, "eval.splits={validation: final}")
    assert len(opened) == 12 + 5


def test_questions_without_a_published_answer_are_answered_and_not_scored(pictures, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(pictures, data)
    path = data / "test" / "questions.jsonl"
    hidden = {"answer": None, "soft_answers": [], "soft_scores": []}
    rows = [
        {**json.loads(line), **hidden, "question_id": str(262148000 + number)}
        for number, line in enumerate(path.read_text().splitlines())
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    metrics = run(data, tmp_path / "out")["results"]["test"]["metrics"]
    assert metrics == {"num_examples": 0, "num_skipped_videos": 0}
    records = json.loads((tmp_path / "out/predictions/test/records.json").read_text())
    predictions = [row["prediction"] for row in records["rows"]]
    assert len(predictions) == len(rows) and set(predictions) <= set(records["answers"])
    # what the server of VQA takes
    sent = json.loads((tmp_path / "out/predictions/test/vqa_results.json").read_text())
    assert [entry["question_id"] for entry in sent] == [int(row["question_id"]) for row in rows]
    assert [entry["answer"] for entry in sent] == predictions
    assert all(set(entry) == {"question_id", "answer"} for entry in sent)


def test_the_server_of_vqa_gets_an_answer_to_every_question():
    predictions = {"262148000": "down", "7": None, "mine": "2"}
    rows = [{"question_id": question, "prediction": answer} for question, answer in predictions.items()]
    assert server_answers(rows) == [
        {"question_id": 262148000, "answer": "down"},
        {"question_id": 7, "answer": ""},  # its image could not be decoded
        {"question_id": "mine", "answer": "2"},  # not of VQA
    ]


def test_the_vocabulary_needs_a_minimum_count(pictures, tmp_path):
    run(pictures, tmp_path, "data.min_answer_count=8", "eval.splits={}", "run.total_steps=1")
    labels = json.loads((tmp_path / "checkpoints/last/config.json").read_text())["label2id"]
    rows = load_benchmark("synthetic_images", config="image_qa", split="train", data_dir=pictures)
    counts = {answer: list(rows["answer"]).count(answer) for answer in rows["answer"]}
    assert set(labels) == {answer for answer, count in counts.items() if count >= 8}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_recipe_reads_names_a_known_dataset_and_says_how_to_run_it(path):
    recipe = QuestionRecipe.load(path)
    assert recipe.data.dataset in list_benchmarks()
    assert type(recipe)(**{name: getattr(recipe, name) for name in asdict(recipe)}) == recipe
    head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert any(str(path.relative_to(ROOT)) in line for line in head)
    assert any(line.startswith("# Expect:") for line in head)


def test_quickstart_recipe_trains_a_shrunken_model(pictures, tmp_path):
    values = yaml.safe_load((ROOT / "train_scripts/recipes/quickstart/image_qa.yaml").read_text())
    values["data"] |= {"data_dir": str(pictures), "options": {}, "num_workers": 0, "image_size": 48}
    values["model"] |= {"config": MODEL, "tokenizer": str(pictures / "vocab.txt")}
    values["run"] |= {"output_dir": str(tmp_path / "out"), "global_batch_size": 4, "micro_batch_size": 2}
    values["run"] |= {"total_steps": 2, "eval_every": 1}
    (tmp_path / "shrunken.yaml").write_text(yaml.safe_dump(values))
    result = main(ImageQATask(), ["--recipe", str(tmp_path / "shrunken.yaml")])
    assert result["finished"] and set(result["results"]) == {"validation", "test"}


# ----------------------------------------------------------------------------------------------------------------------
# Generated images
# ----------------------------------------------------------------------------------------------------------------------


def test_generated_images_are_the_same_every_time_and_never_overwritten(pictures, tmp_path):
    again = generate_synthetic_images(tmp_path / "again", num_train=12, num_validation=5, num_test=6)
    files = [path.relative_to(pictures) for path in sorted(pictures.rglob("*.*"))]
    assert len(files) == 23 + 6 + 2
    assert all((again / name).read_bytes() == (pictures / name).read_bytes() for name in files)
    assert generate_synthetic_images(again, num_train=12, num_validation=5, num_test=6) == again
    with pytest.raises(FileExistsError, match="choose another folder"):
        generate_synthetic_images(again, num_train=13)
    with pytest.raises(FileExistsError, match="something else"):
        generate_synthetic_images(ROOT / "tests")
    with pytest.raises(ValueError, match="`size` of at least 32"):
        generate_synthetic_images(tmp_path / "small", size=8)
    with pytest.raises(ValueError, match="not all 0"):
        generate_synthetic_images(tmp_path / "none", num_train=0, num_validation=0, num_test=0)


def test_generated_questions_are_true_of_their_captions(pictures):
    captions = load_benchmark("synthetic_images", config="image_text", split="train", data_dir=pictures)
    told = dict(zip(captions["image_id"], captions["caption"], strict=True))
    rows = load_benchmark("synthetic_images", config="image_qa", split="train", data_dir=pictures)
    digits = {"1": ("a ", "an "), "2": ("two ",), "3": ("three ",)}
    for row in rows:
        caption = told[row["image_id"]]
        if row["answer_type"] == "number":
            assert caption.startswith(digits[row["answer"]])
        elif row["answer_type"] == "other":
            assert row["answer"] in caption
        elif row["question"].startswith("is the background"):
            assert (row["question"].rstrip("?").split()[-1] in caption.split(" a ")[-1]) == (row["answer"] == "yes")
    assert {row["answer_type"] for row in rows} == {"number", "other", "yes/no"}
    assert {0.3, 0.6, 0.9} & {round(score, 1) for row in rows for score in row["soft_scores"]}
    assert all(Image.open(path).size == (64, 64) for path in captions["image"])
