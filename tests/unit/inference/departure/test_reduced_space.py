from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from inference.departure.reduced_space import ReducedPlate, reduce_plate, usable_rows
from inference.ports import EarlierWells
from schemas.errors import ProfileError
from schemas.plate_map import Group
from schemas.trajectory import Trajectories
from tests.known_plates import plate


def reduced(trajectories: Trajectories, *others: Trajectories) -> ReducedPlate:
    before, after = (
        [day for day in trajectories.days if day <= 7],
        [day for day in trajectories.days if day > 7],
    )
    return reduce_plate(
        trajectories, np.ones(len(trajectories.wells), dtype=bool), before, after, others
    )


def few_features(seed: int = 0, kills: tuple[float, ...] = (0.0, 0.5, 1.0)) -> Trajectories:
    """Return a plate with three features, so that no direction is dropped."""
    return plate(kills, features=3, encoder_id="", seed=seed)


def with_day_8(trajectories: Trajectories) -> Trajectories:
    middle = trajectories.features.mean(axis=1, keepdims=True)
    return replace(
        trajectories,
        days=(7, 8, 10),
        features=np.concatenate(
            [trajectories.features[:, :1], middle, trajectories.features[:, 1:]], axis=1
        ),
    )


def gaps(positions: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.norm(positions[:, None] - positions[None], axis=2))


def test_distances_of_wells_equal_those_of_robustly_scaled_features() -> None:
    trajectories = few_features()
    space = reduced(trajectories)
    rows = np.concatenate(
        [day - np.median(day, axis=0) for day in np.moveaxis(trajectories.features, 1, 0)]
    )
    spread = [max(1.4826 * np.median(np.abs(column)), 0.1 * column.std()) for column in rows.T]
    np.testing.assert_allclose(
        gaps(np.concatenate([space.past, space.readout]))[:27, :27], gaps(rows[:27] / spread)
    )
    np.testing.assert_allclose(gaps(space.readout), gaps(rows[27:] / spread))


def test_positions_after_dosing_include_the_change_of_the_mean_well() -> None:
    trajectories = few_features()
    moved = replace(trajectories, features=trajectories.features + np.array([0.0, 5.0])[:, None])
    here, there = reduced(trajectories), reduced(moved)
    np.testing.assert_allclose(there.past, here.past)
    change = there.readout - here.readout
    np.testing.assert_allclose(change, np.tile(change[0], (27, 1)))
    rows = np.concatenate(
        [day - np.median(day, axis=0) for day in np.moveaxis(trajectories.features, 1, 0)]
    )
    assert np.linalg.norm(change[0]) == pytest.approx(
        np.linalg.norm(5.0 / (1.4826 * np.median(np.abs(rows), axis=0)))
    )


def test_the_directions_do_not_depend_on_who_was_treated() -> None:
    trajectories = few_features()
    relabelled = replace(
        trajectories,
        groups=tuple(reversed(trajectories.groups)),
        treatments=tuple(reversed(trajectories.treatments)),
    )
    np.testing.assert_array_equal(reduced(relabelled).after, reduced(trajectories).after)


def test_a_missing_day_repeats_the_difference_and_moves_with_the_other_wells() -> None:
    trajectories = with_day_8(few_features())
    features = trajectories.features.copy()
    features[20, 1] = np.nan
    space = reduced(replace(trajectories, features=features))
    away = space.after[:, 0] - space.past
    others = np.delete(np.arange(27), 20)
    on_day = np.median(features[others, 1], axis=0) - np.median(features[:, 0], axis=0)
    assert np.isfinite(space.after).all()
    np.testing.assert_allclose(
        np.linalg.norm(away[20]), np.linalg.norm(on_day / _spread(features)), rtol=1e-9
    )


def _spread(features: np.ndarray) -> np.ndarray:
    rows = np.concatenate(
        [features[:, day] - np.median(features[:, day], axis=0) for day in (0, 2)]
    )
    return np.asarray(1.4826 * np.median(np.abs(rows), axis=0))


def test_a_well_without_an_image_of_the_dosing_day_uses_the_day_before() -> None:
    trajectories = few_features()
    features = np.concatenate([trajectories.features[:, :1] + 7.0, trajectories.features], axis=1)
    features[::2, 1] = np.nan
    space = reduced(replace(trajectories, days=(6, 7, 10), features=features))
    assert np.isfinite(space.past).all()
    whole = reduced(trajectories)
    assert np.corrcoef(gaps(space.past).ravel(), gaps(whole.past).ravel())[0, 1] > 0.95


