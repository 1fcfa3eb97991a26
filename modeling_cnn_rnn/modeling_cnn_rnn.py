# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
CNN-RNN: a classifier of short videos, after a course report (VNU, 2024) and "Beyond Short Snippets" (CVPR 2015,
https://arxiv.org/abs/1503.08909).

Every frame passes an image CNN and becomes a vector; an RNN, GRU or LSTM reads the vectors in their order; a linear
layer tells the class.

    pixel_values (B, N, T, 3, S, S), frame_mask (B, N, T)
          |  the M frames that exist, backbone, average over the picture
    frame_features (B, N, T, D)              <- may also be given: they can be cached
          |  projection, recurrent part, read by lengths
    pooler_output (B, N, P)
          |  dropout, linear
    window_logits (B, N, C)
          |  mean, max or log of the mean probability over the windows
     logits (B, C)

What is unusual: clips have any number of frames. Padding never enters the CNN, and no state is read after it, so the
scores of a clip do not depend on the clips beside it.

Letters: B clips, N windows of a clip, T frames of a window, M frames that exist, S x S pixels, D size of a frame vector,
H size of a state (of both directions), P size of what the classifier reads, R = B * N rows, C classes.
"""

import math
import os
from dataclasses import dataclass
from inspect import signature

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING, MODEL_MAPPING
from transformers.utils import ModelOutput, logging
from transformers.utils.generic import can_return_tuple

from .configuration_cnn_rnn import CNNRNNConfig
from .recurrent_cnn_rnn import RECURRENT_LAYERS, choose_backend, run_packed, run_padded


logger = logging.get_logger(__name__)


# ---------------------------------------------------------------------------------------------------------------------
# Outputs
# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class CNNRNNModelOutput(ModelOutput):
    """
    What [`CNNRNNModel`] returns. The dimension of the windows is there if the inputs have it. The frames that exist come
    first, in their order, wherever the mask has them; after them is nothing but zeros.

    Args:
        last_hidden_state (`torch.FloatTensor` of shape `(clips, windows, frames, states)`):
            State of the top layer after each frame; of both directions, one after the other.
        pooler_output (`torch.FloatTensor` of shape `(clips, windows, states)`): The states as one vector.
        frame_features (`torch.FloatTensor` of shape `(clips, windows, frames, features)`): Vectors of the frames.
        frame_lengths (`torch.LongTensor` of shape `(clips, windows)`): How many frames were read.
        hidden_states (`tuple(torch.FloatTensor)`, *optional*, returned when `output_hidden_states=True`):
            What the recurrent part reads, the projected vectors of the frames, and `last_hidden_state`.
    """

    last_hidden_state: torch.FloatTensor | None = None
    pooler_output: torch.FloatTensor | None = None
    frame_features: torch.FloatTensor | None = None
    frame_lengths: torch.LongTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None


@dataclass
class CNNRNNVideoClassifierOutput(ModelOutput):
    """
    What [`CNNRNNForVideoClassification`] returns.

    Args:
        loss (`torch.FloatTensor` of shape `()`, *optional*, returned when labels are given): Loss of the pooled scores.
        logits (`torch.FloatTensor` of shape `(clips, classes)`): Scores pooled over the windows of each clip.
        window_logits (`torch.FloatTensor` of shape `(clips, windows, classes)`):
            Scores of each window; they mean nothing for a window without a frame.
        last_hidden_state, pooler_output, frame_features, frame_lengths, hidden_states: See [`CNNRNNModelOutput`].
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    window_logits: torch.FloatTensor | None = None
    last_hidden_state: torch.FloatTensor | None = None
    pooler_output: torch.FloatTensor | None = None
    frame_features: torch.FloatTensor | None = None
    frame_lengths: torch.LongTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None


# ---------------------------------------------------------------------------------------------------------------------
# From frames to vectors
# ---------------------------------------------------------------------------------------------------------------------


def backbone_class(backbone_config):
    """
    The class for an image model: the bare model, or the backbone where transformers has no other.

    Raises:
        ValueError: If transformers has neither, or the config asks for an earlier stage than the last.
    """
    stages = getattr(backbone_config, "stage_names", None)
    if stages and backbone_config.out_features[-1] != stages[-1]:
        raise ValueError(
            f"backbone_config: out_features={backbone_config.out_features} ends before the last stage, {stages[-1]!r}, "
            "which the frame vectors are made of. Leave it out, or build a backbone of fewer stages."
        )
    for mapping in (MODEL_MAPPING, MODEL_FOR_BACKBONE_MAPPING):
        model_class = mapping.get(type(backbone_config), None)
        if model_class is not None and model_class.main_input_name == "pixel_values":
            return model_class
    raise ValueError(
        f"backbone_config is that of a {backbone_config.model_type!r}, for which transformers has no image model. Take a "
        "ResNet, another image backbone, or a vision tower such as that of CLIP."
    )


def build_backbone(backbone_config):
    """
    A backbone with random weights that accepts whatever attention implementation its parent asks for.

    transformers refuses `attn_implementation="sdpa"` for a model with a part that does not declare support for it. A
    CNN has no attention to switch, so it is built as "eager" and then given the declaration.
    """
    model_class = backbone_class(backbone_config)
    options = pooling_options(model_class)
    if model_class._supports_sdpa:
        return model_class(backbone_config, **options)
    backbone_config._attn_implementation = "eager"
    backbone = model_class(backbone_config, **options)
    for flag in ("_supports_sdpa", "_supports_flash_attn", "_supports_flex_attn", "_supports_attention_backend"):
        setattr(backbone, flag, True)  # of this backbone alone: a class made here could not be pickled
    return backbone


def pooling_options(model_class):
    """A pooling layer that may be left out, such as that of ViT, is: checkpoints of classifiers lack its weights."""
    return {"add_pooling_layer": False} if "add_pooling_layer" in signature(model_class.__init__).parameters else {}


class CNNRNNFrameEncoder(GradientCheckpointingLayer):
    """
    Frames to vectors: the backbone, and the average over the picture (section 4.1) or the pooled output of a tower.

    With gradient checkpointing a call keeps its frames alone, and is repeated when its gradient is due.
    """

    def __init__(self, config):
        super().__init__()
        self.trainable = config.backbone_trainable
        self.train_batchnorm = config.train_batchnorm
        self.backbone = build_backbone(config.backbone_config)
        self.has_class_token = any(name.endswith("cls_token") for name, _ in self.backbone.named_parameters())
        self.feature_size = _feature_size(self.backbone)
        self.trained_parts()  # refuses what the backbone does not have
        self.freeze()

    def norms(self):
        return [module for module in self.backbone.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]

    def trained_parts(self):
        """The modules of the backbone that are trained: its last stages, or layers, and what comes after them."""
        if self.trainable in ("none", "all"):
            return [self.backbone] if self.trainable == "all" else []
        lists = {name: module for name, module in self.backbone.named_modules() if isinstance(module, nn.ModuleList)}
        if not lists:
            raise ValueError(
                f"backbone_trainable={self.trainable!r}: {type(self.backbone).__name__} has no list of stages or layers. "
                "Choose 'none' or 'all'."
            )
        path, stages = next(iter(lists.items()))
        parts, owner = list(stages)[{"last_stage": -1, "last_two_stages": -2}[self.trainable] :], self.backbone
        for name in path.split("."):  # down to the list; what stands behind it at each level comes after it
            children = dict(owner.named_children())
            parts += list(children.values())[list(children).index(name) + 1 :]
            owner = children[name]
        return parts

    def freeze(self):
        """Stop the training of everything but `trained_parts`, and of batch norms unless they are to be trained."""
        self.backbone.requires_grad_(False)
        for part in self.trained_parts():
            part.requires_grad_(True)
        if not self.train_batchnorm:
            for norm in self.norms():
                norm.requires_grad_(False)
        for name, parameter in self.backbone.named_parameters():
            if name.endswith("mask_token"):  # of the pretraining of some towers; whole pictures do not need it
                parameter.requires_grad_(False)
        self.train(self.training)

    def train(self, mode=True):
        super().train(mode)
        self.backbone.eval()
        for part in self.trained_parts():
            part.train(mode)
        if not self.train_batchnorm:
            for norm in self.norms():
                norm.eval()
        return self

    def forward(self, frames, anchor=None):
        # frames: (M, 3, S, S) -> (M, D); `anchor` see `encode_frames`
        outputs = self.backbone(frames)
        if "feature_maps" in outputs:
            vectors = outputs.feature_maps[-1].mean(dim=(-2, -1))
        elif outputs.get("pooler_output") is not None:
            vectors = outputs.pooler_output.flatten(1)
        elif outputs.last_hidden_state.ndim == 4:
            vectors = outputs.last_hidden_state.mean(dim=(-2, -1))
        elif self.has_class_token:
            vectors = outputs.last_hidden_state[:, 0]
        else:
            vectors = outputs.last_hidden_state.mean(dim=1)
        return vectors


def _feature_size(backbone):
    """D, which the config of a backbone has under one of several names."""
    if channels := getattr(backbone, "channels", None):
        return channels[-1]
    sizes = [getattr(backbone.config, name, None) for name in ("hidden_sizes", "hidden_size", "hidden_dim")]
    size = next(filter(None, sizes), None)
    if size is None:
        raise ValueError(
            f"{type(backbone).__name__} does not say how long its vectors are (hidden_size, hidden_sizes)."
        )
    return size[-1] if isinstance(size, (list, tuple)) else size


# ---------------------------------------------------------------------------------------------------------------------
# From vectors to one vector
# ---------------------------------------------------------------------------------------------------------------------


class CNNRNNPooler(nn.Module):
    """States to one vector of each row, from the states after frames alone (section 4.2)."""

    def __init__(self, config, size):
        super().__init__()
        self.mode = config.pooling
        self.num_directions = 2 if config.bidirectional else 1
        self.attention = nn.Linear(size, 1) if self.mode == "attention" else None

    def forward(self, states, lengths):
        # states: (R, T, H), lengths: (R,) -> (R, H)
        if self.mode == "last":
            last = (lengths - 1)[:, None, None].expand(-1, 1, states.shape[-1])
            after_last = states.gather(1, last)[:, 0]
            if self.num_directions == 1:
                return after_last
            size = states.shape[-1] // 2  # the other direction ends at the first frame
            return torch.cat([after_last[:, :size], states[:, 0, size:]], dim=-1)
        exists = _exists(lengths, states.shape[1])[..., None]  # (R, T, 1)
        if self.mode == "max":
            return states.where(exists, -math.inf).amax(dim=1)
        if self.mode == "attention":
            weights = self.attention(states).where(exists, -math.inf).softmax(dim=1)
            return (weights * states).sum(dim=1)
        return states.sum(dim=1) / lengths[:, None]  # padding is zero


def _exists(lengths, num_frames):
    """`(R, T)`: whether there is a frame."""
    return torch.arange(num_frames, device=lengths.device) < lengths[:, None]


# ---------------------------------------------------------------------------------------------------------------------
# Models
# ---------------------------------------------------------------------------------------------------------------------


class CNNRNNPreTrainedModel(PreTrainedModel):
    """Weight initialisation and what transformers needs to know about every CNN-RNN model."""

    config: CNNRNNConfig
    base_model_prefix = "cnn_rnn"
    main_input_name = "pixel_values"
    input_modalities = ["video"]
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = False
    _no_split_modules = ["CNNRNNFrameEncoder", "CNNRNNPooler"]
    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = _supports_attention_backend = True

    def __init__(self, config, *args, **kwargs):
        config.validate()  # values may have been assigned since it was made
        super().__init__(config, *args, **kwargs)

    @classmethod
    def from_pretrained(cls, *args, output_loading_info=False, **kwargs):
        """
        As for every model of transformers. What the config freezes is frozen here too: loading puts new parameters into a
        model, all of them trained.
        """
        model, info = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        model.freeze()
        return (model, info) if output_loading_info else model

    @classmethod
    def from_backbone_pretrained(cls, backbone, **config):
        """
        A model with a pretrained backbone; everything else is new and to be trained.

        Args:
            backbone (`str` or `os.PathLike`): Name on the Hub or folder of an image classifier, a backbone, a vision
                tower, or a model of images and texts such as CLIP; a model of timm where timm is installed.
            **config: Fields of [`CNNRNNConfig`].

        Raises:
            ValueError: If it is no image model, or lacks tensors.

        Example:
            >>> from clipbert import CNNRNNForVideoClassification
            >>> model = CNNRNNForVideoClassification.from_backbone_pretrained(
            ...     "microsoft/resnet-50", num_labels=5
            ... )  # doctest: +SKIP
        """
        pretrained = load_backbone(backbone)
        model = cls(cls.config_class(backbone_config=pretrained.config, **config))
        model.frame_encoder.backbone.load_state_dict(pretrained.state_dict())
        return model.eval()  # as `from_pretrained` leaves it

    @property
    def frame_feature_size(self) -> int:
        """D, the size of a frame vector."""
        return self.frame_encoder.feature_size

    def freeze(self):
        """Freeze what the config freezes. For a model whose parameters were replaced or set free."""
        self.frame_encoder.freeze()

    def encode_frames(self, pixel_values):
        """
        Vectors of frames, `config.frame_chunk_size` at a time.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(frames, 3, height, width)`): As the processor makes them.

        Returns:
            `torch.FloatTensor` of shape `(frames, features)`: What `frame_features` of `forward` takes.

        Raises:
            ValueError: If the shape or type is another.
        """
        encoder, size = self.frame_encoder, self.config.frame_chunk_size
        _check_frames(pixel_values, "(frames, 3, height, width)", 4)
        pixel_values = pixel_values.to(encoder.backbone.dtype)
        if size is None or torch.compiler.is_compiling():
            size = pixel_values.shape[0]
        # reentrant checkpointing looks for gradients among inputs alone, and frames have none
        is_trained = any(parameter.requires_grad for parameter in encoder.parameters())
        anchor = pixel_values.new_empty(0, requires_grad=is_trained) if encoder.gradient_checkpointing else None
        if size == pixel_values.shape[0]:
            return encoder(pixel_values, anchor)
        return torch.cat([encoder(chunk, anchor) for chunk in pixel_values.split(size)])

    def _set_gradient_checkpointing(self, enable=True, *args, **kwargs):
        if enable and self.config.train_batchnorm:
            raise ValueError(
                "Gradient checkpointing shows frames to the backbone twice, which its batch norms would count: switch it off, "
                "or set train_batchnorm=False."
            )
        super()._set_gradient_checkpointing(enable, *args, **kwargs)

    @torch.no_grad()
    def _init_weights(self, module):
        # The backbone has its own.
        super()._init_weights(module)
        if isinstance(module, nn.RNNBase):
            bound = 1 / math.sqrt(module.hidden_size)  # torch's default
            for parameter in module.parameters():
                init.uniform_(parameter, -bound, bound)


def load_backbone(name_or_folder):
    """
    The image model of a checkpoint, with its weights.

    Args:
        name_or_folder (`str` or `os.PathLike`): See [`CNNRNNPreTrainedModel.from_backbone_pretrained`].

    Raises:
        ValueError: If it is no image model, or lacks tensors.
    """
    config = AutoConfig.from_pretrained(name_or_folder)
    config = getattr(config, "vision_config", config)
    if config.model_type == "timm_wrapper":
        from transformers import TimmBackbone, TimmBackboneConfig  # timm takes a third of a second to import

        source = "local-dir" if os.path.isdir(name_or_folder) else "hf-hub"
        backbone = TimmBackbone(TimmBackboneConfig(backbone=f"{source}:{name_or_folder}"), pretrained=True)
        backbone.config.backbone = config.architecture  # which timm builds anywhere
        return backbone
    model_class = backbone_class(config)
    backbone, info = model_class.from_pretrained(
        name_or_folder, config=config, output_loading_info=True, **pooling_options(model_class)
    )
    # counters of batch norms are absent from old checkpoints, and nothing depends on them
    missing = sorted(name for name in info["missing_keys"] if not name.endswith("num_batches_tracked"))
    if missing:
        raise ValueError(
            f"{str(name_or_folder)!r} lacks {len(missing)} tensors of a {model_class.__name__}: "
            f"{', '.join(missing[:10])}{', ...' if len(missing) > 10 else ''}."
        )
    # where it lay, and what its own classifier told apart, are nothing to the model that it becomes a part of
    backbone.config.name_or_path = ""
    backbone.config.num_labels = 2
    return backbone


class CNNRNNModel(CNNRNNPreTrainedModel):
    """
    Frames or their vectors to one vector of each clip or window, without a classifier.

    Example:
        >>> import torch
        >>> from clipbert import CNNRNNConfig, CNNRNNModel

        >>> model = CNNRNNModel(CNNRNNConfig()).eval()
        >>> clips = torch.randn(2, 3, 3, 64, 64)  # two clips of three frames, of which the second has two only
        >>> outputs = model(clips, frame_mask=torch.tensor([[1, 1, 1], [1, 1, 0]]))
        >>> tuple(outputs.last_hidden_state.shape), tuple(outputs.pooler_output.shape)
        ((2, 3, 256), (2, 256))
    """

    def __init__(self, config):
        super().__init__(config)
        self.frame_encoder = CNNRNNFrameEncoder(config)
        size = self.frame_encoder.feature_size
        self.projection = None
        if config.frame_projection_size is not None:
            self.projection = nn.Sequential(
                nn.Linear(size, config.frame_projection_size), nn.ReLU(), nn.Dropout(config.head_dropout)
            )
            size = config.frame_projection_size
        self.rnn = None
        if config.pooling != "order_blind_mean":
            self.rnn = RECURRENT_LAYERS[config.rnn_type](
                size,
                config.rnn_hidden_size,
                config.rnn_num_layers,
                batch_first=True,
                dropout=config.rnn_dropout if config.rnn_num_layers > 1 else 0.0,
                bidirectional=config.bidirectional,
            )
            size = config.rnn_hidden_size * (2 if config.bidirectional else 1)
        self.pooler = CNNRNNPooler(config, size)
        self.pooled_size = size
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.FloatTensor | None = None,
        frame_features: torch.FloatTensor | None = None,
        frame_mask: torch.Tensor | None = None,
        frame_lengths: torch.LongTensor | None = None,
        output_hidden_states: bool | None = None,
        frame_indices: torch.LongTensor | None = None,
        frame_seconds: torch.DoubleTensor | None = None,
        video_metadata: list | None = None,
    ) -> tuple | CNNRNNModelOutput:
        """
        Read the frames of every clip in their order.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(clips, frames, 3, height, width)`, *optional*):
                Frames as the processor makes them, or `(clips, windows, frames, 3, height, width)`: every window is
                read by itself.
            frame_features (`torch.FloatTensor` of shape `(clips, frames, features)`, *optional*):
                What `encode_frames` returned, instead of `pixel_values`; or `(clips, windows, frames, features)`.
            frame_mask (`torch.Tensor` of shape `(clips, frames)` or `(clips, windows, frames)`, *optional*):
                1 for frames that exist, at least one for every clip. The others are not looked at.
            frame_lengths (`torch.LongTensor` of shape `(clips,)` or `(clips, windows)`, *optional*):
                Instead of `frame_mask`, how many of the frames exist, from the first.
            output_hidden_states (`bool`, *optional*): Return what the recurrent part reads, too.
            frame_indices, frame_seconds, video_metadata (*optional*):
                What a processor adds with `return_metadata=True`. Not read: `model(**processor(...))` works with it.

        Returns:
            [`CNNRNNModelOutput`].

        Raises:
            ValueError: If shapes do not fit each other, or a clip has no frame.
        """
        inputs = _visual_input(pixel_values, frame_features, self.frame_feature_size)
        shape = inputs.shape[: inputs.ndim - (3 if frame_features is None else 1)]  # (B, T) or (B, N, T)
        exists = _frames_that_exist(shape, inputs.device, frame_mask, frame_lengths)
        rows = shape[:-1]  # (B,) or (B, N), together R
        # 1. vectors of the frames that exist
        exists = None if exists is None else exists.flatten(0, -2)
        features, lengths = self.frame_vectors(inputs.flatten(0, len(rows) - 1), exists)  # (R, T, D), (R,)
        vectors = features if self.projection is None else self.projection(features)
        vectors = vectors.unflatten(0, rows)
        # 2. one state after each frame; an empty window is read as one zero, and left out when scores are pooled
        read = lengths.clamp(min=1)
        states = vectors.flatten(0, len(rows) - 1)
        states = states if self.rnn is None else self.run_recurrence(states, read)
        states = states.where(_exists(read, states.shape[1])[..., None], 0.0).unflatten(0, rows)  # (B, N, T, H)
        # 3. one vector of each row
        pooled = self.pooler(states.flatten(0, len(rows) - 1), read)  # (R, P)
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        return CNNRNNModelOutput(
            last_hidden_state=states,
            pooler_output=pooled.unflatten(0, rows),
            frame_features=features.unflatten(0, rows),
            frame_lengths=lengths.unflatten(0, rows),
            hidden_states=(vectors, states) if output_hidden_states else None,
        )

    def frame_vectors(self, inputs, exists):
        """
        Vectors of the frames that exist, moved to the front of their row, and how many they are.

        Args:
            inputs (`torch.FloatTensor` of shape `(rows, frames, 3, height, width)` or `(rows, frames, features)`).
            exists (`torch.BoolTensor` of shape `(rows, frames)`, *optional*): Without it all of them do.

        Returns:
            `torch.FloatTensor` of shape `(rows, frames, features)`, 0 after the frames, and `torch.LongTensor` of shape
            `(rows,)`.
        """
        num_rows, num_frames = inputs.shape[:2]
        if exists is None:
            lengths = torch.full((num_rows,), num_frames, device=inputs.device)
            return self.encode(inputs.flatten(0, 1)).unflatten(0, (num_rows, num_frames)), lengths
        lengths = exists.sum(dim=1)
        if torch.compiler.is_compiling():  # shapes must not depend on the mask
            blank = inputs.where(exists.view(num_rows, num_frames, *[1] * (inputs.ndim - 2)), 0.0)
            features = self.encode(blank.flatten(0, 1)).unflatten(0, (num_rows, num_frames))
            order = exists.int().argsort(dim=1, descending=True, stable=True)
            features = features.gather(1, order[..., None].expand_as(features))
            return features.where(_exists(lengths, num_frames)[..., None], 0.0), lengths
        vectors = self.encode(inputs[exists])  # (M, D)
        features = vectors.new_zeros(num_rows, num_frames, vectors.shape[-1])
        return features.masked_scatter(_exists(lengths, num_frames)[..., None], vectors), lengths

    def encode(self, frames):
        """Frames `(M, 3, S, S)`, or vectors that were made of them, as vectors `(M, D)` of this model's precision."""
        _check_finite("frame_features" if frames.ndim == 2 else "pixel_values", frames)
        vectors = frames if frames.ndim == 2 else self.encode_frames(frames)
        return vectors.to(self.dtype)

    def run_recurrence(self, vectors, lengths):
        """States `(R, T, H)` of the top layer, by the backend of the config."""
        backend = self.config.rnn_backend
        if backend == "auto":
            backend = choose_backend(self.rnn, vectors)
        return (run_packed if backend == "packed" else run_padded)(self.rnn, vectors, lengths)


