# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Texts with videos: what comes out for which nesting, what does not fit together, saving, and code on the Hub."""

import copy
import json
import os
import pickle
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import PIL.Image
import pytest
import torch
from transformers import AutoProcessor, AutoTokenizer, AutoVideoProcessor, BertTokenizer, ConvNextImageProcessor

from clipbert.modeling_clipbert import ClipBERTConfig, ClipBERTModel, processor_from_parts
from clipbert.processing import ClipBERTVideoProcessor, VideoDecodeError, VideoTextProcessor, load_tokenizer
from clipbert.processing.processing_video_text import logger as processing_logger


SIDE = 32
CODE_FILES = {
    "bitstreams.py",
    "complaints.py",
    "decoding.py",
    "decoding_count.py",
    "kept_indexes.py",
    "lost_packets.py",
    "option_checks.py",
    "packet_reading.py",
    "packet_tables.py",
    "pictures.py",
    "processing_video_text.py",
    "sampling.py",
    "transforms.py",
    "video_index.py",
    "video_processing.py",
    "video_processing_clipbert.py",
    "video_reader.py",
    "video_sources.py",
    "visual_inputs.py",
}
SETTINGS_FILES = {"processor_config.json", "tokenizer.json", "tokenizer_config.json"}


@pytest.fixture(scope="module")
def vocab_file(small_parity_dir):
    return small_parity_dir / "text" / "vocab.txt"


@pytest.fixture(scope="module")
def processor(vocab_file):
    video_processor = ClipBERTVideoProcessor(size=SIDE, num_clips=2, num_frames=2)
    return VideoTextProcessor(video_processor, load_tokenizer(vocab_file), max_length=20)


def make_videos(count, num_frames=8):
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (num_frames, 24, 32, 3), dtype=np.uint8) for _ in range(count)]


# ------------------------------------------------------------------------------------------------------------- batches


def test_one_text_a_video(processor):
    batch = processor(text=["a man is running", "the dog"], videos=make_videos(2))
    assert {name: tuple(values.shape) for name, values in batch.items()} == {
        "input_ids": (2, 6),  # padded to the longest: [CLS] a man is running [SEP]
        "attention_mask": (2, 6),
        "pixel_values": (2, 2, 2, 3, SIDE, SIDE),
    }
    assert batch["attention_mask"].tolist() == [[1] * 6, [1] * 4 + [0] * 2]
    assert set(batch) <= set(processor.model_input_names)


def test_single_text_and_single_video_need_no_list(processor):
    [video] = make_videos(1)
    alone, in_lists = processor(text="the dog", videos=video), processor(text=["the dog"], videos=[video])
    assert all(torch.equal(alone[name], in_lists[name]) for name in in_lists)


def test_texts_alone_and_videos_alone(processor):
    videos = make_videos(2)
    together = processor(text=["a man", "the dog"], videos=videos)
    assert dict(processor(text=["a man", "the dog"])).keys() == {"input_ids", "attention_mask"}
    torch.testing.assert_close(processor(videos=videos)["pixel_values"], together["pixel_values"], rtol=0, atol=0)
    with pytest.raises(ValueError, match="Nothing to prepare"):
        processor()


def test_several_texts_a_video(processor):
    batch = processor(text=[["a man", "the dog runs"], [], ["a red ball"]], videos=make_videos(3))
    assert batch["video_indices"].tolist() == [0, 0, 2]
    assert batch["video_indices"].dtype == torch.int64
    flat = processor(text=["a man", "the dog runs", "a red ball"])
    assert torch.equal(batch["input_ids"], flat["input_ids"])
    assert "video_indices" not in flat


def test_images_instead_of_videos(processor):
    images = [PIL.Image.fromarray(video[0]) for video in make_videos(2)]
    batch = processor(text=["a man", "the dog"], images=images)
    assert batch["pixel_values"].shape == (2, 1, 1, 3, SIDE, SIDE)
    with pytest.raises(ValueError, match="both images and videos"):
        processor(text="a man", images=images[0], videos=make_videos(1))


