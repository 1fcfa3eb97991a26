# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Answers of VQA 2.0: the normalisation of the official evaluation, and the soft score of each answer."""

import re
from collections import Counter
from functools import lru_cache


# The evaluation's punctuation: not the apostrophe (girl's), the colon (2:50) and the full stop (3.5), nor $ % & * #.
PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
COMMA_IN_NUMBER = re.compile(r"\d,\d")
FULL_STOP = re.compile(r"\.(?!\d)")  # 3.5 keeps its point, "u.s." and "3." lose theirs
ARTICLES = frozenset(("a", "an", "the"))
NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
NUMBERS = {"none": "0", **{word: str(number) for number, word in enumerate(NUMBER_WORDS)}}

# Without the first person ("im", "ive"), "lets" and "shes", which the evaluation leaves alone too.
CONTRACTED = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've
    he's how'd how'll how's isn't it'd it'd've it'll ma'am might've mightn't mightn't've must've mustn't needn't not've
    o'clock oughtn't shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd
    someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've there're
    there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've
    when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't
    wouldn't've y'all y'all'd've y'all'll you'd you'd've you'll you're you've
"""


def forget_apostrophe(word: str) -> list[str]:
    """Spellings of a word with one apostrophe left out."""
    return [word[:place] + word[place + 1 :] for place, letter in enumerate(word) if letter == "'"]


CONTRACTIONS = {wrong: right for right in CONTRACTED.split() for wrong in forget_apostrophe(right)}

SCORE_RULES = ("thirds", "leave_one_out")


@lru_cache(maxsize=1 << 16)  # ten people often say the same
def normalize_answer(answer: str) -> str:
    """An answer as the official evaluation compares it.

    Lower case; punctuation, articles and full stops out; number words as digits; forgotten apostrophes back. An answer
    made of articles alone ("a") stays, in lower case.

    Args:
        answer (`str`): As an annotator or a model gives it.

    Returns:
        `str`: Words with single blanks between them; empty if there was nothing but punctuation.

    Example:
        >>> normalize_answer("The two T-shirts, they dont match.")
        "2 t shirts they don't match"
        >>> normalize_answer("1,000")
        '1000'
    """
    words = remove_punctuation(answer.strip()).lower().split()
    kept = [NUMBERS.get(word, word) for word in words if word not in ARTICLES] or words
    return " ".join(CONTRACTIONS.get(word, word) for word in kept)


def remove_punctuation(text: str) -> str:
    """A mark becomes a blank ("t-shirt"), or nothing where it stands next to one ("blue, white") or in a number."""
    text = re.sub(r"\s", " ", text)
    has_number = COMMA_IN_NUMBER.search(text)
    cleaned = text
    for mark in PUNCTUATION:
        if mark in text:
            vanishes = has_number or f"{mark} " in text or f" {mark}" in text  # then every such mark of the answer
            cleaned = cleaned.replace(mark, "" if vanishes else " ")
    return FULL_STOP.sub("", cleaned)


def score_answers(answers: list[str], rule: str = "thirds") -> dict[str, float]:
    """The VQA accuracy that each answer of the annotators would get.

    Args:
        answers (`list[str]`): One of each annotator, usually ten; they are normalised here.
        rule (`str`, defaults to `"thirds"`): `"thirds"`: min(1, n / 3) for an answer that n annotators gave.
            `"leave_one_out"`: the same against the other annotators, averaged over who is left out, as the official
            evaluation does; with ten of them 0.3, 0.6, 0.9 and 1 for n = 1, 2, 3 and more.

    Returns:
        `dict[str, float]`: Score in (0, 1] of each distinct normalised answer, in order of appearance.

    Raises:
        ValueError: If the rule is unknown, or nobody is left to compare with.

    Example:
        >>> score_answers(["net", "Net", "a net", "netting"])
        {'net': 1.0, 'netting': 0.3333333333333333}
    """
    if rule not in SCORE_RULES:
        raise ValueError(f"Expected a rule of {', '.join(SCORE_RULES)}, got {rule!r}")
    counts = Counter(filter(None, map(normalize_answer, answers)))
    if rule == "thirds":
        return {answer: min(1.0, count / 3) for answer, count in counts.items()}
    if len(answers) < 2:
        raise ValueError(f"Expected at least two answers for the rule 'leave_one_out', got {answers}")
    scores = {}
    for answer, count in counts.items():
        from_one_of_them, from_another = min(1.0, (count - 1) / 3), min(1.0, count / 3)  # who is left out
        scores[answer] = (count * from_one_of_them + (len(answers) - count) * from_another) / len(answers)
    return {answer: score for answer, score in scores.items() if score > 0}
