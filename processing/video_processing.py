# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What every video processor shares: options, seeds, which frames, decoding them once, and the batch they make.

A family's own processor says how a picture becomes a frame of its model, and with which settings: see
[`SparseVideoProcessor`].
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any, TypedDict
from weakref import WeakKeyDictionary

import numpy as np
import torch
from transformers.feature_extraction_utils import BatchFeature
from transformers.image_utils import SizeDict
from transformers.utils import TensorType
from transformers.video_processing_utils import BaseVideoProcessor
from transformers.video_utils import VideoMetadata

from .decoding import (
    DEFAULT_MAX_PIXELS,
    DEFAULT_TIMEOUT_S,
    DecodedVideo,
    DecodedVideoMetadata,
    VideoDecodeError,
    decode_video,
)
from .option_checks import SIMPLE_TYPES, check_option_types, refuse_unknown_options
from .pictures import holds_frames
from .sampling import ClipSample, VideoTiming, build_rng, sample_clips
from .transforms import check_channel_statistics
from .video_sources import describe_source
from .visual_inputs import load_image, make_image_batch, make_video_batch


DECODE_OPTIONS = (
    "stream_index",
    "allow_truncated",
    "allow_damaged",
    "square_pixels",
    "num_threads",
    "timeout_s",
    "max_pixels",
)
CALL_OPTIONS = ("seeds", "spans_se", "video_metadata", "device", "return_tensors")
# options of which None says something; see the docs
OPTIONAL = ("fps", "max_aspect_ratio", "num_threads", "timeout_s", "max_pixels", *CALL_OPTIONS)
# Far more than any model looks at; what is larger is a mistake, and would take all memory before it is noticed.
LARGEST_SIDE, MOST_FRAMES = 2**13, 2**16
# Seconds by which a span may overrun its video: annotators round. The same as for rows of moments.
SPAN_OVERRUN_S = 0.5
# Options of a video, or of its pictures, that have no say in which frames are possible.
NOT_OF_SAMPLING = (
    "seeds",
    "video_metadata",
    "spans_se",
    "size",
    "image_mean",
    "image_std",
    "device",
    "return_tensors",
)
# Of each processor the options by which frames were chosen last: not an attribute, which would be saved with it.
_POSSIBLE: WeakKeyDictionary["SparseVideoProcessor", dict[str, Any]] = WeakKeyDictionary()
# What the library itself writes into saved settings.
SERVICE_KEYS = ("auto_map", "processor_class", "video_processor_type", "transformers_version")

Seed = int | str | tuple[int | str, ...]


class FrameOptions(TypedDict, total=False):
    """Options of whatever decodes videos and transforms frames; [`SparseVideoProcessor`] documents them."""

    sampling: str
    do_resize: bool
    size: int | dict[str, int] | SizeDict
    max_aspect_ratio: float | int | None
    do_rescale: bool
    rescale_factor: float | int
    do_normalize: bool
    image_mean: float | int | list[float | int] | tuple[float | int, ...]
    image_std: float | int | list[float | int] | tuple[float | int, ...]
    stream_index: int
    allow_truncated: bool
    allow_damaged: bool
    square_pixels: bool
    num_threads: int | None
    timeout_s: float | int | None
    max_pixels: int | None
    return_metadata: bool
    seeds: Any
    spans_se: Any
    video_metadata: Any
    device: Any
    return_tensors: str | TensorType | None


class VideoOptions(FrameOptions, total=False):
    """Options of processors that look at clips; [`SparseVideoProcessor`] documents them."""

    num_clips: int
    num_frames: int
    fps: float | int | None
    do_sample_frames: bool


class SparseVideoOptions(VideoOptions, total=False):
    """Options of [`SparseVideoProcessor`], which documents them."""

    placement: str
    short_video: str


