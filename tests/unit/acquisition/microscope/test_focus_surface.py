from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from acquisition.microscope.focus_surface import (
    MIN_WELLS_FOR_NARROW_SCAN,
    FocusPoint,
    FocusSurface,
    FoundBy,
    load_focus_surface,
    save_focus_surface,
    scan_heights,
)
from acquisition.microscope.settings import MicroscopeSettings

SETTINGS = MicroscopeSettings(config=Path("MMConfig.cfg"), a1_um=(0.0, 0.0), focus_z_um=100.0)


AT = datetime(2026, 11, 16, 12, tzinfo=UTC)


def point(x_um: float, y_um: float, z_um: float) -> FocusPoint:
    """Return the focus height of a well."""
    return FocusPoint("B02", x_um, y_um, z_um, FoundBy.SCAN, AT)


def tilted(x_um: float, y_um: float) -> float:
    """Return the height in µm of a tilted plane at a stage position."""
    return 100 + 5e-4 * x_um - 3e-4 * y_um


def surface_of(wells: int, error_um: float = 0.0, seed: int = 1) -> FocusSurface:
    """Return the surface of a number of wells near a tilted plane, ten wells per row."""
    rng = np.random.default_rng(seed)
    surface = FocusSurface()
    for number in range(wells):
        x_um, y_um = 9000.0 * (number % 10), -9000.0 * (number // 10)
        surface = surface.with_point(
            point(x_um, y_um, tilted(x_um, y_um) + rng.uniform(-error_um, error_um))
        )
    return surface


def test_fewer_than_three_wells_predict_no_height() -> None:
    assert FocusSurface().predict(0, 0) is None
    assert surface_of(2).predict(0, 0) is None
    assert surface_of(3).predict(0, 0) is not None


def test_the_tilt_of_a_plate_is_extrapolated() -> None:
    assert surface_of(40).predict(81_000, -54_000) == pytest.approx(tilted(81_000, -54_000), abs=3)
    assert surface_of(60, error_um=30.0).predict(45_000, -27_000) == pytest.approx(
        tilted(45_000, -27_000), abs=10
    )


def test_outliers_do_not_move_the_surface() -> None:
    surface = surface_of(30, error_um=5.0)
    wild = surface
    for number in range(6):
        wild = wild.with_point(point(9000.0 * number, 0.0, 100_000.0 if number % 2 else -3000.0))
    for x_um, y_um in ((0.0, 0.0), (81_000.0, 0.0), (0.0, -18_000.0)):
        assert wild.predict(x_um, y_um) == pytest.approx(surface.predict(x_um, y_um), abs=10)
    assert wild.spread_um < 15


def test_a_plate_that_lies_higher_the_next_day_is_predicted_after_three_wells() -> None:
    surface = surface_of(60, error_um=5.0)
    for number in range(3):
        surface = surface.with_point(point(9000.0 * number, 0.0, tilted(9000.0 * number, 0.0) + 70))
    assert surface.predict(27_000, 0) == pytest.approx(tilted(27_000, 0) + 70, abs=15)


def test_three_wells_of_one_row_do_not_determine_the_tilt() -> None:
    surface = FocusSurface(
        (point(0.0, 0.0, 80.0), point(9000.0, 0.0, 110.0), point(18_000.0, 0.0, 130.0))
    )
    assert surface.predict(99_000, -63_000) == pytest.approx(
        110, abs=60
    )  # a straight line through them predicts 355


def test_the_newest_height_of_a_well_replaces_the_older_one() -> None:
    first, newer = point(0, 0, 10), point(3, -4, 30)
    other = replace(point(9000, 0, 20), well="B03")
    surface = FocusSurface().with_point(first).with_point(other).with_point(newer)
    assert surface.points == (other, newer)
    assert (surface.point_of("B02"), surface.point_of("B03")) == (newer, other)
    assert surface.point_of("B04") is None


def test_the_height_of_a_well_is_known_in_each_of_its_fields() -> None:
    corner = point(1400, 1400, 50)  # of a well with several fields, whose middle is at (0, 0)
    surface = FocusSurface((point(0, 0, 10),)).with_point(corner)
    assert surface.point_of("B02") == corner


def test_a_surface_survives_conversion_to_json_and_back() -> None:
    assert FocusSurface.from_json(surface_of(5).to_json()) == surface_of(5)
    assert FocusSurface.from_json(FocusSurface().to_json()) == FocusSurface()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[[1, 2, 3]]",
        surface_of(1).to_json().replace('"x_um":0.0', '"x_um":null'),
        surface_of(1).to_json().replace('"x_um":0.0', '"x_um":1e999'),
        "not json",
    ],
)
def test_invalid_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        FocusSurface.from_json(text)


def test_without_a_surface_the_full_range_around_the_set_height_is_scanned() -> None:
    heights = scan_heights(SETTINGS, FocusSurface(), 0, 0, wide=False)
    assert heights == tuple(float(z) for z in range(10, 191, 15))


def test_a_narrow_range_around_the_surface_is_scanned_once_enough_wells_agree() -> None:
    before, after = (
        surface_of(MIN_WELLS_FOR_NARROW_SCAN - 1, error_um=2.0),
        surface_of(MIN_WELLS_FOR_NARROW_SCAN, error_um=2.0),
    )
    assert len(scan_heights(SETTINGS, before, 27_000, 0, wide=False)) == 13
    heights = scan_heights(SETTINGS, after, 27_000, 0, wide=False)
    assert len(heights) == 7
    assert heights[3] == pytest.approx(tilted(27_000, 0), abs=5)


def test_the_scan_grows_with_the_spread_of_the_wells_up_to_the_full_range() -> None:
    straying = surface_of(30, error_um=30.0)
    heights = scan_heights(SETTINGS, straying, 0, 0, wide=False)
    assert 30 < (heights[-1] - heights[0]) / 2 <= SETTINGS.focus_range_um
    wild = scan_heights(SETTINGS, surface_of(30, error_um=300.0), 0, 0, wide=False)
    assert (wild[-1] - wild[0]) / 2 == pytest.approx(SETTINGS.focus_range_um)


def test_a_wide_scan_covers_the_wide_range() -> None:
    heights = scan_heights(SETTINGS, surface_of(40), 0, 0, wide=True)
    assert (heights[-1] - heights[0]) / 2 == pytest.approx(SETTINGS.wide_range_um)
    assert max(np.diff(heights)) <= SETTINGS.focus_step_um


@pytest.mark.parametrize("limits", [(50.0, 120.0), (-1000.0, 60.0), (140.0, 150.0)])
def test_a_scan_stays_within_the_limits_of_the_focus_drive(limits: tuple[float, float]) -> None:
    for wide in (True, False):
        heights = scan_heights(
            replace(SETTINGS, z_limits_um=limits), FocusSurface(), 0, 0, wide=wide
        )
        assert limits[0] <= heights[0] < heights[-1] <= limits[1]
        assert len(heights) >= 3
        assert list(heights) == sorted(heights)


def test_a_saved_surface_is_loaded_for_its_plate_only(tmp_path: Path) -> None:
    save_focus_surface(tmp_path, "P1", surface_of(5))
    assert load_focus_surface(tmp_path, "P1") == surface_of(5)
    assert load_focus_surface(tmp_path, "P2") == FocusSurface()


def test_a_damaged_surface_file_is_loaded_as_an_empty_surface(tmp_path: Path) -> None:
    save_focus_surface(tmp_path, "P1", surface_of(5))
    (tmp_path / "focus" / "P1.json").write_text("[[1, 2")
    assert load_focus_surface(tmp_path, "P1") == FocusSurface()
