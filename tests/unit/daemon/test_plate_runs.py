"""The run of a plate map and of a well image, and the alerts about changes."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from daemon.alerts import Alerts
from daemon.plate_runs import PlateRuns
from schemas.plate_map import PlateMap
from schemas.plate_run import OUTSIDE
from schemas.well_image import WellImage
from store.sql_store import SqlStore
from tests.samples import PLATE, SEEDED_AT, file_version, observation, plate_map, well_image
from tests.stored import add

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
WAIT = timedelta(hours=6)
READOUT = SEEDED_AT + 9 * DAY


@dataclass
class Laboratory:
    """A store that receives plate maps and images as the service gives them to it."""

    store: SqlStore
    now: datetime = SEEDED_AT
    runs: PlateRuns = field(init=False)

    def __post_init__(self) -> None:
        self.runs = PlateRuns(self.store, WAIT, Alerts(self.store, lambda: self.now))

    def map(self, seeded_at: datetime, **changes: object) -> int:
        """Store a map of the plate and return its run."""
        given = plate_map(seeded_at=seeded_at, **changes)
        saved = self.runs.with_run_of_map(given, self.store.plate_map(PLATE))
        self.store.save_plate_map(saved, self.now)
        return saved.run

    @property
    def current(self) -> PlateMap:
        current = self.store.plate_map(PLATE)
        assert current is not None
        return current

    def image(self, day: int, seed: int = 0, **changes: object) -> int:
        """Store an image of well B02 on a culture day and return its run."""
        return self.placed(day, seed, **changes).key.run

    def placed(self, day: int, seed: int = 0, **changes: object) -> WellImage:
        arrived = well_image(day=day, seed=seed, **changes)
        placed = self.runs.with_run(arrived, f"{seed:064x}", self.current, self.now)
        seen = observation(
            day=placed.day,
            seed=seed,
            key=placed.key,
            taken_at=placed.taken_at,
            files=placed.files,
            received_at=self.now,
            day_from_time=placed.day_from_time,
        )
        add(self.store, seen)
        return placed

    def dated(self, *days: int, since: datetime = SEEDED_AT) -> None:
        """Store images of some days, each taken at the hour of seeding."""
        for day in days:
            self.now = since + (day - 1) * DAY
            self.image(day, seed=1000 * (since - SEEDED_AT).days + day, taken_at=self.now)

    @property
    def alerts(self) -> list[str]:
        return [each.body for each in self.store.messages_after(0, "spherorank.v1.alert")]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Laboratory]:
    store = SqlStore(f"sqlite:///{tmp_path}/store.sqlite")
    yield Laboratory(store)
    store.close()


def undated(at: datetime) -> dict[str, object]:
    """Return the times of an image whose file was last changed at a time."""
    return {"taken_at": None, "files": (file_version(mtime_ns=int(at.timestamp() * 1e9)),)}


def test_the_first_map_starts_run_1_and_new_labels_alone_no_other(lab: Laboratory) -> None:
    assert lab.map(SEEDED_AT) == 1
    assert lab.map(SEEDED_AT, specimen="PAT-07") == 1
    assert lab.alerts == []


CHANGES = {
    "an hour later": (HOUR, 1),
    "on the readout day": (READOUT - SEEDED_AT + WAIT, 1),
    "after the readout deadline": (READOUT - SEEDED_AT + WAIT + timedelta(minutes=1), 2),
    "a year later": (365 * DAY, 2),
    "earlier": (-DAY, 1),
    "a year earlier": (-365 * DAY, 1),
}


@pytest.mark.parametrize(("change", "run"), CHANGES.values(), ids=CHANGES)
def test_only_a_seeding_after_the_readout_deadline_starts_a_run(
    lab: Laboratory, change: timedelta, run: int
) -> None:
    lab.map(SEEDED_AT)
    lab.dated(1, 7, 10)
    assert lab.map(SEEDED_AT + change) == run
    [alert] = lab.alerts
    assert '"kind":"plate_map"' in alert.replace(" ", "")
    assert ("run 2 starts" if run == 2 else "run 1 is corrected") in alert
    assert (SEEDED_AT + change).isoformat() in alert


def test_a_plate_id_is_used_again_after_a_plate_without_a_readout(lab: Laboratory) -> None:
    lab.map(SEEDED_AT)
    lab.dated(1, 5)
    assert lab.map(SEEDED_AT + 20 * DAY) == 2


def test_a_month_that_was_mistyped_is_corrected_while_the_images_say_so(lab: Laboratory) -> None:
    lab.map(SEEDED_AT - 31 * DAY)
    lab.now = SEEDED_AT + 3 * DAY
    for day in (1, 2, 3):
        assert lab.image(day, day, **undated(SEEDED_AT + (day - 1) * DAY)) == 1
    assert lab.map(SEEDED_AT) == 1


def test_images_with_a_time_follow_a_mistyped_year_into_the_run_in_which_they_were_taken(
    lab: Laboratory,
) -> None:
    lab.map(SEEDED_AT - 365 * DAY)
    lab.now = SEEDED_AT + DAY
    assert lab.image(1, taken_at=SEEDED_AT + HOUR) == OUTSIDE
    lab.map(SEEDED_AT)
    assert lab.image(2, 1, taken_at=SEEDED_AT + DAY) == lab.current.run


def test_three_runs_of_a_plate_follow_one_another(lab: Laboratory) -> None:
    for number in range(3):
        seeded_at = SEEDED_AT + number * 30 * DAY
        assert lab.map(seeded_at) == number + 1
        lab.dated(7, 10, since=seeded_at)
    assert [each.key.run for each in lab.store.arrived(PLATE)] == [1, 2, 3, 1, 2, 3]


def test_a_map_that_goes_back_withdraws_the_run(lab: Laboratory) -> None:
    lab.map(SEEDED_AT)
    lab.dated(1, 7)
    assert lab.map(SEEDED_AT + 365 * DAY) == 2
    assert lab.image(7, 99, **undated(lab.now)) == 2
    assert lab.map(SEEDED_AT) == 1
    assert "run 2 is withdrawn" in lab.alerts[-1]
    assert lab.map(SEEDED_AT + 365 * DAY) == 2


def test_an_empty_run_is_withdrawn_by_any_seeding_that_could_not_start_one(
    lab: Laboratory,
) -> None:
    lab.map(SEEDED_AT)
    lab.dated(7, 10)
    assert lab.map(SEEDED_AT + 300 * DAY) == 2
    assert lab.map(SEEDED_AT + HOUR) == 1


def test_an_early_seeding_corrects_a_run_with_images_and_takes_none_of_the_run_before(
    lab: Laboratory,
) -> None:
    lab.map(SEEDED_AT)
    lab.dated(7, 10)
    lab.map(SEEDED_AT + 365 * DAY)
    lab.dated(7, since=SEEDED_AT + 365 * DAY)
    assert lab.map(SEEDED_AT + HOUR) == 2
    assert [each.key.run for each in lab.store.arrived(PLATE)] == [1, 2, 1]


def test_an_image_of_an_earlier_run_that_arrives_late_belongs_to_that_run(
    lab: Laboratory,
) -> None:
    lab.map(SEEDED_AT)
    lab.dated(7, 10)
    lab.map(SEEDED_AT + 30 * DAY)
    lab.now = SEEDED_AT + 31 * DAY
    assert lab.image(9, 5, taken_at=SEEDED_AT + 8 * DAY) == 1
    assert lab.image(1, 6, taken_at=SEEDED_AT + 30 * DAY) == 2
    assert lab.image(9, 7, taken_at=SEEDED_AT + 20 * DAY) == OUTSIDE


def test_old_files_in_the_folder_of_a_new_store_take_no_part_and_are_reported_once(
    lab: Laboratory,
) -> None:
    lab.now = SEEDED_AT + 11 * DAY
    lab.map(SEEDED_AT)
    last_year = SEEDED_AT - 360 * DAY
    assert lab.image(7, 1, taken_at=last_year) == OUTSIDE
    assert lab.image(8, 2, **undated(last_year)) == OUTSIDE
    assert lab.image(7, 3, taken_at=SEEDED_AT + 6 * DAY) == 1
    [alert] = lab.alerts
    assert "outside run 1" in alert
    assert last_year.isoformat(timespec="seconds") in alert


def test_an_image_of_a_day_after_the_readout_is_not_reported(lab: Laboratory) -> None:
    lab.map(SEEDED_AT)
    lab.dated(10, 14)
    assert lab.alerts == []


def test_an_image_without_a_time_that_comes_long_after_the_readout_is_outside(
    lab: Laboratory,
) -> None:
    lab.map(SEEDED_AT)
    lab.now = SEEDED_AT + 40 * DAY  # an experiment that is read from an archive
    assert lab.image(10, 1, **undated(lab.now)) == 1
    lab.now += timedelta(hours=29)
    assert lab.image(10, 2, **undated(lab.now)) == 1
    lab.now += timedelta(hours=2)
    assert lab.image(1, 3, **undated(lab.now)) == OUTSIDE
    assert lab.image(10, 4, **undated(READOUT)) == 1


def test_a_copy_of_a_stored_image_is_a_duplicate_of_its_run(lab: Laboratory) -> None:
    lab.map(SEEDED_AT)
    lab.now = READOUT
    lab.image(10, 1, **undated(READOUT))
    lab.now += 100 * DAY
    assert lab.image(10, 1, **undated(lab.now)) == 1
    assert len(lab.store.arrived(PLATE)) == 1


def test_the_same_pixels_without_a_time_in_a_later_run_are_used_and_reported(
    lab: Laboratory,
) -> None:
    lab.map(SEEDED_AT)
    lab.dated(10)
    lab.now = READOUT
    lab.image(7, 1, **undated(READOUT))
    lab.map(SEEDED_AT + 30 * DAY)
    lab.now = SEEDED_AT + 37 * DAY
    assert lab.image(7, 1, **undated(lab.now)) == 2
    assert "has the pixels of an image of run 1" in lab.alerts[-1]


def test_a_day_that_follows_from_a_time_is_that_of_the_run(lab: Laboratory) -> None:
    lab.map(SEEDED_AT)
    lab.dated(10)
    lab.map(SEEDED_AT + 30 * DAY)
    # The source read the image before it read the new map.
    placed = lab.placed(32, 1, taken_at=SEEDED_AT + 31 * DAY, day_from_time=True)
    assert (placed.key.run, placed.day) == (2, 2)


def test_an_image_of_a_plate_without_a_map_is_unchanged(lab: Laboratory) -> None:
    given = well_image()
    assert lab.runs.with_run(given, given.digest, None, SEEDED_AT) is given
