"""Classifies tissue as intact or exploded and measures the degree of explosion."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log10

from schemas.ranking import Condition


@dataclass(frozen=True)
class ConditionSettings:
    """Limits above which tissue counts as exploded; both must be reached.

    ``open_directions`` is the share of 36 directions with tissue outside the core. Intact tissue
    has lobes, a few pieces or a fibre, each within a few directions: up to 0.31 on real images.
    Exploded tissue opens on all sides, but its chains have gaps and an off-centre core hides some
    directions: 0.44 on the real exploded image. On virtual wells all limits from 0.3 to 0.45
    separate equally well.

    ``spilled`` is the area of that tissue in areas of the core. Thin threads have less, whatever
    the number of their directions.
    """

    open_directions: float = 0.36
    spilled: float = 0.03


def classify_condition(
    measures: Mapping[str, float], settings: ConditionSettings | None = None
) -> tuple[Condition, float | None] | None:
    """Return (Condition, degree of explosion) of tissue from measures by name.

    The result is None for an empty well and for an image without measures. The degree is 0 for
    intact tissue. The degree of exploded tissue is its spread times 1 + log₁₀ of the effective
    number of its pieces: ten times as many pieces of one size double it. The spread is in units of
    100 µm, or of a quarter of the tissue's equivalent diameter without a scale. The effective
    number is the inverse of Simpson's index (Simpson, Nature 163, 688, 1949). The degree is None
    for measures of a version that did not count the pieces.
    """
    if measures.get("pieces", 0) == 0:
        return None
    limits = settings or ConditionSettings()
    if measures["open_directions"] < limits.open_directions or measures["spilled"] < limits.spilled:
        return Condition.INTACT, 0.0
    if "effective_pieces" not in measures:
        return Condition.EXPLODED, None
    unit = "um" if "spread_um" in measures else "px"
    length = 100.0 if unit == "um" else measures["equivalent_diameter_px"] / 4
    spread = measures[f"spread_{unit}"] / length
    return Condition.EXPLODED, spread * (1 + log10(measures["effective_pieces"]))
