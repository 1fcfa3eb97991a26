# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Videos to frame vectors on disk: decoded in workers, encoded in chunks, kept as `(T, D)`; pixels are never held.

For every model with a submodule `frame_encoder` and a method `encode_frames(pixel_values (M, 3, S, S)) -> (M, D)`.
"""

import logging
import os
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from clipbert.datasets_scripts.building.file_memory import FileMemory
from clipbert.processing import CachedFeatures, FeatureCache, FeatureFingerprint, VideoDecodeError
from clipbert.processing.feature_cache import Fault, VideoContent
from clipbert.support.terminal import printable
from clipbert.support.weights import listed
from clipbert.train_scripts.engine.pace import show_duration
from clipbert.train_scripts.engine.termination import ignore_termination


logger = logging.getLogger(__name__)
MESSAGE_EVERY_S = 60.0


class FeatureCacheError(ValueError):
    """Frame vectors that are missing, damaged or made otherwise, where that is not allowed."""


@dataclass(frozen=True)
class ExtractionJob:
    """
    One file of vectors to make.

    Args:
        video (`Any`): A path, or bytes.
        content (`VideoContent`): The same, as a cache knows it.
        fingerprint (`FeatureFingerprint`): What the vectors are made with.
        options (`Mapping[str, Any]`): The same, as a call of the processor takes it.
        version (`int`, *optional*, defaults to 0): Which altered version; 0: the video as it is.
        seed (`int`, *optional*, defaults to 0): Of what is drawn for altered versions.
    """

    video: Any
    content: VideoContent
    fingerprint: FeatureFingerprint
    options: Mapping[str, Any]
    version: int = 0
    seed: int = 0

    def find_fault(self, cache: FeatureCache) -> Fault | None:
        return cache.find_fault(self.content, self.fingerprint, self.version)

    def call_options(self) -> dict[str, Any]:
        """What to call the processor with; altered versions depend on seed, video and version alone."""
        seeds = {"seeds": [(self.seed, self.content.sha256, self.version)]} if self.version else {}
        part = {} if self.content.span_se is None else {"spans_se": [self.content.span_se]}
        return {**self.options, **seeds, **part}


@dataclass
class Extraction:
    """
    What came of an extraction.

    Args:
        num_valid (`int`): Files that were there already.
        num_written (`int`): Files that were made.
        num_frames (`int`): Frames in the latter.
        unreadable (`dict[str, str]`): Videos that cannot be decoded, with the reasons.
        encoder_s, total_s (`float`): Seconds in the encoder, and all of them.
    """

    num_valid: int = 0
    num_written: int = 0
    num_frames: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    encoder_s: float = 0.0
    total_s: float = 0.0


def read_contents(videos: Sequence[Any], num_threads: int = 4) -> list[VideoContent | OSError]:
    """
    What a cache knows videos by. Each file is read once, and again only when it has changed.

    Returns:
        `list`: The content of each video; in its place the error if it cannot be read.
    """

    def read(video: Any) -> VideoContent | OSError:
        try:
            return _remembered_content(video, memory)
        except OSError as error:
            return error

    bar = {"total": len(videos), "desc": "reading videos", "unit": "video", "disable": None}
    with FileMemory() as memory, ThreadPoolExecutor(num_threads) as pool:  # hashing lets other threads run
        return list(tqdm(pool.map(read, videos), **bar))


def _remembered_content(video: Any, memory: FileMemory) -> VideoContent:
    if not isinstance(video, str):
        return VideoContent.of(video)
    status = os.stat(video)
    state = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    digest = memory.recall(video, state, "sha256")
    if digest is None:
        digest = VideoContent.of(video).sha256
        memory.remember(video, state, "sha256", digest)
    return VideoContent(video, status.st_size, digest)


def find_work(
    jobs: Sequence[ExtractionJob], cache: FeatureCache, on_mismatch: Literal["rebuild", "refuse"]
) -> list[ExtractionJob]:
    """
    The jobs whose files are not there, or not valid.

    Raises:
        FeatureCacheError: If there are files that were made otherwise, or are damaged, and they are not to be replaced.
    """
    found = [
        (job, fault)
        for job in tqdm(jobs, desc="checking", unit="file", disable=None)
        if (fault := job.find_fault(cache))
    ]
    if stale := [fault for _, fault in found if fault.kind != "missing"]:
        message = (
            f"{len(stale)} of {len(jobs)} files in {cache.folder} are not what is wanted now:{show_faults(stale)}"
        )
        if on_mismatch == "refuse":
            raise FeatureCacheError(
                f"{message}\nName another folder, or replace them with --on_mismatch rebuild. Nothing was written."
            )
        logger.warning(f"{message}\nThey are made anew.")
    return [job for job, _ in found]


def show_faults(faults: Sequence[Fault]) -> str:
    """Lines of an error message: each reason once, with the number of videos, and one that it holds for."""
    examples = {fault.reason: fault.video for fault in reversed(faults)}
    counts = Counter(fault.reason for fault in faults)
    lines = (f"{examples[reason]}{f' and {n - 1} more' * (n > 1)}: {reason}" for reason, n in counts.most_common())
    return listed(map(printable, lines), most=5)


def extract_features(
    model: PreTrainedModel,
    processor: Any,
    jobs: Sequence[ExtractionJob],
    cache: FeatureCache,
    *,
    chunk_size: int = 32,
    num_workers: int = 2,
    device: torch.device | str = "cpu",
    on_mismatch: Literal["rebuild", "refuse"] = "rebuild",
) -> Extraction:
    """
    Fill a cache.

    A file is written when its video is done, so whatever ends this, the next call goes on from there. A video is encoded
    by itself, in chunks of `chunk_size` frames from its start: its vectors do not depend on what else is extracted.

    Args:
        model (`PreTrainedModel`): See the head of this file.
        processor: Makes frames of videos.
        jobs (`Sequence[ExtractionJob]`): What to make; what is there and valid is left alone.
        cache (`FeatureCache`): Where to.
        chunk_size (`int`, *optional*, defaults to 32): Frames decoded and encoded at a time.
        num_workers (`int`, *optional*, defaults to 2): Processes that decode beside the encoder; 0: none.
        device (`torch.device` or `str`, *optional*, defaults to `"cpu"`): Where the encoder runs.
        on_mismatch (`str`, *optional*, defaults to `"rebuild"`): What to do with files that were made otherwise, or are
            damaged: `"rebuild"` or `"refuse"`.

    Raises:
        FeatureCacheError: If there are such files, and they are refused.
    """
    started = time.perf_counter()
    cache.remove_leftovers()
    work = find_work(jobs, cache, on_mismatch)
    random.Random().shuffle(work)  # so that several of us at once meet different videos
    report = Extraction(num_valid=len(jobs) - len(work))
    model = model.to(device).eval()
    loader = DataLoader(
        FrameChunks(work, processor, cache, chunk_size),
        batch_size=None,
        num_workers=min(num_workers, len(work)),
        worker_init_fn=ignore_termination,
        pin_memory=torch.device(device).type == "cuda",
        generator=torch.Generator(),
    )
    vectors: dict[int, Rows] = {}
    progress = Progress(len(work))
    with tqdm(total=len(work), desc="extracting", unit="video", disable=None) as bar:
        for part in loader:
            job = work[part.job]
            if part.pixel_values is not None:
                begun = time.perf_counter()
                vectors.setdefault(part.job, Rows()).add(encode(model, part.pixel_values, device))
                report.encoder_s += time.perf_counter() - begun
                continue
            if part.reason:
                report.unreadable[job.content.name] = part.reason
            elif part.frame_indices is None:
                report.num_valid += 1  # another process was faster
            else:
                features = lay_out(vectors.pop(part.job).taken(), part.frame_indices, part.seconds)
                features.duration_s = part.duration_s
                cache.save(job.content, job.fingerprint, features, job.version)
                report.num_written += 1
                report.num_frames += int(features.frame_mask.sum())
            vectors.pop(part.job, None)
            bar.update()
            progress.say(report)
    report.total_s = time.perf_counter() - started
    return report


@torch.inference_mode()
def encode(model: PreTrainedModel, pixel_values: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """Frames `(M, 3, S, S)` to vectors `(M, D)` on the CPU."""
    return model.encode_frames(pixel_values.to(device, non_blocking=True)).float().cpu()


class Rows:
    """
    Tensors `(M, ...)`, one after the other, in one block that doubles when it is full.

    As small tensors they would lie between the large ones of the frames, and the memory of these would never fit again.
    """

    def __init__(self):
        self._block: torch.Tensor | None = None
        self._size = 0

    def add(self, rows: torch.Tensor) -> None:
        end = self._size + len(rows)
        if self._block is None or end > len(self._block):
            block = rows.new_empty(max(2 * end, 1024), *rows.shape[1:])
            if self._block is not None:
                block[: self._size] = self._block[: self._size]
            self._block = block
        self._block[self._size : end] = rows
        self._size = end

    def taken(self) -> torch.Tensor:
        """All of them: `(sum of M, ...)`."""
        return self._block[: self._size].clone()


def lay_out(vectors: torch.Tensor, frame_indices: torch.Tensor, seconds: torch.Tensor) -> CachedFeatures:
    """Vectors of the real frames, in order, to where they belong: `(T, D)`, or `(N, T, D)` with zeros as padding."""
    features = vectors.new_zeros(*frame_indices.shape, vectors.shape[1])
    features[frame_indices >= 0] = vectors
    return CachedFeatures(features, frame_indices, seconds)


class Part(NamedTuple):
    """What a worker sends: some frames of a video; or, as its last part, which frames they were, or why there are none."""

    job: int
    pixel_values: torch.Tensor | None = None  # (M, 3, S, S)
    frame_indices: torch.Tensor | None = None
    seconds: torch.Tensor | None = None
    reason: str = ""
    duration_s: torch.Tensor | None = None  # that segments cover


class FrameChunks(IterableDataset):
    """
    The frames of videos in chunks. Each worker takes every n-th video.

    Args:
        jobs (`Sequence[ExtractionJob]`): Which videos, and how.
        processor: Makes frames of them.
        cache (`FeatureCache`): A video that another process has finished meanwhile is left out.
        chunk_size (`int`): Frames of a chunk.
    """

    def __init__(self, jobs: Sequence[ExtractionJob], processor: Any, cache: FeatureCache, chunk_size: int):
        self.jobs, self.processor, self.cache, self.chunk_size = jobs, processor, cache, chunk_size

    def __iter__(self) -> Iterator[Part]:
        worker = get_worker_info()
        start, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for number in range(start, len(self.jobs), step):
            yield from self.parts_of(number)

    def parts_of(self, number: int) -> Iterator[Part]:
        job = self.jobs[number]
        if self.cache.path_of(job.content, job.version).is_file() and job.find_fault(self.cache) is None:
            yield Part(number)
            return
        try:
            if self.is_streamed(job):
                yield from self.stream(number, job)
                return
            inputs = self.processor(videos=[job.video], **{**job.call_options(), "return_metadata": True})
            frames, indices, seconds = (inputs[name][0] for name in ("pixel_values", "frame_indices", "frame_seconds"))
            for chunk in frames[indices >= 0].split(self.chunk_size):
                yield Part(number, chunk)
            durations = inputs.get("durations")
            yield Part(number, None, indices, seconds, duration_s=None if durations is None else durations[0])
        except VideoDecodeError as error:
            yield Part(number, reason=str(error))

    def is_streamed(self, job: ExtractionJob) -> bool:
        """Whether the processor gives these frames as they come, so that a long video takes no more memory than a short one."""
        sampling = job.options.get("sampling", self.processor.sampling)
        return sampling in getattr(self.processor, "streamed_samplings", ())

    def stream(self, number: int, job: ExtractionJob) -> Iterator[Part]:
        indices, seconds = Rows(), Rows()
        for chunk in self.processor.stream(job.video, self.chunk_size, **job.call_options()):
            indices.add(torch.as_tensor(chunk.frame_indices))
            seconds.add(torch.as_tensor(chunk.frame_seconds))
            yield Part(number, torch.stack(chunk.frames))
        yield Part(number, None, indices.taken(), seconds.taken())


class Progress:
    """A line a minute where no bar is shown: how far, how fast, how long still."""

    def __init__(self, num_jobs: int):
        self.num_jobs, self.started, self.said = num_jobs, time.perf_counter(), time.perf_counter()

    def say(self, report: Extraction) -> None:
        now, done = time.perf_counter(), report.num_written + len(report.unreadable)
        if now - self.said < MESSAGE_EVERY_S or not done:
            return
        self.said, rate = now, done / (now - self.started)
        left = show_duration((self.num_jobs - done) / rate)
        logger.info(f"{done} of {self.num_jobs} videos, {rate:.2f} a second, {left} left.")


__all__ = ["Extraction", "ExtractionJob", "FeatureCacheError", "extract_features", "read_contents", "show_faults"]
