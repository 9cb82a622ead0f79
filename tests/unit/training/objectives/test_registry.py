"""Tests of every objective by name, on one process and on two processes that share a batch."""

from pathlib import Path

import pytest
import torch

from schemas.errors import ConfigError
from tests.objective_samples import learn_once, objective_of, sample_batch, share_a_batch
from training.objectives.registry import OBJECTIVES

pytestmark = pytest.mark.train

STEADY = sorted(
    set(OBJECTIVES) - {"mae", "dino"}
)  # mae masks at random, and dino moves its centre: tested in their own files
COMPARING_THE_WHOLE_BATCH = [
    "simclr",
    "convirt",
    "ntxent",
    "siamese",
    "soft_ntxent",
    "time_aware",
    "triplet",
    "vicreg",
]


def test_an_unknown_objective_is_reported_with_the_known_ones() -> None:
    with pytest.raises(
        ConfigError,
        match=r"objective.name: is 'simsiam'; expected one of byol, convirt, dino, mae, .*vicreg",
    ):
        objective_of("simsiam")


@pytest.mark.parametrize("name", STEADY)
def test_a_few_steps_on_one_batch_lower_the_loss(name: str) -> None:
    objective, batch = objective_of(name, temperature=0.5), sample_batch()
    optimiser = torch.optim.Adam(
        [weight for weight in objective.parameters() if weight.requires_grad], lr=3e-3
    )
    losses = []
    for _ in range(15):
        loss = objective.loss(batch)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert all(weight.grad is not None for weight in objective.parameters() if weight.requires_grad)
    assert losses[-1] < losses[0]
    assert objective.embed(batch.first).shape == (6, 16)


@pytest.mark.slow
def test_two_processes_that_share_a_batch_have_the_gradient_of_one(tmp_path: Path) -> None:
    names = COMPARING_THE_WHOLE_BATCH
    torch.multiprocessing.spawn(share_a_batch, (names, str(tmp_path)), nprocs=2)
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    for name in names:
        loss, gradient = learn_once(objective_of(name), sample_batch())
        assert found[name][0].item() == pytest.approx(loss, rel=1e-5), name
        assert torch.allclose(found[name][1:], gradient.flatten(), rtol=1e-3, atol=1e-6), name
