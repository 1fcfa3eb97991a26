# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Models of an index: the scores of search.py to the last bit, spans, workers, fingerprints, towers, and what is refused."""

import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tiny_ci_mha
import torch
from safetensors.torch import load_file, save_file
from text_ends import clip_tokenizer, unigram_tokenizer
from tiny_mug_stan import write_clip
from tiny_pipelines import CASES, TEXTS, clipbert_parts
from torch.utils.data import DataLoader
from transformers import (
    AutoTokenizer,
    CLIPVisionConfig,
    CLIPVisionModel,
    Siglip2Config,
    Siglip2ImageProcessor,
    Siglip2Model,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    VideoMAEImageProcessor,
    XCLIPConfig,
    XCLIPModel,
)

from clipbert.modeling_clipbert import ClipBERTForVideoTextRetrieval
from clipbert.pipelines import encode_video
from clipbert.processing import VideoDecodeError, decode_video, read_video_metadata, sample_clips
from clipbert.search.hits import best_span, list_clips
from clipbert.search.matching import MatchingEncoder, build_matching
from clipbert.search.models import load_encoder, load_locator, load_models, load_reranker
from clipbert.search.moments import MomentLocator
from clipbert.search.protocols import Encoder, Locator, Reranker, SearchIndexError, Span
from clipbert.search.queries import query_vector
from clipbert.search.towers import TowerEncoder
from clipbert.support.fingerprints import compute_fingerprint
from clipbert.train_scripts.tasks.retrieval.collection import VideoSearch


MATCHING = ("retrieval", "dual_encoder")  # ClipBERT, Mug-STAN
NUM_VIDEOS = 17  # more than a block of 16


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


@pytest.mark.parametrize(
    ("name", "short_video"), [("retrieval", "repeat"), ("retrieval", "mask"), ("dual_encoder", "repeat")]
)
def test_scores_are_those_of_search(name, short_video, videos):
    model, processor = CASES[name].build()
    options = {"short_video": short_video, "num_clips": 2}
    expected = VideoSearch(model, processor, videos, **options)
    reader = build_matching(model, processor, "tiny", **options)
    parts, mask, seconds = encode(reader, videos)
    assert np.array_equal(parts, torch.cat(expected.videos).numpy())
    assert (mask is not None) == (short_video == "mask")
    for text in TEXTS[:2]:
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


@pytest.mark.parametrize("name", MATCHING)
def test_models_in_half_precision(name, videos):
    model, processor = CASES[name].build()
    model.to(torch.bfloat16)
    expected = VideoSearch(model, processor, videos[:3])
    reader = build_matching(model, processor, "tiny")
    parts, _, _ = encode(reader, videos[:3])
    assert parts.dtype == np.float32 and np.array_equal(parts, torch.cat(expected.videos).float().numpy())
    texts = reader.encode_texts(["a dog"])
    order = in_the_order_of(reader, texts, parts, None)
    odds = reader.score(texts, parts[order])[0][0]
    assert sorted(odds.tolist(), reverse=True) == [video.score for video in expected.rank("a dog")]
    if name == "dual_encoder":
        assert reader.encode_query(["a dog"]).dtype == np.float32


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


def test_reading_goes_into_workers_without_weights(folders, videos):
    for name in (*MATCHING, "clip"):
        models = load_models(folders / name, device="cpu")
        reading = (models.encoder or models.reranker).read
        sent = pickle.dumps(reading)
        assert b"torch.nn" not in sent
        assert torch.equal(pickle.loads(sent)(videos[0])["pixel_values"], reading(videos[0])["pixel_values"])


@pytest.mark.slow  # an interpreter that imports torch
def test_reading_in_a_spawned_worker(folders, videos):
    reading = load_reranker(folders / "retrieval").read
    loader = DataLoader(videos[:2], None, num_workers=1, collate_fn=reading, multiprocessing_context="spawn")
    for path, inputs in zip(videos, loader, strict=False):
        assert torch.equal(inputs["pixel_values"], reading(path)["pixel_values"])


