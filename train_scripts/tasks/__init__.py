# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What tasks need beyond their scripts, for every family."""

import clipbert  # noqa: F401
