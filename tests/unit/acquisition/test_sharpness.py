"""Sharpness of drawings and of real images at several sizes, with and without blur."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from acquisition.drop_folder.image_reading import read_image
from acquisition.quality import assess
from acquisition.sharpness import measure_sharpness
from schemas.quality import Flag
from tests.real_data import real_data

Floats = npt.NDArray[np.float32]
Planes = npt.NDArray[np.uint16]
DRAWN_PX = 2048
WIDE_PX = 20.0  # a Gaussian of this width is the same after a reduction to a quarter


@cache
def large_body(seed: int, blur: float = 0.0) -> Floats:
    """Return a field, (2048, 2048), with a large body, whose edge is soft, and with loose cells.

    The body fills half of the width. ``blur`` is the standard deviation of a Gaussian as a share of
    the field.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:DRAWN_PX, :DRAWN_PX].astype(np.float32) / DRAWN_PX
    depth = 0.26 - np.hypot(y - 0.5, x - 0.48)
    light = 30000 * (1 - 0.75 * np.clip(depth / rng.uniform(0.03, 0.08), 0, 1))
    for row, column in rng.uniform(0.03, 0.97, (80, 2)) * DRAWN_PX:
        ring = int(rng.integers(8, 14))
        place = (int(column), int(row))
        cv2.circle(light, place, ring, float(light[int(row), int(column)]) * 0.7, 4, cv2.LINE_AA)
    return smoothed(light, max(blur * DRAWN_PX, 2.0))


def smoothed(image: npt.NDArray[np.generic], width_px: float) -> Floats:
    """Return an image after a Gaussian blur; a wide one is computed at a quarter of the size."""
    full = np.asarray(image, np.float32)
    if width_px < WIDE_PX:
        return np.asarray(cv2.GaussianBlur(full, (0, 0), width_px), np.float32)
    height, width = full.shape
    small = cv2.resize(full, (-(-width // 4), -(-height // 4)), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), width_px / 4)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def photographed(light: Floats, side_px: int, bits: int = 16, noise: float = 0.01) -> Planes:
    """Return the plane of a camera, (1, side, side); the noise of a pixel is a share of 30000."""
    method = cv2.INTER_AREA if side_px < len(light) else cv2.INTER_CUBIC
    image = cv2.resize(light, (side_px, side_px), interpolation=method)
    image = image + np.random.default_rng(side_px).normal(0, noise * 30000, image.shape)
    step = 65535 / (2**bits - 1)
    return np.clip(np.round(np.round(image / step) * step), 0, 65535).astype(np.uint16)[np.newaxis]


def is_blurred(planes: Planes) -> bool:
    return Flag.BLURRED in assess(planes).flags


@pytest.mark.parametrize("side_px", [512, 1024, 2048, 4096])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_sharp_large_body_with_a_soft_edge_is_not_blurred_at_any_size(
    side_px: int, bits: int
) -> None:
    assert not is_blurred(photographed(large_body(1), side_px, bits))


@pytest.mark.parametrize("side_px", [512, 1024, 2048, 4096])
@pytest.mark.parametrize("blur", [0.01, 0.02])
def test_a_large_body_out_of_focus_is_blurred_at_any_size(side_px: int, blur: float) -> None:
    assert is_blurred(photographed(large_body(1, blur), side_px))


@pytest.mark.parametrize("seed", range(5))
def test_sharpness_does_not_depend_on_the_size_of_an_image(seed: int) -> None:
    values = [
        measure_sharpness(photographed(large_body(seed), side_px, noise=0.003)).planes[0]
        for side_px in (512, 1024, 2048, 4096)
    ]
    assert max(values) < 1.1 * min(values)


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.05])
@pytest.mark.parametrize("bits", [8, 10, 16])
def test_noise_and_grey_levels_do_not_make_a_blurred_image_sharp(noise: float, bits: int) -> None:
    assert is_blurred(photographed(large_body(2, 0.012), 1024, bits, noise))


@pytest.mark.parametrize("level", [50, 80, 95])
def test_blocks_of_jpeg_do_not_make_a_blurred_image_sharp(level: int) -> None:
    grey = photographed(large_body(3, 0.015), 1024)[0] // 257
    _, content = cv2.imencode(".jpg", grey.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, level])
    planes = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE).astype(np.uint16)[np.newaxis] * 257
    assert is_blurred(planes)


