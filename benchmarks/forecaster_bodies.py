"""Compare bodies and pretrainings of a forecaster, for several numbers of training wells.

    python -m benchmarks.forecaster_bodies --counts 50 100 500

Each row is trained on the same untreated wells of virtual plates. A pretraining uses all untreated
wells of the training plates. A fifth of the plates is held out for the test. The bundles are opened
as by the service. The errors are those of day 10 on the test plates: the mean squared error of the
deviation of a well from the mean well, divided by the mean square of this deviation, as the mean
over plates. The prediction that all wells are equal has the error 1. One column is for the forecast
from days 5 to 7, up to dosing, the other for the forecast from days 7 to 9. Rendered plates,
checkpoints and bundles are kept in ``--out``.

``ridge`` is a ridge regression that is trained on the same wells as the networks, on the same days
as its column. ``persistence`` predicts that no well changes. ``ensemble`` has the mean forecast of
the three bodies without a pretraining, as ``spherorank train ensemble`` writes it.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.observed_plates import ROOT
from inference.departure.forecasters import RidgeForecaster
from inference.departure.sequence_model import ForecasterBundle, OnnxSequenceModel, load_forecaster
from schemas.arrays import Float64Array
from schemas.trajectory import Trajectories
from training.data.seeds import FIRST_TRAINING_SEED
from training.ensembles import write_forecaster_ensemble
from training.forecaster.config import ForecasterTrainingConfig
from training.forecaster.deviation import deviation_errors
from training.forecaster.examples import ForecastExample
from training.forecaster.model import standardise
from training.forecaster.train import fit_forecaster, split_plates
from training.forecaster.trajectories import make_virtual_trajectories

READOUT_DAY = 10
UP_TO_DOSING, UNTREATED_ONLY = (5, 6, 7), (7, 8, 9)
"""Days that the two columns are forecast from."""
TEST_SHARE = 0.2

Predict = Callable[[Trajectories, Sequence[int]], Float64Array]


class Row(NamedTuple):
    """Body and pretraining of a row of the table."""

    body: str
    pretraining: str = "none"
    frozen: bool = False

    def __str__(self) -> str:
        head = ", linear head" if self.frozen else ""
        return self.body if self.pretraining == "none" else f"{self.body}, {self.pretraining}{head}"


ROWS = (
    Row("gru"),
    Row("inception"),
    Row("inception", "timeclr"),
    Row("inception", "timeclr", frozen=True),
    Row("transformer"),
    Row("transformer", "mae"),
    Row("transformer", "mae", frozen=True),
)


def past_and_readout(
    plate: Trajectories, days: Sequence[int]
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Return the inputs and outputs of a ridge regression on a plate, and its unit.

    Returns
    -------
    past : Float64Array
        (N, T × D) deviations from the mean well, newest day first.
    readout : Float64Array
        (N, D) deviations on the readout day.
    spread : Float64Array
        (D,) unit of the deviations.
    """
    series = torch.from_numpy(np.stack([plate.on(day) for day in days], axis=1)).float()
    deviation, _, spread, _ = standardise(series)
    past = deviation.flip(1).reshape(len(series), -1).double().numpy()
    unit = spread.double().numpy()
    readout = plate.on(READOUT_DAY)
    return past, np.nan_to_num((readout - np.nanmean(readout, axis=0)) / unit), unit


def ridge(training: Sequence[Trajectories], days: Sequence[int]) -> Predict:
    """Return the prediction of a ridge regression that is trained on the wells of plates."""
    pairs = [past_and_readout(plate, days)[:2] for plate in training]
    past, readout = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    forecast = RidgeForecaster().fit(past, readout)

    def predict(plate: Trajectories, days: Sequence[int]) -> Float64Array:
        past, _, spread = past_and_readout(plate, days)
        return np.asarray(forecast.predict(past) * spread)

    return predict


