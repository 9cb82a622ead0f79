"""When which plate is to be imaged: from its seeding, its days and its hour. Pure: what is done already is asked of the caller."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta

from schemas.plate_map import PlateMap

Done = Callable[[str, int], bool]
"""Whether a plate's culture day is imaged."""

FORGOTTEN_AFTER = timedelta(days=2)
"""A day that was missed is told of for so long: a plate that nobody images any more lies in the archive for years."""


@dataclass(frozen=True)
class DayDue:
    """A plate's culture day and the instant from which on it is to be imaged."""

    plate: str
    day: int
    since: datetime


def due(
    plates: Mapping[str, PlateMap],
    now: datetime,
    *,
    acquire_at: time | None,
    days: Sequence[int] | None,
    done: Done,
) -> list[DayDue]:
    """Return whose hour has come today and who is not done, the earliest hour first.

    Parameters
    ----------
    acquire_at, days
        For plates whose map says nothing else; the hour is read in the time zone of ``seeded_at``. Without an hour a plate is imaged only when
        asked; without days on every one up to its readout.
    """
    today = (
        each
        for each in _all_days(plates, acquire_at, days)
        if each.day == plates[each.plate].culture_day(now)
    )
    return _in_order(each for each in today if each.since <= now and not done(each.plate, each.day))


def missed(
    plates: Mapping[str, PlateMap],
    now: datetime,
    *,
    acquire_at: time | None,
    days: Sequence[int] | None,
    done: Done,
) -> list[DayDue]:
    """Return the days of late that ended without being done; the parameters are those of :func:`due`."""
    past = (
        each
        for each in _all_days(plates, acquire_at, days)
        if each.day < plates[each.plate].culture_day(now)
    )
    return _in_order(
        each
        for each in past
        if now - each.since <= FORGOTTEN_AFTER and not done(each.plate, each.day)
    )


def _all_days(
    plates: Mapping[str, PlateMap], acquire_at: time | None, days: Sequence[int] | None
) -> Iterator[DayDue]:
    for plate, plate_map in plates.items():
        hour = plate_map.acquire_at or acquire_at
        if hour is None:
            continue
        seeded_at = plate_map.seeded_at
        for day in plate_map.acquire_days or days or range(1, plate_map.readout_day + 1):
            at = datetime.combine(
                seeded_at.date() + timedelta(days=day - 1), hour, seeded_at.tzinfo
            )
            yield DayDue(
                plate, day, max(at, seeded_at)
            )  # on the day of seeding not before there is anything to see


def _in_order(found: Iterator[DayDue]) -> list[DayDue]:
    return sorted(found, key=lambda each: (each.since, each.plate))
