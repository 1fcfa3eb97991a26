# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What a score does not depend on, and what it does: neighbours, padding, order and number of frames, views."""

import pytest
import torch
from tiny_mug_stan import CLIPS, tiny_clip, tiny_config, tiny_model, tiny_texts, tiny_videos

from clipbert.modeling_mug_stan import MugSTANModel


def assert_close(ours, other):
    torch.testing.assert_close(ours, other, rtol=0, atol=1e-5)


MODES = ("wti", "mug", "mug_exact", "frame_text", "frame_text_official", "video_token", "top_k", "mean_pool")


@torch.no_grad()
@pytest.mark.parametrize("clip", CLIPS)
def test_neighbours_padding_blocks_and_attention(clip):
    """At the temperature as it is published, 100."""
    model = tiny_model(clip=clip, similarity="wti")  # which has weights that the others do not read
    videos, (input_ids, mask) = tiny_videos(3, 5), tiny_texts([4, 8, 6])
    every, order = torch.arange(3), torch.tensor([2, 0, 1])

    def encode(rows, input_ids=input_ids, mask=mask):
        return model.encode_text(input_ids[rows], mask[rows]), model.encode_video(videos[rows])

    def alone(row):
        length = int(mask[row].sum())
        return encode([row], input_ids[:, :length], mask[:, :length])

    together = encode(every)
    others = [(encode(every, *tiny_texts([4, 8, 6], padded_to=15)), every), (encode(order), order)]
    others += [(alone(row), [row]) for row in range(3)]
    model.set_attn_implementation("eager")
    others.append((encode(every), every))
    for model.config.similarity in MODES:
        scores = model.similarity(*together)
        assert scores.abs().max() > 1e-3
        for encoded, rows in others:
            assert_close(model.similarity(*encoded), scores[rows][:, rows])
        for model.config.similarity_block_size in (1, 50, 2**22):
            assert_close(model.similarity(*together), scores)


@torch.no_grad()
@pytest.mark.parametrize("clip", CLIPS)
def test_the_order_of_frames_is_seen_by_a_branch_that_knows_time_alone(clip):
    videos, order = tiny_videos(2, 6), torch.tensor([3, 1, 5, 0, 2, 4])

    def pooled_and_score(model):
        texts = model.encode_text(*tiny_texts([5, 7]))
        for given in (videos, videos[:, order]):
            found = model.encode_video(given)
            yield found.pooler_output, model.similarity(texts, found)

    def differences(model):
        (pooled, scores), (other, others) = pooled_and_score(model)
        return (pooled - other).abs().max().item(), (scores - others).abs().max().item()

    plain, model = tiny_model(clip=clip, stan_num_layers=0), tiny_model(clip=clip)
    assert max(differences(plain)) <= 1e-5
    assert min(differences(model)) > 1e-4
    model.mug_stan.branches[0].time_embedding.weight.zero_()
    assert max(differences(model)) <= 1e-5
    convolving = tiny_model(clip=clip, temporal_module="conv_origin")
    convolving.mug_stan.branches[0].time_embedding.weight.zero_()
    assert min(differences(convolving)) > 1e-4


@torch.no_grad()
@pytest.mark.parametrize("num_frames", [1, 2, 7, 64, 65, 200])
def test_any_number_of_frames(num_frames):
    model = tiny_model()
    table = model.mug_stan.branches[0].time_embedding
    positions = table(num_frames)
    assert positions.shape == (num_frames, 16)
    if num_frames <= 64:
        assert torch.equal(positions, table.weight[:num_frames])
    else:  # between the first and the last row, monotonously in the table
        assert_close(positions[[0, -1]], table.weight[[0, -1]])
        place = 63 * 40 / (num_frames - 1)
        low = int(place)
        assert_close(positions[40], table.weight[low].lerp(table.weight[low + 1], place - low))
    features = model.encode_video(tiny_videos(1, num_frames)).frame_features
    assert features.shape == (1, num_frames, 12) and features.isfinite().all()


def test_a_table_that_refuses():
    model = tiny_model(time_table_size=4, beyond_time_table="refuse")
    assert model.encode_video(tiny_videos(1, 4)).frame_features.shape[1] == 4
    with pytest.raises(ValueError, match="5 frames.*4 positions"):
        model.encode_video(tiny_videos(1, 5))


@torch.no_grad()
@pytest.mark.parametrize(
    "fields",
    [
        {"stan_layers": [[1]]},
        {"stan_layers": [[2, 4], [1, 2, 3]]},
        {"stan_last_layer": 3, "stan_layer_interval": 2},
        {"stan_num_layers": 4, "multi_level": False, "level_projection": True},
        {"space_time": "joint", "fusion": "posterior"},
        {"similarity": "wti", "temporal_module": "conv_activate"},
    ],
    ids=lambda fields: "-".join(fields),
)
@pytest.mark.parametrize("sizes", [(16, 2, 8, 24), (15, 3, 4, 20), (42, 7, 16, 32)], ids=str)
def test_one_video_at_a_time_for_every_structure(fields, sizes):
    width, heads, patch, side = sizes
    vision = {"hidden_size": width, "num_attention_heads": heads, "patch_size": patch, "image_size": side}
    model = tiny_model(clip=tiny_clip(vision_config=vision), **fields)
    videos = tiny_videos(3, 4, size=side)
    together = model.encode_video(videos, output_tokens=True)
    for i in range(3):
        alone = model.encode_video(videos[i : i + 1], output_tokens=True)
        for name, value in alone.items():
            torch.testing.assert_close(value, together[name][i : i + 1], rtol=0, atol=5e-5 if "st" in name else 1e-5)