def test_options_of_a_question_become_rows_of_one_segment(processor):
    questions, options = (
        ["what does the dog do ?", "who ?"],
        [["run", "sit", "jump"], ["the man", "a woman", "people"]],
    )
    batch = processor(text=questions, options=options, videos=make_videos(2))
    questions_, choices, length = batch["input_ids"].shape
    assert (questions_, choices) == (2, 3)
    assert batch["attention_mask"].shape == (2, 3, length)
    rows = processor(text=["what does the dog do ? sit", "who ? people"], padding="max_length", max_length=length)
    assert torch.equal(batch["input_ids"][0, 1], rows["input_ids"][0])
    assert torch.equal(batch["input_ids"][1, 2], rows["input_ids"][1])
    assert "video_indices" not in batch


def test_several_questions_a_video_with_options(processor):
    text, options = [["who ?"], ["what ?", "who ?"]], [[["a", "b"]], [["c", "d"], ["e", "f"]]]
    batch = processor(text=text, options=options, videos=make_videos(2))
    assert batch["input_ids"].shape[:2] == (3, 2)
    assert batch["video_indices"].tolist() == [0, 1, 1]


@pytest.mark.parametrize("return_tensors, kind", [("pt", torch.Tensor), ("np", np.ndarray), (None, list)])
def test_return_tensors(processor, return_tensors, kind):
    options = {"text": [["who ?", "what ?"]], "options": [[["a", "b"], ["c", "d"]]]}
    batch = processor(**options, videos=make_videos(1), return_tensors=return_tensors)
    for name in ("input_ids", "attention_mask", "video_indices"):
        assert isinstance(batch[name], kind), name
    assert np.array(batch["input_ids"]).tolist() == processor(**options)["input_ids"].tolist()
    assert isinstance(batch["pixel_values"], torch.Tensor if return_tensors is None else kind)


def test_options_reach_the_part_they_belong_to(processor):
    videos = make_videos(1, num_frames=40)
    flat = processor(text="the dog", videos=videos, max_length=3, num_clips=3, sampling="random", seeds=[(1, 2)])
    grouped = processor(
        text="the dog",
        videos=videos,
        text_kwargs={"max_length": 3},
        videos_kwargs={"num_clips": 3, "sampling": "random", "seeds": [(1, 2)]},
    )
    assert flat["input_ids"].shape == (1, 3)
    assert flat["pixel_values"].shape[1] == 3
    assert all(torch.equal(flat[name], grouped[name]) for name in grouped)
    batch = processor(videos=videos, return_metadata=True, short_video="mask")
    assert set(batch) == {"pixel_values", "clip_mask", "frame_indices", "frame_seconds", "video_metadata"}


def test_decoding_token_ids(processor):
    batch = processor(text=["the dog jumped", "a man"])
    assert processor.decode(batch["input_ids"][0], skip_special_tokens=True) == "the dog jumped"
    assert processor.batch_decode(batch["input_ids"], skip_special_tokens=True) == ["the dog jumped", "a man"]


