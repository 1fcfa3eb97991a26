# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The contract of every ClipBERT model on tiny configs: shapes, losses, gradients, masks, pooling, fusion, errors."""

import logging
import math

import pytest
import torch
import torch.nn.functional as F
from tiny_models import (
    BACKBONE,
    HEADS,
    IMAGE_SIZE,
    MODELS,
    NUM_CELLS,
    NUM_CHOICES,
    NUM_LABELS,
    SCORING_HEADS,
    VOCAB_SIZE,
    WIDTH,
    scores,
    tiny_config,
    tiny_inputs,
    tiny_model,
)
from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForPreTraining,
    BertForSequenceClassification,
    BertModel,
    ConvNextConfig,
    Dinov2Config,
    ResNetBackbone,
    ResNetConfig,
    RobertaConfig,
    SwinConfig,
)

from clipbert.modeling_clipbert import (
    ClipBERTForMultipleChoice,
    ClipBERTForPreTraining,
    ClipBERTForRegression,
    ClipBERTForVideoQA,
    ClipBERTForVideoTextRetrieval,
    ClipBERTModel,
    from_parts,
    pool_clip_scores,
)
from clipbert.modeling_clipbert import (
    modeling_clipbert as modeling,
)


ALL_MODELS = pytest.mark.parametrize("model_class", MODELS, ids=lambda model_class: model_class.__name__)
ALL_HEADS = pytest.mark.parametrize("model_class", HEADS, ids=lambda model_class: model_class.__name__)
ALL_SCORING_HEADS = pytest.mark.parametrize("model_class", SCORING_HEADS, ids=lambda model_class: model_class.__name__)
HEADS_WITH_POOLING = pytest.mark.parametrize(
    "model_class, pooling",
    [
        pytest.param(model_class, pooling, id=f"{model_class.__name__}-{pooling}")
        for model_class in HEADS
        for pooling in ("mean", "max", "lse")
        if (model_class, pooling) != (ClipBERTForRegression, "lse")  # refused: no soft-max over classes
    ],
)
SAME = {"rtol": 0, "atol": 1e-5}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def base_model(model):
    return getattr(model, "clipbert", model)


@pytest.fixture
def count_frames():
    """Counts the frames that pass the CNN of a model, whatever calls it."""

    def attach(model):
        seen = []
        backbone = base_model(model).grid_encoder.backbone
        backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape[0]))
        return seen

    return attach


# ----------------------------------------------------------------------------------------------------------------------
# Outputs
# ----------------------------------------------------------------------------------------------------------------------


@ALL_MODELS
def test_outputs_have_the_promised_names_and_shapes(model_class):
    texts, clips, length, tokens = 2, 3, 6, 6 + NUM_CELLS
    if model_class is ClipBERTForMultipleChoice:
        texts *= NUM_CHOICES
    model = tiny_model(model_class)
    inputs = tiny_inputs(model_class, num_clips=clips, length=length)
    outputs = model(**inputs, output_hidden_states=True, output_attentions=True)

    expected = {
        "last_hidden_state": (texts, clips, tokens, WIDTH),
        "pooler_output": (texts, clips, WIDTH),
    }
    if model_class is ClipBERTForPreTraining:
        expected["prediction_logits"] = (texts, clips, length, VOCAB_SIZE)
        expected["seq_relationship_logits"], expected["clip_logits"] = (texts, 2), (texts, clips, 2)
    elif model_class is ClipBERTForMultipleChoice:
        expected["logits"], expected["clip_logits"] = (2, NUM_CHOICES), (2, clips, NUM_CHOICES)
    elif model_class is not ClipBERTModel:
        labels = NUM_LABELS.get(model_class, 2)
        expected["logits"], expected["clip_logits"] = (texts, labels), (texts, clips, labels)
    if model_class is ClipBERTForVideoTextRetrieval:
        expected["match_odds"], expected["clip_odds"] = (texts,), (texts, clips)
    assert set(outputs) == {*expected, "hidden_states", "attentions"}
    assert {name: tuple(outputs[name].shape) for name in expected} == expected
    assert [tuple(states.shape) for states in outputs.hidden_states] == 3 * [(texts, clips, tokens, WIDTH)]
    assert [tuple(weights.shape) for weights in outputs.attentions] == 2 * [(texts, clips, 4, tokens, tokens)]
    torch.testing.assert_close(outputs.hidden_states[-1], outputs.last_hidden_state, rtol=0, atol=0)
    torch.testing.assert_close(outputs.attentions[0].sum(-1), torch.ones(texts, clips, 4, tokens))


@ALL_MODELS
@pytest.mark.parametrize("pooled_only", [False, True])
def test_returned_states_lie_on_the_path_to_the_scores(model_class, pooled_only):
    if pooled_only and model_class is ClipBERTForPreTraining:
        pytest.skip("words are predicted from all positions")
    options = {"pooled_only": True} if pooled_only else {}
    model, inputs = tiny_model(model_class), tiny_inputs(model_class, num_clips=3)
    outputs = model(**inputs, output_hidden_states=True, output_attentions=True, **options)
    returned = {"last_hidden_state": (outputs.last_hidden_state,), "pooler_output": (outputs.pooler_output,)}
    returned |= {"hidden_states": outputs.hidden_states, "attentions": outputs.attentions}
    for tensor in (tensor for tensors in returned.values() for tensor in tensors):
        tensor.retain_grad()
    scores = [name for name in ("logits", "seq_relationship_logits", "pooler_output") if name in outputs]
    outputs[scores[0]].square().sum().backward()
    for name, tensors in returned.items():
        assert all(tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in tensors), name


@ALL_MODELS
def test_tuples_on_request(model_class):
    model, inputs = tiny_model(model_class), tiny_inputs(model_class)
    named, plain = model(**inputs), model(**inputs, return_dict=False)
    assert isinstance(plain, tuple) and len(plain) == len(named.to_tuple())
    torch.testing.assert_close(plain[0], named[0], rtol=0, atol=0)


@ALL_HEADS
def test_loss_is_a_scalar_and_gradients_reach_everything_trainable(model_class):
    model = tiny_model(model_class, **NO_DROPOUT).train()
    inputs = tiny_inputs(model_class, num_videos=4, labels=True)
    loss = model(**inputs).loss
    assert loss.shape == () and torch.isfinite(loss)
    loss.backward()
    trainable = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert not [name for name, parameter in trainable.items() if parameter.grad is None]
    # a key bias moves all scores of a query alike, and the last bias those of all options: the soft-max takes them out again
    without = ("key.bias", "classifier.out_proj.bias") if model_class is ClipBERTForMultipleChoice else ("key.bias",)
    assert not [name for name, p in trainable.items() if not p.grad.abs().sum() > 0 and not name.endswith(without)]


def test_base_model_without_pooler_has_no_unused_parameters():
    torch.manual_seed(0)
    model = ClipBERTModel(tiny_config(), add_pooling_layer=False).eval()
    outputs = model(**tiny_inputs())
    assert "pooler_output" not in outputs
    (outputs.last_hidden_state * torch.randn_like(outputs.last_hidden_state)).sum().backward()
    assert not [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]


@ALL_HEADS
def test_no_loss_without_labels(model_class):
    assert "loss" not in tiny_model(model_class)(**tiny_inputs(model_class))


