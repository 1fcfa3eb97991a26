# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A plain ClipBERT that spends its time the way the official code does, written from a description of its behaviour.

What it does and `modeling_clipbert` does not: one clip per forward, the clips in a Python loop; the CNN again for every
block of texts and its grid repeated for every text; frozen batch norm as a separate multiplication and addition whose
scale is computed anew in each call; attention written out, with an additive mask even when nothing is padded; the
whole last layer, although the head reads one position; parameters that no forward uses, which get zero gradients.

Nothing is slowed down on purpose: layer norm, GELU, convolutions and matrix products are those of torch.
"""

import math
import re

import torch
import torch.nn.functional as F
from torch import nn


UNUSED_PARAMETERS = 50_524_188  # the parts of the detector that travel with the official backbone and are never run


class FrozenBatchNorm(nn.Module):
    """Statistics and scale as buffers; two element-wise operations and a new scale per call."""

    def __init__(self, channels: int):
        super().__init__()
        for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(name, torch.full((channels,), value))

    def forward(self, maps):
        scale = self.weight * (self.running_var + 1e-5).rsqrt()
        shift = self.bias - self.running_mean * scale
        return maps * scale.reshape(1, -1, 1, 1) + shift.reshape(1, -1, 1, 1)


class ConvNorm(nn.Module):
    def __init__(self, in_channels, out_channels, kernel_size=1, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False)
        self.norm = FrozenBatchNorm(out_channels)

    def forward(self, maps):
        return self.norm(self.conv(maps))


class Bottleneck(nn.Module):
    """1x1 (with the stride), 3x3, 1x1; a projection only in the first block of a stage."""

    def __init__(self, in_channels, out_channels, stride, projected):
        super().__init__()
        width = out_channels // 4
        self.shortcut = ConvNorm(in_channels, out_channels, stride=stride) if projected else None
        self.convs = nn.ModuleList(
            [ConvNorm(in_channels, width, stride=stride), ConvNorm(width, width, 3), ConvNorm(width, out_channels)]
        )

    def forward(self, maps):
        out = F.relu(self.convs[0](maps))
        out = F.relu(self.convs[1](out))
        out = self.convs[2](out)
        return F.relu(out + (maps if self.shortcut is None else self.shortcut(maps)))


class GridFeatures(nn.Module):
    """RGB frames to grids `(frames, hidden, rows, columns)`; channels are swapped to BGR in every call."""

    def __init__(self, config):
        super().__init__()
        sizes = config.backbone_config
        self.stem = ConvNorm(3, sizes.embedding_size, kernel_size=7, stride=2)
        stages, in_channels = [], sizes.embedding_size
        for index, (out_channels, depth) in enumerate(zip(sizes.hidden_sizes, sizes.depths, strict=True)):
            blocks = [
                Bottleneck(
                    in_channels if block == 0 else out_channels,
                    out_channels,
                    stride=2 if index > 0 and block == 0 else 1,
                    projected=block == 0,
                )
                for block in range(depth)
            ]
            stages.append(nn.Sequential(*blocks))
            in_channels = out_channels
        self.stages = nn.ModuleList(stages)
        self.grid_conv = nn.Conv2d(in_channels, config.hidden_size, kernel_size=3, padding=1, bias=False)
        for frozen in [self.stem, *self.stages][: config.freeze_backbone_stages]:
            frozen.requires_grad_(False)

    def forward(self, frames):
        maps = F.relu(self.stem(frames[:, [2, 1, 0]]))
        maps = F.max_pool2d(maps, kernel_size=3, stride=2, padding=1)
        for stage in self.stages:
            maps = stage(maps)
        return F.relu(F.max_pool2d(self.grid_conv(maps), kernel_size=2, stride=2))


class Layer(nn.Module):
    """A BERT layer with attention written out."""

    def __init__(self, config):
        super().__init__()
        width, self.num_heads = config.hidden_size, config.num_attention_heads
        self.query, self.key, self.value, self.attention_output = (nn.Linear(width, width) for _ in range(4))
        self.attention_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.intermediate = nn.Linear(width, config.intermediate_size)
        self.output = nn.Linear(config.intermediate_size, width)
        self.output_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.attention_dropout = nn.Dropout(config.attention_probs_dropout_prob)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, tokens, additive_mask):
        rows, length, width = tokens.shape
        query, key, value = (
            layer(tokens).view(rows, length, self.num_heads, -1).permute(0, 2, 1, 3)
            for layer in (self.query, self.key, self.value)
        )
        scores = torch.matmul(query, key.transpose(-1, -2)) / math.sqrt(width // self.num_heads)
        weights = self.attention_dropout(torch.softmax(scores + additive_mask, dim=-1))
        context = torch.matmul(weights, value).permute(0, 2, 1, 3).contiguous().view(rows, length, width)
        tokens = self.attention_norm(self.dropout(self.attention_output(context)) + tokens)
        return self.output_norm(self.dropout(self.output(F.gelu(self.intermediate(tokens)))) + tokens)


class BaselineClipBERT(nn.Module):
    """
    Retrieval model that sees one clip per forward (pool over clips with [`pool_clips`]).

    Args:
        config (`ClipBERTConfig`): Sizes; ResNet with bottlenecks, mean frame fusion.
        unused_parameters (`int`, *optional*, defaults to 0): Parameters that exist, and are trained, without any use.
    """

    def __init__(self, config, unused_parameters: int = 0):
        super().__init__()
        width = config.hidden_size
        self.cnn = GridFeatures(config)
        self.word_embeddings = nn.Embedding(config.vocab_size, width, padding_idx=config.pad_token_id)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, width)
        self.type_embeddings = nn.Embedding(config.type_vocab_size, width)
        self.text_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.row_embeddings = nn.Embedding(config.max_grid_row_position_embeddings, width)
        self.column_embeddings = nn.Embedding(config.max_grid_col_position_embeddings, width)
        self.visual_type_embeddings = nn.Embedding(1, width)
        self.visual_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.layers = nn.ModuleList([Layer(config) for _ in range(config.num_hidden_layers)])
        self.pooler = nn.Linear(width, width)
        self.classifier = nn.Sequential(
            nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, config.num_labels)
        )
        # a few matrices, as the detector has, and not one long row
        rows = 16
        self.unused = nn.ParameterList(
            [nn.Parameter(torch.zeros(rows, unused_parameters // (4 * rows))) for _ in range(4) if unused_parameters]
        )

    def forward(self, frames, input_ids, attention_mask, num_texts_per_video):
        """
        Scores of one clip.

        Args:
            frames (`torch.FloatTensor` of shape `(videos, frames, 3, height, width)`): One clip of each video, RGB.
            input_ids, attention_mask (`torch.LongTensor` of shape `(texts, length)`): Texts, those of a video together.
            num_texts_per_video (`list[int]`): How many texts each video has.

        Returns:
            `torch.FloatTensor` of shape `(texts, labels)`.
        """
        # 1. text and visual tokens
        places = torch.arange(input_ids.shape[1], device=input_ids.device)[None].expand_as(input_ids)
        text = self.word_embeddings(input_ids) + self.position_embeddings(places)
        text = self.dropout(self.text_norm(text + self.type_embeddings(torch.zeros_like(input_ids))))
        grids = self.cnn(frames.flatten(0, 1)).unflatten(
            0, frames.shape[:2]
        )  # (videos, frames, hidden, rows, columns)
        grids = grids.repeat_interleave(torch.tensor(num_texts_per_video, device=grids.device), dim=0)
        visual = self.embed_grids(grids)  # (texts, cells, hidden)
        # 2. one sequence; masked positions get -10000
        mask = torch.cat([attention_mask, attention_mask.new_ones(visual.shape[:2])], dim=1)
        additive_mask = (1.0 - mask[:, None, None].to(text.dtype)) * -10000.0
        tokens = torch.cat([text, visual], dim=1)
        for layer in self.layers:
            tokens = layer(tokens, additive_mask)
        # 3. the head reads position 0
        return self.classifier(self.dropout(torch.tanh(self.pooler(tokens[:, 0]))))

    def embed_grids(self, grids):
        grid = grids.mean(dim=1).permute(0, 2, 3, 1)  # (texts, rows, columns, hidden)
        rows, columns = (torch.arange(size, device=grid.device) for size in grid.shape[1:3])
        grid = grid + self.row_embeddings(rows)[None, :, None] + self.column_embeddings(columns)[None, None]
        cells = grid.flatten(1, 2)
        types = torch.zeros(cells.shape[:2], dtype=torch.long, device=cells.device)
        return self.dropout(self.visual_norm(cells + self.visual_type_embeddings(types)))


def pool_clips(clip_logits, score_pooling: str):
    """Logits `(clips, texts, labels)` to `(texts, labels)`."""
    if score_pooling == "lse":
        return torch.logsumexp(clip_logits, dim=0)
    return clip_logits.mean(dim=0) if score_pooling == "mean" else clip_logits.max(dim=0).values


@torch.no_grad()
def score_texts(model, clips, input_ids, attention_mask, score_pooling="mean", texts_per_block=64):
    """
    Probability that each text belongs to one video: blocks of texts, the clips of a block one by one, CNN included.

    Args:
        model ([`BaselineClipBERT`]): In evaluation mode.
        clips (`torch.FloatTensor` of shape `(clips, frames, 3, height, width)`): Of one video.
        input_ids, attention_mask (`torch.LongTensor` of shape `(texts, length)`): Padded to the maximum of the task.

    Returns:
        `torch.FloatTensor` of shape `(texts,)`, on the CPU.
    """
    scores = []
    for ids, mask in zip(input_ids.split(texts_per_block), attention_mask.split(texts_per_block), strict=True):
        clip_logits = [model(clip[None], ids, mask, [len(ids)]).float().cpu() for clip in clips]
        scores.append(pool_clips(torch.stack(clip_logits), score_pooling).softmax(dim=-1)[:, 1])
    return torch.cat(scores)


def training_loss(model, clips, input_ids, attention_mask, num_texts_per_video, labels, score_pooling="lse"):
    """
    Cross-entropy of the pooled scores; one forward per clip, the graphs of all clips kept.

    Args:
        clips (`torch.FloatTensor` of shape `(videos, clips, frames, 3, height, width)`): Frames.
        labels (`torch.LongTensor` of shape `(texts,)`): 1 if a text belongs to its video.
    """
    clip_logits = [
        model(clips[:, index], input_ids, attention_mask, num_texts_per_video) for index in range(clips.shape[1])
    ]
    return F.cross_entropy(pool_clips(torch.stack(clip_logits).float(), score_pooling), labels)


def set_missing_gradients(model):
    """Zero tensors as the gradients of parameters that no forward used."""
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)


# Parameter names of `ClipBERTForVideoTextRetrieval` -> names here, applied one after the other.
_RENAMINGS = [
    (r"^clipbert\.", ""),
    (r"^grid_encoder\.conv\.", "cnn.grid_conv."),
    (r"^grid_encoder\.backbone\.embedder\.embedder\.", "cnn.stem."),
    (r"^grid_encoder\.backbone\.encoder\.stages\.(\d+)\.layers\.(\d+)\.", r"cnn.stages.\1.\2."),
    (r"^(cnn\..*)\.layer\.", r"\1.convs."),
    (r"\.convolution\.", ".conv."),
    (r"\.normalization\.", ".norm."),
    (r"^embeddings\.LayerNorm\.", "text_norm."),
    (r"^embeddings\.token_type_embeddings", "type_embeddings"),
    (r"^embeddings\.", ""),
    (r"^visual_embeddings\.LayerNorm\.", "visual_norm."),
    (r"^visual_embeddings\.token_type_embeddings", "visual_type_embeddings"),
    (r"^visual_embeddings\.row_position_embeddings", "row_embeddings"),
    (r"^visual_embeddings\.col_position_embeddings", "column_embeddings"),
    (r"^encoder\.layer\.", "layers."),
    (r"\.attention\.self\.", "."),
    (r"\.attention\.output\.dense\.", ".attention_output."),
    (r"\.attention\.output\.LayerNorm\.", ".attention_norm."),
    (r"\.intermediate\.dense\.", ".intermediate."),
    (r"\.output\.dense\.", ".output."),
    (r"\.output\.LayerNorm\.", ".output_norm."),
    (r"^pooler\.dense\.", "pooler."),
    (r"^classifier\.dense\.", "classifier.0."),
    (r"^classifier\.out_proj\.", "classifier.2."),
]


def baseline_name(name: str) -> str:
    """Name in [`BaselineClipBERT`] of a parameter or buffer of `ClipBERTForVideoTextRetrieval`."""
    for pattern, replacement in _RENAMINGS:
        name = re.sub(pattern, replacement, name)
    return name


def copy_weights(source, baseline):
    """
    Give a baseline the weights of a `ClipBERTForVideoTextRetrieval`, so that both compute the same scores.

    Raises:
        RuntimeError: If a tensor has no counterpart.
    """
    state = {
        baseline_name(name): tensor
        for name, tensor in source.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    state["cnn.stem.conv.weight"] = state["cnn.stem.conv.weight"].flip(1)  # our stem reads RGB, the baseline BGR
    state |= {name: tensor for name, tensor in baseline.state_dict().items() if name.startswith("unused.")}
    baseline.load_state_dict(state)
