# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What a training task needs beyond its door: items, losses, scoring, blind baselines, for models of every family.

A folder is a task; its name is the `Task.name` that stands in predictions, and its `measure` scores them again.
"""
