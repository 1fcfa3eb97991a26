# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
When something happens in a video of any length: it is encoded once, and asked any number of sentences.

    video file --stream--> frames, a few at a time --> one vector each --> segments of windows --> EncodedVideo
    sentences -------------------------------------------------------------------------------->  .locate(sentences)

`long_video="pool"` cuts a whole video into as many segments as the model takes, so that those of an hour last half a minute.
`"slide"` cuts it into windows that overlap. Start and end are soft-maxes over a window, and one without the moment is as sure
of itself as the right one; so windows are compared by the scores in front of the soft-max.

Letters: W windows, N segments of each, K frames of a segment, M frames of the video that are seen, D_v size of a vector, Q sentences.
"""

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from clipbert.processing import VideoDecodeError, join_windows, plan_windows
from clipbert.processing.moment_spans import RANKINGS
from clipbert.processing.option_checks import refuse_unknown_options
from clipbert.processing.video_sources import describe_source
from clipbert.processing.visual_inputs import make_video_batch


LONG_VIDEO = ("slide", "pool")
WINDOW_SECONDS = 150.0
WINDOW_BLOCK = 16  # windows that attend to themselves at a time
ROW_BLOCK = 16_384  # segments of pairs of a sentence and a window that are scored at a time
SHARING = 4  # windows at most that an answer lies in or overlaps


class EncodedVideo:
    """
    A video, or windows of it, as far as no sentence is needed. Vectors of segments are all that it holds.

    Args:
        model: A model for moments: `encode_texts`, `match_moments`.
        processor ([`MomentRetrievalProcessor`]): Its processor.
        videos (`EncodedVideos`): Of `model.encode_videos`: the windows in order of time.
        spans_se (`Sequence[tuple[float, float]]`): Start and end of each window, in seconds.
    """

    def __init__(self, model: Any, processor: Any, videos: Any, spans_se: Sequence[tuple[float, float]]):
        self.model, self.processor, self.videos = model, processor, videos
        self.spans_se = [(float(start_s), float(end_s)) for start_s, end_s in spans_se]

    @property
    def duration_s(self) -> float:
        """Seconds from the start of the first window to the end of the last one."""
        return self.spans_se[-1][1] - self.spans_se[0][0]

    @torch.no_grad()
    def locate(
        self,
        texts: str | Sequence[str],
        top_k: int = 5,
        nms_iou: float = 0.5,
        ranking: str | None = None,
        rescore_with_segmentation: float = 0.0,
        **bounds: Any,
    ) -> list[list[dict[str, Any]]]:
        """
        The moments of sentences.

        Args:
            texts (`str` or `list[str]`): The sentences.
            top_k (`int`, *optional*, defaults to 5): Most answers of each.
            nms_iou (`float`, *optional*, defaults to 0.5): An answer that overlaps a better one by more is left out.
            ranking (`str`, *optional*):
                `"joint"`: probability of start and end; `"joint_with_segmentation"`; `"unnormalised"`: sum of their scores. By
                default `"unnormalised"` where there are several windows, and `"joint"` in a single one.
            rescore_with_segmentation (`float`, *optional*, defaults to 0.0): Weight of the third head in the ranking.
            bounds: `min_segments`, `max_segments` and `max_seconds` of an answer.

        Returns:
            `list[list[dict]]`: For each sentence, best first, `start_s` and `end_s` in seconds from the start of the file,
            `score` and `segment_score`, see `post_process_moments` of the processor.

        Raises:
            ValueError: If a sentence has no words, or an option is out of range.
        """
        texts = check_sentences(texts)
        check_answers(top_k, nms_iou, ranking)
        starts, ends = torch.tensor(self.spans_se, dtype=torch.float64).unbind(1)
        count, found = len(starts), []
        options = {"rescore_with_segmentation": rescore_with_segmentation, **bounds}
        options["ranking"] = ranking or ("joint" if count == 1 else "unnormalised")
        is_plain = not (rescore_with_segmentation or bounds) and options["ranking"] != "joint_with_segmentation"
        for outputs, windows in self._match(texts):
            kept = count
            if is_plain and SHARING * top_k < count:
                kept = SHARING * top_k
                rows = promising_rows(outputs, count, kept, options["ranking"] == "joint")
                outputs, windows = _take(outputs, rows), windows[rows]
            answers = self.processor.post_process_moments(
                outputs, ends - starts, top_k, nms_iou, video_indices=windows, starts_s=starts, **options
            )
            found += (answers[row : row + kept] for row in range(0, len(answers), kept))
        return [join_windows(of_windows, top_k, nms_iou) for of_windows in found]

    @torch.no_grad()
    def curves(self, texts: str | Sequence[str]) -> list[dict[str, Any]]:
        """
        What the model thinks of each segment of the video: for pictures.

        Of windows that overlap, each tells of the seconds that lie nearest to its middle.

        Args:
            texts (`str` or `list[str]`): The sentences.

        Returns:
            `list[dict]`: For each sentence `start_s` and `end_s` of the segments, rising; `start` and `end`, the soft-maxes of
            the two heads over these segments; `inside`, the probability to lie inside (`None` without that head); `words`
            and `word_weights`, how much each segment reads each of them (`None` where segments read no words).
        """
        texts = check_sentences(texts)
        borders, is_shown = self._borders()
        starts, ends = (border[is_shown].tolist() for border in borders.unbind(-1))
        found, count = [], len(self.spans_se)
        for outputs, windows in self._match(texts, output_attentions=True):
            for first in range(0, len(windows), count):

                def of_segments(values, first=first):  # (W, N, ...) -> (shown segments, ...)
                    return None if values is None else values[first : first + count].cpu()[is_shown]

                inside, weights = of_segments(outputs.segment_logits), of_segments(outputs.word_attentions)
                words = self._words(texts[len(found)])
                found.append(
                    {
                        "start_s": starts,
                        "end_s": ends,
                        "start": of_segments(outputs.start_logits).softmax(dim=0).tolist(),
                        "end": of_segments(outputs.end_logits).softmax(dim=0).tolist(),
                        "inside": None if inside is None else inside.sigmoid().tolist(),
                        "words": words,
                        "word_weights": None if weights is None else weights[:, : len(words)].tolist(),
                    }
                )
        return found

    def _match(self, texts: Sequence[str], **options: Any) -> Iterator[tuple[Any, torch.Tensor]]:
        """Scores of some sentences after the other, a row for each window of each; and of which window each row is."""
        inputs = self.processor(text=list(texts)).to(self.model.device)
        encoded = self.model.encode_texts(inputs["input_ids"], inputs["attention_mask"])
        count = len(self.spans_se)
        step = max(ROW_BLOCK // self.videos.mask.numel(), 1)
        for first in range(0, len(texts), step):
            some = type(encoded)(*(part[first : first + step].repeat_interleave(count, dim=0) for part in encoded))
            windows = torch.arange(count, device=self.model.device).repeat(len(some[0]) // count)
            yield self.model.match_moments(some, self.videos, windows, **options), windows

    def _borders(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Start and end of each segment in seconds, `(W, N, 2)`, and which ones a curve shows, `(W, N)`."""
        mask = self.videos.mask.cpu()
        starts, ends = torch.tensor(self.spans_se, dtype=torch.float64).unbind(1)
        seconds = ((ends - starts) / mask.sum(dim=1))[:, None]
        steps = torch.arange(mask.shape[1])
        borders = torch.stack([starts[:, None] + steps * seconds, starts[:, None] + (steps + 1) * seconds], dim=-1)
        centres = (starts + ends) / 2
        between = (centres[1:] + centres[:-1]) / 2  # of two windows
        nearest = torch.bucketize(borders.mean(dim=-1), between, right=True)
        return borders, mask & (nearest == torch.arange(len(mask))[:, None])

    def _words(self, text: str) -> list[str]:
        """The tokens of a sentence as they are read."""
        ids = self.processor(text=[text])["input_ids"][0].tolist()
        return [self.processor.tokenizer.decode([token]).strip() for token in ids]


