from typing import Any

import numpy as np
import pytest
from synfit.bliss import bliss_reference, hsa_reference
from synfit.loewe import loewe_reference
from synfit.synthetic import generate_matrix, scenario_config

from inference.dose.combinations import (
    ExcessInputs,
    MeanEffects,
    bliss_excess,
    highest_single_agent_excess,
    loewe_excess,
)
from inference.dose.logistic import DoseLevels, Logistic, LogisticFit, fit_logistic
from schemas.ranking import TreatmentTable
from tests.dosed_plates import table, well, with_doses

pytestmark = pytest.mark.synfit

Array = np.ndarray[Any, np.dtype[np.float64]]
True_ = dict[str, tuple[float, float, float]]


def parts(
    combination: float,
    single_agents: tuple[float, ...],
    *,
    spread: float = 0.05,
    replicates: int = 3,
    seed: int = 0,
) -> ExcessInputs:
    """Return the inputs of an excess: untreated, combination, single agents, other treatments."""
    rng = np.random.default_rng(seed)
    truth = [0.0, combination, *single_agents, 0.5, 0.5, 0.5, 0.5]
    wells = [
        mean + spread * rng.standard_normal(18 if n == 0 else replicates)
        for n, mean in enumerate(truth)
    ]
    return ExcessInputs(
        MeanEffects.moderated(wells, 0).select(range(2 + len(single_agents))),
        len(single_agents),
        None,
    )


def curve(
    midpoint: float, *, top: float = 1.0, hill: float = 1.0, spread: float = 0.0, seed: int = 0
) -> LogisticFit:
    doses = np.repeat([0.0, *(10.0 / 3.0 ** np.arange(7))], 3)
    effects = Logistic(0.0, top, midpoint, hill).effect_at(doses) + spread * np.random.default_rng(
        seed
    ).standard_normal(len(doses))
    return fit_logistic(DoseLevels.from_wells(doses, effects))


def scenario(name: str, seed: int) -> tuple[TreatmentTable, True_]:
    """Return a plate of synfit, and the true Bliss, HSA and Loewe excess of each combination."""
    config = scenario_config(name)
    replicates, across, down = generate_matrix(config, np.random.default_rng(seed))
    (truth,), _, _ = generate_matrix(
        config | {"noise_model": "gaussian", "noise_sigma": 0.0, "n_replicates": 1}
    )
    independent = bliss_reference(truth[0], truth[:, 0], 1.0, 0.0)
    highest = hsa_reference(truth[0], truth[:, 0])
    drugs = config["horizontal_drug"], config["vertical_drug"]
    additive = loewe_reference(
        across,
        down,
        *(drug["c50"] for drug in drugs),
        *(drug["hill"] for drug in drugs),
        config["effect_0"],
        config["effect_inf"],
    )
    rows, excess = [], {}
    for i, j in np.ndindex(truth.shape):
        treatment = " + ".join(
            f"{drug}:{dose:.9g} uM"
            for drug, dose in (("across", across[j]), ("down", down[i]))
            if dose > 0
        )
        rows += [
            well(f"{i}-{j}-{n}", treatment, percent=100 * float(1 - replicate[i, j]))
            for n, replicate in enumerate(replicates)
        ]
        if i and j:
            excess[treatment] = (
                independent[i, j] - truth[i, j],
                highest[i, j] - truth[i, j],
                additive[i, j] - truth[i, j],
            )
    return table(rows), excess


def compared(name: str, seeds: int) -> dict[str, dict[str, Array]]:
    """Return excess, true excess, coverage and p-value of all combinations by model."""
    rows: dict[str, list[tuple[float, float, bool, float]]] = {"bliss": [], "hsa": [], "loewe": []}
    for seed in range(seeds):
        plate, truth = scenario(name, seed)
        for each in with_doses(plate, seed).combinations:
            for (model, of_model), true in zip(rows.items(), truth[each.treatment], strict=True):
                result = getattr(each, model)
                assert result is not None
                of_model.append(
                    (result.excess, true, result.low <= true <= result.high, result.p_value)
                )
    return {
        model: dict(
            zip(
                ("excess", "true", "covered", "p"),
                map(np.array, zip(*of_model, strict=True)),
                strict=True,
            )
        )
        for model, of_model in rows.items()
    }


@pytest.mark.parametrize(
    "name",
    [
        "matrix_independent",
        "matrix_loewe_additive",
        "matrix_synergy",
        "matrix_antagonism",
        "matrix_steep_hills",
    ],
)
def test_the_excess_equals_that_of_a_published_scenario(name: str) -> None:
    for model, result in compared(name, 4).items():
        assert np.abs(np.mean(result["excess"] - result["true"])) < 0.02, model
        assert np.mean(result["covered"]) >= 0.8, model


def test_independent_drugs_have_no_bliss_excess_and_additive_ones_no_loewe_excess() -> None:
    # Synfit's drugs have a largest effect of 98 %, but the full effect is 1 here.
    assert np.mean(compared("matrix_independent", 4)["bliss"]["p"] <= 0.05) <= 0.07
    assert np.mean(compared("matrix_loewe_additive", 4)["loewe"]["p"] <= 0.05) <= 0.07
    assert np.mean(compared("matrix_loewe_sham", 4)["loewe"]["p"] <= 0.05) <= 0.07


def test_every_model_finds_strong_synergy() -> None:
    for result in compared("matrix_strong_synergy", 4).values():
        large = result["true"] > 0.15
        assert large.sum() >= 16
        assert np.mean((result["p"] <= 0.05)[large]) >= 0.9
        assert (result["excess"][large] > 0).all()


