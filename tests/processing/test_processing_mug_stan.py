# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Words as Mug-STAN reads them, with the tokenizers of all kinds of image-text models."""

import doctest
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from text_ends import TOKENIZERS, clip_tokenizer, unigram_tokenizer, wordpiece_tokenizer
from transformers import (
    AutoVideoProcessor,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPProcessor,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessor,
)

import clipbert.processing.processing_mug_stan
from clipbert.processing import MugSTANProcessor, MugSTANVideoProcessor, load_tokenizer


RECORDED = Path(__file__).parents[1] / "fixtures" / "mug_stan" / "processing"
FRAMES = np.random.default_rng(0).integers(0, 256, (6, 40, 60, 3), dtype=np.uint8)
LONG = "the dog runs and then the dog jumps and then the dog moves right and then the dog moves left"


class StandInConfig(PreTrainedConfig):
    """Saved processors are found through the config of a family, which lies a floor above."""

    model_type = "stand_in_for_mug_stan"


@pytest.fixture(scope="module", autouse=True)
def registered():
    AutoVideoProcessor.register(StandInConfig, MugSTANVideoProcessor, exist_ok=True)


def build(tokenizer, **options):
    return MugSTANProcessor(MugSTANVideoProcessor(size=32, num_frames=4), tokenizer, **options)


@pytest.mark.parity
@pytest.mark.parametrize("length", [32, 64, 77])
def test_ids_are_the_official_ones(data_dir, length):
    processor = build(load_tokenizer(data_dir / "vocab" / "clip"), max_length=length)
    for case in json.loads((RECORDED / "tokenize.json").read_text()):
        official = case[f"ids_{length}"]
        if not case["text"]:
            continue  # refused, see below
        batch = processor(text=[case["text"]], padding="max_length")
        ids, mask = batch["input_ids"][0].tolist(), batch["attention_mask"][0]
        num_tokens = int(mask.sum())
        assert len(ids) == length and mask.tolist() == [1] * num_tokens + [0] * (length - num_tokens)
        assert ids[: num_tokens - 1] == official[: num_tokens - 1] and ids[num_tokens - 1] == 49407
        if case[f"has_eot_{length}"]:  # the official cut loses it
            assert ids[:num_tokens] == official[:num_tokens] and not any(official[num_tokens:])
        else:
            assert num_tokens == length


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("length", [4, 8, 20])
def test_long_texts_keep_their_end(kind, length):
    tokenizer = TOKENIZERS[kind]()
    processor = build(tokenizer, max_length=length)
    batch = processor(text=[[LONG, "a dog"], [LONG.upper()]], videos=[FRAMES, FRAMES])
    assert batch["video_indices"].tolist() == [0, 0, 1] and batch["pixel_values"].shape == (2, 4, 3, 32, 32)
    whole = tokenizer(LONG)["input_ids"]
    end = whole[-1]
    for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True):
        words = ids[mask.bool()].tolist()
        assert words[-1] == end and words.count(end) == 1 and len(words) <= length
    cut = batch["input_ids"][0][batch["attention_mask"][0].bool()].tolist()
    assert cut == (whole if len(whole) <= length else [*whole[: length - 1], end])


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_fixed_length(kind, tmp_path):
    processor = build(TOKENIZERS[kind](16), padding="max_length")
    assert processor(text=["a dog"])["input_ids"].shape == (1, 16)
    assert processor(text=["a dog"], max_length=9)["input_ids"].shape == (1, 9)
    assert processor(text=["a dog"], padding=False, return_tensors=None)["attention_mask"][0].count(0) == 0
    processor.save_pretrained(tmp_path)
    loaded = MugSTANProcessor.from_pretrained(tmp_path)
    assert loaded.padding == "max_length" and loaded.max_length is None
    assert loaded(text=["a dog"])["input_ids"].tolist() == processor(text=["a dog"])["input_ids"].tolist()


def test_masks_come_from_the_tokenizer():
    """A "!" inside a word is token 0 of CLIP, which the official mask loses; padding is the end token again."""
    processor = build(clip_tokenizer())
    batch = processor(text=["dog!(cat)", "a dog runs and then jumps"])
    assert 0 in batch["input_ids"][0][batch["attention_mask"][0].bool()]
    assert batch["attention_mask"].sum(dim=1).tolist() == [
        len(processor.tokenizer(t)["input_ids"]) for t in ("dog!(cat)", "a dog runs and then jumps")
    ]
    no_mask_by_default = unigram_tokenizer()
    no_mask_by_default.model_input_names = ["input_ids"]  # as Gemma's, with which SigLIP 2 reads
    assert build(no_mask_by_default)(text=["a dog", "a"])["attention_mask"].sum(dim=1).tolist() == [3, 2]


