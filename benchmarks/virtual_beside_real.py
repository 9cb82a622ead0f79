"""Draw docs/images/virtual_beside_real.png: real well images and virtual ones at the same scale.

    python -m benchmarks.virtual_beside_real

The real images are those of :mod:`benchmarks.real_data`. The virtual images are those of the
default plates and, in the last two rows, of laboratories with the other renderers.
"""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import tifffile

from benchmarks.real_data import REAL_DATA
from simulation.kinds import Mechanism, RendererName
from simulation.laboratories.laboratory import draw_laboratory
from simulation.microscope import VirtualMicroscope
from simulation.optics import PLANES
from simulation.plate import plan_plate
from simulation.tissue import FIELD_UM

ROOT = Path(__file__).parents[1]
TILE_PX = 224
CROP_PX, CROP_UM_PER_PX = 150, 3.26  # for the spheroid_morpho_ml images
WHOLE_FIELDS = ("B064E58AADF", "E0405FE5043", "E11B69C508E", "I031D18437D", "L066C2A62B8")
CROPS = (3, 7, 27, 43, 37)
OPAQUE = ((80, 8), (4, 8), (36, 9), (80, 9), (2, 7))  # seed, day
PALE = ((8, 3), (84, 3), (37, 3), (67, 3))  # small seedings
BURST = 84  # seed
LABORATORIES = ((2, 10), (5, 10), (19, 8), (33, 5))  # seed, day; fields wider than FIELD_UM
LABORATORY_PX = 1024


def tile(pixels: npt.NDArray[np.uint16], caption: str) -> npt.NDArray[np.uint8]:
    """Return an image as a captioned 8-bit tile (TILE_PX, TILE_PX), with percentile contrast."""
    low, high = np.percentile(pixels, [0.2, 99.8])
    grey = np.clip((pixels.astype(float) - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    small = cv2.resize(
        grey,
        (TILE_PX, TILE_PX),
        interpolation=cv2.INTER_AREA if len(grey) > TILE_PX else cv2.INTER_CUBIC,
    )
    cv2.rectangle(small, (0, TILE_PX - 18), (TILE_PX, TILE_PX), 0, -1)
    cv2.putText(
        small, caption, (6, TILE_PX - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 255, 1, cv2.LINE_AA
    )
    return np.asarray(small, np.uint8)


def render_plane(
    seed: int, day: int, size_px: int, mechanism: Mechanism | None = None
) -> npt.NDArray[np.uint16]:
    """Return the middle plane (H, W) of a virtual well on a day, untreated or of a mechanism.

    The most affected well is rendered if a mechanism is given. The day selects the untreated well.
    """
    scope = VirtualMicroscope(plan_plate(seed, mechanism=mechanism), size_px)
    untreated = [plan for plan in scope.plate.wells if plan.mechanism is None]
    plan = max(scope.plate.wells, key=lambda well: well.kill(day)) if mechanism else untreated[day]
    return np.asarray(scope.render(plan, day).planes[PLANES // 2])


def render_laboratory(
    renderer: RendererName, seed: int, day: int, mechanism: Mechanism | None = None
) -> npt.NDArray[np.uint16]:
    """Return the central FIELD_UM of a laboratory's well, middle plane (H, W), on a day.

    The well is untreated or, with a mechanism, the most affected one.
    """
    (scope,) = draw_laboratory(seed, renderer).plates(1, size_px=LABORATORY_PX, mechanism=mechanism)
    untreated = [plan for plan in scope.plate.wells if plan.mechanism is None]
    plan = max(scope.plate.wells, key=lambda well: well.kill(day)) if mechanism else untreated[day]
    seen = min(LABORATORY_PX, round(FIELD_UM / scope.um_per_px))
    start = (LABORATORY_PX - seen) // 2
    plane = scope.render(plan, day).planes[PLANES // 2]
    return np.asarray(plane[start : start + seen, start : start + seen])


def crop(pixels: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    """Return the central CROP_PX × CROP_PX pixels of an image."""
    start = (len(pixels) - CROP_PX) // 2
    return pixels[start : start + CROP_PX, start : start + CROP_PX]


def main() -> None:
    """Draw the figure and write it."""
    fields = [
        next((REAL_DATA / "mls11_spheroids" / "images").glob(f"*{name}*")) for name in WHOLE_FIELDS
    ]
    crops = [
        REAL_DATA / "spheroid_morpho_ml" / "images" / f"image_{number}.tiff" for number in CROPS
    ]
    crop_size = round(FIELD_UM / CROP_UM_PER_PX)
    rows = [
        [tile(tifffile.imread(path), "real, MLS11") for path in fields],
        [tile(render_plane(seed, day, 1024), f"virtual, day {day}") for seed, day in OPAQUE],
        [tile(tifffile.imread(path), f"real, {path.stem}") for path in crops],
        [
            *(
                tile(crop(render_plane(seed, day, crop_size)), f"virtual, day {day}")
                for seed, day in PALE
            ),
            tile(crop(render_plane(BURST, 10, crop_size, Mechanism.BURSTING)), "virtual, burst"),
        ],
    ]
    rows += [
        [
            *(
                tile(render_laboratory(renderer, seed, day), f"{renderer}, day {day}")
                for seed, day in LABORATORIES
            ),
            tile(
                render_laboratory(renderer, *LABORATORIES[0], Mechanism.BURSTING),
                f"{renderer}, burst",
            ),
        ]
        for renderer in (RendererName.PACKED_CELLS, RendererName.GROWING_FRONT)
    ]
    target = ROOT / "docs" / "images" / "virtual_beside_real.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(
        str(target), np.vstack([np.hstack(row) for row in rows]), [cv2.IMWRITE_PNG_COMPRESSION, 9]
    )
    print(f"{target.relative_to(ROOT)}: {target.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
