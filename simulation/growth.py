"""Growth of untreated spheroids, from measured radii.

The constants are medians and deviations of the outer radius of melanoma spheroids (WM793b and
WM983b, four densities of seeded cells, Incucyte, bright field): Browning et al., eLife 2021,
doi:10.7554/eLife.73020, file ``Data/IncucyteData.csv``, CC-BY-4.0. ``python -m
benchmarks.untreated_growth`` compares them with the data and with virtual plates.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

_REFERENCE_DAY, _LATER_DAY = 7, 10
_LOOSENESS = 0.12  # relative excess of the radius one day after seeding, before cells compact
_LOOSE_DAYS = 0.8  # time constant of the compaction
_DOUBLING_DAYS = (1.8, 7.5)  # of the volume from day 7 to 10, over all measured spheroids


@dataclass(frozen=True)
class Growth:
    """Growth of the radius of untreated spheroids of one cell line and seeding density."""

    day_7_um: float  # median radius on day 7
    day_10_um: float  # median radius on day 10
    slowing_per_day: float  # relative decrease of the growth rate of the logarithm of the radius
    spread: float  # standard deviation of the logarithm of the radius between wells

    def radius_um(self, day: float, pace: float = 1.0) -> float:
        """Return the median radius in µm on a culture day.

        The logarithm of the radius follows a Gompertz curve through the medians of day 7 and 10.
        ``pace`` is a factor of the growth rate.
        """
        days = self._slowed(day) / self._slowed(_LATER_DAY)
        whole = self.day_7_um * math.exp(pace * days * math.log(self.day_10_um / self.day_7_um))
        return whole * (1 + _LOOSENESS * math.exp(-(day - 1) / _LOOSE_DAYS))

    @property
    def doubling_days(self) -> float:
        """Time in days in which the volume doubles, on average from day 7 to day 10."""
        days = _LATER_DAY - _REFERENCE_DAY
        return days * math.log(2) / (3 * math.log(self.day_10_um / self.day_7_um))

    @property
    def arrest_emax(self) -> float:
        """Largest kill of growth arrest: share of the tissue on day 10 that grew after day 7."""
        return 1 - (self.radius_um(_LATER_DAY) / self.radius_um(_REFERENCE_DAY)) ** -3

    def resized(self, day_7_um: float) -> "Growth":
        """Return the same relative growth with another median radius in µm on day 7."""
        ratio = day_7_um / self.day_7_um
        return replace(self, day_7_um=day_7_um, day_10_um=self.day_10_um * ratio)

    def _slowed(self, day: float) -> float:
        """Return the days since day 7, shortened by the slowing."""
        return (1 - math.exp(-self.slowing_per_day * (day - _REFERENCE_DAY))) / self.slowing_per_day


MEASURED_GROWTH: dict[str, Growth] = {
    "WM793b, 1250 cells": Growth(147, 166, 0.019, 0.021),
    "WM793b, 2500 cells": Growth(167, 192.5, 0.01, 0.021),
    "WM793b, 5000 cells": Growth(208, 241.8, 0.01, 0.031),
    "WM793b, 10000 cells": Growth(255.1, 281.3, 0.03, 0.028),
    "WM983b, 1250 cells": Growth(79, 117, 0.086, 0.062),  # no image on day 7: interpolated
    "WM983b, 2500 cells": Growth(209.3, 257.4, 0.098, 0.018),
    "WM983b, 5000 cells": Growth(250.4, 291.1, 0.107, 0.022),
    "WM983b, 10000 cells": Growth(289.4, 321.7, 0.125, 0.024),
}
"""Measured growth by cell line and number of seeded cells."""


def draw_growth(rng: np.random.Generator) -> Growth:
    """Return the measured growth of a random seeding, with a radius changed by up to 6 %."""
    growth = list(MEASURED_GROWTH.values())[int(rng.integers(len(MEASURED_GROWTH)))]
    size = float(rng.uniform(0.94, 1.06))
    doubling = float(np.clip(growth.doubling_days * rng.uniform(0.95, 1.05), *_DOUBLING_DAYS))
    day_7_um = growth.day_7_um * size
    days = _LATER_DAY - _REFERENCE_DAY
    return replace(growth, day_7_um=day_7_um, day_10_um=day_7_um * 2 ** (days / (3 * doubling)))
