# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Every real clip or image with official annotation meets it under its official name, and can be decoded."""

import json
import shutil

import pytest

from clipbert.datasets_scripts import load_benchmark
from clipbert.processing import ClipBERTVideoProcessor, VideoTextProcessor, load_tokenizer


UCF101 = "videos/ucf101/v_"
# file of the collection, its official name, benchmark, config, split, rows about it, further arguments
PAIRS = [
    ("videos/msrvtt/video7500.mp4", "TestVideo/video7500.mp4", "msrvtt", "retrieval_full", "test", 20),
    ("videos/msrvtt/video7500.mp4", "video7500.mp4", "msrvtt", "retrieval_1ka_9k", "test", 1),
    ("videos/msrvtt/video7500.mp4", "video7500.mp4", "msrvtt_qa", None, "test", 21),
    ("videos/activitynet/v_ZNVhz7ctTq0.mp4", "v_ZNVhz7ctTq0.mp4", "activitynet_captions", "moments", "train", 2),
    ("videos/activitynet/v_GGSY1Qvo990.mp4", "v_GGSY1Qvo990.mp4", "activitynet_captions", "moments", "test", 3),
    ("videos/activitynet/v_GGSY1Qvo990.mp4", "v_GGSY1Qvo990.mp4", "activitynet_captions", "retrieval", "validation", 1),
    (f"{UCF101}ApplyEyeMakeup_g01_c01.avi", "v_ApplyEyeMakeup_g01_c01.avi", "ucf101", "split1", "test", 1),
    (f"{UCF101}BaseballPitch_g01_c01.avi", "v_BaseballPitch_g01_c01.avi", "ucf101", "split1", "test", 1),
    (f"{UCF101}CricketShot_g04_c01_rgb.gif", "v_CricketShot_g04_c01.gif", "ucf101", "split1", "test", 1),
    (f"{UCF101}CricketShot_g04_c01_rgb.gif", "test/v_CricketShot_g04_c01_rgb.gif", "ucf101", "top5", "test", 1),
    ("videos/tgif/1.gif", "tumblr_ng2hhrvC6B1slj978o1_400.gif", "tgif_qa", "count", "test", 1),
    ("videos/tgif/2.gif", "tumblr_n97k6nnj3K1tbjfazo1_400.gif", "tgif_qa", "action", "test", 1),
    ("videos/tgif/4.gif", "tumblr_nbsdx5f0Gm1rb71dxo1_400.gif", "tgif_qa", "frameqa", "test", 5),
    ("videos/kinetics/test.mp4", "test.mp4", "video_folder", "retrieval", "train", 2),
    ("annotations/vqa2/images/COCO_train2014_000000458752.jpg", "train2014/", "vqa2", "standard", "train", 3),
    ("annotations/vqa2/images/COCO_val2014_000000262148.jpg", "val2014/", "coco_captions", "captions2014", "validation", 1),
    ("annotations/visual_genome/images/{4,5}.jpg", "VG_100K/", "visual_genome", "qa", "train", 8),
    ("annotations/visual_genome/images/1.jpg", "VG_100K_2/", "visual_genome", "captions", "train", 3),
]  # fmt: skip
UNPAIRED = {"videos/tgif/3.gif"}  # its question is in a file that the collection has not


@pytest.fixture(scope="module")
def processor(small_parity_dir):
    tokenizer = load_tokenizer(small_parity_dir / "text" / "vocab.txt")
    return VideoTextProcessor(ClipBERTVideoProcessor(size=64, num_frames=2), tokenizer, max_length=20)


def test_all_pairs_are_looked_at(data_dir):
    pairs = json.loads((data_dir / "annotations" / "real_pairs.json").read_text())
    assert {pair["file"] for pair in pairs} == {file for file, *_ in PAIRS} | UNPAIRED


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize(
    ("file", "official", "name", "config", "split", "num_rows"),
    [pytest.param(*pair, marks=pytest.mark.slow if pair[2] == "msrvtt_qa" else ()) for pair in PAIRS],  # large tables
    ids=lambda value: value if isinstance(value, str) and "/" not in value else "",
)
def test_media_meet_their_annotation(
    file, official, name, config, split, num_rows, data_dir, cache, processor, tmp_path
):
    places = []
    folder, _, stem = file.rpartition("/")
    for each in ["4.jpg", "5.jpg"] if "{" in stem else [stem]:
        place = tmp_path / (f"{official}{each}" if official.endswith("/") else official)
        place.parent.mkdir(exist_ok=True)
        shutil.copy(data_dir / folder / each, place)
        places.append(str(place))
    if name == "video_folder":
        arguments = {"data_dir": data_dir / "annotations/kinetics400", "file": "video_text_test_list.json"}
    else:
        arguments = {"data_dir": data_dir / "annotations" / name}
    arguments |= {"video_dir": tmp_path, "cache_dir": cache}
    rows = list(load_benchmark(name, config, split, on_missing="skip", streaming=True, **arguments))
    assert len(rows) == num_rows
    media = "image" if "image" in rows[0] else "video"
    assert sorted({row[media] for row in rows}) == places
    text = next(rows[0][column] for column in ("caption", "question", "label") if column in rows[0])
    inputs = processor(**{f"{media}s": [places[0]]}, text=[str(text)])
    assert inputs["pixel_values"].isfinite().all() and inputs["pixel_values"].std() > 0
