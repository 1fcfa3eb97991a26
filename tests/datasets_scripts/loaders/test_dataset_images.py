# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Images with captions or questions: COCO Captions, Visual Genome, VQA 2.0 and the normalisation of its answers."""

import doctest
import json
import logging
import zipfile
from pathlib import Path

import pytest
from small_files import touch, write_json

from clipbert.datasets_scripts import load_benchmark
from clipbert.datasets_scripts.building import vqa_scores as vqa_answers
from clipbert.datasets_scripts.building.records import AnnotationError
from clipbert.datasets_scripts.building.vqa_scores import normalize_answer, score_answers


def write_zip(path: Path, members: dict) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, document in members.items():
            archive.writestr(name, json.dumps(document))


@pytest.mark.parametrize(
    ("name", "config", "counts"),
    [
        ("coco_captions", "captions2014", {"validation": 5000}),
        ("visual_genome", "captions", {"train": 3}),
        ("visual_genome", "qa", {"train": 8}),
        ("vqa2", "standard", {"train": 3}),
    ],
)
def test_counts_of_the_real_files(data_dir, tables, name, config, counts):
    loaded = tables(name, config, data_dir / "annotations" / name)
    assert {split: len(rows) for split, rows in loaded.items()} == counts


def test_what_the_real_files_pair_with(data_dir, tmp_path):
    """The images of the collection lie in folders of their own."""
    annotations = data_dir / "annotations"
    arguments = {"split": "train", "cache_dir": str(tmp_path / "cache")}
    questions = load_benchmark("vqa2", "standard", data_dir=annotations / "vqa2", **arguments)
    assert {Path(path).name for path in questions["image"]} == {"COCO_train2014_000000458752.jpg"}
    assert questions["answer"][:] == ["net", "pitcher", "orange"]
    assert questions[0]["soft_answers"] == ["net", "netting", "mesh", "pitcher", "orange"]
    assert questions[0]["soft_scores"] == pytest.approx([1, 1 / 3, 1 / 3, 1 / 3, 1 / 3])
    regions = load_benchmark("visual_genome", "captions", data_dir=annotations / "visual_genome", **arguments)
    assert {Path(path).name for path in regions["image"]} == {"1.jpg"}
    asked = load_benchmark("visual_genome", "qa", data_dir=annotations / "visual_genome", **arguments)
    assert [Path(path).name for path in asked["image"]] == ["4.jpg"] * 5 + ["5.jpg"] * 3
    captions = load_benchmark(
        "coco_captions",
        "captions2014",
        data_dir=annotations / "coco_captions",
        video_dir=annotations / "vqa2" / "images",
        split="validation",
        cache_dir=str(tmp_path / "cache"),
        on_missing="skip",
    )
    shown = {row["caption_id"]: Path(row["image"]).name for row in captions}
    assert shown["284571"] == "COCO_val2014_000000262148.jpg" and len(captions) < 5000


# --------------------------------------------------------------------------------------------------------------------
# COCO Captions
# --------------------------------------------------------------------------------------------------------------------


def captions_of(folder: str, *image_ids: int) -> dict:
    images = [{"id": each, "file_name": f"COCO_{folder}_{each:012d}.jpg"} for each in image_ids]
    annotations = [
        {"image_id": each, "id": 10 * each + number, "caption": f" A photo of {each}.\n"}
        for each in image_ids
        for number in range(2)
    ]
    return {"info": {}, "licenses": [], "images": images, "annotations": annotations}


def test_the_published_captions(folder, tables):
    write_json(folder / "captions_train2014.json", captions_of("train2014", 9, 25))
    write_json(folder / "annotations" / "captions_val2014.json", captions_of("val2014", 42))
    touch(folder, "train2014/COCO_train2014_000000000009.jpg", "000000000025.png")
    loaded = tables("coco_captions", "captions2014", folder)
    assert loaded["train"].to_list()[1:3] == [
        {
            "image_id": "9",
            "image": str(folder / "train2014/COCO_train2014_000000000009.jpg"),
            "caption": "A photo of 9.",
            "caption_id": "91",
        },
        {
            "image_id": "25",
            "image": str(folder / "000000000025.png"),
            "caption": "A photo of 25.",
            "caption_id": "250",
        },
    ]
    expected = str(folder / "val2014/COCO_val2014_000000000042.jpg")  # where it should be
    assert set(loaded["validation"]["image"]) == {expected}


