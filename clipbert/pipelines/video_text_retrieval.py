# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Which text fits a video, and which video fits a text, as a pipeline of transformers: task `video-text-retrieval`.

    pipe = pipeline("video-text-retrieval", model="user/name", trust_remote_code=True)
    pipe("film.mp4", candidate_texts=["a dog runs", "a cat sleeps"])     # [{"label": "a dog runs", "score": 3.2, "clips": [...]}, ...]
    pipe({"text": "a dog runs", "videos": ["one.mp4", "two.mp4"]})       # [{"video": "two.mp4", "score": 3.2, "clips": [...]}, ...]
"""

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

from .video_pipeline import Question, VideoPipeline, check_texts, is_one


SEARCH = ("text", "videos")  # keys of an input that asks which of several videos fits
PAIRS = 256  # of a text and a video that are compared at a time


class VideoTextRetrievalPipeline(VideoPipeline):
    r"""
    Says how well texts fit videos.

    A score is the log-odds that text and video belong together, pooled over the clips: larger fits better. It orders texts for a
    video and videos for a text; it is no probability.

    Options, beside those of every pipeline of videos (`batch_size`, `num_workers`, `on_error`, and those of the video processor):
        candidate_texts (`list[str]`): The texts to choose from, for all videos; those of a dictionary go before.
        top_k (`int`, *optional*): Most answers; all of them by default.
        return_clips (`bool`, defaults to `True`): Whether each answer has its `clips`, with `start_s`, `end_s` and `score` of each
            clip by itself.

    Example:
        >>> pipe = pipeline("video-text-retrieval", model="outputs/quickstart/checkpoints/best")  # doctest: +SKIP
        >>> pipe("film.mp4", candidate_texts=["a dog runs", "a cat sleeps"], return_clips=False)  # doctest: +SKIP
        [{'label': 'a dog runs', 'score': 3.2}, {'label': 'a cat sleeps', 'score': -1.9}]
    """

    keys = ("candidate_texts",)
    answers = ("top_k", "return_clips")

    def __init__(self, *args: Any, **kwargs: Any):
        self._encoded: tuple[tuple[str, ...], dict[str, torch.Tensor]] | None = None
        super().__init__(*args, **kwargs)

    def __call__(self, inputs: Any = None, **options: Any) -> Any:
        """
        Rank texts for videos, or videos for texts.

        Args:
            inputs: See [`VideoPipeline.__call__`]. A dictionary has `video` or `image`, and `candidate_texts`; or `text`, a sentence
                or a list of them, and `videos`, a list: of these every video is read once for all sentences.
            options: See the class.

        Returns:
            For a video `[{"label", "score", "clips"}]`, best first; for `text` and `videos` `[{"video", "score", "clips"}]`, and
            a list of these for a list of sentences; `"video"` is the path, or the place in the list of what is no path. Of a list of inputs a list, of a generator or a data set an iterator.

        Raises:
            TypeError, ValueError, VideoDecodeError: See [`VideoPipeline.__call__`].
        """
        named = {name: options.pop(name) for name in SEARCH if name in options}
        if named and inputs is not None:
            raise ValueError(f"Expected an input, or {' and '.join(SEARCH)}, got both.")
        inputs = named or inputs
        if _is_search(inputs) and "candidate_texts" in options:
            raise ValueError("Expected candidate_texts of a video, or text of videos, got both.")
        self._encoded = None  # weights may have changed since the last call
        return super().__call__(inputs, **options)

    def check(self, entry: Any, common: Mapping[str, Any]) -> None:
        if _is_search(entry):
            self._check_search(entry, common)
        else:
            super().check(entry, common)

    def _check_search(self, entry: Mapping[str, Any], common: Mapping[str, Any]) -> list[str]:
        """The sentences of an input that has videos to choose from; no video is opened yet."""
        if set(entry) != set(SEARCH):
            raise ValueError(
                f"Expected the keys text and videos, got {', '.join(entry)}: a video with texts takes candidate_texts."
            )
        videos = entry["videos"]
        if not isinstance(videos, list | tuple) and is_one(videos):
            raise TypeError(f"Expected videos to be a list of videos, got {type(videos).__name__}.")
        texts = check_texts(entry["text"], "text")
        for place, video in enumerate(videos if isinstance(videos, list | tuple) else ()):
            try:
                self._ask_about(texts, video, common)
            except (TypeError, ValueError) as error:
                raise type(error)(f"Video {place} of {len(videos)}: {error}") from error
        return texts

    def _ask_about(self, texts: list[str], video: Any, common: Mapping[str, Any]) -> Question:
        """A question about one of the videos to choose from."""
        if isinstance(video, Mapping) and "candidate_texts" in video:
            raise ValueError("It has candidate_texts, and is one of the videos to rank for text: leave them out.")
        return self.ask(video, {**common, "candidate_texts": texts})

    def _stream(self, entries: Iterable[Any], common: Mapping[str, Any], **how: Any) -> Iterator[Any]:
        for is_search, some in itertools.groupby(entries, key=_is_search):
            if is_search:
                yield from (self._search(entry, common, **how) for entry in some)
            else:
                yield from super()._stream(some, common, **how)

    def _search(
        self,
        entry: Mapping[str, Any],
        common: Mapping[str, Any],
        answering: Mapping[str, Any],
        on_error: str = "raise",
        **how: Any,
    ) -> list[Any]:
        """Videos for the sentences of an input, best first."""
        texts = self._check_search(entry, common)
        taken: list[str | int] = []  # paths; of other videos their number, so that nothing is held

        def asked() -> Iterator[Any]:
            for video in entry["videos"]:
                self._ask_about(texts, video, common)
                taken.append(str(video) if isinstance(video, str | os.PathLike) else len(taken))
                yield video

        rankings: list[list[dict[str, Any]]] = [[] for _ in texts]
        errors = []
        answers = super()._stream(
            asked(),
            {**common, "candidate_texts": texts},
            answering={**answering, "top_k": None},
            on_error="raise" if on_error == "raise" else "yield",  # so that places stay those of the videos
            **how,
        )
        for place, answer in enumerate(answers):
            if isinstance(answer, Mapping):
                errors += [answer] if on_error == "yield" else []
                continue
            by_text = {found.pop("label"): found for found in answer}
            for ranking, text in zip(rankings, texts, strict=True):
                ranking.append({"video": taken[place], **by_text[text]})
        top_k = answering.get("top_k")
        rankings = [sorted(ranking, key=lambda found: -found["score"])[:top_k] + errors for ranking in rankings]
        return rankings[0] if isinstance(entry["text"], str) else rankings

    def check_asked(self, asked: dict[str, Any]) -> dict[str, Any]:
        if "candidate_texts" not in asked:
            raise ValueError('Expected texts: pipe("film.mp4", candidate_texts=["a dog runs", "a cat sleeps"]).')
        return {"texts": check_texts(asked["candidate_texts"], "candidate_texts")}

    def answer(self, questions: list[Question], top_k: int | None = None, return_clips: bool = True) -> list[Any]:
        answers = {}
        for inputs, of_these, rows in self.batches(questions):
            mask = {name: inputs[name] for name in ("clip_mask",) if name in inputs}
            videos = self.model.encode_videos(inputs["pixel_values"], **mask)
            asked = list(dict.fromkeys(text for question in of_these for text in question.asked["texts"]))
            places = {text: place for place, text in enumerate(asked)}
            pairs = [
                (places[text], row)
                for question, row in zip(of_these, rows, strict=True)
                for text in question.asked["texts"]
            ]
            pooled, of_clips = self._match(asked, videos, mask, pairs)
            start = 0
            for question in of_these:
                texts = question.asked["texts"]
                found = zip(texts, pooled[start:], of_clips[start:], strict=False)
                start += len(texts)
                answers[id(question)] = [
                    {
                        "label": text,
                        "score": score.item(),
                        **({"clips": question.video.clips(clips)} if return_clips else {}),
                    }
                    for text, score, clips in found
                ]
        ranked = (sorted(answers[id(question)], key=lambda found: -found["score"]) for question in questions)
        return [found[:top_k] for found in ranked]

    def _match(
        self, texts: list[str], videos: torch.Tensor, mask: dict[str, torch.Tensor], pairs: list[tuple[int, int]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores of pairs of a text and a video: pooled `(pairs,)`, and of each clip `(pairs, clips)`."""
        encoded, pooled, of_clips = self._encode_texts(texts), [], []
        for start in range(0, len(pairs), PAIRS):
            places, rows = torch.tensor(pairs[start : start + PAIRS], device=videos.device).unbind(1)
            some = {name: values[places] for name, values in encoded.items()}
            outputs = self.model.match(some, videos, rows, **mask)
            pooled.append(outputs.match_odds.float().cpu())
            of_clips.append(outputs.clip_odds.float().cpu())
        return torch.cat(pooled), torch.cat(of_clips)

    def _encode_texts(self, texts: list[str]) -> dict[str, torch.Tensor]:
        """Those of the last batch are kept: a stream is mostly asked the same of all videos."""
        kept, asked = self._encoded, tuple(texts)
        if kept is None or kept[0] != asked:
            words = self.processor(text=texts).to(self.model.device)
            encoded = self.model.encode_texts(words["input_ids"], words["attention_mask"])
            self._encoded = kept = asked, {name: values for name, values in encoded.items() if values is not None}
        return kept[1]


def _is_search(entry: Any) -> bool:
    """Whether it asks for videos that fit a text."""
    return isinstance(entry, Mapping) and not entry.keys().isdisjoint(SEARCH)


__all__ = ["VideoTextRetrievalPipeline"]
