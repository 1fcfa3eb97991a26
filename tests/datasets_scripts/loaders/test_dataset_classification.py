# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""UCF101, HMDB51, Kinetics-400, Something-Something V2 and AVA: small records of our own in the original layouts."""

import json
import re
import shutil
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from torch.utils.data import DataLoader

from clipbert.datasets_scripts import find_loader, load_benchmark, prepare
from clipbert.datasets_scripts.building.records import AnnotationError
from clipbert.datasets_scripts.loaders.ava import NOT_EVALUATED, read_actions


TOP5 = {  # clips for training and test, in the order of the classes
    "CricketShot": (118, 49),
    "PlayingCello": (120, 44),
    "Punch": (121, 39),
    "ShavingBeard": (118, 43),
    "TennisSwing": (117, 49),
}
UCF_CLASSES = "1 Archery\r\n2 HandstandPushups\r\n"
UCF_TRAIN = "Archery/v_Archery_g08_c01.avi 1\r\nHandstandPushups/v_HandStandPushups_g09_c02.avi 2\r\n"
UCF_TEST = "HandstandPushups/v_HandStandPushups_g01_c01.avi\r\n"
AVA_ROWS = [
    ("film_1", "0902", 0.125, 0.25, 0.5, 0.875, 12, "0"),
    ("film_1", "0902", 0.125, 0.25, 0.5, 0.875, 80, "0_"),
    ("film_1", "0902", 0.625, 0.25, 0.75, 0.875, 11, "1"),
    ("film_1", "0903", 0.125, 0.25, 0.5, 0.875, 12, "0"),
    ("film-2", "1001", 0.0, 0.0, 1.0, 1.0, 74, "5"),
]


@pytest.fixture
def load(tmp_path):
    def load(name, config=None, folder=tmp_path, **arguments):
        return load_benchmark(name, config, data_dir=folder, cache_dir=str(tmp_path.parent / "cache"), **arguments)

    return load


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode())


def touch(folder: Path, *names: str) -> None:
    write(folder, dict.fromkeys(names, ""))


def label_names(rows) -> list[str | None]:
    names = rows.features["label"].int2str
    return [None if label is None else names(label) for label in rows["label"]]


def builder_of(name, config, folder, cache):
    builder = find_loader(name)(cache_dir=str(cache), config_name=config, data_dir=folder)
    prepare(builder)
    return builder


def write_ucf(folder: Path, inside: str = "") -> None:
    write(
        folder,
        {
            f"{inside}classInd.txt": UCF_CLASSES,
            f"{inside}trainlist01.txt": UCF_TRAIN,
            f"{inside}testlist01.txt": UCF_TEST,
        },
    )


def write_ava(folder: Path, rows=AVA_ROWS, excluded="film_1,0903\n") -> None:
    write(folder, {"ava_val_v2.2.csv": "".join(",".join(map(str, row)) + "\n" for row in rows)})
    if excluded is not None:
        write(folder, {"ava_val_excluded_timestamps_v2.2.csv": excluded})


# --------------------------------------------------------------------------------------------------------------------
# The real files
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "config", "counts", "num_classes"),
    [
        ("ucf101", "split1", {"train": 9537, "test": 3783}, 101),
        ("ucf101", "split2", {"train": 9586, "test": 3734}, 101),
        ("ucf101", "split3", {"train": 9624, "test": 3696}, 101),
        ("ucf101", "top5", {"train": 594, "test": 224}, 5),
        ("hmdb51", "split1", {"train": 3570, "test": 1530}, 51),
        ("hmdb51", "split2", {"train": 3570, "test": 1530}, 51),
        ("hmdb51", "split3", {"train": 3570, "test": 1530}, 51),
        pytest.param("kinetics400", None, {"validation": 19906, "test": 38685}, 400, marks=pytest.mark.slow),
        ("ssv2", "classification", {"train": 4, "validation": 4, "test": 4}, 174),
    ],
)
def test_counts_of_the_real_files(name, config, counts, num_classes, data_dir, tmp_path):
    builder = builder_of(name, config, data_dir / "annotations" / name, tmp_path)
    splits = builder.as_dataset()
    assert {split: len(rows) for split, rows in splits.items()} == counts
    for split, rows in splits.items():
        assert rows.features["label"].num_classes == num_classes
        hidden = name in ("kinetics400", "ssv2") and split == "test"
        assert (set(rows["label"]) == {None}) if hidden else (None not in rows["label"])
    if name in ("ucf101", "hmdb51"):  # as many clips of each class as the class has, numbered without a gap
        assert set(splits["train"]["label"]) == set(splits["test"]["label"]) == set(range(num_classes))


def test_the_five_classes_of_ucf101(data_dir, load):
    """Counts of the tutorial; the lists as CSV and split 1 with these classes give the same rows, divided in the same way."""
    folder = data_dir / "annotations" / "ucf101"
    top5 = load("ucf101", "top5", folder, validation_fraction=0.2)
    chosen = load("ucf101", "split1", folder, validation_fraction=0.2, classes=list(TOP5))
    assert top5["train"].features["label"] == chosen["train"].features["label"]
    counts = {"train": Counter(label_names(top5["train"])) + Counter(label_names(top5["validation"]))}
    counts["test"] = Counter(label_names(top5["test"]))
    assert {split: count.total() for split, count in counts.items()} == {"train": 594, "test": 224}
    assert {name: (counts["train"][name], counts["test"][name]) for name in TOP5} == TOP5
    columns = ("video_id", "label", "recording")
    for split in ("train", "validation", "test"):
        rows = [{tuple(row[name] for name in columns) for row in part[split]} for part in (top5, chosen)]
        assert rows[0] == rows[1] and len(rows[0]) == len(top5[split])
    held_out = Counter(label_names(top5["validation"]))
    assert all(abs(held_out[name] / number - 0.2) <= 0.02 for name, number in counts["train"].items())
    parts = [set(part["recording"]) for part in top5.values()]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 5 * 25


