# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Words and videos together: `VideoTextProcessor` makes everything a model reads, in one call.

It serves any tokenizer and any video processor. Texts become one segment each, truncated, and padded to the longest of
the batch.
"""

import inspect
import os
import threading
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from transformers.feature_extraction_utils import BatchFeature
from transformers.processing_utils import ProcessorMixin, TextKwargs
from transformers.utils import logging

from .option_checks import check_option_types, refuse_unknown_options
from .visual_inputs import make_image_batch, make_video_batch


logger = logging.get_logger(__name__)

NO_LIMIT = 10**9  # tokenizers that know of no longest text report a number far beyond this
MOST_TOKENS = 10**6  # of a text that is padded to its limit; more would take all memory before a model sees it
TEXT_OPTIONS = (
    "add_special_tokens",
    "max_length",
    "pad_to_multiple_of",
    "padding",
    "padding_side",
    "return_attention_mask",
    "return_special_tokens_mask",
    "return_tensors",
    "truncation",
    "verbose",
)

# A fast tokenizer keeps truncation and padding between a call's two halves, where another thread may set its own.
_tokenizing = threading.Lock()


def _renew_lock() -> None:
    """A loader worker that is forked while a thread tokenizes would wait for that thread for ever."""
    global _tokenizing
    _tokenizing = threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_renew_lock)


class VideoTextProcessor(ProcessorMixin):
    r"""Turns texts with videos or images into the inputs of a model: a tokenizer and a video processor in one.

    Args:
        video_processor ([`~transformers.BaseVideoProcessor`]): What prepares the frames.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]): What prepares the words.
        max_length (`int`, *optional*): Longest text in tokens, special ones such as `[CLS]` and `[SEP]` included;
            longer ones lose their end. By default what the tokenizer allows. Saved with the processor. Published
            recipes of ClipBERT: 20 for MSR-VTT captions, 25 for TGIF-QA, 100 for paragraphs.

    Example:
        >>> from transformers import BertTokenizer

        >>> from clipbert import ClipBERTVideoProcessor

        >>> words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "runs"]
        >>> tokenizer = BertTokenizer(vocab={word: index for index, word in enumerate(words)})
        >>> processor = VideoTextProcessor(ClipBERTVideoProcessor(size=64, num_clips=3), tokenizer)
        >>> videos = np.zeros((2, 10, 48, 64, 3), dtype=np.uint8)
        >>> batch = processor(text=[["a dog", "a dog runs"], ["a dog"]], videos=videos)
        >>> {name: tuple(values.shape) for name, values in batch.items()}
        {'input_ids': (3, 5), 'attention_mask': (3, 5), 'video_indices': (3,), 'pixel_values': (2, 3, 2, 3, 64, 64)}
    """

    text_kwargs = {"padding": True, "truncation": True, "return_tensors": "pt"}

    def __init__(self, video_processor=None, tokenizer=None, max_length: int | None = None):
        super().__init__(video_processor, tokenizer)
        self.max_length = None if max_length is None else self._check_max_length(max_length)

    def __call__(
        self,
        images: Any = None,
        text: str | Sequence[str] | Sequence[Sequence[str]] | None = None,
        videos: Any = None,
        options: Sequence[Sequence[str]] | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Prepare one batch.

        Args:
            images: One image or several, instead of `videos`. See [`SparseVideoProcessor.__call__`].
            text (`str`, `list[str]` or `list[list[str]]`, *optional*): One text a video, or for each video a list of
                texts. Lists may differ in length; `video_indices` then says which video each text belongs to.
            videos: One video or several: paths, URLs, bytes, open files, arrays, tensors, lists of PIL images.
            options (`list[list[str]]`, *optional*): Answers to choose from, one list for each question in `text`, all
                of the same length. Each becomes a row "question option" in a single segment. Where questions are
                nested by video, options are nested in the same way.
            kwargs: Options of the tokenizer (`max_length`, `padding`, `truncation`, ...) and of the video processor
                (`num_clips`, `num_frames`, `fps`, `sampling`, `placement`, `short_video`, `seeds`, ...), for this call
                only; also as `text_kwargs={...}` and `videos_kwargs={...}`. `return_tensors` is `"pt"` by default.

        Returns:
            [`~transformers.BatchFeature`] with those of the following that the call has inputs for:

            - **input_ids**, **attention_mask** of shape `(texts, length)`, or `(questions, options, length)`.
            - **video_indices** of shape `(texts,)` or `(questions,)`, where texts are nested.
            - **pixel_values** of shape `(videos, clips, frames, 3, height, width)`.
            - **clip_mask** of shape `(videos, clips)`, 1 = clip exists, where `short_video="mask"`.
            - **video_metadata**, where `return_metadata=True`.

        Raises:
            ValueError: If the numbers of videos, texts or options do not fit each other.
            TypeError: If an option is unknown, or a text is not a string.
            VideoDecodeError: If a video or an image cannot be read.
        """
        if images is not None and videos is not None:
            raise ValueError("Got both images and videos: a batch consists of one kind, so make two calls.")
        if options is not None and text is None:
            raise ValueError(
                "Got options without the questions they answer: pass questions as `text`, or options that stand alone "
                "as nested texts, text=[[option, ...], ...]."
            )
        if text is None and images is None and videos is None:
            raise ValueError("Nothing to prepare: pass text, videos or images.")
        if images is not None and "images" not in inspect.signature(self.video_processor.__call__).parameters:
            raise ValueError(f"{type(self.video_processor).__name__} takes no images: pass videos.")
        text_kwargs, videos_kwargs = self._route_options(kwargs)
        visuals = {}
        if videos is not None:
            visuals["videos"] = make_video_batch(videos)
        elif images is not None:
            visuals["images"] = make_image_batch(images)
        data = {}
        if text is not None:  # before the videos: a batch that does not fit together is refused without decoding any
            data.update(self._prepare_text(text, options, visuals, text_kwargs))
        if visuals:
            data.update(self.video_processor(**visuals, **videos_kwargs))
        return BatchFeature(data, text_kwargs["return_tensors"], skip_tensor_conversion=self.skip_tensor_conversion)

    def _route_options(self, kwargs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Sort the options of a call into those of the tokenizer and those of the video processor."""
        known = {"text_kwargs": TEXT_OPTIONS, "videos_kwargs": list(self.video_processor.valid_kwargs.__annotations__)}
        routed = {group: dict(kwargs.pop(group, None) or {}) for group in known}
        refuse_unknown_options(kwargs, [*known, *TEXT_OPTIONS, *known["videos_kwargs"]], type(self).__name__)
        refuse_unknown_options(
            routed["text_kwargs"], TEXT_OPTIONS, "text_kwargs"
        )  # the video processor sees to its own
        for group, names in known.items():
            for name in kwargs.keys() & set(names):
                if name in routed[group]:
                    raise ValueError(f"Got {name} twice, by itself and in {group}: pass it once.")
                routed[group][name] = kwargs[name]
        text_kwargs = {**self.text_kwargs, "max_length": self.max_length, **routed["text_kwargs"]}
        check_option_types(text_kwargs, TextKwargs)
        return text_kwargs, {"return_tensors": text_kwargs["return_tensors"], **routed["videos_kwargs"]}

    def _prepare_text(
        self, text: Any, options: Any, visuals: dict[str, list[Any]], text_kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        texts, counts = _flatten_texts(text, visuals)
        rows = texts if options is None else _join_options(texts, options, counts)
        encoded = self._tokenize(rows, text_kwargs)
        _refuse_empty_rows(rows, encoded)
        if options is not None:
            self._warn_of_equal_rows(rows, encoded["input_ids"], len(texts))
            encoded = {name: _unflatten(values, len(texts)) for name, values in encoded.items()}
        if counts is not None:
            encoded["video_indices"] = [video for video, count in enumerate(counts) for _ in range(count)]
        return encoded

    def _tokenize(self, rows: list[str], text_kwargs: dict[str, Any]) -> dict[str, Any]:
        limit, multiple = text_kwargs["max_length"], text_kwargs.get("pad_to_multiple_of")
        if multiple is not None and not 1 <= multiple <= MOST_TOKENS:
            raise ValueError(f"pad_to_multiple_of must lie in [1, {MOST_TOKENS}], got {multiple}.")
        if limit is not None:
            self._check_max_length(limit)
        elif self.tokenizer.model_max_length < NO_LIMIT:
            limit = self.tokenizer.model_max_length
        cuts = limit is not None and text_kwargs["truncation"] not in (None, False, "do_not_truncate")
        lengths = {"truncation": text_kwargs["truncation"] if cuts else False, "max_length": limit}
        if not cuts and text_kwargs["padding"] != "max_length":
            lengths["max_length"] = None
        with _tokenizing:
            return dict(self.tokenizer(rows, return_token_type_ids=False, **{**text_kwargs, **lengths}))

    def _check_max_length(self, max_length: int) -> int:
        special = self.tokenizer.num_special_tokens_to_add()
        most = min(self.tokenizer.model_max_length, MOST_TOKENS)
        if isinstance(max_length, bool) or not isinstance(max_length, int) or not special < max_length <= most:
            raise ValueError(
                f"Expected max_length between {special + 1} ({special} special tokens and a word) and {most} (what "
                f"this tokenizer allows), got {max_length!r}."
            )
        return max_length

    def _warn_of_equal_rows(self, rows: list[str], input_ids: Any, num_questions: int) -> None:
        """Truncation cuts the option, which stands last: say so where that makes different options the same row."""
        num_options = len(rows) // num_questions
        token_rows = [tuple(np.asarray(row).tolist()) for row in input_ids]
        for start in range(0, len(rows), num_options):
            question = slice(start, start + num_options)
            if len(set(token_rows[question])) < len(set(rows[question])):
                longest = max(len(row) for row in token_rows[question])
                logger.warning_once(
                    f"Different options of a question have become the same {longest} tokens, because they were cut to "
                    "max_length or hold unknown words: no model can tell them apart. A larger max_length may help."
                )
                return

    @property
    def model_input_names(self) -> list[str]:
        words = [name for name in self.tokenizer.model_input_names if name != "token_type_ids"]
        return [*words, "video_indices", *self.video_processor.model_input_names]

    def save_pretrained(self, save_directory: str, push_to_hub: bool = False, **kwargs: Any) -> list[str]:
        """As every processor; one that is saved with its code brings that of its video processor, too."""
        if self._auto_class is not None and not type(self.video_processor).__module__.startswith("transformers."):
            type(self.video_processor).register_for_auto_class()
        return super().save_pretrained(save_directory, push_to_hub, **kwargs)


def _flatten_texts(text: Any, visuals: dict[str, list[Any]]) -> tuple[list[str], list[int] | None]:
    """All texts in one list; if they were nested, also how many belong to each video."""
    if not isinstance(text, Iterable):
        raise TypeError(f"Expected text to be a str, or a list of texts, got {type(text).__name__}: {text!r:.80}.")
    text = [text] if isinstance(text, str) else list(text)
    nested = [isinstance(entry, (list, tuple)) for entry in text]
    if any(nested) and not all(nested):
        raise TypeError("Got texts and lists of texts side by side: write single texts as lists too, [[text], ...].")
    for kind, batch in visuals.items():
        if len(text) != len(batch):
            got = f"{len(text)} lists of texts" if any(nested) else f"{len(text)} texts"
            raise ValueError(
                f"Got {got} for {len(batch)} {kind}: expected one for each. Several texts of one video go into a "
                "list, text=[[first, second], ...]."
            )
    texts = [entry for entries in text for entry in entries] if any(nested) else text
    for position, entry in enumerate(texts):
        if not isinstance(entry, str):
            raise TypeError(f"Expected texts to be str, got {type(entry).__name__} as text {position}: {entry!r:.80}.")
        if any("\ud800" <= letter <= "\udfff" for letter in entry):
            raise ValueError(
                f"Text {position} holds half of a character, which no file can: {entry!a:.80}. Repair it."
            )
    if not texts:
        raise ValueError("Got no text at all: expected at least one, or leave `text` out.")
    return texts, [len(entries) for entries in text] if any(nested) else None


def _refuse_empty_rows(rows: list[str], encoded: dict[str, Any]) -> None:
    """A text of no token at all, as an empty one without special tokens, would be padding and nothing else."""
    for position, mask in enumerate(encoded.get("attention_mask", encoded["input_ids"])):
        if len(mask) == 0 or not ("attention_mask" not in encoded or np.asarray(mask).any()):
            raise ValueError(f"Nothing is left of text {position}, {rows[position]!r:.80}: every text needs a token.")


def _join_options(questions: list[str], options: Any, counts: list[int] | None) -> list[str]:
    """Rows "question option", question by question: all options of the first question come first."""
    options = list(options)
    if counts is not None:  # questions were nested by video, so options are too
        if [len(of_video) for of_video in options] != counts:
            got = [len(of_video) for of_video in options]
            raise ValueError(f"Got {counts} questions for each video, but lists of options for {got} of them.")
        options = [of_question for of_video in options for of_question in of_video]
    if len(options) != len(questions):
        raise ValueError(f"Got {len(options)} lists of options for {len(questions)} questions: expected one for each.")
    for position, of_question in enumerate(options):
        if isinstance(of_question, str) or not all(isinstance(option, str) for option in of_question):
            raise TypeError(f"Expected options to be a list of str, got {of_question!r:.80} for question {position}.")
    num_options = [len(of_question) for of_question in options]
    if len(set(num_options)) != 1 or num_options[0] == 0:
        raise ValueError(f"Expected the same number of options for every question, at least 1, got {num_options}.")
    pairs = zip(questions, options, strict=True)
    return [f"{question} {option}" for question, of_question in pairs for option in of_question]


def _unflatten(values: Any, num_questions: int) -> Any:
    """`(questions * options, length)` to `(questions, options, length)`, for arrays and plain lists."""
    if hasattr(values, "reshape"):
        return values.reshape(num_questions, -1, *values.shape[1:])
    num_options = len(values) // num_questions
    return [values[start : start + num_options] for start in range(0, len(values), num_options)]
