"""The life of the process that drives the microscope: whatever is requested or due next, plate by plate, until a signal."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from acquisition.drop_folder.plate_map_files import read_plate_maps
from acquisition.durable_files import write_durably
from acquisition.microscope.focus import FocusSurface
from acquisition.microscope.imaging_day import (
    DayPlan,
    DayResult,
    End,
    ImagingDay,
    outermost_heights,
)
from acquisition.microscope.imaging_journal import Journal
from acquisition.microscope.imaging_requests import ASKED, ImagingRequest, open_imaging_requests
from acquisition.microscope.imaging_schedule import DayDue, due, missed
from acquisition.microscope.ome_tiff import bytes_needed, check_space, prepare
from acquisition.microscope.plate_plan import check_z, plan_positions
from acquisition.microscope.plate_presenters import Presenter
from acquisition.microscope.settings import MicroscopeSettings
from acquisition.ports import Microscope
from daemon.config import MicromanagerSection
from daemon.microscope.driver_watchdog import Watchdog
from schemas.errors import MicroscopeError, OutputError, SpheroRankError
from schemas.plate_map import PlateMap

IDLE_S = 1.0
MAPS_S = 10.0  # so old may plate maps be: to look for them is to list the whole archive
AGAIN_S = 60.0  # what could not begin is tried again after this long
WITHOUT_MAP = timedelta(
    days=2
)  # a request waits so long for its plate's map: one that is being mended, or a share that is to be mounted again


@dataclass(frozen=True)
class Job:
    """A plate's day, or wells of it, to be imaged now."""

    plate: str
    day: int
    request: ImagingRequest | None = None  # None: the schedule's
    name: str = ""  # the file of the request


