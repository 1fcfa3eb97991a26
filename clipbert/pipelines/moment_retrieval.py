# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
When in a video something happens, as a pipeline of transformers: task `moment-retrieval`.

    pipe = pipeline("moment-retrieval", model="user/name", trust_remote_code=True)
    pipe("film.mp4", ["a man opens the door", "he leaves"], top_k=5)
    # [[{"start_s": 2.4, "end_s": 6.1, "score": 0.61}, ...], [...]]
"""

from collections.abc import Mapping
from typing import Any

from .encoded_video import LONG_VIDEO, EncodedVideo, check_answers, check_sentences, encode_video
from .video_pipeline import Question, VideoPipeline, find_span, is_unreadable


ENCODING = ("long_video", "window_seconds")
ANSWERS = ("top_k", "nms_iou", "ranking", "rescore_with_segmentation", "max_seconds")
PLAIN = ("start_s", "end_s", "score")


class MomentRetrievalPipeline(VideoPipeline):
    r"""
    Says when in a video sentences happen.

    Videos are streamed through the model a few frames at a time, so their length and number do not matter, and each is
    encoded once for all of its sentences. `batch_size` and `num_workers` are taken as by other pipelines; they change no answer:
    inputs of a batch that follow each other and ask about one file share what was encoded of it.

    Options, of the pipeline or of a call:
        top_k (`int`, defaults to 5): Most answers of a sentence.
        nms_iou (`float`, defaults to 0.5): An answer that overlaps a better one by more is left out.
        long_video (`str`, defaults to `"slide"`): Videos longer than a window are looked at by windows that overlap by half,
            or (`"pool"`) as a whole, with longer segments.
        window_seconds (`float`, defaults to 150): Length of a window.
        ranking (`str`, *optional*): `"joint"` (default in a single window), `"joint_with_segmentation"` or `"unnormalised"`
            (default of several), see `decode_moments`.
        rescore_with_segmentation (`float`, defaults to 0), max_seconds (`float`, *optional*): See `decode_moments`.
        return_curves (`bool`, defaults to `False`): Also what the model thinks of each segment.
        Those of the video processor, such as `segments_per_second`.

    Example:
        >>> pipe = pipeline("moment-retrieval", model="outputs/run/checkpoints/best")  # doctest: +SKIP
        >>> pipe("film.mp4", "a man opens the door", top_k=1)  # doctest: +SKIP
        [{'start_s': 2.4, 'end_s': 6.1, 'score': 0.61}]
    """

    keys = ("query", "duration_s")
    answers = (*ENCODING, *ANSWERS, "return_curves")
    visuals = ("video", "video_features")

    def __call__(self, inputs: Any = None, query: str | list[str] | None = None, **options: Any) -> Any:
        """
        Find the moments of sentences.

        Args:
            inputs: A video (path, URL, bytes, open file, array, tensor, list of PIL images), or a dictionary with `video`, or
                `video_features` and `duration_s`; `query`; and, for a part of it, `start_s`, `end_s`. Several of them as a
                list; a generator or a data set gives an iterator.
            query (`str` or `list[str]`, *optional*): Sentences asked of every video; those of a dictionary go before.
            options: See the class.

        Returns:
            For a video and a sentence `[{"start_s", "end_s", "score"}]`, best first, in seconds from the start of the file;
            for a list of sentences a list of these. `score` is the probability of start and end in a video that is one window,
            and the sum of the scores in front of the soft-max in a longer one. With `return_curves`, instead of each list
            `{"moments": that list, "curves": {"start_s", "end_s", "start", "end", "inside"}}`, a number for each segment.

        Raises:
            TypeError: If an option or a key is unknown; the message has the nearest one.
            ValueError: If something is missing or does not fit.
            VideoDecodeError: If a video cannot be read; the message names it.
        """
        return super().__call__(inputs, **({} if query is None else {"query": query}), **options)

    def check_answers(self, options: Mapping[str, Any]) -> None:
        if options.get("long_video", "slide") not in LONG_VIDEO:
            raise ValueError(
                f"long_video must be one of {', '.join(map(repr, LONG_VIDEO))}, got {options['long_video']!r}."
            )
        check_answers(options.get("top_k", 5), options.get("nms_iou", 0.5), options.get("ranking"))

    def find_source(self, given: Mapping[str, Any]) -> dict[str, Any]:
        source = {name: given[name] for name in (self.find_visual(given), "duration_s") if given.get(name) is not None}
        span_se = find_span(given)
        return source if span_se is None else {**source, "span_se": span_se}

    def check_asked(self, asked: dict[str, Any]) -> dict[str, Any]:
        if "query" not in asked:
            raise ValueError('Expected sentences: pipe("film.mp4", "a man opens the door"), or a key "query".')
        return {"queries": check_sentences(asked["query"]), "is_one": isinstance(asked["query"], str)}

    def preprocess(self, question: Question, **options: Any) -> dict[str, Any]:
        """Nothing is read ahead: a video streams through the model."""
        return options

    def answer(self, questions: list[Question], return_curves: bool = False, **options: Any) -> list[Any]:
        encoding = {name: options.pop(name) for name in ENCODING if name in options}
        found, last, encoded = [], None, None
        for question in questions:
            if question.file is None or question.file != last:
                last, encoded = question.file, self._encode(question, encoding)
            if isinstance(encoded, Exception):
                found.append(encoded)
                continue
            queries = question.asked["queries"]
            moments = [
                [{name: moment[name] for name in PLAIN} for moment in of_query]
                for of_query in encoded.locate(queries, **options)
            ]
            if return_curves:
                names = ("start_s", "end_s", "start", "end", "inside")
                curves = ({name: of_query[name] for name in names} for of_query in encoded.curves(queries))
                moments = [
                    {"moments": of_query, "curves": curve} for of_query, curve in zip(moments, curves, strict=True)
                ]
            found.append(moments[0] if question.asked["is_one"] else moments)
        return found

    def _encode(self, question: Question, encoding: Mapping[str, Any]) -> EncodedVideo | ValueError:
        """The video of a question, or why it cannot be read."""
        try:
            return encode_video(self.model, self.processor, **question.source, **encoding, **question.video)
        except ValueError as error:
            if not is_unreadable(error):
                raise
            return error


__all__ = ["MomentRetrievalPipeline"]
