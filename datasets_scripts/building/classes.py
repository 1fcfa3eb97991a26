# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Clips of classes: which are used, which are held out, and what is wrong with a split before anybody trains on it.

Clips that were cut from one recording look alike. A model that has seen one of them in training recognises the others, so
that a validation split which shares recordings with training tells how well recordings are remembered. Whole recordings
go to one side, therefore: of each class those whose clips come nearest to the share that was asked for.
"""

import logging
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain

from clipbert.datasets_scripts.building.records import AnnotationError, Record
from clipbert.datasets_scripts.building.splits import hash_fraction
from clipbert.support.names import unknown_name


logger = logging.getLogger(__name__)
DEFAULT_FRACTION = 0.2  # that is held out where only the rule is named
RULES = ("recording", "clip")
RECORDINGS_IN_NAMES = (  # names of files that say which recording they were cut from
    re.compile(r"(?:v_)?(.+_g\d+)_c\d+(_\w+)?"),  # UCF101: v_Punch_g08_c01
    re.compile(r"(.{11})_\d{6}_\d{6}"),  # Kinetics: 0wR5jVB-WPk_000417_000427
)


@dataclass(frozen=True, slots=True)
class LabelledClip:
    """
    A row of the task "classification", with where it stands; of a video in several classes there is one for each.

    Args:
        video_id (`str`): Its id.
        label (`str`, *optional*): Its class; `None` where labels are not public, and for a video in none of several.
        recording (`str`, *optional*): What it was cut from; `None`: nobody knows, and it is taken for one of its own.
        place (`Record`): File and line, for complaints.
    """

    video_id: str
    label: str | None
    recording: str | None
    place: Record

    @property
    def group(self) -> str:
        """What has to stay together."""
        return self.video_id if self.recording is None else self.recording


def labelled_clips(
    video_id: str, label: str | list[str] | None, recording: str | None, place: Record
) -> Iterator[LabelledClip]:
    """A clip with its class, or with each of several."""
    for name in (label or [None]) if isinstance(label, list) else [label]:
        yield LabelledClip(video_id, name, recording, place)


def recording_in_name(name: str) -> str | None:
    """The recording that the name of a file tells, as those of UCF101 and Kinetics do.

    Example:
        >>> recording_in_name("v_Punch_g08_c01.avi"), recording_in_name("holiday.mp4")
        ('Punch_g08', None)
    """
    stem = re.sub(r"\.\w+$", "", re.split(r"[/\\]", name)[-1])
    matches = (pattern.fullmatch(stem) for pattern in RECORDINGS_IN_NAMES)
    return next((match[1] for match in matches if match), None)


def shuffled(names: Iterable[str], seed: int) -> list[str]:
    """The names in an order that depends on them and on the seed alone, never on the order of files."""
    return sorted(sorted(names), key=lambda name: hash_fraction(f"{seed}/{name}"))


# --------------------------------------------------------------------------------------------------------------------
# All of it
# --------------------------------------------------------------------------------------------------------------------


def check_class_fields(config, where: str) -> None:
    """Raise for options of classes that cannot be; `config` is a `BenchmarkConfig`."""
    if config.validation_split not in (None, *RULES):
        raise ValueError(unknown_name("`validation_split`", config.validation_split, RULES))
    if type(config.split_seed) is not int:
        raise ValueError(f"Expected `split_seed` to be a whole number, got {config.split_seed!r}")
    limits = {name: getattr(config, name) for name in ("max_train_per_class", "max_val_per_class")}
    given = [name for name, value in {"classes": config.classes, **limits}.items() if value is not None]
    if given and config.task != "classification":
        raise ValueError(
            f'{where} has no classes: `{given[0]}` is for the task "classification", not for {config.task!r}.'
        )
    names = config.classes
    is_list = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    if names is not None and not (is_list and 0 < len(set(names)) == len(names)):
        raise ValueError(f"Expected `classes` to be a list of names of classes, each once, got {names!r}")
    for name, value in limits.items():
        if value is not None and (type(value) is not int or value < 1):
            raise ValueError(f"Expected `{name}` to be a whole number from 1, got {value!r}")


def divide_clips(
    splits: Mapping[str, Sequence[LabelledClip]], config, where: str, in_parts: bool, several: bool = False
) -> dict[str, list[LabelledClip]]:
    """The clips of each split, after holding out and limits; `config` is a `BenchmarkConfig`. Videos may be in `several` classes.

    Raises:
        AnnotationError: If a video is in two classes, a class cannot be divided or is evaluated without training.
    """
    splits = dict(splits)
    if not several:
        for clips in splits.values() if in_parts else [chain(*splits.values())]:
            check_one_class_each(clips)
    if config.validation_fraction:
        training, rule = splits["train"], config.validation_split or "recording"
        if config.validation_split == "recording" and not any(clip.recording for clip in training):
            raise AnnotationError(
                f'{where}: `validation_split="recording"` needs recordings, and the annotations name none; '
                '`validation_split="clip"` divides the clips'
            )
        held_out = hold_out(training, config.validation_fraction, rule, config.split_seed, several)
        splits["train"] = [clip for clip in training if clip.video_id not in held_out]
        splits["validation"] = [clip for clip in training if clip.video_id in held_out]
    check_classes_of_splits(splits, where, is_strict=not in_parts)
    warn_of_shared_clips(splits, where)
    most = {"train": config.max_train_per_class, "validation": config.max_val_per_class}
    return {split: list(limit(clips, most.get(split), config.split_seed)) for split, clips in splits.items()}


# --------------------------------------------------------------------------------------------------------------------
# Holding out
# --------------------------------------------------------------------------------------------------------------------


def hold_out(
    clips: Sequence[LabelledClip], fraction: float, rule: str, seed: int = 0, several: bool = False
) -> set[str]:
    """Ids of the clips that are held out of training, a share of each class.

    Args:
        clips (`Sequence[LabelledClip]`): The training clips; those without a class stay.
        fraction (`float`): Share of each class, in (0, 1).
        rule (`str`): "recording": of each class the recordings with the number of clips that is nearest to the share, at
            least one, and one at least stays. "clip": `round(fraction * n)` clips of each class, at least one and at most
            n - 1, with siblings on both sides. A class of one clip stays in training with a warning.
        seed (`int`, defaults to 0): Another one holds out others.
        several (`bool`, defaults to `False`): A video may be in several classes. Then recordings are of several, too, and rare
            classes are held out with the others or not at all, which is said; some of each stays in training.

    Raises:
        AnnotationError: If no class has two clips; if all clips of a class are of one recording, with the place of its
            first; if classes have so many recordings in common that one of them cannot be divided.
    """
    of_class: dict[str, list[LabelledClip]] = {}
    for clip in clips:
        if clip.label is not None:
            of_class.setdefault(clip.label, []).append(clip)
    staying = {}  # recordings
    for label, members in list(of_class.items()):
        if len(members) == 1:
            warn(members[0].place.error(f"the class {label!r} has one clip left, which stays in training"))
            staying[members[0].group] = False
            del of_class[label]
    if not of_class and labels_of(clips) - {None}:
        raise clips[0].place.error(
            "expected a class with two clips or more, to hold one out, but no class has that many left. Add clips, say "
            "which are for what, or hold none out"
        )
    if rule == "clip":
        chosen = {name for members in of_class.values() for name in first_share(members, fraction, seed)}
        return chosen - {clip.video_id for clip in clips if clip.group in staying} if several else chosen
    sizes = {label: Counter(clip.group for clip in members) for label, members in of_class.items()}
    for label, members in of_class.items():
        if len(sizes[label]) == 1 and not several:
            raise members[0].place.error(
                f"expected clips of the class {label!r} from two recordings at least, to hold one out; all {len(members)} are "
                f'cut from {members[0].group!r}. Leave the class out (`classes`), or divide by `validation_split="clip"`'
            )
    held_out = divide_shared(sizes, fraction, seed) | staying
    for label, own in sizes.items():
        divide_class(own, fraction, seed, held_out)
        if several and all(held_out[name] for name in own):
            held_out[min(own)] = False
        if several and not any(held_out[name] for name in own):
            warn(
                of_class[label][0].place.error(
                    f"no clip of the class {label!r} is held out: its recordings are of others, too"
                )
            )
        elif len({held_out[name] for name in own}) == 1:
            raise of_class[label][0].place.error(
                f"expected a recording of the class {label!r} in training and another one held out, but all of them are those "
                'of other classes, too. Try another `split_seed`, or `validation_split="clip"`'
            )
    return {clip.video_id for clip in clips if held_out.get(clip.group)}


def first_share(members: Sequence[LabelledClip], fraction: float, seed: int) -> list[str]:
    count = min(max(round(fraction * len(members)), 1), len(members) - 1)
    return shuffled((clip.video_id for clip in members), seed)[:count]


def divide_shared(sizes: Mapping[str, Counter[str]], fraction: float, seed: int) -> dict[str, bool]:
    """For each recording of several classes whether it is held out: if this brings what is held out nearer to the share."""
    classes: dict[str, list[str]] = {}
    for label, counts in sizes.items():
        for name in counts:
            classes.setdefault(name, []).append(label)
    held_out, excess = {}, dict.fromkeys(sizes, 0.0)  # clips held out of each class, beyond its share of those decided
    for name in shuffled((name for name, labels in classes.items() if len(labels) > 1), seed):
        added = {label: sizes[label][name] for label in classes[name]}
        kept = {label: excess[label] - fraction * size for label, size in added.items()}
        out = {label: kept[label] + size for label, size in added.items()}
        held_out[name] = sum(x**2 for x in out.values()) < sum(x**2 for x in kept.values())
        excess |= out if held_out[name] else kept
    return held_out


def divide_class(sizes: Counter[str], fraction: float, seed: int, held_out: dict[str, bool]) -> None:
    """Decide, in `held_out`, on the recordings of a class that are of no other one."""
    free = [name for name in shuffled(sizes, seed) if name not in held_out]
    sides = {held_out[name] for name in sizes if name in held_out}
    wanted = fraction * sizes.total() - sum(sizes[name] for name in sizes if held_out.get(name))
    chosen = nearest_sum([sizes[name] for name in free], wanted, True not in sides, False not in sides)
    held_out |= {name: number in chosen for number, name in enumerate(free)}


def nearest_sum(sizes: Sequence[int], wanted: float, not_none: bool, not_all: bool) -> set[int]:
    """Numbers of the `sizes` whose sum is nearest to `wanted`, early ones first; not none of them, or not all, if so asked."""
    reached: dict[int, tuple[int, int]] = {
        0: (0, -1)
    }  # sum -> the sum before, and the number of the size that was added
    lowest, highest = int(not_none), sum(sizes) - int(not_all)
    as_near_as_any = math.gcd(*sizes) / 2
    for number, size in enumerate(sizes):
        added = {total + size: (total, number) for total in reached if total < max(wanted, lowest)}
        reached = added | reached
        if any(abs(total - wanted) <= as_near_as_any for total in added if lowest <= total <= highest):
            break
    fitting = [total for total in reached if lowest <= total <= highest]
    chosen, total = set(), min(fitting, key=lambda total: (abs(total - wanted), total), default=0)
    while total:
        total, number = reached[total]
        chosen.add(number)
    return chosen


def count_siblings(held_out: Collection[LabelledClip], training: Iterable[LabelledClip]) -> int:
    """How many of the clips held out have a sibling of the same recording in training."""
    recordings = {clip.recording for clip in training} - {None}
    return sum(clip.recording in recordings for clip in held_out)


# --------------------------------------------------------------------------------------------------------------------
# Checks and limits
# --------------------------------------------------------------------------------------------------------------------


def check_one_class_each(clips: Iterable[LabelledClip]) -> None:
    """Raise for a video that stands under two classes, in one split or in two."""
    first: dict[str, LabelledClip] = {}
    for clip in clips:
        known = first.setdefault(clip.video_id, clip)
        if None not in (known.label, clip.label) and known.label != clip.label:
            raise clip.place.error(
                f"expected every video in one class, got {clip.video_id!r} as {clip.label!r}; it is {known.label!r} in "
                f"{known.place.file}, {known.place.place}"
            )


def check_classes_of_splits(splits: Mapping[str, Sequence[LabelledClip]], where: str, is_strict: bool) -> None:
    """Raise, if `is_strict`, for a class that is evaluated and not trained; warn of those that one side lacks."""
    first = {split: {clip.label: clip for clip in reversed(clips)} for split, clips in splits.items()}
    trained = first.pop("train", {})
    for split, evaluated in first.items():
        if not trained.keys() - {None} or not evaluated.keys() - {None}:
            continue
        for lacking, there, clips in (("train", split, evaluated), (split, "train", trained)):
            absent = sorted(clips.keys() - labels_of(splits[lacking]) - {None})
            if not absent:
                continue
            more = f" and {len(absent) - 1:,} more of {there!r}" if absent[1:] else ""
            place = clips[absent[0]].place
            if is_strict and lacking == "train":
                raise place.error(
                    f"expected a class that has clips in the split 'train', too, got {absent[0]!r}{more} in {split!r}. Leave "
                    "out what is not trained: `classes`"
                )
            warn(
                f"{where}: the split {lacking!r} has no clip of the class {absent[0]!r}{more} ({there!r} has: {place.file}, {place.place})"
            )


def warn_of_shared_clips(splits: Mapping[str, Sequence[LabelledClip]], where: str) -> None:
    """Say which clips are trained on and evaluated."""
    trained = {clip.video_id for clip in splits.get("train", ())}
    for split, clips in splits.items():
        videos = {clip.video_id: clip for clip in clips} if split != "train" else {}
        shared = [clip for name, clip in videos.items() if name in trained]
        if shared:
            warn(
                f"{where}: {len(shared):,} of the {len(videos):,} videos of {split!r} are in 'train', too, the first is "
                f"{shared[0].video_id!r} ({shared[0].place.file}, {shared[0].place.place}): their scores say little of new ones"
            )


def labels_of(clips: Iterable[LabelledClip]) -> set[str | None]:
    return {clip.label for clip in clips}


def limit(clips: Sequence[LabelledClip], most: int | None, seed: int) -> Iterator[LabelledClip]:
    """Up to so many clips of each class, always the same ones."""
    if most is None:
        yield from clips
        return
    of_class: dict[str | None, list[str]] = {}
    for clip in clips:
        of_class.setdefault(clip.label, []).append(clip.video_id)
    kept = {name for names in of_class.values() for name in shuffled(names, seed)[:most]}
    yield from (clip for clip in clips if clip.video_id in kept)


def warn(message: object) -> None:
    """Once in a process: every split of a run is loaded by itself."""
    warn_once(str(message))


@cache
def warn_once(message: str) -> None:
    logger.warning("%s", message)


__all__ = [
    "DEFAULT_FRACTION",
    "LabelledClip",
    "check_class_fields",
    "count_siblings",
    "divide_clips",
    "hold_out",
    "labelled_clips",
    "recording_in_name",
    "warn",
]
