# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Imports point downwards and never in a circle:

    support  <  processing, metrics  <  modeling_*, datasets_scripts, clipbert.pipelines  <  train_scripts  <  clipbert  <  demo
    in train_scripts:  engine, publishing  <  tasks  <  the scripts

Files that travel to the Hub with a checkpoint import their siblings alone. This once was not so: eight files of training
imported each other in a circle, and the engine could not be read without the scripts.
"""

import ast
from fnmatch import fnmatchcase
from pathlib import Path

import pytest


ROOT = Path(__file__).parent.parent
FLOORS = [
    ["support"],
    ["processing", "metrics"],
    ["modeling_*", "datasets_scripts", "pipelines"],
    ["train_scripts"],
    ["clipbert"],
    ["demo"],
]
DOORS = {"clipbert.command_line.demo": "demo"}  # a command that opens what lies above it
ROOMS = {"engine": 0, "publishing": 0, "tasks": 1, "": 2}  # of train_scripts; "" are the scripts themselves
TRAVELLING = ["modeling_*", "processing"]
STAY_AT_HOME = ["__init__.py", "convert_*", "parts_*", "recipe_*"]  # of the travelling folders


class House:
    """The product files below a folder, their imports, and what is wrong with them."""

    def __init__(self, root: Path):
        found = [*root.glob("*/__init__.py"), *root.glob("clipbert/*/__init__.py")]
        folders = [path.parent for path in sorted(found)]
        self.floors = {folder.name: floor for folder in folders if (floor := floor_of(folder.name)) is not None}
        self.files = {}  # module -> path
        for name in self.floors:
            for path in sorted((root / name).rglob("*.py")):
                parts = path.relative_to(root).with_suffix("").parts
                parts = parts[:-1] if parts[-1] == "__init__" else parts
                self.files[".".join(parts if name == "clipbert" else ("clipbert", *parts))] = path
        self.root = root
        self.imports = {module: list(self.imports_of(module)) for module in self.files}

    def imports_of(self, module: str):
        """The imports of a file: names that are modules of the house or begin like one, as `(name, is_at_top, node)`."""
        path = self.files[module]
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        for node, is_at_top in walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
                base = ".".join([*above, *filter(None, [node.module])])
                names = [f"{base}.{alias.name}" for alias in node.names]
                names = [name if name in self.files or base not in self.files else base for name in names]
            else:
                continue
            for name in dict.fromkeys(names):
                if name.split(".")[0] in {"clipbert", *self.floors}:
                    yield name, is_at_top, node

    def problems(self) -> list[str]:
        found = []
        for module, imports in self.imports.items():
            for name, _, node in imports:
                reason = self.why_not(module, name, node)
                if reason:
                    place = f"{self.files[module].relative_to(self.root).as_posix()}:{node.lineno}"
                    found.append(f"{place} imports {name}: {reason}")
        return found + [f"a circle: {' -> '.join(circle)}" for circle in self.circles()]

    def why_not(self, module: str, name: str, node) -> str | None:
        path, folder = self.files[module], folder_of(module)
        if name == "clipbert":
            is_allowed = path.name == "__init__.py" or folder == "clipbert"
            return None if is_allowed else "only the `__init__` of a folder does"
        if name.split(".")[0] != "clipbert":
            return f"the name is clipbert.{name}"
        if name not in self.files:
            return "there is no such module"
        target = folder_of(name)
        stays_at_home = any(fnmatchcase(path.name, pattern) for pattern in STAY_AT_HOME)
        if any(fnmatchcase(folder, pattern) for pattern in TRAVELLING):
            is_sibling = (
                isinstance(node, ast.ImportFrom) and node.level == 1 and node.module and "." not in node.module
            )
            target_stays = any(fnmatchcase(self.files[name].name, pattern) for pattern in STAY_AT_HOME)
            if not stays_at_home and not (is_sibling and target == folder and not target_stays):
                return "a file that is copied to the Hub imports its siblings alone, as `from .sibling import name`"
        if target == folder:
            return self.why_not_in_train_scripts(module, name) if folder == "train_scripts" else None
        if self.floors[target] >= self.floors[folder] and DOORS.get(module) != target:
            return f"{target} does not lie below {folder}"
        return None

    def why_not_in_train_scripts(self, module: str, name: str) -> str | None:
        room, other = (room_of(self.files[each]) for each in (module, name))
        if other == "" and room == "":
            return "a script imports no other script"
        return f"{other or 'a script'} does not lie below {room}" if ROOMS[other] > ROOMS[room] else None

    def circles(self) -> list[list[str]]:
        """Circles of imports at the top of files, each once. A package that holds the importing file is not counted."""
        edges = {}
        for module, imports in self.imports.items():
            edges[module] = set()
            for name in (name for name, is_at_top, _ in imports if is_at_top and name.startswith("clipbert.")):
                packages = [name.rsplit(".", depth)[0] for depth in range(1, name.count("."))]
                loaded = {name, *(each for each in packages if not module.startswith(f"{each}."))} - {"clipbert"}
                edges[module] |= {each for each in loaded if each in self.files and each != module}
        circles, finished = [], set()

        def follow(module, trail):
            if module in trail:
                circles.append([*trail[trail.index(module) :], module])
            elif module not in finished:
                for other in sorted(edges[module]):
                    follow(other, [*trail, module])
                finished.add(module)

        for module in edges:
            follow(module, [])
        return circles


def walk(node, is_at_top=True):
    """All nodes of a file, and whether they run when it is imported."""
    for child in ast.iter_child_nodes(node):
        yield child, is_at_top
        yield from walk(
            child, is_at_top and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        )


def floor_of(folder: str) -> int | None:
    found = [floor for floor, names in enumerate(FLOORS) if any(fnmatchcase(folder, name) for name in names)]
    return found[0] if found else None


def folder_of(module: str) -> str:
    """The folder at the root that a module lies in: `clipbert.processing.sampling` in `processing`."""
    second = (module.split(".") + [""])[1]
    return second if floor_of(second) is not None else "clipbert"


def room_of(path: Path) -> str:
    """The folder of `train_scripts` that a file lies in; "" for those that lie in no further one."""
    parts = path.as_posix().rpartition("/train_scripts/")[2].split("/")
    return parts[0] if len(parts) > 1 else ""


def test_imports_point_downwards_and_in_no_circle():
    house = House(ROOT)
    assert len(house.floors) >= 7 and len(house.files) > 100, "the files were not found"
    problems = house.problems()
    assert not problems, "\n".join(problems)


def test_travelling_folders_survive_flat_copy():
    # a published checkpoint holds these files side by side: a name twice would overwrite
    folders = [path for pattern in (*TRAVELLING, "clipbert/pipelines") for path in ROOT.glob(f"{pattern}/")]
    names = [path.name for folder in folders for path in folder.rglob("*.py") if path.name != "__init__.py"]
    assert len(folders) >= 2 and len(names) == len(set(names)), sorted(names)
    for folder in folders:
        assert all(path.parent == folder for path in folder.rglob("*.py")), f"{folder.name} has sub-folders"


CLEAN = {
    "support/__init__.py": "import clipbert",
    "support/names.py": "import os",
    "processing/__init__.py": "from .sampling import x",
    "processing/sampling.py": "import numpy\nfrom .decoding import y",
    "processing/decoding.py": "",
    "metrics/__init__.py": "from clipbert.support.names import x",
    "modeling_a/__init__.py": "from clipbert.processing import x\nfrom .modeling_a import A",
    "modeling_a/modeling_a.py": "from .configuration_a import C",
    "modeling_a/configuration_a.py": "",
    "modeling_a/convert_a.py": "from clipbert.processing.sampling import x\nfrom .modeling_a import A",
    "datasets_scripts/__init__.py": "def late():\n    from clipbert.processing.sampling import x",
    "train_scripts/__init__.py": "import clipbert",
    "train_scripts/engine/__init__.py": "",
    "train_scripts/engine/loop.py": "from .task import t\nfrom clipbert.metrics import m",
    "train_scripts/engine/task.py": "def main():\n    from .loop import l",
    "train_scripts/tasks/__init__.py": "",
    "train_scripts/tasks/items/__init__.py": "",
    "train_scripts/tasks/items/pairs.py": "from ...engine import task\nfrom clipbert.modeling_a import A",
    "train_scripts/retrieval.py": "from clipbert.train_scripts.engine.task import main",
    "train_scripts/rescore.py": "from clipbert.train_scripts.tasks.items.pairs import main",
    "clipbert/__init__.py": "from clipbert.auto_classes import a",
    "clipbert/auto_classes.py": "def a():\n    from clipbert.support.names import x",
}


def build_house(root, **planted):
    for name, text in (CLEAN | {name: f"{CLEAN.get(name, '')}\n{text}" for name, text in planted.items()}).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return House(root)


def test_a_clean_house_has_no_problems(tmp_path):
    assert build_house(tmp_path).problems() == []


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("support/names.py", "from clipbert.processing import x", "processing does not lie below support"),
        ("support/names.py", "import clipbert", "only the `__init__`"),
        ("metrics/__init__.py", "from clipbert.processing.sampling import x", "processing does not lie below metrics"),
        (
            "metrics/__init__.py",
            "def f():\n    import clipbert.train_scripts.engine",
            "train_scripts does not lie below",
        ),
        ("datasets_scripts/__init__.py", "from clipbert import modeling_a", "modeling_a does not lie below"),
        ("datasets_scripts/__init__.py", "from processing import x", "the name is clipbert.processing"),
        ("modeling_a/__init__.py", "from ..train_scripts.engine.loop import l", "train_scripts does not lie below"),
        ("modeling_a/modeling_a.py", "from clipbert.support.names import x", "imports its siblings alone"),
        ("modeling_a/modeling_a.py", "class A:\n    from . import configuration_a", "imports its siblings alone"),
        ("modeling_a/modeling_a.py", "from .convert_a import x", "imports its siblings alone"),
        ("processing/decoding.py", "def f():\n    from ..support.names import x", "imports its siblings alone"),
        ("train_scripts/engine/task.py", "from ..tasks.items import pairs", "tasks does not lie below engine"),
        (
            "train_scripts/engine/task.py",
            "def f():\n    import clipbert.train_scripts.retrieval",
            "a script does not lie",
        ),
        ("train_scripts/tasks/items/pairs.py", "from ... import retrieval", "a script does not lie below tasks"),
        ("train_scripts/rescore.py", "from .retrieval import main", "a script imports no other script"),
        ("train_scripts/rescore.py", "from .tasks.ghost import main", "there is no such module"),
    ],
)
def test_a_planted_upward_import_is_found(tmp_path, file, text, reason):
    problems = build_house(tmp_path, **{file: text}).problems()
    assert any(problem.startswith(f"{file}:") and reason in problem for problem in problems), problems


def test_planted_circles_are_found(tmp_path):
    planted = {"processing/decoding.py": "from .sampling import x"}
    assert build_house(tmp_path / "files", **planted).circles() == [
        ["clipbert.processing.sampling", "clipbert.processing.decoding", "clipbert.processing.sampling"]
    ]
    planted = {"train_scripts/engine/task.py": "from .loop import l"}
    assert len(build_house(tmp_path / "engine", **planted).circles()) == 1
    through_a_package = {  # importing a file runs the `__init__` of its package
        "train_scripts/tasks/items/__init__.py": "from ...publishing import card",
        "train_scripts/publishing/__init__.py": "",
        "train_scripts/publishing/card.py": "from ..tasks.items.pairs import p",
    }
    assert len(build_house(tmp_path / "package", **through_a_package).circles()) == 1
