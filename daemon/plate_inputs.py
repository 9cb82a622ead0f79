"""Copies plate maps and assays from the source to the store."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from acquisition.ports import Source
from daemon.alerts import Alerts
from daemon.calibrations import Calibrations
from daemon.scale_check import ScaleCheck
from schemas.messages import AlertKind
from store.ports import AssayStore, PlateMapStore


class InputStore(AssayStore, PlateMapStore, Protocol):
    """The parts of the store that keep plate maps and assays."""


@dataclass
class PlateInputs:
    """The plate maps and assays that the source reads, and their newest versions in the store."""

    source: Source
    store: InputStore
    calibrations: Calibrations
    scales: ScaleCheck
    alerts: Alerts
    clock: Callable[[], datetime]
    _saved_maps: dict[str, str] = field(default_factory=dict)  # digest by plate
    _saved_assays: dict[str, str] = field(default_factory=dict)  # digest by plate
    _wrong_assays: dict[str, str] = field(default_factory=dict)  # problem by plate

    def save_plate_maps(self) -> None:
        """Store each new or corrected plate map; rankings read their plate map from the store."""
        for plate, plate_map in self.source.plate_maps().items():
            if self._saved_maps.get(plate) != plate_map.digest:
                self.store.save_plate_map(plate_map, self.clock())
                self._saved_maps[plate] = plate_map.digest
                self.scales.note(plate)

    def save_assays(self, wrong: dict[str, str]) -> None:
        """Store each new or corrected assay; raise alerts about ``wrong`` ones, problem by plate.

        A new assay alone makes no new ranking.

        Parameters
        ----------
        wrong
            The problem of each assay file that cannot be used, by plate.
        """
        for plate, assay in self.source.assays().items():
            if self._saved_assays.get(plate) != assay.digest:
                self.store.save_assay(assay, self.clock())
                self._saved_assays[plate] = assay.digest
                self.calibrations.note(plate)
        for problem in set(self._wrong_assays.values()) - set(wrong.values()):
            self.alerts.clear(AlertKind.ASSAY, problem)
        self._wrong_assays = wrong
        for plate, problem in wrong.items():
            self.alerts.raise_once(
                AlertKind.ASSAY,
                problem,
                f"the assay of plate {plate} is not used: {problem}",
                plate,
            )
