# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Scores of retrieval, from what has been predicted."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from clipbert.metrics.retrieval.rescaling import (
    compute_dual_softmax_metrics,
    dual_softmax,
    rescale_by_bank,
)
from clipbert.metrics.retrieval.retrieval import (
    RECALL_AT,
    RetrievalRanks,
    chance_recall,
    compute_retrieval_metrics,
    first_within,
    rank_matrix,
)
from clipbert.train_scripts.engine.draws import summarise
from clipbert.train_scripts.engine.groups import add_group
from clipbert.train_scripts.engine.predictions import Predictions
from clipbert.train_scripts.tasks.groups import find_groups
from clipbert.train_scripts.tasks.pooling import log_odds, pool_clips
from clipbert.train_scripts.tasks.retrieval.cascade import leave_out_unread, measure_loss
from clipbert.train_scripts.tasks.retrieval.options import RESCALINGS
from clipbert.train_scripts.tasks.retrieval.ranking import COUNTS, TIED, split_galleries


BASELINES = ("chance", "orderless")
RECALLS = tuple(f"R@{k}" for k in RECALL_AT)
METRICS = tuple(
    f"{direction}_{score}"
    for direction in ("text_to_video", "video_to_text")
    for score in (*RECALLS, "median_rank", "mean_rank")
)


def compute_match_odds(predictions: Predictions) -> torch.Tensor:
    """
    Log-odds that texts and videos belong together, pooled over clips as `predictions.info["score_pooling"]` says.

    Returns:
        `torch.FloatTensor` of shape `(texts, videos)`, NaN where a video has no clip.
    """
    tensors = predictions.tensors
    clip_logits = leave_out_unread(torch.as_tensor(tensors["clip_logits"]), tensors)  # (texts, videos, clips, labels)
    return log_odds(pool_clips(clip_logits, predictions.info["score_pooling"] or "mean"))


def measure(predictions: Predictions) -> dict[str, float]:
    """
    Metrics of predictions; videos that could not be decoded take no part. Of several galleries they are means.

    Of groups of texts there are those from text to video, `NAME_GROUP`, among the same videos. Of several galleries they are means
    over those with a text of the group.

    Args:
        predictions (`Predictions`): A row for each text, with the `video_id` that it belongs to and its `groups`; `info` with
            `video_ids` and, if there are any, `gallery_size`, `group_by` and `rescaling`; either the tensor `clip_logits` `(texts, videos, clips, labels)`,
            with `score_pooling` in `info`, or what [`Ranking`] finds, with `similarity_scale`.
    """
    tensors, info = predictions.tensors, predictions.info
    if "clip_logits" in tensors:
        odds = compute_match_odds(predictions).numpy()
        usable = ~np.isnan(odds).all(axis=0)  # pairs of different galleries have no score
    else:
        odds, usable = tensors.get("log_odds"), tensors["is_usable"]
    columns = {video_id: column for column, video_id in enumerate(info["video_ids"])}
    gold = np.array([columns[row["video_id"]] for row in predictions.rows])
    groups = find_groups(predictions.rows, info.get("group_by") or ())
    found: dict[str, list[dict[str, float]]] = {}
    for gallery in split_galleries(len(usable), info.get("gallery_size")):
        numbers = np.array([number for number in gallery if usable[number]], dtype=int)
        rows = np.flatnonzero(np.isin(gold, numbers))
        if len(rows):
            places = np.searchsorted(numbers, gold[rows])
            ranks = rank_gallery(predictions, odds, rows, numbers, places)
            metrics = measure_gallery(predictions, odds, rows, numbers, places, ranks)
            counts = {"num_examples": len(rows), "num_skipped_videos": len(gallery) - len(numbers)}
            found.setdefault("", []).append({**metrics, **counts})
            for name, members in groups.items():
                if (chosen := np.isin(rows, members)).any():
                    metrics = measure_group(predictions, odds, rows, numbers, places, ranks, chosen)
                    found.setdefault(name, []).append(add_group(metrics, name))
    if not found:
        raise ValueError("No text belongs to a video that could be decoded: there is nothing to measure.")
    coverage = {name: value for name, value in info.items() if name == "coverage"}
    losses = {}
    if "is_checked" in tensors:
        galleries = split_galleries(len(usable), info.get("gallery_size"))
        losses = measure_loss(tensors, odds, info["score_pooling"] or "mean", gold, galleries)
    of_all, *of_groups = (each[0] if len(each) == 1 else average(each) for each in found.values())
    num_galleries = {"num_galleries": len(found[""])} if len(found[""]) > 1 else {}
    return {
        **of_all,
        **num_galleries,
        **{name: value for each in of_groups for name, value in each.items()},
        **losses,
        **coverage,
    }


