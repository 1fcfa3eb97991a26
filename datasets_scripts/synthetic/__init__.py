# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Generated videos and pictures of coloured shapes, with texts: everything can be tried without a network."""

from clipbert.datasets_scripts.synthetic.generation import Settings, generate_synthetic


__all__ = ["Settings", "generate_synthetic"]
