"""Selection of the ranking method of a plate, on a real store with simulated observations."""

from dataclasses import replace

import numpy as np
import pytest

from daemon.calibrations import REPLACED_CALIBRATION_NOTE
from daemon.late_calibrations import alert_about_late_calibration
from inference.deterioration.calibration_limits import MIN_PLATES_FOR_RANGE
from schemas.assay import Assay
from schemas.calibration import MethodRequest
from schemas.errors import ProfileError
from schemas.messages import AlertKind
from schemas.plate_map import PlateMap
from schemas.ranking import Ranking
from tests.made_up_site import Site, small

ENOUGH = 2
KILLS = (0.05, 0.3, 0.6, 0.95)  # one per drug


def imaged(site: Site, plate: str, seeded_day: int = 0, **changes: object) -> PlateMap:
    """Store images of a plate whose drugs kill different shares, and return its plate map."""
    made = small(plate, seeded_day, **changes)
    shares = {f"drug{number}:1 uM": share for number, share in enumerate(KILLS)}
    site.kills[plate] = {entry.well: shares.get(entry.treatment, 0.0) for entry in made.entries}
    return site.add(made, days=(7, 10))


def measure(site: Site, plate: PlateMap, *, seed: int = 0) -> None:
    """Store a simulated viability assay of a plate; the seed selects the measurement noise."""
    noise = np.random.default_rng([sum(plate.plate.encode()), seed]).normal(
        0, 2, len(plate.entries)
    )
    percent = {
        well: float(np.clip(100 * (1 - kill) + off, 0, 200))
        for (well, kill), off in zip(site.kills[plate.plate].items(), noise, strict=True)
    }
    site.store.save_assay(Assay(plate=plate.plate, viability_percent=percent), site.now)


def calibrated(site: Site, plates: int = ENOUGH, **changes: object) -> list[PlateMap]:
    """Store images and assays of enough plates for a calibration; return the plate maps."""
    made = [imaged(site, f"assay-{number}", number, **changes) for number in range(plates)]
    for plate in made:
        measure(site, plate)
    return made


def notes_of(ranking: Ranking) -> str:
    return " ".join(ranking.notes)


def test_without_any_assay_plates_are_ranked_by_departure_without_a_reason(site: Site) -> None:
    [ranking] = site.rank(imaged(site, "own"))
    assert (ranking.method, ranking.calibration, ranking.drift) == ("departure", None, None)
    assert "because" not in notes_of(ranking)


def test_the_notes_of_a_plate_map_are_in_its_ranking(site: Site) -> None:
    plate_map = small("own").model_copy(update={"notes": ("'1 uM' and '1000 nM' are one dose.",)})
    site.add(plate_map)
    [ranking] = site.rank(plate_map)
    assert ranking.notes[0] == "'1 uM' and '1000 nM' are one dose."


def test_with_too_few_measured_wells_a_ranking_names_the_required_number(site: Site) -> None:
    plate = imaged(site, "assay-0")
    two = {plate.entries[0].well: 100.0, plate.entries[-1].well: 20.0}
    site.store.save_assay(Assay(plate=plate.plate, viability_percent=two), site.now)
    [ranking] = site.rank(imaged(site, "own", 9))
    assert (ranking.method, ranking.calibration) == ("departure", None)
    assert (
        "Ranked by departure, because deterioration is not calibrated: 2 measured wells with "
        "images; expected at least 12 on fewer than 4 assay plates." in ranking.notes
    )


def test_one_assay_plate_orders_a_plate_and_its_percentages_are_driven_by_the_prior(
    site: Site,
) -> None:
    calibrated(site, 1)
    [ranking] = site.rank(imaged(site, "own", 9))
    assert ranking.method == "deterioration", notes_of(ranking)
    assert ranking.drift is None
    assert ranking.notes[0].startswith(
        "Ranked by predicted deterioration, learned from 1 assay plate; its mean error on "
        "left-out treatments is "
    )
    assert "driven by the prior" in notes_of(ranking)
    assert {row.percent_basis for row in ranking.treatments} == {"prior"}
    assert [row.treatment for row in ranking.treatments] == [
        f"drug{number}:1 uM" for number in (3, 2, 1, 0)
    ]


