"""The drop folder as a source of well images. It only ever lists and reads: the folder is the robot's."""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TypeVar

from acquisition.drop_folder.assay_files import AssayFiles
from acquisition.drop_folder.file_events import FileEvents, WatchdogEvents
from acquisition.drop_folder.image_reading import (
    FileResult,
    ImageLimits,
    RawImage,
    read_time,
    read_versions,
)
from acquisition.drop_folder.listing import list_files
from acquisition.drop_folder.naming import NameReading, compile_pattern, is_image_name
from acquisition.drop_folder.plate_map_files import PlateMapFiles
from acquisition.drop_folder.settling import (
    SeenFile,
    SettlingRules,
    announced_by_markers,
    observe,
    ready_at_s,
)
from acquisition.drop_folder.visits import (
    PlacedFile,
    Take,
    culture_day,
    gather,
    of_one_field,
    well_image,
)
from acquisition.ports import FileLedger
from schemas.assay import Assay
from schemas.errors import ImageError, SourceGoneError
from schemas.plate_map import PlateMap
from schemas.well_image import FileVersion, Rejected, SourceStatus, WellImage

READERS = 2
READ_AHEAD = 3  # well images: enough that the encoder never waits for the disk, few enough to bound the memory
REST_PER_LISTING = 9  # listings take at most a tenth of the time, however many files there are and however often events wake us

Result = TypeVar("Result")


@dataclass(frozen=True)
class DropFolderSettings:
    """What an operator sets; ``once``: nothing more will come, so take incomplete well images as soon as their files settled."""

    path: Path
    pattern: str
    planes: int = 3
    settle_s: float = 2.0
    poll_s: float = 5.0
    plane_timeout_s: float = 60.0
    plate: str | None = None  # where neither the pattern nor a folder names it
    bits: int | None = None  # of a uint16 pixel; None: by the well image's own maximum
    field: int | None = None  # the one to take; None: each well's lowest
    max_pixels: int = ImageLimits.max_pixels
    max_file_bytes: int = ImageLimits.max_file_bytes
    once: bool = False


@dataclass(frozen=True)
class _Reading:
    """A well image that is being read."""

    take: Take
    listed_s: float  # the listing by which it was ready
    results: Future[tuple[FileResult, ...]]