def test_the_split_by_clip_says_how_much_it_leaks(data_dir, load, caplog):
    folder = data_dir / "annotations" / "ucf101"
    splits = load("ucf101", "top5", folder, validation_split="clip")  # a fifth, unless another share is named
    for name, (number, _) in TOP5.items():
        assert Counter(label_names(splits["validation"]))[name] == round(0.2 * number)
    assert (
        "119 of the 119 videos held out for 'validation' (100.0%) have a sibling of the same recording" in caplog.text
    )
    load("ucf101", "split1", folder, validation_split="clip", split="validation")
    assert re.search(r"of the 1898 videos held out for 'validation' \(99\.\d%\)", caplog.text)


@pytest.mark.parametrize(("name", "config"), [("ucf101", "top5"), ("ucf101", "split2"), ("hmdb51", "split1")])
def test_held_out_recordings_of_the_real_files(name, config, data_dir, tmp_path):
    """No clip of the validation split has a sibling in training; it is of the size asked for and has every class."""
    loader, folder = find_loader(name), data_dir / "annotations" / name
    builder = loader(str(tmp_path), config, folder, validation_fraction=0.1)
    prepare(builder)
    facts, splits = builder.video_facts(), builder.as_dataset()
    recordings = {split: {facts[key].recording for key in rows["video_id"]} for split, rows in splits.items()}
    assert None not in recordings["train"] and recordings["train"].isdisjoint(recordings["validation"])
    assert set(splits["validation"]["label"]) == set(splits["train"]["label"])
    assert 0.07 < len(splits["validation"]) / (len(splits["train"]) + len(splits["validation"])) < 0.13


def test_recordings_of_the_real_files(data_dir, tmp_path):
    """UCF101 keeps groups apart; HMDB51 keeps titles apart within a class and shares them across classes."""
    shared = {}
    for name in ("ucf101", "hmdb51"):
        builder = builder_of(name, "split1", data_dir / "annotations" / name, tmp_path)
        facts, splits = builder.video_facts(), builder.as_dataset()
        recordings = {split: {facts[key].recording for key in rows["video_id"]} for split, rows in splits.items()}
        shared[name] = len(recordings["train"] & recordings["test"])
        titles = {
            split: {(facts[row["video_id"]].recording, row["label"]) for row in rows} for split, rows in splits.items()
        }
        assert not titles["train"] & titles["test"]
    assert shared == {"ucf101": 0, "hmdb51": 133}


def test_real_videos_are_found_by_name(data_dir, load, tmp_path):
    folder, videos = data_dir / "annotations" / "ucf101", data_dir / "videos" / "ucf101"
    rows = load("ucf101", "split1", folder, split="test", video_dir=videos, on_missing="skip")
    assert dict(zip(rows["video"], label_names(rows), strict=True)) == {
        str(videos / "v_ApplyEyeMakeup_g01_c01.avi"): "ApplyEyeMakeup",
        str(videos / "v_BaseballPitch_g01_c01.avi"): "BaseballPitch",
        str(videos / "v_CricketShot_g04_c01_rgb.gif"): "CricketShot",
    }


def test_the_real_sample_of_ava(data_dir, tmp_path, caplog):
    builder = builder_of("ava", "v2.2", data_dir / "annotations" / "ava", tmp_path)
    train, validation = builder.as_dataset(split="train"), builder.as_dataset(split="validation")
    assert train["keyframe_id"][:] == ["0f39OWEqJ24,0902"]  # the list of excluded seconds has the two others
    assert len(validation) == 14 and sum(len(labels) for row in validation["labels"] for labels in row) == 49
    at_906 = validation[4]
    assert at_906["labels"] == [[10, 73, 79]] and at_906["person_ids"] == ["3"]
    assert "left out 2 seconds" in caplog.text and "stray underscore from the person of 1 lines" in caplog.text
    names = read_actions(data_dir / "annotations" / "ava" / "ava_action_list_v2.1_for_activitynet_2018.pbtxt.txt")
    assert len(names) == 60 and names == read_actions(data_dir / "annotations" / "ava" / "label_map.txt")
    assert sorted(names) == sorted({*range(1, 81)} - NOT_EVALUATED)
    assert validation.features["labels"].feature.feature.int2str(11) == "stand"


# --------------------------------------------------------------------------------------------------------------------
# UCF101
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["flat", "folder", "zip"])
def test_ucf101(layout, load, tmp_path):
    archive = tmp_path / "UCF101TrainTestSplits-RecognitionTask.zip"
    write_ucf(tmp_path / "lists" if layout == "zip" else tmp_path, "" if layout == "flat" else "ucfTrainTestlist/")
    if layout == "zip":
        with zipfile.ZipFile(archive, "w") as file:
            for path in sorted((tmp_path / "lists").rglob("*.txt")):
                file.write(path, path.relative_to(tmp_path / "lists"))
        shutil.rmtree(tmp_path / "lists")
    touch(
        tmp_path, "Archery/v_Archery_g08_c01.avi", "v_HandStandPushups_g09_c02.mp4", "v_HandStandPushups_g01_c01.avi"
    )
    splits = load("ucf101", "split1")
    assert splits["train"][1] == {
        "video_id": "v_HandStandPushups_g09_c02",
        "video": str(tmp_path / "v_HandStandPushups_g09_c02.mp4"),  # by name, whatever folder and container
        "label": 1,
        "recording": "HandStandPushups_g09",
    }
    assert label_names(splits["train"]) == ["Archery", "HandstandPushups"]
    assert label_names(splits["test"]) == ["HandstandPushups"]
    assert list(load("ucf101", "split1", split="train", streaming=True)) == splits["train"].to_list()
    facts = find_loader("ucf101")(str(tmp_path / "cache"), "split1", tmp_path).video_facts()
    assert {key: fact.recording for key, fact in facts.items()} == {
        "v_Archery_g08_c01": "Archery_g08",
        "v_HandStandPushups_g09_c02": "HandStandPushups_g09",
        "v_HandStandPushups_g01_c01": "HandStandPushups_g01",
    }


