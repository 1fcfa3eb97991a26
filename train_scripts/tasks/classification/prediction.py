# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Labels of videos by a trained classifier: of a whole video, or of one window after the other along a long one."""

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from clipbert.processing import VideoDecodeError, read_video_metadata
from clipbert.processing.streaming import stream_video
from clipbert.processing.video_sources import describe_source
from clipbert.processing.window_sampling import sample_windows
from clipbert.support.families import find_checkpoint, load_trained
from clipbert.support.terminal import printable


@dataclass
class LabelledSpan:
    """
    What a part of a video shows.

    Args:
        start_s, end_s (`float`): The part, in seconds from the first frame.
        probabilities (`dict[str, float]`): Of the classes, the most probable first. Where a video may show several, those
            of each class by itself.
    """

    start_s: float
    end_s: float
    probabilities: dict[str, float]

    @property
    def label(self) -> str:
        """The most probable class."""
        return next(iter(self.probabilities))


class VideoClassifier:
    """
    A trained classifier with its processor.

    Args:
        model (`PreTrainedModel`): A model with a head `...ForVideoClassification`.
        processor: Saved with it; its options decide which frames are seen.
        device (`torch.device` or `str`, *optional*): Where the model runs; by default on an accelerator, if there is one.
    """

    def __init__(self, model: PreTrainedModel, processor: Any, device: torch.device | str | None = None):
        if not type(model).__name__.endswith("ForVideoClassification"):
            raise ValueError(
                f"{type(model).__name__} names no classes of videos: expected what video_classification.py has trained."
            )
        if device is None:
            device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
        self.model, self.processor = model.to(device).eval(), processor

    @classmethod
    def from_checkpoint(
        cls, name: str | Path, device: torch.device | str | None = None, reads_names: bool = False
    ) -> "VideoClassifier":
        """
        Read a classifier.

        Args:
            name (`str` or `Path`): A run, whose best checkpoint is taken, else its last; a checkpoint; or a name on the Hub.
            device (`torch.device` or `str`, *optional*): See the class.
            reads_names (`bool`, *optional*, defaults to `False`): Take any model of a family that classifies by the names of
                classes, whatever it was trained for; `set_classes` comes next.

        Raises:
            OSError: If there is none of this name.
            ValueError: If it is no classifier.
        """
        head = "VideoClassification" if reads_names else None
        return cls(*load_trained(find_checkpoint(name), head), device=device)

    def set_classes(self, names: Sequence[str], template: str | None = None) -> None:
        """
        Other classes than those it was trained on, where a model reads their names.

        Args:
            names (`Sequence[str]`): One for each class.
            template (`str`, *optional*): The text around a name, such as `"a video of {}"`; by default the model's own.

        Raises:
            ValueError: If the model does not read names, or names are empty or occur twice.
        """
        if not hasattr(self.model, "set_classes"):
            raise ValueError(
                f"{type(self.model).__name__} knows the classes that it was trained on, and no others: "
                f"{', '.join(map(str, self.model.config.id2label.values()))[:300]}."
            )
        self.model.set_classes(names, self.processor, template)

    def classify(self, video: Any, **options: Any) -> dict[str, float]:
        """
        The probabilities of the classes, the most probable first.

        Args:
            video (`Any`): What the processor takes: a path, bytes, frames.
            options: Options of the processor that differ from its own.

        Raises:
            VideoDecodeError: If the video cannot be decoded.
        """
        return self._classify(self.processor(videos=[video], **options))

    @torch.inference_mode()
    def _classify(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, float]:
        logits = (
            self.model(**{name: values.to(self.model.device) for name, values in inputs.items()}).logits[0].float()
        )
        several = self.model.config.problem_type == "multi_label_classification"
        shares = (logits.sigmoid() if several else logits.softmax(dim=0)).cpu()
        names = self.model.config.id2label
        return {names[label]: shares[label].item() for label in shares.argsort(descending=True, stable=True).tolist()}

    def classify_windows(self, video: Any, seconds: float) -> Iterator[LabelledSpan]:
        """
        The labels along a video, window by window, as they are found in one pass through it. The frames of one window are
        held at a time, as small as the model sees them where its processor can stream.

        Args:
            video (`Any`): A path, or bytes.
            seconds (`float`): Length of a window; the last one may be shorter.

        Raises:
            ValueError: If `seconds` is not above 0.
            VideoDecodeError: If the video cannot be decoded, or does not say when its frames are shown.
        """
        if not seconds > 0:
            raise ValueError(f"Expected windows of more than 0 seconds, got {seconds}")
        metadata = read_video_metadata(video)
        times = metadata.seconds_of(range(metadata.total_num_frames))
        if times is None:
            raise VideoDecodeError(describe_source(video), "it does not say when its frames are shown: no windows.")
        window_of = np.floor(np.array(times) / seconds + 1e-9).astype(int)  # a frame on an edge begins the next window
        _, firsts, counts = np.unique(window_of, return_index=True, return_counts=True)
        seen = [
            first + self._seen(count, metadata.fps)
            for first, count in zip(firsts.tolist(), counts.tolist(), strict=True)
        ]
        windows = self._inputs_of_windows(video, np.concatenate(seen), window_of)
        name = printable(describe_source(video).rsplit(os.sep, 1)[-1])
        with tqdm(windows, total=len(seen), desc=name, unit="window", leave=False, disable=None) as bar:
            for window, inputs in bar:
                end_s = float(min((window + 1) * seconds, metadata.duration or np.inf))
                span = LabelledSpan(float(window * seconds), end_s, self._classify(inputs))
                bar.set_postfix_str(f"{show_clock(end_s)} {printable(span.label)}")
                yield span

    def _inputs_of_windows(
        self, video: Any, chosen: np.ndarray, window_of: np.ndarray
    ) -> Iterator[tuple[int, Mapping[str, torch.Tensor]]]:
        """The windows in which `chosen` frames are, with what the model takes of each."""
        is_streamed = hasattr(self.processor, "stream")
        stream = self.processor.stream if is_streamed else stream_video
        frames = (
            (number, frame)
            for chunk in stream(video, chunk_size=1, frame_indices=chosen)  # few large pictures at a time
            for number, frame in zip(chunk.frame_indices.tolist(), chunk.frames, strict=True)
        )
        for window, group in itertools.groupby(frames, key=lambda numbered: window_of[numbered[0]]):
            pictures = [frame for _, frame in group]
            if is_streamed:
                yield int(window), {"pixel_values": torch.stack(pictures)[None]}
            else:
                yield int(window), self.processor(videos=[np.stack(pictures)])

    def _seen(self, num_frames: int, fps: float | None) -> np.ndarray:
        """
        Which frames of a window are seen, by the processor's own options: every `stride`-th one, so many a second, or
        evenly spread ones.
        """
        sampling, stride = self._option("sampling"), self._option("stride")
        if sampling in ("all", "fps"):
            options = {"sampling": sampling, "stride": stride, "rate": self._option("fps")}
            return sample_windows(num_frames, fps, **options).frame_indices[0]
        has_clips = stride is None or sampling == "multi_clip"
        wanted = min(self._option("num_frames") * (self._option("num_clips") if has_clips else 1), num_frames)
        return ((np.arange(wanted) + 0.5) * num_frames / wanted).astype(int)

    def _option(self, name: str) -> Any:
        return getattr(getattr(self.processor, "video_processor", self.processor), name, None)


def show_clock(seconds: float) -> str:
    """Seconds as hours, minutes and seconds: `1:02:03`."""
    return f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02}:{int(seconds) % 60:02}"


def read_class_names(given: str) -> list[str]:
    """
    Names of classes: the lines of a file of this name, else what stands between commas.

    Example:
        >>> read_class_names("run, jump")
        ['run', 'jump']
    """
    is_file = len(given) < 4096 and Path(given).is_file()
    names = Path(given).read_text(encoding="utf-8").rstrip().splitlines() if is_file else given.split(",")
    return [name.strip() for name in names]


__all__ = ["LabelledSpan", "VideoClassifier", "read_class_names"]
