# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""`eval.kept_videos`: the same scores to the last bit without decoding or encoding, and nothing that was made of anything else."""

import json
import logging
import os
import shutil
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from text_ends import clip_tokenizer
from tiny_mug_stan import IMAGE_SIZE, tiny_clip, tiny_model
from tiny_runs import MODEL, one_thread, start_from, tiny_run  # noqa: F401

from clipbert.datasets_scripts.synthetic import generate_synthetic
from clipbert.modeling_clipbert import ClipBERTForVideoTextRetrieval
from clipbert.processing import (
    ClipBERTVideoProcessor,
    MugSTANProcessor,
    MugSTANVideoProcessor,
    VideoTextProcessor,
    load_tokenizer,
)
from clipbert.processing.decoding_count import counting_decoding
from clipbert.train_scripts.engine.recipe import RecipeError
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.retrieval import RetrievalRecipe, RetrievalTask
from clipbert.train_scripts.tasks.kept_videos import KeptVideo, KeptVideos
from clipbert.train_scripts.tasks.scoring import (
    VideoBlock,
    VisualReader,
    encode_all_videos,
    join_blocks,
    score_all_pairs,
)
from clipbert.train_scripts.video_qa import VideoQATask


TEXTS = ["red", "a blue circle moves left", "a square"]
OPTIONS = {"num_clips": 3, "num_frames": 2, "fps": 4.0, "short_video": "mask"}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept") / "shapes"
    counts = {"num_train": 6, "num_validation": 2, "num_test": 5}
    return generate_synthetic(folder, progress=False, preset="easy", captions_per_video=1, **counts)


@pytest.fixture
def videos(shapes, tmp_path):
    shutil.copytree(shapes / "test" / "videos", tmp_path / "videos")
    return sorted(str(path) for path in (tmp_path / "videos").iterdir())


@pytest.fixture(scope="module")
def parts(shapes):
    processor = VideoTextProcessor(
        ClipBERTVideoProcessor(size=48), load_tokenizer(shapes / "vocab.txt"), max_length=20
    )
    torch.manual_seed(0)
    config = ClipBERTForVideoTextRetrieval.config_class(
        vocab_size=len(processor.tokenizer), initializer_range=0.3, **MODEL
    )
    return ClipBERTForVideoTextRetrieval(config).eval(), processor


class Evaluated:
    """The scores of all pairs, and what it took: pictures decoded, videos encoded, videos that had been kept."""

    def __init__(self, parts, videos, folder, options=OPTIONS, num_workers=0, video_block=1, **more):
        model, processor = parts
        recipe, encode, self.encoded = RetrievalRecipe(), model.encode_videos, 0
        recipe.data.num_workers = num_workers
        recipe.eval = replace(
            recipe.eval, video_block=video_block, kept_videos=None if folder is None else str(folder)
        )

        def counted(pixel_values, clip_mask=None):
            self.encoded += len(pixel_values)
            return encode(pixel_values, clip_mask)

        model.encode_videos = counted
        try:
            self.reader = VisualReader(videos, "video", processor, options, recipe, Accelerator(cpu=True), **more)
            with torch.no_grad(), counting_decoding() as self.decoded:
                self.scores = score_all_pairs(model, self.reader, TEXTS, 64)
        finally:
            del model.encode_videos

    def equals(self, other):
        return all(
            torch.equal(own.nan_to_num(nan=-1e9), others.nan_to_num(nan=-1e9))
            for own, others in (
                (self.scores, other.scores),
                (self.reader.frame_seconds, other.reader.frame_seconds),
                (self.reader.frame_keys, other.reader.frame_keys),
            )
        )


@pytest.mark.parametrize(("video_block", "num_workers", "num_clips"), [(1, 0, 3), (2, 1, 3), (50, 0, 40)])
def test_the_second_evaluation_neither_decodes_nor_encodes(
    parts, videos, tmp_path, video_block, num_workers, num_clips
):
    more = {"video_block": video_block, "num_workers": num_workers, "options": {**OPTIONS, "num_clips": num_clips}}
    plain, first, second = (
        Evaluated(parts, videos, folder, **more) for folder in (None, tmp_path / "k", tmp_path / "k")
    )
    assert first.equals(plain) and second.equals(plain)
    assert plain.scores.isnan().any() == (num_clips == 40)  # clips that do not exist
    assert (first.encoded, first.reader.num_read) == (5, 0) and (second.encoded, second.reader.num_read) == (0, 5)
    if not num_workers:
        assert first.decoded.num_frames > 0 and second.decoded.num_frames == 0
    assert len(list((tmp_path / "k").glob("*/*.safetensors"))) == 5 and not list((tmp_path / "k").rglob("*.partial"))


