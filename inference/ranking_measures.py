"""The measures that a ranking rests on: a vector of fixed length for every well, an empty one too."""

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

RANKING_MEASURES: Final = (
    "log_area",
    "circularity",
    "solidity",
    "roughness",
    "od_mean",
    "od_spread",
    "grain_fine",
    "grain_coarse",
    "core_darkness",
    "edge_darkness",
    "log_pieces",
    "log_spilled",
    "log_debris_area",
)
_CELL_UM2 = 100.0
_CELL_PX2 = 10.0  # without a scale
_ROUND = {"circularity": 1.0, "solidity": 1.0}  # what is not listed is 0 where there is no tissue


def ranking_vector(measures: Mapping[str, float]) -> npt.NDArray[np.float64]:
    """Return the values of RANKING_MEASURES, (13,), all finite.

    Sizes are natural logarithms, so that a scale only shifts them; areas have a cell (100 µm², or 10 px² without a scale) added. An empty well stands where
    tissue that shrinks and pales ends: no area, round, smooth and as bright as the light beside it, with its own debris.
    """
    unit, cell = ("um2", _CELL_UM2) if "area_um2" in measures else ("px", _CELL_PX2)
    logs = {
        "log_area": np.log(measures[f"area_{unit}"] + cell),
        "log_pieces": np.log1p(measures["pieces"]),
        "log_spilled": np.log1p(measures.get("spilled", 0.0)),
        "log_debris_area": np.log(measures[f"debris_area_{unit}"] + cell),
    }
    return np.array([logs.get(name, measures.get(name, _ROUND.get(name, 0.0))) for name in RANKING_MEASURES], np.float64)
