# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Official checkpoints become folders, tensor by tensor; what does not fit is refused by name."""

import json
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from mug_stan_parity import recorded_clip_config
from safetensors.torch import load_file, save_file
from tiny_mug_stan import tiny_clip, tiny_config, tiny_model, tiny_videos
from transformers import AutoConfig, CLIPModel

from clipbert.modeling_mug_stan import MugSTANForVideoTextRetrieval, MugSTANModel
from clipbert.modeling_mug_stan.convert_mug_stan_checkpoint import (
    UNUSED,
    build_config,
    build_model,
    convert_mug_stan_checkpoint,
    convert_name,
    main,
    official_name,
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
    assert all(official_name(convert_name(name)) == name for name in official if not UNUSED.fullmatch(name))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t | {"backbone.STAN_S_layers.0.mlp.fc3.bias": torch.zeros(1)},
            r"STAN_S_layers.0.mlp.fc3.bias: not a tensor",
        ),
        (
            lambda t: {k: v for k, v in t.items() if k != "backbone.STAN_T_layers.1.temporal_fc.bias"},
            r"backbone.STAN_T_layers.1.temporal_fc.bias \(ours: branches.0.temporal_layers.1.temporal_fc.bias\): missing",
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
        (
            lambda t: t | {"backbone.timesFPN_time_embed.weight": torch.zeros(64, 48)},
            "timesFPN_time_embed.weight: there under another name, too",
        ),
        (
            lambda t: t | {"model.vision_tower.class_embedding": torch.zeros(48)},
            r"under several names:\s+backbone.class_embedding\s+model.vision_tower.class_embedding",
        ),
        (
            lambda t: t | {"backbone.btadapter_S.0.mlp.w1.weight": torch.zeros(1)},
            r"EVA-CLIP(?s:.)*btadapter_S.0.mlp.w1.weight",
        ),
        (
            lambda t: {k: v for k, v in follow_up(t).items() if "cls_token" not in k},
            r"backbone.btadapter_cls_token \(ours: branches.0.class_token.weight\): missing",
        ),
        (lambda t: {k: v for k, v in t.items() if "text_backbone" not in k}, "no text tower .*--clip"),
        (lambda t: {"weight": torch.zeros(1)}, "no checkpoint of Mug-STAN"),
    ],
    ids=[
        "extra",
        "missing",
        "renamed",
        "shape",
        "NaN",
        "twice",
        "under two prefixes",
        "EVA",
        "no token",
        "no texts",
        "other",
    ],
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


# The follow-up ----------------------------------------------------------------------------------------------------------


def follow_up(tensors, gates=True):
    """The tensors as BT-Adapter writes them, with a class token and gates that are not those of the start."""
    renamed = {name.replace("STAN_", "btadapter_"): tensor for name, tensor in tensors.items()}
    torch.manual_seed(0)
    renamed["backbone.btadapter_cls_token"] = torch.randn(1, 1, 48)
    if gates:
        renamed |= {"backbone.balance1": torch.randn(48) * 1e-4, "backbone.balance2": torch.randn(48) * 1e-2}
    return renamed


def frames_of_the_follow_up(model, tensors, pixel_values):
    """What its code computes from the layers of the branch: class tokens of the fused frames, before the last norm."""
    clip, branch = model.mug_stan.clip.vision_model, model.mug_stan.branches[0]
    videos, frames = pixel_values.shape[:2]
    states = clip(pixel_values.flatten(0, 1), output_hidden_states=True).hidden_states
    place = clip.embeddings.position_embedding.weight
    gate = [
        (scale * tensors[name]).sigmoid() for scale, name in ((1e4, "backbone.balance1"), (1e2, "backbone.balance2"))
    ]
    for k, state in enumerate(states[-2:]):
        state = state.unflatten(0, (videos, frames))
        read = state[:, :, 0].mean(dim=1)[:, None], state[:, :, 1:]
        if k == 0:
            token = (read[0] + tensors["backbone.btadapter_cls_token"] + place[0]) / 2
            patches = read[1] + place[1:] + branch.time_embedding.weight[:frames, None]
        else:
            token = (1 - gate[1]) * token + gate[1] * read[0]
            patches = (1 - gate[1]) * patches + gate[1] * read[1]
        token, patches = branch.spatial_layers[k](token, branch.temporal_layers[k](patches, (6, 6)))
    return gate[0] * state[:, :, 0] + (1 - gate[0]) * token


