# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Whatever reads a checkpoint of a run notices that a byte of it is not what was written. Weights with a flipped bit loaded in silence."""

import random
import shutil

import pytest
from tiny_runs import one_thread, start_from, tiny_run  # noqa: F401

import clipbert
from clipbert.datasets_scripts.synthetic import generate_synthetic
from clipbert.support.manifest import CheckpointError
from clipbert.train_scripts import extract, publish, search, zero_shot
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.retrieval import RetrievalTask


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    return generate_synthetic(folder, progress=False, preset="easy", num_train=6, num_validation=2, num_test=2)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    output_dir = tmp_path_factory.mktemp("run")
    main(RetrievalTask(), tiny_run("synthetic", "retrieval", data, output_dir))
    return output_dir / "checkpoints" / "step_00000002"


REFUSED = (CheckpointError, SystemExit)  # search ends with the message alone
READERS = {
    "search": lambda folder, data, to: search.main(["--checkpoint", str(folder), "--videos", str(data), "a square"]),
    "publish": lambda folder, data, to: publish.main(["--checkpoint", str(folder), "--output_dir", str(to)]),
    "extract": lambda folder, data, to: extract.main(["--model", str(folder), "--videos", str(data)]),
    "load_pipeline": lambda folder, data, to: clipbert.load_pipeline(folder),
    "zero_shot": lambda folder, data, to: zero_shot.main(["--checkpoint", str(folder), "--recipes", "hmdb51"]),
    "from_pretrained": lambda folder, data, to: main(
        RetrievalTask(), tiny_run("synthetic", "retrieval", data, to, *start_from(folder))
    ),
}


@pytest.mark.parametrize("reader", READERS)
def test_a_flipped_bit_is_named_before_anything_is_done_with_the_model(reader, trained, data, tmp_path):
    rng = random.Random(reader)
    for number, name in enumerate(["model.safetensors"] * 8 + ["config.json", "tokenizer.json"]):
        folder = tmp_path / f"copy{number}"
        shutil.copytree(trained, folder)
        content = bytearray((folder / name).read_bytes())
        position = 0 if name == "config.json" else rng.randrange(len(content))  # no JSON any more
        content[position] ^= 1 << rng.randrange(7)
        (folder / name).write_bytes(content)
        with pytest.raises(REFUSED, match=rf"content of {name} has changed.*Take another checkpoint"):
            READERS[reader](folder, data / "test", tmp_path / "output")
        assert not (tmp_path / "output" / "checkpoints").exists() and not (tmp_path / "output" / "README.md").exists()


@pytest.mark.slow
def test_what_only_a_resumed_run_reads_is_not_asked_of_others(trained, data, tmp_path, capsys):
    folder = shutil.copytree(trained, tmp_path / "copy")
    (folder / "trainer" / "optimizer.pt").unlink()
    READERS["search"](folder, data / "test", tmp_path / "output")
    assert "a square" in capsys.readouterr().out


def test_a_file_that_was_edited_on_purpose_is_read_without_its_manifest(trained, data, tmp_path, capsys):
    folder = shutil.copytree(trained, tmp_path / "copy")
    (folder / "config.json").write_text((folder / "config.json").read_text() + "\n")
    with pytest.raises(REFUSED, match=r"on purpose, delete .*trainer/manifest.json"):
        READERS["search"](folder, data / "test", tmp_path / "output")
    (folder / "trainer" / "manifest.json").unlink()
    READERS["search"](folder, data / "test", tmp_path / "output")
    assert "a square" in capsys.readouterr().out
