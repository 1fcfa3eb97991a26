# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What a score rests on: attributions that add up, of every head, and deletions that check them."""

import json

import numpy as np
import pytest
import torch
from numbered_videos import write_numbered
from tiny_pipelines import CASES, make_pipeline

from clipbert.explanations import ExplanationError, describe, draw, explain, picture_of, subject_of
from clipbert.explanations.attribution import Deletion, cells_of, integrated_gradients, median_colour, sum_cells
from clipbert.explanations.subjects import Subject
from clipbert.pipelines.video_pipeline import ReadVideo


ASKED = {
    "retrieval": {"candidate_texts": ["a dog runs"]},
    "dual_encoder": {"candidate_texts": ["a dog runs"]},
    "open_answers": {"question": "the dog runs"},
    "choices": {"question": "the dog", "options": ["a dog", "a cat", "an"]},
    "counts": {"question": "the dog runs"},
    "classes": {},
    "named_classes": {},
    "moments": {"query": "a man opens the door"},
}


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_numbered(tmp_path_factory.mktemp("video") / "film.mp4", 12)


def linear_subject(weights, pixels, words=()):
    """A score that is a weighted sum of pixels, and of words by their length."""

    def score(variants, words, more):
        return (variants * weights).flatten(1).sum(1) + sum(map(len, words))

    return Subject(
        ReadVideo({"pixel_values": pixels}, [(0, 0.0, 1.0), (1, 2.0, 3.0)]), "label", "sum", list(words), score
    )


def test_gradients_of_a_bent_way_add_up_to_the_difference():
    generator = torch.Generator().manual_seed(0)
    end, start = torch.rand(2, 1, 3, 4, generator=generator, dtype=torch.float64)
    found = integrated_gradients(lambda x: (x.flatten(1) ** 3).sum(1), end[None], start[None], num_steps=400)
    assert found.sum().item() == pytest.approx(((end**3).sum() - (start**3).sum()).item(), rel=1e-5)
    assert torch.allclose(found[0], end**3 - start**3, atol=1e-5)
    few = integrated_gradients(lambda x: x.flatten(1).sum(1) * 2, end[None], start[None], num_steps=3, per_forward=2)
    assert torch.allclose(few[0], 2 * (end - start))


def test_the_baseline_is_the_median_colour_of_each_clip():
    pixels = torch.zeros(1, 2, 3, 3, 5, 5)
    pixels[0, 0, :, 0] = 7
    pixels[0, 0, 0, 0, :2] = 100  # an object in one frame
    pixels[0, 1, :, 2] = 4
    found = median_colour(pixels)
    assert found.shape == pixels.shape
    assert found[0, 0].amax((0, 2, 3)).tolist() == [7, 0, 0] == found[0, 0].amin((0, 2, 3)).tolist()
    assert found[0, 1, 1, :, 3, 3].tolist() == [0, 0, 4]


@pytest.mark.parametrize(("height", "width", "num_cells"), [(24, 36, 12), (25, 7, 12), (5, 5, 3)])
def test_cells_hold_every_pixel_once(height, width, num_cells):
    values = torch.rand(2, height, width, dtype=torch.float64)
    cells = sum_cells(values, num_cells)
    assert cells.shape == (2, min(num_cells, height), min(num_cells, width))
    assert torch.allclose(cells.sum((1, 2)), values.sum((1, 2)))
    (first, end), *_ = cells_of(height, num_cells)
    assert cells[0, 0, 0].item() == pytest.approx(
        values[0, first:end, slice(*cells_of(width, num_cells)[0])].sum().item()
    )


