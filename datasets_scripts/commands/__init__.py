# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The commands of `python -m datasets_scripts`, a module each."""
