# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
What a video shows, with batches, windows and streams that the pipeline of transformers does not have.

    pipe = clipbert.load_pipeline("user/name")
    pipe(["one.mp4", "two.mp4"], batch_size=2)      # [[{"label": "archery", "score": 0.93, "clips": [...]}, ...], ...]

Its task is `video-classification`, as that of transformers: a published checkpoint brings this class along, and nothing of the
library's own is replaced.
"""

from typing import Any

from .video_pipeline import Question, ReadVideo, VideoPipeline


DEFAULT_TOP_K = 5


class ClipVideoClassificationPipeline(VideoPipeline):
    r"""
    Says which classes a video shows.

    Options, beside those of every pipeline of videos (`batch_size`, `num_workers`, `on_error`, and those of the video processor):
        top_k (`int`, defaults to 5): Most classes; `None` for all.
        return_clips (`bool`, defaults to `True`): Whether each class has its `clips` (windows, views), with `start_s`, `end_s` and
            `score` of each by itself.

    Example:
        >>> pipe = clipbert.load_pipeline("outputs/run")  # doctest: +SKIP
        >>> pipe("film.mp4", top_k=1, return_clips=False)  # doctest: +SKIP
        [{'label': 'archery', 'score': 0.93}]
    """

    _load_processor, _load_video_processor = False, True  # families that read no words have the second alone
    answers = ("top_k", "return_clips")
    visuals = ("video",)

    def __call__(self, inputs: Any = None, **options: Any) -> Any:
        """
        Classify videos.

        Args:
            inputs: See [`VideoPipeline.__call__`].
            options: See the class.

        Returns:
            For a video `[{"label", "score", "clips"}]`, best first: `score` is a probability among all classes, or by itself where
            a video may have several. Of a list of inputs a list, of a generator or a data set an iterator.

        Raises:
            TypeError, ValueError, VideoDecodeError: See [`VideoPipeline.__call__`].
        """
        return super().__call__(inputs, **options)

    def check_asked(self, asked: dict[str, Any]) -> dict[str, Any]:
        return asked

    def preprocess(self, question: Question, **options: Any) -> ReadVideo:
        """Read the video of a question, with the number of frames that the model's config fixes, if it does."""
        if (num_frames := getattr(self.model.config, "num_frames", None)) is not None:
            options = {"num_frames": num_frames, **options}
        return super().preprocess(question, **options)

    def answer(
        self, questions: list[Question], top_k: int | None = DEFAULT_TOP_K, return_clips: bool = True
    ) -> list[Any]:
        answers, config = {}, self.model.config
        for inputs, of_these, rows in self.batches(questions):
            outputs = self.model(**inputs)
            scores = outputs.logits.float().cpu()
            # (videos, clips, classes), whatever a family calls its clips; a model that has none sees the video as one
            of_clips = next(
                (outputs[name] for name in outputs if name.endswith("_logits") and outputs[name].ndim == 3), None
            )
            of_clips = scores[:, None] if of_clips is None else of_clips.float().cpu()
            if config.problem_type == "multi_label_classification":
                scores, of_clips = scores.sigmoid(), of_clips.sigmoid()
            else:
                scores, of_clips = scores.softmax(-1), of_clips.softmax(-1)
            for question, row in zip(of_these, rows, strict=True):
                best = scores[row].argsort(descending=True, stable=True)[:top_k].tolist()
                answers[id(question)] = [
                    {
                        "label": config.id2label[number],
                        "score": scores[row, number].item(),
                        **({"clips": question.video.clips(of_clips[row, :, number])} if return_clips else {}),
                    }
                    for number in best
                ]
        return [answers[id(question)] for question in questions]


__all__ = ["ClipVideoClassificationPipeline"]
