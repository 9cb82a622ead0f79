"""Viability assays of a profile table, and rankings by deterioration calibrated on them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from inference.deterioration.calibration import AssayPlate, Calibration, calibrate, refit
from inference.deterioration.calibration_limits import OTHER_TREATMENTS
from inference.deterioration.well_order import by_deterioration, drift_sentence
from inference.profile_tables import parse_profile_well
from inference.ranking.placement import Placement, ScoredPlate
from schemas.assay import parse_percent
from schemas.errors import PlateMapError, ProfileError
from schemas.plate_map import Group
from schemas.plate_tables import (
    Row,
    Table,
    column_name,
    csv_table,
    header_and_rows,
    joined,
    records,
)
from schemas.trajectory import Trajectories

ASSAY_COLUMNS = ("plate", "well", "viability_percent")
"""Required columns of the assays of a profile table."""
METADATA_NAMES = {"metadata_plate": "plate", "metadata_well": "well"}
"""Column names of a profile table that are accepted as well."""

DeteriorationPercent = Mapping[str, float]
"""100 − viability in percent, by well."""


def read_assays(table: Path, plates: Sequence[Trajectories]) -> dict[str, DeteriorationPercent]:
    """Read an assay CSV file of these Trajectories as deterioration percent by plate and well.

    The columns are plate, well and viability in % of the control; further columns are ignored.

    Parameters
    ----------
    table
        Path of the file.
    plates
        Plates of the profile table; other plates and wells are refused.

    Raises
    ------
    ProfileError
        If the file is not valid. The message names line, value and expectation.
    """
    try:
        content = csv_table(table.read_bytes(), str(table), (*ASSAY_COLUMNS, *METADATA_NAMES))
        rows, problems = records(_with_short_names(content), ASSAY_COLUMNS, other_columns=True)
    except FileNotFoundError as error:
        raise ProfileError(
            table, f"does not exist; expected a CSV with {', '.join(ASSAY_COLUMNS)}"
        ) from error
    except OSError as error:
        raise ProfileError(table, f"cannot be read: {error.strerror}") from error
    except PlateMapError as error:
        raise ProfileError(error.where, error.problem) from error
    wells = {plate.plate: set(plate.wells) for plate in plates}
    assays: dict[str, dict[str, float]] = {}
    for row in rows:
        try:
            plate, well = row.values["plate"], parse_profile_well(row.values["well"])
            viability = parse_percent(row.values["viability_percent"])
        except ValueError as error:
            problems.append(f"{row.place}: {error}")
            continue
        if well not in wells.get(plate, ()):
            problems.append(
                f"{row.place}: plate {plate}, well {well} is not in the profiles; "
                "expected one of their wells"
            )
        elif well in assays.setdefault(plate, {}):
            problems.append(
                f"{row.place}: plate {plate}, well {well} occurs twice; expected each well once"
            )
        else:
            assays[plate][well] = 100 - viability
    if problems:
        raise ProfileError(table, joined(problems))
    return dict(assays)


def _has_others(plate: Trajectories, treatment: str) -> bool:
    """Return whether treated wells of a plate have other treatments than the given one."""
    return any(
        group not in (Group.UNTREATED, Group.BLANK) and own != treatment
        for group, own in zip(plate.groups, plate.treatments, strict=True)
    )


def _with_short_names(table: Table) -> Table:
    """Return a Table with the columns ``plate`` and ``well`` in place of those of profiles."""
    header, rows = header_and_rows(table, (*ASSAY_COLUMNS, *METADATA_NAMES))
    names = [METADATA_NAMES.get(name, name) for name in map(column_name, header.cells)]
    return Table(table.name, (Row(header.place, tuple(names)), *rows))


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
        known = calibration.card.single_treatment
        if known is not None and _has_others(plate, known):
            return scored.placement, OTHER_TREATMENTS.format(treatment=known)
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
        if drift is not None and drift.outside:
            return scored.placement, drift_sentence(drift)
        return placement, ""

    def _calibrate(self, names: tuple[str, ...]) -> Calibration | str:
        """Return the calibration on these plates, or the reason why it is not valid."""
        plates = [self._assay_plates[name] for name in names]
        card = calibrate(plates, digest=",".join(names), seed=self._seed)
        return refit(plates, card, seed=self._seed) if card.valid else "; ".join(card.why_not)
