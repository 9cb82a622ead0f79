from pathlib import Path

import numpy as np
import pytest
import tifffile

from schemas.well_image import VisitKey, WellImage
from training.evaluation.real_images import real_images, sharpest_plane
from training.evaluation.variants import VARIANTS


def well(planes: int, side_px: int = 96, um_per_px: float | None = 4.0) -> WellImage:
    y, x = np.mgrid[:side_px, :side_px]
    disc = np.hypot(x - side_px / 2, y - side_px / 2) < side_px / 5
    grain = np.random.default_rng(0).normal(0, 500, (planes, side_px, side_px))
    pixels = np.where(disc, 15_000, 40_000) + grain
    return WellImage(
        VisitKey("p", "B02", "day10"),
        10,
        None,
        (),
        pixels.astype(np.uint16),
        um_per_px,
        complete=True,
    )


@pytest.mark.parametrize("planes", [1, 3, 11])
@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_changes_the_image_and_keeps_its_shape(name: str, planes: int) -> None:
    image = well(planes)
    view, sharpest = VARIANTS[name](image, planes // 2, np.random.default_rng(1))
    assert view.planes.shape == image.planes.shape
    assert view.planes.dtype == np.uint16
    assert 0 <= sharpest < planes
    assert sharpest != planes // 2 or not np.array_equal(view.planes, image.planes)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_same_seed_makes_the_same_variant(name: str) -> None:
    first, second = (VARIANTS[name](well(3), 1, np.random.default_rng(7)) for _ in range(2))
    assert first[1] == second[1]
    assert np.array_equal(first[0].planes, second[0].planes)


def test_an_exposure_never_saturates_the_background() -> None:
    bright = well(3)
    views = [VARIANTS["exposure"](bright, 1, np.random.default_rng(seed))[0] for seed in range(6)]
    assert all(np.quantile(view.planes, 0.9) < 65_535 for view in views)


def test_the_stage_moves_the_tissue() -> None:
    def middle(planes: np.ndarray) -> np.ndarray:
        return np.argwhere(planes[0] < 25_000).mean(axis=0)

    image = well(1)
    view, _ = VARIANTS["shift"](image, 0, np.random.default_rng(2))
    assert np.linalg.norm(middle(view.planes) - middle(image.planes)) == pytest.approx(
        0.06 * 96, rel=0.1
    )


def test_real_images_are_read_and_damaged_ones_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "spheroid_morpho_ml" / "images"
    folder.mkdir(parents=True)
    tifffile.imwrite(folder / "image_1.tiff", well(1).planes[0])
    (folder / "image_2.tiff").write_bytes(b"not an image")
    stack = tmp_path / "evos_organoid_zstack"
    stack.mkdir()
    for plane in range(3):
        tifffile.imwrite(
            stack / f"z{plane}.tif",
            np.random.default_rng(plane).integers(0, 60_000, (430, 870)).astype(np.uint16),
        )
    images = real_images(tmp_path)
    assert [image.planes.shape for image in images] == [(1, 96, 96), (3, 430, 430), (3, 430, 430)]
    assert sharpest_plane(images[0]) == 0


def test_a_folder_without_real_images_has_none(tmp_path: Path) -> None:
    assert real_images(tmp_path) == []
