"""Tests of the small crops of DINO, with a crop by slicing."""

import pytest
import torch

from training.objectives.small_crops import CROP_AREA, crop_side, cut_crops, draw_small_crops

pytestmark = pytest.mark.train


def test_a_crop_of_whole_pixels_is_a_slice_of_the_image() -> None:
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    # Eight of 16 pixels; the centres of the crops are 6 and 9 pixels from the left and upper edge.
    share = torch.full((2,), 8 / 16)
    centre = torch.tensor([[6, 9], [9, 6]]) / 8 - 1
    crops = cut_crops(images, share, centre.float(), 8)
    assert torch.allclose(crops[0], images[0, :, 5:13, 2:10], atol=1e-5)
    assert torch.allclose(crops[1], images[1, :, 2:10, 5:13], atol=1e-5)


def test_random_crops_lie_in_the_image_and_have_the_sizes_of_the_paper() -> None:
    torch.manual_seed(0)
    x, y = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="xy")
    crops = draw_small_crops(torch.stack([x, y]).expand(200, 2, 64, 64), 16)
    assert crops.shape == (200, 2, 16, 16)
    assert crops.min() >= 0
    assert crops.max() <= 63
    # Neighbouring pixels of a crop are side / 16 pixels of the image apart.
    side = (crops[:, 0, 8, 8] - crops[:, 0, 8, 7]) * 16
    area = (side / 64) ** 2
    assert area.min() >= CROP_AREA[0] - 1e-3
    assert area.max() <= CROP_AREA[1] + 1e-3
    assert area.max() - area.min() > 0.3


@pytest.mark.parametrize(
    ("side", "patch", "expected"), [(224, 16, 96), (224, None, 96), (128, 16, 48), (32, 8, 16)]
)
def test_the_side_of_a_crop_fits_the_patches(side: int, patch: int | None, expected: int) -> None:
    assert crop_side(side, patch) == expected
