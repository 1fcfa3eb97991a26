# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Models of an index: the scores of search.py to the last bit, spans, workers, fingerprints, towers, and what is refused."""

import pickle

import numpy as np
import pytest
import torch
from tiny_mug_stan import write_clip
from tiny_pipelines import CASES, TEXTS, clipbert_parts
from torch.utils.data import DataLoader

from clipbert.modeling_clipbert import ClipBERTForVideoTextRetrieval
from clipbert.processing import VideoDecodeError
from clipbert.search.matching import MatchingEncoder, best_span, build_matching, list_clips
from clipbert.search.models import load_models
from clipbert.search.protocols import Span
from clipbert.train_scripts.tasks.retrieval.collection import VideoSearch


MATCHING = ("retrieval", "dual_encoder")  # ClipBERT, Mug-STAN
NUM_VIDEOS = 19  # more than a block of 16


@pytest.fixture(scope="module")
def videos(tmp_path_factory, write_video):
    folder = tmp_path_factory.mktemp("videos")
    return [write_video(folder / f"{number}.mp4", num_frames=1 + 2 * number) for number in range(NUM_VIDEOS)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A checkpoint of each kind."""
    root = tmp_path_factory.mktemp("checkpoints")
    for name in (*MATCHING, "moments", "open_answers", "classes"):
        model, processor = CASES[name].build()
        model.save_pretrained(root / name)
        processor.save_pretrained(root / name)
    write_clip(root / "clip")
    return root


@pytest.fixture(scope="module", params=MATCHING)
def matching(request):
    return CASES[request.param].build()


def encode(reader, paths, span=None):
    """Parts, masks and seconds of some videos, encoded one by one as search.py does it."""
    found = [reader.encode([reader.read(path, span)])[0] for path in paths]
    mask = None if found[0].mask is None else np.stack([one.mask for one in found])
    return np.stack([one.parts for one in found]), mask, [one.seconds for one in found]


def in_the_order_of(reader, texts, parts, mask):
    """How VideoSearch puts videos into blocks: of models that compare what they have encoded, best first."""
    if not isinstance(reader, MatchingEncoder):
        return np.arange(len(parts))
    return np.argsort(-reader.score_all(texts, parts, mask)[0], kind="stable")


@pytest.mark.parametrize("short_video", ["repeat", "mask"])
def test_scores_are_those_of_search(matching, videos, short_video):
    model, processor = matching
    if short_video == "mask" and hasattr(model, "vectors"):
        pytest.skip("Mug-STAN has no clips that do not exist")
    options = {"short_video": short_video, "num_clips": 2}
    expected = VideoSearch(model, processor, videos, **options)
    reader = build_matching(model, processor, "tiny", **options)
    parts, mask, seconds = encode(reader, videos)
    assert np.array_equal(parts, torch.cat(expected.videos).numpy())
    assert (mask is not None) == (short_video == "mask")
    for text in TEXTS:
        ranked = expected.rank(text)
        texts = reader.encode_texts([text])
        order = in_the_order_of(reader, texts, parts, mask)
        odds, clip_odds = reader.score(texts, parts[order], None if mask is None else mask[order])
        found = {
            videos[place]: (score.item(), *best_span(seconds[place], of_clips))
            for place, score, of_clips in zip(order, odds[0], clip_odds[0], strict=True)
        }
        assert found == {video.path: (video.score, video.start_s, video.end_s) for video in ranked}
    if mask is not None:
        assert not mask.all() and np.isneginf(clip_odds[0][~mask[order]]).all()


def test_several_texts_are_scored_as_each_by_itself(matching, videos):
    reader = build_matching(*matching, "tiny")
    parts, _, _ = encode(reader, videos[:3])
    odds, clip_odds = reader.score(reader.encode_texts(TEXTS), parts)
    assert odds.shape == (3, 3) and clip_odds.shape == (3, 3, parts.shape[1]) and odds.dtype == np.float32
    for row, text in enumerate(TEXTS):
        alone = reader.score(reader.encode_texts([text]), parts)
        assert np.array_equal(odds[row], alone[0][0]) and np.array_equal(clip_odds[row], alone[1][0])
    np.testing.assert_allclose(reader.score_all(reader.encode_texts(TEXTS), parts), odds, atol=1e-5)
    assert [part.shape for part in reader.score([], parts)] == [(0, 3), (0, 3, 0)]
    assert [part.shape for part in reader.score(reader.encode_texts(TEXTS), parts[:0])] == [(3, 0), (3, 0, 0)]


def test_fewer_clips_are_scored_as_a_video_of_them(videos):
    model, processor = clipbert_parts(ClipBERTForVideoTextRetrieval)
    reader = build_matching(model, processor, "tiny", num_clips=3)
    parts, _, _ = encode(reader, videos[:4])
    frozen = parts[:, :1]
    frozen.flags.writeable = False  # as those of a table are
    odds, clip_odds = reader.score(reader.encode_texts(TEXTS), frozen)
    assert clip_odds.shape == (3, 4, 1) and np.array_equal(odds, clip_odds[..., 0])
    whole = reader.score(reader.encode_texts(TEXTS), parts)[1]
    np.testing.assert_allclose(clip_odds[..., 0], whole[..., 0], atol=1e-5)


def test_a_batch_is_as_one_by_one(matching, videos):
    reader = build_matching(*matching, "tiny")
    together = reader.encode([reader.read(path) for path in videos[:5]])
    for path, found in zip(videos, together, strict=False):
        (alone,) = reader.encode([reader.read(path)])
        assert found.parts.shape == reader.parts_shape and found.seconds.shape == reader.seconds_shape
        np.testing.assert_allclose(found.parts, alone.parts, atol=1e-6, rtol=1e-5)
        assert np.array_equal(found.seconds, alone.seconds)
        if found.vector is not None:
            assert found.vector.shape == (reader.width,)
            np.testing.assert_allclose(found.vector, alone.vector, atol=1e-6)


def test_clips_in_order_of_their_scores():
    seconds = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    clips = list_clips(seconds, np.array([0.5, -np.inf, 2.0], np.float32))
    assert clips == [{"start_s": 4.0, "end_s": 5.0, "score": 2.0}, {"start_s": 0.0, "end_s": 1.0, "score": 0.5}]
    assert best_span(seconds, np.arange(6)) == (5.0, 5.0)  # frames are scored
    assert best_span(seconds[:1], np.zeros(1)) == (0.0, 1.0)
    assert best_span(seconds, np.zeros(1)) == (0.0, 5.0)  # all of it is


@pytest.fixture(scope="module", params=[*MATCHING, "clip"])
def reader(request, folders):
    return load_models(folders / request.param, device="cpu")[request.param == "retrieval"]


def test_a_span_is_looked_at_alone(reader, tmp_path, write_video):
    path = write_video(tmp_path / "long.mp4", num_frames=100, fps=10)
    inputs = reader.read(path, Span(4.0, 7.0))
    seconds = inputs["frame_seconds"]
    assert 4.0 <= seconds.min() < 4.8 and 6.2 < seconds.max() < 7.0
    part = write_video(tmp_path / "part.mp4", num_frames=30, fps=10)  # brightness repeats after 30 frames
    (whole,), (cut,) = (reader.encode([reader.read(*which)]) for which in ((path, Span(3.0, 6.0)), (part,)))
    np.testing.assert_allclose(whole.seconds - 3.0, cut.seconds, atol=1e-6)
    with pytest.raises(VideoDecodeError, match=r"long.mp4.*from 20 to 30 s"):
        reader.read(path, Span(20.0, 30.0))


class Reading:
    """A data set that a worker reads."""

    def __init__(self, read, paths):
        self.read, self.paths = read, paths

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return self.read(self.paths[index], Span(0.1, 0.4))


def test_reading_goes_into_workers_without_weights(folders, videos):
    readers = [load_models(folders / name, device="cpu") for name in (*MATCHING, "clip")]
    for models in readers:
        reading = (models.encoder or models.reranker).read
        sent = pickle.dumps(reading)
        assert b"Linear" not in sent and b"Parameter" not in sent
        again = pickle.loads(sent)(videos[0])
        assert torch.equal(again["pixel_values"], reading(videos[0])["pixel_values"])
    reading = readers[0].reranker.read
    loader = DataLoader(
        Reading(reading, videos[:2]), batch_size=2, num_workers=1, collate_fn=list, multiprocessing_context="spawn"
    )
    ((first, _),) = loader
    assert torch.equal(first["pixel_values"], reading(videos[0], Span(0.1, 0.4))["pixel_values"])
