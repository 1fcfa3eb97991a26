# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""`moment_retrieval.py`: trains, resumes bit for bit, is scored again by another rule; items, batches and scores by hand."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from moment_runs import moment_run
from safetensors.torch import load_file
from tiny_runs import one_thread, steps_of  # noqa: F401
from transformers import pipeline

from clipbert.datasets_scripts.synthetic import generate_synthetic
from clipbert.processing import CIMHAVideoProcessor, MomentRetrievalProcessor, load_tokenizer
from clipbert.support.families import load_trained
from clipbert.train_scripts.engine.predictions import Predictions, read_predictions
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.extract import main as extract
from clipbert.train_scripts.moment_retrieval import MomentRecipe, MomentTask
from clipbert.train_scripts.plots import draw_run
from clipbert.train_scripts.rescore import main as rescore
from clipbert.train_scripts.tasks.moment_retrieval.items import AskedCollator, AskedVideos, SeenVideos, group_by_video
from clipbert.train_scripts.tasks.moment_retrieval.measures import decode, measure


ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "train_scripts" / "moment_retrieval.py"


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("moments") / "shapes"
    return generate_synthetic(folder, progress=False, preset="sequences", num_train=4, num_validation=0, num_test=3)


@pytest.fixture(scope="module")
def trained(shapes, tmp_path_factory):
    output_dir = tmp_path_factory.mktemp("run") / "run"
    return output_dir, main(
        MomentTask(), moment_run(shapes, output_dir, "run.save_every=1", "data.queries_per_video=1")
    )


def test_scores_stand_beside_all_that_is_reached_without_looking(trained):
    output_dir, result = trained
    metrics = result["results"]["test"]["metrics"]
    blind = ("whole-video", "uniform-points", "best-fixed-span", "nearest-sentences", "model")
    assert {f"blind-{name}_R1@{at}" for name in blind for at in (0.3, 0.5, 0.7)} <= set(metrics)
    assert metrics["num_examples"] == 6 and metrics["num_videos"] == 3
    predictions = read_predictions(output_dir / "predictions" / "test")
    assert measure(predictions) == pytest.approx(metrics)
    for row in predictions.rows:
        assert all(0 <= moment["start_s"] < moment["end_s"] <= row["duration_s"] for moment in row["moments"])
        scores = [moment["score"] for moment in row["moments"]]
        assert scores == sorted(scores, reverse=True) and len(scores) <= 5


def test_the_checkpoint_gives_the_seconds_that_were_predicted(trained, shapes):
    output_dir, _ = trained
    model, processor = load_trained(str(output_dir / "checkpoints" / "last"))
    row = read_predictions(output_dir / "predictions" / "test").rows[0]
    inputs = processor(text=[row["caption"]], videos=[str(shapes / "test" / "videos" / f"{row['video_id']}.mp4")])
    with torch.no_grad():
        outputs = model.eval()(**inputs)
    (found,) = processor.post_process_moments(outputs, inputs["durations"])
    assert [moment["start_s"] for moment in found] == [moment["start_s"] for moment in row["moments"]]
    assert model.config.segment_plan == {
        "segments_per_second": 2,
        "min_segments": 8,
        "max_segments": 8,
        "frames_per_segment": 1,
    }


def test_the_pipeline_gives_the_moments_that_were_predicted(trained):
    output_dir, _ = trained
    pipe = pipeline("moment-retrieval", model=str(output_dir / "checkpoints" / "last"))
    for row in read_predictions(output_dir / "predictions" / "test").rows[:2]:
        found = pipe(row["video"], row["caption"])
        assert len(found) == len(row["moments"])
        for moment, predicted in zip(found, row["moments"], strict=True):
            assert moment == pytest.approx({name: predicted[name] for name in moment}, abs=1e-4)


@pytest.mark.slow
def test_pictures_of_a_run_show_its_answers(trained):
    pytest.importorskip("matplotlib")
    output_dir, _ = trained
    assert output_dir / "pictures" / "test_moments.png" in list(draw_run(output_dir))


def test_resumed_losses_equal_uninterrupted_ones(trained, shapes, tmp_path):
    output_dir, result = trained
    shutil.copytree(output_dir, tmp_path / "run", symlinks=True)
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step_00000002")
    resumed = main(MomentTask(), moment_run(shapes, tmp_path / "run", "run.save_every=1", "data.queries_per_video=1"))
    assert steps_of(tmp_path / "run") == steps_of(output_dir)
    assert resumed["results"] == result["results"]


