"""A source of well images that lists and reads the files of a drop folder, never changing them."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

from acquisition.daemon_threads import DaemonThreads
from acquisition.drop_folder.assay_files import AssayFiles
from acquisition.drop_folder.file_events import FileEvents, WatchdogEvents
from acquisition.drop_folder.file_outcomes import FileOutcomes, ResultQueue
from acquisition.drop_folder.group_reading import GroupReader, ReadGroup
from acquisition.drop_folder.grouping import FileGrouper, Grouping, KnownFiles, KnownPlates
from acquisition.drop_folder.image_decoding import ImageLimits
from acquisition.drop_folder.in_flight import InFlightJournal
from acquisition.drop_folder.listed_folder import ListedFolder
from acquisition.drop_folder.name_marks import plate_key
from acquisition.drop_folder.naming import compile_pattern
from acquisition.drop_folder.plate_map_files import PlateMapFiles
from acquisition.drop_folder.resting_folders import RestingFolder, folders_to_close
from acquisition.drop_folder.retries import Retries
from acquisition.drop_folder.settling import ListedFile, SettlingRules
from acquisition.drop_folder.visits import FileGroup, build_well_image
from acquisition.ports import ClosedPlates, EndedFiles
from schemas.assay import Assay
from schemas.errors import SourceGoneError
from schemas.machine_faults import is_machine_fault, reason_of
from schemas.plate_map import PlateMap
from schemas.well_image import FileVersion, PendingImages, Rejected, SourceStatus, WellImage

READER_THREADS = 2

BEING_WRITTEN = "files are still being written, or their time, content or plate map is read first"
PLANES_MISSING = "planes are missing; the well image is processed without them after a while"
REST_CHECK_S = 60.0
"""Interval at which the folders of closed plates are found."""
QUEUED = "queued: read and processed next"


@dataclass(frozen=True)
class DropFolderSettings:
    """The settings of a drop folder, as in the ``[source]`` section of the configuration."""

    path: Path
    pattern: str
    planes: int = 3
    settle_s: float = 2.0
    poll_s: float = 5.0
    plane_timeout_s: float = 60.0
    plate: str | None = None  # where neither the pattern nor a folder names it
    bits: int | None = None  # of a uint16 pixel; None: from the file, else the brightest pixel
    field: int | None = None  # the field to ingest; None: the lowest number of each well
    channel: str = ""  # the channel to ingest; empty: the names have one channel only
    max_pixels: int = ImageLimits.max_pixels
    max_file_bytes: int = ImageLimits.max_file_bytes
    is_skipped: Callable[[str], bool] | None = None  # paths of images that are not ingested
    once: bool = False  # no more files will come: do not wait for missing planes

    @property
    def settling_rules(self) -> SettlingRules:
        """The settings that decide when files are finished and well images ready."""
        return SettlingRules(self.planes, self.settle_s, self.plane_timeout_s, once=self.once)

    @property
    def sorting(self) -> str:
        """The settings that decide which image a file belongs to, as text."""
        parts = (
            self.pattern,
            self.planes,
            self.plate,
            self.bits,
            self.field,
            self.channel,
            self.max_pixels,
            self.max_file_bytes,
            self.is_skipped is None,
        )
        return repr(parts)

    @property
    def image_limits(self) -> ImageLimits:
        """The largest images that are decoded."""
        return ImageLimits(max_pixels=self.max_pixels, max_file_bytes=self.max_file_bytes)


class DropFolder:
    """A :class:`acquisition.ports.Source` of the well images in a drop folder.

    With ``once``, everything has been returned when :meth:`next` returns None and
    ``status().pending`` is empty; images of pending plates are not counted there.

    Parameters
    ----------
    settings
        The settings of the operator.
    ended_files
        The file versions that were ingested or refused before.
    closed
        The closed plates, whose folders are listed about once an hour; None: every folder is listed
        at every poll.
    in_flight
        Records the files that are being read or processed, for the process after a crash.
    clock
        Returns seconds that never decrease.
    events
        Reports file events; by default those of the operating system.
    pool
        Reads the files; by default two threads.
    wait
        Waits for a number of seconds; by default a file event or a read image ends the wait early.
    progress
        Called whenever the file system has answered, on the thread that calls :meth:`next`.

    Raises
    ------
    ConfigError
        If the pattern is wrong.
    """

    def __init__(
        self,
        settings: DropFolderSettings,
        ended_files: EndedFiles,
        *,
        closed: ClosedPlates | None = None,
        in_flight: InFlightJournal | None = None,
        clock: Callable[[], float] = time.monotonic,
        events: FileEvents | None = None,
        pool: Executor | None = None,
        wait: Callable[[float], object] | None = None,
        progress: Callable[[], None] = lambda: None,
    ) -> None:
        root, rules = settings.path, settings.settling_rules
        pattern = compile_pattern(settings.pattern)
        self._planes, self._bits = settings.planes, settings.bits
        self._one_plane_per_file = pattern.one_plane_per_file
        self._clock = clock
        self._progress = progress
        self._wake = threading.Event()
        self._wait = wait or self._wake.wait
        self._folder = ListedFolder(
            root,
            pattern,
            rules,
            poll_s=settings.poll_s,
            clock=clock,
            events=events or WatchdogEvents(),
            wake=self._wake.set,
            is_skipped=settings.is_skipped or (lambda _path: False),
            progress=progress,
            basis=settings.sorting,
        )
        self._closed = closed
        self._has_read_folders = False
        self._next_rest_s = float("-inf")
        self._returned = 0  # results without a recorded outcome
        self._grouper = FileGrouper(
            pattern,
            rules,
            folder_name=root.name,
            plate=settings.plate,
            field=settings.field,
            channel=settings.channel,
        )
        self._retries = Retries(clock)
        self._reader = GroupReader(
            root,
            rules,
            settings.image_limits,
            one_plane_per_file=pattern.one_plane_per_file,
            pool=pool or DaemonThreads(READER_THREADS, "read"),
            retries=self._retries,
            wake=self._wake.set,
        )
        self._in_flight = in_flight or InFlightJournal(None)
        self._plate_maps = PlateMapFiles(root)
        self._assays = AssayFiles(root)
        outcomes = FileOutcomes(ended_files)
        self._known_files = KnownFiles(
            outcomes,
            self._reader.undecodable,
            self._reader.page_counts,
            self._reader.times,
            self._retries,
            self._reader.digests,
        )
        self._results = ResultQueue(outcomes)
        self._grouping = Grouping()
        self._grouping_is_current = True
        self._unread_groups: list[FileGroup] = []

    def next(self, timeout_s: float) -> WellImage | Rejected | None:
        """Return the next well image or refusal, older days first; None after ``timeout_s``.

        Raises
        ------
        SourceGoneError
            If the folder cannot be listed, or is empty and was not before. The first failure is
            raised at once, later ones after ``timeout_s``.
        StoreError
            If the outcomes of listed files cannot be read.
        """
        deadline_s = self._clock() + timeout_s
        while True:
            self._wake.clear()
            self._collect_read_files()
            if result := self._results.pop():
                self._returned += 1
                return result
            if self._folder.is_due():
                self._list_folder()
            if not self._grouping_is_current:
                self._progress()
                self._group_files()
                self._progress()
            self._read_ahead()
            if self._results or self._reader.has_results():
                continue
            self._let_folders_rest()
            now_s = self._clock()
            if now_s < deadline_s:
                self._wait(max(0.0, min(deadline_s, self._folder.next_listing_s) - now_s))
            elif error := self._folder.problem:
                raise SourceGoneError(error.where, error.problem)
            else:
                return None

    def done(self, item: WellImage | Rejected) -> None:
        """Record that the outcome of a well image or refusal is committed to the store."""
        self._returned = max(0, self._returned - 1)  # the main loop also refuses files itself
        self._known_files.outcomes.add(item.files)
        self._retries.forget(item.files)
        self._in_flight.remove(item.files)

    def postpone(self, image: WellImage, problem: str) -> None:
        """Take back a well image that cannot be processed now; it is read again after a pause."""
        self._returned = max(0, self._returned - 1)
        self._known_files.outcomes.discard(image.files)
        for version in image.files:
            self._retries.add_failure(version, problem)
        self._in_flight.remove(image.files)
        self._grouping_is_current = False

    def read_again(self, files: Iterable[FileVersion]) -> None:
        """Forget the outcome of file versions, so that those still present are returned again."""
        versions = tuple(files)
        self._grouping_is_current = False
        if resting := self._folder.resting.around(version.path for version in versions):
            self._folder.resting.wake(resting)
            self._list_folder()
            self._known_files.outcomes.read(self._folder.listing.names.keys())
        self._known_files.outcomes.discard(versions)
        self._group_files()

    def plate_maps(self) -> dict[str, PlateMap]:
        """Return the valid plate maps by plate id, as of the last listing.

        Those of plates with a resting folder are left out.
        """
        return dict(self._known_plates().maps)

    def assays(self) -> dict[str, Assay]:
        """Return the valid assays by plate id, as of the last listing."""
        return dict(self._assays.assays)

    def status(self, now: datetime) -> SourceStatus:  # noqa: ARG002 - part of the port; nothing here has a date
        """Return the waiting images, pending plates, unreadable files and the folder's problem."""
        groups = (*self._unread_groups, *self._reader.groups)
        waiting = Counter(self._grouping.waiting) + Counter(group.key.plate for group in groups)
        return SourceStatus(
            pending=dict(waiting + self._results.count_by_plate()),
            held=dict(self._grouping.pending_plates),
            wrong_assays={plate: str(error) for plate, error in self._assays.problems.items()},
            unread_assays=self._assays.unread,
            unreadable={
                **self._retries.problems(),
                **self._plate_maps.unreadable,
                **self._assays.unreadable,
                **self._folder.outside,
                **self._reader.overdue(self._clock()),
            },
            waiting=self._waiting_images(),
            gone=str(self._folder.problem) if self._folder.problem else None,
            is_listed=self._folder.listing.started_s > float("-inf"),
        )

    def _waiting_images(self) -> tuple[PendingImages, ...]:
        """Return the number of pending well images by plate and reason."""
        counts = Counter({(plate, BEING_WRITTEN): n for plate, n in self._grouping.waiting.items()})
        counts += Counter(
            (group.key.plate, PLANES_MISSING if self._lacks_planes(group) else QUEUED)
            for group in self._unread_groups
        )
        counts += Counter((group.key.plate, QUEUED) for group in self._reader.groups)
        queued = self._results.count_by_plate()
        counts += Counter({(plate, QUEUED): count for plate, count in queued.items()})
        for plate, reason in self._grouping.pending_plates.items():
            counts[plate, reason] = self._grouping.new_wells.get(plate, 0)
        return tuple(
            sorted(PendingImages(plate, reason, count) for (plate, reason), count in counts.items())
        )

    def _lacks_planes(self, group: FileGroup) -> bool:
        return self._one_plane_per_file and len(group.versions) < self._planes

    def close(self) -> None:
        """Stop the file events and the reading threads. Safe to call twice."""
        self._folder.close()
        self._reader.close()

    def _collect_read_files(self) -> None:
        """Queue the well image or the refusals of each group that was read."""
        if self._reader.collect_times() | self._reader.collect_digests():
            self._grouping_is_current = False
        while read := self._reader.pop():
            for file in read.changed:
                self._folder.restart_settling(file, self._clock())
            for file in read.unfinished:
                self._folder.ignore_signal(file)
            for refusal in read.refusals:
                self._results.add_refusal(refusal)
            if not self._queue_image(read):
                self._in_flight.remove(read.group.versions)
                self._grouping_is_current = False

    def _queue_image(self, read: ReadGroup) -> bool:
        """Queue the well image of a group that was read, or its refusal, and return True.

        Return False without a result if the files of the group have to be grouped again.
        """
        group = read.group
        plate_map = self._plate_maps.maps.get(group.key.plate)  # may have become invalid meanwhile
        is_ready = self._grouper.ready_at_s(group, self._known_files) <= read.listed_s
        if not read.images or not is_ready or plate_map is None:
            return False
        try:
            image = build_well_image(
                group, read.images, plate_map, planes=self._planes, bits=self._bits
            )
        except Exception as error:  # noqa: BLE001 - the boundary of one image
            if is_machine_fault(error):
                for version in group.versions:
                    self._retries.add_failure(version, str(error))
                return False
            plate, well = group.key.plate, group.key.well
            self._results.add_refusal(Rejected(group.versions, reason_of(error), plate, well))
        else:
            self._results.add_image(image)
        return True

    def _list_folder(self) -> None:
        """List the folder, and read the plate maps and assays that are new or changed.

        A resting folder is listed with it if a plate in it is not closed any more, or has a file in
        another folder.
        """
        resting = self._folder.resting
        if self._closed is not None:
            if not self._has_read_folders:
                for folder in self._closed.folders():
                    resting.add(RestingFolder(folder))
                self._has_read_folders = True
            resting.wake(resting.not_closed(frozenset(self._closed.plates())))
        while self._folder.refresh():
            self._read_plate_files()
            related = resting.of_plates(self._listed_plates()) if len(resting) else []
            if not related:
                return
            resting.wake(related)

    def _listed_plates(self) -> set[str]:
        """Return the plates with an image, a plate map or an assay in the newest listing."""
        plates = self._known_plates()
        images = self._grouper.placed_images(self._folder.listing, plates)
        return {
            *(image.plate for image in images),
            *self._plate_maps.maps,
            *plates.problems,
            *plates.unread_maps,
            *plates.unread_assays,
            *self._assays.problems,
        }

    def _let_folders_rest(self) -> None:
        """Let the folders of closed plates rest, if every result has a recorded outcome."""
        if self._closed is None or self._clock() < self._next_rest_s:
            return
        is_busy = self._returned or self._results or self._reader.groups
        if is_busy or not self._grouping_is_current or self._folder.has_link:
            return
        self._next_rest_s = self._clock() + REST_CHECK_S
        plates, listing = self._known_plates(), self._folder.listing
        broken = {*plates.problems, *plates.unread_maps, *plates.unread_assays}
        closed = frozenset(self._closed.plates()) - broken - self._assays.problems.keys()
        known = {
            plate
            for plate, plate_map in plates.maps.items()
            if plate in closed
            and self._closed.has_stored(plate_map, self._assays.assays.get(plate))
        }
        found = folders_to_close(
            self._grouper.placed_images(listing, plates),
            self._plate_maps.folders,
            known,
            listing.files,
            self._is_done,
        )
        if found:
            folders = self._folder.closed_folders(found)
            for folder in folders:
                self._closed.save_folder(folder)
            self._folder.rest(folders)
            self._plate_maps.forget(found, self._folder.listing.files)
            self._assays.forget(found, self._folder.listing.files)
            self._grouping_is_current = False

    def _is_done(self, path: str) -> bool:
        """Return whether nothing is left to do for a listed file."""
        if path in self._plate_maps.unreadable or path in self._assays.unreadable:
            return False
        version = self._folder.listing.files[path].version
        return path not in self._folder.listing.names or version in self._known_files.outcomes

    def _read_plate_files(self) -> None:
        """Read the plate maps and assays that are new or changed in the newest listing."""
        files = self._folder.listing.files
        self._retries.keep_only(self._is_listed)
        self._reader.keep_only(self._is_listed)
        self._plate_maps.update(files, self._is_settled)
        self._assays.update(files, self._is_settled, self._plate_maps)
        self._grouping_is_current = False

    def _is_listed(self, version: FileVersion) -> bool:
        """Return whether the newest listing has this version of a file."""
        file = self._folder.listing.files.get(version.path)
        return file is not None and file.version == version

    def _is_settled(self, file: ListedFile) -> bool:
        """Return whether a file of a plate map or assay has settled, which is read next."""
        self._progress()
        return self._folder.is_settled(file)

    def _group_files(self) -> None:
        """Group the listed files, queue refusals, and schedule the next listing.

        Raises
        ------
        StoreError
            If the outcomes of the files cannot be read; the files are grouped by the next call.
        """
        self._known_files.outcomes.read(self._folder.listing.names.keys())
        self._grouping = self._grouper.group(
            self._folder.listing, self._known_plates(), self._known_files, self._reader.groups
        )
        self._grouping_is_current = True
        self._unread_groups = list(self._grouping.groups)
        for refusal in self._grouping.refusals:
            self._results.add_refusal(refusal)
        self._reader.request_times(self._grouping.untimed)
        self._reader.request_digests(self._grouping.undigested)
        self._folder.schedule(self._grouping.next_change_s)

    def _known_plates(self) -> KnownPlates:
        """Return the plate maps and assays as they were last read.

        The maps of plates with a resting folder are left out: it may have another one.
        """
        unlisted = self._folder.resting.unlisted_keys
        maps = self._plate_maps.maps
        return KnownPlates(
            maps={plate: maps[plate] for plate in maps if plate_key(plate) not in unlisted},
            problems={plate: str(error) for plate, error in self._plate_maps.problems.items()},
            unread_maps=self._plate_maps.unread | self._folder.resting.awoken_plates,
            unread_assays=self._assays.unread,
            folders=self._plate_maps.folders,
        )

    def _read_ahead(self) -> None:
        """Start to read the next ready groups, as many as the reader has places for."""
        listing = self._folder.listing
        ready = (
            group
            for group in self._unread_groups
            if listing.confirms(self._grouper.ready_at_s(group, self._known_files))
        )
        for group in list(islice(ready, self._reader.free_places)):
            self._unread_groups.remove(group)
            self._in_flight.add(group.key.plate, group.key.well, group.versions)
            self._reader.request(group, listing.started_s)