def test_captions_in_their_archive(folder, tables):
    members = {f"annotations/captions_{name}.json": captions_of(name, 9) for name in ("train2014", "val2014")}
    write_zip(folder / "annotations_trainval2014.zip", {**members, "annotations/instances_val2014.json": {}})
    loaded = tables("coco_captions", "captions2014", folder)
    assert {split: Path(rows["image"][0]).name for split, rows in loaded.items()} == {
        "train": "COCO_train2014_000000000009.jpg",
        "validation": "COCO_val2014_000000000009.jpg",
    }


def test_two_layouts_of_the_same_real_captions(data_dir, folder, tables):
    real = data_dir / "annotations" / "coco_captions"
    (folder / "captions_val2014.json").write_bytes((real / "sample_captions_val2014.json").read_bytes())
    sample = tables("coco_captions", "captions2014", folder)["validation"].to_list()
    known = tables("coco_captions", "captions2014", real, video_dir=str(folder))["validation"]
    known = {row["caption_id"]: row for row in known}
    assert len(sample) == 300 and all(row == known[row["caption_id"]] for row in sample)


def karpathy_image(number: int, split: str, folder: str = "val2014") -> dict:
    sentences = [{"raw": f"photo {number} ", "sentid": 10 * number + each, "tokens": []} for each in range(2)]
    name = f"COCO_{folder}_{number:012d}.jpg"
    return {"cocoid": number, "split": split, "filepath": folder, "filename": name, "sentences": sentences}


@pytest.mark.parametrize("name", ["dataset_coco.json", "caption_datasets.zip"])
def test_the_splits_of_karpathy(folder, tables, name):
    images = [karpathy_image(1, "train", "train2014"), karpathy_image(2, "restval"), karpathy_image(3, "val")]
    document = {"dataset": "coco", "images": [*images, karpathy_image(4, "test")]}
    if name.endswith(".zip"):
        write_zip(folder / name, {"dataset_coco.json": document, "dataset_flickr8k.json": {}})
    else:
        write_json(folder / name, document)
    loaded = tables("coco_captions", "karpathy", folder)
    assert {split: rows["image_id"][:] for split, rows in loaded.items()} == {
        "train": ["1", "1", "2", "2"],
        "validation": ["3", "3"],
        "test": ["4", "4"],
    }
    assert loaded["train"][2] == {
        "image_id": "2",
        "image": str(folder / "val2014/COCO_val2014_000000000002.jpg"),
        "caption": "photo 2",
        "caption_id": "20",
    }
    assert tables("coco_captions", "karpathy_no_restval", folder)["train"]["image_id"][:] == ["1", "1"]


def test_captions_that_do_not_fit(folder, tables):
    document = captions_of("train2014", 9)
    for change, message in (
        ({"image_id": 10}, r"annotations\[1\]: expected an image that 'images' lists, got 10"),
        ({"id": 90}, r"annotations\[1\]: expected every 'caption_id' once, got '90' as in .*annotations\[0\]"),
        ({"caption": "  "}, r"annotations\[1\]: expected 'caption' to be a non-empty str"),
    ):
        first, second = document["annotations"]
        write_json(folder / "captions_train2014.json", {**document, "annotations": [first, {**second, **change}]})
        with pytest.raises(AnnotationError, match=rf"captions_train2014\.json, {message}"):
            tables("coco_captions", "captions2014", folder)
    write_json(folder / "captions_train2014.json", {"images": []})
    with pytest.raises(AnnotationError, match="expected a JSON object with 'annotations', got an object with images"):
        tables("coco_captions", "captions2014", folder)
    write_json(folder / "dataset_coco.json", {"images": [karpathy_image(1, "dev")]})
    with pytest.raises(AnnotationError, match=r"images\[0\]: expected 'split' to be one of train, restval, val, test"):
        tables("coco_captions", "karpathy", folder)
    image = {**karpathy_image(1, "train"), "sentences": [{"raw": "a dog"}]}
    write_json(folder / "dataset_coco.json", {"images": [image]})
    with pytest.raises(AnnotationError, match=r"images\[0\]\.sentences\[0\]: expected a column 'sentid', got 'raw'"):
        tables("coco_captions", "karpathy", folder)


