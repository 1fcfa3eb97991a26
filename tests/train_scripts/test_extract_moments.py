# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Segments that a frozen tower has seen, kept: gone on with after `kill -9`, of files, and refused by other models."""

import pytest
import torch
from killed_extractions import extract_killed, files_in
from moment_runs import moment_run
from tiny_runs import one_thread  # noqa: F401

from clipbert.datasets_scripts.synthetic import generate_synthetic
from clipbert.processing import FeatureFileError, FeatureFiles
from clipbert.support.families import load_trained
from clipbert.train_scripts import extract
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.moment_retrieval import MomentTask


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder, counts = (
        tmp_path_factory.mktemp("moments") / "shapes",
        {"num_train": 8, "num_validation": 0, "num_test": 4},
    )
    return generate_synthetic(folder, progress=False, preset="sequences", **counts)


@pytest.mark.slow  # the quick test of `test_extract.py` is of the same code
def test_three_kills_change_nothing(shapes, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert extract.main(moment_run(shapes, tmp_path / "run", f"data.features={whole}")).num_written == 12
    extract_killed(moment_run(shapes, tmp_path / "run", f"data.features={killed}"), killed, stops=(2, 5, 8), total=12)
    assert files_in(killed) == files_in(whole)


def test_files_seen_by_a_trained_model_answer_as_the_files(shapes, tmp_path):
    main(MomentTask(), moment_run(shapes, tmp_path / "run"))
    checkpoint, videos = tmp_path / "run/checkpoints/last", sorted(shapes.rglob("test_*.mp4"))[:2]
    target = ["--set", f"data.features={tmp_path / 'kept'}", "data.num_workers=0", "--dtype", "float32"]
    report = extract.main(["--model", str(checkpoint), *target, "--videos", *map(str, videos)])
    assert report.num_written == 2
    files, (model, processor) = FeatureFiles(tmp_path / "kept"), load_trained(checkpoint)
    text = [["a red circle"]] * 2
    raw = processor(text=text, videos=list(map(str, videos)))
    kept = processor(text=text, video_features=[files[path.stem] for path in videos])
    with torch.inference_mode():
        torch.testing.assert_close(model(**kept).start_logits, model(**raw).start_logits, atol=1e-4, rtol=0)
    processor.feature_card["weights"] = "0" * 64  # as if the tower were another one
    with pytest.raises(FeatureFileError, match="not what the model was trained on: weights: 0000"):
        processor(text=text[:1], video_features=[files[videos[0].stem]])
