# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The oldest versions that pyproject.toml allows, as constraints for pip: `make test-oldest` installs exactly these."""

import re
import sys
import tomllib
from pathlib import Path


def oldest_versions(pyproject: Path) -> list[str]:
    """
    `name==version` for every lower bound, extras included.

    Raises:
        ValueError: If a requirement has no lower bound, or one package has two.
    """
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    found = {}
    for requirement in sum(project["optional-dependencies"].values(), project["dependencies"]):
        match = re.fullmatch(r"([\w-]+)(?:\[[\w,]+\])?>=([\d.]+)", requirement)  # constraints have no extras
        if match is None:
            raise ValueError(f"{pyproject}: expected `name>=version`, got {requirement!r}")
        name, version = match.groups()
        if found.setdefault(name, version) != version:
            raise ValueError(f"{pyproject}: {name} has two lower bounds, {found[name]} and {version}")
    return [f"{name}=={version}" for name, version in sorted(found.items())]


if __name__ == "__main__":
    print("\n".join(oldest_versions(Path(sys.argv[1]))))
