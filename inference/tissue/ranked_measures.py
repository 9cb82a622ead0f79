"""Selects the measures of a well image that a ranking compares and transforms their scales.

After the transform, equal differences of a measure mean equal changes of the tissue.
"""

from collections.abc import Mapping
from math import log, nan

import numpy as np
import numpy.typing as npt

_SHARE_OFFSET = 1e-3
"""Offset of shares before the logarithm.

Debris below a thousandth of the tissue's area, and roughness below a thousandth of its diameter,
cannot be distinguished from none.
"""
_DENSITY_OFFSET = 1e-3
"""Offset of grain before the logarithm; a smaller optical density is noise of the camera."""
_CIRCULARITY_NOISE, _SOLIDITY_NOISE = 0.01, 0.003
"""Differences from 1, the value of a disc, that the outline's noise causes."""

RANKED_MEASURES = (
    "log_area",
    "circularity_odds",
    "solidity_odds",
    "log_roughness",
    "od_mean",
    "od_spread",
    "log_grain_fine",
    "log_grain_coarse",
    "core_darkness",
    "edge_darkness",
    "log_debris_share",
)
"""Names of the measures that a ranking compares.

The number of pieces and their spread are not among them: one fibre that is mistaken for a piece
changes them more than most drugs do.
"""


def ranked_values(measures: Mapping[str, float]) -> npt.NDArray[np.float64]:
    """Return the values of the ranked measures, (len(RANKED_MEASURES),), from a tissue's measures.

    Sizes are logarithms, shares are log odds and other measures are unchanged. Without a scale
    only the area differs, by a constant. In an empty well, whose area is 0, a missing measure such
    as the shape is 0: no tissue is the limit of tissue that shrinks, becomes paler and falls apart.
    Otherwise a value whose measure is missing is NaN, and without measures all values are NaN.
    """
    area = measures.get("area_um2", measures.get("area_px", nan))
    missing = 0.0 if area == 0 else nan

    def value(name: str) -> float:
        return measures.get(name, missing)

    debris_area = measures.get("debris_area_um2", value("debris_area_px"))
    return np.array(
        [
            log(max(area, 1.0)),
            _log_odds(value("circularity"), _CIRCULARITY_NOISE),
            _log_odds(value("solidity"), _SOLIDITY_NOISE),
            log(value("roughness") + _SHARE_OFFSET),
            value("od_mean"),
            value("od_spread"),
            log(value("grain_fine") + _DENSITY_OFFSET),
            log(value("grain_coarse") + _DENSITY_OFFSET),
            value("core_darkness"),
            value("edge_darkness"),
            log(debris_area / max(area, 1.0) + _SHARE_OFFSET),
        ]
    )


def _log_odds(share: float, noise: float) -> float:
    """Return log(share / (1 − share)) of a share, both terms increased by ``noise``.

    Intact bodies have shares close to 1 and broken ones much lower shares. Without the transform
    a few broken bodies would dominate all differences.
    """
    return log((share + noise) / (max(1 - share, 0.0) + noise))


STAIN_FEATURES = ("log_predicted_dead_area", "predicted_dead_share_core")
"""Names of the predictions of a stain bundle that a calibration of deterioration compares."""
_DEAD_AREA_OFFSET = 0.01
"""Offset of the predicted dead area before the logarithm, as a share of the area of the tissue."""


def stain_values(measures: Mapping[str, float]) -> npt.NDArray[np.float64]:
    """Return the values of the stain features, (2,), from the measures of a tissue.

    A value without a prediction is NaN. The core of an empty well is NaN: nothing is known about
    cells that are not in the image.
    """
    area = measures.get("area_um2", measures.get("area_px", nan))
    dead = measures.get("predicted_dead_area_um2", measures.get("predicted_dead_area_px", nan))
    return np.array(
        [
            log(max(dead + _DEAD_AREA_OFFSET * area, 1.0)),
            measures.get("predicted_dead_share_core", nan),
        ]
    )
