"""The closed plates of a store, as a source of images needs them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from schemas.assay import Assay
from schemas.closed_folder import ClosedFolder
from schemas.plate_map import PlateMap
from store.ports import AssayStore, PlateMapStore, PlateStateStore


class ClosedPlateStore(AssayStore, PlateMapStore, PlateStateStore, Protocol):
    """The parts of the store that keep closed plates and their inputs."""


@dataclass(frozen=True)
class StoredClosedPlates:
    """The closed plates of a store; it implements :class:`acquisition.ports.ClosedPlates`.

    Parameters
    ----------
    basis
        Digest of the settings and the version, as :func:`daemon.plate_states.basis_of` returns it.
    """

    store: ClosedPlateStore
    basis: str

    def plates(self) -> Collection[str]:
        """Return the ids of the plates that are closed now."""
        return self.store.closed_plates(self.basis).keys()

    def has_stored(self, plate_map: PlateMap, assay: Assay | None) -> bool:
        """Return whether a plate map, and an assay if there is one, are the newest stored ones.

        A changed one has to reach the store before the files of its folder are forgotten.
        """
        stored = self.store.plate_map(plate_map.plate)
        if stored is None or stored.digest != plate_map.digest:
            return False
        if assay is None:
            return True
        of_plate = [each for each in self.store.assays() if each.plate == plate_map.plate]
        return bool(of_plate) and of_plate[-1].digest == assay.digest

    def folders(self) -> Sequence[ClosedFolder]:
        """Return the stored folders with files of closed plates only."""
        return self.store.closed_folders()

    def save_folder(self, folder: ClosedFolder) -> None:
        """Store a folder, in place of an earlier one with its path."""
        self.store.save_closed_folder(folder)