def test_the_splits_of_coco_have_to_be_chosen(folder, tmp_path):
    arguments = {"data_dir": folder, "cache_dir": str(tmp_path / "cache")}
    with pytest.raises(ValueError, match="(?s)no config was named.*captions2014: train2014 and.*\n  karpathy: "):
        load_benchmark("coco_captions", **arguments)
    write_json(folder / "captions_val2014.json", captions_of("val2014", 9))
    with pytest.raises(
        FileNotFoundError, match="No file of the split 'train'.*captions_train2014.json, or annotations/capt"
    ):
        load_benchmark("coco_captions", "captions2014", split="train", **arguments)


# --------------------------------------------------------------------------------------------------------------------
# Visual Genome
# --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def genome(folder) -> Path:
    regions = [
        {
            "id": image_id,
            "regions": [
                {"region_id": 10 * image_id + number, "image_id": image_id, "phrase": f"region {number} ", "x": 1}
                for number in range(3)
            ],
        }
        for image_id in (1, 2, 3)
    ]
    qas = [
        {"qa_id": 7, "image_id": 2, "question": "What is on the curtains?", "answer": "Sailboats.", "q_objects": []},
        {"qa_id": 8, "image_id": 2, "question": "How many?", "answer": "Two.", "q_objects": []},
    ]
    images = [{"image_id": 1, "coco_id": None}, {"image_id": 2, "coco_id": 42}, {"image_id": 3, "coco_id": 9}]
    write_json(folder / "region_descriptions.json", regions)
    write_json(folder / "question_answers.json", [{"id": 2, "qas": qas}, {"id": 3, "qas": []}])
    write_json(folder / "image_data.json", images)
    touch(folder, "VG_100K/1.jpg", "VG_100K_2/2.jpg")
    return folder


def test_regions_and_their_images(genome, tables):
    rows = tables("visual_genome", "captions", genome)["train"]
    assert len(rows) == 9
    assert rows[4] == {
        "image_id": "2",
        "image": str(genome / "VG_100K_2/2.jpg"),
        "caption": "region 1",
        "caption_id": "21",
    }
    assert rows[0]["image"] == str(genome / "VG_100K/1.jpg")
    few = tables("visual_genome", "captions", genome, max_per_image=2)["train"]
    assert few["caption_id"][:] == ["10", "11", "20", "21", "30", "31"]


def test_regions_in_their_archive(genome, tables):
    plain = tables("visual_genome", "captions", genome)["train"].to_list()
    regions = genome / "region_descriptions.json"
    write_zip(genome / "region_descriptions.json.zip", {regions.name: json.loads(regions.read_text())})
    regions.unlink()
    assert tables("visual_genome", "captions", genome)["train"].to_list() == plain


def test_answers_of_visual_genome_are_normalized(genome, tables):
    rows = tables("visual_genome", "qa", genome)["train"].to_list()
    assert rows[0] == {
        "image_id": "2",
        "image": str(genome / "VG_100K_2/2.jpg"),
        "question": "What is on the curtains?",
        "answer": "sailboats",
        "answer_type": "",
        "soft_answers": ["sailboats"],
        "soft_scores": [1.0],
        "question_id": "7",
    }
    assert rows[1]["answer"] == "2"