def test_antagonism_has_a_negative_bliss_excess() -> None:
    result = compared("matrix_antagonism", 4)["bliss"]
    large = result["true"] < -0.08
    assert large.sum() > 10
    assert np.mean((result["p"] <= 0.05)[large]) >= 0.8
    assert (result["excess"][large] < 0).all()


def test_the_bliss_expectation_is_the_product_of_surviving_fractions() -> None:
    result = bliss_excess(parts(0.9, (0.5, 0.4), spread=0.0))
    assert (result.expected, result.excess) == pytest.approx((0.7, 0.2))
    assert bliss_excess(parts(0.9, (0.5, 0.4, 0.2), spread=0.0)).expected == pytest.approx(
        1 - 0.5 * 0.6 * 0.8
    )


def test_the_bliss_interval_follows_from_error_propagation() -> None:
    given = parts(0.8, (0.5, 0.4), seed=2)
    (u, c, a, b), (vu, vc, va, vb) = given.means.values, given.means.variances
    left = (1 - a) * (1 - b) / (1 - u) ** 2  # the excess is left - (1 - c) / (1 - u)
    slopes = np.array(
        [
            (2 * left - (1 - c) / (1 - u)) / (1 - u),
            1 / (1 - u),
            -(1 - b) / (1 - u) ** 2,
            -(1 - a) / (1 - u) ** 2,
        ]
    )
    spread = np.sqrt((slopes**2 * np.array([vu, vc, va, vb])).sum())
    result = bliss_excess(given)
    assert (result.high - result.low) / 2 == pytest.approx(
        spread * 1.70, rel=0.05
    )  # t quantile of about 30 degrees of freedom


def test_bliss_keeps_the_false_positive_rate_without_excess() -> None:
    result = [bliss_excess(parts(0.7, (0.5, 0.4), seed=seed)) for seed in range(600)]
    assert 0.02 <= np.mean([each.p_value <= 0.05 for each in result]) <= 0.075
    assert 0.86 <= np.mean([each.low <= 0 <= each.high for each in result]) <= 0.94


@pytest.mark.parametrize("single_agents", [(0.5, 0.5), (0.5, 0.1)], ids=["equal", "unequal"])
def test_highest_single_agent_keeps_the_false_positive_rate(
    single_agents: tuple[float, float],
) -> None:
    result = [
        highest_single_agent_excess(parts(0.5, single_agents, seed=seed)) for seed in range(600)
    ]
    assert np.mean([each.p_value <= 0.05 for each in result]) <= 0.075
    assert np.mean([each.low <= 0 <= each.high for each in result]) >= 0.87


def test_highest_single_agent_compares_with_the_stronger_drug() -> None:
    result = highest_single_agent_excess(parts(0.9, (0.5, 0.7), spread=0.02))
    assert result.expected == pytest.approx(0.7, abs=0.05)
    assert result.excess == pytest.approx(0.2, abs=0.05)
    assert result.low <= result.excess <= result.high


def test_a_drug_combined_with_itself_is_loewe_additive() -> None:
    doses = [1.0, 2.0]
    fit = curve(4.0, hill=1.7)
    alone = float(fit.curve.effect_at(np.array([3.0]))[0])
    result = loewe_excess(parts(alone, (), spread=0.0), [fit, fit], doses, np.random.default_rng(0))
    assert (result.expected, result.excess) == pytest.approx((alone, 0.0), abs=1e-4)


def test_a_drug_adds_nothing_to_loewe_above_its_own_top() -> None:
    strong, weak = curve(1.0), curve(1.0, top=0.2)
    result = loewe_excess(
        parts(0.9, (), spread=0.0), [strong, weak], [4.0, 4.0], np.random.default_rng(0)
    )
    assert result.expected == pytest.approx(
        float(strong.curve.effect_at(np.array([4.0]))[0]), abs=1e-4
    )


def test_the_loewe_error_equals_that_of_refitted_curves() -> None:
    expected = [
        loewe_excess(
            parts(0.5, (), spread=0.0),
            [curve(1.0, spread=0.05, seed=2 * n), curve(3.0, spread=0.05, seed=2 * n + 1)],
            [0.5, 1.5],
            np.random.default_rng(0),
        )
        for n in range(60)
    ]
    spread = np.std([each.expected for each in expected])
    from_interval = np.median([(each.high - each.low) / (2 * 1.74) for each in expected])
    assert from_interval == pytest.approx(spread, rel=0.35)


def test_the_same_seed_gives_the_same_result() -> None:
    plate, _ = scenario("matrix_noisy", 0)
    assert with_doses(plate, 3) == with_doses(plate, 3)


def test_a_treatment_of_one_well_has_the_variance_of_the_others() -> None:
    means = MeanEffects.moderated([np.array([0.0, 0.1, -0.1]), np.array([5.0])], None)
    assert means.variances[1] == pytest.approx(0.01)


def test_without_replicates_the_variance_is_infinite() -> None:
    assert np.isinf(MeanEffects.moderated([np.array([0.0]), np.array([5.0])], 0).variances).all()


def test_bliss_keeps_the_false_positive_rate_if_variance_increases_with_effect() -> None:
    called = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        truth = np.array([0.0, 0.7, 0.5, 0.4, 0.1, 0.2, 0.3, 0.6, 0.8, 0.9])
        wells = [
            mean + (0.03 + 0.1 * mean) * rng.standard_normal(18 if n == 0 else 3)
            for n, mean in enumerate(truth)
        ]
        called.append(
            bliss_excess(
                ExcessInputs(MeanEffects.moderated(wells, 0).select(range(4)), 2, None)
            ).p_value
            <= 0.05
        )
    assert np.mean(called) <= 0.08