def test_entities_become_characters():
    processor = build(clip_tokenizer())
    plain = processor(text=["a dog & cat"])["input_ids"]
    for text in ("a dog &amp; cat", "a dog &amp;amp; cat", "a dog &#38; cat"):
        assert torch.equal(processor(text=[text])["input_ids"], plain)


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_a_text_without_words_is_named(kind, text):
    with pytest.raises(ValueError, match=r"Text 1, '.*', has no words"):
        build(TOKENIZERS[kind]())(text=["a dog", text])


def test_tokenizers_that_end_no_text_are_refused():
    tokenizer = unigram_tokenizer()
    tokenizer.backend_tokenizer.post_processor = None
    ends_nothing = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer, eos_token="</s>", pad_token="<pad>"
    )
    with pytest.raises(ValueError, match="puts no end token behind a text"):
        build(ends_nothing)
    with pytest.raises(ValueError, match="padding to be 'longest' or 'max_length'"):
        build(wordpiece_tokenizer(), padding="always")


def test_a_checkpoint_of_clip_is_enough(tmp_path):
    text, vision = {"hidden_size": 16, "num_attention_heads": 2, "max_position_embeddings": 20}, {"image_size": 32}
    CLIPConfig(text_config=text, vision_config=vision).save_pretrained(tmp_path)
    image_processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32, image_std=[0.5, 0.6, 0.7])
    theirs = CLIPProcessor(image_processor, clip_tokenizer(77))
    theirs.save_pretrained(tmp_path)
    ours = MugSTANProcessor.from_clip_pretrained(str(tmp_path), num_frames=6)
    assert (ours.max_length, ours.padding, ours.video_processor.num_frames) == (20, "longest", 6)
    expected = theirs(
        text=["a dog", LONG], images=list(FRAMES), padding=True, truncation=True, max_length=20, return_tensors="pt"
    )
    batch = ours(text=["a dog", LONG], videos=[FRAMES, FRAMES])
    assert torch.equal(batch["input_ids"], expected["input_ids"])
    assert torch.equal(batch["attention_mask"], expected["attention_mask"])
    torch.testing.assert_close(batch["pixel_values"][0], expected["pixel_values"], rtol=0, atol=2e-6)
    ours.save_pretrained(tmp_path / "ours")
    again = MugSTANProcessor.from_pretrained(tmp_path / "ours")(text=["a dog", LONG], videos=[FRAMES, FRAMES])
    for name, values in batch.items():
        assert torch.equal(again[name], values), name


def test_a_checkpoint_of_siglip_is_enough(tmp_path):
    SiglipConfig(text_config={"max_position_embeddings": 12}).save_pretrained(tmp_path)
    SiglipImageProcessor(size={"height": 48, "width": 48}).save_pretrained(tmp_path)
    unigram_tokenizer(64).save_pretrained(tmp_path)
    processor = MugSTANProcessor.from_clip_pretrained(str(tmp_path))
    batch = processor(text=["a dog", LONG], videos=[FRAMES, FRAMES])
    assert batch["input_ids"].shape == (2, 12) and batch["pixel_values"].shape == (2, 12, 3, 48, 48)
    assert batch["input_ids"][1, -1] == 1 and batch["attention_mask"].sum(dim=1).tolist() == [3, 12]


def test_options_reach_the_frames():
    processor = build(wordpiece_tokenizer())
    metadata = {"video_metadata": {"fps": 2}, "return_metadata": True}
    batch = processor(text=["a dog"], videos=[FRAMES], spans_se=[(1.0, 2.0)], num_crops=3, num_frames=2, **metadata)
    assert batch["pixel_values"].shape == (1, 3, 2, 3, 32, 32) and batch["frame_indices"].tolist() == [[2, 3]]
    assert set(processor.model_input_names) == {"input_ids", "attention_mask", "video_indices", "pixel_values"}


def test_examples():
    assert doctest.testmod(clipbert.processing.processing_mug_stan).failed == 0
