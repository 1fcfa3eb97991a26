# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Text-to-video retrieval: rank videos for each caption.

Run:     accelerate launch train_scripts/retrieval.py --recipe train_scripts/recipes/clipbert/retrieval_msrvtt.yaml
Smoke:   accelerate launch --cpu train_scripts/retrieval.py --recipe train_scripts/recipes/quickstart/retrieval.yaml

The model reads a text and a video together and says whether they match. The paper trains it on one matching and one
other caption per video (`model.objective: pair`, `data.negatives: random`). Further options of a recipe: more
negatives, those that a model took for matches (`data.negatives: hard`), all pairs of a micro-batch (`data.negatives:
in_batch`), a margin between matching and other texts (`model.objective: rank`), and soft-max losses over each video's
texts and each text's videos (`model.objective: contrastive`, or `both`), which leave the plateau of a model from random
weights much sooner.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import torch

from clipbert.metrics.retrieval.retrieval import RECALL_AT, chance_recall, compute_retrieval_metrics
from clipbert.train_scripts.engine.build import (
    build_model,
    build_processor,
    check_head,
    evaluation_problems,
    find_data,
    load_rows,
    load_stream,
    video_options,
)
from clipbert.train_scripts.engine.data import Skipped, check_skipped
from clipbert.train_scripts.engine.recipe import ModelSection, Recipe, option
from clipbert.train_scripts.engine.stream import RowStream, StreamedTrainSet
from clipbert.train_scripts.engine.task import Evaluation, NoTrainSet, Parts, Predictions, Task, main
from clipbert.train_scripts.pairs import CaptionedVideos, PairCollator, PairSection, contrastive_loss
from clipbert.train_scripts.scoring import compute_match_odds, score_all_pairs
from clipbert.train_scripts.tasks.coverage import coverage_of
from clipbert.train_scripts.tasks.videos import ClipEvalSection


CAPTIONS = ("retrieval", "video_text")  # tasks of `datasets_scripts`


@dataclass(kw_only=True)
class RetrievalModelSection(ModelSection):
    objective: Literal["pair", "rank", "contrastive", "both"] = option(
        "pair",
        "`pair`: match or not, each pair by itself; `rank`: a hinge between the matching and each other text of a video "
        "(`overrides: {margin: 0.2}`); `contrastive`: against the other pairs of the micro-batch; `both`: pair and "
        "contrastive.",
    )


@dataclass(kw_only=True)
class RetrievalRecipe(Recipe):
    model: RetrievalModelSection = field(default_factory=RetrievalModelSection)
    data: PairSection = field(default_factory=PairSection)
    eval: ClipEvalSection = field(default_factory=ClipEvalSection)

    def problems(self):
        yield from evaluation_problems(self)
        if self.data.negatives == "in_batch" and self.run.micro_batch_size < 2:
            yield "data.negatives: in_batch needs other videos; set run.micro_batch_size to 2 or more"

    def metrics(self):
        scores = ("R@1", "R@5", "R@10", "median_rank", "mean_rank")
        return [f"{direction}_{score}" for direction in ("text_to_video", "video_to_text") for score in scores]


