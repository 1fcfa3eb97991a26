# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Text-to-video retrieval: rank videos for each caption.

Run:     accelerate launch train_scripts/retrieval.py --recipe train_scripts/recipes/clipbert/retrieval_msrvtt.yaml
Smoke:   accelerate launch --cpu train_scripts/retrieval.py --recipe train_scripts/recipes/quickstart/retrieval.yaml

The model says how well a text and a video fit. The paper trains it on one matching and one other caption per video
(`model.objective: pair`, `data.negatives: random`). Further options of a recipe: more negatives, those that a model took
for matches (`data.negatives: hard`), all pairs of a micro-batch (`data.negatives: in_batch`), a margin between matching
and other texts (`model.objective: rank`), and soft-max losses over each video's texts and each text's videos
(`model.objective: contrastive`, or `both`), which leave the plateau of a model from random weights much sooner.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np

from clipbert.support.options import option
from clipbert.support.terminal import printable
from clipbert.train_scripts.engine.items import NoTrainSet, TrainItems
from clipbert.train_scripts.engine.predictions import Predictions
from clipbert.train_scripts.engine.recipe import ModelSection, Recipe, RecipeError
from clipbert.train_scripts.engine.report import command
from clipbert.train_scripts.engine.stream import RowStream, StreamedTrainSet
from clipbert.train_scripts.engine.task import Evaluation, Parts, Task, main
from clipbert.train_scripts.tasks.building import (
    build_model,
    build_processor,
    check_head,
    choose_pooling,
    forward_options,
)
from clipbert.train_scripts.tasks.groups import check_groups, columns_of_groups
from clipbert.train_scripts.tasks.retrieval.cascade import Cascade
from clipbert.train_scripts.tasks.retrieval.evaluation import build_bank, check_evaluation
from clipbert.train_scripts.tasks.retrieval.items import CaptionedVideos, MatchCollator, PairCollator, PairSection
from clipbert.train_scripts.tasks.retrieval.losses import contrastive_loss, flatten_pairs, unflatten_pairs
from clipbert.train_scripts.tasks.retrieval.measures import METRICS, compute_match_odds, compute_text_ranks, measure
from clipbert.train_scripts.tasks.retrieval.options import RetrievalEvalSection
from clipbert.train_scripts.tasks.retrieval.ranking import Ranking, split_galleries
from clipbert.train_scripts.tasks.rows import (
    RowsByVideo,
    coverage_metrics,
    evaluation_problems,
    find_data,
    load_rows,
    load_stream,
    table_of_rows,
)
from clipbert.train_scripts.tasks.scoring import VisualReader, paths_of, score_all_pairs
from clipbert.train_scripts.tasks.texts import report_losses
from clipbert.train_scripts.tasks.videos import video_options


RESCALING_OPTIONS = ("rescaling", "dual_softmax_scale", "query_bank_scale")
CAPTIONS = ("retrieval", "video_text", "moments")  # kinds of rows; of moments, a part is what a sentence is about


@dataclass(kw_only=True)
class RetrievalModelSection(ModelSection):
    objective: Literal["pair", "rank", "contrastive", "both"] = option(
        "pair",
        "`pair`: match or not, each pair by itself; `rank`: a hinge between the matching and each other text of a video "
        "(`overrides: {margin: 0.2}`); `contrastive`: against the other pairs of the micro-batch, of the whole batch where "
        "texts and videos are encoded separately; `both`: pair and contrastive.",
    )


@dataclass(kw_only=True)
class RetrievalRecipe(Recipe):
    model: RetrievalModelSection = field(default_factory=RetrievalModelSection)
    data: PairSection = field(default_factory=PairSection)
    eval: RetrievalEvalSection = field(default_factory=RetrievalEvalSection)

    def problems(self):
        yield from evaluation_problems(self)
        if (
            self.data.negatives == "in_batch"
            and self.run.micro_batch_size < 2
            and self.model.objective != "contrastive"
        ):
            yield "data.negatives: in_batch needs other videos; set run.micro_batch_size to 2 or more"

    def metrics(self) -> Sequence[str]:
        to_video = [name for name in METRICS if name.startswith("text_to_video")]
        return (*METRICS, *self.eval.patterns(to_video))


