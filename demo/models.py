# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What the page asks its models, and what they say: plain numbers and words, as every endpoint returns them."""

import base64
import functools
import io
import operator
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch

from clipbert.demo.limits import RequestError
from clipbert.demo.videos import Videos
from clipbert.explanations import describe, draw, explain, picture_of, subject_of
from clipbert.pipelines import TASKS, VideoPipeline, find_task
from clipbert.pipelines.video_pipeline import ReadVideo
from clipbert.processing import VideoDecodeError
from clipbert.search import SearchIndexError, VideoIndex, field
from clipbert.search.filters import Filter
from clipbert.train_scripts.tasks.texts import describe_losses


MOMENTS, CLASSES, QUESTIONS, RETRIEVAL = TASKS
MODELS_OF_AN_INDEX = ("reranker", "encoder", "locator")
NUM_FRAMES_SHOWN = 16
Report = Callable[[], None]  # called in every pass of a model; what it raises ends the work


class Models:
    """
    The models of a page, one piece of work at a time.

    Args:
        videos ([`Videos`]): What may be opened.
        pipelines (`dict[str, VideoPipeline]`): By their tasks.
        index ([`VideoIndex`], *optional*): What is searched.
    """

    def __init__(self, videos: Videos, pipelines: Mapping[str, VideoPipeline], index: VideoIndex | None = None):
        self.videos, self.index, self.pipelines = videos, index, dict(pipelines)
        for pipe in () if index is None else pipelines_of(index):
            self.pipelines.setdefault(pipe.task, pipe)
        self._one_at_a_time = threading.Lock()

    @property
    def has_vectors(self) -> bool:
        """Whether a video can be searched for what is like it."""
        return self.index is not None and self.index.cascade.encoder is not None

    @property
    def can_choose(self) -> bool:
        """Whether questions come with options."""
        return QUESTIONS in self.pipelines and self.pipelines[QUESTIONS].mode == "choice"

    # What is asked -------------------------------------------------------------------------------------------------

    def search(
        self,
        query: str,
        top_k: int = 10,
        name: str = "",
        shortest_s: float | None = None,
        longest_s: float | None = None,
    ) -> dict[str, Any]:
        """
        The videos of the collection that fit a sentence.

        Args:
            query (`str`): The sentence; or, where there are vectors, the id of an upload: what is like it?
            top_k (`int`, *optional*, defaults to 10): Most videos.
            name (`str`, *optional*): A part of their ids.
            shortest_s, longest_s (`float`, *optional*): Seconds that a video has at least, and at most.

        Returns:
            `dict`: `note`, what the model does not see of the sentence; `hits` (`video`, `score`, `start_s`, `end_s`, `clips`, `stages`, `metadata`, `duration_s`), best first; `nothing_fits`,
            `best` and `threshold`; `stages` with the number of videos and milliseconds of each; `num_videos` of the collection.
        """
        if self.index is None:
            raise RequestError("There is no collection here to search in.")
        limits, where = self.videos.limits, read_filter(name, shortest_s, longest_s)
        asked = self._query(query)
        with self._working():
            found = self.index.search(asked, limits.check_top_k(top_k), where=where)
            texts = [] if isinstance(asked, Path) else [asked]
            return {
                "query": query if isinstance(asked, Path) else asked,
                "note": self._note(RETRIEVAL, texts),
                "hits": [self._hit(hit) for hit in found],
                "nothing_fits": found.nothing_fits,
                "best": found.best,
                "threshold": found.threshold,
                "stages": [stage._asdict() for stage in found.stages],
                "num_videos": len(self.videos),
            }

    def _query(self, query: str) -> str | Path:
        if not (isinstance(query, str) and query in self.videos.uploads):
            return self.videos.limits.check_text(query, "a sentence")
        if not self.has_vectors:
            raise RequestError("This collection has no vectors: it is searched by sentences alone.")
        return Path(self.videos.find(query))

    def _hit(self, hit: Any) -> dict[str, Any]:
        return {
            "video": hit.video_id,
            "score": hit.score,
            "start_s": hit.start_s,
            "end_s": hit.end_s,
            "clips": sorted(hit.clips, key=lambda clip: clip["start_s"]),
            "stages": hit.stages,
            "metadata": {name: plain(value) for name, value in hit.metadata.items() if value is not None},
            "segment_s": list(hit.segment_s),
            "duration_s": hit.duration_s,
        }

    def ask(self, video: str, question: str, options: Sequence[str] = (), top_k: int = 5) -> dict[str, Any]:
        """
        Answers to a question about a video.

        Args:
            video (`str`): Its id.
            question (`str`): In words.
            options (`list[str]`, *optional*): Answers to choose from, of a model for multiple choice alone.
            top_k (`int`, *optional*, defaults to 5): Most answers.

        Returns:
            `dict`: `answers` as the pipeline has them, `frames`, the ones that were looked at, as data URLs, and `note`, what the model does
            not see of the question.
        """
        pipe, limits = self._pipeline(QUESTIONS), self.videos.limits
        asked: dict[str, Any] = {"question": limits.check_text(question, "a question")}
        if len(options) > limits.num_options:
            raise RequestError(f"Expected at most {limits.num_options} options, got {len(options)}.")
        if options or self.can_choose:
            asked["options"] = [limits.check_text(option, "an option") for option in options]
        return self._answer(pipe, video, asked, top_k)

    def classify(self, video: str, top_k: int = 5) -> dict[str, Any]:
        """
        The classes of a video.

        Args:
            video (`str`): Its id.
            top_k (`int`, *optional*, defaults to 5): Most classes.

        Returns:
            `dict`: `answers` as the pipeline has them, and `frames`, the ones that were looked at, as data URLs.
        """
        return self._answer(self._pipeline(CLASSES), video, {}, top_k)

    def _answer(self, pipe: VideoPipeline, video: str, asked: dict[str, Any], top_k: int) -> dict[str, Any]:
        top_k = self.videos.limits.check_top_k(top_k)
        path = self.videos.find(video)
        with self._working():
            question = pipe.ask({"video": path, **asked}, {})
            question.video = pipe.preprocess(question, timeout_s=self.videos.limits.decode_s)
            (answers,) = pipe.forward({"questions": [question]}, top_k=top_k)
            note = self._note(pipe.task, [asked["question"]] if "question" in asked else [])
            frames = frames_of(pipe, question.video)
            return {"video": video, **asked, "note": note, "answers": answers, "frames": frames}

    def locate(self, video: str, query: str, top_k: int = 5) -> dict[str, Any]:
        """
        When something happens in a video.

        Args:
            video (`str`): Its id.
            query (`str`): A sentence.
            top_k (`int`, *optional*, defaults to 5): Most moments.

        Returns:
            `dict`: `note`, what the model does not see of the sentence; `moments` (`start_s`, `end_s`, `score`), best first; `curves` (`start_s`, `end_s`, `start`, `end`, `inside` of each
            segment).
        """
        pipe, limits = self._pipeline(MOMENTS), self.videos.limits
        query, top_k = limits.check_text(query, "a sentence"), limits.check_top_k(top_k)
        path = self.videos.find(video)
        with self._working():
            found = pipe(path, query, top_k=top_k, return_curves=True)
            return {"video": video, "query": query, "note": self._note(MOMENTS, [query]), **found}

    def explain(
        self,
        video: str,
        text: str = "",
        question: str = "",
        moment: str = "",
        options: Sequence[str] = (),
        target: str = "",
        start_s: float | None = None,
        end_s: float | None = None,
        report: Report | None = None,
    ) -> dict[str, Any]:
        """
        What a score rests on: frames, places, words and clips.

        Args:
            video (`str`): Its id.
            text (`str`, *optional*): Of which the score is that it fits the video.
            question (`str`, *optional*): Of which the score is that of the answer `target`; with `options` where the model chooses.
            moment (`str`, *optional*): Of which the score is that of its best moment.
            target (`str`, *optional*): An answer, or, without text and question, a class; by default the best one.
            start_s, end_s (`float`, *optional*): The part of the video.
            report (`Callable`, *optional*): Called in every pass of the model; what it raises ends the work.

        Returns:
            `dict`: See [`~clipbert.explanations.describe`]; and `picture`, a PNG, as bytes.
        """
        pipe, asked = self._asked(text, question, moment, options)
        part = {} if start_s is None or end_s is None else {"start_s": start_s, "end_s": end_s}
        path = self.videos.find(video)
        with self._working():
            subject = subject_of(
                pipe, {"video": path, **part}, target or None, **asked, timeout_s=self.videos.limits.decode_s
            )
            subject.score = reporting(subject.score, report or (lambda: None))
            found = explain(subject, picture_of(pipe.video_processor))
            drawn = self.videos.folder / "explanation.png"
            draw(found, drawn)
            return {"video": video, **describe(found), "picture": drawn.read_bytes()}

    def _asked(
        self, text: str, question: str, moment: str, options: Sequence[str]
    ) -> tuple[VideoPipeline, dict[str, Any]]:
        check = self.videos.limits.check_text
        if text:
            return self._pipeline(RETRIEVAL), {"candidate_texts": [check(text, "a sentence")]}
        if question:
            chosen = {"options": [check(option, "an option") for option in options]} if options else {}
            return self._pipeline(QUESTIONS), {"question": check(question, "a question"), **chosen}
        if moment:
            return self._pipeline(MOMENTS), {"query": check(moment, "a sentence")}
        return self._pipeline(CLASSES), {}

    def _note(self, task: str, texts: Sequence[str]) -> str | None:
        """What the model does not see of texts."""
        pipe = self.pipelines.get(task)
        return describe_losses(pipe.processor, texts) or None if pipe is not None and texts else None

    # How -----------------------------------------------------------------------------------------------------------

    def _pipeline(self, task: str) -> VideoPipeline:
        if task not in self.pipelines:
            raise RequestError(
                f"There is no model here for {task}: this page has {', '.join(self.pipelines) or 'none'}."
            )
        return self.pipelines[task]

    @contextmanager
    def _working(self) -> Iterator[None]:
        """While nobody else works; what is wrong with a video, or with what was asked, as a [`RequestError`]."""
        try:
            with self._one_at_a_time:
                yield
        except VideoDecodeError as error:
            raise RequestError(f"The video cannot be read: {error.reason}") from error
        except (SearchIndexError, TypeError, ValueError) as error:
            raise RequestError(str(error)) from error


