# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
A search index over a collection of videos: a shortlist by vectors, an exact order, the seconds of a moment.

    files --scan--> what is new --encode--> rows of segments --> VideoStore
    query --encoder--> nearest segments --exact order--> --reranker--> --locator--> VideoHit

Nothing heavy is imported before it is needed; the store (LanceDB, or Qdrant) is an extra.
"""

import importlib


_PLACES = {  # public names and their modules
    "FingerprintError": "errors",
    "IndexDamagedError": "errors",
    "SearchIndexError": "errors",
    "VideoHit": "hits",
    "VideoIndex": "index",
    "field": "filters",
}


def __getattr__(name):
    if name in _PLACES:
        return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_PLACES})


__all__ = sorted(_PLACES)
