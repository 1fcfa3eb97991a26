# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A contrast with all pairs of a step: what it costs to divide the batch, and to compare words and frames in blocks.

First a Mug-STAN step whose pairs come in micro-batches, with cached gradients, beside the whole batch at once: it takes the
memory of a micro-batch, and time for one more forward pass. Then the loss alone, from features: Mug in blocks that are
computed again backward beside all of it in one piece. A note has what the first takes above a single micro-batch and
the features of all pairs; another one the loss of a batch of 1,024, for which one piece has no room.

Run:     python -m benchmarks.contrast                                     (a quarter of an hour on two cores)
GPU:     python -m benchmarks.contrast --device cuda --hidden-size 768 --num-layers 12 --image-size 224 --num-frames 12
"""

import argparse
from collections.abc import Callable, Sequence

import torch
from accelerate import Accelerator

from benchmarks.measure import SIDES, Benchmark, Row, Section, alternate, measure_peak_bytes
from benchmarks.measure import build_parser as build_common_parser
from clipbert.modeling_mug_stan import MugSTANConfig, MugSTANForVideoTextRetrieval
from clipbert.modeling_mug_stan.guidance_mug_stan import FrameFeatures, TextFeatures, contrastive_loss, score_all_pairs
from clipbert.train_scripts.engine.data import Batch, MicroBatch
from clipbert.train_scripts.engine.global_batch import add_global_gradients
from clipbert.train_scripts.retrieval import RetrievalTask


MODULE = "benchmarks.contrast"
LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-5, 1e-4  # relative, of gradients to their largest entry
SLOWDOWN, GROWTH = 1.5, 1.3  # that are allowed to the divided batch, in time and in memory
STEP, MICRO_BATCH, LOSS, LARGE_LOSS = range(4)  # cases; the second and the fourth are weighed and stand in notes
Work = Callable[[], list[torch.Tensor]]  # gives the loss and gradients
SCALE = 100.0  # of the soft-maxes and of the loss


# ---------------------------------------------------------------------------------------------------------------------
# A step
# ---------------------------------------------------------------------------------------------------------------------


def build_model(options: argparse.Namespace) -> MugSTANForVideoTextRetrieval:
    """Without stochastic depth, whose masks would differ with the division."""
    torch.manual_seed(0)
    width, layers = options.hidden_size, options.num_layers
    tower = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers}
    tower["num_attention_heads"] = max(width // 64, 1)
    vision = {**tower, "image_size": options.image_size, "patch_size": 16}
    text = {**tower, "vocab_size": 999, "bos_token_id": 997, "eos_token_id": 998}
    clip = {"model_type": "clip", "projection_dim": width, "vision_config": vision, "text_config": text}
    config = MugSTANConfig(clip_config=clip, stan_num_layers=min(4, layers), drop_path_rate=0.0)
    return MugSTANForVideoTextRetrieval(config).to(options.device).train()


def build_pairs(options: argparse.Namespace, first: int, last: int) -> MicroBatch:
    """Some of the pairs: each has pixels and words of its own, whatever it comes with."""
    size, frames, length, keys = options.image_size, options.num_frames, options.num_words, torch.arange(first, last)
    pixels, words = [], []
    for number in keys.tolist():
        generator = torch.Generator().manual_seed(number)
        pixels.append(torch.randn(1, frames, 3, size, size, generator=generator))
        words.append(torch.tensor([997, *torch.randint(1, 990, (length - 2,), generator=generator).tolist(), 998]))
    inputs = {"pixel_values": torch.stack(pixels), "input_ids": torch.stack(words)}
    inputs["video_indices"] = torch.arange(len(keys))
    return MicroBatch(Batch(inputs, {"text_keys": keys, "video_keys": keys}), [], 1.0, [])


def build_step(
    options: argparse.Namespace, model: MugSTANForVideoTextRetrieval, num_pairs: int, size: int, adds: bool = False
) -> Work:
    """
    The gradients of a step of so many pairs, `size` of them at a time, as the training loop has them. If it `adds`, they are
    added to those of the call before.
    """
    task, accelerator = RetrievalTask(), Accelerator(cpu=options.device == "cpu")
    task.options = {}
    micro_batches = [build_pairs(options, start, start + size) for start in range(0, num_pairs, size)]
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def work():
        if not adds:
            model.zero_grad()
        accelerator.gradient_accumulation_steps = len(micro_batches)
        sums = add_global_gradients(task, model, accelerator, iter(micro_batches), len(micro_batches), (0, 0))
        return [sums.losses[0][0], *(parameter.grad for parameter in parameters)]

    return work


# ---------------------------------------------------------------------------------------------------------------------
# The loss
# ---------------------------------------------------------------------------------------------------------------------


def build_loss(options: argparse.Namespace, num_pairs: int, block_size: int) -> Work:
    """Mug of all pairs with the gradients of words and frames, from features in which pairs belong together."""
    generator = torch.Generator().manual_seed(0)
    width, words, frames = options.feature_size, options.loss_words, options.loss_frames
    videos = torch.randn(num_pairs, frames, width, generator=generator)
    places = torch.randint(frames, (num_pairs, words), generator=generator)
    tokens = videos.gather(1, places[..., None].expand(-1, -1, width))
    tokens = tokens + 2 * torch.randn(tokens.shape, generator=generator)
    mask = torch.arange(words) < torch.randint(words // 2, words + 1, (num_pairs, 1), generator=generator)
    videos, tokens, mask = (part.to(options.device) for part in (videos, tokens, mask))
    leaves = [videos.requires_grad_(), tokens.requires_grad_()]

    def work():
        texts = TextFeatures(tokens, mask, tokens[:, 0])
        scores = score_all_pairs(texts, FrameFeatures(videos), "mug", SCALE, block_size=block_size)
        loss = contrastive_loss(SCALE * scores)
        return [loss.detach(), *torch.autograd.grad(loss, leaves)]

    return work


# ---------------------------------------------------------------------------------------------------------------------
# Both
# ---------------------------------------------------------------------------------------------------------------------


def build_works(options: argparse.Namespace, case: int) -> dict[str, Work]:
    """One call for each side; of the large loss there is ours alone."""
    if case in (STEP, MICRO_BATCH):
        model, pairs, size = build_model(options), options.num_pairs, options.micro_batch
        # a micro-batch by itself adds its gradients to those that are there, as every one but the first of a step does
        lonely = build_step(options, model, size, size, adds=True)
        whole = build_step(options, model, pairs, pairs)
        return {"baseline": whole if case == STEP else lonely, "ours": build_step(options, model, pairs, size)}
    blocks = MugSTANConfig().similarity_block_size
    if case == LARGE_LOSS:
        return {"ours": build_loss(options, options.large_loss_pairs, blocks)}
    return {
        side: build_loss(options, options.loss_pairs, size) for side, size in zip(SIDES, (2**62, blocks), strict=True)
    }


def check(name: str, works: dict[str, Work]) -> float:
    """Largest difference between the gradients of both sides, relative to the largest; refused above the tolerance."""
    loss, *gradients = (value.clone() for value in works["baseline"]())
    other, *others = works["ours"]()
    largest = max(gradient.abs().max() for gradient in gradients)
    difference = max((a - b).abs().max() / largest for a, b in zip(gradients, others, strict=True)).item()
    if not (abs(loss - other) <= LOSS_TOLERANCE * abs(loss) and difference <= GRADIENT_TOLERANCE):
        raise AssertionError(
            f"{name}: the losses are {loss:.7g} and {other:.7g}, gradients differ by {difference:.1e} of the largest; nothing "
            "was timed."
        )
    return difference


def measure(options: argparse.Namespace, arguments: Sequence[str] = ()) -> Section:
    """Check a step and a loss, then time and weigh them; notes have what is not compared."""
    pairs, size = options.num_pairs, options.micro_batch
    cases = {
        STEP: (
            f"a step of {pairs} pairs, 1 x {pairs} against {pairs // size} x {size}",
            pairs,
            round(1 / SLOWDOWN, 2),
        ),
        LOSS: (f"Mug's loss of {options.loss_pairs} pairs, one piece against blocks", options.loss_pairs, None),
    }
    rows, differences = [], []
    for case, (name, amount, expected) in cases.items():
        works = build_works(options, case)
        differences.append(check(name, works))
        seconds = alternate(works, options.repetitions, options.warm_up, options.device)
        peaks = {} if options.no_memory else measure_peak_bytes(MODULE, arguments, case, "bytes_above_start")
        rows.append(Row(name, "pairs/s", amount, seconds, expected, peaks))
    notes = [f"Checked before timing: gradients of both sides differ by {max(differences):.1e} of the largest."]
    if not options.no_memory:
        notes += [describe_growth(options, arguments), describe_large_loss(options, arguments)]
    return Section(
        title=f"Contrast with the whole batch: {options.num_frames} frames, {options.image_size} px, {options.num_layers} "
        f"layers of width {options.hidden_size}, memory above the start, {options.device}",
        rows=rows,
        notes=notes,
    )


def describe_growth(options: argparse.Namespace, arguments: Sequence[str]) -> str:
    """The memory of the divided batch beside that of a micro-batch and the features of all pairs."""
    pairs, size = options.num_pairs, options.micro_batch
    taken = measure_peak_bytes(MODULE, arguments, MICRO_BATCH, "bytes_above_start")
    features = 4 * pairs * options.hidden_size * (options.num_words + 1 + options.num_frames)
    return (
        f"{pairs // size} x {size} takes {taken['ours'] / 1e6:.0f} MB, a single micro-batch of {size} "
        f"{taken['baseline'] / 1e6:.0f} MB, the features of {pairs} pairs {features / 1e6:.1f} MB: "
        f"{taken['ours'] / (taken['baseline'] + features):.2f} of the sum (expected: at most {GROWTH})."
    )


def describe_large_loss(options: argparse.Namespace, arguments: Sequence[str]) -> str:
    """Time and memory of a loss for which one piece has no room."""
    pairs, words, frames = options.large_loss_pairs, options.loss_words, options.loss_frames
    seconds = alternate(build_works(options, LARGE_LOSS), 1, 0, options.device)["ours"][0]
    taken = measure_peak_bytes(MODULE, arguments, LARGE_LOSS, "bytes_above_start", sides=("ours",))["ours"]
    return (
        f"Mug's loss of {pairs:,} pairs, {words} words and {frames} frames takes {seconds:.1f} s and {taken / 1e9:.2f} GB in "
        f"blocks; in one piece each of its tensors alone has {4 * pairs**2 * words * frames / 1e9:.2f} GB."
    )


def build_lonely_work(options: argparse.Namespace) -> Work:
    """The call of the one side and case that the options name."""
    return build_works(options, options.case)[options.alone]


def build_parser() -> argparse.ArgumentParser:
    parser = build_common_parser(__doc__.splitlines()[0])
    parser.add_argument("--num-pairs", type=int, default=64, help="texts, each with its video, of a step")
    parser.add_argument("--micro-batch", type=int, default=8, help="of them at a time")
    parser.add_argument("--num-frames", type=int, default=4, help="frames of a video")
    parser.add_argument("--num-words", type=int, default=16, help="tokens of a text")
    parser.add_argument("--image-size", type=int, default=64, help="side of a frame in pixels")
    parser.add_argument("--hidden-size", type=int, default=256, help="width of the towers; a head has 64")
    parser.add_argument("--num-layers", type=int, default=6, help="layers of each tower")
    parser.add_argument("--loss-pairs", type=int, default=256, help="pairs of the loss that has room in one piece")
    parser.add_argument("--large-loss-pairs", type=int, default=1024, help="pairs of the one that has not")
    parser.add_argument("--loss-words", type=int, default=64, help="tokens of the longest text of a loss")
    parser.add_argument("--loss-frames", type=int, default=12, help="frames of a loss")
    parser.add_argument("--feature-size", type=int, default=512, help="width of the features of a loss")
    return parser


BENCHMARK = Benchmark(MODULE, build_parser, measure, build_lonely_work)

if __name__ == "__main__":
    BENCHMARK.main()