@ALL_MODELS
def test_new_weights(model_class):
    model = base_model(tiny_model(model_class, initializer_range=0.02, frame_fusion="conv2plus1d"))
    for weight in (model.embeddings.position_embeddings.weight, model.encoder.layer[0].attention.self.query.weight):
        assert weight.std().item() == pytest.approx(0.02, rel=0.2)
    assert not model.encoder.layer[0].attention.self.query.bias.any()
    assert not model.embeddings.word_embeddings.weight[0].any()  # padding
    conv = model.grid_encoder.conv.weight  # uniform within 1 / sqrt(inputs of a cell)
    assert 0.95 < conv.abs().max() * math.sqrt(conv[0].numel()) <= 1
    identity = model.frame_fusion.temporal_conv
    assert torch.equal(identity.weight[:, :, 1, 0, 0], torch.eye(WIDTH)) and identity.weight.sum() == WIDTH
    stem = model.grid_encoder.backbone.embedder.embedder.convolution.weight  # as ResNets of transformers start
    assert stem.std().item() == pytest.approx(math.sqrt(2 / (8 * 49)), rel=0.2)


# ----------------------------------------------------------------------------------------------------------------------
# The frozen part of the CNN
# ----------------------------------------------------------------------------------------------------------------------


def parameter_groups(model):
    backbone = base_model(model).grid_encoder.backbone
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    norm_parameters = {id(parameter) for norm in norms for parameter in norm.parameters()}
    parts = [backbone.embedder, *backbone.encoder.stages]
    weights = [[p for p in part.parameters() if id(p) not in norm_parameters] for part in parts]
    return norms, weights


@pytest.mark.parametrize("stages", [0, 1, 2, 4])
def test_first_stages_are_frozen(stages):
    _, weights = parameter_groups(tiny_model(ClipBERTModel, freeze_backbone_stages=stages))
    assert len(weights) == 4  # stem and three stages
    for index, part in enumerate(weights):
        assert part and {p.requires_grad for p in part} == {index >= stages}


@ALL_MODELS
def test_batch_norms_stay_as_they_are_in_training(model_class):
    model = tiny_model(model_class).train()
    norms, _ = parameter_groups(model)
    assert norms and not any(norm.training for norm in norms)
    assert not any(p.requires_grad for norm in norms for p in norm.parameters())
    before = [norm.running_mean.clone() for norm in norms]
    model(**tiny_inputs(model_class, num_videos=3))
    assert all(torch.equal(norm.running_mean, mean) for norm, mean in zip(norms, before, strict=True))
    assert model.train().training and not norms[0].training  # also when asked twice


def test_batch_norms_are_trained_on_request():
    model = tiny_model(ClipBERTModel, freeze_backbone_norm=False, freeze_backbone_stages=0).train()
    norms, _ = parameter_groups(model)
    assert all(norm.training for norm in norms)
    assert all(p.requires_grad for norm in norms for p in norm.parameters())
    before = norms[0].running_mean.clone()
    model(**tiny_inputs())
    assert not torch.equal(norms[0].running_mean, before)


# ----------------------------------------------------------------------------------------------------------------------
# The same question asked in other ways
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("texts_per_video", [1, 5])
def test_every_frame_passes_the_cnn_once_however_many_texts(texts_per_video, count_frames):
    model = tiny_model(ClipBERTForVideoTextRetrieval)
    seen = count_frames(model)
    inputs = tiny_inputs(num_videos=2, num_clips=3, num_frames=2)
    for name in ("input_ids", "attention_mask"):
        inputs[name] = inputs[name].repeat_interleave(texts_per_video, dim=0)
    model(**inputs, video_indices=torch.arange(2).repeat_interleave(texts_per_video))
    assert seen == [2 * 3 * 2]


def test_every_frame_passes_the_cnn_once_however_many_choices(count_frames):
    model = tiny_model(ClipBERTForMultipleChoice)
    seen = count_frames(model)
    model(**tiny_inputs(ClipBERTForMultipleChoice, num_videos=2, num_clips=3, num_frames=2))
    assert seen == [2 * 3 * 2]


@ALL_HEADS
def test_scores_depend_on_text_and_video(model_class):
    """Guards the equivalence tests below: scores that never move would pass all of them."""
    model, inputs = tiny_model(model_class), tiny_inputs(model_class)
    reference = scores(model(**inputs))
    other_text = {**inputs, "input_ids": inputs["input_ids"].flip(-1)}
    other_video = {**inputs, "pixel_values": inputs["pixel_values"].flip(0)}
    for other in (other_text, other_video):
        assert (scores(model(**other)) - reference).abs().max() > 1e-2


@ALL_HEADS
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_padding_further_changes_nothing(model_class, attention):
    model, inputs = tiny_model(model_class), tiny_inputs(model_class)
    model.set_attn_implementation(attention)
    padded = {**inputs, **{name: F.pad(inputs[name], (0, 7)) for name in ("input_ids", "attention_mask")}}
    torch.testing.assert_close(scores(model(**padded)), scores(model(**inputs)), **SAME)


@ALL_MODELS
def test_masks_may_have_any_type(model_class):
    model, inputs = tiny_model(model_class), tiny_inputs(model_class)
    reference = model(**inputs).pooler_output
    without = model(**{**inputs, "attention_mask": None}).pooler_output
    assert (without - reference).abs().max() > 1e-3  # the last text has a padded token
    for dtype in (torch.bool, torch.int32, torch.float32):
        inputs["attention_mask"] = inputs["attention_mask"].to(dtype)
        torch.testing.assert_close(model(**inputs).pooler_output, reference, **SAME)


@ALL_HEADS
def test_rows_do_not_depend_on_the_rest_of_the_batch(model_class):
    model, inputs = tiny_model(model_class), tiny_inputs(model_class, num_videos=4)
    reference = scores(model(**inputs))
    order = torch.tensor([2, 0, 3, 1])
    shuffled = scores(model(**{name: tensor[order] for name, tensor in inputs.items()}))
    torch.testing.assert_close(shuffled, reference[order], **SAME)
    for row in range(4):
        alone = scores(model(**{name: tensor[row : row + 1] for name, tensor in inputs.items()}))
        torch.testing.assert_close(alone, reference[row : row + 1], **SAME)


@ALL_HEADS
def test_video_indices_say_which_video_a_text_is_read_with(model_class):
    model, inputs = tiny_model(model_class), tiny_inputs(model_class, num_videos=3)
    video_indices = torch.tensor([1, 1, 0])
    repeated = {**inputs, "pixel_values": inputs["pixel_values"][video_indices]}
    for indices in (video_indices, video_indices.byte()):
        torch.testing.assert_close(scores(model(**inputs, video_indices=indices)), scores(model(**repeated)), **SAME)


@ALL_HEADS
def test_more_texts_than_videos_and_videos_without_text(model_class):
    model, inputs = tiny_model(model_class), tiny_inputs(model_class, num_videos=4)
    videos = inputs["pixel_values"][:3]
    video_indices = torch.tensor([0, 2, 2, 0])  # nothing is asked about video 1
    outputs = model(**{**inputs, "pixel_values": videos}, video_indices=video_indices)
    expected = model(**{**inputs, "pixel_values": videos[video_indices]})
    torch.testing.assert_close(scores(outputs), scores(expected), **SAME)


