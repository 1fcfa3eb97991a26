# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What the retrieval benchmarks have in common, on small folders in their layouts and on the official files."""

import logging
import time

import pytest
from retrieval_layouts import WRITERS, lsmdc_line, write_lines

from clipbert.datasets_scripts import find_loader, load_benchmark, prepare
from clipbert.datasets_scripts.building.usable_videos import UnusableVideosError


# (videos, rows) of every split of the small folders
SMALL = {
    ("msrvtt", "retrieval_full"): {"train": (3, 6), "validation": (1, 2), "test": (2, 4)},
    ("msrvtt", "retrieval_1ka"): {"train": (4, 8), "test": (2, 2)},
    ("msrvtt", "retrieval_1ka_9k"): {"train": (4, 8), "test": (2, 2)},
    ("msrvtt", "retrieval_1kb"): {"train": (2, 4), "test": (2, 2)},
    ("msrvtt", "multiple_choice"): {"test": (1, 1)},
    ("didemo", "retrieval"): {"train": (2, 2), "validation": (2, 2), "test": (2, 2)},
    ("didemo", "moments"): {"train": (2, 3), "validation": (2, 3), "test": (2, 3)},
    ("activitynet_captions", "retrieval"): {"train": (2, 2), "validation": (1, 1)},
    ("activitynet_captions", "retrieval_val_2"): {"train": (2, 2), "validation": (1, 1)},
    ("activitynet_captions", "moments"): {"train": (2, 3), "validation": (1, 1), "test": (1, 1)},
    ("activitynet_captions", "moments_vslnet"): {"train": (2, 3), "validation": (1, 1), "test": (1, 1)},
    ("lsmdc", "retrieval"): {"train": (2, 3), "validation": (2, 3), "test": (2, 2)},
    ("msvd", "retrieval"): {"train": (2, 6), "validation": (1, 3), "test": (2, 6)},
    ("vatex", "retrieval_official"): {"train": (2, 4), "validation": (2, 4), "test": (1, 2)},
    ("vatex", "retrieval_hgr"): {"train": (2, 4), "validation": (1, 2), "test": (1, 2)},
}
# the same for the official files
OFFICIAL = {
    ("msrvtt", "retrieval_full"): {"train": (6513, 130260), "validation": (497, 9940), "test": (2990, 59800)},
    ("msrvtt", "retrieval_1ka"): {"train": (7010, 140200), "test": (1000, 1000)},
    ("msrvtt", "retrieval_1ka_9k"): {"train": (9000, 180000), "test": (1000, 1000)},
    ("msrvtt", "retrieval_1kb"): {"train": (6656, 133120), "test": (1000, 1000)},
    ("didemo", "retrieval"): {"validation": (1065, 1065), "test": (1004, 1004)},
    ("didemo", "moments"): {"validation": (1065, 4180), "test": (1004, 4021)},
    ("activitynet_captions", "retrieval"): {"train": (10009, 10009), "validation": (4917, 4917)},
    ("activitynet_captions", "retrieval_val_2"): {"train": (10009, 10009), "validation": (4885, 4885)},
    ("activitynet_captions", "moments"): {
        "train": (10009, 37421 - 4),
        "validation": (4917, 17505),
        "test": (4885, 17031),
    },
    ("activitynet_captions", "moments_vslnet"): {
        "train": (10009, 37421 - 4),
        "validation": (4885, 17031),
        "test": (4917, 17505),
    },
}

MORE = {  # of the same files
    ("msrvtt", "retrieval_1ka_9k"),
    ("msrvtt", "retrieval_1kb"),
    ("activitynet_captions", "moments"),
    ("activitynet_captions", "moments_vslnet"),
}


def write_benchmark(name, tmp_path):
    folder = tmp_path / name
    folder.mkdir()
    WRITERS[name](folder)
    return folder


def count(splits) -> dict:
    return {split: (len(rows.unique("video_id")), len(rows)) for split, rows in splits.items()}


