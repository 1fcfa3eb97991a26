# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A CoCa of open_clip: its encoders here compute what they compute there, from files and names as from the model itself."""

import json
import sys

import numpy as np
import pytest
import torch
from clean_process import run_without_package
from huggingface_hub.errors import StrictDataclassError
from tiny_mug_stan import tiny_config, tiny_model, tiny_texts, tiny_videos
from transformers import AutoModelForSequenceClassification, AutoProcessor
from transformers.dynamic_module_utils import custom_object_save

from clipbert.datasets_scripts.synthetic import generate_synthetic
from clipbert.modeling_mug_stan import MugSTANForVideoTextRetrieval, from_parts, processor_from_parts
from clipbert.modeling_mug_stan.modeling_coca import coca_from_open_clip, names_open_clip
from clipbert.train_scripts import explain
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.retrieval import RetrievalTask
from clipbert.train_scripts.tasks.building import StartError


WORDS = 20
POOLING = {"attentional_pool": True, "attn_pooler_queries": 7, "attn_pooler_heads": 2, "output_tokens": True}


@pytest.fixture
def open_clip():
    package = pytest.importorskip("open_clip", reason="needs open_clip: pip install 'clipbert[coca]'")
    # torch's attention has a fused way for inference that rounds differently, by 2e-6 at values of 4
    was_enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    yield package
    torch.backends.mha.set_fastpath_enabled(was_enabled)


def tiny_coca(open_clip, **vision):
    torch.manual_seed(0)
    text = {"context_length": WORDS, "vocab_size": 99, "width": 16, "heads": 2, "layers": 2}
    vision = {"image_size": 24, "patch_size": 8, "width": 64, "layers": 4, "head_width": 32, **POOLING} | vision
    coca = open_clip.CoCa(
        embed_dim=24,
        multimodal_cfg={**text, "layers": 1, "attn_pooler_heads": 2},
        text_cfg={**text, "embed_cls": True, "output_tokens": True},
        vision_cfg=vision,
    )
    with torch.no_grad():
        for parameter in coca.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return coca.eval()


@torch.no_grad()
@pytest.mark.parametrize("vision", [{}, {"width": 24, "head_width": 8, "patch_size": 12}], ids=["wider", "as wide"])
def test_features_and_tokens_are_those_of_open_clip(open_clip, vision, tmp_path):
    theirs = tiny_coca(open_clip, **vision)
    coca_from_open_clip(theirs).save_pretrained(tmp_path)
    model = MugSTANForVideoTextRetrieval.from_clip_pretrained(tmp_path, stan_num_layers=0)

    videos = tiny_videos(2, 3)
    image, captioned = theirs._encode_image(videos.flatten(0, 1), normalize=False)
    torch.testing.assert_close(model.encode_video(videos).frame_features.flatten(0, 1), image, rtol=1e-6, atol=1e-6)
    read = model.mug_stan.clip.get_image_features(videos.flatten(0, 1)).last_hidden_state
    torch.testing.assert_close(read[:, 1:], captioned, rtol=1e-6, atol=1e-6)

    lengths = [7, WORDS, 4]
    input_ids, mask = tiny_texts(lengths)  # padded with 1, which open_clip would read
    padded = torch.zeros(3, WORDS, dtype=torch.long)
    padded[:, : input_ids.shape[1]] = input_ids * mask
    text, tokens = theirs._encode_text(padded, normalize=False)
    tokens = theirs.text.ln_final(tokens) @ theirs.text.text_projection
    ours = model.encode_text(input_ids, mask)
    torch.testing.assert_close(ours.pooler_output, text, rtol=1e-6, atol=1e-6)
    for row, length in enumerate(lengths):
        torch.testing.assert_close(ours.token_features[row, :length], tokens[row, :length], rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(ours.token_features[row, length], text[row], rtol=1e-6, atol=1e-6)
        assert ours.attention_mask[row].sum() == length + 1
    torch.testing.assert_close(model.encode_text(padded).pooler_output, text, rtol=1e-6, atol=1e-6)


@pytest.fixture
def named(open_clip, tmp_path):
    """A CoCa that open_clip knows by its name, with weights in a file."""
    text = {"context_length": 76, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    settings = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 24, "patch_size": 8, "width": 32, "layers": 3, "head_width": 16, **POOLING},
        "text_cfg": {**text, "embed_cls": True, "output_tokens": True},
        "multimodal_cfg": {**text, "attn_pooler_heads": 2},
        "custom_text": True,
    }
    (tmp_path / "coca_tiny.json").write_text(json.dumps(settings))
    open_clip.add_model_config(tmp_path / "coca_tiny.json")
    torch.manual_seed(0)
    coca = open_clip.create_model("coca_tiny")
    torch.save(coca.state_dict(), tmp_path / "weights.pt")
    return f"coca_tiny/{tmp_path}/weights.pt", coca.eval()