def encode_video(
    model: Any,
    processor: Any,
    video: Any = None,
    *,
    video_features: Any = None,
    duration_s: float | None = None,
    span_se: tuple[float, float] | None = None,
    long_video: str = "slide",
    window_seconds: float = WINDOW_SECONDS,
    **options: Any,
) -> EncodedVideo:
    """
    Encode a video for any number of sentences: in one pass through the file, each frame once, a few in memory at a time.

    Args:
        model: A model for moments, such as [`CIMHAForMomentRetrieval`].
        processor ([`MomentRetrievalProcessor`]): Its processor.
        video: A path, URL, bytes, an open file, an array, a tensor, or a list of PIL images.
        video_features, duration_s (*optional*): Instead of a video, its features `(n, D)` or their file, and
            its seconds, unless the card of the file tells them.
        span_se (`tuple[float, float]`, *optional*): The part to look at, in seconds; all of it by default.
        long_video (`str`, *optional*, defaults to `"slide"`): How to look at what is longer than a window: `"slide"`, by
            windows that overlap by half, or `"pool"`, as a whole whose segments last longer.
        window_seconds (`float`, *optional*, defaults to 150.0): Length of a window.
        options: Of the video processor, such as `segments_per_second`.

    Raises:
        ValueError: If arguments do not fit each other, or the model takes no frames.
        TypeError: If there is no such option.
        FeatureFileError: If features cannot be read, or were made otherwise than those of training.
        VideoDecodeError: If the video cannot be read.

    Example:
        >>> encoded = encode_video(model, processor, "film.mp4")  # doctest: +SKIP
        >>> encoded.locate(["a man opens the door", "he leaves"], top_k=1)  # doctest: +SKIP
        [[{'start_s': 2.4, 'end_s': 6.1, 'score': 0.61, 'segment_score': 0.8}], ...]
    """
    if long_video not in LONG_VIDEO:
        raise ValueError(f"long_video must be one of {', '.join(map(repr, LONG_VIDEO))}, got {long_video!r}.")
    if (video is None) == (video_features is None):
        raise ValueError("Expected a video, or video_features with duration_s: one of the two.")
    refuse_unknown_options(options, processor.video_processor.valid_kwargs.__annotations__, "encode_video")
    window_s = window_seconds if long_video == "slide" else None
    with torch.no_grad():
        if video is not None:
            features, mask, spans = _read_video(model, processor, video, span_se, window_s, options)
        else:
            features, mask, spans = _read_features(processor, video_features, duration_s, span_se, window_s, options)
        blocks = [
            model.encode_videos(video_features=some.to(model.device), video_mask=is_there.to(model.device))
            for some, is_there in zip(features.split(WINDOW_BLOCK), mask.split(WINDOW_BLOCK), strict=True)
        ]
    return EncodedVideo(model, processor, type(blocks[0])(*map(torch.cat, zip(*blocks, strict=True))), spans)


