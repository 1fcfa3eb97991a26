# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Published classifiers of videos: what stock transformers makes of them without this package, and what their cards say."""

import json

import pytest
import torch
from clean_process import run_without_package
from numbered_videos import write_numbered
from tiny_cnn_rnn import BACKBONE, VISION, tiny_model

from clipbert.processing import CNNRNNVideoProcessor
from clipbert.processing.video_processing_cnn_rnn import PRESETS
from clipbert.train_scripts.publishing import save_for_hub


NAMES = {0: "zero", 1: "a | `b`", 2: "deux"}
SEVERAL = {"problem_type": "multi_label_classification"}
# a folder for each: options of the config, of the processor, and how many frames it sees of a video of 30 frames
MODELS = {
    "plain": ({}, {"num_frames": 5}, (5,)),
    "of_a_fixed_number": ({"num_frames": 3, "rnn_type": "gru"}, {"num_frames": 5}, (3,)),
    "dense": ({"bidirectional": True, "pooling": "attention"}, {"sampling": "all", "stride": 4}, (8,)),
    "dense_by_seconds": ({"rnn_type": "rnn"}, {"sampling": "fps", "fps": 5.0}, (6,)),
    "windows": ({"score_pooling": "lse"}, {"sampling": "multi_clip", "num_clips": 3, "num_frames": 4}, (3, 4)),
    "several": (
        {**SEVERAL, "backbone_config": {"model_type": "clip_vision_model", **VISION}},
        {"num_frames": 4},
        (4,),
    ),
    "report": ({"rnn_num_layers": 2}, {**PRESETS["report_120"], "size": 40}, (30,)),
}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """One of 30 frames in 1.2 seconds, and two that are shorter than what is asked for."""
    folder = tmp_path_factory.mktemp("videos")
    paths = [folder / f"{number}.mp4" for number in (30, 2, 1)]
    for path in paths:
        write_numbered(path, int(path.stem))
    return list(map(str, paths))


@pytest.fixture(scope="module")
def published(tmp_path_factory, videos):
    """The folders, and what the models say of the videos here: a dictionary of classes for each."""
    folder, expected = tmp_path_factory.mktemp("published"), {}
    for name, (config, options, _) in MODELS.items():
        labels = {"id2label": NAMES, "label2id": {label: number for number, label in NAMES.items()}, "num_labels": 3}
        model = tiny_model(**{"backbone_config": dict(BACKBONE), **labels, **config})
        processor = CNNRNNVideoProcessor(**{"size": 16, **options})
        save_for_hub(model, processor, folder / name, {"title": name})
        with torch.no_grad():
            logits = [
                model(**processor(videos=[video], num_frames=model.config.num_frames)).logits[0] for video in videos
            ]
        shares = [row.sigmoid() if "problem_type" in config else row.softmax(0) for row in logits]
        expected[name] = [dict(zip(NAMES.values(), row.tolist(), strict=True)) for row in shares]
    return folder, expected


READ = """
import contextlib, io, json, os, re
from pathlib import Path

import torch
from transformers import AutoModelForVideoClassification, AutoProcessor, AutoVideoProcessor, pipeline

folder, *videos = sys.argv[1:]
found = {}
for place in sorted(Path(folder).iterdir()):
    name, own = str(place), {}
    pipe = pipeline("video-classification", model=name, trust_remote_code=True)
    own["pipeline"] = pipe(videos)
    assert pipe(videos[0]) == own["pipeline"][0]
    model = AutoModelForVideoClassification.from_pretrained(name, trust_remote_code=True)
    for auto_class in (AutoVideoProcessor, AutoProcessor):
        processor = auto_class.from_pretrained(name, trust_remote_code=True)
        inputs = processor(videos=videos, num_frames=model.config.num_frames)  # one batch of three lengths
        with torch.no_grad():
            logits = model(**inputs).logits
        own[auto_class.__name__] = (logits.sigmoid() if model.config.problem_type else logits.softmax(1)).tolist()
    own["frames"] = inputs["frame_mask"].shape[1:]
    (code,) = re.findall(r"```python\\n(.*?)```", (place / "README.md").read_text(), re.DOTALL)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code.replace('name = "."', f"name = {name!r}").replace("video.mp4", videos[0]), {})
    own["card"] = printed.getvalue().splitlines()
    found[place.name] = own
print(json.dumps(found))
"""


@pytest.mark.slow
def test_they_are_read_where_this_package_is_not_installed(published, videos, tmp_path):
    folder, expected = published
    found = json.loads(run_without_package(READ, tmp_path, folder, *videos).splitlines()[-1])
    assert found.keys() == MODELS.keys()
    for name, own in found.items():
        assert tuple(own["frames"]) == MODELS[name][2], name
        for number, shares in enumerate(expected[name]):
            by_pipeline = {row["label"]: row["score"] for row in own["pipeline"][number]}
            assert by_pipeline == pytest.approx(shares, abs=1e-5), name
            for auto_class in ("AutoVideoProcessor", "AutoProcessor"):  # alone or in a batch with longer ones
                assert own[auto_class][number] == pytest.approx(list(shares.values()), abs=1e-5), name
        said, in_one_line = own["card"]
        shares = expected[name][0]
        above = [label for label, share in shares.items() if share > 0.5]
        assert said == (str(above) if name == "several" else max(shares, key=shares.get))
        assert max(shares, key=shares.get) in in_one_line.split("}")[0]


def test_cards_say_what_is_seen_and_nothing_that_has_no_effect(published):
    cards = {name: (published[0] / name / "README.md").read_text() for name in MODELS}
    assert all("3 classes: `zero`, `a |  b `, `deux`." in card for card in cards.values())
    settings = {
        "plain": {"sampling='uniform'", "num_frames=5"},
        "dense": {"sampling='all'", "stride=4"},
        "dense_by_seconds": {"sampling='fps'", "fps=5.0"},
        "windows": {"sampling='multi_clip'", "num_frames=4", "num_clips=3", "score_pooling='lse'"},
        "report": {"sampling='first'", "num_frames=100", "stride=1"},
    }
    names = ("sampling", "num_frames", "num_clips", "stride", "fps", "score_pooling")
    for name, expected in settings.items():
        rows = [line.split("`")[1] for line in cards[name].splitlines() if line.startswith("| ") and "`" in line]
        assert {row for row in rows if row.split("=")[0] in names} == expected, name
    assert "whether a video shows it" in cards["several"] and "which of its classes" in cards["plain"]


def test_a_card_lists_as_many_classes_as_can_be_read(tmp_path):
    model = tiny_model(num_labels=400)
    save_for_hub(model, CNNRNNVideoProcessor(size=16), tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert "400 classes: `LABEL_0`, " in card and "`LABEL_100` and 299 more, all of them in `config.json`." in card
