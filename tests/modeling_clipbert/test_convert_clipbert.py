# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Conversion of official checkpoints: what is read, what is refused, and what comes out of the folder."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from official_model import SIZES, official_config, plain_features, plain_forward, random_official_state_dict
from official_records import TASK_OF_HEAD, load_head
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForMultipleChoice,
    AutoModelForPreTraining,
    AutoModelForSequenceClassification,
    AutoModelForVisualQuestionAnswering,
    AutoProcessor,
    BertConfig,
    BertForPreTraining,
    ResNetBackbone,
)

from clipbert.modeling_clipbert import (
    ClipBERTConfig,
    ClipBERTForPreTraining,
    ClipBERTForVideoTextRetrieval,
    ClipBERTModel,
    from_parts,
    processor_from_parts,
)
from clipbert.modeling_clipbert.convert_clipbert_checkpoint import (
    RESUME_FILES,
    TASKS,
    build_config,
    build_official_model,
    convert_backbone_checkpoint,
    convert_backbone_state_dict,
    convert_clipbert_checkpoint,
    convert_state_dict,
    count_parameters,
    main,
)
from clipbert.modeling_clipbert.official_layout import SIZES as SIZE_TENSORS
from clipbert.modeling_clipbert.official_layout import is_known_unused, official_layout
from clipbert.support.weights import ConversionError, new_folder, read_checkpoint


TINY = SIZES["one_frame"]
AUTO_CLASSES = {
    "pretraining": AutoModelForPreTraining,
    "retrieval": AutoModelForSequenceClassification,
    "video_qa": AutoModelForVisualQuestionAnswering,
    "multiple_choice": AutoModelForMultipleChoice,
    "image_qa": AutoModelForVisualQuestionAnswering,
    "regression": AutoModelForSequenceClassification,
}
NUM_OUTPUTS = {"retrieval": 2, "multiple_choice": 1}


def official_state_dict(task="video_qa", num_outputs=None, dtype=torch.float32, seed=0):
    state = random_official_state_dict(TINY, TASKS[task].head, seed, dtype)
    num_outputs = num_outputs or NUM_OUTPUTS.get(task)
    if num_outputs and TASKS[task].head == "classifier":
        for name in ("weight", "bias"):
            state[f"transformer.classifier.2.{name}"] = state[f"transformer.classifier.2.{name}"][:num_outputs].clone()
    return state


def full_config(**overrides):
    """An official JSON that also says what the tensors say."""
    return {
        **official_config(TINY),
        "vocab_size": TINY.vocabulary,
        "hidden_size": TINY.hidden,
        "num_hidden_layers": TINY.layers,
        "intermediate_size": TINY.intermediate,
        "max_position_embeddings": TINY.positions,
        "type_vocab_size": 2,
        "max_grid_row_position_embeddings": TINY.grid[0],
        "max_grid_col_position_embeddings": TINY.grid[1],
        "backbone_channel_in_size": TINY.widths[-1],
        **overrides,
    }


def convert(state, task="video_qa", score_pooling="mean", answers=None, **config_overrides):
    return build_official_model(state, full_config(**config_overrides), task, score_pooling, answers)


def names_of(task="video_qa"):
    state = official_state_dict(task)
    return sorted(official_layout(state, TASKS[task].head))


def assert_equal_state_dicts(ours, expected):
    assert ours.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(ours[name], tensor), name


# ----------------------------------------------------------------------------------------------------------------------
# Names
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["pretraining", "video_qa", "regression"])
def test_every_missing_and_every_renamed_tensor_is_refused_by_name(task):
    state = official_state_dict(task)
    for name in names_of(task):
        others = {other: tensor for other, tensor in state.items() if other != name}
        with pytest.raises(ConversionError) as missing:
            convert_state_dict(others)
        assert f"Missing (1):\n    {name}" in str(missing.value)
        assert "Unknown" not in str(missing.value)
        renamed = f"{name}s"
        with pytest.raises(ConversionError) as error:
            convert_state_dict({**others, renamed: state[name]})
        assert f"Missing (1):\n    {name}\n" in str(error.value)
        assert f"Unknown (1):\n    {renamed}  (renamed from {name}?)" in str(error.value)


@pytest.mark.parametrize(
    "name",
    [
        "transformer.bert.encoder.layer.1.output.dense.weight",  # one tensor does not make a layer
        "transformer.bert.encoder.layer.99.output.dense.weight",
        "transformer.bert.encoder.layer.0.output.dense.scale",
        "transformer.bert.embeddings.position_ids",
        "transformer.bert.visual_embeddings.position_embeddings.bias",
        "transformer.cls.seq_relationship.weight",  # part of another head
        "transformer.classifier.4.weight",
        "cnn.feature.backbone.res4.1.conv1.weight",
        "cnn.feature.backbone.res5.1.shortcut.weight",
        "cnn.feature.backbone.res2.0.conv1.norm.num_batches_tracked",
        "cnn.feature.proposal_generators.weight",
        "cnn.grid_encoder.0.bias",
        "global_step",
    ],
)
def test_an_extra_tensor_is_refused_by_name(name):
    state = official_state_dict()
    assert name not in state
    with pytest.raises(ConversionError) as error:
        convert_state_dict({**state, name: torch.zeros(1)})
    assert f"Unknown (1):\n    {name}" in str(error.value)
    assert "Missing" not in str(error.value)


