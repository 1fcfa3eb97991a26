# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What the loaders share: the builder, columns, records, and files that are there and can be read."""
