"""The life of the service: start, one main loop, shutdown."""

import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import structlog

from daemon.alerts import Alerts
from daemon.crash_examination import CrashExamination
from daemon.daily import DailyPath
from daemon.deliveries import Deliveries
from daemon.free_memory import return_free_memory
from daemon.heartbeat import Heartbeat, Stopping
from daemon.image_queue import Arrival, ImageQueue
from daemon.late_calibrations import alert_about_late_calibration
from daemon.level_meter import LevelMeter
from daemon.metrics import Metrics
from daemon.microscope.day_contradictions import report_other_day
from daemon.microscope.imaging_feedback import ImagingFeedback
from daemon.microscope.wrong_images import WrongImages
from daemon.missing_images import MissingImages
from daemon.notifications import Notifications
from daemon.pipeline import ImagePath
from daemon.plate_inputs import PlateInputs
from daemon.plate_states import PlateStates
from daemon.processing_limit import ProcessingLimit
from daemon.retention import DailyPruning
from daemon.scale_check import ScaleCheck
from daemon.service_status import ServiceStatus
from daemon.source_thread import SourceThread
from daemon.specimens import Specimens
from daemon.stages import Stage
from daemon.steady_clock import ClockWatch
from schemas.errors import DamagedRowError, MachineError, ProfileError, SourceGoneError, StoreError
from schemas.machine_faults import reason_of
from schemas.messages import AlertKind
from schemas.observation import Outcome
from schemas.plate_map import PlateMap
from schemas.well_image import Rejected, WellImage
from store.ports import PlateMapStore, RankingStore

log = structlog.get_logger()

SWEEP_S = 5.0
"""Interval of the checks of disks, plate maps and plates without new images."""
TURN_S = 1.0
"""Longest wait for an image, and longest time of examining plates before the next image."""
TRIM_S = 60.0
"""Interval at which freed memory is returned to the operating system."""
STORE_RETRY_S = 5.0
"""Wait before an image whose outcome could not be committed is processed again."""


class LoopStore(PlateMapStore, RankingStore, Protocol):
    """The parts of the store that the main loop reads itself."""


