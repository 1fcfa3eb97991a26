# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The benchmarks at toy size: both sides compute the same, a difference is noticed, tables say what was measured."""

import json
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_pipelines import CASES

from benchmarks import (
    annotations,
    baseline_loading,
    contrast,
    evaluation,
    explanations,
    features,
    guidance,
    index_engine,
    loading,
    measure,
    moments,
    moments_step,
    mug_stan_step,
    pipelines,
    preparation,
    recurrent,
    run_all,
    scoring,
    start,
    training_step,
)
from benchmarks.baseline_model import BaselineClipBERT, copy_weights, score_texts
from benchmarks.baseline_optim import BaselineAdamW, clip_gradients
from benchmarks.measure import Row, Section
from benchmarks.models import build_clips, build_config, build_sides, build_texts
from clipbert.datasets_scripts.synthetic.rendering import RGB


TOY = ["--threads", "1", "--repetitions", "1", "--warm-up", "0", "--no-memory"]
TOY_MODEL = [*TOY, *run_all.TOY_MODEL.split()]


@pytest.fixture(autouse=True)
def same_threads_afterwards():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def parse(benchmark, *arguments):
    return benchmark.parse(arguments)


def delivered_frames(clips):
    """Frame numbers `(clips, frames)` of a video of the fixture `write_video`, read off its brightness."""
    grey = clips[..., 0, 8, 8] + baseline_loading.PIXEL_MEAN[0]
    return ((grey - 8) / 8).round().int().tolist()


# ----------------------------------------------------------------------------------------------------------------------
# Loading
# ----------------------------------------------------------------------------------------------------------------------


def test_baseline_takes_the_official_frames(write_video, tmp_path):
    video = write_video(tmp_path / "v.mp4", num_frames=24, fps=10)
    shared = {"num_frames": 2, "fps": 2, "longest_edge": 64}
    # a clip is 10 frames long, so there are 14 frames of room for its start
    clips = baseline_loading.load_clips(video, num_clips=2, **shared)
    assert clips.shape == (2, 2, 3, 64, 64)
    assert delivered_frames(clips) == [[0, 9], [7, 16]]  # clip k of n starts at k/n of the room
    clips = baseline_loading.load_clips(video, num_clips=2, draws=[0.5, 0.25], **shared)
    assert delivered_frames(clips) == [[7, 16], [4, 13]]  # no frame begins before the start, 3.5


def test_both_sides_load_the_same_pixels_from_generated_videos(tmp_path):
    options = parse(loading.BENCHMARK, "--num-generated", "1", "--generated-frames", "50", "--num-clips", "3")
    videos = loading.gather_videos(options, tmp_path)
    assert loading.choose_comparable(videos, options) == (videos, [])


def test_videos_on_which_the_sides_differ_are_left_out_by_name(write_video, tmp_path, monkeypatch):
    good = write_video(tmp_path / "good.mp4", num_frames=24, fps=10)
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    options = parse(loading.BENCHMARK, "--num-clips", "2", "--image-sizes", "64", "--videos", str(tmp_path))
    kept, left_out = loading.choose_comparable(loading.gather_videos(options, tmp_path), options)
    assert kept == [good]
    assert len(left_out) == 1 and left_out[0].startswith("bad.mp4")

    right = baseline_loading.load_clips
    monkeypatch.setattr(baseline_loading, "load_clips", lambda *args, **kwargs: right(*args, **kwargs) + 0.1)
    kept, left_out = loading.choose_comparable([good], options)
    assert kept == [] and "pixels differ by 0.1" in left_out[0]


def test_folder_without_videos_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="Found no video in"):
        loading.find_videos(tmp_path)


# ----------------------------------------------------------------------------------------------------------------------
# Model
# ----------------------------------------------------------------------------------------------------------------------


def test_every_tensor_of_the_baseline_comes_from_ours():
    config = build_config(parse(scoring.BENCHMARK, *TOY_MODEL))
    ours = build_sides(parse(scoring.BENCHMARK, *TOY_MODEL, "--alone", "ours"))["ours"]
    baseline = BaselineClipBERT(config, unused_parameters=640)
    for tensor in baseline.state_dict().values():
        tensor.fill_(math.nan)
    copy_weights(ours, baseline)
    left = [name for name, tensor in baseline.state_dict().items() if tensor.isnan().any()]
    assert left == [name for name in baseline.state_dict() if name.startswith("unused.")]
    assert sum(parameter.numel() for parameter in baseline.unused) == 640
    trained = {name for name, parameter in ours.named_parameters() if parameter.requires_grad}
    assert {training_step.baseline_name(name) for name in trained} == {
        name
        for name, parameter in baseline.named_parameters()
        if parameter.requires_grad and not name.startswith("unused.")
    }


