# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""`train_scripts/clips_needed.py`: one pass over the videos gives what an evaluation with each number of clips gives."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from mug_stan_runs import clip_fixture, mug_stan_run  # noqa: F401
from safetensors.torch import load_file
from tiny_runs import one_thread, start_from, tiny_run  # noqa: F401

from clipbert.datasets_scripts.synthetic import generate_synthetic
from clipbert.processing import video_processing
from clipbert.train_scripts import clips_needed
from clipbert.train_scripts.engine.recipe import RecipeError
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.retrieval import RetrievalTask
from clipbert.train_scripts.tasks.clip_plans import SingleViews, select_plan
from clipbert.train_scripts.video_qa import VideoQATask


pytestmark = pytest.mark.slow
COUNTS = (1, 2, 4)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """Videos with captions, and questions about them with and without options."""
    return generate_synthetic(
        tmp_path_factory.mktemp("shapes"), progress=False, num_train=8, num_validation=2, num_test=6
    )


@pytest.fixture(scope="module")
def models(shapes, clip, tmp_path_factory):
    """Runs of two steps: what they were told, by the name of a task."""
    root = tmp_path_factory.mktemp("runs")
    runs = {
        "retrieval": (RetrievalTask, tiny_run("synthetic", "retrieval", shapes, root / "retrieval")),
        "open": (VideoQATask, tiny_run("synthetic", "open_qa", shapes, root / "open")),
        "choice": (VideoQATask, tiny_run("synthetic", "action", shapes, root / "choice")),
        "count": (VideoQATask, tiny_run("synthetic", "count", shapes, root / "count", "model.answer=count")),
        "mug_stan": (RetrievalTask, mug_stan_run(clip, shapes, root / "mug_stan", "run.total_steps=1")),
    }
    for task, arguments in runs.values():
        main(task(), arguments)
    found = {
        name: (root / name, root / name / "checkpoints/last/recipe.yaml", task) for name, (task, _) in runs.items()
    }
    more = [*start_from(root / "retrieval/checkpoints/last"), "model.answer=retrieval", "data.num_options=3"]
    captions = tiny_run("synthetic", "retrieval", shapes, root / "captions", *more, "run.total_steps=0")
    VideoQATask.recipe_class.load(None, captions[1::2]).save(root / "captions.yaml")
    return {**found, "captions": (root / "retrieval", root / "captions.yaml", VideoQATask)}


@pytest.fixture
def counted(monkeypatch):
    """How often each video is decoded, and each view encoded."""
    found, decode, encode = Counter(), video_processing.decode_video, SingleViews.encode_views

    def decode_video(video, *args, **kwargs):
        found[Path(video).name] += 1
        return decode(video, *args, **kwargs)

    def encode_views(self, pixel_values, clip_mask):
        found["views"] += len(pixel_values)
        return encode(self, pixel_values, clip_mask)

    monkeypatch.setattr(video_processing, "decode_video", decode_video)
    monkeypatch.setattr(SingleViews, "encode_views", encode_views)
    return found


def run_pass(model, *settings, counts=COUNTS):
    folder, path, _ = model
    task, recipe = clips_needed.load_recipe(clips_needed.find_checkpoint(folder), str(path), settings, None)
    return clips_needed.run_pass(task, recipe, counts)


def evaluate(model, output_dir, *settings):
    """An evaluation by the script of the task: metrics and tensors."""
    folder, path, task = model
    values = [f"model.from_pretrained={clips_needed.find_checkpoint(folder)}", f"run.output_dir={output_dir}"]
    values += [f"model.{name}=null" for name in ("config", "parts", "tokenizer")]
    values += ["model.overrides={}", "run.total_steps=0", *settings]
    result = main(task(), ["--recipe", str(path), *(part for value in values for part in ("--set", value))])
    return result["results"]["test"]["metrics"], load_file(Path(output_dir) / "predictions/test/tensors.safetensors")


def assert_equal_metrics(ours, theirs):
    assert {name for name in theirs if not name.startswith("orderless")} == ours.keys()
    for name, value in ours.items():
        assert value == pytest.approx(theirs[name], abs=1e-5), name


