# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Questions on videos: MSRVTT-QA, MSVD-QA and TGIF-QA in the layouts of their authors."""

import logging
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from small_files import touch, write_json

from clipbert.datasets_scripts import find_loader, load_benchmark, prepare
from clipbert.datasets_scripts.building.base import VideoFacts
from clipbert.datasets_scripts.building.records import AnnotationError


@pytest.fixture(scope="module")
def real_tables(data_dir, tmp_path_factory):
    """The same for the real files, which no test changes: one table serves them all."""
    cache_dir = tmp_path_factory.mktemp("cache")

    @cache
    def real_tables(name, config):
        builder = find_loader(name)(
            cache_dir=str(cache_dir), config_name=config, data_dir=data_dir / "annotations" / name
        )
        prepare(builder)
        return builder.as_dataset()

    return real_tables


@pytest.mark.parametrize(
    ("name", "config", "counts"),
    [
        pytest.param("msrvtt_qa", None, {"validation": 12278, "test": 72821}, marks=pytest.mark.slow),
        ("tgif_qa", "action", {"train": 20471, "test": 2274}),
        ("tgif_qa", "transition", {"test": 6232}),
        ("tgif_qa", "count", {"train": 26839, "test": 3554}),
        ("tgif_qa", "frameqa", {"test": 13691}),
        ("tgif_qa", "frameqa_hqga", {"train": 39392}),
    ],
)
def test_counts_of_the_real_files(real_tables, name, config, counts):
    loaded = real_tables(name, config)
    assert {split: len(rows) for split, rows in loaded.items()} == counts


# --------------------------------------------------------------------------------------------------------------------
# MSRVTT-QA
# --------------------------------------------------------------------------------------------------------------------

QUESTIONS = [
    {"id": 170859, "video_id": 7010, "category_id": 10, "question": "what is the cook doing?", "answer": "stir"},
    {"id": 170860, "video_id": 7010, "category_id": 10, "question": "Who talks?", "answer": "man"},
    {"id": 170861, "video_id": 7011, "category_id": 3, "question": "is it late?", "answer": "yes"},
]


def test_both_layouts_of_msrvtt_qa_differ_in_the_question_mark_alone(folder, tables, tmp_path):
    write_json(folder / "test_qa.json", QUESTIONS)
    touch(folder, "clips/video7010.mp4", "video7011.webm")
    loaded = load_benchmark("msrvtt_qa", split="test", data_dir=folder, cache_dir=str(tmp_path / "cache"))
    assert loaded[0] == {
        "video_id": "video7010",
        "video": str(folder / "clips/video7010.mp4"),
        "question": "what is the cook doing?",
        "answer": "stir",
        "options": [],
        "answer_index": None,
        "answer_type": "what",
        "question_id": "170859",
    }
    assert loaded["answer_type"][:] == ["what", "who", "other"]
    assert loaded[2]["video"] == str(folder / "video7011.webm")

    lines = [f"{q['video_id']},{q['question'].rstrip('?')},{q['answer']},{q['id']},10" for q in QUESTIONS]
    (folder / "test_qa.json").unlink()
    (folder / "test.csv").write_text("\n".join(["video,question,answer,qid,type", *lines]))
    without_mark = [{**row, "question": row["question"].rstrip("?")} for row in loaded]
    assert tables("msrvtt_qa", None, folder)["test"].to_list() == without_mark


def test_streamed_rows_are_the_same(folder, tmp_path):
    write_json(folder / "val_qa.json", QUESTIONS)
    touch(folder, "video7010.mp4", "video7011.mp4")
    arguments = {"split": "validation", "data_dir": folder, "cache_dir": str(tmp_path / "cache")}
    assert list(load_benchmark("msrvtt_qa", streaming=True, **arguments)) == list(
        load_benchmark("msrvtt_qa", **arguments)
    )


