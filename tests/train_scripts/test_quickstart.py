# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The quickstart learns: recall on unseen videos is far above chance."""

import ast
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from clipbert.datasets_scripts.synthetic.scenes import PRESETS, class_names
from clipbert.support.families import load_trained
from clipbert.train_scripts import quickstart
from clipbert.train_scripts.action_detection import DetectionTask
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.image_qa import ImageQATask
from clipbert.train_scripts.moment_retrieval import MomentTask
from clipbert.train_scripts.pretrain import PretrainTask
from clipbert.train_scripts.retrieval import RetrievalTask
from clipbert.train_scripts.search import VideoSearch, find_videos, read_pairs
from clipbert.train_scripts.video_classification import ClassificationTask
from clipbert.train_scripts.video_qa import VideoQATask


ROOT = Path(quickstart.__file__).parents[1]
RECIPE = quickstart.RECIPE
TASKS = {
    "action_detection": DetectionTask,
    "image_qa": ImageQATask,
    "moment_retrieval": MomentTask,
    "pretrain": PretrainTask,
    "retrieval": RetrievalTask,
    "video_classification": ClassificationTask,
    "video_qa": VideoQATask,
}
RECIPES = sorted(RECIPE.parent.glob("*.yaml"))
IN_SEVERAL_STEPS = {"multiple_choice", "moment_retrieval_features"}
RECIPE_OF_NAMES = RECIPE.with_name("mug_stan_classification.yaml")


@pytest.fixture(scope="module")
def quickstart_run(tmp_path_factory):
    """What `make quickstart` leaves in the folder where it is started, and what it prints."""
    folder = tmp_path_factory.mktemp("quickstart")
    command = [sys.executable, "-m", "clipbert.train_scripts.quickstart"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    output = subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    return folder, output


@pytest.fixture(scope="module")
def fits_first(quickstart_run):
    """Whether the first video that a search finds is one of those that a query is true of."""
    data = quickstart_run[0] / quickstart.DATA_DIR / "test"
    found = VideoSearch(
        *load_trained(str(quickstart_run[0] / quickstart.OUTPUT_DIR / "checkpoints/best")), find_videos(data)
    )
    captions = dict(read_pairs(data))

    def fits_first(query):
        # "a red square moves up on a black background": what is left out stands at its end
        assert any(caption.startswith(query) for caption in captions.values())
        return captions[found.rank(query, block=64)[0].path].startswith(query)

    return fits_first


@pytest.mark.slow  # minutes
@pytest.mark.timeout(3600)
def test_quickstart_learns_to_search(quickstart_run, fits_first):
    folder, output = quickstart_run
    metrics = json.loads((folder / quickstart.OUTPUT_DIR / "results.json").read_text())["splits"]["test"]["metrics"]
    assert metrics["num_videos"] == 64
    captions = [caption for _, caption in read_pairs(folder / quickstart.DATA_DIR / "test")]
    assert len(captions) == 64
    forms = {
        "whole": captions,
        "without background": [caption.partition(" on a ")[0] for caption in captions],
        "colour and shape": [" ".join(caption.split()[:3]) for caption in captions],
    }
    shares = {name: np.mean([fits_first(query) for query in queries]) for name, queries in forms.items()}
    print(shares)
    assert shares["whole"] >= 0.85 and shares["without background"] >= 0.8 and shares["colour and shape"] >= 0.8


@pytest.mark.slow  # minutes
@pytest.mark.timeout(3600)
def test_every_query_that_is_shown_finds_its_video(quickstart_run, fits_first):
    output, queries = quickstart_run[1], []
    for text in (output, *(path.read_text() for path in (ROOT / "README.md", ROOT / "train_scripts/search.py"))):
        for command in re.findall(
            r"search(?:\.py)? --checkpoint outputs/quickstart --videos [^\n\\]*(?:\\\n[^\n]*)?", text
        ):
            queries += shlex.split(command.replace("\\\n", " "))[5:]
    assert quickstart.SUGGESTION in queries and "a blue circle moves left" in queries and len(queries) >= 6
    assert [query for query in queries if not fits_first(query)] == []


@pytest.mark.slow  # minutes
@pytest.mark.timeout(3600)
def test_the_five_lines_of_the_readme_are_right(quickstart_run, monkeypatch, capsys):
    monkeypatch.chdir(quickstart_run[0])
    exec(re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL).group(1), {})
    scores = ast.literal_eval(capsys.readouterr().out)
    caption = dict(read_pairs(quickstart.DATA_DIR / "test"))[quickstart.DATA_DIR / "test/videos/test_00000.mp4"]
    assert caption.startswith(max(scores, key=scores.get))


