# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""In a training step an accelerator is waited for once, when all that is logged of the step is read in one go."""

import sys

import pytest
from moment_runs import moment_run
from mug_stan_runs import clip_fixture, mug_stan_run  # noqa: F401
from tiny_classifiers import cnn_rnn_run
from tiny_runs import one_thread, tiny_run  # noqa: F401
from waiting import Waiting

from clipbert.datasets_scripts.synthetic import generate_synthetic
from clipbert.datasets_scripts.synthetic.action_clips import generate_action_clips
from clipbert.datasets_scripts.synthetic.images import generate_synthetic_images
from clipbert.train_scripts.engine import loop
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.moment_retrieval import MomentTask
from clipbert.train_scripts.pretrain import PretrainTask
from clipbert.train_scripts.retrieval import RetrievalTask
from clipbert.train_scripts.video_classification import ClassificationTask
from clipbert.train_scripts.video_qa import VideoQATask


ONCE_A_STEP = {"train_scripts/engine/step.py:average"}
# Families that wait besides, and for what they do.
WORDS = {"modeling_mug_stan/towers_mug_stan.py:encode_text"}  # transformers asks whether a text is padded
FRAMES = {
    "modeling_cnn_rnn/modeling_cnn_rnn.py:frame_vectors"
}  # padding may be half of a batch: the CNN does not see it
RECURRENCE = (
    "modeling_cnn_rnn/recurrent_cnn_rnn.py:"  # on a CPU; on a GPU cuDNN wants to know the lengths of packed rows
)
SEGMENTS = {"modeling_ci_mha/modeling_ci_mha.py:segment_features"}  # as FRAMES


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    settings = {"num_train": 12, "num_validation": 2, "num_test": 4, "size": 48, "num_frames": 8}
    return generate_synthetic(tmp_path_factory.mktemp("data") / "easy", preset="easy", **settings)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    settings = {"preset": "sequences", "num_train": 12, "num_validation": 2, "num_test": 4}
    return generate_synthetic(tmp_path_factory.mktemp("shapes") / "shapes", progress=False, **settings)


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    folder = tmp_path_factory.mktemp("questions") / "shapes"
    return generate_synthetic(folder, progress=False, num_train=14, num_validation=6, num_test=6)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips") / "top5"
    return generate_action_clips(folder, num_train=20, num_test=5, height=36, progress=False)


@pytest.fixture
def waiting(monkeypatch):
    """Watches training steps, from the batch on the device to the end of the step."""
    found = Waiting()
    train_step, micro_batches = loop.Trainer.train_step, loop.Trainer.micro_batches

    def watched_step(self, batches):
        with found.watching():
            return train_step(self, batches)

    def unwatched_batches(self):
        with found.paused():
            batches = micro_batches(self)
        while True:
            with found.paused():
                micro = next(batches, None)
            if micro is None:
                return
            yield micro

    monkeypatch.setattr(loop.Trainer, "train_step", watched_step)
    monkeypatch.setattr(loop.Trainer, "micro_batches", unwatched_batches)
    for name, module in list(sys.modules.items()):  # as on an accelerator
        for known in ("values_are_known", "_values_are_known"):
            if name.startswith("clipbert.modeling_") and hasattr(module, known):
                monkeypatch.setattr(module, known, lambda tensor: False)
    return found


@pytest.mark.parametrize("objective, negatives", [("pair", "random"), ("rank", "random"), ("both", "in_batch")])
def test_retrieval(waiting, data, tmp_path, objective, negatives):
    settings = [f"model.objective={objective}", f"data.negatives={negatives}", "optim.ema_decay=0.9"]
    main(RetrievalTask(), tiny_run("synthetic", "retrieval", data, tmp_path, *settings))
    assert set(waiting.places) == ONCE_A_STEP, waiting.places


def test_retrieval_with_mug_stan(waiting, clip, data, tmp_path):  # noqa: F811
    main(RetrievalTask(), mug_stan_run(clip, data, tmp_path))
    assert set(waiting.places) == ONCE_A_STEP | WORDS, waiting.places


@pytest.mark.parametrize(
    "config, answer", [("open_qa", "open"), ("count", "count"), ("transition", "multiple_choice")]
)
def test_questions(waiting, questions, tmp_path, config, answer):
    main(VideoQATask(), tiny_run("synthetic", config, questions, tmp_path, f"model.answer={answer}"))
    assert set(waiting.places) == ONCE_A_STEP, waiting.places


def test_pre_training(waiting, tmp_path):
    pictures = generate_synthetic_images(tmp_path / "pictures", num_train=10, num_validation=5, num_test=5)
    main(PretrainTask(), tiny_run("synthetic_images", "image_text", pictures, tmp_path / "run"))
    assert set(waiting.places) == ONCE_A_STEP, waiting.places


def test_classification(waiting, clips, tmp_path):
    main(ClassificationTask(), cnn_rnn_run(clips, tmp_path, "data.num_frames=3", "eval.splits={test: final}"))
    places = {place for place in waiting.places if not place.startswith(RECURRENCE)}
    assert places == ONCE_A_STEP | FRAMES, waiting.places


def test_moments(waiting, shapes, tmp_path):
    main(MomentTask(), moment_run(shapes, tmp_path))
    assert set(waiting.places) == ONCE_A_STEP | SEGMENTS, waiting.places