@pytest.mark.parametrize("folder", ["", "top5/"])
def test_ucf101_top5(folder, load, tmp_path):
    rows = {
        split: f"video_name,tag\nv_Punch_{group}_c01.avi,Punch\nv_Archery_{group}_c01.avi,Archery\n"
        for split, group in (("train", "g08"), ("test", "g01"))
    }
    write(tmp_path, {f"{folder}{split}.csv": text for split, text in rows.items()})
    for split, group in (("train", "g08"), ("test", "g01")):
        touch(tmp_path, f"{split}/v_Punch_{group}_c01.avi", f"{split}/v_Archery_{group}_c01.avi")
    splits = load("ucf101", "top5")
    assert splits["test"].features["label"].names == ["Archery", "Punch"]  # by alphabet
    assert splits["test"][0] == {
        "video_id": "v_Punch_g01_c01",
        "video": str(tmp_path / "test" / "v_Punch_g01_c01.avi"),
        "label": 1,
        "recording": "Punch_g01",
    }


@pytest.fixture
def twice(tmp_path):
    """Five classes, of which three, as lists of UCF101 and as the CSV files of top5."""
    names, numbers = ["Archery", "Biking", "Diving", "Fencing", "Punch"], {"train": range(8, 18), "test": range(1, 4)}
    clips = {
        split: [(name, f"v_{name}_g{group:02}_c{clip:02}") for name in names for group in groups for clip in (1, 2, 3)]
        for split, groups in numbers.items()
    }
    lines = {
        split: "".join(f"{name}/{clip}.avi {names.index(name) + 1}\r\n" for name, clip in listed)
        for split, listed in clips.items()
    }
    lists = {f"{split}list01.txt": text for split, text in lines.items()}
    write(tmp_path, {"classInd.txt": "".join(f"{n} {name}\r\n" for n, name in enumerate(names, start=1)), **lists})
    for split, listed in clips.items():
        rows = "".join(f"{clip}.avi,{name}\n" for name, clip in listed if name in ("Biking", "Diving", "Punch"))
        write(tmp_path, {f"top5/{split}.csv": f"video_name,tag\n{rows}"})
    return tmp_path


def test_classes_of_one_layout_are_those_of_the_other(twice, load):
    fields = {"validation_fraction": 0.2, "max_train_per_class": 20, "max_val_per_class": 5}
    csv, lists = (
        load("ucf101", "top5", **fields),
        load("ucf101", "split1", classes=["Punch", "Biking", "Diving"], **fields),
    )
    for split, number in (("train", 20), ("validation", 5), ("test", 9)):
        assert csv[split].features == lists[split].features
        columns = csv[split].remove_columns("video").to_list(), lists[split].remove_columns("video").to_list()
        assert columns[0] == columns[1] and Counter(csv[split]["label"]) == {0: number, 1: number, 2: number}
    assert not set(csv["train"]["recording"]) & set(csv["validation"]["recording"])
    alone = load("ucf101", "split1", classes=["Punch", "Biking", "Diving"], **fields, split="test", only_split="test")
    assert alone.to_list() == lists["test"].to_list()
    streamed = load("ucf101", "top5", **fields, split="validation", streaming=True)
    assert list(streamed) == csv["validation"].to_list()


def test_clips_are_divided_as_they_come_if_so_asked(twice, load, caplog):
    splits = load("ucf101", "split1", validation_split="clip", validation_fraction=0.2)
    assert Counter(splits["validation"]["label"]) == dict.fromkeys(range(5), 6)
    assert re.search(r"of the 30 videos held out for 'validation' \(\d+\.0%\) have a sibling", caplog.text)
    caplog.clear()
    others = load("ucf101", "split1", validation_split="recording", split_seed=3)
    assert Counter(others["validation"]["label"]) == dict.fromkeys(range(5), 6)
    assert "sibling" not in caplog.text


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"classes": ["Punch", "Bikin"]}, "Unknown class of UCF101/split1 .* 'Bikin'; did you mean 'Biking'"),
        ({"classes": ["PUNSH", "Biking"]}, "'PUNSH'; did you mean 'Punch'"),
        ({"classes": "Punch"}, "Expected `classes` to be a list of names of classes, each once, got 'Punch'"),
        ({"classes": ["Punch", "Punch"]}, "each once, got"),
        ({"max_train_per_class": 0}, "Expected `max_train_per_class` to be a whole number from 1, got 0"),
        ({"validation_split": "clips"}, "Unknown `validation_split` 'clips'; did you mean 'clip'"),
        ({"split_seed": "1"}, "Expected `split_seed` to be a whole number, got '1'"),
    ],
)
def test_fields_of_classes_that_cannot_be(fields, message, twice, load):
    with pytest.raises(ValueError, match=message):
        load("ucf101", "split1", **fields)


