from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from inference.deterioration.features import FeatureSpace, PlateFeatures, Whitening
from schemas.errors import ProfileError
from schemas.plate_map import Group
from schemas.trajectory import Representation, Trajectories
from tests.assayed_plates import DOSING_DAY, MEASURES, READOUT_DAY, known_plate

Array = npt.NDArray[np.float64]
TILT = MEASURES.index("tilt")


def features_of(trajectories: Trajectories) -> PlateFeatures:
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
    """Return the features of plates in the space that is fitted on them."""
    all_features = [features_of(plate) for plate in plates]
    space = FeatureSpace.fit(all_features, representation)
    return [space.transform(plate) for plate in all_features]


def test_the_median_untreated_well_is_0_in_every_measure_on_every_plate() -> None:
    plates = [known_plate(seed).trajectories for seed in (1, 2)]
    for plate, rows in zip(plates, rows_of(*plates), strict=True):
        assert np.median(rows[plate.untreated()], axis=0) == pytest.approx(0, abs=1e-9)
        assert np.abs(rows[~plate.untreated()]).max() > 1


def test_ratios_ignore_a_factor_and_differences_ignore_an_offset() -> None:
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
    plates = [features_of(known_plate(seed).trajectories) for seed in (1, 2)]
    assert FeatureSpace.fit(plates, "measures").positive.tolist() == [
        True,
        True,
        False,
        True,
        False,
    ]
    touched = features_of(changed(known_plate(3).trajectories, 0.0, wells=7, day=1, feature=0))
    assert FeatureSpace.fit([*plates, touched], "measures").positive.tolist() == [
        False,
        True,
        False,
        True,
        False,
    ]


def test_a_measure_that_falls_to_0_on_a_new_plate_has_a_finite_ratio() -> None:
    space = FeatureSpace.fit([features_of(known_plate(1).trajectories)], "measures")
    rows = space.transform(
        features_of(changed(known_plate(2).trajectories, 0.0, wells=30, day=1, feature=0))
    )
    assert np.isfinite(rows).all()
    assert rows[30, 2 * len(MEASURES)] == pytest.approx(np.log(1e-3), abs=0.2)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e200])
def test_a_missing_or_extreme_value_is_replaced_by_the_untreated_median(value: float) -> None:
    plate = known_plate(1).trajectories
    (rows,) = rows_of(changed(plate, value, wells=30, day=1, feature=TILT))
    assert np.isfinite(rows).all()
    assert rows[30, TILT] == 0
    assert rows[31, TILT] != 0


def test_a_measure_without_untreated_values_is_0_in_all_wells() -> None:
    plate = known_plate(1).trajectories
    (rows,) = rows_of(changed(plate, np.nan, wells=plate.untreated(), feature=0))
    assert (rows[:, [0, len(MEASURES)]] == 0).all()
    assert np.isfinite(rows).all()


def test_the_last_image_up_to_dosing_is_used_for_each_well() -> None:
    plate = known_plate(1).trajectories
    early = plate.features[:, 0] - 1.0
    late = plate.features[:, 0].copy()
    late[5::2] = np.nan  # no image of the dosing day
    days = replace(
        plate,
        days=(3, DOSING_DAY, READOUT_DAY),
        features=np.stack([early, late, plate.features[:, 1]], axis=1),
    )
    before = features_of(days).before
    assert (before[6] == late[6]).all()
    assert (before[7] == early[7]).all()
    assert features_of(days).has_both.all()


def test_days_between_dosing_and_readout_are_not_used() -> None:
    plate = known_plate(1).trajectories
    between = replace(
        plate, days=(DOSING_DAY, 8, READOUT_DAY), features=np.insert(plate.features, 1, 1e6, axis=1)
    )
    for own, with_more in zip(rows_of(plate), rows_of(between), strict=True):
        assert (own == with_more).all()


def test_wells_without_both_images_have_nan_features() -> None:
    plate = changed(
        changed(known_plate(1).trajectories, np.nan, wells=30, day=0), np.nan, wells=[0, 40], day=1
    )
    (rows,) = rows_of(plate)
    assert np.flatnonzero(np.isnan(rows).all(axis=1)).tolist() == [0, 30, 40]
    assert np.isfinite(np.delete(rows, [0, 30, 40], axis=0)).all()
    assert not features_of(plate).untreated[0]


def test_wells_without_tissue_are_not_used() -> None:
    plate = known_plate(1).trajectories
    blank = replace(plate, groups=(*plate.groups[:-1], Group.BLANK))
    assert np.flatnonzero(~features_of(blank).has_both).tolist() == [59]


@pytest.mark.parametrize(("dosing_day", "readout_day"), [(DOSING_DAY, 12), (3, READOUT_DAY)])
def test_a_plate_without_one_of_the_days_is_refused_with_both_days(
    dosing_day: int, readout_day: int
) -> None:
    with pytest.raises(
        ProfileError,
        match=f"K-1: no untreated well has an image of day {readout_day} and one up to day "
        f"{dosing_day}; expected some",
    ):
        PlateFeatures.from_trajectories(
            known_plate(1).trajectories, dosing_day=dosing_day, readout_day=readout_day
        )


def test_a_plate_without_untreated_wells_is_refused() -> None:
    plate = known_plate(1).trajectories
    with pytest.raises(ProfileError, match="no untreated well"):
        features_of(replace(plate, groups=(Group.SCREENING,) * len(plate.wells)))


def test_untreated_wells_of_the_training_plates_whiten_an_embedding() -> None:
    training, other = (features_of(known_plate(seed, embedding=40).trajectories) for seed in (1, 2))
    space = FeatureSpace.fit([training], "embedding")
    rows = space.transform(other)
    assert rows.shape[1] == space.embedded == 40
    alone = changed(
        known_plate(2, embedding=40).trajectories, 1e3, wells=30, day=1, feature=slice(40)
    )
    assert (space.transform(features_of(alone))[29] == rows[29]).all()
    assert np.abs(space.transform(features_of(alone))[30]).max() > 100 * np.abs(rows).max()


def test_whitening_is_the_inverse_root_of_the_shrunk_covariance() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(9, 12)) * np.arange(1.0, 13.0)
    rows -= rows.mean(axis=0)
    covariance = rows.T @ rows / 9
    shrunk = 0.7 * covariance + 0.3 * np.trace(covariance) / 12 * np.eye(12)
    values, vectors = np.linalg.eigh(shrunk)
    wells = rng.normal(size=(5, 12))
    expected = wells @ (vectors / np.sqrt(values)) @ vectors.T
    assert Whitening.fit(rows).whiten(wells) == pytest.approx(expected)


def test_features_of_both_are_those_of_measures_and_embedding() -> None:
    plates = [known_plate(seed, embedding=40).trajectories for seed in (1, 2)]
    measures, embedding, both = (
        rows_of(*plates, representation=representation)[0]
        for representation in ("measures", "embedding", "both")
    )
    assert (np.concatenate([measures, embedding], axis=1) == both).all()


@pytest.mark.parametrize(
    ("other", "message"),
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
def test_plates_with_another_encoder_or_features_are_not_compared(
    other: Trajectories, message: str
) -> None:
    with pytest.raises(ProfileError, match=message):
        features_of(other).check_comparable(features_of(known_plate(1).trajectories))
