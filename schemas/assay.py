"""Parse the viability assay of a plate, ``<plate>.assay.csv``, from text into an :class:`Assay`."""

import csv
import hashlib
import io
from collections.abc import Collection

from pydantic import Field

from schemas.errors import PlateMapError
from schemas.frozen_model import FrozenModel
from schemas.well import parse_well

COLUMNS = ["well", "viability_percent"]
"""Required columns of an assay file."""
MAX_PERCENT = 200.0
"""Largest accepted viability in % of the control."""
MIN_WELLS = 2
"""Smallest number of measured wells in an assay file."""


class Assay(FrozenModel):
    """Measured viability of wells of one plate, in % of the control."""

    plate: str
    viability_percent: dict[str, float]
    """Viability by well, from 0 to 200."""
    run: int = Field(default=1, ge=1, exclude=True)
    """Number of the use of the plate id; the store knows it, the file does not."""

    @property
    def digest(self) -> str:
        """SHA-256 of the content; a corrected assay has another digest."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def parse_assay(text: str, *, plate: str, wells: Collection[str], name: str) -> Assay:
    """Parse CSV text into the Assay of a plate with these wells; errors contain the file's name.

    Parameters
    ----------
    text
        Content of the file.
    plate
        Plate id.
    wells
        Wells of the plate map; other wells are refused.
    name
        Name of the file, for error messages.

    Raises
    ------
    PlateMapError
        If the text is not valid. The message lists every problem with file, line, value and
        expectation.
    """
    # newline="": the csv module accepts the line ends of every system.
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    if reader.fieldnames is None or sorted(map(str.strip, reader.fieldnames)) != sorted(COLUMNS):
        raise PlateMapError(
            name, f"line 1 has columns {reader.fieldnames}; expected {','.join(COLUMNS)}"
        )
    values, problems = _parse_rows(reader, wells)
    if not problems and len(values) < MIN_WELLS:
        problems.append(f"{len(values)} wells; expected at least {MIN_WELLS}")
    if not problems and len(set(values.values())) == 1:
        problems.append(
            f"all {len(values)} wells have viability {next(iter(values.values())):g} %; "
            "expected values that differ"
        )
    if problems:
        raise PlateMapError(name, "; ".join(problems))
    return Assay(plate=plate, viability_percent=values)


def _parse_rows(
    reader: "csv.DictReader[str]", wells: Collection[str]
) -> tuple[dict[str, float], list[str]]:
    """Return the viability by well, and a description of every wrong row."""
    values: dict[str, float] = {}
    problems: list[str] = []
    for row in reader:
        line = reader.line_num
        if None in row:
            problems.append(
                f"line {line}: {len(row[None]) + len(COLUMNS)} values; "
                f"expected {len(COLUMNS)} (a decimal point, not a comma)"
            )
            continue
        cells = {key.strip(): (value or "").strip() for key, value in row.items()}
        try:
            well = _parse_assay_well(cells["well"], wells)
            value = _parse_percent(cells["viability_percent"])
        except ValueError as error:
            problems.append(f"line {line}: {error}")
            continue
        if well in values:
            problems.append(f"line {line}: well {well} occurs twice; expected each well once")
        values[well] = value
    return values, problems


def _parse_assay_well(text: str, wells: Collection[str]) -> str:
    """Return the normalised name of a well; raise ValueError if it is not in the plate map."""
    well = parse_well(text)
    if well not in wells:
        raise ValueError(
            f"well {well} is not in the plate map; expected one of its {len(wells)} wells"
        )
    return well


def _parse_percent(text: str) -> float:
    """Return a viability in percent as a number; raise ValueError unless it is from 0 to 200."""
    try:
        value = float(text)
    except ValueError:
        raise ValueError(
            f"viability_percent {text!r} is not a number; expected 0 to {MAX_PERCENT:g}"
        ) from None
    if not 0 <= value <= MAX_PERCENT:  # also refuses NaN
        raise ValueError(
            f"viability_percent is {text}; expected 0 to {MAX_PERCENT:g} (% of the control)"
        )
    return value
