"""The imaging jobs that are pending: requests first, then the days that the schedule makes due."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from acquisition.channels import due_channels
from acquisition.microscope.imaging_day import DayResult, EndReason
from acquisition.microscope.imaging_journal import day_journal, run_start
from acquisition.microscope.imaging_requests import ASKED, ImagingRequest, ImagingRequests
from acquisition.microscope.imaging_schedule import ScheduledDay, due_days, missed_days
from acquisition.microscope.missing_images import finished_wells
from daemon.config import MicromanagerSection
from daemon.microscope.active_alerts import ActiveAlerts
from schemas.plate_map import PlateMap

RETRY_S = 60.0  # pause before a job that could not begin is tried again
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
    """

    def __init__(
        self,
        requests: ImagingRequests,
        section: MicromanagerSection,
        max_attempts: int,
        alerts: ActiveAlerts,
        clock: Callable[[], datetime],
        elapsed_s: Callable[[], float],
    ) -> None:
        self._requests = requests
        self._section = section
        self._max_attempts = max_attempts
        self._alerts = alerts
        self._clock = clock
        self._elapsed_s = elapsed_s
        self._finished_wells: dict[tuple[str, int], set[str]] = {}  # by plate and day
        self._last_day: dict[str, int] = {}  # the day on which a plate was imaged last
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

    def postpone(self, job: ImagingJob) -> None:
        """Leave a job that could not begin out of the pending jobs for a minute."""
        self._retry_at_s[job] = self._elapsed_s() + RETRY_S

    def record(self, job: ImagingJob, result: DayResult) -> None:
        """Record the DayResult of a job; a completed request is finished.

        Raises
        ------
        OutputError
            If the file of the request cannot be moved.
        """
        self._last_day[job.plate] = job.day
        if result.reason is not EndReason.COMPLETED:
            return
        if job.request is not None:
            self._requests.finish(job.request_file)
        if job.request is None or not job.request.wells:
            finished = self._finished_wells.setdefault((job.plate, job.day), set())
            finished.update(result.saved, result.given_up)

    def report_missed_days(self, plate_maps: PlateMaps) -> None:
        """Raise an alert for each unimaged past day of mapped plates, and clear old alerts."""
        found = missed_days(
            plate_maps,
            self._clock(),
            acquire_at=self._section.acquire_at,
            days=self._section.acquire_days,
            is_imaged=partial(self._is_imaged, plate_maps),
        )
        before, self._missed = self._missed, {(each.plate, each.day) for each in found}
        for plate, day in sorted(self._missed - before):
            self._alerts.emit("plate.missed", plate=plate, day=day)
            self._alerts.raise_once(
                f"{plate} missed {day}",
                f"plate {plate} was not imaged completely on day {day}",
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
            elif request.reason != ASKED and not self._is_today(request, plate_maps[plate]):
                self._requests.drop(file, f"day {request.day} of plate {plate} is past")
            else:
                jobs.append(ImagingJob(plate, request.day, request, file))
        return jobs

    def _is_today(self, request: ImagingRequest, plate_map: PlateMap) -> bool:
        """Return whether a request is for the day on which the plate was imaged last.

        The calendar decides if the plate was not imaged since the start.
        """
        today = plate_map.culture_day(self._clock())
        return request.day == self._last_day.get(request.plate, today)

    def _scheduled(self, plate_maps: PlateMaps) -> list[ImagingJob]:
        """Return a job for each plate that the schedule makes due now."""
        today = due_days(
            plate_maps,
            self._clock(),
            acquire_at=self._section.acquire_at,
            days=self._section.acquire_days,
            is_imaged=lambda _plate, _day: False,
        )
        due = [each for each in today if not self._is_imaged(plate_maps, each.plate, each.day)]
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
        """Forget the finished wells and the last day of a plate; the journal still has them."""
        self._last_day.pop(plate, None)
        for of_plate, day in list(self._finished_wells):
            if of_plate == plate:
                del self._finished_wells[of_plate, day]
