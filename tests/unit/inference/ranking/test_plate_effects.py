import numpy as np
import pytest
from scipy.stats import chi2

from inference.ranking.plate_effects import PlateResults, fit_plate_effects, moment_variance


def results(
    score: list[list[float | None]], *, error: float = 0.5, untreated: int = 18
) -> PlateResults:
    """Return one result for each number of a table (plates × treatments)."""
    present = [
        (plate, treatment, value)
        for plate, row in enumerate(score)
        for treatment, value in enumerate(row)
        if value is not None
    ]
    return PlateResults(
        score=np.array([value for _, _, value in present]),
        error=np.full(len(present), error),
        wells=np.full(len(present), 3),
        treatment=np.array([treatment for _, treatment, _ in present]),
        plate=np.array([plate for plate, _, _ in present]),
        untreated=np.full(len(score), untreated),
    )


def test_the_variance_between_studies_is_that_of_dersimonian_and_laird() -> None:
    score, variance = np.array([0.1, 0.9, 0.4, 1.6]), np.array([0.04, 0.09, 0.02, 0.16])
    weights = 1 / variance
    mean = weights @ score / weights.sum()
    q = weights @ (score - mean) ** 2
    published = (q - 3) / (weights.sum() - (weights**2).sum() / weights.sum())
    assert moment_variance(score, variance, np.ones((4, 1)), np.eye(4)) == pytest.approx(published)


def test_results_closer_than_chance_have_variance_0() -> None:
    assert moment_variance(np.array([1.0, 1.01, 0.99]), np.ones(3), np.ones((3, 1)), np.eye(3)) == 0


def test_an_offset_between_plates_is_corrected() -> None:
    first = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    effects = fit_plate_effects(results([first, [value + 2 for value in first]], error=0.2))
    assert effects.offset == pytest.approx([-1, 1], abs=0.06)
    assert effects.score == pytest.approx([value + 1 for value in first], abs=0.1)
    assert effects.between_plates == pytest.approx(0)


def test_a_gain_between_plates_is_corrected_without_changing_zero_effects() -> None:
    truth = np.array([0.0, 0.0, 0.1, 1.0, 3.0, 8.0, 20.0, 40.0])
    effects = fit_plate_effects(results([list(truth / 1.25), list(truth * 1.25)], error=0.3))
    assert effects.gain == pytest.approx([0.8, 1.25], rel=0.01)
    assert effects.score == pytest.approx(truth, abs=0.05)
    assert effects.between_plates == pytest.approx(0)
    low, high = effects.interval
    assert high[0] - low[0] < 1.2
    assert (effects.heterogeneity_p > 0.9).all()


def test_gains_do_not_depend_on_the_order_of_plates() -> None:
    table = [[1.0, 4.0, 9.0, 0.2], [2.0, 7.5, 18.0, -0.1], [1.5, 6.0, 13.0, 0.0]]
    one, other = fit_plate_effects(results(table)), fit_plate_effects(results(table[::-1]))
    assert one.gain == pytest.approx(other.gain[::-1])
    assert one.score == pytest.approx(other.score)
    assert np.log(one.gain).mean() == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("second", [[-1.0, -4.0, -9.0], [0.0, 0.0, 0.0], [900.0, 4000.0, 9000.0]])
def test_plates_that_have_nothing_in_common_still_give_finite_scores(second: list[float]) -> None:
    effects = fit_plate_effects(results([[1.0, 4.0, 9.0], second]))
    assert np.isfinite(effects.score).all()
    assert np.isfinite(effects.interval).all()


def test_offsets_have_mean_0_on_plates_with_different_treatments() -> None:
    effects = fit_plate_effects(
        results([[0.3, 1.9, None, 4.0], [1.0, None, 2.0, 5.5], [None, 2.2, 1.1, 3.9]])
    )
    assert effects.offset.mean() == pytest.approx(0, abs=1e-9)


def test_an_offset_from_one_noisy_treatment_is_shrunk() -> None:
    effects = fit_plate_effects(results([[1.0, 2.0, None], [1.6, None, 3.0]], error=1.0))
    assert abs(effects.offset[1] - effects.offset[0]) < 0.1


def test_without_shared_treatments_scores_are_unchanged_and_errors_include_untreated_wells() -> (
    None
):
    few, many = (
        fit_plate_effects(
            results([[1.0, 2.0, None, None], [None, None, 3.0, 4.0]], untreated=wells)
        )
        for wells in (3, 300)
    )
    assert few.score == pytest.approx([1, 2, 3, 4])
    assert few.offset == pytest.approx([0, 0])
    assert np.isnan(few.heterogeneity_p).all()
    assert (np.diag(few.covariance) > np.diag(many.covariance)).all()


def test_the_results_of_one_plate_are_unchanged() -> None:
    effects = fit_plate_effects(results([[1.0, 2.0]], error=0.5))
    assert effects.score == pytest.approx([1, 2])
    assert effects.interval == pytest.approx(np.array([[0.178, 1.178], [1.822, 2.822]]), abs=1e-3)


def test_one_outlying_treatment_is_found_and_does_not_change_the_others() -> None:
    truth = [0.0, 0.2, 1.0, 2.0, 3.0, 4.0, 4.5, 5.0]
    wrong = [*truth[:-1], truth[-1] + 9]
    correct, with_outlier = (
        fit_plate_effects(results([truth, truth])),
        fit_plate_effects(results([truth, wrong])),
    )
    assert with_outlier.score[:-1] == pytest.approx(correct.score[:-1], abs=0.05)
    assert with_outlier.heterogeneity_p[-1] < 1e-6
    assert (with_outlier.heterogeneity_p[:-1] > 0.5).all()
    low, high = with_outlier.interval
    assert high[-1] - low[-1] > 3 * (high[0] - low[0])


def test_heterogeneity_is_cochrans_q() -> None:
    table = [[1.0, 2.0], [1.5, 2.5], [0.5, 1.5]]
    effects = fit_plate_effects(results([[*row, *(value + 3 for value in row)] for row in table]))
    levelled, weights = (
        np.array([row[0] for row in table]) / effects.gain - effects.offset,
        effects.gain**2 / 0.25,
    )
    q = weights @ (levelled - weights @ levelled / weights.sum()) ** 2
    assert effects.heterogeneity_p[0] == pytest.approx(chi2.sf(q, 2))


def test_wells_that_happen_to_be_equal_do_not_make_a_score_certain() -> None:
    of = results([[1.0, 2.0, 3.0], [2.0, 3.0, 4.0]])
    of.error[0] = 0.0
    effects = fit_plate_effects(of)
    assert effects.interval[1, 0] - effects.interval[0, 0] > 0.2


def test_errors_of_0_are_replaced_by_those_of_untreated_wells() -> None:
    effects = fit_plate_effects(results([[1.0, 2.0], [1.0, 2.0]], error=0.0))
    assert np.isfinite(effects.interval).all()
    assert (effects.interval[1] - effects.interval[0] > 0.5).all()


def test_intervals_have_their_nominal_coverage() -> None:
    covered = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        truth, offset = rng.uniform(0, 5, 12), rng.normal(0, 0.4, 3)
        table = truth + offset[:, None] + rng.normal(0, 0.3, (3, 12)) + rng.normal(0, 0.5, (3, 12))
        low, high = fit_plate_effects(results(table.tolist())).interval
        covered.append(((low <= truth) & (truth <= high)).mean())
    assert 0.86 <= np.mean(covered) <= 0.95
