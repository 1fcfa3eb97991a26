# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What `python -m benchmarks.gpu` measures: training steps, scoring, loading and a run, with loaded full-size models.

Each part yields one [`Line`] after the other, so that what was measured before a part ran out of time is not lost.
"""

import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import send_to_device

from benchmarks.families import MODELS, write_model
from benchmarks.loading import write_video
from benchmarks.measure import alternate, count_flops, measure_matmul_flops, peak_bytes
from clipbert.train_scripts.engine.optim import build_optimizer
from clipbert.train_scripts.engine.order import PlannedBatches, build_plan
from clipbert.train_scripts.engine.task import main as run_task
from clipbert.train_scripts.retrieval import RetrievalRecipe, RetrievalTask
from clipbert.train_scripts.tasks.scoring import VideoBlock, build_text_blocks, score_blocks


WORDS = ("a", "red", "blue", "green", "dog", "cat", "child", "runs", "jumps", "sleeps", "on", "the", "beach", "grass")
SKIPPED_STEPS = 3  # of a run: workers start, kernels are chosen


@dataclass
class Sizes:
    """How much is measured; `tiny()` shows that everything runs."""

    image_sizes: tuple[int, ...] = (224, 448)
    num_videos: int = 16  # of a training step, each with a matching and another text
    repetitions: int = 10
    num_clips: int = 4  # of a video that is scored
    num_texts: int = 512
    num_files: int = 32
    num_file_frames: int = 240
    file_size: tuple[int, int] = (240, 320)
    num_steps: int = 40
    num_workers: int = 8
    compiler: str = "inductor"

    @classmethod
    def tiny(cls) -> "Sizes":
        # without inductor, which takes more than a minute on a CPU
        return cls((64,), 4, 2, 2, 16, 6, 24, (48, 64), 6, 1, compiler="aot_eager")


@dataclass
class Line:
    """
    One line of a table.

    Args:
        case (`str`): What was measured.
        seconds (`list[float]`): Of each repetition.
        amount (`float`): Units in one repetition.
        unit (`str`): What is counted.
        flops (`int`, *optional*): Operations of one repetition.
        notes (`dict[str, Any]`): Further values by name.
    """

    case: str
    seconds: list[float] = field(default_factory=list)
    amount: float = 0.0
    unit: str = ""
    flops: int | None = None
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass
class Bench:
    """What all parts share: the device, sizes, and the folder with the model and the videos."""

    folder: Path
    device: str
    family: str
    sizes: Sizes
    is_tiny: bool

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16

    @property
    def image_sizes(self) -> tuple[int, ...]:
        """Sides of frames that are measured."""
        own = MODELS[self.family].image_size(self.is_tiny)
        return self.sizes.image_sizes if own is None else (own,)

    def autocast(self):
        return torch.autocast(torch.device(self.device).type, self.dtype)

    def settings(self, image_size: int, **more: Any) -> list[str]:
        """A recipe of the retrieval script, as the values of `--set`."""
        sizes = self.sizes
        values = {
            "model.from_pretrained": self.folder / "model",
            "data.dataset": "video_folder",
            "data.config": "retrieval",
            "data.data_dir": self.folder / "videos",
            "data.image_size": image_size,
            "data.num_workers": sizes.num_workers,
            "run.output_dir": self.folder / f"run_{image_size}",
            "run.total_steps": sizes.num_steps,
            "run.global_batch_size": sizes.num_videos,
            "run.micro_batch_size": sizes.num_videos,
            "run.mixed_precision": "bf16",
            "eval.splits": json.dumps({"validation": "final"}),
            **MODELS[self.family].recipe,
            **more,
        }
        if MODELS[self.family].image_sizes is not None:
            del values["data.image_size"]
        return [f"{key}={value}" for key, value in values.items()]

    def build(self, image_size: int) -> tuple[RetrievalTask, RetrievalRecipe, Any]:
        """The task with its loaded model on the device, and a recipe."""
        recipe = RetrievalRecipe.load(None, self.settings(image_size))
        task = RetrievalTask()
        parts = task.build(recipe)
        parts.model.to(self.device)
        return task, recipe, parts

    def time(self, work: Callable[[], Any], warm_up: int = 3) -> list[float]:
        return alternate({"": work}, self.sizes.repetitions, warm_up, self.device)[""]

    def peak(self) -> str:
        return f"{peak_bytes(self.device) / 1e9:.2f}"


def prepare(bench: Bench) -> Iterator[Line]:
    """The model's folder, and videos with captions."""
    started = time.perf_counter()
    write_model(bench.family, bench.is_tiny, WORDS, bench.folder / "model")
    yield Line(f"{bench.family}: model written", [time.perf_counter() - started])
    started, videos, sizes = time.perf_counter(), bench.folder / "videos", bench.sizes
    (videos / "clips").mkdir(parents=True)
    captions = itertools.cycle(itertools.product(WORDS[1:4], WORDS[4:7], WORDS[7:10], WORDS[12:]))
    lines, files = [], [videos / "clips" / f"{index}.mp4" for index in range(sizes.num_files)]
    for index, (video, caption) in enumerate(zip(files, captions, strict=False)):
        split = "validation" if index < 2 else "train"
        text = "a {} {} {} on the {}".format(*caption)
        lines.append(json.dumps({"video": f"clips/{video.name}", "caption": text, "split": split}))
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # encoding holds no lock
        same = (itertools.repeat(value) for value in (sizes.num_file_frames, 30, sizes.file_size))
        list(pool.map(write_video, files, *same, range(sizes.num_files)))
    (videos / "captions.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    height, width = sizes.file_size
    note = {"videos": f"{sizes.num_file_frames} frames of {width} x {height} pixels"}
    yield Line("videos written", [time.perf_counter() - started], sizes.num_files, "videos/s", notes=note)


def measure_rate(bench: Bench) -> Iterator[Line]:
    """What the device reaches in one large matrix product: the measure of the others."""
    rate = measure_matmul_flops(bench.device, bench.dtype)
    yield Line("large matrix product, bfloat16", flops=int(rate), notes={"TFLOP/s": f"{rate / 1e12:.2f}"})


def measure_training(bench: Bench) -> Iterator[Line]:
    """Whole steps: forward, backward, clipping, optimizer."""
    for is_compiled, image_size in itertools.product((False, True), bench.image_sizes):
        if torch.device(bench.device).type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(bench.device)
        task, recipe, parts = bench.build(image_size)
        model, optimizer = parts.model.train(), build_optimizer(parts.model, recipe.optim)
        items = [parts.train_set[0, index % len(parts.train_set)] for index in range(bench.sizes.num_videos)]
        batch = send_to_device(parts.collate(items), bench.device)

        def compute_gradients(task=task, model=model, batch=batch):
            with bench.autocast():
                if task.has_global_loss:
                    losses, _ = task.global_loss(model, task.features(model, batch))
                else:
                    losses, _ = task.training_step(model, batch)
            losses["loss"].backward()

        def step(compute_gradients=compute_gradients, recipe=recipe, model=model, optimizer=optimizer):
            compute_gradients()
            torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.optim.max_grad_norm or float("inf"))
            optimizer.step()
            optimizer.zero_grad()

        flops = count_flops(compute_gradients)
        optimizer.zero_grad()
        started = time.perf_counter()
        if is_compiled:
            torch.compiler.reset()  # else the second size is compiled for all sizes
            model.compile(backend=bench.sizes.compiler)
            step()
        first = time.perf_counter() - started
        seconds = bench.time(step)
        shape = "x".join(str(size) for size in batch.inputs["pixel_values"].shape)
        texts = "x".join(str(size) for size in batch.inputs["input_ids"].shape)
        notes = {"pixels": shape, "texts": texts, "peak GB": bench.peak()}
        notes |= {"compiled in s": f"{first:.0f}"} if is_compiled else {}
        case = f"{image_size} px, {'compiled' if is_compiled else 'eager'}"
        yield Line(case, seconds, bench.sizes.num_videos, "videos/s", flops, notes)
        del task, parts, model, optimizer, batch, compute_gradients, step


