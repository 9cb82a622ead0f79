"""Image the wells of one plate on one culture day: move, focus, take the planes, save.

A well that fails is tried again after the other wells; no failure ends the day.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path

from acquisition.microscope.centring import centre_tissue
from acquisition.microscope.day_plan import DayPlan, DayResult, EndReason
from acquisition.microscope.day_rule import DayState
from acquisition.microscope.day_stop import DayStoppedError
from acquisition.microscope.field_imaging import FieldImaging, WellVisit
from acquisition.microscope.fields import recentred_fields, well_fields
from acquisition.microscope.focus_surface import FocusSurface
from acquisition.microscope.imaging_journal import ImagingJournal, WellProgress
from acquisition.microscope.imaging_run import ImagingRun, WellImages
from acquisition.microscope.missing_images import missing_images
from acquisition.microscope.ome_tiff import WellFrames
from acquisition.microscope.plate_plan import WellPosition
from acquisition.microscope.plate_watch import PlateWatch
from acquisition.microscope.settings import Focusing, MicroscopeSettings
from acquisition.microscope.visit_saving import VisitSaving
from acquisition.microscope.well_focus import WellFocusing
from acquisition.ports import Frame, ImagingStoppedError, Microscope
from schemas.errors import MicroscopeError, OutputError

ALERT_AFTER_FAILURES = 3  # consecutive failed wells; the fault is then not that of one well
MAX_BACKOFF = 10  # longest pause after a failure, as a multiple of ``backoff_s``


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
    _where: str = field(default="", init=False)  # plate, day and well of the present visit

    def run(self, plan: DayPlan) -> DayResult:
        """Image the wells of a DayPlan that have no image yet; return the DayResult."""
        focusing = WellFocusing(
            self.scope, self.settings, plan.plate, self.surface, self.emit, self.clock
        )
        run = ImagingRun(plan, deque(plan.positions), focusing)
        while run.queue or self._is_unjudged():
            halt = None
            try:
                reason = self._step(run)
            except ImagingStoppedError:
                reason = EndReason.STOPPED
            except DayStoppedError as error:
                self._switch_lamp_off(run)
                reason, halt = EndReason.HALTED, error
            finally:
                self._save_ready(run)
            if reason is not None:
                self._discard_withheld(run)
                return run.result(reason, halt)
        missing = tuple(self.watch.missing_tissue()) if self.watch else ()
        return replace(run.result(EndReason.COMPLETED), missing_tissue=missing)

    def _step(self, run: ImagingRun) -> EndReason | None:
        """Visit the next well, or judge the withheld visits; return why the run ends, or None."""
        if self.should_stop():
            return EndReason.STOPPED
        if run.queue and self._is_open(run.plan):
            self._visit(run, run.queue.popleft())
        elif self._is_unjudged():
            self._judge(run)
        else:
            return EndReason.OTHER_DAY
        return None

    def _is_open(self, plan: DayPlan) -> bool:
        """Return whether images of the plan's culture day may be taken now.

        They may if the clock of the camera cannot be read: the time of each frame is checked, too.
        """
        try:
            now = self.scope.own_time() or self.clock()
        except MicroscopeError:
            return True
        return plan.rule is None or plan.rule.state(now) is DayState.OPEN

    def _visit(self, run: ImagingRun, position: WellPosition) -> None:
        """Image one well of a run, unless it is finished; a failed well is queued again."""
        plan, well = run.plan, position.well
        held = self._withheld_images(run, well)
        missing = missing_images(self.journal, [well], plan.channels, plan.saved_since)
        missing = [image for image in missing if image not in held]
        if not missing:
            return
        before = self._progress(well, plan.attempts_since)
        # Attempts are missing in the journal if the disk is full, so both are counted.
        if max(before.attempts, run.failures[well]) >= self.settings.tries:
            problem = run.problems.get(well) or before.last_problem or "no attempt is left"
            run.given_up |= dict.fromkeys(missing, problem)
            if well not in missing and well not in held and well not in run.saved:
                run.saved.append(well)  # only a further channel is given up
            return
        try:
            self._image_well(run, position, missing)
        except ImagingStoppedError:
            self._record(run, self.journal.record_stop, well)
            raise
        except DayStoppedError:
            if not self._withheld_images(run, well):
                self._record(run, self.journal.record_stop, well)
            raise
        except (MicroscopeError, OutputError) as error:
            self._fail(run, position, error)
        else:
            self._consecutive_failures = 0

    def _fail(
        self, run: ImagingRun, position: WellPosition, error: MicroscopeError | OutputError
    ) -> None:
        """Record a failed attempt and queue the well again."""
        run.failures[position.well] += 1
        run.problems[position.well] = str(error)
        self._record_failure(run, position, error)
        run.queue.append(position)

    def _is_unjudged(self) -> bool:
        """Return whether visits are withheld, until it is certain that a sample is there."""
        return self.watch is not None and bool(self.watch.withheld)

    def _withheld_images(self, run: ImagingRun, well: str) -> set[str]:
        """Return the withheld images of a well, by the names of :func:`missing_images`."""
        if self.watch is None or well not in {visit.well for visit in self.watch.withheld}:
            return set()
        return {well, *(f"{well} {channel}" for channel in run.images[well].channels)}

    def _judge(self, run: ImagingRun) -> None:
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

    def _save_ready(self, run: ImagingRun) -> None:
        """Save the visits that the watch admits, and queue the wells that it wants again."""
        if self.watch is None:
            return
        while self.watch.ready:
            self._save_or_fail(run, self.watch.ready.pop(0).well)
        for well, problem in self.watch.take_dark().items():
            self._fail(run, run.position(well), MicroscopeError("lamp or shutter", problem))
        for well, problem in self.watch.take_missed().items():
            self._image_once_more(run, well, problem)
        for well, reason in self.watch.take_repeats().items():
            self._repeat(run, well, reason)

    def _save_or_fail(self, run: ImagingRun, well: str) -> None:
        """Save the images of a well; if that fails, the attempt has failed."""
        try:
            self._save(run, well)
        except (MicroscopeError, OutputError) as error:
            self._fail(run, run.position(well), error)

    def _image_once_more(self, run: ImagingRun, well: str, problem: str) -> None:
        """Report a doubtful visit that is not saved, and queue its well again.

        It is one of the ``tries`` of the well, but no fault of the microscope. The image of the
        last attempt is saved.
        """
        run.failures[well] += 1
        attempts = self._progress(well, run.plan.attempts_since).attempts
        if max(attempts, run.failures[well]) >= self.settings.tries:
            self._save_or_fail(run, well)
            return
        run.problems[well] = problem
        self.emit("well.failed", plate=run.plan.plate, day=run.plan.day, well=well, problem=problem)
        self._record(run, self.journal.record_failure, well, problem)
        run.queue.append(run.position(well))

    def _repeat(self, run: ImagingRun, well: str, reason: str) -> None:
        """Record that the image of a well does not count, and queue the well again.

        In this run, it is one of the ``tries`` of the well, so that no well is repeated for ever.
        """
        plan = run.plan
        is_planned = well in {each.well for each in plan.positions}
        was_saved = is_planned and self._progress(well, plan.saved_since).saved
        if self._progress(well, None).saved:
            run.wrong_images.append(well)
        self._record(run, self.journal.record_repeat, well, reason)
        self.emit(
            "well.repeated",
            plate=plan.plate,
            day=plan.day,
            well=well,
            problem=reason,
            was_saved=was_saved,
        )
        run.saved[:] = [each for each in run.saved if each != well]
        run.failures[well] += 1
        run.problems[well] = reason
        if is_planned:
            run.queue.append(run.position(well))
        else:
            run.repeat_later.append(well)

    def _discard_withheld(self, run: ImagingRun) -> None:
        """Discard the withheld visits; their attempts do not count."""
        if self.watch is not None:
            for visit in self.watch.withheld:
                self._record(run, self.journal.record_stop, visit.well)
            self.watch.withheld.clear()

    def _switch_lamp_off(self, run: ImagingRun) -> None:
        """Switch the lamp off; raise an alert if the lamp fails."""
        plan = run.plan
        try:
            self.scope.lamp_off()
        except MicroscopeError as error:
            message = (
                f"plate {plan.plate}, day {plan.day}: the lamp cannot be switched off: {error}"
            )
            cause = f"{plan.plate} lamp"
            self.emit("alert", kind="microscope", cause=cause, message=message, plate=plan.plate)

    def _record(self, run: ImagingRun, record: Callable[..., None], *entry: str) -> None:
        """Write an entry of the journal; if that fails, report it and continue."""
        try:
            record(*entry, self.clock())
        except OutputError as error:
            of_day = {"plate": run.plan.plate, "day": run.plan.day}
            self.emit("journal.failed", **of_day, problem=str(error))

    def _view(self, run: ImagingRun, position: WellPosition) -> list[WellFrames]:
        """Return the bright-field images of a well at a position without saving them."""
        return self._fields.bright_field(self._focus_well(run, position))

    def _progress(self, well: str, since: datetime | None) -> WellProgress:
        """Return the progress of one well, counting journal entries from ``since`` on."""
        return self.journal.progress(since).get(well, WellProgress())

    def _image_well(self, run: ImagingRun, position: WellPosition, missing: Sequence[str]) -> None:
        """Image one well: move, focus, take the planes of each channel.

        Bright field is saved once the watch admits it, also if a further channel fails.

        Parameters
        ----------
        run, position
            The run, and the well with its position.
        missing
            The images to take, as :func:`missing_images` returns them.

        Raises
        ------
        MicroscopeError
            If a device failed.
        OutputError
            If the journal cannot be written.
        """
        well = position.well
        self.journal.record_start(well, self.clock())
        visit = self._focus_well(run, position)
        images = WellImages(visit.focus)
        if well in missing:
            images.bright_field = self._fields.bright_field(visit)
            self._check_day(run, images.bright_field)
            self.show_frame(well, images.ranked.frames[len(images.ranked.frames) // 2])
        failure: MicroscopeError | None = None
        try:
            for channel in run.plan.channels:
                if f"{well} {channel.name}" in missing:
                    taken = self._fields.other_channel(visit, channel)
                    self._check_day(run, taken)
                    images.channels[channel.name] = taken
        except MicroscopeError as error:
            failure = error
        if not images.bright_field and self._withheld_images(run, well):
            run.images[well].channels |= images.channels  # saved with the withheld bright field
        else:
            run.images[well] = images
            if not images.bright_field or self.watch is None:
                self._save(run, well)
            else:
                view = partial(self._view, run)
                self.watch.admit(images.bright_field, position, view, images.bytes_held)
        if failure is not None:
            raise failure

    def _focus_well(self, run: ImagingRun, position: WellPosition) -> WellVisit:
        """Move to the field of a well with the largest tissue, focus, and return the visit."""
        plan = run.plan
        self._where = where = f"plate {plan.plate}, day {plan.day}, well {position.well}"
        self.report_progress(f"{where} is focused")
        fields = well_fields(position, self.settings, self.scope.format)
        with_tissue = self._fields.find_tissue(fields, run.focusing.expected_um(position))
        place = replace(position, x_um=with_tissue.x_um, y_um=with_tissue.y_um)
        focus = run.focusing.find(place, wide=plan.wide_scan)
        self.surface = run.focusing.surface
        if plan.recentre:
            self.report_progress(f"{where} is centred")
            position = centre_tissue(self.scope, place, focus.z_um)
            fields = recentred_fields(position, fields, self.settings, self.scope.format)
        self.report_progress(f"{where} is imaged")
        return WellVisit(plan.plate, plan.day, position, fields, focus)

    def _check_day(self, run: ImagingRun, images: Sequence[WellFrames]) -> None:
        """Raise MicroscopeError if images of a well were taken on another culture day."""
        if (rule := run.plan.rule) is not None:
            rule.check(images[0].well, min(image.taken_at for image in images))

    def _save(self, run: ImagingRun, well: str) -> None:
        """Save the images of a well; errors are those of :meth:`VisitSaving.save`."""
        self.report_progress(f"well {well} is saved")
        is_searched = self.settings.focusing is not Focusing.OFF
        saving = VisitSaving(self.archive, self.journal, self.emit, self.clock, is_searched)
        saving.save(run, well)

    @property
    def _fields(self) -> FieldImaging:
        """The imaging of the fields of a well."""
        return FieldImaging(
            self.scope,
            self.settings,
            self.emit,
            lambda step: self.report_progress(f"{self._where}: {step}"),
        )

    def _record_failure(
        self, run: ImagingRun, position: WellPosition, error: MicroscopeError | OutputError
    ) -> None:
        """Report and record a failed attempt, then pause."""
        plan = run.plan
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
        # If that fails, the start of the attempt is in the journal, so it counts.
        self._record(run, self.journal.record_failure, position.well, str(error))
        self.wait(self.settings.backoff_s * min(self._consecutive_failures, MAX_BACKOFF))