class DropFolder:
    """A :class:`acquisition.ports.Source`. See ``docs/reference/drop-folder.md`` for when files are whole and well images ready.

    With ``once``, everything that was there has been handed out when :meth:`next` returns None and ``status().pending`` is empty; images that are
    held for want of a plate map are not pending.

    Parameters
    ----------
    settings
        What an operator sets.
    ledger
        Which versions of files ended in an earlier life.
    clock
        Seconds that only ever grow.
    events, pool, wait
        How file events come, where files are read, and how to wait for some seconds or until woken.

    Raises
    ------
    ConfigError
        If the pattern is wrong.
    """

    def __init__(
        self,
        settings: DropFolderSettings,
        ledger: FileLedger,
        *,
        clock: Callable[[], float] = time.monotonic,
        events: FileEvents | None = None,
        pool: Executor | None = None,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        self._settings = settings
        self._root = settings.path
        self._pattern = compile_pattern(settings.pattern)
        self._rules = SettlingRules(
            settings.planes, settings.settle_s, settings.plane_timeout_s, once=settings.once
        )
        self._limits = ImageLimits(
            max_pixels=settings.max_pixels, max_file_bytes=settings.max_file_bytes
        )
        self._clock = clock
        self._wake = threading.Event()
        self._wait = wait or self._wake.wait
        self._events = events or WatchdogEvents()
        self._pool = pool or ThreadPoolExecutor(READERS, thread_name_prefix="read")
        self._maps = PlateMapFiles(settings.path)
        self._assays = AssayFiles(settings.path)
        # The listing, and what was learnt of it.
        self._files: dict[str, SeenFile] = {}
        self._names: dict[str, NameReading | ImageError] = {}
        self._listed_s = 0.0
        self._list_again_s = float("-inf")
        self._rest_until_s = float("-inf")
        self._watched: tuple[int, int] | None = (
            None  # device and inode of the folder that events come from
        )
        self._gone: SourceGoneError | None = None
        # Versions of files: what happened to them.
        self._taken = set(ledger.ended_files())
        self._taken_paths = {version.path for version in self._taken}
        self._announced: set[FileVersion] = set()
        self._distrusted: set[FileVersion] = set()  # announced as whole, and could not be decoded
        self._refused: set[FileVersion] = set()  # cannot be decoded: no part of any well image
        self._pages: dict[FileVersion, int] = {}
        self._times: dict[
            FileVersion, Future[datetime | None]
        ] = {}  # where the name does not tell the day
        self._asked: list[Future[datetime | None]] = []  # those that no grouping has looked at yet
        # On the way out.
        self._takes: list[Take] = []
        self._waiting: Counter[str] = Counter()  # by plate: files that cannot be placed yet
        self._held: dict[str, str] = {}
        self._reading: deque[_Reading] = deque()
        self._out: deque[WellImage | Rejected] = deque()
        self._regroup = False

    def next(self, timeout_s: float) -> WellImage | Rejected | None:
        """Return the next image that is ready or refused, or None when none became ready in ``timeout_s``; older days come first.

        Raises
        ------
        SourceGoneError
            While the folder cannot be listed, or is empty and was not before: at once when that is found, then after ``timeout_s`` each time.
        """
        deadline_s = self._clock() + timeout_s
        while True:
            self._wake.clear()
            self._collect()
            if self._out:
                return self._out.popleft()
            if self._listing_is_due():
                self._list()
            if self._regroup:
                self._group()
            self._read_ahead()
            if self._out or (self._reading and self._reading[0].results.done()):
                continue
            now_s = self._clock()
            if now_s >= deadline_s:
                if self._gone:
                    raise SourceGoneError(self._gone.where, self._gone.problem)
                return None
            self._wait(
                max(0.0, min(deadline_s, max(self._list_again_s, self._rest_until_s)) - now_s)
            )

    def done(self, item: WellImage | Rejected) -> None:
        """Take note that the outcome of these versions is committed."""
        self._take(item.files)

    def plate_maps(self) -> dict[str, PlateMap]:
        """Return the valid plate maps known now, by plate."""
        return dict(self._maps.maps)

    def assays(self) -> dict[str, Assay]:
        """Return the valid assays known now, by plate."""
        return dict(self._assays.assays)

    def status(self, now: datetime) -> SourceStatus:  # noqa: ARG002 - the port's; what waits here has no date
        """Return what waits, what is held and whether the folder can be read."""
        pending = (
            self._waiting
            + Counter(take.key.plate for take in self._takes)
            + Counter(reading.take.key.plate for reading in self._reading)
        )
        pending += Counter(
            item.key.plate if isinstance(item, WellImage) else item.plate for item in self._out
        )
        wrong = {plate: str(error) for plate, error in self._assays.problems.items()}
        return SourceStatus(
            dict(pending),
            dict(self._held),
            wrong_assays=wrong,
            gone=str(self._gone) if self._gone else None,
        )

    def close(self) -> None:
        """Stop watching and reading."""
        self._events.stop()
        self._pool.shutdown(wait=True, cancel_futures=True)

    # The listing.

    def _listing_is_due(self) -> bool:
        stirred, closed = self._events.take()
        self._announced |= closed
        now_s = self._clock()
        if stirred:
            self._list_again_s = min(self._list_again_s, now_s)
        return now_s >= max(self._list_again_s, self._rest_until_s)

    def _list(self) -> None:
        """Read the listing; without one nothing that is known changes."""
        started_s = self._clock()
        try:
            self._watch()
            listing = {version.path: version for version in list_files(self._root)}
            if not listing and self._files:
                raise SourceGoneError(  # noqa: TRY301 - the same end
                    self._root,
                    "is empty and was not before; expected the robot's files: is the share mounted?",
                )
        except SourceGoneError as error:
            newly_gone, self._gone = self._gone is None, error
            self._list_again_s = self._clock() + self._settings.poll_s
            if newly_gone:
                raise
            return
        self._gone = None
        now_s = self._clock()
        self._rest_until_s = now_s + REST_PER_LISTING * (now_s - started_s)
        self._announced.intersection_update(listing.values())
        named = {path: self._read_name(path) for path in listing if is_image_name(path)}
        images = {
            path: reading.day if isinstance(reading, NameReading) else None
            for path, reading in named.items()
        }
        announced = (self._announced | announced_by_markers(images, listing)) - self._distrusted
        # Between the end of one listing and the start of another a file was unchanged for certain.
        self._files = observe(self._files, listing.values(), announced, now_s)
        self._listed_s = started_s
        self._maps.update(self._files, self._is_settled)
        self._assays.update(self._files, self._is_settled, self._maps)
        self._regroup = True

    def _is_settled(self, file: SeenFile) -> bool:
        return file.settled_at_s(self._rules) <= self._listed_s

    def _watch(self) -> None:
        """Watch the folder, and anew when another one was mounted in its place."""
        try:
            status = self._root.stat()
        except OSError as error:
            self._watched = None
            raise SourceGoneError(
                self._root, f"{error.strerror}; expected the drop folder"
            ) from error
        if self._watched != (status.st_dev, status.st_ino):
            self._events.start(self._root, self._wake.set)
            self._watched = status.st_dev, status.st_ino

    def _read_name(self, path: str) -> NameReading | ImageError:
        if path not in self._names:
            try:
                self._names[path] = self._pattern.read(path)
            except ImageError as error:
                self._names[path] = error
        return self._names[path]

    # From files to takes.

    def _group(self) -> None:
        """Decide anew which well images wait, which plates are held, and when to look again."""
        self._regroup = False
        self._asked = [asked for asked in self._asked if not asked.done()]
        self._waiting.clear()
        busy = {version for reading in self._reading for version in reading.take.versions}
        fresh = [
            file
            for path, file in self._files.items()
            if is_image_name(path) and file.version not in self._taken
        ]
        wells = {place for file in fresh if (place := self._place(file)) is not None}
        placed = list(self._placed(wells)) if wells else []
        self._takes = [
            take
            for take in gather(placed, lambda version: version not in self._taken)
            if busy.isdisjoint(take.versions)
        ]
        self._held = {plate: str(error) for plate, error in self._maps.problems.items()}
        for plate, _ in wells:
            if plate in self._maps.unread:
                self._waiting[plate] += 1
            elif plate not in self._maps.maps:
                self._held.setdefault(
                    plate, f"no plate map; expected {plate}.plate.toml and {plate}.wells.csv"
                )
        self._waiting.update(
            plate for plate in self._maps.unread | self._assays.unread if plate not in self._waiting
        )
        self._list_again_s = min([self._listed_s + self._settings.poll_s, *self._moments(fresh)])

    def _place(self, file: SeenFile) -> tuple[str, str] | None:
        """Return plate and well of a file; refuse one whose name does not tell once it is whole (before, it may still be renamed)."""
        reading = self._read_name(file.version.path)
        if isinstance(reading, NameReading):
            return self._plate_of(file.version.path, reading), reading.well
        if self._is_settled(file):
            self._reject((file.version,), reading.problem)
        else:
            self._waiting[self._folder_of(file.version.path)] += 1
        return None

    def _plate_of(self, path: str, reading: NameReading) -> str:
        return reading.plate or self._settings.plate or self._folder_of(path)

    def _folder_of(self, path: str) -> str:
        """Return the first folder above what the pattern spans, or the drop folder's own name."""
        above = path.split("/")[: -self._pattern.parts]
        return above[0] if above else self._root.name

    def _placed(self, wells: set[tuple[str, str]]) -> Iterator[PlacedFile]:
        """Yield the files of these wells that belong to a visit: of a plate with a map, of the field that is taken, not refused before."""
        members = []
        for path, file in self._files.items():
            reading = self._names.get(path)
            if isinstance(reading, NameReading) and file.version not in self._refused:
                plate = self._plate_of(path, reading)
                if (plate, reading.well) in wells and plate in self._maps.maps:
                    members.append((file, reading, plate))
        for file, reading, plate in of_one_field(members, self._settings.field):
            yield from self._dated(file, reading, plate)

    def _dated(self, file: SeenFile, reading: NameReading, plate: str) -> Iterator[PlacedFile]:
        """Yield the file with its culture day, once that is known."""
        needs_time = reading.day is None and reading.taken_at is None
        if needs_time:
            if file.version not in self._times and file.whole_at_s(self._rules) <= self._listed_s:
                self._times[file.version] = self._waking(
                    self._pool.submit(read_time, self._root, file.version)
                )
                self._asked.append(self._times[file.version])
            if file.version not in self._times or not self._times[file.version].done():
                self._waiting[plate] += 1
                return
        day = culture_day(
            reading,
            lambda: self._times[file.version].result() if needs_time else None,
            file.version.mtime_ns,
            plate_map := self._maps.maps[plate],
        )
        if day >= 1:
            yield PlacedFile(file, reading, plate, day)
        elif self._is_settled(file):
            reason = f"culture day {day} of a plate seeded at {plate_map.seeded_at.isoformat()}; expected day 1, the day of seeding, or later"
            self._reject((file.version,), reason, plate, reading.well)
        else:
            self._waiting[plate] += 1

    def _moments(self, fresh: list[SeenFile]) -> Iterator[float]:
        """Yield when something will be whole or ready if nothing changes: then the listing has to confirm it."""
        soon = [file.settled_at_s(self._rules) for file in fresh]
        soon += [self._ready_at_s(take) for take in self._takes]
        if self._maps.unread or self._assays.unread:
            soon += [
                file.settled_at_s(self._rules)
                for path, file in self._files.items()
                if not is_image_name(path)
            ]
        yield from (moment for moment in soon if moment > self._listed_s)

    # Reading.

    def _ready_at_s(self, take: Take, pages: int | None = None) -> float:
        if pages is None:
            counts = [
                1 if "plane" in self._pattern.fields else self._pages.get(version)
                for version in take.versions
            ]
            pages = None if None in counts else sum(count or 0 for count in counts)
        return ready_at_s(
            take.files,
            pages,
            self._rules,
            reopened=any(version.path in self._taken_paths for version in take.versions),
        )

    def _read_ahead(self) -> None:
        if self._asked:  # an image whose day is not known yet may be of an older day
            return
        ready = (take for take in self._takes if self._ready_at_s(take) <= self._listed_s)
        for take in list(islice(ready, READ_AHEAD - len(self._reading))):
            self._takes.remove(take)
            job = self._pool.submit(
                read_versions,
                self._root,
                take.versions,
                self._limits,
                one_plane="plane" in self._pattern.fields,
            )
            self._reading.append(_Reading(take, self._listed_s, self._waking(job)))

    def _waking(self, job: Future[Result]) -> Future[Result]:
        job.add_done_callback(lambda _: self._wake.set())
        return job

    def _collect(self) -> None:
        """Decide what becomes of the well images that were read."""
        self._regroup |= any(asked.done() for asked in self._asked)
        while self._reading and self._reading[0].results.done():
            reading = self._reading.popleft()
            self._regroup |= not self._conclude(reading, reading.results.result())

    def _conclude(self, reading: _Reading, results: tuple[FileResult, ...]) -> bool:
        """Return whether the take ended; False if something of it has to be looked at again."""
        take = reading.take
        failed = {
            file: result
            for file, result in zip(take.files, results, strict=True)
            if isinstance(result, ImageError)
        }
        images = tuple(result for result in results if isinstance(result, RawImage))
        if changed := [
            file for file, result in zip(take.files, results, strict=True) if result is None
        ]:
            for file in changed:
                self._settle(file, self._clock())  # until a listing tells what became of it
            return False
        for file, error in failed.items():
            if (
                file.settled_at_s(self._rules) > reading.listed_s
            ):  # an appended TIFF closes after each page
                self._distrusted.add(file.version)
                self._settle(file, file.since_s)
            else:
                self._refused.add(file.version)
                self._reject((file.version,), error.problem, take.key.plate, take.key.well)
        if failed:
            return False
        self._pages.update(
            {
                version: len(image.planes)
                for version, image in zip(take.versions, images, strict=True)
            }
        )
        if self._ready_at_s(take, sum(len(image.planes) for image in images)) > reading.listed_s:
            return False
        return self._hand_out(take, images)

    def _hand_out(self, take: Take, images: tuple[RawImage, ...]) -> bool:
        plate_map = self._maps.maps.get(take.key.plate)
        if plate_map is None:  # it broke while the images were read: they are held again
            return False
        try:
            image = well_image(
                take, images, plate_map, planes=self._rules.planes, bits=self._settings.bits
            )
        except ImageError as error:
            self._reject(take.versions, error.problem, take.key.plate, take.key.well)
            return True
        self._take(take.versions)
        self._out.append(image)
        return True

    def _settle(self, file: SeenFile, since_s: float) -> None:
        """Let a file settle as if nothing had been announced, unless a listing knows a newer version of it."""
        if (
            known := self._files.get(file.version.path)
        ) is not None and known.version == file.version:
            self._files[file.version.path] = SeenFile(file.version, since_s)

    def _reject(
        self, versions: tuple[FileVersion, ...], reason: str, plate: str = "", well: str = ""
    ) -> None:
        """Hand out a refusal of those versions that have no outcome yet."""
        if fresh := tuple(version for version in versions if version not in self._taken):
            self._out.append(Rejected(fresh, reason, plate, well))
            self._take(fresh)

    def _take(self, versions: tuple[FileVersion, ...]) -> None:
        self._taken.update(versions)
        self._taken_paths.update(version.path for version in versions)
