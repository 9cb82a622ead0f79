"""Compare rankings by measures, by the embedding and by both on plates of simulated laboratories.

    python -m benchmarks.fusion --laboratories 12 --first 2001
    python -m benchmarks.fusion --laboratories 4 --first 2001 --parts null --relabelled 100

Each laboratory has plates on which all compounds kill by visible mechanisms, by mechanisms that
are hidden from the measures, and by both. Plates are rendered, embedded and measured once, and
cached in ``.cache``.

Parts:
    orders  Spearman's correlation of scores and true kill over wells, uncalibrated
    null    plates on which no treatment kills, with random labels: share of plates with a call
"""

import argparse
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import structlog

from benchmarks.observed_plates import LABORATORY_MECHANISMS, ObservedPlate, observe_plates
from benchmarks.ranking import REPRESENTATIONS, Correlations, score_wells
from inference.ranking.plate_ranking import rank_plate
from schemas.ranking import Verdict
from schemas.trajectory import Representation
from simulation.laboratories.laboratory import draw_laboratory
from simulation.plate import DOSED_ON_DAY, READOUT_DAY, plan_plate

PARTS = ("orders", "null")
DRAWS = 4000
INTERVAL = (0.025, 0.975)
HEADER = f"{'measures':>9} {'embedding':>10} {'both':>7} {'both − better':>14}"
Array = npt.NDArray[np.float64]


def has_kind(seed: int, mechanisms: str) -> bool:
    """Return whether the laboratory of a seed has compounds with these mechanisms."""
    own = draw_laboratory(seed).mechanisms
    hidden = sum(isinstance(each, LABORATORY_MECHANISMS["hidden"]) for each in own)
    return mechanisms == "visible" or hidden > 0


def correlations(plate: ObservedPlate) -> Array:
    """Return the correlations of measures, embedding and both with the true kill over wells."""
    found = []
    for representation in ("measures", "embedding", "both"):
        results = Correlations()
        results.add(plate, score_wells(plate, representation))
        found.append(results.over_wells[0])
    return np.array(found)


def print_orders(seeds: Sequence[int], jobs: int) -> None:
    """Print the correlations of each laboratory (seed) and their means with 95 % intervals."""
    print("Spearman's correlation of scores and true kill over wells, without a calibration")
    print(f"{'mechanisms':10} {'laboratory':28} {HEADER}")
    for mechanisms in LABORATORY_MECHANISMS:
        rows = []
        own = [seed for seed in seeds if has_kind(seed, mechanisms)]
        for _, seed, plate in observe_plates([f"laboratory1-{mechanisms}"], own, jobs=jobs):
            rows.append(correlations(plate))
            print_row(mechanisms, f"{seed} {draw_laboratory(seed).renderer_name}", rows[-1])
        if rows:
            print_mean(mechanisms, np.array(rows))


def print_row(mechanisms: str, name: str, row: Array) -> None:
    """Print the correlations of one laboratory, or their mean."""
    measures, embedding, both = row
    print(
        f"{mechanisms:10} {name:28} {measures:9.3f} {embedding:10.3f} {both:7.3f} "
        f"{both - max(measures, embedding):+14.3f}",
        flush=True,
    )


def print_mean(mechanisms: str, rows: Array) -> None:
    """Print the means of rows (laboratories, 3), and intervals by resampling of laboratories."""
    print_row(mechanisms, f"mean of {len(rows)}", rows.mean(axis=0))
    rng = np.random.default_rng(0)
    means = rows[rng.integers(len(rows), size=(DRAWS, len(rows)))].mean(axis=1)
    gap = means[:, 2] - means[:, :2].max(axis=1)
    low, high = np.quantile(np.column_stack([means, gap]), INTERVAL, axis=0)
    limits = " ".join(f"{one:+.3f} to {other:+.3f}" for one, other in zip(low, high, strict=True))
    print(f"{'':10} 95 % intervals, in the order of the columns: {limits}", flush=True)


def relabelled(nothing: ObservedPlate, seed: int) -> ObservedPlate:
    """Return a plate of untreated wells with the labels of a plan, in random order."""
    plan = plan_plate(seed).wells
    order = np.random.default_rng(seed).permutation(len(nothing.wells))
    return replace(
        nothing,
        groups=tuple(plan[place].group for place in order),
        treatments=tuple(plan[place].treatment for place in order),
    )


def has_call(plate: ObservedPlate, representation: Representation) -> bool:
    """Return whether any treatment of a plate is called effective or growing."""
    table = rank_plate(
        plate.trajectories(representation),
        dosing_day=DOSED_ON_DAY,
        readout_day=READOUT_DAY,
        seed=1,
    )
    return any(row.verdict in (Verdict.EFFECTIVE, Verdict.GROWTH) for row in table.treatments)


def print_null(seeds: Iterable[int], count: int, jobs: int) -> None:
    """Print the share of ``count`` relabelled plates per laboratory with a call."""
    calls: dict[Representation, list[bool]] = {each: [] for each in REPRESENTATIONS}
    for _, seed, nothing in observe_plates(["laboratory1-untreated"], seeds, jobs=jobs):
        for number in range(count):
            plate = relabelled(nothing, 1000 * seed + number)
            for representation, found in calls.items():
                found.append(has_call(plate, representation))
    for representation, found in calls.items():
        print(f"{representation:10} {np.mean(found):.1%} of {len(found)} plates have a call")


def main() -> None:
    """Print the requested parts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--laboratories", type=int, default=12)
    parser.add_argument("--first", type=int, default=2001, help="seed of the first laboratory")
    parser.add_argument("--relabelled", type=int, default=100, help="plates without effects each")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=("orders",))
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    seeds = range(options.first, options.first + options.laboratories)
    if "orders" in options.parts:
        print_orders(seeds, options.jobs)
    if "null" in options.parts:
        print_null(seeds, options.relabelled, options.jobs)


if __name__ == "__main__":
    main()
