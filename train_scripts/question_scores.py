# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Scores of every text with the one video, or image, that it belongs to: the evaluation of question answering.

Each video is decoded and encoded once and meets its texts in blocks of similar length. Memory is bounded by one block
of videos and by the table of scores. Processes share the videos.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from clipbert.modeling_clipbert import pool_clip_scores
from clipbert.processing.processing_clipbert import VideoTextProcessor
from clipbert.train_scripts.engine.data import ignore_termination
from clipbert.train_scripts.engine.recipe import Recipe
from clipbert.train_scripts.pairs import group_rows
from clipbert.train_scripts.questions import Media
from clipbert.train_scripts.scoring import VideoInputs, build_text_blocks, strike_absent_clips


ELEMENTS_PER_MESSAGE = 2**24  # of a table that processes share; bounds memory, not the result


@dataclass
class OwnScores:
    """
    Args:
        clip_logits (`torch.FloatTensor` of shape `(texts, clips, labels)`): What the model says of each clip; NaN for
            clips that do not exist and for videos that could not be decoded.
        skipped (`dict[int, str]`): The videos that could not be decoded, with the reason.
        frame_seconds (`torch.DoubleTensor` of shape `(videos, clips, frames)`): When each frame is shown, from the
            start of the video; NaN where unknown.
    """

    clip_logits: torch.Tensor
    skipped: dict[int, str]
    frame_seconds: torch.Tensor


class VideoTexts(NamedTuple):
    """Texts, and for each of them the place of its video among some videos."""

    texts: list[str]
    video_indices: list[int]


class ImageInputs(VideoInputs):
    """Images as model inputs: one clip of one frame."""

    def prepare(self, number: int) -> Mapping[str, torch.Tensor]:
        return self.processor(images=[self.videos[number]], return_metadata=True)