# ----------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "inputs, message",
    [
        ({"text": ["a", "b", "c"], "num_videos": 2}, "3 texts for 2 videos"),
        ({"text": "a", "num_videos": 2}, "1 texts for 2 videos"),
        ({"text": [["a"], ["b"]], "num_videos": 3}, "2 lists of texts for 3 videos"),
        ({"text": [[], []], "num_videos": 2}, "no text at all"),
        ({"text": []}, "no text at all"),
        ({"text": ["a", ["b"]]}, "side by side"),
        ({"text": ["a", None]}, "got NoneType as text 1"),
        ({"text": [["a"], [3]]}, "got int as text 1"),
        ({"options": [["a", "b"]]}, "without the questions"),
        ({"text": ["a", "b"], "options": [["c", "d"]]}, "1 lists of options for 2 questions"),
        ({"text": ["a", "b"], "options": [["c", "d"], ["e"]]}, r"at least 1, got \[2, 1\]"),
        ({"text": ["a"], "options": [[]]}, r"at least 1, got \[0\]"),
        ({"text": ["a"], "options": ["yes"]}, "got 'yes' for question 0"),
        ({"text": ["a"], "options": [[1, 2]]}, r"got \[1, 2\] for question 0"),
        ({"text": [["a", "b"], ["c"]], "options": [[["d"]], [["e"]]]}, r"\[2, 1\] questions.*\[1, 1\]"),
    ],
)
def test_counts_that_do_not_fit(processor, inputs, message, monkeypatch):
    monkeypatch.setattr(ClipBERTVideoProcessor, "__call__", None)  # nothing may be decoded before the refusal
    if "num_videos" in inputs:
        inputs = {**inputs, "videos": ["never_opened.mp4"] * inputs["num_videos"]}
        del inputs["num_videos"]
    with pytest.raises((TypeError, ValueError), match=message):
        processor(**inputs)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_clip": 2}, "did you mean num_clips"),
        ({"maximum_length": 2}, "did you mean max_length"),
        ({"text_kwargs": {"num_clips": 2}}, "text_kwargs has no option 'num_clips'"),
        ({"videos_kwargs": {"max_length": 2}}, "ClipBERTVideoProcessor has no option 'max_length'"),
        ({"images_kwargs": {}}, "no option 'images_kwargs'"),
        ({"return_token_type_ids": True}, "no option 'return_token_type_ids'"),
        ({"num_clips": 2, "videos_kwargs": {"num_clips": 2}}, "num_clips twice"),
        ({"padding": "longest_of_all"}, "longest_of_all"),
        ({"max_length": 2}, "between 3 .* and 512"),
        ({"max_length": 513}, "between 3 .* and 512"),
        ({"num_frames": 0}, "num_frames"),
    ],
)
def test_wrong_options(processor, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        processor(text="a man", videos=make_videos(1), **options)


def test_a_batch_with_metadata_goes_into_a_model(processor):
    batch = processor(text=["a man", "the dog"], videos=make_videos(2), return_metadata=True)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    backbone = {
        "model_type": "resnet",
        "embedding_size": 8,
        "hidden_sizes": [8],
        "depths": [1],
        "out_features": ["stage1"],
    }
    model = ClipBERTModel(ClipBERTConfig(**sizes, backbone_config=backbone)).eval()
    assert {"frame_indices", "frame_seconds", "video_metadata"} <= set(batch)
    plain = processor(text=["a man", "the dog"], videos=make_videos(2))
    assert torch.equal(model(**batch).last_hidden_state, model(**plain).last_hidden_state)


@pytest.mark.parametrize(
    "inputs, message",
    [
        ({"text": [[], []]}, "no text at all"),
        ({"text": 3}, "got int: 3"),
        ({"text": ["a", ""], "add_special_tokens": False}, "Nothing is left of text 1, ''"),
        ({"text": ["", "a"], "add_special_tokens": False, "padding": False, "return_tensors": None}, "left of text 0"),
        ({"text": "a", "max_length": 10**9}, "max_length between 3 .* got 1000000000"),
        ({"text": "a", "pad_to_multiple_of": 10**9}, "pad_to_multiple_of must lie in .* got 1000000000"),
        ({"text": "a", "pad_to_multiple_of": 0}, "pad_to_multiple_of must lie in .* got 0"),
        ({"text": ["a", "a\ud800"]}, r"Text 1 holds half of a character.*\\ud800"),
    ],
)
def test_texts_that_cannot_be(processor, inputs, message):
    with pytest.raises((ValueError, TypeError), match=message):
        processor(**inputs)


def test_a_tokenizer_without_a_limit_is_not_asked_for_a_billion_tokens(vocab_file):
    tokenizer = load_tokenizer(vocab_file)
    tokenizer.model_max_length = int(1e30)
    with pytest.raises(ValueError, match="max_length between 3 .* got 1000000000"):
        VideoTextProcessor(ClipBERTVideoProcessor(), tokenizer)(text="a", padding="max_length", max_length=10**9)


def test_errors_of_decoding_come_through(processor, tmp_path):
    with pytest.raises(VideoDecodeError, match="missing.mp4"):
        processor(text="a man", videos=tmp_path / "missing.mp4")


# ----------------------------------------------------------------------------------------------------- length of texts


def test_length_of_the_processor_and_of_a_call(processor):
    long = " ".join(["dog"] * 50)
    assert processor(text=long)["input_ids"].shape == (1, 20)
    assert processor(text=long, max_length=7)["input_ids"].shape == (1, 7)
    assert processor(text=long, truncation=False)["input_ids"].shape == (1, 52)
    assert processor(text="a dog", padding="max_length")["input_ids"].shape == (1, 20)
    assert processor(text=["a dog", "a"], pad_to_multiple_of=8, max_length=16)["input_ids"].shape == (2, 8)
    truncated = processor(text=long, max_length=7)["input_ids"][0].tolist()
    assert (truncated[0], truncated[-1]) == (processor.tokenizer.cls_token_id, processor.tokenizer.sep_token_id)


def test_without_a_length_the_tokenizer_decides(vocab_file):
    tokenizer = load_tokenizer(vocab_file)
    processor = VideoTextProcessor(ClipBERTVideoProcessor(), tokenizer)
    assert processor(text=" ".join(["dog"] * 600))["input_ids"].shape == (1, 512)
    tokenizer.model_max_length = int(1e30)
    assert processor(text=" ".join(["dog"] * 600))["input_ids"].shape == (1, 602)
    with pytest.raises(ValueError, match="max_length between 3"):
        VideoTextProcessor(ClipBERTVideoProcessor(), tokenizer, max_length=0)


def test_options_made_equal_by_truncation_are_reported(processor, caplog, monkeypatch):
    monkeypatch.setattr(processing_logger, "propagate", True)
    question = {"text": ["what does the dog do ?"], "options": [["jump on the red couch", "jump on the ball"]]}
    assert torch.equal(*processor(**question, max_length=10)["input_ids"][0])
    assert "have become the same 10 tokens" in caplog.text
    caplog.clear()
    processor(**question)
    processor(text=["who ?"], options=[["a man", "a man"]])  # they were the same before
    assert not caplog.text


# ----------------------------------------------------------------------------------------------------------- tokenizer


def test_tokenizer_from_a_vocabulary_from_its_folder_and_saved(vocab_file, tmp_path):
    (tmp_path / "vocab_only").mkdir()
    (tmp_path / "vocab_only" / "vocab.txt").write_bytes(vocab_file.read_bytes())
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "vocab.txt").write_bytes(vocab_file.read_bytes())
    (tmp_path / "bert" / "config.json").write_text(json.dumps({"model_type": "bert"}))
    load_tokenizer(vocab_file).save_pretrained(tmp_path / "saved")
    texts = ["The dogs JUMPED on the couch.", "a womän with an unseen word"]
    expected = load_tokenizer(str(vocab_file))(texts)["input_ids"]
    for folder in ("vocab_only", "bert", "saved"):
        tokenizer = load_tokenizer(tmp_path / folder)
        assert tokenizer(texts)["input_ids"] == expected, folder
        assert tokenizer.model_max_length == 512, folder
        assert (tokenizer.padding_side, tokenizer.truncation_side) == ("right", "right")
    cased = load_tokenizer(vocab_file, do_lower_case=False)
    assert cased("The")["input_ids"][1] == cased.unk_token_id