# Values are looked at on the CPU alone: on an accelerator every step would wait for the answer.


def _values_are_known(tensor):
    is_real = type(tensor) in (torch.Tensor, nn.Parameter)  # not one that stands for another, as a fake tensor
    return is_real and tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def _check_integers(name, tensor, low, high, meaning, ignored=None):
    """Whether integers lie in [low, high], or are the one that is left out."""
    if not isinstance(tensor, torch.Tensor):
        raise ValueError(f"{name} must be a torch.Tensor, got {type(tensor).__name__} (return_tensors='pt').")
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise ValueError(f"{name} must hold integers, got {tensor.dtype}.")
    if not _values_are_known(tensor):
        return
    wrong = (tensor < low) | (tensor > high)
    if ignored is not None:
        wrong &= tensor != ignored
    if wrong.any():
        besides = "" if ignored is None else f", or be {ignored} where there is nothing to learn"
        values = sorted(set(tensor[wrong].tolist()))
        raise ValueError(f"{name} must lie in [{low}, {high}], {meaning}{besides}; got {_some(values)}.")


def _some(values):
    return ", ".join(map(str, values[:5])) + (", ..." if len(values) > 5 else "")


def _check_finite(name, tensor):
    # the extremes carry every NaN and infinity, and are found ten times as fast as by looking at each value
    if _values_are_known(tensor) and tensor.numel() and not all(extreme.isfinite() for extreme in tensor.aminmax()):
        raise ValueError(f"{name} must be finite where there are frames, got NaN or infinity.")


