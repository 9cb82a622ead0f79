"""Tests of the augmentation of images, with a simple drawn well and with random noise."""

from dataclasses import replace

import pytest
import torch

from schemas.errors import ConfigError
from training.data.augmentation import augment, draw_augmentations
from training.data.presets import PRESETS, Augmentation, get_preset

pytestmark = pytest.mark.train

SIDE = 128
BACKGROUND = 0.75
SHAPED_LIKE_THE_SERVICE = ("weak", "light", "spheroid", "strong")


def well(count: int = 16) -> "torch.Tensor":
    """Return images of a disc of tissue and specks of debris around it, (count, 3, SIDE, SIDE)."""
    axis = (torch.arange(SIDE) + 0.5) / SIDE - 0.5
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    image = torch.full((SIDE, SIDE), BACKGROUND)
    image[torch.hypot(x - 0.03, y + 0.02) < 0.15] = 0.3
    for angle in torch.arange(6) * torch.pi / 3:
        image[torch.hypot(x - 0.3 * angle.cos(), y - 0.3 * angle.sin()) < 0.015] = 0.4
    return image.expand(count, 3, SIDE, SIDE).clone()


def apply(how: Augmentation, images: "torch.Tensor", seed: int = 0) -> "torch.Tensor":
    return augment(
        images,
        draw_augmentations(how, len(images), torch.Generator().manual_seed(seed)),
        BACKGROUND,
    )


def darkness(images: "torch.Tensor") -> "torch.Tensor":
    """Return the summed darkness of tissue and debris of each image, (B,)."""
    return (BACKGROUND - images[:, 1]).sum(dim=(1, 2))


def unlit(name: str) -> Augmentation:
    """Return a preset without changes of brightness and without noise."""
    return replace(get_preset(name), gain=0.0, tilt=0.0, noise=0.0)


def test_the_preset_none_changes_nothing() -> None:
    images = torch.rand(4, 3, SIDE, SIDE)
    assert torch.equal(apply(get_preset("none"), images), images)


@pytest.mark.parametrize("name", SHAPED_LIKE_THE_SERVICE)
def test_the_presets_keep_size_and_debris(name: str) -> None:
    images = well()
    augmented = apply(unlit(name), images)
    assert (darkness(augmented) / darkness(images) - 1).abs().max() < 0.02
    tissue = (augmented[:, 1] < 0.55).sum(dim=(1, 2)) / (images[:, 1] < 0.55).sum(dim=(1, 2))
    assert (tissue - 1).abs().max() < 0.08


def test_the_thesis_preset_changes_the_size_and_cuts_debris_away() -> None:
    images = well()
    assert darkness(apply(unlit("thesis"), images)).std() > 0.1 * darkness(images)[0]
    debris = torch.where(images == 0.4, images, torch.full_like(images, BACKGROUND))
    drawn = draw_augmentations(unlit("thesis"), len(images), torch.Generator().manual_seed(0))
    kept = (
        darkness(augment(debris, drawn, BACKGROUND)) * drawn.scale**2 / darkness(debris)
    )  # an enlarged speck covers more pixels
    assert kept.min() < 0.85


@pytest.mark.parametrize(("name", "least"), [("weak", 0.85), ("light", 0.8), ("spheroid", 0.7)])
def test_blur_keeps_the_grain_of_cells(name: str, least: float) -> None:
    """Grain of 10 µm in a field of 900 µm keeps more contrast than in the preset thesis."""
    noise = torch.randn(16, 1, 2 * SIDE, 2 * SIDE, generator=torch.Generator().manual_seed(1))
    grain = (
        torch.nn.functional.avg_pool2d(torch.nn.functional.avg_pool2d(noise, 3, 1, 1), 2).expand(
            -1, 3, -1, -1
        )
        * 0.05
        + 0.5
    )
    middle = slice(SIDE // 4, -SIDE // 4)

    def contrast(images: "torch.Tensor") -> float:
        return float(images[:, 1, middle, middle].std(dim=(1, 2)).mean())

    kept = contrast(apply(unlit(name), grain)) / contrast(grain)
    assert kept > least
    assert kept > 1.2 * contrast(
        apply(replace(get_preset("thesis"), crop=(1.0, 1.0)), grain)
    ) / contrast(grain)


def test_light_changes_all_planes_equally_and_values_stay_in_range() -> None:
    images = well()
    lit = apply(Augmentation(gain=0.1, tilt=0.2), images)
    assert torch.allclose(lit[:, 0], lit[:, 2])
    assert lit.mean(dim=(1, 2, 3)).std() > 0.02
    for how in PRESETS.values():
        augmented = apply(how, torch.rand(8, 3, SIDE, SIDE))
        assert torch.isfinite(augmented).all()
        assert augmented.min() >= 0
        assert augmented.max() <= 1


def test_pixels_from_outside_the_image_are_empty_background() -> None:
    images = torch.full((16, 3, SIDE, SIDE), BACKGROUND)
    assert torch.allclose(apply(unlit("spheroid"), images), images, atol=1e-5)


def test_a_reversed_stack_keeps_the_sharpest_plane_in_the_middle() -> None:
    images = torch.stack(
        [torch.full((3, 8, 8), 0.1), torch.full((3, 8, 8), 0.5), torch.full((3, 8, 8), 0.9)], dim=1
    )[0].expand(32, 3, 8, 8)
    augmented = apply(Augmentation(reverse_planes=True), images)
    assert (augmented[:, 1] == 0.5).all()
    assert {round(float(value), 1) for value in augmented[:, 0, 0, 0]} == {0.1, 0.9}


def test_focus_mixes_neighbouring_planes_only() -> None:
    images = torch.stack([torch.zeros(8, 8), torch.full((8, 8), 0.5), torch.ones(8, 8)]).expand(
        64, 3, 8, 8
    )
    middle = apply(Augmentation(focus=1.0), images)[:, 1, 0, 0]
    assert middle.min() >= 0.25
    assert middle.max() <= 0.75
    assert middle.std() > 0.05


def test_a_part_of_a_batch_is_augmented_as_in_the_whole_batch() -> None:
    images, drawn = (
        torch.rand(6, 3, 32, 32),
        draw_augmentations(get_preset("strong"), 6, torch.Generator().manual_seed(5)),
    )
    whole = augment(images, drawn, BACKGROUND)
    part = slice(2, 5)
    assert torch.allclose(
        augment(images[part], drawn.rows(part), BACKGROUND), whole[part], atol=1e-6
    )


def test_an_unknown_preset_is_reported_with_the_known_ones() -> None:
    with pytest.raises(
        ConfigError, match="is 'sphroid'; expected one of none, weak, light, spheroid"
    ):
        get_preset("sphroid")
