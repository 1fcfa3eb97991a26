# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Questions about a video, as a pipeline of transformers: task `video-question-answering`.

    pipe = pipeline("video-question-answering", model="user/name", trust_remote_code=True)
    pipe("film.mp4", question="what is the man doing?")        # [{"answer": "cooking", "score": 0.71, "clips": [...]}, ...]
    pipe("film.mp4", question="what is he?", options=["a cook", "a singer"])             # a model for multiple choice
    pipe("film.mp4", question="how often does he jump?")       # [{"answer": 3, "value": 2.8, "clips": [...]}], a model that counts
"""

import math
from collections.abc import Mapping
from typing import Any

import torch

from .video_pipeline import Question, VideoPipeline, check_texts


DEFAULT_TOP_K = 5


class VideoQuestionAnsweringPipeline(VideoPipeline):
    r"""
    Answers questions about videos and images.

    What it answers with depends on the model: its own answers; those of `options`, where it is one for multiple choice; or a number,
    where it counts. A video is read and encoded once for all of its questions.

    Options, beside those of every pipeline of videos (`batch_size`, `num_workers`, `on_error`, and those of the video processor):
        question (`str` or `list[str]`): Asked of every video; those of a dictionary go before.
        options (`list[str]`, or one such list for each question): Answers to choose from.
        top_k (`int`, defaults to 5): Most answers to a question; `None` for all.
        return_clips (`bool`, defaults to `True`): Whether each answer has its `clips`, with `start_s`, `end_s` and `score` of each
            clip by itself.

    Example:
        >>> pipe = pipeline("video-question-answering", model="outputs/run/checkpoints/best")  # doctest: +SKIP
        >>> pipe("film.mp4", question="what is the man doing?", top_k=1, return_clips=False)  # doctest: +SKIP
        [{'answer': 'cooking', 'score': 0.71}]
    """

    keys = ("question", "options")
    answers = ("top_k", "return_clips")

    def __call__(self, inputs: Any = None, **options: Any) -> Any:
        """
        Answer questions.

        Args:
            inputs: See [`VideoPipeline.__call__`]. A dictionary has `video` or `image`, `question`, and `options` for multiple choice.
            options: See the class.

        Returns:
            For a question `[{"answer", "score", "clips"}]`, best first: `score` is a probability among all answers, or by itself
            where several may hold (`loss_type="bce"`). A model that counts gives `[{"answer", "value", "clips"}]`: the number, rounded
            and within the counts that it was trained on, and as it was predicted. For a list of questions a list of these.

        Raises:
            TypeError, ValueError, VideoDecodeError: See [`VideoPipeline.__call__`].
        """
        return super().__call__(inputs, **options)

    @property
    def mode(self) -> str:
        name = type(self.model).__name__
        if name.endswith("MultipleChoice"):
            return "choice"
        return "count" if name.endswith("Regression") or self.model.config.num_labels == 1 else "open"

    def check_asked(self, asked: dict[str, Any]) -> dict[str, Any]:
        if "question" not in asked:
            raise ValueError('Expected a question: pipe("film.mp4", question="what is the man doing?").')
        questions = check_texts(asked["question"], "question")
        is_one, options = isinstance(asked["question"], str), asked.get("options")
        if (options is None) == (self.mode == "choice"):
            name = type(self.model).__name__
            raise ValueError(
                f"{name} chooses among options: pass options=[...]."
                if options is None
                else f"{name} takes no options: leave them out."
            )
        if options is not None:
            are_shared = isinstance(options, list | tuple) and all(isinstance(option, str) for option in options)
            options = [options] * len(questions) if are_shared else options
            if not isinstance(options, list | tuple) or len(options) != len(questions):
                raise ValueError(f"Expected options for each of {len(questions)} questions, got {options!r:.80}.")
            options = [
                check_texts(list(of_one) if isinstance(of_one, tuple) else of_one, "options") for of_one in options
            ]
        return {"questions": questions, "options": options, "is_one": is_one}

    def answer(
        self, questions: list[Question], top_k: int | None = DEFAULT_TOP_K, return_clips: bool = True
    ) -> list[Any]:
        answers: dict[int, list[Any]] = {
            id(question): [None] * len(question.asked["questions"]) for question in questions
        }
        for inputs, of_these, rows in self.batches(questions):
            mask = {name: inputs[name] for name in ("clip_mask",) if name in inputs}
            videos = self.model.encode_videos(inputs["pixel_values"], **mask)
            by_number: dict[
                int, list[tuple[Question, int, int]]
            ] = {}  # of options: those of a tensor have equally many
            for question, row in zip(of_these, rows, strict=True):
                options = question.asked["options"]
                for place in range(len(question.asked["questions"])):
                    by_number.setdefault(len(options[place]) if options else 0, []).append((question, place, row))
            for asked in by_number.values():
                for (question, place, _), scores, clips in zip(asked, *self._score(asked, videos, mask), strict=True):
                    names = (
                        question.asked["options"][place] if question.asked["options"] else self.model.config.id2label
                    )
                    answers[id(question)][place] = self._ranked(question, scores, clips, names, top_k, return_clips)
        return [
            answers[id(question)][0] if question.asked["is_one"] else answers[id(question)] for question in questions
        ]

    def _score(
        self, asked: list[tuple[Question, int, int]], videos: torch.Tensor, mask: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores `(questions, answers)` pooled over clips, and of each clip `(questions, clips, answers)`."""
        texts = [question.asked["questions"][place] for question, place, _ in asked]
        options = [question.asked["options"][place] for question, place, _ in asked if question.asked["options"]]
        words = self.processor(text=texts, **({"options": options} if options else {}))
        rows = torch.tensor([row for *_, row in asked], device=videos.device)
        tokens = {name: words[name].to(videos.device) for name in ("input_ids", "attention_mask")}
        outputs = self.model(**tokens, visual_embeds=videos, video_indices=rows, pooled_only=True, **mask)
        return outputs.logits.float().cpu(), outputs.clip_logits.float().cpu()

    def _ranked(
        self,
        question: Question,
        scores: torch.Tensor,
        clips: torch.Tensor,
        names: Mapping[int, str] | list[str],
        top_k: int | None,
        return_clips: bool,
    ) -> list[dict[str, Any]]:
        if self.mode == "count":
            value = scores[0].item()
            least, most = getattr(self.model.config, "count_range", None) or (-math.inf, math.inf)
            answer = {"answer": int(min(max(math.floor(value + 0.5), least), most)), "value": value}
            return [{**answer, **({"clips": question.video.clips(clips[:, 0])} if return_clips else {})}]
        if self.mode == "open" and getattr(self.model, "task_loss", "ce") == "bce":
            scores, clips = scores.sigmoid(), clips.sigmoid()
        else:
            scores, clips = scores.softmax(-1), clips.softmax(-1)
        best = scores.argsort(descending=True, stable=True)[:top_k].tolist()
        return [
            {
                "answer": names[number],
                "score": scores[number].item(),
                **({"clips": question.video.clips(clips[:, number])} if return_clips else {}),
            }
            for number in best
        ]


__all__ = ["VideoQuestionAnsweringPipeline"]
