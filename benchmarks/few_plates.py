"""Evaluate calibrations from few assay plates on held-out plates of simulated laboratories.

    python -m benchmarks.few_plates --prior --seed 31000 --laboratories 24 --plates 2
    python -m benchmarks.few_plates --assays 1 2 4 8 9
    python -m benchmarks.few_plates --divided 4

The laboratories have consecutive seeds and the ``--renderers`` in turn. Their compounds kill by the
mechanisms of the laboratory in random order, hidden mechanisms included, in the layout ``screen``.

With ``--prior``, the laboratories give the standard deviation between plates of the slope (measured
deterioration / predicted deterioration), which is the constant ``PRIOR_SLOPE_SD`` of
``inference/deterioration/intervals.py``. The table of held-out plates uses other laboratories,
which had no influence on that constant.

For each number of assay plates, random sets of plates of one laboratory calibrate, and the other
plates of the laboratory are held out. ``covered`` is the share of measured wells (assay noise of 3
points) inside the 90 % interval: the mean over plates, its 95 % bootstrap interval over plates, and
the plate with the lowest value. ``Winkler`` is the interval score divided by that of the interval
0–100 %. ``order`` is Spearman's correlation of predicted deterioration with the true kill over
treated wells, ``departure`` the same without a calibration. Rendered plates are cached in
``--out``.

The features are the measures, and with ``--encoder`` also the embedding of a shipped encoder. A
row is printed for all calibrations, for those that the service accepts (all others leave a plate to
the ranking by departure), and for each renderer if there are several.

With ``--divided``, half-divided plates of each tested laboratory calibrate: 30 untreated wells in
one half and 30 wells of the same combination in the other, with effects of edge and column. Every
set of one or two plates is tested on the other divided plates, and on the ``--plates`` plates of
the layout ``screen``. All errors are mean absolute errors of treated wells in percentage points:
``within`` is the one that the calibration reports (its own left-out wells), ``held out`` that on
other plates of the combination, and ``constant`` that of a prediction of the mean treated
calibration well. ``order`` is Spearman's correlation over the treated wells of a plate.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from statistics import fmean

import numpy as np
import numpy.typing as npt
import structlog
from scipy.stats import spearmanr

from benchmarks.observed_plates import ROOT
from inference.bundle import load_bundle
from inference.departure.departure_settings import DEFAULT_DEPARTURE_SETTINGS
from inference.deterioration.calibration import Calibration, Prediction, calibrate, refit
from inference.deterioration.intervals import LeftOutPlate, plate_slope
from simulation.kinds import Layout, RendererName
from simulation.laboratories.laboratory import Laboratory
from simulation.plate import DOSED_ON_DAY, READOUT_DAY, VirtualPlate
from training.evaluation.laboratories import draw_laboratories
from training.evaluation.laboratory_plates import (
    BundleExtractor,
    LaboratoryPlate,
    StageTimes,
    observe_plates,
)
from training.evaluation.laboratory_protocol import Reading, assay_plate, departure_scores

Array = npt.NDArray[np.float64]
RENDERERS = (RendererName.SHADED_BALL, RendererName.GROWING_FRONT)
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
    laboratory: Laboratory, plates: int, options: argparse.Namespace, layout: Layout = Layout.SCREEN
) -> list[LaboratoryPlate]:
    """Return plates of a laboratory with the features of the chosen encoder.

    Divided plates have the combination of the first plate, with its kills in other wells.
    """
    scopes = laboratory.plates(plates, size_px=options.size, layout=layout)
    if layout is Layout.DIVIDED:
        scopes = tuple(
            replace(scope, plate=with_plan_of(scope.plate, scopes[0].plate)) for scope in scopes
        )
    extractors = (
        [BundleExtractor(options.encoder, load_bundle(options.encoder))] if options.encoder else []
    )
    return observe_plates(scopes, extractors, options.out, StageTimes(), wells=options.wells)


def with_plan_of(plate: VirtualPlate, first: VirtualPlate) -> VirtualPlate:
    """Return a plate with the treatments of another plate and its kills in random treated wells."""
    treated = [number for number, plan in enumerate(first.wells) if plan.treatment]
    order = np.random.default_rng([plate.seed, plate.index]).permutation(treated)
    wells = list(first.wells)
    for number, other in zip(treated, order, strict=True):
        kill = first.wells[other].readout_kill
        wells[number] = replace(first.wells[number], readout_kill=kill)
    return replace(first, index=plate.index, name=plate.name, wells=tuple(wells))


def winkler_score(low: Array, high: Array, measured: Array) -> float:
    """Return the mean interval score of Winkler, J. Am. Stat. Assoc. 67 (1972) 187, in points."""
    below, above = np.maximum(low - measured, 0), np.maximum(measured - high, 0)
    return float(np.mean(high - low + 2 / ALPHA * (below + above)))


def measured_percent(plate: LaboratoryPlate) -> Array:
    """Return the simulated assay of all wells, (N,) deterioration in percent."""
    percent = assay_plate(plate, Reading("", "measures")).deterioration_percent
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


def learn(plates: Sequence[LaboratoryPlate], reading: Reading) -> Calibration:
    """Return the calibration on simulated assays of plates; its card may not be valid."""
    teachers = [assay_plate(plate, reading) for plate in plates]
    return refit(teachers, calibrate(teachers, digest="", seed=_SEED), seed=_SEED)


def predict(model: Calibration, plate: LaboratoryPlate, reading: Reading) -> Prediction:
    """Return the prediction of all wells of a plate."""
    return model.predict(
        plate.trajectories(reading.representation, reading.encoder),
        dosing_day=DOSED_ON_DAY,
        readout_day=READOUT_DAY,
    )


def evaluate(
    plates: Sequence[LaboratoryPlate], assays: int, draws: int, reading: Reading
) -> Iterator[HeldOut]:
    """Yield the results of all held-out plates of one laboratory."""
    rng = np.random.default_rng([_SEED, assays])
    for chosen in draw_sets(len(plates), assays, draws, rng):
        model = learn([plates[number] for number in chosen], reading)
        for number, plate in enumerate(plates):
            if number not in chosen:
                predicted = predict(model, plate, reading)
                yield judge(plate, predicted, valid=model.card.valid)


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
    """Print one row for each number of assay plates; for all laboratories and each renderer."""
    reading = chosen_reading(options)
    departures = [
        spearmanr(
            departure_scores(plate, reading, DEFAULT_DEPARTURE_SETTINGS)[~plate.untreated],
            plate.kill[~plate.untreated],
            nan_policy="omit",
        ).statistic
        for plates in laboratories
        for plate in plates
    ]
    print(f"features: {reading.name}; {len(laboratories)} laboratories")
    print(
        f"{'assays':>6} {'plates':>6} {'draws':>5}  {'covered':23} {'worst':>6}  {'Winkler':>5} "
        f"{'width':>6}  {'order':20} {'worst':>5} {'valid':>6}"
    )
    for assays in options.assays:
        results = [
            each
            for plates in laboratories
            if len(plates) > assays
            for each in evaluate(plates, assays, options.draws, reading)
        ]
        print_row(assays, results)
        if accepted := [each for each in results if each.valid]:
            print("  accepted:")
            print_row(assays, accepted)
        for renderer in options.renderers if len(options.renderers) > 1 else ():
            print(f"  {renderer}:")
            print_row(assays, [each for each in results if each.plate.startswith(renderer)])
    print(
        f"departure without a calibration: order {np.mean(departures):.3f}, "
        f"worst {min(departures):.3f}"
    )


def chosen_reading(options: argparse.Namespace) -> Reading:
    """Return the features of the options: the measures, alone or with an embedding."""
    return Reading(options.encoder, "both" if options.encoder else "measures")


def predict_treated(
    model: Calibration, plate: LaboratoryPlate, reading: Reading
) -> tuple[Array, Array]:
    """Return the predicted and the measured percent of the treated wells of a plate."""
    percent = predict(model, plate, reading).percent
    known = ~plate.untreated & np.isfinite(percent)
    return percent[known], measured_percent(plate)[known]


def print_divided(
    divided: Sequence[LaboratoryPlate], screens: Sequence[LaboratoryPlate], reading: Reading
) -> None:
    """Print the errors of calibrations on one and on two half-divided plates of a laboratory."""
    laboratory, treatment = divided[0].laboratory, max(divided[0].treatments, key=len)
    print(f"{laboratory.renderer_name} {laboratory.seed}: {len(divided)} plates of {treatment}")
    print(f"{'assays':>6} {'within':>7} {'held out':>9} {'constant':>9} {'order':>6} {'screen':>7}")
    for assays in (1, 2):
        rows: list[tuple[float, ...]] = []
        for chosen in combinations(range(len(divided)), assays):
            model = learn([divided[number] for number in chosen], reading)
            card = model.card
            usual = np.mean(
                [measured_percent(divided[number])[~divided[number].untreated] for number in chosen]
            )
            others = [plate for number, plate in enumerate(divided) if number not in chosen]
            held_out = [predict_treated(model, plate, reading) for plate in others]
            rows.append(
                (
                    card.treated_error_points or np.nan,
                    fmean(float(np.abs(one - other).mean()) for one, other in held_out),
                    fmean(float(np.abs(usual - other).mean()) for _, other in held_out),
                    fmean(float(spearmanr(one, other).statistic) for one, other in held_out),
                    fmean(
                        float(np.abs(one - other).mean())
                        for one, other in (
                            predict_treated(model, plate, reading) for plate in screens
                        )
                    ),
                )
            )
        within, out, constant, order, screen = np.mean(rows, axis=0)
        print(
            f"{assays:6} {within:7.1f} {out:9.1f} {constant:9.1f} {order:6.2f} {screen:7.1f}",
            flush=True,
        )
    print(f"single treatment: {card.single_treatment}; confounded: {', '.join(card.confounded)}")


def print_prior(
    laboratories: Sequence[Sequence[LaboratoryPlate]], options: argparse.Namespace
) -> None:
    """Print the slopes of each plate when another plate of its laboratory calibrates."""
    reading = chosen_reading(options)
    squares: list[float] = []
    for plates in laboratories:
        slopes = []
        for teacher in plates:
            model = learn([teacher], reading)
            for plate in plates:
                if plate is not teacher:
                    names = [
                        "" if untreated else name
                        for untreated, name in zip(plate.untreated, plate.treatments, strict=True)
                    ]
                    percent = predict(model, plate, reading).percent
                    slopes.append(
                        plate_slope(LeftOutPlate(percent, measured_percent(plate), tuple(names)))
                    )
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
    parser.add_argument("--laboratories", type=int, default=2, help="number of laboratories")
    parser.add_argument("--seed", type=int, default=8_200, help="of the first laboratory")
    parser.add_argument("--plates", type=int, default=12, help="of each laboratory")
    parser.add_argument("--wells", type=int, default=60, help="of each plate")
    parser.add_argument("--size", type=int, default=256, help="side of an image in pixels")
    parser.add_argument("--encoder", default="", help="shipped encoder, such as default")
    parser.add_argument("--assays", nargs="+", type=int, default=[1, 2, 4, 8, 9], help="plates")
    parser.add_argument("--draws", type=int, default=20, help="sets of plates for each plate")
    parser.add_argument("--divided", type=int, default=0, help="half-divided plates")
    parser.add_argument("--prior", action="store_true", help="print the prior")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    drawn = draw_laboratories(options.seed, options.laboratories, options.renderers)
    laboratories = [observe_laboratory(each, options.plates, options) for each in drawn]
    if options.divided:
        for laboratory, screens in zip(drawn, laboratories, strict=True):
            divided = observe_laboratory(laboratory, options.divided, options, Layout.DIVIDED)
            print_divided(divided, screens, chosen_reading(options))
    elif options.prior:
        print_prior(laboratories, options)
    else:
        print_evaluation(laboratories, options)


if __name__ == "__main__":
    main()
