"""Any profile table in, a ranking of every plate in it out: no image, encoder or store is needed."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from inference.departure.reduced_space import MAX_OTHER_PLATES
from inference.profile_assays import ProfileCalibrations, read_assays
from inference.ranking.plate_ranking import RANKED_GROUPS, RankSettings, rank_plate
from inference.ranking.reasons import with_reasons
from schemas.errors import ProfileError
from schemas.plate_map import Group
from schemas.ranking import TreatmentTable
from schemas.tables import treatments_csv, wells_csv
from schemas.trajectory import Trajectories
from schemas.treatment import parse_treatment

METADATA = (
    "Metadata_Plate",
    "Metadata_Well",
    "Metadata_Day",
    "Metadata_Group",
    "Metadata_Treatment",
)
PLATE, WELL, DAY, GROUP, TREATMENT = METADATA
ENCODER = "Metadata_EncoderId"
"""Optional: the features of such a row are an embedding, whose values share one unit; other features are each taken in their own."""
DEFAULT_SEED = 0
NOT_A_NUMBER = ("", "nan", "na", "n/a", "null", "none", "<na>")


@dataclass(frozen=True, eq=False)
class ProfileRanking:
    """What became of each plate of a table; a plate is in exactly one of the two."""

    tables: dict[str, TreatmentTable]
    refused: dict[str, ProfileError]
    by_departure: dict[str, str]  # with an assay: why a plate is ranked by departure all the same


def rank_profiles(
    table: Path,
    *,
    baseline_day: int,
    readout_day: int,
    out: Path,
    seed: int = DEFAULT_SEED,
    settings: RankSettings | None = None,
    assay: Path | None = None,
) -> ProfileRanking:
    """Rank every plate of a CSV or Parquet table and write ``out`` (treatments) and ``<out>-wells.csv``, both with a ``plate`` column.

    Days up to ``baseline_day`` are from before dosing. A plate that cannot be ranked does not keep the others from it. With an assay of some plates, a
    plate is ranked by the deterioration that the *other* measured plates teach, where these suffice.

    Raises
    ------
    ProfileError
        If a table cannot be read or says two things at once, or if no plate of it can be ranked; the files are then not written.
    """
    ranking = ProfileRanking({}, {}, {})
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
    for place, trajectories in enumerate(plates):
        others = [
            plates[other]
            for other in nearest_plates(place, len(plates))
            if plates[other].encoder_id == trajectories.encoder_id
        ]
        try:
            ranked = rank_plate(
                trajectories,
                dosing_day=baseline_day,
                readout_day=readout_day,
                seed=seed,
                others=others,
                settings=settings,
            )
            if calibrations is not None:
                ranked, why_not = calibrations.place(ranked, trajectories)
                if why_not:
                    ranking.by_departure[trajectories.plate] = why_not
            ranking.tables[trajectories.plate] = with_reasons(
                ranked, trajectories, dosing_day=baseline_day, readout_day=readout_day
            )
        except ProfileError as error:
            ranking.refused[trajectories.plate] = error
    if not ranking.tables:
        raise ProfileError(
            table, "no plate can be ranked: " + "; ".join(map(str, ranking.refused.values()))
        )
    by_deterioration = (
        set(ranking.tables) - set(ranking.by_departure) if calibrations is not None else set()
    )
    write_tables(ranking.tables, out, by_deterioration)
    return ranking


def nearest_plates(place: int, plates: int) -> list[int]:
    """Return the places of the plates of a table nearest to one of them, :data:`MAX_OTHER_PLATES` at most."""
    return sorted(
        (other for other in range(plates) if other != place), key=lambda other: abs(other - place)
    )[:MAX_OTHER_PLATES]


def read_profiles(table: Path) -> pd.DataFrame:
    """Read a profile table; a CSV's values stay text, so that a well named 007 or NA keeps its name and a bad number its spelling."""
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
    """Return the trajectories of each plate of a table, in the order of first appearance.

    Every column that does not start with ``Metadata_`` is a feature.

    Raises
    ------
    ProfileError
        With the column, row and value that do not fit, and what was expected.
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
    """Write one row a treatment to ``out`` and one a well to ``<out>-wells.csv``; lists are joined by blanks."""
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
    """Return the checked metadata columns with a plain index: plate, well, day (int), group (Group), treatment (canonical text), encoder."""
    labels = (
        profiles.reindex(columns=[*METADATA, ENCODER])
        .astype("string")
        .fillna("")
        .reset_index(drop=True)
    )
    for column, read in (
        (PLATE, _parse_name),
        (WELL, _parse_name),
        (DAY, _parse_day),
        (GROUP, Group),
        (TREATMENT, lambda text: str(parse_treatment(text))),
    ):
        labels[column] = _parse_column(labels[column], read, where)
    treated = labels[GROUP].isin(RANKED_GROUPS)
    if (bare := treated & (labels[TREATMENT] == "")).any():
        row = int(bare.to_numpy().argmax())
        raise ProfileError(
            where,
            f"row {row + 1}: group {labels[GROUP][row]} has no {TREATMENT}; expected one, such as gemcitabine:1 uM",
        )
    keys = labels[[PLATE, WELL, DAY]]
    if (again := keys.duplicated()).any():
        plate, well, day = keys[again].iloc[0]
        raise ProfileError(
            where,
            f"plate {plate}, well {well}, day {day} stands in {int((keys == (plate, well, day)).all(axis=1).sum())} rows; expected one",
        )
    return labels


def _parse_column(column: pd.Series, read: Callable[[str], object], where: str) -> pd.Series:
    """Read each different text once; name column, row and value of the first that does not read."""
    values = {}
    for row, text in column.drop_duplicates().items():
        try:
            values[text] = read(str(text).strip())
        except ValueError as error:
            expected = f"; expected one of {', '.join(Group)}" if column.name == GROUP else ""
            raise ProfileError(
                where, f"row {int(str(row)) + 1}, column {column.name}: {error}{expected}"
            ) from error
    return column.map(values).astype(object)


def _parse_name(text: str) -> str:
    if not text:
        raise ValueError("is empty; expected a name")
    return text


def _parse_day(text: str) -> int:
    number = float(text) if text.replace(".", "", 1).isdecimal() else None
    if number is None or not number.is_integer():
        raise ValueError(f"{text!r} is not a day; expected a whole number")
    return int(number)


def _parse_feature(column: pd.Series, where: str) -> npt.NDArray[np.float64]:
    """Return a feature as floats; empty and NA are NaN, anything else that is no number is an error."""
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    text = column.astype("string").fillna("").str.strip().str.lower()
    wrong = np.isnan(numbers) & ~text.isin(NOT_A_NUMBER).to_numpy(dtype=bool)
    if wrong.any():
        row = int(wrong.argmax())
        raise ProfileError(
            where,
            f"row {row + 1}, column {column.name}: {column.iloc[row]!r} is not a number; name a column that is no feature Metadata_…",
        )
    return numbers


def _plate_trajectories(
    plate: str,
    labels: pd.DataFrame,
    features: npt.NDArray[np.float64],
    names: tuple[str, ...],
    where: str,
) -> Trajectories:
    """Lay the rows of one plate out as wells × days."""
    wells = labels.drop_duplicates([WELL, GROUP, TREATMENT])
    if (twice := wells[WELL].duplicated()).any():
        well = wells[WELL][twice].iloc[0]
        said = " and ".join(
            f"{row[GROUP]} {row[TREATMENT]!r}" for _, row in wells[wells[WELL] == well].iterrows()
        )
        raise ProfileError(
            where,
            f"plate {plate}, well {well} is {said}; expected one group and treatment on all days",
        )
    if len(encoders := sorted(labels[ENCODER].unique())) > 1:
        raise ProfileError(
            where,
            f"plate {plate} has features of the encoders {', '.join(map(repr, encoders))}; expected one",
        )
    days = sorted(labels[DAY].unique())
    laid_out = np.full((len(wells), len(days), len(names)), np.nan)
    laid_out[
        pd.Index(wells[WELL]).get_indexer(labels[WELL]), pd.Index(days).get_indexer(labels[DAY])
    ] = features
    return Trajectories(
        plate=plate,
        wells=tuple(wells[WELL]),
        groups=tuple(wells[GROUP]),
        treatments=tuple(wells[TREATMENT]),
        days=tuple(map(int, days)),
        features=laid_out,
        feature_names=names,
        embedding_dimension=len(names) if encoders[0] else 0,
        encoder_id=str(encoders[0]),
    )
