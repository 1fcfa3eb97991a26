# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Training on streamed shards: lanes, windows and cursors, and the scripts on tar archives."""

import doctest
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
import tracemalloc
from pathlib import Path

import datasets
import pytest
import torch
from safetensors.torch import load_file
from stub_task import wait_for_step
from tiny_runs import one_thread, steps_of, tiny_run  # noqa: F401
from transformers import BertTokenizer

import clipbert.train_scripts.engine.stream
from clipbert.datasets_scripts.building.records import AnnotationError
from clipbert.datasets_scripts.building.usable_videos import UnusableVideosError
from clipbert.datasets_scripts.synthetic import generate_synthetic
from clipbert.datasets_scripts.synthetic.images import generate_synthetic_images
from clipbert.processing import ClipBERTVideoProcessor, VideoTextProcessor
from clipbert.processing.decoding import VideoDecodeError
from clipbert.support.manifest import CheckpointError
from clipbert.train_scripts.engine.data import Batch, MicroBatch, NoCounterpartError, UndecodableVideosError
from clipbert.train_scripts.engine.items import TrainItems
from clipbert.train_scripts.engine.order import BatchPlan, PlannedBatches
from clipbert.train_scripts.engine.recipe import RecipeError
from clipbert.train_scripts.engine.stream import (
    Cursor,
    Lane,
    RowStream,
    StreamedTrainSet,
    StreamSection,
)
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.pretrain import PretrainRecipe, PretrainTask
from clipbert.train_scripts.retrieval import RetrievalRecipe, RetrievalTask
from clipbert.train_scripts.tasks.pretraining.sources import PretrainDataSection, Source
from clipbert.train_scripts.tasks.retrieval.items import CaptionedVideos, PairSection
from clipbert.train_scripts.tasks.rows import normalise, table_of_rows
from clipbert.train_scripts.video_qa import VideoQATask


ROOT = Path(__file__).parents[3]


# ----------------------------------------------------------------------------------------------------------------------
# Lanes and windows
# ----------------------------------------------------------------------------------------------------------------------


class WindowSet(TrainItems):
    """Rows as items: the id of a row, and the draw it was asked for with. Ids with an x cannot be decoded."""

    def __init__(self, rows):
        self.rows, self.ids = rows, [row["id"] for row in rows]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, key):
        epoch, index = key
        if "x" in self.ids[index]:
            raise VideoDecodeError(self.ids[index], "it is broken")
        return torch.tensor([epoch, index])


def collate(items):
    return Batch({"draws": torch.stack(items)}, {})


def read_shards(shards):
    for shard in shards:
        yield from shard


def stream_of(*shards, build_set=WindowSet, name="numbers"):
    """A stream of shards that are given as ids (`"a0 a1"`) or as lists of rows."""
    rows = [[{"id": id} for id in shard.split()] if isinstance(shard, str) else shard for shard in shards]
    return RowStream(
        name, datasets.IterableDataset.from_generator(read_shards, gen_kwargs={"shards": rows}), build_set
    )


def numbered(*sizes):
    """Shards of these sizes."""
    return stream_of(
        *(
            " ".join(f"{name}{number}" for number in range(size))
            for name, size in zip("abcdefghijk", sizes, strict=False)
        )
    )


def train_set_of(*streams, weights=None, seed=7, **settings):
    values = {"stream_lanes": 4, "stream_window": 4, "stream_num_items": 30, "on_decode_error": "skip", **settings}
    section = StreamSection(dataset="x", streaming=True, **values)
    return StreamedTrainSet(streams, weights or [1.0] * len(streams), section, seed)


def ids_of_line(line, epoch):
    """What the lanes of a line read in one of its epochs."""
    found = []
    for position in range(epoch * len(line), (epoch + 1) * len(line)):
        number, lane = divmod(position, line.num_lanes)
        found.append([row["id"] for row in line.read(*line.unit_at(lane, number))])
    return found


