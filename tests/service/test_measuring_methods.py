"""Measures by different methods are never compared, on a real store with made-up observations."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from schemas.errors import MachineError
from schemas.messages import AlertKind
from schemas.observation import VisitVersion
from schemas.plate_map import PlateMap
from schemas.ranking import Gate, Ranking
from tests.made_up_site import Site, small
from tests.samples import MEASURED_BY
from tests.service.test_calibrations import calibrated, imaged

LATER = "classical-9+measures-1"
COMMAND = "`spherorank measure --store`"


def mention(ranking: Ranking, text: str) -> list[str]:
    return [note for note in ranking.notes if text in note]


def half_done(site: Site, name: str = "own", seeded_day: int = 0) -> PlateMap:
    """Store a plate of which one method measured the days up to dosing and a later one day 10."""
    plate = site.add(small(name, seeded_day), days=(6, 7))
    site.measured_by = LATER
    return site.add(plate, days=(10,))


@pytest.mark.parametrize("representation", ["measures", "both"])
def test_a_ranking_of_images_by_two_methods_compares_no_measures(
    site: Site, representation: str
) -> None:
    site.settings = replace(site.settings, representation=representation)
    site.restart()
    plate = half_done(site)
    [ranking] = site.rank(plate)
    assert (ranking.final, ranking.representation) == (True, "embedding")
    [note] = mention(ranking, f"measured by {MEASURED_BY} and the other images by {LATER}")
    assert note.startswith("The measures of 40 images are not used")
    assert f"All wells are compared by their embedding alone. {COMMAND}" in note
    assert {name for well in ranking.wells for name in well.measures if "_change" in name} == set()
    [alert] = site.alerts(AlertKind.MEASURES)
    assert f"40 images were measured by {MEASURED_BY}, the other images by {LATER}" in alert


def test_images_that_no_score_needs_are_left_out_alone(site: Site) -> None:
    plate = site.add(small("own"), days=(6,))
    site.measured_by = LATER
    site.add(plate, days=(7, 10))
    [ranking] = site.rank(plate)
    assert (ranking.representation, ranking.measured_by) == ("measures", LATER)
    assert mention(ranking, "The measures of 20 images are not used")


def test_a_method_that_was_not_recorded_is_not_mixed_with_a_later_one(site: Site) -> None:
    site.measured_by = None
    [before] = site.rank(site.add(small("before")))
    assert (before.representation, before.measured_by) == ("measures", None)
    assert mention(before, "did not record its method, so that it is unknown")
    [ranking] = site.rank(half_done(site))
    assert ranking.representation == "embedding"
    assert mention(ranking, "by a method that an earlier version did not record")


def test_one_recorded_method_needs_no_note(site: Site) -> None:
    [ranking] = site.rank(site.add(small("own")))
    assert (ranking.representation, ranking.measured_by) == ("measures", MEASURED_BY)
    assert not mention(ranking, COMMAND)
    assert site.alerts(AlertKind.MEASURES) == []


@pytest.mark.parametrize("representation", ["measures", "embedding"])
def test_earlier_plates_by_another_method_are_compared_by_embedding_only(
    site: Site, representation: str
) -> None:
    site.settings = replace(site.settings, representation=representation)
    site.restart()
    site.add(small("first", 0))
    site.measured_by = LATER
    site.add(small("second", 1))
    [ranking] = site.rank(site.add(small("own", 2)))
    if representation == "embedding":
        assert ranking.earlier_plates == ("second", "first")
        assert not mention(ranking, COMMAND)
    else:
        assert ranking.earlier_plates == ("second",)
        [note] = mention(ranking, "1 earlier plates are not used")
        assert f"not measured by {LATER} as those of this plate were: first. {COMMAND}" in note


def test_a_calibration_by_another_method_is_not_used(site: Site) -> None:
    plates = calibrated(site)
    [before] = site.rank(imaged(site, "before", 8))
    assert before.method == "deterioration", before.notes
    site.measured_by = LATER
    own = imaged(site, "own", 9)
    [ranking] = site.rank(own)
    assert (ranking.method, ranking.calibration) == ("departure", None)
    assert mention(ranking, "because the assay plates of its line were measured by another method")
    reason = "because their images were not measured"
    assert mention(ranking, f"{len(plates)} assay plates are not used, {reason}")
    for plate in plates:
        site.replace_measures(plate, LATER)
    again = site.again(own)
    assert again is not None
    assert again.calibration is not None, again.notes
    assert again.calibration.measured_by == LATER


def test_a_plate_that_another_method_measured_keeps_no_calibration(site: Site) -> None:
    calibrated(site)
    plate = small("own", 9)
    site.kills["own"] = dict.fromkeys(plate.by_well, 0.3)
    site.add(plate, days=(7, 8))
    [first] = site.rank(plate)
    assert first.calibration is not None
    site.add(plate, days=(10,))
    site.replace_measures(plate, LATER)
    rankings = site.rank(plate)
    assert {each.day for each in rankings} == {8, 10}, "the provisional ranking is made again"
    assert [each.calibration for each in rankings] == [None, None]
    assert all(each.measured_by == LATER for each in rankings)


def test_a_final_ranking_is_not_made_again_because_its_images_were_measured_again(
    site: Site,
) -> None:
    plate = small("own")
    site.add(plate, days=(6, 7, 8))
    [provisional] = site.rank(plate)
    site.add(plate, days=(10,))
    [final] = site.rank(plate)
    assert (provisional.final, final.final) == (False, True)
    site.replace_measures(plate, LATER, days=(6, 7, 8, 10))
    assert site.rank(plate) == []
    site.measured_by = LATER
    site.image(plate, plate.entries[-1].well, 10, seed=1)
    [corrected] = site.rank(plate)
    assert (corrected.replaces, corrected.measured_by) == (final.revision, LATER)


def test_a_final_ranking_of_two_methods_is_corrected_when_the_images_have_one(site: Site) -> None:
    plate = half_done(site)
    [mixed] = site.rank(plate)
    assert site.replace_measures(plate, LATER)
    [corrected] = site.rank(plate)
    assert (corrected.replaces, corrected.representation) == (mixed.revision, "measures")
    assert corrected.measured_by == LATER
    assert site.rank(plate) == []


def test_images_are_measured_again_before_their_plate_is_ranked(site: Site) -> None:
    asked: list[set[str | None]] = []

    def measure_again(plate: str, images: Sequence[VisitVersion]) -> bool:
        asked.append({image.measured_by for image in images})
        return site.replace_measures(small(plate), LATER)

    site.measure_again = measure_again
    plate = half_done(site)
    [ranking] = site.rank(plate)
    assert asked == [{MEASURED_BY, LATER}]
    assert (ranking.representation, ranking.measured_by) == ("measures", LATER)
    assert site.rank(plate) == []
    assert len(asked) == 1, "a plate that is not due costs nothing"


def test_a_ranking_waits_for_files_that_cannot_be_read_until_the_readout_deadline(
    site: Site,
) -> None:
    def fail(_plate: str, _images: Sequence[VisitVersion]) -> bool:
        raise MachineError("P/day07/B02_z1.tif", "Input/output error")

    site.measure_again = fail
    plate = half_done(site)
    assert site.days.run_due(plate.plate, is_waiting=False) == []
    [alert] = site.alerts(AlertKind.MEASURES)
    assert "Input/output error; they are tried again until the readout deadline" in alert
    [ranking] = site.rank(plate)  # one hour later
    assert (ranking.final, ranking.representation) == (True, "embedding")
    assert ranking.quality.gate is not Gate.NO_READOUT