@pytest.mark.slow
def test_the_kinds_of_real_questions(real_tables):
    loaded = real_tables("msrvtt_qa", None)
    kinds = {"what": 49869, "who": 20385, "how": 1640, "when": 677, "where": 250}
    assert Counter(loaded["test"]["answer_type"]) == kinds
    assert set(loaded["validation"]["answer_type"]) == set(kinds)
    assert {split: len(set(rows["video_id"])) for split, rows in loaded.items()} == {"validation": 497, "test": 2990}


def test_the_original_layout_of_real_questions(data_dir, real_tables, folder, tables):
    sample = data_dir / "annotations" / "msrvtt_qa" / "sample_test_qa.json"
    (folder / "test_qa.json").write_bytes(sample.read_bytes())
    known = {row["question_id"]: row for row in real_tables("msrvtt_qa", None)["test"].remove_columns("video")}
    rows = tables("msrvtt_qa", None, folder)["test"].remove_columns("video").to_list()
    assert len(rows) == 221
    for row in rows:
        assert {**row, "question": row["question"].rstrip("?")} == known[row["question_id"]]


def test_a_split_that_is_not_there_names_its_file(folder, tmp_path):
    write_json(folder / "test_qa.json", QUESTIONS)
    with pytest.raises(
        FileNotFoundError, match="No file of the split 'train' of .*: expected train_qa.json, or train.csv"
    ):
        load_benchmark("msrvtt_qa", split="train", data_dir=folder, cache_dir=str(tmp_path / "cache"))
    with pytest.raises(FileNotFoundError, match="(?s)MSVDQA.*train: train_qa.json with youtube_mapping.txt"):
        load_benchmark("msvd_qa", data_dir=folder, cache_dir=str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": 170860}, r"test_qa\.json, \[2\]: expected every 'question_id' once, got '170860' as in .*\[1\]"),
        ({"video_id": "seven"}, r"test_qa\.json, \[2\]: expected 'video_id' to be a whole number from 0, got 'seven'"),
        ({"answer": ""}, r"\[2\]: expected 'answer' to be a non-empty str, got ''"),
        ({"question": None}, r"\[2\]: expected 'question' to be a non-empty str, got None"),
    ],
)
def test_malformed_questions_are_named(folder, tables, change, message):
    write_json(folder / "test_qa.json", [*QUESTIONS[:2], {**QUESTIONS[2], **change}])
    with pytest.raises(AnnotationError, match=message):
        tables("msrvtt_qa", None, folder)


def test_malformed_files_are_named(folder, tables):
    (folder / "test_qa.json").write_text("[{]")
    with pytest.raises(AnnotationError, match=r"test_qa\.json: expected a JSON document"):
        tables("msrvtt_qa", None, folder)
    write_json(folder / "test_qa.json", [{name: QUESTIONS[0][name] for name in ("id", "video_id", "question")}])
    with pytest.raises(AnnotationError, match=r"\[0\]: expected a column 'answer', got 'id', 'video_id', 'question'"):
        tables("msrvtt_qa", None, folder)
    (folder / "test_qa.json").unlink()
    (folder / "test.csv").write_text("video,question,answer,qid,type\n7010,what is it,dog,1,2\n7010,what is it,3,4\n")
    with pytest.raises(AnnotationError, match=r"test\.csv, line 3: expected the 5 columns"):
        tables("msrvtt_qa", None, folder)


# --------------------------------------------------------------------------------------------------------------------
# MSVD-QA
# --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def msvd(folder) -> Path:
    for name, number in (("train", 1), ("val", 1201), ("test", 1301)):
        question = {"answer": "dog", "id": number, "question": "what runs?", "video_id": number}
        write_json(folder / f"{name}_qa.json", [question])
    (folder / "youtube_mapping.txt").write_text("-4w_suPCj_5_15 vid1\nabc_0_7 vid1201\n-4w_suPCj_20_21 vid1301\n")
    return folder