def test_places_without_a_vocabulary_are_refused(tmp_path, vocab_file):
    with pytest.raises(FileNotFoundError, match="nowhere.txt"):
        load_tokenizer(tmp_path / "nowhere.txt")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match="Found no words"):
        load_tokenizer(tmp_path)
    (tmp_path / "short.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[MASK]\nword\nother\nthird\n")
    with pytest.raises(ValueError, match=r"lacks \[SEP\]"):
        load_tokenizer(tmp_path / "short.txt")


# ------------------------------------------------------------------------------------------- made from vision and text


def test_pixel_settings_of_a_vision_checkpoint(tmp_path, vocab_file):
    ConvNextImageProcessor(image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6]).save_pretrained(tmp_path)
    processor = processor_from_parts({"vision": tmp_path, "text": vocab_file}, max_length=9, num_clips=7)
    video_processor = processor.video_processor
    assert list(video_processor.image_mean) == [0.1, 0.2, 0.3]
    assert list(video_processor.image_std) == [0.4, 0.5, 0.6]
    assert video_processor.do_rescale
    assert video_processor.rescale_factor == 1 / 255
    assert (video_processor.num_clips, video_processor.size["longest_edge"], processor.max_length) == (7, 448, 9)
    stronger = processor_from_parts({"vision": tmp_path, "text": vocab_file}, image_mean=[0.0, 0.0, 0.0])
    assert list(stronger.video_processor.image_mean) == [0.0, 0.0, 0.0]


