# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Frame vectors from disk in the place of videos: `data.features`.

For tasks whose recipe has a [`FeatureSection`], which ask [`choose_reader`] for what gives them inputs, and have `videos`, a list for each
split, once they are built: `extract.py` fills the folder by that.
"""

import logging
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from clipbert.processing import (
    CachedFeatures,
    FeatureCache,
    FeatureFingerprint,
    SparseVideoProcessor,
    VideoDecodeError,
)
from clipbert.processing.decoding_count import note_decoded
from clipbert.processing.feature_cache import Fault, VideoContent
from clipbert.processing.sampling import build_rng
from clipbert.support.options import changeable
from clipbert.support.terminal import printable
from clipbert.train_scripts.engine.recipe import Recipe
from clipbert.train_scripts.engine.report import place_of_script
from clipbert.train_scripts.tasks.extraction import ExtractionJob, FeatureCacheError, read_contents, show_faults
from clipbert.train_scripts.tasks.holdings import describe_holdings
from clipbert.train_scripts.tasks.videos import RANDOM_SAMPLING, FrameSection, video_options


logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class FeatureSection(FrameSection):
    """Data of a task that can read frame vectors in the place of videos."""

    features: str | None = changeable(
        None, "Folder of frame vectors, filled by extract.py, to read in the place of videos; null: read the videos."
    )


class CachedVideos:
    """
    Called as the processor of a model is, for the vectors of frames instead of their pixels.

    Args:
        paths (`Mapping[str, Sequence[Path]]`): For each video, by its path or the SHA-256 of its bytes, the files of its
            versions; the first is the video as it is. Videos that could not be decoded have none.
        dtype (`str`): In which vectors are stored.
    """

    def __init__(self, paths: Mapping[str, Sequence[Path]], dtype: str):
        self.paths, self.dtype = paths, dtype

    def __call__(
        self, videos: Sequence[Any], seeds: Sequence[tuple] | None = None, **options: Any
    ) -> dict[str, torch.Tensor]:
        """
        The vectors of one video.

        Args:
            videos (`Sequence`): One video.
            seeds (`Sequence[tuple]`, *optional*): One key, from which one of its altered versions is drawn. Without it,
                or where there are none, it is the video as it is.
            options: What a processor is called with; a cache was made with them already.

        Returns:
            `dict`: `frame_features` `(1, T, D)` or `(1, N, T, D)`, float32, and `frame_mask` without D; of [`CachedSegments`]
            `video_features` `(1, N, D)`, `video_mask` `(1, N)` and `durations` `(1,)`.
        """
        (video,) = videos
        note_decoded(0)
        paths = self.paths.get(key_of(video))
        if not paths:
            raise VideoDecodeError(printable(str(video)[:200]), "it has no features; extract.py says why.")
        is_drawn = seeds is not None and len(paths) > 1
        return self.inputs_of(
            FeatureCache.read(paths[build_rng(*seeds[0]).integers(1, len(paths))] if is_drawn else paths[0])
        )

    @staticmethod
    def inputs_of(found: CachedFeatures) -> dict[str, torch.Tensor]:
        """What a model reads, with a first dimension of one video."""
        return {"frame_features": found.features.float()[None], "frame_mask": found.frame_mask[None]}

    def num_frames(self, video: Any) -> int:
        """Frames of a video, of a window where there are several; 0 where it has no features."""
        paths = self.paths.get(key_of(video))
        return FeatureCache.read(paths[0]).frame_indices.shape[-1] if paths else 0


class CachedSegments(CachedVideos):
    """The same for models that read segments: the means over their frames."""

    @staticmethod
    def inputs_of(found: CachedFeatures) -> dict[str, torch.Tensor]:
        features = found.segment_features[None]
        mask = torch.ones(features.shape[:2], dtype=torch.int64)
        return {"video_features": features, "video_mask": mask, "durations": found.duration_s[None]}


def key_of(video: Any) -> str:
    return video if isinstance(video, str) else VideoContent.of(video).sha256


@dataclass
class FeaturePlan:
    """
    The frame vectors that a run reads.

    Args:
        files (`dict[tuple, ExtractionJob]`): One job for each file, by content of the video and version.
        videos (`dict[str, dict[int, ExtractionJob]]`): The versions of each video; copies of a video share files.
        unreadable (`dict[str, str]`): Files of videos that cannot be read, with reasons.
    """

    files: dict[tuple[str, int], ExtractionJob] = field(default_factory=dict)
    videos: dict[str, dict[int, ExtractionJob]] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)

    @property
    def jobs(self) -> list[ExtractionJob]:
        return list(self.files.values())

    def add(self, job: ExtractionJob) -> None:
        """
        Raises:
            ValueError: If the video is seen in two ways, of which a folder can only hold one.
        """
        known = self.files.setdefault((job.content.sha256, job.version), job)
        if known.fingerprint != job.fingerprint:
            change = "; ".join(job.fingerprint.differences(vars(known.fingerprint)))
            raise ValueError(
                f"data.features: {job.content.name} is used to train and to evaluate, and seen in two ways ({change}). A "
                "folder of features holds one: let eval.sampling, eval.num_frames and the like be those of data, or leave "
                "that split out."
            )
        self.videos.setdefault(key_of(job.video), {})[job.version] = known


def plan_features(
    recipe: Recipe,
    model: PreTrainedModel,
    processor: Any,
    videos: Mapping[str, Sequence[Any]],
    dtype: str = "float16",
    num_versions: int = 0,
) -> FeaturePlan:
    """
    Which frame vectors a run reads: those of the videos it trains on and of those it evaluates.

    Args:
        recipe (`Recipe`): The run.
        model (`PreTrainedModel`): With a `frame_encoder`.
        processor: Makes frames of videos.
        videos (`Mapping[str, Sequence]`): Paths, or bytes, by split; those that the run reads are taken.
        dtype (`str`, *optional*, defaults to `"float16"`): In which vectors are stored.
        num_versions (`int`, *optional*, defaults to 0): Altered versions of each training video.

    Raises:
        ValueError: See [`FeaturePlan.add`].
    """
    plan, seed, processor = FeaturePlan(), recipe.run.seed, video_processor_of(processor)
    for split, is_training in splits_read(recipe):
        ways = [
            (version, options, FeatureFingerprint.of(model, processor, options, dtype, seed=seed if version else None))
            for version, options in _ways(recipe, processor, is_training, num_versions if is_training else 0)
        ]
        found = list(dict.fromkeys(videos[split]))
        for video, content in zip(found, read_contents(found), strict=True):
            if isinstance(content, OSError):
                plan.unreadable[printable(str(video)[:200])] = str(content)
                continue
            for version, options, fingerprint in ways:
                plan.add(ExtractionJob(video, content, fingerprint, options, version, seed))
    return plan


def video_processor_of(processor: Any) -> Any:
    """The part of a processor that sees videos."""
    return getattr(processor, "video_processor", processor)


def splits_read(recipe: Recipe) -> list[tuple[str, bool]]:
    """The splits whose videos a run reads, and whether it trains on them."""
    trained = [(recipe.data.train_split, True)] if recipe.run.total_steps != 0 else []
    return [*trained, *((split, False) for split in recipe.eval.splits)]


def _ways(
    recipe: Recipe, processor: Any, is_training: bool, num_versions: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each version of a video with the options of the processor for it; version 0 draws nothing."""
    options = video_options(recipe, processor, is_training)
    plain = options
    if options.get("sampling") in RANDOM_SAMPLING:
        plain = video_options(recipe, processor, is_training=False)
    yield 0, {name: value for name, value in plain.items() if name != "augmentation"}
    yield from ((version, options) for version in range(1, num_versions + 1))


