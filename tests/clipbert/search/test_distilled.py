# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Distilled heads: they learn a model whose scores are products, say what they lose, and are refused where they are not what they were."""

import itertools
import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch
from text_ends import wordpiece_tokenizer
from tiny_pipelines import clipbert_parts

from clipbert.modeling_clipbert import ClipBERTForVideoTextRetrieval
from clipbert.processing import ClipBERTVideoProcessor, VideoTextProcessor
from clipbert.search import FingerprintError, IndexDamagedError, SearchIndexError
from clipbert.search.distillation import distil, plan_pairs, reference_size, vary_texts
from clipbert.search.distilled import DistilledEncoder, DistilledHeads
from clipbert.search.matching import build_matching


TEXTS = [
    " ".join(words)
    for words in itertools.product(
        ("a", "an", "the"), ("dog", "cat"), ("runs", "jumps", "moves"), ("left", "right", "up")
    )
]
WORD_SIZE, CLIPS, CELLS, HIDDEN = 12, 2, 3, 8
QUICK = {"steps": 150, "width": 32, "max_pairs": 15_000}
LENIENT = 0.5  # so few texts and steps do not teach more


class Products:
    """A cross-encoder whose log-odds are products of a vector of the words and one of the clips that exist: it can be learnt exactly."""

    name, fingerprint = "products", "0123456789abcdef"

    def __init__(self, seed=0):
        generator = torch.Generator().manual_seed(seed)
        tokenizer = wordpiece_tokenizer()
        self.processor = VideoTextProcessor(ClipBERTVideoProcessor(size=64), tokenizer)
        words = torch.nn.Embedding(len(tokenizer), WORD_SIZE)
        words.weight.data = torch.randn(words.weight.shape, generator=generator)
        self.model = SimpleNamespace(device=torch.device("cpu"), get_input_embeddings=lambda: words)
        self.of_clips = torch.randn(HIDDEN, WORD_SIZE, generator=generator)

    @torch.inference_mode()
    def encode_texts(self, texts):
        return [
            self.model.get_input_embeddings()(self.processor(text=[text])["input_ids"])[0, 1:-1].mean(dim=0)
            for text in texts
        ]

    def score(self, texts, parts, mask=None):
        exists = torch.from_numpy(np.ones(parts.shape[:2], bool) if mask is None else mask)
        clips = torch.from_numpy(parts).float().mean(dim=2) @ self.of_clips  # (videos, clips, words)
        odds = torch.einsum("td,vcd->tvc", torch.stack(texts), clips)
        pooled = odds.where(exists, 0.0).sum(dim=2) / exists.sum(dim=1)
        return pooled.numpy(), odds.masked_fill(~exists, -torch.inf).numpy()


def make_parts(num_videos=150, seed=0):
    return np.random.default_rng(seed).normal(size=(num_videos, CLIPS, CELLS, HIDDEN)).astype(np.float32)


@pytest.fixture(scope="module")
def teacher():
    return Products()


@pytest.fixture(scope="module")
def learnt(teacher):
    """Heads and their report."""
    return distil(teacher, TEXTS, make_parts(), **QUICK)


def test_learns_what_can_be_learnt(teacher, learnt):
    heads, report = learnt
    assert (report.reference, report.seed, report.steps) == (3, 0, 150)
    assert report.first_kept >= 0.6  # of 3 among 30
    losses = {loss["size"]: loss for loss in report.held_out["losses"]}
    assert losses[10]["first_kept"]["mean"] >= 0.9 and losses[10]["top_kept"]["mean"] >= 0.6
    # of videos, and for texts, that are new
    encoder, parts = DistilledEncoder(heads, teacher, LENIENT), make_parts(80, seed=1)
    texts = ["the dog jumps down", "a cat then runs left"]
    queries, videos = encoder.encode_query(texts), encoder.vector(parts)
    assert queries.shape == (2, 32) == (2, encoder.width) and queries.dtype == videos.dtype == np.float32
    for vectors in (queries, videos):
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    odds = teacher.score(teacher.encode_texts(texts), parts)[0]
    with torch.inference_mode():
        guesses = heads(torch.from_numpy(queries), torch.from_numpy(videos)).numpy()
    for row, guess in zip(odds, guesses, strict=True):
        assert np.corrcoef(row, guess)[0, 1] > 0.5
    assert np.abs(guesses - odds).mean() < odds.std()  # log-odds, not only their order


def test_the_same_seed_gives_the_same_heads_and_disturbs_nobody(teacher):
    texts, parts = TEXTS[:30], make_parts(40)
    options = {"steps": 5, "width": 8, "max_pairs": 2000, "num_held_out_texts": 10, "num_held_out_videos": 10}
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first, one = distil(teacher, texts, parts, **options)
    assert torch.equal(torch.rand(3), expected)
    second, other = distil(teacher, [*texts, *texts], parts, **options)
    third, _ = distil(teacher, texts, parts, **options, seed=1)
    assert first.fingerprint == second.fingerprint != third.fingerprint
    assert one.held_out == other.held_out


