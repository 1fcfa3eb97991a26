# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Scores of every text with every video, by a model that reads both together.

Each video is decoded and encoded once, each text is tokenised once. A block of videos meets one block of texts after
the other; texts are sorted by length and padded to the longest of their block. Memory is bounded by one block of
videos and by the table of scores. Processes share the videos.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from clipbert.modeling_clipbert import pool_clip_scores
from clipbert.processing.decoding import VideoDecodeError
from clipbert.processing.processing_clipbert import VideoTextProcessor
from clipbert.train_scripts.engine.data import UndecodableVideosError, ignore_termination
from clipbert.train_scripts.engine.recipe import Recipe


class NonFiniteScoreError(ArithmeticError):
    """A score that is infinite or not a number."""


@dataclass
class PairScores:
    """
    Args:
        clip_logits (`torch.FloatTensor` of shape `(texts, videos, clips, labels)`): What the model says of each clip;
            NaN for clips that do not exist and for videos that could not be decoded.
        skipped (`dict[int, str]`): The videos that could not be decoded, with the reason.
        frame_seconds (`torch.DoubleTensor` of shape `(videos, clips, frames)`): When each frame is shown, from the
            start of the video; NaN where unknown.
    """

    clip_logits: torch.Tensor
    skipped: dict[int, str]
    frame_seconds: torch.Tensor


class TextBlock(NamedTuple):
    input_ids: torch.Tensor
    attention_mask: torch.Tensor


class VideoInputs(Dataset):
    """
    Videos as model inputs with `frame_seconds`; in place of one that cannot be decoded the reason, if `skip`.

    Args:
        videos (`Mapping[int, str]`): Paths by number.
        processor (`VideoTextProcessor`): Decodes them.
        options (`Mapping[str, Any]`): How clips are chosen, as the processor takes it.
        recipe (`Recipe`): What happens to undecodable videos, and the seed of random clips: those of a video depend on
            the seed and its number.
    """

    def __init__(
        self, videos: Mapping[int, str], processor: VideoTextProcessor, options: Mapping[str, Any], recipe: Recipe
    ):
        self.numbers, self.videos, self.processor, self.options = list(videos), videos, processor, options
        self.seed = recipe.run.seed if options.get("sampling") == "random" else None
        self.skip = recipe.data.on_decode_error == "skip"

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor] | str:
        try:
            inputs = self.prepare(self.numbers[index])
            return {name: value for name, value in inputs.items() if name not in ("frame_indices", "video_metadata")}
        except VideoDecodeError as error:
            if not self.skip:
                raise UndecodableVideosError(f"{error} Repair it, or set data.on_decode_error=skip.") from error
            return str(error)

    def prepare(self, number: int) -> Mapping[str, Any]:
        """What the processor makes of a video."""
        seeds = None if self.seed is None else [(self.seed, number)]
        return self.processor(videos=[self.videos[number]], seeds=seeds, return_metadata=True, **self.options)


