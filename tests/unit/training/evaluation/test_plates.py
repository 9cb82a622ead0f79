from dataclasses import replace
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
from training.evaluation.plates import (
    EvaluationPlate,
    EvaluationSet,
    evaluation_plates,
    indices_of_kind,
)
from training.evaluation.ranking_quality import calibrated_percent, kill_correlation, plate_folds
from training.evaluation.variants import VARIANTS

SMALL = EvaluationSet(mixed=(201,), one_mechanism=(), shifted=(201,), size_px=96, wells=10)


class Brightness:
    """An encoder that tells the mean and the spread of the sharpest plane, and counts how often it was asked."""

    encoder_id = "brightness-1"
    dimension = 2

    def __init__(self) -> None:
        self.asked = 0

    def embed(self, image: WellImage, sharpest_plane: int) -> np.ndarray:
        self.asked += 1
        plane = image.planes[sharpest_plane] / 65_535
        return np.array([plane.mean(), plane.std()], np.float32)


@pytest.fixture(scope="module")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def plates(cache_folder: Path) -> list[EvaluationPlate]:
    return evaluation_plates(SMALL, cache_folder)


def test_plates_are_rendered_once(plates: list[EvaluationPlate], cache_folder: Path) -> None:
    times = {path: path.stat().st_mtime_ns for path in cache_folder.rglob("*.np*")}
    again = evaluation_plates(SMALL, cache_folder)
    assert {path: path.stat().st_mtime_ns for path in cache_folder.rglob("*.np*")} == times
    assert [plate.name for plate in again] == ["mixed-201", "phase_rim-201"]
    assert np.array_equal(again[0].planes, plates[0].planes)


def test_a_plate_left_half_rendered_is_rendered_again(
    cache_folder: Path, plates: list[EvaluationPlate]
) -> None:
    folder = next(cache_folder.rglob("mixed-201"))
    folder.rename(folder.with_name("mixed-201.part"))
    assert np.array_equal(evaluation_plates(SMALL, cache_folder)[0].planes, plates[0].planes)
    assert not list(cache_folder.rglob("*.part"))


def test_the_other_microscope_sees_the_same_wells(plates: list[EvaluationPlate]) -> None:
    mixed, shifted = plates
    assert (mixed.wells, mixed.treatments, mixed.kill.tolist()) == (
        shifted.wells,
        shifted.treatments,
        shifted.kill.tolist(),
    )
    assert not np.array_equal(mixed.planes, shifted.planes)
    assert list(indices_of_kind(plates, "phase_rim")) == [1]


def test_an_encoder_is_asked_once_for_each_image(
    plates: list[EvaluationPlate], tmp_path: Path
) -> None:
    encoder = Brightness()
    first = embed_evaluation_images(
        encoder, plates, [plates[0].image(0, 0)], tmp_path, ranking_weight=0.1, viewed_wells=2
    )
    asked = encoder.asked
    second = embed_evaluation_images(
        encoder, plates, [plates[0].image(0, 0)], tmp_path, ranking_weight=0.1, viewed_wells=2
    )
    assert encoder.asked == asked
    assert np.array_equal(first.plates[0], second.plates[0])
    assert first.plates[0].shape == (10, 2, 2)
    assert set(first.real) == {ORIGINAL, *VARIANTS}


def test_measures_stand_in_an_encoders_place(plates: list[EvaluationPlate], tmp_path: Path) -> None:
    looks = embed_evaluation_images(
        MeasuresAsEncoder(), plates, [], tmp_path, ranking_weight=0.0, viewed_wells=2
    )
    assert looks.plates[0] is plates[0].measures
    assert len(looks.real[ORIGINAL]) == 0


def made_up(values: np.ndarray, *, own_units: bool) -> EvaluationEmbeddings:
    views = dict.fromkeys((ORIGINAL, *VARIANTS), values[0, :3, -1])
    return EvaluationEmbeddings(
        "made-up", tuple(values), views, np.array(["mixed-201"] * 3), views, 1.0, own_units, 0.1
    )


@pytest.mark.parametrize("own_units", [True, False])
def test_embeddings_are_brought_to_the_spread_of_untreated_wells(
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


def test_encoders_joined_count_alike_whatever_their_unit_and_length(
    plates: list[EvaluationPlate],
) -> None:
    rng = np.random.default_rng(1)
    short, long = rng.normal(size=(2, 10, 2, 2)), 50 * rng.normal(size=(2, 10, 2, 40))
    both = join_encoders([made_up(short, own_units=False), made_up(long, own_units=False)], plates)
    spread = both.plates[0][plates[0].untreated, -1].var(axis=0, ddof=1)
    assert both.dimension == 42
    assert spread[:2].sum() == pytest.approx(spread[2:].sum())


def named(kind: str, seed: int, plate: EvaluationPlate) -> EvaluationPlate:
    return replace(plate, name=f"{kind}-{seed}", kind=kind, seed=seed)


def test_every_mixed_plate_is_held_out_once_and_teaches_otherwise(
    plates: list[EvaluationPlate],
) -> None:
    many = [named("mixed", seed, plates[0]) for seed in range(12)] + [
        named("phase_rim", 3, plates[1])
    ]
    found = list(plate_folds(many))
    assert [len(fold.calibration) for fold in found] == [8, 8, 8]
    assert sorted(seed for fold in found for seed in fold.tested) == list(range(12))
    assert all(not fold.tested & {many[place].seed for place in fold.calibration} for fold in found)


def test_a_plate_teaches_nothing_about_the_same_wells_under_another_microscope(
    plates: list[EvaluationPlate],
) -> None:
    """With the kill itself as embedding but on one plate, that plate reads wrong unless its own seed teaches."""
    many = [named("mixed", seed, plates[0]) for seed in range(3)] + [
        named("phase_rim", 0, plates[0])
    ]
    wells = len(plates[0].wells)
    rng = np.random.default_rng(2)
    embeddings = [rng.normal(size=(wells, 2, 4)) for _ in many]
    percent = calibrated_percent(many, embeddings, with_measures=False)
    odd = [replace(plate, kill=1 - plate.kill) if plate.seed == 0 else plate for plate in many]
    again = calibrated_percent(odd, embeddings, with_measures=False)
    assert np.array_equal(percent[0], again[0])
    assert np.array_equal(percent[3], again[3])
    assert not np.array_equal(percent[1], again[1])


def test_the_order_is_over_treated_wells_with_a_score() -> None:
    kill, untreated = (
        np.array([0.0, 0.2, 0.5, 0.9, 0.7]),
        np.array([True, False, False, False, False]),
    )
    assert kill_correlation(np.array([99.0, 1, 2, 3, np.nan]), kill, untreated) == pytest.approx(
        1.0
    )
    assert kill_correlation(np.ones(5), kill, untreated) == 0.0
    assert np.isnan(kill_correlation(np.full(5, np.nan), kill, untreated))