def test_a_whole_layer_that_is_missing_is_named():
    sizes = SIZES["shallow_and_wide"]
    state = random_official_state_dict(sizes, seed=0)
    middle = {name: tensor for name, tensor in state.items() if ".layer.2." not in name}
    with pytest.raises(ConversionError, match=r"encoder\.layer\.2\.output\.dense\.weight"):
        convert_state_dict(middle)
    # without the last one the names alone are in order, but the JSON knows better
    last = {name: tensor for name, tensor in state.items() if ".layer.3." not in name}
    with pytest.raises(ConversionError, match="num_hidden_layers: 4 in the JSON, 3 in the tensors"):
        build_official_model(last, {**official_config(sizes), "num_hidden_layers": 4}, "video_qa")


def test_a_checkpoint_without_a_head_is_refused():
    state = {name: tensor for name, tensor in official_state_dict().items() if "classifier" not in name}
    with pytest.raises(ConversionError, match="no head"):
        convert_state_dict(state)


@pytest.mark.parametrize(
    ("task", "other"), [("pretraining", "retrieval"), ("regression", "video_qa"), ("video_qa", "pretraining")]
)
def test_a_checkpoint_of_another_task_is_refused(task, other):
    with pytest.raises(ConversionError, match=rf"--task {other} needs .* which fits .*{task}"):
        convert(official_state_dict(task), other)


def test_an_unknown_task_is_refused():
    with pytest.raises(ConversionError, match="'captioning'; known are pretraining, retrieval"):
        convert(official_state_dict(), "captioning")


def test_only_detector_parts_and_the_idle_table_are_left_out():
    state = official_state_dict("pretraining")
    extra = {
        "cnn.feature.pixel_mean": torch.zeros(3, 1, 1),
        "cnn.feature.pixel_std": torch.ones(3, 1, 1),
        "cnn.feature.proposal_generator.anchor_generator.cell_anchors.0": torch.zeros(15, 4),
        "cnn.feature.roi_heads.attribute_predictor.obj_embed.weight": torch.zeros(2, 2),
    }
    _, report = convert({**state, **extra}, "pretraining")
    idle = {
        "cnn.feature.roi_heads.box_head.fc1.weight",
        "transformer.bert.visual_embeddings.position_embeddings.weight",
    }
    assert set(report.unused) == idle | extra.keys()
    assert len(report.used) + len(report.unused) == len(state) + len(extra)
    assert all(name in str(report) for name in report.unused)


# ----------------------------------------------------------------------------------------------------------------------
# Tensors
# ----------------------------------------------------------------------------------------------------------------------


def test_tensors_are_renamed_and_the_first_convolution_takes_rgb():
    state = official_state_dict()
    before = {name: tensor.clone() for name, tensor in state.items()}
    ours = convert_state_dict(state)
    assert_equal_state_dicts(state, before)  # the input is left alone
    first = "clipbert.grid_encoder.backbone.embedder.embedder.convolution.weight"
    assert torch.equal(ours[first], state["cnn.feature.backbone.stem.conv1.weight"][:, [2, 1, 0]])
    for theirs, name in (
        (
            "cnn.feature.backbone.res5.2.conv3.norm.running_var",
            "encoder.stages.3.layers.2.layer.2.normalization.running_var",
        ),
        ("cnn.feature.backbone.res3.0.shortcut.weight", "encoder.stages.1.layers.0.shortcut.convolution.weight"),
    ):
        assert torch.equal(ours[f"clipbert.grid_encoder.backbone.{name}"], state[theirs])
    assert torch.equal(ours["classifier.out_proj.weight"], state["transformer.classifier.2.weight"])


def test_the_model_does_not_share_memory_with_the_checkpoint():
    state = official_state_dict()
    before = {name: tensor.clone() for name, tensor in state.items()}
    model, _ = convert(state)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert_equal_state_dicts(state, before)


@pytest.mark.parametrize(
    "task", ["regression", *(pytest.param(name, marks=pytest.mark.slow) for name in ("pretraining", "video_qa"))]
)
def test_every_wrong_shape_is_refused(task):
    """The names of the head, and once those of all other tensors."""
    state = official_state_dict(task)
    num_labels = TINY.labels if task == "video_qa" else 1
    names = [
        name for name in names_of(task) if task == "video_qa" or "transformer.bert" not in name and "cnn" not in name
    ]
    for name in names:
        wrong = torch.cat([state[name], state[name][:1]]) if state[name].ndim else torch.zeros(3, dtype=torch.int64)
        with pytest.raises(ConversionError):
            convert({**state, name: wrong}, task, num_labels=num_labels)


def test_tensors_that_tell_sizes_are_refused_without_axes():
    state = official_state_dict()
    for name, _ in [*SIZE_TENSORS.values(), ("transformer.classifier.2.weight", 0), ("cnn.grid_encoder.0.weight", 0)]:
        with pytest.raises(ConversionError, match=name):
            convert({**state, name: torch.tensor(1.0)})


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("cnn.feature.backbone.stem.conv1.weight", (8, 4, 7, 7)),
        ("cnn.feature.backbone.res3.0.conv2.norm.bias", (5,)),
        ("cnn.grid_encoder.0.weight", (16, 32, 1, 1)),
        ("transformer.bert.encoder.layer.0.attention.self.key.weight", (16, 15)),
        ("transformer.bert.visual_embeddings.token_type_embeddings.weight", (2, 16)),
        ("transformer.classifier.0.weight", (16, 16)),
    ],
)
def test_a_wrong_shape_is_named_with_the_expected_one(name, shape):
    state = official_state_dict()
    expected = tuple(state[name].shape)
    with pytest.raises(ConversionError) as error:
        convert({**state, name: torch.zeros(shape)})
    assert f"{name} is {shape}, expected {expected}" in str(error.value)


def test_other_bottleneck_widths_are_refused():
    state = official_state_dict()
    name = "cnn.feature.backbone.res4.0.conv1.weight"
    state[name] = torch.zeros(8, *state[name].shape[1:])
    with pytest.raises(
        ConversionError, match=r"res4\.0\.conv1\.weight has 8 output channels.* 16 channels .* bottlenecks of 4"
    ):
        convert(state)


