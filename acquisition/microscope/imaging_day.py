"""Image the wells of one plate on one culture day: move, focus, take the planes, save.

A well that fails is tried again after the other wells; no failure ends the day.
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path

from acquisition.channels import plane_heights
from acquisition.microscope.centring import TissueOffset, find_tissue_offset
from acquisition.microscope.day_plan import DayPlan, DayResult, EndReason
from acquisition.microscope.day_rule import DayState
from acquisition.microscope.day_stop import DayStoppedError
from acquisition.microscope.field_imaging import FieldImaging, WellVisit
from acquisition.microscope.fields import recentred_fields, well_fields
from acquisition.microscope.focus_surface import FocusSurface
from acquisition.microscope.image_archive import save_visit
from acquisition.microscope.imaging_journal import ImagingJournal, WellProgress
from acquisition.microscope.missing_images import missing_images
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


@dataclass
class WellImages:
    """The images of one well that are taken and not saved yet."""

    bright_field: list[WellFrames] = field(default_factory=list)  # the ranked one last
    channels: dict[str, list[WellFrames]] = field(default_factory=dict)  # by name

    @property
    def ranked(self) -> WellFrames:
        """The image that is ranked."""
        return self.bright_field[-1]


@dataclass
class _Run:
    """The state of one run: the wells to visit and the results so far."""

    plan: DayPlan
    queue: deque[WellPosition]
    focusing: WellFocusing
    focus: dict[str, WellFocus] = field(default_factory=dict)  # of each imaged well
    images: dict[str, WellImages] = field(default_factory=dict)  # by well, until they are saved
    saved: list[str] = field(default_factory=list)
    given_up: dict[str, str] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)
    problems: dict[str, str] = field(default_factory=dict)  # the last one of each well

    def result(self, reason: EndReason, halt: DayStoppedError | None = None) -> DayResult:
        """Return the DayResult of the run that ended for a reason."""
        unfocused = tuple(
            well for well in self.saved if well in self.focus and self.focus[well].is_lost
        )
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
        missing = missing_images(self.journal, [well], plan.channels, plan.saved_since)
        if not missing:
            return
        before = self._progress(well, plan.attempts_since)
        # Attempts are missing in the journal if the disk is full, so both are counted.
        if max(before.attempts, run.failures[well]) >= self.settings.tries:
            problem = run.problems.get(well) or before.last_problem or "no attempt is left"
            run.given_up |= dict.fromkeys(missing, problem)
            if well not in missing and well not in run.saved:
                run.saved.append(well)  # only a further channel is given up
            return
        try:
            self._image_well(run, position, missing)
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
                self._save(run, visit.well)
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

    def _view(self, run: _Run, position: WellPosition) -> list[WellFrames]:
        """Return the bright-field images of a well at a position without saving them."""
        focus = run.focus.get(position.well)
        visit = self._focus_well(run, position)
        if focus is not None:
            run.focus[position.well] = focus  # that of its image
        return self._fields.bright_field(visit)

    def _progress(self, well: str, since: datetime | None) -> WellProgress:
        """Return the progress of one well, counting journal entries from ``since`` on."""
        return self.journal.progress(since).get(well, WellProgress())

    def _image_well(self, run: _Run, position: WellPosition, missing: Sequence[str]) -> None:
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
        self.journal.record_start(position.well, self.clock())
        visit = self._focus_well(run, position)
        of_well = run.images[position.well] = WellImages()
        if position.well in missing:
            of_well.bright_field = self._bright_field(run, visit)
            self.show_frame(position.well, of_well.ranked.frames[len(of_well.ranked.frames) // 2])
        failure: MicroscopeError | None = None
        try:
            for channel in run.plan.channels:
                if f"{position.well} {channel.name}" in missing:
                    of_well.channels[channel.name] = self._fields.other_channel(visit, channel)
        except MicroscopeError as error:
            failure = error
        if not of_well.bright_field or self.watch is None:
            self._save(run, position.well)
        else:
            self.watch.admit(of_well.bright_field, position, partial(self._view, run))
        if failure is not None:
            raise failure

    def _focus_well(self, run: _Run, position: WellPosition) -> WellVisit:
        """Move to the field of a well with the largest tissue, focus, and return the visit."""
        plan = run.plan
        where = f"plate {plan.plate}, day {plan.day}, well {position.well}"
        self.report_progress(f"{where} is focused")
        fields = well_fields(position, self.settings, self.scope.format)
        with_tissue = self._fields.find_tissue(fields, run.focusing.expected_um(position))
        place = replace(position, x_um=with_tissue.x_um, y_um=with_tissue.y_um)
        focus = run.focusing.find(place, wide=plan.wide_scan)
        run.focus[position.well] = focus
        self.surface = run.focusing.surface
        if plan.recentre:
            self.report_progress(f"{where} is centred")
            position = self._centre_tissue(place, focus.z_um)
            fields = recentred_fields(position, fields, self.settings, self.scope.format)
        self.report_progress(f"{where} is imaged")
        return WellVisit(plan.plate, plan.day, position, fields, focus)

    def _bright_field(self, run: _Run, visit: WellVisit) -> list[WellFrames]:
        """Return the images of a visit in bright field, the ranked one last."""
        images = self._fields.bright_field(visit)
        if (rule := run.plan.rule) is not None:
            rule.check(visit.middle.well, min(image.taken_at for image in images))
        return images

    @property
    def _fields(self) -> FieldImaging:
        """The imaging of the fields of a well."""
        return FieldImaging(self.scope, self.settings, self.emit, self.report_progress)

    def _save(self, run: _Run, well: str) -> None:
        """Save the images of a well in the archive, bright field first, and record and report them.

        Raises
        ------
        MicroscopeError
            If the frames do not have the format of the camera.
        OutputError
            If an image or the journal cannot be written.
        """
        self.report_progress(f"well {well} is saved")
        plan, focus, of_well = run.plan, run.focus[well], run.images.pop(well, None)
        if of_well is None:  # a later attempt replaced and saved it
            return
        of_plate = {"plate": plan.plate, "day": plan.day, "well": well}
        z_um = round(focus.z_um, 1)
        if of_well.bright_field:
            file = self._save_images(of_well.bright_field, None)
            run.saved.append(well)
            self.emit(
                "well.saved",
                **of_plate,
                file=file,
                z_um=z_um,
                focus=focus.found_by.value,
                focus_verified=focus.is_verified,
            )
        for channel, images in of_well.channels.items():
            file = self._save_images(images, channel)
            self.emit("channel.saved", **of_plate, channel=channel, file=file, z_um=z_um)

    def _save_images(self, images: Sequence[WellFrames], channel: str | None) -> str:
        """Save images in one channel, the main one last; record it and return its path."""
        file = [save_visit(self.archive, image) for image in images][-1]
        name = str(file.relative_to(self.archive))
        self.journal.record_saved(images[-1].well, name, self.clock(), channel)
        return str(file)

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
    """Return the heights in µm of the lowest and highest plane at the settings' ``focus_z_um``.

    The planes of all channels are included.
    """
    focus_um = settings.focus_z_um
    heights = plane_heights(focus_um, settings.planes, settings.plane_step_um)
    heights += [z for channel in settings.channels for z in channel.heights(focus_um)]
    return min(heights), max(heights)
