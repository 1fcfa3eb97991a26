# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Published Mug-STANs: read by stock transformers without this package, from a folder and from the Hub; what cards say runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from clean_process import run_without_package
from fakehub import FakeHub
from numbered_videos import write_numbered
from text_ends import clip_tokenizer, unigram_tokenizer
from tiny_mug_stan import IMAGE_SIZE, tiny_clip, tiny_model

from clipbert.modeling_mug_stan import (
    MugSTANForVideoClassification,
    MugSTANForVideoTextRetrieval,
    MugSTANModel,
)
from clipbert.processing import MugSTANProcessor, MugSTANVideoProcessor
from clipbert.train_scripts.publishing import save_for_hub


ROOT = Path(__file__).parents[3]
TEXTS = ["a dog runs", "the cat jumps and then moves left"]
NAMES = ["dog runs", "cat jumps", "moves left"]
# a folder for each: class, kind of CLIP, fields of the config, options of the processor
MODELS = {
    "features": (MugSTANModel, "clip", {}, {}),
    "retrieval": (MugSTANForVideoTextRetrieval, "clip", {"similarity": "wti"}, {}),
    "retrieval_siglip": (MugSTANForVideoTextRetrieval, "siglip", {"similarity": "mug_exact"}, {"num_clips": 2}),
    "classes": (MugSTANForVideoClassification, "clip", {"num_frames": 3}, {}),
    "classes_of_views": (MugSTANForVideoClassification, "siglip", {"score_pooling": "max"}, {"num_crops": 3}),
}
MAIN = {"features": "frame_features", "retrieval": "logits_per_text", "classes": "logits"}


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return str(write_numbered(tmp_path_factory.mktemp("videos") / "video.mp4", 30))


def build(name):
    model_class, clip, fields, options = MODELS[name]
    tokenizer = clip_tokenizer(20) if clip == "clip" else unigram_tokenizer(20)
    # SigLIP has no config of its own for the end of a text: 1 pads in the tokenizer that stands in for its own
    end = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    sections = tiny_clip(clip, text_config={"vocab_size": len(tokenizer), **end})
    model = tiny_model(model_class, clip=sections, head_scale=10.0, **fields)
    padding = "longest" if clip == "clip" else "max_length"
    frames = MugSTANVideoProcessor(size=IMAGE_SIZE, num_frames=4, **options)
    processor = MugSTANProcessor(frames, tokenizer, max_length=20, padding=padding)
    if model_class is MugSTANForVideoClassification:
        model.set_classes(NAMES, processor)
    return model.eval(), processor


def inputs_of(name, processor, video):
    if name.startswith("classes"):
        return processor(videos=[video], num_frames=3 if name == "classes" else None)
    return processor(text=[TEXTS], videos=[video])


@pytest.fixture(scope="module")
def published(tmp_path_factory, video):
    """The folders, and what the models say here."""
    folder, expected = tmp_path_factory.mktemp("published"), {}
    for name in MODELS:
        model, processor = build(name)
        save_for_hub(model, processor, folder / name, {"title": name})
        with torch.no_grad():
            expected[name] = model(**inputs_of(name, processor, video))[MAIN[name.partition("_")[0]]]
    return folder, expected


READ = """
import contextlib, io, json, re
from pathlib import Path

import torch
import transformers
from transformers import AutoProcessor, AutoVideoProcessor, pipeline

folder, video, texts, *main = sys.argv[1:]
texts, main = json.loads(texts), json.loads(main[0])
found = {}
for place in sorted(Path(folder).iterdir()):
    name, kind = str(place), place.name.partition("_")[0]
    auto_class = {"features": "AutoModel", "retrieval": "AutoModelForSequenceClassification",
                  "classes": "AutoModelForVideoClassification"}[kind]
    trusted = {"trust_remote_code": True}
    model = getattr(transformers, auto_class).from_pretrained(name, **trusted)
    processor = AutoProcessor.from_pretrained(name, **trusted)
    own = {}
    if kind == "classes":
        inputs = AutoVideoProcessor.from_pretrained(name, **trusted)(videos=[video], num_frames=model.config.num_frames)
        own["pipeline"] = pipeline("video-classification", model=name, **trusted)(video)
    else:
        inputs = processor(text=[texts], videos=[video])
    with torch.no_grad():
        own["output"] = model(**inputs)[main[kind]].tolist()
    code, *_ = re.findall(r"```python\\n(.*?)```", (place / "README.md").read_text(), re.DOTALL)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code.replace('name = "."', f"name = {name!r}").replace("video.mp4", video), {})
    own["card"] = printed.getvalue()
    found[place.name] = own
print(json.dumps(found))
"""


