# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What people do with every model of transformers: compile, export, autocast, checkpoint, copy, train with the Trainer."""

import copy
import pickle

import pytest
import torch
from tiny_ci_mha import BERT, RESNET, tiny_frame_model, tiny_frames, tiny_model, tiny_texts, tiny_videos
from torch.export import Dim
from transformers import AutoModelForQuestionAnswering, Trainer, TrainingArguments

from clipbert.modeling_ci_mha import CIMHAConfig, CIMHAForMomentRetrieval, CIMHAModel
from clipbert.modeling_ci_mha.frames_ci_mha import choose_grad_segments
from clipbert.support.families import registered_models


@pytest.fixture
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def inputs(segments=(8, 5, 2), words=(4, 2, 3), with_frames=False):
    videos = tiny_frames(list(segments)) if with_frames else tiny_videos(list(segments), padding=torch.nan)
    return {**tiny_texts(list(words)), **videos}


MOMENT = {"start_positions": torch.tensor([2, 0, 1]), "end_positions": torch.tensor([4, 0, 1])}


# ---------------------------------------------------------------------------------------------------------------------
# Programs
# ---------------------------------------------------------------------------------------------------------------------


def assert_exported(model, with_frames=False):
    """One program for numbers of videos, segments and words that it has not seen."""
    videos, segments, words = Dim("videos", min=1, max=64), Dim("segments", min=1, max=16), Dim("words", min=1, max=64)
    texts, shown = {0: videos, 1: words}, {0: videos, 1: segments}
    given = inputs(with_frames=with_frames)
    shapes = {name: texts if name in ("input_ids", "attention_mask") else shown for name in given}
    program = torch.export.export(model, (), given, dynamic_shapes=shapes).module()
    for lengths in (((8, 5, 2), (4, 2, 3)), ((1,), (6,)), ((3, 12, 7, 1, 2), (1, 9, 3, 2, 2)), ((9,), (1,))):
        given = inputs(*lengths, with_frames=with_frames)
        expected, found = model(**given), program(**given)
        for name in ("start_logits", "end_logits", "segment_logits"):
            torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"fusion_alignment": "attention", "learned_initial_state": True},
        {"fusion_alignment": "mean_pool", "shift_start_states": True},
        {"fusion_alignment": "pad", "norm": "post"},
        {"cross_interaction": "none", "position_type": "sinusoidal"},
        {"predictor": "transformer", "text_encoder": "glove_bilstm"},
        {"text_encoder": "hf", "text_config": dict(BERT)},
        {"delta_features": True, "temporal_endpoint_features": True, "normalize_features": True},
    ],
)
def test_exported_with_any_number_of_videos_segments_and_words(overrides):
    assert_exported(tiny_model(**overrides))


@pytest.mark.slow
def test_exported_with_frames():
    assert_exported(tiny_frame_model(), with_frames=True)


@pytest.mark.slow
def test_exported_with_many_sentences_of_a_video():
    model = tiny_model()
    videos, segments = Dim("videos", min=1, max=64), Dim("segments", min=1, max=16)
    queries, words = Dim("queries", min=1, max=512), Dim("words", min=1, max=64)
    given = {**tiny_texts([3, 1, 2]), **tiny_videos([4, 7]), "video_indices": torch.tensor([0, 1, 1])}
    texts, shown = {0: queries, 1: words}, {0: videos, 1: segments}
    shapes = dict(zip(given, (texts, texts, shown, shown, {0: queries}), strict=True))
    program = torch.export.export(model, (), given, dynamic_shapes=shapes).module()
    other = {**tiny_texts([2, 5, 1, 1, 3]), **tiny_videos([9]), "video_indices": torch.zeros(5, dtype=torch.long)}
    torch.testing.assert_close(program(**other).end_logits, model(**other).end_logits, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("with_frames", [False, True])
def test_compiled(with_frames, fresh_compiler):
    settings = {"frame_encoder_trainable": True} if with_frames else {}
    model = (tiny_frame_model if with_frames else tiny_model)(**settings).train()
    given, results = {**inputs(with_frames=with_frames), **MOMENT}, []
    for call in (model, torch.compile(model)):
        outputs = call(**given)
        model.zero_grad()
        outputs.loss.backward()
        gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        results.append({"logits": outputs.start_logits, **gradients})
    assert results[0].keys() == results[1].keys()
    for name, expected in results[0].items():
        torch.testing.assert_close(results[1][name], expected, rtol=1e-3, atol=1e-4, msg=name)


# ---------------------------------------------------------------------------------------------------------------------
# Training
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["packed", "reversed"])
def test_autocast_trains(backend):
    model = tiny_frame_model(frame_encoder_trainable=True, rnn_backend=backend).train()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model(**inputs(with_frames=True), **MOMENT)
    assert outputs.start_logits.dtype == torch.float32
    outputs.loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_gives_the_same_gradients(reentrant):
    gradients = []
    for checkpointing in (False, True):
        model = tiny_frame_model(frame_encoder_trainable=True, frame_chunk_size=4).double().train()
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": reentrant})
        given = inputs(with_frames=True)
        model(**{**given, "pixel_values": given["pixel_values"].double()}, **MOMENT).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.allclose(gradient, gradients[1][name], atol=1e-12) for name, gradient in gradients[0].items())


