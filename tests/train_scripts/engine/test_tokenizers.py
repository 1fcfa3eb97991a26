# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A run goes on with the tokenizer that it began with, of whatever kind that is."""

import json

import pytest
from text_ends import TOKENIZERS, clip_tokenizer
from transformers import CLIPTokenizer

import clipbert.modeling_clipbert  # noqa: F401  a family, so that saved processors are found
from clipbert.processing import ClipBERTVideoProcessor, VideoTextProcessor
from clipbert.support.manifest import CheckpointError
from clipbert.train_scripts.engine.resume import check_tokenizer


def save(tokenizer, folder):
    processor = VideoTextProcessor(ClipBERTVideoProcessor(size=32), tokenizer)
    processor.save_pretrained(folder)
    return processor


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_the_same_one_is_known_again(tmp_path, kind):
    processor = save(TOKENIZERS[kind](), tmp_path)
    check_tokenizer(tmp_path, processor)
    check_tokenizer(tmp_path, VideoTextProcessor.from_pretrained(tmp_path))
    others = {"bpe": "wordpiece", "wordpiece": "unigram", "unigram": "unigram_with_start", "unigram_with_start": "bpe"}
    other = VideoTextProcessor(processor.video_processor, TOKENIZERS[others[kind]]())
    with pytest.raises(CheckpointError, match="another tokenizer: words, merges or special tokens differ"):
        check_tokenizer(tmp_path, other)


def test_other_merges_of_the_same_words_are_another_tokenizer(tmp_path):
    ours = clip_tokenizer()
    model = json.loads(ours.backend_tokenizer.to_str())["model"]
    merges = [tuple(pair) if isinstance(pair, list) else tuple(pair.split(" ")) for pair in model["merges"]]
    theirs = CLIPTokenizer(vocab=model["vocab"], merges=merges[::-1], model_max_length=77)
    assert ours.get_vocab() == theirs.get_vocab()
    save(theirs, tmp_path)
    with pytest.raises(CheckpointError, match="merges"):
        check_tokenizer(tmp_path, VideoTextProcessor(ClipBERTVideoProcessor(size=32), ours))