class SparseVideoProcessor(BaseVideoProcessor):
    r"""Turns videos, or images, into the `pixel_values` of a model that sees a few frames of a few clips.

    Every option is a default that is saved with the processor, and can be given to a single call instead. A family's
    processor states `size`, `image_mean`, `image_std` and what else is its own, and has a method [`transform`]; one with
    options of its own extends [`SparseVideoOptions`] and names the result in `valid_kwargs`.

    Args:
        num_clips (`int`, defaults to 4): Clips of a video.
        num_frames (`int`, defaults to 2): Frames of a clip.
        fps (`float`, *optional*): Frames a second inside a clip, which then lasts `num_frames / fps` seconds. `None`
            makes the clips the `num_clips` equal parts of the video. (The original ClipBERT fine-tunes with 2, or 1.)
        sampling (`str`, defaults to `"uniform"`): Where the clips lie: `"uniform"`, `"random"` (for training),
            `"start"`, `"middle"`, `"end"` or `"whole_video"`.
        placement (`str`, defaults to `"even"`): `"even"` covers the whole video, `"official"` repeats the choices of
            the original code of ClipBERT, for comparison with numbers measured with it.
        short_video (`str`, defaults to `"repeat"`): What to do with videos too short for their clips: `"repeat"`
            frames, `"mask"` the clips that do not exist (adds `clip_mask` to the output of every call), or `"error"`.
        do_sample_frames (`bool`, defaults to `True`): `False` takes all frames of a video as its one clip.
        do_resize (`bool`, defaults to `True`): Whether to bring frames to `size`.
        size (`int` or `dict`): The size that the model sees.
        max_aspect_ratio (`float`, *optional*): Videos more elongated than that are refused. `None` takes all. Images
            are never refused.
        do_rescale (`bool`, defaults to `True`): Whether to multiply pixels by `rescale_factor` before normalisation,
            as CNNs trained on pixels in [0, 1] need it.
        rescale_factor (`float`, defaults to 1/255): See `do_rescale`.
        do_normalize (`bool`, defaults to `True`): Whether to subtract `image_mean` and divide by `image_std`.
        image_mean (`list[float]`): Mean of R, G and B.
        image_std (`list[float]`): Standard deviation of R, G and B.
        stream_index, allow_truncated, allow_damaged, square_pixels, num_threads, timeout_s, max_pixels: How videos are
            decoded, and when that is given up. See `decode_video`.
        return_metadata (`bool`, defaults to `False`): Whether to return which frames of which videos were taken.

    Only for a single call:

    Args:
        seeds (`list`, *optional*): For `sampling="random"`, one key for each video, an `int` or a tuple such as
            `(seed, epoch, sample_id)`: the same key gives the same clips, whatever else the batch holds and whichever
            worker prepares it. One `int` seeds a whole batch. Without it, `torch.manual_seed` decides.
        spans_se (`list`, *optional*): For each video the part to look at, `(start_s, end_s)` in seconds from its first
            frame, or `None` for the whole of it. Frames are chosen as if the part were the video, and nothing else is
            decoded; `frame_indices` and `frame_seconds` still count from the start of the video.
        video_metadata (`dict` or `list[dict]`, *optional*): `{"fps": ...}` of videos given as arrays or lists of
            images, which do not know it themselves. Needed if `fps` is used on them.
        device (`str` or `torch.device`, *optional*): Where to transform frames.
        return_tensors (`str`, defaults to `"pt"`): `"pt"` or `"np"`.

    Example:
        >>> class SquareVideoProcessor(SparseVideoProcessor):
        ...     size = {"height": 32, "width": 32}
        ...
        ...     def transform(self, picture, options):
        ...         frames = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
        ...         return torch.nn.functional.interpolate(frames, size=(options["size"].height, options["size"].width))[0]

        >>> processor = SquareVideoProcessor(num_clips=3)
        >>> processor(np.zeros((30, 48, 36, 3), dtype=np.uint8))["pixel_values"].shape
        torch.Size([1, 3, 2, 3, 32, 32])
    """

    num_clips = 4
    num_frames = 2
    fps = None
    sampling = "uniform"
    placement = "even"
    short_video = "repeat"
    do_sample_frames = True
    do_resize = True
    max_aspect_ratio = None
    do_rescale = True
    rescale_factor = 1 / 255
    do_normalize = True
    stream_index = 0
    allow_truncated = False
    allow_damaged = False
    square_pixels = True
    num_threads = None
    timeout_s = DEFAULT_TIMEOUT_S
    max_pixels = DEFAULT_MAX_PIXELS
    return_metadata = False

    model_input_names = ["pixel_values", "clip_mask"]
    valid_kwargs = SparseVideoOptions
    call_options = CALL_OPTIONS  # about one batch: never saved

    def __init__(self, **kwargs: Any):
        saved = [name for name in self.valid_kwargs.__annotations__ if name not in self.call_options]
        refuse_unknown_options(kwargs, [*saved, *SERVICE_KEYS], type(self).__name__)
        kwargs = {
            name: value for name, value in kwargs.items() if value is not None or name in OPTIONAL
        }  # as in a call
        super().__init__(**kwargs)
        for name in OPTIONAL:  # the base class takes None for "not given"
            if name in kwargs:
                setattr(self, name, kwargs[name])
        self._check_sampling(self._resolve_options({name: kwargs[name] for name in kwargs if name in saved}))

    def __call__(self, videos: Any = None, images: Any = None, **kwargs: Any) -> BatchFeature:
        """Prepare videos or images.

        Args:
            videos: One video or a list: paths, URLs, bytes, open files, uint8 arrays or tensors of shape `(frames,
                height, width, 3)`, lists of PIL images, `{"path": ..., "bytes": ...}` as data sets give it undecoded.
            images: One image or a list, of the same kinds, instead of videos. An image is a video of one clip of one
                frame.
            kwargs: Options of the processor, for this call.

        Returns:
            [`~transformers.BatchFeature`] with

            - **pixel_values** of shape `(videos, clips, frames, 3, height, width)`, float32;
            - **clip_mask** of shape `(videos, clips)`, 1 = clip exists, if `short_video="mask"`;
            - **frame_indices** and **frame_seconds** of shape `(videos, clips, frames)`, seconds counted from the
              first frame and NaN where unknown, and **video_metadata**, a list of `DecodedVideoMetadata`, if
              `return_metadata=True`.

        Raises:
            VideoDecodeError: If a video or an image cannot be read, is too elongated, is too short and
                `short_video="error"`, or ends before its span; names it.
            TypeError: If an option is unknown.
            ValueError: If an option is out of range, or frames come out in different sizes.
        """
        return self.preprocess(videos, images, **kwargs)

    def preprocess(self, videos: Any = None, images: Any = None, **kwargs: Any) -> BatchFeature:
        """The same as calling the processor."""
        refuse_unknown_options(kwargs, self.valid_kwargs.__annotations__, type(self).__name__)
        if (videos is None) == (images is None):
            raise ValueError(f"Expected either videos or images, got {'neither' if videos is None else 'both'}.")
        options = self._resolve_options(kwargs)
        if images is not None:
            _refuse_clips_of_images(kwargs)
            images = make_image_batch(images)
            visuals = (self._load_image(image, options) for image in images)
        else:
            self._check_sampling(options)
            videos = make_video_batch(videos)
            visuals = self._load_videos(videos, options)
        # one after the other, so that the frames of one video at most are in memory besides the result
        return self._assemble(visuals, len(videos if images is None else images), options)

    def sample_frames(self, metadata: VideoMetadata, seed: Seed | None = None, **options: Any) -> ClipSample:
        """Choose the frames of one video, without opening it.

        Args:
            metadata ([`~transformers.video_utils.VideoMetadata`]): Its number of frames and frame rate; a
                `DecodedVideoMetadata` for official placement, which looks at time stamps.
            seed (`int`, `str` or `tuple`, *optional*): Key of the random choice.
            options: Options that differ from the processor's own.

        Returns:
            `ClipSample`: `frame_indices` of shape `(clips, frames)` and `clip_mask` of shape `(clips,)`.
        """
        options = {name: getattr(self, name) for name in self.valid_kwargs.__annotations__} | options
        if not options["do_sample_frames"]:
            return ClipSample(np.arange(metadata.total_num_frames)[None], np.ones(1, dtype=bool))
        # Built anew in each call: a video that turns out to be miscounted is sampled again, with the same numbers.
        rng = build_seeded_rng(seed) if options["sampling"] == "random" else None
        return sample_clips(
            metadata.total_num_frames,
            metadata.fps,
            num_clips=options["num_clips"],
            num_frames=options["num_frames"],
            fps=options["fps"],
            strategy=options["sampling"],
            placement=options["placement"],
            short_video=options["short_video"],
            rng=rng,
            timing=getattr(metadata, "timing", None),
        )

    def transform(self, picture: np.ndarray, options: dict[str, Any]) -> torch.Tensor:
        """One picture to one frame of the model.

        Args:
            picture (`np.ndarray` of shape `(height, width, 3)`): RGB in uint8.
            options (`dict`): All options of the call.

        Returns:
            `torch.Tensor` of shape `(3, new_height, new_width)`, float32.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how pictures become frames: write `transform`.")

    def check_picture_size(self, height: int, width: int, options: dict[str, Any]) -> None:
        """Raise `ValueError` for pictures that [`transform`] cannot take; asked once for each video or image."""

    def _load_videos(self, videos: list[Any], options: dict[str, Any]) -> Iterator[tuple[DecodedVideo, ClipSample]]:
        seeds = self._seed_for_each(options, len(videos))
        rates = _frame_rate_of_each(options["video_metadata"], videos)
        each = self._options_of_each(options, len(videos))
        return (self._load_video(*one) for one in zip(videos, seeds, rates, each, strict=True))

    def _options_of_each(self, options: dict[str, Any], num_videos: int) -> list[dict[str, Any]]:
        """The options of a call for each of its videos, with the entry of that video where an option is a list of them."""
        return [{**options, "spans_se": span} for span in _span_of_each(options["spans_se"], num_videos)]

    def draws(self, options: dict[str, Any]) -> bool:
        """Whether anything about a video is drawn at random, so that seeds decide it."""
        return options["sampling"] == "random"

    def _seed_for_each(self, options: dict[str, Any], num_videos: int) -> list[Seed | None]:
        seeds = options["seeds"]
        if seeds is None:
            return [_random_seed() if self.draws(options) else None for _ in range(num_videos)]
        if not self.draws(options):
            raise ValueError(
                f"Got seeds={seeds!r:.80}, but only sampling='random' draws anything, and it is {options['sampling']!r}: leave "
                "them out."
            )
        return _as_seeds(seeds, num_videos)

    def _load_video(
        self, video: Any, seed: Seed | None, video_fps: float | None, options: dict[str, Any]
    ) -> tuple[DecodedVideo, ClipSample]:
        sample, frames_of, span_se = None, None, options["spans_se"]

        def choose_frames(metadata: DecodedVideoMetadata) -> np.ndarray:
            nonlocal sample, frames_of
            # Anew, too, where a video turns out to be miscounted: it may count the pictures that it has been given.
            frames_of = self._transform_of(video, options["max_aspect_ratio"], options, seed)
            try:
                sample = self._sample_part(metadata, span_se, seed, options)
            except ValueError as error:
                # Options that no video suits have been refused before: what remains is a fault of this one.
                hint = ' (for frames without a file: video_metadata={"fps": ...})' if holds_frames(video) else ""
                raise VideoDecodeError(describe_source(video), f"{error}{hint}") from error
            return sample.frame_indices[sample.frame_indices >= 0]

        decode_options = {name: options[name] for name in DECODE_OPTIONS}
        # Pictures are transformed as they come: held as they are stored, a few large ones would fill the memory.
        decoded = decode_video(
            video, choose_frames, fps=video_fps, transform=lambda picture: frames_of(picture), **decode_options
        )
        return decoded, sample

    def _sample_part(
        self,
        metadata: DecodedVideoMetadata,
        span_se: tuple[float, float] | None,
        seed: Seed | None,
        options: dict[str, Any],
    ) -> ClipSample:
        """Choose frames of a part of a video, or of all of it; they are counted from its start."""
        first, part = (0, metadata) if span_se is None else cut_out(metadata, span_se)
        sample = self.sample_frames(part, seed, **options)
        is_there = sample.frame_indices >= 0
        return sample._replace(frame_indices=np.where(is_there, sample.frame_indices + first, -1))

    def _load_image(self, image: Any, options: dict[str, Any]) -> tuple[DecodedVideo, ClipSample]:
        picture = load_image(image, options["timeout_s"], options["max_pixels"])
        height, width = picture.shape[:2]
        metadata = DecodedVideoMetadata(1, height=height, width=width, frames_indices=[0], frames_seconds=[0.0])
        decoded = DecodedVideo([self._transform_of(image, None, options)(picture)], metadata)
        return decoded, ClipSample(np.zeros((1, 1), dtype=np.int64), np.ones(1, dtype=bool))

    def _transform_of(
        self, source: Any, max_aspect_ratio: float | None, options: dict[str, Any], seed: Seed | None = None
    ) -> Callable[[np.ndarray], torch.Tensor]:
        """`transform` for the pictures of `source`, the first of which is looked at first."""
        is_checked = False

        def transform(picture: np.ndarray) -> torch.Tensor:
            nonlocal is_checked
            if not is_checked:
                self._check_picture(*picture.shape[:2], max_aspect_ratio, source, options)
                is_checked = True
            return self.transform(picture, options)

        return transform

    def _check_picture(
        self, height: int, width: int, max_aspect_ratio: float | None, source: Any, options: dict[str, Any]
    ) -> None:
        ratio = max(height, width) / min(height, width)
        if max_aspect_ratio is not None and ratio > max_aspect_ratio:
            raise VideoDecodeError(
                describe_source(source),
                f"its frames of {height}x{width} (height x width) have an aspect ratio of {ratio:.2f}, more than "
                f"max_aspect_ratio={max_aspect_ratio:g}. Raise that option, or set it to None, to take such videos.",
            )
        try:
            self.check_picture_size(height, width, options)
        except ValueError as error:
            raise VideoDecodeError(describe_source(source), str(error)) from error

    def _assemble(
        self, visuals: Iterable[tuple[DecodedVideo, ClipSample]], num_visuals: int, options: dict[str, Any]
    ) -> BatchFeature:
        pixel_values, samples, metadata = None, [], []
        for position, (decoded, sample) in enumerate(visuals):
            numbers = np.searchsorted(decoded.metadata.frames_indices, sample.frame_indices.ravel()).tolist()
            for place, number in enumerate(numbers):
                frame = decoded.frames[number]  # (3, height, width)
                shape = (*sample.frame_indices.shape, *frame.shape)  # (clips, frames, 3, height, width)
                if pixel_values is None:
                    pixel_values = frame.new_empty((num_visuals, *shape))
                elif pixel_values.shape[1:] != shape:
                    raise ValueError(
                        f"Videos 0 and {position} of this batch come out in different shapes (clips, frames, 3, height, "
                        f"width), {tuple(pixel_values.shape[1:])} and {shape}. Keep do_sample_frames on, and what makes frames "
                        "equal in size (do_resize, do_pad), or process them one by one."
                    )
                pixel_values[position].view(-1, *frame.shape)[place] = frame
            samples.append(sample)
            metadata.append(decoded.metadata)
        data = {"pixel_values": pixel_values}
        if options["short_video"] == "mask":
            data["clip_mask"] = torch.from_numpy(np.stack([sample.clip_mask for sample in samples])).long()
        if options["return_metadata"]:
            data["frame_indices"] = torch.from_numpy(np.stack([sample.frame_indices for sample in samples]))
            data["frame_seconds"] = torch.from_numpy(np.stack(list(map(_seconds_of_clips, metadata, samples))))
            data["video_metadata"] = metadata
        return BatchFeature(data, options["return_tensors"], skip_tensor_conversion=["video_metadata"])

    def _resolve_options(self, given: dict[str, Any]) -> dict[str, Any]:
        """All options of a call, checked: those given, else the processor's own."""
        check_option_types(given, self.valid_kwargs)
        options = {}
        for name in self.valid_kwargs.__annotations__:
            is_given = name in given and (given[name] is not None or name in OPTIONAL)
            options[name] = given[name] if is_given else getattr(self, name, None)
        options["size"] = self._standardize_kwargs(size=options["size"])["size"]
        options["return_tensors"] = given.get("return_tensors", "pt")
        for name, side in dict(options["size"] or {}).items():
            if side is not None and not 1 <= side <= LARGEST_SIDE:
                raise ValueError(f"size: {name} must lie in [1, {LARGEST_SIDE}] pixels, got {side!r}.")
        if options.get("num_clips", 1) * options.get("num_frames", 1) > MOST_FRAMES:
            raise ValueError(
                f"num_clips={options['num_clips']} clips of num_frames={options['num_frames']} are more than {MOST_FRAMES} "
                "frames of a video."
            )
        statistics = options["image_mean"], options["image_std"]
        if options["do_normalize"] and None not in statistics:  # a family may have none
            check_channel_statistics(*statistics)
        for name in ("max_aspect_ratio", "rescale_factor", "timeout_s", "max_pixels"):
            if options[name] is not None and not 0 < options[name] < math.inf:
                raise ValueError(f"{name} must be a positive, finite number, got {options[name]!r}.")
        for name in ("stream_index", "num_threads"):
            if options[name] is not None and options[name] < 0:
                raise ValueError(f"{name} must not be negative, got {options[name]!r}.")
        return options

    def _check_sampling(self, options: dict[str, Any]) -> None:
        """Try the options on an imaginary video, so that impossible ones are refused before anything is opened."""
        asked = {name: value for name, value in options.items() if name not in NOT_OF_SAMPLING}
        is_simple = all(value is None or type(value) in SIMPLE_TYPES for value in asked.values())
        if is_simple and asked == _POSSIBLE.get(self):
            return  # as for the video before
        imaginary = DecodedVideoMetadata(100, fps=25.0, timing=VideoTiming.constant_rate(100, 25.0))
        if options.get("short_video") == "error":
            options = {**options, "short_video": "repeat"}
        try:
            self.sample_frames(imaginary, seed=0, **options)
        except ValueError as error:
            raise ValueError(f"No video can be sampled in this way (strategy is `sampling`): {error}") from error
        if is_simple:
            _POSSIBLE[self] = asked


