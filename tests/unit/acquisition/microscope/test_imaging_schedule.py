from collections.abc import Mapping
from datetime import datetime, time

import pytest

from acquisition.microscope.imaging_schedule import DayDue, due, missed
from schemas.plate_map import PlateMap
from tests.samples import plate_map

TEN = time(10, 0)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def never(_plate: str, _day: int) -> bool:
    return False


def plates(**changes: object) -> Mapping[str, PlateMap]:
    """Return one plate, seeded on 10 November at 09:00+01:00."""
    return {"P1": plate_map("P1", **changes)}


def days_due(
    now: str,
    maps: Mapping[str, PlateMap],
    acquire_at: time | None = TEN,
    days: tuple[int, ...] | None = None,
) -> list[tuple[str, int]]:
    return [
        (each.plate, each.day)
        for each in due(maps, at(now), acquire_at=acquire_at, days=days, done=never)
    ]


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-11-10T08:59:00+01:00", []),  # not seeded yet
        ("2026-11-10T10:00:00+01:00", [1]),
        ("2026-11-16T09:59:59+01:00", []),
        ("2026-11-16T10:00:00+01:00", [7]),
        ("2026-11-16T23:59:00+01:00", [7]),
        ("2026-11-17T00:01:00+01:00", []),
        ("2026-11-16T09:00:00+00:00", [7]),  # the same instant in another zone
        ("2026-11-16T23:30:00+00:00", []),  # the plate's own midnight is past
        ("2026-11-19T12:00:00+01:00", [10]),
        ("2026-11-20T12:00:00+01:00", []),  # after its readout
    ],
)
def test_a_plate_is_due_from_its_hour_to_its_midnight_up_to_its_readout(
    now: str, expected: list[int]
) -> None:
    assert days_due(now, plates()) == [("P1", day) for day in expected]


def test_on_the_day_of_seeding_nothing_is_due_before_it() -> None:
    early = time(7, 0)
    assert days_due("2026-11-10T08:00:00+01:00", plates(), early) == []
    assert due(
        plates(), at("2026-11-10T09:30:00+01:00"), acquire_at=early, days=None, done=never
    ) == [DayDue("P1", 1, at("2026-11-10T09:00:00+01:00"))]


def test_a_plate_s_own_hour_and_days_come_before_the_configured_ones() -> None:
    own = plates(acquire_at=time(14, 0), acquire_days=(7, 12))
    assert days_due("2026-11-16T13:00:00+01:00", own) == []
    assert days_due("2026-11-16T14:00:00+01:00", own, days=(1,)) == [("P1", 7)]
    assert days_due("2026-11-21T14:00:00+01:00", own) == [("P1", 12)]
    assert days_due("2026-11-17T15:00:00+01:00", own) == []
    assert days_due("2026-11-16T15:00:00+01:00", plates(), days=(6, 8)) == []


def test_without_an_hour_a_plate_is_imaged_when_asked_only() -> None:
    assert days_due("2026-11-16T15:00:00+01:00", plates(), acquire_at=None) == []
    assert days_due("2026-11-16T15:00:00+01:00", plates(acquire_at=TEN), acquire_at=None) == [
        ("P1", 7)
    ]


def test_a_day_that_is_done_is_due_no_more() -> None:
    now = at("2026-11-16T15:00:00+01:00")
    assert (
        due(
            plates(),
            now,
            acquire_at=TEN,
            days=None,
            done=lambda plate, day: (plate, day) == ("P1", 7),
        )
        == []
    )


def test_the_earliest_hour_comes_first_and_then_the_plate_s_name() -> None:
    maps = {
        plate: plate_map(plate, acquire_at=hour)
        for plate, hour in {
            "P3": None,
            "P2": time(11, 0),
            "P1": time(11, 0),
            "P0": time(12, 0),
        }.items()
    }
    assert [plate for plate, _ in days_due("2026-11-16T15:00:00+01:00", maps)] == [
        "P3",
        "P1",
        "P2",
        "P0",
    ]


def test_a_day_that_ended_without_images_is_missed_for_a_while() -> None:
    def missed_at(now: str) -> list[int]:
        return [
            each.day
            for each in missed(
                plates(), at(now), acquire_at=TEN, days=None, done=lambda _, day: day <= 5
            )
        ]

    assert missed_at("2026-11-16T15:00:00+01:00") == [6]
    assert missed_at("2026-11-18T09:59:00+01:00") == [7, 8]
    assert missed_at("2027-11-18T10:00:00+01:00") == []
