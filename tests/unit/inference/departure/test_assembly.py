from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from inference.departure.assembly import (
    MEASURES_ALONE_NOTE,
    AssembledPlate,
    assemble,
    dosing_notes,
    excluded_wells,
    select_images,
)
from inference.tissue.measures import measuring_method
from inference.tissue.ranked_measures import (
    RANKED_MEASURES,
    STAIN_FEATURES,
    ranked_values,
    stain_values,
)
from schemas.errors import ProfileError
from schemas.observation import Observation, VisitVersion
from schemas.quality import Flag
from schemas.trajectory import Representation, Trajectories
from schemas.well_image import VisitKey
from tests.samples import ENCODER_ID, SEEDED_AT, observation, plate_map, quality


def laid_out(images: list[Observation], through_day: int = 10) -> AssembledPlate:
    return assemble(images, plate_map(), through_day=through_day)


def embedded(images: list[Observation], through_day: int = 10) -> Trajectories:
    return laid_out(images, through_day).trajectories("embedding", 1.0)


def test_embeddings_are_laid_out_as_wells_by_days_and_missing_images_are_nan() -> None:
    first, later, other = (
        observation("B02", 6, seed=1),
        observation("B02", 10, seed=2),
        observation("B03", 10, seed=3),
    )
    trajectories = embedded([later, other, first])
    assert trajectories.days == (6, 10)
    b02, b03 = trajectories.wells.index("B02"), trajectories.wells.index("B03")
    np.testing.assert_array_equal(trajectories.features[b02, 0], first.embedding.astype(np.float64))
    np.testing.assert_array_equal(trajectories.features[b03, 1], other.embedding.astype(np.float64))
    assert np.isnan(trajectories.features[b03, 0]).all()
    assert trajectories.has(10).sum() == 2


def test_wells_that_the_map_does_not_name_and_later_days_take_no_part() -> None:
    trajectories = embedded(
        [observation("B02", 7), observation("A01", 7), observation("B02", 10)], 8
    )
    assert "A01" not in trajectories.wells
    assert trajectories.days == (7,)


def test_the_flags_of_the_two_images_that_decide_the_score_are_carried() -> None:
    images = [
        observation("B02", 5, quality=quality(flags=(Flag.SATURATED,))),
        observation("B02", 7, quality=quality(flags=(Flag.CUT,))),
        observation("B02", 9, quality=quality(flags=(Flag.EMPTY,))),
        observation("B02", 10, quality=quality(flags=(Flag.BLURRED, Flag.CUT))),
        observation("B03", 10),
    ]
    assert laid_out(images).flags == {"B02": (Flag.BLURRED, Flag.CUT)}


def test_two_encoders_on_one_plate_are_refused() -> None:
    with pytest.raises(ProfileError, match="embeddings of 2 encoders: a, b; expected one"):
        laid_out([observation("B02", 7, encoder_id="a"), observation("B03", 7, encoder_id="b")])


def test_no_image_at_all_is_an_empty_trajectory() -> None:
    trajectories = embedded([])
    assert trajectories.days == ()
    assert len(trajectories.wells) == len(plate_map().entries)


def test_measures_follow_the_embedding_and_each_block_can_be_used_alone() -> None:
    seen = observation("B02", 10)
    both, measures = (
        laid_out([seen]).trajectories("both", 1.0),
        laid_out([seen]).trajectories("measures", 1.0),
    )
    well = both.wells.index("B02")
    np.testing.assert_array_equal(
        both.features[well, 0], np.concatenate([seen.embedding, ranked_values(seen.measures)])
    )
    np.testing.assert_array_equal(measures.features[well, 0], ranked_values(seen.measures))
    assert (both.representation, measures.representation) == ("both", "measures")
    assert (both.embedding_dimension, measures.embedding_dimension) == (8, 0)
    assert both.feature_names[8:] == measures.feature_names == RANKED_MEASURES


