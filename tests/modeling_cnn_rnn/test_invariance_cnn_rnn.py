# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Scores of a clip depend on its frames alone.

A widely used way, zero padding that is read to its end, classifies the padding: most clips of a batch then end alike.
"""

import itertools

import pytest
import torch
from tiny_cnn_rnn import FEATURES, NUM_LABELS, tiny_clips, tiny_model
from torch import nn

from clipbert.modeling_cnn_rnn import CNNRNNModel
from clipbert.modeling_cnn_rnn.recurrent_cnn_rnn import RECURRENT_LAYERS, choose_backend, run_packed, run_padded


KINDS, POOLINGS, BACKENDS = ("rnn", "gru", "lstm"), ("last", "mean", "max", "attention"), ("packed", "padded")
LENGTHS = [4, 1, 6, 3]


def grid():
    for kind, bidirectional, layers, pooling in itertools.product(KINDS, (False, True), (1, 2), POOLINGS):
        yield {"rnn_type": kind, "bidirectional": bidirectional, "rnn_num_layers": layers, "pooling": pooling}
    yield {"pooling": "order_blind_mean"}


def assert_close(scores, others, tolerance=1e-5):
    assert scores.shape == others.shape and (scores - others).abs().max() <= tolerance


@pytest.mark.parametrize("settings", grid(), ids=lambda settings: "-".join(map(str, settings.values())))
def test_alone_in_any_batch_and_with_anything_in_padding(settings):
    model = tiny_model(**settings)
    frames, mask = tiny_clips(LENGTHS, num_frames=9)  # three frames more than the longest clip
    vectors = model.encode_frames(frames[mask.bool()])
    features = torch.full((len(LENGTHS), 9, FEATURES), 1e30).masked_scatter(mask.bool()[..., None], vectors)
    with torch.no_grad():
        alone = torch.cat([model(clip[None, :length]).logits for clip, length in zip(frames, LENGTHS, strict=True)])
        assert alone.std(dim=0).max() > 0.05  # clips do get scores of their own
        for backend in BACKENDS:
            model.config.rnn_backend = backend
            assert_close(model(frames, frame_mask=mask).logits, alone)
            assert_close(model(frames.nan_to_num(7.0), frame_lengths=torch.tensor(LENGTHS)).logits, alone)
            assert_close(model(frame_features=features, frame_mask=mask.bool()).logits, alone)
            others = [2, 0]
            assert_close(model(frames[others], frame_mask=mask[others]).logits, alone[others])


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("segment_size", [7, 64])
def test_both_backends_give_the_same_values_and_gradients(segment_size, kind, layers, bidirectional, monkeypatch):
    monkeypatch.setattr("clipbert.modeling_cnn_rnn.recurrent_cnn_rnn.SEGMENT_SIZE", segment_size)
    torch.manual_seed(0)
    rnn = RECURRENT_LAYERS[kind](FEATURES, 8, layers, batch_first=True, bidirectional=bidirectional)
    lengths = torch.tensor([5, 30, 1, 17, 14])
    exists = (torch.arange(32) < lengths[:, None])[..., None]
    states, gradients = [], []
    for run in (run_packed, run_padded):
        vectors = torch.randn(5, 32, FEATURES, generator=torch.Generator().manual_seed(1)).requires_grad_()
        states.append(run(rnn, vectors, lengths).where(exists, 0.0))
        rnn.zero_grad()
        states[-1].square().sum().backward()
        gradients.append([vectors.grad, *(parameter.grad.clone() for parameter in rnn.parameters())])
        assert not vectors.grad.where(exists, 0.0).sub(vectors.grad).any()  # none for padding
    assert_close(*states, tolerance=1e-6)
    for gradient, other in zip(*gradients, strict=True):
        assert_close(gradient, other, tolerance=1e-5 * max(1, gradient.abs().max()))


def test_the_backend_that_is_chosen_is_the_faster_one_of_the_benchmark():
    for kind, width, units, grad, expected in (
        ("lstm", 16, 4, False, "padded"),
        ("gru", 16, 4, False, "packed"),
        ("gru", 2048, 4, False, "padded"),
        ("lstm", 2048, 512, False, "packed"),
        ("lstm", 2048, 512, True, "padded"),
        ("gru", 16, 4, True, "padded"),
    ):
        with torch.set_grad_enabled(grad):
            assert choose_backend(RECURRENT_LAYERS[kind](width, units), torch.empty(2, 3, width)) == expected


@pytest.mark.parametrize("backend", BACKENDS)
def test_padding_reaches_no_gradient(backend):
    gradients = []
    for padding in (0.0, float("nan"), float("inf")):
        model = tiny_model(
            backbone_trainable="all", bidirectional=True, rnn_backend=backend, pooling="max", head_dropout=0
        )
        frames, mask = tiny_clips(LENGTHS, padding=padding)
        model.train()(frames, frame_mask=mask, labels=torch.arange(4)).loss.backward()
        gradients.append([parameter.grad for parameter in model.parameters() if parameter.requires_grad])
    for same in zip(*gradients, strict=True):
        assert all(torch.equal(same[0], gradient) for gradient in same[1:])


def test_frames_may_stand_anywhere_in_their_row():
    model = tiny_model(CNNRNNModel, bidirectional=True)
    frames, mask = tiny_clips([3, 5])
    left_padded, holes = frames.flip(1), mask.flip(1).clone()
    outputs = model(frames.flip(1), frame_mask=mask.flip(1))
    expected = model(torch.stack([left_padded[0].roll(-2, 0), left_padded[1]]), frame_mask=mask)
    for name in ("pooler_output", "last_hidden_state", "frame_features", "frame_lengths"):
        assert_close(outputs[name], expected[name])
    holes[1] = torch.tensor([1, 0, 1, 1, 0])
    assert_close(
        model(left_padded, frame_mask=holes).pooler_output[1], model(left_padded[1:, [0, 2, 3]]).pooler_output[0]
    )


# ---------------------------------------------------------------------------------------------------------------------
# What the CNN sees
# ---------------------------------------------------------------------------------------------------------------------


def count_frames(model):
    """The frames that go into the backbone from here on, call by call."""
    seen = []
    model.frame_encoder.backbone.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    return seen


@pytest.mark.parametrize("chunk_size", [None, 1, 5, 64])
def test_the_cnn_sees_the_frames_that_exist_and_chunks_change_nothing(chunk_size):
    frames, mask = tiny_clips(LENGTHS, num_frames=9)
    model = tiny_model(frame_chunk_size=chunk_size)
    seen = count_frames(model)
    logits = model(frames, frame_mask=mask).logits
    assert torch.equal(torch.cat(seen), frames[mask.bool()])
    assert max(map(len, seen)) <= (chunk_size or 14)
    assert_close(logits, tiny_model(frame_chunk_size=None)(frames, frame_mask=mask).logits)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_chunks_and_checkpointing_change_no_gradient(checkpointing):
    frames, mask = tiny_clips(LENGTHS)
    gradients = []
    for chunk_size in (None, 5):
        model = tiny_model(backbone_trainable="all", frame_chunk_size=chunk_size, head_dropout=0).double().train()
        if checkpointing and chunk_size:
            model.activation_checkpointing_enable()
        seen = count_frames(model)
        model(frames.double(), frame_mask=mask, labels=torch.arange(4)).loss.backward()
        assert sum(map(len, seen)) == 14 * (2 if checkpointing and chunk_size else 1)  # each is computed again
        gradients.append([parameter.grad for parameter in model.parameters() if parameter.requires_grad])
    for whole, parts in zip(*gradients, strict=True):
        assert_close(whole, parts, tolerance=1e-12)


@pytest.mark.parametrize("settings", [{}, {"backbone_trainable": "all"}])
def test_statistics_of_batch_norms_stay(settings):
    model = tiny_model(**settings).train()
    before = {name: value.clone() for name, value in model.named_buffers()}
    frames, mask = tiny_clips(LENGTHS)
    model(frames, frame_mask=mask, labels=torch.arange(4)).loss.backward()
    assert before and all(torch.equal(value, before[name]) for name, value in model.named_buffers())


def test_statistics_that_are_trained_are_those_of_the_frames_that_exist():
    settings = {"backbone_trainable": "all", "train_batchnorm": True, "frame_chunk_size": None}
    frames, mask = tiny_clips(LENGTHS, num_frames=9)
    padded, alone = tiny_model(**settings).train(), tiny_model(**settings).train()
    padded(frames, frame_mask=mask)
    alone.encode_frames(frames[mask.bool()])
    moved = dict(tiny_model(**settings).named_buffers())
    for (name, value), other in zip(padded.named_buffers(), alone.buffers(), strict=True):
        assert torch.equal(value, other) and not torch.equal(value, moved[name])


# ---------------------------------------------------------------------------------------------------------------------
# Windows
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("problem_type", [None, "multi_label_classification"])
@pytest.mark.parametrize("score_pooling", ["mean", "lse", "max"])
def test_windows_are_read_by_themselves_in_any_order_and_empty_ones_left_out(score_pooling, problem_type):
    model = tiny_model(score_pooling=score_pooling, problem_type=problem_type, pooling="max")
    frames, mask = tiny_clips([[4, 2, 0], [1, 3, 4]])
    outputs = model(frames, frame_mask=mask)
    assert outputs.window_logits.shape == (2, 3, NUM_LABELS)
    assert outputs.last_hidden_state.shape == (2, 3, 4, 8) and outputs.frame_lengths.tolist() == [[4, 2, 0], [1, 3, 4]]
    assert_close(outputs.window_logits[1, 1], model(frames[1:, 1], frame_mask=mask[1:, 1]).window_logits[0, 0])
    order = [2, 0, 1]
    assert_close(model(frames[:, order], frame_mask=mask[:, order]).logits, outputs.logits)
    assert_close(model(frames[:1, :2], frame_mask=mask[:1, :2]).logits, outputs.logits[:1])
    twice = torch.cat([frames, frames], dim=1), torch.cat([mask, mask], dim=1)
    assert_close(model(twice[0], frame_mask=twice[1]).logits, outputs.logits)  # number does not matter either


@pytest.mark.parametrize("score_pooling", ["mean", "lse", "max"])
def test_an_empty_window_leaves_gradients_whole(score_pooling):
    frames, mask = tiny_clips([[3, 0], [1, 2]])
    gradients = []
    for rows in (frames, frames.nan_to_num(0.0)):
        model = tiny_model(
            score_pooling=score_pooling, pooling="max", backbone_trainable="all", head_dropout=0
        ).train()
        model(rows, frame_mask=mask, labels=torch.tensor([1, 2])).loss.backward()
        gradients.append(nn.utils.parameters_to_vector([p.grad for p in model.parameters() if p.requires_grad]))
    assert gradients[0].isfinite().all() and torch.equal(*gradients)