@torch.no_grad()
@pytest.mark.parametrize("prefix", ["backbone.", "model.vision_tower.", ""], ids=["pretraining", "chat", "bare"])
def test_the_follow_up_has_a_class_token_and_gates(tensors, prefix, tmp_path):
    theirs = follow_up(tensors)
    torch.save(
        {name.replace("backbone.", prefix) if name.startswith("backbone.") else name: t for name, t in theirs.items()},
        tmp_path / "bt.pth",
    )
    convert_mug_stan_checkpoint(tmp_path / "bt.pth", tmp_path / "converted")
    model = MugSTANForVideoTextRetrieval.from_pretrained(tmp_path / "converted")
    assert model.config.own_class_token
    assert (model.config.fusion_gate_scale, model.config.level_gate_scale) == (10_000, 100)
    pixel_values = torch.randn(2, 3, 3, 48, 48)
    clip = model.mug_stan.clip
    expected = clip.visual_projection(
        clip.vision_model.post_layernorm(frames_of_the_follow_up(model, theirs, pixel_values))
    )
    torch.testing.assert_close(model.encode_video(pixel_values).frame_features, expected, rtol=0, atol=1e-5)


def test_the_follow_up_without_gates_and_under_its_first_name(tensors):
    model = build_model(follow_up(tensors, gates=False))
    assert model.config.own_class_token and model.config.fusion_gate_scale is None
    assert model.mug_stan.branches[0].level_gate is None
    first = {name.replace("btadapter_", "timesFPN_"): tensor for name, tensor in follow_up(tensors).items()}
    assert build_model(
        first
    ).config.own_class_token  # gates give it away: the first release has none, nor reads a token


def test_gates_are_halves_at_the_start_and_learn():
    model = tiny_model(own_class_token=True, level_gate_scale=100, fusion_gate_scale=1e4)
    fresh = MugSTANModel(model.config)
    for name, parameter in fresh.named_parameters():
        if "gate" in name or "class_token" in name:
            assert not parameter.any(), name
    model.encode_video(tiny_videos(2, 3)).pooler_output.square().sum().backward()
    gates = [p for name, p in model.named_parameters() if "gate" in name or "class_token" in name]
    assert len(gates) == 3 and all(parameter.grad is not None for parameter in gates)
    with pytest.raises((ValueError, StrictDataclassError), match="fusion_gate_scale=10.*2 branches"):
        tiny_config(fusion_gate_scale=10, stan_num_branches=2)
    with pytest.raises((ValueError, StrictDataclassError), match="own_class_token(?s:.)*class token"):
        tiny_config("siglip", own_class_token=True)


def test_another_kind_of_start_is_named(tensors, tmp_path):
    AutoConfig.for_model(**tiny_clip("siglip")).save_pretrained(tmp_path / "siglip")
    path = write(tmp_path / "mug_stan.bin", tensors)
    with pytest.raises(ConversionError, match="starts from a CLIP; .*siglip is a 'siglip'"):
        convert_mug_stan_checkpoint(path, tmp_path / "out", clip=tmp_path / "siglip")


def test_a_tower_without_texts_takes_those_of_its_clip(tensors, tmp_path, capsys):
    torch.manual_seed(1)
    clip = CLIPModel(recorded_clip_config(SMALL))
    clip.save_pretrained(tmp_path / "clip")
    alone = {name: t for name, t in follow_up(tensors).items() if "text_" not in name and "projection" not in name}
    path = write(tmp_path / "chat.bin", {name.removeprefix("backbone."): tensor for name, tensor in alone.items()})
    main(
        [
            "--checkpoint_path",
            str(path),
            "--output_dir",
            str(tmp_path / "out"),
            "--clip",
            str(tmp_path / "clip"),
            "--level_gate_scale",
            "7",
        ]
    )
    model = MugSTANForVideoTextRetrieval.from_pretrained(tmp_path / "out")
    assert model.config.level_gate_scale == 7
    ours = model.mug_stan.clip
    assert torch.equal(ours.text_model.final_layer_norm.weight, clip.text_model.final_layer_norm.weight)
    assert torch.equal(ours.text_projection.weight, clip.text_projection.weight)
    assert torch.equal(ours.vision_model.embeddings.class_embedding, tensors["backbone.class_embedding"])
