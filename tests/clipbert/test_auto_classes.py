# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""`import clipbert` is light, and all that the Auto classes need to find the families."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from clipbert import auto_classes
from clipbert.support import families


ROOT = Path(__file__).parents[2]
FAMILY = """
from transformers import AutoConfig, PreTrainedConfig


class {name}Config(PreTrainedConfig):
    model_type = "{model_type}"


AutoConfig.register("{model_type}", {name}Config)
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A config and a processor, as saved beside weights."""
    from clipbert.datasets_scripts.synthetic import generate_synthetic
    from clipbert.modeling_clipbert import ClipBERTConfig
    from clipbert.processing import ClipBERTVideoProcessor, VideoTextProcessor, load_tokenizer

    folder = tmp_path_factory.mktemp("checkpoint")
    data = generate_synthetic(folder / "data", preset="easy", num_train=1, num_validation=1, num_test=1)
    stem = {
        "model_type": "resnet",
        "embedding_size": 8,
        "hidden_sizes": [8],
        "depths": [1],
        "out_features": ["stage1"],
    }
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 99}
    ClipBERTConfig(backbone_config=stem, **sizes).save_pretrained(folder)
    VideoTextProcessor(ClipBERTVideoProcessor(), load_tokenizer(data / "vocab.txt")).save_pretrained(folder)
    return folder


def run(code, cwd, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_import_is_light(tmp_path):
    code = """
import sys, clipbert
assert clipbert.__version__ and "ClipBERTConfig" not in vars(clipbert)
heavy = {"torch", "transformers", "datasets", "evaluate", "accelerate", "numpy", "av"} & set(sys.modules)
assert not heavy, heavy
"""
    run(code, tmp_path)


# Each question is the first one of a process of its own, which is a copy of one that has imported what all need.
FIRST_QUESTIONS = """
import os, sys
import torch
{imports}
assert not any("modeling_clipbert" in name for name in sys.modules)
folder = sys.argv[1] if len(sys.argv) > 1 else {folder!r}

def config():
    return type(transformers.AutoConfig.from_pretrained(folder))

def processor():
    return type(transformers.AutoProcessor.from_pretrained(folder))

def video_processor():
    return type(transformers.AutoVideoProcessor.from_pretrained(folder))

def model():
    return type(transformers.AutoModel.from_config(transformers.AutoConfig.from_pretrained(folder)))

def config_by_name():
    return type(transformers.AutoConfig.for_model("clipbert"))

answers = {{
    config: "ClipBERTConfig",
    processor: "VideoTextProcessor",
    video_processor: "ClipBERTVideoProcessor",
    model: "ClipBERTModel",
    config_by_name: "ClipBERTConfig",
}}
for question, answer in answers.items():
    child = os.fork()
    if not child:
        found = question()
        print(question.__name__, found)
        ours = found is getattr(__import__("clipbert." + found.__module__.split(".")[1], fromlist=["x"]), answer)
        sys.stdout.flush()
        os._exit(0 if ours else 1)
    assert os.waitpid(child, 0)[1] == 0, question.__name__
"""


@pytest.mark.parametrize(
    "imports",
    [
        pytest.param("import clipbert; import transformers", marks=pytest.mark.slow),
        pytest.param("import transformers; import clipbert", marks=pytest.mark.slow),
        pytest.param(
            "import transformers; from transformers import AutoProcessor, AutoModel, AutoConfig; import clipbert",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_each_auto_class_finds_the_family_when_asked_first(checkpoint, imports, tmp_path):
    run(FIRST_QUESTIONS.format(imports=imports, folder=str(checkpoint)), tmp_path)


@pytest.mark.slow
def test_a_family_on_the_path_is_found_by_its_model_type(tmp_path):
    family = tmp_path / "modeling_stranger"
    family.mkdir()
    (family / "__init__.py").write_text(FAMILY.format(name="Stranger", model_type="stranger"))
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "config.json").write_text(json.dumps({"model_type": "stranger"}))
    code = """
import clipbert
from transformers import AutoConfig
assert type(AutoConfig.from_pretrained("checkpoint")).__name__ == "StrangerConfig"
try:
    AutoConfig.for_model("unheard_of")
except ValueError as error:
    assert "unheard_of" in str(error)
else:
    raise AssertionError
"""
    run(code, tmp_path)


@pytest.mark.slow
def test_remote_code_works_as_without_us(tmp_path):
    # the files of a published model lie flat in its folder; that folder may be the working folder
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "flat", "auto_map": {"AutoConfig": "modeling_flat.FlatConfig"}})
    )
    (tmp_path / "sizes.py").write_text("WIDTH = 3\n")
    (tmp_path / "modeling_flat.py").write_text(
        "from transformers import PreTrainedConfig\n\nfrom .sizes import WIDTH\n\n\n"
        "class FlatConfig(PreTrainedConfig):\n    model_type = 'flat'\n    width: int = WIDTH\n"
    )
    code = """
import clipbert
from transformers import AutoConfig
config = AutoConfig.from_pretrained(".", trust_remote_code=True)
assert config.width == 3 and type(config).__module__.startswith("transformers_modules"), type(config)
"""
    run(code, tmp_path, HF_HOME=str(tmp_path / "hf"))


@pytest.fixture
def table(monkeypatch):
    """An empty table whose families have not been asked for yet."""
    monkeypatch.setattr(auto_classes.RegisteredWhenAsked, "is_complete", False)
    return auto_classes.RegisteredWhenAsked()


def test_a_family_that_cannot_be_imported_is_reported_and_tried_again(table, monkeypatch):
    tries = []

    def load():
        tries.append(table.keys())  # registering looks into the table
        if len(tries) == 1:
            raise ImportError("no torchvision")
        table["late"] = object

    monkeypatch.setattr(families, "load_all_families", load)
    with pytest.raises(ImportError, match="no torchvision"):
        "late" in table  # noqa: B015
    assert "late" in table and list(table) == ["late"]
    assert len(table) == len(tries[1]) == 1 and len(tries) == 2


def test_a_model_file_beside_us_is_no_family(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "modeling_flat.py").write_text("raise AssertionError('not to be imported')")
    (tmp_path / "modeling_folder").mkdir()
    (tmp_path / "modeling_folder" / "__init__.py").touch()
    assert not families.has_family("flat") and families.has_family("folder")
    with pytest.raises(ModuleNotFoundError, match="no family 'flat'.*one of ci_mha, clipbert"):
        families.load_family("flat")


def test_public_names():
    import clipbert

    assert clipbert.ClipBERTForVideoQA is clipbert.modeling_clipbert.ClipBERTForVideoQA
    assert clipbert.decode_video is clipbert.processing.decode_video
    assert clipbert.ClipBERTVideoProcessor is clipbert.processing.ClipBERTVideoProcessor
    assert callable(clipbert.load_benchmark) and "load_benchmark" in dir(clipbert)
    for name in dir(clipbert):
        assert getattr(clipbert, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'ClipBERTForNothing'"):
        clipbert.ClipBERTForNothing  # noqa: B018
    with pytest.raises(ValueError, match="did you mean 'retrieval'"):
        clipbert.metric_path("retrival")
