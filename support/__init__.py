# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Small things that everybody repeats. Imports nobody of ours."""

import clipbert  # noqa: F401  one name for a package, also where it is imported by its bare one
