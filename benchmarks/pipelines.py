# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Pipelines: video files to answers in batches of eight, beside a loop written by hand; eight questions beside one.

The loop hands a batch of paths to the processor, its output to the model, and the scores to Python. In the second table decoding
dominates: the videos are large and the model is small.

Run:     python -m benchmarks.pipelines                                       (ten minutes on two cores; --no-memory: half of it)
"""

import argparse
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from transformers import BertTokenizer

from benchmarks.loading import write_video
from benchmarks.measure import Benchmark, Row, Section, add_model_arguments, alternate, measure_peak_bytes
from benchmarks.measure import build_parser as build_common_parser
from benchmarks.models import autocast, build_config
from clipbert import ClipBERTForVideoQA, ClipBERTForVideoTextRetrieval, ClipBERTVideoProcessor, VideoTextProcessor
from clipbert.pipelines import VideoQuestionAnsweringPipeline, VideoTextRetrievalPipeline


MODULE = "benchmarks.pipelines"
TOLERANCE = {"float32": 1e-5, "bfloat16": 2e-2, "float16": 2e-3}  # of a score
BATCH = 8
SENTENCES = ["a dog runs", "a cat sleeps", "what is the man doing ?", "who is it ?"]
QUESTIONS = [f"{sentence} {word}" for word in ("now", "then") for sentence in SENTENCES]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(" ".join(QUESTIONS).split())]


class Case(NamedTuple):
    name: str
    unit: str
    expected: float


CASES = (
    Case("texts of videos, batches of 8 by hand and by the pipeline", "pairs/s", 0.95),
    Case("a question about each video, batches of 8 by hand and by the pipeline", "pairs/s", 0.95),
    Case("one question (baseline) and eight (ours) about a video", "s", 0.67),
)


class Bench:
    """Models, their processor, and videos."""

    def __init__(self, options: argparse.Namespace, folder: Path):
        tokenizer = BertTokenizer(vocab={word: number for number, word in enumerate(WORDS)})
        frames = ClipBERTVideoProcessor(size=options.image_size, num_clips=1, num_frames=options.num_frames)
        self.processor = VideoTextProcessor(frames, tokenizer)
        self.videos = self._write(folder / "small", options.num_videos, options.num_video_frames, (240, 320))
        self.large_videos = self._write(folder / "large", 2, options.num_video_frames, tuple(options.large_size))
        small = argparse.Namespace(
            **{**vars(options), "num_layers": 2, "hidden_size": 64, "backbone_depths": [1] * 4, "backbone_width": 8}
        )
        self.device, self.autocast = options.device, partial(autocast, options)
        self.retrieval = self._pipeline(VideoTextRetrievalPipeline, ClipBERTForVideoTextRetrieval, options)
        self.answering = self._pipeline(VideoQuestionAnsweringPipeline, ClipBERTForVideoQA, options)
        self.small_answering = self._pipeline(VideoQuestionAnsweringPipeline, ClipBERTForVideoQA, small)

    def _pipeline(self, pipeline_class: type, model_class: type, options: argparse.Namespace) -> Any:
        model = model_class(build_config(options)).eval()
        if options.compile:  # both sides run it
            model.compile()
        return pipeline_class(model=model, processor=self.processor, device=self.device)

    @staticmethod
    def _write(folder: Path, count: int, num_frames: int, size: tuple[int, int]) -> list[str]:
        folder.mkdir()
        paths = [folder / f"{number}.mp4" for number in range(count)]
        for number, path in enumerate(paths):
            write_video(path, num_frames, 25, size, seed=number)
        return list(map(str, paths))

    def work(self, case: Case) -> dict[str, Callable[[], list[float]]]:
        """The scores of each side."""

        def within_autocast(compute: Callable[[], list[float]]) -> list[float]:
            with self.autocast():
                return compute()

        return {side: partial(within_autocast, compute) for side, compute in self._sides(case).items()}

    def _sides(self, case: Case) -> dict[str, Callable[[], list[float]]]:
        if case is CASES[0]:
            pipe = partial(self.retrieval, candidate_texts=SENTENCES)
            return {"baseline": self.match_by_hand, "ours": lambda: self.by_pipeline(pipe, SENTENCES, "label")}
        names = list(self.answering.model.config.id2label.values())
        if case is CASES[1]:
            pipe = partial(self.answering, question=SENTENCES[0], top_k=None)
            return {"baseline": self.answer_by_hand, "ours": lambda: self.by_pipeline(pipe, names, "answer")}
        return {"baseline": partial(self.ask, QUESTIONS[:1]), "ours": partial(self.ask, QUESTIONS)}

    @torch.no_grad()
    def match_by_hand(self) -> list[float]:
        scores = []
        for start in range(0, len(self.videos), BATCH):
            videos = self.videos[start : start + BATCH]
            inputs = self.processor(text=[SENTENCES] * len(videos), videos=videos).to(self.device)
            scores += self.retrieval.model(**inputs).match_odds.tolist()
        return scores

    @torch.no_grad()
    def answer_by_hand(self) -> list[float]:
        scores = []
        for start in range(0, len(self.videos), BATCH):
            videos = self.videos[start : start + BATCH]
            inputs = self.processor(text=SENTENCES[:1] * len(videos), videos=videos).to(self.device)
            scores += self.answering.model(**inputs).logits.softmax(-1).flatten().tolist()
        return scores

    def by_pipeline(self, pipe: Callable[..., Any], names: list[str], key: str) -> list[float]:
        answers = pipe(self.videos, batch_size=BATCH, return_clips=False)
        by_name = ({found[key]: found["score"] for found in answer} for answer in answers)
        return [answer[name] for answer in by_name for name in names]

    def ask(self, questions: list[str]) -> list[float]:
        """The best scores of the first question, about each of the large videos."""
        inputs = [{"video": video, "question": questions} for video in self.large_videos]
        answers = self.small_answering(inputs, num_clips=8, return_clips=False)
        return [found["score"] for of_video in answers for found in of_video[0]]


def check(case: Case, work: dict[str, Callable[[], list[float]]], dtype: str = "float32") -> float:
    """
    Largest difference between the scores of the two sides.

    Raises:
        AssertionError: If it is above the tolerance, or a score is not finite.
    """
    expected, found = work["baseline"](), work["ours"]()
    differences = [abs(one - other) for one, other in zip(expected, found, strict=True)]
    worst = max(differences)
    if not worst <= TOLERANCE[dtype] or not all(map(math.isfinite, found)):
        raise AssertionError(f"{case.name}: scores differ by {worst:.1e}, more than {TOLERANCE[dtype]:.0e}.")
    return worst


def measure(options: argparse.Namespace, arguments: Sequence[str] = ()) -> Section:
    """Check and measure the cases."""
    rows, worst = [], 0.0
    with TemporaryDirectory() as folder:
        bench = Bench(options, Path(folder))
        amounts = {"pairs/s": options.num_videos, "s": 1}
        for number, case in enumerate(CASES):
            work = bench.work(case)
            worst = max(worst, check(case, work, options.dtype))
            seconds = alternate(work, options.repetitions, options.warm_up, options.device)
            amount = amounts[case.unit] * (len(SENTENCES) if number == 0 else 1)
            peaks = {} if options.no_memory else measure_peak_bytes(MODULE, arguments, number)
            rows.append(Row(case.name, case.unit, amount, seconds, case.expected, peaks))
    return Section(
        title=f"Pipelines: {options.num_videos} videos of {options.num_video_frames} frames, {options.image_size} px, "
        f"{options.device}",
        rows=rows,
        notes=[f"Checked before timing: the scores of both sides differ by at most {worst:.1e}."],
    )


def build_lonely_work(options: argparse.Namespace) -> Callable[[], object]:
    """The call of the one side and case that the options name."""
    folder = TemporaryDirectory()
    work = Bench(options, Path(folder.name)).work(CASES[options.case])[options.alone]
    return lambda: (folder.name, work())  # the files live as long as the work


def build_parser() -> argparse.ArgumentParser:
    parser = build_common_parser(__doc__.splitlines()[0])
    add_model_arguments(parser)
    parser.add_argument("--num-videos", type=int, default=16, help="files to answer about")
    parser.add_argument("--num-video-frames", type=int, default=75, help="frames of each file, 25 a second")
    parser.add_argument(
        "--large-size", type=int, nargs=2, default=[720, 1280], help="of videos that take long to decode"
    )
    return parser


BENCHMARK = Benchmark(MODULE, build_parser, measure, build_lonely_work)

if __name__ == "__main__":
    BENCHMARK.main()
