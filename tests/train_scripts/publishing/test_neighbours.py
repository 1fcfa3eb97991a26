# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
What retrieval has trained and publish has written, loaded by sentence-transformers and measured by MTEB where this package is not
installed: the numbers of retrieval.
"""

import json
import shutil

import numpy as np
import pytest
from clean_process import run_without_package
from mug_stan_runs import clip_fixture, mug_stan_run, shapes_fixture  # noqa: F401
from tiny_ci_mha import tiny_model as tiny_ci_mha
from tiny_models import MODELS, tiny_model
from tiny_mug_stan import tiny_model as tiny_mug_stan
from tiny_runs import one_thread, tiny_run  # noqa: F401

from clipbert import ClipBERTForVideoTextRetrieval, MugSTANForVideoClassification, MugSTANModel
from clipbert.datasets_scripts import load_benchmark
from clipbert.train_scripts import publish
from clipbert.train_scripts.engine.predictions import read_predictions
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.publishing.neighbours import FILES, find_neighbour, write_neighbour_files
from clipbert.train_scripts.retrieval import RetrievalTask
from clipbert.train_scripts.tasks.retrieval.measures import compute_match_odds


SCALE = 20.0  # log-odds of a cosine


def test_what_a_model_can_do_decides():
    assert find_neighbour(tiny_mug_stan()).name == "SentenceTransformer"
    found = {model_class: find_neighbour(tiny_model(model_class)) for model_class in MODELS}
    assert found.pop(ClipBERTForVideoTextRetrieval).name == "CrossEncoder"
    others = [tiny_mug_stan(MugSTANModel), tiny_mug_stan(MugSTANForVideoClassification, num_labels=2), tiny_ci_mha()]
    assert not any(found.values()) and not any(map(find_neighbour, others))


def test_files_of_an_earlier_model_go(tmp_path):
    write_neighbour_files(tmp_path, find_neighbour(tiny_mug_stan()))
    assert {path.name for path in tmp_path.iterdir()} == {*FILES, "sentence_modules.py"}
    write_neighbour_files(tmp_path, None)
    assert not any(tmp_path.iterdir())


@pytest.fixture(scope="module")
def found(clip, shapes, tmp_path_factory):
    """For each kind of model its published folder, what retrieval has measured, and the scores `(texts, videos)`."""
    folder = tmp_path_factory.mktemp("runs")
    vectors = f"model.overrides={{stan_num_layers: 2, similarity: mean_pool, loss_scale: {SCALE}}}"
    commands = {
        "SentenceTransformer": mug_stan_run(clip, shapes, folder / "vectors", vectors, "run.total_steps=1"),
        "CrossEncoder": tiny_run("synthetic", "retrieval", shapes, folder / "pairs", "eval.num_clips=2"),
    }
    found = {}
    for (name, command), run in zip(commands.items(), ("vectors", "pairs"), strict=True):
        metrics = main(RetrievalTask(), command)["results"]["test"]["metrics"]
        checkpoint = str(folder / run / "checkpoints" / "last")
        published = publish.main(["--checkpoint", checkpoint, "--output_dir", str(folder / "published" / name)])
        predictions = read_predictions(folder / run / "predictions" / "test")
        odds = predictions.tensors["log_odds"] if run == "vectors" else compute_match_odds(predictions).numpy()
        found[name] = published, metrics, odds, predictions
    return found


@pytest.fixture(scope="module")
def pairs(shapes, tmp_path_factory):
    """The test split in a file: its texts, its videos, and for each text the number of its video."""
    rows = load_benchmark("synthetic", "retrieval", split="test", data_dir=shapes)
    videos = list(dict.fromkeys(rows["video"]))
    content = {"texts": rows["caption"], "videos": videos, "owners": [videos.index(video) for video in rows["video"]]}
    path = tmp_path_factory.mktemp("pairs") / "pairs.json"
    path.write_text(json.dumps({name: list(values) for name, values in content.items()}))
    return path


USE = """
import json, os, re
from pathlib import Path