def test_the_report_is_a_count_of_what_was_held_out(teacher):
    """Nothing is left to chance where all is held out that there is, and owners are known."""
    parts, texts = make_parts(60), TEXTS[:25]
    owners = teacher.score(teacher.encode_texts(texts), parts)[0].argmax(axis=1)
    heads, report = distil(
        teacher, texts, parts, owners=owners.tolist(), num_held_out_texts=15, num_held_out_videos=40, steps=40, width=8
    )
    assert report.reference == reference_size(40) == 4
    found = report.held_out
    assert (found["num_texts"], found["num_videos"]) == (15, 40)
    losses = {loss["size"]: loss for loss in found["losses"]}
    assert set(losses) == {4, 10, 20, 50, 100}
    assert losses[4]["first_kept"]["mean"] == report.first_kept
    # each own video is the first of all, and of those held out: it is found where it is kept
    assert found["recall"]["1"]["mean"] == 1.0
    for loss in losses.values():
        assert loss["recall"]["1"]["mean"] == pytest.approx(loss["first_kept"]["mean"])
        assert loss["recall_lost"]["1"]["mean"] == pytest.approx(1 - loss["first_kept"]["mean"])
    assert losses[50]["first_kept"]["mean"] == 1.0


def test_clips_that_do_not_exist_and_the_padding_of_texts_do_not_matter(teacher, learnt):
    encoder, parts = DistilledEncoder(learnt[0], teacher, LENIENT), make_parts(5, seed=2)
    mask = np.ones((5, CLIPS), bool)
    mask[1:3, 1] = False
    noisy = parts.copy()
    noisy[1:3, 1] = 1e3
    vectors = encoder.vector(parts, mask)
    np.testing.assert_allclose(encoder.vector(noisy, mask), vectors, atol=1e-6)
    np.testing.assert_allclose(vectors[1:3], encoder.vector(parts[1:3, :1]), atol=1e-6)
    np.testing.assert_allclose(vectors[[0, 3]], encoder.vector(parts[[0, 3]]), atol=1e-6)
    short, long = "a dog", "a dog runs and then the cat jumps up"
    np.testing.assert_allclose(encoder.encode_query([short, long])[0], encoder.encode_query([short])[0], atol=1e-6)
    assert np.abs(encoder.encode_query(["a dog runs"]) - encoder.encode_query(["dog a runs"])).max() > 1e-3
    assert encoder.encode_query([]).shape == (0, 32)
    half = encoder.vector(parts.astype(np.float16))
    np.testing.assert_allclose(half, encoder.vector(parts), atol=0.02)


