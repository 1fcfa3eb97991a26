# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""`blind_moments.py`: counts, what loaders leave out, and figures without videos, of small files in the original layouts."""

import json

import pytest

from clipbert.train_scripts.blind_moments import main


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "charades_sta"
    folder.mkdir()
    lines = [f"V{number} 0.0 6.0##a dog runs {number}." for number in range(6)]
    (folder / "charades_sta_train.txt").write_text("\n".join([*lines, "V0 2.0 25.0##it sleeps."]) + "\n")
    (folder / "charades_sta_test.txt").write_text("W 0.0 6.0##the dog runs.\n")
    for split, names in (("train", [f"V{number}" for number in range(6)]), ("test", ["W"])):
        (folder / f"Charades_v1_{split}.csv").write_text("id,length\n" + "".join(f"{name},20.0\n" for name in names))
    return tmp_path


@pytest.mark.slow  # it starts processes
def test_all_that_is_found(data, capsys):
    found = main(["--data_dir", str(data)])["charades_sta/vslnet"]
    assert found["counts"]["train"] == {
        "moments": 7,
        "questions": 7,
        "videos": 6,
        "mean_moment_s": pytest.approx((6 * 6 + 18) / 7),
        "mean_duration_s": 20.0,
    }
    assert any("cut 1 moments to the end of their video" in note for note in found["notes"])
    assert found["blind"]["nearest_sentences"]["R1@0.7"] == 1.0 and found["blind"]["whole_video"]["R1@0.3"] == 1.0
    assert found["oracle"]["16"]["mIoU"] == pytest.approx(6 / 6.25)
    printed = capsys.readouterr().out
    assert "charades_sta/videox" in printed and "16 segments                       100.0  0.960" in printed


@pytest.mark.slow
def test_strict_and_without_durations(data, capsys):
    strict = main(["--data_dir", str(data), "charades_sta/vslnet", "--strict", "--json"])
    assert json.loads(capsys.readouterr().out) == strict
    assert strict["charades_sta/vslnet"]["blind"]["whole_video"]["R1@0.3"] == 0.0  # 6 of 20 seconds
    for table in data.glob("*/*.csv"):
        table.unlink()
    unknown = main(["--data_dir", str(data), "charades_sta/vslnet"])["charades_sta/vslnet"]
    assert "blind" not in unknown and "test: durations of videos are not known" in unknown["notes"][-1]


def test_nothing_is_found(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--data_dir", str(tmp_path)])
    assert "benchmark of moments: activitynet_captions, charades_sta," in capsys.readouterr().err
