# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Models that match texts with videos as modules of sentence-transformers: what they take, and the numbers of the models."""

from pathlib import Path

import numpy as np
import pytest
import tiny_models
import tiny_mug_stan
import torch
from numbered_videos import KINDS, write_numbered
from PIL import Image
from text_ends import clip_tokenizer, wordpiece_tokenizer

from clipbert import (
    ClipBERTForVideoTextRetrieval,
    ClipBERTVideoProcessor,
    MugSTANProcessor,
    MugSTANVideoProcessor,
    VideoTextProcessor,
)
from clipbert.datasets_scripts.building import media
from clipbert.pipelines import VideoTextRetrievalPipeline
from clipbert.processing import VideoDecodeError
from clipbert.processing.decoding import decode_video


sentence_transformers = pytest.importorskip(
    "sentence_transformers", reason="the extra sentence-transformers is not installed"
)
from clipbert.pipelines.sentence_modules import VIDEO_SUFFIXES, VideoTextEncoder, VideoTextScorer  # noqa: E402


TEXTS = ["a man opens the door", "the door", "a man"]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    return [str(write_numbered(folder / f"{count} frames, 'it' é.mp4", count)) for count in (30, 7, 12)]


@pytest.fixture(scope="module")
def encoder():
    """Of a model that compares words with frames."""
    tokenizer = clip_tokenizer(20)
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": 0}
    clip = tiny_mug_stan.tiny_clip(text_config={"vocab_size": len(tokenizer), **ends})
    processor = MugSTANProcessor(MugSTANVideoProcessor(size=tiny_mug_stan.IMAGE_SIZE, num_frames=3), tokenizer)
    module = VideoTextEncoder(tiny_mug_stan.tiny_model(clip=clip), processor)
    return sentence_transformers.SentenceTransformer(modules=[module], device="cpu", similarity_fn_name="cosine")


def build_scorer(**options):
    tokenizer = wordpiece_tokenizer()
    model = tiny_models.tiny_model(ClipBERTForVideoTextRetrieval, vocab_size=len(tokenizer), score_pooling="mean")
    frames = ClipBERTVideoProcessor(size=64, **{"num_clips": 2, "num_frames": 2, **options})
    module = VideoTextScorer(model, VideoTextProcessor(frames, tokenizer))
    return sentence_transformers.CrossEncoder(modules=[module], device="cpu", activation_fn=torch.nn.Identity())


@pytest.fixture(scope="module")
def scorer():
    return build_scorer()


def scores_of_pipeline(scorer, videos):
    """Of every text with every video, `(texts, videos)`."""
    module = scorer[0]
    pipe = VideoTextRetrievalPipeline(model=module.model, processor=module.processor, device="cpu")
    found = [{answer["label"]: answer["score"] for answer in one} for one in pipe(videos, candidate_texts=TEXTS)]
    return np.array([[of_video[text] for of_video in found] for text in TEXTS])


def test_vectors_are_those_of_the_model(encoder, videos):
    model, processor = encoder[0].model, encoder[0].processor
    with torch.no_grad():
        of_videos = model.vectors(model.encode_videos(processor(videos=videos)["pixel_values"]))
        words = processor(text=TEXTS)
        of_texts = model.vectors(model.encode_texts(words["input_ids"], words["attention_mask"]))
    assert encoder.encode(videos) == pytest.approx(of_videos.numpy(), abs=1e-5)
    assert encoder.encode(TEXTS, batch_size=2) == pytest.approx(of_texts.numpy(), abs=1e-5)
    assert encoder.encode_query(TEXTS[1]) == pytest.approx(of_texts[1].numpy(), abs=1e-5)
    assert encoder.encode_document(videos[1:]) == pytest.approx(of_videos[1:].numpy(), abs=1e-5)
    expected = (of_texts @ of_videos.T).numpy()
    assert encoder.similarity(encoder.encode(TEXTS), encoder.encode(videos)).numpy() == pytest.approx(
        expected, abs=1e-5
    )
    assert encoder.get_embedding_dimension() == of_texts.shape[1] and encoder.modalities == ["text", "video"]


