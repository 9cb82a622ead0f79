"""Image the wells of one plate on one culture day: move, focus, take the planes, save.

A well that fails is tried again after the other wells; no failure ends the day.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from acquisition.microscope.centring import TissueOffset, find_tissue_offset
from acquisition.microscope.day_rule import DayRule, DayState
from acquisition.microscope.day_stop import DayStoppedError
from acquisition.microscope.focus import find_focus
from acquisition.microscope.focus_surface import FocusSurface, scan_heights
from acquisition.microscope.image_archive import save_visit
from acquisition.microscope.imaging_journal import ImagingJournal, WellProgress
from acquisition.microscope.ome_tiff import WellFrames
from acquisition.microscope.plate_plan import WellPosition
from acquisition.microscope.plate_watch import PlateWatch
from acquisition.microscope.settings import Focusing, MicroscopeSettings
from acquisition.ports import Frame, Microscope
from schemas.errors import MicroscopeError, OutputError

ALERT_AFTER_FAILURES = 3  # consecutive failed wells; the fault is then not that of one well
MAX_BACKOFF = 10  # longest pause after a failure, as a multiple of ``backoff_s``
CENTRED_DISTANCE = 0.1  # field widths; tissue nearer to the middle needs no centring


class EndReason(StrEnum):
    """The reason for which the imaging of a day ended."""

    COMPLETED = "completed"  # every well was saved or given up
    STOPPED = "stopped"  # by a signal; the next start continues
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
    halt: DayStoppedError | None = None  # the fault, if the reason is HALTED
    missing_tissue: tuple[str, ...] = ()  # wells that should have tissue and have none


@dataclass
class _Run:
    """The state of one run: the wells to visit and the results so far."""

    plan: DayPlan
    queue: deque[WellPosition]
    saved: list[str] = field(default_factory=list)
    given_up: dict[str, str] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)
    problems: dict[str, str] = field(default_factory=dict)  # the last one of each well

    def result(self, reason: EndReason, halt: DayStoppedError | None = None) -> DayResult:
        """Return the DayResult of the run that ended for a reason."""
        return DayResult(reason, tuple(self.saved), self.given_up, halt)

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
        Is called before each step that may take long, so that the watchdog notices a stall.
    should_stop
        Returns True once the process is to end.
    wait
        Waits for a number of seconds.
    clock
        Returns the current time.
    watch
        Checks each visit; None: every visit is saved unchecked.
    """

    scope: Microscope
    settings: MicroscopeSettings
    archive: Path
    journal: ImagingJournal
    surface: FocusSurface
    emit: Callable[..., None]
    report_progress: Callable[[], None]
    should_stop: Callable[[], bool]
    wait: Callable[[float], None]
    clock: Callable[[], datetime]
    watch: PlateWatch | None = None
    _consecutive_failures: int = field(default=0, init=False)

    def run(self, plan: DayPlan) -> DayResult:
        """Image the wells of a DayPlan that have no image yet; return the DayResult."""
        run = _Run(plan, deque(plan.positions))
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
            visit = self._image_well(plan, position)
            if self.watch is None:
                self._save(run, visit)
            else:
                self.watch.admit(visit, position, self._view)
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
            self.watch.judge(self._view)
        except DayStoppedError:
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
        self.emit("well.repeated", plate=plan.plate, day=plan.day, well=well, problem=reason)
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

    def _view(self, position: WellPosition) -> list[Frame]:
        """Return the frames of a well at a position without saving them."""
        self.report_progress()
        self.scope.move_to(position.x_um, position.y_um)
        heights = self._plane_heights(self._focus(position, wide=False))
        self.report_progress()
        return self.scope.stack(heights)

    def _progress(self, well: str, since: datetime | None) -> WellProgress:
        """Return the progress of one well, counting journal entries from ``since`` on."""
        return self.journal.progress(since).get(well, WellProgress())

    def _image_well(self, plan: DayPlan, position: WellPosition) -> WellFrames:
        """Return the frames of one well: move, focus, take the planes.

        Raises
        ------
        MicroscopeError
            If a device failed.
        OutputError
            If the journal cannot be written.
        """
        self.journal.record_start(position.well, self.clock())
        self.report_progress()
        self.scope.move_to(position.x_um, position.y_um)
        z_um = self._focus(position, wide=plan.wide_scan)
        if plan.recentre:
            position = self._centre_tissue(position, z_um)
        self.report_progress()
        heights = self._plane_heights(z_um)
        frames = self.scope.stack(heights)
        self.report_progress()
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
            z_um=round(sum(visit.planned_z_um) / len(visit.planned_z_um), 1),
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

    def _focus(self, position: WellPosition, *, wide: bool) -> float:
        """Return the focus height in µm of the tissue at a position.

        The height is found by the autofocus device or by a coarse scan. If neither finds tissue, it
        is predicted from the other wells of the plate.
        """
        predicted_um = self.surface.predict(position.x_um, position.y_um)
        expected_um = self.settings.focus_z_um if predicted_um is None else predicted_um
        focusing = self.settings.focusing
        if focusing is Focusing.OFF:
            return expected_um
        if not wide and (
            focusing is Focusing.HARDWARE
            or (focusing is Focusing.AUTO and self.scope.has_autofocus)
        ):
            try:
                self.report_progress()
                return self._add_to_surface(position, self.scope.autofocus(expected_um))
            except MicroscopeError as error:
                self.emit("autofocus.failed", well=position.well, problem=str(error))
        for heights in self._scans(position, wide=wide):
            self.report_progress()
            frames = self.scope.stack(heights)
            focus = find_focus([frame.pixels for frame in frames], [frame.z_um for frame in frames])
            if focus.found and not focus.at_edge:
                return self._add_to_surface(position, focus.z_um)
        self.emit("focus.not_found", well=position.well, taken_um=round(expected_um, 1))
        return expected_um

    def _scans(self, position: WellPosition, *, wide: bool) -> Iterable[tuple[float, ...]]:
        """Yield the heights of the first focus scan at a position, then those of a wide scan."""
        x_um, y_um = position.x_um, position.y_um
        first = scan_heights(self.settings, self.surface, x_um, y_um, wide=wide)
        yield first
        second = scan_heights(self.settings, self.surface, x_um, y_um, wide=True)
        if second != first:
            yield second

    def _add_to_surface(self, position: WellPosition, z_um: float) -> float:
        """Add the focus height of a well to the plate's surface and return it."""
        self.surface = self.surface.with_point(position.x_um, position.y_um, z_um)
        return z_um

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
        self.report_progress()
        return find_tissue_offset(self.scope.stack([z_um])[0].pixels)


def _is_open(plan: DayPlan, at: datetime) -> bool:
    """Return whether images of the plan's culture day may be taken at a time."""
    return plan.rule is None or plan.rule.state(at) is DayState.OPEN


def outer_plane_heights(settings: MicroscopeSettings) -> tuple[float, float]:
    """Return the heights in µm of the lowest and highest plane at the settings' ``focus_z_um``."""
    reach_um = (settings.planes - 1) / 2 * settings.plane_step_um
    return settings.focus_z_um - reach_um, settings.focus_z_um + reach_um
