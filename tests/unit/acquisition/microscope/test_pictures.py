"""Pictures of wells: one place is recognised, other wells are not taken for it."""

from datetime import UTC, datetime
from itertools import combinations, pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from acquisition.microscope.pictures import (
    SAME_PICTURE,
    WellPictures,
    common_detail,
    likeness,
    make_picture,
)
from simulation.kinds import OpticsName
from simulation.world import A1_UM, SPACING_UM, World, WorldFile
from tests.real_data import real_data

WELLS = 8


def planes_of_wells(world: World, *, moved_um: float = 0.0) -> dict[str, list[np.ndarray]]:
    """Return three planes of some wells of the plate on the stage."""
    plate = next(iter(world.scopes))
    found = {}
    for plan in world.scopes[plate].plate.wells[:WELLS]:
        x_um = A1_UM[0] + SPACING_UM * (plan.column - 1) + moved_um
        y_um = A1_UM[1] - SPACING_UM * (plan.row - 1)
        z_um = world.focus_height_um(plan) + moved_um
        found[plan.well] = [
            world.render_frame(x_um, y_um, z_um + dz, lamp=1.0, exposure_ms=10.0)
            for dz in (-45.0, 0.0, 45.0)
        ]
    return found


@pytest.mark.parametrize("optics", list(OpticsName))
@pytest.mark.parametrize(("seed", "day"), [(11, 2), (29, 7), (5, 10)])
def test_a_place_is_recognised_among_the_wells_of_a_plate(
    tmp_path: Path, optics: OpticsName, seed: int, day: int
) -> None:
    world = World(
        tmp_path, WorldFile(seed=seed, size_px=256, optics=optics), lambda: datetime.now(UTC)
    )
    world.place_plate(next(iter(world.scopes)), day)
    first = {well: (make_picture(planes),) for well, planes in planes_of_wells(world).items()}
    again = planes_of_wells(world, moved_um=5.0)

    same = [likeness(first[well], (make_picture(planes),)) for well, planes in again.items()]
    other = [likeness(first[a], first[b]) for a, b in combinations(first, 2)]
    assert min(same) >= SAME_PICTURE + 0.02  # dim light is noisy at 256 × 256 pixels
    assert max(other) <= SAME_PICTURE - 0.05


def test_empty_wells_under_one_illumination_are_not_alike() -> None:
    rng = np.random.default_rng(1)
    y, x = np.mgrid[-1:1:512j, -1:1:512j]
    light = 30_000 * (1 - 0.3 * (x**2 + y**2))
    light[200:206, 90:96] *= 0.6  # dust on the camera
    pictures = [
        (make_picture([light * rng.normal(1, 0.01, light.shape) for _ in range(3)]),)
        for _ in range(4)
    ]
    common = common_detail(pictures)
    assert max(likeness(a, b, common) for a, b in pairwise(pictures)) < SAME_PICTURE - 0.2


def test_dust_on_the_camera_makes_no_wells_alike(tmp_path: Path) -> None:
    world = World(tmp_path, WorldFile(seed=11, size_px=256), lambda: datetime.now(UTC))
    world.place_plate(next(iter(world.scopes)), 7)
    dust = np.ones((256, 256))
    rng = np.random.default_rng(4)
    for row, column in rng.integers(10, 240, (40, 2)):
        dust[row : row + 5, column : column + 5] = 0.6
    dusty = [[plane * dust for plane in planes] for planes in planes_of_wells(world).values()]
    pictures = [(make_picture(planes),) for planes in dusty]
    common = common_detail(pictures)
    assert max(likeness(a, b) for a, b in combinations(pictures, 2)) > SAME_PICTURE
    assert max(likeness(a, b, common) for a, b in combinations(pictures, 2)) < SAME_PICTURE - 0.1
    again = [[plane * dust for plane in planes] for planes in planes_of_wells(world).values()]
    same = [
        likeness(a, (make_picture(planes),), common)
        for a, planes in zip(pictures, again, strict=True)
    ]
    assert min(same) > SAME_PICTURE


def test_a_picture_without_detail_is_like_no_picture() -> None:
    flat = make_picture([np.full((64, 64), 7, np.uint8)])
    assert likeness((flat,), (flat,)) == 0


def test_visits_are_alike_if_one_field_of_each_shows_the_same_place() -> None:
    rng = np.random.default_rng(1)
    one, other, third = (make_picture([rng.uniform(1e3, 2e3, (256, 256))]) for _ in range(3))
    assert likeness((one, other), (third, one)) > SAME_PICTURE
    assert likeness((one, other), (third,)) < SAME_PICTURE - 0.2


def real_photographs(folder: Path, pattern: str) -> list[np.ndarray]:
    flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_GRAYSCALE
    images = [cv2.imread(str(path), flags) for path in sorted(folder.rglob(pattern))]
    return [image for image in images if image is not None]


@pytest.mark.parametrize(
    ("folder", "pattern"),
    [("spheroid_morpho_ml/images", "*.tiff"), ("deep_organoid_384", "*.tif")],
)
def test_real_photographs_are_like_themselves_and_not_like_others(
    folder: str, pattern: str
) -> None:
    images = real_photographs(real_data(folder), pattern)
    assert len(images) >= 10
    rng = np.random.default_rng(2)

    def exposed_again(image: np.ndarray) -> WellPictures:
        noise = rng.normal(0, 0.01 * float(np.median(image)), image.shape)
        return (make_picture([np.maximum(1.05 * image + noise, 0)]),)

    pictures = [(make_picture([image]),) for image in images]
    assert min(likeness(a, exposed_again(b)) for a, b in zip(pictures, images, strict=True)) > 0.75
    assert max(likeness(a, b) for a, b in combinations(pictures, 2)) < 0.5
