"""Tests of the variants of ``ntxent`` with a slow sum in which every choice is explicit."""

import numpy as np
import pytest
import torch

from tests.objective_samples import Doubles, doubles, objective_of, projected, sample_batch
from training.objectives.ntxent import contrastive_loss
from training.objectives.planes import planes_as_grey, sharpest_first

pytestmark = pytest.mark.train

T = 0.2


def slow(
    z: Doubles, classes: list[str], anchors: int, *, itself: bool, in_denominator: bool
) -> float:
    terms = []
    for i in range(anchors):
        positives = [p for p in range(len(z)) if classes[p] == classes[i] and (itself or p != i)]
        candidates = [
            c
            for c in range(len(z))
            if (itself or c != i) and (in_denominator or c not in positives)
        ]
        below = sum(np.exp(z[i] @ z[c] / T) for c in candidates)
        terms.append(float(np.mean([-np.log(np.exp(z[i] @ z[p] / T) / below) for p in positives])))
    return float(np.mean(terms))


@pytest.mark.parametrize("itself", [False, True])
@pytest.mark.parametrize("in_denominator", [False, True])
@pytest.mark.parametrize(("supervised", "classes"), [(False, "abcdef"), (True, "aabbcu")])
def test_ntxent_of_two_augmentations_follows_its_formula(
    itself: bool,  # noqa: FBT001 - cases
    in_denominator: bool,  # noqa: FBT001 - cases
    supervised: bool,  # noqa: FBT001 - cases
    classes: str,
) -> None:
    objective = objective_of(
        "ntxent",
        temperature=T,
        anchor_is_positive=itself,
        positives_in_denominator=in_denominator,
        supervised=supervised,
    )
    batch = sample_batch()
    z = projected(objective, batch.first, batch.second)
    expected = slow(z, list(classes) * 2, 12, itself=itself, in_denominator=in_denominator)
    assert objective.loss(batch)["loss"].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("itself", [False, True])
@pytest.mark.parametrize("in_denominator", [False, True])
def test_the_sharpest_plane_is_the_anchor_and_the_others_its_views(
    itself: bool,  # noqa: FBT001 - cases
    in_denominator: bool,  # noqa: FBT001 - cases
) -> None:
    objective = objective_of(
        "ntxent",
        temperature=T,
        views_of="planes",
        anchor_is_positive=itself,
        positives_in_denominator=in_denominator,
    )
    batch = sample_batch()
    z = projected(objective, *planes_as_grey(sharpest_first(batch.first)))
    expected = slow(z, list("abcdef") * 3, 6, itself=itself, in_denominator=in_denominator)
    assert objective.loss(batch)["loss"].item() == pytest.approx(expected, rel=1e-5)
    assert objective.needs.views == 1


@pytest.mark.parametrize("every", [False, True])
def test_another_view_of_the_sharpest_plane_is_a_third_positive(
    every: bool,  # noqa: FBT001 - cases
) -> None:
    objective = objective_of(
        "ntxent",
        temperature=T,
        views_of="planes",
        sharpest_copy=True,
        every_view_anchors=every,
    )
    batch = sample_batch()
    copy = planes_as_grey(sharpest_first(batch.second))[0]
    z = projected(objective, *planes_as_grey(sharpest_first(batch.first)), copy)
    anchors = 24 if every else 6
    expected = slow(z, list("abcdef") * 4, anchors, itself=False, in_denominator=True)
    loss = objective.loss(batch)["loss"]
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert objective.needs.views == 2
    # The cosine with the copy depends on the weights, unlike that of a vector with itself.
    loss.backward()
    similar = (z[:6] * z[18:]).sum(axis=1)
    assert (np.abs(similar - 1) > 1e-4).all()


def test_the_sharpest_plane_is_found_at_any_position() -> None:
    sharp = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    blurred = [
        torch.nn.functional.avg_pool2d(sharp, size, stride=1, padding=size // 2) for size in (3, 5)
    ]
    expected = torch.cat([sharp, *blurred], dim=1)
    shown = torch.cat(
        [
            torch.cat([blurred[0], blurred[1], sharp], dim=1),
            torch.cat([blurred[0], sharp, blurred[1]], dim=1),
            expected,
        ]
    )
    assert torch.equal(sharpest_first(shown), expected.expand(3, -1, -1, -1))


def test_a_network_trained_on_planes_embeds_the_middle_plane() -> None:
    objective, pixels = objective_of("ntxent", views_of="planes"), sample_batch().first
    other = pixels.clone()
    other[:, [0, 2]] = 0
    assert torch.equal(objective.embed(pixels), objective.embed(other))


def test_a_batch_of_one_class_without_negatives_has_no_gradient() -> None:
    projections = torch.randn(4, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    loss = contrastive_loss(
        projections, ~torch.eye(4, dtype=torch.bool), T, positives_in_denominator=False
    )
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(projections.grad, torch.zeros(4, 8))


def test_the_gradient_pushes_each_negative_by_its_share_of_the_softmax() -> None:
    temperature, count = 0.3, 8
    z = torch.randn(count, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z = torch.nn.functional.normalize(z).requires_grad_()
    partner = [4, 5, 6, 7, 0, 1, 2, 3]
    positives = torch.zeros(count, count, dtype=torch.bool)
    positives[range(count), partner] = True
    contrastive_loss(z, positives, temperature).backward()

    unit = doubles(z)
    force = np.zeros((count, count))  # of the pair (i, j), as a factor of z_j
    for i in range(count):
        below = sum(np.exp(unit[i] @ unit[k] / temperature) for k in range(count) if k != i)
        for j in range(count):
            if j != i:
                share = np.exp(unit[i] @ unit[j] / temperature) / below
                force[i, j] = (share - (j == partner[i])) / temperature / count
    expected = (force + force.T) @ unit
    expected -= (expected * unit).sum(axis=1, keepdims=True) * unit  # unit vectors only turn
    assert z.grad is not None
    np.testing.assert_allclose(doubles(z.grad), expected, atol=1e-9)
    away = [force[i, j] for i in range(count) for j in range(count) if j not in (i, partner[i])]
    assert min(away) > 0  # every negative is pushed
