"""Compare rankings of treatments with the truth, on virtual plates and on the real time course.

    python -m benchmarks.ranking --seeds 20
    python -m benchmarks.ranking --seeds 5 --first-seed 901 --parts orders choices

The truth is the true kill of a virtual plate or the measured viability of the real time course.
Plates are rendered, embedded and measured once (about 20 s each) and cached in ``.cache``. Every
part covers all three representations.

Parts:
    orders   each mechanism, and mixed mechanisms; compared with simple alternatives
    wide     the same, for wells whose sizes differ widely at dosing
    choices  forecasters, their inputs, and metrics; ``--learned FOLDER`` adds a sequence model
             (docs/reference/forecasters.md)
    real     the real time course
    null     plates on which no treatment kills
    errors   intervals, weak kills and growth
"""

import argparse
import os
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import structlog
from scipy.stats import spearmanr, t

from benchmarks.observed_plates import DAILY, SCREENS, ObservedPlate, observe_plates
from benchmarks.ranking_errors import print_errors, print_no_kills
from benchmarks.real_time_course import print_settings_table
from inference.departure.departure_settings import DEFAULT_DEPARTURE_SETTINGS, DepartureSettings
from inference.departure.forecasters import FORECASTERS
from inference.departure.sequence_model import OnnxSequenceModel, load_forecaster
from inference.ranking.plate_ranking import rank_plate
from inference.tissue.ranked_measures import RANKED_MEASURES
from schemas.errors import ProfileError
from schemas.forecast import ForecastFrom, MetricName
from schemas.plate_map import Group
from schemas.trajectory import Representation, Trajectories
from simulation.plate import DOSED_ON_DAY, READOUT_DAY

Array = npt.NDArray[np.float64]
REPRESENTATIONS: tuple[Representation, ...] = ("embedding", "measures", "both")
PARTS = ("orders", "wide", "choices", "real", "null", "errors")
READOUT_ALONE = DepartureSettings(forecaster="mean")


@dataclass
class Correlations:
    """Spearman's correlation of scores with the true kill, one value per plate."""

    over_treatments: list[float] = field(default_factory=list)
    over_wells: list[float] = field(default_factory=list)

    def add(self, plate: ObservedPlate, score: Mapping[str, float]) -> None:
        """Add the correlations of one plate, computed from the scores of its wells.

        The score and the kill of a treatment are the means over its wells.
        """
        kill = dict(zip(plate.wells, plate.kill, strict=True))
        members = defaultdict(list)
        for well, group, treatment in zip(plate.wells, plate.groups, plate.treatments, strict=True):
            if group is not Group.UNTREATED and well in score:
                members[group, treatment].append(well)
        wells = [well for of_treatment in members.values() for well in of_treatment]
        self.over_wells.append(
            _spearman([score[well] for well in wells], [kill[well] for well in wells])
        )
        means = [
            [
                statistics.fmean(of[well] for well in of_treatment)
                for of_treatment in members.values()
            ]
            for of in (score, kill)
        ]
        self.over_treatments.append(_spearman(*means))


def _spearman(one: list[float], other: list[float]) -> float:
    """Return Spearman's correlation of two lists."""
    return float(spearmanr(one, other).statistic)


def score_wells(
    plate: ObservedPlate,
    representation: Representation,
    settings: DepartureSettings = DEFAULT_DEPARTURE_SETTINGS,
) -> dict[str, float]:
    """Return a plate's scores by well name, ranked as in the service; unscored wells are absent."""
    trajectories = plate.trajectories(representation)
    table = rank_plate(
        trajectories, dosing_day=DOSED_ON_DAY, readout_day=READOUT_DAY, seed=1, settings=settings
    )
    return {well.well: well.score for well in table.wells if well.score is not None}


