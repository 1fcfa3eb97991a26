# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Mug-STAN's recipes for retrieval on thirty real clips: trained for two steps, ranked and searched."""

import csv
import json
from pathlib import Path

import pytest
import torch
from small_files import write_json
from tiny_mug_stan import write_clip
from tiny_runs import one_thread  # noqa: F401
from transformers import AutoModelForSequenceClassification, AutoProcessor

from clipbert.train_scripts import search
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.retrieval import RetrievalTask


RECIPES = Path(__file__).parents[2] / "train_scripts" / "recipes" / "mug_stan"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clips(data_dir):
    return data_dir / "annotations" / "tiny_clips"


@pytest.fixture(scope="module")
def files(data_dir, clips):
    """The files of the clips by their names."""
    return {name: data_dir / clip["file"] for name, clip in json.loads((clips / "clips.json").read_text()).items()}


@pytest.fixture
def run(tmp_path):
    def run(recipe, *more):
        values = [
            f"model.parts.clip={write_clip(tmp_path / 'clip')}",
            "model.overrides.stan_num_layers=2",
            "data.data_dir=.",
            "data.max_text_length=20",
            "data.num_frames=3",
            "data.num_workers=0",
            "run.num_epochs=null",
            "run.total_steps=2",
            "run.eval_every=1",
            "run.global_batch_size=4",
            "run.micro_batch_size=2",
            "run.mixed_precision='no'",
            "run.output_dir=out",
            *more,
        ]
        settings = [part for value in values for part in ("--set", value)]
        result = main(RetrievalTask(), ["--recipe", str(RECIPES / f"{recipe}.yaml"), *settings])
        assert result["finished"]
        return {split: row["metrics"] for split, row in result["results"].items()}

    return run


def test_the_official_files_of_msrvtt(run, clips, files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    document = json.loads((clips / "msrvtt_style.json").read_text())
    write_json(tmp_path / "MSRVTT_data.json", document)
    first = {sentence["video_id"]: sentence for sentence in reversed(document["sentences"])}
    test = [first[video["video_id"]] for video in document["videos"] if video["split"] == "test"]
    with (tmp_path / "MSRVTT_JSFUSION_test.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "vid_key", "video_id", "sentence"])
        writer.writerows([f"ret{n}", f"msr{n}", row["video_id"], row["caption"]] for n, row in enumerate(test))
    (tmp_path / "videos").mkdir()
    for name, path in files.items():
        (tmp_path / "videos" / f"{name}{path.suffix}").symlink_to(path)
    results = run("retrieval_msrvtt")
    assert results["test"]["num_examples"] == results["test"]["num_videos"] == 10
    assert results["test"]["num_skipped_videos"] == 0 and results["validation"]["num_videos"] == 1


def test_a_plain_folder_and_a_search_in_it(run, clips, files, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [json.loads(line) for line in (clips / "captions.jsonl").read_text().splitlines()][:24]
    for name in {row["clip_name"] for row in rows}:
        (tmp_path / f"{name}{files[name].suffix}").symlink_to(files[name])
    captions = [
        {"video": f"{row['clip_name']}{files[row['clip_name']].suffix}", "caption": row["caption"]} for row in rows
    ]
    (tmp_path / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in captions))
    assert set(run("retrieval_video_folder")) == {"validation", "test"}
    search.main(["--checkpoint", "out", "--videos", ".", rows[0]["caption"]])
    said = capsys.readouterr().out
    checkpoint = tmp_path / "out" / "checkpoints" / "best"
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint)
    processor = AutoProcessor.from_pretrained(checkpoint)
    paths = sorted({row["video"] for row in captions})
    with torch.no_grad():
        scores = model(
            **processor(text=[[rows[0]["caption"]], *[[] for _ in paths[1:]]], videos=paths)
        ).logits_per_text[0]
    assert min((path for path in paths if path in said), key=said.index) == paths[scores.argmax()]
