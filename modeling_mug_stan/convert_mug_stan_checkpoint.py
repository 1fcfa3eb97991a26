# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Checkpoints of the official code as folders that every class of this family reads.

    python -m clipbert.modeling_mug_stan.convert_mug_stan_checkpoint --checkpoint_path mug_stan.pth \
        --clip openai/clip-vit-base-patch32 --output_dir published/mug-stan-b32

The files of the current release (`STAN_`), of the first one (`timesFPN_`) and of the follow-up BT-Adapter (`btadapter_`, with a
class token of its own and gates) are read, bare or wrapped in "state_dict". Every tensor has its place, is known to be used by
nobody, or is refused by its name. Sizes are those of the tensors; what they cannot tell (heads, activation, end token) comes
from the config of the CLIP that the training started from, or is what all of OpenAI's CLIPs have. The scale of CLIP's own loss is in no such file, and nothing reads it here.
"""

import argparse
import os
import re
from collections import Counter
from collections.abc import Mapping

import torch
from transformers import AutoConfig, AutoModel, CLIPConfig
from transformers.utils import cached_file

from clipbert.processing import MugSTANProcessor
from clipbert.support.weights import ConversionError, listed, new_folder, read_checkpoint

from .configuration_mug_stan import MugSTANConfig
from .modeling_mug_stan import MugSTANForVideoTextRetrieval


_TOWER = {
    "class_embedding": "embeddings.class_embedding",
    "patch_embedding.weight": "embeddings.patch_embedding.weight",
    "position_embedding.weight": "embeddings.position_embedding.weight",
}
_BRANCH = re.compile(r"backbone\.(?:STAN|timesFPN|btadapter)_(?:(S|T)_layers\.(\d+)\.(.+)|time_embed\.(.+))")
# what the follow-up has besides: its own class token, and gates where branch and CLIP meet
_FOLLOW_UP = {
    "backbone.btadapter_cls_token": "branches.0.class_token.weight",
    "backbone.balance1": "branches.0.fusion_gate.weight",
    "backbone.balance2": "branches.0.level_gate.weight",
}
# the strength of its gates, which is in no file
GATE_SCALES = {"fusion_gate_scale": 10_000, "level_gate_scale": 100}
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
    r"|backbone\.(?:STAN|timesFPN|btadapter)_T_layers\.\d+\.layers\.adapter_upsample\.(?:weight|bias)"
    r"|(?:text_backbone\.text_model|backbone)\.embeddings\.position_ids"
)


# on towers of EVA-CLIP the follow-up has other names, and other layers than transformers' CLIP
_EVA = re.compile(r"(?:backbone\.)?(?:btadapter_(?:S|T)\.|btadapter_position\.|btadapter_cls$|blocks\.\d+\.attn\.).*")


def official_names(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """
    The tensors of any release by the names that the current one would give them. The follow-up also writes the tower
    alone, without a prefix or as a part of a chat model.

    Raises:
        ConversionError: If the tower is an EVA-CLIP.
    """
    if eva := [name for name in tensors if _EVA.fullmatch(name)]:
        raise ConversionError(
            "This is a checkpoint of the follow-up on EVA-CLIP, a tower whose layers transformers does not have: only its "
            f"checkpoints on OpenAI's CLIP can be converted. It has{listed(eva)}"
        )
    names = {name: re.sub(r"^model\.vision_tower\.", "backbone.", name) for name in tensors}
    if _TOWER.keys() & tensors.keys():  # bare
        names = {
            name: name if name.startswith(("text_backbone.", "adapter.")) else f"backbone.{name}" for name in tensors
        }
    if {"backbone.balance1", "backbone.balance2"} & set(names.values()):  # the follow-up, before it renamed the branch
        names = {name: official.replace("timesFPN_", "btadapter_") for name, official in names.items()}
    counts = Counter(names.values())
    if twice := [name for name, official in names.items() if counts[official] > 1]:
        raise ConversionError(f"The checkpoint has tensors under several names:{listed(twice)}")
    return {  # the class token has the shape (1, 1, D)
        official: tensors[name].reshape(1, -1) if official == "backbone.btadapter_cls_token" else tensors[name]
        for name, official in names.items()
    }


def convert_name(name: str) -> str | None:
    """Our name, below `mug_stan.`, of a tensor of the official model, or `None` if it has no such tensor."""
    if name in _FOLLOW_UP:
        return _FOLLOW_UP[name]
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


def official_name(place: str, release: str = "STAN") -> str:
    """The name that a release gives a tensor of ours, the other way round; of convolutions roughly."""
    for names in (_FOLLOW_UP, _ADAPTER):
        for name, own in names.items():
            if place == own or place.startswith(f"{own}."):
                return name + place.removeprefix(own)
    for pattern, name in (
        (r"branches\.0\.spatial_layers\.", f"backbone.{release}_S_layers."),
        (r"branches\.0\.temporal_layers\.", f"backbone.{release}_T_layers."),
        (r"branches\.0\.time_embedding\.", f"backbone.{release}_time_embed."),
        (r"clip\.vision_model\.(?:embeddings\.|encoder\.)?", "backbone."),
        (r"clip\.(?=visual_projection)", "backbone."),
        (r"clip\.", "text_backbone."),
    ):
        if re.match(pattern, place):
            return re.sub(pattern, name, place, count=1)
    return place


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
    depth = _count(tensors, r"backbone\.(?:STAN|timesFPN|btadapter)_S_layers\.(\d+)\.")
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
    told = {"similarity": "wti"} if any(name.startswith("adapter.") for name in tensors) else {}
    told["own_class_token"] = any(name.startswith("backbone.btadapter_") for name in tensors)
    for name, scale in (("balance1", "fusion_gate_scale"), ("balance2", "level_gate_scale")):
        if f"backbone.{name}" in tensors:
            told[scale] = GATE_SCALES[scale]
    return MugSTANConfig(
        **{
            "clip_config": clip_config,
            "stan_num_layers": depth,
            "temporal_module": kind,
            "time_table_size": table,
            **told,
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
    tensors = official_names(tensors)
    model = MugSTANForVideoTextRetrieval(build_config(tensors, clip_config, **fields))
    prefix = f"{model.base_model_prefix}."
    wanted = {name.removeprefix(prefix): tensor for name, tensor in model.state_dict().items()}
    unread = {name: wanted.pop(name) for name in ("clip.logit_scale",)}
    places = {name: convert_name(name) for name in tensors if not UNUSED.fullmatch(name)}
    wrong = [f"{name}: not a tensor of Mug-STAN" for name, place in places.items() if place not in wanted]
    release = next(
        (found[1] for name in tensors if (found := re.match(r"backbone\.([a-zA-Z]+)_[ST]_layers", name))), "STAN"
    )
    wrong += [
        f"{official_name(place, release)} (ours: {place}): missing"
        for place in sorted(wanted.keys() - set(places.values()))
    ]
    counts = Counter(places.values())
    wrong += [f"{name}: there under another name, too" for name, place in places.items() if counts[place] > 1]
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


def take_text_tower(tensors: Mapping[str, torch.Tensor], clip: str | os.PathLike | None) -> dict[str, torch.Tensor]:
    """
    The tensors of a checkpoint without texts, as the follow-up writes them for chat, with the text tower and the visual
    projection of the CLIP that it started from, both of which it keeps as they are. Others are returned unchanged.

    Raises:
        ConversionError: If there is no text tower, and no CLIP to take it from.
    """
    tensors = official_names(tensors)
    if any(name.startswith("text_backbone.") for name in tensors) or "backbone.class_embedding" not in tensors:
        return tensors
    if clip is None:
        raise ConversionError(
            "The checkpoint has no text tower (text_backbone.*). Name the CLIP that it started from, whose own is taken then: "
            "`--clip`, in Python `clip=`."
        )
    state = AutoModel.from_pretrained(clip, dtype=torch.float32).state_dict()
    texts = {f"text_backbone.{name}": tensor for name, tensor in state.items() if name.startswith("text_")}
    return {"backbone.visual_projection.weight": state["visual_projection.weight"], **texts, **tensors}


def convert_mug_stan_checkpoint(
    checkpoint_path: str | os.PathLike,
    output_dir: str | os.PathLike,
    *,
    clip: str | os.PathLike | None = None,
    overwrite: bool = False,
    **fields,
) -> MugSTANForVideoTextRetrieval:
    """
    Convert a checkpoint of the official code to a folder with configuration, weights and, if CLIP brings one, processor.

    Args:
        checkpoint_path (`str` or `os.PathLike`): `.pth`, `.bin` or `.safetensors`; no code inside the file is run.
        output_dir (`str` or `os.PathLike`): Folder to write. It appears when it is complete, or not at all.
        clip (`str` or `os.PathLike`, *optional*):
            The CLIP that the training started from: for its config, for its processor, and for its text tower where the
            file has none.
        overwrite (`bool`, *optional*, defaults to `False`): Replace a model folder that is already there.
        **fields: Of [`MugSTANConfig`], which the tensors do not tell, such as `similarity`, or the scales of the gates.

    Returns:
        The model that was written.

    Raises:
        ConversionError: If something does not fit; nothing is written then.
        FileExistsError: If `output_dir` is not empty.
    """
    with new_folder(output_dir, overwrite, sources=[checkpoint_path]) as folder:
        clip_config = None if clip is None else AutoConfig.from_pretrained(clip)
        if clip_config is not None and clip_config.model_type != "clip":
            raise ConversionError(f"The official code starts from a CLIP; {clip} is a {clip_config.model_type!r}.")
        tensors = take_text_tower(read_checkpoint(checkpoint_path, wrapper="state_dict"), clip)
        model = build_model(tensors, clip_config, **fields)
        model.save_pretrained(folder)
        if clip is not None and has_processor(clip):
            MugSTANProcessor.from_clip_pretrained(clip).save_pretrained(folder)
    return model


def has_processor(clip: str | os.PathLike) -> bool:
    """Whether a checkpoint says how pictures are prepared."""
    return cached_file(clip, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False) is not None


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m clipbert.modeling_mug_stan.convert_mug_stan_checkpoint",
        description="Convert a checkpoint of the official Mug-STAN code to a folder that from_pretrained reads.",
    )
    parser.add_argument("--checkpoint_path", required=True, help=".pth, .bin or .safetensors")
    parser.add_argument("--output_dir", required=True, help="folder to write")
    parser.add_argument("--clip", help="the CLIP that the training started from: a name on the Hub, or a folder")
    for name, scale in GATE_SCALES.items():
        parser.add_argument(
            f"--{name}", type=float, metavar="X", help=f"strength of a gate, if there is one ({scale})"
        )
    parser.add_argument("--overwrite", action="store_true", help="replace a model folder that is already there")
    return parser


def main(argv: list[str] | None = None) -> None:
    given = {name: value for name, value in vars(build_parser().parse_args(argv)).items() if value is not None}
    model = convert_mug_stan_checkpoint(**given)
    layers = model.config.layers_read
    print(f"A {type(model).__name__} whose branch reads the layers {layers}, {model.num_parameters():,} parameters.")


if __name__ == "__main__":
    main()
