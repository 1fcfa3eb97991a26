# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Eight steps of training against the recorded ones of the official code: model, losses, clipping, schedule, optimizer."""

import pytest
import torch
from official_records import load_head

from clipbert.modeling_clipbert.convert_clipbert_checkpoint import TASKS
from clipbert.modeling_clipbert.official_layout import official_layout
from clipbert.train_scripts.engine.optim import build_optimizer, set_lr
from clipbert.train_scripts.engine.recipe import GroupSection, OptimSection


REL = 1e-8  # of float64 numbers after eight steps; a step multiplies earlier rounding

# parts that the official model has and ours does not; the decay shrinks them although nothing reads them
ABSENT = (
    "cnn.feature.proposal_generator.",
    "cnn.feature.roi_heads.",
    "transformer.bert.visual_embeddings.position_emb",
)


def optim_section(trace):
    optimizer, schedule = trace["optimizer"], trace["schedule"]
    return OptimSection(
        optimizer="adamw_official",
        lr=optimizer["lr"],
        weight_decay=optimizer["weight_decay"],
        groups={"grid_encoder": GroupSection(lr=optimizer["cnn_lr"], weight_decay=optimizer["cnn_weight_decay"])},
        betas=optimizer["betas"],
        eps=1e-6,
        schedule=schedule["kind"],
        warmup_ratio=schedule["warmup_ratio"],
        max_grad_norm=optimizer["clip_grad_norm"],
    )


@pytest.fixture(scope="module", params=["retrieval_ce", "pretraining"])
def trained(request, parity_dir):
    """The head's record, the model after the recorded steps, and what each step reported."""
    head = load_head(parity_dir, request.param)
    trace = head.meta["train_trace"]
    settings = optim_section(trace)
    model = head.build_model_without_dropout().train()
    optimizer = build_optimizer(model, settings)
    reported = []
    for step in trace["steps"]:
        set_lr(optimizer, step["step"], trace["schedule"]["total_steps"], settings)
        loss = model(**head.inputs(step["case"])).loss
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        rates = {group["name"].split(",")[0]: group["lr"] for group in optimizer.param_groups}
        reported.append({"loss": loss.item(), "grad_norm_before_clip": norm.item(), **rates})
    return head, model.eval(), reported


@pytest.mark.parity
def test_losses_gradients_and_rates_of_every_step(trained):
    head, _, reported = trained
    expected = head.meta["train_trace"]["steps"]
    assert len(reported) == len(expected) == 8
    assert expected[-1]["loss"] < 0.6 * expected[1]["loss"]  # it learns something
    for ours, official in zip(reported, expected, strict=True):
        assert ours["loss"] == pytest.approx(official["loss"], rel=REL)
        assert ours["grad_norm_before_clip"] == pytest.approx(official["grad_norm_before_clip"], rel=REL)
        assert ours["the rest"] == pytest.approx(official["lr_transformer"], rel=1e-12)
        assert ours["grid_encoder"] == pytest.approx(official["lr_cnn"], rel=1e-12)


@pytest.mark.parity
def test_weights_after_training(trained):
    head, model, _ = trained
    parameters = dict(model.named_parameters())
    layout = official_layout(head.state_dict, TASKS[head.task].head)
    recorded = head.meta["train_trace"]["final_param_norms"]
    compared = {name: norm for name, norm in recorded.items() if not name.startswith(ABSENT)}
    # the batch norms are buffers in the official model
    assert compared.keys() == {name for name, ours in layout.items() if ours in parameters and ".norm." not in name}
    for name, norm in compared.items():
        assert parameters[layout[name]].norm().item() == pytest.approx(norm, rel=REL), name


@pytest.mark.parity
def test_outputs_after_training(trained):
    head, model, _ = trained
    case = head.meta["train_trace"]["eval_after"]["case"]
    inputs = head.inputs(case, labels=False)
    with torch.no_grad():
        output = model(**inputs)
        grid = model.clipbert.grid_encoder(inputs["pixel_values"].flatten(0, 1))
    recorded = {
        name.removeprefix("after_trace."): tensor for name, tensor in head.read("train_trace_eval.safetensors").items()
    }
    ours = {
        "cnn_grid": grid.unflatten(0, inputs["pixel_values"].shape[:2]).movedim(2, -1),
        "pooled_output": output.pooler_output[:, 0],
    }
    if head.task == "pretraining":
        ours |= {"mlm_scores": output.prediction_logits[:, 0], "itm_scores": output.seq_relationship_logits}
    else:
        ours["logits"] = output.logits
    assert recorded.keys() == ours.keys()
    for name, tensor in recorded.items():
        torch.testing.assert_close(ours[name], tensor, rtol=REL, atol=REL, msg=name)
