"""Viability of the wells of a plate from the signals of their stains."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from schemas.errors import ProfileError

MIN_UNTREATED = 3
"""Smallest number of untreated wells that define 100 %."""
MIN_SLOPE_WELLS = 10
"""Smallest number of wells from which the weight of the dead stain is estimated."""
MAX_WEIGHT_ERROR = 0.3
"""Largest relative standard error of an estimated weight of the dead stain."""
MAX_PERCENT = 200.0
"""Largest viability that an assay file may contain, in percent of the control."""


class ViabilityFrom(StrEnum):
    """Signal that viability is computed from, relative to the untreated wells."""

    LIVE = "live"
    """Intensity of the live stain: live cells of the well, as a luminescent assay measures them."""
    LIVE_SHARE = "live_share"
    """Share of live cells among the live and dead cells that are still in the well."""


@dataclass(frozen=True)
class WellSignals:
    """Intensities of the stains of one well above the background, in counts."""

    live: float
    dead: float | None = None  # None: this stain was not imaged
    nuclei: float | None = None

    def live_share(self, dead_weight: float) -> float | None:
        """Return the live share 0…1 of all cells; None without a dead stain or any signal.

        Parameters
        ----------
        dead_weight
            Signal of the live stain of a live cell, divided by that of the dead stain of a dead
            cell.
        """
        if self.dead is None or self.live + self.dead == 0:
            return None
        return self.live / (self.live + dead_weight * self.dead)


def estimate_dead_weight(wells: Mapping[str, WellSignals], plate: str) -> float:
    """Return the weight of the dead stain, from the nuclei of all wells of a plate.

    Each cell is alive or dead and has a nucleus: a · live + b · dead = nuclei, with the signals per
    nucleus a and b of both stains. The weight is b / a, from the least-squares fit of a and b with
    relative errors.

    Raises
    ------
    ProfileError
        If too few wells have nuclei, or the wells differ too little to separate both stains.
    """
    rows = [
        (well.live / well.nuclei, well.dead / well.nuclei)
        for well in wells.values()
        if well.dead is not None and well.nuclei
    ]
    expected = (
        f"expected {MIN_SLOPE_WELLS} wells with nuclei and different shares of dead cells, or "
        "`dead_weight` in the settings"
    )
    if len(rows) < MIN_SLOPE_WELLS:
        raise ProfileError(plate, f"{len(rows)} wells have a nuclear and a dead stain; {expected}")
    signals = np.array(rows)
    fit, _, rank, _ = np.linalg.lstsq(signals, np.ones(len(rows)), rcond=1e-6)
    if rank < signals.shape[1] or min(fit) <= 0:
        raise ProfileError(plate, f"the stains of its wells cannot be compared; {expected}")
    residual = signals @ fit - 1
    covariance = np.linalg.inv(signals.T @ signals) * (residual @ residual) / (len(rows) - 2)
    relative = np.sqrt(np.diag(covariance)) / fit
    if float(np.hypot(*relative)) > MAX_WEIGHT_ERROR:
        raise ProfileError(
            plate,
            f"the weight of its dead stain is uncertain by {np.hypot(*relative):.0%}; {expected}",
        )
    return float(fit[1] / fit[0])


def viability_percent(
    values: Mapping[str, float | None], untreated: set[str], plate: str
) -> dict[str, float]:
    """Return values by well of a plate in percent of the mean of the untreated wells, 0…200.

    Wells without a value are left out.

    Raises
    ------
    ProfileError
        If fewer than three untreated wells have a value, or their mean is 0.
    """
    controls = [value for well, value in values.items() if well in untreated and value is not None]
    if len(controls) < MIN_UNTREATED:
        raise ProfileError(
            plate,
            f"{len(controls)} untreated wells have a usable image; expected at least "
            f"{MIN_UNTREATED}, because they are 100 %",
        )
    mean = float(np.mean(controls))
    if mean <= 0:
        raise ProfileError(plate, "its untreated wells have no live signal; expected some")
    return {
        well: min(MAX_PERCENT, 100.0 * value / mean)
        for well, value in values.items()
        if value is not None
    }
