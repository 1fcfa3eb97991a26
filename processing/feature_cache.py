# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Frame vectors on disk: one safetensors file for each clip, valid as long as nothing that it was made from has changed.

A file is named by the content of its video, so folders may be moved and renamed, and it holds

    features        (T, D), or (N, T, D) for N windows or segments     what the frame encoder made of each frame
    frame_indices   (T) or (N, T), int64                                which frames; -1 pads a short window
    timestamps      (T) or (N, T), float64                              their seconds; NaN where unknown or padded
    duration_s      (), float64                                         seconds that segments cover; only of these

with, as metadata, everything that these depend on: a [`FeatureFingerprint`] and the video's own size and SHA-256. Files
appear whole or not at all, and are mapped into memory, not read, when they are used.
"""

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import MISSING, asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from .video_processing import OPTIONAL
from .video_sources import describe_source


# One entry of the metadata holds all there is to say: the file format keeps several in no particular order, and the same
# vectors are to make the same file.
ENTRY, FORMAT_VERSION = "frame_features", "1"
DTYPES = {"float16": torch.float16, "float32": torch.float32}
PARTIAL = ".partial"  # end of the names of what is being written
# Settings of a processor that say which frames are seen; all others say how a frame is seen, ...
SAMPLING_SETTINGS = (
    "sampling",
    "num_frames",
    "num_clips",
    "fps",
    "stride",
    "placement",
    "short_video",
    "do_sample_frames",
    "segments_per_second",
    "min_segments",
    "max_segments",
    "frames_per_segment",
)
# ... but for these, on which no pixel depends.
OTHER_SETTINGS = (
    "num_threads",
    "timeout_s",
    "max_pixels",
    "return_metadata",
    "auto_map",
    "processor_class",
    "transformers_version",
)


@dataclass(frozen=True)
class FeatureFingerprint:
    """
    What the vectors of a video depend on, besides the video. Two are equal if the vectors are.

    Args:
        encoder (`str`): What the frame encoder is called, for people; it takes no part in comparisons.
        weights (`str`): SHA-256 of its structure and weights, see [`hash_weights`].
        transform (`str`): How a picture becomes a frame: settings of the processor, as JSON with sorted keys.
        sampling (`str`): Which frames: settings of the processor, likewise.
        dtype (`str`): `"float16"` or `"float32"`, in which vectors are stored.
        augmentation (`str`, *optional*): What else was done to the frames, and with which seed; `"null"`: nothing.
    """

    encoder: str
    weights: str
    transform: str
    sampling: str
    dtype: str
    augmentation: str = "null"

    @classmethod
    def of(
        cls,
        model: nn.Module,
        processor: Any,
        options: Mapping[str, Any] | None = None,
        dtype: str = "float16",
        encoder: str = "",
        seed: int | None = None,
    ) -> "FeatureFingerprint":
        """
        The fingerprint of what a model and a processor make of any video.

        Args:
            model (`nn.Module`): With the submodule `frame_encoder`.
            processor (`BaseVideoProcessor`): Its saved settings count, except those that `options` replace.
            options (`Mapping[str, Any]`, *optional*): With which it is called.
            dtype (`str`, *optional*, defaults to `"float16"`): In which vectors are stored.
            encoder (`str`, *optional*): What to call the encoder; by default what its config calls it.
            seed (`int`, *optional*): Of what is drawn for altered versions of a video; `None`: nothing is.
        """
        if dtype not in DTYPES:
            raise ValueError(f"Frame features are stored as {' or '.join(DTYPES)}, got dtype={dtype!r}.")
        given = {name: value for name, value in (options or {}).items() if value is not None or name in OPTIONAL}
        settings = _json_values({**processor.to_dict(), **given})
        altered = settings.pop("augmentation", None)
        settings = {name: value for name, value in settings.items() if name not in OTHER_SETTINGS}
        sampling = {name: settings.pop(name) for name in SAMPLING_SETTINGS if name in settings}
        return cls(
            encoder=encoder or name_of_encoder(model),
            weights=hash_weights(model.frame_encoder),
            transform=_canonical(settings),
            sampling=_canonical(sampling),
            dtype=dtype,
            augmentation=_canonical(seed if seed is None else {"seed": seed, "augmentation": altered}),
        )

    def card(self, dimension: int) -> dict[str, Any]:
        """The card of vectors of so many numbers, see `feature_files.py`."""
        return card_of_features(asdict(self), dimension)

    def differences(self, stored: Mapping[str, Any]) -> list[str]:
        """What differs in the metadata of a file, each as `name: stored -> now`."""
        found = []
        for name in (part.name for part in fields(self) if part.name != "encoder"):
            theirs, ours = stored.get(name, ""), getattr(self, name)
            if theirs == ours:
                continue
            if name == "weights":
                was, now = stored.get("encoder", "?"), self.encoder
                found.append(
                    f"weights or structure of the frame encoder: {theirs[:12]} ({was}) -> {ours[:12]} ({now})"
                )
            else:
                found.append(f"{name}: {_describe_change(theirs, ours)}")
        return found


class VideoContent(NamedTuple):
    """A video as a cache knows it: what it is called, its bytes, their SHA-256, and the part that is looked at, in seconds."""

    name: str
    size: int
    sha256: str
    span_se: tuple[float, float] | None = None

    @classmethod
    def of(cls, video: Any, span_se: tuple[float, float] | None = None) -> "VideoContent":
        """
        Read a path, bytes, or `{"path": ..., "bytes": ...}` once, from start to end.

        Raises:
            OSError: If the file cannot be read.
            TypeError: If it is something else, such as an array or a URL: nothing says whether that has changed.
        """
        if isinstance(video, Mapping) and set(video) == {"path", "bytes"}:
            video = video["path"] if video["bytes"] is None else video["bytes"]
        if isinstance(video, bytes | bytearray | memoryview):
            return cls(describe_source(video), len(video), hashlib.sha256(video).hexdigest(), span_se)
        if not isinstance(video, str | os.PathLike) or "://" in str(video):
            raise TypeError(f"Features are cached of video files and bytes, got {describe_source(video)}.")
        with open(video, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return cls(str(video), os.fstat(file.fileno()).st_size, digest, span_se)


@dataclass
class CachedFeatures:
    """
    Frame vectors of a video.

    Args:
        features (`torch.Tensor` of shape `(T, D)`, or `(N, T, D)`): In the dtype that they are stored in.
        frame_indices (`torch.Tensor` of shape `(T,)` or `(N, T)`): Frame numbers; -1 for padding.
        timestamps (`torch.Tensor` of shape `(T,)` or `(N, T)`): Seconds; NaN where unknown or padded.
        duration_s (`torch.Tensor` of shape `()`, *optional*): Seconds that the N segments of the video, or of a part of it, cover.
    """

    features: torch.Tensor
    frame_indices: torch.Tensor
    timestamps: torch.Tensor
    duration_s: torch.Tensor | None = None

    @property
    def frame_mask(self) -> torch.Tensor:
        """1 = a frame, as models take it."""
        return (self.frame_indices >= 0).long()

    @property
    def segment_features(self) -> torch.Tensor:
        """Vectors of segments `(N, D)`, float32: the mean over the frames of each."""
        is_there = (self.frame_indices >= 0)[..., None]
        return (self.features.float() * is_there).sum(dim=1) / is_there.sum(dim=1).clamp(min=1)

    def tensors(self) -> dict[str, torch.Tensor]:
        """What there is, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


