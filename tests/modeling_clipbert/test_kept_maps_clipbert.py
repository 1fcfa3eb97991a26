# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""`keep_feature_maps`: a frame that comes again is not encoded again, and nothing is taken for what it is not."""

import copy

import pytest
import torch
from tiny_models import HEADS, tiny_config, tiny_inputs, tiny_model
from tiny_runs import MODEL, one_thread, steps_of, tiny_run  # noqa: F401

from clipbert.datasets_scripts.synthetic import generate_synthetic
from clipbert.modeling_clipbert import ClipBERTForVideoTextRetrieval, ClipBERTModel, KeptMaps
from clipbert.train_scripts.engine.recipe import RecipeError
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.retrieval import RetrievalTask


FROZEN = {"freeze_backbone_stages": 4}  # all of the tiny ResNet
RUN = [
    f"model.overrides={{freeze_backbone_stages: {1 + len(MODEL['backbone_config']['depths'])}}}",
    "data.sampling=uniform",
    "run.total_steps=4",
]


def encoded(model):
    """A list that gets the number of frames of each call of the CNN."""
    calls = []
    model.base_model.grid_encoder.backbone.register_forward_hook(lambda _, inputs, __: calls.append(len(inputs[0])))
    return calls


@pytest.fixture(params=["dict", "folder"])
def kept(request, tmp_path):
    return {} if request.param == "dict" else KeptMaps(tmp_path / "maps")


@pytest.mark.parametrize("head", HEADS)
def test_losses_and_gradients_are_those_of_a_model_that_keeps_nothing(head, kept):
    model, inputs = tiny_model(head, **FROZEN), tiny_inputs(head, labels=True)
    plain = copy.deepcopy(model)
    model.keep_feature_maps(kept)
    calls = encoded(model)
    for _ in range(2):
        for one in (model, plain):
            one.zero_grad()
            one(**inputs).loss.backward()
        for (name, own), others in zip(model.named_parameters(), plain.parameters(), strict=True):
            assert own.requires_grad == others.requires_grad == (".backbone." not in name)
            assert (own.grad is None) == (others.grad is None)
            assert own.grad is None or torch.equal(own.grad, others.grad), name
    assert calls == [8]


def test_only_what_is_new_is_encoded_and_once(kept):
    model = tiny_model(ClipBERTModel, **FROZEN)
    frames = 50 * torch.randn(5, 3, 64, 64)
    expected = model.encode_videos(frames[:, None])
    model.keep_feature_maps(kept)
    calls = encoded(model)
    with torch.no_grad():
        for rows, new in (([0, 1], 2), ([1, 2, 2, 0], 1), ([2, 1], 0), ([4, 3, 4, 0], 2)):
            before = sum(calls)
            found = model.encode_videos(frames[rows][:, None])
            assert sum(calls) - before == new
            torch.testing.assert_close(found, expected[rows], rtol=1e-4, atol=1e-5)
    model.keep_feature_maps(None)
    model.encode_videos(frames[:2, None])
    assert sum(calls) == 5 + 2


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.load_state_dict(tiny_model(ClipBERTModel, seed=1, **FROZEN).state_dict()),
        lambda model: model.grid_encoder.backbone_norms()[0].running_mean.add_(0.5),
        lambda model: setattr(
            model.grid_encoder.backbone_norms()[0], "weight", torch.nn.Parameter(torch.ones(8) * 2, False)
        ),
        lambda model: model.double(),
    ],
    ids=["loaded", "written to", "replaced", "another type"],
)
def test_other_weights_make_other_maps(change, kept):
    model, frames = tiny_model(ClipBERTModel, **FROZEN), 50 * torch.randn(2, 1, 3, 64, 64)
    model.keep_feature_maps(kept)
    before = model.encode_videos(frames)
    change(model)
    found = model.encode_videos(frames)
    model.keep_feature_maps(None)
    assert torch.equal(found, model.encode_videos(frames))
    assert found.dtype != before.dtype or not torch.equal(found, before)