def test_what_the_config_freezes_is_frozen_after_loading_too(tmp_path):
    for trainable in (False, True):
        model = tiny_frame_model(
            frame_encoder_trainable=trainable, text_encoder="hf", text_config=dict(BERT), text_trainable=trainable
        )
        model.save_pretrained(tmp_path)
        loaded = CIMHAForMomentRetrieval.from_pretrained(tmp_path)
        for each in (model, loaded):
            trained = {name for name, p in each.named_parameters() if p.requires_grad}
            assert any("frame_encoder" in name for name in trained) == trainable
            assert any("text_encoder.encoder.model" in name for name in trained) == trainable
            assert any("text_encoder.projection" in name for name in trained)
            norms = [m for m in each.train().frame_encoder.modules() if isinstance(m, torch.nn.BatchNorm2d)]
            assert norms and not any(norm.training for norm in norms)
            assert each.frame_encoder.tower.training == trainable


def test_batch_norms_are_trained_where_the_config_says_so():
    settings = {"frame_encoder_trainable": True, "train_batchnorm": True, "frame_chunk_size": None}
    model = tiny_frame_model(**settings).train()
    before = {name: value.clone() for name, value in model.named_buffers() if name.endswith("running_mean")}
    model(**inputs(with_frames=True), **MOMENT).loss.backward()
    assert all(not torch.equal(value, model.get_buffer(name)) for name, value in before.items())
    assert all(p.grad is not None for p in model.parameters())


def test_tuples_hold_what_has_names():
    given = {**inputs(), **MOMENT, "output_attentions": True, "output_hidden_states": True}
    named, unnamed = (tiny_model()(**given, return_dict=return_dict) for return_dict in (True, False))
    assert len(unnamed) == len(named.to_tuple()) == 11
    for one, other in zip(named.to_tuple(), unnamed, strict=True):
        assert type(one) is type(other)
        assert all(map(torch.equal, one, other)) if isinstance(one, tuple) else torch.equal(one, other)


def test_copies_and_pickles():
    model, given = tiny_model(), inputs()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(**given).start_logits, model(**given).start_logits)


def test_every_class_is_reachable_through_an_auto_class(tmp_path):
    found = registered_models(CIMHAConfig)
    assert found["AutoModel"] == (CIMHAModel,)
    assert found["AutoModelForQuestionAnswering"] == (CIMHAForMomentRetrieval,)
    tiny_model().save_pretrained(tmp_path)
    assert type(AutoModelForQuestionAnswering.from_pretrained(tmp_path)) is CIMHAForMomentRetrieval