def _check_frames(pixel_values, shape, *dimensions):
    if not isinstance(pixel_values, torch.Tensor):
        raise ValueError(
            f"pixel_values must be a torch.Tensor, got {type(pixel_values).__name__} (return_tensors='pt')."
        )
    if pixel_values.ndim not in dimensions or pixel_values.shape[-3] != 3 or 0 in pixel_values.shape:
        raise ValueError(f"pixel_values must have the shape {shape}, none of them 0, got {tuple(pixel_values.shape)}.")
    if not pixel_values.is_floating_point():
        raise ValueError(
            f"pixel_values must be the floating point output of the processor, got {pixel_values.dtype}: raw frames lack "
            "resizing and normalisation."
        )


def _visual_input(pixel_values, frame_features, size):
    """The one of them that is given."""
    if (pixel_values is None) == (frame_features is None):
        raise ValueError("Exactly one of `pixel_values` and `frame_features` is needed, got both or neither.")
    if frame_features is None:
        shape = "(clips, frames, 3, height, width) or (clips, windows, frames, 3, height, width)"
        _check_frames(pixel_values, shape, 5, 6)
        return pixel_values
    is_tensor = isinstance(frame_features, torch.Tensor)
    got = tuple(frame_features.shape) if is_tensor else type(frame_features).__name__
    if not is_tensor or frame_features.ndim not in (3, 4) or 0 in got or not frame_features.is_floating_point():
        raise ValueError(
            "frame_features must be a floating point tensor of the shape (clips, frames, features) or (clips, windows, "
            f"frames, features), none of them 0, got {got}{f' of {frame_features.dtype}' if is_tensor else ''}."
        )
    if got[-1] != size:
        raise ValueError(
            f"frame_features {got} have {got[-1]} features a frame, but the backbone of this model makes {size}: they were "
            "made by another."
        )
    return frame_features


