"""Enumerations of the departure settings: the days that enter the forecast, and the metric.

This module imports only the standard library, so that the command line can offer the values
without loading the statistics.
"""

from enum import StrEnum


class ForecastFrom(StrEnum):
    """The culture days that enter the forecast of the untreated state on the readout day."""

    DOSING = "dosing"  # the days up to dosing
    LAST_DAY = "last_day"  # all days before the readout; the forecast then follows the drug
    ONE_STEP = "one_step"  # each day after dosing from the day before; the residuals are summed


class MetricName(StrEnum):
    """The metric that measures a departure: the length of a well's residual from its forecast."""

    MAHALANOBIS = "mahalanobis"  # along the directions above the noise, in units of their noise
    L2 = "l2"
    COSINE = "cosine"  # the angle between the observed and the forecast state
    NEAREST_CONTROLS = "nearest_controls"  # mean distance to the nearest untreated residuals