def test_a_calibration_of_one_treatment_is_used_for_other_treatments_only_on_request(
    site: Site,
) -> None:
    made = small("assay-0")
    drug = made.entries[-1].treatment
    one = made.model_copy(
        update={
            "entries": tuple(
                entry.model_copy(update={"treatment": drug}) if entry.treatment else entry
                for entry in made.entries
            )
        }
    )
    site.kills["assay-0"] = {entry.well: 0.8 * bool(entry.treatment) for entry in one.entries}
    measure(site, site.add(one, days=(7, 10)))
    own = imaged(site, "own", 9)
    [ranking] = site.rank(own)
    assert ranking.method == "departure"
    assert f"the calibration knows one treatment, {drug}, and this plate has others" in notes_of(
        ranking
    )
    asked = site.again(own, request=MethodRequest(method="deterioration"))
    assert asked is not None
    assert asked.method == "deterioration"
    assert "other treatments and mechanisms cannot be predicted" in notes_of(asked)


def test_a_calibrated_plate_keeps_its_calibration_until_it_is_ranked_on_request(
    site: Site,
) -> None:
    plates = calibrated(site, MIN_PLATES_FOR_RANGE)
    own = imaged(site, "own", 9)
    [ranking] = site.rank(own)
    assert ranking.method == "deterioration", notes_of(ranking)
    assert ranking.calibration is not None
    assert ranking.calibration.plates == tuple(plate.plate for plate in plates)
    assert ranking.calibration.left_out_percent == ()
    assert ranking.drift is not None
    assert not ranking.drift.outside
    assert [row.treatment for row in ranking.treatments] == [
        f"drug{number}:1 uM" for number in (3, 2, 1, 0)
    ]
    assert ranking.notes[0].startswith(
        "Ranked by predicted deterioration, learned from 3 assay plates; "
        "its mean error on left-out plates is "
    )
    assert {curve.effect for curve in ranking.dose_responses} == {"deterioration"}
    measure(site, imaged(site, "assay-later", 5))
    assert site.rank(own) == []
    site.restart()
    assert site.rank(own) == []
    site.image(own, own.entries[-1].well, 10, seed=1)
    [corrected] = site.rank(own)
    assert (corrected.revision, corrected.method, corrected.calibration) == (
        2,
        "deterioration",
        ranking.calibration,
    )
    asked = site.again(own)
    assert asked is not None
    assert asked.final
    assert asked.calibration is not None
    assert "assay-later" in asked.calibration.plates
    assert site.again(own) is None
    assert site.rank(own) == []


def test_a_corrected_assay_does_not_change_the_calibration_of_an_old_ranking(site: Site) -> None:
    first, *_ = calibrated(site)
    own = imaged(site, "own", 9)
    [ranking] = site.rank(own)
    measure(site, first, seed=1)
    site.image(first, first.entries[0].well, 10, seed=1)
    site.restart()
    site.image(own, own.entries[-1].well, 10, seed=1)
    [corrected] = site.rank(own)
    assert corrected.calibration == ranking.calibration
    assert REPLACED_CALIBRATION_NOTE not in corrected.notes


def test_a_plate_first_ranked_by_departure_keeps_it_until_it_is_ranked_on_request(
    site: Site,
) -> None:
    own = imaged(site, "own", 9)
    site.rank(own)
    calibrated(site)
    assert site.rank(own) == []
    site.image(own, own.entries[-1].well, 10, seed=1)
    [corrected] = site.rank(own)
    assert (corrected.revision, corrected.method) == (2, "departure")
    assert (
        "Ranked by departure, because the plate's first ranking was by departure; "
        "`spherorank rank plate own` chooses the method again." in corrected.notes
    )
    asked = site.again(own)
    assert asked is not None
    assert (asked.revision, asked.method) == (3, "deterioration")
    site.image(own, own.entries[-1].well, 10, seed=2)
    [corrected] = site.rank(own)
    assert (corrected.revision, corrected.method) == (4, "deterioration")


