# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
What the pipelines of videos share: inputs of every kind, in their order, a few in memory at a time.

    inputs --ask--> questions --read, num_workers threads--> frames --answer, batch_size at once--> plain Python

The pipelines of transformers put the tensors of a batch into one, which nested texts and videos of different shapes are not; and
they take a `datasets.Dataset` for one input. So `__call__` is another one here, and the three steps below it are lists of items.
Threads, and not processes, read ahead: decoding lets go of the interpreter's lock, and a generator can be read in one place alone.
"""

import os
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from transformers import Pipeline

from clipbert.processing.option_checks import refuse_unknown_options
from clipbert.processing.visual_inputs import make_image_batch, make_video_batch


ON_ERROR = ("raise", "skip", "yield")


@dataclass
class Question:
    """
    A video, or an image, and what is asked about it. (No dictionary: the base class would move its tensors.)

    Args:
        source (`dict`): What the processor takes: `videos` or `images`, and `spans_se`.
        asked (`dict`): The other keys of the input.
        entry: The input as it came, for reports.
        file (`tuple`, *optional*): The path and the seconds to read. Questions about one file share what was read of it; `None` of
            others: an array may be filled anew, an open file has been read.
        video (*optional*): What was read of it.
        error (`Exception`, *optional*): Why it could not be read.
    """

    source: dict[str, Any]
    asked: dict[str, Any]
    entry: Any = None
    file: tuple[Any, ...] | None = None
    video: Any = None
    error: Exception | None = None


@dataclass
class ReadVideo:
    """
    A video as the processor makes it.

    Args:
        inputs (`dict[str, torch.Tensor]`): What the model takes, a batch of one.
        spans_se (`list`): For each clip that exists its number, and the seconds of its first and last frame; `None` where nobody
            knows them, as of an array without a frame rate.
    """

    inputs: dict[str, torch.Tensor]
    spans_se: list[tuple[int, float | None, float | None]] = field(default_factory=list)

    @property
    def shape(self) -> tuple:
        return tuple((name, tuple(values.shape)) for name, values in sorted(self.inputs.items()))

    def clips(self, scores: torch.Tensor) -> list[dict[str, Any]]:
        """Clips in order of time, with scores `(clips,)`."""
        return [
            {"start_s": start_s, "end_s": end_s, "score": scores[number].item()}
            for number, start_s, end_s in self.spans_se
        ]


class VideoPipeline(Pipeline):
    r"""
    The base of pipelines that are asked about videos.

    Options of all of them, of the pipeline or of a call:
        batch_size (`int`, defaults to 1): Videos that go through the model together.
        num_workers (`int`, defaults to 0): Threads that read ahead, a batch each: `batch_size * (num_workers + 1)` videos are in
            memory at most.
        on_error (`str`, defaults to `"raise"`): A video that cannot be read stops the call; `"skip"` leaves it out of the
            results, and `"yield"` puts `{"error", "input"}` into its place. `failed` lists them, of the last call.
        Those of the video processor, such as `num_clips`, `num_frames`, `fps` or `sampling`.
    """

    _load_processor = True
    _load_image_processor = _load_video_processor = _load_feature_extractor = _load_tokenizer = False

    # what a family's pipeline asks for
    keys: ClassVar[tuple[str, ...]] = ()  # of an input, beside those of its video
    answers: ClassVar[tuple[str, ...]] = ()  # options of its answers
    visuals: ClassVar[tuple[str, ...]] = ("video", "image")  # keys of what can be looked at

    def __init__(self, *args: Any, processor: Any = None, video_processor: Any = None, **kwargs: Any):
        self.failed: list[dict[str, Any]] = []
        processor = video_processor if processor is None else processor  # models that read no words have no other
        video_processor = getattr(processor, "video_processor", processor)
        super().__init__(*args, processor=processor, video_processor=video_processor, **kwargs)

    # Steps that a pipeline writes -------------------------------------------------------------------------------------

    def check_answers(self, options: Mapping[str, Any]) -> None:
        """Refuse options of answers that are out of range."""
        check_top_k(options.get("top_k"))
        if not isinstance(options.get("return_clips", True), bool):
            raise ValueError(f"return_clips must be True or False, got {options['return_clips']!r}.")

    @abstractmethod
    def check_asked(self, asked: dict[str, Any]) -> dict[str, Any]:
        """What an input asks, checked; no video is opened yet."""

    @abstractmethod
    def answer(self, questions: list[Question], **options: Any) -> list[Any]:
        """An answer for each question, all of which were read; on the device, without gradients."""

    # What transformers calls ------------------------------------------------------------------------------------------

    def __call__(self, inputs: Any = None, **options: Any) -> Any:
        """
        Answer.

        Args:
            inputs: A video (path, URL, bytes, open file, array, tensor, list of PIL images), an image, or a dictionary with
                `video` or `image`, `start_s` and `end_s` for a part of it, and what is asked. Several of them as a list or a
                tuple, or an array of five dimensions; a generator or a data set gives an iterator.
            options: See the class. What is asked of all videos stands here, too.

        Returns:
            See the class: of one input an answer, of a list a list of answers, else an iterator in the order of the inputs.

        Raises:
            TypeError: If an option or a key is unknown; the message has the nearest one.
            ValueError: If something is missing or does not fit. In a list, either is raised before a video is opened.
            VideoDecodeError: If a video cannot be read; the message names it.
        """
        common = {
            name: options.pop(name) for name in (*self.visuals, "start_s", "end_s", *self.keys) if name in options
        }
        how, common = self._how(options), {**self._postprocess_params, **common}
        how["failed"] = self.failed = []  # a list for each call: streams of several calls may be read in turns
        if inputs is None and not common.keys().isdisjoint(self.visuals):
            inputs = {}
        if is_one(inputs):
            found = list(self._stream([inputs], common, **how))
            return found[0] if found else []
        if not isinstance(inputs, list | tuple | np.ndarray | torch.Tensor):
            return self._stream(inputs, common, **how)
        for place, entry in enumerate(inputs):
            try:
                self.check(entry, common)
            except (TypeError, ValueError) as error:
                raise type(error)(f"Input {place} of {len(inputs)}: {error}") from error
        return list(self._stream(inputs, common, **how))

    def _how(self, options: dict[str, Any]) -> dict[str, Any]:
        """Options of a call beside those of the pipeline."""
        mine, own = self._sanitize_parameters(**options), (self._preprocess_params, self._forward_params)
        preprocess, forward = ({**kept, **given} for kept, given in zip(own, mine, strict=False))
        stream = {"batch_size": self._batch_size, "num_workers": self._num_workers}
        stream |= {name: forward.pop(name) for name in (*stream, "on_error") if name in forward}
        for name, least in (("batch_size", 1), ("num_workers", 0)):
            value = stream[name] = least if stream[name] is None else stream[name]
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}.")
        return {"reading": preprocess, "answering": forward, **stream}

    def _sanitize_parameters(self, **options: Any) -> tuple[dict, dict, dict]:
        of_stream = ("batch_size", "num_workers", "on_error")
        known = [*of_stream, *self.answers, *self._video_options()]
        refuse_unknown_options(options, [*known, *self.keys], type(self).__name__)
        if options.get("on_error", "raise") not in ON_ERROR:
            raise ValueError(f"on_error must be one of {', '.join(map(repr, ON_ERROR))}, got {options['on_error']!r}.")
        forward = {name: options.pop(name) for name in (*of_stream, *self.answers) if name in options}
        self.check_answers(forward)
        asked = {name: options.pop(name) for name in self.keys if name in options}  # of every call
        return options, forward, asked

    def _video_options(self) -> list[str]:
        return [*self.video_processor.valid_kwargs.__annotations__]

    def preprocess(self, question: Question, **options: Any) -> ReadVideo:
        """Read the video of a question."""
        found = self.processor(**question.source, return_metadata=True, **options)
        inputs = {
            name: found[name] for name in self.processor.model_input_names if isinstance(found.get(name), torch.Tensor)
        }
        inputs = {name: values for name, values in inputs.items() if name not in ("frame_indices", "frame_seconds")}
        return ReadVideo(inputs, _clip_spans(found))

    def _forward(self, batch: dict[str, list[Question]], **options: Any) -> list[Any]:
        return self.answer(batch["questions"], **options)

    def postprocess(self, answers: list[Any], **options: Any) -> list[Any]:
        return answers

    # The stream -------------------------------------------------------------------------------------------------------

    def check(self, entry: Any, common: Mapping[str, Any]) -> None:
        """Refuse an input that cannot be answered, whatever its video is."""
        self.ask(entry, common)

    def ask(self, entry: Any, common: Mapping[str, Any]) -> Question:
        """What an input asks, checked."""
        visual = "image" if isinstance(entry, Image.Image) else "video"
        given = dict(entry) if _is_question(entry) else {visual: entry}
        refuse_unknown_options(
            given, [*self.visuals, "start_s", "end_s", *self.keys], f"An input of {type(self).__name__}"
        )
        if all(not some.keys().isdisjoint(self.visuals) for some in (common, given)):
            raise ValueError("Expected one video, got one as input and one by name, for all inputs: leave one out.")
        given = {**common, **given}
        source = self.find_source(given)
        asked = self.check_asked({name: given[name] for name in self.keys if given.get(name) is not None})
        visual = given[self.find_visual(given)]
        is_path = isinstance(visual, str | os.PathLike)
        return Question(source, asked, entry, file=(str(visual), find_span(given)) if is_path else None)

    def find_visual(self, given: Mapping[str, Any]) -> str:
        """The key of what is looked at, which is one video or image; it is not opened yet."""
        found = [name for name in self.visuals if given.get(name) is not None]
        if len(found) != 1:
            raise ValueError(f"Expected a {' or '.join(self.visuals)}, got {' and '.join(found) or 'none'}.")
        make_batch = {"video": make_video_batch, "image": make_image_batch}.get(found[0])
        if make_batch is not None and len(make_batch(given[found[0]])) > 1:
            raise ValueError(f"Expected one {found[0]}, got several: each is an input of its own.")
        return found[0]

    def find_source(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The video or the image of an input, as the processor takes it."""
        name, span_se = self.find_visual(given), find_span(given)
        if span_se is None:
            return {f"{name}s": [given[name]]}
        if name != "video":
            raise ValueError(f"start_s and end_s are of a video: leave them out for an {name}.")
        return {"videos": [given[name]], "spans_se": [span_se]}

    def _stream(
        self,
        entries: Iterable[Any],
        common: Mapping[str, Any],
        reading: Mapping[str, Any],
        answering: Mapping[str, Any],
        batch_size: int,
        num_workers: int,
        failed: list[dict[str, Any]],
        on_error: str = "raise",
    ) -> Iterator[Any]:
        """Answers of inputs, in order; those that cannot be read are added to `failed`."""
        questions = (self.ask(entry, common) for entry in entries)
        batch: list[Question] = []
        for question in _read_ahead(questions, lambda one: self.preprocess(one, **reading), batch_size, num_workers):
            if question.error is not None and on_error == "raise":
                yield from self._answers(batch, answering, failed, on_error)
                raise question.error
            batch.append(question)
            if len(batch) == batch_size:
                yield from self._answers(batch, answering, failed, on_error)
                batch = []
        yield from self._answers(batch, answering, failed, on_error)

    def _answers(
        self, batch: list[Question], answering: Mapping[str, Any], failed: list[dict[str, Any]], on_error: str
    ) -> Iterator[Any]:
        """The answers of a batch, in order."""
        readable = [question for question in batch if question.error is None]
        answers = iter(self.forward({"questions": readable}, **answering) if readable else ())
        for question in batch:
            found = next(answers) if question.error is None else question.error
            if not isinstance(found, Exception):
                yield found
                continue
            if on_error == "raise":
                raise found
            failed.append({"input": question.entry, "error": str(found)})
            if on_error == "yield":
                yield {"error": str(found), "input": question.entry}

    def batches(
        self, questions: list[Question]
    ) -> Iterator[tuple[dict[str, torch.Tensor], list[Question], list[int]]]:
        """Questions whose videos fit into one tensor; the inputs on the device, and the row of each question's video."""
        shapes: dict[tuple, dict[int, ReadVideo]] = {}
        for question in questions:
            shapes.setdefault(question.video.shape, {})[id(question.video)] = question.video
        for videos in shapes.values():
            rows = {key: row for row, key in enumerate(videos)}
            of_these = [question for question in questions if id(question.video) in rows]
            names = next(iter(videos.values())).inputs
            inputs = {name: torch.cat([video.inputs[name] for video in videos.values()]) for name in names}
            yield self.to_device(inputs), of_these, [rows[id(question.video)] for question in of_these]

    def to_device(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        dtype = self.model.dtype
        return {
            name: values.to(self.model.device, dtype if values.is_floating_point() else None)
            for name, values in inputs.items()
        }

    def save_pretrained(self, save_directory: str, **kwargs: Any) -> None:
        """
        Save model and processor: what `pipeline(task, model=save_directory)` loads where this package is.

        Raises:
            ValueError: If the pipeline came with a checkpoint, whose code would be left behind: copy that folder instead.
        """
        if type(self).__module__.startswith("transformers_modules."):
            raise ValueError(
                "This pipeline was loaded with trust_remote_code, and its code lies in the folder of the checkpoint: copy that "
                "folder. Fine-tuned weights go into the copy with `pipe.model.save_pretrained(COPY)`."
            )
        # of a published checkpoint, the code of which is not saved here
        for table in ("auto_map", "custom_pipelines"):
            self.model.config.__dict__.pop(table, None)
        self.model.save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory, **kwargs)


