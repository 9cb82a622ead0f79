from dataclasses import replace

import numpy as np
import pytest

from inference.departure.departures import measure_departures, residuals_of_scorable_wells
from inference.departure.place_effects import (
    PlaceEffects,
    find_place_effects,
    in_one_block,
    position_factors,
)
from inference.ranking.plate_ranking import rank_plate
from schemas.trajectory import Trajectories
from schemas.well import INNER_60
from tests.known_plates import DOSING_DAY, READOUT_DAY, plate


def scattered(seed: int, **changes: int) -> Trajectories:
    """Return a plate without treatment effects whose wells are at random positions."""
    trajectories = plate((0.0,) * 14, features=12, seed=seed, encoder_id="", **changes)  # type: ignore[arg-type]
    places = np.random.default_rng(seed).permutation(60)[: len(trajectories.wells)]
    return replace(trajectories, wells=tuple(INNER_60[place] for place in places))


def effects(trajectories: Trajectories) -> PlaceEffects:
    residuals, used, _ = residuals_of_scorable_wells(
        trajectories, dosing_day=DOSING_DAY, day=READOUT_DAY
    )
    assert used.all()
    return find_place_effects(residuals, trajectories.wells, np.random.default_rng(0))


def pushed(trajectories: Trajectories, of_place: np.ndarray) -> Trajectories:
    """Return the plate with a readout change that depends on the position of each well."""
    features = trajectories.features.copy()
    features[:, 1] += of_place[:, None] * np.random.default_rng(99).normal(size=features.shape[2])
    return replace(trajectories, features=features)


def test_position_factors_are_row_column_and_edge_of_the_wells_in_use() -> None:
    np.testing.assert_array_equal(
        position_factors(("B02", "C03", "D04", "B04", "D02")),
        [[2, 2, 1], [3, 3, 0], [4, 4, 1], [2, 4, 1], [4, 2, 1]],
    )


@pytest.mark.parametrize(("number", "name"), [(0, "row"), (1, "column"), (2, "edge")])
def test_a_position_effect_is_found_and_named(number: int, name: str) -> None:
    for seed in range(5):
        trajectories = scattered(seed)
        place = position_factors(trajectories.wells)[:, number]
        found = effects(pushed(trajectories, 3.0 * (place - place.mean()) / place.std()))
        assert name in found.significant
        assert found.covariates is not None
        assert found.covariates.shape == (60, len(found.significant))


def test_without_position_effects_false_effects_are_rare() -> None:
    assert (
        sum(bool(effects(scattered(seed)).significant) for seed in range(60)) <= 5
    )  # three tests of 1 %


@pytest.mark.parametrize("number", [1, 2])
def test_correction_removes_the_departure_that_a_position_causes(number: int) -> None:
    raw, corrected = [], []
    for seed in range(5):
        trajectories = scattered(seed)
        place = position_factors(trajectories.wells)[:, number]
        away = 3.0 * (place - place[:18].mean()) / place.std()
        moved = pushed(trajectories, away)
        far = np.abs(away) >= np.quantile(np.abs(away[18:]), 0.7)
        far[:18] = False
        table = rank_plate(moved, dosing_day=DOSING_DAY, readout_day=READOUT_DAY, seed=0)
        assert table.quality.corrected_for
        assert any(
            "the position on the plate has an effect" in note.lower() for note in table.notes
        )
        scores = np.array([np.nan if row.score is None else row.score for row in table.wells])
        raw.append(
            measure_departures(moved, dosing_day=DOSING_DAY, day=READOUT_DAY).scores[far].mean()
        )
        corrected.append(np.nanmean(scores[far]))
    assert np.mean(raw) > 0.4
    assert abs(np.mean(corrected)) < 0.6 * np.mean(raw)


def test_equal_wells_have_no_position_effect() -> None:
    trajectories = scattered(0)
    features = trajectories.features.copy()
    features[:18, 1] = features[0, 1]
    assert effects(replace(trajectories, features=features)).significant == ()


def test_fewer_than_eight_untreated_wells_give_no_position_effect() -> None:
    trajectories = scattered(0, untreated=7)
    found = effects(pushed(trajectories, 30.0 * position_factors(trajectories.wells)[:, 1]))
    assert (found.significant, found.covariates) == ((), None)


def test_untreated_wells_in_one_rectangle_without_others_are_one_block() -> None:
    rows, columns = np.mgrid[0:4, 0:6].reshape(2, -1)
    places = np.column_stack([rows, columns])
    assert in_one_block(places, columns < 2)
    assert in_one_block(places, (rows < 2) & (columns > 2))
    assert not in_one_block(places, columns % 3 == 0)
    assert not in_one_block(
        places, (columns < 2) & ~((rows == 1) & (columns == 1))
    )  # one treated well is inside
    assert not in_one_block(places, np.ones(24, dtype=bool))
    assert in_one_block(places[columns != 1], columns[columns != 1] == 0)
    assert not in_one_block(places, (rows == 0) & (columns < 2))  # two wells are too few
