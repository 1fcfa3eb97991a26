# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The folder of a Space: what is in it, that it runs alone, and that it is pushed as it is."""

import ast
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from demo_pages import NAMES, write_collection
from fakehub import FakeHub
from gradio_client import Client
from huggingface_hub import SpaceCard
from tiny_pipelines import make_pipeline

from clipbert.command_line.arguments import UsageError
from clipbert.demo import space
from clipbert.demo.media import media_type


ROOT = Path(__file__).parents[2]
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}  # that a card may name


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    make_pipeline("retrieval").save_pretrained(folder)
    (folder / "optimizer.bin").write_bytes(b"of a training")
    return folder


@pytest.fixture(scope="module")
def written(checkpoint, tmp_path_factory):
    """A Space over hostile names, with this package as a wheel."""
    root = tmp_path_factory.mktemp("space")
    videos = write_collection(root / "collection")
    return space.write_space(
        root / "space",
        [str(checkpoint)],
        videos,
        metadata=videos / "captions.jsonl",
        title='A "page": of #mine',
        description="Films, searched",
    )


def settings_of(folder):
    return yaml.safe_load((folder / "README.md").read_text(encoding="utf-8").split("---")[1])


def test_what_is_in_it(written):
    assert {path.name for path in written.iterdir()} == {
        "app.py", "README.md", "requirements.txt", "checkpoints", "videos", next(written.glob("*.whl")).name,
    }  # fmt: skip
    assert {
        str(path.relative_to(written / "videos")) for path in (written / "videos").rglob("*") if path.is_file()
    } == {*NAMES, "captions.jsonl"}
    (model,) = (written / "checkpoints").iterdir()
    assert {"config.json", "model.safetensors"} <= {path.name for path in model.iterdir()} and not (
        model / "optimizer.bin"
    ).exists()
    ast.parse((written / "app.py").read_text(encoding="utf-8"))
    with zipfile.ZipFile(next(written.glob("*.whl"))) as wheel:
        assert {"clipbert/demo/page.js", "clipbert/demo/page.css"} <= set(wheel.namelist())


def test_requirements(written):
    lines = (written / "requirements.txt").read_text().split()
    assert {re.split("[><=]", line)[0] for line in lines} >= {
        "gradio",
        "lancedb",
        "matplotlib",
        "torch",
        "transformers",
        "av",
    }
    assert not any(line.startswith(("pytest", "clipbert")) or ";" in line for line in lines)


def test_the_card(written):
    """What the Hub asks of the front matter of a Space."""
    settings = settings_of(written)
    assert settings["title"] == 'A "page": of #mine' and settings["short_description"] == "Films, searched"
    assert settings["sdk"] == "gradio" and re.fullmatch(r"\d+\.\d+\.\d+", settings["sdk_version"])
    assert isinstance(settings["python_version"], str) and settings["app_file"] == "app.py"
    assert {settings["colorFrom"], settings["colorTo"]} <= COLOURS and settings["license"] == "apache-2.0"
    assert "models" not in settings  # the checkpoint lies in the folder


def test_checkpoints_on_the_hub_are_named(tmp_path, written):
    names = ["user/one", "user/two"]
    folder = space.write_space(tmp_path / "space", names, wheel=next(written.glob("*.whl")))
    assert settings_of(folder)["models"] == names and not (folder / "checkpoints").exists()
    assert json.dumps(names) in (folder / "app.py").read_text()
    videos = sorted((folder / "videos" / "videos").iterdir())
    assert len(videos) == space.NUM_GENERATED and [path.suffix for path in videos[-2:]] == [".mp4", ".mkv"]
    assert media_type(videos[-2]) == "video/mp4" and media_type(videos[-1]) is None
    named = [json.loads(line)["video"] for line in (folder / "videos" / "captions.jsonl").read_text().splitlines()]
    assert sorted(named) == [f"videos/{path.name}" for path in videos]


def test_what_cannot_be_written_leaves_nothing(tmp_path, written, checkpoint):
    wheel = next(written.glob("*.whl"))
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine").touch()
    (tmp_path / "other.whl").touch()
    for options, reason in (
        ({"output_dir": full}, "expected a folder that is empty"),
        ({"checkpoints": []}, "at least one"),
        ({"checkpoints": [str(tmp_path / "nowhere")]}, "no such folder"),
        ({"videos": tmp_path / "nowhere"}, "nowhere"),
        ({"videos": checkpoint}, "got 0 videos"),
        ({"description": "x" * 61}, "at most 60 characters"),
        ({"wheel": tmp_path / "other.whl"}, "expected a wheel of clipbert"),
    ):
        given = {"output_dir": tmp_path / "space", "checkpoints": [str(checkpoint)], "wheel": wheel, **options}
        with pytest.raises(UsageError, match=reason):
            space.write_space(**given)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "other.whl"]


@pytest.mark.hub
@pytest.mark.slow
def test_pushed_and_pulled(written, checkpoint, tmp_path):
    command = [
        "-m",
        "demo.space",
        "--checkpoint",
        checkpoint,
        "--videos",
        written / "videos",
        "--wheel",
        next(written.glob("*.whl")),
    ]
    with FakeHub() as hub:
        environment = {**os.environ, **hub.environment(tmp_path / "home")}
        pushing = [*command, "--output_dir", tmp_path / "space", "--push_to_hub", "user/my-space"]
        run = subprocess.run(
            [sys.executable, *map(str, pushing)], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert run.returncode == 0, run.stderr
        assert "user/my-space" in run.stdout
        pull = "import sys; from huggingface_hub import snapshot_download as pull; pull('user/my-space', repo_type='space', local_dir=sys.argv[1])"
        subprocess.run([sys.executable, "-c", pull, str(tmp_path / "pulled")], env=environment, check=True)
    files = {str(path.relative_to(tmp_path / "space")) for path in (tmp_path / "space").rglob("*") if path.is_file()}
    assert {"app.py", "README.md", "requirements.txt", *(f"videos/{name}" for name in NAMES)} <= files
    for name in files:
        assert (tmp_path / "pulled" / name).read_bytes() == (tmp_path / "space" / name).read_bytes()
    assert SpaceCard.load(tmp_path / "pulled" / "README.md").data.to_dict() == settings_of(tmp_path / "space")


@pytest.mark.slow
def test_it_runs_alone(written):
    """By `python app.py`, with the code of its wheel."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    process = subprocess.Popen(
        [sys.executable, "app.py"],
        cwd=written,
        env={**environment, "GRADIO_SERVER_PORT": "7899", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "The page is at" in line:
                break
        assert "The page is at" in lines[-1], "".join(lines)
        client = Client("http://127.0.0.1:7899", verbose=False)
        assert client.predict(api_name="/videos") == sorted(NAMES)
        assert len(client.predict("a dog", api_name="/search")["hits"]) == len(NAMES)
    finally:
        process.terminate()
        process.wait(30)
