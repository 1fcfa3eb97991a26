# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Features of videos as others have stored them, read one video at a time; and the card that says what they are.

    I3D/v_1.npy, v_2.npy, feature_shapes.json       a file for each video (VSLNet; LGI); Ego4D: .pt
    clip/v_1.npz, slowfast/v_1.npz                  the same, an array `features` in each (Moment-DETR, lighthouse); several joined
    c3d.hdf5: v_1/c3d_features, v_2/c3d_features    one file for all (ActivityNet); vgg.hdf5: v_1, v_2 (2D-TAN)
    a/v_1.safetensors, all.safetensors              likewise; or a folder that `extract.py` has filled

A card is a JSON mapping: `encoder` (a name) and `weights` (their hash, where known), `dimension`, `transform` and `sampling` (how a
picture was prepared, which ones a row is of) and `duration_s`, or `durations` by id. It lies in a folder as `features.card.json`, beside a
file as `<file>.card.json`, or inside safetensors (metadata) and HDF5 (an attribute) as `feature_card`.
"""

import importlib
import json
import os
import pickle
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from .decoding_count import note_decoded
from .feature_cache import ENTRY, CachedFeatures, card_of_features
from .feature_rows import FeatureFileError, check_rows, join_rows


LAYOUTS = {
    "npy": (".npy",),
    "npz": (".npz",),
    "pt": (".pt", ".pth"),
    "hdf5": (".hdf5", ".h5"),
    "safetensors": (".safetensors",),
}
SUFFIXES = tuple(suffix for suffixes in LAYOUTS.values() for suffix in suffixes)
WITH_CARDS = ("hdf5", "safetensors")  # layouts that can hold a card
CARD, CARD_FILE, SHAPES_FILE = "feature_card", "features.card.json", "feature_shapes.json"
USUAL_KEY = "features"
VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".webm", ".mov")  # that ids may end in (TACoS); it is the same video without
ONLY = ""  # the name of the array of a file that holds a single one without a name
# what a card says of videos, and not of how their features were made
OF_VIDEOS = ("duration_s", "durations", "num_videos", "num_rows")
FAULTS = (  # what the readers of these formats raise at files that are cut or altered
    OSError,
    ValueError,
    EOFError,
    KeyError,
    TypeError,
    RuntimeError,
    MemoryError,
    OverflowError,
    tokenize.TokenError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    zlib.error,
    SafetensorError,
)


class VideoFeatures(NamedTuple):
    """
    Features of one video.

    Args:
        rows (`np.ndarray` of shape `(n, D)`): float32; row i covers the i-th n-th of the video.
        name (`str`): What to call them in messages.
        card (`dict`, *optional*): What they are.
    """

    rows: np.ndarray
    name: str
    card: dict[str, Any] | None = None


class IdCheck(NamedTuple):
    """
    How features and the videos that are asked for fit each other.

    Args:
        missing (`list[str]`): Videos without features.
        unused (`list[str]`): Features of other videos.
        num_asked (`int`): Videos that are asked for.
    """

    missing: list[str]
    unused: list[str]
    num_asked: int

    def __str__(self) -> str:
        return (
            f"{len(self.missing)} of {self.num_asked} videos have no features{_examples(self.missing)}; there are features of "
            f"{len(self.unused)} others{_examples(self.unused)}."
        )


class FeatureFiles:
    """
    Features of many videos by their ids, read when they are asked for.

    Args:
        sources (`str`, `Path` or a list of them): A folder with a file for each video, whose name is the id, or one file
            with those of all videos; of several, features are laid side by side.
        layout (`str`, defaults to `"auto"`): Which files of a folder to take, a key of `LAYOUTS`; needed where there are several kinds.
        key (`str` or a list with one for each source, *optional*): Name of the array within a file, or within the group of a video.
            By default the only one, or `features`.
        join (`str`, defaults to `"pool"`): Where sources differ in rows: see `join_rows`.
        normalize (`bool`, defaults to `False`): Bring the rows of each source to length 1 before they are joined (Moment-DETR).

    Raises:
        FileNotFoundError: If a source is not there.
        ValueError: If nothing in it is a file of features, or there are several kinds of them.

    Example:
        >>> import tempfile

        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(Path(folder) / "v_1.npy", np.zeros((75, 512)))
        ...     files = FeatureFiles(folder)
        ...     print(files.read("v_1").shape, files.check_ids(["v_1", "v_2"]).missing)
        (75, 512) ['v_2']
    """

    def __init__(
        self,
        sources: str | os.PathLike | Sequence[str | os.PathLike],
        layout: str = "auto",
        key: str | Sequence[str | None] | None = None,
        join: str = "pool",
        normalize: bool = False,
    ):
        if layout != "auto" and layout not in LAYOUTS:
            raise ValueError(f"Expected layout to be auto, {', '.join(LAYOUTS)}, got {layout!r}.")
        paths = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
        keys = [key] * len(paths) if key is None or isinstance(key, str) else list(key)
        if not paths or len(keys) != len(paths):
            raise ValueError(f"Got {len(keys)} keys for {len(paths)} sources of features: expected one for each.")
        join_rows([np.zeros((1, 1))], [""], join)  # an unknown word is refused now
        self.join, self.normalize = join, normalize
        self.sources = [_open_source(Path(path), layout, each) for path, each in zip(paths, keys, strict=True)]

    def ids(self) -> list[str]:
        """The videos that all sources have features of, in the order of the first one."""
        others = [set(source.ids()) for source in self.sources[1:]]
        return [name for name in self.sources[0].ids() if all(name in names for names in others)]

    def check_ids(self, ids: Sequence[str]) -> IdCheck:
        """Which of these videos have no features, and which features are of none of them; its text is a message with counts."""
        asked, known = dict.fromkeys(ids), self.ids()
        known_names = set(known)
        missing = [name for name in asked if id_of(name) not in known_names]
        used = {id_of(name) for name in asked}
        return IdCheck(missing, [name for name in known if name not in used], len(asked))

    def read(self, video_id: str) -> np.ndarray:
        """
        The features of a video, float32 `(n, D)`.

        Raises:
            FeatureFileError: If there are none, or their file is cut, holds no numbers `(n, D)`, or NaN; names it.
        """
        note_decoded(0)
        parts = [source.read(id_of(video_id)) for source in self.sources]
        if self.normalize:
            parts = [part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-5) for part in parts]
        try:
            return join_rows(parts, [str(source.path) for source in self.sources], self.join)
        except ValueError as error:
            raise FeatureFileError(video_id, str(error)) from error

    def card(self, video_id: str) -> dict[str, Any] | None:
        """What the features of a video are, as far as all sources say it; that of several sources has a list of `sources`."""
        cards = [source.card(id_of(video_id)) for source in self.sources]
        if any(card is None for card in cards):
            return None
        seconds = [card.pop("duration_s") for card in cards if "duration_s" in card]
        card = cards[0]
        if len(cards) > 1:
            card = {"sources": cards, "dimension": sum(card.get("dimension", 0) for card in cards), "join": self.join}
        card |= {"normalize": True} if self.normalize else {}
        return card | ({"duration_s": seconds[0]} if seconds else {})

    def __getitem__(self, video_id: str) -> VideoFeatures:
        """Features with their name and card, as [`MomentRetrievalProcessor`] takes them."""
        return VideoFeatures(self.read(video_id), self.sources[0].name_of(id_of(video_id)), self.card(video_id))

    def common_card(self, ids: Sequence[str]) -> dict[str, Any] | None:
        """
        What the features of these videos are, without what differs from one to the other by right: durations.

        Raises:
            FeatureFileError: If those of a video were made otherwise than those of the first one; says how.
        """
        common, first = None, True
        for name in ids:
            card = _without_videos(self.card(name))
            if not first and (changes := card_differences(common, card, both_ways=True)):
                where = ", ".join(source.name_of(id_of(name)) for source in self.sources)
                raise FeatureFileError(where, f"made otherwise than those of {ids[0]}: {'; '.join(changes)}.")
            common, first = (card if first else common), False
        return common


class _Source:
    """
    A folder with a file for each video, or one file with all of them.

    Args:
        path (`Path`): The folder, or the file.
        files (`dict[str, Path]`, *optional*): The files of a folder by id.
        key (`str`, *optional*): Of the array in a file, or in the group of a video.
    """

    def __init__(self, path: Path, files: dict[str, Path] | None, key: str | None):
        self.path, self.files, self.key, self.num_rows = path, files, key, {}
        beside = card_path(path)
        self._card = _read_json(beside) if beside.is_file() else None
        if files is not None:
            self._names = {video_id: file.stem for video_id, file in files.items()}
            if (shapes := path / SHAPES_FILE).is_file():
                self.num_rows = _read_json(shapes)
        else:
            with _reading(str(path)), open_arrays(path) as arrays:
                if list(arrays) == [ONLY]:
                    raise FeatureFileError(str(path), "they are of one video: pass the folder with such files.")
                self._names = {id_of(name): name for name in sorted(arrays)}
                self._card = self._card or getattr(arrays, "card", None)
        durations = (self._card or {}).get("durations", {})
        self._seconds = {id_of(name): seconds for name, seconds in durations.items()}

    def ids(self) -> list[str]:
        return list(self._names)

    def name_of(self, video_id: str) -> str:
        return f"{video_id} in {self.path}" if self.files is None else str(self.files.get(video_id, video_id))

    @contextmanager
    def _open(self, video_id: str) -> Iterator[Mapping[str, Any]]:
        """The arrays of the file in which a video is."""
        if self.files is not None and video_id not in self.files:
            raise FeatureFileError(video_id, f"there is no file of it in {self.path}.")
        with (
            _reading(self.name_of(video_id)),
            open_arrays(self.path if self.files is None else self.files[video_id]) as arrays,
        ):
            yield arrays

    def read(self, video_id: str) -> np.ndarray:
        name = self.name_of(video_id)
        with self._open(video_id) as arrays:
            if self.files is None:
                if video_id not in self._names:
                    raise FeatureFileError(video_id, f"{self.path} has none of it.")
                found = arrays[self._names[video_id]]
                found = _choose(found, self.key, name) if isinstance(found, Mapping) else found
            else:
                found = _choose(arrays, self.key, name)
            if ENTRY in getattr(arrays, "metadata", ()) and found.dim() == 3:  # vectors of the frames of segments
                found = CachedFeatures(found, arrays["frame_indices"], arrays["timestamps"]).segment_features
            rows = check_rows(found, name)
        if (said := self.num_rows.get(self._names[video_id], len(rows))) != len(rows):
            raise FeatureFileError(
                name, f"{SHAPES_FILE} says {said} rows, and there are {len(rows)}: it is cut, or another."
            )
        return rows

    def card(self, video_id: str) -> dict[str, Any] | None:
        card = self._card
        if card is None and self.files is not None and _layout_of(self.files.get(video_id, Path())) in WITH_CARDS:
            with self._open(video_id) as arrays:
                card = arrays.card
        if card is None:
            return None
        seconds = self._seconds.get(video_id, card.get("duration_s"))
        return _without_videos(card) | ({} if seconds is None else {"duration_s": seconds})


def _open_source(path: Path, layout: str, key: str | None) -> _Source:
    if path.is_dir():
        return _Source(path, _find_files(path, layout), key)
    if not path.exists():
        raise FileNotFoundError(f"There are no features in {path}: no such file or folder.")
    if _layout_of(path) is None:
        raise ValueError(f"{path} is no file of features: expected one that ends in {', '.join(SUFFIXES)}.")
    return _Source(path, None, key)


def _find_files(folder: Path, layout: str) -> dict[str, Path]:
    """The files of features in a folder by id."""
    found: dict[str, dict[str, Path]] = {}
    for file in sorted(folder.iterdir()):
        if not file.name.startswith(".") and (kind := _layout_of(file)) is not None and layout in ("auto", kind):
            found.setdefault(kind, {})[id_of(file.stem)] = file
    if len(found) != 1:
        kinds = ", ".join(f"{len(files)} {kind}" for kind, files in found.items()) or "none"
        raise ValueError(
            f"{folder}: expected files of features of one layout ({', '.join(LAYOUTS)}), found {kinds}; layout={layout!r}."
        )
    ((kind, files),) = found.items()
    return _named_by_their_videos(files) if kind == "safetensors" else files


def id_of(name: str) -> str:
    """The id of a video by the name of its features, or of itself, which may end in `.avi`."""
    return next((name.removesuffix(suffix) for suffix in VIDEO_SUFFIXES if name.endswith(suffix)), name)


def card_path(source: Path) -> Path:
    """Where the card of a folder, or of a file with all videos, lies."""
    return source / CARD_FILE if source.is_dir() else source.with_name(f"{source.name}.card.json")


def read_features(path: str | os.PathLike, key: str | None = None) -> VideoFeatures:
    """
    The features of the one video that a file is of.

    Args:
        path (`str` or `Path`): The file.
        key (`str`, *optional*): Name of the array in it.

    Raises:
        FeatureFileError: See [`FeatureFiles.read`].
    """
    path = Path(path)
    if _layout_of(path) is None or not path.is_file():
        raise FeatureFileError(str(path), f"expected a file that ends in {', '.join(SUFFIXES)}.")
    video_id = id_of(path.stem)
    source = _Source(path.parent, {video_id: path}, key)
    return VideoFeatures(source.read(video_id), str(path), source.card(video_id))


@contextmanager
def open_arrays(path: Path) -> Iterator[Mapping[str, Any]]:
    """The arrays of a file by their names, read when they are looked up; one without a name is called `""`."""
    kind = _layout_of(path)
    if kind == "npy":
        yield {ONLY: np.load(path, mmap_mode="r", allow_pickle=False)}
    elif kind == "npz":
        with np.load(path, allow_pickle=False) as arrays:
            yield arrays
    elif kind == "pt":
        found = torch.load(path, map_location="cpu", weights_only=True)
        yield found if isinstance(found, Mapping) else {ONLY: found}
    elif kind == "safetensors":
        with safe_open(path, "pt") as file:
            yield _SafeTensors(file)
    else:
        with _load_h5py().File(path, "r") as file:
            yield _Groups(file)


class _SafeTensors(Mapping):
    """The tensors of a safetensors file by name."""

    def __init__(self, file: Any):
        self.file, self.names, self.metadata = file, file.keys(), file.metadata() or {}

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.file.get_tensor(name)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def card(self) -> dict[str, Any] | None:
        if ENTRY in self.metadata:
            card = card_of_features(json.loads(self.metadata[ENTRY]), self.file.get_slice(USUAL_KEY).get_shape()[-1])
            return card | ({"duration_s": float(self["duration_s"])} if "duration_s" in self else {})
        return json.loads(self.metadata[CARD]) if CARD in self.metadata else None


class _Groups(Mapping):
    """The data sets of an HDF5 group by name, and its groups likewise."""

    def __init__(self, group: Any):
        self.group = group

    def __getitem__(self, name: str) -> Any:
        found = self.group[name]
        return _Groups(found) if hasattr(found, "keys") else found[()]

    def __iter__(self) -> Iterator[str]:
        return iter(self.group.keys())

    def __len__(self) -> int:
        return len(self.group)

    @property
    def card(self) -> dict[str, Any] | None:
        return json.loads(self.group.attrs[CARD]) if CARD in self.group.attrs else None


def card_differences(
    expected: Mapping[str, Any] | None, found: Mapping[str, Any] | None, both_ways: bool = False
) -> list[str]:
    """
    What tells that features are not those that are expected, each as `name: expected -> found`.

    What is not known of either side is a difference, too; only the name of an encoder does not count where the hash of its weights
    is known. Durations are no part of it.

    Args:
        expected (`Mapping`, *optional*): A card, such as `config.feature_card` of a model; without one everything is welcome.
        found (`Mapping`, *optional*): The card of features; `None`: they have none.
        both_ways (`bool`, defaults to `False`): Whether features with a card differ from those without.
    """
    if expected is None:
        return [] if found is None or not both_ways else ["no card -> a card"]
    if found is None:
        return ["they have no card (`extract.py card` makes one)"]
    changes = []
    for name in sorted({*expected, *found} - {*OF_VIDEOS, "sources"}):
        was, now = expected.get(name), found.get(name)
        is_name_only = name == "encoder" and "weights" in expected and "weights" in found
        if was != now and not is_name_only:
            changes.append(f"{name}: {_shown(was, now)} -> {_shown(now, was)}")
    theirs, ours = (card.get("sources", []) for card in (expected, found))
    if len(theirs) != len(ours):
        changes.append(f"sources: {len(theirs)} -> {len(ours)}")
    for number, (was, now) in enumerate(zip(theirs, ours, strict=False)):
        changes += [f"source {number}, {change}" for change in card_differences(was, now)]
    return changes


def check_card(expected: Mapping[str, Any] | None, features: VideoFeatures) -> None:
    """
    Raise where features are of another card than a model's.

    Raises:
        FeatureFileError: Names the features and the differences.
    """
    if changes := card_differences(expected, features.card):
        raise FeatureFileError(features.name, f"they are not what the model was trained on: {'; '.join(changes)}.")


def _choose(arrays: Mapping[str, Any], key: str | None, name: str) -> Any:
    """The array of a video among those of its file, or group."""
    names = list(arrays)
    if names == [ONLY]:
        return arrays[ONLY]
    wanted = key if key is not None else USUAL_KEY if USUAL_KEY in names else names[0] if len(names) == 1 else None
    if wanted not in names:
        asked = "not one array alone" if key is None else f"no array {key!r}"
        raise FeatureFileError(
            name, f"there is {asked} in it, but {', '.join(names[:8]) or 'nothing'}; `key` names one."
        )
    return arrays[wanted]


def _named_by_their_videos(files: Mapping[str, Path]) -> dict[str, Path]:
    """Files of a cache are named by the content of videos; their ids are the names of these."""
    named = {}
    for name, path in files.items():
        with _reading(str(path)), safe_open(path, "pt") as file:
            entry = json.loads((file.metadata() or {}).get(ENTRY, "null"))
            if entry is None:
                named[name] = path
            elif not entry["version"] and entry.get("span_se") is None:
                video_id = Path(entry["video"]).stem
                if (other := named.setdefault(video_id, path)) != path:
                    raise FeatureFileError(
                        str(path), f"they are of a video called {video_id}, as those of {other} are."
                    )
    return named


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Faults of a file are told by its name."""
    try:
        yield
    except FeatureFileError:
        raise
    except FAULTS as error:
        raise FeatureFileError(
            name, f"their file is empty, cut, or of another kind ({error or type(error).__name__})."
        ) from error


