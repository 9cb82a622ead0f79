"""Viability assays of a profile table, and rankings by deterioration calibrated on them."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from inference.deterioration.calibration import AssayPlate, Calibration, calibrate, refit
from inference.deterioration.well_order import by_deterioration, drift_sentence
from inference.ranking.placement import Placement, ScoredPlate
from schemas.assay import MAX_PERCENT
from schemas.errors import ProfileError
from schemas.trajectory import Trajectories

PLATE, WELL, VIABILITY = "Metadata_Plate", "Metadata_Well", "viability_percent"
COLUMN_NAMES = {"plate": PLATE, "well": WELL}
"""Column names that are accepted in place of the standard names."""

DeteriorationPercent = Mapping[str, float]
"""100 − viability in percent, by well."""


def read_assays(table: Path, plates: Sequence[Trajectories]) -> dict[str, DeteriorationPercent]:
    """Read an assay CSV file of these Trajectories as deterioration percent by plate and well.

    The columns are plate, well and viability in % of the control.

    Parameters
    ----------
    table
        Path of the file.
    plates
        Plates of the profile table; other plates and wells are refused.

    Raises
    ------
    ProfileError
        If the file is not valid. The message names row, value and expectation.
    """
    rows = _read_table(table)
    wells = {plate.plate: set(plate.wells) for plate in plates}
    assays: dict[str, dict[str, float]] = {}
    for number, (plate, well, text) in enumerate(
        zip(
            rows[PLATE].str.strip(),
            rows[WELL].str.strip(),
            rows[VIABILITY].str.strip(),
            strict=True,
        ),
        start=1,
    ):
        if well not in wells.get(plate, ()):
            raise ProfileError(
                table,
                f"row {number}: plate {plate}, well {well} is not in the profiles; "
                "expected one of their wells",
            )
        if well in assays.setdefault(plate, {}):
            raise ProfileError(
                table,
                f"row {number}: plate {plate}, well {well} occurs twice; expected each well once",
            )
        assays[plate][well] = 100 - _parse_viability(text, f"{table}, row {number}")
    return dict(assays)


def _read_table(table: Path) -> pd.DataFrame:
    """Return the rows of an assay file as text; raise ProfileError if a column is missing."""
    try:
        rows = pd.read_csv(table, dtype=str, keep_default_na=False).rename(
            columns=lambda name: COLUMN_NAMES.get(name.strip().lower(), name.strip())
        )
    except FileNotFoundError as error:
        raise ProfileError(
            table,
            "does not exist; "
            "expected a CSV with Metadata_Plate, Metadata_Well and viability_percent",
        ) from error
    except (OSError, ValueError) as error:
        raise ProfileError(table, f"cannot be read as a table: {error}") from error
    if missing := [name for name in (PLATE, WELL, VIABILITY) if name not in rows.columns]:
        raise ProfileError(
            table, f"has no column {', '.join(missing)}; expected {PLATE}, {WELL} and {VIABILITY}"
        )
    return rows


def _parse_viability(text: str, where: str) -> float:
    """Return a viability in percent as a number; raise ProfileError unless it is from 0 to 200."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= MAX_PERCENT:
        raise ProfileError(
            where, f"{VIABILITY} is {text!r}; expected 0 to {MAX_PERCENT:g} (% of the control)"
        )
    return value


class ProfileCalibrations:
    """Calibrations on the assays of a table's Trajectories, never on the plate's own assay."""

    def __init__(
        self,
        plates: Sequence[Trajectories],
        assays: Mapping[str, DeteriorationPercent],
        *,
        baseline_day: int,
        readout_day: int,
        seed: int,
    ) -> None:
        self._assay_plates = {
            plate.plate: AssayPlate(plate, assays[plate.plate], baseline_day, readout_day)
            for plate in plates
            if plate.plate in assays
        }
        self._days = baseline_day, readout_day
        self._seed = seed
        # By the training plates: the calibration, or the reason why there is none.
        self._calibrations: dict[tuple[str, ...], Calibration | str] = {}

    def place(self, scored: ScoredPlate, plate: Trajectories) -> tuple[Placement, str]:
        """Return (Placement, reason) of a ScoredPlate and its Trajectories.

        The order is by deterioration, with an empty reason, or by departure with the reason.
        """
        names = tuple(
            name
            for name, each in self._assay_plates.items()
            if name != plate.plate and each.trajectories.encoder_id == plate.encoder_id
        )
        if names not in self._calibrations:
            self._calibrations[names] = self._calibrate(names)
        calibration = self._calibrations[names]
        if isinstance(calibration, str):
            return scored.placement, calibration
        baseline_day, readout_day = self._days
        placement, drift = by_deterioration(
            scored,
            {},
            plate,
            calibration,
            dosing_day=baseline_day,
            readout_day=readout_day,
            seed=self._seed,
        )
        if drift.outside:
            return scored.placement, drift_sentence(drift)
        return placement, ""

    def _calibrate(self, names: tuple[str, ...]) -> Calibration | str:
        """Return the calibration on these plates, or the reason why it is not valid."""
        plates = [self._assay_plates[name] for name in names]
        card = calibrate(plates, digest=",".join(names), seed=self._seed)
        return refit(plates, card, seed=self._seed) if card.valid else "; ".join(card.why_not)
