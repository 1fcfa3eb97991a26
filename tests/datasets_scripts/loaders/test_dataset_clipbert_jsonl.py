# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The annotation files of ClipBERT's authors."""

import json
import os
from pathlib import Path

import pytest

from clipbert.datasets_scripts import find_loader, load_benchmark, prepare
from clipbert.datasets_scripts.building.records import AnnotationError
from clipbert.datasets_scripts.loaders.clipbert_jsonl import FILES, ClipBERTJsonl


RETRIEVAL = {"caption": "a dog runs ", "clip_name": "video2960", "sen_id": 0}
MULTIPLE_CHOICE = {"qid": 7, "clip_name": "video2960", "options": ["a dog", "a cat", "a car"], "answer": 2}
ACTION = {"gif_name": "tumblr_a_250", "question": "What does it do 3 times ?", "options": ["run", "lick"], "answer": 1}
FRAMEQA = {"gif_name": "tumblr_a_250", "question": "what is it ?", "answer": "cat", "answer_type": "object"}
MSRVTT_QA = {"video_id": "video2960", "question": "what runs?", "answer": "dog", "answer_type": "what"}
VQA = {
    "question": "Is it red?",
    "image_id": 458752,
    "question_id": 458752000,
    "labels": {"no": 0.3, "yes": 1, "maybe": 0.6},
    "answer_type": "yes/no",
}


@pytest.fixture
def folder(tmp_path) -> Path:
    path = tmp_path / "txt_db"
    path.mkdir()
    return path


@pytest.fixture
def tables(tmp_path):
    """All rows of a task, whether its videos are there or not."""

    def tables(config, data_dir, **fields):
        cache_dir = str(tmp_path / "cache")
        builder = find_loader("clipbert_jsonl")(cache_dir=cache_dir, config_name=config, data_dir=data_dir, **fields)
        prepare(builder)
        return builder.as_dataset()

    return tables


