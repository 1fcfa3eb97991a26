# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The models against a second, plain one, over settings, sizes and lengths that are drawn at random."""

import random

import pytest
import torch
from plain_mug_stan import PlainMugSTAN
from tiny_mug_stan import tiny_clip, tiny_model, tiny_videos


MODES = ("mug", "mug_exact", "frame_text", "frame_text_official", "video_token", "top_k", "wti", "mean_pool")
MODULES = ("self_attention", "conv_origin", "conv_activate", "conv_3layer", "conv_3d11")


def draw(seed, clip="clip"):
    """A model, videos, and texts of different lengths as lists of tokens."""
    rng = random.Random(seed)

    def tower(**more):
        heads = rng.choice([1, 2, 3])
        width = heads * rng.choice([4, 6, 10])
        sizes = {"hidden_size": width, "num_attention_heads": heads, "intermediate_size": rng.randint(5, 40)}
        return {**sizes, "hidden_act": rng.choice(["quick_gelu", "gelu"]), **more}

    patch, side = rng.choice([(4, 12), (5, 13), (8, 16), (16, 16), (6, 18)])
    depth = rng.randint(1, 6)
    end = rng.choice([2, 40, 98])  # 2: the text ends where the number of the token is largest
    config = tiny_clip(
        clip,
        vision_config=tower(image_size=side, patch_size=patch, num_hidden_layers=depth),
        text_config=tower(num_hidden_layers=rng.randint(1, 3), eos_token_id=end),
    )
    if clip == "clip":
        config["projection_dim"] = rng.randint(5, 20)
    else:
        config["text_config"]["projection_size"] = config["vision_config"]["hidden_size"]
    fields = {
        "temporal_module": rng.choice([MODULES[0], *MODULES]),
        "space_time": rng.choice(["separate", "separate", "joint"]),
        "multi_level": rng.random() < 0.75,
        "fusion": rng.choice(["branch", "branch", "posterior"]),
        "level_projection": rng.random() < 0.4,
        "similarity": MODES[seed % len(MODES)],
        "head_scale": rng.choice([2.0, 10.0, 100.0]),
        "loss_scale": rng.choice([20.0, 100.0]),
        "top_k": rng.choice([1, 3, 5, 7]),
        "similarity_block_size": rng.choice([20, 500, 2**22]),
    }
    if rng.random() < 0.5:
        fields["stan_layers"] = [
            sorted(rng.choices(range(1, depth + 1), k=rng.randint(1, 4))) for _ in range(rng.randint(1, 3))
        ]
    else:
        fields["stan_num_layers"] = rng.randint(0, depth)
        fields["stan_num_branches"] = rng.choice([1, 1, 2])
    model = tiny_model(clip=config, seed=seed, **fields)
    num_videos, num_frames = rng.randint(1, 3), rng.choice([1, 2, 3, 5, 8, 12, 64])
    num_videos = 1 if num_frames == 64 else num_videos
    texts = []
    for _ in range(num_videos):
        words = [rng.choice([word for word in range(3, 90) if word != end]) for _ in range(rng.randint(1, 12))]
        texts.append([97 if end != 2 else 90, *words, 98 if end == 2 else end])
    return model, tiny_videos(num_videos, num_frames, size=side, seed=seed), texts, rng


def padded(texts, rng):
    """Tokens and mask; what pads them is any token, among them the end token of CLIP."""
    length = max(map(len, texts)) + rng.randint(0, 3)
    pad = rng.choice([0, 1, 98, texts[0][-1]])
    ids = torch.tensor([row + [pad] * (length - len(row)) for row in texts])
    mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in texts])
    return ids, mask


def assert_same_gradients(model, plain):
    own = {name.removeprefix("mug_stan."): p for name, p in model.named_parameters() if p.requires_grad}
    assert own.keys() == plain.weights.keys() - {"clip.logit_scale", "clip.logit_bias"}
    for name, parameter in own.items():
        got, expected = (torch.zeros_like(p) if p.grad is None else p.grad for p in (parameter, plain.weights[name]))
        torch.testing.assert_close(got, expected, rtol=1e-7, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}")


def check_frames(model, plain, videos):
    """What is seen in single precision; returns the features of the plain model."""
    read = [plain.encode_video(video) for video in videos]
    frames = torch.stack([frames for frames, _, _ in read])
    with torch.no_grad():
        found = model.encode_video(videos, output_tokens=True)
    torch.testing.assert_close(found.frame_features.double(), frames, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.pooler_output.double(), frames.mean(dim=1), rtol=1e-5, atol=1e-5)
    for number, (_, video, patches) in enumerate(read):
        if found.stan_class_state is not None:
            torch.testing.assert_close(found.stan_class_state[number].double(), video[0], rtol=0, atol=2e-4)
        if found.stan_patch_states is not None:
            torch.testing.assert_close(found.stan_patch_states[number].double(), patches, rtol=0, atol=2e-4)
        assert (found.stan_patch_states is None) == (patches is None)
    return found, frames


def check(seed):
    model, videos, texts, rng = draw(seed)
    plain, (ids, mask) = PlainMugSTAN(model), padded(texts, rng)
    found, frames = check_frames(model, plain, videos)
    words = [plain.encode_text(row) for row in texts]
    with torch.no_grad():
        tokens = model.encode_text(ids, mask)
    for number, (own, text) in enumerate(words):
        torch.testing.assert_close(tokens.token_features[number, : len(own)].double(), own, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(tokens.pooler_output[number].double(), text, rtol=1e-5, atol=1e-5)
    scores = torch.stack([torch.stack([plain.score(*text, video) for video in frames]) for text in words])
    with torch.no_grad():
        torch.testing.assert_close(model.similarity(tokens, found).double(), scores, rtol=0, atol=1e-5)
    # in double precision: a scale of 100 would show the digits that single precision lacks
    loss = model.double()(ids, videos.double(), mask).loss
    torch.testing.assert_close(loss, plain.loss(scores), rtol=1e-8, atol=1e-9)
    loss.backward()
    plain.loss(scores).backward()
    assert_same_gradients(model, plain)


@pytest.mark.parametrize("seed", range(8))
def test_features_scores_and_gradients(seed):
    check(seed)


@pytest.mark.parametrize("seed", range(3))
def test_frames_beside_a_tower_that_pools_patches(seed):
    model, videos, _, _ = draw(seed, "siglip")
    for part in model.mug_stan.tower.text_modules(model.mug_stan.clip):
        part.requires_grad_(False)
    plain = PlainMugSTAN(model)
    plain.weights = {name: weight for name, weight in plain.weights.items() if not name.startswith("clip.text_")}
    _, frames = check_frames(model, plain, videos)
    shares = torch.rand(frames.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    (model.double().encode_video(videos.double()).frame_features * shares).sum().backward()
    (frames * shares).sum().backward()
    assert_same_gradients(model, plain)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(15))
def test_features_scores_and_gradients_of_many_more(block):
    for seed in range(100 + 10 * block, 110 + 10 * block):
        check(seed)