# ---------------------------------------------------------------------------------------------------------------------
# Fingerprints
# ---------------------------------------------------------------------------------------------------------------------

KINDS = {"retrieval": load_reranker, "dual_encoder": load_encoder, "clip": load_encoder, "moments": load_locator}


@pytest.mark.parametrize("kind", KINDS)
def test_a_fingerprint_survives_saving_and_moving(kind, folders, tmp_path):
    loaded = KINDS[kind](folders / kind, device="cpu")
    assert len(loaded.fingerprint) == 32 and set(loaded.fingerprint) <= set("0123456789abcdef")
    for part in (loaded.model, *parts_of(loaded)):
        part.save_pretrained(tmp_path / "again")
    moved = shutil.move(tmp_path / "again", tmp_path / "elsewhere")
    again = KINDS[kind](Path(moved), device="cpu")
    if hasattr(again, "encode_query"):  # a call leaves traces in the tokenizer
        again.encode_query(["a dog"])
    assert again.fingerprint == loaded.fingerprint


def parts_of(loaded):
    return [loaded.image_processor, loaded.tokenizer] if isinstance(loaded, TowerEncoder) else [loaded.processor]


@pytest.mark.slow  # an interpreter that imports torch
def test_a_fingerprint_is_the_same_in_another_process(folders):
    script = (
        "import sys; from clipbert.search.models import load_model\n"
        "for name in sys.argv[1:]: print(load_model(name, device='cpu').fingerprint)"
    )
    names = [str(folders / kind) for kind in KINDS]
    found = subprocess.run([sys.executable, "-c", script, *names], capture_output=True, text=True, check=True)
    assert found.stdout.split() == [KINDS[kind](folders / kind, device="cpu").fingerprint for kind in KINDS]


@pytest.mark.parametrize("kind", KINDS)
def test_any_change_gives_another_fingerprint(kind, folders):
    loaded = KINDS[kind](folders / kind, device="cpu")
    model, parts = loaded.model, parts_of(loaded)
    found = {"as it is": compute_fingerprint(model, *parts)}
    found["of a call"] = compute_fingerprint(model, *parts, num_clips=7)

    weights = next(tensor for tensor in model.state_dict().values() if tensor.dtype == torch.float32 and tensor.ndim)
    bits = weights.view(torch.int32).flatten()[-1:]
    bits ^= 1
    found["one bit"] = compute_fingerprint(model, *parts)
    bits ^= 1
    assert compute_fingerprint(model, *parts) == found["as it is"]

    model.config.temperature = 0.5
    found["config"] = compute_fingerprint(model, *parts)
    del model.config.temperature

    pictures = getattr(parts[0], "video_processor", parts[0])
    pictures.image_mean = [0.5, 0.5, 0.25]
    found["option"] = compute_fingerprint(model, *parts)
    tokenizer = getattr(parts[-1], "tokenizer", parts[-1])
    tokenizer.add_tokens("zebra")
    found["word"] = compute_fingerprint(model, *parts)
    tokenizer.model_max_length = 11
    found["length"] = compute_fingerprint(model, *parts)
    assert len(set(found.values())) == len(found)


def test_options_that_are_the_own_ones_change_no_fingerprint():
    parts = CASES["retrieval"].build()
    own, same, other = (build_matching(*parts, "tiny", **how) for how in ({}, {"num_clips": 2}, {"num_clips": 3}))
    assert own.fingerprint == same.fingerprint != other.fingerprint
    parts[1].video_processor.fps = 2
    with_rate, without = (build_matching(*parts, "tiny", **how) for how in ({}, {"fps": None}))
    assert with_rate.fingerprint != without.fingerprint and with_rate.parts_shape == without.parts_shape


# ---------------------------------------------------------------------------------------------------------------------
# Towers
# ---------------------------------------------------------------------------------------------------------------------

