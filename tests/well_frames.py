"""Frames of one visit of a well, as a camera takes them, with random pixels."""

from datetime import datetime, timedelta
from typing import Any

import numpy as np

from acquisition.microscope.ome_tiff import WellFrames
from acquisition.ports import Frame, FrameFormat

TAKEN_AT = datetime.fromisoformat("2026-11-16T15:00:00.123456+01:00")
HEIGHTS_UM = (-45.0, 0.5, 45.0)


def well_frames(
    bits: int = 12,
    brightest: int = 2000,
    planes: int = 3,
    **changes: Any,  # noqa: ANN401 - fields of WellFrames
) -> WellFrames:
    """Return a visit of well B02 on day 7 with frames of 100×80 pixels, a second apart."""
    rng = np.random.default_rng(7)
    dtype = np.uint8 if bits <= 8 else np.uint16
    frames = tuple(
        Frame(
            rng.integers(0, brightest + 1, (80, 100)).astype(dtype),
            9000.5,
            -9000.25,
            z,
            12.5,
            TAKEN_AT + timedelta(seconds=number),
        )
        for number, z in enumerate(HEIGHTS_UM[:planes])
    )
    fields: dict[str, Any] = {
        "plate": "PDAC-0042",
        "well": "B02",
        "day": 7,
        "frames": frames,
        "format": FrameFormat(100, 80, bits, 1.36),
        "planned_x_um": 9000.0,
        "planned_y_um": -9000.0,
        "planned_z_um": HEIGHTS_UM[:planes],
    }
    return WellFrames(**fields | changes)
