# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Frame vectors on disk: an epoch and the memory against pixels in RAM, extraction against the CNN alone.

The baseline of the first line holds all clips as float32 pixels and sends them through the frozen CNN in each epoch, as the
course report behind CNN-RNN does; ours reads what `train_scripts/extract.py` has written. The second line is the price: from
video files to vectors on disk, beside the CNN's own time for the same frames, which lie in memory. A note tells the memory of
clips of 100 frames: their pixels alone, beside all that it takes to make vectors of the files and to train an epoch on these.

Run:     python -m benchmarks.features             (a quarter of an hour on two cores; three minutes with --no-memory)
GPU:     python -m benchmarks.features --device cuda --image-size 224 --num-videos 64 --num-frames 100
"""

import argparse
import functools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
import torch

from benchmarks.measure import Benchmark, Row, Section, alternate, measure_peak_bytes
from benchmarks.measure import build_parser as build_common_parser
from clipbert.modeling_cnn_rnn import CNNRNNConfig, CNNRNNForVideoClassification
from clipbert.processing import FeatureCache, FeatureFingerprint, SparseVideoProcessor
from clipbert.processing.feature_cache import VideoContent
from clipbert.train_scripts.tasks.extraction import ExtractionJob, extract_features
from clipbert.train_scripts.tasks.holdings import Holdings


MODULE = "benchmarks.features"
TOLERANCE = 1e-4  # of the losses of an epoch, with vectors in float32
EXPECTED = {"an epoch of training": 50.0, "extraction": 1 / 1.2}
NUM_CLASSES = 5
MEMORY = 2  # the case that is weighed and not timed
MEMORY_FRAMES, MEMORY_SHARE = 100, 10


def write_videos(folder: Path, options: argparse.Namespace) -> list[str]:
    """Clips in which a bright square moves over noise, as MPEG-4 in AVI of 320 x 240, like those of UCF101."""
    rng, paths = np.random.default_rng(0), []
    for number in range(options.num_videos):
        paths.append(str(folder / f"v_Motion_g{number:03}_c01.avi"))
        ground = rng.integers(0, 120, (240, 320, 3), dtype=np.uint8)
        with av.open(paths[-1], "w") as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
            for step in range(options.num_frames):
                picture = ground.copy()
                left = (7 * step + 31 * number) % 240
                picture[80:160, left : left + 80] = 240
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
    return paths


class AllFrames(SparseVideoProcessor):
    """Every frame of a video, as ImageNet's models take it: the least that a processor does."""

    do_sample_frames = False
    image_mean, image_std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]

    def transform(self, picture, options):
        frame = torch.from_numpy(picture).permute(2, 0, 1)[None].float() * options["rescale_factor"]
        size = options["size"].height, options["size"].width
        frame = torch.nn.functional.interpolate(frame, size=size, mode="bilinear", antialias=True)
        mean, std = (torch.tensor(options[name])[:, None, None] for name in ("image_mean", "image_std"))
        return (frame[0] - mean) / std

    def __call__(self, videos, **options):
        inputs = super().__call__(videos, **options)  # one clip of all frames
        return {name: values[:, 0] for name, values in inputs.items() if torch.is_tensor(values)}


