"""The imaging jobs that are pending: requests first, then the days that the schedule makes due."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from acquisition.channels import due_channels
from acquisition.microscope.day_plan import DayResult, EndReason
from acquisition.microscope.day_rule import DayRule, DayState
from acquisition.microscope.imaging_journal import day_journal, run_start
from acquisition.microscope.imaging_requests import (
    ASKED,
    UNFOCUSED,
    ImagingRequest,
    ImagingRequests,
)
from acquisition.microscope.imaging_schedule import ScheduledDay, due_days, missed_days
from acquisition.microscope.missing_images import finished_wells, missing_images
from acquisition.microscope.operator_orders import ABORTED, OperatorOrders
from daemon.config_sections import MicromanagerSection
from daemon.microscope.active_alerts import ActiveAlerts
from schemas.errors import OutputError
from schemas.plate_map import PlateMap

RETRY_S = 60.0  # pause before a job that could not begin is tried again
HALT_RETRY_S = 600.0  # pause before a job is tried again that a fault of the whole plate stopped
WAIT_FOR_PLATE_MAP = timedelta(days=2)
"""The time for which a request waits until its plate has a valid plate map."""

PlateMaps = Mapping[str, PlateMap]  # by plate id


@dataclass(frozen=True)
class ImagingJob:
    """A culture day of a plate, or some of its wells, to be imaged now."""

    plate: str
    day: int
    request: ImagingRequest | None = None  # None: the schedule makes the day due
    request_file: str = ""  # name of the request's file


class ImagingQueue:
    """Finds the pending jobs and records the results of finished ones.

    Parameters
    ----------
    section
        The schedule: hour, days, and the way plates are put under the microscope.
    max_attempts
        Maximum number of attempts to image one well on one day.
    clock
        Returns the current time.
    elapsed_s
        Returns seconds that only increase.
    has_frame_clock
        Whether ``clock`` dates the frames. If not, the camera has a clock of its own, and the
        culture day of a request is checked when its plate is under the microscope.
    """

    def __init__(
        self,
        requests: ImagingRequests,
        section: MicromanagerSection,
        max_attempts: int,
        alerts: ActiveAlerts,
        clock: Callable[[], datetime],
        elapsed_s: Callable[[], float],
        *,
        has_frame_clock: bool = True,
    ) -> None:
        self._requests = requests
        self._orders = OperatorOrders(section.state)
        self._section = section
        self._max_attempts = max_attempts
        self._alerts = alerts
        self._clock = clock
        self._elapsed_s = elapsed_s
        self._has_frame_clock = has_frame_clock
        self._finished_wells: dict[tuple[str, int], set[str]] = {}  # by plate and day
        self._seeded_at: dict[str, datetime] = {}  # by plate, of its last map
        self._retry_at_s: dict[ImagingJob, float] = {}
        self._missed: set[tuple[str, int]] = set()  # plates and days with an active alert

    def pending(self, plate_maps: PlateMaps, *, scheduled: bool = True) -> list[ImagingJob]:
        """Return the jobs of mapped plates that can begin now: requests, then due days.

        Parameters
        ----------
        scheduled
            Whether to include the days that the schedule makes due.
        """
        jobs = self._requested(plate_maps)
        if scheduled:
            jobs += self._scheduled(plate_maps)
        now_s = self._elapsed_s()
        return [job for job in jobs if self._retry_at_s.get(job, float("-inf")) <= now_s]

    def postpone(self, job: ImagingJob, pause_s: float = RETRY_S) -> None:
        """Leave a job that cannot begin out of the pending jobs, for a minute by default."""
        self._retry_at_s[job] = self._elapsed_s() + pause_s

    def halt(self, job: ImagingJob, message: str) -> None:
        """Handle a job that a fault of the whole plate stopped.

        The request of an operator is ended with a message: the operator repeats it after the
        repair. Any other job is tried again after ten minutes.

        Raises
        ------
        OutputError
            If the file of the request cannot be moved.
        """
        if job.request is not None and job.request.reason == ASKED:
            self._requests.drop(job.request_file, message)
        self.postpone(job, HALT_RETRY_S)

    def record(self, job: ImagingJob, result: DayResult) -> None:
        """Record the DayResult of a job; a completed request is finished.

        Wells whose image was found not to count make their day due again.

        Raises
        ------
        OutputError
            If the file of the request cannot be moved.
        """
        finished = self._finished_wells.setdefault((job.plate, job.day), set())
        finished.difference_update(result.repeat_later)
        if result.reason is not EndReason.COMPLETED:
            return
        if job.request is not None:
            self._requests.finish(job.request_file)
        if job.request is None or not job.request.wells:
            finished.update(result.saved, result.given_up)

    def request_unfocused(self, job: ImagingJob, plate_map: PlateMap, result: DayResult) -> None:
        """Request another image of each well whose focus was not found, at most once a day.

        A request that cannot be stored raises an alert.
        """
        since = run_start(plate_map.seeded_at, self._clock())
        for well in result.unfocused:
            request = ImagingRequest(
                plate=job.plate,
                day=job.day,
                wells=(well,),
                reason=UNFOCUSED,
                wide=True,
                made_at=self._clock(),
            )
            day = {"plate": job.plate, "day": job.day}
            try:
                if self._requests.add(request, since):
                    self._alerts.emit("image.requested", **day, wells=[well], reason=UNFOCUSED)
            except OutputError as error:
                message = f"plate {job.plate}, day {job.day}: a second image of {well}, whose focus"
                self._alerts.raise_once(
                    f"{job.plate} unfocused",
                    f"{message} was not found, cannot be requested: {error}",
                    job.plate,
                )

    def is_aborted(
        self,
        plate_maps: PlateMaps,
        plate: str,
        day: int,
        request: ImagingRequest | None = None,
    ) -> bool:
        """Return whether an operator aborted a day of a mapped plate, or a request for it."""
        since = run_start(plate_maps[plate].seeded_at, self._clock())
        return self._orders.is_aborted(plate, day, request, since)

    def report_missed_days(self, plate_maps: PlateMaps) -> None:
        """Raise an alert for each unimaged past day of mapped plates, and clear old alerts."""
        found = missed_days(
            plate_maps,
            self._clock(),
            acquire_at=self._section.acquire_at,
            days=self._section.acquire_days,
            is_imaged=lambda plate, day: (
                self.is_aborted(plate_maps, plate, day) or self._is_imaged(plate_maps, plate, day)
            ),
        )
        before, self._missed = self._missed, {(each.plate, each.day) for each in found}
        for plate, day in sorted(self._missed - before):
            wells = self.wells_without_image(ImagingJob(plate, day), plate_maps[plate])
            self._alerts.emit("plate.missed", plate=plate, day=day, wells=wells)
            self._alerts.raise_once(
                f"{plate} missed {day}",
                f"plate {plate} was not imaged completely on day {day}: "
                f"no image of {', '.join(wells)}",
                plate,
            )
        for plate in {plate for plate, _ in before} - {plate for plate, _ in self._missed}:
            self._alerts.clear_plate(plate)  # it was imaged later, or the day is long past

    def _requested(self, plate_maps: PlateMaps) -> list[ImagingJob]:
        """Return a job for each request that can be fulfilled; drop requests that never can."""
        jobs = []
        for file, request in self._requests.pending():
            plate = request.plate
            if plate not in plate_maps:
                if self._clock() - request.made_at > WAIT_FOR_PLATE_MAP:
                    days = WAIT_FOR_PLATE_MAP.days
                    self._requests.drop(
                        file, f"plate {plate} had no valid plate map in the archive for {days} days"
                    )
                continue
            if self.is_aborted(plate_maps, plate, request.day, request):
                self._requests.drop(file, ABORTED)
                continue
            job = ImagingJob(plate, request.day, request, file)
            if not self._has_frame_clock:
                jobs.append(job)
                continue
            rule = self.day_rule(job, plate_maps[plate])
            if rule.state(now := self._clock()) is DayState.OPEN:
                jobs.append(job)
            else:
                self.end_request(job, rule, now)
        return jobs

    def day_rule(self, job: ImagingJob, plate_map: PlateMap) -> DayRule:
        """Return the DayRule of a job; its day is started if the journal has an attempt."""
        journal = day_journal(self._section.state, job.plate, job.day)
        since = run_start(plate_map.seeded_at, self._clock())
        return DayRule(plate_map, job.day, lambda: bool(journal.progress(since)))

    def end_request(self, job: ImagingJob, rule: DayRule, now: datetime) -> None:
        """Drop the request of a job whose day is not open, and raise an alert with its wells.

        A request stays pending if it was made on its day and the clock was set back since. A job of
        the schedule has no request; its alert is that of a missed day.

        Raises
        ------
        OutputError
            If the file of the request cannot be moved.
        """
        request, plate_map = job.request, rule.plate_map
        wells = self.wells_without_image(job, plate_map)
        message = f"{rule.describe(now)}; no image of {', '.join(wells) or 'further wells'}"
        cause = f"{job.plate} missed {job.day}"
        if request is not None:
            cause += f", {job.request_file}"
            if (
                rule.state(now) is DayState.NOT_BEGUN
                and plate_map.culture_day(request.made_at) == job.day
            ):
                message += f"; the request ({request.reason}) waits until day {job.day} begins"
            else:
                message += f"; the request ({request.reason}) is ended, because images are taken "
                message += "only on their own day"
                self._requests.drop(job.request_file, message)
        if not self._alerts.is_active(cause):
            self._alerts.emit(
                "day.ended",
                plate=job.plate,
                day=job.day,
                reason=rule.state(now),
                no_image=wells,
            )
        self._alerts.raise_once(cause, message, job.plate)

    def wells_without_image(self, job: ImagingJob, plate_map: PlateMap) -> list[str]:
        """Return the images of a job that are missing: the wells, then a well and its channel.

        The journal of the day tells it. A channel besides bright field is imaged only if the
        whole day is due or an operator asked.
        """
        request = job.request
        wells = (request.wells if request else ()) or plate_map.wells_with_tissue
        since = run_start(plate_map.seeded_at, self._clock())
        if request is not None and request.wells:
            since = request.made_at
        has_channels = request is None or request.reason == ASKED
        due = due_channels(self._section.channels, job.day, plate_map.readout_day)
        journal = day_journal(self._section.state, job.plate, job.day)
        return missing_images(journal, wells, due if has_channels else (), since)

    def _scheduled(self, plate_maps: PlateMaps) -> list[ImagingJob]:
        """Return a job for each plate that the schedule makes due now."""
        today = due_days(
            plate_maps,
            self._clock(),
            acquire_at=self._section.acquire_at,
            days=self._section.acquire_days,
            is_imaged=lambda _plate, _day: False,
        )
        due = [
            each
            for each in today
            if not self._is_imaged(plate_maps, each.plate, each.day)
            and not self.is_aborted(plate_maps, each.plate, each.day)
        ]
        if self._section.present == "always" and self._is_plate_ambiguous(due, today):
            return []
        return [ImagingJob(each.plate, each.day) for each in due]

    def _is_plate_ambiguous(
        self, due: Sequence[ScheduledDay], today: Sequence[ScheduledDay]
    ) -> bool:
        """Return whether several plates are due at one hour, and raise an alert if so.

        With ``present = "always"`` nothing tells which of them is under the microscope.

        Parameters
        ----------
        due
            The days that are not imaged yet.
        today
            All days whose hour has come today.
        """
        hours = {each.since for each in due}
        plates = sorted({each.plate for each in today if each in due or each.since in hours})
        if len(plates) < 2:  # noqa: PLR2004 - several
            self._alerts.clear("which plate")
            return False
        message = (
            f"plates {', '.join(plates)} are due, and it is unknown which of them is under the "
            "microscope, so none is imaged: "
            "image each by hand (spherorank acquire run ID --day N), "
            "set different values of acquire_at in their plate.toml files, "
            'or set source.micromanager.present to "ready_file" or a command'
        )
        self._alerts.raise_once("which plate", message)
        return True

    def _is_imaged(self, plate_maps: PlateMaps, plate: str, day: int) -> bool:
        """Return whether every well of a plate with tissue is finished on a culture day.

        Wells that an earlier process finished are read from the journal.
        """
        wells = set(plate_maps[plate].wells_with_tissue)
        seeded_at = plate_maps[plate].seeded_at
        if self._seeded_at.setdefault(plate, seeded_at) != seeded_at:  # perhaps another run
            self._forget(plate)
            self._seeded_at[plate] = seeded_at
        finished = self._finished_wells.setdefault((plate, day), set())
        if wells - finished:
            since = run_start(seeded_at, self._clock())
            journal = day_journal(self._section.state, plate, day)
            channels = due_channels(self._section.channels, day, plate_maps[plate].readout_day)
            finished |= wells & finished_wells(journal, channels, since, self._max_attempts)
        return wells <= finished

    def _forget(self, plate: str) -> None:
        """Forget the finished wells of a plate; the journal still has them."""
        for of_plate, day in list(self._finished_wells):
            if of_plate == plate:
                del self._finished_wells[of_plate, day]