def forecast_error(predict: Predict, plates: Sequence[Trajectories], days: Sequence[int]) -> float:
    """Return the error of a prediction of the readout day from some days, as a mean over plates."""
    errors = []
    for plate in plates:
        series = np.stack([plate.on(day) for day in days], axis=1)
        past, readout, predicted = (
            torch.from_numpy(np.asarray(each, dtype=np.float32))
            for each in (series, plate.on(READOUT_DAY), predict(plate, days))
        )
        example = ForecastExample(
            past, torch.tensor(days), torch.tensor(float(READOUT_DAY)), readout, 0
        )
        error, actual = deviation_errors(predicted, example)
        errors.append(float(error.square().nansum() / actual.square().nansum()))
    return float(np.mean(errors))


def forecasts_of(bundle: ForecasterBundle) -> Predict:
    """Return the prediction of a sequence model."""
    model = OnnxSequenceModel(bundle)
    return lambda plate, days: model.predict(plate, days, READOUT_DAY)


def make_config(row: Row, count: int, out: Path, options: argparse.Namespace) -> dict[str, object]:
    """Return the content of a configuration file for a row of the table."""
    name = "-".join(filter(None, (*row[:2], "head" if row.frozen else "", str(count))))
    return {
        "data": {"trajectories": count},
        "model": {"name": name, "body": row.body},
        "pretraining": {
            "objective": row.pretraining,
            "frozen": row.frozen,
            "epochs": options.epochs,
        },
        "run": {"out": out / name, "epochs": options.epochs, "accelerator": "cpu"},
    }


def print_row(
    count: int, name: str, predictions: Sequence[Predict], test: Sequence[Trajectories], took: float
) -> None:
    """Print a row with the errors of the predictions from both ranges of days."""
    errors = [
        forecast_error(predict, test, days)
        for predict, days in zip(predictions, (UP_TO_DOSING, UNTREATED_ONLY), strict=True)
    ]
    print(f"{count:6} {name:34} {errors[0]:12.3f} {errors[1]:12.3f} {took:8.1f}", flush=True)


def main() -> None:
    """Train every row with every number of wells and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plates", type=int, default=30)
    parser.add_argument("--counts", type=int, nargs="+", default=[50, 100, 500])
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / ".cache" / "forecaster_bodies")
    options = parser.parse_args()
    plates = make_virtual_trajectories(
        range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + options.plates),
        (*range(UP_TO_DOSING[0], READOUT_DAY + 1),),
        "default",
        "measures",
        options.out / "cache",
        jobs=options.jobs,
    )
    held_out = max(1, round(TEST_SHARE * len(plates)))
    test, used = plates[:held_out], plates[held_out:]
    print(f"{len(used)} plates for training and validation, {len(test)} for the test")
    print(f"{'wells':>6} {'forecaster':34} {'days 5–7':>12} {'days 7–9':>12} {'s':>8}")
    for count in options.counts:
        config = ForecasterTrainingConfig.model_validate(
            make_config(ROWS[0], count, options.out, options)
        )
        training = split_plates(used, config, lambda _: None).training
        linear = [ridge(training, days) for days in (UP_TO_DOSING, UNTREATED_ONLY)]
        print_row(count, "persistence", [lambda plate, days: plate.on(days[-1])] * 2, test, 0)
        print_row(count, "ridge", linear, test, 0)
        unpretrained: list[ForecasterBundle] = []
        for row in ROWS:
            config = ForecasterTrainingConfig.model_validate(
                make_config(row, count, options.out, options)
            )
            start = time.perf_counter()
            done = fit_forecaster(used, config, lambda _: None)
            took = time.perf_counter() - start
            bundle = load_forecaster(done.bundle)
            if row.pretraining == "none":
                unpretrained.append(bundle)
            print_row(count, str(row), [forecasts_of(bundle)] * 2, test, took)
        folder = options.out / f"ensemble-{count}"
        write_forecaster_ensemble(unpretrained, "ensemble", folder)
        ensemble = forecasts_of(load_forecaster(folder))
        print_row(count, "ensemble", [ensemble] * 2, test, 0)


if __name__ == "__main__":
    main()
