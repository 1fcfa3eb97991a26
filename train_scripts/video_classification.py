# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""One class out of many for a video.

Run:     accelerate launch train_scripts/video_classification.py --recipe FILE

For every family with a head `...ForVideoClassification`, whose `forward(pixel_values, ..., labels)` returns `loss` and
`logits` `(videos, classes)`. The classes are those of the training split, and their names travel with the checkpoint. A head that
reads their names (`set_classes`, see `tasks/scoring.py`) is evaluated on classes that it was never trained on, too. Every
score is reported with its 95 % interval, and with that of a blind baseline, which always answers with the most frequent
class of the training split. Where the rows of a data set have lists of classes, each class is a question of its own, and mAP
the score. With `data.features` the vectors of frames that extract.py has kept are read, not the videos.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import datasets
import torch
from transformers import PreTrainedModel

from clipbert.processing.augmentation import refuse_flips_of_sides
from clipbert.support.families import config_class, find_head
from clipbert.support.options import option
from clipbert.train_scripts.engine.data import Skipped, check_skipped
from clipbert.train_scripts.engine.items import NoTrainSet
from clipbert.train_scripts.engine.recipe import Recipe
from clipbert.train_scripts.engine.report import command
from clipbert.train_scripts.engine.task import Evaluation, Parts, Task, main
from clipbert.train_scripts.tasks.building import build_model, build_processor, check_head, model_type_of
from clipbert.train_scripts.tasks.cached import FeatureSection, choose_reader
from clipbert.train_scripts.tasks.classification.items import EvaluatedVideos, LabelledCollator, LabelledVideos
from clipbert.train_scripts.tasks.classification.measures import CLASSES, describe_classes, measure
from clipbert.train_scripts.tasks.rows import coverage_metrics, evaluation_problems, find_data, load_rows
from clipbert.train_scripts.tasks.texts import report_losses
from clipbert.train_scripts.tasks.videos import ClipEvalOptions, ClipOptions, video_options


KINDS = ("classification",)  # of rows
SEVERAL = "multi_label_classification"  # the problem type of models whose videos are in any number of classes


@dataclass(kw_only=True)
class ClassSection(FeatureSection):
    balance_classes: bool = option(
        False,
        "Let classes take turns, so that a batch holds as many as possible, none of them more often than others.",
    )

    def problems(self):
        yield from super().problems()
        if self.balance_classes and self.group_by_length:
            yield "balance_classes: goes by class, and group_by_length by length; choose one of them"


@dataclass(kw_only=True)
class ClassificationRecipe(Recipe):
    data: ClassSection = field(default_factory=ClassSection)

    default_options = {"data": ClipOptions, "eval": ClipEvalOptions}

    def problems(self):
        yield from evaluation_problems(self)

    def metrics(self):
        return ("accuracy", "loss", "top5_accuracy", "mean_class_accuracy", "macro_f1", "micro_f1", "mAP")


