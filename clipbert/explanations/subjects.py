# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What is explained: a number that a model says of a video, as a function of its pixels and of the words that are asked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from clipbert.pipelines.video_pipeline import ReadVideo, VideoPipeline
from clipbert.support.terminal import show_seconds


MOMENTS = "moment-retrieval"


class ExplanationError(ValueError):
    """What is asked cannot be explained; the message says what can."""


@dataclass
class Subject:
    """
    A score of one video.

    Args:
        video (`ReadVideo`): What the model takes of it, a batch of one.
        label (`str`): What is scored: a text, an answer, a class.
        kind (`str`): What the score is, such as `"log-odds"`.
        words (`list[str]`): Of the text or the question; empty of a classifier.
        has_clips (`bool`): Whether its clips are scored each by itself, so that one can be left out.
        score (`Callable`): From pixels `(variants, ...)` of the shape of the video's, words, and further inputs of the model by
            their names, with as many rows, to scores `(variants,)`, differentiable in the pixels.
    """

    video: ReadVideo
    label: str
    kind: str
    words: list[str]
    score: Callable[[torch.Tensor, list[str], Mapping[str, torch.Tensor]], torch.Tensor]
    has_clips: bool = True

    @property
    def pixels(self) -> torch.Tensor:
        """Of the video `(1, ..., frames, 3, height, width)`, as the model takes them."""
        return self.video.inputs["pixel_values"]

    def __call__(self, pixels: torch.Tensor | None = None, words: list[str] | None = None) -> torch.Tensor:
        """Scores `(variants,)` of other pixels of the same shape `(variants, ...)`, or of other words."""
        pixels, words = self.pixels if pixels is None else pixels, self.words if words is None else words
        more = {name: values.expand(len(pixels), *values.shape[1:]) for name, values in further(self.video).items()}
        return self.score(pixels, words, more)

    def without_clip(self, number: int) -> float | None:
        """The score without one of several clips; `None` of a model that sees a video as one."""
        pixels, more = self.pixels, further(self.video)
        if not self.has_clips or pixels.ndim < 6 or pixels.shape[1] < 2:
            return None
        kept = [clip for clip in range(pixels.shape[1]) if clip != number]
        more = {name: values[:, kept] if values.ndim > 1 else values for name, values in more.items()}
        return self.score(pixels[:, kept], self.words, more)[0].item()


def further(video: ReadVideo) -> dict[str, torch.Tensor]:
    """What a model takes of a video beside its pixels, such as which clips exist."""
    return {name: values for name, values in video.inputs.items() if name != "pixel_values"}


def subject_of(pipe: VideoPipeline, entry: Any, target: str | None = None, **asked: Any) -> Subject:
    """
    What a pipeline says of a video.

    Args:
        pipe (`VideoPipeline`): For retrieval, questions, classes or moments.
        entry: A video, as the pipeline takes it.
        target (`str`, *optional*): The answer or the class to explain; by default the best one.
        **asked: `candidate_texts` (one), `question` (one) with `options`, `query` (one), or nothing; options of the processor. A video in
            which a moment is looked for is seen as a whole, in as many segments as the model takes.

    Returns:
        [`Subject`].

    Raises:
        ExplanationError: If the pipeline is another one, several things are asked, or the model knows no such answer.
        TypeError, ValueError, VideoDecodeError: As the pipeline raises them.
    """
    task = pipe.task
    if task not in SUBJECTS:
        raise ExplanationError(f"{task} has no explanation of this kind; expected one of {', '.join(SUBJECTS)}.")
    question = pipe.ask({**_as_entry(entry), **{name: asked.pop(name) for name in pipe.keys if name in asked}}, {})
    if task == MOMENTS:  # whose pipeline streams a video through its model; here it is read as a whole
        question.source = _as_read_whole(question.source)
        question.video = VideoPipeline.preprocess(pipe, question, **asked)
    else:
        question.video = pipe.preprocess(question, **asked)
    question.video.inputs = pipe.to_device(question.video.inputs)
    return SUBJECTS[task](pipe, question, target)


def _as_entry(entry: Any) -> dict[str, Any]:
    return dict(entry) if isinstance(entry, Mapping) else {"video": entry}


def _as_read_whole(source: Mapping[str, Any]) -> dict[str, Any]:
    """The video of a question about moments, as a processor takes it."""
    if "video" not in source:
        raise ExplanationError("Expected a video, got features: nothing tells which places they are of.")
    span = {"spans_se": [source["span_se"]]} if "span_se" in source else {}
    return {"videos": [source["video"]], **span}


def _of_text(pipe: VideoPipeline, question: Any, target: str | None) -> Subject:
    texts = question.asked["texts"]
    if len(texts) != 1 or target is not None:
        raise ExplanationError("Expected one text to explain, which is its own target.")
    model = pipe.model

    def score(pixels: torch.Tensor, words: list[str], more: Mapping[str, torch.Tensor]) -> torch.Tensor:
        tokens = pipe.processor(text=[" ".join(words)]).to(model.device)
        encoded = model.encode_texts(tokens["input_ids"], tokens["attention_mask"])
        rows = torch.zeros(len(pixels), dtype=torch.long, device=model.device)
        one = {name: values[rows] for name, values in encoded.items() if values is not None}
        videos, places = model.encode_videos(pixels, **more), torch.arange(len(pixels), device=model.device)
        return model.match(one, videos, places, **more).match_odds.float()

    return Subject(question.video, texts[0], "log-odds", texts[0].split(), score)


