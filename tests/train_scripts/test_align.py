# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Alignment: windows and their sentences by hand, scores of seconds against the model's own, and what a model is not shown."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from small_files import write_json
from text_ends import clip_tokenizer
from tiny_models import tiny_inputs
from tiny_models import tiny_model as tiny_clipbert
from tiny_mug_stan import IMAGE_SIZE, tiny_clip, tiny_model
from tiny_runs import one_thread  # noqa: F401

from clipbert.modeling_clipbert import ClipBERTForVideoTextRetrieval
from clipbert.processing import MugSTANProcessor, MugSTANVideoProcessor
from clipbert.train_scripts.align import AlignmentTask
from clipbert.train_scripts.engine.recipe import RecipeError
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.rescore import rescore
from clipbert.train_scripts.tasks.alignment.items import count_seconds, score_seconds
from clipbert.train_scripts.tasks.alignment.windows import choose_sentences, place_windows


ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "train_scripts" / "recipes" / "mug_stan" / "align_htm_align.yaml"
SENTENCES = [
    [0, 0.5, 1.5, "a dog runs"],
    [1, 3.25, 4.5, "the cat jumps up"],
    [1, 5.0, 7.75, "then the dog"],
    [0, 6.0, 9.0, "an odd thing"],
    [1, 9.0, 11.5, "it moves left"],
]


# --------------------------------------------------------------------------------------------------------------------
# Windows
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num_seconds", "starts", "last"), [(20, [0], 20), (64, [0, 16], 64), (81, [0, 16, 32, 48], 81), (1, [0], 1)]
)
def test_windows_by_hand(num_seconds, starts, last):
    windows = place_windows(num_seconds, 64, 16)
    assert [window.start for window in windows] == starts
    assert windows[0] == range(min(64, num_seconds)) and windows[-1].stop == last
    assert set().union(*windows) == set(range(num_seconds))


def test_sentences_of_windows_by_hand():
    """Sentences that are seen come along with the neighbours between which they stand, whenever they are seen."""
    said_s = [None, 10.0, None, 300.0, None, 310.0, None, 590.0, None]
    windows = place_windows(600, 64, 16)
    chosen = choose_sentences(said_s, windows, 64, 16)
    assert chosen[:, [2, 6]].all()  # no window takes them: nothing is known, all are compared
    chosen[:, [2, 6]] = False
    of = {window.start: np.flatnonzero(taken).tolist() for window, taken in zip(windows, chosen, strict=True)}
    assert of[0] == [0, 1]  # all before the first that is known
    assert of[64] == [1]  # from second 0 to 192
    assert of[160] == []  # from 96 to 288, where nothing is known to be said
    assert of[192] == [3, 4, 5]  # from 128 to 320
    assert of[480] == [7]
    assert of[560] == [7, 8]
    assert choose_sentences([None, None], windows, 64, 16).all()


# --------------------------------------------------------------------------------------------------------------------
# Scores
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("similarity", ["mug", "mean_pool"])
@torch.inference_mode()
def test_scores_of_seconds_are_means_over_windows(similarity):
    model = tiny_model(similarity=similarity)
    frames = torch.randn(1, 9, 3, IMAGE_SIZE, IMAGE_SIZE)
    texts = model.encode_texts(torch.tensor([[97, 12, 30, 98], [97, 5, 98, 1]]), torch.tensor([[1] * 4, [1, 1, 1, 0]]))
    windows, chosen = place_windows(9, 4, 2), np.array([[1, 1], [1, 0], [1, 1], [0, 1]], dtype=bool)
    assert windows == [range(4), range(2, 6), range(4, 8), range(6, 9)]
    scores = score_seconds(model, {"pixel_values": frames}, texts, windows, chosen, pairs_per_forward=4)
    met = {(text, second): [] for text in (0, 1) for second in range(9)}
    for window, taken in zip(windows, chosen, strict=True):
        features = model.encode_video(frames[:, window.start : window.stop]).frame_features[0]
        for place, second in enumerate(window):
            one = model.similarity(texts, features[None, place : place + 1])  # a video of this frame alone
            for text in np.flatnonzero(taken):
                met[text, second].append(model.config.loss_scale * one[text, 0].item())
    for (text, second), values in met.items():
        expected = np.mean(values) if values else -np.inf
        assert scores[text, second] == pytest.approx(expected, abs=1e-4), (text, second)
    assert scores[0, 8] == -np.inf and scores[1, 8] > -np.inf


