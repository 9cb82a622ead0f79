"""Carry out the orders of an operator between two wells: pause, preview, and abort."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta

from acquisition.microscope.focus_surface import FocusSurface, load_focus_surface
from acquisition.microscope.operator_orders import OperatorOrders
from acquisition.microscope.plate_formats import settings_for_plate
from acquisition.microscope.preview import Preview, take_preview
from acquisition.microscope.preview_requests import PreviewRequest, PreviewRequests
from acquisition.microscope.settings import MicroscopeSettings
from acquisition.ports import Microscope
from daemon.duration_text import duration_text
from daemon.microscope.active_alerts import ActiveAlerts
from daemon.microscope.archived_plate_maps import ArchivedPlateMaps
from daemon.microscope.driver_watchdog import Watchdog
from daemon.microscope.imaging_progress import ImagingProgress
from daemon.microscope.imaging_queue import ImagingQueue
from daemon.microscope.plate_changer import PlateChanger
from schemas.errors import MicroscopeError, OutputError, SpheroRankError
from schemas.plate_map import PlateMap

CHECK_S = 1.0  # interval of the checks for new orders during a pause

ALERT_AFTER_PAUSE = timedelta(hours=1)
"""Length of a pause from which on a due day without all images raises an alert."""

ALERT_BEFORE_DAY_ENDS = timedelta(hours=2)
"""Time before the end of a culture day from which on a shorter pause raises the alert, too."""


@dataclass
class OrderExecution:
    """Carries out orders while no well is being imaged.

    Parameters
    ----------
    stop_signals
        The numbers of the signals received; they end a pause of this process.
    wait
        Waits for a number of seconds, or until a signal arrives.
    clock
        Returns the current time.
    """

    orders: OperatorOrders
    requests: PreviewRequests
    scope: Microscope
    settings: MicroscopeSettings
    queue: ImagingQueue
    plate_maps: ArchivedPlateMaps
    changer: PlateChanger
    alerts: ActiveAlerts
    watchdog: Watchdog
    stop_signals: list[int]
    wait: Callable[[float], None]
    clock: Callable[[], datetime]
    _alert_causes: set[str] = field(default_factory=set, init=False)

    @property
    def is_paused(self) -> bool:
        """True while an order to pause exists."""
        return self.orders.paused_since() is not None

    def must_end(self, progress: ImagingProgress, is_aborted: Callable[[], bool]) -> bool:
        """Carry out the orders before the next well; return whether no further well is imaged.

        The method returns after the end of a pause.
        """
        self.take_previews()
        self.hold_while_paused(progress, is_aborted)
        return bool(self.stop_signals) or is_aborted()

    def hold_while_paused(
        self,
        progress: ImagingProgress | None = None,
        is_aborted: Callable[[], bool] = lambda: False,
    ) -> None:
        """Return at once, or with the lamp off after the end of an ordered pause.

        Parameters
        ----------
        progress
            Progress of the plate that is being imaged; None without one.
        is_aborted
            Returns True once the day of this plate is aborted, which ends the wait, too.
        """
        since = self.orders.paused_since()
        if since is None:
            return
        began_at = self.clock()
        emit = progress.emit_event if progress else self._emit_between_jobs
        self._switch_lamp_off()
        emit("imaging.paused", paused_since=since.isoformat())
        confirmed = None
        while (
            (present := self.orders.paused_since()) is not None
            and not self.stop_signals
            and not is_aborted()
        ):
            if present != confirmed:  # the first order, or one that followed it at once
                confirmed = present
                with contextlib.suppress(OutputError):  # on a full disk the operator waits in vain
                    self.orders.confirm_pause(present)
            self.watchdog.report_progress("the imaging is paused")
            self.take_previews()
            self._report_days_in_danger(since)
            self.wait(CHECK_S)
        if progress:
            progress.add_pause(self.clock() - began_at)
        if not self.is_paused:
            emit("imaging.resumed", paused_since=since.isoformat())
            for cause in self._alert_causes:
                self.alerts.clear(cause)
            self._alert_causes.clear()

    def take_previews(self) -> None:
        """Take the frames that operators wait for; the answer to one that fails is the problem."""
        for name, request in self.requests.pending():
            self.watchdog.report_progress("a preview is taken")
            result: Preview | str
            try:
                surface = self._surface() if request.focus else None
                settings = self._settings_of_loaded_plate() if request.well else self.settings
                result = take_preview(self.scope, settings, request.well, surface)
            except SpheroRankError as error:
                result = str(error)
            try:
                self.requests.fulfil(name, result)
            except OutputError as error:
                self._report_unwritten(name, request, error)

    def _settings_of_loaded_plate(self) -> MicroscopeSettings:
        """Return the settings with the format of the plate under the microscope, if it is known."""
        plate_map = self.plate_maps.read().get(self.changer.loaded or "")
        return settings_for_plate(self.settings, plate_map) if plate_map else self.settings

    def _surface(self) -> FocusSurface:
        """Return the focus heights known of the plate under the microscope."""
        plate = self.changer.loaded
        return load_focus_surface(self.orders.state, plate) if plate else FocusSurface()

    def _report_unwritten(self, name: str, request: PreviewRequest, error: OutputError) -> None:
        """Report a preview that cannot be stored, and forget its request."""
        self.alerts.emit("preview.failed", well=request.well, problem=str(error))
        self.requests.forget(name)

    def _switch_lamp_off(self) -> None:
        """Switch the lamp off, or raise an alert; the lamp is on during exposures only."""
        try:
            self.scope.lamp_off()
        except MicroscopeError as error:
            self.alerts.raise_once(
                "paused lamp", f"the imaging is paused, and the lamp may be on: {error}"
            )

    def _emit_between_jobs(self, event: str, **fields: str) -> None:
        """Emit an event of a pause between two jobs, with the plate of an interrupted job."""
        job = self.orders.present_job()
        plate = job.model_dump() if job else {}
        self.alerts.emit(event, at=self.clock().isoformat(), **plate, **fields)

    def _report_days_in_danger(self, since: datetime) -> None:
        """Raise an alert for each due day that this pause may make incomplete."""
        plate_maps = self.plate_maps.read()
        now = self.clock()
        for job in self.queue.pending(plate_maps):
            day_end = _end_of_day(plate_maps[job.plate], now)
            is_whole_plate = job.request is None or not job.request.wells
            is_long = now - since >= ALERT_AFTER_PAUSE or day_end - now <= ALERT_BEFORE_DAY_ENDS
            if is_whole_plate and is_long:
                cause = f"{job.plate} paused day {job.day}"
                self._alert_causes.add(cause)
                self.alerts.raise_once(
                    cause,
                    f"plate {job.plate}, day {job.day}: wells have no image yet, and the imaging "
                    f"has been paused for {duration_text(now - since)}; the day is missed unless "
                    f"it continues (spherorank acquire resume) early enough before "
                    f"{day_end:%Y-%m-%d %H:%M}",
                    job.plate,
                )
        if self.plate_maps.is_archive_readable:
            self.queue.report_missed_days(plate_maps)


def _end_of_day(plate_map: PlateMap, now: datetime) -> datetime:
    """Return the end of the present culture day of a plate: the next midnight in its time zone."""
    zone = plate_map.seeded_at.tzinfo
    tomorrow = now.astimezone(zone).date() + timedelta(days=1)
    return datetime.combine(tomorrow, time(0), zone)
