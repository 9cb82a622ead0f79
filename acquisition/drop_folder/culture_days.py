"""Find the culture day of an image file from its name or from a time."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from acquisition.drop_folder.name_tokens import PLAUSIBLE_YEARS
from acquisition.drop_folder.naming import ParsedName
from schemas.errors import ImageError
from schemas.plate_map import PlateMap

NEAR_MIDNIGHT = timedelta(hours=3)
"""Images that a round took this close to midnight, on both sides of it, are flagged."""


@dataclass(frozen=True)
class ImageDay:
    """The culture day of an image file, and the time that it follows from."""

    day: int
    time: datetime | None = None  # None if the name has the day


def find_day(
    name: ParsedName,
    file_time: Callable[[], datetime | None],
    mtime_ns: int,
    plate_map: PlateMap,
) -> ImageDay:
    """Return the ImageDay of a file from its name, acquisition time or modification time.

    Parameters
    ----------
    name
        The parsed name; a day in it wins, then a time in it, then the time elapsed since seeding.
    file_time
        Returns the acquisition time inside the file; called if the name has neither.
    mtime_ns
        The file's modification time, used if ``file_time`` returns no plausible time.
    plate_map
        The plate map with the time of seeding.

    Raises
    ------
    ImageError
        If the day has to follow from the modification time, and that is not plausible.
    """
    if name.day is not None:
        return ImageDay(name.day)
    taken_at = named_time(name, plate_map) or plausible_time(file_time()) or time_of_ns(mtime_ns)
    if taken_at is None:
        raise ImageError(
            name.well,
            f"neither its name nor its content has a time, and its time of change is "
            f"{mtime_ns // 10**9} s after 1970; expected one in the years "
            f"{PLAUSIBLE_YEARS[0]} to {PLAUSIBLE_YEARS[-1]}",
        )
    time = with_time_zone(taken_at, plate_map)
    return ImageDay(plate_map.culture_day(time), time)


def named_time(name: ParsedName, plate_map: PlateMap) -> datetime | None:
    """Return the time in a file name, or seeding plus its elapsed time; None if it has neither."""
    if name.taken_at is not None or name.elapsed is None:
        return name.taken_at
    try:
        return plate_map.seeded_at + name.elapsed
    except OverflowError:
        raise ImageError(
            name.well, f"{name.elapsed} have elapsed since {plate_map.seeded_at}; expected less"
        ) from None


def plausible_time(time: datetime | None) -> datetime | None:
    """Return a time if its year is plausible, else None: a clock that was never set."""
    return time if time is not None and time.year in PLAUSIBLE_YEARS else None


def time_of_ns(mtime_ns: int) -> datetime | None:
    """Return the time of a modification time in ns since 1970, or None if it is not plausible."""
    try:
        return plausible_time(datetime.fromtimestamp(mtime_ns / 1e9, tz=UTC))
    except (OverflowError, ValueError, OSError):  # after the year 9999
        return None


def midnight_near(time: datetime | None, plate_map: PlateMap) -> tuple[date, bool] | None:
    """Return the date that begins at the midnight close to a time, and whether it has begun.

    The midnight is that of the time zone of ``seeded_at``. Return None if it is further away than
    ``NEAR_MIDNIGHT``.
    """
    if time is None:
        return None
    local = with_time_zone(time, plate_map).astimezone(plate_map.seeded_at.tzinfo)
    if (local + NEAR_MIDNIGHT).date() > local.date():
        return (local + NEAR_MIDNIGHT).date(), False
    return (local.date(), True) if (local - NEAR_MIDNIGHT).date() < local.date() else None


def with_time_zone(time: datetime, plate_map: PlateMap) -> datetime:
    """Return a time with the time zone of ``seeded_at`` in the plate map, unless it has a zone."""
    return time if time.tzinfo else time.replace(tzinfo=plate_map.seeded_at.tzinfo)
