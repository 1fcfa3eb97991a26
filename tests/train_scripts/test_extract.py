# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Frame vectors of videos: extracted, gone on with after `kill -9`, trained on, and named where they are not what is wanted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from killed_extractions import extract_killed, files_in
from safetensors.torch import load_file
from stranger_families import write_framewise, write_stepwise
from tiny_runs import one_thread, steps_of  # noqa: F401
from transformers import AutoConfig, ConvNextImageProcessor, ResNetForImageClassification

from clipbert.processing.feature_cache import VideoContent
from clipbert.support.families import load_trained
from clipbert.train_scripts import extract
from clipbert.train_scripts.engine.recipe import RecipeError
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.tasks.cached import CachedVideos
from clipbert.train_scripts.tasks.extraction import FeatureCacheError
from clipbert.train_scripts.tasks.holdings import Holdings
from clipbert.train_scripts.video_classification import ClassificationTask


ROOT = Path(__file__).parents[2]
SMALL_RESNET = {
    "model_type": "resnet",
    "layer_type": "basic",
    "embedding_size": 8,
    "hidden_sizes": [8, 16],
    "depths": [1, 1],
}
CLASSES = {"Archery": (200, 30, 30), "Punch": (30, 30, 200)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of a stranger's families, on the path."""
    folder = tmp_path_factory.mktemp("stranger")
    write_stepwise(folder)
    write_framewise(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield folder


def write_clip(path, colour, num_frames):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for number in range(num_frames):
            picture = np.full((32, 32, 3), colour, dtype=np.uint8)
            picture[:, : 2 * number] = 90
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture
def clips(tmp_path):
    """Clips of two classes, red and blue, in the layout of UCF101's five-class subset."""
    root = tmp_path / "clips"
    for split, groups in (("train", range(8, 14)), ("test", range(1, 4))):
        (root / split).mkdir(parents=True)
        lines = ["video_name,tag"]
        for group in groups:
            for name, colour in CLASSES.items():
                file = f"v_{name}_g{group:02}_c01.avi"
                lines.append(f"{file},{name}")
                write_clip(root / split / file, colour, group)
        (root / f"{split}.csv").write_text("\n".join(lines) + "\n")
    return root


def settings_of(clips, output_dir, *more):
    values = [
        "model.family=stepwise",
        "model.config={}",
        "data.dataset=ucf101",
        "data.config=top5",
        f"data.data_dir={clips}",
        "data.num_frames=3",
        "data.sampling=uniform",
        "data.num_workers=0",
        "run.total_steps=4",
        "run.global_batch_size=4",
        "run.micro_batch_size=4",
        "optim.lr=0.02",
        f"run.output_dir={output_dir}",
        "eval.splits={test: final}",
        f"data.features={output_dir}_features",
        *more,
    ]
    return [part for value in values for part in ("--set", value)]


def cnn_rnn_settings(clips, output_dir, *more):
    """CNN-RNN on all frames, of which clips have different numbers."""
    model = {"backbone_config": SMALL_RESNET, "rnn_hidden_size": 8, "head_dropout": 0.0}
    family = [
        "model.family=cnn_rnn",
        f"model.config={json.dumps(model)}",
        "data.num_frames=null",
        "data.image_size=112",
    ]
    return settings_of(clips, output_dir, *family, "data.sampling=all", *more)


def evaluate(checkpoint, clips, output_dir, *more):
    start = ["model.family=null", "model.config=null", f"model.from_pretrained={checkpoint}", "run.total_steps=0"]
    result = main(ClassificationTask(), settings_of(clips, output_dir, *start, *more))
    return load_file(output_dir / "predictions/test/tensors.safetensors")["logits"], result["results"]["test"]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 1e-2), ("float32", 1e-5)])
