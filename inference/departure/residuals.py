"""Residuals of the wells of a plate: their readouts minus their forecasts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from inference.departure.departure_settings import DEFAULT_DEPARTURE_SETTINGS, DepartureSettings
from inference.departure.forecasters import FORECASTERS, leave_one_out_residuals
from inference.departure.metrics import (
    Noise,
    pre_dose_shape,
)
from inference.departure.reduced_space import ReducedPlate
from inference.ports import EarlierWells
from schemas.arrays import BoolArray, Float64Array, IndexArray
from schemas.forecast import ForecastFrom


@dataclass(frozen=True, eq=False)
class Residuals:
    """Readouts minus forecasts of the n scorable wells of a plate, in K directions."""

    reduced: ReducedPlate
    untreated: BoolArray  # (n,)
    settings: DepartureSettings = DEFAULT_DEPARTURE_SETTINGS
    replicates: IndexArray | None = None
    """(n,) number of the set of replicates of each well; None: no well has replicates."""
    covariates: Float64Array | None = None
    """(n, Q) further inputs of the forecast, such as the position on the plate."""

    @cached_property
    def shapes(self) -> tuple[Float64Array, ...]:
        """Covariance of all wells before dosing in each part, normalised and shrunk."""
        return tuple(pre_dose_shape(self.reduced.past[:, part]) for part in self.reduced.parts)

    def fitted_on(self, training_wells: BoolArray) -> Float64Array:
        """Return (n, K) residuals of all wells from a forecast that wells of a mask (n,) train.

        The forecast of a training well is trained on the other training wells. The embedding and
        the measures are each forecast from their own past.
        """
        return np.concatenate(
            [self._part_fitted_on(training_wells, part) for part in self.reduced.parts], axis=1
        )

    def _part_fitted_on(self, training_wells: BoolArray, part: slice) -> Float64Array:
        """Return the residuals of all wells in the directions of one part."""
        forecaster = FORECASTERS[self.settings.forecaster]
        past, after = self.reduced.past[:, part], self.reduced.after[:, :, part]
        match self.settings.forecast_from:
            case ForecastFrom.DOSING:
                return leave_one_out_residuals(
                    forecaster,
                    self._with_covariates(past),
                    after[:, -1],
                    training_wells,
                    self._earlier_wells(part),
                )
            case ForecastFrom.LAST_DAY:
                newest_first = [*np.moveaxis(after[:, :-1], 1, 0)[::-1], past]
                if self.reduced.latest is not None:
                    newest_first = [self.reduced.latest[:, part]]
                return leave_one_out_residuals(
                    forecaster,
                    self._with_covariates(np.concatenate(newest_first, axis=1)),
                    after[:, -1],
                    training_wells,
                )
            case ForecastFrom.ONE_STEP:
                path = np.concatenate([past[:, None], after], axis=1)
                steps = [
                    leave_one_out_residuals(
                        forecaster,
                        self._with_covariates(path[:, step]),
                        path[:, step + 1],
                        training_wells,
                    )
                    for step in range(path.shape[1] - 1)
                ]
                return np.asarray(np.sum(steps, axis=0))

    @cached_property
    def of_all_wells(self) -> Float64Array:
        """(n, K) residuals from a forecast that the untreated wells train."""
        return self.fitted_on(self.untreated)

    @cached_property
    def noise(self) -> Noise:
        """Noise that is estimated from the residuals of untreated wells."""
        return self.estimate_noise(
            self.of_all_wells[self.untreated], self.of_earlier_wells(self.untreated)
        )

    @cached_property
    def development(self) -> Float64Array:
        """(K,) mean change of untreated wells from dosing to the readout."""
        return np.asarray((self.reduced.readout - self.reduced.past)[self.untreated].mean(axis=0))

    def estimate_noise(
        self, residual: Float64Array, earlier: Sequence[tuple[Float64Array, float]] = ()
    ) -> Noise:
        """Return the Noise of residuals (m, K) of untreated wells, the parts being independent.

        Parameters
        ----------
        residual
            (m, K) residuals of untreated wells of this plate.
        earlier
            Residuals and similarity of each earlier plate, from :meth:`of_earlier_wells`.
        """
        return Noise.of_parts(
            [
                Noise.estimate(
                    residual[:, part],
                    shape,
                    [(rows[:, part], similarity) for rows, similarity in earlier],
                )
                for part, shape in zip(self.reduced.parts, self.shapes, strict=True)
            ]
        )

    def of_earlier_wells(self, training_wells: BoolArray) -> list[tuple[Float64Array, float]]:
        """Return (residuals (m, K), similarity) of each earlier plate, for training wells (n,).

        Residuals are centred per plate and scaled to the size of left-out residuals. The forecast
        is trained on ``training_wells`` of this plate and on the earlier plates.
        """
        by_part = [self._part_of_earlier_wells(training_wells, part) for part in self.reduced.parts]
        return [
            (np.concatenate(rows, axis=1), plate.similarity)
            for rows, plate in zip(zip(*by_part, strict=True), self.reduced.earlier, strict=True)
        ]

    def _part_of_earlier_wells(self, training_wells: BoolArray, part: slice) -> list[Float64Array]:
        """Return the residuals (m, …) of each earlier plate in the directions of one part."""
        if not self.reduced.earlier:
            return []
        past = self._with_covariates(self.reduced.past[:, part])[training_wells]
        earlier = self._earlier_wells(part)
        predict = (
            FORECASTERS[self.settings.forecaster]
            .fit(past, self.reduced.readout[training_wells, part], earlier)
            .predict
        )
        centre = past.mean(axis=0)
        mean = predict(centre[None])
        return [
            np.sqrt(len(plate.past) / (len(plate.past) - 1))
            * (plate.readout - predict(centre + plate.past) + mean)
            for plate in earlier
        ]

    def _with_covariates(self, inputs: Float64Array) -> Float64Array:
        if self.covariates is None:
            return inputs
        return np.concatenate([inputs, self.covariates], axis=1)

    def _earlier_wells(self, part: slice) -> Sequence[EarlierWells]:
        """Return the wells of earlier plates in one part, with covariates of 0 if any are used."""
        count = 0 if self.covariates is None else self.covariates.shape[1]
        return [
            replace(
                plate,
                past=np.pad(plate.past[:, part], ((0, 0), (0, count))),
                readout=plate.readout[:, part],
            )
            for plate in self.reduced.earlier
        ]