def test_some_that_are_kept_stand_among_the_others(parts, videos, tmp_path):
    first = Evaluated(parts, videos, tmp_path, video_block=5)
    for path in sorted(tmp_path.glob("*/*.safetensors"))[::2]:
        path.unlink()
    second = Evaluated(parts, videos, tmp_path, video_block=5)
    assert (second.encoded, second.reader.num_read) == (3, 2)
    torch.testing.assert_close(second.scores, first.scores, rtol=1e-4, atol=1e-6, equal_nan=True)


def test_a_block_has_its_videos_in_order():
    parts = [VideoBlock([3, 0], torch.tensor([[3.0], [0.0]]), None), VideoBlock([2], torch.tensor([[2.0]]), None)]
    joined = join_blocks(parts)
    assert (joined.numbers, joined.videos.flatten().tolist(), joined.clip_mask) == ([0, 2, 3], [0.0, 2.0, 3.0], None)
    masked = [part._replace(clip_mask=part.videos.long()) for part in parts]
    assert join_blocks(masked).clip_mask.flatten().tolist() == [0, 2, 3]


@pytest.mark.parametrize(
    "change",
    [
        {"options": {**OPTIONS, "num_clips": 2}},
        {"options": {**OPTIONS, "fps": 8.0}},
        {"options": {**OPTIONS, "short_video": "repeat"}},
        {"spans": [(0.0, 1.0)] * 5},
        {"notes_frames": True},
    ],
    ids=["num_clips", "fps", "short_video", "spans", "notes_frames"],
)
def test_other_clips_are_encoded_anew(parts, videos, tmp_path, change):
    Evaluated(parts, videos, tmp_path)
    found = Evaluated(parts, videos, tmp_path, **change)
    assert (found.encoded, found.reader.num_read) == (5, 0)
    assert found.equals(Evaluated(parts, videos, None, **change))
    again = Evaluated(parts, videos, tmp_path, **change)
    assert again.encoded == 0 and again.equals(found)


def test_another_model_or_processor_encodes_anew(parts, videos, tmp_path):
    model, processor = parts
    Evaluated(parts, videos, tmp_path)
    with torch.no_grad():
        model.clipbert.grid_encoder.conv.weight[0, 0, 0, 0] += 1e-3
    try:
        assert Evaluated(parts, videos, tmp_path).encoded == 5
    finally:
        with torch.no_grad():
            model.clipbert.grid_encoder.conv.weight[0, 0, 0, 0] -= 1e-3
    fused = ClipBERTForVideoTextRetrieval(
        type(model.config).from_dict({**model.config.to_dict(), "frame_fusion": "max"})
    )
    fused.load_state_dict(model.state_dict())  # the same weights, used otherwise
    assert Evaluated((fused.eval(), processor), videos, tmp_path).encoded == 5
    smaller = VideoTextProcessor(ClipBERTVideoProcessor(size=40), processor.tokenizer, max_length=20)
    assert Evaluated((model, smaller), videos, tmp_path).encoded == 5


def test_a_video_is_known_by_its_content(parts, videos, tmp_path):
    first = Evaluated(parts, videos, tmp_path / "k")
    renamed = [f"{path}.renamed.mp4" for path in videos]
    for path, name in zip(videos, renamed, strict=True):
        os.rename(path, name)
    moved = Evaluated(parts, renamed, tmp_path / "k")
    assert moved.encoded == 0 and moved.equals(first)
    shutil.copy(renamed[1], renamed[0])
    replaced = Evaluated(parts, renamed, tmp_path / "k")
    assert replaced.encoded == 0 and replaced.scores[:, 0].equal(first.scores[:, 1])


def test_random_clips_are_those_of_their_draw(parts, videos, tmp_path):
    options = {**OPTIONS, "sampling": "random"}
    draws = [Evaluated(parts, videos, tmp_path, options, draw=draw) for draw in (0, 1, 0)]
    assert [each.encoded for each in draws] == [5, 5, 0]
    assert draws[2].equals(draws[0]) and not draws[1].equals(draws[0])


@pytest.mark.parametrize("damage", ["cut", "altered", "foreign", "empty"])
def test_a_damaged_file_is_told_and_made_anew(parts, videos, tmp_path, damage, caplog):
    first = Evaluated(parts, videos, tmp_path)
    path = sorted(tmp_path.glob("*/*.safetensors"))[0]
    content = path.read_bytes()
    altered = content[:-40] + bytes(byte ^ 1 for byte in content[-40:])
    path.write_bytes({"cut": content[:-40], "altered": altered, "foreign": b"{}" * 40, "empty": b""}[damage])
    with caplog.at_level(logging.WARNING):
        second = Evaluated(parts, videos, tmp_path)
    assert f"{path} is no whole file" in caplog.text
    assert second.encoded == 1 and second.equals(first) and path.read_bytes() == content


