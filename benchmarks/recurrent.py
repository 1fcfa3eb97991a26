# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""CNN-RNN on clips of mixed lengths: what padding costs in the CNN, and packed sequences in the recurrent part.

The baseline packs sequences, as the usual code does, or lets the CNN see the padding, as it does where clips are padded before
it. Ours takes the backend that `rnn_backend="auto"` takes for the sizes at hand, and shows the CNN the frames that exist.

Run:     python -m benchmarks.recurrent --no-memory                        (five minutes on two cores)
"""

import argparse
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from benchmarks.measure import Benchmark, Row, Section, alternate, measure_peak_bytes
from benchmarks.measure import build_parser as build_common_parser
from clipbert.modeling_cnn_rnn import CNNRNNConfig, CNNRNNModel


MODULE = "benchmarks.recurrent"
TOLERANCE = 1e-5  # of a state or a frame vector, in float32
GRADIENT_TOLERANCE = 1e-4  # of the largest entry of a gradient, which sums over all steps
# Half as deep and wide as ResNet-18. Beside a much smaller one the copy of the frames that exist would count.
CNN = {
    "model_type": "resnet",
    "layer_type": "basic",
    "embedding_size": 32,
    "hidden_sizes": [32, 64, 128, 256],
    "depths": [1, 1, 1, 1],
}


class Case(NamedTuple):
    part: str  # "rnn", "gru", "lstm" or "cnn"
    feature_size: int
    hidden_size: int
    is_trained: bool
    expected: float | None

    def __str__(self):
        what = "forward and backward" if self.is_trained else "forward"
        if self.part == "cnn":
            return f"CNN on padding against the frames that exist, {what}"
        return f"{self.part.upper()} {self.feature_size} to {self.hidden_size}, {what}"


def build_cases(options: argparse.Namespace) -> list[Case]:
    # what an LSTM takes besides its products; of wide vectors, and where nothing is trained, the products are most of the time
    recurrent = [
        Case(kind, inputs, units, is_trained, 3.0 if kind == "lstm" and inputs <= 64 else None)
        for kind in options.kinds
        for inputs in options.feature_sizes
        for units in options.hidden_sizes
        for is_trained in (False, True)
    ]
    return [*recurrent, *(Case("cnn", 0, 8, is_trained, 1.8) for is_trained in (False, True))]


def build_lengths(options: argparse.Namespace) -> torch.Tensor:
    """Frames of each clip: from the shortest to the longest, with the mean of the options."""
    shortest, longest, mean = options.lengths
    if not shortest < mean < longest or options.num_clips < 2:
        raise ValueError(f"--lengths must be shortest, longest and a mean between them, got {options.lengths}.")
    power = (longest - mean) / (mean - shortest)  # of which the mean over [0, 1] is the share of the mean
    places = torch.linspace(0, 1, options.num_clips)
    return (shortest + (longest - shortest) * places**power).round().long()


def build_model(case: Case, backend: str, options: argparse.Namespace) -> CNNRNNModel:
    """The same weights for both sides, in training mode where they are trained."""
    torch.manual_seed(0)
    config = CNNRNNConfig(
        backbone_config={"model_type": "resnet"} if options.resnet50 else CNN,
        frame_projection_size=case.feature_size or None,
        rnn_type="lstm" if case.part == "cnn" else case.part,
        rnn_backend=backend,
        rnn_hidden_size=case.hidden_size,
        backbone_trainable="all" if case.part == "cnn" and case.is_trained else "none",
    )
    return CNNRNNModel(config).to(options.device).train(case.is_trained)


def build_work(case: Case, options: argparse.Namespace) -> dict[str, Callable[[], list[torch.Tensor]]]:
    """One call for each side, on the same clips; it gives what is computed, and the gradients where it is trained."""
    lengths = build_lengths(options)
    generator = torch.Generator().manual_seed(0)
    exists = torch.arange(int(lengths.max())) < lengths[:, None]
    shape = (case.feature_size,) if case.part != "cnn" else (3, options.image_size, options.image_size)
    inputs = torch.randn(*exists.shape, *shape, generator=generator)
    inputs[~exists] = 0
    if case.part != "cnn":
        inputs /= case.feature_size**0.5  # so that rounding does not grow with the width
    inputs, lengths, exists = (tensor.to(options.device) for tensor in (inputs, lengths, exists))

    def build_side(side):
        model = build_model(case, "packed" if side == "baseline" else "auto", options)
        if case.part != "cnn":
            trained = model.rnn

            def run():
                return model.run_recurrence(inputs, lengths)[exists]
        else:
            trained = model.frame_encoder

            def run():
                if side == "baseline":
                    return model.encode_frames(inputs.flatten(0, 1))[exists.flatten()]
                return model.encode_frames(inputs[exists])

        def work():
            with torch.set_grad_enabled(case.is_trained):
                results = run()
                if not case.is_trained:
                    return [results]
                parameters = [parameter for parameter in trained.parameters() if parameter.requires_grad]
                return [results, *torch.autograd.grad(results.square().mean(), parameters)]

        return work

    return {side: build_side(side) for side in ("baseline", "ours") if options.alone in (None, side)}


def check(case: Case, work: dict[str, Callable[[], list[torch.Tensor]]]) -> float:
    """Largest difference between what both sides compute; refused above the tolerance."""
    (expected, *gradients), (found, *others) = work["baseline"](), work["ours"]()
    difference = (expected - found).abs().max().item()
    if not difference <= TOLERANCE or expected.std() < 100 * TOLERANCE:
        raise AssertionError(f"{case}: the sides differ by {difference:.1e}, or say nothing; nothing was timed.")
    for gradient, other in zip(gradients, others, strict=True):
        if not (gradient - other).abs().max() <= GRADIENT_TOLERANCE * gradient.abs().max():
            raise AssertionError(f"{case}: the gradients of both sides differ; nothing was timed.")
    return difference


def measure(options: argparse.Namespace, arguments: Sequence[str] = ()) -> Section:
    """Check every case, then time it and weigh it."""
    rows, worst = [], 0.0
    for index, case in enumerate(build_cases(options)):
        work = build_work(case, options)
        worst = max(worst, check(case, work))
        seconds = alternate(work, options.repetitions, options.warm_up, options.device)
        peaks = {} if options.no_memory else measure_peak_bytes(MODULE, arguments, index)
        rows.append(Row(str(case), "clips/s", options.num_clips, seconds, case.expected, peaks))
    lengths = build_lengths(options)
    return Section(
        title=f"Clips of mixed lengths: {options.num_clips} of {lengths.min()} to {lengths.max()} frames, mean "
        f"{lengths.float().mean():.0f}, {options.image_size} px, {options.device}",
        rows=rows,
        notes=[f"Checked before timing: both sides differ by at most {worst:.1e}, and by 1e-4 of a gradient."],
    )


def build_lonely_work(options: argparse.Namespace) -> Callable[[], object]:
    """The call of the one side and case that the options name."""
    return build_work(build_cases(options)[options.case], options)[options.alone]


def build_parser() -> argparse.ArgumentParser:
    parser = build_common_parser(__doc__.splitlines()[0])
    parser.add_argument("--num-clips", type=int, default=16, help="clips of a batch")
    parser.add_argument("--lengths", type=int, nargs=3, default=[60, 320, 150], help="frames: shortest, longest, mean")
    parser.add_argument("--kinds", nargs="+", choices=["rnn", "gru", "lstm"], default=["rnn", "gru", "lstm"])
    parser.add_argument(
        "--feature-sizes", type=int, nargs="+", default=[16, 64, 512, 2048], help="sizes of frame vectors"
    )
    parser.add_argument("--hidden-sizes", type=int, nargs="+", default=[16, 64, 256, 512], help="units")
    parser.add_argument("--image-size", type=int, default=48, help="side of a frame in pixels")
    parser.add_argument("--resnet50", action="store_true", help="a ResNet-50 in place of a small CNN")
    return parser


BENCHMARK = Benchmark(MODULE, build_parser, measure, build_lonely_work)

if __name__ == "__main__":
    BENCHMARK.main()
