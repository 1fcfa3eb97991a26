# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A LLaVA with a branch: a video by three routes, images as before, saved and loaded, other towers refused."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from clean_process import run_without_package
from mug_stan_parity import load_model, load_set
from tiny_llava import tiny_llava
from tiny_mug_stan import tiny_clip, tiny_model, tiny_videos
from transformers import AutoModelForImageTextToText, SiglipVisionConfig

from clipbert.modeling_mug_stan import MugSTANLlavaForConditionalGeneration, MugSTANModel, merge_into_llava


SMALL = Path(__file__).parents[1] / "fixtures" / "mug_stan" / "stan_b"
IMAGE_TOKEN = 5


@pytest.fixture
def llava():
    return tiny_llava()


@pytest.fixture
def mug_stan():
    return tiny_model(stan_num_layers=3)


def prompts(num_image_tokens, num_prompts=1, seed=0):
    words = torch.randint(6, 40, (num_prompts, 8), generator=torch.Generator().manual_seed(seed))
    return torch.cat([words[:, :3], torch.full((num_prompts, num_image_tokens), IMAGE_TOKEN), words[:, 3:]], dim=1)


@torch.no_grad()
@pytest.mark.parametrize(
    ("num_videos", "video_pooling", "attention"), [(1, "sum", "sdpa"), (2, "sum", "eager"), (2, "average", "sdpa")]
)
def test_three_routes_say_the_same(llava, mug_stan, num_videos, video_pooling, attention):
    model = merge_into_llava(llava, mug_stan, video_pooling)
    model.set_attn_implementation(attention)
    input_ids, video = prompts(9, num_videos), tiny_videos(num_videos, 5)
    routes = [
        lambda model: {"input_ids": input_ids, "pixel_values": video},
        lambda model: {"input_ids": input_ids, "mm_encoder_outputs": {"image": model.get_image_features(video)}},
        lambda model: {"inputs_embeds": model.embed(input_ids, video)},
    ]
    logits = [model(**route(model)).logits for route in routes]
    assert torch.equal(logits[0], logits[1]) and torch.equal(logits[0], logits[2])
    # a LLaVA that was not merged takes the features, too
    assert torch.equal(llava(**routes[1](model)).logits, logits[0])
    assert not torch.equal(model(**routes[0](model) | {"pixel_values": video.flip(1)}).logits, logits[0])
    options = {
        "max_new_tokens": 5,
        "min_new_tokens": 5,
        "do_sample": False,
        "attention_mask": torch.ones_like(input_ids),
    }
    written = [model.generate(**route(model), **options)[:, -5:] for route in routes]
    assert written[0].shape[1] == 5 and all(torch.equal(tokens, written[0]) for tokens in written)
    assert torch.equal(model.generate(**routes[0](model), **options, num_beams=2)[:, :-5], input_ids)


@torch.no_grad()
def test_an_image_gives_what_it_gave(llava, mug_stan):
    input_ids, images = prompts(9, 2), tiny_videos(1, 2)[0]
    before = llava(input_ids=input_ids, pixel_values=images).logits
    model = merge_into_llava(llava, mug_stan)
    assert torch.equal(model(input_ids=input_ids, pixel_values=images).logits, before)
    assert torch.equal(llava(input_ids=input_ids, pixel_values=images).logits, before)
    options = {"max_new_tokens": 4, "do_sample": False, "attention_mask": torch.ones_like(input_ids)}
    written = [each.generate(input_ids=input_ids, pixel_values=images, **options) for each in (llava, model)]
    assert torch.equal(*written)


@torch.no_grad()
def test_patches_are_those_that_were_recorded():
    inputs, recorded, _ = load_set(SMALL)
    mug_stan = load_model(SMALL)
    llava = tiny_llava(vision_config={**mug_stan.config.clip_config.vision_config.to_dict()})
    llava.model.vision_tower.load_state_dict(mug_stan.mug_stan.clip.vision_model.state_dict())
    expected = recorded["derived.layer_minus2_patch_tokens"]
    for video_pooling, factor in (("sum", 1), ("average", 0.5)):
        tower = merge_into_llava(llava, mug_stan, video_pooling).model.vision_tower
        states = tower(inputs["T5.pixel_values"], output_hidden_states=-2).hidden_states
        torch.testing.assert_close(states[-2][:, 1:], expected * factor, rtol=0, atol=2e-4)
        assert states[-1] is None


@torch.no_grad()
def test_levels_before_the_branch_are_the_mean_of_clip(llava, mug_stan):
    tower = merge_into_llava(llava, mug_stan).model.vision_tower
    video = tiny_videos(2, 3)
    levels = tower(video).hidden_states
    plain = [
        state.unflatten(0, (2, 3)).mean(1)
        for state in tower.clip(video.flatten(0, 1), output_hidden_states=True).hidden_states
    ]
    assert [torch.allclose(*pair) for pair in zip(levels, plain, strict=True)] == [True, True, False, False, False]


@torch.no_grad()
def test_a_larger_picture_and_other_layers(mug_stan):
    # LLaVA-1.5 has the L/14 of 336 pixels, with positions of its own; others read several layers, and the class token
    llava = tiny_llava(40, vision_feature_layer=[-3, -1], vision_feature_select_strategy="full")
    model = merge_into_llava(llava.to(torch.bfloat16), mug_stan)
    assert model.dtype == torch.bfloat16 and mug_stan.dtype == torch.float32
    features = model.get_image_features(tiny_videos(1, 70, size=40).to(torch.bfloat16)).pooler_output
    assert len(features) == 1 and features[0].shape == (26, 16)
    with pytest.raises(ValueError, match="24"):
        model.get_image_features(tiny_videos(1, 2).to(torch.bfloat16))


