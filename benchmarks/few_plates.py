"""Evaluate calibrations from few assay plates on held-out plates of simulated laboratories.

    python -m benchmarks.few_plates --prior
    python -m benchmarks.few_plates --assays 1 2 4 8 9

With ``--prior``, the laboratories from ``--prior-seed`` on give the standard deviation between
plates of the slope (measured deterioration / predicted deterioration), which is the constant
``PRIOR_SLOPE_SD`` of ``inference/deterioration/intervals.py``. The other table uses laboratories
from ``--seed`` on, which had no influence on that constant. Compounds kill by the visible
mechanisms in random order, in the layout ``screen`` of 60 wells.

For each number of assay plates, random sets of plates of one laboratory calibrate, and the other
plates of the laboratory are held out. ``covered`` is the share of measured wells (assay noise of 3
points) inside the 90 % interval: the mean over plates, its 95 % bootstrap interval over plates, and
the plate with the lowest value. ``Winkler`` is the interval score divided by that of the interval
0–100 %. ``order`` is Spearman's correlation of predicted deterioration with the true kill over
treated wells, ``departure`` the same without a calibration. Rendered plates are cached in
``--out``.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import structlog
from scipy.stats import spearmanr

from benchmarks.laboratory_plates import LaboratoryPlate, StageTimes, observe_plates
from benchmarks.laboratory_protocol import Reading, assay_plate, departure_scores
from benchmarks.observed_plates import ROOT
from inference.departure.departures import DEFAULT_DEPARTURE_SETTINGS
from inference.deterioration.calibration import Prediction, calibrate, refit
from inference.deterioration.intervals import LeftOutPlate, plate_slope
from simulation.kinds import Layout, Mechanism, RendererName
from simulation.laboratories.laboratory import draw_laboratory
from simulation.plate import DOSED_ON_DAY, READOUT_DAY

Array = npt.NDArray[np.float64]
MEASURES = Reading("", "measures")
RENDERERS = (RendererName.SHADED_BALL, RendererName.GROWING_FRONT)
SIZE_PX = 256
ALPHA = 0.1
"""Share of wells outside the interval."""
BOOTSTRAPS = 2_000
_SEED = 1


@dataclass(frozen=True)
class HeldOut:
    """Result of one held-out plate with one set of calibration plates."""

    plate: str
    valid: bool
    covered: float
    score: float  # Winkler's
    reference: float  # Winkler's score of the interval 0–100 %
    width: float  # mean, in points
    order: float


def observe_laboratory(
    renderer: RendererName,
    seed: int,
    plates: int,
    out: Path,
    layout: Layout = Layout.SCREEN,
    size_px: int = SIZE_PX,
) -> list[LaboratoryPlate]:
    """Return the plates of a laboratory whose compounds kill by visible mechanisms."""
    laboratory = replace(draw_laboratory(seed, renderer), mechanisms=tuple(Mechanism))
    scopes = laboratory.plates(plates, size_px=size_px, layout=layout)
    return observe_plates(scopes, [], out, StageTimes(), wells=60)


def winkler_score(low: Array, high: Array, measured: Array) -> float:
    """Return the mean interval score of Winkler, J. Am. Stat. Assoc. 67 (1972) 187, in points."""
    below, above = np.maximum(low - measured, 0), np.maximum(measured - high, 0)
    return float(np.mean(high - low + 2 / ALPHA * (below + above)))


def measured_percent(plate: LaboratoryPlate) -> Array:
    """Return the simulated assay of all wells, (N,) deterioration in percent."""
    percent = assay_plate(plate, MEASURES).deterioration_percent
    return np.array([percent[well] for well in plate.wells])


def judge(plate: LaboratoryPlate, predicted: Prediction, *, valid: bool) -> HeldOut:
    """Return the result of a held-out plate."""
    measured, treated = measured_percent(plate), ~plate.untreated
    known = np.isfinite(predicted.percent)
    low, high, values = predicted.low[known], predicted.high[known], measured[known]
    compared = treated & known
    return HeldOut(
        f"{plate.laboratory.renderer_name} {plate.name}",
        valid,
        float(((low <= values) & (values <= high)).mean()),
        winkler_score(low, high, values),
        winkler_score(np.zeros_like(low), np.full_like(high, 100.0), values),
        float(np.mean(high - low)),
        float(spearmanr(predicted.percent[compared], plate.kill[compared]).statistic),
    )


def draw_sets(
    plates: int, assays: int, draws: int, rng: np.random.Generator
) -> list[tuple[int, ...]]:
    """Return sets of ``assays`` of ``plates`` plates, so that each is held out in about ``draws``.

    Each set occurs once; there may be fewer sets than that.
    """
    wanted = -(-plates * draws // (plates - assays))
    found: dict[tuple[int, ...], None] = {}
    for _ in range(20 * wanted):
        if len(found) == wanted:
            break
        found.setdefault(tuple(sorted(rng.permutation(plates)[:assays].tolist())))
    return list(found)


def evaluate(plates: Sequence[LaboratoryPlate], assays: int, draws: int) -> Iterator[HeldOut]:
    """Yield the results of all held-out plates of one laboratory."""
    rng = np.random.default_rng([_SEED, assays])
    for chosen in draw_sets(len(plates), assays, draws, rng):
        teachers = [assay_plate(plates[number], MEASURES) for number in chosen]
        card = calibrate(teachers, digest="", seed=_SEED)
        model = refit(teachers, card, seed=_SEED)
        for number, plate in enumerate(plates):
            if number not in chosen:
                predicted = model.predict(
                    plate.trajectories("measures", ""),
                    dosing_day=DOSED_ON_DAY,
                    readout_day=READOUT_DAY,
                )
                yield judge(plate, predicted, valid=card.valid)


def bounds(values: Array) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the mean of values (n,)."""
    draws = np.random.default_rng(0).choice(values, (BOOTSTRAPS, len(values))).mean(axis=1)
    low, high = np.quantile(draws, (0.025, 0.975))
    return float(low), float(high)


