"""Light in which a shadow with a straight edge covers a part of the field."""

import numpy as np
import numpy.typing as npt
import pytest

from inference.tissue.classical_segmenter import ClassicalSegmenter
from inference.tissue.shadow import fit_shadowed_light
from schemas.tissue import Unsure
from tests.drawn_planes import dice, disc, expose, grain

SIDE = 384


def distance(angle: float, side: int) -> npt.NDArray[np.float64]:
    """Return the distance, (side, side) in sides, from a line through the middle of a field."""
    rows, columns = np.mgrid[0:side, 0:side] / side - 0.5
    return np.asarray(columns * np.cos(angle) + rows * np.sin(angle))


def shadowed(angle: float, side: int, loss: float = 0.6) -> npt.NDArray[np.float64]:
    """Return light, (side, side), with a shadow on one half, and an edge of a tenth of a side."""
    beyond = np.clip(distance(angle, side) / 0.1 + 0.5, 0, 1)
    return np.asarray(0.6 * (1 - loss * beyond * beyond * (3 - 2 * beyond)))


@pytest.mark.parametrize("angle", [0.0, 0.7, 2.0])
def test_the_light_of_a_field_with_a_shadow_is_recovered_below_tissue(angle: float) -> None:
    light = np.log(shadowed(angle, SIDE))
    seen = light + np.random.default_rng(1).normal(0, 0.01, light.shape)
    tissue = disc(0.45, 0.55, 0.15, SIDE)
    fitted = fit_shadowed_light(np.float32(seen) - np.float32(0.8) * tissue, ~tissue)
    assert fitted is not None
    assert float(np.quantile(np.abs(fitted - light), 0.95)) < 0.03


def test_a_dark_band_across_the_field_is_no_shadow() -> None:
    band = -0.8 * (np.abs(distance(0.4, SIDE)) < 0.15).astype(np.float32)
    assert fit_shadowed_light(band, np.ones((SIDE, SIDE), dtype=bool)) is None


def test_even_light_is_no_shadow() -> None:
    even = np.random.default_rng(2).normal(0, 0.01, (SIDE, SIDE)).astype(np.float32)
    assert fit_shadowed_light(even, np.ones((SIDE, SIDE), dtype=bool)) is None


@pytest.mark.parametrize("height", [4, 12, 40])
def test_a_narrow_image_with_a_step_in_its_light_is_accepted(height: int) -> None:
    step = np.where(np.arange(SIDE) < SIDE / 2, 0, -0.8).astype(np.float32)
    seen = np.broadcast_to(step, (height, SIDE)).copy()
    fitted = fit_shadowed_light(seen, np.ones(seen.shape, dtype=bool))
    assert fitted is None or fitted.shape == seen.shape


@pytest.mark.parametrize("angle", [0.3, 2.2])
def test_a_body_on_the_edge_of_a_shadow_is_outlined_and_the_shadow_is_not(angle: float) -> None:
    truth = disc(0.5, 0.52, 0.14)
    side = len(truth)
    plane = expose(truth * (1.1 + 0.18 * grain(side)), shadowed(angle, side, 0.75))
    found = ClassicalSegmenter().segment(plane, None)
    assert dice(found.body, truth) > 0.95
    assert Unsure.BRIGHT not in found.unsure
