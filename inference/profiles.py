"""Ranking of every plate of a profile table, without images, encoder or store."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from inference.departure.departure_settings import DEFAULT_DEPARTURE_SETTINGS, DepartureSettings
from inference.departure.reduced_space import MAX_OTHER_PLATES
from inference.profile_assays import ProfileCalibrations, read_assays
from inference.profile_tables import profile_notes, read_profiles, trajectories_from_profiles
from inference.ranking.plate_ranking import ranking_table, score_plate
from schemas.errors import ProfileError
from schemas.ranking import TreatmentTable
from schemas.tables import treatments_csv, wells_csv
from schemas.trajectory import Trajectories

DEFAULT_SEED = 0
"""Seed of the random draws."""


@dataclass(frozen=True, eq=False)
class ProfileRanking:
    """Rankings of the plates of a table, and errors of plates that could not be ranked."""

    tables: dict[str, TreatmentTable]
    """Ranking by plate."""
    refused: dict[str, ProfileError]
    """Error by plate, for plates that could not be ranked."""
    by_departure: dict[str, str]
    """Reason by plate why a plate is ranked by departure although an assay was given."""
    notes: tuple[str, ...]
    """Treatments and compounds that the table writes in several ways."""


def rank_profiles(
    table: Path,
    *,
    baseline_day: int,
    readout_day: int,
    out: Path,
    seed: int = DEFAULT_SEED,
    settings: DepartureSettings = DEFAULT_DEPARTURE_SETTINGS,
    assay: Path | None = None,
) -> ProfileRanking:
    """Rank the plates of a CSV or Parquet file, write CSV files, and return a ProfileRanking.

    The files are ``out`` (treatments) and ``<out>-wells.csv``. Days up to ``baseline_day`` are
    before dosing. If a plate cannot be ranked, the other plates are still ranked. With an assay of
    some plates, a plate is ranked by deterioration if the calibration on the *other* measured
    plates is valid.

    Raises
    ------
    ProfileError
        If a table is not valid, or no plate can be ranked. No file is written.
    """
    options = _Options(baseline_day, readout_day, seed, settings)
    profiles = read_profiles(table)
    plates = trajectories_from_profiles(profiles, where=str(table))
    calibrations = None
    if assay is not None:
        calibrations = ProfileCalibrations(
            plates,
            read_assays(assay, plates),
            baseline_day=baseline_day,
            readout_day=readout_day,
            seed=seed,
        )
    ranking = ProfileRanking({}, {}, {}, profile_notes(profiles))
    for index, trajectories in enumerate(plates):
        others = [plates[other] for other in nearest_plates(index, len(plates))]
        try:
            ranked, why_departure = _rank_plate(trajectories, others, calibrations, options)
        except ProfileError as error:
            ranking.refused[trajectories.plate] = error
            continue
        ranking.tables[trajectories.plate] = ranked
        if why_departure:
            ranking.by_departure[trajectories.plate] = why_departure
    if not ranking.tables:
        problems = "; ".join(map(str, ranking.refused.values()))
        raise ProfileError(table, f"no plate can be ranked: {problems}")
    by_departure = ranking.tables if calibrations is None else ranking.by_departure
    write_tables(ranking.tables, out, set(ranking.tables) - set(by_departure))
    return ranking


@dataclass(frozen=True)
class _Options:
    """Options of a ranking that are equal for all plates."""

    baseline_day: int
    readout_day: int
    seed: int
    settings: DepartureSettings


def _rank_plate(
    trajectories: Trajectories,
    others: Sequence[Trajectories],
    calibrations: ProfileCalibrations | None,
    options: _Options,
) -> tuple[TreatmentTable, str]:
    """Return the ranking of one plate, and the reason if calibrations exist but none is valid.

    Other plates of the same encoder improve the estimate of the variation between untreated wells.
    """
    scored = score_plate(
        trajectories,
        dosing_day=options.baseline_day,
        readout_day=options.readout_day,
        seed=options.seed,
        others=[other for other in others if other.encoder_id == trajectories.encoder_id],
        settings=options.settings,
    )
    placement, why_departure = scored.placement, ""
    if calibrations is not None:
        placement, why_departure = calibrations.place(scored, trajectories)
    table = ranking_table(
        scored,
        placement,
        trajectories,
        dosing_day=options.baseline_day,
        readout_day=options.readout_day,
    )
    return table, why_departure


def nearest_plates(index: int, plates: int) -> list[int]:
    """Return the indices nearest to an index among a number of plates in the order of a table.

    At most :data:`MAX_OTHER_PLATES` indices are returned.
    """
    return sorted(
        (other for other in range(plates) if other != index), key=lambda other: abs(other - index)
    )[:MAX_OTHER_PLATES]


def write_tables(
    tables: Mapping[str, TreatmentTable], out: Path, by_deterioration: Collection[str]
) -> None:
    """Write TreatmentTables by plate to ``out`` and ``<out>-wells.csv``, some by deterioration.

    The first file has the treatments and the second the wells.

    Parameters
    ----------
    tables
        Ranking by plate.
    out
        Path of the first file.
    by_deterioration
        Plates that are ranked by deterioration.
    """
    methods = {
        plate: "deterioration" if plate in by_deterioration else "departure" for plate in tables
    }
    by_plate = [
        ({"plate": plate, "method": methods[plate]}, table) for plate, table in tables.items()
    ]
    out.parent.mkdir(parents=True, exist_ok=True)
    for path, text in (
        (out, treatments_csv(by_plate)),
        (out.with_name(f"{out.stem}-wells{out.suffix}"), wells_csv(by_plate)),
    ):
        path.write_text(text, encoding="utf-8")
