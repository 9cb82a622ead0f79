"""Group named files by visit to a well, and build the well image of each group."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import zip_longest

from acquisition.drop_folder.culture_days import (
    midnight_near,
    named_time,
    plausible_time,
    with_time_zone,
)
from acquisition.drop_folder.image_decoding import RawImage
from acquisition.drop_folder.image_reading import scale_of, stretch
from acquisition.drop_folder.naming import ParsedName
from acquisition.drop_folder.settling import ListedFile
from schemas.plate_map import PlateMap
from schemas.quality import Flag
from schemas.scale import decide_scale, distinct_scales
from schemas.well_image import FileVersion, VisitKey, WellImage


@dataclass(frozen=True)
class NamedFile:
    """An image file whose name was parsed, with the id of its plate."""

    file: ListedFile
    name: ParsedName
    plate: str  # from the name, the settings or the folder
    root: str = ""  # the folder that holds the images of the plate; a backup has another one


@dataclass(frozen=True)
class VisitFile:
    """An image file of a known plate and culture day: one file of one visit to a well."""

    file: ListedFile
    name: ParsedName
    plate: str
    day: int
    time: datetime | None = None  # that the day follows from; None if the name has the day
    root: str = ""

    @property
    def key(self) -> VisitKey:
        """The visit that the file belongs to."""
        return VisitKey(self.plate, self.name.well, visit_name(self.name, self.day))


@dataclass(frozen=True)
class CopiedFile:
    """A file with the content of another file of the same visit and plane."""

    copy: VisitFile
    original: VisitFile


@dataclass(frozen=True)
class FileGroup:
    """The files of one well image, in the order of their planes."""

    key: VisitKey
    day: int
    name: ParsedName  # of the first file
    files: tuple[ListedFile, ...]
    time: datetime | None = None  # that the day follows from; None if the name has the day
    is_copy: bool = False  # has the content of another group
    near_midnight: bool = False  # the plate was imaged across the midnight close to this image

    @property
    def versions(self) -> tuple[FileVersion, ...]:
        """The FileVersion of each file of the group, as a tuple in the order of the planes."""
        return tuple(file.version for file in self.files)

    @property
    def sort_key(self) -> tuple[int, VisitKey, bool, int]:
        """Culture day, visit, originals and oldest time in ns: the reading order of groups."""
        return self.day, self.key, self.is_copy, min(each.mtime_ns for each in self.versions)


def select_field(files: Sequence[NamedFile], field: int | None) -> Iterator[NamedFile]:
    """Yield the files that show one field (site) of each well, and files whose name has no field.

    A site in text that the pattern ignores is a field as well.

    Parameters
    ----------
    files
        Files of any number of wells.
    field
        The number of the field; None selects the lowest number of each well.
    """
    lowest: dict[tuple[str, str], int] = {}
    for each in files:
        if (number := _field_of(each.name)) is not None:
            well = each.plate, each.name.well
            lowest[well] = min(number, lowest.get(well, number))
    for each in files:
        selected = lowest.get((each.plate, each.name.well)) if field is None else field
        if _field_of(each.name) in (None, selected):
            yield each


def _field_of(name: ParsedName) -> int | None:
    """Return the number of the field in a file name, also in ignored text; None without one."""
    return name.site if name.field is None else name.field


def group_by_visit(
    files: Iterable[VisitFile],
    is_new: Callable[[FileVersion], bool],
    copies: Iterable[CopiedFile] = (),
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
    copies
        Copies of these files. They form groups with the content of the group of their originals.
    """
    visits: defaultdict[VisitKey, defaultdict[int, list[VisitFile]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for each in files:
        visits[each.key][each.name.plane or 0].append(each)
    rows: list[list[VisitFile]] = []
    for planes in visits.values():
        columns = [sorted(planes[plane], key=_file_time) for plane in sorted(planes)]
        rows += [[each for each in row if each is not None] for row in zip_longest(*columns)]
    groups = [_group_of(row) for row in rows]
    groups += _copied_groups(rows, copies)
    new = (group for group in groups if any(map(is_new, group.versions)))
    return sorted(new, key=lambda group: group.sort_key)


def _group_of(row: Sequence[VisitFile], *, is_copy: bool = False) -> FileGroup:
    """Return the group of the files of one well image, in the order of their planes."""
    first = row[0]
    files = tuple(each.file for each in row)
    return FileGroup(first.key, first.day, first.name, files, first.time, is_copy)


def _copied_groups(
    rows: Iterable[Sequence[VisitFile]], copies: Iterable[CopiedFile]
) -> Iterator[FileGroup]:
    """Yield, for each row of files and each folder with copies, the row with copies in it."""
    copies_of: defaultdict[FileVersion, list[VisitFile]] = defaultdict(list)
    for each in copies:
        copies_of[each.original.file.version].append(each.copy)
    for row in rows if copies_of else ():
        copied = [copies_of[each.file.version] for each in row]
        for at_once in zip_longest(*copied):
            pairs = zip(row, at_once, strict=True)
            yield _group_of([copy or original for original, copy in pairs], is_copy=True)


def _file_time(each: VisitFile) -> tuple[int, str]:
    """Return the modification time of a file in ns and its path."""
    return each.file.version.mtime_ns, each.file.version.path


def visit_name(name: ParsedName, day: int) -> str:
    """Return the name of a visit from a parsed file name and its culture day.

    It is ``day07``, or ``day07-20261116T150000`` if the file name has a time, ``day08-007d06h00m``
    if it has an elapsed time, or ``day07-f02`` if it has a field. Names sort by time.
    """
    time = f"-{name.taken_at:%Y%m%dT%H%M%S}" if name.taken_at else ""
    if name.elapsed is not None:
        minutes = name.elapsed // timedelta(minutes=1)
        time += f"-{minutes // 1440:03d}d{minutes // 60 % 24:02d}h{minutes % 60:02d}m"
    field = f"-f{name.field:02d}" if name.field is not None else ""
    return f"day{day:02d}{time}{field}"


def flag_crossed_midnights(
    groups: Iterable[FileGroup], times: Iterable[tuple[str, datetime]], maps: Mapping[str, PlateMap]
) -> list[FileGroup]:
    """Return the groups, with ``near_midnight`` set where the plate was imaged across midnight.

    Parameters
    ----------
    groups
        Groups of plates with a map.
    times
        The plate and time of every image whose day follows from its time.
    maps
        The plate maps by plate.
    """
    groups = list(groups)
    near = {(group.key.plate, midnight_near(group.time, maps[group.key.plate])) for group in groups}
    if all(midnight is None for _, midnight in near):
        return groups
    sides = {(plate, midnight_near(time, maps[plate])) for plate, time in times}
    flagged = []
    for group in groups:
        plate = group.key.plate
        midnight = midnight_near(group.time, maps[plate])
        crosses = midnight is not None and (plate, (midnight[0], not midnight[1])) in sides
        flagged.append(replace(group, near_midnight=True) if crosses else group)
    return flagged


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
        with_time_zone(time, plate_map)
        for image in images
        if (time := plausible_time(image.metadata.taken_at))
    ]
    named = group.name.taken_at
    taken_at = with_time_zone(named, plate_map) if named else min(file_times, default=None)
    taken_at = taken_at or named_time(group.name, plate_map)
    complete = len(stack) >= planes
    flags = [] if complete else [Flag.PLANES_MISSING]
    if taken_at is not None and plate_map.culture_day(taken_at) != group.day:
        flags.append(Flag.DAY_DISAGREES)
    if group.near_midnight:
        flags.append(Flag.NEAR_MIDNIGHT)
    file_scales = distinct_scales(scale_of(image.metadata) for image in images)
    decided = decide_scale(plate_map, file_scales)
    if decided.problem:
        flags.append(Flag.SCALE_DISAGREES)
    return WellImage(
        key=group.key,
        day=group.day,
        taken_at=taken_at,
        files=group.versions,
        planes=stack,
        um_per_px=decided.um_per_px,
        complete=complete,
        flags=tuple(flags),
        file_scales=file_scales,
        day_from_time=group.name.day is None,
    )
