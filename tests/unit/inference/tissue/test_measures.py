"""Measures of drawn shapes with known size, optical density and debris."""

import json

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from inference.tissue.fragments import measure_pieces
from inference.tissue.measures import changes_since_dosing, measure_tissue
from inference.tissue.outline import measure_outline
from schemas.tissue import Segmentation

Mask = npt.NDArray[np.bool_]
LIGHT = 40_000
PIXELS = (100, 150, 256, 512, 1024, 2000)
SHAPES = {
    "disc": lambda _: 1.0,
    "lobed": lambda angle: 1 + 0.1 * np.sin(5 * angle),
    "flower": lambda angle: 1 + 0.25 * np.sin(9 * angle),
    "ellipse": lambda angle: 1 / np.sqrt((np.cos(angle) / 1.4) ** 2 + (np.sin(angle) * 1.4) ** 2),
}


def shape(
    name: str, side_px: int, across: float = 0.6, middle: tuple[float, float] = (0.513, 0.493)
) -> Mask:
    """Return the mask, (side, side), of a named shape; ``across`` is its width in fields."""
    at = (np.arange(side_px) + 0.5) / side_px
    x, y = at[None, :] - middle[0], at[:, None] - middle[1]
    return np.asarray(np.hypot(x, y) < across / 2 * SHAPES[name](np.arctan2(y, x)))


def true_perimeter(name: str) -> float:
    """Return the length of a named shape's outline, in diameters of its circle."""
    angle = np.linspace(0, 2 * np.pi, 200_001)
    outline = SHAPES[name](angle) / 2 * np.exp(1j * angle)
    return float(np.abs(np.diff(outline)).sum())


def segmented(body: Mask, debris: Mask | None = None) -> Segmentation:
    return Segmentation(
        body,
        np.zeros_like(body) if debris is None else debris,
        np.full((16, 16), LIGHT, np.float32),
    )


def plane_of(density: npt.NDArray[np.float64]) -> npt.NDArray[np.uint16]:
    return np.round(LIGHT * 10**-density).astype(np.uint16)


@pytest.mark.parametrize("side_px", PIXELS)
@pytest.mark.parametrize("name", SHAPES)
def test_perimeter_and_circularity_are_exact_at_every_resolution(name: str, side_px: int) -> None:
    mask = shape(name, side_px)
    outline = measure_outline(mask)
    true = true_perimeter(name)
    assert outline.perimeter_px / (0.6 * side_px) == pytest.approx(true, rel=0.011)
    true_area = np.pi / 4 * np.mean(SHAPES[name](np.linspace(0, 2 * np.pi, 10_000)) ** 2)
    assert outline.circularity == pytest.approx(4 * np.pi * true_area / true**2, rel=0.02)


def test_a_disc_20_pixels_wide_has_a_circularity_near_1() -> None:
    assert measure_outline(shape("disc", 100, across=0.2)).circularity > 0.95


def test_a_star_has_the_same_circularity_at_all_resolutions() -> None:
    angles = np.arange(10) * np.pi / 5 + 0.1
    points = 0.5 + np.where(np.arange(10) % 2, 0.15, 0.35)[:, None] * np.stack(
        [np.cos(angles), np.sin(angles)], axis=1
    )
    found = []
    for side_px in PIXELS[1:]:
        # Drawn at four times the resolution, because drawing adds half a pixel on every side.
        canvas = np.zeros((4 * side_px, 4 * side_px), np.uint8)
        cv2.fillPoly(canvas, [np.round(points * 4 * side_px).astype(np.int32)], 255)
        found.append(
            measure_outline(
                cv2.resize(canvas, (side_px, side_px), interpolation=cv2.INTER_AREA) > 127
            ).circularity
        )
    assert max(found) / min(found) < 1.03


def test_the_axes_of_an_ellipse_are_measured() -> None:
    outline = measure_outline(shape("ellipse", 512))
    assert outline.major_px == pytest.approx(0.6 * 1.4 * 512, rel=0.01)
    assert outline.minor_px == pytest.approx(0.6 / 1.4 * 512, rel=0.01)
    assert outline.eccentricity == pytest.approx(np.sqrt(1 - 1 / 1.4**4), rel=0.01)