CASES = {
    "equal parts": ("retrieval", []),
    "clips of one length": ("retrieval", ["eval.num_frames=2", "data.fps=8", "eval.score_pooling=lse"]),
    "short videos": (
        "retrieval",
        ["data.fps=0.5", "data.num_frames=4", "data.short_video=mask", "eval.video_block=4"],
    ),
    "official places": ("open", ["data.fps=8", "data.placement=official"]),
    "open questions": ("open", ["eval.video_block=4"]),
    "multiple choice": ("choice", []),
    "captions as options": ("captions", []),
    "counts": ("count", ["eval.score_pooling=max"]),
    "Mug-STAN": ("mug_stan", []),
    "crops of Mug-STAN": ("mug_stan", ["eval.num_crops=3", "data.fps=8"]),
}


@pytest.mark.parametrize("case", CASES)
def test_each_number_of_clips_scores_as_in_an_evaluation_of_its_own(models, counted, tmp_path, case):
    name, settings = CASES[case]
    found, own = run_pass(models[name], *settings)
    videos = found.predictions.info["video_ids"]
    assert sorted(counted.values())[:-1] == [1] * len(videos)  # each is opened once
    distinct = {(video, view) for video, plans in enumerate(found.places) for view in set(plans[plans >= 0].tolist())}
    assert counted["views"] == len(distinct)  # and each view is encoded once
    if case == "short videos":
        assert (found.places_of(4) < 0).any()
    if case == "official places":
        assert len(distinct) == 4 * len(videos)  # those of fewer clips are among them
    curve = clips_needed.measure_counts(found, own or "mean", None, 3, 0)
    for count, row in zip(COUNTS, curve["rows"], strict=True):
        metrics, tensors = evaluate(models[name], tmp_path / str(count), *settings, f"eval.num_clips={count}")
        assert_equal_metrics(row["metrics"], metrics)
        plan = select_plan(found.predictions, found.places_of(count), curve["pooling"])
        ours = torch.from_numpy(plan.tensors["clip_logits"])
        if "clip_logits" in tensors:
            torch.testing.assert_close(ours, tensors["clip_logits"], rtol=0, atol=1e-5, equal_nan=True)
        else:  # a model that compares pools by itself
            torch.testing.assert_close(ours[..., 0].mean(dim=-1), tensors["log_odds"], rtol=1e-5, atol=1e-5)


def test_draws_are_those_of_the_evaluation(models, tmp_path):
    settings = ["eval.sampling=random", "eval.num_draws=2", "data.fps=8"]
    found, _ = run_pass(models["retrieval"], *settings, counts=(2,))
    (row,) = clips_needed.measure_counts(found, "mean", "text_to_video_mean_rank", 3, 0)["rows"]
    metrics, _ = evaluate(models["retrieval"], tmp_path / "out", *settings, "eval.num_clips=2")
    assert_equal_metrics(row["metrics"], metrics)
    assert row["draws"]["count"] == 2
    assert row["draws"]["std"] == pytest.approx(metrics["text_to_video_mean_rank_std"])


def test_videos_that_cannot_be_decoded_are_left_out_of_every_row(models, shapes, tmp_path):
    data = shutil.copytree(shapes, tmp_path / "data")
    broken = sorted((data / "test").rglob("*.mp4"))[1]
    broken.write_bytes(b"no video")
    settings = [f"data.data_dir={data}", "data.options.on_broken=unchecked", "data.on_decode_error=skip"]
    settings += ["data.max_decode_error_rate=0.5", "eval.video_block=4"]
    found, _ = run_pass(models["retrieval"], *settings)
    assert (found.places[1] < 0).all() and np.isfinite(found.read_s)
    curve = clips_needed.measure_counts(found, "mean", None, 2, 0)
    assert curve["num_videos"] == 5
    for row in curve["rows"]:
        metrics, _ = evaluate(
            models["retrieval"], tmp_path / "out", *settings, f"eval.num_clips={row['num_clips']}", "run.resume=never"
        )
        assert_equal_metrics(row["metrics"], metrics)
        assert metrics["num_skipped_videos"] == 1


