"""Tests of the objective ``soft_ntxent`` with the formula of its module, term by term."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.objective_samples import Doubles, doubles, objective_of, projected, sample_batch

pytestmark = pytest.mark.train

T, PULL, WIDTH = 0.2, 0.3, 0.8


def slow(z: Doubles, images: list[int], alike: Doubles) -> float:
    terms = []
    for i in range(len(z)):
        others = [j for j in range(len(z)) if j != i]
        target = {j: 1.0 if images[j] == images[i] else PULL * alike[i, j] for j in others}
        weight = {j: 1.0 if images[j] == images[i] else 1 - alike[i, j] for j in others}
        below = sum(weight[k] * np.exp(z[i] @ z[k] / T) for k in others)
        terms.append(
            -sum(
                target[j] / sum(target.values()) * np.log(np.exp(z[i] @ z[j] / T) / below)
                for j in others
            )
        )
    return float(np.mean(terms))


def likeness(rows: Doubles, known: list[bool]) -> Doubles:
    alike = np.zeros((len(rows), len(rows)))
    for i in range(len(rows)):
        for j in range(len(rows)):
            if known[i] and known[j]:
                alike[i, j] = np.exp(-np.mean((rows[i] - rows[j]) ** 2) / (2 * WIDTH**2))
    return alike


def test_soft_ntxent_with_similarity_of_measures_follows_its_formula() -> None:
    objective, batch = (
        objective_of("soft_ntxent", temperature=T, pull=PULL, likeness_width=WIDTH),
        sample_batch(),
    )
    z = projected(objective, batch.first, batch.second)
    alike = likeness(np.tile(doubles(batch.measures), (2, 1)), batch.has_measures.tolist() * 2)
    assert objective.loss(batch)["loss"].item() == pytest.approx(
        slow(z, [*range(6)] * 2, alike), rel=1e-5
    )


def test_soft_ntxent_with_similarity_of_embeddings_uses_centred_cosines() -> None:
    objective, batch = (
        objective_of(
            "soft_ntxent", temperature=T, pull=PULL, likeness_width=WIDTH, likeness_by="embedding"
        ),
        sample_batch(),
    )
    z = projected(objective, batch.first, batch.second)
    rows = doubles(objective.backbone(torch.cat([batch.first, batch.second])))
    rows -= rows.mean(axis=0)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    alike = np.exp(-(1 - rows @ rows.T) / (2 * WIDTH**2))
    assert objective.loss(batch)["loss"].item() == pytest.approx(
        slow(z, [*range(6)] * 2, alike), rel=1e-5
    )


def test_soft_ntxent_without_similar_images_is_simclr() -> None:
    batch = sample_batch()
    batch = replace(batch, measures=100 * torch.eye(6, 11))
    soft, plain = objective_of("soft_ntxent"), objective_of("simclr")
    plain.load_state_dict(soft.state_dict())
    assert soft.loss(batch)["loss"].item() == pytest.approx(
        plain.loss(batch)["loss"].item(), rel=1e-5
    )


def test_images_of_similarity_one_are_not_pushed_apart() -> None:
    batch = sample_batch((0, 0))
    alike = replace(
        batch, measures=torch.zeros(2, 11), has_measures=torch.ones(2, dtype=torch.bool)
    )
    objective = objective_of("soft_ntxent", pull=0.0)
    z = projected(objective, batch.first, batch.second)
    assert objective.loss(alike)["loss"].item() == pytest.approx(0, abs=1e-6)
    assert np.abs(z[0] - z[1]).max() > 0.1
