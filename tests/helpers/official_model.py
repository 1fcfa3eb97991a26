# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The official model a second time: state dicts of any size in its layout, and its forward written out with loops."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Sizes:
    depths: tuple[int, ...]
    stem: int
    widths: tuple[int, ...]
    hidden: int
    heads: int
    layers: int
    intermediate: int
    image: tuple[int, int]
    frames: int
    labels: int
    vocabulary: int = 50
    length: int = 7
    positions: int = 9
    grid: tuple[int, int] = (8, 6)


SIZES = {
    "resnet50": Sizes((3, 4, 6, 3), 4, (8, 12, 16, 24), 32, 4, 2, 48, (96, 160), 2, 2),
    "shallow_and_wide": Sizes((1, 2, 2, 1), 16, (16, 32, 64, 48), 24, 3, 4, 20, (130, 70), 3, 5),
    "one_frame": Sizes((2, 1, 1, 3), 8, (16, 16, 16, 32), 16, 8, 1, 64, (97, 97), 1, 3),
}


def official_config(sizes):
    """What the official JSON says and the tensors do not."""
    return {
        "num_attention_heads": sizes.heads,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "layer_norm_eps": 1e-12,
        "initializer_range": 0.02,
        "pad_token_id": 0,
    }


def random_official_state_dict(sizes, head="classifier", seed=0, dtype=torch.float64):
    """
    Random tensors in the official layout, far enough from 0 and 1 that every one of them matters. `head` is
    `"classifier"`, `"regressor"` or `"pretraining"`.
    """
    generator = torch.Generator().manual_seed(seed)
    state = {}

    def normal(name, *shape, scale=0.3, shift=0.0):
        state[name] = shift + scale * torch.randn(*shape, generator=generator, dtype=torch.float64)

    def convolution(name, out_channels, in_channels, kernel):
        normal(f"{name}.weight", out_channels, in_channels, kernel, kernel, scale=(2 / in_channels / kernel**2) ** 0.5)
        normal(f"{name}.norm.weight", out_channels, scale=0.1, shift=0.7)
        normal(f"{name}.norm.bias", out_channels)
        normal(f"{name}.norm.running_mean", out_channels)
        normal(f"{name}.norm.running_var", out_channels, scale=0.1, shift=1.0)

    def linear(name, out_features, in_features):
        normal(f"{name}.weight", out_features, in_features, scale=in_features**-0.5)
        normal(f"{name}.bias", out_features)

    def layer_norm(name):
        normal(f"{name}.weight", sizes.hidden, shift=1.0)
        normal(f"{name}.bias", sizes.hidden)

    convolution("cnn.feature.backbone.stem.conv1", sizes.stem, 3, 7)
    width = sizes.stem
    for stage, (depth, out_width) in enumerate(zip(sizes.depths, sizes.widths, strict=True)):
        for block in range(depth):
            name = f"cnn.feature.backbone.res{stage + 2}.{block}"
            if block == 0 and (stage > 0 or width != out_width):
                convolution(f"{name}.shortcut", out_width, width, 1)
            convolution(f"{name}.conv1", out_width // 4, width, 1)
            convolution(f"{name}.conv2", out_width // 4, out_width // 4, 3)
            convolution(f"{name}.conv3", out_width, out_width // 4, 1)
            width = out_width
    normal("cnn.feature.roi_heads.box_head.fc1.weight", 4, width)
    normal("cnn.grid_encoder.0.weight", sizes.hidden, width, 3, 3, scale=(2 / width / 9) ** 0.5)
    embeddings = {
        "embeddings.word": sizes.vocabulary,
        "embeddings.position": sizes.positions,
        "embeddings.token_type": 2,
        "visual_embeddings.position": sizes.positions,
        "visual_embeddings.row_position": sizes.grid[0],
        "visual_embeddings.col_position": sizes.grid[1],
        "visual_embeddings.token_type": 1,
    }
    for name, rows in embeddings.items():
        normal(f"transformer.bert.{name}_embeddings.weight", rows, sizes.hidden, scale=1.0)
    layer_norm("transformer.bert.embeddings.LayerNorm")
    layer_norm("transformer.bert.visual_embeddings.LayerNorm")
    for layer in range(sizes.layers):
        name = f"transformer.bert.encoder.layer.{layer}"
        for part in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            linear(f"{name}.{part}", sizes.hidden, sizes.hidden)
        linear(f"{name}.intermediate.dense", sizes.intermediate, sizes.hidden)
        linear(f"{name}.output.dense", sizes.hidden, sizes.intermediate)
        layer_norm(f"{name}.attention.output.LayerNorm")
        layer_norm(f"{name}.output.LayerNorm")
    linear("transformer.bert.pooler.dense", sizes.hidden, sizes.hidden)
    if head == "classifier":
        linear("transformer.classifier.0", 2 * sizes.hidden, sizes.hidden)
        linear("transformer.classifier.2", sizes.labels, 2 * sizes.hidden)
    elif head == "regressor":
        linear("transformer.regressor.0", sizes.hidden, sizes.hidden)
        layer_norm("transformer.regressor.2")
        normal("transformer.regressor.2.running_mean", sizes.hidden)
        normal("transformer.regressor.2.running_var", sizes.hidden, scale=0.1, shift=1.0)
        state["transformer.regressor.2.num_batches_tracked"] = torch.tensor(7)
        linear("transformer.regressor.4", 1, sizes.hidden)
    else:
        linear("transformer.cls.predictions.transform.dense", sizes.hidden, sizes.hidden)
        layer_norm("transformer.cls.predictions.transform.LayerNorm")
        normal("transformer.cls.predictions.bias", sizes.vocabulary)
        state["transformer.cls.predictions.decoder.weight"] = state[
            "transformer.bert.embeddings.word_embeddings.weight"
        ].clone()
        state["transformer.cls.predictions.decoder.bias"] = state["transformer.cls.predictions.bias"].clone()
        linear("transformer.cls.seq_relationship", 2, sizes.hidden)
    return {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def plain_features(state, sizes, pixel_values, prefix="cnn.feature.backbone."):
    """The last feature map of the CNN, which takes RGB and turns it into BGR."""

    def convolution(x, name, stride=1):
        weight = state[f"{prefix}{name}.weight"]
        x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
        mean, var, scale, shift = (
            state[f"{prefix}{name}.norm.{part}"][:, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(var + 1e-5) * scale + shift

    x = F.max_pool2d(convolution(pixel_values[:, [2, 1, 0]], "stem.conv1", 2).clamp(min=0), 3, 2, 1)
    for stage, depth in enumerate(sizes.depths):
        for block in range(depth):
            name = f"res{stage + 2}.{block}"
            stride = 2 if stage > 0 and block == 0 else 1
            has_projection = f"{prefix}{name}.shortcut.weight" in state
            shortcut = convolution(x, f"{name}.shortcut", stride) if has_projection else x
            x = convolution(x, f"{name}.conv1", stride).clamp(min=0)
            x = convolution(x, f"{name}.conv2").clamp(min=0)
            x = (convolution(x, f"{name}.conv3") + shortcut).clamp(min=0)
    return x


def plain_forward(state, sizes, pixel_values, input_ids, attention_mask, examples_per_video):
    """One clip per video. Returns the last hidden states and the scores of whatever head there is."""

    def linear(x, name):
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def gelu(x):
        return x * 0.5 * (1.0 + torch.erf(x / 2**0.5))

    def layer_norm(x, name):
        x = x - x.mean(-1, keepdim=True)
        x = x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-12)
        return x * state[f"{name}.weight"] + state[f"{name}.bias"]

    # 1. the CNN
    x = plain_features(state, sizes, pixel_values.flatten(0, 1))
    # 2. grid, mean over the frames, rows of the batch
    x = F.max_pool2d(F.conv2d(x, state["cnn.grid_encoder.0.weight"], padding=1), 2, 2).clamp(min=0)
    grid = x.unflatten(0, pixel_values.shape[:2]).mean(1).repeat_interleave(torch.tensor(examples_per_video), 0)
    # 3. embeddings
    bert = "transformer.bert."
    tables = {name.removeprefix(bert): state[name] for name in state if name.endswith("_embeddings.weight")}
    text = tables["embeddings.word_embeddings.weight"][input_ids]
    text = text + tables["embeddings.position_embeddings.weight"][: input_ids.shape[1]]
    text = layer_norm(text + tables["embeddings.token_type_embeddings.weight"][0], f"{bert}embeddings.LayerNorm")
    cells = []
    for row in range(grid.shape[2]):
        for column in range(grid.shape[3]):
            position = tables["visual_embeddings.row_position_embeddings.weight"][row]
            position = position + tables["visual_embeddings.col_position_embeddings.weight"][column]
            cells.append(grid[:, :, row, column] + position)
    visual = torch.stack(cells, 1) + tables["visual_embeddings.token_type_embeddings.weight"][0]
    x = torch.cat([text, layer_norm(visual, f"{bert}visual_embeddings.LayerNorm")], 1)
    # 4. transformer, head by head
    mask = torch.cat([attention_mask, torch.ones(len(x), len(cells), dtype=torch.long)], 1)
    bias = (1.0 - mask.double())[:, None] * -10000.0
    size = sizes.hidden // sizes.heads
    for layer in range(sizes.layers):
        name = f"{bert}encoder.layer.{layer}"
        query, key, value = (linear(x, f"{name}.attention.self.{part}") for part in ("query", "key", "value"))
        context = []
        for start in range(0, sizes.hidden, size):
            part = slice(start, start + size)
            scores = query[..., part] @ key[..., part].transpose(1, 2) / size**0.5 + bias
            context.append(scores.softmax(-1) @ value[..., part])
        attended = linear(torch.cat(context, -1), f"{name}.attention.output.dense")
        x = layer_norm(x + attended, f"{name}.attention.output.LayerNorm")
        inner = linear(x, f"{name}.intermediate.dense")
        x = layer_norm(x + linear(gelu(inner), f"{name}.output.dense"), f"{name}.output.LayerNorm")
    # 5. head
    pooled = torch.tanh(linear(x[:, 0], f"{bert}pooler.dense"))
    if "transformer.classifier.0.weight" in state:
        return x, linear(linear(pooled, "transformer.classifier.0").clamp(min=0), "transformer.classifier.2")
    if "transformer.regressor.0.weight" in state:
        hidden = linear(pooled, "transformer.regressor.0")
        hidden = torch.where(hidden > 0, hidden, hidden.exp() - 1)
        norm = {
            name: state[f"transformer.regressor.2.{name}"]
            for name in ("running_mean", "running_var", "weight", "bias")
        }
        hidden = (hidden - norm["running_mean"]) / torch.sqrt(norm["running_var"] + 1e-5) * norm["weight"] + norm[
            "bias"
        ]
        return x, linear(hidden, "transformer.regressor.4")
    words = gelu(linear(x[:, : input_ids.shape[1]], "transformer.cls.predictions.transform.dense"))
    words = layer_norm(words, "transformer.cls.predictions.transform.LayerNorm")
    words = words @ tables["embeddings.word_embeddings.weight"].T + state["transformer.cls.predictions.bias"]
    return x, (words, linear(pooled, "transformer.cls.seq_relationship"))