def test_a_run_on_vectors_classifies_files(folder, clips, tmp_path, capsys, dtype, tolerance):
    run = tmp_path / "run"
    report = extract.main([*settings_of(clips, run), "--dtype", dtype])
    assert (report.num_written, report.num_valid, report.num_frames) == (18, 0, 54)
    assert "18 clips of about 3 frames" in capsys.readouterr().out
    result = main(ClassificationTask(), settings_of(clips, run))
    ours = load_file(run / "predictions/test/tensors.safetensors")["logits"]
    assert len(steps_of(run)) == 4 and result["results"]["test"]["metrics"]["num_examples"] == 6

    checkpoint = run / "checkpoints/last"
    theirs, _ = evaluate(checkpoint, clips, tmp_path / "from_files", "data.features=null")
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)
    # and on its own processor, which is that of the vectors
    model, processor = load_trained(checkpoint)
    with torch.inference_mode():
        alone = [model(**processor([str(path)])).logits for path in sorted((clips / "test").glob("*.avi"))]
    torch.testing.assert_close(torch.cat(alone).sort(dim=0)[0], ours.sort(dim=0)[0], rtol=0, atol=tolerance)
    # the checkpoint has the encoder that the vectors were made with
    again, _ = evaluate(checkpoint, clips, tmp_path / "from_cache", f"data.features={run}_features")
    torch.testing.assert_close(again, ours, rtol=0, atol=0)


@pytest.mark.parametrize("settings", [settings_of, cnn_rnn_settings])
def test_the_same_run_on_files_and_on_vectors(folder, clips, tmp_path, settings):
    """Random weights of the recipe are the same ones where they are extracted with."""
    extract.main([*settings(clips, tmp_path / "vectors"), "--dtype", "float32"])
    for name, more in (("vectors", []), ("files", ["data.features=null"])):
        main(ClassificationTask(), settings(clips, tmp_path / name, *more))
    losses = [[step["loss"] for step in steps_of(tmp_path / name)] for name in ("vectors", "files")]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_what_changed_is_named_before_training(folder, clips, tmp_path, caplog):
    run = tmp_path / "run"
    arguments = settings_of(clips, run)
    with pytest.raises(
        FeatureCacheError, match="there are no features. This makes them.*extract.py --set model.family"
    ):
        main(ClassificationTask(), arguments)
    extract.main(arguments)
    before = files_in(f"{run}_features")
    one = sorted((clips / "test").glob("*.avi"))[0]
    for change, reason in (
        (
            "run.seed=7",
            "18 of 18 .*weights or structure of the frame encoder: [0-9a-f]{12} .stepwise. -> [0-9a-f]{12}",
        ),
        ("data.num_frames=2", "18 of 18 .*sampling: num_frames 3 -> 2"),
        ("data.image_size=48", 'transform: size ."height": 16, "width": 16. -> ."shortest_edge": 48.'),
        (None, f"1 of 18 .*{one}: content of the video: [0-9]+ bytes, SHA-256"),
    ):
        more = [] if change is None else ["--set", change]
        if change is None:
            write_clip(one, (5, 90, 5), 7)
        with pytest.raises(FeatureCacheError, match=f"(?s){reason}"):
            main(ClassificationTask(), [*arguments, *more])
        with pytest.raises(FeatureCacheError, match=f"(?s){reason}.*Nothing was written"):
            extract.main([*arguments, *more, "--on_mismatch", "refuse"])
        assert files_in(f"{run}_features") == before
    assert extract.main(arguments).num_written == 1
    assert "content of the video" in caplog.text
    main(ClassificationTask(), arguments)
    assert extract.main([*arguments, "--set", "data.num_frames=2"]).num_written == 18


def test_copies_of_a_video_share_a_file(folder, clips, tmp_path):
    first, second = sorted((clips / "train").glob("v_Archery*.avi"))[:2]
    second.write_bytes(first.read_bytes())
    assert extract.main(settings_of(clips, tmp_path / "run")).num_written == 17
    main(ClassificationTask(), settings_of(clips, tmp_path / "run"))