@torch.no_grad()
def test_posterior_forgets_the_output_of_clip():
    model = tiny_model(fusion="posterior")
    features = model.encode_video(tiny_videos(2, 3)).frame_features
    assert_close(features, features[:, :1].expand_as(features))  # one class token for the whole video


@torch.no_grad()
def test_a_projection_and_a_temporal_module_change_nothing_at_the_start():
    torch.manual_seed(0)
    model = MugSTANModel(tiny_config(level_projection=True)).eval()
    bare = MugSTANModel(tiny_config()).eval()
    missing, unexpected = bare.load_state_dict(model.state_dict(), strict=False)
    assert not missing and all("level_projections" in name for name in unexpected)
    videos = tiny_videos(2, 3)
    features = bare.encode_video(videos).frame_features
    assert_close(model.encode_video(videos).frame_features, features)
    bare.branches[0].temporal_layers[1].self_attn.q_proj.weight.normal_()
    assert_close(bare.encode_video(videos).frame_features, features)


@torch.no_grad()
def test_stochastic_depth_rises_and_leaves_out_whole_places_and_frames():
    branch = tiny_model(drop_path_rate=0.6, stan_num_layers=4).mug_stan.branches[0]
    for layers in (branch.temporal_layers, branch.spatial_layers):
        assert [layer.drop_path for layer in layers] == pytest.approx([0.0, 0.2, 0.4, 0.6])
    over_time, within = branch.temporal_layers[3], branch.spatial_layers[3]
    torch.manual_seed(0)
    patches, frames = torch.randn(6, 3, 9, 16), torch.randn(60, 10, 16)

    def added(training):
        mixed = over_time.train(training)(patches, (3, 3)) - patches - over_time.temporal_fc.bias
        return mixed.transpose(1, 2).flatten(0, 1), within.train(training).attend(frames)  # (places or frames, ...)

    for whole, drawn in zip(added(False), added(True), strict=True):
        is_kept = drawn.abs().amax(dim=(1, 2)) > 1e-5
        assert 0.2 < is_kept.float().mean() < 0.6
        assert_close(drawn[is_kept] * 0.4, whole[is_kept])


@torch.no_grad()
def test_branches_are_summed():
    model = tiny_model(stan_num_branches=2)
    both = model.encode_video(tiny_videos(2, 3), output_tokens=True)
    parts = []
    for branch in list(model.mug_stan.branches):
        model.mug_stan.branches = torch.nn.ModuleList([branch])
        parts.append(model.encode_video(tiny_videos(2, 3), output_tokens=True))
    assert_close(both.stan_class_state, parts[0].stan_class_state + parts[1].stan_class_state)
    assert_close(both.stan_patch_states, parts[0].stan_patch_states + parts[1].stan_patch_states)


@torch.no_grad()
@pytest.mark.parametrize("score_pooling", ["mean", "max", "lse"])
def test_views_are_scored_by_themselves(score_pooling):
    model = tiny_model(score_pooling=score_pooling, loss_scale=5.0)
    views, (input_ids, mask) = tiny_videos(2, 3, 4), tiny_texts([5, 6])
    found = model(input_ids, views, mask)
    each = torch.stack([model(input_ids, views[:, k], mask).match_odds for k in range(3)], dim=1)
    assert_close(found.clip_odds, each)
    pool = {"mean": lambda s: s.mean(1), "max": lambda s: s.amax(1), "lse": lambda s: s.exp().mean(1).log()}[
        score_pooling
    ]
    torch.testing.assert_close(found.match_odds, pool(each), rtol=0, atol=1e-4)
    assert found.frame_features.shape == (2, 3, 4, 12) and found.video_embeds.shape == (2, 12)
    assert_close(found.video_embeds, found.frame_features.mean(dim=(1, 2)))
    images = model.encode_video(views[:, 0, 0])
    assert_close(images.frame_features, model.encode_video(views[:, 0, :1]).frame_features)


@torch.no_grad()
@pytest.mark.parametrize("clip", CLIPS)
def test_attention_is_switched_in_the_branch_too(clip):
    model = tiny_model(clip=clip)
    for name in ("sdpa", "eager"):
        model.set_attn_implementation(name)
        layers = [model.mug_stan.clip_layers[0], *model.mug_stan.branches[0].temporal_layers]
        assert {layer.self_attn.config._attn_implementation for layer in layers} == {name}
