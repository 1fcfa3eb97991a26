# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""From the start of a process to the first scores: imports, weights, a video of ten seconds and two captions.

Ours is what a user types: the Auto classes of transformers, a checkpoint, a call of the processor. The baseline imports what the
official code does and is still to be had (torch, torchvision, transformers' BERT), and reads its weights by `torch.load`.

Run:     python -m benchmarks.start                                           (two minutes on two cores)
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

from benchmarks.measure import Benchmark, Row, Section, add_model_arguments, alternate
from benchmarks.measure import build_parser as build_common_parser


MODULE = "benchmarks.start"
ROOT = Path(__file__).resolve().parents[1]
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "runs", "cat", "sleeps")
TEXTS = ["a dog runs", "a cat sleeps"]
CLIPS = {"num_clips": 2, "num_frames": 2, "fps": 2.0}
TOLERANCE = 1e-3
WAYS = {"baseline": "start_of_baseline", "ours": "start_of_ours"}


def start_of_ours(folder: Path, image_size: int) -> list[float]:
    """Probabilities of a match."""
    from transformers import AutoModelForSequenceClassification, AutoProcessor

    import clipbert  # noqa: F401  the Auto classes know its models from now on

    model = AutoModelForSequenceClassification.from_pretrained(folder / "ours")
    processor = AutoProcessor.from_pretrained(folder / "ours")
    inputs = processor(text=[TEXTS], videos=[str(folder / "video.mp4")], **CLIPS)
    return model.match_scores(model(**inputs).logits).tolist()


def start_of_baseline(folder: Path, image_size: int) -> list[float]:
    """The same."""
    import torch
    import torchvision  # noqa: F401  the detector that the official code begins with imports it
    from transformers import BertTokenizerFast

    from benchmarks import baseline_loading, baseline_model

    config = json.loads((folder / "config.json").read_text(), object_hook=lambda values: SimpleNamespace(**values))
    model = baseline_model.BaselineClipBERT(config)
    model.load_state_dict(torch.load(folder / "baseline.pt", weights_only=True))
    tokens = BertTokenizerFast(str(folder / "vocab.txt"))(
        TEXTS, padding="max_length", max_length=20, return_tensors="pt"
    )
    clips = baseline_loading.load_clips(folder / "video.mp4", longest_edge=image_size, **CLIPS)
    given = (tokens["input_ids"], tokens["attention_mask"], config.score_pooling)
    return baseline_model.score_texts(model.eval(), clips, *given).tolist()


def prepare(folder: Path, options: argparse.Namespace) -> None:
    """A video, a model with random weights for each side, and a vocabulary."""
    import torch

    from benchmarks.loading import write_video
    from benchmarks.models import build_sides
    from clipbert.processing import ClipBERTVideoProcessor, VideoTextProcessor, load_tokenizer

    write_video(folder / "video.mp4", 300, 30, (240, 320))
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    sides = build_sides(options)
    model, names = sides["ours"], ("hidden_size", "num_attention_heads", "layer_norm_eps", "intermediate_size")
    names += ("attention_probs_dropout_prob", "hidden_dropout_prob", "num_hidden_layers", "num_labels", "vocab_size")
    names += ("max_position_embeddings", "type_vocab_size", "pad_token_id", "score_pooling", "freeze_backbone_stages")
    names += ("max_grid_row_position_embeddings", "max_grid_col_position_embeddings")
    config = {name: getattr(model.config, name) for name in names}
    sizes = ("embedding_size", "hidden_sizes", "depths")
    config["backbone_config"] = {name: getattr(model.config.backbone_config, name) for name in sizes}
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(sides["baseline"].state_dict(), folder / "baseline.pt")
    model.save_pretrained(folder / "ours")
    video_processor = ClipBERTVideoProcessor(
        size=options.image_size, placement="official", square_pixels=False, **CLIPS
    )
    VideoTextProcessor(video_processor, load_tokenizer(folder / "vocab.txt"), max_length=20).save_pretrained(
        folder / "ours"
    )


def run_process(side: str, folder: Path, options: argparse.Namespace) -> list[float]:
    """A process of its own, to its scores."""
    command = [sys.executable, "-m", MODULE, "--way", side, "--folder", str(folder)]
    command += ["--image-size", str(options.image_size), "--threads", str(options.threads)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(options: argparse.Namespace, arguments: Sequence[str] = ()) -> Section:
    """Check that both sides give the same scores, then time whole processes."""
    folder = Path(tempfile.mkdtemp())
    try:
        prepare(folder, options)
        scores = {side: run_process(side, folder, options) for side in WAYS}
        difference = max(abs(one - other) for one, other in zip(*scores.values(), strict=True))
        if not difference <= TOLERANCE:
            raise AssertionError(f"The sides do not compute the same: {scores}; nothing was timed.")
        calls = {side: lambda side=side: run_process(side, folder, options) for side in WAYS}
        seconds = alternate(calls, options.repetitions, options.warm_up)
    finally:
        shutil.rmtree(folder)
    return Section(
        title=f"From the start of a process to the first scores: {CLIPS['num_clips']} clips of a video, {len(TEXTS)} captions, "
        f"{options.image_size} px, {options.num_layers} layers",
        rows=[Row("start to first scores", "s", 1, seconds, expected=1.67)],
        notes=[
            f"Checked before timing: the scores of both sides differ by at most {difference:.1e}.",
            "Nearly all of it are imports of torch, torchvision and transformers, on both sides.",
        ],
    )


def build_parser() -> argparse.ArgumentParser:
    parser = build_common_parser(__doc__.splitlines()[0])
    add_model_arguments(parser)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)  # what the processes are started with
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser


BENCHMARK = Benchmark(MODULE, build_parser, measure)

if __name__ == "__main__":
    given = build_parser().parse_args()
    if given.way:
        print(json.dumps(globals()[WAYS[given.way]](given.folder, given.image_size)))
    else:
        BENCHMARK.main()
