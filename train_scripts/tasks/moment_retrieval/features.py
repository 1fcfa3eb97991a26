# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Features of videos in the place of videos: `data.feature_files`."""

import logging
from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel

from clipbert.processing import FeatureFileError, FeatureFiles
from clipbert.processing.feature_files import VideoFeatures, check_card
from clipbert.train_scripts.tasks.moment_retrieval.options import MomentSection


logger = logging.getLogger(__name__)


def open_feature_files(data: MomentSection, ids: Sequence[str]) -> FeatureFiles:
    """
    The features of a run.

    Args:
        data (`MomentSection`): Says where they are.
        ids (`Sequence[str]`): Videos that the run reads.

    Raises:
        FeatureFileError: If some have none and `data.on_decode_error` is `raise`, or none has any.
    """
    files = FeatureFiles(data.feature_files, **data.feature_options)
    check = files.check_ids(ids)
    if check.missing and (data.on_decode_error == "raise" or len(check.missing) == check.num_asked):
        where = str(data.feature_files)
        raise FeatureFileError(
            where, f"{check} Add them, set data.on_decode_error=skip, or list them in data.skip_list."
        )
    (logger.warning if check.missing else logger.info)(f"data.feature_files: {check}")
    return files


def size_of_features(files: FeatureFiles, ids: Sequence[str]) -> int:
    """Numbers of a row, as the first of these videos that there are features of has them."""
    missing = set(files.check_ids(ids).missing)
    return files.read(next(name for name in ids if name not in missing)).shape[1]


def take_card(model: PreTrainedModel, processor: Any, files: FeatureFiles, ids: Sequence[str]) -> None:
    """
    Let model and processor remember what the features are, so that others are refused; those that know it already refuse them here.

    Raises:
        FeatureFileError: If features are none that the model was trained on, or not all of one kind.
    """
    missing = set(files.check_ids(ids).missing)
    card = files.common_card([name for name in ids if name not in missing])
    check_card(model.config.feature_card, VideoFeatures(None, "data.feature_files", card))
    if model.config.feature_card is None and card is not None:
        model.config.feature_card = processor.feature_card = card


__all__ = ["open_feature_files", "size_of_features", "take_card"]
