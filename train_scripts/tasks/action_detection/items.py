# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Key frames with the people around them: boxes to train on, boxes to score, batches."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import datasets
import numpy as np
import torch
from torch.utils.data import Dataset

from clipbert.metrics.detection import box_ious
from clipbert.processing import VideoDecodeError
from clipbert.train_scripts.engine.items import TrainItems
from clipbert.train_scripts.engine.task import Batch
from clipbert.train_scripts.tasks.classification.items import mark_labels
from clipbert.train_scripts.tasks.scoring import decode_or_explain
from clipbert.train_scripts.tasks.videos import seed_options


NEEDED = ("key_times_s", "boxes")  # options of a processor that shows people around a moment


class LabelledBoxes(NamedTuple):
    """Boxes `(boxes, 4)` as shares of the picture, each with its classes."""

    boxes: np.ndarray
    labels: list[list[int]]


def boxes_to_train_on(row: Mapping[str, Any], least_score: float | None, least_iou: float) -> LabelledBoxes:
    """
    The people of a key frame and, unless `least_score` is `None`, what a detector took for them: each proposal with such a
    score takes the classes of the person that it overlaps most, if the IoU is `least_iou` or more. Others are left out.
    """
    boxes, labels = np.asarray(row["boxes"], dtype=np.float64).reshape(-1, 4), list(row["labels"])
    if least_score is None or not len(boxes):
        return LabelledBoxes(boxes, labels)
    proposals = likely_proposals(row, least_score)[:, :4]
    overlaps = box_ious(proposals, boxes)
    near, owners = overlaps.max(axis=1) >= least_iou, overlaps.argmax(axis=1)
    return LabelledBoxes(
        np.concatenate([boxes, proposals[near]]), [*labels, *(labels[owner] for owner in owners[near])]
    )


def likely_proposals(row: Mapping[str, Any], least_score: float) -> np.ndarray:
    """Proposals `(boxes, 5)` with a score from `least_score` on."""
    proposals = np.asarray(row["proposals"], dtype=np.float64).reshape(-1, 5)
    return proposals[proposals[:, 4] >= least_score]


class BoxedItem(NamedTuple):
    """One clip with the boxes that are seen in it `(boxes, 4)`, in pixels, and the classes of each."""

    visual: dict[str, torch.Tensor]
    labels: list[list[int]]


class Keyframes:
    """
    Shows a model what is around the key frames of rows, with boxes.

    Args:
        processor: See the contract of detection.
        options (`Mapping[str, Any]`): Which frames are seen, and what alters them.
        seed (`int`): Seed of what is drawn.

    Raises:
        ValueError: If the processor cannot.
    """

    def __init__(self, processor: Any, options: Mapping[str, Any], seed: int):
        video_processor = getattr(processor, "video_processor", processor)
        if missing := [name for name in NEEDED if name not in video_processor.valid_kwargs.__annotations__]:
            raise ValueError(
                f"{type(video_processor).__name__} has no options {', '.join(missing)}: it cannot show people around a key "
                "frame. Choose another model.family."
            )
        self.processor, self.options, self.seed = processor, {**options, "sampling": "key_frame"}, seed

    def show(self, row: Mapping[str, Any], boxes: np.ndarray, *key: int) -> dict[str, torch.Tensor]:
        """What the processor makes of a row, altered by what is drawn from `key`; where that hides all boxes, unaltered."""
        given = {"videos": [row["video"]], "key_times_s": [row["timestamp_s"]], "boxes": [boxes]}
        shown = self.processor(**given, **self.options, **seed_options(self.options, self.seed, *key))
        if not len(shown["boxes"]) and self.options.get("augmentation"):
            shown = self.processor(**given, **{**self.options, "augmentation": None})
        return dict(shown)


