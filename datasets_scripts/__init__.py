# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""One call for every benchmark: `load_benchmark("synthetic", config="retrieval", split="train", data_dir=...)`."""

import importlib
import re


# Name -> "module:class". A loader is imported when it is asked for.
BENCHMARKS = {
    "synthetic": "synthetic:Synthetic",
    "video_folder": "video_folder:VideoFolder",
}


def list_benchmarks() -> list[str]:
    """Names that `load_benchmark` knows."""
    return sorted(BENCHMARKS)


def find_loader(name: str) -> type:
    """The builder class of a benchmark."""
    from .base import unknown_name

    if name not in BENCHMARKS:
        raise ValueError(unknown_name("benchmark", name, BENCHMARKS))
    module, class_name = BENCHMARKS[name].split(":")
    return getattr(importlib.import_module(f".{module}", __name__), class_name)


def load_benchmark(
    name: str,
    config: str | None = None,
    split: str | None = None,
    data_dir=None,
    cache_dir=None,
    on_missing: str = "error",
    on_broken: str = "unchecked",
    **fields,
):
    """Load a benchmark as a table of texts and paths of videos; no video is decoded.

    Args:
        name (`str`): One of `list_benchmarks()`.
        config (`str`, *optional*): Task or split protocol; may be left out where only one fits.
        split (`str`, *optional*): "train", "validation" or "test", also as a slice such as "train[:10%]". Without it
            all splits come as a `DatasetDict`.
        data_dir (`str` or `Path`): Folder with the annotation files (and the videos, unless `video_dir` is given).
        cache_dir (`str`, *optional*): Where the Arrow tables go; default: the cache of `datasets`.
        on_missing (`str`, defaults to `"error"`): What to do when videos are missing: `"error"`, or `"skip"` to drop
            their rows and log how many.
        on_broken (`str`, defaults to `"unchecked"`): `"error"` or `"skip"` open every video first and treat those that
            cannot be read in the same way; results are remembered until a file changes.
        fields: Further fields of the loader's config, such as `video_dir`.

    Returns:
        `Dataset` or `DatasetDict`: Columns by task. Retrieval: `video_id`, `video`, `caption`, `caption_id`; question
        answering: `video_id`, `video`, `question`, `answer`, `options`, `answer_index`, `answer_type`, `question_id`;
        moments: `video_id`, `video`, `caption`, `start_s`, `end_s`, `duration_s`, `moment_id`.

    Raises:
        ValueError: If a name, config, split or field is unknown (the known ones are listed), or a record is malformed
            (`AnnotationError`, with file and line).
        FileNotFoundError: If the folder, its annotation files or, with `on_missing="error"`, videos are missing.

    Example:
        >>> from datasets_scripts.synthetic import generate_synthetic
        >>> folder = generate_synthetic("shapes", preset="easy", num_train=4, num_validation=2, num_test=2)
        >>> rows = load_benchmark("synthetic", config="retrieval", split="test", data_dir=folder)
        >>> rows[0]["caption"]
        'a blue circle moves left on a white background'
    """
    from .base import unknown_name
    from .checks import keep_usable_videos

    builder = find_loader(name)(cache_dir=cache_dir, config_name=config, data_dir=data_dir, **fields)
    prepare(builder)
    if split is not None and (asked := re.match(r"\w*", split).group()) not in builder.info.splits:
        raise ValueError(unknown_name(f"split of {name}/{builder.config.name}", asked, builder.info.splits))
    dataset = builder.as_dataset(split=split)
    where = f"{name}/{builder.config.name}"
    return keep_usable_videos(dataset, on_missing=on_missing, on_broken=on_broken, where=where, cache_dir=cache_dir)


def prepare(builder) -> None:
    """Write the builder's Arrow tables, with errors in the records shown as themselves."""
    from datasets.exceptions import DatasetGenerationError

    from .base import AnnotationError

    try:
        builder.download_and_prepare()
    except DatasetGenerationError as error:
        cause = error.__cause__
        while cause is not None and not isinstance(cause, AnnotationError):
            cause = cause.__cause__
        if cause is None:
            raise
        raise cause from None


__all__ = ["list_benchmarks", "load_benchmark"]
