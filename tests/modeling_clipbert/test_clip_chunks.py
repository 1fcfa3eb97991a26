# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Clips processed in chunks: the outputs, losses and gradients of all clips at once, in less memory."""

import pytest
import torch
from tiny_models import HEADS, MODELS, SCORING_HEADS, tiny_inputs, tiny_model

from clipbert.modeling_clipbert import ClipBERTForVideoTextRetrieval, ClipBERTModel, modeling_clipbert


EXACT = {"rtol": 1e-9, "atol": 1e-11}  # in float64: the order of sums differs, nothing else


def double(inputs):
    return {name: value.double() if value.is_floating_point() else value for name, value in inputs.items()}


def build(model_class, num_clips=5, **overrides):
    """Model and inputs in float64; `None` where a head does not take labels."""
    model = tiny_model(model_class, **overrides).double()
    return model, double(tiny_inputs(model_class, num_clips=num_clips, labels=model_class is not ClipBERTModel))


def gradients(model, loss):
    return torch.autograd.grad(loss, [parameter for parameter in model.parameters() if parameter.requires_grad])


@pytest.mark.parametrize("clips_per_chunk", [1, 2, 4, 5, 9])
@pytest.mark.parametrize("model_class", HEADS)
def test_loss_and_gradients_are_those_of_all_clips_at_once(model_class, clips_per_chunk):
    model, inputs = build(model_class)
    whole = model(**inputs)
    expected = gradients(model, whole.loss)
    model.chunk_clips(clips_per_chunk)
    chunked = model(**inputs)
    torch.testing.assert_close(chunked.loss, whole.loss, **EXACT)
    torch.testing.assert_close(chunked.pooler_output, whole.pooler_output, **EXACT)
    torch.testing.assert_close(gradients(model, chunked.loss), expected, **EXACT)


@pytest.mark.parametrize("score_pooling", ["mean", "max", "lse"])
def test_every_pooling_sees_all_clips(score_pooling):
    model, inputs = build(ClipBERTForVideoTextRetrieval, score_pooling=score_pooling)
    expected = gradients(model, model(**inputs).loss)
    model.chunk_clips(2)
    torch.testing.assert_close(gradients(model, model(**inputs, pooled_only=True).loss), expected, **EXACT)


@pytest.mark.parametrize("model_class", SCORING_HEADS)
def test_masked_clips_count_for_nothing_even_where_a_whole_chunk_is_missing(model_class):
    model, inputs = build(model_class)
    inputs["clip_mask"] = torch.tensor([[1, 1, 1, 1, 1], [1, 0, 0, 0, 0]])
    inputs["pixel_values"][1, 1:] = torch.nan
    expected = gradients(model, (whole := model(**inputs)).loss)
    model.chunk_clips(2)
    chunked = model(**inputs)
    torch.testing.assert_close(chunked.logits, whole.logits, **EXACT)
    torch.testing.assert_close(gradients(model, chunked.loss), expected, **EXACT)


@pytest.mark.parametrize("model_class", MODELS)
def test_all_outputs_are_joined_along_the_clips(model_class):
    model, inputs = build(model_class, num_clips=3)
    asked = {"output_hidden_states": True, "output_attentions": True}
    whole = model(**inputs, **asked)
    model.chunk_clips(2)
    with torch.no_grad():
        chunked = model(**inputs, **asked)
    assert list(chunked) == list(whole)
    for name in whole:
        torch.testing.assert_close(chunked[name], whole[name], **EXACT)


def test_encoded_videos_are_chunked_too():
    model, inputs = build(ClipBERTForVideoTextRetrieval)
    expected = model.encode_videos(inputs["pixel_values"])
    model.chunk_clips(2)
    seen = []
    model.clipbert.grid_encoder.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    with torch.no_grad():
        visual_embeds = model.encode_videos(inputs["pixel_values"])
    torch.testing.assert_close(visual_embeds, expected, **EXACT)
    assert sum(seen) == 2 * 5 * 2 and max(seen) <= 4  # frames in all, and of two clips at most
    pixels = inputs.pop("pixel_values")
    logits = model(**inputs, visual_embeds=visual_embeds).logits
    torch.testing.assert_close(logits, model(**inputs, pixel_values=pixels).logits, **EXACT)


def test_the_backward_pass_draws_the_same_dropout():
    """Recomputed with other masks, the gradient would belong to another loss: a finite difference tells."""
    model, inputs = build(ClipBERTForVideoTextRetrieval, hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.3)
    model.train().chunk_clips(2)
    weight = model.clipbert.pooler.dense.weight

    def loss(shift=0.0):
        torch.manual_seed(3)
        with torch.no_grad():
            weight.add_(shift)
        return model(**inputs).loss

    (gradient,) = torch.autograd.grad(loss(), [weight])
    direction, step = torch.randn_like(weight), 1e-6
    above, below = loss(step * direction), loss(-2 * step * direction)
    torch.testing.assert_close((above - below) / (2 * step), (gradient * direction).sum(), rtol=1e-5, atol=1e-8)


def test_less_is_kept_for_the_backward_pass():
    def kept_bytes(clips_per_chunk):
        model, inputs = build(ClipBERTForVideoTextRetrieval, num_clips=8)
        model.chunk_clips(clips_per_chunk)
        sizes = {}

        def note(tensor):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            loss = model(**inputs, pooled_only=True).loss
        assert loss.requires_grad
        return sum(sizes.values())

    assert kept_bytes(1) < kept_bytes(None) / 4


