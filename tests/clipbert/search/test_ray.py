# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Videos encoded on Ray: the rows that one process makes, also with as many encoders as there are processors."""

import numpy as np
import pyarrow as pa
import pytest
from tiny_pipelines import CASES

from clipbert.search import VideoIndex
from clipbert.search.models import load_model
from clipbert.search.rows import array_of


ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def cluster():
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.parametrize("case", ["dual_encoder", "retrieval"])
def test_two_encoders_on_two_processors_make_the_same_rows(case, tmp_path, write_video):
    model, processor = CASES[case].build()
    for part in (model, processor):
        part.save_pretrained(tmp_path / "model")
    reader = load_model(tmp_path / "model", device="cpu")
    root = tmp_path / "videos"
    root.mkdir()
    for number in range(7):
        write_video(root / f"{number}.mp4", num_frames=4 + 9 * number)
    (root / "broken.mp4").write_bytes(b"no video")
    tables = []
    for name, options in {"ray": {"ray_encoders": 2}, "alone": {}}.items():
        index = VideoIndex.create(tmp_path / name, root, reader, segment_s=2.0)
        report = index.add(progress=False, **options)
        assert (len(report.added), list(report.failed)) == (7, ["broken.mp4"])
        assert index.verify() == []
        table = pa.Table.from_batches(index.store.scan(index.store.schema.names)).sort_by("id")
        assert table.num_rows > 7  # some videos have several segments
        tables.append(table)
    for one, other in zip(*(table.drop_columns(["checksum"]).columns for table in tables), strict=True):
        if pa.types.is_fixed_size_list(one.type) and pa.types.is_floating(one.type.value_type):
            assert np.allclose(array_of(one), array_of(other), atol=1e-5, equal_nan=True)
        else:
            assert one.equals(other)
    assert VideoIndex.open(tmp_path / "ray", encoder=reader if case == "dual_encoder" else None).add(
        progress=False, ray_encoders=2
    ).unchanged == [f"{number}.mp4" for number in range(7)]