from sentence_transformers import CrossEncoder, SentenceTransformer

pairs, encoder_folder, scorer_folder, copy = json.loads(Path(sys.argv[1]).read_text()), *sys.argv[2:]
texts, videos, trusted = pairs["texts"], pairs["videos"], {"trust_remote_code": True, "device": "cpu"}

encoder = SentenceTransformer(encoder_folder, **trusted)
assert encoder.similarity_fn_name == "cosine"
cosines = encoder.similarity(encoder.encode(texts), encoder.encode(videos)).tolist()

scorer = CrossEncoder(scorer_folder, **trusted)
odds = [scorer.predict([(text, video) for video in videos]).tolist() for text in texts]
ranked = scorer.rank(texts[0], videos)

encoder.save_pretrained(copy)  # with its code
again = SentenceTransformer(copy, **trusted).encode(texts[:1])
assert abs(again - encoder.encode(texts[:1])).max() < 1e-6

for folder, loaded in ((encoder_folder, SentenceTransformer), (scorer_folder, CrossEncoder)):
    os.chdir(folder)
    code = re.findall(r"```python\\n(.*?)```", Path("README.md").read_text(), re.DOTALL)[-1]
    assert loaded.__name__ in code
    exec(code.replace("video.mp4", videos[0]), {})
print(json.dumps({"cosines": cosines, "odds": odds, "ranked": ranked}))
"""


@pytest.mark.slow
def test_sentence_transformers_gives_the_scores_of_retrieval(found, pairs, tmp_path):
    pytest.importorskip("sentence_transformers", reason="the extra sentence-transformers is not installed")
    (encoder, _, of_vectors, _), (scorer, _, of_pairs, _) = found["SentenceTransformer"], found["CrossEncoder"]
    printed = run_without_package(USE, tmp_path / "process", pairs, encoder, scorer, tmp_path / "copy")
    used = json.loads(printed.splitlines()[-1])
    assert SCALE * np.array(used["cosines"]) == pytest.approx(of_vectors, abs=1e-4)
    assert np.array(used["cosines"]) == pytest.approx(of_vectors / SCALE, abs=1e-5)
    assert np.array(used["odds"]) == pytest.approx(of_pairs, abs=1e-5)
    assert [answer["corpus_id"] for answer in used["ranked"]] == np.argsort(-of_pairs[0]).tolist()


UNTRUSTED = """
import sentence_transformers

for name, folder in zip(sys.argv[1::2], sys.argv[2::2]):
    try:
        getattr(sentence_transformers, name)(folder, device="cpu")
    except ValueError as error:
        print(error)
"""


@pytest.mark.slow
def test_without_trust_no_code_of_a_folder_runs(found, tmp_path):
    pytest.importorskip("sentence_transformers", reason="the extra sentence-transformers is not installed")
    arguments = []
    for name, (folder, *_) in found.items():
        copy = shutil.copytree(folder, tmp_path / name)
        with open(copy / "sentence_modules.py", "a") as file:
            file.write(f"\nopen({str(tmp_path / 'marker')!r}, 'w').close()\n")
        arguments += [name, copy]
    printed = run_without_package(UNTRUSTED, tmp_path / "process", *arguments)
    assert printed.count("trust_remote_code=True") >= len(found) and not (tmp_path / "marker").exists()


MEASURE = """
import json
from pathlib import Path
from types import SimpleNamespace

import mteb
import numpy as np
import torch
from datasets import Dataset
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models import CrossEncoderWrapper, SentenceTransformerEncoderWrapper
from transformers.dynamic_module_utils import get_class_from_dynamic_module

pairs, folder, name, predictions = json.loads(Path(sys.argv[1]).read_text()), *sys.argv[2:]
decode_video = get_class_from_dynamic_module("decoding.decode_video", folder)


