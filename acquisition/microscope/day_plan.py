"""The wells to image on one culture day of a plate, and the result of their imaging."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from acquisition.channels import Channel
from acquisition.microscope.day_rule import DayRule
from acquisition.microscope.day_stop import DayStoppedError
from acquisition.microscope.plate_plan import WellPosition


class EndReason(StrEnum):
    """The reason for which the imaging of a day ended."""

    COMPLETED = "completed"  # every well was saved or given up
    STOPPED = "stopped"  # by a signal; the next start continues
    ABORTED = "aborted"  # by an operator; it does not continue
    HALTED = "halted"  # by a fault that concerns all wells, such as no light
    OTHER_DAY = "other day"  # the culture day of the plan is over, or the clock was set back


@dataclass(frozen=True)
class DayPlan:
    """The wells of one plate to image on one culture day, and the way to image them."""

    plate: str
    day: int
    positions: Sequence[WellPosition]  # in the order of their visits
    saved_since: datetime | None = None  # ignore images saved before; None: count all of the day
    attempts_since: datetime | None = None  # ignore attempts before; None: count all of the day
    wide_scan: bool = False  # scan ``wide_range_um`` for focus
    recentre: bool = False  # move the tissue into the middle of the field first
    rule: DayRule | None = None  # None: images may be taken at any time
    channels: tuple[Channel, ...] = ()  # to image after bright field


@dataclass(frozen=True)
class DayResult:
    """The wells that were saved and given up on one day."""

    reason: EndReason
    saved: tuple[str, ...]
    given_up: dict[str, str]  # the last problem of each well
    unfocused: tuple[str, ...] = ()  # saved wells whose focus was searched and not found
    halt: DayStoppedError | None = None  # the fault, if the reason is HALTED
    missing_tissue: tuple[str, ...] = ()  # wells that should have tissue and have none
    repeat_later: tuple[str, ...] = ()  # wells out of the plan whose image does not count any more
    wrong_images: tuple[str, ...] = ()  # wells whose saved image is wrong and was not replaced
