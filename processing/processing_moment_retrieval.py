# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Sentences and videos, or features of videos, into the inputs of a model that finds moments; its scores into seconds."""

import os
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers.feature_extraction_utils import BatchFeature

from .feature_files import VideoFeatures, check_card, read_features
from .feature_rows import FeatureFileError, check_rows, cut_rows, pool_rows
from .moment_spans import decode_moments, span_targets
from .processing_video_text import VideoTextProcessor
from .video_processing import check_span


METADATA = ("frame_indices", "frame_seconds", "video_metadata")


class MomentRetrievalProcessor(VideoTextProcessor):
    r"""Turns videos, or features of videos, and sentences into the inputs of a model that finds moments.

    Args:
        video_processor ([`CIMHAVideoProcessor`]): What prepares the frames, and says how many segments there are at most.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]): What prepares the words. Sentences are brought to one Unicode
            form (NFC) before: what looks equal is equal.
        max_length (`int`, *optional*, defaults to 25): Longest sentence in tokens; longer ones lose their end.
        feature_card (`dict`, *optional*): What the features of the model's training were; files of others are refused.

    Example:
        >>> from transformers import BertTokenizer

        >>> from clipbert import CIMHAVideoProcessor

        >>> words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "door", "opens"]
        >>> tokenizer = BertTokenizer(vocab={word: index for index, word in enumerate(words)})
        >>> processor = MomentRetrievalProcessor(CIMHAVideoProcessor(), tokenizer)
        >>> features = [np.zeros((10, 4)), np.zeros((200, 4))]
        >>> text = [["a door", "a door opens"], ["a door opens"]]
        >>> batch = processor(video_features=features, durations=[5.0, 64.0], text=text, spans=[(1, 2), (0, 5), (32, 64)])
        >>> batch["video_features"].shape, batch["video_indices"].tolist(), batch["end_positions"].tolist()
        (torch.Size([2, 128, 4]), [0, 0, 1], [3, 9, 127])
    """

    def __init__(
        self,
        video_processor=None,
        tokenizer=None,
        max_length: int | None = 25,
        feature_card: dict[str, Any] | None = None,
    ):
        super().__init__(video_processor, tokenizer, max_length)
        self.feature_card = feature_card

    def __call__(
        self,
        images: None = None,
        text: str | Sequence[str] | Sequence[Sequence[str]] | None = None,
        videos: Any = None,
        video_features: Any = None,
        durations: Sequence[float] | None = None,
        spans: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Prepare one batch.

        Args:
            images: Not taken: a picture has no moments.
            text (`str`, `list[str]` or `list[list[str]]`, *optional*): One sentence a video, or for each video a list of
                them; `video_indices` then says which video each one asks of.
            videos: One video or several: paths, URLs, bytes, open files, arrays, tensors, lists of PIL images.
            video_features (`list`, *optional*): Instead of videos, for each an array `(n, D)`, whose rows cover it evenly; the
                file of one video, in any layout of `feature_files.py`; or the [`VideoFeatures`] that [`FeatureFiles`] gives
                by id. More rows than `max_segments` are pooled.
            durations (`list[float]`, *optional*): Seconds of the videos, for features whose cards do not tell; videos know
                theirs.
            spans (`list`, *optional*): The annotated moment of each sentence, `(start_s, end_s)` in seconds from the start
                of the video, or `None` where there is none; nested by video if texts are.
            kwargs: Options of the tokenizer and of the video processor, for this call only. `spans_se` is for each video
                the part to look at, also of features. With `segments` videos and their features may come together: frames of
                these segments alone, `grad_segments`, and features of all.

        Returns:
            [`~transformers.BatchFeature`] with those of the following that the call has inputs for:

            - **input_ids**, **attention_mask** of shape `(sentences, length)`.
            - **video_indices** of shape `(sentences,)`, where texts are nested.
            - **pixel_values** of shape `(videos, segments, frames, 3, height, width)` with **frame_mask**, or
              **video_features** of shape `(videos, segments, D)`, float32; with `segments` both, and **grad_segments**
              `(videos, shown)`, the numbers of those in `pixel_values`, -1 for none.
            - **video_mask** of shape `(videos, segments)`, 1 = a segment.
            - **durations** of shape `(videos,)`, float64: the seconds that the segments of each video cover. For
              [`post_process_moments`].
            - **starts_s** of shape `(videos,)`, where these begin, if there are `spans_se`.
            - **start_positions**, **end_positions** of shape `(sentences,)`: first and last segment of `spans`, -100 where
              nothing of a moment lies in the part that is looked at.

        Raises:
            ValueError: If numbers of videos, sentences, durations and spans do not fit each other.
            VideoDecodeError: If a video cannot be read.
            FeatureFileError: If features cannot be read, or have another card than `feature_card`.
        """
        if images is not None:
            raise ValueError("Got images: moments are found in videos.")
        if durations is not None and video_features is None:
            raise ValueError("Got durations without video_features: videos know theirs.")
        text = None if text is None else _to_nfc(text)
        text_kwargs, videos_kwargs = self._route_options(dict(kwargs))
        if videos is not None and video_features is not None and videos_kwargs.get("segments") is None:
            raise ValueError(
                "Got both videos and video_features: pass one of them, or the `segments` to look at, too."
            )
        tensors = text_kwargs["return_tensors"]
        wants_metadata = videos_kwargs.get("return_metadata", getattr(self.video_processor, "return_metadata", False))
        if video_features is not None:
            visual = self._prepare_features(video_features, durations, videos_kwargs)
            if videos is not None:
                visual |= self._look_at_segments(videos, visual["video_mask"], videos_kwargs)
            data = {} if text is None else self._prepare_text(text, None, {"videos": visual["durations"]}, text_kwargs)
            data |= visual
        else:
            if videos is not None:
                kwargs = {**kwargs, "return_metadata": True}
            data = dict(super().__call__(text=text, videos=videos, **kwargs))
            if not wants_metadata:
                data = {name: values for name, values in data.items() if name not in METADATA}
            if videos is not None and videos_kwargs.get("spans_se") is not None:
                starts = [0.0 if part is None else part[0] for part in videos_kwargs["spans_se"]]
                data["starts_s"] = torch.tensor(starts, dtype=torch.float64)
        if spans is not None:
            data |= self._place_spans(spans, data)
        return BatchFeature(data, tensors, skip_tensor_conversion=["video_metadata"])

    def _prepare_features(
        self, video_features: Any, durations: Sequence[float | None] | None, videos_kwargs: dict[str, Any]
    ) -> dict[str, torch.Tensor]:
        known = {"spans_se", "max_segments", "return_tensors", "return_metadata"}
        if (
            unknown := sorted(set(videos_kwargs) - known)
        ) and "segments" not in unknown:  # with these there are videos, too
            raise ValueError(f"Got {', '.join(unknown)} with video_features: these are for videos.")
        if isinstance(video_features, str | os.PathLike | VideoFeatures) or getattr(video_features, "ndim", 0) == 2:
            video_features = [video_features]
        durations = [None] * len(video_features) if durations is None else durations
        if len(durations) != len(video_features):
            raise ValueError(f"Got {len(durations)} durations for features of {len(video_features)} videos.")
        parts = videos_kwargs.get("spans_se")
        parts = [None] * len(video_features) if parts is None else parts
        if len(parts) != len(video_features):
            raise ValueError(f"Got spans_se of {len(parts)} videos for features of {len(video_features)}.")
        most = videos_kwargs.get("max_segments") or self.video_processor.max_segments
        rows, seconds = [], []
        for place, (features, duration_s, part) in enumerate(zip(video_features, durations, parts, strict=True)):
            features, start_s, end_s = self._read_features(features, duration_s, part, place)
            rows.append(torch.from_numpy(pool_rows(features, most)))
            seconds.append((start_s, end_s - start_s))
        widths = {len(features[0]) for features in rows}
        if len(widths) > 1:
            raise ValueError(f"Features of one batch have different sizes: {sorted(widths)}.")
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)  # (B, N, D)
        counts = torch.tensor([len(features) for features in rows])
        starts, lengths = torch.tensor(seconds, dtype=torch.float64).unbind(1)
        data = {"video_features": padded, "video_mask": (torch.arange(padded.shape[1]) < counts[:, None]).long()}
        return (
            data | {"durations": lengths} | ({"starts_s": starts} if videos_kwargs.get("spans_se") is not None else {})
        )

    def _look_at_segments(
        self, videos: Any, video_mask: torch.Tensor, videos_kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        """The frames of a few segments of videos whose features are there."""
        frames = self.video_processor(videos, **{**videos_kwargs, "return_tensors": "pt", "return_metadata": False})
        there, planned = video_mask.sum(dim=1).tolist(), frames["video_mask"].sum(dim=1).tolist()
        if there != planned:
            raise ValueError(
                f"Videos are cut into {planned} segments, and there are features of {there}: both must agree."
            )
        return {name: frames[name] for name in ("pixel_values", "frame_mask", "grad_segments")}

    def _read_features(
        self, given: Any, duration_s: float | None, part: tuple[float, float] | None, place: int
    ) -> tuple[np.ndarray, float, float]:
        """Rows of a video or a part of it, and the seconds at which they begin and end."""
        if isinstance(given, str | os.PathLike):
            given = read_features(given)
        if isinstance(given, VideoFeatures):
            check_card(self.feature_card, given)
            duration_s = (given.card or {}).get("duration_s") if duration_s is None else duration_s
        else:
            given = VideoFeatures(check_rows(given, f"video {place}"), f"video {place}")
        if duration_s is None:
            raise ValueError(f"Got no durations, and no card tells the seconds of {given.name}: pass durations.")
        if not 0 < float(duration_s) < np.inf:
            raise ValueError(f"durations: expected positive seconds for {given.name}, got {duration_s}.")
        if part is None:
            return given.rows, 0.0, float(duration_s)
        try:
            check_span(part, duration_s)
        except ValueError as error:
            raise FeatureFileError(given.name, str(error)) from error
        return cut_rows(given.rows, duration_s, part)

    def _place_spans(self, spans: Sequence[Any], data: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        if "input_ids" not in data or "video_mask" not in data:
            raise ValueError("spans are moments of sentences in videos: pass text, and videos or video_features, too.")
        if "video_indices" in data and len(spans) == len(data["durations"]) and _is_nested(spans):
            spans = [span for of_video in spans for span in of_video]
        if len(spans) != len(data["input_ids"]):
            raise ValueError(
                f"Got spans of {len(spans)} moments for {len(data['input_ids'])} sentences: expected one each."
            )
        of = torch.as_tensor(data.get("video_indices", range(len(spans))))
        durations, mask = torch.as_tensor(data["durations"]), torch.as_tensor(data["video_mask"])
        starts = torch.as_tensor(data.get("starts_s", torch.zeros_like(durations)))
        # a moment that is none ends where it begins
        seconds = [(0.0, 0.0) if span is None else tuple(map(float, span)) for span in spans]
        seconds = torch.tensor(seconds, dtype=torch.float64).view(-1, 2) - starts[of, None]
        first, last = span_targets(seconds, durations[of], mask.sum(dim=1)[of])
        return {"start_positions": first, "end_positions": last}

    def post_process_moments(
        self,
        outputs: Any,
        durations: Any,
        top_k: int = 5,
        nms_iou: float = 0.5,
        ranking: str = "joint",
        rescore_with_segmentation: float = 0.0,
        video_indices: Any = None,
        starts_s: Any = None,
        **bounds: Any,
    ) -> list[list[dict[str, Any]]]:
        """Scores of a model into seconds (section 10).

        Args:
            outputs: What the model said: `start_logits`, `end_logits` and `segment_mask` of shape `(queries, segments)`, and
                `segment_logits` or `None`.
            durations (`torch.Tensor` or `list`): Seconds that the segments of each query cover, or of each video where there
                are `video_indices`: `durations` of the batch.
            top_k (`int`, defaults to 5): Most answers of a query.
            nms_iou (`float`, defaults to 0.5): An answer that overlaps a better one by more is left out.
            ranking, rescore_with_segmentation: See `decode_moments`. `"unnormalised"` is for windows of a long video.
            video_indices (`torch.Tensor`, *optional*): Which video each query asks of, as in the batch.
            starts_s (`torch.Tensor` or `list`, *optional*): Where each part that was looked at begins, likewise.
            bounds: `min_segments`, `max_segments` and `max_seconds` of an answer.

        Returns:
            `list[list[dict]]`: For each query its moments, best first: `start_s` and `end_s` in seconds from the start of the
            video, `score` (the probability of start and end; the sum of their scores where these are unnormalised; what
            answers were ranked by where segment scores are added) and `segment_score` in [-1, 1] (`None` without a third
            head).

        Raises:
            ValueError: If the ranking is unknown, or numbers do not fit each other.
        """
        mask = outputs.segment_mask
        on_cpu = {"dtype": torch.float64, "device": "cpu"}
        durations = torch.as_tensor(durations, **on_cpu)
        starts = torch.zeros_like(durations) if starts_s is None else torch.as_tensor(starts_s, **on_cpu)
        if video_indices is not None:
            of = torch.as_tensor(video_indices, device="cpu").long()
            durations, starts = durations[of], starts[of]
        if not len(durations) == len(starts) == len(mask):
            raise ValueError(
                f"Got {len(durations)} durations and {len(starts)} starts for {len(mask)} queries: expected one each, or "
                "video_indices that say which video a query asks of."
            )
        how = {"rescore_with_segmentation": rescore_with_segmentation, **bounds}
        found = decode_moments(outputs, durations, top_k, nms_iou, ranking, **how)
        for moments, start in zip(found, starts.tolist(), strict=True):
            for moment in moments:
                moment["start_s"] += start
                moment["end_s"] += start
        return found

    @property
    def model_input_names(self) -> list[str]:
        return list(dict.fromkeys([*super().model_input_names, "video_features", "video_mask"]))


def _to_nfc(text: Any) -> Any:
    """Letters with marks in one form; anything that is no text is left for others to refuse."""
    if isinstance(text, str):
        return unicodedata.normalize("NFC", text)
    return [_to_nfc(entry) for entry in text] if isinstance(text, list | tuple) else text


def _is_nested(spans: Sequence[Any]) -> bool:
    """Whether spans come in lists, one for each video."""
    return all(isinstance(entry, list | tuple) and not any(np.isscalar(each) for each in entry) for entry in spans)


__all__ = ["MomentRetrievalProcessor"]
