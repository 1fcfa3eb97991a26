# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""`build_word_tokenizer`: whole words in lower case, whatever Unicode form they are written in; and files of word vectors."""

import unicodedata

import numpy as np
import pytest

from clipbert.processing import load_tokenizer
from clipbert.processing.word_tokenizer import build_word_tokenizer, words_of
from clipbert.processing.word_vectors import list_words, read_word_vectors


SENTENCES = ["A dog runs.", "the dog, STOPS", "Một con chó mở cửa"]
FILE = "the 1 2\n, 3 3\nThe 4 4\ndog 5 -6.5\n. . 7 7\n's 8 8\nrare 9 9\ndog name 1 1\n"


@pytest.fixture
def glove(tmp_path):
    path = tmp_path / "glove.txt"
    path.write_text(FILE, encoding="utf-8")
    return path


def test_saved_and_loaded_it_reads_words_as_before(tmp_path):
    tokenizer = build_word_tokenizer([*SENTENCES, "cat"])
    tokenizer.save_pretrained(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert len(loaded) == len(tokenizer) == 2 + 5 + 5 + 1 and loaded.pad_token_id == 0 and loaded.unk_token_id == 1
    rows = loaded(["the cat's dog -- runs!", "dog"], padding=True)
    assert rows["input_ids"] == [[5, 12, 1, 3, 4], [3, 0, 0, 0, 0]] and rows["attention_mask"][1] == [1, 0, 0, 0, 0]


def test_both_unicode_forms_are_the_same_words():
    tokenizer, sentence = build_word_tokenizer(SENTENCES), "MỘT con chó, mở cửa!"
    forms = [unicodedata.normalize(form, sentence) for form in ("NFC", "NFD")]
    assert len(set(forms)) == 2 and tokenizer(forms)["input_ids"] == [[7, 8, 9, 10, 11]] * 2
    assert words_of(forms[1]) == ["một", "con", "chó", "mở", "cửa"]
    assert words_of("वह दौड़ता है।") == unicodedata.normalize("NFC", "वह दौड़ता है").split()


@pytest.mark.parametrize("apostrophe", "'’")
def test_short_forms_are_cut_as_where_glove_was_trained(apostrophe):
    sentence = "Can't he see the man's T-shirt? They'll."
    expected = ["ca", "n't", "he", "see", "the", "man", "'s", "t", "shirt", "they", "'ll"]
    assert words_of(sentence.replace("'", apostrophe)) == expected


def test_sentences_without_words_are_refused():
    with pytest.raises(ValueError, match="there is nothing to make a vocabulary of"):
        build_word_tokenizer(["...", ""])


def test_words_are_those_of_training_and_the_most_frequent_ones_as_far_as_the_file_has_them(glove):
    def known(num_words):
        tokenizer = build_word_tokenizer(["A rare dog's"], glove=glove, num_words=num_words)
        return tokenizer.convert_ids_to_tokens(range(2, len(tokenizer)))

    assert known(0) == ["rare", "dog", "'s"]
    assert known(1) == known(None) == ["rare", "dog", "'s", "the"]  # neither points nor capitals, which nothing reads
    assert list_words(glove, num_words=3) == ["the", ",", "The"]


def test_vectors_in_half_precision(glove):
    vectors = read_word_vectors(glove, ["rare", "dog"])
    assert vectors.dtype == np.float16 and vectors.tolist() == [[9, 9], [5, -6.5]]
    glove.write_text("8 2\n" + FILE, encoding="utf-8")  # as word2vec and fastText begin
    assert read_word_vectors(glove, ["the"]).tolist() == [[1, 2]]


@pytest.mark.parametrize(
    "content, reason",
    [
        ("the 1 2\ndog 5", "Expected 2 finite numbers behind 'dog'"),
        ("the 1 2\ndog 5 nan\n", "finite"),
        ("the 1 2\ndog 5 x\n", "finite"),
        ("the 1 2\n", "no vectors of 1 words: dog"),
        ('{"the": 1}\n', "no file of word vectors"),
        ("", "no file of word vectors"),
    ],
)
def test_files_that_are_none(content, reason, glove):
    glove.write_text(content)
    with pytest.raises(ValueError, match=reason):
        read_word_vectors(glove, ["the", "dog"])
