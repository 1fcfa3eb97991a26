# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Which model made a vector: a digest of weights, config and processors.

Two that are equal give the same answers. What does not change them is left out: names, folders, the version that saved a file, and the
order of classes in a config. Settings that are as their class has them are left out, too, so that a new release of transformers, which
adds some, makes no stranger of a model.
"""

import hashlib
import json
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


DIGITS = 32
SILENT = frozenset(  # what saving writes into settings
    ("_commit_hash", "_name_or_path", "architectures", "auto_map", "custom_pipelines", "dtype", "name_or_path")
    + ("processor_class", "torch_dtype", "transformers_version")
)
OF_A_CALL = ("padding", "truncation", "version")  # of a fast tokenizer's own file


def compute_fingerprint(model: PreTrainedModel, *processors: Any, **options: Any) -> str:
    """
    The digest of a model and of what prepares its inputs.

    Args:
        model ([`~transformers.PreTrainedModel`]): Its weights and buffers, with their names, types and shapes, and its config count.
        processors: Tokenizers, and what else has `to_dict`: processors of videos, of images, or of both and words.
        options: Further settings that decide what the model sees.

    Returns:
        `str`: 32 hexadecimal digits, the first half of a SHA-256.
    """
    digest = hashlib.sha256()
    settings = {
        "model": [type(model).__name__, settings_of_config(model.config)],
        "processors": [settings_of_processor(processor) for processor in processors],
        "options": [[name, _clean(value)] for name, value in sorted(options.items())],  # `None` may say something
    }
    digest.update(json.dumps(settings, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:DIGITS]


def settings_of_config(config: PreTrainedConfig) -> dict[str, Any]:
    """What a config says otherwise than its class, and those within it likewise."""
    settings = config.to_diff_dict()
    for name in settings:
        if isinstance(part := getattr(config, name, None), PreTrainedConfig):
            settings[name] = settings_of_config(part)
    return _clean(settings)


def settings_of_processor(processor: Any) -> list[Any]:
    """The options of a processor, and of the tokenizer in it, if there is one."""
    if isinstance(processor, PreTrainedTokenizerBase):
        return [type(processor).__name__, _settings_of_tokenizer(processor)]
    settings = [type(processor).__name__, _clean(processor.to_dict())]
    tokenizer = getattr(processor, "tokenizer", None)
    return settings if tokenizer is None else [*settings, settings_of_processor(tokenizer)]


def _settings_of_tokenizer(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    options = {name: getattr(tokenizer, name) for name in ("model_max_length", "padding_side", "truncation_side")}
    options["special"] = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    if tokenizer.is_fast:
        rules = json.loads(tokenizer.backend_tokenizer.to_str())
        return options | {"rules": {name: rule for name, rule in rules.items() if name not in OF_A_CALL}}
    plain = {name: value for name, value in tokenizer.init_kwargs.items() if isinstance(value, (bool, int, float))}
    return options | {"vocabulary": tokenizer.get_vocab(), "rules": _clean(plain)}


def _clean(settings: Any) -> Any:
    """As JSON has it, without what says nothing."""
    if isinstance(settings, dict):
        kept = {str(name): value for name, value in settings.items() if name not in SILENT and value is not None}
        return {name: _clean(value) for name, value in kept.items()}
    return [_clean(value) for value in settings] if isinstance(settings, (list, tuple)) else settings


__all__ = ["compute_fingerprint", "settings_of_config", "settings_of_processor"]
