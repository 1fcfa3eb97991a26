# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Names of the tensors in official ClipBERT checkpoints, and what they are called here.

    cnn.feature.backbone.*           ResNet, as detectron2 names it: stem, res2 to res5
    cnn.grid_encoder.0.weight        convolution to the hidden size
    transformer.bert.*               embeddings, encoder, pooler
    transformer.{cls,classifier,regressor}.*    one head
    cnn.feature.{proposal_generator,roi_heads}.*    detector parts that nothing reads
"""

STAGES = ("res2", "res3", "res4", "res5")
BLOCK_CONVOLUTIONS = ("conv1", "conv2", "conv3")
NORM_TENSORS = ("weight", "bias", "running_mean", "running_var")
LAYER_TENSORS = tuple(
    f"{module}.{name}"
    for module in (
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
        "attention.output.dense",
        "attention.output.LayerNorm",
        "intermediate.dense",
        "output.dense",
        "output.LayerNorm",
    )
    for name in ("weight", "bias")
)


def _renamed(modules, tensors=("weight", "bias")):
    """Names of the tensors of modules, from the modules' official names and ours."""
    return {f"{theirs}.{name}": f"{ours}.{name}" for theirs, ours in modules.items() for name in tensors}


TRANSFORMER_TENSORS = (
    "embeddings.word_embeddings.weight",
    "embeddings.position_embeddings.weight",
    "embeddings.token_type_embeddings.weight",
    "visual_embeddings.row_position_embeddings.weight",
    "visual_embeddings.col_position_embeddings.weight",
    "visual_embeddings.token_type_embeddings.weight",
    "embeddings.LayerNorm.weight",
    "embeddings.LayerNorm.bias",
    "visual_embeddings.LayerNorm.weight",
    "visual_embeddings.LayerNorm.bias",
    "pooler.dense.weight",
    "pooler.dense.bias",
)
# Tensors of each head after `transformer.`, official name and ours.
HEADS = {
    "pretraining": {
        "cls.predictions.bias": "cls.predictions.bias",
        **_renamed(
            {
                name: name
                for name in (
                    "cls.predictions.transform.dense",
                    "cls.predictions.transform.LayerNorm",
                    "cls.predictions.decoder",
                    "cls.seq_relationship",
                )
            }
        ),
    },
    "classifier": _renamed({"classifier.0": "classifier.dense", "classifier.2": "classifier.out_proj"}),
    "regressor": {
        **_renamed({"regressor.0": "regressor.dense", "regressor.4": "regressor.out_proj"}),
        **_renamed({"regressor.2": "regressor.norm"}, (*NORM_TENSORS, "num_batches_tracked")),
    },
}
HEAD_PREFIXES = {
    "pretraining": "transformer.cls.",
    "classifier": "transformer.classifier.",
    "regressor": "transformer.regressor.",
}
OUTPUT_LAYERS = {"classifier": "transformer.classifier.2.weight", "regressor": "transformer.regressor.4.weight"}
# Second copies that the official file has of tied tensors.
TIED_TENSORS = {
    "transformer.cls.predictions.decoder.weight": "transformer.bert.embeddings.word_embeddings.weight",
    "transformer.cls.predictions.decoder.bias": "transformer.cls.predictions.bias",
}
# Detector parts around the CNN and a table that nothing reads.
UNUSED_PREFIXES = ("cnn.feature.proposal_generator.", "cnn.feature.roi_heads.")
UNUSED_TENSORS = {
    "cnn.feature.pixel_mean",
    "cnn.feature.pixel_std",
    "transformer.bert.visual_embeddings.position_embeddings.weight",
}
# Fields of `ClipBERTConfig` that the tensors decide: which tensor, which axis.
SIZES = {
    "vocab_size": ("transformer.bert.embeddings.word_embeddings.weight", 0),
    "hidden_size": ("transformer.bert.embeddings.word_embeddings.weight", 1),
    "max_position_embeddings": ("transformer.bert.embeddings.position_embeddings.weight", 0),
    "type_vocab_size": ("transformer.bert.embeddings.token_type_embeddings.weight", 0),
    "intermediate_size": ("transformer.bert.encoder.layer.0.intermediate.dense.weight", 0),
    "max_grid_row_position_embeddings": ("transformer.bert.visual_embeddings.row_position_embeddings.weight", 0),
    "max_grid_col_position_embeddings": ("transformer.bert.visual_embeddings.col_position_embeddings.weight", 0),
}


