# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Reads the recorded weights, inputs and outputs of the official model (folder `model/` of the parity data)."""

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import load_file

from clipbert.modeling_clipbert.convert_clipbert_checkpoint import build_official_model


NUM_CHOICES = 5
# folder of the records: task of the converter
TASK_OF_HEAD = {
    "pretraining": "pretraining",
    "sequence_classification": "video_qa",
    "vqa_bce": "image_qa",
    "multiple_choice": "multiple_choice",
    "retrieval_ce": "retrieval",
    "retrieval_rank": "retrieval",
}
CASES = ("sq64", "tall96", "grid", "odd")


@dataclass(frozen=True)
class Head:
    """What is recorded of one head of the official model."""

    name: str
    folder: Path
    model_config: dict
    meta: dict
    state_dict: dict[str, torch.Tensor]

    @property
    def task(self):
        return TASK_OF_HEAD[self.name]

    def read(self, file_name):
        return load_file(self.folder / file_name)

    def build_model(self, score_pooling="mean", dtype=torch.float64, **overrides):
        """The converted model, saved and loaded as users have it; `overrides` are values of the official config."""
        model, _ = build_official_model(self.state_dict, {**self.model_config, **overrides}, self.task, score_pooling)
        with TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            return type(model).from_pretrained(folder, dtype=dtype)

    def build_model_without_dropout(self, **kwargs):
        return self.build_model(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **kwargs)

    def inputs(self, case, dtype=torch.float64, labels=True):
        """Inputs of a case as our models take them: one clip per video, `video_indices` for `n_examples_list`."""
        texts = self.read("text_inputs.safetensors")
        pixel_values = load_file(self.folder.parent / "pixel_inputs.safetensors")[f"{case}.pixel_values"].to(dtype)
        clips = self.meta.get("multi_clip") if case == "clips" else None
        counts = clips["n_examples_list"] if clips else self.meta["cases"][case]["n_examples_list"]
        if clips:
            pixel_values = pixel_values.unflatten(1, (clips["n_clips"], clips["n_frames"]))
        inputs = {
            "pixel_values": pixel_values,
            "input_ids": texts[f"{case}.text_input_ids"],
            "attention_mask": texts[f"{case}.text_input_mask"],
            "video_indices": torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)),
        }
        if self.task == "multiple_choice":
            inputs["video_indices"] = inputs["video_indices"][::NUM_CHOICES]
            for name in ("input_ids", "attention_mask"):
                inputs[name] = inputs[name].unflatten(0, (-1, NUM_CHOICES))
        if labels:
            names = ("mlm_labels", "itm_labels") if self.task == "pretraining" else ("labels",)
            inputs |= {name: texts[f"{case}.{name}"] for name in names}
        return inputs


@functools.cache
def load_head(parity_dir, name):
    folder = parity_dir / "model" / name
    meta = json.loads((folder / "meta.json").read_text())
    bert_config = json.loads((parity_dir / "model" / "summary.json").read_text())["bert_config"]
    model_config = {**bert_config, **meta["config_extra"]}
    return Head(name, folder, model_config, meta, load_file(folder / "state_dict.safetensors"))
