"""The classical segmenter on planes with text, bars or clipped light, and on planes of any shape.

Text and bars are drawn into planes as programs of microscopes draw them.
"""

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from inference.tissue.classical_segmenter import ClassicalSegmenter
from inference.tissue.measures import measure_tissue
from inference.tissue.prepared_plane import prepare_plane
from schemas.tissue import Segmentation, Unsure
from tests.drawn_planes import SIDE, Mask, Plane, dice, disc, expose, grain

WHITE = 65535
TISSUE = disc(0.5, 0.45, 0.15)
NOTHING = np.zeros((SIDE, SIDE), dtype=bool)


def segment(plane: Plane) -> Segmentation:
    return ClassicalSegmenter().segment(plane, None)


def image(tissue: Mask = TISSUE, density: float = 0.8) -> Plane:
    """Return the image of tissue with an optical density and grain of cells."""
    return expose(tissue * (density + 0.1 * grain(tissue.shape[0])))


def in_8_bits(plane: Plane) -> Plane:
    """Return a plane with the 256 values of a camera with 8 bits."""
    return (plane >> 8) * np.uint16(257)


def with_text(plane: Plane, value: int, x: float = 0.6, y: float = 0.85) -> Plane:
    """Return a plane with a scale bar and text of one value; x and y are shares of the side."""
    side = plane.shape[0]
    drawn = np.zeros(plane.shape, np.uint8)
    left, top = round(x * side), round(y * side)
    cv2.putText(drawn, "100 um", (left, top), cv2.FONT_HERSHEY_SIMPLEX, side / 450, 1, side // 200)
    cv2.rectangle(drawn, (left, top + side // 40), (left + side // 4, top + side // 25), 1, -1)
    return np.where(drawn > 0, np.uint16(value), plane)


@pytest.mark.parametrize("value", [0, WHITE])
@pytest.mark.parametrize("density", [0.2, 0.8])
def test_burned_in_text_is_neither_tissue_nor_debris(value: int, density: float) -> None:
    plane = image(density=density)
    found, without = segment(with_text(plane, value)), segment(plane)
    assert dice(found.body, TISSUE) > 0.95
    assert dice(found.body, without.body) > 0.99
    assert not (found.debris & (with_text(plane, value) != plane)).any()


@pytest.mark.parametrize("value", [0, WHITE])
def test_burned_in_text_in_an_empty_well_is_not_tissue(value: int) -> None:
    found = segment(with_text(expose(0.0 * NOTHING), value))
    assert found.is_empty
    assert not found.unsure


@pytest.mark.parametrize("radius", [0.05, 0.1, 0.2])
def test_black_tissue_that_is_clipped_in_8_bits_is_not_taken_as_text(radius: float) -> None:
    truth = disc(0.5, 0.5, radius)
    plane = in_8_bits(expose(8.0 * truth))
    assert (plane[truth] == 0).mean() > 0.5
    assert not (prepare_plane(plane).marks & truth).any()
    found = segment(plane)
    assert dice(found.body, truth) > 0.95
    assert not found.unsure


@pytest.mark.parametrize("density", [5.0, 8.0])
@pytest.mark.parametrize("radius", [0.05, 0.15])
def test_black_tissue_has_its_true_area(radius: float, density: float) -> None:
    truth = disc(0.5, 0.5, radius)
    found = segment(in_8_bits(expose(density * truth)))
    assert np.count_nonzero(found.body) == pytest.approx(np.count_nonzero(truth), rel=0.04)


def test_a_black_bar_with_white_text_is_neither_tissue_nor_debris() -> None:
    plane = image()
    plane[-48:] = 0
    found = segment(with_text(plane, WHITE, 0.05, 0.93))
    assert dice(found.body, TISSUE) > 0.98
    assert not found.debris[-48:].any()
    assert not found.unsure


def test_a_white_bar_with_black_text_is_neither_tissue_nor_debris() -> None:
    plane = image()
    plane[-48:] = WHITE
    found = segment(with_text(plane, 0, 0.05, 0.93))
    assert dice(found.body, TISSUE) > 0.98
    assert not found.debris[-48:].any()


@pytest.mark.parametrize("value", [0, 9000, WHITE])
@pytest.mark.parametrize("axis", [0, 1])
def test_bars_on_two_sides_are_neither_tissue_nor_debris(value: int, axis: int) -> None:
    plane = image()
    sides = np.swapaxes(plane, 0, axis)
    sides[:30] = sides[-50:] = value
    found = segment(plane)
    assert dice(found.body, TISSUE) > 0.98
    bars = np.swapaxes(found.debris, 0, axis)
    assert not bars[:30].any()
    assert not bars[-50:].any()


@pytest.mark.parametrize("density", [0.4, 0.8, 4.0])
@pytest.mark.parametrize("hidden", [20, 50, 60])
def test_tissue_that_touches_a_bar_is_found_up_to_the_bar(density: float, hidden: int) -> None:
    tissue = disc(0.5, 0.78, 0.15)
    visible = tissue.copy()
    visible[-hidden:] = False
    for plane in (image(tissue, density), expose(density * tissue)):
        plane[-hidden:] = 0
        assert dice(segment(plane).body, visible) > 0.95


@pytest.mark.parametrize("value", [0, WHITE, 4095])
@pytest.mark.parametrize("shape", [(300, 300), (150, 200), (64, 500)])
def test_a_plane_of_one_value_has_neither_tissue_nor_debris(
    value: int, shape: tuple[int, int]
) -> None:
    found = segment(np.full(shape, value, np.uint16))
    assert found.is_empty
    assert not found.debris.any()
    assert np.isfinite(found.background).all()


def test_tissue_on_ground_that_is_saturated_is_found() -> None:
    plane = np.minimum(image().astype(np.float64) * 1.9, WHITE).astype(np.uint16)
    assert (plane == WHITE).mean() > 0.9
    for exposed in (plane, in_8_bits(plane)):
        assert dice(segment(exposed).body, TISSUE) > 0.95


def test_tissue_is_found_if_the_noise_is_smaller_than_the_step_of_8_bits() -> None:
    found = segment(in_8_bits(expose(0.8 * TISSUE, noise=0.001)))
    assert dice(found.body, TISSUE) > 0.98
    assert not found.unsure


@pytest.mark.parametrize("density", [0.2, 0.8, 3.0])
def test_tissue_in_a_plane_without_noise_is_found(density: float) -> None:
    found = segment(expose(density * TISSUE, noise=0.0))
    assert dice(found.body, TISSUE) > 0.95
    assert not found.unsure


@pytest.mark.parametrize("light", [0.6, np.tile(np.linspace(0.3, 0.6, SIDE), (SIDE, 1))])
def test_an_empty_plane_without_noise_has_no_tissue(
    light: float | npt.NDArray[np.floating],
) -> None:
    found = segment(expose(0.0 * NOTHING, light, noise=0.0))
    assert found.is_empty
    assert not found.unsure
    assert not found.debris.any()


@pytest.mark.parametrize("density", [0.4, 1.2])
def test_tissue_in_a_plane_of_150_pixels_is_found(density: float) -> None:
    truth = disc(0.5, 0.5, 0.15, 150)
    assert dice(segment(image(truth, density)).body, truth) > 0.95
    assert segment(expose(np.zeros((150, 150)))).is_empty


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("more", [1, 2, 4])
def test_tissue_in_a_plane_that_is_not_square_is_found(more: int, *, turned: bool) -> None:
    truth = np.hstack([disc(0.5, 0.5, 0.2), *[NOTHING] * more])
    noise = np.random.default_rng(1).normal(1, 0.01, truth.shape)
    plane = np.round(cv2.GaussianBlur(np.where(truth, 0.3, 0.6), (0, 0), 1.0) * noise * WHITE)
    plane, truth = (plane.T, truth.T) if turned else (plane, truth)
    found = segment(plane.astype(np.uint16))
    assert dice(found.body, truth) > 0.95
    assert Unsure.CUT not in found.unsure


ANY_SHAPE = [(1, 1), (1, 300), (300, 1), (2, 2), (3, 700), (5, 2000), (10, 10), (17, 33), (40, 400)]


def contents(shape: tuple[int, int]) -> dict[str, Plane]:
    """Return planes of one shape by a word for their content."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]]
    far = np.hypot(columns - shape[1] / 2, rows - shape[0] / 2)
    planes = {
        "even": np.full(shape, 30_000),
        "noise": rng.integers(0, WHITE + 1, shape),
        "two values": rng.integers(0, 2, shape) * WHITE,
        "lowest values": rng.integers(0, 2, shape),
        "ramp": np.linspace(0, WHITE, far.size).reshape(shape),
        "disc": np.where(far < max(shape) / 6, 10_000, 40_000),
        "dead pixels": np.where(rng.random(shape) < 0.01, 0, 50_000),
    }
    return {name: plane.astype(np.uint16) for name, plane in planes.items()}


@pytest.mark.parametrize("shape", ANY_SHAPE)
def test_a_plane_of_any_shape_and_content_has_masks_of_its_shape_and_finite_measures(
    shape: tuple[int, int],
) -> None:
    for content, plane in contents(shape).items():
        for um_per_px in (None, 1.5):
            found = ClassicalSegmenter().segment(plane, um_per_px)
            assert found.body.shape == found.debris.shape == shape, content
            assert found.body.dtype == found.debris.dtype == np.bool_, content
            assert not (found.body & found.debris).any(), content
            assert np.isfinite(found.background).all(), content
            assert (found.background > 0).all(), content
            measures = measure_tissue(plane, found, um_per_px)
            assert np.isfinite(list(measures.values())).all(), content