def test_a_video_seen_in_two_ways_is_refused(folder, clips, tmp_path):
    arguments = settings_of(clips, tmp_path / "run", "eval.splits={train: monitor, test: final}")
    with pytest.raises(ValueError, match=r"seen in two ways \(sampling: num_frames 3 -> 2\)"):
        extract.main([*arguments, "--set", "eval.num_frames=2"])
    assert extract.main(arguments).num_written == 18
    main(ClassificationTask(), arguments)


def test_an_evaluation_needs_no_vectors_of_the_training_split(folder, clips, tmp_path):
    main(ClassificationTask(), settings_of(clips, tmp_path / "run", "data.features=null"))
    checkpoint, features = tmp_path / "run/checkpoints/last", f"data.features={tmp_path / 'test_only'}"
    start = ["model.family=null", "model.config=null", f"model.from_pretrained={checkpoint}", "run.total_steps=0"]
    assert extract.main(settings_of(clips, tmp_path / "evaluation", *start, features)).num_written == 6
    logits, _ = evaluate(checkpoint, clips, tmp_path / "evaluation", features)
    expected = load_file(tmp_path / "run/predictions/test/tensors.safetensors")["logits"]
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-2)


def test_damaged_files_are_named_and_made_anew(folder, clips, tmp_path, caplog):
    arguments = settings_of(clips, tmp_path / "run")
    extract.main(arguments)
    before = files_in(tmp_path / "run_features")
    cut, foreign = sorted((tmp_path / "run_features").iterdir())[:2]
    cut.write_bytes(cut.read_bytes()[:-9])
    foreign.write_bytes(b"something else")
    with pytest.raises(FeatureCacheError, match="2 of 18 files are not what this run needs"):
        main(ClassificationTask(), arguments)
    assert extract.main(arguments).num_written == 2
    assert f"{cut} is no whole file" in caplog.text and f"{foreign} is no whole file" in caplog.text
    assert files_in(tmp_path / "run_features") == before


def test_broken_videos_are_listed(folder, clips, tmp_path, capsys):
    first, second = sorted((clips / "train").glob("*.avi"))[:2]
    first.write_bytes(b"no video")
    second.write_bytes(second.read_bytes()[:300])
    arguments = settings_of(clips, tmp_path / "run")
    with pytest.raises(
        FeatureCacheError,
        match=f"(?s)2 videos cannot be decoded:.*decode {first}: .*decode {second}: .*All others are done",
    ):
        extract.main(arguments)
    skip = ["--set", "data.on_decode_error=skip", "data.max_decode_error_rate=0.5"]
    report = extract.main([*arguments, *skip])
    assert (report.num_written, report.num_valid, set(report.unreadable)) == (0, 16, {str(first), str(second)})
    with pytest.raises(FeatureCacheError, match=f"(?s)2 of 18 files.*{first} and 1 more: no features in"):
        main(ClassificationTask(), arguments)
    main(ClassificationTask(), [*arguments, *skip])
    assert "items were skipped" in (tmp_path / "run/log.jsonl").read_text() or steps_of(tmp_path / "run")


