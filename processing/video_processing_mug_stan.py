# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Pictures into the frames that Mug-STAN sees: those of the image-text model that it starts from.

The shorter side is scaled to S, and the square in the middle is seen, or three squares side by side. In training the
square may be a random part of the picture, the same one in all frames of a video.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torchvision.transforms.v2 import InterpolationMode, functional
from transformers.feature_extraction_utils import BatchFeature
from transformers.image_processing_base import ImageProcessingMixin
from transformers.image_utils import SizeDict
from transformers.utils.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from transformers.video_utils import VideoMetadata

from .augmentation import Augmentation, ClipChange
from .decoding import DecodedVideo
from .sampling import ClipSample
from .transforms import normalize_channels, resize_as_cv2
from .video_processing import (
    LARGEST_SIDE,
    Seed,
    SparseVideoOptions,
    SparseVideoProcessor,
    build_seeded_rng,
    frame_shown_at,
    read_square,
)


INTERPOLATIONS = ("bicubic", "bilinear", "cv2_bilinear")
PIL_INTERPOLATIONS = {2: "bilinear", 3: "bicubic"}  # `resample` of image processors
# What the official code does, to be compared with numbers measured with it.
OFFICIAL = {"placement": "official", "interpolation": "cv2_bilinear"}
OFFICIAL_CROP = {"crop": {"scale": [0.08, 1.0], "ratio": [3 / 4, 4 / 3]}}


class MugSTANVideoOptions(SparseVideoOptions, total=False):
    """Options of [`MugSTANVideoProcessor`], which documents them."""

    shorter_side: int | None
    do_center_crop: bool
    interpolation: str
    num_crops: int
    augmentation: Any
    frame_span: int
    key_times_s: Any
    boxes: Any


@dataclass
class BoxedVideo(DecodedVideo):
    """A video with what is seen of its boxes `(boxes, 4)`, in pixels of the square, and the numbers of those boxes."""

    boxes: np.ndarray
    numbers: np.ndarray