def test_images_of_coco_can_be_left_out(genome, tables, caplog):
    excluded = genome / "captions_val2014.json"
    write_json(excluded, captions_of("val2014", 42, 43))
    with caplog.at_level(logging.WARNING):
        rows = tables("visual_genome", "captions", genome, exclude_coco=str(excluded))["train"]
    assert set(rows["image_id"]) == {"1", "3"}
    assert "left out 1 images of" in caplog.text
    write_json(excluded, captions_of("val2014", 9))  # the cache notices
    assert set(tables("visual_genome", "captions", genome, exclude_coco=str(excluded))["train"]["image_id"]) == {
        "1",
        "2",
    }
    listed = genome / "numbers.txt"
    listed.write_text("9\n42\n")
    assert set(tables("visual_genome", "captions", genome, exclude_coco=str(listed))["train"]["image_id"]) == {"1"}


def test_fields_of_visual_genome_are_checked(genome, tables):
    with pytest.raises(FileNotFoundError, match="exclude_coco nowhere.json is not a file"):
        tables("visual_genome", "captions", genome, exclude_coco="nowhere.json")
    with pytest.raises(ValueError, match="Expected `max_per_image` to be at least 1, got 0"):
        tables("visual_genome", "captions", genome, max_per_image=0)
    (genome / "numbers.txt").write_text("nine\n")
    with pytest.raises(
        AnnotationError, match=r"numbers\.txt, line 1: expected 'line' to be a whole number from 0, got 'nine'"
    ):
        tables("visual_genome", "captions", genome, exclude_coco=str(genome / "numbers.txt"))
    (genome / "image_data.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"region_descriptions\.json.* with image_data\.json"):
        tables("visual_genome", "captions", genome, exclude_coco=str(genome / "numbers.txt"))


def test_regions_that_do_not_fit(genome, tables):
    region = {"region_id": 1, "image_id": 1, "phrase": "a cat"}
    for regions, message in (
        ([region, region], r"\[0\]\.regions\[1\]: expected every 'caption_id' once, got '1'"),
        ([{**region, "image_id": 5}], r"\[0\]\.regions\[0\]: expected the image 1 it stands under, got 5"),
        ([{**region, "phrase": " "}], r"\[0\]\.regions\[0\]: expected 'phrase' to be a non-empty str, got ' '"),
        (None, r"\[0\]: expected 'regions' to be a list, got None"),
    ):
        write_json(genome / "region_descriptions.json", [{"id": 1, "regions": regions}])
        with pytest.raises(AnnotationError, match=message):
            tables("visual_genome", "captions", genome)
    qas = [{"qa_id": 1, "question": "Why?", "answer": "?!"}]
    write_json(genome / "question_answers.json", [{"id": 1, "qas": qas}])
    with pytest.raises(AnnotationError, match=r"qas\[0\]: expected 'answer' to have a word in it, got '\?!'"):
        tables("visual_genome", "qa", genome)


# --------------------------------------------------------------------------------------------------------------------
# VQA 2.0
# --------------------------------------------------------------------------------------------------------------------

ANSWERS = ["Net", "net", "a net", "nets", "nets", "mesh", "Don't know.", "dont know", "dont know!", "the"]


def questions_of(part: str, *numbers: int) -> dict:
    questions = [{"image_id": 458752, "question": f"What is {each}?", "question_id": each} for each in numbers]
    return {"data_subtype": part, "task_type": "Open-Ended", "questions": questions}


def annotations_of(*numbers: int, **changes) -> dict:
    answers = [{"answer": answer, "answer_confidence": "yes", "answer_id": 1} for answer in ANSWERS]
    shared = {"image_id": 458752, "answer_type": "other", "multiple_choice_answer": "net", "answers": answers}
    return {"annotations": [{**shared, "question_id": each, **changes} for each in numbers]}


def write_vqa(folder: Path, part: str, *numbers: int, **changes) -> None:
    write_json(folder / f"v2_OpenEnded_mscoco_{part}_questions.json", questions_of(part, *numbers))
    if not part.startswith("test"):
        write_json(folder / f"v2_mscoco_{part}_annotations.json", annotations_of(*numbers, **changes))


def test_the_official_files_of_vqa(folder, tables):
    write_vqa(folder, "train2014", 458752000)
    write_vqa(folder, "val2014", 458752001, 458752002)
    write_vqa(folder, "test2015", 1, 2, 3)
    write_vqa(folder, "test-dev2015", 2)
    touch(folder, "val2014/COCO_val2014_000000458752.jpg")
    loaded = tables("vqa2", "standard", folder)
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 1, "validation": 2, "test": 3}
    row = loaded["train"][0]
    scores = row.pop("soft_scores")
    assert row == {
        "image_id": "458752",
        "image": str(folder / "val2014/COCO_val2014_000000458752.jpg"),  # found by its number, whatever its folder
        "question": "What is 458752000?",
        "answer": "net",
        "answer_type": "other",
        "soft_answers": ["net", "nets", "mesh", "don't know", "the"],
        "question_id": "458752000",
    }
    assert scores == pytest.approx([1, 2 / 3, 1 / 3, 1, 1 / 3])
    unknown = {"answer": None, "answer_type": "", "soft_answers": [], "soft_scores": []}
    assert {name: loaded["test"][0][name] for name in unknown} == unknown
    assert tables("vqa2", "test_dev", folder)["test"]["question_id"][:] == ["2"]
    official = tables("vqa2", "standard", folder, score_rule="leave_one_out")["train"][0]["soft_scores"]
    assert official == pytest.approx([0.9, 0.6, 0.3, 0.9, 0.3])


