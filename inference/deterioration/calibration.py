"""A deterioration model learned from plates with a viability assay: which one, how far off on plates it has not seen, and for which plates it speaks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import cast

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from inference.deterioration.features import Blocks, FeatureSpace, SeenPlate, filled
from inference.deterioration.models import MEAN, MODELS, SINGLE, Predict
from schemas.calibration import CalibrationCard
from schemas.errors import ProfileError
from schemas.trajectory import Trajectories

Array = npt.NDArray[np.float64]

CALIBRATION_VERSION = 1
"""Of the way models are learned: another way makes another calibration."""
FEWEST_PLATES = 4
LARGEST_SHARE_OF_ERROR = 0.8
"""Of the error that takes no image: a model that is off by more has learned too little."""
INTERVAL = (0.05, 0.95)
NEAREST = 80
"""Left-out wells of a like prediction whose errors make an interval."""
OUTSIDE = 2.0
"""Times as far from the calibration plates as the farthest of these is from the others."""
FEWEST_WITH_SPREAD = 2


@dataclass(frozen=True, eq=False)
class AssayPlate:
    """A plate whose wells, or some of them, were measured."""

    trajectories: Trajectories
    deterioration_percent: Mapping[str, float]  # 100 − viability, by well
    dosing_day: int
    readout_day: int


@dataclass(frozen=True, eq=False)
class _Taught:
    """What one plate teaches."""

    seen: SeenPlate
    rows: npt.NDArray[np.intp]  # of the measured wells
    percent: Array  # (rows,)
    treatments: tuple[str, ...]  # (rows,) "" for untreated wells, whatever their vehicle


@dataclass(frozen=True, eq=False)
class Prediction:
    """Percent of deterioration of N wells, NaN where a well was not seen."""

    percent: Array  # (N,) 0…100
    low: Array  # (N,) of the 90 % interval
    high: Array  # (N,)


@dataclass(frozen=True, eq=False)
class Calibration:
    """A model with its card, fitted on all its plates."""

    card: CalibrationCard
    space: FeatureSpace
    predict_rows: Predict
    plates: tuple[SeenPlate, ...]

    def predict(
        self, trajectories: Trajectories, *, dosing_day: int, readout_day: int
    ) -> Prediction:
        """Predict every well that was seen up to dosing and on the readout day.

        Raises
        ------
        ProfileError
            If the plate has no untreated wells, or other features than the model.
        """
        plate = self._seen(trajectories, dosing_day, readout_day)
        percent = np.full(len(plate.wells), np.nan)
        percent[plate.seen] = np.clip(
            self.predict_rows(self.space.of(plate)[plate.seen]), 0.0, 100.0
        )
        low, high = self._interval(percent)
        return Prediction(percent, np.clip(low, 0.0, 100.0), np.clip(high, 0.0, 100.0))

    def _interval(self, percent: Array) -> tuple[Array, Array]:
        """Return what lies within the errors of left-out plates' wells of a like prediction (conformal: Lei et al., J. Am. Stat. Assoc. 113, 2018)."""
        known, errors = np.array(self.card.left_out_percent), np.array(self.card.left_out_error)
        low, high = np.full_like(percent, np.nan), np.full_like(percent, np.nan)
        for well in np.flatnonzero(np.isfinite(percent)):
            near = errors[np.argsort(np.abs(known - percent[well]), kind="stable")[:NEAREST]]
            low[well], high[well] = percent[well] + np.quantile(
                near, INTERVAL, method="inverted_cdf"
            )
        return low, high

    @property
    def treatment_error(self) -> float:
        """How far the mean of a treatment is off, in points, 90 % of the time."""
        return float(np.quantile(np.abs(self.card.left_out_treatment_error), 0.9, method="higher"))

    @cached_property
    def usual_distances(self) -> Array:
        """(plates,): how far each of its plates is from the others."""
        return np.array(
            [
                _distance(
                    plate,
                    [other for other in self.plates if other is not plate],
                    FEWEST_WITH_SPREAD,
                )
                for plate in self.plates
            ]
        )

    def distance(self, trajectories: Trajectories, *, dosing_day: int, readout_day: int) -> float:
        """Return how far a plate's untreated and single-dose wells are from those of the calibration plates, in their spreads from plate to plate.

        Raises
        ------
        ProfileError
            If the plate has no untreated wells, or other features than the model.
        """
        known = FEWEST_WITH_SPREAD + 1  # so that each of them has a usual distance from the others
        return _distance(self._seen(trajectories, dosing_day, readout_day), self.plates, known)

    def _seen(self, trajectories: Trajectories, dosing_day: int, readout_day: int) -> SeenPlate:
        plate = SeenPlate.of(trajectories, dosing_day=dosing_day, readout_day=readout_day)
        plate.check_comparable(self.plates[0])
        return plate


