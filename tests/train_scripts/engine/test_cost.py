# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What runs cost: multiply-adds against a count by hand, frames against those that decoders gave, and nothing changes by it."""

import doctest
import json

import pytest
import tiny_ci_mha
import tiny_cnn_rnn
import tiny_models
import torch
from moment_runs import moment_run
from mug_stan_runs import mug_stan_run
from safetensors.torch import load_file
from stub_task import PairsTask, StubTask, run
from tiny_classifiers import cnn_rnn_run
from tiny_clips import write_clips
from tiny_mug_stan import write_clip
from tiny_runs import tiny_run
from torch import nn
from transformers import AutoProcessor

from clipbert.datasets_scripts import load_benchmark
from clipbert.datasets_scripts.synthetic import generate_synthetic
from clipbert.modeling_clipbert import ClipBERTForVideoTextRetrieval
from clipbert.train_scripts.engine import cost, operations
from clipbert.train_scripts.engine.cost import Signature, counting_evaluation, uncounted
from clipbert.train_scripts.engine.operations import OperationCounter, count_operations
from clipbert.train_scripts.engine.run_files import read_run
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.moment_retrieval import MomentTask
from clipbert.train_scripts.retrieval import RetrievalTask
from clipbert.train_scripts.video_classification import ClassificationTask
from clipbert.train_scripts.video_qa import VideoQATask


@pytest.mark.parametrize("module", [cost, operations])
def test_examples_of_the_docstrings(module):
    found = doctest.testmod(module)
    assert found.attempted and not found.failed


# ---------------------------------------------------------------------------------------------------------------------
# By hand
# ---------------------------------------------------------------------------------------------------------------------


ONE_STAGE = {"model_type": "resnet", "layer_type": "basic", "embedding_size": 8, "hidden_sizes": [8], "depths": [1]}
SIZE, WIDTH, BETWEEN, LAYERS = 64, 32, 48, 2
CLIPS, FRAMES, WORDS = 2, 3, 5
# of a frame of 64 x 64: 7 x 7 in steps of 2; after the pooling two of 3 x 3; the one of the grid, to the width of the words
STEM = 32 * 32 * 8 * 3 * 7 * 7
REST = 2 * 16 * 16 * 8 * 8 * 3 * 3 + 16 * 16 * WIDTH * 8 * 3 * 3
TOKENS = WORDS + 8 * 8  # cells of the grid are pooled in twos
# of a clip with a text: queries, keys, values, output; two layers between; pooler; head
LINEAR = (
    LAYERS * TOKENS * (4 * WIDTH * WIDTH + 2 * WIDTH * BETWEEN) + WIDTH * WIDTH + WIDTH * 2 * WIDTH + 2 * WIDTH * 2
)
PRODUCT = LAYERS * TOKENS * TOKENS * WIDTH  # words and cells with each other, in all heads
# `match` needs the first word of the last layer alone, which reads all others
LINEAR_OF_FIRST = LINEAR - (TOKENS - 1) * (2 * WIDTH * WIDTH + 2 * WIDTH * BETWEEN)
PRODUCT_OF_FIRST = PRODUCT - (TOKENS - 1) * TOKENS * WIDTH


def hand_counted_model(attention="sdpa"):
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    free = {"freeze_backbone_stages": 0, "freeze_backbone_norm": False}
    model = tiny_models.tiny_model(ClipBERTForVideoTextRetrieval, backbone_config=dict(ONE_STAGE), **still, **free)
    model.set_attn_implementation(attention)
    return model


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_an_evaluation_by_hand(attention):
    model = hand_counted_model(attention)
    frames, ids = torch.zeros(4, CLIPS, FRAMES, 3, SIZE, SIZE), torch.ones(7, WORDS, dtype=torch.int64)
    with counting_evaluation(model) as meter, torch.no_grad():
        videos = torch.cat([model.encode_videos(block) for block in frames.split(2)])
        texts = model.encode_texts(ids, torch.ones_like(ids))
        model.match(texts, videos, torch.tensor([0, 1, 2, 3, 3, 2, 1]))
    view, pair = FRAMES * (STEM + REST), CLIPS * (LINEAR_OF_FIRST + 2 * PRODUCT_OF_FIRST)
    assert meter.units["view"] == {"whole": view, "without_attention": view, "per_video": CLIPS}
    assert meter.units["pair"] == {"whole": pair, "without_attention": CLIPS * LINEAR_OF_FIRST}
    assert meter.multiply_adds == {"view": 4 * CLIPS * view, "text": 0, "pair": 7 * pair}
    assert meter.encoded.num_frames == 4 * CLIPS * FRAMES
    assert len(meter.known) == 3  # the second block of videos was not counted anew