def test_altered_versions_are_drawn(folder, clips, tmp_path):
    run = tmp_path / "run"
    arguments = settings_of(clips, run, "data.sampling=random", "run.total_steps=9")
    with pytest.raises(RecipeError, match="the recipe alters no training video"):
        extract.main([*arguments, "--augmented_versions", "2", "--set", "data.sampling=uniform"])
    extract.main(arguments)
    with pytest.raises(FeatureCacheError, match="sampling=random alters videos .* --augmented_versions"):
        main(ClassificationTask(), arguments)
    report = extract.main([*arguments, "--augmented_versions", "2"])
    assert (report.num_written, report.num_valid) == (24, 18)
    versions = sorted(path.name.split(".")[1] for path in Path(f"{run}_features").iterdir())
    assert versions == ["safetensors"] * 18 + ["v1"] * 12 + ["v2"] * 12
    main(ClassificationTask(), arguments)
    main(ClassificationTask(), [*arguments, "--set", f"run.output_dir={tmp_path / 'again'}"])
    assert steps_of(tmp_path / "again") == steps_of(run)

    video = str(sorted((clips / "train").glob("*.avi"))[-1])  # of more frames than are drawn
    paths = sorted(Path(f"{run}_features").glob(f"{VideoContent.of(video).sha256}*"), key=lambda path: len(path.name))
    reader = CachedVideos({video: paths}, "float16")
    of_key = {key: reader([video], seeds=[key])["frame_features"] for key in [(0, epoch, 5) for epoch in range(30)]}
    assert all(reader([video], seeds=[key])["frame_features"].equal(found) for key, found in of_key.items())
    assert len({tuple(found.flatten().tolist()) for found in of_key.values()}) == 2
    as_it_is = reader([video])["frame_features"]
    assert not any(found.equal(as_it_is) for found in of_key.values())


def test_a_trained_encoder_or_none_is_refused(folder, clips, tmp_path):
    arguments = settings_of(clips, tmp_path / "run")
    for start in (extract.main, lambda more: main(ClassificationTask(), more)):
        with pytest.raises(
            ValueError,
            match="weights of the frame encoder are trained",
        ):
            start([*arguments, "--set", "model.config={is_frozen: false}"])
        with pytest.raises(ValueError, match="FramewiseForVideoClassification does not encode frames one by one"):
            start([*arguments, "--set", "model.family=framewise"])


def test_files_and_folders(folder, clips, tmp_path):
    main(ClassificationTask(), settings_of(clips, tmp_path / "run", "data.features=null"))
    checkpoint = tmp_path / "run/checkpoints/last"
    one = next((clips / "train").glob("*.avi"))
    target = ["--set", f"data.features={tmp_path / 'mine'}", "data.num_workers=1"]
    report = extract.main(["--model", str(checkpoint), *target, "--videos", str(clips / "test"), str(one)])
    assert report.num_written == len(list((tmp_path / "mine").iterdir())) == 7
    with pytest.raises(FileNotFoundError, match="no such folder or file"):
        extract.main(["--model", str(checkpoint), *target, "--videos", "nowhere"])
    with pytest.raises(RecipeError, match="model.from_pretrained: a model has one start"):
        extract.main([*target, "--videos", str(one)])
    with pytest.raises(RecipeError, match="data.features: missing"):
        extract.main(["--model", str(checkpoint), "--videos", str(one)])


def test_a_backbone_alone_encodes_files(clips, tmp_path):
    config = AutoConfig.for_model(**SMALL_RESNET)
    ResNetForImageClassification(config).save_pretrained(tmp_path / "resnet")
    ConvNextImageProcessor().save_pretrained(tmp_path / "resnet")
    target = [f"data.features={tmp_path / 'mine'}", "data.num_workers=0", "data.sampling=all", "data.image_size=64"]
    report = extract.main(["--model", str(tmp_path / "resnet"), "--set", *target, "--videos", str(clips / "test")])
    assert (report.num_written, report.num_frames) == (6, 2 * (1 + 2 + 3))
    (found, *_) = [load_file(path) for path in (tmp_path / "mine").iterdir()]
    assert found["features"].shape[1] == 16 and found["features"].dtype == torch.float16


def test_three_kills_change_nothing(folder, clips, tmp_path):
    whole, killed = tmp_path / "whole_features", tmp_path / "killed_features"
    extract.main(settings_of(clips, tmp_path / "whole"))
    extract_killed(settings_of(clips, tmp_path / "killed"), killed, stops=(3, 8, 14), total=18)
    assert files_in(killed) == files_in(whole)