def score_all_pairs(
    model: PreTrainedModel,
    processor: VideoTextProcessor,
    texts: Sequence[str],
    videos: Sequence[str],
    options: Mapping[str, Any],
    recipe: Recipe,
    accelerator: Accelerator,
) -> PairScores:
    """
    Score every text with every video; all processes return the whole table.

    Args:
        model (`PreTrainedModel`): A model of texts and videos in evaluation mode, with `encode_videos`.
        processor (`VideoTextProcessor`): Makes its inputs.
        texts (`Sequence[str]`): Sentences.
        videos (`Sequence[str]`): Paths.
        options (`Mapping[str, Any]`): How clips are chosen, as the processor takes it.
        recipe (`Recipe`): Block sizes, workers, and what happens to videos that cannot be decoded.
        accelerator (`Accelerator`): The processes.
    """
    own = range(accelerator.process_index, len(videos), accelerator.num_processes)
    loader = DataLoader(
        VideoInputs({number: videos[number] for number in own}, processor, options, recipe),
        batch_size=recipe.eval.video_block,
        num_workers=recipe.data.num_workers,
        collate_fn=list,
        worker_init_fn=ignore_termination,
        generator=torch.Generator(),
    )
    texts_per_block = max(1, recipe.eval.pairs_per_forward // (recipe.eval.video_block * options["num_clips"]))
    blocks, place = build_text_blocks(texts, processor, texts_per_block, accelerator.device)
    # as many rows in every process, so that they can be gathered; rows without a video stay NaN
    rows = -(-len(videos) // accelerator.num_processes)
    table = torch.full((rows, len(texts), options["num_clips"], model.config.num_labels), torch.nan)
    num_frames = options.get("num_frames", processor.video_processor.num_frames)
    seconds = torch.full((rows, options["num_clips"], num_frames), torch.nan, dtype=torch.float64)
    skipped, done = [], 0
    quiet = None if accelerator.is_main_process else True
    with tqdm(total=len(own) * len(texts), desc="scoring", unit="pair", disable=quiet) as bar:
        for items in loader:
            numbers = [done + number for number, item in enumerate(items) if isinstance(item, dict)]
            usable = [item for item in items if isinstance(item, dict)]
            skipped += [(own[done + number], item) for number, item in enumerate(items) if isinstance(item, str)]
            if usable:
                seconds[numbers] = torch.cat([item.pop("frame_seconds") for item in usable])
                inputs = {
                    name: torch.cat([item[name] for item in usable]).to(accelerator.device) for name in usable[0]
                }
                mask = inputs["clip_mask"][:, None] if "clip_mask" in inputs else None
                table[numbers] = strike_absent_clips(
                    score_blocks(model, inputs, blocks)[:, place],
                    mask,
                    lambda row, text: f"the text {texts[text]!r} and the video {videos[own[numbers[row]]]}",  # noqa: B023
                )
            done += len(items)
            bar.update(len(items) * len(texts))
    table, seconds = (gather_dealt(part, len(videos), accelerator) for part in (table, seconds))
    return PairScores(table.transpose(0, 1).contiguous(), dict(gather_object(skipped)), seconds)


def gather_dealt(own: torch.Tensor, number: int, accelerator: Accelerator) -> torch.Tensor:
    """The rows of all processes, in the order in which they were dealt to them in turn; only the first `number`."""
    if accelerator.num_processes > 1:
        own = accelerator.gather(own.to(accelerator.device)).cpu()
        own = own.unflatten(0, (accelerator.num_processes, -1)).transpose(0, 1).flatten(0, 1)
    return own[:number]


def score_blocks(
    model: PreTrainedModel, inputs: Mapping[str, torch.Tensor], blocks: Sequence[TextBlock]
) -> torch.Tensor:
    """Clip logits `(videos, texts, clips, labels)` of a block of videos with all texts, which stand as in the blocks."""
    clip_mask = inputs.get("clip_mask")
    visual_embeds = model.encode_videos(inputs["pixel_values"], clip_mask)  # (V, clips, cells, width)
    num_videos, parts = len(visual_embeds), []
    for block in blocks:
        video_indices = torch.arange(num_videos, device=visual_embeds.device).repeat_interleave(len(block.input_ids))
        outputs = model(
            input_ids=block.input_ids.repeat(num_videos, 1),
            attention_mask=block.attention_mask.repeat(num_videos, 1),
            video_indices=video_indices,
            visual_embeds=visual_embeds,
            clip_mask=clip_mask,
            pooled_only=True,
        )
        parts.append(
            outputs.clip_logits.float().unflatten(0, (num_videos, -1))
        )  # (V, texts of the block, clips, labels)
    return torch.cat(parts, dim=1).cpu()


def strike_absent_clips(
    clip_logits: torch.Tensor, clip_mask: torch.Tensor | None, name: Callable[..., str]
) -> torch.Tensor:
    """
    Put NaN where there is no clip, and nowhere else.

    Args:
        clip_logits (`torch.FloatTensor` of shape `(..., clips, labels)`): What the model says of each clip.
        clip_mask (`torch.Tensor`, *optional*): Of a shape that broadcasts to `(..., clips)`: 1 for clips that exist.
        name (`Callable`): Names the text and the video of a place in the leading dimensions.

    Raises:
        NonFiniteScoreError: If the score of a clip that exists is infinite or not a number.
    """
    exists = torch.ones_like(clip_logits[..., 0], dtype=torch.bool)
    if clip_mask is not None:
        exists &= clip_mask.bool().to(exists.device)
    wrong = exists & ~clip_logits.isfinite().all(dim=-1)
    if wrong.any():
        *place, clip = wrong.nonzero()[0].tolist()
        raise NonFiniteScoreError(
            f"Scores that are not finite: {clip_logits[(*place, clip)].tolist()} for {name(*place)}, clip {clip}; "
            f"{int(wrong.sum())} of {int(exists.sum())} of their block. The weights may be broken, or "
            "run.mixed_precision=fp16 too narrow for them."
        )
    return clip_logits.masked_fill(~exists[..., None], torch.nan)


def build_text_blocks(
    texts: Sequence[str], processor: VideoTextProcessor, size: int, device: torch.device
) -> tuple[list[TextBlock], torch.Tensor]:
    """Texts in blocks of similar length, longest first, and for each text its place in the line of blocks."""
    encoded = processor(text=list(texts), padding=False, return_tensors=None)
    order = sorted(range(len(texts)), key=lambda text: -len(encoded["input_ids"][text]))
    blocks = []
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        padded = processor.tokenizer.pad(
            {name: [encoded[name][text] for text in chosen] for name in ("input_ids", "attention_mask")},
            return_tensors="pt",
        )
        blocks.append(TextBlock(padded["input_ids"].to(device), padded["attention_mask"].to(device)))
    return blocks, torch.tensor(order).argsort()


def compute_match_odds(clip_logits: torch.Tensor, score_pooling: str) -> torch.Tensor:
    """
    Log-odds that texts and videos belong together; their sigmoid is the probability that `match_scores` gives.

    Ranking by log-odds keeps certain matches apart, whose probabilities are all 1 after rounding.

    Args:
        clip_logits (`torch.FloatTensor` of shape `(texts, videos, clips, labels)`): See `PairScores`.
        score_pooling (`str`): `"mean"`, `"max"` or `"lse"` over the clips that exist.

    Returns:
        `torch.FloatTensor` of shape `(texts, videos)`, NaN where a video has no clip.
    """
    exists = ~clip_logits[..., 0].isnan()  # (texts, videos, clips)
    has_clips = exists.any(dim=-1)
    # a video without clips is pooled like any other, and struck out afterwards
    usable = (exists | ~has_clips[..., None]).flatten(0, 1)
    pooled = pool_clip_scores(clip_logits.nan_to_num(0.0).flatten(0, 1), score_pooling, usable)  # (pairs, labels)
    odds = pooled[:, 1] - pooled[:, 0] if pooled.shape[1] == 2 else pooled[:, 0]
    return odds.unflatten(0, exists.shape[:2]).where(has_clips, torch.nan)


__all__ = [
    "NonFiniteScoreError",
    "PairScores",
    "build_text_blocks",
    "compute_match_odds",
    "score_all_pairs",
    "score_blocks",
    "strike_absent_clips",
]