def promising_rows(outputs: Any, count: int, kept: int, is_normalised: bool) -> torch.Tensor:
    """
    The rows of the windows with the best spans, so many of each sentence: all others need not be decoded.

    An answer overlaps at most three other windows, so that k answers, with all that they suppress, stand in 4 k windows; the best span
    of one of lower rank can be none of them.

    Args:
        outputs: Scores, a row for each of `count` windows of each sentence.
        count, kept (`int`): Windows of a sentence, and how many to keep.
        is_normalised (`bool`): Whether spans are ranked by their probability within the window.

    Returns:
        `torch.LongTensor` of shape `(sentences * kept,)`: Their numbers, rising.
    """
    start, end = outputs.start_logits, outputs.end_logits
    best = (start.cummax(dim=1).values + end).amax(dim=1)  # of all spans that end where they begin, or later
    if is_normalised:
        best = best - start.logsumexp(dim=1) - end.logsumexp(dim=1)
    windows = best.view(-1, count).topk(kept).indices.sort(dim=1).values
    return (windows + torch.arange(len(windows), device=windows.device)[:, None] * count).flatten()


def _take(outputs: Any, rows: torch.Tensor) -> SimpleNamespace:
    """Some rows of scores."""
    names = ("start_logits", "end_logits", "segment_logits", "segment_mask")
    scores = {name: getattr(outputs, name) for name in names}
    return SimpleNamespace(**{name: None if values is None else values[rows] for name, values in scores.items()})


def locate_moments(
    model: Any,
    processor: Any,
    video: Any = None,
    texts: str | Sequence[str] = (),
    *,
    top_k: int = 5,
    nms_iou: float = 0.5,
    ranking: str | None = None,
    **options: Any,
) -> list[list[dict[str, Any]]]:
    """
    When in a video sentences happen: [`encode_video`] and [`EncodedVideo.locate`] in one call.

    Args:
        model, processor, video: See [`encode_video`].
        texts (`str` or `list[str]`): The sentences.
        top_k, nms_iou, ranking (*optional*): See [`EncodedVideo.locate`].
        options: Others of [`encode_video`].

    Returns:
        `list[list[dict]]`: The moments of each sentence, best first.
    """
    texts = check_sentences(texts)
    check_answers(top_k, nms_iou, ranking)  # before the video is opened
    return encode_video(model, processor, video, **options).locate(texts, top_k, nms_iou, ranking)


