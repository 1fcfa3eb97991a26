# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Training steps of Mug-STAN: pairs of text and video, and classes by their names, against the official way.

The baseline is `baseline_mug_stan.py` on the same weights, with torch's plain AdamW. It encodes the names of all classes in each
step; ours reads what `set_classes` has kept.

Run:     python -m benchmarks.mug_stan_step                                     (five minutes on two cores)
GPU:     python -m benchmarks.mug_stan_step --clip L/14 --num-videos 16 --device cuda --dtype bfloat16 --compile
"""

import argparse
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks import baseline_mug_stan
from benchmarks.families import CLIP_SIZES
from benchmarks.measure import (
    DTYPES,
    Benchmark,
    Row,
    Section,
    alternate,
    count_flops,
    measure_matmul_flops,
    measure_peak_bytes,
)
from benchmarks.measure import build_parser as build_common_parser
from benchmarks.models import autocast
from clipbert.modeling_mug_stan import (
    MugSTANConfig,
    MugSTANForVideoClassification,
    MugSTANForVideoTextRetrieval,
    MugSTANModel,
)
from clipbert.train_scripts.engine.optim import build_optimizer
from clipbert.train_scripts.engine.recipe import OptimSection


MODULE = "benchmarks.mug_stan_step"
CASES = {"pairs": MugSTANForVideoTextRetrieval, "classes": MugSTANForVideoClassification}
EXPECTED = {"pairs": 1.0, "classes": 1.0}
OPTIM = OptimSection(lr=2e-6, weight_decay=0.02, betas=(0.9, 0.98), eps=1e-8, max_grad_norm=5.0)
TOLERANCE = 1e-4  # of a loss, and of the norm of the gradients


def build_model(case: str, options: argparse.Namespace) -> MugSTANModel:
    """Random weights; the branch mixes frames, which a new one does not yet."""
    torch.manual_seed(0)
    config = MugSTANConfig(
        clip_config={"model_type": "clip", **CLIP_SIZES[options.clip]},
        num_labels=options.num_classes,
        class_text_length=options.class_length,
    )
    model = CASES[case](config)
    for layer in model.mug_stan.branches[0].temporal_layers:
        nn.init.normal_(layer.temporal_fc.weight, std=0.02)
    return model.to(options.device)


def draw_texts(num_texts: int, shortest: int, longest: int, config, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens `(texts, longest)` that end with the end token, then padding; and which of them are text."""
    end = config.clip_config.text_config.eos_token_id
    lengths = torch.linspace(shortest, longest, num_texts).round().long()
    places = torch.arange(longest)
    input_ids = torch.randint(end + 1, config.clip_config.text_config.vocab_size, (num_texts, longest))
    input_ids = torch.where(places < lengths[:, None] - 1, input_ids, end)
    return input_ids.to(device), (places < lengths[:, None]).to(device)