def calibrate(
    plates: Sequence[AssayPlate],
    *,
    digest: str,
    seed: int,
    tick: Callable[[], None] = lambda: None,
    fewest: int = FEWEST_PLATES,
) -> CalibrationCard:
    """Choose a model by leaving out one plate at a time and say how far it is off on plates it has not seen.

    Never fails for poor data: a card that is not valid says why.

    Parameters
    ----------
    digest
        Of all that the plates hold; the card's name.
    tick
        Called every few seconds.
    fewest
        Plates; with fewer a card is not valid.
    """
    taught, passed_over = _taught(plates)
    blank = _blank_card(plates, taught, digest)
    if len(taught) < fewest:
        return blank.model_copy(
            update={
                "why_not": (f"{len(taught)} assay plates; expected at least {fewest}", *passed_over)
            }
        )
    measured = np.concatenate([plate.percent for plate in taught])
    best: tuple[float, str, Blocks, list[Array]] | None = None
    for blocks in _blocks(taught[0].seen):
        left_out: dict[str, list[Array]] = {name: [] for name in SINGLE}
        for plate in taught:
            others = [other for other in taught if other is not plate]
            space = FeatureSpace.settle([other.seen for other in others], blocks)
            rows = space.of(plate.seen)[plate.rows]
            for name in SINGLE:
                left_out[name].append(_fit(name, space, others, seed)(rows))
                tick()
        left_out[MEAN] = [
            np.mean(of_models, axis=0) for of_models in zip(*left_out.values(), strict=True)
        ]
        for name, raw in left_out.items():
            predicted = [np.clip(of_plate, 0.0, 100.0) for of_plate in raw]
            error = float(np.abs(measured - np.concatenate(predicted)).mean())
            if best is None or error < best[0]:
                best = error, name, blocks, predicted
    assert best is not None  # noqa: S101 - narrows the type: there is a block and a model
    error, name, blocks, predicted = best
    without_images = _error_without_images(taught)
    valid = error <= LARGEST_SHARE_OF_ERROR * without_images
    why_not = passed_over if valid else (_too_far(error, without_images), *passed_over)
    orders = [_spearman(one, plate.percent) for one, plate in zip(predicted, taught, strict=True)]
    return blank.model_copy(
        update={
            "model": name,
            "representation": blocks,
            "valid": valid,
            "why_not": why_not,
            "mean_error_points": error,
            "untreated_error_points": without_images,
            "spearman": fmean(orders),
            "worst_spearman": min(orders),
            "percent_low": float(measured.min()),
            "percent_high": float(measured.max()),
            "left_out_percent": tuple(np.concatenate(predicted).tolist()),
            "left_out_error": tuple((measured - np.concatenate(predicted)).tolist()),
            "left_out_treatment_error": tuple(
                error
                for one, plate in zip(predicted, taught, strict=True)
                for error in _treatment_errors(one, plate)
            ),
        }
    )


def refit(plates: Sequence[AssayPlate], card: CalibrationCard, *, seed: int) -> Calibration:
    """Fit the model that a valid card names on all its plates again."""
    taught, _ = _taught(plates)
    space = FeatureSpace.settle(
        [plate.seen for plate in taught], cast("Blocks", card.representation)
    )
    return Calibration(
        card, space, _fit(card.model, space, taught, seed), tuple(plate.seen for plate in taught)
    )


def _fit(name: str, space: FeatureSpace, plates: Sequence[_Taught], seed: int) -> Predict:
    """Fit a model on all measured wells; what does not vary among them teaches nothing and is not looked at."""
    features = np.concatenate([space.of(plate.seen)[plate.rows] for plate in plates])
    varies = features.std(axis=0) > 0
    percent, numbers = (
        np.concatenate([plate.percent for plate in plates]),
        np.repeat(np.arange(len(plates)), [len(plate.rows) for plate in plates]),
    )
    predict = MODELS[name].fit(features[:, varies], percent, numbers, seed)
    return lambda wells: predict(wells[:, varies])


def _taught(plates: Sequence[AssayPlate]) -> tuple[list[_Taught], tuple[str, ...]]:
    """Return what each plate teaches, and why some teach nothing."""
    taught: list[_Taught] = []
    passed_over: list[str] = []
    for plate in plates:
        try:
            seen = SeenPlate.of(
                plate.trajectories, dosing_day=plate.dosing_day, readout_day=plate.readout_day
            )
            if taught:
                seen.check_comparable(taught[0].seen)
        except ProfileError as error:
            passed_over.append(f"passed over: {error}")
            continue
        rows = np.array(
            [
                row
                for row, well in enumerate(seen.wells)
                if seen.seen[row] and well in plate.deterioration_percent
            ],
            dtype=np.intp,
        )
        percent = np.array([plate.deterioration_percent[seen.wells[row]] for row in rows])
        if len(rows) == 0 or np.ptp(percent) == 0:
            passed_over.append(
                f"passed over: {seen.name}: {len(rows)} measured wells were seen, and their values do not differ"
            )
            continue
        if seen.untreated[rows].all():
            passed_over.append(
                f"passed over: {seen.name}: {len(rows)} measured wells were seen, and none of them was treated"
            )
            continue
        treatments = tuple(
            "" if seen.untreated[row] else plate.trajectories.treatments[row] for row in rows
        )
        taught.append(_Taught(seen, rows, percent, treatments))
    return taught, tuple(passed_over)


