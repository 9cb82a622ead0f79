"""Days and wells of a plate from which departures are computed, and the sets of replicates."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from inference.departure.reduced_space import usable_rows
from schemas.arrays import BoolArray, IndexArray
from schemas.errors import ProfileError
from schemas.plate_map import Group
from schemas.trajectory import Trajectories


def days_before_and_after(
    trajectories: Trajectories, dosing_day: int, day: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the imaged days up to dosing, and the imaged days after it up to the readout."""
    if day <= dosing_day:
        raise ProfileError(
            trajectories.plate, f"the readout day is {day}; expected a day after day {dosing_day}"
        )
    days = ", ".join(map(str, trajectories.days)) or "none"
    if not trajectories.has(day).any():
        raise ProfileError(
            trajectories.plate, f"no image of the readout day {day}; days with images: {days}"
        )
    before = tuple(earlier for earlier in sorted(trajectories.days) if earlier <= dosing_day)
    if not before:
        raise ProfileError(
            trajectories.plate,
            f"no image of day {dosing_day} or earlier, from before dosing; "
            f"days with images: {days}",
        )
    return before, tuple(later for later in sorted(trajectories.days) if dosing_day < later <= day)


def scorable_wells(
    trajectories: Trajectories,
    before: Sequence[int],
    dosing_day: int,
    day: int,
    excluded: Mapping[str, str],
) -> tuple[BoolArray, dict[str, str]]:
    """Return a mask (N,) of the wells that can be scored, and the reasons why others cannot.

    Parameters
    ----------
    trajectories
        The N wells of a plate.
    before
        Imaged culture days up to the dosing day.
    dosing_day, day
        Culture days of dosing and of the readout.
    excluded
        Wells to leave out, with the reason of each.
    """
    with_tissue = np.array([group is not Group.BLANK for group in trajectories.groups])
    at_readout = trajectories.has(day) & with_tissue
    usable = usable_rows(trajectories.on(day))
    has_past = np.any([usable_rows(trajectories.on(earlier)) for earlier in before], axis=0)
    used = at_readout & usable & has_past & ~np.isin(trajectories.wells, list(excluded))
    reasons = np.where(
        usable,
        f"no image from before dosing (day {dosing_day} or earlier)",
        f"most features of day {day} are missing",
    )
    left_out = {
        well: excluded.get(well, str(reasons[row]))
        for row, well in enumerate(trajectories.wells)
        if (at_readout & ~used)[row]
    }
    return used, left_out


def replicate_sets(trajectories: Trajectories, used: BoolArray) -> IndexArray:
    """Return the number of the set of replicates of each of the n used wells of a mask (N,).

    The sets are the wells of each treatment. The untreated wells are divided into sets of about the
    same size, by name, so that untreated and treated wells take part in the same way.
    """
    rows = np.flatnonzero(used)
    keys = [(trajectories.groups[row], trajectories.treatments[row]) for row in rows]
    treated = Counter(key for key in keys if key[0] is not Group.UNTREATED)
    number_of = {key: number for number, key in enumerate(treated)}
    untreated = sorted(
        (place for place, key in enumerate(keys) if key[0] is Group.UNTREATED),
        key=lambda place: trajectories.wells[rows[place]],
    )
    size = int(np.median(list(treated.values()))) if treated else 1
    count = max(1, len(untreated) // size)
    sets = np.array([number_of.get(key, 0) for key in keys], dtype=np.intp)
    sets[untreated] = len(treated) + np.arange(len(untreated)) % count
    return sets
