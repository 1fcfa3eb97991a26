# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Mug-STAN through the doors: from a CLIP on disk, by contrast with the whole batch, resumed, scored, read again."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from mug_stan_runs import clip_fixture, mug_stan_run, shapes_fixture  # noqa: F401
from safetensors.torch import load_file
from stub_task import TWO_PROCESSES
from tiny_mug_stan import IMAGE_SIZE
from tiny_runs import steps_of
from torch.nn import functional
from transformers import AutoModelForSequenceClassification, AutoProcessor, CLIPModel

from clipbert import MugSTANProcessor
from clipbert.datasets_scripts import load_benchmark
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.rescore import main as rescore
from clipbert.train_scripts.retrieval import RetrievalTask


ROOT = Path(__file__).parents[2]


def test_retrieval_from_a_clip(clip, shapes, tmp_path):
    result = main(RetrievalTask(), mug_stan_run(clip, shapes, tmp_path / "run"))
    steps = steps_of(tmp_path / "run")
    assert len(steps) == 4 and all(step["grad_norm"] > 0 for step in steps)
    folder, metrics = str(tmp_path / "run" / "predictions" / "test"), result["results"]["test"]["metrics"]
    assert rescore([folder]) == metrics
    rescaled = rescore([folder, "--rescaling", "dual_softmax", "--dual_softmax_scale", "20"])
    assert {name: rescaled[name] for name in metrics} == metrics and "dual_softmax_video_to_text_R@10" in rescaled
    with pytest.raises(ValueError, match="rescaling=query_bank: these predictions have no bank"):
        rescore([folder, "--rescaling", "query_bank"])
    checkpoint = tmp_path / "run" / "checkpoints" / "last"
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint)
    processor = AutoProcessor.from_pretrained(checkpoint)
    video = next(iter(sorted(shapes.rglob("*.mp4"))))
    outputs = model(**processor(text=[["a dog moves right", "left"]], videos=[video], return_metadata=True))
    assert outputs.logits_per_text.shape == (2, 1) and processor.video_processor.num_frames == 3
    assert processor.video_processor.size["height"] == IMAGE_SIZE


def test_micro_batches_change_nothing(clip, shapes, tmp_path):
    """Without stochastic depth, whose draws differ."""
    still = ["model.overrides={stan_num_layers: 2, drop_path_rate: 0.0, loss_scale: 20.0}"]
    for size in (8, 2, 1):
        more = [*still, f"run.micro_batch_size={size}"]
        main(RetrievalTask(), mug_stan_run(clip, shapes, tmp_path / str(size), *more))
    for size in (2, 1):
        for a, b in zip(steps_of(tmp_path / "8"), steps_of(tmp_path / str(size)), strict=True):
            assert a == pytest.approx(b, rel=1e-3)


def test_frozen_towers_stay(clip, shapes, tmp_path):
    main(RetrievalTask(), mug_stan_run(clip, shapes, tmp_path / "run", "model.freeze=[text, vision]"))
    trained = load_file(tmp_path / "run" / "checkpoints" / "last" / "model.safetensors")
    before = load_file(clip / "model.safetensors")
    moved = {name for name, value in before.items() if not trained[f"mug_stan.clip.{name}"].equal(value)}
    assert not {name for name in moved if name.startswith(("text_model.", "vision_model.", "text_projection."))}
    with pytest.raises(ValueError, match=r"freeze: expected some of text, vision, got \['txt'\]"):
        main(RetrievalTask(), mug_stan_run(clip, shapes, tmp_path / "wrong", "model.freeze=[txt]"))


def test_a_start_that_is_no_clip(clip, shapes, tmp_path):
    for part, message in (("vision", "cannot start from a part 'vision'"), ("clip", "no such folder")):
        more = f"model.parts={{{part}: {tmp_path / 'nothing'}}}"
        with pytest.raises(ValueError, match=message):
            main(RetrievalTask(), mug_stan_run(clip, shapes, tmp_path / "run", more))


def test_a_clip_without_branch_is_evaluated_untrained(clip, shapes, tmp_path):
    """It has all of its weights; with a branch, or weights of words, there is no score of it."""
    plain = ["run.total_steps=0", "model.overrides={stan_num_layers: 0, similarity: mean_pool, loss_scale: 20.0}"]
    found = main(RetrievalTask(), mug_stan_run(clip, shapes, tmp_path / "run", *plain))
    kept = load_file(tmp_path / "run" / "predictions" / "test" / "tensors.safetensors")["log_odds"]
    model, processor = CLIPModel.from_pretrained(clip), MugSTANProcessor.from_clip_pretrained(clip, num_frames=3)
    rows = load_benchmark("synthetic", "retrieval", split="test", data_dir=shapes)
    inputs = processor(videos=rows["video"][:], text=rows["caption"][:])
    with torch.no_grad():
        texts = model.eval().get_text_features(inputs["input_ids"], inputs["attention_mask"]).pooler_output
        frames = model.get_image_features(inputs["pixel_values"].flatten(0, 1)).pooler_output.unflatten(0, (-1, 3))
    cosines = functional.normalize(texts, dim=-1) @ functional.normalize(frames.mean(dim=1), dim=-1).T
    torch.testing.assert_close(kept, 20 * cosines, rtol=0, atol=1e-4)
    assert found["step"] == 0 and found["results"]["test"]["metrics"]["num_examples"] == 8
    for overrides in ("{stan_num_layers: 1}", "{stan_num_layers: 0, similarity: wti}"):
        with pytest.raises(ValueError, match="weights that are new: .*Without training"):
            main(RetrievalTask(), mug_stan_run(clip, shapes, tmp_path / "new", *plain, f"model.overrides={overrides}"))