def what_is_drawn(recipe: Recipe, processor: Any) -> str | None:
    """The option of `data` by which a training video is seen otherwise in each epoch; `None` if there is none."""
    if recipe.run.total_steps == 0:
        return None
    options = video_options(recipe, processor, is_training=True)
    if options.get("augmentation"):
        return "augmentation"
    return f"sampling={options['sampling']}" if options.get("sampling") in RANDOM_SAMPLING else None


def card_of_run(recipe: Recipe, model: PreTrainedModel, processor: Any) -> dict[str, Any] | None:
    """The card of the vectors that a frozen frame encoder makes of the frames of a run; `None` where it has no such thing."""
    if getattr(model, "frame_encoder", None) is None or any(
        each.requires_grad for each in model.frame_encoder.parameters()
    ):
        return None
    options = video_options(recipe, processor, is_training=False)
    return FeatureFingerprint.of(model, video_processor_of(processor), options).card(model.frame_feature_size)


def check_encoder(model: PreTrainedModel) -> None:
    """
    Raise if there is no sense in keeping what a model makes of frames.

    Raises:
        ValueError: If it has no frame encoder, or one that is trained: its vectors would change with every step.
    """
    if getattr(model, "frame_encoder", None) is None or not hasattr(model, "encode_frames"):
        raise ValueError(
            f"data.features: {type(model).__name__} does not encode frames one by one (it has no `frame_encoder` and "
            "`encode_frames`), so there are no vectors of them to keep."
        )
    if trained := [name for name, value in model.frame_encoder.named_parameters() if value.requires_grad]:
        raise ValueError(
            f"data.features: {len(trained)} weights of the frame encoder are trained ({trained[0]}, ...), and with them "
            "what it makes of frames changes. Freeze it (model.overrides={backbone_trainable: none}), or train from "
            "videos (data.features=null)."
        )


