# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""When in a video does it happen? The seconds of a sentence.

Run:     accelerate launch train_scripts/moment_retrieval.py --recipe train_scripts/recipes/ci_mha/charades_sta_i3d_org.yaml
Smoke:   accelerate launch --cpu train_scripts/moment_retrieval.py --recipe train_scripts/recipes/quickstart/moment_retrieval.yaml

For every family with a head `...ForMomentRetrieval`: see the contract in `tasks/moment_retrieval/__init__.py`. A video is read
once for all of its sentences. Every score stands beside what is reached without looking: the whole video, two uniform points, the
best fixed span for each threshold, the moments of the most similar training sentences, and the model itself with all segments
replaced by their mean.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from accelerate import PartialState
from transformers import PreTrainedModel

from clipbert.processing.moment_spans import RANKINGS
from clipbert.processing.word_tokenizer import build_word_tokenizer
from clipbert.support.families import load_family
from clipbert.support.names import did_you_mean
from clipbert.support.terminal import printable
from clipbert.train_scripts.engine.cost import uncounted
from clipbert.train_scripts.engine.data import Skipped, check_skipped
from clipbert.train_scripts.engine.items import NoTrainSet
from clipbert.train_scripts.engine.recipe import Recipe
from clipbert.train_scripts.engine.task import Evaluation, Parts, Predictions, Task, main
from clipbert.train_scripts.tasks.building import build_model, build_processor, check_head
from clipbert.train_scripts.tasks.cached import CachedSegments, card_of_run, choose_reader
from clipbert.train_scripts.tasks.moment_retrieval.features import open_feature_files, size_of_features, take_card
from clipbert.train_scripts.tasks.moment_retrieval.items import (
    AskedCollator,
    AskedVideos,
    EvaluatedVideos,
    FeaturesOfVideos,
    HiddenVideos,
    SeenVideos,
    UnseenVideos,
    group_by_video,
    read_durations,
)
from clipbert.train_scripts.tasks.moment_retrieval.measures import (
    SELECTION,
    add_blind_model,
    decode,
    describe_blind,
    measure,
    score,
)
from clipbert.train_scripts.tasks.moment_retrieval.options import MomentEvalSection, MomentSection
from clipbert.train_scripts.tasks.moment_retrieval.scoring import (
    by_question,
    match_in_blocks,
    mean_of_videos,
    segment_features,
)
from clipbert.train_scripts.tasks.rows import coverage_metrics, evaluation_problems, find_data, load_rows
from clipbert.train_scripts.tasks.texts import report_losses
from clipbert.train_scripts.tasks.videos import video_options


KINDS = ("moments",)  # of rows
PLAN = ("segments_per_second", "min_segments", "max_segments", "frames_per_segment")  # of a video, by its processor


@dataclass(kw_only=True)
class MomentRecipe(Recipe):
    data: MomentSection = field(default_factory=MomentSection)
    eval: MomentEvalSection = field(default_factory=MomentEvalSection)

    def problems(self):
        yield from evaluation_problems(self)
        if self.data.other_windows >= self.run.micro_batch_size:
            yield (
                f"data.other_windows: {self.data.other_windows} other videos take a run.micro_batch_size of more, got "
                f"{self.run.micro_batch_size}"
            )
        if self.data.features is not None and self.eval.window_seconds is not None:
            yield "eval.window_seconds: data.features holds videos as a whole; leave out one of them"
        known = {"dataset", "config", "data_dir", "options", "skip_list"}
        if unknown := [name for name in self.eval.other_data if name not in known]:
            yield f"eval.other_data: {unknown[0]!r} is none. {did_you_mean(unknown[0], known)}"
        if self.eval.other_data and self.data.train_split in self.eval.splits:
            yield f"eval.other_data: {self.data.train_split} is trained on and evaluated; leave one of them out"

    def metrics(self):
        known = ("R1@0.?", "R5@0.?", "dR1@0.?", "dR5@0.?", "mIoU", "mAP", "mAP@0.5", "mAP@0.75", SELECTION)
        return (*known, "R1@0.?_one_word", *(f"R1@0.?_by_{ranking}" for ranking in RANKINGS))


