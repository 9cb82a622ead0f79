"""Measures of single pieces, of drawn discs and ellipses with known size, place and density."""

import cv2
import numpy as np
import pytest

from inference.tissue.measures import measure_tissue
from inference.tissue.piece_table import measure_each_piece
from schemas.tissue import Segmentation, Unsure

LIGHT = 40_000.0
# x, y, half axes a and b in pixels, optical density; the largest first
PIECES = [
    (300, 300, 120, 120, 0.3),
    (500, 330, 100, 100, 0.4),  # touches the first piece
    (720, 150, 130, 65, 0.6),
    (600, 770, 50, 50, 0.2),  # cut by the border
]


def drawn() -> tuple[np.ndarray, Segmentation]:
    """Return a plane of 900 × 800 pixels with PIECES, and its true Segmentation."""
    y, x = np.mgrid[:800, :900]
    density = np.zeros((800, 900))
    for column, row, wide, high, darkness in PIECES:
        density[np.hypot((x - column) / wide, (y - row) / high) <= 1] = darkness
    body = density > 0
    plane = np.round(LIGHT * 10**-density).astype(np.uint16)
    return plane, Segmentation(body, np.zeros_like(body), np.full((16, 16), LIGHT, np.float32))


@pytest.mark.parametrize("um_per_px", [None, 0.5, 3.0])
def test_each_piece_has_its_own_size_shape_place_and_density(um_per_px: float | None) -> None:
    rows = measure_each_piece(*drawn(), um_per_px)
    scale, unit, square = (1.0, "px", "px") if um_per_px is None else (um_per_px, "um", "um2")
    assert [row["piece"] for row in rows] == [1, 2, 3, 4]
    for row, (x, y, wide, high, darkness) in list(zip(rows, PIECES, strict=True))[:3]:
        assert row[f"area_{square}"] == pytest.approx(np.pi * wide * high * scale**2, rel=0.03)
        assert row[f"equivalent_diameter_{unit}"] == pytest.approx(
            2 * np.sqrt(wide * high) * scale, rel=0.015
        )
        assert row[f"major_diameter_{unit}"] == pytest.approx(2 * wide * scale, rel=0.03)
        assert row[f"minor_diameter_{unit}"] == pytest.approx(2 * high * scale, rel=0.03)
        # The contact flattens two pieces: an axis ratio of 0.96 has an eccentricity of 0.28.
        assert row["eccentricity"] == pytest.approx(np.sqrt(1 - (high / wide) ** 2), abs=0.28)
        assert (row["x_px"], row["y_px"]) == pytest.approx((x, y), abs=4)
        assert row["od_mean"] == pytest.approx(darkness, abs=0.02)
    assert [row["touches_border"] for row in rows] == [False, False, False, True]


@pytest.mark.parametrize("um_per_px", [None, 3.0])
def test_the_pieces_add_up_to_the_measures_of_the_whole_tissue(um_per_px: float | None) -> None:
    plane, tissue = drawn()
    rows = measure_each_piece(plane, tissue, um_per_px)
    whole = measure_tissue(plane, tissue, um_per_px)
    area, length = ("area_px", "px") if um_per_px is None else ("area_um2", "um")
    areas = np.array([row[area] for row in rows])
    assert len(rows) == whole["pieces"]
    assert areas.sum() == pytest.approx(whole[area])
    assert areas[0] == whole[f"largest_{area}"] == areas.max()
    for name in (f"perimeter_{length}", f"major_diameter_{length}", "circularity", "solidity"):
        assert rows[0][name] == pytest.approx(whole[name])
    assert np.average([row["od_mean"] for row in rows], weights=areas) == pytest.approx(
        whole["od_mean"], rel=0.01
    )


def test_a_hole_is_not_part_of_the_area_of_its_piece() -> None:
    body = np.zeros((400, 400), np.uint8)
    cv2.circle(body, (200, 200), 100, 1, -1)
    solid = int(body.sum())
    cv2.circle(body, (200, 200), 30, 0, -1)
    plane = np.where(body > 0, 15_000, 40_000).astype(np.uint16)
    mask = body.astype(bool)
    [row] = measure_each_piece(
        plane, Segmentation(mask, ~mask & False, np.full((4, 4), LIGHT, np.float32)), None
    )
    assert row["area_px"] == body.sum() < solid
    assert row["circularity"] == pytest.approx(1, abs=0.01)


def test_a_piece_of_one_pixel_has_a_row() -> None:
    body = np.zeros((300, 300), bool)
    body[100:200, 100:200] = True
    body[20, 30] = True
    plane = np.where(body, 15_000, 40_000).astype(np.uint16)
    found = Segmentation(body, np.zeros_like(body), np.full((4, 4), LIGHT, np.float32))
    rows = measure_each_piece(plane, found, 0.1)  # the reduced plane has pixels of 33 × 33
    assert [row["area_um2"] for row in rows] == pytest.approx([100.0, 0.01])
    assert (rows[1]["x_px"], rows[1]["y_px"]) == (30, 20)
    assert rows[0]["od_mean"] == pytest.approx(np.log10(40 / 15), abs=0.01)
    assert "od_mean" not in rows[1]


@pytest.mark.parametrize("doubts", [(), (Unsure.NO_BACKGROUND,)])
def test_empty_wells_and_refused_images_have_no_pieces(doubts: tuple[Unsure, ...]) -> None:
    empty = np.zeros((64, 64), bool)
    found = Segmentation(empty, empty, np.full((4, 4), LIGHT, np.float32), doubts)
    assert measure_each_piece(np.full((64, 64), 40_000, np.uint16), found, 1.0) == []
