"""Tests of the objective ``convirt`` with equations 2 to 4 of arXiv 2010.00747."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.objective_samples import Doubles, doubles, objective_of, projected, sample_batch
from training.encoder.collapse import embedding_statistics
from training.objectives.base import Objective
from training.objectives.convirt import ConVIRT, TextEncoder

pytestmark = pytest.mark.train

T, WEIGHT = 0.1, 0.75
FORMS = ["text", "numbers"]


def slow(v: Doubles, u: Doubles, weight: float) -> float:
    """Compute equations 2, 3 and 4 pair by pair."""

    def cosine(i: int, k: int) -> float:
        return float(v[i] @ u[k] / (np.linalg.norm(v[i]) * np.linalg.norm(u[k])))

    count, terms = len(v), []
    for i in range(count):
        own = np.exp(cosine(i, i) / T)
        image_to_text = -np.log(own / sum(np.exp(cosine(i, k) / T) for k in range(count)))
        text_to_image = -np.log(own / sum(np.exp(cosine(k, i) / T) for k in range(count)))
        terms.append(weight * image_to_text + (1 - weight) * text_to_image)
    return float(np.mean(terms))


def convirt(form: str, **options: object) -> Objective:
    values = {"record": form, "temperature": T, "image_to_record_weight": WEIGHT, **options}
    return objective_of("convirt", **values)


def record_projections(objective: Objective, form: str) -> Doubles:
    assert isinstance(objective, ConVIRT)
    batch = sample_batch()
    content = batch.record_words if form == "text" else batch.record_numbers
    return doubles(objective.record_head(objective.record_encoder(content)))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("weight", [0.0, WEIGHT, 1.0])
def test_convirt_is_the_paper_s_loss_over_the_images_with_a_record(
    form: str, weight: float
) -> None:
    objective, batch = convirt(form, image_to_record_weight=weight), sample_batch()
    v = projected(objective, batch.first)
    u = record_projections(objective, form)
    # The last image of the batch has no record.
    assert objective.loss(batch)["loss"].item() == pytest.approx(
        slow(v[:5], u[:5], weight), rel=1e-4
    )


@pytest.mark.parametrize("form", FORMS)
def test_each_form_learns_from_its_own_part_of_the_batch(form: str) -> None:
    objective, batch = convirt(form), sample_batch()
    other_words = replace(batch, record_words=batch.record_words.flip(1))
    other_numbers = replace(batch, record_numbers=-batch.record_numbers)
    losses = [objective.loss(each)["loss"].item() for each in (batch, other_words, other_numbers)]
    assert (losses[0] != losses[1]) == (form == "text")
    assert (losses[0] != losses[2]) == (form == "numbers")


@pytest.mark.parametrize("form", FORMS)
def test_images_find_their_records_after_a_short_training_without_a_collapse(form: str) -> None:
    objective, batch = convirt(form), sample_batch()
    optimiser = torch.optim.Adam(objective.parameters(), lr=1e-2)
    for _ in range(40):
        loss = objective.loss(batch)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    v, u = projected(objective, batch.first), record_projections(objective, form)
    assert (v @ u.T)[:5, :5].argmax(axis=1).tolist() == [0, 1, 2, 3, 4]
    assert embedding_statistics(objective.embed(batch.first).detach()).rank >= 2


def test_a_batch_without_two_records_has_a_loss_of_zero_and_no_gradient() -> None:
    objective, batch = convirt("text"), sample_batch()
    one = batch.record_words.clone()
    one[1:] = 0
    loss = objective.loss(replace(batch, record_words=one))["loss"]
    loss.backward()
    assert loss.item() == 0
    assert not any(weight.grad.any() for weight in objective.backbone.parameters())


def test_padding_does_not_change_the_encoding_of_a_text() -> None:
    torch.manual_seed(0)
    encoder = TextEncoder(20, 6)
    words = torch.tensor([[2, 3, 4], [5, 0, 0]])
    padded = torch.nn.functional.pad(words, (0, 4))
    assert torch.allclose(encoder(words), encoder(padded), atol=1e-6)
    assert torch.allclose(encoder(words)[1], encoder(torch.tensor([[5]]))[0], atol=1e-6)


def test_the_order_of_words_changes_the_encoding_of_a_text() -> None:
    torch.manual_seed(0)
    encoder = TextEncoder(20, 6)
    assert not torch.allclose(
        encoder(torch.tensor([[2, 3, 4]])), encoder(torch.tensor([[4, 3, 2]])), atol=1e-3
    )