def check_sentences(texts: str | Sequence[str]) -> list[str]:
    """
    Sentences as a list.

    Raises:
        ValueError: If there is none, or one has no words.
        TypeError: If one is no text.
    """
    texts = [texts] if isinstance(texts, str) else list(texts)
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"Expected sentences, got {type(text).__name__} as sentence {number}.")
        if not text.strip():
            raise ValueError(f"Sentence {number} has no words: {text!r}.")
    if not texts:
        raise ValueError("Expected at least one sentence, got none.")
    return texts


def check_answers(top_k: int, nms_iou: float, ranking: str | None) -> None:
    """Raise `ValueError` for an option of answers that is out of range."""
    if top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}.")
    if not 0 <= nms_iou <= 1:
        raise ValueError(f"nms_iou must lie in [0, 1], got {nms_iou}.")
    if ranking not in (None, *RANKINGS):
        raise ValueError(f"ranking must be one of {', '.join(map(repr, RANKINGS))}, got {ranking!r}.")


def _read_video(
    model: Any, processor: Any, video: Any, span_se: Any, window_s: float | None, options: dict[str, Any]
) -> tuple[torch.Tensor, torch.Tensor, list[tuple[float, float]]]:
    """Vectors of the segments of each window, `(W, N, D_v)`, which ones exist, and where the windows lie."""
    if model.frame_encoder is None:
        raise ValueError(
            "This model reads features and takes no frames: pass video_features, of the kind that it was trained on, with "
            "duration_s."
        )
    videos = make_video_batch(video)
    if len(videos) > 1:
        raise ValueError(f"Expected one video, got {len(videos)}: encode them one by one.")
    reader, (video,) = processor.video_processor, videos
    samples = reader.plan(video, span_se, window_s, **options)
    numbers = np.unique(np.concatenate([sample.frame_indices.ravel() for sample in samples]))  # (M,)
    vectors, num_seen = torch.empty(len(numbers), model.frame_feature_size), 0
    for chunk in reader.stream(video, samples, **options):
        found = model.encode_frames(torch.stack(chunk.frames).to(model.device))
        vectors[np.searchsorted(numbers, chunk.frame_indices)] = found.float().cpu()
        num_seen += len(found)
    if num_seen < len(numbers):
        reason = f"{num_seen} of the {len(numbers)} frames that are to be seen could be decoded."
        raise VideoDecodeError(describe_source(video), reason)
    segments = [vectors[np.searchsorted(numbers, sample.frame_indices)].mean(dim=1) for sample in samples]
    counts = torch.tensor([len(of_window) for of_window in segments])
    features = torch.nn.utils.rnn.pad_sequence(segments, batch_first=True)
    mask = torch.arange(features.shape[1]) < counts[:, None]
    return features, mask, [sample.span_se for sample in samples]


def _read_features(
    processor: Any,
    video_features: Any,
    duration_s: float | None,
    span_se: Any,
    window_s: float | None,
    options: dict[str, Any],
) -> tuple[torch.Tensor, torch.Tensor, list[tuple[float, float]]]:
    """The same of features that somebody else has made."""
    # The processor reads them, each time: published, it is made of another copy of the files than this one, and classes of
    # ours are strangers to it.
    durations = None if duration_s is None else [duration_s]
    duration_s = processor(video_features=[video_features], durations=durations, **options)["durations"].item()
    start_s, end_s = span_se or (0.0, duration_s)
    windows = [(0.0, end_s - start_s)] if window_s is None else plan_windows(end_s - start_s, window_s)
    spans = [(start_s + first, start_s + last) for first, last in windows]
    batch = processor(
        video_features=[video_features] * len(spans), durations=[duration_s] * len(spans), spans_se=spans, **options
    )
    ends = batch["starts_s"] + batch["durations"]
    return (
        batch["video_features"],
        batch["video_mask"].bool(),
        list(zip(batch["starts_s"].tolist(), ends.tolist(), strict=True)),
    )


__all__ = [
    "LONG_VIDEO",
    "WINDOW_SECONDS",
    "EncodedVideo",
    "check_answers",
    "check_sentences",
    "encode_video",
    "locate_moments",
]
