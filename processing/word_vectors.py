# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Files of word vectors, as GloVe has them: a word and its numbers a line, the most frequent one first. A first line of two
numbers, as in files of word2vec and fastText, is passed over. Files of several gigabytes are read line by line.
"""

import itertools
import os
from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np


def read_word_vectors(path: str | os.PathLike, words: Sequence[str]) -> np.ndarray:
    """
    The vectors of some words.

    Args:
        path (`str` or `os.PathLike`): The file, such as `glove.6B.300d.txt`.
        words (`list[str]`): Words that it has.

    Returns:
        `np.ndarray` of shape `(words, size)`, float16.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it lacks words, or a line is cut or holds anything but finite numbers; the message says which.
    """
    numbers, found, size = {word: row for row, word in enumerate(words)}, {}, None
    for line, (word, values) in enumerate(_entries(path), 1):
        size = len(values.split()) if size is None else size
        if word not in numbers or word in found:
            continue
        values = values.split()
        if len(values) > size:  # a word with blanks in it, of which this is the first part
            continue
        try:
            vector = np.array(values, dtype=np.float32)
        except ValueError:
            vector = np.full(size, np.nan, dtype=np.float32)
        if len(values) < size or not np.isfinite(vector).all():
            raise ValueError(
                f"Expected {size} finite numbers behind {word!r} in {path} (word {line}), got {values!r:.80}."
            )
        found[word] = vector.astype(np.float16)
    if missing := [word for word in words if word not in found]:
        raise ValueError(
            f"{path} has no vectors of {len(missing)} words: {', '.join(missing[:5])}{', ...' if missing[5:] else ''}. A "
            "tokenizer that knows its words alone is made by build_word_tokenizer(sentences, glove=...)."
        )
    return np.stack([found[word] for word in words])


def list_words(
    path: str | os.PathLike,
    wanted: Collection[str] = (),
    num_words: int | None = None,
    is_word: Callable[[str], bool] = lambda word: True,
) -> list[str]:
    """
    Words that a file has: first those that are wanted, in their order, then the most frequent ones.

    Args:
        path (`str` or `os.PathLike`): The file.
        wanted (`Collection[str]`, *optional*): Words that are looked for in all of it.
        num_words (`int`, *optional*): How many of the others; by default all.
        is_word (`Callable`, *optional*): Which entries count.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no file of word vectors.
    """
    there, frequent = set(), {}
    for word, _ in _entries(path):
        if word in wanted:
            there.add(word)
        elif (num_words is None or len(frequent) < num_words) and word not in frequent and is_word(word):
            frequent[word] = None
    return [*(word for word in wanted if word in there), *frequent]


def _entries(path: str | os.PathLike) -> Iterator[tuple[str, bytes]]:
    """Each word, up to the first blank, and what follows it."""
    with open(path, "rb") as file:
        first = file.readline()
        if len(first.split()) == 2 and all(part.isdigit() for part in first.split()):  # how many words, of what size
            first = b""
        elif len(first.split()) < 3:
            raise ValueError(
                f"{path} is no file of word vectors: expected a word and its numbers a line, got {first!r:.80}."
            )
        for line in itertools.chain([first] if first else [], file):
            word, _, values = line.partition(b" ")
            yield word.decode("utf-8", errors="replace"), values


__all__ = ["list_words", "read_word_vectors"]
