"""Intact or exploded, and how far."""

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.ranking import Condition


@dataclass(frozen=True)
class ConditionSettings:
    """When tissue counts as exploded.

    ``open_directions``, more than a third of them: tissue that holds together has lobes, some pieces or a fibre, each within a few of the 36 directions: up
    to 0.31 on real images. Exploded tissue opens on all sides, but chains leave gaps, and a core off the middle hides some: 0.44 on the real one. Virtual
    wells are told apart equally well by anything between 0.3 and 0.45.
    ``spilled``, in areas of the core: less than that are thin threads, in however many directions.
    """

    open_directions: float = 0.36
    spilled: float = 0.03


def classify_condition(
    measures: Mapping[str, float], settings: ConditionSettings | None = None
) -> tuple[Condition, float] | None:
    """Return the condition and the degree of explosion, or None for an empty well.

    The degree is 0 for intact tissue; for exploded tissue it is its spread in units of 100 µm, and without a scale of 100 px.
    """
    if measures["pieces"] == 0:
        return None
    limits = settings or ConditionSettings()
    if measures["open_directions"] < limits.open_directions or measures["spilled"] < limits.spilled:
        return Condition.INTACT, 0.0
    spread = measures["spread_um"] if "spread_um" in measures else measures["spread_px"]
    return Condition.EXPLODED, spread / 100
