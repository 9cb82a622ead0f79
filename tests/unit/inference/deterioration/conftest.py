from collections.abc import Callable

import pytest

from inference.deterioration.models import DeteriorationModel, RidgeModel

UseOnly = Callable[..., None]


@pytest.fixture
def use_only(monkeypatch: pytest.MonkeyPatch) -> UseOnly:
    """Return a function that replaces the candidate models."""

    def only(**models: DeteriorationModel) -> None:
        monkeypatch.setattr("inference.deterioration.model_choice.SINGLE_MODELS", models)
        monkeypatch.setattr(
            "inference.deterioration.model_choice.MODELS",
            models | {"mean": next(iter(models.values()))},
        )

    return only


@pytest.fixture
def ridge_alone(use_only: UseOnly) -> None:
    """Use only ridge regression, so that a calibration takes milliseconds."""
    use_only(ridge=RidgeModel())
