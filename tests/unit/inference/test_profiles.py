from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from inference.profile_tables import read_profiles, trajectories_from_profiles
from inference.profiles import rank_profiles
from schemas.errors import ProfileError
from schemas.trajectory import Trajectories
from tests.known_plates import plate
from tests.real_data import real_data


def table_of(*plates: Trajectories) -> pd.DataFrame:
    """Return a profile table with rows in random order and free text as well names."""
    rows = [
        {
            "Metadata_Plate": each.plate,
            "Metadata_Well": f"well/{name} of mine",
            "Metadata_Day": day,
            "Metadata_Group": str(each.groups[well]),
            "Metadata_Treatment": each.treatments[well],
            "Metadata_Operator": "ignored",
            **dict(zip(each.feature_names, each.features[well, column], strict=True)),
        }
        for each in plates
        for well, name in enumerate(each.wells)
        for column, day in enumerate(each.days)
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=1)


def written(table: pd.DataFrame, folder: Path, suffix: str = ".csv") -> Path:
    path = folder / f"profiles{suffix}"
    table.to_csv(path, index=False) if suffix == ".csv" else table.to_parquet(path)
    return path


def rank(table: pd.DataFrame, folder: Path, suffix: str = ".csv") -> pd.DataFrame:
    rank_profiles(
        written(table, folder, suffix), baseline_day=7, readout_day=10, out=folder / "R.csv"
    )
    return pd.read_csv(folder / "R.csv")


def test_treatments_and_wells_are_written_with_their_plate(tmp_path: Path) -> None:
    treatments = rank(table_of(plate((0.0, 0.5, 1.0), features=8)), tmp_path)
    wells = pd.read_csv(tmp_path / "R-wells.csv")
    assert treatments.treatment.tolist() == ["drug2:1 uM", "drug1:1 uM", "drug0:1 uM"]
    assert set(treatments.plate) == set(wells.plate) == {"P1"}
    assert treatments.columns[0] == wells.columns[0] == "plate"
    assert len(wells) == 27
    assert wells.well.str.startswith("well/").all()


def test_csv_and_parquet_of_one_table_give_one_ranking(tmp_path: Path) -> None:
    table = table_of(plate(features=8))
    pd.testing.assert_frame_equal(
        rank(table, tmp_path, ".csv"), rank(table, tmp_path, ".parquet"), rtol=1e-6
    )


def test_well_names_and_days_are_read_as_text(tmp_path: Path) -> None:
    table = table_of(plate(features=8))
    table["Metadata_Well"] = table.Metadata_Well.map(
        {name: f"{number:03d}" for number, name in enumerate(table.Metadata_Well.unique())}
    )
    table.loc[table.Metadata_Well == "005", "Metadata_Well"] = "NA"
    table["Metadata_Day"] = table.Metadata_Day.map({7: "7", 10: "10.0"})
    rank(table, tmp_path)
    wells = pd.read_csv(tmp_path / "R-wells.csv", dtype=str, keep_default_na=False).well
    assert {"001", "NA"} <= set(wells)


def test_features_with_an_encoder_id_are_one_embedding(
    tmp_path: Path,
) -> None:
    trajectories = plate(features=60, encoder_id="e")
    table = table_of(trajectories).assign(Metadata_EncoderId="e")
    (read,) = trajectories_from_profiles(read_profiles(written(table, tmp_path)), where="t")
    assert read.encoder_id == "e"


def test_if_one_plate_cannot_be_ranked_the_others_are_ranked(tmp_path: Path) -> None:
    good, bad = plate(features=8), plate(features=8, untreated=2)
    table = pd.concat([table_of(good), table_of(bad).assign(Metadata_Plate="P2")])
    ranking = rank_profiles(
        written(table, tmp_path), baseline_day=7, readout_day=10, out=tmp_path / "R.csv"
    )
    assert list(ranking.tables) == ["P1"]
    assert "2 untreated wells" in str(ranking.refused["P2"])
    with pytest.raises(ProfileError, match="no plate can be ranked: P2: 2 untreated"):
        rank_profiles(
            written(table[table.Metadata_Plate == "P2"], tmp_path),
            baseline_day=7,
            readout_day=10,
            out=tmp_path / "none.csv",
        )
    assert not (tmp_path / "none.csv").exists()