def test_a_class_of_one_recording_is_said_before_training(twice, load):
    for name, more in (
        ("classInd.txt", "6 Judo\r\n"),
        ("trainlist01.txt", "Judo/v_Judo_g08_c01.avi 6\nJudo/v_Judo_g08_c02.avi 6\n"),
    ):
        with (twice / name).open("a") as file:
            file.write(more)
    with pytest.raises(
        AnnotationError, match=r"trainlist01\.txt, line 151: .* of the class 'Judo' from two recordings"
    ):
        load("ucf101", "split1", validation_fraction=0.2)
    assert len(load("ucf101", "split1", split="train")) == 152


def test_a_class_that_is_not_trained_is_no_class_to_evaluate(twice, load):
    text = (twice / "trainlist01.txt").read_text().splitlines(keepends=True)
    (twice / "trainlist01.txt").write_text("".join(line for line in text if "Punch" not in line))
    with pytest.raises(AnnotationError, match=r"testlist01\.txt, line 37: expected a class .* got 'Punch' in 'test'"):
        load("ucf101", "split1")
    assert len(load("ucf101", "split1", classes=["Archery", "Biking"], split="test")) == 18


def test_classes_are_those_of_a_classification(load, tmp_path):
    write(tmp_path, {"captions.jsonl": '{"video": "a.mp4", "caption": "one"}\n'})
    with pytest.raises(ValueError, match='retrieval has no classes: `classes` is for the task "classification"'):
        load("video_folder", "retrieval", classes=["a", "b"])


def test_ucf101_holds_out_a_validation_split(load, tmp_path):
    """Clips of one recording look alike: none of a group in train is in validation, and every class is in both."""
    clips = [f"v_Archery_g{group:02}_c{clip:02}.avi" for group in range(8, 26) for clip in (1, 2, 3)]
    more = [f"v_HandStandPushups_g{group:02}_c{clip:02}.avi" for group in (8, 9) for clip in (1, 2)]
    write_ucf(tmp_path)
    lines = [*(f"Archery/{clip} 1\n" for clip in clips), *(f"HandstandPushups/{clip} 2\n" for clip in more)]
    write(tmp_path, {"trainlist01.txt": "".join(lines)})
    touch(tmp_path, *clips, *more, "v_HandStandPushups_g01_c01.avi")
    for fraction in (0.001, 0.3, 0.99):
        splits = load("ucf101", "split1", validation_fraction=fraction)
        ids = {split: splits[split]["video_id"][:] for split in ("train", "validation")}
        assert sorted(f"{name}.avi" for names in ids.values() for name in names) == sorted(clips + more)
        groups = {split: {name[:-4] for name in names} for split, names in ids.items()}
        assert groups["train"].isdisjoint(groups["validation"])
        assert all(set(splits[split]["label"]) == {0, 1} for split in ids if split == "validation" or fraction < 0.9)
        for split in ids:  # the same, prepared alone
            alone = load("ucf101", "split1", validation_fraction=fraction, only_split=split, split=split)
            assert alone["video_id"][:] == ids[split]
    facts = find_loader("ucf101")(str(tmp_path / "cache"), "split1", tmp_path, validation_fraction=0.3).video_facts()
    assert len(facts) == len(clips + more) + 1


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (
            "trainlist01.txt",
            "Archery/v_Archery_g08_c01.avi\r\n",
            r"trainlist01\.txt, line 1: expected '<Class>/<clip>.avi",
        ),
        ("trainlist01.txt", UCF_TRAIN + "Archery v_A 1\n", r"trainlist01\.txt, line 3: expected '<Class>/<clip>.avi"),
        (
            "trainlist01.txt",
            "Archery/v_Archery_g08_c01.avi 2",
            r"line 1: expected a class of classInd.txt with its number",
        ),
        ("testlist01.txt", "Punch/v_Punch_g01_c01.avi", r"testlist01\.txt, line 1: expected a class of classInd.txt"),
        ("testlist01.txt", UCF_TEST * 2, r"line 2: expected every 'video_id' once, got 'v_HandStandPushups_g01_c01'"),
        ("testlist01.txt", "", r"testlist01\.txt holds no record of the split 'test'"),
        ("classInd.txt", "1 Archery\n3 HandstandPushups\n", r"classInd\.txt, line 2: expected '2 <Class>'"),
    ],
)
def test_malformed_lists_of_ucf101(file, text, message, load, tmp_path):
    write_ucf(tmp_path)
    write(tmp_path, {file: text})
    with pytest.raises(AnnotationError, match=message):
        load("ucf101", "split1", split="test" if file == "testlist01.txt" else "train")


def test_choices_of_ucf101(load, tmp_path):
    write_ucf(tmp_path)
    (tmp_path / "testlist01.txt").unlink()
    with pytest.raises(
        ValueError, match="no config was named; choose one of\n  split1: .*\n  split2: .*\n  split3: .*\n  top5:"
    ):
        load("ucf101")
    with pytest.raises(
        ValueError, match="got config 'split'; choose one of\n  split1: .*\n  split2: .*\n  split3: [^\n]*$"
    ):
        load("ucf101", "split")
    with pytest.raises(
        FileNotFoundError, match="No file of the split 'test' of .*: expected classInd.txt with testlist01.txt, or"
    ):
        load("ucf101", "split1", split="test")
    with pytest.raises(FileNotFoundError, match=r"train: top5/train\.csv, or train\.csv\n  test: top5/test\.csv"):
        load("ucf101", "top5")


# --------------------------------------------------------------------------------------------------------------------
# HMDB51
# --------------------------------------------------------------------------------------------------------------------


HMDB_WAVE = (
    "Hero_(2002)_wave_u_nm_np1_fr_med_0.avi 1 \nHero_(2002)_wave_u_nm_np1_fr_med_1.avi 0 \nYou&Me_wave_u_0.avi 2 \n"
)
HMDB_CLAP = "Clap!_clap_u_nm_np1_fr_bad_0.avi 2 \nMom's_clap_u_0.avi 1 \n"


