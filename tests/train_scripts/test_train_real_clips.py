# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The recipes with a tiny model on thirty real clips, described in the formats of the benchmarks."""

import csv
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_files import write_json
from tiny_classifiers import cnn_rnn_run
from tiny_runs import MODEL, one_thread, start_from  # noqa: F401

from clipbert.train_scripts import extract, predict
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.rescore import rescore
from clipbert.train_scripts.retrieval import RetrievalTask
from clipbert.train_scripts.video_classification import ClassificationTask
from clipbert.train_scripts.video_qa import VideoQATask


RECIPES = Path(__file__).parents[2] / "train_scripts" / "recipes" / "clipbert"
CNN_RNN = RECIPES.parent / "cnn_rnn"
ON_TRAIN = ("eval.splits={train: monitor}", "eval.metric=null", "optim.schedule=constant", "run.patience=null")
TASKS = {"retrieval": RetrievalTask, "video_qa": VideoQATask}


@pytest.fixture(scope="module")
def clips(data_dir):
    """The annotation files of the clips."""
    return data_dir / "annotations" / "tiny_clips"


@pytest.fixture(scope="module")
def videos(data_dir, clips, tmp_path_factory):
    """A folder of the clips, each under its name, and once more with the `v_` of ActivityNet."""
    folder = tmp_path_factory.mktemp("videos")
    for name, clip in json.loads((clips / "clips.json").read_text()).items():
        for link in {name, f"v_{name.removeprefix('v_')}"}:
            (folder / f"{link}{Path(clip['file']).suffix}").symlink_to(data_dir / clip["file"])
    return folder


