# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
STAN, the branch of spatial-temporal layers beside a vision tower (section III-B of the paper, equations 2 to 10).

    layer m of CLIP  ->  g = (mean of class tokens + start) / 2,  p = patches + place + time
                             |  temporal module, spatial module
    layer m + 1      ->  +   |  g + mean of class tokens,  p + patches
                             |  temporal module, spatial module
    ...                      v
                             g, p

One class token g for the whole video, one patch token p for each place of each frame. Where the tower has no class token
there is no g, and all that is said of it is said of nothing: its dimension is 0.

Letters: R videos (or views of them), T frames, L patches of a frame, C class tokens (1 or 0), D width.
"""

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import stochastic_depth
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer


class STANTemporalProjection(nn.Linear):
    """`temporal_fc` of the official code: 0 at the start, so that a new branch mixes no frames."""

    def reset_parameters(self):
        init.zeros_(self.weight)
        init.zeros_(self.bias)


class STANLevelProjection(nn.Linear):
    """W_k of equations 6 and 7: the identity at the start."""

    def reset_parameters(self):
        init.eye_(self.weight)


class STANClassToken(nn.Module):
    """The class token that the follow-up begins with (`btadapter_cls_token`), 0 at the start."""

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, width))

    def reset_parameters(self):
        init.zeros_(self.weight)


class STANGate(nn.Module):
    """Shares of CLIP and branch, in place of their sum (`balance1` and `balance2` of the follow-up); halves at the start."""

    def __init__(self, width, scale):
        super().__init__()
        self.weight, self.scale = nn.Parameter(torch.zeros(width)), scale

    def reset_parameters(self):
        init.zeros_(self.weight)

    def forward(self, clip, branch):
        # both: (..., D)
        share = (self.scale * self.weight).sigmoid()
        return share * clip + (1 - share) * branch


# ---------------------------------------------------------------------------------------------------------------------
# Over time
# ---------------------------------------------------------------------------------------------------------------------


class STANTemporalSelfAttention(GradientCheckpointingLayer):
    """Every place attends to itself in all frames (equation 9; `STAN_T_layers` of the official code)."""

    def __init__(self, vision_config, attention_class, drop_path):
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(vision_config.hidden_size)
        self.self_attn = attention_class(vision_config)
        self.temporal_fc = STANTemporalProjection(vision_config.hidden_size, vision_config.hidden_size)
        self.drop_path = drop_path

    def forward(self, patches, grid):
        # patches: (R, T, L, D) -> the same
        places = patches.transpose(1, 2)  # (R, L, T, D)
        mixed, _ = self.self_attn(self.layer_norm1(places.flatten(0, 1)), attention_mask=None)
        mixed = stochastic_depth(mixed, self.drop_path, "row", self.training)
        return patches + self.temporal_fc(mixed).unflatten(0, places.shape[:2]).transpose(1, 2)


class STANTemporalConv(GradientCheckpointingLayer):
    """The convolutions of the first official release, over frames, rows and columns; no norm."""

    def __init__(self, vision_config, kind, drop_path):
        super().__init__()
        width = vision_config.hidden_size
        self.activation = ACT2FN["quick_gelu"] if kind == "conv_activate" else nn.Identity()
        self.down = nn.Conv3d(width, width, 1) if kind == "conv_3layer" else None
        size = 1 if kind == "conv_3d11" else 3
        self.conv = nn.Conv3d(width, width, size, padding=size // 2)
        self.temporal_fc = STANTemporalProjection(width, width)
        self.drop_path = drop_path

    def forward(self, patches, grid):
        # patches: (R, T, L, D) with L = grid[0] * grid[1] -> the same
        volume = patches.movedim(-1, 1).unflatten(3, grid)  # (R, D, T, rows, columns)
        if self.down is None:
            volume = self.activation(self.conv(volume))
        else:  # the official module declares an up-projection and applies the down-projection twice
            volume = self.down(self.conv(self.down(volume)))
        volume = stochastic_depth(volume, self.drop_path, "row", self.training)
        return patches + self.temporal_fc(volume.flatten(3).movedim(1, -1))


# ---------------------------------------------------------------------------------------------------------------------
# Within frames, and over both
# ---------------------------------------------------------------------------------------------------------------------


class STANSpatialLayer(GradientCheckpointingLayer):
    """
    A layer of the tower, over the patches of each frame and the class token of the video (equation 8; `STAN_S_layers`).

    Every frame sees the same class token, and what becomes of it is averaged before it passes the MLP once.
    """

    def __init__(self, clip_layer, drop_path):
        super().__init__()
        self.layer_norm1, self.self_attn = clip_layer.layer_norm1, clip_layer.self_attn
        self.layer_norm2, self.mlp = clip_layer.layer_norm2, clip_layer.mlp
        self.drop_path = drop_path

    def attend(self, tokens):
        # tokens: (rows, length, D)
        attended, _ = self.self_attn(self.layer_norm1(tokens), attention_mask=None)
        return stochastic_depth(attended, self.drop_path, "row", self.training)

    def feed(self, tokens):
        return tokens + self.mlp(self.layer_norm2(tokens))

    def forward(self, video, patches):
        # video: (R, C, D), patches: (R, T, L, D) -> the same
        num_class, num_frames = video.shape[1], patches.shape[1]
        frames = torch.cat([video[:, None].expand(-1, num_frames, -1, -1), patches], dim=2)  # (R, T, C+L, D)
        attended = self.attend(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        video = video + attended[:, :, :num_class].mean(dim=1)
        patches = patches + attended[:, :, num_class:]
        return self.feed(video), self.feed(patches)


class STANJointLayer(STANSpatialLayer):
    """A layer of the tower over the class token and all patches of all frames; the definition is ours."""

    def forward(self, video, patches):
        num_class = video.shape[1]
        tokens = torch.cat([video, patches.flatten(1, 2)], dim=1)  # (R, C+T*L, D)
        tokens = self.feed(tokens + self.attend(tokens))
        return tokens[:, :num_class], tokens[:, num_class:].unflatten(1, patches.shape[1:3])


# ---------------------------------------------------------------------------------------------------------------------
# The branch
# ---------------------------------------------------------------------------------------------------------------------


class STANTimeTable(nn.Embedding):
    """
    Positions of frames (`STAN_time_embed`). As many frames as it has rows take its first rows; more of them take places
    between the first and the last row, by linear interpolation.
    """

    def __init__(self, size, width, beyond):
        super().__init__(size, width)
        self.beyond = beyond

    def forward(self, num_frames):
        # -> (T, D)
        size = self.num_embeddings
        if num_frames <= size:
            return self.weight[:num_frames]
        if self.beyond == "refuse":
            raise ValueError(
                f"A video has {num_frames} frames, but the time table has {size} positions (time_table_size). Sample fewer "
                "frames, or set beyond_time_table='interpolate'."
            )
        table = self.weight.T[None]  # (1, D, size)
        return F.interpolate(table, size=num_frames, mode="linear", align_corners=True)[0].T.to(self.weight.dtype)


class STANBranch(nn.Module):
    """
    One branch.

    Args:
        config ([`MugSTANConfig`]): Settings.
        clip_layers (`nn.ModuleList`): The layers of the vision tower, whose class, not weights, the branch takes.
        layers (`list[int]`): Those that it reads, counted from 1.
    """

    def __init__(self, config, clip_layers, layers):
        super().__init__()
        vision_config = config.clip_config.vision_config
        width, count = vision_config.hidden_size, len(layers)
        layer_class, attention_class = type(clip_layers[0]), type(clip_layers[0].self_attn)
        self.layers, self.multi_level = list(layers), config.multi_level
        self.time_embedding = STANTimeTable(config.time_table_size, width, config.beyond_time_table)
        rates = [config.drop_path_rate * k / max(count - 1, 1) for k in range(count)]
        is_joint = config.space_time == "joint"
        self.temporal_layers = nn.ModuleList()
        for rate in [] if is_joint else rates:
            if config.temporal_module == "self_attention":
                self.temporal_layers.append(STANTemporalSelfAttention(vision_config, attention_class, rate))
            else:
                self.temporal_layers.append(STANTemporalConv(vision_config, config.temporal_module, rate))
        spatial_class = STANJointLayer if is_joint else STANSpatialLayer
        self.spatial_layers = nn.ModuleList(spatial_class(layer_class(vision_config), rate) for rate in rates)
        self.level_projections = nn.ModuleList()
        if config.level_projection and config.multi_level:
            self.level_projections.extend(STANLevelProjection(width, width, bias=False) for _ in layers[1:])
        self.class_token = STANClassToken(width) if config.own_class_token else None
        self.level_gate = self.fusion_gate = None
        if config.level_gate_scale is not None and config.multi_level and count > 1:
            self.level_gate = STANGate(width, config.level_gate_scale)
        if config.fusion_gate_scale is not None:
            self.fusion_gate = STANGate(width, config.fusion_gate_scale)

    def copied_layers(self, clip_layers):
        """Pairs of a layer of the branch and the layer of CLIP whose weights it starts with."""
        return [(own, clip_layers[layer - 1]) for own, layer in zip(self.spatial_layers, self.layers, strict=True)]

    def forward(self, states, start, positions, grid):
        """
        Read a video.

        Args:
            states (`dict[int, torch.FloatTensor]` of shape `(R, T, C+L, D)`):
                Outputs of the CLIP layers. The branch goes as far as they do.
            start (`torch.FloatTensor` of shape `(C, D)`):
                What the class token begins with beside that of CLIP, unless the branch has its own.
            positions (`torch.FloatTensor` of shape `(C+L, D)`): The positions of the vision tower.
            grid (`tuple[int, int]`): Rows and columns of patches.

        Returns:
            The class token `(R, C, D)` of each video and its patches `(R, T, L, D)`.
        """
        num_class = start.shape[0]
        if self.class_token is not None:
            start = self.class_token.weight + positions[:num_class]
        for k, layer in enumerate(self.layers):
            if layer not in states:
                break
            # 1. what CLIP has to say at this level
            if k == 0:
                read = states[layer]
                video = (read[:, :, :num_class].mean(dim=1) + start) / 2
                time = self.time_embedding(read.shape[1])[:, None]  # (T, 1, D)
                patches = read[:, :, num_class:] + positions[num_class:] + time
            elif self.multi_level:
                read = states[layer] if not self.level_projections else self.level_projections[k - 1](states[layer])
                join = torch.add if self.level_gate is None else self.level_gate
                video = join(read[:, :, :num_class].mean(dim=1), video)
                patches = join(read[:, :, num_class:], patches)
            # 2. time, then space
            if self.temporal_layers:
                patches = self.temporal_layers[k](patches, grid)
            video, patches = self.spatial_layers[k](video, patches)
        return video, patches


__all__ = [
    "STANBranch",
    "STANClassToken",
    "STANGate",
    "STANJointLayer",
    "STANSpatialLayer",
    "STANTemporalConv",
    "STANTemporalSelfAttention",
    "STANTimeTable",
]
