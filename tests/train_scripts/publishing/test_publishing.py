# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Published checkpoints work where this package is not installed, and say what they are."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx2
import huggingface_hub
import numpy as np
import pytest
import torch
import yaml
from clean_process import run_without_package
from fakehub import FakeHub
from huggingface_hub import ModelCard, parse_eval_result_entries
from tiny_models import MODELS, VOCAB_SIZE, tiny_model
from transformers import AutoProcessor, BertConfig, BertModel, BertTokenizer

import clipbert.modeling_clipbert as modeling_clipbert
import clipbert.processing as processing
from clipbert.modeling_clipbert import (
    ClipBERTForMultipleChoice,
    ClipBERTForRegression,
    ClipBERTForVideoQA,
    ClipBERTForVideoTextRetrieval,
    ClipBERTModel,
)
from clipbert.processing import ClipBERTVideoProcessor, VideoTextProcessor
from clipbert.support import hub
from clipbert.support.hub import push_folder
from clipbert.train_scripts import publish
from clipbert.train_scripts.publishing import (
    ModelCardInfo,
    Scores,
    check_repository,
    load_checkpoint,
    publish_run,
    read_card,
    save_for_hub,
)
from clipbert.train_scripts.publishing.neighbours import FILES
from clipbert.train_scripts.publishing.runs import languages_of, trace_origins


REPOSITORY = Path(__file__).parents[3]
AUTO_MAP = {
    "AutoConfig": "configuration_clipbert.ClipBERTConfig",
    "AutoModel": "modeling_clipbert.ClipBERTModel",
    "AutoModelForPreTraining": "modeling_clipbert.ClipBERTForPreTraining",
    "AutoModelForVisualQuestionAnswering": "modeling_clipbert.ClipBERTForVideoQA",
    "AutoModelForMultipleChoice": "modeling_clipbert.ClipBERTForMultipleChoice",
    "AutoModelForSequenceClassification": "modeling_clipbert.ClipBERTForVideoTextRetrieval",
}
ANSWERS = {0: "running", 1: "cooking", 2: "eating", 3: "jumping", 4: "nothing"}
ALL_MODELS = pytest.mark.parametrize("model_class", MODELS, ids=lambda model_class: model_class.__name__)


def make_model(model_class):
    model = tiny_model(model_class)
    if model_class is ClipBERTForVideoQA:
        model.config.id2label = ANSWERS
    return model


def make_processor():
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "a",
        "dog",
        "run",
        "runs",
        "man",
        "is",
        "cooking",
        "what",
        "doing",
        "?",
        "does",
        "the",
        "do",
        "sleep",
        "eat",
        "how",
    ]
    words += [f"word{index}" for index in range(VOCAB_SIZE - len(words))]
    tokenizer = BertTokenizer(vocab={word: index for index, word in enumerate(words)})
    return VideoTextProcessor(ClipBERTVideoProcessor(size=64, num_clips=2, num_frames=2), tokenizer, max_length=20)


