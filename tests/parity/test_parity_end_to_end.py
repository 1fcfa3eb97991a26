# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
From video files and annotation files to scores, predictions and metrics, as the official loaders and evaluation loops
gave them with small random models. Everything goes through what a user has: converted folders and the Auto classes.
"""

import json

import numpy as np
import pytest
import torch
from official_records import load_head
from safetensors.torch import load_file
from transformers import (
    AutoModelForMultipleChoice,
    AutoModelForSequenceClassification,
    AutoModelForVisualQuestionAnswering,
    AutoProcessor,
)

from clipbert.metrics.retrieval import compute_retrieval_metrics
from clipbert.modeling_clipbert.convert_clipbert_checkpoint import convert_clipbert_checkpoint


AUTO_CLASS_OF_HEAD = {
    "retrieval_ce": AutoModelForSequenceClassification,
    "sequence_classification": AutoModelForVisualQuestionAnswering,
    "multiple_choice": AutoModelForMultipleChoice,
}
SCORE_TOLERANCE = 1e-5  # between decoder versions


@pytest.fixture(scope="module")
def expected(parity_dir):
    return json.loads((parity_dir / "end_to_end" / "expected.json").read_text())


@pytest.fixture(scope="module")
def load_converted(parity_dir, expected, tmp_path_factory):
    """Convert the model of a head once, and load the folder with the Auto classes."""
    folder, common = tmp_path_factory.mktemp("converted"), expected["common"]

    def load(name, score_pooling):
        if not (folder / name).exists():
            head = load_head(parity_dir, name)
            convert_clipbert_checkpoint(
                head.folder / "state_dict.safetensors",
                head.model_config,
                head.task,
                parity_dir / "text" / "vocab.txt",
                folder / name,
                max_img_size=common["max_img_size"],
                max_txt_len=common["max_txt_len"],
                fps=common["fps"],
                num_frames=common["num_frm"],
            )
        model = AUTO_CLASS_OF_HEAD[name].from_pretrained(folder / name, score_pooling=score_pooling)
        return model, AutoProcessor.from_pretrained(folder / name)

    return load


@pytest.fixture(scope="module")
def annotations(parity_dir):
    def read(name):
        lines = (parity_dir / "end_to_end" / f"{name}.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    return read


@pytest.fixture(scope="module")
def video_path(parity_dir):
    paths = {path.stem: str(path) for path in (parity_dir / "sampling" / "videos").iterdir()}
    return paths.__getitem__


def clips_of(num_clips):
    """One clip is what the converted processor does by itself; several are spread over the video."""
    return {} if num_clips == 1 else {"num_clips": num_clips, "sampling": "uniform"}


@torch.no_grad()
def rank_videos(model, processor, videos, captions, num_clips):
    """Scores (videos, captions): each video is encoded once."""
    visual_embeds = model.encode_videos(processor(videos=videos, **clips_of(num_clips))["pixel_values"])
    texts = processor(text=captions)
    rows = []
    for video in visual_embeds:
        logits = model(
            **texts, visual_embeds=video[None], video_indices=torch.zeros(len(captions), dtype=torch.long)
        ).logits
        rows.append(model.match_scores(logits))
    return torch.stack(rows)


@pytest.mark.parity
@pytest.mark.parametrize("case", range(4))
def test_retrieval(expected, load_converted, annotations, video_path, case):
    record = expected["retrieval"][case]
    rows = annotations("retrieval")
    model, processor = load_converted("retrieval_ce", record["score_agg_func"])
    videos = [row["clip_name"] for row in rows]
    scores = rank_videos(
        model, processor, list(map(video_path, videos)), [row["caption"] for row in rows], record["inference_n_clips"]
    ).numpy()
    np.testing.assert_allclose(scores, record["scores_unrounded"], rtol=0, atol=SCORE_TOLERANCE)
    official = {(result["vid_id"], result["txt_id"]): result["score"] for result in record["results"]}
    assert len(official) == scores.size
    for (video, text), score in official.items():
        assert scores[videos.index(video), text] == pytest.approx(score, abs=5e-5 + SCORE_TOLERANCE)

    metrics = compute_retrieval_metrics(scores.T, round_decimals=4, video_to_text="last")
    for direction, prefix in (("text2video", "text_to_video"), ("video2text", "video_to_text")):
        theirs = record["metrics"][direction]
        for k in (1, 5, 10):
            assert 100 * metrics[f"{prefix}_R@{k}"] == pytest.approx(theirs[f"r{k}"])
        assert metrics[f"{prefix}_median_rank"] == theirs["medianR"]
        assert metrics[f"{prefix}_mean_rank"] == pytest.approx(theirs["meanR"])


def accuracy(predictions, answers):
    return 100 * float(
        np.mean([prediction == answer for prediction, answer in zip(predictions, answers, strict=True)])
    )


@pytest.mark.parity
@pytest.mark.parametrize("case", range(3))
def test_open_ended_questions(parity_dir, expected, load_converted, annotations, video_path, case):
    record = expected["msrvtt_qa"][case]
    rows = annotations("msrvtt_qa")
    ans2label = json.loads((parity_dir / "end_to_end" / "ans2label.json").read_text())
    model, processor = load_converted("sequence_classification", record["score_agg_func"])
    inputs = processor(
        text=[row["question"] for row in rows],
        videos=[video_path(row["video_id"]) for row in rows],
        **clips_of(record["inference_n_clips"]),
    )
    with torch.no_grad():
        predictions = model(**inputs).logits.argmax(dim=-1).tolist()
    assert predictions == [record["predictions"][str(row)] for row in range(len(rows))]
    answers = [ans2label[row["answer"]] for row in rows]
    assert accuracy(predictions, answers) == pytest.approx(record["scores"]["overall_acc"], abs=5e-3)
    for kind in ("what", "who", "how", "where"):
        chosen = [index for index, row in enumerate(rows) if row["answer_type"] == kind]
        ours = accuracy([predictions[index] for index in chosen], [answers[index] for index in chosen])
        assert ours == pytest.approx(record["scores"][f"{kind}_acc"], abs=5e-3)


@pytest.mark.parity
@pytest.mark.parametrize("case", range(2))
def test_multiple_choice_questions(expected, load_converted, annotations, video_path, case):
    record = expected["tgif_action"][case]
    rows = annotations("tgif_action")
    model, processor = load_converted("multiple_choice", record["score_agg_func"])
    inputs = processor(
        text=[row["question"] for row in rows],
        options=[row["options"] for row in rows],
        videos=[video_path(row["gif_name"]) for row in rows],
        **clips_of(record["inference_n_clips"]),
    )
    with torch.no_grad():
        predictions = model(**inputs).logits.argmax(dim=-1).tolist()
    assert predictions == [record["predictions"][str(row)] for row in range(len(rows))]
    answers = [row["answer"] for row in rows]
    assert accuracy(predictions, answers) == pytest.approx(record["scores"]["overall_acc"], abs=5e-3)


@pytest.mark.parity
@pytest.mark.parametrize("case", range(2))
def test_captions_as_choices(expected, load_converted, annotations, video_path, case):
    """The MSR-VTT multiple choice test: a retrieval model picks the caption."""
    record = expected["msrvtt_mc"][case]
    rows = annotations("msrvtt_mc")
    model, processor = load_converted("retrieval_ce", record["score_agg_func"])
    inputs = processor(
        text=[row["options"] for row in rows],
        videos=[video_path(row["clip_name"]) for row in rows],
        **clips_of(record["inference_n_clips"]),
    )
    with torch.no_grad():
        scores = model.match_scores(model(**inputs).logits).view(len(rows), -1)
    predictions = scores.argmax(dim=-1).tolist()
    assert predictions == [record["predictions"][str(row["qid"])] for row in rows]
    answers = [row["answer"] for row in rows]
    assert accuracy(predictions, answers) == pytest.approx(float(record["scores"]["mc_accuracy"]), abs=5e-3)


@pytest.mark.parity
def test_pixels_of_the_first_video(parity_dir, load_converted, annotations, video_path):
    recorded = load_file(parity_dir / "end_to_end" / "first_video.safetensors")["first_video_pixels_uint8_rounded"]
    _, processor = load_converted("retrieval_ce", "lse")
    video = video_path(annotations("retrieval")[0]["clip_name"])
    pixel_values = processor(videos=[video], **clips_of(3))["pixel_values"][0].flatten(0, 1)  # clip by clip
    pixels = pixel_values + torch.tensor(processor.video_processor.image_mean)[:, None, None]
    assert pixels.shape == recorded.shape
    assert (pixels - recorded).abs().max() < 0.5 + 1e-3  # recorded after rounding