def test_msvd_names_videos_as_the_retrieval_task_does(msvd, tables):
    touch(msvd, "YouTubeClips/abc_0_7.avi")
    loaded = tables("msvd_qa", None, msvd)
    assert {split: rows["video_id"][:] for split, rows in loaded.items()} == {
        "train": ["-4w_suPCj_5_15"],
        "validation": ["abc_0_7"],
        "test": ["-4w_suPCj_20_21"],
    }
    assert loaded["validation"][0] == {
        "video_id": "abc_0_7",
        "video": str(msvd / "YouTubeClips/abc_0_7.avi"),
        "question": "what runs?",
        "answer": "dog",
        "options": [],
        "answer_index": None,
        "answer_type": "what",
        "question_id": "1201",
    }
    assert loaded["test"][0]["video"] == str(msvd / "-4w_suPCj_20_21.avi")


def test_msvd_knows_recordings_and_durations(msvd, tmp_path):
    builder = find_loader("msvd_qa")(cache_dir=str(tmp_path / "cache"), data_dir=msvd)
    assert builder.video_facts() == {
        "-4w_suPCj_5_15": VideoFacts(duration_s=10.0, recording="-4w_suPCj"),
        "abc_0_7": VideoFacts(duration_s=7.0, recording="abc"),
        "-4w_suPCj_20_21": VideoFacts(duration_s=1.0, recording="-4w_suPCj"),
    }


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (
            "abc_0_7 vid2\n",
            r"train_qa\.json, \[0\]: expected a video of youtube_mapping.txt, got 1, and it has no line",
        ),
        (
            "abc_0_7 vid1\nabc_8_9 vid1\n",
            r"youtube_mapping\.txt, line 2: expected every video once, got vid1 as in line 1",
        ),
        (
            "abc_0_7 1\n",
            r"youtube_mapping\.txt, line 1: expected a clip and its name such as 'vid12', got 'abc_0_7 1'",
        ),
    ],
)
def test_msvd_mappings_that_do_not_fit(msvd, tables, mapping, message):
    (msvd / "youtube_mapping.txt").write_text(mapping)
    with pytest.raises(AnnotationError, match=message):
        tables("msvd_qa", None, msvd)


def test_another_mapping_is_another_table(msvd, tables):
    assert tables("msvd_qa", None, msvd)["train"]["video_id"][:] == ["-4w_suPCj_5_15"]
    mapping = msvd / "youtube_mapping.txt"
    mapping.write_text(mapping.read_text().replace("-4w_suPCj_5_15", "xyz_5_15"))
    assert tables("msvd_qa", None, msvd)["train"]["video_id"][:] == ["xyz_5_15"]


# --------------------------------------------------------------------------------------------------------------------
# TGIF-QA
# --------------------------------------------------------------------------------------------------------------------

CHOICE_HEADER = ["gif_name", "question", "a1", "a2", "a3", "a4", "a5", "answer", "vid_id", "key"]
FRAMEQA_HEADER = ["gif_name", "question", "answer", "type", "vid_id", "key", "description"]
COUNT_HEADER = ["gif_name", "question", "answer", "vid_id", "key"]


def write_table(path: Path, *rows: list) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join("\t".join(map(str, row)) + "\r\n" for row in rows).encode())


def choice(name: str = "tumblr_a_250", answer=4, key: str = "ACTION4") -> list:
    return [name, 'What does the "cat" do 3 times ?', "run", "fall over", "talk", "jump", "lick", answer, key, 26]


