"""From files whose names were read to well images: which files belong together, of which day, and what the image is then called."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import zip_longest

from acquisition.drop_folder.image_reading import RawImage, stretch
from acquisition.drop_folder.naming import NameReading
from acquisition.drop_folder.settling import SeenFile
from schemas.plate_map import PlateMap
from schemas.quality import Flag
from schemas.well_image import FileVersion, VisitKey, WellImage


@dataclass(frozen=True)
class PlacedFile:
    """A file of a plate whose map is known, and of which culture day it is."""

    file: SeenFile
    reading: NameReading
    plate: str
    day: int


@dataclass(frozen=True)
class Take:
    """The files of one well image, in the order of their planes."""

    key: VisitKey
    day: int
    reading: NameReading  # of the first file
    files: tuple[SeenFile, ...]

    @property
    def versions(self) -> tuple[FileVersion, ...]:
        """The versions of its files."""
        return tuple(file.version for file in self.files)

    @property
    def order(self) -> tuple[int, VisitKey, int]:
        """Older days first: what catching up needs. Then plate, well and visit; then the older of two takes."""
        return self.day, self.key, min(version.mtime_ns for version in self.versions)


def of_one_field(
    members: Sequence[tuple[SeenFile, NameReading, str]], field: int | None
) -> Iterator[tuple[SeenFile, NameReading, str]]:
    """Yield the files, each with its reading and plate, that show the field to be taken; None takes the lowest of each well."""
    lowest: dict[tuple[str, str], int] = {}
    for _, reading, plate in members:
        if reading.field is not None:
            lowest[plate, reading.well] = min(
                reading.field, lowest.get((plate, reading.well), reading.field)
            )
    for file, reading, plate in members:
        if reading.field is None or reading.field == (
            lowest[plate, reading.well] if field is None else field
        ):
            yield file, reading, plate


def gather(placed: Iterable[PlacedFile], is_fresh: Callable[[FileVersion], bool]) -> list[Take]:
    """Return the well images of which at least one file is fresh, in the order in which they are to be taken.

    Files of one visit and plane are several takes of it, oldest first by the robot's clock: a well imaged twice in a day under names that differ
    in ignored text only. The first files of all planes are the first take, and so on.
    """
    visits: defaultdict[VisitKey, defaultdict[int, list[PlacedFile]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for one in placed:
        visits[VisitKey(one.plate, one.reading.well, visit_name(one))][
            one.reading.plane or 0
        ].append(one)
    takes = []
    for key, planes in visits.items():
        columns = [
            sorted(
                planes[plane], key=lambda one: (one.file.version.mtime_ns, one.file.version.path)
            )
            for plane in sorted(planes)
        ]
        for members in zip_longest(*columns):
            there = [one for one in members if one is not None]
            if any(is_fresh(one.file.version) for one in there):
                takes.append(
                    Take(key, there[0].day, there[0].reading, tuple(one.file for one in there))
                )
    return sorted(takes, key=lambda take: take.order)


def visit_name(placed: PlacedFile) -> str:
    """Return ``day07``, ``day07-20261116T150000`` or ``day07-f02``, by what the name tells."""
    reading = placed.reading
    time = f"-{reading.taken_at:%Y%m%dT%H%M%S}" if reading.taken_at else ""
    field = f"-f{reading.field:02d}" if reading.field is not None else ""
    return f"day{placed.day:02d}{time}{field}"


def culture_day(
    reading: NameReading,
    own_time: Callable[[], datetime | None],
    mtime_ns: int,
    plate_map: PlateMap,
) -> int:
    """Return the day in the name, else that of the time in the name, of the file's own time, or of its last change, in this order."""
    if reading.day is not None:
        return reading.day
    at = reading.taken_at or own_time() or datetime.fromtimestamp(mtime_ns / 1e9, tz=UTC)
    return plate_map.culture_day(with_zone(at, plate_map))


def with_zone(at: datetime, plate_map: PlateMap) -> datetime:
    """Return an instant; a clock that names no zone is read in the zone of ``seeded_at``."""
    return at if at.tzinfo else at.replace(tzinfo=plate_map.seeded_at.tzinfo)


def well_image(
    take: Take, images: tuple[RawImage, ...], plate_map: PlateMap, *, planes: int, bits: int | None
) -> WellImage:
    """Return the well image that these files hold.

    Raises
    ------
    ImageError
        If their planes do not fit together.
    """
    stack = stretch(images, take.key.well, bits=bits)
    own_times = [
        with_zone(image.metadata.taken_at, plate_map) for image in images if image.metadata.taken_at
    ]
    named = take.reading.taken_at
    taken_at = with_zone(named, plate_map) if named else min(own_times, default=None)
    complete = len(stack) >= planes
    flags = [] if complete else [Flag.PLANES_MISSING]
    if taken_at is not None and plate_map.culture_day(taken_at) != take.day:
        flags.append(Flag.DAY_DISAGREES)
    scales = (image.metadata.um_per_px for image in images if image.metadata.um_per_px)
    return WellImage(
        key=take.key,
        day=take.day,
        taken_at=taken_at,
        files=take.versions,
        planes=stack,
        um_per_px=plate_map.um_per_px or next(scales, None),
        complete=complete,
        flags=tuple(flags),
    )
