"""Read a table of profiles, CSV or Parquet, as the trajectories of its plates."""

import csv
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from inference.ranking.plate_ranking import RANKED_GROUPS
from schemas.arrays import Float64Array
from schemas.errors import ProfileError
from schemas.plate_map import parse_group
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
SCALE = "Metadata_UmPerPx"
"""Optional column: the scale of the image; features with and without one cannot be compared."""
NOT_A_NUMBER = ("", "nan", "na", "n/a", "null", "none", "<na>")
"""Lower-case texts of missing values."""


def read_profiles(table: Path) -> pd.DataFrame:
    """Return the profile table at the path of a CSV or Parquet file as a DataFrame.

    Values of a CSV remain text, so that well names such as 007 or NA are unchanged.

    Raises
    ------
    ProfileError
        If the file does not exist or is not a table.
    """
    try:
        if table.suffix.lower() == ".parquet":
            profiles = pd.read_parquet(table)
            _check_columns(list(map(str, profiles.columns)), table)
            return profiles
        _check_rows(table)
        return pd.read_csv(table, dtype=str, keep_default_na=False)
    except FileNotFoundError as error:
        raise ProfileError(table, "does not exist; expected a CSV or Parquet table") from error
    except (
        OSError,
        ValueError,
        csv.Error,
    ) as error:  # what pandas and pyarrow raise for a file that is no table are ValueErrors
        raise ProfileError(table, f"cannot be read as a table: {error}") from error


def profile_notes(profiles: pd.DataFrame) -> tuple[str, ...]:
    """Return notes, as texts, on treatments that a profile DataFrame writes in several ways."""
    texts = profiles[TREATMENT].astype("string").fillna("").unique()
    return spelling_notes(str(parse_treatment(text)) for text in texts)


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
    _check_scales(profiles, where)
    labels = _parse_metadata(profiles, where)
    features = np.column_stack([_parse_feature(profiles[name], where) for name in names])
    rows_of = labels.groupby(PLATE, sort=False).indices
    return [
        _plate_trajectories(str(plate), labels.iloc[rows], features[rows], tuple(names), where)
        for plate, rows in rows_of.items()
    ]


def _check_scales(profiles: pd.DataFrame, where: str) -> None:
    """Raise ProfileError if some rows have a scale and others have none."""
    if SCALE not in profiles.columns:
        return
    texts = profiles[SCALE].astype("string").fillna("").str.strip().str.lower()
    has_none = texts.isin(NOT_A_NUMBER).to_numpy()
    if has_none.any() and not has_none.all():
        row = int(has_none.argmax())
        other = int((~has_none).argmax())
        raise ProfileError(
            where,
            f"row {row + 1} has no {SCALE} and row {other + 1} has {texts.iloc[other]}; expected a "
            "scale in all rows or in none, because features in µm and in pixels cannot be compared",
        )


def _check_rows(table: Path) -> None:
    """Raise ProfileError unless every row of a CSV file has as many values as its header.

    Pandas would fill a short row, and read the first values of long rows as names of the rows.
    """
    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file)
        header = next(rows, [])
        _check_columns(header, table)
        number = 0
        for row in rows:
            if not "".join(row).strip() and len(row) != len(header):
                continue  # a blank line
            number += 1
            if len(row) != len(header):
                raise ProfileError(
                    table, f"row {number}: {len(row)} values; expected {len(header)}, one a column"
                )


def _check_columns(names: list[str], table: Path) -> None:
    """Raise ProfileError if two columns have one name."""
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ProfileError(
            table, f"has the column {', '.join(repeated)} twice; expected each column once"
        )


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
    labels[TREATMENT] = labels[TREATMENT].map(treatment_names(labels[TREATMENT]))
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