def test_old_image_settings_without_do_rescale_mean_pixels_up_to_one(tmp_path, vocab_file):
    """Settings written before `do_rescale` existed: reading the bare JSON would give pixels 255 times too large."""
    old = {"feature_extractor_type": "ConvNextFeatureExtractor", "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(old))
    processor = processor_from_parts({"vision": tmp_path, "text": vocab_file})
    pixels = processor(videos=np.full((1, 4, 4, 3), 255, dtype=np.uint8), size=SIDE)["pixel_values"]
    torch.testing.assert_close(pixels, torch.ones_like(pixels))


def test_all_settings_of_one_of_our_own_processors(tmp_path, vocab_file):
    saved = ClipBERTVideoProcessor(size=SIDE, fps=2, timeout_s=None, image_mean=[1.0, 2.0, 3.0])
    saved.save_pretrained(tmp_path)
    processor = processor_from_parts({"vision": tmp_path, "text": vocab_file})
    assert processor.video_processor.to_dict() == saved.to_dict()


def test_a_vision_checkpoint_without_settings_is_reported(tmp_path, vocab_file):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "resnet"}))
    with pytest.raises(OSError, match="no preprocessing settings.*image_mean="):
        processor_from_parts({"vision": tmp_path, "text": vocab_file})
    settings = {"image_mean": [1.0, 2.0, 3.0], "image_std": [1.0, 1.0, 1.0], "do_rescale": False}
    processor = processor_from_parts({"vision": tmp_path, "text": vocab_file}, **settings)
    assert list(processor.video_processor.image_mean) == [1.0, 2.0, 3.0]


# ----------------------------------------------------------------------------------------------------- saving, the Hub


def assert_same_outputs(first, second):
    inputs = {"text": [["The dogs JUMPED", "a man"], ["who ?"]], "videos": make_videos(2, num_frames=30)}
    options = {"sampling": "random", "seeds": [(1, 2), (3, 4)]}
    expected, got = first(**inputs, **options), second(**inputs, **options)
    assert list(expected) == list(got)
    for name in expected:
        torch.testing.assert_close(got[name], expected[name], rtol=0, atol=0, msg=name)


