"""The life of the service: startup, one loop, shutdown."""

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import structlog

from acquisition.ports import Source
from daemon.alerts import Alerts
from daemon.daily import DailyPath
from daemon.health import Metrics
from daemon.microscope.imaging_policies import Reactions
from daemon.microscope.supervisor import MicroscopeCare
from daemon.pipeline import ImagePath
from daemon.specimens import Specimens
from inference.ports import Store
from schemas.errors import SourceGoneError, StoreError
from schemas.messages import AlertKind, ServiceState, StatusData
from schemas.observation import Outcome
from schemas.well_image import Rejected, SourceStatus, WellImage

log = structlog.get_logger()

SWEEP_S = 5.0  # plates without new images, the disk and the plate maps are looked at this often
STORE_RETRY_S = 5.0  # an image whose outcome could not be committed is tried again after this long


class Stopping(Exception):  # noqa: N818 - no error: a signal's note ends long work, which is done again after the next start
    """Leaves long work in the middle."""


@dataclass(frozen=True)
class Parts:
    """What the loop drives; opened and closed by :mod:`daemon.wiring`."""

    source: Source
    store: Store
    images: ImagePath
    days: DailyPath
    specimens: Specimens
    alerts: Alerts
    metrics: Metrics
    clock: Callable[[], datetime]
    tell_systemd: Callable[[str], None]
    watched_folders: Sequence[Path]  # whose disks must not fill up
    min_free_bytes: int
    version: str
    reactions: Reactions | None = None  # where the images come from a microscope of our own
    microscope: MicroscopeCare | None = None