TOWER = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def build_x_clip():
    tokenizer = clip_tokenizer(20)
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": 0}
    text = {**TOWER, **ends, "vocab_size": len(tokenizer), "max_position_embeddings": 12}
    vision = {**TOWER, "image_size": 16, "patch_size": 8, "num_frames": 4, "mit_hidden_size": 16}
    vision |= {"mit_num_hidden_layers": 1, "mit_num_attention_heads": 2, "mit_intermediate_size": 32}
    config = XCLIPConfig(text_config=text, vision_config=vision, projection_dim=16, prompt_num_attention_heads=2)
    return XCLIPModel(config), VideoMAEImageProcessor(size={"shortest_edge": 16}, crop_size=16), tokenizer


def build_siglip():
    text = {**TOWER, "vocab_size": 60, "max_position_embeddings": 10, "projection_size": 16}
    vision = {**TOWER, "image_size": 16, "patch_size": 8}
    tokenizer = unigram_tokenizer(64)
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
    return model, SiglipImageProcessor(size={"height": 16, "width": 16}), tokenizer


def build_siglip_2():
    text = {**TOWER, "vocab_size": 60, "max_position_embeddings": 10, "projection_size": 16}
    vision = {**TOWER, "num_patches": 16, "patch_size": 8}
    model = Siglip2Model(Siglip2Config(text_config=text, vision_config=vision))
    return model, Siglip2ImageProcessor(patch_size=8, max_num_patches=16), unigram_tokenizer(64)


def pooled(features):
    return torch.nn.functional.normalize(getattr(features, "pooler_output", features).float(), dim=-1)


@pytest.mark.parametrize("build", [build_x_clip, build_siglip, build_siglip_2])
def test_towers_are_as_transformers_computes_them(build, videos, tmp_path):
    torch.manual_seed(0)
    for part in (parts := build()):
        part.save_pretrained(tmp_path)
    model, image_processor, _ = parts
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    encoder = load_encoder(tmp_path, device="cpu")
    assert encoder.seconds_shape == (1, 4 if build is build_x_clip else 12)
    paths, num_frames = [videos[3], videos[12]], encoder.seconds_shape[1]
    found = encoder.encode([encoder.read(path) for path in paths])
    for path, segment in zip(paths, found, strict=True):
        numbers = sample_clips(count := read_video_metadata(path).total_num_frames, num_frames=num_frames)[0][0]
        pictures = decode_video(path, range(count)).frames[numbers]
        with torch.no_grad():
            inputs = image_processor([PIL.Image.fromarray(picture) for picture in pictures], return_tensors="pt")
            if build is build_x_clip:
                expected = pooled(model.eval().get_video_features(**inputs))[0]
            else:
                expected = pooled(pooled(model.eval().get_image_features(**inputs)).mean(dim=0))
        np.testing.assert_allclose(segment.vector, expected, atol=1e-6)
        np.testing.assert_allclose(segment.seconds[0], numbers / 10, atol=1e-6)
        np.testing.assert_allclose(encoder.encode([encoder.read(path)])[0].vector, segment.vector, atol=1e-6)

    texts = ["a dog", "the cat runs and then moves right and left and up and down and then grows"]
    limit = model.config.text_config.max_position_embeddings
    with torch.no_grad():
        if build is build_x_clip:
            words = tokenizer(texts, padding=True, truncation=True, max_length=limit, return_tensors="pt")
        else:
            words = tokenizer(texts, padding="max_length", truncation=True, max_length=limit, return_tensors="pt")
            words.pop("attention_mask")
        expected = pooled(model.get_text_features(**words))
    assert words["input_ids"].shape[1] == limit
    np.testing.assert_allclose(encoder.encode_query(texts), expected, atol=1e-6)


def test_a_clip_finds_its_own_frames(folders, videos):
    encoder = load_encoder(folders / "clip", device="cpu", num_frames=3)
    assert isinstance(encoder, Encoder) and not isinstance(encoder, Reranker)
    assert encoder.parts_shape is None and encoder.seconds_shape == (1, 3) and encoder.width == 12
    (found,) = encoder.encode([encoder.read(videos[4])])
    assert found.parts is None and found.mask is None
    assert np.linalg.norm(found.vector) == pytest.approx(1.0, abs=1e-6)
    assert encoder.encode_query([]).shape == (0, 12)