@pytest.mark.parametrize("texts_per_block", [64, 3])
def test_baseline_scores_like_ours_with_padding_and_blocks(texts_per_block):
    options = parse(scoring.BENCHMARK, *TOY_MODEL)
    sides = build_sides(options)
    clips = build_clips(1, 3, options)
    input_ids, attention_mask = build_texts(7, 9, options)
    attention_mask[::2, 5:] = 0
    with torch.no_grad():
        logits = sides["ours"](input_ids, clips, attention_mask, video_indices=torch.zeros(7, dtype=torch.long)).logits
    scores = score_texts(sides["baseline"], clips[0], input_ids, attention_mask, "lse", texts_per_block)
    assert scores.std() > 1e-3
    torch.testing.assert_close(scores, sides["ours"].match_scores(logits), rtol=0, atol=1e-6)


def test_scoring_refuses_sides_that_differ():
    options = parse(scoring.BENCHMARK, *TOY_MODEL, "--num-texts", "8")
    sides = build_sides(options)
    for case in scoring.build_cases(options):
        assert scoring.check(case, scoring.build_work(case, options, sides)) < 1e-5
    sides["baseline"].classifier[2].bias.data[1] += 0.01
    with pytest.raises(AssertionError, match="scores differ by"):
        scoring.check(case, scoring.build_work(case, options, sides))


def test_scoring_refuses_a_comparison_that_says_nothing():
    options = parse(scoring.BENCHMARK, *TOY_MODEL, "--num-texts", "8")
    sides = build_sides(options)
    for classifier in (sides["baseline"].classifier[2], sides["ours"].classifier.out_proj):
        classifier.weight.data.zero_()
    case = scoring.build_cases(options)[0]
    with pytest.raises(AssertionError, match="says nothing"):
        scoring.check(case, scoring.build_work(case, options, sides))


def test_evaluation_refuses_sides_that_differ():
    options = parse(evaluation.BENCHMARK, *TOY_MODEL, *run_all.TOY_EVALUATION.split(), "--shortlist-share", "0.3")
    sides = build_sides(options)
    video = evaluation.Video(2, options, sides)
    assert video.lengths == sorted(video.lengths, reverse=True) and len(set(video.lengths)) > 4
    assert video.check() < 1e-5 and len(video.shortlist()) == 2
    assert torch.equal(video.read().videos, video.encode().videos)
    sides["baseline"].classifier[2].bias.data[1] += 0.01
    with pytest.raises(AssertionError, match="scores differ by"):
        video.check()


def test_a_thousand_videos_are_encoded_once_each():
    assert evaluation.extrapolate(36.0, 0.0, 100) == pytest.approx(1000 * 360 / 3600)
    assert evaluation.extrapolate(36.0, 6.0, 100) == pytest.approx(1000 * (6 + 300) / 3600)
    assert evaluation.extrapolate(36.0, 6.0, 1000) == pytest.approx(1000 * 36 / 3600)
    assert sum(evaluation.MSRVTT_LENGTHS.values()) == evaluation.WHOLE


def test_prepared_videos_are_compared_with_those_they_were_made_of(tmp_path):
    options = parse(preparation.BENCHMARK, *TOY, *run_all.TOY_PREPARATION.split(), "--no-memory")
    section = preparation.measure(options)
    assert [row.case for row in section.rows] == [
        *(
            f"short, {sampling}, {name}"
            for sampling in ("random", "uniform")
            for name in ("as they were", "prepared, key frames every 1 s")
        ),
        *(f"short, one clip, nothing known, prepared, packet{name}" for name in ("s listed", " indexes beside")),
    ]
    assert "of the size" in section.notes[0]


@pytest.mark.slow
def test_processes_of_both_sides_come_to_the_same_scores():
    section = start.measure(parse(start.BENCHMARK, *TOY_MODEL, "--image-size", "64"))
    assert section.rows[0].unit == "s" and "differ by at most" in section.notes[0]


