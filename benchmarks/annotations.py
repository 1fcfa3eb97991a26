# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Time and memory of loading the 180,000 captions of MSR-VTT's 9k split: first, again from the cache, and as a stream.

Run:     python -m benchmarks.annotations                      (generated annotations of the same size; half a minute)
Yours:   python -m benchmarks.annotations --data_dir FOLDER    (the official files and MSRVTT_train.9k.csv)
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import describe_machine, peak_bytes
from clipbert.datasets_scripts import load_benchmark


NUM_VIDEOS, NUM_TRAIN, SENTENCES_PER_VIDEO = 10_000, 9_000, 20
ROUTES = ("table, first time", "table, from the cache", "stream, first row", "stream, all rows")


def write_annotations(folder: Path, num_videos: int = NUM_VIDEOS) -> None:
    """Files in the layout of CLIP4Clip's copy, with made-up sentences in random order."""
    rng = random.Random(0)
    words = [f"word{number}" for number in range(3000)]
    videos = [
        {"video_id": f"video{number}", "id": number, "category": number % 20, "split": "train",
         "url": f"https://www.youtube.com/watch?v={number:011d}", "start time": 1.5, "end time": 16.5}
        for number in range(num_videos)
    ]  # fmt: skip
    sentences = [
        {"video_id": f"video{number % num_videos}", "sen_id": number, "caption": " ".join(rng.choices(words, k=9))}
        for number in range(num_videos * SENTENCES_PER_VIDEO)
    ]
    rng.shuffle(sentences)
    (folder / "MSRVTT_data.json").write_text(json.dumps({"videos": videos, "sentences": sentences}))
    listed = [f"video{number}" for number in range(num_videos * NUM_TRAIN // NUM_VIDEOS)]
    (folder / "MSRVTT_train.9k.csv").write_text("\n".join(["video_id", *listed]) + "\n")


def measure_route(route: str, data_dir: Path, video_dir: Path, cache_dir: Path) -> dict[str, float]:
    """Seconds, rows and peak memory above that of the imports; to be called once in a process."""
    before = peak_bytes("cpu")
    started = time.perf_counter()
    arguments = {"config": "retrieval_1ka_9k", "split": "train", "data_dir": data_dir, "video_dir": str(video_dir)}
    rows = load_benchmark("msrvtt", cache_dir=str(cache_dir), streaming=route.startswith("stream"), **arguments)
    if route == "stream, first row":
        next(iter(rows))
        num_rows = 1
    else:
        num_rows = sum(1 for _ in rows) if route == "stream, all rows" else len(rows)
    seconds = time.perf_counter() - started
    return {"rows": num_rows, "seconds": seconds, "megabytes": (peak_bytes("cpu") - before) / 1e6}


def main(arguments: Sequence[str] | None = None) -> list[dict]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data_dir", type=Path, help="folder with the annotation files of MSR-VTT; default: generated"
    )
    parser.add_argument("--num_videos", type=int, default=NUM_VIDEOS, help="of the generated annotations")
    parser.add_argument("--route", choices=ROUTES, help=argparse.SUPPRESS)
    parser.add_argument("--folders", type=Path, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.route:
        print(json.dumps(measure_route(options.route, options.data_dir, *options.folders)))
        return []
    with tempfile.TemporaryDirectory() as temporary:
        video_dir, cache_dir = Path(temporary, "videos"), Path(temporary, "cache")
        video_dir.mkdir()
        for number in range(NUM_VIDEOS):  # only their names are looked at
            (video_dir / f"video{number}.mp4").touch()
        data_dir = options.data_dir
        if data_dir is None:
            data_dir = Path(temporary)
            write_annotations(data_dir, options.num_videos)
        results = []
        for route in ROUTES:
            command = [sys.executable, "-m", "benchmarks.annotations", "--route", route, "--data_dir", str(data_dir)]
            done = subprocess.run(
                [*command, "--folders", str(video_dir), str(cache_dir)], check=True, stdout=subprocess.PIPE, text=True
            )
            results.append({"route": route, **json.loads(done.stdout.splitlines()[-1])})
    print(*(f"- {line}" for line in describe_machine("cpu")), sep="\n", end="\n\n")
    print("| route | rows | seconds | peak MB above the imports |\n| --- | --- | --- | --- |")
    for row in results:
        print(f"| {row['route']} | {row['rows']:,} | {row['seconds']:.2f} | {row['megabytes']:.0f} |")
    return results


if __name__ == "__main__":
    main()