@torch.inference_mode()
def test_a_model_of_clips_scores_a_clip_for_each_second():
    """A cross-encoder knows no frames by themselves: seconds are clips, and no window changes what it says of one."""
    model = tiny_clipbert(ClipBERTForVideoTextRetrieval, score_pooling="mean")
    inputs = tiny_inputs(ClipBERTForVideoTextRetrieval, num_videos=1, num_clips=6)
    texts = model.encode_texts(*(inputs[name].repeat(3, 1) for name in ("input_ids", "attention_mask")))
    part, everything = {"pixel_values": inputs["pixel_values"]}, np.ones((3, 3), dtype=bool)
    scores = score_seconds(model, part, texts, place_windows(6, 4, 2)[:2], everything[:2], pairs_per_forward=8)
    whole = score_seconds(model, part, texts, [range(6)], everything[:1], pairs_per_forward=64)
    expected = model.match(texts, model.encode_videos(**part), torch.zeros(3, dtype=torch.long)).clip_odds
    assert np.allclose(scores, expected, atol=1e-4) and np.allclose(whole, expected, atol=1e-4)


# --------------------------------------------------------------------------------------------------------------------
# The door
# --------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, write_video):
    """Two videos of 12 and 5 seconds, and a checkpoint."""
    folder = tmp_path_factory.mktemp("alignment")
    (folder / "videos").mkdir()
    for name, num_frames in (("aaaaaaaaaa-", 60), ("bbbbbbbbbbb", 25)):
        write_video(folder / "videos" / f"{name}.mp4", num_frames=num_frames, fps=5)
    tokenizer = clip_tokenizer(20)
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": 0}
    tiny_model(clip=tiny_clip(text_config={"vocab_size": len(tokenizer), **ends})).save_pretrained(folder / "model")
    processor = MugSTANProcessor(MugSTANVideoProcessor(size=IMAGE_SIZE, num_frames=3), tokenizer)
    processor.save_pretrained(folder / "model")
    return folder


def settings_of(folder, annotations, name, *more):
    (folder / name).mkdir()
    write_json(folder / name / "htm_align.json", annotations)
    values = [
        f"model.from_pretrained={folder / 'model'}",
        f"data.data_dir={folder / name}",
        f"data.options={{video_dir: {folder / 'videos'}}}",
        "data.max_text_length=20",
        "data.num_workers=0",
        "eval.window_s=4",
        "eval.step_s=2",
        "run.mixed_precision=no",
        f"run.output_dir={folder / name / 'run'}",
        *more,
    ]
    return ["--recipe", str(RECIPE), *(part for value in values for part in ("--set", value))]


def run(folder, annotations, name, *more):
    result = main(AlignmentTask(), settings_of(folder, annotations, name, *more))
    predictions = folder / name / "run" / "predictions" / "test"
    return result["results"]["test"]["metrics"], load_file(predictions / "tensors.safetensors"), predictions


