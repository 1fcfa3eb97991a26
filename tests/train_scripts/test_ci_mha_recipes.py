# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Every recipe of CI-MHA, as it stands, on a few records in the real formats, with tiny features in the layouts that it names."""

import json
import shutil
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny_mug_stan import write_clip
from tiny_runs import one_thread, steps_of  # noqa: F401

from clipbert import CIMHAConfig
from clipbert.datasets_scripts.synthetic.random_backbones import write_random_backbones
from clipbert.train_scripts.engine.cells import plan_runs, read_grid
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.extract import main as extract
from clipbert.train_scripts.moment_retrieval import MomentRecipe, MomentTask


FOLDER = Path(__file__).parents[2] / "train_scripts" / "recipes" / "ci_mha"
RECIPES = sorted(path.stem for path in FOLDER.glob("*.yaml") if not path.stem.startswith("grid_"))
QUICK = {"charades_sta_i3d_org", "qvhighlights"}
FROM_VIDEOS = {"charades_sta_clip", "video_folder"}
ACTS = ("a dog runs", "the cat sleeps", "a man opens the door")
SHRUNKEN = [
    "data.num_workers=0",
    "run.num_epochs=null",
    "run.total_steps=2",
    "run.eval_every=1",
    "run.global_batch_size=2",
    "run.micro_batch_size=2",
    "model.overrides.hidden_size=16",
    "model.overrides.num_attention_heads=2",
]


def features_of(number):
    return np.random.default_rng(number).normal(size=(6 + number % 4, 5)).astype(np.float32)


def write_features(folder, ids):
    folder.mkdir(parents=True)
    for number, name in enumerate(ids):
        np.save(folder / f"{name}.npy", features_of(number))
    shapes = {name: len(features_of(number)) for number, name in enumerate(ids)}
    (folder / "feature_shapes.json").write_text(json.dumps(shapes))


def write_hdf5(path, ids, key=None):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for number, name in enumerate(ids):
            file[name if key is None else f"{name}/{key}"] = features_of(number)


def write_charades(folder):
    folder.mkdir(parents=True)
    for split, names in (("train", [f"T{n:04d}" for n in range(30)]), ("test", ["S0001", "S0002"])):
        lines = [f"{name} {n % 3}.0 {5 + n % 4}.5##{ACTS[n % 3]}." for n, name in enumerate(names)]
        (folder / f"charades_sta_{split}.txt").write_text("\n".join(lines) + "\n")
        rows = "\n".join(f"{name},{20 + n % 7}.25" for n, name in enumerate(names))
        (folder / f"Charades_v1_{split}.csv").write_text(f"id,length\n{rows}\n")
    ids = [f"T{n:04d}" for n in range(30)] + ["S0001", "S0002"]
    for name in ("i3d_org", "i3d_new"):
        write_features(folder / name, ids)
    write_hdf5(folder / "vgg_rgb_features.hdf5", ids)


def write_activitynet(folder):
    folder.mkdir(parents=True)
    parts = {"train": [f"v_t{n:010d}" for n in range(4)], "val_1": ["v_a", "v_b"], "val_2": ["v_a", "v_b"]}
    for part, names in parts.items():
        found = {
            name: {"duration": 90.0, "timestamps": [[3, 40.5], [38, 90]], "sentences": ACTS[:2]} for name in names
        }
        (folder / f"{part}.json").write_text(json.dumps(found))
    write_hdf5(folder / "sub_activitynet_v1-3.c3d.hdf5", [*parts["train"], "v_a", "v_b"], "c3d_features")


def write_tacos(folder):
    folder.mkdir(parents=True)
    parts = {"train": [f"s{n}-d1" for n in range(4)], "val": ["s8-d1"], "test": ["s9-d1"]}
    for part, names in parts.items():
        told = {"timestamps": [[29, 290], [300, 580], [400, 2900]], "sentences": ACTS, "num_frames": 5880, "fps": 29.4}
        (folder / f"{part}.json").write_text(json.dumps({f"{name}.avi": told for name in names}))
    write_hdf5(folder / "tall_c3d_features.hdf5", [name for names in parts.values() for name in names])


