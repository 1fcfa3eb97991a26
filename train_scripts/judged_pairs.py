# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""How pre-training is measured: every caption with its own picture, and with another one.

The same words are masked both times. What is predicted beside the other picture is what the text alone gives away, so
the accuracy of words has a blind one beside it; and the two pairs are one that matches and one that does not.
Other pictures and masks depend on (seed, set, row) alone, so every evaluation asks the same. Whether text and picture
match is pooled over clips as the recipe says; words are predicted by the mean of the clips, as they are learnt.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset

from clipbert.metrics.pretraining.pretraining import compute_pretraining_metrics
from clipbert.processing.decoding import VideoDecodeError
from clipbert.processing.sampling import build_rng
from clipbert.train_scripts.engine.data import UndecodableVideosError
from clipbert.train_scripts.masked_pairs import CaptionTable, MaskedCollator, MaskedItem
from clipbert.train_scripts.masking import IGNORED, WordMasker
from clipbert.train_scripts.scoring import compute_match_odds, strike_absent_clips


JUDGED = ("words", "predicted_words", "blind_words", "word_losses", "blind_word_losses")  # lists, one for each row


class JudgedRow(NamedTuple):
    """A masked caption with its own picture and another one; or why they could not be decoded."""

    caption_id: str
    other_id: str
    pairs: tuple[MaskedItem, ...] = ()
    frame_seconds: torch.Tensor | None = None  # (2, clips, frames)
    skipped: str = ""


class JudgedPairs(Dataset):
    """
    The rows of an evaluation.

    Args:
        table (`CaptionTable`): Pictures with captions.
        masker (`WordMasker`): Hides at least one word of every caption.
        collator (`MaskedCollator`): Makes batches of pairs.
        skip (`bool`): Let rows whose pictures cannot be decoded pass, with the reason, instead of failing.
    """

    def __init__(self, table: CaptionTable, masker: WordMasker, collator: MaskedCollator, skip: bool = False):
        self.table, self.masker, self.collator, self.skip = table, masker, collator, skip
        self.clip_seed = table.seed  # other draws of random clips ask for the same words

    def __len__(self) -> int:
        return len(self.table.rows)

    def __getitem__(self, index: int) -> JudgedRow:
        table = self.table
        rng = build_rng(table.seed, table.name, index)
        other = table.draw_other_visual(index, rng)
        text, labels = self.masker(table.tokenize([index])[0], rng, at_least_one=True)
        names = table.rows[index]["caption_id"], table.visual_ids[other]
        try:
            visuals = [
                table.load_visual(visual, self.clip_seed, index, place, return_metadata=True)
                for place, visual in enumerate((int(table.visuals[index]), other))
            ]
        except VideoDecodeError as error:
            if not self.skip:
                raise UndecodableVideosError(f"{error} Repair it, or set data.on_decode_error=skip.") from error
            return JudgedRow(*names, skipped=str(error))
        seconds = torch.cat([visual["frame_seconds"] for visual in visuals])
        inputs = [
            {name: visual[name] for name in ("pixel_values", "clip_mask") if name in visual} for visual in visuals
        ]
        pairs = (MaskedItem(visual, [text], [labels], [1 - place]) for place, visual in enumerate(inputs))
        return JudgedRow(*names, tuple(pairs), seconds)

    def collate(self, rows: Sequence[JudgedRow]) -> dict[str, Any]:
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


def judge(model: torch.nn.Module, batch: Mapping[str, Any]) -> dict[str, Any]:
    """
    What a model says of the rows of a batch.

    Args:
        model (`ClipBERTForPreTraining`): In evaluation mode.
        batch (`Mapping[str, Any]`): What `JudgedPairs.collate` returned.

    Returns:
        `dict`: One entry per row in each of: `clip_logits` `(rows, 2, clips, 2)`, whether the text belongs to its own
        and to the other picture, by each clip, NaN for clips that do not exist; the masked `words`, what is predicted
        beside the own picture (`predicted_words`) and beside the other one (`blind_words`), and the losses
        (`word_losses`, `blind_word_losses`). NaN and empty where a row could not be decoded.

    Raises:
        NonFiniteScoreError: If a score is infinite or not a number.
    """
    skipped = batch["skipped"]
    judged: dict[str, list] = {name: [[] for _ in skipped] for name in JUDGED}
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
            for name, value in zip(JUDGED, values, strict=True):
                judged[name][row] = value[places].tolist()
            clip_logits[row] = logits_of_pairs[own : other + 1]
    return {"clip_logits": clip_logits, **judged}


