"""The state of one run of an imaging day: wells to visit, unsaved images and results."""

from collections import Counter, deque
from dataclasses import dataclass, field

from acquisition.microscope.day_plan import DayPlan, DayResult, EndReason
from acquisition.microscope.day_stop import DayStoppedError
from acquisition.microscope.ome_tiff import WellFrames
from acquisition.microscope.plate_plan import WellPosition
from acquisition.microscope.well_focus import WellFocus, WellFocusing


@dataclass
class WellImages:
    """The images of one well that are taken and not saved yet."""

    focus: WellFocus
    bright_field: list[WellFrames] = field(default_factory=list)  # the ranked one last
    channels: dict[str, list[WellFrames]] = field(default_factory=dict)  # by name

    @property
    def ranked(self) -> WellFrames:
        """The image that is ranked."""
        return self.bright_field[-1]

    @property
    def bytes_held(self) -> int:
        """The bytes of all pixels, of every field and channel."""
        images = [*self.bright_field, *(each for more in self.channels.values() for each in more)]
        return sum(frame.pixels.nbytes for image in images for frame in image.frames)


@dataclass
class ImagingRun:
    """The state of one run: the wells to visit and the results so far."""

    plan: DayPlan
    queue: deque[WellPosition]
    focusing: WellFocusing
    focus: dict[str, WellFocus] = field(default_factory=dict)  # of each saved well
    images: dict[str, WellImages] = field(default_factory=dict)  # by well, until they are saved
    saved: list[str] = field(default_factory=list)
    given_up: dict[str, str] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)
    problems: dict[str, str] = field(default_factory=dict)  # the last one of each well
    repeat_later: list[str] = field(default_factory=list)  # wells that are not in the plan
    wrong_images: list[str] = field(default_factory=list)  # wells whose saved image did not count

    def result(self, reason: EndReason, halt: DayStoppedError | None = None) -> DayResult:
        """Return the DayResult of the run that ended for a reason."""
        unfocused = tuple(
            well for well in self.saved if well in self.focus and self.focus[well].is_lost
        )
        return DayResult(
            reason,
            tuple(self.saved),
            self.given_up,
            unfocused,
            halt,
            repeat_later=tuple(self.repeat_later),
            wrong_images=tuple(sorted({*self.wrong_images} - {*self.saved})),
        )

    def position(self, well: str) -> WellPosition:
        """Return the position of a well of the plan."""
        return next(each for each in self.plan.positions if each.well == well)
