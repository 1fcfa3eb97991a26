# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Checkpoints of the official code as folders that every class of this family reads.

    python -m clipbert.modeling_mug_stan.convert_mug_stan_checkpoint --checkpoint_path mug_stan.pth \
        --clip openai/clip-vit-base-patch32 --output_dir published/mug-stan-b32

The files of the current release (`STAN_`) and of the first one (`timesFPN_`) are read, bare or wrapped in "state_dict".
Every tensor has its place, is known to be used by nobody, or is refused by its name. Sizes are those of the tensors; what
they cannot tell (heads, activation, end token) comes from the config of the CLIP that the training started from, or is
what all of OpenAI's CLIPs have. The scale of CLIP's own loss is in no such file, and nothing reads it here.
"""

import argparse
import os
import re
from collections.abc import Mapping

import torch
from transformers import AutoConfig, CLIPConfig

from clipbert.support.weights import ConversionError, listed, new_folder, read_checkpoint

from .configuration_mug_stan import MugSTANConfig
from .modeling_mug_stan import MugSTANForVideoTextRetrieval


_TOWER = {
    "class_embedding": "embeddings.class_embedding",
    "patch_embedding.weight": "embeddings.patch_embedding.weight",
    "position_embedding.weight": "embeddings.position_embedding.weight",
}
_BRANCH = re.compile(r"backbone\.(?:STAN|timesFPN)_(?:(S|T)_layers\.(\d+)\.(.+)|time_embed\.(.+))")
# names inside the convolutions of the first release, which has them in three forms
_CONV = {
    "layers.weight": "conv.weight",
    "layers.bias": "conv.bias",
    "layers.0.weight": "conv.weight",
    "layers.0.bias": "conv.bias",
    "layers.adapter_downsample.weight": "down.weight",
    "layers.adapter_downsample.bias": "down.bias",
    "layers.adapter_DWconv.weight": "conv.weight",
    "layers.adapter_DWconv.bias": "conv.bias",
}
_ADAPTER = {"adapter.text_weight_fc": "word_weight", "adapter.video_weight_fc": "frame_weight"}
# in some files, and read by no code that wrote them
UNUSED = re.compile(
    r"backbone\.timesFPN_(?:pos_embed\.weight|cls_token)"
    r"|backbone\.(?:STAN|timesFPN)_T_layers\.\d+\.layers\.adapter_upsample\.(?:weight|bias)"
    r"|(?:text_backbone\.text_model|backbone)\.embeddings\.position_ids"
)


def convert_name(name: str) -> str | None:
    """Our name, below `mug_stan.`, of a tensor of the official model, or `None` if it has no such tensor."""
    if found := _BRANCH.fullmatch(name):
        kind, layer, rest, of_table = found.groups()
        if of_table:
            return f"branches.0.time_embedding.{of_table}"
        place = "spatial_layers" if kind == "S" else "temporal_layers"
        return f"branches.0.{place}.{layer}.{_CONV.get(rest, rest)}"
    module, _, tensor = name.rpartition(".")
    if module in _ADAPTER:
        return f"{_ADAPTER[module]}.{tensor}"
    if name.startswith("text_backbone."):
        return f"clip.{name.removeprefix('text_backbone.')}"
    if not name.startswith("backbone."):
        return None
    own = name.removeprefix("backbone.")
    if own.startswith("visual_projection."):
        return f"clip.{own}"
    own = _TOWER.get(own, own)
    return f"clip.vision_model.{'encoder.' if own.startswith('layers.') else ''}{own}"


def _count(tensors: Mapping[str, torch.Tensor], pattern: str) -> int:
    return len({found.group(1) for name in tensors if (found := re.match(pattern, name))})


def build_clip_config(tensors: Mapping[str, torch.Tensor], clip_config: CLIPConfig | None) -> CLIPConfig:
    """
    The config of the CLIP inside a checkpoint.

    Raises:
        ConversionError: If the tensors are those of something else, or of another CLIP than the given one.
    """
    try:
        patches, positions = tensors["backbone.patch_embedding.weight"], tensors["backbone.position_embedding.weight"]
        words = tensors["text_backbone.text_model.embeddings.token_embedding.weight"]
        places = tensors["text_backbone.text_model.embeddings.position_embedding.weight"]
        sizes = {
            "vision_config": {
                "hidden_size": patches.shape[0],
                "patch_size": patches.shape[-1],
                "image_size": patches.shape[-1] * round((len(positions) - 1) ** 0.5),
                "num_hidden_layers": _count(tensors, r"backbone\.layers\.(\d+)\."),
                "intermediate_size": tensors["backbone.layers.0.mlp.fc1.bias"].shape[0],
            },
            "text_config": {
                "hidden_size": words.shape[1],
                "vocab_size": words.shape[0],
                "max_position_embeddings": places.shape[0],
                "num_hidden_layers": _count(tensors, r"text_backbone\.text_model\.encoder\.layers\.(\d+)\."),
                "intermediate_size": tensors["text_backbone.text_model.encoder.layers.0.mlp.fc1.bias"].shape[0],
            },
        }
        projection = tensors["backbone.visual_projection.weight"].shape[0]
    except KeyError as error:
        raise ConversionError(
            f"This is no checkpoint of Mug-STAN: {error.args[0]} is missing; the file has{listed(tensors)}"
        ) from error
    if clip_config is None:  # OpenAI's: heads of 64, QuickGELU, the text ends where the number of the token is largest
        for tower in sizes.values():
            tower |= {"num_attention_heads": max(1, tower["hidden_size"] // 64), "hidden_act": "quick_gelu"}
        sizes["text_config"] |= {"eos_token_id": 2, "bos_token_id": 0, "pad_token_id": 1}
        return CLIPConfig(**sizes, projection_dim=projection)
    wrong = [
        f"{tower}.{name}: {getattr(getattr(clip_config, tower), name)}, in the checkpoint {size}"
        for tower, known in sizes.items()
        for name, size in known.items()
        if getattr(getattr(clip_config, tower), name) != size
    ]
    if clip_config.projection_dim != projection:
        wrong.append(f"projection_dim: {clip_config.projection_dim}, in the checkpoint {projection}")
    if wrong:
        raise ConversionError(f"The checkpoint is not that of this CLIP:{listed(wrong)}")
    return clip_config


def build_config(
    tensors: Mapping[str, torch.Tensor], clip_config: CLIPConfig | None = None, **fields
) -> MugSTANConfig:
    """The config that the tensors tell; `fields` are what they cannot."""
    clip_config = build_clip_config(tensors, clip_config)
    depth = _count(tensors, r"backbone\.(?:STAN|timesFPN)_S_layers\.(\d+)\.")
    table = next((len(tensors[name]) for name in tensors if name.endswith("_time_embed.weight")), 64)
    first = {
        re.sub(r"^backbone\.\w+_T_layers\.0\.", "", name): tensors[name] for name in tensors if "_T_layers.0." in name
    }
    kind = "self_attention"
    if "layers.adapter_DWconv.weight" in first:
        kind = "conv_3layer"
    elif "layers.0.weight" in first:
        kind = "conv_activate"
    elif "layers.weight" in first:
        kind = "conv_3d11" if first["layers.weight"].shape[-1] == 1 else "conv_origin"
    similarity = {"similarity": "wti"} if any(name.startswith("adapter.") for name in tensors) else {}
    return MugSTANConfig(
        **{
            "clip_config": clip_config,
            "stan_num_layers": depth,
            "temporal_module": kind,
            "time_table_size": table,
            **similarity,
            **fields,
        }
    )


def build_model(
    tensors: Mapping[str, torch.Tensor], clip_config: CLIPConfig | None = None, **fields
) -> MugSTANForVideoTextRetrieval:
    """
    The model with the weights of an official one.

    Args:
        tensors (`Mapping[str, torch.Tensor]`): The official state dict.
        clip_config (`CLIPConfig`, *optional*): Of the CLIP that the training started from.
        **fields: Of [`MugSTANConfig`], which the tensors do not tell, such as `similarity`.

    Returns:
        [`MugSTANForVideoTextRetrieval`], in evaluation mode.

    Raises:
        ConversionError: If a tensor is missing, unknown, of another shape, or not finite; all of them are named.
    """
    if others := [name for name in tensors if "btadapter_" in name]:
        raise ConversionError(
            "This is a checkpoint of BT-Adapter, which has a class token and gates of its own; no model here has them yet:"
            f"{listed(others)}"
        )
    model = MugSTANForVideoTextRetrieval(build_config(tensors, clip_config, **fields))
    prefix = f"{model.base_model_prefix}."
    wanted = {name.removeprefix(prefix): tensor for name, tensor in model.state_dict().items()}
    unread = {name: wanted.pop(name) for name in ("clip.logit_scale",)}
    places = {name: convert_name(name) for name in tensors if not UNUSED.fullmatch(name)}
    wrong = [f"{name}: not a tensor of Mug-STAN" for name, place in places.items() if place not in wanted]
    wrong += [f"{name} (ours): missing" for name in wanted.keys() - set(places.values())]
    for name, place in places.items():
        if place in wanted and tensors[name].shape != wanted[place].shape:
            wrong.append(f"{name}: shape {tuple(tensors[name].shape)}, expected {tuple(wanted[place].shape)}")
        elif not tensors[name].isfinite().all():
            wrong.append(f"{name}: not finite")
    if wrong:
        raise ConversionError(f"The checkpoint does not fit:{listed(wrong)}")
    state = {prefix + place: tensors[name].float() for name, place in places.items()}
    model.load_state_dict(state | {prefix + name: tensor for name, tensor in unread.items()})
    return model.eval()


def convert_mug_stan_checkpoint(
    checkpoint_path: str | os.PathLike,
    output_dir: str | os.PathLike,
    *,
    clip: str | os.PathLike | None = None,
    overwrite: bool = False,
) -> MugSTANForVideoTextRetrieval:
    """
    Convert a checkpoint of the official code to a folder with configuration and weights.

    Args:
        checkpoint_path (`str` or `os.PathLike`): `.pth`, `.bin` or `.safetensors`; no code inside the file is run.
        output_dir (`str` or `os.PathLike`): Folder to write. It appears when it is complete, or not at all.
        clip (`str` or `os.PathLike`, *optional*): The CLIP that the training started from, for its config alone.
        overwrite (`bool`, *optional*, defaults to `False`): Replace a model folder that is already there.

    Returns:
        The model that was written.

    Raises:
        ConversionError: If something does not fit; nothing is written then.
        FileExistsError: If `output_dir` is not empty.
    """
    with new_folder(output_dir, overwrite, sources=[checkpoint_path]) as folder:
        tensors = read_checkpoint(checkpoint_path, wrapper="state_dict")
        model = build_model(tensors, None if clip is None else AutoConfig.from_pretrained(clip))
        model.save_pretrained(folder)
    return model


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m clipbert.modeling_mug_stan.convert_mug_stan_checkpoint",
        description="Convert a checkpoint of the official Mug-STAN code to a folder that from_pretrained reads.",
    )
    parser.add_argument("--checkpoint_path", required=True, help=".pth, .bin or .safetensors")
    parser.add_argument("--output_dir", required=True, help="folder to write")
    parser.add_argument("--clip", help="the CLIP that the training started from: a name on the Hub, or a folder")
    parser.add_argument("--overwrite", action="store_true", help="replace a model folder that is already there")
    return parser


def main(argv: list[str] | None = None) -> None:
    model = convert_mug_stan_checkpoint(**vars(build_parser().parse_args(argv)))
    layers = model.config.layers_read
    print(f"A {type(model).__name__} whose branch reads the layers {layers}, {model.num_parameters():,} parameters.")


if __name__ == "__main__":
    main()