class ClassificationTask(Task):
    """Classification of videos."""

    name = "classification"
    recipe_class = ClassificationRecipe

    def next_commands(self, recipe, checkpoint):
        videos = recipe.data.options.get("video_dir") or recipe.data.data_dir or "FOLDER"
        return {"name what videos show": command("predict", "--checkpoint", checkpoint, videos)}

    def build(self, recipe: ClassificationRecipe) -> Parts:
        find_data(recipe.data)
        self.processor, train_split = build_processor(recipe), recipe.data.train_split
        check_head(recipe, "VideoClassification")
        splits = dict.fromkeys(filter(None, (train_split, *recipe.eval.splits)))
        rows = {split: load_rows(recipe.data, split, KINDS) for split in splits}
        label = next(iter(rows.values())).features["label"]
        self.has_several = isinstance(label, datasets.List)
        self.class_names = label.feature.names if self.has_several else label.names
        if recipe.run.total_steps != 0:
            refuse_flips_of_sides(getattr(recipe.data, "augmentation", None), self.class_names)
        self.majority = {}
        if train_split is not None and not self.has_several:
            counts = Counter(label for label in rows[train_split]["label"] if label is not None)
            self.majority = {"majority_class": min(counts, key=lambda label: (-counts[label], label))}
        model = self.build_model(recipe)
        if list(model.config.id2label.values()) != self.class_names:
            raise ValueError(
                f"The model knows the classes {', '.join(map(str, model.config.id2label.values()))}; the data have "
                f"{', '.join(self.class_names)}."
            )
        self.videos = {split: of_split["video"][:] for split, of_split in rows.items()}
        self.reader = choose_reader(recipe, model, self.processor, self.videos)
        train_set = NoTrainSet()
        if recipe.run.total_steps != 0:
            options = video_options(recipe, self.processor, is_training=True)
            labels = rows[train_split]["label"][:]
            labelled = rows[train_split].select([n for n, label in enumerate(labels) if label is not None])
            with_copies = getattr(recipe.data, "augment_mode", "online") == "offline_copy"
            how = {"with_copies": with_copies, "balances_classes": recipe.data.balance_classes}
            if self.has_several and recipe.data.balance_classes:
                raise ValueError("data.balance_classes: videos with several classes have no turn; leave it out.")
            train_set = LabelledVideos(labelled, self.reader, options, recipe.run.seed, **how)
        if self.has_several and model.config.problem_type != SEVERAL:
            raise ValueError(
                f"model.config.problem_type={model.config.problem_type!r} is for one class a video; the data have lists of "
                f"them, for {SEVERAL}."
            )
        self.has_several = model.config.problem_type == SEVERAL  # rows of one class each are lists of one then
        collate = LabelledCollator(len(self.class_names) if self.has_several else None)
        return Parts(model, self.processor, train_set, collate, {split: rows[split] for split in recipe.eval.splits})

    def build_model(self, recipe: ClassificationRecipe) -> PreTrainedModel:
        """A model of these classes: made for them, or told their names, which it reads."""
        head = "VideoClassification"
        if not hasattr(find_head(config_class(model_type_of(recipe.model)), head), "set_classes"):
            return build_model(recipe, head, self.processor, **self.config_values())
        if self.has_several:
            raise ValueError(
                f"data.dataset={recipe.data.dataset} has lists of classes; a model that compares a video with the names of "
                "classes finds one of them. Use a family with a weight for each class, such as cnn_rnn."
            )
        report_losses("classes", self.class_names, self.processor)
        model = build_model(recipe, head, self.processor)
        model.set_classes(self.class_names, self.processor)
        return model

    def config_values(self) -> dict[str, Any]:
        names = self.class_names
        values = {"id2label": dict(enumerate(names)), "label2id": {name: label for label, name in enumerate(names)}}
        return {**values, "problem_type": SEVERAL} if self.has_several else values

    def training_step(self, model, batch):
        outputs = model(**batch.inputs, labels=batch.targets["labels"])
        if self.has_several:
            return {"loss": outputs.loss}, {}
        accuracy = (outputs.logits.argmax(dim=1) == batch.targets["labels"]).float().mean()
        return {"loss": outputs.loss}, {"accuracy": accuracy}

    def eval_step(self, model, batch):
        logits = torch.full((len(batch["rows"]), len(self.class_names)), torch.nan, device=model.device)
        if batch["inputs"]:
            decoded = [number for number, reason in enumerate(batch["skipped"]) if not reason]
            logits[decoded] = model(**batch["inputs"]).logits.float()
        columns = {name: [row[name] for row in batch["rows"]] for name in ("video_id", "gold")}
        if self.has_several:
            columns["gold"] = [[gold] if isinstance(gold, int) else gold for gold in columns["gold"]]
        return {"logits": logits, "skipped": batch["skipped"], **columns}

    def evaluate(self, model, examples, accelerator, recipe, draw=0):
        options = video_options(recipe, self.processor, is_training=False)
        skip = recipe.data.on_decode_error == "skip"
        videos = EvaluatedVideos(examples, self.reader, options, skip, recipe.run.seed + draw)
        predictions = self.predict(model, videos, accelerator, recipe)
        skipped = [Skipped(0, row["video_id"], row["skipped"]) for row in predictions.rows if row["skipped"]]
        check_skipped(skipped, len(predictions.rows), recipe.data.max_decode_error_rate)
        info = {"class_names": self.class_names, **self.majority, **coverage_metrics(examples)}
        predictions = replace(predictions, info=info)
        return Evaluation(self.measure(predictions), predictions, {CLASSES: describe_classes(predictions)})

    def measure(self, predictions):
        return measure(predictions)


if __name__ == "__main__":
    main(ClassificationTask())
