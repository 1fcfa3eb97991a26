# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The frames that Mug-STAN sees: which ones, as recorded from the official code, and pixels as CLIP has them."""

import doctest
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numbered_videos import KINDS, plain_decode, write_numbered
from safetensors.torch import load_file
from transformers import CLIPImageProcessor, SiglipImageProcessor

import clipbert.processing.augmentation
import clipbert.processing.video_processing_mug_stan
from clipbert.processing import MugSTANVideoProcessor, VideoDecodeError
from clipbert.processing.augmentation import refuse_flips_of_sides
from clipbert.processing.video_processing_mug_stan import (
    OFFICIAL,
    OFFICIAL_CROP,
    resize,
    resized_shape,
    sample_official,
)


RECORDED = Path(__file__).parents[1] / "fixtures" / "mug_stan" / "processing"
FRAMES = np.random.default_rng(0).integers(0, 256, (6, 70, 121, 3), dtype=np.uint8)


def exact(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_numbered(tmp_path_factory.mktemp("videos") / "numbered.mp4", 200, KINDS["mp4_h264"])


# --- which frames


@pytest.mark.parity
def test_frame_numbers_are_the_official_ones():
    for case in json.loads((RECORDED / "uniform_sample.json").read_text()):
        asked = case["num_frames"], case["clip_len"], case["num_clips"]
        assert sample_official(*asked).ravel().tolist() == case["test_indices"]
        low, high = np.array(case["train_ranges_inclusive"]).T
        drawn = np.stack([sample_official(*asked[:2], rng=np.random.default_rng(seed))[0] for seed in range(200)])
        assert (drawn >= low).all() and (drawn <= high).all()
        short = high - low < 10  # both ends are drawn
        assert (drawn.min(axis=0) == low)[short].all() and (drawn.max(axis=0) == high)[short].all()


def test_the_processor_asks_for_them(video):
    official = MugSTANVideoProcessor(size=32, num_frames=12, return_metadata=True, **OFFICIAL)
    assert official(video)["frame_indices"].tolist() == sample_official(200, 12).tolist()
    assert official(video, num_clips=3)["frame_indices"].tolist() == [sample_official(200, 12, 3).tolist()]
    drawn = [official(video, sampling="random", seeds=[(seed, 1, 2)])["frame_indices"].tolist() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("num_frames", [1, 2, 8, 12, 64, 300])
@pytest.mark.parametrize("placement", ["even", "official"])
def test_any_number_of_frames(num_frames, placement):
    batch = MugSTANVideoProcessor(size=16, num_frames=num_frames, placement=placement)(FRAMES, return_metadata=True)
    assert batch["pixel_values"].shape == (1, num_frames, 3, 16, 16)
    chosen = batch["frame_indices"][0]
    assert (chosen.diff() >= 0).all() and chosen.min() >= 0 and chosen.max() < 6


def test_frames_around_a_key_frame(video):
    processor = MugSTANVideoProcessor(size=16, num_frames=8, sampling="key_frame", return_metadata=True)
    batch = processor([video, video, video], key_times_s=[4.0, 0.0, 7.9], frame_span=80)
    assert batch["frame_indices"].tolist() == [
        [60, 70, 80, 90, 100, 110, 120, 130],  # frame 100 is shown at 4 s
        [0, 0, 0, 0, 0, 10, 20, 30],
        [157, 167, 177, 187, 197, 199, 199, 199],
    ]
    spread = processor(video, key_times_s=[4.0])["frame_indices"][0]
    assert spread.tolist() == [0, 0, 25, 62, 100, 137, 175, 199]  # 300 frames are more than there are
    with pytest.raises(VideoDecodeError, match="numbered.mp4.*does not lie in the video, which lasts 8.00 s"):
        processor(video, key_times_s=[8.5])
    for options in ({}, {"key_times_s": [1.0, 2.0]}, {"key_times_s": [-1.0]}):
        with pytest.raises(ValueError, match="go together|expected 1 times"):
            processor(video, **options)
    with pytest.raises(ValueError, match="exclude each other"):
        processor(video, key_times_s=[1.0], spans_se=[(0.0, 2.0)])
    with pytest.raises(ValueError, match="go together"):
        processor(video, sampling="uniform", key_times_s=[1.0])


# --- pixels


@pytest.mark.parity
def test_pixels_are_the_official_ones():
    recorded = load_file(RECORDED / "preprocess.safetensors")
    processor = MugSTANVideoProcessor(size=32, do_sample_frames=False, **OFFICIAL)
    frames = recorded["frames_uint8"].numpy()
    torch.testing.assert_close(processor(frames)["pixel_values"], recorded["normalised"], rtol=0, atol=1e-4)
    raw = processor(frames, do_rescale=False, do_normalize=False)["pixel_values"][0]
    exact(raw, recorded["cropped_uint8"].float())
    options = {"shorter_side": None, "size": {"height": 32}, "interpolation": "cv2_bilinear", "device": "cpu"}
    options["do_center_crop"] = True
    for picture, resized in zip(frames, recorded["resized_short32_uint8"], strict=True):
        exact(resize(picture, *resized_shape(*picture.shape[:2], options), options).permute(1, 2, 0), resized)


@pytest.mark.parametrize("shape", [(70, 121), (121, 70), (64, 64), (33, 32), (20, 25)])
@pytest.mark.parametrize("shorter", [32, 40])
def test_pixels_are_those_of_clip(shape, shorter):
    frames = np.random.default_rng(1).integers(0, 256, (3, *shape, 3), dtype=np.uint8)
    reference = CLIPImageProcessor(size={"shortest_edge": shorter}, crop_size=32)(list(frames), return_tensors="pt")
    processor = MugSTANVideoProcessor(size=32, shorter_side=shorter, do_sample_frames=False)
    torch.testing.assert_close(processor(frames)["pixel_values"][0], reference["pixel_values"], rtol=0, atol=2e-6)


def test_an_image_processor_is_read(tmp_path):
    CLIPImageProcessor(size={"shortest_edge": 48}, crop_size=40, image_mean=[0.1, 0.2, 0.3]).save_pretrained(
        tmp_path / "clip"
    )
    SiglipImageProcessor(size={"height": 40, "width": 40}, resample=2).save_pretrained(tmp_path / "siglip")
    clip, siglip = (MugSTANVideoProcessor.from_clip_pretrained(tmp_path / name) for name in ("clip", "siglip"))
    assert (clip.size["height"], clip.shorter_side, clip.interpolation) == (40, 48, "bicubic")
    assert tuple(clip.image_mean) == (0.1, 0.2, 0.3)
    assert (siglip.size["height"], siglip.shorter_side, siglip.interpolation) == (40, None, "bilinear")
    assert tuple(siglip.image_std) == (0.5, 0.5, 0.5)
    reference = CLIPImageProcessor.from_pretrained(tmp_path / "clip")(list(FRAMES), return_tensors="pt")[
        "pixel_values"
    ]
    torch.testing.assert_close(clip(FRAMES, do_sample_frames=False)["pixel_values"][0], reference, rtol=0, atol=2e-6)
    reference = SiglipImageProcessor.from_pretrained(tmp_path / "siglip")(list(FRAMES), return_tensors="pt")
    assert FRAMES.shape[1] != FRAMES.shape[2]  # nothing is cut off
    ours = siglip(FRAMES, do_sample_frames=False)["pixel_values"][0]
    torch.testing.assert_close(ours, reference["pixel_values"], rtol=0, atol=2e-6)
    old = {
        "size": 40,
        "crop_size": 40,
        "do_center_crop": True,
        "resample": 3,
        "feature_extractor_type": "CLIPFeatureExtractor",
    }
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "preprocessor_config.json").write_text(json.dumps(old))
    assert MugSTANVideoProcessor.from_clip_pretrained(tmp_path / "old", num_frames=3).num_frames == 3
    for wrong, match in (
        ({"size": {"height": 40, "width": 30}}, "a square"),
        ({"size": 40, "resample": 0}, "resample=0"),
        ({"size": {"height": 48, "width": 48}, "crop_size": 40, "do_center_crop": True}, "one square for both"),
    ):
        (tmp_path / "old" / "preprocessor_config.json").write_text(json.dumps(wrong))
        with pytest.raises(ValueError, match=match):
            MugSTANVideoProcessor.from_clip_pretrained(tmp_path / "old")
    with pytest.raises(OSError, match="nothing"):
        MugSTANVideoProcessor.from_clip_pretrained(tmp_path / "nothing")


# --- views


def test_views_are_clips_times_crops():
    options = {"do_rescale": False, "do_normalize": False, "num_frames": 3}
    processor = MugSTANVideoProcessor(size=32, num_crops=3, num_clips=2, **options)
    views = processor(FRAMES)["pixel_values"]
    assert views.shape == (1, 6, 3, 3, 32, 32)
    for clip in range(2):
        single = processor(FRAMES, num_crops=1)["pixel_values"][:, clip]
        exact(views[:, 3 * clip + 1], single)  # the middle one is the centre crop
    wide, tall = FRAMES, FRAMES.transpose(0, 2, 1, 3)
    left, middle, right = processor(wide, num_clips=1)["pixel_values"][0]
    exact(left[..., 11:], middle[..., :21])
    exact(middle[..., 12:], right[..., :20])
    upright = processor(tall, num_clips=1)["pixel_values"][0].transpose(-1, -2)
    # rows are resized before columns, with grey levels between
    torch.testing.assert_close(upright, torch.stack([left, middle, right]), rtol=0, atol=4)


def test_one_view_has_no_dimension_of_its_own():
    processor = MugSTANVideoProcessor(size=16, num_frames=4, return_metadata=True)
    batch = processor([FRAMES, FRAMES[:2]])
    assert batch["pixel_values"].shape == (2, 4, 3, 16, 16) and batch["frame_indices"].shape == (2, 4)
    assert len(batch["video_metadata"]) == 2
    assert processor(FRAMES, num_clips=2)["frame_indices"].shape == (1, 2, 4)
    assert processor(images=[FRAMES[0], FRAMES[1]])["pixel_values"].shape == (2, 1, 3, 16, 16)
    assert isinstance(processor(FRAMES, return_tensors="np")["pixel_values"], np.ndarray)
    assert processor(FRAMES, num_frames=None, do_sample_frames=True)["pixel_values"].shape[1] == 4  # as pipelines ask
    for number, one in enumerate((FRAMES, FRAMES[:2])):
        exact(batch["pixel_values"][number], processor(one)["pixel_values"][0])


# --- training


def test_one_crop_a_video_from_its_seed():
    still = np.repeat(FRAMES[:1], 6, axis=0)
    processor = MugSTANVideoProcessor(size=32, num_frames=6, augmentation=OFFICIAL_CROP)
    seeds = [(0, 0, 1), (0, 0, 2), (0, 1, 1), (0, 0, 1)]
    batch = processor([still] * 4, sampling="random", seeds=seeds)["pixel_values"]
    for frames in batch:
        exact(frames, frames[:1].expand_as(frames))  # the same part of every frame
    exact(batch[0], batch[3])
    assert not torch.equal(batch[0], batch[1]) and not torch.equal(batch[0], batch[2])
    exact(processor(still, sampling="random", seeds=[(0, 0, 2)])["pixel_values"][0], batch[1])  # alone as in the batch
    whole = MugSTANVideoProcessor(size=32, num_frames=6)(still)["pixel_values"]
    exact(processor(still)["pixel_values"], whole)  # an evaluation alters nothing
    assert not torch.equal(processor(still, seeds=[(5,)])["pixel_values"], whole)


def test_crops_have_the_official_sizes():
    """The position of a pixel in a ramp tells the part that is seen: 8 to 100 % of the area, sides 3:4 to 4:3."""
    ramp = np.zeros((1, 240, 240, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.arange(240)[:, None], np.arange(240)
    options = {"do_rescale": False, "do_normalize": False, "num_frames": 1, "size": 120}
    processor = MugSTANVideoProcessor(augmentation=OFFICIAL_CROP, **options)
    pixels = processor([ramp] * 100, seeds=[(0, 0, number) for number in range(100)])["pixel_values"][:, 0]
    height = (pixels[:, 0, -1, 0] - pixels[:, 0, 0, 0]) / 239
    width = (pixels[:, 1, 0, -1] - pixels[:, 1, 0, 0]) / 239
    assert (height * width).min() > 0.06 and (height * width).max() <= 1.0 and 0.4 < (height * width).median() < 0.65
    assert (height / width).min() > 0.7 and (height / width).max() < 1.45


def test_nothing_is_flipped_unless_asked_for():
    half = np.zeros((1, 40, 40, 3), np.uint8)
    half[:, :, :20] = 200
    options = {"size": 16, "num_frames": 1, "do_normalize": False}
    keys = [(0, 0, number) for number in range(40)]
    for augmentation, flips in (({"crop": {"scale": [0.9, 1.0]}}, False), ({"flip": 1.0}, True)):
        pixels = MugSTANVideoProcessor(augmentation=augmentation, **options)([half] * 40, seeds=keys)["pixel_values"]
        assert (pixels[..., 0] < pixels[..., -1]).all() if flips else (pixels[..., 0] > pixels[..., -1]).all()


@pytest.mark.parametrize(
    "name", ["move left", "Pushing something from right to left", "TurnLeft", "turn_right", "LEFT-HANDED"]
)
def test_flips_are_refused_where_classes_have_sides(name):
    for augmentation in ({"flip": 0.5}, {"flip": True, "crop": True}):
        with pytest.raises(ValueError, match=f"augmentation.flip.*{name}"):
            refuse_flips_of_sides(augmentation, ["run", name])
        refuse_flips_of_sides(augmentation, ["run", "a bright lamp", "leftover"])
    for augmentation in (None, {}, OFFICIAL_CROP, {"flip": 0.0}, {"flip": False}):
        refuse_flips_of_sides(augmentation, [name])


# --- boxes


WHITE = (0.25, 0.3, 0.5, 0.8)  # of a black picture


def painted(height, width, box=WHITE):
    """Frames that are white in a box, to the pixel that it begins in."""
    x1, y1, x2, y2 = box
    frames = np.zeros((4, height, width, 3), dtype=np.uint8)
    frames[:, round(y1 * height) : round(y2 * height), round(x1 * width) : round(x2 * width)] = 255
    return frames


def white_part(pixels):
    """The box that is white in the first frame, to half a pixel."""
    bright = pixels[0, 0].mean(dim=0) > 0.5
    rows, columns = (bright.any(dim=side).nonzero().flatten() for side in (1, 0))
    return torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


@pytest.mark.parametrize("shape", [(90, 160), (160, 90), (100, 100), (41, 63)])
@pytest.mark.parametrize(
    "options", [{}, {"shorter_side": 80}, {"do_center_crop": False}, {"interpolation": "cv2_bilinear"}]
)
def test_boxes_follow_the_pixels(shape, options):
    processor = MugSTANVideoProcessor(size=64, num_frames=2, do_normalize=False, **options)
    batch = processor(painted(*shape), boxes=[[WHITE]])
    assert batch["boxes"].dtype == torch.float32 and batch["box_indices"].tolist() == batch[
        "video_indices"
    ].tolist() == [0]
    assert (batch["boxes"][0] - white_part(batch["pixel_values"])).abs().max() < 1.1
    if "do_center_crop" in options:  # nothing is cut off, whatever the shape
        exact(batch["boxes"], torch.tensor([WHITE]) * 64)


@pytest.mark.parametrize("augmentation", [OFFICIAL_CROP, {"flip": 1.0}, {"crop": True, "flip": 0.5}])
def test_boxes_follow_what_is_drawn(augmentation):
    processor = MugSTANVideoProcessor(size=64, num_frames=2, do_normalize=False, augmentation=augmentation)
    found = []
    for seed in range(30):
        batch = processor(painted(90, 160), boxes=[[WHITE]], seeds=[(seed, 0, 0)])
        if len(batch["boxes"]):
            found.append(batch["boxes"][0])
            assert (
                found[-1] - white_part(batch["pixel_values"])
            ).abs().max() < 2.1  # pixels of a small crop are large
        else:
            assert batch["pixel_values"].max() < 0.5  # nothing of it is seen
    assert len(found) > 15 and (augmentation == {"flip": 1.0}) == (len({tuple(box.tolist()) for box in found}) == 1)
    exact(
        processor(painted(90, 160), boxes=[[WHITE]])["boxes"],
        MugSTANVideoProcessor(size=64)(painted(90, 160), boxes=[[WHITE]])["boxes"],
    )


def test_boxes_say_which_video_and_which_of_them():
    """The square in the middle of 160x90 pixels begins at a share of 35 / 160 of the width."""
    processor = MugSTANVideoProcessor(size=90, num_frames=2)
    boxes = [[(0, 0, 0.1, 1), WHITE], [(0, 0, 0.3, 0.5), (0.9, 0.9, 1, 1), (0, 0, 1, 1)]]
    batch = processor([painted(90, 160)] * 2, boxes=boxes)
    assert batch["box_indices"].tolist() == [1, 2, 4] and batch["video_indices"].tolist() == [0, 1, 1]
    exact(batch["boxes"][1:], torch.tensor([[0.0, 0.0, 13.0, 45.0], [0.0, 0.0, 90.0, 90.0]]))
    arrays = processor([painted(90, 160)] * 2, boxes=boxes, return_tensors="np")
    assert isinstance(arrays["boxes"], np.ndarray) and arrays["boxes"].tolist() == batch["boxes"].tolist()
    nothing = processor(painted(90, 160), boxes=[[(0, 0, 0.1, 1)]])
    assert nothing["boxes"].shape == (0, 4) and nothing["video_indices"].tolist() == []


@pytest.mark.parametrize(
    ("boxes", "match"),
    [
        ([[(0.1, 0.1, 1.2, 0.5)]], r"in \[0, 1\], got \[0.1, 0.1, 1.2, 0.5\] as box 0 of video 0"),
        ([[WHITE, (-0.1, 0.1, 0.2, 0.5)]], "as box 1 of video 0"),
        ([[(0.5, 0.1, 0.2, 0.5)]], "x1 < x2 and y1 < y2"),
        ([[(0.1, 0.5, 0.2, 0.5)]], "x1 < x2 and y1 < y2"),
        ([[(0.1, np.nan, 0.2, 0.5)]], "x1 < x2 and y1 < y2"),
        ([[]], "for video 0, one box at least"),
        ([WHITE], r"expected \(boxes, 4\) numbers for video 0"),
        ([[WHITE], [WHITE]], "those of each of the 1 videos, got those of 2"),
        (7, "those of each of the 1 videos, got 7"),
    ],
)
def test_boxes_that_cannot_be(boxes, match):
    with pytest.raises(ValueError, match=match):
        MugSTANVideoProcessor(size=32)(FRAMES, boxes=boxes)


def test_calls_with_boxes_that_cannot_be():
    processor, boxes = MugSTANVideoProcessor(size=32), [[WHITE]]
    for options in ({"num_clips": 2}, {"num_crops": 3}):
        with pytest.raises(ValueError, match="one view of a video"):
            processor(FRAMES, boxes=boxes, **options)
    with pytest.raises(ValueError, match="moves each frame by itself"):
        processor(FRAMES, boxes=boxes, augmentation={"crop": True, "consistent": False}, seeds=[0])
    with pytest.raises(ValueError, match="Boxes belong to videos"):
        processor(images=[FRAMES[0]], boxes=boxes)
    with pytest.raises(ValueError, match="do_center_crop=False brings the whole picture"):
        MugSTANVideoProcessor(size=32, do_center_crop=False, shorter_side=40)


# --- refused


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"interpolation": "bicubci"}, "interpolation to be one of"),
        ({"num_crops": 2}, "num_crops to be one of 1, 3"),
        ({"short_video": "mask"}, "short_video to be one of repeat, error"),
        ({"shorter_side": 100}, r"shorter_side must lie in \[224"),
        ({"placement": "official", "sampling": "whole_video"}, "uniformly or at random"),
        ({"placement": "official", "fps": 2.0}, "uniformly or at random"),
        ({"frame_span": 0}, "frame_span must be at least 1"),
        ({"size": {"height": 20, "width": 30}}, "a square"),
        ({"num_frames": 0}, "at least 1"),
        ({"augmentation": {"crop": {"scale": [0, 1]}}}, "augmentation.crop"),
    ],
)
def test_options_that_cannot_be(options, match):
    with pytest.raises(ValueError, match=match):
        MugSTANVideoProcessor(**options)