def _blocks(plate: SeenPlate) -> tuple[Blocks, ...]:
    """Return what a model may look at, of what the plates have."""
    if plate.embedding_dimension == 0:
        return ("measures",)
    return (
        ("measures", "both")
        if plate.embedding_dimension < plate.readout.shape[1]
        else ("embedding",)
    )


def _blank_card(
    plates: Sequence[AssayPlate], taught: Sequence[_Taught], digest: str
) -> CalibrationCard:
    return CalibrationCard(
        digest=digest,
        version=CALIBRATION_VERSION,
        encoder_id=plates[0].trajectories.encoder_id if plates else "",
        representation=plates[0].trajectories.representation if plates else "measures",
        model="",
        plates=tuple(plate.seen.name for plate in taught),
        wells=sum(len(plate.rows) for plate in taught),
        valid=False,
        mean_error_points=None,
        untreated_error_points=None,
        spearman=None,
        worst_spearman=None,
        percent_low=None,
        percent_high=None,
    )


def _error_without_images(plates: Sequence[_Taught]) -> float:
    """Return the mean absolute error of taking every well for untreated, or for the median well of the other plates, whichever is smaller."""
    measured = np.concatenate([plate.percent for plate in plates])
    medians = [
        np.median(np.concatenate([other.percent for other in plates if other is not plate]))
        for plate in plates
    ]
    usual = np.concatenate(
        [np.abs(plate.percent - median) for plate, median in zip(plates, medians, strict=True)]
    )
    return float(min(np.abs(measured).mean(), usual.mean()))


def _too_far(error: float, without_images: float) -> str:
    return (
        f"off by {error:.1f} points on plates left out, and by {without_images:.1f} if every well is taken for untreated or for the usual one; "
        f"expected at most {LARGEST_SHARE_OF_ERROR:.0%} of that"
    )


def _spearman(one: Array, other: Array) -> float:
    return float(spearmanr(one, other).statistic) if np.ptp(one) > 0 and np.ptp(other) > 0 else 0.0


def _treatment_errors(predicted: Array, plate: _Taught) -> list[float]:
    """Return measured less predicted for the mean of each treatment."""
    names = np.array(plate.treatments)
    return [
        float((plate.percent - predicted)[names == name].mean())
        for name in dict.fromkeys(plate.treatments)
        if name
    ]


def _distance(plate: SeenPlate, others: Sequence[SeenPlate], fewest: int) -> float:
    """Return the root mean square, over the measures (or an embedding), of how far a plate's mean wells are from other plates', in these plates' spreads.

    Untreated or single-dose wells that fewer than so many of the others have are not compared.
    """
    parts = []
    for wells in ("untreated", "single_dose"):
        means = [_mean_well(other, wells) for other in others]
        known = [mean for mean in means if mean is not None]
        own = _mean_well(plate, wells)
        if own is None or len(known) < fewest:
            continue
        centre, spread = (
            np.mean(known, axis=0),
            np.std(known, axis=0, ddof=1) * np.sqrt(1 + 1 / len(known)),
        )
        floor = 0.1 * np.median(spread[spread > 0]) if (spread > 0).any() else 1.0
        parts.append(np.sqrt(np.mean(((own - centre) / np.maximum(spread, floor)) ** 2)))
    return float(max(parts, default=0.0))


def _mean_well(plate: SeenPlate, wells: str) -> Array | None:
    """Return the readout and the change since dosing of the mean untreated well, or of the mean single-dose well as it differs from that."""
    chosen = plate.untreated if wells == "untreated" else plate.single_dose
    if not chosen.any():
        return None
    own = (
        slice(plate.embedding_dimension, None)
        if plate.embedding_dimension < plate.readout.shape[1]
        else slice(None)
    )
    readouts, befores = filled(plate.readout, plate)[:, own], filled(plate.before, plate)[:, own]

    def mean(rows: npt.NDArray[np.bool_]) -> Array:
        readout, before = readouts[rows].mean(axis=0), befores[rows].mean(axis=0)
        return np.concatenate([readout, readout - before])

    return mean(chosen) if wells == "untreated" else mean(chosen) - mean(plate.untreated)