def test_the_quickstart_recipe(tmp_path, monkeypatch):
    """On fewer videos and steps: it generates them, trains from random weights and ranks a gallery of 36 captions."""
    monkeypatch.chdir(tmp_path)
    recipe = ROOT / "train_scripts" / "recipes" / "quickstart" / "mug_stan_retrieval.yaml"
    fewer = [
        "data.options.generate={preset: motion, num_train: 36, num_validation: 36, num_test: 36, size: 48}",
        "data.num_workers=0",
        "run.total_steps=2",
        "run.eval_every=1",
    ]
    result = main(RetrievalTask(), ["--recipe", str(recipe), *(part for value in fewer for part in ("--set", value))])
    metrics = result["results"]["test"]["metrics"]
    assert metrics["num_examples"] == 36 and metrics["chance_R@1"] == pytest.approx(1 / 36)


@pytest.mark.slow
def test_mug_begins_after_a_share_of_the_steps(clip, shapes, tmp_path):
    """The first half of the losses are those of the mean of the frames, and a killed run goes on where it was."""
    for name, more in (
        ("mean", ["model.overrides={stan_num_layers: 2, loss_scale: 20.0, similarity: mean_pool}"]),
        ("mug", []),
        ("both", ["model.similarity_start=0.5"]),
    ):
        main(RetrievalTask(), mug_stan_run(clip, shapes, tmp_path / name, "run.total_steps=4", *more))
    mean, mug, both = (steps_of(tmp_path / name) for name in ("mean", "mug", "both"))
    assert both[:2] == mean[:2] != mug[:2] and both[2]["loss"] != mean[2]["loss"]
    config = json.loads((tmp_path / "both/checkpoints/step_00000001/config.json").read_text())
    assert config["similarity"] == "mug"  # by which it is evaluated, from the first step on
    (tmp_path / "again").mkdir()
    first = ["run.resume=" + str(tmp_path / "both/checkpoints/step_00000002"), "model.similarity_start=0.5"]
    main(RetrievalTask(), mug_stan_run(clip, shapes, tmp_path / "again", *first))
    assert steps_of(tmp_path / "again") == both[2:]
    with pytest.raises(ValueError, match=r"similarity_start: 0\.25 != 0\.5|similarity_start"):
        main(RetrievalTask(), mug_stan_run(clip, shapes, tmp_path / "again", "model.similarity_start=0.25"))


@pytest.mark.slow
def test_two_processes_rank_as_one(clip, shapes, tmp_path):
    """Every way of counting: one gallery and several, kept scores and none, rescaled ones."""
    main(RetrievalTask(), mug_stan_run(clip, shapes, tmp_path / "run", "run.total_steps=1"))
    start = ["model.parts=null", f"model.from_pretrained={tmp_path / 'run/checkpoints/last'}", "run.total_steps=0"]
    rescaled = ["eval.rescaling=[dual_softmax, query_bank]", "eval.query_bank=train", "eval.query_bank_size=9"]
    for number, more in enumerate((["eval.keep_scores=false"], ["eval.gallery_size=3"], rescaled)):
        folders = [tmp_path / f"{name}_{number}" for name in ("one", "two")]
        alone = main(RetrievalTask(), mug_stan_run(clip, shapes, folders[0], *start, *more))
        command = [*TWO_PROCESSES, "--main_process_port", "0", str(ROOT / "train_scripts" / "retrieval.py")]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
        settings = mug_stan_run(clip, shapes, folders[1], *start, *more)
        done = subprocess.run([*command, *settings], env=environment, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        one, two = (json.loads((folder / "results.json").read_text())["splits"]["test"] for folder in folders)
        assert one == two and one["metrics"] == alone["results"]["test"]["metrics"]
        one, two = (load_file(folder / "predictions/test/tensors.safetensors") for folder in folders)
        assert one.keys() == two.keys() and ("log_odds" in one) == (number > 0)
        for name, value in one.items():
            torch.testing.assert_close(value, two[name], equal_nan=True)
