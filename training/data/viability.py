"""Viability assays of real plates, as values of their images of the readout day."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import structlog

from acquisition.drop_folder.assay_files import read_assays
from schemas.assay import Assay
from schemas.plate_map import PlateMap
from training.data.crops import PlateCrops

log = structlog.get_logger()


def find_assays(folder: Path) -> dict[str, Assay]:
    """Return the valid assay of each plate below a drop folder.

    An invalid assay is logged; the images of its plate are used as if they had no assay.
    """
    assays = {}
    for plate, found in read_assays(folder).items():
        if isinstance(found, Assay):
            assays[plate] = found
        else:
            log.warning("assay.left_out", plate=plate, reason=str(found))
    return assays


def add_viability(plate: PlateCrops, plate_map: PlateMap | None, assay: Assay | None) -> PlateCrops:
    """Return a plate's crops with the assay value of each image of the readout day.

    An assay is measured at the end of the culture, so images of other days have no value.
    """
    values = np.full(len(plate), np.nan, np.float32)
    if plate_map is not None and assay is not None:
        for row, (well, day) in enumerate(zip(plate.wells, plate.days, strict=True)):
            if day == plate_map.readout_day:
                values[row] = assay.viability_percent.get(well, np.nan)
    return replace(plate, viability_percent=values)