def test_true_times_reach_no_score(workspace):
    """Permuted among the sentences that are seen, they change the measure, and not one score."""
    annotations = {"aaaaaaaaaa-": SENTENCES, "bbbbbbbbbbb": [[1, 0, 2, "a cat"], [0, 1, 2, "hello"]]}
    metrics, scores, predictions = run(workspace, annotations, "true")
    assert metrics["num_examples"] == 4 and metrics["num_sentences"] == 7 and metrics["num_videos"] == 2
    assert {"R@1", "global_R@1", "roc_auc", "global_roc_auc", "chance_R@1"} <= metrics.keys()
    assert scores["windowed"].shape == scores["global"].shape == (5 * 12 + 2 * 5,)
    assert np.isfinite(scores["global"]).all() and not np.array_equal(scores["windowed"], scores["global"])
    assert rescore(predictions) == metrics
    first, second, third = (SENTENCES[number] for number in (1, 2, 4))
    turned = [
        SENTENCES[0],
        [1, *third[1:3], first[3]],
        [1, *first[1:3], second[3]],
        SENTENCES[3],
        [1, *second[1:3], third[3]],
    ]
    _, others, folder = run(workspace, {**annotations, "aaaaaaaaaa-": turned}, "turned")
    assert all(np.array_equal(scores[name], others[name]) for name in scores)
    rows = [json.loads((place / "records.json").read_text())["rows"] for place in (predictions, folder)]
    assert [row["start_s"] for row in rows[0]] != [row["start_s"] for row in rows[1]]
    # when the others are said is known, and may matter
    moved = [[0, 9.0, 10.0, SENTENCES[0][3]], *SENTENCES[1:]]
    _, others, _ = run(workspace, {**annotations, "aaaaaaaaaa-": moved}, "moved")
    assert not np.array_equal(scores["windowed"], others["windowed"])
    assert np.array_equal(scores["global"], others["global"])


def test_videos_that_cannot_be_decoded_take_no_part(workspace):
    (workspace / "videos" / "ccccccccccc.mp4").write_bytes(b"no video")
    annotations = {"ccccccccccc": [[1, 0, 2, "a cat"]], "aaaaaaaaaa-": SENTENCES}
    metrics, scores, _ = run(
        workspace, annotations, "skipped", "data.on_decode_error=skip", "data.max_decode_error_rate=1"
    )
    assert metrics["num_skipped_videos"] == 1 and metrics["num_examples"] == 3 and len(scores["global"]) == 60
    (workspace / "videos" / "ccccccccccc.mp4").unlink()


@pytest.mark.slow
def test_two_processes_find_what_one_finds(workspace):
    """Three videos, so that one process has one more than the other."""
    annotations = {
        "aaaaaaaaaa-": SENTENCES,
        "bbbbbbbbbbb": [[1, 0, 2, "a cat"], [0, 1, 2, "hello"]],
        "ddddddddddd": SENTENCES,
    }
    shutil.copyfile(workspace / "videos" / "aaaaaaaaaa-.mp4", workspace / "videos" / "ddddddddddd.mp4")
    metrics, scores, _ = run(workspace, annotations, "one")
    command = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "0"]
    script = [str(ROOT / "train_scripts" / "align.py"), *settings_of(workspace, annotations, "two")]
    variables = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    process = subprocess.run(
        [sys.executable, *command, *script], env=os.environ | variables, capture_output=True, text=True, timeout=500
    )
    assert process.returncode == 0, process.stdout + process.stderr
    results = json.loads((workspace / "two" / "run" / "results.json").read_text())
    assert results["splits"]["test"]["metrics"] == pytest.approx(metrics)
    others = load_file(workspace / "two" / "run" / "predictions" / "test" / "tensors.safetensors")
    assert all(np.allclose(scores[name], others[name], atol=1e-4) for name in scores)


def test_what_cannot_be_run_is_refused(workspace):
    for setting, message in (
        ("run.total_steps=2", "alignment is measured, not trained"),
        ("eval.step_s=5", "windows of 4 s that move by 5 leave seconds out"),
    ):
        with pytest.raises(RecipeError, match=message):
            run(workspace, {"aaaaaaaaaa-": SENTENCES}, setting, setting)


def test_several_views_of_a_second_are_refused(workspace):
    with pytest.raises(ValueError, match=r"one picture or clip for each of 12 seconds, got .*\(1, 3, 12, 3, 24, 24\)"):
        run(workspace, {"aaaaaaaaaa-": SENTENCES}, "views", "eval.num_crops=3")


def test_seconds_of_a_video(write_video, tmp_path):
    for num_frames, seconds in ((60, 12), (63, 12), (64, 13), (2, 1)):
        assert count_seconds(write_video(tmp_path / f"{num_frames}.mp4", num_frames=num_frames, fps=5)) == seconds