@dataclass
class Service:
    """The main loop on one thread, with the parts that it drives."""

    source: SourceThread
    queue: ImageQueue
    store: LoopStore
    inputs: PlateInputs
    scales: ScaleCheck
    images: ImagePath
    days: DailyPath
    states: PlateStates
    missing_images: MissingImages
    specimens: Specimens
    deliveries: Deliveries
    pruning: DailyPruning
    notifications: Notifications
    alerts: Alerts
    metrics: Metrics
    status: ServiceStatus
    heartbeat: Heartbeat
    clock: Callable[[], datetime]
    clock_watch: ClockWatch
    notify_systemd: Callable[[str], None]
    level_meter: LevelMeter
    publish_now: Callable[[], None]  # after a commit
    crash_examination: CrashExamination
    processing_limit: ProcessingLimit
    imaging_feedback: ImagingFeedback | None = None  # None without a microscope
    wrong_images: WrongImages | None = None  # None without a microscope
    _last_sweep_s: float = float("-inf")
    _last_trim_s: float = float("-inf")
    _to_examine: deque[str] = field(default_factory=deque)  # plates that are left in this sweep
    _imaged: set[str] = field(default_factory=set)  # plates with images since their examination
    _caught_up: set[str] = field(default_factory=set)  # plates examined since the start
    _unranked: set[str] = field(default_factory=set)  # plates whose last ranking failed
    _unreadable: frozenset[str] = frozenset()  # paths of the files with an alert

    def run(self, *, once: bool = False) -> None:
        """Run until a stop signal; with ``once``, until all present images are ranked.

        Raises
        ------
        ProfileError
            With ``once``, if a plate could not be ranked because of an unexpected error.
        """
        self._start()
        while not self.heartbeat.is_stopping:
            arrivals = self._next_arrivals()
            if not self._process_together(arrivals):
                for arrival in arrivals:
                    self._process(arrival)
            if once and not (arrivals or self.status.source.pending or self._save_inputs()):
                break
            self._rank_days(arrivals[-1].item if arrivals else None, once=once)
            self.heartbeat.beat()
        if once and not self.heartbeat.is_stopping:
            with suppress(Stopping):
                self._rank_all()
        self._shut_down()
        if once and self._unranked:
            plates = ", ".join(sorted(self._unranked))
            raise ProfileError(plates, "cannot be ranked; the log has the error")

    def _start(self) -> None:
        live = self._list_plates()
        if self.imaging_feedback:
            self.imaging_feedback.catch_up(live)
        self.notify_systemd("READY=1")
        log.info(
            "service.started",
            version=self.status.version,
            encoder_id=self.status.encoder_id,
            measured_by=self.status.measured_by,
        )
        self._quarantine()

    def _quarantine(self) -> None:
        """Refuse the images that end a process, if the last process ended by a crash."""
        try:
            for refusal in self.crash_examination.quarantined(self.heartbeat.tick):
                self._process(self.queue.arrival_of(refusal))
                path = refusal.files[0].path
                self.alerts.raise_once(
                    AlertKind.IMAGE, path, f"{path}: {refusal.reason}", refusal.plate
                )
        except Stopping:
            return
        except (OSError, ValueError) as error:  # no child process can be started
            log.error("crash.not_examined", reason=str(error))

    def _next_arrivals(self) -> list[Arrival]:
        arrivals: list[Arrival] = []
        try:
            arrivals = self.queue.next(timeout_s=TURN_S)
        except SourceGoneError as error:
            self.alerts.raise_once(AlertKind.SOURCE_GONE, "source", str(error), blocks=True)
            self.heartbeat.wait(0.5)
        except StoreError as error:
            message = f"images are pending because the store cannot be read: {error}"
            self.alerts.raise_once(AlertKind.DISK, "outcomes", message, blocks=True)
            self.heartbeat.wait(STORE_RETRY_S)
        else:
            self.alerts.clear(AlertKind.SOURCE_GONE, "source")
            self.alerts.clear(AlertKind.DISK, "outcomes")
        self.status.source = self.queue.status(self.clock())
        return arrivals

    def _process_together(self, arrivals: Sequence[Arrival]) -> bool:
        """Process several images of a plate, and commit them in one transaction.

        Return False if there are fewer than two, or one of them cannot be stored: each is then
        processed alone, so that an error in one image does not undo the others.
        """
        if len(arrivals) < 2:  # noqa: PLR2004 - a group
            return False
        images = [
            (each.item, each.analysis.result)
            for each in arrivals
            if isinstance(each.item, WellImage)
        ]
        try:
            plate_map = self.inputs.plate_map(arrivals[0].plate)
            with self.processing_limit.of([file for image, _ in images for file in image.files]):
                outcomes = self.images.process_together(images, plate_map)
        except Exception as error:  # noqa: BLE001 - the boundary of each image handles it
            log.info("images.not_stored_together", images=len(images), reason=str(error))
            return False
        for arrival, outcome in zip(arrivals, outcomes, strict=True):
            self._finish(arrival, outcome, plate_map)
        return True

    def _process(self, arrival: Arrival) -> None:
        """Process one image until its outcome is committed; only then confirm it to the source."""
        item, plate = arrival.item, arrival.plate
        while not self.heartbeat.is_stopping:
            try:
                plate_map = self.inputs.plate_map(plate)
                with self.processing_limit.of(item.files):
                    outcome = self.images.process(item, arrival.analysis.result, plate_map)
            except (MachineError, DamagedRowError) as error:
                log.warning("image.postponed", plate=plate, reason=str(error))
                if isinstance(item, WellImage):
                    self.source.postpone(item, error.problem)
                return
            except StoreError as error:
                self.alerts.raise_once(
                    AlertKind.DISK,
                    "store",
                    f"an image is queued because the store does not accept it: {error}",
                    plate,
                    blocks=True,
                )
                self.heartbeat.wait(STORE_RETRY_S)
                continue
            self._finish(arrival, outcome, plate_map)
            return

    def _finish(
        self, arrival: Arrival, outcome: Outcome | Rejected, plate_map: PlateMap | None
    ) -> None:
        """Confirm an image with a committed outcome to the source, and react to it."""
        self.publish_now()
        self.alerts.clear(AlertKind.DISK, "store")
        self.source.done(arrival.item)
        took_s = time.perf_counter() - arrival.since_s
        ms = round(1000 * took_s, 1)
        if isinstance(outcome, Rejected):
            self._record(outcome, Outcome.REJECTED, ms=ms)
        else:
            self._record(arrival.item, outcome, ms=ms)
        if isinstance(arrival.item, WellImage) and outcome is Outcome.STORED:
            self._react(arrival.item, plate_map)

    def _react(self, image: WellImage, plate_map: PlateMap | None) -> None:
        """Check the scales of a stored image's plate, and request new images of its well."""
        self.scales.note(image.key.plate)
        if self.imaging_feedback and plate_map is not None:
            report_other_day(image, plate_map, self.alerts)
            self.imaging_feedback.after_image(image.key, plate_map)

    def _record(self, item: WellImage | Rejected, outcome: Outcome, *, ms: float) -> None:
        """Log the outcome of one image, and update status and metrics."""
        self.metrics.images.labels(outcome=outcome).inc()
        self.metrics.note_stage(Stage.IMAGE, ms / 1000)
        self.status.rejected_files.note_outcome(item, self.clock())
        if isinstance(item, Rejected):
            log.warning(
                "image.rejected",
                plate=item.plate,
                well=item.well,
                files=[file.path for file in item.files],
                reason=item.reason,
            )
            return
        self.status.last_image_at = self.clock()
        log.info(
            "image.stored" if outcome is Outcome.STORED else "image.duplicate",
            plate=item.key.plate,
            well=item.key.well,
            visit=item.key.visit,
            complete=item.complete,
            ms=ms,
        )

    def _rank_days(self, item: WellImage | Rejected | None, *, once: bool) -> None:
        """Rank what is due after one turn of the loop.

        A store error is retried in the next turn.
        """
        try:
            self._rank_due(item, once=once)
            self.specimens.rank_noted()
        except Stopping:
            return
        except StoreError as error:
            self.alerts.raise_once(
                AlertKind.DISK,
                "ranking",
                f"a due ranking is delayed because the store fails: {error}",
                blocks=True,
            )
            self.heartbeat.wait(STORE_RETRY_S)
        else:
            self.alerts.clear(AlertKind.DISK, "ranking")

    def _rank_due(self, item: WellImage | Rejected | None, *, once: bool) -> None:
        """Rank plates with new images when no image comes for a turn, and all plates at intervals.

        So no image waits for the examination of a plate after each image of the same plate. With
        ``once``, the first ranking of a plate waits until all images are ingested.
        """
        self._save_inputs()
        pending = self.status.source.pending
        if not pending:
            self._learn_calibrations()
        if isinstance(item, WellImage):
            self._imaged.add(item.key.plate)
        if item is None:
            for plate in sorted(self._imaged - pending.keys()):
                self._rank_when_calibrated(plate, self._awaited_lines(), once=once)
                self._imaged.discard(plate)
        if not self._to_examine and time.monotonic() - self._last_sweep_s >= SWEEP_S:
            self._begin_sweep()
        self._examine_next(once=once)

    def _begin_sweep(self) -> None:
        """Make the checks of a sweep, and list the plates to examine in it."""
        self._last_sweep_s = time.monotonic()
        self.alerts.publish_delayed()
        self.clock_watch.check()
        self.metrics.levels = self.level_meter.measure()
        self._watch_files()
        self.days.write_missing_files()
        self.specimens.write_missing_files()
        self._report_pending_plates()
        self.deliveries.check()
        self.pruning.step()
        self.notifications.check()
        imaged = self.wrong_images.plates_imaged_lately() if self.wrong_images else set()
        live = {*self._list_plates(), *imaged, *self._unranked}
        closed = self.states.next_closed()
        if closed is not None and not self._is_finished(closed):
            live.add(closed)
        self._to_examine.extend(live)
        if time.monotonic() - self._last_trim_s >= TRIM_S:
            self._last_trim_s = time.monotonic()
            return_free_memory()

    def _list_plates(self) -> list[str]:
        """Return the plates that are not closed, and update the status."""
        live = self.states.live_plates()
        self.status.plates = tuple(live)
        self.status.closed_plates = len(self.store.plates()) - len(live)
        return live

    def _is_finished(self, plate: str) -> bool:
        """Write the missing files of a closed plate, and return whether no day of it is due."""
        try:
            self._catch_up(plate)
            return self.states.is_finished(plate)
        except DamagedRowError:
            return False  # its examination reports it

    def _examine_next(self, *, once: bool) -> None:
        """Examine plates of this sweep until a turn is over; with ``once``, all of them."""
        end_s = time.monotonic() + TURN_S
        awaited = self._awaited_lines() if self._to_examine else frozenset()
        while self._to_examine and (once or time.monotonic() < end_s):
            plate = self._to_examine.popleft()
            self._rank_when_calibrated(plate, awaited, once=once)
            self._settle(plate)
            self.heartbeat.tick()

    def _settle(self, plate: str) -> None:
        """Store the state of a plate after it was examined."""
        self.specimens.rank_noted()
        if plate not in self._unranked:
            with suppress(DamagedRowError):  # the next examination of the plate reports it
                self.states.settle(plate, self._open_work(plate))

    def _open_work(self, plate: str) -> list[str]:
        """Return the work on a plate that is left, because of which it is not closed."""
        source = self.status.source
        work = {
            "the folder is not listed": not source.is_listed or source.gone is not None,
            "images are pending": plate in source.pending or plate in source.held,
            "the assay is not read": plate in source.unread_assays,
            "scales are checked": self.scales.is_checking(plate),
            "it cannot be ranked": plate in self._unranked,
            "files are not written": self.days.has_unwritten(plate),
            "its specimen is not ranked": self.specimens.has_open_work(plate),
            "it was imaged lately": self.wrong_images is not None
            and plate in self.wrong_images.plates_imaged_lately(),
        }
        return [name for name, is_open in work.items() if is_open]

    def _awaited_lines(self) -> frozenset[str | None]:
        """Return the lines whose calibration needs pending images or assays."""
        return self.days.calibrations.awaited_lines(
            self.status.source.pending.keys() | self.scales.reading,
            self.status.source.unread_assays,
        )

    def _rank_when_calibrated(
        self, plate: str, awaited: Collection[str | None], *, once: bool
    ) -> None:
        """Rank the due days of a plate; a first ranking waits for the calibration of its line.

        The first ranking of a plate fixes its method. It therefore waits while images or assays
        that the calibration needs are pending, at most until the readout deadline.
        """
        waits = once or self._is_of_line(plate, awaited)
        self._rank(plate, catching_up_since=self.status.started_at if waits else None)

    def _is_of_line(self, plate: str, lines: Collection[str | None]) -> bool:
        """Return whether a plate is of one of some cell lines."""
        if not lines:
            return False
        try:
            plate_map = self.store.plate_map(plate)
        except DamagedRowError:  # the ranking of the plate reports it
            return False
        return plate_map is not None and plate_map.line in lines

    def _report_pending_plates(self) -> None:
        for plate, reason in self.status.source.held.items():
            self.alerts.raise_once(
                AlertKind.PLATE_MAP,
                f"{plate}: {reason}",
                f"images of plate {plate} are pending: {reason}",
                plate,
            )

    def _save_inputs(self) -> bool:
        """Save plate maps and assays; return whether images are read again with a decided scale."""
        self.inputs.save_plate_maps()
        self.inputs.save_assays(self.status.source.wrong_assays)
        is_reading = self.scales.check_noted(self.status.source.pending)
        if is_reading:
            self.status.source = self.queue.status(self.clock())
        return is_reading

    def _learn_calibrations(self) -> None:
        """Learn the calibrations of new assays, and offer them for plates with final rankings."""
        for line, card in self.days.calibrations.learn_noted():
            alert_about_late_calibration(card, line, self.store, self.alerts, self.heartbeat.tick)

    def _rank_all(self) -> None:
        """Learn the new calibrations, then rank every plate (``run --once``).

        A plate whose map is present does not wait for deadlines.
        """
        self._save_inputs()
        self._watch_files()
        self._report_pending_plates()
        self._learn_calibrations()
        present = self.source.plate_maps()
        live = self.states.live_plates()
        for plate in self.store.plates():
            self._rank(plate, all_is_in=plate in present)
            self.heartbeat.tick()
        for plate in live:
            self._settle(plate)

    def _rank(
        self, plate: str, *, all_is_in: bool = False, catching_up_since: datetime | None = None
    ) -> None:
        """Rank the due days of a plate; a plate that raises an exception does not stop the others.

        It is tried again in the next sweep. A plate whose images are being measured again is not
        ranked.
        """
        if plate in self.scales.reading:
            return
        try:
            if plate not in self._caught_up:
                self._catch_up(plate)
            self._run_due(plate, all_is_in=all_is_in, catching_up_since=catching_up_since)
        except DamagedRowError as error:  # of this plate; the store works
            self._note_unranked(plate, error.problem)
        except (StoreError, Stopping):
            raise
        except Exception as error:
            if not self.alerts.is_active(AlertKind.RANKING, plate):
                log.exception("ranking.failed", plate=plate)
            self._note_unranked(plate, reason_of(error))
        else:
            self._unranked.discard(plate)
            self.alerts.clear(AlertKind.RANKING, plate)

    def _catch_up(self, plate: str) -> None:
        """Write the missing files of a plate's rankings, and note its specimens.

        The service may have ended between the commit of a ranking and this.
        """
        for ranking in self.store.rankings(plate):
            self.days.write_files(ranking)
            self.specimens.note(ranking)
        self._caught_up.add(plate)

    def _run_due(self, plate: str, *, all_is_in: bool, catching_up_since: datetime | None) -> None:
        """Rank the due days of a plate, and check whether its images are missing."""
        # Until the first listing, any image may have arrived while the service was down.
        is_waiting = plate in self.status.source.pending or not self.status.source.is_listed
        is_gone = self.status.source.gone is not None
        if self.wrong_images:
            self.wrong_images.exclude(plate)
        started_s = time.perf_counter()
        for ranking in self.days.run_due(
            plate,
            is_waiting=is_waiting,
            all_is_in=all_is_in,
            is_source_gone=is_gone,
            catching_up_since=catching_up_since,
        ):
            self.metrics.rankings.labels(final=ranking.final).inc()
            self.metrics.note_stage(Stage.RANK, time.perf_counter() - started_s)
            started_s = time.perf_counter()
            self.specimens.note(ranking)
            if self.imaging_feedback:
                self.imaging_feedback.after_ranking(ranking)
        if not is_gone:
            self.missing_images.check(plate, is_waiting=is_waiting, all_is_in=all_is_in)

    def _note_unranked(self, plate: str, reason: str) -> None:
        """Raise an alert about a plate that cannot be ranked, with the reason."""
        self._unranked.add(plate)
        self.alerts.raise_once(
            AlertKind.RANKING,
            plate,
            f"plate {plate} cannot be ranked: {reason}; it is tried again",
            plate,
        )

    def _watch_files(self) -> None:
        """Raise an alert for each file that repeatedly could not be read or processed."""
        unreadable = self.status.source.unreadable
        for path in self._unreadable.difference(unreadable):
            self.alerts.clear(AlertKind.IMAGE, path)
        self._unreadable = frozenset(unreadable)
        for path, problem in unreadable.items():
            self.alerts.raise_once(AlertKind.IMAGE, path, f"{path}: {problem}; it is tried again")

    def _shut_down(self) -> None:
        self.notify_systemd("STOPPING=1")
        signals = self.heartbeat.stop_signals
        log.info("service.stopping", signal=signals[0] if signals else None)