def test_a_video_is_whatever_the_processor_takes(encoder, videos):
    expected = encoder.encode(videos[:1])
    frames = decode_video(videos[0], lambda metadata: np.arange(metadata.total_num_frames)).frames
    kinds = {
        "video": {"video": videos[0]},
        "path": Path(videos[0]),
        "bytes": Path(videos[0]).read_bytes(),
        "channels last": frames,
        "channels first": torch.from_numpy(frames).permute(0, 3, 1, 2),
        "pictures": {"video": [Image.fromarray(frame) for frame in frames]},
        "with its rate": {"array": frames, "video_metadata": {"fps": 10.0}},
        "without": {"video": {"array": frames, "video_metadata": None}},
        "undecoded": {"path": videos[0], "bytes": None},
    }
    for name, video in kinds.items():
        assert encoder.encode([video]) == pytest.approx(expected, abs=1e-5), name
    more = encoder.encode(videos[:1], processing_kwargs={"video": {"num_frames": 5}})
    assert np.abs(more - expected).max() > 1e-4
    with pytest.raises(TypeError, match="num_frame"):
        encoder.encode(videos[:1], processing_kwargs={"video": {"num_frame": 5}})


def test_a_prompt_stands_before_texts_alone(encoder, videos):
    assert encoder.encode("door", prompt="the ") == pytest.approx(encoder.encode("the door"), abs=1e-5)
    assert encoder.encode(videos[0], prompt="the ") == pytest.approx(encoder.encode(videos[0]), abs=1e-5)


def test_what_ends_like_a_video_is_never_read_as_a_sentence(encoder, videos, tmp_path):
    webm = str(write_numbered(tmp_path / "film.webm", 12, KINDS["webm_vp8"]))
    assert encoder.encode(webm) == pytest.approx(encoder.encode({"video": webm}), abs=1e-5)
    with pytest.raises(FileNotFoundError, match="film.MKV: no such file. If it is a sentence"):
        encoder.encode("film.MKV")
    assert encoder.encode({"text": "film.MKV"}).shape == (encoder.get_embedding_dimension(),)
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    with pytest.raises(VideoDecodeError, match="broken.mp4"):
        encoder.encode([videos[0], str(tmp_path / "broken.mp4")])
    with pytest.raises(ValueError, match="texts and videos in one batch"):
        encoder.encode([webm, "a man"])
    with pytest.raises(ValueError, match="image"):
        encoder.encode([{"image": "picture.png"}])


def test_scores_of_pairs_are_those_of_the_pipeline(scorer, videos):
    expected = scores_of_pipeline(scorer, videos)
    pairs = [(text, video) for text in TEXTS for video in videos]
    for batch_size in (1, 4, 32):
        assert scorer.predict(pairs, batch_size=batch_size) == pytest.approx(expected.ravel(), abs=1e-5)
    assert scorer.predict(pairs[0]) == pytest.approx(expected[0, 0], abs=1e-5)
    assert scorer.predict([{"video": Path(videos[1])}, TEXTS[0]]) == pytest.approx(expected[0, 1], abs=1e-5)
    for query, documents, scores in ((TEXTS[0], videos, expected[0]), (videos[0], TEXTS, expected[:, 0])):
        ranked = scorer.rank(query, documents)
        assert [found["corpus_id"] for found in ranked] == np.argsort(-scores).tolist()
        assert [found["score"] for found in ranked] == pytest.approx(sorted(scores, reverse=True), abs=1e-5)
    for pair in (TEXTS[:2], videos[:2], (TEXTS[0], videos[0], TEXTS[1])):
        with pytest.raises(ValueError, match="Expected a pair of a text and a video"):
            scorer.predict([tuple(pair)])


def test_clips_that_do_not_exist_are_left_out(videos):
    scorer = build_scorer(num_clips=5, num_frames=2, fps=5, short_video="mask")
    words = scorer[0].preprocess([("a man", video) for video in videos])
    assert not words["clip_mask"].all()
    expected = scores_of_pipeline(scorer, videos)
    found = scorer.predict([(text, video) for text in TEXTS for video in videos])
    assert found == pytest.approx(expected.ravel(), abs=1e-5)


def test_a_video_of_a_batch_is_read_once(scorer, videos):
    features = scorer[0].preprocess([("a man", videos[0]), ("the door", videos[0]), ("a man", videos[1])])
    assert len(features["pixel_values"]) == 2 and features["video_indices"].tolist() == [0, 0, 1]


def test_other_backends_are_refused():
    with pytest.raises(ValueError, match="in torch alone, got backend='onnx'"):
        VideoTextEncoder.load("nothing", backend="onnx")


def test_files_of_videos_end_as_everywhere_here():
    assert set(VIDEO_SUFFIXES) == media.VIDEO_SUFFIXES  # a copy, because the file travels with checkpoints
