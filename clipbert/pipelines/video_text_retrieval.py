# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Which text fits a video, and which video fits a text, as a pipeline of transformers: task `video-text-retrieval`.

    pipe = pipeline("video-text-retrieval", model="user/name", trust_remote_code=True)
    pipe("film.mp4", candidate_texts=["a dog runs", "a cat sleeps"])     # [{"label": "a dog runs", "score": 3.2, "clips": [...]}, ...]
    pipe({"text": "a dog runs", "videos": ["one.mp4", "two.mp4"]})       # [{"video": "two.mp4", "score": 3.2, "clips": [...]}, ...]
"""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from .video_pipeline import Question, VideoPipeline, check_texts, check_top_k


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
        is_search = isinstance(inputs, Mapping) and not {"text", "videos"}.isdisjoint(inputs)
        if inputs is None and not {"text", "videos"}.isdisjoint(options):
            inputs, is_search = {name: options.pop(name) for name in ("text", "videos") if name in options}, True
        if is_search:
            return self._search(dict(inputs), options)
        if isinstance(inputs, list | tuple) and any(isinstance(each, Mapping) and "videos" in each for each in inputs):
            return [self(each, **options) for each in inputs]
        return super().__call__(inputs, **options)

    def _search(self, inputs: dict[str, Any], options: dict[str, Any]) -> Any:
        if set(inputs) != {"text", "videos"}:
            raise ValueError(
                f"Expected the keys text and videos, got {', '.join(inputs)}: a video with texts takes candidate_texts."
            )
        texts, videos = check_texts(inputs["text"], "text"), inputs["videos"]
        if isinstance(videos, str | bytes | Mapping) or not hasattr(videos, "__iter__"):
            raise TypeError(f"Expected videos to be a list of videos, got {type(videos).__name__}.")
        options = {**options, "candidate_texts": texts}
        top_k, on_error = options.pop("top_k", self._forward_params.get("top_k")), options.pop("on_error", None)
        check_top_k(top_k)
        on_error = on_error or self._forward_params.get("on_error", "raise")
        taken: list[str | int] = []  # paths; of other videos their number, so that nothing is held

        def remembered() -> Iterator[Any]:
            for video in videos:
                taken.append(str(video) if isinstance(video, str | os.PathLike) else len(taken))
                yield video

        rankings: list[list[dict[str, Any]]] = [[] for _ in texts]
        errors = []
        wanted = "yield" if on_error == "skip" else on_error  # so that places stay those of the videos
        answers = super().__call__(remembered(), **options, top_k=None, on_error=wanted)
        for place, answer in enumerate(answers):
            if isinstance(answer, Mapping):
                errors += [{"error": answer["error"], "input": answer["input"]}] if on_error == "yield" else []
                continue
            by_text = {found.pop("label"): found for found in answer}
            for ranking, text in zip(rankings, texts, strict=True):
                ranking.append({"video": taken[place], **by_text[text]})
        rankings = [sorted(ranking, key=lambda found: -found["score"])[:top_k] + errors for ranking in rankings]
        return rankings[0] if isinstance(inputs["text"], str) else rankings

    def check_answers(self, options: Mapping[str, Any]) -> None:
        check_top_k(options.get("top_k"))

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
        if self._encoded is None or self._encoded[0] != tuple(texts):
            words = self.processor(text=texts).to(self.model.device)
            encoded = self.model.encode_texts(words["input_ids"], words["attention_mask"])
            self._encoded = tuple(texts), {name: values for name, values in encoded.items() if values is not None}
        return self._encoded[1]


__all__ = ["VideoTextRetrievalPipeline"]
