# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Multiply-adds: the published numbers, what is counted of which family, and that counting changes nothing."""

import json

import pytest
import tiny_cnn_rnn
import tiny_models
import tiny_mug_stan
import torch
from stub_task import run
from torch import nn

from clipbert.modeling_clipbert import ClipBERTForVideoTextRetrieval
from clipbert.modeling_mug_stan import MugSTANConfig, MugSTANForVideoTextRetrieval
from clipbert.train_scripts.engine.cost import METHODS, counting_evaluation, describe_cost
from clipbert.train_scripts.engine.operations import count_operations
from clipbert.train_scripts.engine.run_files import read_run


@pytest.mark.parametrize(
    ("num_views", "num_frames", "giga", "published"),  # of a video, without attention products
    [(1, 8, 205.5, 197.8), (3, 8, 205.5, 593), (3, 16, 411.0, 1187)],
)
def test_the_published_numbers_of_b16(num_views, num_frames, giga, published):
    clip = {"model_type": "clip", "vision_config": {"patch_size": 16}}
    with torch.device("meta"):
        model = MugSTANForVideoTextRetrieval(MugSTANConfig(clip_config=clip)).eval()
        pixel_values = torch.empty(2, num_views, num_frames, 3, 224, 224)
    with counting_evaluation(model) as found, torch.no_grad():
        model.encode_videos(pixel_values)
    view = found.units["view"]
    assert view["whole"] / 1e9 == pytest.approx(giga, rel=1e-3) and view["per_video"] == num_views
    assert view["without_attention"] * num_views / 1e9 == pytest.approx(published, rel=1e-3)
    assert f"{view['whole'] / 1e9:.1f} a view" in describe_cost({"operations": found.units})


def test_attention_is_counted_by_every_kernel_and_on_every_device():
    pixel_values, found = torch.zeros(2, 3, 5, 3, 24, 24), []
    for device, attention in (("cpu", "sdpa"), ("cpu", "eager"), ("meta", "sdpa")):
        model = tiny_mug_stan.tiny_model().to(device)
        model.set_attn_implementation(attention)
        with counting_evaluation(model) as counts, torch.no_grad():
            model.encode_videos(pixel_values.to(device))
        found.append(counts.units["view"])
    assert found[0] == found[1] == found[2] and found[0]["per_video"] == 3
    # 4 layers of the tower and 2 of the branch in space (one of them over 9 + 1 tokens of 5 frames), 2 in time
    tokens, width = 10, 16
    products = 2 * width * (6 * 5 * tokens**2 + 2 * 9 * 5**2)
    assert found[0]["whole"] - found[0]["without_attention"] == products


def test_every_family_and_each_of_its_calls():
    retrieval = tiny_models.tiny_model(ClipBERTForVideoTextRetrieval)
    frames = torch.zeros(2, 3, 2, 3, 64, 64)
    ids = torch.ones(5, 4, dtype=torch.long)
    with counting_evaluation(retrieval) as meter, torch.no_grad():
        videos = retrieval.encode_videos(frames)
        texts = retrieval.encode_texts(ids, torch.ones_like(ids))
        retrieval.match(texts, videos, torch.tensor([0, 1, 0, 1, 1]))
    found = meter.units
    assert set(found) == {"view", "text", "pair"} and found["text"]["whole"] == 0  # its texts are read with the videos
    assert found["view"]["per_video"] == 3 and found["pair"]["whole"] > found["pair"]["without_attention"] > 0
    one = count_operations(lambda: retrieval.encode_videos(frames[:1, :1]))[1]
    assert one.whole == found["view"]["whole"]
    assert not set(METHODS) & vars(retrieval).keys()  # its own methods again

    dual = tiny_mug_stan.tiny_model()
    with counting_evaluation(dual) as meter, torch.no_grad():
        texts = dual.encode_texts(*tiny_mug_stan.tiny_texts([7, 7, 7]))
        dual.match_all(texts, dual.encode_videos(tiny_mug_stan.tiny_videos(2, 5)))
    found = meter.units
    assert found["pair"]["whole"] == 7 * 5 * 12 and found["text"]["whole"] > 0  # words, frames, width

    classifier = tiny_cnn_rnn.tiny_model()
    with counting_evaluation(classifier) as meter, torch.no_grad():
        classifier(pixel_values=torch.zeros(2, 7, 3, 16, 16))
        first = dict(meter.units["view"])
        classifier(pixel_values=torch.zeros(2, 99, 3, 16, 16))  # a view is that of the first call
    assert meter.units == {"view": first} and first["whole"] == first["without_attention"]
    assert meter.encoded.num_frames == 2 * 7 + 2 * 99 and meter.multiply_adds["view"] > 2 * first["whole"] * 99 / 7


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent_layers_are_counted_and_are_no_attention(kind, gates):
    layers = kind(5, 7, num_layers=2, bidirectional=True, batch_first=True)
    with torch.inference_mode():
        _, found = count_operations(lambda: layers(torch.ones(3, 11, 5)))
    assert found.whole == found.without_attention == 3 * 11 * 2 * gates * 7 * ((5 + 7) + (14 + 7))


def test_a_slice_of_a_parameter_can_be_counted_without_a_graph():
    class Sliced(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.ones(4, 3))

        def forward(self, x):
            return self.table[:2]

    with torch.no_grad():
        assert count_operations(lambda: torch.ones(1, 2) @ Sliced()(0))[1].whole == 6


def test_what_cannot_be_counted_runs_all_the_same():
    class Unknown(torch.autograd.Function):
        @staticmethod
        def forward(context, x):
            if torch.utils._python_dispatch._get_current_dispatch_mode() is not None:
                raise NotImplementedError("no rule for this operator")
            return x + 1

    result, found = count_operations(lambda: Unknown.apply(torch.ones(2)))
    assert result.tolist() == [2, 2] and found is None
    assert describe_cost({"operations": {"view": found}}) == "G multiply-adds: a view: not counted"
    with pytest.raises(TypeError, match="of the call itself"):
        count_operations(lambda: (_ for _ in ()).throw(TypeError("of the call itself")))


def test_an_evaluation_counts_where_it_is_asked_to(tmp_path):
    settings = ["run.total_steps=2", "eval.splits={validation: monitor, test: final}"]
    for name, more in (("plain", []), ("counted", ["eval.count_cost=true"])):
        run(tmp_path / name, *settings, *more)
    plain, counted = (read_run(tmp_path / name) for name in ("plain", "counted"))
    assert "operations" not in plain.cost()
    assert counted.cost()["operations"] == {"example": {"whole": 24, "without_attention": 24}}  # 3 x 6 and 6 x 1
    assert [row["metrics"] for row in plain.evaluations] == [row["metrics"] for row in counted.evaluations]
    assert json.loads((tmp_path / "counted" / "results.json").read_text())["recipe"]["eval"]["count_cost"]