def test_vqa_in_its_archives(folder, tables):
    write_vqa(folder, "train2014", 5)
    plain = tables("vqa2", "standard", folder)["train"].to_list()
    questions, annotations = (folder / name for name in sorted(path.name for path in folder.iterdir()))
    write_zip(folder / "v2_Questions_Train_mscoco.zip", {questions.name: json.loads(questions.read_text())})
    questions.unlink()
    assert tables("vqa2", "standard", folder)["train"].to_list() == plain  # one of them unpacked
    write_zip(folder / "v2_Annotations_Train_mscoco.zip", {annotations.name: json.loads(annotations.read_text())})
    annotations.unlink()
    assert tables("vqa2", "standard", folder)["train"].to_list() == plain
    tests = {
        f"v2_OpenEnded_mscoco_{part}_questions.json": questions_of(part, 6) for part in ("test2015", "test-dev2015")
    }
    write_zip(folder / "v2_Questions_Test_mscoco.zip", tests)
    assert tables("vqa2", "test_dev", folder)["test"]["question_id"][:] == ["6"]


def test_without_a_chosen_answer_the_most_frequent_counts(folder, tables):
    write_vqa(folder, "train2014", 5, multiple_choice_answer=None, answer_type="")
    row = tables("vqa2", "standard", folder)["train"][0]
    assert row["answer"] == "net" and row["answer_type"] == ""  # "don't know" is as frequent and comes later


def test_streamed_questions_are_the_same(folder, tmp_path):
    write_vqa(folder, "train2014", 5, 6)
    touch(folder, "COCO_train2014_000000458752.jpg")
    arguments = {"split": "train", "data_dir": folder, "cache_dir": str(tmp_path / "cache")}
    streamed = load_benchmark("vqa2", "standard", streaming=True, **arguments)
    assert streamed.num_shards == 1  # questions and annotations stay together
    loaded = load_benchmark("vqa2", "standard", **arguments)
    for one, other in zip(streamed, loaded, strict=True):
        assert one.pop("soft_scores") == pytest.approx(other.pop("soft_scores"))  # a table has single precision
        assert one == other


