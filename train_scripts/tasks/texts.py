# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What a model does not see of its texts: ends that are cut off, letters and words that its tokenizer does not know."""

import logging
import unicodedata
from collections.abc import Iterable
from itertools import islice
from typing import Any

from clipbert.support.terminal import printable


logger = logging.getLogger(__name__)
MOST = 10_000  # different texts that are looked at: a second or two


def describe_losses(processor: Any, texts: Iterable[str]) -> str:
    """
    Say how many texts lose something on their way into a model, and which is the first.

    Args:
        processor (`ProcessorMixin`): Its tokenizer and `max_length` are those of the model.
        texts (`Iterable[str]`): The texts; the first 10,000 different ones are looked at.

    Returns:
        `str`: A line; empty if nothing is lost, or if the processor reads no words.
    """
    texts = list(islice(dict.fromkeys(texts), MOST))
    if not texts or not hasattr(processor, "tokenizer"):
        return ""
    tokenizer, limit = processor.tokenizer, getattr(processor, "max_length", None)
    limit = limit or tokenizer.model_max_length
    if hasattr(processor, "clean_text"):
        texts = [processor.clean_text(text) for text in texts]
    rows = tokenizer(texts, truncation=False, padding=False, verbose=False)["input_ids"]
    read = tokenizer.batch_decode(rows, skip_special_tokens=True)
    ends = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id}
    unknown_id = tokenizer.unk_token_id
    if unknown_id in ends:  # as for CLIP, whose bytes make up any word
        unknown_id = None
    long, unknown, changed = [], [], []
    for text, row, seen in zip(texts, rows, read, strict=True):
        if len(row) > limit:
            long.append(shown(text))
        if unknown_id in row:
            unknown.append(shown(text))
        elif letters(text) != letters(seen):
            changed.append(f"{shown(text)}, read as {shown(seen)}")
    return "; ".join(
        f"{len(found):,} of {len(texts):,} texts {what}, first {found[0]}"
        for found, what in (
            (long, f"are longer than {limit} tokens and lose their end (data.max_text_length)"),
            (unknown, "have words that the tokenizer does not know"),
            (changed, "lose letters or accents to the tokenizer"),
        )
        if found
    )


def report_losses(name: str, texts: Iterable[str], processor: Any) -> None:
    """Warn, in a line, of what is lost of the texts of a split."""
    if losses := describe_losses(processor, texts):
        logger.warning(f"{name}: {losses}.")


def letters(text: str) -> str:
    """Letters, marks and digits of a text, whatever their case; punctuation and spaces do not count."""
    folded = unicodedata.normalize("NFKC", text.casefold())
    return "".join(character for character in folded if unicodedata.category(character)[0] in "LMN")


def shown(text: str) -> str:
    return f"'{printable(text[:60])}{'...' if len(text) > 60 else ''}'"


__all__ = ["describe_losses", "report_losses"]