@pytest.mark.parametrize(("attention", "products"), [("sdpa", 5), ("eager", 4)])  # one kernel computes scores anew
def test_a_training_step_by_hand(attention, products):
    model = hand_counted_model(attention).train()
    frames, ids = torch.randn(2, CLIPS, FRAMES, 3, SIZE, SIZE), torch.ones(3, WORDS, dtype=torch.int64)
    inputs = {"pixel_values": frames, "input_ids": ids, "video_indices": torch.tensor([0, 1, 1])}
    with OperationCounter() as counter:
        model(**inputs, labels=torch.tensor([1, 0, 1])).loss.backward()
    num_frames, num_pairs = 2 * CLIPS * FRAMES, 3 * CLIPS
    assert counter.forward.whole == num_frames * (STEM + REST) + num_pairs * (LINEAR + 2 * PRODUCT)
    # twice as much: the gradients of inputs and of weights; the frames need none
    backward = num_frames * (STEM + 2 * REST) + num_pairs * (2 * LINEAR + products * PRODUCT)
    assert counter.backward.whole == backward


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3)])
def test_recurrent_layers_are_counted_backward(kind, gates):
    layer, inputs = kind(5, 7, batch_first=True), torch.ones(3, 11, 5, requires_grad=True)
    with OperationCounter() as counter:
        layer(inputs)[0].sum().backward()
    forward = 3 * 11 * gates * 7 * (5 + 7)
    # kernels that go step by step know that nothing learns from the state before the first one
    first = 0 if kind is nn.LSTM else 3 * gates * 7 * 7
    assert counter.forward.whole == forward and forward < counter.backward.whole <= 2 * forward
    assert counter.backward.whole >= 2 * forward - 2 * first


def test_layers_that_torch_evaluates_in_one_kernel_are_counted():
    layer, inputs = nn.MultiheadAttention(8, 2, batch_first=True).eval(), torch.randn(3, 6, 8)
    with torch.no_grad():
        _, found = count_operations(lambda: layer(inputs, inputs, inputs, need_weights=False))
    assert found.whole == 3 * (6 * 4 * 8 * 8 + 2 * 6 * 6 * 8)
    assert torch.backends.mha.get_fastpath_enabled()


def test_what_is_computed_anew_belongs_to_the_backward_pass():
    layer, inputs = nn.Sequential(nn.Linear(4, 6), nn.Sigmoid()), torch.randn(5, 4)

    def passes(is_anew):
        with OperationCounter() as counter:
            function = torch.utils.checkpoint.checkpoint if is_anew else lambda call, x, use_reentrant: call(x)
            function(layer, inputs, use_reentrant=False).square().sum().backward()
        return counter.forward.whole, counter.backward.whole

    assert passes(False) == (5 * 4 * 6, 5 * 4 * 6)
    assert passes(True) == (5 * 4 * 6, 2 * 5 * 4 * 6)


# ---------------------------------------------------------------------------------------------------------------------
# Calls that look alike
# ---------------------------------------------------------------------------------------------------------------------


def test_frames_that_do_not_exist_are_not_counted():
    clips, mask = tiny_cnn_rnn.tiny_clips([5, 3], padding=0.0)
    other = torch.tensor([[1, 1, 1, 1, 1], [1, 0, 0, 0, 0]])
    model = tiny_cnn_rnn.tiny_model()
    with counting_evaluation(model) as meter, torch.no_grad():
        for given in (mask, other, mask.flip(1)):  # the last one is like the first
            model(pixel_values=clips, frame_mask=given)
        with uncounted():
            model(pixel_values=clips)
    assert meter.encoded.num_frames == 8 + 6 + 8 and len(meter.known) == 2
    calls = [
        count_operations(lambda g=given: model(pixel_values=clips, frame_mask=g))[1].whole for given in (mask, other)
    ]
    assert meter.multiply_adds["view"] == 2 * calls[0] + calls[1] and calls[1] < calls[0]