@pytest.fixture(params=["", "splits/", "testTrainMulti_7030_splits/"])
def hmdb(tmp_path, request) -> Path:
    write(
        tmp_path,
        {
            "class_list.txt": "wave\nclap\n",
            f"{request.param}wave_test_split1.txt": HMDB_WAVE,
            f"{request.param}clap_test_split1.txt": HMDB_CLAP,
        },
    )
    touch(tmp_path, "wave/Hero_(2002)_wave_u_nm_np1_fr_med_0.avi", "wave/You&Me_wave_u_0.avi", "Mom's_clap_u_0.mp4")
    touch(tmp_path, "Clap!_clap_u_nm_np1_fr_bad_0.avi")
    return tmp_path


def test_hmdb51(hmdb, load, tmp_path):
    splits = load("hmdb51", "split1")
    assert splits["train"].features["label"].names == ["clap", "wave"]  # by alphabet, not as class_list.txt has them
    assert splits["train"].to_list() == [
        {
            "video_id": "Mom's_clap_u_0",
            "video": str(tmp_path / "Mom's_clap_u_0.mp4"),
            "label": 0,
            "recording": "Mom's",
        },
        {
            "video_id": "Hero_(2002)_wave_u_nm_np1_fr_med_0",
            "video": str(tmp_path / "wave" / "Hero_(2002)_wave_u_nm_np1_fr_med_0.avi"),
            "label": 1,
            "recording": "Hero_(2002)",
        },
    ]
    assert len(splits["test"]) == 2
    assert list(load("hmdb51", "split1", split="test", streaming=True)) == splits["test"].to_list()
    facts = find_loader("hmdb51")(str(tmp_path / "cache"), "split1", tmp_path).video_facts()
    assert {facts[key].recording for key in splits["train"]["video_id"]} == {"Mom's", "Hero_(2002)"}


def test_a_class_of_hmdb51_is_missing(load, tmp_path):
    write(tmp_path, {"class_list.txt": "clap\nwave\n", "wave_test_split1.txt": HMDB_WAVE})
    with pytest.raises(FileNotFoundError, match="of 2 classes in .*, got those of 1 without clap"):
        load("hmdb51", "split1")
    (tmp_path / "class_list.txt").unlink()
    with pytest.raises(FileNotFoundError, match="of 51 classes in .*, got those of 1. It holds"):
        load("hmdb51", "split1")
    with pytest.raises(FileNotFoundError, match=r"No \*_test_split2\.txt of HMDB51"):
        load("hmdb51", "split2")
    write(tmp_path, {"label_map.txt": "clap\n", "clap_test_split1.txt": HMDB_CLAP})
    with pytest.raises(FileNotFoundError, match="got those of 2 and wave"):
        load("hmdb51", "split1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Hero_wave_u_0.avi 3\n", "line 1: expected '<clip>.avi <0, 1 or 2>', got 'Hero_wave_u_0.avi 3'"),
        ("Hero_wave_u_0.avi\n", "line 1: expected '<clip>.avi <0, 1 or 2>'"),
        (HMDB_WAVE + "Hero_walk_u_0.avi 1\n", "line 4: expected the name of a clip of the class 'wave'"),
        (HMDB_WAVE + "You&Me_wave_u_0.avi 2", "line 4: expected every 'video_id' once"),
    ],
)
def test_malformed_lists_of_hmdb51(text, message, load, tmp_path):
    write(tmp_path, {"label_map.txt": "wave\n", "wave_test_split1.txt": text})
    with pytest.raises(AnnotationError, match=r"wave_test_split1\.txt, " + message):
        load("hmdb51", "split1")


# --------------------------------------------------------------------------------------------------------------------
# Kinetics-400
# --------------------------------------------------------------------------------------------------------------------


KINETICS_TRAIN = (
    "label,youtube_id,time_start,time_end,split,is_cc\nyoga,-abcdefghij,7,17,train,0\nzumba,abcdefghij_,0,10,train,0\n"
)
KINETICS_TEST = "youtube_id,time_start,time_end,split\nkkkkkkkkkkk,120,130,test\n"


@pytest.mark.parametrize(
    "names",
    [
        ("kinetics-400_train.csv", "kinetics-400_test.csv"),
        ("train.csv", "test.csv"),
        ("kinetics400/train.csv", "kinetics400/test.csv"),
    ],
)
def test_kinetics400(names, load, tmp_path):
    write(tmp_path, dict(zip(names, (KINETICS_TRAIN, KINETICS_TEST), strict=True)))
    touch(
        tmp_path,
        "yoga/-abcdefghij_000007_000017.mp4",
        "abcdefghij__000000_000010.mkv",
        "kkkkkkkkkkk_000120_000130.mp4",
    )
    splits = load("kinetics400")
    assert splits["train"][0] == {
        "video_id": "-abcdefghij_000007_000017",
        "video": str(tmp_path / "yoga" / "-abcdefghij_000007_000017.mp4"),
        "label": 0,
        "recording": "-abcdefghij",
    }
    assert label_names(splits["train"]) == ["yoga", "zumba"] and label_names(splits["test"]) == [None]
    assert list(load("kinetics400", split="test", streaming=True)) == splits["test"].to_list()
    fact = find_loader("kinetics400")(str(tmp_path / "cache"), None, tmp_path).video_facts()[
        "abcdefghij__000000_000010"
    ]
    assert (fact.duration_s, fact.recording) == (10.0, "abcdefghij_")


