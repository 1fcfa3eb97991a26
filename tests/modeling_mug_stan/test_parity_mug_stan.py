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

from clipbert.modeling_mug_stan import MugSTANConfig, MugSTANForVideoClassification, MugSTANModel, pool_boxes
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
from clipbert.modeling_mug_stan.towers_mug_stan import read_vision_tower


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
    return [name.split(".")[0] for name in inputs if name.endswith(".pixel_values")]


def states_of(model, pixel_values):
    """Everything that is recorded of videos, by its official name."""
    (branch,), clip, found = model.base_model.branches, model.base_model.clip, {}
    for k, (over_time, within) in enumerate(zip(branch.temporal_layers, branch.spatial_layers, strict=True)):
        over_time.register_forward_hook(
            lambda module, given, patches, k=k: found.update({f"patches.{k}": given[0], f"mixed.{k}": patches})
        )
        within.register_forward_hook(
            lambda module, given, states, k=k: found.update({f"video.{k}": given[0], f"out.{k}": states})
        )
    videos = model.encode_video(pixel_values, output_tokens=True)
    states = {}
    for k in range(len(branch.layers)):
        states[f"stan_in.{k}"] = as_official(found[f"video.{k}"], found[f"patches.{k}"])
        states[f"stan_temporal_out.{k}"] = as_official(found[f"video.{k}"], found[f"mixed.{k}"])
        states[f"stan_out.{k}"] = as_official(*found[f"out.{k}"])
    count = len(model.base_model.clip_layers)
    levels = read_vision_tower(clip.vision_model, pixel_values.flatten(0, 1), range(count + 1))
    states |= {f"clip_hidden.{level}": state for level, state in levels.items()}
    fused = videos.last_hidden_state[:, :, 0].flatten(0, 1)
    alone = clip.get_image_features(pixel_values.flatten(0, 1)).pooler_output.unflatten(0, pixel_values.shape[:2])
    return states | {
        "clip_last_hidden": levels[count],
        "stan_last": as_official(videos.stan_class_state, videos.stan_patch_states),
        "stan_last_cls": videos.stan_class_state,
        "fused_cls_before_ln": fused,
        "fused_cls_after_ln": clip.vision_model.post_layernorm(fused),
        "frame_features": videos.frame_features,
        "video_feature_mean": videos.pooler_output,
        "clip_only_frame_features": alone,
        "clip_only_video_feature_mean": alone.mean(dim=1),
        "fused_patches": videos.last_hidden_state[:, :, 1:],
    }


def as_official(video, patches):
    """Class token, then place by place all frames of it."""
    video = video if video.ndim == 3 else video[:, None]
    return torch.cat([video, patches.transpose(1, 2).flatten(1, 2)], dim=1)


def check_states(states, recorded):
    for name, expected in recorded.items():
        is_feature = "feature" in name
        assert_close(states[name], expected, CLOSE if is_feature else INSIDE)


@torch.no_grad()
def test_features_and_every_state_on_the_way(folder, recorded):
    inputs, outputs, _ = recorded
    for case in cases(inputs):
        model = load_model(folder)
        if case == "init":
            start_anew(model, folder)
        of_case = {
            name.removeprefix(f"{case}."): tensor
            for name, tensor in outputs.items()
            if name.startswith(f"{case}.") and ".quirk_" not in name
        }
        assert "frame_features" in of_case
        check_states(states_of(model, inputs[f"{case}.pixel_values"]), of_case)


@torch.no_grad()
def test_sums_and_means_for_chat_and_detection(folder, recorded):
    inputs, outputs, meta = recorded
    model = load_model(folder)
    pixel_values = inputs[f"{meta['loss_and_mug_case']}.pixel_values"]
    states, shape = states_of(model, pixel_values), pixel_values.shape[:2]

    def patches_of(level, branch):
        """CLIP's and the branch's patches, each averaged over frames."""
        of_branch = branch[:, 1:].unflatten(1, (-1, shape[1])).mean(dim=2)
        return states[f"clip_hidden.{level}"].unflatten(0, shape)[:, :, 1:].mean(dim=1) + of_branch

    count, depth = len(model.base_model.clip_layers), len(model.base_model.branches[0].layers)
    found = {
        "cls_time_mean": states["fused_cls_before_ln"].unflatten(0, shape).mean(dim=1),
        "fused_patches_before_ln": states["fused_patches"],
        "patch_tokens_time_mean": patches_of(count, states["stan_last"]),
        "layer_minus2_patch_tokens": patches_of(count - 1, states[f"stan_out.{depth - 2}"]),
    }
    derived = {name.removeprefix("derived."): t for name, t in outputs.items() if name.startswith("derived.")}
    assert derived
    check_states(found, derived)


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
    tower = model.base_model.clip.text_model(inputs["input_ids"], inputs["text_mask"])
    assert_close(tower.last_hidden_state[real], outputs["text.last_hidden_state"][real])
    assert_close(tower.pooler_output, outputs["text.pooled"])
    classes = model.encode_text(inputs["class_input_ids"], inputs["class_text_mask"])
    real = inputs["class_text_mask"].bool()
    assert_close(classes.token_features[real], outputs["recognition.class_token_embeds"][real])
    assert_close(classes.pooler_output, outputs["recognition.class_cls_embeds"])


