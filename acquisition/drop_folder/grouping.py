"""Sort the listed files of the drop folder into groups of one well image each.

Nothing here reads a file or a clock.
"""

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from acquisition.drop_folder.file_outcomes import FileOutcomes
from acquisition.drop_folder.naming import NamePattern, ParsedName, is_image_name
from acquisition.drop_folder.settling import ListedFile, Listing, SettlingRules, ready_at_s
from acquisition.drop_folder.visits import (
    FileGroup,
    NamedFile,
    VisitFile,
    culture_day,
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


@dataclass(frozen=True)
class KnownFiles:
    """The facts about file versions that earlier reading and earlier outcomes provide."""

    outcomes: FileOutcomes
    undecodable: Container[FileVersion] = frozenset()
    page_counts: Mapping[FileVersion, int] = field(default_factory=dict)
    times: Mapping[FileVersion, datetime | None] = field(default_factory=dict)  # inside the file


@dataclass(frozen=True)
class Grouping:
    """The result of sorting one listing: groups to read, waiting files and files to refuse."""

    groups: tuple[FileGroup, ...] = ()  # in the order in which to read them
    waiting: Mapping[str, int] = field(default_factory=dict)  # by plate: files in no group yet
    pending_plates: Mapping[str, str] = field(default_factory=dict)  # by plate: the reason
    refusals: tuple[Rejected, ...] = ()
    untimed: tuple[FileVersion, ...] = ()  # their time has to be read, for the culture day
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
    """

    def __init__(
        self,
        pattern: NamePattern,
        rules: SettlingRules,
        *,
        folder_name: str,
        plate: str | None = None,
        field: int | None = None,
    ) -> None:
        self._pattern = pattern
        self._rules = rules
        self._folder_name = folder_name
        self._plate = plate
        self._field = field

    def group(
        self,
        listing: Listing,
        plates: KnownPlates,
        known: KnownFiles,
        being_read: Iterable[FileGroup] = (),
    ) -> Grouping:
        """Return the groups, waiting files, pending plates and refusals of a listing.

        Each group contains at least one file without an outcome. The groups ``being_read`` and
        their files are left out.
        """
        new_files = [
            file
            for path in listing.names
            if (file := listing.files[path]).version not in known.outcomes
        ]
        wells = self._wells_of(new_files, listing)
        candidates = list(self._candidates(wells, listing, plates, known)) if wells else []
        dated, too_early, undated = self._split_by_day(candidates, listing, plates, known)
        misnamed, unnamed = self._split_misnamed(new_files, listing)
        busy = {version for group in being_read for version in group.versions}
        groups = tuple(
            group
            for group in group_by_visit(dated, lambda version: version not in known.outcomes)
            if busy.isdisjoint(group.versions)
        )
        changes_s = self._changes_s(new_files, groups, listing, plates, known)
        return Grouping(
            groups=groups,
            waiting=_with_unread_plates(unnamed + undated, wells, plates),
            pending_plates=_pending_plates(wells, plates),
            refusals=(*misnamed, *too_early),
            untimed=tuple(self._untimed(candidates, listing, known)),
            next_change_s=min(changes_s, default=NEVER_S),
        )

    def ready_at_s(self, group: FileGroup, known: KnownFiles) -> float:
        """Return when a group is ready to be read if none of its files changes again."""
        counts = [
            1 if self._pattern.one_plane_per_file else known.page_counts.get(version)
            for version in group.versions
        ]
        planes = None if None in counts else sum(count or 0 for count in counts)
        reopened = known.outcomes.include_a_path_of(group.versions)
        return ready_at_s(group.files, planes, self._rules, reopened=reopened)

    def _wells_of(self, files: Iterable[ListedFile], listing: Listing) -> set[tuple[str, str]]:
        """Return the plate and well of each file whose name was parsed."""
        return {
            (self._plate_of(file.version.path, name), name.well)
            for file in files
            if isinstance(name := listing.names[file.version.path], ParsedName)
        }

    def _split_misnamed(
        self, files: Iterable[ListedFile], listing: Listing
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
                    waiting[self._folder_of(path)] += 1
        return refusals, waiting

    def _candidates(
        self,
        wells: AbstractSet[tuple[str, str]],
        listing: Listing,
        plates: KnownPlates,
        known: KnownFiles,
    ) -> Iterator[NamedFile]:
        """Yield the decodable files of these wells that show the selected field.

        Only files of plates with a valid map that is not being changed are candidates.
        """
        files = []
        for path, name in listing.names.items():
            file = listing.files[path]
            if isinstance(name, ParsedName) and file.version not in known.undecodable:
                plate = self._plate_of(path, name)
                is_mapped = plate in plates.maps and plate not in plates.unread_maps
                if (plate, name.well) in wells and is_mapped:
                    files.append(NamedFile(file, name, plate))
        yield from select_field(files, self._field)

    def _split_by_day(
        self,
        candidates: Iterable[NamedFile],
        listing: Listing,
        plates: KnownPlates,
        known: KnownFiles,
    ) -> tuple[list[VisitFile], list[Rejected], Counter[str]]:
        """Return the files with a culture day, refusals of files before day 1 and waiting counts.

        A file waits if its acquisition time is needed and unknown, or if its day is before 1 and it
        has not settled.
        """
        dated: list[VisitFile] = []
        refusals: list[Rejected] = []
        waiting: Counter[str] = Counter()
        for each in candidates:
            version = each.file.version
            if _needs_file_time(each.name) and version not in known.times:
                waiting[each.plate] += 1
                continue
            plate_map = plates.maps[each.plate]
            file_time = partial(known.times.get, version)
            day = culture_day(each.name, file_time, version.mtime_ns, plate_map)
            if day >= 1:
                dated.append(VisitFile(each.file, each.name, each.plate, day))
            elif not listing.confirms(each.file.settled_at_s(self._rules)):
                waiting[each.plate] += 1
            elif version not in known.outcomes:
                reason = (
                    f"culture day {day} of a plate seeded at {plate_map.seeded_at.isoformat()}; "
                    "expected day 1, the day of seeding, or later"
                )
                refusals.append(Rejected((version,), reason, each.plate, each.name.well))
        return dated, refusals, waiting

    def _untimed(
        self, candidates: Iterable[NamedFile], listing: Listing, known: KnownFiles
    ) -> Iterator[FileVersion]:
        """Yield the finished files whose acquisition time is needed and not known."""
        for each in candidates:
            is_needed = _needs_file_time(each.name) and each.file.version not in known.times
            if is_needed and listing.confirms(each.file.finished_at_s(self._rules)):
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
        if plates.unread_maps or plates.unread_assays:
            moments_s += [
                file.settled_at_s(self._rules)
                for path, file in listing.files.items()
                if not is_image_name(path)
            ]
        yield from (moment_s for moment_s in moments_s if not listing.confirms(moment_s))

    def _plate_of(self, path: str, name: ParsedName) -> str:
        """Return the plate of a file from its name, the setting or its folder."""
        return name.plate or self._plate or self._folder_of(path)

    def _folder_of(self, path: str) -> str:
        """Return the first folder of a path above the part that the pattern covers.

        If there is none, return the name of the drop folder.
        """
        above = path.split("/")[: -self._pattern.part_count]
        return above[0] if above else self._folder_name


def _needs_file_time(name: ParsedName) -> bool:
    """Return whether the culture day has to follow from the acquisition time inside the file."""
    return name.day is None and name.taken_at is None


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