@pytest.mark.slow  # minutes
@pytest.mark.timeout(3600)
def test_movements_are_told_apart_also_those_nobody_trained_for(tmp_path, monkeypatch):
    """The recipe of the quickstart without six compositions; then these alone, by their names."""
    monkeypatch.chdir(tmp_path)
    kept, new = (
        re.findall(rf"^#         {name}='(.+)'$", RECIPE_OF_NAMES.read_text(), re.MULTILINE)
        for name in ("KEPT", "NEW")
    )
    assert sorted(yaml.safe_load(kept[0]) + yaml.safe_load(new[0])) == sorted(class_names(PRESETS["motion"]))

    def run(*settings):
        given = [part for setting in settings for part in ("--set", setting)]
        return main(ClassificationTask(), ["--recipe", str(RECIPE_OF_NAMES), *given])["results"]["test"]["metrics"]

    trained = run(f"data.options.classes={kept[0]}")
    assert trained["num_examples"] == 300 and trained["accuracy"] >= 0.8
    start = ["model.config=null", "model.tokenizer=null", "run.total_steps=0", "data.train_split=null"]
    start += ["model.from_pretrained=outputs/quickstart/mug_stan_classification/checkpoints/best"]
    start += ["eval.splits={test: final}", "eval.metric=null", f"run.output_dir={tmp_path / 'new'}"]
    unseen = run(*start, f"data.options.classes={new[0]}")
    assert unseen["num_examples"] == 60 and unseen["accuracy_ci_low"] > unseen["chance_accuracy"]


def test_quickstart_names_files_that_exist():
    assert quickstart.RECIPE.is_file()


def test_quickstart_ends_where_a_command_fails_as_that_does(capfd):
    with pytest.raises(SystemExit) as caught:
        quickstart.run("-c", "import sys; print('the reason', file=sys.stderr); sys.exit(3)")
    assert caught.value.code == 3
    assert capfd.readouterr().err == "the reason\n"  # no traceback of its own below


SAVING = """
import signal, time
signal.signal(signal.SIGINT, lambda *_: (time.sleep(1), print("saved", flush=True), exit()))
print("begun", flush=True)
time.sleep(60)
"""


def test_ctrl_c_lets_the_training_save_and_then_nothing_follows(tmp_path):
    (tmp_path / "saving.py").write_text(SAVING)
    two = "from clipbert.train_scripts.quickstart import run; run('saving.py'); run('-c', 'print(\"more\")')"
    process = subprocess.Popen(
        [sys.executable, "-c", two],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert [process.stdout.readline() for _ in range(3)] == ["\n", "$ python saving.py\n", "begun\n"]
    os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it: to all of them
    assert process.communicate(timeout=60)[0] == "saved\n"
    assert process.returncode == 130


def test_quickstart_works_in_the_folder_it_is_started_in(tmp_path, monkeypatch, capsys):
    # it once wrote its data beside the package, into site-packages of those who had installed it
    monkeypatch.chdir(tmp_path)
    started = []

    def start(command, **options):
        started.append((command, options))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(quickstart.subprocess, "run", start)
    quickstart.main(["a red circle"])
    assert [options.get("cwd") for _, options in started] == [None, None, None]  # the working folder
    written = started[0][0][started[0][0].index("--output_dir") + 1]
    assert not Path(written).is_absolute()
    shown = capsys.readouterr().out
    assert "\n$ ACCELERATE_USE_CPU=true OMP_NUM_THREADS=1 python -m clipbert.train_scripts.retrieval" in shown
    monkeypatch.chdir(Path(quickstart.__file__).parents[1])
    quickstart.run("-m", "x", quickstart.RECIPE)
    assert "\n$ python -m x train_scripts/recipes/quickstart/retrieval.yaml\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    "path", [path for path in RECIPES if path.stem not in IN_SEVERAL_STEPS], ids=lambda path: path.stem
)
def test_each_recipe_makes_its_own_data_in_an_empty_folder(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = yaml.safe_load(path.read_text())
    generate = recipe["data"]["options"]["generate"]
    is_long = generate.get("preset") == "events"  # up to a minute each
    sizes = (6, 2, 2) if is_long else (40, 12, 12)
    generate = generate | dict(zip(("num_train", "num_validation", "num_test"), sizes, strict=True))
    settings = ["run.total_steps=1", "data.num_workers=0", f"data.options.generate={json.dumps(generate)}"]
    if "gallery_size" in recipe["eval"]:
        settings.append("eval.gallery_size=6")
    if is_long:
        settings += ["run.global_batch_size=2", "run.micro_batch_size=2"]
    script = re.search(r"train_scripts/(\w+)\.py", path.read_text()).group(1)  # of its line "Run:"
    result = main(TASKS[script](), ["--recipe", str(path), *(part for each in settings for part in ("--set", each))])
    assert result["finished"]
    assert result["results"]["test"]["metrics"]["num_examples"] > 0
    assert (tmp_path / recipe["data"]["data_dir"] / "manifest.json").is_file()
    assert (tmp_path / recipe["run"]["output_dir"] / "checkpoints/last/model.safetensors").is_file()
