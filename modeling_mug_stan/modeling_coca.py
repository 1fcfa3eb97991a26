# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
The vision and text encoders of CoCa: "CoCa: Contrastive Captioners are Image-Text Foundation Models"
(https://arxiv.org/abs/2205.01917), which the paper of Mug-STAN uses beside CLIP (table VII).

transformers has no CoCa. The layers of open_clip's are those of CLIP with other names, so they are CLIP's here; what is
its own is how pictures are pooled (attention over class token and patches) and where a text ends (a class token behind 76
words). open_clip is needed for nothing but reading its checkpoints; the caption decoder is left out.

Letters: I images, L patches, D width of the vision tower, A texts, n words, P width of the space that both share.
"""

import os
import re

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoModel, CLIPTextConfig, CLIPVisionModel
from transformers import initialization as init
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.clip.modeling_clip import CLIPEncoder, CLIPPreTrainedModel, CLIPTextEmbeddings

from .configuration_coca import CoCaConfig


class CoCaPooler(nn.Module):
    """What attention reads from the tokens of a picture (`attn_pool`, `ln_post` and `proj` of open_clip)."""

    def __init__(self, config):
        super().__init__()
        width, size = config.vision_config.hidden_size, config.projection_dim
        self.query = nn.Parameter(torch.randn(config.pooler_num_queries, size))
        self.layer_norm_q = nn.LayerNorm(size)
        self.attention = nn.MultiheadAttention(size, config.pooler_num_heads, kdim=width, vdim=width, batch_first=True)
        self.layer_norm = nn.LayerNorm(size)
        self.projection = nn.Linear(size, size, bias=False)

    def read(self, tokens, num_queries):
        """Tokens `(I, 1+L, D)` after the last norm to the first so many vectors `(I, queries, P)` of a picture."""
        query = self.layer_norm_q(self.query[:num_queries]).expand(len(tokens), -1, -1)
        return self.layer_norm(self.attention(query, tokens, tokens, need_weights=False)[0])

    def forward(self, tokens):
        # queries do not see each other, so the other 255, which captions are made of, are not computed
        return self.projection(self.read(tokens, 1)[:, 0])  # (I, P)


class CoCaPreTrainedModel(CLIPPreTrainedModel):
    """Weight initialisation of what is CoCa's own."""

    config_class = CoCaConfig
    base_model_prefix = "coca"

    @classmethod
    def is_custom_code(cls):
        # whether layers without own parameters are passed over, which are CLIP's attention and MLP: they have rules
        return False

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, CoCaPooler):
            init.normal_(module.query)
            init.normal_(module.projection.weight, std=module.query.shape[1] ** -0.5)
        elif isinstance(module, CoCaTextModel):
            init.normal_(module.class_embedding, std=0.01)
        elif isinstance(module, CoCaModel):
            init.normal_(module.text_projection.weight, std=module.config.text_config.hidden_size**-0.5)


class CoCaTextModel(CoCaPreTrainedModel):
    """The text tower. Texts are padded to their full length, behind which the class token stands."""

    config_class = CLIPTextConfig
    input_modalities = ("text",)
    _input_embed_layer = "token_embedding"

    def __init__(self, config):
        super().__init__(config)
        self.embeddings = CLIPTextEmbeddings(config)
        self.class_embedding = nn.Parameter(torch.zeros(config.hidden_size))  # its position, always the last, included
        self.encoder = CLIPEncoder(config)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    def forward(self, input_ids, attention_mask=None):
        """
        Args:
            input_ids (`torch.LongTensor` of shape `(A, n)`), attention_mask (`torch.Tensor` of the same shape, *optional*):
                Texts. Without a mask padding is what open_clip's tokenizer pads with.

        Returns:
            [`BaseModelOutputWithPooling`]: `last_hidden_state` of the shape `(A, n, width)` and `pooler_output`, both after
            the last norm.
        """
        config, length = self.config, input_ids.shape[1]
        missing = (0, config.max_position_embeddings - length)
        is_word = input_ids != config.pad_token_id if attention_mask is None else attention_mask.bool()
        padded = F.pad(input_ids.masked_fill(~is_word, config.pad_token_id), missing, value=config.pad_token_id)
        states = self.embeddings(padded)
        states = torch.cat([states, self.class_embedding.expand(len(states), 1, -1)], dim=1)  # (A, 77, width)
        # as it was trained: the mask of padding lies one place too far to the right, so the class token sees the start, the
        # words and the first place behind them
        is_seen = F.pad(F.pad(is_word, missing), (1, 0), value=True)
        mask = create_causal_mask(config, states, is_seen, None)
        states = self.encoder(inputs_embeds=states, attention_mask=mask, is_causal=True).last_hidden_state
        states = self.final_layer_norm(states)
        return BaseModelOutputWithPooling(last_hidden_state=states[:, :length], pooler_output=states[:, -1])