# ---------------------------------------------------------------------------------------------------------------------
# Moments
# ---------------------------------------------------------------------------------------------------------------------


def test_moments_are_those_of_the_pipeline(folders, tmp_path, write_video):
    path = write_video(tmp_path / "film.mp4", num_frames=60)
    locator = load_locator(folders / "moments", device="cpu", num_kept=2)
    assert isinstance(locator, Locator)
    span = Span(2.0, 5.5)
    for text in ("a man", "a man opens the door"):
        ((best,),) = encode_video(locator.model, locator.processor, str(path), span_se=span).locate(text, top_k=1)
        assert locator.locate(text, path, span) == (best["start_s"], best["end_s"], best["score"])
        assert 2.0 <= best["start_s"] < best["end_s"] <= 5.5
    kept = locator._encoded.cache_info
    assert (kept().hits, kept().misses) == (1, 1)  # the file was read once for both sentences
    for start_s in range(4):
        locator.locate("a man", path, Span(start_s, start_s + 2.0))
    assert kept().currsize == 2
    whole = locator.locate("a man", path)
    write_video(path, num_frames=20)  # another file of that name
    assert locator.locate("a man", path) != whole and locator.locate("a man", path)[1] <= 2.0


def test_a_locator_of_features_is_refused():
    with pytest.raises(SearchIndexError, match=r"tiny: this model reads features .* trained on frames"):
        MomentLocator(tiny_ci_mha.tiny_model(), None, "tiny")


# ---------------------------------------------------------------------------------------------------------------------
# Names and what is refused
# ---------------------------------------------------------------------------------------------------------------------


def test_models_by_name(folders):
    models = load_models(folders / "dual_encoder", str(folders / "retrieval"), folders / "moments", device="cpu")
    assert isinstance(models.encoder, Encoder) and isinstance(models.encoder, Reranker)
    assert isinstance(models.reranker, Reranker) and not isinstance(models.reranker, Encoder)
    assert isinstance(models.locator, MomentLocator)
    assert models.encoder.name == str(folders / "dual_encoder")
    assert load_models(*models) == models  # as they are
    both = load_models(folders / "dual_encoder", folders / "dual_encoder", device="cpu")
    assert both.encoder is both.reranker
    assert load_models() == (None, None, None)


def test_a_cross_encoder_is_a_reranker(folders):
    alone = load_models(folders / "retrieval", device="cpu")
    assert alone.encoder is None and alone.reranker.name.endswith("retrieval")
    assert load_models(alone.reranker) == alone
    for load in (load_encoder, lambda name: load_models(name, folders / "dual_encoder", device="cpu")):
        with pytest.raises(SearchIndexError, match=r"retrieval: ClipBERTForVideoTextRetrieval reads .* no vectors"):
            load(folders / "retrieval")


@pytest.mark.parametrize("name", ["open_answers", "classes"])
def test_models_of_other_tasks_are_refused(name, folders):
    with pytest.raises(SearchIndexError, match=rf"{name}: \w+For\w+ cannot be used for search. Expected as encoder"):
        load_encoder(folders / name)


def test_wrong_stages_are_refused(folders, tmp_path):
    locator = load_locator(folders / "moments", device="cpu")
    with pytest.raises(SearchIndexError, match=r"moments: Expected as encoder .*; got CIMHAForMomentRetrieval\."):
        load_encoder(locator)
    with pytest.raises(SearchIndexError, match=r"clip: Expected as reranker .*; got CLIPModel\."):
        load_reranker(folders / "clip")
    with pytest.raises(SearchIndexError, match=r"Expected as locator .*; got MugSTANForVideoTextRetrieval\."):
        load_locator(folders / "dual_encoder")
    with pytest.raises(SearchIndexError, match=r"neither a checkpoint"):
        load_encoder(tmp_path)
    with pytest.raises(SearchIndexError, match=r"nowhere: no such folder in "):
        load_encoder("nowhere", local_files_only=True)
    with pytest.raises(SearchIndexError, match=r"3: Expected as encoder .*; got int\."):
        load_encoder(3)


