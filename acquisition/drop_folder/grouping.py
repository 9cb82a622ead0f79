"""Sort the listed files of the drop folder into groups of one well image each.

Nothing here reads a file or a clock.
"""

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from acquisition.drop_folder.culture_days import find_day
from acquisition.drop_folder.file_outcomes import FileOutcomes
from acquisition.drop_folder.naming import NamePattern, ParsedName, is_image_name
from acquisition.drop_folder.plate_folders import PlateFolders
from acquisition.drop_folder.resting_folders import PlacedImage
from acquisition.drop_folder.retries import Retries
from acquisition.drop_folder.selection import (
    RepeatRules,
    Repeats,
    channel_problem,
    select_channel,
    sort_repeats,
)
from acquisition.drop_folder.settling import ListedFile, Listing, SettlingRules, ready_at_s
from acquisition.drop_folder.visits import (
    FileGroup,
    NamedFile,
    VisitFile,
    flag_crossed_midnights,
    group_by_visit,
    select_field,
)
from schemas.errors import ImageError
from schemas.plate_map import PlateMap
from schemas.well_image import FileVersion, Rejected

NEVER_S = float("inf")


@dataclass(frozen=True)
class KnownPlates:
    """The plate maps and assays of the drop folder as they were last read."""

    maps: Mapping[str, PlateMap] = field(default_factory=dict)  # valid ones, by plate
    problems: Mapping[str, str] = field(default_factory=dict)  # why a map is invalid, by plate
    unread_maps: frozenset[str] = frozenset()  # plates whose new map has not settled yet
    unread_assays: frozenset[str] = frozenset()  # plates whose first assay has not settled yet
    folders: Mapping[str, str] = field(default_factory=dict)  # of the plate maps, by plate


@dataclass(frozen=True)
class KnownFiles:
    """The facts about file versions that earlier reading and earlier outcomes provide."""

    outcomes: FileOutcomes
    undecodable: Container[FileVersion] = frozenset()
    page_counts: Mapping[FileVersion, int] = field(default_factory=dict)
    times: Mapping[FileVersion, datetime | None] = field(default_factory=dict)  # inside the file
    retries: Retries = field(default_factory=lambda: Retries(lambda: 0.0))
    digests: Mapping[FileVersion, str] = field(default_factory=dict)  # SHA-256 of the content


@dataclass(frozen=True)
class Grouping:
    """The result of sorting one listing: groups to read, waiting files and files to refuse."""

    groups: tuple[FileGroup, ...] = ()  # in the order in which to read them
    waiting: Mapping[str, int] = field(default_factory=dict)  # by plate: files in no group yet
    pending_plates: Mapping[str, str] = field(default_factory=dict)  # by plate: the reason
    new_wells: Mapping[str, int] = field(default_factory=dict)  # by plate: wells with new files
    refusals: tuple[Rejected, ...] = ()
    untimed: tuple[FileVersion, ...] = ()  # their time has to be read, for the culture day
    undigested: tuple[FileVersion, ...] = ()  # have to be compared: one may be a copy of the other
    next_change_s: float = NEVER_S  # when the next file settles or group is ready