def test_a_convex_shape_has_solidity_1_and_a_lobed_shape_less() -> None:
    assert measure_outline(shape("disc", 512)).solidity == pytest.approx(1, abs=0.005)
    assert measure_outline(shape("flower", 512)).solidity < 0.8


def test_roughness_increases_with_the_waves_of_the_outline() -> None:
    assert (
        measure_outline(shape("disc", 512)).roughness
        < measure_outline(shape("lobed", 512)).roughness
        < measure_outline(shape("flower", 512)).roughness
    )


@pytest.mark.parametrize("across", [1, 2, 3])
def test_tissue_of_a_few_pixels_has_finite_measures(across: int) -> None:
    body = np.zeros((150, 150), dtype=bool)
    body[149 - across : 149, 149 - across : 149] = True
    for um_per_px in (None, 0.5, 3.26):
        assert np.isfinite(
            list(measure_tissue(plane_of(0.3 * body), segmented(body), um_per_px).values())
        ).all()


def test_tissue_that_fills_the_image_has_finite_measures() -> None:
    body = np.ones((150, 150), dtype=bool)
    assert np.isfinite(
        list(measure_tissue(plane_of(0.3 * body), segmented(body), 3.26).values())
    ).all()


def test_sizes_are_in_micrometres_with_a_scale_and_in_pixels_without() -> None:
    body = shape("disc", 512)
    plane = plane_of(0.3 * body)
    scaled, plain = (
        measure_tissue(plane, segmented(body), 2.0),
        measure_tissue(plane, segmented(body), None),
    )
    assert scaled["area_um2"] == 4 * plain["area_px"]
    assert scaled["perimeter_um"] == 2 * plain["perimeter_px"]
    assert scaled["volume_um3"] == pytest.approx(8 * plain["volume_px"])
    assert not any(name.endswith("_px") for name in scaled)
    assert not any("_um" in name for name in plain)


def test_a_disc_has_the_volume_of_a_ball() -> None:
    body = shape("disc", 512)
    assert measure_tissue(plane_of(0.3 * body), segmented(body), 1.0)[
        "volume_um3"
    ] == pytest.approx(np.pi / 6 * (0.6 * 512) ** 3, rel=0.01)


def test_optical_density_is_relative_to_the_light_without_tissue() -> None:
    side = 256
    body = shape("disc", side)
    slope = np.linspace(0.5, 1.5, side)[None, :] * np.ones((side, 1))
    plane = np.round(LIGHT * slope * np.where(body, 10**-0.4, 1)).astype(np.uint16)
    light = cv2.resize((LIGHT * slope).astype(np.float32), (64, 64), interpolation=cv2.INTER_AREA)
    measured = measure_tissue(plane, Segmentation(body, np.zeros_like(body), light), 5.0)
    assert measured["od_mean"] == pytest.approx(0.4, abs=0.01)
    assert measured["od_spread"] < 0.03
    assert measured["grain_fine"] < 0.01


def test_depths_are_numbered_from_the_rim_to_the_core() -> None:
    at = (np.arange(512) + 0.5) / 512 - 0.5
    depth = 1 - np.hypot(at[None, :] - 0.013, at[:, None] + 0.007) / 0.3
    body = depth > 0
    measured = measure_tissue(plane_of(np.where(body, 0.2 + 0.5 * depth, 0)), segmented(body), 2.7)
    rings = [measured[f"od_depth_{number}"] for number in range(1, 6)]
    np.testing.assert_allclose(rings, [0.25, 0.35, 0.45, 0.55, 0.65], atol=0.02)
    assert measured["core_darkness"] == pytest.approx(0.2, abs=0.02)
    assert measured["edge_darkness"] == pytest.approx(-0.2, abs=0.02)


