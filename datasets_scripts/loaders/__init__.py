# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""One benchmark, one file: where it comes from, on what terms, its splits and its traps."""
