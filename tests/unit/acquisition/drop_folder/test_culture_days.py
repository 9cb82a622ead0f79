"""The culture day of a file from its name or from a time, and times close to midnight."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acquisition.drop_folder.culture_days import find_day, midnight_near, time_of_ns
from acquisition.drop_folder.naming import ParsedName
from acquisition.drop_folder.visits import visit_name
from schemas.errors import ImageError
from schemas.plate_map import PlateMap, parse_plate_map
from schemas.well_image import VisitKey
from tests.robot_folder import DAY_7_NS, WELLS_CSV
from tests.samples import wells_table


def plate_map(seeded_at: str = "2026-11-10T09:00:00+01:00") -> PlateMap:
    toml = f'plate = "P1"\nseeded_at = {seeded_at}\n'
    return parse_plate_map(toml, wells_table(WELLS_CSV), toml_name="plate.toml")


def no_time() -> None:
    return None


@pytest.mark.parametrize(
    ("seeded_at", "elapsed", "day"),
    [
        ("2026-11-10T09:00:00+01:00", timedelta(), 1),
        ("2026-11-10T09:00:00+01:00", timedelta(hours=14, minutes=59), 1),
        ("2026-11-10T09:00:00+01:00", timedelta(hours=15), 2),
        ("2026-11-10T09:00:00+01:00", timedelta(days=6, hours=14, minutes=59), 7),
        ("2026-11-10T09:00:00+01:00", timedelta(days=6, hours=15), 8),
        ("2026-11-10T09:00:00+01:00", timedelta(days=7), 8),
        ("2026-11-10T23:30:00+01:00", timedelta(minutes=30), 2),
        ("2026-11-10T00:00:00+01:00", timedelta(hours=23, minutes=59), 1),
        ("2026-03-28T20:00:00+01:00", timedelta(days=1), 2),  # clocks change; the offset does not
    ],
)
def test_the_day_of_an_elapsed_time_is_a_calendar_day_since_seeding(
    seeded_at: str, elapsed: timedelta, day: int
) -> None:
    found = find_day(ParsedName("B02", elapsed=elapsed), no_time, DAY_7_NS, plate_map(seeded_at))
    assert found.day == day
    assert found.time == datetime.fromisoformat(seeded_at) + elapsed


@given(elapsed=st.timedeltas(timedelta(), timedelta(days=40)), hour=st.integers(0, 23))
def test_the_day_of_an_elapsed_time_counts_the_midnights_since_seeding(
    elapsed: timedelta, hour: int
) -> None:
    seeded = plate_map(f"2026-11-10T{hour:02d}:00:00+01:00")
    midnights = (timedelta(hours=hour) + elapsed) // timedelta(days=1)
    found = find_day(ParsedName("B02", elapsed=elapsed), no_time, 0, seeded)
    assert found.day == 1 + midnights


def test_an_elapsed_day_is_the_same_day_with_and_without_hours() -> None:
    for days in (0, 1, 6, 30):
        name = ParsedName("B02", elapsed=timedelta(days=days))
        assert find_day(name, no_time, 0, plate_map()).day == days + 1


@pytest.mark.parametrize(
    ("seeded_at", "taken_at", "day"),
    [
        ("2026-03-27T09:00:00+01:00", "2026-03-29T23:30:00+01:00", 3),
        (
            "2026-03-27T09:00:00+01:00",
            "2026-03-30T00:30:00+02:00",
            3,
        ),  # 23:30 at seeded_at's offset
        ("2026-03-27T09:00:00+01:00", "2026-03-30T00:30:00", 4),  # a clock without a zone
        ("2026-10-24T09:00:00+02:00", "2026-10-25T23:30:00+01:00", 3),  # 00:30 at that offset
    ],
)
def test_the_day_of_a_time_is_that_of_the_offset_of_seeding_also_when_clocks_change(
    seeded_at: str, taken_at: str, day: int
) -> None:
    name = ParsedName("B02", taken_at=datetime.fromisoformat(taken_at))
    assert find_day(name, no_time, DAY_7_NS, plate_map(seeded_at)).day == day


@pytest.mark.parametrize("year", [1, 1601, 1970, 9999])
def test_a_time_of_an_impossible_year_inside_the_file_is_not_used(year: int) -> None:
    found = find_day(ParsedName("B02"), lambda: datetime(year, 1, 1), DAY_7_NS, plate_map())  # noqa: DTZ001
    assert found.day == 7


@pytest.mark.parametrize(
    "mtime_ns", [-1, 0, -(2**63) + 1, 2**63 - 1, 253_402_300_800 * 10**9, 10**22]
)
def test_a_day_that_depends_on_an_impossible_time_of_change_is_an_error(mtime_ns: int) -> None:
    assert time_of_ns(mtime_ns) is None
    with pytest.raises(ImageError, match=r"time of change is .* 1970; expected .* 1990 to 2200"):
        find_day(ParsedName("B02"), no_time, mtime_ns, plate_map())
    assert find_day(ParsedName("B02", day=4), no_time, mtime_ns, plate_map()).day == 4
    at_noon = lambda: datetime(2026, 11, 12, 12, tzinfo=UTC)  # noqa: E731
    assert find_day(ParsedName("B02"), at_noon, mtime_ns, plate_map()).day == 3


def test_an_elapsed_time_beyond_the_calendar_is_an_error() -> None:
    name = ParsedName("B02", elapsed=timedelta(days=9_999_999))
    with pytest.raises(ImageError, match="expected less"):
        find_day(name, no_time, 0, plate_map("2100-01-01T00:00:00+00:00"))


@pytest.mark.parametrize(
    ("taken_at", "expected"),
    [
        ("2026-11-16T22:00:00+01:00", (date(2026, 11, 17), False)),
        ("2026-11-17T02:00:00+01:00", (date(2026, 11, 17), True)),
        ("2026-11-16T23:30:00+00:00", (date(2026, 11, 17), True)),
        ("2026-11-17T00:30:00", (date(2026, 11, 17), True)),
        ("2026-11-16T20:59:00+01:00", None),
        ("2026-11-16T14:00:00+01:00", None),
        ("2026-11-17T03:00:00+01:00", None),
    ],
)
def test_a_time_is_close_to_midnight_within_three_hours(
    taken_at: str, expected: tuple[date, bool] | None
) -> None:
    assert midnight_near(datetime.fromisoformat(taken_at), plate_map()) == expected


VISITS = {
    "day07": ParsedName("B02"),
    "day07-f02": ParsedName("B02", field=2),
    "day07-006d06h05m": ParsedName("B02", elapsed=timedelta(days=6, hours=6, minutes=5)),
    "day07-100d00h00m-f00": ParsedName("B02", field=0, elapsed=timedelta(days=100)),
    "day07-20261116T140000-f01": ParsedName("B02", field=1, taken_at=datetime(2026, 11, 16, 14)),  # noqa: DTZ001
    "day07 ": ParsedName("B02", site=2, channel="1"),
}


@pytest.mark.parametrize(("visit", "name"), VISITS.items())
def test_the_name_of_a_visit_has_the_time_and_the_field_of_the_file_name(
    visit: str, name: ParsedName
) -> None:
    assert visit_name(name, 7) == visit.strip()
    assert VisitKey("P1", "B02", visit_name(name, 7)).field == name.field
