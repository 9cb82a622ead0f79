from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from inference.profile_assays import read_assays
from inference.profile_tables import read_profiles, trajectories_from_profiles
from inference.profiles import rank_profiles
from schemas.errors import ProfileError

KILLS = (0.0, 0.2, 0.4, 0.6, 0.8)


def profiles(plates: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a profile table whose wells lose area or darken as they die, and an assay."""
    rows, assay = [], []
    for number in range(plates):
        rng = np.random.default_rng(number)
        darkness = rng.uniform(0.5, 1.5)
        for well in range(30):
            kill = 0.0 if well < 15 else KILLS[(well - 15) % 5]
            labels = (
                ("untreated", "") if well < 15 else ("screening", f"drug{(well - 15) % 5}:1 uM")
            )
            size, dark = np.exp(rng.normal(0, 0.05)), np.exp(rng.normal(0, 0.05))
            for day, lost in ((7, 0.0), (10, kill)):
                grown = 1.0 if day == 7 else 2.0
                features = (
                    1000 * size * grown * (1 - 0.8 * lost),
                    darkness * dark * (1 + lost),
                    rng.normal(),
                )
                rows.append((f"P{number}", f"W{well}", day, *labels, *features))
            assay.append((f"P{number}", f"W{well}", 100 * (1 - kill) + rng.normal(0, 1.0) + 2))
    names = [
        "Metadata_Plate",
        "Metadata_Well",
        "Metadata_Day",
        "Metadata_Group",
        "Metadata_Treatment",
        "area",
        "darkness",
        "noise",
    ]
    return pd.DataFrame(rows, columns=names), pd.DataFrame(
        assay, columns=["Metadata_Plate", "Metadata_Well", "viability_percent"]
    )


def written(folder: Path, plates: int) -> tuple[Path, Path]:
    table, assay = profiles(plates)
    table.to_csv(folder / "T.csv", index=False)
    assay.to_csv(folder / "V.csv", index=False)
    return folder / "T.csv", folder / "V.csv"


@pytest.mark.slow
def test_plates_are_ranked_by_deterioration_calibrated_on_other_plates(tmp_path: Path) -> None:
    table, assay = written(tmp_path, 5)
    ranking = rank_profiles(
        table, baseline_day=7, readout_day=10, out=tmp_path / "R.csv", assay=assay
    )
    assert ranking.by_departure == {}
    wells = pd.read_csv(tmp_path / "R-wells.csv").merge(
        pd.read_csv(assay), left_on=["plate", "well"], right_on=["Metadata_Plate", "Metadata_Well"]
    )
    assert set(wells.method) == {"deterioration"}
    measured = (100 - wells.viability_percent).clip(lower=0)
    treated = wells.group == "screening"
    assert spearmanr(wells.deterioration_percent[treated], measured[treated]).statistic > 0.9
    assert (wells.deterioration_percent - measured).abs().mean() < 8
    assert (
        (wells.deterioration_low <= measured) & (measured <= wells.deterioration_high)
    ).mean() > 0.8
    treatments = pd.read_csv(tmp_path / "R.csv")
    assert list(treatments[treatments.plate == "P0"].treatment) == [
        f"drug{number}:1 uM" for number in (4, 3, 2, 1, 0)
    ]


def test_with_too_few_measured_wells_the_ranking_is_by_departure_with_the_reason(
    tmp_path: Path,
) -> None:
    table, assay = written(tmp_path, 2)
    pd.read_csv(assay).groupby("Metadata_Plate").tail(5).to_csv(assay, index=False)
    ranking = rank_profiles(
        table, baseline_day=7, readout_day=10, out=tmp_path / "R.csv", assay=assay
    )
    assert set(ranking.by_departure.values()) == {
        "5 measured wells with images; expected at least 12 on fewer than 4 assay plates"
    }
    assert set(pd.read_csv(tmp_path / "R.csv").method) == {"departure"}


def test_one_other_measured_plate_gives_percentages_that_are_driven_by_the_prior(
    tmp_path: Path,
) -> None:
    table, assay = written(tmp_path, 2)
    rank_profiles(table, baseline_day=7, readout_day=10, out=tmp_path / "R.csv", assay=assay)
    treatments, wells = pd.read_csv(tmp_path / "R.csv"), pd.read_csv(tmp_path / "R-wells.csv")
    assert set(treatments.method) == {"deterioration"}
    assert set(treatments.percent_basis) == {"prior"}
    assert set(wells.percent_basis.dropna()) == {"prior"}


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([("P9", "W0", "50")], "line 2: plate P9, well W0 is not in the profiles"),
        ([("P0", "X1", "50")], "line 2: plate P0, well X01 is not in the profiles"),
        ([("P0", "W0", "50"), ("P0", "W0", "60")], "line 3: plate P0, well W0 occurs twice"),
        ([("P0", "W0", "-1")], "viability_percent is -1; expected 0 to 200"),
        ([("P0", "W0", "201")], "viability_percent is 201; expected 0 to 200"),
        ([("P0", "W0", "")], "viability_percent '' is not a number; expected 0 to 200"),
        ([("P0", "W0", "nan")], "viability_percent 'nan' is not a number; expected 0 to 200"),
    ],
)
def test_a_wrong_row_is_named_with_its_value(
    tmp_path: Path, rows: list[tuple[str, str, str]], problem: str
) -> None:
    table, assay = written(tmp_path, 1)
    pd.DataFrame(rows, columns=["plate", "well", "viability_percent"]).to_csv(assay, index=False)
    with pytest.raises(ProfileError, match=r"V\.csv") as raised:
        read_assays(assay, trajectories_from_profiles(read_profiles(table), where="T"))
    assert problem in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        "plate,well,viability_percent\nP0,b2,87.5\nP0,W1,12\n",
        "Metadata_Well;Plate;Viability percent;operator\rB02;P0;87,5 %;x\rW1;P0;12;y\r",
        'plate\twell\tviability_percent\nP0\tB2\t"87,500"\nP0\tW1\t12%\n',
    ],
)
def test_an_assay_is_read_in_any_usual_form(tmp_path: Path, text: str) -> None:
    table, assay = profiles(1)[0], tmp_path / "V.csv"
    table["Metadata_Well"] = table.Metadata_Well.replace("W0", "B2")
    table.to_csv(tmp_path / "T.csv", index=False)
    assay.write_bytes(text.encode("utf-16"))
    plates = trajectories_from_profiles(read_profiles(tmp_path / "T.csv"), where="T")
    assert read_assays(assay, plates) == {"P0": {"B02": 12.5, "W01": 88.0}}


def test_an_assay_with_a_column_twice_is_refused(tmp_path: Path) -> None:
    table, assay = written(tmp_path, 1)
    plates = trajectories_from_profiles(read_profiles(table), where="T")
    assay.write_text("plate,Metadata_Plate,well,viability_percent\nP0,P0,W0,50\n")
    with pytest.raises(ProfileError, match="plate twice; expected plate,well,viability_percent"):
        read_assays(assay, plates)


def test_a_missing_column_or_file_is_named(tmp_path: Path) -> None:
    table, assay = written(tmp_path, 1)
    plates = trajectories_from_profiles(read_profiles(table), where="T")
    assay.write_text("well,viability_percent\nW0,50\n")
    with pytest.raises(ProfileError, match="expected plate,well,viability_percent"):
        read_assays(assay, plates)
    with pytest.raises(ProfileError, match="does not exist"):
        read_assays(tmp_path / "none.csv", plates)
