import numpy as np
import pytest

from benchmarks.residual import (
    HIDDEN,
    Wells,
    exchange_within_plates,
    feature_sets,
    fit_measures,
    gains,
    left_out_errors,
    whitened_products,
)
from schemas.plate_map import Group
from simulation.kinds import HiddenMechanism, Mechanism
from simulation.laboratories.laboratory import draw_laboratory
from simulation.microscope import NO_MECHANISM
from training.evaluation.kernel_regression import differences_from_untreated
from training.evaluation.laboratory_plates import LaboratoryPlate

WELLS, PLATES, PERMUTATIONS = 24, 6, 40
MECHANISMS = (NO_MECHANISM, Mechanism.SHRINKING, HiddenMechanism.ALIGNING)

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def plates() -> list[LaboratoryPlate]:
    """Plates whose measures show one mechanism; the feature ``knows`` shows the hidden one."""
    laboratory, rng = draw_laboratory(1), np.random.default_rng(0)
    mechanisms = np.repeat(MECHANISMS, WELLS // len(MECHANISMS))
    made = []
    for number in range(PLATES):
        kill = np.where(mechanisms == NO_MECHANISM, 0, rng.random(WELLS))
        measures, knows, noise = rng.normal(size=(3, WELLS, 2, 6))
        measures[:, 1, 0] += 20 * kill * (mechanisms == Mechanism.SHRINKING)
        knows[:, 1, 0] += 20 * kill * (mechanisms == HiddenMechanism.ALIGNING)
        made.append(
            LaboratoryPlate(
                laboratory=laboratory,
                name=f"P{number}",
                wells=tuple(f"B{well:02d}" for well in range(WELLS)),
                groups=tuple(
                    Group.UNTREATED if each == NO_MECHANISM else Group.SCREENING
                    for each in mechanisms
                ),
                treatments=("",) * WELLS,
                mechanisms=tuple(mechanisms.tolist()),
                kill=kill,
                measures=measures,
                parameters=knows,
                features={"knows": knows, "noise": noise},
            )
        )
    return made


@pytest.fixture(scope="module")
def found(plates: list[LaboratoryPlate]) -> dict[str, dict[str, np.ndarray]]:
    wells = Wells.of_plates(plates)
    baselines = fit_measures(plates, wells)
    return {
        name: gains(
            whitened_products(
                [plate.features[name] for plate in plates], [plate.untreated for plate in plates]
            ),
            wells,
            baselines,
            PERMUTATIONS,
        )
        for name in ("knows", "noise")
    }


def test_features_that_show_a_hidden_mechanism_have_a_gain_beyond_the_null(
    found: dict[str, dict[str, np.ndarray]],
) -> None:
    gain, *null = found["knows"][HIDDEN]
    assert gain > 0.4
    assert gain > 2 * max(null)


def test_the_permutation_null_is_centred_at_zero(found: dict[str, dict[str, np.ndarray]]) -> None:
    for of_features in found.values():
        null = of_features[HIDDEN][1:]
        assert len(null) == PERMUTATIONS
        assert abs(np.mean(null)) < 0.1
        assert np.ptp(null) > 0


def test_features_of_noise_have_no_gain_beyond_the_null(
    found: dict[str, dict[str, np.ndarray]],
) -> None:
    gain, *null = found["noise"][HIDDEN]
    assert gain <= np.quantile(null, 0.975)


def test_residuals_are_exchanged_within_their_plate_only() -> None:
    residual = np.arange(20.0)
    plates = np.repeat([0, 1], 10)
    columns = exchange_within_plates(residual, plates, 30, seed=0)
    assert np.array_equal(columns[:, 0], residual)
    for plate in (0, 1):
        of_plate = np.sort(columns[plates == plate], axis=0)
        assert np.array_equal(of_plate, np.repeat(of_plate[:, :1], 31, axis=1))
    assert any(not np.array_equal(column, residual) for column in columns.T)


def test_left_out_errors_equal_those_of_one_regression_for_each_plate() -> None:
    rng = np.random.default_rng(0)
    rows, targets = rng.normal(size=(12, 4)), rng.normal(size=(12, 2))
    plates, kernel = np.repeat([0, 1, 2], 4), rows @ rows.T
    ridge = 0.5 * np.mean(np.diag(kernel))
    found = left_out_errors(kernel, targets, plates, 0.5)
    for plate in range(3):
        own, others = np.flatnonzero(plates == plate), np.flatnonzero(plates != plate)
        weights = np.linalg.solve(
            kernel[np.ix_(others, others)] + ridge * np.eye(len(others)), targets[others]
        )
        expected = targets[own] - kernel[np.ix_(own, others)] @ weights
        assert found[own] == pytest.approx(expected)


def test_whitened_products_equal_those_of_the_inverse_covariance(
    plates: list[LaboratoryPlate],
) -> None:
    features = [plate.features["noise"] for plate in plates]
    untreated = [plate.untreated for plate in plates]
    rows = np.concatenate(
        [
            np.concatenate(differences_from_untreated(each, mask), axis=1)
            for each, mask in zip(features, untreated, strict=True)
        ]
    )
    controls = rows[np.concatenate(untreated)]
    spread = np.sqrt((controls**2).mean(axis=0))
    rows, controls = rows / spread, controls / spread
    covariance = controls.T @ controls / len(controls) + 0.3 * np.eye(rows.shape[1])
    expected = rows @ np.linalg.inv(covariance) @ rows.T
    expected /= np.diag(expected).mean()
    assert whitened_products(features, untreated, shrinkage=0.3) == pytest.approx(expected)


def test_each_depth_and_kind_of_input_and_all_together_are_a_set_of_features() -> None:
    names = ["net/8/plane", "net/8/difference", "net/16/plane", "net/16/difference", "net"]
    assert feature_sets(names) == {
        "net 8": ("net/8/plane", "net/8/difference"),
        "net 16": ("net/16/plane", "net/16/difference"),
        "net plane": ("net/8/plane", "net/16/plane"),
        "net difference": ("net/8/difference", "net/16/difference"),
        "net all": ("net/8/plane", "net/8/difference", "net/16/plane", "net/16/difference"),
        "net embedding": ("net",),
    }