def make_inputs(model_class, processor):
    videos = np.random.default_rng(0).integers(0, 256, (1, 20, 48, 64, 3), dtype=np.uint8)
    if model_class is ClipBERTForMultipleChoice:
        return processor(text=["what does the dog do?"], options=[["run", "sleep", "eat"]], videos=videos)
    return processor(text=[["a dog runs", "a man is cooking"]], videos=videos)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Every model, published: folders by class name, and what they should answer."""
    root = tmp_path_factory.mktemp("published")
    processor = make_processor()
    for model_class in MODELS:
        model = make_model(model_class)
        save_for_hub(model, processor, root / model_class.__name__)
        inputs = make_inputs(model_class, processor)
        with torch.no_grad():
            outputs = model(**inputs)
        torch.save({"inputs": dict(inputs), "outputs": outputs.to_tuple()}, root / f"{model_class.__name__}.pt")
    return root


# ----------------------------------------------------------------------------------------------------------------------
# The folder
# ----------------------------------------------------------------------------------------------------------------------


@ALL_MODELS
def test_folder_holds_weights_settings_code_and_card(model_class, published):
    folder = published / model_class.__name__
    files = {file.name for file in folder.iterdir()}
    code = {name for name in files if name.endswith(".py")}
    settings = {"config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json"}
    card = (folder / "README.md").read_text()
    assert ("- sentence-transformers" in card) == (model_class is ClipBERTForVideoTextRetrieval)
    assert ("model = CrossEncoder(name, trust_remote_code=True)" in card) == (
        model_class is ClipBERTForVideoTextRetrieval
    )
    of_neighbours = set(FILES) if model_class is ClipBERTForVideoTextRetrieval else set()
    assert files - code == {"README.md", "model.safetensors", *settings, *of_neighbours}
    assert {"configuration_clipbert.py", "modeling_clipbert.py"} < code
    assert {"processing_video_text.py", "video_processing_clipbert.py", "sampling.py", "decoding.py"} < code
    for name in code:  # an exact copy, and nothing that is not needed
        (source,) = (
            REPOSITORY / package / name
            for package in ("modeling_clipbert", "processing", "clipbert/pipelines")
            if (REPOSITORY / package / name).exists()
        )
        copied, home = (file.read_text().splitlines() for file in (folder / name, source))
        if source.parent.name == "pipelines":  # what they take of `processing` lies beside them there
            copied, home = ([line for line in lines if not line.startswith("from ")] for lines in (copied, home))
        assert copied == home
    assert not {name for name in code if name.startswith(("__", "convert", "version"))}


@ALL_MODELS
def test_table_names_all_heads_whichever_was_saved(model_class, published):
    folder = published / model_class.__name__
    expected = dict(AUTO_MAP)
    if model_class is ClipBERTForRegression:  # shares its Auto class with retrieval: the saved one is meant
        expected["AutoModelForSequenceClassification"] = "modeling_clipbert.ClipBERTForRegression"
    if model_class in (ClipBERTForMultipleChoice, ClipBERTForRegression):  # they answer questions, too
        expected["AutoModelForVisualQuestionAnswering"] = f"modeling_clipbert.{model_class.__name__}"
    assert json.loads((folder / "config.json").read_text())["auto_map"] == expected
    settings = json.loads((folder / "processor_config.json").read_text())
    assert settings["auto_map"] == {"AutoProcessor": "processing_video_text.VideoTextProcessor"}
    video_class = "video_processing_clipbert.ClipBERTVideoProcessor"
    assert settings["video_processor"]["auto_map"] == {"AutoVideoProcessor": video_class}


def test_nothing_local_is_published(published):
    for file in published.glob("*/*"):
        if file.suffix not in (".safetensors", ".py"):
            text = file.read_text()
            assert str(published) not in text and str(REPOSITORY) not in text, file


LOAD_ALL = """
import json
from pathlib import Path

import torch
import transformers
from transformers import AutoConfig, AutoModel, AutoModelForVisualQuestionAnswering, AutoProcessor, AutoVideoProcessor

root = Path(sys.argv[1])
for folder in sorted(path for path in root.iterdir() if path.is_dir()):
    record = torch.load(root / f"{folder.name}.pt", weights_only=True)
    table = json.loads((folder / "config.json").read_text())["auto_map"]
    for auto_class in [name for name, path in table.items() if path.endswith("." + folder.name)]:
        model = getattr(transformers, auto_class).from_pretrained(folder, trust_remote_code=True)
        assert type(model).__name__ == folder.name
    assert type(model).__name__ == folder.name and type(model).__module__.startswith("transformers_modules.")
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, parameter in type(model)(model.config).named_parameters() if parameter.requires_grad}
    assert trained < {name for name, _ in model.named_parameters()}
    with torch.no_grad():
        outputs = model(**record["inputs"]).to_tuple()
    assert len(outputs) == len(record["outputs"])
    for got, expected in zip(outputs, record["outputs"]):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)  # memory lies elsewhere: the last bit may differ
    assert type(AutoModel.from_pretrained(folder, trust_remote_code=True)).__name__ == "ClipBERTModel"
    assert type(AutoConfig.from_pretrained(folder, trust_remote_code=True)).__name__ == "ClipBERTConfig"

# heads that were not saved, another setting, another save
other = AutoModelForVisualQuestionAnswering.from_pretrained(
    root / "ClipBERTForPreTraining", num_labels=4, score_pooling="lse", trust_remote_code=True
)
assert type(other).__name__ == "ClipBERTForVideoQA" and other.config.score_pooling == "lse"
other.save_pretrained("again")
assert Path("again", "modeling_clipbert.py").exists()

processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
assert type(processor).__name__ == "VideoTextProcessor" and processor.max_length == 20
video_processor = AutoVideoProcessor.from_pretrained(folder, trust_remote_code=True)
assert type(video_processor).__name__ == "ClipBERTVideoProcessor"
assert video_processor.to_dict() == processor.video_processor.to_dict()
generator = __import__("numpy").random.default_rng(0)
videos = generator.integers(0, 256, (1, 20, 48, 64, 3), dtype="uint8")
batch = processor(text=[["a dog runs", "a man is cooking"]], videos=videos)
for name, tensor in torch.load(root / "ClipBERTForVideoQA.pt", weights_only=True)["inputs"].items():
    torch.testing.assert_close(batch[name], tensor, rtol=0, atol=0)
print("done")
"""


@pytest.mark.slow
def test_everything_loads_and_agrees_where_the_package_is_not_installed(published, tmp_path):
    assert run_without_package(LOAD_ALL, tmp_path, published).endswith("done\n")


def test_publishing_leaves_model_processor_and_classes_as_they_were(tmp_path):
    model, processor = make_model(ClipBERTForVideoQA), make_processor()
    model.save_pretrained(tmp_path / "before")
    processor.save_pretrained(tmp_path / "before")
    save_for_hub(model, processor, tmp_path / "published")
    model.save_pretrained(tmp_path / "after")
    processor.save_pretrained(tmp_path / "after")
    before, after = (
        {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("before", "after")
    )
    assert before == after
    classes = [getattr(modeling_clipbert, name) for name in modeling_clipbert.__all__]
    classes += [getattr(processing, name) for name in processing.__all__]
    assert not [cls for cls in classes if getattr(cls, "_auto_class", None) is not None]
    assert not hasattr(model.config, "auto_map")


def test_publishing_twice_into_a_folder_gives_the_same(tmp_path):
    model, processor = make_model(ClipBERTForVideoQA), make_processor()
    folder = save_for_hub(model, processor, tmp_path / "published")
    first = {file.name: file.read_bytes() for file in folder.iterdir()}
    save_for_hub(model, processor, folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == first


def test_models_no_auto_class_knows_are_refused(tmp_path):
    class Unknown(ClipBERTModel):
        pass

    with pytest.raises(ValueError, match="No Auto class knows Unknown with a ClipBERTConfig"):
        save_for_hub(Unknown(tiny_model(ClipBERTModel).config), make_processor(), tmp_path)
    bert = BertModel(BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8))
    with pytest.raises(ValueError, match="No model card for BertModel of the family 'bert'.*clipbert"):
        save_for_hub(bert, make_processor(), tmp_path)
    assert not list(tmp_path.iterdir())


# ----------------------------------------------------------------------------------------------------------------------
# The card
# ----------------------------------------------------------------------------------------------------------------------

RECIPE = """
data: {dataset: msrvtt, data_dir: /home/somebody/videos/msrvtt, num_clips: 1}
model: {parts: {vision: microsoft/resnet-50, text: ~/models/bert}}
run: {output_dir: outputs/run, skip: [/secret/place/list.txt]}
"""


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    info = ModelCardInfo(
        title="Finds videos of dogs",
        description="A small model for a test.",
        training_data=["MSR-VTT, training 7k"],
        dataset_ids=["user/msrvtt"],
        base_models=["microsoft/resnet-50", "google-bert/bert-base-uncased"],
        scores=[
            Scores(
                dataset="MSR-VTT",
                split="test 1kA",
                metrics={"text_to_video_R@1": 0.2205, "text_to_video_median_rank": 6.0, "num_texts": 1000},
                note="16 clips",
            ),
            {
                "dataset": "My Videos",
                "dataset_id": "user/videos",
                "task_ids": {"accuracy": "questions"},
                "metrics": {
                    **{"accuracy": 0.5, "blind_accuracy": 0.25, "chance_accuracy": 0.2, "accuracy_how": 0.4},
                    **{"accuracy_std": 0.01, "vqa_score": 0.125, "mlm_majority_accuracy": 0.1, "answer_coverage": 0.9},
                    **{"mean_squared_error": 2.5, "web_num_examples": 80},
                },
            },
        ],
        recipe=RECIPE,
        license="apache-2.0",
        language="en",
    )
    model = tiny_model(ClipBERTForVideoTextRetrieval, score_pooling="lse")
    folder = save_for_hub(model, make_processor(), tmp_path_factory.mktemp("card"), info, repo_id="user/dogs")
    return ModelCard.load(folder / "README.md")


def test_metadata_is_what_the_hub_reads(card):
    data = card.data.to_dict()
    assert (data["license"], data["library_name"], data["language"]) == ("apache-2.0", "transformers", "en")
    assert data["base_model"] == ["microsoft/resnet-50", "google-bert/bert-base-uncased"]
    assert data["datasets"] == ["user/msrvtt"]
    assert data["tags"] == ["video", "clipbert", "video-text-retrieval", "sentence-transformers"]
    assert card.data.model_name == "user/dogs"
    results = {(item.dataset_type, item.dataset_split, item.metric_type): item for item in card.data.eval_results}
    assert set(results) == {
        ("msr-vtt", "test 1kA", "text_to_video_R@1"),
        ("msr-vtt", "test 1kA", "text_to_video_median_rank"),
        ("user/videos", "test", "accuracy"),
        ("user/videos", "test", "accuracy_how"),
        ("user/videos", "test", "vqa_score"),
        ("user/videos", "test", "mean_squared_error"),
    }  # no counts, baselines and spreads
    best = results[("msr-vtt", "test 1kA", "text_to_video_R@1")]
    assert (best.metric_value, best.dataset_name, best.task_type) == (0.2205, "MSR-VTT", "video-text-retrieval")


def test_text_says_what_the_model_is(card):
    for part in (
        "# Finds videos of dogs",
        "A small model for a test.",
        "not based on CLIP",
        'name = "user/dogs"',
        "AutoModelForSequenceClassification.from_pretrained(name, trust_remote_code=True)",
        "| clips of a video | `num_clips=2` |",
        "| size of a frame in pixels | `size={'longest_edge': 64}` |",
        "| pooling of the scores of clips | `score_pooling='lse'` |",
        "| MSR-VTT | test 1kA | text_to_video_R@1 | 22.1 % |",
        "| MSR-VTT | test 1kA | text_to_video_median_rank | 6 |",
        "To compare with (MSR-VTT, test 1kA): num_texts 1,000.",
        "| My Videos | test | accuracy | 50.0 % |",
        "| My Videos | test | accuracy_how | 40.0 % |",
        "| My Videos | test | vqa_score | 12.5 % |",
        "| My Videos | test | mean_squared_error | 2.5 |",
        "To compare with (My Videos, test): blind_accuracy 25.0 %; chance_accuracy 20.0 %; accuracy_std 1.0 %; "
        "mlm_majority_accuracy 10.0 %; answer_coverage 90.0 %; web_num_examples 80.",
        "MSR-VTT, test 1kA: 16 clips",
        "Data: MSR-VTT, training 7k.",
        "[microsoft/resnet-50](https://huggingface.co/microsoft/resnet-50)",
        "Weights: apache-2.0.",
        "@inproceedings{lei2021less",
    ):
        assert part in card.text, part


def test_citation_can_be_read(card):
    lines = re.search(r"```bibtex\n(.*?)```", card.text, re.DOTALL)[1].splitlines()
    fields = [line.split("=")[0].strip() for line in lines if "=" in line]
    assert fields == ["title", "author", "booktitle", "year"]
    assert all(line.endswith(("},", "and", "}", "2021,")) for line in lines[1:])


def test_scores_of_a_benchmark_are_written_for_its_leaderboard(tmp_path):
    model, processor = make_model(ClipBERTForVideoQA), make_processor()
    scores = {"dataset": "Mine", "dataset_id": "user/mine", "metrics": {"accuracy": 0.5}}
    listed = {**scores, "task_ids": {"accuracy": "default"}, "note": "16 clips"}
    file = save_for_hub(model, processor, tmp_path, {"scores": [scores, listed]}) / ".eval_results" / "scores.yaml"
    (entry,) = parse_eval_result_entries(yaml.safe_load(file.read_text()))
    assert (entry.dataset_id, entry.task_id, entry.value) == ("user/mine", "default", 0.5)
    assert entry.notes == "16 clips"
    save_for_hub(model, processor, tmp_path, {"scores": [scores]})
    assert not file.exists()


def test_recipe_is_printed_without_local_paths(card):
    printed = yaml.safe_load(re.search(r"```yaml\n(.*?)```", card.text, re.DOTALL)[1])
    assert printed == {
        "data": {"dataset": "msrvtt", "data_dir": "msrvtt", "num_clips": 1},
        "model": {"parts": {"vision": "microsoft/resnet-50", "text": "bert"}},
        "run": {"output_dir": "outputs/run", "skip": ["list.txt"]},
    }
    assert "somebody" not in card.content and "secret" not in card.content


def test_a_card_without_information_says_so(published):
    card = ModelCard.load(published / "ClipBERTForVideoQA" / "README.md")
    assert card.data.license is None and card.data.eval_results is None
    assert card.data.pipeline_tag == "visual-question-answering"
    for part in ("has not stated their licence", "None were given.", "Nothing was said about it.", 'name = "."'):
        assert part in card.text


RUN_CARDS = """
import contextlib, io, json, multiprocessing, os, re
from pathlib import Path

