# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Stand-ins for pretrained ResNets."""

import torch
from transformers import AutoImageProcessor, AutoModel

from clipbert.datasets_scripts.synthetic.random_backbones import main, write_random_backbones


def test_backbones_are_the_same_every_time_and_left_as_they_are(tmp_path, capsys):
    state = torch.random.get_rng_state()
    main(["--output_dir", str(tmp_path / "first")])
    assert torch.random.get_rng_state().equal(state)  # nobody else's draws depend on it
    assert capsys.readouterr().out.splitlines()[0] == str(tmp_path / "first" / "resnet_1")
    (tmp_path / "first" / "resnet_2" / "config.json").unlink()
    write_random_backbones(tmp_path / "first")
    assert not (tmp_path / "first" / "resnet_2" / "config.json").exists()
    for one, other in zip(*(write_random_backbones(tmp_path / name) for name in ("second", "third")), strict=True):
        ours, theirs = AutoModel.from_pretrained(one).state_dict(), AutoModel.from_pretrained(other).state_dict()
        assert all(ours[name].equal(theirs[name]) for name in ours)


def test_vectors_are_about_as_large_as_those_of_trained_networks(tmp_path):
    pictures = [torch.randint(0, 256, (3, 48, 48), dtype=torch.uint8) for _ in range(4)]
    for folder in write_random_backbones(tmp_path):
        inputs = AutoImageProcessor.from_pretrained(folder)(pictures, return_tensors="pt")
        vectors = AutoModel.from_pretrained(folder).eval()(**inputs).pooler_output
        assert 0.3 < vectors.std() < 30
