# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Pictures into the frames that CNN-RNN classifiers see: the square in the middle, resized, as ImageNet models take it.

Clips keep the frames they have: a batch is as long as its longest clip, and `frame_mask` says which frames are there.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from transformers.feature_extraction_utils import BatchFeature
from transformers.video_utils import VideoMetadata

from .decoding import DecodedVideo, DecodedVideoMetadata
from .sampling import build_rng
from .square_frames import SquareVideoProcessor
from .streaming import FrameChunk, stream_video
from .video_processing import DECODE_OPTIONS, Seed, VideoOptions
from .window_sampling import WindowSample, sample_windows


# What the course report (VNU, 2024) reads: the first 100 frames, resized as OpenCV does, pixels from 0 to 255.
REPORT = {
    "sampling": "first",
    "num_frames": 100,
    "interpolation": "cv2_bilinear",
    "do_rescale": False,
    "do_normalize": False,
}
PRESETS = {"report_120": {**REPORT, "size": 120}, "report_480": {**REPORT, "size": 480}}


class CNNRNNVideoOptions(VideoOptions, total=False):
    """Options of [`CNNRNNVideoProcessor`], which documents them."""

    stride: int
    interpolation: str
    augmentation: Any


class CNNRNNVideoProcessor(SquareVideoProcessor):
    r"""Turns videos into the `pixel_values` and the `frame_mask` of a CNN-RNN classifier.

    Args:
        sampling (`str`, defaults to `"uniform"`): Which frames: `"uniform"`, `"first"`, `"segment_random"` (for training;
            draws from `seeds`, without them the same as `"uniform"`), `"all"`, `"fps"` or `"multi_clip"`. See
            `sample_windows`. No frame is taken twice: of a short video there are fewer.
        num_frames (`int`, defaults to 16): Most frames of a window. `None` in a call means the saved one, and `"all"` and
            `"fps"` have no such bound, so that pipelines that state a number of frames read them rightly, too.
        num_clips (`int`, defaults to 1): Windows of `"multi_clip"`.
        stride (`int`, defaults to 1): Step of `"all"` and `"first"`.
        fps (`float`, *optional*): Frames a second of `"fps"`.
        size (`int` or `dict`, defaults to `{"height": 224, "width": 224}`): Side of the square that the model sees.
        interpolation (`str`, defaults to `"bilinear"`): `"bilinear"` or `"bicubic"`, with antialiasing, or
            `"cv2_bilinear"`, which is OpenCV's `INTER_LINEAR` on bytes (without).
        do_rescale, do_normalize (`bool`, default to `True`): Pixels to [0, 1], then less the mean of ImageNet, divided by
            its deviation.
        augmentation (`dict`, *optional*): How clips are changed in training; see [`Augmentation`]. It draws from `seeds`;
            without them nothing is changed.
        kwargs: What all video processors share: see [`SparseVideoProcessor`].

    `CNNRNNVideoProcessor(**PRESETS["report_120"])` reads as the course report does; so does `"report_480"`.

    Example:
        >>> processor = CNNRNNVideoProcessor(size=32)
        >>> batch = processor([np.zeros((30, 48, 36, 3), dtype=np.uint8), np.zeros((5, 36, 48, 3), dtype=np.uint8)])
        >>> batch["pixel_values"].shape, batch["frame_mask"].sum(dim=1)
        (torch.Size([2, 16, 3, 32, 32]), tensor([16,  5]))
    """

    sampling = "uniform"
    num_frames = 16
    num_clips = 1
    stride = 1

    model_input_names = ["pixel_values", "frame_mask"]
    valid_kwargs = CNNRNNVideoOptions
    streamed_samplings = ("all", "first")

    def sample_frames(self, metadata: VideoMetadata, seed: Seed | None = None, **options: Any) -> WindowSample:
        """Choose the frames of one video, without opening it.

        Args:
            metadata ([`~transformers.video_utils.VideoMetadata`]): Its number of frames, and their times for `"fps"`.
            seed (`int`, `str` or `tuple`, *optional*): Key of the random choice.
            options: Options that differ from the processor's own.

        Returns:
            `WindowSample`: `frame_indices` of shape `(windows, frames)`, -1 where a window has none.
        """
        options = {name: getattr(self, name, None) for name in self.valid_kwargs.__annotations__} | options
        if not options["do_sample_frames"]:
            options |= {"sampling": "all", "stride": 1}
        return sample_windows(
            metadata.total_num_frames,
            metadata.fps,
            sampling=options["sampling"],
            num_frames=options["num_frames"],
            num_clips=options["num_clips"],
            stride=options["stride"],
            rate=options["fps"],
            rng=None if seed is None else build_rng(*(seed if isinstance(seed, tuple) else (seed,))),
            timing=getattr(metadata, "timing", None),
        )

    def stream(
        self, video: Any, chunk_size: int = 32, frame_indices: np.ndarray | None = None, **kwargs: Any
    ) -> Iterator[FrameChunk]:
        """The frames of one video, a few at a time: those that calling the processor gives, in memory that does not depend on
        the length of the video.

        Args:
            video: See [`__call__`].
            chunk_size (`int`, defaults to 32): Most frames of a chunk.
            frame_indices (`np.ndarray` of shape `(frames,)`, *optional*): Rising numbers of the frames to take, instead of
                those that `sampling` chooses.
            kwargs: Options of the processor. `sampling` is one of `streamed_samplings`, unless frames are given.

        Yields:
            [`FrameChunk`], whose `frames` are `(3, side, side)` each.
        """
        options = self._resolve_options(kwargs)
        if frame_indices is None and not self._can_stream(options):
            asked = "a part (spans_se)" if options["spans_se"] is not None else f"sampling={options['sampling']!r}"
            raise ValueError(
                f"{asked} has to know how long a video is before it is read: only {' and '.join(self.streamed_samplings)} "
                "of a whole video stream."
            )
        (seed,) = self._seed_for_each(options, 1)
        yield from self._stream(video, seed, options, chunk_size, frame_indices)

    def _can_stream(self, options: dict[str, Any]) -> bool:
        is_open_ended = options["sampling"] in self.streamed_samplings or not options["do_sample_frames"]
        return is_open_ended and options["spans_se"] is None

    def _stream(
        self,
        video: Any,
        seed: Seed | None,
        options: dict[str, Any],
        chunk_size: int = 32,
        frame_indices: np.ndarray | None = None,
    ) -> Iterator[FrameChunk]:
        is_whole = not options["do_sample_frames"] or frame_indices is not None
        is_first = options["sampling"] == "first" and not is_whole
        stride = 1 if is_whole else options["stride"]
        return stream_video(
            video,
            chunk_size=chunk_size,
            stride=stride,
            stop=(options["num_frames"] - 1) * stride + 1 if is_first else None,
            frame_indices=frame_indices,
            transform=self._transform_of(video, options["max_aspect_ratio"], options, seed),
            **{name: options[name] for name in DECODE_OPTIONS},
        )

    def _load_video(
        self, video: Any, seed: Seed | None, video_fps: float | None, options: dict[str, Any]
    ) -> tuple[DecodedVideo, WindowSample]:
        """One pass also where packets do not tell how many frames there are, unless that is asked for."""
        if options["return_metadata"] or not self._can_stream(options):
            return super()._load_video(video, seed, video_fps, options)
        chunks = list(self._stream(video, seed, options))
        numbers = np.concatenate([chunk.frame_indices for chunk in chunks])
        frames = [frame for chunk in chunks for frame in chunk.frames]
        metadata = DecodedVideoMetadata(int(numbers[-1]) + 1, frames_indices=numbers.tolist())
        return DecodedVideo(frames, metadata), WindowSample(numbers[None])

    def _assemble(
        self, visuals: Iterable[tuple[DecodedVideo, WindowSample]], num_visuals: int, options: dict[str, Any]
    ) -> BatchFeature:
        visuals = list(visuals)  # frames are small by now, and the longest clip is known at the end
        indices = [sample.frame_indices for _, sample in visuals]
        num_windows, num_frames = (max(each.shape[axis] for each in indices) for axis in (0, 1))
        shapes = {tuple(decoded.frames[0].shape) for decoded, _ in visuals}
        if len(shapes) > 1:
            raise ValueError(
                f"Videos of this batch come out in different sizes: {sorted(shapes)}. Keep `do_resize` on, or process them one "
                "by one."
            )
        first = visuals[0][0].frames[0]
        pixel_values = first.new_zeros((num_visuals, num_windows, num_frames, *first.shape))
        numbers = torch.full((num_visuals, num_windows, num_frames), -1, dtype=torch.int64)
        seconds = torch.full(numbers.shape, torch.nan, dtype=torch.float64)
        for place, (decoded, sample) in enumerate(visuals):
            chosen = torch.from_numpy(sample.frame_indices)
            numbers[place, : chosen.shape[0], : chosen.shape[1]] = chosen
            there = numbers[place] >= 0
            known = decoded.metadata.frames_indices
            order = np.searchsorted(known, numbers[place][there].numpy())
            for row, number in zip(there.nonzero().tolist(), order.tolist(), strict=True):
                pixel_values[place, *row] = decoded.frames[number]
            decoded.frames = None  # not all of them twice
            if decoded.metadata.frames_seconds is not None:
                seconds[place][there] = torch.tensor(np.array(decoded.metadata.frames_seconds)[order])
        data = {"pixel_values": pixel_values, "frame_mask": (numbers >= 0).long()}
        if options["return_metadata"]:
            data |= {"frame_indices": numbers, "frame_seconds": seconds}
        if options["sampling"] != "multi_clip":
            data = {name: values[:, 0] for name, values in data.items()}
        if options["return_metadata"]:
            data["video_metadata"] = [decoded.metadata for decoded, _ in visuals]
        return BatchFeature(data, options["return_tensors"], skip_tensor_conversion=["video_metadata"])

    def _resolve_options(self, given: dict[str, Any]) -> dict[str, Any]:
        options = super()._resolve_options(given)
        if options["fps"] is not None and not 0 < options["fps"] < float("inf"):
            raise ValueError(f"fps must be a positive number of frames a second, got {options['fps']!r}.")
        return options