@ALL_SCORING_HEADS
def test_clips_together_equal_clips_one_by_one(model_class):
    model, inputs = tiny_model(model_class), tiny_inputs(model_class, num_clips=3)
    together = model(**inputs)
    one_by_one = [
        model(**{**inputs, "pixel_values": inputs["pixel_values"][:, clip : clip + 1]}).clip_logits
        for clip in range(3)
    ]
    torch.testing.assert_close(together.clip_logits, torch.cat(one_by_one, dim=1), **SAME)
    torch.testing.assert_close(together.logits, torch.cat(one_by_one, dim=1).mean(1), **SAME)


def test_clips_together_equal_clips_one_by_one_in_pretraining():
    model, inputs = tiny_model(ClipBERTForPreTraining), tiny_inputs(num_clips=3)
    words = [
        model(**{**inputs, "pixel_values": inputs["pixel_values"][:, clip : clip + 1]}).prediction_logits
        for clip in range(3)
    ]
    torch.testing.assert_close(model(**inputs).prediction_logits, torch.cat(words, dim=1), **SAME)


@ALL_HEADS
def test_encoded_videos_replace_pixels(model_class, count_frames):
    model, inputs = tiny_model(model_class), tiny_inputs(model_class)
    reference = scores(model(**inputs))
    visual_embeds = model.encode_videos(inputs.pop("pixel_values"))
    assert visual_embeds.shape == (2, 2, NUM_CELLS, WIDTH)
    seen = count_frames(model)
    torch.testing.assert_close(scores(model(**inputs, visual_embeds=visual_embeds)), reference, **SAME)
    assert seen == []


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("model_class", SCORING_HEADS)
def test_the_last_layer_for_one_position_gives_the_same_scores_and_gradients(model_class, implementation):
    model = tiny_model(model_class)
    model.set_attn_implementation(implementation)
    inputs = tiny_inputs(model_class, labels=True)
    full, short = model(**inputs), model(**inputs, pooled_only=True)
    torch.testing.assert_close(short.logits, full.logits, **SAME)
    torch.testing.assert_close(short.clip_logits, full.clip_logits, **SAME)
    torch.testing.assert_close(short.last_hidden_state, full.last_hidden_state[:, :, :1], **SAME)
    names, parameters = zip(*((n, p) for n, p in model.named_parameters() if p.requires_grad), strict=True)
    gradients = [torch.autograd.grad(outputs.loss, parameters) for outputs in (full, short)]
    for name, one, other in zip(names, *gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


@ALL_MODELS
def test_images_are_clips_of_one_frame_and_five_dimensions_are_one_clip(model_class):
    model, inputs = tiny_model(model_class), tiny_inputs(model_class, num_clips=1, num_frames=1)
    expected = model(**inputs).last_hidden_state
    for pixels in (inputs["pixel_values"][:, 0], inputs["pixel_values"][:, 0, 0]):
        torch.testing.assert_close(
            model(**{**inputs, "pixel_values": pixels}).last_hidden_state, expected, rtol=0, atol=0
        )


def test_five_dimensions_are_the_frames_of_one_clip():
    model, inputs = tiny_model(ClipBERTModel), tiny_inputs(num_clips=1, num_frames=3)
    expected = model(**inputs).last_hidden_state
    one_clip = model(**{**inputs, "pixel_values": inputs["pixel_values"][:, 0]}).last_hidden_state
    torch.testing.assert_close(one_clip, expected, rtol=0, atol=0)


@pytest.mark.parametrize("height, width, cells", [(64, 64, 4), (64, 96, 6), (40, 100, 3), (33, 33, 1), (49, 49, 4)])
def test_number_of_cells_follows_the_picture(height, width, cells):
    model = tiny_model(ClipBERTModel)
    assert model.encode_videos(torch.randn(1, 1, 1, 3, height, width)).shape == (1, 1, cells, WIDTH)


# ----------------------------------------------------------------------------------------------------------------------
# Clips that do not exist
# ----------------------------------------------------------------------------------------------------------------------

CLIP_MASK = torch.tensor([[1, 0, 1], [1, 1, 1], [0, 0, 1]])


def loss_and_gradients(model, inputs):
    model.zero_grad()
    outputs = model(**inputs)
    outputs.loss.backward()
    gradients = {
        name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.requires_grad
    }
    return scores(outputs).detach(), outputs.loss.detach(), gradients


@HEADS_WITH_POOLING
@pytest.mark.parametrize("garbage", [1e4, math.nan, math.inf])
def test_what_masked_clips_hold_changes_nothing(model_class, pooling, garbage):
    model = tiny_model(model_class, score_pooling=pooling, **NO_DROPOUT).train()
    inputs = {**tiny_inputs(model_class, num_videos=3, num_clips=3, labels=True), "clip_mask": CLIP_MASK}
    logits, loss, gradients = loss_and_gradients(model, inputs)
    assert torch.isfinite(loss) and all(torch.isfinite(gradient).all() for gradient in gradients.values())

    spoilt = inputs["pixel_values"].clone()
    spoilt[CLIP_MASK == 0] = garbage
    encoded = model.encode_videos(inputs["pixel_values"]).detach()
    encoded[CLIP_MASK == 0] = garbage
    other_logits, other_loss, other_gradients = loss_and_gradients(model, {**inputs, "pixel_values": spoilt})
    torch.testing.assert_close(other_logits, logits, rtol=0, atol=0)
    torch.testing.assert_close(other_loss, loss, rtol=0, atol=0)
    for name, gradient in gradients.items():
        torch.testing.assert_close(other_gradients[name], gradient, rtol=0, atol=0, msg=name)

    inputs.pop("pixel_values")
    outputs = model(**inputs, visual_embeds=encoded)
    torch.testing.assert_close(scores(outputs), logits, **SAME)
    model.zero_grad()
    outputs.loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@ALL_HEADS
@pytest.mark.parametrize("trained_norms", [False, True])
def test_masked_clips_count_as_if_they_were_not_there(model_class, trained_norms):
    """Scores, loss, gradients and the statistics of all batch norms, in training."""
    settings = {"freeze_backbone_norm": not trained_norms, **NO_DROPOUT}
    masked = {**tiny_inputs(model_class, num_videos=3, num_clips=3, labels=True)}
    masked["clip_mask"] = torch.tensor([[1, 0, 1]] * 3)
    absent = {**masked, "pixel_values": masked["pixel_values"][:, [0, 2]]}
    absent.pop("clip_mask")
    models = [tiny_model(model_class, **settings).train() for _ in range(2)]
    (logits, loss, gradients), (few_logits, few_loss, few_gradients) = (
        loss_and_gradients(model, inputs) for model, inputs in zip(models, (masked, absent), strict=True)
    )
    torch.testing.assert_close(logits, few_logits, **SAME)
    torch.testing.assert_close(loss, few_loss, rtol=1e-5, atol=1e-5)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, few_gradients[name], rtol=1e-3, atol=1e-4, msg=name)
    for (name, buffer), other in zip(models[0].named_buffers(), models[1].buffers(), strict=True):
        torch.testing.assert_close(buffer, other, rtol=1e-4, atol=1e-5, msg=name)


def test_masked_clips_do_not_pass_the_cnn(count_frames):
    model = tiny_model(ClipBERTForVideoTextRetrieval)
    seen = count_frames(model)
    model(**tiny_inputs(num_videos=3, num_clips=3, num_frames=2), clip_mask=CLIP_MASK)
    assert seen == [2 * int(CLIP_MASK.sum())]


