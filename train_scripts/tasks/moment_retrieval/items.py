# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Videos with the sentences that ask for a part of them: training items, evaluation items, batches."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from clipbert.processing import FeatureFiles, VideoDecodeError, read_video_metadata
from clipbert.processing.moment_spans import span_targets
from clipbert.processing.sampling import build_rng
from clipbert.processing.segment_plan import plan_windows
from clipbert.train_scripts.engine.items import TrainItems
from clipbert.train_scripts.engine.predictions import Predictions
from clipbert.train_scripts.engine.task import Batch
from clipbert.train_scripts.tasks.classification.items import UNSAID, join_videos
from clipbert.train_scripts.tasks.moment_retrieval.questions import group_questions
from clipbert.train_scripts.tasks.rows import normalise
from clipbert.train_scripts.tasks.scoring import decode_or_explain
from clipbert.train_scripts.tasks.videos import seed_options


SEEN = ("pixel_values", "video_features", "video_mask", "frame_mask", "durations", "starts_s")
NONE = -100  # the segment of a moment that a video does not have


class AskedVideo(NamedTuple):
    """
    A video with questions about it, those of `group_questions`.

    Args:
        video_id (`str`): Its name.
        video (`Any`): A path, or bytes.
        duration_s (`float`, *optional*): Its length as the annotations have it.
        questions (`list[dict]`): In the order of the rows.
    """

    video_id: str
    video: Any
    duration_s: float | None
    questions: list[dict[str, Any]]


