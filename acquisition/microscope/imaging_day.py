"""Image the wells of one plate on one culture day: move, focus, take the planes, save.

A well that fails is tried again after the other wells; no failure ends the day.
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import partial
from pathlib import Path

from acquisition.microscope.centring import TissueOffset, find_tissue_offset
from acquisition.microscope.day_rule import DayRule, DayState
from acquisition.microscope.day_stop import DayStoppedError
from acquisition.microscope.focus_surface import FocusSurface
from acquisition.microscope.image_archive import save_visit
from acquisition.microscope.imaging_journal import ImagingJournal, WellProgress
from acquisition.microscope.ome_tiff import WellFrames
from acquisition.microscope.plate_plan import WellPosition
from acquisition.microscope.plate_watch import PlateWatch
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


@dataclass(frozen=True)
class DayResult:
    """The wells that were saved and given up on one day."""

    reason: EndReason
    saved: tuple[str, ...]
    given_up: dict[str, str]  # the last problem of each well
    unfocused: tuple[str, ...] = ()  # saved wells whose focus was searched and not found
    halt: DayStoppedError | None = None  # the fault, if the reason is HALTED
    missing_tissue: tuple[str, ...] = ()  # wells that should have tissue and have none


@dataclass
class _Run:
    """The state of one run: the wells to visit and the results so far."""

    plan: DayPlan
    queue: deque[WellPosition]
    focusing: WellFocusing
    focus: dict[str, WellFocus] = field(default_factory=dict)  # of each imaged well
    saved: list[str] = field(default_factory=list)
    given_up: dict[str, str] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)
    problems: dict[str, str] = field(default_factory=dict)  # the last one of each well

    def result(self, reason: EndReason, halt: DayStoppedError | None = None) -> DayResult:
        """Return the DayResult of the run that ended for a reason."""
        unfocused = tuple(well for well in self.saved if self.focus[well].is_lost)
        return DayResult(reason, tuple(self.saved), self.given_up, unfocused, halt)

    def position(self, well: str) -> WellPosition:
        """Return the position of a well of the plan."""
        return next(each for each in self.plan.positions if each.well == well)


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
    watch
        Checks each visit; None: every visit is saved unchecked.
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
    watch: PlateWatch | None = None
    _consecutive_failures: int = field(default=0, init=False)

    def run(self, plan: DayPlan) -> DayResult:
        """Image the wells of a DayPlan that have no image yet; return the DayResult."""
        focusing = WellFocusing(
            self.scope, self.settings, plan.plate, self.surface, self.emit, self.clock
        )
        run = _Run(plan, deque(plan.positions), focusing)
        while run.queue or self._is_unjudged():
            if self.should_stop():
                return run.result(EndReason.STOPPED)
            if not _is_open(plan, self.scope.own_time() or self.clock()):
                return run.result(EndReason.OTHER_DAY)
            try:
                if run.queue:
                    self._visit(run, run.queue.popleft())
                else:
                    self._judge(run)
            except ImagingStoppedError:
                return run.result(EndReason.STOPPED)
            except DayStoppedError as error:
                self._discard_withheld(error)
                return run.result(EndReason.HALTED, error)
            finally:
                self._save_ready(run)
        missing = tuple(self.watch.missing_tissue()) if self.watch else ()
        return replace(run.result(EndReason.COMPLETED), missing_tissue=missing)

    def _visit(self, run: _Run, position: WellPosition) -> None:
        """Image one well of a run, unless it is finished; a failed well is queued again."""
        plan, well = run.plan, position.well
        if self._progress(well, plan.saved_since).saved:
            return
        before = self._progress(well, plan.attempts_since)
        # Attempts are missing in the journal if the disk is full, so both are counted.
        if max(before.attempts, run.failures[well]) >= self.settings.tries:
            run.given_up[well] = run.problems.get(well) or before.last_problem or "no attempt left"
            return
        try:
            visit = self._image_well(run, position)
            if self.watch is None:
                self._save(run, visit)
            else:
                self.watch.admit(visit, position, partial(self._view, run))
        except ImagingStoppedError:
            self.journal.record_stop(well, self.clock())
            raise
        except DayStoppedError:
            raise
        except (MicroscopeError, OutputError) as error:
            self._fail(run, position, error)
        else:
            self._consecutive_failures = 0

    def _fail(
        self, run: _Run, position: WellPosition, error: MicroscopeError | OutputError
    ) -> None:
        """Record a failed attempt and queue the well again."""
        run.failures[position.well] += 1
        run.problems[position.well] = str(error)
        self._record_failure(run.plan, position, error)
        run.queue.append(position)

    def _is_unjudged(self) -> bool:
        """Return whether visits are withheld, until it is certain that a sample is there."""
        return self.watch is not None and bool(self.watch.withheld)

    def _judge(self, run: _Run) -> None:
        """Judge the visits that are withheld at the end of a run; raise DayStoppedError."""
        assert self.watch is not None  # noqa: S101 - it withholds the visits
        try:
            self.watch.judge(partial(self._view, run))
        except (DayStoppedError, ImagingStoppedError):
            raise
        except MicroscopeError as error:
            visits, self.watch.withheld[:] = self.watch.withheld[:], []
            for visit in visits:
                self._fail(run, run.position(visit.well), error)

    def _save_ready(self, run: _Run) -> None:
        """Save the visits that the watch admits, and queue the wells that it wants again."""
        if self.watch is None:
            return
        while self.watch.ready:
            visit = self.watch.ready.pop(0)
            try:
                self._save(run, visit)
            except (MicroscopeError, OutputError) as error:
                self._fail(run, run.position(visit.well), error)
        for well, problem in self.watch.take_dark().items():
            self._fail(run, run.position(well), MicroscopeError("lamp or shutter", problem))
        for well, reason in self.watch.take_repeats().items():
            self._repeat(run, well, reason)

    def _repeat(self, run: _Run, well: str, reason: str) -> None:
        """Record that the image of a well does not count, and queue the well again."""
        plan = run.plan
        self.journal.record_repeat(well, reason, self.clock())
        was_saved = well in run.saved
        self.emit(
            "well.repeated",
            plate=plan.plate,
            day=plan.day,
            well=well,
            problem=reason,
            was_saved=was_saved,
        )
        run.saved[:] = [each for each in run.saved if each != well]
        if well in {each.well for each in plan.positions}:
            run.queue.append(run.position(well))

    def _discard_withheld(self, error: DayStoppedError) -> None:
        """Discard the withheld visits; their attempts do not count."""
        self.scope.lamp_off()
        if self.watch is not None:
            for visit in self.watch.withheld:
                self.journal.record_repeat(visit.well, str(error), self.clock())
            self.watch.withheld.clear()

    def _view(self, run: _Run, position: WellPosition) -> list[Frame]:
        """Return the frames of a well at a position without saving them."""
        self.report_progress(f"well {position.well} is viewed to check the sample")
        self.scope.move_to(position.x_um, position.y_um)
        focus = run.focusing.find(position, wide=False)
        self.surface = run.focusing.surface
        return self.scope.stack(self._plane_heights(focus.z_um))

    def _progress(self, well: str, since: datetime | None) -> WellProgress:
        """Return the progress of one well, counting journal entries from ``since`` on."""
        return self.journal.progress(since).get(well, WellProgress())

    def _image_well(self, run: _Run, position: WellPosition) -> WellFrames:
        """Return the frames of one well of a run: move, focus, take the planes.

        Raises
        ------
        MicroscopeError
            If a device failed.
        OutputError
            If the journal cannot be written.
        """
        plan = run.plan
        self.journal.record_start(position.well, self.clock())
        where = f"plate {plan.plate}, day {plan.day}, well {position.well}"
        self.report_progress(f"{where} is focused")
        self.scope.move_to(position.x_um, position.y_um)
        focus = run.focusing.find(position, wide=plan.wide_scan)
        run.focus[position.well] = focus
        self.surface = run.focusing.surface
        if plan.recentre:
            self.report_progress(f"{where} is centred")
            position = self._centre_tissue(position, focus.z_um)
        self.report_progress(f"{where} is imaged")
        heights = self._plane_heights(focus.z_um)
        frames = self.scope.stack(heights)
        self.report_progress(f"{where} is checked")
        self.show_frame(position.well, frames[len(frames) // 2])
        if plan.rule is not None:
            plan.rule.check(position.well, min(frame.taken_at for frame in frames))
        return WellFrames(
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

    def _save(self, run: _Run, visit: WellFrames) -> None:
        """Save a visit in the archive, and record and report it.

        Raises
        ------
        MicroscopeError
            If the frames do not have the format of the camera.
        OutputError
            If the image or the journal cannot be written.
        """
        self.report_progress(f"well {visit.well} is saved")
        focus = run.focus[visit.well]
        file = save_visit(self.archive, visit)
        name = str(file.relative_to(self.archive))
        self.journal.record_saved(visit.well, name, self.clock())
        run.saved.append(visit.well)
        self.emit(
            "well.saved",
            plate=visit.plate,
            day=visit.day,
            well=visit.well,
            file=str(file),
            z_um=round(focus.z_um, 1),
            focus=focus.found_by.value,
            focus_verified=focus.is_verified,
        )

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


def _is_open(plan: DayPlan, at: datetime) -> bool:
    """Return whether images of the plan's culture day may be taken at a time."""
    return plan.rule is None or plan.rule.state(at) is DayState.OPEN


def outer_plane_heights(settings: MicroscopeSettings) -> tuple[float, float]:
    """Return the heights in µm of the lowest and highest plane at the settings' ``focus_z_um``."""
    reach_um = (settings.planes - 1) / 2 * settings.plane_step_um
    return settings.focus_z_um - reach_um, settings.focus_z_um + reach_um