class FileGrouper:
    """Sorts the files of a listing into groups of one well image each.

    Parameters
    ----------
    pattern
        The pattern of the file names.
    rules
        The settings that decide when files are finished and groups ready.
    folder_name
        The name of the drop folder: the plate of files directly in it, if nothing else names one.
    plate
        The plate of files whose name has none; None: the folder names it.
    field
        The field (site) of each well to ingest; None: the lowest number of each well.
    channel
        The name or number of the channel to ingest; empty: the names have one channel only.
    """

    def __init__(
        self,
        pattern: NamePattern,
        rules: SettlingRules,
        *,
        folder_name: str,
        plate: str | None = None,
        field: int | None = None,
        channel: str = "",
    ) -> None:
        self._pattern = pattern
        self._rules = rules
        self._folder_name = folder_name
        self._plate = plate
        self._field = field
        self._channel = channel

    def group(
        self,
        listing: Listing,
        plates: KnownPlates,
        known: KnownFiles,
        being_read: Iterable[FileGroup] = (),
    ) -> Grouping:
        """Return the Grouping of a listing: groups to read, waiting files, pending plates, refused.

        Each group contains at least one file without an outcome. The groups ``being_read`` and
        their files are left out.
        """
        folders = self._folders(plates)
        new_files = [
            file
            for path in listing.names
            if (file := listing.files[path]).version not in known.outcomes
        ]
        wells = self._wells_of(new_files, listing, folders)
        problems = self._channel_problems({plate for plate, _ in wells}, listing, folders)
        usable = replace(
            plates,
            maps={plate: each for plate, each in plates.maps.items() if plate not in problems},
        )
        candidates = list(self._candidates(wells, listing, usable, known, folders))
        dated, undatable, undated = self._split_by_day(candidates, listing, usable, known)
        misnamed, unnamed = self._split_misnamed(new_files, listing, folders)
        busy = {version for group in being_read for version in group.versions}
        repeats = self._sort_repeats(dated, folders, known, busy)
        unclear, unsettled = self._split_refused(repeats, listing)
        waiting_copies = Counter(pair.copy.plate for pair in repeats.undigested)
        groups = [
            group
            for group in group_by_visit(
                repeats.accepted, lambda version: version not in known.outcomes, repeats.copies
            )
            if busy.isdisjoint(group.versions)
        ]
        times = self._times(listing, usable, known, folders)
        groups = flag_crossed_midnights(groups, times, usable.maps)
        changes_s = self._changes_s(new_files, groups, listing, plates, known)
        waiting = unnamed + undated + unsettled + waiting_copies
        return Grouping(
            groups=tuple(groups),
            waiting=_with_unread_plates(waiting, wells, plates),
            pending_plates=problems | _pending_plates(wells, plates),
            new_wells=Counter(plate for plate, _ in wells),
            refusals=(*misnamed, *undatable, *unclear),
            untimed=tuple(self._untimed(candidates, listing, known)),
            undigested=tuple(self._undigested(repeats, listing)),
            next_change_s=min(changes_s, default=NEVER_S),
        )

    def placed_images(self, listing: Listing, plates: KnownPlates) -> Iterator[PlacedImage]:
        """Yield each image whose name was parsed, with its plate and the folder of the plate."""
        folders = self._folders(plates)
        for path, name in listing.names.items():
            if isinstance(name, ParsedName):
                plate = folders.plate_of(path, name)
                yield PlacedImage(path, plate, folders.root_of(path, plate))

    def ready_at_s(self, group: FileGroup, known: KnownFiles) -> float:
        """Return the time in s at which a group is ready to be read unless a file changes."""
        counts = [
            1 if self._pattern.one_plane_per_file else known.page_counts.get(version)
            for version in group.versions
        ]
        planes = None if None in counts else sum(count or 0 for count in counts)
        reopened = known.outcomes.include_a_path_of(group.versions)
        ready_s = ready_at_s(group.files, planes, self._rules, reopened=reopened)
        return max(ready_s, known.retries.retry_at_s(group.versions))

    def _folders(self, plates: KnownPlates) -> PlateFolders:
        """Return the plates and their folders, by file names and plate maps."""
        known = plates.maps.keys() | plates.problems.keys() | plates.unread_maps
        return PlateFolders(self._pattern, self._folder_name, self._plate, known, plates.folders)

    def _wells_of(
        self, files: Iterable[ListedFile], listing: Listing, folders: PlateFolders
    ) -> set[tuple[str, str]]:
        """Return the plate and well of each file whose name was parsed."""
        return {
            (folders.plate_of(file.version.path, name), name.well)
            for file in files
            if isinstance(name := listing.names[file.version.path], ParsedName)
        }

    def _channel_problems(
        self, of_plates: AbstractSet[str], listing: Listing, folders: PlateFolders
    ) -> dict[str, str]:
        """Return the reason why the channel of a plate cannot be selected, by plate."""
        channels: dict[str, set[str | None]] = {plate: set() for plate in of_plates}
        for path, name in listing.names.items():
            if isinstance(name, ParsedName):
                plate = folders.plate_of(path, name)
                if plate in channels:
                    channels[plate].add(name.channel)
        found = {plate: channel_problem(names, self._channel) for plate, names in channels.items()}
        return {plate: problem for plate, problem in found.items() if problem}

    def _split_misnamed(
        self, files: Iterable[ListedFile], listing: Listing, folders: PlateFolders
    ) -> tuple[list[Rejected], Counter[str]]:
        """Return the refusals of settled misnamed files, and the number of unsettled ones by plate.

        A misnamed file is one whose name cannot be parsed; before it settles it may be renamed.
        """
        refusals: list[Rejected] = []
        waiting: Counter[str] = Counter()
        for file in files:
            path = file.version.path
            if isinstance(error := listing.names[path], ImageError):
                if listing.confirms(file.settled_at_s(self._rules)):
                    refusals.append(Rejected((file.version,), error.problem))
                else:
                    waiting[folders.folder_of(path)] += 1
        return refusals, waiting

    def _candidates(
        self,
        wells: AbstractSet[tuple[str, str]],
        listing: Listing,
        plates: KnownPlates,
        known: KnownFiles,
        folders: PlateFolders,
    ) -> Iterator[NamedFile]:
        """Yield the decodable files of these wells that show the selected field and channel.

        Only files of plates with a valid map that is not being changed are candidates. A file that
        failed repeatedly is a candidate only when its next attempt is due, so that it does not
        delay the other planes.
        """
        files = []
        for path, name in listing.names.items() if wells else ():
            file = listing.files[path]
            if known.retries.is_reported([file.version]) and not listing.confirms(
                known.retries.retry_at_s([file.version])
            ):
                continue
            if isinstance(name, ParsedName) and file.version not in known.undecodable:
                plate = folders.plate_of(path, name)
                is_mapped = plate in plates.maps and plate not in plates.unread_maps
                if (plate, name.well) in wells and is_mapped:
                    files.append(NamedFile(file, name, plate, folders.root_of(path, plate)))
        yield from select_field(list(select_channel(files, self._channel)), self._field)

    def _split_by_day(
        self,
        candidates: Iterable[NamedFile],
        listing: Listing,
        plates: KnownPlates,
        known: KnownFiles,
    ) -> tuple[list[VisitFile], list[Rejected], Counter[str]]:
        """Return the files with a culture day, refusals of files without one and waiting counts.

        A file is refused if its day is before 1 or cannot be found. It waits if its acquisition
        time is needed and unknown, or if it would be refused and has not settled.
        """
        dated: list[VisitFile] = []
        refusals: list[Rejected] = []
        waiting: Counter[str] = Counter()
        for each in candidates:
            version = each.file.version
            if _needs_file_time(each.name) and version not in known.times:
                waiting[each.plate] += 1
                continue
            file_time = partial(known.times.get, version)
            found = _day_or_reason(each, file_time, plates.maps[each.plate])
            if isinstance(found, VisitFile):
                dated.append(found)
            elif not listing.confirms(each.file.settled_at_s(self._rules)):
                waiting[each.plate] += 1
            elif version not in known.outcomes:
                refusals.append(Rejected((version,), found, each.plate, each.name.well))
        return dated, refusals, waiting

    def _sort_repeats(
        self,
        dated: Iterable[VisitFile],
        folders: PlateFolders,
        known: KnownFiles,
        busy: AbstractSet[FileVersion],
    ) -> Repeats:
        """Return the files sorted into images, copies of other files, and files to refuse."""
        rules = RepeatRules(
            is_new=lambda version: version not in known.outcomes and version not in busy,
            is_known=lambda version: known.outcomes.include_a_path_of([version]),
            is_home=lambda each: folders.is_home(each.file.version.path, each.plate),
            setting_of=self._pattern.setting_of,
            digests=known.digests,
        )
        return sort_repeats(dated, rules)

    def _split_refused(
        self, repeats: Repeats, listing: Listing
    ) -> tuple[list[Rejected], Counter[str]]:
        """Return the refusals of settled files, and the number of unsettled ones by plate."""
        refusals: list[Rejected] = []
        waiting: Counter[str] = Counter()
        for each, reason in repeats.refused:
            if listing.confirms(each.file.settled_at_s(self._rules)):
                version = each.file.version
                refusals.append(Rejected((version,), reason, each.plate, each.name.well))
            else:
                waiting[each.plate] += 1
        return refusals, waiting

    def _undigested(self, repeats: Repeats, listing: Listing) -> Iterator[FileVersion]:
        """Yield the files of each pair to compare, once both have settled."""
        for pair in repeats.undigested:
            files = (pair.copy.file, pair.original.file)
            if all(listing.confirms(file.settled_at_s(self._rules)) for file in files):
                yield from (file.version for file in files)

    def _times(
        self, listing: Listing, plates: KnownPlates, known: KnownFiles, folders: PlateFolders
    ) -> Iterator[tuple[str, datetime]]:
        """Yield the plate and time of each image whose culture day follows from its time."""
        for path, name in listing.names.items():
            if isinstance(name, ParsedName) and name.day is None:
                plate, version = folders.plate_of(path, name), listing.files[path].version
                if plate not in plates.maps:
                    continue
                file_time = partial(known.times.get, version)
                with suppress(ImageError):  # the file is refused for it
                    found = find_day(name, file_time, version.mtime_ns, plates.maps[plate])
                    yield from [(plate, found.time)] if found.time else []

    def _untimed(
        self, candidates: Iterable[NamedFile], listing: Listing, known: KnownFiles
    ) -> Iterator[FileVersion]:
        """Yield the finished files whose acquisition time is needed and not known."""
        for each in candidates:
            is_needed = _needs_file_time(each.name) and each.file.version not in known.times
            ready_s = max(
                each.file.finished_at_s(self._rules), known.retries.retry_at_s([each.file.version])
            )
            if is_needed and listing.confirms(ready_s):
                yield each.file.version

    def _changes_s(
        self,
        new_files: Iterable[ListedFile],
        groups: Iterable[FileGroup],
        listing: Listing,
        plates: KnownPlates,
        known: KnownFiles,
    ) -> Iterator[float]:
        """Yield each time after the listing at which a file settles or a group becomes ready."""
        moments_s = [file.settled_at_s(self._rules) for file in new_files]
        moments_s += [self.ready_at_s(group, known) for group in groups]
        moments_s += [known.retries.retry_at_s([file.version]) for file in new_files]
        if plates.unread_maps or plates.unread_assays:
            moments_s += [
                file.settled_at_s(self._rules)
                for path, file in listing.files.items()
                if not is_image_name(path)
            ]
        yield from (moment_s for moment_s in moments_s if not listing.confirms(moment_s))