@pytest.mark.parametrize("name, config", SMALL)
def test_every_protocol_loads_and_streams_the_same_rows(name, config, tmp_path):
    folder = write_benchmark(name, tmp_path)
    arguments = {"config": config, "data_dir": folder, "cache_dir": str(tmp_path / "cache")}
    splits = load_benchmark(name, **arguments)
    assert count(splits) == SMALL[name, config]
    streamed = load_benchmark(name, **arguments, streaming=True)
    for split, rows in splits.items():
        assert list(streamed[split]) == rows.to_list()


@pytest.mark.parametrize("name", WRITERS)
def test_every_video_of_every_protocol_has_facts(name, tmp_path):
    folder = write_benchmark(name, tmp_path)
    for config in [config for each, config in SMALL if each == name]:
        builder = find_loader(name)(str(tmp_path / "cache"), config, folder)
        prepare(builder)
        facts = builder.video_facts()
        named = {video for rows in builder.as_dataset().values() for video in rows["video_id"]}
        assert named <= set(facts)
        assert all(facts[video].recording for video in named)
        assert name == "didemo" or all(0 < facts[video].duration_s < 60 for video in named)


@pytest.fixture(scope="module")
def official_cache(tmp_path_factory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize(
    "name, config", [pytest.param(*which, marks=pytest.mark.slow if which in MORE else ()) for which in OFFICIAL]
)
def test_official_files_have_the_documented_counts(name, config, data_dir, official_cache):
    started = time.process_time()
    folder, videos = data_dir / "annotations" / name, data_dir / "videos"
    builder = find_loader(name)(official_cache, config, folder, video_dir=videos)
    prepare(builder)
    assert count(builder.as_dataset()) == OFFICIAL[name, config]
    assert time.process_time() - started < 60  # seconds on one core, also for 180,000 captions


def test_official_durations_are_those_of_the_clips(data_dir, tmp_path):
    facts = {}
    for name, config in (("msrvtt", "retrieval_full"), ("activitynet_captions", "moments")):
        facts |= find_loader(name)(str(tmp_path), config, data_dir / "annotations" / name).video_facts()
    assert facts["video7500"].duration_s == pytest.approx(16.667, abs=1)  # 3 frames a second
    assert facts["v_GGSY1Qvo990"].duration_s == pytest.approx(18.158, abs=0.2)
    assert facts["v_ZNVhz7ctTq0"].recording == "ZNVhz7ctTq0"


@pytest.mark.parametrize("name", [name for name in WRITERS if len({c for n, c in SMALL if n == name}) > 1])
def test_protocols_are_listed_where_none_is_named(name, tmp_path):
    folder = write_benchmark(name, tmp_path)
    with pytest.raises(ValueError, match="no config was named; choose one of") as caught:
        load_benchmark(name, data_dir=folder, cache_dir=str(tmp_path / "cache"))
    assert all(f"\n  {config}: " in str(caught.value) for each, config in SMALL if each == name)


@pytest.mark.parametrize("name", ["lsmdc", "msvd"])
def test_the_only_protocol_needs_no_name(name, tmp_path):
    folder = write_benchmark(name, tmp_path)
    rows = load_benchmark(name, data_dir=folder, cache_dir=str(tmp_path / "cache"), split="test")
    assert rows.config_name == "retrieval"


@pytest.mark.parametrize(
    "name, config, split, removed, expected",
    [
        (
            "msrvtt",
            "retrieval_full",
            "test",
            ["test_videodatainfo.json"],
            "expected test_videodatainfo.json, or test_",
        ),
        ("msrvtt", "retrieval_1ka", "test", ["MSRVTT_JSFUSION_test.csv"], "expected MSRVTT_JSFUSION_test.csv."),
        (
            "msrvtt",
            "retrieval_1ka_9k",
            "train",
            ["MSRVTT_train.9k.csv"],
            "expected MSRVTT_train.9k.csv or split_lists/train_list_jsfusion.txt or train_list_jsfusion.txt with "
            "train_val_videodatainfo.json or train_val_annotation.zip with test_videodatainfo.json or ",
        ),
        ("didemo", "moments", "train", ["train_data.json"], "expected train_data.json."),
        (
            "activitynet_captions",
            "moments",
            "test",
            ["val_2.json"],
            "expected val_2.json, or captions.zip, or test.json",
        ),
        ("lsmdc", "retrieval", "train", ["LSMDC16_annos_training.csv"], "expected LSMDC16_annos_training.csv."),
        (
            "msvd",
            "retrieval",
            "validation",
            ["val_list.txt"],
            "AllVideoDescriptions.txt or video_corpus.csv with val_",
        ),
        ("vatex", "retrieval_hgr", "test", ["vatex_test1k5.txt"], "vatex_validation_v1.0.json with tst_names.npy or "),
    ],
)
def test_a_split_without_its_file_is_absent_and_names_the_file(name, config, split, removed, expected, tmp_path):
    folder = write_benchmark(name, tmp_path)
    for file in removed:
        (folder / file).unlink()
    arguments = {"config": config, "data_dir": folder, "cache_dir": str(tmp_path / "cache")}
    assert set(load_benchmark(name, **arguments)) == set(SMALL[name, config]) - {split}
    with pytest.raises(FileNotFoundError, match=f"No file of the split '{split}' of ") as caught:
        load_benchmark(name, split=split, **arguments)
    assert expected in str(caught.value)


@pytest.mark.parametrize("name, config", SMALL)
def test_an_empty_folder_is_told_what_to_hold(name, config, tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"/{config} in {tmp_path}. Expected for each split:\n  ") as caught:
        load_benchmark(name, config, data_dir=tmp_path)
    assert "It holds" in str(caught.value)


def test_a_video_in_another_container_or_none_is_seen_although_rows_are_cached(tmp_path):
    folder = write_benchmark("msvd", tmp_path)
    arguments = {"split": "test", "data_dir": folder, "cache_dir": str(tmp_path / "cache")}
    assert load_benchmark("msvd", **arguments)[0]["video"].endswith("YouTubeClips/d_1_9.avi")
    (folder / "YouTubeClips/d_1_9.avi").rename(folder / "d_1_9.mkv")
    assert load_benchmark("msvd", **arguments)[0]["video"] == str(folder / "d_1_9.mkv")
    (folder / "d_1_9.mkv").unlink()
    with pytest.raises(UnusableVideosError, match="2 videos: 1 missing"):
        load_benchmark("msvd", **arguments)
    assert len(load_benchmark("msvd", on_missing="skip", **arguments)) == 3


def test_changed_lists_do_not_meet_an_old_cache(tmp_path):
    folder = write_benchmark("msrvtt", tmp_path)
    arguments = {"split": "test", "data_dir": folder, "cache_dir": str(tmp_path / "cache")}
    assert load_benchmark("msrvtt", "retrieval_1kb", **arguments)["video_id"][:] == ["video4", "video1"]
    write_lines(folder / "split_lists/test_list_miech.txt", "video2")
    assert load_benchmark("msrvtt", "retrieval_1kb", **arguments)["video_id"][:] == ["video2"]


def test_validation_videos_can_be_held_out_where_there_are_none(tmp_path):
    folder = write_benchmark("lsmdc", tmp_path)
    (folder / "LSMDC16_annos_val.csv").unlink()
    clips = [f"{second % 20:04d}_Film_00.00.{second:02d}.000-00.01.00.000" for second in range(60)]
    write_lines(folder / "LSMDC16_annos_training.csv", *(lsmdc_line(clip, "SOMEONE waits.") for clip in clips))
    arguments = {"data_dir": folder, "cache_dir": str(tmp_path / "cache")}
    builder = find_loader("lsmdc")(arguments["cache_dir"], None, folder, validation_fraction=0.3)
    prepare(builder)
    splits = builder.as_dataset()
    films = {split: {clip[:4] for clip in rows["video_id"]} for split, rows in splits.items()}
    assert films["train"].isdisjoint(films["validation"])  # what was cut from one film stays together
    assert len(splits["train"]) + len(splits["validation"]) == 60 and 5 < len(splits["validation"]) < 35


@pytest.mark.parametrize("name, config", [("didemo", "retrieval"), ("msrvtt", "retrieval_full")])
def test_nothing_is_logged_about_good_files(name, config, tmp_path, caplog):
    folder = write_benchmark(name, tmp_path)
    with caplog.at_level(logging.WARNING, logger="clipbert.datasets_scripts"):
        load_benchmark(name, config, data_dir=folder, cache_dir=str(tmp_path / "cache"))
    assert not caplog.records
