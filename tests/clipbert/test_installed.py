# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
The installed package, away from the clone, in a folder that has `processing/`, `metrics.py`, `datasets_scripts.py` and
`train_scripts/` of its own.

Such folders once got a `BertTokenizer` out of `AutoProcessor.from_pretrained(...)`, silently, or an ImportError, and
`python -m train_scripts.quickstart` wrote its data into site-packages.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from clipbert.support.version import __version__


pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
ROOT = Path(__file__).parents[2]
NOT_SHIPPED = ("tests", "benchmarks", "docs", "outputs", "build", "dist")
CONTENT = (".py", ".md", ".yaml", ".sha256", ".jinja", ".txt", ".css", ".js")
MINE = {
    "processing/__init__.py": "WHOSE = 'mine'\n",
    "train_scripts/__init__.py": "WHOSE = 'mine'\n",
    "metrics.py": "WHOSE = 'mine'\n",
    "datasets_scripts.py": "WHOSE = 'mine'\n",
}


def build(*command, cwd):
    done = subprocess.run([sys.executable, *map(str, command)], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def build_wheel(source, folder):
    build("-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, ".", cwd=source)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of the clone, because building leaves files behind."""
    source = tmp_path_factory.mktemp("source") / "clone"
    ignored = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", *NOT_SHIPPED)
    return Path(shutil.copytree(ROOT, source, ignore=ignored))


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    return build_wheel(source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The folder that the wheel is installed into; nothing may be written there afterwards."""
    target = tmp_path_factory.mktemp("site") / "site-packages"
    install = ("-m", "pip", "install", "--no-deps", "--no-index", "--no-compile", "--target", target, wheel)
    build(*install, cwd=wheel.parent)
    before = contents(target)
    yield target
    assert contents(target) == before, "something was written beside the package"


def contents(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A user's folder, with names like ours."""
    work = tmp_path_factory.mktemp("work")
    for name, text in MINE.items():
        (work / name).parent.mkdir(exist_ok=True)
        (work / name).write_text(text)
    return work


@pytest.fixture(scope="module")
def run(installed, work):
    def run(*arguments, with_package=True):
        environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "HF_HOME")}
        environment |= {"PYTHONPATH": str(installed)} if with_package else {}
        environment |= {"PYTHONDONTWRITEBYTECODE": "1", "HF_HOME": str(work / "hf"), "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, *map(str, arguments)]
        done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def recipes(installed):
    return installed / "clipbert" / "train_scripts" / "recipes"


@pytest.fixture(scope="module")
def checkpoint(run, recipes, work):
    """Two steps of the quickstart, started by the name of its module through accelerate."""
    launch = ("-m", "accelerate.commands.launch", "--config_file", recipes / "accelerate" / "one_cpu.yaml")
    few = json.dumps({"preset": "easy", "num_train": 40, "num_validation": 4, "num_test": 4})
    settings = [f"data.options.generate={few}", "run.total_steps=2", "run.eval_every=2", "data.num_workers=0"]
    settings = [part for setting in settings for part in ("--set", setting)]
    script = ("-m", "clipbert.train_scripts.retrieval", "--recipe", recipes / "quickstart" / "retrieval.yaml")
    run(*launch, *script, *settings)
    assert (work / "outputs" / "quickstart" / "results.json").is_file()
    return work / "outputs" / "quickstart" / "checkpoints" / "last"


def test_the_wheel_holds_every_file_below_one_name(source, wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    folders = [path.parent for path in source.glob("*/__init__.py")]
    files = {path.relative_to(source) for folder in folders for path in folder.rglob("*") if path.suffix in CONTENT}
    expected = {(path if path.parts[0] == "clipbert" else Path("clipbert") / path).as_posix() for path in files}
    assert names == expected
    assert "clipbert/train_scripts/recipes/clipbert/retrieval_msrvtt.yaml" in names


def test_a_wheel_made_of_the_source_distribution_is_the_same(source, wheel, tmp_path):
    copy = shutil.copytree(source, tmp_path / "clone")
    code = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"
    build("-c", code, tmp_path, cwd=copy)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    other = build_wheel(unpacked, tmp_path / "wheel")
    read = lambda path: {each.filename: each.CRC for each in zipfile.ZipFile(path).infolist()}  # noqa: E731
    ours, theirs = read(wheel), read(other)
    assert set(ours) == set(theirs)
    assert {name for name in ours if ours[name] != theirs[name] and not name.endswith("/RECORD")} == set()


def test_the_users_names_and_ours_live_together(run, installed):
    code = f"""
import metrics, processing
import clipbert, clipbert.processing, clipbert.metrics
import datasets_scripts, train_scripts
from clipbert import load_benchmark, list_benchmarks
assert metrics.WHOSE == processing.WHOSE == datasets_scripts.WHOSE == train_scripts.WHOSE == "mine"
assert "msrvtt" in list_benchmarks()
few = {{"preset": "easy", "num_train": 3, "num_validation": 2, "num_test": 2}}
rows = load_benchmark("synthetic", config="retrieval", split="test", data_dir="shapes", generate=few)
assert len(rows) == 2 and rows[0]["caption"]
import sys
ours = [module for name, module in sys.modules.items() if name.split(".")[0] == "clipbert"]
assert len(ours) > 20
assert all(module.__file__.startswith({str(installed)!r}) for module in ours), ours
assert not hasattr(clipbert, "tests")  # the clone is not looked into
"""
    run("-c", code)


@pytest.mark.parametrize("imports", ["import clipbert; import processing", "import processing; import clipbert"])
def test_the_auto_classes_read_a_checkpoint(run, checkpoint, imports):
    code = f"""
{imports}
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoProcessor, AutoVideoProcessor
folder = {str(checkpoint)!r}
processor = AutoProcessor.from_pretrained(folder)
assert type(processor) is clipbert.VideoTextProcessor, type(processor)
assert type(AutoVideoProcessor.from_pretrained(folder)).__name__ == "ClipBERTVideoProcessor"
assert type(AutoConfig.from_pretrained(folder)) is clipbert.ClipBERTConfig
model = AutoModelForSequenceClassification.from_pretrained(folder)
assert type(model) is clipbert.ClipBERTForVideoTextRetrieval
inputs = processor(text=[["a red circle"]], videos=["outputs/quickstart/data/test/videos/test_00000.mp4"])
assert model(**inputs).logits.isfinite().all()
"""
    run("-c", code)


def test_commands_by_the_name_of_their_module(run, checkpoint, recipes):
    assert "msrvtt" in run("-m", "clipbert.datasets_scripts", "list")
    assert "--recipe" in run("-m", "clipbert.train_scripts.retrieval", "--help")
    found = run("-m", "clipbert.train_scripts.search", "--checkpoint", checkpoint, "--videos",
                "outputs/quickstart/data/test", "a red circle")  # fmt: skip
    assert "test_0000" in found


def test_the_wheel_installs_the_command(run, installed, checkpoint):
    command = installed / "bin" / "clipbert"
    assert f"clipbert {__version__}" in run(command, "--version")
    videos = "outputs/quickstart/data/test"
    found = run(command, "search", videos, "a red circle", "--checkpoint", checkpoint, "--top_k", "1")
    assert json.loads(found)["video"].startswith(f"{videos}/videos/test_0000")
    assert json.loads(run("-m", "clipbert", "look", json.loads(found)["video"]))["decodes"]


def test_published_code_needs_no_installation(run, checkpoint, work):
    run("-m", "clipbert.train_scripts.publish", "--checkpoint", checkpoint, "--output_dir", work / "published")
    code = """
import sys
from transformers import AutoModelForSequenceClassification, AutoProcessor
processor = AutoProcessor.from_pretrained("published", trust_remote_code=True)
model = AutoModelForSequenceClassification.from_pretrained("published", trust_remote_code=True)
inputs = processor(text=[["a red circle"]], videos=["outputs/quickstart/data/test/videos/test_00000.mp4"])
print(model(**inputs).logits[0].tolist(), type(model).__module__.split(".")[0])
"""
    alone = run("-c", code + "assert 'clipbert' not in sys.modules", with_package=False)
    assert "transformers_modules" in alone
    with_us = run("-c", f"import clipbert\n{code}")
    assert json.loads(alone.split("]")[0] + "]") == pytest.approx(json.loads(with_us.split("]")[0] + "]"))


def test_metrics_are_found_by_name(run):
    code = """
import clipbert, evaluate
metric = evaluate.load(clipbert.metric_path("retrieval"))
assert metric.compute(predictions=[[0.9, 0.1], [0.8, 0.3]], references=[0, 1])["text_to_video_R@1"] == 0.5
from clipbert.metrics.retrieval import compute_retrieval_metrics
"""
    run("-c", code)


def test_quickstart_writes_below_the_working_folder(run, work, checkpoint):
    (work / "outputs").rename(work / "earlier")  # the last test: others have read the checkpoint
    output = run("-m", "clipbert.train_scripts.quickstart", "a red circle", "--set", "run.total_steps=2")
    assert (work / "outputs" / "quickstart" / "checkpoints" / "best").exists() and "a red circle" in output