@ALL_HEADS
def test_a_mask_of_ones_is_no_mask(model_class):
    model, inputs = tiny_model(model_class, **NO_DROPOUT).train(), tiny_inputs(model_class, labels=True)
    without = model(**inputs).loss
    for mask in (torch.ones(2, 2, dtype=torch.bool), torch.ones(2, 2, dtype=torch.int64)):
        torch.testing.assert_close(model(**inputs, clip_mask=mask).loss, without, **SAME)


@ALL_SCORING_HEADS
def test_masks_follow_the_video_of_a_text(model_class):
    model, inputs = tiny_model(model_class), tiny_inputs(model_class, num_videos=3, num_clips=3)
    video_indices = torch.tensor([2, 0, 0])
    outputs = model(**inputs, video_indices=video_indices, clip_mask=CLIP_MASK)
    clips = outputs.clip_logits
    by_hand = torch.stack([clips[0, 2], clips[1, [0, 2]].mean(0), clips[2, [0, 2]].mean(0)])
    torch.testing.assert_close(outputs.logits, by_hand, **SAME)


# ----------------------------------------------------------------------------------------------------------------------
# Pooling and losses by hand
# ----------------------------------------------------------------------------------------------------------------------


def test_pooling_by_hand():
    clip_logits = torch.tensor([[[1.0, -2.0], [3.0, 0.5], [-1.0, 4.0]]])
    mask = torch.tensor([[1, 0, 1]])
    by_hand = {
        ("mean", None): [1.0, 2.5 / 3],
        ("max", None): [3.0, 4.0],
        ("lse", None): [
            math.log(math.exp(1) + math.exp(3) + math.exp(-1)),
            math.log(math.exp(-2) + math.exp(0.5) + math.exp(4)),
        ],
        ("mean", "mask"): [0.0, 1.0],
        ("max", "mask"): [1.0, 4.0],
        ("lse", "mask"): [math.log(math.exp(1) + math.exp(-1)), math.log(math.exp(-2) + math.exp(4))],
    }
    for (pooling, masked), expected in by_hand.items():
        pooled = pool_clip_scores(clip_logits, pooling, mask if masked else None)
        torch.testing.assert_close(pooled, torch.tensor([expected]))


@pytest.mark.parametrize("pooling", ["mean", "max", "lse"])
def test_pooling_of_one_clip_is_that_clip_and_order_does_not_matter(pooling):
    clip_logits = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(pool_clip_scores(clip_logits[:, :1], pooling), clip_logits[:, 0])
    torch.testing.assert_close(pool_clip_scores(clip_logits.flip(1), pooling), pool_clip_scores(clip_logits, pooling))


def test_pooling_survives_large_scores_and_half_precision():
    clip_logits = torch.tensor([[[3.0e4, -3.0e4], [3.0e4, -3.0e4]]], dtype=torch.float16)
    for pooling in ("mean", "max", "lse"):
        pooled = pool_clip_scores(clip_logits, pooling)
        assert pooled.dtype == torch.float32 and torch.isfinite(pooled).all()
    assert pool_clip_scores(clip_logits.double(), "mean").dtype == torch.float64


def test_pooling_refuses_other_words():
    with pytest.raises(ValueError, match="'mean', 'max' or 'lse', got 'sum'"):
        pool_clip_scores(torch.zeros(1, 1, 1), "sum")


@HEADS_WITH_POOLING
@pytest.mark.parametrize("training", [False, True])
def test_pooling_is_part_of_the_model(model_class, pooling, training):
    model = tiny_model(model_class, score_pooling=pooling, **NO_DROPOUT).train(training)
    inputs = tiny_inputs(model_class, num_clips=3, labels=True)
    outputs = model(**inputs)
    if model_class is ClipBERTForPreTraining:
        clip_logits, labels = model.cls.seq_relationship(outputs.pooler_output), inputs["itm_labels"]
    else:
        clip_logits, labels = outputs.clip_logits, inputs["labels"]
    by_hand = {
        "mean": clip_logits.mean(1),
        "max": clip_logits.amax(1),
        "lse": clip_logits.exp().sum(1).log(),
    }[pooling]
    torch.testing.assert_close(scores(outputs), by_hand, **SAME)
    if model_class is ClipBERTForRegression:
        return
    log_probabilities = by_hand - by_hand.exp().sum(-1, keepdim=True).log()
    loss = -log_probabilities[torch.arange(2), labels].mean()
    torch.testing.assert_close(outputs.itm_loss if "itm_loss" in outputs else outputs.loss, loss, **SAME)


def test_retrieval_with_two_labels_gives_a_probability():
    model = tiny_model(ClipBERTForVideoTextRetrieval)
    logits = torch.tensor([[0.0, 0.0], [1.0, 3.0]])
    torch.testing.assert_close(model.match_scores(logits), torch.tensor([0.5, 1 / (1 + math.exp(-2))]))


def test_ranking_loss_by_hand():
    model = tiny_model(ClipBERTForVideoTextRetrieval, loss_type="rank", num_labels=1, margin=0.2)
    inputs = tiny_inputs(num_videos=5)
    # video 0: match (row 0), two others (rows 1, 3); video 1: match (row 2), other (row 4)
    inputs["pixel_values"] = inputs["pixel_values"][:2]
    video_indices = torch.tensor([0, 0, 1, 0, 1])
    outputs = model(**inputs, video_indices=video_indices, labels=torch.tensor([1, 0, 1, 0, 0]))
    score = [1 / (1 + math.exp(-x)) for x in outputs.logits[:, 0].tolist()]
    torch.testing.assert_close(model.match_scores(outputs.logits), torch.tensor(score))
    hinges = [max(0.0, 0.2 + score[other] - score[match]) for match, other in ((0, 1), (0, 3), (2, 4))]
    assert outputs.loss.item() == pytest.approx(sum(hinges) / 3, abs=1e-6)
    assert sum(hinge > 0 for hinge in hinges) > 0


def test_ranking_loss_wants_both_kinds_of_text_for_a_video():
    model = tiny_model(ClipBERTForVideoTextRetrieval, loss_type="rank", num_labels=1)
    inputs = tiny_inputs(num_videos=2)
    with pytest.raises(ValueError, match="pass video_indices"):
        model(**inputs, labels=torch.tensor([1, 0]))
    with pytest.raises(ValueError, match=r"no video has both: labels \[1, 0\], video_indices \[0, 1\]"):
        model(**inputs, labels=torch.tensor([1, 0]), video_indices=torch.tensor([0, 1]))


def test_soft_scores_are_summed_over_answers_and_averaged_over_questions():
    model = tiny_model(ClipBERTForVideoQA, loss_type="bce")
    labels = torch.tensor([[0.0, 0.3, 1.0, 0.0, 0.6], [1.0, 0.0, 0.0, 0.0, 0.0]])
    outputs = model(**tiny_inputs(), labels=labels)
    probability = outputs.logits.sigmoid()
    by_hand = -(labels * probability.log() + (1 - labels) * (1 - probability).log()).sum(1).mean()
    torch.testing.assert_close(outputs.loss, by_hand)
    assert model(**tiny_inputs(), labels=labels.half()).loss.dtype == torch.float32


