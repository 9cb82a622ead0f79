"""Wells whose scale is contradictory or outdated take no part in a ranking."""

# ruff: noqa: ANN401 - `changes` are any fields of the class

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from inference.departure.assembly import assemble, select_images
from inference.departure.scales import (
    NO_SCALE_NOTE,
    differs_from_plate,
    has_scale,
    scale_notes,
    scale_problems,
)
from inference.ranking.plate_ranking import rank_plate
from schemas.observation import Observation, VisitVersion
from schemas.plate_map import PlateMap, ScaleFrom
from schemas.quality import Flag
from schemas.scale import FileScale
from tests.made_up_site import small
from tests.samples import observation, plate_map, quality


def of_file(um_per_px: float | None) -> tuple[FileScale, ...]:
    return () if um_per_px is None else (FileScale(um_per_px, "OME-XML"),)


def seen(well: str, day: int, used: float | None, own: float | None, **changes: Any) -> Observation:
    return observation(well, day, um_per_px=used, file_scales=of_file(own), **changes)


def without_value(**changes: Any) -> PlateMap:
    return plate_map(um_per_px=None, **changes)


def problems_of(images: list[Observation], of_plate: PlateMap) -> dict[str, tuple[int, bool]]:
    found = scale_problems(images, of_plate)
    return {well: (each.day, each.is_outdated) for well, each in found.items()}


def test_a_plate_without_scale_names_the_missing_values() -> None:
    with_scale = [seen(well, 7, 1.36, 1.36) for well in ("B02", "B03", "B04")]
    without = [seen(well, 7, None, None) for well in ("B05", "B06")]
    assert (has_scale([]), has_scale(with_scale), has_scale(without)) == (True, True, False)
    assert has_scale([*with_scale, *without])  # the scale of most images; others are left out
    assert scale_notes(with_scale, 800.0) == ()
    assert scale_notes(without, None) == (NO_SCALE_NOTE,)
    assert "degree of explosion is relative to the size of the tissue" in NO_SCALE_NOTE
    _, of_field = scale_notes(without, 800.0)
    assert of_field == (
        "The encoder's field of 800 µm cannot be cropped without a scale: the encoder sees the "
        "largest square of the image."
    )


def test_a_well_whose_file_contradicts_the_map_has_a_problem_until_the_map_decides() -> None:
    images = [seen("B02", 7, 5.449, 2.72461), seen("B03", 7, 5.449, 5.45)]
    assert problems_of(images, plate_map(um_per_px=5.449)) == {"B02": (7, False)}
    decided = plate_map(um_per_px=5.449, um_per_px_from=ScaleFrom.MAP)
    assert problems_of(images, decided) == {}
    by_file = plate_map(um_per_px=5.449, um_per_px_from=ScaleFrom.FILE)
    assert problems_of(images, by_file) == {"B02": (7, True), "B03": (7, True)}


def test_wells_whose_scale_changes_between_days_have_a_problem_unless_the_files_decide() -> None:
    images = [
        seen(well, day, 4.0 if day < 7 else 1.6, 4.0 if day < 7 else 1.6)
        for well in ("B02", "B03")
        for day in range(1, 11)
    ]
    assert problems_of(images, without_value()) == {"B02": (7, False), "B03": (7, False)}
    assert problems_of(images, without_value(um_per_px_from=ScaleFrom.FILE)) == {}


def test_one_image_with_another_scale_leaves_only_its_well_out() -> None:
    images = [seen(well, 7, 1.36, 1.36) for well in ("B02", "B03", "B04")]
    images.append(seen("B04", 10, 2.72, 2.72))
    assert problems_of(images, without_value()) == {"B04": (10, False)}
    (problem,) = scale_problems(images, without_value()).values()
    assert problem.reason == (
        "scale of day 10: its files have 2.72 µm per pixel (OME-XML), most images of the plate "
        'have 1.36 µm per pixel (OME-XML); expected um_per_px_from = "file" or "map" in the '
        "plate map"
    )


def test_without_a_majority_every_well_has_a_problem() -> None:
    images = [seen("B02", 7, 1.36, 1.36), seen("B03", 7, 2.72, 2.72)]
    assert problems_of(images, without_value()) == {"B02": (7, False), "B03": (7, False)}


@pytest.mark.parametrize("decided_by", [None, ScaleFrom.FILE])
def test_an_image_without_scale_among_images_with_one_has_a_problem(
    decided_by: ScaleFrom | None,
) -> None:
    images = [seen(well, 7, 1.36, 1.36) for well in ("B02", "B03")]
    images.append(seen("B04", 7, None, None))
    of_plate = without_value(um_per_px_from=decided_by)
    assert problems_of(images, of_plate) == {"B04": (7, False)}
    # A scale in the map holds for all images, so that none is missing.
    same = [replace(each, um_per_px=1.36) for each in images]
    assert problems_of(same, plate_map(um_per_px=1.36)) == {}


def test_a_plate_without_any_scale_has_no_problem() -> None:
    images = [seen(well, day, None, None) for well in ("B02", "B03") for day in (7, 10)]
    assert problems_of(images, without_value()) == {}


def test_an_image_that_was_measured_with_another_scale_than_the_map_decides_is_outdated() -> None:
    images = [seen("B02", 7, 1.36, None), seen("B03", 7, 1.37, None)]
    assert problems_of(images, plate_map(um_per_px=1.37)) == {"B02": (7, True)}
    (problem,) = scale_problems(images, plate_map(um_per_px=1.37)).values()
    assert problem.reason == (
        "scale of day 7: measured with 1.36 µm per pixel, and the scale is now 1.37 µm per pixel "
        "(plate map); expected its files in the drop folder, to measure it again"
    )


