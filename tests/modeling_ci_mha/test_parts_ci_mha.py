# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A start from parts: their weights, the pixels and the words that they expect, and word vectors that stay in the checkpoint."""

import unicodedata

import numpy as np
import pytest
import torch
from text_ends import wordpiece_tokenizer
from tiny_ci_mha import BERT, RESNET
from tiny_mug_stan import IMAGE_SIZE, write_clip
from transformers import AutoProcessor, BertConfig, BertModel, CLIPModel

from clipbert.modeling_ci_mha import (
    CIMHAForMomentRetrieval,
    CIMHAModel,
    from_parts,
    knows_part,
    needs_words,
    processor_from_parts,
)
from clipbert.modeling_clipbert import ClipBERTConfig, ClipBERTModel
from clipbert.processing import ClipBERTVideoProcessor
from clipbert.processing.word_tokenizer import build_word_tokenizer


SIZES = {"hidden_size": 16, "num_attention_heads": 2}
WHITE = np.full((1, 20, 24, 32, 3), 255, dtype=np.uint8)
VECTORS = (
    "the 0.5 -1 2 0.25\n, 9 9 9 9\nThe 8 8 8 8\ndog 1 2 3 4\n. . 5 5 5 5\ncửa 4 3 2 1\nis 1 1 1 1\nrare 7 7 7 7\n"
)


@pytest.fixture
def glove(tmp_path):
    path = tmp_path / "glove.txt"
    path.write_text(VECTORS, encoding="utf-8")
    return path


def test_both_towers_of_a_clip(tmp_path):
    clip = str(write_clip(tmp_path))
    parts = {"frame_encoder": clip, "text_encoder": clip}
    model, info = from_parts(CIMHAForMomentRetrieval, parts, output_loading_info=True, **SIZES)
    processor = processor_from_parts(parts, segments_per_second=1)
    pictures, source = processor.video_processor, CLIPModel.from_pretrained(clip)
    assert (pictures.size["height"], pictures.interpolation) == (IMAGE_SIZE, "bicubic")
    inputs = processor(videos=WHITE, text=["a man walks"], video_metadata={"fps": 2})
    assert inputs["pixel_values"][0, 0, 0, 0, 8, 8].item() == pytest.approx((1 - 0.48145466) / 0.26862954, abs=1e-3)
    frames, ids = inputs["pixel_values"][0].flatten(0, 1), inputs["input_ids"]
    torch.testing.assert_close(model.encode_frames(frames), source.vision_model(frames).pooler_output)
    words = model.ci_mha.text_encoder.encoder(ids, inputs["attention_mask"].bool())
    torch.testing.assert_close(words, source.text_model(ids).last_hidden_state)
    assert model(**inputs).start_logits.shape == (1, 10) and not model.training
    assert {name for name, p in model.named_parameters() if p.requires_grad} == set(info["new"])
    assert set(info["new"]) | set(info["loaded"]) == model.state_dict().keys()
    assert model.config.frame_encoder_config.name_or_path == model.config.text_config.name_or_path == ""
    bare, of_bare = from_parts(CIMHAModel, parts, output_loading_info=True, **SIZES)
    assert set(of_bare["new"]) | set(of_bare["loaded"]) == bare.state_dict().keys()


def test_the_grid_encoder_of_a_clipbert_and_words_of_its_own(tmp_path):
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 16}
    source = ClipBERTModel(ClipBERTConfig(backbone_config={**RESNET, "out_features": ["stage2"]}, **sizes)).eval()
    source.save_pretrained(tmp_path)
    ClipBERTVideoProcessor(image_mean=[0.1, 0.2, 0.3]).save_pretrained(tmp_path)
    parts, tokenizer = {"frame_encoder": str(tmp_path)}, build_word_tokenizer(["a dog runs"])
    model = from_parts(CIMHAForMomentRetrieval, parts, tokenizer=tokenizer, **SIZES)
    processor = processor_from_parts(parts, tokenizer, size=64)
    assert list(processor.video_processor.image_mean) == [0.1, 0.2, 0.3]
    assert model.config.vocab_size == 5 and needs_words(parts)
    frames = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(model.encode_frames(frames), source.grid_encoder(frames).mean(dim=(-2, -1)))
    with pytest.raises(ValueError, match="which words there are"):
        processor_from_parts(parts)


def test_word_vectors_travel_in_the_checkpoint(glove, tmp_path):
    sentences = ["The rare dog", "nobody knows zyzzy"]
    tokenizer = build_word_tokenizer(sentences, glove=glove, num_words=1)
    assert tokenizer.convert_ids_to_tokens(range(2, len(tokenizer))) == ["the", "rare", "dog", "cửa"]
    parts = {"glove": str(glove)}
    model = from_parts(CIMHAForMomentRetrieval, parts, tokenizer=tokenizer, video_feature_size=6, **SIZES)
    processor_from_parts(parts, tokenizer).save_pretrained(tmp_path / "model")
    model.save_pretrained(tmp_path / "model")
    glove.unlink()
    processor = AutoProcessor.from_pretrained(tmp_path / "model")
    loaded = CIMHAForMomentRetrieval.from_pretrained(tmp_path / "model").eval()
    forms = [unicodedata.normalize(form, "The RARE cửa, zyzzy!") for form in ("NFC", "NFD")]
    ids = processor(text=forms)["input_ids"]
    assert ids.tolist() == [[2, 3, 5, 1]] * 2
    vectors = loaded.get_input_embeddings()(ids[:1])[0]
    assert vectors[:3].tolist() == [[0.5, -1, 2, 0.25], [7, 7, 7, 7], [4, 3, 2, 1]]
    assert loaded.get_input_embeddings().bits.dtype == torch.int16
    given = {"input_ids": ids, "video_features": torch.randn(2, 3, 6)}
    torch.testing.assert_close(loaded(**given).end_logits, model(**given).end_logits)


def test_without_sentences_the_most_frequent_words_have_vectors(glove):
    parts = {"glove": glove}
    model = from_parts(CIMHAForMomentRetrieval, parts, video_feature_size=6, **SIZES)
    processor = processor_from_parts(parts)
    assert len(processor.tokenizer) == model.config.vocab_size == 7 and model.config.word_size == 4
    assert model.get_input_embeddings()(processor(text=["is"])["input_ids"]).tolist() == [[[1.0] * 4]]
    with pytest.raises(ValueError, match="no vectors of 3 words: a, cat, runs"):
        other = build_word_tokenizer(["a cat runs"])
        from_parts(CIMHAForMomentRetrieval, parts, tokenizer=other, video_feature_size=6, **SIZES)


def test_parts_that_do_not_do(glove, tmp_path):
    with pytest.raises(ValueError, match="no part 'frame_encode'.*frame_encoder"):
        from_parts(CIMHAModel, {"frame_encode": "x"})
    with pytest.raises(ValueError, match="name one of them"):
        processor_from_parts({"glove": glove, "text_encoder": "x"})
    assert knows_part("glove", glove) and not knows_part("text_encoder", tmp_path)
    with pytest.raises(ValueError, match="no such file"):
        knows_part("glove", tmp_path / "missing.txt")
    BertModel(BertConfig(**BERT)).save_pretrained(tmp_path / "bert")
    with pytest.raises(ValueError, match="no image model"):
        from_parts(CIMHAModel, {"frame_encoder": str(tmp_path / "bert")}, **SIZES)
    text = {"text_encoder": str(tmp_path / "bert")}
    assert from_parts(CIMHAModel, text, **SIZES).config.text_config.hidden_size == 8
    assert processor_from_parts(text, wordpiece_tokenizer()).max_length == 25