def measure_scoring(bench: Bench) -> Iterator[Line]:
    """Many texts against a block of videos: what an evaluation of retrieval does."""
    sizes = bench.sizes
    for image_size in bench.image_sizes:
        _, _, parts = bench.build(image_size)
        model, processor = parts.model.eval(), parts.processor
        videos = sorted((bench.folder / "videos" / "clips").iterdir())[:4]
        inputs = processor(videos=[str(video) for video in videos], num_clips=sizes.num_clips)
        pixel_values = inputs["pixel_values"].to(bench.device)
        captions = [f"a {color} {animal} {verb} on the beach" for color in WORDS[1:4] for animal in WORDS[4:7]
                    for verb in WORDS[7:10]]  # fmt: skip
        texts = list(itertools.islice(itertools.cycle(captions), sizes.num_texts))
        size = max(1, 1024 // (len(videos) * sizes.num_clips))
        text_blocks = build_text_blocks(texts, processor, size, torch.device(bench.device))

        @torch.inference_mode()
        def encode(model=model, pixel_values=pixel_values):
            with bench.autocast():
                return model.encode_videos(pixel_values)

        @torch.inference_mode()
        def score(model=model, videos=videos, text_blocks=text_blocks, encoded=encode()):  # noqa: B008
            with bench.autocast():
                words = [model.encode_texts(part.input_ids, part.attention_mask) for part in text_blocks]
                if hasattr(model, "match_all"):
                    return [model.match_all(part, encoded) for part in words]
                return score_blocks(model, VideoBlock(list(range(len(videos))), encoded, None), words)

        clips = len(videos) * sizes.num_clips
        yield Line(f"{image_size} px, videos encoded", bench.time(encode), clips, "clips/s", count_flops(encode))
        pairs, notes = clips * len(texts), {"peak GB": bench.peak()}
        case = f"{image_size} px, texts with encoded clips"
        yield Line(case, bench.time(score), pairs, "pairs of text and clip/s", count_flops(score), notes)


def measure_loading(bench: Bench) -> Iterator[Line]:
    """From files to the device, without a model."""
    for image_size in bench.image_sizes:
        _, recipe, parts = bench.build(image_size)
        plan = build_plan(parts.train_set, recipe.run, recipe.data, 1)
        is_cuda = torch.device(bench.device).type == "cuda"
        num_batches = max(bench.sizes.num_steps // 4, 2)
        batches = PlannedBatches(plan, 0, num_batches + 1, 0)
        loader = iter(parts.train_set.loader(parts.collate, batches, recipe.data, pin_memory=is_cuda))
        micro = next(loader)  # starts the workers
        started = time.perf_counter()
        for micro in loader:
            send_to_device(micro.batch, bench.device, non_blocking=True)
        seconds = time.perf_counter() - started
        notes = {"workers": recipe.data.num_workers}
        yield Line(
            f"{image_size} px, files to device",
            [seconds],
            num_batches * bench.sizes.num_videos,
            "videos/s",
            notes=notes,
        )
        pixel_values = micro.batch.inputs["pixel_values"]
        for name, tensor in {"pageable": pixel_values.clone(), "pinned": pixel_values}.items():
            if name == "pageable" or tensor.is_pinned():
                seconds = bench.time(lambda tensor=tensor: tensor.to(bench.device, copy=True, non_blocking=True))
                gigabytes = tensor.numel() * tensor.element_size() / 1e9
                yield Line(f"{image_size} px, one batch to the device, {name}", seconds, gigabytes, "GB/s")


def measure_run(bench: Bench) -> Iterator[Line]:
    """The retrieval script itself: how much of a step is waiting for frames."""
    for image_size in bench.image_sizes:
        run_task(RetrievalTask(), [part for value in bench.settings(image_size) for part in ("--set", value)])
        log = bench.folder / f"run_{image_size}" / "log.jsonl"
        rows = [row for row in map(json.loads, log.read_text(encoding="utf-8").splitlines()) if "step_s" in row]
        rows = rows[SKIPPED_STEPS:]
        seconds = [row["step_s"] for row in rows]
        waiting = sum(row["wait_s"] for row in rows) / sum(seconds)
        notes = {"waiting for frames": f"{waiting:.0%}", "workers": bench.sizes.num_workers, "peak GB": bench.peak()}
        yield Line(f"{image_size} px, eager", seconds, bench.sizes.num_videos, "videos/s", notes=notes)


@dataclass(frozen=True)
class Part:
    """A part of the check: what it does, its heading, and its share of the time."""

    work: Callable[[Bench], Iterator[Line]] | None  # None: the tests
    title: str
    share: float


PARTS = {
    "prepare": Part(prepare, "Preparing", 1.4),
    "rate": Part(measure_rate, "Matrix rate", 0.8),
    "tests": Part(None, "Tests marked `gpu`", 2.0),
    "training": Part(measure_training, "Training steps, bf16", 4.0),
    "scoring": Part(measure_scoring, "Scoring, bf16", 1.0),
    "loading": Part(measure_loading, "Loading", 1.0),
    "run": Part(measure_run, "A run of the retrieval script, bf16", 1.2),
}


def run_part(name: str, bench: Bench, output: Path) -> None:
    """Do one part and write its lines as they come."""
    with output.open("a", encoding="utf-8") as file:
        for line in PARTS[name].work(bench):
            file.write(json.dumps(asdict(line)) + "\n")
            file.flush()
