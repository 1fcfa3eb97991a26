# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Published models for moments bring their pipeline: what answers without this package, and what is never run."""

import json
import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
import yaml
from clean_process import run_without_package
from fakehub import FakeHub
from numbered_videos import write_numbered
from tiny_moments import VIETNAMESE, tiny_frame_model, tiny_processor
from transformers import pipeline

import clipbert
from clipbert.train_scripts.publishing import save_for_hub
from clipbert.train_scripts.publishing.runs import read_scores


ROOT = Path(__file__).parents[3]
QUERIES = ["a man opens the door", *(unicodedata.normalize(form, VIETNAMESE) for form in ("NFC", "NFD"))]
CARD = {"encoder": "I3D", "dimension": 6}
OPTIONS = {"top_k": 3, "window_seconds": 1.5}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    model, processor = tiny_frame_model(), tiny_processor()
    model.config.feature_card = processor.feature_card = CARD
    return save_for_hub(model, processor, tmp_path_factory.mktemp("published") / "model", {"license": "apache-2.0"})


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_numbered(tmp_path_factory.mktemp("videos") / "video.mp4", 60)


def test_the_folder_has_the_pipeline_its_entry_and_nothing_of_home(published):
    settings = json.loads((published / "config.json").read_text())
    entry = {
        "impl": "moment_retrieval.MomentRetrievalPipeline",
        "pt": ["AutoModelForQuestionAnswering"],
        "type": "multimodal",
    }
    assert settings["custom_pipelines"] == {"moment-retrieval": entry}
    files = {path.name: path.read_text() for path in published.glob("*.py")}
    assert {"moment_retrieval.py", "encoded_video.py", "moment_spans.py", "modeling_ci_mha.py"} <= set(files)
    assert not {"__init__.py", "recipe_ci_mha.py"} & set(files)
    assert not [name for name, code in files.items() if re.search(r"^\s*(from|import) clipbert", code, re.MULTILINE)]
    card = (published / "README.md").read_text()
    assert 'pipeline("moment-retrieval", model=name, trust_remote_code=True)' in card
    assert "| what features of videos are made of; others are refused | `feature_card={'encoder': 'I3D'" in card
    assert "says when in a video something happens" in card and "moment-retrieval" in card.split("---")[1]


@pytest.mark.parametrize("final_checkpoint, note", [("best", "by R1@0.7+mIoU on validation."), ("last", None)])
def test_scores_say_what_the_checkpoint_was_chosen_by(final_checkpoint, note, tmp_path):
    splits = {"validation": "tuning", "test": "final"}
    evaluation = {"splits": splits, "metric": "R1@0.7+mIoU", "final_checkpoint": final_checkpoint}
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "state.json").write_text('{"step": 3}')
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({"data": {"dataset": "charades_sta"}, "eval": evaluation}))
    row = {"step": 3, "purpose": "final", "split": "test", "metrics": {"R1@0.7": 0.5}}
    (tmp_path / "results.json").write_text(json.dumps({"splits": {"test": row}}))
    (scores,) = read_scores(tmp_path / "results.json", tmp_path)
    assert scores["note"] == (note and f"The checkpoint was chosen {note}")


def test_without_trust_the_class_that_is_installed_answers_when_it_is_named(published, video):
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        pipeline("moment-retrieval", model=str(published))
    (published / "moment_retrieval.py").rename(published / "moved.py")
    try:
        own = pipeline("moment-retrieval", model=str(published), pipeline_class=clipbert.MomentRetrievalPipeline)
    finally:
        (published / "moved.py").rename(published / "moment_retrieval.py")
    assert own(str(video), QUERIES, **OPTIONS) == answers_here(video)


def answers_here(video):
    here = pipeline("moment-retrieval", model=tiny_frame_model(), processor=tiny_processor())
    return here(str(video), QUERIES, **OPTIONS)


ANSWER = """
import json
import numpy
from transformers import pipeline

name, video, queries, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), json.loads(sys.argv[4])
found = []
for task in (["moment-retrieval"], []):
    pipe = pipeline(*task, model=name, trust_remote_code=True)
    found.append(pipe(video, queries, **options))
numpy.save("v_1.npy", numpy.random.default_rng(0).normal(size=(40, pipe.model.frame_feature_size)))
for encoder in ("I3D", "C3D"):
    with open("features.card.json", "w") as file:
        json.dump({"encoder": encoder, "dimension": 6, "durations": {"v_1": 20.0}}, file)
    try:
        found.append(pipe({"video_features": "v_1.npy", "query": queries}, **options))
    except ValueError as error:
        print(error)
try:
    pipe.save_pretrained("copy")
except ValueError as error:
    print(error)
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.hub
def test_it_answers_where_this_package_is_not_installed_from_a_folder_and_from_the_hub(published, video, tmp_path):
    push = "import sys; from clipbert.support.hub import push_folder; push_folder(sys.argv[1], 'user/moments')"
    arguments = [video, json.dumps(QUERIES), json.dumps(OPTIONS)]
    printed = {"folder": run_without_package(ANSWER, tmp_path / "here", published, *arguments)}
    with FakeHub() as server:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **server.environment(tmp_path / "home")}
        subprocess.run([sys.executable, "-c", push, str(published)], env=environment, check=True, capture_output=True)
        printed["hub"] = run_without_package(
            ANSWER, tmp_path / "there", "user/moments", *arguments, **server.environment(tmp_path / "other_home")
        )
    expected = answers_here(video)
    assert expected[1] == expected[2] != expected[0]  # both forms of the Vietnamese letters
    for name, text in printed.items():
        two_words, one_word, of_features = json.loads(text.splitlines()[-1])
        assert two_words == one_word == expected, name
        assert of_features[1] == of_features[2], name
        assert "copy that folder" in text and "features of v_1.npy" in text and "I3D -> C3D" in text, name
