"""Group named files by visit to a well, and build the well image of each group."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import zip_longest

from acquisition.drop_folder.image_decoding import RawImage
from acquisition.drop_folder.image_reading import stretch
from acquisition.drop_folder.naming import ParsedName
from acquisition.drop_folder.settling import ListedFile
from schemas.plate_map import PlateMap
from schemas.quality import Flag
from schemas.well_image import FileVersion, VisitKey, WellImage


@dataclass(frozen=True)
class NamedFile:
    """An image file whose name was parsed, with the id of its plate."""

    file: ListedFile
    name: ParsedName
    plate: str  # from the name, the settings or the folder


@dataclass(frozen=True)
class VisitFile:
    """An image file of a known plate and culture day: one file of one visit to a well."""

    file: ListedFile
    name: ParsedName
    plate: str
    day: int

    @property
    def key(self) -> VisitKey:
        """The visit that the file belongs to."""
        return VisitKey(self.plate, self.name.well, visit_name(self.name, self.day))


@dataclass(frozen=True)
class FileGroup:
    """The files of one well image, in the order of their planes."""

    key: VisitKey
    day: int
    name: ParsedName  # of the first file
    files: tuple[ListedFile, ...]

    @property
    def versions(self) -> tuple[FileVersion, ...]:
        """The version of each file."""
        return tuple(file.version for file in self.files)

    @property
    def sort_key(self) -> tuple[int, VisitKey, int]:
        """Culture day, visit and oldest modification time in ns: the reading order of groups."""
        return self.day, self.key, min(version.mtime_ns for version in self.versions)


def select_field(files: Sequence[NamedFile], field: int | None) -> Iterator[NamedFile]:
    """Yield the files that show one field (site) of each well, and files whose name has no field.

    Parameters
    ----------
    files
        Files of any number of wells.
    field
        The number of the field; None selects the lowest number of each well.
    """
    lowest: dict[tuple[str, str], int] = {}
    for each in files:
        if each.name.field is not None:
            well = each.plate, each.name.well
            lowest[well] = min(each.name.field, lowest.get(well, each.name.field))
    for each in files:
        selected = lowest.get((each.plate, each.name.well)) if field is None else field
        if each.name.field is None or each.name.field == selected:
            yield each


def group_by_visit(
    files: Iterable[VisitFile], is_new: Callable[[FileVersion], bool]
) -> list[FileGroup]:
    """Return the groups of files of one well image each that contain a new file, in reading order.

    Two files of the same visit and plane belong to two well images: a well was imaged twice in a
    day under names that differ in ignored text only. The files of each plane are sorted by the
    robot's clock; the first files of all planes form the first group.

    Parameters
    ----------
    files
        Files of any number of visits.
    is_new
        Whether a version of a file has no outcome yet.
    """
    visits: defaultdict[VisitKey, defaultdict[int, list[VisitFile]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for each in files:
        visits[each.key][each.name.plane or 0].append(each)
    groups = []
    for key, planes in visits.items():
        columns = [sorted(planes[plane], key=_file_time) for plane in sorted(planes)]
        for row in zip_longest(*columns):
            members = [each for each in row if each is not None]
            if any(is_new(each.file.version) for each in members):
                first = members[0]
                files_of_group = tuple(each.file for each in members)
                groups.append(FileGroup(key, first.day, first.name, files_of_group))
    return sorted(groups, key=lambda group: group.sort_key)


def _file_time(each: VisitFile) -> tuple[int, str]:
    """Return the modification time of a file in ns and its path."""
    return each.file.version.mtime_ns, each.file.version.path


def visit_name(name: ParsedName, day: int) -> str:
    """Return the name of a visit from a parsed file name and its culture day.

    It is ``day07``, or ``day07-20261116T150000`` if the file name has a time, or ``day07-f02`` if
    it has a field.
    """
    time = f"-{name.taken_at:%Y%m%dT%H%M%S}" if name.taken_at else ""
    field = f"-f{name.field:02d}" if name.field is not None else ""
    return f"day{day:02d}{time}{field}"


def culture_day(
    name: ParsedName,
    file_time: Callable[[], datetime | None],
    mtime_ns: int,
    plate_map: PlateMap,
) -> int:
    """Return the culture day of a file from its name, acquisition time or modification time.

    Parameters
    ----------
    name
        The parsed name; a day in it wins, then a time in it.
    file_time
        Returns the acquisition time inside the file; called if the name has neither day nor time.
    mtime_ns
        The file's modification time, used if ``file_time`` returns None.
    plate_map
        The plate map with the time of seeding.
    """
    if name.day is not None:
        return name.day
    taken_at = name.taken_at or file_time() or datetime.fromtimestamp(mtime_ns / 1e9, tz=UTC)
    return plate_map.culture_day(with_time_zone(taken_at, plate_map))


def with_time_zone(time: datetime, plate_map: PlateMap) -> datetime:
    """Return a time with the time zone of ``seeded_at`` in the plate map, unless it has a zone."""
    return time if time.tzinfo else time.replace(tzinfo=plate_map.seeded_at.tzinfo)


def build_well_image(
    group: FileGroup,
    images: tuple[RawImage, ...],
    plate_map: PlateMap,
    *,
    planes: int,
    bits: int | None,
) -> WellImage:
    """Return the well image of a group of files from the decoded files and the plate map.

    Parameters
    ----------
    images
        The decoded image of each file of the group, in the same order.
    planes
        The number of planes of a complete well image.
    bits
        Significant bits of a uint16 pixel; None: from the file, else from the brightest pixel.

    Raises
    ------
    ImageError
        If the planes differ in size or type.
    """
    stack = stretch(images, group.key.well, bits=bits)
    file_times = [
        with_time_zone(image.metadata.taken_at, plate_map)
        for image in images
        if image.metadata.taken_at
    ]
    named = group.name.taken_at
    taken_at = with_time_zone(named, plate_map) if named else min(file_times, default=None)
    complete = len(stack) >= planes
    flags = [] if complete else [Flag.PLANES_MISSING]
    if taken_at is not None and plate_map.culture_day(taken_at) != group.day:
        flags.append(Flag.DAY_DISAGREES)
    scales = (image.metadata.um_per_px for image in images if image.metadata.um_per_px)
    return WellImage(
        key=group.key,
        day=group.day,
        taken_at=taken_at,
        files=group.versions,
        planes=stack,
        um_per_px=plate_map.um_per_px or next(scales, None),
        complete=complete,
        flags=tuple(flags),
        day_from_time=group.name.day is None,
    )
