from dataclasses import replace

import numpy as np
import pytest

from inference.bundle import load_bundle
from simulation.kinds import RendererName
from tests.observed_laboratories import make_plate
from training.evaluation.laboratories import draw_laboratories
from training.evaluation.laboratory_plates import LaboratoryPlate
from training.evaluation.laboratory_protocol import MIXED, UNCALIBRATED
from training.evaluation.projected_laboratories import evaluate_projection

pytestmark = pytest.mark.train


def with_embedding(plate: LaboratoryPlate, mixing: np.ndarray) -> LaboratoryPlate:
    """Return the plate with an embedding that is a linear mixture of its measures, with noise."""
    rng = np.random.default_rng(len(plate.name))
    embedding = (plate.measures - 30) @ mixing
    return replace(plate, features={"default": embedding + 0.01 * rng.normal(size=embedding.shape)})


def test_each_laboratory_is_ranked_by_the_projection_that_others_trained() -> None:
    bundle = load_bundle("default")
    mixing = np.random.default_rng(0).normal(size=(11, bundle.card.dimension))
    laboratories = draw_laboratories(
        100, 2, [RendererName.PACKED_CELLS, RendererName.GROWING_FRONT]
    )
    plates = [
        [with_embedding(make_plate(laboratory, 10 * place + seed), mixing) for seed in range(3)]
        for place, laboratory in enumerate(laboratories)
    ]
    results = evaluate_projection("default", bundle, laboratories, plates, [1])
    mixed = [each for each in results if each.group == MIXED and each.assays == UNCALIBRATED]
    assert {each.laboratory for each in mixed} == {100, 101}
    assert {each.reading for each in results} == {"default projected"}
    # The projection keeps directions of the measures, in which treated wells depart.
    assert min(each.value for each in mixed) > 0