def test_a_plate_is_not_calibrated_by_its_own_assay_or_by_another_cell_line(site: Site) -> None:
    first, *others = calibrated(site)
    [ranking] = site.rank(first)
    assert ranking.calibration is not None
    assert ranking.calibration.plates == tuple(plate.plate for plate in others)
    other = imaged(site, "other", 9, line="A673")
    assert site.rank(other)[0].method == "departure"
    assert "because" not in notes_of(site.store.rankings("other")[-1])


def test_assays_are_not_used_if_the_configured_method_is_departure(site: Site) -> None:
    site.method = "departure"
    site.restart()
    calibrated(site)
    [ranking] = site.rank(imaged(site, "own", 9))
    assert (ranking.method, "because" in notes_of(ranking)) == ("departure", False)


def test_the_ranking_and_an_alert_say_that_the_configured_deterioration_is_not_available(
    site: Site,
) -> None:
    site.method = "deterioration"
    site.restart()
    own = imaged(site, "own", 9)
    [ranking] = site.rank(own)
    assert ranking.method == "departure"
    assert (
        "Ranked by departure, because no other plate of its line in the store has an assay."
        in ranking.notes
    )
    [alert] = site.alerts(AlertKind.ASSAY)
    assert (
        "day10-r1 is ranked by departure, and ranking.method asks for deterioration: no other plate"
        in alert
    )


def test_a_plate_whose_tissue_was_not_measured_is_ranked_by_departure(site: Site) -> None:
    site.settings = replace(site.settings, representation="both")
    site.restart()
    calibrated(site)
    own = small("own", 9)
    site.kills["own"] = {entry.well: 0.0 for entry in own.entries}
    site.add(own, days=(7, 10), measured=False)
    [ranking] = site.rank(own)
    assert ranking.method == "departure"
    assert "because the tissue of some images was not measured" in notes_of(ranking)


def test_a_plate_outside_the_calibrated_range_is_ranked_by_departure_with_a_note(
    site: Site,
) -> None:
    calibrated(site, MIN_PLATES_FOR_RANGE)
    own = small("own", 9)
    site.kills["own"] = {entry.well: 1.0 for entry in own.entries}  # untreated tissue dies as well
    site.add(own, days=(7, 10))
    [ranking] = site.rank(own)
    assert ranking.method == "departure"
    assert ranking.drift is not None
    assert ranking.drift.outside
    assert "because the calibration does not apply to this plate" in notes_of(ranking)
    assert "outside the range seen" in notes_of(ranking)
    assert site.rank(own) == []


def test_a_calibration_is_fitted_once_and_reports_progress(site: Site) -> None:
    ticks: list[int] = []
    site.tick = lambda: ticks.append(1)
    for plate in calibrated(site):
        site.days.calibrations.note(plate.plate)
    site.days.calibrations.learn_noted()
    assert len(ticks) > 3
    learned = len(ticks)
    assert site.rank(imaged(site, "own", 9))[0].method == "deterioration"
    assert len(ticks) == learned


class StopRequestedError(Exception):
    """The exception that ends long work when the service has to stop."""


def test_a_calibration_interrupted_by_a_stop_is_fitted_again(site: Site) -> None:
    def stop() -> None:
        raise StopRequestedError

    for plate in calibrated(site):
        site.days.calibrations.note(plate.plate)
    site.tick = stop
    with pytest.raises(StopRequestedError):
        site.days.calibrations.learn_noted()
    ticks: list[int] = []
    site.tick = lambda: ticks.append(1)
    site.days.calibrations.learn_noted()
    assert ticks


@pytest.mark.parametrize("representation", ["both", "embedding"])
def test_a_calibration_may_use_each_representation(site: Site, representation: str) -> None:
    site.settings = replace(site.settings, representation=representation)
    site.restart()
    calibrated(site)
    [ranking] = site.rank(imaged(site, "own", 9))
    if representation == "both":
        assert ranking.method == "deterioration", notes_of(ranking)
    else:  # these embeddings do not depend on the kill
        assert "because deterioration is not calibrated: mean error" in notes_of(ranking)


