# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""In a clone a bare folder name and the name below `clipbert` are one module; a user's own folder of that name is left alone."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[2]
INIT = "import clipbert\n\nfrom .shapes import Shape\n"
SHAPES = "class Shape:\n    pass\n"


@pytest.fixture
def clone(tmp_path):
    """A small house: the real `clipbert` and `support`, and folders that import in no time."""
    clone = tmp_path / "clone"
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("clipbert", "support"):
        shutil.copytree(ROOT / name, clone / name, ignore=ignore)
    (clone / "pyproject.toml").touch()
    for name in ("processing", "datasets_scripts", "train_scripts"):
        write(clone / name, {"__init__.py": INIT, "shapes.py": SHAPES})
    write(
        clone / "datasets_scripts",
        {"__main__.py": "import sys\nfrom .shapes import Shape\nprint(__name__, __package__, Shape, sys.argv[1:])\n"},
    )
    return clone


def write(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)


def run(*arguments, cwd, path=(), code=0):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, path))
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


ONE = """
import sys
assert processing is sys.modules["processing"] is sys.modules["clipbert.processing"] is clipbert.processing
assert processing.Shape is clipbert.processing.Shape and processing.Shape.__module__ == "clipbert.processing.shapes"
assert sys.modules["processing.shapes"] is sys.modules["clipbert.processing.shapes"]
assert processing.__spec__.name == "clipbert.processing" and processing.__name__ == "clipbert.processing"
"""


@pytest.mark.parametrize(
    "imports",
    [
        "import processing, processing.shapes, clipbert.processing",
        "import processing.shapes, clipbert, processing",
        "import clipbert, processing.shapes, processing",
        "import clipbert.processing, processing, processing.shapes",
        "from processing.shapes import Shape; import clipbert.processing.shapes, processing",
        "import clipbert; from clipbert import processing; import processing.shapes",
        "from datasets_scripts import Shape; import processing.shapes, clipbert.processing, processing",
    ],
)
def test_bare_names_are_the_same_modules_in_any_order(clone, imports):
    run("-c", imports + ONE, cwd=clone)


def test_bare_names_through_a_link_to_the_clone(clone, tmp_path):
    # the path and the file of a package may be spelt differently
    link = tmp_path / "link"
    link.symlink_to(clone, target_is_directory=True)
    run("-c", "import processing, processing.shapes, clipbert.processing" + ONE, cwd=tmp_path, path=[link])


@pytest.mark.parametrize("name", ["datasets_scripts", "clipbert.datasets_scripts"])
def test_commands_run_by_either_name(clone, name):
    assert run("-m", name, "list", cwd=clone).split()[:4] == [
        "__main__",
        name,
        "<class",
        "'clipbert.datasets_scripts.shapes.Shape'>",
    ]


@pytest.mark.parametrize("name", ["datasets_scripts.tool", "clipbert.datasets_scripts.tool"])
def test_a_command_knows_its_file(clone, name):
    # argparse takes the name of a program from sys.argv[0], which was None
    write(clone / "datasets_scripts", {"tool.py": "import sys\nprint(sys.argv[0] == __file__, __file__)\n"})
    assert run("-m", name, cwd=clone).split() == ["True", str(clone / "datasets_scripts" / "tool.py")]


def test_scripts_and_their_workers_see_one_class(clone, tmp_path):
    # a spawned worker imports the script again, under another name, and unpickles what the script has sent
    write(
        clone / "train_scripts",
        {
            "script.py": """
import multiprocessing
import pickle
import sys

import clipbert.processing
from processing import Shape


def look(shape):
    import processing

    return isinstance(shape, clipbert.processing.Shape) and processing.Shape is type(shape), shape


if __name__ == "__main__":
    assert "train_scripts" in sys.path[0]
    assert b"clipbert.processing.shapes" in pickle.dumps(Shape()) and pickle.loads(pickle.dumps(Shape)) is Shape
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        is_same, returned = pool.apply(look, (Shape(),))
    assert is_same and type(returned) is Shape
    print("seen")
"""
        },
    )
    script = clone / "train_scripts" / "script.py"
    for cwd in (clone, tmp_path):
        assert run(script, cwd=cwd, path=[clone]) == "seen\n"


def test_a_users_own_names_win_and_disturb_nothing(clone, tmp_path):
    mine = tmp_path / "mine"
    write(mine / "processing", {"__init__.py": "from .shapes import Shape\nWHOSE = 'mine'\n", "shapes.py": SHAPES})
    write(mine, {"datasets_scripts.py": "WHOSE = 'mine'\n"})
    write(mine / "train_scripts", {"notes.txt": "no package"})
    code = """
import clipbert.processing, clipbert.datasets_scripts, clipbert.train_scripts
import processing, processing.shapes, datasets_scripts
assert processing.WHOSE == datasets_scripts.WHOSE == "mine"
assert processing is not clipbert.processing and processing.shapes.__name__ == "processing.shapes"
assert clipbert.processing.Shape.__module__ == "clipbert.processing.shapes" and clipbert.processing.Shape is not processing.Shape
import sys
assert sys.modules["processing"] is processing
"""
    run("-c", code, cwd=mine, path=[clone])
    swapped = code.strip().splitlines()
    run("-c", "\n".join([swapped[1], swapped[0], *swapped[2:]]), cwd=mine, path=[clone])


def test_unknown_names_stay_unknown(clone, tmp_path):
    assert "No module named 'processing'" in run(
        "-c",
        f"import sys; sys.path.append({str(clone)!r}); import clipbert; sys.path.remove({str(clone)!r}); import processing",
        cwd=tmp_path,
        code=1,
    )
    assert "No module named 'processing.ghost'" in run("-c", "import processing.ghost", cwd=clone, code=1)
    assert "has no attribute 'Ghost'" in run("-c", "import clipbert; clipbert.Ghost", cwd=clone, code=1)


@pytest.mark.slow
def test_the_real_folders_have_one_name_each():
    folders = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))
    folders = [name for name in folders if name not in ("clipbert", "benchmarks", "tests")]
    assert {"support", "processing", "metrics", "datasets_scripts", "train_scripts"} < set(folders)
    code = f"""
import importlib, sys
for name in {folders}:
    assert importlib.import_module(name) is importlib.import_module("clipbert." + name), name
twice = [name for name in sys.modules if name.split(".")[0] in {folders} and "clipbert." + name in sys.modules
         and sys.modules[name] is not sys.modules["clipbert." + name]]
assert not twice, twice
"""
    run("-c", code, cwd=ROOT)
