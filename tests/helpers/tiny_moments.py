# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A tiny model for moments with its processor, which reads English and Vietnamese words."""

from tiny_ci_mha import IMAGE_SIZE, tiny_frame_model, tiny_model
from transformers import BertTokenizer

from clipbert.processing import CIMHAVideoProcessor, MomentRetrievalProcessor


MOST_SEGMENTS = 16  # of tiny models
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "man", "opens", "the", "door", "mở", "cửa"]
VIETNAMESE = "mở cửa"


def tiny_processor(**options):
    tokenizer = BertTokenizer(vocab={word: number for number, word in enumerate(VOCABULARY)}, strip_accents=False)
    return MomentRetrievalProcessor(
        CIMHAVideoProcessor(**{"size": IMAGE_SIZE, "max_segments": MOST_SEGMENTS, **options}), tokenizer
    )


__all__ = ["MOST_SEGMENTS", "VIETNAMESE", "tiny_frame_model", "tiny_model", "tiny_processor"]