@pytest.mark.slow
def test_they_are_read_where_this_package_is_not_installed(published, video, tmp_path):
    folder, expected = published
    found = run_without_package(READ, tmp_path, folder, video, json.dumps(TEXTS), json.dumps(MAIN))
    found = json.loads(found.splitlines()[-1])
    assert found.keys() == MODELS.keys()
    for name, own in found.items():
        torch.testing.assert_close(torch.tensor(own["output"]), expected[name], rtol=1e-5, atol=1e-5)
        if name.startswith("classes"):
            shares = dict(zip(NAMES, expected[name][0].softmax(0).tolist(), strict=True))
            assert {row["label"]: row["score"] for row in own["pipeline"]} == pytest.approx(shares, abs=1e-5)
            assert own["card"].splitlines()[0] == max(shares, key=shares.get)
            assert max(shares, key=shares.get) in own["card"].splitlines()[1].split("}")[0]
    assert "tensor([" in found["retrieval"]["card"]
    assert found["features"]["card"].strip() == "torch.Size([1, 5, 12]) torch.Size([1, 4, 12])"


@pytest.mark.slow
@pytest.mark.hub
def test_they_are_pushed_to_the_hub_and_read_from_it(published, tmp_path):
    folder, _ = published
    read = """
from transformers import AutoModelForSequenceClassification, AutoProcessor
trusted = {"trust_remote_code": True}
model = AutoModelForSequenceClassification.from_pretrained("user/mug-stan", **trusted)
processor = AutoProcessor.from_pretrained("user/mug-stan", **trusted)
print(type(model).__name__, type(processor).__name__, sum(p.double().sum().item() for p in model.parameters()))
"""
    push = "import sys; from clipbert.support.hub import push_folder; push_folder(sys.argv[1], 'user/mug-stan')"
    with FakeHub() as server:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **server.environment(tmp_path / "home")}
        command = [sys.executable, "-c", push, str(folder / "retrieval")]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        printed = run_without_package(read, tmp_path / "elsewhere", **server.environment(tmp_path / "other_home"))
    model, _ = build("retrieval")
    names, total = printed.split()[-3:-1], float(printed.split()[-1])
    assert names == ["MugSTANForVideoTextRetrieval", "MugSTANProcessor"]
    assert total == pytest.approx(sum(p.double().sum().item() for p in model.parameters()))
    assert {path.name for path in (folder / "retrieval").iterdir()} == set(server.files("user/mug-stan"))


def test_what_travels_and_what_cards_say(published):
    folder, _ = published
    files = {path.name for path in (folder / "classes").iterdir()}
    travelling = {
        "checks",
        "configuration",
        "guidance",
        "modeling",
        "outputs",
        "stan",
        "towers",
        "processing",
        "video_processing",
    }
    assert {f"{kind}_mug_stan.py" for kind in travelling} <= files
    at_home = {f"{kind}_mug_stan.py" for kind in ("parts", "recipe")} | {
        "convert_mug_stan_checkpoint.py",
        "__init__.py",
    }
    assert not files & at_home
    cards = {name: (folder / name / "README.md").read_text() for name in MODELS}
    assert "3 classes: `dog runs`, `cat jumps`, `moves left`." in cards["classes"]
    assert "similarity='wti'" in cards["retrieval"] and "num_frames=4" in cards["retrieval"]
    assert all("liu2023mugstan" in card for card in cards.values())
    for name, card in cards.items():
        is_encoder = name.startswith("retrieval")  # which has vectors of texts and videos
        assert ("- sentence-transformers" in card) == is_encoder == (folder / name / "modules.json").exists()
        assert ("model = SentenceTransformer(name, trust_remote_code=True)" in card) == is_encoder
        assert "library_name: transformers" in card