@pytest.mark.parametrize(
    "name", ["transformer.cls.predictions.decoder.weight", "transformer.cls.predictions.decoder.bias"]
)
def test_tied_copies_have_to_be_equal(name):
    state = official_state_dict("pretraining")
    state[name][3] += 1e-3
    with pytest.raises(ConversionError, match=f"{name} differs from"):
        convert(state, "pretraining")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_broken_numbers_are_refused_by_name(value):
    state = official_state_dict()
    state["cnn.feature.backbone.res2.1.conv2.weight"][0, 0, 0, 0] = value
    with pytest.raises(ConversionError, match=r"NaN or infinity \(1\):\n    cnn.feature.backbone.res2.1.conv2.weight"):
        convert(state)


@pytest.mark.parametrize("dtype", [torch.float16, torch.int8])
def test_mixed_types_are_refused_by_name(dtype):
    state = official_state_dict()
    state["cnn.grid_encoder.0.weight"] = state["cnn.grid_encoder.0.weight"].to(dtype)
    with pytest.raises(ConversionError, match=f"{dtype}: cnn.grid_encoder.0.weight"):
        convert(state)


def test_weights_keep_their_type():
    model, _ = convert(official_state_dict(dtype=torch.bfloat16))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


# ----------------------------------------------------------------------------------------------------------------------
# Configuration
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "field",
    [
        "vocab_size",
        "hidden_size",
        "num_hidden_layers",
        "intermediate_size",
        "max_position_embeddings",
        "type_vocab_size",
        "max_grid_row_position_embeddings",
        "max_grid_col_position_embeddings",
        "backbone_channel_in_size",
        "num_labels",
    ],
)
def test_a_json_that_contradicts_the_tensors_is_refused_with_both_values(field):
    right = full_config(num_labels=TINY.labels)[field]
    with pytest.raises(ConversionError, match=f"{field}: {right + 1} in the JSON, {right} in the tensors"):
        convert(official_state_dict(), **{field: right + 1})


@pytest.mark.parametrize("field", official_config(TINY))
def test_a_json_that_lacks_a_setting_is_refused(field):
    model_config = full_config()
    model_config.pop(field)
    with pytest.raises(ConversionError, match=f"lacks {field}"):
        build_official_model(official_state_dict(), model_config, "video_qa")


def test_settings_come_from_the_json():
    given = {
        "hidden_act": "relu",
        "hidden_dropout_prob": 0.25,
        "attention_probs_dropout_prob": 0.05,
        "layer_norm_eps": 1e-5,
        "initializer_range": 0.1,
        "num_attention_heads": 2,
        "pixel_random_sampling_size": 100,
        "max_temporal_position_embeddings": 13,
        "margin": 0.4,
    }
    model, _ = convert(official_state_dict(), **given, classifier="mlp", cls_hidden_scale=2)
    assert {name: getattr(model.config, name) for name in given} == given
    assert not hasattr(model.config, "cls_hidden_scale")
    assert model.config.backbone_config.depths == list(TINY.depths)
    assert model.config.backbone_config.hidden_sizes == list(TINY.widths)
    assert model.config.freeze_backbone_stages == 2 and model.config.freeze_backbone_norm


@pytest.mark.parametrize(
    ("task", "num_outputs", "json_values", "loss_type", "num_labels"),
    [
        ("retrieval", 2, {}, "ce", 2),
        ("retrieval", 2, {"num_labels": 2, "loss_type": "ce", "margin": 0.2}, "ce", 2),
        ("retrieval", 1, {"num_labels": 1, "loss_type": "rank"}, "rank", 1),
        ("video_qa", 3, {}, "ce", 3),
        ("video_qa", 1, {"loss_type": "ce"}, "mse", 1),  # one output is always a regression there
        ("image_qa", 3, {"loss_type": "bce"}, "bce", 3),
        ("multiple_choice", 1, {"num_labels": 5, "loss_type": "ce"}, "ce", 5),
        ("regression", None, {}, "mse", 1),
    ],
)
def test_heads_get_the_official_loss(task, num_outputs, json_values, loss_type, num_labels):
    model, _ = convert(official_state_dict(task, num_outputs), task, **json_values)
    assert (model.config.loss_type, model.config.num_labels) == (loss_type, num_labels)
    assert model.task_loss == loss_type


@pytest.mark.parametrize(
    ("task", "num_outputs", "json_values", "message"),
    [
        ("retrieval", 3, {}, r"classifier\.2\.weight \(3, 32\) gives 3 scores, but retrieval has 2 or 1"),
        ("multiple_choice", 3, {}, "gives 3 scores, but multiple_choice has 1"),
        ("retrieval", 2, {"loss_type": "rank"}, "'rank' in the JSON, but retrieval with 2 output"),
        ("video_qa", 3, {"loss_type": "bce"}, "'bce' in the JSON, but video_qa"),
        ("image_qa", 3, {"loss_type": "ce"}, "'ce' in the JSON, but image_qa"),
        ("video_qa", 3, {"num_attention_heads": 3}, "num_attention_heads=3"),
        ("video_qa", 3, {"layer_norm_eps": "small"}, "layer_norm_eps"),
        ("video_qa", 3, {"hidden_act": "bump"}, "hidden_act: 'bump'"),
    ],
)
def test_heads_and_settings_that_do_not_fit_are_refused(task, num_outputs, json_values, message):
    with pytest.raises(ConversionError, match=message):
        convert(official_state_dict(task, num_outputs), task, **json_values)