class Sides:
    """Model, videos, their pixels in memory, and a cache of their vectors."""

    def __init__(self, options: argparse.Namespace, folder: Path):
        self.options = options
        backbone = {
            "model_type": "resnet",
            "embedding_size": options.backbone_width,
            "hidden_sizes": [options.backbone_width * factor for factor in (4, 8, 16, 32)],
            "depths": options.backbone_depths,
        }
        config = CNNRNNConfig(backbone_config=backbone, num_labels=NUM_CLASSES, head_dropout=0.0)
        self.model = CNNRNNForVideoClassification(config).to(options.device)
        self.processor = AllFrames(size={"height": options.image_size, "width": options.image_size})
        self.videos, self.folder = write_videos(folder, options), folder
        self.contents = [VideoContent.of(video) for video in self.videos]
        self.fingerprint = FeatureFingerprint.of(self.model, self.processor, dtype="float32")
        self.cache = FeatureCache(folder / "features")
        self.labels = torch.arange(len(self.videos)) % NUM_CLASSES
        self.trained = [value for value in self.model.parameters() if value.requires_grad]
        self.initial = [value.detach().clone() for value in self.trained]

    @functools.cached_property
    def clips(self) -> list[torch.Tensor]:
        """Each clip as float32, `(1, T, 3, S, S)`."""
        return [self.processor([video])["pixel_values"] for video in self.videos]

    @functools.cached_property
    def pixels(self) -> torch.Tensor:
        """All clips as float32, `(videos, T, 3, S, S)`."""
        return torch.cat([self.processor([video])["pixel_values"] for video in self.videos])

    def train(self, inputs: Callable[[list[int]], dict[str, torch.Tensor]]) -> list[float]:
        """The losses of one epoch from the same weights."""
        with torch.no_grad():
            torch._foreach_copy_(self.trained, self.initial)
        self.model.train()
        optimizer = torch.optim.AdamW(self.trained, lr=1e-4)
        losses, device = [], self.options.device
        for batch in torch.arange(len(self.videos)).split(self.options.batch_size):
            given = {name: value.to(device) for name, value in inputs(batch.tolist()).items()}
            loss = self.model(**given, labels=self.labels[batch].to(device)).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        return losses

    def train_on_pixels(self) -> list[float]:
        return self.train(lambda batch: {"pixel_values": self.pixels[batch]})

    def train_on_vectors(self) -> list[float]:
        def read(batch):
            found = [self.cache.read(self.cache.path_of(self.contents[number])) for number in batch]
            return {"frame_features": torch.stack([each.features for each in found])}

        return self.train(read)

    def fill(self, cache: FeatureCache) -> None:
        """From files to vectors on disk."""
        jobs = [
            ExtractionJob(video, content, self.fingerprint, {})
            for video, content in zip(self.videos, self.contents, strict=True)
        ]
        options = self.options
        extract_features(
            self.model,
            self.processor,
            jobs,
            cache,
            chunk_size=options.chunk_size,
            num_workers=options.num_workers,
            device=options.device,
        )

    def extract(self, folder: Path | None = None) -> torch.Tensor:
        """The same, and back into memory."""
        with tempfile.TemporaryDirectory(dir=self.folder) as new:
            cache = FeatureCache(folder or new)
            self.fill(cache)
            return torch.stack([cache.read(cache.path_of(content)).features.clone() for content in self.contents])

    @functools.cached_property
    def losses_from_files(self) -> list[float]:
        """From files by vectors on disk to the losses of an epoch."""
        self.fill(self.cache)
        return self.train_on_vectors()

    @torch.inference_mode()
    def encode(self) -> torch.Tensor:
        """The CNN alone."""
        self.model.eval()
        chunks = (chunk for clip in self.pixels for chunk in clip.split(self.options.chunk_size))
        vectors = [self.model.encode_frames(chunk.to(self.options.device)).cpu() for chunk in chunks]
        return torch.cat(vectors).unflatten(0, self.pixels.shape[:2])


def build_works(sides: Sides) -> list[dict[str, Callable[[], object]]]:
    return [
        {"baseline": sides.train_on_pixels, "ours": sides.train_on_vectors},
        {"baseline": sides.encode, "ours": sides.extract},
        {"baseline": lambda: sides.clips, "ours": lambda: sides.losses_from_files},
    ]


def check(sides: Sides) -> float:
    """Largest difference between losses of both sides; refused above the tolerance, as are other vectors."""
    torch.testing.assert_close(sides.extract(sides.cache.folder), sides.encode(), rtol=1e-4, atol=1e-4)
    losses = torch.tensor([sides.train_on_pixels(), sides.train_on_vectors()])
    difference = (losses[0] - losses[1]).abs().max().item()
    if not difference <= TOLERANCE:
        raise AssertionError(f"Losses differ by {difference:.1e}, more than {TOLERANCE:g}; nothing was timed.")
    return difference