class CoCaModel(CoCaPreTrainedModel):
    """
    CoCa without its caption decoder: features of images and texts.

    The last norm of the vision tower is that which the pooling begins with (`attn_pool.ln_k`).
    """

    def __init__(self, config):
        super().__init__(config)
        self.vision_model = CLIPVisionModel._from_config(config.vision_config)
        self.text_model = CoCaTextModel._from_config(config.text_config)
        self.visual_projection = CoCaPooler(config)
        self.text_projection = nn.Linear(config.text_config.hidden_size, config.projection_dim, bias=False)
        self.post_init()

    def get_image_features(self, pixel_values, interpolate_pos_encoding=False):
        """
        Features of images `(I, 3, height, width)`.

        Returns:
            [`BaseModelOutputWithPooling`]: `pooler_output` `(I, P)`, and all that the pooling reads in `last_hidden_state`
            `(I, queries, P)`: the first before its projection, then the tokens for captions.
        """
        outputs = self.vision_model(pixel_values, interpolate_pos_encoding=interpolate_pos_encoding)
        tokens = self.vision_model.post_layernorm(outputs.last_hidden_state)
        read = self.visual_projection.read(tokens, self.config.pooler_num_queries)
        return BaseModelOutputWithPooling(last_hidden_state=read, pooler_output=self.visual_projection(tokens))

    def get_text_features(self, input_ids, attention_mask=None):
        """Features of texts, see [`CoCaTextModel`]; `pooler_output` `(A, P)` is projected."""
        outputs = self.text_model(input_ids, attention_mask)
        outputs.pooler_output = self.text_projection(outputs.pooler_output)
        return outputs


AutoModel.register(CoCaConfig, CoCaModel, exist_ok=True)


# ---------------------------------------------------------------------------------------------------------------------
# Checkpoints of open_clip
# ---------------------------------------------------------------------------------------------------------------------

OPEN_CLIP_TAG = "laion2b_s13b_b90k"  # what the paper takes

_NAMES = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre": "vision_model.pre_layrnorm",
    "visual.transformer.resblocks": "vision_model.encoder.layers",
    "visual.attn_pool.ln_k": "vision_model.post_layernorm",
    "visual.attn_pool.ln_q": "visual_projection.layer_norm_q",
    "visual.attn_pool.query": "visual_projection.query",
    "visual.attn_pool.attn": "visual_projection.attention",
    "visual.ln_post": "visual_projection.layer_norm",
    "visual.proj": "visual_projection.projection.weight",
    "text.token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "text.transformer.resblocks": "text_model.encoder.layers",
    "text.ln_final": "text_model.final_layer_norm",
    "text.text_projection": "text_projection.weight",
}
_LAYER_NAMES = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_LAYER = re.compile(r"(.+_model\.encoder\.layers\.\d+)\.(.+)\.(weight|bias)")


def is_unread(name):
    """Whether a tensor of open_clip is none of the encoders: it makes captions, or is the scale of CoCa's own loss."""
    return name.startswith(("text_decoder.", "logit_scale", "logit_bias"))


def names_open_clip(name):
    """Whether `name` is that of a CoCa of open_clip, such as `"coca_ViT-B-32/laion2b_s13b_b90k"`, and no folder."""
    return str(name).startswith("coca_") and not os.path.isdir(name)


def find_open_clip(name):
    """
    What a name says.

    Args:
        name (`str`): A model of open_clip and, behind a slash, a tag of its weights or the path of a file.

    Returns:
        The package, the name of the model, and the tag or path.

    Raises:
        ImportError: If open_clip is missing.
        ValueError: If it has no such model or weights.
    """
    try:
        import open_clip
    except ImportError as error:
        raise ImportError(f"{name!r} is a model of open_clip: pip install 'clipbert[coca]'.") from error
    architecture, _, weights = str(name).partition("/")
    weights, tags = weights or OPEN_CLIP_TAG, open_clip.list_pretrained_tags_by_model(architecture)
    if architecture not in open_clip.list_models():
        known = [model for model in open_clip.list_models() if model.startswith("coca_")]
        raise ValueError(f"open_clip has no model {architecture!r}; its CoCas are {', '.join(known)}.")
    if weights not in tags and not os.path.isfile(weights):
        raise ValueError(
            f"open_clip has no weights {weights!r} for {architecture}, and there is no such file. Known are "
            f"{', '.join(tags) or 'none'}: write {architecture}/TAG."
        )
    return open_clip, architecture, weights


