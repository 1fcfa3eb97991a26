# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What people in boxes do, around the key frames of videos.

Run:     accelerate launch train_scripts/action_detection.py --recipe train_scripts/recipes/mug_stan/action_detection_ava.yaml
Smoke:   accelerate launch --cpu train_scripts/action_detection.py --recipe train_scripts/recipes/quickstart/mug_stan_action_detection.yaml

For every family with a head `...ForActionDetection`: see the contract in `tasks/action_detection/__init__.py`. A box may show several
actions, each of which is learnt by itself. Boxes are those of the annotations or of a person detector (`data.box_source`,
`eval.box_source`). The score is frame mAP at an IoU of 0.5 over the classes that the benchmark evaluates, with its 95 % interval and
a blind baseline, each box scored by the frequencies of the classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import datasets
import numpy as np

from clipbert.datasets_scripts import find_loader
from clipbert.processing.augmentation import refuse_flips_of_sides
from clipbert.support.options import changeable, option
from clipbert.support.terminal import printable
from clipbert.train_scripts.engine.data import Skipped, check_skipped
from clipbert.train_scripts.engine.items import NoTrainSet
from clipbert.train_scripts.engine.recipe import EvalSection, Recipe
from clipbert.train_scripts.engine.task import Evaluation, Parts, Task, main
from clipbert.train_scripts.tasks.action_detection.items import (
    BoxCollator,
    EvaluatedKeyframes,
    Keyframes,
    TrainedKeyframes,
)
from clipbert.train_scripts.tasks.action_detection.measures import CLASSES, describe_classes, measure, score_boxes
from clipbert.train_scripts.tasks.building import build_model, build_processor, check_head
from clipbert.train_scripts.tasks.rows import coverage_metrics, evaluation_problems, find_data, load_rows
from clipbert.train_scripts.tasks.videos import ClipEvalOptions, ClipOptions, FrameSection, video_options


KINDS = ("detection",)  # of rows
SEVERAL = "multi_label_classification"  # what transformers calls it that an example may have several classes


@dataclass(kw_only=True)
class BoxSection(FrameSection):
    box_source: Literal["ground_truth", "proposals"] = option(
        "ground_truth",
        "`ground_truth`: annotated boxes; `proposals`: besides, those of a detector that overlap one, with its classes.",
    )
    proposal_iou: float = option(0.9, "Least overlap of such a proposal.", at_least=0, at_most=1)
    proposal_score: float = option(
        0.9, "Least score of a detector for its boxes to be trained on, or scored.", at_least=0, at_most=1
    )


@dataclass(kw_only=True)
class BoxEvalSection(EvalSection):
    box_source: Literal["ground_truth", "proposals"] = changeable("ground_truth", "Which boxes are scored.")
    use_proposal_scores: bool = changeable(
        False, "Multiply scores of actions with those of the detector; published code does not."
    )


@dataclass(kw_only=True)
class DetectionRecipe(Recipe):
    data: BoxSection = field(default_factory=BoxSection)
    eval: BoxEvalSection = field(default_factory=BoxEvalSection)

    default_options = {"data": ClipOptions, "eval": ClipEvalOptions}

    def problems(self):
        yield from evaluation_problems(self)
        if self.eval.num_draws != 1:
            yield f"eval.num_draws: {self.eval.num_draws} draws of the same frames, those around key frames, say nothing"
        for key, section in (("data", self.data), ("eval", self.eval)):
            for part in fields(section):
                if part.name in ("sampling", "placement", "fps") and getattr(section, part.name) != part.default:
                    yield f"{key}.{part.name}: the frames around key frames are seen, whatever it says; leave it out"

    def metrics(self):
        return ("mAP",)


def check_proposals(recipe: DetectionRecipe, rows: Mapping[str, datasets.Dataset]) -> None:
    """Raise if boxes of a detector are to be used of a split that has none."""
    used = {f"eval.box_source ({split})": (recipe.eval.box_source, split) for split in recipe.eval.splits}
    if recipe.run.total_steps != 0:
        used["data.box_source"] = recipe.data.box_source, recipe.data.train_split
    for key, (source, split) in used.items():
        if source == "proposals" and not any(rows[split]["proposals"]):
            raise ValueError(
                f"{key}: expected `proposals` in the split {split} of {recipe.data.dataset}, which has none. Name a "
                "detector's file in data.options.proposals, or use ground_truth."
            )