def test_an_empty_day_before_dosing_does_not_hide_the_change_since() -> None:
    trajectories = few_features()
    features = np.insert(trajectories.features, 1, np.nan, axis=1)
    features[:, 2] += 5.0
    change = (
        space := reduced(replace(trajectories, days=(6, 7, 10), features=features))
    ).readout.mean(axis=0) - space.past.mean(axis=0)
    assert np.linalg.norm(change) > 1.0


def test_wells_of_another_plate_are_projected_and_centred_on_their_own_mean() -> None:
    trajectories = few_features()
    space = reduced(
        trajectories, replace(trajectories, plate="P0", features=trajectories.features + 100.0)
    )
    np.testing.assert_allclose(
        space.earlier[0].past, space.past[:18] - space.past[:18].mean(axis=0), atol=1e-9
    )
    np.testing.assert_allclose(
        space.earlier[0].readout, space.readout[:18] - space.readout[:18].mean(axis=0), atol=1e-9
    )


def test_the_similarity_is_1_for_equal_variation_and_0_6_for_twofold_variance() -> None:
    untreated = few_features(kills=())
    twofold = replace(untreated, features=untreated.features * np.sqrt(2))
    assert [
        round(each.similarity, 3) for each in reduced(untreated, untreated, twofold).earlier
    ] == [
        1.0,
        0.607,
    ]


def without_untreated(other: Trajectories) -> Trajectories:
    return replace(
        other,
        groups=(Group.SCREENING,) * len(other.wells),
        treatments=("a:1 uM",) * len(other.wells),
    )


def hidden(other: Trajectories, wells: slice, value: float) -> Trajectories:
    features = other.features.copy()
    features[wells] = value
    return replace(other, features=features)


@pytest.mark.parametrize(
    "other",
    [
        without_untreated,
        lambda other: hidden(other, slice(2, None), np.nan),
        lambda other: hidden(other, slice(0, 18), 1.0),
        lambda other: hidden(other, slice(0, None), np.inf),
        lambda other: replace(other, days=(8, 10)),
        lambda other: replace(other, days=(7, 9)),
    ],
)
def test_a_plate_without_usable_untreated_wells_is_not_used(
    other: Callable[[Trajectories], Trajectories],
) -> None:
    assert reduced(few_features(), other(few_features(1))).earlier == ()


def test_a_plate_with_extreme_values_has_similarity_0() -> None:
    trajectories = plate(features=12)
    assert (
        reduced(trajectories, replace(trajectories, features=trajectories.features * 1e98)).earlier
        == ()
    )


def test_plates_with_different_features_are_refused() -> None:
    trajectories = plate(features=12)
    with pytest.raises(
        ProfileError, match="P2: has features of the encoder 'other'; expected 'e' as plate P1 has"
    ):
        reduced(trajectories, replace(trajectories, plate="P2", encoder_id="other"))
    with pytest.raises(
        ProfileError, match="P2: has other features than plate P1; expected the same 12"
    ):
        reduced(trajectories, replace(plate(features=11), plate="P2"))


def test_a_row_with_less_than_half_the_values_of_the_fullest_is_not_usable() -> None:
    rows = np.ones((4, 6))
    rows[1, :3] = np.nan
    rows[2, :4] = np.inf
    rows[3, :4] = 1e200
    np.testing.assert_array_equal(usable_rows(rows), [True, True, False, False])
    assert not usable_rows(np.full((2, 3), np.nan)).any()
    assert usable_rows(np.empty((0, 3))).shape == (0,)


def test_the_last_part_of_a_plate_has_the_directions_of_the_measures() -> None:
    values = np.arange(24.0).reshape(2, 4, 3)
    earlier = EarlierWells(past=values[0], readout=values[1])
    whole = ReducedPlate(values[0], values[1][:, None], (earlier,), (), embedded=2)
    alone = whole.last_part()
    assert alone.past.tolist() == values[0][:, 2:].tolist()
    assert alone.readout.tolist() == values[1][:, 2:].tolist()
    assert alone.earlier[0].past.tolist() == alone.past.tolist()
    assert alone.parts == (slice(0, 1),)
    assert alone.last_part().past.tolist() == alone.past.tolist()