@pytest.mark.parametrize(("task", "num_outputs"), [("retrieval", 1), ("image_qa", 3), ("regression", None)])
def test_log_sum_exp_is_refused_where_the_official_code_asserts_against_it(task, num_outputs):
    with pytest.raises(ConversionError, match="lse"):
        convert(official_state_dict(task, num_outputs), task, score_pooling="lse")


def test_pretraining_gets_the_official_losses_and_other_tasks_the_mended_ones():
    pretraining, _ = convert(official_state_dict("pretraining"), "pretraining")
    assert (pretraining.config.mlm_loss_reduction, pretraining.config.mlm_on_mismatched_pairs) == ("all", True)
    video_qa, _ = convert(official_state_dict())
    assert (video_qa.config.mlm_loss_reduction, video_qa.config.mlm_on_mismatched_pairs) == ("masked", False)


def test_answers_name_the_labels():
    model, _ = convert(official_state_dict(), answers={"dog": 2, "cat": 0})
    assert model.config.id2label == {0: "cat", 1: "LABEL_1", 2: "dog"}
    assert model.config.label2id["dog"] == 2
    for answers in ({"dog": 3}, {"dog": 1, "cat": 1}, {"dog": "1"}):
        with pytest.raises(ConversionError, match=r"different indices in \[0, 3\)"):
            convert(official_state_dict(), answers=answers)
    with pytest.raises(ConversionError, match="multiple_choice has none to name"):
        convert(official_state_dict("multiple_choice"), "multiple_choice", answers={"dog": 0})


# ----------------------------------------------------------------------------------------------------------------------
# Files
# ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def vocabulary(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "dog", "runs", "a", "man", "?"]
    words += [f"word{index}" for index in range(TINY.vocabulary - len(words))]
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(words) + "\n")
    return path


@pytest.fixture
def json_file(tmp_path):
    path = tmp_path / "model_config.json"
    path.write_text(json.dumps(full_config()))
    return path


@pytest.mark.parametrize("kind", ["legacy.pt", "zip.pt", "zip.bin", "tensors.safetensors"])
def test_all_kinds_of_files_are_read(tmp_path, kind):
    state = official_state_dict("pretraining")
    path = tmp_path / kind
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind.startswith("zip"))
    assert_equal_state_dicts(read_checkpoint(path), state)


