"""Compare the deterioration that a calibration predicts with the truth, on virtual and real plates.

    python -m benchmarks.deterioration --calibrate 8 --hold-out 8 --first-seed 201

The calibration learns from virtual assay plates of mixed mechanisms, with assay noise of the size
found on real plates. It predicts the true kill of other virtual plates. Only treated wells that are
intact are compared. Each real plate is predicted by a model that is selected and fitted on the
other two, and is compared with its measured viability. ``Winkler`` is the interval score divided by
that of the interval 0–100 %. With ``--parts real``, only the real plates are predicted.
"""

import argparse
import os
import statistics
import time

import numpy as np
import numpy.typing as npt
import structlog
from scipy.stats import spearmanr

from benchmarks.few_plates import winkler_score
from benchmarks.observed_plates import ObservedPlate, observe_plates
from benchmarks.real_data import REAL_DATA
from benchmarks.real_time_course import BASELINE_DAY, read_real_plates, read_viability
from benchmarks.real_time_course import READOUT_DAY as REAL_READOUT_DAY
from inference.deterioration.calibration import (
    AssayPlate,
    Calibration,
    Prediction,
    calibrate,
    refit,
)
from inference.ranking.plate_ranking import rank_plate
from schemas.calibration import CalibrationCard
from schemas.plate_map import Group
from schemas.trajectory import Representation
from simulation.plate import DOSED_ON_DAY, READOUT_DAY, plan_plate

Array = npt.NDArray[np.float64]
ASSAY_NOISE_POINTS = 3.0
PARTS = ("virtual", "real")
REPRESENTATIONS: tuple[Representation, ...] = ("embedding", "measures", "both")


def assay_plate(plate: ObservedPlate, representation: Representation) -> AssayPlate:
    """Return a virtual plate as an assay plate: trajectories and a simulated result per well."""
    rng = np.random.default_rng(int(plate.name.rpartition("-")[2]))
    percent = 100 * plate.kill + rng.normal(0, ASSAY_NOISE_POINTS, len(plate.wells))
    return AssayPlate(
        plate.trajectories(representation),
        dict(zip(plate.wells, percent.tolist(), strict=True)),
        DOSED_ON_DAY,
        READOUT_DAY,
    )


def intact_and_treated(plate: ObservedPlate) -> npt.NDArray[np.bool_]:
    """Return a mask (N,) of a plate's wells that are treated and truly intact at the readout."""
    plans = {plan.well: plan for plan in plan_plate(int(plate.name.rpartition("-")[2])).wells}
    return np.array(
        [
            group is not Group.UNTREATED and not plans[well].exploded(READOUT_DAY)
            for well, group in zip(plate.wells, plate.groups, strict=True)
        ]
    )


def print_card(card: CalibrationCard, seconds: float) -> None:
    """Print the selected model of a calibration, its cross-validated errors and the fit time."""
    print(
        f"selected: {card.model} on {card.representation}; cross-validated error "
        f"{card.mean_error_points:.1f} points (without images: {card.untreated_error_points:.1f}), "
        f"Spearman {card.spearman:.3f}, worst {card.worst_spearman:.3f}; "
        f"{len(card.plates)} plates, {card.wells} wells, {seconds:.0f} s",
        flush=True,
    )


def pooled_spearman(plates: list[tuple[Array, Array]]) -> float:
    """Return Spearman's correlation of prediction and truth over the wells of all plates."""
    predicted, truth = (np.concatenate(column) for column in zip(*plates, strict=True))
    return float(spearmanr(predicted, truth).statistic)


def predict_and_rank(
    plate: ObservedPlate, calibration: Calibration, representation: Representation
) -> tuple[Prediction, Array]:
    """Return (Prediction, departure scores (N,)) of a plate by a Calibration and representation.

    A well without a score is NaN.
    """
    trajectories = plate.trajectories(representation)
    predicted = calibration.predict(trajectories, dosing_day=DOSED_ON_DAY, readout_day=READOUT_DAY)
    table = rank_plate(trajectories, dosing_day=DOSED_ON_DAY, readout_day=READOUT_DAY, seed=1)
    scores = [np.nan if well.score is None else well.score for well in table.wells]
    return predicted, np.array(scores)


