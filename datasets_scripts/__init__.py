# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""One call for every benchmark: `load_benchmark("synthetic", config="retrieval", split="train", data_dir=...)`."""

import logging
import re

import clipbert  # noqa: F401  one name for a package, also where it is imported by its bare one
from clipbert.datasets_scripts.loaders import find_loader, list_benchmarks
from clipbert.support.names import unknown_name


logger = logging.getLogger(__name__)


def load_benchmark(
    name: str,
    config: str | None = None,
    split: str | None = None,
    data_dir=None,
    cache_dir=None,
    on_missing: str | None = None,
    on_broken: str = "unchecked",
    skip_list=None,
    streaming: bool = False,
    **fields,
):
    """Load a benchmark as a table of texts and paths of videos; no video is decoded.

    Args:
        name (`str`): One of `list_benchmarks()`.
        config (`str`, *optional*): Task or split protocol; may be left out where only one fits.
        split (`str`, *optional*): "train", "validation" or "test", also as a slice such as "train[:10%]". Without it
            all splits come as a `DatasetDict`.
        data_dir (`str` or `Path`, *optional*): Folder with the annotation files (and the videos, unless `video_dir` is
            given); no network is used. Without it the annotations are fetched into the cache, where they are public.
        cache_dir (`str`, *optional*): Where the Arrow tables go; default: the cache of `datasets`.
        on_missing (`str`, *optional*): What to do when videos are missing: `"error"`, `"skip"` to drop their rows and
            log how many, or `"keep"` to have the annotations all the same. Default: `"error"`; but where not one video
            lies in `data_dir` and no `video_dir` is named, `"keep"`, with a warning.
        on_broken (`str`, defaults to `"unchecked"`): `"error"` or `"skip"` open every video first and treat those that
            cannot be read in the same way; results are remembered until a file changes.
        skip_list (`str`, `Path` or iterable of `str`, *optional*): Ids of videos to leave out, or a file with one a
            line, as `python -m datasets_scripts check` writes it.
        streaming (`bool`, defaults to `False`): Give an `IterableDataset` that reads the annotations as it goes and
            writes no table. Each row's video is looked for when the row is reached; slices need a table.
        fields: Further fields of the loader's config, such as `video_dir`.

    Returns:
        `Dataset` or `DatasetDict` (`IterableDataset` or `IterableDatasetDict` when streaming): Columns by task.
        Retrieval: `video_id`, `video`, `caption`, `caption_id`; question answering: `video_id`, `video`, `question`,
        `answer`, `options`, `answer_index`, `answer_type`, `question_id`; moments: `video_id`, `video`, `caption`,
        `start_s`, `end_s`, `duration_s`, `moment_id`, `question_id`. The others are in `datasets_scripts/README.md`.

    Raises:
        ValueError: If a name, config, split or field is unknown (the known ones are listed), or a record is malformed
            (`AnnotationError`, with file and line).
        FileNotFoundError: If the folder, its annotation files or, with `on_missing="error"`, videos are missing.
        FetchError: If `data_dir` is not given and a file cannot be fetched.

    Example:
        >>> from clipbert.datasets_scripts.synthetic import generate_synthetic
        >>> folder = generate_synthetic("shapes", preset="easy", num_train=4, num_validation=2, num_test=2)
        >>> rows = load_benchmark("synthetic", config="retrieval", split="test", data_dir=folder)
        >>> rows[0]["caption"]
        'a blue circle moves left on a white background'
    """
    from clipbert.datasets_scripts.building.skip_lists import read_skip_list
    from clipbert.datasets_scripts.building.usable_videos import keep_usable_rows, keep_usable_videos

    skipped = read_skip_list(skip_list)
    builder = build_loader(name, config, data_dir, cache_dir, **fields)
    where = f"{name}/{builder.config.name}"
    if split is not None:
        check_split(builder, split, where)
    if on_missing is None:
        on_missing = "error" if builder.expects_media() else "keep"
        if on_missing == "keep":
            logger.warning(
                "%s: no video lies in %s; rows say where each is expected. `video_dir` names another folder, "
                '`on_missing="error"` makes this an error.',
                where,
                builder.media_root,
            )
    if streaming:
        dataset = builder.as_streaming_dataset(split=split)
        return keep_usable_rows(dataset, on_missing=on_missing, on_broken=on_broken, skipped=skipped, where=where)
    prepare(builder)
    dataset = builder.as_dataset(split=split)
    return keep_usable_videos(
        dataset, on_missing=on_missing, on_broken=on_broken, skipped=skipped, where=where, cache_dir=cache_dir
    )


def check_split(builder, split: str, where: str) -> None:
    """Raise for a split that is not there, with the file that would hold it or what there is in its place."""
    from clipbert.datasets_scripts.building.splits import describe_choices

    if not isinstance(split, str):
        raise ValueError(f'Expected `split` as a text such as "train", got {split!r}; without it all splits come')
    asked = re.match(r"\w*", split).group()
    if asked in builder.annotations:
        return
    if choices := builder.known_splits().get(asked):
        raise FileNotFoundError(
            f"No file of the split {asked!r} of {where} in {builder.config.data_dir}: expected "
            f"{describe_choices(choices)}."
        )
    message = unknown_name(f"split of {where}", asked, builder.annotations)
    if asked.startswith("val") and "validation" in builder.annotations:
        message = message.replace(". Known", "; did you mean 'validation'? Known")
    elif asked.startswith("val"):
        message += ". It has none for validation: `validation_fraction=0.05` holds training videos out as 'validation'"
    raise ValueError(message)


def build_loader(name: str, config: str | None = None, data_dir=None, cache_dir=None, **fields):
    """The builder of a benchmark for a folder; without one, for the folder in the cache that it is fetched into."""
    loader = find_loader(name)
    if data_dir is not None or not loader.SOURCES:
        return loader(cache_dir=cache_dir, config_name=config, data_dir=data_dir, **fields)
    from clipbert.datasets_scripts.fetching.benchmark import by_hand, fetch_benchmark

    loader.complete_config(config, ".", dict(fields))  # a wrong name is an error before anything is fetched
    data_dir = fetch_benchmark(name, cache_dir=cache_dir)
    try:
        return loader(cache_dir=cache_dir, config_name=config, data_dir=data_dir, **fields)
    except FileNotFoundError as error:
        to_do = by_hand(loader.SOURCES, data_dir, kinds=("annotations",))
        raise FileNotFoundError(f"{error}\n{to_do}".rstrip()) from None


def prepare(builder) -> None:
    """Write the builder's Arrow tables, with errors in the records shown as themselves."""
    from datasets.exceptions import DatasetGenerationError

    from clipbert.datasets_scripts.building.media import AmbiguousMediaError
    from clipbert.datasets_scripts.building.records import AnnotationError

    try:
        builder.download_and_prepare()
    except DatasetGenerationError as error:
        cause = error.__cause__
        while cause is not None and not isinstance(cause, AnnotationError | AmbiguousMediaError):
            cause = cause.__cause__
        if cause is None:
            raise
        raise cause from None


__all__ = ["build_loader", "find_loader", "list_benchmarks", "load_benchmark", "prepare"]