def test_models_and_precisions_share_a_store(kept):
    first, second = (tiny_model(ClipBERTModel, seed=seed, **FROZEN) for seed in (0, 1))
    frames = 50 * torch.randn(2, 1, 3, 64, 64)
    for _ in range(2):
        for model in (first, second):
            for dtype in (torch.float32, torch.bfloat16):
                with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
                    model.keep_feature_maps(kept)
                    found = model.encode_videos(frames)
                    model.keep_feature_maps(None)
                    assert torch.equal(found, model.encode_videos(frames))


def test_size_of_frames_tells_them_apart(kept):
    model = tiny_model(ClipBERTModel, **FROZEN)
    model.keep_feature_maps(kept)
    shapes = [model.encode_videos(torch.zeros(1, 1, 3, *size)).shape for size in ((64, 128), (128, 64), (64, 128))]
    assert (
        shapes[0] == shapes[2]
        and len(set(model.grid_encoder.feature_maps(torch.zeros(1, 3, 128, 64)).shape[-2:])) == 2
    )


def test_pixels_that_need_a_gradient_get_it(kept):
    model, frames = tiny_model(ClipBERTModel, **FROZEN), (50 * torch.randn(1, 1, 3, 64, 64)).requires_grad_()
    (expected,) = torch.autograd.grad(model.encode_videos(frames).square().sum(), frames)
    model.keep_feature_maps(kept)
    model.encode_videos(frames.detach())
    (found,) = torch.autograd.grad(model.encode_videos(frames).square().sum(), frames)
    assert torch.equal(found, expected) and found.any()


def test_maps_of_an_inference_serve_a_training(kept):
    model, inputs = (
        tiny_model(ClipBERTForVideoTextRetrieval, **FROZEN),
        tiny_inputs(ClipBERTForVideoTextRetrieval, labels=True),
    )
    model.keep_feature_maps(kept)
    with torch.inference_mode():
        model(**inputs)
    model.train()(**inputs).loss.backward()
    assert model.clipbert.grid_encoder.conv.weight.grad.any()


@pytest.mark.parametrize("stages", [0, 3])
def test_a_cnn_that_is_trained_keeps_nothing(stages):
    model = tiny_model(ClipBERTModel, freeze_backbone_stages=stages)
    with pytest.raises(ValueError, match=rf"freeze_backbone_stages=4\).*freeze_backbone_stages={stages}"):
        model.keep_feature_maps({})
    model.grid_encoder.backbone.requires_grad_(False)  # its norms may still take statistics
    with pytest.raises(ValueError, match="freeze_backbone_stages"):
        model.keep_feature_maps({})


def test_a_cnn_that_is_set_free_says_so():
    model = tiny_model(ClipBERTModel, **FROZEN)
    model.keep_feature_maps({})
    model.requires_grad_(True)
    with pytest.raises(ValueError, match="keep_feature_maps"):
        model.encode_videos(torch.zeros(1, 1, 3, 64, 64))


def test_another_backbone_is_refused():
    backbone = {
        "model_type": "convnext",
        "hidden_sizes": [8, 8, 8, 8],
        "depths": [1, 1, 1, 1],
        "out_features": ["stage4"],
    }
    model = ClipBERTModel(tiny_config(backbone_config=backbone))
    model.grid_encoder.backbone.requires_grad_(False)
    with pytest.raises(ValueError, match="'convnext'"):
        model.keep_feature_maps({})


def test_a_damaged_file_is_made_again(tmp_path, caplog):
    model, frames = tiny_model(ClipBERTModel, **FROZEN), 50 * torch.randn(2, 1, 3, 64, 64)
    model.keep_feature_maps(KeptMaps(tmp_path))
    expected = model.encode_videos(frames)
    for damage in (lambda content: content[:-7], lambda content: content[:-7] + b"another", lambda content: b""):
        for path in tmp_path.rglob("*.safetensors"):
            path.write_bytes(damage(path.read_bytes()))
        caplog.clear()
        assert torch.equal(model.encode_videos(frames), expected)
        assert caplog.text.count("no whole file") == 2
        caplog.clear()
        assert torch.equal(model.encode_videos(frames), expected) and not caplog.text
    assert len(list(tmp_path.rglob("*"))) == 2 + len({path.parent for path in tmp_path.rglob("*.safetensors")})


