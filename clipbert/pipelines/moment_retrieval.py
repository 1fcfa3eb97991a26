# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
When in a video something happens, as a pipeline of transformers: task `moment-retrieval`.

    pipe = pipeline("moment-retrieval", model="user/name", trust_remote_code=True)
    pipe("film.mp4", ["a man opens the door", "he leaves"], top_k=5)
    # [[{"start_s": 2.4, "end_s": 6.1, "score": 0.61}, ...], [...]]
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from transformers import Pipeline

from clipbert.processing.option_checks import refuse_unknown_options
from clipbert.processing.visual_inputs import make_video_batch

from .encoded_video import LONG_VIDEO, check_answers, check_sentences, encode_video


ENCODING = ("long_video", "window_seconds")
ANSWERS = ("top_k", "nms_iou", "ranking", "rescore_with_segmentation", "max_seconds")
INPUTS = ("video", "video_features", "duration_s", "query", "start_s", "end_s")
PLAIN = ("start_s", "end_s", "score")


@dataclass
class Asked:
    """
    A video and what is asked about it. (No dictionary: the base class would move its tensors.)

    Args:
        source (`dict`): `video`, or `video_features` and `duration_s`; and `span_se`.
        queries (`list[str]`): The sentences.
        is_one (`bool`): Whether one was asked that was not in a list.
    """

    source: dict[str, Any]
    queries: list[str]
    is_one: bool


class MomentRetrievalPipeline(Pipeline):
    r"""
    Says when in a video sentences happen.

    Videos are streamed through the model a few frames at a time, so their length and number do not matter, and each is
    encoded once for all of its sentences. `batch_size` and `num_workers` are taken as by other pipelines; they change
    nothing.

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

    _load_processor = True
    _load_image_processor = _load_video_processor = _load_feature_extractor = _load_tokenizer = False

    def __call__(
        self,
        inputs: Any = None,
        query: str | list[str] | None = None,
        num_workers=None,
        batch_size=None,
        **options: Any,
    ) -> Any:
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
        mine = self._sanitize_parameters(**options)
        before = (self._preprocess_params, self._forward_params, self._postprocess_params)
        parameters = [{**kept, **given} for kept, given in zip(before, mine, strict=True)]

        def answer(entry: Any) -> Any:
            asked = dict(entry) if _is_question(entry) else {"video": entry}
            return self.run_single({"query": query, **asked}, *parameters)

        if _is_one(inputs):
            return answer(inputs)
        answers = map(answer, inputs)
        return list(answers) if isinstance(inputs, list | tuple) else answers

    def _sanitize_parameters(self, **options: Any) -> tuple[dict, dict, dict]:
        of_video = list(self.processor.video_processor.valid_kwargs.__annotations__)
        known = [*ENCODING, *ANSWERS, "return_curves", *of_video]
        refuse_unknown_options(options, known, type(self).__name__)
        if options.get("long_video", "slide") not in LONG_VIDEO:
            raise ValueError(
                f"long_video must be one of {', '.join(map(repr, LONG_VIDEO))}, got {options['long_video']!r}."
            )
        check_answers(options.get("top_k", 5), options.get("nms_iou", 0.5), options.get("ranking"))
        wants_curves = {name: options.pop(name) for name in ("return_curves",) if name in options}
        return {}, {**options, **wants_curves}, {}

    def preprocess(self, inputs: Mapping[str, Any]) -> Asked:
        """Check what is asked, without opening the video."""
        refuse_unknown_options(inputs, INPUTS, f"An input of {type(self).__name__}")
        query = inputs["query"]
        if query is None:
            raise ValueError('Expected sentences: pipe("film.mp4", "a man opens the door"), or a key "query".')
        source = {
            name: inputs[name] for name in ("video", "video_features", "duration_s") if inputs.get(name) is not None
        }
        start_s, end_s = inputs.get("start_s"), inputs.get("end_s")
        if (start_s is None) != (end_s is None):
            raise ValueError(f"start_s and end_s go together, got {start_s} and {end_s}.")
        if start_s is not None:
            source["span_se"] = (float(start_s), float(end_s))
        return Asked(source, check_sentences(query), isinstance(query, str))

    def _forward(self, asked: Asked, return_curves: bool = False, **options: Any) -> list[dict[str, Any]]:
        how = {name: options.pop(name) for name in ANSWERS if name in options}
        encoded = encode_video(self.model, self.processor, **asked.source, **options)
        found = [{"moments": moments} for moments in encoded.locate(asked.queries, **how)]
        for answer, curves in zip(found, encoded.curves(asked.queries) if return_curves else (), strict=False):
            answer["curves"] = {name: curves[name] for name in ("start_s", "end_s", "start", "end", "inside")}
        return [{**answer, "is_one": asked.is_one} for answer in found]

    def postprocess(self, found: list[dict[str, Any]]) -> Any:
        """Plain lists and dictionaries."""
        results = []
        for answer in found:
            moments = [{name: moment[name] for name in PLAIN} for moment in answer["moments"]]
            results.append({"moments": moments, "curves": answer["curves"]} if "curves" in answer else moments)
        return results[0] if found[0]["is_one"] else results

    def save_pretrained(self, save_directory: str, **kwargs: Any) -> None:
        """
        Save model and processor: what `pipeline("moment-retrieval", model=save_directory)` loads where this package is.

        Raises:
            ValueError: If the pipeline came with a checkpoint, whose code would be left behind: copy that folder instead.
        """
        if type(self).__module__.startswith("transformers_modules."):
            raise ValueError(
                "This pipeline was loaded with trust_remote_code, and its code lies in the folder of the checkpoint: copy that "
                "folder. Fine-tuned weights go into the copy with `pipe.model.save_pretrained(COPY)`."
            )
        self.model.config.__dict__.pop("custom_pipelines", None)  # the code of which is not saved here
        self.model.save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory, **kwargs)


def _is_question(entry: Any) -> bool:
    """Whether it is a dictionary that asks, and none of the path and the bytes of a video."""
    return isinstance(entry, Mapping) and set(entry) != {"path", "bytes"}


def _is_one(inputs: Any) -> bool:
    """Whether it is one video or one question, and no list or stream of them."""
    if inputs is None or isinstance(inputs, Mapping):
        return True
    if isinstance(inputs, list | tuple) and (not inputs or any(map(_is_question, inputs))):
        return False
    try:
        return make_video_batch(inputs)[0] is inputs
    except TypeError:  # no video; what is no stream either is refused as a video
        return not hasattr(inputs, "__iter__") and not hasattr(inputs, "__getitem__")


__all__ = ["MomentRetrievalPipeline"]