@pytest.mark.parametrize("config", ["action", "transition"])
def test_a_choice_of_five(folder, tables, config):
    write_table(folder / f"Train_{config}_question.csv", CHOICE_HEADER, choice(), choice(answer=0, key="ACTION5"))
    touch(folder, "gifs/tumblr_a_250.gif")
    rows = tables("tgif_qa", config, folder)["train"].to_list()
    assert rows[0] == {
        "video_id": "tumblr_a_250",
        "video": str(folder / "gifs/tumblr_a_250.gif"),
        "question": 'What does the "cat" do 3 times ?',
        "answer": "lick",
        "options": ["run", "fall over", "talk", "jump", "lick"],
        "answer_index": 4,
        "answer_type": config,
        "question_id": "ACTION4",
    }
    assert rows[1]["answer"] == "run" and rows[1]["answer_index"] == 0


def test_counts_stay_text(folder, tables):
    lines = [
        [f"gif{index}", "How many times ?", number, f"COUNT{index}", index] for index, number in enumerate((0, 10))
    ]
    write_table(folder / "dataset" / "Test_count_question.csv", COUNT_HEADER, *lines)
    rows = tables("tgif_qa", "count", folder)["test"]
    assert rows["answer"][:] == ["0", "10"] and rows["options"][:] == [[], []]
    assert set(rows["answer_type"]) == {"count"}


def test_frameqa_has_four_kinds_and_its_words_are_repaired(folder, tables, caplog):
    lines = [
        ["gif0", "what burns in the fiFRAMEQAlace ?", "wood", 0, "FRAMEQA1", 1, "wood burns"],
        ["gif1", "how many FRAMEQAorters are there ?", "two", 1, "FRAMEQA2", 1, "x"],
        ["gif2", "what is green ?", "FRAMEQAtile", 2, "FRAMEQA3", 1, "x"],
        ["gif3", "where is the report ?", "room", 3, "FRAMEQA4", 1, "x"],
    ]
    write_table(folder / "Test_frameqa_question.csv", FRAMEQA_HEADER, *lines)
    with caplog.at_level(logging.WARNING):
        rows = tables("tgif_qa", "frameqa", folder)["test"]
    assert rows["question"][:2] == ["what burns in the fireplace ?", "how many reporters are there ?"]
    assert rows["answer"][:] == ["wood", "two", "reptile", "room"]
    assert rows["answer_type"][:] == ["object", "number", "color", "location"]
    assert rows["question_id"][:] == ["FRAMEQA1", "FRAMEQA2", "FRAMEQA3", "FRAMEQA4"]  # ids are no words
    assert 'put "rep" back into 3 records: FRAMEQAorters, FRAMEQAtile, fiFRAMEQAlace' in caplog.text

    as_written = tables("tgif_qa", "frameqa", folder, repair_words=False)["test"]
    assert as_written["answer"][2] == "FRAMEQAtile" and as_written["question"][1] == lines[1][1]


def test_hqga_names_gifs_by_number(folder, tables):
    header = "video,width,height,question,answer,qid\n"
    (folder / "frameqa_train_hqga.csv").write_text(header + "49923,477,280,what is a pframeqaare,brown,FRAMEQA39922\n")
    (folder / "frameqa").mkdir()
    (folder / "frameqa" / "val.csv").write_text(header + "7,477,280,what is it,dog,FRAMEQA1\n")
    loaded = tables("tgif_qa", "frameqa_hqga", folder)
    assert loaded["validation"]["video_id"][:] == ["7"]
    assert loaded["train"][0] == {
        "video_id": "49923",
        "video": str(folder / "49923.gif"),
        "question": "what is a prepare",
        "answer": "brown",
        "options": [],
        "answer_index": None,
        "answer_type": "",
        "question_id": "FRAMEQA39922",
    }


def test_what_the_real_files_pair_with(real_tables):
    """The GIFs of the collection are shown in the authors' readme with these questions and answers."""
    for config, key, gif_name, answer in (
        ("count", "COUNT4788", "tumblr_ng2hhrvC6B1slj978o1_400", "7"),
        ("action", "ACTION8365", "tumblr_n97k6nnj3K1tbjfazo1_400", "put head down"),
        ("frameqa", "FRAMEQA14461", "tumblr_nbsdx5f0Gm1rb71dxo1_400", "brown"),
    ):
        rows = {row["question_id"]: row for row in real_tables("tgif_qa", config)["test"]}
        assert rows[key]["video_id"] == gif_name and rows[key]["answer"] == answer
    kinds = Counter(real_tables("tgif_qa", "frameqa")["test"]["answer_type"])
    assert kinds == {"object": 5586, "color": 3904, "number": 3148, "location": 1053}


