"""Tests of the objective ``measures``: measures of the clean image, their change, a companion."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from schemas.errors import ConfigError
from tests.objective_samples import Doubles, doubles, objective_of, sample_batch

pytestmark = pytest.mark.train


def huber(predicted: Doubles, measured: Doubles, known: list[bool]) -> float:
    terms = []
    for prediction, true, counts in zip(predicted, measured, known, strict=True):
        errors = np.abs(prediction - true)
        if counts:
            terms.append(np.mean([e**2 / 2 if e < 1 else e - 0.5 for e in errors]))
    return float(np.mean(terms))


def test_the_loss_is_of_measures_and_their_change_on_day_pairs() -> None:
    objective, batch = objective_of("measures", change_weight=0.4), sample_batch()
    known = batch.has_measures.tolist()
    first, later = (
        doubles(objective.head(objective.backbone(day.first))) for day in (batch, batch.later)
    )
    before, after = doubles(batch.measures), doubles(batch.later.measures)
    value = (huber(first, before, known) + huber(later, after, known)) / 2
    change = huber(later - first, after - before, known)
    found = objective.loss(batch)
    assert found["measures"].item() == pytest.approx(value, rel=1e-5)
    assert found["change"].item() == pytest.approx(change, rel=1e-5)
    assert found["loss"].item() == pytest.approx(value + 0.4 * change, rel=1e-5)
    assert objective.needs.day_pairs


@pytest.mark.parametrize("companion", ["simclr", "vicreg"])
def test_the_companion_s_loss_is_added_with_its_weight(companion: str) -> None:
    objective, batch = (
        objective_of("measures", companion=companion, companion_weight=0.3, change_weight=0),
        sample_batch(),
    )
    known, measured = batch.has_measures.tolist(), doubles(batch.measures)
    features = [objective.backbone(view) for view in (batch.first, batch.second)]
    value = np.mean([huber(doubles(objective.head(each)), measured, known) for each in features])
    alone = objective_of(companion)
    alone.head.load_state_dict(objective.projection[1].state_dict())
    beside = alone.loss(batch)["loss"].item()
    found = objective.loss(batch)
    assert found["companion"].item() == pytest.approx(beside, rel=1e-5)
    assert found["loss"].item() == pytest.approx(value + 0.3 * beside, rel=1e-5)
    assert objective.needs.views == 2
    assert not objective.needs.day_pairs


def test_the_weight_of_a_companion_is_at_most_three_tenths() -> None:
    with pytest.raises(ValidationError, match="companion_weight"):
        objective_of("measures", companion="simclr", companion_weight=0.31)


def test_an_image_without_measures_has_no_gradient() -> None:
    objective, batch = objective_of("measures", change_weight=0), sample_batch()
    none = replace(batch, has_measures=torch.zeros(6, dtype=torch.bool))
    loss = objective.loss(none)["loss"]
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(objective.backbone[1].weight.grad, torch.zeros(16, 192))
    other = replace(batch, measures=batch.measures + 100 * ~batch.has_measures[:, None])
    assert objective.loss(other)["loss"].item() == objective.loss(batch)["loss"].item()


@pytest.mark.parametrize(
    ("options", "width"),
    [({}, 16), ({"layer": "head"}, 11), ({"layer": "head", "measures_hidden": 5}, 11)],
)
def test_the_embedding_is_the_features_or_the_predicted_measures(
    options: dict[str, object], width: int
) -> None:
    objective, pixels = objective_of("measures", **options), sample_batch().first
    assert objective.embed(pixels).shape == (6, width)


def test_on_day_pairs_the_companion_uses_two_views_of_both_days_as_different_images() -> None:
    objective, batch = (
        objective_of("measures", companion="simclr", companion_weight=0.3),
        sample_batch(),
    )
    both_days = replace(
        batch,
        first=torch.cat([batch.first, batch.later.first]),
        second=torch.cat([batch.second, batch.later.second]),
    )
    alone = objective_of("simclr")
    alone.head.load_state_dict(objective.projection[1].state_dict())
    assert objective.loss(batch)["companion"].item() == pytest.approx(
        alone.loss(both_days)["loss"].item(), rel=1e-5
    )


def test_an_image_paired_with_itself_is_not_its_own_negative() -> None:
    objective, batch = objective_of("measures", companion="simclr"), sample_batch()
    twice = replace(batch, later=replace(batch, first=batch.second, second=batch.first, later=None))
    alone = objective_of("ntxent", supervised=True)
    alone.head.load_state_dict(objective.projection[1].state_dict())
    labelled = replace(
        batch,
        first=torch.cat([batch.first, batch.second]),
        second=torch.cat([batch.second, batch.first]),
        label=torch.cat([batch.well, batch.well]),
    )
    assert objective.loss(twice)["companion"].item() == pytest.approx(
        alone.loss(labelled)["loss"].item(), rel=1e-5
    )


def test_the_embedding_of_both_heads_concatenates_measures_and_a_projection_of_set_length() -> None:
    objective, pixels = (
        objective_of("measures", layer="both", companion="simclr", companion_length=4.0),
        sample_batch().first,
    )
    features = objective.backbone(pixels)
    found, projected = doubles(objective.embed(pixels)), doubles(objective.projection(features))
    assert found[:, :11] == pytest.approx(doubles(objective.head(features)))
    assert found[:, 11:] == pytest.approx(
        4.0 * projected / np.linalg.norm(projected, axis=1, keepdims=True), rel=1e-5
    )


def test_both_heads_need_a_companion() -> None:
    with pytest.raises(ConfigError, match=r"is 'both', and objective\.companion is 'none'"):
        objective_of("measures", layer="both")
    with pytest.raises(ConfigError, match="is for 'measures', not for 'simclr'"):
        objective_of("simclr", layer="both")


def test_dropout_before_the_head_is_active_only_in_training() -> None:
    objective, batch = objective_of("measures", dropout=0.5), sample_batch()
    torch.manual_seed(0)
    assert objective.loss(batch)["loss"].item() != objective.loss(batch)["loss"].item()
    objective.eval()
    assert objective.loss(batch)["loss"].item() == objective.loss(batch)["loss"].item()


def test_batches_come_from_one_plate() -> None:
    assert objective_of("measures").needs.within_plate
