"""Quality flags of virtual wells with image faults, of simple drawings and of real images.

``python -m benchmarks.quality`` measures the rates of right and wrong flags on many images.
"""

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import tifffile

from acquisition.quality import assess
from schemas.quality import Flag
from simulation.kinds import Mechanism
from simulation.microscope import IMAGE_FAULTS, Fault, VirtualMicroscope, virtual_microscopes
from tests.real_data import real_data

Planes = npt.NDArray[np.uint16]


@cache
def scope(seed: int) -> VirtualMicroscope:
    return virtual_microscopes(1, seed, 256)[0]


def view(
    seed: int, day: int, fault: Fault | None = None, mechanism: Mechanism | None = None
) -> Planes:
    """Return the planes of the well that a death mechanism damaged most, white = 65535.

    Without a mechanism, return an untreated well.
    """
    plan = max(
        scope(seed).plate.wells,
        key=lambda well: (well.mechanism is mechanism, well.readout_kill, -well.key),
    )
    planes = scope(seed).render(plan, day, fault).planes
    return np.round(planes * (65535 / (4095 if planes.max() <= 4095 else 65535))).astype(np.uint16)


def picture(side_px: int = 256, *, noise: float = 400.0) -> npt.NDArray[np.float64]:
    """Return the pixels of an empty field with noise."""
    return np.random.default_rng(0).normal(40000, noise, (side_px, side_px))


def draw_disc(
    field: npt.NDArray[np.float64], x: float, y: float, radius: float, transmission: float = 0.5
) -> None:
    """Darken a disc in a field; position and radius are shares of the side."""
    side = len(field)
    rows, columns = np.indices(field.shape)
    field[np.hypot(columns - x * side, rows - y * side) < radius * side] *= transmission


def planes_of(*fields: npt.NDArray[np.float64]) -> Planes:
    return np.clip(np.stack(fields), 0, 65535).astype(np.uint16)


@pytest.mark.parametrize("day", [1, 3, 7, 10])
@pytest.mark.parametrize("mechanism", [None, *Mechanism])
def test_a_good_image_has_no_flag_on_any_day_with_any_death_mechanism(
    day: int, mechanism: Mechanism | None
) -> None:
    assert assess(view(5, day, mechanism=mechanism)).flags == ()


@pytest.mark.parametrize("seed", [5, 6])
@pytest.mark.parametrize("day", [2, 7, 10])
@pytest.mark.parametrize("fault", IMAGE_FAULTS)
def test_an_image_with_one_fault_has_the_flag_of_that_fault_only(
    fault: Fault, day: int, seed: int
) -> None:
    assert assess(view(seed, day, fault)).flags == (Flag(fault.value),)


@pytest.mark.parametrize("side_px", [150, 512, 1024])
def test_flags_and_tissue_share_do_not_depend_on_camera_and_light(side_px: int) -> None:
    field = picture(side_px)
    draw_disc(field, 0.5, 0.5, 0.15)
    dim = assess(planes_of(field * 0.1))
    bright = assess(planes_of(field))
    assert dim.flags == bright.flags == ()
    assert dim.tissue_fraction == pytest.approx(bright.tissue_fraction, rel=0.05)
    # The share of the disc is 0.071; the measured region includes its edge.
    assert 0.07 < bright.tissue_fraction < 0.13


def test_the_plane_in_focus_of_eleven_planes_is_found() -> None:
    rng = np.random.default_rng(1)
    field = picture(noise=0.0)
    draw_disc(field, 0.4, 0.6, 0.1)
    stack = [
        cv2.GaussianBlur(field, (0, 0), 0.5 + abs(plane - 7)) + rng.normal(0, 300, field.shape)
        for plane in range(11)
    ]
    quality = assess(planes_of(*stack))
    assert quality.sharpest_plane == 7
    assert list(quality.focus[:8]) == sorted(quality.focus[:8])
    assert Flag.BLURRED not in quality.flags


def test_noise_does_not_make_a_blurred_image_sharp() -> None:
    field = picture(512, noise=0.0)
    draw_disc(field, 0.5, 0.5, 0.1)
    blurred = cv2.GaussianBlur(field, (0, 0), 10) + np.random.default_rng(2).normal(
        0, 1200, field.shape
    )
    assert assess(planes_of(blurred)).flags == (Flag.BLURRED,)


