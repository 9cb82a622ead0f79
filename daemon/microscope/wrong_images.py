"""Leave stored images out of rankings after the imaging process found that they are wrong.

A well whose stage lost a step may be saved with the image of another well. The imaging process
finds this out later and records it in the journal of the day, which survives a crash of either
process. The service therefore reads the journals and needs no message.
"""

from dataclasses import dataclass, field
from pathlib import Path

import structlog

from acquisition.microscope.imaging_journal import day_journals
from store.ports import ImageExclusions

log = structlog.get_logger()


@dataclass
class WrongImages:
    """Excludes the stored images of a plate that its journals name as wrong.

    Parameters
    ----------
    state
        The state folder of the microscope.
    """

    state: Path
    store: ImageExclusions
    _read: dict[Path, tuple[int, dict[str, str]]] = field(default_factory=dict)  # size, wrong files

    def exclude(self, plate: str) -> None:
        """Exclude the wrong images of a plate (id) that are stored by now.

        Raises
        ------
        OutputError
            If a journal cannot be read.
        StoreError
            If the store fails.
        """
        reasons: dict[str, str] = {}
        for path, journal in day_journals(self.state, plate).items():
            size = path.stat().st_size  # a journal only grows
            if path not in self._read or self._read[path][0] != size:
                self._read[path] = size, journal.wrong_files()
            reasons |= self._read[path][1]
        for key in self.store.exclude_images(plate, reasons) if reasons else ():
            log.warning("image.excluded", plate=key.plate, well=key.well, visit=key.visit)
