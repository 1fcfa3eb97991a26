# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Mug-STAN once more, a frame, a place, a head and a pair at a time, in double precision.

Written from the equations of the paper and the rules of the official code alone: it shares nothing with the package but
the names of weights. Frames beside CLIP and SigLIP, texts of CLIP, which come without padding.
"""

import math

import torch


ACTIVATIONS = {
    "quick_gelu": lambda x: x / (1 + torch.exp(-1.702 * x)),
    "gelu": lambda x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2))),
    "gelu_pytorch_tanh": lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
}


def unit(x):
    return x / x.norm(dim=-1, keepdim=True)


def soft_max(scores):
    exponentials = torch.exp(scores - scores.max())
    return exponentials / exponentials.sum()


class PlainMugSTAN:
    """The weights of a model, as leaves of a graph of their own."""

    def __init__(self, model):
        self.config, self.clip = model.config, model.config.clip_config
        self.weights = {n: p.detach().double().requires_grad_() for n, p in model.base_model.named_parameters()}
        self.has_class_token = self.clip.model_type == "clip"

    # Layers ----------------------------------------------------------------------------------------------------------

    def linear(self, x, name):
        y = x @ self.weights[f"{name}.weight"].T
        return y + self.weights[f"{name}.bias"] if f"{name}.bias" in self.weights else y

    def norm(self, x, name, eps):
        centred = x - x.mean(dim=-1, keepdim=True)
        scaled = centred / (centred.pow(2).mean(dim=-1, keepdim=True) + eps).sqrt()
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def heads(self, query, key, value, count, allowed=None):
        """Each of shape `(length, D)`."""
        size, parts = query.shape[-1] // count, []
        for head in range(count):
            columns = slice(head * size, (head + 1) * size)
            scores = query[:, columns] @ key[:, columns].T / math.sqrt(size)
            if allowed is not None:
                scores = scores.masked_fill(~allowed, -math.inf)
            weights = torch.stack([soft_max(row) for row in scores])
            parts.append(weights @ value[:, columns])
        return torch.cat(parts, dim=-1)

    def attend(self, x, name, tower, allowed=None):
        query, key, value = (self.linear(x, f"{name}.{part}_proj") for part in "qkv")
        return self.linear(self.heads(query, key, value, tower.num_attention_heads, allowed), f"{name}.out_proj")

    def feed(self, x, name, tower):
        return self.linear(ACTIVATIONS[tower.hidden_act](self.linear(x, f"{name}.fc1")), f"{name}.fc2")

    def layer(self, x, name, tower, allowed=None):
        eps = tower.layer_norm_eps
        x = x + self.attend(self.norm(x, f"{name}.layer_norm1", eps), f"{name}.self_attn", tower, allowed)
        return x + self.feed(self.norm(x, f"{name}.layer_norm2", eps), f"{name}.mlp", tower)

    # Frames ----------------------------------------------------------------------------------------------------------

    def hidden_states(self, frame):
        """What the vision tower says of a frame `(3, S, S)` at all levels, each `(tokens, D)`; level 0 is its input."""
        tower, name = self.clip.vision_config, "clip.vision_model"
        size, patch = frame.shape[-1], tower.patch_size
        kernel = self.weights[f"{name}.embeddings.patch_embedding.weight"]
        x = []
        for top in range(0, size - patch + 1, patch):
            for left in range(0, size - patch + 1, patch):
                x.append((kernel * frame[:, top : top + patch, left : left + patch]).sum(dim=(1, 2, 3)))
        x = torch.stack(x)
        if f"{name}.embeddings.patch_embedding.bias" in self.weights:
            x = x + self.weights[f"{name}.embeddings.patch_embedding.bias"]
        if self.has_class_token:
            x = torch.cat([self.weights[f"{name}.embeddings.class_embedding"][None], x])
        x = x + self.weights[f"{name}.embeddings.position_embedding.weight"]
        if self.has_class_token:
            x = self.norm(x, f"{name}.pre_layrnorm", tower.layer_norm_eps)
        states = [x]
        for number in range(tower.num_hidden_layers):
            states.append(self.layer(states[-1], f"{name}.encoder.layers.{number}", tower))
        return states

    def branch(self, number, states):
        """One branch over the hidden states of all frames: the class token `(1 or 0, D)` and a list of patches."""
        config, tower, name = self.config, self.clip.vision_config, f"branches.{number}"
        first = 1 if self.has_class_token else 0
        table = self.weights["clip.vision_model.embeddings.position_embedding.weight"]
        time = self.weights[f"{name}.time_embedding.weight"]
        for k, level in enumerate(config.layers_read[number]):
            read = [frame[level] for frame in states]
            if k and config.level_projection and config.multi_level:
                read = [self.linear(frame, f"{name}.level_projections.{k - 1}") for frame in read]
            mean = sum(frame[:first] for frame in read) / len(read)
            if k == 0:
                video = mean
                if self.has_class_token:
                    own = self.weights["clip.vision_model.embeddings.class_embedding"] + table[0]
                    video = 0.5 * (mean + own)
                patches = [frame[first:] + table[first:] + time[i] for i, frame in enumerate(read)]
            elif config.multi_level:
                video = video + mean
                patches = [old + frame[first:] for old, frame in zip(patches, read, strict=True)]
            if config.space_time == "joint":
                x = self.layer(torch.cat([video, *patches]), f"{name}.spatial_layers.{k}", tower)
                video, patches = x[:first], list(x[first:].split(len(patches[0])))
                continue
            patches = self.over_time(patches, f"{name}.temporal_layers.{k}")
            video, patches = self.within_frames(video, patches, f"{name}.spatial_layers.{k}")
        return video, patches

    def over_time(self, patches, name):
        if self.config.temporal_module != "self_attention":
            mixed = self.convolve(torch.stack(patches), name)
        else:
            mixed = [[] for _ in patches]
            for place in range(len(patches[0])):
                over_time = torch.stack([frame[place] for frame in patches])
                x = self.norm(over_time, f"{name}.layer_norm1", 1e-5)
                for i, row in enumerate(self.attend(x, f"{name}.self_attn", self.clip.vision_config)):
                    mixed[i].append(row)
            mixed = [torch.stack(rows) for rows in mixed]
        return [old + self.linear(x, f"{name}.temporal_fc") for old, x in zip(patches, mixed, strict=True)]

    def convolve(self, patches, name):
        """Places as a grid, row by row; what lies beyond the border is 0."""
        side = round(patches.shape[1] ** 0.5)
        volume, kind = patches.unflatten(1, (side, side)), self.config.temporal_module
        if kind == "conv_3layer":
            volume = self.kernel(volume, f"{name}.down")
        volume = self.kernel(volume, f"{name}.conv")
        if kind == "conv_3layer":
            volume = self.kernel(volume, f"{name}.down")
        if kind == "conv_activate":
            volume = ACTIVATIONS["quick_gelu"](volume)
        return list(volume.flatten(1, 2))

    def kernel(self, volume, name):
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        size = weight.shape[-1]
        reach = size // 2
        lengths, width = volume.shape[:3], volume.shape[3]
        padded = volume.new_zeros(*(length + 2 * reach for length in lengths), width)
        padded[tuple(slice(reach, reach + length) for length in lengths)] = volume
        found = bias
        for t in range(size):
            for row in range(size):
                for column in range(size):
                    part = padded[t : t + lengths[0], row : row + lengths[1], column : column + lengths[2]]
                    found = found + part @ weight[:, :, t, row, column].T
        return found

    def within_frames(self, video, patches, name):
        tower, first = self.clip.vision_config, len(video)
        copies, moved = [], []
        for frame in patches:
            x = torch.cat([video, frame])
            x = self.attend(self.norm(x, f"{name}.layer_norm1", tower.layer_norm_eps), f"{name}.self_attn", tower)
            copies.append(x[:first])
            moved.append(frame + x[first:])

        def fed(x):
            return x + self.feed(self.norm(x, f"{name}.layer_norm2", tower.layer_norm_eps), f"{name}.mlp", tower)

        return fed(video + sum(copies) / len(copies)), [fed(frame) for frame in moved]

    def encode_video(self, frames):
        """Features `(T, P)` of frames `(T, 3, S, S)`, the class token of the branches, and their patches `(T, L, D)`."""
        states = [self.hidden_states(frame) for frame in frames.double()]
        tokens, video, patches = [frame[-1] for frame in states], None, None
        read = [self.branch(number, states) for number in range(len(self.config.layers_read))]
        if read:
            video = sum(one for one, _ in read)
            patches = [sum(parts) for parts in zip(*(each for _, each in read), strict=True)]
            together = [torch.cat([video, frame]) for frame in patches]
            if self.config.fusion == "branch":
                together = [frame + clip for frame, clip in zip(together, tokens, strict=True)]
            tokens = together
        name, eps = "clip.vision_model", self.clip.vision_config.layer_norm_eps
        tokens = [self.norm(frame, f"{name}.post_layernorm", eps) for frame in tokens]
        if self.has_class_token:
            features = torch.stack([self.linear(frame[0], "clip.visual_projection") for frame in tokens])
        else:
            features = torch.stack([self.pool_patches(frame) for frame in tokens])
        return features, video, None if patches is None else torch.stack(patches)

    def pool_patches(self, patches):
        """SigLIP's head: a probe attends to all patches, then norm and MLP with residual."""
        name, tower = "clip.vision_model.head", self.clip.vision_config
        weights = self.weights[f"{name}.attention.in_proj_weight"].chunk(3)
        biases = self.weights[f"{name}.attention.in_proj_bias"].chunk(3)
        given = self.weights[f"{name}.probe"][0], patches, patches
        query, key, value = (x @ w.T + b for x, w, b in zip(given, weights, biases, strict=True))
        mixed = self.heads(query, key, value, tower.num_attention_heads)
        mixed = self.linear(mixed, f"{name}.attention.out_proj")
        return (mixed + self.feed(self.norm(mixed, f"{name}.layernorm", tower.layer_norm_eps), f"{name}.mlp", tower))[
            0
        ]

    # Words -----------------------------------------------------------------------------------------------------------

    def encode_text(self, ids):
        """Features `(n, P)` of the tokens of CLIP and `(P,)` of the text; `ids` is a list without padding."""
        tower, name = self.clip.text_config, "clip.text_model"
        x = torch.stack([self.weights[f"{name}.embeddings.token_embedding.weight"][token] for token in ids])
        x = x + self.weights[f"{name}.embeddings.position_embedding.weight"][: len(ids)]
        before = torch.tensor([[j <= i for j in range(len(ids))] for i in range(len(ids))])
        for number in range(tower.num_hidden_layers):
            x = self.layer(x, f"{name}.encoder.layers.{number}", tower, before)
        x = self.linear(self.norm(x, f"{name}.final_layer_norm", tower.layer_norm_eps), "clip.text_projection")
        end = ids.index(max(ids)) if tower.eos_token_id == 2 else ids.index(tower.eos_token_id)
        return x, x[end]

    # Scores ----------------------------------------------------------------------------------------------------------

    def score(self, words, text, frames):
        """A text, `(n, P)` and `(P,)`, with a video `(T, P)`, by the similarity of the config."""
        mode, tau = self.config.similarity, self.config.head_scale
        if mode == "mean_pool":
            return unit(text) @ unit(frames.mean(dim=0))
        if mode == "wti":
            word_weights = soft_max(self.linear(words, "word_weight")[:, 0])
            frame_weights = soft_max(self.linear(frames, "frame_weight")[:, 0])
        c, v, end = unit(words), unit(frames), unit(text)
        n, count = len(c), len(v)
        if mode == "frame_text_official":
            to_text = soft_max(tau * (v @ end))
            return sum(to_text[i] * (v[i] @ end) for i in range(count))
        if mode == "wti":
            by_word = sum(word_weights[j] * max(c[j] @ v[i] for i in range(count)) for j in range(n))
            by_frame = sum(frame_weights[i] * max(c[j] @ v[i] for j in range(n)) for i in range(count))
            return (by_word + by_frame) / 2

        def choose(scores):
            if mode != "top_k":
                return soft_max(tau * scores)
            best = scores.argsort(descending=True)[: self.config.top_k]
            return torch.zeros_like(scores).index_fill(0, best, 1 / len(best))

        frame_scores, word_scores = [], []
        for i in range(count):  # equations 11 and 12
            attention = choose(torch.stack([c[j] @ v[i] for j in range(n)]))
            seen = sum(attention[j] * c[j] for j in range(n))
            frame_scores.append(seen @ v[i])
        for j in range(n):  # 15 and 16
            attention = choose(torch.stack([c[j] @ v[i] for i in range(count)]))
            seen = sum(attention[i] * v[i] for i in range(count))
            word_scores.append(c[j] @ seen)
        frame_scores, word_scores = torch.stack(frame_scores), torch.stack(word_scores)
        frame_weights, word_weights = choose(frame_scores), choose(word_scores)  # 13 and 17
        if mode == "mug":
            return ((word_weights * word_scores).sum() + (frame_weights * frame_scores).sum()) / 2
        guided_video = sum(frame_weights[i] * v[i] for i in range(count))  # 14
        guided_text = sum(word_weights[j] * c[j] for j in range(n))  # 18
        if mode == "frame_text":
            guided_text = end
        if mode == "video_token":
            guided_video = v.mean(dim=0)
        return guided_video @ guided_text

    def loss(self, scores):
        """Equation 19 of scores `(pairs, pairs)`: both directions, summed."""
        logits, count, total = self.config.loss_scale * scores, len(scores), 0
        for i in range(count):
            total = total - torch.log(soft_max(logits[i])[i]) - torch.log(soft_max(logits[:, i])[i])
        return total / count
