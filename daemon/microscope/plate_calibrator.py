"""Work of ``spherorank acquire calibrate``: measure wells, fit the plate, print its settings."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.table import Table

from acquisition.microscope.plate_calibration import PlateFit, Point, fit_plate, middle_of_rim
from daemon.config import Config
from daemon.microscope.microscope_access import locked_microscope
from schemas.errors import ConfigError
from schemas.exit_codes import ExitCode
from schemas.plate_tables import csv_table, records
from schemas.well import PLATE_SHAPES, parse_well, well_at

COLUMNS = ("well", "x_um", "y_um", "at")
"""Columns of a table of measured points."""
MIDDLE, RIM = "middle", "rim"


@dataclass
class MeasuredPoints:
    """Stage positions in µm that were measured at the middles and rims of wells."""

    middles: dict[str, Point] = field(default_factory=dict)
    rims: dict[str, list[Point]] = field(default_factory=dict)

    @classmethod
    def from_texts(cls, middles: Sequence[str], rims: Sequence[str]) -> Self:
        """Return the points in texts such as ``A01=12000,75000``.

        Raises
        ------
        ConfigError
            If a text is not such a point, or a well has two middles.
        """
        points = cls()
        for at, option, texts in ((MIDDLE, "--point", middles), (RIM, "--rim", rims)):
            for text in texts:
                name, _, position = text.partition("=")
                x_um, _, y_um = position.partition(",")
                points.add(name, x_um, y_um, at, where=f"{option} {text}")
        return points

    def add_file(self, path: Path) -> None:
        """Add the points of a CSV file with the columns of ``COLUMNS``.

        Raises
        ------
        ConfigError
            If the file cannot be read, or a row is no point.
        PlateMapError
            If the file is no such table.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            expected = f"expected a CSV file with the columns {','.join(COLUMNS)}"
            raise ConfigError(path, f"cannot be read: {error.strerror}; {expected}") from error
        found, problems = records(csv_table(content, path.name, COLUMNS), COLUMNS)
        if problems:
            raise ConfigError(path, "; ".join(problems))
        for row in found:
            values = [row.values[column] for column in COLUMNS]
            self.add(*values, where=f"{path}, {row.place}")

    def add(self, well: str, x_um: str, y_um: str, at: str, *, where: str) -> None:
        """Add one point from its texts; ConfigError that names ``where`` if they are wrong."""
        try:
            name, point = parse_well(well), (float(x_um), float(y_um))
        except ValueError as error:
            raise ConfigError(
                where, f"is no point ({error}); expected a well and stage x and y in µm"
            ) from error
        if at not in (MIDDLE, RIM) or not all(map(math.isfinite, point)):
            raise ConfigError(where, f"is {point} at {at!r}; expected finite µm at middle or rim")
        if at == RIM:
            self.rims.setdefault(name, []).append(point)
        elif name in self.middles:
            raise ConfigError(where, f"is a second middle of {name}; expected one of each well")
        else:
            self.middles[name] = point

    def wells(self, plate: int) -> dict[str, Point]:
        """Return the middle of each measured well of a plate format (number of wells).

        Raises
        ------
        ConfigError
            If a well has a middle and points on its rim.
        MicroscopeError
            If the points on a rim do not define a well of the format.
        """
        if both := sorted(self.middles.keys() & self.rims.keys()):
            raise ConfigError("the calibration", f"has {both[0]} by middle and rim; expected one")
        rims = {well: middle_of_rim(plate, well, rim) for well, rim in self.rims.items()}
        return self.middles | rims


def calibrate(
    config: Config,
    plate: int | None,
    points: MeasuredPoints,
    ask: Callable[[str], str],
    screen: Console,
) -> int:
    """Fit a plate to measured points, print the fit and the settings, and return the exit code.

    Parameters
    ----------
    plate
        The number of wells; None: ``plate`` of the section.
    points
        Measured points. Without points, the corner wells are measured with the microscope.
    ask
        Shows a text and returns the answer of the operator.

    Raises
    ------
    SpheroRankError
        If the points are wrong, or the fit is refused.
    """
    section = config.source.micromanager
    default = section.plate if section is not None else 96
    wells = plate or default
    if wells not in PLATE_SHAPES:
        raise ConfigError(
            "--plate", f"is {wells}; expected one of {', '.join(map(str, PLATE_SHAPES))}"
        )
    if not (points.middles or points.rims):
        points = _measure_corners(config, wells, ask)
    measured = points.wells(wells)
    fit = fit_plate(wells, measured)
    _print_fit(fit, measured, screen)
    for line in _settings_lines(fit, is_default=wells == default):
        screen.print(line, soft_wrap=True)
    return ExitCode.DONE


def _measure_corners(config: Config, wells: int, ask: Callable[[str], str]) -> MeasuredPoints:
    """Return the positions of the corner wells of a plate, to which the operator moves the stage.

    The stage is moved by its joystick. The command moves nothing and leaves the lamp unchanged.
    """
    rows, columns = PLATE_SHAPES[wells]
    points = MeasuredPoints()
    with locked_microscope(config) as scope:
        for place in ((1, 1), (1, columns), (rows, columns), (rows, 1)):
            well = well_at(*place)
            answer = ask(
                f"Move the middle of well {well} under the objective and press Enter "
                "(s: skip this well)"
            )
            if answer.strip().lower() != "s":
                points.middles[well] = scope.position()[:2]
    return points


def _print_fit(fit: PlateFit, measured: dict[str, Point], screen: Console) -> None:
    """Print the measured wells with their residuals, and the rotation and spacing of the plate."""
    table = Table(title=f"plate of {fit.placement.wells} wells: measured wells in µm")
    for column in ("well", "x", "y", "residual"):
        table.add_column(column, justify="left" if column == "well" else "right")
    for well, (x_um, y_um) in measured.items():
        table.add_row(well, f"{x_um:.1f}", f"{y_um:.1f}", f"{fit.residual_um[well]:.0f}")
    screen.print(table)
    difference = fit.spacing_um / fit.standard_spacing_um - 1
    for line in (
        f"rotation  {fit.placement.rotation_deg:.3f}° anticlockwise",
        f"spacing   {fit.spacing_um:.1f} µm ({difference:+.2%} of {fit.standard_spacing_um:g} µm)",
        f"residual  at most {max(fit.residual_um.values()):.0f} µm (limit {fit.limit_um:.0f} µm)",
    ):
        screen.print(line, soft_wrap=True)


def _settings_lines(fit: PlateFit, *, is_default: bool) -> Iterable[str]:
    """Return the TOML lines for the section: its own place, or an entry of ``plates``."""
    x_um, y_um = fit.placement.a1_um
    values = {
        "a1_um": f"[{x_um:.1f}, {y_um:.1f}]",
        "spacing_um": f"{fit.spacing_um:.2f}",
        "rotation_deg": f"{fit.placement.rotation_deg:.4f}",
    }
    if is_default:
        return ["[source.micromanager]", *(f"{key} = {value}" for key, value in values.items())]
    inline = ", ".join(f"{key} = {value}" for key, value in values.items())
    return ["[source.micromanager]", f"plates = [{{ wells = {fit.placement.wells}, {inline} }}]"]