class TouchesFile:
    """Unpickling it creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("allow_numpy", [True, False])
def test_code_in_a_file_is_refused_and_not_run(tmp_path, zipped, allow_numpy):
    trace = tmp_path / "code_was_run"
    content = {**official_state_dict(), "extra": TouchesFile(trace)}
    torch.save(content, tmp_path / "evil.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ConversionError, match=r"evil\.pt .* can run code"):
        read_checkpoint(tmp_path / "evil.pt", allow_numpy=allow_numpy)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"global_step": 3, "model": {"a": torch.zeros(1)}, "optimizer": {}, "amp": {}},
            r"has global_step, model, optimizer, amp: it is a resume file.*float16.*ckpt/model_step_N\.pt",
        ),
        ({"model": {"a": torch.zeros(1)}}, r"it has\n    model: dict\nIf the weights are one of these entries, save"),
        ({"a": torch.zeros(1), "epoch": 3}, r"it has\n    epoch: int"),
        ([torch.zeros(1)], "holds list, expected a non-empty dict"),
        ({0: torch.zeros(1)}, "expected a non-empty dict of name to tensor"),
        ({}, "expected a non-empty dict"),
    ],
)
def test_files_that_are_no_plain_state_dict_get_a_clear_answer(tmp_path, content, message):
    path = tmp_path / "restore.pt"
    torch.save(content, path)
    with pytest.raises(ConversionError, match=message):
        read_checkpoint(path, no_weights=RESUME_FILES)


@pytest.mark.parametrize("name", ["broken.pt", "broken.safetensors", "broken.txt"])
@pytest.mark.parametrize("content", [b"", b"\x80\x02}q", b"no tensors in here, only words" * 50])
def test_broken_files_are_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConversionError, match=name):
        read_checkpoint(tmp_path / name)


def test_half_a_file_is_named(tmp_path):
    torch.save(official_state_dict(), tmp_path / "whole.pt")
    (tmp_path / "half.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:20_000])
    with pytest.raises(ConversionError, match=r"half\.pt"):
        read_checkpoint(tmp_path / "half.pt")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pt"):
        read_checkpoint(tmp_path / "nowhere.pt")


@pytest.mark.parametrize(
    ("content", "message"), [("{", "is not JSON"), ("[1, 2]", "holds a list, expected an object")]
)
def test_a_broken_json_is_named(tmp_path, content, message):
    (tmp_path / "model_config.json").write_text(content)
    with pytest.raises(ConversionError, match=f"model_config.json {message}"):
        build_official_model(official_state_dict(), tmp_path / "model_config.json", "video_qa")


# ----------------------------------------------------------------------------------------------------------------------
# The folder
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_the_folder_loads_through_the_auto_classes(tmp_path, vocabulary, json_file, capsys, task):
    state = official_state_dict(task)
    torch.save(state, tmp_path / "model_step_7.pt", _use_new_zipfile_serialization=False)
    folder = tmp_path / "converted"
    main(
        f"--checkpoint_path {tmp_path}/model_step_7.pt --model_config {json_file} --task {task} --tokenizer {vocabulary} "
        f"--output_dir {folder}".split()
    )
    printed = capsys.readouterr().out
    assert f"{task}: {len(state) - 2} tensors used, 2 known to be unused" in printed
    assert f"Written to {folder}" in printed
    files = {path.name for path in folder.iterdir()}
    assert {"config.json", "model.safetensors", "processor_config.json", "tokenizer.json"} <= files
    assert not any(name.endswith((".bin", ".pt")) for name in files)

    expected, _ = convert(state, task)
    model, info = AUTO_CLASSES[task].from_pretrained(folder, output_loading_info=True)
    assert type(model) is TASKS[task].model_class
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert_equal_state_dicts(model.state_dict(), expected.state_dict())
    expected.save_pretrained(tmp_path / "expected")
    assert (folder / "config.json").read_text() == (tmp_path / "expected" / "config.json").read_text()
    base = AutoModel.from_pretrained(folder)
    assert type(base) is ClipBERTModel
    assert_equal_state_dicts(base.state_dict(), expected.clipbert.state_dict())

    processor = AutoProcessor.from_pretrained(folder)
    assert type(processor).__name__ == "VideoTextProcessor"
    assert processor.video_processor.size["longest_edge"] == TASKS[task].max_img_size
    assert processor.video_processor.num_frames == TASKS[task].num_frames
    assert processor.video_processor.fps == TASKS[task].fps
    assert processor.video_processor.num_clips == 1
    assert processor.video_processor.sampling == ("middle" if task == "retrieval" else "uniform")
    assert processor.video_processor.placement == ("even" if TASKS[task].fps is None else "official")
    assert processor.max_length == TINY.positions  # shorter than any recipe's


def test_a_video_passes_from_file_to_score(tmp_path, vocabulary, json_file, write_video):
    """The folder alone is enough; the score is that of the plain forward on the frames prepared here by hand."""
    state = official_state_dict("video_qa", dtype=torch.float64)
    save_file(state, tmp_path / "weights.safetensors")
    options = {"max_img_size": 80, "max_txt_len": 6, "num_frames": 1}
    convert_clipbert_checkpoint(
        tmp_path / "weights.safetensors", json_file, "video_qa", vocabulary, tmp_path / "out", **options
    )
    processor = AutoProcessor.from_pretrained(tmp_path / "out")
    model = AutoModelForVisualQuestionAnswering.from_pretrained(tmp_path / "out")
    assert model.dtype == torch.float64
    frame = np.random.default_rng(0).integers(0, 256, (1, 40, 20, 3), dtype=np.uint8)
    inputs = processor(text=["a dog runs ?"], videos=[frame], video_metadata={"fps": 10}, return_tensors="pt")
    assert inputs["input_ids"].tolist() == [[2, 7, 5, 6, 9, 3]]

    picture = torch.from_numpy(frame).permute(0, 3, 1, 2).double()
    picture = torch.nn.functional.interpolate(picture, size=(80, 40), mode="bilinear", align_corners=False)
    picture = torch.nn.functional.pad(picture, (0, 40)) - torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
    torch.testing.assert_close(inputs["pixel_values"][0, 0].double(), picture, rtol=0, atol=1e-4)
    with torch.no_grad():
        logits = model(**inputs).logits
    _, expected = plain_forward(
        state, TINY, inputs["pixel_values"][0].double(), inputs["input_ids"], inputs["attention_mask"], [1]
    )
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-10)


def test_options_override_the_published_recipe(tmp_path, vocabulary, json_file):
    torch.save(official_state_dict(), tmp_path / "x.pt")
    (tmp_path / "answers.json").write_text('{"no": 0, "yes": 1, "maybe": 2}')
    main(
        f"--checkpoint_path {tmp_path}/x.pt --model_config {json_file} --task video_qa --tokenizer {vocabulary} "
        f"--output_dir {tmp_path}/out --score_pooling lse --max_img_size 96 --max_txt_len 8 --num_frames 4 --fps 0.5 "
        f"--ans2label {tmp_path}/answers.json".split()
    )
    config, processor = AutoConfig.from_pretrained(tmp_path / "out"), AutoProcessor.from_pretrained(tmp_path / "out")
    assert (config.score_pooling, config.id2label) == ("lse", {0: "no", 1: "yes", 2: "maybe"})
    assert processor.max_length == 8
    video_processor = processor.video_processor
    assert (video_processor.size["longest_edge"], video_processor.num_frames, video_processor.fps) == (96, 4, 0.5)


def test_a_converted_pretraining_model_is_the_start_of_another_task(tmp_path, vocabulary, json_file):
    torch.save(official_state_dict("pretraining"), tmp_path / "x.pt")
    convert_clipbert_checkpoint(tmp_path / "x.pt", json_file, "pretraining", vocabulary, tmp_path / "out")
    pretraining = ClipBERTForPreTraining.from_pretrained(tmp_path / "out")
    retrieval, info = ClipBERTForVideoTextRetrieval.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert all(name.startswith("classifier.") for name in info["missing_keys"]) and len(info["missing_keys"]) == 4
    assert_equal_state_dicts(retrieval.clipbert.state_dict(), pretraining.clipbert.state_dict())


def test_a_tokenizer_with_other_words_is_refused(tmp_path, vocabulary, json_file):
    torch.save(official_state_dict(), tmp_path / "x.pt")
    vocabulary.write_text(vocabulary.read_text() + "one_more\n")
    with pytest.raises(ConversionError, match=r"vocab\.txt has 51 tokens .* 50 word embeddings"):
        convert_clipbert_checkpoint(tmp_path / "x.pt", json_file, "video_qa", vocabulary, tmp_path / "out")


def test_a_text_length_without_positions_is_refused(tmp_path, vocabulary, json_file):
    torch.save(official_state_dict(), tmp_path / "x.pt")
    with pytest.raises(ConversionError, match="max_txt_len=10 is more than the 9 positions"):
        convert_clipbert_checkpoint(
            tmp_path / "x.pt", json_file, "video_qa", vocabulary, tmp_path / "out", max_txt_len=10
        )


def test_a_failed_conversion_leaves_nothing_behind(tmp_path, vocabulary, json_file):
    state = official_state_dict()
    state["extra"] = torch.zeros(1)
    torch.save(state, tmp_path / "x.pt")
    before = {path.name for path in tmp_path.iterdir()}
    for tokenizer in (vocabulary, tmp_path / "nowhere.txt"):  # before and after the model is built
        with pytest.raises((ConversionError, FileNotFoundError)):
            convert_clipbert_checkpoint(tmp_path / "x.pt", json_file, "video_qa", tokenizer, tmp_path / "deep" / "out")
        torch.save(official_state_dict(), tmp_path / "x.pt")
    assert {path.name for path in tmp_path.iterdir()} - before <= {"deep"}
    assert not list((tmp_path / "deep").iterdir())


def test_a_folder_with_files_is_only_replaced_when_asked_for(tmp_path, json_file, vocabulary):
    torch.save(official_state_dict(seed=0), tmp_path / "x.pt")
    arguments = (tmp_path / "x.pt", json_file, "video_qa", vocabulary, tmp_path / "out")
    (tmp_path / "out").mkdir()  # an empty folder is no obstacle
    convert_clipbert_checkpoint(*arguments)
    first = load_file(tmp_path / "out" / "model.safetensors")
    torch.save(official_state_dict(seed=1), tmp_path / "x.pt")
    with pytest.raises(FileExistsError, match="--overwrite"):
        convert_clipbert_checkpoint(*arguments)
    assert_equal_state_dicts(load_file(tmp_path / "out" / "model.safetensors"), first)
    (tmp_path / "out" / "old.txt").touch()
    convert_clipbert_checkpoint(*arguments, overwrite=True)
    second = load_file(tmp_path / "out" / "model.safetensors")
    assert not torch.equal(second["classifier.dense.weight"], first["classifier.dense.weight"])
    assert not (tmp_path / "out" / "old.txt").exists()


def test_a_folder_that_is_no_model_or_holds_the_checkpoint_is_never_replaced(tmp_path, json_file, vocabulary):
    torch.save(official_state_dict(), tmp_path / "x.pt")
    for config_exists in (False, True):
        with pytest.raises(FileExistsError, match="is not replaced"):
            convert_clipbert_checkpoint(tmp_path / "x.pt", json_file, "video_qa", vocabulary, tmp_path, overwrite=True)
        if not config_exists:
            (tmp_path / "config.json").touch()
    assert (tmp_path / "x.pt").is_file()
    with pytest.raises(FileExistsError, match="is a file"):
        convert_clipbert_checkpoint(tmp_path / "x.pt", json_file, "video_qa", vocabulary, tmp_path / "x.pt")


def test_the_old_folder_survives_when_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    target = tmp_path / "out"
    target.mkdir()
    (target / "config.json").write_text("old")
    rename = Path.rename

    def fail_for_the_new_one(path, destination):
        if "partial" in path.name:
            raise OSError("disk full")
        return rename(path, destination)

    monkeypatch.setattr(Path, "rename", fail_for_the_new_one)
    with pytest.raises(OSError, match="disk full"), new_folder(target, overwrite=True) as folder:
        (folder / "config.json").write_text("new")
    assert (target / "config.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--task video_qa", "--task video_qa needs --model_config and --tokenizer"),
        ("--task backbone --tokenizer t --fps 2", "--task backbone does not take fps, tokenizer"),
        ("--task captioning", "invalid choice: 'captioning'"),
    ],
)
def test_the_command_line_says_what_is_missing(capsys, arguments, message):
    with pytest.raises(SystemExit):
        main(f"--checkpoint_path x.pt --output_dir out {arguments}".split())
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_the_module_runs_as_a_command():
    command = [sys.executable, "-m", "modeling_clipbert.convert_clipbert_checkpoint", "--help"]
    assert "--checkpoint_path" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


# ----------------------------------------------------------------------------------------------------------------------
# Parts: the CNN of a detector, a BERT
# ----------------------------------------------------------------------------------------------------------------------


def detector_state_dict(dtype=torch.float32):
    """Names as detectron2 has them, with parts of the detector that are of no use here."""
    state = random_official_state_dict(TINY, dtype=dtype)
    state = {name.removeprefix("cnn.feature."): state[name] for name in state if name.startswith("cnn.feature.")}
    return {**state, "proposal_generator.rpn_head.conv.weight": torch.zeros(2, 2, dtype=dtype)}


@pytest.mark.parametrize("arrays", [False, True], ids=["tensors", "numpy"])
@pytest.mark.parametrize("zipped", [False, True], ids=["legacy", "zip"])
def test_the_cnn_of_a_detector_becomes_a_backbone(tmp_path, capsys, arrays, zipped):
    state = detector_state_dict(torch.float64)
    content = {name: tensor.numpy() if arrays else tensor for name, tensor in state.items()}
    torch.save(
        {"model": content, "__author__": "someone", "iteration": 9},
        tmp_path / "grid_feat_R-50.pth",
        _use_new_zipfile_serialization=zipped,
    )
    main(f"--task backbone --checkpoint_path {tmp_path}/grid_feat_R-50.pth --output_dir {tmp_path}/resnet".split())
    assert f"backbone: {len(state) - 2} tensors used, 2 known to be unused" in capsys.readouterr().out

    backbone, info = ResNetBackbone.from_pretrained(tmp_path / "resnet", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    pixels = 60 * torch.randn(2, 3, 70, 90, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        (feature_map,) = backbone.eval()(pixels).feature_maps
    torch.testing.assert_close(feature_map, plain_features(state, TINY, pixels, "backbone."), rtol=0, atol=1e-10)


def test_a_backbone_file_may_hold_the_tensors_by_themselves(tmp_path):
    torch.save(detector_state_dict(), tmp_path / "x.pth")
    report = convert_backbone_checkpoint(tmp_path / "x.pth", tmp_path / "resnet")
    assert len(report.used) + len(report.unused) == len(detector_state_dict())
    assert set(report.unused) == {"proposal_generator.rpn_head.conv.weight", "roi_heads.box_head.fc1.weight"}


def test_folded_statistics_are_zero_and_one():
    state = detector_state_dict()
    folded = {name: tensor for name, tensor in state.items() if not name.endswith(("running_mean", "running_var"))}
    ours = convert_backbone_state_dict(folded)
    norm = "encoder.stages.2.layers.0.layer.1.normalization"
    assert torch.equal(ours[f"{norm}.running_mean"], torch.zeros(4))
    assert torch.equal(ours[f"{norm}.running_var"], torch.ones(4))
    assert torch.equal(ours[f"{norm}.bias"], state["backbone.res4.0.conv2.norm.bias"])
    # one that is missing among others is a fault
    state.pop("backbone.res4.0.conv2.norm.running_var")
    with pytest.raises(ConversionError, match=r"Missing \(1\):\n    backbone\.res4\.0\.conv2\.norm\.running_var"):
        convert_backbone_state_dict(state)


def test_names_and_shapes_of_a_backbone_are_checked(tmp_path):
    state = detector_state_dict()
    state["backbone.res3.0.conv9.weight"] = state.pop("backbone.res3.0.conv3.weight")
    with pytest.raises(
        ConversionError, match=r"res3\.0\.conv9\.weight  \(renamed from backbone\.res3\.0\.conv3\.weight"
    ):
        convert_backbone_state_dict(state)
    state = detector_state_dict()
    state["backbone.res3.0.conv2.weight"] = torch.zeros(4, 4, 1, 1)
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(ConversionError, match=r"res3\.0\.conv2\.weight is \(4, 4, 1, 1\), expected \(4, 4, 3, 3\)"):
        convert_backbone_checkpoint(tmp_path / "x.pth", tmp_path / "resnet")
    assert not (tmp_path / "resnet").exists()


@pytest.mark.parametrize("says", [False, True])
def test_the_preprocessing_is_written_with_the_backbone(tmp_path, says):
    state = detector_state_dict()
    if says:  # in the order of the detector's channels
        state |= {"pixel_mean": torch.tensor([[[1.0]], [[2.0]], [[3.0]]]), "pixel_std": torch.tensor([4.0, 5.0, 6.0])}
    torch.save({"model": state}, tmp_path / "x.pth")
    convert_backbone_checkpoint(tmp_path / "x.pth", tmp_path / "resnet")
    processor = AutoImageProcessor.from_pretrained(tmp_path / "resnet")
    assert not processor.do_rescale and processor.do_normalize
    assert list(processor.image_mean) == ([3.0, 2.0, 1.0] if says else [123.675, 116.28, 103.53])
    assert list(processor.image_std) == ([6.0, 5.0, 4.0] if says else [1.0, 1.0, 1.0])


@pytest.fixture
def bert(tmp_path):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=TINY.vocabulary,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=20,
    )
    model = BertForPreTraining(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    config.save_pretrained(tmp_path / "bert")
    return model


def write_bert(folder, model, kind):
    if kind == "safetensors":
        model.save_pretrained(folder)
        return
    state = model.state_dict()
    if kind == "gamma_beta":  # names of the first releases
        renamed = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
        for new, old in renamed.items():
            state = {name.replace(new, old): tensor for name, tensor in state.items()}
    torch.save(state, folder / "pytorch_model.bin")


@pytest.mark.parametrize("kind", ["safetensors", "bin", "gamma_beta"])
@pytest.mark.parametrize("model_class", [ClipBERTModel, ClipBERTForPreTraining, ClipBERTForVideoTextRetrieval])
def test_a_backbone_and_a_bert_become_a_model(tmp_path, bert, model_class, kind):
    state = detector_state_dict()
    torch.save({"model": state}, tmp_path / "x.pth")
    convert_backbone_checkpoint(tmp_path / "x.pth", tmp_path / "resnet")
    write_bert(tmp_path / "bert", bert, kind)
    model, info = from_parts(
        model_class,
        {"vision": tmp_path / "resnet", "text": tmp_path / "bert"},
        output_loading_info=True,
        score_pooling="max",
    )
    assert model.config.score_pooling == "max"

    base = model if model_class is ClipBERTModel else model.clipbert
    prefix = "" if model_class is ClipBERTModel else "clipbert."
    assert_equal_state_dicts(base.grid_encoder.backbone.state_dict(), convert_backbone_state_dict(state))
    ours = model.state_dict()
    heads = {name: tensor for name, tensor in bert.state_dict().items() if name.startswith("cls.")}
    trunk = {name: tensor for name, tensor in bert.state_dict().items() if name.startswith("bert.")}
    for name, tensor in trunk.items():
        assert torch.equal(ours[prefix + name.removeprefix("bert.")], tensor), name
    # the report accounts for every tensor
    if model_class is ClipBERTForPreTraining:
        assert info["unused_text"] == []
        assert all(torch.equal(ours[name], tensor) for name, tensor in heads.items())
    else:
        in_file = heads.keys() - {name for name in heads if kind == "safetensors" and ".decoder." in name}  # tied
        assert info["unused_text"] == sorted(in_file)
    assert info["unused_vision"] == []
    new = {name for name in ours if "visual_embeddings." in name or "grid_encoder.conv" in name}
    new |= {name for name in ours if name.startswith("classifier.")}
    assert set(info["new"]) == new
    assert set(info["loaded"]) == ours.keys() - new


@pytest.mark.parametrize(
    ("part", "lost"),
    [
        ("bert", "bert.encoder.layer.1.output.dense.bias"),
        ("resnet", "encoder.stages.1.layers.0.layer.0.convolution.weight"),
    ],
)
def test_parts_with_missing_tensors_are_refused_by_name(tmp_path, bert, part, lost):
    torch.save(detector_state_dict(), tmp_path / "x.pth")
    convert_backbone_checkpoint(tmp_path / "x.pth", tmp_path / "resnet")
    bert.save_pretrained(tmp_path / "bert")
    weights = tmp_path / part / "model.safetensors"
    state = load_file(weights)
    state.pop(lost)
    save_file(state, weights, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=f"lacks 1 tensors .*{lost.removeprefix('bert.')}"):
        from_parts(ClipBERTModel, {"vision": tmp_path / "resnet", "text": tmp_path / "bert"})


def test_parts_of_the_wrong_kind_are_refused(tmp_path, bert):
    torch.save(detector_state_dict(), tmp_path / "x.pth")
    convert_backbone_checkpoint(tmp_path / "x.pth", tmp_path / "resnet")
    bert.save_pretrained(tmp_path / "bert")
    with pytest.raises(ValueError, match="is a 'resnet' checkpoint"):
        from_parts(ClipBERTModel, {"vision": tmp_path / "resnet", "text": tmp_path / "resnet"})
    with pytest.raises(ValueError, match="'bert' checkpoint, which has no backbone class"):
        from_parts(ClipBERTModel, {"vision": tmp_path / "bert", "text": tmp_path / "bert"})
    with pytest.raises(ValueError, match="hidden_size=32 contradicts 16"):
        from_parts(ClipBERTModel, {"vision": tmp_path / "resnet", "text": tmp_path / "bert"}, hidden_size=32)


def test_the_processor_of_the_parts_prepares_official_pixels(tmp_path, bert, vocabulary):
    torch.save(detector_state_dict(), tmp_path / "x.pth")
    convert_backbone_checkpoint(tmp_path / "x.pth", tmp_path / "resnet")
    processor = processor_from_parts(
        {"vision": tmp_path / "resnet", "text": vocabulary}, size={"longest_edge": 64}, num_frames=1
    )
    frame = np.full((1, 64, 64, 3), 200, dtype=np.uint8)
    pixel_values = processor(videos=[frame])["pixel_values"]
    expected = 200 - torch.tensor([123.675, 116.28, 103.53])
    torch.testing.assert_close(pixel_values[0, 0, 0, :, 10, 10], expected)


# ----------------------------------------------------------------------------------------------------------------------
# Records of the official code
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parity
def test_the_file_of_the_official_saver_is_read(parity_dir):
    folder = parity_dir / "model" / "pretraining"
    assert_equal_state_dicts(
        read_checkpoint(folder / "model_step_100.pt"), load_file(folder / "state_dict.safetensors")
    )


@pytest.mark.parity
@pytest.mark.parametrize("name", TASK_OF_HEAD)
def test_every_tensor_of_every_official_head_is_accounted_for(parity_dir, name):
    head = load_head(parity_dir, name)
    _, report = build_official_model(head.state_dict, head.model_config, head.task)
    assert sorted(report.used + report.unused) == sorted(head.state_dict)
    assert all(is_known_unused(unused) for unused in report.unused)
    assert len(report.unused) == 21


def list_of(config, field):
    value = getattr(config, field)
    return list(value) if isinstance(value, (list, tuple)) else value


@pytest.mark.parity
@pytest.mark.parametrize(
    ("head", "task", "num_labels"),
    [
        ("ClipBertForPreTraining", "pretraining", 2),
        ("ClipBertForSequenceClassification", "video_qa", 1500),
        ("ClipBertForMultipleChoice", "multiple_choice", 5),
        ("ClipBertForVideoTextRetrieval", "retrieval", 2),
        ("ClipBertForRegression", "regression", 1),
    ],
)
def test_names_shapes_and_counts_of_the_full_size_model(parity_dir, head, task, num_labels):
    """On the meta device: the published model has 889 MB."""
    record = json.loads((parity_dir / "model" / "official_keys_full_size.json").read_text())
    expected = record["heads"][head]
    shapes = {**record["cnn"], **record["transformer_bert"], **expected["extra_keys"]}
    official = {name: torch.empty(shape, device="meta") for name, (shape, _, _) in shapes.items()}
    assert len(official) == expected["n_keys"]

    settings = {**official_config(TINY), "num_attention_heads": 12, "num_labels": num_labels}
    config = build_config(official, settings, task)
    default = ClipBERTConfig()
    for field in ("vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size", "max_position_embeddings"):
        assert getattr(config, field) == getattr(default, field)
    for field in ("embedding_size", "hidden_sizes", "depths", "downsample_in_bottleneck", "out_features"):
        assert list_of(config.backbone_config, field) == list_of(default.backbone_config, field)
    with torch.device("meta"):
        model = TASKS[task].model_class(config)
    ours = convert_state_dict(official)
    assert {name: tensor.shape for name, tensor in ours.items()} == {
        name: tensor.shape for name, tensor in model.state_dict().items()
    }

    counts = count_parameters(official, official_layout(official, TASKS[task].head))
    idle_table = official["transformer.bert.visual_embeddings.position_embeddings.weight"].numel()
    anchors = official["cnn.feature.proposal_generator.anchor_generator.cell_anchors.0"].numel()  # not a parameter
    recorded = expected["parameter_counts"]
    assert counts["backbone"] == recorded["cnn backbone"]
    assert counts["grid conv"] == recorded["grid enc"]
    assert counts["transformer"] == recorded["transformer"] - idle_table
    assert counts["unused"] == recorded["unused det"] + idle_table + anchors