def load_weighing(folder, inputs, **fields):
    """The model with the weights of words and frames that `wti` reads."""
    tensors = load_file(folder / "state_dict.safetensors")
    tensors |= {f"adapter.{name.removeprefix('wti.')}": inputs[name] for name in inputs if name.startswith("wti.")}
    return build_model(tensors, recorded_clip_config(folder), **fields)


@pytest.fixture(scope="module")
def weighing(folder, recorded):
    return load_weighing(folder, recorded[0])


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
        config.similarity = "mug"
        assert_close(weighing.similarity(texts, videos), outputs[f"mug.tau{scale}.paper.sim_simple"])
        # the full mode of the code lets padding take part: it is the paper's where there is none
        config.similarity, whole = "mug_exact", recorded[0]["text_mask"].all(dim=1)
        official = outputs[f"mug.tau{scale}.official.mug_frame_token"]
        assert whole.any() and not whole.all()
        assert_close(weighing.similarity(texts, videos)[whole], official[whole])
    assert found >= 19  # the weighted interaction knows no temperature


@torch.no_grad()
@pytest.mark.parametrize("scale", [100, 10])
def test_explanations_are_the_equations(weighing, recorded, scale):
    inputs, outputs, _ = recorded
    model, mask, (texts, videos) = weighing, inputs["text_mask"].bool(), encoded(weighing, recorded)
    model.config.head_scale = scale
    unit = torch.nn.functional.normalize
    words, frames = unit(texts.token_features, dim=-1), unit(videos.frame_features, dim=-1)
    for b in range(len(videos.frame_features)):
        everybody = torch.full((len(mask),), b)
        found = {name: value[:, 0] for name, value in model.explain(texts, videos, everybody).items()}
        of_frames, of_words = found["word_attention"].transpose(1, 2), found["frame_attention"]
        equations = {
            "token_frame_sim": found["similarity"].transpose(1, 2),
            "attn_frame_to_token": of_frames,  # 11
            "frame_specific_text": of_frames @ words,  # 12
            "frame_score": found["frame_scores"],
            "frame_weight": found["frame_weights"],  # 13
            "text_guided_video": found["text_guided_video"],  # 14
            "attn_token_to_frame": of_words,  # 15
            "token_specific_video": of_words @ frames[b],  # 16
            "token_score": found["word_scores"],
            "token_weight": found["word_weights"],  # 17
            "video_guided_text": found["video_guided_text"],  # 18
        }
        checked = 0
        for name, ours in equations.items():
            if (key := f"mug.tau{scale}.paper.{name}") in outputs:
                expected, ours = outputs[key][:, b], ours
                if name in ("attn_token_to_frame", "token_specific_video", "token_score"):  # of words alone
                    expected, ours = expected[mask], ours[mask]
                elif name == "token_frame_sim":
                    expected, ours = expected.transpose(1, 2)[mask], ours.transpose(1, 2)[mask]
                assert_close(ours, expected)
                checked += 1
        assert checked >= 5


@torch.no_grad()
def test_losses(folder, recorded):
    inputs, _, meta = recorded
    model = load_weighing(folder, inputs, count_duplicates=True)
    pixel_values = inputs[f"{meta['loss_and_mug_case']}.pixel_values"]
    given = inputs["input_ids"][: len(pixel_values)], pixel_values, inputs["text_mask"][: len(pixel_values)]
    names = {
        "mean_pool": "meanpool",
        "mug": "mug_frame_token_simple",
        "frame_text_official": "mug_frame_text",
        "wti_official": "drl_wti",
    }
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
        if (key := f"{case}.clip_only_frame_features") in outputs:
            assert_close(plain.encode_video(inputs[f"{case}.pixel_values"]).frame_features, outputs[key])


def start_anew(model, folder):
    """The branch as the official constructor left it: copies of layers, and the recorded draws of all else."""
    model.base_model.copy_clip_layers()
    state = {convert_name(name): t for name, t in load_file(folder / "init_stan_state.safetensors").items()}
    missing, unexpected = model.base_model.load_state_dict(state, strict=False)
    assert not unexpected and all(name.startswith("clip.") or ".spatial_layers." in name for name in missing)


