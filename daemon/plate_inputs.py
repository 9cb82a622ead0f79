"""Copies plate maps and assays from the source to the store."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from acquisition.ports import Source
from daemon.alerts import Alerts
from daemon.calibrations import Calibrations
from daemon.plate_runs import PlateRuns
from daemon.scale_check import ScaleCheck
from schemas.assay import Assay
from schemas.errors import DamagedRowError
from schemas.messages import AlertKind
from schemas.plate_map import PlateMap
from store.ports import AssayStore, PlateMapStore


class InputStore(AssayStore, PlateMapStore, Protocol):
    """The parts of the store that keep plate maps and assays."""


@dataclass
class PlateInputs:
    """The plate maps and assays that the source reads, and their newest versions in the store."""

    source: Source
    store: InputStore
    runs: PlateRuns
    calibrations: Calibrations
    scales: ScaleCheck
    alerts: Alerts
    clock: Callable[[], datetime]
    _given_maps: dict[str, PlateMap] = field(default_factory=dict)  # by plate, as last saved
    _saved_maps: dict[str, PlateMap] = field(default_factory=dict)  # the same with their runs
    _saved_assays: dict[str, str] = field(default_factory=dict)  # digest by plate
    _wrong_assays: dict[str, str] = field(default_factory=dict)  # problem by plate

    def plate_map(self, plate: str) -> PlateMap | None:
        """Return the map of a plate with its run, stored if it is new or corrected.

        If the source has no valid map of this plate now, the newest stored one is returned.
        """
        given = self.source.plate_maps().get(plate)
        return self.store.plate_map(plate) if given is None else self._saved(given)

    def save_plate_maps(self) -> None:
        """Store each new or corrected plate map; rankings read their plate map from the store."""
        maps = self.source.plate_maps()
        for plate in self._given_maps.keys() - maps.keys():
            del self._given_maps[plate], self._saved_maps[plate]
        for plate, given in maps.items():
            try:
                self._saved(given)
            except DamagedRowError as error:  # of this plate; the store works
                self.alerts.raise_once(
                    AlertKind.PLATE_MAP,
                    f"{plate}: damaged row",
                    f"the map of plate {plate} cannot be stored: {error.problem}",
                    plate,
                )

    def _saved(self, given: PlateMap) -> PlateMap:
        """Return a plate map of the source with its run, stored if it is new or corrected."""
        plate = given.plate
        if self._given_maps.get(plate) is not given:
            self._saved_maps[plate] = self._save(given)
            self._given_maps[plate] = given
        return self._saved_maps[plate]

    def _save(self, given: PlateMap) -> PlateMap:
        newest = self.store.plate_map(given.plate)
        if newest is not None and newest.digest == given.digest:
            return newest
        plate_map = self.runs.with_run_of_map(given, newest)
        self.store.save_plate_map(plate_map, self.clock())
        self.scales.note(plate_map.plate)
        return plate_map

    def _with_run(self, assay: Assay) -> Assay:
        """Return an assay with the current run of its plate.

        Raise an alert if this run cannot have been assayed yet, and the assay is not stored.
        """
        plate_map = self.store.plate_map(assay.plate)
        if plate_map is None:
            return assay
        is_new = plate_map.run > 1 and all(
            each.digest != assay.digest for each in self.store.assays()
        )
        if is_new and not self.runs.has_readout(plate_map):
            self.alerts.raise_once(
                AlertKind.ASSAY,
                f"{assay.plate} {assay.digest}",
                f"the assay of plate {assay.plate} is stored for run {plate_map.run}, which has "
                "no image of its readout day yet; expected the assay of a run before the plate "
                "map of the next one. If it belongs to an earlier run, remove the file and add "
                f"the assay of run {plate_map.run} after its readout",
                assay.plate,
            )
        return assay.model_copy(update={"run": plate_map.run})

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
                self.store.save_assay(self._with_run(assay), self.clock())
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
