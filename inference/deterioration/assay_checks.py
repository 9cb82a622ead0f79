"""Checks of an assay against the plate map of its plate, before a calibration uses it."""

from collections.abc import Mapping, Sequence

import numpy as np

from inference.departure.place_effects import position_factors
from schemas.arrays import Float64Array
from schemas.assay import contradiction
from schemas.errors import ProfileError
from schemas.well import is_well

MIN_WELLS_OF_SIDE = 3
"""Smallest number of wells on each side of a divided plate."""


def check_assay(
    plate: str, wells: Sequence[str], percent: Float64Array, treatments: Sequence[str]
) -> None:
    """Raise ProfileError if an assay contradicts the plate map, as that of another plate does.

    Parameters
    ----------
    plate
        Plate id.
    wells, percent, treatments
        (n,) measured wells, their deterioration in percent, and treatments; "" is untreated.
    """
    untreated = {
        well: 100 - float(value)
        for well, value, name in zip(wells, percent, treatments, strict=True)
        if not name
    }
    if problem := contradiction(untreated):
        raise ProfileError(plate, problem)


def check_not_copied(
    plate: str, percent: Mapping[str, float], others: Mapping[str, Mapping[str, float]]
) -> None:
    """Raise ProfileError if the assay of a plate has the same values as that of another plate.

    One of the two is then the assay of another plate, and it is not known which.

    Parameters
    ----------
    plate, percent
        Plate id, and deterioration in percent by well.
    others
        The same by plate id of the other assay plates.
    """
    same = [name for name, other in others.items() if dict(other) == dict(percent)]
    if same:
        raise ProfileError(
            plate,
            f"the assay has the same {len(percent)} values as that of plate {same[0]}; expected "
            "the assay of this plate",
        )


def single_treatment(plates: Sequence[Sequence[str]]) -> str | None:
    """Return the only treatment among the wells of all plates, or None if there are several."""
    names = {name for treatments in plates for name in treatments if name}
    return names.pop() if len(names) == 1 else None


def is_confounded(wells: Sequence[str], treatments: Sequence[str]) -> bool:
    """Return whether all treated wells (n,) are on one side of all untreated wells.

    The sides are rows above and below, or columns left and right. Wells of a profile table without
    positions have no side.
    """
    treated = np.array([bool(name) for name in treatments])
    if min(treated.sum(), (~treated).sum()) < MIN_WELLS_OF_SIDE or not all(map(is_well, wells)):
        return False
    places = position_factors(tuple(wells))[:, :2]
    low, high = places[treated], places[~treated]
    return bool(
        (low.max(axis=0) < high.min(axis=0)).any() or (high.max(axis=0) < low.min(axis=0)).any()
    )