def simple_scores(plate: ObservedPlate) -> dict[str, dict[str, float]]:
    """Return a plate's scores by simple method and well: one measure, or root mean square of all.

    Each is in standard deviations of the untreated wells, from the readout day alone or as the
    change since the dosing day.
    """
    untreated = np.array([group is Group.UNTREATED for group in plate.groups])
    readout = plate.measures[:, plate.days.index(READOUT_DAY)]
    change = readout - plate.measures[:, plate.days.index(DOSED_ON_DAY)]
    scores: dict[str, Array] = {}
    for name, values in (("readout", readout), ("change", change)):
        standard = (values - values[untreated].mean(axis=0)) / values[untreated].std(axis=0, ddof=1)
        scores[f"root mean square, {name}"] = np.sqrt((standard**2).mean(axis=1))
        for column, measure in enumerate(RANKED_MEASURES):
            scores |= {
                f"|{measure}|, {name}": np.abs(standard[:, column]),
                f"+{measure}, {name}": standard[:, column],
                f"-{measure}, {name}": -standard[:, column],
            }
    return {
        name: dict(zip(plate.wells, values.tolist(), strict=True))
        for name, values in scores.items()
    }


def print_row(kind: str, name: str, results: Correlations) -> None:
    """Print the mean and the lowest correlation over plates as one table row."""
    treatments, wells = results.over_treatments, results.over_wells
    print(
        (
            f"{kind:14} {name:34} {np.mean(treatments):10.3f} {min(treatments):7.3f} "
            f"{np.mean(wells):10.3f} {min(wells):7.3f}"
        ),
        flush=True,
    )


def print_orders(kinds: Iterable[str], seeds: Iterable[int], jobs: int) -> None:
    """Print correlations of the ranking and of simple alternatives, for plate kinds and seeds.

    ``jobs`` processes render the plates.

    For mixed and wide plates, the paired differences over plates follow.
    """
    seeds = list(seeds)
    print(
        f"Spearman's correlation with the true kill, {len(seeds)} plates per row (seeds {seeds[0]} "
        f"to {seeds[-1]})"
    )
    print(
        f"{'plates':14} {'compared by':34} {'treatments':>10} {'least':>7} {'wells':>10} "
        f"{'least':>7}"
    )
    for kind in kinds:
        results: dict[str, Correlations] = defaultdict(Correlations)
        for _, _, plate in observe_plates([kind], seeds, jobs=jobs):
            for representation in REPRESENTATIONS:
                results[representation].add(plate, score_wells(plate, representation))
            results["both, readout alone"].add(plate, score_wells(plate, "both", READOUT_ALONE))
            for name, score in simple_scores(plate).items():
                results[name].add(plate, score)
        shown = [
            *REPRESENTATIONS,
            "both, readout alone",
            "root mean square, readout",
            "root mean square, change",
            "-log_area, readout",
        ]
        single = max(
            (
                name
                for name in results
                if "log" in name or "odds" in name or "od_" in name or "darkness" in name
            ),
            key=_mean_over_wells(results),
        )
        for name in dict.fromkeys([*shown, single]):
            print_row(kind, name, results[name])
        if kind == "mixed":
            for rival in ("measures", *shown[4:6], single):
                print_difference("both", rival, results)
        elif kind.startswith("wide"):
            print_difference("both", "both, readout alone", results)


def _mean_over_wells(results: Mapping[str, Correlations]) -> Callable[[str], float]:
    """Return a function that returns the mean correlation over wells of a named result."""
    return lambda name: statistics.fmean(results[name].over_wells)


def print_difference(method: str, rival: str, results: Mapping[str, Correlations]) -> None:
    """Print the paired difference of two methods over wells, with its one-sided 95 % limit."""
    gaps = np.array(results[method].over_wells) - np.array(results[rival].over_wells)
    error = gaps.std(ddof=1) / np.sqrt(len(gaps)) if len(gaps) > 1 else np.nan
    low = gaps.mean() - t.ppf(0.95, max(len(gaps) - 1, 1)) * error
    print(
        (
            f"{'':14} {method} minus {rival}: {gaps.mean():+.3f} over wells, 95 % lower limit "
            f"{low:+.3f}, on the worst plate {gaps.min():+.3f}"
        ),
        flush=True,
    )