def _frames_that_exist(shape, device, frame_mask, frame_lengths):
    """A mask of booleans of the given shape from either, if there is one."""
    if frame_mask is None and frame_lengths is None:
        return None
    if frame_mask is not None and frame_lengths is not None:
        raise ValueError("At most one of `frame_mask` and `frame_lengths` is taken, got both.")
    name, given = ("frame_mask", frame_mask) if frame_lengths is None else ("frame_lengths", frame_lengths)
    wanted = tuple(shape) if frame_lengths is None else tuple(shape[:-1])
    if not isinstance(given, torch.Tensor) or tuple(given.shape) != wanted:
        got = tuple(given.shape) if isinstance(given, torch.Tensor) else type(given).__name__
        raise ValueError(f"{name} must be a tensor of shape {wanted}, that of the frames {tuple(shape)}; got {got}.")
    if frame_lengths is not None:
        _check_integers(name, given, 0, shape[-1], "the number of frames")
        exists = torch.arange(shape[-1], device=device) < given.to(device)[..., None]
    else:
        wrong = (given != 0) & (given != 1)
        if _values_are_known(given) and wrong.any():
            raise ValueError(
                f"frame_mask must hold 1 for frames and 0 for padding, got {_some(given[wrong].tolist())}."
            )
        exists = given.to(device).bool()
    if _values_are_known(exists) and not (has_frames := exists.flatten(1).any(dim=1)).all():
        raise ValueError(
            f"Every clip needs a frame that exists, but {name} has none for {_some((~has_frames).nonzero()[:, 0].tolist())} "
            f"of {len(exists)}."
        )
    return exists