@pytest.fixture
def run(data_dir, videos, tmp_path):
    """Run a recipe of the paper for two steps on `tmp_path/data`."""

    def run(recipe, *more, out="out"):
        values = [
            "model.from_pretrained=null",
            f"model.config={json.dumps({**MODEL, 'max_position_embeddings': 128})}",
            f"model.tokenizer={data_dir}/vocab/bert-base-uncased/vocab.txt",
            f"data.data_dir={tmp_path}/data",
            f"data.options.video_dir={videos}",
            "data.image_size=48",
            "data.num_workers=0",
            "run.num_epochs=null",
            "run.total_steps=2",
            "run.eval_every=1",
            "run.global_batch_size=2",
            "run.micro_batch_size=2",
            "run.mixed_precision='no'",
            "eval.video_block=1",
            f"run.output_dir={tmp_path / out}",
            *more,
        ]
        task = TASKS[next(name for name in TASKS if recipe.startswith(name))]()
        settings = [part for value in values for part in ("--set", value)]
        result = main(task, ["--recipe", str(RECIPES / f"{recipe}.yaml"), *settings])
        assert result["finished"]
        return {split: row["metrics"] for split, row in result["results"].items()}

    return run


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def write_jsonl(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def read_jsonl(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_msrvtt_1ka_as_published(run, clips, data, tmp_path):
    document = json.loads((clips / "msrvtt_style.json").read_text())
    (data / "MSRVTT_data.json").write_text(json.dumps(document))
    first = {sentence["video_id"]: sentence for sentence in reversed(document["sentences"])}
    test = [first[video["video_id"]] for video in document["videos"] if video["split"] == "test"]
    with (data / "MSRVTT_JSFUSION_test.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "vid_key", "video_id", "sentence"])
        writer.writerows([f"ret{n}", f"msr{n}", row["video_id"], row["caption"]] for n, row in enumerate(test))
    results = run("retrieval_msrvtt")
    assert results["test"]["num_examples"] == results["test"]["num_videos"] == 10
    assert results["validation"]["num_videos"] == 1  # 2 % of the 20 training videos
    assert rescore(tmp_path / "out/predictions/test") == results["test"]
    # dense, as the recipe's head says
    more = [*start_from(tmp_path / "out/checkpoints/best"), "run.total_steps=0", "eval.splits={test: final}"]
    more += ["eval.metric=null", "eval.sampling=uniform", "eval.num_clips=4"]
    dense = run("retrieval_msrvtt", *more, out="dense")["test"]
    assert dense["num_examples"] == 10
    logits = load_file(tmp_path / "dense/predictions/test/tensors.safetensors")["clip_logits"]
    assert logits.shape == (10, 10, 4, 2) and logits.isfinite().all()
    assert not torch.equal(logits[:, :, 0], logits[:, :, 3])


def test_msrvtt_without_a_validation_split(run, clips, data):
    (data / "MSRVTT_data.json").write_bytes((clips / "msrvtt_style.json").read_bytes())
    more = ["data.config=retrieval_full", "data.options.validation_fraction=0", "eval.metric=null"]
    results = run("retrieval_msrvtt", *more, "eval.splits={test: final}")
    assert (results["test"]["num_videos"], results["test"]["num_examples"]) == (10, 30)


def test_activitynet_paragraphs(run, clips, data):
    moments = json.loads((clips / "moments_activitynet_style.json").read_text())
    moments = {f"v_{name.removeprefix('v_')}": entry for name, entry in list(moments.items())[:6]}
    write_json(data / "train.json", moments)
    write_json(data / "val_1.json", dict(list(moments.items())[:3]))
    results = run("retrieval_activitynet")
    assert (results["train[95%:]"]["num_videos"], results["validation"]["num_videos"]) == (1, 3)


@pytest.mark.slow
def test_captions_of_a_plain_folder(run, clips, data):
    files = {name: clip["file"] for name, clip in json.loads((clips / "clips.json").read_text()).items()}
    split = dict(zip(files, ["train", "train", "test", "validation"] * 8, strict=False))
    rows = [
        {"video": f"{row['clip_name']}{Path(files[row['clip_name']]).suffix}", "caption": row["caption"]}
        | {"split": split[row["clip_name"]]}
        for row in read_jsonl(clips / "captions.jsonl")
    ]
    write_jsonl(data / "captions.jsonl", rows)
    results = run("retrieval_video_folder", "model.parts=null")
    for name, metrics in results.items():
        assert metrics["num_examples"] == sum(row["split"] == name for row in rows)


def test_captions_in_the_official_files(run, clips, data):
    for split in ("train", "val", "test"):
        write_jsonl(data / "msrvtt_retrieval" / f"{split}.jsonl", read_jsonl(clips / "captions.jsonl")[:12])
    more = ["data.dataset=clipbert_jsonl", "data.config=msrvtt_retrieval", "data.options.validation_fraction=0"]
    assert run("retrieval_msrvtt", *more)["test"]["num_examples"] == 12


@pytest.mark.slow
def test_multiple_choice_as_published(run, clips, data):
    for split in ("Train", "Test"):
        (data / f"{split}_transition_question.csv").write_bytes((clips / "qa_multichoice.csv").read_bytes())
    results = run("video_qa_tgif_transition")
    assert results["test"]["num_examples"] == 30 and 0 <= results["test"]["accuracy"] <= 1
    assert results["test"]["num_skipped_videos"] == 0 and results["validation"]["num_examples"] >= 1


@pytest.mark.parametrize("answers", ["of the training split", "file"])
def test_open_questions_in_the_official_files(run, clips, data, tmp_path, answers):
    rows = read_jsonl(clips / "qa_open.jsonl")
    for split in ("train", "val", "test"):
        write_jsonl(data / "msrvtt_qa" / f"{split}.jsonl", rows if split == "train" else rows[:20])
    more = ["data.dataset=clipbert_jsonl", "data.config=msrvtt_qa"]
    if answers == "file":
        more += [f"data.answers={clips}/qa_open_ans2label.json", "data.num_answers=null"]
    test = run("video_qa_msrvtt", *more)["test"]
    assert test["num_examples"] == 20 and test["answer_coverage"] == 1
    records = json.loads((tmp_path / "out/predictions/test/records.json").read_text())
    assert {row["prediction"] for row in records["rows"]} <= {row["answer"] for row in rows}


def test_multiple_choice_by_a_retrieval_model(run, clips, data, tmp_path):
    captions = read_jsonl(clips / "captions.jsonl")
    first = {row["clip_name"]: row["caption"] for row in reversed(captions)}
    names = [row["clip_name"] for row in captions[::3]][:6]
    for split in ("train", "test"):
        write_jsonl(data / "msrvtt_retrieval" / f"{split}.jsonl", captions[:18])
    questions = [
        {"qid": n, "clip_name": name, "options": [first[names[(n + k) % 6]] for k in range(5)], "answer": 0}
        for n, name in enumerate(names)
    ]
    write_jsonl(data / "msrvtt_retrieval_mc_test.jsonl", questions)
    more = ["data.dataset=clipbert_jsonl", "data.config=msrvtt_retrieval", "data.options.validation_fraction=0"]
    run("retrieval_msrvtt", *more, "eval.splits={}", "eval.metric=null")
    more = [*start_from(tmp_path / "out/checkpoints/last"), "run.total_steps=0", "run.eval_every=null"]
    metrics = run("video_qa_msrvtt_mc", *more, "eval.num_clips=2", out="choice")["test"]
    assert metrics["num_examples"] == 6 and 0 <= metrics["accuracy"] <= 1


# ----------------------------------------------------------------------------------------------------------------------
# Classes
# ----------------------------------------------------------------------------------------------------------------------


def predictions_of(run, split):
    """The probabilities that a run has written, by the names of videos and classes."""
    records = json.loads((run / "predictions" / split / "records.json").read_text())
    logits = load_file(run / "predictions" / split / "tensors.safetensors")["logits"]
    shares = [dict(zip(records["class_names"], row.softmax(0).tolist(), strict=True)) for row in logits]
    return {row["video_id"]: shares[number] for number, row in enumerate(records["rows"])}


@pytest.mark.slow
def test_classes_of_a_table_are_learnt_evaluated_and_predicted(data_dir, clips, tmp_path):
    folder, out = data_dir / "videos", tmp_path / "out"
    values = [f"data.options={{file: classification.csv, video_dir: {folder}}}", f"data.features={tmp_path}/features"]
    values += ["data.dataset=video_folder", "data.config=classification", "data.num_frames=8", *ON_TRAIN]
    values += ["run.total_steps=120", "run.eval_every=null", "run.save_every=120", "optim.lr=2e-2"]
    values += ["run.global_batch_size=10", "run.micro_batch_size=10"]
    config = {"rnn_hidden_size": 32, "head_dropout": 0.0, "initializer_range": 1.0}
    run = cnn_rnn_run(clips, out, *values, recipe=CNN_RNN / "video_folder.yaml", config=config)
    extract.main([*run, "--dtype", "float32"])
    metrics = main(ClassificationTask(), run)["results"]["train"]["metrics"]
    assert metrics["num_examples"] == 10 and metrics["accuracy"] >= 0.9
    with (clips / "classification.csv").open(newline="") as file:
        labels = {row["video_name"]: row["tag"] for row in csv.DictReader(file)}
    found = predict.main(["--checkpoint", str(out), *(str(folder / name) for name in labels)])
    written = predictions_of(out, "train")
    for name, row in zip(labels, found, strict=True):
        assert row["probabilities"] == pytest.approx(written[name], abs=1e-4)
    named = [next(iter(row["probabilities"])) for row in found]
    assert sum(name == label for name, label in zip(named, labels.values(), strict=True)) >= 9


def test_clips_of_ucf101_in_its_own_layout(data_dir, tmp_path):
    """The second official split trains on the recordings that the first one tests: two AVIs, and a GIF."""
    folder = tmp_path / "UCF101"
    for path in (data_dir / "videos" / "ucf101").iterdir():
        home = folder / "UCF-101" / path.name.split("_")[1]
        home.mkdir(parents=True)
        (home / path.name).symlink_to(path)
    (folder / "ucfTrainTestlist").symlink_to(data_dir / "annotations" / "ucf101")
    classes = ["ApplyEyeMakeup", "BaseballPitch", "CricketShot"]
    values = ["data.dataset=ucf101", f"data.options={{on_missing: skip, classes: [{', '.join(classes)}]}}"]
    values += ["data.sampling=all", "data.num_frames=null", "data.stride=20", *ON_TRAIN]
    recipe = CNN_RNN / "ucf101.yaml"
    trained = main(
        ClassificationTask(), cnn_rnn_run(folder, tmp_path / "a", *values, "data.config=split2", recipe=recipe)
    )
    assert trained["results"]["train"]["metrics"]["num_examples"] == 3
    values += [*start_from(tmp_path / "a/checkpoints/last"), "data.train_split=null", "run.total_steps=0"]
    values += ["data.config=split1", "eval.splits={test: final}", "run.eval_every=null"]
    tested = main(ClassificationTask(), cnn_rnn_run(folder, tmp_path / "b", *values, recipe=recipe))
    assert tested["results"]["test"]["metrics"]["coverage"] == pytest.approx(3 / 136)
    found = predict.main(["--checkpoint", str(tmp_path / "a"), str(folder)])
    written = predictions_of(tmp_path / "b", "test")
    assert [Path(row["video"]).suffix for row in found] == [".avi", ".avi", ".gif"]
    for row, name in zip(found, classes, strict=True):
        (video_id,) = [video_id for video_id in written if name in video_id]
        assert Path(row["video"]).stem.removesuffix("_rgb") == video_id
        assert row["probabilities"] == pytest.approx(written[video_id], abs=1e-5)


def test_every_odd_file_is_classified_or_named(data_dir, tmp_path):
    folder, config = data_dir / "videos" / "technical", {"rnn_hidden_size": 8}
    names = sorted(path.name for path in folder.iterdir())
    broken = {"audio_only.mp3", "corrupted.mp4", "zero_byte.webm"}
    lines = [f"{name},{'ab'[number % 2]},{'test' if number % 3 else 'train'}" for number, name in enumerate(names)]
    (tmp_path / "labels.csv").write_text("\n".join(["video,label,split", *lines]))
    values = ["data.dataset=video_folder", "data.config=classification", f"data.options={{video_dir: {folder}}}"]
    values += ["data.on_decode_error=skip", "data.max_decode_error_rate=0.6", "data.num_frames=4"]
    values += ["eval.splits={test: final}", "eval.metric=null", "run.eval_every=null"]
    metrics = main(ClassificationTask(), cnn_rnn_run(tmp_path, tmp_path / "out", *values, config=config))["results"][
        "test"
    ]
    tested = {name for name, line in zip(names, lines, strict=True) if line.endswith("test")}
    assert metrics["metrics"]["num_skipped_videos"] == len(tested & broken) > 0
    for more in ([], ["--windows", "3"]):
        found = predict.main(["--checkpoint", str(tmp_path / "out"), *more, *(str(folder / name) for name in names)])
        failed = {name: row["error"] for name, row in zip(names, found, strict=True) if "error" in row}
        assert failed.keys() == broken and all(name in error for name, error in failed.items())