def first(table: pd.DataFrame, column: str, value: object) -> pd.DataFrame:
    return (
        table.astype({column: object})
        .reset_index(drop=True)
        .pipe(
            lambda each: each.where(~((each.index == 0)[:, None] & (each.columns == column)), value)
        )
    )


@pytest.mark.parametrize(
    ("corrupt", "message"),
    [
        (lambda table: table.drop(columns="Metadata_Day"), "has no column Metadata_Day"),
        (lambda table: table.iloc[:0], "has no rows"),
        (
            lambda table: table.drop(
                columns=[name for name in table if name.startswith("feature")]
            ),
            "has no feature",
        ),
        (
            lambda table: first(table, "Metadata_Group", "control"),
            "row 1, column Metadata_Group: group is 'control'; expected 'untreated', 'single_dose'",
        ),
        (
            lambda table: first(table, "Metadata_Treatment", "aspirin"),
            "row 1, column Metadata_Treatment: .*'aspirin' does not parse",
        ),
        (
            lambda table: first(table, "Metadata_Day", "monday"),
            "row 1, column Metadata_Day: 'monday' is not a day",
        ),
        (
            lambda table: first(table, "Metadata_Day", "7.5"),
            "row 1, column Metadata_Day: '7.5' is not a day",
        ),
        (lambda table: first(table, "Metadata_Well", " "), "row 1, column Metadata_Well: is empty"),
        (
            lambda table: first(table, "feature_3", "dark"),
            "row 1, column feature_3: 'dark' is not a number",
        ),
        (
            lambda table: pd.concat([table, table.iloc[[4]]]),
            "plate P1, well well/... of mine, day .* is in 2 rows; expected one",
        ),
        (
            lambda table: pd.concat(
                [
                    table.assign(Metadata_Well=table.Metadata_Well.str.slice(5, 8)),
                    table.iloc[[4]].assign(
                        Metadata_Well=lambda row: (
                            row.Metadata_Well.str[5].str.lower()
                            + row.Metadata_Well.str[6:8].str.lstrip("0")
                        ),
                        Metadata_Day=lambda row: row.Metadata_Day.astype(float),
                    ),
                ]
            ),
            "plate P1, well ..., day .* is in 2 rows; expected one",
        ),
        (
            lambda table: first(table, "Metadata_Treatment", "drug9:1 uM"),
            "well well/... of mine is .* and .*; expected one group and treatment",
        ),
        (
            lambda table: table.assign(Metadata_Treatment=""),
            "row .*: group screening has no Metadata_Treatment",
        ),
        (
            lambda table: table.assign(Metadata_EncoderId=["a", *["b"] * (len(table) - 1)]),
            "plate P1 has features of the encoders 'a', 'b'; expected one",
        ),
        (
            lambda table: table.assign(Metadata_UmPerPx=["1.36", "", *["1.36"] * (len(table) - 2)]),
            "row 2 has no Metadata_UmPerPx and row 1 has 1.36; expected a scale in all rows or in",
        ),
    ],
)
def test_an_error_in_a_table_is_refused_with_its_place(
    corrupt: Callable[[pd.DataFrame], pd.DataFrame], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ProfileError, match=message):
        rank(corrupt(table_of(plate(features=8))), tmp_path)