@pytest.mark.parametrize("name", ["retrieval", "mug_stan"])
def test_real_clips_with_captions(models, data_dir, tmp_path, counted, name):
    annotations = data_dir / "annotations" / "tiny_clips"
    files = {clip: facts["file"] for clip, facts in json.loads((annotations / "clips.json").read_text()).items()}
    rows = [json.loads(line) for line in (annotations / "captions.jsonl").read_text().splitlines()]
    rows = [{"video": files[row["clip_name"]], "caption": row["caption"], "split": "test"} for row in rows]
    write_lines(tmp_path / "captions.jsonl", rows[:24])
    settings = ["data.dataset=video_folder", "data.config=retrieval", f"data.data_dir={tmp_path}"]
    settings += ["data.train_split=null", f"data.options={{video_dir: {data_dir}}}", "data.fps=2"]
    found, _ = run_pass(models[name], *settings, counts=(1, 16))
    assert set(counted.values()) - {counted["views"]} == {1}
    row = clips_needed.measure_counts(found, "mean", None, 0, 0)["rows"][-1]
    metrics, _ = evaluate(models[name], tmp_path / "out", *settings, "eval.num_clips=16")
    assert_equal_metrics(row["metrics"], metrics)


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


# ---------------------------------------------------------------------------------------------------------------------
# The command
# ---------------------------------------------------------------------------------------------------------------------


def test_the_command_prints_a_table_and_writes_numbers_and_a_picture(models, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason='pictures need matplotlib: pip install "clipbert[plots]"')
    folder, path, _ = models["retrieval"]
    given = ["--checkpoint", str(folder), "--recipe", str(path), "--counts", "1", "3", "--output_dir", str(tmp_path)]
    result = clips_needed.main([*given, "--set", "data.fps=8", "--metric", "text_to_video_R@5"])
    said = capsys.readouterr().out
    assert said.count("clips  text to video R@5") == 3 and "pooled by lse" in said and "videos" in said
    assert json.loads((tmp_path / "clips_needed.json").read_text())["curves"] == json.loads(
        json.dumps(result["curves"])
    )
    assert (tmp_path / "clips_needed.txt").read_text() in said
    assert (tmp_path / "clips_needed.png").stat().st_size > 5000
    rows = result["curves"][0]["rows"]
    assert [row["num_clips"] for row in rows] == [1, 3] and [row["cost"]["views"] for row in rows] == [1, 3]
    assert rows[1]["cost"]["video_operations"] == pytest.approx(3 * rows[0]["cost"]["video_operations"])
    assert rows[1]["cost"]["frames"] > rows[0]["cost"]["frames"]


def test_two_processes_find_the_same(models, tmp_path):
    folder, path, _ = models["retrieval"]
    arguments = [
        "--checkpoint",
        str(folder),
        "--recipe",
        str(path),
        "--max_clips",
        "2",
        "--draws",
        "2",
        "--output_dir",
    ]
    one = clips_needed.main([*arguments, str(tmp_path / "one")])
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", clips_needed.__file__]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true"}
    subprocess.run([*launch, *arguments, tmp_path / "two"], check=True, env=environment, capture_output=True)
    two = json.loads((tmp_path / "two" / "clips_needed.json").read_text())
    for ours, theirs in zip(one["curves"], two["curves"], strict=True):
        for row, other in zip(ours["rows"], theirs["rows"], strict=True):
            assert_equal_metrics(row["metrics"], other["metrics"])
            assert row["cost"]["frames"] == other["cost"]["frames"]
            assert row["interval"] == pytest.approx(other["interval"])


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("retrieval", ["eval.sampling=middle", "data.fps=8"], "sampling=middle names one clip"),
        ("retrieval", ["eval.splits={}", "eval.metric=null"], "names no split"),
        ("retrieval", ["data.num_clip=2"], "num_clips"),
    ],
)
def test_what_cannot_be_measured_is_said_before_the_pass(models, name, settings, message):
    with pytest.raises(RecipeError, match=message):
        run_pass(models[name], *settings)
