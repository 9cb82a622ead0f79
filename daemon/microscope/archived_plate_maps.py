"""The plate maps in the archive of the microscope, read again at intervals."""

from collections.abc import Callable, Mapping
from pathlib import Path

from acquisition.drop_folder.plate_map_files import read_plate_maps
from daemon.microscope.active_alerts import ActiveAlerts
from schemas.errors import PlateMapError, SpheroRankError
from schemas.plate_map import PlateMap

MAX_AGE_S = 10.0  # reading plate maps lists the whole archive, which is slow on a share

_CAUSE = "archive"  # of the alert


class ArchivedPlateMaps:
    """The valid plate maps of the archive; an unreadable archive raises an alert.

    Invalid plate maps are reported by the service, which reads the archive, too.
    """

    def __init__(self, archive: Path, alerts: ActiveAlerts, elapsed_s: Callable[[], float]) -> None:
        self._archive = archive
        self._alerts = alerts
        self._elapsed_s = elapsed_s
        self._plate_maps: dict[str, PlateMap] = {}
        self._read_again_at_s = float("-inf")

    def read(self) -> Mapping[str, PlateMap]:
        """Return the valid plate maps by plate id, at most ten seconds old."""
        if self._elapsed_s() >= self._read_again_at_s:
            try:
                found = read_plate_maps(self._archive)
            except SpheroRankError as error:
                self._alerts.raise_once(_CAUSE, f"the archive cannot be read: {error}")
                found = {}
            else:
                self._alerts.clear(_CAUSE)
            self._plate_maps = {
                plate: plate_map
                for plate, plate_map in found.items()
                if isinstance(plate_map, PlateMap)
            }
            self._read_again_at_s = self._elapsed_s() + MAX_AGE_S
        return self._plate_maps

    @property
    def is_archive_readable(self) -> bool:
        """True if the archive was readable at the last attempt."""
        return not self._alerts.is_active(_CAUSE)


def read_plate_map(archive: Path, plate: str) -> PlateMap:
    """Return the plate map of a plate (id) from the archive.

    Raises
    ------
    PlateMapError
        If there is no such plate, or its plate map is invalid.
    """
    found = read_plate_maps(archive)
    if plate not in found:
        plates = ", ".join(sorted(found)) or "none yet"
        raise PlateMapError(
            archive,
            f"has no plate {plate}; expected one of {plates}, as {plate}.plate.toml",
        )
    plate_map = found[plate]
    if isinstance(plate_map, PlateMapError):
        raise plate_map
    return plate_map
