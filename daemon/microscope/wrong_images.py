"""Leave stored images out of rankings after the imaging process found that they are wrong.

A well whose stage lost a step may be saved with the image of another well. The imaging process
finds this out later and records it in the journal of the day, which survives a crash of either
process. The service therefore reads the journals and needs no message.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from acquisition.microscope.imaging_journal import day_journals, plates_with_journals
from schemas.errors import OutputError
from store.ports import ImageExclusions

log = structlog.get_logger()

LATELY_S = 2 * 24 * 3600.0
LIST_S = 60.0


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
    clock_s: Callable[[], float] = time.time  # of the files of this computer
    _read: dict[Path, tuple[int, dict[str, str]]] = field(default_factory=dict)  # size, wrong files
    _lately: frozenset[str] = frozenset()
    _listed_s: float = float("-inf")

    def plates_imaged_lately(self) -> frozenset[str]:
        """Return the plates (ids) with a journal that was changed in the last ``LATELY_S``.

        Their journals may name more wrong images. The folder is listed once in ``LIST_S``.
        """
        now_s = self.clock_s()
        if abs(now_s - self._listed_s) >= LIST_S:
            self._listed_s = now_s
            try:
                self._lately = frozenset(plates_with_journals(self.state, now_s - LATELY_S))
            except OutputError as error:  # each plate whose journals are read raises an alert
                log.warning("journals.not_listed", reason=str(error))
        return self._lately

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
