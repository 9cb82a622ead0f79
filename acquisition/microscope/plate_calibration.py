"""Fit the place of a plate on the stage to measured positions of its wells.

The fit is a least-squares fit of translation, rotation and spacing (an orthogonal Procrustes
problem). It is refused if the plate that results is implausible: a calibration that is wrong moves
the stage to the wrong wells.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import useq
from scipy.linalg import orthogonal_procrustes

from acquisition.microscope.settings import PlatePlacement
from schemas.errors import MicroscopeError
from schemas.well import PLATE_SHAPES, row_column, well_at

MIN_WELLS = 3
MAX_RESIDUAL = 0.03
"""Largest distance of a measured well from the fitted one, as a share of the standard spacing.

By hand, the middle of a well is found to about 100 µm; for 96 wells the limit is 270 µm.
"""
MAX_SPACING_ERROR = 0.03
"""Largest relative difference between the fitted spacing and the standard one of the format."""
MAX_LEVERAGE = 2.0
"""Largest error of the farthest well, as a multiple of the error of one measured well."""
MIN_DISTANCE_FROM_LINE = 0.5
"""Smallest spread of the wells across their common line, in well spacings."""
MAX_RIM_ERROR = 0.25
"""Largest relative difference between the size of a well by its rim and the standard size."""
MAX_RIM_GAP_DEG = 240.0
"""Largest angle without a point on the rim of a round well."""

Point = tuple[float, float]
"""Stage x and y in µm."""
_Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PlateFit:
    """The fitted place of a plate, with the distance in µm of each well from its measurement."""

    placement: PlatePlacement
    residual_um: dict[str, float]  # by well
    limit_um: float  # largest residual that is accepted
    spacing_um: float  # fitted distance between neighbouring wells
    standard_spacing_um: float


def fit_plate(wells: int, measured: Mapping[str, Point]) -> PlateFit:
    """Return the PlateFit of a format (number of wells) to the measured middles of its wells.

    Parameters
    ----------
    measured
        The stage position in µm with the middle of a well under the objective, by well.

    Raises
    ------
    MicroscopeError
        If there are too few wells, they lie in one line or cover too little of the plate, or the
        fitted plate is mirrored, has an implausible spacing or a large residual.
    """
    places = {well: row_column(well) for well in measured}
    _check_wells(wells, places)
    nominal = np.array([(column - 1.0, 1.0 - row) for row, column in places.values()])  # spacings
    stage = np.array([measured[well] for well in places])
    centred = nominal - nominal.mean(axis=0)
    turn, size = orthogonal_procrustes(centred, stage - stage.mean(axis=0))
    spacing_um = float(size / (centred**2).sum())
    standard_um = 1000 * useq.WellPlate.from_str(f"{wells}-well").well_spacing[0]
    a1_um = stage.mean(axis=0) - spacing_um * nominal.mean(axis=0) @ turn
    residuals = np.hypot(*(spacing_um * nominal @ turn + a1_um - stage).T)
    fit = PlateFit(
        PlatePlacement(
            wells,
            (round(float(a1_um[0]), 1), round(float(a1_um[1]), 1)),
            round(spacing_um, 2),
            round(math.degrees(math.atan2(turn[0, 1], turn[0, 0])), 4) + 0.0,  # no minus zero
        ),
        dict(zip(places, map(float, residuals), strict=True)),
        MAX_RESIDUAL * standard_um,
        spacing_um,
        standard_um,
    )
    _check_fit(fit, is_mirrored=bool(np.linalg.det(turn) < 0))
    return fit


def middle_of_rim(wells: int, well: str, rim: Sequence[Point]) -> Point:
    """Return the middle in µm of a well of a plate format from points on its rim.

    Parameters
    ----------
    rim
        Of a round well, three points or more. Of a square well, one point or more on each of its
        four sides.

    Raises
    ------
    MicroscopeError
        If the points do not define the well, or its size differs from that of the plate format.
    """
    plate = useq.WellPlate.from_str(f"{wells}-well")
    points = np.array(rim, dtype=np.float64)
    if plate.circular_wells:
        middle, size_um = _fit_circle(well, points)
    else:
        middle, size_um = _middle_of_square(well, points)
    expected_um = 1000 * plate.well_size[0]
    if not abs(size_um / expected_um - 1) <= MAX_RIM_ERROR:
        raise MicroscopeError(
            f"well {well}",
            f"is {size_um:.0f} µm wide by its rim; expected about {expected_um:.0f} µm, the size "
            f"of a well on a plate of {wells} wells",
        )
    return middle


def _check_wells(wells: int, places: Mapping[str, tuple[int, int]]) -> None:
    """Raise MicroscopeError if measured wells cannot define the place of a plate.

    Parameters
    ----------
    places
        Row and column of each measured well, counted from 1.
    """
    rows, columns = PLATE_SHAPES[wells]
    last = well_at(rows, columns)
    corners = f"such as A01, {well_at(1, columns)} and {well_at(rows, 1)}"
    if outside := [well for well, place in places.items() if place[0] > rows or place[1] > columns]:
        raise MicroscopeError(
            "the calibration",
            f"has {', '.join(outside)}; expected wells up to {last}, the last of {wells} wells",
        )
    if len(places) < MIN_WELLS:
        raise MicroscopeError(
            "the calibration",
            f"has {len(places)} wells; expected at least {MIN_WELLS}, {corners}",
        )
    centred = np.array(list(places.values())) - np.mean(list(places.values()), axis=0)
    if np.linalg.svd(centred, compute_uv=False)[1] < MIN_DISTANCE_FROM_LINE:
        raise MicroscopeError(
            "the calibration",
            f"has wells in one line ({', '.join(places)}), which do not show whether the plate is "
            f"mirrored; expected wells such as {corners.removeprefix('such as ')}",
        )
    middle = np.mean(list(places.values()), axis=0)
    ends = np.array([(row, column) for row in (1, rows) for column in (1, columns)])
    farthest = ((ends - middle) ** 2).sum(axis=1).max()
    leverage = math.sqrt(1 / len(places) + farthest / (centred**2).sum())
    if leverage > MAX_LEVERAGE:
        raise MicroscopeError(
            "the calibration",
            f"has wells that cover too little of the plate ({', '.join(places)}): the error of the "
            f"farthest well is {leverage:.1f} times that of a measured one; "
            f"expected at most {MAX_LEVERAGE:g} times, with wells {corners}",
        )


def _check_fit(fit: PlateFit, *, is_mirrored: bool) -> None:
    """Raise MicroscopeError if a fitted plate is mirrored, or of another size, or does not fit."""
    wells = fit.placement.wells
    well, residual_um = max(fit.residual_um.items(), key=lambda each: each[1])
    if is_mirrored:
        raise MicroscopeError(
            "the calibration",
            "shows the mirror image of a plate; expected x to grow from column to column and y to "
            "fall from row to row (TransposeMirrorX and TransposeMirrorY of the stage mirror its "
            "axes), or other names of wells",
        )
    if not abs(fit.spacing_um / fit.standard_spacing_um - 1) <= MAX_SPACING_ERROR:
        raise MicroscopeError(
            "the calibration",
            f"has wells {fit.spacing_um:.0f} µm apart; expected {fit.standard_spacing_um:.0f} µm "
            f"± {MAX_SPACING_ERROR:.0%} with {wells} wells (another plate format, or a wrong well)",
        )
    if residual_um > fit.limit_um:
        raise MicroscopeError(
            "the calibration",
            f"has a residual of {residual_um:.0f} µm in {well}; expected at most "
            f"{fit.limit_um:.0f} µm ({MAX_RESIDUAL:.0%} of the spacing): measure again, and check "
            "the names of the wells",
        )


def _fit_circle(well: str, points: _Float64) -> tuple[Point, float]:
    """Return the middle and diameter in µm of the circle through points (n, 2), by least squares.

    Raises
    ------
    MicroscopeError
        If there are fewer than three points, or they lie in one line or on a small arc.
    """
    origin = points.mean(axis=0)
    near = points - origin
    coefficients = np.column_stack([2 * near, np.ones(len(near))])
    (x_um, y_um, rest), _, rank, _ = np.linalg.lstsq(coefficients, (near**2).sum(axis=1))
    angles = np.sort(np.degrees(np.arctan2(near[:, 1] - y_um, near[:, 0] - x_um)))
    gap_deg = float(np.diff([*angles, angles[0] + 360]).max())
    if len(points) < MIN_WELLS or rank < MIN_WELLS or gap_deg > MAX_RIM_GAP_DEG:
        raise MicroscopeError(
            f"well {well}",
            f"has {len(points)} points on its rim, with {gap_deg:.0f}° between two of them; "
            f"expected at least {MIN_WELLS} all around, at most {MAX_RIM_GAP_DEG:.0f}° apart",
        )
    diameter_um = 2 * math.sqrt(float(rest + x_um**2 + y_um**2))
    return (float(origin[0] + x_um), float(origin[1] + y_um)), diameter_um


def _middle_of_square(well: str, points: _Float64) -> tuple[Point, float]:
    """Return the middle and width in µm of a square well from points (n, 2) on its four sides.

    Raises
    ------
    MicroscopeError
        If there are fewer than four points, or the height differs from the width.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    width_um, height_um = map(float, high - low)
    if len(points) < 4 or not abs(width_um - height_um) <= MAX_RIM_ERROR * width_um:  # noqa: PLR2004 - sides
        raise MicroscopeError(
            f"well {well}",
            f"has {len(points)} points on its rim, {width_um:.0f} × {height_um:.0f} µm; expected "
            "a point on each of the four sides of a square well",
        )
    return (float((low[0] + high[0]) / 2), float((low[1] + high[1]) / 2)), width_um
