# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A card for features that others have made: what a person says of them, and what their files say."""

from typing import Any

from tqdm.auto import tqdm

from clipbert.processing import FeatureFileError, FeatureFiles


def describe_features(files: FeatureFiles, **said: Any) -> dict[str, Any]:
    """
    The card of features, every one of which is read for it.

    Args:
        files (`FeatureFiles`): The features, of one source.
        said: `encoder` and what else is known: `weights`, `transform`, `sampling`, `durations`; `None` is left out.

    Raises:
        FeatureFileError: If one cannot be read, or has another dimension than the first; names it.
    """
    counts, dimension = [], None
    for video_id in tqdm(files.ids(), desc="reading features", unit="video", disable=None):
        rows, name, _ = files[video_id]
        dimension = dimension or rows.shape[1]
        if rows.shape[1] != dimension:
            raise FeatureFileError(name, f"they have {rows.shape[1]} numbers a row, those before {dimension}.")
        counts.append(len(rows))
    found = {"dimension": dimension, "num_videos": len(counts), "num_rows": [min(counts), max(counts)]}
    return {**{name: value for name, value in said.items() if value is not None}, **found}


__all__ = ["describe_features"]
