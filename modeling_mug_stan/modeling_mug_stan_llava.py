# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
A LLaVA that sees videos, without training (section IV of the paper, "STAN-LLaVA").

LLaVA reads the patches of CLIP one layer before the end. A branch that was trained beside the same CLIP stands beside
LLaVA's own tower here, and a video is one picture to the language model: the mean of CLIP's patches over the frames, and
the mean of the branch's, added. The paper shows conversations alone and released no code; this is what BT-Adapter, to which
its author refers, does without training.

    pixel_values (V, T, 3, S, S)
          |  LLaVA's CLIP, frame by frame
          |---- its last layers but one ---> branch
    mean over frames (V, 1+L, D)  +  mean over frames (V, 1+L, D)
          |  LLaVA's projector, without the class token
    (V, L, width of the language model), in the place of as many <image> tokens

Letters: V videos, T frames, L patches, D width of the vision tower, N its layers.
"""

import torch
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForImageTextToText,
    CLIPVisionModel,
    LlavaForConditionalGeneration,
    LlavaModel,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.clip.modeling_clip import CLIPPreTrainedModel
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

from .configuration_mug_stan_llava import MugSTANLlavaConfig
from .stan_mug_stan import STANBranch
from .towers_mug_stan import ClassTokenTower, read_branches, read_vision_tower


class MugSTANVisionTower(CLIPPreTrainedModel):
    """
    The tower of a LLaVA with branches beside it. Images pass CLIP alone, as before.

    Args:
        config ([`MugSTANLlavaConfig`]): Settings.
    """

    main_input_name = "pixel_values"
    input_modalities = ("image", "video")
    _no_split_modules = [
        *CLIPPreTrainedModel._no_split_modules,
        "STANJointLayer",
        "STANSpatialLayer",
        "STANTemporalConv",
        "STANTemporalSelfAttention",
    ]

    def __init__(self, config):
        super().__init__(config.vision_config)
        self.clip = CLIPVisionModel._from_config(config.vision_config)
        layers = self.clip.encoder.layers
        self.branches = nn.ModuleList(
            STANBranch(config.stan_config, layers, read) for read in config.stan_config.layers_read
        )
        self.pooling = config.video_pooling
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module):
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()

    def forward(self, pixel_values, output_hidden_states=True, interpolate_pos_encoding=False, **kwargs):
        """
        Read images or videos.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(images, 3, height, width)` or `(videos, frames, 3, height, width)`):
                As LLaVA's processor makes them.
            output_hidden_states (`bool`, `int` or `list[int]`): All layers, or those that are wanted; 0 is what goes into
                the first.
            interpolate_pos_encoding (`bool`, *optional*, defaults to `False`): Take frames of another size.

        Returns:
            [`BaseModelOutputWithPooling`] with `hidden_states` `(images or videos, 1+L, D)`, `None` where they are not wanted.

        Raises:
            ValueError: If the shape is another.
        """
        if pixel_values.ndim == 4:
            return self.clip(
                pixel_values,
                interpolate_pos_encoding=interpolate_pos_encoding,
                output_hidden_states=output_hidden_states,
                **kwargs,
            )
        if pixel_values.ndim != 5 or pixel_values.shape[2] != 3 or 0 in pixel_values.shape:
            raise ValueError(
                "pixel_values must have the shape (videos, frames, 3, height, width), or (images, 3, height, width), none of "
                f"them empty; got {tuple(pixel_values.shape)}."
            )
        (num_videos, num_frames), size = pixel_values.shape[:2], pixel_values.shape[-2:]
        count = len(self.clip.encoder.layers) + 1
        wanted = range(count) if output_hidden_states is True else output_hidden_states
        wanted = {level % count for level in ([wanted] if isinstance(wanted, int) else wanted)}
        # 1. every frame through CLIP, once: what is wanted, and what the branches read on the way
        read = {layer for branch in self.branches for layer in branch.layers if layer <= max(wanted)}
        states = read_vision_tower(self.clip, pixel_values.flatten(0, 1), wanted | read, interpolate_pos_encoding)
        states = {level: state.unflatten(0, (num_videos, num_frames)) for level, state in states.items()}
        # 2. one picture for each video
        levels = tuple(self._pool(states, level, size) if level in wanted else None for level in range(count))
        return BaseModelOutputWithPooling(last_hidden_state=levels[-1], hidden_states=levels)

    def _pool(self, states, level, size):
        """Tokens `(V, 1+L, D)` of videos behind a layer: of CLIP, and of the branches that have begun by then."""
        tokens = states[level].mean(dim=1)
        branches = [branch for branch in self.branches if branch.layers[0] <= level]
        if branches:
            until = {layer: state for layer, state in states.items() if layer <= level}
            video, patches = read_branches(
                branches, ClassTokenTower, self.clip, until, *size
            )  # (V, 1, D), (V, T, L, D)
            tokens = tokens + torch.cat([video, patches.mean(dim=1)], dim=1)
        return tokens / (1 + len(branches)) if self.pooling == "average" else tokens


class MugSTANLlavaModel(LlavaModel):
    """LLaVA without its language modelling head, whose tower takes videos."""

    config: MugSTANLlavaConfig

    def __init__(self, config):
        super(LlavaModel, self).__init__(config)  # which has another tower
        self.vision_tower = MugSTANVisionTower(config)
        self.multi_modal_projector = LlavaMultiModalProjector(config)
        self.language_model = AutoModel.from_config(config.text_config)
        self.post_init()

    def get_placeholder_mask(self, input_ids, inputs_embeds, image_features):
        """As in LLaVA, with an error that says how many places there must be."""
        if input_ids is not None and not torch.compiler.is_compiling():
            found, needed = (input_ids == self.config.image_token_id).sum().item(), image_features.shape[:-1].numel()
            if found != needed:
                raise ValueError(
                    f"The prompts have {found} image tokens (id {self.config.image_token_id}), but {needed} are needed for "
                    "what they show. A video, pixel_values of the shape (videos, frames, 3, height, width), needs as many as "
                    "one image, for which LLaVA's processor writes them."
                )
        return super().get_placeholder_mask(input_ids, inputs_embeds, image_features)


class MugSTANLlavaForConditionalGeneration(LlavaForConditionalGeneration):
    """
    A LLaVA that sees videos. `pixel_values` of five dimensions are videos, of four images, as before.

    `merge_into_llava` makes one. The language model can be given a video in three ways, with the same result:
    `pixel_values`; what `get_image_features(pixel_values)` returns, as `mm_encoder_outputs={"image": ...}`, which an unmerged
    LLaVA takes too; what `embed` returns, as `inputs_embeds`.

    Example:
        >>> from transformers import AutoModelForImageTextToText, AutoProcessor
        >>> import clipbert

        >>> model = AutoModelForImageTextToText.from_pretrained("llava-that-sees-videos")  # doctest: +SKIP
        >>> processor = AutoProcessor.from_pretrained("llava-that-sees-videos")  # doctest: +SKIP
        >>> prompt = "USER: <image>\\nWhat happens? ASSISTANT:"
        >>> inputs = processor(images=frames[0], text=prompt, return_tensors="pt")  # doctest: +SKIP
        >>> video = processor.image_processor(images=frames, return_tensors="pt")["pixel_values"][None]  # doctest: +SKIP
        >>> model.generate(**{**inputs, "pixel_values": video}, max_new_tokens=50)  # doctest: +SKIP
    """

    config: MugSTANLlavaConfig

    def __init__(self, config):
        super(LlavaForConditionalGeneration, self).__init__(config)
        self.model = MugSTANLlavaModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()

    def embed(self, input_ids, pixel_values=None, shown=None):
        """
        Prompts as the language model reads them, with what they show in its places.

        Args:
            input_ids (`torch.LongTensor` of shape `(prompts, length)`): Prompts with image tokens.
            pixel_values (*optional*): See [`MugSTANVisionTower`].
            shown (`list[torch.FloatTensor]`, *optional*):
                In its place, the `pooler_output` of `get_image_features`, where a video is asked about more than once.

        Returns:
            `torch.FloatTensor` of shape `(prompts, length, width)`.
        """
        shown = self.get_image_features(pixel_values).pooler_output if shown is None else shown
        words = self.get_input_embeddings()(input_ids)
        shown = torch.cat(list(shown)).to(words.device, words.dtype)
        return words.masked_scatter(self.model.get_placeholder_mask(input_ids, words, shown), shown)


AutoModelForImageTextToText.register(MugSTANLlavaConfig, MugSTANLlavaForConditionalGeneration, exist_ok=True)


# ---------------------------------------------------------------------------------------------------------------------
# Merging
# ---------------------------------------------------------------------------------------------------------------------

_SAME = {
    "hidden_size": "width",
    "patch_size": "patch",
    "num_hidden_layers": "layers",
    "num_attention_heads": "heads",
    "intermediate_size": "width of the MLP",
    "hidden_act": "activation",
}


def merge_into_llava(llava, mug_stan, video_pooling="sum"):
    """
    Give a LLaVA eyes for video: the branch of a Mug-STAN beside its vision tower. Nothing is trained.

    The parts of `llava` become parts of the new model, not copies; the branch is copied. The tower and its positions stay
    those of LLaVA, which may be for larger pictures (336 pixels) than the branch was trained on.

    Args:
        llava ([`~transformers.LlavaForConditionalGeneration`]): A LLaVA with a CLIP, such as `"llava-hf/llava-1.5-7b-hf"`.
        mug_stan ([`MugSTANPreTrainedModel`]): Trained beside the same CLIP; any head.
        video_pooling (`str`, *optional*, defaults to `"sum"`): See [`MugSTANLlavaConfig`].

    Returns:
        [`MugSTANLlavaForConditionalGeneration`].

    Raises:
        ValueError: If it is another tower, which is said in what, or LLaVA reads nothing that the branch has to say.

    Example:
        >>> from transformers import LlavaForConditionalGeneration
        >>> from clipbert import MugSTANModel, merge_into_llava

        >>> llava = LlavaForConditionalGeneration.from_pretrained("llava-hf/llava-1.5-7b-hf")  # doctest: +SKIP
        >>> model = merge_into_llava(llava, MugSTANModel.from_pretrained("mug-stan-l14"))  # doctest: +SKIP
        >>> model.save_pretrained("llava-that-sees-videos")  # doctest: +SKIP
    """
    _check_same_tower(llava, mug_stan.config)
    parts, branches = llava.model, mug_stan.base_model.branches
    settings = llava.config.to_dict()
    for name in ("architectures", "model_type", "transformers_version", "dtype"):
        settings.pop(name, None)
    config = MugSTANLlavaConfig(
        **settings
        | {
            "vision_config": parts.vision_tower.config,  # that and no copy: its attention is what is set here
            "text_config": parts.language_model.config,
            "stan_config": mug_stan.config.to_dict(),
            "video_pooling": video_pooling,
            "dtype": llava.config.dtype,
        }
    )
    with torch.device("meta"):
        merged = MugSTANLlavaForConditionalGeneration(config)
    merged.lm_head, model = llava.lm_head, merged.model
    model.language_model, model.multi_modal_projector = parts.language_model, parts.multi_modal_projector
    tower, like = model.vision_tower, parts.vision_tower.embeddings.class_embedding
    tower.clip = parts.vision_tower
    tower.branches.to_empty(device=like.device).to(like.dtype).load_state_dict(branches.state_dict())
    merged.generation_config = llava.generation_config
    return merged.train(llava.training)


def _check_same_tower(llava, config):
    if type(llava) is not LlavaForConditionalGeneration:
        raise ValueError(f"Expected a LlavaForConditionalGeneration without a branch, got a {type(llava).__name__}.")
    theirs, clip = llava.config.vision_config, config.clip_config
    if (theirs.model_type, clip.model_type) != ("clip_vision_model", "clip"):
        raise ValueError(
            f"A branch that stands beside a {clip.model_type!r} does not fit a LLaVA with a {theirs.model_type!r}: both have to "
            "be CLIP."
        )
    other = [
        f"{word} {getattr(theirs, name)} (the branch's: {getattr(clip.vision_config, name)})"
        for name, word in _SAME.items()
        if getattr(theirs, name) != getattr(clip.vision_config, name)
    ]
    if other:
        raise ValueError(
            f"The vision tower of this LLaVA is another than the branch was trained beside: {', '.join(other)}. LLaVA-1.5 has "
            "CLIP ViT-L/14."
        )
    if config.fusion != "branch":
        raise ValueError(f"A branch with fusion={config.fusion!r} takes the place of CLIP, whose patches LLaVA reads.")
    levels, count = llava.config.vision_feature_layer, theirs.num_hidden_layers + 1
    last = max(level % count for level in ([levels] if isinstance(levels, int) else levels))
    if not any(layers[0] <= last for layers in config.layers_read):
        raise ValueError(
            f"This LLaVA reads layer {last} (vision_feature_layer={levels}), where the branch has said nothing yet: it reads the "
            f"layers {config.layers_read or 'of none'}."
        )


__all__ = [
    "MugSTANLlavaForConditionalGeneration",
    "MugSTANLlavaModel",
    "MugSTANVisionTower",
    "merge_into_llava",
]
