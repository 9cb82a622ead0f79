"""Distance between plates in the features of their untreated and single-dose wells."""

from collections.abc import Sequence

import numpy as np

from inference.deterioration.features import PlateFeatures, fill_missing
from schemas.arrays import BoolArray, Float64Array


def plate_distance(plate: PlateFeatures, others: Sequence[PlateFeatures], min_plates: int) -> float:
    """Return the distance of PlateFeatures from ``min_plates`` or more others, in their spreads.

    The spread is the standard deviation between the others. The distance is the root mean square
    over the measures (or the embedding) of the differences between mean wells. The larger value of
    untreated and single-dose wells is returned.

    Parameters
    ----------
    plate
        Plate of interest.
    others
        Plates for comparison.
    min_plates
        Kinds of wells that fewer of these plates have are not compared.
    """
    parts = []
    for wells in ("untreated", "single_dose"):
        means = [_mean_well(other, wells) for other in others]
        known = [mean for mean in means if mean is not None]
        own = _mean_well(plate, wells)
        if own is None or len(known) < min_plates:
            continue
        centre, spread = (
            np.mean(known, axis=0),
            np.std(known, axis=0, ddof=1) * np.sqrt(1 + 1 / len(known)),
        )
        floor = 0.1 * np.median(spread[spread > 0]) if (spread > 0).any() else 1.0
        parts.append(np.sqrt(np.mean(((own - centre) / np.maximum(spread, floor)) ** 2)))
    return float(max(parts, default=0.0))


def _mean_well(plate: PlateFeatures, wells: str) -> Float64Array | None:
    """Return the readout and the change since dosing of the mean well of a kind.

    ``wells`` is ``untreated`` or ``single_dose``; single-dose values are differences from untreated
    wells. The result is None if the plate has no such wells.
    """
    chosen = plate.untreated if wells == "untreated" else plate.single_dose
    if not chosen.any():
        return None
    own = (
        slice(plate.embedding_dimension, None)
        if plate.embedding_dimension < plate.readout.shape[1]
        else slice(None)
    )
    readouts, befores = (
        fill_missing(plate.readout, plate)[:, own],
        fill_missing(plate.before, plate)[:, own],
    )

    def mean(rows: BoolArray) -> Float64Array:
        readout, before = readouts[rows].mean(axis=0), befores[rows].mean(axis=0)
        return np.concatenate([readout, readout - before])

    return mean(chosen) if wells == "untreated" else mean(chosen) - mean(plate.untreated)
