"""Free space of the disks of the service, with alerts."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from daemon.alerts import Alerts
from schemas.messages import AlertKind

FULL_BYTES = 1_000_000
"""Free space below which the disk of the store or of the rankings counts as full."""


@dataclass(frozen=True)
class DiskSpace:
    """Raises an alert for each folder whose disk fills up, and another one if it is full.

    Parameters
    ----------
    min_free_bytes
        Free space below which the first alert is raised.
    """

    folders: Sequence[Path]
    min_free_bytes: int
    alerts: Alerts

    def check(self) -> dict[str, int]:
        """Raise and clear the alerts, and return the free bytes by folder."""
        found = {folder: shutil.disk_usage(folder).free for folder in self.folders}
        for folder, free in found.items():
            for cause, least, blocks in (
                (f"{folder} is full", FULL_BYTES, True),
                (str(folder), self.min_free_bytes, False),
            ):
                if free >= least:
                    self.alerts.clear(AlertKind.DISK, cause)
                    continue
                text = f"{folder}: {free:,} bytes free; expected {least:,} or more"
                self.alerts.raise_once(AlertKind.DISK, cause, text, blocks=blocks)
        return {str(folder): free for folder, free in found.items()}
