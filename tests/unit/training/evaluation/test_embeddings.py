from pathlib import Path

import numpy as np
import pytest

from schemas.well_image import WellImage
from training.evaluation.embeddings import (
    ORIGINAL,
    EvaluationEmbeddings,
    MeasuresAsEncoder,
    embed_evaluation_images,
    join_encoders,
    scale_to_untreated_spread,
)
from training.evaluation.plates import EvaluationPlate
from training.evaluation.variants import VARIANTS


class Brightness:
    """An encoder of mean and deviation of the sharpest plane, with a counter of its calls."""

    encoder_id = "brightness-1"
    dimension = 2

    def __init__(self) -> None:
        self.calls = 0

    def crop(self, image: WellImage) -> str | None:
        del image
        return None

    def embed(self, image: WellImage, sharpest_plane: int) -> np.ndarray:
        self.calls += 1
        plane = image.planes[sharpest_plane] / 65_535
        return np.array([plane.mean(), plane.std()], np.float32)


def test_every_image_is_embedded_once(plates: list[EvaluationPlate], tmp_path: Path) -> None:
    encoder = Brightness()
    first = embed_evaluation_images(
        encoder, plates, [plates[0].image(0, 0)], tmp_path, ranking_weight=0.1, viewed_wells=2
    )
    calls = encoder.calls
    second = embed_evaluation_images(
        encoder, plates, [plates[0].image(0, 0)], tmp_path, ranking_weight=0.1, viewed_wells=2
    )
    assert encoder.calls == calls
    assert np.array_equal(first.plates[0], second.plates[0])
    assert first.plates[0].shape == (10, 2, 2)
    assert set(first.real) == {ORIGINAL, *VARIANTS}


def test_measures_are_used_in_place_of_an_encoder(
    plates: list[EvaluationPlate], tmp_path: Path
) -> None:
    embeddings = embed_evaluation_images(
        MeasuresAsEncoder(), plates, [], tmp_path, ranking_weight=0.0, viewed_wells=2
    )
    assert embeddings.plates[0] is plates[0].measures
    assert len(embeddings.real[ORIGINAL]) == 0


def made_up(values: np.ndarray, *, own_units: bool) -> EvaluationEmbeddings:
    variants = dict.fromkeys((ORIGINAL, *VARIANTS), values[0, :3, -1])
    return EvaluationEmbeddings(
        "made-up",
        tuple(values),
        variants,
        np.array(["mixed-201"] * 3),
        variants,
        1.0,
        own_units,
        0.1,
    )


@pytest.mark.parametrize("own_units", [True, False])
def test_embeddings_are_scaled_to_the_spread_of_untreated_wells(
    plates: list[EvaluationPlate], *, own_units: bool
) -> None:
    values = np.random.default_rng(0).normal(size=(2, 10, 2, 3)) * np.array([1.0, 10.0, 100.0])
    spread = (
        scale_to_untreated_spread(made_up(values, own_units=own_units), plates)
        .plates[0][plates[0].untreated, -1]
        .std(axis=0, ddof=1)
    )
    if own_units:
        assert spread == pytest.approx(np.ones(3))
    else:
        assert np.sqrt(np.mean(spread**2)) == pytest.approx(1.0)


def test_joined_encoders_have_equal_variance_for_any_unit_and_dimension(
    plates: list[EvaluationPlate],
) -> None:
    rng = np.random.default_rng(1)
    short, long = rng.normal(size=(2, 10, 2, 2)), 50 * rng.normal(size=(2, 10, 2, 40))
    both = join_encoders([made_up(short, own_units=False), made_up(long, own_units=False)], plates)
    spread = both.plates[0][plates[0].untreated, -1].var(axis=0, ddof=1)
    assert both.dimension == 42
    assert spread[:2].sum() == pytest.approx(spread[2:].sum())