def test_what_cannot_be_chunked_is_refused():
    model, inputs = build(ClipBERTForVideoTextRetrieval, freeze_backbone_norm=False)
    with pytest.raises(
        ValueError, match=r"clips_per_chunk must be at least 1, or None for all clips at once; got 0\."
    ):
        model.chunk_clips(0)
    model.chunk_clips(2)
    model(**inputs)  # in evaluation mode their statistics are fixed
    with pytest.raises(ValueError, match="batch norms of the CNN are trained"):
        model.train()(**inputs)
    model.chunk_clips(None)
    model(**inputs)


@pytest.mark.parametrize("pixels", [1, 48 * 48 * 2 * 2, 10**9])
def test_on_a_cpu_the_cnn_sees_some_clips_at_a_time(monkeypatch, pixels):
    model = tiny_model(ClipBERTForVideoTextRetrieval)
    clips = tiny_inputs(ClipBERTForVideoTextRetrieval, num_videos=3, num_clips=4)["pixel_values"]
    with torch.no_grad():
        monkeypatch.setattr(modeling_clipbert, "PIXELS_AT_ONCE", 10**9)
        expected, seen = model.encode_videos(clips), []
        monkeypatch.setattr(modeling_clipbert, "PIXELS_AT_ONCE", pixels)
        hook = model.clipbert.grid_encoder.register_forward_pre_hook(lambda module, given: seen.append(len(given[0])))
        found = model.encode_videos(clips)
        hook.remove()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)  # kernels are chosen by size
    frames = clips.shape[2]
    size = max(pixels // (frames * clips.shape[-1] * clips.shape[-2]), 1) * frames
    assert max(seen) == min(size, 12 * frames) and sum(seen) == 12 * frames


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("kernels_at_once", [1, 5, 16, 24, 10**9])
def test_on_a_cpu_the_grid_is_convolved_by_some_kernels_at_a_time(monkeypatch, kernels_at_once, dtype):
    monkeypatch.setattr(modeling_clipbert, "KERNELS_AT_ONCE", kernels_at_once)
    convolution = modeling_clipbert.ClipBERTGridConvolution(32, 24, kernel_size=3, padding=1, bias=False).to(dtype)
    feature_map, seen = torch.randn(3, 32, 5, 7).to(dtype), []
    hook = convolution.register_forward_hook(lambda module, given, found: seen.append(found.shape))
    with torch.no_grad():
        found = convolution(feature_map)
    assert seen == [found.shape] == [(3, 24, 5, 7)]
    hook.remove()
    expected = torch.nn.functional.conv2d(feature_map, convolution.weight, padding=1)
    tolerance = torch.finfo(dtype).eps * 8  # routines are chosen by size
    torch.testing.assert_close(found, expected.detach(), rtol=tolerance, atol=tolerance)


def test_where_there_is_a_gradient_the_grid_is_convolved_at_once(monkeypatch):
    monkeypatch.setattr(modeling_clipbert, "KERNELS_AT_ONCE", 5)
    convolution = modeling_clipbert.ClipBERTGridConvolution(8, 24, kernel_size=3, padding=1, bias=False)
    feature_map = torch.randn(2, 8, 5, 7, requires_grad=True)
    found = convolution(feature_map)
    assert found.grad_fn.name() == "ConvolutionBackward0"
    with torch.no_grad():
        torch.testing.assert_close(convolution(feature_map), found.detach(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("frozen", [4, 2])
@pytest.mark.parametrize("frames_at_once", [1, 3, 10**6])
def test_in_training_a_frozen_cnn_sees_some_frames_at_a_time(monkeypatch, frames_at_once, frozen):
    model, inputs = build(ClipBERTForVideoTextRetrieval, freeze_backbone_stages=frozen)
    height, width = inputs["pixel_values"].shape[-2:]
    torch.manual_seed(0)  # of the dropout
    expected, seen = gradients(model.train(), model(**inputs).loss), []
    monkeypatch.setattr(modeling_clipbert, "PIXELS_AT_ONCE", frames_at_once * height * width)
    backbone = model.clipbert.grid_encoder.backbone
    backbone.register_forward_hook(lambda module, given, found: seen.append(len(given[0])))
    torch.manual_seed(0)
    torch.testing.assert_close(gradients(model, model(**inputs).loss), expected, **EXACT)
    num_frames = inputs["pixel_values"].shape[:3].numel()
    assert sum(seen) == num_frames and max(seen) == (min(frames_at_once, num_frames) if frozen == 4 else num_frames)


@pytest.mark.parametrize("reason", ["pixels", "norms", "weights"])
def test_a_frozen_cnn_sees_all_frames_where_they_belong_together(monkeypatch, reason):
    model, inputs = build(
        ClipBERTForVideoTextRetrieval, freeze_backbone_stages=4, freeze_backbone_norm=reason != "norms"
    )
    monkeypatch.setattr(modeling_clipbert, "PIXELS_AT_ONCE", 1)
    backbone, seen = model.clipbert.grid_encoder.backbone, []
    backbone.register_forward_hook(lambda module, given, found: seen.append(len(given[0])))
    if reason == "pixels":
        inputs["pixel_values"].requires_grad_()
    elif reason == "norms":
        model.clipbert.grid_encoder.backbone_norms()[0].train()
    else:
        backbone.embedder.embedder.convolution.weight.requires_grad_()
    model(**inputs)
    assert seen == [inputs["pixel_values"].shape[:3].numel()]
