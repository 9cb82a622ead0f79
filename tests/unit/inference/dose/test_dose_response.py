import numpy as np
import pytest
from scipy.optimize import curve_fit
from scipy.stats import f as f_distribution
from synfit.synthetic import generate_single_drug, scenario_config

from inference.dose.dose_response import fit_dose_response
from inference.dose.growth_rate import gr_value, untreated_growth
from inference.dose.logistic import DoseLevels, Logistic, LogisticFit, fit_logistic
from schemas.dose_response import Bound, DoseResponse, Effect, Response
from schemas.errors import ProfileError

pytestmark = pytest.mark.synfit

DOSES = 10.0 / 3.0 ** np.arange(7)[::-1]  # 0.014 … 10
TRUE = Logistic(bottom=0.0, top=8.0, midpoint=0.5, hill=1.5)
Wells = dict[float, list[tuple[str, float]]]


def wells(
    curve: Logistic,
    *,
    doses: np.ndarray = DOSES,
    replicates: int = 3,
    untreated: int = 18,
    spread: float = 1.0,
    seed: int = 0,
) -> Wells:
    rng = np.random.default_rng(seed)
    counts = {0.0: untreated} | dict.fromkeys(doses.tolist(), replicates)
    truth = dict(zip(counts, curve.effect_at(np.array(list(counts))), strict=True))
    return {
        dose: [
            (f"{dose:g}-{n}", float(truth[dose] + spread * rng.standard_normal()))
            for n in range(count)
        ]
        for dose, count in counts.items()
    }


def known(of: Wells, effect: Effect = Effect.DEPARTURE) -> DoseResponse:
    return fit_dose_response("gemcitabine", "uM", effect, of)[0]


def fitted(of: Wells) -> LogisticFit:
    doses, effects = zip(
        *((dose, value) for dose, of_dose in of.items() for _, value in of_dose), strict=True
    )
    return fit_logistic(DoseLevels.from_wells(np.array(doses), np.array(effects)))


def test_without_noise_the_true_curve_is_fitted() -> None:
    curve = fitted(wells(TRUE, spread=0.0)).curve
    assert [curve.bottom, curve.top, curve.midpoint, curve.hill] == pytest.approx(
        [0.0, 8.0, 0.5, 1.5], rel=1e-4, abs=1e-4
    )


def test_the_best_curve_equals_that_of_scipy_curve_fit() -> None:
    levels = DoseLevels.from_wells(
        *(
            np.array(column)
            for column in zip(
                *((dose, value) for dose, of in wells(TRUE).items() for _, value in of), strict=True
            )
        )
    )

    def logistic(
        dose: np.ndarray, bottom: float, top: float, log_midpoint: float, log_hill: float
    ) -> np.ndarray:
        return Logistic(bottom, top, np.exp(log_midpoint), np.exp(log_hill)).effect_at(dose)

    found, _ = curve_fit(
        logistic, levels.doses, levels.means, p0=(0, 6, 0, 0), sigma=levels.weights**-0.5
    )
    ours = fit_logistic(levels).curve
    assert [ours.bottom, ours.top, np.log(ours.midpoint), np.log(ours.hill)] == pytest.approx(
        found, rel=1e-3, abs=1e-3
    )


def test_the_profile_limit_is_the_residual_with_a_fixed_midpoint() -> None:
    fit = fitted(wells(TRUE, seed=3))
    low, high = fit.midpoint_limits()
    assert low is not None
    assert high is not None
    for end in (low, high):
        hills = np.linspace(np.log(0.25), np.log(8), 4001)
        covered = type(fit.cells).fit(fit.levels, np.full(4001, np.log(end)), hills).residual.min()
        assert covered == pytest.approx(fit._limit, rel=0.01)


def test_intervals_have_their_nominal_coverage() -> None:
    fits = [fitted(wells(TRUE, seed=seed)) for seed in range(150)]
    covered = [
        (low or 0) <= 0.5 <= (high or np.inf)
        for low, high in (fit.midpoint_limits() for fit in fits)
    ]
    tops = [low <= 8.0 <= high for low, high in (fit.effect_limits(1.0) for fit in fits)]
    assert 0.83 <= np.mean(covered) <= 0.97
    assert 0.83 <= np.mean(tops) <= 0.97


def test_intervals_are_wider_if_wells_with_an_effect_vary_more() -> None:
    equal, wider = [], []
    for seed in range(20):
        equal_noise = wells(TRUE, seed=seed)
        unequal_noise = {
            dose: [
                (
                    name,
                    value
                    if dose == 0
                    else TRUE.effect_at(np.array([dose]))[0]
                    + 3 * (value - TRUE.effect_at(np.array([dose]))[0]),
                )
                for name, value in of
            ]
            for dose, of in equal_noise.items()
        }
        equal.append(np.ptp(fitted(equal_noise).effect_limits(1.0)))
        wider.append(np.ptp(fitted(unequal_noise).effect_limits(1.0)))
    assert np.median(wider) > 2 * np.median(equal)


def test_flat_wells_are_no_response_and_have_no_ic50() -> None:
    flat = Logistic(0.0, 0.0, 1.0, 1.0)
    result = [known(wells(flat, seed=seed), Effect.DETERIORATION) for seed in range(100)]
    not_responding = [each for each in result if each.verdict is Response.NO_RESPONSE]
    assert len(not_responding) >= 93
    assert all(
        each.curve is None and each.relative_ic50 is None and each.absolute_ic50 is None
        for each in not_responding
    )
    assert all(each.p_value is not None and each.p_value > 0.05 for each in not_responding)


def test_the_p_value_is_that_of_the_extra_sum_of_squares() -> None:
    of = wells(Logistic(0.0, 1.0, 0.5, 1.0), replicates=4, untreated=4, seed=1)
    fit = fitted(of)
    levels = fit.levels
    by_hand = ((levels.total_squares - fit.residual) / 3) / (fit.residual / (levels.wells - 4))
    assert fit.p_flat == pytest.approx(f_distribution.sf(by_hand, 3, levels.wells - 4))


def test_two_doses_are_too_few_and_three_with_untreated_wells_are_enough() -> None:
    assert known(wells(TRUE, doses=DOSES[-2:])).verdict is Response.TOO_FEW_DOSES
    assert known(wells(TRUE, doses=DOSES[-5::2])).verdict is Response.RESPONDS


def test_without_untreated_wells_four_doses_are_needed() -> None:
    assert known(wells(TRUE, doses=DOSES[-3:], untreated=0)).verdict is Response.TOO_FEW_DOSES
    assert known(wells(TRUE, untreated=0)).verdict is Response.RESPONDS


def test_no_more_wells_than_parameters_are_too_few() -> None:
    assert (
        known(wells(TRUE, doses=DOSES[:3], replicates=1, untreated=1)).verdict
        is Response.TOO_FEW_WELLS
    )


@pytest.mark.parametrize(
    ("midpoint", "bound", "amount"),
    [
        (200.0, Bound.ABOVE_HIGHEST, 10.0),
        (0.5, Bound.WITHIN, 0.5),
        (0.001, Bound.BELOW_LOWEST, float(DOSES[0])),
    ],
)
def test_an_ic50_beyond_the_doses_is_reported_and_not_extrapolated(
    midpoint: float, bound: Bound, amount: float
) -> None:
    result = known(
        wells(Logistic(0.0, 1.0 if midpoint < 100 else 10.0, midpoint, 1.5), spread=0.002),
        Effect.DETERIORATION,
    )
    assert result.relative_ic50 is not None
    assert result.relative_ic50.bound is bound
    assert result.relative_ic50.amount == pytest.approx(amount, rel=0.1)
    assert (result.relative_ic50.low is None) == (bound is Bound.BELOW_LOWEST)
    assert (result.relative_ic50.high is None) == (bound is Bound.ABOVE_HIGHEST)


def test_a_top_that_no_dose_is_near_has_no_upper_limit() -> None:
    curve = known(wells(Logistic(0.0, 60.0, 40.0, 1.0))).curve
    assert curve is not None
    assert curve.top.high is None
    assert curve.top.low is not None


def test_the_absolute_ic50_is_where_the_effect_is_a_half() -> None:
    top = 0.8
    result = known(
        wells(Logistic(0.0, top, 0.5, 1.5), spread=0.03), Effect.DETERIORATION
    ).absolute_ic50
    assert result is not None
    truth = 0.5 * (0.5 / (top - 0.5)) ** (1 / 1.5)
    assert result.amount == pytest.approx(truth, rel=0.15)
    assert result.low is not None
    assert result.high is not None
    assert result.low < truth < result.high


def test_an_effect_that_never_reaches_a_half_has_its_absolute_ic50_above_the_highest_dose() -> None:
    result = known(wells(Logistic(0.0, 0.3, 0.5, 1.5), spread=0.02), Effect.DETERIORATION)
    assert result.absolute_ic50 is not None
    assert result.absolute_ic50.bound is Bound.ABOVE_HIGHEST
    assert result.relative_ic50 is not None
    assert result.relative_ic50.bound is Bound.WITHIN


def test_a_departure_is_no_fraction_and_has_no_absolute_ic50() -> None:
    result = known(wells(TRUE))
    assert result.relative_ic50 is not None
    assert result.absolute_ic50 is None


@pytest.mark.parametrize("value", [0.0, 0.3, -7.25, 1e9])
def test_equal_effects_are_no_response(value: float) -> None:
    result = known(
        {dose: [(f"{dose}-{n}", value) for n in range(3)] for dose in (0.0, *DOSES.tolist())},
        Effect.DETERIORATION,
    )
    assert (result.verdict, result.p_value) == (Response.NO_RESPONSE, 1.0)


def test_wells_without_an_effect_take_no_part() -> None:
    of = wells(TRUE)
    of[10.0] += [("lost", float("nan")), ("wild", float("inf"))]
    assert known(of) == known(wells(TRUE))


def test_no_wells_at_all_are_too_few_doses() -> None:
    assert known({}).verdict is Response.TOO_FEW_DOSES
    assert known({0.0: [], 1.0: [("B02", float("nan"))]}).doses == ()


@pytest.mark.parametrize(
    "name",
    [
        "single_drug_clean",
        "single_drug_noisy",
        "single_drug_poisson_demo",
        "single_drug_activation",
    ],
)
def test_intervals_contain_the_truth_of_published_scenarios(name: str) -> None:
    config = scenario_config(name)
    truth = config["hill_params"]
    covered = []
    for seed in range(20):
        frame = generate_single_drug(config, np.random.default_rng(seed))
        fit = fit_logistic(
            DoseLevels.from_wells(
                frame["concentration"].to_numpy(float), frame["y"].to_numpy(float)
            )
        )
        assert fit.p_flat < 1e-3
        assert fit.curve.midpoint == pytest.approx(truth["c50"], rel=0.6)
        low, high = fit.midpoint_limits()
        covered.append((low or 0) <= truth["c50"] <= (high or np.inf))
    assert np.mean(covered) >= 0.7


def test_random_curves_vary_like_the_interval() -> None:
    fit = fitted(wells(TRUE, seed=5))
    bottom, top, midpoint, hill = fit.draw(4000, np.random.default_rng(0))
    low, high = fit.midpoint_limits()
    assert low is not None
    assert high is not None
    assert np.quantile(np.log(midpoint), [0.05, 0.95]) == pytest.approx(
        np.log([low, high]), abs=0.35 * np.log(high / low)
    )
    assert np.median(top) == pytest.approx(fit.curve.top, abs=1.0)
    assert np.isfinite([bottom, top, midpoint, hill]).all()


@pytest.mark.parametrize(
    ("readout", "expected"),
    [(4.0, 1.0), (1.0, 0.0), (2.0, 2**0.5 - 1), (0.5, 2**-0.5 - 1), (0.0, -1.0)],
    ids=["grows like untreated", "stands still", "grows half as fast", "shrinks", "gone"],
)
def test_gr_values_equal_those_of_the_paper(readout: float, expected: float) -> None:
    assert gr_value(np.array([1.0]), np.array([readout]), 4.0) == pytest.approx([expected])


def test_area_and_volume_have_one_gr_value() -> None:
    before, now = np.array([2.0, 3.0]), np.array([2.5, 1.5])
    assert gr_value(before**1.5, now**1.5, 2.0**1.5) == pytest.approx(gr_value(before, now, 2.0))


def test_without_growth_of_the_untreated_there_is_no_gr_value() -> None:
    with pytest.raises(ProfileError, match="grew by a factor of 1; expected more than 1"):
        gr_value(np.array([1.0]), np.array([2.0]), 1.0)


@pytest.mark.parametrize(
    "now",
    [[1.0, 1.0, 1.0], [0.5, 2.5, 1.2], [2.0], []],
    ids=["none", "less than they differ", "one well", "no well"],
)
def test_growth_must_exceed_the_spread_between_untreated_wells(now: list[float]) -> None:
    with pytest.raises(ProfileError, match="expected growth"):
        untreated_growth(np.ones(len(now)), np.array(now))


def test_growth_of_the_untreated_is_the_geometric_mean() -> None:
    assert untreated_growth(np.array([1.0, 2.0, 1.0]), np.array([2.0, 4.2, 1.9])) == pytest.approx(
        (2.0 * 2.1 * 1.9) ** (1 / 3)
    )
