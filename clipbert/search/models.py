# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
How a name becomes a model of an index.

A name is the folder of a run, of which the best checkpoint is taken, the folder of a checkpoint, or a name on the Hub. What it turns
into follows from its config alone; no code of a checkpoint is run.

    matches texts with videos, has vectors (Mug-STAN)     [`MatchingEncoder`]     encoder, reranker
    matches texts with videos (ClipBERT)                  [`MatchingReader`]      reranker
    a tower for texts and one for images (CLIP, ...)      [`TowerEncoder`]        encoder
    finds moments (CI-MHA)                                [`MomentLocator`]       locator
"""

import os
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import (
    MODEL_MAPPING,
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoTokenizer,
    PreTrainedConfig,
)

from clipbert.loading import HUB_OPTIONS
from clipbert.processing.option_checks import refuse_unknown_options
from clipbert.search.matching import MatchingReader, build_matching
from clipbert.search.moments import MomentLocator
from clipbert.search.protocols import Encoder, Locator, Reranker, SearchIndexError, keeps
from clipbert.search.towers import TowerEncoder
from clipbert.support.families import find_checkpoint, has_family, load_trained


OF_LOADING = (*HUB_OPTIONS, "dtype", "attn_implementation")
TOWERS = ("get_image_features", "get_video_features")
EXPECTED = {
    Encoder: "as encoder a model with vectors of texts and videos: a Mug-STAN, a CLIP, SigLIP or X-CLIP",
    Reranker: "as reranker a model that matches texts with videos: a ClipBERT or Mug-STAN for retrieval",
    Locator: "as locator a model that finds moments: a CI-MHA that reads frames",
}
Name = str | os.PathLike


class SearchModels(NamedTuple):
    """The models of an index, `None` where there is none for a stage."""

    encoder: Encoder | None
    reranker: Reranker | None
    locator: Locator | None


def load_encoder(encoder: Name | Encoder, **options: Any) -> Encoder:
    """
    The model that makes vectors.

    Args:
        encoder (`str`, `os.PathLike` or [`Encoder`]): A name; what keeps the protocol already comes back unchanged.
        options: `device`; `dtype`, `revision`, `token` and the like; `num_frames`, and of our families all options of the processor, such
            as `num_clips`.

    Raises:
        SearchIndexError: If there is no such checkpoint, it cannot be loaded, or is one of another kind.
        TypeError: If there is no such option; the message has the nearest one.
    """
    return _load_as(Encoder, encoder, options)


def load_reranker(reranker: Name | Reranker, **options: Any) -> Reranker:
    """The model that says how well a text fits a video; arguments and errors as of `load_encoder`."""
    return _load_as(Reranker, reranker, options)


def load_locator(locator: Name | Locator, **options: Any) -> Locator:
    """The model that says when something happens; arguments and errors as of `load_encoder`, without options of processors."""
    return _load_as(Locator, locator, options)


def load_models(
    encoder: Name | Encoder | Reranker | None = None,
    reranker: Name | Reranker | None = None,
    locator: Name | Locator | None = None,
    **options: Any,
) -> SearchModels:
    """
    The models of an index.

    A model without vectors, such as ClipBERT, may be given as encoder where there is no reranker: it becomes that. One that is both is
    loaded once.

    Args:
        encoder, reranker, locator (*optional*): See `load_encoder`, `load_reranker` and `load_locator`.
        options: `device`, `dtype`, `revision` and the like, of all of them. Models with other options are loaded before.

    Raises:
        SearchIndexError: If one of them cannot be loaded, or does not do what is asked of it.
    """
    if isinstance(encoder, Name):
        loaded = load_model(encoder, **options)
        is_same = isinstance(reranker, Name) and os.fspath(reranker) == os.fspath(encoder)
        encoder, reranker = loaded, loaded if is_same else reranker
    if reranker is None and keeps(Reranker, encoder) and not keeps(Encoder, encoder):
        encoder, reranker = None, encoder
    return SearchModels(
        None if encoder is None else load_encoder(encoder),
        None if reranker is None else load_reranker(reranker, **options),
        None if locator is None else load_locator(locator, **options),
    )


def load_model(
    name: Name, device: torch.device | str | None = None, **options: Any
) -> MatchingReader | TowerEncoder | MomentLocator:
    """
    A checkpoint as what it is, see above; on an accelerator, if there is one and `device` names no other place.

    Raises:
        SearchIndexError: If there is none of these.
        TypeError: If there is no such option.
    """
    if device is None:
        device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
    loading = {option: options.pop(option) for option in OF_LOADING if option in options}
    hub_options = {option: loading.pop(option) for option in HUB_OPTIONS if option in loading}
    try:
        checkpoint = find_checkpoint(name)
        model_type = PreTrainedConfig.get_config_dict(checkpoint, **hub_options)[0].get("model_type")
        if not has_family(model_type or ""):
            return _load_towers(checkpoint, str(name), device, hub_options, loading, options)
        AutoConfig.for_model(model_type)  # its family is registered
        model, processor = load_trained(checkpoint, hub_options=hub_options, **loading)
    except SearchIndexError:
        raise
    except (OSError, ValueError) as error:
        where = "" if Path(name).exists() else f"no such folder in {Path.cwd()}. As for the Hub: "
        raise SearchIndexError(f"{name}: {where}{str(error).splitlines()[0]}") from error
    if hasattr(model, "match_moments"):
        refuse_unknown_options(options, ["num_kept"], "a locator")
        return MomentLocator(model, processor, str(name), device, **options)
    if not hasattr(model, "match"):
        raise SearchIndexError(f"{name}: {type(model).__name__} cannot be used for search. {_list_expected()}")
    video_processor = processor.video_processor
    known = set(video_processor.valid_kwargs.__annotations__) - set(video_processor.call_options)
    refuse_unknown_options(options, {*known, "block_size"}, type(video_processor).__name__)
    return build_matching(model, processor, str(name), device=device, **options)


def _load_towers(
    checkpoint: str,
    name: str,
    device: Any,
    hub_options: dict[str, Any],
    loading: dict[str, Any],
    options: dict[str, Any],
) -> TowerEncoder:
    found = {"trust_remote_code": False, **hub_options}
    config = AutoConfig.from_pretrained(checkpoint, **found)
    model_class = MODEL_MAPPING.get(type(config), None)
    if not hasattr(model_class, "get_text_features") or not any(hasattr(model_class, tower) for tower in TOWERS):
        what = getattr(model_class, "__name__", config.model_type)
        raise SearchIndexError(f"{name}: {what} cannot be used for search. {_list_expected()}")
    refuse_unknown_options(options, ["num_frames"], model_class.__name__)
    model, report = AutoModel.from_pretrained(checkpoint, output_loading_info=True, **found, **loading)
    if report["missing_keys"]:
        raise SearchIndexError(
            f"{name}: {len(report['missing_keys'])} weights of {model_class.__name__} are not in the checkpoint, such as "
            f"{min(report['missing_keys'])}: expected all of both towers."
        )
    image_processor = AutoImageProcessor.from_pretrained(checkpoint, **found)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint, **found)
    return TowerEncoder(model, image_processor, tokenizer, name, device, **options)


def _load_as(kind: type, given: Any, options: dict[str, Any]) -> Any:
    model = load_model(given, **options) if isinstance(given, Name) else given
    if keeps(kind, model):
        return model
    name, what = getattr(model, "name", given), type(getattr(model, "model", model)).__name__
    why = ""
    if kind is Encoder and keeps(Reranker, model):
        why = f"{what} reads text and video together and has no vectors: it can order a shortlist, as reranker. "
    raise SearchIndexError(f"{name}: {why}Expected {EXPECTED[kind]}; got {what}.")


def _list_expected() -> str:
    return f"Expected {'; '.join(EXPECTED.values())}."


__all__ = ["SearchModels", "load_encoder", "load_locator", "load_model", "load_models", "load_reranker"]