SCRIPT = """
import sys, torch
{registering}
from transformers import AutoModelForImageTextToText
model = AutoModelForImageTextToText.from_pretrained(sys.argv[1], trust_remote_code={remote}).eval()
saved = torch.load(sys.argv[2])
with torch.no_grad():
    torch.testing.assert_close(model(**saved["inputs"]).logits, saved["logits"], rtol=0, atol=1e-6)
print(type(model).__name__)
"""


def saved_with_logits(model, tmp_path):
    tmp_path.mkdir(exist_ok=True)
    inputs = {"input_ids": prompts(9), "pixel_values": tiny_videos(1, 5)}
    with torch.no_grad():
        torch.save({"inputs": inputs, "logits": model(**inputs).logits}, tmp_path / "logits.pt")
    model.save_pretrained(tmp_path / "merged")
    return tmp_path / "merged", tmp_path / "logits.pt"


def test_saved_and_loaded(llava, mug_stan, tmp_path):
    model = merge_into_llava(llava, mug_stan)
    model.generation_config.max_new_tokens = 7
    folder, logits = saved_with_logits(model, tmp_path)
    for loader in (AutoModelForImageTextToText, MugSTANLlavaForConditionalGeneration):
        loaded, info = loader.from_pretrained(folder, output_loading_info=True)
        assert not info["missing_keys"] and not info["unexpected_keys"]
        assert (
            isinstance(loaded, MugSTANLlavaForConditionalGeneration) and loaded.generation_config.max_new_tokens == 7
        )
        saved = torch.load(logits)
        with torch.no_grad():
            logits_again = loaded.eval()(**saved["inputs"]).logits
        # the same weights elsewhere in memory round otherwise
        torch.testing.assert_close(logits_again, saved["logits"], rtol=0, atol=1e-6)
        state = model.state_dict()
        assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.state_dict().items())
    assert loaded.config.stan_config.layers_read == [[2, 3, 4]]


@pytest.mark.slow
def test_in_a_clean_process_with_the_package_and_with_code_from_the_hub(llava, mug_stan, tmp_path, monkeypatch):
    model = merge_into_llava(llava, mug_stan)
    folder, logits = saved_with_logits(model, tmp_path / "package")
    script = SCRIPT.format(registering="import clipbert", remote=False)
    done = subprocess.run([sys.executable, "-c", script, folder, logits], capture_output=True, text=True)
    assert done.stdout.strip() == "MugSTANLlavaForConditionalGeneration", done.stderr

    for cls, auto in ((type(model.config), "AutoConfig"), (type(model), "AutoModelForImageTextToText")):
        monkeypatch.setattr(cls, "_auto_class", auto)
    folder, logits = saved_with_logits(model, tmp_path / "hub")
    out = run_without_package(SCRIPT.format(registering="", remote=True), tmp_path / "clean", folder, logits)
    assert out.strip() == "MugSTANLlavaForConditionalGeneration"


def test_too_few_places_are_counted(llava, mug_stan):
    model, video = merge_into_llava(llava, mug_stan), tiny_videos(1, 5)
    for route in (
        lambda ids: model(input_ids=ids, pixel_values=video),
        lambda ids: model.embed(ids, video),
        lambda ids: model.generate(input_ids=ids, pixel_values=video),
    ):
        with pytest.raises(ValueError, match=r"have 8 image tokens \(id 5\), but 9 are needed"):
            route(prompts(8))
    with pytest.raises(ValueError, match="have 9 image tokens .* 45 are needed .*videos, frames, 3"):
        model(input_ids=prompts(9), pixel_values=video[0])  # five images
    for shape in ((1, 3, 5, 24, 24), (1, 0, 3, 24, 24), (5, 24, 24)):
        with pytest.raises(ValueError, match="videos, frames, 3, height, width"):
            model(input_ids=prompts(9), pixel_values=torch.zeros(shape))


@pytest.mark.parametrize(
    ("vision", "fields", "message"),
    [
        (
            {"hidden_size": 32, "patch_size": 12},
            {},
            r"width 32 \(the branch's: 16\), patch 12 \(the branch's: 8\)\. LLaVA-1.5",
        ),
        ({"num_hidden_layers": 5}, {}, r"layers 5 \(the branch's: 4\)"),
        ({"hidden_act": "gelu"}, {}, r"activation gelu \(the branch's: quick_gelu\)"),
        ({}, {"stan_num_layers": 0}, "reads layer 3 .* the layers of none"),
        ({}, {"stan_num_layers": 1}, r"reads layer 3 .* the layers \[\[4\]\]"),
        ({}, {"fusion": "posterior"}, "posterior"),
        ({}, {"clip": "siglip"}, "'siglip' does not fit a LLaVA with a 'clip_vision_model'"),
    ],
    ids=["width", "layers", "activation", "no branch", "branch too late", "posterior", "siglip"],
)
def test_what_does_not_fit_is_named(vision, fields, message):
    llava = tiny_llava(vision_config={**tiny_clip()["vision_config"], "model_type": "clip_vision_model", **vision})
    with pytest.raises(ValueError, match=message):
        merge_into_llava(llava, tiny_model(MugSTANModel, **fields))


def test_other_models_are_named(llava, mug_stan):
    with pytest.raises(ValueError, match="without a branch, got a MugSTANLlavaFor"):
        merge_into_llava(merge_into_llava(llava, mug_stan), mug_stan)
    siglip = SiglipVisionConfig(**tiny_clip("siglip")["vision_config"]).to_dict()
    with pytest.raises(ValueError, match="'clip' does not fit a LLaVA with a 'siglip_vision_model'"):
        merge_into_llava(tiny_llava(vision_config=siglip, vision_feature_select_strategy="full"), mug_stan)