def print_held_out(
    plates: list[ObservedPlate], calibration: Calibration, representation: Representation
) -> None:
    """Print the accuracy of a calibration for each plate, for the mean, and for all wells together.

    The Spearman correlation of the departure score on the same wells is printed for comparison.
    """
    print(
        f"{'plate':12} {'wells':>6} {'Spearman':>9} {'departure':>10} {'error':>7} {'covered':>8} "
        f"{'distance':>9}"
    )
    rows, pooled = [], []
    for plate in plates:
        wells = intact_and_treated(plate)
        predicted, score = predict_and_rank(plate, calibration, representation)
        truth = 100 * plate.kill
        row = (
            float(spearmanr(predicted.percent[wells], truth[wells]).statistic),
            float(spearmanr(score[wells], truth[wells], nan_policy="omit").statistic),
            float(np.abs(predicted.percent - truth)[wells].mean()),
            float(((predicted.low <= truth) & (truth <= predicted.high))[wells].mean()),
            calibration.distance(
                plate.trajectories(representation),
                dosing_day=DOSED_ON_DAY,
                readout_day=READOUT_DAY,
            )
            / float(calibration.usual_distances.max()),
        )
        rows.append(row)
        pooled.append((predicted.percent[wells], truth[wells]))
        print(
            f"{plate.name:12} {wells.sum():6} {row[0]:9.3f} {row[1]:10.3f} {row[2]:7.1f} "
            f"{row[3]:8.0%} {row[4]:9.2f}"
        )
    means = [statistics.fmean(column) for column in zip(*rows, strict=True)]
    print(
        f"{'mean':12} {'':6} {means[0]:9.3f} {means[1]:10.3f} {means[2]:7.1f} {means[3]:8.0%} "
        f"{means[4]:9.2f}"
    )
    together = pooled_spearman(pooled)
    print(
        (
            f"all wells together: Spearman {together:.3f}; worst plate "
            f"{min(row[0] for row in rows):.3f}"
        ),
        flush=True,
    )


def print_real_time_course() -> None:
    """Print the accuracy on each plate of the real time course when the other two calibrate."""
    plates = read_real_plates()
    if not plates:
        print(f"The real time course is skipped: {REAL_DATA} has no real_time_course")
        return
    viability = read_viability()
    measured = [
        AssayPlate(
            plate,
            {
                well: 100 - float(viability[plate.plate, well])
                for well in plate.wells
                if (plate.plate, well) in viability.index
            },
            BASELINE_DAY,
            REAL_READOUT_DAY,
        )
        for plate in plates
    ]
    pooled: list[tuple[Array, Array]] = []
    print("Real time course, each plate by the other two")
    for plate in measured:
        others = [other for other in measured if other is not plate]
        card = calibrate(others, digest="", seed=1)
        predicted = refit(others, card, seed=1).predict(
            plate.trajectories, dosing_day=BASELINE_DAY, readout_day=REAL_READOUT_DAY
        )
        percent = np.array(
            [plate.deterioration_percent.get(well, np.nan) for well in plate.trajectories.wells]
        )
        known = np.isfinite(percent) & np.isfinite(predicted.percent)
        pooled.append((predicted.percent[known], percent[known]))
        covered = ((predicted.low <= percent) & (percent <= predicted.high))[known].mean()
        error = np.abs(predicted.percent - percent)[known].mean()
        low, high, values = predicted.low[known], predicted.high[known], percent[known]
        score = winkler_score(low, high, values)
        reference = winkler_score(np.zeros_like(low), np.full_like(high, 100.0), values)
        order = spearmanr(*pooled[-1]).statistic
        print(
            f"{plate.trajectories.plate:12} {known.sum():6} Spearman {order:.3f}, error {error:.1f}"
            f" points, covered {covered:.0%}, Winkler {score / reference:.2f}, {card.model}"
        )
    together = pooled_spearman(pooled)
    print(f"all wells together: Spearman {together:.3f}", flush=True)


def main() -> None:
    """Print one table per representation, and the results on the real time course."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calibrate", type=int, default=8, help="plates with an assay")
    parser.add_argument("--hold-out", type=int, default=8, help="plates that are predicted")
    parser.add_argument("--first-seed", type=int, default=201)
    parser.add_argument(
        "--representations", nargs="+", choices=REPRESENTATIONS, default=REPRESENTATIONS
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="processes that render plates"
    )
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    if "virtual" in options.parts:
        print_virtual(options)
    if "real" in options.parts:
        print_real_time_course()


def print_virtual(options: argparse.Namespace) -> None:
    """Print one table per representation of virtual plates."""
    seeds = range(options.first_seed, options.first_seed + options.calibrate + options.hold_out)
    plates = [plate for _, _, plate in observe_plates(["mixed"], seeds, jobs=options.jobs)]
    for representation in options.representations:
        print(
            f"\n{representation}: {options.calibrate} plates calibrate, {options.hold_out} are "
            f"held out (seeds {seeds[0]} to {seeds[-1]})"
        )
        teachers = [assay_plate(plate, representation) for plate in plates[: options.calibrate]]
        started = time.perf_counter()
        card = calibrate(teachers, digest="", seed=1)
        print_card(card, time.perf_counter() - started)
        print_held_out(plates[options.calibrate :], refit(teachers, card, seed=1), representation)


if __name__ == "__main__":
    main()
