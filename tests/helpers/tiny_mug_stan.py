# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Mug-STAN models of every kind of CLIP, small enough for every test, with videos and texts for them."""

import torch
from text_ends import clip_tokenizer
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

from clipbert.modeling_mug_stan import MugSTANConfig, MugSTANForVideoTextRetrieval


IMAGE_SIZE, PATCH_SIZE, VOCABULARY, END = 24, 8, 99, 98
CLIPS = ("altclip", "chinese_clip", "clip", "metaclip_2", "open_clip_coca", "siglip")


def tiny_clip(model_type="clip", num_layers=4, **sections):
    """The config of a CLIP of four layers; `vision_config` and `text_config` change parts of it."""
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": num_layers, "num_attention_heads": 2}
    vision = {**tower, "image_size": IMAGE_SIZE, "patch_size": PATCH_SIZE}
    text = {
        **tower,
        "num_hidden_layers": 2,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 20,
        "bos_token_id": 97,
        "eos_token_id": END,
        "pad_token_id": 1,
    }
    if model_type in ("altclip", "chinese_clip"):
        text |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    if model_type == "altclip":
        text |= {"project_dim": 12, "max_position_embeddings": 24}
    if model_type == "siglip":
        text |= {"projection_size": 16}
    projection = {} if model_type == "siglip" else {"projection_dim": 12}
    if model_type == "open_clip_coca":
        text |= {"pad_token_id": 0}
        projection |= {"pooler_num_heads": 2, "pooler_num_queries": 3}
    vision |= sections.get("vision_config", {})
    text |= sections.get("text_config", {})
    return {"model_type": model_type, "vision_config": vision, "text_config": text, **projection}


def write_clip(folder):
    """A CLIP from random weights, as a folder of the Hub has it."""
    tokenizer = clip_tokenizer(20)
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": 0}
    torch.manual_seed(0)
    CLIPModel(CLIPConfig(**tiny_clip(text_config={"vocab_size": len(tokenizer), **ends}))).save_pretrained(folder)
    sizes = {"size": {"shortest_edge": IMAGE_SIZE}, "crop_size": {"height": IMAGE_SIZE, "width": IMAGE_SIZE}}
    CLIPImageProcessor(**sizes).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny_config(clip="clip", **fields):
    clip = tiny_clip(clip) if isinstance(clip, str) else clip
    return MugSTANConfig(**{"clip_config": clip, "stan_num_layers": 2, **fields})


def tiny_model(model_class=MugSTANForVideoTextRetrieval, clip="clip", seed=0, **fields):
    """A model in evaluation mode of which no weight is 0 or as it was drawn, so that every mistake would show."""
    torch.manual_seed(seed)
    config = tiny_config(clip, **fields)
    model = model_class(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            is_table = "embedding" in name or "probe" in name
            parameter.add_(torch.randn_like(parameter) * (0.3 if is_table else 0.1))
        if config.clip_config.model_type == "chinese_clip":  # transformers sets this row to 0 whenever it loads one
            words = model.base_model.clip.text_model.embeddings.word_embeddings
            words.weight[words.padding_idx] = 0
    return model


def tiny_videos(*shape, size=IMAGE_SIZE, seed=0):
    """Frames of the shape `(videos, frames)` or `(videos, views, frames)`."""
    return torch.randn(*shape, 3, size, size, generator=torch.Generator().manual_seed(seed))


def tiny_texts(lengths, padded_to=None, seed=0):
    """Texts of so many tokens, start and end among them, and their mask."""
    length, generator = padded_to or max(lengths), torch.Generator().manual_seed(seed)
    input_ids = torch.randint(5, 90, (len(lengths), max(lengths)), generator=generator)
    input_ids = torch.nn.functional.pad(input_ids, (0, length - max(lengths)))
    mask = (torch.arange(length) < torch.tensor(lengths)[:, None]).long()
    input_ids[:, 0] = 97
    input_ids[torch.arange(len(lengths)), torch.tensor(lengths) - 1] = END
    return input_ids.masked_fill(mask == 0, 1), mask