def rank_gallery(
    predictions: Predictions, odds: np.ndarray | None, rows: np.ndarray, numbers: np.ndarray, places: np.ndarray
) -> RetrievalRanks:
    """Where some texts (`rows`) have their own videos among some (`numbers`), where `places` has the right ones."""
    if "clip_logits" in predictions.tensors:
        return rank_matrix(odds[np.ix_(rows, numbers)], places)
    return restore_ranks(predictions.tensors, rows, numbers, places)


def measure_gallery(
    predictions: Predictions,
    odds: np.ndarray | None,
    rows: np.ndarray,
    numbers: np.ndarray,
    places: np.ndarray,
    ranks: RetrievalRanks,
) -> dict[str, float]:
    """The metrics of a gallery; see [`rank_gallery`]."""
    metrics, baselines = ranks.compute(), measure_baselines(predictions.tensors, numbers, places)
    rescaled = measure_rescaled(predictions, odds, rows, numbers, places)
    return {"text_to_video_R@1": metrics.pop("text_to_video_R@1"), **baselines, **metrics, **rescaled}


def measure_group(
    predictions: Predictions,
    odds: np.ndarray | None,
    rows: np.ndarray,
    numbers: np.ndarray,
    places: np.ndarray,
    ranks: RetrievalRanks,
    chosen: np.ndarray,
) -> dict[str, float]:
    """The metrics from text to video of those texts of a gallery that are `chosen` `(texts,)`; see [`rank_gallery`]."""
    baselines = measure_baselines(predictions.tensors, numbers, places[chosen])
    metrics, num_examples = ranks.compute_for_texts(chosen), {"num_examples": int(chosen.sum())}
    rescaled = measure_rescaled(predictions, odds, rows[chosen], numbers, places[chosen], (rows, chosen))
    rescaled = {name: value for name, value in rescaled.items() if "text_to_video" in name}
    return {"text_to_video_R@1": metrics.pop("text_to_video_R@1"), **baselines, **metrics, **rescaled, **num_examples}


def restore_ranks(tensors: Mapping[str, np.ndarray], rows, numbers, places) -> RetrievalRanks:
    """What was counted of the pairs of a gallery."""
    own = tensors["own_odds"][rows]
    ranks = RetrievalRanks(own, places, len(numbers), tolerance=TIED * float(np.abs(own).max()))
    for name in COUNTS:
        setattr(ranks, name, tensors[name][rows if name.endswith("videos") else numbers])
    ranks.num_pairs = len(rows) * len(numbers)
    return ranks


def measure_baselines(tensors: Mapping[str, np.ndarray], numbers, places) -> dict[str, float]:
    """What chance finds from text to video, and who is blind to the order of frames."""
    chance = {f"chance_R@{k}": chance_recall(len(numbers), k) for k in RECALL_AT}
    return chance | measure_orderless(tensors, numbers, places)


def measure_orderless(tensors: Mapping[str, np.ndarray], numbers, places) -> dict[str, float]:
    """The recall that a model can reach at best that is blind to the order of frames: it guesses among videos with the same."""
    if "frame_keys" not in tensors:
        return {}
    _, inverse, sizes = np.unique(tensors["frame_keys"][numbers], return_inverse=True, return_counts=True)
    same = sizes[inverse][places]  # of each text, the videos that show what its own shows
    return {f"orderless_R@{k}": float(np.minimum(k / same, 1).mean()) for k in RECALL_AT} if sizes.max() > 1 else {}


