# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Masked words: which words of a text are hidden, and what stands in their place."""

from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase


IGNORED = -100  # label of a place where there is nothing to predict
MASK_SHARE, RANDOM_SHARE = 0.8, 0.1  # of the chosen words; the rest stays as it is


class WordMasker:
    """
    BERT's masking: of the words chosen, 80 % become `[MASK]`, 10 % another word, 10 % stay.

    The rule is that of `transformers.DataCollatorForLanguageModeling`, whose draws follow each other from batch to
    batch and differ between workers. Here every text brings its own generator, so a run can be resumed anywhere; and
    special tokens are neither predicted nor put in the place of words.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): Its vocabulary has a `[MASK]`.
        probability (`float`, *optional*, defaults to 0.15): Chance of each word to be chosen.
        mask_special_tokens (`bool`, *optional*, defaults to `False`): Also choose `[CLS]`, `[SEP]` and `[UNK]`, and
            draw other words from the whole vocabulary, special tokens included. The released ClipBERT code does so.

    Raises:
        ValueError: If there is no mask token, or no ordinary word.

    Example:
        >>> from transformers import BertTokenizer
        >>> tokenizer = BertTokenizer(vocab={w: i for i, w in enumerate("[PAD] [UNK] [CLS] [SEP] [MASK] red".split())})
        >>> WordMasker(tokenizer, probability=1.0)([2, 5, 5, 3], np.random.default_rng(2))
        ([2, 4, 4, 3], [-100, 5, 5, -100])
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, probability: float = 0.15, mask_special_tokens: bool = False
    ):
        if tokenizer.mask_token_id is None:
            raise ValueError(f"The tokenizer ({len(tokenizer)} tokens) has no mask token; masked words need one.")
        self.mask_id, self.probability = tokenizer.mask_token_id, probability
        special = {tokenizer.pad_token_id} if mask_special_tokens else set(tokenizer.all_special_ids)
        self.never_chosen = np.array(sorted(special))
        self.words = np.array(
            [
                number
                for token, number in sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
                if mask_special_tokens or not _is_special(token)
            ]
        )
        if not len(self.words):
            raise ValueError(f"The vocabulary ({len(tokenizer)} tokens) has no ordinary word to mask.")

    def __call__(
        self, input_ids: Sequence[int], rng: np.random.Generator, at_least_one: bool = False
    ) -> tuple[list[int], list[int]]:
        """
        Mask one text.

        Args:
            input_ids (`Sequence[int]`): Its tokens, without padding.
            rng (`np.random.Generator`): Decides alone.
            at_least_one (`bool`, *optional*, defaults to `False`): Choose a word where chance chose none.

        Returns:
            `tuple[list[int], list[int]]`: The masked tokens, and the labels: the token at chosen places, -100
            elsewhere.
        """
        original = np.asarray(input_ids)
        may_be_chosen = ~np.isin(original, self.never_chosen)
        chosen = may_be_chosen & (rng.random(len(original)) < self.probability)
        if at_least_one and may_be_chosen.any() and not chosen.any():
            chosen[rng.choice(np.flatnonzero(may_be_chosen))] = True
        fate = rng.random(len(original))
        others = self.words[rng.integers(len(self.words), size=len(original))]
        masked = np.where(chosen & (fate < MASK_SHARE), self.mask_id, original)
        is_replaced = chosen & (fate >= MASK_SHARE) & (fate < MASK_SHARE + RANDOM_SHARE)
        masked = np.where(is_replaced, others, masked)
        return masked.tolist(), np.where(chosen, original, IGNORED).tolist()


def _is_special(token: str) -> bool:
    """`[CLS]`, `[MASK]`, and the `[unused12]` of BERT's vocabulary; but not a bracket."""
    return len(token) > 2 and token.startswith("[") and token.endswith("]")


__all__ = ["IGNORED", "WordMasker"]
