# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The repository keeps its own rules: documents name things that exist, examples run; imports are in `test_imports.py`."""

import ast
import doctest
import functools
import importlib
import importlib.util
import itertools
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from oldest_versions import oldest_versions

import clipbert
from clipbert.command_line import build_parser
from clipbert.train_scripts import extract
from clipbert.train_scripts.engine.cells import load_task, plan_runs, read_grid
from clipbert.train_scripts.engine.values import RECIPES
from clipbert.train_scripts.grid import GridRunner


ROOT = Path(__file__).parent.parent
PRODUCT = ("support", "processing", "metrics", "modeling_*", "datasets_scripts", "train_scripts", "clipbert", "demo")
PACKAGES = sorted(
    path.name for name in (*PRODUCT, "benchmarks") for path in ROOT.glob(name) if (path / "__init__.py").is_file()
)
# Code that serves every family names none. References to the paper in docstrings are no code.
SERVES_EVERY_FAMILY = (
    "train_scripts/engine",
    "train_scripts/tasks",
    "support",
    "metrics",
    "datasets_scripts/building",
)
DOCUMENTS = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(part in ("tests", "outputs") or part.startswith(".") for part in path.relative_to(ROOT).parts)
    and "{%" not in path.read_text(encoding="utf-8")  # a template
)


def sources(package):
    return sorted((ROOT / package).rglob("*.py"))


def test_what_serves_every_family_names_none():
    for folder in SERVES_EVERY_FAMILY:
        for path in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(path.read_text())
            for node in ast.walk(tree):  # docstrings may name the paper: they are dropped
                if (
                    isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
                    and ast.get_docstring(node) is not None
                ):
                    node.body = node.body[1:]
            found = re.findall(r".*(?:modeling_clipbert|ClipBERT[A-Z]).*", ast.unparse(tree))
            assert not found, f"{path.relative_to(ROOT)}: {found}"


@pytest.mark.parametrize("folder", [name for name in PACKAGES if name != "clipbert"])  # the README at the root is its
def test_readmes_say_what_their_folder_turns_into_what(folder):
    lines = [line for line in (ROOT / folder / "README.md").read_text().splitlines() if line]
    assert re.search(r"this folder turns .+ into .+", " ".join(lines[:2]), re.IGNORECASE), lines[:2]


def test_names_of_test_files_are_unique():
    # pytest imports them by their bare names
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "__init__.py"]
    assert len(names) == len(set(names)), sorted({name for name in names if names.count(name) > 1})