def write_videos(folder, write_video):
    """A folder of somebody's own, and the videos of Charades-STA."""
    (folder / "my_videos").mkdir()
    lines = [{"video": f"{n}.mp4", "caption": ACTS[n % 3], "start_s": 0.5, "end_s": 1.5} for n in range(24)]
    (folder / "my_videos" / "moments.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    write_video(folder / "clip.mp4", num_frames=20)
    charades = folder / "data" / "charades_sta"
    names = [line.split()[0] for part in ("train", "test") for line in (charades / f"charades_sta_{part}.txt").open()]
    for path in [
        *(folder / "my_videos" / line["video"] for line in lines),
        *(charades / f"{name}.mp4" for name in names),
    ]:
        shutil.copy(folder / "clip.mp4", path)


def write_qvhighlights(folder):
    folder.mkdir(parents=True)
    names = {"train": [f"t{n}_60.0_210.0" for n in range(40)], "val": ["v1_60.0_210.0", "v2_60.0_210.0"]}
    for split, videos in names.items():
        rows = [
            {
                "qid": n,
                "query": ACTS[n % 3],
                "duration": 150,
                "vid": video,
                "relevant_windows": [[0, 16], [40, 60 + n]],
            }
            for n, video in enumerate(videos)
        ]
        text = "".join(f"{json.dumps(row)}\n" for row in rows)
        (folder / f"highlight_{split}_release.jsonl").write_text(text)
    for name in ("clip_features", "slowfast_features"):
        (folder / name).mkdir()
        for number, video in enumerate([*names["train"], *names["val"]]):
            np.savez(folder / name / f"{video}.npz", features=features_of(number))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, write_video):
    folder = tmp_path_factory.mktemp("recipes")
    (folder / "data").mkdir()
    (folder / "data" / "glove.840B.300d.txt").write_text(
        "".join(f"{word} 0.5 -0.25\n" for word in ("a", "the", "dog", "cat"))
    )
    write_clip(folder / "clip")
    write_charades(folder / "data" / "charades_sta")
    write_activitynet(folder / "data" / "activitynet")
    write_tacos(folder / "data" / "tacos")
    write_qvhighlights(folder / "data" / "qvhighlights")
    write_videos(folder, write_video)
    return folder


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in RECIPES]
)
def test_recipe_trains_and_evaluates(name, workspace, tmp_path, monkeypatch):
    monkeypatch.chdir(workspace)
    path, output_dir = FOLDER / f"{name}.yaml", tmp_path / "run"
    recipe = yaml.safe_load(path.read_text())
    values = [*SHRUNKEN, f"run.output_dir={output_dir}"]
    if name in FROM_VIDEOS:
        values += ["model.parts={frame_encoder: clip, text_encoder: clip}"]
    settings = ["--recipe", str(path), *(part for value in values for part in ("--set", value))]
    if recipe["data"].get("features"):
        extract(settings)
    result = main(MomentTask(), settings)
    assert result["finished"] and set(result["results"]) == set(recipe["eval"]["splits"])
    for row in result["results"].values():
        assert row["metrics"]["num_examples"] > 0 and "blind-nearest-sentences_R1@0.7" in row["metrics"]
    assert [row["step"] for row in steps_of(output_dir)] == [1, 2]
    config = json.loads((output_dir / "checkpoints" / "last" / "config.json").read_text())
    assert config["dropout"] == recipe["model"].get("overrides", {}).get("dropout", 0.1)
    assert config["max_segments"] == recipe["data"]["max_segments"]
    if name not in FROM_VIDEOS:
        assert config["video_feature_size"] == (10 if name == "qvhighlights" else 5)
        assert config["text_encoder"] == "glove_bilstm" and config["vocab_size"] == 6


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_says_how_to_run_it_and_what_to_expect(name):
    lines = (FOLDER / f"{name}.yaml").read_text().splitlines()
    head = "\n".join(line for line in lines if line.startswith("#"))
    recipe = MomentRecipe.load(FOLDER / f"{name}.yaml")
    assert f"train_scripts/recipes/ci_mha/{name}.yaml" in head and "# Data:" in head and "# Expect:" in head
    assert recipe.data.data_dir in head and recipe.run.output_dir == f"outputs/ci_mha_{name}"
    assert recipe.data.data_dir.startswith("data/") or name == "video_folder"
    assert not recipe.eval.allow_test_selection and recipe.eval.splits.get("test") in (None, "final")


@pytest.mark.slow
def test_the_quickstart_from_features_in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = FOLDER.parent / "quickstart" / "moment_retrieval_features.yaml"
    write_random_backbones("outputs/quickstart/backbones")
    generate = {"preset": "events", "size": 48, "num_train": 6, "num_validation": 2, "num_test": 2}
    values = [f"data.options.generate={json.dumps(generate)}", "run.total_steps=2", "data.num_workers=0"]
    settings = ["--recipe", str(path), *(part for value in values for part in ("--set", value))]
    extract(settings)
    metrics = main(MomentTask(), settings)["results"]["test"]["metrics"]
    assert metrics["num_videos"] == 2 and metrics["num_examples_one_word"] > 0


GRIDS = {  # cells, all of three seeds
    "grid_charades_sta": 3,
    "grid_activitynet": 6,
    "grid_rows": 7,
    "grid_switches": 16,
    "grid_boundary_noise": 6,
    "grid_windows": 2,
}


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("grid_*.yaml")))
def test_the_grids_of_the_package(name):
    path = FOLDER / f"{name}.yaml"
    grid = read_grid(path)
    runs = plan_runs(grid, MomentRecipe)
    assert len({run.cell.name for run in runs}) == GRIDS[name] and len(runs) == 3 * GRIDS[name]
    assert f"python train_scripts/grid.py --grid train_scripts/recipes/ci_mha/{path.name}" in path.read_text()
    assert "# Expect:" in path.read_text() and "Ours:" in path.read_text()
    features = {(run.recipe.data.features, run.recipe.data.data_dir) for run in runs}
    assert len({folder for folder, _ in features}) == len(features)  # one folder of vectors is of one set of videos
    if name in ("grid_charades_sta", "grid_activitynet"):
        assert grid.published["slides"].keys() == {run.cell.name for run in runs}


def test_a_switch_of_the_grid_is_one_of_the_model():
    cells = {
        run.cell.name: run.recipe.model.overrides
        for run in plan_runs(read_grid(FOLDER / "grid_switches.yaml"), MomentRecipe)
    }
    full = cells.pop("full")
    changed = {name: {key for key in values if values[key] != full.get(key)} for name, values in cells.items()}
    assert all(len(keys) == 1 for keys in changed.values()), changed
    assert {*set().union(*changed.values()), "frame_encoder_config"} <= {part.name for part in fields(CIMHAConfig)}
