"""Ranking of every plate of a profile table, without images, encoder or store."""

import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from inference.departure.departures import DEFAULT_DEPARTURE_SETTINGS, DepartureSettings
from inference.departure.reduced_space import MAX_OTHER_PLATES
from inference.profile_assays import ProfileCalibrations, read_assays
from inference.ranking.plate_ranking import RANKED_GROUPS, ranking_table, score_plate
from schemas.arrays import Float64Array
from schemas.errors import ProfileError
from schemas.plate_map import parse_group
from schemas.ranking import TreatmentTable
from schemas.tables import treatments_csv, wells_csv
from schemas.trajectory import Trajectories
from schemas.treatment import parse_treatment, spelling_notes, treatment_names
from schemas.well import is_well, parse_well

METADATA = (
    "Metadata_Plate",
    "Metadata_Well",
    "Metadata_Day",
    "Metadata_Group",
    "Metadata_Treatment",
)
"""Required columns of a profile table."""
PLATE, WELL, DAY, GROUP, TREATMENT = METADATA
ENCODER = "Metadata_EncoderId"
"""Optional column. The features of a row with an encoder id are an embedding, whose values share
one unit; other features are measures, each with its own unit.
"""
DEFAULT_SEED = 0
"""Seed of the random draws."""
NOT_A_NUMBER = ("", "nan", "na", "n/a", "null", "none", "<na>")
"""Lower-case texts of missing values."""


@dataclass(frozen=True, eq=False)
class ProfileRanking:
    """Rankings of the plates of a table, and errors of plates that could not be ranked."""

    tables: dict[str, TreatmentTable]
    """Ranking by plate."""
    refused: dict[str, ProfileError]
    """Error by plate, for plates that could not be ranked."""
    by_departure: dict[str, str]
    """Reason by plate why a plate is ranked by departure although an assay was given."""


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
    plates = trajectories_from_profiles(read_profiles(table), where=str(table))
    calibrations = None
    if assay is not None:
        calibrations = ProfileCalibrations(
            plates,
            read_assays(assay, plates),
            baseline_day=baseline_day,
            readout_day=readout_day,
            seed=seed,
        )
    ranking = ProfileRanking({}, {}, {})
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


def read_profiles(table: Path) -> pd.DataFrame:
    """Read a profile table from a CSV or Parquet file into a DataFrame.

    Values of a CSV remain text, so that well names such as 007 or NA are unchanged.

    Raises
    ------
    ProfileError
        If the file does not exist or is not a table.
    """
    try:
        if table.suffix.lower() == ".parquet":
            return pd.read_parquet(table)
        return pd.read_csv(table, dtype=str, keep_default_na=False)
    except FileNotFoundError as error:
        raise ProfileError(table, "does not exist; expected a CSV or Parquet table") from error
    except (
        OSError,
        ValueError,
    ) as error:  # what pandas and pyarrow raise for a file that is no table are ValueErrors
        raise ProfileError(table, f"cannot be read as a table: {error}") from error


def trajectories_from_profiles(profiles: pd.DataFrame, *, where: str) -> list[Trajectories]:
    """Return the Trajectories of each plate of a profile DataFrame, in order of first appearance.

    Every column whose name does not start with ``Metadata_`` is a feature.

    Parameters
    ----------
    profiles
        The profile table.
    where
        Name of the table, for error messages.

    Raises
    ------
    ProfileError
        If the table is not valid. The message names column, row, value and expectation.
    """
    if missing := [column for column in METADATA if column not in profiles.columns]:
        raise ProfileError(
            where,
            f"has no column {', '.join(missing)}; expected {', '.join(METADATA)} and features",
        )
    if profiles.empty:
        raise ProfileError(where, "has no rows; expected one row for each well and day")
    names = [str(column) for column in profiles.columns if not str(column).startswith("Metadata_")]
    if not names:
        raise ProfileError(
            where, "has no feature; expected columns that do not start with Metadata_"
        )
    labels = _parse_metadata(profiles, where)
    features = np.column_stack([_parse_feature(profiles[name], where) for name in names])
    rows_of = labels.groupby(PLATE, sort=False).indices
    return [
        _plate_trajectories(str(plate), labels.iloc[rows], features[rows], tuple(names), where)
        for plate, rows in rows_of.items()
    ]


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