class RetrievalTask(Task):
    """Text-to-video retrieval."""

    name = "retrieval"
    recipe_class = RetrievalRecipe
    rescore_options = ("score_pooling", "rescaling", "dual_softmax_scale")
    build_reader = VisualReader

    def next_commands(self, recipe, checkpoint):
        videos = recipe.data.data_dir or "FOLDER"
        return {"search": command("search", "--checkpoint", checkpoint, "--videos", videos, self.query)}

    def build(self, recipe: RetrievalRecipe) -> Parts:
        find_data(recipe.data)
        self.recipe, self.processor = recipe, build_processor(recipe)
        check_head(recipe, "VideoTextRetrieval")
        eval_sets = {split: load_rows(recipe.data, split, CAPTIONS) for split in recipe.eval.splits}
        check_groups(recipe, eval_sets)
        self.query = next((rows[0]["caption"] for rows in eval_sets.values() if len(rows)), "a dog runs")
        for split, rows in eval_sets.items():
            report_losses(split, rows["caption"], self.processor)
        train_set = self.build_train_set(recipe)
        ranks = recipe.model.objective == "rank"
        head = {"loss_type": "rank", "num_labels": 1} if ranks else {"loss_type": "ce", "num_labels": 2}
        if recipe.run.total_steps == 0:
            head = {}  # as it was trained
        model = build_model(recipe, "VideoTextRetrieval", self.processor, **head)
        if ranks and getattr(model.config, "loss_type", None) != "rank":
            raise ValueError(
                f"model.objective=rank: {type(model).__name__} has no ranking loss; use another objective."
            )
        self.options = forward_options(model)
        check_evaluation(recipe, model, eval_sets)
        self.bank = build_bank(recipe, eval_sets, CAPTIONS)
        self.has_global_loss = recipe.model.objective == "contrastive" and hasattr(model, "contrastive_loss")
        self.check_negatives(recipe)
        negatives = recipe.data.negatives
        collate = MatchCollator(self.processor) if self.has_global_loss else PairCollator(self.processor, negatives)
        return Parts(model, self.processor, train_set, collate, eval_sets)

    def check_negatives(self, recipe: RetrievalRecipe) -> None:
        if not self.has_global_loss:
            if recipe.data.negatives == "in_batch" and recipe.run.micro_batch_size < 2:
                raise RecipeError("data.negatives=in_batch needs other videos; set run.micro_batch_size to 2 or more.")
            return
        if recipe.data.negatives != "in_batch":
            raise RecipeError(
                f"data.negatives={recipe.data.negatives}: this family learns by contrast with the other pairs of a step "
                "(model.objective=contrastive), so negatives have to be in_batch."
            )
        if recipe.optim.accumulation == "sum":
            raise RecipeError(
                "optim.accumulation=sum: the loss is one over all pairs of a step, whatever the micro-batches; leave it out."
            )
        if recipe.run.global_batch_size < 2:
            raise RecipeError("run.global_batch_size=1: there is no other pair to contrast with; use 2 or more.")

    def build_train_set(self, recipe: RetrievalRecipe) -> TrainItems:
        data, seed, options = recipe.data, recipe.run.seed, video_options(recipe, self.processor, is_training=True)
        build_set = partial(CaptionedVideos, processor=self.processor, video_options=options, settings=data, seed=seed)
        if recipe.run.total_steps == 0:
            return NoTrainSet()
        if not data.streaming:
            rows = load_rows(data, data.train_split, CAPTIONS)
            report_losses(data.train_split, rows["caption"], self.processor)
            return build_set(rows)
        rows = load_stream(data, data.train_split, CAPTIONS)
        stream = RowStream(data.dataset, rows, lambda window: build_set(table_of_rows(window, rows.features)))
        return StreamedTrainSet([stream], [1.0], data, seed)

    def features(self, model, batch):
        return flatten_pairs(*model(**batch.inputs, return_features=True, **self.options), batch)

    def global_loss(self, model, features):
        if not len(features["video_keys"]):  # no video of the step can be decoded
            return {"loss": 0.0 * sum(part.sum() for part in features.values() if part.requires_grad)}, {}
        return {"loss": model.contrastive_loss(**unflatten_pairs(features))}, {}

    def training_step(self, model, batch):
        objective, losses, labels = self.recipe.model.objective, {}, batch.targets["labels"]
        # where undecodable videos were left out, a micro-batch may hold matches alone: nothing to tell apart
        has_choice = batch.targets["has_choice"]
        given = {"labels": labels} if has_choice and objective != "contrastive" else {}
        outputs = model(**batch.inputs, **given, **self.options)
        odds = outputs.match_odds.float()
        if objective != "contrastive":
            losses["pair_loss"] = outputs.loss if has_choice else 0.0 * odds.sum()
        if objective in ("contrastive", "both"):
            pairs = (batch.inputs["video_indices"], batch.targets["text_indices"])
            sizes = (len(batch.inputs["pixel_values"]), batch.targets["num_texts"])
            losses["contrastive_loss"] = contrastive_loss(odds, labels, *pairs, *sizes)
        accuracy = ((odds > 0) == (labels == 1)).float().mean()
        return {"loss": sum(losses.values()), **losses}, {"pair_accuracy": accuracy}

    def evaluate(self, model, examples, accelerator, recipe, draw=0):
        videos, texts, compares = RowsByVideo(examples), list(examples["caption"]), hasattr(model, "match_all")
        options = video_options(recipe, self.processor, is_training=False)
        shown = {"spans": videos.spans(), "draw": draw, "notes_frames": compares}
        reader = self.build_reader(videos.sources(), "video", self.processor, options, recipe, accelerator, **shown)
        given = ("gallery_size", "group_by")
        settings = {name: getattr(recipe.eval, name) for name in given if getattr(recipe.eval, name)}
        if compares:
            tensors = Ranking(model, reader, texts, videos.owners, recipe, self.bank).run()
            tensors["frame_keys"] = reader.frame_keys.numpy()
            settings |= {name: getattr(recipe.eval, name) for name in RESCALING_OPTIONS}
            settings["similarity_scale"] = model.similarity_scale
        else:
            galleries = [
                (gallery, np.flatnonzero(np.isin(videos.owners, gallery)).tolist())
                for gallery in split_galleries(len(videos), recipe.eval.gallery_size)
            ]
            settings["score_pooling"] = choose_pooling(recipe, model)
            if recipe.eval.shortlist is None:
                clip_logits = score_all_pairs(model, reader, texts, recipe.eval.pairs_per_forward, galleries)
                tensors = {"clip_logits": clip_logits.numpy()}
            else:
                pooling = settings["score_pooling"] or "mean"
                tensors = Cascade(model, reader, texts, galleries, recipe.eval, pooling).run()
        reader.check_skipped(videos.ids)
        tensors["frame_seconds"] = reader.frame_seconds.numpy()
        caption_id = "moment_id" if videos.has_spans and "moment_id" in examples.column_names else "caption_id"
        groups = columns_of_groups(examples, recipe.eval.group_by)
        named = zip(examples[caption_id], examples["caption"], videos.owners, groups, strict=True)
        rows = [
            {"caption_id": name, "caption": text, "video_id": videos.ids[owner], **of_groups}
            for name, text, owner, of_groups in named
        ]
        info = {**settings, "video_ids": videos.ids, "videos": paths_of(reader), **coverage_metrics(examples)}
        predictions = Predictions(self.name, rows, tensors, info)
        if not compares:
            tensors["log_odds"] = compute_match_odds(predictions).numpy()
        return Evaluation(self.measure(predictions), predictions)

    def describe_row(self, predictions, number):
        row, tensors, video_ids = predictions.rows[number], predictions.tensors, predictions.info["video_ids"]
        rank = compute_text_ranks(predictions)[number]
        place = "was not looked for" if np.isnan(rank) else f"is number {rank:g}"
        best = tensors.get("best_video")
        best = np.nan_to_num(tensors["log_odds"][number], nan=-np.inf).argmax() if best is None else best[number]
        found = f'"{row["caption"]}" finds {video_ids[int(best)]}'
        return printable(f"{found}; its own {row['video_id']} {place}")

    def measure(self, predictions):
        return measure(predictions)


if __name__ == "__main__":
    main(RetrievalTask())
