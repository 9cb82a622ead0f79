"""Image the wells of one plate on one culture day: move, focus, take the planes, save.

A well that fails is tried again after the other wells; no failure ends the day.
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from acquisition.microscope.centring import TissueOffset, find_tissue_offset
from acquisition.microscope.focus_surface import FocusSurface
from acquisition.microscope.image_archive import save_visit
from acquisition.microscope.imaging_journal import ImagingJournal, WellProgress
from acquisition.microscope.ome_tiff import WellFrames
from acquisition.microscope.plate_plan import WellPosition
from acquisition.microscope.settings import MicroscopeSettings
from acquisition.microscope.well_focus import WellFocus, WellFocusing
from acquisition.ports import Frame, ImagingStoppedError, Microscope
from schemas.errors import MicroscopeError, OutputError

ALERT_AFTER_FAILURES = 3  # consecutive failed wells; the fault is then not that of one well
MAX_BACKOFF = 10  # longest pause after a failure, as a multiple of ``backoff_s``
CENTRED_DISTANCE = 0.1  # field widths; tissue nearer to the middle needs no centring


class EndReason(StrEnum):
    """The reason for which the imaging of a day ended."""

    COMPLETED = "completed"  # every well was saved or given up
    STOPPED = "stopped"  # by a signal; the next start continues
    ABORTED = "aborted"  # by an operator; it does not continue


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


@dataclass(frozen=True)
class DayResult:
    """The wells that were saved and given up on one day."""

    reason: EndReason
    saved: tuple[str, ...]
    given_up: dict[str, str]  # the last problem of each well
    unfocused: tuple[str, ...] = ()  # saved wells whose focus was searched and not found


@dataclass
class ImagingDay:
    """Images the wells of a day's plan one after the other.

    Parameters
    ----------
    surface
        The focus heights known of the plate; replaced by one with the heights found here.
    emit
        Is called with the name and fields of each event, such as ``well.saved``.
    report_progress
        Is called with the name of each activity before it begins, so that the watchdog notices a
        stall and can name it.
    should_stop
        Is called before each well; returns True once no further well is to be imaged. It may wait.
    wait
        Waits for a number of seconds.
    clock
        Returns the current time.
    show_frame
        Is called with each well and its middle frame.
    """

    scope: Microscope
    settings: MicroscopeSettings
    archive: Path
    journal: ImagingJournal
    surface: FocusSurface
    emit: Callable[..., None]
    report_progress: Callable[[str], None]
    should_stop: Callable[[], bool]
    wait: Callable[[float], None]
    clock: Callable[[], datetime]
    show_frame: Callable[[str, Frame], None] = lambda _well, _frame: None
    _consecutive_failures: int = field(default=0, init=False)

    def run(self, plan: DayPlan) -> DayResult:
        """Image the wells of a DayPlan that have no image yet; return the DayResult."""
        queue = deque(plan.positions)
        saved: list[str] = []
        given_up: dict[str, str] = {}
        failures: Counter[str] = Counter()
        problems: dict[str, str] = {}
        unfocused: list[str] = []
        focusing = WellFocusing(
            self.scope, self.settings, plan.plate, self.surface, self.emit, self.clock
        )
        while queue:
            if self.should_stop():
                return DayResult(EndReason.STOPPED, tuple(saved), given_up, tuple(unfocused))
            position = queue.popleft()
            well = position.well
            if self._progress(well, plan.saved_since).saved:
                continue
            before = self._progress(well, plan.attempts_since)
            # Attempts are missing in the journal if the disk is full, so both are counted.
            if max(before.attempts, failures[well]) >= self.settings.tries:
                given_up[well] = problems.get(well) or before.last_problem or "no attempt is left"
                continue
            try:
                focus = self._image_well(plan, position, focusing)
            except ImagingStoppedError:
                self.journal.record_stop(well, self.clock())
                return DayResult(EndReason.STOPPED, tuple(saved), given_up, tuple(unfocused))
            except (MicroscopeError, OutputError) as error:
                failures[well] += 1
                problems[well] = str(error)
                self._record_failure(plan, position, error)
                queue.append(position)
            else:
                saved.append(well)
                unfocused += [well] if focus.is_lost else []
                self._consecutive_failures = 0
        return DayResult(EndReason.COMPLETED, tuple(saved), given_up, tuple(unfocused))

    def _progress(self, well: str, since: datetime | None) -> WellProgress:
        """Return the progress of one well, counting journal entries from ``since`` on."""
        return self.journal.progress(since).get(well, WellProgress())

    def _image_well(
        self, plan: DayPlan, position: WellPosition, focusing: WellFocusing
    ) -> WellFocus:
        """Image one well and return its WellFocus: move, focus, take and save the planes.

        Raises
        ------
        MicroscopeError
            If a device failed.
        OutputError
            If the image cannot be saved.
        """
        self.journal.record_start(position.well, self.clock())
        where = f"plate {plan.plate}, day {plan.day}, well {position.well}"
        self.report_progress(f"{where} is focused")
        self.scope.move_to(position.x_um, position.y_um)
        focus = focusing.find(position, wide=plan.wide_scan)
        self.surface = focusing.surface
        if plan.recentre:
            self.report_progress(f"{where} is centred")
            position = self._centre_tissue(position, focus.z_um)
        self.report_progress(f"{where} is imaged")
        heights = self._plane_heights(focus.z_um)
        frames = self.scope.stack(heights)
        self.report_progress(f"{where} is saved")
        self.show_frame(position.well, frames[len(frames) // 2])
        visit = WellFrames(
            plan.plate,
            position.well,
            plan.day,
            tuple(frames),
            self.scope.format,
            position.x_um,
            position.y_um,
            tuple(heights),
            self.settings.plate,
            focus.annotation(),
        )
        file = save_visit(self.archive, visit)
        name = str(file.relative_to(self.archive))
        self.journal.record_saved(position.well, name, self.clock())
        self.emit(
            "well.saved",
            plate=plan.plate,
            day=plan.day,
            well=position.well,
            file=str(file),
            z_um=round(focus.z_um, 1),
            focus=focus.found_by.value,
            focus_verified=focus.is_verified,
        )
        return focus

    def _record_failure(
        self, plan: DayPlan, position: WellPosition, error: MicroscopeError | OutputError
    ) -> None:
        """Report and record a failed attempt, then pause."""
        self._consecutive_failures += 1
        day = {"plate": plan.plate, "day": plan.day}
        self.emit("well.failed", **day, well=position.well, problem=str(error))
        if self._consecutive_failures == ALERT_AFTER_FAILURES:
            message = (
                f"plate {plan.plate}, day {plan.day}: {ALERT_AFTER_FAILURES} consecutive wells "
                f"failed, the last was {position.well}: {error}"
            )
            self.emit(
                "alert",
                kind="microscope",
                cause=f"{plan.plate} in a row",
                message=message,
                plate=plan.plate,
            )
        try:
            self.journal.record_failure(position.well, str(error), self.clock())
        except OutputError as unwritten:  # the start of the attempt is in the journal, so it counts
            self.emit("journal.failed", **day, problem=str(unwritten))
        self.wait(self.settings.backoff_s * min(self._consecutive_failures, MAX_BACKOFF))

    def _plane_heights(self, z_um: float) -> list[float]:
        """Return the heights of the planes around a focus height, rising."""
        middle = (self.settings.planes - 1) / 2
        return [
            z_um + (number - middle) * self.settings.plane_step_um
            for number in range(self.settings.planes)
        ]

    def _centre_tissue(self, position: WellPosition, z_um: float) -> WellPosition:
        """Move the stage until the tissue is in the middle of the field; return its position.

        A move that brings the tissue no nearer is undone. The opposite direction is tried, too: the
        camera may be mirrored without an entry in the hardware configuration.
        """
        offset = self._tissue_offset(z_um)
        for sign in (1, 1, -1, -1):
            if offset is None or (
                offset.border_contact == 0 and offset.distance <= CENTRED_DISTANCE
            ):
                break
            dx_um, dy_um = self.scope.format.stage_um(*offset.direction)
            target = replace(
                position, x_um=position.x_um + sign * dx_um, y_um=position.y_um + sign * dy_um
            )
            try:
                self.scope.move_to(target.x_um, target.y_um)
            except MicroscopeError:  # beyond the stage limits; the well is imaged where it is
                continue
            new_offset = self._tissue_offset(z_um)
            if new_offset is not None and new_offset < offset:
                position, offset = target, new_offset
        self.scope.move_to(position.x_um, position.y_um)
        return position

    def _tissue_offset(self, z_um: float) -> TissueOffset | None:
        """Return the offset of the tissue in a frame taken here, or None without tissue."""
        return find_tissue_offset(self.scope.stack([z_um])[0].pixels)


def outer_plane_heights(settings: MicroscopeSettings) -> tuple[float, float]:
    """Return the heights in µm of the lowest and highest plane at the settings' ``focus_z_um``."""
    reach_um = (settings.planes - 1) / 2 * settings.plane_step_um
    return settings.focus_z_um - reach_um, settings.focus_z_um + reach_um
