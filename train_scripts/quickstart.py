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
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType


RECIPES = Path(__file__).resolve().parent / "recipes"
RECIPE = RECIPES / "quickstart" / "retrieval.yaml"
# what `accelerate launch --cpu` sets, too; without it Ctrl-C reaches the training alone, with no launcher above that gives
# up. One thread is enough for a model this small: the other core decodes
ONE_CPU = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
OUTPUT_DIR = Path("outputs/quickstart")
DATA_DIR = OUTPUT_DIR / "data"
SUGGESTION = "a green triangle"
PLAN = f"""\
1. generates 528 videos of moving shapes with captions    seconds
2. trains a small ClipBERT on 400 of them                 3 minutes on two idle cores
3. tests it on 64 videos that it has not seen             seconds
4. searches these for sentences                           seconds
Everything is written to {OUTPUT_DIR}; nothing is downloaded. The same command goes on where it was stopped."""


def run(*command: str | Path, variables: Mapping[str, str] = MappingProxyType({})) -> None:
    """
    Print a command and run it with this interpreter. Where it fails, it has said why, and this program ends.

    Ctrl-C goes from the terminal to both; the command may have something to save, so it is waited for.
    """
    arguments = [str(shorten(part) if isinstance(part, Path) else part) for part in command]
    shown = [f"{name}={value}" for name, value in variables.items()]
    print(f"\n$ {shlex.join([*shown, 'python', *arguments])}", flush=True)
    stopped = []
    previous = signal.signal(signal.SIGINT, lambda *_: stopped.append(130))
    code = subprocess.run([sys.executable, *arguments], env=os.environ | variables).returncode
    signal.signal(signal.SIGINT, previous)
    if stopped or code:
        sys.exit(*stopped[:1] or (code,))


def shorten(path: Path) -> Path:
    """As seen from the working folder, if it lies below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def test_captions(count: int) -> list[str]:
    """Sentences that are known to have an answer: the first captions of the test split."""
    lines = (DATA_DIR / "test" / "captions.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["caption"] for line in lines[:count]]


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
    settings = [part for setting in given.set for part in ("--set", setting)]
    run("-m", "clipbert.train_scripts.retrieval", "--recipe", RECIPE, *settings, variables=ONE_CPU)
    sentences = given.sentences or test_captions(2)
    search = ("-m", "clipbert.train_scripts.search", "--checkpoint", OUTPUT_DIR, "--videos", DATA_DIR / "test")
    run(*search, *sentences)
    print(f"\nDone in {(time.perf_counter() - started) / 60:.1f} minutes. Ask for something else with\n")
    print(f'  python {shlex.join(map(str, search))} "{SUGGESTION}"\n')


if __name__ == "__main__":
    main()