def test_what_counts_is_found_and_its_deletion_falls_faster():
    pixels = torch.rand(1, 2, 2, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    weights = torch.zeros_like(pixels)
    weights[0, 1, 0, :, 6:8, 10:12] = 5.0  # one cell of the third frame
    pixels[0, 1, 0, :, 6:8, 10:12] += 3
    found = explain(
        linear_subject(weights, pixels, ["a", "elephant", "is", "grey"]), lambda frames: frames.clamp(0, 1)
    )
    assert np.unravel_index(found.places.argmax(), found.places.shape) == (2, 3, 5)
    assert found.places.sum() == pytest.approx(found.score - found.baseline_score, rel=1e-4)
    assert found.word_scores.tolist() == [1, 8, 2, 4] and found.seconds.tolist() == [0, 1, 2, 3]
    places = found.deletion["places"]
    assert places.is_faster and places.scores[0] == pytest.approx(found.score)
    assert places.scores[-1] == pytest.approx(found.baseline_score, rel=1e-5)
    assert places.scores[6] == pytest.approx(found.baseline_score, rel=1e-4)  # the strongest tenth holds all of it
    words = found.deletion["words"]
    assert (words.scores - words.scores[0]).tolist() == pytest.approx([0, -8, -12, -14], abs=1e-3)


def test_a_score_that_falls_as_in_random_orders_is_not_called_faster():
    fractions, falling = np.linspace(0, 1, 5), np.linspace(4, 0, 5)
    assert not Deletion(fractions, falling, np.stack([falling] * 10)).is_faster
    assert Deletion(fractions, falling - 1, np.stack([falling] * 10)).is_faster
    assert Deletion(fractions, falling, falling[None]).area == pytest.approx(2)


@pytest.mark.parametrize("name", ASKED)
def test_every_head_is_explained_by_the_score_that_its_pipeline_gives(name, video):
    pipe = make_pipeline(name)
    subject = subject_of(pipe, str(video), **ASKED[name])
    answers = pipe(str(video), **ASKED[name], **({"top_k": 1} if name == "moments" else {}))
    found = explain(subject, picture_of(pipe.video_processor), num_steps=64, num_cells=4)
    if name in ("retrieval", "dual_encoder"):
        assert found.label == answers[0]["label"] and found.score == pytest.approx(answers[0]["score"], abs=1e-4)
    elif name == "moments":
        assert np.exp(found.score) == pytest.approx(answers[0]["score"], abs=1e-4)
    elif name == "counts":
        assert found.score == pytest.approx(answers[0]["value"], abs=1e-4)
    else:
        best = answers[0].get("answer", answers[0].get("label"))
        assert found.label == best and np.exp(found.score) == pytest.approx(answers[0]["score"], abs=1e-4)
    error = abs(found.places.sum() - (found.score - found.baseline_score))
    assert error < 0.05 * max(1.0, np.abs(found.places).sum())
    assert found.frames.min() >= 0 and found.frames.max() <= 1 and found.frames.shape[0] == len(found.places)
    assert len(found.words) == len(found.word_scores) and np.isfinite(found.seconds).all()
    assert len(found.clips) == (
        2 if CASES[name].build.__name__ and name in ("retrieval", "open_answers", "choices", "counts") else 0
    )
    again = explain(subject, picture_of(pipe.video_processor), num_steps=64, num_cells=4)
    assert json.dumps(describe(again)) == json.dumps(describe(found))


def test_another_answer_can_be_the_target(video):
    pipe = make_pipeline("choices")
    best = subject_of(pipe, str(video), **ASKED["choices"])
    other = next(option for option in ASKED["choices"]["options"] if option != best.label)
    subject = subject_of(pipe, str(video), target=other, **ASKED["choices"])
    assert subject.label == other and subject().item() <= best().item()
    with pytest.raises(ExplanationError, match="knows no answer 'a cow'"):
        subject_of(pipe, str(video), target="a cow", **ASKED["choices"])


def test_what_cannot_be_explained_is_refused(video):
    pipe = make_pipeline("retrieval")
    with pytest.raises(ExplanationError, match="Expected one text"):
        subject_of(pipe, str(video), candidate_texts=["a dog", "a cat"])
    with pytest.raises(ValueError, match="Cannot decode"):
        subject_of(pipe, str(video.with_name("missing.mp4")), candidate_texts=["a dog"])
    with pytest.raises(TypeError, match="num_clip"):
        subject_of(pipe, str(video), candidate_texts=["a dog"], num_clip=3)
    with pytest.raises(ExplanationError, match="Expected one sentence"):
        subject_of(make_pipeline("moments"), str(video), query=["a man", "a door"])


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_same_explanation_gives_the_same_bytes(suffix, video, tmp_path):
    pytest.importorskip("matplotlib")
    pipe = make_pipeline("retrieval")
    found = explain(
        subject_of(pipe, str(video), candidate_texts=["<b>$x$ dog runs"]), picture_of(pipe.video_processor), 4
    )
    first, second = (draw(found, tmp_path / name / f"why{suffix}", "<script>$").read_bytes() for name in "ab")
    assert first == second
    if suffix == ".svg":
        assert b"<script>" not in first