def test_saturation_by_too_much_light_is_flagged_and_a_glint_is_not() -> None:
    field = picture()
    draw_disc(field, 0.5, 0.5, 0.15)
    field[100:105, 100:105] = 70000
    assert assess(planes_of(field)).flags == ()
    quality = assess(planes_of(field * 1.7))
    assert Flag.SATURATED in quality.flags
    assert quality.saturated_fraction > 0.9


def test_specks_and_a_fibre_are_not_tissue() -> None:
    field = picture()
    for x, y in np.random.default_rng(3).uniform(0.05, 0.95, (20, 2)):
        draw_disc(field, x, y, 0.006)
    cv2.line(field, (30, 40), (150, 90), 15000.0, 1)
    quality = assess(planes_of(field))
    assert quality.flags == (Flag.EMPTY,)
    assert quality.tissue_fraction == 0.0


def test_uneven_light_is_not_tissue() -> None:
    y, x = np.indices((256, 256)) / 255 - 0.5
    assert assess(planes_of(picture() * (1 + 0.5 * x - 0.6 * (x * x + y * y)))).flags == (
        Flag.EMPTY,
    )


def test_tissue_with_a_fibre_across_the_border_is_not_cut() -> None:
    field = picture()
    draw_disc(field, 0.5, 0.5, 0.15)
    cv2.line(field, (128, 128), (170, 0), 10000.0, 3)
    assert assess(planes_of(field)).flags == ()


def test_a_black_stripe_at_the_border_is_ignored() -> None:
    field = picture()
    draw_disc(field, 0.5, 0.5, 0.15)
    field[:8] = 0
    assert assess(planes_of(field)).flags == ()


def test_tissue_across_a_corner_is_cut() -> None:
    field = picture()
    draw_disc(field, 0.02, 0.98, 0.2)
    quality = assess(planes_of(field))
    assert quality.flags == (Flag.CUT,)
    assert quality.border_fraction == pytest.approx(0.1, abs=0.04)


def test_flags_of_reading_come_first() -> None:
    assert assess(planes_of(picture()), flags=(Flag.DAY_DISAGREES,)).flags == (
        Flag.DAY_DISAGREES,
        Flag.EMPTY,
    )


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 3, 700), (2, 16, 16)])
@pytest.mark.parametrize("value", [0, 30000])
def test_a_tiny_or_uniform_image_is_flagged_as_empty_without_an_error(
    shape: tuple[int, int, int], value: int
) -> None:
    assert Flag.EMPTY in assess(np.full(shape, value, np.uint16)).flags


def read_real(path: Path) -> Planes:
    pixels = tifffile.imread(path)
    pixels = pixels[..., 0] if pixels.ndim == 3 else pixels
    white = {np.uint8: 255}.get(pixels.dtype.type, 4095 if pixels.max() <= 4095 else 65535)
    return np.round(pixels * (65535 / white)).astype(np.uint16)[np.newaxis]


@pytest.mark.parametrize("well", ["B06", "E04", "E11", "I03", "L06"])
def test_a_real_patient_spheroid_has_no_flag(well: str) -> None:
    (path,) = (real_data("mls11_spheroids") / "images").glob(f"*_{well}*.tif")
    assert assess(read_real(path)).flags == ()


@pytest.mark.parametrize("number", range(1, 50, 2))
def test_of_the_real_crops_only_an_empty_and_a_disintegrated_one_are_flagged(number: int) -> None:
    flags = {19: (Flag.EMPTY,), 37: (Flag.CUT,)}  # 37 disintegrated and covers the whole field
    path = real_data("spheroid_morpho_ml") / "images" / f"image_{number}.tiff"
    assert assess(read_real(path)).flags == flags.get(number, ())


@pytest.mark.filterwarnings("ignore")
def test_a_real_stack_of_eleven_planes_is_sharp_in_the_middle_and_blurred_at_the_end() -> None:
    paths = sorted((real_data("evos_organoid_zstack")).glob("*.TIF"))
    planes = np.concatenate([read_real(path) for path in paths])
    quality = assess(planes)
    assert quality.sharpest_plane == 6
    assert Flag.BLURRED not in quality.flags
    assert Flag.BLURRED in assess(planes[:1]).flags


def test_a_plane_much_darker_than_the_others_is_flagged() -> None:
    planes = np.full((3, 256, 256), 40_000, dtype=np.uint16)
    assert Flag.DARK_PLANE not in assess(planes).flags
    planes[1] //= 3
    assert Flag.DARK_PLANE in assess(planes).flags
