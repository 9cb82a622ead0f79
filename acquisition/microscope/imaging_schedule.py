"""The imaging schedule: the culture days on which each plate is to be imaged, and from which hour.

These are pure functions; a parameter tells them which days are imaged already.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta

from schemas.plate_map import PlateMap

IsImaged = Callable[[str, int], bool]
"""Return whether the imaging of a plate (id) on a culture day is finished."""

MISSED_DAYS_REPORTED_FOR = timedelta(days=2)
"""The time after its hour for which a missed day is reported.

Abandoned plates stay in the archive, so without a limit they would be reported for ever.
"""


@dataclass(frozen=True)
class ScheduledDay:
    """A culture day of a plate, and the time from which it is to be imaged."""

    plate: str
    day: int
    since: datetime


def due_days(
    plates: Mapping[str, PlateMap],
    now: datetime,
    *,
    acquire_at: time | None,
    days: Sequence[int] | None,
    is_imaged: IsImaged,
) -> list[ScheduledDay]:
    """Return each ScheduledDay of mapped plates that is due ``now`` and not imaged, earliest first.

    Parameters
    ----------
    plates
        Plate maps by plate id. A map with hours or days of its own overrides the next two.
    acquire_at
        The hour from which a plate is due, in the time zone of its ``seeded_at``. None: plates are
        imaged on request only.
    days
        The culture days on which plates are imaged. None: every day up to the readout.
    """
    today = (
        each
        for each in _scheduled_days(plates, acquire_at, days)
        if each.day == plates[each.plate].culture_day(now)
    )
    return _sorted_by_hour(
        each for each in today if each.since <= now and not is_imaged(each.plate, each.day)
    )


def missed_days(
    plates: Mapping[str, PlateMap],
    now: datetime,
    *,
    acquire_at: time | None,
    days: Sequence[int] | None,
    is_imaged: IsImaged,
) -> list[ScheduledDay]:
    """Return each ScheduledDay of mapped plates that ended unimaged in the two days before now.

    The parameters are those of :func:`due_days`.
    """
    past = (
        each
        for each in _scheduled_days(plates, acquire_at, days)
        if each.day < plates[each.plate].culture_day(now)
    )
    return _sorted_by_hour(
        each
        for each in past
        if now - each.since <= MISSED_DAYS_REPORTED_FOR and not is_imaged(each.plate, each.day)
    )


def _scheduled_days(
    plates: Mapping[str, PlateMap], acquire_at: time | None, days: Sequence[int] | None
) -> Iterator[ScheduledDay]:
    """Yield every day of the schedule of every plate, past and future."""
    for plate, plate_map in plates.items():
        hour = plate_map.acquire_at or acquire_at
        if hour is None:
            continue
        seeded_at = plate_map.seeded_at
        for day in plate_map.acquire_days or days or range(1, plate_map.readout_day + 1):
            date = seeded_at.date() + timedelta(days=day - 1)
            at = datetime.combine(date, hour, seeded_at.tzinfo)
            yield ScheduledDay(plate, day, max(at, seeded_at))  # before seeding there is no tissue


def _sorted_by_hour(found: Iterable[ScheduledDay]) -> list[ScheduledDay]:
    """Return the days sorted by the time from which they are due, then by plate id."""
    return sorted(found, key=lambda each: (each.since, each.plate))