def test_moments_are_counted_from_frames_and_from_features():
    model, texts = tiny_ci_mha.tiny_frame_model(), tiny_ci_mha.tiny_texts([4, 2])
    frames = tiny_ci_mha.tiny_frames([5, 3])
    mask = frames["video_mask"].bool()
    with counting_evaluation(model) as meter, torch.no_grad():
        features = model.base_model.segment_features(frames["pixel_values"], mask)
        videos = model.encode_videos(video_features=features, video_mask=mask)
        model.match_moments(model.encode_texts(**texts), videos, torch.tensor([0, 1]))
    assert meter.encoded.num_frames == 2 * (5 + 3)
    assert set(meter.units) == {"view", "video", "text", "pair"} and all(meter.multiply_adds.values())

    read = tiny_ci_mha.tiny_model()  # has no CNN
    with counting_evaluation(read) as meter, torch.no_grad():
        read.encode_videos(**tiny_ci_mha.tiny_videos([4, 3]))
    assert meter.encoded.num_frames is None and set(meter.units) == {"video"}


def test_a_signature_tells_calls_apart_that_differ_in_operations():
    sign, recurrent = Signature(nn.Linear(1, 1)), Signature(nn.GRU(1, 1))
    ones, half = torch.ones(2, 3, dtype=torch.int64), torch.tensor([[1, 1, 1], [1, 0, 0]])
    for name, differs in (
        ("clip_mask", True),
        ("frame_lengths", True),
        ("attention_mask", False),
        ("input_ids", False),
    ):
        assert (sign({name: ones}) != sign({name: half})) == differs
    assert recurrent({"attention_mask": ones}) != recurrent({"attention_mask": half})
    assert sign({"x": torch.ones(2)}) != sign({"x": torch.ones(3)}) != sign({"x": torch.ones(3, requires_grad=True)})
    assert sign(((ones, {"a": ones}), 3)) != sign(((ones, {"a": ones[:1]}), 3))


# ---------------------------------------------------------------------------------------------------------------------
# Runs
# ---------------------------------------------------------------------------------------------------------------------


COUNTED = ("run.count_cost=true", "eval.count_cost=true")


def results_of(folder):
    return json.loads((folder / "results.json").read_text())


@pytest.mark.parametrize("task", [StubTask, PairsTask])
def test_a_run_that_is_counted_learns_the_same(tmp_path, task, monkeypatch):
    monkeypatch.setattr(cost, "FIRST_STEPS", 3)
    settings = ["run.total_steps=5", "eval.splits={test: final}", "data.group_by_length=true"]
    for name, more in (("plain", ()), ("counted", COUNTED)):
        run(tmp_path / name, *settings, *more, task=task())
    plain, counted = (
        load_file(tmp_path / name / "checkpoints" / "last" / "model.safetensors") for name in ("plain", "counted")
    )
    assert all(torch.equal(plain[name], counted[name]) for name in plain)
    assert results_of(tmp_path / "plain")["splits"] == results_of(tmp_path / "counted")["splits"]
    assert "costs" not in results_of(tmp_path / "plain") and not any(
        "cost" in row for row in read_run(tmp_path / "plain").steps
    )
    rows = [row["cost"] for row in read_run(tmp_path / "counted").steps]
    assert all(row["cpu_s"] > 0 and row["peak_memory"] > 1e7 for row in rows)
    assert not {"frames_decoded", "frames_encoded"} & rows[0].keys()  # points have no frames
    training = results_of(tmp_path / "counted")["costs"]["training"]
    if task is StubTask:  # 4 items: 3 x 6 and 6 x 1; backward also the gradient of what is between
        assert [row.get("is_counted", False) for row in rows] == [True, False, False, False, False]
        assert {row["multiply_adds_forward"] for row in rows} == {4 * 24}
        assert {row["multiply_adds_backward"] for row in rows} == {4 * (3 * 6 + 2 * 6)}
        assert training["total_multiply_adds"] == 5 * 4 * (24 + 30)
    else:
        known = [row for row in rows if "multiply_adds_forward" in row]
        assert 1 <= len(known) <= 5 and sum(row.get("is_counted", False) for row in rows) <= 3


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cost") / "shapes"
    return generate_synthetic(folder, progress=False, preset="easy", num_train=6, num_validation=4, num_test=4)


