# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""How pre-training is measured: every caption with its own picture, and with another one.

The same words are masked both times. What is predicted beside the other picture is what the text alone gives away, so
the accuracy of words has a blind one beside it; and the two pairs are one that matches and one that does not.
Other pictures and masks depend on (seed, set, row) alone, so every evaluation asks the same.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset

from metrics.pretraining.pretraining import compute_pretraining_metrics
from processing.decoding import VideoDecodeError
from processing.sampling import build_rng
from train_scripts.engine.data import UndecodableVideosError
from train_scripts.masked_pairs import CaptionTable, MaskedCollator, MaskedItem
from train_scripts.masking import IGNORED, WordMasker


JUDGED = ("words", "predicted_words", "blind_words", "word_losses", "blind_word_losses")  # lists, one for each row


class JudgedRow(NamedTuple):
    """A masked caption with its own picture and another one; or why they could not be decoded."""

    caption_id: str
    other_id: str
    pairs: tuple[MaskedItem, ...] = ()
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
                table.load_visual(visual, self.clip_seed, index, place)
                for place, visual in enumerate((int(table.visuals[index]), other))
            ]
        except VideoDecodeError as error:
            if not self.skip:
                raise UndecodableVideosError(f"{error} Repair it, or set data.on_decode_error=skip.") from error
            return JudgedRow(*names, skipped=str(error))
        pairs = (MaskedItem(visual, [text], [labels], [1 - place]) for place, visual in enumerate(visuals))
        return JudgedRow(*names, pairs=tuple(pairs))

    def collate(self, rows: Sequence[JudgedRow]) -> dict[str, Any]:
        """`inputs` of the pairs, two for each usable row, and the names of all rows."""
        pairs = [pair for row in rows for pair in row.pairs]
        names = ("caption_id", "other_id", "skipped")
        return {
            "inputs": self.collator(pairs) if pairs else {},
            **{name: [getattr(row, name) for row in rows] for name in names},
        }


def judge(model: torch.nn.Module, batch: Mapping[str, Any]) -> dict[str, Any]:
    """
    What a model says of the rows of a batch.

    Args:
        model (`ClipBERTForPreTraining`): In evaluation mode.
        batch (`Mapping[str, Any]`): What `JudgedPairs.collate` returned.

    Returns:
        `dict`: One entry per row in each of: `match_odds` `(rows, 2)`, the log-odds that the text belongs to its own
        and to the other picture; the masked `words`, what is predicted beside the own picture (`predicted_words`) and
        beside the other one (`blind_words`), and the losses (`word_losses`, `blind_word_losses`). NaN and empty where
        a row could not be decoded.
    """
    skipped = batch["skipped"]
    judged: dict[str, list] = {name: [[] for _ in skipped] for name in JUDGED}
    odds = torch.full((len(skipped), 2), torch.nan, device=model.device)
    if batch["inputs"]:
        labels = batch["inputs"]["mlm_labels"]
        guesses, losses, odds_of_pairs = score_pairs(model, batch["inputs"])
        for pair, row in enumerate(number for number, reason in enumerate(skipped) if not reason):
            own, other = 2 * pair, 2 * pair + 1
            places = labels[own] != IGNORED
            values = (labels[own], guesses[own], guesses[other], losses[own], losses[other])
            for name, value in zip(JUDGED, values, strict=True):
                judged[name][row] = value[places].tolist()
            odds[row] = odds_of_pairs[own : other + 1]
    return {"match_odds": odds, **judged}


def score_pairs(
    model: torch.nn.Module, inputs: Mapping[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Likeliest words and losses of the right ones, both `(pairs, length)`, and log-odds `(pairs,)` of a match."""
    outputs = model(**{name: value for name, value in inputs.items() if not name.endswith("_labels")})
    words = outputs.prediction_logits.float().log_softmax(dim=-1)  # (pairs, clips, length, vocabulary)
    exists = inputs.get("clip_mask", torch.ones_like(words[..., 0, 0]))[inputs["video_indices"]]
    weights = (exists / exists.sum(dim=1, keepdim=True)).to(words.dtype)  # (pairs, clips): clips count alike
    words = torch.einsum("pclv,pc->plv", words, weights)
    losses = F.nll_loss(words.transpose(1, 2), inputs["mlm_labels"], ignore_index=IGNORED, reduction="none")
    match = outputs.seq_relationship_logits.float()
    return words.argmax(dim=-1), losses, match[:, 1] - match[:, 0]


def measure(match_odds: np.ndarray, records: Mapping[str, Any], dataset: str | None = None) -> dict[str, float]:
    """
    Metrics of predictions; rows that could not be decoded take no part.

    Args:
        match_odds (`np.ndarray` of shape `(rows, 2)`): See `judge`.
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


def measure_all(match_odds: np.ndarray, records: Mapping[str, Any]) -> dict[str, float]:
    """`measure` of all rows and, where they come from several data sets, of each as `DATASET_metric`."""
    metrics, names = measure(match_odds, records), list(dict.fromkeys(records["dataset"]))
    for name in names if len(names) > 1 else []:
        metrics |= {f"{name}_{key}": value for key, value in measure(match_odds, records, name).items()}
    return metrics


__all__ = ["JUDGED", "JudgedPairs", "JudgedRow", "judge", "measure", "measure_all"]
