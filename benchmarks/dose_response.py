"""Measure interval coverage and false-positive rates of dose-response curves and combinations.

    python -m benchmarks.dose_response --seeds 200

The wells are simulated, with 18 untreated wells per plate. Wells with the largest effect vary as
much as untreated wells, or more. On the real time course, if it exists
(:mod:`benchmarks.real_data`), the midpoint from the images is printed with the midpoint from the
measured viability.
"""

import argparse
import itertools
import time
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.real_data import REAL_DATA
from inference.dose.combinations import (
    ExcessInputs,
    MeanEffects,
    bliss_excess,
    highest_single_agent_excess,
    loewe_excess,
)
from inference.dose.dose_effects import dose_effects
from inference.dose.logistic import DoseLevels, Logistic, LogisticFit, fit_logistic
from inference.profile_tables import read_profiles, trajectories_from_profiles
from inference.ranking.plate_ranking import rank_plate
from schemas.dose_response import Excess, InhibitoryDose

Array = npt.NDArray[np.float64]

UNTREATED = 18
HIGHEST_UM = 10.0
DILUTION = 3.0
REPLICATES = (3, 6)
DOSES = (5, 6, 8)
SIGNIFICANT_P = 0.05
SMALL_P = 0.01
CURVES = {
    "midpoint inside": Logistic(0.0, 6.0, 0.7, 1.5),
    "steep": Logistic(0.0, 6.0, 0.7, 4.0),
    "weak": Logistic(0.0, 3.0, 0.7, 1.0),
    "midpoint at the highest dose": Logistic(0.0, 6.0, 8.0, 1.0),
}
FLAT = Logistic(0.0, 0.0, 1.0, 1.0)
FRACTION_SPREAD = 0.08  # standard deviation of wells whose effects are fractions
DRUGS = (Logistic(0.0, 1.0, 0.7, 1.2), Logistic(0.0, 1.0, 2.0, 1.2))


def simulate_wells(
    curve: Logistic,
    doses: int,
    replicates: int,
    spread: float,
    rise: float,
    rng: np.random.Generator,
) -> DoseLevels:
    """Return DoseLevels of simulated wells on a Logistic, by numbers of doses and replicates.

    ``spread`` is the standard deviation of untreated wells. ``rise`` is the spread of the wells at
    the curve's top, as a multiple of the untreated spread.
    """
    tested = HIGHEST_UM / DILUTION ** np.arange(doses)
    wells = np.concatenate([np.zeros(UNTREATED), np.repeat(tested, replicates)])
    effects = curve.effect_at(wells)
    share = effects / curve.top if curve.top else np.zeros_like(effects)
    return DoseLevels.from_wells(
        wells, effects + spread * (1 + (rise - 1) * share) * rng.standard_normal(len(wells))
    )


def contains(limits: tuple[float | None, float | None], truth: float) -> bool:
    """Return whether an interval contains the true value; a limit of None leaves that side open."""
    low, high = limits
    return (low is None or low <= truth) and (high is None or truth <= high)


