# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Sentences to vectors of their words (eq. 2): word vectors and a bidirectional LSTM, or a text model of transformers.

Letters: Q sentences, L words, D size of a state.
"""

import torch
import transformers
from torch import nn
from transformers.models.auto.modeling_auto import MODEL_MAPPING

from .frames_ci_mha import accept_any_attention, pooling_options
from .recurrent_ci_mha import CIMHABiLSTM


class CIMHAWordVectors(nn.Module):
    """
    Word vectors that are kept as they are, but for that of words that are not known, which is trained.

    They are held as the bits of half precision numbers: as numbers they would follow the model into single precision, and
    take twice the room in memory and in its checkpoint.
    """

    def __init__(self, vocab_size, word_size):
        super().__init__()
        self.register_buffer("bits", torch.zeros(vocab_size, word_size, dtype=torch.int16))
        self.unknown = nn.Parameter(torch.zeros(word_size))

    @torch.no_grad()
    def fill(self, vectors):
        """Take vectors `(words, size)`, of which the first two, padding and what is not known, are not looked at."""
        self.bits.copy_(vectors.to(torch.float16).view(torch.int16))
        self.bits[:2] = 0

    def forward(self, input_ids):
        known = self.bits[input_ids].view(torch.float16).to(self.unknown.dtype)
        return torch.where((input_ids == 1)[..., None], self.unknown, known)


class CIMHAWordEncoder(nn.Module):
    """Word vectors and a bidirectional LSTM. Words may stand anywhere in their row: it reads them from the front."""

    def __init__(self, config):
        super().__init__()
        self.output_size = config.hidden_size
        if config.text_encoder == "glove_bilstm":
            self.word_embeddings = CIMHAWordVectors(config.vocab_size, config.word_size)
        else:
            self.word_embeddings = nn.Embedding(config.vocab_size, config.word_size, padding_idx=0)
        self.dropout = nn.Dropout(config.dropout)
        self.lstm = CIMHABiLSTM(config.word_size, config.hidden_size, config.rnn_backend)

    def forward(self, input_ids, mask):
        # (Q, L), both -> (Q, L, D)
        order = mask.int().argsort(dim=1, descending=True, stable=True)
        words = self.dropout(self.word_embeddings(input_ids.gather(1, order)))
        states = self.lstm(words, mask.sum(dim=1))
        return torch.zeros_like(states).scatter(1, order[..., None].expand_as(states), states)


class CIMHATextModel(nn.Module):
    """A text model of transformers. Its special tokens are words like others, and take part in attention."""

    def __init__(self, config):
        super().__init__()
        self.is_trainable = config.text_trainable
        self.model = build_text_model(config.text_config)
        self.output_size = config.text_config.hidden_size
        self.freeze()

    def freeze(self):
        """Stop the training of all of it, unless it is to be trained."""
        self.model.requires_grad_(self.is_trainable)
        self.train(self.training)

    def train(self, mode=True):
        super().train(mode)
        self.model.train(mode and self.is_trainable)
        return self

    def forward(self, input_ids, mask):
        # (Q, L), both -> (Q, L, D)
        return self.model(input_ids=input_ids, attention_mask=mask.long()).last_hidden_state


def text_model_class(config):
    """
    The class for a text model.

    Raises:
        ValueError: If transformers has none.
    """
    model_class = MODEL_MAPPING.get(type(config), None)
    if model_class is None:  # the text tower of a model of images and texts, which has no entry of its own
        model_class = getattr(transformers, type(config).__name__.removesuffix("Config") + "Model", None)
    if model_class is None or model_class.main_input_name != "input_ids":
        raise ValueError(
            f"text_config is that of a {config.model_type!r}, for which transformers has no text model. Take a BERT, an XLM-R, "
            "or the text tower of a CLIP."
        )
    return model_class


def build_text_model(config):
    """A text model with random weights."""
    model_class = text_model_class(config)
    return accept_any_attention(model_class(config, **pooling_options(model_class)))


__all__ = ["CIMHATextModel", "CIMHAWordEncoder", "CIMHAWordVectors", "build_text_model", "text_model_class"]