def is_known_unused(name):
    """Whether a tensor is in official files although nothing reads it."""
    return name in UNUSED_TENSORS or name.startswith(UNUSED_PREFIXES)


def _count_blocks(names, prefix, block_tensors):
    """Blocks `prefix.0`, `prefix.1`, ... of which at least half of the tensors are there; a stray name makes none."""
    known = set(block_tensors)
    found = {}
    for name in names:
        if name.startswith(prefix + "."):
            index, _, tensor = name.removeprefix(prefix + ".").partition(".")
            if index.isdecimal() and tensor in known:
                found[int(index)] = found.get(int(index), 0) + 1
    complete = [index for index, count in found.items() if 2 * count >= len(known)]
    return max(complete, default=0) + 1


def count_layers(official):
    """Layers of the transformer."""
    return _count_blocks(official, "transformer.bert.encoder.layer", LAYER_TENSORS)


def count_depths(official, prefix):
    """Blocks of each stage of the CNN."""
    block_tensors = [name for part in BLOCK_CONVOLUTIONS for name in _convolution(part, "")]
    return [_count_blocks(official, prefix + stage, block_tensors) for stage in STAGES]


def _convolution(theirs, ours):
    names = {f"{theirs}.weight": f"{ours}.convolution.weight"}
    return names | {f"{theirs}.norm.{name}": f"{ours}.normalization.{name}" for name in NORM_TENSORS}


def _width(state_dict, name):
    """Output channels of a convolution, `None` where it is missing."""
    tensor = state_dict.get(name)
    return None if tensor is None or tensor.ndim == 0 else tensor.shape[0]


def backbone_layout(official, theirs, ours):
    """
    Names of the CNN's tensors.

    Args:
        official (`Mapping[str, torch.Tensor]`): Tells how many blocks each stage has.
        theirs, ours (`str`): Prefixes of the names, such as `"cnn.feature.backbone."`.

    Returns:
        `dict[str, str]`: Official name to the name in a transformers ResNet.
    """
    names = _convolution(f"{theirs}stem.conv1", f"{ours}embedder.embedder")
    for stage, (stage_name, depth) in enumerate(zip(STAGES, count_depths(official, theirs), strict=True)):
        for block in range(depth):
            their_block, our_block = f"{theirs}{stage_name}.{block}", f"{ours}encoder.stages.{stage}.layers.{block}"
            if block == 0 and _has_projection(official, theirs, stage):
                names |= _convolution(f"{their_block}.shortcut", f"{our_block}.shortcut")
            for index, part in enumerate(BLOCK_CONVOLUTIONS):
                names |= _convolution(f"{their_block}.{part}", f"{our_block}.layer.{index}")
    return names


def _has_projection(official, prefix, stage):
    """Whether the shortcut of a stage's first block is a convolution: not where neither stride nor width changes."""
    stem, res2 = (_width(official, f"{prefix}{name}.weight") for name in ("stem.conv1", "res2.0.conv3"))
    return stage > 0 or stem is None or stem != res2


def official_layout(official, head):
    """
    Names of all tensors that a model is made of.

    Args:
        official (`Mapping[str, torch.Tensor]`): Official state dict; it tells how many blocks and layers there are.
        head (`str`): `"pretraining"`, `"classifier"` or `"regressor"`.

    Returns:
        `dict[str, str]`: Official name to ours.
    """
    names = backbone_layout(official, "cnn.feature.backbone.", "clipbert.grid_encoder.backbone.")
    names["cnn.grid_encoder.0.weight"] = "clipbert.grid_encoder.conv.weight"
    for name in TRANSFORMER_TENSORS:
        names[f"transformer.bert.{name}"] = f"clipbert.{name}"
    for layer in range(count_layers(official)):
        for name in LAYER_TENSORS:
            names[f"transformer.bert.encoder.layer.{layer}.{name}"] = f"clipbert.encoder.layer.{layer}.{name}"
    return names | {f"transformer.{theirs}": ours for theirs, ours in HEADS[head].items()}


def find_head(official):
    """The head that most of the tensors belong to, `None` if there is no trace of one."""
    counts = {head: sum(name.startswith(prefix) for name in official) for head, prefix in HEAD_PREFIXES.items()}
    head = max(counts, key=counts.get)
    return head if counts[head] else None
