"""A plate without a scale names the missing values, and is not mixed with plates in µm."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from inference.departure.scales import NO_SCALE_NOTE
from schemas.plate_map import ScaleFrom
from tests.made_up_site import Site, small
from tests.service.test_calibrations import ENOUGH, calibrated, imaged, measure

NONE = {"um_per_px": None}


def mention(notes: Sequence[str], text: str) -> list[str]:
    return [note for note in notes if text in note]


def test_a_ranking_without_scale_names_the_missing_values(site: Site) -> None:
    site.settings = replace(site.settings, representation="both", field_um=1000.0)
    site.restart()
    [ranking] = site.rank(imaged(site, "own", **NONE))
    assert NO_SCALE_NOTE in ranking.notes
    assert mention(ranking.notes, "field of 1000 µm cannot be cropped without a scale")
    assert {name for well in ranking.wells for name in well.measures if "_um" in name} == set()
    [other] = site.rank(imaged(site, "in-um"))
    assert NO_SCALE_NOTE not in other.notes


@pytest.mark.parametrize(
    ("own", "others", "words"),
    [
        (NONE, {}, "images have a scale and those of this plate have none: first, second."),
        ({}, NONE, "images have no scale and those of this plate have one: first, second."),
        (NONE, NONE, ""),
        ({}, {}, ""),
    ],
)
def test_earlier_plates_with_and_without_scale_are_not_mixed(
    site: Site, own: dict[str, None], others: dict[str, None], words: str
) -> None:
    site.add(small("second", 0, **others))
    site.add(small("first", 1, **others))
    [ranking] = site.rank(site.add(small("own", 2, **own)))
    found = mention(ranking.notes, "2 earlier plates are not used")
    assert [words in note for note in found] == ([True] if words else [])
    assert ranking.earlier_plates == (() if words else ("first", "second"))


def test_a_plate_without_scale_is_not_calibrated_by_plates_with_one(site: Site) -> None:
    assayed = calibrated(site)
    [ranking] = site.rank(imaged(site, "own", 9, **NONE))
    assert (ranking.method, ranking.calibration) == ("departure", None)
    [note] = mention(ranking.notes, f"{ENOUGH} assay plates are not used")
    names = ", ".join(plate.plate for plate in assayed)
    assert note.endswith(f"have a scale and those of this plate have none: {names}.")


def test_assay_plates_with_and_without_scale_make_two_calibrations(site: Site) -> None:
    calibrated(site)
    without = [imaged(site, f"pixels-{number}", number, **NONE) for number in range(ENOUGH)]
    for plate in without:
        measure(site, plate)
    [in_um] = site.rank(imaged(site, "own", 9))
    [in_px] = site.rank(imaged(site, "own-px", 9, **NONE))
    for ranking, names in ((in_um, "assay"), (in_px, "pixels")):
        assert ranking.method == "deterioration", ranking.notes
        assert ranking.calibration is not None
        assert ranking.calibration.plates == tuple(f"{names}-{number}" for number in range(ENOUGH))
        assert mention(ranking.notes, f"{ENOUGH} assay plates are not used")


def test_a_plate_whose_scale_becomes_known_leaves_the_calibration_in_pixels(site: Site) -> None:
    for plate in [imaged(site, f"pixels-{number}", number, **NONE) for number in range(ENOUGH)]:
        measure(site, plate)
    own = imaged(site, "own", 9, **NONE)
    [in_px] = site.rank(own)
    assert in_px.method == "deterioration"
    in_um = own.model_copy(update={"um_per_px": 1.36, "um_per_px_from": ScaleFrom.MAP})
    site.add(in_um, days=(7, 10), seed=1)
    [corrected] = site.rank(in_um)
    assert (corrected.revision, corrected.method, corrected.calibration) == (2, "departure", None)
    assert mention(corrected.notes, f"{ENOUGH} assay plates are not used")
    assert site.rank(in_um) == []
