"""The fit of a plate to measured wells, against positions that useq-schema computes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from acquisition.microscope.plate_calibration import Point, fit_plate, middle_of_rim
from acquisition.microscope.plate_plan import plan_positions
from acquisition.microscope.settings import MicroscopeSettings
from schemas.errors import MicroscopeError
from schemas.well import PLATE_SHAPES, well_at

pytestmark = pytest.mark.micromanager

SETTINGS = MicroscopeSettings(config=Path("MMConfig.cfg"), a1_um=(12_000.0, 75_000.0))
CORNERS = ("A01", "A12", "H01")


def positions(
    *wells: str, plate: int = 96, stretch: float = 1.0, rotation_deg: float = 0.0
) -> dict[str, Point]:
    """Return the stage positions of wells on a plate with a given place."""
    standard = plan_positions(replace(SETTINGS, plate=plate), ["A01", "A02"])
    spacing_um = stretch * (standard[1].x_um - standard[0].x_um)
    settings = replace(SETTINGS, plate=plate, spacing_um=spacing_um, rotation_deg=rotation_deg)
    return {each.well: (each.x_um, each.y_um) for each in plan_positions(settings, wells)}


@pytest.mark.parametrize("wells", sorted(PLATE_SHAPES))
@pytest.mark.parametrize("rotation_deg", [0.0, 1.5, -90.0, 179.0])
def test_three_corners_give_back_the_place_of_every_plate(wells: int, rotation_deg: float) -> None:
    rows, columns = PLATE_SHAPES[wells]
    corners = [well_at(1, 1), well_at(1, columns), well_at(rows, 1)]
    fit = fit_plate(
        wells, positions(*corners, plate=wells, stretch=1.01, rotation_deg=rotation_deg)
    )
    assert fit.placement.a1_um == pytest.approx(SETTINGS.a1_um, abs=0.1)
    assert fit.placement.rotation_deg == pytest.approx(rotation_deg, abs=1e-3)
    assert fit.spacing_um == pytest.approx(1.01 * fit.standard_spacing_um, rel=1e-5)
    assert max(fit.residual_um.values()) < 0.1


def test_the_fit_has_the_least_sum_of_squared_residuals() -> None:
    rng = np.random.default_rng(1)
    wells = ("A01", "A12", "H12", "H01", "D06")
    true = positions(*wells, rotation_deg=0.7)
    noisy = {well: (x + rng.normal(0, 50), y + rng.normal(0, 50)) for well, (x, y) in true.items()}
    fit = fit_plate(96, noisy).placement
    assert fit.spacing_um is not None

    def squares(a1_x: float, a1_y: float, spacing_um: float, rotation_deg: float) -> float:
        settings = replace(
            SETTINGS, a1_um=(a1_x, a1_y), spacing_um=spacing_um, rotation_deg=rotation_deg
        )
        planned = {each.well: each for each in plan_positions(settings, wells)}
        return sum(
            (planned[well].x_um - x) ** 2 + (planned[well].y_um - y) ** 2
            for well, (x, y) in noisy.items()
        )

    best = (*fit.a1_um, fit.spacing_um, fit.rotation_deg)
    for index, step in enumerate((5.0, 5.0, 2.0, 0.01)):
        for sign in (1, -1):
            other = list(best)
            other[index] += sign * step
            assert squares(*best) < squares(*other)


@pytest.mark.parametrize(
    ("measured", "message"),
    [
        (positions("A01", "A12"), "has 2 wells; expected at least 3, such as A01, A12 and H01"),
        (positions("A01", "A06", "A12"), "has wells in one line (A01, A06, A12)"),
        (positions("C03", "C04", "D03"), "cover too little of the plate (C03, C04, D03)"),
        (
            {**positions("A01", "A12"), "H01": positions("H02")["H02"]},
            "expected 9000 µm ± 3% with 96 wells",
        ),
        (
            {**positions("A01", "A12", "H01"), "H12": (112_000.0, 12_000.0)},
            "has a residual of",
        ),
        (
            {well: (x, -y) for well, (x, y) in positions(*CORNERS).items()},
            "shows the mirror image of a plate",
        ),
        (dict.fromkeys(CORNERS, (0.0, 0.0)), "has wells 0 µm apart; expected 9000 µm"),
        (positions(*CORNERS, stretch=0.5), "has wells 4500 µm apart; expected 9000 µm"),
        (positions("A01", "A24", "P01", plate=384), "has A24, P01; expected wells up to H12"),
    ],
)
def test_an_implausible_plate_is_refused_with_its_reason(
    measured: dict[str, Point], message: str
) -> None:
    with pytest.raises(MicroscopeError) as refused:
        fit_plate(96, measured)
    assert message in str(refused.value)


def test_a_residual_just_below_the_limit_is_accepted_and_one_above_is_not() -> None:
    measured = positions("A01", "A12", "H01", "H12")
    x_um, y_um = measured["H12"]
    fit = fit_plate(96, {**measured, "H12": (x_um + 400, y_um + 250)})
    assert 200 < max(fit.residual_um.values()) <= fit.limit_um == 270
    with pytest.raises(MicroscopeError, match="expected at most 270 µm"):
        fit_plate(96, {**measured, "H12": (x_um + 1000, y_um + 600)})


def test_the_middle_of_a_well_follows_from_points_on_its_rim() -> None:
    angles = np.radians([10, 120, 250, 300])
    rim = [(5000 + 3200 * np.cos(each), -700 + 3200 * np.sin(each)) for each in angles]
    assert middle_of_rim(96, "A01", rim) == pytest.approx((5000, -700))
    sides = [(0.0, 10.0), (3400.0, -20.0), (1500.0, 1700.0), (1600.0, -1700.0)]
    assert middle_of_rim(384, "A01", sides) == pytest.approx((1700, 0))


@pytest.mark.parametrize(
    ("wells", "rim", "message"),
    [
        (96, [(0.0, 0.0), (6400.0, 0.0)], "has 2 points on its rim"),
        (96, [(0.0, 3200.0), (100.0, 3198.0), (200.0, 3193.0)], "between two of them"),
        (96, [(0.0, 9000.0), (9000.0, 0.0), (-9000.0, 0.0)], "is 18000 µm wide by its rim"),
        (384, [(0.0, 0.0), (3400.0, 0.0), (1700.0, 1700.0)], "each of the four sides"),
    ],
)
def test_points_that_do_not_define_a_well_are_refused(
    wells: int, rim: list[Point], message: str
) -> None:
    with pytest.raises(MicroscopeError) as refused:
        middle_of_rim(wells, "C05", rim)
    assert str(refused.value).startswith("well C05: ")
    assert message in str(refused.value)