def score_own_texts(
    model: PreTrainedModel,
    processor: VideoTextProcessor,
    paths: Sequence[str],
    texts: Sequence[str],
    owners: Sequence[int],
    num_labels: int,
    media: Media,
    options: Mapping[str, Any],
    recipe: Recipe,
    accelerator: Accelerator,
) -> OwnScores:
    """
    Score every text with the video it belongs to; all processes return the whole table.

    Each video is decoded and encoded once, whatever the number of its texts. Processes share the videos.

    Args:
        model (`PreTrainedModel`): A model with a score head, in evaluation mode.
        processor (`VideoTextProcessor`): Makes its inputs.
        paths (`Sequence[str]`): Videos or images.
        texts (`Sequence[str]`): Questions, questions with an option, or captions.
        owners (`Sequence[int]`): For each text its place in `paths`.
        num_labels (`int`): Scores that the model gives a text.
        media (`str`): `"video"` or `"image"`.
        options (`Mapping[str, Any]`): How clips are chosen, as the processor takes it; empty for images.
        recipe (`Recipe`): Block sizes, workers, and what happens to videos that cannot be decoded.
        accelerator (`Accelerator`): The processes.
    """
    own = range(accelerator.process_index, len(paths), accelerator.num_processes)
    members, is_image = dict.fromkeys(range(len(paths)), ()) | group_rows(owners), media == "image"
    num_clips, num_frames = (1, 1) if is_image else (options["num_clips"], options["num_frames"])
    own_paths = {index: paths[index] for index in own}
    loader = DataLoader(
        (ImageInputs if is_image else VideoInputs)(own_paths, processor, options, recipe),
        batch_size=recipe.eval.video_block,
        num_workers=recipe.data.num_workers,
        collate_fn=list,
        worker_init_fn=ignore_termination,
        generator=torch.Generator(),
    )
    # zeros, to which the other processes add what they have found
    table = torch.zeros(len(texts), num_clips, num_labels)
    seconds = torch.zeros(len(paths), num_clips, num_frames, dtype=torch.float64)
    skipped, done = [], 0
    quiet = None if accelerator.is_main_process else True
    with tqdm(total=len(own), desc="answering", unit=media, disable=quiet) as bar:
        for items in loader:
            usable = {}
            for index, item in zip(own[done : done + len(items)], items, strict=True):
                if isinstance(item, str):
                    skipped.append((index, item))
                    table[members[index]], seconds[index] = torch.nan, torch.nan
                else:
                    usable[index], seconds[index] = item, item.pop("frame_seconds")[0]
            places = {index: place for place, index in enumerate(usable)}
            if rows := [row for index in usable for row in members[index]]:
                block = VideoTexts([texts[row] for row in rows], [places[owners[row]] for row in rows])
                items_used = list(usable.values())
                inputs = {
                    name: torch.cat([item[name] for item in items_used]).to(accelerator.device)
                    for name in items_used[0]
                }
                size = max(1, recipe.eval.pairs_per_forward // num_clips)
                mask = inputs["clip_mask"][block.video_indices] if "clip_mask" in inputs else None
                table[rows] = strike_absent_clips(
                    score_block(model, processor, inputs, block, size),
                    mask,
                    lambda row: f"the text {texts[rows[row]]!r} and the {media} {paths[owners[rows[row]]]}",  # noqa: B023
                )
            done += len(items)
            bar.update(len(items))
    table, seconds = add_tables(table, accelerator), add_tables(seconds, accelerator)
    return OwnScores(table, dict(gather_object(skipped)), seconds)


def score_block(
    model: PreTrainedModel,
    processor: VideoTextProcessor,
    inputs: Mapping[str, torch.Tensor],
    block: VideoTexts,
    texts_per_forward: int,
) -> torch.Tensor:
    """Clip logits `(texts, clips, labels)` of texts with their videos, which are encoded once."""
    clip_mask = inputs.get("clip_mask")
    visual_embeds = model.encode_videos(inputs["pixel_values"], clip_mask)  # (V, clips, cells, width)
    owners = torch.tensor(block.video_indices, device=visual_embeds.device)
    blocks, place = build_text_blocks(block.texts, processor, texts_per_forward, visual_embeds.device)
    order, done, parts = place.argsort().to(owners.device), 0, []
    # every text is a row of its own: to choose among options is to compare rows
    is_choice = type(model).__name__.endswith("ForMultipleChoice")
    for input_ids, attention_mask in blocks:
        outputs = model(
            input_ids=input_ids[:, None] if is_choice else input_ids,
            attention_mask=attention_mask[:, None] if is_choice else attention_mask,
            video_indices=owners[order[done : done + len(input_ids)]],
            visual_embeds=visual_embeds,
            clip_mask=clip_mask,
            pooled_only=True,
        )
        parts.append(outputs.clip_logits.float())
        done += len(input_ids)
    return torch.cat(parts)[place.to(owners.device)].cpu()


def add_tables(table: torch.Tensor, accelerator: Accelerator) -> torch.Tensor:
    """The sum of what every process has found; each row is not 0 in one of them at most."""
    if accelerator.num_processes > 1:
        for part in table.flatten().split(ELEMENTS_PER_MESSAGE):  # views: the table itself changes
            part.copy_(accelerator.reduce(part.to(accelerator.device), reduction="sum"))
    return table


def pool_existing(clip_logits: torch.Tensor, score_pooling: str) -> torch.Tensor:
    """
    Pooled scores of texts, from logits that are NaN for clips that do not exist.

    Args:
        clip_logits (`torch.FloatTensor` of shape `(texts, clips, labels)`): See `OwnScores`.
        score_pooling (`str`): `"mean"`, `"max"` or `"lse"` over the clips that exist.

    Returns:
        `torch.FloatTensor` of shape `(texts, labels)`, NaN where a video has no clip.
    """
    exists = ~clip_logits[..., 0].isnan()  # (texts, clips)
    has_clips = exists.any(dim=1, keepdim=True)
    # a video without clips is pooled like any other, and struck out afterwards
    pooled = pool_clip_scores(clip_logits.nan_to_num(0.0), score_pooling, exists | ~has_clips)
    return pooled.where(has_clips, torch.nan)


__all__ = ["OwnScores", "pool_existing", "score_own_texts"]
