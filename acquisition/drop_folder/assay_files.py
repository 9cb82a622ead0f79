"""Read the assays of the drop folder: ``<plate>.assay.csv`` beside the plate map.

The images of a plate are ingested with or without a valid assay.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from acquisition.drop_folder.listing import list_files
from acquisition.drop_folder.plate_map_files import (
    TOML_NAME,
    PlateMapFiles,
    plate_by_name,
    read_text,
)
from acquisition.drop_folder.settling import ListedFile
from schemas.assay import Assay, parse_assay
from schemas.errors import PlateMapError
from schemas.plate_map import PlateMap
from schemas.well_image import FileVersion

ASSAY_NAME = "assay.csv"


@dataclass(frozen=True)
class _ReadAssay:
    """The result of reading one file beside its plate map: an assay or an error."""

    version: FileVersion
    map_digest: str  # "" if there was no map
    plate: str
    result: Assay | PlateMapError


def wrong_assays(root: Path) -> list[PlateMapError]:
    """Return the error of each invalid assay below a drop folder.

    Assays beside an invalid plate map are left out.

    Raises
    ------
    SourceGoneError
        If the folder cannot be listed.
    """
    files = {
        version.path: ListedFile(version, unchanged_since_s=0.0) for version in list_files(root)
    }
    maps, assays = PlateMapFiles(root), AssayFiles(root)
    maps.update(files, lambda _: True)
    assays.update(files, lambda _: True, maps)
    return list(assays.problems.values())


class AssayFiles:
    """The assays below a drop folder.

    An assay is read again when its file or the plate map changes. If the file is deleted, the last
    assay remains in use.

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
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._read: dict[str, _ReadAssay] = {}  # by path
        self.assays: dict[str, Assay] = {}
        self.problems: dict[str, PlateMapError] = {}
        self.unread: frozenset[str] = frozenset()

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
        for path in sorted(
            path for path in files if f"/{path}".endswith(("/" + ASSAY_NAME, "." + ASSAY_NAME))
        ):
            file, earlier = files[path], self._read.get(path)
            toml_path = path.removesuffix(ASSAY_NAME) + TOML_NAME
            plate_map = maps.map_in(toml_path)
            map_digest = plate_map.digest if plate_map else ""
            if earlier and (earlier.version, earlier.map_digest) == (file.version, map_digest):
                continue
            map_is_invalid = plate_map is None and maps.has_read(toml_path)
            if not is_settled(file) or (toml_path in files and not maps.has_read(toml_path)):
                unread |= set() if earlier else {plate_by_name(self._root, path, ASSAY_NAME)}
            elif not map_is_invalid:  # an invalid map is a problem of its own
                self._read[path] = self._read_one(path, file.version, plate_map)
        self.unread = frozenset(unread)
        self._sort_results(files)

    def _read_one(self, path: str, version: FileVersion, plate_map: PlateMap | None) -> _ReadAssay:
        """Read the assay of one file for the wells of a plate map and return it, or its error."""
        if plate_map is None:
            toml_name = PurePosixPath(path.removesuffix(ASSAY_NAME) + TOML_NAME).name
            missing = PlateMapError(path, f"has no plate map; expected {toml_name} beside it")
            return _ReadAssay(version, "", plate_by_name(self._root, path, ASSAY_NAME), missing)
        result: Assay | PlateMapError
        try:
            result = parse_assay(
                read_text(self._root, path, "an assay"),
                plate=plate_map.plate,
                wells=plate_map.by_well,
                name=path,
            )
        except PlateMapError as error:
            result = error
        return _ReadAssay(version, plate_map.digest, plate_map.plate, result)

    def _sort_results(self, present: Mapping[str, ListedFile]) -> None:
        """Set ``assays`` and ``problems`` from everything that was read.

        Of a file that was moved, the present one is used.
        """
        results: dict[str, Assay | PlateMapError] = {}
        for _, read in sorted(
            self._read.items(), key=lambda item: (item[0] not in present, item[0])
        ):
            results.setdefault(read.plate, read.result)
        self.assays = {
            plate: result for plate, result in results.items() if isinstance(result, Assay)
        }
        self.problems = {
            plate: result for plate, result in results.items() if isinstance(result, PlateMapError)
        }
