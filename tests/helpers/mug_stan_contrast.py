# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The gradients of a contrastive step of Mug-STAN, in micro-batches as the engine takes them, and in one graph.

`accelerate launch THIS_FILE FOLDER SIMILARITY` takes the step on several processes; the first one leaves what it got there.
"""

import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from tiny_mug_stan import tiny_clip, tiny_model, tiny_texts, tiny_videos

from clipbert.train_scripts.engine.data import Batch, MicroBatch
from clipbert.train_scripts.engine.global_batch import add_global_gradients
from clipbert.train_scripts.engine.launch import seed_everything
from clipbert.train_scripts.retrieval import RetrievalTask
from clipbert.train_scripts.tasks.retrieval.losses import flatten_pairs


SEED = (7, 3)


def build_task():
    task = RetrievalTask()
    task.options = {}
    return task


def build_model(similarity="mug", **fields):
    """With dropout in both towers and a branch that drops whole rows."""
    dropout = {"attention_dropout": 0.2}
    clip = tiny_clip(num_layers=3, vision_config=dropout, text_config=dropout)
    fields = {"drop_path_rate": 0.4, "head_scale": 20.0, "loss_scale": 20.0, **fields}
    return tiny_model(clip=clip, similarity=similarity, **fields).train()


def micro_batches(sizes, undecodable=()):
    """Pairs of which some show a video, and some say a text, that stands in another micro-batch, too."""
    count, found, start = sum(sizes), [], 0
    lengths = [3 + index % 6 for index in range(count)]
    videos, (input_ids, mask) = tiny_videos(count, 2), tiny_texts(lengths)
    twin = torch.arange(count)
    twin[5::9] = twin[: len(twin[5::9])]  # whose text is that of another pair
    shown = torch.arange(count)
    shown[7::11] = shown[: len(shown[7::11])]
    for number, size in enumerate(sizes):
        rows = slice(start, start + size)
        start += size
        length = int(mask[twin[rows]].sum(dim=1).max())  # as a collator pads: by micro-batch
        inputs = {
            "pixel_values": videos[shown[rows]],
            "input_ids": input_ids[twin[rows], :length],
            "attention_mask": mask[twin[rows], :length],
            "video_indices": torch.arange(size),
        }
        batch = Batch(inputs, {"text_keys": twin[rows].clone(), "video_keys": shown[rows].clone()})
        found.append(MicroBatch(batch, [str(index) for index in range(size)], float(number not in undecodable), []))
    return found


def one_graph(model, batches):
    """Loss and gradients of all micro-batches together, each with the dropout masks that its number gives."""
    parts = []
    for number, micro in enumerate(batches):
        seed_everything(*SEED, number)
        if micro.weight:
            parts.append(flatten_pairs(*model(**micro.batch.inputs, return_features=True), micro.batch))
    length = max(part["texts.attention_mask"].shape[1] for part in parts)
    pad = torch.nn.functional.pad
    for part in parts:
        missing = length - part["texts.attention_mask"].shape[1]
        part["texts.token_features"] = pad(part["texts.token_features"], (0, 0, 0, missing))
        part["texts.attention_mask"] = pad(part["texts.attention_mask"], (0, missing))
    whole = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    loss = build_task().global_loss(model, whole)[0]["loss"]
    model.zero_grad()
    loss.backward()
    return loss.detach(), gradients_of(model)


def by_the_engine(model, batches, accelerator):
    model.zero_grad()
    own = batches[accelerator.process_index :: accelerator.num_processes]
    accelerator.gradient_accumulation_steps = len(own)
    sums = add_global_gradients(build_task(), model, accelerator, iter(own), len(own), SEED)
    return sums.losses[0][0], gradients_of(accelerator.unwrap_model(model))


def gradients_of(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad and p.grad is not None}


def main(folder, similarity):
    accelerator = Accelerator()
    model = accelerator.prepare(build_model(similarity))
    for name, (sizes, undecodable) in SPLITS.items():
        loss, gradients = by_the_engine(model, micro_batches(sizes, undecodable), accelerator)
        if accelerator.is_main_process:
            torch.save((loss, gradients, accelerator.num_processes), Path(folder) / f"{name}.pt")
    accelerator.end_training()


SPLITS = {"even": ([8] * 8, ()), "with undecodable": ([8] * 8, (2, 5))}

if __name__ == "__main__":
    main(*sys.argv[1:])
