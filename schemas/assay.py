"""Parse the viability assay of a plate, a table of its wells, into an :class:`Assay`."""

import hashlib
from collections.abc import Collection, Mapping

from pydantic import Field

from schemas.decimal_text import parse_decimal
from schemas.errors import PlateMapError
from schemas.frozen_model import FrozenModel
from schemas.plate_tables import Record, Table, joined, records
from schemas.well import parse_well

ASSAY_COLUMNS = ("well", "viability_percent")
"""Required columns of an assay file."""
MAX_PERCENT = 200.0
"""Largest accepted viability in % of the control."""
MIN_WELLS = 2
"""Smallest number of measured wells in an assay file."""
MIN_UNTREATED_PERCENT = 50.0
"""Viability in % of the control below which an untreated well contradicts its label."""
MAX_CONTRADICTIONS = 0.2
"""Largest share of the untreated wells of a plate that may contradict their label."""
MIN_CONTRADICTIONS = 2
"""Smallest number of contradictions for which an assay is refused."""
MAX_NAMED_WELLS = 5
"""Largest number of wells that an error names."""


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


def parse_assay(
    table: Table, *, plate: str, wells: Collection[str], untreated: Collection[str] = ()
) -> Assay:
    """Return the Assay in a Table of a plate with these wells; errors contain the file's name.

    Parameters
    ----------
    table
        The rows of the file.
    plate
        Plate id.
    wells
        Wells of the plate map; other wells are refused.
    untreated
        Untreated wells of the plate map. An assay in which many of them are dead is refused.

    Raises
    ------
    PlateMapError
        If the table is not valid. The message lists every problem with file, line, value and
        expectation.
    """
    rows, problems = records(table, ASSAY_COLUMNS)
    values, more_problems = _parse_rows(rows, wells)
    problems += more_problems
    if not problems and len(values) < MIN_WELLS:
        problems.append(f"{len(values)} wells; expected at least {MIN_WELLS}")
    if not problems and len(set(values.values())) == 1:
        problems.append(
            f"all {len(values)} wells have viability {next(iter(values.values())):g} %; "
            "expected values that differ"
        )
    of_untreated = {well: value for well, value in values.items() if well in untreated}
    if not problems and (problem := contradiction(of_untreated)):
        problems.append(problem)
    if problems:
        raise PlateMapError(table.name, joined(problems))
    return Assay(plate=plate, viability_percent=values)


def contradiction(untreated: Mapping[str, float]) -> str:
    """Return the problem of an assay in which many untreated wells are dead, or an empty text.

    Such an assay belongs to another plate, or to the plate in another orientation.

    Parameters
    ----------
    untreated
        Viability in % of the control by untreated well.
    """
    dead = {well: value for well, value in untreated.items() if value < MIN_UNTREATED_PERCENT}
    if len(dead) < MIN_CONTRADICTIONS or len(dead) <= MAX_CONTRADICTIONS * len(untreated):
        return ""
    named = ", ".join(f"{well} {value:.0f} %" for well, value in [*dead.items()][:MAX_NAMED_WELLS])
    return (
        f"the assay contradicts the plate map: {len(dead)} of {len(untreated)} untreated wells "
        f"have a viability below {MIN_UNTREATED_PERCENT:g} % ({named}); expected the assay of this "
        "plate, in its orientation, in percent of its untreated wells"
    )


def parse_percent(text: str) -> float:
    """Return a viability in percent, such as ``87.5``, ``87,5`` or ``87.5 %``, as a number.

    Raises
    ------
    ValueError
        If the text is not a number from 0 to 200.
    """
    expected = f"expected 0 to {MAX_PERCENT:g} (% of the control)"
    number = text.removesuffix("%").rstrip()
    try:
        value = parse_decimal(number, largest=MAX_PERCENT)
    except ValueError:
        raise ValueError(f"viability_percent {text!r} is not a number; {expected}") from None
    if not 0 <= value <= MAX_PERCENT:
        raise ValueError(f"viability_percent is {text}; {expected}")
    return value


def _parse_rows(
    rows: Collection[Record], wells: Collection[str]
) -> tuple[dict[str, float], list[str]]:
    """Return the viability by well, and a description of every wrong row."""
    values: dict[str, float] = {}
    places: dict[str, str] = {}
    problems: list[str] = []
    for row in rows:
        try:
            well = _parse_assay_well(row.values["well"], wells)
            value = parse_percent(row.values["viability_percent"])
        except ValueError as error:
            problems.append(f"{row.place}: {error}")
            continue
        if well in values:
            problems.append(
                f"{row.place}: well {well} occurs twice, first on {places[well]}; "
                "expected each well once"
            )
        values[well], places[well] = value, row.place
    return values, problems


def _parse_assay_well(text: str, wells: Collection[str]) -> str:
    """Return the normalised name of a well; raise ValueError if it is not in the plate map."""
    well = parse_well(text)
    if well not in wells:
        raise ValueError(
            f"well {well} is not in the plate map; expected one of its {len(wells)} wells"
        )
    return well
