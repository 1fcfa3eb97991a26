# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Every published checkpoint answers where this package is not installed, and runs nothing where it is not trusted."""

import functools
import json
import os
import shutil
import subprocess
import sys
import threading
import tomllib
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from clean_process import run_without_package
from fakehub import FakeHub
from numbered_videos import write_numbered
from tiny_pipelines import CASES, clipbert_parts, lay_weights_anew
from transformers import VideoClassificationPipeline, pipeline

from clipbert import load_pipeline
from clipbert.modeling_clipbert import ClipBERTModel
from clipbert.pipelines import TASKS
from clipbert.train_scripts.publishing import save_for_hub


ROOT = Path(__file__).parents[3]
ASKED = {name: [case.task, case.asked] for name, case in CASES.items()}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    root = tmp_path_factory.mktemp("published")
    for name, case in CASES.items():
        save_for_hub(*case.build(), root / name, endpoint_handler=True)
    return root


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Two that can be read and one that cannot."""
    folder = tmp_path_factory.mktemp("videos")
    paths = [write_numbered(folder / f"{count}.mp4", count) for count in (30, 12)]
    (folder / "broken.mp4").write_bytes(b"no video")
    return [*map(str, paths), str(folder / "broken.mp4")]


@pytest.fixture(scope="module")
def expected(published, videos):
    """What the code that is installed answers."""
    answers = {}
    for name, (task, asked) in ASKED.items():
        pipe = load_pipeline(published / name, device="cpu")
        assert type(pipe).__module__.startswith("clipbert.pipelines.") and pipe.task == task
        lay_weights_anew(pipe.model)
        answers[name] = [pipe(video, **asked) for video in videos[:2]]
    return answers


ANSWER_ALL = """
import base64, importlib.util, json, sys
from pathlib import Path
from transformers import pipeline

root, videos, all_asked, address, planted = sys.argv[1], *map(json.loads, sys.argv[2:4]), *sys.argv[4:]


def lay_weights_anew(pipe):
    for tensor in [*pipe.model.parameters(), *pipe.model.buffers()]:
        tensor.data = tensor.data.clone()


def refused(call, *words):
    try:
        call()
    except (TypeError, ValueError) as error:
        assert all(word in str(error) for word in words), error
    else:
        raise AssertionError(words)


def check_pipeline(name, task, asked):
    pipe = pipeline(task, model=root + name, trust_remote_code=True, device="cpu")
    assert type(pipe).__module__.startswith("transformers_modules.") and pipe.task == task
    lay_weights_anew(pipe)
    answers = [pipe(video, **asked) for video in videos[:2]]
    first, second, told = pipe(videos, **asked, on_error="yield", batch_size=3)
    assert told["input"] == videos[2] and videos[2] in told["error"]
    assert len(list(pipe(iter(videos), **asked, on_error="skip"))) == 2
    assert [failure["input"] for failure in pipe.failed] == videos[2:]
    refused(lambda: pipe(videos[2], **asked), videos[2])
    refused(lambda: pipe.save_pretrained("again"), "copy that folder")
    return answers


