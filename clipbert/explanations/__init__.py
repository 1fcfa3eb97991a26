# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
What a score rests on: which frames, places, clips and words, as numbers and as a picture.

    a pipeline and a video --subject_of--> a score as a function of pixels and words --explain--> Explanation --draw--> a picture

Example:
    >>> from clipbert.explanations import draw, explain, picture_of, subject_of  # doctest: +SKIP
    >>> subject = subject_of(pipe, "film.mp4", candidate_texts=["a dog runs"])  # doctest: +SKIP
    >>> draw(explain(subject, picture_of(pipe.video_processor)), Path("why.png"))  # doctest: +SKIP
"""

from clipbert.explanations.attribution import Deletion, Explanation, explain, picture_of
from clipbert.explanations.pictures import describe, draw
from clipbert.explanations.subjects import ExplanationError, Subject, subject_of


__all__ = [
    "Deletion",
    "Explanation",
    "ExplanationError",
    "Subject",
    "describe",
    "draw",
    "explain",
    "picture_of",
    "subject_of",
]