class MugSTANVideoProcessor(SparseVideoProcessor):
    r"""Turns videos, or images, into the `pixel_values` of a Mug-STAN model.

    Args:
        num_clips (`int`, defaults to 1): Clips of a video. Each is a view: encoded by itself, scores are averaged.
        num_frames (`int`, defaults to 12): Frames of a clip (Mug-STAN, section IV: 12; 64 for DiDeMo; 8 or 16 for actions).
        sampling (`str`, defaults to `"uniform"`): Where the clips lie: see [`SparseVideoProcessor`]. And `"key_frame"`: the
            frame shown at `key_times_s`, with others before and after it that span `frame_span` frames.
        placement (`str`, defaults to `"even"`): `"even"`, or `"official"`, which repeats the frame numbers of the
            official code: see `sample_official`.
        short_video (`str`, defaults to `"repeat"`): `"repeat"` frames of videos with too few of them, or `"error"`.
        frame_span (`int`, defaults to 300): Frames that `num_frames` of `"key_frame"` are spread over (AVA).
        key_times_s (`list[float]`, *optional*): For a single call, the time of the key frame of each video, in seconds
            from its first frame.
        size (`int` or `dict`, defaults to `{"height": 224, "width": 224}`): Side of the square that the model sees.
        shorter_side (`int`, *optional*): Length that the shorter side is scaled to before the square is cut, 256 for
            DiDeMo in the official code. `None` stands for the side of the square.
        do_center_crop (`bool`, defaults to `True`): `False` brings the whole picture to the square, whatever its shape:
            nobody at its edges is cut off, which matters where actions are found in boxes.
        interpolation (`str`, defaults to `"bicubic"`): `"bicubic"` or `"bilinear"`, with antialiasing, as the image
            processor of CLIP has them; or `"cv2_bilinear"`, which is OpenCV's `INTER_LINEAR` on bytes (without), as the
            official code has it, with its rounding of sizes.
        num_crops (`int`, defaults to 1): 1 square, in the middle, or 3 side by side along the longer side. Each is a view.
        augmentation (`dict`, *optional*): How videos are changed in training; see [`Augmentation`]. `OFFICIAL_CROP` is the
            random resized crop of the official code; flips have to be asked for. It draws from `seeds`, once for a video;
            where neither frames are drawn nor seeds given, nothing is changed.
        do_rescale, do_normalize (`bool`, default to `True`): Pixels to [0, 1], then less the mean of CLIP, divided by its
            deviation.
        kwargs: What all video processors share: see [`SparseVideoProcessor`].

        boxes (`list`, *optional*): For a single call, the boxes of each video `(boxes, 4)`, one at least: x1, y1, x2, y2 as
            shares of the width and height of its picture, in [0, 1]. They follow the pixels through crops, resizing and flips.
            Adds `boxes` `(all boxes, 4)` in pixels of the square, cut off at its edges; `video_indices`, the video of each;
            and `box_indices`, its number among those given, of all videos: boxes of which nothing is seen are left out.

    `MugSTANVideoProcessor(**OFFICIAL)` chooses and resizes frames as the official code does.

    Example:
        >>> processor = MugSTANVideoProcessor(size=32, num_frames=8)
        >>> video = np.zeros((30, 48, 36, 3), dtype=np.uint8)
        >>> processor(video)["pixel_values"].shape
        torch.Size([1, 8, 3, 32, 32])
        >>> processor([video, video], num_clips=2, num_crops=3)["pixel_values"].shape
        torch.Size([2, 6, 8, 3, 32, 32])
    """

    num_clips = 1
    num_frames = 12
    size = {"height": 224, "width": 224}
    shorter_side = None
    do_center_crop = True
    interpolation = "bicubic"
    image_mean = OPENAI_CLIP_MEAN
    image_std = OPENAI_CLIP_STD
    num_crops = 1
    augmentation = None
    frame_span = 300

    model_input_names = ["pixel_values"]
    valid_kwargs = MugSTANVideoOptions
    call_options = (*SparseVideoProcessor.call_options, "key_times_s", "boxes")

    @classmethod
    def from_clip_pretrained(cls, name_or_path: str, **options: Any) -> "MugSTANVideoProcessor":
        """Sizes, interpolation, mean and deviation of the image processor of a CLIP, MetaCLIP 2, SigLIP or the like.

        Args:
            name_or_path (`str`): Name on the Hub, or folder with a `preprocessor_config.json`.
            options: Options of the processor, which are stronger; others, such as `revision`, find the file.

        Raises:
            OSError: If there is no such file.
            ValueError: If it states no size, one that is no square, or an interpolation that is not offered.
        """
        own = {name: options.pop(name) for name in [*options] if name in cls.valid_kwargs.__annotations__}
        stated, _ = ImageProcessingMixin.get_image_processor_dict(name_or_path, **options)
        return cls(**(_read_image_processor(stated, name_or_path) | own))

    def sample_frames(self, metadata: VideoMetadata, seed: Seed | None = None, **options: Any) -> ClipSample:
        """Choose the frames of one video, without opening it: see [`SparseVideoProcessor.sample_frames`]."""
        given = {name: getattr(self, name, None) for name in self.valid_kwargs.__annotations__} | options
        if not given["do_sample_frames"]:
            return super().sample_frames(metadata, seed, **options)
        total, num_frames = metadata.total_num_frames, given["num_frames"]
        if given["sampling"] == "key_frame":
            key = frame_shown_at(metadata, given["key_times_s"])
            steps = (np.arange(num_frames) - num_frames // 2) * given["frame_span"] // num_frames
            return ClipSample((key + steps).clip(0, total - 1)[None], np.ones(1, dtype=bool))
        if given["placement"] != "official":
            return super().sample_frames(metadata, seed, **options)
        if given["sampling"] not in ("uniform", "random") or given["fps"] is not None:
            raise ValueError(
                f"placement='official' of Mug-STAN spreads frames over the whole video, uniformly or at random, got "
                f"sampling={given['sampling']!r} and fps={given['fps']}: use placement='even'."
            )
        if given["short_video"] == "error" and total < num_frames:
            raise ValueError(f"The video is too short: it has {total} frames, not {num_frames} different ones.")
        rng = build_seeded_rng(seed) if given["sampling"] == "random" else None
        frame_indices = sample_official(total, num_frames, given["num_clips"], rng)
        return ClipSample(frame_indices, np.ones(len(frame_indices), dtype=bool))

    def transform(self, picture: np.ndarray, options: dict[str, Any]) -> torch.Tensor:
        """A frame `(height, width, 3)` in uint8 to squares `(crops, 3, side, side)` in float32."""
        return self._normalize(self._squares(picture, options), options)

    def check_picture_size(self, height: int, width: int, options: dict[str, Any]) -> None:
        side = options["size"]["height"]
        if not options["do_resize"] and min(height, width) < side:
            raise ValueError(
                f"frames of {height}x{width} (height x width) hold no square of {side} pixels: leave do_resize on."
            )
        if options["do_resize"] and max(resized_shape(height, width, options)) > LARGEST_SIDE:
            raise ValueError(
                f"frames of {height}x{width} (height x width) would have a side of more than {LARGEST_SIDE} pixels when "
                "the shorter one fits the square: crop the video first."
            )

    def draws(self, options: dict[str, Any]) -> bool:
        return options["sampling"] == "random" or bool(options["augmentation"])

    def _seed_for_each(self, options: dict[str, Any], num_videos: int) -> list[Seed | None]:
        if options["seeds"] is None and options["sampling"] != "random":
            return [None] * num_videos
        return super()._seed_for_each(options, num_videos)

    def _options_of_each(self, options: dict[str, Any], num_videos: int) -> list[dict[str, Any]]:
        each, times = super()._options_of_each(options, num_videos), options["key_times_s"]
        if options["boxes"] is not None:
            boxes = _boxes_of_each(options["boxes"], num_videos)
            each = [{**one, "boxes": of_video} for one, of_video in zip(each, boxes, strict=True)]
        if (options["sampling"] == "key_frame") != (times is not None):
            raise ValueError(
                "sampling='key_frame' and key_times_s, the second of the key frame of each video, go together, got "
                f"sampling={options['sampling']!r} and key_times_s={times!r:.80}."
            )
        if times is None:
            return each
        times = np.asarray(times, dtype=np.float64)
        if times.shape != (num_videos,) or not np.all((times >= 0) & (times < np.inf)):
            raise ValueError(
                f"key_times_s: expected {num_videos} times in seconds from 0, got {times.tolist()!r:.80}."
            )
        if options["spans_se"] is not None:
            raise ValueError("Frames around a key frame and spans_se exclude each other: leave one out.")
        return [{**one, "key_times_s": float(time)} for one, time in zip(each, times, strict=True)]

    def _check_sampling(self, options: dict[str, Any]) -> None:
        super()._check_sampling({**options, "key_times_s": 0.0})

    def _load_video(self, video, seed, video_fps, options):
        decoded, sample = super()._load_video(video, seed, video_fps, options)
        if options["boxes"] is None:
            return decoded, sample
        seen = self._place_boxes(options["boxes"], decoded.metadata.height, decoded.metadata.width, seed, options)
        numbers = np.flatnonzero((seen[:, :2] < seen[:, 2:]).all(axis=1))
        return BoxedVideo(decoded.frames, decoded.metadata, seen[numbers], numbers), sample

    def _load_image(self, image, options):
        if options["boxes"] is not None:
            raise ValueError("Boxes belong to videos: pass a picture as a video of one frame, videos=[[picture]].")
        return super()._load_image(image, options)

    def _place_boxes(
        self, boxes: np.ndarray, height: int, width: int, seed: Seed | None, options: dict[str, Any]
    ) -> np.ndarray:
        """Boxes in pixels of the square `(boxes, 4)`, in float32; empty where nothing of them is seen."""
        side, is_flipped, crop = options["size"]["height"], False, None
        if options["augmentation"] and seed is not None:
            change = Augmentation(**options["augmentation"]).draw(seed)
            is_flipped, crop = change.flips(0), change.crop_box(height, width, 0)
        if crop is None:  # the square in the middle, in pixels of the resized picture
            if options["do_resize"]:
                height, width = resized_shape(height, width, options)
            crop = (height - side) // 2, (width - side) // 2, side, side
        top, left, crop_height, crop_width = crop
        places = boxes * [width, height, width, height] - [left, top, left, top]
        places = (places * side / np.array([crop_width, crop_height] * 2)).clip(0, side)
        if is_flipped:
            places[:, [0, 2]] = side - places[:, [2, 0]]
        return places.astype(np.float32)

    def _transform_of(self, source, max_aspect_ratio, options, seed=None):
        transform = super()._transform_of(source, max_aspect_ratio, options, seed)
        if not options["augmentation"] or seed is None:
            return transform
        change, number = Augmentation(**options["augmentation"]).draw(seed), 0

        def augmented(picture: np.ndarray) -> torch.Tensor:
            nonlocal number
            if number == 0:
                self._check_picture(*picture.shape[:2], max_aspect_ratio, source, options)
            squares, number = self._change(picture, change, number, options), number + 1
            return squares

        return augmented

    def _change(self, picture: np.ndarray, change: ClipChange, number: int, options: dict[str, Any]) -> torch.Tensor:
        part = change.crop(picture, number)
        if part is picture:  # no crop was drawn
            squares = self._squares(picture, options)
        else:
            side = options["size"]["height"]
            squares = resize(part, side, side, options)[None].float()
        frames = self._normalize(change.before(squares, number), options)
        return torch.stack([change.after(frame, number) for frame in frames])

    def _squares(self, picture: np.ndarray, options: dict[str, Any]) -> torch.Tensor:
        """`(crops, 3, side, side)` in float32, values from 0 to 255."""
        height, width = picture.shape[:2]
        if options["do_resize"]:
            height, width = resized_shape(height, width, options)
        pixels = resize(picture, height, width, options)
        side = options["size"]["height"]
        middle = [(height - side) // 2, (width - side) // 2]
        corners = [middle]
        if options["num_crops"] == 3:
            corners = [[0, middle[1]], middle, [height - side, middle[1]]]
            if width >= height:
                corners = [[middle[0], 0], middle, [middle[0], width - side]]
        return torch.stack([pixels[:, top : top + side, left : left + side] for top, left in corners]).float()

    def _normalize(self, squares: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
        if options["do_rescale"]:
            squares = squares * options["rescale_factor"]
        if options["do_normalize"]:
            squares = normalize_channels(squares, options["image_mean"], options["image_std"])
        return squares

    def _assemble(
        self, visuals: Iterable[tuple[DecodedVideo, ClipSample]], num_visuals: int, options: dict[str, Any]
    ) -> BatchFeature:
        boxed: list[BoxedVideo] = []

        def noting_boxes() -> Iterator[tuple[DecodedVideo, ClipSample]]:
            for decoded, sample in visuals:
                if isinstance(decoded, BoxedVideo):
                    boxed.append(replace(decoded, frames=[]))  # which are not needed any more
                yield decoded, sample

        batch = super()._assemble(noting_boxes(), num_visuals, options | {"return_tensors": "pt"})
        # (videos, clips, frames, crops, 3, side, side) to views, the crops of a clip next to each other
        views = batch["pixel_values"].transpose(2, 3).flatten(1, 2)
        data = {**batch, "pixel_values": views[:, 0] if views.shape[1] == 1 else views}
        for name in ("frame_indices", "frame_seconds"):
            if name in data and data[name].shape[1] == 1:
                data[name] = data[name][:, 0]
        if boxed:
            firsts = np.cumsum([0, *(len(boxes) for boxes in options["boxes"])])
            numbers = [first + video.numbers for first, video in zip(firsts, boxed, strict=False)]
            data["boxes"] = torch.from_numpy(np.concatenate([video.boxes for video in boxed]))
            data["video_indices"] = torch.arange(len(boxed)).repeat_interleave(torch.tensor(list(map(len, numbers))))
            data["box_indices"] = torch.from_numpy(np.concatenate(numbers))
        return BatchFeature(data, options["return_tensors"], skip_tensor_conversion=["video_metadata"])

    def _resolve_options(self, given: dict[str, Any]) -> dict[str, Any]:
        options = super()._resolve_options(given)
        for name, known in (
            ("interpolation", INTERPOLATIONS),
            ("num_crops", (1, 3)),
            ("short_video", ("repeat", "error")),
        ):
            if options[name] not in known:
                raise ValueError(f"Expected {name} to be one of {', '.join(map(str, known))}, got {options[name]!r}.")
        side, shorter = options["size"]["height"], options["shorter_side"]
        if shorter is not None and not side <= shorter <= LARGEST_SIDE:
            raise ValueError(
                f"shorter_side must lie in [{side}, {LARGEST_SIDE}], from the side of the square on, got {shorter}."
            )
        if not options["do_center_crop"] and (shorter is not None or options["num_crops"] != 1):
            raise ValueError(
                f"do_center_crop=False brings the whole picture to the square: leave shorter_side={shorter} and "
                f"num_crops={options['num_crops']} out, or set do_center_crop=True."
            )
        if options["boxes"] is not None:
            if options["num_clips"] * options["num_crops"] != 1:
                raise ValueError(
                    f"Boxes belong to one view of a video, got num_clips={options['num_clips']}, "
                    f"num_crops={options['num_crops']}."
                )
            if options["augmentation"] and not Augmentation(**options["augmentation"]).consistent:
                raise ValueError(
                    "augmentation: consistent=False moves each frame by itself, so that no box fits all of them."
                )
        if options["frame_span"] < 1:
            raise ValueError(f"frame_span must be at least 1 frame, got {options['frame_span']}.")
        if options["augmentation"]:
            Augmentation(**options["augmentation"])
            if options["num_crops"] != 1 and options["seeds"] is not None:
                raise ValueError(
                    "num_crops=3 is for evaluation, which alters no frame: leave augmentation or seeds out."
                )
        return options

    def _standardize_kwargs(
        self, size: int | dict[str, int] | SizeDict | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """`size=224` means a square."""
        return super()._standardize_kwargs(size=read_square(size), **kwargs)


def sample_official(
    total_num_frames: int, num_frames: int, num_clips: int = 1, rng: np.random.Generator | None = None
) -> np.ndarray:
    """Frame numbers that the official code of Mug-STAN chooses.

    The video is divided into `num_frames` segments of `(F - 1) / num_frames`. With `rng` one frame is drawn from each, both
    ends included; without it, clip k of n takes the one a share of (k + 1) / (n + 1) behind its start. Halves are rounded to
    the even number. Short videos repeat frames.

    Args:
        total_num_frames (`int`): F, frames that the video has.
        num_frames (`int`): Frames of a clip.
        num_clips (`int`, defaults to 1): n, clips of the video.
        rng (`np.random.Generator`, *optional*): Source of the draws of training.

    Returns:
        `np.ndarray` of shape `(num_clips, num_frames)`.

    Example:
        >>> sample_official(100, 4).tolist(), sample_official(100, 4, num_clips=2).tolist()
        ([[12, 37, 62, 86]], [[8, 33, 58, 82], [16, 41, 66, 90]])
    """
    segment = (total_num_frames - 1) / num_frames
    edges = np.round(segment * np.arange(num_frames + 1)).astype(np.int64)
    if rng is not None:
        return rng.integers(edges[:-1], edges[1:], size=(num_clips, num_frames), endpoint=True)
    shares = [int(segment * (clip + 1) / (num_clips + 1)) for clip in range(num_clips)]
    return edges[:-1] + np.array(shares)[:, None]


def resized_shape(height: int, width: int, options: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width of a picture whose shorter side fits the square; the official code rounds what CLIP cuts off."""
    if not options["do_center_crop"]:
        return options["size"]["height"], options["size"]["height"]
    shorter = options["shorter_side"] or options["size"]["height"]
    longer = shorter * max(height, width) / min(height, width)
    longer = int(longer + 0.5) if options["interpolation"] == "cv2_bilinear" else int(longer)
    return (shorter, longer) if height <= width else (longer, shorter)


def resize(picture: np.ndarray, height: int, width: int, options: Mapping[str, Any]) -> torch.Tensor:
    """A picture `(old height, old width, 3)` in uint8 as `(3, height, width)`, in uint8."""
    changes = picture.shape[:2] != (height, width)
    if changes and options["interpolation"] == "cv2_bilinear":
        picture = resize_as_cv2(picture, height, width)
    pixels = torch.from_numpy(np.ascontiguousarray(picture)).to(options["device"]).permute(2, 0, 1)
    if not changes or options["interpolation"] == "cv2_bilinear":
        return pixels
    return functional.resize(pixels, [height, width], InterpolationMode(options["interpolation"]), antialias=True)


def _boxes_of_each(boxes: Any, num_videos: int) -> list[np.ndarray]:
    """The boxes of each video `(boxes, 4)`, checked."""
    if not isinstance(boxes, (Sequence, np.ndarray, torch.Tensor)) or len(boxes) != num_videos:
        got = f"those of {len(boxes)}" if hasattr(boxes, "__len__") else f"{boxes!r:.80}"
        raise ValueError(f"boxes: expected those of each of the {num_videos} videos, got {got}.")
    checked = []
    for video, given in enumerate(boxes):
        try:
            shares = np.asarray(given, dtype=np.float64)
        except (TypeError, ValueError):
            shares = np.zeros(0)
        if shares.ndim != 2 or shares.shape[1] != 4 or not len(shares):
            raise ValueError(
                f"boxes: expected (boxes, 4) numbers for video {video}, one box at least, got {given!r:.80}."
            )
        x1, y1, x2, y2 = shares.T
        fine = (x1 >= 0) & (x1 < x2) & (x2 <= 1) & (y1 >= 0) & (y1 < y2) & (y2 <= 1)  # NaN is not
        if not fine.all():
            number = int(fine.argmin())
            raise ValueError(
                f"boxes: expected x1 < x2 and y1 < y2 as shares of the picture, in [0, 1], got {shares[number].tolist()} as "
                f"box {number} of video {video}."
            )
        checked.append(shares)
    return checked


def _read_image_processor(stated: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Options of ours from those of an image processor, in their new and old spellings."""
    size, crop = (stated.get(key) for key in ("size", "crop_size"))
    is_cropped = bool(stated.get("do_center_crop")) and crop is not None
    crop = crop if is_cropped else size
    # SigLIP and Chinese-CLIP bring the whole picture to the square: both sides are stated, or one and no crop
    is_squeezed = len(_sides(size)) == 2 or (isinstance(size, int) and not is_cropped)
    sides = [_sides(each) for each in (size, crop)]
    if not sides[0] or not sides[1] or sides[1][0] != sides[1][-1]:
        raise ValueError(
            f"Expected the image processor of {name} to state `size`, and a square; got size={size}, crop_size={crop}."
        )
    if (resample := stated.get("resample", 3)) not in PIL_INTERPOLATIONS:
        raise ValueError(
            f"The image processor of {name} resizes with resample={resample}; known are {PIL_INTERPOLATIONS}."
        )
    shorter, side = min(sides[0]), sides[1][0]
    if is_squeezed and sides[0] != [side] * len(sides[0]):
        raise ValueError(
            f"The image processor of {name} brings pictures to size={size} and cuts crop_size={crop} from that, whatever "
            "their shape: expected one square for both. Give the options of MugSTANVideoProcessor by hand."
        )
    kept = ("do_resize", "do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std")
    return {
        "size": side,
        "shorter_side": None if shorter == side else shorter,
        "do_center_crop": not is_squeezed,
        "interpolation": PIL_INTERPOLATIONS[resample],
        **{key: stated[key] for key in kept if stated.get(key) is not None},
    }


def _sides(size: int | Mapping[str, int] | None) -> list[int]:
    return [size] if isinstance(size, int) else [] if size is None else list(dict(size).values())


__all__ = ["OFFICIAL", "OFFICIAL_CROP", "MugSTANVideoOptions", "MugSTANVideoProcessor", "sample_official"]
