from dataclasses import replace

import numpy as np
import pytest

from benchmarks.predicted_stain import (
    PREDICTED,
    accuracy,
    features,
    predicted_kill,
)
from benchmarks.ranking_heads import (
    HEADS,
    OTHERS,
    OWN,
    Row,
    fold_rows,
    heads,
    readings,
    table,
    training_laboratories,
)
from inference.tissue.ranked_measures import STAIN_FEATURES
from schemas.plate_map import Group
from simulation.fluorescence import cells_after
from simulation.kinds import Mechanism, RendererName
from simulation.microscope import NO_MECHANISM
from training.evaluation.laboratories import draw_laboratories
from training.evaluation.laboratory_plates import LaboratoryPlate
from training.evaluation.laboratory_protocol import LEFT_OUT, MIXED, Fold, Reading

LABORATORIES = draw_laboratories(100, 2, [RendererName.GROWING_FRONT, RendererName.PACKED_CELLS])
WELLS = 24


def make_plate(number: int, laboratory: int = 0) -> LaboratoryPlate:
    """Return a plate whose kill is visible in the embedding and the stain, not in the measures."""
    rng = np.random.default_rng(number)
    mechanisms = np.repeat([NO_MECHANISM, Mechanism.IN_PLACE, Mechanism.SHRINKING], WELLS // 3)
    kill = np.where(mechanisms == NO_MECHANISM, 0, rng.random(WELLS))
    embedding = 0.1 * rng.normal(size=(WELLS, 2, 4))
    embedding[:, 1, 0] += kill
    dead = np.array([cells_after(*each) for each in zip(kill, mechanisms, strict=True)])
    predicted = rng.random((WELLS, 2, 3))
    predicted[:, 1, 1] = dead[:, 1] / dead.sum(axis=1)
    return LaboratoryPlate(
        laboratory=LABORATORIES[laboratory],
        name=f"P{number}",
        wells=tuple(f"B{well:02d}" for well in range(WELLS)),
        groups=tuple(
            Group.UNTREATED if each == NO_MECHANISM else Group.SCREENING for each in mechanisms
        ),
        treatments=tuple("" if each == NO_MECHANISM else f"drug{each}" for each in mechanisms),
        mechanisms=tuple(mechanisms.tolist()),
        kill=kill,
        measures=rng.normal(size=(WELLS, 2, 11)) + 30,
        parameters=np.zeros((WELLS, 2, 1)),
        features={"encoder": embedding, PREDICTED: predicted},
    )


def test_the_renderer_of_the_tested_laboratories_is_not_in_the_training() -> None:
    laboratories = training_laboratories(4, RendererName.PACKED_CELLS)
    renderers = {laboratory.renderer_name for laboratory in laboratories}
    assert renderers == set(RendererName) - {RendererName.PACKED_CELLS}
    assert len({laboratory.seed for laboratory in laboratories}) == 4


def test_every_head_reads_every_embedding_and_the_kernel_needs_one() -> None:
    assert [reading.name for reading in readings(["a"])] == ["measures", "a embedding", "a both"]
    assert heads(Reading("a", "both"), HEADS) == list(HEADS)
    assert heads(Reading("", "measures"), ("pairwise", "kernel")) == ["pairwise"]


def test_a_head_on_an_embedding_that_shows_the_kill_is_better_than_on_the_measures() -> None:
    fold = Fold(0, (1,), RendererName.GROWING_FRONT, Mechanism.SHRINKING)
    plates = [
        [replace(plate, features={"encoder": plate.features["encoder"]}) for plate in of_laboratory]
        for of_laboratory in ([make_plate(1), make_plate(2)], [make_plate(3, laboratory=1)])
    ]
    rows = fold_rows(fold, plates, 100, assays=1, chosen=["pairwise"])
    values = {(row.reading.name, row.learned_from, row.group): row.value for row in rows}
    for source in (OWN, OTHERS):
        assert values["encoder embedding", source, MIXED] > 0.8
        assert values["encoder embedding", source, LEFT_OUT] > 0.5
        assert values["measures", source, MIXED] < 0.6


def test_the_table_has_the_mean_over_laboratories_and_an_interval() -> None:
    reading = Reading("a", "embedding")
    rows = [
        Row(laboratory, reading, head, OWN, MIXED, value)
        for head in ("pairwise", "ridge")
        for laboratory, value in ((1, 0.2), (2, 0.6))
    ]
    line = table(rows, OWN, MIXED)[-1]
    assert line.startswith("| a | embedding |")
    assert line.count("0.40") == 2
    assert line.endswith("0.20 to 0.60 |")


def test_a_calibration_with_a_telling_stain_is_better_than_by_the_measures_alone() -> None:
    learned, tested = make_plate(1), make_plate(2)
    assert features(tested, with_stain=True).feature_names[-2:] == STAIN_FEATURES
    treated = np.array(tested.mechanisms) == Mechanism.IN_PLACE
    without, with_stain = (
        np.corrcoef(
            predicted_kill([learned], [tested], "trees", with_stain=each)[0][treated],
            tested.kill[treated],
        )[0, 1]
        for each in (False, True)
    )
    assert with_stain > 0.7 > without


def test_a_right_prediction_has_no_error() -> None:
    found = accuracy(make_plate(1))
    assert found.spearman == pytest.approx(1)
    assert found.error == pytest.approx(0, abs=1e-9)