class Step:
    """Training steps on one batch."""

    def __init__(self, case: str, model: nn.Module, options: argparse.Namespace):
        self.case, self.model, self.options = case, model, options
        torch.manual_seed(1)
        side = CLIP_SIZES[options.clip]["vision_config"]["image_size"]
        self.pixel_values = torch.randn(options.num_videos, options.num_frames, 3, side, side, device=options.device)
        config, device = model.config, options.device
        self.texts = draw_texts(options.num_videos, options.shortest, options.longest, config, device)
        self.class_texts = draw_texts(options.num_classes, 4, options.class_length, config, device)
        self.labels = torch.arange(options.num_videos, device=device) % options.num_classes

    def compute_gradients(self) -> torch.Tensor:
        """Forward and backward. Returns the loss."""
        torch.manual_seed(2)  # the same stochastic depth on both sides
        with autocast(self.options):
            loss = self.compute_loss()
        loss.backward()
        return loss.detach()

    def run(self) -> None:
        """One whole step."""
        self.compute_gradients()
        parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        nn.utils.clip_grad_norm_(parameters, OPTIM.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()


class BaselineStep(Step):
    """What the official code does."""

    def __init__(self, case, model, options):
        super().__init__(case, model, options)
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        settings = {"lr": OPTIM.lr, "betas": OPTIM.betas, "eps": OPTIM.eps, "weight_decay": OPTIM.weight_decay}
        self.optimizer = torch.optim.AdamW(parameters, foreach=False, **settings)
        padding = (0, options.max_words - options.longest)
        input_ids, mask = self.texts
        self.texts = F.pad(input_ids, padding, value=int(input_ids[0, -1])), F.pad(mask, padding)

    def compute_loss(self):
        if self.case == "pairs":
            return baseline_mug_stan.contrastive_loss(self.model, self.pixel_values, *self.texts)
        return baseline_mug_stan.classification_loss(self.model, self.pixel_values, *self.class_texts, self.labels)


class OurStep(Step):
    """What `train_scripts/engine/loop.py` does."""

    def __init__(self, case, model, options):
        super().__init__(case, model, options)
        self.optimizer = build_optimizer(model, OPTIM)
        if case == "classes":
            model.set_class_tokens(*self.class_texts)

    def compute_loss(self):
        if self.case == "classes":
            return self.model(self.pixel_values, labels=self.labels).loss
        input_ids, mask = self.texts
        return self.model(input_ids=input_ids, attention_mask=mask, pixel_values=self.pixel_values).loss


STEPS = {"baseline": BaselineStep, "ours": OurStep}


def build_steps(case: str, options: argparse.Namespace) -> dict[str, Step]:
    """Steps of each side that the options ask for, with the same weights."""
    sides = [side for side in STEPS if options.alone in (None, side)]
    return {side: STEPS[side](case, build_model(case, options).train(), options) for side in sides}


def check(case: str, steps: dict[str, Step]) -> float:
    """Largest difference of the losses and of the gradients, relative to their norm; refused above the tolerance."""
    losses = {side: step.compute_gradients().item() for side, step in steps.items()}
    difference, size = 0.0, 0.0
    theirs = dict(steps["baseline"].model.named_parameters())
    for name, parameter in steps["ours"].model.named_parameters():
        if parameter.grad is not None:
            difference += (parameter.grad - theirs[name].grad).double().square().sum().item()
            size += parameter.grad.double().square().sum().item()
    for step in steps.values():
        step.optimizer.zero_grad()
    worst = max(abs(losses["baseline"] - losses["ours"]), (difference / size) ** 0.5)
    if not worst <= TOLERANCE:
        raise AssertionError(f"{case}: losses {losses}, the sides differ by {worst:.1e}; nothing was timed.")
    return worst


def measure(options: argparse.Namespace, arguments: Sequence[str] = ()) -> Section:
    """Check that both sides compute the same gradients, then time and weigh whole steps."""
    rows, notes = [], []
    for index, case in enumerate(options.cases):
        steps = build_steps(case, options)
        if options.dtype == "float32":
            notes.append(
                f"Checked before timing, {case}: losses and gradients differ by at most {check(case, steps):.1e}."
            )
        flops = {side: count_flops(step.compute_gradients) for side, step in steps.items()}
        if options.compile:
            steps["ours"].model.compile()
        works = {side: step.run for side, step in steps.items()}
        seconds = alternate(works, options.repetitions, options.warm_up, options.device)
        del steps, works
        peaks = {} if options.no_memory else measure_peak_bytes(MODULE, arguments, index)
        name = {"pairs": "texts and videos", "classes": f"{options.num_classes} classes by their names"}[case]
        rows.append(Row(name, "s", 1, seconds, EXPECTED[case], peaks, flops))
    return Section(
        title=f"Training step of Mug-STAN: CLIP {options.clip}, {options.num_videos} videos x {options.num_frames} frames, texts "
        f"of {options.shortest} to {options.longest} tokens (official maximum {options.max_words}), {options.dtype}"
        f"{', ours compiled' if options.compile else ''}, {options.device}",
        rows=rows,
        notes=notes,
        matmul_flops=measure_matmul_flops(options.device, DTYPES[options.dtype]),
    )


def build_lonely_work(options: argparse.Namespace) -> Callable[[], object]:
    """Steps of the one side and case that the options name."""
    step = build_steps(options.cases[options.case], options)[options.alone]
    if options.compile and options.alone == "ours":
        step.model.compile()
    return step.run


def build_parser() -> argparse.ArgumentParser:
    parser = build_common_parser(__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), help="what is trained")
    parser.add_argument("--clip", choices=CLIP_SIZES, default="B/32", help="size of the CLIP")
    parser.add_argument("--num-videos", type=int, default=2, help="videos of a step")
    parser.add_argument("--num-frames", type=int, default=12, help="frames of a video")
    parser.add_argument("--shortest", type=int, default=8, help="tokens of the shortest text")
    parser.add_argument("--longest", type=int, default=20, help="tokens of the longest text")
    parser.add_argument("--max-words", type=int, default=32, help="what the baseline pads texts to")
    parser.add_argument("--num-classes", type=int, default=400)
    parser.add_argument("--class-length", type=int, default=8, help="tokens of the longest name of a class")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="autocast to it, on both sides")
    parser.add_argument("--compile", action="store_true", help="torch.compile our side")
    return parser


BENCHMARK = Benchmark(MODULE, build_parser, measure, build_lonely_work)

if __name__ == "__main__":
    BENCHMARK.main()
