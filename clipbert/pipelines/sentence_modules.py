# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Models that match texts with videos, as modules of sentence-transformers. A published checkpoint names one of them in `modules.json`:

    model = SentenceTransformer("user/name", trust_remote_code=True)     # a model that has vectors of texts and videos
    model.similarity(model.encode(["a dog runs"]), model.encode(["one.mp4", "two.mp4"]))

    model = CrossEncoder("user/name", trust_remote_code=True)            # a model that reads a text and a video together
    model.rank("a dog runs", ["one.mp4", "two.mp4"])                     # the scores of the pipeline `video-text-retrieval`

The modules that sentence-transformers has would take the same files, but they join a text and a video of a cross encoder by a
chat template, and take a path that ends in `.webm` for a sentence.

Nothing here is imported by the rest of the package: sentence-transformers is an extra.
"""

import os
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from sentence_transformers.base.modules import InputModule
from transformers import AutoModelForSequenceClassification, AutoProcessor, PreTrainedModel, ProcessorMixin


URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://\S+")
VIDEO_SUFFIXES = (
    (".3g2", ".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov")
    + (".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv")
)  # fmt: skip


class VideoTextModule(InputModule):
    r"""
    A model with its processor.

    A text is a `str`. A video is what the processor takes: a path, a URL, bytes, an open file, an array or tensor of shape `(frames,
    height, width, 3)` or `(frames, 3, height, width)`, or `{"array": frames, "video_metadata": {"fps": ...}}`. A `str` is a video if
    it is a URL, or ends like the file of a video; `{"text": ...}` and `{"video": ...}` say what it is, and are the only way for a list
    of PIL images.

    Args:
        model (`PreTrainedModel`): A model for retrieval.
        processor (`ProcessorMixin`): Makes its inputs.
    """

    config_file_name = "sentence_bert_config.json"  # MTEB looks there for the modalities of a model on the Hub
    config_keys = ["modality_config"]
    modality_config = {"text": {}, "video": {}}

    def __init__(self, model: PreTrainedModel, processor: ProcessorMixin):
        super().__init__()
        self.model, self.processor = model, processor

    @property
    def modalities(self) -> list[str]:
        return list(self.modality_config)

    @property
    def tokenizer(self):
        return self.processor.tokenizer

    @abstractmethod
    def preprocess(
        self, inputs: Sequence[Any], prompt: str | None = None, processing_kwargs: Mapping[str, Any] | None = None
    ) -> dict[str, torch.Tensor]:
        """
        Prepare a batch.

        Args:
            inputs (`Sequence`): See the class.
            prompt (`str`, *optional*): What stands before every text.
            processing_kwargs (`dict`, *optional*): Options of the processor for this call: `{"video": {"num_frames": 8}, "text": {...}}`.

        Raises:
            ValueError: If there is something else among the inputs than belongs there.
            FileNotFoundError: If a `str` ends like the file of a video and is none.
            VideoDecodeError: If a video cannot be read; the message names it.
        """

    def read_texts(
        self, texts: Sequence[str], prompt: str | None, options: Mapping[str, Any]
    ) -> dict[str, torch.Tensor]:
        """Tokens and their mask."""
        return dict(self.processor(text=[(prompt or "") + text for text in texts], **options.get("text", {})))

    def read_videos(self, videos: Sequence[Any], options: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Frames, and which clips exist where the processor says so."""
        wrapped = [isinstance(video, Mapping) and "array" in video for video in videos]
        given = dict(options.get("video", {}))
        if any(wrapped):
            pairs = list(zip(videos, wrapped, strict=True))
            given["video_metadata"] = [
                video.get("video_metadata") if is_wrapped else None for video, is_wrapped in pairs
            ]
            videos = [video["array"] if is_wrapped else video for video, is_wrapped in pairs]
        found = self.processor(videos=list(videos), **given)
        return {name: found[name] for name in ("pixel_values", "clip_mask") if name in found}

    def encode_texts(self, features: Mapping[str, torch.Tensor]) -> Any:
        encoded = self.model.encode_texts(features["input_ids"], features["attention_mask"])
        if isinstance(encoded, Mapping):
            encoded = {name: values for name, values in encoded.items() if values is not None}
        return encoded

    def encode_videos(self, features: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return self.model.encode_videos(features["pixel_values"].to(self.model.dtype), **mask_of(features))

    @classmethod
    def load(
        cls,
        model_name_or_path: str,
        subfolder: str = "",
        token: bool | str | None = None,
        cache_folder: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        trust_remote_code: bool = False,
        model_kwargs: Mapping[str, Any] | None = None,
        processor_kwargs: Mapping[str, Any] | None = None,
        config_kwargs: Mapping[str, Any] | None = None,
        backend: str = "torch",
    ) -> "VideoTextModule":
        """What sentence-transformers calls; see `SentenceTransformer` and `CrossEncoder`."""
        if backend != "torch":
            raise ValueError(f"This model runs in torch alone, got backend={backend!r}: leave it out.")
        hub = {
            "subfolder": subfolder,
            "token": token,
            "cache_dir": cache_folder,
            "revision": revision,
            "local_files_only": local_files_only,
            "trust_remote_code": trust_remote_code,
        }
        own = {**(config_kwargs or {}), **(model_kwargs or {})}
        model = AutoModelForSequenceClassification.from_pretrained(model_name_or_path, **hub, **own)
        return cls(model, AutoProcessor.from_pretrained(model_name_or_path, **hub, **(processor_kwargs or {})))

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Model and processor, with the code that they came with; its pipeline stays with the published checkpoint."""
        self.model.config.__dict__.pop("custom_pipelines", None)
        self.model.save_pretrained(output_path)
        self.processor.save_pretrained(output_path)
        self.save_config(output_path)


class VideoTextEncoder(VideoTextModule):
    """
    One vector of length 1 for each text or video, of a model that has `vectors`: the first module of a `SentenceTransformer`.

    Their products are the similarity in [-1, 1] of a model that compares one vector with one. Of a model that compares words with
    frames, they are what it takes a first shortlist by.
    """

    @cached_property
    def width(self) -> int:
        with torch.inference_mode():
            features = {name: values.to(self.model.device) for name, values in self.preprocess(["a"]).items()}
            return self(features)["sentence_embedding"].shape[-1]

    def get_embedding_dimension(self) -> int:
        return self.width

    def preprocess(
        self,
        inputs: Sequence[Any],
        prompt: str | None = None,
        processing_kwargs: Mapping[str, Any] | None = None,
        task: str | None = None,
    ) -> dict[str, torch.Tensor]:
        """Texts alone, or videos alone; see [`VideoTextModule.preprocess`]. Queries and documents (`task`) are read alike."""
        kinds, values = zip(*map(sort_input, inputs), strict=True)
        if len(set(kinds)) > 1:
            raise ValueError("Got texts and videos in one batch: encode them in two calls.")
        options = processing_kwargs or {}
        return self.read_texts(values, prompt, options) if kinds[0] == "text" else self.read_videos(values, options)

    def forward(self, features: dict[str, torch.Tensor], **kwargs: Any) -> dict[str, torch.Tensor]:
        encoded = self.encode_texts(features) if "input_ids" in features else self.encode_videos(features)
        return {**features, "sentence_embedding": self.model.vectors(encoded)}


class VideoTextScorer(VideoTextModule):
    """
    A score for each pair of a text and a video, in this order or the other: the only module of a `CrossEncoder`.

    It is the log-odds that they belong together, pooled over the clips: larger fits better; it is no probability. Every video of a batch
    is read and encoded once.
    """

    def preprocess(
        self, inputs: Sequence[Any], prompt: str | None = None, processing_kwargs: Mapping[str, Any] | None = None
    ) -> dict[str, torch.Tensor]:
        """Pairs; see [`VideoTextModule.preprocess`]."""
        pairs, options = [sort_pair(pair) for pair in inputs], processing_kwargs or {}
        keys = [str(video) if isinstance(video, str | os.PathLike) else id(video) for _, video in pairs]
        videos = {key: video for key, (_, video) in zip(keys, pairs, strict=True)}
        rows = {key: row for row, key in enumerate(videos)}
        words = self.read_texts([text for text, _ in pairs], prompt, options)
        video_indices = torch.tensor([rows[key] for key in keys])
        return {**words, **self.read_videos(list(videos.values()), options), "video_indices": video_indices}

    def forward(self, features: dict[str, torch.Tensor], **kwargs: Any) -> dict[str, torch.Tensor]:
        texts, videos = self.encode_texts(features), self.encode_videos(features)
        outputs = self.model.match(texts, videos, features["video_indices"], **mask_of(features))
        return {**features, "scores": outputs.match_odds[:, None]}


def mask_of(features: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: features[name] for name in ("clip_mask",) if name in features}


def sort_pair(pair: Any) -> tuple[str, Any]:
    """The text and the video of a pair."""
    sorted_pair = dict(map(sort_input, pair)) if isinstance(pair, list | tuple) and len(pair) == 2 else {}
    if sorted_pair.keys() != {"text", "video"}:
        raise ValueError(f"Expected a pair of a text and a video, got {pair!r:.200}.")
    return sorted_pair["text"], sorted_pair["video"]


def sort_input(value: Any) -> tuple[str, Any]:
    """`"text"` or `"video"`, and the text or the video."""
    if isinstance(value, Mapping) and len(value) == 1:
        ((kind, value),) = value.items()
        if kind not in VideoTextModule.modality_config:
            raise ValueError(f'Expected {{"text": ...}} or {{"video": ...}}, got the key {kind!r}.')
        return kind, value
    return ("text" if isinstance(value, str) and not names_video(value) else "video"), value


def names_video(text: str) -> bool:
    """
    Whether a `str` is the address of a video, and no sentence.

    Raises:
        FileNotFoundError: If it ends like the file of a video and is none: its letters would be taken for a sentence.
    """
    if URL.fullmatch(text):
        return True
    if not text.lower().endswith(VIDEO_SUFFIXES):
        return False
    if not os.path.isfile(text):
        raise FileNotFoundError(f'{text}: no such file. If it is a sentence, pass {{"text": ...}}.')
    return True


__all__ = ["VideoTextEncoder", "VideoTextModule", "VideoTextScorer"]
