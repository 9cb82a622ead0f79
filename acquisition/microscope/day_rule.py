"""The rule that an image belongs to the culture day on which it was taken.

A culture day ends at midnight in the time zone of ``seeded_at``. A day whose imaging was started
before midnight may be finished within :data:`GRACE` after midnight; the images taken then keep the
day and get the flag ``day_disagrees``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from acquisition.drop_folder.culture_days import NEAR_MIDNIGHT, plausible_time
from schemas.errors import MicroscopeError
from schemas.plate_map import PlateMap

GRACE = NEAR_MIDNIGHT
"""The time after midnight in which a started day is finished."""


class DayState(StrEnum):
    """The state of a culture day at a time: images are taken only while it is open."""

    NOT_BEGUN = "not begun"
    OPEN = "open"
    OVER = "over"


@dataclass(frozen=True)
class DayRule:
    """Decides at which times images of one culture day of a plate may be taken.

    ``is_started`` returns whether the imaging of the day was started; it is called only within
    :data:`GRACE` after midnight.
    """

    plate_map: PlateMap
    day: int
    is_started: Callable[[], bool]

    def state(self, at: datetime) -> DayState:
        """Return the DayState of the day at a time."""
        today = self.plate_map.culture_day(at)
        if self.day > today:
            return DayState.NOT_BEGUN
        if self.day == today:
            return DayState.OPEN
        is_near = self.plate_map.culture_day(at - GRACE) == self.day
        return DayState.OPEN if is_near and self.is_started() else DayState.OVER

    def check(self, well: str, taken_at: datetime) -> None:
        """Raise MicroscopeError unless an image of a well was taken while the day was open.

        The time is not checked if the clock of the camera was never set.
        """
        if plausible_time(taken_at) is not None and self.state(taken_at) is not DayState.OPEN:
            raise MicroscopeError(
                f"camera, well {well}",
                f"a frame was taken at {taken_at.isoformat(timespec='seconds')}; "
                f"expected a time on culture day {self.day}",
            )

    def describe(self, at: datetime) -> str:
        """Return the plate, the day and the culture day at a time as text, for messages."""
        plate, today = self.plate_map.plate, self.plate_map.culture_day(at)
        local = at.astimezone(self.plate_map.seeded_at.tzinfo).isoformat(timespec="minutes")
        return f"plate {plate}, day {self.day}: it is culture day {today} now ({local})"