def test_questions_without_an_answer_are_left_out():
    model, inputs = tiny_model(ClipBERTForVideoQA), tiny_inputs(num_videos=3)
    loss = model(**inputs, labels=torch.tensor([2, -100, 4])).loss
    logits = model(**inputs).logits[[0, 2]]
    torch.testing.assert_close(loss, F.cross_entropy(logits, torch.tensor([2, 4])))


def test_counting_is_a_squared_error():
    for model in (tiny_model(ClipBERTForRegression), tiny_model(ClipBERTForVideoQA, num_labels=1)):
        outputs = model(**tiny_inputs(), labels=torch.tensor([3, 7]))  # counts may be integers
        assert outputs.logits.shape == (2, 1)
        assert outputs.loss.item() == pytest.approx(
            ((outputs.logits[0, 0] - 3) ** 2 / 2 + (outputs.logits[1, 0] - 7) ** 2 / 2).item(), rel=1e-6
        )


def test_batch_norm_of_regression_leaves_masked_clips_out():
    head = tiny_model(ClipBERTForRegression, **NO_DROPOUT).regressor.train()
    plain = nn.BatchNorm1d(WIDTH).train()
    pooled = torch.randn(3, 3, WIDTH, generator=torch.Generator().manual_seed(0), requires_grad=True)
    exists = CLIP_MASK.bool()
    for _ in range(2):  # two steps of running statistics
        result = head(pooled, CLIP_MASK)
        by_hand = head.out_proj(plain(F.elu(head.dense(pooled[exists]))))
    torch.testing.assert_close(result[exists], by_hand)
    torch.testing.assert_close(head.norm.running_mean, plain.running_mean)
    torch.testing.assert_close(head.norm.running_var, plain.running_var)
    assert head.norm.num_batches_tracked == 2
    (gradient,) = torch.autograd.grad(result[exists].square().sum(), pooled, retain_graph=True)
    (expected,) = torch.autograd.grad(by_hand.square().sum(), pooled)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="two clips or more in training, got 1"):
        head(pooled[:1], torch.tensor([[0, 1, 0]]))
    head.eval()
    torch.testing.assert_close(head(pooled, CLIP_MASK), head(pooled))


def masked_word_terms(outputs, labels):
    """Minus log-probability of each word to predict, `(texts, clips, length)`, 0 elsewhere."""
    log_probabilities = outputs.prediction_logits.log_softmax(-1)
    picked = labels.clamp(min=0)[:, None, :, None].expand(*log_probabilities.shape[:3], 1)
    terms = -log_probabilities.gather(-1, picked)[..., 0]
    return terms * (labels != -100)[:, None]


@pytest.mark.parametrize("reduction", ["masked", "all"])
@pytest.mark.parametrize("mismatched", [False, True])
def test_masked_word_loss_by_hand(reduction, mismatched):
    model = tiny_model(ClipBERTForPreTraining, mlm_loss_reduction=reduction, mlm_on_mismatched_pairs=mismatched)
    inputs = tiny_inputs(ClipBERTForPreTraining, num_videos=3, num_clips=3, labels=True)
    outputs = model(**inputs, clip_mask=CLIP_MASK)
    labels, matched, exists = inputs["mlm_labels"], inputs["itm_labels"] == 1, CLIP_MASK.bool()
    terms = masked_word_terms(outputs, labels) * exists[..., None]
    counted = (labels != -100)[:, None] & exists[..., None]
    if not mismatched:
        terms, counted = terms * matched[:, None, None], counted & matched[:, None, None]
    positions = counted.sum() if reduction == "masked" else exists.sum() * labels.shape[1]
    torch.testing.assert_close(outputs.mlm_loss, terms.sum() / positions)
    torch.testing.assert_close(
        outputs.itm_loss, F.cross_entropy(outputs.seq_relationship_logits, inputs["itm_labels"])
    )
    torch.testing.assert_close(outputs.loss, outputs.mlm_loss + outputs.itm_loss)


def test_pretraining_losses_one_at_a_time():
    model = tiny_model(ClipBERTForPreTraining)
    inputs = tiny_inputs(ClipBERTForPreTraining, labels=True)
    itm_labels, mlm_labels = inputs.pop("itm_labels"), inputs.pop("mlm_labels")
    words = model(**inputs, mlm_labels=mlm_labels)
    torch.testing.assert_close(words.loss, words.mlm_loss)
    assert "itm_loss" not in words
    terms = masked_word_terms(words, mlm_labels)
    torch.testing.assert_close(words.mlm_loss, terms.sum() / (2 * (mlm_labels != -100).sum()))
    matching = model(**inputs, itm_labels=itm_labels)
    torch.testing.assert_close(matching.loss, matching.itm_loss)
    assert "mlm_loss" not in matching


def test_nothing_to_predict_is_a_loss_of_zero():
    model = tiny_model(ClipBERTForPreTraining).train()
    inputs = tiny_inputs(ClipBERTForPreTraining, labels=True)
    inputs["itm_labels"] = torch.zeros(2, dtype=torch.int64)  # no pair belongs together
    outputs = model(**inputs)
    assert outputs.mlm_loss.item() == 0
    outputs.loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


