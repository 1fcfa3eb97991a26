# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Every benchmark in one run, printed and written as a report.

Run:     python -m benchmarks.run_all --output benchmarks/reports/all_<hardware>_<yyyymm>.md      (an hour on two cores)
GPU:     python -m benchmarks.run_all --device cuda --dtype bfloat16 --compile --full --output ...
CNN-RNN: python -m benchmarks.run_all --family cnn_rnn --output ...          (twenty minutes on two cores)
Mug-STAN: python -m benchmarks.run_all --family mug_stan --output ...        (half an hour on two cores, 8 GB)
CI-MHA:  python -m benchmarks.run_all --family ci_mha --output ...           (a quarter of an hour on two cores)
Try out: python -m benchmarks.run_all --toy                                  (a minute; the figures say nothing)
"""

import argparse
import datetime
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks import (
    contrast,
    evaluation,
    features,
    guidance,
    loading,
    moments,
    moments_step,
    mug_stan_step,
    pipelines,
    preparation,
    recurrent,
    scoring,
    shortlist,
    start,
    training_step,
)
from benchmarks.measure import DTYPES, Benchmark, describe_machine, format_section
from clipbert.datasets_scripts.commands.reencoding import PrepareSettings


MAX_LENGTHS = (20, 100)  # of texts, in the official recipes for short captions and for paragraphs
TOY_VIDEOS = "--num-generated 1 --generated-frames 40 --num-clips 2 --image-sizes 64"
TOY_MODEL = (
    "--image-size 64 --num-layers 2 --hidden-size 64 --backbone-depths 1 1 1 1 --backbone-width 8 --vocab-size 99"
)
TOY_LENGTHS = "--num-clips 3 --lengths 2 9 5 --feature-sizes 16 --hidden-sizes 8 --image-size 16"
TOY_FEATURES = (
    "--num-videos 2 --num-frames 5 --memory-videos 2 --image-size 32 --backbone-depths 1 1 1 1 --backbone-width 8"
)
TOY_MOMENTS = "--seconds 2 --num-texts 4 --image-size 32 --tower-size 64 --tower-layers 1 --hidden-size 16"
TOY_MOMENTS_STEP = "--num-segments 4 --num-grad-segments 2 --num-pairs 3 --image-size 32 --hidden-size 16"
TOY_TEXTS = "--num-texts 8 --num-clips 1 2"
TOY_EVALUATION = "--num-texts 8 --num-clips 1 2"
TOY_PREPARATION = "--kinds short --most-videos 1 --most-frames 40 --num-clips 2 --image-size 64 --keyframe-intervals 1"
TOY_FILES = "--num-videos 3 --num-video-frames 12 --large-size 64 96"
TOY_PAIRS = "--num-texts 20 --num-videos 20 --num-frames 6 --max-words 16 --shortest 4 --longest 8 --width 512"
TOY_STEP = "--clip tiny --num-frames 3 --num-classes 5"
TOY_CONTRAST = (
    "--num-pairs 4 --micro-batch 2 --num-frames 2 --num-words 5 --image-size 32 --hidden-size 16 --num-layers 2 "
    "--loss-pairs 6 --large-loss-pairs 8 --loss-words 6 --loss-frames 3 --feature-size 8"
)


def plan_runs(options: argparse.Namespace) -> list[tuple[Benchmark, list[str]]]:
    """The benchmarks and their command lines."""
    shared = ["--repetitions", str(options.repetitions), "--threads", str(options.threads)]
    shared += ["--no-memory"] if options.no_memory else []
    if options.family == "cnn_rnn":
        lengths, vectors = (TOY_LENGTHS.split(), TOY_FEATURES.split()) if options.toy else ([], [])
        device = ["--device", options.device]
        # the recurrent part weighs what its states weigh, on both sides
        return [
            (features.BENCHMARK, [*shared, *device, *vectors]),
            (recurrent.BENCHMARK, [*shared, *device, *lengths, *([] if options.no_memory else ["--no-memory"])]),
        ]
    if options.family == "ci_mha":
        sizes, step = (TOY_MOMENTS.split(), TOY_MOMENTS_STEP.split()) if options.toy else ([], [])
        shared += ["--device", options.device]
        return [(moments.BENCHMARK, [*shared, *sizes]), (moments_step.BENCHMARK, [*shared, *step])]
    model = [*shared, "--device", options.device, "--dtype", options.dtype]
    model += ["--compile"] if options.compile else []
    if options.family == "mug_stan":
        texts = (
            [TOY_PAIRS, TOY_STEP, TOY_CONTRAST] if options.toy else ["", "--num-videos 16" if options.full else "", ""]
        )
        pairs, step, batch = (text.split() for text in texts)
        shared += ["--device", options.device]
        many = ["--shortlist", "5", "--many-videos", "50"] if options.toy else []
        return [
            (guidance.BENCHMARK, [*shared, *pairs]),
            (shortlist.BENCHMARK, [*shared, *pairs, *many]),
            (mug_stan_step.BENCHMARK, [*model, *step]),
            (contrast.BENCHMARK, [*shared, *batch]),
        ]
    full, full_size = (["--full"], ["--image-size", "448"]) if options.full else ([], [])
    videos, texts, pairs, files = [], full_size, full_size, full_size
    # one distance of key frames; alone, the script compares several
    copies = ["--keyframe-intervals", f"{PrepareSettings().keyframe_interval_s:g}"]
    if options.videos is not None:
        copies += ["--kinds", *preparation.KINDS, "own", "--videos", str(options.videos)]
    if options.toy:
        videos, copies = TOY_VIDEOS.split(), TOY_PREPARATION.split()
        texts, pairs, files = TOY_TEXTS.split(), TOY_EVALUATION.split(), TOY_FILES.split()
        model += TOY_MODEL.split()

    runs = [(loading.BENCHMARK, [*shared, *videos]), (preparation.BENCHMARK, [*shared, *copies])]
    if options.videos is not None:
        runs.append((loading.BENCHMARK, [*shared, *videos, "--videos", str(options.videos)]))
    for length in MAX_LENGTHS:
        runs.append((training_step.BENCHMARK, [*full, *model, "--max-length", str(length)]))
    runs.append((training_step.BENCHMARK, [*full, *model, "--unused-parameters", "0"]))
    frozen = ["--frozen-stages", "5", "--caption-length", "12"]  # the CNN; as long as captions are on average
    runs += [(training_step.BENCHMARK, [*full, *model, *frozen, *kept]) for kept in ([], ["--kept-maps"])]
    runs += [(scoring.BENCHMARK, [*model, *texts]), (evaluation.BENCHMARK, [*model, *pairs])]
    return [*runs, (start.BENCHMARK, [*model, *full_size]), (pipelines.BENCHMARK, [*model, *files])]


def main(arguments: Sequence[str] | None = None) -> str:
    """Run everything; returns the report."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    options = build_parser().parse_args(arguments)
    command = shlex.join(["python", "-m", "benchmarks.run_all", *arguments])
    torch.set_num_threads(options.threads)
    parts = [f"# {command}\n\n{datetime.date.today():%Y-%m-%d}. Median (lowest to highest); both sides in turns.\n"]
    parts.append("\n".join(f"- {line}" for line in describe_machine(options.device)) + "\n")
    print(*parts, sep="\n", flush=True)
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
    for benchmark, line in plan_runs(options):
        section = benchmark.run(line)
        section.notes.append(f"`{shlex.join(['python', '-m', benchmark.module, *line])}`")
        parts.append(format_section(section))
        print(parts[-1], flush=True)
        if options.output is not None:  # what was measured in an hour is not lost with the next benchmark
            options.output.with_suffix(".partial").write_text("\n".join(parts), encoding="utf-8")
    if options.output is not None:
        options.output.with_suffix(".partial").replace(options.output)
    return "\n".join(parts)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--output", type=Path, help="Markdown file to write")
    parser.add_argument(
        "--family", choices=["clipbert", "cnn_rnn", "mug_stan", "ci_mha"], default="clipbert", help="whose benchmarks"
    )
    parser.add_argument("--videos", type=Path, help="folder of videos, besides the generated ones")
    parser.add_argument("--device", default="cpu", help="of training and scoring: cpu, cuda, ...")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="autocast to it, on both sides")
    parser.add_argument("--compile", action="store_true", help="torch.compile our side")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch")
    parser.add_argument("--repetitions", type=int, default=5, help="timed pairs")
    parser.add_argument("--no-memory", action="store_true", help="leave out peak memory")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--full", action="store_true", help="published sizes: 448 px, 16 videos x 8 clips a step")
    size.add_argument("--toy", action="store_true", help="tiny sizes, to see that everything runs")
    return parser


if __name__ == "__main__":
    main()