def test_burned_in_text_and_black_bars_do_not_make_a_blurred_image_sharp() -> None:
    plane = photographed(large_body(3, 0.015), 1024)[0]
    text = np.zeros(plane.shape, np.uint8)
    cv2.putText(text, "B02 day 4, 10x", (40, 990), cv2.FONT_HERSHEY_SIMPLEX, 1.5, 255, 3)
    plane[text > 0] = 65535
    plane[960:970, 700:980] = 0
    plane[:60] = 0
    assert is_blurred(plane[np.newaxis])


def test_dust_on_the_sensor_does_not_make_a_blurred_image_sharp() -> None:
    light = large_body(3, 0.015).copy()
    for row, column in np.random.default_rng(4).integers(50, DRAWN_PX - 50, (6, 2)):
        disc = (slice(row - 8, row + 8), slice(column - 8, column + 8))
        light[disc] *= 0.75
    assert is_blurred(photographed(light, 1024))


def test_a_small_sharp_spheroid_in_a_wide_field_is_not_blurred() -> None:
    light = np.full((DRAWN_PX, DRAWN_PX), 30000, np.float32)
    cv2.circle(light, (900, 1100), 35, 12000.0, -1, cv2.LINE_AA)
    assert not is_blurred(photographed(smoothed(light, 3), 1024))
    assert is_blurred(photographed(smoothed(light, 0.015 * DRAWN_PX), 1024, noise=0.003))


def test_the_least_blurred_of_planes_far_out_of_focus_is_the_sharpest() -> None:
    planes = [photographed(large_body(5, blur), 512)[0] for blur in (0.05, 0.03, 0.04)]
    measured = measure_sharpness(np.stack(planes))
    assert measured.sharpest == 1
    assert measured.is_blurred


def real_planes() -> Iterator[Planes]:
    folders = ("mls11_spheroids/images", "mls11_spheroids/organoids", "orgaquant_test")
    for folder in (*folders, "spheroid_morpho_ml/images", "deep_organoid_384/images"):
        data_set, *inside = folder.split("/")
        for path in sorted(real_data(data_set).joinpath(*inside).iterdir()):
            if path.suffix in (".tif", ".tiff", ".jpg"):
                yield read_image(path).planes


@pytest.mark.filterwarnings("ignore")
def test_real_images_are_sharp_and_their_copies_with_a_blur_of_1_percent_are_not() -> None:
    called = []
    for planes in real_planes():
        side_px = max(planes.shape)
        soft = smoothed(planes[0], 0.01 * side_px)
        noise = np.random.default_rng(side_px).normal(0, 0.01 * np.median(soft), soft.shape)
        copy = np.clip(soft + noise, 0, 65535).astype(np.uint16)[np.newaxis]
        called.append((measure_sharpness(planes).is_blurred, measure_sharpness(copy).is_blurred))
    assert called == [(False, True)] * len(called)


@pytest.mark.parametrize("enlarged", [2, 4])
def test_an_enlarged_part_of_a_real_spheroid_is_sharp_unless_it_is_blurred(enlarged: int) -> None:
    for path in sorted(Path(real_data("mls11_spheroids") / "images").glob("*.tif")):
        plane = read_image(path).planes[0]
        side_px = len(plane) // enlarged
        dark = np.unravel_index(np.argmin(smoothed(plane, 20)), plane.shape)
        top, left = (int(np.clip(at - side_px // 2, 0, len(plane) - side_px)) for at in dark)
        part = plane[top : top + side_px, left : left + side_px].astype(np.float32)
        large = cv2.resize(part, (1024, 1024), interpolation=cv2.INTER_CUBIC)
        assert not is_blurred(photographed(large, 1024))
        assert is_blurred(photographed(smoothed(large, 0.01 * 1024), 1024))
