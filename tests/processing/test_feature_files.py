# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Features in the layouts that others publish them in: one matrix reads equal, and what is wrong is told by file."""

import json
import pickle
import sys
from contextlib import suppress

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from clipbert.processing import CachedFeatures, FeatureCache, FeatureFingerprint
from clipbert.processing.feature_cache import VideoContent
from clipbert.processing.feature_files import FeatureFiles, card_differences, check_card, read_features
from clipbert.processing.feature_rows import FeatureFileError, cut_rows, join_rows, pool_rows


ROWS = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
OTHER = ROWS[:3] + 1
CARD = {"encoder": "I3D", "dimension": 5, "durations": {"v_1": 7.5}}
FINGERPRINT = FeatureFingerprint("resnet-50", "0" * 64, '{"size":16}', '{"frames_per_segment":2}', "float32")


def open_h5(path, mode="w"):
    return pytest.importorskip("h5py").File(path, mode)


def write_h5(path, nested):
    with open_h5(path) as file:
        for name, rows in (("v_1", ROWS), ("v_2", OTHER)):
            file[f"{name}/c3d_features" if nested else name] = rows
    return path


def write_folder(folder, write, suffix):
    folder.mkdir()
    for name, rows in (("v_1", ROWS), ("v_2", OTHER)):
        write(folder / f"{name}{suffix}", rows)
    return folder


def write_cache(folder):
    """As `extract.py` does: frames of segments."""
    cache = FeatureCache(folder)
    for name, rows in (("v_1", ROWS), ("v_2", OTHER)):
        frames = torch.from_numpy(np.stack([rows - 1, rows + 1], axis=1))  # (N, 2, D)
        numbers = torch.arange(2 * len(rows)).view(-1, 2)
        content = VideoContent(f"videos/{name}.mp4", 1, name.encode().hex().ljust(64, "0"))
        cache.save(content, FINGERPRINT, CachedFeatures(frames, numbers, numbers / 2))
    return folder


def write_vslnet(folder):
    write_folder(folder, np.save, ".npy")
    (folder / "feature_shapes.json").write_text('{"v_1": 7, "v_2": 3, "v_3": 9}')
    return folder