# ----------------------------------------------------------------------------------------------------------------------
# Frames of a clip
# ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def frames():
    return 50 * torch.randn(1, 1, 3, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("fusion", ["conv3d", "conv2plus1d"])
def test_untrained_convolutions_fuse_like_the_mean(fusion, frames):
    mean = tiny_model(ClipBERTModel)
    other = tiny_model(ClipBERTModel, frame_fusion=fusion)
    new = other.load_state_dict(mean.state_dict(), strict=False).missing_keys
    assert new and all(name.startswith("frame_fusion.") for name in new)
    torch.testing.assert_close(other.encode_videos(frames), mean.encode_videos(frames), **SAME)


def test_mean_and_max_by_hand(frames):
    for fusion in ("mean", "max"):
        model = tiny_model(ClipBERTModel, frame_fusion=fusion)
        grids = model.grid_encoder(frames.flatten(0, 2))[None]  # (1, frames, D, h, w)
        grid = grids.mean(1, keepdim=True) if fusion == "mean" else grids.amax(1, keepdim=True)
        torch.testing.assert_close(model.encode_videos(frames)[0], model.visual_embeddings(grid), **SAME)


def test_without_fusion_the_tokens_of_all_frames_stay(frames):
    model = tiny_model(ClipBERTModel, frame_fusion="none")
    tokens = model.encode_videos(frames)
    assert tokens.shape == (1, 1, 3 * NUM_CELLS, WIDTH)
    one_by_one = torch.cat([model.encode_videos(frames[:, :, t : t + 1]) for t in range(3)], dim=2)
    torch.testing.assert_close(tokens, one_by_one, **SAME)


@pytest.mark.parametrize("fusion", ["mean", "max", "conv3d", "conv2plus1d", "none"])
@pytest.mark.parametrize("temporal", [False, True])
def test_order_of_frames_matters_where_it_should(fusion, temporal, frames):
    model = tiny_model(ClipBERTModel, frame_fusion=fusion, use_temporal_position_embeddings=temporal)
    torch.manual_seed(0)
    for module in model.frame_fusion.modules():
        if isinstance(module, nn.Conv3d):
            module.reset_parameters()  # random: what training makes of the mean they start as
    inputs = {**tiny_inputs(num_videos=1), "pixel_values": frames}
    forwards = model(**inputs).pooler_output
    backwards = model(**{**inputs, "pixel_values": frames.flip(2)}).pooler_output
    sees_order = fusion in ("conv3d", "conv2plus1d") or (temporal and fusion != "mean")
    if sees_order:
        assert (forwards - backwards).abs().max() > 1e-4
    else:
        torch.testing.assert_close(forwards, backwards, **SAME)


@pytest.mark.parametrize("fusion", ["mean", "max", "conv3d", "conv2plus1d", "none"])
def test_frame_fusion_is_trained(fusion):
    model = tiny_model(
        ClipBERTForVideoTextRetrieval, frame_fusion=fusion, use_temporal_position_embeddings=True, **NO_DROPOUT
    ).train()
    model(**tiny_inputs(num_clips=2, num_frames=3, labels=True)).loss.backward()
    for name, parameter in model.clipbert.frame_fusion.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_temporal_positions_by_hand(frames):
    model = tiny_model(ClipBERTModel, frame_fusion="none", use_temporal_position_embeddings=True)
    grids = model.grid_encoder(frames.flatten(0, 2))[None]
    positions = model.frame_fusion.temporal_position_embeddings.weight[:3]
    by_hand = model.visual_embeddings(grids + positions[None, :, :, None, None])
    torch.testing.assert_close(model.encode_videos(frames)[0], by_hand, **SAME)


def test_pixels_are_sampled_in_training_only(frames, caplog):
    model = tiny_model(ClipBERTModel, pixel_random_sampling_size=3)
    everything = model.encode_videos(frames)
    assert everything.shape[2] == NUM_CELLS
    model.train()
    torch.manual_seed(0)
    draws = [model.encode_videos(frames.expand(2, 2, -1, -1, -1, -1)) for _ in range(12)]
    assert {draw.shape for draw in draws} == {(2, 2, 3, WIDTH)}
    kept = []
    for draw in draws:
        same = (draw[0, 0][:, None] - everything[0, 0][None]).abs().amax(-1) < 1e-5  # (3, cells)
        assert (same.sum(1) == 1).all()  # each is one of the cells,
        cells = same.int().argmax(1).tolist()
        assert cells == sorted(set(cells))  # in order and without repeats,
        torch.testing.assert_close(draw[1, 1], draw[0, 0])  # the same for the whole batch,
        kept.append(tuple(cells))
    assert len(set(kept)) > 1  # and drawn anew
    assert not caplog.records
    tiny_model(ClipBERTModel, pixel_random_sampling_size=NUM_CELLS + 5).train().encode_videos(frames)
    assert (
        f"{NUM_CELLS + 5} leaves nothing out" in caplog.text
    )  # which would look like sampling that makes no difference


# ----------------------------------------------------------------------------------------------------------------------
# Other backbones, parts of other checkpoints
# ----------------------------------------------------------------------------------------------------------------------

OTHER_BACKBONES = {
    "resnet-basic": ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", out_features=["stage2"]
    ),
    "convnext": ConvNextConfig(hidden_sizes=[8, 16, 24], depths=[1, 1, 1], num_stages=3, out_features=["stage3"]),
    "swin": SwinConfig(
        image_size=64, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4, out_features=["stage2"]
    ),
    "dinov2": Dinov2Config(
        image_size=64,
        patch_size=16,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        out_features=["stage1"],
    ),
}


@pytest.mark.parametrize("name", OTHER_BACKBONES)
def test_other_backbones(name, tmp_path):
    backbone_config = OTHER_BACKBONES[name].to_dict()
    model = tiny_model(ClipBERTForVideoTextRetrieval, backbone_config=backbone_config)
    inputs = tiny_inputs(labels=True)
    outputs = model(**inputs)
    assert outputs.logits.shape == (2, 2)
    model.save_pretrained(tmp_path)
    for attention in ("eager", "sdpa"):
        loaded = ClipBERTForVideoTextRetrieval.from_pretrained(tmp_path, attn_implementation=attention)
        assert loaded.config.backbone_config.model_type == backbone_config["model_type"]
        torch.testing.assert_close(loaded(**inputs).logits, outputs.logits, **SAME)
    model.train()(**inputs).loss.backward()
    gradients = [p.grad for p in model.clipbert.grid_encoder.backbone.parameters() if p.grad is not None]
    assert sum(gradient.abs().sum() for gradient in gradients) > 0


@pytest.fixture
def vision_and_text(tmp_path):
    """Folders of a tiny ResNet and a tiny BERT, as a user would name them."""
    torch.manual_seed(3)
    ResNetBackbone(ResNetConfig(**{k: v for k, v in BACKBONE.items() if k != "model_type"})).save_pretrained(
        tmp_path / "vision"
    )
    bert = BertConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=64,
    )
    BertForPreTraining(bert).save_pretrained(tmp_path / "text")
    return tmp_path / "vision", tmp_path / "text"


@ALL_MODELS
def test_model_from_a_resnet_and_a_bert(model_class, vision_and_text):
    vision, text = vision_and_text
    extra = {"num_labels": 1} if model_class is ClipBERTForRegression else {}
    model, info = from_parts(model_class, {"vision": vision, "text": text}, output_loading_info=True, **extra)
    own = model.state_dict()
    assert sorted(info["loaded"] + info["new"]) == sorted(own)
    assert info["unused_vision"] == []
    heads_of_bert = [name for name in info["unused_text"] if name.startswith("cls.")]
    assert bool(heads_of_bert) == (model_class is not ClipBERTForPreTraining)
    backbone = ResNetBackbone.from_pretrained(vision).state_dict()
    bert = BertForPreTraining.from_pretrained(text).state_dict()
    prefix = "" if model_class is ClipBERTModel else "clipbert."
    for name, tensor in backbone.items():
        assert torch.equal(own[f"{prefix}grid_encoder.backbone.{name}"], tensor), name
    layers = [name for name in bert if name.startswith("bert.encoder.")]
    assert layers and all(torch.equal(own[prefix + name.removeprefix("bert.")], bert[name]) for name in layers)
    model.eval()(**tiny_inputs(model_class))


@ALL_MODELS
@pytest.mark.parametrize("bert_class", [BertModel, BertForMaskedLM, BertForSequenceClassification])
def test_a_bert_without_some_heads_is_a_start(model_class, bert_class, vision_and_text, tmp_path, caplog):
    vision, text = vision_and_text
    config = BertConfig.from_pretrained(text)
    bert_class(config).save_pretrained(tmp_path / "bert")
    extra = {"num_labels": 1} if model_class is ClipBERTForRegression else {}
    logging.getLogger("transformers").addHandler(caplog.handler)
    try:
        model, info = from_parts(
            model_class, {"vision": vision, "text": tmp_path / "bert"}, output_loading_info=True, **extra
        )
    finally:
        logging.getLogger("transformers").removeHandler(caplog.handler)
    assert "corrupted" not in caplog.text and "LOAD REPORT" not in caplog.text  # one report, of both
    own, bert = model.state_dict(), bert_class.from_pretrained(tmp_path / "bert").state_dict()
    assert sorted(info["loaded"] + info["new"]) == sorted(own)
    heads = {name for name in own if name.startswith("cls.")}
    assert heads & set(info["loaded"]) == {name for name in heads if name in bert}
    for name in info["loaded"]:
        if "grid_encoder" not in name and "regressor" not in name:  # a counter of its norm counts as loaded
            name_there = name.removeprefix("clipbert.")
            there = bert[name_there] if name_there in bert else bert[f"bert.{name_there}"]
            assert torch.equal(own[name], there), name
    model(**tiny_inputs(model_class))