def pipelines_of(index: VideoIndex) -> Iterator[VideoPipeline]:
    """The pipelines of an index's models, which are not loaded a second time."""
    for role in MODELS_OF_AN_INDEX:
        model = getattr(index, role)
        task = None if model is None else find_task(type(model.model))
        if task is not None and hasattr(model, "processor"):
            yield TASKS[task].pipeline_class(model=model.model, processor=model.processor, task=task)


def reporting(score: Callable[..., Any], report: Report) -> Callable[..., Any]:
    """A function that reports each call of another one."""

    def reported(*arguments: Any) -> Any:
        report()
        return score(*arguments)

    return reported


def frames_of(pipe: VideoPipeline, video: ReadVideo) -> list[dict[str, Any]]:
    """The frames that a model was given, of many some: `second` and `picture`, a data URL of JPEG."""
    pixels, found = video.inputs["pixel_values"][0], []
    pixels = pixels if pixels.ndim == 5 else pixels[None]  # (clips, frames, 3, height, width)
    for clip, start_s, end_s in video.spans_se:
        seconds = (
            [None] * pixels.shape[1] if start_s is None else np.linspace(start_s, end_s, pixels.shape[1]).tolist()
        )
        found += [(clip, frame, second) for frame, second in enumerate(seconds)]
    picture, chosen = picture_of(pipe.video_processor), found
    if len(found) > NUM_FRAMES_SHOWN:
        chosen = [found[place] for place in np.linspace(0, len(found) - 1, NUM_FRAMES_SHOWN).round().astype(int)]
    return [
        {"second": second, "picture": data_url(picture(pixels[clip, frame][None])[0])}
        for clip, frame, second in chosen
    ]


def data_url(colours: torch.Tensor) -> str:
    """A picture `(3, height, width)` from 0 to 1 as an address that holds it."""
    written = io.BytesIO()
    PIL.Image.fromarray((colours.movedim(0, -1) * 255).round().byte().numpy()).save(written, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(written.getvalue()).decode()}"


def read_filter(name: str, shortest_s: float | None, longest_s: float | None) -> Filter | None:
    """
    What the filters of a search ask of segments.

    Raises:
        RequestError: If a length is no number of seconds.
    """
    tests = [field("video_id").contains(name)] if name else []
    for what, seconds in (("shortest_s", shortest_s), ("longest_s", longest_s)):
        if seconds is None:
            continue
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
            raise RequestError(f"Expected {what} in seconds, from 0 on, got {seconds!r:.40}.")
        tests.append(field("duration_s") >= seconds if what == "shortest_s" else field("duration_s") <= seconds)
    return functools.reduce(operator.and_, tests) if tests else None


def plain(value: Any) -> Any:
    """A value of a column as JSON has it."""
    return value if isinstance(value, bool | int | float | str | list) else str(value)


__all__ = ["CLASSES", "MOMENTS", "QUESTIONS", "RETRIEVAL", "Models"]
