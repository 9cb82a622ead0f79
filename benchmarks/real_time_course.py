"""Compare the departure of wells with their measured viability, on the real time course.

    python -m benchmarks.real_time_course

The data are those of :mod:`benchmarks.real_data`. The cell line is A673, dosed on day 0, with
readout on day 2. Each row pools the wells of all plates.
"""

import argparse
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from benchmarks.real_data import REAL_DATA
from inference.departure.departure_settings import DepartureSettings
from inference.departure.departures import measure_departures
from inference.profile_tables import read_profiles, trajectories_from_profiles
from inference.profiles import rank_profiles
from inference.ranking.plate_ranking import rank_plate
from schemas.trajectory import Trajectories

BASELINE_DAY, READOUT_DAY = 0, 2
KILLED_BELOW = 50  # % viability
SMALLEST_SPEARMAN, SMALLEST_AUC = 0.72, 0.95

Scores = dict[tuple[str, str], float]  # (plate, well): score


def score_profile_table(table: Path) -> Scores:
    """Return the scores by (plate, well) from ``spherorank rank profiles`` on a profile file."""
    with tempfile.TemporaryDirectory() as folder:
        rank_profiles(
            table, baseline_day=BASELINE_DAY, readout_day=READOUT_DAY, out=Path(folder) / "R.csv"
        )
        wells = pd.read_csv(Path(folder) / "R-wells.csv").dropna(subset="score")
    return dict(zip(zip(wells.plate, wells.well, strict=True), wells.score, strict=True))


def score_readout_alone(plates: list[Trajectories]) -> Scores:
    """Return departures by (plate, well) from the mean untreated well, without a forecast."""
    settings = DepartureSettings(forecaster="mean")
    return {
        (plate.plate, well): float(score)
        for plate in plates
        for well, score in zip(
            plate.wells,
            measure_departures(
                plate,
                dosing_day=BASELINE_DAY,
                day=READOUT_DAY,
                settings=settings,
                others=[other for other in plates if other is not plate],
            ).scores,
            strict=True,
        )
        if np.isfinite(score)
    }


def feature_scores(plates: list[Trajectories]) -> Iterator[tuple[str, Scores]]:
    """Yield (feature name, its readout values by (plate, well)) of plates' Trajectories."""
    for column, name in enumerate(plates[0].feature_names):
        yield (
            name,
            {
                (plate.plate, well): float(value)
                for plate in plates
                for well, value in zip(plate.wells, plate.on(READOUT_DAY)[:, column], strict=True)
            },
        )


def accuracy_on_viability(
    scores: Scores,
    viability: pd.Series,
    wells: list[tuple[str, str]],
    *,
    either_direction: bool = False,
) -> tuple[float, float]:
    """Return (Spearman's correlation with 100 − viability, AUC) of the scores of some wells.

    The AUC is for a viability below :data:`KILLED_BELOW`. With ``either_direction``, scores with a
    negative correlation are multiplied by −1 first.
    """
    score: npt.NDArray[np.float64] = np.array([scores[well] for well in wells])
    measured = viability.loc[wells].to_numpy()
    spearman = float(spearmanr(score, 100 - measured).statistic)
    if either_direction and spearman < 0:
        score, spearman = -score, -spearman
    return spearman, float(roc_auc_score(measured < KILLED_BELOW, score))


def print_accuracy_row(name: str, spearman: float, auc: float) -> None:
    """Print a table row with a name, a Spearman correlation and an AUC."""
    print(f"{name:28} {spearman:9.3f} {auc:11.3f}")


def read_real_plates() -> list[Trajectories]:
    """Return the trajectories of the real time course; an empty list if the data are missing."""
    table = REAL_DATA / "real_time_course" / "a673_profiles.csv"
    return (
        trajectories_from_profiles(read_profiles(table), where=str(table))
        if table.is_file()
        else []
    )


def print_settings_table(settings: Mapping[str, DepartureSettings]) -> None:
    """Print the Spearman correlation and AUC for each departure setting on the real time course.

    Each plate is ranked with and without the untreated wells of the other plates.
    """
    plates = read_real_plates()
    if not plates:
        print(f"The real time course is not ranked: {REAL_DATA} has no real_time_course")
        return
    viability = read_viability()
    print("Real time course, wells pooled over 3 plates")
    print(
        f"{'':28} {'Spearman':>9} {f'AUC < {KILLED_BELOW} %':>11} {'each plate alone':>17} "
        f"{'AUC':>6}"
    )
    for name, one in settings.items():
        cells = []
        for together in (True, False):
            scores: Scores = {}
            for plate in plates:
                others = [other for other in plates if other is not plate] if together else []
                table = rank_plate(
                    plate,
                    dosing_day=BASELINE_DAY,
                    readout_day=READOUT_DAY,
                    seed=0,
                    others=others,
                    settings=one,
                )
                scores |= {
                    (plate.plate, well.well): well.score
                    for well in table.wells
                    if well.score is not None
                }
            cells.append(
                accuracy_on_viability(
                    scores, viability, [well for well in viability.index if well in scores]
                )
            )
        (spearman, auc), (alone, auc_alone) = cells
        print(f"{name:28} {spearman:9.3f} {auc:11.3f} {alone:17.3f} {auc_alone:6.3f}", flush=True)


def read_viability() -> pd.Series:
    """Return the measured viability in % of control, indexed by (plate, well)."""
    table = pd.read_csv(
        REAL_DATA / "real_time_course" / "a673_viability.csv", dtype={"Metadata_Well": str}
    )
    return table.set_index(["Metadata_Plate", "Metadata_Well"])["viability_percent"]


def main() -> None:
    """Print the table; exit with an error if the ranking is below the published accuracy."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    folder = REAL_DATA / "real_time_course"
    if not folder.is_dir():
        raise SystemExit(
            f"{folder} does not exist; set SPHERORANK_REAL_DATA to the folder with the real data"
        )
    table = folder / "a673_profiles.csv"
    viability, plates = read_viability(), read_real_plates()
    scores = score_profile_table(table)
    wells = [well for well in viability.index if well in scores]
    print(f"{len(wells)} wells with both days and a measured viability, {len(plates)} plates")
    print(f"{'':28} {'Spearman':>9} {f'AUC < {KILLED_BELOW} %':>11}")
    spearman, auc = accuracy_on_viability(scores, viability, wells)
    print_accuracy_row("rank profiles", spearman, auc)
    print_accuracy_row(
        "readout without forecast",
        *accuracy_on_viability(score_readout_alone(plates), viability, wells),
    )
    for name, column in feature_scores(plates):
        print_accuracy_row(
            f"{name} alone", *accuracy_on_viability(column, viability, wells, either_direction=True)
        )
    print(
        "Each single column has the sign that fits the viability best; the ranking does not use "
        "the viability."
    )
    if spearman < SMALLEST_SPEARMAN or auc < SMALLEST_AUC:
        raise SystemExit(f"below the published Spearman {SMALLEST_SPEARMAN} and AUC {SMALLEST_AUC}")


if __name__ == "__main__":
    main()
