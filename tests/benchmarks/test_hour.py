# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""benchmarks/hour.py on videos of seconds."""

import json

import pytest
from tiny_moments import tiny_frame_model, tiny_processor

from benchmarks import hour


@pytest.mark.slow
def test_what_is_measured_of_a_video(tmp_path):
    video = hour.write_video(tmp_path / "video.mp4", 12.0)
    found = hour.measure_video(str(video), None, "small", 4.0)
    # windows of 4 s that overlap by half, 2 segments a second, at least 8 of 2 frames each
    assert (found["seconds"], found["windows"], found["frames"]) == (12.0, 5, 48)
    assert found["first_s"] > 0 and found["more_s"] > 0 and found["megabytes"] > 100


def test_each_way_to_look_at_long_videos_is_scored(tmp_path, capsys):
    checkpoint, folder = tmp_path / "checkpoint", tmp_path / "events"
    tiny_frame_model().save_pretrained(checkpoint)
    tiny_processor().save_pretrained(checkpoint)
    folder.mkdir()
    hour.write_video(folder / "a.mp4", 8.0)
    rows = [{"video": "a.mp4", "caption": "the door", "start_s": start, "end_s": start + 2.0} for start in (0.0, 5.0)]
    (folder / "moments.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = hour.main(["--checkpoint", str(checkpoint), "--moments", str(folder), "--window", "4"])
    ways = ["slide, joint", "slide, joint_with_segmentation", "slide, unnormalised", "pool"]
    assert list(found) == ways and all(metrics["num_examples"] == 2 for metrics in found.values())
    assert [line.split(" | ")[0] for line in capsys.readouterr().out.splitlines()[2:]] == [f"| {way}" for way in ways]
    with pytest.raises(SystemExit, match="2"):
        hour.main(["--moments", str(folder)])


@pytest.mark.slow
def test_memory_does_not_grow_with_the_video(capsys):
    found = hour.main(["--seconds", "300", "--window", "20"])
    assert found["all of it"]["megabytes"] <= 1.2 * found["a tenth"]["megabytes"]
    assert "| all of it, 300 s | 29 | " in capsys.readouterr().out
