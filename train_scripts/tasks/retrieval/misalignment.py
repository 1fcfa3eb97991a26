# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Pairs of a caption and a video by the share of frames that fit the caption (Mug-STAN, figure 1b and table IX).

A frame is aligned if its similarity with the caption, by a reference model, lies above a threshold. The paper takes the
sigmoid of the inner product, and 0.5: that is an inner product of 0, above which nearly every pair of a CLIP lies.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from clipbert.datasets_scripts.building.records import AnnotationError, is_number, read_jsonl
from clipbert.metrics.classification.classification import wilson_interval
from clipbert.support.weights import listed
from clipbert.train_scripts.engine.predictions import Predictions
from clipbert.train_scripts.tasks.retrieval.measures import count_rivals
from clipbert.train_scripts.tasks.scoring import VisualReader, match_texts, score_own_texts


GROUPS = {"well": "more than 2/3", "middle": "between", "poor": "less than 1/3", "all": ""}


def score_frames(
    model: PreTrainedModel,
    reader: VisualReader,
    texts: Sequence[str],
    owners: Sequence[int],
    pairs_per_forward: int = 4096,
) -> np.ndarray:
    """
    How well texts fit the frames of videos, each frame by itself.

    Args:
        model (`PreTrainedModel`): The reference; keeps the contract of matching.
        reader (`VisualReader`): The videos, as clips of one frame.
        texts (`Sequence[str]`), owners (`Sequence[int]`): Texts, and for each the number of a video.
        pairs_per_forward (`int`, *optional*, defaults to 4096): Pairs of a text and a frame that `match` gets at a time.

    Returns:
        `np.ndarray` of shape `(texts, frames)`: Similarities in [-1, 1] where the model has a `similarity_scale`, else log-odds;
        NaN where a video could not be decoded.
    """

    def read(model, texts, videos, video_indices):
        encoded = model.encode_texts(texts.input_ids, texts.attention_mask)
        return match_texts(model, encoded, videos, video_indices).clip_odds[..., None]

    scores = score_own_texts(model, reader, texts, owners, read, pairs_per_forward)
    return (scores[..., 0] / getattr(model, "similarity_scale", 1.0)).numpy()