DEPARTURE = MethodRequest(method="departure")
DETERIORATION = MethodRequest(method="deterioration")


def test_a_person_requests_departure_and_later_rankings_keep_it(site: Site) -> None:
    calibrated(site)
    own = imaged(site, "own", 9)
    [first] = site.rank(own)
    assert (first.method, first.requested_method) == ("deterioration", None)
    asked = site.again(own, DEPARTURE)
    assert asked is not None
    assert (asked.method, asked.requested_method, asked.revision) == ("departure", "departure", 2)
    assert "because a person requested departure for this plate" in notes_of(asked)
    assert site.again(own, DEPARTURE) is None
    site.image(own, own.entries[-1].well, 10, seed=1)
    [corrected] = site.rank(own)
    assert (corrected.method, corrected.requested_method) == ("departure", "departure")
    by_settings = site.again(own)
    assert by_settings is not None
    assert (by_settings.method, by_settings.requested_method) == ("deterioration", None)


def test_a_person_requests_deterioration_although_the_settings_say_departure(site: Site) -> None:
    site.method = "departure"
    site.restart()
    calibrated(site)
    own = imaged(site, "own", 9)
    [first] = site.rank(own)
    assert first.method == "departure"
    asked = site.again(own, DETERIORATION)
    assert asked is not None
    assert (asked.method, asked.requested_method) == ("deterioration", "deterioration")
    site.image(own, own.entries[-1].well, 10, seed=1)
    [corrected] = site.rank(own)
    assert corrected.method == "deterioration"
    assert corrected.calibration == asked.calibration


def test_a_person_requests_an_older_calibration_by_its_digest(site: Site) -> None:
    calibrated(site)
    own = imaged(site, "own", 9)
    [first] = site.rank(own)
    assert first.calibration is not None
    later = imaged(site, "assay-later", 5)
    measure(site, later)
    newest = site.again(own)
    assert newest is not None
    assert newest.calibration != first.calibration
    asked = site.again(
        own, MethodRequest(method="deterioration", calibration=first.calibration.digest)
    )
    assert asked is not None
    assert asked.calibration == first.calibration
    with pytest.raises(ProfileError, match="learned from this plate"):
        site.again(
            site.store.plate_map("assay-1"),  # type: ignore[arg-type]  # it was stored above
            MethodRequest(method="deterioration", calibration=first.calibration.digest),
        )


@pytest.mark.parametrize("digest", [None, "d" * 64])
def test_a_requested_method_that_is_not_available_is_refused_and_nothing_is_stored(
    site: Site, digest: str | None
) -> None:
    own = imaged(site, "own")
    before = site.rank(own)
    with pytest.raises(ProfileError, match=r"expected (a valid calibration|the digest)"):
        site.again(own, MethodRequest(method="deterioration", calibration=digest))
    assert site.store.rankings("own") == before


def test_a_late_assay_raises_an_alert_that_names_the_plates_ranked_without_it(site: Site) -> None:
    plates = calibrated(site, ENOUGH - 1)
    early, asked, other = imaged(site, "early", 9), imaged(site, "asked", 9), imaged(site, "x", 9)
    other = site.add(other.model_copy(update={"line": "another"}), days=(7, 10))
    for plate in (early, asked, other):
        site.rank(plate)
    assert site.again(asked, DEPARTURE) is not None
    last = imaged(site, "assay-last", 5)
    measure(site, last)
    site.days.calibrations.note(last.plate)
    [(line, card)] = site.days.calibrations.learn_noted()
    assert card.plates == (*(plate.plate for plate in plates), last.plate)
    alert_about_late_calibration(card, line, site.store, site.days.alerts)
    [alert] = [each for each in site.days.alerts.standing if each.kind is AlertKind.ASSAY]
    assert "the final rankings of early do not use it" in alert.message
    assert "`spherorank rank plate PLATE`" in alert.message