class Decoder:  # what MTEB asks of torchcodec, which needs an FFmpeg of the system
    def __init__(self, path):
        self.path = path
        self.metadata = SimpleNamespace(num_frames=None)
        decode_video(path, self.look)

    def look(self, metadata):
        self.metadata.num_frames = metadata.total_num_frames
        return np.arange(1)

    def get_frames_at(self, indices):
        frames = decode_video(self.path, lambda metadata: np.asarray(indices)).frames
        return SimpleNamespace(data=torch.from_numpy(frames).permute(0, 3, 1, 2))


class GeneratedT2V(AbsTaskRetrieval):
    metadata = TaskMetadata(
        name="GeneratedT2V", description="Generated videos.", type="Any2AnyRetrieval", category="t2v",
        dataset={"path": "nobody/nothing", "revision": "0"}, modalities=["text", "video"], eval_langs=["eng-Latn"],
        eval_splits=["test"], main_score="ndcg_at_10", reference=None, date=None, domains=None, task_subtypes=None,
        license=None, annotations_creators=None, dialect=None, sample_creation=None, bibtex_citation="",
    )

    def load_data(self, num_proc=None, **kwargs):
        texts, videos = ([str(number) for number in range(len(pairs[kind]))] for kind in ("texts", "videos"))
        corpus = Dataset.from_dict({"id": videos, "video": pairs["videos"]}).with_transform(
            lambda rows: {"video": list(map(Decoder, rows["video"]))}, columns=["video"], output_all_columns=True
        )
        self.dataset = {"default": {"test": RetrievalSplitData(
            queries=Dataset.from_dict({"id": texts, "text": pairs["texts"]}),
            corpus=corpus,
            relevant_docs={text: {str(owner): 1} for text, owner in zip(texts, pairs["owners"])},
            top_ranked={text: videos for text in texts} if name == "CrossEncoder" else None,
        )}}
        self.data_loaded = True


wrapper = CrossEncoderWrapper if name == "CrossEncoder" else SentenceTransformerEncoderWrapper
model = wrapper(folder, trust_remote_code=True, device="cpu")
modalities = list(json.loads(Path(folder, "sentence_bert_config.json").read_text())["modality_config"])
model.mteb_model_meta = model.mteb_model_meta.model_copy(update={"revision": "0", "modalities": modalities})
results = mteb.evaluate(model, GeneratedT2V(), cache=None, co2_tracker=False, prediction_folder=predictions)
scores = results.task_results[0].scores["test"][0]
file = next(Path(predictions).rglob("*GeneratedT2V*.json"))
print(json.dumps({"scores": scores, "predictions": json.loads(file.read_text())["default"]["test"]}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SentenceTransformer", "CrossEncoder"])
def test_mteb_measures_what_retrieval_does(name, found, pairs, tmp_path):
    pytest.importorskip("sentence_transformers", reason="the extra sentence-transformers is not installed")
    pytest.importorskip("mteb", reason="mteb is not installed")
    folder, metrics, odds, _ = found[name]
    printed = run_without_package(MEASURE, tmp_path / "process", pairs, folder, name, tmp_path / "predictions")
    measured = json.loads(printed.splitlines()[-1])
    for k in (1, 5, 10):
        assert measured["scores"][f"recall_at_{k}"] == pytest.approx(metrics[f"text_to_video_R@{k}"], abs=1e-5)
    owners = json.loads(pairs.read_text())["owners"]
    ranks = 1 + (odds > odds[np.arange(len(odds)), owners][:, None]).sum(axis=1)
    assert ranks.mean() == pytest.approx(metrics["text_to_video_mean_rank"]) and len(set(ranks)) > 2
    ndcg = np.where(ranks <= 10, 1 / np.log2(1 + ranks), 0).mean()
    assert measured["scores"]["ndcg_at_10"] == pytest.approx(ndcg, abs=1e-5)
    table = [[row[str(video)] for video in range(odds.shape[1])] for _, row in sorted(measured["predictions"].items())]
    scale = SCALE if name == "SentenceTransformer" else 1
    assert np.array(table) == pytest.approx(odds / scale, abs=1e-5)
