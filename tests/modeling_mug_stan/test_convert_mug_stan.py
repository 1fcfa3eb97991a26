# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Official checkpoints become folders, tensor by tensor; what does not fit is refused by name."""

import json
from pathlib import Path

import pytest
import torch
from mug_stan_parity import recorded_clip_config
from safetensors.torch import load_file, save_file

from clipbert.modeling_mug_stan import MugSTANForVideoTextRetrieval, MugSTANModel
from clipbert.modeling_mug_stan.convert_mug_stan_checkpoint import (
    UNUSED,
    build_config,
    build_model,
    convert_mug_stan_checkpoint,
    convert_name,
    main,
)
from clipbert.support.weights import ConversionError


SMALL = Path(__file__).parents[1] / "fixtures" / "mug_stan" / "stan_b"


@pytest.fixture(scope="module")
def tensors():
    return load_file(SMALL / "state_dict.safetensors")


@pytest.fixture
def clip(tmp_path):
    recorded_clip_config(SMALL).save_pretrained(tmp_path / "clip")
    return tmp_path / "clip"


def write(path, tensors):
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:  # as the training framework wraps them
        torch.save({"meta": {"epoch": 3}, "state_dict": tensors} if path.suffix == ".pth" else tensors, path)
    return path


@torch.no_grad()
@pytest.mark.parametrize("suffix", ["pth", "bin", "safetensors"])
@pytest.mark.parametrize("prefix", ["STAN", "timesFPN"])
def test_every_form_of_a_file(tensors, clip, prefix, suffix, tmp_path, capsys):
    renamed = {name.replace("STAN_", f"{prefix}_"): tensor for name, tensor in tensors.items()}
    if prefix == "timesFPN":
        renamed["backbone.timesFPN_pos_embed.weight"] = torch.zeros(37, 48)
        renamed["backbone.timesFPN_cls_token"] = torch.zeros(1, 1, 48)
        renamed["text_backbone.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    path = write(tmp_path / f"mug_stan.{suffix}", renamed)
    output_dir = tmp_path / "converted"
    main(["--checkpoint_path", str(path), "--output_dir", str(output_dir), "--clip", str(clip)])
    assert "reads the layers [[3, 4]]" in capsys.readouterr().out
    model = MugSTANForVideoTextRetrieval.from_pretrained(output_dir)
    recorded, inputs = load_file(SMALL / "outputs.safetensors"), load_file(SMALL / "inputs.safetensors")
    features = model.encode_video(inputs["T2.pixel_values"].float()).frame_features
    torch.testing.assert_close(features, recorded["T2.frame_features"], rtol=0, atol=1e-5)


def test_sizes_are_those_of_the_tensors(tensors):
    config = build_config(tensors)
    vision, text = config.clip_config.vision_config, config.clip_config.text_config
    assert (vision.hidden_size, vision.patch_size, vision.image_size, vision.num_hidden_layers) == (48, 8, 48, 4)
    assert (text.hidden_size, text.vocab_size, text.num_hidden_layers) == (40, 300, 2)
    assert text.eos_token_id == 2 and vision.hidden_act == "quick_gelu"  # as in all of OpenAI's
    assert config.clip_config.projection_dim == 24 and config.time_table_size == 64
    weighing = tensors | {
        f"adapter.{side}_weight_fc.{name}": torch.zeros(1, 24) if name == "weight" else torch.zeros(1)
        for side in ("text", "video")
        for name in ("weight", "bias")
    }
    assert build_model(weighing, recorded_clip_config(SMALL)).config.similarity == "wti"


def test_a_name_for_every_tensor_of_the_published_size(mug_stan_parity_dir):
    # 510 tensors of B/32 with four layers, and the places that ours has for them
    official = json.loads((mug_stan_parity_dir / "official_keys_b32_depth4.json").read_text())
    assert len(official) == 510
    with torch.device("meta"):
        wanted = {
            name: list(tensor.shape) for name, tensor in MugSTANModel(MugSTANModel.config_class()).state_dict().items()
        }
    places = {convert_name(name): list(shape) for name, shape in official.items() if not UNUSED.fullmatch(name)}
    wanted.pop("clip.logit_scale")
    assert places == wanted


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t | {"backbone.STAN_S_layers.0.mlp.fc3.bias": torch.zeros(1)},
            r"STAN_S_layers.0.mlp.fc3.bias: not a tensor",
        ),
        (
            lambda t: {k: v for k, v in t.items() if k != "backbone.STAN_T_layers.1.temporal_fc.bias"},
            r"temporal_layers.1.temporal_fc.bias \(ours\): missing",
        ),
        (
            lambda t: {k.replace("STAN_time_embed", "STAN_times_embed"): v for k, v in t.items()},
            "STAN_times_embed.weight: not a tensor",
        ),
        (
            lambda t: t | {"backbone.visual_projection.weight": torch.zeros(24, 47)},
            r"shape \(24, 47\), expected \(24, 48\)",
        ),
        (lambda t: t | {"backbone.class_embedding": torch.full((48,), torch.nan)}, "class_embedding: not finite"),
        (lambda t: t | {"btadapter_cls_token": torch.zeros(1, 1, 48)}, "BT-Adapter"),
        (lambda t: {"weight": torch.zeros(1)}, "no checkpoint of Mug-STAN"),
    ],
    ids=["extra", "missing", "renamed", "shape", "NaN", "follow-up", "other"],
)
def test_what_does_not_fit_is_named(tensors, change, message, tmp_path):
    path = write(tmp_path / "mug_stan.pth", change(tensors))
    with pytest.raises(ConversionError, match=message):
        convert_mug_stan_checkpoint(path, tmp_path / "converted")
    assert not (tmp_path / "converted").exists()


def test_another_clip_is_named(tensors):
    other = recorded_clip_config(SMALL)
    other.vision_config.num_hidden_layers = 5
    with pytest.raises(ConversionError, match="vision_config.num_hidden_layers: 5, in the checkpoint 4"):
        build_model(tensors, other)
