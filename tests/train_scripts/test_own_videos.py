# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A handful of own clips, without splits: the recipes for them run as they stand, given the folder alone."""

import json

import pytest
from tiny_parts import write_parts
from tiny_runs import one_thread  # noqa: F401

from clipbert.train_scripts import search
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.retrieval import RetrievalTask
from clipbert.train_scripts.video_qa import VideoQATask


KINDS = {
    "captions": (RetrievalTask, "retrieval", {"caption": "a {} circle"}),
    "open": (VideoQATask, "video_qa", {"question": "what color is it?", "answer": "{}"}),
    "options": (
        VideoQATask,
        "video_qa",
        {"question": "what is it?", "answer": "{}", "options": ["red", "blue", "green"]},
    ),
}
COLORS = ("red", "blue", "green")


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_without_splits_is_all_that_a_recipe_needs(kind, tmp_path, monkeypatch, write_video, caplog, capsys):
    monkeypatch.chdir(tmp_path)
    task, script, columns = KINDS[kind]
    (tmp_path / "my_videos/videos").mkdir(parents=True)
    lines = []
    for number in range(6):
        write_video(tmp_path / f"my_videos/videos/{number}.mp4", num_frames=8)
        of_video = {
            name: value.format(COLORS[number % 3]) if isinstance(value, str) else value
            for name, value in columns.items()
        }
        lines.append(json.dumps({"video": f"videos/{number}.mp4"} | of_video) + "\n")
    (tmp_path / f"my_videos/{'captions' if kind == 'captions' else 'questions'}.jsonl").write_text("".join(lines))
    # the sizes of a test, and parts that are not on the Hub
    small = [*write_parts(tmp_path), "data.image_size=48", "data.num_workers=0", "run.num_epochs=4"]
    settings = [part for value in ("data.data_dir=my_videos", *small) for part in ("--set", value)]
    result = main(task(), ["--recipe", f"clipbert/{script}_video_folder.yaml", *settings])
    assert result["finished"] and result["step"] >= 1
    assert {split: row["metrics"]["num_examples"] for split, row in result["results"].items()} == {
        "validation": 1,
        "test": 1,
    }
    assert "of its 6 training videos 1 for validation and 1 for test are held out" in caplog.text
    if kind == "captions":
        search.main(["--checkpoint", "outputs/retrieval_video_folder", "--videos", "my_videos", "a red circle"])
        assert capsys.readouterr().out.count("circle)") == 5
