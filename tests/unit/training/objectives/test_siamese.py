"""Tests of the objective ``siamese`` with equation 4 of doi:10.1109/CVPR.2006.100."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from schemas.errors import ConfigError
from tests.objective_samples import Doubles, doubles, objective_of, projected, sample_batch
from training.data.batch_plan import Batch
from training.encoder.collapse import embedding_statistics
from training.objectives.siamese import nearest_measures

pytestmark = pytest.mark.train

WEIGHT, MARGIN = 0.4, 0.9


def batch_of_five_wells() -> Batch:
    """Return a batch whose images 1 and 2 are of one well; the last image has no measures."""
    batch = sample_batch()
    wells = torch.tensor([0, 1, 1, 3, 4, 5])
    assert batch.later is not None
    return replace(batch, well=wells, later=replace(batch.later, well=wells))


def nearest(batch: Batch) -> set[tuple[int, int]]:
    """Return the pairs (image, second image) of nearest measures, in both directions, by a loop."""
    assert batch.later is not None
    one, other = doubles(batch.measures), doubles(batch.later.measures)
    wells, known = batch.well.tolist(), batch.has_measures.tolist()
    count = range(len(wells))
    distance = {
        (i, j): float(np.mean((one[i] - other[j]) ** 2))
        for i in count
        for j in count
        if wells[i] != wells[j] and known[i] and known[j]
    }
    found = set()
    for i in count:
        of_row = {pair: far for pair, far in distance.items() if pair[0] == i}
        of_column = {pair: far for pair, far in distance.items() if pair[1] == i}
        found |= {min(each, key=each.__getitem__) for each in (of_row, of_column) if each}
    return found


def slow(batch: Batch, first: Doubles, second: Doubles, weight: float) -> float:
    """Compute the loss pair by pair."""
    near, far, weights = [], [], []
    alike = nearest(batch) if weight else set()
    wells = batch.well.tolist()
    for i, u in enumerate(first):
        for j, v in enumerate(second):
            distance = float(np.linalg.norm(u - v))
            likeness = float(i == j) + weight * ((i, j) in alike)
            if likeness:
                near.append(likeness * distance**2)
                weights.append(likeness)
            elif wells[i] != wells[j]:
                far.append(max(MARGIN - distance, 0.0) ** 2)
    return sum(near) / sum(weights) + float(np.mean(far))


@pytest.mark.parametrize("weight", [0.0, WEIGHT, 1.0])
def test_siamese_is_the_paper_s_loss_over_like_and_unlike_pairs(weight: float) -> None:
    objective = objective_of("siamese", likeness_weight=weight, siamese_margin=MARGIN)
    batch = batch_of_five_wells()
    assert batch.later is not None
    first, second = (projected(objective, view) for view in (batch.first, batch.later.first))
    assert objective.loss(batch)["loss"].item() == pytest.approx(
        slow(batch, first, second, weight), rel=1e-4
    )


def test_the_nearest_measures_are_found_in_both_directions() -> None:
    distances = torch.tensor([[9.0, 1.0, 2.0], [5.0, 9.0, 4.0]])
    allowed = torch.tensor([[False, True, True], [True, False, False]])
    # Row 0 chooses column 1. Column 2 has only row 0 to choose.
    assert nearest_measures(distances, allowed).tolist() == [
        [False, True, True],
        [True, False, False],
    ]


def test_an_unlike_pair_beyond_the_margin_is_not_pushed() -> None:
    batch = sample_batch()
    near, far = (
        objective_of("siamese", likeness_weight=0, siamese_margin=margin).loss(batch)["far"].item()
        for margin in (2.0, 1e-4)
    )
    assert near > 0
    assert far == 0


def test_two_days_of_a_well_come_together_without_a_collapse() -> None:
    objective, batch = objective_of("siamese"), sample_batch()
    assert batch.later is not None
    optimiser = torch.optim.Adam(objective.parameters(), lr=1e-2)
    for _ in range(40):
        loss = objective.loss(batch)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    first, second = (projected(objective, view) for view in (batch.first, batch.later.first))
    own = np.diag(first @ second.T)
    assert own.min() > (first @ second.T)[~np.eye(6, dtype=bool)].mean()
    assert embedding_statistics(objective.embed(batch.first).detach()).rank >= 2


def test_a_batch_without_pairs_is_refused() -> None:
    with pytest.raises(ConfigError, match="'siamese', and the batch has no pairs"):
        objective_of("siamese").loss(replace(sample_batch(), later=None))
