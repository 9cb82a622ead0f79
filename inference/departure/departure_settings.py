"""Settings of the forecast and of the departure metric."""

from dataclasses import dataclass

from inference.ports import SequenceModel
from schemas.forecast import ForecastFrom, MetricName


@dataclass(frozen=True)
class DepartureSettings:
    """Settings of the forecast and of the departure metric."""

    forecaster: str = "ridge"
    """Key of :data:`FORECASTERS`."""
    forecast_from: ForecastFrom = ForecastFrom.DOSING
    metric: MetricName = MetricName.MAHALANOBIS
    leave_out_outliers: bool = True
    """Exclude wells whose tissue differed from the other wells before dosing."""
    sequence_model: SequenceModel | None = None
    """Model whose prediction replaces the images that enter the forecast."""

    def uses_day(self, imaged_day: int, *, dosing_day: int, day: int) -> bool:
        """Return True if ``imaged_day`` influences departures on ``day`` for a dosing day."""
        return (
            imaged_day <= dosing_day
            or imaged_day == day
            or (imaged_day < day and self.forecast_from is not ForecastFrom.DOSING)
        )


DEFAULT_DEPARTURE_SETTINGS = DepartureSettings()
