"""Real images of spheroids and organoids, for the retrieval of an image from its variant."""

from pathlib import Path

import numpy as np
import structlog

from acquisition.drop_folder.image_reading import read_image
from acquisition.drop_folder.naming import is_image_name
from acquisition.quality import assess
from schemas.errors import ImageError
from schemas.well_image import VisitKey, WellImage

log = structlog.get_logger(__name__)

SETS = {
    "mls11_spheroids": ("images", "organoids"),
    "spheroid_morpho_ml": ("images",),
    "orgaquant_test": ("",),
}
"""Data sets below the folder of real data, with their folders of images."""
STACK = "evos_organoid_zstack"
TILE_PX = 430
"""Side of a tile of the stack's large field; each tile is used as one specimen."""


def real_images(folder: Path) -> list[WellImage]:
    """Return the WellImages of all data sets below a folder, in order of their names.

    A missing data set and an unreadable image are left out.
    """
    images = []
    for name, parts in SETS.items():
        for part in parts:
            for path in sorted((folder / name / part).glob("*")):
                if is_image_name(path.name):
                    images += _read_or_skip(path)
    return images + _cut_stack(folder / STACK)


def sharpest_plane(image: WellImage) -> int:
    """Return the index of the plane that the service selects as the sharpest."""
    return assess(image.planes).sharpest_plane


def _read_or_skip(path: Path) -> list[WellImage]:
    try:
        raw = read_image(path)
    except ImageError as error:
        log.warning("evaluation.image_left_out", reason=str(error))
        return []
    return [_make_image(path.name, raw.planes, raw.um_per_px)]


def _cut_stack(folder: Path) -> list[WellImage]:
    """Return the tiles of the focal stack, each with all planes."""
    planes = [
        read_image(path).planes[0] for path in sorted(folder.glob("*")) if is_image_name(path.name)
    ]
    if not planes:
        return []
    stack = np.stack(planes)
    corners = [
        (top, left)
        for top in range(0, stack.shape[1] - TILE_PX + 1, TILE_PX)
        for left in range(0, stack.shape[2] - TILE_PX + 1, TILE_PX)
    ]
    return [
        _make_image(
            f"{STACK}-{top}-{left}", stack[:, top : top + TILE_PX, left : left + TILE_PX], None
        )
        for top, left in corners
    ]


def _make_image(name: str, planes: np.ndarray, um_per_px: float | None) -> WellImage:
    return WellImage(
        VisitKey("real", name, "day01"),
        1,
        None,
        (),
        np.ascontiguousarray(planes),
        um_per_px,
        complete=True,
    )
