# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
A search index over a collection of videos: a shortlist by vectors, an exact order, the seconds of a moment.

    files --scan--> what is new --encode--> rows of segments --> VideoStore
    query --encoder--> nearest segments --exact order--> --reranker--> --locator--> VideoHit

Nothing heavy is imported before it is needed; the store (LanceDB, or Qdrant) is an extra.
"""

from clipbert.support.lazy_names import lazy_names


__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {  # public names and their modules
        "FingerprintError": "errors",
        "IndexDamagedError": "errors",
        "SearchIndexError": "errors",
        "VideoHit": "hits",
        "VideoIndex": "index",
        "field": "filters",
    },
)