@pytest.mark.slow
def test_a_clipbert_learns_and_is_found_again_in_a_new_process(tmp_path):
    """From its own clips; bytes on disk give the same vectors elsewhere."""
    reader = build_matching(*clipbert_parts(ClipBERTForVideoTextRetrieval), "tiny")
    parts = np.random.default_rng(0).normal(size=(20, *reader.parts_shape)).astype(np.float32)
    heads, report = distil(
        reader, TEXTS[:20], parts, num_held_out_texts=10, num_held_out_videos=10, steps=3, width=8, max_pairs=500
    )
    assert heads.teacher == reader.fingerprint and report.num_videos <= 10
    assert (
        torch.equal(heads.text.words.weight, heads.text.words.weight)
        and heads.text.words.weight.shape[1] == reader.model.config.hidden_size
    )
    encoder = DistilledEncoder(heads, reader, min_first_kept=0.0)
    (tmp_path / "heads").write_bytes(encoder.to_bytes())
    np.save(tmp_path / "parts.npy", parts)
    code = (
        "import sys, json, numpy as np; from clipbert.search.distilled import DistilledHeads; "
        "folder = sys.argv[1]; heads = DistilledHeads.from_bytes(open(folder + '/heads', 'rb').read()); "
        "np.save(folder + '/vectors.npy', heads.encode_videos(np.load(folder + '/parts.npy'), None, np.arange(20))); "
        "print(json.dumps([heads.fingerprint, heads.teacher, heads.report.held_out]))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [heads.fingerprint, reader.fingerprint, report.held_out]
    np.testing.assert_array_equal(np.load(tmp_path / "vectors.npy"), encoder.vector(parts))


def test_damage_is_noticed(learnt):
    content = learnt[0].to_bytes()
    assert DistilledHeads.from_bytes(content).fingerprint == learnt[0].fingerprint
    places = np.random.default_rng(0).integers(len(content), size=25)
    broken = [content[:place] for place in (0, 7, 8, 100, len(content) // 2, len(content) - 1)]
    broken += [content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :] for place in places.tolist()]
    for one in broken:
        with pytest.raises(IndexDamagedError, match="distil anew"):
            DistilledHeads.from_bytes(one)


def repacked(heads, change):
    """Heads whose facts say something else, and whose checksum is right."""
    from clipbert.search import distilled

    tensors = safetensors.torch.load(heads.to_bytes())
    facts = distilled._read(heads.to_bytes())[1]
    change(facts)
    text = json.dumps(facts, sort_keys=True)
    return safetensors.torch.save(tensors, {"facts": text, "digest": distilled._digest(text, tensors)})


@pytest.mark.parametrize(
    "change, error, message",
    [
        (lambda facts: facts.update(version=99), SearchIndexError, "version 99"),
        (lambda facts: facts.update(format="something else"), IndexDamagedError, "distil anew"),
        (lambda facts: facts.pop("settings"), IndexDamagedError, "distil anew"),
        (lambda facts: facts["settings"].update(vocab_size=10**12), IndexDamagedError, "size mismatch|Error"),
        (lambda facts: facts["settings"].update(colour=3), IndexDamagedError, "colour"),
        (lambda facts: facts["report"].pop("seed"), IndexDamagedError, "seed"),
    ],
)
def test_what_somebody_else_wrote_is_refused(learnt, change, error, message):
    with pytest.raises(error, match=message):
        DistilledHeads.from_bytes(repacked(learnt[0], change))


def test_other_safetensors_are_refused():
    with pytest.raises(IndexDamagedError, match="distil anew"):
        DistilledHeads.from_bytes(safetensors.torch.save({"weight": torch.ones(2)}))


def test_heads_of_another_model_and_those_that_lose_too_much_are_refused(teacher, learnt):
    heads, report = learnt
    stranger = SimpleNamespace(name="stranger", fingerprint="f" * 32, processor=teacher.processor)
    with pytest.raises(FingerprintError, match="f" * 32):
        DistilledEncoder(heads, stranger)
    with pytest.raises(FingerprintError, match="distil anew"):
        DistilledEncoder.from_bytes(heads.to_bytes(), stranger)
    with pytest.raises(SearchIndexError, match=f"shortlist of {report.reference}"):
        DistilledEncoder(heads, teacher, min_first_kept=1.01)
    unknown = DistilledHeads.from_bytes(repacked(heads, lambda facts: facts.update(report=None)))
    with pytest.raises(SearchIndexError, match="is not known"):
        DistilledEncoder(unknown, teacher)
    with pytest.raises(SearchIndexError, match="clips, ..., 8"):
        DistilledEncoder(heads, teacher, LENIENT).vector(np.zeros((2, CLIPS, CELLS, HIDDEN + 1), np.float32))


@pytest.mark.parametrize(
    "texts, num_videos, options, message",
    [
        (TEXTS[:12], 40, {}, "10 different texts"),
        (TEXTS[:1] * 100, 40, {}, "10 different texts"),
        (TEXTS, 40, {}, "10 different videos"),
        (TEXTS, 40, {"num_held_out_videos": 35}, "10 different videos"),
    ],
)
def test_too_few_to_learn_from(teacher, texts, num_videos, options, message):
    with pytest.raises(SearchIndexError, match=message):
        distil(teacher, texts, make_parts(num_videos), **options)


def test_scores_that_are_no_numbers_are_refused(teacher):
    parts = make_parts(20)
    parts[:, 0, 0, 0] = np.nan
    with pytest.raises(SearchIndexError, match="finite"):
        distil(teacher, TEXTS[:20], parts, num_held_out_texts=10, num_held_out_videos=10)


def test_as_many_pairs_as_are_allowed():
    for num_texts, num_videos, max_pairs in itertools.product((10, 300, 5000), (10, 400, 9000), (100, 5000, 10**6)):
        texts, videos = plan_pairs(num_texts, num_videos, max_pairs)
        assert 1 <= texts <= num_texts and 1 <= videos <= num_videos and texts * videos <= max_pairs
        assert (texts, videos) == (num_texts, num_videos) or texts * videos > max_pairs / 3


def test_texts_are_varied(teacher):
    rng = np.random.default_rng(0)
    found = vary_texts(TEXTS[:20], teacher.processor.tokenizer, 100, rng)
    assert len(set(found)) == len(found) == 100 and set(TEXTS[:20]) <= set(found)
    assert all(text.strip() for text in found)
    few = vary_texts(TEXTS[:20], teacher.processor.tokenizer, 10, rng)
    assert len(few) == 10 and set(few[:5]) == set(TEXTS[:5])
