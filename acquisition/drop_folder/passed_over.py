"""Log the files of the drop folder that are passed over because of their ending."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

import structlog

from acquisition.drop_folder.assay_files import ASSAY_NAMES
from acquisition.drop_folder.name_tokens import IMAGE_SUFFIXES
from acquisition.drop_folder.naming import is_image_name
from acquisition.drop_folder.plate_map_files import CSV_NAME, TOML_NAME, XLSX_NAME
from acquisition.drop_folder.settling import is_marker

log = structlog.get_logger()

NO_ENDING = "(none)"
_READ_NAMES = (TOML_NAME, CSV_NAME, XLSX_NAME, *ASSAY_NAMES)


def count_passed_over(paths: Iterable[str]) -> dict[str, int]:
    """Return the number of files that are never read, by ending in lower case.

    Images, plate maps, assays and markers of finished files are read.

    Parameters
    ----------
    paths
        The paths of all listed files.
    """
    counts = Counter(
        PurePosixPath(path).suffix.lower() or NO_ENDING
        for path in paths
        if not is_image_name(path) and not is_marker(path) and not _is_plate_file(path)
    )
    return dict(sorted(counts.items()))


def _is_plate_file(path: str) -> bool:
    return f"/{path}".endswith(tuple(f"{mark}{name}" for name in _READ_NAMES for mark in "/."))


class PassedOverLog:
    """Logs the numbers of files that are passed over, each time they have changed.

    While files are being copied the numbers change with every listing, so a change is logged when
    two listings in a row have the same numbers; the first listing is logged at once.

    Parameters
    ----------
    root
        The drop folder, for the log.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._logged: Mapping[str, int] = {}
        self._last: Mapping[str, int] | None = None

    def note_listing(self, counts: Mapping[str, int]) -> None:
        """Log the numbers of files that are passed over, by ending, if they are news."""
        is_stable = self._last is None or self._last == counts
        self._last = counts
        if is_stable and counts != self._logged:
            self._logged = counts
            log.warning(
                "files.passed_over",
                folder=str(self._root),
                files=counts,
                expected=f"images that end in {', '.join(IMAGE_SUFFIXES)}",
            )
