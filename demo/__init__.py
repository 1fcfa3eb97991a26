# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A page to look at: search, questions, moments, classes and explanations in a browser, and over HTTP."""
