"""The signal of a stain above the background of an image."""

import cv2
import numpy as np
import pytest

from inference.fluorescence.stain_signal import (
    Projection,
    StainSignal,
    bleed_through,
    find_background,
    looks_like_bright_field,
    measure_stain,
    project,
    saturated_share,
    subtract_bleed_through,
)
from schemas.arrays import Float64Array

SIZE = 128
BACKGROUND = 200.0


def disc(radius_px: float) -> Float64Array:
    """Return a disc of height 1 in the middle of an image."""
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    return np.asarray(np.hypot(x, y) < radius_px, np.float64)


def stack(light: Float64Array, *, planes: int = 3, seed: int = 0) -> Float64Array:
    """Return planes (Z, H, W) of a background with noise and light that is divided among them."""
    noise = np.random.default_rng(seed).normal(0, 5, (planes, SIZE, SIZE))
    return np.asarray(np.round(BACKGROUND + light / planes + noise))


def cells(seed: int) -> Float64Array:
    """Return the texture of cells, mean about 1."""
    noise = np.random.default_rng(seed).lognormal(0, 0.6, (SIZE, SIZE))
    return cv2.GaussianBlur(noise, (0, 0), 1.5)


@pytest.mark.parametrize("radius_px", [10.0, 30.0, 52.0])
def test_area_and_intensity_are_those_of_the_light_above_the_background(radius_px: float) -> None:
    light = 900.0 * disc(radius_px)
    found = measure_stain(stack(light), Projection.SUM)
    assert disc(radius_px).sum() <= found.area_px <= disc(radius_px + 3).sum()
    assert found.intensity == pytest.approx(light.sum(), rel=0.02)
    assert found.background == pytest.approx(3 * BACKGROUND, abs=3)
    assert not found.is_empty


def test_an_image_without_stain_is_empty() -> None:
    found = measure_stain(stack(np.zeros((SIZE, SIZE))), Projection.SUM)
    assert found.is_empty
    assert found.sharpness == 0 or found.area_px < 10


def test_the_background_is_found_although_tissue_covers_most_of_the_image() -> None:
    plane = stack(600.0 * disc(67), planes=1)[0]
    assert disc(67).mean() > 0.8
    background, noise = find_background(plane)
    assert background == pytest.approx(BACKGROUND, abs=6)
    assert 3 < noise < 8


def test_projections_are_sum_largest_and_mean() -> None:
    planes = np.array([[[1.0]], [[5.0]], [[3.0]]])
    assert [float(project(planes, each)[0, 0]) for each in Projection] == [9.0, 5.0, 3.0]


def test_stained_pixels_with_the_largest_count_are_saturated() -> None:
    bright = np.minimum(stack(9000.0 * disc(20), planes=1), 4095)
    assert saturated_share(bright, disc(20).astype(bool)) > 0.95
    fair = stack(900.0 * cells(1) * disc(20), planes=1)
    assert saturated_share(fair, disc(20).astype(bool)) < 0.01


def test_dark_tissue_on_a_bright_background_looks_like_bright_field() -> None:
    assert looks_like_bright_field(3000 - stack(2000.0 * disc(20), planes=1)[0])
    assert not looks_like_bright_field(stack(900.0 * disc(20), planes=1)[0])
    assert not looks_like_bright_field(stack(np.zeros((SIZE, SIZE)), planes=1)[0] + 10 * disc(3))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3])
def test_the_bleed_through_of_another_stain_is_estimated_and_subtracted(share: float) -> None:
    live, dead = 900.0 * cells(1) * disc(40), 100.0 * cells(2) * disc(40)
    other = measure_stain(stack(live, seed=3), Projection.SUM)
    mixed = measure_stain(stack(dead + share * live, seed=4), Projection.SUM)
    assert bleed_through(mixed, other) == pytest.approx(share, abs=0.05)
    clean = subtract_bleed_through(mixed, other, share)
    assert clean.intensity == pytest.approx(dead.sum(), rel=0.1)
    assert bleed_through(clean, other) < 0.05


def test_without_the_other_stain_there_is_no_bleed_through() -> None:
    empty = measure_stain(stack(np.zeros((SIZE, SIZE))), Projection.SUM)
    stained: StainSignal = measure_stain(stack(900.0 * disc(30)), Projection.SUM)
    assert bleed_through(stained, empty) == 0.0
