# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A LLaVA small enough for every test, with its processor, around the tower of `tiny_mug_stan`."""

import torch
from tiny_mug_stan import tiny_clip
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import (
    CLIPImageProcessor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)


IMAGE, VOCABULARY = "<image>", 64
WORDS = [
    "USER",
    "ASSISTANT",
    ":",
    "What",
    "happens",
    "?",
    "Does",
    "it",
    "move",
    "right",
    "or",
    "left",
    "yes",
    "no",
    "a",
    "dog",
    "runs",
]
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() }} : {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }} {% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT :{% endif %}"
)


def tiny_llava(image_size=24, seed=0, **settings):
    """A LLaVA in evaluation mode; `vision_config` and others change parts of it."""
    torch.manual_seed(seed)
    vision = {**tiny_clip()["vision_config"], "image_size": image_size, "model_type": "clip_vision_model"}
    settings = {"vision_config": vision, "image_token_id": 5, **settings}
    text = {
        "model_type": "llama",
        "vocab_size": VOCABULARY,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    llava = LlavaForConditionalGeneration(LlavaConfig(text_config=text, **settings))
    with torch.no_grad():
        for parameter in llava.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return llava.eval()


def tiny_llava_processor(image_size=24):
    named = dict.fromkeys(["<pad>", "<s>", "</s>", "<unk>", "\n", IMAGE, *WORDS])
    names = [*named, *(f"word{number}" for number in range(len(named), VOCABULARY))]
    vocab = {word: number for number, word in enumerate(names)}
    words = Tokenizer(WordLevel(vocab, unk_token="<unk>"))
    words.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": IMAGE},
    )
    return LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": image_size}, crop_size={"height": image_size, "width": image_size}),
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )
