from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import norm
from scipy.stats import t as student

from inference.deterioration.intervals import (
    LeftOutPlate,
    fit_error_model,
    plate_slope,
    prediction_interval,
    treatment_variances,
    well_sd,
)
from schemas.calibration import ErrorModel

Array = npt.NDArray[np.float64]
UNTREATED, TREATMENTS, REPLICATES = 18, 12, 3
PRIOR = 0.2  # standard deviation of the slope between plates


def left_out(
    seed: int, *, slope_sd: float = 0.2, treatment: float = 6.0, well: float = 3.0
) -> LeftOutPlate:
    """Return a plate whose errors have known standard deviations."""
    rng = np.random.default_rng(seed)
    names = [""] * UNTREATED + [f"drug{number}" for number in range(TREATMENTS)] * REPLICATES
    predicted = np.concatenate(
        [np.zeros(UNTREATED), np.tile(np.linspace(5, 90, TREATMENTS), REPLICATES)]
    )
    effect = np.tile(rng.normal(0, treatment, TREATMENTS), REPLICATES)
    slope = 1 + rng.normal(0, slope_sd)
    error = np.concatenate([np.zeros(UNTREATED), effect]) + rng.normal(0, well, len(names))
    return LeftOutPlate(predicted, slope * predicted + error, tuple(names))


def test_the_slope_of_a_plate_is_that_of_a_regression_through_zero() -> None:
    plate = left_out(3)
    treated = ~plate.untreated
    names = np.array(plate.treatments)[treated]
    means = np.array(
        [
            [
                plate.predicted[treated][names == name].mean(),
                plate.error[treated][names == name].mean(),
            ]
            for name in sorted(set(names))
        ]
    )
    reference = np.linalg.lstsq(means[:, :1], means[:, 1], rcond=None)[0][0]
    assert plate_slope(plate) == pytest.approx(reference)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_variance_between_plates_is_moderated_by_the_prior(count: int) -> None:
    plates = [left_out(seed) for seed in range(count)]
    slopes = [plate_slope(plate) for plate in plates]
    squares = sum((slope - np.mean(slopes)) ** 2 for slope in slopes)
    variance = (4 * PRIOR**2 + squares) / (4 + count - 1) * (1 + 1 / count)
    model = fit_error_model(plates, PRIOR)
    assert model.slope_sd**2 == pytest.approx(variance)
    assert model.degrees_of_freedom == 4 + count - 1
    quantile = norm.ppf(0.95)
    assert model.reach == pytest.approx(quantile)
    half = model.reach * well_sd(model, np.array([80.0]), np.array([False]))
    points = np.hypot(model.treatment_points, model.well_points) * 0.25**0.5
    assert half == pytest.approx(
        np.hypot(student(4 + count - 1).ppf(0.95) * model.slope_sd * 80, quantile * points)
    )
    assert model.basis == ("prior" if count == 1 else "model")


def test_standard_deviations_are_found_from_many_plates() -> None:
    model = fit_error_model([left_out(seed) for seed in range(300)], PRIOR)
    assert model.slope_sd == pytest.approx(0.2, rel=0.1)
    share = 1.05 - np.linspace(5, 90, TREATMENTS).mean() / 100
    assert model.treatment_points * share**0.5 == pytest.approx(6.0, rel=0.1)
    assert model.well_points * share**0.5 == pytest.approx(3.0, rel=0.05)
    assert model.untreated_points == pytest.approx(3.0, rel=0.05)


def covered_by(model: ErrorModel, plates: Sequence[LeftOutPlate], reach: float) -> Array:
    """Return the fraction of covered wells of each plate with another factor of the widths."""
    wide = model.model_copy(update={"reach": reach, "lowest_percent": -1e9})
    fractions = []
    for plate in plates:
        low, high = prediction_interval(wide, plate.predicted, plate.untreated)
        fractions.append(((low <= plate.measured) & (plate.measured <= high)).mean())
    return np.array(fractions)


@pytest.mark.parametrize(("count", "different"), [(9, 0), (9, 1), (19, 2)])
def test_the_conformal_reach_covers_nine_of_ten_wells_if_half_of_a_further_plate_is_covered(
    count: int, different: int
) -> None:
    plates = [left_out(seed) for seed in range(count)]
    for number in range(different):
        plates[number] = left_out(number, treatment=30.0, well=12.0)
    plates = [replace(plate, measured=np.minimum(plate.measured, 100)) for plate in plates]
    model = fit_error_model(plates, PRIOR)
    assert model.basis == "conformal"

    def mean_covered(reach: float) -> float:
        return float((covered_by(model, plates, reach).sum() + 0.5) / (count + 1))

    assert mean_covered(1.0001 * model.reach) >= 0.9
    assert mean_covered(0.9999 * model.reach) < 0.9
    assert fit_error_model(plates[:8], PRIOR).basis == "model"


def test_one_well_with_a_large_error_does_not_set_the_width_of_nine_plates() -> None:
    plates = [left_out(seed) for seed in range(9)]
    measured = plates[0].measured.copy()
    measured[20] = -400
    widths = [
        fit_error_model(plates, PRIOR).reach,
        fit_error_model([replace(plates[0], measured=measured), *plates[1:]], PRIOR).reach,
    ]
    assert widths[1] < 1.2 * widths[0]


@pytest.mark.parametrize("count", [1, 2, 4, 8, 12])
def test_intervals_cover_at_least_nine_of_ten_wells_of_a_new_plate(
    count: int,
) -> None:
    covered = []
    for seed in range(150):
        model = fit_error_model([left_out(1000 * seed + plate) for plate in range(count)], PRIOR)
        new = left_out(1000 * seed + 999)
        low, high = prediction_interval(model, new.predicted, new.untreated)
        measured = np.minimum(new.measured, 100)
        covered.append(((low <= measured) & (measured <= high)).mean())
    assert np.mean(covered) > 0.88


def test_an_interval_may_be_below_0_but_not_far_below_the_lowest_assay() -> None:
    plate = left_out(1)
    model = fit_error_model([plate], PRIOR)
    low, high = prediction_interval(
        model, np.array([0.0, 2.0, 98.0]), np.array([True, False, False])
    )
    assert (low[:2] < 0).all()
    assert high[2] == 100
    lowest = plate.measured.min() - np.std(plate.measured[plate.untreated])
    assert -30 < lowest < 0
    wide = model.model_copy(update={"untreated_points": 900.0})
    low, high = prediction_interval(wide, np.zeros(1), np.ones(1, dtype=bool))
    assert (low[0], high[0]) == pytest.approx((lowest, 100))


def test_assays_far_above_the_control_do_not_lower_the_interval_below_twice_the_control() -> None:
    plate = left_out(1)
    above = replace(plate, measured=np.where(plate.untreated, plate.measured, -180.0))
    assert fit_error_model([above], PRIOR).lowest_percent == -100


def test_assays_of_killed_wells_alone_do_not_raise_the_limit_above_0() -> None:
    plate = LeftOutPlate(np.full(6, 60.0), np.array([50.0, 55, 60, 65, 70, 75]), tuple("aabbcc"))
    model = fit_error_model([plate], PRIOR)
    low, _ = prediction_interval(model, np.array([10.0]), np.zeros(1, dtype=bool))
    assert low[0] < 0
    assert model.lowest_percent < 0


def test_the_variance_of_a_treatment_decreases_with_its_wells_and_the_slope_is_shared() -> None:
    model = fit_error_model([left_out(seed) for seed in range(3)], PRIOR)
    own, shared = treatment_variances(model, np.array([50.0, 50.0, 0.0]), np.array([1.0, 3.0, 3.0]))
    quantile = student(model.degrees_of_freedom).ppf(0.95)
    assert quantile**2 * (own[0] - own[1]) == pytest.approx(
        norm.ppf(0.95) ** 2 * model.well_points**2 * 0.55 * 2 / 3
    )
    assert shared == pytest.approx([(model.slope_sd * 50) ** 2, (model.slope_sd * 50) ** 2, 0])


def test_the_interval_of_an_untreated_well_contains_its_percent_and_the_assays_of_the_others() -> (
    None
):
    plate = left_out(5)
    model = fit_error_model([plate], PRIOR)
    of_untreated = plate.measured[plate.untreated]
    assert model.untreated_points == pytest.approx(np.sqrt(np.mean(of_untreated**2)))
    low, high = prediction_interval(model, np.array([40.0]), np.array([True]))
    reach = norm.ppf(0.95) * model.untreated_points
    assert (low[0], high[0]) == pytest.approx((max(-reach, model.lowest_percent), 40 + reach))


def test_intervals_of_wells_that_look_dead_are_narrower_than_of_wells_that_look_untreated() -> None:
    plates = [left_out(seed, slope_sd=0, treatment=20.0) for seed in range(8)]
    model = fit_error_model(plates, 0.0)
    sd = well_sd(model, np.array([0.0, 50.0, 100.0]), np.zeros(3, dtype=bool))
    assert sd[1:] / sd[0] == pytest.approx([0.72, 0.22], abs=0.05)


def test_predictions_without_differences_or_untreated_wells_have_an_interval() -> None:
    plate = LeftOutPlate(np.zeros(3), np.array([1.0, 4.0, 9.0]), ("a", "a", "a"))
    low, high = prediction_interval(
        fit_error_model([plate], PRIOR), np.zeros(2), np.array([True, False])
    )
    assert (high - low > 2).all()