def test_contradictions_with_the_text_checkpoint_are_refused(vision_and_text, tmp_path):
    vision, text = vision_and_text
    with pytest.raises(ValueError, match=f"hidden_size=64 contradicts {WIDTH}"):
        from_parts(ClipBERTModel, {"vision": vision, "text": text}, hidden_size=64)
    RobertaConfig().save_pretrained(tmp_path / "roberta")
    with pytest.raises(ValueError, match="'roberta' checkpoint"):
        from_parts(ClipBERTModel, {"vision": vision, "text": tmp_path / "roberta"})


# ----------------------------------------------------------------------------------------------------------------------
# Mistakes
# ----------------------------------------------------------------------------------------------------------------------


def refused(model, *words, **changes):
    """The call is refused, and the message has all these words."""
    model_class = type(model)
    inputs = {**tiny_inputs(model_class), **changes}
    with pytest.raises(ValueError) as error:
        model(**{name: value for name, value in inputs.items() if value is not None})
    missing = [word for word in words if word not in str(error.value)]
    assert not missing, f"{missing} not in: {error.value}"


@ALL_MODELS
def test_wrong_shapes_are_refused_with_both_shapes(model_class):
    model, inputs = tiny_model(model_class), tiny_inputs(model_class)
    ids, pixels = inputs["input_ids"], inputs["pixel_values"]
    shape = str(tuple(ids.shape))
    refused(
        model, "(videos, clips, frames, 3, height, width)", "(2, 2, 2, 64, 64, 3)", pixel_values=pixels.movedim(3, -1)
    )
    refused(model, "(images, 3, height, width)", "(2, 64, 64)", pixel_values=pixels[:, 0, 0, 0])
    refused(model, "none of them empty", "(2, 0, 2, 3, 64, 64)", pixel_values=pixels[:, :0])
    refused(model, "torch.uint8", "mean subtraction", pixel_values=pixels.to(torch.uint8))
    refused(
        model,
        "attention_mask",
        "(2, 5)" if ids.ndim == 2 else "(2, 3, 5)",
        shape,
        attention_mask=inputs["attention_mask"][..., :5],
    )
    refused(model, shape, "video_indices", pixel_values=torch.cat([pixels, pixels]))  # 4 videos, 2 texts
    refused(model, shape, "video_indices", pixel_values=pixels[:1])  # 1 video, 2 texts
    refused(model, shape, "(3,)", video_indices=torch.tensor([0, 1, 1]))
    refused(model, "[0, 2)", "got 2", video_indices=torch.tensor([0, 2]))
    refused(model, "[0, 2)", "got -1", video_indices=torch.tensor([0, -1]))
    refused(model, "clip_mask (2, 3)", "(2, 2)", clip_mask=torch.ones(2, 3))
    refused(model, "clip_mask (1, 2)", "(2, 2)", clip_mask=torch.ones(1, 2))
    refused(model, "at least one clip", "[[1, 0], [0, 0]]", clip_mask=torch.tensor([[1, 0], [0, 0]]))
    refused(model, "Exactly one of", pixel_values=None)
    refused(model, "Exactly one of", visual_embeds=torch.zeros(2, 2, NUM_CELLS, WIDTH))
    refused(model, "visual_embeds", "(2, 4, 32)", pixel_values=None, visual_embeds=torch.zeros(2, NUM_CELLS, WIDTH))


def with_value(tensor, value):
    """A copy with one other value, in the first row."""
    changed = tensor.clone()
    changed.view(-1)[1] = value
    return changed


@ALL_MODELS
def test_values_that_cannot_be_are_refused(model_class):
    model, inputs = tiny_model(model_class), tiny_inputs(model_class)
    ids, mask, pixels = (inputs[name] for name in ("input_ids", "attention_mask", "pixel_values"))
    for value in (-1, VOCAB_SIZE, 10**12):
        refused(model, "input_ids", f"[0, {VOCAB_SIZE})", "vocab_size", str(value), input_ids=with_value(ids, value))
    refused(model, "input_ids", "integers", "float32", input_ids=ids.float())
    refused(model, "input_ids", "integers", "bool", input_ids=ids.bool())
    refused(model, "input_ids", "torch.Tensor", "list", input_ids=ids.tolist())
    refused(model, "input_ids", "none of them 0", input_ids=ids[..., :0], attention_mask=None)
    refused(
        model,
        "input_ids",
        "none of them 0",
        input_ids=ids[:0],
        attention_mask=None,
        video_indices=torch.tensor([]).long(),
    )
    refused(model, "attention_mask", "1 for words", "got 2", attention_mask=with_value(mask, 2))
    refused(model, "attention_mask", "0.5", attention_mask=with_value(mask.float(), 0.5))
    refused(model, "attention_mask", "nan", attention_mask=with_value(mask.float(), math.nan))
    empty = mask.clone()
    empty.flatten(0, -2)[1] = 0
    refused(model, "attention_mask", "a word of every text", "all 0 for 1", attention_mask=empty)
    refused(model, "video_indices", "integers", "float32", video_indices=torch.tensor([0.0, 1.0]))
    refused(model, "video_indices", "integers", "bool", video_indices=torch.tensor([False, True]))
    for value in (2, -1, 0.5, math.nan):
        clips = with_value(torch.ones(2, 2, dtype=torch.tensor(value).dtype), value)
        refused(model, "clip_mask", "1 for clips that exist", f"got {value}", clip_mask=clips)
    for value in (math.nan, math.inf, -math.inf):
        refused(model, "pixel_values", "finite", pixel_values=with_value(pixels, value))
    tokens = with_value(torch.zeros(2, 2, NUM_CELLS, WIDTH), math.nan)
    refused(model, "visual_embeds", "finite", pixel_values=None, visual_embeds=tokens)
    refused(model, "pixel_values", "torch.Tensor", "ndarray", pixel_values=pixels.numpy())


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.bool, torch.float32])
@ALL_MODELS
def test_masks_and_ids_of_every_fitting_type_mean_the_same(model_class, dtype):
    model, inputs = tiny_model(model_class), tiny_inputs(model_class)
    inputs["clip_mask"] = torch.tensor([[1, 0], [1, 1]])
    expected = model(**inputs).last_hidden_state
    for name in ("attention_mask", "clip_mask"):
        inputs[name] = inputs[name].to(dtype)
    if dtype == torch.int32:
        inputs["input_ids"] = inputs["input_ids"].to(dtype)
    torch.testing.assert_close(model(**inputs).last_hidden_state, expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    "model_class, settings, labels, words",
    [
        (ClipBERTForVideoQA, {}, [0, 5], ["[0, 5)", "-100", "got 5"]),
        (ClipBERTForVideoQA, {}, [0, -1], ["[0, 5)", "got -1"]),
        (ClipBERTForVideoQA, {}, [-100, -100], ["all -100"]),
        (ClipBERTForVideoQA, {}, [0.0, 1.0], ["integers", "float32"]),
        (ClipBERTForVideoQA, {"loss_type": "bce"}, [[0.5] * 5, [1.5] + [0.0] * 4], ["[0, 1]", "1.5"]),
        (ClipBERTForVideoQA, {"loss_type": "bce"}, [[0.5] * 5, [math.nan] + [0.0] * 4], ["[0, 1]", "nan"]),
        (ClipBERTForVideoQA, {"num_labels": 1}, [1.0, math.inf], ["finite"]),
        (ClipBERTForRegression, {}, [1.0, math.nan], ["finite"]),
        (ClipBERTForMultipleChoice, {}, [0, NUM_CHOICES], [f"[0, {NUM_CHOICES})", f"got {NUM_CHOICES}"]),
        (ClipBERTForVideoTextRetrieval, {}, [1, 2], ["[0, 2)", "got 2"]),
        (ClipBERTForVideoTextRetrieval, {}, [True, False], ["integers", "bool"]),
        (ClipBERTForVideoTextRetrieval, {"loss_type": "rank", "num_labels": 1}, [1, -1], ["[0, 2)", "got -1"]),
    ],
)
def test_labels_that_cannot_be_are_refused(model_class, settings, labels, words):
    refused(tiny_model(model_class, **settings), "labels", *words, labels=torch.tensor(labels))