def test_predictions_of_a_stain_are_compared_by_calibrations_alone() -> None:
    predicted = {"predicted_dead_area_um2": 5000.0, "predicted_dead_share_core": 0.3}
    seen = observation(
        "B02",
        10,
        measures={"area_um2": 51234.5} | predicted,
        measured_by=measuring_method("classical-3", "some-stain"),
    )
    plate = laid_out([seen])
    for representation in ("both", "measures"):
        compared = plate.trajectories(representation, 1.0)
        calibrated = plate.calibration_trajectories(representation, 1.0)
        assert calibrated.feature_names == (*compared.feature_names, *STAIN_FEATURES)
        well = calibrated.wells.index("B02")
        np.testing.assert_array_equal(
            calibrated.features[well, 0],
            np.concatenate([compared.features[well, 0], stain_values(seen.measures)]),
        )
        assert calibrated.embedding_dimension == compared.embedding_dimension
    assert "embedding_0" in plate.calibration_trajectories("embedding", 1.0).feature_names
    assert stain_values(seen.measures)[1] == 0.3


def test_without_a_stain_bundle_calibrations_compare_the_measures() -> None:
    plate = laid_out([observation("B02", 10)])
    assert plate.calibration_trajectories("measures", 1.0).feature_names == RANKED_MEASURES


@pytest.mark.parametrize("asked_for", ["both", "measures"])
@pytest.mark.parametrize("day", [7, 10])
def test_where_a_deciding_image_was_not_measured_embeddings_are_compared_and_a_note_says_so(
    asked_for: Representation, day: int
) -> None:
    images = [
        observation("B02", 7),
        observation("B02", 10),
        observation("B03", 7),
        observation("B03", 10),
    ]
    images = [
        replace(seen, measures={}) if (seen.key.well, seen.day) == ("B03", day) else seen
        for seen in images
    ]
    plate = laid_out(images)
    assert plate.trajectories(asked_for, 1.0).representation == "embedding"
    assert plate.allowed_representation(asked_for, 1.0)[1] == (
        (
            "The tissue of 1 of 4 images was not measured: all wells are compared by their "
            "embedding alone."
        ),
    )


def test_an_unmeasured_image_that_decides_nothing_changes_nothing() -> None:
    images = [
        observation("B02", 5, measures={}),
        observation("B02", 7),
        observation("B02", 8, measures={}),
        observation("B02", 10),
    ]
    plate = laid_out(images)
    assert plate.allowed_representation("both", 1.0) == ("both", ())
    assert plate.trajectories("both", 1.0).representation == "both"
    assert plate.trajectories("both", 1.0).days == (7, 10)


def test_an_embedding_without_weight_leaves_the_measures_alone_with_a_note() -> None:
    plate = laid_out([observation("B02", 10)])
    assert plate.trajectories("both", 0.0).representation == "measures"
    assert plate.allowed_representation("both", 0.0) == ("measures", (MEASURES_ALONE_NOTE,))


def with_other_crop(well: str, day: int) -> list[Observation]:
    """Return images of three wells, of which the image of one well and day has another crop."""
    return [
        observation(name, on, crop=None if (name, on) == (well, day) else "757um")
        for name in ("B02", "B03", "C02")
        for on in (7, 8, 10)
    ]


def test_embeddings_of_one_crop_are_named_by_it() -> None:
    plate = laid_out([observation("B02", day, crop="757um") for day in (7, 10)])
    assert plate.trajectories("both", 1.0).encoder_id == f"{ENCODER_ID}@757um"
    assert plate.trajectories("measures", 1.0).encoder_id == ENCODER_ID


@pytest.mark.parametrize("day", [7, 10])
def test_images_of_several_crops_are_compared_by_measures_with_a_note(day: int) -> None:
    plate = laid_out(with_other_crop("B03", day))
    representation, notes = plate.allowed_representation("both", 1.0)
    assert representation == plate.trajectories("both", 1.0).representation == "measures"
    assert len(notes) == 1
    assert "different parts of the images (the encoder's whole field, 757um)" in notes[0]
    assert "`spherorank embed --store --again`" in notes[0]
    assert plate.reasons_left_out("both", 1.0) == {}


def test_a_well_with_another_crop_is_left_out_where_embeddings_alone_are_compared() -> None:
    plate = laid_out(with_other_crop("B03", 10))
    assert plate.allowed_representation("embedding", 1.0) == ("embedding", ())
    assert plate.reasons_left_out("embedding", 1.0) == {
        "B03": (
            "embedded part of the image of day 10 is the encoder's whole field; "
            "expected 757um as of most images"
        )
    }
    found = plate.trajectories("embedding", 1.0)
    well = found.wells.index("B03")
    assert np.isnan(found.features[well, 2]).all()
    assert np.isfinite(found.features[well, :2]).all()


