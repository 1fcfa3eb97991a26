# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Texts that lose something on their way into a model are reported: how many, and which first."""

import json

import pytest
import torch
from text_ends import TOKENIZERS
from tiny_runs import one_thread, tiny_run  # noqa: F401

from clipbert.datasets_scripts.synthetic import generate_synthetic
from clipbert.processing import (
    ClipBERTVideoProcessor,
    MugSTANProcessor,
    MugSTANVideoProcessor,
    VideoTextProcessor,
    load_tokenizer,
)
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.retrieval import RetrievalTask
from clipbert.train_scripts.tasks.scoring import build_text_blocks
from clipbert.train_scripts.tasks.texts import describe_losses, report_losses
from clipbert.train_scripts.video_qa import VideoQATask


WORDS = ["mot", "con", "cho", "a", "dog", "runs", "strasse", "it", "s", "'", ",", "!", "12", "##5"]


@pytest.fixture
def processor(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    return VideoTextProcessor(ClipBERTVideoProcessor(size=32), load_tokenizer(tmp_path / "vocab.txt"), max_length=7)


def test_whole_texts_are_not_spoken_of(processor):
    assert describe_losses(processor, ["A dog runs!", "  a   dog", "it's 125", "dog, dog"]) == ""
    assert describe_losses(processor, []) == ""
    assert describe_losses(processor.video_processor, ["một"]) == ""  # it reads no words


def test_each_loss_is_counted_with_its_first_example(processor):
    texts = ["a dog", "một con chó", "chó", "chó", "a dog runs, a dog runs", "a giraffe", "a \x1b[31mdog"]
    cut, unknown, changed = describe_losses(processor, texts).split("; ")
    assert cut == (
        "1 of 6 texts are longer than 7 tokens and lose their end (data.max_text_length), first 'a dog runs, a dog runs'"
    )
    assert unknown == "2 of 6 texts have words that the tokenizer does not know, first 'a giraffe'"
    assert (
        changed == "2 of 6 texts lose letters or accents to the tokenizer, first 'một con chó', read as 'mot con cho'"
    )
    assert "\x1b" not in describe_losses(processor, texts[-1:])


def test_a_split_has_one_line(processor, caplog):
    report_losses("train", ["a dog"], processor)
    report_losses("test", ["chó", "a giraffe"], processor)
    (record,) = caplog.records
    assert record.message.startswith("test: 1 of 2 texts have words") and record.message.endswith("read as 'cho'.")


@pytest.mark.parametrize(("task", "config"), [(RetrievalTask, "retrieval"), (VideoQATask, "frameqa")])
def test_a_run_begins_with_what_it_loses(task, config, tmp_path, caplog):
    data = generate_synthetic(tmp_path / "data", progress=False, num_train=4, num_validation=2, num_test=2)
    name, column = ("captions", "caption") if config == "retrieval" else ("questions", "question")
    lines = [json.loads(line) for line in (data / "train" / f"{name}.jsonl").read_text().splitlines()]
    (data / "train" / f"{name}.jsonl").write_text(
        "".join(json.dumps(line | {column: f"{line[column]} é"}) + "\n" for line in lines)
    )
    main(task(), tiny_run("synthetic", config, data, tmp_path / "run", "data.max_text_length=6"))
    told = [record.message for record in caplog.records if "lose their end" in record.message]
    assert sorted(message.partition(":")[0] for message in told) == ["test", "train"]
    (of_training,) = [message for message in told if message.startswith("train:")]
    assert "lose letters or accents" in of_training


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_tokenizers_of_all_kinds(kind):
    """The end token of CLIP's stands for unknown words, too, and every text has one."""
    video_processor = MugSTANVideoProcessor(size=32)
    processor = MugSTANProcessor(video_processor, TOKENIZERS[kind](), max_length=8)
    assert describe_losses(processor, ["a dog runs", "the cat jumps"]) == ""
    assert "1 of 2 texts are longer than 8 tokens" in describe_losses(
        processor, ["a dog", "the dog runs and then the dog jumps up"]
    )
    unknown = describe_losses(processor, ["a dog", "a ξ"])
    assert ("1 of 2 texts have words that the tokenizer does not know" in unknown) == (kind != "bpe")


def test_blocks_of_texts_keep_a_fixed_length():
    texts = ["a dog", "the cat runs and then jumps", "a cat runs"]
    for padding, lengths in (("longest", [7, 4]), ("max_length", [12, 12])):
        processor = MugSTANProcessor(MugSTANVideoProcessor(size=32), TOKENIZERS["unigram"](12), padding=padding)
        blocks = build_text_blocks(texts, processor, 1, torch.device("cpu"))
        assert [block.numbers[0] for block in blocks] == [1, 2, 0]
        assert [block.input_ids.shape[1] for block in blocks][:2] == lengths
        assert [int(block.attention_mask.sum()) for block in blocks] == [7, 4, 3]