def test_a_folder_that_cannot_be_written_to_is_named(parts, videos, tmp_path):
    (tmp_path / "k").write_text("a file, no folder")
    with pytest.raises(OSError, match=f"Could not write {tmp_path / 'k'}/.*safetensors"):
        Evaluated(parts, videos, tmp_path / "k")


def test_what_is_kept_has_its_type_and_the_rights_of_other_files(tmp_path):
    kept = KeptVideo(
        torch.randn(1, 2, 3).bfloat16(), None, torch.full((2, 1), torch.nan).double(), torch.tensor(2**62)
    )
    KeptVideos.write(tmp_path / "new" / "a.safetensors", kept)
    (tmp_path / "other").touch()
    assert (tmp_path / "new" / "a.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode
    found = KeptVideos.read(tmp_path / "new" / "a.safetensors")
    assert found.videos.equal(kept.videos) and found.videos.dtype == torch.bfloat16 and found.clip_mask is None
    assert found.frame_seconds.isnan().all() and found.frame_key == 2**62
    assert KeptVideos.read(tmp_path / "b.safetensors") is None


def test_a_dual_encoder_keeps_its_videos_too(shapes, videos, tmp_path):
    tokenizer = clip_tokenizer(20)
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    clip = tiny_clip(text_config={"vocab_size": len(tokenizer), **ends})
    model = tiny_model(clip=clip, similarity="mug", loss_scale=20.0).eval()
    processor = MugSTANProcessor(MugSTANVideoProcessor(size=IMAGE_SIZE, num_frames=3), tokenizer, max_length=20)
    recipe = RetrievalRecipe()
    recipe.data.num_workers, recipe.eval.kept_videos = 0, str(tmp_path / "k")
    found = []
    for expected in (0, 5):
        reader = VisualReader(
            videos, "video", processor, {"num_frames": 3}, recipe, Accelerator(cpu=True), notes_frames=True
        )
        with torch.no_grad():
            found.append((encode_all_videos(model, reader).videos, reader.frame_keys, reader.frame_seconds))
        assert reader.num_read == expected
    assert all(one.equal(other) for one, other in zip(*found, strict=True)) and found[0][1].all()


@pytest.mark.parametrize(("task", "config"), [(RetrievalTask, "retrieval"), (VideoQATask, "open_qa")])
def test_runs_that_evaluate_alone_keep_videos(shapes, tmp_path, task, config):
    def run(name, *more):
        return main(task(), tiny_run("synthetic", config, shapes, tmp_path / name, *more))

    run("trained", "eval.splits={}")
    checkpoint = tmp_path / "trained" / "checkpoints" / "last"
    alone = [*start_from(checkpoint), "run.total_steps=0", "eval.count_cost=true"]
    plain = run("plain", *alone)["results"]["test"]["metrics"]
    keep = [*alone, f"eval.kept_videos={tmp_path / 'kept'}"]
    for name, is_kept in (("first", False), ("second", True)):
        assert run(name, *keep)["results"]["test"]["metrics"] == plain
        costs = [json.loads(line) for line in (tmp_path / name / "costs.jsonl").read_text().splitlines()]
        (per_video,) = [row["per_video"] for row in costs if "per_video" in row]
        assert (per_video["frames_decoded"] == 0) == is_kept and (per_video["frames_encoded"] == 0) == is_kept
    with pytest.raises(RecipeError, match="eval.kept_videos: training changes"):
        run("training", f"eval.kept_videos={tmp_path / 'kept'}")


def test_a_video_that_cannot_be_read_is_told_as_without(shapes, tmp_path):
    def run(name, *more):
        return main(RetrievalTask(), tiny_run("synthetic", "retrieval", data, tmp_path / name, *more))

    data = shutil.copytree(shapes, tmp_path / "data")
    run("trained", "eval.splits={}")
    video = data / "test" / "videos" / "test_00001.mp4"
    video.write_bytes(video.read_bytes()[:200])
    skip = ["data.on_decode_error=skip", "data.max_decode_error_rate=0.2", "run.total_steps=0"]
    settings = [*start_from(tmp_path / "trained" / "checkpoints" / "last"), *skip]
    plain = run("plain", *settings)["results"]["test"]["metrics"]
    assert plain["num_skipped_videos"] == 1
    for name in ("first", "second"):
        kept = run(name, *settings, f"eval.kept_videos={tmp_path / 'kept'}")
        assert kept["results"]["test"]["metrics"] == plain