@dataclass
class Service:
    """One loop on one thread. Other threads only read :meth:`status` and :meth:`tick_age_s`."""

    parts: Parts
    stop_notes: list[int] = field(default_factory=list)  # signal handlers append; the loop looks
    check_talk: Callable[[], None] = lambda: (
        None
    )  # raises what ended the thread that publishes, if anything did
    _tick: float = field(default_factory=time.monotonic)
    _last_sweep: float = float("-inf")
    _source_status: SourceStatus = field(default_factory=SourceStatus)
    _started_at: datetime = field(init=False)
    _last_image_at: datetime | None = None
    _rejected: int = 0
    _kept_maps: dict[str, str] = field(
        default_factory=dict
    )  # plate: digest of the map that the store has
    _kept_assays: dict[str, str] = field(default_factory=dict)  # as its assay
    _wrong_assays: dict[str, str] = field(
        default_factory=dict
    )  # plate: what was wrong with its assay when it was last looked at

    def __post_init__(self) -> None:
        self._started_at = self.parts.clock()

    def run(self, *, once: bool = False) -> None:
        """Live until a signal's note arrives, or with ``once`` until all that is there is taken and ranked."""
        self._startup()
        while not self.stop_notes:
            item = self._next_image()
            if item is not None:
                self._take(item)
            elif once and not self._source_status.pending:
                break
            self._look_after_days(item)
            self._beat()
        if once and not self.stop_notes:
            with suppress(Stopping):
                self._rank_all()
        self._shutdown()

    def status(self) -> StatusData:
        """Return what the heartbeat and ``spherorank status`` say."""
        seen = self._source_status
        return StatusData(
            state=ServiceState.RUNNING,
            version=self.parts.version,
            encoder_id=self.parts.images.encoder.encoder_id,
            started_at=self._started_at,
            last_image_at=self._last_image_at,
            backlog=sum(seen.pending.values()),
            rejected=self._rejected,
            plates=tuple(self.parts.store.plates()),
            held=seen.held,
            source_gone=seen.gone,
            microscope=self.parts.microscope.status() if self.parts.microscope else None,
        )

    def tick_age_s(self) -> float:
        """Return how long ago the loop last came round."""
        return time.monotonic() - self._tick

    def _startup(self) -> None:
        self._rejected = len(self.parts.store.rejected())
        for plate in self.parts.store.plates():
            for ranking in self.parts.store.rankings(plate):
                self.parts.days.write_files(ranking)
                self.parts.specimens.note(ranking)
        if self.parts.reactions:
            self.parts.reactions.catch_up()
        self.parts.tell_systemd("READY=1")
        log.info(
            "service.started",
            version=self.parts.version,
            encoder_id=self.parts.images.encoder.encoder_id,
        )

    def _next_image(self) -> WellImage | Rejected | None:
        try:
            item = self.parts.source.next(timeout_s=0.5)
        except SourceGoneError as error:
            self.parts.alerts.raise_once(AlertKind.SOURCE_GONE, "source", str(error))
            self._wait(0.5)
            item = None
        else:
            self.parts.alerts.clear(AlertKind.SOURCE_GONE, "source")
        self._source_status = self.parts.source.status(self.parts.clock())
        return item

    def _take(self, item: WellImage | Rejected) -> None:
        """Process until the outcome is committed; only then tell the source."""
        started = time.perf_counter()
        plate = item.plate if isinstance(item, Rejected) else item.key.plate
        plate_map = self.parts.source.plate_maps().get(plate)
        while not self.stop_notes:
            try:
                outcome = self.parts.images.process(item, plate_map)
            except StoreError as error:
                self.parts.alerts.raise_once(
                    AlertKind.DISK,
                    "store",
                    f"an image waits because the store does not take it: {error}",
                    plate,
                )
                self._wait(STORE_RETRY_S)
                continue
            self.parts.alerts.clear(AlertKind.DISK, "store")
            self.parts.source.done(item)
            self._note(item, outcome, ms=round(1000 * (time.perf_counter() - started), 1))
            if (
                self.parts.reactions
                and plate_map
                and outcome is Outcome.STORED
                and isinstance(item, WellImage)
            ):
                self.parts.reactions.after_image(item.key, plate_map)
            return

    def _note(self, item: WellImage | Rejected, outcome: Outcome, *, ms: float) -> None:
        self.parts.metrics.images.labels(outcome=outcome).inc()
        if isinstance(item, Rejected):
            self._rejected += 1
            log.warning(
                "image.rejected",
                plate=item.plate,
                well=item.well,
                files=[file.path for file in item.files],
                reason=item.reason,
            )
            return
        self._last_image_at = self.parts.clock()
        self.parts.metrics.last_image.set(self._last_image_at.timestamp())
        stored = outcome is Outcome.STORED
        log.info(
            "image.stored" if stored else "image.duplicate",
            plate=item.key.plate,
            well=item.key.well,
            visit=item.key.visit,
            complete=item.complete,
            ms=ms,
        )

    def _look_after_days(self, item: WellImage | Rejected | None) -> None:
        try:
            self._rank_due(item)
            self.parts.specimens.rank_noted()
        except Stopping:
            return
        except StoreError as error:
            self.parts.alerts.raise_once(
                AlertKind.DISK,
                "ranking",
                f"a ranking that is due waits because of the store: {error}",
            )
            self._wait(STORE_RETRY_S)
        else:
            self.parts.alerts.clear(AlertKind.DISK, "ranking")

    def _rank_due(self, item: WellImage | Rejected | None) -> None:
        """Look at the plate of this image once its backlog is empty, and at every plate now and then."""
        self._keep_plate_maps()
        self._keep_assays()
        waiting = self._source_status.pending
        if not waiting:
            self.parts.days.calibrations.learn_noted()
        if isinstance(item, WellImage) and not waiting.get(item.key.plate):
            self._rank(item.key.plate)
        if time.monotonic() - self._last_sweep < SWEEP_S:
            return
        self._last_sweep = time.monotonic()
        self._watch_disks()
        for plate, reason in self._source_status.held.items():
            self.parts.alerts.raise_once(
                AlertKind.PLATE_MAP,
                f"{plate}: {reason}",
                f"images of plate {plate} wait: {reason}",
                plate,
            )
        for plate in self.parts.store.plates():
            self._rank(plate)

    def _keep_plate_maps(self) -> None:
        """Commit the maps that are new or mended, before any ranking looks for them."""
        for plate, plate_map in self.parts.source.plate_maps().items():
            if self._kept_maps.get(plate) != plate_map.digest:
                self.parts.store.save_plate_map(plate_map, self.parts.clock())
                self._kept_maps[plate] = plate_map.digest

    def _keep_assays(self) -> None:
        """Commit the assays that are new or corrected, and tell of wrong ones; a new one makes no new ranking by itself."""
        for plate, assay in self.parts.source.assays().items():
            if self._kept_assays.get(plate) != assay.digest:
                self.parts.store.save_assay(assay, self.parts.clock())
                self._kept_assays[plate] = assay.digest
                self.parts.days.calibrations.note(plate)
        wrong = self._source_status.wrong_assays
        for problem in set(self._wrong_assays.values()) - set(wrong.values()):
            self.parts.alerts.clear(AlertKind.ASSAY, problem)
        self._wrong_assays = wrong
        for plate, problem in wrong.items():
            self.parts.alerts.raise_once(
                AlertKind.ASSAY,
                problem,
                f"the assay of plate {plate} is not used: {problem}",
                plate,
            )

    def _rank_all(self) -> None:
        self._keep_plate_maps()
        self._keep_assays()
        for plate in self.parts.source.plate_maps():
            self._rank(plate, all_is_in=True)
        self.parts.specimens.rank_noted()

    def _rank(self, plate: str, *, all_is_in: bool = False) -> None:
        for ranking in self.parts.days.run_due(
            plate, is_waiting=plate in self._source_status.pending, all_is_in=all_is_in
        ):
            self.parts.metrics.rankings.labels(final=ranking.final).inc()
            self.parts.specimens.note(ranking)
            if self.parts.reactions:
                self.parts.reactions.after_ranking(ranking)

    def _watch_disks(self) -> None:
        for folder in self.parts.watched_folders:
            free = shutil.disk_usage(folder).free
            if free < self.parts.min_free_bytes:
                self.parts.alerts.raise_once(
                    AlertKind.DISK,
                    str(folder),
                    f"{folder}: {free:,} bytes free; expected {self.parts.min_free_bytes:,} or more",
                )
            else:
                self.parts.alerts.clear(AlertKind.DISK, str(folder))

    def tick(self) -> None:
        """Tell every few seconds of long work that the loop lives, and leave the work where a signal left a note."""
        self._beat()
        if self.stop_notes:
            raise Stopping

    def _beat(self) -> None:
        self.check_talk()
        if self.parts.microscope:
            self.parts.microscope.look()
        self._tick = time.monotonic()
        self.parts.metrics.standing_alerts.set(self.parts.alerts.standing)
        self.parts.metrics.backlog.set(sum(self._source_status.pending.values()))
        self.parts.tell_systemd("WATCHDOG=1")

    def _wait(self, seconds: float) -> None:
        """Wait without losing the heartbeat, and not past a signal's note."""
        end = time.monotonic() + seconds
        while not self.stop_notes and time.monotonic() < end:
            self._beat()
            time.sleep(0.1)

    def _shutdown(self) -> None:
        self.parts.tell_systemd("STOPPING=1")
        log.info("service.stopping", signal=self.stop_notes[0] if self.stop_notes else None)
