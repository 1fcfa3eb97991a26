# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A process that knows nothing of this package."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path


def run_without_package(code, folder, *arguments, **environment):
    """
    Run code in a process that cannot import this package.

    -I keeps the working folder and PYTHONPATH out, -S the packages installed beside this one: an editable install puts
    a finder there. The folders of third-party packages are added back by hand.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # which may lie apart where a virtual environment sees those of another
    specs = map(find_spec, ("torch", "sentence_transformers", "mteb"))
    packages = list(dict.fromkeys(str(Path(spec.origin).parents[1]) for spec in specs if spec is not None))
    names = [
        "clipbert",
        "modeling_clipbert",
        "processing",
        "train_scripts",
        "modeling_duo",
        "modeling_framewise",
        "modeling_cnn_rnn",
        "modeling_mug_stan",
        "modeling_ci_mha",
    ]
    prologue = f"""
import importlib.util, sys
sys.path += {packages!r}
assert not [name for name in {names} if importlib.util.find_spec(name)], "the package can be imported"
assert not any("editable" in type(finder).__module__ or "editable" in repr(finder) for finder in sys.meta_path)
"""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", prologue + code, *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "HF_HOME": str(folder / "hf_home"), "HF_HUB_OFFLINE": "1", **environment},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,  # a question whether to trust the code would fail
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