def open_open_clip(name, load_weights=True):
    """A CoCa as open_clip makes it, with its weights or without memory for them; `name` as for [`find_open_clip`]."""
    open_clip, architecture, weights = find_open_clip(name)
    if load_weights:
        return open_clip.create_model(architecture, pretrained=weights, require_pretrained=True)
    settings = {key: value for key, value in open_clip.get_model_config(architecture).items() if key != "custom_text"}
    with torch.device("meta"):
        return open_clip.CoCa(**settings)


def config_from_open_clip(coca):
    """
    The config of a CoCa of open_clip.

    Raises:
        ValueError: If its parts are others than those of its published models.
    """
    vision, text = coca.visual, coca.text
    pooler = getattr(vision, "attn_pool", None)
    has_known_parts = (
        pooler is not None
        and getattr(vision, "attn_pool_contrastive", None) is None
        and getattr(text, "cls_emb", None) is not None
        and text.attn_mask is not None
        and not text.correct_cls_mask
        and vision.image_size[0] == vision.image_size[1]
        and vision.patch_size[0] == vision.patch_size[1]
    )
    if not has_known_parts:
        raise ValueError(
            "This CoCa is built of other parts than coca_ViT-B-32 and coca_ViT-L-14: expected square pictures, one attention "
            "pooling, and a causal text tower with a class token behind the words."
        )
    return CoCaConfig(
        vision_config={
            **_sizes(vision.transformer, vision.ln_pre),
            "image_size": vision.image_size[0],
            "patch_size": vision.patch_size[0],
            "projection_dim": vision.output_dim,
        },
        text_config={
            **_sizes(text.transformer, text.ln_final),
            "vocab_size": text.vocab_size,
            "max_position_embeddings": text.context_length,
            "projection_dim": text.output_dim,
            "pad_token_id": text.pad_id,
            "bos_token_id": text.vocab_size - 2,
            "eos_token_id": text.vocab_size - 1,
        },
        projection_dim=vision.output_dim,
        pooler_num_queries=len(pooler.query),
        pooler_num_heads=pooler.attn.num_heads,
    )


def _sizes(transformer, norm):
    layer = transformer.resblocks[0]
    return {
        "hidden_size": transformer.width,
        "intermediate_size": layer.mlp.c_fc.out_features,
        "num_hidden_layers": len(transformer.resblocks),
        "num_attention_heads": layer.attn.num_heads,
        "hidden_act": "quick_gelu" if type(layer.mlp.gelu).__name__ == "QuickGELU" else "gelu",
        "layer_norm_eps": norm.eps,
    }


@torch.no_grad()
def coca_from_open_clip(coca):
    """
    The encoders of a CoCa of open_clip, with its weights.

    Args:
        coca (`open_clip.coca_model.CoCa`): As `open_clip.create_model("coca_ViT-B-32", ...)` makes it.

    Returns:
        [`CoCaModel`], in evaluation mode.

    Raises:
        ValueError: If it is built of other parts, or has tensors that these do not have.
    """
    state = {name: tensor for name, tensor in coca.state_dict().items() if not is_unread(name)}
    model = CoCaModel(config_from_open_clip(coca))
    positions, token = state.pop("text.positional_embedding"), state.pop("text.cls_emb")
    own = {
        "text_model.embeddings.position_embedding.weight": positions[:-1],
        "text_model.class_embedding": token + positions[-1],
    }
    for name, tensor in state.items():
        part = next((part for part in _NAMES if name == part or name.startswith(f"{part}.")), None)
        place = name if part is None else _NAMES[part] + name.removeprefix(part)
        if place in ("visual_projection.projection.weight", "text_projection.weight"):
            tensor = tensor.T
        if found := re.fullmatch(r"(.+)\.attn\.in_proj_(weight|bias)", place):
            for key, third in zip("qkv", tensor.chunk(3), strict=True):
                own[f"{found[1]}.self_attn.{key}_proj.{found[2]}"] = third
            continue
        if found := _LAYER.fullmatch(place):
            place = f"{found[1]}.{_LAYER_NAMES.get(found[2], found[2])}.{found[3]}"
        own[place] = tensor
    wrong = sorted(own.keys() ^ model.state_dict().keys())
    if wrong:
        raise ValueError(f"This CoCa has other tensors than coca_ViT-B-32 and coca_ViT-L-14: {', '.join(wrong[:5])}.")
    model.load_state_dict(own)
    return model.eval()


__all__ = [
    "CoCaModel",
    "CoCaPooler",
    "CoCaPreTrainedModel",
    "CoCaTextModel",
    "coca_from_open_clip",
    "config_from_open_clip",
    "find_open_clip",
    "is_unread",
    "names_open_clip",
    "open_open_clip",
]