class Fault(NamedTuple):
    """
    Why a video has no valid features in a cache.

    Args:
        kind (`str`): `"missing"`: there never were any. `"damaged"`: the file is cut, altered or not one of a cache.
            `"changed"`: it is whole, and was made otherwise.
        video (`str`): What the video is called.
        reason (`str`): In words.
    """

    kind: str
    video: str
    reason: str


class FeatureCache:
    """
    A folder of frame vectors.

    Args:
        folder (`str` or `Path`): Where the files lie. It is made when the first one is saved.

    Example:
        >>> cache = FeatureCache("features/resnet50")
        >>> cache.load(b"a video", FeatureFingerprint("resnet-50", "0" * 64, "{}", "{}", "float16")) is None
        True
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)

    def path_of(self, content: VideoContent, version: int = 0) -> Path:
        """The file for a video, or a part of it; `version` counts altered versions of it from 1."""
        part = "" if content.span_se is None else ".{:.3f}-{:.3f}s".format(*content.span_se)
        return self.folder / f"{content.sha256}{part}{f'.v{version}' if version else ''}.safetensors"

    def load(self, video: Any, fingerprint: FeatureFingerprint, version: int = 0) -> CachedFeatures | None:
        """
        The vectors of a video; `None` if there are none that are whole and made in this way ([`find_fault`] says why).

        Args:
            video: A path, bytes, or the [`VideoContent`] of either, which saves reading it again.
            fingerprint (`FeatureFingerprint`): What they must have been made with.
            version (`int`, *optional*, defaults to 0): Which altered version; 0: the video as it is.
        """
        content = video if isinstance(video, VideoContent) else VideoContent.of(video)
        features, _ = self._look(content, fingerprint, version)
        return features

    def find_fault(self, content: VideoContent, fingerprint: FeatureFingerprint, version: int = 0) -> Fault | None:
        """Why a video has no valid vectors here; `None` if it has. Reads the file from start to end."""
        _, fault = self._look(content, fingerprint, version)
        return fault

    def _look(
        self, content: VideoContent, fingerprint: FeatureFingerprint, version: int
    ) -> tuple[CachedFeatures | None, Fault | None]:
        """The vectors, or what is wrong with them."""
        path = self.path_of(content, version)
        if not path.is_file():
            return None, self._explain_absence(content, version)
        identity = path.stat().st_ino
        try:
            with safe_open(path, "pt") as file:
                metadata, features = _read_metadata(file), None
                if metadata["format_version"] == FORMAT_VERSION:
                    features = _read_tensors(file)
                    if _hash_tensors(features) != metadata["sha256"]:
                        raise ValueError("its vectors are not those that were written")
        except (OSError, SafetensorError, ValueError, KeyError) as error:
            # the library opens a file twice, for its head and for its tensors: another process may have replaced it
            if path.is_file() and path.stat().st_ino != identity:
                return self._look(content, fingerprint, version)
            return None, Fault("damaged", content.name, f"{path} is no whole file of features ({error})")
        if features is None:
            changes = [f"version of the format: {metadata['format_version']} -> {FORMAT_VERSION}"]
        else:
            changes = fingerprint.differences(metadata)
            if (was := metadata.get("span_se")) != (now := content.span_se and list(content.span_se)):
                changes.append(f"span_se: {was} -> {now}")
        fault = Fault("changed", content.name, "; ".join(changes)) if changes else None
        return (None, fault) if fault else (features, None)

    def _explain_absence(self, content: VideoContent, version: int) -> Fault:
        old = self._by_name.get((content.name, version, content.span_se))
        if old is None or old["video_sha256"] == content.sha256:
            return Fault("missing", content.name, f"no features in {self.folder}")
        was, now = (
            f"{size} bytes, SHA-256 {sha256[:12]}"
            for size, sha256 in ((old["video_size"], old["video_sha256"]), (content.size, content.sha256))
        )
        return Fault("changed", content.name, f"content of the video: {was} -> {now}")

    def save(
        self, content: VideoContent, fingerprint: FeatureFingerprint, features: CachedFeatures, version: int = 0
    ) -> Path:
        """
        Write the vectors of a video, whole or not at all; what was there is replaced.

        Several processes may save the same video at once: the last one stays.

        Raises:
            ValueError: If a value is not finite, or too large for the dtype.
        """
        stored = CachedFeatures(
            features.features.to(DTYPES[fingerprint.dtype]).contiguous(),
            features.frame_indices.to(torch.int64).contiguous(),
            features.timestamps.to(torch.float64).contiguous(),
            None if features.duration_s is None else features.duration_s.to(torch.float64),
        )
        if not stored.features.isfinite().all():
            raise ValueError(
                f"{content.name}: its frame features reach {features.features.abs().max():g}, which is no finite number in "
                f"{fingerprint.dtype}. Store them as float32, or look at the encoder."
            )
        metadata = {
            "format_version": FORMAT_VERSION,
            **asdict(fingerprint),
            "video": content.name,
            "video_size": content.size,
            "video_sha256": content.sha256,
            "version": version,
            "sha256": _hash_tensors(stored),
        }
        if content.span_se is not None:
            metadata["span_se"] = content.span_se
        path = self.path_of(content, version)
        self.folder.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(prefix=f".{path.name}.", suffix=PARTIAL, dir=self.folder)
        os.close(handle)
        try:
            save_file(stored.tensors(), partial, {ENTRY: _canonical(metadata)})
            with open(partial, "rb+") as file:
                os.fsync(file.fileno())  # the rename must not reach the disk before the content
            os.chmod(partial, 0o666 & ~_umask())  # temporary files are closed to others
            os.replace(partial, path)
        finally:
            if os.path.exists(partial):
                os.unlink(partial)
        return path

    @staticmethod
    def read(path: str | os.PathLike) -> CachedFeatures:
        """The vectors in a file, mapped into memory, whatever they were made with."""
        with safe_open(path, "pt") as file:
            return _read_tensors(file)

    def remove_leftovers(self, older_than_s: float = 3600.0) -> None:
        """Delete what was being written by processes that were killed; what is young may belong to a living one."""
        for path in self.folder.glob(f".*{PARTIAL}"):
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > older_than_s:
                    path.unlink()

    def metadata(self) -> Iterator[dict[str, Any]]:
        """What the files here say of themselves, oldest first; those that are not whole are passed over."""
        for path in sorted(self.folder.glob("*.safetensors"), key=lambda path: path.stat().st_mtime_ns):
            with suppress(OSError, SafetensorError, ValueError), safe_open(path, "pt") as file:
                yield _read_metadata(file)

    @cached_property
    def _by_name(self) -> dict[tuple, dict[str, Any]]:
        """Metadata by name, version and part of the video: only looked at where a file is missing."""
        parts = ((entry, entry.get("span_se")) for entry in self.metadata())
        return {(entry["video"], entry["version"], part and tuple(part)): entry for entry, part in parts}


def card_of_features(metadata: Mapping[str, Any], dimension: int) -> dict[str, Any]:
    """The card of features by the fields of a [`FeatureFingerprint`], as the files here have them."""
    card = {name: metadata[name] for name in ("encoder", "weights")} | {"dimension": dimension}
    return card | {name: json.loads(metadata[name]) for name in ("transform", "sampling")}


def hash_weights(module: nn.Module) -> str:
    """
    SHA-256 of a module: its structure, as it prints itself (the same weights may be used with other strides), and names,
    types, shapes and values of parameters and buffers, in the order of the names.
    """
    digest = hashlib.sha256(repr(module).encode())
    for name, tensor in sorted(module.state_dict().items()):
        if name.endswith("num_batches_tracked"):  # counts training steps; no vector depends on it
            continue
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(_bytes_of(tensor))
    return digest.hexdigest()


def name_of_encoder(model: nn.Module) -> str:
    """What a frame encoder is called, as far as its config says so."""
    config = getattr(model, "config", None)
    backbone = getattr(config, "backbone_config", None) or getattr(config, "frame_encoder_config", None) or config
    return getattr(backbone, "name_or_path", "") or getattr(backbone, "model_type", type(model).__name__)


def _read_metadata(file: safe_open) -> dict[str, Any]:
    metadata = file.metadata() or {}
    if ENTRY not in metadata:
        raise ValueError("it was written by another program")
    return json.loads(metadata[ENTRY])


def _read_tensors(file: safe_open) -> CachedFeatures:
    there = set(file.keys())
    names = [part.name for part in fields(CachedFeatures) if part.default is MISSING or part.name in there]
    return CachedFeatures(**{name: file.get_tensor(name) for name in names})


def _hash_tensors(stored: CachedFeatures) -> str:
    digest = hashlib.sha256()
    for tensor in stored.tensors().values():
        digest.update(_bytes_of(tensor))
    return digest.hexdigest()


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    return memoryview(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _json_values(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON has them, without those that say nothing: saved or not, `None` is the same."""
    plain = json.loads(
        json.dumps(settings, default=lambda value: dict(value) if hasattr(value, "keys") else str(value))
    )
    return {name: value for name, value in plain.items() if value is not None}


def _describe_change(theirs: str, ours: str) -> str:
    """`stored -> now`, of JSON mappings only the keys that differ."""
    try:
        was, now = json.loads(theirs), json.loads(ours)
    except ValueError:
        was, now = theirs, ours
    if not isinstance(was, dict) or not isinstance(now, dict):
        return f"{theirs or 'unknown'} -> {ours}"
    changed = sorted(name for name in {*was, *now} if was.get(name) != now.get(name))
    return ", ".join(f"{name} {json.dumps(was.get(name))} -> {json.dumps(now.get(name))}" for name in changed)


__all__ = [
    "DTYPES",
    "CachedFeatures",
    "Fault",
    "FeatureCache",
    "FeatureFingerprint",
    "VideoContent",
    "card_of_features",
    "hash_weights",
]