def compared_settings(learned: Iterable[Path] = ()) -> dict[str, DepartureSettings]:
    """Return the departure settings to compare, by row name; ``learned`` are model folders."""
    models = {
        f"forecaster {model.name}": DepartureSettings(sequence_model=model)
        for model in map(OnnxSequenceModel, map(load_forecaster, learned))
    }
    by_forecaster = {
        f"forecaster {name}": DepartureSettings(forecaster=name) for name in FORECASTERS
    }
    by_form = {
        f"forecast from {each}": DepartureSettings(forecast_from=each) for each in ForecastFrom
    }
    by_metric = {f"metric {metric}": DepartureSettings(metric=metric) for metric in MetricName}
    return by_forecaster | models | by_form | by_metric


def accepts_features(settings: DepartureSettings, trajectories: Trajectories) -> bool:
    """Return whether the sequence model in the settings accepts the features of these trajectories.

    Settings with a built-in forecaster fit any trajectories.
    """
    try:
        if settings.sequence_model is not None:
            settings.sequence_model.check_fits(trajectories.feature_names, trajectories.encoder_id)
    except ProfileError:
        return False
    return True


def print_choices(seeds: Iterable[int], jobs: int, learned: Iterable[Path] = ()) -> None:
    """Print mean correlations for each forecaster, forecast input and metric, over seeds.

    ``jobs`` processes render the plates. ``learned`` are folders of sequence models.
    """
    compared = compared_settings(learned)
    seeds = list(seeds)
    print(
        f"Spearman's correlation over wells, mean of {len(seeds)} plates per kind "
        f"(seeds {seeds[0]} to {seeds[-1]}); the rest as by default"
    )
    print(
        f"{'choice':32} {'compared by':11} "
        + " ".join(f"{kind.removeprefix('daily-'):>13}" for kind in DAILY)
        + f" {'mean':>7}"
    )
    results: dict[tuple[str, str], dict[str, Correlations]] = defaultdict(
        lambda: defaultdict(Correlations)
    )
    for kind, _, plate in observe_plates(DAILY, seeds, jobs=jobs):
        for representation in REPRESENTATIONS:
            trajectories = plate.trajectories(representation)
            for name, settings in compared.items():
                if not accepts_features(settings, trajectories):
                    continue
                table = rank_plate(
                    trajectories,
                    dosing_day=DOSED_ON_DAY,
                    readout_day=READOUT_DAY,
                    seed=1,
                    settings=settings,
                )
                results[name, representation][kind].add(
                    plate, {well.well: well.score for well in table.wells if well.score is not None}
                )
    for (name, features), by_kind in results.items():
        means = [statistics.fmean(by_kind[kind].over_wells) for kind in DAILY]
        print(
            f"{name:32} {features:11} "
            + " ".join(f"{mean:13.3f}" for mean in means)
            + f" {statistics.fmean(means):7.3f}",
            flush=True,
        )


def main() -> None:
    """Print the requested parts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=20, help="plates per row")
    parser.add_argument("--first-seed", type=int, default=201)
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="processes that render plates"
    )
    parser.add_argument(
        "--learned",
        type=Path,
        nargs="+",
        default=(),
        help="folders of sequence models, rows of the part choices",
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    if "orders" in options.parts:
        print_orders(SCREENS, seeds, options.jobs)
    if "wide" in options.parts:
        print_orders([f"wide-{kind}" for kind in SCREENS], seeds, options.jobs)
    if "choices" in options.parts:
        print_choices(seeds, options.jobs, options.learned)
    if "real" in options.parts:
        print_settings_table({"default": DepartureSettings()} | compared_settings())
    if "null" in options.parts:
        print_no_kills(seeds, options.jobs)
    if "errors" in options.parts:
        print_errors(seeds, options.jobs)


if __name__ == "__main__":
    main()