def print_row(assays: int, results: Sequence[HeldOut]) -> None:
    """Print the means over held-out plates, of their means over sets of calibration plates."""
    by_plate: dict[str, list[HeldOut]] = {}
    for each in results:
        by_plate.setdefault(each.plate, []).append(each)
    covered, order, score, reference, width = (
        np.array([np.mean([getattr(each, name) for each in own]) for own in by_plate.values()])
        for name in ("covered", "order", "score", "reference", "width")
    )
    low, high = bounds(covered)
    order_low, order_high = bounds(order)
    draws = len(results) / len(by_plate)
    print(
        f"{assays:6} {len(by_plate):6} {draws:5.0f}  {covered.mean():6.1%} [{low:.1%}, {high:.1%}] "
        f"{covered.min():6.1%}  {score.mean() / reference.mean():5.2f} {width.mean():6.1f}  "
        f"{order.mean():.3f} [{order_low:.3f}, {order_high:.3f}] {order.min():.3f}  "
        f"{np.mean([each.valid for each in results]):5.0%}",
        flush=True,
    )


def print_evaluation(
    laboratories: Sequence[Sequence[LaboratoryPlate]], options: argparse.Namespace
) -> None:
    """Print one row for each number of assay plates."""
    departures = [
        spearmanr(
            departure_scores(plate, MEASURES, DEFAULT_DEPARTURE_SETTINGS)[~plate.untreated],
            plate.kill[~plate.untreated],
            nan_policy="omit",
        ).statistic
        for plates in laboratories
        for plate in plates
    ]
    print(
        f"{'assays':>6} {'plates':>6} {'draws':>5}  {'covered':23} {'worst':>6}  {'Winkler':>5} "
        f"{'width':>6}  {'order':20} {'worst':>5} {'valid':>6}"
    )
    for assays in options.assays:
        results = [
            each
            for plates in laboratories
            if len(plates) > assays
            for each in evaluate(plates, assays, options.draws)
        ]
        print_row(assays, results)
    print(
        f"departure without a calibration: order {np.mean(departures):.3f}, "
        f"worst {min(departures):.3f}"
    )


def print_prior(laboratories: Sequence[Sequence[LaboratoryPlate]]) -> None:
    """Print the slopes of each plate when another plate of its laboratory calibrates."""
    squares: list[float] = []
    for plates in laboratories:
        slopes = []
        for teacher in plates:
            assayed = [assay_plate(teacher, MEASURES)]
            model = refit(assayed, calibrate(assayed, digest="", seed=_SEED), seed=_SEED)
            own = []
            for plate in plates:
                if plate is not teacher:
                    percent = model.predict(
                        plate.trajectories("measures", ""),
                        dosing_day=DOSED_ON_DAY,
                        readout_day=READOUT_DAY,
                    ).percent
                    names = [
                        "" if untreated else name
                        for untreated, name in zip(plate.untreated, plate.treatments, strict=True)
                    ]
                    own.append(
                        plate_slope(LeftOutPlate(percent, measured_percent(plate), tuple(names)))
                    )
            slopes += own
        squares.append(float(np.mean(np.square(slopes)) / 2))
        print(
            f"{plates[0].laboratory.renderer_name} {plates[0].laboratory.seed}: "
            f"{len(plates)} plates, slopes {' '.join(f'{slope:+.2f}' for slope in slopes)}"
        )
    print(f"standard deviation of the slope between plates: {np.sqrt(np.mean(squares)):.3f}")


def main() -> None:
    """Print the prior, or the table of held-out plates."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / ".cache" / "laboratories", help="cache")
    parser.add_argument("--renderers", nargs="+", type=RendererName, default=list(RENDERERS))
    parser.add_argument("--laboratories", type=int, default=1, help="of each renderer")
    parser.add_argument("--seed", type=int, default=8_200, help="of the first tested laboratory")
    parser.add_argument("--plates", type=int, default=12, help="of each tested laboratory")
    parser.add_argument("--assays", nargs="+", type=int, default=[1, 2, 4, 8, 9], help="plates")
    parser.add_argument("--draws", type=int, default=20, help="sets of plates for each plate")
    parser.add_argument("--prior", action="store_true", help="print the prior")
    parser.add_argument("--prior-seed", type=int, default=8_100)
    parser.add_argument("--prior-laboratories", type=int, default=2, help="of each renderer")
    parser.add_argument("--prior-plates", type=int, default=3)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    first, count, plates = (
        (options.prior_seed, options.prior_laboratories, options.prior_plates)
        if options.prior
        else (options.seed, options.laboratories, options.plates)
    )
    laboratories = [
        observe_laboratory(renderer, first + number, plates, options.out)
        for number in range(count)
        for renderer in options.renderers
    ]
    if options.prior:
        print_prior(laboratories)
    else:
        print_evaluation(laboratories, options)


if __name__ == "__main__":
    main()
