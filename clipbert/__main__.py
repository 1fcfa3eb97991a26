# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""`python -m clipbert`: the command `clipbert` where it is not installed."""

import sys

from clipbert.command_line import main


if __name__ == "__main__":
    sys.exit(main())