def measure_rescaled(predictions: Predictions, odds, rows, numbers, places, whole=None) -> dict[str, float]:
    """The metrics of rescaled similarities, under names of their own; see [`rank_gallery`]. Of a part of the texts of a gallery, `whole`
    has all of them, and which ones are meant."""
    tensors, info, metrics = predictions.tensors, predictions.info, {}
    for name in info.get("rescaling") or ():
        if "similarity_scale" not in info:
            raise ValueError(
                f"rescaling={name}: these predictions hold log-odds of a model that reads text and video together, and no "
                "similarities."
            )
        if odds is None:
            raise ValueError(
                f"rescaling={name}: these predictions hold ranks, but not the scores of all pairs. Evaluate again with "
                "eval.keep_scores=true."
            )
        if name == "query_bank" and "bank_log_sums" not in tensors:
            raise ValueError(
                "rescaling=query_bank: these predictions have no bank. Evaluate again with eval.rescaling=[query_bank] and "
                "eval.query_bank=train, or another split of texts that are not tested."
            )
        similarity = odds[np.ix_(rows, numbers)] / info["similarity_scale"]
        if name == "dual_softmax" and whole is not None:  # all texts compete, whichever are measured
            every, chosen = whole
            similarity = odds[np.ix_(every, numbers)] / info["similarity_scale"]
            found = compute_retrieval_metrics(dual_softmax(similarity, info["dual_softmax_scale"])[chosen], places)
        elif name == "dual_softmax":
            found = compute_dual_softmax_metrics(similarity, places, info["dual_softmax_scale"])
        elif name == "query_bank":
            sums, activated = tensors["bank_log_sums"][numbers], tensors["bank_activated"][numbers]
            rescaled = rescale_by_bank(similarity, sums, activated, info["query_bank_scale"])
            found = compute_retrieval_metrics(rescaled, places)
            found = {key: value for key, value in found.items() if key.startswith("text_to_video")}
        else:
            raise ValueError(f"rescaling: expected some of {', '.join(RESCALINGS)}, got {name!r}.")
        metrics |= {f"{name}_{key}": value for key, value in found.items() if key in METRICS}
    return metrics


def average(galleries: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means over galleries, with their spread, of what all have; counts are sums."""
    shared = set(galleries[0]).intersection(*galleries[1:])
    galleries = [{name: each[name] for name in galleries[0] if name in shared} for each in galleries]
    sums = {name: sum(each[name] for each in galleries) for name in galleries[0] if name.startswith("num_")}
    means = {
        name: value
        for name, value in summarise(galleries).items()
        if not name.startswith(BASELINES) or not name.endswith("_std")
    }
    return {**means, **sums}


def count_rivals(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """
    Of each text, how many videos of its gallery score higher than its own `(texts,)`, and how many others the same `(texts,)`;
    NaN where its video could not be decoded or is in no gallery.
    """
    tensors, info = predictions.tensors, predictions.info
    if "better_videos" in tensors:
        better, tied, unknown = tensors["better_videos"], tensors["tied_videos"], np.isnan(tensors["own_odds"])
    else:
        odds = compute_match_odds(predictions).numpy() if "clip_logits" in tensors else tensors["log_odds"]
        columns = {video_id: column for column, video_id in enumerate(info["video_ids"])}
        gold = np.array([columns[row["video_id"]] for row in predictions.rows])
        places = np.full(len(columns), -1)  # of each video its gallery
        for place, gallery in enumerate(split_galleries(len(columns), info.get("gallery_size"))):
            places[gallery.start : gallery.stop] = place
        own, is_rival = odds[np.arange(len(gold)), gold][:, None], places[gold][:, None] == places
        better, tied = (odds > own) & is_rival, (odds == own) & is_rival
        better, tied, unknown = better.sum(axis=1), tied.sum(axis=1) - 1, np.isnan(own[:, 0]) | (places[gold] < 0)
    return np.where(unknown, np.nan, better), np.where(unknown, np.nan, tied)


def compute_text_ranks(predictions: Predictions) -> np.ndarray:
    """
    The rank `(texts,)` of each text's own video, from 1: the expected one where scores are tied, NaN where the video could
    not be decoded or is in no gallery.
    """
    better, tied = count_rivals(predictions)
    return 1 + better + tied / 2


def values_of_rows(predictions: Predictions, metric: str) -> np.ndarray:
    """
    What each text adds to a metric that is a mean over texts.

    Returns:
        `np.ndarray` of shape `(texts,)`: NaN where its video could not be decoded or is in no gallery.

    Raises:
        ValueError: If the metric is no such mean.
    """
    known = {f"text_to_video_{recall}": k for recall, k in zip(RECALLS, RECALL_AT, strict=True)}
    if metric == "text_to_video_mean_rank":
        return compute_text_ranks(predictions)
    if metric not in known:
        raise ValueError(f"{metric} is no mean over texts; choose one of {', '.join(known)}, text_to_video_mean_rank.")
    better, tied = count_rivals(predictions)
    return np.array(
        [np.nan if np.isnan(b) else first_within(known[metric] - b, t, 1) for b, t in zip(better, tied, strict=True)]
    )


__all__ = ["METRICS", "compute_match_odds", "compute_text_ranks", "count_rivals", "measure", "values_of_rows"]
