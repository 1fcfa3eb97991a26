# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What can be wrong with an index; `protocols` has these names, too."""


class SearchIndexError(ValueError):
    """An index that cannot be used as it stands, or not so; the message says what to do."""


class IndexDamagedError(SearchIndexError):
    """Files, or rows, of an index that are not what was written; the message names them."""


class FingerprintError(SearchIndexError):
    """A model that is not the one which an index was made with."""


__all__ = ["FingerprintError", "IndexDamagedError", "SearchIndexError"]