def respelled(table: pd.DataFrame) -> pd.DataFrame:
    """Write wells, days, groups and treatments of the readout day in another way."""
    other = (table.Metadata_Day == 10).to_numpy()
    changed = table.astype({"Metadata_Day": object})
    changed.loc[other, "Metadata_Well"] = [
        f"{well[0].lower()}{int(well[1:])}" for well in table.Metadata_Well[other]
    ]
    changed.loc[other, "Metadata_Day"] = "10.0"
    changed.loc[other, "Metadata_Group"] = table.Metadata_Group[other].str.title()
    changed.loc[other, "Metadata_Treatment"] = (
        table.Metadata_Treatment[other]
        .str.replace("1 uM", "1000 nM")
        .str.upper()
        .str.replace("1000 NM", "1000 nM")
    )
    return changed


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_wells_days_groups_and_treatments_in_two_writings_are_one(
    tmp_path: Path, suffix: str
) -> None:
    table = table_of(plate(features=8))
    table["Metadata_Well"] = table.Metadata_Well.str.slice(5, 8)
    expected = rank(table, tmp_path, suffix)
    expected_wells = pd.read_csv(tmp_path / "R-wells.csv")
    changed = respelled(table).astype({"Metadata_Day": str})
    pd.testing.assert_frame_equal(rank(changed, tmp_path, suffix)[expected.columns], expected)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "R-wells.csv"), expected_wells)
    assert "B02" in set(expected_wells.well)


def test_treatments_in_two_writings_are_noted(tmp_path: Path) -> None:
    table = table_of(plate(features=8)).sort_values(["Metadata_Treatment", "Metadata_Day"])
    later = (table.Metadata_Treatment == "drug0:1 uM") & (table.Metadata_Day == 10)
    table.loc[later, "Metadata_Treatment"] = "DRUG0:1000 nM"
    found = rank_profiles(
        written(table, tmp_path), baseline_day=7, readout_day=10, out=tmp_path / "R.csv"
    )
    assert found.notes == (
        "'drug0' and 'DRUG0' are read as one compound, drug0.",
        "'1 uM' and '1000 nM' of drug0 are one dose.",
    )


@pytest.mark.parametrize(
    ("corrupt", "message"),
    [
        (lambda text: text.replace("feature_3", "feature_2", 1), "has the column feature_2 twice"),
        (
            lambda text: text.replace("Metadata_Operator", "Metadata_Well", 1),
            "has the column Metadata_Well twice; expected each column once",
        ),
        (
            lambda text: text.replace("\n", ",1\n").replace(",1\n", "\n", 1),
            r"row 1: 15 values; expected 14, one a column",
        ),
        (lambda text: text.rstrip().rpartition(",")[0], r"row 54: 13 values; expected 14"),
        (lambda text: text + text.splitlines()[1] + ",1,2\n", r"row 55: 16 values; expected 14"),
    ],
    ids=["feature twice", "well twice", "shifted", "cut off", "one long row"],
)
def test_a_csv_whose_values_do_not_fit_its_columns_is_refused(
    corrupt: Callable[[str], str], message: str, tmp_path: Path
) -> None:
    path = written(table_of(plate(features=8)), tmp_path)
    path.write_text(corrupt(path.read_text()))
    with pytest.raises(ProfileError, match=message):
        read_profiles(path)


def test_a_file_that_is_no_table_is_refused_by_name(tmp_path: Path) -> None:
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"not parquet")
    for path in (broken, tmp_path / "missing.csv", tmp_path):
        with pytest.raises(ProfileError, match=path.name):
            read_profiles(path)


def test_empty_and_infinite_values_count_as_missing(tmp_path: Path) -> None:
    table = first(first(table_of(plate(features=8)), "feature_1", "inf"), "feature_2", "")
    assert len(rank(table, tmp_path)) == 3


def test_the_real_time_course_reaches_the_documented_correlation(tmp_path: Path) -> None:
    folder = real_data("real_time_course")
    rank_profiles(
        folder / "a673_profiles.csv", baseline_day=0, readout_day=2, out=tmp_path / "R.csv"
    )
    wells = pd.read_csv(tmp_path / "R-wells.csv")
    viability = pd.read_csv(folder / "a673_viability.csv")
    both = wells.merge(
        viability, left_on=["plate", "well"], right_on=["Metadata_Plate", "Metadata_Well"]
    ).dropna(subset="score")
    assert len(both) >= 285  # of 291; a few are pre-dose outliers
    assert spearmanr(both.score, 100 - both.viability_percent).statistic >= 0.72
    dead = both.viability_percent < 50
    higher = np.subtract.outer(both.score[dead].to_numpy(), both.score[~dead].to_numpy())
    assert (higher > 0).mean() >= 0.95  # AUC
