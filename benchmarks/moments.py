# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Moments: an epoch from kept segments, segments of a file in one pass, many sentences about one video.

The baselines send the frames, which lie in memory, through the frozen tower in each epoch; seek in the open file for each segment;
and encode the video for each sentence, which is timed for a few of them and multiplied.

Run:     python -m benchmarks.moments --no-memory          (ten minutes on two cores)
GPU:     python -m benchmarks.moments --device cuda --num-videos 16
"""

import argparse
import functools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
import torch
from transformers import CLIPVisionConfig

from benchmarks.measure import Benchmark, Row, Section, alternate, measure_peak_bytes
from benchmarks.measure import build_parser as build_common_parser
from clipbert.modeling_ci_mha import CIMHAConfig, CIMHAForMomentRetrieval
from clipbert.processing import CIMHAVideoProcessor, FeatureCache, FeatureFingerprint, decode_moments
from clipbert.processing.feature_cache import VideoContent
from clipbert.train_scripts.tasks.cached import CachedSegments
from clipbert.train_scripts.tasks.extraction import ExtractionJob, extract_features


MODULE = "benchmarks.moments"
TOLERANCE = 1e-4  # of losses and scores, with vectors in float32
EXPECTED = {"an epoch of training": 50.0, "segments of a file": 1.5, "sentences about one video": 30.0}
UNITS = ("videos/s", "frames/s", "sentences/s")
FPS, KEY_FRAME_EVERY = 25, 60  # frames, as videos of the web have them, or more
NUM_WORDS, VOCABULARY = 8, 1000


def write_videos(folder: Path, options: argparse.Namespace) -> list[str]:
    """A bright square moves over noise, H.264 of 320 x 240."""
    rng, paths = np.random.default_rng(0), []
    for number in range(options.num_videos):
        paths.append(str(folder / f"{number}.mp4"))
        ground = rng.integers(0, 120, (240, 320, 3), dtype=np.uint8)
        with av.open(paths[-1], "w") as container:
            stream = container.add_stream(
                "libx264", rate=FPS, options={"g": str(KEY_FRAME_EVERY), "preset": "ultrafast"}
            )
            stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
            for step in range(round(options.seconds * FPS)):
                picture = ground.copy()
                left = (3 * step + 31 * number) % 240
                picture[80:160, left : left + 80] = 240
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
    return paths


class Sides:
    """Model, videos, their frames in memory, and a cache of their segments."""

    def __init__(self, options: argparse.Namespace, folder: Path):
        self.options = options
        tower = CLIPVisionConfig(
            hidden_size=options.tower_size,
            intermediate_size=4 * options.tower_size,
            num_hidden_layers=options.tower_layers,
            num_attention_heads=options.tower_size // 64,
            patch_size=32,
            image_size=options.image_size,
        )
        config = CIMHAConfig(
            frame_encoder_config=tower, hidden_size=options.hidden_size, vocab_size=VOCABULARY, dropout=0.0
        )
        self.model = CIMHAForMomentRetrieval(config).to(options.device)
        self.processor = CIMHAVideoProcessor(size=options.image_size)
        self.videos, self.folder = write_videos(folder, options), folder
        self.trained = [value for value in self.model.parameters() if value.requires_grad]
        self.initial = [value.detach().clone() for value in self.trained]
        generator = torch.Generator().manual_seed(0)
        shape = (options.num_texts, NUM_WORDS)
        self.texts = torch.randint(2, VOCABULARY, shape, generator=generator).to(options.device)

    @functools.cached_property
    def frames(self) -> list[dict[str, torch.Tensor]]:
        """Each video as the processor makes it, float32."""
        return [dict(self.processor(video, return_metadata=True)) for video in self.videos]

    @functools.cached_property
    def reader(self) -> CachedSegments:
        """Reads the segments that `extract.py` would keep."""
        cache, contents = FeatureCache(self.folder / "features"), [VideoContent.of(video) for video in self.videos]
        fingerprint = FeatureFingerprint.of(self.model, self.processor, dtype="float32")
        jobs = [
            ExtractionJob(video, content, fingerprint, {})
            for video, content in zip(self.videos, contents, strict=True)
        ]
        extract_features(self.model, self.processor, jobs, cache, num_workers=0, device=self.options.device)
        paths = {video: [cache.path_of(content)] for video, content in zip(self.videos, contents, strict=True)}
        return CachedSegments(paths, "float32")

    # 1. an epoch

    def train(self, inputs: Callable[[int], dict[str, torch.Tensor]]) -> list[float]:
        """The losses of one epoch from the same weights, a video with its sentences in each step."""
        with torch.no_grad():
            torch._foreach_copy_(self.trained, self.initial)
        self.model.train()
        optimizer = torch.optim.AdamW(self.trained, lr=1e-4)
        losses, count = [], min(self.options.queries_per_video, len(self.texts))
        for number in range(len(self.videos)):
            given = {name: values.to(self.options.device) for name, values in inputs(number).items()}
            positions = torch.arange(count, device=self.options.device)
            loss = self.model(
                self.texts[:count],
                video_indices=torch.zeros_like(positions),
                start_positions=positions,
                end_positions=positions + 2,
                **given,
            ).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        return losses

    def train_on_frames(self) -> list[float]:
        names = ("pixel_values", "video_mask", "frame_mask")
        return self.train(lambda number: {name: self.frames[number][name] for name in names})

    def train_on_segments(self) -> list[float]:
        return self.train(lambda number: self.reader([self.videos[number]]))

    # 2. the frames of segments

    def seek_segments(self) -> list[torch.Tensor]:
        """The frames `(N, K, 3, S, S)` of each video: one seek a segment, decoding until its last frame."""
        found = []
        for video, (sample,) in zip(self.videos, map(self.processor.plan, self.videos), strict=True):
            options = self.processor._resolve_options({})
            with av.open(video) as container:
                stream = container.streams.video[0]
                ticks = 1 / (FPS * float(stream.time_base))
                rows = [self._seek(container, stream, numbers, ticks, options) for numbers in sample.frame_indices]
            found.append(torch.stack(rows))
        return found

    def _seek(self, container, stream, numbers, ticks, options) -> torch.Tensor:
        container.seek(round(numbers[0] * ticks), stream=stream)
        wanted = dict.fromkeys(numbers.tolist())
        for frame in container.decode(stream):
            number = round(frame.pts / ticks)
            if number in wanted:
                wanted[number] = self.processor.transform(frame.to_ndarray(format="rgb24"), options)
            if number >= numbers[-1]:
                break
        return torch.stack([wanted[number] for number in numbers.tolist()])

    def pass_once(self) -> list[torch.Tensor]:
        """The same by the processor."""
        return [self.processor(video)["pixel_values"][0] for video in self.videos]

    # 3. sentences

    @torch.inference_mode()
    def locate(self, texts: torch.Tensor) -> list[list[dict[str, float]]]:
        """Seconds of sentences in the first video, whose frames go through the tower once."""
        self.model.eval()
        given = {name: self.frames[0][name].to(texts.device) for name in ("pixel_values", "video_mask", "frame_mask")}
        videos = self.model.encode_videos(**given)
        indices = torch.zeros(len(texts), dtype=torch.int64, device=texts.device)
        outputs = self.model.match_moments(self.model.encode_texts(texts), videos, indices)
        return decode_moments(outputs, self.frames[0]["durations"].expand(len(texts)))

    def locate_all(self) -> list[list[dict[str, float]]]:
        return self.locate(self.texts)

    def locate_each(self) -> list[list[dict[str, float]]]:
        """The first sentences, and the video again for each."""
        return [self.locate(text[None])[0] for text in self.texts[: self.options.baseline_texts]]


def build_works(sides: Sides) -> list[dict[str, Callable[[], object]]]:
    return [
        {"baseline": sides.train_on_frames, "ours": sides.train_on_segments},
        {"baseline": sides.seek_segments, "ours": sides.pass_once},
        {"baseline": sides.locate_each, "ours": sides.locate_all},
    ]


def check(sides: Sides) -> tuple[float, int]:
    """Largest difference of losses, refused above the tolerance, as are other frames and answers; frames in the tower for all sentences."""
    losses = torch.tensor([sides.train_on_frames(), sides.train_on_segments()])
    difference = (losses[0] - losses[1]).abs().max().item()
    if not difference <= TOLERANCE:
        raise AssertionError(f"Losses differ by {difference:.1e}, more than {TOLERANCE:g}; nothing was timed.")
    for expected, found in zip(sides.seek_segments(), sides.pass_once(), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    seen = []
    with sides.model.frame_encoder.register_forward_pre_hook(lambda module, given: seen.append(len(given[0]))):
        together = sides.locate_all()
    num_frames = int(sides.frames[0]["frame_mask"].sum())
    if sum(seen) != num_frames:
        raise AssertionError(f"The tower saw {sum(seen)} frames for all sentences, of a video with {num_frames}.")
    for answers, alone in zip(together, sides.locate_each(), strict=False):
        found, expected = ([each[name] for each in moments for name in sorted(each)] for moments in (answers, alone))
        np.testing.assert_allclose(found, expected, atol=TOLERANCE)
    return difference, num_frames


def measure(options: argparse.Namespace, arguments: Sequence[str] = ()) -> Section:
    """Check, then time and weigh."""
    with tempfile.TemporaryDirectory() as folder:
        sides = Sides(options, Path(folder))
        difference, num_frames = check(sides)
        amounts = (options.num_videos, options.num_videos * num_frames, options.num_texts)
        rows = []
        for index, ((case, expected), work) in enumerate(zip(EXPECTED.items(), build_works(sides), strict=True)):
            seconds = alternate(work, options.repetitions, options.warm_up, options.device)
            if work["baseline"] == sides.locate_each:
                factor = options.num_texts / min(options.baseline_texts, options.num_texts)
                seconds["baseline"] = [factor * each for each in seconds["baseline"]]
            peaks = {} if options.no_memory else measure_peak_bytes(MODULE, arguments, index)
            rows.append(Row(case, UNITS[index], amounts[index], seconds, expected, peaks))
    return Section(
        title=f"Moments: {options.num_videos} videos of {options.seconds:g} s, {options.num_texts} sentences, a tower of "
        f"{options.tower_layers} x {options.tower_size}, {options.image_size} px, {options.device}",
        rows=rows,
        notes=[
            f"Checked before timing: the losses of an epoch differ by at most {difference:.1e}; frames of segments are equal; "
            f"{options.num_texts} sentences send the {num_frames} frames of a video through the tower once, and each gets the "
            "answers that it gets alone.",
            f"Encoding for each sentence was timed for {options.baseline_texts} of them and multiplied. A key frame stands in "
            f"every {KEY_FRAME_EVERY / FPS:g} s of the files.",
        ],
    )


def build_lonely_work(options: argparse.Namespace) -> Callable[[], object]:
    """The call of the one side and case that the options name."""
    folder = tempfile.TemporaryDirectory()
    work = build_works(Sides(options, Path(folder.name)))[options.case][options.alone]

    def run(folder=folder):  # which lives as long as the call
        return work()

    return run


def build_parser() -> argparse.ArgumentParser:
    parser = build_common_parser(__doc__.splitlines()[0])
    parser.add_argument("--num-videos", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60, help="of a video")
    parser.add_argument("--num-texts", type=int, default=100, help="sentences about the first video")
    parser.add_argument("--baseline-texts", type=int, default=1, help="sentences that the baseline is timed for")
    parser.add_argument(
        "--queries-per-video", type=int, default=4, help="sentences of a training step (ActivityNet: 3.7 a video)"
    )
    parser.add_argument("--image-size", type=int, default=224, help="side of a frame in pixels")
    parser.add_argument("--tower-size", type=int, default=768, help="width of the tower; a head has 64")
    parser.add_argument("--tower-layers", type=int, default=12, help="as CLIP-B/32")
    parser.add_argument("--hidden-size", type=int, default=512, help="width of what is trained")
    return parser


BENCHMARK = Benchmark(MODULE, build_parser, measure, build_lonely_work)


if __name__ == "__main__":
    BENCHMARK.main()
