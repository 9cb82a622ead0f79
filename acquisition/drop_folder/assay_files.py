"""Assays as they lie in the drop folder: ``<plate>.assay.csv`` beside the plate's map. A wrong one never holds images back."""

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
class _Read:
    """What a file held when it was last read beside a map."""

    version: FileVersion
    map_digest: str  # "" where there was no map
    plate: str
    result: Assay | PlateMapError


def wrong_assays(root: Path) -> list[PlateMapError]:
    """Return what is wrong with each assay below a drop folder as it is now; none of a plate whose map is wrong.

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
    """The assays below one drop folder: read again when they or their plate's map change, kept when they vanish."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._read: dict[str, _Read] = {}  # by path
        self.assays: dict[str, Assay] = {}  # valid, by plate
        self.problems: dict[str, PlateMapError] = {}  # by plate
        self.unread: frozenset[str] = (
            frozenset()
        )  # plates whose first assay, or the map beside it, is still being written

    def update(
        self,
        files: Mapping[str, ListedFile],
        is_settled: Callable[[ListedFile], bool],
        maps: PlateMapFiles,
    ) -> None:
        """Read the assays that are new or changed and settled, after the maps beside them were read."""
        unread: set[str] = set()
        for path in sorted(
            path for path in files if f"/{path}".endswith(("/" + ASSAY_NAME, "." + ASSAY_NAME))
        ):
            file, toml_path, known = (
                files[path],
                path.removesuffix(ASSAY_NAME) + TOML_NAME,
                self._read.get(path),
            )
            plate_map = maps.map_in(toml_path)
            if known is not None and (known.version, known.map_digest) == (
                file.version,
                plate_map.digest if plate_map else "",
            ):
                continue
            if not is_settled(file) or (toml_path in files and not maps.has_read(toml_path)):
                unread |= set() if known else {plate_by_name(self._root, path, ASSAY_NAME)}
            elif plate_map is not None or not maps.has_read(
                toml_path
            ):  # else the map is wrong, which is told already
                self._read[path] = self._read_one(path, file.version, plate_map)
        self.unread = frozenset(unread)
        self._conclude(files)

    def _read_one(self, path: str, version: FileVersion, plate_map: PlateMap | None) -> _Read:
        if plate_map is None:
            toml_name = PurePosixPath(path.removesuffix(ASSAY_NAME) + TOML_NAME).name
            missing = PlateMapError(path, f"has no plate map; expected {toml_name} beside it")
            return _Read(version, "", plate_by_name(self._root, path, ASSAY_NAME), missing)
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
        return _Read(version, plate_map.digest, plate_map.plate, result)

    def _conclude(self, present: Mapping[str, ListedFile]) -> None:
        """Sort what was read into valid assays and problems; of a file that was moved, the one that is there counts."""
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
