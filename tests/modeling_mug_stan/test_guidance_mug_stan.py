# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Similarities of words and frames: one exponential, blocks, masks, the loss."""

import math

import pytest
import torch

from clipbert.modeling_mug_stan.guidance_mug_stan import (
    FrameFeatures,
    TextFeatures,
    contrastive_loss,
    cosines,
    mutual_guidance,
    pool_views,
    same_words,
    score_all_pairs,
    score_pairs,
)


MODES = ("mug", "mug_exact", "frame_text", "frame_text_official", "video_token", "top_k", "wti", "mean_pool")


def pairs(lengths=(3, 9, 1, 6), num_videos=5, num_frames=4, width=8, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    weights = draw(*mask.shape).masked_fill(~mask, -math.inf).softmax(dim=-1)
    texts = TextFeatures(draw(*mask.shape, width), mask, draw(len(lengths), width), weights)
    return texts, FrameFeatures(draw(num_videos, num_frames, width), draw(num_videos, num_frames).softmax(dim=-1))


def test_exact_guidance_is_the_product_of_the_guided_embeddings():
    texts, videos = pairs()
    exact = score_all_pairs(texts, videos, "mug_exact", 10.0)
    guidance = mutual_guidance(cosines(texts.tokens[:, None], videos.frames), texts.mask[:, None], 10.0)
    unit = torch.nn.functional.normalize
    guided_video = torch.einsum("abt,btp->abp", guidance.frame_weights, unit(videos.frames, dim=-1))
    guided_text = torch.einsum("abn,anp->abp", guidance.word_weights, unit(texts.tokens, dim=-1))
    torch.testing.assert_close(exact, (guided_video * guided_text).sum(dim=-1))


@pytest.mark.parametrize("spread", [0.1, 0.8, 0.95, 2.0])
@pytest.mark.parametrize("mode", ["mug", "mug_exact", "frame_text", "video_token"])
def test_cosines_far_below_the_largest_do_not_underflow(mode, spread):
    # τ times the spread exceeds 87 from 0.87 on: in float32 the exponentials of whole frames and words are 0
    generator = torch.Generator().manual_seed(0)
    top = spread - 1
    similarity = torch.rand(50, 6, 7, generator=generator) * 0.1 - 1
    similarity[:, 0, 0] = top  # one good pair of a word and a frame, above all others
    similarity[25:, 3, 2:4] = top - 0.01
    mask, pooled = torch.ones(50, 6, dtype=torch.bool), similarity[:, -1]
    mask[:, 5] = False
    similarity[:, 5] = 1  # padding may be anything
    found = similarity.requires_grad_()
    scores = score_pairs(mode, found, mask, 100.0, pooled=pooled.detach())
    expected = score_pairs_by_soft_max(mode, similarity.detach().double(), mask, 100.0, pooled.detach().double())
    torch.testing.assert_close(scores.double(), expected, rtol=0, atol=1e-5)
    scores.sum().backward()
    assert found.grad.isfinite().all() and not found.grad[:, 5].any()


def score_pairs_by_soft_max(mode, similarity, mask, scale, pooled):
    guidance = mutual_guidance(similarity, mask, scale)
    if mode == "mug":
        words = (guidance.word_weights * guidance.word_scores).sum(dim=-1)
        return (words + (guidance.frame_weights * guidance.frame_scores).sum(dim=-1)) / 2
    if mode == "frame_text":
        return (guidance.frame_weights * pooled).sum(dim=-1)
    if mode == "video_token":
        return (guidance.word_weights * similarity.mean(dim=-1)).sum(dim=-1)
    return torch.einsum("an,ant,at->a", guidance.word_weights, similarity, guidance.frame_weights)


@pytest.mark.parametrize("block_size", [1, 40, 333])
@pytest.mark.parametrize("mode", MODES)
def test_blocks_give_what_one_piece_gives_and_its_gradients(mode, block_size):
    results = []
    for size in (2**22, block_size):
        texts, videos = pairs()
        leaves = [texts.tokens, texts.pooled, videos.frames]
        for leaf in leaves:
            leaf.requires_grad_()
        scores = score_all_pairs(texts, videos, mode, 20.0, block_size=size)
        square = scores[:, : len(texts.mask)] if scores.shape[1] > len(texts.mask) else scores
        contrastive_loss(20 * square).backward()
        results.append([scores, *(torch.zeros(1) if leaf.grad is None else leaf.grad for leaf in leaves)])
    for one_piece, blocks in zip(*results, strict=True):
        torch.testing.assert_close(blocks, one_piece, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("mode", MODES)
def test_padding_and_neighbours_change_nothing(mode):
    texts, videos = pairs()
    scores = score_all_pairs(texts, videos, mode, 100.0)
    longer = TextFeatures(
        torch.nn.functional.pad(texts.tokens, (0, 0, 0, 7), value=3.0),
        torch.nn.functional.pad(texts.mask, (0, 7)),
        texts.pooled,
        torch.nn.functional.pad(texts.weights, (0, 7)),
    )
    torch.testing.assert_close(score_all_pairs(longer, videos, mode, 100.0), scores)
    # words that stand anywhere in their row
    turned = TextFeatures(*(part if part is texts.pooled else part.flip(1) for part in longer))
    torch.testing.assert_close(score_all_pairs(turned, videos, mode, 100.0, block_size=50), scores)
    for row, length in enumerate(texts.mask.sum(dim=1).tolist()):
        alone = texts[row : row + 1].cut(length)
        torch.testing.assert_close(score_all_pairs(alone, videos, mode, 100.0), scores[row : row + 1])
        torch.testing.assert_close(
            score_all_pairs(texts, videos[row : row + 1], mode, 100.0), scores[:, row : row + 1]
        )


def test_a_word_whose_cosines_are_0_is_a_word():
    similarity = torch.tensor([[[0.0, 0.0], [-0.5, -0.4]]])
    everything, one = torch.tensor([[True, True]]), torch.tensor([[False, True]])
    assert score_pairs("mug_exact", similarity, everything, 100.0).item() == pytest.approx(0, abs=1e-6)
    assert score_pairs("mug_exact", similarity, one, 100.0).item() == pytest.approx(-0.4, abs=1e-3)


def test_fewer_than_k_are_all():
    similarity = torch.tensor([[[0.2, 0.4]]])
    assert score_pairs("top_k", similarity, torch.tensor([[True]]), 100.0, k=7).item() == pytest.approx(0.3)


def test_the_loss_is_the_sum_of_both_directions_without_duplicates():
    logits = torch.tensor([[3.0, 1.0, 0.0], [0.5, 2.0, 1.0], [0.0, 0.3, 1.0]])
    rows = sum(torch.logsumexp(logits[i], 0) - logits[i, i] for i in range(3)) / 3
    columns = sum(torch.logsumexp(logits[:, i], 0) - logits[i, i] for i in range(3)) / 3
    assert contrastive_loss(logits).item() == pytest.approx((rows + columns).item())
    same = torch.tensor([[True, True, False], [True, True, False], [False, False, True]])
    without = logits.clone()
    without[0, 1] = without[1, 0] = -1e9
    assert contrastive_loss(logits, same).item() == pytest.approx(contrastive_loss(without).item())
    assert contrastive_loss(logits[:1, :1], same[:1, :1]).item() == 0


def test_words_are_the_same_whatever_they_are_padded_with():
    input_ids = torch.tensor([[5, 6, 0, 0], [5, 6, 1, 1], [5, 6, 0, 0], [5, 7, 0, 0]])
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 0, 0]]).bool()
    assert same_words(input_ids, mask).int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


def test_views_are_pooled():
    scores = torch.tensor([[1.0, 3.0]])
    assert pool_views(scores, "mean").item() == 2 and pool_views(scores, "max").item() == 3
    assert pool_views(scores, "lse").item() == pytest.approx(math.log((math.e + math.e**3) / 2))
    with pytest.raises(ValueError, match="'median'"):
        pool_views(scores, "median")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("autocast", [False, True])
def test_features_in_half_precision_are_compared_in_single(mode, autocast):
    texts, videos = pairs(dtype=torch.float32)
    half = TextFeatures(texts.tokens.bfloat16(), texts.mask, texts.pooled.bfloat16(), texts.weights)
    frames = videos.frames.bfloat16()
    widened = TextFeatures(half.tokens.float(), half.mask, half.pooled.float(), half.weights)
    expected = score_all_pairs(widened, FrameFeatures(frames.float(), videos.weights), mode, 100.0)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        for block_size in (40, 2**22):
            found = score_all_pairs(half, FrameFeatures(frames, videos.weights), mode, 100.0, block_size=block_size)
            assert found.dtype == torch.float32
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
        assert cosines(half.tokens, frames[:1]).dtype == torch.float32
