"""Read the plate maps of the drop folder: ``<plate>.plate.toml`` and ``<plate>.wells.csv``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from acquisition.drop_folder.listing import list_files
from acquisition.drop_folder.name_marks import looks_like_backup
from acquisition.drop_folder.settling import ListedFile
from schemas.errors import PlateMapError
from schemas.plate_map import PlateMap, parse_plate_map
from schemas.well_image import FileVersion

TOML_NAME, CSV_NAME = "plate.toml", "wells.csv"
MAX_BYTES = 1_000_000


@dataclass(frozen=True)
class _ReadMap:
    """The result of reading one pair of files: a plate map or a problem."""

    versions: tuple[FileVersion, FileVersion | None]  # of the TOML and the CSV file
    plate: str  # if the map cannot be read: the name of its file or folder
    plate_map: PlateMap | None
    problem: PlateMapError | None


def read_plate_maps(root: Path) -> dict[str, PlateMap | PlateMapError]:
    """Return the plate map of each plate below a drop folder, or the error if it is invalid.

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
    """Return the text of a plate map or assay file.

    Parameters
    ----------
    root
        The drop folder.
    path
        The path of the file below ``root``.
    expected
        The kind of file that is expected, for the error message.

    Raises
    ------
    PlateMapError
        If the file cannot be read, is not UTF-8 or is larger than 1 MB.
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
    """Return the plate id in the name of a file ``<plate>.<file_name>``, else the folder's name."""
    name = PurePosixPath(path).name.removesuffix(file_name).removesuffix(".")
    return name or PurePosixPath(path).parent.name or root.name


class PlateMapFiles:
    """The plate maps below a drop folder.

    A map is read again when one of its files changes. If the files are deleted, the last map
    remains in use.

    Parameters
    ----------
    root
        The drop folder.

    Attributes
    ----------
    maps
        The valid plate maps, by plate id.
    problems
        The error of each invalid plate map, by plate id; the images of the plate are pending.
    unread
        The plates whose map is still being written; their images are pending.
    folders
        The folder of the TOML file of each plate map, valid or not, by plate id.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._read: dict[str, _ReadMap] = {}  # by the path of the TOML file
        self.maps: dict[str, PlateMap] = {}
        self.problems: dict[str, PlateMapError] = {}
        self.unread: frozenset[str] = frozenset()
        self.folders: dict[str, str] = {}

    def update(
        self, files: Mapping[str, ListedFile], is_settled: Callable[[ListedFile], bool]
    ) -> None:
        """Update ``maps`` and ``problems`` from the listed files, by path, that have settled.

        A close event is not enough: it is about one file, and a map has two.
        """
        unread: set[str] = set()
        for path in sorted(
            path for path in files if f"/{path}".endswith(("/" + TOML_NAME, "." + TOML_NAME))
        ):
            csv_path = path.removesuffix(TOML_NAME) + CSV_NAME
            pair = (files[path], files.get(csv_path))
            versions = (pair[0].version, pair[1].version if pair[1] else None)
            earlier = self._read.get(path)
            if earlier is not None and earlier.versions == versions:
                continue
            if all(file is None or is_settled(file) for file in pair):
                self._read[path] = self._read_pair(path, csv_path, versions)
            else:
                name = plate_by_name(self._root, path, TOML_NAME)
                unread.add(earlier.plate if earlier else name)
        self.unread = frozenset(unread)
        self._sort_results(files)

    def has_read(self, path: str) -> bool:
        """Return whether a valid or invalid plate map was read from a TOML file at a path."""
        return path in self._read

    def map_in(self, path: str) -> PlateMap | None:
        """Return the valid plate map that was read from a TOML file at a path, or None."""
        found = self._read[path].plate_map if path in self._read else None
        return found if found is not None and self.maps.get(found.plate) is found else None

    def _read_pair(
        self, path: str, csv_path: str, versions: tuple[FileVersion, FileVersion | None]
    ) -> _ReadMap:
        """Read the plate map of a TOML and a CSV file and return it, or its error."""
        plate = plate_by_name(self._root, path, TOML_NAME)
        name = PurePosixPath(path).name
        if versions[1] is None:
            missing = PlateMapError(csv_path, f"is missing; expected beside {name}")
            return _ReadMap(versions, plate, None, missing)
        try:
            toml_text, csv_text = (
                read_text(self._root, each, "a plate map") for each in (path, csv_path)
            )
            plate_map = parse_plate_map(toml_text, csv_text, toml_name=path, csv_name=csv_path)
        except PlateMapError as error:
            return _ReadMap(versions, plate, None, error)
        if name != TOML_NAME and plate_map.plate != plate:
            problem = f"plate is {plate_map.plate!r}; expected {plate!r}, as the file is named"
            return _ReadMap(versions, plate, None, PlateMapError(path, problem))
        return _ReadMap(versions, plate_map.plate, plate_map, None)

    def _sort_results(self, present: Mapping[str, ListedFile]) -> None:
        """Set ``maps`` and ``problems`` from everything that was read.

        Two plate maps of one plate that both exist are a problem, unless one is an equal map in a
        backup folder. Of a map that was moved, the present file is used.
        """
        maps: dict[str, PlateMap] = {}
        problems: dict[str, PlateMapError] = {}
        source: dict[str, str] = {}  # by plate: path of the TOML file
        for path, read in sorted(
            self._read.items(), key=lambda item: (item[0] not in present, *_map_order(item[0]))
        ):
            if read.plate in source and path not in present:
                continue  # it was moved
            is_equal = read.plate_map is not None and read.plate_map == maps.get(read.plate)
            if is_equal and looks_like_backup(path.rpartition("/")[0]):
                continue
            if read.plate in source:
                other = source[read.plate]
                problem = f"plate {read.plate!r} also has a map in {other}; expected one"
                problems[read.plate] = PlateMapError(path, problem)
            elif read.problem is not None:
                problems[read.plate] = read.problem
            elif read.plate_map is not None:
                maps[read.plate] = read.plate_map
            source[read.plate] = path
        self.problems = problems
        self.folders = {plate: path.rpartition("/")[0] for plate, path in source.items()}
        self.maps = {plate: plate_map for plate, plate_map in maps.items() if plate not in problems}


def _map_order(path: str) -> tuple[bool, int, str]:
    """Return the sort key of the path of a plate map: backups last, then by depth and text."""
    folder = path.rpartition("/")[0]
    return looks_like_backup(folder), path.count("/"), path
