"""Closed plates: the time at which a plate is closed, and the changes that make it live again."""

import json
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from daemon.microscope.wrong_images import LATELY_S, LIST_S, WrongImages
from daemon.plate_states import AUDIT_S, PlateStates, basis_of
from schemas.calibration import MethodRequest
from schemas.messages import AlertKind
from schemas.plate_map import PlateMap
from schemas.plate_state import PlateState, StoredPlateState
from schemas.ranking import Gate
from tests.made_up_site import Site, small
from tests.samples import ENCODER_ID
from tests.service_process import PLATE, ServiceProcess
from tests.stored import execute

YEAR = timedelta(days=365)


class Seconds:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Sweeps:
    """The examination of plates of a site, as the main loop does it in a sweep."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.clock = Seconds()
        self.states = PlateStates(
            site.store,
            site.days.due_days,
            site.days.alerts,
            basis_of(site.settings, ENCODER_ID),
            site.clock,
            self.clock,
        )

    def once(self) -> dict[str, PlateState | None]:
        """Examine the live plates, and return the state of each."""
        found = {}
        for plate in self.states.live_plates():
            self.site.days.run_due(plate, is_waiting=False)
            found[plate] = self.states.settle(plate, [])
        return found

    def until_closed(self, plate: str) -> None:
        """Examine the live plates until one is closed; the clock advances by an hour each time."""
        for _ in range(4):
            self.once()
            if plate not in self.states.live_plates():
                return
            self.site.now += timedelta(hours=1)
        pytest.fail(f"{plate} is not closed")


@pytest.fixture
def sweeps(site: Site) -> Sweeps:
    return Sweeps(site)


def closed_plate(sweeps: Sweeps, plate: str = "p", **changes: object) -> PlateMap:
    """Store and rank a plate until it is closed; return its map."""
    made = sweeps.site.add(small(plate, **changes), days=(6, 7, 8, 10))
    sweeps.until_closed(plate)
    return made


def test_a_plate_passes_through_its_states(sweeps: Sweeps) -> None:
    site = sweeps.site
    plate = site.add(small("p"), days=(6, 7))
    assert sweeps.once() == {"p": PlateState.COLLECTING}
    for entry in plate.entries[:9]:
        site.image(plate, entry.well, 8)
    assert sweeps.once() == {"p": PlateState.DUE}
    for entry in plate.entries[9:]:
        site.image(plate, entry.well, 8)
    assert sweeps.once() == {"p": PlateState.COLLECTING}
    for entry in plate.entries:
        site.image(plate, entry.well, 10)
    assert sweeps.once() == {"p": PlateState.CLOSED}
    # The rankings of this sweep are changes: the plate is examined once more.
    assert sweeps.once() == {"p": PlateState.CLOSED}
    assert sweeps.once() == {}


def test_a_plate_is_not_closed_while_a_day_waits_for_its_deadline(sweeps: Sweeps) -> None:
    site = sweeps.site
    plate = site.add(small("p"), days=(6, 7, 10))
    for entry in plate.entries[:12]:  # the other images of day 9 may still arrive
        site.image(plate, entry.well, 9)
    for _ in range(3):
        assert sweeps.once() == {"p": PlateState.FINAL}
    site.now += site.settings.readout_deadline
    sweeps.until_closed("p")
    assert {ranking.day for ranking in site.store.rankings("p")} == {9, 10}


def test_a_plate_is_not_closed_while_a_correction_waits(sweeps: Sweeps) -> None:
    plate = closed_plate(sweeps)
    sweeps.site.image(plate, plate.entries[0].well, 10, seed=1)
    assert sweeps.once() == {"p": PlateState.FINAL}  # the plate is not quiet
    sweeps.site.now += sweeps.site.settings.correction_quiet
    sweeps.until_closed("p")
    assert sweeps.site.last(plate).revision == 2


def test_a_plate_with_open_work_is_not_closed(sweeps: Sweeps) -> None:
    sweeps.site.add(small("p"), days=(6, 7, 10))
    for _ in range(3):
        for plate in sweeps.states.live_plates():
            sweeps.site.days.run_due(plate, is_waiting=False)
            assert sweeps.states.settle(plate, ["images are pending"]) is PlateState.FINAL


def test_a_plate_without_any_image_is_closed_after_its_deadline(sweeps: Sweeps) -> None:
    sweeps.site.add(small("p"), days=())
    assert sweeps.once() == {"p": PlateState.COLLECTING}
    sweeps.site.now += timedelta(days=30)
    sweeps.until_closed("p")
    [ranking] = sweeps.site.store.rankings("p")
    assert (ranking.final, ranking.quality.gate) == (True, Gate.NO_READOUT)


def test_a_day_that_cannot_be_ranked_keeps_no_plate_live_after_its_alert(sweeps: Sweeps) -> None:
    site = sweeps.site
    plate = site.add(small("p"), days=(6, 7, 10))
    site.image(plate, plate.entries[-1].well, 9)  # one treated well alone
    site.now += site.settings.readout_deadline
    sweeps.until_closed("p")
    assert {ranking.day for ranking in site.store.rankings("p")} == {10}
    assert len(site.alerts(AlertKind.QUALITY_GATE)) == 1


def _corrects_map(site: Site, plate: PlateMap) -> None:
    first, *others = plate.entries
    other = first.model_copy(update={"treatment": "DMSO:0.1 %"})
    site.store.save_plate_map(plate.model_copy(update={"entries": (other, *others)}), site.now)


def _requests_departure(site: Site, plate: PlateMap) -> None:
    assert site.again(plate, MethodRequest(method="departure")) is not None


def _excludes(site: Site, plate: PlateMap) -> None:
    [first, *_] = site.store.observations(
        [each for each in site.store.imaged("p", ENCODER_ID) if each.day == 10], ENCODER_ID
    )
    assert site.store.exclude_images("p", {first.files[0].path: "an image of another well"})
    del plate


LATE: dict[str, Callable[[Site, PlateMap], object]] = {
    "a replaced image": lambda site, plate: site.image(plate, plate.entries[0].well, 10, seed=1),
    "a replaced image from before dosing": lambda site, plate: site.image(
        plate, plate.entries[0].well, 6, seed=1
    ),
    "the first image of another day": lambda site, plate: [
        site.image(plate, each.well, 9) for each in plate.entries
    ],
    "a corrected map": _corrects_map,
    "an excluded image": _excludes,
    "a method that a person requests": _requests_departure,
}


@pytest.mark.parametrize("correct", LATE.values(), ids=LATE.keys())
def test_a_late_correction_of_a_closed_plate_makes_one_new_ranking_and_closes_it_again(
    sweeps: Sweeps, correct: Callable[[Site, PlateMap], object]
) -> None:
    plate = closed_plate(sweeps)
    before = len(sweeps.site.store.rankings("p"))
    sweeps.site.now += YEAR
    correct(sweeps.site, plate)
    assert sweeps.states.live_plates() == ["p"]
    sweeps.until_closed("p")
    made = len(sweeps.site.store.rankings("p")) - before
    assert made in (1, 2)  # a corrected input of two days makes a revision of each
    assert sweeps.site.days.run_due("p", is_waiting=False) == []


def test_no_day_of_a_closed_plate_becomes_due_by_time_alone(sweeps: Sweeps) -> None:
    closed_plate(sweeps)
    for _ in range(5):
        sweeps.site.now += YEAR
        assert sweeps.site.days.run_due("p", is_waiting=False, all_is_in=True) == []
        assert sweeps.states.live_plates() == []


def test_a_new_run_of_a_closed_plate_id_is_live(sweeps: Sweeps) -> None:
    plate = closed_plate(sweeps)
    again = plate.model_copy(update={"seeded_at": plate.seeded_at + YEAR, "run": 2})
    sweeps.site.store.save_plate_map(again, sweeps.site.now)
    assert sweeps.once() == {"p": PlateState.COLLECTING}
    assert sweeps.once() == {"p": PlateState.COLLECTING}


def test_other_settings_or_another_version_examine_a_closed_plate_once(sweeps: Sweeps) -> None:
    closed_plate(sweeps)
    sweeps.states.basis = "other settings"
    assert sweeps.once() == {"p": PlateState.CLOSED}
    assert sweeps.once() == {}


def test_closed_plates_are_checked_in_turn(sweeps: Sweeps) -> None:
    store, states = sweeps.site.store, sweeps.states
    for plate in ("a", "b", "c"):
        store.save_plate_map(small(plate), sweeps.site.now)
        found = StoredPlateState(PlateState.CLOSED, 1, 1, states.basis, sweeps.site.now)
        store.save_plate_state(plate, found)
    seen = []
    for _ in range(4):
        seen.append(states.next_closed())
        assert states.next_closed() is None
        sweeps.clock.now_s += AUDIT_S
    assert seen == ["a", "b", "c", "a"]


CLOSED = (
    "SELECT count(*) FROM plate_state JOIN plate_change USING (plate) "
    "WHERE state = 'closed' AND plate_state.changes = plate_change.changes"
)


def closed(service: ServiceProcess) -> bool:
    return execute(f"sqlite:///{service.folder}/spherorank.sqlite", CLOSED) == 1


def revisions(service: ServiceProcess) -> int:
    return max((ranking.revision for ranking in service.rankings() if ranking.day == 10), default=0)


@pytest.mark.timeout(200)
def test_the_running_service_ranks_a_closed_plate_again_after_each_late_correction(
    ranked_copy: ServiceProcess,
) -> None:
    service = ranked_copy
    with service.running():
        service.wait_for(lambda: closed(service))
        assert revisions(service) == 1

        first, second, *_ = service.well(service.wells()[0], 10)
        second.write_bytes(first.read_bytes())  # another plane, so other pixels
        service.wait_for(lambda: revisions(service) == 2)
        service.wait_for(lambda: closed(service))

        csv = service.drop / PLATE / f"{PLATE}.wells.csv"
        lines = csv.read_text().splitlines()
        csv.write_text("\n".join(lines[:-1]) + "\n")  # the last well is not used any more
        service.wait_for(lambda: revisions(service) == 3)
        service.wait_for(lambda: closed(service))

        times = len(service.events("plate.state"))
        asked = service.ask("rank", "plate", PLATE, "--method", "departure")
        assert asked.returncode == 0, asked.stderr
        assert revisions(service) == 4
        service.wait_for(lambda: len(service.events("plate.state")) > times and closed(service))
    lost = service.folder / "rankings" / PLATE / "day10-r1.csv"
    lost.unlink()
    with service.running():
        service.wait_for(lost.exists)
        assert closed(service)
    assert json.loads((service.folder / "rankings" / PLATE / "latest.json").read_text())[
        "revision"
    ] == revisions(service)


def test_a_plate_whose_journal_changed_in_the_last_days_is_imaged_lately(
    site: Site, tmp_path: Path
) -> None:
    journals = tmp_path / "state" / "journal"
    lately = WrongImages(tmp_path / "state", site.store, clock := Seconds()).plates_imaged_lately
    assert lately() == set()
    journals.mkdir(parents=True)
    for name, changed_s in (("P-1-day07", 0.0), ("old-day10", -3 * LATELY_S)):
        (journals / f"{name}.jsonl").write_text("")
        os.utime(journals / f"{name}.jsonl", (1e9 + changed_s, 1e9 + changed_s))
    clock.now_s = 1e9 + 60.0
    assert lately() == {"P-1"}
    os.utime(journals / "old-day10.jsonl", (1e9, 1e9))  # a late entry about a wrong image
    clock.now_s += LIST_S
    assert lately() == {"P-1", "old"}
    clock.now_s += LATELY_S
    assert lately() == set()
