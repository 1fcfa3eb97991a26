# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A page over tiny models of four tasks, and a collection whose names and captions are hostile."""

import json
from contextlib import contextmanager

from numbered_videos import KINDS, write_numbered
from tiny_pipelines import make_pipeline

from clipbert.demo.app import open_models, serve


HOSTILE = "<img src=x onerror=\"document.title='hurt'\">'&amp;\u202egpj"
MP4, MKV, AVI = "plain.mp4", "films/other.mkv", "old.avi"
NAMES = (MP4, MKV, AVI, f"{HOSTILE.replace('/', '')}.mp4")
TASKS = ("retrieval", "open_answers", "classes", "moments")


def write_collection(folder):
    """Four videos, and captions for them that are no better than their names."""
    lines = []
    for name in NAMES:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = {".mkv": "mkv_h264", ".avi": "avi_mpeg4"}.get(path.suffix, "mp4_h264")
        write_numbered(path, 100, KINDS[kind])
        lines.append(json.dumps({"video": name, "caption": f"<script>document.title='hurt'</script>{HOSTILE}"}))
    (folder / "captions.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


@contextmanager
def opened_page(folder, tasks=TASKS, limits=None):
    """The models, and the address at which the page over them is served."""
    pipelines = [make_pipeline(task) for task in tasks]
    with open_models(pipelines, folder, metadata=folder / "captions.jsonl", limits=limits) as models:
        blocks, address = serve(models, blocks_until_stopped=False)
        try:
            yield models, address
        finally:
            blocks.close()
