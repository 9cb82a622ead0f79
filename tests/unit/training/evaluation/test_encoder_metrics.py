from dataclasses import replace

import numpy as np

from schemas.plate_map import Group
from training.evaluation.embeddings import EvaluationEmbeddings
from training.evaluation.encoder_metrics import group_metrics, probe_folds
from training.evaluation.plates import EvaluationPlate
from training.evaluation.probe import EXAMPLES

GROUPS = (Group.UNTREATED,) * 4 + (Group.SINGLE_DOSE,) * 3 + (Group.SCREENING,) * 3
CENTRES = {Group.UNTREATED: (0, 0), Group.SINGLE_DOSE: (2, 0), Group.SCREENING: (0, 2)}
NAMES = {*(f"probe_{count}" for count in EXAMPLES), "probe_all", "knn"}


def six_plates(plate: EvaluationPlate) -> list[EvaluationPlate]:
    return [replace(plate, kind="mixed", seed=seed, groups=GROUPS) for seed in range(6)]


def embeddings_of(plates: list[EvaluationPlate], level: float, seed: int) -> EvaluationEmbeddings:
    """Return embeddings whose groups are apart, on plates with random levels of some size."""
    rng = np.random.default_rng(seed)
    centres = np.array([CENTRES[group] for group in GROUPS])
    return EvaluationEmbeddings(
        encoder_id="one-1",
        plates=tuple(
            np.repeat(
                (centres + rng.normal(size=centres.shape) * 0.1)[:, None]
                + level * np.array([seed, -seed]),
                2,
                axis=1,
            )
            for seed, _ in enumerate(plates)
        ),
        variants={},
        variant_plates=np.array([], dtype=np.str_),
        real={},
        ms_per_image=1.0,
        own_units=False,
        ranking_weight=0.0,
    )


def test_every_mixed_plate_tests_a_probe_of_other_plates_once(
    plates: list[EvaluationPlate],
) -> None:
    folds = list(probe_folds([*six_plates(plates[0]), plates[1]]))
    assert sorted(place for _, test in folds for place in test) == list(range(6))
    assert all(len(train) == 4 and not set(train) & set(test) for train, test in folds)


def test_groups_that_are_apart_on_each_plate_are_recognised_at_any_level_of_the_plates(
    plates: list[EvaluationPlate],
) -> None:
    many = six_plates(plates[0])
    same, different = (group_metrics(embeddings_of(many, level, 3), many) for level in (0, 50))
    assert set(same) == NAMES
    assert min(same.values()) > 0.9
    assert np.allclose([same[name] for name in NAMES], [different[name] for name in NAMES])


def test_groups_that_are_equal_are_recognised_at_chance(plates: list[EvaluationPlate]) -> None:
    many = six_plates(plates[0])
    rng = np.random.default_rng(1)
    noise = replace(
        embeddings_of(many, 0, 3),
        plates=tuple(rng.normal(size=(len(GROUPS), 2, 2)) for _ in many),
    )
    assert max(group_metrics(noise, many).values()) < 0.55