# ---------------------------------------------------------------------------------------------------------------------
# Classification
# ---------------------------------------------------------------------------------------------------------------------


def pool_window_scores(window_logits, score_pooling, is_multi_label=False, exists=None):
    """
    Scores of a clip's windows to one score for each class, whatever their order and number.

    Classes that exclude each other are pooled as log-probabilities, because a soft-max does not see a constant that all
    scores of a window have in common, and pooling should not either. Labels of which several may hold are pooled as
    log-odds.

    Args:
        window_logits (`torch.FloatTensor` of shape `(clips, windows, classes)`): Scores of each window.
        score_pooling (`str`): `"mean"`, `"max"`, or `"lse"`: log-sum-exp less the log of the number of windows, which of
            log-probabilities is the log of the mean probability.
        is_multi_label (`bool`, *optional*, defaults to `False`): Whether several labels may hold.
        exists (`torch.BoolTensor` of shape `(clips, windows)`, *optional*): Windows with a frame, at least one for
            each clip.

    Returns:
        `torch.FloatTensor` of shape `(clips, classes)`, in float32 or better.

    Raises:
        ValueError: If `score_pooling` is another word.

    Example:
        >>> pool_window_scores(torch.tensor([[[1.0, 0.0], [3.0, 2.0]]]), "mean").tolist()
        [[2.0, 1.0]]
    """
    scores = window_logits.to(torch.promote_types(window_logits.dtype, torch.float32))
    exists = torch.ones_like(scores[..., :1], dtype=torch.bool) if exists is None else exists[..., None]  # (B, N, 1)
    if score_pooling == "mean":  # a constant of a window is one of the mean
        return scores.where(exists, 0.0).sum(dim=1) / exists.sum(dim=1)
    if not is_multi_label:
        scores = scores.log_softmax(dim=-1)
    scores = scores.where(exists, -math.inf)
    if score_pooling == "max":
        return scores.amax(dim=1)
    if score_pooling == "lse":
        return scores.logsumexp(dim=1) - exists.sum(dim=1).log()
    raise ValueError(f"score_pooling must be 'mean', 'max' or 'lse', got {score_pooling!r}.")


