import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import spearmanr

from inference.deterioration.models import (
    MEAN_OF_MODELS,
    MODELS,
    SINGLE_MODELS,
    DeteriorationModel,
    PairwiseModel,
    RidgeModel,
)

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

PLATES, WELLS = 4, 60
pytestmark = pytest.mark.usefixtures("one_thread")


def wells(seed: int, *, plates: int = PLATES) -> tuple[Array, Array, Indices]:
    """Return features (n, 5), percent (n,) and plates (n,) of wells, half of them untreated.

    Two features depend on the percentage, one of them nonlinearly.
    """
    rng = np.random.default_rng(seed)
    percent = 100 * rng.uniform(size=plates * WELLS) * rng.integers(0, 2, plates * WELLS)
    features = rng.standard_normal((plates * WELLS, 5))
    features[:, 0] = -percent / 25 + 0.3 * features[:, 0]
    features[:, 1] = (percent / 50) ** 2 + 0.3 * features[:, 1]
    return features, percent, np.repeat(np.arange(plates), WELLS)


def of_plates_whose_assays_differ(seed: int) -> tuple[Array, Array, Indices]:
    """Return wells of plates whose assays have a factor and an offset each.

    One feature follows the offset of the plate.
    """
    features, percent, plates = wells(seed)
    rng = np.random.default_rng([seed, 1])
    factor, offset = rng.uniform(0.2, 1.0, PLATES), rng.uniform(0, 60, PLATES)
    features[:, 2] += offset[plates] / 10
    return features, factor[plates] * percent + offset[plates], plates


@pytest.mark.parametrize("name", MODELS)
def test_every_model_predicts_new_wells_of_a_simple_relation(name: str) -> None:
    features, percent, plates = wells(0)
    new_features, new_percent, _ = wells(1, plates=1)
    predicted = MODELS[name].fit(features, percent, plates, 0)(new_features)
    assert predicted.shape == new_percent.shape
    assert spearmanr(predicted, new_percent).statistic > 0.85
    assert (
        np.abs(predicted - new_percent).mean() < 8 < np.abs(percent.mean() - new_percent).mean() / 3
    )


@pytest.mark.parametrize("name", MODELS)
def test_the_same_seed_gives_the_same_predictions(name: str) -> None:
    features, percent, plates = wells(0, plates=2)
    new, _, _ = wells(1, plates=1)
    one, other = (MODELS[name].fit(features, percent, plates, 3)(new) for _ in range(2))
    assert (one == other).all()


@pytest.mark.parametrize("name", MODELS)
def test_every_model_learns_from_few_wells_with_a_constant_feature(name: str) -> None:
    features, percent, plates = wells(0, plates=2)
    some = np.r_[:12, WELLS : WELLS + 12]
    features[:, 4] = 7.0
    predicted = MODELS[name].fit(features[some], percent[some], plates[some], 0)(features)
    assert np.isfinite(predicted).all()
    assert spearmanr(predicted, percent).statistic > 0.7


def test_the_mean_is_the_mean_of_the_single_models() -> None:
    features, percent, plates = wells(0, plates=2)
    new, _, _ = wells(1, plates=1)
    single = [model.fit(features, percent, plates, 0)(new) for model in SINGLE_MODELS.values()]
    assert MODELS[MEAN_OF_MODELS].fit(features, percent, plates, 0)(new) == pytest.approx(
        np.mean(single, axis=0)
    )


def test_the_pairwise_model_tolerates_scale_errors_of_assays() -> None:
    models: dict[str, DeteriorationModel] = {"pairwise": PairwiseModel(), "ridge": RidgeModel()}
    orders: dict[str, list[float]] = {name: [] for name in models}
    for seed in range(8):
        measured = of_plates_whose_assays_differ(seed)
        new, truth, _ = wells(100 + seed, plates=1)
        for name, model in models.items():
            orders[name].append(float(spearmanr(model.fit(*measured, 0)(new), truth).statistic))
    assert np.mean(orders["pairwise"]) > 0.85
    assert np.mean(orders["pairwise"]) > np.mean(orders["ridge"]) + 0.05


def test_pairwise_predictions_stay_within_the_measured_range() -> None:
    features, percent, plates = wells(0)
    predicted = PairwiseModel().fit(features, percent, plates, 0)(10 * features)
    assert percent.min() <= predicted.min() < predicted.max() <= percent.max()
