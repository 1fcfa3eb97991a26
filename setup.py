# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Finds the packages. Everything else about the distribution is in pyproject.toml.

The folders of the repository become packages below `clipbert`: `processing` is installed as `clipbert.processing`. So
they hide no module of a user's that has the same everyday name, and a new family needs no line here.
"""

from setuptools import find_packages, setup


FOLDERS = ("support", "processing", "metrics", "modeling_*", "datasets_scripts", "train_scripts", "demo")
found = find_packages(include=[pattern for name in FOLDERS for pattern in (name, f"{name}.*")])

setup(
    packages=[*find_packages(include=["clipbert", "clipbert.*"]), *(f"clipbert.{name}" for name in found)],
    package_dir={f"clipbert.{name}": name for name in found if "." not in name},
)