def test_an_image_of_another_crop_that_decides_nothing_counts_as_missing() -> None:
    plate = laid_out(with_other_crop("B03", 8))
    assert plate.allowed_representation("both", 1.0) == ("both", ())
    found = plate.trajectories("both", 1.0)
    assert np.isnan(found.features[found.wells.index("B03"), 1, :8]).all()


def imaged(well: str = "B02", day: int = 7, **changes: object) -> VisitVersion:
    seen = observation(well, day)
    fields = {
        "observation_id": 1, "key": seen.key, "version": 1, "digest": seen.digest, "day": day,
        "taken_at": seen.taken_at, "received_at": seen.received_at, "complete": True,
        "pixel_digest": seen.pixel_digest, "um_per_px": seen.um_per_px,
        "file_scales": seen.file_scales,
    }  # fmt: skip
    return VisitVersion(**fields | changes)  # type: ignore[arg-type]


def test_the_newest_complete_version_of_a_day_counts() -> None:
    incomplete = imaged(version=3, complete=False)
    assert select_images([incomplete, imaged(version=1), imaged(version=2)], plate_map()) == [
        imaged(version=2)
    ]
    assert select_images([incomplete], plate_map()) == [incomplete]


@pytest.mark.parametrize(("first", "second"), [(1, 2), (2, 1)])
def test_of_several_fields_the_one_that_was_received_last_is_used(first: int, second: int) -> None:
    earlier, later = (
        imaged(
            key=VisitKey("P1", "B02", f"day07-f{field:02d}"),
            received_at=SEEDED_AT + timedelta(days=6, minutes=minute),
            observation_id=minute,
        )
        for minute, field in enumerate((first, second))
    )
    assert select_images([earlier, later], plate_map()) == [later]
    incomplete = replace(later, complete=False)
    assert select_images([earlier, incomplete], plate_map()) == [incomplete]


def test_of_several_scans_of_a_day_the_latest_by_the_time_in_the_name_is_used() -> None:
    scans = [
        imaged(
            key=VisitKey("P1", "B02", f"day07-006d{hours:02d}h00m-f01"),
            received_at=SEEDED_AT + timedelta(days=9, minutes=minute),
            observation_id=minute,
        )
        for minute, hours in enumerate((12, 6, 0))  # the newest scan was received first
    ]
    assert select_images(scans, plate_map()) == [scans[0]]


def test_an_image_from_after_dosing_never_hides_one_from_before() -> None:
    dosed_at = SEEDED_AT + timedelta(days=6, hours=7)
    before = imaged(taken_at=dosed_at - timedelta(hours=1))
    after = imaged(taken_at=dosed_at + timedelta(hours=1), version=2)
    dosed = plate_map(dosed_at=dosed_at)
    assert select_images([before, after], dosed) == [before]
    assert dosing_notes([before, after], dosed) == (
        (
            "1 images of the dosing day (day 7) were taken after dosed_at and not used as "
            "images from before dosing."
        ),
    )
    assert dosing_notes([before], dosed) == ()


def test_without_the_time_of_dosing_the_days_images_count_as_pre_dose_with_a_note() -> None:
    assert select_images([imaged()], plate_map()) == [imaged()]
    (note,) = dosing_notes([imaged()], plate_map())
    assert "no dosed_at" in note


def test_an_excluded_image_is_never_selected_and_gives_its_reason_until_another_counts() -> None:
    wrong = imaged(version=2, excluded="B03 shows the picture of B02")
    of_other_day = imaged("B03", day=8, excluded="B04 shows the picture of B03")
    right = imaged(version=1)
    assert select_images([wrong, of_other_day], plate_map()) == []
    assert excluded_wells([wrong, of_other_day], plate_map(), 7) == {
        "B02": "image of day 7 does not count: B03 shows the picture of B02"
    }
    assert select_images([wrong, right], plate_map()) == [right]
    assert excluded_wells([wrong, right], plate_map(), 7) == {}
