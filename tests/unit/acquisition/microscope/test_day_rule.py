from datetime import datetime

import pytest

from acquisition.microscope.day_rule import DayRule, DayState
from schemas.plate_map import Group, PlateMap, WellEntry

PLATE_MAP = PlateMap(
    plate="P1",
    seeded_at=datetime.fromisoformat("2026-11-10T09:00:00+01:00"),
    entries=(WellEntry(well="B02", group=Group.UNTREATED),),
)


@pytest.mark.parametrize(
    ("at", "is_started", "state"),
    [
        ("2026-11-15T23:59:00+01:00", True, DayState.NOT_BEGUN),
        ("2026-11-16T00:00:00+01:00", False, DayState.OPEN),
        ("2026-11-16T23:59:00+01:00", False, DayState.OPEN),
        ("2026-11-17T00:00:00+01:00", True, DayState.OPEN),
        ("2026-11-17T00:00:00+01:00", False, DayState.OVER),
        ("2026-11-17T02:59:00+01:00", True, DayState.OPEN),
        ("2026-11-17T03:00:00+01:00", True, DayState.OVER),
        ("2026-11-17T01:59:00+00:00", True, DayState.OPEN),  # another zone
        ("2026-11-18T00:30:00+01:00", True, DayState.OVER),
        ("2026-12-30T12:00:00+01:00", True, DayState.OVER),
    ],
)
def test_a_day_is_open_until_midnight_and_a_started_day_three_hours_longer(
    at: str,
    is_started: bool,  # noqa: FBT001 - a case
    state: DayState,
) -> None:
    assert DayRule(PLATE_MAP, 7, lambda: is_started).state(datetime.fromisoformat(at)) is state


def test_the_description_names_plate_day_and_the_culture_day_of_the_time() -> None:
    at = datetime.fromisoformat("2026-11-18T08:30:00+00:00")
    assert DayRule(PLATE_MAP, 7, lambda: True).describe(at) == (
        "plate P1, day 7: it is culture day 9 now (2026-11-18T09:30+01:00)"
    )