@pytest.mark.slow
def test_from_a_name_to_a_trained_model_that_needs_no_open_clip(open_clip, named, tmp_path, monkeypatch):
    name, coca = named
    model, info = MugSTANForVideoTextRetrieval.from_clip_pretrained(name, True, stan_num_layers=2)
    assert info["unused"] and all(key.startswith(("text_decoder.", "logit_")) for key in info["unused"])
    processor = processor_from_parts({"clip": name}, num_frames=2)
    captions = ["a dog runs!", "Caf\u00e9, &amp; 3 more words", "it's"]
    batch = processor(
        text=captions, videos=np.random.default_rng(0).integers(0, 255, (3, 5, 30, 40, 3), dtype=np.uint8)
    )
    theirs = open_clip.get_tokenizer("coca_tiny")(captions)
    assert torch.equal(batch["input_ids"] * batch["attention_mask"], theirs[:, : batch["input_ids"].shape[1]])
    with torch.no_grad():
        pooled = model.encode_text(batch["input_ids"], batch["attention_mask"]).pooler_output
        torch.testing.assert_close(pooled, coca._encode_text(theirs, normalize=False)[0], rtol=1e-6, atol=1e-6)

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(3):
        losses.append(model(**batch).loss)
        losses[-1].backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < losses[0]
    model.save_pretrained(tmp_path / "trained")
    processor.save_pretrained(tmp_path / "trained")
    monkeypatch.setitem(sys.modules, "open_clip", None)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "trained").eval()
    again = AutoProcessor.from_pretrained(tmp_path / "trained")(text=captions)
    with torch.no_grad():
        expected = model.eval()(**batch).logits_per_text
        assert torch.equal(loaded(**again, pixel_values=batch["pixel_values"]).logits_per_text, expected)
    with pytest.raises(ImportError, match=r"clipbert\[coca\]"):
        from_parts(MugSTANForVideoTextRetrieval, {"clip": name})


def test_what_open_clip_does_not_have_is_named(open_clip, named, tmp_path):
    with pytest.raises(ValueError, match="no model 'coca_ViT-B-23'; its CoCas are .*coca_ViT-B-32"):
        MugSTANForVideoTextRetrieval.from_clip_pretrained("coca_ViT-B-23")
    with pytest.raises(ValueError, match="no weights 'laion3b' .* Known are laion2b_s13b_b90k"):
        processor_from_parts({"clip": "coca_ViT-B-32/laion3b"})
    (tmp_path / "coca_folder").mkdir()
    assert names_open_clip("coca_tiny") and not names_open_clip(tmp_path / "coca_folder")
    with pytest.raises(ValueError, match="other parts than coca_ViT-B-32"):
        coca_from_open_clip(tiny_coca(open_clip, attentional_pool=False))


