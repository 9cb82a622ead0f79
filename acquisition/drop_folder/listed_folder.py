"""Keep the newest listing of the drop folder, and decide when to list the folder again."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from acquisition.drop_folder.file_events import FileEvents
from acquisition.drop_folder.listing import ListedEntries, list_files
from acquisition.drop_folder.naming import NamePattern, ParsedName, is_image_name
from acquisition.drop_folder.passed_over import PassedOverLog, count_passed_over
from acquisition.drop_folder.resting_folders import (
    RestingFolder,
    RestingFolders,
    fingerprint_of,
    folder_around,
)
from acquisition.drop_folder.settling import (
    ListedFile,
    Listing,
    SettlingRules,
    merge_listing,
    versions_with_markers,
)
from schemas.closed_folder import ClosedFolder
from schemas.errors import ImageError, SourceGoneError
from schemas.ids import first_invisible, id_problem
from schemas.well_image import FileVersion

PAUSE_PER_LISTING = 9
"""Pause after each listing, in durations of a listing: a tenth of the time is for listings."""

FIRST_LISTINGS_S = 0.1
"""Time of each listing for resting folders that were not listed since the start of the process."""

LEAST_SHARE = 0.01
"""Fraction of these folders that each listing includes, also if a share is slow."""

LONGEST_PAUSE_S = 60.0
"""Longest pause after a listing, also after one that a hanging share made last for hours."""


class ListedFolder:
    """The drop folder as it was last listed, and the time of the next listing.

    Parameters
    ----------
    root
        The drop folder.
    pattern
        The pattern of the file names.
    rules
        The settings that decide when a file has settled.
    poll_s
        The longest time between two listings.
    clock
        Returns seconds that never decrease.
    events
        The file events of the operating system; a listing follows soon after an event.
    wake
        Called from another thread after a file event.
    is_skipped
        Returns whether a path is that of an image that is not ingested.
    progress
        Called whenever the file system has answered.
    basis
        Text of everything besides the files that decides whether a folder may rest.

    Attributes
    ----------
    listing : Listing
        The newest complete listing.
    problem : SourceGoneError or None
        Why the last attempt to list the folder failed; None after a success.
    outside : dict
        The problem of each link that leads out of the folder and is not followed, by path.
    resting : RestingFolders
        The folders whose files are not part of ``listing``.
    has_link : bool
        Whether the newest listing has met any link; then no folder may rest.
    """

    def __init__(
        self,
        root: Path,
        pattern: NamePattern,
        rules: SettlingRules,
        *,
        poll_s: float,
        clock: Callable[[], float],
        events: FileEvents,
        wake: Callable[[], None],
        is_skipped: Callable[[str], bool] = lambda _path: False,
        progress: Callable[[], None] = lambda: None,
        basis: str = "",
    ) -> None:
        self._root = root
        self._pattern = pattern
        self._rules = rules
        self._poll_s = poll_s
        self._clock = clock
        self._events = events
        self._wake = wake
        self._is_skipped = is_skipped
        self._progress = progress
        self._next_listing_s = float("-inf")
        self._pause_until_s = float("-inf")
        self._last_listing_s = float("inf")  # duration of the last listing
        self._event_paths: set[str] = set()  # since the last listing
        self._basis = basis
        self._watched_folder: tuple[int, int] | None = None  # device and inode
        self._closed: set[FileVersion] = set()  # closed by the writer or renamed into place
        self._ignored_signals: set[FileVersion] = set()
        self._passed_over = PassedOverLog(root)
        self.listing = Listing()
        self.problem: SourceGoneError | None = None
        self.outside: dict[str, str] = {}
        self.resting = RestingFolders()
        self.has_link = False

    @property
    def next_listing_s(self) -> float:
        """The time at which the next listing is due; in the past if it is due now."""
        due_s = float("-inf") if self._event_paths else self._next_listing_s
        return max(due_s, self._pause_until_s)

    def is_due(self) -> bool:
        """Collect the file events since the last call and return whether to list the folder now."""
        paths, closed = self._events.drain()
        self._event_paths |= paths
        self._closed |= closed
        return self._clock() >= self.next_listing_s

    def schedule(self, moment_s: float) -> None:
        """Plan the next listing for a time, at the latest ``poll_s`` after the newest listing."""
        self._next_listing_s = min(moment_s, self.listing.started_s + self._poll_s)

    def refresh(self) -> bool:
        """List the folder and return whether that succeeded; else the listing stays unchanged.

        Raises
        ------
        SourceGoneError
            If the folder cannot be listed, or is empty and was not before. Only the first of
            several failures is raised.
        """
        self.resting.wake(self.resting.around(self._event_paths))
        self._event_paths = set()
        started_s = self._clock()
        try:
            versions = self._list(started_s)
        except SourceGoneError as error:
            is_first, self.problem = self.problem is None, error
            self._next_listing_s = self._clock() + self._poll_s
            if is_first:
                raise
            return False
        self.problem = None
        now_s = self._clock()
        self._pause_until_s = now_s + self._pause_s(now_s - started_s)
        names = {
            path: self._parsed_name(path)
            for path in versions
            if is_image_name(path) and not self._is_skipped(path)
        }
        signalled = self._signalled(names, versions)
        files = merge_listing(self.listing.files, versions.values(), signalled, now_s)
        self.listing = Listing(started_s, files, names)
        passed_over = Counter(count_passed_over(versions)) + self.resting.passed_over
        self._passed_over.note_listing(dict(sorted(passed_over.items())))
        self.resting.note_listing(started_s, now_s, self._rules.settle_s)
        self.schedule(float("inf"))
        return True

    def _pause_s(self, listing_s: float) -> float:
        """Return the pause after a listing; a single slow listing causes no long pause."""
        usual_s = min(listing_s, self._last_listing_s)
        self._last_listing_s = listing_s
        return min(PAUSE_PER_LISTING * usual_s, LONGEST_PAUSE_S)

    def is_settled(self, file: ListedFile) -> bool:
        """Return whether the newest listing confirms that a file has settled."""
        return self.listing.confirms(file.settled_at_s(self._rules))

    def restart_settling(self, file: ListedFile, since_s: float) -> None:
        """Let a file settle from ``since_s`` without its completion signal.

        Nothing happens if another version of the file is listed.
        """
        listed = self.listing.files.get(file.version.path)
        if listed is not None and listed.version == file.version:
            restarted = ListedFile(file.version, since_s)
            files = {**self.listing.files, file.version.path: restarted}
            self.listing = replace(self.listing, files=files)

    def ignore_signal(self, file: ListedFile) -> None:
        """Ignore all completion signals of a file version from now on, so that it has to settle."""
        self._ignored_signals.add(file.version)
        self.restart_settling(file, file.unchanged_since_s)

    def close(self) -> None:
        """Stop the file events. Safe to call twice."""
        self._events.stop()

    def closed_folders(self, plates: Mapping[str, frozenset[str]]) -> list[ClosedFolder]:
        """Return folders with their plates (ids), by path, as they are in the newest listing."""
        inside: dict[str, list[FileVersion]] = {path: [] for path in plates}
        for path, file in self.listing.files.items():
            if (folder := folder_around(path, inside)) is not None:
                inside[folder].append(file.version)
        return [
            ClosedFolder(path, fingerprint_of(versions, self._basis), plates[path])
            for path, versions in inside.items()
        ]

    def rest(self, folders: Sequence[ClosedFolder]) -> None:
        """Let folders of the newest listing rest; their files leave the listing."""
        paths = {folder.path: folder for folder in folders}
        inside: dict[str, list[str]] = {path: [] for path in paths}
        for path in self.listing.files:
            if (around := folder_around(path, paths)) is not None:
                inside[around].append(path)
        for path, files in inside.items():
            counts = count_passed_over(files)
            self.resting.add(RestingFolder(paths[path], self.listing.started_s, counts))
        gone = {path for files in inside.values() for path in files}
        listing = self.listing
        self.listing = replace(
            listing,
            files={path: file for path, file in listing.files.items() if path not in gone},
            names={path: name for path, name in listing.names.items() if path not in gone},
        )

    def _list(self, now_s: float) -> dict[str, FileVersion]:
        """Watch the folder and return the version of every file in it by path.

        Files in resting folders are left out, unless a folder differs from its last listing.
        """
        self._watch()
        outside: dict[str, str] = {}
        found = ListedEntries()
        list_inside = partial(
            list_files, self._root, progress=self._progress, outside=outside, found=found
        )
        listed = list_inside(skipped=self.resting)
        versions = {version.path: version for version in listed}
        if not (versions or found.skipped) and (self.listing.files or self.resting.were_listed):
            raise SourceGoneError(
                self._root,
                "is empty and was not before; expected the robot's files: is the share mounted?",
            )
        self.resting.wake(self.resting.missing(found.skipped))
        begun_s, due = self._clock(), self.resting.due(now_s)
        least = len(due) if self._rules.once else 1 + int(LEAST_SHARE * len(due))
        for number, resting in enumerate(due):
            is_late = number >= least and self._clock() - begun_s >= FIRST_LISTINGS_S
            if is_late and resting.listed_s == float("-inf"):
                break
            inside = list(list_inside(start=resting.folder.path))
            if fingerprint_of(inside, self._basis) == resting.folder.fingerprint:
                counts = count_passed_over(version.path for version in inside)
                self.resting.add(RestingFolder(resting.folder, now_s, counts))
            else:
                self.resting.wake([resting.folder.path])
                versions |= {version.path: version for version in inside}
        self.outside = outside
        self.has_link = found.has_link
        return versions

    def _watch(self) -> None:
        """Start the file events; start them again if another folder is mounted at the same path."""
        try:
            status = self._root.stat()
        except OSError as error:
            self._watched_folder = None
            problem = f"{error.strerror}; expected the drop folder"
            raise SourceGoneError(self._root, problem) from error
        folder = status.st_dev, status.st_ino
        if self._watched_folder != folder:
            self._events.start(self._root, self._wake)
            self._watched_folder = folder

    def _parsed_name(self, path: str) -> ParsedName | ImageError:
        """Return the parsed name of an image file, or the error if it does not fit the pattern."""
        if known := self.listing.names.get(path):
            return known
        try:
            name = self._pattern.parse(path)
        except ImageError as error:
            return error
        if (wrong := first_invisible(path)) is not None:
            problem = f"contains the character U+{ord(wrong):04X}; expected printable characters"
            return ImageError(path, f"the path {problem}")
        # A folder may have white space around the id that its plate map has.
        if name.plate is not None and (id_error := id_problem(name.plate.strip())):
            return ImageError(path, f"the plate id {id_error}")
        return name

    def _signalled(
        self, names: Mapping[str, ParsedName | ImageError], versions: Mapping[str, FileVersion]
    ) -> set[FileVersion]:
        """Return the file versions whose completion was signalled by a file event or a marker."""
        self._closed.intersection_update(versions.values())
        days = {
            path: name.day if isinstance(name, ParsedName) else None for path, name in names.items()
        }
        return (self._closed | versions_with_markers(days, versions)) - self._ignored_signals
