from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from inference.deterioration.features import EMBEDDING_COMPONENTS, FeatureSpace, PlateFeatures
from schemas.errors import ProfileError
from schemas.plate_map import Group
from schemas.trajectory import Representation, Trajectories
from tests.assayed_plates import DOSING_DAY, MEASURES, READOUT_DAY, known_plate

Array = npt.NDArray[np.float64]
TILT = MEASURES.index("tilt")


def seen(trajectories: Trajectories) -> PlateFeatures:
    return PlateFeatures.from_trajectories(
        trajectories, dosing_day=DOSING_DAY, readout_day=READOUT_DAY
    )


def changed(
    trajectories: Trajectories,
    value: float,
    *,
    wells: object = slice(None),
    day: object = slice(None),
    feature: object = slice(None),
) -> Trajectories:
    """Return the plate with another value at (wells, day, feature)."""
    features = trajectories.features.copy()
    features[wells, day, feature] = value  # type: ignore[index]  # any index that numpy takes
    return replace(trajectories, features=features)


def rows_of(*plates: Trajectories, representation: Representation = "measures") -> list[Array]:
    """Return the features of plates in the space that they settle together."""
    all_seen = [seen(plate) for plate in plates]
    space = FeatureSpace.fit(all_seen, representation)
    return [space.transform(plate) for plate in all_seen]


def test_the_median_untreated_well_is_0_in_every_measure_on_every_plate() -> None:
    plates = [known_plate(seed).trajectories for seed in (1, 2)]
    for plate, rows in zip(plates, rows_of(*plates), strict=True):
        assert np.median(rows[plate.untreated()], axis=0) == pytest.approx(0, abs=1e-9)
        assert np.abs(rows[~plate.untreated()]).max() > 1


def test_a_factor_on_positive_measures_changes_no_ratio_and_a_sum_no_difference() -> None:
    plate = known_plate(1).trajectories
    area, tilt = plate.features * [3.0, 1, 1, 1, 1], plate.features + np.array([0, 0, 5.0, 0, 0])
    own, scaled, moved = rows_of(
        plate, replace(plate, features=area), replace(plate, features=tilt)
    )
    ratios = slice(2 * len(MEASURES), None)  # after readout and change of every measure
    assert own.shape[1] == 2 * len(MEASURES) + 2 * 3  # area, density and grain have ratios
    assert scaled[:, ratios] == pytest.approx(own[:, ratios])
    assert moved == pytest.approx(own)


def test_a_measure_has_a_ratio_only_where_it_is_positive_on_every_plate() -> None:
    plates = [seen(known_plate(seed).trajectories) for seed in (1, 2)]
    assert FeatureSpace.fit(plates, "measures").positive.tolist() == [
        True,
        True,
        False,
        True,
        False,
    ]
    touched = seen(changed(known_plate(3).trajectories, 0.0, wells=7, day=1, feature=0))
    assert FeatureSpace.fit([*plates, touched], "measures").positive.tolist() == [
        False,
        True,
        False,
        True,
        False,
    ]


def test_a_measure_that_falls_to_0_on_a_new_plate_has_a_finite_ratio_all_the_same() -> None:
    space = FeatureSpace.fit([seen(known_plate(1).trajectories)], "measures")
    rows = space.transform(
        seen(changed(known_plate(2).trajectories, 0.0, wells=30, day=1, feature=0))
    )
    assert np.isfinite(rows).all()
    assert rows[30, 2 * len(MEASURES)] == pytest.approx(np.log(1e-3), abs=0.2)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e200])
def test_a_missing_or_wild_value_is_taken_for_the_median_untreated_one(value: float) -> None:
    plate = known_plate(1).trajectories
    (rows,) = rows_of(changed(plate, value, wells=30, day=1, feature=TILT))
    assert np.isfinite(rows).all()
    assert rows[30, TILT] == 0
    assert rows[31, TILT] != 0


def test_a_measure_that_no_untreated_well_has_says_nothing_of_any_well() -> None:
    plate = known_plate(1).trajectories
    (rows,) = rows_of(changed(plate, np.nan, wells=plate.untreated(), feature=0))
    assert (rows[:, [0, len(MEASURES)]] == 0).all()
    assert np.isfinite(rows).all()