@pytest.mark.parametrize(
    ("questions", "annotations", "message"),
    [
        ((5, 6), annotations_of(5), r"questions\.json, questions\[1\]: expected an annotation of the question 6 in"),
        ((5,), annotations_of(5, 6), r"annotations\.json, annotations\[1\]: expected a question of .*, got 6"),
        ((5,), annotations_of(5, 5), r"annotations\[1\]: expected every question once, got 5 as in annotations\[0\]"),
        ((5, 5), annotations_of(5), r"questions\[1\]: expected an annotation of the question 5"),
        ((5,), annotations_of(5, image_id=7), r"annotations\[0\]: expected the image 458752 of its question, got 7"),
        ((5,), annotations_of(5, answer_type="color"), "expected 'answer_type' to be one of yes/no, number, other"),
        ((5,), annotations_of(5, answers=["net"]), "expected 'answers' to be objects with an 'answer', got 'net'"),
        ((5,), annotations_of(5, answers=[{"answer": "!"}]), "expected at least one answer with a word in it"),
        ((5,), annotations_of(5, answers=[]), r"annotations\[0\]: expected 'answers' to be a non-empty list"),
    ],
)
def test_questions_and_annotations_that_do_not_fit(folder, tables, questions, annotations, message):
    write_vqa(folder, "train2014", *questions)
    write_json(folder / "v2_mscoco_train2014_annotations.json", annotations)
    with pytest.raises(AnnotationError, match=message):
        tables("vqa2", "standard", folder)


def test_settings_of_vqa_are_checked(folder, tables, tmp_path):
    write_vqa(folder, "train2014", 5)
    with pytest.raises(ValueError, match="Expected `score_rule` to be one of thirds, leave_one_out, got 'ten'"):
        tables("vqa2", "standard", folder, score_rule="ten")
    with pytest.raises(
        ValueError, match="(?s)no config was named.*standard: test is test2015.*test_dev: test is test-dev"
    ):
        load_benchmark("vqa2", data_dir=folder, cache_dir=str(tmp_path / "cache"))
    for path in list(folder.iterdir()):
        path.unlink()
    write_json(folder / "questions.json", questions_of("val2014", 5))
    write_json(folder / "annotations.json", annotations_of(5))
    with pytest.raises(
        AnnotationError, match="expected the questions of train2014, got those of val2014: name it v2_Open"
    ):
        tables("vqa2", "standard", folder)


@pytest.mark.parametrize(
    ("answer", "normalized"),
    [
        ("Yes", "yes"),
        ("Yes!", "yes"),
        ("  a  dog\n", "dog"),
        ("the cat and an owl", "cat and owl"),
        ("The", "the"),  # nothing else would be left
        ("Two", "2"),
        ("none", "0"),
        ("ten to twelve", "10 to twelve"),
        ("dont", "don't"),
        ("Isnt it?", "isn't it"),
        ("couldnt've", "couldn't've"),
        ("couldn'tve", "couldn't've"),
        ("girl's", "girl's"),
        ("well", "well"),  # not we'll
        ("2:50 pm", "2:50 pm"),
        ("3.5", "3.5"),
        ("3.", "3"),
        ("U.S.", "us"),
        ("1,000", "1000"),
        ("blue,white", "blue white"),
        ("blue, white", "blue white"),
        ("t-shirt", "t shirt"),
        ("left - right", "left right"),
        ("half/half", "half half"),
        ("$5", "$5"),
        ("50%", "50%"),
        ("?", ""),
    ],
)
def test_answers_are_normalized_as_the_evaluation_does(answer, normalized):
    assert normalize_answer(answer) == normalized
    assert normalize_answer(normalized) == normalized


def test_soft_scores_by_hand():
    answers = ["one"] + ["two"] * 2 + ["cat"] * 3 + ["dog"] * 4
    assert score_answers(answers) == pytest.approx({"1": 1 / 3, "2": 2 / 3, "cat": 1, "dog": 1})
    # "cat": leaving out one of its three givers leaves two (2/3), leaving out one of the seven others leaves three
    assert score_answers(answers, "leave_one_out") == pytest.approx({"1": 0.3, "2": 0.6, "cat": 0.9, "dog": 1})
    with pytest.raises(ValueError, match="Expected a rule of thirds, leave_one_out, got 'half'"):
        score_answers(answers, "half")
    with pytest.raises(ValueError, match="at least two answers"):
        score_answers(["cat"], "leave_one_out")


def test_examples_run_as_printed():
    results = doctest.testmod(vqa_answers)
    assert results.attempted and not results.failed
