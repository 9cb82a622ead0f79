"""Classifies tissue as intact or exploded and measures the degree of explosion."""

from collections.abc import Mapping
from dataclasses import dataclass

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
    """Return (Condition, degree of explosion) of tissue from measures by name; None if empty.

    The degree is 0 for intact tissue. For exploded tissue it is the spread in units of 100 µm; None
    if the measures have no scale.
    """
    if measures["pieces"] == 0:
        return None
    limits = settings or ConditionSettings()
    if measures["open_directions"] < limits.open_directions or measures["spilled"] < limits.spilled:
        return Condition.INTACT, 0.0
    spread_um = measures.get("spread_um")
    return Condition.EXPLODED, None if spread_um is None else spread_um / 100