class CNNRNNForVideoClassification(CNNRNNPreTrainedModel):
    """
    One class out of many for each clip, or several labels (`config.problem_type`).

    `labels` of `forward`: a `torch.LongTensor` of shape `(clips,)`, -100 to leave a clip out, with cross-entropy; with
    `problem_type="multi_label_classification"` a tensor of shape `(clips, classes)` of numbers in [0, 1], with binary
    cross-entropy, averaged.

    Example:
        >>> from clipbert import CNNRNNForVideoClassification, CNNRNNVideoProcessor

        >>> model = CNNRNNForVideoClassification.from_pretrained("my-cnn-rnn")  # doctest: +SKIP
        >>> processor = CNNRNNVideoProcessor.from_pretrained("my-cnn-rnn")  # doctest: +SKIP
        >>> logits = model(**processor(videos=["punch.avi"])).logits  # doctest: +SKIP
        >>> model.config.id2label[logits.argmax().item()]  # doctest: +SKIP
    """

    def __init__(self, config):
        super().__init__(config)
        self.cnn_rnn = CNNRNNModel(config)
        self.dropout = nn.Dropout(config.head_dropout)
        self.classifier = nn.Linear(self.cnn_rnn.pooled_size, config.num_labels)
        self.post_init()

    @property
    def frame_encoder(self) -> CNNRNNFrameEncoder:
        """The part that turns frames into vectors, each by itself."""
        return self.cnn_rnn.frame_encoder

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.FloatTensor | None = None,
        frame_features: torch.FloatTensor | None = None,
        frame_mask: torch.Tensor | None = None,
        frame_lengths: torch.LongTensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        frame_indices: torch.LongTensor | None = None,
        frame_seconds: torch.DoubleTensor | None = None,
        video_metadata: list | None = None,
    ) -> tuple | CNNRNNVideoClassifierOutput:
        """
        Score every clip, or every window of it, pool over windows, compare with labels.

        Args:
            pixel_values, frame_features, frame_mask, frame_lengths, output_hidden_states, frame_indices, frame_seconds,
            video_metadata: See [`CNNRNNModel.forward`]. A window without a frame counts for nothing.
            labels (`torch.Tensor`, *optional*): See the class.

        Returns:
            [`CNNRNNVideoClassifierOutput`].

        Raises:
            ValueError: If shapes do not fit each other, a clip has no frame, or labels are not those of a class.
        """
        outputs = self.cnn_rnn(pixel_values, frame_features, frame_mask, frame_lengths, output_hidden_states)
        has_windows = outputs.pooler_output.ndim == 3
        window_logits = self.classifier(self.dropout(outputs.pooler_output))  # (B, C) or (B, N, C)
        windows, exists = window_logits, outputs.frame_lengths > 0
        if not has_windows:
            windows, exists = windows[:, None], exists[:, None]
        is_multi_label = self.config.problem_type == "multi_label_classification"
        logits = pool_window_scores(windows, self.config.score_pooling, is_multi_label, exists)  # (B, C)
        loss = None if labels is None else self.compute_loss(logits, labels)
        return CNNRNNVideoClassifierOutput(loss=loss, logits=logits, window_logits=windows, **outputs)

    def compute_loss(self, logits, labels):
        """
        Loss of pooled scores (section 5).

        Args:
            logits (`torch.FloatTensor` of shape `(clips, classes)`): Pooled scores.
            labels (`torch.Tensor`): See the class.

        Returns:
            `torch.FloatTensor` of shape `()`.
        """
        is_multi_label = self.config.problem_type == "multi_label_classification"
        wanted = tuple(logits.shape) if is_multi_label else tuple(logits.shape[:1])
        if not isinstance(labels, torch.Tensor) or tuple(labels.shape) != wanted:
            got = tuple(labels.shape) if isinstance(labels, torch.Tensor) else type(labels).__name__
            raise ValueError(
                f"labels must be a tensor of shape {wanted} with problem_type={self.config.problem_type!r}, got {got}."
            )
        if is_multi_label:
            if _values_are_known(labels) and not ((labels >= 0) & (labels <= 1)).all():
                raise ValueError(f"labels must lie in [0, 1], got values from {labels.min()} to {labels.max()}.")
            return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
        _check_integers("labels", labels, 0, logits.shape[1] - 1, "the classes", ignored=-100)
        if _values_are_known(labels) and (labels == -100).all():
            raise ValueError("labels are all -100, which leaves nothing to learn: leave them out, or the batch.")
        return F.cross_entropy(logits, labels.long())


__all__ = [
    "CNNRNNForVideoClassification",
    "CNNRNNModel",
    "CNNRNNPreTrainedModel",
    "load_backbone",
    "pool_window_scores",
]
