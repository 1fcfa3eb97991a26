# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Speed and memory of this package beside a naive baseline that works the way the official code does."""