def _parse_metadata(profiles: pd.DataFrame, where: str) -> pd.DataFrame:
    """Return the validated metadata columns: plate, well, day, group, treatment, encoder.

    Days are int, groups are :class:`Group`, treatments are canonical text.
    """
    labels = (
        profiles.reindex(columns=[*METADATA, ENCODER])
        .astype("string")
        .fillna("")
        .reset_index(drop=True)
    )
    for column, parse in (
        (PLATE, _parse_name),
        (WELL, parse_profile_well),
        (DAY, _parse_day),
        (GROUP, parse_group),
        (TREATMENT, lambda text: str(parse_treatment(text))),
    ):
        labels[column] = _parse_column(labels[column], parse, where)
    treated = labels[GROUP].isin(RANKED_GROUPS)
    if (missing := treated & (labels[TREATMENT] == "")).any():
        row = int(missing.to_numpy().argmax())
        raise ProfileError(
            where,
            f"row {row + 1}: group {labels[GROUP][row]} has no {TREATMENT}; "
            "expected one, such as gemcitabine:1 uM",
        )
    keys = labels[[PLATE, WELL, DAY]]
    if (repeated := keys.duplicated()).any():
        plate, well, day = keys[repeated].iloc[0]
        count = int((keys == (plate, well, day)).all(axis=1).sum())
        raise ProfileError(
            where, f"plate {plate}, well {well}, day {day} is in {count} rows; expected one"
        )
    return labels


def _parse_column(column: pd.Series, parse: Callable[[str], object], where: str) -> pd.Series:
    """Parse each distinct text of a column once; raise ProfileError for the first that fails."""
    values = {}
    for row, text in column.drop_duplicates().items():
        try:
            values[text] = parse(str(text).strip())
        except ValueError as error:
            raise ProfileError(
                where, f"row {int(str(row)) + 1}, column {column.name}: {error}"
            ) from error
    return column.map(values).astype(object)


def parse_profile_well(text: str) -> str:
    """Return the name of a well of a profile table: ``B02`` for ``b2``, other text unchanged.

    Raises
    ------
    ValueError
        If the text is empty.
    """
    return parse_well(text) if is_well(text) else _parse_name(text)


def _parse_name(text: str) -> str:
    """Return a name in Unicode form NFC; raise ValueError if it is empty."""
    if not text:
        raise ValueError("is empty; expected a name")
    return unicodedata.normalize("NFC", text)


def _parse_day(text: str) -> int:
    """Return a day as a number; raise ValueError if it is not a whole number."""
    number = float(text) if text.replace(".", "", 1).isdecimal() else None
    if number is None or not number.is_integer():
        raise ValueError(f"{text!r} is not a day; expected a whole number")
    return int(number)


def _parse_feature(column: pd.Series, where: str) -> Float64Array:
    """Return a feature column as floats with NaN for missing values.

    Raise ProfileError for any other text that is not a number.
    """
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    text = column.astype("string").fillna("").str.strip().str.lower()
    wrong = np.isnan(numbers) & ~text.isin(NOT_A_NUMBER).to_numpy(dtype=bool)
    if wrong.any():
        row = int(wrong.argmax())
        raise ProfileError(
            where,
            f"row {row + 1}, column {column.name}: {column.iloc[row]!r} is not a number; "
            "expected a number, or a column name that starts with Metadata_",
        )
    return numbers


def _plate_trajectories(
    plate: str,
    labels: pd.DataFrame,
    features: Float64Array,
    names: tuple[str, ...],
    where: str,
) -> Trajectories:
    """Return the trajectories of one plate from its rows.

    Raise ProfileError if a well has two labels, or the plate has two encoders.
    """
    wells = labels.drop_duplicates([WELL, GROUP, TREATMENT])
    if (repeated := wells[WELL].duplicated()).any():
        well = wells[WELL][repeated].iloc[0]
        labelled = " and ".join(
            f"{row[GROUP]} {row[TREATMENT]!r}" for _, row in wells[wells[WELL] == well].iterrows()
        )
        raise ProfileError(
            where,
            f"plate {plate}, well {well} is {labelled}; "
            "expected one group and treatment on all days",
        )
    if len(encoders := sorted(labels[ENCODER].unique())) > 1:
        found = ", ".join(map(repr, encoders))
        raise ProfileError(
            where, f"plate {plate} has features of the encoders {found}; expected one"
        )
    days = sorted(labels[DAY].unique())
    by_well_and_day = np.full((len(wells), len(days), len(names)), np.nan)
    by_well_and_day[
        pd.Index(wells[WELL]).get_indexer(labels[WELL]), pd.Index(days).get_indexer(labels[DAY])
    ] = features
    return Trajectories(
        plate=plate,
        wells=tuple(wells[WELL]),
        groups=tuple(wells[GROUP]),
        treatments=tuple(wells[TREATMENT]),
        days=tuple(map(int, days)),
        features=by_well_and_day,
        feature_names=names,
        embedding_dimension=len(names) if encoders[0] else 0,
        encoder_id=str(encoders[0]),
    )
