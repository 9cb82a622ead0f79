"""The few measures of a well image that a ranking compares, as numbers whose differences mean the same everywhere."""

from collections.abc import Mapping
from math import log

import numpy as np
import numpy.typing as npt

_LEAST_SHARE = 1e-3
"""Debris of less than a thousandth of the tissue is not told apart from none; nor is roughness of less than a thousandth of the diameter."""
_LEAST_DENSITY = 1e-3
"""Grain below this optical density is the camera's."""
_CIRCULARITY_BLUR, _SOLIDITY_BLUR = 0.01, 0.003
"""Differences from a disc that are the outline's own noise."""

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
"""Neither the number of pieces nor how far they lie apart: one fibre that is taken for a piece moves them further than most drugs do."""


def ranked_values(measures: Mapping[str, float]) -> npt.NDArray[np.float64]:
    """Return (len(RANKED),): logarithms of what differs by factors, log odds of shares, all else as it is.

    Without a scale the values are the same but for a constant.
    What is not defined, as the shape of the tissue of an empty well, counts as 0: no tissue is the end of tissue that shrinks, pales and falls apart.
    """

    def value(name: str) -> float:
        return measures.get(name, 0.0)

    def size(name: str, unit: str) -> float:
        return measures.get(f"{name}_{unit}", value(f"{name}_px"))

    area = size("area", "um2")
    return np.array(
        [
            log(max(area, 1.0)),
            _log_odds(value("circularity"), _CIRCULARITY_BLUR),
            _log_odds(value("solidity"), _SOLIDITY_BLUR),
            log(value("roughness") + _LEAST_SHARE),
            value("od_mean"),
            value("od_spread"),
            log(value("grain_fine") + _LEAST_DENSITY),
            log(value("grain_coarse") + _LEAST_DENSITY),
            value("core_darkness"),
            value("edge_darkness"),
            log(size("debris_area", "um2") / max(area, 1.0) + _LEAST_SHARE),
        ]
    )


def _log_odds(share: float, blur: float) -> float:
    """Return log(share / (1 − share)): whole bodies lie close to 1 and broken ones far below, and as they are the broken would outweigh all else."""
    return log((share + blur) / (max(1 - share, 0.0) + blur))
