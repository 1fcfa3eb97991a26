# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What a family's own video processor gets from the shared one, and what it has to say itself."""

import numpy as np
import pytest
import torch
from transformers import AutoVideoProcessor, BaseVideoProcessor, BatchFeature

from clipbert.processing import (
    SparseVideoOptions,
    SparseVideoProcessor,
    VideoDecodeError,
    VideoTextProcessor,
    load_tokenizer,
)


class InvertedOptions(SparseVideoOptions, total=False):
    invert: bool


class InvertedVideoProcessor(SparseVideoProcessor):
    """Frames cut to a square at the top left, upside down in brightness if asked for."""

    size = {"height": 8, "width": 8}
    invert = False
    valid_kwargs = InvertedOptions

    def transform(self, picture, options):
        frame = (
            torch.from_numpy(picture).permute(2, 0, 1).float()[:, : options["size"].height, : options["size"].width]
        )
        return 255 - frame if options["invert"] else frame

    def check_picture_size(self, height, width, options):
        if min(height, width) < options["size"].height:
            raise ValueError(f"{height}x{width} is too small")


def test_a_family_states_its_transform_and_has_clips_seeds_and_options(write_video, tmp_path):
    video = write_video(tmp_path / "video.mp4", num_frames=20)
    processor = InvertedVideoProcessor(num_clips=3, num_frames=2)
    batch = processor(video, return_metadata=True)
    assert batch["pixel_values"].shape == (1, 3, 2, 3, 8, 8)
    brightness = 8 + 8 * batch["frame_indices"]  # as the fixture draws frame numbers
    torch.testing.assert_close(batch["pixel_values"].mean(dim=(3, 4, 5)), brightness.float(), atol=3, rtol=0)
    torch.testing.assert_close(processor(video, invert=True)["pixel_values"], 255 - batch["pixel_values"])
    seeded = [processor(video, sampling="random", seeds=[(0, 1)])["pixel_values"] for _ in range(2)]
    assert torch.equal(*seeded)


@pytest.mark.parametrize("name", ["num_frames", "num_clips", "size", "do_resize", "sampling"])
def test_none_is_not_given_where_a_processor_is_made(name):
    assert getattr(InvertedVideoProcessor(**{name: None}), name) == getattr(InvertedVideoProcessor(), name)
    assert InvertedVideoProcessor(timeout_s=None).timeout_s is None  # here it says something: no limit


def test_its_own_option_is_saved_and_misspelt_ones_are_refused(tmp_path):
    InvertedVideoProcessor(invert=True).save_pretrained(tmp_path)
    assert InvertedVideoProcessor.from_pretrained(tmp_path).invert is True
    with pytest.raises(TypeError, match="InvertedVideoProcessor has no option 'inverted'.*invert"):
        InvertedVideoProcessor(inverted=True)
    with pytest.raises(TypeError, match="has no option 'do_pad'"):  # which is another family's
        InvertedVideoProcessor()(np.zeros((4, 8, 8, 3), dtype=np.uint8), do_pad=False)


def test_pictures_it_cannot_take_are_named(write_video, tmp_path):
    video = write_video(tmp_path / "small.mp4", size=(16, 16))
    with pytest.raises(VideoDecodeError, match="small.mp4.*16x16 is too small"):
        InvertedVideoProcessor(size={"height": 32, "width": 32})(video)


def test_without_a_transform_there_is_a_clear_error():
    class Unfinished(SparseVideoProcessor):
        size = {"height": 8, "width": 8}

    with pytest.raises(NotImplementedError, match="Unfinished.*`transform`"):
        Unfinished()(np.zeros((4, 8, 8, 3), dtype=np.uint8))


class StockLikeVideoProcessor(BaseVideoProcessor):
    """One that has nothing of ours."""

    valid_kwargs = type("Options", (SparseVideoOptions,), {})

    def __call__(self, videos, **kwargs):
        return BatchFeature({"frames": torch.zeros(len(videos), 3)})


def test_words_go_with_a_video_processor_that_has_nothing_of_ours(small_parity_dir):
    processor = VideoTextProcessor(StockLikeVideoProcessor(), load_tokenizer(small_parity_dir / "text" / "vocab.txt"))
    batch = processor(text=[["a man", "a dog"], ["the dog"]], videos=["first.mp4", "second.mp4"])
    assert batch["frames"].shape == (2, 3) and batch["video_indices"].tolist() == [0, 0, 1]
    with pytest.raises(ValueError, match="StockLikeVideoProcessor takes no images"):
        processor(text="a man", images=["picture.png"])


def test_videos_are_looked_at_once(monkeypatch, small_parity_dir):
    import clipbert.processing.visual_inputs as visual_inputs

    looked_at = []
    is_file = visual_inputs._is_file
    monkeypatch.setattr(visual_inputs, "_is_file", lambda value: looked_at.append(1) or is_file(value))
    processor = VideoTextProcessor(InvertedVideoProcessor(), load_tokenizer(small_parity_dir / "text" / "vocab.txt"))
    processor(text=["a man", "a dog"], videos=list(np.zeros((2, 4, 8, 8, 3), dtype=np.uint8)))
    assert len(looked_at) == 2


def test_a_model_without_words_has_a_video_processor_alone(tmp_path):
    from transformers import AutoConfig, PreTrainedConfig

    class InvertedConfig(PreTrainedConfig):
        model_type = "inverted-frames"

    AutoConfig.register("inverted-frames", InvertedConfig, exist_ok=True)
    AutoVideoProcessor.register(InvertedConfig, InvertedVideoProcessor, exist_ok=True)
    InvertedVideoProcessor(num_clips=2).save_pretrained(tmp_path)
    loaded = AutoVideoProcessor.from_pretrained(tmp_path)
    assert type(loaded) is InvertedVideoProcessor and loaded.num_clips == 2
