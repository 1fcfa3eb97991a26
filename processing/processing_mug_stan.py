# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Words and videos as Mug-STAN reads them, with the tokenizer of the image-text model that it starts from."""

import html
from typing import Any

import numpy as np
from transformers import AutoConfig, AutoTokenizer

from .processing_video_text import VideoTextProcessor
from .video_processing_mug_stan import MugSTANVideoProcessor


FIXED_LENGTH = ("siglip", "siglip2")  # read the last position of texts that are padded to their longest


class MugSTANProcessor(VideoTextProcessor):
    r"""Turns texts with videos or images into the inputs of a Mug-STAN model.

    Any tokenizer serves that ends texts with a token of its own: the BPE of CLIP, WordPiece, SentencePiece. Texts that are
    too long lose words before that token, which CLIP reads, not the token itself. (The official code loses it.) `&amp;`
    and the like become characters, as where CLIP was trained.

    Args:
        video_processor ([`MugSTANVideoProcessor`]): What prepares the frames.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]): What prepares the words.
        max_length (`int`, *optional*): Longest text in tokens, special ones included; by default what the tokenizer
            allows. Mug-STAN: 32, 64 for pre-training and DiDeMo.
        padding (`str`, defaults to `"longest"`): `"longest"` of the batch, or `"max_length"`, as SigLIP was trained.

    Raises:
        ValueError: If the tokenizer does not end texts.

    Example:
        >>> from transformers import BertTokenizer

        >>> words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "runs"]
        >>> tokenizer = BertTokenizer(vocab={word: index for index, word in enumerate(words)})
        >>> processor = MugSTANProcessor(MugSTANVideoProcessor(size=32, num_frames=4), tokenizer, max_length=4)
        >>> batch = processor(text=["a dog runs"], videos=[np.zeros((10, 48, 64, 3), dtype=np.uint8)])
        >>> batch["input_ids"].tolist(), batch["pixel_values"].shape
        ([[2, 5, 6, 3]], torch.Size([1, 4, 3, 32, 32]))
    """

    text_kwargs = {**VideoTextProcessor.text_kwargs, "return_attention_mask": True}  # which Mug needs

    def __init__(self, video_processor=None, tokenizer=None, max_length: int | None = None, padding: str = "longest"):
        super().__init__(video_processor, tokenizer, max_length)
        if padding not in ("longest", "max_length"):
            raise ValueError(f"Expected padding to be 'longest' or 'max_length', got {padding!r}.")
        self.padding = padding
        ends = (tokenizer.eos_token_id, tokenizer.sep_token_id)
        if (ids := tokenizer("a")["input_ids"])[-1:] == [] or ids[-1] not in ends:
            raise ValueError(
                f"{type(tokenizer).__name__} puts no end token behind a text ('a' becomes {ids}), which Mug-STAN reads: use "
                "the tokenizer that its CLIP was trained with."
            )

    @classmethod
    def from_clip_pretrained(
        cls, name_or_path: str, max_length: int | None = None, revision: str = "main", **options: Any
    ) -> "MugSTANProcessor":
        """What a checkpoint of CLIP, MetaCLIP 2, Chinese-CLIP, AltCLIP, SigLIP or SigLIP 2 was trained with.

        Args:
            name_or_path (`str`): Name on the Hub, or a folder with `config.json`, `preprocessor_config.json` and a tokenizer.
            max_length (`int`, *optional*): Longest text in tokens; by default what the model has positions for.
            revision (`str`, defaults to `"main"`): Branch, tag or commit on the Hub.
            options: Options of [`MugSTANVideoProcessor`].

        Raises:
            OSError: If a file is missing.
            ValueError: If the image processor or the tokenizer does not suit.

        Example:
            >>> processor = MugSTANProcessor.from_clip_pretrained("openai/clip-vit-base-patch32", max_length=32)  # doctest: +SKIP
        """
        config = AutoConfig.from_pretrained(name_or_path, revision=revision)
        tokenizer = AutoTokenizer.from_pretrained(name_or_path, revision=revision)
        text_config = config.get_text_config()
        num_positions = text_config.max_position_embeddings
        if (
            config.model_type == "altclip"
        ):  # whose text tower, an XLM-R, counts positions from behind its padding token
            num_positions -= text_config.pad_token_id + 1
        if max_length is None and tokenizer.model_max_length > num_positions:
            max_length = num_positions
        return cls(
            MugSTANVideoProcessor.from_clip_pretrained(name_or_path, revision=revision, **options),
            tokenizer,
            max_length=max_length,
            padding="max_length" if config.model_type in FIXED_LENGTH else "longest",
        )

    def clean_text(self, text: str) -> str:
        """A text as the tokenizer gets it: entities of HTML, also escaped ones, are characters."""
        return html.unescape(html.unescape(text))

    def _route_options(self, kwargs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        text_kwargs, videos_kwargs = super()._route_options(kwargs)
        if text_kwargs["padding"] is True:
            text_kwargs["padding"] = self.padding
        return text_kwargs, videos_kwargs

    def _tokenize(self, rows: list[str], text_kwargs: dict[str, Any]) -> dict[str, Any]:
        encoded = super()._tokenize([self.clean_text(row) for row in rows], text_kwargs)
        num_special = self.tokenizer.num_special_tokens_to_add() if text_kwargs.get("add_special_tokens", True) else 0
        masks = encoded.get("attention_mask", [[1] * len(ids) for ids in encoded["input_ids"]])
        for position, (row, mask) in enumerate(zip(rows, masks, strict=True)):
            if not row.strip() or np.asarray(mask).sum() <= num_special:
                raise ValueError(f"Text {position}, {row!r:.80}, has no words: leave it out.")
        return encoded


__all__ = ["MugSTANProcessor"]