def test_what_lacks_weights_or_words_is_refused(folders, tmp_path):
    CLIPVisionModel(CLIPVisionConfig(**TOWER, image_size=24, patch_size=8)).save_pretrained(tmp_path / "half")
    with pytest.raises(SearchIndexError, match=r"half: CLIPVisionModel cannot be used for search"):
        load_encoder(tmp_path / "half")
    shutil.copytree(folders / "clip", tmp_path / "cut")
    weights = load_file(tmp_path / "cut" / "model.safetensors")
    save_file(
        {name: tensor for name, tensor in weights.items() if "text" not in name},
        tmp_path / "cut" / "model.safetensors",
    )
    with pytest.raises(
        SearchIndexError, match=r"cut: \d+ weights of CLIPModel are not in the checkpoint, such as text_"
    ):
        load_encoder(tmp_path / "cut")


def test_options_are_checked(folders):
    with pytest.raises(TypeError, match=r"no option 'num_clip': did you mean num_clips"):
        load_reranker(folders / "retrieval", num_clip=3)
    with pytest.raises(TypeError, match=r"no option 'spans_se'"):
        load_reranker(folders / "retrieval", spans_se=None)
    with pytest.raises(TypeError, match=r"CLIPModel has no option 'num_clips'"):
        load_encoder(folders / "clip", num_clips=3)
    with pytest.raises(SearchIndexError, match=r"draws frames at random"):
        load_reranker(folders / "retrieval", sampling="random")
    with pytest.raises(SearchIndexError, match=r"expected num_frames=at least 1, got 0"):
        load_encoder(folders / "clip", num_frames=0)
    reader = load_reranker(folders / "retrieval", device="cpu", do_sample_frames=False)
    inputs = [reader.read(np.zeros((count, 32, 32, 3), np.uint8)) for count in (3, 4)]
    with pytest.raises(SearchIndexError, match=r"come out in the shapes .* keep do_resize"):
        reader.encode(inputs)


# ---------------------------------------------------------------------------------------------------------------------
# Queries
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dual_encoder", "clip"])
def test_queries_by_their_type(name, folders, videos, tmp_path):
    encoder = load_encoder(folders / name, device="cpu")
    assert np.array_equal(query_vector(encoder, "a dog"), encoder.encode_query(["a dog"])[0])
    assert np.array_equal(query_vector(encoder, videos[3].as_posix()), encoder.encode_query([str(videos[3])])[0])
    (of_video,) = encoder.encode([encoder.read(videos[3])])
    assert np.array_equal(query_vector(encoder, videos[3]), of_video.vector)

    picture = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8))
    picture.save(tmp_path / "picture.PNG")
    of_picture = query_vector(encoder, picture)
    assert np.array_equal(of_picture, query_vector(encoder, tmp_path / "picture.PNG"))
    film = np.repeat(np.asarray(picture)[None], 5, axis=0)
    np.testing.assert_allclose(of_picture, encoder.encode([encoder.read(film)])[0].vector, atol=1e-6)
    assert np.linalg.norm(of_picture) == pytest.approx(1.0, abs=1e-6)

    assert np.allclose(query_vector(encoder, 5 * of_picture), of_picture, atol=1e-6)
    ones = np.ones(encoder.width)
    for wrong, message in (
        ("  ", "Expected words"),
        (ones[1:], "Expected a vector of 12 numbers"),
        (ones[None], "Expected a vector of 12 numbers"),
        (0 * ones, "not all 0"),
        (np.nan * ones, "finite"),
        (b"film.mp4", "Cannot search for bytes"),
    ):
        with pytest.raises(SearchIndexError, match=message):
            query_vector(encoder, wrong)
    with pytest.raises(VideoDecodeError, match=r"missing.jpg"):
        query_vector(encoder, tmp_path / "missing.jpg")