def test_save_and_load(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == SETTINGS_FILES
    for load in (VideoTextProcessor.from_pretrained, AutoProcessor.from_pretrained):
        loaded = load(tmp_path)
        assert type(loaded) is VideoTextProcessor
        assert type(loaded.video_processor) is ClipBERTVideoProcessor
        assert loaded.max_length == 20
        assert loaded.to_dict() == processor.to_dict()
        assert_same_outputs(processor, loaded)
    assert type(AutoVideoProcessor.from_pretrained(tmp_path)) is ClipBERTVideoProcessor
    assert AutoTokenizer.from_pretrained(tmp_path).get_vocab() == processor.tokenizer.get_vocab()
    changed = VideoTextProcessor.from_pretrained(tmp_path, max_length=9, num_clips=5)
    assert (changed.max_length, changed.video_processor.num_clips) == (9, 5)


def test_saving_twice_gives_the_same_files(processor, tmp_path):
    processor.save_pretrained(tmp_path / "first")
    VideoTextProcessor.from_pretrained(tmp_path / "first").save_pretrained(tmp_path / "second")
    for name in ("processor_config.json", "tokenizer.json"):
        assert (tmp_path / "first" / name).read_text() == (tmp_path / "second" / name).read_text(), name


def test_processor_can_be_sent_to_loader_workers(processor):
    assert_same_outputs(processor, pickle.loads(pickle.dumps(processor)))


@pytest.fixture
def slow_halves(processor, monkeypatch):
    """A tokenizer whose calls are long between setting truncation and padding, and obeying them."""
    tokenizer_class = type(processor.tokenizer)
    set_both = tokenizer_class.set_truncation_and_padding

    def set_and_wait(tokenizer, **kwargs):
        set_both(tokenizer, **kwargs)
        time.sleep(0.002)

    monkeypatch.setattr(tokenizer_class, "set_truncation_and_padding", set_and_wait)


def test_threads_share_a_processor(processor, slow_halves):
    texts = ["a man is running", "the dog"]
    options = [
        {"max_length": 4},
        {"max_length": 5, "padding": "max_length"},
        {"padding": "longest", "pad_to_multiple_of": 4},
        {"truncation": False, "padding": False, "return_tensors": None},
    ]
    again = copy.copy(processor)  # another processor with the same tokenizer

    def encode(number):
        one = processor if number % 2 else again
        return one(text=texts, **options[number % len(options)])["input_ids"]

    expected = [np.array(encode(number), dtype=object).tolist() for number in range(len(options))]
    with ThreadPoolExecutor(4) as threads:
        got = [np.array(ids, dtype=object).tolist() for ids in threads.map(encode, range(40))]
    assert got == expected * 10


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_worker_that_is_forked_while_a_thread_tokenizes_does_not_hang(processor, slow_halves):
    with ThreadPoolExecutor(1) as threads:
        busy = threads.submit(lambda: [processor(text="a man") for _ in range(100)])
        workers = [get_context("fork").Process(target=processor, kwargs={"text": "the dog"}) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(20)
        codes = [worker.exitcode for worker in workers]
        for worker in workers:
            worker.kill()
        busy.result()
    assert codes == [0] * 4


def test_arguments_in_the_wrong_order_are_refused(processor):
    with pytest.raises(TypeError, match="video_processor"):
        VideoTextProcessor(processor.tokenizer, processor.video_processor)
    assert isinstance(processor.tokenizer, BertTokenizer)


CLIP_WORDS = ["<|startoftext|>", "<|endoftext|>", "a</w>", "dog</w>", "d", "o", "g", "o</w>", "g</w>", "do"]


@pytest.fixture
def clip_vocabulary(tmp_path):
    """A folder with the two files of CLIP's vocabulary and nothing else."""
    folder = tmp_path / "clip"
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(CLIP_WORDS)}))
    (folder / "merges.txt").write_text("#version: 0.2\nd o\ndo g</w>\n")
    return folder


def test_the_tokenizer_of_clip_serves_as_well(clip_vocabulary, tmp_path):
    tokenizer = load_tokenizer(clip_vocabulary)
    assert tokenizer.model_max_length == 77
    processor = VideoTextProcessor(ClipBERTVideoProcessor(size=SIDE), tokenizer, max_length=4)
    batch = processor(text=["A dog", "dog a dog dog", "a"], videos=make_videos(3))
    assert batch["input_ids"].tolist() == [[0, 2, 3, 1], [0, 3, 2, 1], [0, 2, 1, 1]]  # cut and padded
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 0]]
    processor.save_pretrained(tmp_path / "saved")
    loaded = AutoProcessor.from_pretrained(tmp_path / "saved")
    assert loaded(text=["A dog"])["input_ids"].tolist() == [[0, 2, 3, 1]]