@dataclass
class AcquisitionLoop:
    """Images what is requested or due. One thread; ``watchdog`` sees that it goes on."""

    scope: Microscope
    settings: MicroscopeSettings
    section: MicromanagerSection
    archive: Path
    presenter: Presenter
    watchdog: Watchdog
    tell: Callable[..., None]
    stop_notes: list[int]
    wait: Callable[[float], None]  # so many seconds, or until there is a note
    clock: Callable[[], datetime]
    seconds: Callable[[], float]  # that only ever grow
    _on_stage: str | None = field(init=False)
    _is_left: bool = field(
        init=False
    )  # by a crash: it is fetched anew, as it may have been moved by hand since
    _linger_until_s: float = field(default=float("-inf"), init=False)
    _ended: dict[tuple[str, int], set[str]] = field(
        default_factory=dict, init=False
    )  # the wells of a day with which nothing more is done
    _last_day: dict[str, int] = field(default_factory=dict, init=False)
    _not_before_s: dict[Job, float] = field(default_factory=dict, init=False)
    _missed: set[tuple[str, int]] = field(default_factory=set, init=False)
    _standing: dict[str, str | None] = field(
        default_factory=dict, init=False
    )  # causes of alerts, each with its plate
    _maps: dict[str, PlateMap] = field(default_factory=dict, init=False)
    _maps_until_s: float = field(default=float("-inf"), init=False)

    def __post_init__(self) -> None:
        self.requests = open_imaging_requests(self.section.state)
        self._stage_note = (
            self.section.state / "on_stage"
        )  # which plate lies there outlives a crash: an arm must not put another one on top
        self._on_stage = (
            (self._stage_note.read_text(encoding="utf-8") or None)
            if self._stage_note.exists()
            else None
        )
        self._is_left = self._on_stage is not None

    def serve(self) -> None:
        """Go on until a signal's note arrives."""
        while not self.stop_notes:
            self.watchdog.step("waiting")
            maps = self._plate_maps()
            job = self._next(maps)
            if job is not None:
                self.do(job, maps[job.plate])
            else:
                if "archive" not in self._standing:
                    self._tell_missed(maps)
                self.wait(IDLE_S)
        self.release()

    def do(self, job: Job, plate_map: PlateMap) -> DayResult | None:
        """Image one job; None if it could not begin, which is told, and tried again later."""
        try:
            plan = self._plan(job, plate_map)
            self._present(job.plate)
        except SpheroRankError as error:
            if self.stop_notes:
                return None  # it was on its way
            self._not_before_s[job] = self.seconds() + AGAIN_S
            self._alert(
                f"{job.plate} begin",
                f"plate {job.plate}, day {job.day} cannot be imaged now: {error}",
                job.plate,
            )
            return None
        if job.request is None or job.request.reason == ASKED:
            self._clear_all_of(job.plate)  # what is still wrong with it will be said anew
        self.tell(
            "day.started",
            plate=job.plate,
            day=job.day,
            wells=len(plan.positions),
            reason=job.request.reason if job.request else "due",
        )
        result = self._image(plan)
        self._last_day[job.plate] = job.day
        if result.end is End.DONE:
            self._finish(job, result)
            self._linger_until_s = self.seconds() + self.section.linger_s
        return result

    def release(self) -> None:
        """Let the plate that is under the microscope be taken away; if it stays there, that is told, and tried again later."""
        plate = self._on_stage
        try:
            self._take_away()
        except (MicroscopeError, OutputError) as error:
            self._linger_until_s = self.seconds() + AGAIN_S
            self._alert(
                f"{plate} release",
                f"plate {plate} could not be taken from the microscope, and no other is put there: {error}",
                plate,
            )

    # What comes next.

    def _next(self, maps: Mapping[str, PlateMap]) -> Job | None:
        """Return the oldest request, else what the schedule has; while a plate lingers, only requests for it."""
        lingers = self._on_stage is not None and self.seconds() < self._linger_until_s
        jobs = [*self._requested(maps), *(() if lingers else self._due(maps))]
        ready = [
            job for job in jobs if self._not_before_s.get(job, float("-inf")) <= self.seconds()
        ]
        here = [job for job in ready if job.plate == self._on_stage]
        if lingers:
            return next(iter(here), None)
        if self._on_stage is not None and not here:
            self.release()
        return next(iter(here or ready), None)

    def _requested(self, maps: Mapping[str, PlateMap]) -> list[Job]:
        jobs = []
        for name, request in self.requests.pending():
            if request.plate not in maps:
                if self.clock() - request.made_at > WITHOUT_MAP:
                    self.requests.drop(
                        name,
                        f"plate {request.plate} has had no valid plate map in {self.archive} for {WITHOUT_MAP.days} days",
                    )
            elif request.reason != ASKED and not self._is_today(request, maps[request.plate]):
                self.requests.drop(name, f"day {request.day} of plate {request.plate} is past")
            else:
                jobs.append(Job(request.plate, request.day, request, name))
        return jobs

    def _is_today(self, request: ImagingRequest, plate_map: PlateMap) -> bool:
        """Return whether the plate is of this day still, by the calendar or because that is the day it was imaged last."""
        return request.day == self._last_day.get(request.plate, plate_map.culture_day(self.clock()))

    def _due(self, maps: Mapping[str, PlateMap]) -> list[Job]:
        section = self.section
        today = due(
            maps,
            self.clock(),
            acquire_at=section.acquire_at,
            days=section.acquire_days,
            done=lambda _plate, _day: False,
        )
        waiting = [each for each in today if not self._is_done(maps, each.plate, each.day)]
        if section.present == "always" and self._could_be_another(waiting, today):
            return []
        return [Job(each.plate, each.day) for each in waiting]

    def _could_be_another(self, waiting: list[DayDue], today: list[DayDue]) -> bool:
        """Return whether nobody can know which plate lies under the microscope, as several are due that nobody puts there; it is told."""
        hours = {each.since for each in waiting}
        plates = sorted({each.plate for each in today if each in waiting or each.since in hours})
        if len(plates) < 2:  # noqa: PLR2004 - several
            self._clear("which plate")
            return False
        message = (
            f"plates {', '.join(plates)} are to be imaged, and nothing says which of them lies under the microscope, so none is: "
            "image each by hand (spherorank acquire run ID --day N), give each an acquire_at of its own in its plate.toml, "
            'or set source.micromanager.present to "ready_file" or a command'
        )
        self._alert("which plate", message, None)
        return True

    def _tell_missed(self, maps: Mapping[str, PlateMap]) -> None:
        section = self.section
        found = missed(
            maps,
            self.clock(),
            acquire_at=section.acquire_at,
            days=section.acquire_days,
            done=partial(self._is_done, maps),
        )
        before, self._missed = self._missed, {(each.plate, each.day) for each in found}
        for plate, day in sorted(self._missed - before):
            self.tell("plate.missed", plate=plate, day=day)
            self._alert(
                f"{plate} missed {day}",
                f"plate {plate} was not imaged on day {day}, or not all of it",
                plate,
            )
        for plate in {plate for plate, _ in before} - {plate for plate, _ in self._missed}:
            self._clear_all_of(
                plate
            )  # it was imaged after all, or so long ago that nothing can be done

    def _is_done(self, maps: Mapping[str, PlateMap], plate: str, day: int) -> bool:
        """Return whether each well of a day was ended in this life, or before it by the journal, so that no plate is asked for in vain."""
        wells, ended = (
            set(maps[plate].wells_with_tissue),
            self._ended.setdefault((plate, day), set()),
        )
        if wells - ended:
            known = journal_of(self.section, plate, day).state()
            ended.update(
                well for well in wells if well in known and known[well].is_over(self.settings.tries)
            )
        return wells <= ended

    # One job.

    def _plan(self, job: Job, plate_map: PlateMap) -> DayPlan:
        """Say which wells are gone to; raises where a place makes no sense or the disk is too small, before the first move."""
        request = job.request or ImagingRequest(
            plate=job.plate, day=job.day, reason="due", made_at=self.clock()
        )
        wells = request.wells or plate_map.wells_with_tissue
        positions = plan_positions(self.settings, wells)
        check_z(self.settings, outermost_heights(self.settings))
        check_space(
            self.archive,
            bytes_needed(self.scope.format, self.settings.planes, len(positions)),
            self.section.keep_free_bytes,
        )
        prepare(self.archive, job.plate, job.day)
        return DayPlan(
            plate=job.plate,
            day=job.day,
            positions=positions,
            saved_since=request.made_at if request.wells else None,
            tried_since=request.made_at if request.wells or request.reason == ASKED else None,
            wide=request.wide,
            recentre=request.recentre,
        )

    def _present(self, plate: str) -> None:
        if self._on_stage == plate and not self._is_left:
            return
        self._take_away()
        self.watchdog.step(f"plate {plate} is put under the microscope")
        self.presenter.present(plate)
        self._on_stage = plate
        write_durably(self._stage_note, plate.encode())

    def _take_away(self) -> None:
        if self._on_stage is not None:
            self.watchdog.step(f"plate {self._on_stage} is taken from the microscope")
            self.presenter.release(self._on_stage)
            self._on_stage, self._is_left = None, False
            write_durably(self._stage_note, b"")

    def _image(self, plan: DayPlan) -> DayResult:
        surface = self.section.state / "focus" / f"{plan.plate}.json"
        day = ImagingDay(
            scope=self.scope,
            settings=self.settings,
            archive=self.archive,
            journal=journal_of(self.section, plan.plate, plan.day),
            surface=_remembered(surface),
            tell=self._tell_of_day,
            step=self.watchdog.step,
            should_stop=lambda: bool(self.stop_notes),
            wait=self.wait,
            clock=self.clock,
        )
        try:
            return day.run(plan)
        finally:
            try:
                write_durably(surface, day.surface.to_json().encode())
            except OutputError as error:
                self.tell("focus.not_kept", plate=plan.plate, problem=str(error))

    def _finish(self, job: Job, result: DayResult) -> None:
        """Take the job off the list, and name the wells that it leaves without an image."""
        if job.request is not None:
            self.requests.finish(job.name)
        if job.request is None or not job.request.wells:
            self._ended.setdefault((job.plate, job.day), set()).update(
                result.saved, result.given_up
            )
        self.tell(
            "day.done",
            plate=job.plate,
            day=job.day,
            saved=len(result.saved),
            given_up=sorted(result.given_up),
        )
        if result.given_up:
            wells = ", ".join(sorted(result.given_up))
            last = next(iter(result.given_up.values()))
            message = f"plate {job.plate}, day {job.day}: no image of {wells} after {self.settings.tries} tries; the last problem: {last}"
            self._alert(f"{job.plate} day {job.day} {wells}", message, job.plate)

    def _plate_maps(self) -> dict[str, PlateMap]:
        """Return the valid maps of late; those that are wrong the service tells of."""
        if self.seconds() >= self._maps_until_s:
            try:
                found = read_plate_maps(self.archive)
            except SpheroRankError as error:
                self._alert("archive", f"the archive cannot be read: {error}", None)
                found = {}
            else:
                self._clear("archive")
            self._maps = {
                plate: plate_map
                for plate, plate_map in found.items()
                if isinstance(plate_map, PlateMap)
            }
            self._maps_until_s = self.seconds() + MAPS_S
        return self._maps

    # What is told.

    def _tell_of_day(self, event: str, **fields: Any) -> None:  # noqa: ANN401 - whatever an event has
        if event == "alert":
            self._standing[fields["cause"]] = fields["plate"]
        self.tell(event, **fields)

    def _alert(self, cause: str, message: str, plate: str | None) -> None:
        if cause not in self._standing:
            self._tell_of_day("alert", kind="microscope", cause=cause, message=message, plate=plate)

    def _clear(self, cause: str) -> None:
        if cause in self._standing:
            del self._standing[cause]
            self.tell("alert.cleared", kind="microscope", cause=cause)

    def _clear_all_of(self, plate: str) -> None:
        for cause in [cause for cause, of in self._standing.items() if of == plate]:
            self._clear(cause)


def journal_of(section: MicromanagerSection, plate: str, day: int) -> Journal:
    """Return what is written down of a plate's day."""
    return Journal(section.state / "journal" / f"{plate}-day{day:02d}.jsonl")


def _remembered(path: Path) -> FocusSurface:
    """Return where focus lay before; an unreadable file is as good as none."""
    try:
        return FocusSurface.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return FocusSurface()
