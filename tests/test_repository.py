# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The repository keeps its own rules: imports point one way, documents name things that exist, examples run."""

import ast
import doctest
import importlib
import re
import tomllib
from pathlib import Path

import pytest

import clipbert


ROOT = Path(__file__).parent.parent
PACKAGES = ["modeling_clipbert", "processing", "datasets_scripts", "metrics", "train_scripts", "benchmarks"]
# package -> packages of this repository that it may import
ALLOWED_IMPORTS = {
    "modeling_clipbert": set(),
    "processing": set(),
    "metrics": set(),
    "datasets_scripts": {"processing"},
    "train_scripts": {"modeling_clipbert", "processing", "datasets_scripts", "metrics"},
    "benchmarks": {"modeling_clipbert", "processing", "datasets_scripts", "metrics", "train_scripts"},
}
EXCEPTIONS = {
    # a program, not part of the model: it writes a processor beside the weights
    "modeling_clipbert/convert_clipbert_checkpoint.py": {"processing", "modeling_clipbert"},
    # so that AutoProcessor knows the processor of a checkpoint as soon as AutoModel knows its model
    "modeling_clipbert/__init__.py": {"processing"},
}
TRAVELLING = ["modeling_clipbert", "processing"]  # copied flat to the Hub
DOCUMENTS = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(part in ("tests", "outputs") or part.startswith(".") for part in path.relative_to(ROOT).parts)
)


def sources(package):
    return sorted((ROOT / package).rglob("*.py"))


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_one_way(package):
    for path in sources(package):
        name = path.relative_to(ROOT).as_posix()
        allowed = ALLOWED_IMPORTS[package] | EXCEPTIONS.get(name, set()) | {package}
        for level, module in imports_of(path):
            top = (module or "").split(".")[0]
            assert level or top not in PACKAGES or top in allowed, f"{name} imports {module}"


def test_travelling_folders_survive_flat_copy():
    # a published checkpoint holds these files side by side: a name twice would overwrite, other imports would not resolve
    names = [path.name for package in TRAVELLING for path in sources(package) if path.name != "__init__.py"]
    assert len(names) == len(set(names)), sorted(names)
    for package in TRAVELLING:
        for path in sources(package):
            assert path.parent == ROOT / package, f"{path} lies in a sub-folder"
            for level, module in imports_of(path):
                assert level <= 1 and (level == 0 or (module and "." not in module)), f"{path}: from {module}"


def test_every_package_is_in_the_wheel():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = {
        path.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for package in PACKAGES
        if package != "benchmarks"  # needs the repository
        for path in (ROOT / package).rglob("__init__.py")
    }
    assert found == set(settings["packages"])


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
        places = [ROOT / name, document.parent / name, *(ROOT / package / name for package in PACKAGES)]
        assert any(place.exists() for place in places), f"{document.name} names {name}, which does not exist"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_python_in_documents_imports_what_exists(document):
    for block in re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{document.name}: {node.module} has no {alias.name}"
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    importlib.import_module(alias.name)


def module_names():
    for package in PACKAGES:
        for path in sources(package):
            if path.name != "__main__.py":
                yield path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")


@pytest.mark.parametrize("name", sorted(module_names()))
def test_docstring_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some write files,
    (tmp_path / "metrics").symlink_to(ROOT / "metrics")  # one names a folder of the repository
    results = doctest.testmod(
        importlib.import_module(name), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    )
    assert results.failed == 0


@pytest.mark.parametrize("path", [p for package in PACKAGES for p in sources(package)], ids=lambda p: p.name)
def test_sources_begin_with_the_licence(path):
    text = path.read_text()
    assert not text or text.startswith("# Copyright 2026 The clipbert authors."), path
