"""What people can see of the tissue, as numbers with names; ``docs/measures.md`` defines each."""

from collections.abc import Mapping

import cv2
import numpy as np
import numpy.typing as npt

from inference.loose import debris_of, pieces_of, spread_px
from inference.optical_density import cell_px, darkness
from inference.outline import trace
from schemas.tissue import Segmentation

Measures = dict[str, float]

_SIZES = ("area", "perimeter", "equivalent_diameter", "major_diameter", "minor_diameter", "volume", "spread", "debris_area", "debris_spread")
_POWERS = {"area": 2, "debris_area": 2, "volume": 3}


def named(size: str, um_per_px: float | None) -> str:
    """Return the name of a size with its unit: ``area_um2``, or ``area_px`` where there is no scale."""
    if um_per_px is None:
        return f"{size}_px"
    power = _POWERS.get(size, 1)
    return f"{size}_um{power if power > 1 else ''}"


def measure(plane: npt.NDArray[np.uint16], segmentation: Segmentation, um_per_px: float | None) -> Measures:
    """Measure the tissue of a plane, (H, W), white = 65535.

    Names carry their unit; without a scale all sizes are in pixels and end in ``_px``. What is not defined is left out: an empty well has an area of 0,
    no pieces and its debris, and nothing else.
    """
    sizes: dict[str, float] = {"area": 0.0}
    plain: Measures = {"pieces": 0.0}
    middle = None
    if not segmentation.is_empty:
        body = segmentation.body
        pieces = pieces_of(body)
        outline = trace(pieces.largest)
        moments = cv2.moments(pieces.largest.astype(np.uint8), binaryImage=True)
        middle = (pieces.corner_px[0] + moments["m10"] / moments["m00"], pieces.corner_px[1] + moments["m01"] / moments["m00"])
        area = float(np.count_nonzero(body))
        diameter = 2 * np.sqrt(area / np.pi)
        sizes |= {
            "area": area,
            "perimeter": outline.perimeter_px,
            "equivalent_diameter": float(diameter),
            "major_diameter": outline.major_px,
            "minor_diameter": outline.minor_px,
            "volume": float(np.pi / 6 * outline.major_px * outline.minor_px**2),
            "spread": spread_px(body, middle),
        }
        dark = darkness(plane, body, segmentation.background, cell_px(um_per_px, float(diameter)))
        plain = {
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
            "pieces": float(pieces.count),
            "largest_piece_share": float(np.count_nonzero(pieces.largest)) / area,
        }
    debris = debris_of(segmentation.debris, middle)
    sizes["debris_area"] = debris.area_px
    if debris.spread_px is not None:
        sizes["debris_spread"] = debris.spread_px
    scale = um_per_px or 1.0
    in_units = {named(size, um_per_px): value * scale ** _POWERS.get(size, 1) for size, value in sizes.items()}
    return {**in_units, **plain, "debris_count": float(debris.count)}


def _change_of_size(name: str) -> bool:
    return name.removesuffix("_px").removesuffix("_um").removesuffix("_um2").removesuffix("_um3") in _SIZES


def changes(now: Mapping[str, float], at_dosing: Mapping[str, float]) -> Measures:
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