def measure(options: argparse.Namespace, arguments: Sequence[str] = ()) -> Section:
    """Check, then time and weigh."""
    with tempfile.TemporaryDirectory() as folder:
        sides = Sides(options, Path(folder))
        difference = check(sides)
        rows = []
        for index, ((case, expected), work) in enumerate(zip(EXPECTED.items(), build_works(sides), strict=False)):
            seconds = alternate(work, options.repetitions, options.warm_up, options.device)
            peaks = {} if options.no_memory else measure_peak_bytes(MODULE, arguments, index)
            rows.append(Row(case, "frames/s", options.num_videos * options.num_frames, seconds, expected, peaks))
    weighed = [] if options.no_memory else [weigh(options, arguments)]
    report = Holdings(950, 100, options.image_size, options.image_size, sides.model.frame_feature_size)
    return Section(
        title=f"Frame vectors: {options.num_videos} videos x {options.num_frames} frames, {options.image_size} px, "
        f"ResNet {options.backbone_depths} frozen, {options.device}",
        rows=rows,
        notes=[
            f"Checked before timing: the losses of an epoch differ by at most {difference:.1e}.",
            *weighed,
            f"The 950 clips of the course report (100 frames each) as float32 pixels of this size: {report.pixels(4) / 1e9:.0f} "
            f"GB; as vectors in half precision: {report.features(2) / 1e9:.2f} GB.",
        ],
    )


def weigh(options: argparse.Namespace, arguments: Sequence[str]) -> str:
    """Peak memory above the start, of pixels in RAM and of our way; decoding in the same process, so that all is counted."""
    clips = [
        "--num-videos",
        str(options.memory_videos),
        "--num-frames",
        str(MEMORY_FRAMES),
        "--num-workers",
        "0",
        "--chunk-size",
        "8",
    ]
    peaks = measure_peak_bytes(MODULE, [*arguments, *clips], MEMORY, "bytes_above_start")
    pixels, ours = peaks["baseline"], peaks["ours"]
    return (
        f"Memory above the start, {options.memory_videos} clips of {MEMORY_FRAMES} frames: {pixels / 1e6:.0f} MB of float32 "
        f"pixels in RAM; {ours / 1e6:.0f} MB from files by vectors to an epoch, 1/{pixels / max(ours, 1):.1f} of it (expected "
        f"1/{MEMORY_SHARE} or less)."
    )


def build_lonely_work(options: argparse.Namespace) -> Callable[[], object]:
    """The call of the one side and case that the options name."""
    folder = tempfile.TemporaryDirectory()
    sides = Sides(options, Path(folder.name))
    if options.case == 0 and options.alone == "ours":
        sides.extract(sides.cache.folder)
    work = build_works(sides)[options.case][options.alone]

    def run(folder=folder):  # which lives as long as the call
        return work()

    return run


def build_parser() -> argparse.ArgumentParser:
    parser = build_common_parser(__doc__.splitlines()[0])
    parser.add_argument("--num-videos", type=int, default=4)
    parser.add_argument("--num-frames", type=int, default=16, help="frames of a video")
    parser.add_argument("--memory-videos", type=int, default=100, help="clips whose memory is weighed")
    parser.add_argument("--batch-size", type=int, default=4, help="clips of a training step")
    parser.add_argument("--image-size", type=int, default=112, help="side of a frame in pixels")
    parser.add_argument("--backbone-depths", type=int, nargs=4, default=[3, 4, 6, 3], help="blocks of each stage")
    parser.add_argument("--backbone-width", type=int, default=64, help="channels of the stem")
    parser.add_argument("--chunk-size", type=int, default=32, help="frames in the CNN at a time")
    parser.add_argument("--num-workers", type=int, default=1, help="processes that decode beside the CNN")
    return parser


BENCHMARK = Benchmark(MODULE, build_parser, measure, build_lonely_work)


if __name__ == "__main__":
    BENCHMARK.main()