def test_training_sides_compute_the_same_update():
    options = parse(training_step.BENCHMARK, *TOY_MODEL, "--max-length", "30")
    loss_difference, update_difference = training_step.check(options, build_sides(options, unused_parameters=640))
    assert loss_difference < 1e-5 and update_difference < 5e-3


def test_training_refuses_another_optimizer(monkeypatch):
    options = parse(training_step.BENCHMARK, *TOY_MODEL)
    monkeypatch.setattr(
        training_step, "BaselineAdamW", lambda groups, lr, betas, eps: BaselineAdamW(groups, 1.1 * lr, betas, eps)
    )
    with pytest.raises(AssertionError, match="updates differ by"):
        training_step.check(options, build_sides(options))


def test_baseline_updates_what_nothing_uses():
    options = parse(training_step.BENCHMARK, *TOY_MODEL, "--alone", "baseline")
    sides = build_sides(options, unused_parameters=640)
    training_step.build_steps(options, sides)["baseline"].run()
    assert all((parameter.grad == 0).all() for parameter in sides["baseline"].unused)


def test_baseline_adamw_by_hand():
    weight = torch.nn.Parameter(torch.tensor([2.0]))
    optimizer = BaselineAdamW([weight], lr=0.1, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.5)
    mean = square = 0.0
    expected = 2.0
    for step, gradient in enumerate((3.0, -1.0), start=1):
        weight.grad = torch.tensor([gradient])
        optimizer.step()
        mean, square = 0.9 * mean + 0.1 * gradient, 0.98 * square + 0.02 * gradient**2
        expected -= 0.1 * math.sqrt(1 - 0.98**step) / (1 - 0.9**step) * mean / (math.sqrt(square) + 1e-6)
        expected -= 0.1 * 0.5 * expected
        assert weight.item() == pytest.approx(expected, rel=1e-6)


def test_baseline_clips_like_torch():
    models = [torch.nn.Linear(3, 2) for _ in range(2)]
    for model in models:
        for parameter in model.parameters():
            parameter.grad = torch.arange(parameter.numel(), dtype=torch.float32).reshape(parameter.shape)
    assert clip_gradients(models[0], 1.5) == pytest.approx(torch.nn.utils.clip_grad_norm_(models[1].parameters(), 1.5))
    torch.testing.assert_close(models[0].weight.grad, models[1].weight.grad)


# ----------------------------------------------------------------------------------------------------------------------
# Measuring
# ----------------------------------------------------------------------------------------------------------------------


def test_sides_take_turns_after_the_warm_up():
    calls = []
    work = {side: lambda side=side: calls.append(side) for side in measure.SIDES}
    seconds = measure.alternate(work, repetitions=3, warm_up=2)
    assert calls == [*measure.SIDES] * 5
    assert [len(seconds[side]) for side in measure.SIDES] == [3, 3]
    calls.clear()
    seconds = measure.alternate(work, repetitions=2, warm_up=1, settle=2)
    assert calls == [*measure.SIDES, *[side for side in measure.SIDES for _ in range(3)] * 2]
    assert [len(seconds[side]) for side in measure.SIDES] == [2, 2]
    with pytest.raises(ValueError, match="repetitions must be at least 1"):
        measure.alternate(work, repetitions=0)


def test_table_shows_rates_ratio_memory_and_share():
    row = Row(
        "case",
        "clips/s",
        amount=10,
        seconds={"baseline": [2.0, 4.0, 3.0], "ours": [1.0, 1.0, 1.0]},
        expected=2,
        peak_bytes={"baseline": 2 * 10**9, "ours": 10**9},
        bytes_above_start={"baseline": 10**9, "ours": 25 * 10**7},
        flops={"ours": 5 * 10**9},
    )
    assert row.ratios() == [2.0, 4.0, 3.0] and row.fastest_ratio() == 2.0
    table = measure.format_section(Section("Title", [row], ["a note"], matmul_flops=1e10))
    cells = [cell.strip() for cell in table.splitlines()[4].strip("|").split("|")]
    assert cells == [
        "case",
        "clips/s",
        "3.33 (2.50–5.00)",
        "10.00 (10.00–10.00)",
        "3.00 (2.00–4.00)",
        "2.00",
        "≥ 2",
        "2.00",
        "1.00",
        "1.00",
        "0.25",
        "0.25",
        "",
        "50%",
    ]
    assert table.startswith("## Title\n") and "- a note\n" in table