def _layout_of(path: Path) -> str | None:
    return next((name for name, suffixes in LAYOUTS.items() if path.suffix.lower() in suffixes), None)


def _load_h5py() -> Any:
    try:
        return importlib.import_module("h5py")
    except ImportError as error:
        raise ImportError('Reading HDF5 needs the package h5py: pip install "clipbert[hdf5]"') from error


def _read_json(path: Path) -> dict[str, Any]:
    with _reading(str(path)):
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError(f"expected a JSON mapping, got {type(found).__name__}")
        return found


def _without_videos(card: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if card is None else {name: value for name, value in card.items() if name not in OF_VIDEOS}


def _shown(value: Any, other: Any) -> str:
    """A value of a card; of mappings what differs from the other one."""
    if value is None:
        return "not said"
    if isinstance(value, Mapping):
        other = other if isinstance(other, Mapping) else {}
        value = {name: each for name, each in value.items() if name not in other or other[name] != each}
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _examples(names: Sequence[str]) -> str:
    return f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else ""


__all__ = [
    "CARD",
    "CARD_FILE",
    "LAYOUTS",
    "FeatureFiles",
    "IdCheck",
    "VideoFeatures",
    "card_differences",
    "card_path",
    "check_card",
    "open_arrays",
    "read_features",
]