def test_predictions_are_scored_again(trained, capsys):
    output_dir, result = trained
    folder, expected = str(output_dir / "predictions" / "test"), result["results"]["test"]["metrics"]
    assert rescore([folder]) == pytest.approx(expected)
    assert rescore([folder, "--nms_iou", "1.0", "--top_k", "36"])["R5@0.7"] <= 1
    everything = rescore([folder, "--nms_iou", "1.0", "--top_k", "1"])
    assert everything["R5@0.3"] == everything["R1@0.3"] == expected["R1@0.3"]
    assert rescore([folder, "--max_seconds", "1000"]) == pytest.approx(expected)
    assert rescore([folder, "--max_seconds", "0.01"])["R5@0.3"] == 0  # less than a segment: no answer
    strict = rescore([folder, "--strict_iou"])
    assert strict["R1@0.5"] <= expected["R1@0.5"] and "blind-model_R1@0.5" not in strict
    assert (
        rescore([folder, "--ranking", "unnormalised"])["R1@0.5"] == expected["R1@0.5"]
    )  # of one window the same order
    assert "blind model" in capsys.readouterr().err
    file = output_dir / "submission.jsonl"  # in the format of QVHighlights, and back
    rescore([folder, "--write_submission", str(file)])
    submitted = rescore([folder, "--submission", str(file)])
    assert submitted == pytest.approx({name: expected[name] for name in submitted})
    with pytest.raises(SystemExit):
        rescore([folder, folder, "--submission", str(file)])


