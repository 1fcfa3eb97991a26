# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Tokenizers from a name, a folder or bare vocabulary files. Stays at home: a saved processor brings its tokenizer."""

import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, BertTokenizer, CLIPTokenizer, PreTrainedTokenizerBase


NO_LIMIT = 10**9  # tokenizers that know of no longest text report a number far beyond this
TOKENIZER_FILES = ("config.json", "tokenizer_config.json", "tokenizer.json")
BERT_MAX_LENGTH = 512  # tokens; where neither the tokenizer nor its files say how long a text may be
CLIP_MAX_LENGTH = 77


def load_tokenizer(name_or_path: str | os.PathLike, **kwargs: Any) -> PreTrainedTokenizerBase:
    """Load a tokenizer from a Hub name, a folder, or nothing but a vocabulary.

    A `vocab.txt`, as a file or as the only tokenizer file of a folder, becomes an uncased WordPiece tokenizer as BERT
    has it; a folder with nothing but `vocab.json` and `merges.txt` becomes the tokenizer of CLIP. Where nothing says
    how long a text may be, it is 77 tokens for CLIP and 512 for all others, as BERT has them.

    Args:
        name_or_path (`str` or `os.PathLike`): Name on the Hub, folder, or vocabulary file with one token a line.
        kwargs: Passed to the tokenizer, for example `do_lower_case=False`, `pad_token="<pad>"` or `revision="..."`.

    Raises:
        FileNotFoundError: If a `.txt` file was given and does not exist.
        ValueError: If there is no vocabulary in that place, it lacks a token that every text needs, or the tokenizer
            cannot pad.
    """
    path, limit = Path(name_or_path), BERT_MAX_LENGTH
    is_bare = not any((path / name).is_file() for name in TOKENIZER_FILES)
    if is_bare and (path / "vocab.txt").is_file():
        path = path / "vocab.txt"
    if path.suffix == ".txt":
        if not path.is_file():
            raise FileNotFoundError(f"There is no vocabulary at {path}: expected a text file with one token a line.")
        vocabulary = path.read_text(encoding="utf-8").splitlines()
        tokenizer = BertTokenizer(vocab=str(path), **kwargs)
    elif is_bare and (path / "vocab.json").is_file() and (path / "merges.txt").is_file():
        vocabulary, limit = json.loads((path / "vocab.json").read_text(encoding="utf-8")), CLIP_MAX_LENGTH
        tokenizer = CLIPTokenizer(vocab=str(path / "vocab.json"), merges=str(path / "merges.txt"), **kwargs)
    else:
        tokenizer = AutoTokenizer.from_pretrained(name_or_path, **kwargs)
        vocabulary = tokenizer.get_vocab()
    _check_vocabulary(tokenizer, vocabulary, name_or_path)
    if tokenizer.model_max_length >= NO_LIMIT:
        tokenizer.model_max_length = limit
    return tokenizer


def _check_vocabulary(tokenizer: PreTrainedTokenizerBase, vocabulary: Collection[str], source: Any) -> None:
    # The library answers a folder without a vocabulary with a tokenizer that knows its special tokens and no word.
    if len(vocabulary) <= len(tokenizer.all_special_tokens):
        raise ValueError(
            f"Found no words in {source}: expected tokenizer.json or vocab.txt there, got {len(vocabulary)} tokens."
        )
    roles = ("cls_token", "sep_token", "bos_token", "eos_token", "pad_token", "unk_token")
    needed = filter(None, (getattr(tokenizer, role) for role in roles))  # those that this kind of tokenizer has
    if missing := list(dict.fromkeys(token for token in needed if token not in vocabulary)):
        raise ValueError(
            f"The vocabulary of {source} ({len(vocabulary)} tokens) lacks {', '.join(missing)}, which every text needs: "
            f"is it the vocabulary of a {type(tokenizer).__name__.removesuffix('Tokenizer').upper()}?"
        )
    if tokenizer.pad_token is None:
        raise ValueError(
            f"The tokenizer of {source} has no padding token, without which texts of different lengths make no batch: "
            "name one of its tokens, pad_token=..."
        )


__all__ = ["load_tokenizer"]
