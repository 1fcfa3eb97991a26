# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What cannot be meant is refused in words that name it: more than `test_heads_mug_stan.py` has."""

import pytest
import torch
from tiny_mug_stan import tiny_model, tiny_texts, tiny_videos

from clipbert.modeling_mug_stan import MugSTANForActionDetection, MugSTANForVideoClassification, MugSTANModel


HEADS = (MugSTANModel, MugSTANForVideoClassification, MugSTANForActionDetection)
VIDEOS, (IDS, MASK) = tiny_videos(2, 3), tiny_texts([4, 6])


@pytest.mark.parametrize(
    ("pixel_values", "message"),
    [
        (torch.zeros(2, 3, 24, 24, 3), r"got \(2, 3, 24, 24, 3\). The colours stand last"),
        (torch.zeros(2, 1, 5, 24, 24, 3), "The colours stand last"),
        (torch.zeros(2, 2, 3, 5, 24, 24), r"got \(2, 2, 3, 5, 24, 24\).*frames come first"),
        (torch.zeros(2, 2, 1, 24, 24), r"got \(2, 2, 1, 24, 24\)\.$"),
        (torch.zeros(0, 3, 3, 24, 24), r"none of them empty; got \(0, 3, 3, 24, 24\)\.$"),
        (torch.zeros(1, 1, 1, 1, 3, 24, 24), r"got \(1, 1, 1, 1, 3, 24, 24\)\.$"),
        (VIDEOS.numpy(), "torch.Tensor, got ndarray"),
        (VIDEOS.to(torch.complex64), "floating point output of the processor, got torch.complex64"),
        (VIDEOS.long(), "got torch.int64"),
        (VIDEOS / 0, "NaN or infinity"),
        (VIDEOS[..., :16], "24x16 pixels.*24x24.*interpolate_pos_encoding"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_videos(pixel_values, message):
    model = tiny_model()
    for ask in (model.encode_video, model.encode_videos, lambda given: model(IDS, given, MASK)):
        with pytest.raises(ValueError, match=message):
            ask(pixel_values)


@pytest.mark.parametrize("model_class", HEADS, ids=lambda model_class: model_class.__name__)
def test_videos_of_every_head(model_class):
    model = tiny_model(model_class)
    given = {"boxes": torch.tensor([[0.0, 0.0, 4.0, 4.0]] * 2)} if model_class is MugSTANForActionDetection else {}
    if model_class is MugSTANForVideoClassification:
        model.set_class_tokens(IDS, MASK)
    with pytest.raises(ValueError, match="frames come first"):
        model(pixel_values=torch.zeros(2, 3, 5, 24, 24), **given)
    with pytest.raises(ValueError, match="NaN or infinity"):
        model(pixel_values=VIDEOS * float("nan"), **given)
    with pytest.raises(ValueError, match="smaller than one patch"):
        model(pixel_values=VIDEOS[..., :4, :4], interpolate_pos_encoding=True, **given)


@pytest.mark.parametrize(
    ("input_ids", "mask", "message"),
    [
        (IDS, torch.ones(2, 9), r"shape of input_ids \(2, 6\), got \(2, 9\)"),
        (IDS, torch.ones(6), r"got \(6,\)"),
        (IDS, MASK.tolist(), "got list"),
        (IDS, MASK * 0.5, "1 for tokens and 0 for padding, got 0.5"),
        (IDS, MASK * float("nan"), "1 for tokens and 0 for padding, got nan"),
        (IDS, MASK * torch.tensor([[1], [0]]), "all 0 for 1"),
        (IDS.tolist(), MASK, "torch.Tensor, got list"),
        (None, None, "torch.Tensor, got NoneType"),
        (IDS.to(torch.uint8), MASK, "torch.int64.*got torch.uint8"),
        (IDS.bool(), MASK, "got torch.bool"),
        (IDS - 100, MASK, r"\[0, 99\), the tokens of the vocabulary.*-99"),
        (IDS[:0], MASK[:0], r"none of them 0, got \(0, 6\)"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_texts(input_ids, mask, message):
    model = tiny_model()
    for ask in (model.encode_text, model.encode_texts, lambda ids, mask: model(ids, VIDEOS, mask)):
        with pytest.raises(ValueError, match=message):
            ask(input_ids, mask)


@pytest.mark.parametrize(
    ("owners", "message"),
    [
        (torch.tensor([0.0, 1.0]), "torch.int64.*got torch.float32"),
        (torch.tensor([0, 1], dtype=torch.uint8), "got torch.uint8"),  # would select as a mask
        (torch.tensor([True, False]), "got torch.bool"),
        (torch.tensor([0, -1]), r"\[0, 2\), the number of videos; got -1"),
        (torch.tensor([[0, 1]]), r"video_indices \(1, 2\) must name one video for each of the 2 texts"),
        ([0, 1], "torch.Tensor, got list"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_owners(owners, message):
    model = tiny_model()
    texts, videos = model.encode_texts(IDS, MASK), model.encode_videos(VIDEOS)
    for ask in (
        lambda: model(IDS, VIDEOS, MASK, video_indices=owners),
        lambda: model.match(texts, videos, owners),
        lambda: model.explain(texts, videos, owners),
    ):
        with pytest.raises(ValueError, match=message):
            ask()


@torch.no_grad()
@pytest.mark.parametrize("similarity", ["mug", "mean_pool"])
def test_features_of_another_model(similarity):
    model, wide = tiny_model(similarity=similarity), tiny_model(clip="siglip")  # 12 numbers, and 16
    texts, videos = model.encode_texts(IDS, MASK), model.encode_videos(VIDEOS)
    wrong_texts, wrong_videos = wide.encode_texts(IDS, MASK), wide.encode_videos(VIDEOS)
    for given, message in (
        ((wrong_texts, videos), r"texts must be .* features of 12 numbers; got token_features of shape \(2, 6, 16\)"),
        ((texts, wrong_videos), r"videos must be .* of 12 numbers; got frame_features of shape \(2, 1, 3, 16\)"),
        ((texts, videos[:, 0, 0]), r"got frame_features of shape \(2, 12\)"),
        (({"token_features": texts["token_features"]}, videos), "got no attention_mask, pooler_output"),
        ((texts["pooler_output"], videos), "got no token_features"),
        ((texts, {"pooler_output": videos}), "got no frame_features"),
    ):
        for ask in (model.similarity, model.explain):
            with pytest.raises(ValueError, match=message):
                ask(*given)
