# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The answer to a sentence depends on it and on its video alone: not on padding, neighbours, backend or implementation."""

import pytest
import torch
from tiny_ci_mha import BERT, FEATURES, rows, tiny_frame_model, tiny_frames, tiny_model, tiny_texts, tiny_videos

from clipbert.modeling_ci_mha import CIMHAForMomentRetrieval


VARIANTS = [
    {},
    {"fusion_alignment": "attention"},
    {"fusion_alignment": "mean_pool"},
    {"fusion_alignment": "pad"},
    {"cross_interaction": "none"},
    {"cross_interaction": "query_to_video"},
    {"cross_interaction": "video_to_query"},
    {"predictor": "transformer"},
    {"rnn_backend": "packed"},
    {"project_first": False, "norm": "pre"},
    {"cross_residual": False},
    {"text_encoder": "hf", "text_config": dict(BERT)},
    {"delta_features": True, "temporal_endpoint_features": True, "normalize_features": True},
    {"shift_start_states": True, "learned_initial_state": True, "position_type": "sinusoidal"},
]


def scores(model, **given):
    """Start, end and inside of real segments, `(3, segments)` of each sentence."""
    with torch.no_grad():
        outputs = model(**given)
    stacked = torch.stack([outputs.start_logits, outputs.end_logits, outputs.segment_logits], dim=1)
    return [row[:, mask] for row, mask in zip(stacked, outputs.segment_mask, strict=True)]


def assert_same(first, second):
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("overrides", VARIANTS)
def test_alone_in_a_batch_and_beside_garbage(overrides):
    model = tiny_model(**overrides)
    texts, videos = tiny_texts([4, 1, 3], seed=1), tiny_videos([8, 5, 1], seed=1)
    together = scores(model, **texts, **videos)
    for row, (words, segments) in enumerate(((4, 8), (1, 5), (3, 1))):
        alone = scores(
            model,
            input_ids=texts["input_ids"][row : row + 1, :words],
            video_features=videos["video_features"][row : row + 1, :segments],
        )
        assert_same(alone, together[row : row + 1])
    # more padding, full of what no model should ever see
    mask, words = rows([8, 5, 1], longest=13), rows([4, 1, 3], longest=6)
    features = torch.full((3, 13, FEATURES), torch.nan)
    features[:, 8:, 0] = torch.inf
    features[:, :8] = videos["video_features"].masked_fill(videos["video_mask"][..., None] == 0, torch.nan)
    ids = torch.full((3, 6), 10**6)
    ids[:, :4] = texts["input_ids"]
    ids[words == 0] = 10**6
    padded = scores(model, input_ids=ids, attention_mask=words, video_features=features, video_mask=mask)
    assert_same(padded, together)


@pytest.mark.parametrize("overrides", [{}, {"text_encoder": "hf", "text_config": dict(BERT)}])
def test_among_a_hundred_sentences_of_its_video(overrides):
    model = tiny_model(**overrides)
    texts, videos = tiny_texts([1 + number % 5 for number in range(100)], seed=2), tiny_videos([7, 3], seed=2)
    owners = torch.arange(100) % 2
    many = scores(model, **texts, **videos, video_indices=owners)
    for number in (0, 37, 98, 99):
        length = int(texts["attention_mask"][number].sum())
        segments = int(videos["video_mask"][owners[number]].sum())
        alone = scores(
            model,
            input_ids=texts["input_ids"][number : number + 1, :length],
            video_features=videos["video_features"][owners[number]][None, :segments],
        )
        assert_same(alone, many[number : number + 1])
    # in parts, as a contract of encoders and a matcher
    parts = model.match_moments(model.encode_texts(**texts), model.encode_videos(**videos), video_indices=owners)
    torch.testing.assert_close(parts.start_logits, model(**texts, **videos, video_indices=owners).start_logits)


def test_words_may_stand_anywhere_in_their_row():
    model, videos = tiny_model(), tiny_videos([6, 6])
    texts = tiny_texts([4, 2])
    turned = {
        "input_ids": texts["input_ids"].roll(2, dims=1),
        "attention_mask": texts["attention_mask"].roll(2, dims=1),
    }
    turned["input_ids"][0], turned["attention_mask"][0] = texts["input_ids"][0], 1
    assert_same(scores(model, **texts, **videos), scores(model, **turned, **videos))


