# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A family that nobody here knows, dropped on the path: trained by a door, resumed after `kill -9`, scored again, published
with its code, read where neither it nor this package is installed, and searched."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from clean_process import run_without_package
from safetensors.torch import load_file
from stranger_families import write_duo, write_framewise
from tiny_clips import write_clips
from tiny_runs import one_thread, steps_of  # noqa: F401

from clipbert.datasets_scripts.synthetic import generate_synthetic
from clipbert.support.families import load_family
from clipbert.train_scripts import publish, search
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.rescore import rescore
from clipbert.train_scripts.retrieval import RetrievalTask
from clipbert.train_scripts.video_classification import ClassificationTask


ROOT = Path(__file__).parents[2]
STEPS = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of the stranger's own, on the path."""
    folder = tmp_path_factory.mktemp("stranger")
    write_duo(folder)
    write_framewise(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield folder


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    counts = {"num_train": 10, "num_validation": 5, "num_test": 5}
    return generate_synthetic(tmp_path_factory.mktemp("data") / "shapes", progress=False, preset="easy", **counts)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return write_clips(tmp_path_factory.mktemp("clips"))


def settings_of(output_dir, *more):
    values = [
        "data.num_workers=0",
        f"run.total_steps={STEPS}",
        "run.global_batch_size=4",
        "run.micro_batch_size=4",
        "run.save_every=1",
        "run.save_total_limit=null",
        "optim.lr=0.02",
        f"run.output_dir={output_dir}",
        "eval.splits={test: final}",
        *more,
    ]
    return [part for value in values for part in ("--set", value)]


def duo_settings(shapes, output_dir):
    return settings_of(
        output_dir,
        "model.family=duo",
        "model.config={width: 12}",
        f"model.tokenizer={shapes}/vocab.txt",
        "model.objective=both",
        "data.dataset=synthetic",
        "data.config=retrieval",
        f"data.data_dir={shapes}",
        "data.negatives=in_batch",
        "data.num_clips=2",
    )


def framewise_settings(clips, output_dir):
    return settings_of(
        output_dir,
        "model.family=framewise",
        "model.config={}",
        "data.dataset=ucf101",
        "data.config=top5",
        f"data.data_dir={clips}",
        "data.num_frames=3",
    )


def train_and_kill(script, settings, folder, output_dir):
    """Run a door, and kill it with SIGKILL when it has written its third step."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "train_scripts" / script), *settings]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    log = Path(output_dir) / "log.jsonl"
    while process.poll() is None and not (log.is_file() and log.read_text().count('"loss"') >= 3):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    output = process.communicate()[0]
    assert log.is_file(), output


def assert_the_same_run(first, second):
    assert steps_of(first) == steps_of(second) and len(steps_of(first)) == STEPS
    ours, theirs = (load_file(path / "checkpoints/last/model.safetensors") for path in (first, second))
    assert all(ours[name].equal(theirs[name]) for name in ours)


@pytest.mark.slow
def test_a_dual_encoder(folder, shapes, tmp_path, capsys):
    whole = main(RetrievalTask(), duo_settings(shapes, tmp_path / "whole"))
    assert steps_of(tmp_path / "whole")[-1]["loss"] < steps_of(tmp_path / "whole")[0]["loss"]
    train_and_kill("retrieval.py", duo_settings(shapes, tmp_path / "killed"), folder, tmp_path / "killed")
    resumed = main(RetrievalTask(), duo_settings(shapes, tmp_path / "killed"))
    assert_the_same_run(tmp_path / "whole", tmp_path / "killed")
    assert resumed["results"] == whole["results"]

    predictions = tmp_path / "whole" / "predictions" / "test"
    assert rescore(predictions) == whole["results"]["test"]["metrics"]
    assert load_file(predictions / "tensors.safetensors")["clip_logits"].shape[2:] == (1, 1)
    with pytest.raises(ValueError, match="leaves no choice of score_pooling"):
        rescore(predictions, "max")

    checkpoint = tmp_path / "whole" / "checkpoints" / "last"
    search.main(["--checkpoint", str(checkpoint), "--videos", str(shapes / "test"), "--top", "2", "a red circle"])
    assert capsys.readouterr().out.count(".mp4") == 2

    publish.main(["--checkpoint", str(checkpoint), "--output_dir", str(tmp_path / "published")])
    card = (tmp_path / "published" / "README.md").read_text()
    assert "# Duo for video-text retrieval" in card and "compares the words" in card and "@misc{duo" in card
    video = shapes / "test" / "videos" / "test_00000.mp4"
    found = run_without_package(READ_DUO, tmp_path / "elsewhere", tmp_path / "published", video)
    model = load_family("duo").DuoForVideoTextRetrieval.from_pretrained(checkpoint)
    processor = load_family("duo").DuoProcessor.from_pretrained(checkpoint)
    expected = model(**processor(text=[["a red circle", "a blue square"]], videos=[str(video)])).match_odds
    assert json.loads(found) == pytest.approx(expected.tolist(), rel=1e-5)


READ_DUO = """
import json
from transformers import AutoModelForSequenceClassification, AutoProcessor

model = AutoModelForSequenceClassification.from_pretrained(sys.argv[1], trust_remote_code=True)
processor = AutoProcessor.from_pretrained(sys.argv[1], trust_remote_code=True)
inputs = processor(text=[["a red circle", "a blue square"]], videos=[sys.argv[2]])
print(json.dumps(model(**inputs).match_odds.tolist()))
"""


@pytest.mark.slow
def test_a_classifier_of_frames_without_words(folder, clips, tmp_path):
    whole = main(ClassificationTask(), framewise_settings(clips, tmp_path / "whole"))
    metrics = whole["results"]["test"]["metrics"]
    assert metrics["num_examples"] == 6 and metrics["blind_accuracy"] == metrics["chance_accuracy"] == 0.5
    train_and_kill(
        "video_classification.py", framewise_settings(clips, tmp_path / "killed"), folder, tmp_path / "killed"
    )
    resumed = main(ClassificationTask(), framewise_settings(clips, tmp_path / "killed"))
    assert_the_same_run(tmp_path / "whole", tmp_path / "killed")
    assert resumed["results"] == whole["results"]
    assert rescore(tmp_path / "whole" / "predictions" / "test") == metrics

    checkpoint = tmp_path / "whole" / "checkpoints" / "last"
    again = ["model.config=null", "model.family=null", f"model.from_pretrained={checkpoint}", "run.total_steps=0"]
    settings = framewise_settings(clips, tmp_path / "again") + [part for key in again for part in ("--set", key)]
    assert main(ClassificationTask(), settings)["results"]["test"]["metrics"] == metrics

    publish.main(["--checkpoint", str(checkpoint), "--output_dir", str(tmp_path / "published")])
    card = (tmp_path / "published" / "README.md").read_text()
    assert "# Framewise for video classification" in card and "AutoVideoProcessor" in card
    video = clips / "test" / "v_Punch_g01_c01.avi"
    found = run_without_package(READ_FRAMEWISE, tmp_path / "elsewhere", tmp_path / "published", video)
    model = load_family("framewise").FramewiseForVideoClassification.from_pretrained(checkpoint)
    processor = load_family("framewise").FramewiseVideoProcessor.from_pretrained(checkpoint)
    logits = model(**processor(videos=[str(video)])).logits[0]
    names, scores = json.loads(found)
    assert names == ["Archery", "Punch"] and scores == pytest.approx(logits.tolist(), rel=1e-5)


READ_FRAMEWISE = """
import json
from transformers import AutoModelForVideoClassification, AutoVideoProcessor

model = AutoModelForVideoClassification.from_pretrained(sys.argv[1], trust_remote_code=True)
processor = AutoVideoProcessor.from_pretrained(sys.argv[1], trust_remote_code=True)
logits = model(**processor(videos=[sys.argv[2]])).logits[0]
print(json.dumps([list(model.config.id2label.values()), logits.tolist()]))
"""


def test_a_dual_encoder_learns_by_contrast_with_all_pairs_of_a_step(folder, shapes, tmp_path):
    """However they are divided into micro-batches, of one pair as of four."""
    for size in (4, 2, 1):
        contrast = ["model.objective=contrastive", f"run.micro_batch_size={size}", "data.captions_per_video=2"]
        settings = [part for value in contrast for part in ("--set", value)]
        main(RetrievalTask(), [*duo_settings(shapes, tmp_path / str(size)), *settings])
    whole = steps_of(tmp_path / "4")
    for size in (2, 1):
        for a, b in zip(whole, steps_of(tmp_path / str(size)), strict=True):
            assert a == pytest.approx(b, rel=1e-4)
    assert whole[-1]["loss"] < whole[0]["loss"]


def test_a_step_without_a_video_that_can_be_decoded(folder, shapes, tmp_path, caplog):
    """Its loss is 0, and the run goes on; the other steps are those that the recipe asks for."""
    broken = tmp_path / "broken"
    shutil.copytree(shapes, broken)
    videos = sorted((broken / "train").rglob("*.mp4"))
    for path in videos[1:]:
        path.write_bytes(path.read_bytes()[:400])
    more = ["model.objective=contrastive", f"data.data_dir={broken}", "data.on_decode_error=skip"]
    more += ["data.max_decode_error_rate=1", "run.micro_batch_size=1", "run.global_batch_size=2"]
    main(RetrievalTask(), [*duo_settings(shapes, tmp_path / "out"), *(p for value in more for p in ("--set", value))])
    losses = [step["loss"] for step in steps_of(tmp_path / "out")]
    assert len(losses) == STEPS and losses == [0.0] * STEPS  # one video alone has nothing to compete with


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["data.negatives=random"], "negatives have to be in_batch"),
        (["optim.accumulation=sum"], "optim.accumulation=sum: the loss is one over all pairs"),
        (["run.global_batch_size=1", "run.micro_batch_size=1"], "no other pair to contrast with"),
        (["model.objective=both", "run.micro_batch_size=1"], "in_batch needs other videos"),
    ],
)
def test_contrasts_that_do_not_fit(folder, shapes, tmp_path, settings, message):
    more = [part for value in ["model.objective=contrastive", *settings] for part in ("--set", value)]
    with pytest.raises(ValueError, match=message):
        main(RetrievalTask(), [*duo_settings(shapes, tmp_path / "out"), *more])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.family=dou", "There is no family 'dou': expected a package modeling_dou on the path"),
        ("model.family=framewise", "data.num_clips=2: FramewiseVideoProcessor has no such option"),
        ("data.short_video=mask", "match.* got an unexpected keyword argument 'clip_mask'|clip_mask"),
        ("eval.score_pooling=max", "DuoForVideoTextRetrieval pools over clips by itself"),
        ("model.objective=rank", "DuoForVideoTextRetrieval has no ranking loss"),
        ("model.clips_per_chunk=2", "model has no key 'clips_per_chunk'"),
    ],
)
def test_what_a_family_does_not_have_is_said(folder, shapes, tmp_path, setting, message):
    more = ["--set", setting]
    with pytest.raises((ValueError, TypeError, ModuleNotFoundError), match=message):
        main(RetrievalTask(), [*duo_settings(shapes, tmp_path / "out"), *more])
