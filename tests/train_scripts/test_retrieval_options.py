# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Retrieval: hard negatives from written predictions, several draws of clips, times of the scored frames, chunks."""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from fakehub import FakeHub
from huggingface_hub import ModelCard
from safetensors.numpy import load_file, save_file
from test_train_retrieval import NoVideos, one_thread, rows_of, run, settings_of, shapes, steps_of  # noqa: F401

from clipbert.train_scripts.engine.recipe import RecipeError
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.rescore import rescore
from clipbert.train_scripts.retrieval import RetrievalRecipe, RetrievalTask
from clipbert.train_scripts.tasks.retrieval.items import CaptionedVideos, PairSection


CAPTIONS = {"a": ["a1", "a2"], "b": ["b1", "shared"], "c": ["c1", "Shared "], "d": ["d1"]}


def write_scores(folder, log_odds, captions, video_ids):
    folder.mkdir()
    save_file({"log_odds": np.array(log_odds, dtype=np.float32)}, folder / "tensors.safetensors")
    rows = [{"caption": caption} for caption in captions]
    records = {"task": "retrieval", "step": 1, "metrics": {}, "video_ids": video_ids, "rows": rows}
    (folder / "records.json").write_text(json.dumps(records))
    return str(folder)


def hard_texts(folder, pool, captions=CAPTIONS):
    settings = PairSection(negatives="hard", hard_negatives=folder, hard_pool=pool)
    pairs = CaptionedVideos(rows_of(captions), NoVideos(None), {}, settings, seed=3)
    return pairs, {video_id: pairs.read_captions(rows) for video_id, rows in pairs.hard_rows.items()}


def test_hard_negatives_are_the_wrong_captions_with_the_highest_scores(tmp_path):
    texts = [text for captions in CAPTIONS.values() for text in captions]  # a1 a2 b1 shared c1 Shared d1
    odds = np.zeros((7, 4))
    odds[:, 0] = [9, 8, 3, 7, 2, 7, 5]  # of video a
    odds[:, 1] = [1, 2, 9, 9, 3, 9, 4]  # of video b: both spellings of "shared" are its own
    odds[:, 3] = [1, np.nan, 2, 3, np.nan, 3, 9]
    folder = write_scores(tmp_path / "scores", odds, texts, list(CAPTIONS))
    pairs, hard = hard_texts(folder, pool=3)
    assert hard["a"] == ["shared", "d1", "b1"]  # not its own a1 and a2; "shared" once
    assert hard["b"] == ["d1", "c1", "a2"]
    assert hard["d"] == ["shared", "b1", "a1"]
    drawn = [pairs[epoch, 0] for epoch in range(60)]
    assert {text for item in drawn for text in item.negatives} == {"shared", "d1", "b1"}
    assert pairs[7, 0].negatives == pairs[7, 0].negatives  # depends on seed, epoch and item alone
    assert hard_texts(folder, pool=99)[1]["b"] == ["d1", "c1", "a2", "a1"]


def test_hard_negatives_need_scores_of_the_training_split(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"data\.hard_negatives: .*nowhere holds no predictions"):
        hard_texts(str(tmp_path / "nowhere"), pool=3)
    folder = write_scores(tmp_path / "part", np.zeros((3, 1)), ["a1", "a2", "b1"], ["a"])
    with pytest.raises(ValueError, match="has no scores of 3 of the 4 training videos, such as 'b'"):
        hard_texts(folder, pool=3)
    folder = write_scores(tmp_path / "others", np.zeros((1, 4)), ["of another split"], list(CAPTIONS))
    with pytest.raises(ValueError, match="has no wrong caption for the video 'a'"):
        hard_texts(folder, pool=3)
    for settings in (["data.negatives=hard"], [f"data.hard_negatives={folder}"]):
        with pytest.raises(RecipeError, match=r"data\.hard_negatives: needed with `negatives: hard`"):
            RetrievalRecipe.load(None, [*settings_of("x", "y")[1::2], *settings])


def test_a_model_mines_the_negatives_of_the_next_run(shapes, tmp_path):  # noqa: F811
    run(shapes, tmp_path / "first", "eval.splits={train: monitor}")
    mined = tmp_path / "first/predictions/train"
    more = ["data.negatives=hard", f"data.hard_negatives={mined}", "data.hard_pool=2", "run.save_every=1"]
    run(shapes, tmp_path / "second", *more, "data.num_negatives=2")
    assert len(steps_of(tmp_path / "second")) == 2


def test_several_draws_are_averaged(shapes, tmp_path):  # noqa: F811
    more = ["run.total_steps=0", "eval.sampling=random", "data.num_clips=1", "data.num_frames=1"]
    run(shapes, tmp_path / "start", "run.total_steps=1", "eval.splits={}")
    start = ["model.config=null", "model.tokenizer=null", f"model.from_pretrained={tmp_path}/start/checkpoints/last"]
    alone = [
        run(shapes, tmp_path / f"draw{draw}", *more, *start, f"run.seed={42 + draw}")["results"]["test"]["metrics"]
        for draw in range(3)
    ]
    together = run(shapes, tmp_path / "draws", *more, *start, "eval.num_draws=3")["results"]["test"]["metrics"]
    for name, value in alone[0].items():
        values = [metrics[name] for metrics in alone]
        assert together[name] == pytest.approx(statistics.mean(values))
        if name.startswith("num_"):
            assert f"{name}_std" not in together and together[name] == value
        else:
            assert together[f"{name}_std"] == pytest.approx(statistics.pstdev(values))
    names = ("draws", "draw0", "draw1")
    written = [load_file(tmp_path / name / "predictions/test/tensors.safetensors") for name in names]
    assert rescore(tmp_path / "draws/predictions/test") == {**alone[0], "draw": 1, "num_draws": 3}
    assert "draw" not in rescore(tmp_path / "draw0/predictions/test")
    for tensor in ("frame_seconds", "log_odds"):  # the written ones are those of the first draw; the next one differs
        np.testing.assert_array_equal(written[0][tensor], written[1][tensor])
        assert not np.array_equal(written[0][tensor], written[2][tensor])
    with pytest.raises(RecipeError, match=r"eval\.num_draws: 2 draws of the same clips say nothing"):
        run(shapes, tmp_path / "uniform", "eval.num_draws=2")