def write_lines(path: Path, *lines: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_the_names_of_the_files():
    """Those that ClipBERT's configs and readme name."""
    assert {config.name for config in ClipBERTJsonl.BUILDER_CONFIGS} == set(FILES)
    trained_on = {name: files["train"] for name, files in FILES.items() if "train" in files}
    assert trained_on == {
        "msrvtt_retrieval": ("msrvtt_retrieval/train.jsonl",),
        "didemo_retrieval": ("didemo_retrieval/train.jsonl",),
        "anet_retrieval": ("anet_retrieval/train.jsonl",),
        "msrvtt_qa": ("msrvtt_qa/train.jsonl",),
        "tgif_qa_action": ("tgif_qa/action_train.jsonl",),
        "tgif_qa_transition": ("tgif_qa/transition_train.jsonl",),
        "tgif_qa_frameqa": ("tgif_qa/frameqa_train.jsonl",),
        "vqa": ("vqa/vqa_k_trainval.jsonl", "vqa/vg_k_trainval.jsonl"),
        "vqa_without_vg": ("vqa/vqa_k_trainval.jsonl",),
        "pretrain_coco": ("pretrain/coco_train_captions.jsonl",),
        "pretrain_vg": ("pretrain/vg_train_captions.jsonl",),
    }
    selected_on = {name: files["validation"] for name, files in FILES.items() if "validation" in files}
    assert selected_on["msrvtt_retrieval"] == ("msrvtt_retrieval/val.jsonl",)
    assert selected_on["anet_retrieval"] == ("anet_retrieval/dev.jsonl",)
    assert selected_on["tgif_qa_frameqa"] == ("tgif_qa/frameqa_val.jsonl",)
    assert selected_on["vqa"] == selected_on["vqa_without_vg"] == ("vqa/vqa_k_test.jsonl",)
    assert selected_on["pretrain_vg"] == ("pretrain/vg_val_captions.jsonl",)
    assert FILES["msrvtt_retrieval_mc"] == {"test": ("msrvtt_retrieval_mc/msrvtt_retrieval_mc_test.jsonl",)}


@pytest.mark.parametrize("config", ["msrvtt_retrieval", "didemo_retrieval", "anet_retrieval"])
def test_captions_are_numbered_by_line(folder, tables, config):
    for names in FILES[config].values():
        write_lines(folder / names[0], RETRIEVAL, {**RETRIEVAL, "caption": "a red dog", "sen_id": 1})
    (folder / config / "video2960.mkv").touch()
    (folder / config / "video2960.jpg").touch()  # a picture of it is not the video
    loaded = tables(config, folder)
    assert list(loaded) == ["train", "validation", "test"]
    for rows in loaded.values():
        assert rows.to_list() == [
            {
                "video_id": "video2960",
                "video": str(folder / config / "video2960.mkv"),
                "caption": caption,
                "caption_id": str(number),
            }
            for number, caption in enumerate(["a dog runs", "a red dog"])
        ]


def test_the_folder_of_one_task_will_do(folder, tables):
    write_lines(folder / "dev.jsonl", RETRIEVAL)
    assert tables("anet_retrieval", folder)["validation"]["caption"][:] == ["a dog runs"]


def test_choices_among_captions(folder, tables):
    write_lines(folder / "msrvtt_retrieval_mc_test.jsonl", MULTIPLE_CHOICE)
    row = tables("msrvtt_retrieval_mc", folder)["test"][0]
    question = row.pop("question")
    assert question.strip()
    assert row == {
        "video_id": "video2960",
        "video": str(folder / "video2960.mp4"),
        "answer": "a car",
        "options": ["a dog", "a cat", "a car"],
        "answer_index": 2,
        "answer_type": "caption",
        "question_id": "7",
    }


@pytest.mark.parametrize(
    ("config", "record", "expected"),
    [
        ("tgif_qa_action", ACTION, {"answer": "lick", "answer_index": 1, "answer_type": "action"}),
        ("tgif_qa_transition", ACTION, {"answer": "lick", "options": ["run", "lick"], "answer_type": "transition"}),
        ("tgif_qa_frameqa", FRAMEQA, {"answer": "cat", "options": [], "answer_index": None, "answer_type": "object"}),
        ("msrvtt_qa", MSRVTT_QA, {"answer": "dog", "options": [], "answer_type": "what", "video_id": "video2960"}),
    ],
)
def test_questions_on_videos(folder, tables, config, record, expected):
    write_lines(folder / FILES[config]["train"][0], record, record)
    rows = tables(config, folder)["train"].to_list()
    assert [row["question_id"] for row in rows] == ["0", "1"]
    assert {name: rows[0][name] for name in expected} == expected
    assert rows[0]["question"] == record["question"] and rows[0]["video"].endswith(f"{rows[0]['video_id']}.mp4")


def test_questions_on_images(folder, tables):
    write_lines(folder / "vqa" / "vqa_k_trainval.jsonl", VQA)
    write_lines(folder / "vqa" / "vg_k_trainval.jsonl", {**VQA, "image_id": "COCO_val2014_000000000042"})
    write_lines(
        folder / "vqa" / "vqa_k_test.jsonl", {name: VQA[name] for name in ("question", "image_id", "question_id")}
    )
    for name in ("COCO_train2014_000000458752.jpg", "COCO_val2014_000000000042.jpg"):
        (folder / name).touch()
    loaded = tables("vqa", folder)
    row = loaded["train"][0]
    scores = dict(zip(row.pop("soft_answers"), row.pop("soft_scores"), strict=True))
    assert scores == pytest.approx(VQA["labels"])
    assert row == {
        "image_id": "458752",
        "image": str(folder / "COCO_train2014_000000458752.jpg"),
        "question": "Is it red?",
        "answer": "yes",
        "answer_type": "yes/no",
        "question_id": "458752000",
    }
    assert loaded["train"][1]["question_id"] == "vg-458752000"
    assert loaded["train"][1]["image"] == str(folder / "COCO_val2014_000000000042.jpg")
    unknown = loaded["validation"][0]
    assert unknown["answer"] is None and unknown["soft_answers"] == [] and unknown["answer_type"] == ""
    assert len(tables("vqa_without_vg", folder)["train"]) == 1


def test_captions_of_images(folder, tables):
    write_lines(folder / "pretrain" / "coco_train_captions.jsonl", {"coco_id": 9, "caption": "A photo."})
    write_lines(folder / "pretrain" / "vg_val_captions.jsonl", {"vg_id": 4, "caption": "a couch"})
    (folder / "VG_100K_2").mkdir()
    (folder / "VG_100K_2" / "4.jpg").touch()
    coco = tables("pretrain_coco", folder)["train"][0]
    expected = str(folder / "train2014/COCO_train2014_000000000009.jpg")
    assert coco == {"image_id": "9", "image": expected, "caption": "A photo.", "caption_id": "0"}
    genome = tables("pretrain_vg", folder)["validation"][0]
    expected = str(folder / "VG_100K_2/4.jpg")
    assert genome == {"image_id": "4", "image": expected, "caption": "a couch", "caption_id": "0"}


def test_streamed_rows_are_the_same(folder, tmp_path):
    write_lines(folder / "train.jsonl", MSRVTT_QA, MSRVTT_QA)
    (folder / "video2960.mp4").touch()
    arguments = {"split": "train", "data_dir": folder, "cache_dir": str(tmp_path / "cache")}
    streamed = load_benchmark("clipbert_jsonl", "msrvtt_qa", streaming=True, **arguments)
    assert list(streamed) == list(load_benchmark("clipbert_jsonl", "msrvtt_qa", **arguments))


def test_files_that_are_not_there_are_named(folder, tmp_path):
    arguments = {"data_dir": folder, "cache_dir": str(tmp_path / "cache")}
    with pytest.raises(
        ValueError, match="(?s)no config was named; choose one of\n  msrvtt_retrieval: .*pretrain_vg: "
    ):
        load_benchmark("clipbert_jsonl", **arguments)
    with pytest.raises(FileNotFoundError, match="train: msrvtt_qa/train.jsonl, or train.jsonl"):
        load_benchmark("clipbert_jsonl", "msrvtt_qa", **arguments)
    write_lines(folder / "vqa" / "vqa_k_trainval.jsonl", VQA)
    with pytest.raises(FileNotFoundError, match="train: vqa/vqa_k_trainval.jsonl with vqa/vg_k_trainval.jsonl"):
        load_benchmark("clipbert_jsonl", "vqa", **arguments)
    write_lines(folder / "val.jsonl", MSRVTT_QA)
    with pytest.raises(FileNotFoundError, match="No file of the split 'train' of .*: expected msrvtt_qa/train.jsonl"):
        load_benchmark("clipbert_jsonl", "msrvtt_qa", split="train", **arguments)


@pytest.mark.parametrize(
    ("config", "line", "message"),
    [
        ("msrvtt_retrieval", {"clip_name": "video1"}, "expected a column 'caption', got 'clip_name'"),
        ("msrvtt_retrieval", {"caption": "a dog"}, "expected a column of clip_name, video_id, .*, got caption"),
        ("msrvtt_retrieval", ["a dog"], "expected a JSON object"),
        ("tgif_qa_action", {**ACTION, "answer": 2}, "expected 'answer' to be a position from 0 to 1, got 2"),
        ("tgif_qa_action", {**ACTION, "answer": "lick"}, "expected 'answer' to be a non-empty int, got 'lick'"),
        (
            "tgif_qa_action",
            {**ACTION, "options": ["lick", ""], "answer": 0},
            "expected 'options' to be at least two texts",
        ),
        (
            "tgif_qa_frameqa",
            {**FRAMEQA, "answer_type": None},
            "expected 'answer_type' to be a non-empty str, got None",
        ),
        ("vqa_without_vg", {**VQA, "labels": ["yes"]}, "expected 'labels' to be answers with their scores"),
        ("vqa_without_vg", {**VQA, "labels": {"yes": 2}}, r"expected one score in \(0, 1\]"),
        ("vqa_without_vg", VQA, "expected every 'question_id' once, got '458752000' as in .*line 1"),
    ],
)
def test_malformed_lines_are_named(folder, tables, config, line, message):
    good = {"msrvtt_retrieval": RETRIEVAL, "tgif_qa_action": ACTION, "tgif_qa_frameqa": FRAMEQA, "vqa_without_vg": VQA}
    name = FILES[config]["train"][0]
    write_lines(folder / name, good[config], line)
    with pytest.raises(AnnotationError, match=rf"{Path(name).name}, line 2: {message}"):
        tables(config, folder)


def test_hand_written_files_in_this_layout(data_dir, folder, tmp_path):
    """30 real clips: 90 captions, 76 open and 30 multiple-choice questions; four of the clips go by another name."""
    tiny = data_dir / "annotations" / "tiny_clips"
    for name, config, count in (
        ("captions.jsonl", "msrvtt_retrieval", 90),
        ("qa_open.jsonl", "msrvtt_qa", 76),
        ("qa_multichoice.jsonl", "tgif_qa_action", 30),
    ):
        target = folder / FILES[config]["train"][0]
        target.parent.mkdir(exist_ok=True)
        target.write_bytes((tiny / name).read_bytes())
        arguments = {"data_dir": folder, "video_dir": data_dir / "videos", "cache_dir": str(tmp_path / "cache")}
        found = load_benchmark("clipbert_jsonl", config, split="train", on_missing="skip", **arguments)
        assert found.info.splits["train"].num_examples == count
        assert len(set(found["video_id"])) == 26 and all(os.path.isfile(path) for path in set(found["video"]))
