# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Vocabularies of answers: order, size, coverage, files and their hashes."""

import doctest
import hashlib
import json
import logging
import subprocess
from collections import Counter

import pytest
from datasets import Dataset, DatasetDict, concatenate_datasets

from clipbert.datasets_scripts import find_loader, prepare
from clipbert.datasets_scripts.building import answer_vocabulary as answers
from clipbert.datasets_scripts.building.answer_vocabulary import CLIPBERT_SIZES, AnswerVocabulary


def rows_of(*given: str | None) -> Dataset:
    return Dataset.from_dict({"answer": list(given), "question": ["?"] * len(given)})


ROWS = rows_of("dog", "zebra", "cat", "dog", "ant", "cat", None, "dog", "émeu")


def test_frequent_answers_come_first_and_equals_by_their_letters():
    vocabulary = AnswerVocabulary.from_dataset(ROWS)
    assert vocabulary.answers == ("dog", "cat", "ant", "zebra", "émeu")
    assert vocabulary.label2id == {"dog": 0, "cat": 1, "ant": 2, "zebra": 3, "émeu": 4}
    assert vocabulary.id2label == {0: "dog", 1: "cat", 2: "ant", 3: "zebra", 4: "émeu"}
    assert len(vocabulary) == 5 and "ant" in vocabulary and "bee" not in vocabulary
    assert AnswerVocabulary.from_dataset(ROWS, size=3).answers == ("dog", "cat", "ant")
    assert AnswerVocabulary.from_dataset(ROWS, min_count=2).answers == ("dog", "cat")
    assert AnswerVocabulary.from_dataset(ROWS, size=1, min_count=2).answers == ("dog",)


def test_the_order_of_the_rows_does_not_matter(tmp_path):
    vocabulary = AnswerVocabulary.from_dataset(ROWS, size=4)
    for seed in range(5):
        shuffled = AnswerVocabulary.from_dataset(ROWS.shuffle(seed=seed), size=4)
        assert shuffled.sha256 == vocabulary.sha256 and shuffled == vocabulary
    assert AnswerVocabulary.from_dataset(ROWS.to_iterable_dataset(num_shards=3), size=4) == vocabulary
    assert AnswerVocabulary.from_dataset(ROWS, size=3).sha256 != vocabulary.sha256


def test_coverage_is_what_a_classifier_can_reach():
    vocabulary = AnswerVocabulary.from_dataset(ROWS, size=2)
    assert vocabulary.coverage(rows_of("dog", "bee", "cat", "ant")) == 0.5
    assert vocabulary.coverage(rows_of("dog", "dog").to_iterable_dataset()) == 1.0
    with pytest.raises(ValueError, match="Expected at least one question"):
        vocabulary.coverage(rows_of())


def test_a_file_that_has_been_changed_is_refused(tmp_path):
    vocabulary = AnswerVocabulary.from_dataset(ROWS)
    path = vocabulary.save(tmp_path / "new" / "train_ans2label.json")
    assert json.loads(path.read_text(encoding="utf-8")) == vocabulary.label2id  # as ClipBERT's files
    assert hashlib.sha256(path.read_bytes()).hexdigest() == vocabulary.sha256
    subprocess.run(["sha256sum", "--check", "--quiet", f"{path.name}.sha256"], cwd=path.parent, check=True)
    assert AnswerVocabulary.load(path) == vocabulary
    assert AnswerVocabulary.load(path, sha256=vocabulary.sha256.upper()) == vocabulary
    with pytest.raises(ValueError, match=f"its SHA-256 is {vocabulary.sha256}, expected says {'0' * 64}"):
        AnswerVocabulary.load(path, sha256="0" * 64)

    path.write_text(path.read_text(encoding="utf-8").replace("zebra", "horse"), encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"train_ans2label\.json has been changed: .* train_ans2label\.json\.sha256 says"
    ):
        AnswerVocabulary.load(path)
    smaller = AnswerVocabulary.from_dataset(ROWS, size=2)
    smaller.save(path)  # its hash is replaced, too
    assert AnswerVocabulary.load(path) == smaller