@pytest.mark.slow
def test_two_processes_give_the_losses_weights_and_answers_of_one(trained, shapes, tmp_path):
    output_dir, result = trained
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    file = ROOT / "train_scripts" / "recipes" / "accelerate" / "two_cpu_processes.yaml"
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", file, "--main_process_port", "0"]
    settings = moment_run(shapes, tmp_path / "two", "data.queries_per_video=1", "eval.batch_size=1")
    subprocess.run([*map(str, [*launcher, SCRIPT]), *settings], env=environment, check=True, timeout=300)
    for ours, theirs in zip(steps_of(tmp_path / "two"), steps_of(output_dir), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    found, expected = (
        json.loads((folder / "predictions" / "test" / "records.json").read_text())
        for folder in (tmp_path / "two", output_dir)
    )
    assert found["metrics"] == pytest.approx(expected["metrics"])
    assert [row["moments"][0]["start_s"] for row in found["rows"]] == [
        row["moments"][0]["start_s"] for row in expected["rows"]
    ]
    weights = [load_file(folder / "checkpoints/last/model.safetensors") for folder in (tmp_path / "two", output_dir)]
    torch.testing.assert_close(*weights, rtol=1e-3, atol=1e-5)


def test_a_single_question_is_evaluated(trained, shapes, tmp_path):
    data, rows = tmp_path / "shapes", (shapes / "test" / "moments.jsonl").read_text().splitlines()
    shutil.copytree(shapes, data)
    (data / "test" / "moments.jsonl").write_text(f"{rows[0]}\n")
    start = [
        f"model.from_pretrained={trained[0] / 'checkpoints' / 'last'}",
        "model.config=null",
        "model.tokenizer=null",
    ]
    more = ("data.dataset=video_folder", "data.train_split=null", "run.total_steps=0")
    metrics = main(MomentTask(), moment_run(data, tmp_path / "run", *start, *more))["results"]["test"]["metrics"]
    assert metrics["num_examples"] == 1 and "blind-model_R1@0.5" in metrics


def test_a_long_video_is_seen_by_windows(trained, shapes, features, tmp_path):
    output_dir, result = trained
    whole, last = result["results"]["test"]["metrics"], output_dir / "checkpoints" / "last"
    start = ["model.config=null", f"model.from_pretrained={last}", "model.tokenizer=null", "run.total_steps=0"]

    def evaluate(name, *more):
        run = main(MomentTask(), moment_run(shapes, tmp_path / name, *start, *more))
        return run["results"]["test"]["metrics"], read_predictions(tmp_path / name / "predictions" / "test")

    assert evaluate("one", "eval.window_seconds=100", "eval.ranking=joint")[0] == pytest.approx(whole)
    metrics, predictions = evaluate("several", "eval.window_seconds=1")
    assert predictions.info["ranking"] == "unnormalised"
    seen = [window for row in predictions.rows for window in row["windows_seen"]]
    assert seen[:5] == [[start, start + 1, 8] for start in (0, 0.5, 1, 1.5, 2)] and len(seen) == 6 * 5
    assert predictions.tensors["start_logits"].shape == (30, 8)
    for row in predictions.rows:
        assert all(0 <= moment["start_s"] < moment["end_s"] <= 3 for moment in row["moments"])
        assert all(moment["end_s"] - moment["start_s"] <= 1 for moment in row["moments"])
    assert metrics["R1@0.5_by_unnormalised"] == metrics["R1@0.5"] and "R1@0.5_by_joint_with_segmentation" in metrics
    assert "R1@0.5_by_joint" not in whole
    # each window is a video of its own: a bit later, the same
    (row,) = (row for row in predictions.rows if row["question_id"] == predictions.rows[0]["question_id"])
    model, processor = load_trained(str(last))
    path = str(shapes / "test" / "videos" / f"{row['video_id']}.mp4")
    inputs = processor(text=[row["caption"]], videos=[path], spans_se=[(0.5, 1.5)])
    with torch.no_grad():
        logits = model.eval()(
            **{name: inputs[name] for name in ("input_ids", "pixel_values", "video_mask")}
        ).start_logits
    np.testing.assert_allclose(predictions.tensors["start_logits"][1], logits[0], atol=1e-5)


def losses_of(output_dir):
    return [row["loss"] for row in steps_of(output_dir)]


def test_features_of_a_frozen_tower_give_the_losses_of_frames(shapes, tmp_path):
    from_frames = main(MomentTask(), moment_run(shapes, tmp_path / "frames"))
    cached = f"data.features={tmp_path / 'features'}"
    extract(moment_run(shapes, tmp_path / "vectors", cached))
    from_vectors = main(MomentTask(), moment_run(shapes, tmp_path / "vectors", cached))
    assert losses_of(tmp_path / "vectors") == pytest.approx(losses_of(tmp_path / "frames"), rel=1e-3)
    found, expected = (run["results"]["test"]["metrics"] for run in (from_vectors, from_frames))
    assert found == pytest.approx(expected, abs=1e-3)
    # the same folder as features of somebody else, whose card says that it is none
    named = (f"data.feature_files={tmp_path / 'features'}", f"run.output_dir={tmp_path / 'named'}")
    main(MomentTask(), moment_run(shapes, tmp_path / "named", *named))
    assert losses_of(tmp_path / "named") == pytest.approx(losses_of(tmp_path / "frames"), rel=1e-3)
    # nothing of a video is seen but its length
    main(MomentTask(), moment_run(shapes, tmp_path / "hidden", cached, "data.hide_videos=true"))
    hidden = read_predictions(tmp_path / "hidden" / "predictions" / "test").tensors["start_logits"]
    assert np.ptp(hidden[[0, 2, 4]], axis=0).max() < np.ptp(hidden[0])  # all last three seconds


@pytest.fixture(scope="module")
def features(shapes, tmp_path_factory):
    """A folder of features of somebody else, as wide as the videos have numbers."""
    folder = tmp_path_factory.mktemp("features")
    for number, path in enumerate(sorted(shapes.glob("*/videos/*.mp4"))):
        np.save(folder / f"{path.stem}.npy", np.random.default_rng(number).normal(size=(10, 5)).astype(np.float32))
    (folder / "features.card.json").write_text(json.dumps({"encoder": "I3D", "dimension": 5}))
    return folder


def test_feature_files_take_the_place_of_videos(shapes, features, tmp_path):
    data = tmp_path / "shapes"
    shutil.copytree(shapes, data)
    for path in data.glob("*/videos/*.mp4"):
        path.unlink()
    (tmp_path / "glove.txt").write_text(
        "".join(f"{word} 0.5 -0.25\n" for word in ("a", "circle", "moves", "cat", "dog"))
    )
    words = ("model.tokenizer=null", "model.config=null", f"model.parts={{glove: {tmp_path / 'glove.txt'}}}")
    words += ("model.overrides={hidden_size: 16, num_attention_heads: 2, dropout: 0.0}",)
    settings = moment_run(data, tmp_path / "run", f"data.feature_files={features}", *words)
    main(MomentTask(), settings)
    config = json.loads((tmp_path / "run" / "checkpoints" / "last" / "config.json").read_text())
    known = json.loads((tmp_path / "run" / "checkpoints" / "last" / "tokenizer.json").read_text())["model"]["vocab"]
    # words of training sentences that have a vector, and the most frequent ones of the file
    assert config["vocab_size"] == len(known) and set(known) == {
        "[PAD]",
        "[UNK]",
        "a",
        "circle",
        "moves",
        "cat",
        "dog",
    }
    assert config["text_encoder"] == "glove_bilstm" and config["word_size"] == 2
    assert config["video_feature_size"] == 5 and config["feature_card"] == {"encoder": "I3D", "dimension": 5}
    rows = read_predictions(tmp_path / "run" / "predictions" / "test").rows
    assert {row["windows_seen"][0][2] for row in rows} == {8}  # pooled to data.max_segments
    # a video without features, and features of another encoder, are named
    other = tmp_path / "other"
    shutil.copytree(features, other)
    (other / "test_00001.npy").unlink()
    start = [
        "model.config=null",
        f"model.from_pretrained={tmp_path / 'run' / 'checkpoints' / 'last'}",
        "run.total_steps=0",
    ]
    evaluated = ["model.tokenizer=null", f"data.feature_files={other}", *start]
    with pytest.raises(ValueError, match=r"1 of 7 videos have no features \(test_00001\).*on_decode_error=skip"):
        main(MomentTask(), moment_run(data, tmp_path / "evaluated", *evaluated))
    skip = ("data.on_decode_error=skip", "data.max_decode_error_rate=0.5")
    found = main(MomentTask(), moment_run(data, tmp_path / "evaluated", *evaluated, *skip))["results"]["test"][
        "metrics"
    ]
    assert found["num_examples"] == 4 and found["num_skipped_questions"] == 2
    (other / "features.card.json").write_text(json.dumps({"encoder": "C3D", "dimension": 5}))
    with pytest.raises(ValueError, match="encoder: I3D -> C3D"):
        main(MomentTask(), moment_run(data, tmp_path / "evaluated", *evaluated, *skip))


def test_words_of_the_training_sentences_have_the_vectors_of_a_file(shapes, features, tmp_path):
    glove = tmp_path / "glove.txt"
    glove.write_text("the 1 2 3\n, 9 9 9\nmoves 4 5 6\nelsewhere 7 8 9\n")
    sizes = "model.overrides={hidden_size: 16, num_attention_heads: 2}"
    parts = ["model.config=null", f"model.parts={{glove: {glove}}}", "model.tokenizer=null", sizes]
    main(MomentTask(), moment_run(shapes, tmp_path / "run", f"data.feature_files={features}", *parts))
    glove.unlink()
    model, processor = load_trained(str(tmp_path / "run" / "checkpoints" / "last"))
    ids = processor(text=["Moves elsewhere, zyzzy"])["input_ids"]
    assert model.get_input_embeddings()(ids)[0, :2].tolist() == [[4, 5, 6], [7, 8, 9]] and ids[0, 2] == 1
    assert model.config.text_encoder == "glove_bilstm" and model.config.video_feature_size == 5


def test_a_video_that_cannot_be_decoded(shapes, tmp_path):
    folder = tmp_path / "shapes"
    shutil.copytree(shapes, folder)
    (folder / "test" / "videos" / "test_00001.mp4").write_bytes(b"nothing")
    settings = ("run.total_steps=1", "run.micro_batch_size=4")
    with pytest.raises(ValueError, match=r"test_00001.mp4.*set data.on_decode_error=skip"):
        main(MomentTask(), moment_run(folder, tmp_path / "run", *settings))
    skip = ("data.on_decode_error=skip", "data.max_decode_error_rate=0.5")
    metrics = main(MomentTask(), moment_run(folder, tmp_path / "other", *settings, *skip))["results"]["test"][
        "metrics"
    ]
    assert metrics["num_skipped_questions"] == 2 and metrics["num_examples"] == 4


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data.other_windows=2", "other_windows: 2 other videos take a run.micro_batch_size of more"),
        ("eval.ranking=joined", "expected one of joint, joint_with_segmentation, unnormalised"),
        ("eval.rank=joint", "Did you mean 'ranking'"),
        ("eval.nms_iou=1.5", "nms_iou"),
        ("data.num_frames=2", "num_frames"),
        ("run.total_steps=0", "a trained model is evaluated"),
        ("data.feature_options={joined: pool}", "feature_options: 'joined' is none. Did you mean 'join'"),
        (["eval.window_seconds=5", "data.features=there"], "data.features holds videos as a whole"),
        ("eval.other_data={datadir: there}", "other_data: 'datadir' is none. Did you mean 'data_dir'"),
        (
            ["eval.other_data={data_dir: there}", "eval.splits={train: final}"],
            "train is trained on and evaluated",
        ),
        ("data.feature_options={join: cut}", "feature_options: there are no feature_files"),
    ],
)
def test_mistakes_in_a_recipe_are_named(setting, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        main(
            MomentTask(), moment_run(tmp_path, tmp_path / "run", *([setting] if isinstance(setting, str) else setting))
        )


# --- items


class Reader:
    """In the place of a processor: a video of so many segments as its name says, of a second each."""

    def __call__(self, videos, **options):
        length = int(videos[0])
        features = torch.arange(length, dtype=torch.float32)[None, :, None] + 1
        mask, durations = torch.ones(1, length, dtype=torch.int64), torch.tensor([float(length)], dtype=torch.float64)
        return {"video_features": features, "video_mask": mask, "durations": durations, "frame_indices": None}


def rows_of(*moments):
    """One row for each (video, caption, start, end), of a video of so many seconds as its name says."""
    names = ("video_id", "video", "caption", "start_s", "end_s")
    rows = [dict(zip(names, (video, video, *rest), strict=True)) for video, *rest in moments]
    return [
        {**row, "duration_s": float(row["video"]), "question_id": f"{row['video_id']} {row['caption']}"}
        for row in rows
    ]


MOMENTS = (
    ("6", "a dog", 1, 3),
    ("4", "a cat", 0, 4),
    ("6", "a cow", 4, 6),
    ("6", "a dog", 5, 6),
    ("8", "a cat", 2, 3),
)


def items_of(queries_per_video):
    return AskedVideos(group_by_video(rows_of(*MOMENTS)), SeenVideos(Reader(), {}, 0), queries_per_video, seed=0)


def test_an_item_is_a_video_with_its_sentences():
    assert [item.captions for item in (items_of(None)[0, n] for n in range(3))] == [
        ["a dog", "a cow"],
        ["a cat"],
        ["a cat"],
    ]
    pairs = items_of(1)
    assert len(pairs) == 4 and pairs.ids == ["6: 6 a dog", "6: 6 a cow", "4: 4 a cat", "8: 8 a cat"]
    assert pairs.lengths == [6, 6, 4, 8]
    # of the two windows one is drawn for each epoch, the same in every call
    first = [pairs[epoch, 0].windows[0] for epoch in range(20)]
    assert {windows[0] for windows in first} == {(1, 3), (5, 6)} and all(len(windows) == 2 for windows in first)
    assert first == [pairs[epoch, 0].windows[0] for epoch in range(20)]


@pytest.fixture(scope="module")
def processor(shapes):
    return MomentRetrievalProcessor(CIMHAVideoProcessor(), load_tokenizer(shapes / "vocab.txt"))


def test_batches_are_padded_and_say_which_video_is_asked(processor):
    items = items_of(None)
    inputs, targets = AskedCollator(processor)([items[0, 1], items[0, 0]])
    assert inputs["video_features"].shape == (2, 6, 1) and inputs["video_mask"].sum(dim=1).tolist() == [4, 6]
    assert inputs["video_features"][0, 4:].sum() == 0 and "durations" not in inputs
    assert inputs["video_indices"].tolist() == [0, 1, 1]
    windows = items[0, 0].windows[0]
    assert targets["start_positions"].tolist() == [0, windows[0][0], 4]
    assert targets["end_positions"].tolist() == [3, windows[0][1] - 1, 5]
    # all windows of a question are inside, whichever is to be found
    assert targets["segment_labels"].tolist() == [[1, 1, 1, 1, 0, 0], [0, 1, 1, 0, 0, 1], [0, 0, 0, 0, 1, 1]]
    assert "segment_labels" not in AskedCollator(processor)([items[0, 1]]).targets


def test_a_sentence_asks_of_other_videos_that_do_not_have_it(processor):
    items = items_of(1)
    dog, cow, cat, other_cat = (items[0, n] for n in range(4))
    inputs, targets = AskedCollator(processor, other_windows=2)([cat, other_cat, dog])
    # "a cat" happens in both of the first videos, so each of them has one other video alone
    assert inputs["video_indices"].tolist() == [0, 1, 2, 2, 2, 0, 1]
    assert targets["window_groups"].tolist() == [0, 1, 2, 0, 1, 2, 2]
    assert targets["start_positions"].tolist()[3:] == [-100] * 4
    assert torch.equal(inputs["input_ids"][5], inputs["input_ids"][2])
    assert targets["segment_labels"].shape == (7, 8) and targets["segment_labels"][3:].sum() == 0


# --- measures


def predictions_of(captions, best, windows, **info):
    """A question for each caption, of a video of four seconds and segments; `best` is the pair of segments said to be it."""
    logits = np.zeros((2, len(captions), 4), dtype=np.float32)
    for number, pair in enumerate(best):
        logits[0, number, pair[0]] = logits[1, number, pair[1]] = 5
    known = {"duration_s": 4.0, "windows_seen": [[0.0, 4.0, 4]], "skipped": ""}
    rows = [
        {"question_id": str(n), "video_id": str(n), "caption": caption, "windows": [span], **known}
        for n, (caption, span) in enumerate(zip(captions, windows, strict=True))
    ]
    info = {
        "top_k": 5,
        "nms_iou": 0.5,
        "ranking": "joint",
        "rescore_with_segmentation": 0.0,
        "strict_iou": False,
        **info,
    }
    info = {"blind": {}, "blind_one_word": {}, "blind_strict_iou": False, **info}
    return Predictions("moment_retrieval", rows, dict(zip(("start_logits", "end_logits"), logits, strict=True)), info)


def test_questions_of_one_word_are_counted_apart():
    blind = {"blind_one_word": {"whole_video": {"R1@0.3": 0.5, "R1@0.5": 0.25, "R1@0.7": 0.0}}}
    found = predictions_of(["a dog", "dog", "cat"], [(0, 1), (1, 1), (2, 3)], [(0, 2), (1, 2), (0, 2)], **blind)
    metrics = measure(found)
    assert metrics["R1@0.5"] == pytest.approx(2 / 3) and metrics["R1@0.5_one_word"] == 0.5
    assert metrics["num_examples_one_word"] == 2 and metrics["blind-whole-video_R1@0.5_one_word"] == 0.25
    assert metrics["R1@0.7+mIoU"] == pytest.approx(4 / 3)
    assert "R1@0.5_one_word" not in measure(predictions_of(["dog"], [(0, 1)], [(0, 2)]))
    found.rows[2]["skipped"] = "broken"
    assert measure(found)["R1@0.5"] == 1 and measure(found)["num_skipped_questions"] == 1
    with pytest.raises(ValueError, match="no third head"):
        measure(predictions_of(["dog"], [(0, 1)], [(0, 2)], ranking="joint_with_segmentation"))


def test_answers_are_no_longer_than_asked():
    predictions = predictions_of(["dog"], [(0, 3)], [(0, 1)], max_seconds=1.0)
    assert all(answer["end_s"] - answer["start_s"] <= 1 for answer in decode(predictions)[0])
    assert measure(predictions)["R1@0.7"] == 1 > measure(predictions_of(["dog"], [(0, 3)], [(0, 1)]))["R1@0.7"]


def test_help_lists_the_keys_of_the_family(capsys):
    with pytest.raises(SystemExit):
        main(MomentTask(), ["--help", "--set", "model.family=ci_mha"])
    shown = capsys.readouterr().out
    assert all(key in shown for key in ("segments_per_second", "num_grad_segments", "queries_per_video", "nms_iou"))
    assert MomentRecipe.default_options == {}
