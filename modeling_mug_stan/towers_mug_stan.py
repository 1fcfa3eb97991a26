# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
What a STAN branch wants to know about the CLIP that it stands beside.

The towers themselves are those of transformers, untouched. Two kinds are known: with a class token in front of the
patches (CLIP, MetaCLIP 2, Chinese-CLIP, AltCLIP), and with patches that a head pools (SigLIP). CoCa has both.
"""

import torch
import torch.nn.functional as F
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_MAPPING

from .configuration_mug_stan import CLASS_TOKEN_CLIPS, POOLED_PATCH_CLIPS
from .modeling_coca import (
    CoCaModel,
    coca_from_open_clip,
    config_from_open_clip,
    is_unread,
    names_open_clip,
    open_open_clip,
)


def build_clip(clip_config):
    """A CLIP with random weights, in the precision that is set for the model that holds it."""
    return _clip_class(clip_config)._from_config(clip_config, dtype=torch.get_default_dtype())


def _clip_class(clip_config):
    # by its name: code from the Hub may hold a config class twice, of which one is registered
    return CoCaModel if clip_config.model_type == "open_clip_coca" else MODEL_MAPPING[type(clip_config)]


class ClassTokenTower:
    """CLIP, MetaCLIP 2, Chinese-CLIP and AltCLIP. A frame is its class token, `num_class_tokens` stands in front."""

    num_class_tokens, pools_patches = 1, False

    @staticmethod
    def feature_size(clip_config):
        """P, the width of the space that frames and words share."""
        return clip_config.projection_dim

    @staticmethod
    def start(vision_model, positions):
        """What the class token of a branch begins with beside that of CLIP (section 1.2 of the code): `(1, D)`."""
        return vision_model.embeddings.class_embedding + positions[:1]

    @staticmethod
    def pool(clip, tokens):
        """Tokens `(frames, 1 + patches, D)` of the last layer to features `(frames, P)`."""
        return clip.visual_projection(clip.vision_model.post_layernorm(tokens[:, 0]))

    @staticmethod
    def encode_text(clip, config, input_ids, attention_mask):
        """Features `(texts, length, P)` of words and their mask, and `(texts, P)` of texts (section 2)."""
        outputs = clip.get_text_features(input_ids=input_ids, attention_mask=attention_mask)
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        return clip.text_projection(outputs.last_hidden_state), mask, outputs.pooler_output

    @staticmethod
    def text_modules(clip):
        return [clip.text_model, clip.text_projection]

    @staticmethod
    def vision_modules(clip):
        return [clip.vision_model, clip.visual_projection]


class PooledPatchTower:
    """SigLIP: no class token, a frame is what an attention head pools from its patches."""

    num_class_tokens, pools_patches = 0, True

    @staticmethod
    def feature_size(clip_config):
        return clip_config.vision_config.hidden_size

    @staticmethod
    def start(vision_model, positions):
        return positions[:0]

    @staticmethod
    def pool(clip, tokens):
        return clip.vision_model.head(clip.vision_model.post_layernorm(tokens))

    @staticmethod
    def encode_text(clip, config, input_ids, attention_mask):
        """
        SigLIP reads texts that are padded to its full length, padding included, and its text vector is that of the last
        place: shorter rows are padded, and no mask reaches the tower.
        """
        text_config, length = clip.config.text_config, input_ids.shape[1]
        pad = text_config.pad_token_id if config.text_pad_token_id is None else config.text_pad_token_id
        missing = text_config.max_position_embeddings - length
        if missing > 0:
            input_ids = F.pad(input_ids, (0, missing), value=pad)
        outputs = clip.get_text_features(input_ids=input_ids)
        mask = torch.ones_like(input_ids[:, :length]) if attention_mask is None else attention_mask
        return clip.text_model.head(outputs.last_hidden_state[:, :length]), mask, outputs.pooler_output

    @staticmethod
    def text_modules(clip):
        return [clip.text_model]

    @staticmethod
    def vision_modules(clip):
        return [clip.vision_model]


class CoCaTower(ClassTokenTower):
    """CoCa: an attention reads a frame from its class token and patches, so the branch is added to all of them."""

    pools_patches = True

    @staticmethod
    def pool(clip, tokens):
        return clip.visual_projection(clip.vision_model.post_layernorm(tokens))

    @staticmethod
    def encode_text(clip, config, input_ids, attention_mask):
        """
        A text has a class token behind its words, which is its vector, and one more word for Mug. Padding is what
        `attention_mask` says, whatever the tokenizer pads with; without a mask it is what open_clip pads with.
        """
        if attention_mask is None:
            attention_mask = (input_ids != clip.config.text_config.pad_token_id).long()
        outputs = clip.get_text_features(input_ids=input_ids, attention_mask=attention_mask)
        words, pooled = clip.text_projection(outputs.last_hidden_state), outputs.pooler_output
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        ends = ((places + 1) * attention_mask.bool()).amax(dim=1)  # (texts,): the place behind the last word
        is_class = F.one_hot(ends, input_ids.shape[1] + 1).bool()
        words = F.pad(words, (0, 0, 0, 1)).where(~is_class[..., None], pooled[:, None].to(words.dtype))
        return words, F.pad(attention_mask, (0, 1)).masked_fill(is_class, 1), pooled


def longest_text(text_config):
    """How many tokens of a text have a position."""
    longest = text_config.max_position_embeddings
    if text_config.model_type == "altclip_text_model":  # an XLM-R, which counts from behind its padding token
        longest -= text_config.pad_token_id + 1
    return longest


TOWERS = {
    **dict.fromkeys(CLASS_TOKEN_CLIPS, ClassTokenTower),
    **dict.fromkeys(POOLED_PATCH_CLIPS, PooledPatchTower),
    "open_clip_coca": CoCaTower,
}


def find_clip(name):
    """
    A pretrained model of images and texts: its config at once, its weights when they are asked for.

    Args:
        name (`str` or `os.PathLike`): On the Hub, a folder, or a CoCa of open_clip (`"coca_ViT-B-32/laion2b_s13b_b90k"`).

    Returns:
        `PreTrainedConfig`, and a function without arguments that returns the model and the names of unused tensors.
    """
    if names_open_clip(name):

        def load_open_clip():
            coca = open_open_clip(name)
            return coca_from_open_clip(coca), [key for key in coca.state_dict() if is_unread(key)]

        return config_from_open_clip(open_open_clip(name, load_weights=False)), load_open_clip

    config = AutoConfig.from_pretrained(name)

    def load():
        model, found = _clip_class(config).from_pretrained(
            name, config=config, dtype=torch.get_default_dtype(), output_loading_info=True
        )
        if missing := sorted(found["missing_keys"]):
            some = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
            raise ValueError(f"{str(name)!r} lacks {len(missing)} tensors of a {config.model_type}: {some}.")
        config.name_or_path = ""  # where it lay is nothing to the model that it becomes a part of
        return model, found["unexpected_keys"]

    return config, load


def read_vision_tower(vision_model, frames, layers, interpolate_pos_encoding=False):
    """
    The outputs of some layers of the vision tower; others are not kept.

    Args:
        vision_model (`PreTrainedModel`): The tower.
        frames (`torch.FloatTensor` of shape `(frames, 3, height, width)`): As the processor makes them.
        layers (`Iterable[int]`): Which, counted from 1; 0 is what goes into the first.
        interpolate_pos_encoding (`bool`): Take frames of another size than the positions are for.

    Returns:
        `dict[int, torch.FloatTensor]` of shape `(frames, tokens, D)`: before the last norm.
    """
    wanted = sorted(set(layers))
    outputs = vision_model(
        pixel_values=frames, interpolate_pos_encoding=interpolate_pos_encoding, output_hidden_states=wanted
    )
    return {layer: outputs.hidden_states[layer] for layer in wanted}


def read_branches(branches, tower, vision_model, states, height, width):
    """
    What branches say of videos, summed.

    Args:
        branches (`Sequence[STANBranch]`): One at least.
        tower (`type`): Of [`TOWERS`].
        vision_model (`PreTrainedModel`): The tower that they stand beside.
        states (`dict[int, torch.FloatTensor]` of shape `(R, T, C+L, D)`): Outputs of its layers.
        height, width (`int`): Of the frames.

    Returns:
        Class tokens `(R, C, D)` and patches `(R, T, L, D)`.
    """
    patch, some = vision_model.embeddings.patch_size, next(iter(states.values()))
    positions = vision_positions(vision_model, some[:, 0], height, width)  # (C+L, D)
    start = tower.start(vision_model, positions)  # (C, D)
    read = [branch(states, start, positions, (height // patch, width // patch)) for branch in branches]
    video, patches = (sum(part[1:], start=part[0]) for part in zip(*read, strict=True))
    return video, patches


def vision_positions(vision_model, tokens, height, width):
    """The position table `(tokens, D)` of the vision tower, for frames of any size."""
    embeddings = vision_model.embeddings
    if (height, width) == (embeddings.image_size, embeddings.image_size):
        return embeddings.position_embedding.weight
    return embeddings.interpolate_pos_encoding(tokens[:1], height, width)[0]


__all__ = [
    "TOWERS",
    "ClassTokenTower",
    "CoCaTower",
    "PooledPatchTower",
    "build_clip",
    "find_clip",
    "longest_text",
    "read_branches",
    "read_vision_tower",
    "vision_positions",
]