@pytest.mark.parametrize("wide_um", [8.0, 40.0])
def test_fine_and_coarse_grain_are_separated_by_size_at_every_resolution(wide_um: float) -> None:
    found = []
    for side_px in (512, 1024, 2048):
        um_per_px = 1400 / side_px
        waves = np.sin(2 * np.pi * np.arange(side_px) * um_per_px / (2 * wide_um))
        body = shape("disc", side_px)
        found.append(
            measure_tissue(
                plane_of((0.4 + 0.1 * waves[None, :] * waves[:, None]) * body),
                segmented(body),
                um_per_px,
            )
        )
    assert all((one["grain_fine"] > one["grain_coarse"]) == (wide_um < 10) for one in found)
    name = "grain_fine" if wide_um < 10 else "grain_coarse"
    assert max(one[name] for one in found) < 1.15 * min(one[name] for one in found)


def test_debris_is_counted_and_its_spread_measured_from_the_tissue() -> None:
    body, debris = (
        shape("disc", 512, across=0.3, middle=(0.5, 0.5)),
        np.zeros((512, 512), dtype=bool),
    )
    for x, y in ((56, 256), (456, 256), (256, 56)):
        debris[y - 2 : y + 2, x - 2 : x + 2] = True
    measured = measure_tissue(plane_of(0.3 * body), segmented(body, debris), None)
    assert measured["debris_count"] == 3
    assert measured["debris_area_px"] == 48
    assert measured["debris_spread_px"] == pytest.approx(200, abs=2)


def test_pieces_are_counted_and_the_shape_is_that_of_the_largest_piece() -> None:
    body = shape("disc", 512, across=0.4, middle=(0.35, 0.5)) | shape(
        "disc", 512, across=0.2, middle=(0.85, 0.5)
    )
    measured = measure_tissue(plane_of(0.3 * body), segmented(body), None)
    assert measured["pieces"] == 2
    assert measured["largest_piece_share"] == pytest.approx(0.8, abs=0.01)
    assert measured["circularity"] > 0.98
    assert measured["area_px"] == np.count_nonzero(body)
    middle = measure_pieces(body).centre_px
    assert middle is not None
    assert middle == pytest.approx((0.35 * 512, 0.5 * 512), abs=1)


def test_an_empty_well_has_debris_measures_and_no_shape() -> None:
    empty, debris = np.zeros((256, 256), dtype=bool), np.zeros((256, 256), dtype=bool)
    debris[20:24, 20:24] = debris[220:224, 20:24] = True
    measured = measure_tissue(plane_of(0.3 * debris), segmented(empty, debris), 2.0)
    assert measured == {
        "area_um2": 0,
        "pieces": 0,
        "debris_count": 2,
        "debris_area_um2": 128,
        "debris_spread_um": pytest.approx(200, abs=2),
    }
    assert measure_tissue(plane_of(0.0 * empty), segmented(empty), None) == {
        "area_px": 0,
        "pieces": 0,
        "debris_count": 0,
        "debris_area_px": 0,
    }


def test_measures_can_be_written_as_json() -> None:
    body = shape("flower", 150)
    assert json.loads(
        json.dumps(measure_tissue(plane_of(0.3 * body), segmented(body), 3.26), allow_nan=False)
    )


def test_changes_of_sizes_are_log_ratios_and_changes_of_shapes_are_differences() -> None:
    then, now = shape("disc", 512, across=0.3), shape("disc", 512, across=0.6)
    before, after = (
        measure_tissue(plane_of(0.3 * body), segmented(body), 2.0) for body in (then, now)
    )
    changed = changes_since_dosing(after, before)
    assert changed["area_um2_change"] == pytest.approx(np.log(4), abs=0.01)
    assert changed["volume_um3_change"] == pytest.approx(np.log(8), abs=0.02)
    assert changed["circularity_change"] == pytest.approx(0, abs=0.01)
    assert "debris_area_um2_change" not in changed, "the log ratio with nothing is not defined"


def test_a_measure_that_is_missing_on_one_day_has_no_change() -> None:
    assert changes_since_dosing(
        {"area_um2": 0.0, "pieces": 0.0}, {"area_um2": 5.0, "pieces": 1.0, "circularity": 0.9}
    ) == {"pieces_change": -1.0}
