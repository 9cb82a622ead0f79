"""Compute the stage positions of the wells of a plate and check them before the first move.

As in useq-schema, x grows along a row and y falls from row A downwards, before the plate's rotation
is applied.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import useq

from acquisition.channels import plane_heights
from acquisition.microscope.settings import MicroscopeSettings
from acquisition.microscope.well_order import Place, ordered_places, places_of_plan
from schemas.errors import ConfigError
from schemas.well import PLATE_SHAPES, row_column, well_at

_SECTION = "source.micromanager"
_Problems = list[tuple[str, str]]  # configuration key in the section, problem


@dataclass(frozen=True)
class WellPosition:
    """The stage position with the middle of a well under the objective."""

    well: str
    x_um: float
    y_um: float


def plan_positions(settings: MicroscopeSettings, wells: Sequence[str]) -> list[WellPosition]:
    """Return the WellPosition of each named well by the settings, once each, in their well order.

    Raises
    ------
    ConfigError
        If the plate's settings are wrong, or wells lie outside the plate or the stage limits. All
        such wells are named.
    """
    _raise_problems([*_plate_problems(settings), *_limit_problems(settings)])
    rows, columns = PLATE_SHAPES[settings.plate]
    if outside := [
        well for well in wells if row_column(well)[0] > rows or row_column(well)[1] > columns
    ]:
        named = ", ".join(outside)
        raise ConfigError(
            f"{_SECTION}.plate",
            f"is {settings.plate}, whose last well is {well_at(rows, columns)}; "
            f"expected a plate that has {named}",
        )
    if settings.plan_wells and (
        missing := [well for well in wells if well not in settings.plan_wells]
    ):
        raise ConfigError(
            f"{_SECTION}.plan",
            f"visits no {', '.join(missing)}; expected a plan with every well to image",
        )
    places = (
        places_of_plan(wells, settings.plan_wells)
        if settings.plan_wells
        else ordered_places(wells, settings.well_order)
    )
    a1, *positions = _positions(settings, [(1, 1), *places])
    if not _is_reachable(settings, a1):
        raise ConfigError(
            f"{_SECTION}.a1_um",
            f"is {_format(a1)}; "
            f"expected a position within stage_limits_um = {settings.stage_limits_um}",
        )
    if unreachable := [each for each in positions if not _is_reachable(settings, each)]:
        named = ", ".join(f"{each.well} at {_format(each)}" for each in unreachable)
        problem = (
            f"is {settings.stage_limits_um}; expected limits that include every well; "
            f"outside are {named} (or a1_um, spacing_um or rotation_deg is wrong)"
        )
        raise ConfigError(f"{_SECTION}.stage_limits_um", problem)
    return positions


def check_heights(settings: MicroscopeSettings, z_um: Iterable[float]) -> None:
    """Raise ConfigError unless all heights in µm are finite and within the settings' focus limits.

    The limits themselves are checked, too.
    """
    heights = list(z_um)
    if wrong := [z for z in heights if not math.isfinite(z)]:
        raise ConfigError(
            f"{_SECTION}.focus_z_um", f"leads to heights of {wrong} µm; expected finite heights"
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
            f"is {settings.z_limits_um}; expected limits that include every height; "
            f"outside are {listed} µm",
        )


def _plate_problems(settings: MicroscopeSettings) -> _Problems:
    """Return the problems of the plate's size, position, rotation and spacing."""
    problems: _Problems = []
    if settings.plate not in PLATE_SHAPES:
        shapes = ", ".join(map(str, PLATE_SHAPES))
        problems.append(("plate", f"is {settings.plate} wells; expected one of {shapes}"))
    if not all(map(math.isfinite, settings.a1_um)):
        problems.append(
            ("a1_um", f"is {settings.a1_um}; expected two finite stage coordinates in µm")
        )
    if not math.isfinite(settings.rotation_deg):
        problems.append(("rotation_deg", f"is {settings.rotation_deg}; expected a finite angle"))
    if settings.spacing_um is not None and not 0 < settings.spacing_um < math.inf:
        expected = "expected µm between neighbouring wells, such as 9000 for 96 wells"
        problems.append(("spacing_um", f"is {settings.spacing_um}; {expected}"))
    return problems


def _limit_problems(settings: MicroscopeSettings) -> _Problems:
    """Return the problem of stage limits in the wrong order, if there is one."""
    if settings.stage_limits_um is None:
        return []
    x_from, y_from, x_to, y_to = settings.stage_limits_um
    if x_from < x_to and y_from < y_to:
        return []
    expected = "expected x from, y from, x to, y to, with each from below its to"
    return [("stage_limits_um", f"is {settings.stage_limits_um}; {expected}")]


def _raise_problems(problems: _Problems) -> None:
    """Raise one ConfigError with all problems, if there are any."""
    if problems:
        (key, problem), *more = ((f"{_SECTION}.{key}", problem) for key, problem in problems)
        raise ConfigError(key, problem, tuple(more))


def well_plate_plan(settings: MicroscopeSettings, places: Sequence[Place]) -> useq.WellPlatePlan:
    """Return useq-schema's plan of the plate with given wells.

    Parameters
    ----------
    places
        Row and column of each well, counted from 1, in the order of visits.
    """
    plate = useq.WellPlate.from_str(f"{settings.plate}-well")
    if settings.spacing_um is not None:
        plate = plate.replace(well_spacing=(settings.spacing_um / 1000, settings.spacing_um / 1000))
    rows, columns = zip(*places, strict=True)
    return useq.WellPlatePlan(
        plate=plate,
        a1_center_xy=settings.a1_um,
        rotation=settings.rotation_deg,
        selected_wells=(tuple(row - 1 for row in rows), tuple(column - 1 for column in columns)),
    )


def _positions(settings: MicroscopeSettings, places: Sequence[Place]) -> list[WellPosition]:
    """Return the stage position of each (row, column), counted from 1, in the same order."""
    plan = well_plate_plan(settings, places)
    found = zip(places, plan.selected_well_coordinates, strict=True)  # (y, x) in mm
    return [
        WellPosition(well_at(*place), float(x_mm) * 1000, float(y_mm) * 1000)
        for place, (y_mm, x_mm) in found
    ]


def _is_reachable(settings: MicroscopeSettings, position: WellPosition) -> bool:
    """Return whether a position lies within the stage limits; without limits it does."""
    if settings.stage_limits_um is None:
        return True
    x_from, y_from, x_to, y_to = settings.stage_limits_um
    return x_from <= position.x_um <= x_to and y_from <= position.y_um <= y_to


def _format(position: WellPosition) -> str:
    """Return a position as text in µm, for messages."""
    return f"({position.x_um:.0f}, {position.y_um:.0f}) µm"


def outer_plane_heights(settings: MicroscopeSettings) -> tuple[float, float]:
    """Return the heights in µm of the lowest and highest plane at the settings' ``focus_z_um``.

    The planes of all channels are included.
    """
    focus_um = settings.focus_z_um
    heights = plane_heights(focus_um, settings.planes, settings.plane_step_um)
    heights += [z for channel in settings.channels for z in channel.heights(focus_um)]
    return min(heights), max(heights)