def test_changelog_begins_with_this_version():
    headings = re.findall(r"^## .*$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert clipbert.__version__ in headings[0], headings[0]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_paths_in_documents_exist(document):
    text = document.read_text()
    suffixes = r"(?:py|md|yaml|toml|cff)"
    for name in re.findall(rf"[`( ]((?:[\w.-]+/)*[\w-]+\.{suffixes})[`) \n]", text):
        if "my_" in name or name.startswith(("outputs/", "path/")):
            continue
        places = [
            ROOT / name,
            document.parent / name,
            *(ROOT / package / name for package in PACKAGES),
            RECIPES / name,
        ]
        assert any(place.exists() for place in places), f"{document.name} names {name}, which does not exist"


def commands(document):
    """The command lines of a document that run a script of `train_scripts`, as lists of words."""
    blocks = re.findall(r"```\w*\n(.*?)```", document.read_text(), re.DOTALL)
    prose = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    for line in [*lines, *(" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose))]:
        if re.match(r"(?:python|accelerate launch)\b.*\btrain_scripts/\w+\.py ", line):
            yield shlex.split(line, comments=True)


def values_of(option, words):
    """What follows an option, wherever it stands."""
    found = []
    for place, word in enumerate(words):
        if word == option:
            found += itertools.takewhile(lambda value: not value.startswith("--"), words[place + 1 :])
    return found


def is_placeholder(file):
    return file == "FILE" or file.startswith("my_")


@functools.cache
def task_of(script):
    return load_task(ROOT / script)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands_in_documents_have_options_that_exist(document):
    for words in commands(document):
        script = next(word for word in words if re.fullmatch(r"train_scripts/\w+\.py", word))
        known = (ROOT / script).read_text() + (ROOT / "train_scripts/engine/command_line.py").read_text() + '"--help"'
        recipe, settings = values_of("--recipe", words), values_of("--set", words)
        if grid := values_of("--grid", words):
            if is_placeholder(grid[0]):
                continue
            chosen = read_grid(ROOT / grid[0])
            if recipe:
                chosen.recipe, chosen.set = recipe[0], {}
            chosen.seeds = chosen.seeds[:1]
            runs = plan_runs(chosen, task_of(chosen.script).recipe_class, settings)
            GridRunner("grid", chosen, runs, patterns=values_of("--cells", words) or ["*"])
        elif script == "train_scripts/extract.py" and recipe and not is_placeholder(recipe[0]):
            extract.read_recipe(extract.parse_arguments(words[words.index(script) + 1 :]))  # of one of several tasks
        elif recipe and not is_placeholder(recipe[0]):
            task_of(script).recipe_class.load(recipe[0], [*settings, "run.output_dir=."])
        given = {word for word in words[words.index(script) :] if word.startswith("--")}
        assert not {option for option in given if f'"{option}"' not in known}, words


def test_commands_of_the_shell_in_documents_are_understood():
    found = 0
    for document in DOCUMENTS:
        for block in re.findall(r"```\w*\n(.*?)```", document.read_text(), re.DOTALL):
            for line in re.findall(r"(?:^|\| )(clipbert .*)", block.replace("\\\n", " "), re.MULTILINE):
                words = shlex.split(line, comments=True)[1:]
                words = list(itertools.takewhile(lambda word: word not in ("|", ">"), words))
                assert build_parser().parse_known_args(words)[1] == [], line
                found += 1
    assert found >= 6


def is_missing(module):
    """Whether a module is of a package that an environment for tests may lack, and this one does."""
    top = module.split(".")[0]
    return top in ("mteb", "sentence_transformers") and importlib.util.find_spec(top) is None


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_python_in_documents_imports_what_exists(document):
    for block in re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and not is_missing(node.module):
                module = importlib.import_module(node.module)
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{document.name}: {node.module} has no {alias.name}"
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    if not is_missing(alias.name):
                        importlib.import_module(alias.name)


def module_names():
    for package in PACKAGES:
        for path in sources(package):
            if path.name != "__main__.py":
                name = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
                yield name if package in ("clipbert", "benchmarks") else f"clipbert.{name}"


@pytest.mark.parametrize("name", sorted(module_names()))
def test_docstring_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some write files,
    (tmp_path / "metrics").symlink_to(ROOT / "metrics")  # one names a folder of the repository
    if name.endswith(".sentence_modules") and is_missing("sentence_transformers"):
        pytest.skip("the extra sentence-transformers is not installed")
    results = doctest.testmod(
        importlib.import_module(name), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    )
    assert results.failed == 0


@pytest.mark.parametrize("path", [p for package in PACKAGES for p in sources(package)], ids=lambda p: p.name)
def test_sources_begin_with_the_licence(path):
    text = path.read_text()
    assert not text or text.startswith("# Copyright 2026 The clipbert authors."), path


def test_every_bound_is_a_version_that_can_be_installed_alone():
    # `make test-oldest` installs exactly these, whatever pyproject.toml says
    text = (ROOT / "pyproject.toml").read_text()
    oldest = dict(line.split("==") for line in oldest_versions(ROOT / "pyproject.toml"))
    assert {"torch", "torchvision", "transformers", "pytest", "setuptools"} <= oldest.keys()
    for name, version in oldest.items():
        assert re.search(rf'"{name}(\[[\w,]+\])?>={re.escape(version)}"', text)


def test_every_package_that_is_imported_is_a_dependency():
    # one that only comes along with another is missing as soon as the other does without it
    names = {"PIL": "pillow", "yaml": "pyyaml", "open_clip": "open_clip_torch"}
    names |= {name: name.replace("_", "-") for name in ("huggingface_hub", "qdrant_client", "sentence_transformers")}
    optional = {"aiohttp"}  # a message is better where it is installed
    declared = {line.split("==")[0] for line in oldest_versions(ROOT / "pyproject.toml")}
    for path in (path for name in PRODUCT for folder in ROOT.glob(name) for path in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            for top in (
                {module.split(".")[0] for module in modules} - sys.stdlib_module_names - {"clipbert"} - optional
            ):
                assert names.get(top, top) in declared, f"{path.relative_to(ROOT)} imports {top}"


def test_what_the_documents_write_is_ignored_by_git():
    written = {
        name
        for document in DOCUMENTS
        for name in re.findall(
            r"(?:--output_dir |--data_dir |data.data_dir=|data_dir=\")(?!for\b)([a-z][\w-]*)",
            document.read_text(encoding="utf-8"),
        )
    }
    assert {"outputs", "my_videos", "published"} <= written
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    shown = subprocess.run(
        ["git", "check-ignore", *(f"{name}/x" for name in sorted(written))], cwd=ROOT, capture_output=True
    )
    assert {line.removesuffix("/x") for line in shown.stdout.decode().splitlines()} == written
