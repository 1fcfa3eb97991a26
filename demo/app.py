# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Opens models and videos, and serves the page. `clipbert demo` in a shell; `app.py` of a Space.

    with open_models(["outputs/quickstart"], "videos") as models:
        serve(models)
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from clipbert.demo.limits import Limits


LOCAL = "127.0.0.1"


@contextmanager
def open_models(
    checkpoints: Sequence[Any] = (),
    videos: str | os.PathLike | None = None,
    index: Any = None,
    *,
    metadata: str | os.PathLike | None = None,
    limits: Limits | None = None,
    device: str | None = None,
    **options: Any,
) -> Iterator[Any]:
    """
    The models of a page, with the videos that they are asked about; a context manager, which leaves nothing behind.

    Args:
        checkpoints (`list[str]` or `list[VideoPipeline]`, *optional*): One for each task: folders of runs or of checkpoints, names on the Hub,
            or pipelines that are loaded.
        videos (`str` or `os.PathLike`, *optional*): A folder. If a checkpoint matches texts with videos, all of it is encoded first.
        index (`VideoIndex`, *optional*): Is searched in the place of a folder.
        metadata (`str` or `os.PathLike`, *optional*): Columns of the folder's videos, such as `captions.jsonl`.
        limits ([`Limits`], *optional*): What is taken from strangers.
        device (`str`, *optional*): Where models run; an accelerator, if there is one.
        options: Of the pipelines, such as `num_clips` and `revision`.

    Yields:
        [`~clipbert.demo.models.Models`]

    Raises:
        ValueError: If two checkpoints are for one task, or there are videos and an index.
        FileNotFoundError: If there is no such checkpoint.
        SearchIndexError: If there is no such folder.
    """
    from clipbert.demo.models import MOMENTS, RETRIEVAL, Models
    from clipbert.demo.videos import FolderVideos, IndexVideos, Videos
    from clipbert.loading import load_pipeline
    from clipbert.pipelines import VideoPipeline
    from clipbert.search import VideoIndex
    from clipbert.search.matching import build_matching
    from clipbert.search.moments import MomentLocator

    if videos is not None and index is not None:
        raise ValueError("Expected a folder of videos, or an index, got both.")
    options = options if device is None else {**options, "device": device}
    pipelines, of_index = {}, {}
    for checkpoint in checkpoints:
        pipe = checkpoint if isinstance(checkpoint, VideoPipeline) else load_pipeline(checkpoint, **options)
        if pipe.task in pipelines:
            raise ValueError(f"{checkpoint}: there is another checkpoint for {pipe.task}; expected one for each task.")
        pipelines[pipe.task] = pipe
    if videos is not None and RETRIEVAL in pipelines:
        pipe = pipelines[RETRIEVAL]
        of_index["encoder"] = build_matching(pipe.model, pipe.processor, "the checkpoint for retrieval")
        pipe = pipelines.get(MOMENTS)
        if pipe is not None and pipe.model.frame_encoder is not None:
            of_index["locator"] = MomentLocator(pipe.model, pipe.processor, "the checkpoint for moments")
    with Videos(limits=limits) as shelf:
        if of_index:
            index = VideoIndex.create(shelf.folder / "index", videos, **of_index)
            report = index.add(metadata=metadata)
            for video, reason in report.failed.items():
                print(f"not shown: {video}: {reason}", flush=True)
        if index is not None:
            shelf.collection = IndexVideos(index)
        elif videos is not None:
            shelf.collection = FolderVideos(videos)
        yield Models(shelf, pipelines, index)


def serve(
    models: Any,
    *,
    host: str | None = None,
    port: int | None = None,
    share: bool = False,
    title: str = "clipbert",
    blocks_until_stopped: bool = True,
) -> tuple[Any, str]:
    """
    Serve the page.

    Args:
        models ([`~clipbert.demo.models.Models`]): What it shows.
        host (`str`, *optional*): Where it listens; by default `GRADIO_SERVER_NAME`, as Spaces set it, else this machine alone.
        port (`int`, *optional*): By default `GRADIO_SERVER_PORT`, else the first free one from 7860 on.
        share (`bool`, *optional*, defaults to `False`): Make a public address on gradio's servers, too.
        title (`str`, *optional*): Of the page.
        blocks_until_stopped (`bool`, *optional*, defaults to `True`): Return when it is stopped, by Ctrl-C.

    Returns:
        `tuple[gradio.Blocks, str]`: The page and its address.

    Raises:
        OSError: If the port is taken.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    import gradio as gr

    from clipbert.demo.media import Media
    from clipbert.demo.page import STYLE, Page

    media = Media(models.videos)
    page = Page(models, media, title)
    blocks = page.build()
    _, address, _ = blocks.launch(
        server_name=host or os.environ.get("GRADIO_SERVER_NAME", LOCAL),
        server_port=port,
        share=share,
        quiet=True,
        prevent_thread_lock=True,
        show_error=False,
        ssr_mode=False,
        max_file_size=models.videos.limits.upload_bytes,
        app_kwargs={"routes": media.routes()},
        css_paths=STYLE,
        theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        footer_links=["api"],
    )
    print(f"The page is at {address} (Ctrl-C stops it).", flush=True)
    if blocks_until_stopped:
        blocks.block_thread()
    return blocks, address


__all__ = ["open_models", "serve"]
