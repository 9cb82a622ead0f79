"""Read the assays of the drop folder: ``<plate>.assay.csv`` beside the plate map.

``<plate>.assay.xlsx`` is read in place of ``<plate>.assay.csv``.
The images of a plate are ingested with or without a valid assay.
"""

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from acquisition.drop_folder.listing import list_files
from acquisition.drop_folder.plate_map_files import TOML_NAME, PlateMapFiles, plate_by_name
from acquisition.drop_folder.resting_folders import folder_around
from acquisition.drop_folder.settling import ListedFile
from acquisition.drop_folder.table_files import read_table, result_of
from schemas.assay import ASSAY_COLUMNS, Assay, parse_assay
from schemas.errors import MachineError, PlateMapError
from schemas.plate_map import PlateMap
from schemas.well_image import FileVersion

ASSAY_NAMES = ("assay.csv", "assay.xlsx")


@dataclass(frozen=True)
class _ReadAssay:
    """The result of reading the files beside a plate map: an assay or an error."""

    versions: tuple[FileVersion, ...]  # of the CSV file, the Excel file or both
    map_digest: str  # "" if there was no map
    plate: str
    result: Assay | PlateMapError


def read_assays(root: Path) -> dict[str, Assay | PlateMapError]:
    """Return the assay of each plate below a drop folder, or the error if it is invalid.

    Assays beside an invalid plate map are left out.

    Raises
    ------
    SourceGoneError
        If the folder cannot be listed.
    """
    files = {
        version.path: ListedFile(version, unchanged_since_s=0.0)
        for version in list_files(root, outside={})
    }
    maps, assays = PlateMapFiles(root), AssayFiles(root)
    maps.update(files, lambda _: True)
    assays.update(files, lambda _: True, maps)
    return {**assays.assays, **assays.problems}


def wrong_assays(root: Path) -> list[PlateMapError]:
    """Return the error of each invalid assay below a drop folder; see :func:`read_assays`."""
    return [found for found in read_assays(root).values() if isinstance(found, PlateMapError)]


class AssayFiles:
    """The assays below a drop folder.

    An assay is read again when its file or the plate map changes, and after a fault of the disk or
    the network. If the file is deleted or cannot be read, the last assay remains in use.

    Parameters
    ----------
    root
        The drop folder.

    Attributes
    ----------
    assays
        The valid assays, by plate id.
    problems
        The error of each invalid assay, by plate id.
    unread
        The plates whose first assay, or the plate map beside it, is still being written.
    unreadable
        The fault of each file, by path, that replaces a valid assay and cannot be read now.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._read: dict[str, _ReadAssay] = {}  # by the path without the name of the file
        self._faults: dict[str, _ReadAssay] = {}  # first assays that cannot be read now
        self.assays: dict[str, Assay] = {}
        self.problems: dict[str, PlateMapError] = {}
        self.unread: frozenset[str] = frozenset()
        self.unreadable: dict[str, str] = {}

    def update(
        self,
        files: Mapping[str, ListedFile],
        is_settled: Callable[[ListedFile], bool],
        maps: PlateMapFiles,
    ) -> None:
        """Update ``assays`` and ``problems`` from the listed files, by path, that have settled.

        An assay is read after the plate map of its plate.
        """
        unread: set[str] = set()
        self._faults, self.unreadable = {}, {}
        for stem in sorted({stem for path in files if (stem := _stem(path)) is not None}):
            parts = [files[stem + name] for name in ASSAY_NAMES if stem + name in files]
            versions = tuple(part.version for part in parts)
            earlier = self._read.get(stem)
            toml_path = stem + TOML_NAME
            plate_map = maps.map_in(toml_path)
            map_digest = plate_map.digest if plate_map else ""
            if earlier and (earlier.versions, earlier.map_digest) == (versions, map_digest):
                continue
            map_is_invalid = plate_map is None and maps.has_read(toml_path)
            has_unread_map = toml_path in files and not maps.has_read(toml_path)
            if has_unread_map or not all(map(is_settled, parts)):
                unread |= set() if earlier else {self._plate_of(versions)}
            elif not map_is_invalid:  # an invalid map is a problem of its own
                self._update_assay(stem, versions, plate_map)
        self.unread = frozenset(unread)
        self._sort_results(files)

    def forget(self, folders: Container[str], present: Iterable[str]) -> None:
        """Forget the assays in some folders; ``present`` are the paths that remain listed."""
        for read in (self._read, self._faults):
            for stem in [stem for stem in read if folder_around(stem, folders) is not None]:
                del read[stem]
        self._sort_results(present)

    def _update_assay(
        self, stem: str, versions: tuple[FileVersion, ...], plate_map: PlateMap | None
    ) -> None:
        """Read an assay for a plate map; keep the earlier one if there is a machine fault."""
        plate = plate_map.plate if plate_map else self._plate_of(versions)
        digest = plate_map.digest if plate_map else ""
        path = versions[0].path
        try:
            result = result_of(lambda: self._read_files(stem, versions, plate_map), path)
        except MachineError as fault:
            if stem in self._read:
                self.unreadable[fault.where] = fault.problem
            else:
                problem = PlateMapError(fault.where, fault.problem)
                self._faults[stem] = _ReadAssay(versions, digest, plate, problem)
        else:
            self._read[stem] = _ReadAssay(versions, digest, plate, result)

    def _read_files(
        self, stem: str, versions: tuple[FileVersion, ...], plate_map: PlateMap | None
    ) -> Assay:
        """Return the assay in the files for the wells of a plate map.

        Raise PlateMapError if it is not valid, or if there are two files that differ.
        """
        if plate_map is None:
            toml_name = PurePosixPath(stem + TOML_NAME).name
            raise PlateMapError(
                versions[0].path, f"has no plate map; expected {toml_name} beside it"
            )
        assay, *others = (
            parse_assay(
                read_table(self._root, version.path, ASSAY_COLUMNS, "an assay"),
                plate=plate_map.plate,
                wells=plate_map.by_well,
                untreated=plate_map.untreated_wells,
            )
            for version in versions
        )
        if any(other.viability_percent != assay.viability_percent for other in others):
            raise PlateMapError(
                versions[0].path,
                f"differs from {versions[1].path}; expected one file, or equal values",
            )
        return assay

    def _plate_of(self, versions: tuple[FileVersion, ...]) -> str:
        """Return the plate id in the name of the first file of an assay, else of its folder."""
        path = versions[0].path
        return plate_by_name(self._root, path, next(filter(path.endswith, ASSAY_NAMES)))

    def _sort_results(self, present: Iterable[str]) -> None:
        """Set ``assays`` and ``problems`` from everything that was read.

        Of a file that was moved, the present one is used.
        """
        stems = set(map(_stem, present))
        results: dict[str, Assay | PlateMapError] = {}
        for _, read in sorted(
            (self._read | self._faults).items(), key=lambda item: (item[0] not in stems, item[0])
        ):
            results.setdefault(read.plate, read.result)
        self.assays = {
            plate: result for plate, result in results.items() if isinstance(result, Assay)
        }
        self.problems = {
            plate: result for plate, result in results.items() if isinstance(result, PlateMapError)
        }


def _stem(path: str) -> str | None:
    """Return the path of an assay file without its last name, or None for another file."""
    for name in ASSAY_NAMES:
        if f"/{path}".endswith(("/" + name, "." + name)):
            return path.removesuffix(name)
    return None
