# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
The models against recorded outputs of the official code: features and similarities to 1e-5, states inside to 2e-4,
losses and gradients to 1e-4 relative. A small part of the records lies in the repository.
"""

import json
from pathlib import Path

import pytest
import torch
from mug_stan_parity import load_model, load_set, recorded_clip_config
from safetensors.torch import load_file
from transformers import CLIPConfig

from clipbert.modeling_mug_stan import MugSTANConfig, MugSTANForVideoClassification, pool_boxes
from clipbert.modeling_mug_stan.convert_mug_stan_checkpoint import build_model, convert_name
from clipbert.modeling_mug_stan.guidance_mug_stan import (
    FrameFeatures,
    TextFeatures,
    contrastive_loss,
    cosines,
    guide_embeddings,
    mutual_guidance,
    score_all_pairs,
)


SMALL = Path(__file__).parents[1] / "fixtures" / "mug_stan"
CLOSE, INSIDE, RELATIVE = 1e-5, 2e-4, 1e-4
MODES = {
    "mug": "official.mug_frame_token_simple",
    "mug_exact": "paper.sim",
    "frame_text": "paper.sim_frame_text",
    "frame_text_official": "official.mug_frame_text",
    "video_token": "paper.sim_video_token",
    "wti_official": "official.drl_wti",
}
pytestmark = pytest.mark.parity


def assert_close(ours, recorded, atol=CLOSE):
    torch.testing.assert_close(ours, recorded, rtol=0, atol=atol)


@pytest.fixture(scope="module", params=["small", "stan_a", "stan_b"])
def folder(request):
    return (
        SMALL / "stan_b"
        if request.param == "small"
        else request.getfixturevalue("mug_stan_parity_dir") / request.param
    )


@pytest.fixture(scope="module")
def recorded(folder):
    return load_set(folder)


@pytest.fixture(scope="module")
def model(folder):
    return load_model(folder)


def cases(inputs):
    return [name.split(".")[0] for name in inputs if name.endswith(".pixel_values") and name[0] == "T"]


@torch.no_grad()
def test_features_of_frames_and_states_of_the_branch(model, recorded):
    inputs, outputs, _ = recorded
    for case in cases(inputs):
        videos = model.encode_video(inputs[f"{case}.pixel_values"], output_tokens=True)
        assert_close(videos.frame_features, outputs[f"{case}.frame_features"])
        assert_close(videos.pooler_output, outputs[f"{case}.video_feature_mean"])
        if f"{case}.stan_last" in outputs:
            assert_close(
                as_official(videos.stan_class_state, videos.stan_patch_states), outputs[f"{case}.stan_last"], INSIDE
            )
        if f"{case}.stan_last_cls" in outputs:
            assert_close(videos.stan_class_state, outputs[f"{case}.stan_last_cls"], INSIDE)


def as_official(video, patches):
    """Class token, then place by place all frames of it."""
    video = video if video.ndim == 3 else video[:, None]
    return torch.cat([video, patches.transpose(1, 2).flatten(1, 2)], dim=1)


@torch.no_grad()
def test_every_state_on_the_way(model, recorded):
    inputs, outputs, meta = recorded
    case = meta["loss_and_mug_case"]
    if f"{case}.stan_out.0" not in outputs:
        pytest.skip("recorded in the larger set only")
    seen, (branch,) = {}, model.mug_stan.branches
    for k, layer in enumerate(branch.temporal_layers):
        layer.register_forward_hook(
            lambda module, given, patches, k=k: seen.update({f"stan_temporal_out.{k}": patches})
        )
    for k, layer in enumerate(branch.spatial_layers):
        layer.register_forward_hook(
            lambda module, given, states, k=k: seen.update({f"stan_out.{k}": states, f"video.{k}": given[0]})
        )
    videos = model.encode_video(inputs[f"{case}.pixel_values"], output_tokens=True)
    for k in range(len(branch.layers)):
        assert_close(as_official(*seen[f"stan_out.{k}"]), outputs[f"{case}.stan_out.{k}"], INSIDE)
        temporal = as_official(seen[f"video.{k}"], seen[f"stan_temporal_out.{k}"])
        assert_close(temporal, outputs[f"{case}.stan_temporal_out.{k}"], INSIDE)
    num_frames = videos.frame_features.shape[1]
    assert_close(videos.last_hidden_state[:, :, 1:], outputs["derived.fused_patches_before_ln"], INSIDE)
    assert_close(videos.last_hidden_state[:, :, 0].flatten(0, 1), outputs[f"{case}.fused_cls_before_ln"], INSIDE)
    clip_patches = outputs[f"{case}.clip_last_hidden"].unflatten(0, (-1, num_frames))[:, :, 1:]
    together = clip_patches.mean(dim=1) + videos.stan_patch_states.mean(dim=1)
    assert_close(together, outputs["derived.patch_tokens_time_mean"], INSIDE)


@torch.no_grad()
def test_texts(model, recorded):
    inputs, outputs, _ = recorded
    unmasked = model.encode_text(inputs["input_ids"])  # as the official code, which passes no mask
    assert_close(unmasked.token_features, outputs["text.token_embeds"])
    masked = model.encode_text(inputs["input_ids"], inputs["text_mask"])
    real = inputs["text_mask"].bool()
    assert_close(masked.token_features[real], outputs["text.token_embeds"][real])
    for texts in (masked, unmasked):
        assert_close(texts.pooler_output, outputs["text.cls_embeds"])


@pytest.fixture(scope="module")
def weighing(folder, recorded):
    """The model with the weights of words and frames that `wti` reads."""
    inputs, _, _ = recorded
    tensors = load_file(folder / "state_dict.safetensors")
    tensors |= {f"adapter.{name.removeprefix('wti.')}": inputs[name] for name in inputs if name.startswith("wti.")}
    return build_model(tensors, recorded_clip_config(folder))


@torch.no_grad()
def encoded(model, recorded):
    inputs, _, meta = recorded
    videos = model.encode_video(inputs[f"{meta['loss_and_mug_case']}.pixel_values"])
    return model.encode_text(inputs["input_ids"], inputs["text_mask"]), videos


@torch.no_grad()
def test_similarities(weighing, recorded):
    _, outputs, _ = recorded
    config, (texts, videos), found = weighing.config, encoded(weighing, recorded), 0
    names = {official: (mode, 3) for mode, official in MODES.items()}
    names |= {f"proposed.topk{k}.sim": ("top_k", k) for k in (1, 3, 5, 7)}
    for scale in (100, 10):
        for official, (mode, k) in names.items():
            if (key := f"mug.tau{scale}.{official}") in outputs:
                config.similarity, config.head_scale, config.top_k = mode, scale, k
                assert_close(weighing.similarity(texts, videos), outputs[key])
                found += 1
    assert found >= 19  # the weighted interaction knows no temperature


@torch.no_grad()
@pytest.mark.parametrize("scale", [100, 10])
def test_explanations_are_the_equations(weighing, recorded, scale):
    inputs, outputs, _ = recorded
    model, mask, (texts, videos) = weighing, inputs["text_mask"].bool(), encoded(weighing, recorded)
    model.config.head_scale = scale
    for b in range(len(videos.frame_features)):
        everybody = torch.full((len(mask),), b)
        found = {name: value[:, 0] for name, value in model.explain(texts, videos, everybody).items()}
        for name, official in (
            ("frame_weights", "frame_weight"),
            ("word_weights", "token_weight"),
            ("text_guided_video", "text_guided_video"),
            ("video_guided_text", "video_guided_text"),
        ):
            if (key := f"mug.tau{scale}.paper.{official}") in outputs:
                assert_close(found[name], outputs[key][:, b])
        if (key := f"mug.tau{scale}.paper.attn_frame_to_token") in outputs:
            assert_close(found["word_attention"], outputs[key][:, b].transpose(1, 2))
            in_words = outputs[f"mug.tau{scale}.paper.attn_token_to_frame"][:, b]
            assert_close(found["frame_attention"][mask], in_words[mask])


@torch.no_grad()
def test_losses(folder, recorded):
    inputs, _, meta = recorded
    model = load_model(folder, count_duplicates=True)
    pixel_values = inputs[f"{meta['loss_and_mug_case']}.pixel_values"]
    given = inputs["input_ids"][: len(pixel_values)], pixel_values, inputs["text_mask"][: len(pixel_values)]
    names = {"mean_pool": "meanpool", "mug": "mug_frame_token_simple", "frame_text_official": "mug_frame_text"}
    for mode, official in names.items():
        for tau in ("0.01", "0.02", "0.03", "0.05"):
            model.config.similarity, model.config.loss_scale = mode, 1 / float(tau)
            suffix = f"tau={tau}" if mode == "mean_pool" else f"tau_head=100|tau_loss={tau}"
            expected = meta["losses"][f"{official}|{suffix}"]
            assert model(*given).loss.item() == pytest.approx(expected, rel=RELATIVE)


def test_gradients(folder, recorded):
    inputs, _, meta = recorded
    model = load_model(folder, loss_scale=20.0)
    pixel_values = inputs[f"{meta['loss_and_mug_case']}.pixel_values"]
    num_videos = len(pixel_values)
    loss = model(inputs["input_ids"][:num_videos], pixel_values, inputs["text_mask"][:num_videos]).loss
    assert loss.item() == pytest.approx(meta["losses"]["model_loss_mug_simple|tau=0.05"], rel=RELATIVE)
    loss.backward()
    gradients = {name.removeprefix("mug_stan."): p.grad for name, p in model.named_parameters()}
    for name, norm in meta["grad_norms_of_model_loss"].items():
        if norm > 1e-5:  # biases of keys have none but rounding
            assert gradients[convert_name(name)].norm().item() == pytest.approx(norm, rel=RELATIVE), name
    for name, expected in load_file(folder / "gradients.safetensors").items():
        ours = gradients[convert_name(name.removeprefix("grad."))]
        assert (ours - expected).norm() <= RELATIVE * expected.norm(), name


@torch.no_grad()
def test_plain_clip_and_mean_pooling(folder, recorded):
    inputs, outputs, _ = recorded
    plain = load_model(folder, similarity="mean_pool")
    assert_close(plain.similarity(*encoded(plain, recorded)), outputs["meanpool.sim_text_to_video"])
    plain.mug_stan.branches = torch.nn.ModuleList()
    for case in cases(inputs):
        features = plain.encode_video(inputs[f"{case}.pixel_values"]).frame_features
        assert_close(features, outputs[f"{case}.clip_only_frame_features"])


@torch.no_grad()
def test_a_new_branch_starts_as_the_official_one(folder, recorded):
    inputs, outputs, _ = recorded
    if "init.pixel_values" not in inputs:
        pytest.skip("recorded in the larger set only")
    trained = load_file(folder / "state_dict.safetensors")
    model = load_model(folder)
    depth = len(model.mug_stan.branches[0].layers)
    # the branch of a model that has just been made around this CLIP, with the recorded draws of what is random
    fresh = type(model)(model.config)
    clip = {name.removeprefix("mug_stan.clip."): p for name, p in model.state_dict().items() if ".clip." in name}
    fresh.mug_stan.clip.load_state_dict(clip)
    fresh.mug_stan.copy_clip_layers()
    state = load_file(folder / "init_stan_state.safetensors")
    own = fresh.mug_stan.state_dict()
    for name, tensor in state.items():
        if "temporal_fc" in name:
            assert torch.equal(own[convert_name(name)], tensor)
        assert own[convert_name(name)].shape == tensor.shape
        if name.endswith("q_proj.weight"):  # torch's default, not CLIP's
            assert own[convert_name(name)].std().item() == pytest.approx(tensor.std().item(), rel=0.1)
    assert own["branches.0.time_embedding.weight"].std().item() == pytest.approx(1, abs=0.05)
    first = len(fresh.mug_stan.clip_layers) - depth
    for k in range(depth):
        copied = own[f"branches.0.spatial_layers.{k}.mlp.fc1.weight"]
        assert torch.equal(copied, trained[f"backbone.layers.{first + k}.mlp.fc1.weight"])
    fresh.mug_stan.load_state_dict({convert_name(name): tensor for name, tensor in state.items()}, strict=False)
    assert_close(fresh.eval().encode_video(inputs["init.pixel_values"]).frame_features, outputs["init.frame_features"])


@torch.no_grad()
@pytest.mark.parametrize("mode", ["mean_pool", "mug", "mug_exact"])
def test_recognition(folder, recorded, mode):
    inputs, outputs, meta = recorded
    names = {
        "mean_pool": "recognition.official_scores_meanpool",
        "mug": "recognition.mug_simple_scores",
        "mug_exact": "recognition.mug_paper_scores",
    }
    if names[mode] not in outputs:
        pytest.skip(f"{names[mode]} is not recorded")
    retrieval = load_model(folder, similarity=mode, num_labels=len(inputs["class_input_ids"]))
    model = MugSTANForVideoClassification(retrieval.config).eval()
    model.mug_stan.load_state_dict(retrieval.mug_stan.state_dict())
    model.set_class_tokens(inputs["class_input_ids"], inputs["class_text_mask"])
    found = model(inputs[f"{meta['loss_and_mug_case']}.pixel_values"], labels=inputs["labels"])
    assert_close(found.logits / model.config.loss_scale, outputs[names[mode]])
    expected = meta["losses"][f"recognition_ce|{names[mode].removeprefix('recognition.')}|scale=100"]
    assert found.loss.item() == pytest.approx(expected, rel=RELATIVE)


# Without a text tower: the convolutions of the first release


@torch.no_grad()
@pytest.mark.parametrize("kind", ["origin", "activate", "3layerST", "3D11"])
def test_convolutional_modules(mug_stan_parity_dir, kind):
    from clipbert.modeling_mug_stan import MugSTANModel

    folder = mug_stan_parity_dir / "temporal_conv"
    recorded, vision = load_file(folder / f"{kind}.safetensors"), json.loads((folder / "meta.json").read_text())
    clip = CLIPConfig(vision_config=vision["vision_config"], projection_dim=12, text_config={"num_hidden_layers": 1})
    module = {"origin": "conv_origin", "activate": "conv_activate", "3layerST": "conv_3layer", "3D11": "conv_3d11"}[
        kind
    ]
    model = MugSTANModel(MugSTANConfig(clip_config=clip, stan_num_layers=2, temporal_module=module)).eval()
    state = {
        convert_name(name.removeprefix("state.")): tensor
        for name, tensor in recorded.items()
        if name.startswith("state.") and "adapter_upsample" not in name
    }
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and all(name.startswith(("clip.text", "clip.logit")) for name in missing)
    videos = model.encode_video(recorded["in.pixel_values"].float(), output_tokens=True)
    assert_close(videos.frame_features, recorded["out.frame_features"])
    assert_close(as_official(videos.stan_class_state, videos.stan_patch_states), recorded["out.stan_last"], INSIDE)


# Arithmetic alone


@pytest.mark.parametrize("path", sorted((SMALL / "mug_math").glob("*.safetensors")), ids=lambda path: path.stem)
def test_arithmetic(path):
    recorded, meta = load_file(path), json.loads((path.parent / "meta.json").read_text())[path.stem]
    tokens, frames, mask = recorded["in.text_tokens"], recorded["in.frame_features"], recorded["in.text_mask"].bool()
    word_weights = frame_weights = None
    if "in.wti.text_weight_fc.weight" in recorded:
        fc = {name.removeprefix("in.wti."): tensor for name, tensor in recorded.items() if name.startswith("in.wti.")}
        words = tokens @ fc["text_weight_fc.weight"][0] + fc["text_weight_fc.bias"]
        word_weights = words.masked_fill(~mask, -torch.inf).softmax(dim=-1)
        frame_weights = (frames @ fc["video_weight_fc.weight"][0] + fc["video_weight_fc.bias"]).softmax(dim=-1)
    texts = TextFeatures(tokens, mask, tokens[torch.arange(len(tokens)), mask.sum(dim=1) - 1], word_weights)
    videos = FrameFeatures(frames, frame_weights)
    found = {official: (mode, 3) for mode, official in MODES.items()} | {"paper.sim_simple": ("mug", 3)}
    found |= {f"proposed.topk{k}.sim": ("top_k", k) for k in (1, 3, 5, 7)}
    for official, (mode, k) in found.items():
        if f"out.{official}" not in recorded or (path.stem, official) == ("exact_zero_token", MODES["mug"]):
            continue  # the official code drops a word whose cosines are exactly 0
        for block_size in (1000, 2**22):
            similarity = score_all_pairs(texts, videos, mode, meta["tau"], k, block_size)
            assert_close(similarity, recorded[f"out.{official}"])
        if similarity.shape[0] == similarity.shape[1]:
            for tau in ("0.01", "0.05"):
                expected = meta.get("losses", {}).get(f"{official}|tau_loss={tau}")
                if expected is not None:
                    loss = contrastive_loss(similarity / float(tau)).item()
                    assert loss == pytest.approx(expected, rel=RELATIVE, abs=RELATIVE)


@pytest.mark.parametrize("path", sorted((SMALL / "mug_math").glob("*.safetensors")), ids=lambda path: path.stem)
def test_equations_one_by_one(path):
    recorded, meta = load_file(path), json.loads((path.parent / "meta.json").read_text())[path.stem]
    tokens, frames, mask = recorded["in.text_tokens"], recorded["in.frame_features"], recorded["in.text_mask"].bool()
    similarity = cosines(tokens[:, None], frames)
    guidance = mutual_guidance(similarity, mask[:, None], meta["tau"])
    video, text = guide_embeddings(tokens[:, None], frames, guidance)
    real = mask[:, None].expand(-1, len(frames), -1)
    for ours, official in (
        (similarity.transpose(-1, -2), "token_frame_sim"),
        (guidance.word_attention.transpose(-1, -2), "attn_frame_to_token"),
        (guidance.frame_scores, "frame_score"),
        (guidance.frame_weights, "frame_weight"),
        (guidance.word_weights, "token_weight"),
        (video, "text_guided_video"),
        (text, "video_guided_text"),
    ):
        expected = recorded[f"out.paper.{official}"]
        if official == "token_frame_sim":
            ours, expected = ours.transpose(-1, -2)[real], expected.transpose(-1, -2)[real]
        assert_close(ours, expected)
    assert_close(guidance.word_scores[real], recorded["out.paper.token_score"][real])
    assert_close(guidance.frame_attention[real], recorded["out.paper.attn_token_to_frame"][real])


def test_actions_in_boxes():
    recorded, meta = (
        load_file(SMALL / "ava_head" / "ava_head.safetensors"),
        json.loads((SMALL / "ava_head" / "meta.json").read_text()),
    )
    rois, time_mean = recorded["in.rois_xyxy_pixels"], recorded["in.feature_map"].mean(dim=2)
    pooled = pool_boxes(time_mean, rois[:, 1:], rois[:, 0].long(), meta["stride"], meta["roi_output_size"])
    assert_close(pooled, recorded["out.roi_max_pooled"])
    logits = torch.nn.functional.linear(pooled, recorded["head.fc_cls.weight"], recorded["head.fc_cls.bias"])[:, 1:]
    assert_close(logits.sigmoid(), recorded["out.scores"])
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, recorded["in.labels"])
    assert loss.item() == pytest.approx(meta["loss_bce_mean"], rel=RELATIVE)