def test_peak_memory_of_one_side_is_printed(capsys):
    held = []
    measure.run_alone(lambda: held.append(torch.ones(25_000_000)), "cpu")  # 100 MB, twice
    peak = json.loads(capsys.readouterr().out)["peak_bytes"]
    assert 200e6 < measure.peak_bytes("cpu") <= peak * 1.5 and peak > 200e6


@pytest.mark.parametrize("side", measure.SIDES)
def test_every_benchmark_runs_one_side_alone(side, capsys, tmp_path, write_video):
    video = write_video(tmp_path / "v.mp4", num_frames=24, fps=10)
    alone = ["--alone", side]
    loading.BENCHMARK.main([*TOY, "--num-clips", "2", "--image-sizes", "64", *alone, "--kept", str(video)])
    training_step.BENCHMARK.main([*TOY_MODEL, "--unused-parameters", "640", *alone])
    scoring.BENCHMARK.main([*TOY_MODEL, "--num-texts", "8", *alone, "--case", "5"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and all(json.loads(line)["peak_bytes"] > 0 for line in lines)


def test_pipelines_answer_as_loops_by_hand(tmp_path):
    options = parse(pipelines.BENCHMARK, *TOY_MODEL, *run_all.TOY_FILES.split())
    bench = pipelines.Bench(options, tmp_path)
    for case in pipelines.CASES:
        work = bench.work(case)
        assert pipelines.check(case, work) < 1e-5
        right = work["baseline"]
        with pytest.raises(AssertionError, match="scores differ by"):
            pipelines.check(case, {**work, "baseline": lambda right=right: [score + 1e-3 for score in right()]})


def test_process_that_fails_is_reported():
    with pytest.raises(RuntimeError, match="(?s)benchmarks.nothing .*--alone baseline.*No module named"):
        measure.measure_peak_bytes("benchmarks.nothing", ["--threads", "1"])


@pytest.mark.slow
def test_peak_memory_is_measured_in_processes_of_their_own():
    peaks = measure.measure_peak_bytes(scoring.MODULE, [*TOY_MODEL, "--num-texts", "8"])
    assert peaks.keys() == set(measure.SIDES) and all(peak > 100e6 for peak in peaks.values())


@pytest.mark.slow
def test_run_all_writes_what_it_prints(tmp_path, capsys):
    output = tmp_path / "reports" / "toy.md"
    arguments = ["--toy", "--repetitions", "1", "--no-memory", "--threads", "1", "--output", str(output)]
    report = run_all.main(arguments)
    assert output.read_text(encoding="utf-8") == report
    printed = capsys.readouterr().out
    titles = [line for line in report.splitlines() if line.startswith("## ")]
    assert [title.split()[1] for title in titles] == [
        "Video",
        "Prepared",
        *["Training"] * 5,
        "Retrieval",
        "Evaluation",
        "From",
        "Pipelines:",
    ]
    assert all(line in printed for line in report.splitlines())
    for fact in (
        "processor:",
        "threads: torch 1",
        "software: Python",
        f"`python -m {scoring.MODULE}",
        "benchmarks.run_all --toy",
    ):
        assert fact in report


def test_what_was_measured_before_a_benchmark_fails_is_kept(tmp_path, monkeypatch):
    section = measure.Section(title="First", rows=[measure.Row("a", "s", 1, {"baseline": [2.0], "ours": [1.0]})])

    def fail(arguments):
        raise RuntimeError("second")

    runs = [SimpleNamespace(run=run, module="benchmarks.some") for run in (lambda arguments: section, fail)]
    monkeypatch.setattr(run_all, "plan_runs", lambda options: [(benchmark, []) for benchmark in runs])
    output = tmp_path / "reports" / "some.md"
    with pytest.raises(RuntimeError, match="second"):
        run_all.main(["--output", str(output)])
    assert [path.name for path in output.parent.iterdir()] == ["some.partial"]
    assert "## First" in output.with_suffix(".partial").read_text(encoding="utf-8")
    runs.pop()
    report = run_all.main(["--output", str(output)])
    assert [path.name for path in output.parent.iterdir()] == ["some.md"]
    assert output.read_text(encoding="utf-8") == report


def test_full_size_is_the_published_one():
    options = parse(training_step.BENCHMARK, "--full", "--num-videos", "4")
    assert (options.image_size, options.num_videos, options.num_clips, options.num_frames) == (448, 4, 8, 2)
    runs = run_all.plan_runs(run_all.build_parser().parse_args(["--full", "--device", "cuda", "--compile"]))
    for benchmark, arguments in runs[2:]:  # behind those that read videos
        options = benchmark.build_parser().parse_args(arguments)
        assert (options.image_size, options.device, options.compile) == (448, "cuda", True)


@pytest.mark.parametrize("family", ["cnn_rnn", "mug_stan", "ci_mha"])
def test_one_command_runs_what_is_a_familys(family):
    options = run_all.build_parser().parse_args(["--family", family, "--toy", "--threads", "1"])
    for benchmark, line in run_all.plan_runs(options):
        section = benchmark.run([*line, "--repetitions", "1", "--no-memory", "--warm-up", "0"])
        assert section.rows and all(row.ratios() for row in section.rows)


def test_memory_above_the_start_is_what_the_work_takes():
    # in a process of its own, as it is meant: here, memory that other tests have freed would be taken again
    code = (
        "import torch; from benchmarks import measure; held = []; "
        "measure.run_alone(lambda: held.append(torch.ones(40 << 20, dtype=torch.uint8)), 'cpu')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert json.loads(done.stdout)["bytes_above_start"] >= 80 << 20  # it is done twice


# ---------------------------------------------------------------------------------------------------------------------
# Mug-STAN
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", guidance.NAMES)
def test_guidance_refuses_sides_that_differ(mode):
    options = parse(guidance.BENCHMARK, *TOY, *run_all.TOY_PAIRS.split())
    work = guidance.build_work(mode, options)
    assert guidance.check(mode, work) < 1e-6
    right = work["baseline"]
    with pytest.raises(AssertionError, match="scores differ by"):
        guidance.check(mode, {**work, "baseline": lambda: right() + 1e-4})


@pytest.mark.parametrize("case", mug_stan_step.CASES)
def test_both_sides_have_the_same_gradients_with_stochastic_depth(case):
    options = parse(mug_stan_step.BENCHMARK, *TOY, *run_all.TOY_STEP.split())
    steps = mug_stan_step.build_steps(case, options)
    assert mug_stan_step.check(case, steps) < 1e-5
    with torch.no_grad():
        steps["ours"].model.mug_stan.branches[0].time_embedding.weight[1, 0] += 1
    with pytest.raises(AssertionError, match="the sides differ by"):
        mug_stan_step.check(case, steps)


# ---------------------------------------------------------------------------------------------------------------------
# Annotations
# ---------------------------------------------------------------------------------------------------------------------


def test_annotations_are_loaded_by_every_route(tmp_path):
    (tmp_path / "videos").mkdir()
    for number in range(90):
        (tmp_path / "videos" / f"video{number}.mp4").touch()
    annotations.write_annotations(tmp_path, num_videos=100)
    rows = {}
    for route in annotations.ROUTES:
        result = annotations.measure_route(route, tmp_path, tmp_path / "videos", tmp_path / "cache")
        assert result["seconds"] > 0 and result["megabytes"] >= 0
        rows[route] = result["rows"]
    assert rows == {route: 1 if route == "stream, first row" else 1800 for route in annotations.ROUTES}


# ---------------------------------------------------------------------------------------------------------------------
# The store of a search index
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_store_of_a_search_index_is_measured(capsys):
    index_engine.main(["--rows", "400"])
    _, _, *table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[0] for line in table] == [
        "| no index",
        "| built",
        "| 10 % deleted, 10 % added",
        "| compacted",
    ]
    for line in table:  # what the engine finds is what numpy says: of all, a half, four of four hundred, none
        assert [cell.rpartition(" ")[2] for cell in line.split(" | ")[2:6]] == ["1.000"] * 3 + ["fits"], line


# ---------------------------------------------------------------------------------------------------------------------
# Explanations
# ---------------------------------------------------------------------------------------------------------------------


def test_two_objects_are_where_their_sentences_say():
    for picture, named in explanations.draw_pairs(4, 96, seed=1):
        pixels = np.asarray(picture).astype(int)
        (first, (x, y)), (second, (other_x, other_y)) = named
        assert first.split()[1] != second.split()[1] and first.split()[2] != second.split()[2]
        for sentence, place in ((first, (x, y)), (second, (other_x, other_y))):
            seen = pixels[int(place[1] * 96), int(place[0] * 96)]
            assert abs(seen - np.array(RGB[sentence.split()[1]])).max() < 40


@pytest.mark.slow
def test_explanations_of_trained_and_of_random_weights_are_measured(tmp_path, capsys):
    for part in CASES["retrieval"].build():
        part.save_pretrained(tmp_path)
    explanations.main(["--checkpoint", str(tmp_path), "--number", "2"])
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[0] for line in table] == ["| weights", "| ---", "| trained", "| random"]
    assert all(line.count(" to ") == 5 and "of 2" in line for line in table[2:])


# ----------------------------------------------------------------------------------------------------------------------
# Clips of mixed lengths
# ----------------------------------------------------------------------------------------------------------------------

TOY_LENGTHS = [
    *TOY,
    *[
        "--num-clips",
        "3",
        "--lengths",
        "2",
        "9",
        "5",
        "--feature-sizes",
        "6",
        "--hidden-sizes",
        "4",
        "--image-size",
        "32",
    ],
]


def test_lengths_have_the_ends_and_the_mean_that_are_asked_for():
    lengths = recurrent.build_lengths(parse(recurrent.BENCHMARK))
    assert (lengths.min(), lengths.max()) == (60, 320) and 145 <= lengths.float().mean() <= 155
    with pytest.raises(ValueError, match="a mean between them"):
        recurrent.build_lengths(parse(recurrent.BENCHMARK, "--lengths", "60", "320", "400"))


def test_both_sides_of_mixed_lengths_compute_the_same_and_a_difference_is_noticed():
    section = recurrent.BENCHMARK.run(TOY_LENGTHS)
    assert len(section.rows) == 3 * 2 + 2 and "differ by at most" in section.notes[0]
    options = parse(recurrent.BENCHMARK, *TOY_LENGTHS)
    for case in recurrent.build_cases(options):
        work = recurrent.build_work(case, options)
        results = work["ours"]()
        work["ours"] = lambda results=results: [results[0] + 1e-4, *results[1:]]
        with pytest.raises(AssertionError, match="nothing was timed"):
            recurrent.check(case, work)


# ----------------------------------------------------------------------------------------------------------------------
# Frame vectors
# ----------------------------------------------------------------------------------------------------------------------

TOY_FEATURES = [
    *TOY,
    *["--num-videos", "2", "--num-frames", "5", "--image-size", "32", "--backbone-depths", "1", "1", "1", "1"],
]
TOY_FEATURES += ["--backbone-width", "8", "--batch-size", "1", "--chunk-size", "2", "--num-workers", "0"]


def test_vectors_give_the_losses_of_pixels(tmp_path, monkeypatch):
    section = features.BENCHMARK.run(TOY_FEATURES)
    assert [row.case for row in section.rows] == ["an epoch of training", "extraction"]
    assert all(len(row.seconds[side]) == 1 for row in section.rows for side in measure.SIDES)
    sides = features.Sides(parse(features.BENCHMARK, *TOY_FEATURES), tmp_path)
    sides.extract(sides.cache.folder)
    losses = sides.train_on_vectors()
    assert len(losses) == 2 and losses == pytest.approx(sides.train_on_pixels(), abs=1e-5)
    sides.labels = sides.labels.flip(0)
    assert sides.train_on_vectors() != pytest.approx(losses, abs=1e-3)

    monkeypatch.setattr(features.Sides, "train_on_vectors", lambda self: [loss + 1e-3 for loss in losses])
    with pytest.raises(AssertionError, match="Losses differ by .* nothing was timed"):
        features.check(sides)


@pytest.mark.parametrize("case", [0, 1, features.MEMORY])
@pytest.mark.parametrize("alone", measure.SIDES)
def test_each_side_of_vectors_runs_alone(case, alone):
    options = parse(features.BENCHMARK, *TOY_FEATURES, "--case", str(case), "--alone", alone)
    assert features.build_lonely_work(options)() is not None


# ----------------------------------------------------------------------------------------------------------------------
# Moments
# ----------------------------------------------------------------------------------------------------------------------


TOY_MOMENTS = [*TOY, *run_all.TOY_MOMENTS.split(), "--num-videos", "1"]


def test_a_tower_that_runs_for_each_sentence_or_other_losses_are_noticed(tmp_path, monkeypatch):
    sides = moments.Sides(parse(moments.BENCHMARK, *TOY_MOMENTS), tmp_path)
    difference, num_frames = moments.check(sides)
    assert difference <= 1e-6 and num_frames == 16
    together = sides.locate_all
    monkeypatch.setattr(sides, "locate_all", lambda: sides.locate_each() + together())
    with pytest.raises(AssertionError, match="saw 32 frames for all sentences, of a video with 16"):
        moments.check(sides)
    losses = sides.train_on_segments()
    monkeypatch.setattr(sides, "train_on_segments", lambda: [loss + 1e-3 for loss in losses])
    with pytest.raises(AssertionError, match="Losses differ by .* nothing was timed"):
        moments.check(sides)


@pytest.mark.parametrize("case", [0, 1, 2])
@pytest.mark.parametrize("alone", measure.SIDES)
def test_each_side_of_moments_runs_alone(case, alone):
    options = parse(moments.BENCHMARK, *TOY_MOMENTS, "--case", str(case), "--alone", alone)
    assert moments.build_lonely_work(options)() is not None


def test_other_gradients_of_a_step_of_moments_are_noticed(monkeypatch):
    options = parse(moments_step.BENCHMARK, *TOY, *run_all.TOY_MOMENTS_STEP.split())
    for case in (moments_step.SPARSE, moments_step.PUBLISHED):
        assert moments_step.check(options, case) <= 1e-5
    monkeypatch.setattr(
        moments_step.Sides, "ours", lambda sides: sides.step(start_positions=sides.inputs["end_positions"])
    )
    with pytest.raises(AssertionError, match="nothing was timed"):
        moments_step.check(options, moments_step.SPARSE)


@pytest.mark.parametrize("case", [0, 1])
@pytest.mark.parametrize("alone", measure.SIDES)
def test_each_side_of_a_step_of_moments_runs_alone(case, alone):
    arguments = [*TOY, *run_all.TOY_MOMENTS_STEP.split(), "--case", str(case), "--alone", alone]
    assert moments_step.build_lonely_work(parse(moments_step.BENCHMARK, *arguments))().isfinite()


# ----------------------------------------------------------------------------------------------------------------------
# Contrast with the whole batch
# ----------------------------------------------------------------------------------------------------------------------

TOY_CONTRAST = [
    *TOY,
    *["--num-pairs", "4", "--micro-batch", "2", "--num-frames", "2", "--image-size", "32", "--hidden-size", "16"],
]
TOY_CONTRAST += [
    "--num-layers",
    "1",
    "--num-words",
    "5",
    "--loss-pairs",
    "9",
    "--large-loss-pairs",
    "9",
    "--loss-words",
    "4",
    "--feature-size",
    "8",
]


def test_a_divided_batch_has_the_gradients_of_the_whole_and_a_difference_is_noticed():
    section = contrast.BENCHMARK.run(TOY_CONTRAST)
    assert [row.unit for row in section.rows] == ["pairs/s"] * 2 and "gradients of both sides" in section.notes[0]
    options = parse(contrast.BENCHMARK, *TOY_CONTRAST)
    for case in (contrast.STEP, contrast.LOSS):
        works = contrast.build_works(options, case)
        loss, *gradients = works["ours"]()
        for wrong in ([loss * 1.001, *gradients], [loss, *(1.01 * gradient for gradient in gradients)]):
            works["ours"] = lambda wrong=wrong: wrong
            with pytest.raises(AssertionError, match="nothing was timed"):
                contrast.check("a case", works)
    assert [len(contrast.build_works(options, case)) for case in range(4)] == [2, 2, 2, 1]


def test_what_a_micro_batch_and_the_features_take_is_told(monkeypatch):
    options = parse(contrast.BENCHMARK, *TOY_CONTRAST)
    monkeypatch.setattr(contrast, "measure_peak_bytes", lambda *_, **__: {"baseline": 9_000, "ours": 13_000})
    # 4 pairs with 5 words, the text and 2 frames of 16 numbers
    assert f"{13_000 / (9_000 + 4 * 4 * 8 * 16):.2f} of the sum (expected: at most 1.3)" in contrast.describe_growth(
        options, []
    )
    assert "9 pairs, 4 words and 12 frames takes" in contrast.describe_large_loss(options, [])