def test_calls_that_cannot_be():
    with pytest.raises(TypeError, match="did you mean"):
        MugSTANVideoProcessor(num_crop=3)
    with pytest.raises(ValueError, match="leave them out"):  # nothing is drawn
        MugSTANVideoProcessor(size=16)(FRAMES, seeds=[1])
    with pytest.raises(ValueError, match="num_crops=3 is for evaluation"):
        MugSTANVideoProcessor(size=16, num_crops=3, augmentation=OFFICIAL_CROP)(FRAMES, seeds=[1])
    with pytest.raises(VideoDecodeError, match="6 frames, not 12"):
        MugSTANVideoProcessor(size=16, placement="official", short_video="error")(FRAMES)
    with pytest.raises(VideoDecodeError, match="hold no square of 80"):
        MugSTANVideoProcessor(size=80, do_resize=False)(FRAMES)
    with pytest.raises(VideoDecodeError, match="crop the video first"):
        MugSTANVideoProcessor()(np.zeros((2, 2, 100, 3), np.uint8))


def test_saved_and_loaded(tmp_path, video):
    processor = MugSTANVideoProcessor(
        size=48, shorter_side=64, num_clips=2, num_crops=3, augmentation=OFFICIAL_CROP, **OFFICIAL
    )
    processor.save_pretrained(tmp_path)
    loaded = MugSTANVideoProcessor.from_pretrained(tmp_path)
    exact(loaded(video)["pixel_values"], processor(video)["pixel_values"])
    assert loaded.to_dict() == processor.to_dict() and "key_times_s" not in loaded.to_dict()


@pytest.mark.parametrize("name", ["mkv_h264", "avi_h264_b_frames", "webm_vp9"])
def test_files_are_decoded(tmp_path, name):
    path = write_numbered(tmp_path / f"numbered{KINDS[name].suffix}", 40, KINDS[name])
    processor = MugSTANVideoProcessor(size=32, num_frames=5)
    exact(processor(path)["pixel_values"], processor(plain_decode(path)[0])["pixel_values"])


def test_examples():
    for module in (clipbert.processing.video_processing_mug_stan, clipbert.processing.augmentation):
        assert doctest.testmod(module).failed == 0
