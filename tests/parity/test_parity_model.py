# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
The model against recorded outputs of the official code, and against a second forward written from its description.

Tolerances: 1e-10 where the records are float64. Where they are float32, the measured noise of the official float32 run
(its distance to the official float64 run), which every record states for each output.
"""

import json

import pytest
import torch
from official_model import SIZES, official_config, plain_forward, random_official_state_dict
from official_records import CASES, NUM_CHOICES, TASK_OF_HEAD, load_head
from safetensors.torch import load_file

from clipbert.modeling_clipbert import (
    ClipBERTConfig,
    ClipBERTForMultipleChoice,
    ClipBERTForVideoQA,
    ClipBERTForVideoTextRetrieval,
    pool_clip_scores,
)
from clipbert.modeling_clipbert.convert_clipbert_checkpoint import TASKS, build_official_model
from clipbert.modeling_clipbert.official_layout import official_layout
from clipbert.support.weights import ConversionError


EXACT = 1e-10
HEADS = tuple(TASK_OF_HEAD)
HEADS_WITH_CLIPS = ("sequence_classification", "multiple_choice", "retrieval_ce", "retrieval_rank")


@pytest.fixture(scope="module", params=HEADS)
def head(request, parity_dir):
    return load_head(parity_dir, request.param)


def largest_difference(ours, recorded):
    assert ours.shape == recorded.shape
    return (ours.double() - recorded.double()).abs().max().item()


@torch.no_grad()
def run_model(head, model, case):
    """Every intermediate result of which there are records, under the official names."""
    inputs = head.inputs(case, model.dtype)
    output = model(**inputs, output_hidden_states=True)
    base, pixel_values = model.clipbert, inputs["pixel_values"]
    frames = pixel_values.flatten(0, 1)
    stages = base.grid_encoder.backbone(frames, output_hidden_states=True).hidden_states
    row_videos = inputs["video_indices"]
    if head.task == "multiple_choice":
        row_videos = row_videos.repeat_interleave(NUM_CHOICES)
    results = {
        **{
            f"backbone.{name}": stage
            for name, stage in zip(("stem", "res2", "res3", "res4", "res5"), stages, strict=True)
        },
        "cnn_grid": base.grid_encoder(frames).unflatten(0, pixel_values.shape[:2]).movedim(2, -1),
        "text_embeddings": base.embeddings(inputs["input_ids"].flatten(0, -2)),
        "visual_embeddings": base.encode_videos(pixel_values)[row_videos, 0],
        **{f"hidden_states.{layer}": state[:, 0] for layer, state in enumerate(output.hidden_states) if layer},
        "last_hidden_state": output.last_hidden_state[:, 0],
        "pooled_output": output.pooler_output[:, 0],
    }
    if head.task == "pretraining":
        results |= {"mlm_scores": output.prediction_logits[:, 0], "itm_scores": output.seq_relationship_logits}
    else:
        results["logits"] = output.logits
    return results, output


@pytest.mark.parity
@pytest.mark.parametrize("case", CASES)
def test_float64_outputs_equal_the_official_ones(head, case):
    results, _ = run_model(head, head.build_model(), case)
    recorded = {
        name.removeprefix(f"{case}."): tensor
        for name, tensor in head.read("outputs_fp64.safetensors").items()
        if name.startswith(f"{case}.") and not name.endswith("loss")
    }
    scores = {"mlm_scores", "itm_scores"} if head.task == "pretraining" else {"logits"}
    assert recorded.keys() == {"cnn_grid", "last_hidden_state", "pooled_output"} | scores
    differences = {name: largest_difference(results[name], tensor) for name, tensor in recorded.items()}
    assert max(differences.values()) < EXACT, differences


@pytest.mark.parity
@pytest.mark.parametrize("case", CASES)
def test_all_recorded_outputs_are_met_within_the_noise_of_their_float32(head, case):
    """The official float32 results are as far from our float64 ones as from the official float64 ones."""
    results, _ = run_model(head, head.build_model(), case)
    noise = head.meta["cases"][case]["fp32_vs_fp64_maxdiff"]
    recorded = head.read("outputs.safetensors")
    names = [name for name in noise if not name.endswith("loss")]
    assert {"cnn_grid", "text_embeddings", "visual_embeddings", "last_hidden_state"} <= set(names)
    too_far = {}
    for name in names:
        difference = largest_difference(results[name], recorded[f"{case}.{name}"])
        if difference > noise[name] + EXACT:
            too_far[name] = (difference, noise[name])
    assert not too_far


@pytest.mark.parity
@pytest.mark.parametrize("case", CASES)
def test_float32_is_no_noisier_than_the_official_float32(head, case):
    results, _ = run_model(head, head.build_model(dtype=torch.float32), case)
    noise = head.meta["cases"][case]["fp32_vs_fp64_maxdiff"]
    exact = head.read("outputs_fp64.safetensors")
    for name in noise:
        if f"{case}.{name}" in exact and name in results:
            # another order of summation gives other rounding, of the same size
            assert largest_difference(results[name], exact[f"{case}.{name}"]) < 4 * noise[name] + 1e-6, name


def recorded_training_loss(head, case):
    """The official training loss from the recorded losses of single elements."""
    recorded = head.read("outputs_fp64.safetensors")
    if head.task == "pretraining":
        return recorded[f"{case}.mlm_loss"].mean() + recorded[f"{case}.itm_loss"].mean()
    factor = head.model_config["num_labels"] if head.task == "image_qa" else 1
    return recorded[f"{case}.loss"].mean() * factor


@pytest.mark.parity
@pytest.mark.parametrize("case", CASES)
def test_loss_equals_the_official_one(head, case):
    _, output = run_model(head, head.build_model(), case)
    assert output.loss.item() == pytest.approx(recorded_training_loss(head, case).item(), rel=EXACT)


@pytest.mark.parity
@pytest.mark.parametrize("case", CASES)
def test_mended_pretraining_loss_is_the_mean_over_words_of_matching_pairs(parity_dir, case):
    head = load_head(parity_dir, "pretraining")
    model = head.build_model()
    model.config.mlm_loss_reduction, model.config.mlm_on_mismatched_pairs = "masked", False
    _, output = run_model(head, model, case)
    inputs = head.inputs(case)
    recorded = head.read("outputs_fp64.safetensors")[f"{case}.mlm_loss"].view_as(inputs["mlm_labels"])
    counted = (inputs["mlm_labels"] != -100) & (inputs["itm_labels"] == 1)[:, None]
    expected = recorded[counted].mean().item() if counted.any() else 0.0
    assert output.mlm_loss.item() == pytest.approx(expected, rel=EXACT)


# ----------------------------------------------------------------------------------------------------------------------
# Gradients
# ----------------------------------------------------------------------------------------------------------------------


def official_parameters(head, model):
    """Parameters under their official names; tied copies are left out, as the official list has them once."""
    parameters = dict(model.named_parameters())
    layout = official_layout(head.state_dict, TASKS[head.task].head)
    return {theirs: parameters[ours] for theirs, ours in layout.items() if ours in parameters}


def gradient_norm(model):
    norms = [parameter.grad.norm() for parameter in model.parameters() if parameter.grad is not None]
    return torch.stack(norms).norm().item()


def is_mathematically_zero(head, name):
    """A key bias shifts all scores of a query alike; one last bias shifts all choices alike. Rounding noise is left."""
    last_bias = head.task == "multiple_choice" and name == "transformer.classifier.2.bias"
    return name.endswith("attention.self.key.bias") or last_bias


@pytest.fixture(scope="module")
def trained_once(head):
    """A backward pass in training mode without dropout."""
    model = head.build_model_without_dropout().train()
    loss = model(**head.inputs(head.meta["train_step"]["case"])).loss
    loss.backward()
    return loss.item(), model


@pytest.mark.parity
def test_gradient_norms_equal_the_official_ones(head, trained_once):
    loss, model = trained_once
    recorded = head.meta["train_step"]
    assert loss == pytest.approx(recorded["loss_fp64"], rel=EXACT)
    assert gradient_norm(model) == pytest.approx(recorded["total_grad_norm_fp64"], rel=EXACT)
    gradients = {name: parameter.grad for name, parameter in official_parameters(head, model).items()}
    for name, norm in recorded["grad_norms_fp64"].items():
        if norm is None:  # frozen, or a part that is not built here
            assert gradients.get(name) is None, name
        elif is_mathematically_zero(head, name):
            assert gradients[name].norm() < 1e-12, name
        else:
            assert gradients[name].norm().item() == pytest.approx(norm, rel=1e-9), name


@pytest.mark.parity
def test_gradients_equal_the_official_ones(head, trained_once):
    _, model = trained_once
    gradients = {name: parameter.grad for name, parameter in official_parameters(head, model).items()}
    recorded = head.read(f"grads_{head.meta['train_step']['case']}.safetensors")
    assert len(recorded) > 25
    for name, gradient in recorded.items():
        name = name.removeprefix("grad.")
        if is_mathematically_zero(head, name):
            assert gradients[name].abs().max() < 1e-12, name
        else:  # computed in float64, stored as float32
            torch.testing.assert_close(gradients[name].float(), gradient, rtol=1e-6, atol=1e-8, msg=name)


@pytest.mark.parity
def test_the_same_parameters_are_frozen(head):
    parameters = official_parameters(head, head.build_model())
    frozen = {name for name, parameter in parameters.items() if not parameter.requires_grad}
    # the batch norms are buffers in the official model
    assert {name for name in frozen if ".norm." not in name} == set(head.meta["train_step"]["frozen"])


# ----------------------------------------------------------------------------------------------------------------------
# Several clips
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parity
@pytest.mark.parametrize("score_pooling", ["mean", "max", "lse"])
@pytest.mark.parametrize("name", HEADS_WITH_CLIPS)
def test_several_clips_equal_the_official_ones(parity_dir, name, score_pooling):
    head = load_head(parity_dir, name)
    recorded = head.meta["multi_clip"]["results"].get(score_pooling)
    if recorded is None:
        assert (name, score_pooling) == ("retrieval_rank", "lse")
        with pytest.raises(ConversionError, match="lse"):
            head.build_model(score_pooling)
        return
    model = head.build_model_without_dropout(score_pooling=score_pooling).train()
    output = model(**head.inputs("clips"))
    output.loss.backward()
    assert output.loss.item() == pytest.approx(recorded["train_loss_fp64"], rel=EXACT)
    assert gradient_norm(model) == pytest.approx(recorded["total_grad_norm_fp64"], rel=EXACT)

    outputs = head.read("outputs.safetensors")
    noise = max(head.meta["cases"][case]["fp32_vs_fp64_maxdiff"]["logits"] for case in CASES)
    per_clip = outputs["clips.per_clip_logits"].transpose(0, 1)  # (texts, clips, labels)
    assert largest_difference(output.clip_logits, per_clip) < 2 * noise
    assert largest_difference(output.logits, outputs[f"clips.{score_pooling}.pooled_logits"]) < 2 * noise
    if "inference_pred" in recorded:
        assert output.logits.argmax(dim=-1).tolist() == recorded["inference_pred"]
    else:
        assert model.match_scores(output.logits).tolist() == pytest.approx(recorded["inference_scores"], abs=noise)


# ----------------------------------------------------------------------------------------------------------------------
# Random cells
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parity
def test_random_cells_equal_the_official_ones_for_the_same_draw(parity_dir, monkeypatch):
    head = load_head(parity_dir, "pretraining")
    sampling = head.meta["pixel_random_sampling"]
    model = head.build_model_without_dropout(pixel_random_sampling_size=sampling["size"]).train()
    left_out = sorted(set(range(sampling["n_tokens_before"])) - set(sampling["indices"]))
    monkeypatch.setattr(torch, "randperm", lambda n, **_: torch.tensor([*sampling["indices"][::-1], *left_out]))
    inputs = head.inputs(sampling["case"])
    with torch.no_grad():
        output = model(**inputs)
        visual = model.encode_videos(inputs["pixel_values"])[inputs["video_indices"], 0]
    recorded = head.read("outputs.safetensors")
    noise = head.meta["cases"][sampling["case"]]["fp32_vs_fp64_maxdiff"]
    for name, ours in (
        ("visual_embeddings", visual),
        ("mlm_scores", output.prediction_logits[:, 0]),
        ("itm_scores", output.seq_relationship_logits),
    ):
        difference = largest_difference(ours, recorded[f"{sampling['case']}.sampled.{name}"])
        assert difference < 2 * noise[name], name


# ----------------------------------------------------------------------------------------------------------------------
# Pooling and losses alone (needs no parity folder)
# ----------------------------------------------------------------------------------------------------------------------

AGGREGATION_CASES = ("ret_ce", "ret_ce_1clip", "ret_ce_large", "ret_rank", "qa", "mc")


def tiny_head(kind, num_labels):
    """A model of which only `compute_loss` is used."""
    model_class, loss_type = {
        "retrieval_ce": (ClipBERTForVideoTextRetrieval, "ce"),
        "retrieval_rank": (ClipBERTForVideoTextRetrieval, "rank"),
        "open_ended_qa": (ClipBERTForVideoQA, "ce"),
        "multiple_choice": (ClipBERTForMultipleChoice, "ce"),
    }[kind]
    backbone = {"model_type": "resnet", "embedding_size": 4, "hidden_sizes": [4, 4, 4, 4], "depths": [1, 1, 1, 1]}
    sizes = {
        "vocab_size": 8,
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "intermediate_size": 8,
    }
    with torch.device("meta"):
        return model_class(
            ClipBERTConfig(backbone_config=backbone, num_labels=num_labels, loss_type=loss_type, **sizes)
        )


@pytest.mark.parity
@pytest.mark.parametrize("score_pooling", ["mean", "max", "lse"])
@pytest.mark.parametrize("case", AGGREGATION_CASES)
def test_pooling_and_loss_equal_the_official_ones(small_parity_dir, case, score_pooling):
    folder = small_parity_dir / "aggregation"
    recorded = json.loads((folder / "aggregation.json").read_text())["cases"][case]
    expected = recorded["results"].get(score_pooling)
    if expected is None:
        assert (case, score_pooling) == ("ret_rank", "lse")
        return
    tensors = load_file(folder / "aggregation.safetensors")
    clip_logits = tensors[f"{case}.logits"].double().transpose(0, 1).requires_grad_()  # (texts, clips, labels)
    counts = torch.tensor(recorded["n_examples_list"])
    video_indices = torch.arange(len(counts)).repeat_interleave(counts)
    model = tiny_head(recorded["kind"], clip_logits.shape[-1])

    logits = pool_clip_scores(clip_logits, score_pooling)
    assert largest_difference(logits, tensors[f"{case}.{score_pooling}.pooled"]) < 2e-5  # recorded as float32
    loss = model.compute_loss(logits, tensors[f"{case}.labels"], video_indices)
    assert loss.item() == pytest.approx(expected["train_loss_fp64"], rel=EXACT)
    loss.backward()
    gradient = tensors[f"{case}.{score_pooling}.grad"].transpose(0, 1)
    torch.testing.assert_close(clip_logits.grad, gradient, rtol=EXACT, atol=1e-12)
    if "pred" in expected:
        assert logits.argmax(dim=-1).tolist() == expected["pred"]
        return
    scores = model.match_scores(logits)
    assert scores.tolist() == pytest.approx(expected["scores"], abs=1e-6)
    if "mc_test_pred" in expected:  # captions as the options of a question
        assert scores.view(-1, NUM_CHOICES).argmax(dim=-1).tolist() == expected["mc_test_pred"]


@pytest.mark.parity
@pytest.mark.parametrize("case", AGGREGATION_CASES)
def test_losses_in_float32_survive_large_scores(small_parity_dir, case):
    folder = small_parity_dir / "aggregation"
    recorded = json.loads((folder / "aggregation.json").read_text())["cases"][case]
    tensors = load_file(folder / "aggregation.safetensors")
    clip_logits = tensors[f"{case}.logits"].transpose(0, 1)
    counts = torch.tensor(recorded["n_examples_list"])
    video_indices = torch.arange(len(counts)).repeat_interleave(counts)
    model = tiny_head(recorded["kind"], clip_logits.shape[-1])
    for score_pooling, expected in recorded["results"].items():
        logits = pool_clip_scores(clip_logits, score_pooling)
        loss = model.compute_loss(logits, tensors[f"{case}.labels"], video_indices)
        assert loss.item() == pytest.approx(expected["train_loss_fp32"], rel=1e-5, abs=1e-7), score_pooling


# ----------------------------------------------------------------------------------------------------------------------
# Other weights and sizes (needs no parity folder)
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["pretraining", "video_qa", "regression"])
@pytest.mark.parametrize("name", SIZES)
def test_other_weights_and_sizes_equal_a_second_forward(name, task):
    sizes, seed = SIZES[name], 3
    state = random_official_state_dict(sizes, TASKS[task].head, seed)
    model, report = build_official_model(state, official_config(sizes), task)
    assert len(report.used) + len(report.unused) == len(state)

    generator = torch.Generator().manual_seed(100 + seed)
    examples_per_video = [2, 1, 3]
    pixel_values = 60 * torch.randn(3, sizes.frames, 3, *sizes.image, generator=generator, dtype=torch.float64)
    input_ids = torch.randint(1, sizes.vocabulary, (6, sizes.length), generator=generator)
    attention_mask = (torch.arange(sizes.length) < torch.tensor([[7], [3], [5], [1], [7], [6]])).long()
    expected_hidden, expected_scores = plain_forward(
        state, sizes, pixel_values, input_ids, attention_mask, examples_per_video
    )
    with torch.no_grad():
        output = model(
            input_ids,
            pixel_values[:, None],
            attention_mask=attention_mask,
            video_indices=torch.arange(3).repeat_interleave(torch.tensor(examples_per_video)),
        )
    assert largest_difference(output.last_hidden_state[:, 0], expected_hidden) < EXACT
    if task == "pretraining":
        pairs = zip((output.prediction_logits[:, 0], output.seq_relationship_logits), expected_scores, strict=True)
    else:
        pairs = [(output.logits, expected_scores)]
    for ours, expected in pairs:
        assert expected.std() > 0.05  # the scores say something
        assert largest_difference(ours, expected) < EXACT