def test_a_vocabulary_of_another_kind_and_a_tokenizer_that_cannot_pad(clip_vocabulary, tmp_path):
    (clip_vocabulary / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(CLIP_WORDS[1:])}))
    with pytest.raises(ValueError, match=r"lacks <\|startoftext\|>.*of a CLIP"):
        load_tokenizer(clip_vocabulary)
    without = BertTokenizer(vocab={"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "dog": 5, "a": 6})
    without.pad_token = None
    without.save_pretrained(tmp_path / "without")
    with pytest.raises(ValueError, match="no padding token.*pad_token="):
        load_tokenizer(tmp_path / "without")
    assert load_tokenizer(tmp_path / "without", pad_token="[PAD]").pad_token_id == 0


@pytest.fixture
def published(processor, tmp_path):
    """A folder as it goes to the Hub, with the code of the processor."""
    VideoTextProcessor.register_for_auto_class()
    try:
        processor.save_pretrained(tmp_path / "published")
    finally:  # classes keep this for the rest of the process
        VideoTextProcessor._auto_class = ClipBERTVideoProcessor._auto_class = None
    return tmp_path / "published"


CLEAN_PROCESS = """
import importlib.util, sys
import numpy as np
import torch
from transformers import AutoProcessor, AutoVideoProcessor

assert importlib.util.find_spec("processing") is None and importlib.util.find_spec("modeling_clipbert") is None
folder, video, result = sys.argv[1:]
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
batch = processor(text=[["The dogs JUMPED", "a man"]], videos=video, sampling="random", seeds=[(1, 2)])
video_processor = AutoVideoProcessor.from_pretrained(folder, trust_remote_code=True)
alone = video_processor(video, sampling="random", seeds=[(1, 2)])
assert torch.equal(alone["pixel_values"], batch["pixel_values"])
torch.save(dict(batch), result)
"""


def test_published_folder_holds_the_code_and_nothing_else(published):
    assert {path.name for path in published.iterdir()} == SETTINGS_FILES | CODE_FILES
    settings = json.loads((published / "processor_config.json").read_text())
    assert settings["auto_map"] == {"AutoProcessor": "processing_video_text.VideoTextProcessor"}
    video_class = settings["video_processor"]["auto_map"]["AutoVideoProcessor"]
    assert video_class == "video_processing_clipbert.ClipBERTVideoProcessor"


def test_published_code_works_in_a_process_without_this_package(published, processor, write_video, tmp_path):
    video = write_video(tmp_path / "video.mp4", num_frames=30)
    # -I keeps the current folder and PYTHONPATH out, -S the packages installed beside this one: an editable install
    # would make `processing` importable. The folder of third-party packages is added back by hand.
    packages = os.path.dirname(os.path.dirname(torch.__file__))
    code = f"import sys; sys.path.append({packages!r})\n" + CLEAN_PROCESS
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hf_home"), "HF_HUB_OFFLINE": "1"}
    (tmp_path / "elsewhere").mkdir()
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(published), str(video), str(tmp_path / "batch.pt")],
        cwd=tmp_path / "elsewhere",
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
    )
    assert run.returncode == 0, run.stderr
    got = torch.load(tmp_path / "batch.pt", weights_only=True)
    expected = processor(text=[["The dogs JUMPED", "a man"]], videos=video, sampling="random", seeds=[(1, 2)])
    assert list(got) == list(expected)
    for name in expected:
        torch.testing.assert_close(got[name], expected[name], rtol=0, atol=0, msg=name)


def test_published_folder_loads_without_its_code_where_the_package_is(published, processor):
    assert type(AutoProcessor.from_pretrained(published)) is VideoTextProcessor
    assert_same_outputs(processor, VideoTextProcessor.from_pretrained(published))