def choose_reader(
    recipe: Recipe,
    model: PreTrainedModel,
    processor: Any,
    videos: Mapping[str, Sequence[Any]],
    kind: type[CachedVideos] = CachedVideos,
) -> Any:
    """
    What gives a run its inputs: the processor, or, with `data.features`, [`CachedVideos`]. Says what the data take.

    Args:
        recipe, model, processor, videos: See [`plan_features`].
        kind (`type`, *optional*): What reads the vectors: `CachedVideos` or `CachedSegments`.
    """
    is_cached = recipe.data.features is not None
    reader = open_features(recipe, model, processor, videos, kind) if is_cached else processor
    seen_by = video_processor_of(processor)
    if getattr(model, "frame_encoder", None) is not None and isinstance(seen_by, SparseVideoProcessor):
        every = list(dict.fromkeys(video for split, _ in splits_read(recipe) for video in videos[split]))
        options = video_options(recipe, processor, recipe.run.total_steps != 0)
        held = describe_holdings(model, seen_by, every, options, reader.dtype if is_cached else "float16")
        logger.info(f"{held} They are {'read' if is_cached else 'decoded and encoded'} in each epoch, and not held.")
    return reader


def open_features(
    recipe: Recipe,
    model: PreTrainedModel,
    processor: Any,
    videos: Mapping[str, Sequence[Any]],
    kind: type[CachedVideos] = CachedVideos,
) -> CachedVideos:
    """
    The vectors that a run reads in the place of its videos.

    Args:
        recipe, model, processor, videos, kind: See [`choose_reader`]. The folder is `data.features`.

    Raises:
        FeatureCacheError: If files were made otherwise, are damaged, or missing where `data.on_decode_error` is `raise`;
            the message says what has changed.
        ValueError: See [`check_encoder`].
    """
    check_encoder(model)
    cache = FeatureCache(recipe.data.features)
    stored = list(cache.metadata())
    if not stored:
        raise FeatureCacheError(f"data.features={cache.folder}: there are no features. {_advise(recipe)}")
    num_versions = max(entry["version"] for entry in stored)
    if draws := what_is_drawn(recipe, processor):
        if not num_versions:
            raise FeatureCacheError(
                f"data.features={cache.folder}: {draws} alters videos while training, and the folder has them as they are "
                f"alone. Extract with --augmented_versions 4, or so, or leave data.{draws} out."
            )
    else:
        num_versions = 0
    plan = plan_features(recipe, model, processor, videos, stored[-1]["dtype"], num_versions)
    found = {key: job.find_fault(cache) for key, job in plan.files.items()}
    faults = [fault for fault in found.values() if fault is not None]
    faults += [Fault("missing", name, reason) for name, reason in plan.unreadable.items()]
    if recipe.data.on_decode_error == "skip":  # the loop counts what is missing
        faults = [fault for fault in faults if fault.kind != "missing"]
    if faults:
        raise FeatureCacheError(
            f"data.features={cache.folder}: {len(faults)} of {len(found)} files are not what this run "
            f"needs:{show_faults(faults)}\n{_advise(recipe)}"
        )
    paths = {
        video: [cache.path_of(job.content, version) for version, job in sorted(versions.items())]
        for video, versions in plan.videos.items()
        if all(found[job.content.sha256, version] is None for version, job in versions.items())
    }
    return kind(paths, stored[-1]["dtype"])


def _advise(recipe: Recipe) -> str:
    command = shlex.join([*place_of_script("extract"), *recipe.arguments])
    return f"This makes them, and replaces those that were made otherwise: python {command}"


__all__ = [
    "CachedSegments",
    "CachedVideos",
    "FeaturePlan",
    "FeatureSection",
    "card_of_run",
    "check_encoder",
    "choose_reader",
    "open_features",
    "plan_features",
    "what_is_drawn",
]
