# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""When is seen what is said: every sentence of long videos with every second of them (HTM-Align).

Run:     accelerate launch train_scripts/align.py --recipe train_scripts/recipes/mug_stan/align_htm_align.yaml

It measures a checkpoint of retrieval; there is nothing to train. R@1: the best second lies in the annotated span; ROC-AUC: how
well the best score of a sentence tells whether it is seen at all. Both are reported for windows of `eval.window_s` that move
along the video by `eval.step_s`, each compared with the sentences said about then, and for whole videos with all sentences
(`global_`). A model that says how texts fit single frames (`match_frames`) sees the seconds of a window together, one frame
each; for others a second is a clip of `data.num_frames`. When an alignable sentence is seen is never shown to a model.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from accelerate.utils import gather_object
from torch.utils.data import Subset
from tqdm.auto import tqdm

from clipbert.support.options import changeable
from clipbert.support.terminal import printable
from clipbert.train_scripts.engine.cost import ReadItems, batches_of
from clipbert.train_scripts.engine.data import Skipped, build_loader, check_skipped
from clipbert.train_scripts.engine.items import NoTrainSet
from clipbert.train_scripts.engine.predictions import Predictions
from clipbert.train_scripts.engine.recipe import Recipe
from clipbert.train_scripts.engine.task import Evaluation, Parts, Task, main
from clipbert.train_scripts.tasks.alignment.items import WholeVideos, encode_sentences, score_seconds
from clipbert.train_scripts.tasks.alignment.measures import CONTEXTS, METRICS, measure
from clipbert.train_scripts.tasks.alignment.windows import choose_sentences, place_windows
from clipbert.train_scripts.tasks.building import build_model, build_processor
from clipbert.train_scripts.tasks.rows import SPAN_COLUMNS, RowsByVideo, coverage_metrics, find_data, load_rows
from clipbert.train_scripts.tasks.texts import report_losses
from clipbert.train_scripts.tasks.videos import ClipEvalSection, VideoSection, video_options


@dataclass(kw_only=True)
class AlignmentEvalSection(ClipEvalSection):
    window_s: int = changeable(64, "Seconds of a window.", at_least=1, saves="memory")
    step_s: int = changeable(16, "Seconds by which windows move.", at_least=1)

    def problems(self):
        yield from super().problems()
        if self.step_s > self.window_s:
            yield f"step_s: windows of {self.window_s} s that move by {self.step_s} leave seconds out"


@dataclass(kw_only=True)
class AlignmentRecipe(Recipe):
    data: VideoSection = field(default_factory=VideoSection)
    eval: AlignmentEvalSection = field(default_factory=AlignmentEvalSection)

    def problems(self):
        if self.run.total_steps != 0:
            yield "run.total_steps: alignment is measured, not trained; set it to 0, and train with retrieval.py"

    def metrics(self) -> Sequence[str]:
        return METRICS


class AlignmentTask(Task):
    """Sentences of a video and the seconds that show them."""

    name = "alignment"
    recipe_class = AlignmentRecipe

    def build(self, recipe: AlignmentRecipe) -> Parts:
        find_data(recipe.data)
        self.processor = build_processor(recipe)
        model = build_model(recipe, "VideoTextRetrieval", self.processor)
        eval_sets = {split: load_rows(recipe.data, split, ("alignment",)) for split in recipe.eval.splits}
        for split, rows in eval_sets.items():
            report_losses(split, rows["caption"], self.processor)
        return Parts(model, self.processor, NoTrainSet(), list, eval_sets)

    def evaluate(self, model, examples, accelerator, recipe, draw=0):
        videos = RowsByVideo(examples.remove_columns(list(SPAN_COLUMNS)))  # whole ones
        options = video_options(recipe, self.processor, is_training=False)
        skip = recipe.data.on_decode_error == "skip"
        inputs = WholeVideos(videos.sources(), self.processor, options, hasattr(model, "match_frames"), skip)
        own = range(accelerator.process_index, len(videos), accelerator.num_processes)
        read = ReadItems(Subset(inputs, own), list)
        loader = build_loader(read, recipe.data, batch_size=1, collate_fn=read.collate)
        quiet, found = None if accelerator.is_main_process else True, []
        bar = tqdm(batches_of(loader), total=len(loader), desc="evaluating", unit="video", disable=quiet)
        for number, (item,) in zip(own, bar, strict=True):
            rows = examples[videos.members(number)]
            scores = {context: np.zeros((len(rows["caption"]), 0), np.float32) for context in CONTEXTS}
            if not isinstance(item, str):
                scores = self.score(model, item, rows["caption"], said_seconds(rows), accelerator.device, recipe)
            found.append((number, scores, item if isinstance(item, str) else None))
        found = sorted(gather_object(found), key=lambda video: video[0])
        skipped = [Skipped(0, videos.ids[number], reason) for number, _, reason in found if reason]
        check_skipped(skipped, len(videos), recipe.data.max_decode_error_rate)
        predictions = self.collect(examples, videos, found)
        return Evaluation(self.measure(predictions), predictions)

    def score(self, model, item, sentences, said_s, device, recipe) -> dict[str, np.ndarray]:
        """Scores `(sentences, seconds)` of one video in both contexts."""
        settings = recipe.eval
        part = {name: values.to(device) for name, values in item.items()}
        num_seconds = part["pixel_values"].shape[1]
        encoded = encode_sentences(model, sentences, self.processor, device)
        windows = place_windows(num_seconds, settings.window_s, settings.step_s)
        chosen = choose_sentences(said_s, windows, settings.window_s, settings.step_s)
        everything = [range(num_seconds)], np.ones((1, len(sentences)), dtype=bool)
        return {
            context: score_seconds(model, part, encoded, *met, settings.pairs_per_forward)
            for context, met in zip(CONTEXTS, ((windows, chosen), everything), strict=True)
        }

    def collect(self, examples, videos, found) -> Predictions:
        """Predictions with the sentences of a video behind each other."""
        rows, parts = [], {context: [] for context in CONTEXTS}
        for number, scores, reason in found:
            for row in examples.select(videos.members(number)):
                gold = {name: row[name] for name in ("sentence_id", "video_id", "caption", "alignable", *SPAN_COLUMNS)}
                rows.append({**gold, "num_seconds": scores[CONTEXTS[0]].shape[1], "skipped": reason})
            for context in CONTEXTS:
                parts[context].append(scores[context].ravel())
        tensors = {context: np.concatenate(flat) for context, flat in parts.items()}
        return Predictions(self.name, rows, tensors, coverage_metrics(examples))

    def describe_row(self, predictions, number):
        row = predictions.rows[number]
        if row["skipped"]:
            return None
        first = sum(row["num_seconds"] for row in predictions.rows[:number])
        best = int(predictions.tensors["windowed"][first : first + row["num_seconds"]].argmax())
        seen = (
            f"it is seen from {row['start_s']:.1f} to {row['end_s']:.1f} s" if row["alignable"] else "it is not seen"
        )
        return printable(f'"{row["caption"]}": second {best}; {seen}')

    def measure(self, predictions):
        return measure(predictions)


def said_seconds(rows: dict[str, list]) -> list[float | None]:
    """When sentences are said; `None` of those that are seen, whose seconds are the answer."""
    spans = zip(rows["alignable"], *(rows[name] for name in SPAN_COLUMNS), strict=True)
    return [None if is_seen else (start_s + end_s) / 2 for is_seen, start_s, end_s in spans]


if __name__ == "__main__":
    main(AlignmentTask())
