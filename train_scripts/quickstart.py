# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""From nothing to a searchable collection in a few minutes on two CPU cores.

Run:     python -m clipbert.train_scripts.quickstart [SENTENCE ...]        (in a clone: `make quickstart`)

1. generates videos of moving shapes with captions, 2. fine-tunes a small ClipBERT from random weights, 3. reports
recall on videos that it has not seen, beside the chance level, 4. ranks those videos for sentences. Every step is a
command that is printed before it runs, so that it can be repeated by hand. Everything is written below the folder it is
started in; the checkpoint stays in `outputs/quickstart`.
"""

import argparse
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from clipbert.metrics.retrieval.retrieval import chance_recall


RECIPES = Path(__file__).resolve().parent / "recipes"
RECIPE = RECIPES / "quickstart" / "retrieval.yaml"
LAUNCHER = RECIPES / "accelerate" / "one_cpu.yaml"
OUTPUT_DIR = Path("outputs/quickstart")
DATA_DIR = OUTPUT_DIR / "data"
SUGGESTION = "a green triangle"
PLAN = f"""\
1. generates 528 videos of moving shapes with captions    seconds
2. trains a small ClipBERT on 400 of them                 3 minutes on two idle cores
3. tests it on 64 videos that it has not seen             seconds
4. searches these for sentences                           seconds
Everything is written to {OUTPUT_DIR}; nothing is downloaded. The same command goes on where it was stopped."""


def run(*command: str | Path) -> None:
    """Print a command and run it with this interpreter."""
    arguments = [str(shorten(part) if isinstance(part, Path) else part) for part in command]
    print(f"\n$ python {shlex.join(arguments)}", flush=True)
    subprocess.run([sys.executable, *arguments], check=True)


def shorten(path: Path) -> Path:
    """As seen from the working folder, if it lies below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def test_captions(count: int) -> list[str]:
    """Sentences that are known to have an answer: the first captions of the test split."""
    lines = (DATA_DIR / "test" / "captions.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["caption"] for line in lines[:count]]


def print_results(results_file: Path) -> None:
    """Recall on the test split, beside what guessing would give."""
    metrics = json.loads(results_file.read_text())["splits"]["test"]["metrics"]
    num_videos = int(metrics["num_videos"])
    print(f"\n{num_videos} test videos, none of them seen in training   text to video   video to text   chance")
    for k in (1, 5, 10):
        chance = chance_recall(num_videos, k)
        found = [metrics[f"{direction}_R@{k}"] for direction in ("text_to_video", "video_to_text")]
        print(f"{f'R@{k}':>50s}   {found[0]:13.1%}   {found[1]:13.1%}   {chance:6.1%}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sentences", nargs="*", metavar="SENTENCE", help="what to search for")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="another value for a key of the recipe"
    )
    given = parser.parse_args(arguments)

    started = time.perf_counter()
    print(PLAN)
    run("-m", "clipbert.datasets_scripts.synthetic", "--output_dir", DATA_DIR, "--preset", "easy", "--search_phrases")
    # the same as `accelerate launch`; one thread is enough for a model this small, the other core decodes
    launcher = ("-m", "accelerate.commands.launch", "--num_cpu_threads_per_process", "1", "--config_file", LAUNCHER)
    settings = [part for setting in given.set for part in ("--set", setting)]
    run(*launcher, "-m", "clipbert.train_scripts.retrieval", "--recipe", RECIPE, *settings)
    print_results(OUTPUT_DIR / "results.json")
    sentences = given.sentences or test_captions(2)
    search = ("-m", "clipbert.train_scripts.search", "--checkpoint", OUTPUT_DIR, "--videos", DATA_DIR / "test")
    run(*search, *sentences)
    print(f"\nDone in {(time.perf_counter() - started) / 60:.1f} minutes. Ask for something else with\n")
    print(f'  python {shlex.join(map(str, search))} "{SUGGESTION}"\n')


if __name__ == "__main__":
    main()
