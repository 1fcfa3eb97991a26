# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What a recipe says about the evaluation of retrieval."""

from collections.abc import Iterator
from dataclasses import dataclass

from clipbert.support.options import changeable
from clipbert.train_scripts.tasks.groups import GroupOptions
from clipbert.train_scripts.tasks.kept_videos import KeptVideoOptions
from clipbert.train_scripts.tasks.videos import ClipEvalSection


RESCALINGS = ("dual_softmax", "query_bank")


@dataclass(kw_only=True)
class RetrievalEvalSection(KeptVideoOptions, GroupOptions, ClipEvalSection):
    """Evaluation of retrieval."""

    gallery_size: int | None = changeable(
        None,
        "Rank among so many videos that follow each other in the split, gallery by gallery: scores are means, `NAME_std` their "
        "spread; videos left over are in none. null: among all of them.",
        at_least=2,
    )
    keep_scores: bool | None = changeable(
        None,
        "Whether predictions hold the score of every text with every video, to be rescored later; null: where there are four "
        "million at most, or `rescaling` needs them. Models that read text and video together keep them always.",
        saves="memory",
    )
    rescaling: list[str] = changeable(
        [],
        "Metrics of rescaled scores besides those of raw ones, of [dual_softmax, query_bank]; for models that compare texts "
        "and videos by a similarity.",
    )
    dual_softmax_scale: float = changeable(100.0, "Factor of the similarities in the soft-max over all queries.")
    query_bank: str | None = changeable(
        None,
        "Split whose texts are the bank of `query_bank`, such as train; those that are asked in the test are left out.",
    )
    query_bank_size: int | None = changeable(
        5000, "Texts of the bank, evenly chosen from the split; null: all.", at_least=1, saves="time"
    )
    query_bank_scale: float = changeable(20.0, "Factor of the similarities in the soft-max over the bank.")
    query_bank_top_k: int = changeable(
        1, "Videos of each text of the bank that count as found by everybody.", at_least=1
    )
    shortlist: int | None = changeable(
        None,
        "For models that read text and video together: read with all clips so many videos of each text, and texts of each video, that "
        "`shortlist_clips` clips find best, and the other pairs with these alone. null: all pairs with all clips.",
        at_least=1,
        saves="time",
    )
    shortlist_clips: int = changeable(1, "Clips that all pairs are read with where there is a shortlist.", at_least=1)
    shortlist_check: int = changeable(
        100, "Texts, evenly chosen, that are read with everything, to measure what the shortlist loses.", at_least=0
    )

    def problems(self) -> Iterator[str]:
        yield from ClipEvalSection.problems(self)
        yield from GroupOptions.problems(self)
        if unknown := [name for name in self.rescaling if name not in RESCALINGS]:
            yield f"rescaling: expected some of {', '.join(RESCALINGS)}, got {unknown}"
        if ("query_bank" in self.rescaling) != (self.query_bank is not None):
            yield (
                f"query_bank: rescaling={self.rescaling} and query_bank={self.query_bank} go together: name a split of "
                "other texts, such as train"
            )
        if self.query_bank in self.splits:
            yield (
                f"query_bank: {self.query_bank} is evaluated, so the bank contains the queries of the test; name a split "
                "of other texts, such as train"
            )
        for name in ("dual_softmax_scale", "query_bank_scale"):
            if getattr(self, name) <= 0:
                yield f"{name}: must be above 0, got {getattr(self, name)}"
        if self.shortlist and self.num_clips is not None and self.shortlist_clips >= self.num_clips:
            yield f"shortlist_clips: {self.shortlist_clips} of num_clips={self.num_clips} clips leave nothing to add; take fewer"
        if self.rescaling and self.keep_scores is False:
            yield "keep_scores: rescaling needs the score of every text with every video; leave it out"


__all__ = ["RESCALINGS", "RetrievalEvalSection"]
