from collections.abc import Mapping
from datetime import datetime, time

import pytest

from acquisition.microscope.imaging_schedule import ScheduledDay, due_days, missed_days
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


def due_at(
    now: str,
    maps: Mapping[str, PlateMap],
    acquire_at: time | None = TEN,
    days: tuple[int, ...] | None = None,
) -> list[tuple[str, int]]:
    return [
        (each.plate, each.day)
        for each in due_days(maps, at(now), acquire_at=acquire_at, days=days, is_imaged=never)
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
def test_a_plate_is_due_from_its_hour_to_midnight_on_each_day_up_to_its_readout(
    now: str, expected: list[int]
) -> None:
    assert due_at(now, plates()) == [("P1", day) for day in expected]


def test_no_plate_is_due_before_it_is_seeded() -> None:
    early = time(7, 0)
    assert due_at("2026-11-10T08:00:00+01:00", plates(), early) == []
    assert due_days(
        plates(), at("2026-11-10T09:30:00+01:00"), acquire_at=early, days=None, is_imaged=never
    ) == [ScheduledDay("P1", 1, at("2026-11-10T09:00:00+01:00"))]


def test_the_hour_and_days_of_a_plate_map_override_the_configuration() -> None:
    own = plates(acquire_at=time(14, 0), acquire_days=(7, 12))
    assert due_at("2026-11-16T13:00:00+01:00", own) == []
    assert due_at("2026-11-16T14:00:00+01:00", own, days=(1,)) == [("P1", 7)]
    assert due_at("2026-11-21T14:00:00+01:00", own) == [("P1", 12)]
    assert due_at("2026-11-17T15:00:00+01:00", own) == []
    assert due_at("2026-11-16T15:00:00+01:00", plates(), days=(6, 8)) == []


def test_a_plate_without_an_hour_is_never_due() -> None:
    assert due_at("2026-11-16T15:00:00+01:00", plates(), acquire_at=None) == []
    assert due_at("2026-11-16T15:00:00+01:00", plates(acquire_at=TEN), acquire_at=None) == [
        ("P1", 7)
    ]


def test_an_imaged_day_is_not_due() -> None:
    now = at("2026-11-16T15:00:00+01:00")
    assert (
        due_days(
            plates(),
            now,
            acquire_at=TEN,
            days=None,
            is_imaged=lambda plate, day: (plate, day) == ("P1", 7),
        )
        == []
    )


def test_due_plates_are_sorted_by_hour_and_then_by_id() -> None:
    maps = {
        plate: plate_map(plate, acquire_at=hour)
        for plate, hour in {
            "P3": None,
            "P2": time(11, 0),
            "P1": time(11, 0),
            "P0": time(12, 0),
        }.items()
    }
    assert [plate for plate, _ in due_at("2026-11-16T15:00:00+01:00", maps)] == [
        "P3",
        "P1",
        "P2",
        "P0",
    ]


def test_a_day_without_images_is_missed_for_two_days() -> None:
    def missed_at(now: str) -> list[int]:
        return [
            each.day
            for each in missed_days(
                plates(), at(now), acquire_at=TEN, days=None, is_imaged=lambda _, day: day <= 5
            )
        ]

    assert missed_at("2026-11-16T15:00:00+01:00") == [6]
    assert missed_at("2026-11-18T09:59:00+01:00") == [7, 8]
    assert missed_at("2027-11-18T10:00:00+01:00") == []