def find_span(given: Mapping[str, Any]) -> tuple[float, float] | None:
    """The part of a video that is looked at, in seconds."""
    start_s, end_s = given.get("start_s"), given.get("end_s")
    if (start_s is None) != (end_s is None):
        raise ValueError(f"start_s and end_s go together, got {start_s} and {end_s}.")
    if start_s is None:
        return None
    try:
        return float(start_s), float(end_s)
    except (TypeError, ValueError) as error:
        raise TypeError(f"start_s and end_s must be numbers, got {start_s!r} and {end_s!r}.") from error


def is_unreadable(error: Exception) -> bool:
    """
    Whether a video could not be read: a `VideoDecodeError`.

    By its name: a processor that comes with a checkpoint, or is installed where the pipeline comes with one, has another copy of
    the class than the pipeline.
    """
    return any(cls.__name__ == "VideoDecodeError" for cls in type(error).__mro__)


def check_top_k(top_k: Any) -> None:
    if top_k is not None and (isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1):
        raise ValueError(f"top_k must be an integer of at least 1, or None for all, got {top_k!r}.")


def check_texts(texts: Any, what: str) -> list[str]:
    """Texts as a list, none of which is empty."""
    found = [texts] if isinstance(texts, str) else texts
    if not isinstance(found, list | tuple) or not all(isinstance(text, str) for text in found):
        raise TypeError(f"Expected {what} to be a str or a list of them, got {type(texts).__name__}: {texts!r:.80}.")
    if not found or not all(map(str.strip, found)):
        raise ValueError(f"Expected {what} with words, got {found!r:.80}.")
    return list(found)