@pytest.mark.slow
def test_two_extractors_at_once(folder, clips, tmp_path):
    extract.main(settings_of(clips, tmp_path / "whole"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "train_scripts/extract.py"), *settings_of(clips, tmp_path / "both")]
    processes = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert files_in(tmp_path / "both_features") == files_in(tmp_path / "whole_features")


def test_the_numbers_of_the_report():
    """Memory arithmetic of the course report's limits: pixels in RAM against vectors, in decimal units."""
    report = Holdings(num_clips=475 * 2, frames_per_clip=100, height=120, width=120, feature_size=2048)
    assert round(report.pixels(1) / 1e9, 1) == 4.1 and round(report.pixels(4) / 1e9, 1) == 16.4
    large = Holdings(475 * 2, 100, 480, 480, 2048)
    assert round(large.pixels(1) / 1e9, 1) == 65.7 and round(large.pixels(4) / 1e9) == 263
    assert round(Holdings(818, 100, 224, 224, 2048).features(2) / 1e9, 2) == 0.34
    assert round(Holdings(818, 150, 224, 224, 2048).features(2) / 1e9, 2) == 0.50


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length(folder, clips, tmp_path):
    """Peak of a whole process, of which the frames of a long video at this size would be 600 MB."""
    main(ClassificationTask(), cnn_rnn_settings(clips, tmp_path / "run", "data.features=null"))
    peaks = []
    for name, num_frames in (("short", 400), ("long", 4000)):
        write_clip(tmp_path / f"{name}.avi", (200, 30, 30), num_frames)
        command = [sys.executable, "-c", EXTRACT_AND_WEIGH, str(tmp_path / "run/checkpoints/last")]
        command += [str(tmp_path / f"{name}_features"), str(tmp_path / f"{name}.avi")]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.splitlines()[-1]))
        (path,) = (tmp_path / f"{name}_features").glob("*.safetensors")
        assert len(load_file(path)["features"]) == num_frames
    assert peaks[1] <= 1.2 * peaks[0], peaks


EXTRACT_AND_WEIGH = """
import sys
from clipbert.train_scripts import extract
checkpoint, features, video = sys.argv[1:]
extract.main(["--model", checkpoint, "--videos", video, "--set", f"data.features={features}", "data.num_workers=0"])
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.parametrize(
    "seen", [["data.augmentation={flip: 0.5, erase: true}"], ["data.sampling=segment_random", "data.num_frames=4"]]
)
def test_what_cnn_rnn_draws_is_kept_in_versions(folder, clips, tmp_path, seen):
    arguments = cnn_rnn_settings(clips, tmp_path / "run", *seen)
    assert extract.main([*arguments, "--augmented_versions", "2"]).num_written == 12 + 6 + 24
    main(ClassificationTask(), arguments)
    first = sorted((tmp_path / "run_features").glob("*.v1.safetensors"))
    second = [path.with_name(path.name.replace(".v1.", ".v2.")) for path in first]
    pairs = [[load_file(path)["features"] for path in pair] for pair in zip(first, second, strict=True)]
    assert len(pairs) == 12 and any(not one.equal(other) for one, other in pairs)


def test_windows_of_cnn_rnn_are_kept(folder, clips, tmp_path):
    windows = ["data.sampling=multi_clip", "data.num_clips=2", "data.num_frames=3"]
    arguments = cnn_rnn_settings(clips, tmp_path / "run", *windows)
    extract.main([*arguments, "--dtype", "float32"])
    main(ClassificationTask(), arguments)
    ours = load_file(tmp_path / "run/predictions/test/tensors.safetensors")["logits"]
    model, processor = load_trained(tmp_path / "run/checkpoints/last")
    with torch.inference_mode():
        alone = [model(**processor([str(path)])).logits for path in sorted((clips / "test").glob("*.avi"))]
    torch.testing.assert_close(torch.cat(alone).sort(dim=0)[0], ours.sort(dim=0)[0], rtol=0, atol=1e-5)