def test_files_of_others(tmp_path):
    path = tmp_path / "ans2label.json"
    path.write_text('{"cat": 1, "dog": 0}')
    assert AnswerVocabulary.load(path).answers == ("dog", "cat")
    path.write_text('["dog", "cat"]')
    assert AnswerVocabulary.load(path).answers == ("dog", "cat")
    for text, message in (
        ('{"cat": 1, "dog": 2}', "the labels have to be 0, 1, 2"),
        ('{"cat": 0, "dog": 0}', "the labels have to be 0, 1, 2"),
        ('{"cat": 0, "dog": "1"}', "the labels have to be 0, 1, 2"),
        ('{"cat": 0, "cat": 1}', "the key 'cat' stands twice"),
        ('["cat", "cat"]', "Expected every answer once, got 'cat' twice"),
        ('["cat", 3]', "Expected at least one answer, each a text, got 3"),
        ("{}", "Expected at least one answer"),
        ('"cat"', "got str 'cat'"),
        ("{", "expected a JSON object of answers"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=rf"ans2label\.json: .*{message}"):
            AnswerVocabulary.load(path)
    with pytest.raises(FileNotFoundError):
        AnswerVocabulary.load(tmp_path / "nowhere.json")


def test_what_is_no_training_split(caplog):
    with pytest.raises(ValueError, match="Expected one split, got several: train, test"):
        AnswerVocabulary.from_dataset(DatasetDict(train=ROWS, test=ROWS))
    with pytest.raises(ValueError, match="Expected a column 'label', got answer, question"):
        AnswerVocabulary.from_dataset(ROWS, column="label")
    with pytest.raises(ValueError, match="Expected an answer that occurs 9 times, got none among 5 answers"):
        AnswerVocabulary.from_dataset(ROWS, min_count=9)
    with pytest.raises(ValueError, match="Expected an answer that occurs 1 times, got none among 0 answers"):
        AnswerVocabulary.from_dataset(rows_of(None, None))
    with pytest.raises(ValueError, match="Expected `size` to be at least 1, got 0"):
        AnswerVocabulary.from_dataset(ROWS, size=0)
    with caplog.at_level(logging.WARNING):
        AnswerVocabulary.from_dataset(Dataset.from_dict({"answer": ["dog"]}, split="train"))
        assert not caplog.text
        AnswerVocabulary.from_dataset(Dataset.from_dict({"answer": ["dog"]}, split="test"))
    assert "made from the split 'test'" in caplog.text


def test_several_splits_together_as_vqa_has_it():
    both = concatenate_datasets([rows_of("yes", "no"), rows_of("yes", "yes", "red")])
    assert AnswerVocabulary.from_dataset(both, min_count=3).answers == ("yes",)


def test_a_model_takes_the_labels():
    from clipbert.modeling_clipbert import ClipBERTConfig

    vocabulary = AnswerVocabulary.from_dataset(ROWS)
    config = ClipBERTConfig(id2label=vocabulary.id2label, label2id=vocabulary.label2id)
    assert config.num_labels == 5 and config.id2label[1] == "cat" and config.label2id["zebra"] == 3


def load_real(data_dir, tmp_path, name, config, split, **fields) -> Dataset:
    builder = find_loader(name)(
        cache_dir=str(tmp_path / "cache"), config_name=config, data_dir=data_dir / "annotations" / name, **fields
    )
    prepare(builder)
    return builder.as_dataset(split=split)


@pytest.mark.slow
def test_the_vocabulary_of_frameqa(data_dir, tmp_path):
    """HQGA published the 1,540 answers of the training questions, most frequent first; ties are in another order."""
    published = AnswerVocabulary.load(data_dir / "annotations" / "tgif_qa" / "frameqa_ans_word_hqga.json")
    as_written = load_real(data_dir, tmp_path, "tgif_qa", "frameqa_hqga", "train", repair_words=False)
    vocabulary = AnswerVocabulary.from_dataset(as_written, size=CLIPBERT_SIZES["tgif_qa"])
    assert len(vocabulary) == len(published) == CLIPBERT_SIZES["tgif_qa"] == 1540
    assert set(vocabulary.answers) == set(published.answers)
    counts = Counter(as_written["answer"])
    assert [counts[answer] for answer in vocabulary.answers] == [counts[answer] for answer in published.answers]
    repaired = load_real(data_dir, tmp_path, "tgif_qa", "frameqa_hqga", "train")
    repaired = AnswerVocabulary.from_dataset(repaired, size=1540)
    assert set(repaired.answers) ^ set(published.answers) == {"frameqatile", "reptile"}
    test = load_real(data_dir, tmp_path, "tgif_qa", "frameqa", "test")
    assert repaired.coverage(test) == pytest.approx(0.982, abs=5e-4)


@pytest.mark.slow
def test_the_ceiling_of_a_classifier_on_msrvtt_qa(data_dir, tmp_path):
    published = AnswerVocabulary.load(data_dir / "annotations" / "msrvtt_qa" / "ans_word_4000.json")
    test = load_real(data_dir, tmp_path, "msrvtt_qa", "open_ended", "test")
    for size, share in ((1000, 0.902), (1500, 0.930), (4000, 0.967)):
        assert AnswerVocabulary(published.answers[:size]).coverage(test) == pytest.approx(share, abs=5e-4)


def test_a_hand_written_list(data_dir):
    vocabulary = AnswerVocabulary.load(data_dir / "annotations" / "tiny_clips" / "qa_open_ans2label.json")
    assert vocabulary.label2id["airplane"] == 0 and vocabulary.id2label[len(vocabulary) - 1] in vocabulary


def test_examples_run_as_printed():
    results = doctest.testmod(answers)
    assert results.attempted and not results.failed
