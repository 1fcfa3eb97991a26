# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
transformers' own common tests. Skipped unless `CLIPBERT_TRANSFORMERS_TESTS` names the unpacked source distribution of the
installed version, which alone has them:

    pip download --no-binary :all: --no-deps transformers==$(python -c "import transformers; print(transformers.__version__)")
    tar xzf transformers-*.tar.gz && pip install parameterized
    CLIPBERT_TRANSFORMERS_TESTS=$PWD/transformers-X.Y.Z python -m pytest tests/common
"""

import importlib
import os
import sys
import types
from pathlib import Path
from unittest import mock

import pytest
import transformers


SOURCE = os.environ.get("CLIPBERT_TRANSFORMERS_TESTS")
if not SOURCE:
    pytest.skip("set CLIPBERT_TRANSFORMERS_TESTS to the unpacked sdist of transformers", allow_module_level=True)


def import_common(name):
    """A module of transformers' tests; what the distribution leaves out is empty."""
    package = "transformers_tests"
    if package not in sys.modules:
        folder = Path(SOURCE).resolve() / "tests"
        assert f"transformers-{transformers.__version__}" in str(folder), f"{folder} is not of the installed version"
        sys.modules[package] = types.ModuleType(package)
        sys.modules[package].__path__ = [str(folder)]
        left_out = {
            "exporters.test_export": {"ExportTesterMixin": type("ExportTesterMixin", (), {})},
            "generation.test_utils": {"GenerationTesterMixin": type("GenerationTesterMixin", (), {})},
            "utils.test_configuration_utils": {"config_common_kwargs": {"return_dict": False, "dtype": "float16"}},
        }
        for module, content in left_out.items():
            sys.modules.setdefault(f"{package}.{module.split('.')[0]}", types.ModuleType(module.split(".")[0]))
            sys.modules[f"{package}.{module}"] = types.ModuleType(module)
            vars(sys.modules[f"{package}.{module}"]).update(content)
    with mock.patch("transformers.utils.direct_transformers_import", lambda path: transformers):
        return importlib.import_module(f"{package}.{name}")