def _refuse_clips_of_images(given: dict[str, Any]) -> None:
    for name in ("num_clips", "num_frames"):
        if given.get(name) not in (None, 1):
            raise ValueError(f"An image is one clip of one frame, got {name}={given[name]} for images: leave it out.")
    if given.get("spans_se") is not None:
        raise ValueError(f"An image has no seconds, got spans_se={given['spans_se']!r:.80}: leave them out.")
    if given.get("seeds") is not None:
        raise ValueError(f"There is nothing random about images, got seeds={given['seeds']!r:.80}: leave them out.")


def _as_seeds(seeds: int | Sequence[Seed], num_videos: int) -> list[Seed]:
    if _is_integer(seeds):
        return [(seeds, position) for position in range(num_videos)]
    if not isinstance(seeds, (Sequence, np.ndarray)) or isinstance(seeds, str) or len(seeds) != num_videos:
        raise ValueError(
            f"Got {seeds!r:.80} as seeds of {num_videos} videos: expected an int or tuple for each, or one for all."
        )
    seeds = [tuple(seed) if isinstance(seed, list) else seed for seed in seeds]
    for seed in seeds:
        parts = seed if isinstance(seed, tuple) else [seed]
        if not all(_is_integer(part) or isinstance(part, str) for part in parts):
            raise ValueError(f"Expected a seed to be an int, a str or a tuple of these, got {seed!r:.80}.")
    return seeds