@torch.no_grad()
def test_a_new_branch_starts_as_the_official_one(folder, recorded):
    inputs, _, meta = recorded
    if "init.pixel_values" not in inputs:
        pytest.skip("recorded in the larger set only")
    trained, official = (load_file(folder / f"{name}.safetensors") for name in ("state_dict", "init_stan_state"))
    model = load_model(folder)
    fresh = type(model)(model.config)  # as one that has just been made around this CLIP
    clip = {name.removeprefix("mug_stan.clip."): p for name, p in model.state_dict().items() if ".clip." in name}
    fresh.mug_stan.clip.load_state_dict(clip)
    fresh.mug_stan.copy_clip_layers()
    own = fresh.mug_stan.state_dict()
    assert {convert_name(name) for name in official} == {
        name for name in own if name.startswith("branches.") and ".spatial_layers." not in name
    }
    for name, theirs in official.items():
        ours, is_weight = own[convert_name(name)], name.endswith("_proj.weight")
        assert ours.shape == theirs.shape
        if is_weight or "time_embed" in name:  # torch's defaults, not CLIP's
            assert ours.std().item() == pytest.approx(theirs.std().item(), rel=0.1), name
        elif name.endswith("_proj.bias"):
            assert ours.abs().max() <= len(ours) ** -0.5 and theirs.abs().max() <= len(ours) ** -0.5, name
            assert bool(ours.any()) == bool(theirs.any()), name
        else:
            assert torch.equal(ours, theirs), name
    for target, source in meta["init"]["spatial_from"].items():
        target, source = target.removesuffix("*"), source.removesuffix("*")
        copies = [name for name in trained if name.startswith(source)]
        assert copies
        for name in copies:
            assert torch.equal(own[convert_name(name.replace(source, target))], trained[name]), name


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
    if mode == "mean_pool":
        hits = found.logits.argsort(dim=1, descending=True) == inputs["labels"][:, None]
        shares = {f"overall_acc{k}": hits[:, :k].any(dim=1).float().mean().item() for k in (1, 5)}
        assert shares == pytest.approx(meta["zero_shot_acc_metric"])


# Without a text tower: the convolutions of the first release


@torch.no_grad()
@pytest.mark.parametrize("kind", ["origin", "activate", "3layerST", "3D11"])
def test_convolutional_modules(mug_stan_parity_dir, kind):
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
    of_video = {name.removeprefix("out."): t for name, t in recorded.items() if name.startswith("out.")}
    assert "stan_out.1" in of_video
    check_states(states_of(model, recorded["in.pixel_values"].float()), of_video)


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
    similarity, unit = cosines(tokens[:, None], frames), torch.nn.functional.normalize
    guidance = mutual_guidance(similarity, mask[:, None], meta["tau"])
    video, text = guide_embeddings(tokens[:, None], frames, guidance)
    real = mask[:, None].expand(-1, len(frames), -1)
    for ours, official in (
        (similarity.transpose(-1, -2), "token_frame_sim"),
        (guidance.word_attention.transpose(-1, -2), "attn_frame_to_token"),
        (guidance.frame_scores, "frame_score"),
        (guidance.frame_weights, "frame_weight"),
        (guidance.word_weights, "token_weight"),
        (guidance.word_attention.transpose(-1, -2) @ unit(tokens, dim=-1)[:, None], "frame_specific_text"),
        (video, "text_guided_video"),
        (text, "video_guided_text"),
    ):
        expected = recorded[f"out.paper.{official}"]
        if official == "token_frame_sim":
            ours, expected = ours.transpose(-1, -2)[real], expected.transpose(-1, -2)[real]
        assert_close(ours, expected)
    seen = guidance.frame_attention @ unit(frames, dim=-1)
    assert_close(seen[real], recorded["out.paper.token_specific_video"][real])
    assert_close(guidance.word_scores[real], recorded["out.paper.token_score"][real])
    assert_close(guidance.frame_attention[real], recorded["out.paper.attn_token_to_frame"][real])


@pytest.mark.parametrize("block_size", [300, 2**22])
def test_a_corpus_is_scored_as_recorded(block_size):
    recorded = load_file(SMALL / "metrics" / "metrics.safetensors")
    tokens, mask = recorded["mug_corpus.text_tokens"], recorded["mug_corpus.text_mask"].bool()
    texts, videos = TextFeatures(tokens, mask, tokens[:, 0]), FrameFeatures(recorded["mug_corpus.frame_features"])
    assert_close(score_all_pairs(texts, videos, "mug", 100.0, block_size=block_size), recorded["mug_corpus.sim"])


@pytest.mark.parametrize("name", ["easy", "hub", "hard"])
def test_losses_of_recorded_scores(name):
    scores = load_file(SMALL / "metrics" / "metrics.safetensors")[f"{name}.sim"]
    official = json.loads((SMALL / "metrics" / "metrics.json").read_text())[name]["losses (logits = 100*sim)"]
    assert contrastive_loss(100 * scores).item() == pytest.approx(official["norm_softmax"], rel=RELATIVE)


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
