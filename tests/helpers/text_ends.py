# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Tokenizers of the kinds that image-text models have, on a few words: BPE, WordPiece and SentencePiece's unigrams."""

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertTokenizer, CLIPTokenizer, PreTrainedTokenizerFast


WORDS = [
    "a",
    "an",
    "the",
    "dog",
    "cat",
    "runs",
    "jumps",
    "and",
    "then",
    "moves",
    "right",
    "left",
    "up",
    "down",
    "grows",
]


def clip_tokenizer(max_length: int = 77) -> CLIPTokenizer:
    """Byte-level BPE, whose end token is also its padding and its unknown word."""
    letters = [chr(code) for code in range(33, 127)]
    pieces = [*letters, *(f"{letter}</w>" for letter in letters)]
    merges = []
    for word in WORDS:  # from the left: h e -> he, he l -> hel, ...
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            if (pair := (parts[0], parts[1])) not in merges:
                merges.append(pair)
            parts = ["".join(pair), *parts[2:]]
            if parts[0] not in pieces:
                pieces.append(parts[0])
    vocabulary = {piece: number for number, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=max_length)


def wordpiece_tokenizer(max_length: int = 77) -> BertTokenizer:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    return BertTokenizer(vocab={word: number for number, word in enumerate(words)}, model_max_length=max_length)


def unigram_tokenizer(max_length: int = 64, start: bool = False) -> PreTrainedTokenizerFast:
    """As SigLIP (an end token, no start) or, with `start`, as XLM-R, which MetaCLIP 2 and AltCLIP read with."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("<s>", 0.0), ("▁", -5.0)]
    pieces += [(f"▁{word}", -2.0) for word in WORDS] + [(chr(code), -9.0) for code in range(97, 123)]
    backend = Tokenizer(models.Unigram(pieces, unk_id=2))
    backend.normalizer = normalizers.Sequence([normalizers.Lowercase()])
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    template = "<s> $A </s>" if start else "$A </s>"
    backend.post_processor = processors.TemplateProcessing(template, special_tokens=[("<s>", 3), ("</s>", 1)])
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"} | (
        {"bos_token": "<s>"} if start else {}
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=max_length, **special)


TOKENIZERS = {
    "bpe": clip_tokenizer,
    "wordpiece": wordpiece_tokenizer,
    "unigram": unigram_tokenizer,
    "unigram_with_start": lambda max_length=64: unigram_tokenizer(max_length, start=True),
}