def check_handler(name, asked):
    # as the toolkit of Inference Endpoints loads it
    spec = importlib.util.spec_from_file_location("handler", Path(root + name, "handler.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    handler = module.EndpointHandler(root + name)  # its pipeline is made without a task
    lay_weights_anew(handler.pipe)
    files = [base64.b64encode(Path(video).read_bytes()).decode() for video in videos]
    answers = [handler({"inputs": file, "parameters": asked}) for file in files[:2]]
    assert handler({"inputs": [{"video": file, **asked} for file in files[:2]]}) == answers
    assert handler({"inputs": "data:video/mp4;base64," + files[0], "parameters": asked}) == answers[0]
    assert handler({"inputs": address, "parameters": asked}) == answers[0]
    told = handler({"inputs": files, "parameters": {**asked, "on_error": "yield"}})[2]
    assert told["input"] == "inputs[2]" and "Cannot decode inputs[2]" in told["error"]
    refused(lambda: handler({"inputs": {"video": files[2]}, "parameters": asked}), "Cannot decode inputs.video")
    for path in (videos[0], "file://" + videos[0], "https://localhost::file://" + videos[0]):
        for request in ({"inputs": path}, {"inputs": {"video": path}}, {"inputs": None, "parameters": {"video": path}}):
            request["parameters"] = {**asked, **request.get("parameters", {})}
            refused(lambda: handler(request), "Files of the server are not read")
    refused(lambda: handler({"inputs": {"path": videos[0], "bytes": None}}), "a file of the server")
    refused(lambda: handler({"inputs": {"video_features": videos[0], "duration_s": 3.0}}), "inputs.video_features")
    refused(lambda: handler({"inputs": files[0], "parameters": {"top_q": 3}}), "top_q")
    refused(lambda: handler({"inputs": files[0], "parameters": [3]}), "Expected parameters to be an object")
    refused(lambda: handler({"inputs": 5, "parameters": asked}), "Got <int>")
    refused(lambda: handler({"inputs": None}), "Expected")
    if "candidate_texts" in asked:
        text = asked["candidate_texts"][0]
        ranked = handler({"inputs": {"text": text, "videos": [*files, address]}, "parameters": {"on_error": "yield"}})
        assert {found["video"] for found in ranked[:3]} == {0, 1, address} and ranked[3]["input"] == "inputs.videos[2]"
    json.dumps([answers, told], allow_nan=False)
    return answers


for name, (task, _) in all_asked.items():  # nothing of what is not trusted is run
    for words in ([], [task]):
        refused(lambda: pipeline(*words, model=planted + name), "trust_remote_code")
assert not Path(planted + "ran").exists()
pipeline(model=planted + name, trust_remote_code=True, device="cpu")
assert len(Path(planted + "ran").read_text().split()) > 3  # its config, model, processor and pipeline

found = {name: [check_pipeline(name, *asked), check_handler(name, asked[1])] for name, asked in all_asked.items()}
print("\\n" + json.dumps(found))  # behind the question of transformers whether to trust
"""


@pytest.fixture(scope="module")
def planted(published, tmp_path_factory):
    """The folders again, each file of which writes to the file `ran` when it is run."""
    root = tmp_path_factory.mktemp("planted")
    for name in CASES:
        for path in shutil.copytree(published / name, root / name).glob("*.py"):
            line = f"open({str(root / 'ran')!r}, 'a').write({path.name!r} + '\\n')\n"
            docstring = path.read_text().split('"""', 2)
            path.write_text('"""'.join([*docstring[:2], f"\n{line}" + docstring[2]]))
    return root


@pytest.fixture
def address(videos):
    """Of the first video."""
    folder = str(Path(videos[0]).parent)
    handler = functools.partial(QuietHandler, directory=folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/{Path(videos[0]).name}"
    server.shutdown()
    server.server_close()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


QUICK = ("dual_encoder", "choices", "classes", "moments")  # every task and every family


@pytest.mark.parametrize("names", [QUICK, pytest.param(tuple(set(CASES) - set(QUICK)), marks=pytest.mark.slow)])
def test_checkpoints_bring_their_pipeline_and_serve_it(published, planted, videos, expected, address, tmp_path, names):
    asked = json.dumps({name: ASKED[name] for name in names})
    arguments = [f"{published}{os.sep}", json.dumps(videos), asked, address, f"{planted}{os.sep}"]
    answers = run_without_package(ANSWER_ALL, tmp_path, *arguments, NO_PROXY="127.0.0.1", no_proxy="127.0.0.1")
    found = json.loads(answers.splitlines()[-1])
    assert found == {name: [expected[name]] * 2 for name in names}  # to the last bit


def test_here_nothing_of_a_checkpoint_is_run_either(planted, videos, expected, tmp_path):
    (planted / "ran").unlink(missing_ok=True)
    for number, (name, (task, asked)) in enumerate(ASKED.items()):
        with pytest.raises(ValueError, match="trust_remote_code"):
            pipeline(task, model=str(planted / name))
        pipe = load_pipeline(
            planted / name, device="cpu", trust_remote_code=number % 2 == 1
        )  # its family is one of ours
        lay_weights_anew(pipe.model)
        assert [pipe(video, **asked) for video in videos[:2]] == expected[name]
        pipe.save_pretrained(tmp_path / name)  # without its code, and without the tables of it
        again = load_pipeline(tmp_path / name, device="cpu")
        lay_weights_anew(again.model)
        assert again(videos[0], **asked) == expected[name][0]
        assert not {"auto_map", "custom_pipelines"} & json.loads((tmp_path / name / "config.json").read_text()).keys()
    assert not (planted / "ran").exists()


def test_with_trust_the_pipeline_is_that_of_the_checkpoint_and_the_rest_of_this_package(
    published, videos, expected, tmp_path, monkeypatch
):
    for task in TASKS.values():  # the installed one is of another version, too
        monkeypatch.setattr(task.pipeline_class, "answer", None)
    for name, (task, asked) in ASKED.items():
        folder = shutil.copytree(published / name, tmp_path / name)
        # as of a version that does not fit
        for kind in ("configuration", "modeling", "processing", "video_processing"):
            for path in folder.glob(f"{kind}_*.py"):
                path.write_text("raise RuntimeError('code of another version')")
        pipe = pipeline(task, model=str(folder), trust_remote_code=True, device="cpu")
        assert type(pipe).__module__.startswith("transformers_modules.")
        processor = pipe.processor
        assert {type(part).__module__.split(".")[0] for part in (pipe.model, processor)} == {"clipbert"}
        lay_weights_anew(pipe.model)
        assert [pipe(video, **asked) for video in videos[:2]] == expected[name]
        assert len(pipe(videos, **asked, on_error="skip")) == 2 and len(pipe.failed) == 1


def test_the_pipeline_of_transformers_still_takes_our_classifiers(published, videos, expected, tmp_path):
    for name in ("classes", "named_classes"):
        task, _ = ASKED[name]
        shutil.copytree(published / name, tmp_path / name)
        settings = json.loads((tmp_path / name / "config.json").read_text())
        del settings["custom_pipelines"]
        (tmp_path / name / "config.json").write_text(json.dumps(settings))
        pipe = pipeline(task, model=str(tmp_path / name), device="cpu")
        assert type(pipe) is VideoClassificationPipeline
        for video, answer in zip(videos, expected[name], strict=False):
            shares = {found["label"]: found["score"] for found in answer}
            assert {found["label"]: found["score"] for found in pipe(video)} == pytest.approx(shares, abs=1e-5)


def test_a_model_without_a_pipeline_has_nothing_to_serve(tmp_path):
    model, processor = clipbert_parts(ClipBERTModel)
    with pytest.raises(ValueError, match="ClipBERTModel has no pipeline"):
        save_for_hub(model, processor, tmp_path / "out", endpoint_handler=True)
    assert not (tmp_path / "out").exists()


def test_requirements_of_the_handler_are_those_of_this_package(published):
    needs = (published / "classes" / "requirements.txt").read_text().split()
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert set(needs) - {"aiohttp"} <= set(known) and len(needs) == 3


READ_FROM_HUB = """
import json, sys
from transformers import pipeline

names, video, all_asked = map(json.loads, sys.argv[1:])
found = {}
for name in names:
    pipe = pipeline(model="user/" + name, trust_remote_code=True, device="cpu")
    for tensor in [*pipe.model.parameters(), *pipe.model.buffers()]:
        tensor.data = tensor.data.clone()
    found[name] = pipe(video, **all_asked[name][1])
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.hub
def test_they_answer_from_the_hub(published, videos, expected, tmp_path):
    push = "import sys; from clipbert.support.hub import push_folder; push_folder(sys.argv[1], sys.argv[2])"
    with FakeHub() as server:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **server.environment(tmp_path / "home")}
        for name in CASES:
            command = [sys.executable, "-c", push, str(published / name), f"user/{name}"]
            subprocess.run(command, env=environment, check=True, capture_output=True)
        arguments = [json.dumps(list(CASES)), json.dumps(videos[0]), json.dumps(ASKED)]
        answers = run_without_package(
            READ_FROM_HUB, tmp_path / "elsewhere", *arguments, **server.environment(tmp_path / "other_home")
        )
    assert json.loads(answers.splitlines()[-1]) == {name: answers[0] for name, answers in expected.items()}