def choose_others(owners: Sequence[int], captions: Sequence[str]) -> list[int]:
    """
    For each caption the video of another row, half of the rows further on, or the first one behind it with another video and
    another caption.

    Raises:
        ValueError: If there is none.

    Example:
        >>> choose_others([0, 0, 1, 2], ["a dog", "it runs", "a cat", "a dog"])
        [1, 2, 0, 0]
    """
    count, others = len(owners), []
    for row in range(count):
        places = ((row + count // 2 + step) % count for step in range(count))
        fitting = (place for place in places if owners[place] != owners[row] and captions[place] != captions[row])
        place = next(fitting, None)
        if place is None:
            raise ValueError(
                f"No other video is there for {captions[row]!r}: a threshold needs pairs that do not belong together."
            )
        others.append(owners[place])
    return others


def equal_error_threshold(matched: np.ndarray, mismatched: np.ndarray) -> tuple[float, float]:
    """
    The similarity at which mismatched pairs pass as often as matched ones fail.

    Args:
        matched, mismatched (`np.ndarray`): Similarities of frames with captions of their own and of other videos.

    Returns:
        The threshold (what lies above it passes), and that share: the mean of both where they cannot be equal.

    Example:
        >>> equal_error_threshold(np.array([0.2, 0.3, 0.4, 0.5]), np.array([0.1, 0.15, 0.18, 0.25]))
        (0.2, 0.25)
    """
    values = np.unique(np.concatenate([matched, mismatched]))
    passed = 1 - np.searchsorted(np.sort(mismatched), values, side="right") / len(mismatched)
    failed = np.searchsorted(np.sort(matched), values, side="right") / len(matched)
    best = int(np.abs(passed - failed).argmin())
    return float(values[best]), float((passed[best] + failed[best]) / 2)


def group_pairs(shares: np.ndarray) -> dict[str, np.ndarray]:
    """
    Which pairs `(pairs,)` are in which group, by the share of their frames that is aligned; NaN is in none.

    Example:
        >>> {name: members.tolist() for name, members in group_pairs(np.array([1.0, 2 / 3, 0.2])).items()}
        {'well': [True, False, False], 'middle': [False, True, False], 'poor': [False, False, True], 'all': [True, True, True]}
    """
    well, poor, known = shares > 2 / 3, shares < 1 / 3, ~np.isnan(shares)
    return {"well": well, "middle": known & ~well & ~poor, "poor": poor, "all": known}


def recall_by_group(found: Sequence[Predictions], shares: np.ndarray) -> dict[str, dict[str, Any]]:
    """
    R@1 from text to video of several models in each group, on the same pairs.

    Args:
        found (`Sequence[Predictions]`): Of retrieval, with the same rows.
        shares (`np.ndarray` of shape `(pairs,)`): Share of the frames that is aligned; NaN where nobody knows.

    Returns:
        `dict`: For each group `num_pairs`, and `models`: for each model `R@1` and its 95 % `interval` (Wilson), `None` in an
        empty group. A tie counts as a random choice, as in the evaluation. Pairs whose video a model could not decode take no
        part.
    """
    better, tied = np.stack([count_rivals(predictions) for predictions in found], axis=1)  # (models, pairs)
    hits = np.where(better == 0, 1 / (1 + tied), 0.0)
    groups = {}
    for name, members in group_pairs(np.where(np.isnan(better).any(axis=0), np.nan, shares)).items():
        total, sums = int(members.sum()), hits[:, members].sum(axis=1).tolist()
        models = [{"R@1": n / total, "interval": list(wilson_interval(n, total))} if total else None for n in sums]
        groups[name] = {"num_pairs": total, "models": models}
    return groups


def check_same_rows(found: Sequence[Predictions], folders: Sequence[Path]) -> None:
    """
    Raises:
        ValueError: If predictions are not of retrieval, or not of the same captions and videos in the same order.
    """
    for predictions, folder in zip(found, folders, strict=True):
        if predictions.task != "retrieval":
            raise ValueError(
                f"{folder}: expected predictions of retrieval.py, got some of the task {predictions.task!r}."
            )
        if pairs_of(predictions) != pairs_of(found[0]):
            raise ValueError(f"{folder} and {folders[0]} are not of the same captions and videos.")
        if predictions.info.get("gallery_size") != found[0].info.get("gallery_size"):
            raise ValueError(f"{folder} and {folders[0]} were ranked in galleries of other sizes (eval.gallery_size).")


def pairs_of(predictions: Predictions) -> list[tuple[str, str, str]]:
    return [(row["caption_id"], row["video_id"], row["caption"]) for row in predictions.rows]


def read_shares(path: Path, rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """
    The share of frames that each caption is about, where it is known: of generated videos, or of an earlier analysis.

    Args:
        path (`Path`): A `.jsonl` with `aligned_share` in [0, 1] and `caption_id` or `video_id`.
        rows (`Sequence[Mapping]`): Of predictions.

    Raises:
        AnnotationError: If a line has no share.
        ValueError: If rows are missing.
    """
    shares: dict[str, dict[str, float]] = {"caption_id": {}, "video_id": {}}
    for record in read_jsonl(path):
        share = record.values.get("aligned_share")
        if not (is_number(share) and 0 <= share <= 1):
            raise record.error(f"expected 'aligned_share' from 0 to 1, got {share!r:.80}")
        key = "caption_id" if "caption_id" in record.values else "video_id"
        shares[key][record.require(key)] = float(share)
    if not any(shares.values()):
        raise AnnotationError(f"{path}: expected lines with 'aligned_share', the file is empty")
    found = [shares["caption_id"].get(row["caption_id"], shares["video_id"].get(row["video_id"])) for row in rows]
    if missing := [row["caption_id"] for row, share in zip(rows, found, strict=True) if share is None]:
        raise ValueError(f"{path} has no share of {len(missing)} of {len(rows)} captions:{listed(missing, most=5)}")
    return np.array(found)


__all__ = [
    "GROUPS",
    "check_same_rows",
    "choose_others",
    "equal_error_threshold",
    "group_pairs",
    "read_shares",
    "recall_by_group",
    "score_frames",
]