def test_the_label_map_numbers_the_classes_of_kinetics400(load, tmp_path):
    """With another map, or without it, the table is made anew."""
    write(tmp_path, {"train.csv": KINETICS_TRAIN})
    touch(tmp_path, "-abcdefghij_000007_000017.mp4", "abcdefghij__000000_000010.mp4")
    assert load("kinetics400", split="train")["label"][:] == [0, 1]
    write(tmp_path, {"label_map_k400.txt": "zumba\nabseiling\nyoga\n"})
    assert load("kinetics400", split="train")["label"][:] == [2, 0]


def test_labels_of_another_test_file_are_read(load, tmp_path):
    write(tmp_path, {"annotations/test.csv": KINETICS_TRAIN.replace(",train,", ",test,")})
    touch(tmp_path, "-abcdefghij_000007_000017.mp4", "abcdefghij__000000_000010.mp4")
    assert label_names(load("kinetics400", split="test")) == ["yoga", "zumba"]


def test_workers_share_the_rows_of_one_csv(load, tmp_path):
    """The csv and the label map belong together: sharing them out among workers would leave one without rows."""
    write(tmp_path, {"train.csv": KINETICS_TRAIN, "label_map_k400.txt": "yoga\nzumba\n"})
    touch(tmp_path, "-abcdefghij_000007_000017.mp4", "abcdefghij__000000_000010.mp4")
    stream = load("kinetics400", split="train", streaming=True)
    assert stream.num_shards == 1
    assert [row["label"] for row in DataLoader(stream, batch_size=None, num_workers=2)] == [0, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label,youtube_id\nyoga,a\n", "line 2: expected a column 'time_start'"),
        (KINETICS_TRAIN.replace(",7,17", ",17,7"), "line 2: expected 0 <= time_start < time_end, got 17 and 7"),
        (
            KINETICS_TRAIN.replace(",7,17", ",7.5,17"),
            "line 2: expected 'time_start' to be a whole number from 0, got '7.5'",
        ),
        (KINETICS_TRAIN.replace("0,10,train", "0,10,val"), "line 3: expected a row of the split 'train', got 'val'"),
        (KINETICS_TRAIN + "yoga,x,1\n", "line 4: expected the 6 columns"),
        (KINETICS_TRAIN + "judo,x,1,2,train,0\n", "line 4: expected one of the 2 classes, got 'judo'"),
        (KINETICS_TRAIN + "yoga,-abcdefghij,7,17,train,0\n", "line 4: expected every 'video_id' once"),
    ],
)
def test_malformed_tables_of_kinetics400(text, message, load, tmp_path):
    write(tmp_path, {"train.csv": text, "label_map_k400.txt": "yoga\nzumba\n"})
    with pytest.raises(AnnotationError, match=r"train\.csv, " + message):
        load("kinetics400")


def test_kinetics400_without_any_class(load, tmp_path):
    write(tmp_path, {"test.csv": KINETICS_TEST})
    with pytest.raises(FileNotFoundError, match=r"names no class: place label_map_k400\.txt"):
        load("kinetics400")


# --------------------------------------------------------------------------------------------------------------------
# Something-Something V2
# --------------------------------------------------------------------------------------------------------------------


SSV2_TRAIN = [
    {"id": "7", "label": "moving a cup up", "template": "Moving [something] up", "placeholders": ["a cup"]},
    {"id": "8", "label": "pen falling", "template": "[Something] falling", "placeholders": ["pen"]},
]
SSV2_LABELS = {"Something falling": "0", "Moving something up": "1"}


@pytest.mark.parametrize("pattern", ["{}.json", "labels/{}.json", "something-something-v2-{}.json"])
def test_ssv2(pattern, load, tmp_path):
    contents = {"train": SSV2_TRAIN, "test": [{"id": "9"}], "labels": SSV2_LABELS}
    write(tmp_path, {pattern.format(name): json.dumps(content) for name, content in contents.items()})
    touch(tmp_path, "videos/7.webm", "videos/8.webm", "videos/9.webm")
    splits = load("ssv2", "classification")
    assert splits["train"][0] == {
        "video_id": "7",
        "video": str(tmp_path / "videos" / "7.webm"),
        "label": 1,
        "recording": None,  # nobody knows what a clip was cut from
    }
    assert label_names(splits["train"]) == ["Moving something up", "Something falling"]
    assert label_names(splits["test"]) == [None]
    assert list(load("ssv2", "classification", split="train", streaming=True)) == splits["train"].to_list()


def test_a_label_map_stands_for_the_labels_of_ssv2(load, tmp_path):
    write(
        tmp_path, {"train.json": json.dumps(SSV2_TRAIN), "label_map.txt": "Moving something up\nSomething falling\n"}
    )
    touch(tmp_path, "7.webm", "8.mp4")
    assert load("ssv2", "classification", split="train")["label"][:] == [0, 1]