def test_the_branch_reaches_every_token_of_a_frame():
    # the attention that reads a frame sees class token and patches; the class token alone would be one of ten
    model = tiny_model(clip="open_clip_coca")
    frames = tiny_videos(1, 3)
    expected = model.encode_video(frames, output_tokens=True)
    clip, states = model.mug_stan.clip, expected.last_hidden_state
    plain = clip.vision_model(frames[0]).last_hidden_state
    torch.testing.assert_close(states[0, :, 1:], plain[:, 1:] + expected.stan_patch_states[0])
    torch.testing.assert_close(states[0, :, 0], plain[:, 0] + expected.stan_class_state)
    features = clip.visual_projection(clip.vision_model.post_layernorm(states[0]))
    torch.testing.assert_close(expected.frame_features[0], features)
    assert torch.equal(model.encode_video(frames).frame_features, expected.frame_features)
    with pytest.raises((ValueError, StrictDataclassError), match="fuse_patches=False"):
        tiny_config("open_clip_coca", fuse_patches=False)


@pytest.mark.slow
def test_through_the_doors(named, tmp_path):
    data = generate_synthetic(
        tmp_path / "data", progress=False, preset="easy", num_train=16, num_validation=4, num_test=6
    )
    settings = [
        "model.family=mug_stan",
        f"model.parts={json.dumps({'clip': named[0]})}",
        "model.overrides={stan_num_layers: 2}",
        "model.objective=contrastive",
        "data.dataset=synthetic",
        "data.config=retrieval",
        f"data.data_dir={data}",
        "data.negatives=in_batch",
        "data.num_frames=2",
        "data.num_workers=0",
        "run.total_steps=2",
        "run.global_batch_size=8",
        "run.micro_batch_size=4",
        f"run.output_dir={tmp_path / 'run'}",
        "eval.splits={test: final}",
    ]
    settings = [part for setting in settings for part in ("--set", setting)]
    result = main(RetrievalTask(), settings)
    assert result["results"]["test"]["metrics"]["num_videos"] == 6
    video = next(iter(sorted(data.rglob("*.mp4"))))
    found = explain.main(["a red square moves", "--checkpoint", str(tmp_path / "run"), "--video", str(video)])
    assert found.words[-1] == "[class]" and found.word_weights.sum() == pytest.approx(1, abs=1e-5)
    with pytest.raises(StartError, match="model.parts.clip=coca_tiny/elsewhere: open_clip has no weights 'elsewhere'"):
        other = ["--set", "model.parts={clip: coca_tiny/elsewhere}", f"run.output_dir={tmp_path}/other"]
        main(RetrievalTask(), [*settings, *other])


@pytest.mark.slow
@torch.no_grad()
def test_code_from_the_hub_needs_no_open_clip(tmp_path):
    model = tiny_model(clip="open_clip_coca")
    input_ids, mask = tiny_texts([5, 7])
    inputs = {"input_ids": input_ids, "attention_mask": mask, "pixel_values": tiny_videos(2, 3)}
    folder = tmp_path / "published"
    model.save_pretrained(folder)
    custom_object_save(model, folder)
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {
        "AutoConfig": "configuration_mug_stan.MugSTANConfig",
        "AutoModelForSequenceClassification": "modeling_mug_stan.MugSTANForVideoTextRetrieval",
    }
    (folder / "config.json").write_text(json.dumps(config))
    torch.save({"inputs": inputs, "logits": model(**inputs).logits_per_text}, folder / "inputs.pt")
    read = """
import torch
from transformers import AutoModelForSequenceClassification
sys.modules["open_clip"] = None
model = AutoModelForSequenceClassification.from_pretrained(sys.argv[1], trust_remote_code=True)
saved = torch.load(sys.argv[1] + "/inputs.pt")
torch.testing.assert_close(model(**saved["inputs"]).logits_per_text, saved["logits"], rtol=0, atol=1e-5)
print(type(model.mug_stan.clip).__name__)
"""
    assert run_without_package(read, tmp_path / "elsewhere", folder).strip() == "CoCaModel"
