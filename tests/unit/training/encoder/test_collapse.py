"""Tests of the detection of collapsed embeddings."""

import numpy as np
import pytest
import torch

from schemas.errors import CollapseError, ConfigError
from training.encoder.collapse import check_not_collapsed, embedding_statistics

pytestmark = pytest.mark.train


def drawn(count: int, width: int) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(0))


def test_rank_and_spread_follow_their_definitions() -> None:
    embeddings = drawn(20, 6)
    rows = embeddings.double().numpy()
    singular = np.sqrt(np.maximum(np.linalg.eigvalsh(np.cov(rows.T) * 19), 0))
    share = singular / singular.sum()
    unit = np.array([row / np.sqrt(sum(row**2)) for row in rows])
    statistics = embedding_statistics(embeddings)
    assert statistics.rank == pytest.approx(np.exp(-sum(p * np.log(p) for p in share)))
    assert statistics.spread == pytest.approx(
        np.mean([np.sqrt(np.mean((column - column.mean()) ** 2)) for column in unit.T]) * np.sqrt(6)
    )


def test_random_directions_have_full_rank_and_a_spread_of_one() -> None:
    statistics = embedding_statistics(drawn(2000, 16))
    assert statistics.rank == pytest.approx(16, rel=0.01)
    assert statistics.spread == pytest.approx(1, rel=0.01)


def test_varied_embeddings_pass_with_any_mean() -> None:
    assert check_not_collapsed(drawn(100, 16) + 2).rank > 10


@pytest.mark.parametrize(
    "embeddings",
    [
        pytest.param(torch.ones(50, 16), id="the same of every image"),
        pytest.param(
            torch.ones(50, 16) + 1e-4 * drawn(50, 16), id="nearly the same of every image"
        ),
        pytest.param(drawn(50, 1) @ drawn(1, 16), id="one direction"),
        pytest.param(torch.zeros(50, 16), id="nothing"),
    ],
)
def test_collapse_is_reported_with_rank_and_spread(embeddings: torch.Tensor) -> None:
    with pytest.raises(
        CollapseError,
        match=r"has collapsed: the embeddings of 50 images have effective rank .* and spread .* "
        r"run\.rate",
    ):
        check_not_collapsed(embeddings)


def test_embeddings_that_are_not_finite_are_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="not finite numbers"):
        check_not_collapsed(torch.full((4, 3), float("nan")))
