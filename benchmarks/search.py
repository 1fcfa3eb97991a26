# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The search index on this machine: its store (`index_engine.py`), and the shortlists of ClipBERT (`index_cascade.py`), as one report.

Run:     python -m benchmarks.search --checkpoint outputs/quickstart > report.md     (after `make quickstart`; half an hour of a core)
"""

import argparse
from collections.abc import Sequence

from benchmarks import index_cascade, index_engine


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="outputs/quickstart", help="a ClipBERT for retrieval")
    parser.add_argument("--rows", type=int, default=100_000, help="segments in the store")
    parser.add_argument("--num-videos", type=int, default=2000, help="that ClipBERT scores")
    options = parser.parse_args(arguments)
    print("## The store\n")
    index_engine.main(["--rows", str(options.rows)])
    print("\n## Shortlists for ClipBERT alone\n")
    index_cascade.main(["--checkpoint", options.checkpoint, "--num-videos", str(options.num_videos)])


if __name__ == "__main__":
    main()
