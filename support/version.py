# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The version of the whole package."""

__version__ = "0.1.0.dev0"