import torch
import transformers

def run_card(folder, printed):  # in a process of its own: "." is another repository in each
    os.chdir(folder)
    code, *_ = re.findall(r"```python\\n(.*?)```", Path("README.md").read_text(), re.DOTALL)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(code, {})
    printed.put((folder.name, output.getvalue().strip()))

fork, results = multiprocessing.get_context("fork"), {}
for folder in sorted(path for path in Path(sys.argv[1]).iterdir() if path.is_dir()):
    process = fork.Process(target=run_card, args=(folder, printed := fork.Queue()))
    process.start()
    process.join()
    assert process.exitcode == 0, folder
    results.update([printed.get()])
print(json.dumps(results))
"""


@pytest.mark.slow
def test_the_code_of_the_cards_runs_as_printed(published, write_video, tmp_path):
    for model_class in MODELS:
        write_video(published / model_class.__name__ / "video.mp4", num_frames=20)
    try:
        printed = json.loads(run_without_package(RUN_CARDS, tmp_path, published).splitlines()[-1])
    finally:
        for model_class in MODELS:
            (published / model_class.__name__ / "video.mp4").unlink()
    assert set(printed) == {model_class.__name__ for model_class in MODELS}
    matches = json.loads(re.fullmatch(r"tensor\((.*)\)", printed["ClipBERTForVideoTextRetrieval"])[1])
    assert len(matches) == 2 and all(0 < match < 1 for match in matches)
    assert printed["ClipBERTForVideoQA"] in ANSWERS.values()
    assert printed["ClipBERTForMultipleChoice"] in ("run", "sleep", "eat")
    assert np.isfinite(float(printed["ClipBERTForRegression"]))
    assert printed["ClipBERTForPreTraining"]
    assert printed["ClipBERTModel"] == "torch.Size([1, 2, 32])"


@pytest.mark.parametrize(
    "values, words",
    [
        ({"licence": "mit"}, "ModelCardInfo has no key 'licence'.*Did you mean 'license'"),
        ({"scores": [{"dataset": "x", "metric": {}}]}, "Scores has no key 'metric'.*Did you mean 'metrics'"),
        ({"scores": [{"dataset": "x", "metrics": {"accuracy": "high"}}]}, "metrics must be numbers.*high"),
        ({"scores": [{"dataset": "x", "metrics": {}}]}, "metrics must be numbers"),
        (
            {"scores": [{"dataset": "x", "metrics": {"accuracy": 0.5}, "task_ids": {"accuracy": "default"}}]},
            "task_ids name the tasks of dataset_id by metrics; got dataset_id=None",
        ),
        (
            {"scores": [{"dataset": "x", "dataset_id": "u/x", "metrics": {"a": 0.5}, "task_ids": {"b": "default"}}]},
            r"task_ids .* got dataset_id='u/x' and \['b'\], with the metrics a",
        ),
        (
            {"base_models": ["/home/somebody/resnet"]},
            "name on the Hub such as 'user/name', got '/home/somebody/resnet'",
        ),
        ({"dataset_ids": ["MSR VTT"]}, "name on the Hub.*'MSR VTT'"),
        ({"license": "other"}, "license_name and license_link"),
        ({"license": "mit", "license_name": "Mine", "license_link": "LICENSE"}, "license='other'"),
    ],
)
def test_mistakes_in_a_card_are_named(values, words):
    with pytest.raises(ValueError, match=words):
        ModelCardInfo.from_dict(values)


# ----------------------------------------------------------------------------------------------------------------------
# The script
# ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint as a training run writes it, and the results of the run."""
    folder = tmp_path / "run" / "checkpoints" / "step_00000300"
    make_model(ClipBERTForRegression).save_pretrained(folder)
    make_processor().save_pretrained(folder)
    (folder / "recipe.yaml").write_text(RECIPE)
    (folder / "trainer").mkdir()
    (folder / "trainer" / "state.json").write_text(json.dumps({"step": 300}))
    row = {"step": 300, "split": "test", "purpose": "final", "metrics": {"text_to_video_R@1": 0.25, "num_texts": 40}}
    tuning = {"step": 200, "split": "validation", "purpose": "tuning", "metrics": {"text_to_video_R@1": 0.3}}
    (tmp_path / "run" / "results.json").write_text(json.dumps({"splits": {"validation": tuning, "test": row}}))
    return folder


