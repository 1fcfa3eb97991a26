# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""`train_scripts/retrieval.py` on rows with seconds: a sentence is about a part of its video, which is all that is decoded."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from tiny_runs import one_thread, tiny_run  # noqa: F401

from clipbert.datasets_scripts.synthetic import generate_synthetic
from clipbert.processing import ClipBERTVideoProcessor, VideoTextProcessor, load_tokenizer
from clipbert.train_scripts.engine.predictions import read_predictions
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.retrieval import RetrievalTask
from clipbert.train_scripts.tasks.retrieval.items import CaptionedVideos, PairSection
from clipbert.train_scripts.tasks.rows import RowsByVideo


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("moments") / "shapes"
    return generate_synthetic(folder, progress=False, preset="sequences", num_train=6, num_validation=0, num_test=4)


def rows_of(shapes):
    files = {name: str(shapes / "train" / "videos" / f"{name}.mp4") for name in ("train_00000", "train_00001")}
    spans = [
        ("train_00000", 0.0, 1.0),
        ("train_00000", 1.0, 2.5),
        ("train_00000", 0.0, 1.0),
        ("train_00001", None, None),
    ]
    return Dataset.from_list(
        [
            {
                "video_id": name,
                "video": files[name],
                "caption": f"sentence {number}",
                "start_s": start_s,
                "end_s": end_s,
            }
            for number, (name, start_s, end_s) in enumerate(spans)
        ]
    )


def test_parts_of_videos_are_told_apart(shapes):
    grouped = RowsByVideo(rows_of(shapes))
    assert grouped.ids == ["train_00000@0-1", "train_00000@1-2.5", "train_00001"]
    assert grouped.owners.tolist() == [0, 1, 0, 2] and grouped.members(0).tolist() == [0, 2]
    assert grouped.spans() == [(0.0, 1.0), (1.0, 2.5), None]
    assert grouped.span_options(1) == {"spans_se": [(1.0, 2.5)]}
    whole = RowsByVideo(rows_of(shapes).remove_columns(["start_s", "end_s"]))
    assert whole.ids == ["train_00000", "train_00001"] and whole.spans() is None and whole.span_options(0) == {}


def test_training_items_show_the_part(shapes):
    processor = VideoTextProcessor(ClipBERTVideoProcessor(size=48), load_tokenizer(shapes / "vocab.txt"))
    options = {"num_clips": 1, "num_frames": 2, "sampling": "random"}
    items = CaptionedVideos(rows_of(shapes), processor, options, PairSection(captions_per_video=2), seed=3)
    assert items.ids == ["train_00000@0-1", "train_00000@1-2.5", "train_00001"]
    source, span = items.grouped.source(1), items.grouped.spans()[1]
    item = items[0, 1]
    expected = processor(videos=[source], spans_se=[span], seeds=[(3, 0, 1)], **options)["pixel_values"]
    torch.testing.assert_close(item.video["pixel_values"], expected, rtol=0, atol=0)
    assert item.captions == ["sentence 1", "sentence 1"] and not set(item.negatives) & {"sentence 1"}


@pytest.mark.parametrize("more", [(), ("data.streaming=true", "data.stream_num_items=8")], ids=["table", "stream"])
def test_retrieval_trains_and_ranks_parts(shapes, tmp_path, more):
    output_dir = tmp_path / "run"
    main(RetrievalTask(), tiny_run("synthetic", "moments", shapes, output_dir, *more))
    predictions = read_predictions(output_dir / "predictions" / "test")
    ids = predictions.info["video_ids"]
    assert len(ids) == 8 and all("@" in name for name in ids)  # two acts of four videos
    assert {row["video_id"] for row in predictions.rows} == set(ids)
    seconds = predictions.tensors["frame_seconds"]
    for name, shown in zip(ids, seconds, strict=True):
        start_s, end_s = map(float, name.split("@")[1].split("-"))
        assert np.nanmin(shown) >= start_s - 0.125 and np.nanmax(shown) < end_s
