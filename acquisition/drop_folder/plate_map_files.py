"""Read the plate maps of the drop folder: ``<plate>.plate.toml`` and ``<plate>.wells.csv``.

``<plate>.wells.xlsx`` is read in place of ``<plate>.wells.csv``.
"""

import unicodedata
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from acquisition.drop_folder.listing import list_files
from acquisition.drop_folder.name_marks import looks_like_backup
from acquisition.drop_folder.resting_folders import folder_around
from acquisition.drop_folder.settling import ListedFile
from acquisition.drop_folder.table_files import read_table, read_text, result_of
from schemas.errors import MachineError, PlateMapError
from schemas.plate_map import PlateMap, parse_plate_map
from schemas.treatment import parse_treatment
from schemas.well_image import FileVersion
from schemas.well_texts import WELL_COLUMNS

TOML_NAME, CSV_NAME, XLSX_NAME = "plate.toml", "wells.csv", "wells.xlsx"


@dataclass(frozen=True)
class _ReadMap:
    """The result of reading the files of one plate map: a plate map or a problem."""

    versions: tuple[FileVersion | None, ...]  # of the TOML, CSV and Excel file
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
        {
            version.path: ListedFile(version, unchanged_since_s=0.0)
            for version in list_files(root, outside={})
        },
        lambda _: True,
    )
    return {**maps.maps, **maps.problems}


def plate_by_name(root: Path, path: str, file_name: str) -> str:
    """Return the plate id in the name of a file ``<plate>.<file_name>``, else the folder's name."""
    name = PurePosixPath(path).name.removesuffix(file_name).removesuffix(".")
    return unicodedata.normalize("NFC", name or PurePosixPath(path).parent.name or root.name)


class PlateMapFiles:
    """The plate maps below a drop folder.

    A map is read again when one of its files changes, and after a fault of the disk or the network.
    If the files are deleted or cannot be read, the last map remains in use.

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
    unreadable
        The fault of each file, by path, that replaces a valid map and cannot be read now.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._read: dict[str, _ReadMap] = {}  # by the path of the TOML file
        self._faults: dict[str, _ReadMap] = {}  # first maps that cannot be read now
        self.maps: dict[str, PlateMap] = {}
        self.problems: dict[str, PlateMapError] = {}
        self.unread: frozenset[str] = frozenset()
        self.folders: dict[str, str] = {}
        self.unreadable: dict[str, str] = {}

    def update(
        self, files: Mapping[str, ListedFile], is_settled: Callable[[ListedFile], bool]
    ) -> None:
        """Update ``maps`` and ``problems`` from the listed files, by path, that have settled.

        A close event is not enough: it is about one file, and a map has two.
        """
        unread: set[str] = set()
        self._faults, self.unreadable = {}, {}
        for path in sorted(
            path for path in files if f"/{path}".endswith(("/" + TOML_NAME, "." + TOML_NAME))
        ):
            parts = [files.get(each) for each in _paths_of_map(path)]
            versions = tuple(part.version if part else None for part in parts)
            earlier = self._read.get(path)
            if earlier is not None and earlier.versions == versions:
                continue
            if all(part is None or is_settled(part) for part in parts):
                self._update_map(path, versions, earlier)
            else:
                name = plate_by_name(self._root, path, TOML_NAME)
                unread.add(earlier.plate if earlier else name)
        self.unread = frozenset(unread)
        self._sort_results(files)

    def forget(self, folders: Container[str], present: Container[str]) -> None:
        """Forget the plate maps in some folders; ``present`` are the paths that remain listed."""
        for read in (self._read, self._faults):
            for path in [path for path in read if folder_around(path, folders) is not None]:
                del read[path]
        self._sort_results(present)

    def has_read(self, path: str) -> bool:
        """Return whether reading a plate map with a TOML file at a path gave a map or an error."""
        return path in self._read or path in self._faults

    def map_in(self, path: str) -> PlateMap | None:
        """Return the valid plate map that was read from a TOML file at a path, or None."""
        found = self._read[path].plate_map if path in self._read else None
        return found if found is not None and self.maps.get(found.plate) is found else None

    def _update_map(
        self, path: str, versions: tuple[FileVersion | None, ...], earlier: _ReadMap | None
    ) -> None:
        """Read the plate map of a TOML file; keep the earlier one if there is a machine fault."""
        plate = plate_by_name(self._root, path, TOML_NAME)
        try:
            result = result_of(lambda: self._read_map(path, versions), path)
        except MachineError as fault:
            if earlier is None:
                problem = PlateMapError(fault.where, fault.problem)
                self._faults[path] = _ReadMap(versions, plate, None, problem)
            else:
                self.unreadable[fault.where] = fault.problem
            return
        if isinstance(result, PlateMapError):
            self._read[path] = _ReadMap(versions, plate, None, result)
        else:
            self._read[path] = _ReadMap(versions, result.plate, result, None)

    def _read_map(self, path: str, versions: tuple[FileVersion | None, ...]) -> PlateMap:
        """Return the plate map of a TOML file and the tables of wells beside it.

        Raise PlateMapError if it is not valid, or there are two tables that differ.
        """
        plate = plate_by_name(self._root, path, TOML_NAME)
        name = PurePosixPath(path).name
        tables = [each.path for each in versions[1:] if each is not None]
        if not tables:
            _, csv_path, xlsx_path = _paths_of_map(path)
            raise PlateMapError(
                csv_path,
                f"is missing; expected beside {name} (or as {PurePosixPath(xlsx_path).name} there)",
            )
        toml_text = read_text(self._root, path, "a plate map")
        plate_map, *others = (
            parse_plate_map(
                toml_text,
                read_table(self._root, table, WELL_COLUMNS, "a plate map"),
                toml_name=path,
            )
            for table in tables
        )
        for other in others:
            if difference := _difference(plate_map, other):
                raise PlateMapError(
                    tables[0],
                    f"differs from {tables[1]}: {difference}; expected one file, or equal wells",
                )
        if name != TOML_NAME and plate_map.plate != plate:
            raise PlateMapError(
                path, f"plate is {plate_map.plate!r}; expected {plate!r}, as the file is named"
            )
        return plate_map

    def _sort_results(self, present: Container[str]) -> None:
        """Set ``maps`` and ``problems`` from everything that was read.

        Two plate maps of one plate that both exist are a problem, unless one is an equal map in a
        backup folder. Of a map that was moved, the present file is used.
        """
        maps: dict[str, PlateMap] = {}
        problems: dict[str, PlateMapError] = {}
        source: dict[str, str] = {}  # by plate: path of the TOML file
        for path, read in sorted(
            (self._read | self._faults).items(),
            key=lambda item: (item[0] not in present, *_map_order(item[0])),
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


def _paths_of_map(path: str) -> tuple[str, str, str]:
    """Return the paths of the TOML, CSV and Excel file of a plate map with this TOML file."""
    stem = path.removesuffix(TOML_NAME)
    return path, stem + CSV_NAME, stem + XLSX_NAME


def _difference(one: PlateMap, other: PlateMap) -> str:
    """Return the first well that differs between two plate maps as text; "" if none differs."""
    labels, other_labels = (
        {entry.well: (entry.group, parse_treatment(entry.treatment).key) for entry in each.entries}
        for each in (one, other)
    )
    different = [
        well for well in sorted(labels | other_labels) if labels.get(well) != other_labels.get(well)
    ]
    if not different:
        return ""
    found = (
        f"{entry.group} {entry.treatment!r}"
        if (entry := each.by_well.get(different[0]))
        else "none"
        for each in (one, other)
    )
    return f"well {different[0]} is " + " and ".join(found)
