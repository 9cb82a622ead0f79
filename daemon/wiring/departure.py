"""Settings of the departure: the forecaster, its days and the metric."""

from pathlib import Path

from daemon.config import Config
from inference.departure.assembly import feature_names
from inference.departure.departure_settings import DepartureSettings
from inference.departure.forecasters import FORECASTERS
from inference.departure.sequence_model import OnnxSequenceModel, load_forecaster
from schemas.encoder_bundle import BundleCard
from schemas.errors import BundleError, ConfigError, ProfileError
from schemas.forecast import ForecastFrom, MetricName


def departure_settings(
    forecaster: str, forecast_from: ForecastFrom, metric: MetricName, *, leave_out_outliers: bool
) -> DepartureSettings:
    """Return the DepartureSettings of a forecaster (name or model folder), days and metric.

    Raises
    ------
    ConfigError
        If there is no such forecaster, or its model does not fit its card or the other settings.
    """
    if forecaster in FORECASTERS:
        return DepartureSettings(
            forecaster, forecast_from, metric, leave_out_outliers=leave_out_outliers
        )
    folder = Path(forecaster).expanduser()
    if not folder.is_dir():
        raise BundleError(
            forecaster,
            f"is no forecaster; expected one of {', '.join(FORECASTERS)}, "
            "or a folder with forecaster.onnx and forecaster.json",
        )
    if forecast_from is ForecastFrom.ONE_STEP:
        raise ConfigError(
            "forecast_from",
            f"is {forecast_from}; expected {ForecastFrom.DOSING} or {ForecastFrom.LAST_DAY} with "
            f"the sequence model {folder}, which predicts the readout in one step",
        )
    return DepartureSettings(
        forecast_from=forecast_from,
        metric=metric,
        leave_out_outliers=leave_out_outliers,
        sequence_model=OnnxSequenceModel(load_forecaster(folder)),
    )


def open_departure_settings(config: Config, card: BundleCard) -> DepartureSettings:
    """Return DepartureSettings from a configuration and the BundleCard of its encoder.

    Errors are those of :func:`departure_settings`.
    """
    ranking = config.ranking
    settings = departure_settings(
        ranking.forecaster,
        ranking.forecast_from,
        ranking.metric,
        leave_out_outliers=ranking.leave_out_unlike,
    )
    is_measures_alone = ranking.representation == "both" and card.ranking_weight == 0
    representation = "measures" if is_measures_alone else ranking.representation
    if settings.sequence_model is not None:
        try:
            settings.sequence_model.check_fits(
                feature_names(representation, card.dimension),
                "" if representation == "measures" else card.encoder_id,
            )
        except ProfileError as error:
            raise BundleError(error.where, error.problem) from error
    return settings