def curve_rows(seeds: int) -> Iterator[str]:
    """Yield table rows with the coverage of 90 % intervals of responding curves, for a seed count.

    ``seeds`` is the number of curves in a row.
    """
    yield (
        f"{'curve':30}{'wells vary':>12}{'wells':>7}{'responds':>10}{'EC50 held':>11}"
        f"{'two ends':>10}{'top held':>10}{'hill held':>11}"
    )
    for name, curve in CURVES.items():
        for rise in (1.0, 2.0):
            for replicates in REPLICATES:
                fits = [
                    fit_logistic(
                        simulate_wells(
                            curve,
                            doses,
                            replicates,
                            1.0,
                            rise,
                            np.random.default_rng([seed, doses, replicates]),
                        )
                    )
                    for doses in DOSES
                    for seed in range(seeds // len(DOSES))
                ]
                found = [fit for fit in fits if fit.p_flat <= SIGNIFICANT_P]
                midpoints = [contains(fit.midpoint_limits(), curve.midpoint) for fit in found]
                yield (
                    f"{name:30}{'equally' if rise == 1 else 'up to 2 ×':>12}{replicates:>7}"
                    f"{len(found) / len(fits):>10.1%}"
                    f"{np.mean(midpoints):>11.1%}"
                    f"{np.mean([None not in fit.midpoint_limits() for fit in found]):>10.0%}"
                    f"{np.mean([top_is_covered(fit, curve.top) for fit in found]):>10.1%}"
                    f"{np.mean([contains(fit.hill_limits(), curve.hill) for fit in found]):>11.1%}"
                )


def top_is_covered(fit: LogisticFit, truth: float) -> bool:
    """Return whether the interval of a curve's top contains the true top.

    The interval is open above if the midpoint has no upper limit.
    """
    low, high = fit.effect_limits(1.0)
    return contains((low, high if fit.midpoint_limits()[1] is not None else None), truth)


def flat_rows(seeds: int) -> Iterator[str]:
    """Yield table rows with the false-positive rate of compounds without effect, for a seed count.

    ``seeds`` determines the number of compounds in a row.
    """
    yield f"{'flat compounds':30}{'doses':>12}{'wells':>7}{'p ≤ 0.05':>10}{'p ≤ 0.01':>11}"
    for replicates in REPLICATES:
        for doses in (3, 5, 8):
            rngs = (
                np.random.default_rng([seed, doses, replicates]) for seed in range(5 * seeds // 2)
            )
            p_values = np.array(
                [
                    fit_logistic(simulate_wells(FLAT, doses, replicates, 1.0, 1.0, rng)).p_flat
                    for rng in rngs
                ]
            )
            yield (
                f"{'':30}{doses:>12}{replicates:>7}{(p_values <= SIGNIFICANT_P).mean():>10.1%}"
                f"{(p_values <= SMALL_P).mean():>11.1%}"
            )


def combination_rows(seeds: int) -> Iterator[str]:
    """Yield table rows with detection and coverage of two drugs' excess, for a seed count.

    ``seeds`` is the number of combinations in a row.

    The true excess is 0 or 0.2 of the full effect, under each of three reference models.
    """
    yield (
        f"{'combination of two drugs':30}{'wells vary':>12}{'wells':>7}{'added':>8}{'p ≤ 0.05':>10}"
        f"{'held':>11}"
    )
    for model in ("Bliss", "highest single agent", "Loewe"):
        for rise in (1.0, 4.0):
            for replicates, added in itertools.product(REPLICATES, (0.0, 0.2)):
                seen = [
                    simulate_excess(
                        model, added, replicates, rise, np.random.default_rng([seed, replicates])
                    )
                    for seed in range(seeds)
                ]
                significant, covered = (
                    np.mean([each.p_value <= SIGNIFICANT_P for each in seen]),
                    np.mean([each.low <= added <= each.high for each in seen]),
                )
                yield (
                    f"{model:30}{'equally' if rise == 1 else '1 to 4':>12}{replicates:>7}"
                    f"{added:>8.1f}{significant:>10.1%}{covered:>11.1%}"
                )


def simulate_excess(
    model: str, added: float, replicates: int, rise: float, rng: np.random.Generator
) -> Excess:
    """Return the Excess of one simulated combination under a named model, true excess ``added``."""
    doses = (0.4, 1.2)
    singles = [
        float(drug.effect_at(np.array([dose]))[0]) for drug, dose in zip(DRUGS, doses, strict=True)
    ]
    expected = {
        "Bliss": 1 - (1 - singles[0]) * (1 - singles[1]),
        "highest single agent": max(singles),
        "Loewe": loewe_effect(doses),
    }[model]
    spread = FRACTION_SPREAD if rise == 1 else FRACTION_SPREAD / 2
    parts = ExcessInputs(
        simulate_mean_effects(
            [0.0, expected + added, *singles, 0.3, 0.6, 0.9], replicates, spread, rise, rng
        ).select(range(4)),
        2,
        None,
    )
    if model == "Loewe":
        fits = [
            fit_logistic(simulate_wells(drug, 6, replicates, spread, rise, rng)) for drug in DRUGS
        ]
        return loewe_excess(parts, fits, doses, rng)
    return bliss_excess(parts) if model == "Bliss" else highest_single_agent_excess(parts)


def simulate_mean_effects(
    truth: Sequence[float], replicates: int, spread: float, rise: float, rng: np.random.Generator
) -> MeanEffects:
    """Return the MeanEffects of simulated wells with some true effects, the untreated wells first.

    ``rise`` is the spread of wells with an effect of 1, as a multiple of the untreated spread.
    """
    counts = [UNTREATED] + [replicates] * (len(truth) - 1)
    wells = [
        mean + spread * (1 + (rise - 1) * mean) * rng.standard_normal(count)
        for mean, count in zip(truth, counts, strict=True)
    ]
    return MeanEffects.moderated(wells, 0)


def rows_without_assay(seeds: int) -> Iterator[str]:
    """Yield table rows with Bliss excess where no assay sets the scale, for a seed count.

    The two drugs are independent. ``seeds`` is the number of combinations in a row.

    Without an assay the strongest effect on the plate is taken as an effect of 1.
    """
    yield f"{'Bliss without an assay':30}{'strongest':>12}{'wells':>7}{'excess':>8}{'p ≤ 0.05':>10}"
    for strongest in (1.0, 0.7, 0.5):
        for replicates in REPLICATES:
            truth = [0.0, 1 - 0.8 * 0.85, 0.2, 0.15, strongest, 0.1, 0.3]
            rngs = (np.random.default_rng([seed, replicates]) for seed in range(seeds))
            seen = [
                bliss_excess(
                    ExcessInputs(
                        simulate_mean_effects(truth, replicates, FRACTION_SPREAD, 1.0, rng).select(
                            range(5)
                        ),
                        2,
                        4,
                    )
                )
                for rng in rngs
            ]
            excess, significant = (
                np.mean([each.excess for each in seen]),
                np.mean([each.p_value <= SIGNIFICANT_P for each in seen]),
            )
            yield f"{'':30}{strongest:>12.1f}{replicates:>7}{excess:>+8.3f}{significant:>10.1%}"


def loewe_effect(doses: Sequence[float]) -> float:
    """Return the Loewe-additive effect of the doses of two drugs that share slope and top.

    Each dose is divided by the midpoint of its drug, and the quotients are added.
    """
    potencies = sum(dose / drug.midpoint for dose, drug in zip(doses, DRUGS, strict=True))
    return float(1 / (1 + potencies ** -DRUGS[0].hill))


def real_time_course_rows() -> Iterator[str]:
    """Yield table rows with etoposide's midpoint on real plates, by images and by viability."""
    folder = REAL_DATA / "real_time_course"
    if not folder.is_dir():
        yield f"no real time course: {folder} is missing"
        return
    assay = (
        pd.read_csv(folder / "a673_viability.csv")
        .dropna()
        .set_index(["Metadata_Plate", "Metadata_Well"])["viability_percent"]
    )
    yield f"{'etoposide on A673':30}{'by images, uM':>24}{'by viability, uM':>24}"
    for plate in trajectories_from_profiles(
        read_profiles(folder / "a673_profiles.csv"), where=str(folder)
    ):
        table = rank_plate(plate, dosing_day=0, readout_day=2, seed=0)
        percents = {
            row.well: 100 - float(assay[plate.plate, row.well])
            for row in table.wells
            if (plate.plate, row.well) in assay.index
        }
        measured = tuple(
            row.model_copy(update={"deterioration_percent": percents[row.well]})
            for row in table.wells
            if row.well in percents
        )
        left_out = {each.well for each in table.quality.left_out}
        found = [
            dose_effects(wells, left_out, 0).dose_responses[0].relative_ic50
            for wells in (table.wells, measured)
        ]
        yield f"{plate.plate:30}" + "".join(f"{format_dose(each):>24}" for each in found)


def format_dose(dose: InhibitoryDose | None) -> str:
    """Return an InhibitoryDose or None as text; a question mark replaces an unknown limit."""
    if dose is None:
        return "no response"
    low, high = ("?" if end is None else f"{end:.2f}" for end in (dose.low, dose.high))
    return f"{dose.amount:.2f} ({low} … {high})"


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="plates per row")
    seeds = parser.parse_args().seeds
    started = time.perf_counter()
    for table in (curve_rows, flat_rows, combination_rows, rows_without_assay):
        print(*table(seeds), "", sep="\n", flush=True)
    print(*real_time_course_rows(), "", sep="\n")
    print(f"{seeds} seeds, {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
