"""The few measures of a well image that a ranking compares, as numbers whose differences mean the same everywhere."""

from collections.abc import Mapping
from math import log

import numpy as np
import numpy.typing as npt

_LEAST_SHARE = 1e-3
"""Debris of less than a thousandth of the tissue is not told apart from none."""
_LEAST_DENSITY = 1e-3
"""Grain below this optical density is the camera's."""

RANKED = (
    "log_area",
    "circularity",
    "solidity",
    "log_roughness",
    "od_mean",
    "od_spread",
    "log_grain_fine",
    "log_grain_coarse",
    "core_darkness",
    "edge_darkness",
    "log_pieces",
    "log_debris_share",
    "log_relative_spread",
)


def for_ranking(measures: Mapping[str, float]) -> npt.NDArray[np.float64]:
    """Return (len(RANKED),): logarithms of what differs by factors, all else as it is; the same with and without a scale, but for a constant.

    What is not defined, as the shape of the tissue of an empty well, counts as 0: no tissue is the end of tissue that shrinks, pales and falls apart.
    """

    def value(name: str) -> float:
        return measures.get(name, 0.0)

    def size(name: str, unit: str = "um") -> float:
        return measures.get(f"{name}_{unit}", value(f"{name}_px"))

    area = size("area", "um2")
    diameter = size("equivalent_diameter")
    return np.array(
        [
            log(max(area, 1.0)),
            value("circularity"),
            value("solidity"),
            log(value("roughness") + _LEAST_SHARE),
            value("od_mean"),
            value("od_spread"),
            log(value("grain_fine") + _LEAST_DENSITY),
            log(value("grain_coarse") + _LEAST_DENSITY),
            value("core_darkness"),
            value("edge_darkness"),
            log(max(value("pieces"), 1.0)),
            log(size("debris_area", "um2") / max(area, 1.0) + _LEAST_SHARE),
            log(max(size("spread") / diameter, _LEAST_SHARE)) if diameter else 0.0,
        ]
    )
