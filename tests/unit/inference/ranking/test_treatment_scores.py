import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import polygamma
from scipy.stats import t

from inference.ranking.treatment_scores import (
    HUBER_LIMIT,
    MAX_DEGREES_OF_FREEDOM,
    MIN_DEGREES_OF_FREEDOM,
    efficacy_ranks,
    moderated_variance,
    robust_mean,
    score_treatments,
)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_the_robust_mean_of_wells_that_agree_is_their_mean() -> None:
    wells = np.array([1.0, 1.5, 2.2])
    assert robust_mean(wells, 1.0) == pytest.approx(wells.mean())


def test_an_outlier_moves_the_robust_mean_like_a_well_at_two_standard_deviations() -> None:
    for odd in (10.0, 1000.0):
        mean = robust_mean(np.array([0.0, 0.1, -0.1, 0.2, odd]), 1.0)
        pulls = [
            np.clip(well - mean, -HUBER_LIMIT, HUBER_LIMIT) for well in (0.0, 0.1, -0.1, 0.2, odd)
        ]
        assert sum(pulls) == pytest.approx(0, abs=1e-3)  # the definition of Huber's mean
        assert mean < 1.0


def limma(variances: np.ndarray, freedom: float) -> float:
    """Return the prior degrees of freedom of Smyth 2004 for a known common variance."""
    e = np.log(variances) - polygamma(0, freedom / 2) + np.log(freedom / 2)
    scatter = ((e - e.mean()) ** 2).sum() / (len(e) - 1) - polygamma(1, freedom / 2)
    if scatter <= polygamma(1, MAX_DEGREES_OF_FREEDOM / 2):
        return MAX_DEGREES_OF_FREEDOM
    return float(
        max(
            MIN_DEGREES_OF_FREEDOM,
            brentq(lambda d: polygamma(1, d / 2) - scatter, 0.1, MAX_DEGREES_OF_FREEDOM),
        )
    )


@pytest.mark.parametrize("seed", range(6))
def test_without_effect_variances_are_moderated_as_limma_does(seed: int) -> None:
    random = np.random.default_rng(seed)
    spreads = np.sqrt(8 / random.chisquare(8, size=40))
    by_treatment = []
    for spread in spreads:
        wells = spread * random.normal(size=5)
        by_treatment.append(wells - wells.mean() - 1.0)  # without a departure, the trend is flat
    own = np.array([wells.var(ddof=1) for wells in by_treatment])
    prior = limma(own, 4)
    variance, freedom = moderated_variance(by_treatment)
    np.testing.assert_allclose(freedom, prior + 4, atol=0.26)  # found on a grid of half a degree
    np.testing.assert_allclose(variance, (prior * 1.0 + 4 * own) / (prior + 4), rtol=0.03)


def test_treatments_that_depart_further_vary_more() -> None:
    random = rng()
    effects = np.linspace(0, 20, 30)
    variance, _ = moderated_variance(
        [effect + np.sqrt(1 + 0.04 * effect**2) * random.normal(size=6) for effect in effects]
    )
    assert variance[:3].mean() < 3
    assert variance[-3:].mean() == pytest.approx(17, rel=0.5)


@pytest.mark.parametrize("gap", [0.1, 0.25, 0.5])
@pytest.mark.parametrize("replicates", [3, 6])
def test_intervals_of_scores_and_ranks_cover_the_truth(gap: float, replicates: int) -> None:
    random, untreated = np.random.default_rng(int(100 * gap) + replicates), 18
    truth = gap * np.arange(14 if replicates == 3 else 7)
    in_score, in_rank = [], []
    for _ in range(80):
        controls = random.normal(size=untreated)
        spread = np.sqrt(((untreated - 1) * controls.var(ddof=1) + 25) / (untreated - 1 + 25))
        scores = score_treatments(
            [(each + random.normal(size=replicates) - controls.mean()) / spread for each in truth],
            untreated,
            random,
        )
        in_score.append((scores.low <= truth) & (truth <= scores.high))
        ranks = len(truth) - np.arange(len(truth))
        in_rank.append((scores.rank_low <= ranks) & (ranks <= scores.rank_high))
    assert 0.86 <= np.mean(in_score) <= 0.94
    assert np.mean(in_rank) >= 0.85


def test_equal_treatments_have_wide_rank_intervals() -> None:
    random = rng()
    scores = [
        score_treatments([random.normal(size=3) for _ in range(12)], 18, random) for _ in range(50)
    ]
    assert np.mean([each.rank_high - each.rank_low for each in scores]) > 0.85 * 11


def test_single_wells_have_intervals_from_the_untreated_spread_alone() -> None:
    scores = score_treatments([np.array([value]) for value in (0.0, 3.0, 6.0)], 18, rng())
    np.testing.assert_allclose(scores.score, [0.0, 3.0, 6.0])
    np.testing.assert_allclose(
        scores.high - scores.low, 2 * t.ppf(0.95, MIN_DEGREES_OF_FREEDOM) * np.sqrt(1 + 1 / 18)
    )
    np.testing.assert_array_equal(scores.rank, [3, 2, 1])


def test_equal_scores_share_the_better_rank_and_the_interval() -> None:
    scores = score_treatments(
        [np.array([1.0, 2.0]), np.array([2.0, 1.0]), np.array([9.0, 9.5]), np.array([-1.0, 0.0])],
        18,
        rng(),
    )
    np.testing.assert_array_equal(scores.rank, [2, 2, 1, 4])
    assert scores.rank_low[0] == scores.rank_low[1]
    assert scores.rank_high[0] == scores.rank_high[1]
    np.testing.assert_array_equal(
        efficacy_ranks(np.array([[1.0, 1.0], [2.0, 3.0]])), [[1, 1], [2, 1]]
    )


def test_probabilities_of_the_strongest_effect_add_up_to_1() -> None:
    close, far = (
        score_treatments(
            [np.array([0.0, 0.5, 1.0]), gap + np.array([0.0, 0.5, 1.0])], 18, rng()
        ).chance_best
        for gap in (0.0, 8.0)
    )
    assert close.sum() == pytest.approx(1)
    assert close[0] == pytest.approx(0.5, abs=0.03)
    assert far[1] > 0.99


def test_one_treatment_alone_is_best() -> None:
    scores = score_treatments([np.array([0.3])], 18, rng())
    assert (scores.rank[0], scores.rank_low[0], scores.rank_high[0], scores.chance_best[0]) == (
        1,
        1,
        1,
        1.0,
    )
