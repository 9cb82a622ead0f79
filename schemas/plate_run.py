"""Runs: the uses of one plate id, and the images that belong to each.

A run begins at ``seeded_at``. An image takes part in the rankings of the run in which it was taken.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Protocol

from schemas.plate_map import PlateMap
from schemas.well_image import VisitKey

OUTSIDE = 0
"""Run of an image that was outside the run of its plate when it arrived."""
MARGIN_DAYS = 1
"""Culture days after the readout day on which an image of an earlier day may still be taken."""
CLOCK_NEVER_SET = timedelta(days=5 * 365)
"""An image that is older than this at seeding has the time of a clock that was never set."""
CLOCK_TOLERANCE = timedelta(days=1)
"""An image from further in the future of this computer's clock has the time of a wrong clock."""


class TimedImage(Protocol):
    """The run, culture day and times of a stored image."""

    @property
    def key(self) -> VisitKey:
        """The VisitKey of the image, with the run in which the image arrived."""
        ...

    @property
    def day(self) -> int:
        """The culture day of the image, from 1."""
        ...

    @property
    def taken_at(self) -> datetime | None:
        """The acquisition time by the clock of the microscope; None if it is unknown."""
        ...

    @property
    def saved_at(self) -> datetime | None:
        """The modification time of the image file; None if it is unknown."""
        ...

    @property
    def received_at(self) -> datetime:
        """The time by the clock of this computer at which the image was stored."""
        ...


def is_in_run(image: TimedImage, plate_map: PlateMap) -> bool:
    """Return whether an image takes part in the rankings of the run of a plate map.

    The time of the microscope decides, unless its clock is plainly wrong. Without a time the image
    belongs to the run in which it arrived, unless its file is older than the seeding. Copying makes
    a file younger, so a late modification time proves nothing.
    """
    is_of_run = image.key.run == plate_map.run
    if image.key.run not in (OUTSIDE, plate_map.run):
        return False
    if image.taken_at is not None:
        if _is_of_wrong_clock(image.taken_at, image.received_at, plate_map):
            return is_of_run
        return _is_during(image.taken_at, image.day, plate_map)
    if image.saved_at is None:
        return is_of_run
    if is_of_run:
        return not _is_older_than_seeding(image.saved_at, image.received_at, plate_map)
    return _is_during(image.saved_at, image.day, plate_map)


def is_after_run(image: TimedImage, plate_map: PlateMap) -> bool:
    """Return whether an image of a day up to the readout has a time after the end of the run."""
    at = image.taken_at or image.saved_at
    return at is not None and plate_map.culture_day(at) > _last_day(image.day, plate_map)


def readout_deadline(
    plate_map: PlateMap, images: Iterable[TimedImage], wait: timedelta
) -> datetime:
    """Return the time at which the readout of a plate map is final, from its images and a wait.

    It is ``wait`` after the first readout image. Its time is the microscope's, else the time at
    which it was stored, and always within the readout day. Without a readout image the deadline
    counts from the end of that day.

    Parameters
    ----------
    images
        Images of the run.
    """
    starts = end_of_day(plate_map, plate_map.readout_day - 1)
    ends = end_of_day(plate_map, plate_map.readout_day)
    first = min(
        (
            image.taken_at or image.received_at
            for image in images
            if image.day == plate_map.readout_day
        ),
        default=ends,
    )
    return min(max(first, starts), ends) + wait


def end_of_day(plate_map: PlateMap, day: int) -> datetime:
    """Return the midnight at which a culture day of a plate map ends, in the zone of seeded_at."""
    midnight = plate_map.seeded_at.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + timedelta(days=day)


def agree_with_seeding(images: Iterable[TimedImage], plate_map: PlateMap) -> bool:
    """Return whether the times of most images are on their culture days by a plate map.

    The time of the microscope is used, else that of the file. Without images they agree.
    """
    times = [(image.taken_at or image.saved_at, image.day) for image in images]
    fitting = sum(at is not None and plate_map.culture_day(at) == day for at, day in times)
    return not times or 2 * fitting > len(times)


def _is_during(at: datetime, day: int, plate_map: PlateMap) -> bool:
    return at >= plate_map.seeded_at and plate_map.culture_day(at) <= _last_day(day, plate_map)


def _last_day(day: int, plate_map: PlateMap) -> int:
    """Return the last culture day on which an image of a culture day can have been taken."""
    return max(plate_map.readout_day + MARGIN_DAYS, day)


def _is_older_than_seeding(saved_at: datetime, received_at: datetime, plate_map: PlateMap) -> bool:
    """Return whether the file of an image proves that it was taken before seeding.

    If the seeding is in the future of this computer's clock, the clocks cannot be compared.
    """
    return saved_at < plate_map.seeded_at <= received_at and not _is_of_wrong_clock(
        saved_at, received_at, plate_map
    )


def _is_of_wrong_clock(at: datetime, received_at: datetime, plate_map: PlateMap) -> bool:
    """Return whether a time is long before seeding, or in the future of this computer's clock.

    If the seeding is in its future too, the instruments have another clock in common.
    """
    is_future = at - received_at > CLOCK_TOLERANCE and plate_map.seeded_at <= received_at
    return is_future or plate_map.seeded_at - at > CLOCK_NEVER_SET
