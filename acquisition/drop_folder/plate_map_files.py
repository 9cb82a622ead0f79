"""Plate maps as they lie in the drop folder: ``<plate>.plate.toml`` and ``<plate>.wells.csv`` side by side."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from acquisition.drop_folder.listing import list_files
from acquisition.drop_folder.settling import ListedFile
from schemas.errors import PlateMapError
from schemas.plate_map import PlateMap, parse_plate_map
from schemas.well_image import FileVersion

TOML_NAME, CSV_NAME = "plate.toml", "wells.csv"
MAX_BYTES = 1_000_000


@dataclass(frozen=True)
class _Read:
    """What a pair of files held when it was last read."""

    versions: tuple[FileVersion, FileVersion | None]
    plate: str  # where the map cannot be read: the name of its file or folder
    plate_map: PlateMap | None
    problem: PlateMapError | None


def read_plate_maps(root: Path) -> dict[str, PlateMap | PlateMapError]:
    """Return every plate map below a drop folder as it is now, or what is wrong with it, by plate.

    Raises
    ------
    SourceGoneError
        If the folder cannot be listed.
    """
    maps = PlateMapFiles(root)
    maps.update(
        {version.path: ListedFile(version, unchanged_since_s=0.0) for version in list_files(root)},
        lambda _: True,
    )
    return {**maps.maps, **maps.problems}


def read_text(root: Path, path: str, expected: str) -> str:
    """Return what a small file of a plate says.

    Raises
    ------
    PlateMapError
        If it cannot be read, is no UTF-8, or is far larger than what is expected.
    """
    try:
        with (root / path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise PlateMapError(path, f"is larger than {MAX_BYTES} bytes; expected {expected}")
        return content.decode("utf-8-sig")
    except OSError as error:
        raise PlateMapError(path, f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PlateMapError(path, f"is not UTF-8: {error.reason} at byte {error.start}") from error


def plate_by_name(root: Path, path: str, file_name: str) -> str:
    """Return the plate that a file is named after: ``<plate>.<file_name>``, or its folder."""
    name = PurePosixPath(path).name.removesuffix(file_name).removesuffix(".")
    return name or PurePosixPath(path).parent.name or root.name


class PlateMapFiles:
    """The plate maps below one drop folder: read again when they change, kept when they vanish."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._read: dict[str, _Read] = {}  # by path of the TOML
        self.maps: dict[str, PlateMap] = {}  # valid, by plate
        self.problems: dict[str, PlateMapError] = {}  # by plate: why its images wait
        self.unread: frozenset[str] = frozenset()  # plates whose first map is still being written

    def update(
        self, files: Mapping[str, ListedFile], is_settled: Callable[[ListedFile], bool]
    ) -> None:
        """Read the maps that are new or changed and settled: a close event speaks for one file, a map is two."""
        unread: set[str] = set()
        for path in sorted(
            path for path in files if f"/{path}".endswith(("/" + TOML_NAME, "." + TOML_NAME))
        ):
            csv_path = path.removesuffix(TOML_NAME) + CSV_NAME
            pair = (files[path], files.get(csv_path))
            versions = (pair[0].version, pair[1].version if pair[1] else None)
            known = self._read.get(path)
            if known is not None and known.versions == versions:
                continue
            if all(file is None or is_settled(file) for file in pair):
                self._read[path] = self._read_pair(path, csv_path, versions)
            elif known is None:
                unread.add(plate_by_name(self._root, path, TOML_NAME))
        self.unread = frozenset(unread)
        self._conclude(files)

    def has_read(self, path: str) -> bool:
        """Return whether the map whose TOML lies, or lay, at a path was read, right or wrong."""
        return path in self._read

    def map_in(self, path: str) -> PlateMap | None:
        """Return the map whose TOML lies, or lay, at a path, if it is valid."""
        found = self._read[path].plate_map if path in self._read else None
        return found if found is not None and self.maps.get(found.plate) is found else None

    def _read_pair(
        self, path: str, csv_path: str, versions: tuple[FileVersion, FileVersion | None]
    ) -> _Read:
        plate = plate_by_name(self._root, path, TOML_NAME)
        if versions[1] is None:
            return _Read(
                versions,
                plate,
                None,
                PlateMapError(csv_path, f"is missing; expected beside {PurePosixPath(path).name}"),
            )
        try:
            toml_text, csv_text = (
                read_text(self._root, each, "a plate map") for each in (path, csv_path)
            )
            plate_map = parse_plate_map(toml_text, csv_text, toml_name=path, csv_name=csv_path)
        except PlateMapError as error:
            return _Read(versions, plate, None, error)
        if PurePosixPath(path).name != TOML_NAME and plate_map.plate != plate:
            return _Read(
                versions,
                plate,
                None,
                PlateMapError(
                    path, f"plate is {plate_map.plate!r}; expected {plate!r}, as the file is named"
                ),
            )
        return _Read(versions, plate_map.plate, plate_map, None)

    def _conclude(self, present: Mapping[str, ListedFile]) -> None:
        """Sort what was read into valid maps and problems; two present maps of one plate are a problem, whichever is right."""
        maps: dict[str, PlateMap] = {}
        problems: dict[str, PlateMapError] = {}
        source: dict[str, str] = {}
        for path, read in sorted(
            self._read.items(), key=lambda item: (item[0] not in present, item[0])
        ):
            if read.plate in source and path not in present:
                continue  # it was moved
            if read.plate in source:
                problems[read.plate] = PlateMapError(
                    path,
                    f"plate {read.plate!r} has a map in {source[read.plate]} already; expected one",
                )
            elif read.problem is not None:
                problems[read.plate] = read.problem
            elif read.plate_map is not None:
                maps[read.plate] = read.plate_map
            source[read.plate] = path
        self.problems = problems
        self.maps = {plate: plate_map for plate, plate_map in maps.items() if plate not in problems}
