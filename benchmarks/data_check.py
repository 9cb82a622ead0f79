"""Plant mistakes in virtual plates, and count which of them `spherorank train data check` finds.

    python -m benchmarks.data_check

Each mistake is planted alone into clean plates, at random places. The plates are rendered once, in
some minutes.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from simulation.kinds import OpticsName
from simulation.microscope import VirtualMicroscope
from simulation.plate import DOSED_ON_DAY, plan_plate, select_wells
from training.data.crops import (
    Cropping,
    PlateCrops,
    PlateNote,
    ReadingNotes,
    WellCrop,
    crop_folder,
    crop_well_image,
    open_crops,
    write_crops,
)

CACHE = Path(__file__).resolve().parents[1] / ".cache" / "data-check"
CROPPING = Cropping(side_px=128)
DAYS = (4, 5, 6, 7, 8, 9, 10)
WELLS, SIZE_PX = 36, 256
OPTICS = (OpticsName.DEFAULT, OpticsName.TILTED)
"""Microscopes of the plates, in turn."""


def virtual_crops(seed: int, cache: Path, optics: OpticsName) -> PlateCrops:
    """Return the crops of all days of some wells of a virtual plate, from the cache or rendered."""
    plate = select_wells(plan_plate(seed), WELLS)
    note = PlateNote(plate.name, f"data check {optics} {DAYS} {SIZE_PX}", DOSED_ON_DAY)
    folder = crop_folder(cache, note, CROPPING)
    if folder.exists():
        return open_crops(folder)
    scope = VirtualMicroscope(plate, SIZE_PX, optics)
    write_crops(cache, note, CROPPING, _crop_wells(scope), ReadingNotes())
    return open_crops(folder)


def _crop_wells(scope: VirtualMicroscope) -> Iterator[WellCrop]:
    for plan in scope.plate.wells:
        for day in DAYS:
            counts = scope.render(plan, day).planes
            planes = (counts.astype(np.uint32) * 65535 // scope.conditions.white).astype(np.uint16)
            yield crop_well_image(
                planes,
                scope.um_per_px,
                CROPPING,
                well=plan.well,
                day=day,
                group=plan.group.value,
                treatment=plan.treatment,
            )