def _read_ahead(
    questions: Iterator[Question], read: Callable[[Question], ReadVideo], batch_size: int, num_workers: int
) -> Iterator[Question]:
    """Questions with their videos, in order. One file that is asked about several times in a row is read once."""
    waiting: deque[tuple[Question, Future]] = deque()
    pool = ThreadPoolExecutor(num_workers, thread_name_prefix="video") if num_workers else None
    last: tuple[Question, Future] | None = None

    def finish(question: Question, future: Future) -> Question:
        try:
            question.video = future.result()
        except ValueError as error:
            if not is_unreadable(error):
                raise
            question.error = error
        return question

    try:
        for question in questions:
            if last is None or question.file is None or question.file != last[0].file:
                last = question, _submit(pool, read, question)
            waiting.append((question, last[1]))
            if len(waiting) > batch_size * num_workers:
                yield finish(*waiting.popleft())
        while waiting:
            yield finish(*waiting.popleft())
    finally:
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)


def _submit(pool: ThreadPoolExecutor | None, read: Callable[[Question], ReadVideo], question: Question) -> Future:
    if pool is not None:
        return pool.submit(read, question)
    future: Future = Future()
    try:
        future.set_result(read(question))
    except Exception as error:
        future.set_exception(error)
    return future


def _clip_spans(found: Mapping[str, Any]) -> list[tuple[int, float | None, float | None]]:
    """Number, first and last second of each clip that exists."""
    seconds = found["frame_seconds"][0]
    exists = torch.ones(seconds.shape, dtype=torch.bool)
    if "frame_mask" in found:
        exists = found["frame_mask"][0].bool()
    if seconds.ndim == 1:  # frames of a video that is one clip
        seconds, exists = seconds[None], exists[None]
    if "clip_mask" in found:
        exists = exists & found["clip_mask"][0].bool()[:, None]
    spans = []
    for number, (of_clip, there) in enumerate(zip(seconds, exists, strict=True)):
        if there.any():
            shown = of_clip[there]
            known = bool(shown.isfinite().all())
            spans.append((number, *((shown.min().item(), shown.max().item()) if known else (None, None))))
    return spans


def _is_question(entry: Any) -> bool:
    """Whether it is a dictionary that asks, and none of the path and the bytes of a video."""
    return isinstance(entry, Mapping) and set(entry) != {"path", "bytes"}


def is_one(inputs: Any) -> bool:
    """Whether it is one video or one question, and no list or stream of them."""
    if inputs is None or isinstance(inputs, Mapping | Image.Image):
        return True
    if isinstance(inputs, list | tuple) and (not inputs or any(map(_is_question, inputs))):
        return False
    if isinstance(inputs, np.ndarray | torch.Tensor):
        return inputs.ndim != 5
    try:
        return make_video_batch(inputs)[0] is inputs
    except TypeError:  # no video; what is no stream either is refused as a video
        return not hasattr(inputs, "__iter__") and not hasattr(inputs, "__getitem__")


__all__ = [
    "Question",
    "ReadVideo",
    "VideoPipeline",
    "check_texts",
    "check_top_k",
    "find_span",
    "is_one",
    "is_unreadable",
]