def score_pairs(
    model: torch.nn.Module, inputs: Mapping[str, torch.Tensor], name: Callable[[int], str]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Likeliest words and losses of the right ones, both `(pairs, length)`, and matches `(pairs, clips, 2)`."""
    outputs = model(**{name: value for name, value in inputs.items() if not name.endswith("_labels")})
    words = outputs.prediction_logits.float().log_softmax(dim=-1)  # (pairs, clips, length, vocabulary)
    clip_logits = model.cls.seq_relationship(outputs.pooler_output).float()
    mask = inputs["clip_mask"][inputs["video_indices"]] if "clip_mask" in inputs else None
    clip_logits = strike_absent_clips(clip_logits, mask, name)
    exists = ~clip_logits[..., 0].isnan()
    weights = (exists / exists.sum(dim=1, keepdim=True)).to(words.dtype)  # (pairs, clips): clips count alike
    words = torch.einsum("pclv,pc->plv", words, weights)
    losses = F.nll_loss(words.transpose(1, 2), inputs["mlm_labels"], ignore_index=IGNORED, reduction="none")
    return words.argmax(dim=-1), losses, clip_logits


def measure(match_odds: torch.Tensor, records: Mapping[str, Any], dataset: str | None = None) -> dict[str, float]:
    """
    Metrics of predictions; rows that could not be decoded take no part.

    Args:
        match_odds (`torch.FloatTensor` of shape `(rows, 2)`): Log-odds that the text belongs to its own and to the
            other picture.
        records (`Mapping[str, Any]`): The lists of `judge`, with `skipped` and the name of each row's `dataset`.
        dataset (`str`, *optional*): Measure this data set alone.

    Returns:
        `dict`: What `compute_pretraining_metrics` returns, and `mlm_loss`, `mlm_blind_loss`, `itm_loss` and
        `num_skipped_rows`.
    """
    asked = [row for row, name in enumerate(records["dataset"]) if dataset in (None, name)]
    usable = [row for row in asked if not records["skipped"][row]]
    own, other = np.asarray(match_odds, dtype=np.float64)[usable].T
    lists = {name: [records[name][row] for row in usable] for name in JUDGED}
    metrics = compute_pretraining_metrics(
        lists["predicted_words"] + lists["blind_words"],
        lists["words"] + lists["words"],
        [*(own > 0), *(other > 0)],
        [1] * len(own) + [0] * len(other),
    )
    losses = {
        "mlm_loss": np.mean(np.concatenate(lists["word_losses"])),
        "mlm_blind_loss": np.mean(np.concatenate(lists["blind_word_losses"])),
        "itm_loss": np.mean(np.logaddexp(0, [-own, other])),
    }
    return {
        **metrics,
        **{name: float(value) for name, value in losses.items()},
        "num_skipped_rows": len(asked) - len(usable),
    }


def measure_all(clip_logits: torch.Tensor, records: Mapping[str, Any]) -> tuple[dict[str, float], torch.Tensor]:
    """
    Metrics of written predictions, and the log-odds that they are of.

    Args:
        clip_logits (`torch.FloatTensor` of shape `(rows, 2, clips, 2)`): See `judge`.
        records (`Mapping[str, Any]`): As `measure` takes them, with the `score_pooling` of the clips.

    Returns:
        `dict`, `torch.FloatTensor` of shape `(rows, 2)`: `measure` of all rows and, where they come from several data
        sets, of each as `DATASET_metric`; and the log-odds.
    """
    odds = compute_match_odds(clip_logits, records["score_pooling"])
    metrics, names = measure(odds, records), list(dict.fromkeys(records["dataset"]))
    for name in names if len(names) > 1 else []:
        metrics |= {f"{name}_{key}": value for key, value in measure(odds, records, name).items()}
    return metrics, odds


__all__ = ["JUDGED", "JudgedPairs", "JudgedRow", "judge", "measure", "measure_all"]