@pytest.mark.parametrize(
    ("sizes", "lanes"), [((3, 5, 2, 4), 4), ((3, 5, 2, 4, 1, 6, 2), 4), ((5, 4, 9), 8), ((9,), 4)]
)
def test_every_row_comes_once_an_epoch(sizes, lanes, caplog):
    stream = numbered(*sizes)
    ((line, _), *_) = train_set_of(stream, stream_lanes=lanes).lanes
    for epoch in range(3):
        units = ids_of_line(line, epoch)
        assert sorted(itertools.chain(*units)) == sorted(row["id"] for row in stream.rows)
        assert all(len({id[0] for id in unit}) == 1 for unit in units)  # of one shard each
    assert ids_of_line(line, 0) != ids_of_line(line, 1)
    assert ("each is read" in caplog.text) == (lanes > len(sizes))
    if lanes > len(sizes):
        assert len(line) >= lanes


def test_lanes_read_different_shards_side_by_side():
    train_set = train_set_of(numbered(6, 6, 6, 6), stream_window=6)
    lanes = [Lane(train_set, Cursor(number)) for number in range(4)]
    assert {ids[0][0] for ids in (lane.train_set.ids for lane in lanes)} == set("abcd")


def take(lane, number):
    ids = []
    for _ in range(number):
        key = lane.take()
        ids.append(lane.train_set.ids[key.index])
    return ids


def test_windows_are_shuffled_and_go_on_over_the_ends_of_shards():
    train_set = train_set_of(numbered(3, 3, 3, 3), stream_lanes=1, stream_window=5)
    line, _ = train_set.lanes[0]
    in_line = list(itertools.chain(*ids_of_line(line, 0), *ids_of_line(line, 1), *ids_of_line(line, 2)))
    lane = Lane(train_set, Cursor(0))
    windows = [take(lane, 5) for _ in range(7)]
    for number, window in enumerate(windows):
        assert sorted(window) == sorted(in_line[5 * number : 5 * number + 5])
    assert sum(window == in_line[5 * number : 5 * number + 5] for number, window in enumerate(windows)) <= 1


def test_no_two_windows_share_a_draw():
    train_set = train_set_of(numbered(3, 3, 3, 3), stream_lanes=2, stream_window=3)
    lanes = [Lane(train_set, Cursor(number)) for number in range(2)]
    keys = [lane.take() for lane in lanes for _ in range(30)]
    assert len(set(keys)) == 60


def test_empty_shards_are_passed_over_and_a_stream_of_nothing_is_an_error():
    train_set = train_set_of(stream_of("a0 a1", "", "", "d0"), stream_lanes=2, stream_window=2)
    assert set(take(Lane(train_set, Cursor(0)), 20)) == {"a0", "a1", "d0"}
    with pytest.raises(ValueError, match="numbers: none of the 3 shards has a row that can be used"):
        Lane(train_set_of(stream_of("", "", ""), stream_lanes=2), Cursor(1))


# ----------------------------------------------------------------------------------------------------------------------
# The same micro-batches, whoever reads them and from wherever
# ----------------------------------------------------------------------------------------------------------------------

LANES, GLOBAL_BATCH, MICRO_BATCH, STEPS = 8, 8, 2, 12


def plan_of(num_processes=1, **more):
    return BatchPlan(30, GLOBAL_BATCH, MICRO_BATCH, num_processes, seed=0, **more)


def batches_of(train_set, num_processes=1, num_workers=0, first_step=0, cursors=(), steps=STEPS):
    """The micro-batches of all processes in line, as `(ids, draws, weight, skipped, cursor)`."""
    plan, shares = plan_of(num_processes), []
    train_set.settings.num_workers = num_workers
    train_set.check_division(num_processes, num_workers)
    for process in range(num_processes):
        share = PlannedBatches(plan, first_step, steps, process)
        train_set.restore({"num_shards": train_set.num_shards, "cursors": cursors}, process, num_processes)
        shares.append([comparable(batch) for batch in train_set.loader(collate, share, train_set.settings)])
        assert len(shares[-1]) == len(share)
    return [batch for together in zip(*shares, strict=True) for batch in together]


def comparable(batch: MicroBatch):
    return batch.ids, batch.batch.inputs["draws"].tolist(), batch.weight, batch.skipped, Cursor(*batch.cursor)


