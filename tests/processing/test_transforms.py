# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Pixels: sizes after resizing, resampling by hand, where the border is and what it holds."""

import pytest
import torch
import torch.nn.functional as F

from clipbert.processing.transforms import (
    longer_side_size,
    normalize_channels,
    pad_to_square,
    resize_longer_side,
    shrink_large_picture,
)


@pytest.mark.parametrize("longest_edge", [1, 32, 100, 448])
@pytest.mark.parametrize("height, width", [(1, 1), (7, 35), (35, 7), (64, 64), (97, 131), (1080, 1920)])
def test_longer_side_is_exact_and_shape_is_kept(height, width, longest_edge):
    if longest_edge * min(height, width) < max(height, width):
        with pytest.raises(ValueError, match=f"{height}x{width}"):
            longer_side_size(height, width, longest_edge)
        return
    new_height, new_width = longer_side_size(height, width, longest_edge)
    assert max(new_height, new_width) == longest_edge
    assert 0 <= longest_edge * min(height, width) / max(height, width) - min(new_height, new_width) < 1


def test_resizing_interpolates_pixel_centres_without_antialiasing():
    row = torch.tensor([0.0, 10.0, 20.0, 250.0]).expand(1, 3, 4, 4)
    # Halved: each new pixel lies between two old ones. An antialiasing filter would mix in the others.
    torch.testing.assert_close(resize_longer_side(row, 2)[0, 0, 0], torch.tensor([5.0, 135.0]))
    # Quartered: only the two middle pixels are seen.
    torch.testing.assert_close(resize_longer_side(row, 1)[0, 0, 0], torch.tensor([15.0]))
    # Doubled: quarter steps, ends repeated.
    torch.testing.assert_close(
        resize_longer_side(row, 8)[0, 0, 0], torch.tensor([0.0, 2.5, 7.5, 12.5, 17.5, 77.5, 192.5, 250.0])
    )


@pytest.mark.parametrize(
    "height, width, longest_edge", [(1500, 2570, 224), (2570, 1500, 448), (90, 160, 200), (7, 7, 7), (9, 4, 3)]
)
def test_a_large_picture_is_shrunk_alike_without_a_copy(height, width, longest_edge):
    picture = torch.randint(0, 256, (height, width, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    expected = resize_longer_side(picture.permute(2, 0, 1)[None].float(), longest_edge)
    torch.testing.assert_close(shrink_large_picture(picture, longest_edge), expected, atol=1e-2, rtol=0)


def test_resizing_is_the_same_in_both_memory_formats_and_frame_by_frame():
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (5, 3, 37, 61), generator=generator).float()
    together = resize_longer_side(frames, 32)
    channels_last = resize_longer_side(frames.contiguous(memory_format=torch.channels_last), 32)
    one_by_one = torch.cat([resize_longer_side(frame[None], 32) for frame in frames])
    torch.testing.assert_close(channels_last, together, rtol=0, atol=5e-5)  # 2 units in the last place of 255
    torch.testing.assert_close(one_by_one, together, rtol=0, atol=0)


@pytest.mark.parametrize("height, width", [(48, 48), (48, 31), (20, 48)])
def test_frames_of_the_size_asked_for_are_what_interpolation_makes_of_them(height, width):
    frames = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0)) * 255
    expected = F.interpolate(frames, size=(height, width), mode="bilinear", align_corners=False)
    assert torch.equal(resize_longer_side(frames, 48), expected)


@pytest.mark.parametrize("height, width", [(3, 8), (8, 3), (8, 8), (2, 2)])
def test_border_is_right_and_bottom(height, width):
    frames = torch.ones(2, 3, height, width)
    padded = pad_to_square(frames, 8)
    assert padded.shape == (2, 3, 8, 8)
    assert (padded[..., :height, :width] == 1).all()
    assert padded.sum() == frames.sum()


def test_frames_larger_than_the_square_are_refused():
    with pytest.raises(ValueError, match="9x4.*8x8"):
        pad_to_square(torch.ones(1, 3, 9, 4), 8)


def test_normalisation_is_per_channel_or_by_one_number():
    frames = torch.tensor([10.0, 20.0, 30.0]).reshape(1, 3, 1, 1).repeat(1, 1, 2, 2)
    by_channel = normalize_channels(frames.clone(), (1.0, 2.0, 3.0), (1.0, 2.0, 3.0))
    assert by_channel[0, :, 0, 0].tolist() == [9.0, 9.0, 9.0]
    assert normalize_channels(frames.clone(), 10, 2)[0, :, 0, 0].tolist() == [0.0, 5.0, 10.0]
    with pytest.raises(ValueError, match="mean of 2 numbers for frames of 3 channels"):
        normalize_channels(frames, (1.0, 2.0), 1.0)


def test_statistics_of_one_call_are_not_those_of_the_next():
    frames = torch.full((1, 3, 2, 2), 12.0)
    for mean, std, dtype in [
        ((2.0, 4.0, 8.0), 1, None),
        ([2.0, 4.0, 8.0], 2, None),
        (2, (1.0, 2.0, 4.0), torch.float64),
    ]:
        given = frames.to(dtype or torch.float32)
        expected = (given - torch.tensor(mean).reshape(-1, 1, 1)) / torch.tensor(std).reshape(-1, 1, 1)
        for _ in range(2):  # the second time from memory
            found = normalize_channels(given.clone(), mean, std)
            assert found.dtype == given.dtype and torch.equal(found, expected.to(given.dtype))