def test_script_publishes_a_checkpoint(checkpoint, tmp_path, capsys):
    card = tmp_path / "card.yaml"
    card.write_text("title: Counts jumps\ntraining_data: [TGIF]\nlicense: mit\n")
    results = checkpoint.parents[1] / "results.json"
    folder = publish.main(
        f"--checkpoint {checkpoint} --output_dir {tmp_path / 'out'} --card {card} --results {results} "
        "--license apache-2.0 --base_models microsoft/resnet-50 google-bert/bert-base-uncased --endpoint_handler".split()
    )
    assert folder == tmp_path / "out" and "ClipBERTForRegression" in capsys.readouterr().out
    assert (folder / "model.safetensors").read_bytes() == (checkpoint / "model.safetensors").read_bytes()
    assert (folder / "handler.py").exists() and (folder / "requirements.txt").exists()
    assert not (folder / "trainer").exists()  # optimizer and state stay at home
    readme = ModelCard.load(folder / "README.md")
    assert readme.data.license == "apache-2.0"  # the command line is stronger than the file
    assert readme.data.base_model == ["microsoft/resnet-50", "google-bert/bert-base-uncased"]
    assert [item.metric_value for item in readme.data.eval_results] == [0.25]
    for part in ("# Counts jumps", "| msrvtt | test | text_to_video_R@1 | 25.0 % |", "dataset: msrvtt"):
        assert part in readme.text, part
    assert "validation" not in readme.text  # chosen on, so no result


