"""The imaging requests that stored images and rankings cause, with a real store."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from acquisition.microscope.imaging_requests import open_imaging_requests
from daemon.alerts import Alerts
from daemon.microscope.imaging_feedback import ALERT_CAUSE, ImagingFeedback
from daemon.microscope.imaging_policies import ReimageUnclearWells, ReimageUndecidedTreatments
from schemas.messages import AlertKind
from schemas.observation import Observation
from schemas.plate_map import Group, PlateMap, WellEntry
from schemas.quality import Flag
from schemas.ranking import Verdict
from store.sql_store import SqlStore
from tests.samples import (
    ENCODER_ID,
    PLATE,
    SEEDED_AT,
    file_version,
    observation,
    observation_data,
    plate_map,
    quality,
    ranking,
    ranking_data,
)

BLURRED = quality(flags=(Flag.BLURRED,))


@dataclass
class StoreWithFeedback:
    """A store, a clock, and the imaging feedback from stored images and rankings."""

    store: SqlStore
    folder: Path
    plate: PlateMap
    now: datetime = SEEDED_AT + timedelta(days=7, hours=1)  # day 8

    def __post_init__(self) -> None:
        self.store.save_plate_map(self.plate, self.now)
        self.alerts = Alerts(self.store, lambda: self.now)
        self.requests = open_imaging_requests(self.folder)
        policies = (ReimageUnclearWells(), ReimageUndecidedTreatments(2))
        self.feedback = ImagingFeedback(
            policies, self.requests, self.store, ENCODER_ID, self.alerts, lambda: self.now
        )

    def add_image(
        self,
        well: str,
        day: int,
        *,
        saved_at: datetime | None = None,
        **changes: Any,  # noqa: ANN401 - fields of an observation
    ) -> Observation:
        """Store a blurred image of a well, with changed fields."""
        saved_at = saved_at or self.now
        file = file_version(
            f"{PLATE}/day{day:02d}/{well}.ome.tif", mtime_ns=int(saved_at.timestamp() * 1e9)
        )
        seen = observation(
            well,
            day,
            files=(file,),
            **{"taken_at": saved_at, "received_at": self.now, "quality": BLURRED} | changes,
        )
        self.store.add_observation(seen, observation_data(seen, self.store.next_version(seen.key)))
        return seen

    def request_after_image(self, well: str, day: int, **changes: Any) -> list[tuple[str, int]]:  # noqa: ANN401 - as above
        """Store an image, run the feedback, and return the pending requests."""
        self.feedback.after_image(self.add_image(well, day, **changes).key, self.plate)
        return self.requested()

    def add_ranking(self, **changes: Any) -> None:  # noqa: ANN401 - fields of a ranking
        """Store a provisional ranking with one undecided treatment and run the feedback."""
        undecided = (
            ranking()
            .treatments[0]
            .model_copy(update={"verdict": Verdict.NO_EVIDENCE, "wells": ("D02",)})
        )
        made = ranking(**{"day": 8, "final": False, "treatments": (undecided,)} | changes)
        self.store.add_ranking(made, ranking_data(made))
        self.feedback.after_ranking(made)

    def requested(self) -> list[tuple[str, int]]:
        """Return the wells and the day of each pending request."""
        return [(" ".join(request.wells), request.day) for _, request in self.requests.pending()]


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[StoreWithFeedback]:
    store = SqlStore(f"sqlite:///{tmp_path}/store.sqlite")
    blank = WellEntry(well="A01", group=Group.BLANK)
    yield StoreWithFeedback(store, tmp_path, plate_map(entries=(*plate_map().entries, blank)))
    store.close()


def test_an_unclear_image_of_today_is_requested_again(stored: StoreWithFeedback) -> None:
    assert stored.request_after_image("B02", 8) == [("B02", 8)]


def test_a_clear_image_is_not_requested_again(stored: StoreWithFeedback) -> None:
    assert stored.request_after_image("B02", 8, quality=quality()) == []


def test_a_well_is_requested_once_a_day(stored: StoreWithFeedback) -> None:
    stored.request_after_image("B02", 8)
    ((name, _),) = stored.requests.pending()
    stored.requests.finish(name)
    assert stored.request_after_image("B02", 8, visit="day08-20261117T110000", seed=1) == []


def test_blank_wells_and_wells_outside_the_plate_map_are_not_requested(
    stored: StoreWithFeedback,
) -> None:
    assert stored.request_after_image("A01", 8, quality=quality(flags=(Flag.EMPTY,))) == []
    assert stored.request_after_image("H12", 8) == []


def test_an_image_saved_long_ago_is_not_requested_again(stored: StoreWithFeedback) -> None:
    assert stored.request_after_image("B02", 8, saved_at=stored.now - timedelta(hours=13)) == []


def test_an_image_of_yesterday_is_not_requested_again(
    stored: StoreWithFeedback,
) -> None:
    assert stored.request_after_image("B02", 7, saved_at=stored.now - timedelta(hours=11)) == []


def test_a_day_followed_by_images_of_the_next_is_not_requested_again(
    stored: StoreWithFeedback,
) -> None:
    stored.add_image("C02", 8)
    assert stored.request_after_image("B02", 7) == []


@pytest.mark.parametrize("taken_at", [None, SEEDED_AT + timedelta(days=900)])
def test_the_newest_day_is_today_if_the_microscope_has_another_clock_or_none(
    stored: StoreWithFeedback, taken_at: datetime | None
) -> None:
    assert stored.request_after_image("B02", 5, taken_at=taken_at) == [("B02", 5)]


def test_wells_of_undecided_treatments_are_requested_after_a_ranking_of_today(
    stored: StoreWithFeedback,
) -> None:
    stored.add_image("D02", 8, quality=quality())
    stored.add_ranking()
    assert stored.requested() == [("D02", 8)]


def test_a_ranking_of_an_earlier_day_requests_nothing(stored: StoreWithFeedback) -> None:
    stored.add_image("D02", 8, quality=quality())
    stored.add_image("D02", 9, quality=quality())
    stored.add_ranking()
    assert stored.requested() == []


def test_requests_that_a_crash_prevented_are_made_at_the_next_start(
    stored: StoreWithFeedback,
) -> None:
    stored.add_image("B02", 8)
    stored.add_ranking()
    (stored.folder / "imaging_requests").rename(stored.folder / "lost")
    stored.feedback.catch_up([PLATE])
    stored.feedback.catch_up([PLATE])
    assert sorted(stored.requested()) == [("B02", 8), ("D02", 8)]


def test_requests_that_cannot_be_written_raise_an_alert_until_they_can(
    stored: StoreWithFeedback,
) -> None:
    obstacle = stored.folder / "imaging_requests"
    obstacle.write_text("a file where a folder should be")
    assert stored.request_after_image("B02", 8) == []
    assert stored.alerts.is_active(AlertKind.MICROSCOPE, ALERT_CAUSE)
    obstacle.unlink()
    assert stored.request_after_image("B03", 8) == [("B03", 8)]
    assert not stored.alerts.is_active(AlertKind.MICROSCOPE, ALERT_CAUSE)
