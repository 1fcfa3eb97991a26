# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Mug-STAN: "Mug-STAN: Adapting Image-Language Pretrained Models for General Video Understanding"
(https://arxiv.org/abs/2311.15075), with the branch of its predecessor (CVPR 2023).

A CLIP sees every frame by itself. Beside its vision tower stands a branch of spatial-temporal layers, STAN, that reads the
tower's intermediate layers and sees the whole video; what it finds is added to every frame. Words and frames then guide
each other, Mug: words choose the frames that they speak of, frames the words that speak of them.

    pixel_values (V, N, T, 3, S, S)                       input_ids (A, n)
          |  vision tower, frame by frame                      |  text tower
          |---- layers 9, 10, 11, 12 ---> STAN                 |
    class tokens (V*N, T, D)  +  (V*N, 1, D)                   |
          |  last norm, projection                             |  projection
    frame_features (V, N, T, P)                           token_features (A, n, P)
          +--------------- cosines, Mug -----------------------+
                    (A, V, N), pooled over views
                    similarity (A, V)

What is unusual: the towers are those of transformers, untouched; without a branch the model is plain CLIP, bit for bit.
Any number of frames is taken. Nothing says which frame belongs to which word: Mug has no parameters.

Letters: V videos, N views of a video (clips, crops), T frames, S x S pixels, A texts, n words, D width of the vision
tower, P of the space that frames and words share, R = V * N rows, C classes.
"""

import re
from collections import Counter

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import roi_align
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import logging
from transformers.utils.generic import can_return_tuple

from .checks_mug_stan import (
    check_boxes,
    check_features,
    check_frames,
    check_integers,
    check_pairs,
    check_shape,
    check_texts,
    listed,
    paired,
    to_six_dimensions,
    values_are_known,
)
from .configuration_mug_stan import MugSTANConfig
from .guidance_mug_stan import (
    FrameFeatures,
    TextFeatures,
    at_least_float32,
    contrastive_loss,
    cosines,
    guide_embeddings,
    mutual_guidance,
    pool_views,
    same_words,
    score_all_pairs,
    score_pairs,
)
from .outputs_mug_stan import (
    MugSTANActionDetectionOutput,
    MugSTANExplanation,
    MugSTANModelOutput,
    MugSTANRetrievalOutput,
    MugSTANTextOutput,
    MugSTANVideoClassifierOutput,
    MugSTANVideoOutput,
)
from .stan_mug_stan import STANBranch
from .towers_mug_stan import TOWERS, build_clip, find_clip, longest_text, read_branches, read_vision_tower


logger = logging.get_logger(__name__)


# ---------------------------------------------------------------------------------------------------------------------
# Models
# ---------------------------------------------------------------------------------------------------------------------


class MugSTANPreTrainedModel(PreTrainedModel):
    """Weight initialisation and what transformers needs to know about every Mug-STAN model."""

    config: MugSTANConfig
    base_model_prefix = "mug_stan"
    main_input_name = "input_ids"
    input_modalities = ["video", "text"]
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = False
    _no_split_modules = ["STANJointLayer", "STANSpatialLayer", "STANTemporalConv", "STANTemporalSelfAttention"]
    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = _supports_attention_backend = True
    _can_compile_fullgraph = True

    def __init__(self, config, *args, **kwargs):
        config.validate()  # values may have been assigned since it was made
        super().__init__(config, *args, **kwargs)

    @classmethod
    def from_pretrained(cls, *args, output_loading_info=False, **kwargs):
        """
        As for every model of transformers. What is frozen is frozen here too: loading puts new parameters into a model, all
        of them trained.
        """
        model, info = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        model.freeze()
        return (model, info) if output_loading_info else model

    @classmethod
    def from_clip_pretrained(cls, clip, output_loading_info=False, **config):
        """
        A model around a pretrained CLIP. Spatial layers start as copies of the CLIP layers that they read; all else in the
        branches is new. The towers are those of this checkpoint: sizes come from its own config.

        Args:
            clip (`str` or `os.PathLike`): Name on the Hub or folder of a model of images and texts, such as
                `"openai/clip-vit-base-patch16"`; or a CoCa of open_clip with the tag of its weights,
                `"coca_ViT-B-32/laion2b_s13b_b90k"` (the extra `coca`).
            output_loading_info (`bool`, *optional*, defaults to `False`):
                Return a dict as well: names of the weights that were `"loaded"` (of CLIP), are `"new"`, and are
                `"unused"` in the checkpoint.
            **config: Fields of [`MugSTANConfig`].

        Raises:
            ValueError: If it is no model that a branch can stand beside, or lacks tensors.

        Example:
            >>> from clipbert import MugSTANForVideoTextRetrieval
            >>> model = MugSTANForVideoTextRetrieval.from_clip_pretrained(
            ...     "openai/clip-vit-base-patch16"
            ... )  # doctest: +SKIP
        """
        clip_config, load = find_clip(clip)
        own_config = cls.config_class(clip_config=clip_config, **config)  # refuses what it does not know
        pretrained, unused = load()
        model = cls(own_config)
        base = model.base_model
        base.clip.load_state_dict(pretrained.state_dict())
        base.copy_clip_layers()
        loaded = sorted(f"clip.{name}" for name in pretrained.state_dict())
        known = {*loaded, *(cls._keys_to_ignore_on_load_missing or ())}  # the latter are set, not learnt
        new = sorted(
            name for name in model.state_dict() if name.removeprefix(f"{cls.base_model_prefix}.") not in known
        )
        info = {"loaded": loaded, "new": new, "unused": sorted(unused)}
        logger.warning(
            f"{cls.__name__} from {str(clip)!r}: {len(loaded)} tensors of {clip_config.model_type} loaded, {len(new)} of "
            f"branches and heads are new, {len(info['unused'])} of the checkpoint unused"
            f"{': ' + listed(info['unused']) if info['unused'] else ''}."
        )
        model.eval()  # as `from_pretrained` leaves it
        return (model, info) if output_loading_info else model

    def freeze(self):
        """Freeze what the config and the task freeze. For a model whose parameters were replaced or set free."""
        self.base_model.freeze()

    def set_frozen(self, towers):
        """
        Keep these towers of CLIP as they are, and train the rest.

        Args:
            towers (`Sequence[str]`): Of `"text"` and `"vision"`; none: both are trained.
        """
        base, config = self.base_model, self.config
        config.freeze_text, config.freeze_vision = "text" in towers, "vision" in towers
        base.is_text_frozen = self.freezes_text
        base.clip.requires_grad_(True).train(self.training)
        self.freeze()

    @property
    def freezes_text(self):
        """Whether the text tower stays as it is, by the config and the task."""
        return bool(self.config.freeze_text)

    def get_input_embeddings(self):
        return self.base_model.clip.text_model.get_input_embeddings()

    def set_input_embeddings(self, value):
        self.base_model.clip.text_model.set_input_embeddings(value)

    @torch.no_grad()
    def initialize_weights(self):
        """As for every model; new spatial layers then take the weights of the CLIP layers that they read."""
        bases = [module for module in self.modules() if isinstance(module, MugSTANModel)]
        new = [
            part
            for base in bases
            for branch in base.branches
            for part in branch.spatial_layers.modules()
            if not getattr(part, "_is_hf_initialized", False)
        ]
        for base in bases:
            # by itself: as a part of another model its rules for layers without own parameters are skipped
            base.clip.initialize_weights()
            scale = getattr(base.config.clip_config, "logit_scale_init_value", None)
            if scale is not None:  # which CLIP itself leaves to its constructor
                init.constant_(base.clip.logit_scale, scale)
        super().initialize_weights()
        for base in bases if new else []:
            base.copy_clip_layers(new)

    @torch.no_grad()
    def _init_weights(self, module):
        # CLIP has its own. Of what is ours every layer starts as torch makes it, as in the official code, or says how.
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()

    # What can be done with texts and videos, for every head -----------------------------------------------------------

    def encode_video(self, pixel_values, interpolate_pos_encoding=False, output_tokens=False):
        """
        Features of videos.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(videos, views, frames, 3, height, width)`):
                Frames as the processor makes them. Five dimensions mean one view each, four mean one image each.
            interpolate_pos_encoding (`bool`, *optional*, defaults to `False`):
                Take frames of another size than CLIP was trained on.
            output_tokens (`bool`, *optional*, defaults to `False`): Return the tokens of frames and branches, too.

        Returns:
            [`MugSTANVideoOutput`].

        Raises:
            ValueError: If the shape or type is another, or a value is not finite.
        """
        return self.base_model.encode_video(pixel_values, interpolate_pos_encoding, output_tokens)

    def encode_text(self, input_ids, attention_mask=None):
        """
        Features of texts.

        Args:
            input_ids (`torch.LongTensor` of shape `(texts, length)`): Tokens.
            attention_mask (`torch.Tensor` of shape `(texts, length)`, *optional*): 1 for tokens, 0 for padding.

        Returns:
            [`MugSTANTextOutput`].

        Raises:
            ValueError: If shapes do not fit each other, or a text has no token.
        """
        return self.base_model.encode_text(input_ids, attention_mask)

    def similarity(self, texts, videos):
        """
        How well every text fits every video, by `config.similarity`, pooled over views.

        Args:
            texts ([`MugSTANTextOutput`] or `dict`): What `encode_text` or `encode_texts` returned.
            videos ([`MugSTANVideoOutput`] or `torch.FloatTensor`): What `encode_video` or `encode_videos` returned.

        Returns:
            `torch.FloatTensor` of shape `(texts, videos)`, in [-1, 1].
        """
        return self.base_model.similarity(texts, videos)

    def explain(self, texts, videos, video_indices=None):
        """
        Which frames the words of texts speak of.

        Args:
            texts, videos: As for `similarity`.
            video_indices (`torch.LongTensor` of shape `(texts,)`, *optional*):
                The video of each text; without it text `i` is paired with video `i`.

        Returns:
            [`MugSTANExplanation`].
        """
        return self.base_model.explain(texts, videos, video_indices)

    def attention_maps(self, pixel_values):
        """
        What the class token of the branch looks at, in its last layer: the mean over heads, and over branches (figure 9).

        Args:
            pixel_values (`torch.FloatTensor`): See `encode_video`.

        Returns:
            `torch.FloatTensor` of shape `(videos, views, frames, rows, columns)`; `None` without a branch, or where the tower
            has no class token.
        """
        return self.base_model.attention_maps(pixel_values)


class MugSTANModel(MugSTANPreTrainedModel):
    """
    CLIP with STAN branches and a similarity of words and frames, without a task.

    Example:
        >>> import torch
        >>> from clipbert import MugSTANConfig, MugSTANModel

        >>> tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 2}
        >>> clip = {
        ...     "model_type": "clip",
        ...     "projection_dim": 16,
        ...     "vision_config": {**tower, "image_size": 32, "patch_size": 8},
        ...     "text_config": {**tower, "vocab_size": 99, "eos_token_id": 98},
        ... }
        >>> model = MugSTANModel(MugSTANConfig(clip_config=clip)).eval()
        >>> videos = model.encode_video(torch.zeros(2, 5, 3, 32, 32))  # two videos of five frames
        >>> texts = model.encode_text(torch.tensor([[97, 12, 98]]))
        >>> tuple(videos.frame_features.shape), tuple(model.similarity(texts, videos).shape)
        ((2, 5, 16), (1, 2))
    """

    def __init__(self, config):
        super().__init__(config)
        self.tower = TOWERS[config.clip_config.model_type]
        self.clip = build_clip(config.clip_config)  # held, not inherited from: it initialises itself
        self.branches = nn.ModuleList(STANBranch(config, self.clip_layers, layers) for layers in config.layers_read)
        size = self.tower.feature_size(config.clip_config)
        self.word_weight = self.frame_weight = None
        if config.similarity.startswith("wti"):
            self.word_weight, self.frame_weight = nn.Linear(size, 1), nn.Linear(size, 1)
        self.feature_size = size  # P
        self.is_text_frozen, self.is_projection_unused = self.freezes_text, False
        self.trains_by_mean = False  # whether training compares the mean of the frames, whatever the config says
        self.post_init()
        self.freeze()

    @property
    def clip_layers(self):
        """The layers of the vision tower."""
        return self.clip.vision_model.encoder.layers

    @torch.no_grad()
    def copy_clip_layers(self, parts=None):
        """Give spatial layers the weights of the CLIP layers that they read; of all, or of some parts of them."""
        parts = None if parts is None else {id(part) for part in parts}
        for branch in self.branches:
            for own, theirs in branch.copied_layers(self.clip_layers):
                sources = dict(theirs.named_modules())
                for name, part in own.named_modules():
                    if parts is None or id(part) in parts:
                        for key, parameter in part.named_parameters(recurse=False):
                            if parts is None:
                                parameter.copy_(getattr(sources[name], key))
                            else:  # not what was read from a checkpoint
                                init.copy_(parameter, getattr(sources[name], key))

    def frozen_parts(self):
        """Parts of CLIP that are kept as they are."""
        text = self.tower.text_modules(self.clip) if self.is_text_frozen else []
        vision = self.tower.vision_modules(self.clip) if self.config.freeze_vision else []
        return [*text, *vision]

    def freeze(self):
        """Stop the training of `frozen_parts`, and of what is never used: the scale and bias of CLIP's own loss."""
        for part in self.frozen_parts():
            part.requires_grad_(False).eval()
        for name, parameter in self.clip.named_parameters():
            is_unused = self.is_projection_unused and name.startswith(("visual_projection.", "vision_model.head."))
            if is_unused or name in ("logit_scale", "logit_bias"):
                parameter.requires_grad_(False)

    def train(self, mode=True):
        super().train(mode)
        for part in self.frozen_parts():
            part.eval()
        return self

    def encode_video(self, pixel_values, interpolate_pos_encoding=False, output_tokens=False):
        """See [`MugSTANPreTrainedModel.encode_video`]."""
        views = to_six_dimensions(pixel_values)
        check_frames(views, self.clip.vision_model.embeddings, interpolate_pos_encoding)
        rows = self._encode_rows(views.flatten(0, 1), interpolate_pos_encoding, output_tokens)
        rows = {name: value.unflatten(0, views.shape[:2]) for name, value in rows.items()}
        if pixel_values.ndim < 6:
            rows = {name: value[:, 0] for name, value in rows.items()}
        return MugSTANVideoOutput(pooler_output=rows["frame_features"].flatten(1, -2).mean(dim=1), **rows)

    def _encode_rows(self, videos, interpolate_pos_encoding, output_tokens):
        # videos: (R, T, 3, S, S)
        clip, tower = self.clip, self.tower
        num_class, last = tower.num_class_tokens, len(self.clip_layers)
        # 1. every frame through the vision tower, once; what it says at the levels that are read
        layers = {last, *(layer for branch in self.branches for layer in branch.layers)}
        states = read_vision_tower(clip.vision_model, videos.flatten(0, 1), layers, interpolate_pos_encoding)
        states = {layer: state.unflatten(0, videos.shape[:2]) for layer, state in states.items()}  # (R, T, C+L, D)
        tokens = states[last]
        # 2. the branches, summed
        video = patches = None
        if self.branches:
            video, patches = read_branches(self.branches, tower, clip.vision_model, states, *videos.shape[-2:])
            tokens = self._fuse(tokens, video, patches, output_tokens or tower.pools_patches)
        # 3. features of frames
        features = tower.pool(clip, tokens.flatten(0, 1)).unflatten(0, videos.shape[:2])  # (R, T, P)
        outputs = {"frame_features": features}
        if output_tokens:
            outputs["last_hidden_state"] = tokens
            if video is not None and num_class:
                outputs["stan_class_state"] = video[:, 0]
            if patches is not None:
                outputs["stan_patch_states"] = patches
        return outputs

    def _fuse(self, tokens, video, patches, with_patches):
        """Equation 10: tokens `(R, T, C+L, D)` of frames and branch together; class tokens alone where they are enough."""
        num_class, num_frames = video.shape[1], tokens.shape[1]

        def join(clip, branch):
            if self.config.fusion == "posterior":
                return branch
            gate = self.branches[0].fusion_gate
            return clip + branch if gate is None else gate(clip, branch)

        classes = join(tokens[:, :, :num_class], video[:, None].expand(-1, num_frames, -1, -1))
        if not with_patches:
            return classes
        frames = tokens[:, :, num_class:]
        patches = frames if self.config.fuse_patches is False else join(frames, patches)
        return torch.cat([classes, patches], dim=2)

    def encode_text(self, input_ids, attention_mask=None):
        """See [`MugSTANPreTrainedModel.encode_text`]."""
        text_config = self.config.clip_config.text_config
        check_texts(input_ids, attention_mask, text_config.vocab_size, longest_text(text_config))
        tokens, mask, pooled = self.tower.encode_text(self.clip, self.config, input_ids, attention_mask)
        return MugSTANTextOutput(token_features=tokens, attention_mask=mask, pooler_output=pooled)

    def _texts(self, texts):
        """What `encode_text` returned, as the similarity reads it."""
        check_features("texts", texts, ("token_features", "attention_mask", "pooler_output"), (3,), self.feature_size)
        tokens, mask = texts["token_features"], texts["attention_mask"].bool()
        weights = None
        if self.word_weight is not None:
            scores = at_least_float32(self.word_weight(tokens)[..., 0])
            weights = scores.masked_fill(~mask, -torch.inf).softmax(dim=-1)
        return TextFeatures(tokens, mask, texts["pooler_output"], weights)

    def _frames(self, videos):
        """What `encode_video` or `encode_videos` returned, as `(V, N, T, P)` and as weights `(V, N, T)`, if there are."""
        videos = {"frame_features": videos} if isinstance(videos, torch.Tensor) else videos
        check_features("videos", videos, ("frame_features",), (3, 4), self.feature_size)
        frames = videos["frame_features"]
        frames = frames[:, None] if frames.ndim == 3 else frames
        weights = None
        if self.frame_weight is not None:
            weights = at_least_float32(self.frame_weight(frames)[..., 0]).softmax(dim=-1)
        return frames, weights

    def score_views(self, texts, videos):
        """`similarity` before the views are pooled, of shape `(texts, videos, views)`."""
        config, (frames, weights) = self.config, self._frames(videos)
        rows = FrameFeatures(frames.flatten(0, 1), None if weights is None else weights.flatten(0, 1))
        mode = "mean_pool" if self.training and self.trains_by_mean else config.similarity
        options = mode, config.head_scale, config.top_k, config.similarity_block_size
        return score_all_pairs(self._texts(texts), rows, *options).unflatten(1, frames.shape[:2])

    def similarity(self, texts, videos):
        """See [`MugSTANPreTrainedModel.similarity`]."""
        scale = self.config.loss_scale  # log of a mean exponential is no mean: it is pooled as the loss sees it
        return pool_views(scale * self.score_views(texts, videos), self.config.score_pooling) / scale

    def match_views(self, texts, videos, video_indices=None):
        """Similarity `(pairs, views)` of each text with its own video; see `match` of the head for retrieval."""
        config, texts, (frames, weights) = self.config, self._texts(texts), self._frames(videos)
        if video_indices is not None:
            frames, weights = frames[video_indices], None if weights is None else weights[video_indices]
        if config.similarity == "mean_pool":
            return cosines(texts.pooled[:, None], at_least_float32(frames).mean(dim=2))[:, 0]
        pooled = cosines(texts.pooled[:, None, None], frames)[..., 0, :]  # (pairs, N, T)
        return score_pairs(
            config.similarity,
            cosines(texts.tokens[:, None], frames),  # (pairs, N, n, T)
            texts.mask[:, None],
            config.head_scale,
            pooled=pooled,
            k=config.top_k,
            word_weights=None if texts.weights is None else texts.weights[:, None],
            frame_weights=weights,
        )

    def explain(self, texts, videos, video_indices=None):
        """See [`MugSTANPreTrainedModel.explain`]."""
        texts, (frames, _) = self._texts(texts), self._frames(videos)
        frames = paired("texts", len(texts.mask), frames, video_indices)
        similarity = cosines(texts.tokens[:, None], frames)  # (pairs, N, n, T)
        guidance = mutual_guidance(similarity, texts.mask[:, None], self.config.head_scale)
        video, text = guide_embeddings(texts.tokens[:, None], frames, guidance)
        return MugSTANExplanation(
            similarity=similarity, **guidance._asdict(), text_guided_video=video, video_guided_text=text
        )

    @torch.no_grad()
    def attention_maps(self, pixel_values):
        """See [`MugSTANPreTrainedModel.attention_maps`]."""
        num_class = self.tower.num_class_tokens
        if not self.branches or not num_class:
            return None
        views, found, implementation = to_six_dimensions(pixel_values), [], self.config._attn_implementation
        layers = [branch.spatial_layers[-1].self_attn for branch in self.branches]
        hooks = [
            layer.register_forward_hook(lambda module, inputs, outputs: found.append(outputs[1])) for layer in layers
        ]
        self.set_attn_implementation("eager")  # the others tell no weights
        try:
            self.encode_video(views)
        finally:
            self.set_attn_implementation(implementation)
            for hook in hooks:
                hook.remove()
        # (R*T, heads, C+L, C+L) of separate space and time, (R, heads, C+T*L, C+T*L) of joint
        maps = torch.stack(found).mean(dim=(0, 2))[:, 0, num_class:]
        rows, columns = (side // self.clip.vision_model.embeddings.patch_size for side in views.shape[-2:])
        return maps.reshape(*views.shape[:3], rows, columns)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        interpolate_pos_encoding: bool = False,
        output_tokens: bool = False,
        video_indices: torch.LongTensor | None = None,
        frame_indices: torch.LongTensor | None = None,
        frame_seconds: torch.DoubleTensor | None = None,
        video_metadata: list | None = None,
    ) -> tuple | MugSTANModelOutput:
        """
        Encode texts, videos, or both.

        Args:
            input_ids, attention_mask: See `encode_text`.
            pixel_values, interpolate_pos_encoding, output_tokens: See `encode_video`.
            video_indices, frame_indices, frame_seconds, video_metadata (*optional*):
                What a processor adds. Not read: `model(**processor(...))` works with it.

        Returns:
            [`MugSTANModelOutput`]; what was not given is `None`.

        Raises:
            ValueError: If shapes do not fit each other, or nothing is given.
        """
        if input_ids is None and pixel_values is None:
            raise ValueError("At least one of `input_ids` and `pixel_values` is needed, got neither.")
        text = {} if input_ids is None else self.encode_text(input_ids, attention_mask)
        video = {}
        if pixel_values is not None:
            video = self.encode_video(pixel_values, interpolate_pos_encoding, output_tokens)
        return MugSTANModelOutput(
            text_embeds=text.get("pooler_output"),
            video_embeds=video.get("pooler_output"),
            token_features=text.get("token_features"),
            attention_mask=text.get("attention_mask"),
            **{name: value for name, value in video.items() if name != "pooler_output"},
        )


# ---------------------------------------------------------------------------------------------------------------------
# Retrieval
# ---------------------------------------------------------------------------------------------------------------------


class MugSTANForVideoTextRetrieval(MugSTANPreTrainedModel):
    """
    Texts and videos in one space, with the contrastive loss (section III-D, equation 19).

    `forward` scores every text with every video. With one text for each video, or with `video_indices`, it also says how
    each text fits its own video, and gives the loss.

    Example:
        >>> from transformers import AutoProcessor
        >>> from clipbert import MugSTANForVideoTextRetrieval

        >>> model = MugSTANForVideoTextRetrieval.from_pretrained("my-mug-stan")  # doctest: +SKIP
        >>> processor = AutoProcessor.from_pretrained("my-mug-stan")  # doctest: +SKIP
        >>> inputs = processor(text=["a dog runs", "a cat sleeps"], videos=["dog.mp4"])  # doctest: +SKIP
        >>> model(**inputs).logits_per_text  # doctest: +SKIP
    """

    def __init__(self, config):
        super().__init__(config)
        self.mug_stan = MugSTANModel(config)
        self.post_init()

    # The contract of matching: what retrieval, search and caption choice ask of any family -----------------------------

    def encode_videos(self, pixel_values):
        """Features `(videos, views, frames, P)` of frames; see `encode_video`."""
        return self._with_views(self.encode_video(pixel_values).frame_features)

    @staticmethod
    def _with_views(frame_features):
        return frame_features[:, None] if frame_features.ndim == 3 else frame_features

    def encode_texts(self, input_ids, attention_mask=None):
        """What `encode_text` returns, as a dict of tensors with a row for each text."""
        return dict(self.encode_text(input_ids, attention_mask))

    def match(self, texts, videos, video_indices=None):
        """
        How well texts fit videos, pair by pair.

        Args:
            texts (`dict[str, torch.Tensor]`): What `encode_texts` returned, one row for each pair.
            videos (`torch.FloatTensor`): What `encode_videos` returned.
            video_indices (`torch.LongTensor` of shape `(pairs,)`, *optional*): The video of each pair; without it text
                `i` is paired with video `i`.

        Returns:
            [`MugSTANRetrievalOutput`] with `match_odds` and `clip_odds`.
        """
        check_pairs("texts", len(texts["token_features"]), len(videos), video_indices)
        clip_odds = self.config.loss_scale * self.mug_stan.match_views(texts, videos, video_indices)  # (pairs, N)
        return MugSTANRetrievalOutput(match_odds=pool_views(clip_odds, self.config.score_pooling), clip_odds=clip_odds)

    def match_frames(self, texts, videos, video_indices=None):
        """
        How well texts fit the frames of videos, each frame by itself; the branch has seen them together.

        Args:
            texts, videos, video_indices: As for `match`.

        Returns:
            `torch.FloatTensor` of shape `(pairs, views * frames)`: Log-odds.
        """
        return self.match(texts, videos.flatten(1, 2)[:, :, None], video_indices).clip_odds

    def match_all(self, texts, videos):
        """
        How well every text fits every video, in blocks of `config.similarity_block_size`.

        Args:
            texts (`dict[str, torch.Tensor]`), videos (`torch.FloatTensor`): What `encode_texts` and `encode_videos` returned.

        Returns:
            `torch.FloatTensor` of shape `(texts, videos)`: The `match_odds` of all pairs.
        """
        return pool_views(self.similarity_scale * self.mug_stan.score_views(texts, videos), self.config.score_pooling)

    @staticmethod
    def vectors(encoded):
        """
        One vector for each text or video: the pooled text, the mean of the frames.

        Args:
            encoded (`dict[str, torch.Tensor]` or `torch.FloatTensor`): What `encode_texts` or `encode_videos` returned.

        Returns:
            `torch.FloatTensor` of shape `(rows, P)`, of length 1.
        """
        rows = encoded.mean(dim=(1, 2)) if isinstance(encoded, torch.Tensor) else encoded["pooler_output"]
        return F.normalize(rows, dim=-1)

    @property
    def similarity_scale(self):
        """What a similarity is multiplied by to become log-odds."""
        return self.config.loss_scale

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor,
        pixel_values: torch.FloatTensor,
        attention_mask: torch.Tensor | None = None,
        video_indices: torch.LongTensor | None = None,
        return_loss: bool = True,
        return_features: bool = False,
        interpolate_pos_encoding: bool = False,
        frame_indices: torch.LongTensor | None = None,
        frame_seconds: torch.DoubleTensor | None = None,
        video_metadata: list | None = None,
    ) -> tuple | MugSTANRetrievalOutput:
        """
        Score all texts with all videos.

        Args:
            input_ids (`torch.LongTensor` of shape `(texts, length)`): Tokens.
            pixel_values (`torch.FloatTensor` of shape `(videos, views, frames, 3, height, width)`): See `encode_video`.
            attention_mask (`torch.Tensor` of shape `(texts, length)`, *optional*): 1 for tokens, 0 for padding.
            video_indices (`torch.LongTensor` of shape `(texts,)`, *optional*):
                The video each text belongs to. Without it text `i` belongs to video `i`, if there are equally many.
            return_loss (`bool`, *optional*, defaults to `True`): Whether to compute the loss, where texts have videos.
            return_features (`bool`, *optional*, defaults to `False`): Only encode: see `contrastive_loss`.
            interpolate_pos_encoding (`bool`, *optional*): See `encode_video`.
            frame_indices, frame_seconds, video_metadata (*optional*):
                What a processor adds with `return_metadata=True`. Not read: `model(**processor(...))` works with it.

        Returns:
            [`MugSTANRetrievalOutput`]; with `return_features=True` what `encode_texts` and `encode_videos` return.

        Raises:
            ValueError: If shapes do not fit each other.
        """
        texts = self.encode_text(input_ids, attention_mask)
        videos = self.encode_video(pixel_values, interpolate_pos_encoding)
        if return_features:
            return dict(texts), self._with_views(videos.frame_features)
        if video_indices is not None:
            check_pairs("texts", len(input_ids), len(pixel_values), video_indices)
        views = self.config.loss_scale * self.mug_stan.score_views(texts, videos)  # (A, V, N)
        logits = pool_views(views, self.config.score_pooling)  # (A, V)

        loss = match_odds = clip_odds = None
        if video_indices is not None or len(input_ids) == len(pixel_values):
            rows = torch.arange(len(input_ids), device=logits.device)
            owners = rows if video_indices is None else video_indices
            match_odds, clip_odds = logits[rows, owners], views[rows, owners]
            if return_loss:
                mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
                loss = self.compute_loss(logits[:, owners], input_ids, mask, owners)
        return MugSTANRetrievalOutput(
            loss=loss,
            match_odds=match_odds,
            clip_odds=clip_odds,
            logits_per_text=logits,
            logits_per_video=logits.T,
            text_embeds=texts.pooler_output,
            video_embeds=videos.pooler_output,
            token_features=texts.token_features,
            attention_mask=texts.attention_mask,
            frame_features=videos.frame_features,
        )

    def contrastive_loss(self, texts, videos, text_keys, video_keys):
        """
        The contrastive loss of pairs that were encoded in several pieces, such as the micro-batches of a step.

        Args:
            texts (`dict[str, torch.Tensor]`), videos (`torch.FloatTensor`): What `forward` returned with
                `return_features=True`, one row of both for each pair.
            text_keys, video_keys (`torch.LongTensor` of shape `(pairs,)`): Equal numbers are the same text, or video.

        Returns:
            `torch.FloatTensor` of shape `()`.
        """
        config = self.config
        logits = pool_views(config.loss_scale * self.mug_stan.score_views(texts, videos), config.score_pooling)
        if config.count_duplicates:
            return contrastive_loss(logits)
        same_text, same_video = (keys[:, None] == keys[None] for keys in (text_keys, video_keys))
        return contrastive_loss(logits, same_text | same_video)

    def compute_loss(self, logits, input_ids, attention_mask, video_indices):
        """
        The contrastive loss of pairs. Unless `config.count_duplicates`, pairs with the same video or the same words are no
        negatives of each other.

        Args:
            logits (`torch.FloatTensor` of shape `(pairs, pairs)`): Scores of the texts with the videos of all pairs.
            input_ids (`torch.LongTensor` of shape `(pairs, length)`), attention_mask (`torch.Tensor` of the same shape): The texts.
            video_indices (`torch.LongTensor` of shape `(pairs,)`): Equal numbers are the same video.

        Returns:
            `torch.FloatTensor` of shape `()`.
        """
        if self.config.count_duplicates:
            return contrastive_loss(logits)
        same_video = video_indices[:, None] == video_indices[None]
        return contrastive_loss(logits, same_video | same_words(input_ids, attention_mask.bool()))


# ---------------------------------------------------------------------------------------------------------------------
# Classification
# ---------------------------------------------------------------------------------------------------------------------


def words_of_class(name):
    """
    The words of a class, also where its name writes them as one.

    Example:
        >>> words_of_class("brush_hair"), words_of_class("HandstandPushups"), words_of_class("using an iPhone")
        ('brush hair', 'Handstand Pushups', 'using an iPhone')
    """
    words = name.replace("_", " ").split()
    return " ".join(words) if len(words) > 1 else re.sub(r"(?<=[a-z])(?=[A-Z])", " ", words[0])


class MugSTANForVideoClassification(MugSTANPreTrainedModel):
    """
    Classes by their names: a video is scored with the text of every class (section III-E, equation 20).

    What the frozen text tower makes of the names is computed once, by `set_classes`, and kept in the checkpoint: a
    trained model classifies without a tokenizer, and takes new classes without training. Where the text tower is trained
    (`config.freeze_text=False`), the names are encoded in every forward pass. `config.similarity` says how names and
    frames are compared: `"mug_exact"` as in the paper, `"mean_pool"` as in the official code.

    `labels` of `forward`: a `torch.LongTensor` of shape `(videos,)`, -100 to leave a video out.

    Example:
        >>> from clipbert import MugSTANForVideoClassification
        >>> model = MugSTANForVideoClassification.from_clip_pretrained(
        ...     "openai/clip-vit-base-patch16"
        ... )  # doctest: +SKIP
        >>> model.set_classes(["riding a bike", "playing the cello"], processor)  # doctest: +SKIP
        >>> model(**processor(videos=["video.mp4"])).logits  # doctest: +SKIP
    """

    main_input_name = "pixel_values"
    # which `set_classes` makes
    _keys_to_ignore_on_load_missing = ["class_input_ids", "class_mask", "class_tokens", "class_pooled"]

    def __init__(self, config):
        super().__init__(config)
        self.mug_stan = MugSTANModel(config)
        self.mug_stan.is_text_frozen = self.freezes_text
        shape, size = (config.num_labels, config.class_text_length), self.mug_stan.feature_size
        self.register_buffer("class_input_ids", torch.zeros(shape, dtype=torch.long))
        self.register_buffer("class_mask", torch.zeros(shape, dtype=torch.bool))
        # what a frozen text tower makes of them; 0 where there is nothing to keep
        self.register_buffer("class_tokens", torch.zeros(*shape, size))
        self.register_buffer("class_pooled", torch.zeros(config.num_labels, size))
        self.post_init()
        self.freeze()

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        if module is self:
            for buffer in (self.class_input_ids, self.class_mask, self.class_tokens, self.class_pooled):
                init.zeros_(buffer)

    @property
    def freezes_text(self):
        return self.config.freeze_text is not False

    def freeze(self):
        super().freeze()
        if self.class_mask.is_meta:  # nothing is known yet
            return
        if not self.mug_stan.is_text_frozen:
            self.class_tokens.zero_()
            self.class_pooled.zero_()
        elif self.class_mask.any() and not self.class_pooled.any():
            self._keep_class_texts()
        else:  # in memory of its own: as it lies in a file, products with it may differ in their last bit
            self.class_tokens = self.class_tokens.clone()

    def set_classes(self, names, processor, template=None):
        """
        Say which classes there are. What was learnt about videos stays.

        Args:
            names (`Sequence[str]`):
                A name, or a sentence, for each class; they become `config.id2label`. The words of names such as
                `brush_hair` and `TaiChi` are read one by one.
            processor (`ProcessorMixin` or `PreTrainedTokenizerBase`): Makes tokens, with the end token that CLIP needs.
            template (`str`, *optional*): From now on `config.class_template`: the text around a name.

        Raises:
            ValueError: If there are no names, a name is empty or there twice, or the template has no place for it.
        """
        names = [names] if isinstance(names, str) else list(names)
        if not names:
            raise ValueError("There must be a class at least, got none.")
        if empty := [number for number, name in enumerate(names) if not str(name).strip()]:
            raise ValueError(f"Names of classes must not be empty, but number {listed(empty)} is.")
        if twice := sorted(name for name, count in Counter(names).items() if count > 1):
            raise ValueError(f"Every class needs a name of its own, but there twice is {listed(twice)}.")
        if template is not None:
            self.config.check_template(template)
            self.config.class_template = template
        texts = [self.config.class_template.replace("{}", words_of_class(str(name))) for name in names]
        if hasattr(processor, "tokenizer"):
            tokens = processor(text=texts, return_tensors="pt")
        else:
            longest = longest_text(self.config.clip_config.text_config)
            tokens = processor(
                texts,
                padding=True,
                truncation=True,
                max_length=longest,
                return_attention_mask=True,
                return_tensors="pt",
            )
        self.set_class_tokens(tokens["input_ids"], tokens["attention_mask"])
        self.config.id2label = dict(enumerate(names))
        self.config.label2id = {name: number for number, name in enumerate(names)}

    @torch.no_grad()
    def set_class_tokens(self, input_ids, attention_mask):
        """`set_classes` by tokens; names of classes are left to the config. The model stays in its mode."""
        self.class_input_ids, self.class_mask = input_ids.to(self.device), attention_mask.to(self.device).bool()
        self.class_tokens = self.class_tokens.new_zeros(*input_ids.shape, self.mug_stan.feature_size)
        self.class_pooled = self.class_pooled.new_zeros(len(input_ids), self.mug_stan.feature_size)
        if self.mug_stan.is_text_frozen:
            self._keep_class_texts()
        self.config.class_text_length = input_ids.shape[1]
        if self.config.num_labels != len(input_ids):
            self.config.num_labels = len(input_ids)
        self.num_labels = self.config.num_labels

    @torch.no_grad()
    def _keep_class_texts(self, batch_size=64):
        text_parts = self.mug_stan.tower.text_modules(self.mug_stan.clip)
        modes = [part.training for part in text_parts]
        for part in text_parts:
            part.eval()
        rows = zip(self.class_input_ids.split(batch_size), self.class_mask.split(batch_size), strict=True)
        texts = [self.encode_text(input_ids, mask.long()) for input_ids, mask in rows]
        for part, mode in zip(text_parts, modes, strict=True):
            part.train(mode)
        self.class_tokens = torch.cat([part.token_features for part in texts])
        self.class_pooled = torch.cat([part.pooler_output for part in texts])

    def class_texts(self):
        """The texts of the classes, as `similarity` takes them: those kept, or encoded anew if the text tower is trained."""
        if values_are_known(self.class_mask) and not self.class_mask.any(dim=1).all():
            raise ValueError(
                f"The {len(self.class_mask)} classes have no texts yet: call set_classes(names, processor) first."
            )
        if not self.mug_stan.is_text_frozen:
            return self.encode_text(self.class_input_ids, self.class_mask.long())
        return MugSTANTextOutput(
            token_features=self.class_tokens, attention_mask=self.class_mask, pooler_output=self.class_pooled
        )

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.FloatTensor,
        labels: torch.LongTensor | None = None,
        interpolate_pos_encoding: bool = False,
        frame_indices: torch.LongTensor | None = None,
        frame_seconds: torch.DoubleTensor | None = None,
        video_metadata: list | None = None,
    ) -> tuple | MugSTANVideoClassifierOutput:
        """
        Score every video with every class.

        Args:
            pixel_values, interpolate_pos_encoding: See `encode_video`.
            labels (`torch.LongTensor` of shape `(videos,)`, *optional*): See the class.
            frame_indices, frame_seconds, video_metadata (*optional*):
                What a processor adds with `return_metadata=True`. Not read: `model(**processor(...))` works with it.

        Returns:
            [`MugSTANVideoClassifierOutput`].

        Raises:
            ValueError: If shapes do not fit each other, or there are no classes yet.
        """
        videos = self.encode_video(pixel_values, interpolate_pos_encoding)
        views = self.config.loss_scale * self.mug_stan.score_views(self.class_texts(), videos)  # (C, V, N)
        views = views.movedim(0, -1)  # (V, N, C)
        logits = pool_views(views.transpose(1, 2), self.config.score_pooling)  # (V, C)
        loss = None if labels is None else self.compute_loss(logits, labels)
        return MugSTANVideoClassifierOutput(
            loss=loss, logits=logits, view_logits=views, frame_features=videos.frame_features
        )

    def compute_loss(self, logits, labels):
        """Cross-entropy of pooled scores `(videos, classes)` (equation 20)."""
        check_shape("labels", labels, logits.shape[:1])
        check_integers("labels", labels, 0, logits.shape[1], "the classes", ignored=-100)
        return F.cross_entropy(logits, labels.long())


# ---------------------------------------------------------------------------------------------------------------------
# Action detection
# ---------------------------------------------------------------------------------------------------------------------


def pool_boxes(feature_map, boxes, box_indices, stride, size):
    """
    What lies in boxes: RoIAlign, then the largest value of each channel.

    Args:
        feature_map (`torch.FloatTensor` of shape `(videos, D, rows, columns)`): Features of places.
        boxes (`torch.FloatTensor` of shape `(boxes, 4)`): x1, y1, x2, y2 in pixels.
        box_indices (`torch.LongTensor` of shape `(boxes,)`): The video of each box.
        stride (`int`): Pixels of a place.
        size (`int`): Cells a side that are looked at in a box.

    Returns:
        `torch.FloatTensor` of shape `(boxes, D)`.
    """
    single = feature_map.to(
        torch.promote_types(feature_map.dtype, torch.float32)
    )  # coordinates want the precision, and not every kernel has half of it
    rois = torch.cat([box_indices[:, None].to(single.dtype), boxes.to(single.dtype)], dim=1)
    aligned = roi_align(single, rois, size, 1 / stride, sampling_ratio=-1, aligned=True)  # (boxes, D, size, size)
    return aligned.amax(dim=(-2, -1)).to(feature_map.dtype)


class MugSTANForActionDetection(MugSTANPreTrainedModel):
    """
    What people in given boxes do (section IV of the paper, AVA; no code was released).

    The patches of CLIP and branch together, after the last norm and averaged over frames, are a map of the picture. A box
    is its RoIAlign with max pooling, dropout and a linear layer; several actions may hold at a time.

    `labels` of `forward`: a tensor of shape `(boxes, classes)` of numbers in [0, 1].

    Example:
        >>> from clipbert import MugSTANForActionDetection
        >>> model = MugSTANForActionDetection.from_pretrained("my-mug-stan", num_labels=60)  # doctest: +SKIP
        >>> key = {"sampling": "key_frame", "key_times_s": [902.0], "num_frames": 8}
        >>> inputs = processor(videos=["film.mp4"], boxes=[[[0.1, 0.2, 0.5, 0.9]]], **key)  # doctest: +SKIP
        >>> model(**inputs).logits.sigmoid()  # doctest: +SKIP
    """

    main_input_name = "pixel_values"

    def __init__(self, config):
        super().__init__(config)
        self.mug_stan = MugSTANModel(config)
        self.mug_stan.is_text_frozen = self.freezes_text
        self.mug_stan.is_projection_unused = True
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.clip_config.vision_config.hidden_size, config.num_labels)
        self.post_init()
        self.freeze()

    @property
    def freezes_text(self):
        return True

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.FloatTensor,
        boxes: torch.FloatTensor,
        video_indices: torch.LongTensor | None = None,
        labels: torch.Tensor | None = None,
        interpolate_pos_encoding: bool = False,
        box_indices: torch.LongTensor | None = None,
        frame_indices: torch.LongTensor | None = None,
        frame_seconds: torch.DoubleTensor | None = None,
        video_metadata: list | None = None,
    ) -> tuple | MugSTANActionDetectionOutput:
        """
        Score the actions of every box.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(videos, frames, 3, height, width)`): One view of each video.
            boxes (`torch.FloatTensor` of shape `(boxes, 4)`):
                x1, y1, x2, y2 in pixels of the frames that the model sees, at least one.
            video_indices (`torch.LongTensor` of shape `(boxes,)`, *optional*):
                The video of each box. Without it there is one box per video, in the same order.
            labels (`torch.Tensor` of shape `(boxes, classes)`, *optional*): See the class.
            interpolate_pos_encoding (`bool`, *optional*): See `encode_video`.
            box_indices, frame_indices, frame_seconds, video_metadata (*optional*):
                What a processor adds. Not read: `model(**processor(...))` works with it.

        Returns:
            [`MugSTANActionDetectionOutput`].

        Raises:
            ValueError: If shapes do not fit each other, there are several views, or a box lies outside the picture.
        """
        views = to_six_dimensions(pixel_values)
        if views.shape[1] != 1:
            raise ValueError(f"Boxes belong to one view of a video, got pixel_values {tuple(pixel_values.shape)}.")
        height, width = views.shape[-2:]
        check_boxes(boxes, height, width)
        check_pairs("boxes", len(boxes), len(views), video_indices)
        if video_indices is None:
            video_indices = torch.arange(len(boxes), device=boxes.device)
        logits = self.classifier(
            self.dropout(self.box_features(views[:, 0], boxes, video_indices, interpolate_pos_encoding))
        )
        loss = None if labels is None else self.compute_loss(logits, labels)
        return MugSTANActionDetectionOutput(loss=loss, logits=logits)

    def box_features(self, pixel_values, boxes, video_indices, interpolate_pos_encoding=False):
        """What the classifier reads of boxes, of shape `(boxes, D)`."""
        base = self.mug_stan
        tokens = self.encode_video(pixel_values, interpolate_pos_encoding, output_tokens=True).last_hidden_state
        vision, num_class = base.clip.vision_model, base.tower.num_class_tokens
        stride = vision.embeddings.patch_size
        grid = pixel_values.shape[-2] // stride, pixel_values.shape[-1] // stride
        patches = vision.post_layernorm(tokens[:, :, num_class:]).mean(dim=1)  # (V, L, D)
        feature_map = patches.transpose(1, 2).unflatten(2, grid)  # (V, D, rows, columns)
        return pool_boxes(feature_map, boxes, video_indices, stride, self.config.roi_size)

    def compute_loss(self, logits, labels):
        """Binary cross-entropy of every action in every box, averaged."""
        check_shape("labels", labels, logits.shape, "of shape (boxes, classes) =")
        if values_are_known(labels) and not ((labels >= 0) & (labels <= 1)).all():
            raise ValueError(f"labels must lie in [0, 1], got values from {labels.min()} to {labels.max()}.")
        return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))


__all__ = [
    "MugSTANForActionDetection",
    "MugSTANForVideoClassification",
    "MugSTANForVideoTextRetrieval",
    "MugSTANModel",
    "MugSTANPreTrainedModel",
    "pool_boxes",
]
