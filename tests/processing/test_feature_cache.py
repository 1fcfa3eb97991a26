# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Frame vectors on disk: whole, cut, altered and foreign files, and what has changed since they were made."""

import multiprocessing
import os
import signal
import time
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from clipbert.processing import ClipBERTVideoProcessor
from clipbert.processing.feature_cache import (
    CachedFeatures,
    FeatureCache,
    FeatureFingerprint,
    VideoContent,
    hash_weights,
)


class Encoder(nn.Module):
    """The contract of families whose frame vectors can be cached: a submodule and a method."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.frame_encoder = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )

    def encode_frames(self, pixel_values):
        return self.frame_encoder(pixel_values)


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.avi"
    path.write_bytes(b"a video" * 1000)
    return path


@pytest.fixture
def cache(tmp_path):
    return FeatureCache(tmp_path / "features")


def fingerprint_of(model=None, processor=None, **options):
    model = Encoder() if model is None else model
    return FeatureFingerprint.of(model, processor or ClipBERTVideoProcessor(num_frames=3), **options)


def vectors(num_frames=5, shift=0.0):
    values = torch.linspace(-2, 2, num_frames * 4).reshape(num_frames, 4) + shift
    return CachedFeatures(values, torch.arange(num_frames), torch.arange(num_frames) / 25)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_what_was_saved_is_loaded(cache, clip, dtype):
    fingerprint, content = fingerprint_of(dtype=dtype), VideoContent.of(clip)
    assert cache.load(clip, fingerprint) is None and cache.find_fault(content, fingerprint).kind == "missing"
    path = cache.save(content, fingerprint, vectors())
    found = cache.load(clip, fingerprint)
    assert found.features.dtype == getattr(torch, dtype)
    torch.testing.assert_close(found.features, vectors().features.to(found.features.dtype), rtol=0, atol=0)
    assert found.frame_indices.tolist() == [0, 1, 2, 3, 4] and found.frame_mask.tolist() == [1] * 5
    assert found.timestamps.tolist() == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])
    assert [each.name for each in cache.folder.iterdir()] == [path.name]


def test_windows_know_their_padding(cache, clip):
    indices = torch.tensor([[0, 1, 2], [3, 4, -1]])
    windows = CachedFeatures(torch.ones(2, 3, 4), indices, torch.where(indices < 0, torch.nan, indices / 10))
    cache.save(VideoContent.of(clip), fingerprint_of(), windows)
    found = cache.load(clip, fingerprint_of())
    assert found.frame_mask.tolist() == [[1, 1, 1], [1, 1, 0]] and found.timestamps[1, 2].isnan()


def test_a_video_may_move_and_come_as_bytes(cache, clip):
    cache.save(VideoContent.of(clip), fingerprint_of(), vectors())
    moved = clip.rename(clip.with_name("other.avi"))
    for video in (moved, moved.read_bytes(), {"path": str(moved), "bytes": None}):
        assert cache.load(video, fingerprint_of()) is not None
    with pytest.raises(TypeError, match="video files and bytes, got https://"):
        cache.load("https://example.org/clip.avi", fingerprint_of())


def test_what_changed_is_named(cache, clip):
    content, ours = VideoContent.of(clip), fingerprint_of(encoder="resnet-50")
    cache.save(content, ours, vectors())
    other_weights = fingerprint_of(Encoder(seed=1), encoder="resnet-101")
    larger = fingerprint_of(processor=ClipBERTVideoProcessor(num_frames=3, size=64))
    longer = fingerprint_of(processor=ClipBERTVideoProcessor(num_frames=3), options={"num_frames": 9})
    drawn = fingerprint_of(processor=ClipBERTVideoProcessor(num_frames=3), seed=7)
    for theirs, reason in {
        other_weights: f"weights or structure of the frame encoder: {ours.weights[:12]} (resnet-50) -> "
        f"{other_weights.weights[:12]} (resnet-101)",
        larger: 'transform: size {"longest_edge": 448} -> {"longest_edge": 64}',
        longer: "sampling: num_frames 3 -> 9",
        replace(ours, dtype="float32"): "dtype: float16 -> float32",
        drawn: 'augmentation: null -> {"augmentation":null,"seed":7}',
    }.items():
        assert cache.load(clip, theirs) is None
        assert cache.find_fault(content, theirs) == ("changed", str(clip), reason)
    both = cache.find_fault(content, replace(longer, weights="0" * 64))
    assert "weights" in both.reason and "sampling" in both.reason and "transform" not in both.reason


def test_a_changed_video_is_named(cache, clip):
    cache.save(VideoContent.of(clip), fingerprint_of(), vectors())
    clip.write_bytes(b"b video" * 1000)  # of the same size
    fault = FeatureCache(cache.folder).find_fault(VideoContent.of(clip), fingerprint_of())
    assert fault.kind == "changed" and "content of the video: 7000 bytes, SHA-256 " in fault.reason


def test_settings_that_change_no_vector_are_left_out():
    ours = fingerprint_of()
    patient = ClipBERTVideoProcessor(num_frames=3, timeout_s=5.0, num_threads=2, return_metadata=True)
    assert fingerprint_of(processor=patient) == ours
    assert fingerprint_of(encoder="by another name").differences(vars(ours)) == []
    with pytest.raises(ValueError, match="float16 or float32, got dtype='int8'"):
        fingerprint_of(dtype="int8")


def test_weights_are_told_by_their_values():
    model, other = Encoder(), Encoder()
    assert hash_weights(model) == hash_weights(other)
    model.frame_encoder[1].num_batches_tracked += 1
    assert hash_weights(model) == hash_weights(other)
    model.frame_encoder[1].running_mean[2] += 1e-6
    assert hash_weights(model) != hash_weights(other)
    assert hash_weights(other.half()) != hash_weights(Encoder())
    strided = Encoder()
    strided.frame_encoder[0].stride = (2, 2)  # the same weights
    assert hash_weights(strided) != hash_weights(Encoder())


def test_numbers_that_do_not_fit_are_refused(cache, clip):
    content, large = VideoContent.of(clip), vectors(shift=1e6)
    with pytest.raises(ValueError, match="clip.avi: its frame features reach 1e.06.* float16. Store them as float32"):
        cache.save(content, fingerprint_of(), large)
    assert not list(cache.folder.glob("*"))
    cache.save(content, fingerprint_of(dtype="float32"), large)


def test_leftovers_of_the_dead_are_removed(cache, clip):
    cache.save(VideoContent.of(clip), fingerprint_of(), vectors())
    old, young = cache.folder / ".a.partial", cache.folder / ".b.partial"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    cache.remove_leftovers()
    assert not old.exists() and young.exists() and cache.load(clip, fingerprint_of()) is not None


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.7, 0.999])
def test_cut_files_are_told(cache, clip, share):
    content, fingerprint = VideoContent.of(clip), fingerprint_of()
    path = cache.save(content, fingerprint, vectors())
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    fault = cache.find_fault(content, fingerprint)
    assert fault.kind == "damaged" and str(path) in fault.reason and cache.load(clip, fingerprint) is None


def test_altered_and_foreign_files_are_told(cache, clip):
    content, fingerprint = VideoContent.of(clip), fingerprint_of()
    path = cache.save(content, fingerprint, vectors())
    whole = path.read_bytes()
    path.write_bytes(whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:])
    assert "not those that were written" in cache.find_fault(content, fingerprint).reason
    path.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
    assert cache.find_fault(content, fingerprint).kind == "damaged"
    path.write_text("no tensors")
    assert cache.find_fault(content, fingerprint).kind == "damaged"
    save_file({"features": torch.ones(3, 4)}, path)
    assert "written by another program" in cache.find_fault(content, fingerprint).reason
    cache.save(content, fingerprint, vectors())
    assert cache.load(clip, fingerprint) is not None


def test_another_version_of_the_format_is_named(cache, clip, monkeypatch):
    content, fingerprint = VideoContent.of(clip), fingerprint_of()
    with monkeypatch.context() as patch:
        patch.setattr("clipbert.processing.feature_cache.FORMAT_VERSION", "0")
        cache.save(content, fingerprint, vectors())
    assert cache.find_fault(content, fingerprint) == ("changed", str(clip), "version of the format: 0 -> 1")


def save_for_ever(folder, content, fingerprint, shift):
    cache, values = FeatureCache(folder), vectors(2000, shift)
    while True:
        cache.save(content, fingerprint, values)


def test_a_reader_never_meets_half_a_file(cache, clip):
    """Two processes write the same file again and again, and are killed in the middle of it."""
    content, fingerprint = VideoContent.of(clip), fingerprint_of(dtype="float32")
    context = multiprocessing.get_context("fork")  # at once, where a new interpreter would import for seconds
    arguments = [(cache.folder, content, fingerprint, shift) for shift in (0.0, 1.0)]
    writers = [context.Process(target=save_for_ever, args=each, daemon=True) for each in arguments]
    for writer in writers:
        writer.start()
    expected, seen = [vectors(2000, shift).features for shift in (0.0, 1.0)], 0
    end = time.monotonic() + 30
    while seen < 10 and time.monotonic() < end:
        found = cache.load(content, fingerprint)
        assert seen == 0 or found is not None
        if found is not None:
            assert any(found.features.equal(each) for each in expected)
            seen += 1
    for writer in writers:
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
    assert seen == 10 and cache.load(content, fingerprint) is not None
