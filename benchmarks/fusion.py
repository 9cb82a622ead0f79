"""Compare rankings by measures, by the embedding and by both on plates of simulated laboratories.

    python -m benchmarks.fusion --laboratories 40
    python -m benchmarks.fusion --laboratories 40 --parts null --relabelled 25

Plates are rendered, embedded and measured once, and cached in the folder of ``--out``, as those of
``python -m benchmarks.laboratories``.

Parts:
    orders  Spearman's correlation of scores and true kill over wells, uncalibrated. The same plates
            are ranked with all wells (mixed), and without the wells of the hidden or of the visible
            mechanisms. The values of a laboratory are means over its plates.
    null    plates on which no treatment kills, with random labels: share of plates with a call
"""

import argparse
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import structlog

from benchmarks.laboratory_bundles import encoder_bundles
from benchmarks.observed_plates import ROOT, ObservedPlate
from benchmarks.observed_plates import observe_plates as observe_virtual_plates
from benchmarks.ranking import REPRESENTATIONS
from inference.departure.departure_settings import DEFAULT_DEPARTURE_SETTINGS
from inference.ranking.plate_ranking import rank_plate
from schemas.ranking import Verdict
from schemas.trajectory import Representation
from simulation.kinds import HiddenMechanism
from simulation.laboratories.laboratory import Laboratory
from simulation.plate import DOSED_ON_DAY, READOUT_DAY, plan_plate
from training.evaluation.laboratories import LaboratorySet, draw_laboratories
from training.evaluation.laboratory_plates import (
    BundleExtractor,
    LaboratoryPlate,
    StageTimes,
    observe_plates,
)
from training.evaluation.laboratory_protocol import (
    MIXED,
    Reading,
    departure_scores,
    kill_correlations,
)

PARTS = ("orders", "null")
KINDS = ("visible", "hidden", "mixed")
DRAWS = 4000
INTERVAL = (0.025, 0.975)
MIN_TREATED = 9
"""Smallest number of treated wells of a plate that is ranked."""
HEADER = f"{'measures':>9} {'embedding':>10} {'both':>7} {'both − better':>14}"
Array = npt.NDArray[np.float64]


def plates_by_kind(plate: LaboratoryPlate) -> Iterator[tuple[str, LaboratoryPlate]]:
    """Yield a plate with the treated wells of each of the :data:`KINDS` that has enough wells."""
    hidden = np.isin(plate.mechanisms, list(HiddenMechanism))
    for kind, chosen in zip(KINDS, (~hidden, hidden, np.ones_like(hidden)), strict=True):
        treated = chosen & ~plate.untreated
        if treated.sum() >= MIN_TREATED:
            yield kind, plate.select(treated | plate.untreated)


def correlations(plate: LaboratoryPlate, encoder: str) -> Array:
    """Return the correlations of measures, embedding and both with the true kill over wells."""
    readings = (
        Reading("", "measures"),
        Reading(encoder, "embedding"),
        Reading(encoder, "both"),
    )
    return np.array(
        [
            kill_correlations(departure_scores(plate, each, DEFAULT_DEPARTURE_SETTINGS), plate)[
                MIXED
            ]
            for each in readings
        ]
    )


def observed_laboratories(
    chosen: LaboratorySet, encoder: str, folder: Path
) -> Iterator[tuple[Laboratory, list[LaboratoryPlate]]]:
    """Yield each laboratory of a LaboratorySet with its plates, observed with one encoder."""
    extractor = BundleExtractor(encoder, encoder_bundles(folder)[encoder])
    for laboratory in draw_laboratories(chosen.first_seed, chosen.laboratories, chosen.renderers):
        scopes = laboratory.plates(chosen.plates, size_px=chosen.size_px)
        yield (
            laboratory,
            observe_plates(scopes, [extractor], folder, StageTimes(), wells=chosen.wells),
        )


def print_orders(chosen: LaboratorySet, encoder: str, folder: Path) -> None:
    """Print the correlations of each laboratory and their means with 95 % intervals."""
    rows: dict[str, list[tuple[str, Array]]] = {kind: [] for kind in KINDS}
    for laboratory, plates in observed_laboratories(chosen, encoder, folder):
        found: dict[str, list[Array]] = {}
        for plate in plates:
            for kind, part in plates_by_kind(plate):
                found.setdefault(kind, []).append(correlations(part, encoder))
        for kind, values in found.items():
            name = f"{laboratory.seed} {laboratory.renderer_name}"
            rows[kind].append((name, np.mean(values, axis=0)))
    print("Spearman's correlation of scores and true kill over wells, without a calibration")
    print(f"encoder {encoder}, {chosen.plates} plates of {chosen.wells} wells of each laboratory")
    print(f"{'mechanisms':10} {'laboratory':28} {HEADER}")
    for kind, of_kind in rows.items():
        for name, row in of_kind:
            print_row(kind, name, row)
        if of_kind:
            print_mean(kind, np.array([row for _, row in of_kind]))


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
    for _, seed, nothing in observe_virtual_plates(["laboratory-untreated"], seeds, jobs=jobs):
        for number in range(count):
            plate = relabelled(nothing, 1000 * seed + number)
            for representation, found in calls.items():
                found.append(has_call(plate, representation))
    for representation, found in calls.items():
        print(f"{representation:10} {np.mean(found):.1%} of {len(found)} plates have a call")


def main() -> None:
    """Print the requested parts."""
    default = LaboratorySet()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / ".cache" / "laboratories", help="cache")
    parser.add_argument("--laboratories", type=int, default=12)
    parser.add_argument("--seed", type=int, default=default.first_seed, help="of the first")
    parser.add_argument("--plates", type=int, default=2, help="of each laboratory")
    parser.add_argument("--wells", type=int, default=default.wells, help="of each plate")
    parser.add_argument("--encoder", default="default", help="name of an encoder bundle")
    parser.add_argument("--relabelled", type=int, default=100, help="plates without effects each")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="of the part null")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=("orders",))
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    if "orders" in options.parts:
        chosen = LaboratorySet(
            laboratories=options.laboratories,
            first_seed=options.seed,
            plates=options.plates,
            wells=options.wells,
        )
        print_orders(chosen, options.encoder, options.out)
    if "null" in options.parts:
        seeds = range(options.seed, options.seed + options.laboratories)
        print_null(seeds, options.relabelled, options.jobs)


if __name__ == "__main__":
    main()
