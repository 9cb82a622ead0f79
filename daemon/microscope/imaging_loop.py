"""The main loop of the process that drives the microscope: image the next job until a signal."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from acquisition.channels import due_channels
from acquisition.microscope.fields import check_fields, frames_per_well
from acquisition.microscope.focus_surface import load_focus_surface, save_focus_surface
from acquisition.microscope.image_archive import bytes_needed, check_free_space, prepare_day_folder
from acquisition.microscope.imaging_day import (
    DayPlan,
    DayResult,
    EndReason,
    ImagingDay,
    outer_plane_heights,
)
from acquisition.microscope.imaging_journal import day_journal, run_start
from acquisition.microscope.imaging_requests import ASKED, ImagingRequest, open_imaging_requests
from acquisition.microscope.plate_loaders import PlateLoader
from acquisition.microscope.plate_plan import check_heights, plan_positions
from acquisition.microscope.settings import MicroscopeSettings
from acquisition.ports import Microscope
from daemon.config import MicromanagerSection
from daemon.microscope.active_alerts import ActiveAlerts
from daemon.microscope.archived_plate_maps import ArchivedPlateMaps
from daemon.microscope.driver_watchdog import Watchdog
from daemon.microscope.imaging_queue import RETRY_S, ImagingJob, ImagingQueue, PlateMaps
from daemon.microscope.plate_changer import PlateChanger
from schemas.errors import MicroscopeError, OutputError, SpheroRankError
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
    watchdog: Watchdog
    stop_signals: list[int]
    wait: Callable[[float], None]
    clock: Callable[[], datetime]
    elapsed_s: Callable[[], float]
    _keep_plate_until_s: float = field(default=float("-inf"), init=False)

    def serve(self) -> None:
        """Image pending jobs until a signal arrives, then release the plate."""
        while not self.stop_signals:
            self.watchdog.report_progress("waiting")
            plate_maps = self.plate_maps.read()
            job = self._next_job(plate_maps)
            if job is not None:
                self.image(job, plate_maps[job.plate])
            else:
                if self.plate_maps.is_archive_readable:
                    self.queue.report_missed_days(plate_maps)
                self.wait(IDLE_S)
        self.release_plate()

    def image(self, job: ImagingJob, plate_map: PlateMap) -> DayResult | None:
        """Image one job of a mapped plate, and return its DayResult, or None if it cannot begin.

        A job that cannot begin raises an alert and is tried again after a minute.
        """
        try:
            plan = self._plan(job, plate_map)
            self.changer.load(job.plate)
        except SpheroRankError as error:
            if self.stop_signals:  # the wait for the plate was ended by a signal
                return None
            self.queue.postpone(job)
            self.alerts.raise_once(
                f"{job.plate} begin",
                f"plate {job.plate}, day {job.day} cannot be imaged now: {error}",
                job.plate,
            )
            return None
        if job.request is None or job.request.reason == ASKED:
            self.alerts.clear_plate(job.plate)  # problems that persist are reported again
        self.alerts.emit(
            "day.started",
            plate=job.plate,
            day=job.day,
            wells=len(plan.positions),
            reason=job.request.reason if job.request else "due",
        )
        result = self._image_day(plan)
        self.queue.record(job, result)
        if result.reason is EndReason.COMPLETED:
            self._report(job, result)
            self._keep_plate_until_s = self.elapsed_s() + self.section.linger_s
        return result

    def release_plate(self) -> None:
        """Remove the plate from the microscope; if that fails, raise an alert and retry later."""
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

    def _plan(self, job: ImagingJob, plate_map: PlateMap) -> DayPlan:
        """Return the plan of a job, checked before the first movement.

        Raises
        ------
        SpheroRankError
            If a position or height is out of reach, or the archive's disk has too little space.
        """
        request = job.request or ImagingRequest(
            plate=job.plate, day=job.day, reason="due", made_at=self.clock()
        )
        wells = request.wells or plate_map.wells_with_tissue
        positions = plan_positions(self.settings, wells)
        check_fields(positions, self.settings, self.scope.format)
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
            channels=channels,
        )

    def _image_day(self, plan: DayPlan) -> DayResult:
        """Image the wells of a plan and save the focus heights found."""
        self.watchdog.report_progress(f"plate {plan.plate} is imaged")
        day = ImagingDay(
            scope=self.scope,
            settings=self.settings,
            archive=self.archive,
            journal=day_journal(self.section.state, plan.plate, plan.day),
            surface=load_focus_surface(self.section.state, plan.plate),
            emit=self.alerts.emit,
            report_progress=self.watchdog.report_progress,
            should_stop=lambda: bool(self.stop_signals),
            wait=self.wait,
            clock=self.clock,
        )
        try:
            return day.run(plan)
        finally:
            try:
                save_focus_surface(self.section.state, plan.plate, day.surface)
            except OutputError as error:
                self.alerts.emit("focus.not_kept", plate=plan.plate, problem=str(error))

    def _report(self, job: ImagingJob, result: DayResult) -> None:
        """Report the result of a completed job; wells without an image raise an alert."""
        self.alerts.emit(
            "day.done",
            plate=job.plate,
            day=job.day,
            saved=len(result.saved),
            given_up=sorted(result.given_up),
        )
        if result.given_up:
            wells = ", ".join(sorted(result.given_up))
            last = next(iter(result.given_up.values()))
            message = (
                f"plate {job.plate}, day {job.day}: no image of {wells} after "
                f"{self.settings.tries} attempts; the last problem: {last}"
            )
            self.alerts.raise_once(f"{job.plate} day {job.day} {wells}", message, job.plate)


def build_imaging_loop(
    *,
    scope: Microscope,
    settings: MicroscopeSettings,
    section: MicromanagerSection,
    archive: Path,
    loader: PlateLoader,
    watchdog: Watchdog,
    emit: Callable[..., None],
    stop_signals: list[int],
    wait: Callable[[float], None],
    clock: Callable[[], datetime],
    elapsed_s: Callable[[], float],
) -> ImagingLoop:
    """Return the ImagingLoop of a microscope and loader, with its queue, alerts and plate changer.

    Parameters
    ----------
    loader
        Puts plates under the microscope.
    emit
        Is called with the name and fields of each event.

    The others are those of :class:`ImagingLoop`.
    """
    alerts = ActiveAlerts(emit)
    requests = open_imaging_requests(section.state)
    return ImagingLoop(
        scope=scope,
        settings=settings,
        section=section,
        archive=archive,
        plate_maps=ArchivedPlateMaps(archive, alerts, elapsed_s),
        queue=ImagingQueue(requests, section, settings.tries, alerts, clock, elapsed_s),
        changer=PlateChanger(loader, section.state / "on_stage", watchdog.report_progress),
        alerts=alerts,
        watchdog=watchdog,
        stop_signals=stop_signals,
        wait=wait,
        clock=clock,
        elapsed_s=elapsed_s,
    )
