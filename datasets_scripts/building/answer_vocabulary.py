# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The answers that a classifier for open-ended questions can give: the most frequent ones of the training split.

    vocabulary = AnswerVocabulary.from_dataset(train, size=CLIPBERT_SIZES["msrvtt_qa"])
    vocabulary.save("answers/train_ans2label.json")
    config = config_class(id2label=vocabulary.id2label, label2id=vocabulary.label2id)

Sizes:     ClipBERT has 1,500 answers for MSRVTT-QA, 1,540 for TGIF-QA frameqa and 3,129 for VQA 2.0, which are those
           that at least nine questions of train and validation together have as `answer`: `min_count=9`.
Order:     by frequency; equally frequent answers in the order of their characters' code points. The same rows in any
           order therefore give the same vocabulary, byte for byte.
Files:     {"man": 0, "woman": 1, ...} as in the `*_ans2label.json` of ClipBERT, which can be loaded as they are; a
           list of answers by label is read too. `save` puts the SHA-256 of the file next to it, as `<file>.sha256` in
           the format of `sha256sum`, and `load` refuses a file that does not have it.
"""

import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from clipbert.datasets_scripts.building.records import parse_json
from clipbert.support.files import whole_file, write_whole


logger = logging.getLogger(__name__)

CLIPBERT_SIZES = {"msrvtt_qa": 1500, "tgif_qa": 1540, "vqa2": 3129}
VQA_MIN_COUNT = 9


@dataclass(frozen=True)
class AnswerVocabulary:
    """Answers by label.

    Args:
        answers (`tuple[str]`): The answer of label 0, of label 1, ...; each once.
    """

    answers: tuple[str, ...]

    def __post_init__(self):
        object.__setattr__(self, "answers", tuple(self.answers))
        wrong = next((answer for answer in self.answers if not isinstance(answer, str) or not answer), None)
        if wrong is not None or not self.answers:
            raise ValueError(f"Expected at least one answer, each a text, got {wrong!r} among {len(self.answers)}")
        if len(set(self.answers)) < len(self.answers):
            twice = Counter(self.answers).most_common(1)[0][0]
            raise ValueError(f"Expected every answer once, got {twice!r} twice")

    @classmethod
    def from_dataset(cls, dataset, size: int | None = None, min_count: int = 1, column: str = "answer"):
        """The most frequent answers of a training split.

        Args:
            dataset (`Dataset` or `IterableDataset`): One split, with one answer a row; null answers do not count.
            size (`int`, *optional*): How many answers at most; see `CLIPBERT_SIZES`.
            min_count (`int`, defaults to 1): How many rows an answer needs.
            column (`str`, defaults to `"answer"`): Where the answers are.

        Raises:
            ValueError: If several splits are given, or no answer is frequent enough.

        Example:
            >>> from datasets import Dataset
            >>> rows = Dataset.from_dict({"answer": ["dog", "cat", "bird", "cat"]})
            >>> AnswerVocabulary.from_dataset(rows, size=2).label2id
            {'cat': 0, 'bird': 1}
        """
        split = str(getattr(dataset, "split", None) or "")
        if split.startswith("test"):
            logger.warning("a vocabulary made from the split %r knows the answers that it is tested on", split)
        return cls.from_answers(read_column(dataset, column), size=size, min_count=min_count)

    @classmethod
    def from_answers(cls, answers: Iterable[str | None], size: int | None = None, min_count: int = 1):
        """The same from answers alone, one of each question."""
        if size is not None and size < 1:
            raise ValueError(f"Expected `size` to be at least 1, got {size}")
        counts = Counter(answer for answer in answers if answer is not None)
        frequent = [answer for answer, count in counts.items() if count >= min_count]
        if not frequent:
            raise ValueError(f"Expected an answer that occurs {min_count} times, got none among {len(counts)} answers")
        return cls(tuple(sorted(frequent, key=lambda answer: (-counts[answer], answer))[:size]))

    def __len__(self) -> int:
        return len(self.answers)

    def __contains__(self, answer) -> bool:
        return answer in self.label2id

    @cached_property
    def label2id(self) -> dict[str, int]:
        """Answer -> label: `label2id` of a model's config."""
        return {answer: label for label, answer in enumerate(self.answers)}

    @cached_property
    def id2label(self) -> dict[int, str]:
        """Label -> answer: `id2label` of a model's config."""
        return dict(enumerate(self.answers))

    def coverage(self, dataset, column: str = "answer") -> float:
        """Share of the questions whose answer is in the vocabulary: what a classifier can reach at best."""
        known = total = 0
        for answer in read_column(dataset, column):
            known += answer in self.label2id
            total += 1
        if not total:
            raise ValueError("Expected at least one question, got none")
        return known / total

    def to_json(self) -> str:
        return json.dumps(self.label2id, ensure_ascii=False, indent=1) + "\n"

    @property
    def sha256(self) -> str:
        """Hash of the file that `save` writes: the same for the same answers in the same order."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def save(self, path: str | os.PathLike) -> Path:
        """Write `{answer: label}` as JSON, and its SHA-256 next to it as `<path>.sha256`."""
        path = Path(path)
        with whole_file(path) as partial:
            Path(partial).write_bytes(self.to_json().encode())
        write_whole(checksum_path(path), f"{self.sha256}  {path.name}\n")
        return path

    @classmethod
    def load(cls, path: str | os.PathLike, sha256: str | None = None):
        """Read a file that `save` wrote, or one of ClipBERT.

        Args:
            path (`str` or `Path`): `{answer: label}`, or a list of answers, as JSON.
            sha256 (`str`, *optional*): The hash it has to have; default: the one in `<path>.sha256`, if that exists.

        Raises:
            ValueError: If the file has another hash, or the labels are not 0, 1, 2, ...
        """
        path = Path(path)
        data = path.read_bytes()
        where = "expected"
        if sha256 is None and checksum_path(path).is_file():
            where = checksum_path(path).name
            sha256 = checksum_path(path).read_text(encoding="utf-8").partition(" ")[0].strip()
        if sha256 is not None and (found := hashlib.sha256(data).hexdigest()) != sha256.lower():
            raise ValueError(f"{path} has been changed: its SHA-256 is {found}, {where} says {sha256}")
        try:
            document = parse_json(data.decode("utf-8-sig"))
            return cls(tuple(document if isinstance(document, list) else answers_by_label(document)))
        except ValueError as error:
            raise ValueError(f"{path}: expected a JSON object of answers and their labels ({error})") from None


def answers_by_label(label2id) -> list[str]:
    if not isinstance(label2id, dict):
        raise ValueError(f"got {type(label2id).__name__} {label2id!r:.40}")
    labels = list(label2id.values())
    if not all(type(label) is int for label in labels) or sorted(labels) != list(range(len(labels))):
        raise ValueError(f"the labels have to be 0, 1, 2, ..., each once, got {sorted(labels, key=str)[:5]} ...")
    return sorted(label2id, key=label2id.get)


def checksum_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def read_column(dataset, column: str) -> Iterable[str | None]:
    """A column of a dataset, a batch of rows at a time."""
    if isinstance(dataset, dict):
        raise ValueError(f"Expected one split, got several: {', '.join(dataset)}")
    if column not in (dataset.column_names or [column]):
        raise ValueError(f"Expected a column {column!r}, got {', '.join(dataset.column_names)}")
    for batch in dataset.select_columns([column]).iter(batch_size=10_000):
        yield from batch[column]


__all__ = ["CLIPBERT_SIZES", "VQA_MIN_COUNT", "AnswerVocabulary"]