def test_script_refuses_what_would_mislead(checkpoint, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(FileNotFoundError, match="no config.json"):
        publish.main(["--checkpoint", str(tmp_path), "--output_dir", str(out)])
    other = tmp_path / "results.json"
    with pytest.raises(FileNotFoundError, match="no config.json"):
        publish.main(["--checkpoint", str(tmp_path), "--output_dir", str(out), "--results", str(other)])
    with pytest.raises(FileNotFoundError, match="results.json is missing"):
        publish.main(["--checkpoint", str(checkpoint), "--output_dir", str(out), "--results", str(other)])
    row = {"step": 200, "split": "test", "purpose": "final", "metrics": {"accuracy": 0.5}}
    other.write_text(json.dumps({"splits": {"test": row}}))
    arguments = ["--checkpoint", str(checkpoint), "--output_dir", str(out)]
    with pytest.raises(ValueError, match="'test' were measured at step 200.*of step 300"):
        publish.main([*arguments, "--results", str(other)])
    other.write_text(json.dumps({"splits": {}}))
    with pytest.raises(ValueError, match="no scores of a final split"):
        publish.main([*arguments, "--results", str(other)])
    assert not out.exists()
    (checkpoint / "processor_config.json").unlink()
    with pytest.raises(FileNotFoundError, match="no processor_config.json"):
        publish.main(arguments)
    out.mkdir()
    (out / "private.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is not empty, and all of it would be published"):
        publish.main(arguments)


# ----------------------------------------------------------------------------------------------------------------------
# A run
# ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def uploads(monkeypatch):
    """Folders that would have been uploaded."""
    folders = []
    monkeypatch.setattr(hub, "push_folder", lambda folder, *rest, **more: folders.append(folder))
    return folders


def write_results(checkpoint, *rows):
    rows = [dict(zip(("split", "purpose", "step", "metrics"), row, strict=True)) for row in rows]
    (checkpoint.parents[1] / "results.json").write_text(json.dumps({"splits": {row["split"]: row for row in rows}}))


def test_without_a_final_split_the_best_checkpoint_and_what_chose_it_are_published(checkpoint, uploads):
    make_model(ClipBERTModel).save_pretrained(checkpoint.parent / "last")  # of another class: it would be noticed
    make_processor().save_pretrained(checkpoint.parent / "last")
    shutil.copy(checkpoint / "recipe.yaml", checkpoint.parent / "last")
    tuning = ("validation", "tuning", 300, {"accuracy": 0.3, "num_examples": 8})
    unscored = ("test", "final", 300, {"num_examples": 0, "num_skipped_videos": 0})  # answers are not published
    for rows in ([tuning], [tuning, unscored]):
        write_results(checkpoint, *rows)
        publish_run(checkpoint.parents[1], "user/jumps")
        folder = uploads.pop()
        assert (folder / "model.safetensors").read_bytes() == (checkpoint / "model.safetensors").read_bytes()
        card = ModelCard.load(folder / "README.md")
        assert "| msrvtt | validation (selected on) | accuracy | 30.0 % |" in card.text
        assert "The checkpoint was chosen for its score on this split" in card.text
        assert [item.dataset_split for item in card.data.eval_results] == ["validation (selected on)"]
    shutil.rmtree(checkpoint)  # by hand
    publish_run(checkpoint.parents[1], "user/jumps")
    card = ModelCard.load(uploads.pop() / "README.md")
    assert "AutoModel.from_pretrained" in card.text and "None were given." in card.text


def test_published_models_pool_clips_as_they_were_evaluated(tmp_path, caplog):
    evaluated = {"data": {"dataset": "msrvtt"}, "model": {}, "eval": {"score_pooling": "lse", "num_draws": 3}}
    for loss_type, pooling in (("ce", "lse"), ("bce", "mean")):
        checkpoint = tmp_path / loss_type / "checkpoints" / "step_00000004"
        tiny_model(ClipBERTForVideoQA, loss_type=loss_type, num_labels=2).save_pretrained(checkpoint)
        make_processor().save_pretrained(checkpoint)
        (checkpoint / "recipe.yaml").write_text(yaml.safe_dump(evaluated))
        (checkpoint / "trainer").mkdir()
        (checkpoint / "trainer/state.json").write_text('{"step": 4}')
        write_results(checkpoint, ("test", "final", 4, {"accuracy": 0.5}))
        model, _ = load_checkpoint(checkpoint)
        assert model.config.score_pooling == pooling
        assert ("published with score_pooling='mean' instead" in caplog.text) == (pooling == "mean")
        info = read_card(None, checkpoint, checkpoint.parents[1] / "results.json")
        assert info.scores[0].note == "Mean of 3 random draws of clips. Scores of clips were pooled by lse."
        assert info.training_data == ["msrvtt"]


def test_what_a_model_has_learnt_from_is_traced_through_its_checkpoints(tmp_path):
    earlier = tmp_path / "pretraining" / "checkpoints" / "best"
    earlier.mkdir(parents=True)
    mixture = [{"dataset": "coco_captions", "config": "karpathy"}, {"dataset": "visual_genome"}]
    starts = {"parts": {"vision": "microsoft/resnet-50", "text": "google-bert/bert-base-uncased"}}
    recipe = {"data": {"dataset": "", "train_split": "train", "datasets": mixture}, "model": starts}
    (earlier / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    model = {"from_pretrained": str(earlier), "parts": None}
    data, models = trace_origins({"data": {"dataset": "msrvtt", "config": "retrieval_1ka"}, "model": model})
    assert data == [
        "msrvtt (config retrieval_1ka)",
        "coco_captions (config karpathy, split train)",
        "visual_genome (split train)",
    ]
    assert models == ["microsoft/resnet-50", "google-bert/bert-base-uncased"]
    (tmp_path / "local").mkdir()
    for start, expected in ((tmp_path / "local", []), ("outputs/gone/best", []), ("user/model", ["user/model"])):
        model = {"from_pretrained": str(start)}
        assert trace_origins({"data": {"dataset": "msrvtt"}, "model": model}) == (["msrvtt"], expected)


def test_language_is_that_of_the_data():
    def languages(*parts):
        return languages_of({"data": {"dataset": "", "datasets": list(parts)}})

    assert languages_of({"data": {"dataset": "msrvtt"}}) == ["en"]
    assert languages_of({"data": {"dataset": "video_folder"}}) is None  # nobody knows
    assert languages_of({"data": {"dataset": "video_folder", "options": {"language": "vi"}}}) == ["vi"]
    chinese = {"dataset": "vatex", "options": {"language": "zh"}}
    assert languages({"dataset": "synthetic"}, chinese, {"dataset": "a_dataset_of_a_stranger"}) == ["en", "zh"]


def test_the_card_of_a_run_names_its_data_and_where_it_started(checkpoint, uploads):
    publish_run(checkpoint.parents[1], "user/jumps")
    card = ModelCard.load(uploads.pop() / "README.md")
    assert card.data.base_model == ["microsoft/resnet-50"]
    assert "Data: msrvtt." in card.text


def test_a_hub_out_of_reach_is_told_from_one_that_refuses(monkeypatch):
    def fail(*args, **kwargs):
        raise httpx2.ConnectError("Connection refused")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", fail)
    with pytest.raises(ConnectionError, match="cannot be reached: Connection refused .*push_to_hub.*publish.py"):
        check_repository("user/jumps")
    with pytest.raises(ConnectionError, match="cannot be reached: .*hf upload user/jumps out"):
        push_folder("out", "user/jumps")
    monkeypatch.undo()
    with pytest.raises(ValueError, match="does not let this user write there"):
        check_repository("user/jumps/of/dogs")


LOAD_FROM_HUB = """
import re
from huggingface_hub import ModelCard

card = ModelCard.load("user/jumps")
card.validate()
code, *_ = re.findall(r"```python\\n(.*?)```", card.text, re.DOTALL)
exec(code, names := {})
assert type(names["model"]).__name__ == "ClipBERTForRegression"
assert type(names["processor"]).__name__ == "VideoTextProcessor"
"""


@pytest.mark.slow
@pytest.mark.hub
def test_script_pushes_and_the_hub_gives_back_the_same(checkpoint, tmp_path, write_video):
    with FakeHub() as hub:
        run = subprocess.run(
            [sys.executable, "train_scripts/publish.py", "--checkpoint", str(checkpoint)]
            + ["--output_dir", str(tmp_path / "out"), "--push_to_hub", "user/jumps"],
            cwd=REPOSITORY,
            env={**os.environ, **hub.environment(tmp_path / "home")},
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, run.stderr
        assert f"{hub.url}/user/jumps/commit/" in run.stdout
        local = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir() if file.is_file()}
        assert hub.files("user/jumps") == local

        other_machine = tmp_path / "elsewhere"
        other_machine.mkdir()
        write_video(other_machine / "video.mp4", num_frames=20)
        printed = run_without_package(LOAD_FROM_HUB, other_machine, **hub.environment(tmp_path / "home2"))
    model, processor = make_model(ClipBERTForRegression), AutoProcessor.from_pretrained(tmp_path / "out")
    inputs = processor(text=["how many times does the man jump?"], videos=[str(other_machine / "video.mp4")])
    assert float(printed.splitlines()[-1]) == pytest.approx(model(**inputs).logits.item(), abs=1e-6)


def test_control_characters_of_data_do_not_reach_a_card(tmp_path):
    evil = "shapes\x1b]0;title\x07\n## Licence\u202e"
    info = ModelCardInfo(
        title=evil,
        description="two\nlines\x1b[2J",
        training_data=[evil],
        recipe=f"data: {{dataset: {json.dumps(evil)}}}",
        scores=[{"dataset": evil, "split": evil, "metrics": {"text_to_video_R@1": 0.5}, "note": evil}],
    )
    model = make_model(ClipBERTForVideoTextRetrieval)
    card = (save_for_hub(model, make_processor(), tmp_path / "out", info) / "README.md").read_text(encoding="utf-8")
    assert not {letter for letter in card if not letter.isprintable()} - {"\n"}
    assert "two\nlines" in card and card.count("\n## Licence\n") == 1