def read_durations(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows with the duration of each video, that of the file where annotations have none; `None` if it cannot be read."""
    rows = [dict(row) for row in rows]
    unknown = dict.fromkeys(row["video"] for row in rows if row["duration_s"] is None)
    for video in tqdm(unknown, desc="reading durations", unit="video", disable=None if unknown else True):
        try:
            unknown[video] = read_video_metadata(video).duration
        except (VideoDecodeError, OSError):  # whoever needs it names it
            continue
    return [{**row, "duration_s": row["duration_s"] or unknown.get(row["video"])} for row in rows]


def group_by_video(rows: Sequence[Mapping[str, Any]]) -> list[AskedVideo]:
    """
    Rows of the task `moments` by video, both in order of appearance.

    Args:
        rows (`Sequence[Mapping]`): Rows; those of one question are its windows.
    """
    videos = {row["video_id"]: row["video"] for row in reversed(rows)}  # the first row decides
    found: dict[str, list] = {}
    for question in group_questions(rows):
        found.setdefault(question["video_id"], []).append(question)
    return [AskedVideo(name, videos[name], asked[0]["duration_s"], asked) for name, asked in found.items()]


class SeenVideos:
    """
    Shows videos to a model: what its processor, or what stands in the place of it, makes of one.

    Args:
        reader (`Callable`): Called as a processor is, with `videos`, `seeds` and options, it returns inputs of the model
            (`pixel_values` or `video_features`, with `video_mask`) and `durations`, the seconds that the segments cover.
        options (`Mapping[str, Any]`): Of the processor.
        seed (`int`): Of what is drawn.
        window_seconds (`float`, *optional*): Show a longer video by windows of this length, each as a video of its own.
    """

    def __init__(self, reader: Any, options: Mapping[str, Any], seed: int, window_seconds: float | None = None):
        self.reader, self.seed, self.window_seconds = reader, seed, window_seconds
        self.options = {**options, "return_metadata": True}  # which has the durations

    def show(self, asked: AskedVideo, *key: int) -> dict[str, torch.Tensor]:
        """The inputs of one video, or of its windows, altered by what is drawn from `key`; also `starts_s` of windows."""
        videos, options = [asked.video], self.options | seed_options({**UNSAID, **self.options}, self.seed, *key)
        if self.window_seconds is not None:
            windows = self.reader.video_processor.plan(asked.video, window_seconds=self.window_seconds, **self.options)
            videos, options["spans_se"] = videos * len(windows), [window.span_se for window in windows]
        found = self.reader(videos=videos, **options)
        return {name: found[name] for name in SEEN if name in found}


class FeaturesOfVideos:
    """
    In the place of [`SeenVideos`]: features from files, by the names of videos.

    Args:
        files (`FeatureFiles`): The features.
        processor (`ProcessorMixin`): Brings them to segments.
        window_seconds (`float`, *optional*): As for [`SeenVideos`].
    """

    def __init__(self, files: FeatureFiles, processor: Any, window_seconds: float | None = None):
        self.files, self.processor, self.window_seconds = files, processor, window_seconds

    def show(self, asked: AskedVideo, *key: int) -> dict[str, torch.Tensor]:
        """The features of one video, or of its windows, which nothing alters."""
        features, options = self.files[asked.video_id], {}
        windows = [None]
        if self.window_seconds is not None and asked.duration_s:
            windows = plan_windows(asked.duration_s, self.window_seconds)
            options["spans_se"] = windows
        given = {"video_features": [features] * len(windows), "durations": [asked.duration_s] * len(windows)}
        found = self.processor(**given, **options)
        return {name: found[name] for name in SEEN if name in found}


class HiddenVideos:
    """In the place of [`SeenVideos`] or [`FeaturesOfVideos`]: the same segments, all of which look alike."""

    def __init__(self, seen: Any):
        self.seen = seen

    def show(self, asked: AskedVideo, *key: int) -> dict[str, torch.Tensor]:
        found = self.seen.show(asked, *key)
        return found | {name: torch.ones_like(found[name]) for name in SEEN[:2] if name in found}


class AskedItem(NamedTuple):
    """Inputs of one video, sentences about it, and of each sentence its windows, the one to be learnt first."""

    visual: dict[str, torch.Tensor]
    captions: list[str]
    windows: list[list[tuple[float, float]]]


class AskedVideos(TrainItems):
    """
    Training items: a video with some of its questions. Of a question with several windows one is drawn for each epoch.

    Args:
        videos (`Sequence[AskedVideo]`): The videos.
        seen (`SeenVideos` or `FeaturesOfVideos`): Shows them.
        queries_per_video (`int`, *optional*): Most questions of an item; a video with more is several items.
        seed (`int`): Seed of all choices, which depend on it, the epoch and the item alone.
    """

    def __init__(self, videos: Sequence[AskedVideo], seen: SeenVideos, queries_per_video: int | None, seed: int):
        self.seen, self.seed, self.items = seen, seed, []
        for asked in videos:
            step = queries_per_video or len(asked.questions)
            parts = (asked.questions[first : first + step] for first in range(0, len(asked.questions), step))
            self.items += [asked._replace(questions=part) for part in parts]
        self.ids = [f"{item.video_id}: {item.questions[0]['question_id']}" for item in self.items]

    @property
    def lengths(self) -> list[int]:
        """Seconds of each item, by which `data.group_by_length` puts them together."""
        return [round(item.duration_s or 0) for item in self.items]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, key: tuple[int, int]) -> AskedItem:
        asked, rng = self.items[key[1]], build_rng(self.seed, *key)
        windows = [list(question["windows"]) for question in asked.questions]
        for of_question in windows:
            of_question.insert(0, of_question.pop(int(rng.integers(len(of_question)))))
        return AskedItem(self.seen.show(asked, *key), [each["caption"] for each in asked.questions], windows)


class AskedCollator:
    """
    Items to a batch.

    Args:
        processor (`ProcessorMixin`): Makes words of sentences.
        other_windows (`int`, *optional*, defaults to 0): Let every sentence ask of so many other videos of the batch, too,
            which do not have its moment. The next ones are taken; those that have the same sentence are not.

    Returns (when called with a list of `AskedItem`):
        `Batch`: Inputs of the model. Targets: `start_positions`, `end_positions` `(queries,)`, -100 where a video does not
        have the moment; `segment_labels` `(queries, segments)` where a sentence has several windows; with other videos
        `window_groups` `(queries,)`, the sentence that each row is of.
    """

    def __init__(self, processor: Any, other_windows: int = 0):
        self.processor, self.other_windows = processor, other_windows

    def __call__(self, items: Sequence[AskedItem]) -> Batch:
        visual = join_videos([item.visual for item in items], mask="video_mask")
        durations, counts = visual.pop("durations"), visual["video_mask"].sum(dim=1)
        captions = [caption for item in items for caption in item.captions]
        owners = torch.arange(len(items)).repeat_interleave(torch.tensor([len(item.captions) for item in items]))
        windows = [of_question for item in items for of_question in item.windows]
        spans = torch.tensor([of_question[0] for of_question in windows], dtype=torch.float64)
        starts, ends = span_targets(spans, durations[owners], counts[owners])
        targets = {"start_positions": starts, "end_positions": ends}
        inputs = {**self.processor(text=captions), **visual, "video_indices": owners}
        if any(len(of_question) > 1 for of_question in windows):
            numbers = torch.tensor([n for n, of_question in enumerate(windows) for _ in of_question])
            every = torch.tensor([span for of_question in windows for span in of_question], dtype=torch.float64)
            first, last = span_targets(every, durations[owners[numbers]], counts[owners[numbers]])
            steps = torch.arange(visual["video_mask"].shape[1])
            is_inside = (steps >= first[:, None]) & (steps <= last[:, None])
            targets["segment_labels"] = torch.zeros(len(windows), len(steps)).index_add(0, numbers, is_inside.float())
            targets["segment_labels"].clamp_(max=1)
        if self.other_windows:
            self.add_other_windows(inputs, targets, items, captions)
        return Batch(inputs, targets)

    def add_other_windows(
        self, inputs: dict[str, Any], targets: dict[str, Any], items: Sequence[AskedItem], captions: Sequence[str]
    ) -> None:
        """Rows in which sentences ask of other videos, behind their own."""
        said = [{normalise(caption) for caption in item.captions} for item in items]
        rows, videos = [], []
        for row, (caption, owner) in enumerate(zip(captions, inputs["video_indices"].tolist(), strict=True)):
            others = ((owner + step) % len(items) for step in range(1, len(items)))
            fitting = [other for other in others if normalise(caption) not in said[other]][: self.other_windows]
            rows += [row] * len(fitting)
            videos += fitting
        chosen = torch.tensor([*range(len(captions)), *rows])
        for name in ("input_ids", "attention_mask"):
            inputs[name] = inputs[name][chosen]
        inputs["video_indices"] = torch.cat([inputs["video_indices"], torch.tensor(videos, dtype=torch.int64)])
        targets["window_groups"] = chosen
        for name in ("start_positions", "end_positions"):
            targets[name] = torch.cat([targets[name], targets[name].new_full((len(rows),), NONE)])
        if "segment_labels" in targets:
            labels = targets["segment_labels"]
            targets["segment_labels"] = torch.cat([labels, labels.new_zeros(len(rows), labels.shape[1])])


class EvaluatedVideos(Dataset):
    """
    The videos of an evaluation, one after the other; those that cannot be decoded come with the reason.

    Args:
        videos (`Sequence[AskedVideo]`): The videos.
        seen (`SeenVideos`, `FeaturesOfVideos` or `UnseenVideos`): Shows them.
        processor (`ProcessorMixin`): Makes words of sentences.
        skip (`bool`): Let videos that cannot be decoded pass, with the reason, instead of failing.
    """

    def __init__(self, videos: Sequence[AskedVideo], seen: Any, processor: Any, skip: bool):
        self.videos, self.seen, self.processor, self.skip = videos, seen, processor, skip

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> tuple[int, dict[str, torch.Tensor] | str]:
        return index, decode_or_explain(lambda: self.seen.show(self.videos[index], index), self.skip)

    def collate(self, items: Sequence[tuple[int, dict[str, torch.Tensor] | str]]) -> dict[str, Any]:
        """
        `inputs` of the windows of videos that could be decoded, `texts` of all their questions, and the `rows` `(rows, 2)` of a
        question and one of its windows after the other; `numbers` of all videos, and why the others could not be decoded.
        """
        decoded = [(number, visual) for number, visual in items if not isinstance(visual, str)]
        captions, rows, num_windows = [], [], 0
        for number, visual in decoded:
            windows = range(num_windows, num_windows + len(visual["video_mask"]))
            for question in self.videos[number].questions:
                rows += [(len(captions), window) for window in windows]
                captions.append(question["caption"])
            num_windows = windows.stop
        return {
            "inputs": join_videos([visual for _, visual in decoded], mask="video_mask") if decoded else {},
            "texts": dict(self.processor(text=captions)) if decoded else {},
            "rows": torch.tensor(rows, dtype=torch.int64).reshape(-1, 2),
            "numbers": [number for number, _ in items],
            "num_windows": [0 if isinstance(visual, str) else len(visual["video_mask"]) for _, visual in items],
            "skipped": [visual if isinstance(visual, str) else "" for _, visual in items],
        }


class UnseenVideos:
    """
    In the place of [`SeenVideos`]: videos of which nothing is known but how many segments there are.

    Args:
        vector (`torch.Tensor` of shape `(features,)`): What stands for every segment of every video.
        windows (`Mapping[str, list]`): Of each video that could be decoded, by its name, the start, the end and the number of
            segments of its windows.
    """

    def __init__(self, vector: torch.Tensor, windows: Mapping[str, list[tuple[float, float, int]]]):
        self.vector, self.windows = vector, windows

    @classmethod
    def of(cls, videos: Sequence[AskedVideo], found: Predictions) -> "UnseenVideos":
        """The mean of all segments, every video counting as much, from what `MomentTask.eval_step` has found."""
        means = found.tensors["means"].astype(np.float64)
        vector = torch.from_numpy(means[~np.isnan(means).any(axis=1)].mean(axis=0)).float()
        windows = {videos[row["number"]].video_id: row["windows_seen"] for row in found.rows}
        return cls(vector, {name: seen for name, seen in windows.items() if seen})

    def show(self, asked: AskedVideo, *key: int) -> dict[str, torch.Tensor]:
        if asked.video_id not in self.windows:
            raise VideoDecodeError(asked.video_id, "it could not be decoded before.")
        starts, ends, counts = map(torch.tensor, zip(*self.windows[asked.video_id], strict=True))
        mask = (torch.arange(int(counts.max())) < counts[:, None]).long()
        features = self.vector.where(mask[..., None].bool(), 0.0)
        return {
            "video_features": features,
            "video_mask": mask,
            "durations": (ends - starts).double(),
            "starts_s": starts.double(),
        }


__all__ = [
    "AskedCollator",
    "AskedItem",
    "AskedVideo",
    "AskedVideos",
    "EvaluatedVideos",
    "FeaturesOfVideos",
    "HiddenVideos",
    "SeenVideos",
    "UnseenVideos",
    "group_by_video",
    "read_durations",
]
