# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Files from the network, whole and verified, and archives that stay in their folder."""

# what compressed data may unpack to: so many bytes, as texts may shrink as much as they like, or so many times its size
FREE_BYTES, MAX_RATIO = 16 << 20, 200
