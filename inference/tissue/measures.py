"""What people can see of the tissue, as numbers with names; ``docs/reference/measures.md`` defines each."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from inference.tissue.dispersal import measure_dispersal
from inference.tissue.downscaled_plane import downscale_plane
from inference.tissue.fragments import PieceMeasures, measure_debris, measure_pieces
from inference.tissue.optical_density import measure_density
from inference.tissue.outline import measure_outline
from schemas.tissue import Segmentation

Measures = dict[str, float]

_SIZES = (
    "area",
    "perimeter",
    "equivalent_diameter",
    "major_diameter",
    "minor_diameter",
    "volume",
    "spread",
    "debris_area",
    "debris_spread",
)
_POWERS = {"area": 2, "debris_area": 2, "volume": 3}


def name_with_unit(size: str, um_per_px: float | None) -> str:
    """Return the name of a size with its unit: ``area_um2``, or ``area_px`` where there is no scale."""
    if um_per_px is None:
        return f"{size}_px"
    power = _POWERS.get(size, 1)
    return f"{size}_um{power if power > 1 else ''}"


def measure_tissue(
    plane: npt.NDArray[np.uint16], segmentation: Segmentation, um_per_px: float | None
) -> Measures:
    """Measure the tissue of a plane, (H, W), white = 65535.

    Names carry their unit; without a scale all sizes are in pixels and end in ``_px``. What is not defined is left out: an empty well has an area of 0,
    no pieces and its debris, and nothing else.
    """
    pieces = measure_pieces(segmentation.body)
    debris = measure_debris(segmentation.debris, pieces.middle_px)
    sizes = {"area": pieces.area_px, "debris_area": debris.area_px}
    if debris.spread_px is not None:
        sizes["debris_spread"] = debris.spread_px
    plain: Measures = {"pieces": float(pieces.count), "debris_count": float(debris.count)}
    if not segmentation.is_empty:
        more_sizes, more = _of_tissue(plane, segmentation, pieces, um_per_px)
        sizes |= more_sizes
        plain |= more
    scale = um_per_px or 1.0
    return {
        name_with_unit(size, um_per_px): value * scale ** _POWERS.get(size, 1)
        for size, value in sizes.items()
    } | plain


def _of_tissue(
    plane: npt.NDArray[np.uint16],
    segmentation: Segmentation,
    pieces: PieceMeasures,
    um_per_px: float | None,
) -> tuple[Measures, Measures]:
    """Return the sizes, in pixels, and all else that only tissue has."""
    outline = measure_outline(pieces.largest)
    view = downscale_plane(plane, segmentation, um_per_px)
    dark, apart = measure_density(view), measure_dispersal(view)
    sizes = {
        "perimeter": outline.perimeter_px,
        "equivalent_diameter": float(2 * np.sqrt(pieces.area_px / np.pi)),
        "major_diameter": outline.major_px,
        "minor_diameter": outline.minor_px,
        "volume": float(np.pi / 6 * outline.major_px * outline.minor_px**2),
        "spread": apart.spread_px,
    }
    return sizes, {
        "circularity": outline.circularity,
        "solidity": outline.solidity,
        "eccentricity": outline.eccentricity,
        "roughness": outline.roughness,
        "od_mean": dark.mean,
        "od_spread": dark.spread,
        **{f"od_depth_{number}": value for number, value in enumerate(dark.by_depth, start=1)},
        "core_darkness": dark.core,
        "edge_darkness": dark.edge,
        "grain_fine": dark.grain_fine,
        "grain_coarse": dark.grain_coarse,
        "largest_piece_share": float(np.count_nonzero(pieces.largest)) / pieces.area_px,
        "spilled": apart.spilled,
        "open_directions": apart.directions,
    }


def _change_of_size(name: str) -> bool:
    return (
        name.removesuffix("_px").removesuffix("_um").removesuffix("_um2").removesuffix("_um3")
        in _SIZES
    )


def changes_since_dosing(now: Mapping[str, float], at_dosing: Mapping[str, float]) -> Measures:
    """Return what changed since dosing, each name with ``_change``: natural log ratios of sizes, differences of all else.

    What either day lacks is left out, and so is the log ratio with a size of 0.
    """
    changed: Measures = {}
    for name in now.keys() & at_dosing.keys():
        if not _change_of_size(name):
            changed[f"{name}_change"] = now[name] - at_dosing[name]
        elif now[name] > 0 and at_dosing[name] > 0:
            changed[f"{name}_change"] = float(np.log(now[name] / at_dosing[name]))
    return changed