def test_no_fault_is_left_in_the_real_files(real_tables):
    for config, split in (("frameqa", "test"), ("frameqa_hqga", "train")):
        rows = real_tables("tgif_qa", config)[split]
        assert not [text for text in [*rows["question"], *rows["answer"]] if "frameqa" in text.lower()]


def test_a_part_of_training_serves_for_validation(folder, tables):
    lines = [choice(name=f"gif{index // 2}", key=f"ACTION{index}") for index in range(400)]
    write_table(folder / "Train_action_question.csv", CHOICE_HEADER, *lines)
    loaded = tables("tgif_qa", "action", folder, validation_fraction=0.2)
    train, validation = (set(loaded[split]["video_id"]) for split in ("train", "validation"))
    assert not train & validation and len(train | validation) == 200 and 20 <= len(validation) <= 60


def test_a_kind_of_question_has_to_be_chosen(folder, tmp_path):
    arguments = {"data_dir": folder, "cache_dir": str(tmp_path / "cache")}
    with pytest.raises(
        ValueError, match="(?s)no config was named; choose one of\n  action: what is done N times.*count"
    ):
        load_benchmark("tgif_qa", **arguments)
    with pytest.raises(ValueError, match="got config 'frame'; choose one of\n  frameqa: .*\n  frameqa_hqga: "):
        load_benchmark("tgif_qa", "frame", **arguments)
    with pytest.raises(
        FileNotFoundError, match="train: Train_action_question.csv, or dataset/Train_action_question.csv"
    ):
        load_benchmark("tgif_qa", "action", **arguments)


@pytest.mark.parametrize(
    ("config", "header", "line", "message"),
    [
        ("action", CHOICE_HEADER, choice(answer=5), "line 2: expected 'answer' from 0 to 4, got 5"),
        (
            "action",
            CHOICE_HEADER,
            choice(answer="lick"),
            "line 2: expected 'answer' to be a whole number from 0, got 'lick'",
        ),
        ("action", CHOICE_HEADER, choice()[:-1], "line 2: expected the 10 columns"),
        ("count", COUNT_HEADER, ["gif", "How many ?", 11, "COUNT1", 1], "expected 'answer' from 0 to 10, got 11"),
        (
            "count",
            COUNT_HEADER[:-2],
            ["gif", "How many ?", 3],
            "expected a column 'vid_id', got 'gif_name', 'question'",
        ),
        ("count", COUNT_HEADER, ["gif", "", 3, "COUNT1", 1], "expected 'question' to be a non-empty str, got ''"),
        (
            "frameqa",
            FRAMEQA_HEADER,
            ["gif", "what ?", "cat", 4, "F", 1, "d"],
            "expected 'type' to be one of 0, 1, 2, 3",
        ),
    ],
)
def test_malformed_lines_are_named(folder, tables, config, header, line, message):
    write_table(folder / f"Train_{config}_question.csv", header, line)
    with pytest.raises(
        AnnotationError, match=rf"Train_{config}_question\.csv, line 2.*{message.removeprefix('line 2')}"
    ):
        tables("tgif_qa", config, folder)


def test_duplicate_questions_are_named(folder, tables):
    write_table(folder / "Train_action_question.csv", CHOICE_HEADER, choice(), choice())
    with pytest.raises(
        AnnotationError, match="line 3: expected every 'question_id' once, got 'ACTION4' as in .*line 2"
    ):
        tables("tgif_qa", "action", folder)