@pytest.mark.slow
def test_the_trainer_trains_evaluates_and_predicts(tmp_path):
    model = tiny_model()
    given = {**tiny_texts([3] * 4), **tiny_videos([8] * 4)}
    moments = {"start_positions": torch.tensor([0, 2, 4, 5]), "end_positions": torch.tensor([1, 2, 7, 6])}
    rows = [{name: value[row] for name, value in {**given, **moments}.items()} for row in range(4)]
    settings = {"max_steps": 60, "learning_rate": 0.01, "lr_scheduler_type": "constant"}
    arguments = TrainingArguments(
        tmp_path,
        per_device_train_batch_size=2,
        **settings,
        report_to=[],
        disable_tqdm=True,
        save_strategy="no",
        label_names=["start_positions", "end_positions"],
    )
    trainer = Trainer(model, arguments, train_dataset=rows, eval_dataset=rows)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < 0.3 * before
    start_logits, end_logits, *_ = trainer.predict(rows).predictions
    assert start_logits.argmax(axis=1).tolist() == [0, 2, 4, 5]
    assert end_logits.argmax(axis=1).tolist() == [1, 2, 7, 6]


# ---------------------------------------------------------------------------------------------------------------------
# Towers
# ---------------------------------------------------------------------------------------------------------------------

VISION = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
VISION |= {"image_size": 16, "patch_size": 8}
TOWERS = [
    ({"model_type": "clip_vision_model", **VISION}, 16),
    ({"model_type": "siglip_vision_model", **VISION}, 16),
    ({"model_type": "dinov2", **VISION}, 16),
    ({"model_type": "convnext", "hidden_sizes": [8, 12], "depths": [1, 1], "num_stages": 2}, 12),
    ({**RESNET, "out_features": ["stage2"]}, 6),
    (
        {
            "model_type": "clipbert",
            "backbone_config": {**RESNET, "out_features": ["stage2"]},
            "hidden_size": 16,
            "num_attention_heads": 2,
        },
        16,
    ),
]


@pytest.mark.parametrize("tower, size", TOWERS, ids=[tower["model_type"] for tower, _ in TOWERS])
def test_every_kind_of_image_model_makes_frame_vectors(tower, size, tmp_path):
    model = tiny_model(video_feature_size=None, frame_encoder_config=tower, frame_encoder_trainable=True).train()
    assert model.frame_feature_size == model.config.video_feature_size == size
    given = {**inputs(with_frames=True)}
    if tower["model_type"] == "clipbert":  # whose grid needs room
        given["pixel_values"] = given["pixel_values"].repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2)
    model(**given, **MOMENT).loss.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    model.eval().save_pretrained(tmp_path)
    loaded = CIMHAForMomentRetrieval.from_pretrained(tmp_path, attn_implementation="sdpa").eval()
    torch.testing.assert_close(loaded(**given).end_logits, model(**given).end_logits, rtol=1e-5, atol=1e-5)


def test_models_without_a_picture_are_refused():
    with pytest.raises(ValueError, match="no image model"):
        tiny_model(video_feature_size=None, frame_encoder_config=dict(BERT))
    with pytest.raises(ValueError, match="no text model"):
        tiny_model(text_encoder="hf", text_config=dict(RESNET))
    with pytest.raises(ValueError, match="leave it out"):
        tiny_model(video_feature_size=99, frame_encoder_config=dict(RESNET))


@pytest.mark.parametrize("kind", ["clip_text_model", "siglip_text_model", "metaclip_2_text_model", "xlm-roberta"])
def test_every_kind_of_text_model_reads_sentences(kind, tmp_path):
    sizes = {**BERT, "model_type": kind, "max_position_embeddings": 32, "projection_dim": 8, "projection_size": 8}
    model = tiny_model(text_encoder="hf", text_config=sizes, text_trainable=True).train()
    model(**inputs(), **MOMENT).loss.backward()
    read = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not [name for name in read if "head" not in name and "projection" not in name], read
    model.eval().save_pretrained(tmp_path)
    loaded = CIMHAForMomentRetrieval.from_pretrained(tmp_path).eval()
    assert torch.equal(loaded(**inputs()).end_logits, model(**inputs()).end_logits)


# ---------------------------------------------------------------------------------------------------------------------
# Sparse gradients
# ---------------------------------------------------------------------------------------------------------------------


