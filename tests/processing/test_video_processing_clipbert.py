# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Videos and images into pixel_values: which frames, in which order, from which kinds of input; what is refused."""

import io
import json
import math
import pickle
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from transformers import AutoVideoProcessor

import clipbert.processing.video_processing_clipbert as video_processing
from clipbert.processing import ClipBERTVideoProcessor, VideoDecodeError, decode_video
from clipbert.processing.visual_inputs import load_image, make_image_batch, make_video_batch


SIDE = 32


@pytest.fixture(scope="module")
def processor():
    return ClipBERTVideoProcessor(size=SIDE, num_clips=2)


@pytest.fixture(scope="module")
def video_path(write_video, tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("videos") / "video.mp4", num_frames=20, fps=10)


def numbered_frames(count, height=24, width=32):
    """Frames whose grey level is their number."""
    return np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, height, width, 3)).copy()


def frame_numbers(pixel_values):
    """`(videos, clips, frames)` numbers of frames made by `numbered_frames`, read from the pixels."""
    return pixel_values[..., 0, 0, 0].round().long().tolist()


# -------------------------------------------------------------------------------------------------------------- output


@pytest.mark.parametrize("count", [1, 2, 7, 16])
@pytest.mark.parametrize("num_clips", [1, 3])
@pytest.mark.parametrize("num_frames", [1, 4])
def test_shape_does_not_depend_on_the_length_of_the_video(processor, count, num_clips, num_frames):
    batch = processor(numbered_frames(count), num_clips=num_clips, num_frames=num_frames)
    assert list(batch) == ["pixel_values"]
    assert batch["pixel_values"].shape == (1, num_clips, num_frames, 3, SIDE, SIDE)
    assert batch["pixel_values"].dtype == torch.float32
    assert batch["pixel_values"].is_contiguous()


def test_frames_land_in_their_clips(processor):
    pixels = processor(numbered_frames(100), num_clips=4, num_frames=2, do_normalize=False)["pixel_values"]
    assert frame_numbers(pixels) == [[[6, 18], [31, 43], [56, 68], [81, 93]]]  # middles of eighths
    overlapping = processor(
        numbered_frames(10), num_clips=3, num_frames=3, fps=10, video_metadata={"fps": 10}, do_normalize=False
    )
    assert frame_numbers(overlapping["pixel_values"]) == [[[0, 1, 2], [4, 5, 6], [7, 8, 9]]]


def test_each_frame_is_decoded_and_resized_once(processor, monkeypatch):
    seen = []
    resize = video_processing.resize_longer_side
    monkeypatch.setattr(video_processing, "resize_longer_side", lambda f, side: seen.append(len(f)) or resize(f, side))
    pixels = processor(numbered_frames(3), num_clips=8, num_frames=4, do_normalize=False)["pixel_values"]
    assert sum(seen) == 3
    assert {number for clip in frame_numbers(pixels)[0] for number in clip} == {0, 1, 2}