@pytest.mark.parametrize("learned_initial_state", [False, True])
def test_both_recurrent_backends_agree(learned_initial_state):
    results = []
    for backend in ("packed", "reversed"):
        model = tiny_model(rnn_backend=backend, learned_initial_state=learned_initial_state).double().train()
        for name, parameter in model.named_parameters():
            if name.endswith("initial_state"):
                torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(3))
        videos = tiny_videos([8, 5, 1])
        outputs = model(
            **tiny_texts([4, 1, 3]),
            **{**videos, "video_features": videos["video_features"].double()},
            start_positions=torch.tensor([2, 0, 0]),
            end_positions=torch.tensor([4, 1, 0]),
        )
        outputs.loss.backward()
        results.append([outputs.end_logits, *(p.grad for p in model.parameters())])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("overrides", VARIANTS[:8])
def test_eager_and_sdpa_agree(overrides, tmp_path):
    tiny_model(**overrides).save_pretrained(tmp_path)
    found = []
    for implementation in ("eager", "sdpa"):
        model = CIMHAForMomentRetrieval.from_pretrained(tmp_path, attn_implementation=implementation).eval()
        found.append(scores(model, **tiny_texts([4, 1, 3]), **tiny_videos([8, 5, 1], padding=torch.nan)))
    assert_same(*found)


def test_frames_are_their_vectors():
    model = tiny_frame_model()
    frames = tiny_frames([5, 2], padding=torch.nan)
    mask = rows([5, 2])
    vectors = model.encode_frames(frames["pixel_values"][mask == 1].flatten(0, 1)).unflatten(0, (7, 2)).mean(dim=1)
    features = torch.zeros(2, 5, FEATURES)
    features[mask == 1] = vectors
    texts = tiny_texts([3, 2])
    assert_same(scores(model, **texts, **frames), scores(model, **texts, video_features=features, video_mask=mask))


def test_frames_that_do_not_exist_are_not_seen():
    model, texts = tiny_frame_model(), tiny_texts([3])
    frames = tiny_frames([4], num_frames=3)["pixel_values"]
    mask = torch.tensor([[[1, 1, 0], [1, 0, 0], [1, 1, 1], [0, 1, 1]]])
    shown = frames.masked_fill(mask[..., None, None, None] == 0, torch.nan)
    vectors = model.encode_frames(frames.flatten(0, 2)).unflatten(0, (1, 4, 3))
    mean = (vectors * mask[..., None]).sum(dim=2) / mask.sum(dim=2)[..., None]
    assert_same(
        scores(model, **texts, pixel_values=shown, frame_mask=mask), scores(model, **texts, video_features=mean)
    )


def test_chunks_of_frames_change_nothing():
    frames, texts, found = tiny_frames([5, 2]), tiny_texts([3, 2]), []
    for size in (None, 1, 3):
        found.append(scores(tiny_frame_model(frame_chunk_size=size), **texts, **frames))
    assert_same(found[0], found[1])
    assert_same(found[0], found[2])


@pytest.mark.parametrize("overrides", [{}, {"text_encoder": "glove_bilstm"}, {"predictor": "transformer"}])
def test_saved_and_loaded_exactly(overrides, tmp_path):
    model = tiny_model(**overrides)
    if overrides.get("text_encoder") == "glove_bilstm":
        model.get_input_embeddings().fill(torch.randn(20, 8))
    model.save_pretrained(tmp_path)
    loaded = CIMHAForMomentRetrieval.from_pretrained(tmp_path).eval()
    assert {n for n, p in loaded.named_parameters() if p.requires_grad} == {
        n for n, p in model.named_parameters() if p.requires_grad
    }
    given = {**tiny_texts([4, 1, 3]), **tiny_videos([8, 5, 1])}
    for one, other in zip(scores(model, **given), scores(loaded, **given), strict=True):
        assert torch.equal(one, other)
