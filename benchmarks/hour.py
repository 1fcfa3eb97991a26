# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Moments in an hour of video: memory beside that of a tenth of it, and what a hundred further sentences cost.

With a trained model and a folder of videos and `moments.jsonl`, as `video_folder` reads them: which of the ways to look at a long
video finds the moments.

Run:     python -m benchmarks.hour                                             (generated video, small model; minutes)
Yours:   python -m benchmarks.hour --checkpoint outputs/RUN --moments FOLDER   (R@1 of windows by each ranking, and of pooling)
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from transformers import BertTokenizer

from benchmarks.measure import describe_machine, peak_bytes
from clipbert.metrics.moment_retrieval import compute_moment_metrics
from clipbert.modeling_ci_mha import CIMHAConfig, CIMHAForMomentRetrieval
from clipbert.pipelines import encode_video
from clipbert.processing import CIMHAVideoProcessor, MomentRetrievalProcessor
from clipbert.processing.moment_spans import RANKINGS
from clipbert.train_scripts.tasks.moment_retrieval.showing import load_locator


NUM_FIRST, NUM_MORE = 20, 100  # sentences
WORDS = ["a", "red", "green", "blue", "square", "moves", "left", "right", "grows", "and", "stops"]
SMALL = {
    "model_type": "resnet",
    "layer_type": "basic",
    "embedding_size": 32,
    "hidden_sizes": [32, 64, 128],
    "depths": [1, 1, 1],
}
CLIP = {"model_type": "clip_vision_model", "patch_size": 32, "image_size": 224}  # otherwise as CLIP-B/32
TOWERS = {"small": (SMALL, 64), "clip": (CLIP, 224)}  # and the side of a frame
RECALLS = ("R1@0.3", "R1@0.5", "R1@0.7")


