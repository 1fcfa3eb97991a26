# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A tokenizer of whole words, made of sentences. Stays at home: what it makes is a plain tokenizer.json."""

import os
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from .word_vectors import list_words


PADDING, UNKNOWN = "[PAD]", "[UNK]"  # numbers 0 and 1
# English short forms as GloVe's own tokenizer has them: "isn't" is two words, `is` and `n't`
WORDS = Regex(r"\w+?(?=n't\b)|n't\b|'(?:s|m|d|ll|re|ve)\b|\w+")
NORMALIZER = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase(), normalizers.Replace("’", "'")])
SPLITTER = pre_tokenizers.Split(WORDS, behavior="removed", invert=True)


def build_word_tokenizer(
    sentences: Iterable[str], glove: str | os.PathLike | None = None, num_words: int | None = 50_000
) -> PreTrainedTokenizerBase:
    """
    A tokenizer that knows the words of sentences, in lower case; punctuation is left out.

    Args:
        sentences (`Iterable[str]`): Those of the training split.
        glove (`str` or `os.PathLike`, *optional*): A file of word vectors, see [`read_word_vectors`]. Then words that it
            lacks are unknown, and its most frequent ones are known besides.
        num_words (`int`, *optional*, defaults to 50000): How many of those; `None` for all.

    Returns:
        `PreTrainedTokenizerFast`: 0 is padding, 1 a word that is not known; then the words, in the order in which they first
        come.

    Raises:
        ValueError: If there is no word, or the file is none of word vectors.

    Example:
        >>> tokenizer = build_word_tokenizer(["A dog runs.", "the dog isn't there"])
        >>> tokenizer(["The dog's asleep!"])["input_ids"]
        [[5, 3, 1, 1]]
    """
    words = dict.fromkeys(word for sentence in sentences for word in words_of(sentence))
    if glove is not None:
        words = dict.fromkeys(list_words(glove, words, num_words, is_word=lambda word: words_of(word) == [word]))
    if not words:
        raise ValueError("Expected sentences with words, got none: there is nothing to make a vocabulary of.")
    vocabulary = {word: number for number, word in enumerate([PADDING, UNKNOWN, *words])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer, tokenizer.pre_tokenizer = NORMALIZER, SPLITTER
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PADDING, unk_token=UNKNOWN)


def words_of(sentence: str) -> list[str]:
    """
    What the tokenizer reads of a sentence.

    Example:
        >>> words_of("It's a dog, isn't it?")
        ['it', "'s", 'a', 'dog', 'is', "n't", 'it']
    """
    return [word for word, _ in SPLITTER.pre_tokenize_str(NORMALIZER.normalize_str(sentence))]


__all__ = ["build_word_tokenizer", "words_of"]