def test_retrieval_on_ssv2(load, tmp_path):
    label = [{"video": "7.webm", "caption": "moving a cup up"}]
    template = [{"video": ["7.webm", "8.webm"], "caption": "moving [something] up"}]
    for kind, content in (("label", label), ("template", template)):
        write(tmp_path, {f"ssv2_ret_{kind}_{part}.json": json.dumps(content) for part in ("train", "val_small")})
    touch(tmp_path, "7.webm", "8.webm")
    assert load("ssv2", "label_retrieval", split="train")["caption"][:] == ["moving a cup up"]
    rows = load("ssv2", "template_retrieval", split="validation")
    assert rows["video_id"][:] == ["7", "8"] and set(rows["caption"]) == {"moving [something] up"}
    assert len(set(rows["caption_id"])) == 2
    with pytest.raises(
        ValueError, match="choose one of\n  classification: .*\n  label_retrieval: .*\n  template_retrieval:"
    ):
        load("ssv2")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("train.json", SSV2_TRAIN[:1] + [{"id": "8"}], r"train\.json, \[1\]: expected a column 'template'"),
        ("train.json", [{"id": "8", "template": "[Something]"}], r"train\.json, \[0\]: expected one of the 2 classes"),
        (
            "train.json",
            SSV2_TRAIN + SSV2_TRAIN[:1],
            r"train\.json, \[2\]: expected every 'video_id' once, got '7' as in",
        ),
        ("train.json", {"id": "8"}, r"train\.json: expected a JSON list, got dict"),
        ("train.json", ["8"], r"train\.json, \[0\]: expected a JSON object"),
        ("labels.json", {"Something falling": "0", "Moving something up": "2"}, "every number from 0 once"),
        ("labels.json", ["Something falling"], "every number from 0 once"),
    ],
)
def test_malformed_files_of_ssv2(file, content, message, load, tmp_path):
    write(tmp_path, {"train.json": json.dumps(SSV2_TRAIN), "labels.json": json.dumps(SSV2_LABELS)})
    write(tmp_path, {file: json.dumps(content)})
    with pytest.raises(AnnotationError, match=message):
        load("ssv2", "classification")


# --------------------------------------------------------------------------------------------------------------------
# AVA
# --------------------------------------------------------------------------------------------------------------------


def test_ava(load, tmp_path, caplog):
    write_ava(tmp_path)
    touch(tmp_path, "trainval/film_1.mkv", "trainval/film-2.mp4")
    rows = load("ava", "v2.2", split="validation")
    assert rows[0] == {
        "video_id": "film_1",
        "video": str(tmp_path / "trainval" / "film_1.mkv"),
        "timestamp_s": 902.0,
        "boxes": [[0.125, 0.25, 0.5, 0.875], [0.625, 0.25, 0.75, 0.875]],
        "labels": [[11, 79], [10]],  # of the person "0", whom one line calls "0_", and of "1"
        "person_ids": ["0", "1"],
        "keyframe_id": "film_1,0902",
        "proposals": [],
    }
    assert rows["keyframe_id"][:] == ["film_1,0902", "film-2,1001"]
    assert "left out 1 seconds" in caplog.text and "stray underscore from the person of 1 lines" in caplog.text
    assert list(load("ava", "v2.2", split="validation", streaming=True)) == rows.to_list()


def test_ava_without_a_list_of_excluded_seconds(load, tmp_path, caplog):
    write_ava(tmp_path, excluded=None)
    touch(tmp_path, "film_1.mkv", "film-2.mp4")
    assert load("ava", "v2.2", split="validation").num_rows == 3
    assert "no list of excluded timestamps" in caplog.text
    write_ava(tmp_path)  # the table is made anew
    assert load("ava", "v2.2", split="validation").num_rows == 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("film_1", "0904", 0.5, 0.2, 0.5, 0.9, 12, "0"), r"line 6: expected a box x1 < x2, y1 < y2 in \[0, 1\]"),
        (("film_1", "0904", 0.1, 0.9, 0.5, 0.2, 12, "0"), "line 6: expected a box"),
        (("film_1", "0904", 0.1, 0.2, 1.5, 0.9, 12, "0"), "line 6: expected a box"),
        (("film_1", "0904", "nan", 0.2, 0.5, 0.9, 12, "0"), "line 6: expected 'x1' to be a number, got 'nan'"),
        (("film_1", "0904", "left", 0.2, 0.5, 0.9, 12, "0"), "line 6: expected 'x1' to be a number, got 'left'"),
        (("film_1", "0904", 0.1, 0.2, 0.5, 0.9, 81, "0"), "line 6: expected 'action_id' from 1 to 80, got 81"),
        (("film_1", "0904", 0.1, 0.2, 0.5, 0.9, 12, ""), "line 6: expected 'person_id' to be a non-empty"),
        (("film_1", "0904", 0.1, 0.2, 0.5, 0.9, 12), "line 6: expected the 8 columns"),
        (AVA_ROWS[4], "line 6: expected every action of a person once, got 74 of '5' again"),
        (AVA_ROWS[0], "line 6: expected every 'keyframe_id' once, got 'film_1,0902' as in .*, line 1"),
    ],
)
def test_malformed_boxes(row, message, load, tmp_path):
    write_ava(tmp_path, [*AVA_ROWS, row])
    with pytest.raises(AnnotationError, match=r"ava_val_v2\.2\.csv, " + message):
        load("ava", "v2.2")


PROPOSALS = [
    ("film_1", "0902", 0.125, 0.25, 0.5, 0.875, 0.98),
    ("film_1", "0902", 0.6, 0.25, 0.75, 0.875, 0.4),
    ("film_1", "0903", 0.125, 0.25, 0.5, 0.875, 0.9),  # excluded
    ("film_1", "0904", 0.0, 0.0, 0.5, 0.5, 1),  # where nobody is annotated
    ("film_9", "0902", 0.0, 0.0, 0.5, 0.5, 0.7),  # of another split
]


def write_proposals(path: Path, rows=PROPOSALS) -> str:
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    return str(path)