def write_video(path: Path, seconds: float, fps: int = 10) -> Path:
    """A square wanders over a grey ground, H.264 of 160 x 120, written frame by frame."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        picture = np.empty((120, 160, 3), dtype=np.uint8)
        for number in range(round(seconds * fps)):
            picture[:] = 60
            left = 2 * number % 130
            picture[40:70, left : left + 30] = number % 200, 200, 50
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def build_model(tower: str) -> tuple[CIMHAForMomentRetrieval, MomentRetrievalProcessor]:
    """A model with random weights; its tower is as small as one that learns in minutes on a CPU, or as large as CLIP-B/32."""
    torch.manual_seed(0)
    frame_encoder, size = TOWERS[tower]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    config = CIMHAConfig(
        frame_encoder_config=frame_encoder,
        hidden_size=64,
        num_attention_heads=4,
        word_size=64,
        vocab_size=len(vocabulary),
    )
    tokenizer = BertTokenizer(vocab={word: number for number, word in enumerate(vocabulary)})
    return CIMHAForMomentRetrieval(config).eval(), MomentRetrievalProcessor(CIMHAVideoProcessor(size=size), tokenizer)


def measure_video(video: str, checkpoint: str | None, tower: str, window_s: float) -> dict[str, float]:
    """Frames, windows, seconds of the first call and of further sentences, and peak memory; to be called once in a process."""
    model, processor = build_model(tower) if checkpoint is None else load_locator(checkpoint)
    num_frames, encode = 0, model.encode_frames

    def counted(pixel_values: torch.Tensor) -> torch.Tensor:
        nonlocal num_frames
        num_frames += len(pixel_values)
        return encode(pixel_values)

    model.encode_frames = counted
    rng = np.random.default_rng(0)
    sentences = [" ".join(rng.choice(WORDS, 5)) for _ in range(NUM_FIRST + NUM_MORE)]
    started = time.perf_counter()
    encoded = encode_video(model, processor, video, window_seconds=window_s)
    encoded.locate(sentences[:NUM_FIRST])
    first_s = time.perf_counter() - started
    encoded.locate(sentences[NUM_FIRST:])
    return {
        "seconds": encoded.duration_s,
        "windows": len(encoded.spans_se),
        "frames": num_frames,
        "first_s": first_s,
        "more_s": time.perf_counter() - started - first_s,
        "megabytes": peak_bytes("cpu") / 1e6,
    }


def measure_alone(video: Path, options: argparse.Namespace) -> dict[str, float]:
    """The same in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.hour", "--alone", str(video), "--window", str(options.window)]
    command += ["--tower", options.tower]
    command += [] if options.checkpoint is None else ["--checkpoint", options.checkpoint]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure_moments(checkpoint: str, folder: Path, window_s: float) -> dict[str, dict[str, float]]:
    """R@1 of each way to look at long videos, over all rows of `moments.jsonl`."""
    model, processor = load_locator(checkpoint)
    questions: dict[str, list[dict[str, Any]]] = {}
    for line in (folder / "moments.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        questions.setdefault(row["video"], []).append(row)
    rankings = [name for name in RANKINGS if model.config.segmentation or name != "joint_with_segmentation"]
    answers: dict[str, list] = {f"slide, {name}": [] for name in rankings} | {"pool": []}
    references = []
    for name, rows in questions.items():
        texts = [row["caption"] for row in rows]
        windows = encode_video(model, processor, str(folder / name), window_seconds=window_s)
        for ranking in rankings:
            answers[f"slide, {ranking}"] += windows.locate(texts, ranking=ranking)
        answers["pool"] += encode_video(model, processor, str(folder / name), long_video="pool").locate(texts)
        facts = {"video_id": name, "duration_s": windows.spans_se[-1][1]}
        references += [{**facts, "windows": [(row["start_s"], row["end_s"])]} for row in rows]
    return {way: compute_moment_metrics(found, references) for way, found in answers.items()}


def main(arguments: Sequence[str] | None = None) -> dict[str, Any] | None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", help="a run, a checkpoint or a Hub name; default: a small model, untrained")
    parser.add_argument("--tower", choices=TOWERS, default="small", help="of the model without a checkpoint")
    parser.add_argument(
        "--moments", type=Path, metavar="FOLDER", help="videos and moments.jsonl: score the checkpoint"
    )
    parser.add_argument(
        "--window", type=float, default=60.0, metavar="SECONDS", help="length of a window (default: 60)"
    )
    parser.add_argument("--seconds", type=float, default=3600.0, help="of the generated video (default: an hour)")
    parser.add_argument("--alone", metavar="VIDEO", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.alone:
        print(json.dumps(measure_video(options.alone, options.checkpoint, options.tower, options.window)))
        return None
    if options.moments is not None:
        if options.checkpoint is None:
            parser.error("--moments: are for a trained model; give --checkpoint, too")
        found = measure_moments(options.checkpoint, options.moments, options.window)
        print(
            f"| R@1 at IoU | {' | '.join(name.removeprefix('R1@') for name in RECALLS)} |\n|---|{'---|' * len(RECALLS)}"
        )
        for way, metrics in found.items():
            print(f"| {way} | {' | '.join(f'{100 * metrics[name]:.1f} %' for name in RECALLS)} |")
        return found
    with tempfile.TemporaryDirectory() as folder:
        lengths = {"a tenth": options.seconds / 10, "all of it": options.seconds}
        found = {
            name: measure_alone(write_video(Path(folder) / "video.mp4", seconds), options)
            for name, seconds in lengths.items()
        }
    print("\n".join(describe_machine("cpu")))
    print(
        f"\n| video | windows | frames | first call, {NUM_FIRST} sentences | {NUM_MORE} more | peak memory |\n|---|---|---|---|---|---|"
    )
    for name, row in found.items():
        shares = f"{row['more_s']:.1f} s ({row['more_s'] / row['first_s']:.1%})"
        cells = [f"{name}, {row['seconds']:.0f} s", row["windows"], row["frames"], f"{row['first_s']:.1f} s", shares]
        print(f"| {' | '.join(map(str, cells))} | {row['megabytes']:.0f} MB |")
    print(
        f"\nMemory of all of it: {found['all of it']['megabytes'] / found['a tenth']['megabytes']:.2f} of that of a tenth."
    )
    return found


if __name__ == "__main__":
    main()
