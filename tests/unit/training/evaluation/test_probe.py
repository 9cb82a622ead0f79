import numpy as np
import pytest

from training.evaluation.probe import (
    draw_examples,
    linear_probe,
    nearest_neighbours,
    probe_accuracies,
    probe_recalls,
)

GROUPS = np.repeat(["untreated", "single_dose", "screening"], [40, 20, 60])


def groups_apart(distance: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = {"untreated": [0, 0], "single_dose": [1, 0], "screening": [0, 1]}
    return (
        np.array([centres[group] for group in GROUPS]) * distance
        + rng.normal(size=(len(GROUPS), 2)) * 0.1
    )


def test_separate_groups_are_classified_from_ten_examples() -> None:
    found = probe_accuracies(
        groups_apart(2, 0), GROUPS.tolist(), groups_apart(2, 1), GROUPS.tolist(), seed=1
    )
    assert set(found) == {"probe_10", "probe_20", "probe_30", "probe_all", "knn"}
    assert min(found.values()) > 0.99


def test_equal_groups_of_unequal_size_are_classified_at_chance() -> None:
    found = [
        probe_accuracies(
            groups_apart(0, seed),
            GROUPS.tolist(),
            groups_apart(0, seed + 50),
            GROUPS.tolist(),
            seed=seed,
        )
        for seed in range(6)
    ]
    for name in found[0]:
        assert np.mean([each[name] for each in found]) == pytest.approx(1 / 3, abs=0.08)


def test_each_class_gives_the_same_number_of_examples_or_all_of_a_smaller_class() -> None:
    rows = draw_examples(GROUPS, 30, seed=3)
    assert len(set(rows.tolist())) == len(rows)
    assert {group: int((GROUPS[rows] == group).sum()) for group in set(GROUPS)} == {
        "untreated": 30,
        "single_dose": 20,
        "screening": 30,
    }
    assert draw_examples(GROUPS, None, seed=3).tolist() == list(range(120))


def test_the_same_seed_draws_the_same_examples() -> None:
    wells = groups_apart(0.1, 0)
    first, second = (
        linear_probe(wells, GROUPS, groups_apart(0.1, 1), GROUPS, 10, seed=5) for _ in range(2)
    )
    assert first == second
    neighbours = [
        nearest_neighbours(wells, GROUPS, groups_apart(0.1, 1), GROUPS, seed=5) for _ in range(2)
    ]
    assert neighbours[0] == neighbours[1]


def test_the_recall_of_each_class_is_its_share_of_recognised_wells() -> None:
    wells, others = groups_apart(2, 0), groups_apart(2, 1)
    others[GROUPS == "single_dose"] = wells[GROUPS == "screening"][:20]
    found = probe_recalls(wells, GROUPS, others, GROUPS, None, seed=1)
    assert found == {"screening": 1.0, "single_dose": 0.0, "untreated": 1.0}
    balanced = linear_probe(wells, GROUPS, others, GROUPS, None, seed=1)
    assert balanced == pytest.approx(2 / 3)
