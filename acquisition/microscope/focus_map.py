"""Write and read the focus heights of a plate as a table (CSV), the focus map.

The columns are ``plate,well,x_um,y_um,z_um,found_by,at``. A map made by hand needs ``well`` and
``z_um`` only.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from acquisition.microscope.focus_surface import FocusPoint, FocusSurface, FoundBy
from acquisition.microscope.plate_plan import WellPosition, plan_positions
from acquisition.microscope.settings import MicroscopeSettings
from schemas.errors import ConfigError
from schemas.well import parse_well

COLUMNS = ("plate", "well", "x_um", "y_um", "z_um", "found_by", "at")
"""The columns of a focus map."""

REQUIRED_COLUMNS = ("well", "z_um")

MAX_DISTANCE_UM = 1000.0
"""Largest distance of a given position from the planned position of its well."""

_UM_PER_MM = 1000.0
_Row = Mapping[str, str]


def write_focus_map(plate: str, surface: FocusSurface) -> str:
    """Return the focus heights of a plate (id) as CSV text, one line per well."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(COLUMNS)
    for point in sorted(surface.points, key=lambda each: each.well):
        heights = (f"{value:.1f}" for value in (point.x_um, point.y_um, point.z_um))
        table.writerow((plate, point.well, *heights, point.found_by.value, point.at.isoformat()))
    return out.getvalue()


def read_focus_map(
    path: Path, plate: str, wells: Sequence[str], settings: MicroscopeSettings, now: datetime
) -> FocusSurface:
    """Return the focus heights of a focus map as a FocusSurface; each is marked as given.

    Parameters
    ----------
    path
        The CSV file.
    plate
        The id of the plate under which the heights are to be used.
    wells
        The wells of the plate map.
    settings
        The plate's position and the limits of the focus drive.
    now
        The time that the heights get.

    Raises
    ------
    ConfigError
        If the file cannot be read or is no focus map of this plate; all wrong lines are named.
    """
    rows = _read_rows(path)
    positions = {each.well: each for each in plan_positions(settings, wells)}
    problems: list[tuple[str, str]] = []
    points: dict[str, FocusPoint] = {}
    for line, row in rows:
        try:
            point = _read_row(row, plate, positions, settings, now)
        except ValueError as error:
            problems.append((f"{path}, line {line}", str(error)))
            continue
        if point.well in points:
            twice = f"has well {point.well} a second time; expected one line per well"
            problems.append((f"{path}, line {line}", twice))
        points[point.well] = point
    if problems:
        (where, problem), *more = problems
        raise ConfigError(where, problem, tuple(more))
    _check_unit(path, list(points.values()), settings)
    return FocusSurface(tuple(points.values()))


def _read_rows(path: Path) -> list[tuple[int, _Row]]:
    """Return line number and cells by column of each line of a CSV file with the right columns."""
    try:
        reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig")), strict=True)
        rows: list[tuple[int, _Row]] = [(reader.line_num, row) for row in reader]
    except OSError as error:
        expected = "expected a focus map as spherorank acquire focus-map export writes it"
        raise ConfigError(path, f"cannot be read ({error.strerror}); {expected}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(path, f"is no CSV table ({error}); expected UTF-8 text") from error
    columns = reader.fieldnames or []
    expected = f"expected {', '.join(REQUIRED_COLUMNS)} and any of {', '.join(COLUMNS)}"
    if unknown := [name for name in columns if name not in COLUMNS]:
        raise ConfigError(path, f"has the unknown columns {', '.join(unknown)}; {expected}")
    if missing := [name for name in REQUIRED_COLUMNS if name not in columns]:
        raise ConfigError(path, f"has no column {', '.join(missing)}; {expected}")
    if len(set(columns)) < len(columns):
        raise ConfigError(path, f"has the columns {', '.join(columns)}; expected each one once")
    if not rows:
        raise ConfigError(path, "has no heights; expected one line per well")
    if ragged := [line for line, row in rows if None in row or None in row.values()]:
        found = f"has more or fewer cells than columns in line {ragged[0]}"
        raise ConfigError(path, f"{found}; expected {len(columns)} cells per line")
    return rows


def _read_row(
    row: _Row,
    plate: str,
    positions: Mapping[str, WellPosition],
    settings: MicroscopeSettings,
    now: datetime,
) -> FocusPoint:
    """Return the focus height of one line; ValueError names a wrong value."""
    if (named := row.get("plate", plate).strip()) != plate:
        raise ValueError(f"is of plate {named!r}; expected {plate}")
    well = parse_well(row["well"])
    if well not in positions:
        raise ValueError(f"has well {well}; expected a well of the plate map of {plate}")
    position = positions[well]
    z_um = _number(row, "z_um")
    if (limits := settings.z_limits_um) and not limits[0] <= z_um <= limits[1]:
        raise ValueError(f"has z_um = {z_um:g}; expected µm within z_limits_um = {limits}")
    x_um = _number(row, "x_um") if row.get("x_um") else position.x_um
    y_um = _number(row, "y_um") if row.get("y_um") else position.y_um
    if math.dist((x_um, y_um), (position.x_um, position.y_um)) > MAX_DISTANCE_UM:
        planned = f"({position.x_um:.0f}, {position.y_um:.0f})"
        raise ValueError(
            f"has well {well} at ({x_um:.0f}, {y_um:.0f}) µm; expected at most "
            f"{MAX_DISTANCE_UM:g} µm from {planned} µm, its place by a1_um and the plate's format"
        )
    return FocusPoint(well, position.x_um, position.y_um, z_um, FoundBy.FOCUS_MAP, now)


def _number(row: _Row, column: str) -> float:
    """Return the finite number in a column of a line."""
    text = row[column].strip()
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"has {column} = {text!r}; expected a number of µm")
    return value


def _check_unit(path: Path, points: Sequence[FocusPoint], settings: MicroscopeSettings) -> None:
    """Raise ConfigError if the heights fit the expected focus only as millimetres."""
    expected_um, range_um = settings.focus_z_um, settings.wide_range_um
    heights = [point.z_um for point in points]
    is_near = [abs(z - expected_um) <= range_um for z in heights]
    is_near_as_mm = [abs(z * _UM_PER_MM - expected_um) <= range_um for z in heights]
    if not any(is_near) and all(is_near_as_mm):
        raise ConfigError(
            path,
            f"has heights from {min(heights):g} to {max(heights):g}, which look like mm "
            f"(focus_z_um = {expected_um:g}); expected µm",
        )
