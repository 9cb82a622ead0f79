"""Where the wells of a plate lie under the microscope: from the position of A1 to stage coordinates, checked before the first move.

As in useq-schema, x grows along a row and y falls down the rows, before the plate is turned.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import useq

from acquisition.microscope.settings import MicroscopeSettings
from schemas.errors import ConfigError
from schemas.well import PLATE_SHAPES, row_column, well_at

_SECTION = "source.micromanager"
_Problems = list[tuple[str, str]]


@dataclass(frozen=True)
class WellPosition:
    """Where the stage stands with the middle of a well under the objective."""

    well: str
    x_um: float
    y_um: float


def plan_positions(settings: MicroscopeSettings, wells: Sequence[str]) -> list[WellPosition]:
    """Return where these wells lie, each once: row by row, every other row backwards, which is the shortest way.

    Raises
    ------
    ConfigError
        If the plate or A1 makes no sense, or a well lies outside the plate or the stage's limits; every such well is named at once.
    """
    _refuse([*_plate_problems(settings), *_limit_problems(settings)])
    rows, columns = PLATE_SHAPES[settings.plate]
    if outside := [
        well for well in wells if row_column(well)[0] > rows or row_column(well)[1] > columns
    ]:
        named = ", ".join(outside)
        raise ConfigError(
            f"{_SECTION}.plate",
            f"is {settings.plate}, whose last well is {well_at(rows, columns)}; expected a plate that has {named}",
        )
    corner, *positions = _positions(settings, [(1, 1), *_serpentine(wells)])
    if not _reachable(settings, corner):
        _refuse(
            [
                (
                    f"{_SECTION}.a1_um",
                    f"is {_point(corner)}; expected a place within stage_limits_um = {settings.stage_limits_um}",
                )
            ]
        )
    if unreachable := [position for position in positions if not _reachable(settings, position)]:
        named = ", ".join(f"{position.well} at {_point(position)}" for position in unreachable)
        what = f"{settings.stage_limits_um}; expected limits that hold every well: outside lie {named} (or a1_um, spacing_um or rotation_deg is wrong)"
        raise ConfigError(f"{_SECTION}.stage_limits_um", what)
    return positions


def check_z(settings: MicroscopeSettings, z_um: Iterable[float]) -> None:
    """Check heights before any is gone to.

    Raises
    ------
    ConfigError
        If a height is not finite or lies outside the limits of the focus drive, or these make no sense.
    """
    heights = list(z_um)
    if wrong := [z for z in heights if not math.isfinite(z)]:
        raise ConfigError(
            f"{_SECTION}.focus_z_um", f"leads to heights of {wrong} µm; expected finite ones"
        )
    if settings.z_limits_um is None:
        return
    low, high = settings.z_limits_um
    if not low < high:
        raise ConfigError(
            f"{_SECTION}.z_limits_um", f"is {settings.z_limits_um}; expected the lower limit first"
        )
    if wrong := [z for z in heights if not low <= z <= high]:
        listed = ", ".join(f"{z:.1f}" for z in wrong)
        raise ConfigError(
            f"{_SECTION}.z_limits_um",
            f"is {settings.z_limits_um}; expected limits that hold every height gone to: outside lie {listed} µm",
        )


def _plate_problems(settings: MicroscopeSettings) -> _Problems:
    problems: _Problems = []
    if settings.plate not in PLATE_SHAPES:
        problems.append(
            (
                "plate",
                f"is {settings.plate} wells; expected one of {', '.join(map(str, PLATE_SHAPES))}",
            )
        )
    if not all(map(math.isfinite, settings.a1_um)):
        problems.append(
            ("a1_um", f"is {settings.a1_um}; expected two finite stage coordinates in µm")
        )
    if not math.isfinite(settings.rotation_deg):
        problems.append(("rotation_deg", f"is {settings.rotation_deg}; expected a finite angle"))
    if settings.spacing_um is not None and not 0 < settings.spacing_um < math.inf:
        problems.append(
            (
                "spacing_um",
                f"is {settings.spacing_um}; expected µm from well to well, as 9000 for 96 wells",
            )
        )
    return problems


def _limit_problems(settings: MicroscopeSettings) -> _Problems:
    if settings.stage_limits_um is None:
        return []
    x_from, y_from, x_to, y_to = settings.stage_limits_um
    if x_from < x_to and y_from < y_to:
        return []
    return [
        (
            "stage_limits_um",
            f"is {settings.stage_limits_um}; expected x from, y from, x to, y to, each from below its to",
        )
    ]


def _refuse(problems: _Problems) -> None:
    if problems:
        (key, problem), *more = (
            (f"{_SECTION}.{key.removeprefix(f'{_SECTION}.')}", problem) for key, problem in problems
        )
        raise ConfigError(key, problem, tuple(more))


def _serpentine(wells: Iterable[str]) -> list[tuple[int, int]]:
    """Return (row, column) of each well, counted from 1, in the order they are gone to."""
    places = {row_column(well) for well in wells}
    ordered: list[tuple[int, int]] = []
    for number, row in enumerate(sorted({row for row, _ in places})):
        ordered += sorted((place for place in places if place[0] == row), reverse=number % 2 == 1)
    return ordered


def _positions(
    settings: MicroscopeSettings, places: Sequence[tuple[int, int]]
) -> list[WellPosition]:
    """Return the stage coordinates of (row, column), counted from 1, in this order."""
    plate = useq.WellPlate.from_str(f"{settings.plate}-well")
    if settings.spacing_um is not None:
        plate = plate.replace(well_spacing=(settings.spacing_um / 1000, settings.spacing_um / 1000))
    rows, columns = zip(*places, strict=True)
    plan = useq.WellPlatePlan(
        plate=plate,
        a1_center_xy=settings.a1_um,
        rotation=settings.rotation_deg,
        selected_wells=(tuple(row - 1 for row in rows), tuple(column - 1 for column in columns)),
    )
    found = zip(places, plan.selected_well_coordinates, strict=True)  # (y, x) in mm
    return [
        WellPosition(well_at(*place), float(x_mm) * 1000, float(y_mm) * 1000)
        for place, (y_mm, x_mm) in found
    ]


def _reachable(settings: MicroscopeSettings, position: WellPosition) -> bool:
    if settings.stage_limits_um is None:
        return True
    x_from, y_from, x_to, y_to = settings.stage_limits_um
    return x_from <= position.x_um <= x_to and y_from <= position.y_um <= y_to


def _point(position: WellPosition) -> str:
    return f"({position.x_um:.0f}, {position.y_um:.0f}) µm"
