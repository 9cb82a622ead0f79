"""Tests of the bodies of a forecaster."""

import numpy as np
import pytest
import torch

from tests.forecaster_samples import PLATES, WIDTH
from training.forecaster.bodies import BODIES
from training.forecaster.model import TrajectoryForecaster

pytestmark = pytest.mark.train

DAYS, DAY = torch.tensor([5.0, 6.0, 7.0, 8.0]), torch.tensor(10.0)


def forecaster(body: str) -> TrajectoryForecaster:
    """Return a forecaster whose head has random weights, so that the body has an effect."""
    torch.manual_seed(2)
    model = TrajectoryForecaster(torch.eye(WIDTH), 10, body).eval()
    torch.nn.init.normal_(model.head.weight)
    return model


def past(days: int = 4) -> torch.Tensor:
    return torch.from_numpy(PLATES[0].features[:, :days].astype(np.float32))


@pytest.mark.parametrize("body", BODIES)
def test_every_body_predicts_finite_values_for_one_day_and_for_ten(body: str) -> None:
    model = forecaster(body)
    with torch.inference_mode():
        for count in (1, 10):
            features = torch.randn(6, count, WIDTH)
            features[0] = torch.nan
            days = torch.arange(count, dtype=torch.float32)
            assert torch.isfinite(model(features, days, torch.tensor(12.0))).all()


@pytest.mark.parametrize("body", BODIES)
def test_every_body_distinguishes_the_order_of_the_days(body: str) -> None:
    model, features = forecaster(body), past()
    reversed_days = features.flip(1)
    reversed_days[:, -1] = features[:, -1]
    with torch.inference_mode():
        one, other = (model(each, DAYS, DAY) for each in (features, reversed_days))
    assert (one - other).abs().max() > 1e-3


@pytest.mark.parametrize("body", BODIES)
def test_wells_in_another_order_have_the_same_predictions(body: str) -> None:
    model, features = forecaster(body), past()
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(
            model(features[order], DAYS, DAY), model(features, DAYS, DAY)[order]
        )


@pytest.mark.parametrize("body", BODIES)
def test_a_body_of_any_length_of_the_summary_has_this_length(body: str) -> None:
    for hidden in (1, 5, 12):
        summary = BODIES[body](6, hidden)(torch.randn(3, 4, 6), torch.ones(3, 4, 1))
        assert summary.shape == (3, hidden)