def test_proposals_of_ava(load, tmp_path):
    write_ava(tmp_path)
    touch(tmp_path, "film_1.mkv", "film-2.mp4")
    given = write_proposals(tmp_path / "found.csv")
    rows = load("ava", "v2.2", split="validation", proposals=given)
    assert rows["keyframe_id"][:] == ["film_1,0902", "film-2,1001", "film_1,0904"]
    assert rows["proposals"][:2] == [[[0.125, 0.25, 0.5, 0.875, 0.98], [0.6, 0.25, 0.75, 0.875, 0.4]], []]
    assert rows[2]["boxes"] == rows[2]["labels"] == [] and rows[2]["proposals"] == [[0.0, 0.0, 0.5, 0.5, 1.0]]
    write_proposals(tmp_path / "found.csv", PROPOSALS[:1])  # the table is made anew
    assert load("ava", "v2.2", split="validation", proposals=given).num_rows == 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            ("film_1", "0904", 0.5, 0.2, 0.5, 0.9, 0.8),
            r"found.csv, line 6: expected a box x1 < x2, y1 < y2 in \[0, 1\]",
        ),
        (("film_1", "0904", 0.1, 0.2, 1.5, 0.9, 0.8), "found.csv, line 6: expected a box"),
        (("film_1", "0904", 0.1, "nan", 0.5, 0.9, 0.8), "found.csv, line 6: expected 'y1' to be a number"),
        (("film_1", "0904", 0.1, 0.2, 0.5, 0.9, 1.2), r"found.csv, line 6: expected a score in \[0, 1\], got 1.2"),
        (("film_1", "0904", 0.1, 0.2, 0.5, 0.9), "found.csv, line 6: expected the 7 columns"),
    ],
)
def test_malformed_proposals(row, message, load, tmp_path):
    write_ava(tmp_path)
    given = write_proposals(tmp_path / "found.csv", [*PROPOSALS, row])
    with pytest.raises(AnnotationError, match=message):
        load("ava", "v2.2", proposals=given)


def test_files_of_proposals_that_are_not_read(load, tmp_path):
    write_ava(tmp_path)
    with pytest.raises(ValueError, match="dense.pkl is a pickle, which runs code .* Write its boxes as csv"):
        load("ava", "v2.2", proposals=str(tmp_path / "dense.pkl"))
    with pytest.raises(FileNotFoundError, match="there is no file .*found.csv"):
        load("ava", "v2.2", proposals=str(tmp_path / "found.csv"))


def test_films_that_were_cut(load, tmp_path):
    write_ava(tmp_path)
    touch(tmp_path, "film_1.mkv", "film-2.mp4")
    rows = load("ava", "v2.2", split="validation", starts_at_s=900)
    assert rows["timestamp_s"][:] == [2.0, 101.0] and rows["keyframe_id"][0] == "film_1,0902"
    with pytest.raises(AnnotationError, match="line 1: expected a second of the cut films, which start at 903"):
        load("ava", "v2.2", split="validation", starts_at_s=903)


def test_classes_of_ava(load, tmp_path):
    write_ava(tmp_path)
    touch(tmp_path, "film_1.mkv", "film-2.mp4")
    loader = find_loader("ava")

    def classes():
        names = load("ava", "v2.2", split="validation").features["labels"].feature.feature.names
        evaluated = loader.evaluated_classes(loader.complete_config("v2.2", tmp_path, {}))
        return names, evaluated

    names, evaluated = classes()
    assert len(names) == 80 and names[11] == "action 12" and len(evaluated) == 60 and 1 not in evaluated
    listed = 'item {\n  name: "stand"\n  id: 12\n}\nitem {\n  name: "walk"\n  id: 14\n}\n'
    write(tmp_path, {"ava_action_list_v2.2_for_activitynet_2019.pbtxt": listed})
    names, evaluated = classes()
    assert names[10:14] == ["action 11", "stand", "action 13", "walk"] and evaluated == [11, 13]
    every = 'label {\n  name: "crouch"\n  label_id: 3\n  label_type: PERSON_MOVEMENT\n}\n'
    write(tmp_path, {"ava_action_list_v2.2.pbtxt": every})
    assert classes()[0][2] == "crouch" and classes()[1] == [11, 13]


def test_versions_of_ava(load, tmp_path):
    write_ava(tmp_path)
    with pytest.raises(ValueError, match="no config was named; choose one of\n  v2.2: .*\n  v2.1: "):
        load("ava")
    with pytest.raises(FileNotFoundError, match=r"ava_val_v2\.1\.csv with ava_val_excluded_timestamps_v2\.1\.csv, or"):
        load("ava", "v2.1")
    with pytest.raises(FileNotFoundError, match=r"No file of the split 'train' of .*ava_train_v2\.2\.csv"):
        load("ava", "v2.2", split="train")


def test_names_of_actions(tmp_path):
    lists = {
        "evaluated.pbtxt": 'item {\n  name: "bend/bow (at the waist)"\n  id: 1\n}\nitem {\n  name: "dance"\n  id: 4\n}\n',
        "all.pbtxt": 'label {\n  name: "crawl"\n  label_id: 2\n  label_type: PERSON_MOVEMENT\n}\n',
        "label_map.txt": "1: bend/bow (at the waist)\n4: dance\n",
        "twice.txt": "1: dance\n1: crawl\n",
        "large.txt": "81: dance\n",
        "nameless.pbtxt": "item {\n  id: 1\n}\n",
        "other.txt": "dance\n",
        "empty.txt": "\n",
    }
    write(tmp_path, lists)
    assert read_actions(tmp_path / "evaluated.pbtxt") == {1: "bend/bow (at the waist)", 4: "dance"}
    assert read_actions(tmp_path / "label_map.txt") == read_actions(tmp_path / "evaluated.pbtxt")
    assert read_actions(str(tmp_path / "all.pbtxt")) == {2: "crawl"}
    for name, line in (("twice.txt", 2), ("large.txt", 1), ("nameless.pbtxt", 2), ("other.txt", 1)):
        with pytest.raises(AnnotationError, match=f"{name}, line {line}: expected"):
            read_actions(tmp_path / name)
    with pytest.raises(AnnotationError, match="empty.txt names no action"):
        read_actions(tmp_path / "empty.txt")
