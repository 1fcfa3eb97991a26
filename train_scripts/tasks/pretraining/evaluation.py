# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""How pre-training is evaluated: every caption with its own picture, and with another one.

The same words are masked both times. What is predicted beside the other picture is what the text alone gives away, so
the accuracy of words has a blind one beside it; and the two pairs are one that matches and one that does not.
Other pictures and masks depend on (seed, set, row) alone, so every evaluation asks the same. Whether text and picture
match is pooled over clips as the recipe says; words are predicted by the mean of the clips, as they are learnt.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.utils.data import Dataset

from clipbert.processing.sampling import build_rng
from clipbert.train_scripts.tasks.pooling import mark_absent_clips
from clipbert.train_scripts.tasks.pretraining.items import CaptionTable, MaskedCollator, MaskedItem
from clipbert.train_scripts.tasks.pretraining.masking import IGNORED, WordMasker
from clipbert.train_scripts.tasks.scoring import decode_or_explain


WORDS = ("words", "predicted_words", "blind_words", "word_losses", "blind_word_losses")  # lists, one for each row


class ContrastedRow(NamedTuple):
    """A masked caption with its own picture and another one; or why they could not be decoded."""

    caption_id: str
    other_id: str
    pairs: tuple[MaskedItem, ...] = ()
    frame_seconds: torch.Tensor | None = None  # (2, clips, frames)
    skipped: str = ""


class ContrastedRows(Dataset):
    """
    The rows of an evaluation.

    Args:
        table (`CaptionTable`): Pictures with captions.
        masker (`WordMasker`): Hides at least one word of every caption.
        collator (`MaskedCollator`): Makes batches of pairs.
        skip (`bool`): Let rows whose pictures cannot be decoded pass, with the reason, instead of failing.
        draw (`int`): Other draws take other random clips, and ask for the same words.
    """

    def __init__(
        self,
        table: CaptionTable,
        masker: WordMasker,
        collator: MaskedCollator,
        skip: bool = False,
        draw: int = 0,
    ):
        self.table, self.masker, self.collator, self.skip = table, masker, collator, skip
        self.clip_seed = table.seed + draw

    def __len__(self) -> int:
        return len(self.table.rows)

    def __getitem__(self, index: int) -> ContrastedRow:
        table = self.table
        rng = build_rng(table.seed, table.name, index)
        other = table.draw_other_visual(index, rng)
        text, labels = self.masker(table.tokenize([index])[0], rng, at_least_one=True)
        names = table.rows[index]["caption_id"], table.ids[other]
        visuals = decode_or_explain(
            lambda: [
                table.load_visual(visual, self.clip_seed, index, place, return_metadata=True)
                for place, visual in enumerate((int(table.owners[index]), other))
            ],
            self.skip,
        )
        if isinstance(visuals, str):
            return ContrastedRow(*names, skipped=visuals)
        seconds = torch.cat([visual["frame_seconds"] for visual in visuals])
        inputs = [
            {name: visual[name] for name in ("pixel_values", "clip_mask") if name in visual} for visual in visuals
        ]
        pairs = (MaskedItem(visual, [text], [labels], [1 - place]) for place, visual in enumerate(inputs))
        return ContrastedRow(*names, tuple(pairs), seconds)

    def collate(self, rows: Sequence[ContrastedRow]) -> dict[str, Any]:
        """`inputs` of the pairs, two for each usable row; the names of all rows, and when their frames are shown."""
        pairs = [pair for row in rows for pair in row.pairs]
        names = ("caption_id", "other_id", "skipped")
        unknown = torch.full((2, *self.table.clip_shape), torch.nan, dtype=torch.float64)
        seconds = [unknown if row.skipped else row.frame_seconds.to(unknown) for row in rows]
        return {
            "inputs": self.collator(pairs).inputs if pairs else {},
            "frame_seconds": torch.stack(seconds),
            **{name: [getattr(row, name) for row in rows] for name in names},
        }


def predict_batch(model: torch.nn.Module, batch: Mapping[str, Any]) -> dict[str, Any]:
    """
    What a model says of the rows of a batch.

    Args:
        model (`PreTrainedModel`): A pre-training head, in evaluation mode.
        batch (`Mapping[str, Any]`): What `ContrastedRows.collate` returned.

    Returns:
        `dict`: One entry per row in each of: `clip_logits` `(rows, 2, clips, 2)`, whether the text belongs to its own
        and to the other picture, by each clip, NaN for clips that do not exist; the masked `words`, what is predicted
        beside the own picture (`predicted_words`) and beside the other one (`blind_words`), and the losses
        (`word_losses`, `blind_word_losses`). NaN and empty where a row could not be decoded.

    Raises:
        NonFiniteScoreError: If a score is infinite or not a number.
    """
    skipped = batch["skipped"]
    found: dict[str, list] = {name: [[] for _ in skipped] for name in WORDS}
    num_clips = batch["frame_seconds"].shape[2]
    clip_logits = torch.full((len(skipped), 2, num_clips, 2), torch.nan, device=model.device)
    if batch["inputs"]:
        labels, usable = batch["inputs"]["mlm_labels"], [row for row, reason in enumerate(skipped) if not reason]

        def name(pair: int) -> str:
            text = f"the caption {batch['caption_id'][usable[pair // 2]]}"
            other = f"another picture, {batch['other_id'][usable[pair // 2]]}"
            return f"{text} and {other if pair % 2 else 'its own picture'}"

        guesses, losses, logits_of_pairs = score_pairs(model, batch["inputs"], name)
        for pair, row in enumerate(usable):
            own, other = 2 * pair, 2 * pair + 1
            places = labels[own] != IGNORED
            values = (labels[own], guesses[own], guesses[other], losses[own], losses[other])
            for name, value in zip(WORDS, values, strict=True):
                found[name][row] = value[places].tolist()
            clip_logits[row] = logits_of_pairs[own : other + 1]
    return {"clip_logits": clip_logits, **found}


def score_pairs(
    model: torch.nn.Module, inputs: Mapping[str, torch.Tensor], name: Callable[[int], str]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Likeliest words and losses of the right ones, both `(pairs, length)`, and matches `(pairs, clips, 2)`."""
    outputs = model(**{name: value for name, value in inputs.items() if not name.endswith("_labels")})
    words = outputs.prediction_logits.float().log_softmax(dim=-1)  # (pairs, clips, length, vocabulary)
    mask = inputs["clip_mask"][inputs["video_indices"]] if "clip_mask" in inputs else None
    clip_logits = mark_absent_clips(outputs.clip_logits.float(), mask, name)
    exists = ~clip_logits[..., 0].isnan()
    weights = (exists / exists.sum(dim=1, keepdim=True)).to(words.dtype)  # (pairs, clips): clips count alike
    words = torch.einsum("pclv,pc->plv", words, weights)
    losses = F.nll_loss(words.transpose(1, 2), inputs["mlm_labels"], ignore_index=IGNORED, reduction="none")
    return words.argmax(dim=-1), losses, clip_logits


__all__ = ["WORDS", "ContrastedRow", "ContrastedRows", "predict_batch"]