def test_an_image_of_an_earlier_version_is_judged_by_the_scale_that_was_used() -> None:
    image = observation("B02", um_per_px=1.36, file_scales=None)
    assert problems_of([image], plate_map(um_per_px=1.36)) == {}
    assert problems_of([image], without_value()) == {}
    assert problems_of([image], plate_map(um_per_px=2.0)) == {"B02": (7, True)}
    by_file = plate_map(um_per_px=1.36, um_per_px_from=ScaleFrom.FILE)
    assert problems_of([image], by_file) == {"B02": (7, True)}


@pytest.mark.parametrize(
    ("um_per_px", "counts", "of_map", "differs"),
    [
        (2.72, {1.36: 3}, None, True),
        (1.365, {1.36: 3}, None, False),
        (None, {1.36: 3}, None, True),
        (1.36, {None: 3}, None, True),
        (2.72, {}, None, False),
        (2.72, {1.36: 3, 2.72: 4}, None, False),
        (2.72, {1.36: 3}, 2.72, False),
    ],
)
def test_a_new_image_is_compared_with_most_stored_images(
    um_per_px: float | None, counts: dict[float | None, int], of_map: float | None, *, differs: bool
) -> None:
    assert differs_from_plate(um_per_px, counts, plate_map(um_per_px=of_map)) is differs


def imaged(of: Observation, version: int = 1) -> VisitVersion:
    return VisitVersion(
        observation_id=version,
        key=of.key,
        version=version,
        digest=of.digest,
        pixel_digest=of.pixel_digest,
        day=of.day,
        taken_at=of.taken_at,
        received_at=of.received_at,
        complete=of.complete,
        um_per_px=of.um_per_px,
        file_scales=of.file_scales,
    )


def test_of_two_measurements_of_the_same_files_the_one_with_the_decided_scale_is_selected() -> None:
    first, again = imaged(seen("B02", 7, 1.36, None)), imaged(seen("B02", 7, 2.72, None), 2)
    assert select_images([first, again], plate_map(um_per_px=2.72)) == [again]
    assert select_images([first, again], plate_map(um_per_px=1.36)) == [first]
    assert select_images([first, again], plate_map(um_per_px=4.0)) == [again]


def test_an_earlier_image_never_hides_a_newer_one_whose_file_contradicts_the_map() -> None:
    first = imaged(seen("B02", 7, 1.36, 1.36))
    for other in (seen("B02", 7, 1.36, 2.72), seen("B02", 7, 1.36, 2.72, seed=1)):
        newer = imaged(other, 2)
        assert select_images([first, newer], plate_map(um_per_px=1.36)) == [newer]


def test_a_well_with_a_problem_has_no_values_a_flag_and_a_reason() -> None:
    flagged = quality(flags=(Flag.CUT, Flag.SCALE_DISAGREES))
    images = [
        seen("B02", 7, 5.0, 5.0),
        seen("B02", 10, 5.0, 2.5, quality=flagged),
        seen("B03", 10, 5.0, 2.5, quality=flagged),
        seen("B04", 10, 5.0, 5.0, quality=flagged),
        seen("B05", 7, 5.0, 2.5),
    ]
    plate = assemble(images, plate_map(um_per_px=5.0), through_day=10)
    assert plate.left_out.keys() == {"B02", "B03"}  # B05 has no image of day 10
    assert plate.left_out["B02"].startswith("scale of day 10: the file says 2.5 µm per pixel")
    assert plate.flags == {
        "B02": (Flag.CUT, Flag.SCALE_DISAGREES),
        "B03": (Flag.CUT, Flag.SCALE_DISAGREES),
        "B04": (Flag.CUT,),  # the flag was set before the map was corrected
        "B05": (Flag.SCALE_DISAGREES,),
    }
    trajectories = plate.trajectories("both", 1.0)
    rows = [trajectories.wells.index(well) for well in ("B02", "B03", "B05")]
    assert np.isnan(trajectories.features[rows]).all()
    earlier = assemble(images, plate_map(um_per_px=5.0), through_day=7)
    assert earlier.flags == {"B05": (Flag.SCALE_DISAGREES,)}


def test_a_left_out_well_is_listed_with_its_reason_and_not_as_missing() -> None:
    of_plate = small("P1")
    rng = np.random.default_rng(3)
    out = of_plate.entries[-1].well
    images = [
        seen(
            entry.well,
            day,
            1.36,
            2.72 if (entry.well, day) == (out, 7) else 1.36,
            embedding=rng.standard_normal(6).astype(np.float32),
            plate="P1",
        )
        for entry in of_plate.entries
        for day in (6, 7, 10)
    ]
    plate = assemble(images, of_plate, through_day=10)
    trajectories = plate.trajectories("embedding", 1.0)
    table = rank_plate(
        trajectories,
        dosing_day=7,
        readout_day=10,
        seed=1,
        flags=plate.flags,
        left_out=plate.left_out,
    )
    assert [(each.well, each.reason) for each in table.quality.left_out] == [
        (out, plate.left_out[out])
    ]
    assert table.quality.missing_images == ()
    (row,) = [row for row in table.wells if row.well == out]
    assert (row.score, row.efficacy_rank, row.flags) == (None, None, (Flag.SCALE_DISAGREES,))
    assert all(out not in each.wells for each in table.treatments)