LAYOUTS = {
    "vslnet": lambda folder: write_vslnet(folder / "npy"),
    "lgi": lambda folder: write_folder(folder / "lgi", lambda path, rows: np.save(path, rows[:, None, None]), ".npy"),
    "ego4d": lambda folder: write_folder(
        folder / "pt", lambda path, rows: torch.save(torch.from_numpy(rows), path), ".pt"
    ),
    "moment_detr": lambda folder: write_folder(
        folder / "npz", lambda path, rows: np.savez(path, features=rows), ".npz"
    ),
    "safetensors": lambda folder: write_folder(
        folder / "st", lambda path, rows: save_file({"features": torch.from_numpy(rows)}, path), ".safetensors"
    ),
    "h5_each": lambda folder: write_folder(
        folder / "h5", lambda path, rows: open_h5(path).create_dataset("x", data=rows).file.close(), ".h5"
    ),
    "activitynet": lambda folder: write_h5(folder / "c3d.hdf5", nested=True),
    "2d_tan": lambda folder: write_h5(folder / "vgg.h5", nested=False),
    "compressed": lambda folder: write_folder(
        folder / "zip", lambda path, rows: np.savez_compressed(path, rows), ".npz"
    ),
    "npz_of_all": lambda folder: np.savez(folder / "all.npz", v_1=ROWS, v_2=OTHER) or folder / "all.npz",
    "pt_of_all": lambda folder: (
        torch.save({"v_1": torch.from_numpy(ROWS), "v_2": torch.from_numpy(OTHER)}, folder / "all.pt")
        or folder / "all.pt"
    ),
    "safetensors_of_all": lambda folder: (
        save_file({"v_1": torch.from_numpy(ROWS), "v_2": torch.from_numpy(OTHER)}, folder / "all.safetensors")
        or folder / "all.safetensors"
    ),
    "extract.py": lambda folder: write_cache(folder / "cache"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_matrix_reads_equal(layout, tmp_path):
    files = pickle.loads(pickle.dumps(FeatureFiles(LAYOUTS[layout](tmp_path))))  # as loader workers get them
    assert sorted(files.ids()) == ["v_1", "v_2"]
    for name, expected in (("v_1", ROWS), ("v_2", OTHER)):
        found = files.read(name)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-6 if layout == "extract.py" else 0)
    with pytest.raises(FeatureFileError, match="v_3"):
        files.read("v_3")
    check = files.check_ids(["v_2", "v_7", "v_8", "v_7"])
    assert check.missing == ["v_7", "v_8"] and check.unused == ["v_1"]
    assert str(check) == ("2 of 3 videos have no features (v_7, v_8); there are features of 1 others (v_1).")


def test_ids_may_end_as_files_of_videos_do(tmp_path):
    """TACoS: `s13-d21.avi` in the files of features, `s13-d21` in annotations, or the other way round."""
    with open_h5(tmp_path / "c3d.h5") as file:
        file["s13-d21.avi"], file["s13-d25"] = ROWS, OTHER
    (tmp_path / "c3d.h5.card.json").write_text(json.dumps({**CARD, "durations": {"s13-d21.avi": 9.0}}))
    files = FeatureFiles(tmp_path / "c3d.h5")
    assert files.ids() == ["s13-d21", "s13-d25"] and not files.check_ids(["s13-d21", "s13-d25.avi"]).missing
    for name in ("s13-d21", "s13-d21.avi"):
        np.testing.assert_array_equal(files.read(name), ROWS)
        assert files.card(name)["duration_s"] == 9.0
    np.save(tmp_path / "s13-d21.avi.npy", ROWS)
    (tmp_path / "feature_shapes.json").write_text('{"s13-d21.avi": 8}')
    with pytest.raises(FeatureFileError, match="says 8 rows"):
        FeatureFiles(tmp_path, layout="npy").read("s13-d21")


def test_several_sources_side_by_side(tmp_path):
    sources = [LAYOUTS["vslnet"](tmp_path), LAYOUTS["moment_detr"](tmp_path)]
    np.save(sources[0] / "v_1.npy", np.concatenate([ROWS, ROWS[:2]]))
    (sources[0] / "feature_shapes.json").unlink()
    (sources[1] / "v_2.npz").unlink()
    assert FeatureFiles(sources).ids() == ["v_1"]
    pooled, cut = (FeatureFiles(sources, join=join).read("v_1") for join in ("pool", "cut"))
    assert pooled.shape == cut.shape == (7, 10)
    np.testing.assert_array_equal(cut[:, :5], ROWS)
    np.testing.assert_array_equal(pooled[:, 5:], ROWS)
    np.testing.assert_array_equal(pooled[:, :5], pool_rows(np.concatenate([ROWS, ROWS[:2]]), 7))
    with pytest.raises(FeatureFileError, match="differ in rows .*npy 9, .*npz 7"):
        FeatureFiles(sources, join="refuse").read("v_1")
    normal = FeatureFiles(sources, normalize=True, join="cut").read("v_1")
    np.testing.assert_allclose(np.linalg.norm(normal[:, :5], axis=1), 1, atol=1e-6)
    with pytest.raises(ValueError, match="one of pool, cut, refuse"):
        FeatureFiles(sources, join="stretch")


@pytest.mark.parametrize("count", [1, 3, 7, 12])
def test_parts_and_means_cover_the_video(count):
    rows = np.arange(7.0, dtype=np.float32)[:, None]
    pooled = pool_rows(rows, count)
    assert len(pooled) == min(count, 7) and pooled[-1, 0] > 5 * (count > 1)  # the end is not cut off
    found, start, end = cut_rows(rows, 14.0, (3.9, 8.1))
    assert found.ravel().tolist() == [2.0, 3.0] and (start, end) == (4.0, 8.0)
    assert len(cut_rows(rows, 14.0, (4.0, 4.1))[0]) == 1
    assert join_rows([rows, rows], ["a", "b"]).shape == (7, 2)


def write(rows):
    return lambda path: np.save(path, rows)


FAULTS = {
    "nan": (write(np.where(ROWS > 1, np.nan, ROWS)), "rows hold NaN"),
    "infinity": (write(np.full((2, 3), 1e39)), "2 of 2 rows hold NaN or infinity"),
    "three dimensions": (write(np.zeros((2, 3, 4))), r"expected \(n, D\).*\(2, 3, 4\)"),
    "one dimension": (write(np.zeros(4)), r"expected \(n, D\).*\(4,\)"),
    "words": (write(np.array([["a", "b"]])), r"expected \(n, D\)"),
    "no rows": (write(np.zeros((0, 4))), "nothing in them"),
    "empty": (lambda path: path.write_bytes(b""), "empty, cut, or of another kind"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-20]), "empty, cut, or of another kind"),
    "pickled": (lambda path: np.save(path, np.array([{}]), allow_pickle=True), "of another kind"),
    "another length": (write(ROWS[:6]), "feature_shapes.json says 7 rows, and there are 6"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_told_by_file(fault, tmp_path):
    folder, (damage, message) = LAYOUTS["vslnet"](tmp_path), FAULTS[fault]
    damage(folder / "v_1.npy")
    with pytest.raises(FeatureFileError, match=f"v_1.npy.*{message}") as caught:
        FeatureFiles(folder).read("v_1")
    assert pickle.loads(pickle.dumps(caught.value)).args == caught.value.args
    np.testing.assert_array_equal(FeatureFiles(folder).read("v_2"), OTHER)


@pytest.mark.parametrize("layout", ["ego4d", "moment_detr", "safetensors", "h5_each"])
@pytest.mark.parametrize("size", [0, 90])
def test_cut_files_of_every_kind_are_told(layout, size, tmp_path):
    folder = LAYOUTS[layout](tmp_path)
    path = next(folder.glob("v_1.*"))
    files = FeatureFiles(folder)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(FeatureFileError, match=path.name):
        files.read("v_1")


@pytest.mark.parametrize("layout", ["activitynet", "2d_tan", "npz_of_all", "pt_of_all", "safetensors_of_all"])
def test_cut_files_with_all_videos_are_told_when_opened(layout, tmp_path):
    path = LAYOUTS[layout](tmp_path)
    path.write_bytes(path.read_bytes()[:90])
    with pytest.raises(FeatureFileError, match=path.name):
        FeatureFiles(path)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_altered_files_are_read_or_told(layout, tmp_path):
    """Readers of these formats have raised six kinds of errors here that are none of their own."""
    source = LAYOUTS[layout](tmp_path)
    path = min(file for file in source.iterdir() if file.suffix != ".json") if source.is_dir() else source
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(15):
        altered = np.frombuffer(whole, np.uint8).copy()
        altered[rng.integers(0, len(altered), 8)] = rng.integers(0, 256, 8)
        path.write_bytes(altered.tobytes())
        with suppress(FeatureFileError):
            files = FeatureFiles(source)
            for name in files.ids():
                assert files.read(name).ndim == 2 and files.card(name) is not False


def test_keys(tmp_path):
    folder = tmp_path / "npz"
    folder.mkdir()
    np.savez(folder / "v_1.npz", rgb=ROWS, flow=OTHER)
    np.testing.assert_array_equal(FeatureFiles(folder, key="flow").read("v_1"), OTHER)
    for key, message in ((None, "not one array alone"), ("depth", "no array 'depth'")):
        with pytest.raises(FeatureFileError, match=f"v_1.npz.*{message} in it, but rgb, flow"):
            FeatureFiles(folder, key=key).read("v_1")
    path = write_h5(tmp_path / "c3d.h5", nested=True)
    with pytest.raises(FeatureFileError, match="v_1 in .*c3d.h5.*no array 'i3d'.*c3d_features"):
        FeatureFiles(path, key="i3d").read("v_1")
    both = FeatureFiles([folder, path], key=["rgb", None])
    assert both.read("v_1").shape == (7, 10)
    with pytest.raises(ValueError, match="1 keys for 2 sources"):
        FeatureFiles([folder, path], key=["rgb"])


def test_what_is_no_source(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        FeatureFiles(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="found none"):
        FeatureFiles(tmp_path)
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(ValueError, match="ends in .npy"):
        FeatureFiles(tmp_path / "a.txt")
    np.save(tmp_path / "v_1.npy", ROWS)
    np.savez(tmp_path / "v_1.npz", ROWS)
    with pytest.raises(ValueError, match="found 1 npy, 1 npz"):
        FeatureFiles(tmp_path)
    np.testing.assert_array_equal(FeatureFiles(tmp_path, layout="npz").read("v_1"), ROWS)
    with pytest.raises(FeatureFileError, match="of one video"):
        FeatureFiles(tmp_path / "v_1.npy")
    with pytest.raises(ValueError, match="layout to be auto, npy"):
        FeatureFiles(tmp_path, layout="mat")


def test_without_h5py_its_package_is_named(tmp_path, monkeypatch):
    path = write_h5(tmp_path / "c3d.h5", nested=True)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"clipbert\[hdf5\]"):
        FeatureFiles(path)


# --- cards


def test_cards_beside_files_and_inside(tmp_path):
    folder = LAYOUTS["vslnet"](tmp_path)
    assert FeatureFiles(folder).card("v_1") is None
    (folder / "features.card.json").write_text(json.dumps(CARD))
    files = FeatureFiles(folder)
    assert files.card("v_1") == {"encoder": "I3D", "dimension": 5, "duration_s": 7.5}
    assert files.card("v_2") == files.common_card(["v_1", "v_2"]) == {"encoder": "I3D", "dimension": 5}
    assert read_features(folder / "v_1.npy").card["duration_s"] == 7.5
    path = LAYOUTS["2d_tan"](tmp_path)
    with open_h5(path, "a") as file:
        file.attrs["feature_card"] = json.dumps(CARD)
    assert FeatureFiles(path).card("v_1")["encoder"] == "I3D"
    path = tmp_path / "one.safetensors"
    save_file({"v_1": torch.from_numpy(ROWS)}, path, {"feature_card": json.dumps(CARD)})
    assert FeatureFiles(path).card("v_1")["duration_s"] == 7.5
    (tmp_path / "one.safetensors.card.json").write_text(json.dumps({**CARD, "encoder": "C3D"}))
    joined = FeatureFiles([folder, path]).card("v_1")
    assert [card["encoder"] for card in joined["sources"]] == ["I3D", "C3D"] and joined["dimension"] == 10


def test_cards_of_our_own_files(tmp_path):
    files = FeatureFiles(write_cache(tmp_path / "cache"))
    expected = {"encoder": "resnet-50", "weights": "0" * 64, "dimension": 5, "transform": {"size": 16}}
    assert files.common_card(files.ids()) == expected | {"sampling": {"frames_per_segment": 2}}


def test_two_videos_of_one_name_in_a_folder_are_told(tmp_path):
    folder = write_cache(tmp_path / "cache")
    numbers = torch.arange(3)
    features = CachedFeatures(torch.from_numpy(OTHER), numbers, numbers / 2)
    path = FeatureCache(folder).save(VideoContent("elsewhere/v_1.mp4", 1, "f" * 64), FINGERPRINT, features)
    with pytest.raises(FeatureFileError, match=f"{path.name}: they are of a video called v_1, as those of"):
        FeatureFiles(folder)


def test_files_of_another_encoder_in_a_folder_are_named(tmp_path):
    folder = write_cache(tmp_path / "cache")
    other = FeatureFingerprint("resnet-18", "1" * 64, '{"size":16}', '{"frames_per_segment":2}', "float32")
    numbers = torch.arange(3)
    features = CachedFeatures(torch.from_numpy(OTHER), numbers, numbers / 2)
    path = FeatureCache(folder).save(VideoContent("v_3.mp4", 1, "f" * 64), other, features)
    files = FeatureFiles(folder)
    with pytest.raises(FeatureFileError, match=f"{path.name}.*weights: 0000.* -> 1111"):
        files.common_card(["v_1", "v_2", "v_3"])


def test_differences_of_cards():
    ours = {"encoder": "a", "weights": "0", "transform": {"size": 224, "crop": True}, "duration_s": 3.0}
    assert (
        card_differences(ours, {**ours, "encoder": "b", "duration_s": 4.0}) == []
    )  # the same weights by another name
    assert card_differences(None, ours) == []
    assert card_differences(ours, None) == ["they have no card (`extract.py card` makes one)"]
    assert card_differences(ours, {**ours, "transform": {"size": 112, "crop": True}}) == [
        'transform: {"size": 224} -> {"size": 112}'
    ]
    assert card_differences({"encoder": "a"}, {"encoder": "b"}) == ["encoder: a -> b"]
    assert (
        card_differences({"encoder": "a"}, ours) != [] != card_differences(ours, {"encoder": "a"})
    )  # not known is not equal
    several = {"sources": [ours, CARD], "dimension": 10}
    assert card_differences(several, {"sources": [CARD, ours], "dimension": 10}) != []
    assert card_differences(several, {"sources": [ours], "dimension": 5}) == ["dimension: 10 -> 5", "sources: 2 -> 1"]


def test_features_of_another_card_are_refused(tmp_path):
    folder = LAYOUTS["vslnet"](tmp_path)
    (folder / "features.card.json").write_text(json.dumps(CARD))
    files = FeatureFiles(folder)
    check_card({"encoder": "I3D", "dimension": 5}, files["v_1"])
    with pytest.raises(FeatureFileError, match="v_1.npy.*encoder: C3D -> I3D"):
        check_card({"encoder": "C3D", "dimension": 5}, files["v_1"])