def test_a_folder_has_its_bounds(tmp_path):
    model, frames = tiny_model(ClipBERTModel, **FROZEN), 50 * torch.randn(6, 1, 3, 64, 64)
    model.keep_feature_maps(KeptMaps(tmp_path))
    expected = model.encode_videos(frames[:2])
    size = sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors"))
    bounded = KeptMaps(tmp_path, max_gb=1.5 * size / 1e9)
    assert bounded.num_bytes == size
    model.keep_feature_maps(bounded)
    model.encode_videos(frames)
    assert len(list(tmp_path.rglob("*.safetensors"))) == 3
    assert torch.equal(model.encode_videos(frames[:2]), expected)


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    model = tiny_model(ClipBERTModel, **FROZEN)
    model.keep_feature_maps(KeptMaps(tmp_path / "file" / "maps"))
    with pytest.raises(OSError, match=r"file/maps \(model.kept_maps\)"):
        model.encode_videos(torch.zeros(1, 1, 3, 64, 64))


# ----------------------------------------------------------------------------------------------------------------------
# In a recipe
# ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    settings = {"num_train": 6, "num_validation": 2, "num_test": 4, "size": 48, "num_frames": 8}
    return generate_synthetic(tmp_path_factory.mktemp("data") / "easy", preset="easy", **settings)


def train(data, output_dir, *settings):
    result = main(RetrievalTask(), tiny_run("synthetic", "retrieval", data, output_dir, *RUN, *settings))
    return [row["loss"] for row in steps_of(output_dir)], result["results"]


def test_a_training_is_the_same_and_a_later_one_finds_its_maps(data, tmp_path):
    losses, results = train(data, tmp_path / "plain")
    maps = f"model.kept_maps={tmp_path / 'maps'}"
    for name in ("first", "second"):
        found, scores = train(data, tmp_path / name, maps)
        assert found == pytest.approx(losses, rel=1e-4)
        assert scores["test"]["metrics"] == pytest.approx(results["test"]["metrics"])
        # of 6 videos of the training and 4 of the test, each with a clip of two frames
        assert len(list((tmp_path / "maps").rglob("*.safetensors"))) == 20


def test_a_run_goes_on_with_the_folder_or_without(data, tmp_path, monkeypatch):
    settings = [f"model.kept_maps={tmp_path / 'maps'}", "run.save_every=1"]
    losses, _ = train(data, tmp_path / "whole", *settings)
    training_step, calls = RetrievalTask.training_step, []

    def stopped_step(self, model, batch):
        calls.append(batch)
        if len(calls) > 4:  # two micro-batches a step
            raise KeyboardInterrupt
        return training_step(self, model, batch)

    for name, later in (("with", settings), ("without", settings[1:])):
        with monkeypatch.context() as patch:
            patch.setattr(RetrievalTask, "training_step", stopped_step)
            with pytest.raises(KeyboardInterrupt):
                train(data, tmp_path / name, *settings)
        calls.clear()
        found, _ = train(data, tmp_path / name, *later)
        assert found == pytest.approx(losses, rel=1e-4)


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("run.compile=default", "leave out run.compile"),
        ("run.count_cost=true", "leave out count_cost"),
        ("eval.count_cost=true", "leave out count_cost"),
        ("model.kept_maps_gb=-1", "kept_maps_gb"),
    ],
)
def test_what_does_not_go_with_kept_maps(data, tmp_path, setting, reason):
    with pytest.raises(RecipeError, match=reason):
        train(data, tmp_path / "run", f"model.kept_maps={tmp_path / 'maps'}", setting)


def test_a_recipe_whose_cnn_is_trained(data, tmp_path):
    settings = [f"model.kept_maps={tmp_path / 'maps'}", "model.overrides={freeze_backbone_stages: 0}"]
    with pytest.raises(ValueError, match=r"freeze_backbone_stages=3\).*leave out model.kept_maps"):
        train(data, tmp_path / "run", *settings)