class TrainedKeyframes(TrainItems):
    """
    Training items: a key frame with labelled boxes. What is drawn for it depends on (seed, epoch, item) alone.

    Args:
        rows (`datasets.Dataset`): Columns of the kind `detection`; those without people are left out.
        keyframes (`Keyframes`): Shows them.
        least_score (`float`, *optional*): Of proposals that are trained on; `None`: people alone.
        least_iou (`float`): Overlap with a person from which on a proposal has its classes.
    """

    def __init__(self, rows: datasets.Dataset, keyframes: Keyframes, least_score: float | None, least_iou: float):
        has_people = [number for number, labels in enumerate(rows["labels"]) if any(labels)]
        self.rows, self.keyframes = rows.select(has_people), keyframes
        self.least_score, self.least_iou = least_score, least_iou
        self.ids = list(self.rows["keyframe_id"])

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, key: tuple[int, int]) -> BoxedItem:
        epoch, index = key
        row = self.rows[index]
        known = boxes_to_train_on(row, self.least_score, self.least_iou)
        visual = self.keyframes.show(row, known.boxes, epoch, index)
        seen = visual.pop("box_indices").tolist()
        if not seen:
            raise VideoDecodeError(
                str(row["video"]),
                f"none of the {len(known.boxes)} boxes of {row['keyframe_id']} lies in what the model sees of the picture.",
            )
        return BoxedItem(visual, [known.labels[number] for number in seen])


def join_keyframes(visuals: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Inputs of single clips to those of a batch, in which each box says which clip is its own."""
    joined = {name: torch.cat([visual[name] for visual in visuals]) for name in visuals[0]}
    counts = torch.tensor([len(visual["boxes"]) for visual in visuals])
    return {**joined, "video_indices": torch.arange(len(visuals)).repeat_interleave(counts)}


class BoxCollator:
    """
    Items to a batch.

    Args:
        num_labels (`int`): Number of classes.

    Returns (when called with a list of `BoxedItem`):
        `Batch`: Inputs of the model; target `labels` `(boxes, classes)` of 0.0 and 1.0.
    """

    def __init__(self, num_labels: int):
        self.num_labels = num_labels

    def __call__(self, items: Sequence[BoxedItem]) -> Batch:
        labels = mark_labels([labels for item in items for labels in item.labels], self.num_labels)
        return Batch(join_keyframes([item.visual for item in items]), {"labels": torch.from_numpy(labels).float()})


class EvaluatedKeyframes(Dataset):
    """
    The key frames of an evaluation, with the boxes that are to be scored; those that cannot be decoded come with the reason.

    Args:
        rows (`datasets.Dataset`), keyframes (`Keyframes`): As for `TrainedKeyframes`; rows without people stay.
        least_score (`float`, *optional*): Of proposals that are scored; `None`: the boxes of people are scored.
        skip (`bool`): Let videos that cannot be decoded pass, with the reason, instead of failing.
    """

    def __init__(self, rows: datasets.Dataset, keyframes: Keyframes, least_score: float | None, skip: bool):
        self.rows, self.keyframes, self.least_score, self.skip = rows, keyframes, least_score, skip

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[dict[str, Any], dict[str, torch.Tensor] | str]:
        row = self.rows[index]
        asked = [[*box, 1.0] for box in row["boxes"]]
        if self.least_score is not None:
            asked = likely_proposals(row, self.least_score).tolist()
        known = {name: row[name] for name in ("keyframe_id", "video_id", "video", "timestamp_s")}
        known |= {"people": row["boxes"], "gold": row["labels"], "boxes": []}
        if not asked:
            return known, {}
        visual = decode_or_explain(lambda: self.keyframes.show(row, np.array(asked)[:, :4], index), self.skip)
        if isinstance(visual, str):
            return known, visual
        return {**known, "boxes": [asked[number] for number in visual.pop("box_indices").tolist()]}, visual

    def collate(self, items: Sequence[tuple[dict[str, Any], dict[str, torch.Tensor] | str]]) -> dict[str, Any]:
        """`inputs` of those with a box that is seen; the rows of all, and why some could not be decoded."""
        shown = [visual for row, visual in items if row["boxes"]]
        return {
            "inputs": join_keyframes(shown) if shown else {},
            "rows": [row for row, _ in items],
            "skipped": [visual if isinstance(visual, str) else "" for _, visual in items],
        }


__all__ = [
    "BoxCollator",
    "BoxedItem",
    "EvaluatedKeyframes",
    "Keyframes",
    "TrainedKeyframes",
    "boxes_to_train_on",
    "join_keyframes",
]