def _is_integer(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def build_seeded_rng(seed: Seed | None) -> np.random.Generator:
    """Source of what is drawn for one video; without a key, torch's generator decides."""
    key = _random_seed() if seed is None else seed
    return build_rng(*key) if isinstance(key, tuple) else build_rng(key)


def _random_seed() -> int:
    return int(torch.randint(2**62, ()))  # torch's generator: loader workers have one each, `set_seed` governs it


def _frame_rate_of_each(metadata: Any, videos: list[Any]) -> list[float | None]:
    """Frame rates that the caller states, for frames that come without a file."""
    if metadata is None:
        return [None] * len(videos)
    metadata = [metadata] * len(videos) if isinstance(metadata, (dict, VideoMetadata)) else metadata
    if not isinstance(metadata, Sequence) or isinstance(metadata, str):
        raise TypeError(
            f"Expected video_metadata to be a dict, or a list with one for each video, got {metadata!r:.80}."
        )
    if len(metadata) != len(videos):
        raise ValueError(f"Got video_metadata of {len(metadata)} videos for {len(videos)}: expected one for each.")
    rates = [None if entry is None else entry.get("fps") for entry in metadata]
    for video, fps in zip(videos, rates, strict=True):
        if fps is not None and (isinstance(fps, bool) or not isinstance(fps, Real) or not 1e-6 < fps < 1e6):
            raise ValueError(f"video_metadata: fps must be a positive number of frames a second, got {fps!r}.")
        if fps is not None and not holds_frames(video):
            raise ValueError(f"Got video_metadata for {describe_source(video)}, which is a file and states its own.")
    return [None if fps is None else float(fps) for fps in rates]


def _span_of_each(spans_se: Any, num_videos: int) -> list[tuple[float, float] | None]:
    if spans_se is None:
        return [None] * num_videos
    if not isinstance(spans_se, (Sequence, np.ndarray, torch.Tensor)) or isinstance(spans_se, str):
        raise TypeError(
            f"Expected spans_se to be a list with (start_s, end_s) or None for each video, got {spans_se!r:.80}."
        )
    if len(spans_se) != num_videos:
        raise ValueError(
            f"Got spans_se of {len(spans_se)} videos for {num_videos}: expected (start_s, end_s) or None for each."
        )
    return [None if span is None else _as_span(span, position) for position, span in enumerate(spans_se)]


def _as_span(span: Any, position: int) -> tuple[float, float]:
    try:
        start_s, end_s = (float(seconds) for seconds in span)
    except (TypeError, ValueError):
        start_s = end_s = math.nan
    if not 0 <= start_s < end_s < math.inf:
        raise ValueError(f"spans_se: expected 0 <= start_s < end_s in seconds for video {position}, got {span!r:.80}.")
    return start_s, end_s


def cut_out(metadata: DecodedVideoMetadata, span_se: tuple[float, float]) -> tuple[int, DecodedVideoMetadata]:
    """The part of a video that is shown in a span of seconds, as if it were a video of its own.

    A frame is shown from its time stamp to that of the next one.

    Args:
        metadata ([`DecodedVideoMetadata`]): Of the whole video.
        span_se (`tuple[float, float]`): Start and end, in seconds from the first frame.

    Returns:
        `tuple[int, DecodedVideoMetadata]`: Number of the first frame of the part, and what is known of the part.

    Raises:
        ValueError: If the span is not within the video, up to half a second behind its end, or times are unknown.

    Example:
        >>> video = DecodedVideoMetadata(100, fps=25.0, duration=4.0, timing=VideoTiming.constant_rate(100, 25.0))
        >>> first, part = cut_out(video, (1.0, 3.0))
        >>> first, part.total_num_frames, part.duration
        (25, 50, 2.0)
    """
    start_s, end_s = span_se
    begins, last_s = times_of_frames(metadata)
    check_span(span_se, last_s)
    # a microsecond, so that the rounding of a container's clock moves no frame across an edge
    first = max(int(np.searchsorted(begins, start_s + 1e-6, side="right")) - 1, 0)
    stop = max(int(np.searchsorted(begins, end_s - 1e-6, side="left")), first + 1)
    timing = metadata.timing
    if timing is not None:
        pts = timing.frame_pts
        pts = pts if pts is None or first >= len(pts) else pts[first:stop] - pts[first]
        ticks = round((min(end_s, last_s) - start_s) / timing.time_base)
        timing = replace(timing, frame_pts=pts, header_num_frames=stop - first, header_duration=ticks, start_pts=0)
    part = replace(metadata, total_num_frames=stop - first, duration=min(end_s, last_s) - start_s, timing=timing)
    return first, part


def check_span(span_se: tuple[float, float], duration_s: float) -> None:
    """Raise `ValueError` for a span that does not lie in its video, up to half a second behind its end."""
    start_s, end_s = span_se
    if start_s >= duration_s or end_s > duration_s + SPAN_OVERRUN_S:
        raise ValueError(
            f"the span from {start_s:g} to {end_s:g} s does not lie in the video, which lasts {duration_s:.2f} s. Correct "
            "the span, or leave this row out."
        )


def times_of_frames(metadata: DecodedVideoMetadata) -> tuple[np.ndarray, float]:
    """Seconds at which each frame begins, `(total_num_frames,)`, and at which the last one ends: the length of the video.

    Raises:
        ValueError: If times are unknown.
    """
    begins = _seconds_of_all(metadata)
    return begins, max(begins[-1] + (1 / metadata.fps if metadata.fps else 0.0), metadata.duration or 0.0)


def read_square(size: int | Mapping[str, int] | SizeDict | None) -> dict[str, int]:
    """`{"height": S, "width": S}`, which may be written as `S`; anything else is refused."""
    if isinstance(size, int) and not isinstance(size, bool):
        size = {"height": size, "width": size}
    given = dict(size or {}) if size is None or isinstance(size, (Mapping, SizeDict)) else {}
    sides = {name: side for name, side in given.items() if side is not None}
    if set(sides) != {"height", "width"} or sides["height"] != sides["width"]:
        raise ValueError(f'Expected size={{"height": S, "width": S}} or size=S, a square, got size={size}.')
    return sides


def frame_shown_at(metadata: DecodedVideoMetadata, seconds: float) -> int:
    """Number of the frame that is shown so many seconds after the first one.

    Raises:
        ValueError: If the video ends before, or times are unknown.
    """
    first, _ = cut_out(metadata, (seconds, seconds + 1e-5))
    return first


def _seconds_of_all(metadata: DecodedVideoMetadata) -> np.ndarray:
    """Seconds at which each frame begins `(total_num_frames,)`, also those that a cut-off file has lost."""
    total, begins = metadata.total_num_frames, np.zeros(0)
    has_file = getattr(metadata, "container", None) is not None
    pts = getattr(metadata.timing, "frame_pts", None) if has_file else None
    if pts is not None and not np.any(np.diff(pts) <= 0):  # those of AVI may run backwards
        begins = (pts - pts[:1])[:total] * float(metadata.timing.time_base)
    if len(begins) == total:
        return begins
    if not metadata.fps:
        raise ValueError("The times of frames are needed, and nothing tells them: state the video's own fps.")
    next_s = begins[-1] + 1 / metadata.fps if len(begins) else 0.0
    return np.concatenate([begins, next_s + np.arange(total - len(begins)) / metadata.fps])


def _seconds_of_clips(metadata: DecodedVideoMetadata, sample: ClipSample) -> np.ndarray:
    """Seconds `(clips, frames)`; NaN where the video states no time."""
    if metadata.frames_seconds is None:
        return np.full(sample.frame_indices.shape, np.nan)
    return np.array(metadata.frames_seconds)[np.searchsorted(metadata.frames_indices, sample.frame_indices)]