class RetrievalTask(Task):
    """Text-to-video retrieval."""

    name, recipe_class, rescore_options = "retrieval", RetrievalRecipe, ("score_pooling",)

    def build(self, recipe: RetrievalRecipe) -> Parts:
        data, seed = recipe.data, recipe.run.seed
        find_data(data)
        self.recipe, self.processor = recipe, build_processor(recipe)
        check_head(recipe, "VideoTextRetrieval")
        eval_sets = {split: load_rows(data, split, CAPTIONS) for split in recipe.eval.splits}
        options = video_options(recipe, is_training=True)
        build_set = partial(CaptionedVideos, processor=self.processor, video_options=options, settings=data, seed=seed)
        if recipe.run.total_steps == 0:
            train_set = NoTrainSet()
        elif data.streaming:
            rows = load_stream(data, data.train_split, CAPTIONS)
            train_set = StreamedTrainSet([RowStream(data.dataset, rows, build_set)], [1.0], data, seed)
        else:
            train_set = build_set(load_rows(data, data.train_split, CAPTIONS))
        ranks = recipe.model.objective == "rank"
        head = {"loss_type": "rank", "num_labels": 1} if ranks else {"loss_type": "ce", "num_labels": 2}
        if recipe.run.total_steps == 0:
            head = {}  # as it was trained
        model = build_model(recipe, "VideoTextRetrieval", self.processor, **head)
        return Parts(model, self.processor, train_set, PairCollator(self.processor, data.negatives), eval_sets)

    def training_step(self, model, batch):
        batch = batch.inputs
        pairs = {name: batch[name] for name in ("labels", "video_indices", "text_indices")}
        inputs = {name: value for name, value in batch.items() if name not in ("labels", "text_indices")}
        objective, losses = self.recipe.model.objective, {}
        # where undecodable videos were left out, a micro-batch may hold matches alone: nothing to tell apart
        has_choice = bool((batch["labels"] == 0).any())
        labels = batch["labels"] if has_choice and objective != "contrastive" else None
        outputs = model(**inputs, labels=labels, pooled_only=True)
        logits = outputs.logits.float()
        odds = logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits[:, 0]
        if objective != "contrastive":
            losses["pair_loss"] = outputs.loss if has_choice else 0.0 * odds.sum()
        if objective in ("contrastive", "both"):
            losses["contrastive_loss"] = contrastive_loss(odds, **pairs)
        accuracy = ((odds > 0) == (batch["labels"] == 1)).float().mean()
        return {"loss": sum(losses.values()), **losses}, {"pair_accuracy": accuracy}

    def measure(self, predictions):
        coverage = {name: value for name, value in predictions.info.items() if name == "coverage"}
        return {**measure(torch.as_tensor(predictions.tensors["clip_logits"]), predictions.info)[0], **coverage}

    def evaluate(self, model, examples, accelerator, recipe, draw=0):
        recipe = replace(recipe, run=replace(recipe.run, seed=recipe.run.seed + draw))
        videos: dict[str, str] = dict(zip(examples["video_id"], examples["video"], strict=True))
        texts, video_ids, options = list(examples["caption"]), list(videos), video_options(recipe, False)
        columns = {video_id: column for column, video_id in enumerate(video_ids)}
        found = score_all_pairs(model, self.processor, texts, list(videos.values()), options, recipe, accelerator)
        skipped = [Skipped(0, video_ids[index], reason) for index, reason in found.skipped.items()]
        check_skipped(skipped, len(videos), recipe.data.max_decode_error_rate)
        records = {
            "score_pooling": recipe.eval.score_pooling or model.config.score_pooling,
            "video_ids": video_ids,
            "captions": texts,
            "caption_ids": list(examples["caption_id"]),
            "gold": [columns[video_id] for video_id in examples["video_id"]],
        }
        metrics, odds = measure(found.clip_logits, records)
        tensors = {"log_odds": odds, "clip_logits": found.clip_logits, "frame_seconds": found.frame_seconds}
        coverage = coverage_of(examples)
        tensors = {name: tensor.numpy() for name, tensor in tensors.items()}
        return Evaluation({**metrics, **coverage}, Predictions(self.name, [], tensors, {**records, **coverage}))


def measure(clip_logits: torch.Tensor, records: Mapping[str, Any]) -> tuple[dict[str, float], torch.Tensor]:
    """Metrics and log-odds `(texts, videos)` of predictions; videos that could not be decoded take no part."""
    odds = compute_match_odds(clip_logits, records["score_pooling"])
    gold, usable = torch.tensor(records["gold"]), ~odds.isnan().any(dim=0)
    asked, places = usable[gold], usable.cumsum(0) - 1
    metrics = compute_retrieval_metrics(odds[asked][:, usable].numpy(), places[gold[asked]].numpy())
    chance = {f"chance_R@{k}": chance_recall(metrics["num_videos"], k) for k in RECALL_AT}  # from text to video
    counts = {"num_examples": int(asked.sum()), "num_skipped_videos": int((~usable).sum())}
    return {"text_to_video_R@1": metrics.pop("text_to_video_R@1"), **chance, **metrics, **counts}, odds


if __name__ == "__main__":
    main(RetrievalTask())