def test_pretraining_labels_that_cannot_be_are_refused():
    model = tiny_model(ClipBERTForPreTraining)
    words = tiny_inputs(ClipBERTForPreTraining, labels=True)["mlm_labels"]
    refused(model, "mlm_labels", f"[0, {VOCAB_SIZE})", "got 1000", mlm_labels=with_value(words, 1000))
    refused(model, "mlm_labels", "integers", mlm_labels=words.float())
    refused(model, "itm_labels", "[0, 2)", "got 2", itm_labels=torch.tensor([1, 2]))
    refused(model, "itm_labels", "all -100", itm_labels=torch.tensor([-100, -100]))


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8])
def test_labels_of_every_integer_type_are_taken(dtype):
    model, labels = tiny_model(ClipBERTForVideoQA), torch.tensor([1, 4])
    loss = model(**tiny_inputs(), labels=labels).loss
    assert torch.equal(model(**tiny_inputs(), labels=labels.to(dtype)).loss, loss)


@ALL_MODELS
def test_values_elsewhere_than_on_the_cpu_are_not_waited_for(model_class, monkeypatch):
    """The device "meta" has no values at all, so that every look at one fails, as it would cost a wait on a GPU."""
    monkeypatch.setattr(modeling, "create_bidirectional_mask", lambda **kwargs: None)  # of transformers, which looks
    model = tiny_model(model_class).to("meta").train()
    inputs = tiny_inputs(model_class, labels=model_class is not ClipBERTModel)
    inputs["video_indices"] = torch.tensor([0, 1])
    model(**{name: tensor.to("meta") for name, tensor in inputs.items()})


@ALL_MODELS
def test_inputs_may_come_with_metadata(model_class):
    """As `processor(..., return_metadata=True)` makes them."""
    model, inputs = tiny_model(model_class), tiny_inputs(model_class)
    frames = torch.zeros(2, 2, 2)
    outputs = model(**inputs, frame_indices=frames.long(), frame_seconds=frames.double(), video_metadata=[{}, {}])
    torch.testing.assert_close(outputs.last_hidden_state, model(**inputs).last_hidden_state, rtol=0, atol=0)


@pytest.mark.parametrize("model_class", [ClipBERTModel, ClipBERTForPreTraining, ClipBERTForVideoTextRetrieval])
def test_texts_have_two_dimensions(model_class):
    refused(
        tiny_model(model_class),
        "(texts, length)",
        "(6,)",
        input_ids=torch.ones(6, dtype=torch.int64),
        attention_mask=None,
    )


def test_choices_have_three_dimensions():
    ids = torch.ones(2, 6, dtype=torch.int64)
    refused(
        tiny_model(ClipBERTForMultipleChoice),
        "(questions, choices, length)",
        "(2, 6)",
        input_ids=ids,
        attention_mask=None,
    )


def test_sizes_beyond_the_tables_are_refused():
    long_text = {"input_ids": torch.ones(2, 65, dtype=torch.int64), "attention_mask": None}
    refused(tiny_model(ClipBERTModel), "65 tokens", "64 positions", "max_position_embeddings", **long_text)
    few_rows = tiny_model(ClipBERTModel, max_grid_row_position_embeddings=1)
    refused(few_rows, "2 rows and 2 columns", "1 rows", "max_grid_row_position_embeddings")
    few_columns = tiny_model(ClipBERTModel, max_grid_col_position_embeddings=1)
    refused(few_columns, "1 columns", "max_grid_col_position_embeddings")
    few_frames = tiny_model(
        ClipBERTModel, frame_fusion="max", use_temporal_position_embeddings=True, max_temporal_position_embeddings=1
    )
    refused(few_frames, "2 frames", "1 temporal positions", "max_temporal_position_embeddings")


def test_frames_too_small_for_the_grid_are_refused():
    refused(tiny_model(ClipBERTModel), "16x64", "1x4", "at least 2x2", pixel_values=torch.zeros(2, 1, 1, 3, 16, 64))


@ALL_SCORING_HEADS
def test_labels_of_another_shape_are_refused(model_class):
    refused(tiny_model(model_class), model_class.__name__, "(2,)", "(3,)", labels=torch.zeros(3, dtype=torch.int64))


def test_soft_labels_of_another_shape_are_refused():
    model = tiny_model(ClipBERTForVideoQA, loss_type="bce")
    refused(model, "'bce'", "(2, 5)", "(2,)", labels=torch.zeros(2))


def test_pretraining_labels_of_another_shape_are_refused():
    model = tiny_model(ClipBERTForPreTraining)
    refused(model, "mlm_labels", "(2, 6)", "(2, 5)", mlm_labels=torch.zeros(2, 5, dtype=torch.int64))
    refused(model, "itm_labels", "(2,)", "(2, 1)", itm_labels=torch.zeros(2, 1, dtype=torch.int64))


@pytest.mark.parametrize(
    "model_class, settings, words",
    [
        (ClipBERTForVideoTextRetrieval, {"num_labels": 3}, "'ce' loss has 2 label.*num_labels is 3"),
        (
            ClipBERTForVideoTextRetrieval,
            {"loss_type": "bce"},
            "ClipBERTForVideoTextRetrieval knows.*'ce', 'rank'.*'bce'",
        ),
        (ClipBERTForVideoQA, {"loss_type": "rank", "num_labels": 1}, "ClipBERTForVideoQA knows.*'rank'"),
        (ClipBERTForVideoQA, {"loss_type": "ce", "num_labels": 1}, "num_labels=1"),
        (ClipBERTForVideoQA, {"loss_type": "mse"}, "num_labels=5"),
        (ClipBERTForVideoQA, {"num_labels": 1, "score_pooling": "lse"}, "lse.*'mse'"),
        (ClipBERTForRegression, {"score_pooling": "lse"}, "lse.*'mse'"),
        (ClipBERTForMultipleChoice, {"loss_type": "mse"}, "ClipBERTForMultipleChoice knows.*'ce'.*'mse'"),
    ],
)
def test_losses_a_head_does_not_know_are_refused(model_class, settings, words):
    with pytest.raises(ValueError, match=words):
        tiny_model(model_class, **settings)