def gradients_of(num_segments, **overrides):
    model = tiny_frame_model(frame_encoder_trainable=True, **overrides).double().train()
    model.base_model.keep_gradients(num_segments)
    given = inputs(with_frames=True)
    outputs = model(**{**given, "pixel_values": given["pixel_values"].double()}, **MOMENT)
    outputs.loss.backward()
    return outputs.loss, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_gradients_of_all_segments_are_the_full_ones():
    loss, full = gradients_of(None)
    for count in (8, 100):
        same_loss, found = gradients_of(count)
        assert found.keys() == full.keys()
        torch.testing.assert_close(same_loss, loss)
        for name, gradient in full.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-8)
    same_loss, some = gradients_of(2)
    torch.testing.assert_close(same_loss, loss)  # the others are there, without a graph
    assert any((some[name] - full[name]).abs().max() > 1e-6 for name in full if "frame_encoder" in name)


def test_only_the_drawn_segments_keep_a_graph():
    model = tiny_frame_model(frame_encoder_trainable=True, frame_chunk_size=None).train()
    model.base_model.keep_gradients(2)
    seen = []
    model.frame_encoder.register_forward_hook(lambda _, frames, out: seen.append((len(frames[0]), out.requires_grad)))
    model(**inputs((8, 5, 2), with_frames=True), **MOMENT)
    few, rest = 2 * (2 + 2 + 2), 2 * (6 + 3 + 0)
    assert seen == [(few, False), (rest - few, False), (few, True)]  # never more at a time than keep a graph
    seen.clear()
    model.eval()(**inputs((8, 5, 2), with_frames=True), **MOMENT)
    assert seen == [(2 * 15, True)]


def test_eight_of_sixty_four_segments_take_a_quarter_of_the_memory():
    """What a step keeps for its gradients, each storage once."""
    model = tiny_frame_model(frame_encoder_trainable=True, max_segments=64).train()
    given = {**tiny_texts([3, 2]), "pixel_values": torch.randn(2, 64, 1, 3, 48, 48)}
    moments = {"start_positions": torch.tensor([2, 40]), "end_positions": torch.tensor([4, 60])}
    parameters, taken = {p.untyped_storage().data_ptr() for p in model.parameters()}, []
    for count in (None, 8):
        model.base_model.keep_gradients(count)
        kept = []  # held, so that no address is given twice

        def keep(tensor, kept=kept):
            kept.append(tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model(**given, **moments).loss.backward()
        storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in kept}
        taken.append(sum(size for place, size in storages.items() if place not in parameters))
    assert taken[1] <= taken[0] / 4, taken


def test_half_of_the_drawn_segments_lie_inside():
    exists = torch.arange(12) < torch.tensor([12, 12, 12, 5, 3])[:, None]
    inside = torch.zeros_like(exists)
    inside[0, 2:9], inside[1, 4:5], inside[3, :4] = True, True, True  # of the third and fifth nothing is asked
    drawn = torch.zeros(exists.shape)
    for _ in range(50):
        chosen = choose_grad_segments(inside, exists, 4)
        assert chosen.sum(dim=1).tolist() == [4, 4, 4, 4, 3]
        assert (chosen & inside).sum(dim=1).tolist() == [2, 1, 0, 3, 0]
        assert not (chosen & ~exists).any()
        drawn += chosen
    assert (drawn > 0).equal(exists)  # each of them, sooner or later


def test_cached_vectors_stand_in_for_all_but_the_shown_segments():
    model = tiny_frame_model(frame_encoder_trainable=True)
    given = inputs(with_frames=True)
    frames, mask = given.pop("pixel_values"), given["video_mask"]
    features = model.ci_mha.segment_features(frames, mask.bool()).detach()
    shown = torch.tensor([[6, 1], [0, 4], [1, -1]])
    some = frames.gather(1, shown.clamp(min=0)[:, :, None, None, None, None].expand(-1, -1, *frames.shape[2:]))
    some[2, 1] = torch.nan  # not looked at
    garbage = features.clone()
    for row, places in enumerate(shown.tolist()):
        garbage[row, [place for place in places if place >= 0]] = 100.0
    outputs = model(**given, **MOMENT, video_features=garbage, pixel_values=some, grad_segments=shown)
    torch.testing.assert_close(outputs.loss, model(**given, **MOMENT, video_features=features).loss)
    outputs.loss.backward()
    assert all(p.grad is not None for p in model.frame_encoder.parameters() if p.requires_grad)
