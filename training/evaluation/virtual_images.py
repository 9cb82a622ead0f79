"""Images of virtual wells as the service reads them, and the code that decides their measures."""

from pathlib import Path
from typing import Final

import numpy as np

from schemas.well_image import VisitKey, WellImage
from simulation.microscope import PlateMicroscope
from simulation.plate import WellPlan

_ROOT = Path(__file__).resolve().parents[2]

IMAGE_CODE: Final = (
    *sorted((_ROOT / "simulation").glob("*.py")),
    *sorted((_ROOT / "simulation" / "laboratories").glob("*.py")),
    *sorted((_ROOT / "inference" / "tissue").glob("*.py")),
    _ROOT / "inference" / "encoding" / "preprocessing.py",
    *(
        _ROOT / "acquisition" / name
        for name in ("downscaling.py", "quality.py", "saturation.py", "sharpness.py")
    ),
)
"""Files that decide the images, the measures and the embedded fields of virtual wells.

A cache of such results is named by a digest of these files, so results of earlier code are not
read.
"""


def virtual_image(scope: PlateMicroscope, plan: WellPlan, day: int) -> WellImage:
    """Return the well image of a virtual well on one day, scaled so that white is 65535."""
    counts = scope.render(plan, day).planes
    planes = (counts.astype(np.uint32) * 65535 // scope.conditions.white).astype(np.uint16)
    return WellImage(
        VisitKey(scope.plate.name, plan.well, f"day{day:02d}"),
        day,
        scope.plate.taken_at(plan, day),
        (),
        planes,
        scope.um_per_px,
        complete=True,
    )
