# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Beside every kind of CLIP: without a branch nothing changes, with one all of it is used."""

import pytest
import torch
from tiny_mug_stan import CLIPS, IMAGE_SIZE, tiny_clip, tiny_config, tiny_model, tiny_texts, tiny_videos
from transformers import AutoConfig, AutoModel, AutoTokenizer, CLIPVisionConfig

from clipbert.modeling_mug_stan import (
    MugSTANConfig,
    MugSTANForVideoClassification,
    MugSTANForVideoTextRetrieval,
    MugSTANModel,
)


@torch.no_grad()
@pytest.mark.parametrize("clip", CLIPS)
def test_without_a_branch_it_is_plain_clip_bit_for_bit(clip):
    model = tiny_model(clip=clip, stan_num_layers=0)
    plain, videos, (input_ids, mask) = model.mug_stan.clip, tiny_videos(2, 3), tiny_texts([7, 20, 4])
    frames = plain.get_image_features(videos.flatten(0, 1)).pooler_output.unflatten(0, (2, 3))
    assert torch.equal(model.encode_video(videos).frame_features, frames)
    texts = model.encode_text(input_ids, mask)
    of_tower = plain.get_text_features(input_ids, **({} if clip == "siglip" else {"attention_mask": mask}))
    assert torch.equal(texts.pooler_output, of_tower.pooler_output)
    project = plain.text_model.head if clip == "siglip" else plain.text_projection
    words = project(of_tower.last_hidden_state)
    if clip == "open_clip_coca":  # its class token is one more word, behind the others
        words = torch.nn.functional.pad(words, (0, 0, 0, 1))
        words[range(3), [7, 20, 4]] = of_tower.pooler_output
    assert torch.equal(texts.token_features, words)


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"space_time": "joint", "stan_num_branches": 2, "level_projection": True},
        {"temporal_module": "conv_3layer", "multi_level": False, "stan_last_layer": 3},
    ],
    ids=["plain", "joint", "conv"],
)
def test_every_weight_is_trained(clip, fields):
    model = tiny_model(clip=clip, similarity="wti", **fields).train()
    input_ids, mask = tiny_texts([7, 20, 4])
    model(input_ids, tiny_videos(3, 4), mask).loss.backward()
    without = {name for name, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert not without
    assert not any(p.requires_grad for name, p in model.named_parameters() if "logit_" in name)
    still = {name for name, p in model.named_parameters() if p.requires_grad and not p.grad.abs().sum() > 0}
    # a bias of keys moves no soft-max; rows of tables that nobody asked for are rows, not tables
    assert all(name.endswith("k_proj.bias") or "key.bias" in name or "in_proj_bias" in name for name in still), still


@torch.no_grad()
@pytest.mark.parametrize("clip", CLIPS)
def test_the_branch_starts_with_the_layers_that_it_reads(clip):
    torch.manual_seed(0)
    model = MugSTANModel(tiny_config(clip, stan_layers=[[1, 3], [2, 2, 4]]))
    for branch, layers in zip(model.branches, [[1, 3], [2, 2, 4]], strict=True):
        for own, layer in zip(branch.spatial_layers, layers, strict=True):
            theirs = model.clip_layers[layer - 1].state_dict()
            assert own.state_dict().keys() == theirs.keys()
            assert all(torch.equal(tensor, theirs[name]) for name, tensor in own.state_dict().items())
        for part in branch.temporal_layers:
            assert not part.temporal_fc.weight.any() and not part.temporal_fc.bias.any()
            assert part.self_attn.q_proj.weight.abs().max() <= 0.25  # torch: uniform below 1 / sqrt(16)
            assert part.self_attn.q_proj.weight.std() > 0.12
        assert branch.time_embedding.weight.std().item() == pytest.approx(1, abs=0.1)
    # what is held initialises itself: not as a layer of a subclass would
    reference = AutoModel.from_config(model.config.clip_config)
    for name, parameter in reference.named_parameters():
        if parameter.numel() > 100:
            assert model.clip.get_parameter(name).std().item() == pytest.approx(parameter.std().item(), rel=0.3), name


@torch.no_grad()
@pytest.mark.parametrize("clip", CLIPS)
def test_other_sizes_of_frames_by_interpolated_positions(clip):
    model = tiny_model(clip=clip)
    same = model.encode_video(tiny_videos(1, 2)).frame_features
    assert torch.equal(model.encode_video(tiny_videos(1, 2), interpolate_pos_encoding=True).frame_features, same)
    larger = tiny_videos(1, 2, size=40)
    assert model.encode_video(larger, interpolate_pos_encoding=True).frame_features.isfinite().all()
    with pytest.raises(ValueError, match=f"40x40 pixels.*{IMAGE_SIZE}x{IMAGE_SIZE}.*interpolate_pos_encoding"):
        model.encode_video(larger)
    if clip == "clip":
        tall = torch.randn(1, 2, 3, 32, 16)
        convolving = tiny_model(clip=clip, temporal_module="conv_origin")
        tokens = convolving.encode_video(tall, interpolate_pos_encoding=True, output_tokens=True).last_hidden_state
        assert tokens.shape == (1, 2, 1 + 4 * 2, 16)


@pytest.mark.parametrize("clip", CLIPS)
def test_from_a_pretrained_clip(clip, tmp_path):
    torch.manual_seed(1)
    saved = AutoModel.from_config(AutoConfig.for_model(**tiny_clip(clip, num_layers=5)))
    saved.save_pretrained(tmp_path)
    for model_class in (MugSTANForVideoTextRetrieval, MugSTANModel):
        model, info = model_class.from_clip_pretrained(tmp_path, output_loading_info=True, stan_num_layers=3)
        base = model.base_model
        assert all(torch.equal(tensor, base.clip.state_dict()[name]) for name, tensor in saved.state_dict().items())
        fc1 = [layer.mlp.fc1.weight for layer in saved.vision_model.encoder.layers]
        assert all(
            torch.equal(own.mlp.fc1.weight, fc1[k])
            for own, k in zip(base.branches[0].spatial_layers, (2, 3, 4), strict=True)
        )
        assert not info["unused"] and len(info["loaded"]) == len(saved.state_dict())
        assert info["new"] and all("branches.0." in name for name in info["new"])
        assert len(info["new"]) + len(info["loaded"]) == len(model.state_dict())
        assert not model.training and base.clip.config.name_or_path == ""


def test_a_clip_with_other_weights_is_named(tmp_path, caplog):
    saved = AutoModel.from_config(AutoConfig.for_model(**tiny_clip()))
    state = saved.state_dict()
    saved.save_pretrained(tmp_path / "more", state_dict={**state, "extra.weight": torch.zeros(1)})
    _, info = MugSTANModel.from_clip_pretrained(tmp_path / "more", output_loading_info=True)
    assert info["unused"] == ["extra.weight"]
    del state["vision_model.encoder.layers.1.mlp.fc1.bias"]
    saved.save_pretrained(tmp_path / "less", state_dict=state)
    with pytest.raises(ValueError, match=r"lacks 1 tensors of a clip: vision_model.encoder.layers.1.mlp.fc1.bias"):
        MugSTANModel.from_clip_pretrained(tmp_path / "less")


def test_what_no_branch_can_stand_beside_is_refused_by_name(tmp_path):
    CLIPVisionConfig(num_hidden_layers=1, hidden_size=16, intermediate_size=16, num_attention_heads=2).save_pretrained(
        tmp_path
    )
    with pytest.raises(
        ValueError, match="'clip_vision_model'.*altclip, chinese_clip, clip, metaclip_2, open_clip_coca, siglip"
    ):
        MugSTANModel.from_clip_pretrained(tmp_path)
    with pytest.raises(ValueError, match="'blip'"):
        MugSTANConfig(clip_config={"model_type": "blip"})


@torch.no_grad()
@pytest.mark.parametrize(("clip", "longest"), [("clip", 20), ("altclip", 22), ("siglip", 20)])
def test_texts_may_be_as_long_as_there_are_positions(clip, longest):
    # AltCLIP's text tower counts 24 positions from behind its padding token, which is number 1
    model = tiny_model(clip=clip)
    assert model.encode_text(*tiny_texts([longest])).pooler_output.isfinite().all()
    with pytest.raises(ValueError, match=f"{longest + 1} tokens.*positions for {longest}"):
        model.encode_text(*tiny_texts([longest + 1]))


@torch.no_grad()
@pytest.mark.parametrize("end", [2, 98])
def test_both_rules_of_the_end_of_a_text(end):
    # 2: where the number of the token is largest; others: where that token is
    model = tiny_model(clip=tiny_clip(text_config={"eos_token_id": end}))
    input_ids, mask = tiny_texts([6, 9, 3])
    for padding in (1, 98):  # a tokenizer of CLIP pads with the end token
        texts = model.encode_text(input_ids.masked_fill(mask == 0, padding), mask)
        last = mask.sum(dim=1) - 1
        torch.testing.assert_close(texts.pooler_output, texts.token_features[torch.arange(3), last], rtol=0, atol=1e-6)


@torch.no_grad()
def test_siglip_pads_to_its_length_with_the_token_that_it_was_trained_with():
    input_ids, mask = tiny_texts([5, 8])
    full_ids, full_mask = tiny_texts([5, 8], padded_to=20)
    model = tiny_model(clip="siglip")
    short, full = model.encode_text(input_ids, mask), model.encode_text(full_ids, full_mask)
    torch.testing.assert_close(short.pooler_output, full.pooler_output, rtol=0, atol=1e-6)
    torch.testing.assert_close(short.token_features, full.token_features[:, :8], rtol=0, atol=1e-6)
    other = tiny_model(clip="siglip", text_pad_token_id=3)
    threes = full_ids.masked_fill(full_mask == 0, 3)
    expected = other.encode_text(threes, full_mask).pooler_output
    given = threes[:, :8]
    torch.testing.assert_close(other.encode_text(given, mask).pooler_output, expected, rtol=0, atol=1e-6)


def test_classes_in_many_writings(tmp_path):
    # a tokenizer that knows characters, without the pieces of BERT's kind
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate(["<pad>", "run", "jump", "跑", "<unk>"])} | {
        "<s>": 97,
        "</s>": 98,
    }
    backend = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 97), ("</s>", 98)]
    )
    PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="</s>").save_pretrained(tmp_path)
    model = tiny_model(MugSTANForVideoClassification)
    model.set_classes(["run", "jump run", "跑"], AutoTokenizer.from_pretrained(tmp_path))
    assert model.config.id2label == {0: "run", 1: "jump run", 2: "跑"} and model.class_mask.sum(dim=1).tolist() == [
        3,
        4,
        3,
    ]
    assert model(tiny_videos(2, 3)).logits.shape == (2, 3)


@pytest.mark.parametrize("clip", CLIPS)
def test_whatever_a_checkpoint_lacks_is_made_as_a_new_model_makes_it(clip):
    # a CLIP inside of another model would get attention weights of standard deviation 1
    torch.manual_seed(0)
    new = MugSTANModel(tiny_config(clip))
    lacking = MugSTANModel.from_pretrained(None, config=tiny_config(clip), state_dict={})
    for name, parameter in new.named_parameters():
        found = lacking.get_parameter(name)
        if parameter.numel() > 100:
            assert found.std().item() == pytest.approx(parameter.std().item(), rel=0.3), name
        else:
            assert found.isfinite().all(), name
    own, theirs = lacking.branches[0].copied_layers(lacking.clip_layers)[0]
    assert torch.equal(own.mlp.fc1.weight, theirs.mlp.fc1.weight)