def test_frames_one_by_one_equal_all_frames_at_once(processor):
    frames = torch.randint(0, 256, (7, 40, 30, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    together = video_processing.resize_longer_side(frames.permute(0, 3, 1, 2).float(), SIDE)
    together = video_processing.pad_to_square(together, SIDE)
    together = video_processing.normalize_channels(together, processor.image_mean, processor.image_std)
    torch.testing.assert_close(
        processor(frames, do_sample_frames=False)["pixel_values"][0, 0], together, rtol=0, atol=0
    )


def test_a_batch_is_its_videos_one_by_one(processor):
    videos = [numbered_frames(9), numbered_frames(30, 50, 20), numbered_frames(1)]
    together = processor(videos)["pixel_values"]
    one_by_one = torch.cat([processor(video)["pixel_values"] for video in videos])
    torch.testing.assert_close(together, one_by_one, rtol=0, atol=0)


def test_imagenet_normalisation(processor):
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    video = np.full((2, SIDE, SIDE, 3), 51, dtype=np.uint8)
    pixels = processor(video, do_rescale=True, image_mean=mean, image_std=std)["pixel_values"]
    expected = (torch.tensor([0.2, 0.2, 0.2]) - torch.tensor(mean)) / torch.tensor(std)
    torch.testing.assert_close(pixels[0, 0, 0, :, 5, 5], expected)


def test_border_and_picture_after_normalisation(processor):
    pixels = processor(np.full((1, 16, SIDE, 3), 200, dtype=np.uint8))["pixel_values"][0, 0, 0]
    mean = torch.tensor([123.675, 116.28, 103.53])
    torch.testing.assert_close(pixels[:, :16], (200 - mean)[:, None, None].expand(3, 16, SIDE))
    torch.testing.assert_close(pixels[:, 16:], (-mean)[:, None, None].expand(3, 16, SIDE))


def test_return_tensors(processor):
    video = numbered_frames(5)
    as_torch, as_numpy = processor(video), processor(video, return_tensors="np")
    assert isinstance(as_numpy["pixel_values"], np.ndarray)
    np.testing.assert_array_equal(as_torch["pixel_values"].numpy(), as_numpy["pixel_values"])


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_pixels_prepared_on_a_device(processor, device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    videos = [numbered_frames(5), numbered_frames(3, 30, 20)]
    on_device = processor(videos, device=device)["pixel_values"]
    assert on_device.device.type == device
    torch.testing.assert_close(on_device.cpu(), processor(videos)["pixel_values"], rtol=0, atol=5e-5)


def test_all_frames_as_one_clip_without_sampling(processor):
    pixels = processor(numbered_frames(6), do_sample_frames=False, do_normalize=False)["pixel_values"]
    assert frame_numbers(pixels) == [[[0, 1, 2, 3, 4, 5]]]
    with pytest.raises(ValueError, match=r"\(1, 6, 3, 32, 32\) and \(1, 4, 3, 32, 32\).*do_sample_frames"):
        processor([numbered_frames(6), numbered_frames(4)], do_sample_frames=False)


def test_without_padding_equal_sizes_work_and_others_are_named(processor):
    assert processor(numbered_frames(4), do_pad=False)["pixel_values"].shape[-2:] == (24, SIDE)
    with pytest.raises(ValueError, match=r"24, 32\) and .*32, 24\).*do_pad"):
        processor([numbered_frames(4), numbered_frames(4, 32, 24)], do_pad=False)


def test_the_callers_frames_stay_as_they_are(processor):
    video = torch.from_numpy(numbered_frames(4, SIDE, SIDE))
    before = video.clone()
    processor(video, do_resize=False)
    assert torch.equal(video, before)


# -------------------------------------------------------------------------------------------------------------- inputs


def test_every_kind_of_input_gives_the_same_pixels(processor, video_path):
    frames = decode_video(video_path, lambda metadata: np.arange(metadata.total_num_frames)).frames
    expected = processor(str(video_path))["pixel_values"]
    assert expected[0, 0, 0].max() < expected[0, -1, -1].max()  # grey levels rise with the frame number
    with open(video_path, "rb") as file:
        kinds = {
            "Path": video_path,
            "bytes": video_path.read_bytes(),
            "file": file,
            "path of a data set": {"path": str(video_path), "bytes": None},
            "bytes of a data set": {"path": "video.mp4", "bytes": video_path.read_bytes()},
            "array": frames,
            "array, channels first": frames.transpose(0, 3, 1, 2),
            "tensor": torch.from_numpy(frames),
            "PIL images": [PIL.Image.fromarray(frame) for frame in frames],
            "arrays of pictures": list(frames),
        }
        for kind, video in kinds.items():
            torch.testing.assert_close(processor(video)["pixel_values"], expected, rtol=0, atol=0, msg=kind)
        mixed = processor(list(kinds.values()))["pixel_values"]
    torch.testing.assert_close(mixed, expected.expand_as(mixed), rtol=0, atol=0)


def test_what_counts_as_one_video_and_as_several():
    frames = numbered_frames(4)
    assert len(make_video_batch("a.mp4")) == 1
    assert len(make_video_batch(["a.mp4", Path("b.mp4"), b"..."])) == 3
    assert len(make_video_batch(frames)) == 1
    assert len(make_video_batch(frames[None].repeat(3, axis=0))) == 3
    assert len(make_video_batch([frames, frames])) == 2
    assert len(make_video_batch(list(frames))) == 1
    assert len(make_video_batch([list(frames), frames, "a.mp4"])) == 3
    assert len(make_image_batch(frames)) == 4
    assert len(make_image_batch(frames[0])) == 1
    assert len(make_image_batch(["a.jpg", frames[0], PIL.Image.new("L", (3, 3))])) == 3


@pytest.mark.parametrize("wrong", [[], ()])
def test_empty_batches_are_refused(processor, wrong):
    with pytest.raises(ValueError, match="at least one video"):
        processor(wrong)
    with pytest.raises(ValueError, match="at least one image"):
        processor(images=wrong)


@pytest.mark.parametrize(
    "wrong", [5, numbered_frames(1)[0], PIL.Image.new("RGB", (4, 4)), ["a.mp4", None], [[]], [["a"]]]
)
def test_what_is_no_video_is_refused(processor, wrong):
    with pytest.raises(TypeError, match="A video is a path"):
        processor(wrong)


@pytest.mark.parametrize("wrong", [5, [None], [[PIL.Image.new("RGB", (4, 4))]], numbered_frames(2)[None]])
def test_what_is_no_image_is_refused(processor, wrong):
    with pytest.raises(TypeError, match="An image is"):
        processor(images=wrong)


def test_neither_and_both_are_refused(processor):
    with pytest.raises(ValueError, match="got neither"):
        processor()
    with pytest.raises(ValueError, match="got both"):
        processor(videos="a.mp4", images="a.jpg")


def test_broken_videos_are_named(processor, tmp_path, video_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video at all")
    with pytest.raises(VideoDecodeError, match="broken.mp4"):
        processor([video_path, broken])
    with pytest.raises(VideoDecodeError, match="missing.mp4"):
        processor(tmp_path / "missing.mp4")


# -------------------------------------------------------------------------------------------------------------- images


def test_an_image_is_a_clip_of_one_frame(processor):
    picture = numbered_frames(8)[7]
    pixels = processor(images=[picture, PIL.Image.fromarray(picture)])["pixel_values"]
    assert pixels.shape == (2, 1, 1, 3, SIDE, SIDE)
    as_video = processor(picture[None], num_clips=1, num_frames=1)["pixel_values"]
    torch.testing.assert_close(pixels, as_video.expand_as(pixels), rtol=0, atol=0)
    assert processor(images=picture, num_clips=1, num_frames=1)["pixel_values"].shape[1:3] == (1, 1)
    with pytest.raises(ValueError, match="num_frames=2 for images"):
        processor(images=picture, num_frames=2)


def test_kinds_of_images(tmp_path):
    colours = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    image = PIL.Image.fromarray(colours)
    path = tmp_path / "image.png"
    image.save(path)
    with open(path, "rb") as file:
        for kind in (image, path, str(path), path.read_bytes(), file, colours, torch.from_numpy(colours)):
            np.testing.assert_array_equal(load_image(kind), colours)
    np.testing.assert_array_equal(load_image(colours.transpose(2, 0, 1)), colours)
    np.testing.assert_array_equal(load_image(colours.astype(np.int64)), colours)


def test_colour_modes():
    grey = np.arange(30, dtype=np.uint8).reshape(6, 5)
    as_rgb = np.repeat(grey[..., None], 3, axis=-1)
    for image in (PIL.Image.fromarray(grey), grey, grey[..., None], PIL.Image.fromarray(grey.astype(np.uint16) * 257)):
        np.testing.assert_array_equal(load_image(image), as_rgb)
    red = PIL.Image.new("RGB", (5, 6), (255, 0, 0))
    np.testing.assert_allclose(load_image(red.convert("CMYK"))[0, 0], [255, 0, 0], atol=1)
    assert load_image(red.convert("P"))[0, 0].tolist() == [255, 0, 0]
    black_and_white = PIL.Image.fromarray(grey > 14)
    assert set(load_image(black_and_white).ravel().tolist()) == {0, 255}


def test_transparent_parts_are_white():
    pixels = np.zeros((2, 3, 4), dtype=np.uint8)
    pixels[0] = (10, 20, 30, 255)  # opaque
    pixels[1] = (10, 20, 30, 0)
    for image in (PIL.Image.fromarray(pixels), pixels):
        assert load_image(image)[:, 0].tolist() == [[10, 20, 30], [255, 255, 255]]


def test_exif_rotation_is_applied(tmp_path):
    image = PIL.Image.new("RGB", (20, 10), (255, 255, 255))
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # orientation: to be turned by 90 degrees clockwise
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert load_image(tmp_path / "turned.jpg").shape == (20, 10, 3)
    with PIL.Image.open(tmp_path / "turned.jpg") as opened:
        assert load_image(opened).shape == (20, 10, 3)


def test_pictures_that_would_vanish_are_named(processor, tmp_path):
    PIL.Image.new("RGB", (100, 1)).save(tmp_path / "line.png")
    with pytest.raises(VideoDecodeError, match="line.png.*1x100.*larger size"):
        processor(images=tmp_path / "line.png")
    with pytest.raises(VideoDecodeError, match="1x100.*larger size"):
        processor(numbered_frames(2, 1, 100), max_aspect_ratio=None)
    assert processor(images=tmp_path / "line.png", size=128)["pixel_values"].shape[-2:] == (128, 128)


def test_broken_images_are_named(processor, tmp_path):
    image = PIL.Image.effect_noise((64, 64), 50)
    content = io.BytesIO()
    image.save(content, format="PNG")
    (tmp_path / "cut.png").write_bytes(content.getvalue()[:900])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("no image")
    for name in ("cut.png", "empty.png", "text.png", "missing.png"):
        with pytest.raises(VideoDecodeError, match=name):
            processor(images=[image, tmp_path / name])
    with pytest.raises(VideoDecodeError, match="float64 from 0.0 to 1.0"):
        processor(images=np.linspace(0, 1, 48).reshape(4, 4, 3))
    with pytest.raises(VideoDecodeError, match="both the first and the last axis"):
        processor(images=np.zeros((3, 4, 3), dtype=np.uint8))


# ----------------------------------------------------------------------------------------------------- choice of clips


def random_choice(processor, videos, **options):
    options = {"sampling": "random", "fps": 5, "video_metadata": {"fps": 10}, "return_metadata": True} | options
    return processor(videos, **options)["frame_indices"].tolist()


def test_seeds_decide_random_clips_whatever_else_is_in_the_batch(processor):
    long, short = numbered_frames(200), numbered_frames(50)
    alone = random_choice(processor, long, seeds=[(1, 0, 7)])
    in_batch = random_choice(processor, [short, long], seeds=[(1, 0, 6), (1, 0, 7)])
    next_epoch = random_choice(processor, long, seeds=[(1, 1, 7)])
    assert in_batch[1] == alone[0]
    assert next_epoch != alone
    assert random_choice(processor, [long, long], seeds=3) == random_choice(processor, [long, long], seeds=3)
    first, second = random_choice(processor, [long, long], seeds=3)
    assert first != second
    with pytest.raises(ValueError, match="seeds of 2 videos"):
        random_choice(processor, [long, short], seeds=[1])


def test_without_seeds_torch_decides(processor):
    video = numbered_frames(200)
    torch.manual_seed(0)
    first, second = random_choice(processor, video), random_choice(processor, video)
    torch.manual_seed(0)
    assert random_choice(processor, video) == first
    assert first != second
    before = torch.get_rng_state()
    processor(video)
    assert torch.equal(torch.get_rng_state(), before)  # uniform clips need no random number


def test_clips_that_do_not_exist_are_masked(processor):
    batch = processor([numbered_frames(2), numbered_frames(9)], num_clips=3, num_frames=1, short_video="mask")
    assert batch["clip_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert processor(images=numbered_frames(2), short_video="mask")["clip_mask"].tolist() == [[1], [1]]


def test_short_videos_can_be_an_error_that_names_them(processor, write_video, tmp_path):
    path = write_video(tmp_path / "short.mp4", num_frames=3, fps=10)
    with pytest.raises(VideoDecodeError, match="short.mp4.*too short"):
        processor(path, num_clips=1, num_frames=8, fps=10, short_video="error")
    assert processor(path, num_clips=1, num_frames=3, short_video="error")["pixel_values"].shape[1:3] == (1, 3)


def test_metadata_tells_frames_and_seconds(processor, video_path):
    batch = processor([video_path, numbered_frames(4)], return_metadata=True)
    assert batch["frame_indices"].tolist() == [[[2, 7], [12, 17]], [[0, 1], [2, 3]]]
    torch.testing.assert_close(
        batch["frame_seconds"][0], torch.tensor([[0.2, 0.7], [1.2, 1.7]], dtype=torch.float64), rtol=0, atol=1e-6
    )
    assert batch["frame_seconds"][1].isnan().all()  # an array has no frame rate
    assert [metadata.total_num_frames for metadata in batch["video_metadata"]] == [20, 4]
    assert batch["video_metadata"][0].fps == 10
    image = processor(images=numbered_frames(1), return_metadata=True)
    assert image["frame_indices"].tolist() == [[[0]]]


def test_sample_frames_answers_without_a_video(processor):
    class Metadata:
        total_num_frames, fps = 100, 25.0

    sample = processor.sample_frames(Metadata, num_clips=3, fps=2)
    assert sample.frame_indices.tolist() == [[6, 18], [43, 56], [81, 93]]
    assert sample.clip_mask.all()


def test_frames_without_a_rate_need_one_for_fps(processor):
    with pytest.raises(VideoDecodeError, match="video_metadata"):
        processor(numbered_frames(30), fps=2)
    assert processor(numbered_frames(30), fps=2, video_metadata={"fps": 10})["pixel_values"].shape[1:3] == (2, 2)
    with pytest.raises(ValueError, match="2 videos for 1"):
        processor(numbered_frames(30), fps=2, video_metadata=[{"fps": 10}, {"fps": 10}])
    with pytest.raises(ValueError, match="a.mp4.*states its own"):
        processor("a.mp4", video_metadata={"fps": 10})


# ------------------------------------------------------------------------------------------------------------- options


def test_options_of_a_call_do_not_stay(processor):
    video = numbered_frames(20)
    before = processor.to_dict()
    processor(video, num_clips=5, size=48, fps=None, image_mean=0.0)
    assert processor.to_dict() == before
    assert processor(video)["pixel_values"].shape == (1, 2, 2, 3, SIDE, SIDE)


def test_none_is_a_value_where_it_means_something():
    processor = ClipBERTVideoProcessor(size=SIDE, fps=2, max_aspect_ratio=None, timeout_s=None)
    assert processor.max_aspect_ratio is None
    assert processor.timeout_s is None
    assert processor(numbered_frames(4), fps=None)["pixel_values"].shape[1] == 4
    assert processor(numbered_frames(4), fps=None, num_clips=None)["pixel_values"].shape[1] == 4  # not given


@pytest.mark.parametrize("place", ["constructor", "call"])
@pytest.mark.parametrize(
    "option, message",
    [
        ({"num_clip": 2}, "no option 'num_clip': did you mean num_clips?"),
        ({"do_center_crop": True}, "no option 'do_center_crop'"),
        ({"num_frames": 0}, "num_frames must be a whole number of at least 1, got 0"),
        ({"num_clips": -1}, "num_clips must be"),
        ({"num_clips": 2.5}, "num_clips"),
        ({"num_frames": "2"}, "num_frames"),
        ({"fps": 0}, "fps must be a positive"),
        ({"sampling": "unifrom"}, "uniform, random"),
        ({"placement": "officially"}, "Unknown placement"),
        ({"short_video": "skip"}, "Unknown short_video"),
        ({"sampling": "middle", "fps": 2, "num_clips": 3}, "num_clips=3"),
        ({"sampling": "middle", "num_clips": 1}, "needs fps"),
        ({"placement": "official"}, "needs fps"),
        ({"size": 0}, "longest_edge"),
        ({"size": {"height": 4, "width": 4}}, "longest_edge"),
        ({"size": {"shortest_edge": 4}}, "longest_edge"),
        ({"image_std": 0.0}, "image_std must hold finite numbers above 0, got 0.0"),
        ({"image_std": [1.0, math.nan, 1.0]}, "image_std must hold finite numbers above 0, .*nan"),
        ({"image_std": -1}, "image_std must hold finite numbers above 0, got -1"),
        ({"image_std": [1.0, 1.0]}, "image_std of 2 numbers for frames of 3 channels"),
        ({"image_mean": math.inf}, "image_mean must hold finite numbers, got inf"),
        ({"image_mean": [0.0, math.nan, 0.0]}, "image_mean must hold finite numbers, .*nan"),
        ({"size": 10**9}, r"size: longest_edge must lie in \[1, 8192\] pixels, got 1000000000"),
        ({"num_clips": 10**9}, "num_clips=1000000000 clips .* more than 65536 frames"),
        ({"num_frames": 10**9}, "num_frames=1000000000 are more than 65536 frames"),
        ({"fps": math.nan}, "fps must be a positive"),
        ({"rescale_factor": math.inf}, "rescale_factor must be a positive, finite number"),
        ({"max_aspect_ratio": math.nan}, "max_aspect_ratio must be a positive, finite number"),
        ({"max_aspect_ratio": 0}, "max_aspect_ratio must be a positive, finite number"),
        ({"rescale_factor": 0}, "rescale_factor must be a positive, finite number"),
        ({"timeout_s": -1}, "timeout_s must be a positive, finite number"),
        ({"max_pixels": 0}, "max_pixels must be a positive, finite number"),
        ({"stream_index": -1}, "stream_index must not be negative"),
        ({"num_threads": -1}, "num_threads must not be negative"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_wrong_options_are_refused_before_a_video_is_opened(processor, place, option, message):
    with pytest.raises((TypeError, ValueError), match=message) as error:
        if place == "constructor":
            ClipBERTVideoProcessor(**option)
        else:
            processor("does_not_exist.mp4", **option)
    assert not isinstance(error.value, VideoDecodeError)


@pytest.mark.parametrize("size", ["64", 64.0, True, [64]])
def test_a_size_of_another_kind_is_refused(size):
    with pytest.raises(ValueError, match="Expected size=.* got size="):
        ClipBERTVideoProcessor(size=size)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"seeds": [1]}, r"seeds=\[1\], but only sampling='random' draws anything, and it is 'uniform'"),
        ({"seeds": 0}, "seeds=0, but only sampling='random'"),
        ({"seeds": [1.5], "sampling": "random"}, "seed to be an int, a str or a tuple of these, got 1.5"),
        ({"seeds": [(1, True)], "sampling": "random"}, "seed to be an int, a str or a tuple of these"),
        ({"seeds": math.nan, "sampling": "random"}, "nan as seeds of 1 videos"),
        *(
            ({"video_metadata": {"fps": fps}}, "video_metadata: fps must be")
            for fps in (0, math.nan, math.inf, "x", True)
        ),
        ({"video_metadata": 3}, "video_metadata to be a dict, or a list"),
    ],
)
def test_values_of_a_single_call_that_cannot_be(processor, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        processor(numbered_frames(20), **options)


def test_images_have_no_seeds(processor):
    with pytest.raises(ValueError, match="nothing random about images"):
        processor(images=numbered_frames(1)[0], seeds=[1])


def test_options_of_a_single_call_cannot_be_saved():
    for name in ("seeds", "device", "return_tensors", "video_metadata"):
        with pytest.raises(TypeError, match=name):
            ClipBERTVideoProcessor(**{name: None})


def test_limits_of_decoding_are_passed_on(processor, video_path):
    with pytest.raises(VideoDecodeError, match="max_pixels"):
        processor(video_path, max_pixels=100)
    with pytest.raises(VideoDecodeError, match="timeout_s=1e-09"):
        processor(video_path, timeout_s=1e-9)
    with pytest.raises(VideoDecodeError, match="stream"):
        processor(video_path, stream_index=1)


def test_save_and_load(tmp_path, video_path):
    processor = ClipBERTVideoProcessor(
        size=SIDE,
        num_clips=3,
        fps=4,
        sampling="random",
        max_aspect_ratio=None,
        image_std=[2.0, 3.0, 4.0],
        do_rescale=True,
    )
    processor.save_pretrained(tmp_path)
    for load in (ClipBERTVideoProcessor.from_pretrained, AutoVideoProcessor.from_pretrained):
        loaded = load(tmp_path)
        assert type(loaded) is ClipBERTVideoProcessor
        assert loaded.to_dict() == processor.to_dict()
        expected = processor(video_path, seeds=1)["pixel_values"]
        torch.testing.assert_close(loaded(video_path, seeds=1)["pixel_values"], expected, rtol=0, atol=0)
        assert load(tmp_path, num_clips=5, size=48).num_clips == 5
    saved = json.loads((tmp_path / "video_preprocessor_config.json").read_text())
    assert saved["max_aspect_ratio"] is None
    assert not {"seeds", "device", "return_tensors", "crop_size", "resample"} & set(saved)
    assert ClipBERTVideoProcessor.from_dict(processor.to_dict()).to_dict() == processor.to_dict()


def test_processor_can_be_sent_to_loader_workers(processor):
    copy = pickle.loads(pickle.dumps(processor))
    assert copy.to_dict() == processor.to_dict()


class VideosOfAnEpoch(torch.utils.data.Dataset):
    def __init__(self, processor, epoch):
        self.processor, self.epoch = processor, epoch

    def __len__(self):
        return 4

    def __getitem__(self, index):
        options = {"sampling": "random", "seeds": [(42, self.epoch, index)], "do_normalize": False}
        return self.processor(numbered_frames(200, 2, 2), size=2, num_frames=1, num_clips=3, **options)[
            "pixel_values"
        ][0]


def test_random_clips_are_the_same_with_any_number_of_loader_workers(processor):
    def clips(num_workers, epoch=0):
        loader = torch.utils.data.DataLoader(VideosOfAnEpoch(processor, epoch), num_workers=num_workers)
        return frame_numbers(torch.cat(list(loader)))

    assert clips(num_workers=0) == clips(num_workers=2)
    assert clips(num_workers=0) != clips(num_workers=0, epoch=1)
