# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Pictures into the segments that moment retrieval reads: equal parts of a video, a few frames of each, by time stamps."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers.feature_extraction_utils import BatchFeature
from transformers.video_utils import VideoMetadata

from .decoding import DecodedVideo, DecodedVideoMetadata, VideoDecodeError, read_video_metadata
from .sampling import build_rng
from .segment_plan import plan_segments, plan_windows
from .square_frames import SquareVideoProcessor
from .streaming import FrameChunk, stream_video
from .video_processing import DECODE_OPTIONS, MOST_FRAMES, FrameOptions, Seed, check_span, times_of_frames
from .video_sources import describe_source


PLAN_OPTIONS = ("segments_per_second", "min_segments", "max_segments", "frames_per_segment")


class CIMHAVideoOptions(FrameOptions, total=False):
    """Options of [`CIMHAVideoProcessor`], which documents them."""

    segments_per_second: float | int
    min_segments: int
    max_segments: int
    frames_per_segment: int
    interpolation: str
    augmentation: Any
    segments: Any


class SegmentSample(NamedTuple):
    """The frames of the segments of a video, or of a part of it.

    Attributes:
        frame_indices (`np.ndarray` of shape `(segments, frames)`): Frame numbers, counted from the start of the video; -1
            in segments that are not looked at.
        span_se (`tuple[float, float]`): Start and end of what the segments cover, in seconds.
    """

    frame_indices: np.ndarray
    span_se: tuple[float, float]

    @property
    def duration_s(self) -> float:
        return self.span_se[1] - self.span_se[0]


