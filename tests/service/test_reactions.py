"""The imaging requests that stored images and rankings cause, with a real store."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from acquisition.microscope.imaging_requests import open_imaging_requests
from daemon.alerts import Alerts
from daemon.microscope.imaging_policies import ImageAgainIfUnclear, MoreOftenIfUncertain, Reactions
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
class StoreWithReactions:
    """A store, a clock and the reactions to what is stored."""

    store: SqlStore
    folder: Path
    plate: PlateMap
    now: datetime = SEEDED_AT + timedelta(days=7, hours=1)  # day 8

    def __post_init__(self) -> None:
        self.store.save_plate_map(self.plate, self.now)
        self.alerts = Alerts(self.store, lambda: self.now)
        self.requests = open_imaging_requests(self.folder)
        policies = (ImageAgainIfUnclear(), MoreOftenIfUncertain(2))
        self.reactions = Reactions(
            policies, self.requests, self.store, ENCODER_ID, self.alerts, lambda: self.now
        )

    def add(
        self,
        well: str,
        day: int,
        *,
        saved_at: datetime | None = None,
        **changes: Any,  # noqa: ANN401 - fields of an observation
    ) -> Observation:
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

    def react(self, well: str, day: int, **changes: Any) -> list[tuple[str, int]]:  # noqa: ANN401 - as above
        self.reactions.after_image(self.add(well, day, **changes).key, self.plate)
        return self.requested()

    def rank(self, **changes: Any) -> None:  # noqa: ANN401 - fields of a ranking
        undecided = (
            ranking()
            .treatments[0]
            .model_copy(update={"verdict": Verdict.NO_EVIDENCE, "wells": ("D02",)})
        )
        made = ranking(**{"day": 8, "final": False, "treatments": (undecided,)} | changes)
        self.store.add_ranking(made, ranking_data(made))
        self.reactions.after_ranking(made)

    def requested(self) -> list[tuple[str, int]]:
        return [(" ".join(request.wells), request.day) for _, request in self.requests.pending()]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[StoreWithReactions]:
    store = SqlStore(f"sqlite:///{tmp_path}/store.sqlite")
    blank = WellEntry(well="A01", group=Group.BLANK)
    yield StoreWithReactions(store, tmp_path, plate_map(entries=(*plate_map().entries, blank)))
    store.close()


def test_an_unclear_image_of_today_is_requested_again(bench: StoreWithReactions) -> None:
    assert bench.react("B02", 8) == [("B02", 8)]


def test_a_clear_image_is_not(bench: StoreWithReactions) -> None:
    assert bench.react("B02", 8, quality=quality()) == []


def test_a_well_is_requested_once_a_day(bench: StoreWithReactions) -> None:
    bench.react("B02", 8)
    ((name, _),) = bench.requests.pending()
    bench.requests.finish(name)
    assert bench.react("B02", 8, visit="day08-20261117T110000", seed=1) == []


def test_a_blank_well_may_be_empty_and_a_well_outside_the_map_may_be_anything(
    bench: StoreWithReactions,
) -> None:
    assert bench.react("A01", 8, quality=quality(flags=(Flag.EMPTY,))) == []
    assert bench.react("H12", 8) == []


def test_an_archive_of_long_ago_is_not_imaged_again(bench: StoreWithReactions) -> None:
    assert bench.react("B02", 8, saved_at=bench.now - timedelta(hours=13)) == []


def test_an_image_that_was_left_lying_past_midnight_is_not_imaged_again(
    bench: StoreWithReactions,
) -> None:
    assert bench.react("B02", 7, saved_at=bench.now - timedelta(hours=11)) == []


def test_a_day_that_is_over_by_the_images_of_the_next_is_not_imaged_again(
    bench: StoreWithReactions,
) -> None:
    bench.add("C02", 8)
    assert bench.react("B02", 7) == []


@pytest.mark.parametrize("taken_at", [None, SEEDED_AT + timedelta(days=900)])
def test_where_the_microscope_has_another_clock_or_none_the_newest_day_is_today(
    bench: StoreWithReactions, taken_at: datetime | None
) -> None:
    assert bench.react("B02", 5, taken_at=taken_at) == [("B02", 5)]


def test_wells_of_undecided_treatments_are_requested_after_a_ranking_of_today(
    bench: StoreWithReactions,
) -> None:
    bench.add("D02", 8, quality=quality())
    bench.rank()
    assert bench.requested() == [("D02", 8)]


def test_a_ranking_of_an_earlier_day_requests_nothing(bench: StoreWithReactions) -> None:
    bench.add("D02", 8, quality=quality())
    bench.add("D02", 9, quality=quality())
    bench.rank()
    assert bench.requested() == []


def test_requests_that_a_crash_prevented_are_made_at_the_next_start(
    bench: StoreWithReactions,
) -> None:
    bench.add("B02", 8)
    bench.rank()
    (bench.folder / "imaging_requests").rename(bench.folder / "lost")
    bench.reactions.catch_up()
    bench.reactions.catch_up()
    assert sorted(bench.requested()) == [("B02", 8), ("D02", 8)]


def test_a_list_that_cannot_be_written_is_an_alert_until_it_can(bench: StoreWithReactions) -> None:
    in_its_way = bench.folder / "imaging_requests"
    in_its_way.write_text("a file where a folder should be")
    assert bench.react("B02", 8) == []
    assert bench.alerts.stands(AlertKind.MICROSCOPE, "imaging_requests")
    in_its_way.unlink()
    assert bench.react("B03", 8) == [("B03", 8)]
    assert not bench.alerts.stands(AlertKind.MICROSCOPE, "imaging_requests")