def _of_question(pipe: VideoPipeline, question: Any, target: str | None) -> Subject:
    questions, options = question.asked["questions"], question.asked["options"]
    if len(questions) != 1:
        raise ExplanationError("Expected one question to explain.")
    model, given = pipe.model, {"options": options} if options else {}
    counts, is_bce = pipe.mode == "count", getattr(pipe.model, "task_loss", "ce") == "bce"

    def logits(pixels: torch.Tensor, words: list[str], more: Mapping[str, torch.Tensor]) -> torch.Tensor:
        tokens = pipe.processor(text=[" ".join(words)], **given).to(model.device)
        rows = torch.zeros(len(pixels), dtype=torch.long, device=model.device)
        texts = {name: tokens[name][rows] for name in ("input_ids", "attention_mask")}
        places = torch.arange(len(pixels), device=model.device)
        videos = model.encode_videos(pixels, **more)
        return model(**texts, visual_embeds=videos, video_indices=places, pooled_only=True, **more).logits.float()

    words = questions[0].split()
    names = (
        options[0] if options else [] if counts else [model.config.id2label[n] for n in range(model.config.num_labels)]
    )
    if counts:
        if target is not None:
            raise ExplanationError("A model that counts has one answer: leave the target out.")
        return Subject(question.video, "the count", "count", words, lambda *given: logits(*given)[:, 0])
    label = _choose(
        names, target, lambda: logits(question.video.inputs["pixel_values"], words, further(question.video))
    )
    number = names.index(label)
    scores = torch.nn.functional.logsigmoid if is_bce else _log_softmax
    return Subject(question.video, label, "log-probability", words, lambda *given: scores(logits(*given))[:, number])


def _of_class(pipe: VideoPipeline, question: Any, target: str | None) -> Subject:
    model, names = pipe.model, [pipe.model.config.id2label[n] for n in range(pipe.model.config.num_labels)]

    def logits(pixels: torch.Tensor, words: list[str], more: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return model(pixel_values=pixels, **more).logits.float()

    label = _choose(names, target, lambda: logits(question.video.inputs["pixel_values"], [], further(question.video)))
    number = names.index(label)
    several = model.config.problem_type == "multi_label_classification"
    scores = torch.nn.functional.logsigmoid if several else _log_softmax
    return Subject(question.video, label, "log-probability", [], lambda *given: scores(logits(*given))[:, number])


def _of_moment(pipe: VideoPipeline, question: Any, target: str | None) -> Subject:
    queries, model = question.asked["queries"], pipe.model
    if len(queries) != 1 or target is not None:
        raise ExplanationError("Expected one sentence, of which the best moment is explained.")

    def scores(pixels: torch.Tensor, words: list[str], more: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Log-probabilities of each segment as the first and as the last one, `(variants, segments)`."""
        tokens = pipe.processor(text=[" ".join(words)]).to(model.device)
        encoded = model.encode_texts(tokens["input_ids"], tokens["attention_mask"])
        rows = torch.zeros(len(pixels), dtype=torch.long, device=model.device)
        texts = type(encoded)(*(None if values is None else values[rows] for values in encoded))
        found = model.match_moments(texts, model.encode_videos(pixel_values=pixels, **more))
        return found.start_logits.log_softmax(-1), found.end_logits.log_softmax(-1)

    words, spans = queries[0].split(), question.video.spans_se
    with torch.no_grad():
        start, end = (
            each[0] for each in scores(question.video.inputs["pixel_values"], words, further(question.video))
        )
    joint = (start[:, None] + end[None, :]).triu()
    joint = joint.masked_fill(torch.ones_like(joint, dtype=torch.bool).tril(-1), -torch.inf)
    first, last = divmod(int(joint.argmax()), len(end))

    def score(pixels: torch.Tensor, words: list[str], more: Mapping[str, torch.Tensor]) -> torch.Tensor:
        start, end = scores(pixels, words, more)
        return start[:, first] + end[:, last]

    seconds = [spans[place][1 + side] for side, place in enumerate((first, last)) if place < len(spans)]
    known = len(seconds) == 2 and None not in seconds
    label = f"{queries[0]}, {show_seconds(seconds[0])} to {show_seconds(seconds[1])}" if known else queries[0]
    return Subject(question.video, label, "log-probability of start and end", words, score, has_clips=False)


def _choose(names: list[str], target: str | None, logits: Callable[[], torch.Tensor]) -> str:
    """The target, or the answer that the model gives."""
    if target is None:
        with torch.no_grad():
            return names[int(logits()[0].argmax())]
    if target not in names:
        raise ExplanationError(
            f"The model knows no answer {target!r}; it knows {len(names)}, such as {', '.join(names[:5])}."
        )
    return target


def _log_softmax(logits: torch.Tensor) -> torch.Tensor:
    return logits.log_softmax(-1)


SUBJECTS = {
    "video-text-retrieval": _of_text,
    "video-question-answering": _of_question,
    "video-classification": _of_class,
    MOMENTS: _of_moment,
}

__all__ = ["ExplanationError", "Subject", "subject_of"]