def test_the_last_image_up_to_dosing_counts_and_days_need_not_be_even() -> None:
    plate = known_plate(1).trajectories
    early = plate.features[:, 0] - 1.0
    late = plate.features[:, 0].copy()
    late[5::2] = np.nan  # not seen on the dosing day
    days = replace(
        plate,
        days=(3, DOSING_DAY, READOUT_DAY),
        features=np.stack([early, late, plate.features[:, 1]], axis=1),
    )
    before = seen(days).before
    assert (before[6] == late[6]).all()
    assert (before[7] == early[7]).all()
    assert seen(days).has_both.all()


def test_days_after_dosing_but_the_readout_are_not_looked_at() -> None:
    plate = known_plate(1).trajectories
    between = replace(
        plate, days=(DOSING_DAY, 8, READOUT_DAY), features=np.insert(plate.features, 1, 1e6, axis=1)
    )
    for own, with_more in zip(rows_of(plate), rows_of(between), strict=True):
        assert (own == with_more).all()


def test_wells_without_one_of_the_two_images_are_not_seen_and_are_nan() -> None:
    plate = changed(
        changed(known_plate(1).trajectories, np.nan, wells=30, day=0), np.nan, wells=[0, 40], day=1
    )
    (rows,) = rows_of(plate)
    assert np.flatnonzero(np.isnan(rows).all(axis=1)).tolist() == [0, 30, 40]
    assert np.isfinite(np.delete(rows, [0, 30, 40], axis=0)).all()
    assert not seen(plate).untreated[0]


def test_wells_without_tissue_are_not_seen() -> None:
    plate = known_plate(1).trajectories
    blank = replace(plate, groups=(*plate.groups[:-1], Group.BLANK))
    assert np.flatnonzero(~seen(blank).has_both).tolist() == [59]


@pytest.mark.parametrize(("dosing_day", "readout_day"), [(DOSING_DAY, 12), (3, READOUT_DAY)])
def test_a_plate_without_one_of_the_two_days_is_refused_with_both(
    dosing_day: int, readout_day: int
) -> None:
    with pytest.raises(
        ProfileError,
        match=f"K-1: no untreated well has an image of day {readout_day} and one up to day {dosing_day}; expected some",
    ):
        PlateFeatures.from_trajectories(
            known_plate(1).trajectories, dosing_day=dosing_day, readout_day=readout_day
        )


def test_a_plate_without_untreated_wells_is_refused() -> None:
    plate = known_plate(1).trajectories
    with pytest.raises(ProfileError, match="no untreated well"):
        seen(replace(plate, groups=(Group.SCREENING,) * len(plate.wells)))


def test_an_embedding_is_seen_in_the_directions_that_other_plates_settled() -> None:
    teacher, other = (seen(known_plate(seed, embedding=40).trajectories) for seed in (1, 2))
    space = FeatureSpace.fit([teacher], "embedding")
    rows = space.transform(other)
    assert rows.shape[1] == 2 * EMBEDDING_COMPONENTS
    alone = changed(
        known_plate(2, embedding=40).trajectories, 1e3, wells=30, day=1, feature=slice(40)
    )
    assert (space.transform(seen(alone))[29] == rows[29]).all()
    assert np.abs(space.transform(seen(alone))[30]).max() > 100 * np.abs(rows).max()


def test_an_embedding_and_measures_stand_beside_each_other() -> None:
    plates = [known_plate(seed, embedding=40).trajectories for seed in (1, 2)]
    measures, embedding, both = (
        rows_of(*plates, representation=representation)[0]
        for representation in ("measures", "embedding", "both")
    )
    assert (np.concatenate([measures, embedding], axis=1) == both).all()


def test_a_short_embedding_has_no_more_directions_than_dimensions() -> None:
    assert (
        rows_of(known_plate(1, embedding=3).trajectories, representation="embedding")[0].shape[1]
        == 6
    )


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (
            known_plate(2, embedding=4).trajectories,
            "K-2: has features of the encoder 'eeee.*'; expected '' as plate K-1 has",
        ),
        (
            replace(known_plate(2).trajectories, feature_names=("a", *MEASURES[1:])),
            "K-2: has 5 features that differ from those of plate K-1; expected the same 5",
        ),
    ],
)
def test_plates_that_were_looked_at_in_another_way_are_not_compared(
    other: Trajectories, said: str
) -> None:
    with pytest.raises(ProfileError, match=said):
        seen(other).check_comparable(seen(known_plate(1).trajectories))
