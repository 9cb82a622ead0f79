"""The main loop of the process that drives the microscope: image the next job until a signal."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from acquisition.channels import due_channels
from acquisition.microscope.day_plan import DayPlan, DayResult, EndReason
from acquisition.microscope.day_rule import DayRule, DayState
from acquisition.microscope.day_stop import DayStoppedError
from acquisition.microscope.fields import check_fields, frames_per_well
from acquisition.microscope.focus_surface import load_focus_surface, save_focus_surface
from acquisition.microscope.image_archive import bytes_needed, check_free_space, prepare_day_folder
from acquisition.microscope.imaging_day import ImagingDay
from acquisition.microscope.imaging_journal import WellProgress, day_journal, run_start
from acquisition.microscope.imaging_requests import ASKED, ImagingRequest
from acquisition.microscope.operator_orders import PresentJob
from acquisition.microscope.plate_formats import settings_for_plate
from acquisition.microscope.plate_plan import check_heights, outer_plane_heights, plan_positions
from acquisition.microscope.plate_watch import PlateWatch, open_plate_watch
from acquisition.microscope.preview import write_latest_frame
from acquisition.microscope.scale_check import check_plate_scale
from acquisition.microscope.settings import MicroscopeSettings
from acquisition.ports import Frame, Microscope
from daemon.config_sections import MicromanagerSection
from daemon.microscope.active_alerts import ActiveAlerts
from daemon.microscope.archived_plate_maps import ArchivedPlateMaps
from daemon.microscope.driver_watchdog import Watchdog
from daemon.microscope.imaging_progress import ImagingProgress
from daemon.microscope.imaging_queue import RETRY_S, ImagingJob, ImagingQueue, PlateMaps
from daemon.microscope.imaging_reports import report_done, report_wrong_images
from daemon.microscope.order_execution import OrderExecution
from daemon.microscope.plate_changer import PlateChanger
from schemas.errors import MicroscopeError, OutputError, ScaleError, SpheroRankError
from schemas.messages import AlertKind
from schemas.plate_map import PlateMap

IDLE_S = 1.0  # pause while no job is pending


@dataclass
class ImagingLoop:
    """Images pending jobs one after the other, on one thread.

    Parameters
    ----------
    watchdog
        Ends the process if the loop reports no progress.
    stop_signals
        The numbers of the signals received; the loop ends when it is not empty.
    wait
        Waits for a number of seconds, or until a signal arrives.
    clock
        Returns the current time.
    elapsed_s
        Returns seconds that only increase.
    """

    scope: Microscope
    settings: MicroscopeSettings
    section: MicromanagerSection
    archive: Path
    plate_maps: ArchivedPlateMaps
    queue: ImagingQueue
    changer: PlateChanger
    alerts: ActiveAlerts
    orders: OrderExecution
    watchdog: Watchdog
    stop_signals: list[int]
    wait: Callable[[float], None]
    clock: Callable[[], datetime]
    elapsed_s: Callable[[], float]
    _halted: set[tuple[str, int]] = field(default_factory=set, init=False)  # plates and days
    _keep_plate_until_s: float = field(default=float("-inf"), init=False)

    def serve(self) -> None:
        """Image pending jobs until a signal arrives, then release the plate."""
        while not self.stop_signals:
            self.watchdog.report_progress("waiting")
            self.orders.take_previews()
            self.orders.hold_while_paused()
            plate_maps = self.plate_maps.read()
            job = None if self.stop_signals else self._next_job(plate_maps)
            if job is not None:
                self.image(job, plate_maps[job.plate])
            else:
                self._note_present(None)
                if self.plate_maps.is_archive_readable:
                    self.queue.report_missed_days(plate_maps)
                self.wait(IDLE_S)
        self.release_plate()

    def image(self, job: ImagingJob, plate_map: PlateMap) -> DayResult | None:
        """Image one job of a mapped plate, and return its DayResult, or None if it cannot begin.

        A job that cannot begin raises an alert and is tried again after a minute. A request for
        another day than today's culture day is ended with an alert.
        """
        run_since = run_start(plate_map.seeded_at, self.clock())

        def is_aborted() -> bool:
            return self.orders.orders.is_aborted(job.plate, job.day, job.request, run_since)

        self._note_present(PresentJob(plate=job.plate, day=job.day))
        begun = self._begin(job, plate_map, is_aborted)
        result = None
        if begun is not None:
            plan, settings, progress = begun
            result = self._image_day(plan, settings, progress, is_aborted)
            if result.reason is EndReason.STOPPED and is_aborted():
                result = replace(result, reason=EndReason.ABORTED)
            self.queue.record(job, result)
            self._close(job, plate_map, plan, result, progress)
        if not self.stop_signals:
            self._note_present(None)
        return result

    def _close(
        self,
        job: ImagingJob,
        plate_map: PlateMap,
        plan: DayPlan,
        result: DayResult,
        progress: ImagingProgress,
    ) -> None:
        """Report the end of a job, and decide what happens to it and to its plate."""
        if result.halt is not None:
            self._halt(job, plate_map, result.halt, progress)
        elif (job.plate, job.day) in self._halted:
            self._halted.discard((job.plate, job.day))
            self.alerts.clear_plate(job.plate)
        report_wrong_images(self.alerts, job, result)
        match result.reason:
            case EndReason.COMPLETED:
                report_done(self.alerts, job, result, progress, tries=self.settings.tries)
                self.queue.request_unfocused(job, plate_map, result)
                self._keep_plate_until_s = self.elapsed_s() + self.section.linger_s
            case EndReason.OTHER_DAY if plan.rule is not None:
                self._end_job(job, plan.rule)
            case EndReason.ABORTED:
                progress.emit_event("day.aborted")
                self._keep_plate_until_s = float("-inf")

    def _note_present(self, job: PresentJob | None) -> None:
        """Record the job that is being imaged, or that no job is being imaged."""
        with contextlib.suppress(OutputError):  # the order to abort then has to name the plate
            self.orders.orders.note_present(job)

    def _begin(
        self, job: ImagingJob, plate_map: PlateMap, is_aborted: Callable[[], bool]
    ) -> tuple[DayPlan, MicroscopeSettings, ImagingProgress] | None:
        """Put the plate of a job under the microscope; return its plan, settings and progress.

        None is returned if the job cannot begin, or must end.

        Parameters
        ----------
        is_aborted
            Returns True once an operator has aborted the job.
        """
        try:
            settings = settings_for_plate(self.settings, plate_map)
            plan = self._plan(job, plate_map, settings)
            progress = self._progress(job, plan)
            if self.orders.must_end(progress, is_aborted):
                return None
            self.changer.load(job.plate)
            now = self._frame_time()
        except SpheroRankError as error:
            if self.stop_signals:  # the wait for the plate was ended by a signal
                return None
            self.queue.postpone(job)
            is_scale = isinstance(error, ScaleError)
            self.alerts.raise_once(
                f"{job.plate} scale" if is_scale else f"{job.plate} begin",
                f"plate {job.plate}, day {job.day} cannot be imaged now: {error}",
                job.plate,
                AlertKind.SCALE_DISAGREES if is_scale else AlertKind.MICROSCOPE,
            )
            return None
        if (rule := plan.rule) and rule.state(now) is not DayState.OPEN:
            self._end_job(job, rule)
            return None
        is_retry = (job.plate, job.day) in self._halted
        if not is_retry and (job.request is None or job.request.reason == ASKED):
            self.alerts.clear_plate(job.plate)  # problems that persist are reported again
        progress.emit_event("day.started", wells=len(plan.positions))
        return plan, settings, progress

    def _progress(self, job: ImagingJob, plan: DayPlan) -> ImagingProgress:
        """Return the progress of a job, with the wells that the journal has as saved."""
        journal = day_journal(self.section.state, plan.plate, plan.day).progress(plan.saved_since)
        wells = [position.well for position in plan.positions]
        return ImagingProgress(
            emit=self.alerts.emit,
            plate=job.plate,
            day=job.day,
            reason=job.request.reason if job.request else "due",
            wells_total=len(wells),
            wells_saved=sum(journal.get(well, WellProgress()).saved for well in wells),
            clock=self.clock,
        )

    def _frame_time(self) -> datetime:
        """Return the present time of the clock that dates the frames."""
        return self.scope.own_time() or self.clock()

    def _end_job(self, job: ImagingJob, rule: DayRule) -> None:
        """End a job whose culture day is over or has not begun; raise an alert."""
        self.queue.postpone(job)
        with contextlib.suppress(MicroscopeError):  # it is ended after the pause
            self.queue.end_request(job, rule, self._frame_time())

    def _halt(
        self,
        job: ImagingJob,
        plate_map: PlateMap,
        fault: DayStoppedError,
        progress: ImagingProgress,
    ) -> None:
        """Raise an alert about a fault that stopped a job; the job is not complete."""
        self._halted.add((job.plate, job.day))
        plan = "it is tried again every 10 minutes"
        if job.request is not None and job.request.reason == ASKED:
            plan = "request it again after the repair"
        message = f"plate {job.plate}, day {job.day}: imaging is stopped, {plan}: {fault}"
        missing = self.queue.wells_without_image(job, plate_map)
        progress.emit_event("day.halted", fault=fault.reason, problem=str(fault), no_image=missing)
        self.alerts.raise_once(f"{job.plate} day {job.day} {fault.reason}", message, job.plate)
        self.queue.halt(job, message)

    def release_plate(self) -> None:
        """Remove the plate from the microscope; if that fails, raise an alert and retry later.

        Nothing moves during a pause: the plate is removed when the imaging is resumed.
        """
        if self.orders.is_paused:
            return
        plate = self.changer.loaded
        try:
            self.changer.unload()
        except (MicroscopeError, OutputError) as error:
            self._keep_plate_until_s = self.elapsed_s() + RETRY_S
            self.alerts.raise_once(
                f"{plate} release",
                f"plate {plate} could not be removed from the microscope, "
                f"so no other plate is loaded: {error}",
                plate,
            )

    def _next_job(self, plate_maps: PlateMaps) -> ImagingJob | None:
        """Return the job to image next; release the plate if no job is for it.

        Jobs for the plate under the microscope come first. For a while after its last well, only
        requests for this plate are imaged: its images may cause some.
        """
        loaded = self.changer.loaded
        keep_plate = loaded is not None and self.elapsed_s() < self._keep_plate_until_s
        jobs = self.queue.pending(plate_maps, scheduled=not keep_plate)
        for_loaded = [job for job in jobs if job.plate == loaded]
        if keep_plate:
            return next(iter(for_loaded), None)
        if loaded is not None and not for_loaded:
            self.release_plate()
        return next(iter(for_loaded or jobs), None)

    def _plan(self, job: ImagingJob, plate_map: PlateMap, settings: MicroscopeSettings) -> DayPlan:
        """Return the plan of a job, checked before the first movement.

        Raises
        ------
        SpheroRankError
            If a position or height is out of reach, or the archive's disk has too little space.
        """
        request = job.request or ImagingRequest(
            plate=job.plate, day=job.day, reason="due", made_at=self.clock()
        )
        plan_positions(settings, plate_map.wells_with_tissue)  # a plan has to visit all of them
        wells = request.wells or settings.plan_wells or plate_map.wells_with_tissue
        self.scope.check_unchanged()
        check_plate_scale(plate_map, self.scope.format, self.archive)
        positions = plan_positions(settings, wells)
        check_fields(positions, settings, self.scope.format)
        check_heights(self.settings, outer_plane_heights(self.settings))
        is_whole = job.request is None or request.reason == ASKED
        channels = (
            due_channels(self.settings.channels, job.day, plate_map.readout_day) if is_whole else ()
        )
        planes = [self.settings.planes, *(channel.planes for channel in channels)]
        frames = frames_per_well(self.settings, planes)
        needed = bytes_needed(self.scope.format, frames, len(positions))
        check_free_space(self.archive, needed, self.section.keep_free_bytes)
        prepare_day_folder(self.archive, job.plate, job.day)
        of_run = run_start(plate_map.seeded_at, self.clock())
        is_asked = bool(request.wells) or request.reason == ASKED
        return DayPlan(
            plate=job.plate,
            day=job.day,
            positions=positions,
            saved_since=request.made_at if request.wells else of_run,
            attempts_since=request.made_at if is_asked else of_run,
            wide_scan=request.wide,
            recentre=request.recentre,
            rule=self.queue.day_rule(job, plate_map),
            channels=channels,
        )

    def _image_day(
        self,
        plan: DayPlan,
        settings: MicroscopeSettings,
        progress: ImagingProgress,
        is_aborted: Callable[[], bool],
    ) -> DayResult:
        """Image the wells of a plan and save the focus heights found."""
        self.watchdog.report_progress(f"plate {plan.plate}, day {plan.day} is begun")
        day = ImagingDay(
            scope=self.scope,
            settings=settings,
            archive=self.archive,
            journal=day_journal(self.section.state, plan.plate, plan.day),
            surface=load_focus_surface(self.section.state, plan.plate),
            emit=progress.emit_event,
            report_progress=self.watchdog.report_progress,
            should_stop=lambda: self.orders.must_end(progress, is_aborted),
            wait=self.wait,
            clock=self.clock,
            show_frame=lambda well, frame: self._show_frame(plan, well, frame),
            watch=self._open_watch(plan, settings),
        )
        try:
            return day.run(plan)
        finally:
            try:
                save_focus_surface(self.section.state, plan.plate, day.surface)
            except OutputError as error:
                self.alerts.emit("focus.not_kept", plate=plan.plate, problem=str(error))

    def _show_frame(self, plan: DayPlan, well: str, frame: Frame) -> None:
        """Write the middle frame of a well as the newest frame of the running day."""
        with contextlib.suppress(OutputError):  # a preview is not worth the image of the well
            write_latest_frame(
                self.section.state,
                frame,
                self.scope.format.bits,
                plate=plan.plate,
                day=plan.day,
                well=well,
                now=self.clock(),
            )

    def _open_watch(self, plan: DayPlan, settings: MicroscopeSettings) -> PlateWatch | None:
        """Return the PlateWatch for a run of a plan; None if the settings switch it off."""
        if plan.rule is None:
            return None
        plate_map = plan.rule.plate_map
        return open_plate_watch(
            self.scope,
            settings,
            self.section.state,
            plate_map,
            plan.day,
            run_start(plate_map.seeded_at, self.clock()),
            recentre=plan.recentre,
        )
