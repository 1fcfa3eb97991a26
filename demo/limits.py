# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What the page takes from strangers, and how much of it."""

from dataclasses import dataclass


class RequestError(ValueError):
    """What was asked cannot be done: the message says what was expected, and goes to whoever asked."""


@dataclass(frozen=True)
class Limits:
    """
    Limits of a page.

    Args:
        upload_bytes (`int`, *optional*, defaults to 200 MB): Of a file.
        upload_s (`float`, *optional*, defaults to 600): Seconds of a video that is uploaded.
        keep_s (`float`, *optional*, defaults to 1800): Seconds after which an upload is deleted.
        text_length (`int`, *optional*, defaults to 1000): Characters of a sentence, a question or an option.
        num_options (`int`, *optional*, defaults to 20): Of a question.
        top_k (`int`, *optional*, defaults to 50): Answers.
        decode_s (`float`, *optional*, defaults to 60): Seconds that reading a file may take.
        preview_s (`float`, *optional*, defaults to 30): Seconds of a preview.
        cache_bytes (`int`, *optional*, defaults to 500 MB): Of all previews together.
        waiting (`int`, *optional*, defaults to 64): Requests that wait for their turn; further ones are refused.
    """

    upload_bytes: int = 200_000_000
    upload_s: float = 600.0
    keep_s: float = 1800.0
    text_length: int = 1000
    num_options: int = 20
    top_k: int = 50
    decode_s: float = 60.0
    preview_s: float = 30.0
    cache_bytes: int = 500_000_000
    waiting: int = 64

    def check_text(self, text: object, what: str) -> str:
        """
        A text of a stranger, as one line without spaces around it.

        Raises:
            RequestError: If it has no words, or too many.
        """
        words = " ".join(text.split()) if isinstance(text, str) else ""
        if not words:
            raise RequestError(
                f"Expected {what} with words, got {'none' if isinstance(text, str) else type(text).__name__}."
            )
        if len(words) > self.text_length:
            raise RequestError(
                f"Expected {what} of at most {self.text_length:,} characters, got {len(words):,}: make it shorter."
            )
        return words

    def check_top_k(self, top_k: object) -> int:
        """
        Raises:
            RequestError: If it is no whole number in range.
        """
        if (
            isinstance(top_k, bool)
            or not isinstance(top_k, int | float)
            or top_k != top_k
            or not 1 <= top_k <= self.top_k
        ):
            raise RequestError(f"Expected top_k from 1 to {self.top_k}, got {top_k!r:.40}.")
        return int(top_k)


__all__ = ["Limits", "RequestError"]
