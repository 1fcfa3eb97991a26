# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Files from the network, whole and verified, and archives that stay in their folder."""