def mixed_set():
    """Two sets of which one has undecodable items and one has fewer shards than lanes."""
    return train_set_of(
        numbered(7, 5, 6, 9, 4),
        stream_of("x0 y1 y2 y3", "y4 x5 y6", name="others"),
        weights=[3, 1],
        stream_lanes=LANES,
    )


@pytest.fixture(scope="module")
def whole():
    return batches_of(mixed_set())


@pytest.mark.parametrize("num_workers", [0, 1, 2])
@pytest.mark.parametrize("num_processes", [1, 2, 4])
def test_micro_batches_do_not_depend_on_processes_and_workers(whole, num_processes, num_workers):
    assert batches_of(mixed_set(), num_processes, num_workers) == whole
    assert {cursor.lane for *_, cursor in whole} == set(range(LANES))
    assert max(cursor.unit for *_, cursor in whole) > 2


@pytest.mark.parametrize(
    ("before", "after", "steps"),
    [((1, 0), (1, 0), range(STEPS)), ((1, 0), (4, 2), (1, 3, 6)), ((4, 2), (2, 0), (1, 3, 6))],
)
def test_resuming_at_every_step_goes_on_exactly(whole, before, after, steps):
    """Also with other numbers of processes and workers than before."""
    per_step = GLOBAL_BATCH // MICRO_BATCH
    for step in steps:
        done = batches_of(mixed_set(), *before, steps=step)
        cursors = {cursor.lane: cursor for *_, cursor in done}.values()
        cursors = [Cursor(*numbers) for numbers in json.loads(json.dumps(list(cursors)))]
        assert batches_of(mixed_set(), *after, first_step=step, cursors=cursors) == whole[step * per_step :]


def test_resuming_opens_no_shard_before_the_cursor():
    opened = []

    def read(shards):
        for shard in shards:
            opened.append(shard[0]["id"][0])
            yield from shard

    rows = [[{"id": f"{name}{number}"} for number in range(4)] for name in "abcdef"]
    stream = RowStream("spied", datasets.IterableDataset.from_generator(read, gen_kwargs={"shards": rows}), WindowSet)
    train_set = train_set_of(stream, stream_lanes=1, stream_window=3)
    lane = Lane(train_set, Cursor(0))
    take(lane, 14)
    rest, before = take(Lane(train_set, lane.cursor), 6), len(opened)
    assert rest == take(lane, 6)
    opened.clear()
    Lane(train_set, lane.cursor)
    assert lane.cursor.unit >= 4 and len(opened) <= 2 < before


def test_a_mixture_gives_each_set_its_share_of_the_lanes(whole):
    names = ["numbers" if ids[0].startswith("numbers/") else "others" for ids, *_ in whole]
    assert names.count("others") == len(whole) // 4
    assert all(len({id.split("/")[0] for id in ids}) == 1 for ids, *_ in whole)
    with pytest.raises(
        ValueError, match=r"data.stream_lanes=2 are assigned by weight.*weights of others are below 1/2"
    ):
        train_set_of(numbered(3), stream_of("y0 y1", name="others"), weights=[9, 1], stream_lanes=2)


