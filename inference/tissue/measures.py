"""Named measures of the tissue in a plane; each is defined in ``docs/reference/measures.md``."""

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from inference.tissue.dispersal import measure_dispersal
from inference.tissue.downscaled_plane import downscale_plane
from inference.tissue.fragments import PieceMeasures, measure_debris, measure_pieces
from inference.tissue.optical_density import measure_density
from inference.tissue.outline import measure_outline
from schemas.tissue import Segmentation

MEASURES_VERSION: Final = 1
"""Version of the definitions of the measures.

Raise it whenever a measure of any outline changes, with its definition in
``docs/reference/measures.md``: measures of different versions are never compared.
"""

Measures = dict[str, float]
"""Values of measures by name."""

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
    "largest_area",
    "hole_area",
    "piece_diameter_q10",
    "piece_diameter_q50",
    "piece_diameter_q90",
    "predicted_dead_area",
)
_POWERS = {
    "area": 2,
    "debris_area": 2,
    "largest_area": 2,
    "hole_area": 2,
    "predicted_dead_area": 2,
    "predicted_dead_area_sd": 2,
    "volume": 3,
}  # of a length; other sizes are lengths

_PERCENTS = (10, 50, 90)  # quantiles of the diameters of pieces
_STAIN = "+stain-"


def name_with_unit(size: str, um_per_px: float | None) -> str:
    """Return the name of a size with its unit: ``area_um2``, or ``area_px`` without a scale."""
    if um_per_px is None:
        return f"{size}_px"
    power = _POWERS.get(size, 1)
    return f"{size}_um{power if power > 1 else ''}"


def measuring_method(segmenter_id: str, stain_id: str | None = None) -> str:
    """Return the name of the method of measures: segmenter, version of measures, and any stain.

    Parameters
    ----------
    segmenter_id
        Id of the segmenter.
    stain_id
        Id of the stain bundle whose predictions are among the measures; None without one.
    """
    method = f"{segmenter_id}+measures-{MEASURES_VERSION}"
    return method if stain_id is None else f"{method}{_STAIN}{stain_id}"


def has_predicted_stain(method: str | None) -> bool:
    """Return whether a method of measures, or None, includes predictions of a stain bundle."""
    return method is not None and _STAIN in method


def measure_tissue(
    plane: npt.NDArray[np.uint16], segmentation: Segmentation, um_per_px: float | None
) -> Measures:
    """Return measures by name of a plane, (H, W), its Segmentation and µm per px or None.

    White is 65535 in the plane. Names of sizes end in their unit; without a scale they are in
    pixels and end in ``_px``. Undefined measures are left out: an empty well has an area of 0, no
    pieces and its debris. A refused image has no measures.
    """
    if segmentation.is_refused:
        return {}
    pieces = measure_pieces(segmentation.body)
    debris = measure_debris(segmentation.debris, pieces.centre_px)
    sizes = {"area": pieces.area_px, "debris_area": debris.area_px}
    if debris.spread_px is not None:
        sizes["debris_spread"] = debris.spread_px
    others: Measures = {"pieces": float(pieces.count), "debris_count": float(debris.count)}
    if not segmentation.is_empty:
        body_sizes, body_others = _measure_body(plane, segmentation, pieces, um_per_px)
        sizes |= body_sizes
        others |= body_others
    scale = um_per_px or 1.0
    return {
        name_with_unit(size, um_per_px): value * scale ** _POWERS.get(size, 1)
        for size, value in sizes.items()
    } | others


def _measure_body(
    plane: npt.NDArray[np.uint16],
    segmentation: Segmentation,
    pieces: PieceMeasures,
    um_per_px: float | None,
) -> tuple[Measures, Measures]:
    """Return the sizes in pixels and the other measures of a body that is not empty."""
    outline = measure_outline(pieces.largest)
    downscaled = downscale_plane(plane, segmentation, um_per_px)
    density, dispersal = measure_density(downscaled), measure_dispersal(downscaled)
    diameters = pieces.diameters_px(*(percent / 100 for percent in _PERCENTS))
    sizes = {
        "perimeter": outline.perimeter_px,
        "equivalent_diameter": float(2 * np.sqrt(pieces.area_px / np.pi)),
        "major_diameter": outline.major_px,
        "minor_diameter": outline.minor_px,
        "volume": float(np.pi / 6 * outline.major_px * outline.minor_px**2),
        "spread": dispersal.spread_px,
        "largest_area": pieces.areas_px[0],
        "hole_area": pieces.hole_area_px,
        **{
            f"piece_diameter_q{percent}": diameter_px
            for percent, diameter_px in zip(_PERCENTS, diameters, strict=True)
        },
    }
    return sizes, {
        "circularity": outline.circularity,
        "solidity": outline.solidity,
        "eccentricity": outline.eccentricity,
        "roughness": outline.roughness,
        "od_mean": density.mean,
        "od_spread": density.spread,
        **{f"od_depth_{number}": value for number, value in enumerate(density.by_depth, start=1)},
        "core_darkness": density.core,
        "edge_darkness": density.edge,
        "grain_fine": density.grain_fine,
        "grain_coarse": density.grain_coarse,
        "holes": float(pieces.holes),
        "largest_piece_share": pieces.areas_px[0] / pieces.area_px,
        "effective_pieces": dispersal.effective_parts,
        "spilled": dispersal.spilled,
        "open_directions": dispersal.directions,
    }


def _is_size(name: str) -> bool:
    """Return whether a measure's name with its unit is the name of a size."""
    return (
        name.removesuffix("_px").removesuffix("_um").removesuffix("_um2").removesuffix("_um3")
        in _SIZES
    )


def changes_since_dosing(now: Mapping[str, float], at_dosing: Mapping[str, float]) -> Measures:
    """Return the changes of measures now since measures at dosing, as ``<name>_change``.

    The change of a size is the natural log ratio; the change of another measure is the difference.
    Measures that are missing on either day, and log ratios with a size of 0, are left out.
    """
    changed: Measures = {}
    for name in now.keys() & at_dosing.keys():
        if not _is_size(name):
            changed[f"{name}_change"] = now[name] - at_dosing[name]
        elif now[name] > 0 and at_dosing[name] > 0:
            changed[f"{name}_change"] = float(np.log(now[name] / at_dosing[name]))
    return changed
