# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A model for moments, as an index asks it: when in a part of a video does a sentence happen."""

import os
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from clipbert.pipelines import encode_video
from clipbert.pipelines.encoded_video import EncodedVideo
from clipbert.search.protocols import SearchIndexError, Span
from clipbert.support.fingerprints import compute_fingerprint


class MomentLocator:
    """
    The best moment of a sentence. Keeps the protocol [`Locator`].

    Args:
        model (`PreTrainedModel`): Keeps the contract of moments, and reads frames.
        processor ([`MomentRetrievalProcessor`]): Saved with it.
        name (`str`): Of the checkpoint.
        device (`torch.device` or `str`, *optional*): Where to put the model; by default it stays where it is.
        num_kept (`int`, *optional*, defaults to 64): Parts of videos that stay encoded, so that further sentences do not read the file
            again; those asked for last.

    Raises:
        SearchIndexError: If the model reads features, so that files of videos are nothing to it.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        processor: Any,
        name: str,
        device: torch.device | str | None = None,
        num_kept: int = 64,
    ):
        if model.frame_encoder is None:
            raise SearchIndexError(
                f"{name}: this model reads features that another one has made, and no frames: expected one that was trained on "
                "frames."
            )
        self.model, self.processor, self.name = model.eval(), processor, name
        if device is not None:
            model.to(device)
        self._encoded = lru_cache(num_kept)(self._encode)

    @cached_property
    def fingerprint(self) -> str:
        """32 hexadecimal digits: see `compute_fingerprint`."""
        return compute_fingerprint(self.model, self.processor)

    def locate(self, text: str, path: str | Path, *spans: Span | None) -> tuple[float, float, float]:
        """
        Start and end in seconds from the start of the file, and a score.

        Args:
            text (`str`): The sentence.
            path (`str` or `Path`): The video.
            spans (`Span`): The parts to look at; without any, all of it. The moments of several are compared by the scores in front of the
                soft-max: in a part without the moment, another one is as probable as the right one elsewhere.

        Raises:
            ValueError: If the sentence has no words.
            VideoDecodeError: If the video cannot be read, or ends before a span.
        """
        ranking, state = "unnormalised" if len(spans) > 1 else None, _state_of(path)
        found = []
        for span in spans or (None,):
            encoded = self._encoded(str(path), None if span is None else tuple(span), state)
            ((moment,),) = encoded.locate(text, top_k=1, ranking=ranking)
            found.append(moment)
        best = max(found, key=lambda moment: moment["score"])
        return best["start_s"], best["end_s"], best["score"]

    def _encode(self, path: str, span_se: tuple[float, float] | None, state: tuple[int, int] | None) -> EncodedVideo:
        """`state` is in the key of what is kept: another file of the same name is read anew."""
        return encode_video(self.model, self.processor, path, span_se=span_se)


def _state_of(path: str | Path) -> tuple[int, int] | None:
    """Size and time of a file; none of what lies elsewhere."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


__all__ = ["MomentLocator"]
