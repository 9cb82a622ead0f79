"""Saturated pixels in files of cameras with 8 to 16 bits."""

from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
import tifffile

from acquisition.drop_folder.image_reading import read_image
from acquisition.quality import assess
from acquisition.saturation import saturated_fraction
from schemas.quality import Flag

Raw = npt.NDArray[Any]


def exposure(bits: int, light: float, noise: float = 0.01) -> Raw:
    """Return a field with a disc, (400, 400); light and noise are shares of the camera's white."""
    white = 2**bits - 1
    y, x = np.mgrid[:400, :400]
    field = np.where(np.hypot(y - 200, x - 180) < 80, 0.5 * light, light)
    field = field + np.random.default_rng(bits).normal(0, noise, field.shape)
    levels = np.round(np.clip(field, 0, 1) * white)
    return levels.astype(np.uint8 if bits == 8 else np.uint16)


def write(path: Path, pixels: Raw) -> Path:
    """Write pixels into a TIFF, PNG or JPEG file, as the suffix of its path says."""
    if path.suffix == ".tif":
        tifffile.imwrite(path, pixels, photometric="rgb" if pixels.ndim == 3 else "minisblack")
    elif path.suffix == ".png":
        path.write_bytes(imagecodecs.png_encode(pixels))
    else:
        path.write_bytes(imagecodecs.jpeg_encode(pixels, level=85))
    return path


def high_bits(pixels: Raw, bits: int) -> Raw:
    """Return pixels moved to the high bits of 16."""
    return (pixels.astype(np.uint32) << (16 - bits)).astype(np.uint16)


def file_of(folder: Path, kind: str, light: float) -> Path:
    """Write an image of a kind into a folder: a container, bits of the camera, and their place."""
    suffix, bits, place = kind.split()
    pixels = exposure(int(bits), light)
    if place == "rgb":
        pixels = np.stack([pixels] * 3, axis=2)
    elif place == "high":
        pixels = high_bits(pixels, int(bits))
    elif place == "16":
        pixels = pixels.astype(np.uint16)
    return write(folder / f"B02{suffix}", pixels)


KINDS = [
    *(f"{suffix} {bits} low" for suffix in (".tif", ".png") for bits in (8, 10, 12, 14, 16)),
    *(f".tif {bits} high" for bits in (8, 10, 12, 14)),
    *(f".png {bits} high" for bits in (8, 12)),
    ".tif 8 16",
    ".tif 8 rgb",
    ".tif 12 rgb",
    ".jpg 8 low",
    ".jpg 8 rgb",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("light", [1.0, 1.05, 2.5])
def test_an_image_with_too_much_light_is_saturated(tmp_path: Path, kind: str, light: float) -> None:
    quality = assess(read_image(file_of(tmp_path, kind, light)).planes)
    assert Flag.SATURATED in quality.flags
    assert quality.saturated_fraction > 0.3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("light", [0.02, 0.1, 0.5, 0.9])
def test_an_image_with_less_light_is_not_saturated(tmp_path: Path, kind: str, light: float) -> None:
    quality = assess(read_image(file_of(tmp_path, kind, light)).planes)
    assert Flag.SATURATED not in quality.flags
    assert quality.saturated_fraction < 0.001


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_the_saturated_fraction_is_the_share_of_white_pixels(tmp_path: Path, bits: int) -> None:
    pixels = exposure(bits, 0.97, 0.02)
    planes = read_image(write(tmp_path / "B02.tif", pixels)).planes
    share = float((pixels == 2**bits - 1).mean())
    assert 0.03 < share < 0.1
    assert saturated_fraction(planes, 0) == pytest.approx(share)


@pytest.mark.parametrize("level", [0, 1, 15, 40, 200, 1000, 4000, 30000, 65000])
def test_a_uniform_image_below_white_is_not_saturated(level: int) -> None:
    assert saturated_fraction(np.full((1, 100, 100), level, np.uint16), 0) == 0.0


@pytest.mark.parametrize("levels", [3, 6, 12])
@pytest.mark.parametrize("noise", [0.1, 0.4, 1.0])
def test_a_dim_image_with_few_grey_levels_is_not_saturated(levels: int, noise: float) -> None:
    field = np.random.default_rng(levels).normal(levels, noise, (300, 300))
    field[100:200, 100:200] /= 2
    planes = (np.round(np.clip(field, 0, 255)).astype(np.uint16) * 257)[np.newaxis]
    assert saturated_fraction(planes, 0) == 0.0


def test_a_background_whose_noise_ends_at_white_is_not_saturated() -> None:
    field = np.random.default_rng(1).normal(60000, 1300, (400, 400))
    planes = np.minimum(np.round(field), 65535).astype(np.uint16)[np.newaxis]
    assert planes.max() == 65535
    assert saturated_fraction(planes, 0) < 0.001


def test_few_grey_levels_that_are_stretched_to_white_are_not_saturated() -> None:
    levels = np.clip(np.round(np.random.default_rng(2).normal(4, 0.7, (300, 300))), 0, 5)
    planes = (levels.astype(np.uint16) * 51 * 257)[np.newaxis]
    assert planes.max() == 65535
    assert saturated_fraction(planes, 0) == 0.0


def test_the_sharpest_plane_decides_and_its_white_is_that_of_all_planes() -> None:
    clipped, dim = exposure(12, 1.5), exposure(12, 0.4)
    soft = cv2.GaussianBlur(dim, (0, 0), 8)
    scaled = [np.stack(pair).astype(np.uint16) * 4 for pair in ((clipped, soft), (soft, clipped))]
    for planes in scaled:
        quality = assess(planes)
        assert quality.saturated_fraction > 0.5
        assert np.array_equal(planes[quality.sharpest_plane], clipped * 4)
    assert saturated_fraction(scaled[0], 1) == 0.0