class DetectionTask(Task):
    """Actions of people in boxes."""

    name = "action_detection"
    recipe_class = DetectionRecipe
    averaged_target = "labels"  # of boxes
    rescore_options = ("use_proposal_scores",)

    def build(self, recipe: DetectionRecipe) -> Parts:
        data, train_split = recipe.data, recipe.data.train_split
        find_data(data)
        self.processor = build_processor(recipe)
        self.keyframes(recipe, is_training=False)  # refuses processors that show no boxes
        getattr(self.processor, "video_processor", self.processor).sampling = "key_frame"
        check_head(recipe, "ActionDetection")
        splits = dict.fromkeys(filter(None, (train_split, *recipe.eval.splits)))
        rows = {split: load_rows(data, split, KINDS) for split in splits}
        self.class_names = next(iter(rows.values())).features["labels"].feature.feature.names
        self.evaluated = self.evaluated_classes(recipe)
        model = build_model(recipe, "ActionDetection", self.processor, **self.config_values())
        if list(model.config.id2label.values()) != self.class_names:
            raise ValueError(
                f"The model knows the classes {', '.join(map(str, model.config.id2label.values()))}; the data have "
                f"{', '.join(self.class_names)}."
            )
        check_proposals(recipe, rows)
        train_set = NoTrainSet()
        if recipe.run.total_steps != 0:
            refuse_flips_of_sides(getattr(data, "augmentation", None), self.class_names)
            least_score = data.proposal_score if data.box_source == "proposals" else None
            shown = self.keyframes(recipe, is_training=True)
            train_set = TrainedKeyframes(rows[train_split], shown, least_score, data.proposal_iou)
        collate = BoxCollator(len(self.class_names))
        return Parts(model, self.processor, train_set, collate, {split: rows[split] for split in recipe.eval.splits})

    def keyframes(self, recipe: DetectionRecipe, is_training: bool) -> Keyframes:
        return Keyframes(self.processor, video_options(recipe, self.processor, is_training), recipe.run.seed)

    def evaluated_classes(self, recipe: DetectionRecipe) -> list[int]:
        """Numbers of the classes that count."""
        data, loader = recipe.data, find_loader(recipe.data.dataset)
        given = {name: value for name, value in data.options.items() if name not in ("on_missing", "on_broken")}
        found = loader.evaluated_classes(loader.complete_config(data.config, data.data_dir, given))
        return list(range(len(self.class_names))) if found is None else found

    def config_values(self) -> dict[str, Any]:
        names = dict(enumerate(self.class_names))
        labels = {name: label for label, name in names.items()}
        return {"id2label": names, "label2id": labels, "problem_type": SEVERAL}

    def training_step(self, model, batch):
        return {"loss": model(**batch.inputs, labels=batch.targets["labels"]).loss}, {}

    def eval_step(self, model, batch):
        logits = np.zeros((0, len(self.class_names)), dtype=np.float32)
        if batch["inputs"]:
            logits = model(**batch["inputs"]).logits.float().cpu().numpy()
        counts = [len(row["boxes"]) for row in batch["rows"]]
        # lists with an entry for each key frame: what several processes gather is counted in those, not in boxes
        columns = {name: [row[name] for row in batch["rows"]] for name in batch["rows"][0]}
        return {"logits": np.split(logits, np.cumsum(counts)[:-1]), "skipped": batch["skipped"], **columns}

    def evaluate(self, model, examples, accelerator, recipe, draw=0):
        least_score = recipe.data.proposal_score if recipe.eval.box_source == "proposals" else None
        skip, shown = recipe.data.on_decode_error == "skip", self.keyframes(recipe, is_training=False)
        predictions = self.predict(model, EvaluatedKeyframes(examples, shown, least_score, skip), accelerator, recipe)
        logits = np.concatenate([row.pop("logits") for row in predictions.rows])
        skipped = [Skipped(0, row["keyframe_id"], row["skipped"]) for row in predictions.rows if row["skipped"]]
        check_skipped(skipped, len(predictions.rows), recipe.data.max_decode_error_rate)
        info = {"class_names": self.class_names, "evaluated_classes": self.evaluated, **coverage_metrics(examples)}
        info |= {"use_proposal_scores": recipe.eval.use_proposal_scores}
        predictions = replace(predictions, tensors={"logits": logits}, info=info)
        return Evaluation(self.measure(predictions), predictions, {CLASSES: describe_classes(predictions)})

    def describe_row(self, predictions, number):
        row, names = predictions.rows[number], predictions.info["class_names"]
        if not row["boxes"]:
            return None
        scores = score_boxes(predictions)[number][0]
        best = ", ".join(f"{names[label]} {scores[label]:.0%}" for label in scores.argsort()[::-1][:2])
        box = ", ".join(f"{share:.2f}" for share in row["boxes"][0][:4])
        return printable(f"{row['keyframe_id']}, box ({box}): {best}")

    def measure(self, predictions):
        return measure(predictions)


if __name__ == "__main__":
    main(DetectionTask())