def _day_or_reason(
    named: NamedFile, file_time: Callable[[], datetime | None], plate_map: PlateMap
) -> VisitFile | str:
    """Return a file with its culture day, or the reason why it has none from day 1 on."""
    try:
        found = find_day(named.name, file_time, named.file.version.mtime_ns, plate_map)
    except ImageError as error:
        return error.problem
    if found.day < 1:
        return (
            f"culture day {found.day} of a plate seeded at {plate_map.seeded_at.isoformat()}; "
            "expected day 1, the day of seeding, or later"
        )
    return VisitFile(named.file, named.name, named.plate, found.day, found.time, named.root)


def _needs_file_time(name: ParsedName) -> bool:
    """Return whether the culture day has to follow from the acquisition time inside the file."""
    return name.day is None and name.taken_at is None and name.elapsed is None


def _with_unread_plates(
    waiting: Counter[str], wells: Iterable[tuple[str, str]], plates: KnownPlates
) -> Counter[str]:
    """Return the waiting counts by plate, increased for plates whose map or assay is unread.

    Each well of a plate with an unread map counts as one. A plate with an unread map or assay
    counts as at least one.
    """
    counts = waiting + Counter(plate for plate, _ in wells if plate in plates.unread_maps)
    unread = plates.unread_maps | plates.unread_assays
    return counts + Counter(plate for plate in unread if plate not in counts)


def _pending_plates(wells: Iterable[tuple[str, str]], plates: KnownPlates) -> dict[str, str]:
    """Return the reason why a plate waits for a valid plate map, by plate."""
    reasons = dict(plates.problems)
    for plate, _ in wells:
        if plate not in plates.maps and plate not in plates.unread_maps:
            reason = f"no plate map; expected {plate}.plate.toml and {plate}.wells.csv"
            reasons.setdefault(plate, reason)
    return reasons