def with_words(recipe: MomentRecipe, rows: datasets.Dataset | None) -> MomentRecipe:
    """The recipe with a tokenizer: if it names none and nothing else brings one, the words of the training sentences."""
    model, folder, parts = recipe.model, Path(recipe.run.output_dir) / "words", recipe.model.parts or {}
    if model.tokenizer is not None or model.from_pretrained is not None or rows is None:
        return recipe
    if parts and not getattr(load_family(model.family), "needs_words", lambda parts: False)(parts):
        return recipe
    with PartialState().local_main_process_first():
        if not (folder / "tokenizer.json").is_file():
            build_word_tokenizer(rows["caption"], glove=parts.get("glove")).save_pretrained(folder)
    return replace(recipe, model=replace(model, tokenizer=str(folder)))


class MomentTask(Task):
    """Moments of sentences in videos."""

    name = "moment_retrieval"
    recipe_class = MomentRecipe
    averaged_target = "start_positions"
    rescore_options = ("top_k", "nms_iou", "ranking", "rescore_with_segmentation", "max_seconds", "strict_iou")

    def build(self, recipe: MomentRecipe) -> Parts:
        data, run = recipe.data, recipe.run
        find_data(data)
        check_head(recipe, "MomentRetrieval")
        if data.feature_files is not None:  # videos need not be there
            data = replace(data, options={"on_missing": "keep", **data.options})
        sources = {} if data.train_split is None else {data.train_split: data}
        if recipe.eval.other_data:
            find_data(replace(data, **recipe.eval.other_data))
        sources |= {split: replace(data, **recipe.eval.other_data) for split in recipe.eval.splits}
        rows = {split: load_rows(source, split, KINDS) for split, source in sources.items()}
        self.processor = build_processor(with_words(recipe, rows.get(data.train_split)))
        self.coverage = {split: coverage_metrics(rows[split]) for split in recipe.eval.splits}
        self.rows = {split: read_durations(of_split) for split, of_split in rows.items()}
        self.train_split, self.blind, self.files = data.train_split, {}, None
        for split in recipe.eval.splits:
            report_losses(split, (row["caption"] for row in self.rows[split]), self.processor)
        model = self.build_model(recipe)
        self.videos = {split: [row["video"] for row in of_split] for split, of_split in self.rows.items()}
        if self.files is None:
            self.reader = choose_reader(recipe, model, self.processor, self.videos, CachedSegments)
        train_set = NoTrainSet()
        if run.total_steps != 0:
            videos, seen = group_by_video(self.rows[data.train_split]), self.seen_videos(recipe, is_training=True)
            train_set = AskedVideos(videos, seen, data.queries_per_video, run.seed)
        collate = AskedCollator(self.processor, data.other_windows)
        return Parts(model, self.processor, train_set, collate, {split: split for split in recipe.eval.splits})

    def build_model(self, recipe: MomentRecipe) -> PreTrainedModel:
        """A model that knows how videos are cut into segments, and what its features are, if it reads any."""
        video_processor, values = self.processor.video_processor, {}
        plan = {name: getattr(video_processor, name) for name in PLAN if hasattr(video_processor, name)}
        ids = list(dict.fromkeys(row["video_id"] for rows in self.rows.values() for row in rows))
        if recipe.data.feature_files is not None:
            self.files = open_feature_files(recipe.data, ids)
        if recipe.model.from_pretrained is None:
            values = {"segment_plan": plan, "max_segments": plan.get("max_segments")}
            values |= {"video_feature_size": size_of_features(self.files, ids)} if self.files is not None else {}
        model = build_model(recipe, "MomentRetrieval", self.processor, **values)
        if self.files is not None:
            take_card(model, self.processor, self.files, ids)
        elif model.config.feature_card is None:
            model.config.feature_card = self.processor.feature_card = card_of_run(recipe, model, self.processor)
        return model

    def seen_videos(self, recipe: MomentRecipe, is_training: bool, draw: int = 0) -> Any:
        """What shows videos to the model: see `items.py`."""
        window_s = None if is_training else recipe.eval.window_seconds
        if self.files is not None:
            seen = FeaturesOfVideos(self.files, self.processor, window_s)
        else:
            options = video_options(recipe, self.processor, is_training)
            seen = SeenVideos(self.reader, options, recipe.run.seed + draw, window_s)
        return HiddenVideos(seen) if recipe.data.hide_videos else seen

    def training_step(self, model, batch):
        outputs = model(**batch.inputs, **batch.targets)
        names = [name for name in outputs if name.endswith("_loss")]
        return {"loss": outputs.loss}, {name: outputs[name].detach() for name in names}

    def eval_step(self, model, batch):
        skipped, inputs, num_windows = batch["skipped"], batch["inputs"], batch["num_windows"]
        scores, seen = [None] * len(skipped), [[] for _ in skipped]
        means = torch.full((len(skipped), model.frame_feature_size), torch.nan, device=model.device)
        if inputs:
            features, mask, rows = segment_features(model, inputs), inputs["video_mask"], batch["rows"]
            means = mean_of_videos(features, mask, num_windows)
            videos = model.encode_videos(video_features=features, video_mask=mask)
            found = match_in_blocks(model, batch["texts"], videos, rows, self.queries_per_forward).cpu().numpy()
            lengths, durations = mask.sum(dim=1).tolist(), inputs["durations"].tolist()
            starts = inputs["starts_s"].tolist() if "starts_s" in inputs else [0.0] * len(durations)
            windows = [(at, at + long, n) for at, long, n in zip(starts, durations, lengths, strict=True)]
            owners = np.repeat(np.arange(len(skipped)), num_windows)[rows[:, 1].cpu().numpy()]
            for number, count in enumerate(num_windows):
                seen[number], windows = windows[:count], windows[count:]
                longest = max((n for *_, n in seen[number]), default=0)
                scores[number] = found[:, owners == number, :longest]
        # lists with an entry for each video: what several processes gather is counted in those, not in questions
        columns = {"number": batch["numbers"], "skipped": skipped, "scores": scores, "windows_seen": seen}
        return {"means": means, **columns}

    def evaluate(self, model, examples, accelerator, recipe, draw=0):
        videos, settings = group_by_video(self.rows[examples]), recipe.eval
        self.queries_per_forward, skip = settings.queries_per_forward, recipe.data.on_decode_error == "skip"
        info = {name: getattr(settings, name) for name in self.rescore_options}
        info["ranking"] = settings.ranking or ("joint" if settings.window_seconds is None else "unnormalised")
        info |= {**self.find_blind(examples, settings.strict_iou), **self.coverage[examples]}

        def ask(seen: Any, skip: bool) -> Predictions:
            return self.predict(model, EvaluatedVideos(videos, seen, self.processor, skip), accelerator, recipe)

        found = ask(self.seen_videos(recipe, is_training=False, draw=draw), skip)
        skipped = [Skipped(0, videos[row["number"]].video_id, row["skipped"]) for row in found.rows if row["skipped"]]
        check_skipped(skipped, len(found.rows), recipe.data.max_decode_error_rate)
        predictions = by_question(videos, found, info)
        with uncounted():
            blind = ask(UnseenVideos.of(videos, found), skip=True)
        add_blind_model(predictions, by_question(videos, blind, info))
        moments = decode(predictions)
        for row, answers in zip(predictions.rows, moments, strict=True):
            row["moments"] = answers
        return Evaluation(score(predictions, moments), predictions)

    def find_blind(self, split: str, strict: bool) -> dict[str, Any]:
        """What is reached on a split without any video, computed once."""
        if (split, strict) not in self.blind:
            self.blind[split, strict] = describe_blind(self.rows.get(self.train_split, []), self.rows[split], strict)
        return self.blind[split, strict]

    def describe_row(self, predictions, number):
        row = predictions.rows[number]
        if not row["moments"]:
            return None
        best = row["moments"][0]
        windows = ", ".join(f"{start:.1f} to {end:.1f} s" for start, end in row["windows"])
        found = f"{best['start_s']:.1f} to {best['end_s']:.1f} s"
        return printable(f"{row['video_id']}, '{row['caption']}': {found} (right: {windows})")

    def measure(self, predictions):
        return measure(predictions)


if __name__ == "__main__":
    main(MomentTask())