def test_predictions_tell_when_each_scored_frame_is_shown(shapes, tmp_path):  # noqa: F811
    run(shapes, tmp_path, "eval.num_clips=3", "data.num_frames=2")
    written = load_file(tmp_path / "predictions/test/tensors.safetensors")
    seconds = written["frame_seconds"]
    assert seconds.shape == (5, 3, 2) == (*written["clip_logits"].shape[1:3], 2)
    assert (seconds >= 0).all() and (np.diff(seconds.reshape(5, -1)) >= 0).all() and seconds.max() > 0


def test_scripts_rescore_written_predictions(shapes, tmp_path, capsys):  # noqa: F811
    result = run(shapes, tmp_path, "run.total_steps=1", "data.num_clips=3")["results"]["test"]["metrics"]
    capsys.readouterr()
    folder = str(tmp_path / "predictions" / "test")
    assert main(RetrievalTask(), ["--rescore", folder]) == result == json.loads(capsys.readouterr().out)
    pooled = main(RetrievalTask(), ["--rescore", folder, "--set", "eval.score_pooling=max"])
    assert pooled == rescore(folder, "max") and pooled.keys() == result.keys()
    with pytest.raises(FileNotFoundError, match="holds no predictions"):
        main(RetrievalTask(), ["--rescore", str(tmp_path)])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ["--set", "eval.score_poling=max"],
            "only --set eval.score_pooling=mean.max.lse .*got --set eval.score_poling=max",
        ),
        (["--set", "eval.score_pooling=maximum"], "got eval.score_pooling=maximum"),
        (["--set", "eval.score_pooling=max", "--set", "run.seed=1"], "got --set run.seed=1"),
        (["--recipe", "recipe.yaml"], "got --recipe recipe.yaml"),
        (["--push_to_hub", "user/name"], "got --push_to_hub user/name"),
    ],
)
def test_rescoring_refuses_what_it_would_ignore(tmp_path, more, message):
    with pytest.raises(ValueError, match=message):
        main(RetrievalTask(), ["--rescore", str(tmp_path), *more])


def test_clips_in_chunks_give_the_losses_of_all_at_once(shapes, tmp_path):  # noqa: F811
    model = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    for name, size in (("whole", "null"), ("chunked", 2)):
        more = ["data.num_clips=3", f"model.clips_per_chunk={size}", f"model.overrides={json.dumps(model)}"]
        run(shapes, tmp_path / name, *more, "eval.splits={test: final}")
    for ours, theirs in zip(steps_of(tmp_path / "whole"), steps_of(tmp_path / "chunked"), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    tables = [load_file(Path(tmp_path, name, "predictions/test/tensors.safetensors")) for name in ("whole", "chunked")]
    torch.testing.assert_close(*(torch.tensor(table["log_odds"]) for table in tables), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.hub
def test_a_finished_run_is_uploaded_with_code_card_and_scores(shapes, tmp_path):  # noqa: F811
    with FakeHub() as hub:
        done = subprocess.run(
            [sys.executable, "train_scripts/retrieval.py", "--push_to_hub", "user/shapes"]
            + [*settings_of(shapes, tmp_path / "run", "run.total_steps=1", "data.num_clips=2")],
            cwd=Path(__file__).parents[2],
            env={**os.environ, **hub.environment(tmp_path / "home"), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert f"Published as {hub.url}/user/shapes/commit/" in done.stderr
        files = hub.files("user/shapes")
        first = hub.requests.index(("POST", "/api/repos/create"))
    assert first == 0  # before anything was trained
    checkpoint = tmp_path / "run/checkpoints/last"
    assert files["model.safetensors"] == (checkpoint / "model.safetensors").read_bytes()
    assert {"modeling_clipbert.py", "processing_video_text.py", "config.json", "tokenizer.json"} <= files.keys()
    assert not [name for name in files if "trainer" in name]
    card = ModelCard(files["README.md"].decode())
    scores = json.loads((tmp_path / "run/results.json").read_text())["splits"]["test"]["metrics"]
    written = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert written["text_to_video_R@1"] == pytest.approx(scores["text_to_video_R@1"])
    assert str(tmp_path) not in card.content and "num_clips: 2" in card.content


def test_a_name_that_the_hub_refuses_ends_the_run_before_it_starts(shapes, tmp_path):  # noqa: F811
    with pytest.raises(ValueError, match=r"run\.push_to_hub='a/b/c': the Hub does not let this user write there"):
        run(shapes, tmp_path / "run", "run.push_to_hub=a/b/c")
    assert not (tmp_path / "run").exists()