def run_retrieval(shapes, output_dir, *more):
    clips = [
        "data.num_clips=1",
        "data.num_frames=2",
        "eval.num_clips=3",
        "eval.video_block=2",
        "data.sampling=uniform",
    ]
    main(RetrievalTask(), tiny_run("synthetic", "retrieval", shapes, output_dir, *clips, *more))
    return results_of(output_dir), load_file(output_dir / "checkpoints" / "last" / "model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
def test_retrieval_is_counted_and_scores_and_weights_stay_bit_by_bit(shapes, tmp_path, num_workers):
    workers = f"data.num_workers={num_workers}"
    plain, weights = run_retrieval(shapes, tmp_path / "plain", workers)
    found, counted = run_retrieval(shapes, tmp_path / "counted", workers, *COUNTED)
    assert found["splits"] == plain["splits"] and all(torch.equal(weights[name], counted[name]) for name in weights)
    training, evaluation = found["costs"]["training"], found["costs"]["evaluations"]["test"]
    assert training["frames_encoded"] == 4 * 2 and training["total_frames_encoded"] == 2 * 4 * 2
    assert training["multiply_adds_backward"] > training["multiply_adds_forward"] > 0
    per_video, units = evaluation["per_video"], evaluation["operations"]
    assert evaluation["videos"] == 4 and per_video["frames_encoded"] == 3 * 2
    assert per_video["multiply_adds_of"]["view"] == units["view"]["whole"] * 3 and units["view"]["per_video"] == 3
    assert per_video["multiply_adds"] == pytest.approx(sum(per_video["multiply_adds_of"].values()))
    assert per_video["read_ms"] > 0 and per_video["model_ms"] > 0
    processor = AutoProcessor.from_pretrained(tmp_path / "counted" / "checkpoints" / "last")
    options = {"num_clips": 3, "num_frames": 2, "sampling": "uniform", "return_metadata": True}
    rows = load_benchmark("synthetic", config="retrieval", split="test", data_dir=str(shapes))
    shown = processor(videos=sorted(set(rows["video"])), **options)["video_metadata"]
    assert len(shown) == 4 and per_video["frames_decoded"] == sum(video.num_decoded_frames for video in shown) / 4


def run_classifier(folder, output_dir, *more):
    clips = folder / "clips" if (folder / "clips").exists() else write_clips(folder / "clips")
    main(ClassificationTask(), cnn_rnn_run(clips, output_dir, "eval.splits={test: final}", *more))


def run_moments(folder, output_dir, *more):
    counts = {"num_train": 4, "num_validation": 0, "num_test": 3}
    moments = generate_synthetic(folder / "moments", progress=False, preset="sequences", **counts)
    main(MomentTask(), moment_run(moments, output_dir, *more))


def run_mug_stan(folder, output_dir, *more):
    clip = folder / "clip" if (folder / "clip").exists() else write_clip(folder / "clip")
    counts = {"num_train": 8, "num_validation": 0, "num_test": 4}
    shapes = generate_synthetic(folder / "shapes", progress=False, preset="easy", **counts)
    main(RetrievalTask(), mug_stan_run(clip, shapes, output_dir, *more))


def run_questions(folder, output_dir, *more):
    counts = {"num_train": 6, "num_validation": 0, "num_test": 4}
    shapes = generate_synthetic(folder / "shapes", progress=False, preset="easy", **counts)
    main(VideoQATask(), tiny_run("synthetic", "open_qa", shapes, output_dir, *more))


@pytest.mark.slow
@pytest.mark.parametrize("run_family", [run_classifier, run_moments, run_mug_stan, run_questions])
def test_every_family_and_task_is_counted_and_learns_the_same(tmp_path, run_family):
    found = {}
    for name, more in (("plain", ()), ("counted", COUNTED)):
        run_family(tmp_path, tmp_path / name, *more)
        checkpoint = tmp_path / name / "checkpoints" / "last" / "model.safetensors"
        found[name] = results_of(tmp_path / name), load_file(checkpoint)
    (plain, weights), (results, counted) = found["plain"], found["counted"]
    assert results["splits"] == plain["splits"] and all(torch.equal(weights[name], counted[name]) for name in weights)
    training, per_video = results["costs"]["training"], results["costs"]["evaluations"]["test"]["per_video"]
    assert per_video["frames_decoded"] > 0 and per_video["frames_encoded"] > 0 and per_video["read_ms"] > 0
    assert per_video["multiply_adds"] == pytest.approx(sum(per_video["multiply_adds_of"].values()))
    assert training["frames_decoded"] > 0 and training["frames_encoded"] > 0 and training["total_cpu_s"] > 0
    assert training["multiply_adds_backward"] > 0
    if run_family is run_mug_stan:  # 8 videos of 3 frames, which the contrast of two micro-batches encodes twice
        assert training["frames_encoded"] == 2 * 8 * 3 and per_video["frames_encoded"] == 3