def test_undecodable_items_are_left_out_with_their_weight(whole):
    broken = [(ids, weight, skipped) for ids, _, weight, skipped, _ in whole if skipped]
    assert broken
    for ids, weight, skipped in broken:
        assert not any("x" in id for id in ids)
        assert weight == 1 - len(skipped) / MICRO_BATCH
        assert {item.id for item in skipped} <= {"others/x0", "others/x5"}
    epochs = {number * MICRO_BATCH // 30: batch[3] for number, batch in enumerate(whole) if batch[3]}
    assert len(epochs) > 1 and all(item.epoch == epoch for epoch, items in epochs.items() for item in items)


def test_a_micro_batch_of_undecodable_items_has_another_one_with_weight_0():
    train_set = train_set_of(stream_of("x0 x1 x2 x3 a0 x4", "x5 x6 x7 b0 x8 x9"), stream_lanes=2, stream_window=6)
    batches = batches_of(train_set)
    assert {weight for *_, weight, _, _ in batches} == {0, 0.5}
    for ids, _, weight, skipped, _ in batches:
        assert ids in (["a0"], ["b0"]) and len(skipped) == 2 - 2 * weight
    every = [item.id for *_, skipped, _ in batches for item in skipped]
    assert len(set(every)) == 10 and not {"a0", "b0"} & set(every)
    with pytest.raises(UndecodableVideosError, match="None of the 2 training items"):
        batches_of(train_set_of(stream_of("x0 x1"), stream_lanes=1, stream_window=2))
    with pytest.raises(UndecodableVideosError, match="Training item x0.*data.skip_list"):
        batches_of(train_set_of(stream_of("x0"), stream_lanes=1, on_decode_error="raise"))


def test_no_more_rows_are_held_than_the_windows():
    size, num_rows, lanes, window = 100_000, 60, 4, 11

    def read(shards):
        for shard in shards:
            for number in range(num_rows):
                yield {"id": f"{shard}{number}", "video": bytes(size)}

    rows = datasets.IterableDataset.from_generator(read, gen_kwargs={"shards": list("abcdefgh")})
    train_set = train_set_of(RowStream("large", rows, WindowSet), stream_lanes=lanes, stream_window=window)
    tracemalloc.start()
    assert len(batches_of(train_set)) == STEPS * GLOBAL_BATCH // MICRO_BATCH
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert lanes * window * size < peak < (lanes * window + 6) * size  # a few rows are on their way


# ----------------------------------------------------------------------------------------------------------------------
# Wrong captions
# ----------------------------------------------------------------------------------------------------------------------


class NoVideos:
    def __call__(self, videos, seeds):
        return {"pixel_values": torch.zeros(1, 1, 1, 3, 4, 4)}


def pairs_stream(*shards, **settings):
    """A stream for retrieval from shards of `(video_id, caption)`."""
    rows = [[{"video_id": video, "video": b"bytes", "caption": text} for video, text in shard] for shard in shards]
    section, features = PairSection(dataset="x", **settings), datasets.Dataset.from_list(rows[0]).features

    def build_set(window):
        return CaptionedVideos(table_of_rows(window, features), NoVideos(), {}, section, seed=3)

    return stream_of(*rows, build_set=build_set)


def test_wrong_captions_are_of_other_videos_in_the_window():
    captions = {"a": ["A dog", "a cat"], "b": ["a  dog", "a horse"], "c": ["a bird", "a CAT"], "d": ["a fish"]}
    shards = [[(video, text) for video in group for text in captions[video]] for group in ("ab", "cd", "ad", "bc")]
    train_set = train_set_of(pairs_stream(*shards), stream_window=3)
    drawn = set()
    for number in range(4):
        lane = Lane(train_set, Cursor(number))
        for _ in range(60):
            key = lane.take()
            item, pairs = lane.train_set[key], lane.train_set
            own = set(map(normalise, pairs.read_captions(pairs.grouped.members(pairs.owners[key.index]))))
            assert own == item.own_texts and not own & set(map(normalise, item.negatives))
            assert set(item.negatives) <= set(pairs.captions["caption"])
            drawn.add((item.video_id, *item.negatives))
    assert len(drawn) > 8


def test_rows_of_one_video_are_joined_with_the_next_ones():
    shards = [[("a", f"a{number}") for number in range(9)] + [("b", "b0"), ("b", "b1"), ("c", "c0")]]
    train_set = train_set_of(pairs_stream(*shards), stream_lanes=1, stream_window=4)
    lane = Lane(train_set, Cursor(0))
    assert set(lane.train_set.grouped.ids) == {"a", "b", "c"} and len(lane.train_set.captions) == 12
    # the window after it begins where it ended, also when it is read again from its cursor
    take(lane, 13)
    assert (lane.cursor.unit, lane.cursor.row, lane.cursor.window) == (1, 0, 1)
    assert take(Lane(train_set, lane.cursor), 5) == take(lane, 5)


def test_every_picture_of_a_window_of_pre_training_has_a_wrong_caption():
    """A table is known to have them where one picture does; a few rows are not."""
    captions = [("a", "red"), ("b", "red"), ("b", "blue"), ("c", "green")]
    rows = [
        {"image_id": image, "image": f"{image}.png", "caption": text, "caption_id": str(number)}
        for number, (image, text) in enumerate(captions)
    ]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red"]
    tokenizer = BertTokenizer(vocab={word: number for number, word in enumerate(words)})
    processor = VideoTextProcessor(ClipBERTVideoProcessor(size=48), tokenizer)
    settings = PretrainDataSection(dataset="x", train_split="train")
    source = Source("set", settings, 1.0, PretrainRecipe(data=settings), processor)
    source.train_rows = datasets.Dataset.from_list(rows)
    assert len(source.pairs(source.train_rows.select(range(3)))) == 3
    with pytest.raises(NoCounterpartError, match="set/train: image b has no counterpart"):
        source.window(rows[:3])
    assert len(source.window(rows)) == 4
    settings.mismatch_probability = 0.0
    assert len(source.window(rows[:3])) == 3


def test_one_video_alone_has_no_wrong_caption():
    only = [("a", f"a{number}") for number in range(5)]
    with pytest.raises(
        NoCounterpartError, match=r"numbers: 32 rows in line.*stream_window=2.*Video a \(bytes\) has no"
    ):
        Lane(train_set_of(pairs_stream(only), stream_lanes=1, stream_window=2), Cursor(0))
    assert Lane(train_set_of(pairs_stream(only, negatives="in_batch"), stream_lanes=1, stream_window=2), Cursor(0))


# ----------------------------------------------------------------------------------------------------------------------
# The scripts
# ----------------------------------------------------------------------------------------------------------------------


def write_shards(folder, samples, num_shards):
    """Tar archives of `(name, video, caption)`, in turn."""
    folder.mkdir(parents=True)
    for shard in range(num_shards):
        with tarfile.open(folder / f"{shard:05d}.tar", "w") as archive:
            for name, video, caption in samples[shard::num_shards]:
                for suffix, content in (("mp4", video), ("txt", caption.encode())):
                    member = tarfile.TarInfo(f"{name}.{suffix}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stream") / "shapes"
    return generate_synthetic(folder, progress=False, preset="easy", num_train=24, num_validation=2, num_test=4)


@pytest.fixture(scope="module")
def tars(shapes, tmp_path_factory):
    """The generated videos in tar archives, five of unequal sizes to train on and one to test on."""
    folder = tmp_path_factory.mktemp("stream") / "tars"
    for split, num_shards in (("train", 5), ("test", 1)):
        rows = [json.loads(line) for line in (shapes / split / "captions.jsonl").read_text().splitlines()]
        samples = [
            (Path(row["video"]).stem, (shapes / split / row["video"]).read_bytes(), row["caption"]) for row in rows
        ]
        write_shards(folder / split, samples, num_shards)
    shutil.copy(shapes / "vocab.txt", folder)
    return folder


STREAMED = ["data.streaming=true", "data.stream_num_items=24", "data.stream_lanes=4", "data.stream_window=5"]
RUN = ["run.total_steps=8", "run.save_every=2", "run.save_total_limit=null", "data.num_clips=2"]


def settings_of(tars, output_dir, *more):
    return tiny_run("webvid", "webdataset", tars, output_dir, *STREAMED, *RUN, *more)


def run(tars, output_dir, *more, task=RetrievalTask):
    return main(task(), settings_of(tars, output_dir, *more))


def weights_of(output_dir):
    return load_file(Path(output_dir) / "checkpoints" / "last" / "model.safetensors")


def assert_same_run(first, second):
    assert steps_of(first) == steps_of(second)
    first, second = weights_of(first), weights_of(second)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def whole_run(tars, tmp_path_factory):
    output_dir = tmp_path_factory.mktemp("stream") / "whole"
    result = run(tars, output_dir)
    return output_dir, result["results"]


def go_back(whole_dir, folder, step):
    """A run as if the process had died after this step."""
    shutil.copytree(whole_dir, folder, symlinks=True)
    for checkpoint in sorted((folder / "checkpoints").glob("step_*")):
        if int(checkpoint.name[5:]) > step:
            shutil.rmtree(checkpoint)
    return folder


@pytest.mark.parametrize("step", [2, 4, 6])
def test_the_script_resumes_exactly(tars, tmp_path, whole_run, step):
    output_dir, results = whole_run
    resumed = run(tars, go_back(output_dir, tmp_path / "resumed", step), "data.num_workers=2")
    assert_same_run(output_dir, tmp_path / "resumed")
    assert resumed["results"] == results
    assert results["test"]["metrics"]["num_examples"] == 4
    states = [
        json.loads(path.read_text()) for path in sorted(output_dir.glob("checkpoints/step_*/trainer/state.json"))
    ]
    assert [len(state["train_set"]["cursors"]) for state in states] == [4, 4, 4, 4]


def test_only_the_splits_of_the_evaluation_become_tables(tars, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    more = ["run.total_steps=1"]
    run(tars, tmp_path / "run", *more, "eval.splits={}")
    assert not list(tmp_path.glob("cache/**/*.arrow"))
    run(tars, tmp_path / "other", *more)
    assert [path.name for path in tmp_path.glob("cache/**/*.arrow")] == ["webvid-test.arrow"]
    run(tars, tmp_path / "table", *more, "data.streaming=false", "data.stream_num_items=null")
    assert "webvid-train.arrow" in {path.name for path in tmp_path.glob("cache/**/*.arrow")}


def script_of(launcher, name, settings):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    command = [sys.executable, *launcher, str(ROOT / "train_scripts" / name), *settings]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.slow
def test_kill_and_resume(tars, tmp_path):
    more = ["run.total_steps=60", "run.save_every=7", "data.num_workers=1", "eval.splits={}"]
    run(tars, tmp_path / "whole", *more)
    process = script_of([], "retrieval.py", settings_of(tars, tmp_path / "killed", *more))
    wait_for_step(tmp_path / "killed", 10 + time.time_ns() % 30, process)
    process.kill()
    process.communicate()
    assert 10 <= len(steps_of(tmp_path / "killed")) < 60
    run(tars, tmp_path / "killed", *more)
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one_and_go_on_as_one(tars, tmp_path):
    no_dropout = "model.overrides={hidden_dropout_prob: 0.0, attention_probs_dropout_prob: 0.0}"
    run(tars, tmp_path / "one", no_dropout)
    launcher = ["-m", "accelerate.commands.launch", "--config_file"]
    launcher += [str(ROOT / "train_scripts/recipes/accelerate/two_cpu_processes.yaml"), "--main_process_port", "0"]
    more = [no_dropout, "data.num_workers=2"]
    for name in ("two", "two_again"):
        process = script_of(launcher, "retrieval.py", settings_of(tars, tmp_path / name, *more))
        output = process.communicate(timeout=300)[0]
        assert process.returncode == 0, output
        assert "x 2 processes" in output
        if name == "two":
            go_back(tmp_path / "two", tmp_path / "two_again", 2)
    run(tars, go_back(tmp_path / "two", tmp_path / "one_again", 4), no_dropout)
    for name in ("two", "one_again", "two_again"):
        for ours, theirs in zip(steps_of(tmp_path / "one"), steps_of(tmp_path / name), strict=True):
            assert ours == pytest.approx(theirs, rel=1e-3)
    states = [
        json.loads((tmp_path / name / "checkpoints/step_00000006/trainer/state.json").read_text())["train_set"]
        for name in ("one", "two", "one_again", "two_again")
    ]
    first, *others = [sorted(state["cursors"]) for state in states]
    assert all(other == first for other in others)


def test_a_tar_that_breaks_off_ends_the_run_and_loses_nothing(tars, tmp_path):
    broken = tmp_path / "tars"
    shutil.copytree(tars, broken)
    recipe = RetrievalRecipe.load(overrides=settings_of(tars, tmp_path)[1::2])
    ((line, number), *_) = RetrievalTask().build(recipe).train_set.lanes
    shard = broken / "train" / f"{line.unit_at(number, 1)[0]:05d}.tar"  # not the first one that is read
    whole_shard = shard.read_bytes()
    shard.write_bytes(whole_shard[: len(whole_shard) * 7 // 8])
    more = ["data.num_workers=1", "run.total_steps=12", "run.save_every=1", "eval.splits={}"]
    with pytest.raises(AnnotationError, match=rf"train/{shard.name}.*breaks off after train_000\d\d"):
        run(broken, tmp_path / "run", *more)
    done = steps_of(tmp_path / "run")
    assert 0 < len(done) < 12
    shard.write_bytes(whole_shard)
    run(broken, tmp_path / "run", *more)
    assert steps_of(tmp_path / "run")[: len(done)] == done
    run(tars, tmp_path / "whole", *more)
    assert_same_run(tmp_path / "whole", tmp_path / "run")


def test_undecodable_videos_in_tars(tars, tmp_path, caplog):
    folder = tmp_path / "tars"
    samples = [
        (f"{number:03d}", b"no video" if number == 1 else None, f"a red circle {number}") for number in range(8)
    ]
    with tarfile.open(tars / "train" / "00000.tar") as archive:
        video = archive.extractfile(archive.getmembers()[0]).read()
    write_shards(folder / "train", [(name, content or video, text) for name, content, text in samples], 2)
    shutil.copy(tars / "vocab.txt", folder)
    more = ["data.stream_lanes=2", "data.stream_num_items=8", "run.total_steps=4", "eval.splits={}"]
    with pytest.raises(UndecodableVideosError, match="Training item 00001/001.*data.on_decode_error=skip"):
        run(folder, tmp_path / "raised", *more)
    run(folder, tmp_path / "skipped", *more, "data.on_decode_error=skip", "data.max_decode_error_rate=0.5")
    assert "of 8 items were skipped because their videos cannot be decoded (00001/001" in caplog.text
    run(folder, tmp_path / "listed", *more, "data.skip_list=[00001/001]")
    assert len(steps_of(tmp_path / "listed")) == 4


@pytest.fixture
def csv_parts(shapes, tmp_path):
    """Four parts of a csv as WebVid's authors cut it; the last video of all is not there."""
    rows = [json.loads(line) for line in (shapes / "train" / "captions.jsonl").read_text().splitlines()]
    for part in range(4):
        path = tmp_path / "csv" / "results_2M_train_4" / f"{part}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [f"{Path(row['video']).stem},,,page,{row['caption']}" for row in rows[part::4]]
        lines += ["gone,,,page,a video that is gone"] if part == 3 else []
        path.write_text("\n".join(["videoid,contentUrl,duration,page_dir,name", *lines]) + "\n")
    shutil.copytree(shapes / "train" / "videos", tmp_path / "csv" / "videos" / "page")
    shutil.copy(shapes / "vocab.txt", tmp_path / "csv")
    return tmp_path / "csv"


def test_parts_of_a_csv_with_videos_that_are_gone(csv_parts, tmp_path):
    more = ["data.config=csv_2m", "eval.splits={}", "run.total_steps=12"]
    with pytest.raises(UnusableVideosError, match=r"gone.mp4 is missing.*on_missing"):
        run(csv_parts, tmp_path / "raised", *more)
    for number in (1, 2):  # with one worker and with two
        run(csv_parts, tmp_path / str(number), *more, "data.options.on_missing=skip", f"data.num_workers={number}")
    assert_same_run(tmp_path / "1", tmp_path / "2")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stream") / "pictures"
    return generate_synthetic_images(folder, num_train=10, num_validation=2, num_test=2)


def test_a_streamed_mixture_of_pre_training(tars, pictures, tmp_path):
    sets = [
        {"dataset": "synthetic_images", "config": "image_text", "data_dir": str(pictures), "weight": 1.0},
        {"dataset": "webvid", "config": "webdataset", "data_dir": str(tars), "weight": 3.0},
    ]
    more = [f"data.datasets={json.dumps(sets)}", 'data.dataset=""', "data.config=null", "data.data_dir=null"]
    more += [f"model.tokenizer={pictures / 'vocab.txt'}", "data.captions_per_video=2"]
    result = run(tars, tmp_path / "whole", *more, task=PretrainTask)
    assert result["results"]["test"]["metrics"]["webvid_num_examples"] == 8
    run(tars, go_back(tmp_path / "whole", tmp_path / "resumed", 4), *more, "data.num_workers=2", task=PretrainTask)
    assert_same_run(tmp_path / "whole", tmp_path / "resumed")


def test_pre_training_on_tars_alone(tars, tmp_path):
    run(tars, tmp_path, "run.total_steps=2", task=PretrainTask)
    assert len(steps_of(tmp_path)) == 2


def test_epochs_are_what_the_recipe_says(tars, tmp_path):
    run(tars, tmp_path, "run.total_steps=null", "run.num_epochs=0.5", "eval.splits={}")
    rows = steps_of(tmp_path)
    assert len(rows) == 3 and rows[-1]["epoch"] == 0.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["data.stream_num_items=null"],
            "data.stream_num_items: needed with `streaming: true`, and only then; got None",
        ),
        (["data.streaming=false"], "data.stream_num_items: needed with `streaming: true`, and only then; got 24"),
        (["data.stream_num_items=0"], "data.stream_num_items: expected at least 1"),
        (["data.stream_lanes=0"], "data.stream_lanes: expected at least 1"),
        (["data.group_by_length=true"], "data.group_by_length: needs the lengths of all items"),
        (["data.negatives=hard", "data.hard_negatives=x"], "data.negatives: hard needs a table"),
        (
            ["data.num_workers=3"],
            r"lanes=4 cannot be divided among 1 processes x 3 workers.*num_workers to 1, 2 or 4\.",
        ),
        (["data.options.on_broken=skip"], "a stream can only be 'unchecked'"),
        (["data.train_split=train[:50%]"], r"train\[:50%\]"),
        (["data.train_split=trian"], "did you mean 'train'"),
        (["data.data_dir=nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_streamed_is_refused(settings, message, tars, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        run(tars, tmp_path / "out", *settings)
    assert not (tmp_path / "out" / "log.jsonl").exists()


@pytest.mark.parametrize("mix_by", ["item", "step"])
def test_a_streamed_mixture_is_mixed_by_micro_batches(mix_by, tars, tmp_path):
    sets = [{"dataset": "webvid", "config": "webdataset", "data_dir": str(tars)}]
    more = [f"data.datasets={json.dumps(sets)}", 'data.dataset=""', "data.config=null", "data.data_dir=null"]
    with pytest.raises(RecipeError, match=f"data.mix_by: streamed sets are mixed by micro_batch.*got {mix_by}"):
        run(tars, tmp_path, *more, f"data.mix_by={mix_by}", task=PretrainTask)
    with pytest.raises(RecipeError, match="data.stream_num_items: needed with.*got None") as refused:
        run(tars, tmp_path, *more, "data.stream_num_items=null", task=PretrainTask)
    assert str(refused.value).count("stream_num_items: needed") == 1


def test_question_answering_is_not_streamed(tars, tmp_path):
    with pytest.raises(RecipeError, match="data has no key 'streaming'"):
        run(tars, tmp_path, task=VideoQATask)


@pytest.mark.parametrize(
    ("processes", "workers", "message"),
    [(3, 1, "Use 1, 2, 4 or 8 processes, or a multiple of 3 lanes"), (2, 3, r"Set data.num_workers to 1, 2 or 4\.")],
)
def test_lanes_stay_with_one_worker(processes, workers, message):
    with pytest.raises(ValueError, match=f"stream_lanes=8 cannot be divided among {processes} .*{message}"):
        train_set_of(numbered(3), stream_lanes=8).check_division(processes, workers)


def test_another_window_is_another_recipe(tars, tmp_path, whole_run):
    output_dir, _ = whole_run
    with pytest.raises(CheckpointError, match=r"another recipe \(data.stream_window: 6 != 5"):
        run(tars, go_back(output_dir, tmp_path / "out", 2), "data.stream_window=6")


def test_other_shards_do_not_resume_a_checkpoint(tars, tmp_path, whole_run):
    output_dir, _ = whole_run
    shutil.copytree(tars, tmp_path / "tars")
    shutil.copy(tars / "train" / "00000.tar", tmp_path / "tars" / "train" / "more.tar")
    with pytest.raises(CheckpointError, match=r"trained on {'webvid': 5} shards, and there are {'webvid': 6}"):
        run(tmp_path / "tars", go_back(output_dir, tmp_path / "out", 2), f"model.tokenizer={tars / 'vocab.txt'}")


def test_examples_run_as_printed():
    results = doctest.testmod(clipbert.train_scripts.engine.stream)
    assert results.attempted and not results.failed