class CIMHAVideoProcessor(SquareVideoProcessor):
    r"""Turns videos into the `pixel_values`, the `video_mask` and the `frame_mask` of a model that finds moments.

    A video of T seconds is cut into N = clip(ceil(T x `segments_per_second`), `min_segments`, `max_segments`) equal
    segments (section 12). What is seen of a segment are the frames shown at the middles of its equal parts, by time stamps.

    Args:
        segments_per_second (`float`, defaults to 2): Segments a second.
        min_segments, max_segments (`int`, default to 8 and 128): Bounds of their number. Segments of a long video last
            longer; windows of it (`spans_se`) keep them short.
        frames_per_segment (`int`, defaults to 2): Frames of a segment. Short videos show one several times.
        sampling (`str`, defaults to `"uniform"`): The middles of the parts of a segment, or `"random"`, any time within
            them (for training; draws from `seeds`, without them the same as `"uniform"`).
        size, interpolation, augmentation: See [`SquareVideoProcessor`].
        do_rescale, do_normalize (`bool`, default to `True`): Pixels to [0, 1], then less the mean of ImageNet, divided by
            its deviation; an image tower brings its own (`image_mean`, `image_std`).
        segments (`list`, *optional*): For a single call, for each video the numbers of the segments to look at. Only these
            are decoded and lie in `pixel_values`; `grad_segments` `(videos, shown)` has their numbers, rising, -1 for
            padding, and `video_mask` still tells all.
        kwargs: What all video processors share: see [`SparseVideoProcessor`]. There are no clips and no frame rate.

    With `return_metadata` there are also `durations` `(videos,)`, the seconds that the segments cover; `frame_indices` and
    `frame_seconds` `(videos, segments, frames)`; and `video_metadata`.

    Example:
        >>> processor = CIMHAVideoProcessor(size=32, min_segments=4)
        >>> videos = [np.zeros((90, 48, 36, 3), dtype=np.uint8), np.zeros((30, 36, 48, 3), dtype=np.uint8)]
        >>> batch = processor(videos, video_metadata={"fps": 30}, return_metadata=True)
        >>> batch["pixel_values"].shape, batch["video_mask"].sum(dim=1), batch["durations"]
        (torch.Size([2, 6, 2, 3, 32, 32]), tensor([6, 4]), tensor([3., 1.], dtype=torch.float64))
    """

    segments_per_second = 2
    min_segments = 8
    max_segments = 128
    frames_per_segment = 2

    model_input_names = ["pixel_values", "video_mask", "frame_mask", "grad_segments"]
    valid_kwargs = CIMHAVideoOptions
    call_options = (*SquareVideoProcessor.call_options, "segments")

    def sample_frames(self, metadata: VideoMetadata, seed: Seed | None = None, **options: Any) -> SegmentSample:
        """Choose the frames of one video, without opening it.

        Args:
            metadata ([`~transformers.video_utils.VideoMetadata`]): Its number of frames and their times.
            seed (`int`, `str` or `tuple`, *optional*): Key of the random choice.
            options: Options that differ from the processor's own.
        """
        options = {name: getattr(self, name, None) for name in self.valid_kwargs.__annotations__} | options
        return self._sample_part(metadata, None, seed, options)

    def plan(
        self,
        video: Any,
        span_se: tuple[float, float] | None = None,
        window_seconds: float | None = None,
        overlap: float = 0.5,
        **kwargs: Any,
    ) -> list[SegmentSample]:
        """Which frames of a video its segments show, without decoding any.

        Args:
            video: See [`__call__`].
            span_se (`tuple[float, float]`, *optional*): The part to look at, in seconds; all of it by default.
            window_seconds (`float`, *optional*): Cut that into windows which overlap, see `plan_windows`. Each has segments
                of its own.
            overlap (`float`, defaults to 0.5): Share of a window that the next one shows again.
            kwargs: Options of the processor.

        Returns:
            `list[SegmentSample]`: One for each window.

        Raises:
            VideoDecodeError: If the file cannot be read, or the span does not lie in it.
        """
        options = {**self._resolve_options(kwargs), "segments": None}
        fps = (options["video_metadata"] or {}).get("fps")
        decoding = {name: options[name] for name in DECODE_OPTIONS if name not in ("allow_damaged", "num_threads")}
        metadata = read_video_metadata(video, fps=fps, **decoding)
        try:
            whole = self._sample_part(metadata, span_se, None, options)
            if window_seconds is None:
                return [whole]
            start_s = whole.span_se[0]
            windows = plan_windows(whole.duration_s, window_seconds, overlap)
            return [
                self._sample_part(metadata, (start_s + start, start_s + end), None, options) for start, end in windows
            ]
        except ValueError as error:
            raise VideoDecodeError(describe_source(video), str(error)) from error

    def stream(
        self, video: Any, samples: Sequence[SegmentSample], chunk_size: int = 32, **kwargs: Any
    ) -> Iterator[FrameChunk]:
        """The frames of all windows of a video in one pass, each once, in memory that does not depend on its length.

        Args:
            video: See [`__call__`].
            samples (`list[SegmentSample]`): What [`plan`] said.
            chunk_size (`int`, defaults to 32): Most frames of a chunk.
            kwargs: Options of the processor.

        Yields:
            [`FrameChunk`], whose `frames` are `(3, side, side)` each and whose `frame_indices` rise.
        """
        options = self._resolve_options(kwargs)
        yield from stream_video(
            video,
            chunk_size=chunk_size,
            frame_indices=np.unique(np.concatenate([sample.frame_indices.ravel() for sample in samples])),
            transform=self._transform_of(video, options["max_aspect_ratio"], options),
            fps=(options["video_metadata"] or {}).get("fps"),
            **{name: options[name] for name in DECODE_OPTIONS},
        )

    def _options_of_each(self, options: dict[str, Any], num_videos: int) -> list[dict[str, Any]]:
        each, segments = super()._options_of_each(options, num_videos), options["segments"]
        if segments is None:
            return each
        if len(segments) != num_videos:
            raise ValueError(f"Got segments of {len(segments)} videos for {num_videos}: expected a list for each.")
        return [{**one, "segments": of_video} for one, of_video in zip(each, segments, strict=True)]

    def _check_sampling(self, options: dict[str, Any]) -> None:
        super()._check_sampling({**options, "segments": None})  # which are those of a real video

    def _sample_part(
        self,
        metadata: DecodedVideoMetadata,
        span_se: tuple[float, float] | None,
        seed: Seed | None,
        options: dict[str, Any],
    ) -> SegmentSample:
        begins, end_s = times_of_frames(metadata)
        start_s = 0.0
        if span_se is not None:
            check_span(span_se, end_s)
            start_s, end_s = span_se[0], min(span_se[1], end_s)
        plan = plan_segments(end_s - start_s, **{name: options[name] for name in PLAN_OPTIONS})
        seconds = start_s + plan.frames_s
        if options["sampling"] == "random" and seed is not None:
            part_s = (end_s - start_s) / seconds.size
            rng = build_rng(*(seed if isinstance(seed, tuple) else (seed,)))
            seconds = seconds + (rng.random(seconds.shape) - 0.5) * part_s
        # The frame that is shown then; a microsecond, so that the rounding of a container's clock decides nothing.
        numbers = np.searchsorted(begins, seconds + 1e-6, side="right") - 1
        numbers = np.clip(numbers, 0, metadata.total_num_frames - 1)
        if options["segments"] is not None:
            chosen = np.unique(np.asarray(options["segments"], dtype=np.int64))
            if not len(chosen) or chosen[0] < 0 or chosen[-1] >= len(numbers):
                raise ValueError(f"segments: expected some from 0 to {len(numbers) - 1}, got {chosen.tolist()}.")
            numbers[np.isin(np.arange(len(numbers)), chosen, invert=True)] = -1
        return SegmentSample(numbers, (float(start_s), float(end_s)))

    def _assemble(
        self, visuals: Iterable[tuple[DecodedVideo, SegmentSample]], num_visuals: int, options: dict[str, Any]
    ) -> BatchFeature:
        visuals = list(visuals)  # frames are small by now, and the longest video is known at the end
        shapes = {tuple(decoded.frames[0].shape) for decoded, _ in visuals}
        if len(shapes) > 1:
            raise ValueError(
                f"Videos of this batch come out in different sizes: {sorted(shapes)}. Keep `do_resize` on, or process them one "
                "by one."
            )
        shown = [np.flatnonzero(sample.frame_indices[:, 0] >= 0) for _, sample in visuals]
        shape = (num_visuals, max(map(len, shown)), visuals[0][1].frame_indices.shape[1])
        pixel_values = visuals[0][0].frames[0].new_zeros((*shape, *shapes.pop()))
        segments = torch.full(shape[:2], -1, dtype=torch.int64)
        numbers = torch.full(shape, -1, dtype=torch.int64)
        seconds = torch.full(shape, torch.nan, dtype=torch.float64)
        for place, ((decoded, sample), rows) in enumerate(zip(visuals, shown, strict=True)):
            order = np.searchsorted(decoded.metadata.frames_indices, sample.frame_indices[rows])  # (N, K)
            segments[place, : len(rows)] = torch.from_numpy(rows)
            numbers[place, : len(rows)] = torch.from_numpy(sample.frame_indices[rows])
            for row, frames in enumerate(order.tolist()):
                for frame, number in enumerate(frames):
                    pixel_values[place, row, frame] = decoded.frames[number]
            decoded.frames = None  # not all of them twice
            if decoded.metadata.frames_seconds is not None:
                seconds[place, : len(rows)] = torch.tensor(np.array(decoded.metadata.frames_seconds)[order])
        counts = torch.tensor([len(sample.frame_indices) for _, sample in visuals])
        data = {
            "pixel_values": pixel_values,
            "video_mask": (torch.arange(int(counts.max())) < counts[:, None]).long(),
            "frame_mask": (numbers >= 0).long(),
        }
        if options["segments"] is not None:
            data["grad_segments"] = segments
        if options["return_metadata"]:
            data["durations"] = torch.tensor([sample.duration_s for _, sample in visuals], dtype=torch.float64)
            data |= {"frame_indices": numbers, "frame_seconds": seconds}
            data["video_metadata"] = [decoded.metadata for decoded, _ in visuals]
        return BatchFeature(data, options["return_tensors"], skip_tensor_conversion=["video_metadata"])

    def _resolve_options(self, given: dict[str, Any]) -> dict[str, Any]:
        options = super()._resolve_options(given)
        if options["sampling"] not in ("uniform", "random"):
            raise ValueError(f"Expected sampling to be uniform or random, got {options['sampling']!r}.")
        if options["max_segments"] * options["frames_per_segment"] > MOST_FRAMES:
            raise ValueError(
                f"max_segments={options['max_segments']} segments of frames_per_segment={options['frames_per_segment']} are "
                f"more than {MOST_FRAMES} frames of a video."
            )
        plan_segments(1.0, **{name: options[name] for name in PLAN_OPTIONS})
        return options


__all__ = ["PLAN_OPTIONS", "CIMHAVideoProcessor", "SegmentSample"]
