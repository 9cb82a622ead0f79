"""A viability assay of a plate: ``<plate>.assay.csv`` read into one checked object. Text in, object out; no disk here."""

import csv
import hashlib
import io
from collections.abc import Collection

from schemas.errors import PlateMapError
from schemas.frozen_model import FrozenModel
from schemas.well import parse_well

COLUMNS = ["well", "viability_percent"]
MAX_PERCENT = 200.0
MIN_WELLS = 2


class Assay(FrozenModel):
    """Measured viability of wells of one plate, in % of the control."""

    plate: str
    viability_percent: dict[str, float]  # by well, 0…200

    @property
    def digest(self) -> str:
        """SHA-256 of the content, so that a corrected assay is seen to differ."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def parse_assay(text: str, *, plate: str, wells: Collection[str], name: str) -> Assay:
    """Read and check an assay of a plate whose map names these wells.

    Raises
    ------
    PlateMapError
        With every problem found, each naming file, line, value and what was expected.
    """
    reader = csv.DictReader(
        io.StringIO(text.removeprefix("\ufeff"), newline="")
    )  # lines may end as on any system
    if reader.fieldnames is None or sorted(map(str.strip, reader.fieldnames)) != sorted(COLUMNS):
        raise PlateMapError(
            name, f"line 1 has columns {reader.fieldnames}; expected {','.join(COLUMNS)}"
        )
    values: dict[str, float] = {}
    problems: list[str] = []
    for row in reader:
        if None in row:
            problems.append(
                f"line {reader.line_num}: {len(row[None]) + len(COLUMNS)} values; "
                f"expected {len(COLUMNS)} (a decimal point, not a comma)"
            )
            continue
        cells = {key.strip(): (value or "").strip() for key, value in row.items()}
        try:
            well, value = (
                _parse_assay_well(cells["well"], wells),
                _parse_percent(cells["viability_percent"]),
            )
        except ValueError as error:
            problems.append(f"line {reader.line_num}: {error}")
            continue
        if well in values:
            problems.append(
                f"line {reader.line_num}: well {well} occurs twice; expected each well once"
            )
        values[well] = value
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


def _parse_assay_well(text: str, wells: Collection[str]) -> str:
    well = parse_well(text)
    if well not in wells:
        raise ValueError(
            f"well {well} is not in the plate map; expected one of its {len(wells)} wells"
        )
    return well


def _parse_percent(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(
            f"viability_percent {text!r} is not a number; expected 0 to {MAX_PERCENT:g}"
        ) from None
    if not 0 <= value <= MAX_PERCENT:  # NaN fails it too
        raise ValueError(
            f"viability_percent is {text}; expected 0 to {MAX_PERCENT:g} (% of the control)"
        )
    return value
